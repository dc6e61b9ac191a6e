//! `keyfob doctor`: everything that it warns of or calls an error is provoked, its remedy followed, and then all is ok.
//!
//! What it looks at by way of other files is in their tests: a cache folder without locks in `no_locks`, a platform without
//! certificate authorities beside the source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::doctor::complaints;
use crate::common::{LAB, PROGRAM, Scene};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Keyfob, Output, Stream, Streams, Terminal};
use serde_json::{Value, json};

/// A patient: keyfob in a home of its own, and a shell.
struct Patient {
    scene: Scene,
    /// What the shell has run before.
    before: String,
}

impl Patient {
    /// With the profile `lab`, and Alice signed in.
    fn well() -> Self {
        Self { scene: Scene::signed_in(Options::default()), before: String::new() }
    }

    /// With this configuration; nobody has signed in.
    fn with(options: Options, toml: &str) -> Self {
        Self { scene: Scene::with(options, toml), before: String::new() }
    }

    fn keyfob(&self) -> &Keyfob {
        &self.scene.keyfob
    }

    fn home(&self) -> &Path {
        self.keyfob().home()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.keyfob().config_file()).unwrap()
    }

    /// Adds to the configuration.
    fn configure(&self, more: &str) {
        self.keyfob().write_config(&(self.config() + more));
    }

    /// Has the shell run this before everything that it runs from now on.
    fn first(&mut self, line: &str) {
        self.before += &(self.spelt_out(line) + "\n");
    }

    fn spelt_out(&self, text: &str) -> String {
        text.replace("HOME", self.home().to_str().unwrap()).replace("ISSUER", self.scene.idp.issuer())
    }

    /// Runs lines in the shell.
    fn shell(&self, lines: &str) -> Output {
        // What is on this machine's PATH is not the patient's.
        let bin = self.path(".bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            symlink(PROGRAM, bin.join("keyfob")).unwrap();
            for program in ["git", "chmod", "rm"] {
                let path = std::env::var_os("PATH").unwrap();
                let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
                symlink(found.unwrap(), bin.join(program)).unwrap();
            }
        }
        let mut shell = self.keyfob().other(OsStr::new("/bin/sh"));
        shell.env("PATH", bin).env("GIT_CONFIG_NOSYSTEM", "1").env("KEYFOB_PROMPT", "always").current_dir(self.home());
        Output::of(shell.arg("-c").arg(self.before.clone() + &self.spelt_out(lines)), b"")
    }

    /// Runs a remedy as it is printed; what there is to ask is agreed to.
    fn remedy(line: &str) -> String {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("not a command: {line}"));
        ["kubernetes", "git", "az"].iter().fold(command.to_owned(), |command, tool| {
            command.replace(&format!("keyfob setup {tool}"), &format!("keyfob setup {tool} --yes"))
        })
    }

    #[track_caller]
    fn follow(&self, line: &str) {
        let ran = self.shell(&Self::remedy(line));
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    }

    /// What doctor says after these lines, but what is good.
    #[track_caller]
    fn complaints_after(&self, lines: &str, arguments: &str) -> Vec<String> {
        let output = self.shell(&format!("{lines}\nkeyfob doctor {arguments}"));
        let text = output.stdout.replace(self.home().to_str().unwrap(), "HOME");
        let text = text.replace(self.scene.idp.issuer(), "ISSUER").replace(PROGRAM, "KEYFOB");
        complaints(&Output { stdout: text, ..output })
    }

    #[track_caller]
    fn complaints(&self, arguments: &str) -> Vec<String> {
        self.complaints_after("", arguments)
    }

    #[track_caller]
    fn assert_well(&self) {
        assert_eq!(self.complaints(""), [""; 0]);
    }

    /// It complains of just this, and no longer once its remedy is followed.
    #[track_caller]
    fn assert_mended(&self, complaint: &str, remedy: &str) {
        let remedy = format!("$ {remedy}");
        assert_eq!(self.complaints("--offline"), [complaint, &remedy]);
        self.follow(&remedy);
        assert_eq!(self.complaints("--offline"), [""; 0]);
    }

    /// The same of a remedy that is for the shell itself.
    #[track_caller]
    fn assert_mended_in_the_shell(&self, complaint: &str, remedy: &str) {
        let remedy = format!("$ {remedy}");
        let complaints = self.complaints("");
        assert_eq!(complaints[..2], [complaint, &remedy]);
        assert_eq!(self.complaints_after(&Self::remedy(&remedy), ""), [""; 0]);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn whoever_is_well_is_told_what_was_looked_at() {
    let patient = Patient::well();
    let output = patient.shell("KEYFOB_FLOW=device keyfob doctor");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let home = patient.home().to_str().unwrap();
    let text = output.stdout.replace(home, "HOME").replace(patient.scene.idp.issuer(), "ISSUER");
    let text = text.replace("59 min", "TIME").replace("1 h", "TIME");
    let (authorities, others): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("ok     trust store: "));
    assert_eq!(
        others,
        [
            "ok     configuration: 1 profile in HOME/config.toml",
            "ok     cache: 1 session in HOME/cache",
            "ok     session lab: signed in as alice@example.com; its token is good for TIME, and renewed silently",
            "ok     proxy: none",
            "ok     provider lab: ISSUER/.well-known/openid-configuration answers; a sign-in starts at ISSUER/device_authorization, by device code, since KEYFOB_FLOW says so, and appears on stderr",
            "6 ok, 0 warnings, 0 errors",
        ]
    );
    assert!(matches!(authorities[..], [line] if line.ends_with(" certificate authorities of the platform")), "{text}");
    let asked = patient.scene.idp.requests().len();
    patient.shell("keyfob doctor --offline");
    assert_eq!(patient.scene.idp.requests().len(), asked, "offline asks nobody");
}

