//! Which token was handed to which process. This is how `keyfob kubernetes` notices that an API server has refused a
//! token.
//!
//! If a token is refused, client-go runs its plugin again with the same request, and does not say why. But it keeps a
//! token while it is valid, so a process that asks again for the token it was just given has had it refused. That token
//! is then replaced instead of handed out again, at most once a minute per process, because some servers refuse every
//! token. A client that does not keep its tokens must not be looked up here.
//!
//! This takes one short line per client process. The line goes to a file system in memory (`XDG_RUNTIME_DIR`, otherwise
//! `/dev/shm`), into one of 64 files that are reused, without a lock: if a line is lost, a refused token goes
//! unnoticed, and nothing else happens. The line holds no secret. Without such a file system, or if the system does not
//! tell processes apart, refused tokens are not noticed.

use crate::clock::now_ms;
use crate::config::SessionKey;
use crate::session::Serial;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use siphasher::sip128::Hasher128;
use std::hash::Hasher;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How many files are used.
const SLOTS: u64 = 64;
/// The least time between two replaced tokens for one process, in milliseconds.
const PAUSE_MS: i64 = 60_000;
/// How much of a request's beginning and end goes into its digest, in bytes.
const END: usize = 1024;
/// Length of a line, in bytes.
const LENGTH: usize = 80;

/// The token that our parent process was handed before, for the same request.
#[derive(Debug)]
pub struct HandedOut {
    file: OwnedFd,
    /// A digest that identifies the process and the request.
    who: String,
    /// The token's serial, and when a token was last replaced, in milliseconds since the Unix epoch.
    last: Option<(Serial, i64)>,
}

impl HandedOut {
    /// Looks up what our parent process was handed for this session and request; `None` if that cannot be known.
    pub fn look(session: &SessionKey, request: &[&str]) -> Option<Self> {
        let who = who(session, request)?;
        let slot = u64::from_str_radix(&who[..16], 16).ok()? % SLOTS;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder()?, format!("handed-{slot}"), flags, Mode::RUSR | Mode::WUSR).ok()?;
        let mut line = [0; LENGTH];
        let read = rustix::io::pread(&file, &mut line[..], 0).unwrap_or_default();
        let last = std::str::from_utf8(&line[..read]).ok().and_then(|line| last(line, &who));
        Some(Self { file, who, last })
    }

    /// The token that the same process was handed before for the same request; `None` if a token was replaced less than
    /// a minute ago.
    pub fn before(&self) -> Option<Serial> {
        let (serial, replaced_ms) = self.last?;
        (!(0..PAUSE_MS).contains(&now_ms().saturating_sub(replaced_ms))).then_some(serial)
    }

    /// Records the token that is handed out now. `tried` says that the token from [`before`](Self::before) was taken to
    /// be refused, and that this call tried to replace it.
    pub fn note(&self, serial: Serial, tried: bool) {
        let replaced_ms = if tried { now_ms() } else { self.last.map_or(0, |(_, at)| at) };
        let line = format!("{} {serial} {replaced_ms:0>29}\n", self.who);
        let _ = rustix::io::pwrite(&self.file, line.as_bytes(), 0);
    }
}

/// Parses a line, if it is about `who`.
fn last(line: &str, who: &str) -> Option<(Serial, i64)> {
    let mut words = line.strip_prefix(who)?.split_whitespace();
    Some((Serial::parse(words.next()?)?, words.next()?.parse().ok()?))
}

/// A digest of our parent process, the session and the request, as 32 hexadecimal digits.
fn who(session: &SessionKey, request: &[&str]) -> Option<String> {
    let parent = rustix::process::getppid()?.as_raw_nonzero();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = rustix::fs::open(format!("/proc/{parent}/stat"), flags, Mode::empty()).ok()?;
    // Enough for the 52 fields, which the system returns in one read.
    let mut line = [0; 2048];
    let read = rustix::io::read(stat, &mut line[..]).ok()?;
    // Field 3 and on, after the program's name, which may hold any character. Field 22 is the process's start time,
    // which tells it from earlier processes with the same id (proc_pid_stat(5)).
    let behind = line[..read].rsplit(|byte| *byte == b')').next()?;
    let started = std::str::from_utf8(behind).ok()?.split_ascii_whitespace().nth(19)?;
    let mut digest = session.digest();
    for part in [&*parent.to_string(), started].iter().chain(request).map(|part| part.as_bytes()) {
        digest.write(&(part.len() as u64).to_le_bytes());
        // Of a large request, digest the beginning, the end and the length, where two requests of one process differ.
        digest.write(&part[..part.len().min(END)]);
        digest.write(&part[part.len().saturating_sub(END)..]);
    }
    Some(format!("{:032x}", digest.finish128().as_u128()))
}

/// Our folder in memory, made if it does not exist; `None` if another user owns it or can access it.
fn folder() -> Option<OwnedFd> {
    let path = match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(runtime) => PathBuf::from(runtime).join("keyfob"),
        None => PathBuf::from(format!("/dev/shm/keyfob-{}", rustix::process::geteuid().as_raw())),
    };
    let open = || rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let folder = match open() {
        Err(Errno::NOENT) => {
            super::folder::may_make(&path, 1, "folder for notes").ok()?;
            rustix::fs::mkdir(&path, Mode::RWXU).ok()?;
            open().ok()?
        }
        opened => opened.ok()?,
    };
    let stat = fstat(&folder).ok()?;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    (ours && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO)).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_by_those_it_is_about() {
        let serial = Serial::parse("00000000deadbeef").unwrap();
        let line = format!("{} {serial} {:0>29}\n", "0123456789abcdef0123456789abcdef", 1_795_384_800_000_i64);
        assert_eq!(line.len(), LENGTH);
        assert_eq!(last(&line, "0123456789abcdef0123456789abcdef"), Some((serial, 1_795_384_800_000)));
        assert_eq!(last(&line, "0123456789abcdef0123456789abcdee"), None);
        assert_eq!(last(&line[..40], "0123456789abcdef0123456789abcdef"), None);
        assert_eq!(last("", "0123456789abcdef0123456789abcdef"), None);
    }
}
