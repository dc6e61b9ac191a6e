//! A plan: what will be changed, to be shown before anything is changed.

use super::backup::{Setup, place_of_copy};
use super::files::{is_read_only, read};
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::text::{one_line, shell_quoted};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// One change.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are what the variants say")]
pub enum Step {
    /// Write a file's new bytes, over the old ones if there are any.
    Write { path: PathBuf, before: Option<Zeroizing<Vec<u8>>>, after: Zeroizing<Vec<u8>>, shown: Shown },
    /// Remove a file, and the folders above it that are then empty, up to this one.
    Remove { path: PathBuf, folder: Option<PathBuf> },
    /// Remove a file like [`Step::Remove`], but only if it is empty.
    RemoveIfEmpty { path: PathBuf, folder: Option<PathBuf> },
    /// Make a folder.
    Folder(PathBuf),
    /// Remove a folder if it is empty, and the empty folders above it, up to `highest`.
    RemoveFolder { path: PathBuf, highest: PathBuf },
    /// Make a symbolic link to `target`.
    Link { path: PathBuf, target: PathBuf },
    /// Remove a symbolic link.
    Unlink(PathBuf),
    /// Run a command, which changes this file.
    Run { words: Vec<String>, file: PathBuf },
}

/// What a person sees of a change to a file.
#[derive(Debug)]
pub enum Shown {
    /// These lines, below the file's name.
    Lines(Vec<String>),
    /// A phrase that says what happens to the file.
    Words(&'static str),
}

/// The changes to make, and what to know before.
#[derive(Debug)]
pub struct Plan {
    /// The changes, in order.
    pub steps: Vec<Step>,
    /// Notes to read before.
    pub notes: Vec<String>,
    /// The changes for people who edit their files themselves: each file, and the lines to add.
    pub lines: Vec<(String, String)>,
    /// The connections that this plan sets up, for the record that an undo reads.
    pub setups: Vec<Setup>,
    /// The connections that this plan undoes.
    pub undone: Vec<Setup>,
    /// When the plan was made.
    pub at: Timestamp,
}

impl Default for Plan {
    fn default() -> Self {
        let (steps, notes, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { steps, notes, lines, setups: Vec::new(), undone: Vec::new(), at: Timestamp::now() }
    }
}

impl Plan {
    /// Adds a command that changes a file.
    pub fn run<const N: usize>(&mut self, words: [&str; N], file: &Path) {
        self.steps.push(Step::Run { words: words.map(str::to_owned).to_vec(), file: file.to_owned() });
    }

    /// Adds a file's new text, shown by the lines that differ.
    pub fn edit(&mut self, path: &Path, before: Option<&str>, after: &str) {
        let shown = changed_lines(before.unwrap_or_default(), after);
        self.write(path, before.map(str::as_bytes), after.as_bytes(), Shown::Lines(shown));
    }

    /// Adds a file's new text. If existing lines change, which may hold secrets, it is shown as `words` instead.
    pub fn edit_quietly(&mut self, path: &Path, before: Option<&str>, after: &str, words: &'static str) {
        let lines = changed_lines(before.unwrap_or_default(), after);
        let both = ["- ", "+ "].into_iter().all(|mark| lines.iter().any(|line| line.starts_with(mark)));
        let shown = if both { Shown::Words(words) } else { Shown::Lines(lines) };
        self.write(path, before.map(str::as_bytes), after.as_bytes(), shown);
    }

    /// Adds a file's new bytes, unless they equal the old ones.
    pub fn write(&mut self, path: &Path, before: Option<&[u8]>, after: &[u8], shown: Shown) {
        if before.unwrap_or_default() != after {
            let before = before.map(|bytes| Zeroizing::new(bytes.to_vec()));
            self.steps.push(Step::Write {
                path: path.to_owned(),
                before,
                after: Zeroizing::new(after.to_vec()),
                shown,
            });
        }
    }

    /// Adds a new file whose contents are not shown, unless it exists with the same contents. Fails if it has others.
    pub fn secret(&mut self, path: &Path, bytes: &[u8], shown: &'static str) -> Result<()> {
        match read(path)? {
            None => self.write(path, None, bytes, Shown::Words(shown)),
            Some(there) if there.as_slice() == bytes => {}
            Some(_) => {
                let what = format!("{} exists already, with something else in it", path.display());
                return Err(Failure::usage(what).hint("remove it, or choose another profile's name").into());
            }
        }
        Ok(())
    }

    /// The existing files that will be changed, each with the path of the copy to make first.
    pub fn copies(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut copies: Vec<(PathBuf, PathBuf)> = Vec::new();
        for path in self.files() {
            if path.exists() && !copies.iter().any(|(file, _)| file == path) {
                let copy = place_of_copy(path, self.at, &copies)?;
                copies.push((path.to_owned(), copy));
            }
        }
        Ok(copies)
    }

    /// The files that will be changed.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.steps.iter().filter_map(|step| match step {
            Step::Write { path: file, .. } | Step::Run { file, .. } => Some(file.as_path()),
            _ => None,
        })
    }

    /// The first file that would be changed but should not be written.
    pub fn read_only(&self) -> Option<&Path> {
        self.files().find(|file| is_read_only(file))
    }

    /// The plan as text for a person.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        for (file, copy) in self.copies()? {
            let _ = writeln!(text, "{} is copied to {}", file.display(), copy.display());
        }
        for step in &self.steps {
            let _ = match step {
                Step::Write { path, shown: Shown::Words(words), .. } => writeln!(text, "{} {words}", path.display()),
                Step::Write { path, shown: Shown::Lines(lines), .. } => {
                    let _ = writeln!(text, "{}", path.display());
                    lines.iter().try_for_each(|line| writeln!(text, "  {}", line.trim_end()))
                }
                Step::Remove { path, .. } | Step::Unlink(path) => writeln!(text, "{} is removed", path.display()),
                Step::Folder(path) => writeln!(text, "{} is made", path.display()),
                Step::RemoveFolder { path, .. } => writeln!(text, "{} is removed, if it is empty", path.display()),
                Step::Link { path, target } => writeln!(text, "{} -> {}", path.display(), target.display()),
                Step::Run { words, .. } => writeln!(text, "{}", line(words)),
                Step::RemoveIfEmpty { .. } => Ok(()),
            };
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {note}");
        }
        // Names in the plan come from files that others may have written, so clean each line.
        Ok(text.lines().flat_map(|line| [one_line(line), "\n".to_owned()]).collect())
    }

    /// The changes to make by hand, file by file.
    pub fn by_hand(&self) -> String {
        let mut text = String::new();
        for (file, lines) in self.lines.iter().filter(|(_, lines)| !lines.is_empty()) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}# {}\n{}", one_line(file), lines.trim_end());
        }
        text
    }
}

/// A command as it is typed in a shell.
pub fn line(words: &[String]) -> String {
    words.iter().map(|word| shell_quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The lines that differ, old ones with `- ` and new ones with `+ `. The common beginning and end are left out.
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