#[test]
fn a_terminal_has_rows_and_colours_unless_it_is_dumb_or_they_are_not_wanted() {
    let patient = Patient::well();
    let shown = |term: &str, no_color: &str, stdout: Stream| {
        let mut command = patient.scene.command("auto", ["doctor", "--offline"]);
        command.env("TERM", term).env("NO_COLOR", no_color);
        let streams = Streams { stdout, ..Streams::default() };
        let ended = Terminal::start_sized(command, streams, (24, 24)).wait();
        (ended.screen + &ended.stdout).replace("\r\n", "\n").replace(patient.home().to_str().unwrap(), "HOME")
    };
    let session = "session lab:\n       signed in as\nalice@example.com;\n";
    let coloured = shown("xterm", "", Stream::Terminal);
    assert!(coloured.contains(&format!("\u{1b}[32mok\u{1b}[0m     {session}")), "{coloured}");
    let plain = shown("xterm", "1", Stream::Terminal);
    assert!(plain.contains(&format!("ok     {session}")), "{plain}");
    assert_eq!(coloured.replace("\u{1b}[32m", "").replace("\u{1b}[0m", ""), plain, "what is not coloured is the same");
    for lines in [shown("dumb", "", Stream::Terminal), shown("xterm", "", Stream::File)] {
        assert!(
            lines.contains("ok     session lab: signed in as alice@example.com; its token is good for "),
            "{lines}"
        );
        assert!(!lines.contains('\u{1b}'), "{lines}");
    }
}

