//! A disk that fails at the worst moment, a cache folder that goes away, and a machine with several users. What came is
//! handed out only when it is on disk; what the provider gave out once is kept if it can be kept at all.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use keyfob_test_support::provider::{Auto, Endpoint, Options};
use keyfob_test_support::{Output, skip};
use serde_json::json;

use crate::common::errors::{UNSHARE, can_mount};
use crate::common::{Caller, PROGRAM, SOON, Scene, code, strace, token, wait_until, worker_of};

fn failing(scene: &Scene, calls: &[&str]) -> Output {
    Output::of(&mut strace::failing(&scene.command("never", ["token"]), calls), b"")
}

const FULL: &str = "No space left on device (os error 28)";
const QUOTA: &str = "Disk quota exceeded (os error 122)";
const BROKEN: &str = "Input/output error (os error 5)";

#[track_caller]
fn assert_could_not_write(scene: &Scene, output: &Output, why: &str) {
    let file = scene.file();
    let error = format!("error: could not get a token for lab: could not write {}: {why}\n", file.display());
    assert_eq!(*output, Output { stdout: String::new(), stderr: error, code: Some(1) });
}

/// The process that would renew cannot be started, so that the one that was called does.
const NO_WORKER: &[&str] = &["clone3:error=EAGAIN:when=1", "clone:error=EAGAIN:when=1"];

/// The calls on files and descriptors by which an answer is saved when `command` runs where `others` fail: each call's name,
/// and the how-manieth of that name it is in its process.
fn calls_of_the_save(scene: &Scene, command: &Command, others: &[&str]) -> Vec<(String, usize)> {
    let log = scene.keyfob.home().join("strace.log");
    let inject: Vec<String> = others.iter().map(|call| format!("inject={call}")).collect();
    let mut options = vec!["-e", "trace=%file,%desc,%network,%process", "-o", log.to_str().unwrap()];
    options.extend(inject.iter().flat_map(|inject| ["-e", inject]));
    token(&Output::of(&mut strace::watch(command, &options), b""));
    let log = fs::read_to_string(&log).unwrap();
    let saver = log.lines().rfind(|line| line.contains(" renameat(")).unwrap().split_whitespace().next().unwrap();
    let (mut counts, mut calls) = (BTreeMap::<&str, usize>::new(), Vec::new());
    // `1234  openat(…`; a call that another thread's interrupted has a second line, without its name in this place.
    for line in log.lines().filter_map(|line| line.strip_prefix(saver)) {
        let Some((name, rest)) = line.trim_start().split_once('(').filter(|(name, _)| !name.starts_with('<')) else {
            continue;
        };
        let count = counts.entry(name).or_default();
        *count += 1;
        match name {
            "connect" | "sendto" | "recvfrom" => calls.clear(),
            "write" if rest.starts_with("1,") => break,
            "exit_group" => break,
            // Where it fails, the descriptor is closed nevertheless (close(2)).
            "close" => {}
            _ => calls.push((name.to_owned(), *count)),
        }
    }
    calls
}

/// Has each call of a save fail once, in both ways, each in a scene from `scene` that is handed to `check`.
fn each_call_fails(
    prompt: &'static str,
    others: &[&str],
    scene: impl Fn() -> Scene + Sync,
    check: impl Fn(&Scene, Output, &str) + Sync,
) {
    const WORKERS: usize = 8;
    let first = scene();
    let calls = calls_of_the_save(&first, &first.command(prompt, ["token"]), others);
    for name in ["pwrite64", "ftruncate", "fsync", "renameat"] {
        assert!(calls.iter().any(|(call, _)| call == name), "{calls:?}");
    }
    println!("{} calls: {calls:?}", calls.len());
    let both = |(name, number): &(String, usize)| ["ENOSPC", "EIO"].map(|e| format!("{name}:error={e}:when={number}"));
    let injections: Vec<String> = calls.iter().flat_map(both).collect();
    let (scene, check, injections) = (&scene, &check, &injections);
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                for injection in injections.iter().skip(worker).step_by(WORKERS) {
                    let scene = scene();
                    let failing = [&[injection.as_str()], others].concat();
                    let log = scene.keyfob.home().join("strace.log");
                    let mut command = strace::failing_noted(&scene.command(prompt, ["token"]), &failing, &log);
                    let output = Output::of(&mut command, b"");
                    let call = injection.split(':').next().unwrap();
                    let happened = fs::read_to_string(&log).unwrap();
                    let mut happened = happened.lines().filter(|line| line.ends_with("(INJECTED)"));
                    assert!(happened.any(|line| line.contains(&format!(" {call}("))), "{injection} did not happen");
                    assert!(output.code == Some(0) || output.stdout.is_empty(), "{injection}: {output:?}");
                    scene.settle();
                    assert!(scene.idp.accepts(&scene.token()), "{injection}");
                    assert!(!scene.names().iter().any(|name| name.ends_with(".new")), "{injection}");
                    scene.assert_proper();
                    check(&scene, output, injection);
                }
            });
        }
    });
}

