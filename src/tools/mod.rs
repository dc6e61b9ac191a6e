//! One file per tool that can be connected to a profile through its own configuration: how it is found on this machine,
//! connected, disconnected and checked. A new tool is one file and one row of [`TOOLS`].
//!
//! Nothing here prints, asks or changes anything: a tool makes a [`Job`] with a plan, which `keyfob setup` shows, has agreed
//! to and carries out, and `keyfob doctor` prints what a check found.

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

/// Something to do for a person who agrees.
pub struct Job {
    /// What it is, in one line.
    pub title: String,
    /// What is going to be changed.
    pub plan: Plan,
    /// What to say when it is done.
    pub done: String,
    /// What asks keyfob then, to be tried.
    pub asked: Vec<Asked>,
    /// The profiles that it removes.
    pub released: Vec<Profile>,
}

impl Job {
    fn new(title: String, plan: Plan) -> Self {
        Self { title, plan, done: String::new(), asked: Vec::new(), released: Vec::new() }
    }
}

/// Something that asks keyfob for a token.
pub struct Asked {
    /// For whose token.
    pub chosen: Chosen,
    /// For which.
    pub kind: TokenKind,
    /// What asks, as a sentence without its full stop; empty for a profile alone.
    pub what: String,
    /// When keyfob asks the person to sign in by itself, as `when kubectl first needs a token`; `None` if it does not.
    pub prompts: Option<&'static str>,
    /// What went wrong if keyfob has no answer, as `kubectl is set up, but …`.
    pub unanswered: String,
    /// Has the tool ask, once keyfob has a token; what came of it.
    pub attempt: Box<dyn Fn() -> Result<String>>,
}

/// Runs a command of a plan, whose first word is a program on `PATH`.
pub fn run(words: &[String]) -> Result<()> {
    let program = find(&words[0]).with_context(|| format!("could not run {}", words[0]))?;
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let Ran { ok, stderr, .. } = program::run(&program, &arguments, &[], "", None)?;
    if ok {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("`{}` failed: {}", words.join(" "), clean(&stderr))).into())
}

/// What other programs are to run: this very keyfob, under the name that `PATH` has for it, or that it was called by: a
/// link, which an upgrade keeps. By its whole path: a desktop, cron or systemd has another `PATH`.
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

/// Whether there is a program to run: a name on `PATH`, or a path, which may start at `folder`.
fn is_program(program: &str, folder: &Path) -> bool {
    if program.contains('/') { program::is_program(&folder.join(program)) } else { on_path(program).next().is_some() }
}
