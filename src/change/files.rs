//! Reads, creates and replaces whole files.

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

/// A digest, to find out whether bytes have changed.
pub fn digest(bytes: &[u8]) -> String {
    STANDARD.encode(ring::digest::digest(&SHA256, bytes))
}

/// The highest of the folders that must be made for the file at `path`; `None` if all exist.
pub fn folder_to_make(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take_while(|folder| !folder.exists()).last().map(Path::to_owned)
}

/// Creates a file that does not exist, and the folders above it, accessible for the user alone.
pub fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let made = made.and_then(|()| new_file(path)).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    made.with_context(|| format!("could not make {}", path.display()))
}

/// Opens a new file for the user alone. Fails if a file or link exists there.
fn new_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)
}

/// Replaces a file's bytes atomically, and keeps its permissions and owner. A link is followed, because dotfiles are
/// often links.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let replaced = canonicalize(path)
        .map_err(anyhow::Error::from)
        .and_then(|path| beside(&path, |temporary| fill(&mut new_file(temporary)?, bytes, &path)));
    replaced.with_context(|| format!("could not change {}", path.display()))
}

/// Writes a file for the user alone, atomically: a reader sees either the old bytes or the new ones. The folder must
/// exist. A link at this path is replaced.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = beside(path, |temporary| {
        let mut file = new_file(temporary)?;
        file.write_all(bytes)?;
        Ok(file.sync_all()?)
    });
    written.with_context(|| format!("could not write {}", path.display()))
}

/// Lets `fill` make a temporary file next to `path`, and renames it to `path`.
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

/// Fills a new file. It gets the old file's permissions before its bytes, so that nobody else can read it in between.
fn fill(file: &mut File, bytes: &[u8], old: &Path) -> Result<()> {
    let (old, new) = (std::fs::metadata(old)?, file.metadata()?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(&*file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    file.set_permissions(old.permissions())?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// Removes a file. If `path` is a link, removes its target and keeps the link.
pub fn remove(path: &Path) -> Result<()> {
    let file = canonicalize(path).unwrap_or_else(|_| path.to_owned());
    std::fs::remove_file(file).with_context(|| format!("could not remove {}", path.display()))
}

/// Removes empty folders above `path`, up to and including `highest`.
pub fn remove_folders(path: &Path, highest: Option<&Path>) {
    let Some(highest) = highest else { return };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(highest)) {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Whether a file, existing or new, should not be written: its mode, its folder or its file system forbids it.
pub fn is_read_only(path: &Path) -> bool {
    let closed = |path: &Path| access(path, Access::WRITE_OK).is_err();
    match canonicalize(path) {
        // Root could write even to a file whose mode forbids it, so check the mode.
        Ok(file) => {
            let says_so = std::fs::metadata(&file).is_ok_and(|file| file.mode() & 0o222 == 0);
            says_so || closed(&file) || file.parent().is_some_and(closed)
        }
        Err(_) => path.ancestors().skip(1).find(|folder| folder.exists()).is_some_and(closed),
    }
}
