//! A registry that accepts the provider's tokens, a keyfob that has the registry in `[hosts]`, and a `PATH` on which
//! keyfob has its other names.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;
use keyfob_test_support::registry::{Asks, Registry};

use super::{LAB, PROGRAM, Scene, refresh_token};

/// A person at work, whose registry is mapped to the profile `lab`.
pub struct Desk {
    pub scene: Scene,
    pub registry: Registry,
    caller: &'static str,
    /// The rule in `[hosts]` that was written last.
    rule: RefCell<String>,
}

impl Desk {
    /// With Alice signed in, and the registry mapped for one caller.
    pub fn new(caller: &'static str, asks: Asks) -> Self {
        let desk = Self::signed_out(caller, asks);
        desk.scene.sign_in();
        desk
    }

    /// Like `new`, with nobody signed in.
    pub fn signed_out(caller: &'static str, asks: Asks) -> Self {
        let scene = Scene::new(Options::default());
        let registry = Registry::start(asks, scene.idp.judge());
        let desk = Self { scene, registry, caller, rule: RefCell::default() };
        fs::create_dir(desk.scene.keyfob.home().join("bin")).unwrap();
        desk.map(&format!("https://{}", desk.registry.host()), "");
        desk
    }

    /// Maps only this address, with more text in its rule.
    pub fn map(&self, url: &str, more: &str) {
        let caller = self.caller;
        *self.rule.borrow_mut() = format!("'{url}' = {{ profile = 'lab', callers = ['{caller}']{more} }}");
        self.write_rule(&self.rule.borrow());
    }

    fn write_rule(&self, rule: &str) {
        let lab = LAB.replace("ISSUER", self.scene.idp.issuer());
        self.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n{rule}\n"));
    }

    /// Calls `run` while the registry is not mapped.
    pub fn unmapped<T>(&self, run: impl FnOnce() -> T) -> T {
        self.write_rule(&format!("'https://elsewhere.example' = {{ profile = 'lab', callers = ['{}'] }}", self.caller));
        let ran = run();
        self.write_rule(&self.rule.borrow());
        ran
    }

    /// Makes a link to keyfob with another name, first on `PATH`.
    pub fn link(&self, name: &str) {
        symlink(PROGRAM, self.scene.keyfob.home().join("bin").join(name)).unwrap();
    }

    /// Connects a tool by one command, as one who begins: `keyfob setup` makes the profile as well, and tries both.
    #[track_caller]
    pub fn setup(&self, args: &[&str]) {
        fs::remove_file(self.scene.keyfob.config_file()).unwrap();
        let profile = ["--profile", "lab", "--issuer", self.scene.idp.issuer(), "--client-id", "keyfob", "--yes"];
        let done = self.run(PROGRAM, &[&["setup"], args, &profile].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(done.stdout.ends_with(", and is answered.\n"), "{done:?}");
    }

    /// Writes a file below the home folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.scene.keyfob.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command in this home, where nobody can be asked to sign in.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let home = self.scene.keyfob.home();
        let mut command = self.scene.keyfob.other(program.as_ref());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([home.join("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
        command.env("PATH", path).env("KEYFOB_PROMPT", "never").current_dir(home);
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Output {
        Output::of(self.command(program).args(args), b"")
    }

    /// How many requests the provider has received.
    pub fn asked(&self) -> usize {
        self.scene.idp.requests().len()
    }

    /// Deletes the session, so that nobody is signed in.
    pub fn forget_session(&self) {
        fs::remove_dir_all(self.scene.keyfob.cache_dir()).unwrap();
    }
}

/// How a program gets another token after its server has refused one.
#[derive(Clone, Copy)]
pub enum Replaced<'a> {
    /// It tells keyfob within the same command.
    AtOnce,
    /// It tells keyfob and fails; the next command gets another token.
    AfterIt,
    /// It has a command of its own that signs out.
    By(&'a dyn Fn()),
    /// It cannot tell keyfob; the next renewal brings another token.
    ByRenewal,
}

/// What a real program goes through, from the first answer to the sign-out.
pub struct Day<'a> {
    pub desk: &'a Desk,
    /// Makes the program fetch something.
    pub run: &'a dyn Fn() -> Output,
    /// The requests that its server received since the last call, as lines that end with the status.
    pub seen: &'a dyn Fn() -> Vec<String>,
    /// The line that shows that the program got an answer.
    pub wanted: &'a str,
    pub replaced: Replaced<'a>,
    /// Makes the program fetch from a place that is not mapped, unless `[hosts]` can express that.
    pub elsewhere: Option<&'a dyn Fn() -> Output>,
}

impl Day<'_> {
    /// Goes through all of it. Returns the program's output from when nobody was signed in.
    #[track_caller]
    pub fn live(&self) -> Output {
        let Self { desk, run, .. } = self;
        let before = desk.asked();
        for _ in 0..2 {
            self.assert_answered(&run());
        }
        assert_eq!(desk.asked(), before, "the cache needs no provider");

        desk.scene.idp.expire_access_tokens();
        desk.scene.age();
        if !matches!(self.replaced, Replaced::AtOnce) {
            self.assert_not_answered(&run());
        }
        match self.replaced {
            Replaced::AtOnce | Replaced::AfterIt => {}
            Replaced::By(sign_out) => {
                let before = refresh_token(&desk.scene.session());
                sign_out();
                assert_eq!(refresh_token(&desk.scene.session()), before, "the sign-in stays");
            }
            Replaced::ByRenewal => desk.scene.leave(-1),
        }
        self.assert_answered(&run());

        let elsewhere = self.elsewhere.map_or_else(|| desk.unmapped(run), |elsewhere| elsewhere());
        self.assert_not_answered(&elsewhere);
        desk.forget_session();
        let signed_out = run();
        self.assert_not_answered(&signed_out);
        signed_out
    }

    #[track_caller]
    fn assert_answered(&self, output: &Output) {
        let lines = (self.seen)();
        assert!(lines.iter().any(|line| line == self.wanted), "{lines:?} {output:?}");
    }

    /// Asserts that no credential that it sent was accepted.
    #[track_caller]
    fn assert_not_answered(&self, output: &Output) {
        let lines = (self.seen)();
        let refused = |line: &String| [" 401", " 535", " NO"].iter().any(|status| line.ends_with(status));
        assert!(lines.iter().all(refused), "{lines:?} {output:?}");
        // git send-email exits with 0 even then.
        assert!(output.code != Some(0) || !output.stderr.is_empty(), "{output:?}");
    }
}
