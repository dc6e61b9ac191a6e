//! `keyfob exec`: runs a program with tokens in its environment, for programs that can get one in no other way.

use crate::acquire::{Requester, TokenWant, acquire};
use crate::config::{Profile, Selection};
use crate::failure::{Exit, Failure};
use crate::providers::TokenKind;
use crate::secret::Secret;
use anyhow::Result;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Exit code, as in a shell, if the program exists but cannot be run.
const NOT_RUN: u8 = 126;
/// Exit code, as in a shell, if the program does not exist.
const NOT_FOUND: u8 = 127;

/// `keyfob exec`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The tokens are in the program's environment, and so in that of what it starts; they are not on its command line. It gets \
them once: a program that runs longer than a token lives needs another way. The exit code is the program's own, or 126 or \
127, as in a shell, if it cannot be run.

Examples:
  keyfob exec --env NPM_TOKEN=lab -- npm publish
  keyfob exec --env TF_TOKEN_app_example_com=lab --env VAULT_TOKEN=vault -- terraform apply")]
pub struct Arguments {
    /// Variable, and the profile whose token it gets; repeat for more
    #[arg(long, value_name = "NAME=PROFILE", required = true, value_parser = variable)]
    env: Vec<(String, String)>,
    /// Program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Parses `NAME=PROFILE`.
fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, profile) = text.split_once('=').unwrap_or((text, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
        return Err("the name of a variable is letters, digits and `_`");
    }
    if profile.is_empty() {
        return Err("NAME=PROFILE: which profile's token?");
    }
    Ok((name.to_owned(), profile.to_owned()))
}

/// Gets the tokens, and replaces this process by the program. Returns an exit code only if the program could not be
/// run.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let Some((program, words)) = arguments.command.split_first() else { return Ok(NOT_FOUND) };
    let mut command = Command::new(program);
    command.args(words);
    for (name, profile) in &arguments.env {
        command.env(name, token(profile)?.expose());
    }
    let error = command.exec();
    let what = format!("could not run {}: {error}", program.to_string_lossy());
    let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
    eprint!("{}", Failure::new(Exit::Failed, what).lines());
    Ok(code)
}

fn token(profile: &str) -> Result<Secret> {
    let profile = Profile::select(&Selection { profile: Some(profile.to_owned()), ..Selection::default() })?;
    let kind = profile.token_kind.unwrap_or(TokenKind::Access);
    Ok(acquire(&TokenWant::of(&profile, kind, Requester::Program("keyfob exec")))?.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_and_a_profile_are_told_apart() {
        let of = |name: &str, profile: &str| Ok((name.to_owned(), profile.to_owned()));
        assert_eq!(variable("NPM_TOKEN=lab"), of("NPM_TOKEN", "lab"));
        assert_eq!(variable("_a=b=c"), of("_a", "b=c"));
        for wrong in ["", "A", "A=", "=lab", "1A=lab", "A B=lab", "A-B=lab"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }
}
