//! Folders and files for this user alone.

use crate::access::ours_alone;
use crate::failure::{Exit, Failure};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// What to do about a folder or a file that is another user's.
pub(super) const ELSEWHERE: &str = "set KEYFOB_CACHE_DIR to a folder of your own";

/// Opens a folder of this user alone; `None` if it is not there. `what` it is for, as `cache folder`, is for messages.
pub(super) fn open(path: &Path, what: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let why = format!("could not use the {what} {}: it is a file or a link, not a folder", path.display());
            return Err(Failure::new(Exit::Failed, why).hint("remove it, or set KEYFOB_CACHE_DIR").into());
        }
        Err(e) => return Err(e).with_context(|| format!("could not open the {what} {}", path.display())),
    };
    ours_alone(&fstat(&folder)?, path, ELSEWHERE)?;
    Ok(Some(folder))
}

/// The same, and makes it if need be.
pub(super) fn open_or_make(path: &Path, what: &str) -> Result<OwnedFd> {
    if let Some(folder) = open(path, what)? {
        return Ok(folder);
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("could not make the {what} {}", path.display()))?;
    open(path, what)?.with_context(|| format!("the {what} {} vanished", path.display()))
}

/// Opens a file in `folder`; one that `flags` have made is for this user alone.
pub(super) fn open_file(folder: impl AsFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    Ok(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}
