//! What a person sees when something is wrong: one line that says what, at most one that says what to do, the exit code
//! that README promises, nothing on stdout; and nothing is lost that was there before.
//!
//! The messages are compared byte for byte, since they are what the user gets. Only what differs from run to run is
//! replaced: `HOME` stands for the run's own folder, `ISSUER` for the provider's address, `SESSION` for the name of the
//! session's file without its ending, `LOGIN` for the environment and command that sign in.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{self, Permissions};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use common::{LAB, SOON, now, token};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider, Reply};
use keyfob_test_support::{Keyfob, Output, skip};
use serde_json::json;

/// A scene whose messages are compared.
struct Scene(common::Scene);

impl Deref for Scene {
    type Target = common::Scene;

    fn deref(&self) -> &common::Scene {
        &self.0
    }
}

impl Scene {
    fn new(options: Options, toml: &str) -> Self {
        Self(common::Scene::with(options, toml))
    }

    fn lab() -> Self {
        Self::new(Options::default(), LAB)
    }

    /// Someone has signed in.
    fn signed_in() -> Self {
        Self::signed_in_with(Options::default())
    }

    /// Later sign-ins are approved as well.
    fn signed_in_with(options: Options) -> Self {
        let scene = Self::new(options, LAB);
        scene.idp.auto(Auto::Approve);
        token(&scene.prompting(["token"]));
        scene
    }

    /// Asserts how a run ended and what it said.
    #[track_caller]
    fn assert_failed(&self, output: &Output, code: i32, stderr: &str) {
        let said = output.stderr.replace(self.idp.issuer(), "ISSUER");
        assert_failed(&self.keyfob, &Output { stderr: said, ..output.clone() }, code, stderr);
    }
}

fn silently(keyfob: &Keyfob, args: &[&str]) -> Output {
    Output::of(keyfob.command(args).env("KEYFOB_PROMPT", "never"), b"")
}

#[track_caller]
fn assert_failed(keyfob: &Keyfob, output: &Output, code: i32, stderr: &str) {
    assert_eq!(stable(keyfob, &output.stderr), stderr);
    assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""));
    assert!(stderr.lines().count() <= 2, "more than two lines");
}

/// A message without what differs from run to run.
fn stable(keyfob: &Keyfob, text: &str) -> String {
    let text = text.replace(&keyfob.home().display().to_string(), "HOME");
    let environment = "KEYFOB_CONFIG=HOME/config.toml KEYFOB_CACHE_DIR=HOME/cache ";
    let text = text.replace(&format!("{environment}{} login", env!("CARGO_BIN_EXE_keyfob")), "LOGIN");
    // A session's file: the host, a dash, 24 hexadecimal digits.
    match text.split_once("127.0.0.1-") {
        Some((before, rest)) if rest.len() > 24 && rest[..24].bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{before}SESSION{}", stable(keyfob, &rest[24..]))
        }
        _ => text,
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

// The configuration.

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line_and_the_nearest_right_word() {
    let cases = [
        ("[profile.lab]\nclientid = 'x'\n", "HOME/config.toml:2: unknown key `clientid`; did you mean `client-id`?\n"),
        ("\n[profiles.lab]\n", "HOME/config.toml:2: unknown key `profiles`; did you mean `profile`?\n"),
        (
            "[profile.lab]\nclient-id = 'c'\nprovider = 'keycloack'\n",
            "HOME/config.toml:3: `provider` \"keycloack\" is not known; did you mean `keycloak`?\n",
        ),
        (
            "[profile.lab]\ntoken-kind = 'acces'\n",
            "HOME/config.toml:2: `token-kind` cannot be \"acces\"; did you mean `access`?\n",
        ),
        (
            "[profile.lab]\nscopes = 'openid'\n",
            "HOME/config.toml:2: `scopes` must be a list of strings, not a string\n",
        ),
        ("[profile.lab]\nmin-ttl = true\n", "HOME/config.toml:2: `min-ttl` must be a number, not true or false\n"),
        (
            "[profile.lab]\nissuer = 'http://id.example.com'\nclient-id = 'c'\n",
            "HOME/config.toml:2: `issuer` is not https (plain http is allowed only on loopback)\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\ntoken-endpoint = 'ftp://x'\n",
            "HOME/config.toml:4: `token-endpoint` is not https\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\n",
            "profile \"lab\" has no `client-id`\n\
             hint: add `client-id = \"…\"` below [profile.lab] in HOME/config.toml, or pass --client-id\n",
        ),
        (
            "[profile.lab]\nclient-id = 'c'\n",
            "profile \"lab\" has no `issuer`\n\
             hint: add `issuer = \"…\"` below [profile.lab] in HOME/config.toml, or pass --issuer\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\nclient-secret = 'x'\n\
             client-secret-file = 'y'\n",
            "HOME/config.toml:4: `client-secret` and `client-secret-file` exclude each other\n",
        ),
        (
            "[profile.lab]\nprovider = 'gitea'\nclient-id = 'c'\n",
            "HOME/config.toml:2: Gitea has no device authorization grant (RFC 8628), so keyfob cannot sign in there\n\
             hint: use git-credential-oauth on a machine with a browser\n",
        ),
        (
            "default-profile = 'lap'\n[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\n",
            "HOME/config.toml:1: `default-profile`: there is no profile \"lap\"; did you mean `lab`?\n",
        ),
        (
            "[profile.lab]\n[profile.work]\n",
            "which profile? There are lab, work\n\
             hint: name one with --profile or KEYFOB_PROFILE, or set `default-profile` in config.toml\n",
        ),
        (
            "",
            "no profile is configured\n\
             hint: add a [profile.NAME] with `issuer` and `client-id` to HOME/config.toml, or pass --issuer and \
             --client-id\n",
        ),
    ];
    for (toml, error) in cases {
        let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).config(toml);
        for command in ["token", "kubernetes", "login", "logout"] {
            assert_failed(&keyfob, &silently(&keyfob, &[command]), 2, &format!("error: {error}"));
        }
        assert!(!keyfob.cache_dir().exists(), "nothing is made for a mistake");
    }
}

