//! A registry that takes the provider's tokens, a keyfob that has it in `[hosts]`, and a `PATH` on which that keyfob goes by
//! its other names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;
use keyfob_test_support::registry::{Asks, Registry};

use super::{LAB, PROGRAM, Scene};

/// Someone at work, whose registry is mapped to the profile `lab`.
pub struct Desk {
    pub scene: Scene,
    pub registry: Registry,
    caller: &'static str,
}

impl Desk {
    /// Alice has signed in, and the registry is mapped for one caller.
    pub fn new(caller: &'static str, asks: Asks) -> Self {
        let desk = Self::signed_out(caller, asks);
        desk.scene.sign_in();
        desk
    }

    /// The same, and nobody has signed in.
    pub fn signed_out(caller: &'static str, asks: Asks) -> Self {
        let scene = Scene::new(Options::default());
        let registry = Registry::start(asks, scene.idp.judge());
        let desk = Self { scene, registry, caller };
        fs::create_dir(desk.scene.keyfob.home().join("bin")).unwrap();
        desk.map(&format!("https://{}", desk.registry.host()), "");
        desk
    }

    /// Maps an address alone, with these words more in its rule.
    pub fn map(&self, url: &str, more: &str) {
        let lab = LAB.replace("ISSUER", self.scene.idp.issuer());
        let caller = self.caller;
        let rule = format!("'{url}' = {{ profile = 'lab', callers = ['{caller}']{more} }}");
        self.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n{rule}\n"));
    }

    /// Maps nothing that this registry is.
    pub fn unmap(&self) {
        self.map("https://elsewhere.example", "");
    }

    /// Has keyfob go by another name, first on `PATH`.
    pub fn link(&self, name: &str) {
        symlink(PROGRAM, self.scene.keyfob.home().join("bin").join(name)).unwrap();
    }

    /// Connects a tool with the profile by `keyfob setup`, which tries it.
    #[track_caller]
    pub fn setup(&self, args: &[&str]) {
        let done = self.run(PROGRAM, &[&["setup"], args, &["--profile", "lab", "--yes"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(done.stdout.ends_with(", and is answered.\n"), "{done:?}");
    }

    /// Writes a file below the home folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.scene.keyfob.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A program in that home, where nobody can be asked to sign in.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let home = self.scene.keyfob.home();
        let mut command = self.scene.keyfob.other(program.as_ref());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([home.join("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
        command.env("PATH", path).env("KEYFOB_PROMPT", "never").current_dir(home);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Output {
        Output::of(self.command(program).args(args), b"")
    }

    /// How often the provider was asked for anything.
    pub fn asked(&self) -> usize {
        self.scene.idp.requests().len()
    }

    /// The session is gone, and nobody has signed in anew.
    pub fn forget_session(&self) {
        fs::remove_dir_all(self.scene.keyfob.cache_dir()).unwrap();
    }
}
