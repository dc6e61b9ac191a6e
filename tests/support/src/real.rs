//! The real programs: kubectl, git, OAuth servers and a browser, all unmodified.
//!
//! What they need from a package registry is pinned in `tests/real` and fetched on first use into the target folder,
//! once; after that no network is needed. What is not there and cannot be had is [`Missing`], for the test to say so.
//!
//! Everything runs on loopback and ends with its owner: the servers when their standard input closes, so also when a
//! test is killed; the programs when they are dropped.

mod azure;
mod child;
mod git;
mod kubectl;
mod lfs;
mod node;
mod oauth_server;
mod programs;
mod python;
mod store;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use azure::AzureSdk;
pub use child::{Prompt, Running};
pub use git::Git;
pub use kubectl::{ExecPlugin, KubeHome, Kubectl};
pub use lfs::GitLfs;
pub use node::{ApiRequest, ApiServer, Browser, Client, Lifetimes, OidcProvider, Request, Token, Transport};
pub use oauth_server::OauthServer;
pub use programs::{npm, on_this_machine, pypi};

/// How long anything here may take before it counts as hung. It guards, it doesn't measure.
const HANG: Duration = Duration::from_secs(120);

/// What a test needs and this machine does not have: the tool's name and what was wrong with it.
#[derive(Clone, Debug)]
pub struct Missing(String);

impl Missing {
    fn new(tool: &str, why: impl fmt::Display) -> Self {
        Self(format!("{tool} ({why})"))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits until the answer is there; panics, naming what it waited for, when that takes suspiciously long.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < HANG, "still waiting for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A command with an environment that has only the search path: no proxies, no configuration of a user, no prompts.
fn clean_command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    // Windows programs do not start without the middle two; the last is where a coverage run wants its counts.
    for kept in ["PATH", "SystemRoot", "SystemDrive", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// The first program of this name on the search path.
fn on_path(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(&name)).find(|file| file.is_file())
}

/// Runs a tool to its end. The error is what it wrote to stderr.
fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    Err(format!("{}: {}: {last}", command.get_program().display(), output.status))
}
