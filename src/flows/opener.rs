//! Opens a browser: finds the programs that can, and starts one without a shell, a terminal, or standard streams. The
//! program gets an address of this machine and nothing else.

use crate::clock::boottime;
use crate::log::debug;
use crate::process;
use crate::program;
use std::collections::VecDeque;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// If a program fails within this time, it has not opened a browser.
const SOON: Duration = Duration::from_secs(2);

/// Browsers that run in the terminal.
const TEXT_BROWSERS: [&str; 7] = ["www-browser", "w3m", "lynx", "links", "links2", "elinks", "browsh"];

/// The browsers that xdg-open may start if no desktop names one: xdg-open's own list, without those that run in the
/// terminal.
const BROWSERS: &str = "x-www-browser:firefox:chromium:chromium-browser:google-chrome:microsoft-edge";

/// A command that opens an address, which is already in its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opener {
    program: PathBuf,
    arguments: Vec<String>,
    /// Windows' explorer exits with 1 on success.
    says_one: bool,
}

/// The programs that open `address` here, in the order in which they are tried. These are the ones in `BROWSER`, a list
/// separated by colons in which `%s` stands for the address; if none of them exists, those of the system. `wsl`: this
/// is Linux inside Windows.
pub(super) fn openers(address: &str, wsl: bool, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Opener> {
    let chosen: Vec<Opener> = environment("BROWSER")
        .iter()
        .flat_map(|list| list.split(':'))
        .filter_map(|one| by_hand(one, address))
        .collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let opener = |program: PathBuf| {
        let says_one = program.ends_with("explorer.exe");
        Opener { program, arguments: vec![address.to_owned()], says_one }
    };
    if cfg!(target_os = "macos") {
        return vec![opener("/usr/bin/open".into())];
    }
    let displays = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| environment(name).is_some());
    let names = [("xdg-open", displays), ("wslview", wsl), ("explorer.exe", wsl)];
    names.into_iter().filter(|(_, here)| *here).filter_map(|(name, _)| program::find(name)).map(opener).collect()
}

/// One entry of `BROWSER`: a program by name or absolute path, with arguments.
fn by_hand(command: &str, address: &str) -> Option<Opener> {
    let find = |name: &str| {
        let path = Path::new(name);
        if !name.contains('/') {
            return program::find(name);
        }
        (path.is_absolute() && program::is_program(path)).then(|| path.to_owned())
    };
    // A path with spaces names one program.
    let mut words = command.split_ascii_whitespace();
    let (program, words) = match find(command) {
        Some(program) => (program, Vec::new()),
        None => (find(words.next()?)?, words.collect()),
    };
    if program.file_name().is_none_or(|name| TEXT_BROWSERS.iter().any(|text| name == *text)) {
        return None;
    }
    let mut arguments: Vec<String> = words.iter().map(|word| word.replace("%s", address)).collect();
    if !words.iter().any(|word| word.contains("%s")) {
        arguments.push(address.to_owned());
    }
    Some(Opener { program, arguments, says_one: false })
}

/// Tries one opener after the other, until one does not fail.
pub(super) struct Opening {
    left: VecDeque<Opener>,
    running: Option<(Child, Duration, bool)>,
}

impl Opening {
    /// With these openers, none of which has been started.
    pub(super) fn new(openers: Vec<Opener>) -> Self {
        Self { left: openers.into(), running: None }
    }

    /// Starts the first opener, or the next one if the last one failed. Returns whether to call this again soon.
    pub(super) fn go_on(&mut self) -> bool {
        if let Some((child, started, says_one)) = &mut self.running {
            match child.try_wait() {
                Ok(Some(status)) if !(status.success() || (*says_one && status.code() == Some(1))) => {
                    self.running = None;
                }
                Ok(None) if boottime().saturating_sub(*started) < SOON => return true,
                _ => {
                    self.left.clear();
                    return false;
                }
            }
        }
        let Some(opener) = self.left.pop_front() else { return false };
        let program: &Path = &opener.program;
        debug(|| format!("opening a browser: {}", program.display()));
        let mut command = Command::new(program);
        command.args(&opener.arguments).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if program.ends_with("xdg-open") {
            command.env("BROWSER", BROWSERS);
        }
        process::hear_of_children();
        self.running = command.spawn().ok().map(|child| (child, boottime(), opener.says_one));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn opened(browser: &str) -> Vec<String> {
        let environment = |name: &str| (name == "BROWSER").then(|| browser.to_owned());
        let line = |opener: Opener| format!("{} {}", opener.program.display(), opener.arguments.join("|"));
        openers("http://127.0.0.1:1/x", false, &environment).into_iter().map(line).collect()
    }

    #[test]
    fn browser_is_a_list_of_commands() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            path.display().to_string()
        };
        let (plain, spaced, text) = (program("browser"), program("my browser"), program("w3m"));
        let all = "http://127.0.0.1:1/x";
        assert_eq!(opened(&plain), [format!("{plain} {all}")]);
        assert_eq!(opened(&spaced), [format!("{spaced} {all}")], "a path with a space is one program");
        assert_eq!(opened(&format!("{plain} --new-window %s -q")), [format!("{plain} --new-window|{all}|-q")]);
        assert_eq!(opened(&format!("/none:{text}:browser:./browser:{plain}")), [format!("{plain} {all}")]);
        let hostile = format!("{plain} %s;touch$(id)");
        assert_eq!(opened(&hostile), [format!("{plain} {all};touch$(id)")], "no shell reads it");
        assert!(opened("sh")[0].ends_with(&format!("/sh {all}")), "a program is looked for on PATH");
        assert_eq!(opened(&text), [""; 0], "and without a display nothing else is tried");
    }

    #[test]
    fn what_ends_badly_is_followed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let sh = |script: String| Opener {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script],
            says_one: false,
        };
        let noting = |what: &str| sh(format!("echo {what} >> {}", note.display()));
        let mut opening = Opening::new(vec![sh("exit 3".into()), noting("second"), noting("third")]);
        while opening.go_on() {
            std::thread::yield_now();
        }
        assert_eq!(fs::read_to_string(&note).unwrap(), "second\n");
        // Windows' explorer exits with 1 on success, other programs on failure.
        for (says_one, status, tries) in [(true, 1, 1), (true, 2, 2), (false, 1, 2)] {
            let first = Opener { says_one, ..sh(format!("exit {status}")) };
            let mut opening = Opening::new(vec![first, noting("next")]);
            fs::write(&note, "").unwrap();
            while opening.go_on() {
                std::thread::yield_now();
            }
            assert_eq!(fs::read_to_string(&note).unwrap(), if tries == 2 { "next\n" } else { "" }, "{status}");
        }
    }
}
