//! The terminal: where a sign-in is shown, and how.
//!
//! The rules:
//! - stdout is the caller's protocol; nothing here ever writes to it. Commands may use the layout code here for what
//!   they print for a person.
//! - `auto`: stderr if it is a terminal; otherwise the controlling terminal, if we are in its foreground process group.
//!   A terminal that is not in ordinary line mode belongs to a full-screen program and is never written to, even if
//!   that program starts later.
//! - `always`: stderr, whatever it is. `never`, or if the caller forbids it: nowhere.
//! - stdin is never read; the person answers in a browser.
//! - Address and code are on lines of their own, as plain text; everything else is decoration. They are never broken:
//!   the terminal wraps them, so that they can be copied whole.
//! - If the terminal supports it, the time left counts down in place, and the prompt is erased when the sign-in is
//!   done. Otherwise the lines are printed once, unwrapped.
//! - If the terminal's width changes, the prompt is drawn again. No more is erased than was shown, whether or not the
//!   terminal has re-wrapped the old lines.
//! - Texts from a server or caller are cleaned of control characters before they get here, and are cleaned here again.
//! - Ctrl-C is left to the system: no terminal setting is changed that would have to be restored.

mod layout;
mod qr;

use crate::config::PromptMode;
use crate::log;
pub use layout::{ONLY_YOURS, Terminal, foreign_note, wrapped};
use layout::{Page, fitting, height};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, isatty, tcgetattr, tcgetpgrp, tcgetsid, tcgetwinsize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Say what is waited for after this long.
pub const SAY_AFTER: Duration = Duration::from_secs(1);

/// A place to show a sign-in.
pub struct Screen {
    out: Out,
    /// Whether the cursor can be moved, so that lines can be rewritten and erased.
    live: bool,
    /// Whether the terminal was in ordinary line mode when it was found.
    line_mode: bool,
    /// What is shown, to be drawn again if the terminal changes its size.
    page: Option<Page>,
    /// The widths of the rows to erase, and the width of the terminal when they were drawn, in columns.
    rows: (Vec<usize>, usize),
    /// Identifies the terminal across processes; `None` if the screen is not a terminal.
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
    /// The profile's name, or its issuer.
    pub profile: &'a str,
    /// The provider: the issuer.
    pub authority: &'a str,
    /// The only account that may sign in.
    pub account: Option<&'a str>,
    /// Who asks, and for what: `kubectl for https://…`; `None` if the person did.
    pub asked_by: Option<&'a str>,
    /// Whether another process started it, for `asked_by`.
    pub joined: bool,
    /// How long ago it was started, if that is known.
    pub open_for: Option<Duration>,
    /// What happened before, if that explains why a sign-in is needed.
    pub because: Option<&'a str>,
    /// What the person has to do.
    pub way: Way<'a>,
    /// The time left.
    pub left: Duration,
    /// Show the address as a QR code too, if it fits.
    pub qr: bool,
}

/// What a person does to sign in.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// Enter a code on any device.
    Code {
        /// The provider's own message, perhaps in the person's language.
        message: Option<&'a str>,
        /// Where the code is entered.
        verification_uri: &'a str,
        /// The same address with the code included.
        verification_uri_complete: Option<&'a str>,
        /// The address's host, if it is not the provider's own.
        foreign_host: Option<&'a str>,
        /// The code.
        user_code: &'a str,
    },
    /// Sign in on the provider's pages, in a browser that is redirected to this machine.
    Browser {
        /// The address on this machine to begin at.
        address: &'a str,
        /// Whether a program opens the address.
        opening: bool,
        /// This machine's name, if the person is connected to it by ssh.
        remote: Option<&'a str>,
        /// The command that signs in by a code, if the client may be registered for codes alone.
        by_code: Option<&'a str>,
    },
}

impl Screen {
    /// The place where a sign-in may be shown now, if there is one.
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

