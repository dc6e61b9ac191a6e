//! The command line: clap definitions, nothing else. Help, errors, completions and the man page all come from here.
//!
//! A subcommand is defined only once it is known to be the one that was asked for (`defer`), since a process that
//! answers from the cache spends its time starting.

use crate::callers::{kubernetes, token};
use crate::commands::{login, logout, status};
use crate::config::{KEYS, Origin, Selection, Settings, Shape};
use crate::failure::Failure;
use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
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

/// The profile keys as flags, with `--profile` beside them.
#[derive(Clone, Debug, Default)]
pub struct ProfileArguments(pub Selection);

/// The profile keys as flags, for commands that take the profile's name as an argument.
#[derive(Clone, Debug, Default)]
pub struct ProfileFlags(pub Settings);

impl Args for ProfileFlags {
    fn augment_args(command: Command) -> Command {
        command.args(KEYS.iter().filter_map(|key| {
            let arg = Arg::new(key.name)
                .long(key.flag?)
                .value_name(key.value)
                .help(key.help)
                .help_heading("Profile keys (over those in config.toml)")
                .hide_short_help(!matches!(key.name, "issuer" | "client-id" | "scopes" | "provider"));
            Some(match key.shape {
                Shape::Text | Shape::Seconds => arg,
                Shape::Word(words) => arg.value_parser(PossibleValuesParser::new(words)),
                Shape::List | Shape::Pairs => arg.action(ArgAction::Append),
            })
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProfileFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS {
            let Some(flag) = key.flag else { continue };
            if let Some(values) = matches.get_many::<String>(key.name) {
                self.0
                    .set(key, values.cloned().collect(), Origin::Flag(flag))
                    .map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why + "\n"))?;
            }
        }
        Ok(())
    }
}

impl Args for ProfileArguments {
    fn augment_args(command: Command) -> Command {
        let profile = Arg::new("profile")
            .long("profile")
            .short('p')
            .value_name("NAME")
            .help("Profile to use [default: KEYFOB_PROFILE, default-profile, or the only one]");
        ProfileFlags::augment_args(command.arg(profile))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProfileArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut arguments = Self::default();
        arguments.update_from_arg_matches(matches)?;
        Ok(arguments)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.profile = matches.get_one::<String>("profile").cloned();
        self.0.flags = ProfileFlags::from_arg_matches(matches)?.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound_down_to_every_subcommand() {
        super::command().debug_assert();
    }
}
