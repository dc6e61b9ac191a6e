//! `keyfob setup pip`: a rule in `[hosts]`, `keyring-provider` in pip's own configuration, and the link `keyring`.

use super::Tool;
use super::hosted::{Hosted, folder_of, home};
use super::ini;
use anyhow::Result;
use std::path::PathBuf;

/// pip.
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
pip runs the first `keyring` on PATH; what is not mapped goes on to the next. uv does the same with \
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
    with: |text, _| Ok(ini::with(text, SECTION, &format!("{KEY} = subprocess"))),
    without: |text, _| ini::without(text, SECTION, KEY),
    runs: |text, _| {
        let (_, provider) = ini::find(text, SECTION, KEY)?;
        Some(if provider == "subprocess" { "keyring" } else { provider }.to_owned())
    },
    asks: |host, _| {
        (["keyring", "get", &host.canonical(), "--mode=creds"].map(str::to_owned).to_vec(), String::new(), "\n")
    },
};

const SECTION: &str = "[global]";
const KEY: &str = "keyring-provider";

/// pip's configuration file for this user; the old location takes precedence if it exists.
fn file() -> Result<PathBuf> {
    let old = home()?.join(".pip/pip.conf");
    Ok(if old.exists() { old } else { folder_of("XDG_CONFIG_HOME", ".config")?.join("pip/pip.conf") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPattern;

    #[test]
    fn the_provider_is_the_first_keyring_or_another() {
        let host = HostPattern::parse("https://pypi.example/simple").unwrap();
        let own = ini::with("", SECTION, &format!("{KEY} = subprocess"));
        assert_eq!(own, "[global]\nkeyring-provider = subprocess\n");
        assert_eq!((PIP.runs)(&own, &host).as_deref(), Some("keyring"));
        assert_eq!((PIP.runs)("[global]\nkeyring_provider: import\n", &host).as_deref(), Some("import"));
        assert_eq!((PIP.runs)("[install]\nkeyring-provider = import\n", &host), None);
    }
}