/// The provider forgets the old refresh token as soon as it answers, and ends the session if it sees it again.
#[test]
fn a_renewal_survives_the_failure_of_any_call_of_its_save() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = || {
        let scene = Scene::signed_in(Options::default());
        scene.leave(-1);
        scene
    };
    for others in [&[], NO_WORKER] {
        each_call_fails("never", others, scene, |scene, _, injection| {
            assert_eq!(scene.idp.count("token:refresh_token"), 1, "{injection}");
        });
    }
}

/// The code is spent as soon as the provider answers.
#[test]
fn a_sign_in_survives_the_failure_of_any_call_of_its_save() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = || {
        let scene = Scene::new(Options::default());
        scene.idp.auto(Auto::Approve);
        scene
    };
    each_call_fails("always", &[], scene, |scene, output, injection| {
        assert_eq!(scene.idp.user_codes().len(), 1, "{injection}: {output:?}");
    });
}

/// Where the file system cannot reserve blocks, they are written.
#[test]
fn nothing_is_asked_for_that_there_is_no_room_for() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = Scene::signed_in(Options::default());
    let unsupported = "fallocate:error=EOPNOTSUPP";
    for (calls, why) in [
        (&["fallocate:error=ENOSPC"][..], FULL),
        (&["fallocate:error=EDQUOT"], QUOTA),
        (&["fallocate:error=EIO"], BROKEN),
        (&[unsupported, "pwrite64:error=ENOSPC:when=100"], FULL),
        (&[unsupported, "fsync:error=EDQUOT:when=1"], QUOTA),
        (&[unsupported, "fsync:error=EIO:when=1"], BROKEN),
    ] {
        scene.leave(-1);
        assert_could_not_write(&scene, &failing(&scene, calls), why);
        assert_eq!(scene.idp.count("token:refresh_token"), 0, "{calls:?}");
    }
    // And nothing of the room is left.
    assert!(!scene.file().with_extension("new").exists());
    for calls in [&[unsupported][..], &["fallocate:error=ENOSYS"], &["flock:error=EINTR:when=100"]] {
        scene.leave(-1);
        assert!(scene.idp.accepts(&token(&failing(&scene, calls))), "{calls:?}");
        let file = fs::metadata(scene.file()).unwrap();
        assert!(file.blocks() * 512 < file.len() + 65_536, "{} bytes in {} blocks", file.len(), file.blocks());
        assert!(fs::read(scene.file()).unwrap().ends_with(b"}"));
    }
    scene.assert_proper();
}

#[test]
fn what_could_not_be_put_in_place_is_kept_until_it_can() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let before = fs::read(scene.file()).unwrap();
    for _ in 0..3 {
        assert_could_not_write(&scene, &failing(&scene, &["renameat:error=ENOSPC"]), FULL);
    }
    assert_eq!(fs::read(scene.file()).unwrap(), before);
    assert_could_not_write(&scene, &failing(&scene, &["fsync:error=EIO"]), BROKEN);
    assert_eq!(scene.idp.count("token:refresh_token"), 1, "nothing more is asked for that could not be kept");
    assert!(scene.idp.accepts(&scene.token()));
    scene.assert_proper();
}

/// A provider whose answers are nearly as large as they may be.
fn large() -> Options {
    let edit = |endpoint, answer: &mut serde_json::Value| {
        if endpoint == Endpoint::Token
            && let Some(token) = answer.get("access_token").and_then(serde_json::Value::as_str)
        {
            answer["access_token"] = json!(format!("{token}{}", "x".repeat(1_000_000)));
        }
    };
    Options { edit: Some(Arc::new(edit)), ..Options::default() }
}

/// Starts `keyfob token` on a disk of 4 MiB, which is filled to the last byte before `answer` has the provider answer.
fn on_a_disk_that_fills_up(scene: &Scene, prompt: &str, answer: impl FnOnce(&Caller)) -> Output {
    let home = scene.keyfob.home();
    let mounted = "set -e; mkdir -p -m 700 \"$C\" d; cp -p \"$C\"/* d 2>/dev/null || true; \
                   mount -t tmpfs -o size=4m,mode=700 none \"$C\"; cp -p d/* \"$C\" 2>/dev/null || true; set +e; \
                   { while [ ! -e fill ]; do sleep 0.01; done; dd if=/dev/zero of=\"$C/fill\" bs=4k; >filled; } 2>/dev/null & \
                   \"$0\" token; code=$?; wait; rm \"$C/fill\"; cp -p \"$C\"/* d; umount -l \"$C\"; cp -p d/* \"$C\"; exit $code";
    let mut command = scene.keyfob.other("unshare");
    command.args(UNSHARE).args(["sh", "-c", mounted, PROGRAM]).current_dir(home);
    command.env("C", scene.keyfob.cache_dir()).env("KEYFOB_PROMPT", prompt);
    let caller = Caller::start(&mut command);
    answer(&caller);
    caller.finish()
}

fn fill(scene: &Scene) {
    fs::write(scene.keyfob.home().join("fill"), "").unwrap();
    wait_until("the disk to be full", || scene.keyfob.home().join("filled").exists());
}

