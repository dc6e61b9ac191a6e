//! A program and everything it is started with, so that it can be run as it is or under another that watches it.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

static STARTS: AtomicU32 = AtomicU32::new(0);

/// How to start a program. Its environment is what is said here and nothing else, its standard output goes nowhere.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The program; a relative path counts from `folder`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment. `NUMBER` in a value becomes eight digits that no start before has had.
    pub variables: Vec<(String, OsString)>,
    /// Where it runs.
    pub folder: PathBuf,
    /// What it reads on standard input; nothing without.
    pub input: Option<PathBuf>,
}

impl Run {
    /// A program with its arguments.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program: program.into(), args, ..Self::default() }
    }

    /// The same in this folder.
    #[must_use]
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// The same with one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The same, reading this file.
    #[must_use]
    pub fn reading(mut self, input: impl Into<PathBuf>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Ready to start once.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        self.equip(&mut command)?;
        Ok(command)
    }

    /// Ready to start once, by another program that is given this one and its arguments at the end of its own.
    pub fn under(&self, watcher: impl Into<PathBuf>, words: &[OsString]) -> Result<Command> {
        let mut command = Command::new(watcher.into());
        command.args(words).arg(&self.program).args(&self.args);
        self.equip(&mut command)?;
        Ok(command)
    }

    fn equip(&self, command: &mut Command) -> Result<()> {
        command.env_clear();
        for (name, value) in &self.variables {
            match value.to_str().filter(|value| value.contains("NUMBER")) {
                Some(value) => {
                    let number = STARTS.fetch_add(1, Ordering::Relaxed);
                    command.env(name, value.replace("NUMBER", &format!("{number:08}")))
                }
                None => command.env(name, value),
            };
        }
        command.current_dir(&self.folder).stdout(Stdio::null());
        match &self.input {
            // Opened anew for every start: the position in an open file is shared.
            Some(input) => command.stdin(File::open(input).with_context(|| input.display().to_string())?),
            None => command.stdin(Stdio::null()),
        };
        Ok(())
    }

    /// How long it takes from start to end, as the one who starts it sees it. Fails if it fails.
    pub fn time(&self) -> Result<Duration> {
        let mut command = self.command()?;
        command.stderr(Stdio::null());
        let start = Instant::now();
        let status = command.spawn().with_context(|| format!("could not start {command:?}"))?.wait()?;
        let time = start.elapsed();
        ensure!(status.success(), "{command:?}: {status}");
        Ok(time)
    }

    /// What it says on stdout. Fails if it fails, or says anything on stderr.
    pub fn answer(&self) -> Result<String> {
        let mut command = self.command()?;
        let output = command.stdout(Stdio::piped()).output().with_context(|| format!("could not start {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{command:?}: {}: {}", output.status, said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}
