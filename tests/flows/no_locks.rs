//! A cache folder on a file system without locks, as some NFS and some container mounts are: the locks are in this machine's
//! memory. What holds elsewhere holds there: one refresh, one prompt, no session lost.
//!
//! A library that is loaded into keyfob is the file system: it has `flock` fail as the kernel does, in the cache folder alone.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use fs2::FileExt;
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Output, skip};

use crate::common::errors::{UNSHARE, can_mount, stable};
use crate::common::{Caller, PROGRAM, SOON, token, wait_for_sleepers, worker_of};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};

macro_rules! need_cc {
    () => {
        if library().is_none() {
            skip!("there is no C compiler here");
        }
    };
}

/// The library; `None` where there is no compiler.
fn library() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/no_flock.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_flock.so");
        let new = library.with_extension(std::process::id().to_string());
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([new.as_path(), source.as_ref()]).status();
        built.ok().filter(std::process::ExitStatus::success)?;
        fs::rename(new, &library).unwrap();
        Some(library)
    };
    BUILT.get_or_init(build).as_deref()
}

/// keyfob with a cache folder whose file system has no locks. What it leaves in memory is removed with it.
struct Scene(crate::common::Scene);

impl Deref for Scene {
    type Target = crate::common::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for name in self.local_names() {
            let _ = fs::remove_file(local_folder().join(name));
        }
    }
}

/// Where the locks are for this user.
fn local_folder() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let run = PathBuf::from(format!("/run/user/{user}"));
    let ours = fs::metadata(&run).is_ok_and(|run| run.uid() == user && run.mode() & 0o22 == 0);
    if ours { run.join("keyfob") } else { format!("/dev/shm/keyfob-{user}").into() }
}

impl Scene {
    fn new() -> Self {
        Self(crate::common::Scene::new(Options::default()))
    }

    fn signed_in() -> Self {
        let scene = Self::new();
        scene.idp.auto(Auto::Approve);
        token(&scene.run("always", &["token"]));
        scene.idp.auto(Auto::Ignore);
        scene
    }

    /// keyfob where `flock` fails with `error` in the cache folder.
    fn failing(&self, error: Errno, prompt: &str, args: &[&str]) -> Command {
        let mut command = self.command(prompt, args);
        command.env("LD_PRELOAD", library().unwrap()).env("NO_FLOCK", error.raw_os_error().to_string());
        command
    }

    fn run(&self, prompt: &str, args: &[&str]) -> Output {
        Output::of(&mut self.failing(Errno::NOLCK, prompt, args), b"")
    }

    fn start(&self, prompt: &str) -> Caller {
        Caller::start(&mut self.failing(Errno::NOLCK, prompt, &["token"]))
    }

    fn twelve(&self, prompt: &str) -> Vec<Caller> {
        (0..12).map(|_| self.start(prompt)).collect()
    }

    /// What is in memory for this cache folder, sorted.
    fn local_names(&self) -> Vec<String> {
        let Ok(folder) = fs::metadata(self.keyfob.cache_dir()) else { return Vec::new() };
        let entries = fs::read_dir(local_folder()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(&format!("{:x}-", folder.ino()))).collect();
        names.sort_unstable();
        names
    }

    /// The session's lock in memory.
    fn local_lock(&self) -> PathBuf {
        let lock = self.file().with_extension("lock");
        let ino = fs::metadata(self.keyfob.cache_dir()).unwrap().ino();
        local_folder().join(format!("{ino:x}-{}", lock.file_name().unwrap().to_str().unwrap()))
    }
}

/// Waits for the end of all; the token that all of them got.
#[track_caller]
fn same_token(callers: Vec<Caller>) -> String {
    let outputs: Vec<Output> = callers.into_iter().map(Caller::finish).collect();
    let tokens: Vec<String> = outputs.iter().map(token).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{outputs:#?}");
    tokens.into_iter().next().unwrap()
}

#[test]
fn whatever_a_file_system_says_that_has_no_locks() {
    need_cc!();
    let scene = Scene::signed_in();
    for (refreshes, error) in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].into_iter().enumerate() {
        scene.leave(-1);
        let output = Output::of(scene.failing(error, "never", &["token"]).env("KEYFOB_LOG", "debug"), b"");
        assert!(scene.idp.accepts(&token(&output)), "{error:?}");
        let said = format!("keyfob: the file system has no locks; they are kept in {}\n", local_folder().display());
        assert!(output.stderr.contains(&said), "{output:?}");
        assert_eq!(scene.idp.count("token:refresh_token"), refreshes + 1);
    }
    // Anything else is an error of its own.
    scene.leave(-1);
    let output = Output::of(&mut scene.failing(Errno::IO, "never", &["token"]), b"");
    let lock = scene.file().with_extension("lock");
    let name = lock.file_name().unwrap().to_str().unwrap();
    let stderr = format!(
        "error: could not get a token for lab: could not take the lock {name}: Input/output error (os error 5)\n"
    );
    assert_eq!(output, Output { stdout: String::new(), stderr, code: Some(1) });
    scene.assert_proper();
}

