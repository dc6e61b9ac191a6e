//! What tests of the whole program share: a provider with a keyfob that knows it, an empty home, callers that can be
//! observed while they run, and the files that keyfob leaves behind.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod azure;
pub mod browser;
pub mod doctor;
pub mod errors;
pub mod git;
pub mod kube;
pub mod machine;
pub mod screen;
pub mod strace;
pub mod tools;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fs2::FileExt;
use keyfob_test_support::provider::{Auto, Options, Provider};
use keyfob_test_support::{Keyfob, Output};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

/// Longer than anything takes; only a failing test waits this long.
pub const SOON: Duration = Duration::from_secs(60);

/// The configuration of a plain profile; `ISSUER` stands for the provider's address.
pub const LAB: &str = "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n";

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_keyfob");

/// The example `demo`, which cargo builds with all tests, but not with one test program alone.
pub fn demo() -> Result<PathBuf, &'static str> {
    let folder = Path::new(PROGRAM).with_file_name("examples");
    Some(folder.join("demo")).filter(|demo| demo.is_file()).ok_or("cargo has not built the example `demo`")
}

/// A provider, and a keyfob whose configuration knows it.
pub struct Scene {
    pub idp: Provider,
    pub keyfob: Keyfob,
}

impl Scene {
    /// With the configuration `toml`, in which `ISSUER` stands for the provider's address. The provider's certificate
    /// is added.
    pub fn with(options: Options, toml: &str) -> Self {
        let idp = Provider::start(options);
        let ca_file = idp.ca_file().map(|file| format!("ca-file = '{}'\n", file.display())).unwrap_or_default();
        let config = toml.replace("ISSUER", idp.issuer()) + &ca_file;
        Self { idp, keyfob: Keyfob::new(PROGRAM).config(&config) }
    }

    /// With the profile `lab`.
    pub fn new(options: Options) -> Self {
        Self::with(options, LAB)
    }

    /// Like `new`, with Alice signed in. New codes are then left to the test.
    pub fn signed_in(options: Options) -> Self {
        let scene = Self::new(options);
        scene.sign_in();
        scene
    }

    /// Signs in to the only profile, and returns the token.
    pub fn sign_in(&self) -> String {
        self.idp.auto(Auto::Approve);
        let token = token(&self.prompting(["token"]));
        self.idp.auto(Auto::Ignore);
        token
    }

    /// A command with `KEYFOB_PROMPT` set.
    pub fn command(&self, prompt: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.keyfob.command(args);
        command.env("KEYFOB_PROMPT", prompt);
        command
    }

    /// Runs keyfob where a sign-in cannot be shown.
    pub fn silently(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        Output::of(&mut self.command("never", args), b"")
    }

    /// Runs keyfob where a sign-in is shown on stderr, which is a pipe.
    pub fn prompting(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        Output::of(&mut self.command("always", args), b"")
    }

