//! A place on the disk for what a provider will answer.
//!
//! The answer exists only once, and the refresh token that it was asked with is used up. So the blocks that it may need are
//! taken before the request is sent, and so are the descriptors; both stay until the answer is written.
//!
//! The file is locked for as long as it is open. Should the lock file beside it be removed meanwhile, a process that makes
//! a new one sees by this lock that a request is under way, and does not use the same refresh token.

use super::seal::Key;
use super::{Store, folder};
use crate::failure::Failure;
use crate::log::debug;
use anyhow::Result;
use fs2::FileExt;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// How often what must succeed is tried.
const TRIES: usize = 3;

/// A temporary file, open for writing. Removed when dropped, unless a session was written to it.
#[derive(Debug)]
pub struct Room<'s> {
    store: &'s Store,
    name: String,
    file: File,
    written: bool,
    /// What the answer is to be sealed by, if it is: whatever becomes of the kernel's keyring meanwhile.
    pub(super) key: Option<Key>,
    /// Given back right before the save, so that it can open a lock and a file however many others are open by then.
    spare: Vec<OwnedFd>,
}

impl<'s> Room<'s> {
    /// A new file `name` in the folder of `store`.
    pub(super) fn new(store: &'s Store, name: String) -> Result<Self, Errno> {
        // A file left by a killed process may be there; with O_EXCL after unlink it is surely ours and surely 0600.
        match unlinkat(&store.folder, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = folder::open_file(&store.folder, &name, flags)?;
        // Nobody else has a new file. Where the file system has no locks, lock files are not beside it either.
        let _ = FileExt::try_lock_exclusive(&file);
        Ok(Self { store, name, file, written: false, key: None, spare: Vec::new() })
    }

    /// The same with `size` bytes on the disk that are nobody else's.
    pub(super) fn reserved(store: &'s Store, name: String, size: usize) -> Result<Self> {
        let mut room = Self::new(store, name)?;
        room.reserve(size)?;
        let spare = || fcntl_dupfd_cloexec(&room.file, 0);
        room.spare = vec![spare()?, spare()?];
        room.key = store.sealing_key()?;
        Ok(room)
    }

    /// Takes the blocks, and leaves the file empty where the file system can do that: nothing of it need be flushed, since
    /// they are this file's from now on, and a crash of the machine ends the request as well.
    fn reserve(&self, size: usize) -> Result<()> {
        let length = u64::try_from(size)?;
        // Which blocks beyond the end of the file do not count against.
        if getrlimit(Resource::Fsize).current.is_some_and(|most| most < length) {
            return Err(Errno::FBIG.into());
        }
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length)) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
        // Spaces: around a session they change nothing. Flushed, since some file systems find out only then that they are
        // full.
        let piece = [b' '; 4096];
        for start in (0..size).step_by(piece.len()) {
            self.file.write_all_at(&piece[..piece.len().min(size - start)], u64::try_from(start)?)?;
        }
        Ok(self.file.sync_all()?)
    }

    /// Gives the descriptors back that were kept for the save.
    pub(super) fn release(&mut self) {
        self.spare.clear();
    }

    /// Renames the file to `name`; false if that was, or has become, another process's file.
    pub(super) fn rename(&mut self, name: String) -> bool {
        let folder = &self.store.folder;
        if self.name != name {
            if let Err(e) = again(|| Ok(renameat(folder, &*self.name, folder, &*name)?)) {
                debug(|| format!("{e:#}"));
                return false;
            }
            self.name = name;
        }
        self.is_in_place()
    }

    fn is_in_place(&self) -> bool {
        let named = statat(&self.store.folder, &*self.name, AtFlags::SYMLINK_NOFOLLOW);
        let places = fstat(&self.file).and_then(|file| Ok((file, named?)));
        places.is_ok_and(|(file, named)| (file.st_dev, file.st_ino) == (named.st_dev, named.st_ino))
    }

    /// Writes a whole session and flushes it. Written again, the bytes are flushed again: after an error the system takes
    /// them for flushed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        again(|| {
            self.file.write_all_at(bytes, 0)?;
            self.written = true;
            // What remains of the place is given back. If not: spaces, or blocks beyond the end of the file.
            let _ = self.file.set_len(u64::try_from(bytes.len())?);
            Ok(self.file.sync_all()?)
        })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if !self.written && self.is_in_place() {
            let _ = unlinkat(&self.store.folder, &*self.name, AtFlags::empty());
        }
    }
}

/// Whether another process has such a file open for an answer that is under way.
pub(super) fn is_in_use(store: &Store, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(&store.folder, name, flags, Mode::empty()).map(File::from) else { return false };
    FileExt::try_lock_shared(&file).is_err_and(|e| e.kind() == fs2::lock_contended_error().kind())
}

/// Does what has to succeed: what the system refuses, it may grant a moment later.
pub(super) fn again<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match work() {
            Err(e) if !e.is::<Failure>() => debug(|| format!("trying again: {e:#}")),
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    work()
}
