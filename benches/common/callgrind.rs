//! Instructions, counted by callgrind: the same program with the same input comes to the same number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
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
    let said = watched(run, Path::new("/dev/null"))?;
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.with_context(|| format!("callgrind counted nothing: {}", said.trim()))
}

/// Adds the functions of the program itself that run, by the names that its symbols have.
pub fn functions(run: &Run, counted: &Path, functions: &mut BTreeSet<String>) -> Result<()> {
    watched(run, counted)?;
    let program = run.program.file_name().unwrap_or_default();
    let mut own = false;
    for line in fs::read_to_string(counted)?.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            own = Path::new(object).file_name() == Some(program);
        }
        if let Some(name) = line.strip_prefix("fn=").filter(|_| own) {
            // A function that calls itself is counted again, by its level.
            functions.insert(name.split('\'').next().unwrap_or_default().to_owned());
        }
    }
    Ok(())
}

/// Runs a program to its end under callgrind, which writes what it counted to a file; what it said.
fn watched(run: &Run, counted: &Path) -> Result<String> {
    let valgrind = on_path("valgrind").context("valgrind is not here")?;
    let file = format!("--callgrind-out-file={}", counted.display());
    let words = ["--tool=callgrind", "--demangle=no", "--compress-strings=no", &file].map(Into::into);
    let mut watched: Command = run.under(valgrind, &words)?;
    let output = watched.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{watched:?}: {}: {}", output.status, said.trim());
    Ok(said)
}