/// The parser's own words may change, the line and what is kept to ourselves may not.
#[test]
fn broken_toml_is_named_with_its_line_and_no_secret_of_it_is_shown() {
    for (toml, line) in [
        ("[profile.lab]\nclient-id = 'c'\nclient-secret = \"hunter2\nscopes = []\n", 3),
        ("[profile.lab]\nclient-secret = hunter2\n", 2),
        ("[profile.lab]\nclient-secret = ['hunter2']\n", 2),
        ("[profile.lab]\nclient-secret = \"hunter2\\u001b\"\n", 2),
        ("[profile.lab]\nclient-secret = 'hunter2'\nclient-secret = 'hunter2'\n", 3),
        ("[profile.lab\n", 1),
    ] {
        let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).config(toml);
        for command in ["token", "status"] {
            let output = silently(&keyfob, &[command]);
            assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{toml}");
            let said = stable(&keyfob, &output.stderr);
            assert!(said.starts_with(&format!("error: HOME/config.toml:{line}: ")), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    fs::write(keyfob.config_file(), b"[profile.lab]\nissuer = '\xff'\n").unwrap();
    let error = "error: could not read configuration HOME/config.toml: stream did not contain valid UTF-8\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);

    fs::write(keyfob.config_file(), " ".repeat(1024 * 1024 + 1)).unwrap();
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, "error: HOME/config.toml: larger than 1 MiB\n");

    fs::remove_file(keyfob.config_file()).unwrap();
    let error = "error: could not read configuration HOME/config.toml: No such file or directory (os error 2)\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);

    fs::create_dir(keyfob.config_file()).unwrap();
    let error = "error: could not read configuration HOME/config.toml: Is a directory (os error 21)\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);
}

#[test]
fn without_a_configuration_file_in_its_usual_place_there_is_no_profile_yet() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    let output = Output::of(keyfob.command(["token"]).env_remove("KEYFOB_CONFIG"), b"");
    let error = "error: no profile is configured\n\
                 hint: add a [profile.NAME] with `issuer` and `client-id` to HOME/.config/keyfob/config.toml, or pass \
                 --issuer and --client-id\n";
    assert_failed(&keyfob, &output, 2, error);
}

#[test]
fn a_profile_that_is_not_there_is_named_with_where_it_was_asked_for() {
    let scene = Scene::lab();
    let error = "error: profile: there is no profile \"lap\"; did you mean `lab`?\n";
    scene.assert_failed(&scene.silently(["token", "--profile", "lap"]), 2, error);
    scene.assert_failed(&scene.silently(["login", "lap"]), 2, error);
    let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_PROFILE", "zzz"), b"");
    scene.assert_failed(&output, 2, "error: KEYFOB_PROFILE: there is no profile \"zzz\"; known are `lab`\n");
    let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_PROMPT", "yes"), b"");
    let error = "error: KEYFOB_PROMPT: `prompt` cannot be \"yes\"; known are `auto`, `always`, `never`\n";
    scene.assert_failed(&output, 2, error);
    let output = scene.silently(["token", "--profile", "lab", "--issuer", "https://id.example.com"]);
    let error = "error: --issuer describes a profile of its own and cannot be used with profile \"lab\"\n\
                 hint: leave out --issuer or the profile's name\n";
    scene.assert_failed(&output, 2, error);
}

#[test]
fn a_mistake_on_the_command_line_takes_no_more_than_two_lines() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    for (args, said) in [
        (&["tokn"][..], "tokn"),
        (&["token", "--isuer", "x"], "--isuer"),
        (&["token", "--client-secret", "x"], "--client-secret"),
        (&["token", "--min-ttl", "soon"], "--min-ttl"),
        (&["token", "--token-kind", "acces"], "acces"),
        (&["token", "--format", "xml"], "xml"),
        (&["token", "extra"], "extra"),
        (&["login", "--scope"], "--scope"),
        (&["logout", "lab", "--all"], "--all"),
    ] {
        let output = silently(&keyfob, args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{args:?}");
        let lines: Vec<_> = output.stderr.lines().collect();
        assert!(lines[0].starts_with("error: ") && lines[0].contains(said), "{args:?}: {}", output.stderr);
        assert!(lines.len() <= 2 && lines.iter().skip(1).all(|l| l.starts_with("hint: ")), "{}", output.stderr);
    }
}

