//! One file per thing a person does. Unlike a caller's answer, what these print is for people.

pub mod completions;
pub mod doctor;
pub mod login;
pub mod logout;
pub mod setup;
pub mod status;

use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};

/// Prints to stdout; a reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("could not write to stdout"),
        _ => Ok(()),
    }
}
