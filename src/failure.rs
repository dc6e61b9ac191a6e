//! What went wrong and what to do next: every way to fail, as one message, one hint and one exit code.
//!
//! Functions return [`anyhow::Result`] where each layer adds what it was doing (`could not …`), and [`Failure`] where
//! nothing is added. An error that ends a command becomes a [`Failure`] once, by [`Failure::of`], and is then shown: by
//! [`Failure::lines`] to a person, or in a caller's own words.

use crate::text::one_line;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The exit codes, as `docs/reference.md` documents them. 0, answered, is not a failure.
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

/// What looks at every hint that is shown, in debug builds: a command that it names must be one. What a command is, the
/// command line says, which sets this and is not known here.
#[cfg(debug_assertions)]
pub static EXAMINE: std::sync::OnceLock<fn(&Hint)> = std::sync::OnceLock::new();

impl Hint {
    /// The command or the sentence, without saying which it is.
    pub fn text(&self) -> &str {
        #[cfg(debug_assertions)]
        if let Some(examine) = EXAMINE.get() {
            examine(self);
        }
        match self {
            Self::Command(text) | Self::Words(text) => text,
        }
    }

    /// The command, if it is one.
    pub fn command(&self) -> Option<&str> {
        Some(self.text()).filter(|_| matches!(self, Self::Command(_)))
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

    /// What an error comes to: exit code and hint are those of the failure in its chain; anything else, an I/O error for
    /// instance, is exit 1.
    pub fn of(error: &anyhow::Error) -> Self {
        let failure = error.downcast_ref::<Self>();
        let (exit, hint) = failure.map_or((Exit::Failed, None), |failure| (failure.exit, failure.hint.clone()));
        Self { exit, message: format!("{error:#}"), hint }
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

    /// The command that signs in, if that is what is missing.
    pub fn sign_in(&self) -> Option<&str> {
        self.hint.as_ref().filter(|_| self.exit == Exit::SignInNeeded).map(Hint::text)
    }

    /// What a person reads: `error: …` and perhaps `hint: …`, each ended by a newline. Each is one line whatever it holds:
    /// some messages quote files and servers.
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
