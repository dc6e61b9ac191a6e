//! A registry that takes the provider's tokens, a keyfob that has it in `[hosts]`, and a `PATH` on which that keyfob goes by
//! its other names.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;
use keyfob_test_support::registry::{Asks, Registry};

use super::{LAB, PROGRAM, Scene, refresh_token};

/// Someone at work, whose registry is mapped to the profile `lab`.
pub struct Desk {
    pub scene: Scene,
    pub registry: Registry,
    caller: &'static str,
    /// The rule of `[hosts]` that was written last.
    rule: RefCell<String>,
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
        let desk = Self { scene, registry, caller, rule: RefCell::default() };
        fs::create_dir(desk.scene.keyfob.home().join("bin")).unwrap();
        desk.map(&format!("https://{}", desk.registry.host()), "");
        desk
    }

    /// Maps an address alone, with these words more in its rule.
    pub fn map(&self, url: &str, more: &str) {
        let caller = self.caller;
        *self.rule.borrow_mut() = format!("'{url}' = {{ profile = 'lab', callers = ['{caller}']{more} }}");
        self.write_rule(&self.rule.borrow());
    }

    fn write_rule(&self, rule: &str) {
        let lab = LAB.replace("ISSUER", self.scene.idp.issuer());
        self.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n{rule}\n"));
    }

    /// Runs while nothing is mapped that this registry is.
    pub fn unmapped<T>(&self, run: impl FnOnce() -> T) -> T {
        self.write_rule(&format!("'https://elsewhere.example' = {{ profile = 'lab', callers = ['{}'] }}", self.caller));
        let ran = run();
        self.write_rule(&self.rule.borrow());
        ran
    }

    /// Has keyfob go by another name, first on `PATH`.
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

/// How a program comes to another token when its server has refused one.
#[derive(Clone, Copy)]
pub enum Replaced<'a> {
    /// It tells keyfob, within the same command.
    AtOnce,
    /// It tells keyfob, and fails: the next command has another.
    AfterIt,
    /// By a command of its own, which signs out.
    By(&'a dyn Fn()),
    /// It cannot tell: the next renewal brings one.
    ByRenewal,
}

/// What a real program gets, from the first answer to a sign-out.
pub struct Day<'a> {
    pub desk: &'a Desk,
    /// Has the program fetch something.
    pub run: &'a dyn Fn() -> Output,
    /// What its server saw since the last call: lines that end with the status.
    pub seen: &'a dyn Fn() -> Vec<String>,
    /// The line that shows that the program was answered.
    pub wanted: &'a str,
    pub replaced: Replaced<'a>,
    /// Has it fetch what is not mapped, where `[hosts]` does not say that.
    pub elsewhere: Option<&'a dyn Fn() -> Output>,
}

impl Day<'_> {
    /// Lives through it; what the program said when nobody was signed in.
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

    /// Nothing that it showed was any good.
    #[track_caller]
    fn assert_not_answered(&self, output: &Output) {
        let lines = (self.seen)();
        let refused = |line: &String| [" 401", " 535", " NO"].iter().any(|status| line.ends_with(status));
        assert!(lines.iter().all(refused), "{lines:?} {output:?}");
        // git send-email ends with 0 even then.
        assert!(output.code != Some(0) || !output.stderr.is_empty(), "{output:?}");
    }
}