/// `HOME` is not all: without it, the system is asked where the user lives. A namespace has users it knows nothing of.
#[test]
fn without_a_home_there_is_nowhere_to_keep_tokens() {
    let stranger = ["--user", "--map-user=54321", "--map-group=54321"];
    let tried = Command::new("unshare").args(stranger).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        skip!("`unshare` cannot make a user without a home here");
    }
    let scene = Scene::lab();
    let run = |set: &[(&str, &str)]| {
        let mut command = scene.keyfob.other("unshare");
        command.args(stranger).args([env!("CARGO_BIN_EXE_keyfob"), "token", "--client-id", "keyfob"]);
        command.args(["--issuer", scene.idp.issuer()]).env("KEYFOB_PROMPT", "never");
        for folder in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "KEYFOB_CONFIG", "KEYFOB_CACHE_DIR"] {
            command.env_remove(folder);
        }
        Output::of(command.envs(set.iter().copied()), b"")
    };
    let error = "error: there is no home directory to keep tokens in\nhint: set HOME or KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&run(&[]), 2, error);
    scene.assert_failed(&run(&[("HOME", "")]), 2, error);
    // One folder is enough; nothing else of a home is needed.
    let output = run(&[("KEYFOB_CACHE_DIR", scene.keyfob.cache_dir().to_str().unwrap())]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
}

