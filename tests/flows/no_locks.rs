//! A cache folder on a file system without locks, as some NFS and some container mounts are: a file takes the place of
//! each lock. What holds elsewhere holds there: one refresh, one prompt, no session lost, nothing left behind.
//!
//! `strace` is the file system: it has `flock` fail as the kernel does.

#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::common::{Caller, PROGRAM, SOON, Scene, refresh_token, token, wait_for_sleepers, wait_until};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Output, Terminal, skip};

/// A lock that a process of another machine holds.
const THEIRS: &str = "0123456789abcdef 1 - elsewhere\n";

/// Longer than anybody may hold a lock.
const LONG: Duration = Duration::from_secs(130);

macro_rules! need_strace {
    () => {
        let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !strace.is_ok_and(|status| status.success()) {
            skip!("strace is not here");
        }
    };
}

/// keyfob where `flock` fails with `error`, and other calls as said: `renameat:error=ENOSPC`, `write:signal=KILL:when=2`.
fn failing(scene: &Scene, error: &str, others: &[&str], prompt: &str, args: &[&str]) -> Command {
    let mut strace = scene.keyfob.other("strace");
    // -D: keyfob itself is what is started, so that it can be looked at and killed.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]).env("KEYFOB_PROMPT", prompt);
    let mut traced = String::from("trace=flock");
    for call in others {
        traced += ",";
        traced += call.split(':').next().unwrap();
        strace.args(["-e", &format!("inject={call}")]);
    }
    strace.args(["-e", &traced, "-e", &format!("inject=flock:error={error}")]);
    strace.arg(PROGRAM).args(args);
    strace
}

fn command(scene: &Scene, prompt: &str, args: &[&str]) -> Command {
    failing(scene, "ENOLCK", &[], prompt, args)
}

fn run(scene: &Scene, prompt: &str, args: &[&str]) -> Output {
    Output::of(&mut command(scene, prompt, args), b"")
}

fn start(scene: &Scene, prompt: &str) -> Caller {
    Caller::start(&mut command(scene, prompt, &["token"]))
}

fn twelve(scene: &Scene, prompt: &str) -> Vec<Caller> {
    (0..12).map(|_| start(scene, prompt)).collect()
}

/// The files that take the place of the session's lock, and of that of signing in.
fn held(scene: &Scene) -> [PathBuf; 2] {
    ["lock.held", "sign-in.lock.held"].map(|ending| scene.file().with_extension(ending))
}

fn leave(path: &Path, contents: &str, age: Duration) {
    fs::write(path, contents).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// The session and the files that are locked where there are locks; nothing else.
#[track_caller]
fn assert_tidy(scene: &Scene) {
    let path = scene.file();
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap();
    let expected = ["json", "lock", "sign-in.lock"].map(|ending| format!("{stem}.{ending}"));
    assert!(scene.names().iter().all(|name| expected.contains(name)), "{:?}", scene.names());
}

/// Waits for the end of all; the token that all of them got.
#[track_caller]
fn same_token(callers: Vec<Caller>) -> String {
    let outputs: Vec<Output> = callers.into_iter().map(Caller::finish).collect();
    let tokens: Vec<String> = outputs.iter().map(token).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{outputs:#?}");
    tokens.into_iter().next().unwrap()
}

#[test]
fn whatever_a_file_system_says_that_has_no_locks() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    for (refreshes, (error, text)) in [
        ("ENOLCK", "No locks available (os error 37)"),
        ("EOPNOTSUPP", "Operation not supported (os error 95)"),
        ("ENOSYS", "Function not implemented (os error 38)"),
        ("EINVAL", "Invalid argument (os error 22)"),
    ]
    .into_iter()
    .enumerate()
    {
        scene.leave(-1);
        let output = Output::of(failing(&scene, error, &[], "never", &["token"]).env("KEYFOB_LOG", "debug"), b"");
        assert!(scene.idp.accepts(&token(&output)), "{error}");
        let stem = scene.file().file_stem().unwrap().to_str().unwrap().to_owned();
        let said =
            format!("keyfob: the file system has no locks ({text}); the file {stem}.lock.held is used instead\n");
        assert_eq!(output.stderr.matches(&said).count(), 1, "{output:?}");
        assert_eq!(scene.idp.count("token:refresh_token"), refreshes + 1);
        assert_tidy(&scene);
    }
    // Anything else is an error of its own.
    scene.leave(-1);
    let output = Output::of(&mut failing(&scene, "EIO", &[], "never", &["token"]), b"");
    let lock = scene.file().with_extension("lock");
    let name = lock.file_name().unwrap().to_str().unwrap();
    let stderr = format!(
        "error: could not get a token for lab: could not take the lock {name}: Input/output error (os error 5)\n"
    );
    assert_eq!(output, Output { stdout: String::new(), stderr, code: Some(1) });
    scene.assert_proper();
}

#[test]
fn doctor_doubts_it_and_leaves_nothing_behind() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let output = run(&scene, "never", &["doctor", "--offline"]);
    let doubt = "doubt  cache: the file system has no locks; lock files take their place, which is slower when a process dies\n       \
                 -> set KEYFOB_CACHE_DIR to a folder on a local disk\n";
    assert!(output.stdout.contains(doubt), "{output:?}");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_tidy(&scene);
    let local = scene.silently(["doctor", "--offline"]).stdout;
    assert!(!local.contains("no locks"), "{local}");
}

