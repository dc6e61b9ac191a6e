//! One file per tool that can be connected to a profile through the tool's own configuration: how to find, connect,
//! disconnect and check it. A new tool is one file and one row of [`TOOLS`].
//!
//! Nothing here prints, asks or changes anything. A tool makes a [`Job`] with a plan; `keyfob setup` shows the plan,
//! asks for consent and carries it out. `keyfob doctor` prints the findings of a check.

mod aws;
mod az;
mod cargo;
mod docker;
pub mod findings;
pub mod found;
mod git;
mod go;
mod hosted;
mod ini;
mod kubeconfig;
mod kubelogin;
mod kuberc;
mod kubernetes;
mod pip;
mod pnpm;
pub mod profile;
mod terraform;

use crate::change::plan::Plan;
use crate::config::{File, Profile};
use crate::failure::{Exit, Failure};
use crate::program::{self, Ran, find, on_path};
use crate::providers::TokenKind;
use crate::text::clean;
use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use findings::Findings;
use found::{Found, Machine};
use profile::Chosen;
use std::path::{Path, PathBuf};

/// A tool that can be connected.
#[derive(Debug)]
pub struct Tool {
    /// The subcommand of `keyfob setup`.
    pub name: &'static str,
    /// Another name for the subcommand.
    pub alias: Option<&'static str>,
    /// One line of help.
    pub about: &'static str,
    /// Adds its arguments to the subcommand.
    pub define: fn(Command) -> Command,
    /// Makes the job that connects the tool.
    pub connect: fn(&ArgMatches) -> Result<Job>,
    /// Makes the job that undoes this.
    pub disconnect: fn(&ArgMatches) -> Result<Job>,
    /// Finds what can be connected on this machine.
    pub discover: fn(&Machine, &mut Found),
    /// Checks what is connected, or only what uses one profile.
    pub check: fn(&mut Findings, &File, Option<&str>),
}

/// Every tool, in the order in which they are shown.
pub const TOOLS: &[Tool] = &[
    kubernetes::TOOL,
    git::TOOL,
    az::TOOL,
    docker::TOOL,
    pip::TOOL,
    cargo::TOOL,
    go::TOOL,
    terraform::TOOL,
    pnpm::TOOL,
    aws::TOOL,
];

/// Changes to be made if the person agrees.
pub struct Job {
    /// What it does, in one line.
    pub title: String,
    /// The changes.
    pub plan: Plan,
    /// What to print when they are done.
    pub done: String,
    /// What will ask keyfob for tokens then, so that `setup` can try it.
    pub asked: Vec<Asked>,
    /// The profiles that are removed.
    pub released: Vec<Profile>,
}

impl Job {
    fn new(title: String, plan: Plan) -> Self {
        Self { title, plan, done: String::new(), asked: Vec::new(), released: Vec::new() }
    }
}

/// Something that asks keyfob for a token.
pub struct Asked {
    /// The profile whose token it asks for.
    pub chosen: Chosen,
    /// The kind of token.
    pub kind: TokenKind,
    /// What asks, as a sentence without its full stop; empty if nothing but the profile was set up.
    pub what: String,
    /// When keyfob will prompt for the sign-in itself, e.g. `when kubectl first needs a token`; `None` if it will not.
    pub prompts: Option<&'static str>,
    /// The message if keyfob has no answer, e.g. `kubectl is set up, but …`.
    pub unanswered: String,
    /// Makes the tool ask, once keyfob has a token. Returns the result as text for the person.
    pub attempt: Box<dyn Fn() -> Result<String>>,
}

/// Runs a command of a plan. Its first word is a program on `PATH`.
pub fn run(words: &[String]) -> Result<()> {
    let program = find(&words[0]).with_context(|| format!("could not run {}", words[0]))?;
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let Ran { ok, stderr, .. } = program::run(&program, &arguments, &[], "", None)?;
    if ok {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("`{}` failed: {}", words.join(" "), clean(&stderr))).into())
}

/// The path of this keyfob for other programs to run: the one on `PATH`, or the one it was called by, which may be a
/// link that survives upgrades. It is absolute, because a desktop, cron or systemd has another `PATH`.
fn own_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("could not tell where keyfob is")?;
    if !own.is_file() {
        let what = "this keyfob has been replaced or removed since it was started";
        return Err(Failure::new(Exit::Failed, what).hint("run the same command again").into());
    }
    let is_own = |program: &PathBuf| std::fs::canonicalize(program).is_ok_and(|program| program == own);
    let called = std::env::args_os().next().map(PathBuf::from).filter(|called| called.components().count() > 1);
    let called = called.and_then(|called| std::path::absolute(called).ok());
    Ok(on_path("keyfob").chain(called).find(is_own).unwrap_or(own))
}

/// Whether a program exists: a name on `PATH`, or a path, which may be relative to `folder`.
fn is_program(program: &str, folder: &Path) -> bool {
    if program.contains('/') { program::is_program(&folder.join(program)) } else { on_path(program).next().is_some() }
}