#[test]
fn a_disk_that_fills_up_during_a_renewal_costs_nothing_however_large_the_answer() {
    if !can_mount() {
        skip!("`unshare` cannot mount a small disk here");
    }
    let scene = Scene::signed_in(large());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let output = on_a_disk_that_fills_up(&scene, "never", |_| {
        scene.idp.wait_for("token:refresh_token", 1, SOON);
        fill(&scene);
        drop(hold);
    });
    assert_eq!(scene.token(), token(&output));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    assert!(fs::metadata(scene.file()).unwrap().len() > 1_000_000);
    scene.assert_proper();
}

#[test]
fn a_disk_that_fills_up_during_a_sign_in_costs_nothing_and_nobody_is_asked_twice() {
    if !can_mount() {
        skip!("`unshare` cannot mount a small disk here");
    }
    let scene = Scene::new(large());
    let output = on_a_disk_that_fills_up(&scene, "always", |caller| {
        let code = caller.code();
        fill(&scene);
        scene.idp.approve(&code);
    });
    assert_eq!(scene.token(), token(&output));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

/// Lets the process that asks the provider for `caller` open no more than so many files while it is answered, or, if that
/// is `None`, no more than it has open; what the caller says in the end.
fn limited(scene: &Scene, caller: Caller, request: &str, files: Option<u64>) -> Output {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let count = scene.idp.count(request);
    let hold = scene.idp.hold(Endpoint::Token);
    scene.idp.wait_for(request, count + 1, SOON);
    let pid = worker_of(caller.pid()).or_else(|| Pid::from_raw(i32::try_from(caller.pid()).unwrap()));
    let is_free =
        |number: &u64| fs::symlink_metadata(format!("/proc/{}/fd/{number}", pid.unwrap().as_raw_nonzero())).is_err();
    let files = files.unwrap_or_else(|| (3..256).find(is_free).unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).unwrap();
    drop(hold);
    caller.finish()
}

#[test]
fn a_process_that_may_open_no_more_files_can_still_save() {
    let scene = Scene::signed_in(Options::default());
    for files in (3..12).map(Some) {
        scene.leave(-1);
        let caller = Caller::start(&mut scene.command("never", ["token"]));
        let output = limited(&scene, caller, "token:refresh_token", files);
        assert_eq!(scene.token(), token(&output), "{files:?}");
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 9);
    scene.assert_proper();
    // A lock has to be opened, for which one of those kept is given back.
    for files in (8..12).map(Some).chain([None]) {
        let scene = Scene::new(Options::default());
        let caller = scene.start(["token"]);
        scene.idp.approve(&caller.code());
        let output = limited(&scene, caller, "token:device_code", files);
        assert_eq!(scene.token(), token(&output), "{files:?}");
    }
}

/// With fewer and fewer descriptors from the beginning: it does not get to its request, or it can save the answer.
#[test]
fn a_process_that_could_not_open_enough_files_asks_for_nothing() {
    let limited = |scene: &Scene, files: usize, prompt: &str| {
        let mut shell = scene.keyfob.other("sh");
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" token"), PROGRAM]).env("KEYFOB_PROMPT", prompt);
        Output::of(&mut shell, b"")
    };
    let scene = Scene::signed_in(Options::default());
    let mut renewed = 0;
    for files in 3..16 {
        scene.leave(-1);
        let before = scene.idp.count("token:refresh_token");
        let output = limited(&scene, files, "never");
        renewed += usize::from(output.code == Some(0));
        scene.token();
        assert_eq!(scene.idp.count("token:refresh_token"), before + 1, "{files}: {output:?}");
    }
    assert!((1..12).contains(&renewed), "{renewed}");
    scene.assert_proper();
}

/// Removes the folder, also when a process that waits makes a lock file at that moment.
fn remove_cache_folder(scene: &Scene) {
    wait_until("the cache folder to go", || fs::remove_dir_all(scene.keyfob.cache_dir()).is_ok());
}

#[test]
fn a_cache_folder_removed_during_a_refresh_is_named_and_made_again() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let file = scene.file();
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    remove_cache_folder(&scene);
    drop(hold);
    let error = format!(
        "error: could not get a token for lab: could not open the lock {}: No such file or directory (os error 2)\n",
        file.with_extension("lock").file_name().unwrap().display()
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
    remove_cache_folder(&scene);
    scene.idp.approve(&shown);
    for caller in [poller, waiter] {
        let output = caller.finish();
        let failure: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((output.stdout.as_str(), failure.len()), ("", 1), "{output:?}");
        let ends = ["the session was deleted during the sign-in, as by `keyfob logout`", "(os error 2)"];
        assert!(ends.iter().any(|end| failure[0].ends_with(end)), "{output:?}");
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
    crate::common::copy_program(&program);
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
    let hint = "hint: set KEYFOB_CACHE_DIR to a folder that can be written, or `store = \"none\"` in config.toml\n";
    assert!(output.stderr.ends_with(&format!(": Permission denied (os error 13)\n{hint}")), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(1), "", 2), "{output:?}");
    let output = run("0", &homes[1].1, "never");
    assert!(output.stderr.contains("it belongs to another user (uid 65534)\nhint: "), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
}
