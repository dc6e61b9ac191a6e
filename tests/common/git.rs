//! keyfob as git's helper, without git: hosts, a session, and a way to send requests.

use std::process::Stdio;

use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;
use serde_json::json;

use super::Scene;

/// The hosts that get a token.
pub const CONFIG: &str = r#"
[profile.lab]
issuer = "ISSUER"
client-id = "keyfob"

[hosts]
"https://github.com" = "lab"
"https://*.visualstudio.com" = "lab"
"https://git.lab:8443/team" = { profile = "lab", auth = "basic", username = "oauth2" }
"https://ada@corp.example" = "lab"
"http://127.0.0.1:8080" = "lab"
"#;

/// The same hosts.
pub const MAPPED: [&str; 5] = [
    "https://github.com",
    "https://*.visualstudio.com",
    "https://git.lab:8443/team",
    "https://ada@corp.example",
    "http://127.0.0.1:8080",
];

/// A scene whose access token is `abc`, was received some time ago, and is valid to the end of the century.
pub fn scene() -> Scene {
    let scene = Scene::with(Options::default(), CONFIG);
    scene.sign_in();
    scene.change(|session| {
        let tokens = session["tokens"].as_array_mut().unwrap();
        let access = tokens.iter_mut().find(|token| token["key"]["kind"] == "access").unwrap();
        access["token"] = json!("abc");
        access["serial"] = json!(0xdead_beef_u64);
        access["received_at"] = json!(1_700_000_000_i64);
        access["expires_at"] = json!(4_102_444_800_i64);
    });
    scene
}

/// Runs the helper with `input` as git does.
pub fn ask(scene: &Scene, operation: &str, input: impl AsRef<[u8]>) -> Output {
    let mut command = scene.command("never", ["git", operation]);
    Output::of(command.stdin(Stdio::piped()), input.as_ref())
}
