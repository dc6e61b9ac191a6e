//! The record of setups that are not undone yet, and copies of the files as they were before.
//!
//! Both are in keyfob's data folder, accessible for the user alone like the cache, because copies may contain secrets.
//! Copies stay until the person removes them; only an undo reads them.
//! until the person removes them; nothing but an undo reads them.

use super::files::{create, digest, folder_to_make, read, remove_folders, replace};
use crate::access::ours_alone;
use crate::clock::Timestamp;
use crate::failure::{Exit, Failure};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, fstat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A connection that was set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The tool; see `tools::TOOLS`.
    pub tool: String,
    /// What was connected: a user, an address or a folder.
    pub name: String,
    /// The tool's file or folder with the connection.
    pub place: PathBuf,
    /// When, in seconds since 1970. Setups that were done together have the same time.
    pub at: Timestamp,
    /// The profile that was connected.
    pub profile: Option<String>,
    /// The files that the setup changed or relies on.
    pub files: Vec<PathBuf>,
    /// The tables of config.toml that exist only because of setups.
    pub sections: BTreeSet<String>,
    /// What the tool needs to undo it.
    pub did: Value,
    /// The files that existed before, each with its copy.
    pub copies: Vec<(PathBuf, PathBuf)>,
}

/// A file that setups have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The file's path.
    pub path: PathBuf,
    /// Whether setups created the file.
    pub new: bool,
    /// The highest folder that had to be made for it.
    pub made: Option<PathBuf>,
    /// The copy from before the first of these setups; `None` if the file did not exist.
    pub copy: Option<PathBuf>,
    /// The file's digest after the last setup or undo; `None` if anything else has changed the file since.
    pub left: Option<String>,
}

/// Everything that is not undone yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    /// The highest folder that had to be made for the record.
    made: Option<PathBuf>,
    /// The setups, oldest first.
    pub setups: Vec<Setup>,
    files: Vec<Kept>,
}

impl Setup {
    /// Whether both are the same connection.
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.tool, &self.name, &self.place) == (&other.tool, &other.name, &other.place)
    }

    /// Whether the setup changed this file, or relies on it.
    pub fn changed(&self, file: &Path) -> bool {
        self.files.iter().any(|path| path == file)
    }

    /// A file's bytes before this setup; `None` if it did not exist or its copy is missing.
    pub fn before(&self, file: &Path) -> Option<Zeroizing<Vec<u8>>> {
        copied(&self.copies.iter().find(|(path, _)| path == file)?.1)
    }
}

impl Records {
    /// Reads the record; empty if there is none.
    pub fn load() -> Result<Self> {
        let path = folder()?.join("setup.json");
        if !path.exists() {
            return Ok(Self { made: folder_to_make(&path), ..Self::default() });
        }
        let failed = || format!("could not read {}", path.display());
        let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let file = file.with_context(failed)?;
        ours_alone(&fstat(&file)?, &path, "set XDG_DATA_HOME to a folder of your own")?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).with_context(failed)?;
        let read: Result<Self, _> = serde_json::from_slice(&bytes);
        read.map_err(|e| {
            let what = format!("{} is damaged (line {}, column {})", path.display(), e.line(), e.column());
            Failure::new(Exit::Failed, what)
                .hint("remove it; the undo is by hand then, with the copies in backups/")
                .into()
        })
    }

    /// Saves the record, or removes it if there are no setups.
    pub fn save(&self) -> Result<()> {
        let path = folder()?.join("setup.json");
        if self.setups.is_empty() {
            if path.exists() {
                std::fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
            }
            remove_folders(&path, self.made.as_deref());
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(self)?;
        if path.exists() { replace(&path, &bytes) } else { create(&path, &bytes) }
    }

    /// The entry of a file, if setups have changed it.
    pub fn file(&self, path: &Path) -> Option<&Kept> {
        self.files.iter().find(|kept| kept.path == path)
    }

    /// Finds out which of these files anything else has changed.
    pub fn notice(&mut self, files: &[PathBuf]) -> Result<()> {
        for kept in self.files.iter_mut().filter(|kept| files.contains(&kept.path)) {
            let now = read(&kept.path)?.map(|bytes| digest(&bytes));
            kept.left = kept.left.take().filter(|left| now.as_ref() == Some(left));
        }
        Ok(())
    }

    /// Records a setup that is about to change files. `copies` are the copies of these files.
    pub fn begin(&mut self, setup: &Setup, copies: &[(PathBuf, PathBuf)]) -> Result<()> {
        for path in &setup.files {
            let copy = copies.iter().find(|(file, _)| file == path).map(|(_, copy)| copy.clone());
            if let Some(kept) = self.files.iter_mut().find(|kept| kept.path == *path) {
                // Until now the file was only relied upon, not changed.
                if !kept.new && kept.copy.is_none() && kept.left.is_some() {
                    kept.copy = copy;
                }
                continue;
            }
            let now = read(path)?.map(|bytes| digest(&bytes));
            let (new, left) = (now.is_none(), Some(now.unwrap_or_default()));
            self.files.push(Kept { path: path.clone(), new, made: folder_to_make(path), copy, left });
        }
        let earlier = self.setups.iter().position(|known| known.is_of(setup)).map(|index| self.setups.remove(index));
        let mut setup = Setup { copies: copies.to_vec(), ..setup.clone() };
        if let Some(Setup { files, copies, .. }) = earlier {
            setup.files.extend(files);
            setup.copies.splice(..0, copies);
        }
        self.setups.push(setup);
        Ok(())
    }

    /// Records the new state of these files, except those that anything else has changed.
    pub fn settle(&mut self, changed: &[PathBuf]) -> Result<()> {
        for kept in self.files.iter_mut().filter(|kept| changed.contains(&kept.path)) {
            if kept.left.is_some() {
                kept.left = read(&kept.path)?.map(|bytes| digest(&bytes));
            }
        }
        Ok(())
    }

    /// Forgets setups that have been undone, and files that no other setup has changed.
    pub fn forget(&mut self, undone: &[Setup]) {
        self.setups.retain(|setup| !undone.iter().any(|one| one.is_of(setup)));
        let setups = &self.setups;
        self.files.retain(|kept| setups.iter().any(|setup| setup.files.contains(&kept.path)));
    }
}

/// The path for a copy of a file: in the folder for backups, with the file's name and a date.
pub fn place_of_copy(file: &Path, at: Timestamp, taken: &[(PathBuf, PathBuf)]) -> Result<PathBuf> {
    let date = at.rfc3339().unwrap_or_default().replace(':', "");
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = folder()?.join("backups");
    let is_free = |path: &PathBuf| !path.exists() && !taken.iter().any(|(_, other)| other == path);
    let numbered = (2..).map(|number| folder.join(format!("{name}.{date}.{number}")));
    let mut paths = std::iter::once(folder.join(format!("{name}.{date}"))).chain(numbered);
    Ok(paths.find(is_free).unwrap_or_default())
}

/// The bytes of a copy; `None` if it is missing.
pub fn copied(copy: &Path) -> Option<Zeroizing<Vec<u8>>> {
    read(copy).ok().flatten()
}

/// keyfob's data folder, for what is neither configuration nor cache.
fn folder() -> Result<PathBuf> {
    let folder = dirs::data_local_dir()
        .ok_or_else(|| Failure::usage("there is no home directory to keep backups in").hint("set HOME"))?;
    Ok(folder.join("keyfob"))
}
