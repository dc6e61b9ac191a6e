//! What setups have done and is not undone yet, and the copies of files as they were before.
//!
//! Both are in keyfob's folder for data, for the user alone as in the cache: copies may have secrets in them. The copies stay
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

/// One thing that was connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Which tool this is of; see `tools::TOOLS`.
    pub tool: String,
    /// What it connected: a user, an address, a folder.
    pub name: String,
    /// The tool's file or folder that this stands in.
    pub place: PathBuf,
    /// When, in seconds since 1970: what was done together has one time.
    pub at: Timestamp,
    /// The profile that answers.
    pub profile: Option<String>,
    /// The files that it changed.
    pub files: Vec<PathBuf>,
    /// The tables of config.toml that exist only for setups.
    pub sections: BTreeSet<String>,
    /// What the tool needs to know to take it back.
    pub did: Value,
    /// The files that existed, and their copies.
    pub copies: Vec<(PathBuf, PathBuf)>,
}

/// A file that setups changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Whether setups made it.
    pub new: bool,
    /// The highest folder that had to be made for it.
    pub made: Option<PathBuf>,
    /// The copy of its bytes before the first of these setups; `None` if it did not exist.
    pub copy: Option<PathBuf>,
    /// Its digest as the last setup or undo left it; `None` once anything else has changed it.
    pub left: Option<String>,
}

/// Everything that is not undone yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    /// The highest folder that had to be made for it.
    made: Option<PathBuf>,
    /// The setups, the oldest first.
    pub setups: Vec<Setup>,
    files: Vec<Kept>,
}

impl Setup {
    /// Whether both connect the same thing.
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.tool, &self.name, &self.place) == (&other.tool, &other.name, &other.place)
    }

    /// Whether it changed this file, or relies on it.
    pub fn changed(&self, file: &Path) -> bool {
        self.files.iter().any(|path| path == file)
    }

    /// A file's bytes before this setup; `None` if it did not exist, or its copy is gone.
    pub fn former(&self, file: &Path) -> Option<Zeroizing<Vec<u8>>> {
        copied(&self.copies.iter().find(|(path, _)| path == file)?.1)
    }
}

impl Records {
    /// Reads what there is.
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

    /// Writes it; what is empty is removed.
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

    /// A file, if setups changed it.
    pub fn file(&self, path: &Path) -> Option<&Kept> {
        self.files.iter().find(|kept| kept.path == path)
    }

    /// Notices which of these files something else has changed.
    pub fn notice(&mut self, files: &[PathBuf]) -> Result<()> {
        for kept in self.files.iter_mut().filter(|kept| files.contains(&kept.path)) {
            let now = read(&kept.path)?.map(|bytes| digest(&bytes));
            kept.left = kept.left.take().filter(|left| now.as_ref() == Some(left));
        }
        Ok(())
    }

    /// Takes down a setup that is about to change files, of which `copies` are the copies.
    pub fn begin(&mut self, setup: &Setup, copies: &[(PathBuf, PathBuf)]) -> Result<()> {
        for path in &setup.files {
            let copy = copies.iter().find(|(file, _)| file == path).map(|(_, copy)| copy.clone());
            if let Some(kept) = self.files.iter_mut().find(|kept| kept.path == *path) {
                // It was only relied upon until now.
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

    /// Takes down what became of files that nothing else had changed before.
    pub fn settle(&mut self, changed: &[PathBuf]) -> Result<()> {
        for kept in self.files.iter_mut().filter(|kept| changed.contains(&kept.path)) {
            if kept.left.is_some() {
                kept.left = read(&kept.path)?.map(|bytes| digest(&bytes));
            }
        }
        Ok(())
    }

    /// Forgets setups that are undone, and the files that no other has changed.
    pub fn forget(&mut self, undone: &[Setup]) {
        self.setups.retain(|setup| !undone.iter().any(|one| one.is_of(setup)));
        let setups = &self.setups;
        self.files.retain(|kept| setups.iter().any(|setup| setup.files.contains(&kept.path)));
    }
}

/// Where a copy of a file goes: into the folder for backups, under its own name and a date.
pub fn place_of_copy(file: &Path, at: Timestamp, taken: &[(PathBuf, PathBuf)]) -> Result<PathBuf> {
    let date = at.rfc3339().unwrap_or_default().replace(':', "");
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = folder()?.join("backups");
    let is_free = |path: &PathBuf| !path.exists() && !taken.iter().any(|(_, other)| other == path);
    let numbered = (2..).map(|number| folder.join(format!("{name}.{date}.{number}")));
    let mut paths = std::iter::once(folder.join(format!("{name}.{date}"))).chain(numbered);
    Ok(paths.find(is_free).unwrap_or_default())
}

/// The bytes in a copy; `None` if it is gone.
pub fn copied(copy: &Path) -> Option<Zeroizing<Vec<u8>>> {
    read(copy).ok().flatten()
}

/// keyfob's folder for what is neither configuration nor cache.
fn folder() -> Result<PathBuf> {
    let folder = dirs::data_local_dir()
        .ok_or_else(|| Failure::usage("there is no home directory to keep backups in").hint("set HOME"))?;
    Ok(folder.join("keyfob"))
}
