//! What `setup` keeps for its undo. Of `kubernetes`: the kubeconfig's former bytes, since kubectl writes the whole file
//! anew in an order and a style of its own, and what was changed in it, for when the bytes cannot be put back. Of `az`: that
//! the folder is new.
//!
//! One file per setup, in keyfob's folder for data, for the user alone as in the cache: other users of the kubeconfig may
//! have secrets in it. The undo removes it.

use super::kubernetes::Exec;
use super::plan::{create, digest, folder_to_make, remove_folders, replace};
use crate::cache::ours_alone;
use crate::failure::{Exit, Failure};
use crate::secret::{Secret, expose_option};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags, fstat};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What is in the folder's file names before and after their number.
const NAME: (&str, &str) = ("setup-", ".json");

/// A setup, and how things were before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Former {
    /// The file this is kept in.
    #[serde(skip)]
    path: PathBuf,
    /// The highest folder that had to be made for it.
    made: Option<PathBuf>,
    /// The profile that answers.
    pub(super) profile: String,
    /// The kubeconfigs.
    pub(super) kubeconfigs: Vec<Kubeconfig>,
    /// The users in them that were changed.
    pub(super) users: Vec<User>,
    /// The contexts in them that were changed.
    pub(super) contexts: Vec<FormerContext>,
    /// The folder that was made for links.
    #[serde(default)]
    pub(super) links: Option<NewFolder>,
}

/// A folder that was made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NewFolder {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The highest folder that had to be made for it, itself perhaps.
    pub(super) made: PathBuf,
}

/// A kubeconfig before and after.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kubeconfig {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The highest folder that had to be made for it.
    pub(super) made: Option<PathBuf>,
    /// Its former bytes in base64; nothing if there was none.
    #[serde(serialize_with = "expose_option")]
    before: Option<Secret>,
    /// The digest of what `setup` made of it; nothing if that is not known.
    after: Option<String>,
}

/// A user before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct User {
    /// The kubeconfig.
    pub(super) file: PathBuf,
    /// The user's name.
    pub(super) name: String,
    /// The profile that answers for this user.
    pub(super) profile: String,
    /// Whether there was one.
    pub(super) was_there: bool,
    /// The program that kubectl ran for it.
    pub(super) exec: Option<Exec>,
}

/// A context before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FormerContext {
    /// The kubeconfig.
    pub(super) file: PathBuf,
    /// The context's name.
    pub(super) name: String,
    /// The user it has now.
    pub(super) user: String,
    /// Whether there was one.
    pub(super) was_there: bool,
    /// The user it had.
    pub(super) former_user: Option<String>,
}

impl Former {
    /// Takes down how these kubeconfigs are now.
    pub(super) fn of(
        profile: String,
        paths: &[PathBuf],
        users: Vec<User>,
        contexts: Vec<FormerContext>,
    ) -> Result<Self> {
        let kubeconfigs = paths.iter().map(|path| {
            let before = match std::fs::read(path) {
                Ok(bytes) => Some(Secret::from(STANDARD.encode(Zeroizing::new(bytes)))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                Err(e) => return Err(e).with_context(|| format!("could not read {}", path.display())),
            };
            Ok(Kubeconfig { path: path.clone(), made: folder_to_make(path), before, after: None })
        });
        Ok(Self { kubeconfigs: kubeconfigs.collect::<Result<_>>()?, profile, users, contexts, ..Self::new()? })
    }

    /// Takes down that a folder for links is new.
    pub(super) fn of_folder(path: &Path, made: PathBuf) -> Result<Self> {
        Ok(Self { links: Some(NewFolder { path: path.to_owned(), made }), ..Self::new()? })
    }

    /// What has a file to be kept in, and nothing in it.
    fn new() -> Result<Self> {
        let folder = folder()?;
        let path = folder.join(format!("{}{}{}", NAME.0, numbers(&folder).last().unwrap_or(&0) + 1, NAME.1));
        // Whichever is undone last removes the folder.
        let made = Self::all()?.into_iter().find_map(|other| other.made);
        Ok(Self { made: made.or_else(|| folder_to_make(&path)), path, ..Self::default() })
    }

    /// Everything that is kept, the latest first.
    pub(super) fn all() -> Result<Vec<Self>> {
        let folder = folder()?;
        numbers(&folder).iter().rev().map(|n| Self::read(&folder.join(format!("{}{n}{}", NAME.0, NAME.1)))).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let failed = || format!("could not read {}", path.display());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).with_context(failed)?;
        ours_alone(&fstat(&file)?, path)?;
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::from(file).read_to_end(&mut bytes).with_context(failed)?;
        let read: Result<Self, _> = serde_json::from_slice(&bytes);
        let former = read.map_err(|e| {
            let what = format!("{} is damaged (line {}, column {})", path.display(), e.line(), e.column());
            Failure::new(Exit::Failed, what).hint("remove it; the undo is yours then")
        })?;
        Ok(Self { path: path.to_owned(), ..former })
    }