#[test]
fn its_json_is_the_documented_one() {
    let patient = Patient::well();
    patient.configure("[hosts]\n'https://git.example' = 'lab'\n");
    let output = patient.shell("keyfob doctor --offline --json");
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let place = patient.keyfob().config_file();
    let first = json!({
        "level": "ok", "subject": "configuration", "message": format!("1 profile in {}", place.display()),
        "remedy": null, "runnable": false,
    });
    let last = json!({
        "level": "warn", "subject": "git https://git.example",
        "message": "it has the profile \"lab\", but git does not ask keyfob",
        "remedy": "keyfob setup git --profile lab https://git.example", "runnable": true,
    });
    assert_eq!((findings.first(), findings.last()), (Some(&first), Some(&last)));
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let mut patient = Patient::well();
    let (file, text) = (patient.keyfob().config_file(), patient.config());
    fs::write(&file, text.replace("client-id", "clientid")).unwrap();
    let wrong = "error profile lab: HOME/config.toml:3: unknown key `clientid`; did you mean `client-id`?";
    assert_eq!(patient.complaints("--offline"), [wrong, "-> correct that"]);
    assert_eq!(patient.complaints("--offline --profile lab"), [wrong, "-> correct that"]);
    fs::write(&file, &text).unwrap();
    patient.assert_well();

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(
        patient.complaints("--offline"),
        [
            "error configuration: could not read configuration HOME/config.toml: Is a directory (os error 21)",
            "-> KEYFOB_CONFIG names that file: correct or unset it",
        ]
    );
    fs::remove_dir(&file).unwrap();

    // Where it is looked for unless it is said.
    let usual = patient.path(".config/keyfob/config.toml");
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    fs::write(&usual, &text).unwrap();
    patient.assert_mended_in_the_shell(
        "error configuration: KEYFOB_CONFIG names HOME/config.toml, which does not exist",
        "unset KEYFOB_CONFIG",
    );
    fs::remove_file(&usual).unwrap();
    patient.first("unset KEYFOB_CONFIG");
    assert_eq!(
        patient.complaints("--offline"),
        [
            "warn configuration: HOME/.config/keyfob/config.toml does not exist; every caller has to say everything by flags",
            "-> keyfob setup --profile NAME --issuer URL --client-id ID",
            "warn session ISSUER: signed in as alice@example.com with client keyfob; no profile in config.toml leads to it",
            "-> unless a caller uses it by its own flags: KEYFOB_CACHE_DIR=HOME/cache keyfob logout --issuer ISSUER \
             --client-id keyfob",
        ]
    );
    patient.follow("$ keyfob setup --yes --profile lab --issuer ISSUER --client-id keyfob");
    patient.assert_well();
}

#[test]
fn a_profile_that_is_not_there() {
    let mut patient = Patient::well();
    let unknown = patient.shell("keyfob doctor --profile lap");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert_eq!(unknown.stderr, "error: there is no profile \"lap\"; did you mean `lab`?\n");
    patient.first("export KEYFOB_PROFILE=lap");
    patient.assert_mended_in_the_shell(
        "error KEYFOB_PROFILE: it names the profile \"lap\", which does not exist",
        "unset KEYFOB_PROFILE",
    );
}

#[test]
fn files_that_others_can_get_at_are_closed_by_the_remedy() {
    let patient = Patient::well();
    let config = patient.keyfob().config_file();
    chmod(&config, 0o666);
    let complaint = "error configuration: could not use HOME/config.toml: other users can change it (mode 0666)";
    patient.assert_mended(complaint, "chmod go-w HOME/config.toml");

    patient.configure("client-secret = 'hunter2'\n");
    chmod(&config, 0o644);
    let complaint = "error configuration: other users can get at the client secret in HOME/config.toml (mode 0644)";
    patient.assert_mended(complaint, "chmod go= HOME/config.toml");

    chmod(&patient.keyfob().cache_dir(), 0o755);
    let complaint = "error cache: could not use HOME/cache: other users can get at it (mode 0755)";
    patient.assert_mended(complaint, "chmod go= HOME/cache");

    // Once for the folder, once for the profile.
    let file = patient.scene.file();
    chmod(&file, 0o644);
    let place = file.display().to_string().replace(patient.home().to_str().unwrap(), "HOME");
    let (why, remedy) =
        (format!("could not use {place}: other users can get at it (mode 0644)"), format!("$ chmod go= {place}"));
    assert_eq!(
        patient.complaints("--offline"),
        [format!("error cache: {why}"), remedy.clone(), format!("error session lab: {why}"), remedy.clone()]
    );
    patient.follow(&remedy);
    assert_eq!(patient.complaints("--offline"), [""; 0]);
}

