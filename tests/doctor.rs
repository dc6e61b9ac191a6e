//! `keyfob doctor`: everything that it finds doubtful or bad is provoked, its remedy followed, and then it is found good.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::kube::Home;
use common::{LAB, PROGRAM, Scene};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Keyfob, Output, need};
use serde_json::{Value, json};

/// A patient: keyfob in a home of its own, with the environment that a test gives it.
struct Patient {
    scene: Scene,
    variables: Vec<(&'static str, String)>,
}

impl Patient {
    /// With the profile `lab`, and Alice signed in.
    fn well() -> Self {
        Self { scene: Scene::signed_in(Options::default()), variables: Vec::new() }
    }

    /// With this configuration; nobody has signed in.
    fn with(options: Options, toml: &str) -> Self {
        Self { scene: Scene::with(options, toml), variables: Vec::new() }
    }

    fn keyfob(&self) -> &Keyfob {
        &self.scene.keyfob
    }

    fn home(&self) -> &Path {
        self.keyfob().home()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.keyfob().other(program);
        command.env("KEYFOB_PROMPT", "never").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(self.home());
        // What is on this machine's PATH is not the patient's; git and the shell are enough.
        let bin = self.home().join(".bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            for program in ["git", "sh", "chmod", "ls", "env"] {
                let path = std::env::var_os("PATH").unwrap();
                let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
                symlink(found.unwrap(), bin.join(program)).unwrap();
            }
        }
        command.env("PATH", bin);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(self.command(PROGRAM).args(args), b"")
    }

    /// Runs a remedy as it is printed.
    #[track_caller]
    fn follow(&self, remedy: &str) {
        let remedy = remedy.replace("HOME", self.home().to_str().unwrap()).replace("keyfob ", &format!("{PROGRAM} "));
        let ran = Output::of(self.command("sh").args(["-c", &remedy]), b"");
        assert_eq!(ran.code, Some(0), "{remedy}: {ran:?}");
    }

    /// What is not good, with its remedies; the exit code is held to it.
    #[track_caller]
    fn complaints(&self, args: &[&str]) -> Vec<String> {
        let output = self.run(&[&["doctor"], args].concat());
        assert_eq!(output.stderr, "", "{output:?}");
        let issuer = self.scene.idp.issuer();
        let text = output.stdout.replace(self.home().to_str().unwrap(), "HOME").replace(issuer, "ISSUER");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().filter(|line| !line.starts_with("ok ")).map(words).collect();
        let bad = lines.iter().any(|line| line.starts_with("bad "));
        assert_eq!(output.code, Some(i32::from(bad)), "{text}");
        lines
    }

