//! The command line: clap definitions, nothing else. Help, errors, completions and the man page all come from here.
//!
//! A subcommand is defined only once it is known to be the one that was asked for (`defer`), since a process that
//! answers from the cache spends its time starting.

use crate::callers::{kubernetes, token};
use crate::commands::{login, logout, status};
use crate::failure::Failure;
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::ffi::OsString;

/// One subcommand: its name, what it is for, its arguments, and the function that runs it.
struct Subcommand {
    name: &'static str,
    alias: Option<&'static str>,
    about: &'static str,
    define: fn(Command) -> Command,
    run: fn(&ArgMatches) -> Result<()>,
}

/// Every subcommand; a new caller or command is one line here.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "kubernetes",
        alias: Some("kubectl"),
        about: "Answer kubectl and other Kubernetes clients (ExecCredential)",
        define: kubernetes::Arguments::augment_args,
        run: |m| kubernetes::run(&kubernetes::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "token",
        alias: None,
        about: "Print a token, for scripts and tools with a token command",
        define: token::Arguments::augment_args,
        run: |m| token::run(&token::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "login",
        alias: None,
        about: "Sign in, or confirm that the session is good",
        define: login::Arguments::augment_args,
        run: |m| login::run(&login::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "logout",
        alias: None,
        about: "Revoke a session at the provider and delete it here",
        define: logout::Arguments::augment_args,
        run: |m| logout::run(&logout::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "status",
        alias: None,
        about: "Show the sessions there are; never a secret",
        define: status::Arguments::augment_args,
        run: |m| status::run(&status::Arguments::from_arg_matches(m)?),
    },
];

const AFTER_HELP: &str = "\
Examples:
  keyfob login lab                        sign in to the profile `lab`
  keyfob token --profile lab              print its access token
  kubectl --user lab get pods             a kubeconfig user whose exec command is `keyfob kubernetes`

Profiles are read from keyfob/config.toml in your configuration folder; every key is also a flag.

Exit codes: 0 answered, 1 failed, 2 usage or configuration, 3 sign-in needed and nobody to show it to,
4 sign-in refused or expired, 5 identity provider out of reach.";

/// The whole command line.
pub fn command() -> Command {
    let subcommands = SUBCOMMANDS.iter().map(|s| {
        let command = Command::new(s.name).about(s.about).defer(s.define);
        if let Some(alias) = s.alias { command.visible_alias(alias) } else { command }
    });
    Command::new("keyfob")
        .version(env!("CARGO_PKG_VERSION"))
        .about("OAuth tokens for kubectl and scripts: one sign-in, one cache, no browser needed here")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_long_args(false)
        .subcommands(subcommands)
}

/// Parses a command line, the program's name first, and runs what it asks for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some((name, matches)) => SUBCOMMANDS.iter().find(|s| s.name == name).map_or(Ok(()), |s| (s.run)(matches)),
        None => Ok(()),
    }
}

/// A mistake on the command line as a failure of two lines; `None` for what clap prints by itself, such as help.
pub fn mistake(error: &clap::Error) -> Option<Failure> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        return None;
    }
    // What is wrong comes first; then perhaps tips, then the usage, each after an empty line.
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let what = paragraphs.next().unwrap_or_default();
    let tip = paragraphs.find_map(|p| p.strip_prefix("tip: "));
    let failure = Failure::usage(what.strip_prefix("error: ").unwrap_or(what));
    Some(failure.hint(tip.unwrap_or("`keyfob --help` and `keyfob COMMAND --help` say what there is")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound_down_to_every_subcommand() {
        super::command().debug_assert();
    }
}
