//! `keyfob setup git`: a line in `[hosts]`, and git's `credential.URL.helper`, through `git config` itself.

use super::former::{Host, Undo};
use super::{Config, Consent, Outcome, Plan, Ran, Step, Wanted, on_path, own_path, run as ran};
use crate::commands::doctor::Findings;
use crate::commands::print;
use crate::config::{HostPattern, HostRule, Profile, edit};
use crate::failure::{Exit, Failure};
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `keyfob setup git`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Other helpers are switched off for the host, since git hands to every helper what one of them answered.

Examples:
  keyfob setup git --profile gh https://github.com
  keyfob setup git --profile lab https://git.lab:8443/team
  keyfob setup git --profile gh --provider github --client-id Iv1.0123456789abcdef https://github.com
                                           makes the profile, too
  keyfob setup git --undo https://github.com")]
pub(super) struct Arguments {
    /// Hosts whose token git is to get from keyfob: `https://HOST[:PORT][/PATH]`
    #[arg(required = true, value_name = "URL")]
    hosts: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    consent: Consent,
}

/// Connects git with a profile, or disconnects it.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut hosts: Vec<HostPattern> = Vec::new();
    for text in &arguments.hosts {
        let host = HostPattern::parse(text).map_err(|why| Failure::usage(format!("{text:?} {why}")))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let urls = hosts.iter().map(HostPattern::canonical).collect::<Vec<_>>().join(", ");
    if arguments.consent.undo {
        let title = format!("Disconnect git from keyfob for {urls}");
        if undoing(&hosts)?.carry_out(&title, &arguments.consent)? == Outcome::Done {
            print(&format!("git no longer asks keyfob for {urls}.\n"))?;
        }
        return Ok(());
    }
    let mut config = Config::load()?;
    let profile = arguments.wanted.in_config(&mut config, BY)?;
    let title = format!("Connect git with the profile {} for {urls}", profile.title());
    if connecting(config, &hosts, profile.title())?.carry_out(&title, &arguments.consent)? != Outcome::Declined {
        for host in &hosts {
            print(&checked(host, &profile)?)?;
        }
    }
    Ok(())
}

/// What this calls itself in config.toml.
const BY: &str = "setup git";

fn connecting(mut config: Config, hosts: &[HostPattern], profile: &str) -> Result<Plan> {
    let mut plan = Plan::default();
    let file = global_file()?;
    let helper = format!("!{} git", shell_quoted(&own_path()?.to_string_lossy()));
    let mut kept = Vec::new();
    for host in hosts {
        let url = host.canonical();
        let mut changed = Host { url: url.clone(), file: file.clone(), ..Host::default() };
        match profile_of(host, &config)? {
            Some(other) if other != profile => {
                return Err(Failure::usage(format!("{url} has the token of profile {other:?} already"))
                    .hint(format!("first: keyfob setup git --undo {}", shell_quoted(&url)))
                    .into());
            }
            Some(_) => {}
            None => {
                config.edit(|text| edit::with_host(text, host, profile))?;
                changed.line = true;
            }
        }
        let key = format!("credential.{url}.helper");
        let there = values(&key)?;
        if there.is_empty() {
            plan.run(["git", "config", "--global", "--add", &key, ""]);
            plan.run(["git", "config", "--global", "--add", &key, &helper]);
            changed.helper = true;
        } else if there != ["", &helper] {
            let other = there.iter().find(|value| !value.is_empty() && **value != helper);
            let other = clean(other.map_or("", String::as_str));
            return Err(Failure::usage(format!("git has another helper for {url} already: {other:?}"))
                .hint(format!("first: git config --global --unset-all {}", shell_quoted(&key)))
                .into());
        }
        if host.has_path() && values(&by_path(&url))?.is_empty() {
            plan.run(["git", "config", "--global", &by_path(&url), "true"]);
            changed.by_path = true;
        }
        plan.notes.extend(interfering(host)?);
        if changed.line || changed.helper || changed.by_path {
            kept.push(changed);
        }
    }
    let mut former = config.keep([file])?;
    former.hosts = kept;
    // Before git, which asks keyfob for it as soon as it can.
    plan.steps.splice(..0, config.into_step());
    plan.keep(former);
    plan.notes.dedup();
    Ok(plan)
}

