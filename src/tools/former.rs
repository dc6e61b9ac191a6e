//! What `setup` keeps for its undo: the former bytes of every file that it changes, and what it changed in them, for when
//! the bytes cannot be put back.
//!
//! One file per setup, in keyfob's folder for data, for the user alone as in the cache: what is kept may have secrets in
//! it. The undo removes it.
//!
//! Setups that change the same file lie on top of each other. The topmost is undone by putting back the file's bytes. One
//! from under others is undone piece by piece, and what is left of those others becomes one layer with the bytes below it:
//! whichever of them is undone last puts them back. A layer that somebody else's change lies on is no longer known by its
//! digest, so that only the setup's own lines go.

use super::kubernetes::Exec;
use super::plan::{Plan, Step, create, digest, folder_to_make, remove_folders, replace};
use crate::failure::{Exit, Failure};
use crate::secret::{Secret, expose_option};
use crate::store::ours_alone;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags, fstat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What is in the folder's file names before and after their number.
const NAME: (&str, &str) = ("setup-", ".json");

/// A setup, and how things were before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Former {
    /// The file this is kept in.
    #[serde(skip)]
    path: PathBuf,
    /// The highest folder that had to be made for it.
    made: Option<PathBuf>,
    /// The files it changes; config.toml always, since what it says is relied upon.
    files: Vec<Kept>,
    /// The tables of config.toml that are there only for it, and for others that are still to be undone.
    sections: BTreeSet<String>,
    /// The profiles that it added, and those of earlier ones that had to be left.
    pub(super) added: Vec<String>,
    /// The profiles that answer kubectl.
    pub(super) profiles: BTreeSet<String>,
    /// The kubeconfigs' users that were changed.
    pub(super) users: Vec<User>,
    /// The kubeconfigs' contexts that were changed.
    pub(super) contexts: Vec<FormerContext>,
    /// The hosts that git was connected for.
    pub(super) hosts: Vec<Host>,
    /// Where az was put.
    pub(super) az: Option<Az>,
}

/// A file before and after.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Where it is.
    path: PathBuf,
    /// The highest folder that had to be made for it.
    made: Option<PathBuf>,
    /// Whether it is there only for this setup, and for others that are still to be undone.
    new: bool,
    /// Its former bytes in base64; nothing if there was none.
    #[serde(serialize_with = "expose_option")]
    before: Option<Secret>,
    /// Whether it is one layer with the setup before it, so that `before` means nothing.
    merged: bool,
    /// The digest of what `setup` made of it; nothing if there is none, or that is not known.
    after: Option<String>,
}

/// A host that git was connected for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Host {
    /// Its pattern, written in one way.
    pub(super) url: String,
    /// The file that git has it in.
    pub(super) file: PathBuf,
    /// Whether its line in `[hosts]` was added.
    pub(super) line: bool,
    /// Whether the helper was added.
    pub(super) helper: bool,
    /// Whether `useHttpPath` was set.
    pub(super) by_path: bool,
}

/// Where az was put, and what it answers with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Az {
    /// The folder of the links.
    pub(super) folder: PathBuf,
    /// The highest folder that had to be made for them.
    pub(super) made: Option<PathBuf>,
    /// The profile that was written below `[az]`.
    pub(super) profile: Option<String>,
}

