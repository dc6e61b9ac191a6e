//! For the tests of errors: compares failures byte for byte.
//!
//! Messages are compared as the user gets them. Only what differs from run to run is replaced: `HOME` stands for the
//! run's own folder, `ISSUER` for the provider's address, `SESSION` for the session's file name without its extension,
//! `LOGIN` for the environment and command that sign in.

use std::ops::Deref;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{self, Command, ExitStatus, Stdio};

use assert_cmd::assert::OutputAssertExt as _;
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::{Keyfob, Output};

use super::{LAB, PROGRAM, token};

/// A scene whose messages are compared.
pub struct Scene(super::Scene);

impl Deref for Scene {
    type Target = super::Scene;

    fn deref(&self) -> &super::Scene {
        &self.0
    }
}

impl Scene {
    pub fn new(options: Options, toml: &str) -> Self {
        Self(super::Scene::with(options, toml))
    }

    pub fn lab() -> Self {
        Self::new(Options::default(), LAB)
    }

    /// With a person signed in.
    pub fn signed_in() -> Self {
        Self::signed_in_with(Options::default())
    }

    /// With a person signed in; later sign-ins are approved too.
    pub fn signed_in_with(options: Options) -> Self {
        let scene = Self::new(options, LAB);
        scene.idp.auto(Auto::Approve);
        token(&scene.prompting(["token"]));
        scene
    }

    /// Asserts the exit code of a run, and its stderr.
    #[track_caller]
    pub fn assert_failed(&self, output: &Output, code: i32, stderr: &str) {
        let said = output.stderr.replace(self.idp.issuer(), "ISSUER");
        assert_failed(&self.keyfob, &Output { stderr: said, ..output.clone() }, code, stderr);
    }
}

pub fn silently(keyfob: &Keyfob, args: &[&str]) -> Output {
    Output::of(keyfob.command(args).env("KEYFOB_PROMPT", "never"), b"")
}

#[track_caller]
pub fn assert_failed(keyfob: &Keyfob, output: &Output, code: i32, stderr: &str) {
    let said = process::Output {
        // The exit code is in the second byte of a wait status.
        status: ExitStatus::from_raw(output.code.expect("an exit code") << 8),
        stdout: output.stdout.clone().into(),
        stderr: stable(keyfob, &output.stderr).into(),
    };
    said.assert().code(code).stdout("").stderr(stderr.to_owned());
    assert!(stderr.lines().count() <= 2, "more than two lines");
}

/// The message with everything replaced that differs from run to run.
pub fn stable(keyfob: &Keyfob, text: &str) -> String {
    let text = text.replace(&keyfob.home().display().to_string(), "HOME");
    let environment = "KEYFOB_CONFIG=HOME/config.toml KEYFOB_CACHE_DIR=HOME/cache ";
    let text = text.replace(&format!("{environment}{PROGRAM} login"), "LOGIN");
    // The name of a session's file: the host, a dash, 24 hexadecimal digits.
    match text.split_once("127.0.0.1-") {
        Some((before, rest)) if rest.len() > 24 && rest[..24].bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{before}SESSION{}", stable(keyfob, &rest[24..]))
        }
        _ => text,
    }
}

/// Runs the program with a mount that only it sees and that ends with it.
pub fn with_mount(scene: &Scene, mount: &str, prompt: &str, args: &[&str]) -> Output {
    let script = format!("set -e; C=$KEYFOB_CACHE_DIR; {mount}; exec \"$0\" \"$@\"");
    let mut command = scene.keyfob.other("unshare");
    command.args(UNSHARE).args(["sh", "-c", &script, PROGRAM]).args(args);
    Output::of(command.env("KEYFOB_PROMPT", prompt), b"")
}

/// Root in a user namespace is enough, if users may create one.
pub const UNSHARE: [&str; 2] = ["--map-root-user", "--mount"];

/// Whether mounts are possible here.
pub fn can_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k none /mnt";
    let tried = Command::new("unshare").args(UNSHARE).args(["sh", "-c", script]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
