//! Folders and files for this user alone.

use crate::access::ours_alone;
use crate::failure::{Exit, Failure};
use anyhow::{Context, Result};
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, chmod, fchmod, fstat, fsync, mkdir, openat, stat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What to do about a folder or a file that is another user's.
pub(super) const ELSEWHERE: &str = "set KEYFOB_CACHE_DIR to a folder of your own";

/// What to do about a folder that cannot be written.
const WRITABLE: &str = "set KEYFOB_CACHE_DIR to a folder that can be written, or `store = \"none\"` in config.toml";

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
        Err(e) => return Err(unusable(e, &format!("could not open the {what} {}", path.display()))),
    };
    ours_alone(&fstat(&folder)?, path, ELSEWHERE)?;
    Ok(Some(folder))
}

/// The same, and makes it if need be: for this user alone, whatever the umask.
pub(super) fn open_or_make(path: &Path, what: &str) -> Result<OwnedFd> {
    if let Some(folder) = open(path, what)? {
        return Ok(folder);
    }
    let is_missing = |path: &&Path| stat(here(path)).is_err_and(|e| e == Errno::NOENT);
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    may_make(path, missing.len(), what)?;
    for folder in missing.into_iter().rev() {
        make(folder).map_err(|e| unusable(e, &format!("could not make the {what} {}", path.display())))?;
    }
    open(path, what)?.with_context(|| format!("the {what} {} vanished", path.display()))
}

/// Fails if a folder that is not there could not be made.
pub(super) fn check_place(path: &Path, what: &str) -> Result<()> {
    let is_there = |above: &&Path| stat(here(above)).is_ok();
    let Some(above) = path.ancestors().find(is_there) else { return Ok(()) };
    may_make(path, path.ancestors().take_while(|path| !is_there(path)).count(), what)?;
    let may = accessat(CWD, here(above), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    may.map_err(|e| unusable(e, &format!("could not make the {what} {}", path.display())))
}

/// The error of a folder. Where nothing can be written, as in the home of a container's made-up user, it says what helps.
fn unusable(error: Errno, what: &str) -> anyhow::Error {
    match error {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            Failure::new(Exit::Failed, format!("{what}: {error}")).hint(WRITABLE).into()
        }
        other => anyhow::Error::new(other).context(what.to_owned()),
    }
}

fn make(path: &Path) -> Result<(), Errno> {
    match mkdir(path, Mode::RWXU) {
        // The umask may have taken some of it away.
        Ok(()) => chmod(path, Mode::RWXU),
        // Another process was faster.
        Err(Errno::EXIST) if stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Refuses to make a folder of this user's inside another user's, as a program that runs as root by `sudo -E` would: its
/// owner could not use it any more. The first `missing` of the ancestors of `path` are not there.
pub(super) fn may_make(path: &Path, missing: usize, what: &str) -> Result<()> {
    let user = geteuid();
    // For root all of them count: what is root's in another user's home does not make that home root's.
    let count = if user.is_root() { usize::MAX } else { 1 };
    for above in path.ancestors().skip(missing).take(count) {
        let Ok(stat) = stat(here(above)) else { continue };
        if stat.st_uid != user.as_raw() && stat.st_uid != 0 {
            let (path, above) = (path.display(), here(above).display());
            let why =
                format!("could not make the {what} {path}: {above} belongs to another user (uid {})", stat.st_uid);
            let hint = if user.is_root() { "run it as that user, without sudo, or " } else { "" };
            return Err(Failure::new(Exit::Failed, why).hint(format!("{hint}{ELSEWHERE}")).into());
        }
    }
    Ok(())
}

/// What an empty path, as the last ancestor of a relative one is, stands for.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Has a folder's names on the disk.
pub(super) fn flush(folder: impl AsFd) -> Result<()> {
    match fsync(folder) {
        // Some file systems cannot flush a folder; the file itself is safe there as well as it can be.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Opens a file in `folder`; one that `flags` have made is for this user alone.
pub(super) fn open_file(folder: impl AsFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let alone = Mode::RUSR | Mode::WUSR;
    let file = File::from(openat(folder, name, flags, alone)?);
    // The umask may have taken some of it away.
    if !Mode::from_raw_mode(fstat(&file)?.st_mode).contains(alone) {
        fchmod(&file, alone)?;
    }
    Ok(file)
}
