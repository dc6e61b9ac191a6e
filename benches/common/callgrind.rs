//! Instructions, counted by callgrind: the same program with the same input comes to the same number.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::programs::on_path;
use super::run::Run;

/// Whether there is a callgrind here.
pub fn is_here() -> bool {
    on_path("valgrind").is_some()
}

/// The instructions that a program executes from its first to its last, the dynamic linker's included. Fails if the
/// program fails.
pub fn instructions(run: &Run) -> Result<u64> {
    let valgrind = on_path("valgrind").context("valgrind is not here")?;
    let words = ["--tool=callgrind", "--callgrind-out-file=/dev/null"].map(Into::into);
    let mut watched: Command = run.under(valgrind, &words)?;
    let output = watched.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{watched:?}: {}: {}", output.status, said.trim());
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.with_context(|| format!("callgrind counted nothing: {}", said.trim()))
}