#[test]
fn a_profile_that_cannot_be_used_says_why() {
    let patient = Patient::well();
    let secret = patient.path("secret");
    patient.configure(&format!("client-secret-file = '{}'\n", secret.display()));
    assert_eq!(
        patient.complaints("--offline"),
        [
            "error profile lab: could not read the client secret HOME/secret: No such file or directory (os error 2)",
            "-> write it there, or correct `client-secret-file`",
        ]
    );
    fs::write(&secret, "hunter2\n").unwrap();
    chmod(&secret, 0o640);
    let complaint = "error profile lab: other users can get at the client secret in HOME/secret (mode 0640)";
    patient.assert_mended(complaint, "chmod go= HOME/secret");

    patient.configure("[profile.work]\nprovider = 'entra'\n");
    assert_eq!(
        patient.complaints("--offline"),
        [
            "error profile work: profile \"work\" has no `client-id`",
            "-> add `client-id = \"…\"` below [profile.work] in HOME/config.toml, or pass --client-id",
        ]
    );
    assert_eq!(patient.complaints("--offline --profile lab"), [""; 0]);
    patient.configure("client-id = 'x'\nclient-secret = 'y'\nclient-secret-file = 'z'\n");
    chmod(&patient.keyfob().config_file(), 0o600);
    assert_eq!(
        patient.complaints("--offline"),
        [
            "error profile work: HOME/config.toml:8: `client-secret` and `client-secret-file` exclude each other",
            "-> correct that",
        ]
    );
}

#[test]
fn who_is_not_signed_in_signs_in() {
    let patient = Patient::with(Options::default(), LAB);
    let there = "KEYFOB_CONFIG=HOME/config.toml KEYFOB_CACHE_DIR=HOME/cache";
    patient.scene.idp.auto(Auto::Approve);
    patient.assert_mended("warn session lab: nobody is signed in", &format!("{there} keyfob login lab"));
}

#[test]
fn what_a_sign_in_left_behind() {
    let patient = Patient::well();
    let file = patient.scene.file();
    let place = file.display().to_string().replace(patient.home().to_str().unwrap(), "HOME");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    let remedy = format!("$ rm {place}");
    let complaints = patient.complaints("--offline");
    let damaged = format!("warn cache: {place} is damaged: it is not a session (line 1, column 1)");
    assert_eq!(complaints[..3], [&damaged, &remedy, "warn session lab: nobody is signed in"]);
    patient.follow(&remedy);
    assert_eq!(patient.complaints("--offline")[0], "warn session lab: nobody is signed in");
    symlink("elsewhere", &file).unwrap();
    let complaints = patient.complaints("--offline");
    let linked = format!("could not use {place}: it is a symbolic link");
    assert_eq!(complaints[..2], [&format!("error cache: {linked}"), "-> remove it and sign in again"]);
    fs::remove_file(&file).unwrap();
    fs::write(&file, whole).unwrap();
    chmod(&file, 0o600);
    assert_eq!(patient.complaints("--offline"), [""; 0]);

    patient.scene.leave(-1);
    patient.scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
    assert_eq!(patient.scene.silently(["token"]).code, Some(5));
    let complaints = patient.complaints("");
    let trouble = "warn session lab: there was trouble when the provider was last asked: ";
    assert!(complaints[0].starts_with(trouble), "{complaints:?}");
    patient.follow(&complaints[1]);
    patient.assert_well();

    // As from a provider that gives no refresh token to this client.
    patient.scene.change(|session| session["refresh_token"] = Value::Null);
    patient.scene.leave(1900);
    let [complaint, remedy] = &patient.complaints("--offline")[..] else { panic!("one complaint") };
    assert_eq!(complaint, "warn session lab: the token ends in 31 min, and the provider gave none to renew it with");
    let (words, login) = remedy.split_once("; then ").unwrap();
    let wanted =
        "-> have the provider give this client refresh tokens; `offline_access` may have to be among the `scopes`";
    assert_eq!(words, wanted);
    patient.scene.idp.auto(Auto::Approve);
    patient.follow(&format!("$ {login}"));
    patient.assert_well();
}

