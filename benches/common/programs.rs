//! The programs that are measured, each built the way its users build it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How the names of those variables begin that cargo sets for what it runs.
const NOT_FOR_BUILDS: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "OUT_DIR"];

/// keyfob, built as README says: `cargo build --release`. What cargo builds for a bench is not the same program, since
/// the features that tests and benches want of shared crates are in it.
pub fn keyfob() -> Result<PathBuf> {
    keyfob_with(&[])
}

/// The same, built with these variables.
pub fn keyfob_with(variables: &[(&str, &str)]) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--release", "--locked", "--bin", "keyfob", "--message-format=json-render-diagnostics"]);
    // What cargo told this bench is not for the build: some crates are built anew when they see other values.
    let told = |name: &str| NOT_FOR_BUILDS.iter().any(|start| name.starts_with(start));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        cargo.env_remove(name);
    }
    cargo.envs(variables.iter().copied());
    let output = cargo.stderr(Stdio::inherit()).output().context("could not run cargo")?;
    ensure!(output.status.success(), "keyfob could not be built");
    let messages = String::from_utf8(output.stdout)?;
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = messages.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo named no executable")
}

/// Where `.ci/static` puts the static program.
pub fn fixed(keyfob: &Path) -> Result<PathBuf> {
    let target = keyfob.parent().and_then(Path::parent).context("keyfob was not built in a target folder")?;
    Ok(target.join("x86_64-unknown-linux-musl/release/keyfob"))
}

/// A folder in the target folder for what the benches build and fetch.
pub fn folder(keyfob: &Path) -> Result<PathBuf> {
    let target = keyfob.parent().and_then(Path::parent).context("keyfob was not built in a target folder")?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A C program beside this file, dynamically linked.
pub fn c(name: &str, folder: &Path) -> Result<PathBuf> {
    let made = folder.join(name);
    run(Command::new("cc").args(["-O2", "-Wall", "-Werror", "-o"]).arg(&made).arg(source(&format!("{name}.c"))))?;
    Ok(made)
}

/// A Rust program beside this file, by the toolchain that builds keyfob.
pub fn rust(name: &str, folder: &Path) -> Result<PathBuf> {
    let made = folder.join(name);
    let source = source(&format!("{name}.rs"));
    run(Command::new("rustc").args(["-O", "--edition", "2024", "-o"]).arg(&made).arg(source))?;
    Ok(made)
}

/// A file in `benches/programs`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs").join(name)
}

/// The first program of this name on the search path.
pub fn on_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = name.as_ref();
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a program to its end; what it said on stdout. The error holds what it said on stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8(output.stdout)?)
}