#[test]
fn a_client_secret_that_cannot_be_read_stops_before_anything_is_asked() {
    let scene = Scene::lab();
    let file = scene.keyfob.home().join("secret");
    let more = format!("client-secret-file = '{}'\n", file.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    let error = "error: could not get a token for lab: could not read the client secret HOME/secret: No such file or \
                 directory (os error 2)\n";
    scene.assert_failed(&scene.prompting(["token"]), 2, error);
    for empty in ["", "\n", "\r\n"] {
        fs::write(&file, empty).unwrap();
        let error = "error: could not get a token for lab: the client secret file HOME/secret is empty\n";
        scene.assert_failed(&scene.prompting(["token"]), 2, error);
    }
    assert_eq!((scene.idp.count("device"), scene.idp.count("token")), (0, 0));
}

#[test]
fn a_ca_file_without_certificates_is_named() {
    let scene = Scene::lab();
    let file = scene.keyfob.home().join("ca.pem");
    let more = format!("ca-file = '{}'\n", file.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    let fails = |why: &str| {
        let error = format!(
            "error: could not get a token for lab: {why}\nhint: `ca-file` must name a PEM file with certificates\n"
        );
        scene.assert_failed(&scene.prompting(["token"]), 2, &error);
    };
    fails("could not read the certificate file HOME/ca.pem: No such file or directory (os error 2)");
    fs::write(&file, "").unwrap();
    fails("HOME/ca.pem holds no certificate");
    fs::write(&file, "hello").unwrap();
    fails("HOME/ca.pem holds no certificate");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    fails("HOME/ca.pem is not a PEM file");
    assert_eq!(scene.idp.requests().len(), 0);
}

// The caller.

#[test]
fn an_odd_exec_credential_request_gets_one_clear_line() {
    let scene = Scene::signed_in();
    let v1 = "client.authentication.k8s.io/v1";
    for (info, why) in [
        ("{".to_owned(), "it is not JSON (line 1, column 1)".to_owned()),
        ("yes".into(), "it is not JSON (line 1, column 1)".into()),
        ("[]".into(), "it is not a JSON object".into()),
        ("null".into(), "it is not a JSON object".into()),
        (
            json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"}).to_string(),
            format!(
                "its apiVersion is \"client.authentication.k8s.io/v1alpha1\", not {v1} or {v1}beta1\n\
                 hint: set `apiVersion: {v1}` in the kubeconfig's exec section"
            ),
        ),
        (
            json!({"apiVersion": "v1\u{1b}[2J"}).to_string(),
            format!(
                "its apiVersion is \"v1\\u001b[2J\", not {v1} or {v1}beta1\n\
                 hint: set `apiVersion: {v1}` in the kubeconfig's exec section"
            ),
        ),
        ("[".repeat(100_000), "it is not JSON (line 1, column 128)".into()),
    ] {
        let mut command = scene.keyfob.command(["kubernetes"]);
        let output = Output::of(command.env("KUBERNETES_EXEC_INFO", info).env("KEYFOB_PROMPT", "never"), b"");
        let error = format!("error: could not answer the ExecCredential request: {why}\n");
        scene.assert_failed(&output, 1, &error);
    }
    // What is not known, or not of the type that was expected, is no reason to refuse.
    for info in [
        String::new(),
        "{}".into(),
        json!({"apiVersion": null, "spec": null}).to_string(),
        json!({"apiVersion": v1, "kind": "Other", "spec": {"interactive": "yes", "cluster": [1]}, "x": 1}).to_string(),
    ] {
        let mut command = scene.keyfob.command(["kubernetes"]);
        let output = Output::of(command.env("KUBERNETES_EXEC_INFO", info).env("KEYFOB_PROMPT", "never"), b"");
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(output.stdout.starts_with(&format!("{{\"apiVersion\":\"{v1}\",\"kind\":\"ExecCredential\",")));
    }
}

#[test]
fn an_exec_credential_request_that_is_not_text_gets_one_clear_line() {
    use std::os::unix::ffi::OsStrExt;

    let scene = Scene::signed_in();
    let mut command = scene.keyfob.command(["kubernetes"]);
    command.env("KUBERNETES_EXEC_INFO", std::ffi::OsStr::from_bytes(b"{\xff\x1b[2J"));
    let output = Output::of(command.env("KEYFOB_PROMPT", "never"), b"");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(output.stderr.starts_with("error: could not read the ExecCredential request: "), "{output:?}");
    assert_eq!(output.stderr.matches(char::is_control).collect::<Vec<_>>(), ["\n"]);
}

/// Callers stop reading whenever they like: `keyfob status | head -1`.
#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let scene = Scene::signed_in();
    for args in [&["token"][..], &["kubernetes"], &["status"], &["--help"], &["--version"], &["login"], &["logout"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scene.keyfob.command(args);
        let child = command.env("KEYFOB_PROMPT", "never").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{args:?}");
        assert_eq!(ended.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { skip!("/dev/full is not there") };
    let scene = Scene::signed_in();
    let mut command = scene.keyfob.command(["token"]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    let error = "error: could not write the answer to stdout: No space left on device (os error 28)\n";
    assert_eq!((String::from_utf8_lossy(&ended.stderr).as_ref(), ended.status.code()), (error, Some(1)));
}

#[test]
fn closed_standard_streams_are_survived() {
    let scene = Scene::signed_in();
    let expected = scene.token();
    let sh = |script: &str| {
        let mut command = scene.keyfob.other("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob"), "token"]).env("KEYFOB_PROMPT", "never");
        Output::of(&mut command, b"")
    };
    assert_eq!(token(&sh("exec \"$0\" \"$@\" <&- 2>&-")), expected);
    assert_eq!(sh("exec \"$0\" \"$@\" >&-").stderr, "");
    // Had the cache taken the number of a closed stream, it would hold what was meant for the caller.
    scene.leave(-1);
    sh("exec \"$0\" \"$@\" >&- 2>&-");
    assert_ne!(scene.token(), expected);
}

// The session's file.

/// What becomes of a file's bytes.
type Damage = fn(Vec<u8>) -> Vec<u8>;

/// Whatever stood in the file is kept under another name, which is said; and one sign-in mends it.
#[test]
fn a_damaged_session_is_set_aside_with_its_bytes_and_named() {
    let cases: [(Damage, &str); 6] = [
        (|mut bytes| bytes.split_off(0)[..100].to_vec(), "it is not a session (line 1, column 100)"),
        (|_| Vec::new(), "it is not a session (line 1, column 0)"),
        (|_| b"\0\xff\xfe".to_vec(), "it is not UTF-8"),
        (|_| b"null".to_vec(), "it is not a session (line 1, column 4)"),
        (|_| vec![b' '; (1 << 24) + 1], "it is larger than 16 MiB"),
        (
            |bytes| String::from_utf8(bytes).unwrap().replace("\"client_id\":\"keyfob\"", "\"client_id\":\"k\"").into(),
            "it belongs to another session",
        ),
    ];
    thread::scope(|scope| {
        for (damage, why) in cases {
            scope.spawn(move || set_aside(damage, why));
        }
    });
}

fn set_aside(damage: Damage, why: &str) {
    let scene = Scene::signed_in();
    let file = scene.file();
    let damaged = damage(fs::read(&file).unwrap());
    fs::write(&file, &damaged).unwrap();

    let output = scene.silently(["token"]);
    let asides: Vec<_> = scene.names().into_iter().filter(|name| name.contains(".damaged-")).collect();
    let [aside] = &asides[..] else { panic!("{asides:?}") };
    let kept = scene.keyfob.cache_dir().join(aside);
    let said = Output { stderr: output.stderr.replace(aside, "ASIDE"), ..output };
    scene.assert_failed(
        &said,
        3,
        &format!(
            "error: could not get a token for lab: a sign-in is needed: the session file was damaged ({why}) and is \
             kept as HOME/cache/ASIDE, and prompting is switched off\nhint: LOGIN lab\n"
        ),
    );
    assert!(fs::read(&kept).unwrap() == damaged, "{why}");
    assert_eq!(mode(&kept), 0o600);

    let prompted = scene.prompting(["token"]);
    let new = token(&prompted);
    assert_eq!(scene.token(), new);
    assert!(kept.exists());
}

#[test]
fn what_was_set_aside_before_is_not_written_over() {
    let scene = Scene::signed_in();
    let earlier: Vec<_> = (0..60).map(|s| scene.file().with_extension(format!("damaged-{}", now() + s))).collect();
    for path in &earlier {
        fs::write(path, "earlier").unwrap();
    }
    fs::write(scene.file(), "{").unwrap();
    let output = scene.silently(["token"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(earlier.iter().all(|path| fs::read(path).unwrap() == b"earlier"));
    assert_eq!(scene.names().iter().filter(|name| name.contains(".damaged-")).count(), 61);
}

#[test]
fn a_damaged_session_is_told_to_whoever_looks_and_signing_out_works() {
    let scene = Scene::signed_in();
    let file = scene.file();
    fs::write(&file, "{").unwrap();
    let status = scene.silently(["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let said = stable(&scene.keyfob, &(status.stdout + &status.stderr));
    assert!(said.contains("HOME/cache/SESSION.json") && said.contains("damaged"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), b"{", "looking changes nothing");

    let output = scene.silently(["logout"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "Not signed in to lab.\n"));
    assert!(output.stderr.starts_with("warning: the session file was damaged (it is not a session"), "{output:?}");
}

#[test]
fn a_session_of_a_newer_version_is_left_alone() {
    let scene = Scene::signed_in();
    let old = scene.token();
    scene.change(|session| {
        session["version"] = json!(2);
        session["tokens"] = json!({"of": "another kind"});
    });
    let bytes = fs::read(scene.file()).unwrap();
    for command in ["token", "kubernetes", "login", "logout", "status"] {
        let context = if matches!(command, "login") { "could not get a token for lab: " } else { "" };
        scene.assert_failed(
            &scene.silently([command]),
            1,
            &format!(
                "error: {context}could not use HOME/cache/SESSION.json: a newer keyfob wrote it\n\
                 hint: update this keyfob, or set KEYFOB_CACHE_DIR to a folder of its own\n"
            ),
        );
        assert_eq!(fs::read(scene.file()).unwrap(), bytes, "{command}");
    }
    assert!(scene.idp.accepts(&old));
}

#[test]
fn a_session_that_others_can_read_is_refused_and_the_hint_mends_it() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let folder = scene.keyfob.cache_dir();
    for (path, name, open, closed) in [
        (scene.file(), "/SESSION.json", 0o640, 0o600),
        (scene.file(), "/SESSION.json", 0o604, 0o600),
        (folder, "", 0o750, 0o700),
    ] {
        set_mode(&path, open);
        let output = scene.silently(["token"]);
        scene.assert_failed(
            &output,
            1,
            &format!(
                "error: could not use HOME/cache{name}: other users can get at it (mode {open:04o})\n\
                 hint: chmod go= HOME/cache{name}\n"
            ),
        );
        let hint = output.stderr.lines().nth(1).unwrap().strip_prefix("hint: ").unwrap();
        assert_eq!(Output::of(scene.keyfob.other("sh").args(["-c", hint]), b"").code, Some(0));
        assert_eq!(mode(&path), closed);
        assert_eq!(scene.token(), old);
    }
}

#[test]
fn a_session_of_another_user_is_refused() {
    let scene = Scene::signed_in();
    if !is_root() {
        // Only root can give files away; but root has some.
        let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_CACHE_DIR", "/"), b"");
        let error = "error: could not use /: it belongs to another user (uid 0)\n\
                     hint: set KEYFOB_CACHE_DIR to a folder of your own\n";
        scene.assert_failed(&output, 1, error);
        return;
    }
    let old = scene.token();
    for (path, name) in [(scene.file(), "/SESSION.json"), (scene.keyfob.cache_dir(), "")] {
        chown(&path, Some(54_321), None).unwrap();
        for command in ["token", "logout"] {
            scene.assert_failed(
                &scene.silently([command]),
                1,
                &format!(
                    "error: could not use HOME/cache{name}: it belongs to another user (uid 54321)\n\
                     hint: set KEYFOB_CACHE_DIR to a folder of your own\n"
                ),
            );
        }
        chown(&path, Some(0), None).unwrap();
        assert_eq!(scene.token(), old);
    }
}

#[test]
fn a_symbolic_link_is_followed_nowhere() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let (folder, file) = (scene.keyfob.cache_dir(), scene.file());
    let real = scene.keyfob.home().join("elsewhere");

    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    let error = "error: could not use HOME/cache/SESSION.json: it is a symbolic link\n\
                 hint: remove it and sign in again\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::rename(&real, &file).unwrap();
    assert_eq!(scene.token(), old);

    fs::rename(&folder, &real).unwrap();
    symlink(&real, &folder).unwrap();
    let error = "error: could not use the cache folder HOME/cache: it is a file or a link, not a folder\n\
                 hint: remove it, or set KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::remove_file(&folder).unwrap();
    fs::rename(&real, &folder).unwrap();
    assert_eq!(scene.token(), old);
}

/// Locks and temporary files have names that can be guessed.
#[test]
fn nothing_is_written_through_a_link_in_place_of_a_lock_or_a_temporary_file() {
    let scene = Scene::signed_in();
    let victim = scene.keyfob.home().join("victim");
    fs::write(&victim, "precious").unwrap();
    scene.leave(-1);
    let lock = scene.file().with_extension("lock");
    fs::remove_file(&lock).unwrap();
    symlink(&victim, &lock).unwrap();
    let error = "error: could not get a token for lab: could not open the lock SESSION.lock: Too many levels of symbolic \
                 links (os error 40)\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::remove_file(&lock).unwrap();

    symlink(&victim, scene.file().with_extension("new")).unwrap();
    scene.token();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_cache_folder_that_is_no_folder_or_cannot_be_made_is_named() {
    let scene = Scene::lab();
    let folder = scene.keyfob.cache_dir();
    fs::write(&folder, "precious").unwrap();
    for command in ["token", "login", "logout", "status"] {
        let error = "error: could not use the cache folder HOME/cache: it is a file or a link, not a folder\n\
                     hint: remove it, or set KEYFOB_CACHE_DIR\n";
        scene.assert_failed(&scene.silently([command]), 1, error);
    }
    assert_eq!(fs::read_to_string(&folder).unwrap(), "precious");
    // Below a file there can be none.
    let mut command = scene.keyfob.command(["login"]);
    let output = Output::of(command.env("KEYFOB_CACHE_DIR", folder.join("below")), b"");
    let error = "error: could not use the cache folder HOME/cache/below: it is a file or a link, not a folder\n\
                 hint: remove it, or set KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.requests().len(), 0);
}

/// A file system that takes no more bytes: no file of this process may grow, which a disk that is full does not differ
/// from; and it needs neither root nor a disk.
fn on_a_full_disk(scene: &Scene, prompt: &str, args: &[&str]) -> Output {
    let mut command = scene.keyfob.other("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_keyfob")]).args(args);
    Output::of(command.env("KEYFOB_PROMPT", prompt), b"")
}

/// Writing becomes impossible while the server thinks: what it then gives is nobody's until it is on disk.
#[test]
fn a_token_that_cannot_be_saved_is_not_handed_out_and_the_old_session_stays_whole() {
    // The server goes on taking the old refresh token, so that nothing is lost for good.
    let scene = Scene::signed_in_with(Options { rotation: false, ..Options::default() });
    scene.leave(-1);
    let before = fs::read(scene.file()).unwrap();
    let in_the_way = scene.file().with_extension("new");
    let hold = scene.idp.hold(Endpoint::Token);
    let output = thread::scope(|scope| {
        let running = scope.spawn(|| scene.silently(["token"]));
        scene.idp.wait_for("token:refresh_token", 1, SOON);
        fs::create_dir(&in_the_way).unwrap();
        drop(hold);
        running.join().unwrap()
    });
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: Is a directory (os error \
                 21)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(fs::read(scene.file()).unwrap(), before);
    fs::remove_dir(&in_the_way).unwrap();
    scene.token();
}

/// With rotation a refresh that cannot be saved would cost the session: it is better not to ask.
#[test]
fn a_refresh_token_is_not_spent_when_its_successor_could_not_be_saved() {
    let scene = Scene::signed_in();
    scene.leave(-1);
    let before = fs::read(scene.file()).unwrap();
    let output = on_a_full_disk(&scene, "never", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: File too large (os \
                 error 27)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(fs::read(scene.file()).unwrap(), before);
    assert!(!scene.file().with_extension("new").exists());
    // There is room again.
    scene.token();
    assert_eq!(scene.idp.refresh_reuses(), 0);
}

#[test]
fn a_full_disk_does_not_hide_a_token_that_still_lives() {
    let scene = Scene::signed_in();
    let old = scene.token();
    assert_eq!(token(&on_a_full_disk(&scene, "never", &["token"])), old, "the cache is only read");
    // Due for renewal: it cannot be saved, but the old one is good.
    scene.leave(100);
    assert_eq!(token(&on_a_full_disk(&scene, "never", &["token"])), old);
}

/// The provider is down, and not even that can be written down.
#[test]
fn trouble_that_cannot_be_noted_does_not_hide_a_token_that_still_lives() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let fails_to_refresh = |left: i64, count: usize| {
        scene.leave(left);
        scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
        let in_the_way = scene.file().with_extension("new");
        let hold = scene.idp.hold(Endpoint::Token);
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| scene.silently(["token"]));
            scene.idp.wait_for("token:refresh_token", count, SOON);
            fs::create_dir(&in_the_way).unwrap();
            drop(hold);
            running.join().unwrap()
        });
        fs::remove_dir(&in_the_way).unwrap();
        output
    };
    assert_eq!(token(&fails_to_refresh(100, 1)), old);
    let error = "error: could not get a token for lab: could not reach ISSUER/token: it answered with status 503\n";
    scene.assert_failed(&fails_to_refresh(-1, 2), 5, error);
}

#[test]
fn no_code_is_shown_that_could_not_be_kept() {
    let scene = Scene::lab();
    let output = on_a_full_disk(&scene, "always", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: File too large (os \
                 error 27)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.count("token"), 0);
}

/// A mount that only the program itself sees, and that ends with it.
fn with_mount(scene: &Scene, mount: &str, prompt: &str, args: &[&str]) -> Output {
    let script = format!("set -e; C=$KEYFOB_CACHE_DIR; {mount}; exec \"$0\" \"$@\"");
    let mut command = scene.keyfob.other("unshare");
    command.args(UNSHARE).args(["sh", "-c", &script, env!("CARGO_BIN_EXE_keyfob")]).args(args);
    Output::of(command.env("KEYFOB_PROMPT", prompt), b"")
}

/// Root of a namespace is enough, where users may have one.
const UNSHARE: [&str; 2] = ["--map-root-user", "--mount"];

/// Whether mounts can be tried out here.
fn can_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k none /mnt";
    let tried = Command::new("unshare").args(UNSHARE).args(["sh", "-c", script]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn a_disk_that_is_really_full_is_named() {
    if !can_mount() {
        skip!("`unshare` cannot mount a small disk here");
    }
    let scene = Scene::signed_in_with(Options { rotation: false, ..Options::default() });
    scene.leave(-1);
    let keep = scene.keyfob.home().join("afterwards");
    fs::create_dir(&keep).unwrap();
    let before = fs::read(scene.file()).unwrap();
    let mount = format!(
        "D=$(mktemp -d {0}/d.XXXX); cp -p \"$C\"/* \"$D\"; mount -t tmpfs -o size=32k,mode=700 none \"$C\"; \
         cp -p \"$D\"/* \"$C\"; dd if=/dev/zero of=\"$C/fill\" bs=4k 2>/dev/null || true; \
         set +e; \"$0\" \"$@\"; code=$?; cp -p \"$C\"/*.json {0}; exit $code",
        keep.display()
    );
    let output = with_mount(&scene, &mount, "never", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: No space left on device \
                 (os error 28)\n";
    scene.assert_failed(&output, 1, error);
    let file = keep.join(scene.file().file_name().unwrap());
    assert_eq!(fs::read(file).unwrap(), before);
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_and_still_answers_from_the_cache() {
    let scene = Scene::signed_in();
    let old = scene.token();
    if !can_mount() {
        skip!("`unshare` cannot mount a folder read-only here");
    }
    let run = |args: &[&str]| {
        let mount = "mount --bind \"$C\" \"$C\"; mount -o remount,ro,bind \"$C\"";
        with_mount(&scene, mount, "never", args)
    };
    assert_eq!(token(&run(&["token"])), old);
    scene.leave(-1);
    let output = run(&["token"]);
    let error = "error: could not get a token for lab: could not open the lock SESSION.lock: Read-only file system (os \
                 error 30)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.count("token:refresh_token"), 0, "nothing is asked for that could not be kept");
    scene.token();
}

// The provider.

/// Metadata for an issuer.
type Document = fn(String) -> Reply;

#[test]
fn what_is_wrong_with_metadata_is_named() {
    let cases: [(Document, &str); 6] = [
        (|_| Reply::json(200, &json!({"token_endpoint": "https://x.example"})), "it names no issuer"),
        (|_| Reply::json(200, &json!({"issuer": 7})), "it names no issuer"),
        (
            |_| Reply::json(200, &json!({"issuer": "https://other\u{1b}[2J.example"})),
            "it is of the issuer \"https://other[2J.example\", not \"ISSUER\"",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "token_endpoint": "http://id.example.com/token"})),
            "its `token_endpoint` is not https (plain http is allowed only on loopback)",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "device_authorization_endpoint": ["x"]})),
            "its `device_authorization_endpoint` is not a string",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "revocation_endpoint": "https://a@b.example"})),
            "its `revocation_endpoint` has a user name in it",
        ),
    ];
    for (document, why) in cases {
        let scene = Scene::lab();
        scene.idp.always(Endpoint::Discovery, document(scene.idp.issuer().to_owned()));
        scene.assert_failed(
            &scene.prompting(["token"]),
            1,
            &format!(
                "error: could not get a token for lab: the metadata at ISSUER/.well-known/openid-configuration cannot \
                 be used: {why}\nhint: check `issuer`: it must be written exactly as the provider writes it\n"
            ),
        );
    }
    let scene = Scene::new(Options { oidc_discovery: false, ..Options::default() }, LAB);
    let error = "error: could not get a token for lab: found no metadata of ISSUER \
                 (ISSUER/.well-known/openid-configuration: status 404; ISSUER/.well-known/oauth-authorization-server: \
                 status 404)\n\
                 hint: check `issuer`; for a server without metadata set `device-authorization-endpoint` and \
                 `token-endpoint`\n";
    scene.assert_failed(&scene.prompting(["token"]), 1, error);
}

