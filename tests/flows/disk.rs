//! A disk that fails at the worst moment, a cache folder that goes away, and a machine with several users. What came is
//! handed out only when it is on disk; what the provider gave out once is not thrown away because a rename failed.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use crate::common::{PROGRAM, SOON, Scene, code, token};
use keyfob_test_support::provider::{Auto, Endpoint, Options};
use keyfob_test_support::{Output, skip};

/// Runs `keyfob token` with system calls that fail: `call:error=E:when=N`.
fn failing(scene: &Scene, calls: &[&str]) -> Output {
    let mut strace = scene.keyfob.other("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]).env("KEYFOB_PROMPT", "never");
    for call in calls {
        let name = call.split(':').next().unwrap();
        strace.args(["-e", &format!("trace={name}"), "-e", &format!("inject={call}")]);
    }
    Output::of(strace.arg(PROGRAM).arg("token"), b"")
}

fn has_strace() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

#[track_caller]
fn assert_could_not_write(scene: &Scene, output: &Output, why: &str) {
    let file = scene.file();
    let error = format!("error: could not get a token for lab: could not write {}: {why}\n", file.display());
    assert_eq!(*output, Output { stdout: String::new(), stderr: error, code: Some(1) });
}

/// A refresh writes twice: to see whether there is room, before it asks, and what it got. The provider forgets the old
/// refresh token as soon as it answers.
#[test]
fn a_write_that_fails_at_any_step_costs_no_session() {
    if !has_strace() {
        skip!("strace is not here");
    }
    let scene = Scene::signed_in(Options::default());
    let (full, quota, broken) = (
        "No space left on device (os error 28)",
        "Disk quota exceeded (os error 122)",
        "Input/output error (os error 5)",
    );
    for (call, why) in [
        ("write:error=ENOSPC:when=1", full),
        ("write:error=EDQUOT:when=1", quota),
        ("fsync:error=EDQUOT:when=1", quota),
        ("fsync:error=EIO:when=1", broken),
        ("fsync:error=EIO:when=2", broken),
        ("fsync:error=EDQUOT:when=2", quota),
        ("renameat:error=ENOSPC:when=1", full),
        ("renameat:error=EDQUOT:when=1", quota),
        ("renameat:error=EIO:when=1", broken),
        ("fsync:error=EIO:when=3", broken),
    ] {
        scene.leave(-1);
        let before = scene.idp.count("token:refresh_token");
        // The worker fails, and the caller as well when it tries by itself, unless it finds what the worker left.
        let output = failing(&scene, &[call]);
        if output.code == Some(0) {
            assert!(scene.idp.accepts(&token(&output)), "{call}");
        } else {
            assert_could_not_write(&scene, &output, why);
        }
        // What could not be handed out is there when the disk is well again, and is not asked for twice.
        assert!(scene.idp.accepts(&scene.token()), "{call}");
        assert_eq!(scene.idp.count("token:refresh_token") - before, 1, "{call}");
    }
    scene.assert_proper();
    assert_eq!(scene.idp.count("device"), 1, "nobody had to sign in again");
}

#[test]
fn what_could_not_be_renamed_is_kept_until_it_can() {
    if !has_strace() {
        skip!("strace is not here");
    }
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let full = "No space left on device (os error 28)";
    for _ in 0..3 {
        assert_could_not_write(&scene, &failing(&scene, &["renameat:error=ENOSPC"]), full);
    }
    assert_could_not_write(&scene, &failing(&scene, &["fsync:error=EIO"]), "Input/output error (os error 5)");
    assert_eq!(scene.idp.count("token:refresh_token"), 1, "nothing more is asked for that could not be kept");
    assert!(scene.idp.accepts(&scene.token()));
    scene.assert_proper();
}

#[test]
fn a_cache_folder_removed_during_a_refresh_is_named_and_made_again() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let lock = scene.file().with_extension("lock");
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_dir_all(scene.keyfob.cache_dir()).unwrap();
    drop(hold);
    let error = format!(
        "error: could not get a token for lab: could not open the lock {}: No such file or directory (os error 2)\n",
        lock.file_name().unwrap().display()
    );
    assert_eq!(caller.finish(), Output { stdout: String::new(), stderr: error, code: Some(1) });
    // What was removed is gone; the next sign-in makes it all again.
    assert_eq!(scene.silently(["token"]).code, Some(3));
    scene.sign_in();
    scene.token();
}

#[test]
fn a_cache_folder_removed_during_a_sign_in_ends_it_for_all_who_wait() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let shown = poller.code();
    let waiter = scene.start(["token"]);
    assert_eq!(waiter.code(), shown);
    fs::remove_dir_all(scene.keyfob.cache_dir()).unwrap();
    scene.idp.approve(&shown);
    for caller in [poller, waiter] {
        let output = caller.finish();
        let failure: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((output.code, output.stdout.as_str(), failure.len()), (Some(1), "", 1), "{output:?}");
        assert!(failure[0].ends_with(": No such file or directory (os error 2)"), "{output:?}");
        assert_eq!(code(&output.stderr), Some(shown.clone()));
    }
    scene.sign_in();
    scene.token();
}

/// Root and nobody, who know nothing of each other.
#[test]
fn two_users_have_a_session_each_and_cannot_get_at_the_others() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can be two users");
    }
    let scene = Scene::new(Options::default());
    // Where both can go, a program that both can run.
    let public = tempfile::tempdir().unwrap();
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = public.path().join("keyfob");
    fs::copy(PROGRAM, &program).unwrap();
    let homes = [("0", "roots"), ("65534", "nobodys")].map(|(user, name)| {
        let home = public.path().join(name);
        fs::create_dir(&home).unwrap();
        chown(&home, Some(user.parse().unwrap()), None).unwrap();
        (user, home)
    });
    let run = |user: &str, home: &std::path::Path, prompt: &str| {
        let mut command = scene.keyfob.other("setpriv");
        let same = format!("--reuid={user}");
        command.args([&same, &same.replace("reuid", "regid"), "--clear-groups"]).arg(&program).arg("token");
        command.args(["--client-id", "keyfob", "--issuer", scene.idp.issuer()]);
        command.env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR").env_remove("XDG_CACHE_HOME");
        command.env_remove("XDG_CONFIG_HOME").env("HOME", home).env("KEYFOB_PROMPT", prompt);
        Output::of(&mut command, b"")
    };
    scene.idp.auto(Auto::Approve);
    let tokens = homes.clone().map(|(user, home)| token(&run(user, &home, "always")));
    assert_ne!(tokens[0], tokens[1]);
    for ((user, home), expected) in homes.iter().zip(&tokens) {
        assert_eq!(token(&run(user, home, "never")), *expected);
    }
    // Nobody cannot look into root's folder; root can, and does not use it.
    let output = run("65534", &homes[0].1, "never");
    assert!(output.stderr.ends_with(": Permission denied (os error 13)\n"), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(1), "", 1), "{output:?}");
    let output = run("0", &homes[1].1, "never");
    assert!(output.stderr.contains("it belongs to another user (uid 65534)\nhint: "), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
}