#[test]
fn a_provider_that_is_not_what_the_profile_says() {
    let patient = Patient::well();
    let text = patient.config();
    let network = "-> check the network, the proxy (HTTPS_PROXY, NO_PROXY), and for a private authority `ca-file`";
    patient.keyfob().write_config(&text.replace(patient.scene.idp.issuer(), "http://127.0.0.1:1"));
    assert_eq!(
        patient.complaints("")[4..],
        [
            "error provider lab: could not reach http://127.0.0.1:1/.well-known/openid-configuration: connection refused",
            network,
        ]
    );
    patient.keyfob().write_config(&format!("{text}ca-file = '{}'\n", patient.path("ca.pem").display()));
    assert_eq!(
        patient.complaints(""),
        [
            "error profile lab: HOME/config.toml:4: could not read the certificate file HOME/ca.pem: No such file or directory (os error 2)",
            "-> `ca-file` must name a PEM file with certificates",
        ]
    );
    patient.keyfob().write_config(&text);
    patient.assert_well();

    let other = Reply::json(200, &json!({ "issuer": "https://other.example" }));
    patient.scene.idp.always(Endpoint::Discovery, other);
    let complaints = patient.complaints("");
    assert!(complaints[0].ends_with("it is of the issuer \"https://other.example\", not \"ISSUER\""), "{complaints:?}");
    assert_eq!(complaints[1], "-> check `issuer`: it must be written exactly as the provider writes it");
    patient.scene.idp.always(Endpoint::Discovery, Reply::json(200, &json!({ "issuer": patient.scene.idp.issuer() })));
    assert_eq!(
        patient.complaints(""),
        ["error provider lab: ISSUER publishes no token endpoint", "-> set `token-endpoint`"]
    );
    patient.scene.idp.always(Endpoint::Discovery, Reply::Real);
    patient.assert_well();
}

/// That the provider answers says nothing about this client.
#[test]
fn a_client_that_the_provider_does_not_know_is_found() {
    let patient = Patient::with(Options::default(), &LAB.replace("'keyfob'", "'another'"));
    let complaints = patient.complaints("");
    let [.., provider, remedy] = &complaints[..] else { panic!("{complaints:?}") };
    assert!(provider.starts_with("error provider lab: the provider refused to start a sign-in: "), "{complaints:?}");
    assert!(remedy.starts_with("-> check the client id \"another\""), "{complaints:?}");
}

#[test]
fn a_server_without_a_device_endpoint_needs_one_by_hand() {
    let options = Options { device_endpoint_in_metadata: false, authorize_in_metadata: false, ..Options::default() };
    let patient = Patient::with(options, LAB);
    assert_eq!(
        patient.complaints("")[2..],
        [
            "error provider lab: ISSUER publishes no device authorization endpoint (RFC 8628)",
            "-> enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it has one it does not publish",
        ]
    );
    let endpoint = patient.scene.idp.url(Endpoint::Device);
    patient.configure(&format!("device-authorization-endpoint = '{endpoint}'\n"));
    assert_eq!(patient.complaints("").len(), 2, "only that nobody is signed in");
}

#[test]
fn a_clock_that_is_off() {
    for (clock, words) in [(7200, "2 h behind"), (-7200, "2 h ahead of")] {
        let patient = Patient::with(Options { clock, ..Options::default() }, LAB);
        assert_eq!(
            patient.complaints("")[2..],
            [
                &format!("error provider lab: this machine's clock is {words} the provider's"),
                "-> set the clock, best by itself: timedatectl set-ntp true",
            ]
        );
    }
    let patient = Patient::with(Options { clock: 30, ..Options::default() }, LAB);
    assert_eq!(patient.complaints("").len(), 2, "what is less than a minute harms nobody");
}