/// A user before.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// What has a file to be kept in; it takes down how these files are now.
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let folder = folder()?;
        let all = Self::all()?;
        let path = folder.join(format!("{}{}{}", NAME.0, numbers(&folder).last().unwrap_or(&0) + 1, NAME.1));
        // Whichever is undone last removes the folder.
        let made = all.iter().find_map(|other| other.made.clone()).or_else(|| folder_to_make(&path));
        let files = paths.into_iter().map(|path| Kept::of(path, &all)).collect::<Result<_>>()?;
        Ok(Self { path, made, files, ..Self::default() })
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

    /// The files that were there before.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|file| file.before.is_some()).map(|file| file.path.as_path())
    }

    /// Whether it keeps this file.
    pub(super) fn keeps(&self, path: &Path) -> bool {
        self.file(path).is_some()
    }

    /// Whether it is of no tool, but of a profile alone.
    pub(super) fn is_alone(&self) -> bool {
        self.profiles.is_empty() && self.hosts.is_empty() && self.az.is_none()
    }

    /// Whether it added this profile.
    pub(super) fn has_added(&self, profile: &str) -> bool {
        self.added.iter().any(|name| name == profile)
    }

    /// Takes down that a table of config.toml is new, or there only for others that are still to be undone.
    pub(super) fn note_section(&mut self, name: &str, is_new: bool) -> Result<()> {
        if is_new || Self::all()?.iter().any(|other| other.sections.contains(name)) {
            self.sections.insert(name.to_owned());
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Option<&Kept> {
        self.files.iter().find(|file| file.path == path)
    }

    fn file_mut(&mut self, path: &Path) -> Option<&mut Kept> {
        self.files.iter_mut().find(|file| file.path == path)
    }

    /// Writes it for the first time.
    pub(super) fn save(&self) -> Result<()> {
        create(&self.path, &Zeroizing::new(serde_json::to_vec(self)?))
    }

    /// Takes down what has become of the files, if this was saved at all; forgets about it if nothing has.
    pub(super) fn seal(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        let mut saved = Self::read(&self.path)?;
        for file in &mut saved.files {
            file.after = state(&file.path)?;
        }
        let as_before = |file: &Kept| file.after == file.bytes().map(|bytes| digest(&bytes));
        if saved.az.is_none() && saved.files.iter().all(as_before) { saved.remove() } else { saved.rewrite() }
    }

    fn rewrite(&self) -> Result<()> {
        replace(&self.path, &Zeroizing::new(serde_json::to_vec(self)?))
            .with_context(|| format!("could not change {}", self.path.display()))
    }

    fn remove(&self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("could not remove {}", self.path.display()))?;
        remove_folders(&self.path, self.made.as_deref());
        Ok(())
    }
}

impl Kept {
    fn of(path: PathBuf, all: &[Former]) -> Result<Self> {
        let before = match std::fs::read(&path) {
            Ok(bytes) => Some(Secret::from(STANDARD.encode(Zeroizing::new(bytes)))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e).with_context(|| format!("could not read {}", path.display())),
        };
        let earlier = all.iter().find_map(|other| other.file(&path).filter(|file| file.new));
        let (new, made) = match earlier {
            Some(earlier) => (true, earlier.made.clone()),
            None => (before.is_none(), folder_to_make(&path)),
        };
        Ok(Self { path, made, new, before, merged: false, after: None })
    }

    /// The former bytes; `None` if there was no such file.
    fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        STANDARD.decode(self.before.as_ref()?.expose()).ok().map(Zeroizing::new)
    }
}

/// The digest of a file; `None` if it is not there.
fn state(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => Ok(Some(digest(&bytes))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("could not read {}", path.display())),
    }
}

/// The setups that lie on top of each other in a file, the latest first: nothing else has changed it since the last of
/// them began. `all` has the latest first, and `now` is the file's digest.
fn layers(all: &[Former], path: &Path, now: &str) -> Vec<usize> {
    let mut layers = Vec::new();
    let mut expected = Some(now.to_owned());
    for (index, kept) in all.iter().enumerate().filter_map(|(index, former)| Some((index, former.file(path)?))) {
        if expected.is_none() || kept.after != expected {
            break;
        }
        layers.push(index);
        if !kept.merged {
            expected = kept.bytes().map(|bytes| digest(&bytes));
        }
    }
    layers
}

