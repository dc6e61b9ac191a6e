//! `keyfob setup`: connect a tool to a profile through the tool's own configuration, and disconnect it again.
//!
//! Every tool makes a plan. A plan is shown before anything is changed; on a terminal the person agrees, elsewhere `--yes`
//! has to. Undoing removes what setting up wrote, and nothing else.

use crate::change::apply::carry_out;
use crate::commands::{print, say};
use crate::failure::{Exit, Failure};
use crate::text::clean;
use crate::tools::found::{Found, Machine, Offer};
use crate::tools::profile::{Wanted, make, remove};
use crate::tools::{Job, TOOLS, Tool, own_path, run};
use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use std::io::{BufRead, IsTerminal};

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
    tool: Option<Chosen>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    consent: Consent,
}

/// How a plan is agreed to.
#[derive(Debug, clap::Args)]
struct Consent {
    /// Take back what `setup` did
    #[arg(long)]
    undo: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// A tool, by its subcommand, and what it was given.
#[derive(Debug)]
struct Chosen {
    tool: &'static Tool,
    matches: ArgMatches,
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand().and_then(|(name, matches)| {
            let tool = TOOLS.iter().find(|tool| tool.name == name)?;
            Some(Self { tool, matches: matches.clone() })
        });
        found.ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        TOOLS.iter().fold(command, |command, tool| {
            let own = Consent::augment_args((tool.define)(Command::new(tool.name))).about(tool.about);
            command.subcommand(if let Some(alias) = tool.alias { own.visible_alias(alias) } else { own })
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        TOOLS.iter().any(|tool| tool.name == name || tool.alias == Some(name))
    }
}

/// Sets a tool up, or makes a profile, and returns the exit code.
pub fn set_up(arguments: &Arguments) -> Result<u8> {
    let Arguments { tool, wanted, consent } = arguments;
    if let Some(Chosen { tool, matches }) = tool {
        let consent = Consent::from_arg_matches(matches)?;
        let job = if consent.undo { (tool.disconnect)(matches)? } else { (tool.connect)(matches)? };
        do_it(&job, &consent)?;
        return Ok(0);
    }
    if wanted.is_empty() && !consent.undo && !consent.yes {
        let found = discover()?;
        say(&found.text())?;
        return choose(&found);
    }
    let Some(name) = wanted.profile.as_deref().filter(|_| consent.undo || !wanted.flags.0.is_empty()) else {
        return Err(Failure::usage("which tool, or which profile?")
            .hint("keyfob setup kubernetes, git or az; or --profile NAME with --issuer or --provider")
            .into());
    };
    do_it(&if consent.undo { remove(name)? } else { make(wanted)? }, consent)?;
    Ok(0)
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Everything was as it is to be.
    NothingToDo,
    /// The person would not.
    Declined,
    /// It was carried out.
    Done,
}

/// Shows a plan, asks, carries it out, and tries the result.
fn do_it(job: &Job, consent: &Consent) -> Result<()> {
    let outcome = agree(job, consent)?;
    if outcome == Outcome::Done || outcome == Outcome::NothingToDo && !consent.undo {
        print(&(job.after)()?)?;
    }
    Ok(())
}

fn agree(job: &Job, consent: &Consent) -> Result<Outcome> {
    let (title, text) = (clean(&job.title), job.plan.text()?);
    if job.plan.steps.is_empty() {
        print(&format!("{title}: nothing to do.\n{text}"))?;
        return Ok(Outcome::NothingToDo);
    }
    print(&format!("{title}:\n\n{text}\n"))?;
    if !consent.yes && !agreed()? {
        print("Nothing was changed.\n")?;
        return Ok(Outcome::Declined);
    }
    carry_out(&job.plan, run)?;
    Ok(Outcome::Done)
}

/// Asks on the terminal whether to go on; fails where there is none.
fn agreed() -> Result<bool> {
    if !on_terminal() {
        return Err(Failure::usage("nothing was changed: there is no terminal to ask on")
            .hint("add --yes to make the change shown")
            .into());
    }
    Ok(matches!(answer("Go on? [y/N] ")?.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Whether there is a person to ask.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks a question; what the person answers, without what is around it.
fn answer(question: &str) -> Result<String> {
    print(question)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("could not read the answer")?;
    Ok(answer.trim().to_owned())
}

/// What there is to connect on this machine.
fn discover() -> Result<Found> {
    let machine = Machine::look()?;
    let mut found = Found::of(&machine);
    for tool in TOOLS {
        (tool.discover)(&machine, &mut found);
    }
    Ok(found)
}

/// Asks which one, where there is a terminal and a choice, and does it.
fn choose(found: &Found) -> Result<u8> {
    let whole: Vec<&Offer> = found.offers.iter().filter(|offer| offer.whole).collect();
    if whole.is_empty() || !on_terminal() {
        return Ok(0);
    }
    let numbers = if whole.len() == 1 { "1".to_owned() } else { format!("1-{}", whole.len()) };
    let answer = answer(&format!("Which one? [{numbers}, or Enter for none] "))?;
    if answer.is_empty() {
        return Ok(0);
    }
    let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let Some(offer) = number.and_then(|number| whole.get(number)) else {
        return Err(Failure::usage(format!("{:?} is none of them", clean(&answer))).into());
    };
    let mut command = std::process::Command::new(own_path()?);
    let status = command.arg("setup").args(&offer.words).status().context("could not run keyfob")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed as u8))
}
