//! Screens as people see them, in terminals of two sizes, kept in `tests/cli/screens/`, with asterisks around what is
//! bold. The terminal is tmux, its keyboard is typed on, and what differs from run to run stands there as something of the
//! same length that does not. Of what is longer than the terminal all is kept; the last rows are those on the screen.
//!
//! `INSTA_UPDATE=always cargo test --test cli` writes them anew; look at what changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::screen::terminal;
use crate::common::{PROGRAM, SOON, wait_until};
use keyfob_test_support::provider::{Auto, Client, Options, Provider};
use keyfob_test_support::{Output, Streams, Terminal, need};
use tempfile::TempDir;

const SIZES: [(u16, u16); 2] = [(80, 24), (40, 12)];

/// Three profiles; nobody uses the third.
const CONFIG: &str = "\
[profile.lab]
issuer = 'ISSUER'
client-id = 'kubernetes'
scopes = ['openid', 'email', 'groups', 'offline_access']

[profile.work]
issuer = 'ISSUER'
client-id = 'keyfob'

[profile.attic]
issuer = 'ISSUER'
client-id = 'attic'
";

/// kubectl with a user of keyfob, as far as keyfob can tell.
const KUBECTL: &str = r#"#!/bin/sh
KUBERNETES_EXEC_INFO='{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"server":"https://10.0.0.1:6443"},"interactive":true}}'
export KUBERNETES_EXEC_INFO
keyfob kubernetes --profile lab >/dev/null
exit
"#;

/// A person's machine, and a shell in a terminal on it.
struct Desk {
    // Closed first.
    terminal: Option<Terminal>,
    idp: Provider,
    home: TempDir,
    size: (u16, u16),
}

