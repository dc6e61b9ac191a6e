//! For the tests of az and azd: a look-alike of Entra, and keyfob under the names that callers look for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;

use super::{PROGRAM, Scene};

/// A profile of the look-alike; `ISSUER` stands for its address.
pub const WORK: &str = "[profile.work]\nprovider = 'entra'\nauthority = 'ISSUER'\ntenant = 'contoso.com'\n\
                        client-id = '04b07795-8ddb-461a-bbee-02f9e1bf7b46'\n";

/// `keyfob az` and `keyfob azd` as `az` and `azd`, first on the search path.
pub struct Azure {
    pub scene: Scene,
    links: PathBuf,
}

impl Azure {
    /// With this configuration, and nobody signed in.
    pub fn signed_out(options: Options, toml: &str) -> Self {
        let scene = Scene::with(options, toml);
        let links = scene.keyfob.home().join("links");
        fs::create_dir(&links).unwrap();
        for name in ["az", "azd"] {
            symlink(PROGRAM, links.join(name)).unwrap();
        }
        Self { scene, links }
    }

    /// With the profile `work`, in which Alice is signed in.
    pub fn new() -> Self {
        let azure = Self::signed_out(Options::entra(), WORK);
        azure.scene.sign_in();
        azure
    }

    /// A command that finds keyfob as az and azd.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.scene.keyfob.other(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.links.clone()).chain(std::env::split_paths(&path));
        command.args(args).env("PATH", std::env::join_paths(folders).unwrap()).env("TZ", "UTC");
        command
    }

    /// Runs a line in a shell, as some SDKs do.
    pub fn sh(&self, line: &str) -> Output {
        Output::of(&mut self.command("/bin/sh", &["-c", line]), b"")
    }
}

/// The output with the words TOKEN, EPOCH, LOCAL and RFC3339 in place of a token of the session and its expiry. The
/// machine's time zone must be UTC.
pub fn plain(azure: &Azure, printed: &str) -> String {
    let mut text = printed.to_owned();
    for token in azure.scene.session()["tokens"].as_array().unwrap() {
        let epoch = token["expires_at"].as_i64().unwrap();
        let end = jiff::Timestamp::from_second(epoch).unwrap().to_string();
        let local = end.replace('T', " ").replace('Z', ".000000");
        for (found, word) in [
            (token["token"].as_str().unwrap(), "TOKEN"),
            (&*epoch.to_string(), "EPOCH"),
            (&local, "LOCAL"),
            (&end, "RFC3339"),
        ] {
            text = text.replace(found, word);
        }
    }
    text
}

/// The claims of an access token.
pub fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap_or_else(|| panic!("{token} is no JWT"));
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
