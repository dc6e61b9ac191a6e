//! The keys of a profile as command-line arguments, made from the table in `config`: every caller and command takes
//! them, and none defines one itself.

use crate::config::{KEYS, Origin, Selection, Settings, Shape};
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

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