/// The setups that an undo takes back: some of them whole, of others the part that it names.
#[derive(Debug)]
pub(super) struct Undo {
    all: Vec<Former>,
    whole: Vec<PathBuf>,
    part: Vec<PathBuf>,
    /// The hosts that are taken out of `part`.
    hosts: Vec<String>,
    /// The files that are changed piece by piece, and their digests.
    changed: Vec<(PathBuf, String)>,
    /// The profiles that have to stay, though what added them is undone.
    left: Vec<String>,
}

impl Undo {
    /// All of these setups.
    pub(super) fn of(is_it: impl Fn(&Former) -> bool) -> Result<Self> {
        let all = Former::all()?;
        let whole = all.iter().filter(|former| is_it(former)).map(|former| former.path.clone()).collect();
        Ok(Self { all, whole, part: Vec::new(), hosts: Vec::new(), changed: Vec::new(), left: Vec::new() })
    }

    /// The latest of these setups.
    pub(super) fn of_latest(is_it: impl Fn(&Former) -> bool) -> Result<Self> {
        let mut undo = Self::of(is_it)?;
        undo.whole.truncate(1);
        Ok(undo)
    }

    /// What was done for these hosts.
    pub(super) fn of_hosts(urls: &[String]) -> Result<Self> {
        let is_it = |host: &Host| urls.contains(&host.url);
        let mut undo = Self::of(|former| !former.hosts.is_empty() && former.hosts.iter().all(is_it))?;
        let part =
            undo.all.iter().filter(|former| former.hosts.iter().any(is_it) && !undo.whole.contains(&former.path));
        undo.part = part.map(|former| former.path.clone()).collect();
        urls.clone_into(&mut undo.hosts);
        Ok(undo)
    }

    /// The setups it takes back, in whole or in part.
    pub(super) fn undone(&self) -> impl Iterator<Item = &Former> {
        self.all.iter().filter(|former| self.whole.contains(&former.path) || self.part.contains(&former.path))
    }

    /// The setups of which nothing is taken back.
    pub(super) fn others(&self) -> impl Iterator<Item = &Former> {
        self.all.iter().filter(|former| !self.whole.contains(&former.path) && !self.part.contains(&former.path))
    }

    /// These profiles, and those that what is undone added or had answer.
    pub(super) fn profiles(&self, these: Vec<String>) -> BTreeSet<String> {
        let known = self.undone().flat_map(|former| former.added.iter().chain(&former.profiles));
        known.cloned().chain(these).collect()
    }

    /// Takes down that a profile has to stay.
    pub(super) fn leave(&mut self, profile: &str) {
        if self.undone().any(|former| former.has_added(profile)) {
            self.left.push(profile.to_owned());
        }
    }

