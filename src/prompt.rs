//! The terminal: where a sign-in is shown, and how.
//!
//! The rules:
//! - stdout is the caller's protocol; nothing here ever writes to it.
//! - `auto`: stderr if it is a terminal; else the controlling terminal, if we are in its foreground process group; a
//!   terminal that is not in ordinary line mode belongs to a full-screen program and is never written to.
//! - `always`: stderr, whatever it is. `never`, or a caller's own ban: nowhere.
//! - stdin is never read, so there is nothing to answer here: the person answers in a browser.
//! - Address and code stand on lines of their own, as plain text, without which everything else is decoration.
//! - On a terminal that can, the time left counts down in place, and the whole prompt is gone when the sign-in is done.
//!   Elsewhere the lines are printed once.
//! - Whatever a server or a caller said was cleaned before it gets here; it is cleaned again here all the same.
//! - Ctrl-C is left to the system: nothing is changed about the terminal that would have to be put back.

use crate::clock::minutes;
use crate::config::PromptMode;
use crate::text::one_line;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, isatty, tcgetattr, tcgetpgrp, tcgetsid, tcgetwinsize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// A place to show a sign-in.
pub struct Screen {
    out: Out,
    /// The cursor can be moved: lines can be rewritten and taken back.
    live: bool,
    /// Rows to take back.
    rows: usize,
    /// Tells this terminal from others, across processes; `None` if it is none.
    terminal: Option<String>,
    status: String,
}

enum Out {
    Stderr,
    Terminal(File),
}

/// What a person has to know to sign in.
#[derive(Debug)]
pub struct SignIn<'a> {
    /// The profile's name or issuer.
    pub profile: &'a str,
    /// Where the account lives: the issuer.
    pub authority: &'a str,
    /// The only account that may sign in.
    pub account: Option<&'a str>,
    /// Who asks and what for: `kubectl for https://…`; `None` when the person asked.
    pub asked_by: Option<&'a str>,
    /// Another process started it: who asked there.
    pub joined: bool,
    /// What happened before, if it explains why a sign-in is needed.
    pub because: Option<&'a str>,
    /// The provider's own words, in the person's language perhaps.
    pub message: Option<&'a str>,
    /// Where the code is entered.
    pub verification_uri: &'a str,
    /// The same with the code in it.
    pub verification_uri_complete: Option<&'a str>,
    /// The address is on this host, which is not the provider's own.
    pub foreign_host: Option<&'a str>,
    /// The code.
    pub user_code: &'a str,
    /// Time left.
    pub left: Duration,
}

impl SignIn<'_> {
    /// The prompt as plain lines, in the order in which a person needs them.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let account = self.account.map(|a| format!(" as {a}")).unwrap_or_default();
        let profile =
            if self.profile == self.authority { String::new() } else { format!(" (profile {})", self.profile) };
        lines.push(format!("Sign in to {}{account}{profile}", self.authority));
        match self.asked_by {
            Some(who) if self.joined => lines.push(format!("This sign-in was started for {who}.")),
            Some(who) => lines.push(format!("A token is asked for by {who}.")),
            None => {}
        }
        if let Some(because) = self.because {
            lines.push(format!("Why now: {because}."));
        }
        lines.push(String::new());
        if let Some(message) = self.message {
            lines.push(message.to_owned());
            lines.push(String::new());
        }
        lines.push(format!("    Open        {}", self.verification_uri));
        lines.push(format!("    Enter code  {}", self.user_code));
        if let Some(complete) = self.verification_uri_complete {
            lines.push(format!("    Or open     {complete}"));
        }
        lines.push(String::new());
        if let Some(host) = self.foreign_host {
            lines.push(format!("Note: {host} is not the provider's own host. Go on only if you know it."));
        }
        lines.push("Enter the code only if you started this yourself.".into());
        lines.iter().map(|line| if line.is_empty() { String::new() } else { indented(line) }).collect()
    }
}

/// Cleaned, with the leading spaces kept.
fn indented(line: &str) -> String {
    let text = line.trim_start_matches(' ');
    format!("{}{}", " ".repeat(line.len() - text.len()), one_line(text))
}

