//! Sealed sessions: what is on the disk is of no use without a key that is not; and nothing is lost on the way there and
//! back, nor when the key is gone.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::machine::answer;
use crate::common::{LAB, PROGRAM, Scene, files, strace, token};
use crate::survival::{calls, measured, times};
use keyfob_test_support::lookalike::{Lookalike, json};
use keyfob_test_support::provider::Options;
use keyfob_test_support::{Output, skip};
use linux_keyutils::{KeyRing, KeyRingIdentifier};
use serde_json::Value;

/// A scene whose keys are taken out of the kernel's keyring at the end.
struct Sealed(Scene);

impl Sealed {
    /// Alice has signed in, and the session is sealed.
    fn new(options: Options) -> Self {
        let scene = Scene::signed_in(options);
        let sealed = Self(scene);
        sealed.run(["store", "kernel"]);
        sealed
    }

    /// What a command prints that goes well and without a word.
    #[track_caller]
    fn run<const N: usize>(&self, args: [&str; N]) -> String {
        let output = self.0.silently(args);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
        output.stdout
    }

    /// The line in front of the sealed session.
    fn header(&self) -> Value {
        let bytes = fs::read(self.0.file()).unwrap();
        serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
    }

    /// Adds lines to the top of the configuration.
    fn configure(&self, lines: &str) {
        let file = self.0.keyfob.config_file();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{lines}\n{text}")).unwrap();
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.0.forget_keys();
    }
}

/// Every file below a folder that holds one of these texts.
fn holding(folder: &Path, texts: &[String]) -> Vec<String> {
    files(folder, &[]).into_iter().filter(|file| texts.iter().any(|text| file.contains(text.as_str()))).collect()
}

#[test]
fn a_sealed_session_answers_and_renews_and_no_file_holds_a_token() {
    let scene = Scene::signed_in(Options::default());
    let first = scene.token();
    assert_eq!(holding(scene.keyfob.home(), &scene.idp.issued()).len(), 1, "in clear, there is one");
    let sealed = Sealed(scene);
    assert_eq!(
        sealed.run(["store", "kernel"]),
        "1 session moved. Sessions are sealed by a key in the kernel's keyring.\n\
         A restart of the machine empties it: see `keyfob store --help` to keep the key elsewhere.\n"
    );
    let scene = &sealed.0;
    assert!(fs::read_to_string(scene.keyfob.config_file()).unwrap().starts_with("store = \"kernel\"\n"));
    assert_eq!(holding(scene.keyfob.home(), &scene.idp.issued()), Vec::<String>::new());
    assert_eq!((sealed.header()["version"].as_u64(), sealed.header()["alg"].as_str()), (Some(3), Some("A256GCM")));

    // A copy of what stood in clear is worth nothing soon.
    assert_eq!(scene.token(), first);
    scene.settle();
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    let second = scene.token();
    assert_ne!(second, first);
    assert!(scene.idp.accepts(&second));
    assert_eq!(holding(scene.keyfob.home(), &scene.idp.issued()), Vec::<String>::new());
    scene.assert_proper();

    assert_eq!(sealed.run(["store"]), "Sessions are sealed by a key in the kernel's keyring.\n");
    assert!(sealed.run(["status"]).contains("lab: signed in as alice@example.com"));
    assert_eq!(sealed.run(["logout"]), "Signed out of lab (alice@example.com).\n");
    assert!(!scene.idp.accepts(&second));
}

#[test]
fn a_session_that_begins_is_sealed_where_the_configuration_says_so() {
    let scene = Scene::with(Options::default(), &format!("store = 'kernel'\n{LAB}"));
    scene.sign_in();
    let sealed = Sealed(scene);
    assert_eq!(holding(sealed.0.keyfob.home(), &sealed.0.idp.issued()), Vec::<String>::new());
    assert!(sealed.0.idp.accepts(&sealed.0.token()));
    // No variable weakens it: neither does another configuration.
    let other = sealed.0.keyfob.home().join("other.toml");
    fs::write(&other, LAB.replace("ISSUER", sealed.0.idp.issuer())).unwrap();
    let output =
        Output::of(sealed.0.command("never", ["login", "--force", "--start"]).env("KEYFOB_CONFIG", &other), b"");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(sealed.header()["version"], 3);
}

