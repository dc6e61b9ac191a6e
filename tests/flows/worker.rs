//! A renewal runs in a process of its own: nothing that happens to the caller loses the provider's answer, and a caller
//! whose token is good enough does not wait for it.

use crate::common::{Caller, SOON, Scene, now, strace, token, wait_until, worker_of};
use keyfob_test_support::provider::{Endpoint, Options, Reply};
use keyfob_test_support::{Output, skip};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

fn rotating() -> Scene {
    Scene::signed_in(Options { rotation: true, ..Options::default() })
}

/// The refresh token of an answer that was on its way when its caller ended is used by the next call, once.
#[track_caller]
fn assert_kept(scene: &Scene) {
    scene.settle();
    let refreshes = scene.idp.count("token:refresh_token");
    assert!(scene.idp.accepts(&token(&scene.silently(["token"]))));
    assert_eq!(scene.idp.count("token:refresh_token"), refreshes, "the answer was kept");
    scene.leave(-1);
    assert!(scene.idp.accepts(&token(&scene.silently(["token"]))));
    scene.assert_proper();
    assert_eq!(scene.idp.count("device"), 1, "nobody had to sign in again");
}

#[test]
fn a_caller_that_is_interrupted_or_killed_ends_at_once_and_the_answer_is_kept() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let scene = rotating();
        scene.leave(-1);
        let hold = scene.idp.hold(Endpoint::Token);
        let caller = scene.start(["token"]);
        scene.idp.wait_for("token:refresh_token", 1, SOON);
        let worker = worker_of(caller.pid()).unwrap();
        kill_process(Pid::from_raw(i32::try_from(caller.pid()).unwrap()).unwrap(), signal).unwrap();
        assert_eq!(caller.finish().code, None, "{signal:?} ends it");
        assert!(test_kill_process(worker).is_ok(), "the worker goes on");
        drop(hold);
        assert_kept(&scene);
        wait_until("the end of the worker", || test_kill_process(worker).is_err());
    }
}

#[test]
fn what_ends_the_callers_process_group_or_is_sent_to_the_worker_ends_no_renewal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scene = rotating();
        scene.leave(-1);
        let hold = scene.idp.hold(Endpoint::Token);
        let caller = scene.start(["token"]);
        scene.idp.wait_for("token:refresh_token", 1, SOON);
        let worker = worker_of(caller.pid()).unwrap();
        assert_eq!(rustix::process::getsid(Some(worker)).unwrap(), worker, "it has a session of its own");
        kill_process(worker, signal).unwrap();
        drop(hold);
        assert!(scene.idp.accepts(&token(&caller.finish())), "{signal:?}");
        assert_eq!(scene.idp.count("token:refresh_token"), 1);
        assert_kept(&scene);
    }
}

#[test]
fn a_due_token_is_handed_out_while_the_provider_takes_its_time_and_renewed_by_one_request() {
    let scene = Scene::signed_in(Options { rotation: true, ..Options::default() });
    let old = token(&scene.silently(["token"]));
    scene.change(|session| {
        for token in session["tokens"].as_array_mut().unwrap() {
            token["refresh_at"] = json!(now() - 1);
        }
    });
    let hold = scene.idp.hold(Endpoint::Token);
    // The provider answers none of them before all have ended.
    for _ in 0..8 {
        assert_eq!(token(&scene.silently(["token"])), old);
    }
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    drop(hold);
    scene.settle();
    assert_ne!(token(&scene.silently(["token"])), old);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    let ours = scene.keyfob.cache_dir().to_string_lossy().into_owned();
    wait_until("the end of every process that renews", || !processes().any(|environment| environment.contains(&ours)));
}

/// The environments of all processes that renew a session.
fn processes() -> impl Iterator<Item = String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter_map(|process| {
        let command = fs::read(process.join("cmdline")).ok()?;
        command.ends_with(b"\0--renew-session\0").then(|| fs::read(process.join("environ")).ok()).flatten()
    })
    .map(|environment| String::from_utf8_lossy(&environment).into_owned())
}

/// A provider that rotates, and answers later than the caller of a living token waits.
#[test]
fn a_provider_slower_than_the_callers_patience_costs_no_session() {
    let scene = rotating();
    let old = token(&scene.silently(["token"]));
    scene.leave(100);
    let hold = scene.idp.hold(Endpoint::Token);
    assert_eq!(token(&scene.silently(["token"])), old, "after four seconds");
    drop(hold);
    scene.settle();
    assert_ne!(token(&scene.silently(["token"])), old);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    assert_kept(&scene);
}

