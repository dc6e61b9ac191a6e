//! `keyfob doctor`: looks at everything that an answer depends on, and says what is good, doubtful or bad.
//!
//! Nothing is changed, nobody is asked to sign in, and no secret is printed. `files` looks at what is on this machine,
//! `provider` at what is on the network; what git, kubectl and az run is known to the files that set them up.

mod files;
mod provider;

use crate::commands::{print, setup};
use crate::failure::{Failure, Report};
use crate::text::clean;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write;

/// `keyfob doctor`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exits with 1 if anything is bad, else with 0.

Examples:
  keyfob doctor
  keyfob doctor --profile lab
  keyfob doctor --offline
  keyfob doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .message'")]
pub struct Arguments {
    /// Look at this profile alone
    #[arg(long, short, value_name = "NAME")]
    profile: Option<String>,
    /// Ask no provider
    #[arg(long)]
    offline: bool,
    /// Print one JSON object, for programs: `findings`, each with `level` (ok, doubt, bad), `subject`, `message`, `remedy`
    #[arg(long)]
    json: bool,
}

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Doubt,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at.
    subject: String,
    /// How it is.
    message: String,
    /// What to do about it.
    remedy: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    pub(super) fn ok(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Level::Ok, subject.into(), &message.into(), None);
    }

    pub(super) fn doubt(&mut self, subject: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Doubt, subject.to_owned(), &message.into(), Some(remedy.into()));
    }

    pub(super) fn bad(&mut self, subject: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Bad, subject.to_owned(), &message.into(), Some(remedy.into()));
    }

    /// What kept something from working, with its own hint.
    pub(super) fn failure(&mut self, subject: &str, error: &anyhow::Error) {
        let remedy = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.clone());
        self.add(Level::Bad, subject.to_owned(), &format!("{error:#}"), remedy);
    }

    fn add(&mut self, level: Level, subject: String, message: &str, remedy: Option<String>) {
        self.findings.push(Finding { level, subject, message: clean(message), remedy });
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let width = self.findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or_default();
        for Finding { level, subject, message, remedy } in &self.findings {
            let level = match level {
                Level::Ok => "ok",
                Level::Doubt => "doubt",
                Level::Bad => "bad",
            };
            let _ = writeln!(text, "{level:5}  {subject:width$}  {message}");
            if let Some(remedy) = remedy {
                let _ = writeln!(text, "       {:width$}  -> {remedy}", "");
            }
        }
        text
    }
}

/// Looks, and says what it saw.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut findings = Findings::default();
    let (file, profiles) = files::configuration(&mut findings, arguments.profile.as_deref())?;
    files::cache(&mut findings, &profiles);
    if !arguments.offline {
        provider::way(&mut findings);
        for profile in &profiles {
            provider::profile(&mut findings, profile);
        }
    }
    setup::examine(&mut findings, &file);
    let text = if arguments.json { serde_json::to_string_pretty(&findings)? + "\n" } else { findings.text() };
    print(&text)?;
    if findings.findings.iter().any(|finding| finding.level == Level::Bad) {
        return Err(Report { text: String::new(), code: 1 }.into());
    }
    Ok(())
}
