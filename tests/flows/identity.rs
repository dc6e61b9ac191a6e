//! What a session is known by: two profiles that differ in anything that a sign-in was granted for share no token, no
//! refresh token, no prompt and no error; and what files of the first layout hold is not lost.

use crate::common::{Scene, now, token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Two profiles of one provider and client; `one` and `two` say what else they have.
fn scene(one: &str, two: &str) -> Scene {
    let lab = "issuer = 'ISSUER'\nclient-id = 'keyfob'\n";
    Scene::with(Options::default(), &format!("[profile.one]\n{lab}{one}\n[profile.two]\n{lab}{two}\n"))
}

fn sign_in(scene: &Scene, profile: &str) -> String {
    scene.idp.auto(Auto::Approve);
    let token = token(&scene.prompting(["token", "-p", profile]));
    scene.idp.auto(Auto::Ignore);
    token
}

/// `profile` wants a sign-in of its own: nothing is handed out, and no refresh token is sent anywhere.
#[track_caller]
fn assert_not_signed_in(scene: &Scene, profile: &str) {
    let refreshes = scene.idp.count("token:refresh_token");
    let output = scene.silently(["token", "-p", profile]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{}", output.stderr);
    assert_eq!(scene.idp.count("token:refresh_token"), refreshes);
}

fn sessions(scene: &Scene) -> Vec<PathBuf> {
    let names = scene.names().into_iter().filter(|name| name.ends_with(".json"));
    names.map(|name| scene.keyfob.cache_dir().join(name)).collect()
}

/// Signs in to `one`, sees that this is nothing to `two`, and signs in to that; each keeps its own token after that.
fn assert_strangers(scene: &Scene) {
    let first = sign_in(scene, "one");
    assert_not_signed_in(scene, "two");
    let second = sign_in(scene, "two");
    assert_ne!(first, second);
    for (profile, token) in [("one", &first), ("two", &second)] {
        let output = scene.silently(["token", "-p", profile]);
        assert_eq!((output.stdout.trim(), output.code), (token.as_str(), Some(0)), "{}", output.stderr);
    }
    assert_eq!(sessions(scene).len(), 2);
}

#[test]
fn profiles_whose_extra_parameters_differ_share_nothing() {
    for (one, two) in [
        ("extra = { organization = 'org_a' }", "extra = { organization = 'org_b' }"),
        ("extra = { acr_values = 'gold' }", ""),
        ("extra = { a = 'bc' }", "extra = { ab = 'c' }"),
    ] {
        assert_strangers(&scene(one, two));
    }
}

#[test]
fn extra_parameters_go_to_the_request_that_begins_a_grant_and_to_no_other() {
    let scene = scene("extra = { organization = 'org_a' }", "");
    sign_in(&scene, "one");
    for file in sessions(&scene) {
        let mut session: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        session["tokens"][0]["expires_at"] = json!(now() - 1);
        fs::write(&file, session.to_string()).unwrap();
    }
    token(&scene.silently(["token", "-p", "one"]));
    let seen: Vec<_> =
        scene.idp.requests().iter().map(|r| (r.path.clone(), r.field("organization").map(str::to_owned))).collect();
    let with: Vec<_> =
        seen.iter().filter(|(_, value)| value.as_deref() == Some("org_a")).map(|(path, _)| path).collect();
    assert_eq!(with, ["/device_authorization"], "{seen:?}");
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
}

#[test]
fn profiles_for_another_audience_or_resource_share_nothing() {
    for (one, two) in [
        ("audience = 'https://a.example'", "audience = 'https://b.example'"),
        ("audience = 'https://a.example'", ""),
        ("resource = 'https://a.example'", "resource = 'https://b.example'"),
        ("resource = 'https://a.example'", "audience = 'https://a.example'"),
    ] {
        assert_strangers(&scene(one, two));
    }
}

#[test]
fn an_endpoint_given_by_hand_does_not_get_the_refresh_token_of_another_profile() {
    let other = Provider::start(Options::default());
    for endpoint in ["token-endpoint", "device-authorization-endpoint", "revocation-endpoint"] {
        let at = match endpoint {
            "token-endpoint" => Endpoint::Token,
            "device-authorization-endpoint" => Endpoint::Device,
            _ => Endpoint::Revoke,
        };
        let scene = scene("", &format!("{endpoint} = '{}'", other.url(at)));
        sign_in(&scene, "one");
        assert_not_signed_in(&scene, "two");
        let output = scene.silently(["logout", "two"]);
        assert_eq!((output.stdout.as_str(), output.code), ("Not signed in to two.\n", Some(0)), "{}", output.stderr);
        assert_eq!(other.requests().len(), 0, "{endpoint}");
        token(&scene.silently(["token", "-p", "one"]));
    }
}

#[test]
fn profiles_that_trust_other_authorities_share_nothing_and_the_content_decides() {
    let tls = || Options { tls: true, ..Options::default() };
    let authority = Provider::start(tls());
    let pem = fs::read_to_string(authority.ca_file().unwrap()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        format!("ca-file = '{}'", path.display())
    };
    let another = file("another.pem", &fs::read_to_string(Provider::start(tls()).ca_file().unwrap()).unwrap());
    let scene = scene(&file("one.pem", &pem), &another);
    assert_strangers(&scene);
    let the_same = fs::read_to_string(scene.keyfob.config_file()).unwrap().replace("another.pem", "copy.pem");
    file("copy.pem", &pem);
    scene.keyfob.write_config(&the_same);
    let by_copy = scene.silently(["token", "-p", "two"]);
    assert_eq!(by_copy.stdout, scene.silently(["token", "-p", "one"]).stdout);
}

/// The session's file as the first layout had it, under its name.
fn as_layout_one(scene: &Scene) -> PathBuf {
    scene.change(|session| {
        assert_eq!(session["version"], 2);
        session["version"] = json!(1);
        assert_eq!(session.get("parts"), None);
    });
    scene.file()
}

#[test]
fn a_file_of_the_first_layout_keeps_its_name_its_locks_and_its_tokens() {
    let scene = Scene::signed_in(Options::default());
    let file = as_layout_one(&scene);
    let before = fs::read(&file).unwrap();
    let token = scene.token();
    assert_eq!(fs::read(&file).unwrap(), before, "an answer from the cache writes nothing");
    scene.leave(-1);
    assert_ne!(scene.token(), token);
    assert_eq!((scene.file(), &scene.session()["version"]), (file, &json!(2)));
    scene.assert_proper();
}

#[test]
fn a_file_of_another_session_is_set_aside_and_not_used() {
    let scene = scene("extra = { organization = 'org_a' }", "extra = { organization = 'org_b' }");
    sign_in(&scene, "one");
    let one = scene.file();
    let before = fs::read(&one).unwrap();
    sign_in(&scene, "two");
    let two = sessions(&scene).into_iter().find(|file| *file != one).unwrap();
    fs::write(&two, before).unwrap();
    fs::set_permissions(&two, fs::Permissions::from_mode(0o600)).unwrap();
    let Output { code, stdout, stderr } = scene.silently(["token", "-p", "two"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(stderr.contains("(it belongs to another session) and is kept as "), "{stderr}");
}
