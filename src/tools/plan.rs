//! A plan: what `setup` is going to change, shown before anything is changed, and then carried out step by step.

use super::former::{Former, Undo};
use super::{Ran, run};
use crate::failure::{Exit, Failure};
use crate::secret::Secret;
use crate::text::{clean, one_line, shell_quoted};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// One change.
#[derive(Debug)]
pub(super) enum Step {
    /// A file's new text, in place of the old one.
    Edit { path: PathBuf, before: String, after: String },
    /// A new file that nobody else can read.
    Create { path: PathBuf, text: String },
    /// The same with something that is not shown, but named.
    CreateSecret { path: PathBuf, secret: Secret, what: &'static str },
    /// A file to remove; and the folders above it that are empty then, up to this one.
    Remove { path: PathBuf, folder: Option<PathBuf> },
    /// How things are before, to be kept.
    Keep(Former),
    /// A file to get its former bytes back, if its digest still is what it was; see [`digest`].
    Restore { path: PathBuf, digest: String, bytes: Zeroizing<Vec<u8>> },
    /// What was kept for an undo that is done now.
    Forget(Undo),
    /// A folder to make.
    Folder(PathBuf),
    /// A folder to remove if it is empty, and those above it, up to this one.
    RemoveFolder { path: PathBuf, highest: PathBuf },
    /// A symbolic link, and where it leads.
    Link { path: PathBuf, target: PathBuf },
    /// A symbolic link to remove.
    Unlink(PathBuf),
    /// A command to run.
    Run(Vec<String>),
    /// A file to remove if nothing is left in it.
    RemoveIfEmpty(PathBuf),
}

/// What is going to be changed, and what to know before.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn run<const N: usize>(&mut self, words: [&str; N]) {
        self.steps.push(Step::Run(words.map(str::to_owned).to_vec()));
    }

    /// A file with something that is not shown, but named; unless it is there as it is to be.
    pub(super) fn make(&mut self, path: PathBuf, secret: Secret, what: &'static str) -> Result<()> {
        match std::fs::read(&path).map(Zeroizing::new) {
            Ok(there) if there.as_slice() == secret.expose().as_bytes() => {}
            Ok(_) => {
                let what = format!("{} is there already, with something else in it", path.display());
                return Err(Failure::usage(what).hint("remove it, or choose another profile's name").into());
            }
            Err(_) => self.steps.push(Step::CreateSecret { path, secret, what }),
        }
        Ok(())
    }

    /// Before everything else, keeps how things are; unless nothing is going to be changed.
    pub(super) fn keep(&mut self, former: Former) {
        if !self.steps.is_empty() {
            self.steps.insert(0, Step::Keep(former));
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan as a person reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let _ = match step {
                Step::Edit { path, before, after } => changes(&mut text, path, before, after),
                Step::Create { path, text: new } => changes(&mut text, path, "", new),
                Step::CreateSecret { path, what, .. } => writeln!(text, "{} is made, with {what}", path.display()),
                Step::Remove { path, .. } | Step::Unlink(path) => writeln!(text, "{} is removed", path.display()),
                Step::Keep(former) => {
                    let at = former.path().display();
                    let files: Vec<String> = former.files().map(|file| file.display().to_string()).collect();
                    let kept = match files.as_slice() {
                        [] => "in mind what is new".to_owned(),
                        [file] => format!("{file} as it is, secrets included"),
                        files => format!("{} as they are, secrets included", files.join(" and ")),
                    };
                    writeln!(text, "{at} keeps {kept}, for the undo")
                }
                Step::Forget(undo) => {
                    undo.forgotten().iter().try_for_each(|path| writeln!(text, "{} is removed", path.display()))
                }
                Step::Folder(path) => writeln!(text, "{} is made", path.display()),
                Step::RemoveFolder { path, .. } => writeln!(text, "{} is removed, if it is empty", path.display()),
                Step::Restore { path, .. } => writeln!(text, "{} is again what it was, byte for byte", path.display()),
                Step::Link { path, target } => writeln!(text, "{} -> {}", path.display(), target.display()),
                Step::Run(words) => writeln!(text, "{}", line(words)),
                Step::RemoveIfEmpty(_) => Ok(()),
            };
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {note}");
        }
        // Names in it come from files that others may have written.
        text.lines().flat_map(|line| [one_line(line), "\n".to_owned()]).collect()
    }

    /// Carries it out.
    pub fn carry_out(&self) -> Result<()> {
        let done = self.steps.iter().try_for_each(Step::carry_out);
        // Also after a failure: what was done until then is what the undo finds.
        let sealed = self.steps.iter().try_for_each(|step| match step {
            Step::Keep(former) => former.seal(),
            _ => Ok(()),
        });
        done.and(sealed)
    }
}

