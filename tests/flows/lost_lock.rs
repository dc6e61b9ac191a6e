//! Lock files that are removed while they are held, as programs do that clear old files away, and people.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use keyfob_test_support::provider::{Endpoint, Hold, Options, Reply};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::common::{Caller, SOON, Scene, refresh_token, token, wait_for_sleepers, wait_until, worker_of};

/// A provider that takes the refresh token it has just replaced for a while, so that two can use the same one.
fn lenient() -> Options {
    Options { refresh_grace: Duration::from_secs(600), ..Options::default() }
}

fn lock(scene: &Scene) -> PathBuf {
    scene.file().with_extension("lock")
}

fn start(scene: &Scene) -> Caller {
    Caller::start(&mut scene.command("never", ["token"]))
}

/// Nothing takes a lock that is held for an old file.
#[test]
fn a_lock_that_is_held_is_no_old_file() {
    let scene = Scene::signed_in(Options::default());
    let long_ago = SystemTime::now() - Duration::from_secs(100 * 86_400);
    let age = |lock: PathBuf| File::options().write(true).open(lock).unwrap().set_modified(long_ago).unwrap();
    let is_old = |lock: PathBuf| fs::metadata(lock).unwrap().modified().unwrap() == long_ago;
    age(lock(&scene));
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    assert!(!is_old(lock(&scene)));
    drop(hold);
    token(&caller.finish());

    // While a person types, it is marked again and again.
    let poller = scene.start(["login", "--force"]);
    let code = poller.code();
    age(scene.file().with_extension("sign-in.lock"));
    wait_until("the lock to be touched", || !is_old(scene.file().with_extension("sign-in.lock")));
    scene.idp.approve(&code);
    assert_eq!(poller.finish().code, Some(0));
}

#[test]
fn a_process_that_lost_its_lock_before_it_asked_leaves_the_renewal_to_the_one_that_has_it() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    scene.change(|session| drop(session.as_object_mut().unwrap().remove("server")));
    let asked = scene.idp.count("discovery");
    let hold = scene.idp.hold(Endpoint::Discovery);
    let first = start(&scene);
    scene.idp.wait_for("discovery", asked + 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    let second = start(&scene);
    scene.idp.wait_for("discovery", asked + 2, SOON);
    drop(hold);
    assert_eq!(token(&first.finish()), token(&second.finish()));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn a_request_that_is_under_way_is_waited_for_although_its_lock_was_removed() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let first = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    let others = [start(&scene), start(&scene)];
    wait_for_sleepers(&others.each_ref().map(Caller::pid), 0);
    drop(hold);
    let answer = token(&first.finish());
    assert!(others.into_iter().all(|other| token(&other.finish()) == answer));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn an_answer_is_saved_although_the_lock_was_lost() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    drop(hold);
    let answer = token(&caller.finish());
    assert_eq!(scene.token(), answer);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

/// A renewal whose caller has been killed, and whose lock and temporary file have been removed, while the provider holds
/// its request.
fn forgotten(scene: &Scene) -> (Pid, Hold) {
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = start(scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let worker = worker_of(caller.pid()).unwrap();
    caller.kill();
    fs::remove_file(lock(scene)).unwrap();
    fs::remove_file(scene.file().with_extension("new")).unwrap();
    (worker, hold)
}

fn wait_for_end(worker: Pid) {
    wait_until("the end of the worker", || test_kill_process(worker).is_err());
}

#[test]
fn an_answer_does_not_replace_the_newer_one_of_the_process_that_has_the_lock() {
    let scene = Scene::signed_in(lenient());
    let (late, hold) = forgotten(&scene);
    let holder = start(&scene);
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    let new = token(&holder.finish());
    wait_for_end(late);
    assert_eq!(scene.token(), new);
    assert_eq!(scene.idp.count("token:refresh_token"), 2);
    scene.assert_proper();
}

#[test]
fn an_answer_is_saved_when_the_process_that_has_the_lock_dies() {
    let scene = Scene::signed_in(lenient());
    let before = refresh_token(&scene.session());
    let (late, hold) = forgotten(&scene);
    let holder = start(&scene);
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    kill_process(worker_of(holder.pid()).unwrap(), Signal::KILL).unwrap();
    holder.kill();
    drop(hold);
    wait_for_end(late);
    assert_ne!(refresh_token(&scene.session()), before);
    scene.token();
    assert_eq!(scene.idp.count("token:refresh_token"), 2);
}

#[test]
fn an_answer_that_comes_after_a_sign_out_is_revoked() {
    let scene = Scene::signed_in(Options::default());
    let (late, hold) = forgotten(&scene);
    // So that the provider knows nothing of it.
    scene.idp.script(Endpoint::Revoke, [Reply::empty(503)]);
    assert_eq!(scene.silently(["logout"]).code, Some(0));
    drop(hold);
    wait_for_end(late);
    let newest = scene.idp.issued().into_iter().rfind(|token| token.starts_with("refresh-")).unwrap();
    let revoked = scene.idp.requests().into_iter().rfind(|request| request.label == "revoke").unwrap();
    assert_eq!((revoked.field("token"), revoked.status), (Some(newest.as_str()), Some(200)));
    assert!(!scene.names().iter().any(|name| name.ends_with(".json") || name.ends_with(".new")), "{:?}", scene.names());
}

/// A code is polled by one, and never after it has been spent.
#[test]
fn a_poller_that_lost_its_lock_waits_for_the_one_that_has_it() {
    let scene = Scene::new(Options::default());
    let first = scene.start(["token"]);
    let shown = first.code();
    fs::remove_file(scene.file().with_extension("sign-in.lock")).unwrap();
    let second = scene.start(["token"]);
    assert_eq!(second.code(), shown);
    wait_for_sleepers(&[first.pid(), second.pid()], 0);
    scene.idp.approve(&shown);
    assert_eq!(token(&first.finish()), token(&second.finish()));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}
