//! Carries out a plan: first the copies and the record, then the changes, then the new state of the files.

use super::backup::Records;
use super::files::{create, read, remove, remove_folders, replace};
use super::plan::{Plan, Step};
use crate::failure::{Exit, Failure};
use anyhow::{Context, Result};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Carries out a plan. `run` runs a command. Changes nothing if a file has changed since the plan was made.
pub fn carry_out(plan: &Plan, run: impl Fn(&[String]) -> Result<()>) -> Result<()> {
    for step in &plan.steps {
        if let Step::Write { path, before, .. } = step
            && read(path)? != *before
        {
            let what = format!("{} has been changed since it was looked at", path.display());
            return Err(Failure::new(Exit::Failed, what).hint("run the same command again").into());
        }
    }
    let copies = plan.copies()?;
    for (file, copy) in &copies {
        if let Some(bytes) = read(file)? {
            create(copy, &bytes)?;
        }
    }
    let changed: Vec<PathBuf> = plan.files().map(ToOwned::to_owned).collect();
    let mut records = Records::load()?;
    records.notice(&changed)?;
    for setup in &plan.setups {
        records.begin(setup, &copies)?;
    }
    if !plan.setups.is_empty() {
        records.save()?;
    }
    let done = plan.steps.iter().try_for_each(|step| step.carry_out(&run));
    // Save the record even after a failure, so that an undo finds what was done. After a failed undo, keep the old
    // record.
    if done.is_ok() || plan.undone.is_empty() {
        records.settle(&changed)?;
        records.forget(&plan.undone);
        records.save()?;
    }
    done
}

impl Step {
    fn carry_out(&self, run: impl Fn(&[String]) -> Result<()>) -> Result<()> {
        match self {
            Self::Write { path, before: Some(_), after, .. } => replace(path, after)?,
            Self::Write { path, before: None, after, .. } => create(path, after)?,
            Self::Remove { path, folder } => {
                remove(path)?;
                remove_folders(path, folder.as_deref());
            }
            Self::RemoveIfEmpty { path, folder } => {
                if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
                    remove(path)?;
                    remove_folders(path, folder.as_deref());
                }
            }
            Self::Folder(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("could not make {}", path.display()))?;
            }
            Self::RemoveFolder { path, highest } => remove_folders(&path.join("az"), Some(highest)),
            Self::Run { words, .. } => run(words)?,
            Self::Link { path, target } => {
                symlink(target, path).with_context(|| format!("could not make the link {}", path.display()))?;
            }
            Self::Unlink(path) => {
                std::fs::remove_file(path).with_context(|| format!("could not remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}
