//! Lock files that are removed while they are held, as programs do that clear old files away, and people.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use keyfob_test_support::provider::{Endpoint, Options, Reply, Request};

use crate::common::{Caller, SOON, Scene, refresh_token, token, wait_for_sleepers, wait_until};

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

#[test]
fn an_answer_does_not_replace_the_newer_one_of_the_process_that_has_the_lock() {
    let scene = Scene::signed_in(lenient());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let late = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    let holder = start(&scene);
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    let new = token(&holder.finish());
    assert_eq!(token(&late.finish()), new);
    assert_eq!(scene.token(), new);
    assert_eq!(scene.idp.count("token:refresh_token"), 2);
    scene.assert_proper();
}

#[test]
fn an_answer_is_saved_when_the_process_that_has_the_lock_dies() {
    let scene = Scene::signed_in(lenient());
    scene.leave(-1);
    let before = refresh_token(&scene.session());
    let hold = scene.idp.hold(Endpoint::Token);
    let late = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    let holder = start(&scene);
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    holder.kill();
    drop(hold);
    let answer = token(&late.finish());
    assert_eq!(scene.token(), answer);
    assert_ne!(refresh_token(&scene.session()), before);
    assert_eq!(scene.idp.count("token:refresh_token"), 2);
}

#[test]
fn an_answer_that_comes_after_a_sign_out_is_revoked() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let late = start(&scene);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    fs::remove_file(lock(&scene)).unwrap();
    // So that the provider knows nothing of it.
    scene.idp.script(Endpoint::Revoke, [Reply::empty(503)]);
    assert_eq!(scene.silently(["logout"]).code, Some(0));
    drop(hold);
    let output = late.finish();
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""));
    assert!(output.stderr.starts_with("error: could not get a token for lab: a sign-in is needed"), "{output:?}");
    let newest = scene.idp.issued().into_iter().rfind(|token| token.starts_with("refresh-")).unwrap();
    let revokes = |request: &Request| request.label == "revoke" && request.field("token") == Some(&newest);
    wait_until("the revocation", || {
        scene.idp.requests().iter().any(|request| revokes(request) && request.status == Some(200))
    });
    scene.settle();
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
