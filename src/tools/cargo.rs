//! `keyfob setup cargo`: a rule in `[hosts]`, and the registry's `credential-provider` in cargo's configuration.

use super::Tool;
use super::hosted::{Entry, Hosted, folder_of};
use crate::config::HostPattern;
use crate::config::edit::edited;
use crate::failure::Failure;
use anyhow::Result;
use clap::Arg;
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

/// cargo.
pub(super) const TOOL: Tool = Tool {
    name: CARGO.name,
    alias: None,
    about: "Have cargo ask keyfob for a registry's token",
    define: |command| {
        let help = "Name of a registry that cargo does not know yet, for its index";
        CARGO.define(command, HELP).arg(Arg::new("registry").long("registry").value_name("NAME").help(help))
    },
    connect: |matches| CARGO.connect(matches),
    disconnect: |matches| CARGO.disconnect(matches),
    discover: |machine, found| CARGO.discover(machine, found),
    check: |findings, file, only| CARGO.check(findings, file, only),
};

const HELP: &str = "\
The registry is the one whose sparse index is at that address.

Examples:
  keyfob setup cargo --profile lab https://crates.example.com/index
  keyfob setup cargo --profile lab --registry lab https://crates.example.com/index
                                           makes the registry, too
  keyfob setup cargo --undo https://crates.example.com/index";

const CARGO: Hosted = Hosted {
    name: "cargo",
    by: "setup cargo",
    title: "cargo",
    caller: Some("cargo"),
    link: None,
    file: || {
        let folder = folder_of("CARGO_HOME", ".cargo")?;
        let old = folder.join("config");
        Ok(if old.is_file() { old } else { folder.join("config.toml") })
    },
    shared: false,
    with,
    without,
    runs: |text, host| {
        let document: DocumentMut = text.parse().ok()?;
        let (_, registry) = document.get(REGISTRIES)?.as_table_like()?.iter().find(|(_, item)| is_of(item, host))?;
        let provider = registry.get(PROVIDER)?;
        let first = provider.as_array().and_then(|words| words.get(0)?.as_str());
        first.or(provider.as_str()).map(str::to_owned)
    },
    asks: |host, _| {
        let request = serde_json::json!({"v": 1, "registry": {"index-url": format!("sparse+{}/", host.canonical())}, "kind": "get"});
        (vec!["--cargo-plugin".to_owned()], format!("{request}\n"), "{\"Ok\":")
    },
};

const REGISTRIES: &str = "registries";
const PROVIDER: &str = "credential-provider";
const INDEX: &str = "index";

/// Whether a registry's index is at this address.
fn is_of(registry: &Item, host: &HostPattern) -> bool {
    let index = registry.get(INDEX).and_then(Item::as_str).unwrap_or_default();
    HostPattern::parse(index.strip_prefix("sparse+").unwrap_or(index)).is_ok_and(|pattern| pattern == *host)
}

/// The table of the registry whose index is at this address.
fn registry<'d>(document: &'d mut DocumentMut, host: &HostPattern) -> Option<&'d mut dyn TableLike> {
    let all = document.get_mut(REGISTRIES)?.as_table_like_mut()?;
    all.iter_mut().find(|(_, item)| is_of(item, host))?.1.as_table_like_mut()
}

/// Sets the provider of the registry, which is added if the entry names it. Fails if cargo knows no such registry.
fn with(text: &str, entry: &Entry<'_>) -> Result<String> {
    let provider = || value(toml_edit::Array::from_iter([entry.own]));
    let mut unnamed = false;
    let changed = edited(text, |document| {
        if let Some(registry) = registry(document, entry.host) {
            registry.insert(PROVIDER, provider());
            return;
        }
        let Some(name) = entry.registry else {
            unnamed = true;
            return;
        };
        let mut table = Table::new();
        table.insert(INDEX, value(format!("sparse+{}/", entry.host.canonical())));
        table.insert(PROVIDER, provider());
        let all = document.entry(REGISTRIES).or_insert_with(|| {
            let mut all = Table::new();
            all.set_implicit(true);
            Item::Table(all)
        });
        if let Some(all) = all.as_table_like_mut() {
            all.insert(name, Item::Table(table));
        }
    });
    let changed =
        changed.map_err(|e| Failure::usage(format!("cargo's configuration cannot be read: {}", e.message())))?;
    if unnamed {
        let what = format!("cargo knows no registry whose index is {}", entry.host.canonical());
        return Err(Failure::usage(what).hint("add --registry NAME to make one").into());
    }
    Ok(changed)
}

/// Removes the provider from the registry.
fn without(text: &str, host: &HostPattern) -> String {
    let changed = edited(text, |document| {
        if let Some(registry) = registry(document, host) {
            registry.remove(PROVIDER);
        }
    });
    changed.unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_of_a_registry_comes_and_goes() {
        let host = HostPattern::parse("https://crates.example/index").unwrap();
        let entry = |registry| Entry { host: &host, profile: "lab", own: "/x/keyfob", registry };
        let own =
            "# mine\n[registries.own]\nindex = \"sparse+https://crates.example/index/\" # here\n\n[net]\ngit = true\n";
        let with_own = with(own, &entry(None)).unwrap();
        assert_eq!(with_own, own.replace("# here\n", "# here\ncredential-provider = [\"/x/keyfob\"]\n"));
        assert_eq!((CARGO.runs)(&with_own, &host).as_deref(), Some("/x/keyfob"));
        assert_eq!(without(&with_own, &host), own);

        let made = with("[net]\ngit = true\n", &entry(Some("lab"))).unwrap();
        assert_eq!(
            made,
            "[net]\ngit = true\n\n[registries.lab]\nindex = \"sparse+https://crates.example/index/\"\n\
             credential-provider = [\"/x/keyfob\"]\n"
        );
        assert_eq!((CARGO.runs)(&made, &host).as_deref(), Some("/x/keyfob"));
        let unnamed = with("", &entry(None)).unwrap_err();
        assert_eq!(unnamed.to_string(), "cargo knows no registry whose index is https://crates.example/index");
        let other = own.replace("# here", "\ncredential-provider = 'cargo:token'");
        assert_eq!((CARGO.runs)(&other, &host).as_deref(), Some("cargo:token"));
    }
}
