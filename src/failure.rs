//! What went wrong and what to do next: every way to fail, as one message, one hint and one exit code.
//!
//! Functions return [`anyhow::Result`], so that each layer adds where it was (`could not …`). The failure that
//! decides the exit code is a [`Failure`] somewhere in that chain; anything else, an I/O error for instance, is exit 1.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The exit codes, as README documents them. 0, answered, is not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// Something failed that no other code names.
    Failed = 1,
    /// The command line, the environment or the configuration file is wrong.
    Usage = 2,
    /// A person has to sign in, and there is no terminal to say so on.
    SignInNeeded = 3,
    /// The sign-in was refused, has expired, or was refused a moment ago.
    Refused = 4,
    /// The identity provider is out of reach, or answers with trouble of its own.
    Unreachable = 5,
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// A command that a shell runs as it stands.
    Command(String),
    /// A sentence for a person.
    Words(String),
}

impl Hint {
    /// The command or the sentence, without saying which it is.
    pub fn text(&self) -> &str {
        match self {
            Self::Command(text) | Self::Words(text) => text,
        }
    }

    /// The command, if it is one.
    pub fn command(&self) -> Option<&str> {
        match self {
            Self::Command(command) => Some(command),
            Self::Words(_) => None,
        }
    }
}

/// Text is words, unless it is said to be a command.
impl<T: Into<String>> From<T> for Hint {
    fn from(words: T) -> Self {
        Self::Words(words.into())
    }
}

/// A failure: the exit code, what went wrong, and what to do about it. Callers render it in their own protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What went wrong, in one line, without the leading `error:`.
    pub message: String,
    /// What to do about it, in one line, without the leading `hint:`.
    pub hint: Option<Hint>,
}

impl Failure {
    /// A failure with this exit code and message, and no hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A mistake in the command line or the configuration: exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The failure in an error's chain, with all that was said around it; any other error is exit 1.
    pub fn of(error: &anyhow::Error) -> Self {
        let failure = error.downcast_ref::<Self>();
        let hint = failure.and_then(|failure| failure.hint.clone());
        Self { exit: failure.map_or(Exit::Failed, |f| f.exit), message: format!("{error:#}"), hint }
    }

    /// The same failure with a sentence that says what to do.
    #[must_use]
    pub fn hint(mut self, words: impl Into<String>) -> Self {
        self.hint = Some(Hint::Words(words.into()));
        self
    }

    /// The same failure with a command that a shell runs as it stands.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.hint = Some(Hint::Command(command.into()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A failure as the person sees it: at most two lines, and the code to exit with. As an error it is the last word: a
/// caller whose protocol prescribes how failures read and end fails with its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `error: …` and perhaps `hint: …`, each ended by a newline.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Report {}

/// Turns any error into its report. The one place where a failure becomes text and exit code.
pub fn report(error: &anyhow::Error) -> Report {
    if let Some(report) = error.downcast_ref::<Report>() {
        return report.clone();
    }
    let failure = error.downcast_ref::<Failure>();
    // One line whatever the causes hold: some of them quote files and servers.
    let mut text = format!("error: {}\n", crate::text::one_line(&format!("{error:#}")));
    if let Some(hint) = failure.and_then(|f| f.hint.as_ref()) {
        text.push_str("hint: ");
        text.push_str(&crate::text::one_line(hint.text()));
        text.push('\n');
    }
    Report { text, code: failure.map_or(Exit::Failed, |f| f.exit) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_failure_below_two_contexts_still_decides_exit_code_and_hint() {
        let inner = Failure::new(Exit::Unreachable, "connection refused").hint("check the network");
        let error =
            Err::<(), _>(inner).context("could not refresh").context("could not get a token for lab").unwrap_err();
        assert_eq!(
            report(&error),
            Report {
                text: "error: could not get a token for lab: could not refresh: connection refused\n\
                       hint: check the network\n"
                    .into(),
                code: 5
            }
        );
    }

    #[test]
    fn a_report_is_the_last_word() {
        let said = Report { text: "ERROR: Please run 'az login'\nand more\n".into(), code: 1 };
        assert_eq!(report(&said.clone().into()), said);
    }

    #[test]
    fn any_other_error_is_exit_1_on_one_line() {
        let error = anyhow::anyhow!("line one\nline \u{1b}[31mtwo");
        assert_eq!(report(&error), Report { text: "error: line one line [31mtwo\n".into(), code: 1 });
    }
}
