//! client-go that asks again for the token it was just given has had it refused; what of that is noticed, and what is
//! left alone. Here the test is the client: all its callers have the same parent process.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::chown;

use crate::common::{self, Scene};
use keyfob_test_support::provider::{Endpoint, Options, Reply};
use keyfob_test_support::{Output, skip};
use serde_json::Value;

/// What client-go says, to the byte.
const REQUEST: &str = "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{\"interactive\":false}}\n";

/// The access token that a client gets with this request.
#[track_caller]
fn ask(scene: &Scene, request: &str) -> String {
    ask_for(scene, request, "access")
}

/// The token of this kind that a client gets with this request.
#[track_caller]
fn ask_for(scene: &Scene, request: &str, kind: &str) -> String {
    let mut command = scene.command("never", ["kubernetes", "--token-kind", kind]);
    let output = Output::of(command.env("KUBERNETES_EXEC_INFO", request), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn refreshes(scene: &Scene) -> usize {
    scene.idp.count("token:refresh_token")
}

#[test]
fn the_token_just_given_is_replaced_once_for_the_process_that_asks_again() {
    let scene = Scene::signed_in(Options::default());
    let first = ask(&scene, REQUEST);
    let second = ask(&scene, REQUEST);
    assert_ne!(first, second);
    // A server that refuses whatever it is given, and a client that tries again and again.
    for _ in 0..5 {
        assert_eq!(ask(&scene, REQUEST), second);
    }
    assert_eq!(refreshes(&scene), 1);
}

#[test]
fn another_process_another_request_and_another_session_have_been_given_nothing() {
    let scene = Scene::signed_in(Options::default());
    let token = ask(&scene, REQUEST);
    let other = REQUEST.replace("{\"interactive", "{\"cluster\":{\"server\":\"https://10.0.0.1\"},\"interactive");
    assert_eq!(ask(&scene, &other), token);
    let mut shell = scene.keyfob.other("sh");
    let script = format!("{} kubernetes --token-kind access; :", common::PROGRAM);
    let elsewhere = Output::of(shell.args(["-c", &script]).env("KUBERNETES_EXEC_INFO", REQUEST), b"");
    assert!(elsewhere.stdout.contains(&token), "{elsewhere:?}");
    assert_eq!(refreshes(&scene), 0);
}

#[test]
fn a_client_that_does_not_keep_tokens_gets_the_same_one_again() {
    let scene = Scene::signed_in(Options::default());
    // Scripts and JavaScript's client say nothing. Python's client asks each time that it loads its configuration, kube-rs
    // three times for one request.
    for request in [
        "",
        r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "spec": {"interactive": false}}"#,
        r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#,
        r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":true}}"#,
    ] {
        let token = ask(&scene, request);
        for _ in 0..5 {
            assert_eq!(ask(&scene, request), token, "{request}");
        }
    }
    assert_eq!(refreshes(&scene), 0);
    assert!(!scene.keyfob.home().join(".run/keyfob").exists());
}

/// Two users of a kubeconfig, as k9s has them in one process.
#[test]
fn each_command_with_its_arguments_has_a_token_of_its_own() {
    // One time in 64 both notes fall into one file, and the first is lost.
    let asked = |_| {
        let scene = Scene::signed_in(Options::default());
        let (access, id) = (ask(&scene, REQUEST), ask_for(&scene, REQUEST, "id"));
        (scene, access, id)
    };
    let has_two =
        |(scene, ..): &(Scene, _, _)| fs::read_dir(scene.keyfob.home().join(".run/keyfob")).unwrap().count() == 2;
    let (scene, access, id) = (0..10).map(asked).find(has_two).unwrap();
    assert_eq!(refreshes(&scene), 0);
    assert_ne!(ask(&scene, REQUEST), access);
    assert_eq!(refreshes(&scene), 1);
    assert_ne!(ask_for(&scene, REQUEST, "id"), id);
}

#[test]
fn a_token_that_only_seems_refused_is_handed_out_again_when_there_is_no_other() {
    let scene = Scene::signed_in(Options::default());
    let token = ask(&scene, REQUEST);
    scene.idp.always(Endpoint::Token, Reply::empty(503));
    assert_eq!(ask(&scene, REQUEST), token);

    let scene = Scene::signed_in(Options::default());
    let token = ask(&scene, REQUEST);
    scene.change(|session| drop(session.as_object_mut().unwrap().remove("refresh_token")));
    assert_eq!(ask(&scene, REQUEST), token);
}

#[test]
fn what_is_remembered_is_one_line_in_memory_without_a_secret_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::signed_in(Options::default());
    let token = ask(&scene, REQUEST);
    let folder = scene.keyfob.home().join(".run/keyfob");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let text = fs::read_to_string(file).unwrap();
    assert_eq!((text.len(), text.lines().count(), text.contains(&token)), (80, 1, false), "{text}");

    // A folder that others could write to is not used; the answer is the same.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(ask(&scene, REQUEST), token);
    assert_eq!(refreshes(&scene), 0);
}

/// As by `sudo -E`: the user could not use a folder of root's any more.
#[test]
fn root_makes_no_folder_in_the_runtime_folder_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can be two users");
    }
    let scene = Scene::signed_in(Options::default());
    let theirs = scene.keyfob.home().join("run");
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(54_321), None).unwrap();
    let mut command = scene.command("never", ["kubernetes", "--token-kind", "access"]);
    let output = Output::of(command.env("KUBERNETES_EXEC_INFO", REQUEST).env("XDG_RUNTIME_DIR", &theirs), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}