#[test]
fn what_is_wrong_with_a_device_answer_is_named() {
    for (answer, why) in [
        (json!({"user_code": "u", "verification_uri": "https://a.example"}), "its answer has no `device_code`"),
        (json!({"device_code": "d", "verification_uri": "https://a.example"}), "its answer has no `user_code`"),
        (json!({"device_code": "d", "user_code": "u"}), "its answer has no `verification_uri`"),
        (
            json!({"device_code": "d", "user_code": "u", "verification_uri": "http://evil.example/"}),
            "its `verification_uri` is not https (plain http is allowed only on loopback)",
        ),
    ] {
        let scene = Scene::lab();
        scene.idp.script(Endpoint::Device, [Reply::json(200, &answer)]);
        let error = format!("error: could not get a token for lab: ISSUER/device_authorization: {why}\n");
        scene.assert_failed(&scene.prompting(["token"]), 1, &error);
    }
}

#[test]
fn a_provider_out_of_reach_is_exit_5() {
    let scene = Scene::lab();
    let flags = |issuer: &str, more: &[&str]| {
        let mut command = scene.keyfob.command(["token", "--issuer", issuer, "--client-id", "c", "--prompt", "always"]);
        Output::of(command.args(more), b"")
    };
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("http://127.0.0.1:{port}");
    let error = format!(
        "error: could not get a token for {dead}: could not reach {dead}/.well-known/openid-configuration: connection \
         refused\n"
    );
    scene.assert_failed(&flags(&dead, &[]), 5, &error);

    // https where there is none.
    let plain = scene.idp.issuer().replace("http://", "https://");
    let output = flags(&plain, &[]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(5), "", 1), "{output:?}");

    let secure = Provider::start(Options { tls: true, ..Options::default() });
    let issuer = secure.issuer();
    let output = flags(issuer, &[]);
    let error = format!(
        "error: could not get a token for {issuer}: could not reach {issuer}/.well-known/openid-configuration: its \
         certificate is not trusted ("
    );
    assert!(output.stderr.starts_with(&error), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(5), "", 1), "{output:?}");
}

