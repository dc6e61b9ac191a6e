//! The command line: which subcommand is wanted, and the definitions of all subcommands for clap. Help, errors,
//! completions and the man pages come from here.
//!
//! A subcommand's arguments are defined only when it is the one that is wanted (`defer`), and a caller's plain command
//! line is answered without clap at all, because a process that answers from the cache spends most of its time on
//! starting. A link with a caller's own name (`git-credential-keyfob`) stands for that subcommand.

#[cfg(debug_assertions)]
mod hints;

use crate::acquire::worker;
use crate::arguments::{Arguments, define};
use crate::callers::{CALLERS, Caller};
use crate::commands::{completions, doctor, exec, folded, login, logout, setup, status, store};
use crate::failure::{Exit, Failure, Hint};
use crate::prompt;
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

/// A command for people: its name, its description, its arguments, and the function that runs it.
struct Subcommand {
    name: &'static str,
    about: &'static str,
    define: fn(Command) -> Command,
    run: fn(&ArgMatches) -> Result<u8>,
}

/// Every subcommand that is not a caller. A new one is one entry here.
const COMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "login",
        about: "Sign in, or confirm that the session is good",
        define: login::Arguments::augment_args,
        run: |m| login::run(&login::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "logout",
        about: "Revoke a session at the provider and delete it here",
        define: logout::Arguments::augment_args,
        run: |m| logout::run(&logout::Arguments::from_arg_matches(m)?).map(|()| 0),
    },
    Subcommand {
        name: "status",
        about: "Show the sessions there are; never a secret",
        define: status::Arguments::augment_args,
        run: |m| status::run(&status::Arguments::from_arg_matches(m)?).map(|()| 0),
    },
    Subcommand {
        name: "doctor",
        about: "Look for what is wrong, and say what to do about it",
        define: doctor::Arguments::augment_args,
        run: |m| doctor::run(&doctor::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "setup",
        about: "Connect a tool to a profile, or disconnect it",
        define: setup::Arguments::augment_args,
        run: |m| setup::set_up(&setup::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "store",
        about: "Say how sessions are kept, or seal them",
        define: store::Arguments::augment_args,
        run: |m| store::run(&store::Arguments::from_arg_matches(m)?).map(|()| 0),
    },
    Subcommand {
        name: "unlock",
        about: "Bring the key of sealed sessions back",
        define: store::Unlock::augment_args,
        run: |m| store::unlock(&store::Unlock::from_arg_matches(m)?).map(|()| 0),
    },
    Subcommand {
        name: "exec",
        about: "Run a program with tokens in its environment",
        define: exec::Arguments::augment_args,
        run: |m| exec::run(&exec::Arguments::from_arg_matches(m)?),
    },
    Subcommand {
        name: "completions",
        about: "Make a shell complete commands, flags and profiles",
        define: completions::Arguments::augment_args,
        run: |m| completions::run(&completions::Arguments::from_arg_matches(m)?, command()).map(|()| 0),
    },
];

const AFTER_HELP: &str = "\
Examples:
  keyfob setup                            what there is to connect here, and how
  keyfob setup kubernetes --profile lab --context lab
                                          have kubectl get its tokens from keyfob
  keyfob setup git --profile gh https://github.com
                                          have git get its tokens from keyfob
  keyfob login lab                        sign in to the profile `lab`
  keyfob token lab                        print its access token
  keyfob doctor                           look for what is wrong, and what to do about it

Profiles are read from keyfob/config.toml in your configuration folder; most of their keys are flags as well.

Exit codes: 0 answered, 1 failed, 2 usage or configuration, 3 sign-in needed and nobody to show it to, \
4 sign-in refused or expired, 5 identity provider out of reach.";

/// The output of `keyfob` without arguments: the commands that are needed first, for the smallest screen.
const START: &str = "\
keyfob hands OAuth tokens to kubectl, git and other tools: one sign-in for all.

  keyfob setup      what there is to connect here, and how
  keyfob login      sign in
  keyfob status     who is signed in, and for how long
  keyfob doctor     what is wrong, and what to do about it
  keyfob help       everything else
";

/// The definition of the whole command line.
pub fn command() -> Command {
    let callers = CALLERS.iter().map(|caller| {
        let command = Command::new(caller.name).about(caller.about);
        let command = command.defer(|command| match CALLERS.iter().find(|caller| caller.name == command.get_name()) {
            Some(caller) => define(&caller.grammar, command).after_help(caller.after_help),
            None => command,
        });
        if let Some(alias) = caller.alias { command.visible_alias(alias) } else { command }
    });
    let commands = COMMANDS.iter().map(|subcommand| {
        Command::new(subcommand.name).about(subcommand.about).defer(|command| {
            match COMMANDS.iter().find(|subcommand| subcommand.name == command.get_name()) {
                // Set `about` again, because clap overwrites it with the doc comment of the arguments.
                Some(subcommand) => (subcommand.define)(command).about(subcommand.about),
                None => command,
            }
        })
    });
    Command::new("keyfob")
        .version(env!("CARGO_PKG_VERSION"))
        .about("OAuth tokens for kubectl, git, docker, the Azure SDKs and scripts: one sign-in, one cache")
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("profile")
                .short('p')
                .long("profile")
                .value_name("NAME")
                .help("Profile to use: here, or behind the command"),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_long_args(false)
        .subcommands(callers)
        .subcommands(commands)
}

/// Runs a command line, which begins with the program's name, and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    #[cfg(debug_assertions)]
    let _ = crate::failure::EXAMINE.set(hints::examine);
    answered(arguments.into_iter().collect()).unwrap_or_else(|error| match error.downcast::<clap::Error>() {
        Ok(error) => mistake(&error).map_or_else(|| show(&error), |failure| fail(&failure)),
        Err(error) => fail(&Failure::of(&error)),
    })
}