impl Screen {
    /// Where a sign-in may be shown now, if anywhere.
    pub fn find(mode: PromptMode) -> Option<Self> {
        let stderr = std::io::stderr();
        match mode {
            PromptMode::Never => None,
            PromptMode::Always => Some(Self::on(Out::Stderr)),
            PromptMode::Auto if isatty(&stderr) => in_line_mode(stderr.as_fd()).then(|| Self::on(Out::Stderr)),
            PromptMode::Auto => {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
                let terminal = File::from(rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?);
                let ours = tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp());
                (ours && in_line_mode(terminal.as_fd())).then(|| Self::on(Out::Terminal(terminal)))
            }
        }
    }

    fn on(out: Out) -> Self {
        let (live, terminal) = {
            let fd = out.fd();
            let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
            let session = tcgetsid(fd).ok().map(|session| {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("{host}:{}", session.as_raw_nonzero())
            });
            (isatty(fd) && !dumb, session)
        };
        Self { out, live, rows: 0, terminal, status: String::new() }
    }

    /// Tells this terminal from others, across processes.
    pub fn terminal(&self) -> Option<&str> {
        self.terminal.as_deref()
    }

    /// Shows a sign-in.
    pub fn show(&mut self, sign_in: &SignIn<'_>) {
        self.clear();
        let mut text = String::new();
        let width = self.width();
        for line in sign_in.lines() {
            self.rows += line.width().div_ceil(width).max(1);
            text.push_str(&line);
            text.push('\n');
        }
        if !self.live {
            text.push_str(&waiting(sign_in.left));
            text.push('\n');
        }
        self.write(&text);
        self.left(sign_in.left);
    }

    /// Brings the time left up to date, where that can be done in place.
    pub fn left(&mut self, left: Duration) {
        if self.live {
            self.status(&waiting(left));
        }
    }

    /// Says what is being waited for, in place; only where it can be taken back.
    pub fn status(&mut self, status: &str) {
        // The last column stays free: some terminals wrap as soon as it is filled.
        let status: String = one_line(status).chars().take(self.width().saturating_sub(1)).collect();
        if self.live && status != self.status {
            self.write(&format!("\r\u{1b}[K{status}"));
            self.status = status;
        }
    }

    /// Takes everything back, as far as the terminal allows.
    pub fn clear(&mut self) {
        if self.live && (self.rows > 0 || !self.status.is_empty()) {
            let up = if self.rows > 0 { format!("\u{1b}[{}A", self.rows) } else { String::new() };
            self.write(&format!("\r{up}\u{1b}[J"));
        }
        self.rows = 0;
        self.status.clear();
    }

    fn width(&self) -> usize {
        tcgetwinsize(self.out.fd()).map_or(80, |size| if size.ws_col == 0 { 80 } else { usize::from(size.ws_col) })
    }

    /// A terminal that has gone away is no reason to stop: the sign-in may still be finished elsewhere.
    fn write(&mut self, text: &str) {
        let _ = match &mut self.out {
            Out::Stderr => std::io::stderr().write_all(text.as_bytes()),
            Out::Terminal(terminal) => terminal.write_all(text.as_bytes()),
        };
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Out {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stderr => rustix::stdio::stderr(),
            Self::Terminal(terminal) => terminal.as_fd(),
        }
    }
}

fn waiting(left: Duration) -> String {
    format!("Waiting; the code ends in {}. Ctrl-C stops.", minutes(left))
}

/// Whether the terminal collects lines, as it does under a shell's command; a full-screen program switches that off.
fn in_line_mode(terminal: BorrowedFd<'_>) -> bool {
    tcgetattr(terminal).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
}

/// The name of the program that runs keyfob, where the system tells.
pub fn parent() -> Option<String> {
    let parent = rustix::process::getppid()?.as_raw_nonzero();
    let name = std::fs::read(format!("/proc/{parent}/comm")).ok()?;
    Some(crate::text::clean(&String::from_utf8_lossy(&name))).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in() -> SignIn<'static> {
        SignIn {
            profile: "lab",
            authority: "https://id.example.com",
            account: None,
            asked_by: Some("kubectl for https://10.0.0.1:6443"),
            joined: false,
            because: None,
            message: None,
            verification_uri: "https://id.example.com/device",
            verification_uri_complete: None,
            foreign_host: None,
            user_code: "WDJB-MJHT",
            left: Duration::from_secs(899),
        }
    }

    #[test]
    fn the_prompt_names_profile_and_asker_and_shows_address_and_code_plainly() {
        assert_eq!(
            sign_in().lines(),
            [
                "Sign in to https://id.example.com (profile lab)",
                "A token is asked for by kubectl for https://10.0.0.1:6443.",
                "",
                "    Open        https://id.example.com/device",
                "    Enter code  WDJB-MJHT",
                "",
                "Enter the code only if you started this yourself.",
            ]
        );
    }

    #[test]
    fn what_explains_or_warns_stands_where_it_is_read() {
        let lines = SignIn {
            account: Some("ada"),
            joined: true,
            because: Some("the provider ended the session"),
            verification_uri_complete: Some("https://other.example/device?c=WDJB-MJHT"),
            foreign_host: Some("other.example"),
            ..sign_in()
        }
        .lines();
        assert_eq!(lines[0], "Sign in to https://id.example.com as ada (profile lab)");
        assert_eq!(lines[1], "This sign-in was started for kubectl for https://10.0.0.1:6443.");
        assert_eq!(lines[2], "Why now: the provider ended the session.");
        assert_eq!(lines[6], "    Or open     https://other.example/device?c=WDJB-MJHT");
        assert_eq!(lines[8], "Note: other.example is not the provider's own host. Go on only if you know it.");
    }

    #[test]
    fn r11_control_characters_reach_no_terminal() {
        let lines = SignIn { user_code: "A\u{1b}[2J\u{202e}B", ..sign_in() }.lines();
        assert!(lines.iter().all(|l| !l.contains(['\u{1b}', '\u{202e}'])), "{lines:?}");
    }
}