    /// Where a sign-in of this command would appear; completes "it appears …".
    pub fn place(mode: PromptMode) -> &'static str {
        match (mode, Self::find(mode)) {
            (PromptMode::Never, _) => "nowhere, since prompting is switched off",
            (PromptMode::Always, _) => "on stderr",
            (PromptMode::Auto, Some(_)) => "on this terminal",
            (PromptMode::Auto, None) => "nowhere from here, since there is no terminal",
        }
    }

    fn on(out: Out) -> Self {
        let (live, line_mode, terminal) = {
            let fd = out.fd();
            let session = tcgetsid(fd).ok().map(|session| {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("{host}:{}", session.as_raw_nonzero())
            });
            // Log lines would land in the middle of rewritten lines.
            (can_do_more_than_lines(fd) && !log::is_on(), in_line_mode(fd), session)
        };
        Self { out, live, line_mode, page: None, rows: (Vec::new(), 0), terminal, status: String::new() }
    }

    /// Identifies this terminal across processes; `None` if the screen is not a terminal.
    pub fn terminal(&self) -> Option<&str> {
        self.terminal.as_deref()
    }

    /// Shows a sign-in.
    pub fn show(&mut self, sign_in: &SignIn<'_>) {
        self.clear();
        let page = Page::of(sign_in);
        if self.live {
            self.page = Some(page);
            self.left(sign_in.left);
        } else {
            let lines: String = page.lines().into_iter().map(|line| line + "\n").collect();
            self.write(&format!("{lines}{}\n", page.waiting(sign_in.left)[0]));
        }
    }

    /// Updates the time left, if the screen can be rewritten.
    pub fn left(&mut self, left: Duration) {
        if !self.can_be_rewritten() {
            return;
        }
        let on = size(self.out.fd());
        if self.page.is_some() && self.rows.1 != on.width {
            self.erase();
            if let Some(page) = &self.page {
                let rows = page.rows(&on);
                let text = rows.iter().fold(String::new(), |text, row| text + &row.text + "\n");
                self.rows = (rows.into_iter().map(|row| row.width).collect(), on.width);
                self.write(&text);
            }
        }
        if let Some(page) = &self.page {
            self.rewrite(&fitting(&page.waiting(left), on.width));
        }
    }

    /// Shows what is waited for, if it can be erased again.
    pub fn status(&mut self, what: &str) {
        let forms = [format!("keyfob: {what}. Ctrl-C stops."), "Waiting. Ctrl-C stops.".into(), "Ctrl-C stops.".into()];
        self.rewrite(&fitting(&forms, size(self.out.fd()).width));
    }

    /// Shows a message: in place if it can be erased again, otherwise on a line of its own. `forms` are the message in
    /// several lengths, longest first.
    pub fn notice(&mut self, forms: &[String]) {
        let forms: Vec<String> = forms.iter().map(|form| format!("keyfob: {form}")).collect();
        if self.live {
            self.rewrite(&fitting(&forms, size(self.out.fd()).width));
        } else if let Some(longest) = forms.first() {
            self.write(&format!("{longest}\n"));
        }
    }

    fn rewrite(&mut self, status: &str) {
        if status != self.status && self.can_be_rewritten() {
            self.write(&format!("\r\u{1b}[K{status}"));
            status.clone_into(&mut self.status);
        }
    }

    /// Erases everything that was shown, if the screen can be rewritten.
    pub fn clear(&mut self) {
        self.erase();
        self.page = None;
    }

    fn erase(&mut self) {
        if !(self.rows.0.is_empty() && self.status.is_empty()) && self.can_be_rewritten() {
            // A terminal whose width has changed may have re-wrapped the rows, or not; erase the smaller number of
            // rows.
            let (rows, width) = &self.rows;
            let rows = height(rows, *width).min(height(rows, size(self.out.fd()).width));
            let up = if rows > 0 { format!("\u{1b}[{rows}A") } else { String::new() };
            self.write(&format!("\r{up}\u{1b}[J"));
        }
        self.rows = (Vec::new(), 0);
        self.status.clear();
    }

    /// Whether lines can be rewritten, and no full-screen program has taken over the terminal.
    fn can_be_rewritten(&self) -> bool {
        self.live && (!self.line_mode || in_line_mode(self.out.fd()))
    }

    /// Errors are ignored: if the terminal has gone, the sign-in may still be finished elsewhere.
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

/// The terminal on stdout; `None` if it is not a terminal or a dumb one.
pub fn stdout() -> Option<Terminal> {
    let fd = rustix::stdio::stdout();
    can_do_more_than_lines(fd).then(|| size(fd))
}

/// Whether `fd` is a terminal, and not a dumb one.
fn can_do_more_than_lines(fd: BorrowedFd<'_>) -> bool {
    isatty(fd) && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// The terminal's size and abilities. An unknown size is taken to be 80 columns and 24 rows.
fn size(fd: BorrowedFd<'_>) -> Terminal {
    let told = |said: u16, otherwise| if said == 0 { otherwise } else { usize::from(said) };
    let size = tcgetwinsize(fd).map(|size| (told(size.ws_col, 80), told(size.ws_row, 24)));
    let (width, height) = size.unwrap_or((80, 24));
    Terminal { width, height, colour: in_colour(), unicode: in_unicode() }
}

/// Whether colours and bold letters are wanted (<https://no-color.org>).
fn in_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the locale's character set is UTF-8.
fn in_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Does `work`, and after [`SAY_AFTER`] shows what it waits for, if there is a screen that can be erased again.
pub fn while_waiting<T>(what: &str, screen: impl FnOnce() -> Option<Screen> + Send, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // If no thread can be started, nothing is shown.
        let shown = thread::Builder::new().spawn_scoped(scope, || {
            thread::park_timeout(SAY_AFTER);
            if !done.load(Relaxed)
                && let Some(mut screen) = screen()
            {
                screen.status(what);
                while !done.load(Relaxed) {
                    thread::park();
                }
            }
        });
        let result = work();
        done.store(true, Relaxed);
        if let Ok(shown) = shown {
            shown.thread().unpark();
        }
        result
    })
}

/// Whether the terminal collects whole lines, as for ordinary commands; a full-screen program switches that off.
fn in_line_mode(terminal: BorrowedFd<'_>) -> bool {
    tcgetattr(terminal).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
}

/// The name of the parent process, if the system tells it.
pub fn parent() -> Option<String> {
    let parent = rustix::process::getppid()?.as_raw_nonzero();
    let name = std::fs::read(format!("/proc/{parent}/comm")).ok()?;
    Some(crate::text::clean(&String::from_utf8_lossy(&name))).filter(|n| !n.is_empty())
}