fn answered(mut words: Vec<OsString>) -> Result<u8> {
    let program = words.first().and_then(|word| Path::new(word).file_stem());
    let linked = |caller: &Caller| caller.link.filter(|link| program == Some(link.name.as_ref()));
    if let Some((caller, link)) = CALLERS.iter().find_map(|caller| Some((caller, linked(caller)?))) {
        let Some(grammar) = &link.grammar else {
            words.insert(1, caller.name.into());
            return subcommand(words);
        };
        if let Some(arguments) = Arguments::read(grammar, &words[1..]) {
            return Ok(caller.answer(&arguments));
        }
        let command = define(grammar, Command::new(link.name).about(caller.about));
        return Ok(caller.answer(&Arguments::of(grammar, &command.try_get_matches_from(words)?)));
    }
    subcommand(words)
}

/// Moves `-p NAME` from before a command to after it. Fails if the command takes no profile.
fn profile_behind(words: &mut [OsString]) -> Result<(), Failure> {
    let length = match words.get(1).and_then(|word| word.to_str()) {
        Some("-p" | "--profile") => 2,
        Some(word) if word.starts_with("--profile=") => 1,
        _ => return Ok(()),
    };
    let word = |at: usize| words.get(1 + length + at).and_then(|word| word.to_str());
    let Some(name) = word(0) else { return Ok(()) };
    let caller = CALLERS.iter().find(|caller| caller.name == name);
    let subcommand = COMMANDS.iter().find(|subcommand| subcommand.name == name);
    let takes_one = caller.is_none_or(|caller| caller.grammar.has("profile"))
        && subcommand.is_none_or(|subcommand| {
            let command = (subcommand.define)(Command::new(""));
            command.get_arguments().any(|argument| argument.get_long() == Some("profile"))
        });
    if !takes_one {
        let failure = Failure::usage(format!("`keyfob {name}` takes no profile"));
        return Err(if caller.is_some_and(|caller| caller.hosts) {
            failure.hint("[hosts] in config.toml says whose token each host gets")
        } else {
            failure.hint(format!("`keyfob {name} --help` says what there is"))
        });
    }
    // `setup` has its own subcommands.
    let command = 1 + usize::from(name == "setup" && word(1).is_some_and(|tool| !tool.starts_with('-')));
    words[1..=length + command].rotate_right(command);
    Ok(())
}

fn subcommand(mut words: Vec<OsString>) -> Result<u8> {
    if words.len() <= 1 {
        let _ = std::io::stderr().write_all(START.as_bytes());
        return Ok(Exit::Usage as u8);
    }
    profile_behind(&mut words)?;
    let asked = words.get(1).and_then(|word| word.to_str());
    if asked == Some(worker::COMMAND) {
        return Ok(worker::run());
    }
    if let Some(caller) = CALLERS.iter().find(|c| asked.is_some_and(|a| a == c.name || Some(a) == c.alias))
        && let Some(arguments) = Arguments::read(&caller.grammar, &words[2..])
    {
        return Ok(caller.answer(&arguments));
    }
    let matches = command().try_get_matches_from(words)?;
    let Some((name, matches)) = matches.subcommand() else { return Ok(0) };
    match (CALLERS.iter().find(|c| c.name == name), COMMANDS.iter().find(|c| c.name == name)) {
        (Some(caller), _) => Ok(caller.answer(&Arguments::of(&caller.grammar, matches))),
        (None, Some(command)) => (command.run)(matches),
        (None, None) => Ok(0),
    }
}

fn fail(failure: &Failure) -> u8 {
    let _ = std::io::stderr().write_all(failure.lines().as_bytes());
    failure.exit as u8
}

/// Converts a mistake on the command line to a failure of two lines; `None` for what clap prints itself, such as help.
fn mistake(error: &clap::Error) -> Option<Failure> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        return None;
    }
    // clap's text: first what is wrong, then possibly tips, then the usage, separated by empty lines.
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = paragraphs.next().unwrap_or_default();
    let (mut tip, mut usage) = (None, None);
    for paragraph in paragraphs {
        if paragraph.starts_with("tip: to pass '-") {
            // Skip this tip: the person meant a flag, which this command does not have.
        } else if let Some(words) = paragraph.strip_prefix("tip: ") {
            tip.get_or_insert_with(|| words.to_owned());
        } else if let Some(words) = paragraph.strip_prefix("Usage: ") {
            // The command's name ends where its arguments begin.
            let command = words.split(' ').take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
            usage = Some(format!("`{} --help` says what there is", command.collect::<Vec<_>>().join(" ")));
        }
    }
    let failure = Failure::usage(what.strip_prefix("error: ").unwrap_or(&what));
    Some(Failure { hint: tip.or(usage).map(Hint::from), ..failure })
}

/// Prints help or the version, wrapped to a readable width, and returns clap's exit code. It is not an error if the
/// reader has gone.
fn show(error: &clap::Error) -> u8 {
    let text = error.to_string();
    let width = prompt::stdout().map_or(80, |terminal| terminal.width.min(100));
    let text = folded(&text, width);
    let _ = if error.use_stderr() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    u8::try_from(error.exit_code()).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_down_to_every_subcommand() {
        command().debug_assert();
    }

    #[test]
    fn a_subcommand_says_of_itself_what_the_list_says_of_it() {
        let mut command = command();
        command.build();
        for subcommand in COMMANDS {
            let about = command.find_subcommand(subcommand.name).and_then(Command::get_about).unwrap();
            assert_eq!(about.to_string(), subcommand.about);
        }
    }
}
