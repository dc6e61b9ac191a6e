//! `keyfob setup`: connects a tool to a profile through the tool's own configuration, and disconnects it again.
//!
//! Every tool makes a plan. The plan is shown before anything is changed. On a terminal the person must agree;
//! elsewhere `--yes` is needed. The undo removes what setup wrote, and nothing else.

use crate::acquire::{Requester, TokenWant, acquire};
use crate::change::apply;
use crate::clock::Timestamp;
use crate::commands::{login, logout, print, say};
use crate::config::Profile;
use crate::failure::{Exit, Failure};
use crate::store::Store;
use crate::text::clean;
use crate::tools::found::{Found, Machine, Offer};
use crate::tools::profile::{Wanted, make, remove};
use crate::tools::{Asked, Job, TOOLS, Tool, run};
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
  keyfob setup docker --profile gh ghcr.io
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
    /// Print the lines to write by hand, and change nothing
    #[arg(long, conflicts_with_all = ["undo", "yes"])]
    print: bool,
}

/// The tool of a subcommand, with its arguments.
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

/// Sets up a tool, or makes a profile. Returns the exit code.
pub fn set_up(arguments: &Arguments) -> Result<u8> {
    let Arguments { tool, wanted, consent } = arguments;
    if let Some(Chosen { tool, matches }) = tool {
        let consent = Consent::from_arg_matches(matches)?;
        let job = if consent.undo { (tool.disconnect)(matches)? } else { (tool.connect)(matches)? };
        carry_out(&job, &consent)?;
        return Ok(0);
    }
    if wanted.is_empty() && !consent.undo && !consent.yes && !consent.print {
        let found = discover()?;
        say(&found.text())?;
        return choose(&found);
    }
    let Some(name) = wanted.profile.as_deref().filter(|_| consent.undo || !wanted.flags.0.is_empty()) else {
        return Err(Failure::usage("which tool, or which profile?")
            .hint(if consent.undo {
                "`keyfob setup --help` lists the tools; --profile NAME takes a profile back"
            } else {
                "`keyfob setup --help` lists the tools; --profile NAME with --issuer or --provider makes a profile"
            })
            .into());
    };
    carry_out(&if consent.undo { remove(name)? } else { make(wanted)? }, consent)?;
    Ok(0)
}

/// Shows a plan, asks for consent, carries the plan out, and tries the result.
fn carry_out(job: &Job, consent: &Consent) -> Result<()> {
    if consent.print {
        return print(&job.plan.by_hand());
    }
    for asked in job.asked.iter().filter(|asked| asked.chosen.is_new) {
        asked.chosen.check()?;
    }
    let (title, text) = (clean(&job.title), job.plan.text()?);
    if job.plan.steps.is_empty() {
        print(&format!("{title}: nothing to do.\n{text}"))?;
    } else {
        writable(job)?;
        print(&format!("{title}:\n\n{text}\n"))?;
        if !consent.yes && !agreed()? {
            return print("Nothing was changed.\n");
        }
        for profile in &job.released {
            offer_sign_out(profile, consent)?;
        }
        apply::carry_out(&job.plan, run)?;
        print(&job.done)?;
    }
    job.asked.iter().try_for_each(|asked| try_it(asked, consent))
}

/// Fails if a file that must be changed is read-only, and prints what to change by hand.
fn writable(job: &Job) -> Result<()> {
    let Some(file) = job.plan.read_only() else { return Ok(()) };
    let by_hand = if job.plan.undone.is_empty() { job.plan.by_hand() } else { job.plan.text()? };
    print(&format!("{}, by hand:\n\n{by_hand}\n", clean(&job.title)))?;
    let failure = Failure::new(Exit::Failed, format!("{} is read-only; nothing was changed", file.display()));
    Err(failure.hint("make the change above by hand, or make the file writable").into())
}

