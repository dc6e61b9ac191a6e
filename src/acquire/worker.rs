//! The process that renews a session. Many providers accept a refresh token only once, so the session is lost if the
//! process dies after the refresh is sent and before the answer is on disk. Therefore this is not the caller's process,
//! which may be interrupted, or killed when its parent's time limit is over.
//!
//! - The caller holds the session's lock and passes the lock's file on as the worker's stdout: the lock is held for as
//!   long as either process lives. Callers that do not get the lock start no worker.
//! - The worker reads what to renew from stdin, as JSON without a secret. Its stderr is a pipe to which it writes
//!   nothing: the pipe closes when the worker ends, which wakes the caller. (With `KEYFOB_LOG`, stderr is the caller's
//!   own.)
//! - The worker calls setsid(2), so that no terminal or process group ends it. It ignores SIGINT, SIGTERM and SIGHUP,
//!   and closes the other descriptors it inherited, because a program may be waiting for the end of a pipe.
//! - The worker never prompts, and reports its result only in the session's file.
//! - If the worker would end with the caller's container or CI job, the caller waits for it.

use super::{Attempt, Requester, TokenWant};
use crate::clock::boottime;
use crate::config::{Profile, Recipe};
use crate::log::{self, debug};
use crate::policy::Started;
use crate::process;
use crate::providers::TokenKind;
use crate::store::{Locked, Store};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The argument that starts a worker. It is not a subcommand, because it does nothing without a lock to take over.
pub const COMMAND: &str = "--renew-session";

/// What a worker is to do, as sent to its stdin.
#[derive(Serialize, Deserialize)]
struct Job {
    profile: Recipe,
    kind: TokenKind,
    claims: Option<String>,
    by: String,
}

/// A worker, as seen by the process that started it.
pub(super) struct Worker {
    child: Child,
}

impl Worker {
    /// Starts a worker, which shares the lock with `locked` from then on; `None` if no process can be started.
    pub(super) fn start(attempt: &Attempt<'_>, locked: &Locked<'_>) -> Option<Self> {
        let job = Job {
            profile: attempt.want.profile.recipe(),
            kind: attempt.want.kind,
            claims: attempt.want.claims.map(str::to_owned),
            by: attempt.ask().by,
        };
        Self::spawn(&job, locked).inspect_err(|error| debug(|| format!("renewing in this process: {error:#}"))).ok()
    }

    /// Starts the process, with the session's lock as its stdout and the job on its stdin.
    fn spawn(job: &Job, locked: &Locked<'_>) -> Result<Self> {
        // Not by its path, because an upgrade may have replaced the program there.
        let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut child = Command::new(program)
            .arg0(process::name())
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(locked.pass_on()?)
            .stderr(if log::is_on() { Stdio::inherit() } else { Stdio::piped() })
            .spawn()
            .context("could not start a process")?;
        let written =
            child.stdin.take().context("no pipe").and_then(|mut stdin| Ok(stdin.write_all(&serde_json::to_vec(job)?)?));
        if let Err(error) = written {
            let _ = child.kill();
            return Err(error.context("could not tell a process what to do"));
        }
        Ok(Self { child })
    }

    /// Waits until the worker has ended, or for `limit`. Returns whether it has ended.
    pub(super) fn wait(&mut self, limit: Duration) -> bool {
        if let Some(stderr) = &self.child.stderr {
            let limit = Timespec::try_from(limit).ok();
            return poll(&mut [PollFd::new(stderr, PollFlags::IN)], limit.as_ref()).is_ok_and(|ended| ended > 0);
        }
        let until = boottime().saturating_add(limit);
        while matches!(self.child.try_wait(), Ok(None)) {
            if boottime() >= until {
                return false;
            }
            sleep(Duration::from_millis(5).min(limit));
        }
        true
    }
}

/// Whether a worker would not outlive the process that started it. In a container (a PID namespace of its own) and in a
/// CI job, everything ends with the first process.
pub(super) fn ends_with_us() -> bool {
    /// The inode of the initial PID namespace (`PROC_PID_INIT_INO` in the kernel's proc_ns.h).
    const FIRST: u64 = 0xefff_fffc;
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    ci || rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|stat| stat.st_ino != FIRST)
}

/// Runs as the worker. Returns the exit code.
pub fn run() -> u8 {
    process::detach();
    match renew() {
        Ok(()) => 0,
        // The caller reads the outcome from the session's file, and reports it.
        Err(_) => 1,
    }
}

/// Reads the job from stdin, takes over the lock from stdout, and renews. Fails if stdout is not the session's lock.
fn renew() -> Result<()> {
    let mut job = Vec::new();
    std::io::stdin().read_to_end(&mut job)?;
    let Job { profile, kind, claims, by } = serde_json::from_slice(&job)?;
    let profile = Profile::of(profile)?;
    let want = TokenWant {
        no_prompt: Some("a worker has no terminal"),
        claims: claims.as_deref(),
        ..TokenWant::of(&profile, kind, Requester::Program("keyfob"))
    };
    let store = Store::open()?.context("the cache folder has gone")?;
    let file = store.session(&profile.session);
    let lock = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut locked = file.locked_by(lock)?.context("stdout is not the session's lock")?;
    let (session, _) = locked.load()?;
    let attempt = Attempt { by: Some(by), ..Attempt::new(&want)? };
    let attempt = Attempt { started: Started::of(&session, &attempt.needs.key), ..attempt };
    attempt.ask_for_tokens(locked, session).map(drop)
}
