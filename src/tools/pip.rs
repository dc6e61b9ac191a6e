//! `keyfob setup pip`: a rule in `[hosts]`, `keyring-provider` in pip's own configuration, and the link `keyring`.

use super::Tool;
use super::hosted::{Hosted, folder_of, home};
use crate::config::HostPattern;
use anyhow::Result;
use std::path::PathBuf;

/// pip
pub(super) const TOOL: Tool = Tool {
    name: PIP.name,
    alias: None,
    about: "Have pip ask keyfob for an index's token",
    define: |command| PIP.define(command, HELP),
    connect: |matches| PIP.connect(matches),
    disconnect: |matches| PIP.disconnect(matches),
    discover: |machine, found| PIP.discover(machine, found),
    check: |findings, file, only| PIP.check(findings, file, only),
};

const HELP: &str = "\
pip runs the first `keyring` on PATH; what is not mapped goes on to the next. uv does the same with
UV_KEYRING_PROVIDER=subprocess.

Examples:
  keyfob setup pip --profile lab https://pypi.example.com/simple
  keyfob setup pip --profile lab --bin ~/bin https://pypi.example.com/simple
  keyfob setup pip --undo https://pypi.example.com/simple";

const PIP: Hosted = Hosted {
    name: "pip",
    by: "setup pip",
    title: "pip",
    caller: Some("keyring"),
    link: Some(("keyring", None)),
    file,
    shared: true,
    with: |text, _| Ok(with(text)),
    without,
    runs: |text, _| setting(text).map(|(_, value)| if value == "subprocess" { "keyring" } else { value }.to_owned()),
    asks: |host, _| {
        (["keyring", "get", &host.canonical(), "--mode=creds"].map(str::to_owned).to_vec(), String::new(), "\n")
    },
};

const KEY: &str = "keyring-provider";

/// pip's file for this user: the old place counts where it exists.
fn file() -> Result<PathBuf> {
    let old = home()?.join(".pip/pip.conf");
    Ok(if old.exists() { old } else { folder_of("XDG_CONFIG_HOME", ".config")?.join("pip/pip.conf") })
}

/// The number of the line below `[global]` that names a provider, and which.
fn setting(text: &str) -> Option<(usize, &str)> {
    let mut section = "";
    text.lines().enumerate().find_map(|(number, line)| {
        if line.starts_with('[') {
            section = line.trim();
        }
        let (key, value) = line.split_once(['=', ':'])?;
        (section == "[global]" && key.trim().replace('_', "-") == KEY).then_some((number, value.trim()))
    })
}

fn with(text: &str) -> String {
    let line = format!("{KEY} = subprocess\n");
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(header) = lines.iter().position(|line| line.trim() == "[global]") {
        lines.insert(header + 1, &line);
        return lines.concat();
    }
    let gap = if text.is_empty() || text.ends_with("\n\n") {
        ""
    } else if text.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    format!("{text}{gap}[global]\n{line}")
}

fn without(text: &str, _: &HostPattern) -> String {
    let number = setting(text).map(|(number, _)| number);
    let lines = text.split_inclusive('\n').enumerate().filter(|(at, _)| Some(*at) != number);
    let text: String = lines.map(|(_, line)| line).collect();
    // An empty section at the end was most likely made with it.
    match text.trim_end().strip_suffix("[global]") {
        Some("") => String::new(),
        Some(before) if before.ends_with('\n') => before.trim_end().to_owned() + "\n",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_comes_and_goes() {
        let host = HostPattern::parse("https://pypi.example/simple").unwrap();
        for (before, after) in [
            ("", "[global]\nkeyring-provider = subprocess\n"),
            ("[global]\nindex-url = x\n", "[global]\nkeyring-provider = subprocess\nindex-url = x\n"),
            ("[install]\nno-deps = yes", "[install]\nno-deps = yes\n\n[global]\nkeyring-provider = subprocess\n"),
        ] {
            let with = with(before);
            assert_eq!(with, after);
            assert_eq!((PIP.runs)(&with, &host).as_deref(), Some("keyring"));
            assert_eq!((PIP.runs)(&without(&with, &host), &host), None);
        }
        assert_eq!((PIP.runs)("[global]\nkeyring_provider: import\n", &host).as_deref(), Some("import"));
        assert_eq!((PIP.runs)("[install]\nkeyring-provider = import\n", &host), None);
    }
}
