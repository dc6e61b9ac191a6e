//! One file per tool that can be connected to a profile through its own configuration: how it is found on this machine,
//! connected, disconnected and checked. A new tool is one file and one row of [`TOOLS`].
//!
//! Nothing here prints, asks or changes anything: a tool makes a [`Job`] with a plan, which `keyfob setup` shows, has agreed
//! to and carries out, and `keyfob doctor` prints what a check found.

mod az;
pub mod findings;
pub mod found;
mod git;
mod kubeconfig;
mod kubelogin;
mod kubernetes;
pub mod profile;

use crate::change::plan::Plan;
use crate::config::File;
use crate::failure::{Exit, Failure, Hint};
use crate::text::clean;
use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use findings::Findings;
use found::{Found, Machine};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

/// A tool that can be connected.
#[derive(Debug)]
pub struct Tool {
    /// The subcommand of `keyfob setup`.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// One line of help.
    pub about: &'static str,
    /// Its arguments.
    pub define: fn(Command) -> Command,
    /// What connects it.
    pub connect: fn(&ArgMatches) -> Result<Job>,
    /// What takes that back.
    pub disconnect: fn(&ArgMatches) -> Result<Job>,
    /// What there is to connect on this machine.
    pub discover: fn(&Machine, &mut Found),
    /// How what is connected is, or what of it asks for one profile.
    pub check: fn(&mut Findings, &File, Option<&str>),
}

/// Every tool, in the order in which they are shown.
pub const TOOLS: &[Tool] = &[kubernetes::TOOL, git::TOOL, az::TOOL];

/// Something to do for a person who agrees.
pub struct Job {
    /// What it is, in one line.
    pub title: String,
    /// What is going to be changed.
    pub plan: Plan,
    /// Tries it once it is done, and says what came of it.
    pub after: Box<dyn Fn() -> Result<String>>,
}

/// Runs a command of a plan.
pub fn run(words: &[String]) -> Result<()> {
    let Ran { ok, stderr, .. } = ask(words, &[], "")?;
    if ok {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("`{}` failed: {}", words.join(" "), clean(&stderr))).into())
}

/// How a command ended, and what it said.
struct Ran {
    ok: bool,
    stdout: String,
    stderr: String,
}

/// Runs a command that asks nobody anything.
fn ask(words: &[String], environment: &[(&str, &str)], input: &str) -> Result<Ran> {
    let failed = || format!("could not run {}", words[0]);
    let mut child = process::Command::new(&words[0])
        .args(&words[1..])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read it is none the worse.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { ok: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// What a call that failed said, as a message and a hint: its own two lines are not put into one.
fn said(stderr: &str) -> (String, Option<Hint>) {
    let mut lines = stderr.lines();
    let first = lines.next().unwrap_or_default();
    let (why, ours) = match first.strip_prefix("error: ").or(first.strip_prefix("ERROR: ")) {
        Some(why) => (why, true),
        None => (stderr, false),
    };
    // az puts what mends it below without a word before it.
    let hint = lines.next().filter(|_| ours).map(|line| line.strip_prefix("hint: ").unwrap_or(line));
    (clean(why), hint.filter(|hint| !hint.starts_with("fatal: ")).map(clean).map(Hint::from))
}

/// Where this very keyfob is.
pub fn own_path() -> Result<PathBuf> {
    std::env::current_exe().context("could not tell where keyfob is")
}

/// What other programs are to run: this very keyfob, under the name that `PATH` has for it, which an upgrade keeps. By its
/// whole path: a desktop, cron or systemd has another `PATH`.
fn own_program() -> Result<PathBuf> {
    let own = own_path()?;
    let mut found = all_on_path("keyfob").filter(|program| program.is_absolute());
    let is_own = |program: &PathBuf| std::fs::canonicalize(program).is_ok_and(|program| program == own);
    Ok(found.next().filter(is_own).unwrap_or(own))
}

/// Whether there is a program to run: a name on `PATH`, or a path, which may start at `folder`.
fn is_program(program: &str, folder: &Path) -> bool {
    if program.contains('/') { folder.join(program).is_file() } else { on_path(program).is_some() }
}

/// The first program of this name on `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    all_on_path(name).next()
}

/// Every program of this name on `PATH`.
fn all_on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.into_iter().map(move |folder| folder.join(name)).filter(|file| file.is_file())
}
