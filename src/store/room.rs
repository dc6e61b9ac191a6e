//! Disk space that is reserved for a provider's answer.
//!
//! A provider answers only once, and the refresh token that was sent is then spent. So the disk blocks and the file
//! descriptors that saving the answer may need are reserved before the request is sent, and kept until the answer is
//! written.
//!
//! The file is locked while it is open. If the lock file next to it is removed meanwhile, a process that makes a new
//! lock file sees by this lock that a request is under way, and does not send the same refresh token.

use super::seal::Key;
use super::{Store, folder};
use crate::failure::Failure;
use crate::log::debug;
use anyhow::Result;
use fs2::FileExt;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// Reserves disk blocks, in bytes, and leaves the file's size as it is.
#[cfg(target_os = "linux")]
fn allocate(file: &File, length: u64) -> rustix::io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, length))
}

/// Other systems cannot.
#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _length: u64) -> rustix::io::Result<()> {
    Err(Errno::NOTSUP)
}

/// How often an operation that must succeed is tried.
const TRIES: usize = 3;

/// A temporary file, open for writing. Removed when dropped, unless a session was written to it.
#[derive(Debug)]
pub struct Room<'s> {
    store: &'s Store,
    name: String,
    file: File,
    written: bool,
    /// The key to seal the answer with, kept here in case the kernel's keyring loses it meanwhile.
    pub(super) key: Option<Key>,
    /// Spare descriptors, closed right before the save, so that a lock and a file can be opened even if no others are
    /// left.
    spare: Vec<OwnedFd>,
}

impl<'s> Room<'s> {
    /// Makes a new file `name` in the folder of `store`.
    pub(super) fn new(store: &'s Store, name: String) -> Result<Self, Errno> {
        // A killed process may have left a file. With O_EXCL after unlink the file is surely ours, and its mode 0600.
        match unlinkat(&store.folder, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = folder::open_file(&store.folder, &name, flags)?;
        // No other process can hold the lock of a new file. If the file system has no locks, the lock files are
        // elsewhere too.
        let _ = FileExt::try_lock_exclusive(&file);
        Ok(Self { store, name, file, written: false, key: None, spare: Vec::new() })
    }

    /// Makes a new file with `size` bytes of disk space reserved for it.
    pub(super) fn reserved(store: &'s Store, name: String, size: usize) -> Result<Self> {
        let mut room = Self::new(store, name)?;
        room.reserve(size)?;
        let spare = || fcntl_dupfd_cloexec(&room.file, 0);
        room.spare = vec![spare()?, spare()?];
        room.key = store.sealing_key()?;
        Ok(room)
    }

    /// Reserves the disk blocks, and leaves the file empty if the file system can. Nothing has to be flushed: the
    /// blocks belong to the file from now on, and if the machine crashes, so does the request.
    fn reserve(&self, size: usize) -> Result<()> {
        let length = u64::try_from(size)?;
        // Blocks beyond the end of the file do not count towards this limit, so check it here.
        if getrlimit(Resource::Fsize).current.is_some_and(|most| most < length) {
            return Err(Errno::FBIG.into());
        }
        match allocate(&self.file, length) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
        // Write spaces, which change nothing around JSON. Flush them, because some file systems notice only then that
        // they are full.
        let piece = [b' '; 4096];
        for start in (0..size).step_by(piece.len()) {
            self.file.write_all_at(&piece[..piece.len().min(size - start)], u64::try_from(start)?)?;
        }
        Ok(self.file.sync_all()?)
    }

    /// Closes the spare descriptors, so that the save can open files.
    pub(super) fn release(&mut self) {
        self.spare.clear();
    }

    /// Renames the file to `name`. Returns false if the name was, or has become, another process's file.
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

    /// Writes a whole session and flushes it. After an error the bytes are written again too, because the system
    /// believes that it has flushed them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        again(|| {
            self.file.write_all_at(bytes, 0)?;
            self.written = true;
            // Free the unused space. If that fails, spaces or blocks beyond the end of the file remain, which is
            // harmless.
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

/// Whether another process has this file open for an answer that it waits for.
pub(super) fn is_in_use(store: &Store, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(&store.folder, name, flags, Mode::empty()).map(File::from) else { return false };
    FileExt::try_lock_shared(&file).is_err_and(|e| e.kind() == fs2::lock_contended_error().kind())
}

/// Does work that must succeed: if the system refuses, tries again after a moment.
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
