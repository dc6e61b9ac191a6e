//! `keyfob setup aws`: `credential_process` of one profile in AWS's own configuration.

use super::findings::Findings;
use super::found::{Found, Machine};
use super::hosted::{home, is_keyfob, text};
use super::profile::{Chosen, Config, Wanted};
use super::{Asked, Job, Tool, ini, is_program, own_program};
use crate::change::plan::{Plan, line};
use crate::change::undo::Undo;
use crate::config::{File, Profile};
use crate::failure::{Exit, Failure, Hint};
use crate::program::{self, Ran};
use crate::providers::TokenKind;
use crate::text::{clean, shell_quoted};
use anyhow::Result;
use clap::{Args, FromArgMatches};
use std::path::{Path, PathBuf};

/// `keyfob setup aws`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The role has to trust the profile's issuer, with its client id as the audience.

Examples:
  keyfob setup aws --profile lab --role arn:aws:iam::123456789012:role/dev dev
  keyfob setup aws --profile aws-dev dev   where keyfob's profile has a role of its own
  keyfob setup aws --undo dev")]
struct Arguments {
    /// AWS's own profile, which the AWS CLI is given by --profile
    #[arg(value_name = "AWS-PROFILE")]
    name: String,
    /// Role whose keys are wanted
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Region that is asked for them [default: us-east-1]
    #[arg(long, value_name = "REGION", requires = "role")]
    region: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// AWS.
pub(super) const TOOL: Tool = Tool {
    name: NAME,
    alias: None,
    about: "Have the AWS CLI and SDKs ask keyfob for a role's keys",
    define: Arguments::augment_args,
    connect: |matches| connect(&Arguments::from_arg_matches(matches)?),
    disconnect: |matches| disconnect(&Arguments::from_arg_matches(matches)?),
    discover: |_: &Machine, _: &mut Found| {},
    check,
};

const NAME: &str = "aws";
/// The name of this setup in config.toml.
const BY: &str = "setup aws";
const KEY: &str = "credential_process";

/// Connects an AWS profile.
fn connect(arguments: &Arguments) -> Result<Job> {
    let section = section(&arguments.name)?;
    let mut config = Config::load()?;
    let chosen = arguments.wanted.in_config(&mut config, BY, &[])?;
    let own = own_program()?.to_string_lossy().into_owned();
    let mut words = vec![own, "aws".to_owned(), "--profile".to_owned(), chosen.title().to_owned()];
    for (flag, value) in [("--role", &arguments.role), ("--region", &arguments.region)] {
        words.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    let (path, said) = (file()?, format!("{KEY} = {}", line(&words)));
    let before = text(&path)?;
    let old = before.as_deref().unwrap_or_default();
    let mut plan = Plan::default();
    match ini::find(old, &section, KEY) {
        Some((_, there)) if there == line(&words) => config.into_plan(&mut plan),
        Some((_, there)) => {
            let what = format!("AWS runs {:?} for {section} already, in {}", clean(there), path.display());
            let first = format!("first: keyfob setup aws --undo {}", shell_quoted(&arguments.name));
            let hint = if runs_keyfob(there) { first } else { "remove that first".to_owned() };
            return Err(Failure::usage(what).hint(hint).into());
        }
        None => {
            let setup = config.setup(
                &plan,
                (NAME, &arguments.name),
                Some(chosen.title()),
                vec![path.clone()],
                |_: Option<()>| (),
            )?;
            plan.setups.push(setup);
            config.into_plan(&mut plan);
            plan.edit_quietly(&path, before.as_deref(), &ini::with(old, &section, &said), "gets keyfob as a helper");
        }
    }
    plan.lines.push((path.display().to_string(), format!("{section}\n{said}\n")));
    let title = format!("Connect AWS's profile {} with the profile {}", clean(&arguments.name), chosen.title());
    Ok(Job { asked: vec![asked(&arguments.name, &chosen, words)], ..Job::new(title, plan) })
}

/// Disconnects an AWS profile from keyfob.
fn disconnect(arguments: &Arguments) -> Result<Job> {
    let (section, name) = (section(&arguments.name)?, &arguments.name);
    let mut plan = Plan::default();
    let mut config = Config::load()?;
    let undo = Undo::of(|setup| setup.tool == NAME && setup.name == *name)?;
    let profiles: Vec<String> = undo.undone.iter().filter_map(|setup| setup.profile.clone()).collect();
    let released: Vec<Profile> = config.release(profiles.iter().map(String::as_str), BY, &undo, &mut plan)?;
    config.take_back(&undo, &mut plan)?;
    let path = file()?;
    undo.file(&path, &mut plan, |plan| {
        let before = text(&path)?.unwrap_or_default();
        if ini::find(&before, &section, KEY).is_some_and(|(_, there)| runs_keyfob(there)) {
            let after = ini::without(&before, &section, KEY);
            plan.edit_quietly(&path, Some(&before), &after, "no longer has keyfob as a helper");
        }
        Ok(())
    })?;
    undo.finish(&mut plan);
    let done = format!("AWS's profile {} no longer asks keyfob.\n", clean(name));
    let title = format!("Disconnect AWS's profile {} from keyfob", clean(name));
    Ok(Job { done, released, ..Job::new(title, plan) })
}

/// AWS's configuration file for this user.
fn file() -> Result<PathBuf> {
    match std::env::var_os("AWS_CONFIG_FILE").filter(|file| !file.is_empty()) {
        Some(file) => Ok(std::path::absolute(file)?),
        None => Ok(home()?.join(".aws/config")),
    }
}

/// The section header of an AWS profile.
fn section(name: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@/+".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Failure::usage(format!("{name:?} is no name of a profile of AWS")));
    }
    Ok(if name == "default" { "[default]".to_owned() } else { format!("[profile {name}]") })
}

/// The program of a command, which AWS splits like a shell.
fn program_of(command: &str) -> &str {
    match command.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap_or_default(),
        None => command.split(' ').next().unwrap_or_default(),
    }
}

