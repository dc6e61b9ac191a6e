//! One file per caller protocol: it turns a request into a [`Want`], and an [`Outcome`] into the protocol's answer. A
//! new caller is one new file here and one line in [`CALLERS`].
//!
//! A caller knows neither configuration nor sessions. It is a function of its input and output ([`Io`]) that asks for
//! what it wants, as often as its protocol needs. In the program `ask` answers it; a test or a fuzz target passes a
//! closure instead.

mod ask;
#[cfg(test)]
mod attacks;
pub mod aws;
pub mod azure;
pub mod bazel;
pub mod cargo;
pub mod docker;
pub mod git;
pub mod goauth;
pub mod google;
pub mod keyring;
pub mod kubernetes;
mod seam;
pub mod terraform;
pub mod token;

pub use crate::acquire::Requester;
pub use ask::ask;
pub use seam::{Ask, Credential, Described, Failed, Io, Kind, LARGEST, Outcome, Refused, Want, What, Whose, json_line};

use crate::arguments::{Arguments, Grammar};
use crate::program;
use std::io::{self, IsTerminal, Read};

/// A caller protocol, as the command line sees it.
#[derive(Debug)]
pub struct Caller {
    /// The subcommand.
    pub name: &'static str,
    /// Another name for the subcommand.
    pub alias: Option<&'static str>,
    /// A link to keyfob that runs this subcommand.
    pub link: Option<Link>,
    /// One line of help.
    pub about: &'static str,
    /// Whether it answers for hosts, so that its name can be in `callers` of a `[hosts]` rule.
    pub hosts: bool,
    /// The arguments that it accepts.
    pub grammar: Grammar,
    /// Help to show below the flags: examples.
    pub after_help: &'static str,
    /// Reads a request, asks, answers, and returns the exit code.
    pub run: fn(&mut Io<'_>, &Ask<'_>) -> u8,
}

/// A link to keyfob, for programs that can run only a single word, or that should run nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The link's name.
    pub name: &'static str,
    /// The arguments that it accepts, if they are fewer than the subcommand's.
    pub grammar: Option<Grammar>,
}

/// Every caller protocol.
pub const CALLERS: &[Caller] = &[
    kubernetes::CALLER,
    git::CALLER,
    azure::az::CALLER,
    azure::azd::CALLER,
    docker::CALLER,
    keyring::CALLER,
    cargo::CALLER,
    goauth::CALLER,
    terraform::CALLER,
    bazel::CALLER,
    aws::CALLER,
    google::CALLER,
    token::CALLER,
];

/// The callers that a rule in `[hosts]` can name.
pub fn host_callers() -> Vec<&'static str> {
    CALLERS.iter().filter(|caller| caller.hosts).map(|caller| caller.name).collect()
}

/// Standard input. If a person runs a caller by hand, prints a note about what it waits for.
#[derive(Default)]
struct Stdin {
    was_read: bool,
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stdin = io::stdin();
        if !std::mem::replace(&mut self.was_read, true) && stdin.is_terminal() {
            eprintln!("note: a program runs this, and writes its request here; an empty line or Ctrl-D ends it");
        }
        stdin.read(buffer)
    }
}

impl Caller {
    /// Runs the caller with this process's input and output, and returns the exit code.
    pub fn answer(&self, arguments: &Arguments) -> u8 {
        let mut io = Io {
            arguments,
            environment: &|name| std::env::var_os(name),
            stdin: &mut Stdin::default(),
            stdout_is_terminal: &|| io::stdout().is_terminal(),
            stdout: &mut io::stdout(),
            stderr: &mut io::stderr(),
            pass_on: &|name, words| program::pass_on(name, words),
        };
        (self.run)(&mut io, &ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_that_hosts_can_be_for_are_those_that_answer_for_hosts() {
        assert!(host_callers().contains(&"git"));
        assert!(!host_callers().contains(&"kubernetes"));
    }

    #[test]
    fn no_two_callers_share_a_name() {
        let names = CALLERS.iter().flat_map(|c| [Some(c.name), c.alias].into_iter().flatten());
        let links = CALLERS.iter().filter_map(|c| c.link.map(|link| link.name));
        for mut names in [names.collect::<Vec<_>>(), links.collect()] {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        }
    }
}
