//! `keyfob setup pnpm`: `tokenHelper` for a registry in the user's `.npmrc`, which itself names the profile.

use super::Tool;
use super::findings::Findings;
use super::found::{Found, Machine};
use super::hosted::{Entry, Hosted, home, is_keyfob, text};
use super::is_program;
use crate::config::{File, HostPattern};
use crate::failure::Failure;
use crate::text::{clean, shell_quoted};
use anyhow::Result;
use std::path::Path;

/// pnpm.
pub(super) const TOOL: Tool = Tool {
    name: PNPM.name,
    alias: None,
    about: "Have pnpm ask keyfob for a registry's token",
    define: |command| PNPM.define(command, HELP),
    connect: |matches| PNPM.connect(matches),
    disconnect: |matches| PNPM.disconnect(matches),
    discover,
    check,
};

const HELP: &str = "\
npm and yarn have nothing of the kind: keyfob exec --env NPM_TOKEN=PROFILE -- npm publish

Examples:
  keyfob setup pnpm --profile lab https://npm.example.com
  keyfob setup pnpm --undo https://npm.example.com";

const PNPM: Hosted = Hosted {
    name: "pnpm",
    by: "setup pnpm",
    title: "pnpm",
    caller: None,
    link: None,
    file: || Ok(home()?.join(".npmrc")),
    shared: false,
    with,
    without: |text, host| text.split_inclusive('\n').filter(|line| !line.starts_with(&key(host))).collect(),
    runs: |text, host| {
        let value = text.lines().find_map(|line| line.strip_prefix(&key(host)))?;
        Some(value.split(' ').next().unwrap_or_default().to_owned())
    },
    asks: |_, profile| (["token", "--profile", profile].map(str::to_owned).to_vec(), String::new(), "\n"),
};

const HELPER: &str = ":tokenHelper=";

/// The beginning of the line with a registry's helper.
fn key(host: &HostPattern) -> String {
    let url = host.canonical();
    format!("//{}/{HELPER}", url.split_once("://").map_or("", |(_, rest)| rest))
}

fn with(text: &str, entry: &Entry<'_>) -> Result<String> {
    if entry.host.is_wildcard() {
        return Err(Failure::usage("pnpm has no wildcards").hint("name one registry").into());
    }
    // pnpm does not support quotes, and splits at spaces.
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-@+:".contains(c));
    if let Some(odd) = [entry.own, entry.profile].into_iter().find(|word| !plain(word)) {
        return Err(Failure::usage(format!("{odd:?} cannot stand in .npmrc: pnpm takes no quotes there")).into());
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{gap}{}{} token --profile {}\n", key(entry.host), entry.own, entry.profile))
}

/// The registries for which pnpm runs keyfob: address, program and profile.
fn connected(text: &str) -> impl Iterator<Item = (String, &str, &str)> {
    text.lines().filter_map(|line| {
        let (place, command) = line.split_once(HELPER)?;
        let [program, "token", "--profile", profile] = command.split(' ').collect::<Vec<_>>()[..] else { return None };
        is_keyfob(program).then(|| (format!("https:{}", place.trim_end_matches('/')), program, profile))
    })
}

/// Finds the registries that are connected. pnpm does not say which other registries there are.
fn discover(_: &Machine, found: &mut Found) {
    let Ok(Some(text)) = (PNPM.file)().and_then(|path| text(&path)) else { return };
    found.connected.extend(connected(&text).map(|(url, ..)| format!("pnpm: {}", clean(&url))));
}

/// Checks what pnpm runs.
fn check(findings: &mut Findings, file: &File, only: Option<&str>) {
    let Ok(Some(text)) = (PNPM.file)().and_then(|path| text(&path)) else { return };
    for (url, program, profile) in connected(&text).filter(|(_, _, profile)| only.is_none_or(|only| only == *profile)) {
        let subject = format!("pnpm {}", clean(&url));
        let quoted = shell_quoted(&url);
        let again = format!(
            "keyfob setup pnpm --undo {quoted} && keyfob setup pnpm --profile {} {quoted}",
            shell_quoted(profile)
        );
        if !is_program(program, Path::new("/")) {
            let what = format!("pnpm runs {}, which does not exist", clean(program));
            findings.error(&subject, what, crate::failure::Hint::Command(again));
        } else if !file.profiles.contains_key(profile) {
            findings.error(
                &subject,
                format!("pnpm asks for the profile {profile:?}, which does not exist"),
                format!("keyfob setup pnpm --undo {quoted}, and then with a profile that exists"),
            );
        } else {
            findings.ok(&subject, format!("pnpm runs {} for the profile {profile:?}", clean(program)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_of_a_registry_comes_and_goes() {
        let host = HostPattern::parse("https://npm.example:8443/team").unwrap();
        let entry = |own| Entry { host: &host, profile: "lab", own, registry: None };
        for before in ["", "registry=https://npm.example/\n", "a=b"] {
            let with = with(before, &entry("/x/keyfob")).unwrap();
            assert!(with.ends_with("//npm.example:8443/team/:tokenHelper=/x/keyfob token --profile lab\n"), "{with}");
            assert_eq!((PNPM.runs)(&with, &host).as_deref(), Some("/x/keyfob"));
            assert_eq!((PNPM.without)(&with, &host).trim_end(), before.trim_end());
        }
        assert!(with("", &entry("/a b/keyfob")).is_err());
    }
}
