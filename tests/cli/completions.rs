//! Completions, loaded in the shells themselves and asked for with the Tab key.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{PROGRAM, wait_until};
use keyfob_test_support::{Keyfob, Terminal, skip};

const CONFIG: &str = "\
[profile.lab]
issuer = 'https://id.example.com'
client-id = 'keyfob'

[profile.work]
issuer = 'https://login.example.com'
client-id = 'keyfob'
";

/// A shell at its first prompt, which is `> `.
struct Shell {
    terminal: Terminal,
    // Behind the terminal, so that the shell has ended before its home goes.
    _keyfob: Keyfob,
}

impl Shell {
    /// Starts it with this as its only configuration; `how` takes the file that holds that.
    fn start(program: &str, rc: &str, how: impl FnOnce(&mut Command, &Path)) -> Self {
        let keyfob = Keyfob::new(PROGRAM).config(CONFIG);
        fs::write(keyfob.home().join("private-ca.pem"), "").unwrap();
        let file = keyfob.home().join(".zshrc");
        fs::write(&file, rc).unwrap();
        let mut shell = keyfob.other(program);
        how(&mut shell, &file);
        let folder = Path::new(PROGRAM).parent().unwrap().display();
        shell.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
        shell.env("TERM", "xterm").current_dir(keyfob.home());
        let shell = Self { terminal: Terminal::start(shell), _keyfob: keyfob };
        wait_until("a prompt", || shell.screen().trim_end() == ">");
        shell
    }

    fn screen(&self) -> String {
        let mut screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
        screen.process(self.terminal.screen().as_bytes());
        screen.screen().contents()
    }

    /// Types this, which ends in the Tab key, and waits until the command line reads like that; then clears it.
    fn completes(&self, typed: &str, line: &str) {
        self.terminal.send(typed);
        wait_until(&format!("{line:?} after {typed:?}"), || {
            self.screen().lines().any(|shown| shown.trim_end().ends_with(line))
        });
        self.terminal.send("\x15");
        wait_until("an empty command line", || self.screen().trim_end() == ">");
    }

    fn completes_commands_flags_profiles_and_files(&self) {
        self.completes("keyfob logi\t", "keyfob login");
        self.completes("keyfob login w\t", "keyfob login work");
        self.completes("keyfob token --profile l\t", "keyfob token --profile lab");
        self.completes("keyfob token --format h\t", "keyfob token --format header");
        self.completes("keyfob token --ca-f\tpriv\t", "keyfob token --ca-file private-ca.pem");
    }

    /// Not for elvish: it shows a list first, since it has to put quotes around it.
    fn completes_behind_an_equals_sign(&self) {
        self.completes("keyfob kubectl --profile=w\t", "keyfob kubectl --profile=work");
    }
}

fn is_here(program: &str) -> bool {
    Command::new(program)
        .arg("-c")
        .arg("exit")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

#[test]
fn bash() {
    if !is_here("bash") {
        skip!("bash is not here");
    }
    let rc = "PS1='> '\nsource <(keyfob completions bash)\n";
    let shell = Shell::start("bash", rc, |bash, rc| {
        bash.args(["--noprofile", "--rcfile"]).arg(rc).arg("-i");
    });
    shell.completes_commands_flags_profiles_and_files();
    shell.completes_behind_an_equals_sign();
}

#[test]
fn zsh() {
    if !is_here("zsh") {
        skip!("zsh is not here");
    }
    let rc = "PS1='> '\nautoload -U compinit\ncompinit -D -u\nsource <(keyfob completions zsh)\n";
    let shell = Shell::start("zsh", rc, |zsh, rc| {
        zsh.args(["-d", "-i"]).env("ZDOTDIR", rc.parent().unwrap());
    });
    shell.completes_commands_flags_profiles_and_files();
    shell.completes_behind_an_equals_sign();
}

#[test]
fn fish() {
    if !is_here("fish") {
        skip!("fish is not here");
    }
    let rc = "function fish_prompt; echo '> '; end\nset fish_greeting\nkeyfob completions fish | source\n";
    let shell = Shell::start("fish", rc, |fish, rc| {
        fish.args(["--no-config", "-i", "--init-command"]).arg(format!("source {}", rc.display()));
    });
    shell.completes_commands_flags_profiles_and_files();
    shell.completes_behind_an_equals_sign();
}

#[test]
fn elvish() {
    if !is_here("elvish") {
        skip!("elvish is not here");
    }
    let rc = "set edit:prompt = { put '> ' }\nset edit:rprompt = { }\neval (keyfob completions elvish | slurp)\n";
    let shell = Shell::start("elvish", rc, |elvish, rc| {
        elvish.arg("-rc").arg(rc);
    });
    shell.completes_commands_flags_profiles_and_files();
}
