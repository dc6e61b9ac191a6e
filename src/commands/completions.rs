//! `keyfob completions`: scripts that make a shell complete keyfob's command line, and the answers to those scripts.
//!
//! A script passes the words up to the cursor and shows the candidates it gets back. So every shell completes what
//! [`clap`] accepts, and the profiles that are in `config.toml` now.

use crate::config::Profile;
use crate::providers::PRESETS;
use crate::text::one_line;
use anyhow::Result;
use clap::{Arg, Command, ValueEnum};
use std::ffi::OsString;

/// The answer for a word that is a file name, which the shell completes itself.
const FILE: &str = "<file>";

/// `keyfob completions`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  keyfob completions bash > ~/.local/share/bash-completion/completions/keyfob
  keyfob completions zsh > ~/.zfunc/_keyfob              with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  keyfob completions fish > ~/.config/fish/completions/keyfob.fish
  keyfob completions elvish >> ~/.config/elvish/rc.elv
  keyfob completions powershell >> $PROFILE

The scripts run `keyfob completions -- WORDS…`, which completes the last word. It prints one candidate a line, then a tab \
and its description; the line `<file>` alone asks the shell for the names of files.")]
pub struct Arguments {
    /// Print the script for this shell
    #[arg(required_unless_present = "words")]
    shell: Option<Shell>,
    /// Complete the last of these words
    #[arg(last = true, hide = true)]
    words: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../completions/keyfob.bash"),
            Self::Elvish => include_str!("../../completions/keyfob.elv"),
            Self::Fish => include_str!("../../completions/keyfob.fish"),
            Self::Powershell => include_str!("../../completions/_keyfob.ps1"),
            Self::Zsh => include_str!("../../completions/_keyfob"),
        }
    }
}

/// Prints a script, or answers one. `command` is the whole command line.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<()> {
    if let Some(shell) = arguments.shell {
        return super::print(shell.script());
    }
    command.build();
    let words: Vec<_> = arguments.words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let lines = candidates(&command, &words).into_iter().map(|c| match c.word.as_str() {
        FILE => format!("{FILE}\n"),
        word => format!("{word}\t{}\n", one_line(&c.what)),
    });
    super::print(&lines.collect::<String>())
}

/// A word that can be inserted, with a description.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    word: String,
    what: String,
}

impl Candidate {
    fn new(word: impl Into<String>, what: impl Into<String>) -> Self {
        Self { word: word.into(), what: what.into() }
    }
}

/// The candidates for the last of `words`, which follow the program's name.
fn candidates(root: &Command, words: &[&str]) -> Vec<Candidate> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let mut command = root;
    let mut position = 0;
    let mut value_of: Option<&Arg> = None;
    for word in before {
        // bash splits `--flag=value` into three words.
        if *word == "=" && value_of.is_some() {
            continue;
        }
        if value_of.take().is_some() {
            continue;
        }
        if let Some(flag) = word.strip_prefix("--") {
            value_of = long(command, flag).filter(|arg| takes_value(arg));
        } else if let Some(letter) = word.strip_prefix('-').and_then(|letters| letters.chars().last()) {
            let short = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
            value_of = short.filter(|arg| takes_value(arg));
        } else if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
            position = 0;
        } else {
            position += 1;
        }
    }
    // An open quote is not a part of the word.
    let last = last.trim_start_matches(['"', '\'']);
    let mut found = if let Some(arg) = value_of {
        values(arg)
    } else if let Some((flag, _)) = last.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
        let mut found = long(command, flag).filter(|arg| takes_value(arg)).map(values).unwrap_or_default();
        found.retain(|c| c.word != FILE);
        for candidate in &mut found {
            candidate.word = format!("--{flag}={}", candidate.word);
        }
        found
    } else if last.starts_with('-') {
        let flags = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let candidate = |arg: &Arg| Some(Candidate::new(format!("--{}", arg.get_long()?), help(arg)));
        flags.filter_map(candidate).collect()
    } else {
        let subcommands = command.get_subcommands().filter(|c| !c.is_hide_set());
        let about =
            |c: &Command| Candidate::new(c.get_name(), c.get_about().map(ToString::to_string).unwrap_or_default());
        let mut found: Vec<_> = subcommands.map(about).collect();
        let positional = command.get_positionals().filter(|arg| !arg.is_hide_set()).nth(position);
        found.extend(positional.map(values).unwrap_or_default());
        found
    };
    found.retain(|c| c.word == FILE || c.word.starts_with(last));
    found
}

fn long<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(flag))
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// All profiles. If the configuration cannot be read there are no candidates, and no place to report the error.
fn profiles() -> Vec<Candidate> {
    let all = Profile::all().unwrap_or_default().into_iter();
    all.map(|(name, profile)| Candidate::new(name, profile.map(|p| p.session.authority).unwrap_or_default())).collect()
}

/// All known values of an argument.
fn values(arg: &Arg) -> Vec<Candidate> {
    match arg.get_id().as_str() {
        "profile" | "named" => profiles(),
        _ if arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "PROFILE")) => profiles(),
        "provider" => PRESETS.iter().map(|preset| Candidate::new(preset.name, preset.title)).collect(),
        _ if arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "FILE")) => {
            vec![Candidate::new(FILE, "")]
        }
        _ => {
            let known = arg.get_possible_values();
            let known = known.iter().filter(|value| !value.is_hide_set());
            known
                .map(|value| {
                    Candidate::new(value.get_name(), value.get_help().map(ToString::to_string).unwrap_or_default())
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        let mut command = crate::cli::command();
        command.build();
        candidates(&command, line).into_iter().map(|candidate| candidate.word).collect()
    }

    #[test]
    fn subcommands_are_completed_with_what_they_are_for() {
        let mut command = crate::cli::command();
        command.build();
        let found = candidates(&command, &["logi"]);
        assert_eq!(found, [Candidate::new("login", "Sign in, or confirm that the session is good")]);
        assert_eq!(words(&["help", "sta"]), ["status"]);
        assert_eq!(words(&["setup", "g"]), ["git", "go"]);
    }

    #[test]
    fn flags_are_those_of_the_subcommand_by_its_other_name_too() {
        assert_eq!(words(&["kubectl", "--exec"]), ["--exec-info"]);
        assert_eq!(words(&["login", "--exec"]), [""; 0]);
        assert_eq!(words(&["login", "--issuer", "https://id.example", "--forc"]), ["--force"]);
    }

    #[test]
    fn values_are_completed_in_every_way_to_write_them() {
        for line in [
            &["token", "--format", "j"][..],
            &["token", "--issuer=https://a.example", "--format", "j"],
            &["token", "--format", "=", "j"],
            &["token", "-p", "--format", "--format", "\"j"],
        ] {
            assert_eq!(words(line), ["json"], "{line:?}");
        }
        assert_eq!(words(&["token", "--format=x"]), ["--format=xoauth2"]);
        assert_eq!(words(&["login", "--provider", "gitl"]), ["gitlab"]);
    }

    #[test]
    fn files_are_left_to_the_shell_and_nothing_is_made_up() {
        assert_eq!(words(&["token", "--ca-file", "c"]), [FILE]);
        for line in [&["token", "--issuer", ""][..], &["token", ""], &["status", "x", ""], &["no", "such", "--x"], &[]]
        {
            assert_eq!(words(line), [""; 0], "{line:?}");
        }
    }
}