fn undoing(hosts: &[HostPattern]) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut config = Config::load()?;
    let urls: Vec<String> = hosts.iter().map(HostPattern::canonical).collect();
    let mut undo = Undo::of_hosts(&urls)?;
    let mut profiles = Vec::new();
    let mut changed = Vec::new();
    for (host, url) in hosts.iter().zip(&urls) {
        let mut kept: Vec<Host> =
            undo.undone().flat_map(|former| &former.hosts).filter(|h| h.url == *url).cloned().collect();
        if kept.is_empty() {
            // Nothing is known of it any more: what looks as if `setup` had written it goes.
            let by_path = host.has_path() && is_connected(url);
            let (url, file) = (url.clone(), global_file()?);
            kept.push(Host { url, file, line: true, helper: true, by_path });
        }
        if kept.iter().any(|kept| kept.line) {
            profiles.extend(profile_of(host, &config)?);
            config.edit(|text| edit::without_host(text, host, undo.made_section("hosts")))?;
        }
        changed.extend(kept);
    }
    for profile in undo.profiles(profiles) {
        config.release(&profile, BY, &mut undo, &mut plan)?;
    }
    config.take_back(&mut undo, &mut plan)?;
    let files: BTreeSet<&Path> = changed.iter().map(|host| host.file.as_path()).collect();
    for file in files {
        undo.file(file, &mut plan, |undo, plan| {
            let mut here = changed.iter().filter(|host| host.file == file);
            here.try_for_each(|host| unset(host, plan))?;
            plan.steps.extend(undo.removal(file).map(|_| Step::RemoveIfEmpty(file.to_owned())));
            Ok(())
        })?;
    }
    undo.finish(&mut plan);
    Ok(plan)
}

/// Takes out of git's configuration what was added for a host, as far as it is still there.
fn unset(host: &Host, plan: &mut Plan) -> Result<()> {
    let Host { url, file, .. } = host;
    let file = file.to_string_lossy();
    let (key, by_path) = (format!("credential.{url}.helper"), by_path(url));
    let there = values_in(&["--file", &file], &key)?;
    if let Some(line) = there.iter().find(|value| host.helper && is_ours(value)) {
        if there.iter().all(|value| value.is_empty() || is_ours(value)) {
            plan.run(["git", "config", "--file", &file, "--unset-all", &key]);
        } else {
            plan.run(["git", "config", "--file", &file, "--fixed-value", "--unset", &key, line]);
            plan.notes.push(format!("other helpers for {url} are left as they are"));
        }
    }
    if host.by_path && values_in(&["--file", &file], &by_path)? == ["true"] {
        plan.run(["git", "config", "--file", &file, "--unset", &by_path]);
    }
    Ok(())
}

/// The profile that a host is mapped to, if it is there as it stands.
fn profile_of(host: &HostPattern, config: &Config) -> Result<Option<String>> {
    let hosts = config.file()?.hosts;
    Ok(hosts.into_iter().find(|rule| rule.pattern == *host).map(|rule| rule.profile))
}

/// What keyfob itself writes as a helper, wherever it was then.
fn is_ours(helper: &str) -> bool {
    program_of(helper).rsplit('/').next() == Some("keyfob")
}

/// The program in a helper that keyfob has written; nothing in another.
fn program_of(helper: &str) -> &str {
    let program = helper.strip_prefix('!').and_then(|helper| helper.strip_suffix(" git")).unwrap_or_default();
    program.trim_matches('\'')
}

/// git passes the path on only where it is told to.
fn by_path(url: &str) -> String {
    format!("credential.{url}.useHttpPath")
}

/// Runs git, which asks nobody anything.
fn git(words: &[&str], input: &str) -> Result<Ran> {
    let words: Vec<String> = std::iter::once("git").chain(words.iter().copied()).map(str::to_owned).collect();
    let quiet = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("SSH_ASKPASS", ""), ("KEYFOB_PROMPT", "never")];
    ran(&words, &quiet, input)
}

/// The values of a key in the user's own configuration.
fn values(key: &str) -> Result<Vec<String>> {
    values_in(&["--global"], key)
}

/// The values of a key where these words say.
fn values_in(place: &[&str], key: &str) -> Result<Vec<String>> {
    let found = git(&[&["config"], place, &["--null", "--get-all", key]].concat(), "")?;
    Ok(found.stdout.split_terminator('\0').map(str::to_owned).collect())
}

/// The file that `git config --global` writes to.
fn global_file() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("GIT_CONFIG_GLOBAL").filter(|file| !file.is_empty()) {
        return Ok(std::path::absolute(&file).unwrap_or_else(|_| file.into()));
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.context("there is no home directory to find git's configuration in")?;
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
    let (own, other) = (home.join(".gitconfig"), folder.map_or(home.join(".config"), PathBuf::from).join("git/config"));
    Ok(if !own.exists() && other.exists() { other } else { own })
}

/// The addresses of the remotes of the repository here; none outside of one.
pub(super) fn remotes() -> Result<Vec<String>> {
    let found = git(&["config", "--null", "--get-regexp", r"^remote\..*\.url$"], "")?;
    let value = |line: &str| line.split_once('\n').map(|(_, value)| value.to_owned());
    Ok(found.stdout.split_terminator('\0').filter_map(value).collect())
}

/// Whether git asks keyfob for this host.
pub(super) fn is_connected(url: &str) -> bool {
    values(&format!("credential.{url}.helper")).is_ok_and(|values| values.iter().any(|value| is_ours(value)))
}

