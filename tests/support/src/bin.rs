//! Runs the keyfob binary as on a stranger's machine: in its own home, and with no environment except what is set here.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No run that a test waits for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Variables that programs need to start at all, or that the test runner itself sets for them.
const KEPT: [&str; 5] = ["PATH", "SystemRoot", "TEMP", "TMPDIR", "LLVM_PROFILE_FILE"];

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
}

/// The binary, with a home folder, a configuration and a cache that nobody else uses.
pub struct Keyfob {
    program: PathBuf,
    home: TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Keyfob {
    /// Makes a new home for the program; tests pass `env!("CARGO_BIN_EXE_keyfob")`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let home = TempDir::with_prefix("keyfob-test-home-").expect("a temporary folder");
        // The runtime folder in memory, which the system makes for users who log in.
        fs::create_dir(home.path().join(".run")).expect("a folder in the home folder");
        let keyfob = Self { program: program.into(), home, variables: Vec::new() };
        keyfob.config("")
    }

    /// The same home with this configuration file.
    #[must_use]
    pub fn config(self, toml: &str) -> Self {
        self.write_config(toml);
        self
    }

    /// Sets one more environment variable for everything it runs.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Replaces the configuration file.
    pub fn write_config(&self, toml: &str) {
        fs::write(self.config_file(), toml).expect("writing the configuration");
    }

    /// The configuration file; empty at first.
    pub fn config_file(&self) -> PathBuf {
        self.home.path().join("config.toml")
    }

    /// The cache folder; keyfob itself makes it.
    pub fn cache_dir(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command that is ready to run, with null stdin.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.other(&self.program);
        command.args(args);
        command
    }

    /// Another program in the same environment, such as the caller of keyfob, with null stdin.
    pub fn other(&self, program: impl AsRef<OsStr>) -> Command {
        #[cfg(unix)]
        crate::signals::end_what_is_started();
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null());
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
            ("XDG_RUNTIME_DIR", ".run"),
            ("USERPROFILE", ""),
            ("APPDATA", "AppData/Roaming"),
            ("LOCALAPPDATA", "AppData/Local"),
        ] {
            command.env(name, self.home.path().join(folder));
        }
        command.env("KEYFOB_CONFIG", self.config_file()).env("KEYFOB_CACHE_DIR", self.cache_dir());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs keyfob to the end.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    /// Runs keyfob to the end, with this input on stdin.
    pub fn run_with_input(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: impl AsRef<[u8]>) -> Output {
        Output::of(self.command(args).stdin(Stdio::piped()), input.as_ref())
    }

    /// Starts keyfob in its own terminal.
    #[cfg(unix)]
    pub fn in_terminal(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> crate::Terminal {
        crate::Terminal::start(self.command(args))
    }
}

impl Output {
    /// Runs any command to the end. The input is written if its stdin is a pipe.
    pub fn of(command: &mut Command, input: &[u8]) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
        let stdin = child.stdin.take();
        assert!(stdin.is_some() || input.is_empty(), "the input of {command:?} does not reach it: pipe its stdin");
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        if let Some(mut stdin) = stdin {
            // A program may end without having read everything.
            let _ = stdin.write_all(input);
        }
        let deadline = Instant::now() + PATIENCE;
        let status = wait(&mut child, deadline);
        let code = status.unwrap_or_else(|| panic!("{command:?} did not end within {PATIENCE:?}")).code();
        let text = |stream: mpsc::Receiver<Vec<u8>>| {
            // A child that keeps the stream open would make every caller wait, so this is a failure.
            let bytes = stream.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let bytes = bytes.unwrap_or_else(|_| panic!("{command:?} ended, but something keeps its output open"));
            String::from_utf8(bytes).expect("output in UTF-8")
        };
        Self { stdout: text(stdout), stderr: text(stderr), code }
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits for the end of a process, and kills it at the deadline.
pub(crate) fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn runs_in_an_environment_of_its_own() {
        let keyfob = Keyfob::new("/bin/sh").env("EXTRA", "yes");
        let output = keyfob.run_with_input(["-c", "echo $HOME $EXTRA ${CARGO_PKG_NAME-none}; cat; exit 3"], "typed");
        assert_eq!(output.stdout, format!("{}/ yes none\ntyped", keyfob.home().display()));
        assert_eq!((output.stderr.as_str(), output.code), ("", Some(3)));
    }
}