#[test]
fn the_way_to_the_network() {
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let mut patient = Patient::well();
        fs::write(patient.path("empty"), "").unwrap();
        patient.first(&format!("export {name}=HOME/empty"));
        let complaint = format!("error trust store: {name} names no certificate authorities");
        patient.assert_mended_in_the_shell(&complaint, &format!("unset {name}"));
    }
    let mut patient = Patient::well();
    patient.first("export HTTPS_PROXY=ftp://proxy.example:3128");
    let complaint = "error proxy: HTTPS_PROXY is set, but is not the address of a proxy";
    patient.assert_mended_in_the_shell(complaint, "unset HTTPS_PROXY");
    patient.first("export HTTPS_PROXY=http://ada:hunter2@127.0.0.1:1 NO_PROXY=127.0.0.1");
    let output = patient.shell("keyfob doctor").stdout;
    assert!(
        output.contains("ok     proxy: 127.0.0.1:1, by HTTPS_PROXY, but not for what NO_PROXY names\n"),
        "{output}"
    );
    assert!(!output.contains("hunter2"), "{output}");
    patient.assert_well();
}

#[test]
fn what_git_really_runs() {
    let patient = Patient::well();
    patient.configure("[hosts]\n'https://git.example/team' = 'lab'\n");
    let connect = "keyfob setup git --profile lab https://git.example/team";
    let unasked = "warn git https://git.example/team: it has the profile \"lab\", but git does not ask keyfob";
    patient.assert_mended(unasked, connect);
    let said = |text: &str| {
        let output = patient.shell("keyfob doctor --offline").stdout;
        let text = patient.spelt_out(text);
        assert!(output.contains(&format!("ok     git https://git.example/team: git runs {text}\n")), "{output}");
    };
    said("HOME/.bin/keyfob for the profile \"lab\"");

    patient.follow("$ git config --global --unset credential.https://git.example/team.useHttpPath");
    patient.assert_mended(
        "error git https://git.example/team: git does not say which path it wants a token for, so it gets none",
        "git config --global credential.https://git.example/team.useHttpPath true",
    );
    // For every host is as good.
    patient.follow("$ git config --global --unset credential.https://git.example/team.useHttpPath");
    patient.follow("$ git config --global credential.useHttpPath true");
    patient.assert_well();

    let gitconfig = patient.path(".gitconfig");
    let moved =
        fs::read_to_string(&gitconfig).unwrap().replace(&patient.spelt_out("HOME/.bin/keyfob"), "/nowhere/keyfob");
    fs::write(&gitconfig, moved).unwrap();
    patient.assert_mended(
        "error git https://git.example/team: git runs /nowhere/keyfob, which does not exist",
        &format!("keyfob setup git --undo https://git.example/team && {connect}"),
    );

    // Another path of the same host is another matter.
    let text = patient.config();
    patient.keyfob().write_config(&text.replace("/team", "/other"));
    let other = patient.complaints("--offline");
    assert_eq!(other[0], unasked.replace("/team", "/other"));
    patient.keyfob().write_config(&text);
    patient.assert_well();

    // A line that takes back the ones before it.
    let text = fs::read_to_string(&gitconfig).unwrap();
    fs::write(&gitconfig, format!("{text}[credential]\n\thelper =\n")).unwrap();
    assert_eq!(patient.complaints("--offline")[0], unasked);

    // By hand, and for every host.
    fs::write(&gitconfig, "[credential]\n\thelper = keyfob\n\tuseHttpPath = true\n").unwrap();
    assert!(patient.complaints("--offline")[0].ends_with("git runs git-credential-keyfob, which does not exist"));
    symlink(PROGRAM, patient.path(".bin/git-credential-keyfob")).unwrap();
    patient.assert_well();
}