#[test]
fn twelve_with_an_ended_token_share_one_refresh() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let old = token(&scene.silently(["token"]));
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let callers = twelve(&scene, "never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    wait_for_sleepers(&callers.iter().map(Caller::pid).collect::<Vec<_>>(), 1);
    drop(hold);
    let new = same_token(callers);
    assert_ne!(new, old);
    assert!(scene.idp.accepts(&new));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn twelve_without_a_session_share_one_sign_in() {
    need_strace!();
    let scene = Scene::new(Options::default());
    let callers = twelve(&scene, "always");
    let codes: Vec<String> = callers.iter().map(Caller::code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    scene.idp.approve(&codes[0]);
    assert!(scene.idp.accepts(&same_token(callers)));
    assert_eq!((scene.idp.count("device"), scene.idp.count("discovery")), (1, 1));
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn a_waiter_refreshes_when_the_one_that_was_at_it_is_killed() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    // The provider never looks at the first request.
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    let hold = scene.idp.hold(Endpoint::Token);
    let first = start(&scene, "never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let waiter = start(&scene, "never");
    wait_for_sleepers(&[waiter.pid()], 0);
    first.kill();
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    token(&waiter.finish());
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn a_waiter_goes_on_with_the_same_code_when_the_poller_is_killed() {
    need_strace!();
    let scene = Scene::new(Options::default());
    let poller = start(&scene, "always");
    let code = poller.code();
    let waiter = start(&scene, "always");
    assert_eq!(waiter.code(), code);
    poller.kill();
    scene.idp.approve(&code);
    assert!(scene.idp.accepts(&token(&waiter.finish())));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
    assert_tidy(&scene);
}

/// Nobody here can tell whether a process elsewhere lives; but it would have been done with the lock by now.
#[test]
fn what_another_machine_left_behind_is_taken_over() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    for contents in [THEIRS, ""] {
        scene.leave(-1);
        let [lock, _] = held(&scene);
        leave(&lock, contents, LONG);
        assert!(scene.idp.accepts(&token(&run(&scene, "never", &["token"]))));
        assert_tidy(&scene);
    }
    // The same when twelve find it.
    scene.leave(-1);
    let before = scene.idp.count("token:refresh_token");
    leave(&held(&scene)[0], THEIRS, LONG);
    same_token(twelve(&scene, "never"));
    assert_eq!(scene.idp.count("token:refresh_token"), before + 1);
    assert_tidy(&scene);

    let [_, lock] = held(&scene);
    leave(&lock, THEIRS, LONG);
    scene.idp.auto(Auto::Approve);
    assert_eq!(run(&scene, "always", &["login", "--force"]).code, Some(0));
    assert_eq!(scene.idp.count("device"), 2);
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn a_lock_that_another_machine_holds_is_waited_for() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let [lock, _] = held(&scene);
    leave(&lock, THEIRS, Duration::ZERO);
    let mut caller = start(&scene, "never");
    wait_for_sleepers(&[caller.pid()], 0);
    assert!(caller.is_running());
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
    fs::remove_file(&lock).unwrap();
    token(&caller.finish());
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn who_waits_sees_why_and_in_the_end_who_holds_the_lock() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let [lock, _] = held(&scene);
    leave(&lock, THEIRS, Duration::ZERO);
    let mut login = command(&scene, "auto", &["login", "--timeout", "2"]);
    let ended = Terminal::start({
        login.env("TERM", "xterm");
        login
    })
    .wait();
    let error =
        format!("error: could not get a token for lab: another process has held the lock {} for 2 s", lock.display());
    let hint = format!("hint: it is pid 1 on elsewhere; only if that is gone: rm {}", lock.display());
    assert!(
        ended.screen.contains("keyfob: waiting for another process to renew the token. Ctrl-C stops."),
        "{}",
        ended.screen
    );
    assert!(ended.screen.contains(&error) && ended.screen.contains(&hint), "{}", ended.screen);
    assert_eq!(fs::read_to_string(&lock).unwrap(), THEIRS);

    // Who has made it and not yet said so may still be at it.
    let gives_up = |contents: &str, hint: &str| {
        leave(&lock, contents, Duration::ZERO);
        let output = run(&scene, "never", &["login", "--timeout", "1"]);
        let said = output.stderr.replace(lock.to_str().unwrap(), "LOCK");
        let error = "error: could not get a token for lab: another process has held the lock LOCK for 1 s\n";
        assert_eq!((said, output.code), (format!("{error}{hint}"), Some(1)));
    };
    gives_up("", "hint: only if no keyfob runs anywhere: rm LOCK\n");
    gives_up(THEIRS, "hint: it is pid 1 on elsewhere; only if that is gone: rm LOCK\n");

    // A token that lives is the answer.
    scene.leave(120);
    token(&run(&scene, "never", &["token"]));
    assert_eq!(fs::read_to_string(&lock).unwrap(), THEIRS);
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
}

/// While a person types, whoever polls says again and again that it is there.
#[test]
fn the_lock_of_a_sign_in_is_kept_fresh() {
    need_strace!();
    let scene = Scene::new(Options::default());
    let poller = start(&scene, "always");
    let code = poller.code();
    let [_, lock] = held(&scene);
    let text = fs::read_to_string(&lock).unwrap();
    // As if it were another machine's, as far as others can see.
    leave(&lock, &text, Duration::from_secs(100));
    let touched = || fs::metadata(&lock).unwrap().modified().unwrap().elapsed().is_ok_and(|age| age.as_secs() < 50);
    wait_until("the lock to be touched", touched);
    scene.idp.approve(&code);
    token(&poller.finish());
    scene.assert_proper();
    assert_tidy(&scene);
}

/// As after a night in which the machine slept: a code is polled by one, and never after it has been spent.
#[test]
fn a_poller_that_lost_its_lock_waits_for_the_one_that_has_it() {
    need_strace!();
    let scene = Scene::new(Options::default());
    let poller = start(&scene, "always");
    let shown = poller.code();
    let [_, theirs] = held(&scene);
    leave(&theirs, THEIRS, Duration::ZERO);
    wait_until("the poller to join the one that has its lock", || poller.stderr().matches(&shown).count() == 2);
    let polls = scene.idp.count("token:device_code");
    scene.idp.approve(&shown);
    // The other one dies, without having got to it.
    leave(&theirs, THEIRS, LONG);
    assert!(scene.idp.accepts(&token(&poller.finish())));
    assert_eq!((scene.idp.count("token:device_code"), scene.idp.count("device")), (polls + 1, 1));
    scene.assert_proper();
}

#[test]
fn a_holder_that_lost_its_lock_writes_nothing() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let late = start(&scene, "never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let [lock, _] = held(&scene);
    // Another machine has taken over, and is at it.
    leave(&lock, THEIRS, Duration::ZERO);
    let before = scene.session();
    drop(hold);
    let error = format!(
        "error: could not get a token for lab: could not write {}: \
         this process was held up for so long that another has taken over its lock\nhint: run it again\n",
        scene.file().display()
    );
    assert_eq!(late.finish(), Output { stdout: String::new(), stderr: error, code: Some(1) });
    assert_eq!(scene.session(), before);
    assert_eq!(fs::read_to_string(&lock).unwrap(), THEIRS);
    fs::remove_file(&lock).unwrap();
    assert_tidy(&scene);
}

#[test]
fn what_could_not_be_renamed_is_kept_until_it_can() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    for _ in 0..3 {
        let output = Output::of(&mut failing(&scene, "ENOLCK", &["renameat:error=ENOSPC"], "never", &["token"]), b"");
        assert!(output.stderr.ends_with(": No space left on device (os error 28)\n"), "{output:?}");
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 1, "nothing more is asked for that could not be kept");
    assert!(scene.idp.accepts(&token(&run(&scene, "never", &["token"]))));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
    assert_tidy(&scene);
}

#[test]
fn what_others_may_be_at_is_left_alone_and_cleared_up_later() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let session = scene.file();
    let strays = ["0123456789abcdef.new", "lock.held.0123456789abcdef", "sign-in.lock.held.judge"]
        .map(|ending| session.with_extension(ending));
    let refresh = || {
        scene.leave(-1);
        assert!(scene.idp.accepts(&token(&run(&scene, "never", &["token"]))));
    };
    for stray in &strays {
        leave(stray, "{\"version\":1,", Duration::ZERO);
    }
    // Whole, but older than the session: somebody was too late.
    let late = session.with_extension("fedcba9876543210.new");
    fs::copy(&session, &late).unwrap();
    leave(&late, &fs::read_to_string(&late).unwrap(), Duration::from_secs(60));
    let newest = refresh_token(&scene.session());
    refresh();
    assert_ne!(refresh_token(&scene.session()), newest);
    assert!(strays.iter().chain([&late]).all(|stray| stray.exists()));
    for stray in strays.iter().chain([&late]) {
        leave(stray, &fs::read_to_string(stray).unwrap(), LONG);
    }
    refresh();
    assert_tidy(&scene);
    scene.assert_proper();

    // Signing out waits for nobody: what should still be written is not to bring the session back.
    leave(&strays[0], "{\"version\":1,", Duration::ZERO);
    leave(&held(&scene)[1], THEIRS, Duration::ZERO);
    assert_eq!(run(&scene, "never", &["logout"]).code, Some(0));
    assert_eq!(scene.names(), Vec::<String>::new());
}

/// Before each system call that changes something: the next call has a token, and whatever is left behind is gone when
/// nobody can be at it any more.
#[test]
fn a_refresh_killed_before_any_system_call_costs_nothing() {
    need_strace!();
    let scene = Scene::signed_in(Options { rotation: false, ..Options::default() });
    let mut killed = 0;
    for call in ["openat", "write", "fsync", "renameat", "unlinkat"] {
        for number in 1.. {
            scene.leave(-1);
            let inject = format!("{call}:signal=KILL:when={number}");
            let output = Output::of(&mut failing(&scene, "ENOLCK", &[&inject], "never", &["token"]), b"");
            let [lock, _] = held(&scene);
            if fs::read(&lock).is_ok_and(|contents| contents.is_empty()) {
                // It was killed before it could say whose lock it is: that is waited for a little.
                leave(&lock, "", Duration::from_secs(15));
            }
            let next = run(&scene, "never", &["token"]);
            assert!(scene.idp.accepts(&token(&next)), "{inject}");
            assert_eq!(next.stderr, "", "{inject}");
            if output.code.is_some() {
                token(&output);
                break;
            }
            killed += 1;
        }
    }
    println!("a refresh was killed before each of {killed} system calls");
    assert!(killed > 25, "{killed} system calls cannot be all");
    let fixed = ["json", "lock"].map(|ending| scene.file().with_extension(ending));
    for name in scene.names() {
        let path = scene.keyfob.cache_dir().join(name);
        if !fixed.contains(&path) {
            leave(&path, &fs::read_to_string(&path).unwrap(), LONG);
        }
    }
    scene.leave(-1);
    token(&run(&scene, "never", &["token"]));
    assert_tidy(&scene);
}
