//! One file per thing a person does. Unlike callers' answers, the output of these commands is for people.

pub mod completions;
pub mod doctor;
pub mod exec;
pub mod login;
pub mod logout;
pub mod setup;
pub mod status;
pub mod store;

use crate::prompt::{self, wrapped};
use crate::text::one_line;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};
use unicode_width::UnicodeWidthStr;

/// Prints to stdout. It is not an error if the reader has gone (`| head`).
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("could not write to stdout"),
        _ => Ok(()),
    }
}

/// Prints a warning to stderr: a problem that did not stop the command.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {}", one_line(text));
}

/// Prints text for a person, wrapped to the terminal's width if stdout is a terminal.
fn say(text: &str) -> Result<()> {
    match prompt::stdout() {
        Some(terminal) => print(&folded(text, terminal.width)),
        None => print(text),
    }
}

/// Wraps text for people at `width` columns. If a line begins with a label, its text is wrapped in a column of its own,
/// or below the label if there is too little room beside it. Examples and flags are not wrapped, because people copy
/// them.
pub fn folded(text: &str, width: usize) -> String {
    /// The least number of columns for text beside a label.
    const ROOM: usize = 24;
    /// The indentation of clap's texts. A line with less indentation and no second column is an example.
    const SAID: usize = 10;
    let mut lines = Vec::new();
    for line in text.lines() {
        let start = line.len() - line.trim_start().len();
        let gap = line[start..].rfind("  ").map(|at| start + at + 2);
        if line.width() <= width || (gap.is_none() && (1..SAID).contains(&start)) {
            lines.push(line.to_owned());
            continue;
        }
        let (mut label, said) = line.split_at(gap.unwrap_or(start));
        let mut column = label.width();
        let longest = said.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
        if column > 0 && column + longest.max(ROOM) > width {
            if gap.is_some() {
                lines.push(label.trim_end().to_owned());
            }
            (label, column) = ("", start.min(6) + 4);
        }
        for said in wrapped(said, width.saturating_sub(column)) {
            lines.push(format!("{label:column$}{said}"));
            label = "";
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_on_below_itself_and_examples_stay_whole() {
        let text = [
            "lab: signed in",
            "  provider  https://id.example.com/realms/lab",
            "  cached    access token, good for 59:58 (openid email)",
            "",
            "A session that is still good is only confirmed.",
            "  keyfob login lab                     sign in to the profile `lab`",
            "  keyfob login --issuer https://id.example.com --client-id kubernetes",
            "          Profile to sign in to [default: the only one]",
            "Configuration: /home/person/.config/keyfob/config.toml",
            "",
        ]
        .join("\n");
        assert_eq!(folded(&text, 300), text);
        let narrow = [
            "lab: signed in",
            "  provider",
            "      https://id.example.com/realms/lab",
            "  cached    access token, good for 59:58",
            "            (openid email)",
            "",
            "A session that is still good is only",
            "confirmed.",
            "  keyfob login lab",
            "      sign in to the profile `lab`",
            "  keyfob login --issuer https://id.example.com --client-id kubernetes",
            "          Profile to sign in to",
            "          [default: the only one]",
            "Configuration:",
            "/home/person/.config/keyfob/config.toml",
            "",
        ];
        assert_eq!(folded(&text, 40), narrow.join("\n"));
        assert!(folded(&text, 0).contains("\n      sign\n      in\n"));
    }
}
