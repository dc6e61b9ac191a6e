//! Locks between processes. The kernel releases a lock when its holder ends, however it ends.
//!
//! If the cache folder's file system has no locks (some NFS, some container mounts), the lock files are in this
//! machine's memory: in `/run/user/UID/keyfob`, or in `/dev/shm/keyfob-UID` if the system has no `/run/user/UID`. No
//! environment variable is used, so that a login shell and a cron job find the same files. A process that sees no
//! `/run/user/UID` creates [`IN_SHM`] in the cache folder, which makes all other processes use `/dev/shm` too. Other
//! machines, and containers with a `/dev/shm` of their own, do not see these locks.

use super::{Store, folder};
use crate::log::debug;
use anyhow::{Context, Result};
use fs2::FileExt;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::fs::{fstat, futimens, openat, stat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Once;

/// The errors of file systems without locks.
const MISSING: [Errno; 5] = [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
/// The file in the cache folder that says that its locks are in `/dev/shm`.
const IN_SHM: &str = "locks-in-dev-shm";

/// An exclusive lock, held until dropped.
#[derive(Debug)]
pub struct Lock<'s> {
    store: &'s Store,
    name: String,
    /// The folder that holds the lock file, if not the cache folder.
    local: Option<Local>,
    file: File,
}

/// The folder in this machine's memory for the lock files of cache folders without locks.
#[derive(Debug)]
struct Local {
    path: PathBuf,
    folder: OwnedFd,
    /// The prefix of one cache folder's lock files: the folder's inode number, which tells them from those of others.
    prefix: String,
}

impl Local {
    /// The folder for the locks of `store`, and whether it is in `/dev/shm`.
    fn path(store: &Store) -> (PathBuf, bool) {
        let user = geteuid().as_raw();
        let recorded = statat(&store.folder, IN_SHM, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let run = PathBuf::from(format!("/run/user/{user}"));
        let ours = !recorded
            && stat(&run).is_ok_and(|stat| {
                let open = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
                FileType::from_raw_mode(stat.st_mode).is_dir() && stat.st_uid == user && !open
            });
        if ours { (run.join("keyfob"), false) } else { (format!("/dev/shm/keyfob-{user}").into(), true) }
    }

    /// Opens the folder, and makes it if it does not exist.
    fn open(store: &Store) -> Result<Self> {
        static SAID: Once = Once::new();
        let (path, in_shm) = Self::path(store);
        if in_shm {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder::open_file(&store.folder, IN_SHM, flags)
                .with_context(|| format!("could not write {}", store.path.join(IN_SHM).display()))?;
        }
        let folder = folder::open_or_make(&path, "folder for locks")?;
        let prefix = format!("{:x}-", fstat(&store.folder)?.st_ino);
        SAID.call_once(|| debug(|| format!("the file system has no locks; they are kept in {}", path.display())));
        Ok(Self { path, folder, prefix })
    }

    fn name(&self, lock: &str) -> String {
        format!("{}{lock}", self.prefix)
    }
}

/// Tries to lock an open file, and returns whether it succeeded; `None` if the file system has no locks.
fn try_flock(file: &File) -> std::io::Result<Option<bool>> {
    match FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(Some(true)),
        Err(e) if e.kind() == fs2::lock_contended_error().kind() => Ok(Some(false)),
        Err(e) if Errno::from_io_error(&e).is_some_and(|e| MISSING.contains(&e)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn open(folder: BorrowedFd<'_>, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    folder::open_file(folder, name, flags).with_context(|| format!("could not open the lock {name}"))
}

/// Where the lock files of `store` are, if not in the cache folder. Found out with the existing file `file`, which is
/// not changed.
pub(super) fn elsewhere(store: &Store, file: &str) -> Option<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&store.folder, file, flags, Mode::empty()).ok()?);
    // A shared lock, because NFS allows it on a file that is open only for reading, and no process waits for one.
    let missing =
        FileExt::try_lock_shared(&file).is_err_and(|e| Errno::from_io_error(&e).is_some_and(|e| MISSING.contains(&e)));
    missing.then(|| Local::path(store).0)
}

/// The path of the lock `name`, for messages.
pub(super) fn path(store: &Store, name: &str) -> PathBuf {
    let local = elsewhere(store, name).and_then(|_| Local::open(store).ok());
    local.map_or_else(|| store.path.join(name), |local| local.path.join(local.name(name)))
}

impl<'s> Lock<'s> {
    /// Takes the lock `name` of `store`; `None` if another process holds it.
    pub(super) fn attempt(store: &'s Store, name: &str) -> Result<Option<Self>> {
        loop {
            let took = |file: &File| try_flock(file).with_context(|| format!("could not take the lock {name}"));
            let (mut local, mut file) = (None, open(store.folder.as_fd(), name)?);
            let taken = if let Some(taken) = took(&file)? {
                taken
            } else {
                let place = local.insert(Local::open(store)?);
                file = open(place.folder.as_fd(), &place.name(name))?;
                took(&file)?.with_context(|| format!("{} has no locks", place.path.display()))?
            };
            let lock = taken.then(|| Self { store, name: name.to_owned(), local, file });
            // Signing out removes lock files, so make sure that the locked file is still the one under this name.
            match lock {
                Some(lock) if !lock.check()? => {}
                lock => return Ok(lock),
            }
        }
    }

    /// Takes over the lock `name` of `store` from the process that passed its file on; `None` if `file` is not that
    /// lock's.
    pub(super) fn passed_on(store: &'s Store, name: &str, file: File) -> Result<Option<Self>> {
        let local = elsewhere(store, name).map(|_| Local::open(store)).transpose()?;
        // If this process already shares the lock, locking again changes nothing.
        if !matches!(try_flock(&file), Ok(Some(true))) {
            return Ok(None);
        }
        let lock = Self { store, name: name.to_owned(), local, file };
        Ok(lock.check()?.then_some(lock))
    }

    /// The lock's file, for a process that is to share the lock.
    pub(super) fn pass_on(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the lock is still held. It is lost if its file was removed, or if other processes use another folder
    /// now. Also marks the file as just used, so that programs that remove old files keep it.
    pub fn is_ours(&self) -> bool {
        // If that cannot be found out, assume that the lock is still held.
        self.check().unwrap_or(true)
    }

    fn check(&self) -> Result<bool, Errno> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
        if self.local.as_ref().is_some_and(|local| local.path != Local::path(self.store).0) {
            return Ok(false);
        }
        let locked = fstat(&self.file)?;
        let named = match &self.local {
            None => statat(&self.store.folder, &*self.name, AtFlags::SYMLINK_NOFOLLOW),
            Some(local) => statat(&local.folder, local.name(&self.name), AtFlags::SYMLINK_NOFOLLOW),
        };
        match named {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether the lock is in this machine's memory, where other machines do not see it.
    pub(super) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The name of the temporary file that the lock's holder may use.
    pub(super) fn temporary_name(&self) -> String {
        format!("{}.new", self.name.trim_end_matches(".lock"))
    }

    /// Removes the lock's file and that of the lock `other`. A process that waits for one of them notices, and makes a
    /// new file.
    pub(super) fn remove(self, other: &str) {
        for name in [other, &self.name] {
            if let Some(local) = &self.local {
                let _ = unlinkat(&local.folder, local.name(name), AtFlags::empty());
            }
            let _ = unlinkat(&self.store.folder, name, AtFlags::empty());
        }
    }
}