    /// Starts a caller that shows a sign-in on its stderr.
    pub fn start(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Caller {
        Caller::start(&mut self.command("always", args))
    }

    /// Starts `keyfob token` under a shell, in a process group of its own.
    pub fn start_under_a_shell(&self, prompt: &str) -> Caller {
        let mut shell = self.keyfob.other("sh");
        shell.args(["-c", "\"$0\" token; exit $?", PROGRAM]).env("KEYFOB_PROMPT", prompt).process_group(0);
        Caller::start(&mut shell)
    }

    /// Starts twelve callers of `keyfob token`.
    pub fn twelve(&self, prompt: &str) -> Vec<Caller> {
        (0..12).map(|_| Caller::start(&mut self.command(prompt, ["token"]))).collect()
    }

    /// The file names in the cache folder, sorted; empty if there is no folder.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.keyfob.cache_dir()) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Gets a token; nothing may be written to stderr.
    #[track_caller]
    pub fn token(&self) -> String {
        let output = self.silently(["token"]);
        assert_eq!(output.stderr, "");
        token(&output)
    }

    /// The file of the only session.
    pub fn file(&self) -> PathBuf {
        let names = self.names();
        let mut sessions = names.iter().filter(|name| name.ends_with(".json"));
        let (Some(session), None) = (sessions.next(), sessions.next()) else { panic!("{names:?}") };
        self.keyfob.cache_dir().join(session)
    }

    /// The contents of the only session's file.
    pub fn session(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// Changes the session's file, for example as time would.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut session = self.session();
        change(&mut session);
        fs::write(self.file(), session.to_string()).unwrap();
    }

    /// Moves the provider's last error, if any, ten minutes into the past, so that keyfob asks the provider again.
    pub fn after_the_pause(&self) {
        self.change(|session| {
            if let Some(trouble) = session.get_mut("last_error") {
                trouble["at_ms"] = json!(trouble["at_ms"].as_i64().unwrap() - 600_000);
            }
        });
    }

    /// Makes the tokens older, so that a host's refusal counts against the token rather than the account.
    pub fn age(&self) {
        self.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                token["received_at"] = json!(token["received_at"].as_i64().unwrap() - 600);
            }
        });
    }

    /// Makes the cached tokens expire in this many seconds, or have expired if it is negative.
    pub fn leave(&self, seconds: i64) {
        self.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                token["expires_at"] = json!(now() + seconds);
            }
        });
    }

    /// The session that a process wrote completely but did not live to rename; `None` if there is none.
    pub fn unrenamed(&self) -> Option<Value> {
        let name = self.names().into_iter().find(|name| name.ends_with(".new"))?;
        serde_json::from_slice(&fs::read(self.keyfob.cache_dir().join(name)).ok()?).ok()
    }

    /// Waits until the provider has handled every request, including those of killed processes, and no process is left
    /// that renews the session.
    pub fn settle(&self) {
        let locks =
            || self.names().into_iter().filter(|name| name.ends_with(".lock") && !name.ends_with("sign-in.lock"));
        wait_until("the session's lock", || {
            locks().all(|name| match File::open(self.keyfob.cache_dir().join(name)) {
                Ok(file) => FileExt::try_lock_exclusive(&file).is_ok(),
                Err(_) => true,
            })
        });
        let port: u16 = self.idp.issuer().rsplit(':').next().unwrap().parse().unwrap();
        let local = format!("0100007F:{port:04X}");
        wait_until("the provider's connections to end", || {
            let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
            // The columns are number, local address, remote address, state. Listening and time-wait are not
            // connections.
            let mut rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            !rows.any(|row| row.len() > 3 && row[1] == local && !["0A", "06"].contains(&row[3]))
        });
    }

    /// Removes the keys of sealed sessions from the kernel's keyring, as a restart of the machine does.
    #[cfg(target_os = "linux")]
    pub fn forget_keys(&self) {
        keyfob_test_support::forget_keys(&self.keyfob.cache_dir());
    }

    /// Asserts that nobody polled too early, and that nothing was used twice.
    #[track_caller]
    pub fn assert_proper(&self) {
        let seen = (self.idp.too_fast(), self.idp.polls_after_success(), self.idp.refresh_reuses());
        assert_eq!(seen, (0, 0, 0), "polls too fast, polls after success, refresh tokens used twice");
    }
}

/// Copies the program under test. Another process does it, because a file that this process has had open for writing is
/// busy for as long as another test's child has inherited the descriptor.
pub fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(PROGRAM).arg(to).status().unwrap().success());
}

/// A running program whose output goes to files, so that it can be read meanwhile. Dropping it kills the program.
pub struct Caller {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Caller {
    pub fn start(command: &mut Command) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        // Appending, because reading moves the position that both handles share.
        let again = |file: &File| {
            rustix::fs::fcntl_setfl(file, rustix::fs::OFlags::APPEND).unwrap();
            file.try_clone().unwrap()
        };
        command.stdout(again(&stdout)).stderr(again(&stderr));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The stderr so far.
    pub fn stderr(&self) -> String {
        contents(&self.stderr)
    }

