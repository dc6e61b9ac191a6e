//! What `doctor` prints: each thing that was looked at, how it is, and what to do about it. `doctor` and the
//! tools find it.

use crate::failure::{Failure, Hint};
use crate::prompt::{Terminal, wrapped};
use crate::text::{clean, one_line};
use serde::Serialize;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// How much there is to worry about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// Something that may be intended, or will not work for long.
    Warn,
    /// Something does not work.
    Error,
}

impl Level {
    /// Columns that the word takes, with the space behind it.
    const WIDTH: usize = 7;

    /// The word, and its colour: what stands between `\x1b[` and `m`.
    fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("ok", "32"),
            Self::Warn => ("warn", "33"),
            Self::Error => ("error", "1;31"),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at.
    subject: String,
    /// What was found.
    message: String,
    /// What to do about it, unless it is good.
    remedy: Option<String>,
    /// Whether the remedy is a command that can be run as it stands.
    runnable: bool,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    /// Something is as it is to be.
    pub fn ok(&mut self, subject: &str, message: impl AsRef<str>) {
        self.add(Level::Ok, subject, message.as_ref(), None);
    }

    /// Something may be wrong.
    pub fn warn(&mut self, subject: &str, message: impl AsRef<str>, remedy: impl Into<Hint>) {
        self.add(Level::Warn, subject, message.as_ref(), Some(remedy.into()));
    }

    /// Something is wrong.
    pub fn error(&mut self, subject: &str, message: impl AsRef<str>, remedy: impl Into<Hint>) {
        self.add(Level::Error, subject, message.as_ref(), Some(remedy.into()));
    }

    /// What kept something from working, with its own hint, or else with this remedy.
    pub fn failure(&mut self, subject: &str, error: &anyhow::Error, otherwise: &str) {
        let Failure { message, hint, .. } = Failure::of(error);
        self.error(subject, message, hint.unwrap_or_else(|| otherwise.into()));
    }

    /// How something is, and what to do about it unless it is ok.
    pub fn add(&mut self, level: Level, subject: &str, message: &str, remedy: Option<Hint>) {
        let runnable = remedy.as_ref().is_some_and(|remedy| remedy.command().is_some());
        let (subject, message, remedy) = (one_line(subject), clean(message), remedy.map(|hint| one_line(hint.text())));
        self.findings.push(Finding { level, subject, message, remedy, runnable });
    }

    /// How many there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// What a person reads: on a terminal in its rows, elsewhere each part on one line.
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
                // In one piece, so that it is copied whole: the terminal wraps it.
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

/// Rows of whole words, beside the column of levels.
fn rows(text: &str, width: usize) -> Vec<String> {
    wrapped(text, width.saturating_sub(Level::WIDTH)).iter().map(|line| indented(line, width)).collect()
}

/// A row beside the column of levels, unless it is too long for that.
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