#[test]
fn a_sign_in_that_nobody_can_see_is_exit_3_with_the_command_that_shows_it() {
    let scene = Scene::lab();
    let error = "error: could not get a token for lab: a sign-in is needed, and prompting is switched off\n\
                 hint: LOGIN lab\n";
    scene.assert_failed(&scene.silently(["token"]), 3, error);
    let mut command = scene.keyfob.command(["kubernetes"]);
    // In the background, whatever terminal this test is run in.
    let output = Output::of(command.process_group(0), b"");
    let error = "error: could not get a token for lab: a sign-in is needed, and there is no terminal to show a sign-in \
                 on\nhint: LOGIN lab\n";
    scene.assert_failed(&output, 3, error);

    // A profile made of flags is named by them, quoted for a shell.
    let output = scene.silently(["token", "--issuer", scene.idp.issuer(), "--client-id", "it's mine"]);
    let error = "error: could not get a token for ISSUER: a sign-in is needed, and prompting is switched off\n\
                 hint: LOGIN --issuer ISSUER --client-id 'it'\\''s mine'\n";
    scene.assert_failed(&output, 3, error);
    // The command in the hint works as it stands.
    scene.idp.auto(Auto::Approve);
    let hint = scene.silently(["token"]).stderr.lines().nth(1).unwrap().strip_prefix("hint: ").unwrap().to_owned();
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", &hint]).env("KEYFOB_PROMPT", "always");
    let output = Output::of(shell.env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR"), b"");
    assert_eq!(output.code, Some(0), "{output:?}");
    scene.token();
}

#[test]
fn a_refused_or_expired_sign_in_is_exit_4_and_remembered_for_whoever_asks_at_once() {
    for (denied, said) in [
        (true, "the sign-in was refused (access_denied: the user said no)"),
        (false, "the code has expired before it was entered"),
    ] {
        let scene = Scene::lab();
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| scene.prompting(["token"]));
            let code = scene.idp.wait_for_code(SOON);
            if denied {
                scene.idp.deny(&code);
            } else {
                scene.idp.expire(&code);
            }
            running.join().unwrap()
        });
        let error = format!("error: could not get a token for lab: {said}\nhint: to try again: LOGIN lab\n");
        let at = output.stderr.find("error: ").unwrap();
        let first = Output { stderr: output.stderr[at..].to_owned(), ..output };
        scene.assert_failed(&first, 4, &error);
        // kubectl tries again at once, several times; and whoever cannot prompt gets the same answer.
        for prompt in ["always", "never"] {
            let mut command = scene.keyfob.command(["kubernetes"]);
            scene.assert_failed(&Output::of(command.env("KEYFOB_PROMPT", prompt), b""), 4, &error);
        }
        assert_eq!(scene.idp.user_codes().len(), 1);
        scene.idp.auto(Auto::Approve);
        assert_eq!(scene.prompting(["login"]).code, Some(0), "`login` ignores the memory");
        scene.token();
    }
}