#[test]
fn back_in_clear_everything_is_as_before() {
    let sealed = Sealed::new(Options::default());
    let key = sealed.header()["kid"].as_str().unwrap().to_owned();
    assert_eq!(sealed.run(["store", "file"]), "1 session moved. Sessions are kept in clear, in files for you alone.\n");
    assert_eq!(sealed.0.session()["version"], 2);
    assert!(sealed.0.idp.accepts(&sealed.0.token()));
    sealed.0.settle();
    assert!(fs::read_to_string(sealed.0.keyfob.config_file()).unwrap().starts_with("store = \"file\"\n"));
    assert!(!sealed.0.names().contains(&"sealed".to_owned()));
    // The key is used no more; it is found for the test's own clean-up.
    let ring = KeyRing::get_persistent(KeyRingIdentifier::User).unwrap();
    ring.search(&format!("keyfob:{key}")).unwrap().invalidate().unwrap();
}

#[test]
fn without_its_key_a_session_is_locked_and_left_alone_until_somebody_signs_in_again() {
    let sealed = Sealed::new(Options::default());
    let (scene, file) = (&sealed.0, sealed.0.file());
    let before = fs::read(&file).unwrap();
    sealed.0.forget_keys();
    let locked = format!("{} is locked: its key is not in the kernel's keyring, as after a restart", file.display());
    let output = scene.prompting(["token"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
    assert_eq!(output.stderr, format!("error: {locked}\nhint: keyfob login\n"));
    let output = scene.silently(["unlock"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(scene.silently(["status"]).stdout.contains(&locked));
    assert_eq!(fs::read(&file).unwrap(), before);

    scene.idp.auto(keyfob_test_support::provider::Auto::Approve);
    let output = scene.prompting(["login"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(scene.idp.accepts(&scene.token()));
    let aside: Vec<_> = scene.names().into_iter().filter(|name| name.contains(".damaged-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read(scene.keyfob.cache_dir().join(&aside[0])).unwrap(), before);
    assert_eq!(holding(scene.keyfob.home(), &scene.idp.issued()), Vec::<String>::new());
}

/// Nobody is there who could sign in after a restart, and nobody has to.
#[test]
fn a_machine_signs_itself_in_again_when_its_key_is_gone() {
    let count = AtomicUsize::new(0);
    let server =
        Lookalike::start(move |_| json(200, &answer(&format!("t0ken-{}", count.fetch_add(1, Ordering::Relaxed)))));
    let config = format!(
        "store = 'kernel'\n[profile.ci]\ntoken-endpoint = '{}/token'\nclient-id = 'robot'\nclient-secret = 's'\n\
         grant = 'client-credentials'\n",
        server.origin()
    );
    let sealed = Sealed(Scene::with(Options::default(), &config));
    let scene = &sealed.0;
    assert_eq!([scene.token(), scene.token()], ["t0ken-0", "t0ken-0"]);
    let (file, key) = (fs::read(scene.file()).unwrap(), sealed.header()["kid"].clone());
    scene.forget_keys();
    assert_eq!([scene.token(), scene.token()], ["t0ken-1", "t0ken-1"]);
    assert_ne!(sealed.header()["kid"], key);
    let aside = scene.names().into_iter().find(|name| name.contains(".damaged-")).unwrap();
    assert_eq!(fs::read(scene.keyfob.cache_dir().join(aside)).unwrap(), file);
    // What brings the key back may do so later: until then nothing else is begun.
    sealed.configure("key-command = ['false']");
    scene.forget_keys();
    let output = scene.silently(["token"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
    assert!(output.stderr.ends_with("hint: keyfob unlock\n"), "{output:?}");
}

#[test]
fn key_command_brings_the_key_back_for_callers_and_unlock() {
    let sealed = Sealed::new(Options::default());
    let kept = sealed.0.keyfob.home().join("kept");
    fs::write(&kept, sealed.run(["store", "--export-key"])).unwrap();
    let command =
        |script: &str| format!("key-command = ['sh', '-c', {:?}]", script.replace("KEPT", kept.to_str().unwrap()));
    sealed.configure(&command("cat KEPT"));
    sealed.0.forget_keys();
    assert!(sealed.0.idp.accepts(&sealed.0.token()), "a caller fetches it");
    sealed.0.forget_keys();
    assert_eq!(sealed.run(["unlock"]), "The sessions are unlocked.\n");
    sealed.0.forget_keys();
    let mut ignoring = sealed.0.keyfob.other("env");
    let output = Output::of(ignoring.args(["--ignore-signal=CHLD", PROGRAM, "unlock"]), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");

    // What is no key, or another one, unlocks nothing.
    fs::write(&kept, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    sealed.0.forget_keys();
    let output = sealed.0.silently(["token"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
    assert!(output.stderr.ends_with("hint: keyfob unlock\n"), "{output:?}");
    let output = sealed.0.silently(["unlock"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.starts_with("error: `key-command` printed the key "), "{output:?}");
    fs::write(&kept, "no key").unwrap();
    let output = sealed.0.silently(["unlock"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

/// A move to sealed sessions that was ended in the middle, and a restart of the machine: those still in clear can be read.
#[test]
fn a_key_that_is_gone_in_the_middle_of_a_move_costs_no_session_in_clear() {
    let sealed = Sealed(Scene::signed_in(Options::default()));
    let scene = &sealed.0;
    let mark = scene.keyfob.cache_dir().join("sealed");
    fs::write(&mark, "00000000 sealing\n").unwrap();
    scene.leave(-1);
    assert!(scene.idp.accepts(&scene.token()));
    assert_eq!(sealed.header()["version"], 3, "what is written now is sealed, by a new key");
    let key = sealed.header()["kid"].as_str().unwrap().to_owned();
    assert_eq!(fs::read_to_string(&mark).unwrap(), format!("{key} sealing\n"));
}

#[test]
fn a_key_that_goes_while_a_person_signs_in_costs_nothing() {
    let config = format!("store = 'kernel'\nkey-command = ['false']\n{LAB}");
    let sealed = Sealed(Scene::with(Options::default(), &config));
    let login = sealed.0.start(["login"]);
    let code = login.code();
    sealed.0.forget_keys();
    sealed.0.idp.approve(&code);
    let output = login.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(sealed.0.idp.accepts(&sealed.0.token()));
    assert_eq!(holding(sealed.0.keyfob.home(), &sealed.0.idp.issued()), Vec::<String>::new());
}

/// One after the other, a move is killed before each system call that changes something; the next finishes it.
#[test]
fn a_move_killed_before_any_system_call_loses_nothing() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let sealed = Sealed::new(Options::default());
    let scene = &sealed.0;
    for (there, back) in [("file", "kernel"), ("kernel", "file")] {
        sealed.run(["store", back]);
        let moments = calls(scene, &scene.command("never", ["store", there]));
        assert!(moments.len() > 20, "{moments:?} cannot be all");
        for moment in moments {
            sealed.run(["store", back]);
            moment.kill(&mut scene.command("never", ["store", there]));
            assert!(scene.idp.accepts(&scene.token()), "{there}: {moment:?}");
            scene.settle();
            sealed.run(["store", there]);
            assert!(scene.idp.accepts(&scene.token()), "{there}: {moment:?}");
            scene.settle();
        }
    }
    assert_eq!(scene.idp.count("device"), 1, "nobody had to sign in again");
}

/// The same for a renewal of a sealed session, by the clock as well.
#[test]
fn a_sealed_renewal_killed_at_any_time_costs_nothing() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let sealed = Sealed::new(Options { rotation: false, ..Options::default() });
    let scene = &sealed.0;
    let ended = || {
        sealed.run(["store", "file"]);
        scene.leave(-1);
        sealed.run(["store", "kernel"]);
    };
    ended();
    let command = || scene.command("never", ["token"]);
    let by_the_clock = times(measured(&mut command()) * 2);
    ended();
    let moments = calls(scene, &command());
    assert!(moments.len() > 20, "{moments:?} cannot be all");
    for moment in moments.into_iter().chain(by_the_clock) {
        ended();
        moment.kill(&mut command());
        scene.settle();
        assert!(scene.idp.accepts(&scene.token()), "{moment:?}");
        assert_eq!(holding(&scene.keyfob.cache_dir(), &scene.idp.issued()), Vec::<String>::new(), "{moment:?}");
    }
    assert_eq!(scene.idp.count("device"), 1, "nobody had to sign in again");
}

/// What this program does before it becomes the command that is given to it.
fn after(sealed: &Sealed, python: &str) -> Output {
    let script = format!(
        "import ctypes, os, struct, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n{python}\nos.execv(sys.argv[1], sys.argv[1:])"
    );
    let plain = sealed.0.command("never", ["token"]);
    let mut command = Command::new("python3");
    command.args(["-c", &script]).arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Output::of(&mut command, b"")
}

/// As cron, systemd and sudo have it: a session whose keyring is not linked to the user's.
#[test]
fn every_session_of_the_user_reads_the_key() {
    let sealed = Sealed::new(Options::default());
    sealed.0.token();
    sealed.0.settle();
    for (what, python) in [
        ("as it is", ""),
        ("a session keyring of its own (keyctl's JOIN_SESSION)", "assert libc.syscall(250, 1, None) > 0"),
        (
            "a session and a process group of its own",
            "os.fork() and os._exit(os.waitstatus_to_exitcode(os.wait()[1])); os.setsid()",
        ),
    ] {
        let output = after(&sealed, python);
        assert_eq!(output.code, Some(0), "{what}: {output:?}");
        assert!(sealed.0.idp.accepts(&token(&output)), "{what}");
    }
    // A user namespace has keyrings of its own: the session is locked there.
    let output = after(&sealed, "assert libc.unshare(0x10000000) == 0");
    assert!(output.stderr.contains("locked") || output.stderr.contains("another user"), "{output:?}");
    assert_eq!(output.stdout, "");
}

/// What a container's usual seccomp profile does: EPERM to add_key, request_key and keyctl.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_container_that_may_not_ask_is_told_why() {
    let sealed = Sealed::new(Options::default());
    let before = fs::read(sealed.0.file()).unwrap();
    let filter = "
ins = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
code = ins(0x20, 0, 0, 0) + b''.join(ins(0x15, 0, 1, n) + ins(6, 0, 0, 0x50001) for n in (248, 249, 250)) + ins(6, 0, 0, 0x7fff0000)
buf = ctypes.create_string_buffer(code)
prog = struct.pack('HxxxxxxQ', len(code) // 8, ctypes.addressof(buf))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog, 0, 0) == 0";
    let output = after(&sealed, filter);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert_eq!(
        output.stderr,
        "error: the kernel's keyring cannot be used: the system refuses it, as the seccomp profile of a container does\n\
         hint: allow keyctl and add_key in the container's seccomp profile, or set KEYFOB_CACHE_DIR and `store = \"file\"` for it\n"
    );
    assert_eq!(fs::read(sealed.0.file()).unwrap(), before);
}

#[test]
fn doctor_says_how_sessions_are_kept_and_what_does_not_fit() {
    let sealed = Sealed::new(Options::default());
    let looked = |line: &str| {
        let output = sealed.0.silently(["doctor", "--offline"]);
        assert!(output.stdout.contains(line), "{line}: {output:?}");
    };
    looked(
        "ok     store: sealed by a key in the kernel's keyring; after a restart you sign in again, since there is no `key-command`\n",
    );
    let file = sealed.0.keyfob.config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("store = \"kernel\"\n", "")).unwrap();
    looked("store: the sessions are sealed, and config.toml does not say `store = \"kernel\"`\n");
    fs::write(&file, format!("key-command = ['pass', 'show', 'key']\n{text}")).unwrap();
    looked("after a restart `key-command` (pass) brings the key back\n");
    sealed.run(["store", "file"]);
    fs::write(&file, text).unwrap();
    looked("store: config.toml says `store = \"kernel\"`, and the sessions are not sealed\n");
    sealed.run(["store", "kernel"]);
}

/// A session that somebody put back from an old copy in clear.
#[test]
fn what_is_in_clear_among_sealed_ones_is_not_used() {
    let scene = Scene::signed_in(Options::default());
    let clear = fs::read(scene.file()).unwrap();
    let sealed = Sealed(scene);
    sealed.run(["store", "kernel"]);
    fs::write(sealed.0.file(), &clear).unwrap();
    let output = sealed.0.silently(["token"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(output.stderr.ends_with("it is not sealed, as the others are\nhint: keyfob store kernel\n"), "{output:?}");
}

#[test]
fn sessions_are_not_given_up_to_keep_nothing() {
    let scene = Scene::signed_in(Options::default());
    let output = scene.silently(["store", "none"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(2), "error: there are sessions, and `none` keeps none\nhint: keyfob logout --all && keyfob store none\n")
    );
    assert!(scene.idp.accepts(&scene.token()));
    assert_eq!(scene.silently(["logout", "--all"]).code, Some(0));
    let output = scene.silently(["store", "none"]);
    assert_eq!(
        output.stdout, "Nothing is kept from now on: each call of a machine's profile asks its provider.\n",
        "{output:?}"
    );
    assert!(scene.silently(["status", "--json"]).stdout.contains("\"store\": \"none\""));
}
