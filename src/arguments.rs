//! Arguments as data: a caller's flags are rows of a table, among them the profile keys.
//!
//! The same rows are parsed in two ways. For a cached answer, [`Arguments::read`] parses them directly from the command
//! line, because building clap's definitions takes a fifth of the whole answer's time. Whatever it does not understand
//! at once, e.g. `--help` and mistakes, is left to clap with the definitions from [`define`]. So there is one syntax,
//! and one place for help, errors, completions and the man pages.

use crate::config::{KEYS, Key, Origin, Selection, Settings, Shape};
use crate::failure::Failure;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::ffi::OsString;

/// What may follow a caller's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// A profile's name, or nothing. The same as `--profile`, which is among the flags ([`PROFILE`]).
    Profile,
    /// One word; its name and description are for help.
    Word(&'static str, &'static str),
    /// The whole command line of another program, including flags; its name and description are for help.
    Line(&'static str, &'static str),
}

/// The arguments that a caller accepts.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    /// The tables of flags.
    pub flags: &'static [&'static [Key]],
    /// What may follow the flags.
    pub rest: Rest,
}

/// clap's id of what follows the flags.
const REST: &str = "rest";

/// `--profile`, for callers that accept every profile.
pub const PROFILE: &[Key] = &[Key {
    name: "profile",
    flag: Some("profile"),
    short: Some('p'),
    value: "NAME",
    shape: Shape::Text,
    help: "Profile to use [default: KEYFOB_PROFILE, default-profile, or the only one]",
}];

impl Grammar {
    /// Whether the key of this name is among the flags.
    pub fn has(&self, name: &str) -> bool {
        self.keys().any(|key| key.name == name)
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.flags.iter().flat_map(|table| table.iter())
    }
}

/// A caller's parsed arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    flags: Vec<(&'static Key, Vec<String>)>,
    rest: Vec<String>,
}

impl Arguments {
    /// Parses the words after a caller's name; `None` if they do not plainly follow the grammar, so that clap must
    /// parse them.
    pub fn read(grammar: &Grammar, words: &[OsString]) -> Option<Self> {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let word = word.to_str()?;
            let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
            let named = |key: &&Key| match flag.strip_prefix("--") {
                Some(long) => key.flag == Some(long),
                None => {
                    value.is_none()
                        && flag.strip_prefix('-').is_some_and(|c| key.short.is_some_and(|s| c.chars().eq([s])))
                }
            };
            let Some(key) = grammar.keys().find(named) else {
                match grammar.rest {
                    Rest::Profile if !word.starts_with('-') && !word.is_empty() && read.one("profile").is_none() => {
                        read.flags.push((&PROFILE[0], vec![word.to_owned()]));
                    }
                    Rest::Word(..) if !word.starts_with('-') && read.rest.is_empty() => read.rest.push(word.to_owned()),
                    Rest::Line(..) if !matches!(word, "--" | "-h" | "--help") => {
                        read.rest.push(word.to_owned());
                        for word in words.by_ref() {
                            read.rest.push(word.to_str()?.to_owned());
                        }
                    }
                    _ => return None,
                }
                continue;
            };
            let value = match value {
                Some(value) => value,
                None => words.next()?.to_str().filter(|value| *value == "-" || !value.starts_with('-'))?,
            };
            if value.is_empty() || matches!(key.shape, Shape::Word(known) if !known.contains(&value)) {
                return None;
            }
            match read.flags.iter_mut().find(|(known, _)| known.name == key.name) {
                Some((_, values)) if matches!(key.shape, Shape::List | Shape::Pairs) => values.push(value.to_owned()),
                Some(_) => return None,
                None => read.flags.push((key, vec![value.to_owned()])),
            }
        }
        (!matches!(grammar.rest, Rest::Word(..)) || !read.rest.is_empty()).then_some(read)
    }

    /// Converts what clap has parsed with [`define`].
    pub fn of(grammar: &Grammar, matches: &ArgMatches) -> Self {
        let values = |key: &'static Key| Some((key, matches.get_many::<String>(key.name)?.cloned().collect()));
        let mut flags: Vec<_> = grammar.keys().filter(|key| key.flag.is_some()).filter_map(values).collect();
        let mut rest: Vec<String> = match grammar.rest {
            Rest::Nothing => Vec::new(),
            _ => matches.get_many::<String>(REST).into_iter().flatten().cloned().collect(),
        };
        if grammar.rest == Rest::Profile && !rest.is_empty() {
            flags.push((&PROFILE[0], std::mem::take(&mut rest)));
        }
        Self { flags, rest }
    }

    /// The value of a flag, by the name of its key.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(key, _)| key.name == name).and_then(|(_, values)| values.first()).map(String::as_str)
    }

    /// The name of every flag followed by its values, in the order given.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().flat_map(|(key, values)| [key.name].into_iter().chain(values.iter().map(String::as_str)))
    }

    /// A flag other than `--profile` that was given, if any.
    pub fn beside_profile(&self) -> Option<&'static str> {
        self.flags.iter().find(|(key, _)| key.name != "profile").and_then(|(key, _)| key.flag)
    }

    /// The words that followed the flags.
    pub fn rest(&self) -> &[String] {
        &self.rest
    }

    /// The selection by `--profile` and the profile keys among the flags.
    pub fn selection(&self) -> Result<Selection, Failure> {
        let mut flags = Settings::default();
        for (key, values) in &self.flags {
            if let Some(flag) = key.flag.filter(|_| is_profile_key(key)) {
                flags.set(key, values.clone(), Origin::Flag(flag)).map_err(Failure::usage)?;
            }
        }
        Ok(Selection { profile: self.one("profile").map(str::to_owned), flags })
    }
}

