//! What `doctor` prints: each thing that was checked, its state, and the remedy. `doctor` and the tools add findings.

use crate::failure::{Failure, Hint};
use crate::prompt::{Terminal, wrapped};
use crate::text::{clean, one_line};
use serde::Serialize;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// There is nothing to do.
    Ok,
    /// It may be intended, or will stop working soon.
    Warn,
    /// It does not work.
    Error,
}

impl Level {
    /// The width of the level's column, including a space, in columns.
    const WIDTH: usize = 7;

    /// The level's word, and its colour: the parameters between `\x1b[` and `m`.
    fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("ok", "32"),
            Self::Warn => ("warn", "33"),
            Self::Error => ("error", "1;31"),
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was checked.
    subject: String,
    /// Its state.
    message: String,
    /// The remedy, unless the state is good.
    remedy: Option<String>,
    /// Whether the remedy is a command that can be run as it is.
    runnable: bool,
}

/// All findings.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    /// Adds something that is as it should be.
    pub fn ok(&mut self, subject: &str, message: impl AsRef<str>) {
        self.add(Level::Ok, subject, message.as_ref(), None);
    }

    /// Adds something that may be wrong.
    pub fn warn(&mut self, subject: &str, message: impl AsRef<str>, remedy: impl Into<Hint>) {
        self.add(Level::Warn, subject, message.as_ref(), Some(remedy.into()));
    }

    /// Adds something that is wrong.
    pub fn error(&mut self, subject: &str, message: impl AsRef<str>, remedy: impl Into<Hint>) {
        self.add(Level::Error, subject, message.as_ref(), Some(remedy.into()));
    }

    /// Adds a failure with its own hint, or with this remedy if it has none.
    pub fn failure(&mut self, subject: &str, error: &anyhow::Error, otherwise: &str) {
        let Failure { message, hint, .. } = Failure::of(error);
        self.error(subject, message, hint.unwrap_or_else(|| otherwise.into()));
    }

    /// Adds a finding. `remedy` is `None` only if the level is `Ok`.
    pub fn add(&mut self, level: Level, subject: &str, message: &str, remedy: Option<Hint>) {
        let runnable = remedy.as_ref().is_some_and(|remedy| remedy.command().is_some());
        let (subject, message, remedy) = (one_line(subject), clean(message), remedy.map(|hint| one_line(hint.text())));
        self.findings.push(Finding { level, subject, message, remedy, runnable });
    }

    /// How many findings have this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// The findings as text: wrapped to the terminal's width, or each part on one line if there is no terminal.
    pub fn text(&self, on: Option<Terminal>) -> String {
        let width = on.map_or(usize::MAX, |on| on.width);
        let colour = on.is_some_and(|on| on.colour);
        let mut text = String::new();
        for Finding { level, subject, message, remedy, runnable } in &self.findings {
            let (word, style) = level.word();
            let gap = Level::WIDTH - word.len();
            let word = if colour { format!("\u{1b}[{style}m{word}\u{1b}[0m") } else { word.to_owned() };
            let mut rows = rows(&format!("{subject}: {message}"), width).into_iter();
            let first = rows.next().unwrap_or_default();
            let _ = writeln!(text, "{word}{:gap$}{}", "", first.trim_start());
            let remedy = match remedy {
                None => Vec::new(),
                // Do not wrap a command, so that it can be copied whole; the terminal wraps it.
                Some(command) if *runnable => vec![indented(&format!("$ {command}"), width)],
                Some(words) => self::rows(&format!("-> {words}"), width),
            };
            for row in rows.chain(remedy) {
                let _ = writeln!(text, "{row}");
            }
        }
        let several = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let [ok, warn, error] = [Level::Ok, Level::Warn, Level::Error].map(|level| self.count(level));
        let _ = writeln!(text, "{ok} ok, {}, {}", several(warn, "warning"), several(error, "error"));
        text
    }
}

/// Wraps text at spaces, indented by the column of levels.
fn rows(text: &str, width: usize) -> Vec<String> {
    wrapped(text, width.saturating_sub(Level::WIDTH)).iter().map(|line| indented(line, width)).collect()
}

/// Indents a row by the column of levels, unless it is too long for that.
fn indented(row: &str, width: usize) -> String {
    if Level::WIDTH + row.width() <= width { format!("{:1$}{row}", "", Level::WIDTH) } else { row.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.ok("cache", "1 session in /home/ada/.cache/keyfob");
        findings.warn("session lab", "nobody is signed in", Hint::Command("keyfob login lab".into()));
        findings.error("configuration", "others may write to /home/ada/.config/keyfob/config.toml (mode 0666)", {
            Hint::Command("chmod go-w /home/ada/.config/keyfob/config.toml".into())
        });
        findings.error(
            "clock lab",
            "it is 2 hours behind the provider's",
            "set it, best by itself: timedatectl set-ntp true",
        );
        findings
    }

    fn on(width: usize) -> Terminal {
        Terminal { width, height: 24, colour: false, unicode: true }
    }

    #[test]
    fn elsewhere_than_on_a_terminal_every_part_is_one_line() {
        let text = "\
ok     cache: 1 session in /home/ada/.cache/keyfob
warn   session lab: nobody is signed in
       $ keyfob login lab
error  configuration: others may write to /home/ada/.config/keyfob/config.toml (mode 0666)
       $ chmod go-w /home/ada/.config/keyfob/config.toml
error  clock lab: it is 2 hours behind the provider's
       -> set it, best by itself: timedatectl set-ntp true
1 ok, 1 warning, 2 errors
";
        assert_eq!(findings().text(None), text);
        assert_eq!(findings().text(Some(on(300))), text);
    }

    #[test]
    fn a_terminal_has_rows_of_whole_words_and_commands_in_one_piece() {
        let text = "\
ok     cache: 1 session in
       /home/ada/.cache/keyfob
warn   session lab: nobody is signed in
       $ keyfob login lab
error  configuration: others may write
       to
/home/ada/.config/keyfob/config.toml
       (mode 0666)
$ chmod go-w /home/ada/.config/keyfob/config.toml
error  clock lab: it is 2 hours behind
       the provider's
       -> set it, best by itself:
       timedatectl set-ntp true
1 ok, 1 warning, 2 errors
";
        assert_eq!(findings().text(Some(on(40))), text);
    }

    #[test]
    fn levels_are_coloured_where_colour_is_wanted() {
        let text = findings().text(Some(Terminal { colour: true, ..on(80) }));
        let levels: Vec<&str> = text.lines().filter_map(|line| line.split_once("m ")).map(|(level, _)| level).collect();
        let error = "\u{1b}[1;31merror\u{1b}[0";
        assert_eq!(levels, ["\u{1b}[32mok\u{1b}[0", "\u{1b}[33mwarn\u{1b}[0", error, error]);
    }
}