    /// Waits until the caller has shown a code, and returns it.
    pub fn code(&self) -> String {
        let shown = || code(&self.stderr());
        wait_until(&format!("a code on the stderr of {}", self.pid()), || shown().is_some());
        shown().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills the process with SIGKILL, so that it cleans nothing up. It has ended when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9), "it had ended before");
    }

    /// Kills a process that may have ended meanwhile.
    pub fn kill_anyway(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has started its only child process, and returns that.
    pub fn inner(&self) -> Pid {
        let mut found = None;
        wait_until("a process to start another", || {
            found = worker_of(self.pid());
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Output {
        wait_until("the end of a caller", || !self.is_running());
        let code = self.child.wait().unwrap().code();
        Output { stdout: contents(&self.stdout), stderr: contents(&self.stderr), code }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a caller under a shell ends: by a signal to itself, or with its whole process group, as a parent would end it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Signal(Signal),
    WithParent,
}

impl End {
    pub const ALL: [Self; 5] = [
        Self::Signal(Signal::INT),
        Self::Signal(Signal::TERM),
        Self::Signal(Signal::HUP),
        Self::Signal(Signal::KILL),
        Self::WithParent,
    ];

    /// Ends `inner`, which the shell has started. Fails if it has ended already.
    pub fn end(self, shell: &Caller, inner: Pid) -> rustix::io::Result<()> {
        match self {
            Self::Signal(signal) => kill_process(inner, signal),
            Self::WithParent => {
                kill_process_group(Pid::from_raw(i32::try_from(shell.pid()).unwrap()).unwrap(), Signal::KILL)
            }
        }
    }
}

/// The process that renews the session for the process `pid`, if there is one.
pub fn worker_of(pid: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(children.split_whitespace().next()?.parse().unwrap())
}

fn contents(mut file: &File) -> String {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).unwrap();
    text
}

/// The code in a prompt.
pub fn code(prompt: &str) -> Option<String> {
    let mut lines = prompt.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.find_map(|line| line.trim_end().strip_prefix("    Enter code  ")).map(str::to_owned)
}

/// Waits until all but `others` of these processes have been seen asleep. keyfob sleeps only to wait for another
/// keyfob, or between two polls.
pub fn wait_for_sleepers(pids: &[u32], others: usize) {
    let mut awake: Vec<(u32, usize)> = pids.iter().map(|pid| (*pid, 0)).collect();
    wait_until(&format!("all but {others} of {pids:?} to wait"), || {
        awake.retain_mut(|(pid, looks)| {
            let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
            match read("wchan").as_str() {
                // Only root is told where it sleeps, because keyfob cannot be traced; other users can only see
                // repeatedly that it does.
                "0" | "" => {
                    *looks += usize::from(read("stat").rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')));
                    *looks < 100
                }
                function => !function.contains("nanosleep"),
            }
        });
        awake.len() <= others
    });
}

/// Checks repeatedly until it is true.
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        sleep(Duration::from_millis(2));
    }
}

/// The token on stdout, which must hold nothing else.
#[track_caller]
pub fn token(output: &Output) -> String {
    let token = output.stdout.strip_suffix('\n').filter(|t| !t.is_empty() && !t.contains(char::is_whitespace));
    let Some(token) = token.filter(|_| output.code == Some(0)) else { panic!("{output:?}") };
    token.to_owned()
}

/// The refresh token of a session.
pub fn refresh_token(session: &Value) -> String {
    session["refresh_token"].as_str().expect("a refresh token").to_owned()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A home without any files of keyfob, as for a new user.
pub struct Fresh(pub Keyfob);

impl Fresh {
    pub fn new() -> Self {
        let fresh = Self(Keyfob::new(PROGRAM));
        fs::remove_file(fresh.0.config_file()).unwrap();
        fresh
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.other(PROGRAM);
        command.args(args);
        command
    }

    /// Another program in this home, where nobody can sign in.
    pub fn other(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.0.other(program);
        command.env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("KEYFOB_PROMPT", "never").current_dir(self.0.home());
        command
    }

    /// Runs keyfob, which must succeed, and returns its output.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let done = Output::of(self.command(args).env("KEYFOB_PROMPT", "always"), b"");
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    }

    /// Every file and folder, except the contents of the cache and the copies that `setup` keeps.
    pub fn files(&self) -> Vec<String> {
        without_copies(files(self.0.home(), &[".cache"]))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.home().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file that the group may read, and makes the folders above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }
}

/// All permutations of three.
pub const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// The text with `DATE` for the dates of copies.
pub fn undated(text: &str) -> String {
    let is_date = |word: &str| word.len() == 18 && word.as_bytes()[10] == b'T' && word.ends_with('Z');
    let line = |line: &str| match line.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit()).rsplit_once('.') {
        Some((name, date)) if is_date(date) => format!("{name}.DATE\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The files except the copies that `setup` keeps.
pub fn without_copies(mut files: Vec<String>) -> Vec<String> {
    const FOLDERS: [&str; 4] = [".local", ".local/share", ".local/share/keyfob", ".local/share/keyfob/backups"];
    let is_copy = |line: &str| line.starts_with(&format!("{}/", FOLDERS[3]));
    files.retain(|line| !is_copy(line) && !FOLDERS.iter().any(|folder| line.starts_with(&format!("{folder}/ "))));
    files
}

/// Every file, folder and link below `folder` with its mode and bytes, except what is below the folders in `aside`.
pub fn files(folder: &Path, aside: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if aside.contains(&name.as_str()) {
                continue;
            }
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
            if let Ok(target) = fs::read_link(&path) {
                found.push(format!("{name} -> {}", target.display()));
            } else if path.is_dir() {
                found.push(format!("{name}/ {mode:o}"));
                folders.push(path);
            } else {
                found.push(format!("{name} {mode:o}: {:?}", String::from_utf8_lossy(&fs::read(&path).unwrap())));
            }
        }
    }
    found.sort_unstable();
    found
}
