//! Makes the plan that undoes setups.
//!
//! If a file is still as setup left it, and no other setup has changed it, its old bytes are restored; otherwise
//! keyfob's own lines are removed.

use super::backup::{Records, Setup, copied};
use super::files::{digest, read};
use super::plan::{Plan, Shown, Step};
use anyhow::Result;
use std::path::Path;

/// The setups to undo, and the record of the others.
#[derive(Debug)]
pub struct Undo {
    records: Records,
    /// The setups to undo.
    pub undone: Vec<Setup>,
}

impl Undo {
    /// Undoes these setups.
    pub fn of(is_it: impl Fn(&Setup) -> bool) -> Result<Self> {
        let records = Records::load()?;
        let undone = records.setups.iter().filter(|setup| is_it(setup)).cloned().collect();
        Ok(Self { records, undone })
    }

    /// Keeps only the setups of the latest time.
    #[must_use]
    pub fn latest(mut self) -> Self {
        let last = self.undone.iter().map(|setup| setup.at).max();
        self.undone.retain(|setup| Some(setup.at) == last);
        self
    }

    /// The setups that stay.
    pub fn others(&self) -> impl Iterator<Item = &Setup> {
        self.records.setups.iter().filter(|setup| !self.undone.iter().any(|one| one.is_of(setup)))
    }

    /// Whether a table of config.toml exists only because of setups. True if there is no record of what is undone.
    pub fn made_section(&self, name: &str) -> bool {
        self.undone.is_empty() || self.undone.iter().any(|setup| setup.sections.contains(name))
    }

    /// Whether a file exists only because of what is undone.
    pub fn made(&self, path: &Path) -> bool {
        self.records.file(path).is_some_and(|kept| kept.new) && !self.others().any(|other| other.changed(path))
    }

    /// Adds the undo of a file to the plan: its old bytes, or the changes that `pieces` adds.
    pub fn file(&self, path: &Path, plan: &mut Plan, pieces: impl FnOnce(&mut Plan) -> Result<()>) -> Result<()> {
        let Some(now) = read(path)? else { return Ok(()) };
        let kept = self.records.file(path).filter(|_| self.undone.iter().any(|setup| setup.changed(path)));
        let intact = kept.is_some_and(|kept| kept.left.as_ref() == Some(&digest(&now)));
        let alone = !self.others().any(|other| other.changed(path));
        let backup = kept.and_then(|kept| copied(kept.copy.as_ref()?));
        match (kept.filter(|_| alone), backup) {
            (Some(_), Some(backup)) if intact => {
                plan.write(path, Some(&now), &backup, Shown::Words("is again what it was, byte for byte"));
                return Ok(());
            }
            (Some(kept), _) if intact && kept.new => {
                plan.steps.push(Step::Remove { path: path.to_owned(), folder: kept.made.clone() });
                return Ok(());
            }
            _ => {}
        }
        let steps = plan.steps.len();
        pieces(plan)?;
        if plan.steps.len() > steps && kept.is_some() && !intact {
            plan.notes.push(format!("{} has been changed since; only keyfob's part is taken back", path.display()));
        }
        if let Some(kept) = kept.filter(|kept| alone && kept.new) {
            Self::remove_if_blank(path, plan, kept.made.as_deref());
        }
        Ok(())
    }

    /// If a file that setups created is blank after the undo, removes it.
    fn remove_if_blank(path: &Path, plan: &mut Plan, made: Option<&Path>) {
        let (path, folder) = (path.to_owned(), made.map(Path::to_owned));
        match plan.steps.last() {
            Some(Step::Write { path: written, after, .. }) if *written == path => {
                if after.trim_ascii().is_empty() {
                    plan.steps.pop();
                    plan.steps.push(Step::Remove { path, folder });
                }
            }
            _ => plan.steps.push(Step::RemoveIfEmpty { path, folder }),
        }
    }

    /// Marks the setups as undone in the plan.
    pub fn finish(self, plan: &mut Plan) {
        plan.undone.extend(self.undone);
    }
}