fn runs_keyfob(command: &str) -> bool {
    is_keyfob(program_of(command)) && command.contains(" aws ")
}

/// Checks what AWS runs.
fn check(findings: &mut Findings, _: &File, only: Option<&str>) {
    let Ok(Some(text)) = file().and_then(|path| text(&path)) else { return };
    let sections = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    for name in sections.map(|section| section.strip_prefix("profile ").unwrap_or(section).trim()) {
        let Ok(section) = section(name) else { continue };
        let Some((_, command)) = ini::find(&text, &section, KEY).filter(|(_, command)| runs_keyfob(command)) else {
            continue;
        };
        let profile = command.split(" --profile ").nth(1).map(program_of).unwrap_or_default();
        if only.is_some_and(|only| only != profile) {
            continue;
        }
        let (subject, program) = (format!("aws {name}"), program_of(command));
        if is_program(program, Path::new("/")) {
            findings.ok(&subject, format!("AWS runs {} for the profile {:?}", clean(program), clean(profile)));
        } else {
            let undo = format!("keyfob setup aws --undo {}", shell_quoted(name));
            findings.error(&subject, format!("AWS runs {}, which does not exist", clean(program)), Hint::Command(undo));
        }
    }
}

/// What AWS will ask keyfob for.
fn asked(name: &str, chosen: &Chosen, words: Vec<String>) -> Asked {
    let what = format!("AWS asks keyfob for its profile {}", clean(name));
    let has_role = words.iter().any(|word| word == "--role");
    Asked {
        chosen: chosen.clone(),
        // AWS needs the ID token, unless the profile's own tokens are AWS keys.
        kind: chosen.profile.token_kind.unwrap_or(if has_role { TokenKind::Id } else { TokenKind::Access }),
        unanswered: format!("{what}, but is not answered"),
        what: what.clone(),
        prompts: None,
        attempt: Box::new(move || {
            let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let Ran { ok, stderr, .. } = program::run(Path::new(&words[0]), &arguments, &[], "", Some(Path::new("/")))?;
            if ok {
                return Ok(format!("{what}, and is answered.\n"));
            }
            Err(Failure::new(Exit::Failed, format!("{what}, but is not answered: {}", clean(&stderr))).into())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keyfobs_own_command_is_ours() {
        for (command, ours) in [
            ("/x/keyfob aws --profile lab", true),
            ("'/a b/keyfob' aws --profile lab", true),
            ("/x/keyfob token --profile lab", false),
            ("aws-vault exec aws keyfob", false),
            ("", false),
        ] {
            assert_eq!(runs_keyfob(command), ours, "{command}");
        }
        assert_eq!(section("default").unwrap(), "[default]");
        assert_eq!(section("dev").unwrap(), "[profile dev]");
        assert!(section("a]\n[b").is_err());
    }
}
