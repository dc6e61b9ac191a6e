//! Locks between processes: the kernel frees them when their holder dies, however it dies. Where the file system has none,
//! a file takes their place (`held`).

use super::held::{HeldFile, Judged, STALE};
use crate::log::debug;
use anyhow::{Context, Result};
use fs2::FileExt;
use rustix::fs::{Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Once;
use std::time::Duration;

/// What a file system without locks says, each in its own way.
const NONE: [Errno; 5] = [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];

/// An exclusive lock, held until dropped.
#[derive(Debug)]
pub struct Lock(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(#[expect(dead_code, reason = "held, never read: closing it frees the lock")] File),
    Held(HeldFile),
}

/// Whether the file system of an open folder has locks. Changes nothing, and nobody waits for the one that is tried.
pub(super) fn can_be_had(folder: &OwnedFd) -> bool {
    let Ok(folder) = folder.try_clone().map(File::from) else { return true };
    match FileExt::try_lock_shared(&folder) {
        Err(e) => !Errno::from_io_error(&e).is_some_and(|e| NONE.contains(&e)),
        Ok(()) => FileExt::unlock(&folder).is_ok(),
    }
}

impl Lock {
    /// Where the file system has no locks: one that has not been touched for this long is nobody's.
    pub const STALE: Duration = STALE;

    /// Takes the lock file `name` in `folder` if nobody holds it; `None` if somebody does.
    pub(super) fn attempt(folder: &OwnedFd, name: &str, judged: &Judged) -> Result<Option<Self>> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file: File = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
                .with_context(|| format!("could not open the lock {name}"))?
                .into();
            match FileExt::try_lock_exclusive(&file) {
                Ok(()) => {}
                Err(e) if e.kind() == fs2::lock_contended_error().kind() => return Ok(None),
                Err(e) if Errno::from_io_error(&e).is_some_and(|e| NONE.contains(&e)) => {
                    static ONCE: Once = Once::new();
                    ONCE.call_once(|| {
                        let instead = HeldFile::name(name);
                        debug(|| format!("the file system has no locks ({e}); the file {instead} is used instead"));
                    });
                    let held = HeldFile::attempt(folder, name, judged);
                    return held
                        .map(|held| held.map(|held| Self(Kind::Held(held))))
                        .with_context(|| format!("could not take the lock {name}"));
                }
                Err(e) => return Err(e).with_context(|| format!("could not take the lock {name}")),
            }
            // Signing out removes lock files. What was locked must be what the next process will find under the name.
            let (locked, named) = (fstat(&file)?, statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW));
            if named.is_ok_and(|n| (n.st_dev, n.st_ino) == (locked.st_dev, locked.st_ino)) {
                return Ok(Some(Self(Kind::Kernel(file))));
            }
        }
    }

    /// The file that takes the lock's place, where the file system has no locks.
    pub(super) fn held(&self) -> Option<&HeldFile> {
        match &self.0 {
            Kind::Kernel(_) => None,
            Kind::Held(held) => Some(held),
        }
    }

    /// Says that the lock is still held. To be called more often than every [`STALE`](Self::STALE).
    pub fn touch(&self) {
        if let Some(held) = self.held() {
            held.touch();
        }
    }

    /// Whether it is still held: where the file system has no locks, another may have taken it over from a process that was
    /// held up for too long.
    pub fn is_ours(&self) -> bool {
        self.held().is_none_or(HeldFile::is_ours)
    }

    /// Removes the lock's file; whoever waits for it notices and makes a new one. Only for the lock's holder.
    pub(super) fn remove(lock: Self, folder: &OwnedFd, name: &str) {
        let _ = unlinkat(folder, name, rustix::fs::AtFlags::empty());
        drop(lock);
    }
}