/// Tries what will ask keyfob for a token. If nobody has signed in yet, prints how to, or signs in.
fn try_it(asked: &Asked, consent: &Consent) -> Result<()> {
    let profile = &asked.chosen.profile;
    if profile.machine.is_some()
        && let Err(error) = acquire(&TokenWant::of(profile, asked.kind, Requester::Person))
    {
        // The machine may have what it needs only elsewhere: in a job or a pod.
        let before = if asked.what.is_empty() { String::new() } else { format!("{}. ", asked.what) };
        return print(&format!("{before}Here it gets no token: {}\n", clean(&Failure::of(&error).message)));
    }
    if !has_token(asked)? {
        if !asked.what.is_empty() {
            print(&format!("{}. Nobody has signed in yet.\n", asked.what))?;
        }
        if consent.yes || !on_terminal() || !yes("Sign in now? [Y/n] ", true)? {
            let login = profile.command("login");
            return print(&match asked.prompts {
                Some(when) => format!("keyfob asks you to sign in {when}; or now: {login}\n"),
                None => format!("To sign in: {login}\n"),
            });
        }
        login::sign_in(profile)?;
    }
    print(&(asked.attempt)()?)
}

/// Whether keyfob can get a token without a sign-in.
fn has_token(asked: &Asked) -> Result<bool> {
    let usual = TokenWant::of(&asked.chosen.profile, asked.kind, Requester::Person);
    match acquire(&TokenWant { no_prompt: Some("setup only tries whether there is a token"), ..usual }) {
        Ok(_) => Ok(true),
        Err(error) => {
            let failure = Failure::of(&error);
            if failure.exit == Exit::SignInNeeded {
                return Ok(false);
            }
            let message = format!("{}: {}", asked.unanswered, failure.message);
            Err(Failure { message, ..failure }.into())
        }
    }
}

/// Offers to end the session of a profile that is being removed, unless another profile leads to it.
fn offer_sign_out(profile: &Profile, consent: &Consent) -> Result<()> {
    let others = Profile::all().unwrap_or_default().into_values().filter_map(Result::ok);
    let is_used = others.filter(|other| other.name != profile.name).any(|other| other.leads_to(&profile.session));
    let session = match Store::open()? {
        Some(store) if !is_used => store.session(&profile.session).session()?,
        _ => None,
    };
    if !session.is_some_and(|session| session.is_signed_in(Timestamp::now())) {
        return Ok(());
    }
    let name = clean(profile.title());
    if !consent.yes && yes(&format!("Sign out of {name}, too? [y/N] "), false)? {
        return logout::sign_out_of(profile);
    }
    let logout = Profile::of_session(&profile.session).map(|session| session.command("logout"));
    print(&format!(
        "You are still signed in to {name}; to sign out: {}\n",
        logout.unwrap_or("keyfob logout --all".into())
    ))
}

/// Asks on the terminal whether to continue. Fails if there is no terminal.
fn agreed() -> Result<bool> {
    if !on_terminal() {
        return Err(Failure::usage("nothing was changed: there is no terminal to ask on")
            .hint("add --yes to make the change shown")
            .into());
    }
    yes("Go on? [y/N] ", false)
}

/// Whether there is a terminal on which a person can be asked.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks a yes-or-no question. `usual` is the meaning of an empty line.
fn yes(question: &str, usual: bool) -> Result<bool> {
    let answer = answer(question)?.to_ascii_lowercase();
    Ok(if answer.is_empty() { usual } else { matches!(answer.as_str(), "y" | "yes") })
}

/// Asks a question. Returns the answer without surrounding white space.
fn answer(question: &str) -> Result<String> {
    print(question)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("could not read the answer")?;
    Ok(answer.trim().to_owned())
}

/// Finds what can be connected on this machine.
fn discover() -> Result<Found> {
    let machine = Machine::look()?;
    let mut found = Found::of(&machine);
    for tool in TOOLS {
        (tool.discover)(&machine, &mut found);
    }
    Ok(found)
}

/// If there is a terminal and a choice, asks which offer to take, and runs it.
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
    let command = Arguments::augment_args(Command::new("setup").no_binary_name(true));
    set_up(&Arguments::from_arg_matches(&command.try_get_matches_from(&offer.words)?)?)
}
