//! pip, before and since it asks keyring for the user name too, and uv, against an index that takes the provider's tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::tools::{Day, Desk, Replaced};
use keyfob_test_support::real::{Missing, on_this_machine, pypi};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};

const BASIC: Asks = Asks { tls: false, challenge: "Basic realm=\"index\"" };

/// Writes the smallest wheel there is.
const WHEEL: &str = "import sys, zipfile\n\
    with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n\
    \x20   info = 'demo-1.0.dist-info/'\n\
    \x20   wheel.writestr('demo.py', '')\n\
    \x20   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n')\n\
    \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
    \x20   wheel.writestr(info + 'RECORD', 'demo.py,,\\n')\n";
const FILE: &str = "demo-1.0-py3-none-any.whl";

fn desk() -> Desk {
    let desk = Desk::new("keyring", BASIC);
    let index = format!("{}/team/simple", desk.registry.origin());
    desk.map(&index, ", username = 'oauth2'");
    desk.setup(&["pip", "--bin", "bin", &index]);
    let wheel = desk.scene.keyfob.home().join(FILE);
    let made = Output::of(Command::new("python3").args(["-c", WHEEL]).arg(&wheel), b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    let page = format!("<a href=\"/team/simple/files/{FILE}\">{FILE}</a>");
    desk.registry.serve("/team/simple/demo/", "text/html", page);
    desk.registry.serve(&format!("/team/simple/files/{FILE}"), "application/zip", fs::read(wheel).unwrap());
    desk
}

/// How a program installs `demo` from the index.
struct Client {
    program: PathBuf,
    packages: PathBuf,
    words: Vec<String>,
    /// What stands in front of the index's host; `None` where uv's own file names the index, and that it wants a sign-in.
    user: Option<&'static str>,
}

impl Client {
    fn pip(version: &str, user: &'static str) -> Result<Self, Missing> {
        let packages = pypi(&[&format!("pip=={version}")])?;
        let words = "-m pip install --no-input --disable-pip-version-check --no-cache-dir --no-deps --force-reinstall --target out";
        Ok(Self { program: on_this_machine("python3")?, packages, words: split(words), user: Some(user) })
    }

    fn uv(user: Option<&'static str>) -> Result<Self, Missing> {
        let packages = pypi(&["uv==0.13.9"])?;
        let words = "pip install --no-cache --reinstall --target out";
        Ok(Self { program: packages.join("bin/uv"), packages, words: split(words), user })
    }

    fn run(&self, desk: &Desk) -> Output {
        let index = format!("{}/team/simple/", desk.registry.origin());
        let mut command = desk.command(&self.program);
        command.args(&self.words).arg("demo").env("PYTHONPATH", &self.packages);
        if let Some(user) = self.user {
            command.args(["--index-url", &index.replace("://", &format!("://{user}"))]);
            command.env("UV_KEYRING_PROVIDER", "subprocess");
        } else {
            let index = format!("[[index]]\nurl = \"{index}\"\ndefault = true\nauthenticate = \"always\"\n");
            desk.write(".config/uv/uv.toml", &format!("keyring-provider = \"subprocess\"\n{index}"));
        }
        Output::of(&mut command, b"")
    }
}

fn split(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn day(client: &Client) {
    let desk = desk();
    Day {
        desk: &desk,
        run: &|| client.run(&desk),
        seen: &|| desk.registry.take_lines(),
        wanted: &format!("GET /team/simple/files/{FILE} Basic 200"),
        replaced: Replaced::ByRenewal,
        elsewhere: None,
    }
    .live();
}

#[test]
fn pip_that_asks_for_the_password_alone() {
    day(&need!(Client::pip("26.2.1", "oauth2@")));
}

#[test]
fn pip_that_asks_for_the_user_name_too() {
    day(&need!(Client::pip("26.3", "")));
    day(&need!(Client::pip("26.3", "oauth2@")));
}

#[test]
fn uv_with_a_user_name() {
    day(&need!(Client::uv(Some("oauth2@"))));
}

/// Where uv is told to sign in always, it asks for the user name as well.
#[test]
fn uv_without_a_user_name() {
    day(&need!(Client::uv(None)));
}

/// The next keyring on `PATH` answers for what is not mapped, and is asked for nothing that is.
#[test]
fn what_is_not_mapped_is_the_next_keyrings() {
    let client = need!(Client::pip("26.3", ""));
    let desk = desk();
    let log = desk.scene.keyfob.home().join("asked");
    let token = desk.scene.token();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nprintf '{{\"username\": \"u\", \"password\": \"{token}\"}}\\n'\n",
        log.display()
    );
    desk.write("other/keyring", &script);
    let other = desk.scene.keyfob.home().join("other");
    fs::set_permissions(other.join("keyring"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = |command: &Command| -> std::ffi::OsString {
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
        let mut folders: Vec<PathBuf> = std::env::split_paths(path).collect();
        folders.insert(1, other.clone());
        std::env::join_paths(folders).unwrap()
    };
    let run = |desk: &Desk, index: &str| {
        let mut command = desk.command(&client.program);
        let path = path(&command);
        command
            .args(&client.words)
            .args(["demo", "--index-url", index])
            .env("PYTHONPATH", &client.packages)
            .env("PATH", path);
        Output::of(&mut command, b"")
    };
    let index = format!("{}/team/simple/", desk.registry.origin());
    assert_eq!(run(&desk, &index).code, Some(0));
    assert!(!log.exists(), "a mapped index is keyfob's alone");

    // Signed out: the bare host, for which pip asks next, is not handed on either.
    desk.forget_session();
    assert_ne!(run(&desk, &index).code, Some(0));
    assert!(!Path::new(&log).exists(), "{}", fs::read_to_string(&log).unwrap());

    assert_eq!(desk.unmapped(|| run(&desk, &index)).code, Some(0));
    assert!(fs::read_to_string(&log).unwrap().contains(&format!("get {index}")));
}