/// Terminals obey control characters, and callers copy stderr into logs.
#[test]
fn no_control_character_of_the_server_reaches_a_stream() {
    let evil = "\u{1b}[2J\u{9b}31m\u{7}\u{202e}\r\n\tx";
    let scene = Scene::new(
        Options {
            claims: json!({"preferred_username": format!("a{evil}"), "sub": format!("s{evil}")}),
            ..Options::default()
        },
        LAB,
    );
    let mut outputs = Vec::new();
    let error =
        |status| Reply::json(status, &json!({"error": format!("e{evil}"), "error_description": evil.repeat(9)}));
    for reply in [
        error(400),
        error(503),
        Reply::redirect(302, "https://portal.example/\u{9b}31m"),
        Reply::json(200, &json!({"device_code": evil, "user_code": evil, "verification_uri": evil})),
    ] {
        scene.idp.script(Endpoint::Device, [reply]);
        outputs.push(scene.prompting(["token"]));
    }
    let code = json!({
        "device_code": "d", "user_code": format!("AB{evil}CD"), "verification_uri": "https://portal.example/device",
        "verification_uri_complete": format!("https://portal.example/device?c={evil}"), "message": evil,
        "expires_in": 600, "interval": 1,
    });
    scene.idp.script(Endpoint::Device, [Reply::json(200, &code)]);
    scene.idp.script(Endpoint::Token, [error(400)]);
    outputs.push(scene.prompting(["token"]));
    assert!(outputs[4].stderr.contains("Enter code  AB[2J31m xCD\n"), "{:?}", outputs[4]);

    scene.idp.auto(Auto::Approve);
    outputs.push(scene.prompting(["login"]));
    assert_eq!(outputs[5].code, Some(0));
    outputs.push(scene.silently(["status"]));
    outputs.push(scene.silently(["status", "--json"]));
    outputs.push(scene.silently(["token", "--format", "json"]));
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [error(400), error(503)]);
    outputs.push(scene.silently(["token"]));
    outputs.push(Output::of(
        scene.keyfob.command(["token"]).env("KEYFOB_LOG", "debug").env("KEYFOB_PROMPT", "never"),
        b"",
    ));
    scene.idp.script(Endpoint::Revoke, [error(400)]);
    outputs.push(scene.silently(["logout"]));
    assert!(outputs[11].stderr.starts_with("warning: "), "{:?}", outputs[11]);

    for output in outputs {
        for text in [&output.stdout, &output.stderr] {
            let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(odd), "{output:?}");
        }
    }
}