#[test]
fn doctor_warns_of_it_and_signing_out_leaves_no_lock_behind() {
    need_cc!();
    let scene = Scene::signed_in();
    let output = scene.run("never", &["doctor", "--offline"]);
    let warning = format!(
        "warn   cache: the file system has no locks; they are kept in {}, which other machines do not see\n       \
         -> set KEYFOB_CACHE_DIR to a folder on a local disk\n",
        local_folder().display()
    );
    assert!(output.stdout.contains(&warning), "{output:?}");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let with_locks = scene.silently(["doctor", "--offline"]).stdout;
    assert!(!with_locks.contains("no locks"), "{with_locks}");

    assert_eq!(scene.local_names().len(), 2);
    assert_eq!(scene.run("never", &["logout"]).code, Some(0));
    assert_eq!(scene.local_names(), Vec::<String>::new());
    assert!(scene.names().iter().all(|name| name == "locks-in-dev-shm"), "{:?}", scene.names());
}

#[test]
fn twelve_with_an_ended_token_share_one_refresh() {
    need_cc!();
    let scene = Scene::signed_in();
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let callers = scene.twelve("never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    wait_for_sleepers(&callers.iter().map(Caller::pid).collect::<Vec<_>>(), 1);
    drop(hold);
    assert!(scene.idp.accepts(&same_token(callers)));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn twelve_without_a_session_share_one_sign_in() {
    need_cc!();
    let scene = Scene::new();
    let callers = scene.twelve("always");
    let codes: Vec<String> = callers.iter().map(Caller::code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    scene.idp.approve(&codes[0]);
    assert!(scene.idp.accepts(&same_token(callers)));
    assert_eq!((scene.idp.count("device"), scene.idp.count("discovery")), (1, 1));
    scene.assert_proper();
}

#[test]
fn a_waiter_refreshes_when_the_one_that_was_at_it_is_killed() {
    need_cc!();
    let scene = Scene::signed_in();
    scene.leave(-1);
    // The provider never looks at the first request.
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    let hold = scene.idp.hold(Endpoint::Token);
    let first = scene.start("never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let waiter = scene.start("never");
    wait_for_sleepers(&[waiter.pid()], 0);
    kill_process(worker_of(first.pid()).unwrap(), Signal::KILL).unwrap();
    first.kill();
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    token(&waiter.finish());
    scene.assert_proper();
}

#[test]
fn a_waiter_goes_on_with_the_same_code_when_the_poller_is_killed() {
    need_cc!();
    let scene = Scene::new();
    let poller = scene.start("always");
    let code = poller.code();
    let waiter = scene.start("always");
    assert_eq!(waiter.code(), code);
    poller.kill();
    scene.idp.approve(&code);
    assert!(scene.idp.accepts(&token(&waiter.finish())));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

#[test]
fn a_process_that_waits_in_vain_names_the_lock_in_memory() {
    need_cc!();
    let scene = Scene::signed_in();
    scene.leave(-1);
    let lock = File::options().write(true).open(scene.local_lock()).unwrap();
    lock.lock_exclusive().unwrap();
    let output = scene.run("never", &["login", "--timeout", "1"]);
    let lock = scene.local_lock();
    let error = format!(
        "error: could not get a token for lab: could not reach {}: it did not answer in time\n\
         hint: see which: fuser -v {}\n",
        scene.idp.issuer(),
        lock.display()
    );
    assert_eq!((output.stderr, output.code), (error, Some(5)));
}

/// The same session in another cache folder is another session.
#[test]
fn the_locks_of_two_cache_folders_are_not_the_same() {
    need_cc!();
    let scene = Scene::signed_in();
    let lock = File::options().write(true).open(scene.local_lock()).unwrap();
    lock.lock_exclusive().unwrap();
    let other = scene.keyfob.home().join("other");
    scene.idp.auto(Auto::Approve);
    let mut login = scene.failing(Errno::NOLCK, "always", &["login"]);
    let output = Output::of(login.env("KEYFOB_CACHE_DIR", &other), b"");
    assert_eq!(output.code, Some(0), "{output:?}");
    let prefix = format!("{:x}-", fs::metadata(&other).unwrap().ino());
    for entry in fs::read_dir(local_folder()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with(&prefix) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// Another machine, which does not see this one's locks, has renewed the session meanwhile.
#[test]
fn an_answer_does_not_replace_the_newer_one_of_another_machine() {
    need_cc!();
    let scene = Scene::signed_in();
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let late = scene.start("never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    scene.leave(3600);
    scene.change(|session| session["refresh_token"] = "another".into());
    let theirs = scene.session();
    drop(hold);
    assert_eq!(token(&late.finish()), theirs["tokens"][0]["token"].as_str().unwrap());
    assert_eq!(scene.session(), theirs);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
}

/// Runs a script as root of a mount namespace, where `/run` and `/dev/shm` are empty, `$L` is a token without locks, and
/// `/run/user/$U` can be made and removed.
fn script(scene: &Scene, script: &str) -> Output {
    let mounts = "mount -t tmpfs none /run; mount -t tmpfs -o mode=1777 none /dev/shm; U=$(id -u); \
                  run() { mkdir -m 755 -p /run/user; mkdir -m 700 /run/user/$U; }; \
                  age() { sed -i 's/\"expires_at\":[0-9]*/\"expires_at\":1/' \"$KEYFOB_CACHE_DIR\"/*.json; }; \
                  keyfob() { LD_PRELOAD=$P NO_FLOCK=37 \"$K\" \"$@\"; }; \
                  locks() { cd /; find run/user dev/shm -name '*.lock' 2>/dev/null | sed 's/[0-9a-f]*-127.*[0-9a-f]\\{24\\}/S/' | sort; }; ";
    let mut command = scene.keyfob.other("unshare");
    // Root needs no namespace of users to mount, and can be two users then.
    command.args(if rustix::process::geteuid().is_root() { &UNSHARE[1..] } else { &UNSHARE });
    command.args(["sh", "-e", "-c", &format!("{mounts}{script}")]);
    Output::of(command.env("K", PROGRAM).env("P", library().unwrap()).env("KEYFOB_PROMPT", "never"), b"")
}

/// A login shell sees `/run/user/UID`, and a cron job may not; then both use `/dev/shm`.
#[test]
fn all_find_the_same_locks_whatever_their_environment() {
    need_cc!();
    if !can_mount() {
        skip!("`unshare` cannot mount here");
    }
    let scene = Scene::signed_in();
    let record = scene.keyfob.cache_dir().join("locks-in-dev-shm");
    let _ = fs::remove_file(&record);
    let output = script(
        &scene,
        "run; age; XDG_RUNTIME_DIR=/nowhere keyfob token >/dev/null; locks; ls -ld run/user/$U/keyfob | cut -c1-10; \
         echo; rmdir() { rm -r /run/user/$U; }; rmdir; age; keyfob token >/dev/null; locks; \
         ls -ld dev/shm/keyfob-$U | cut -c1-10; echo; run; age; keyfob token >/dev/null; locks",
    );
    let stdout =
        "run/user/0/keyfob/S.lock\ndrwx------\n\ndev/shm/keyfob-0/S.lock\ndrwx------\n\ndev/shm/keyfob-0/S.lock\n";
    assert_eq!(output, Output { stdout: stdout.into(), stderr: String::new(), code: Some(0) });
    assert!(record.exists());
    assert_eq!(scene.idp.count("token:refresh_token"), 3);
}

/// Anyone may make a folder in `/dev/shm`, and any file or link.
#[test]
fn a_folder_for_locks_that_another_user_made_is_not_used() {
    need_cc!();
    if !can_mount() || !rustix::process::geteuid().is_root() {
        skip!("only root can be two users");
    }
    let scene = Scene::signed_in();
    let _ = fs::remove_file(scene.keyfob.cache_dir().join("locks-in-dev-shm"));
    for (made, error) in [
        ("mkdir -m 777 $D; chown 54321 $D", "could not use D: it belongs to another user (uid 54321)"),
        ("mkdir -m 777 $D", "could not use D: other users can get at it (mode 0777)"),
        ("ln -s /tmp $D", "could not use the folder for locks D: it is a file or a link, not a folder"),
    ] {
        let output = script(&scene, &format!("D=/dev/shm/keyfob-$U; {made}; age; keyfob token"));
        let said = stable(&scene.keyfob, &output.stderr).replace("/dev/shm/keyfob-0", "D");
        let line = said.lines().next().unwrap();
        assert_eq!(line, format!("error: could not get a token for lab: {error}"), "{output:?}");
        assert_eq!(output.code, Some(1));
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
}
