//! Folders and files for this user alone.

use crate::failure::{Exit, Failure};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

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
    ours_alone(&fstat(&folder)?, path)?;
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

/// Refuses what another user owns, or could read.
pub(crate) fn ours_alone(stat: &Stat, path: &Path) -> Result<()> {
    let path = path.display();
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        let why = format!("could not use {path}: it belongs to another user (uid {})", stat.st_uid);
        return Err(Failure::new(Exit::Failed, why).hint("set KEYFOB_CACHE_DIR to a folder of your own").into());
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let why = format!("could not use {path}: other users can get at it (mode {:04o})", mode.as_raw_mode() & 0o7777);
        return Err(Failure::new(Exit::Failed, why)
            .run(format!("chmod go= {}", crate::text::shell_quoted(&path.to_string())))
            .into());
    }
    Ok(())
}
