//! What was handed to whom: how `keyfob kubernetes` notices that an API server has refused a token.
//!
//! client-go whose token is refused runs its plugin again, with the same request, and tells it nothing. But it keeps the
//! token it was given for as long as that is good, so the same process that asks again for the token it was just given has
//! had it refused. Then the token is replaced instead of repeated: at most once a minute for one process, since some servers
//! refuse whatever they are given. A client that does not keep its tokens must not be asked about here.
//!
//! What has to be remembered for that is one short line per client process. It goes to a file system in memory
//! (`XDG_RUNTIME_DIR`, else `/dev/shm`), to one of 64 files that are reused, without a lock: a line that is lost costs the
//! notice and nothing else. It holds no secret. Without such a place, or where the system does not tell processes apart,
//! nothing is noticed.

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
/// How often a token is replaced for one process, in milliseconds.
const PAUSE_MS: i64 = 60_000;
/// How much of a request's beginning and end tells it from others, in bytes.
const END: usize = 1024;
/// Length of a line, in bytes.
const LENGTH: usize = 80;

/// What the process that runs us was handed before, for the same request.
#[derive(Debug)]
pub struct HandedOut {
    file: OwnedFd,
    /// Tells process and request from all others.
    who: String,
    /// The token's serial, and when one was last replaced.
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

    /// The token that the same process was handed before for the same request.
    pub fn before(&self) -> Option<Serial> {
        let (serial, replaced_ms) = self.last?;
        (!(0..PAUSE_MS).contains(&now_ms().saturating_sub(replaced_ms))).then_some(serial)
    }

    /// Notes the token that is handed out now. `tried` says that the token from [`before`](Self::before) was taken to be
    /// refused, and that another one was tried for.
    pub fn note(&self, serial: Serial, tried: bool) {
        let replaced_ms = if tried { now_ms() } else { self.last.map_or(0, |(_, at)| at) };
        let line = format!("{} {serial} {replaced_ms:0>29}\n", self.who);
        let _ = rustix::io::pwrite(&self.file, line.as_bytes(), 0);
    }
}

/// What a line says, if it is about `who`.
fn last(line: &str, who: &str) -> Option<(Serial, i64)> {
    let mut words = line.strip_prefix(who)?.split_whitespace();
    Some((Serial::parse(words.next()?)?, words.next()?.parse().ok()?))
}

/// 32 hexadecimal digits for our parent process, the session and the request.
fn who(session: &SessionKey, request: &[&str]) -> Option<String> {
    let parent = rustix::process::getppid()?.as_raw_nonzero();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = rustix::fs::open(format!("/proc/{parent}/stat"), flags, Mode::empty()).ok()?;
    // Enough for its 52 numbers, and the system gives all of them at once.
    let mut line = [0; 2048];
    let read = rustix::io::read(stat, &mut line[..]).ok()?;
    // Behind the program's name, which may hold anything: field 3 and on. Field 22 is when the process started, which
    // tells it from others that had its number before (proc_pid_stat(5)).
    let behind = line[..read].rsplit(|byte| *byte == b')').next()?;
    let started = std::str::from_utf8(behind).ok()?.split_ascii_whitespace().nth(19)?;
    let mut digest = session.digest();
    for part in [&*parent.to_string(), started].iter().chain(request).map(|part| part.as_bytes()) {
        digest.write(&(part.len() as u64).to_le_bytes());
        // Of a large request the beginning, the end and the length: what two of one process differ in shows there.
        digest.write(&part[..part.len().min(END)]);
        digest.write(&part[part.len().saturating_sub(END)..]);
    }
    Some(format!("{:032x}", digest.finish128().as_u128()))
}

/// Our folder in memory, made if need be; nothing that another user owns or could write to.
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