/// A folder whose repositories have another profile.
#[test]
fn the_profile_is_the_one_that_git_names_here() {
    let patient = Patient::well();
    patient.configure("[hosts]\n'https://git.example' = 'lab'\n");
    patient.follow("$ keyfob setup git --profile lab https://git.example");
    patient.follow("$ git init --quiet HOME/company/repo");
    patient.follow("$ git config --global includeIf.gitdir:HOME/company/.path HOME/company.gitconfig");
    let helper = patient.spelt_out("!HOME/.bin/keyfob git --profile other --host https://git.example");
    let lines = format!("[credential \"https://git.example\"]\n\thelper =\n\thelper = {helper}\n");
    fs::write(patient.path("company.gitconfig"), lines).unwrap();
    let said = |folder: &str| {
        let output = patient.shell(&format!("cd {folder} && keyfob doctor --offline")).stdout;
        let line = output.lines().find(|line| line.contains(" git https://git.example: ")).unwrap().to_owned();
        line.replace(patient.home().to_str().unwrap(), "HOME")
    };
    assert_eq!(said("HOME"), "ok     git https://git.example: git runs HOME/.bin/keyfob for the profile \"lab\"");
    let here = "ok     git https://git.example: git runs HOME/.bin/keyfob for the profile \"other\" here, as HOME/company.gitconfig says";
    assert_eq!(said("HOME/company/repo"), here);
    // Without the empty line git asks the first one first, which answers.
    let lines = format!("[credential \"https://git.example\"]\n\thelper = {helper}\n");
    fs::write(patient.path("company.gitconfig"), lines).unwrap();
    assert_eq!(said("HOME/company/repo"), said("HOME"));
}

#[test]
fn what_comes_between_git_and_keyfob() {
    let patient = Patient::well();
    patient.configure("[hosts]\n'https://git.example' = 'lab'\n");
    patient.follow("$ keyfob setup git --profile lab https://git.example");
    patient.follow("$ git init --quiet HOME/work");
    let warns = |line: &str, complaint: &str, remedy: &str| {
        patient.follow(&format!("$ git -C HOME/work {line}"));
        let complaint = format!("warn git https://git.example: {complaint}");
        let remedy = format!("$ {remedy}");
        assert_eq!(patient.complaints_after("cd HOME/work", "--offline"), [complaint, remedy.clone()]);
        patient.follow(&format!("$ cd HOME/work && {}", &remedy[2..]));
        assert_eq!(patient.complaints_after("cd HOME/work", ""), [""; 0]);
    };
    let gitconfig = "HOME//.gitconfig";
    warns(
        "config --global http.https://git.example.extraHeader 'AUTHORIZATION: basic aHVudGVyMg=='",
        &format!(
            "http.https://git.example.extraheader in {gitconfig} sends a credential of its own, which goes before keyfob's"
        ),
        &format!("git config --file {gitconfig} --unset-all http.https://git.example.extraheader '^AUTHORIZATION'"),
    );
    // Beside keyfob's own line, which stays.
    warns(
        "config --global --add credential.https://git.example.helper '!echo password=hunter2 #'",
        &format!(
            "credential.https://git.example.helper in {gitconfig} is another helper for this host (!echo): git hands it the token"
        ),
        &format!("git config --file {gitconfig} --unset-all credential.https://git.example.helper '!(^$|keyfob)'"),
    );
    warns(
        "config credential.helper store",
        "credential.helper in .git/config is another helper for this host (store): git hands it the token",
        "git config --file .git/config --unset-all credential.helper '!(^$|keyfob)'",
    );
    warns(
        "config credential.https://git.example.username ada",
        "credential.https://git.example.username in .git/config makes git ask for that user name",
        "git config --file .git/config --unset-all credential.https://git.example.username",
    );
    warns(
        "config url.ssh://git@git.example/.insteadOf https://git.example/",
        "url.ssh://git@git.example/.insteadof in .git/config sends git to ssh://git@git.example/ instead, where keyfob may not be asked",
        "git config --file .git/config --unset-all url.ssh://git@git.example/.insteadof",
    );
    // A token in an address is not shown.
    patient.follow("$ git -C HOME/work config url.https://x:hunter2@git.example/.insteadOf https://git.example/");
    assert_eq!(
        patient.complaints_after("cd HOME/work", "--offline"),
        [
            "warn git https://git.example: url.https://git.example/.insteadof in .git/config sends git to https://git.example/ instead, where keyfob may not be asked",
            "-> remove it: git config --file .git/config --edit",
        ]
    );
    let sed = "sed -i '/^.url/,$d' \"$1\"";
    fs::write(patient.path("editor"), format!("#!/bin/sh\n/bin/{sed}\n")).unwrap();
    chmod(&patient.path("editor"), 0o755);
    patient.follow("$ cd HOME/work && GIT_EDITOR=HOME/editor git config --file .git/config --edit");
    assert_eq!(patient.complaints_after("cd HOME/work", ""), [""; 0]);
    warns(
        "config remote.origin.url https://ada:hunter2@git.example/a.git",
        "remote.origin.url in .git/config has a user name in it, which git sends along",
        "git config --file .git/config remote.origin.url https://git.example/a.git",
    );
    let environment =
        "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader GIT_CONFIG_VALUE_0='Authorization: x'";
    assert_eq!(
        patient.complaints_after(environment, "--offline"),
        [
            "warn git https://git.example: http.extraheader in command line: sends a credential of its own, which goes before keyfob's",
            "-> it comes from the environment: GIT_CONFIG_COUNT, GIT_CONFIG_PARAMETERS",
        ]
    );
    assert_eq!(patient.complaints_after(&format!("{environment}\nunset GIT_CONFIG_COUNT"), "--offline"), [""; 0]);
}