    /// The file this is kept in.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The highest folder that had to be made for that file.
    pub(super) fn made(&self) -> Option<&Path> {
        self.made.as_deref()
    }

    /// The kubeconfigs that were there before.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.kubeconfigs.iter().filter(|file| file.before.is_some()).map(|file| file.path.as_path())
    }

    /// The setup that came after this one: it found the kubeconfig at `path` as this one had left it, and nobody has changed
    /// the file since. `now` is the file's digest.
    pub(super) fn heir<'a>(&self, all: &'a [Self], path: &Path, now: &str) -> Option<&'a Self> {
        let mine = self.kubeconfigs.iter().find(|file| file.path == path)?.after.as_deref()?;
        let follows = |file: &Kubeconfig| {
            file.path == path && file.is_ours(now) && file.bytes().is_some_and(|bytes| digest(&bytes) == mine)
        };
        all.iter().find(|other| other.path != self.path && other.kubeconfigs.iter().any(follows))
    }

    /// Hands the former bytes of the kubeconfig `file` on, from the setup kept at `from`, which has just been taken back, to
    /// the later one kept at `heir`: its undo then leads to how things were before both.
    pub(super) fn inherit(from: &Path, heir: &Path, file: &Path) -> Result<()> {
        let (from, mut heir) = (Self::read(from)?, Self::read(heir)?);
        let now = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        let older = from.kubeconfigs.into_iter().find(|kept| kept.path == file);
        let newer = heir.kubeconfigs.iter_mut().find(|kept| kept.path == file);
        if let (Some(older), Some(newer)) = (older, newer) {
            *newer = Kubeconfig { after: Some(digest(&now)), ..older };
        }
        heir.rewrite()
    }

    /// Writes it for the first time.
    pub(super) fn save(&self) -> Result<()> {
        create(&self.path, &Zeroizing::new(serde_json::to_vec(self)?))
    }

    /// Takes down what has become of the kubeconfigs, if this was saved at `path` at all; forgets about it if they are as
    /// before.
    pub(super) fn seal(path: &Path) -> Result<()> {
        if path.exists() { Self::read(path)?.sealed() } else { Ok(()) }
    }

    fn sealed(mut self) -> Result<()> {
        for file in &mut self.kubeconfigs {
            file.after = std::fs::read(&file.path).ok().map(|bytes| digest(&bytes));
        }
        if self.kubeconfigs.iter().all(|file| file.after == file.bytes().map(|bytes| digest(&bytes))) {
            std::fs::remove_file(&self.path).with_context(|| format!("could not remove {}", self.path.display()))?;
            remove_folders(&self.path, self.made.as_deref());
            return Ok(());
        }
        self.rewrite()
    }

    fn rewrite(&self) -> Result<()> {
        replace(&self.path, &Zeroizing::new(serde_json::to_vec(self)?))
            .with_context(|| format!("could not change {}", self.path.display()))
    }
}

impl Kubeconfig {
    /// The former bytes; `None` if there was no such file.
    pub(super) fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        STANDARD.decode(self.before.as_ref()?.expose()).ok().map(Zeroizing::new)
    }

    /// Whether the file is still what `setup` made of it.
    pub(super) fn is_ours(&self, digest: &str) -> bool {
        self.after.as_deref() == Some(digest)
    }
}

/// keyfob's folder for what is neither configuration nor cache.
fn folder() -> Result<PathBuf> {
    let folder = dirs::data_local_dir().ok_or_else(|| {
        Failure::usage("there is no home directory to keep the former kubeconfig in").hint("set HOME")
    })?;
    Ok(folder.join("keyfob"))
}

/// The numbers of what is kept, in order.
fn numbers(folder: &Path) -> Vec<u64> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let number = |name: std::ffi::OsString| {
        name.to_str().and_then(|n| n.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok())
    };
    let mut numbers: Vec<u64> = names.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
