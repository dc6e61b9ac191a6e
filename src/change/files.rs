//! Files that are read, made and replaced whole.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use rustix::fs::{Access, OFlags, access, fchown};
use rustix::process::{Gid, Uid};
use std::fs::{DirBuilder, File, OpenOptions, canonicalize};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The bytes of a file; `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("could not read {}", path.display())),
    }
}

/// What tells whether bytes are still the same.
pub fn digest(bytes: &[u8]) -> String {
    STANDARD.encode(ring::digest::digest(&SHA256, bytes))
}

/// The highest of the folders that would have to be made for the file at `path`; `None` if all exist.
pub fn folder_to_make(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take_while(|folder| !folder.exists()).last().map(Path::to_owned)
}

/// Makes a file that does not exist, and the folders above it, for the user alone.
pub fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let made = made.and_then(|()| new_file(path)).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    made.with_context(|| format!("could not make {}", path.display()))
}

/// A new file for the user alone; a file or link that is there already is an error.
fn new_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)
}

/// Replaces a file's bytes at once; its permissions and its owner stay. A link is followed, since dotfiles often are links.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let replaced = canonicalize(path)
        .map_err(anyhow::Error::from)
        .and_then(|path| beside(&path, |temporary| fill(&mut new_file(temporary)?, bytes, &path)));
    replaced.with_context(|| format!("could not change {}", path.display()))
}

/// Writes a file for the user alone, at once: a reader finds the old bytes or the new ones. Its folder has to exist; a
/// link in its place is replaced.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = beside(path, |temporary| {
        let mut file = new_file(temporary)?;
        file.write_all(bytes)?;
        Ok(file.sync_all()?)
    });
    written.with_context(|| format!("could not write {}", path.display()))
}

/// Has `fill` make a file beside this one, and puts it in its place.
fn beside(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = path.with_file_name(format!(".{name}.{:016x}", u64::from_ne_bytes(random)));
    let written = fill(&temporary).and_then(|()| Ok(std::fs::rename(&temporary, path)?));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Closed to others until it has the old file's permissions, which is before it has a byte.
fn fill(file: &mut File, bytes: &[u8], old: &Path) -> Result<()> {
    let (old, new) = (std::fs::metadata(old)?, file.metadata()?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(&*file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    file.set_permissions(old.permissions())?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// Removes a file; a link to it stays.
pub fn remove(path: &Path) -> Result<()> {
    let file = canonicalize(path).unwrap_or_else(|_| path.to_owned());
    std::fs::remove_file(file).with_context(|| format!("could not remove {}", path.display()))
}

/// Removes the folders above `path`, as far as they are empty, up to and including `highest`.
pub fn remove_folders(path: &Path, highest: Option<&Path>) {
    let Some(highest) = highest else { return };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(highest)) {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Whether a file, or one at this place, is not to be written: it says so, or its folder does, or its file system.
pub fn is_read_only(path: &Path) -> bool {
    let closed = |path: &Path| access(path, Access::WRITE_OK).is_err();
    match canonicalize(path) {
        // Root may write to a file that nobody is to write to.
        Ok(file) => {
            let says_so = std::fs::metadata(&file).is_ok_and(|file| file.mode() & 0o222 == 0);
            says_so || closed(&file) || file.parent().is_some_and(closed)
        }
        Err(_) => path.ancestors().skip(1).find(|folder| folder.exists()).is_some_and(closed),
    }
}
