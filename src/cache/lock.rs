//! Locks between processes: the kernel frees them when their holder dies, however it dies.

use anyhow::{Context, Result};
use fs2::FileExt;
use rustix::fs::{Mode, OFlags, fstat, openat, statat, unlinkat};
use std::fs::File;
use std::os::fd::OwnedFd;

/// An exclusive lock, held until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read: closing it frees the lock")] File);

impl Lock {
    /// Takes the lock file `name` in `folder` if nobody holds it; `None` if somebody does.
    pub(super) fn attempt(folder: &OwnedFd, name: &str) -> Result<Option<Self>> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file: File = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
                .with_context(|| format!("could not open the lock {name}"))?
                .into();
            match FileExt::try_lock_exclusive(&file) {
                Ok(()) => {}
                Err(e) if e.kind() == fs2::lock_contended_error().kind() => return Ok(None),
                Err(e) => return Err(e).with_context(|| format!("could not take the lock {name}")),
            }
            // Signing out removes lock files. What was locked must be what the next process will find under the name.
            let (locked, named) = (fstat(&file)?, statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW));
            if named.is_ok_and(|n| (n.st_dev, n.st_ino) == (locked.st_dev, locked.st_ino)) {
                return Ok(Some(Self(file)));
            }
        }
    }

    /// Removes the lock's file; whoever waits for it notices and makes a new one. Only for the lock's holder.
    pub(super) fn remove(lock: Self, folder: &OwnedFd, name: &str) {
        let _ = unlinkat(folder, name, rustix::fs::AtFlags::empty());
        drop(lock);
    }
}