/// Adds a grammar's arguments to clap's definition of a command.
pub fn define(grammar: &Grammar, command: Command) -> Command {
    let command = command.args(grammar.keys().filter_map(argument));
    match grammar.rest {
        Rest::Nothing => command,
        Rest::Profile => {
            let parser = NonEmptyStringValueParser::new();
            command.arg(
                Arg::new(REST)
                    .value_name("PROFILE")
                    .help("Profile to use, as by --profile")
                    .conflicts_with("profile")
                    .value_parser(parser),
            )
        }
        Rest::Word(name, help) => command.arg(Arg::new(REST).value_name(name).help(help).required(true)),
        Rest::Line(name, help) => {
            let words = Arg::new(REST).value_name(name).help(help).num_args(0..);
            command.arg(words.trailing_var_arg(true).allow_hyphen_values(true))
        }
    }
}

fn is_profile_key(key: &Key) -> bool {
    KEYS.iter().any(|k| k.name == key.name)
}

/// clap's definition of a key's flag; `None` if the key has none.
fn argument(key: &'static Key) -> Option<Arg> {
    let mut arg = Arg::new(key.name).long(key.flag?).value_name(key.value).help(key.help);
    if let Some(short) = key.short {
        arg = arg.short(short);
    }
    if is_profile_key(key) {
        let common = matches!(key.name, "issuer" | "client-id" | "scopes" | "provider");
        arg = arg.help_heading("Profile keys (over those in config.toml)").hide_short_help(!common);
    }
    Some(match key.shape {
        Shape::Text | Shape::Number => arg,
        Shape::Word(words) => arg.value_parser(PossibleValuesParser::new(words)),
        Shape::List | Shape::Pairs => arg.action(ArgAction::Append),
    })
}

/// The profile keys as flags, for commands that take the profile's name as an argument.
#[derive(Clone, Debug, Default)]
pub struct ProfileFlags(pub Settings);

const PROFILE_KEYS: Grammar = Grammar { flags: &[KEYS], rest: Rest::Nothing };

