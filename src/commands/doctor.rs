//! `keyfob doctor`: checks everything that an answer depends on, and reports each as ok, warn or error.
//!
//! It changes nothing, asks nobody to sign in, and prints no secret. `files` checks this machine, `provider` checks the
//! network; what tools run is checked by the files in `tools` that connect them.

mod files;
mod provider;

use crate::commands::print;
use crate::failure::Exit;
use crate::prompt;
use crate::tools::TOOLS;
use crate::tools::findings::{Findings, Level};
use anyhow::Result;

/// `keyfob doctor`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A warning or an error is followed by what to do about it: a command after `$`, words after `->`.
The exit code is 1 if there is an error, else 0.

Examples:
  keyfob doctor
  keyfob doctor lab
  keyfob doctor --offline
  keyfob doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .message'")]
pub struct Arguments {
    /// Look at this profile alone, and at what asks for it
    profile: Option<String>,
    /// The same as PROFILE
    #[arg(long = "profile", short = 'p', value_name = "NAME", conflicts_with = "profile")]
    named: Option<String>,
    /// Ask no provider
    #[arg(long)]
    offline: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// Runs all checks, prints the findings, and returns the exit code.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let mut findings = Findings::default();
    let only = arguments.profile.as_deref().or(arguments.named.as_deref());
    let (file, profiles) = files::configuration(&mut findings, only)?;
    let all = file.as_ref().is_some_and(|file| file.profiles.len() == profiles.len());
    files::cache(&mut findings, &profiles, all);
    if !arguments.offline {
        provider::way(&mut findings);
        for profile in &profiles {
            provider::profile(&mut findings, profile);
        }
    }
    if let Some(file) = file {
        for tool in TOOLS {
            (tool.check)(&mut findings, &file, only);
        }
    }
    let text =
        if arguments.json { serde_json::to_string_pretty(&findings)? + "\n" } else { findings.text(prompt::stdout()) };
    print(&text)?;
    Ok(if findings.count(Level::Error) > 0 { Exit::Failed as u8 } else { 0 })
}
