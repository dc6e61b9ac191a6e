//! One file per caller protocol: its request in, our [`Want`](crate::acquire::Want) out; a
//! [`Credential`](crate::acquire::Credential) in, its bytes out. A new caller is one new file here and one line in
//! [`CALLERS`].

pub mod azure;
pub mod git;
pub mod kubernetes;
pub mod token;

use crate::arguments::{Arguments, Grammar};
use crate::secret::Buffer;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};

/// A caller protocol, as the command line knows it.
#[derive(Debug)]
pub struct Caller {
    /// The subcommand.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// The name of a link to keyfob that stands for this subcommand.
    pub program: Option<&'static str>,
    /// One line of help.
    pub about: &'static str,
    /// What it accepts.
    pub grammar: Grammar,
    /// Help below the flags: examples.
    pub after_help: &'static str,
    /// Answers.
    pub run: fn(&Arguments) -> Result<()>,
}

/// Every caller protocol.
pub const CALLERS: &[Caller] = &[kubernetes::CALLER, git::CALLER, azure::az::CALLER, azure::azd::CALLER, token::CALLER];

/// Writes a caller's answer to stdout, whole. A caller that has gone away is no failure.
fn answer(text: String) -> Result<()> {
    let text = Buffer::from(text.into_bytes());
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&text).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("could not write the answer to stdout"),
        _ => Ok(()),
    }
}