    #[track_caller]
    fn assert_well(&self) {
        assert_eq!(self.complaints(&[]), [""; 0]);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn whoever_is_well_is_told_what_was_looked_at() {
    let patient = Patient::well();
    let output = patient.run(&["doctor"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let home = patient.home().to_str().unwrap();
    let text = output.stdout.replace(home, "HOME").replace(patient.scene.idp.issuer(), "ISSUER");
    let (authorities, others): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("ok     authorities"));
    assert_eq!(
        others,
        [
            "ok     configuration  HOME/config.toml: 1 profile",
            "ok     sessions       HOME/cache: 1 session",
            "ok     profile lab    signed in as alice@example.com",
            "ok     proxy          none",
            "ok     profile lab    ISSUER/.well-known/openid-configuration answers; sign-in starts at ISSUER/device_authorization",
        ]
    );
    assert!(matches!(authorities[..], [line] if line.starts_with("ok     authorities    the platform's: ")), "{text}");
    let asked: Vec<_> = patient.scene.idp.requests().iter().map(|request| request.path.clone()).collect();
    patient.run(&["doctor", "--offline"]);
    assert_eq!(patient.scene.idp.requests().len(), asked.len(), "offline asks nobody");

    let json: Value = serde_json::from_str(&patient.run(&["doctor", "--json", "--offline"]).stdout).unwrap();
    assert_eq!(
        json["findings"][0],
        json!({
            "level": "ok", "subject": "configuration", "message": format!("{home}/config.toml: 1 profile"), "remedy": null,
        })
    );
}

#[test]
fn a_missing_configuration_is_made_and_a_broken_one_corrected() {
    let patient = Patient::well();
    let file = patient.keyfob().config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let missing = [
        "doubt configuration HOME/config.toml is not there; every caller has to say everything by flags",
        "-> keyfob setup --profile NAME --issuer URL --client-id ID",
    ];
    assert_eq!(patient.complaints(&[]), missing);
    patient.follow(&format!(
        "keyfob setup --yes --profile lab --issuer {} --client-id keyfob",
        patient.scene.idp.issuer()
    ));
    patient.assert_well();

    fs::write(&file, text.replace("client-id", "clientid")).unwrap();
    let wrong = [
        "bad configuration HOME/config.toml:3: unknown key `clientid`; did you mean `client-id`?",
        "-> correct that line",
    ];
    assert_eq!(patient.complaints(&["--offline"]), wrong);
    fs::write(&file, text).unwrap();
    patient.assert_well();
}

#[test]
fn files_that_others_can_get_at_are_closed_by_the_remedy() {
    let patient = Patient::well();
    let config = patient.keyfob().config_file();
    let cache = patient.keyfob().cache_dir();
    chmod(&config, 0o666);
    chmod(&cache, 0o755);
    assert_eq!(
        patient.complaints(&["--offline"]),
        [
            "bad configuration HOME/config.toml is writable by others (mode 0666)",
            "-> chmod go= HOME/config.toml",
            "bad sessions could not use HOME/cache: other users can get at it (mode 0755)",
            "-> chmod go= HOME/cache",
        ]
    );
    patient.follow("chmod go= HOME/config.toml");
    patient.follow("chmod go= HOME/cache");
    patient.assert_well();

    chmod(&patient.scene.file(), 0o644);
    let complaints = patient.complaints(&["--offline"]);
    assert!(complaints[0].starts_with("bad sessions could not use HOME/cache/"), "{complaints:?}");
    patient.follow(complaints[1].strip_prefix("-> ").unwrap());
    patient.assert_well();

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}client-secret = 'hunter2'\n")).unwrap();
    chmod(&config, 0o644);
    assert_eq!(
        patient.complaints(&["--offline"]),
        [
            "bad configuration HOME/config.toml holds a client secret, and other users can get at it (mode 0644)",
            "-> chmod go= HOME/config.toml",
        ]
    );
    patient.follow("chmod go= HOME/config.toml");
    patient.assert_well();
}

#[test]
fn a_profile_that_cannot_be_used_says_why() {
    let patient = Patient::well();
    let text = fs::read_to_string(patient.keyfob().config_file()).unwrap();
    let secret = patient.home().join("secret");
    patient.keyfob().write_config(&format!("{text}client-secret-file = '{}'\n", secret.display()));
    let complaints = patient.complaints(&["--offline"]);
    assert_eq!(
        complaints,
        ["bad profile lab could not read the client secret HOME/secret: No such file or directory (os error 2)"]
    );
    fs::write(&secret, "hunter2\n").unwrap();
    chmod(&secret, 0o640);
    assert_eq!(
        patient.complaints(&["--offline"]),
        [
            "bad profile lab other users can get at the client secret HOME/secret (mode 0640)",
            "-> chmod go= HOME/secret",
        ]
    );
    patient.follow("chmod go= HOME/secret");
    assert_eq!(patient.complaints(&["--offline"]), [""; 0]);

    patient.keyfob().write_config(&format!("default-profile = 'lab'\n{text}[profile.work]\nprovider = 'entra'\n"));
    let complaints = patient.complaints(&[]);
    assert!(complaints[0].starts_with("bad profile work "), "{complaints:?}");
    assert_eq!(patient.complaints(&["--profile", "lab"]), [""; 0]);
    let unknown = patient.run(&["doctor", "--profile", "lap"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.starts_with("error: there is no profile \"lap\"\nhint: the profiles in "), "{unknown:?}");
}

#[test]
fn who_is_not_signed_in_signs_in() {
    let patient = Patient::with(Options::default(), LAB);
    let complaints = patient.complaints(&[]);
    let [doubt, remedy] = &complaints[..] else { panic!("{complaints:?}") };
    assert_eq!(doubt, "doubt profile lab nobody is signed in");
    assert!(remedy.starts_with("-> KEYFOB_CONFIG=HOME/config.toml KEYFOB_CACHE_DIR=HOME/cache "), "{remedy}");
    assert!(remedy.ends_with("keyfob login lab"), "{remedy}");
    patient.scene.idp.auto(Auto::Approve);
    patient.follow(&format!("KEYFOB_PROMPT=always {}", &remedy[3..].replace("/keyfob login", "/keyfob\tlogin")));
    patient.assert_well();
}

#[test]
fn a_damaged_session_and_recent_trouble_end_with_a_login() {
    let patient = Patient::well();
    let file = patient.scene.file();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    let complaints = patient.complaints(&["--offline"]);
    assert!(complaints[0].starts_with("doubt sessions HOME/cache/127.0.0.1-"), "{complaints:?}");
    assert!(complaints[0].ends_with(".json is damaged: it is not a session (line 1, column 1)"), "{complaints:?}");
    assert_eq!(complaints[1], "-> keyfob login, which sets it aside and begins anew");
    fs::write(&file, whole).unwrap();

    patient.scene.leave(-1);
    patient.scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
    assert_eq!(patient.run(&["token"]).code, Some(5));
    let complaints = patient.complaints(&[]);
    assert!(complaints[0].starts_with("doubt profile lab the last time the provider was asked: "), "{complaints:?}");
    assert!(complaints[1].ends_with("keyfob login lab"), "{complaints:?}");
    assert_eq!(patient.run(&["login", "lab"]).code, Some(0));
    patient.assert_well();
}

#[test]
fn a_provider_that_is_not_what_the_profile_says() {
    // Nobody listens there.
    let patient = Patient::well();
    let text = fs::read_to_string(patient.keyfob().config_file()).unwrap();
    patient.keyfob().write_config("[profile.lab]\nissuer = 'http://127.0.0.1:1'\nclient-id = 'keyfob'\n");
    let complaints = patient.complaints(&[]);
    assert_eq!(complaints[0], "doubt profile lab nobody is signed in");
    let down = "bad profile lab could not reach http://127.0.0.1:1/.well-known/openid-configuration: ";
    assert!(complaints[2].starts_with(down), "{complaints:?}");
    assert_eq!(
        complaints[3],
        "-> check the network, the proxy (HTTPS_PROXY, NO_PROXY), and for a private authority `ca-file`"
    );
    patient.keyfob().write_config(&text);
    patient.assert_well();

    let other = text.replace(patient.scene.idp.issuer(), &format!("{}/", patient.scene.idp.issuer()));
    patient
        .scene
        .idp
        .script(Endpoint::Discovery, [1, 2].map(|_| Reply::json(200, &json!({ "issuer": "https://other.example" }))));
    patient.keyfob().write_config(&other);
    let complaints = patient.complaints(&[]).join("\n");
    assert!(complaints.contains("it is of the issuer \"https://other.example\""), "{complaints}");
    assert!(
        complaints.contains("-> check `issuer`: it must be written exactly as the provider writes it"),
        "{complaints}"
    );
}

#[test]
fn a_server_without_a_device_endpoint_needs_one_by_hand() {
    let options = Options { device_endpoint_in_metadata: false, ..Options::default() };
    let patient = Patient::with(options, LAB);
    let complaints = patient.complaints(&[]);
    assert_eq!(
        complaints[2..],
        [
            "bad profile lab ISSUER publishes no device authorization endpoint (RFC 8628)",
            "-> enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it has one it does not publish",
        ]
    );
    let text = fs::read_to_string(patient.keyfob().config_file()).unwrap();
    let endpoint = patient.scene.idp.url(Endpoint::Device);
    patient.keyfob().write_config(&format!("{text}device-authorization-endpoint = '{endpoint}'\n"));
    assert_eq!(patient.complaints(&[]).len(), 2, "only that nobody is signed in");
}

#[test]
fn a_clock_that_is_off_is_set() {
    for (clock, words) in [(7200, "2 hours behind"), (-7200, "2 hours ahead of")] {
        let patient = Patient::with(Options { clock, ..Options::default() }, LAB);
        assert_eq!(
            patient.complaints(&[])[2..],
            [
                &format!("bad profile lab this machine's clock is {words} the provider's"),
                "-> set the clock, best by itself: timedatectl set-ntp true",
            ]
        );
    }
}

#[test]
fn the_way_to_the_network() {
    let mut patient = Patient::well();
    let empty = patient.home().join("empty.pem");
    fs::write(&empty, "").unwrap();
    patient.variables.push(("SSL_CERT_FILE", empty.display().to_string()));
    let complaints = patient.complaints(&[]);
    assert_eq!(
        complaints[..2],
        ["bad authorities SSL_CERT_FILE names no certificate authorities", "-> unset SSL_CERT_FILE"]
    );
    patient.variables.clear();
    patient.variables.push(("HTTPS_PROXY", "ftp://proxy.example:3128".into()));
    let complaints = patient.complaints(&[]);
    assert_eq!(
        complaints[..2],
        ["bad proxy HTTPS_PROXY is set, but is not the address of a proxy", "-> unset HTTPS_PROXY"]
    );
    patient.variables.clear();
    patient.variables.push(("HTTPS_PROXY", "http://ada:hunter2@127.0.0.1:1".into()));
    let output = patient.run(&["doctor"]).stdout;
    assert!(output.contains("ok     proxy          127.0.0.1:1\n"), "{output}");
    assert!(!output.contains("hunter2"), "{output}");
}

#[test]
fn what_git_really_runs() {
    let patient = Patient::well();
    let text = fs::read_to_string(patient.keyfob().config_file()).unwrap();
    patient.keyfob().write_config(&format!("{text}[hosts]\n'https://git.example/team' = 'lab'\n"));
    let connect = "keyfob setup git --profile lab https://git.example/team";
    assert_eq!(
        patient.complaints(&["--offline"]),
        [
            "doubt git, https://git.example/team has the profile \"lab\", but git does not ask keyfob",
            &format!("-> {connect}"),
        ]
    );
    patient.follow(&format!("{connect} --yes"));
    patient.assert_well();
    let text = patient.run(&["doctor", "--offline"]).stdout;
    assert!(text.contains(&format!("git runs {PROGRAM}; the profile is \"lab\"\n")), "{text}");

    patient.follow("git config --global --unset credential.https://git.example/team.useHttpPath");
    let by_path = "git config --global credential.https://git.example/team.useHttpPath true";
    assert_eq!(
        patient.complaints(&["--offline"]),
        [
            "bad git, https://git.example/team git does not say which path it wants a token for, so it gets none",
            &format!("-> {by_path}"),
        ]
    );
    patient.follow(by_path);
    patient.assert_well();

    patient.follow("git config --global http.https://git.example.extraHeader 'Authorization: Basic aHVudGVyMg=='");
    let complaints = patient.complaints(&["--offline"]);
    assert_eq!(
        complaints,
        [
            "doubt git, https://git.example/team http.https://git.example.extraheader in HOME//.gitconfig sends a credential of its own, which goes before keyfob's",
            "-> git config --show-origin --list shows it; git config --unset-all NAME removes it",
        ]
    );
    patient.follow("git config --global --unset-all http.https://git.example.extraheader");
    patient.assert_well();

    let gitconfig = patient.home().join(".gitconfig");
    let moved = fs::read_to_string(&gitconfig).unwrap().replace(PROGRAM, "/nowhere/keyfob");
    fs::write(&gitconfig, moved).unwrap();
    let complaints = patient.complaints(&["--offline"]);
    assert_eq!(complaints[0], "bad git, https://git.example/team git runs /nowhere/keyfob, which is not there");
    let (undo, redo) = complaints[1].strip_prefix("-> ").unwrap().split_once(", then ").unwrap();
    patient.follow(&undo.replace("--undo", "--undo --yes"));
    patient.follow(&format!("{redo} --yes"));
    patient.assert_well();
}

#[test]
fn what_kubectl_really_runs() {
    let home = need!(Home::new(None));
    let config = "[profile.lab]\nissuer = 'http://127.0.0.1:1'\nclient-id = 'keyfob'\n";
    fs::create_dir_all(home.path(".config/keyfob")).unwrap();
    fs::write(home.path(".config/keyfob/config.toml"), config).unwrap();
    home.kubectl(&[
        "config",
        "set-credentials",
        "ada",
        "--exec-api-version=client.authentication.k8s.io/v1beta1",
        "--exec-command=/nowhere/keyfob",
        "--exec-arg=kubernetes",
        "--exec-arg=--profile",
        "--exec-arg=lap",
    ]);
    let complaints = || {
        let output = home.run(&["doctor", "--offline"]);
        let text = home.plain(&output.stdout);
        let lines = text.lines().filter(|line| line.contains("kubectl") || line.contains("       ->"));
        let lines: Vec<_> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.into_iter().filter(|line| !line.contains("login")).collect::<Vec<_>>()
    };
    let again = "-> keyfob setup kubernetes --profile NAME --user ada";
    assert_eq!(complaints(), ["bad kubectl, ada kubectl runs /nowhere/keyfob, which is not there", again]);
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(home.kubeconfig(), text.replace(from, to)).unwrap();
    };
    change("/nowhere/keyfob", PROGRAM);
    assert_eq!(complaints(), ["bad kubectl, ada kubectl asks for the profile \"lap\", which there is not", again]);
    change("- lap", "- lab");
    home.kubectl(&["config", "set-credentials", "ada", "--token=hunter2"]);
    let token = complaints();
    assert_eq!(
        token[..2],
        [
            "bad kubectl, ada the user \"ada\" has a token of its own, which kubectl sends instead",
            "-> kubectl --kubeconfig=HOME/.kube/config config unset users.ada.token",
        ]
    );
    home.kubectl(&["config", "unset", "users.ada.token"]);
    assert_eq!(complaints(), ["ok kubectl, ada kubectl runs KEYFOB"]);

    let mut command = home.command(&["doctor", "--offline"]);
    command.env("KUBECONFIG", format!("{}:/nowhere/config", home.kubeconfig().display()));
    let output = Output::of(&mut command, b"");
    let doubt = "doubt  kubectl        KUBECONFIG names /nowhere/config, which is not there\n";
    assert!(output.stdout.contains(doubt), "{output:?}");
}

#[test]
fn which_az_comes_first() {
    let mut patient = Patient::well();
    let text = fs::read_to_string(patient.keyfob().config_file()).unwrap();
    patient.keyfob().write_config(&format!("{text}[az]\nprofile = 'lab'\n"));
    let remedy = "-> keyfob setup az FOLDER, and FOLDER before it on PATH";
    assert_eq!(patient.complaints(&["--offline"]), ["doubt az [az] is configured, but there is no az on PATH", remedy]);
    let other = patient.home().join(".bin/az");
    fs::write(&other, "#!/bin/sh\n").unwrap();
    chmod(&other, 0o755);
    assert_eq!(patient.complaints(&["--offline"]), ["doubt az programs run HOME/.bin/az, which is not keyfob", remedy]);
    patient.follow("keyfob setup az --yes HOME/tools");
    patient.variables.push(("PATH", format!("{0}/tools:{0}/.bin", patient.home().display())));
    patient.assert_well();
}
