//! Folders and files that only this user can access.

use crate::access::ours_alone;
use crate::failure::{Exit, Failure};
use crate::text::shell_quoted;
use anyhow::{Context, Result};
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, chmod, fchmod, fstat, fsync, mkdir, openat, stat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The hint for a folder or file that belongs to another user.
pub(super) const ELSEWHERE: &str = "set KEYFOB_CACHE_DIR to a folder of your own";

/// The hint for a folder that cannot be written.
const WRITABLE: &str = "set KEYFOB_CACHE_DIR to a folder that can be written, or `store = \"none\"` in config.toml";

/// Opens a folder that only this user can access; `None` if it does not exist. `what` names the folder in messages,
/// e.g. `cache folder`.
pub(super) fn open(path: &Path, what: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let why = format!("could not use the {what} {}: it is a file or a link, not a folder", path.display());
            return Err(Failure::new(Exit::Failed, why).hint("remove it, or set KEYFOB_CACHE_DIR").into());
        }
        Err(e) => {
            let why = format!("could not open the {what} {}", path.display());
            let is_ours = stat(path).is_ok_and(|stat| stat.st_uid == geteuid().as_raw());
            if e == Errno::ACCESS && is_ours {
                let command = format!("chmod u+rwx {}", shell_quoted(&path.to_string_lossy()));
                return Err(Failure::new(Exit::Failed, format!("{why}: {e}")).run(command).into());
            }
            return Err(unusable(e, &why));
        }
    };
    ours_alone(&fstat(&folder)?, path, ELSEWHERE)?;
    Ok(Some(folder))
}

/// Opens the folder. If it does not exist, makes it accessible for this user alone, whatever the umask.
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

/// Fails if the folder does not exist and could not be made.
pub(super) fn check_place(path: &Path, what: &str) -> Result<()> {
    let is_there = |above: &&Path| stat(here(above)).is_ok();
    let Some(above) = path.ancestors().find(is_there) else { return Ok(()) };
    may_make(path, path.ancestors().take_while(|path| !is_there(path)).count(), what)?;
    let may = accessat(CWD, here(above), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    may.map_err(|e| unusable(e, &format!("could not make the {what} {}", path.display())))
}

/// The error of a folder. If the place is not writable, as the home of a container's arbitrary user, adds a hint.
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
        // The umask may have removed permissions.
        Ok(()) => chmod(path, Mode::RWXU),
        // Another process has just made it.
        Err(Errno::EXIST) if stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Refuses to make a folder inside another user's folder, as a program run as root by `sudo -E` would: that user could
/// not use it. The first `missing` of the ancestors of `path` do not exist.
pub(super) fn may_make(path: &Path, missing: usize, what: &str) -> Result<()> {
    let user = geteuid();
    // For root every ancestor counts, because a folder of root's inside another user's home is still in that user's
    // home.
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

/// Replaces an empty path, which is the last ancestor of a relative path, by `.`.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Flushes the names in a folder to disk.
pub(super) fn flush(folder: impl AsFd) -> Result<()> {
    match fsync(folder) {
        // Some file systems cannot flush a folder; nothing more can be done there.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Opens a file in `folder`. A file that `flags` create is accessible for this user alone.
pub(super) fn open_file(folder: impl AsFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let alone = Mode::RUSR | Mode::WUSR;
    let file = File::from(openat(folder, name, flags, alone)?);
    // The umask may have removed permissions.
    if !Mode::from_raw_mode(fstat(&file)?.st_mode).contains(alone) {
        fchmod(&file, alone)?;
    }
    Ok(file)
}
