//! `keyfob setup terraform`: a rule in `[hosts]`, `credentials_helper` in Terraform's configuration, and the link
//! `terraform-credentials-keyfob` among its plugins.

use super::Tool;
use super::hosted::{Hosted, home};

/// Terraform.
pub(super) const TOOL: Tool = Tool {
    name: TERRAFORM.name,
    alias: None,
    about: "Have Terraform ask keyfob for a registry's token",
    define: |command| TERRAFORM.define(command, HELP),
    connect: |matches| TERRAFORM.connect(matches),
    disconnect: |matches| TERRAFORM.disconnect(matches),
    discover: |machine, found| TERRAFORM.discover(machine, found),
    check: |findings, file, only| TERRAFORM.check(findings, file, only),
};

const HELP: &str = "\
OpenTofu reads the same file, unless there is a ~/.tofurc.

Examples:
  keyfob setup terraform --profile lab registry.example.com
  keyfob setup terraform --undo registry.example.com";

const TERRAFORM: Hosted = Hosted {
    name: "terraform",
    by: "setup terraform",
    title: "Terraform",
    caller: Some("terraform"),
    link: Some(("terraform-credentials-keyfob", Some(".terraform.d/plugins"))),
    file: || match std::env::var_os("TF_CLI_CONFIG_FILE").filter(|file| !file.is_empty()) {
        Some(file) => Ok(std::path::absolute(file)?),
        None => Ok(home()?.join(".terraformrc")),
    },
    shared: true,
    with: |text, _| Ok(with(text)),
    without: |text, _| text.split_inclusive('\n').filter(|line| line.trim_end() != BLOCK).collect(),
    runs: |text, _| helper(text).map(|name| format!("terraform-credentials-{name}")),
    asks: |host, _| {
        let url = host.canonical();
        let registry = url.rsplit('/').next().unwrap_or_default();
        (["terraform", "get", registry].map(str::to_owned).to_vec(), String::new(), "\"token\":")
    },
};

/// The line in Terraform's configuration.
const BLOCK: &str = "credentials_helper \"keyfob\" {}";

/// The helper in the configuration; there can be only one.
fn helper(text: &str) -> Option<&str> {
    let named = text.lines().find_map(|line| line.trim_start().strip_prefix("credentials_helper"))?;
    named.split('"').nth(1)
}

fn with(text: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{BLOCK}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPattern;

    #[test]
    fn the_helper_comes_and_goes() {
        let host = HostPattern::parse("https://tf.example:8443").unwrap();
        for before in ["", "disable_checkpoint = true\n", "a = 1"] {
            let with = with(before);
            assert_eq!((TERRAFORM.runs)(&with, &host).as_deref(), Some("terraform-credentials-keyfob"));
            assert_eq!((TERRAFORM.without)(&with, &host).trim_end(), before.trim_end());
        }
        let other = "credentials_helper \"vault\" {\n  args = []\n}\n";
        assert_eq!((TERRAFORM.runs)(other, &host).as_deref(), Some("terraform-credentials-vault"));
        assert_eq!((TERRAFORM.asks)(&host, "lab").0, ["terraform", "get", "tf.example:8443"]);
    }
}