#[test]
fn a_user_name_that_hosts_ask_for_is_in_nobodys_way() {
    let patient = Patient::well();
    patient.configure("[hosts]\n'https://ada@git.example' = 'lab'\n");
    patient.follow("$ keyfob setup git --profile lab https://ada@git.example");
    patient.follow("$ git config --global credential.https://git.example.username ada");
    patient.assert_well();
}

#[test]
fn which_az_comes_first() {
    let mut patient = Patient::well();
    patient.configure("[az]\nprofile = 'lab'\n");
    let remedy = "-> keyfob setup az FOLDER, and FOLDER before the others on PATH";
    let none = "warn az: [az] is configured, but there is none on PATH";
    assert_eq!(patient.complaints("--offline"), [none, remedy]);
    let other = patient.path(".bin/az");
    fs::write(&other, "#!/bin/sh\n").unwrap();
    chmod(&other, 0o755);
    let wrong = "warn az: programs run HOME/.bin/az, which is not keyfob";
    assert_eq!(patient.complaints("--offline"), [wrong, remedy]);
    patient.follow("$ keyfob setup az HOME/tools");
    patient.first("PATH=$PATH:HOME/tools");
    patient.assert_mended_in_the_shell(wrong, "export PATH=HOME/tools:\"$PATH\"");
}

#[test]
fn a_profile_alone_is_looked_at_with_what_asks_for_it() {
    let patient = Patient::well();
    patient.configure(
        "[profile.gh]\nprovider = 'github'\nclient-id = 'x'\n[hosts]\n'https://git.example' = 'gh'\n[az]\nprofile = 'gh'\n",
    );
    let subjects = |arguments: &str| {
        let complaints = patient.complaints(&format!("--offline {arguments}"));
        let lines = complaints.iter().filter_map(|line| line.strip_prefix("warn ")?.split(": ").next());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(subjects("--profile gh"), ["session gh", "git https://git.example", "az"]);
    assert_eq!(subjects("--profile lab"), [""; 0]);
}
