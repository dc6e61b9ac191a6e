//! A person who wants to sign in by code while another process waits for the browser.

use crate::common::browser::{browse, request};
use crate::common::{Caller, Scene, token, wait_until};
use keyfob_test_support::provider::Options;
use serde_json::Value;

/// A scene, a caller in it that waits for the browser, and the address that it shows.
fn waiting_for_the_browser() -> (Scene, Caller, String) {
    let scene = Scene::new(Options::default());
    let caller = Caller::start(scene.command("always", ["token"]).env("KEYFOB_FLOW", "browser"));
    let address = caller.address();
    (scene, caller, address)
}

#[test]
fn a_sign_in_by_code_replaces_the_one_that_waits_for_the_browser() {
    let (scene, caller, address) = waiting_for_the_browser();
    // The prompt of a sign-in by browser names this command.
    let person = scene.start(["login", "--flow", "device"]);
    let code = person.code();
    assert!(!person.stderr().contains(&address), "{}", person.stderr());
    // The caller shows the code, and its address is gone.
    assert_eq!(caller.code(), code);
    assert!(std::panic::catch_unwind(|| request("GET", &address, None)).is_err());
    scene.idp.approve(&code);
    let person = person.finish();
    assert_eq!(person.code, Some(0), "{person:?}");
    assert!(scene.idp.accepts(&token(&caller.finish())));
    assert_eq!((scene.idp.count("device"), scene.idp.user_codes().len()), (1, 1));
    assert_eq!(scene.session()["begun"]["flow"], "device");
}

#[test]
fn a_sign_in_in_steps_replaces_the_one_that_waits_for_the_browser() {
    let (scene, caller, _) = waiting_for_the_browser();
    let started: Value = serde_json::from_str(&scene.silently(["login", "--start", "--json"]).stdout).unwrap();
    let code = started["user_code"].as_str().unwrap();
    assert_eq!(caller.code(), code);
    scene.idp.approve(code);
    assert!(scene.idp.accepts(&token(&caller.finish())));
    assert_eq!(scene.silently(["login", "--poll"]).code, Some(0));
}

#[test]
fn who_wants_the_browser_is_shown_no_code_of_another_process() {
    let scene = Scene::new(Options::default());
    let caller = scene.start(["token"]);
    let code = caller.code();
    let person = scene.start(["login", "--flow", "browser"]);
    let said = format!("keyfob: process {} waits for a sign-in by code; ", caller.pid());
    wait_until("a word about the other sign-in", || person.stderr().contains(&said));
    assert!(!person.stderr().contains(&code), "{}", person.stderr());
    caller.kill();
    browse(&person.address());
    assert_eq!(person.finish().code, Some(0));
    assert_eq!(scene.session()["begun"]["flow"], "browser");
}