impl Step {
    fn carry_out(&self) -> Result<()> {
        let not_removed = |path: &Path| format!("could not remove {}", path.display());
        let not_changed = |path: &Path| format!("could not change {}", path.display());
        match self {
            Self::Edit { path, after, .. } => {
                replace(path, after.as_bytes()).with_context(|| not_changed(path))?;
            }
            Self::Create { path, text } => create(path, text.as_bytes())?,
            Self::CreateSecret { path, secret, .. } => create(path, secret.expose().as_bytes())?,
            Self::Remove { path, folder } => {
                // A link stays: dotfiles often are links.
                let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                std::fs::remove_file(file).with_context(|| not_removed(path))?;
                remove_folders(path, folder.as_deref());
            }
            Self::Keep(former) => former.save()?,
            Self::Folder(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("could not make {}", path.display()))?;
            }
            Self::RemoveFolder { path, highest } => remove_folders(&path.join("az"), Some(highest)),
            Self::Restore { path, digest, bytes } => {
                let now = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
                if self::digest(&now) != *digest {
                    let what = format!("{} has been changed since it was looked at", path.display());
                    return Err(Failure::new(Exit::Failed, what).hint("run the same command again").into());
                }
                replace(path, bytes).with_context(|| not_changed(path))?;
            }
            Self::Forget(undo) => undo.forget()?,
            Self::Run(words) => {
                let Ran { ok, stderr, .. } = run(words, &[], "")?;
                if !ok {
                    let what = format!("`{}` failed: {}", words.join(" "), clean(&stderr));
                    return Err(Failure::new(Exit::Failed, what).into());
                }
            }
            Self::Link { path, target } => {
                std::os::unix::fs::symlink(target, path)
                    .with_context(|| format!("could not make the link {}", path.display()))?;
            }
            Self::Unlink(path) => {
                std::fs::remove_file(path).with_context(|| not_removed(path))?;
            }
            Self::RemoveIfEmpty(path) => {
                if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
                    std::fs::remove_file(path).with_context(|| not_removed(path))?;
                }
            }
        }
        Ok(())
    }
}

/// A command as a shell reads it.
pub(super) fn line(words: &[String]) -> String {
    words.iter().map(|word| shell_quoted(word)).collect::<Vec<_>>().join(" ")
}

/// What tells whether a file is still the same.
pub(super) fn digest(bytes: &[u8]) -> String {
    STANDARD.encode(ring::digest::digest(&SHA256, bytes))
}

/// The highest of the folders that would have to be made for the file at `path`; `None` if all are there.
pub(super) fn folder_to_make(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take_while(|folder| !folder.exists()).last().map(Path::to_owned)
}

/// Makes a file that was not there, and the folders above it, for the user alone.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    made.with_context(|| format!("could not make {}", path.display()))
}

/// Removes the folders above `path`, as far as they are empty, up to and including `highest`.
pub(super) fn remove_folders(path: &Path, highest: Option<&Path>) {
    let Some(highest) = highest else { return };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(highest)) {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// A file's name, and its lines that differ.
fn changes(text: &mut String, path: &Path, before: &str, after: &str) -> std::fmt::Result {
    writeln!(text, "{}", path.display())?;
    changed_lines(before, after).iter().try_for_each(|line| writeln!(text, "  {}", line.trim_end()))
}

/// The lines that differ, `- ` before the old and `+ ` before the new ones; what both begin and end with is left out.
fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let marked =
        |mark: &'static str, lines: &[&str]| lines.iter().map(move |l| format!("{mark} {l}")).collect::<Vec<_>>();
    let mut lines = marked("-", &old[start..old.len() - end]);
    lines.extend(marked("+", &new[start..new.len() - end]));
    lines
}

/// Replaces a file's bytes at once, with its permissions kept; a link is followed, since dotfiles often are links.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = std::fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".keyfob-new");
    let temporary = path.with_file_name(name);
    // Closed to others until it has the old file's permissions, which is before it has a byte.
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let written = opened.and_then(|mut file| {
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(changed_lines("a\nb\nc\n", "a\nb\nx\nc\n"), ["+ x"]);
        assert_eq!(changed_lines("a\nx\nc\n", "a\nc\n"), ["- x"]);
        assert_eq!(changed_lines("", "x\ny\n"), ["+ x", "+ y"]);
        assert_eq!(changed_lines("a\n", "a\n"), [""; 0]);
    }
}