impl Desk {
    fn new(size: (u16, u16)) -> Self {
        let idp = Provider::start(Options {
            clients: ["kubernetes", "keyfob"].map(Client::public).to_vec(),
            // As many digits whenever it is looked at.
            expires_in: Some(590.into()),
            access_lifetime: Some(2990.into()),
            id_token_lifetime: 2990,
            ..Options::default()
        });
        // A home whose path is as long everywhere.
        let home = tempfile::Builder::new().prefix("k").rand_bytes(6).tempdir_in("/tmp").unwrap();
        let desk = Self { terminal: None, idp, home, size };
        fs::create_dir_all(desk.path(".config/keyfob")).unwrap();
        fs::write(desk.path(".config/keyfob/config.toml"), CONFIG.replace("ISSUER", desk.idp.issuer())).unwrap();
        fs::create_dir(desk.path("bin")).unwrap();
        symlink(PROGRAM, desk.path("bin/keyfob")).unwrap();
        fs::write(desk.path("bin/kubectl"), KUBECTL).unwrap();
        fs::set_permissions(desk.path("bin/kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
        // What else is on this machine is not this person's.
        for program in ["sh", "cat", "git", "tmux"] {
            let path = std::env::var_os("PATH").unwrap();
            let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
            symlink(found.unwrap(), desk.path("bin").join(program)).unwrap();
        }
        // root's as well.
        fs::write(desk.path(".shrc"), "PS1='$ '\n").unwrap();
        // One row more would be the status line's; nothing stays when the terminal is closed.
        fs::write(desk.path("tmux.conf"), "set -g status off\nset -g destroy-unattached on\n").unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program with this person's environment.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(self.home.path()).env("HOME", self.home.path()).env("TERM", "xterm");
        command.env("PATH", self.path("bin")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("LC_ALL", "C.UTF-8").env("ENV", self.path(".shrc"));
        command
    }

    fn tmux(&self) -> Command {
        let mut tmux = self.command("tmux");
        tmux.arg("-S").arg(self.path("tmux")).arg("-f").arg(self.path("tmux.conf"));
        tmux
    }

    fn ask_tmux(&self, words: &[&str]) -> String {
        let output = Output::of(self.tmux().args(words), b"");
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}");
        output.stdout
    }

    /// Types a command in a new terminal.
    fn types(&mut self, command: &str) {
        let mut tmux = self.tmux();
        tmux.args(["new-session", "sh"]);
        self.terminal = Some(Terminal::start_sized(tmux, Streams::default(), self.size));
        wait_until("a shell", || {
            let pane = Output::of(self.tmux().args(["capture-pane", "-p"]), b"");
            pane.stdout.trim_end() == "$"
        });
        self.ask_tmux(&["send-keys", "-l", command]);
        self.ask_tmux(&["send-keys", "Enter"]);
    }

    /// What the terminal shows, and what rolled out of sight above.
    fn all(&self) -> String {
        self.ask_tmux(&["capture-pane", "-p", "-J", "-S", "-"]).trim_end().to_owned()
    }

    /// Waits until the command has ended; everything it said.
    fn said(&self) -> String {
        wait_until("the command's end", || self.all().ends_with("\n$"));
        self.usual(&self.all())
    }

    /// Waits for a prompt; what is to be seen of it.
    fn prompt(&self) -> String {
        let code = self.idp.wait_for_code(SOON);
        let mut screen = String::new();
        wait_until("the time left", || {
            screen = self.ask_tmux(&["capture-pane", "-p", "-e", "-J"]);
            screen.contains(&code) && screen.contains("Ctrl-C stops")
        });
        self.usual(&screen.replace(&code, "WDJB-MJHT"))
    }

    /// The same with what differs from run to run replaced. Lines come in one piece from tmux, and are wrapped again.
    fn usual(&self, screen: &str) -> String {
        let port = self.idp.issuer().rsplit(':').next().unwrap();
        let mut screen = screen.replace(port, "54321").replace(self.home.path().to_str().unwrap(), "/home/person");
        // How many certificates the machine trusts.
        if let Some((before, after)) = screen.split_once("trust store: ") {
            screen = format!("{before}trust store: 145{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        let again = terminal(&clock_stopped(&screen).replace('\n', "\r\n"), (self.size.0, 1000));
        drawn_over(&with_bold(again.screen()))
    }

    /// Signs in to a profile.
    fn sign_in(&self, profile: &str) {
        self.idp.auto(Auto::Approve);
        let output = Output::of(self.command(PROGRAM).args(["login", profile]).env("KEYFOB_PROMPT", "always"), b"");
        assert_eq!(output.code, Some(0), "{output:?}");
        self.idp.auto(Auto::Ignore);
    }

    /// Approves what is prompted for, and waits until the shell is back.
    fn approve(&self) {
        self.idp.approve(&self.idp.user_codes().pop().unwrap());
        wait_until("the end of the prompt", || self.all().ends_with('$'));
    }
}

/// Minutes and seconds that are left, which are never the same.
fn clock_stopped(line: &str) -> String {
    let mut stopped = line.as_bytes().to_vec();
    let is_digit = |at: usize| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    for (at, _) in line.match_indices(':') {
        if at > 0 && is_digit(at - 1) && is_digit(at + 1) && is_digit(at + 2) && !is_digit(at + 3) {
            stopped[at - 1] = b'9';
            stopped[at + 1..at + 3].copy_from_slice(b"48");
        }
    }
    String::from_utf8(stopped).unwrap()
}

/// The lines of a screen, with asterisks around what is bold.
fn with_bold(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let mut text = String::new();
    for row in 0..rows.get() {
        let mut bold = false;
        for cell in (0..columns.get()).map(|column| screen.cell(row, column).unwrap()) {
            if cell.bold() != bold {
                bold = cell.bold();
                text += "**";
            }
            text += if cell.has_contents() { cell.contents() } else { " " };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text += if bold { "**\n" } else { "\n" };
    }
    text.trim_end().to_owned() + "\n"
}

/// A QR code is only shown to be there, as large as it is; another test reads one.
fn drawn_over(screen: &str) -> String {
    let is_code = |line: &str| line.contains(['█', '▀', '▄']);
    let width = screen.lines().filter(|line| is_code(line)).map(|line| line.chars().count()).max().unwrap_or_default();
    screen.lines().map(|line| if is_code(line) { "▒".repeat(width) } else { line.to_owned() } + "\n").collect()
}

/// Compares with what is kept.
#[track_caller]
fn hold(name: &str, (columns, rows): (u16, u16), screen: &str) {
    snapshot(&format!("{name}-{columns}x{rows}"), screen);
}

/// Compares a text with the one of this name in `tests/cli/screens/`.
#[track_caller]
pub(crate) fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("screens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Whether there is a tmux on this machine.
fn tmux() -> Result<(), &'static str> {
    Command::new("tmux").arg("-V").output().map(drop).map_err(|_| "tmux is not here")
}

/// A prompt in both sizes; it is gone when the sign-in is done, where it can be taken back.
fn prompt(name: &str, command: &str) {
    need!(tmux());
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.types(command);
        hold(name, size, &desk.prompt());
        desk.approve();
        assert_eq!(desk.all().contains("Enter code"), name == "prompt-dumb", "{}", desk.all());
    }
}

#[test]
fn the_prompt() {
    prompt("prompt", "kubectl get pods");
}

#[test]
fn the_prompt_with_a_qr_code() {
    prompt("prompt-qr", "keyfob login lab --qr");
}

#[test]
fn the_prompt_without_colour() {
    prompt("prompt-no-color", "NO_COLOR=1 kubectl get pods");
}

#[test]
fn the_prompt_on_a_dumb_terminal() {
    prompt("prompt-dumb", "TERM=dumb kubectl get pods");
}

#[test]
fn the_prompt_where_stderr_is_piped() {
    prompt("prompt-piped", "kubectl get pods 2>&1 | cat");
}

#[test]
fn status() {
    need!(tmux());
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.sign_in("lab");
        let pending = Output::of(desk.command(PROGRAM).args(["login", "work", "--start"]), b"");
        assert_eq!(pending.code, Some(0), "{pending:?}");
        desk.types("KEYFOB_FLOW=device keyfob status");
        hold("status", size, &desk.said());
    }
}

#[test]
fn help() {
    need!(tmux());
    for size in SIZES {
        for (name, command) in [
            ("help", "keyfob --help"),
            ("help-login", "keyfob login --help"),
            ("help-kubernetes", "keyfob kubernetes -h"),
        ] {
            let mut desk = Desk::new(size);
            desk.types(command);
            hold(name, size, &desk.said());
        }
    }
}

#[test]
fn doctor() {
    need!(tmux());
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.sign_in("lab");
        desk.types("KEYFOB_PROFILE=gone KEYFOB_FLOW=device keyfob doctor");
        hold("doctor", size, &desk.said());
    }
}