/// A program that reads a pipe to its end does not wait for a worker that has inherited it.
#[test]
fn no_pipe_of_the_callers_is_kept_open() {
    let scene = Scene::signed_in(Options::default());
    let old = token(&scene.silently(["token"]));
    scene.change(|session| session["tokens"][0]["refresh_at"] = json!(now() - 1));
    let hold = scene.idp.hold(Endpoint::Token);
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(writer.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let number = writer.as_raw_fd();
    let caller = Caller::start(&mut scene.command("never", ["token"]));
    drop(writer);
    assert_eq!(token(&caller.finish()), old);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    // Ends only when the last process has closed it; the provider has not answered yet.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "descriptor {number}");
    assert_eq!(scene.session().get("last_error"), None, "the worker has not ended by its time limit");
    drop(hold);
    scene.settle();
}

/// A container ends all its processes with its first.
#[test]
fn in_a_pid_namespace_of_its_own_the_caller_waits_for_the_worker() {
    let namespaces = || Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status();
    if !namespaces().is_ok_and(|status| status.success()) {
        skip!("unshare cannot make a PID namespace here");
    }
    let scene = rotating();
    let old = token(&scene.silently(["token"]));
    scene.change(|session| session["tokens"][0]["refresh_at"] = json!(now() - 1));
    let mut contained = scene.keyfob.other("unshare");
    contained.args(["--pid", "--fork", "--mount-proc", crate::common::PROGRAM, "token"]).env("KEYFOB_PROMPT", "never");
    let hold = scene.idp.hold(Endpoint::Token);
    let mut caller = Caller::start(&mut contained);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    assert!(caller.is_running());
    drop(hold);
    assert_ne!(token(&caller.finish()), old);
    assert_kept(&scene);
}

/// The lock that it is to take over is its licence.
#[test]
fn a_worker_without_the_sessions_lock_does_nothing() {
    let scene = Scene::signed_in(Options::default());
    let before = fs::read(scene.file()).unwrap();
    let job = json!({
        "profile": {"name": "lab", "flags": [], "asked": []}, "kind": "access", "claims": null, "by": "a test",
    });
    let mut worker = scene.command("never", ["--renew-session"]);
    let output = Output::of(worker.stdin(Stdio::piped()), job.to_string().as_bytes());
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(1), "", ""));
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
    assert_eq!(fs::read(scene.file()).unwrap(), before);
}

/// While it has not been told yet what to do.
#[test]
fn a_worker_takes_no_notice_of_what_ends_others_from_the_start() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scene = Scene::signed_in(Options::default());
        let mut worker = scene.command("never", ["--renew-session"]);
        let mut worker = worker.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("a handler of the signal", || {
            let status = fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
        });
        kill_process(Pid::from_child(&worker), signal).unwrap();
        drop(worker.stdin.take());
        assert_eq!(worker.wait().unwrap().code(), Some(1), "{signal:?}");
    }
}

/// A worker that could not say how it ended is not waited for.
#[test]
fn a_worker_that_is_killed_before_its_request_is_replaced_by_its_caller() {
    let scene = rotating();
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    kill_process(worker_of(caller.pid()).unwrap(), Signal::KILL).unwrap();
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    assert!(scene.idp.accepts(&token(&caller.finish())));
}

/// A machine that starts no process and no thread now, as one does whose user has as many as are allowed.
#[test]
fn where_nothing_can_be_started_a_renewal_fails_in_words_and_costs_nothing() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = rotating();
    scene.leave(-1);
    let nothing_starts = ["clone3:error=EAGAIN", "clone:error=EAGAIN"];
    let output = Output::of(&mut strace::failing(&scene.command("never", ["token"]), &nothing_starts), b"");
    let error = format!(
        "error: could not get a token for lab: could not reach {}: no thread could be started: \
         Resource temporarily unavailable (os error 11)\n",
        scene.idp.url(Endpoint::Token)
    );
    assert_eq!(output, Output { stdout: String::new(), stderr: error, code: Some(5) });
    scene.after_the_pause();
    assert!(scene.idp.accepts(&scene.token()));
    scene.assert_proper();
}