impl Args for ProfileFlags {
    fn augment_args(command: Command) -> Command {
        define(&PROFILE_KEYS, command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProfileFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let selection = Arguments::of(&PROFILE_KEYS, matches).selection();
        let flags = selection.map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why.message + "\n"))?;
        Ok(Self(flags.flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::CALLERS;
    use proptest::prelude::*;

    /// What clap parses from the same words, in the order of the table.
    fn by_clap(grammar: &Grammar, words: &[OsString]) -> Option<Arguments> {
        let command = define(grammar, Command::new("keyfob").no_binary_name(true).disable_version_flag(true));
        Some(Arguments::of(grammar, &command.try_get_matches_from(words).ok()?))
    }

    fn sorted(mut arguments: Arguments) -> Arguments {
        arguments.flags.sort_by_key(|(key, _)| key.name);
        arguments
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_callers_write_is_read_without_clap() {
        let kubernetes = CALLERS.iter().find(|caller| caller.name == "kubernetes").unwrap();
        let given = words(&["--issuer=https://a.example", "--scope", "a", "--scope=b", "-p", "x", "--exec-info", "-"]);
        let read = Arguments::read(&kubernetes.grammar, &given).unwrap();
        assert_eq!((read.one("issuer"), read.one("profile")), (Some("https://a.example"), Some("x")));
        assert_eq!((read.one("exec-info"), read.rest()), (Some("-"), &[][..]));
        assert_eq!(read.selection().unwrap().flags.items("scopes"), ["a", "b"]);
        assert_eq!(read.beside_profile(), Some("issuer"));
        let alone = Arguments::read(&kubernetes.grammar, &words(&["-p", "x"])).unwrap();
        assert_eq!(alone.beside_profile(), None);
        let by_position = Arguments::read(&kubernetes.grammar, &words(&["x"])).unwrap();
        assert_eq!(by_position, alone);
        let own = Arguments::read(&kubernetes.grammar, &words(&["--exec-info=-"])).unwrap();
        assert!(own.selection().unwrap().flags.is_empty(), "only a profile's keys are settings");
    }

    #[test]
    fn help_shows_the_flags_of_a_caller_and_the_common_ones_of_a_profile() {
        let mut command = define(&CALLERS[0].grammar, Command::new("keyfob").disable_help_flag(true));
        let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
        for (flag, is_short) in [("--exec-info", true), ("--issuer", true), ("--scope", true), ("--tenant", false)] {
            assert_eq!((short.contains(flag), long.contains(flag)), (is_short, true), "{flag}");
        }
        let heading = "Profile keys (over those in config.toml):";
        let (own, profile) = long.split_once(heading).unwrap();
        assert!(own.contains("--exec-info") && profile.contains("--tenant"), "{long}");
    }

    #[test]
    fn the_keys_of_a_profile_are_flags_of_a_command() {
        let read = |given: &[&str]| {
            let command = ProfileFlags::augment_args(Command::new("keyfob").no_binary_name(true));
            ProfileFlags::from_arg_matches(&command.try_get_matches_from(given).unwrap())
        };
        let flags = read(&["--issuer", "https://a.example", "--scope=a", "--scope=b"]).unwrap().0;
        assert_eq!(
            (flags.items("issuer"), flags.items("scopes")),
            (&["https://a.example".to_owned()][..], &["a".to_owned(), "b".to_owned()][..])
        );
        let error = read(&["--issuer", "nonsense"]).unwrap_err().to_string();
        assert!(error.contains("--issuer: `issuer` is not an absolute web address"), "{error}");
    }

    #[test]
    fn what_is_not_plainly_an_argument_is_left_to_clap() {
        let grammar = |name: &str| &CALLERS.iter().find(|caller| caller.name == name).unwrap().grammar;
        for (caller, given) in [
            ("kubernetes", &["--nonsense=x"][..]),
            ("kubernetes", &["word", "-p", "x"]),
            ("kubernetes", &["-p", "x", "word"]),
            ("google", &["word"]),
            ("kubernetes", &["-h"]),
            ("kubernetes", &["--issuer"]),
            ("kubernetes", &["--issuer="]),
            ("kubernetes", &["--issuer", "--scope"]),
            ("kubernetes", &["--api-version=v3"]),
            ("kubernetes", &["--issuer=a", "--issuer=b"]),
            ("kubernetes", &["-p=x"]),
            ("kubernetes", &["-px"]),
            ("kubernetes", &["--client-secret=s"]),
            ("git", &[]),
            ("git", &["get", "store"]),
            ("git", &["-x"]),
            ("az", &["--help"]),
            ("az", &["--"]),
        ] {
            assert_eq!(Arguments::read(grammar(caller), &words(given)), None, "{caller} {given:?}");
        }
        for (caller, given, rest) in [
            ("git", &["--profile=p", "get", "--host", "h"][..], &["get"][..]),
            ("token", &["x", "--format=raw"], &[]),
            ("az", &["-p", "x", "account", "show", "--help"], &["account", "show", "--help"]),
            ("az", &["--nonsense"], &["--nonsense"]),
            ("az", &[], &[]),
        ] {
            assert_eq!(Arguments::read(grammar(caller), &words(given)).unwrap().rest(), rest, "{caller} {given:?}");
        }
    }

    proptest! {
        /// A command line that is parsed without clap gives the same result with clap.
        #[test]
        fn the_two_readers_agree(
            caller in 0..CALLERS.len(),
            given in prop::collection::vec(
                prop_oneof![
                    "--(profile|issuer|scope|extra|format|api-version|exec-info|host|client-secret|nonsense)(=(v1|raw|x=y|-|--|)?)?",
                    "-(p|px|p=x|h|-|)",
                    "(get|v1|json|x=y|a b|)",
                ],
                0..6,
            ),
        ) {
            let grammar = &CALLERS[caller].grammar;
            let given: Vec<OsString> = given.into_iter().map(OsString::from).collect();
            if let Some(read) = Arguments::read(grammar, &given) {
                prop_assert_eq!(Some(sorted(read)), by_clap(grammar, &given).map(sorted));
            }
        }
    }
}