    /// Whether nothing has to stay.
    pub(super) fn leaves_nothing(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether a table of config.toml is there only for what is undone here, and for others still to come.
    pub(super) fn made_section(&self, name: &str) -> bool {
        // If nothing is known any more, it looks as if.
        self.undone().next().is_none() || self.undone().any(|former| former.sections.contains(name))
    }

    /// The removal of a file, if it is there only for what is undone here, and for others still to come.
    pub(super) fn removal(&self, path: &Path) -> Option<Step> {
        let kept = self.undone().find_map(|former| former.file(path).filter(|file| file.new))?;
        Some(Step::Remove { path: kept.path.clone(), folder: kept.made.clone() })
    }

    /// Adds to the plan what becomes of a file: its former bytes, or else what `pieces` adds.
    pub(super) fn file(
        &mut self,
        path: &Path,
        plan: &mut Plan,
        pieces: impl FnOnce(&Self, &mut Plan) -> Result<()>,
    ) -> Result<()> {
        let Some(now) = state(path)? else { return Ok(()) };
        let layers: Vec<&Former> = layers(&self.all, path, &now).into_iter().map(|index| &self.all[index]).collect();
        let on_top = layers.iter().take_while(|former| self.whole.contains(&former.path)).count();
        let concerned = self.undone().filter(|former| former.keeps(path)).count();
        let lowest = on_top.checked_sub(1).and_then(|lowest| layers[lowest].file(path));
        if let Some(kept) = lowest.filter(|kept| !kept.merged && on_top == concerned) {
            let (path, digest) = (path.to_owned(), now);
            plan.steps.extend(match kept.bytes() {
                Some(bytes) if self::digest(&bytes) == digest => None,
                Some(bytes) => Some(Step::Restore { path, digest, bytes }),
                None => Some(Step::Remove { path, folder: kept.made.clone() }),
            });
            return Ok(());
        }
        let known = self.undone().all(|former| !former.keeps(path) || layers.iter().any(|l| l.path == former.path));
        let before = plan.steps.len();
        pieces(self, plan)?;
        if plan.steps.len() > before && !known {
            plan.notes.push(format!("{} has been changed since; only keyfob's part is taken back", path.display()));
        }
        self.changed.push((path.to_owned(), now));
        Ok(())
    }

    /// Adds to the plan that this is done.
    pub(super) fn finish(self, plan: &mut Plan) {
        if self.undone().next().is_some() {
            plan.steps.push(Step::Forget(self));
        }
    }

    /// The files that go with what is undone.
    pub(super) fn forgotten(&self) -> &[PathBuf] {
        &self.whole
    }

    /// Forgets what has been undone.
    pub(super) fn forget(&self) -> Result<()> {
        let mut all = Former::all()?;
        for (path, before) in &self.changed {
            if let Some(now) = state(path)? {
                self.settle(&mut all, path, before, &now);
            }
        }
        let (gone, mut left): (Vec<_>, Vec<_>) = all.into_iter().partition(|former| self.whole.contains(&former.path));
        for former in left.iter_mut().filter(|former| self.part.contains(&former.path)) {
            former.hosts.retain(|host| !self.hosts.contains(&host.url));
        }
        // What had to stay for the others is theirs to take back.
        if let Some(heir) = left.first_mut() {
            heir.added.extend(self.left.iter().cloned());
        }
        let written = gone.iter().filter_map(|former| former.az.as_ref()).find(|az| az.profile.is_some());
        if let (Some(written), Some(heir)) = (written, left.iter_mut().find_map(|former| former.az.as_mut())) {
            heir.profile.clone_from(&written.profile);
        }
        left.iter().try_for_each(Former::rewrite)?;
        gone.iter().try_for_each(Former::remove)
    }

    /// Something has been taken out of a file from under others, which made `now` of what was `before`: what lies on top of
    /// it is one layer from now on, and the first of those that stay keeps the bytes below.
    fn settle(&self, all: &mut [Former], path: &Path, before: &str, now: &str) {
        let layers = layers(all, path, before);
        let is_undone = |index: &usize| self.whole.contains(&all[*index].path) || self.part.contains(&all[*index].path);
        let Some(lowest) = layers.iter().rposition(is_undone) else { return };
        let merged = |index: &usize| all[*index].file(path).is_some_and(|kept| kept.merged);
        let bottom = lowest + layers[lowest..].iter().take_while(|index| merged(index)).count();
        let Some(below) = layers.get(bottom).and_then(|index| all[*index].file(path)).cloned() else { return };
        let mut is_first = true;
        for index in layers[..=bottom].iter().rev() {
            if self.whole.contains(&all[*index].path) {
                continue;
            }
            if let Some(kept) = all[*index].file_mut(path) {
                let before = if is_first { below.before.clone() } else { None };
                *kept = Kept { before, merged: !is_first, after: Some(now.to_owned()), ..below.clone() };
                is_first = false;
            }
        }
    }
}

/// keyfob's folder for what is neither configuration nor cache.
fn folder() -> Result<PathBuf> {
    let folder = dirs::data_local_dir()
        .ok_or_else(|| Failure::usage("there is no home directory to keep the former files in").hint("set HOME"))?;
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
