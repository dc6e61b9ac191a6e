//! Failures: what went wrong, what to do next, and the exit code.
//!
//! Functions return [`anyhow::Result`] if each layer adds what it was doing (`could not …`), and [`Failure`] if nothing
//! is added. The error that ends a command is converted to a [`Failure`] once, by [`Failure::of`], and then shown: to a
//! person by [`Failure::lines`], or in a caller's protocol.

use crate::text::one_line;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The exit codes, which `docs/reference.md` documents. 0 (answered) is not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// A failure that has no other code.
    Failed = 1,
    /// The command line, the environment or the configuration file is wrong.
    Usage = 2,
    /// A person has to sign in, and there is nowhere to say so.
    SignInNeeded = 3,
    /// The sign-in was refused or has expired, now or a moment ago.
    Refused = 4,
    /// The identity provider cannot be reached, or has a failure of its own.
    Unreachable = 5,
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// A command that can be run in a shell as it is.
    Command(String),
    /// A sentence for a person.
    Words(String),
}

/// Checks every hint that is shown in debug builds: a command in it must be valid. The command line sets this, because
/// only it knows which commands are valid.
#[cfg(debug_assertions)]
pub static EXAMINE: std::sync::OnceLock<fn(&Hint)> = std::sync::OnceLock::new();

impl Hint {
    /// The text of the command or sentence.
    pub fn text(&self) -> &str {
        #[cfg(debug_assertions)]
        if let Some(examine) = EXAMINE.get() {
            examine(self);
        }
        match self {
            Self::Command(text) | Self::Words(text) => text,
        }
    }

    /// The command, unless the hint is a sentence.
    pub fn command(&self) -> Option<&str> {
        Some(self.text()).filter(|_| matches!(self, Self::Command(_)))
    }
}

/// A text is a sentence, unless it is explicitly a command.
impl<T: Into<String>> From<T> for Hint {
    fn from(words: T) -> Self {
        Self::Words(words.into())
    }
}

/// A failure: the exit code, what went wrong, and the remedy. Callers show it in their own protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What went wrong, in one line, without the leading `error:`.
    pub message: String,
    /// The remedy, in one line, without the leading `hint:`.
    pub hint: Option<Hint>,
}

impl Failure {
    /// A failure with this exit code and message, and no hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A mistake in the command line or the configuration, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Converts an error. Exit code and hint are those of the failure in its chain; any other error, e.g. an I/O error,
    /// has exit code 1.
    pub fn of(error: &anyhow::Error) -> Self {
        let failure = error.downcast_ref::<Self>();
        let (exit, hint) = failure.map_or((Exit::Failed, None), |failure| (failure.exit, failure.hint.clone()));
        Self { exit, message: format!("{error:#}"), hint }
    }

    /// Adds a sentence that says what to do.
    #[must_use]
    pub fn hint(mut self, words: impl Into<String>) -> Self {
        self.hint = Some(Hint::Words(words.into()));
        self
    }

    /// Adds a command that can be run in a shell as it is.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.hint = Some(Hint::Command(command.into()));
        self
    }

    /// The command that signs in, if a sign-in is missing.
    pub fn sign_in(&self) -> Option<&str> {
        self.hint.as_ref().filter(|_| self.exit == Exit::SignInNeeded).map(Hint::text)
    }

    /// The text for a person: `error: …` and optionally `hint: …`, each ending with a newline. Each is one line, even
    /// if it quotes a file or server.
    pub fn lines(&self) -> String {
        let mut text = format!("error: {}\n", one_line(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str("hint: ");
            text.push_str(&one_line(hint.text()));
            text.push('\n');
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_failure_below_two_contexts_still_decides_exit_code_and_hint() {
        let inner = Failure::new(Exit::Unreachable, "connection refused").hint("check the network");
        let error =
            Err::<(), _>(inner).context("could not refresh").context("could not get a token for lab").unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(
            failure.lines(),
            "error: could not get a token for lab: could not refresh: connection refused\nhint: check the network\n"
        );
    }

    #[test]
    fn any_other_error_is_exit_1_on_one_line() {
        let failure = Failure::of(&anyhow::anyhow!("line one\nline \u{1b}[31mtwo"));
        assert_eq!((failure.exit, failure.lines().as_str()), (Exit::Failed, "error: line one line [31mtwo\n"));
    }

    #[test]
    fn the_command_that_signs_in_is_told_from_other_hints() {
        let missing = Failure::new(Exit::SignInNeeded, "nobody is signed in");
        assert_eq!(missing.sign_in(), None);
        let hints = [Hint::Command("keyfob login".to_owned()), Hint::from("sign in")];
        assert_eq!(hints.each_ref().map(Hint::command), [Some("keyfob login"), None]);
        assert_eq!(hints.each_ref().map(Hint::text), ["keyfob login", "sign in"]);
        assert_eq!(missing.run("keyfob login").sign_in(), Some("keyfob login"));
        assert_eq!(Failure::usage("no profile").hint("make one").sign_in(), None);
    }
}
