//! `keyfob setup`: connect a tool to a profile through the tool's own configuration, and disconnect it again.
//!
//! Every tool is one file that makes a plan. A plan is shown before anything is changed; on a terminal the person
//! agrees, elsewhere `--yes` has to. Undoing removes what setting up wrote, and nothing else.

mod az;
mod former;
mod git;
mod kubelogin;
mod kubernetes;
mod look;
mod plan;
mod profile;

use crate::commands::findings::Findings;
use crate::commands::print;
use crate::config::{Az, File};
use crate::failure::{Failure, Hint};
use crate::text::clean;
use anyhow::{Context, Result};
use former::Undo;
use plan::{Consent, Outcome, Plan, Step};
use profile::{Config, Wanted};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `keyfob setup`
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
What is going to change is shown first. Without a terminal to ask on, --yes is needed.
With --issuer or --provider the profile is made as well; the undo takes it back.

Examples:
  keyfob setup                             what there is to connect here, and how
  keyfob setup kubernetes --profile lab --context lab
  keyfob setup git --profile gh https://github.com
  keyfob setup git --undo https://github.com
  keyfob setup az --profile work ~/bin
  keyfob setup --profile lab --issuer https://id.example.com --client-id kubernetes
                                           just the profile"
)]
pub struct Arguments {
    #[command(subcommand)]
    tool: Option<Tool>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Put keyfob in the place of the Azure CLI, for programs that run `az` or `azd` to get a token
    Az(az::Arguments),
    /// Have git ask keyfob for a host's token
    Git(git::Arguments),
    /// Have a user of the kubeconfig get tokens from keyfob
    #[command(visible_alias = "kubectl")]
    Kubernetes(kubernetes::Arguments),
}

/// Sets a tool up, or makes a profile.
pub fn set_up(arguments: &Arguments) -> Result<()> {
    match &arguments.tool {
        Some(Tool::Az(arguments)) => az::run(arguments),
        Some(Tool::Git(arguments)) => git::run(arguments),
        Some(Tool::Kubernetes(arguments)) => kubernetes::run(arguments),
        None if arguments.names_nothing() => look::run(),
        None => profile_alone(&arguments.wanted, &arguments.consent),
    }
}

impl Arguments {
    fn names_nothing(&self) -> bool {
        let Self { wanted, consent, .. } = self;
        wanted.profile.is_none() && wanted.flags.0.is_empty() && !consent.undo && !consent.yes
    }
}

/// What `setup` without a tool calls itself in config.toml.
const ALONE: &str = "setup";

/// `keyfob setup --profile NAME --issuer …`
fn profile_alone(wanted: &Wanted, consent: &Consent) -> Result<()> {
    let mut config = Config::load()?;
    let mut plan = Plan::default();
    let Some(name) = wanted.profile.as_deref().filter(|_| consent.undo || !wanted.flags.0.is_empty()) else {
        return Err(Failure::usage("which tool, or which profile?")
            .hint("keyfob setup kubernetes, git or az; or --profile NAME with --issuer or --provider")
            .into());
    };
    if consent.undo {
        let mut undo = Undo::of(|former| former.is_alone() && former.has_added(name))?;
        config.release(name, ALONE, &mut undo, &mut plan)?;
        if undo.leaves_nothing() {
            config.take_back(&mut undo, &mut plan)?;
            undo.finish(&mut plan);
        }
        plan.carry_out(&format!("Remove the profile {name}"), consent)?;
        return Ok(());
    }
    let profile = wanted.in_config(&mut config, ALONE)?;
    let former = config.keep([])?;
    plan.steps.extend(config.into_step());
    plan.keep(former);
    if plan.carry_out(&format!("Make the profile {name}"), consent)? != Outcome::Declined {
        print(&format!("To sign in: {}\n", profile.command("login")))?;
    }
    Ok(())
}

/// Looks at what git, kubectl and az are configured to run, or only at what asks for one profile.
pub(super) fn examine(findings: &mut Findings, file: &File, only: Option<&str>) {
    let concerns = |profile: Option<&str>| only.is_none_or(|only| profile == Some(only));
    for rule in file.hosts.iter().filter(|rule| concerns(Some(&rule.profile))) {
        git::examine(findings, rule);
    }
    kubernetes::examine(findings, file, concerns);
    if file.az != Az::default() && concerns(file.az.profile.as_deref()) {
        az::examine(findings);
    }
}

/// How a command ended, and what it said.
struct Ran {
    ok: bool,
    stdout: String,
    stderr: String,
}

/// Runs a command that asks nobody anything.
fn run(words: &[String], environment: &[(&str, &str)], input: &str) -> Result<Ran> {
    let failed = || format!("could not run {}", words[0]);
    let mut child = Command::new(&words[0])
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
fn own_path() -> Result<PathBuf> {
    std::env::current_exe().context("could not tell where keyfob is")
}

/// What another program is to call this very keyfob: by its name alone, if that is how it would be found.
fn own_name() -> Result<String> {
    let own = own_path()?;
    let found = on_path("keyfob").is_some_and(|first| std::fs::canonicalize(first).is_ok_and(|first| first == own));
    Ok(if found { "keyfob".to_owned() } else { own.to_string_lossy().into_owned() })
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
