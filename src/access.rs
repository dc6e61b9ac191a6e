//! Checks who can access a file.

use crate::failure::{Exit, Failure};
use crate::text::shell_quoted;
use anyhow::Result;
use rustix::fs::{Mode, Stat};
use std::path::Path;

/// Fails if another user owns the file or can access it. `hint` is the remedy for another owner.
pub fn ours_alone(stat: &Stat, path: &Path, hint: &str) -> Result<()> {
    let path = path.display();
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        let why = format!("could not use {path}: it belongs to another user (uid {})", stat.st_uid);
        return Err(Failure::new(Exit::Failed, why).hint(hint).into());
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let why = format!("could not use {path}: other users can get at it (mode {:04o})", mode.as_raw_mode() & 0o7777);
        return Err(Failure::new(Exit::Failed, why)
            .run(format!("chmod go= {}", shell_quoted(&path.to_string())))
            .into());
    }
    Ok(())
}
