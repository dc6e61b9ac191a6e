//! `keyfob setup go`: a rule in `[hosts]`, and GOAUTH in Go's settings file, as `go env -w` writes it.

use super::Tool;
use super::hosted::{Hosted, folder_of, is_keyfob};
use crate::config::HostPattern;
use crate::text::shell_quoted;

/// Go.
pub(super) const TOOL: Tool = Tool {
    name: GO.name,
    alias: None,
    about: "Have the go command ask keyfob for a host's token",
    define: |command| GO.define(command, HELP),
    connect: |matches| GO.connect(matches),
    disconnect: |matches| GO.disconnect(matches),
    discover: |machine, found| GO.discover(machine, found),
    check: |findings, file, only| GO.check(findings, file, only),
};

const HELP: &str = "\
Other programs in GOAUTH stay, and are asked after keyfob.

Examples:
  keyfob setup go --profile lab https://go.example.com
  keyfob setup go --undo https://go.example.com";

const GO: Hosted = Hosted {
    name: "go",
    by: "setup go",
    title: "Go",
    caller: Some("goauth"),
    link: None,
    file: || match std::env::var_os("GOENV").filter(|file| !file.is_empty()) {
        Some(file) => Ok(std::path::absolute(file)?),
        None => Ok(folder_of("XDG_CONFIG_HOME", ".config")?.join("go/env")),
    },
    shared: true,
    with: |text, entry| Ok(with(text, entry.own)),
    without,
    runs: |text, _| commands(text).find_map(program).map(str::to_owned),
    asks: |host, _| (["goauth", &host.canonical()].map(str::to_owned).to_vec(), String::new(), "Authorization: "),
};

const KEY: &str = "GOAUTH=";
/// Go's default for GOAUTH.
const USUAL: &str = "netrc";

/// The commands in GOAUTH.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let values = text.lines().filter_map(|line| line.strip_prefix(KEY));
    values.flat_map(|value| value.split(';')).map(str::trim).filter(|command| !command.is_empty())
}

/// The program of a command, if it is keyfob.
fn program(command: &str) -> Option<&str> {
    let program = command.strip_suffix(" goauth")?.trim_matches('\'');
    is_keyfob(program).then_some(program)
}

fn with(text: &str, own: &str) -> String {
    let own = format!("{} goauth", shell_quoted(own));
    let usual = Some(USUAL).filter(|_| commands(text).next().is_none());
    set(text, std::iter::once(own.as_str()).chain(usual).chain(commands(text)))
}

fn without(text: &str, _: &HostPattern) -> String {
    let left: Vec<&str> = commands(text).filter(|command| program(command).is_none()).collect();
    set(text, left.into_iter().filter(|command| *command != USUAL || commands(text).count() > 2))
}

/// Sets GOAUTH to these commands, or removes it if there are none.
fn set<'c>(text: &str, commands: impl Iterator<Item = &'c str>) -> String {
    let value = commands.collect::<Vec<_>>().join("; ");
    let line = if value.is_empty() { String::new() } else { format!("{KEY}{value}\n") };
    let mut is_set = false;
    let mut lines: String = text
        .split_inclusive('\n')
        .map(|old| match old.strip_prefix(KEY) {
            Some(_) if is_set => "",
            Some(_) => {
                is_set = true;
                line.as_str()
            }
            None => old,
        })
        .collect();
    if !is_set {
        let gap = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
        lines = format!("{lines}{gap}{line}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyfob_comes_first_and_goes_alone() {
        let host = HostPattern::parse("https://go.example").unwrap();
        for (before, after) in [
            ("", "GOAUTH=/x/keyfob goauth; netrc\n"),
            ("GOPROXY=x", "GOPROXY=x\nGOAUTH=/x/keyfob goauth; netrc\n"),
            ("GOAUTH=git /a\nGOPROXY=x\n", "GOAUTH=/x/keyfob goauth; git /a\nGOPROXY=x\n"),
            ("GOAUTH=netrc; git /a\n", "GOAUTH=/x/keyfob goauth; netrc; git /a\n"),
        ] {
            let with = with(before, "/x/keyfob");
            assert_eq!(with, after);
            assert_eq!((GO.runs)(&with, &host).as_deref(), Some("/x/keyfob"));
            let without = without(&with, &host);
            assert_eq!(without.trim_end(), before.trim_end(), "{with}");
        }
        let quoted = with("", "/a b/keyfob");
        assert_eq!(quoted, "GOAUTH='/a b/keyfob' goauth; netrc\n");
        assert_eq!((GO.runs)(&quoted, &host).as_deref(), Some("/a b/keyfob"));
        assert_eq!((GO.runs)("GOAUTH=git /keyfob\n", &host), None);
    }
}