/// What git runs for a host that has a profile.
pub(super) fn examine(findings: &mut Findings, rule: &HostRule) {
    let url = rule.pattern.canonical();
    let subject = format!("git, {url}");
    let quoted = shell_quoted(&url);
    let again = format!(
        "keyfob setup git --undo {quoted}, then keyfob setup git --profile {} {quoted}",
        shell_quoted(&rule.profile)
    );
    // Without git there is nothing to look at.
    let Ok(helpers) = values(&format!("credential.{url}.helper")) else { return };
    let Some(helper) = helpers.iter().find(|value| is_ours(value)) else {
        let connect = format!("keyfob setup git --profile {} {quoted}", shell_quoted(&rule.profile));
        findings.doubt(&subject, format!("has the profile {:?}, but git does not ask keyfob", rule.profile), connect);
        return;
    };
    let program = program_of(helper);
    let there = if program.contains('/') { Path::new(program).is_file() } else { on_path(program).is_some() };
    if !there {
        findings.bad(&subject, format!("git runs {program}, which is not there"), again);
        return;
    }
    if rule.pattern.has_path() && !values(&by_path(&url)).is_ok_and(|values| values == ["true"]) {
        let remedy = format!("git config --global {} true", shell_quoted(&by_path(&url)));
        findings.bad(&subject, "git does not say which path it wants a token for, so it gets none", remedy);
    }
    for note in interfering(&rule.pattern).unwrap_or_default() {
        findings.doubt(
            &subject,
            note,
            "git config --show-origin --list shows it; git config --unset-all NAME removes it",
        );
    }
    findings.ok(subject, format!("git runs {program}; the profile is {:?}", rule.profile));
}

/// What else in git's configuration would come between keyfob and this host.
fn interfering(host: &HostPattern) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let list = git(&["config", "--null", "--show-scope", "--show-origin", "--list"], "")?.stdout;
    let fields: Vec<&str> = list.split_terminator('\0').collect();
    for line in fields.chunks_exact(3) {
        let (scope, origin, (key, value)) = (line[0], line[1], line[2].split_once('\n').unwrap_or((line[2], "")));
        let Some((section, name)) = key.rsplit_once('.') else { continue };
        let (section, url) = section.split_once('.').map_or((section, None), |(section, url)| (section, Some(url)));
        let concerns = url.is_none_or(|url| host.overlaps(url));
        let place = format!("{} in {}", clean(key), clean(origin.strip_prefix("file:").unwrap_or(origin)));
        match (section, name) {
            // What the system and the user have for every host comes before keyfob's line, which resets it.
            ("credential", "helper")
                if concerns
                    && (url.is_some() || !matches!(scope, "system" | "global"))
                    && !value.is_empty()
                    && !is_ours(value) =>
            {
                notes.push(format!(
                    "{place} is another helper for this host ({}): git hands it the token",
                    clean(value)
                ));
            }
            ("credential", "username") if concerns => {
                notes.push(format!("{place} makes git ask for that user name"));
            }
            ("http", "extraheader") if concerns && value.to_ascii_lowercase().starts_with("authorization") => {
                notes.push(format!("{place} sends a credential of its own, which goes before keyfob's"));
            }
            ("url", "insteadof" | "pushinsteadof") if host.overlaps(value) => {
                let target = clean(url.unwrap_or_default());
                notes.push(format!("{place} sends git to {target} instead, where keyfob may not be asked"));
            }
            ("remote", "url" | "pushurl") if host.overlaps(value) && value.contains('@') => {
                notes.push(format!("{place} has a user name in it, which git sends along"));
            }
            _ => {}
        }
    }
    Ok(notes)
}

/// Has git ask for the host's credential, as a fetch would, and says what came of it.
fn checked(host: &HostPattern, profile: &Profile) -> Result<String> {
    let url = host.canonical();
    if host.is_wildcard() {
        return Ok(format!("git asks keyfob for {url}.\n"));
    }
    let answer = git(&["credential", "fill"], &format!("url={url}\n"))?;
    if answer.ok && answer.stdout.lines().any(|line| line.starts_with("password=")) {
        return Ok(format!("git asks keyfob for {url}, and is answered.\n"));
    }
    if answer.stderr.contains("a sign-in is needed") {
        let login = profile.command("login");
        let first = "keyfob asks you to sign in when git first needs a token";
        return Ok(format!("git asks keyfob for {url}.\n{first}; or now: {login}\n"));
    }
    let what = format!("git is set up for {url}, but was not answered: {}", clean(&answer.stderr));
    Err(Failure::new(Exit::Failed, what)
        .hint("the helpers that git runs: git config --show-origin --get-all credential.helper")
        .into())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_keyfobs_own_line_is_ours() {
        for ours in ["!/usr/local/bin/keyfob git", "!'/home/a b/keyfob' git", "!keyfob git"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in
            ["", "store", "!gh auth git-credential", "!keyfob git --profile a --host https://a", "/x/notkeyfob git"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }
}
