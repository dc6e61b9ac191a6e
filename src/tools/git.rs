//! `keyfob setup git`: a rule in `[hosts]`, and git's `credential.URL.helper`, set with `git config`.

use super::findings::Findings;
use super::found::{Found, Machine};
use super::hosted::patterns;
use super::profile::{Chosen, Config, Wanted};
use super::{Asked, Job, Tool, is_program, own_program, urls};
use crate::change::plan::{self, Plan};
use crate::change::undo::Undo;
use crate::config::hosts::of_caller;
use crate::config::{File, HostPattern, HostRule, Profile, edit};
use crate::failure::{Exit, Failure, Hint};
use crate::program::{self, Ran};
use crate::providers::{PRESETS, TokenKind};
use crate::sorted;
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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
  keyfob setup git --profile gh --account ada https://github.com
                                           another account, for https://ada@github.com/…
  keyfob setup git --undo https://github.com")]
struct Arguments {
    /// Hosts whose token git is to get from keyfob: `https://HOST[:PORT][/PATH]`
    #[arg(required = true, value_name = "URL")]
    hosts: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// git.
pub(super) const TOOL: Tool = Tool {
    name: NAME,
    alias: None,
    about: "Have git ask keyfob for a host's token",
    define: Arguments::augment_args,
    connect: |matches| connect(&Arguments::from_arg_matches(matches)?),
    disconnect: |matches| disconnect(&Arguments::from_arg_matches(matches)?),
    discover,
    check,
};

const NAME: &str = "git";
/// The name of this setup in config.toml.
const BY: &str = "setup git";
/// Hosts, each with another host that accepts the same tokens.
const NEIGHBOURS: &[(&str, &str)] = &[("https://github.com", "https://gist.github.com")];

/// Connects git with a profile.
fn connect(arguments: &Arguments) -> Result<Job> {
    let mut hosts = patterns(&arguments.hosts)?;
    if let Some(account) = &arguments.wanted.flags.0.items("account").first() {
        let of = |host: HostPattern| if host.username().is_some() { host } else { host.for_user(account) };
        hosts = hosts.into_iter().map(of).collect();
    }
    let mut config = Config::load()?;
    let chosen = arguments.wanted.in_config(&mut config, BY, &[])?;
    let title = format!("Connect git with the profile {} for {}", chosen.title(), urls(&hosts));
    let plan = connecting(config, &hosts, chosen.title())?;
    let asked = hosts.into_iter().map(|host| asked(host, &chosen)).collect();
    Ok(Job { asked, ..Job::new(title, plan) })
}

/// Disconnects git from keyfob for these hosts.
fn disconnect(arguments: &Arguments) -> Result<Job> {
    let hosts = patterns(&arguments.hosts)?;
    let urls = urls(&hosts);
    let (plan, released) = undoing(&hosts)?;
    let done = format!("git no longer asks keyfob for {urls}.\n");
    Ok(Job { done, released, ..Job::new(format!("Disconnect git from keyfob for {urls}"), plan) })
}

/// What setup added for a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    /// The rule in `[hosts]`.
    line: bool,
    /// git's `helper` settings.
    helper: bool,
    /// git's `useHttpPath` setting.
    by_path: bool,
}

impl Added {
    fn and(self, other: Self) -> Self {
        Self {
            line: self.line || other.line,
            helper: self.helper || other.helper,
            by_path: self.by_path || other.by_path,
        }
    }
}

/// The plan that gives git this profile's token for these hosts.
fn connecting(mut config: Config, hosts: &[HostPattern], profile: &str) -> Result<Plan> {
    let mut plan = Plan::default();
    let file = global_file()?;
    let helper = format!("!{} git", shell_quoted(&own_program()?.to_string_lossy()));
    let mut done = Vec::new();
    for host in hosts {
        let url = host.canonical();
        let mut added = Added { line: is_unmapped(&config, host, profile)?, ..Added::default() };
        config.say(added.line, |text| edit::with_host(text, host, profile))?;
        let key = format!("credential.{url}.helper");
        let there = values(&key)?;
        if there.is_empty() {
            plan.run(["git", "config", "--global", "--add", &key, ""], &file);
            plan.run(["git", "config", "--global", "--add", &key, &helper], &file);
            added.helper = true;
        } else if there != ["", &helper] {
            let other = there.iter().find(|value| !value.is_empty() && **value != helper);
            let other = clean(other.map_or("", String::as_str));
            return Err(Failure::usage(format!("git has another helper for {url} already: {other:?}"))
                .hint(format!("first: git config --global --unset-all {}", shell_quoted(&key)))
                .into());
        }
        if host.has_path() && values(&by_path(&url))?.is_empty() {
            plan.run(["git", "config", "--global", &by_path(&url), "true"], &file);
            added.by_path = true;
        }
        plan.notes.extend(interfering(&listed()?, host).into_iter().map(|(what, _)| what));
        plan.notes.extend(neighbour(host, &config.file()?.hosts, profile));
        if added != Added::default() {
            done.push((url, added));
        }
    }
    for (url, added) in done {
        let all = |earlier: Option<Added>| added.and(earlier.unwrap_or_default());
        let setup = config.setup(&plan, (NAME, &url), Some(profile), vec![file.clone()], all)?;
        plan.setups.push(setup);
    }
    let lines: String = hosts.iter().map(|host| lines(host, &helper)).collect();
    // Write config.toml before git's configuration, because git asks keyfob as soon as it is configured.
    let commands = std::mem::take(&mut plan.steps);
    config.into_plan(&mut plan);
    plan.steps.extend(commands);
    plan.lines.push((file.display().to_string(), lines));
    plan.notes.dedup();
    Ok(plan)
}

/// Whether no rule of `[hosts]` gives git this profile's token for the host. Fails if a rule gives it another's.
fn is_unmapped(config: &Config, host: &HostPattern, profile: &str) -> Result<bool> {
    let url = || host.canonical();
    match config.rule(host, "git", profile)? {
        Some(rule) if !rule.is_for("git") => {
            Err(Failure::usage(format!("{} is in [hosts] already, but not for git", url()))
                .hint("add \"git\" to its `callers`")
                .into())
        }
        Some(HostRule { profile: other, .. }) if other != profile => {
            Err(Failure::usage(format!("{} has the token of profile {other:?} already", url()))
                .hint(format!("first: keyfob setup git --undo {}", shell_quoted(&url())))
                .into())
        }
        rule => Ok(rule.is_none()),
    }
}

/// A note about a related host that has no rule yet.
fn neighbour(host: &HostPattern, rules: &[HostRule], profile: &str) -> Option<String> {
    let (_, other) = NEIGHBOURS.iter().find(|(known, _)| *known == host.canonical())?;
    let pattern = HostPattern::parse(other).ok().filter(|other| !rules.iter().any(|rule| rule.pattern == *other))?;
    let (other, profile) = (pattern.canonical(), shell_quoted(profile));
    Some(format!("{other} is another host; for it, too: keyfob setup git --profile {profile} {other}"))
}

/// The lines of git's configuration for a host that uses keyfob.
fn lines(host: &HostPattern, helper: &str) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let path = if host.has_path() { "\tuseHttpPath = true\n" } else { "" };
    format!("[credential \"{}\"]\n\thelper = \n\thelper = \"{}\"\n{path}", quoted(&host.canonical()), quoted(helper))
}

/// The plan of an undo, and the profiles that it removes.
fn undoing(hosts: &[HostPattern]) -> Result<(Plan, Vec<Profile>)> {
    let mut plan = Plan::default();
    let mut config = Config::load()?;
    let urls: Vec<String> = hosts.iter().map(HostPattern::canonical).collect();
    let undo = Undo::of(|setup| setup.tool == NAME && urls.contains(&setup.name))?;
    let mut profiles = sorted::set(undo.undone.iter().filter_map(|setup| setup.profile.clone()));
    let mut changed = Vec::new();
    for (host, url) in hosts.iter().zip(&urls) {
        let mut done: Vec<(PathBuf, Added)> = Vec::new();
        for setup in undo.undone.iter().filter(|setup| setup.name == *url) {
            done.push((setup.place.clone(), Added::deserialize(&setup.did)?));
        }
        if done.is_empty() {
            // There is no record, so remove whatever looks as if `setup` had written it.
            let by_path = host.has_path() && is_connected(url);
            done.push((global_file()?, Added { line: true, helper: true, by_path }));
        }
        if done.iter().any(|(_, added)| added.line) {
            profiles.extend(config.rule(host, "git", "")?.map(|rule| rule.profile));
            config.edit(|text| edit::without_host(text, host, undo.made_section("hosts")))?;
        }
        changed.extend(done.into_iter().map(|(file, added)| (file, url, added)));
    }
    let released = config.release(profiles.iter().map(String::as_str), BY, &undo, &mut plan)?;
    config.take_back(&undo, &mut plan)?;
    for file in sorted::set(changed.iter().map(|(file, ..)| file)) {
        undo.file(file, &mut plan, |plan| {
            let mut here = changed.iter().filter(|(place, ..)| place == file);
            here.try_for_each(|(file, url, added)| unset(file, url, *added, plan))
        })?;
    }
    undo.finish(&mut plan);
    Ok((plan, released))
}

/// Removes from git's configuration what was added for a host, if it is still there.
fn unset(path: &Path, url: &str, added: Added, plan: &mut Plan) -> Result<()> {
    let file = path.to_string_lossy();
    let (key, by_path) = (format!("credential.{url}.helper"), by_path(url));
    let there = values_in(&["--file", &file], &key)?;
    if let Some(line) = there.iter().find(|value| added.helper && is_ours(value)) {
        if there.iter().all(|value| value.is_empty() || is_ours(value)) {
            plan.run(["git", "config", "--file", &file, "--unset-all", &key], path);
        } else {
            plan.run(["git", "config", "--file", &file, "--fixed-value", "--unset", &key, line], path);
            plan.notes.push(format!("other helpers for {url} are left as they are"));
        }
    }
    if added.by_path && values_in(&["--file", &file], &by_path)? == ["true"] {
        plan.run(["git", "config", "--file", &file, "--unset", &by_path], path);
    }
    Ok(())
}

/// Whether keyfob wrote this helper, whatever its path was.
fn is_ours(helper: &str) -> bool {
    program_of(helper).rsplit('/').next() == Some("keyfob")
}

/// The program in a helper that keyfob wrote; empty for other helpers.
fn program_of(helper: &str) -> &str {
    let program = helper.strip_prefix('!').and_then(|helper| helper.strip_suffix(" git")).unwrap_or_default();
    program.trim_matches('\'')
}

/// The key that makes git send the path, which it does not do by default.
fn by_path(url: &str) -> String {
    format!("credential.{url}.useHttpPath")
}

/// Runs git in the current folder, so that a repository's own configuration applies.
fn git(words: &[&str], input: &str) -> Result<Ran> {
    let git = program::find("git").context("could not run git")?;
    let quiet = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("SSH_ASKPASS", "")];
    program::run(&git, words, &quiet, input, None)
}

/// The values of a key in the user's configuration.
fn values(key: &str) -> Result<Vec<String>> {
    values_in(&["--global"], key)
}

/// The values of a key in the configuration that `place` (options of `git config`) selects.
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
    let what = "there is no home directory to find git's configuration in";
    let home = home.ok_or_else(|| Failure::usage(what).hint("set HOME"))?;
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
    let (own, other) = (home.join(".gitconfig"), folder.map_or(home.join(".config"), PathBuf::from).join("git/config"));
    Ok(if !own.exists() && other.exists() { other } else { own })
}

/// Finds the https remotes of the current repository, and the hosts in `[hosts]`.
fn discover(machine: &Machine, found: &mut Found) {
    let Ok(remotes) = remotes() else { return };
    let remotes = remotes.iter().filter_map(|url| {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| *scheme == "https")?;
        let host = rest.split('/').next()?.rsplit('@').next()?;
        HostPattern::parse(&format!("{scheme}://{host}")).ok()
    });
    let mapped = of_caller(&machine.file.hosts, "git");
    let mut hosts: Vec<(HostPattern, Option<&str>)> =
        mapped.map(|rule| (rule.pattern.clone(), Some(rule.profile.as_str()))).collect();
    for remote in remotes {
        if !hosts.iter().any(|(known, _)| known.overlaps(&remote.canonical())) {
            hosts.push((remote, None));
        }
    }
    for (host, profile) in hosts {
        let url = host.canonical();
        if is_connected(&url) {
            found.connected.push(format!("git: {}", clean(&url)));
            continue;
        }
        let at = |authority: &str| HostPattern::parse(authority).is_ok_and(|home| home == host);
        let signs_in_there = machine.usable().find(|profile| at(&profile.session.authority));
        let preset = PRESETS.iter().find(|preset| preset.authority.is_some_and(at));
        let title = format!("git: {}", clean(&url));
        match (profile.or(signs_in_there.map(Profile::title)), preset) {
            (Some(name), _) => found.offer(title, &["git", "--profile", name, &url], true),
            (None, Some(preset)) => {
                let words =
                    ["git", "--profile", preset.name, "--provider", preset.name, "--client-id", "ID", url.as_str()];
                found.offer(title, &words, false);
            }
            (None, None) => {
                let mut words = vec!["git", "--profile", "NAME", &url];
                if machine.file.profiles.is_empty() {
                    words.extend(["--issuer", "URL", "--client-id", "ID"]);
                }
                found.offer(title, &words, false);
            }
        }
    }
}

/// Checks what git runs for the hosts that have a profile.
fn check(findings: &mut Findings, file: &File, only: Option<&str>) {
    for rule in of_caller(&file.hosts, "git").filter(|rule| only.is_none_or(|only| rule.profile == only)) {
        examine(findings, rule);
    }
}

/// The URLs of the current repository's remotes; empty outside of a repository.
fn remotes() -> Result<Vec<String>> {
    let found = git(&["config", "--null", "--get-regexp", r"^remote\..*\.url$"], "")?;
    let value = |line: &str| line.split_once('\n').map(|(_, value)| value.to_owned());
    Ok(found.stdout.split_terminator('\0').filter_map(value).collect())
}

/// Whether git asks keyfob for this host.
fn is_connected(url: &str) -> bool {
    values(&format!("credential.{url}.helper")).is_ok_and(|values| values.iter().any(|value| is_ours(value)))
}

/// Checks what git runs for a host that has a profile.
fn examine(findings: &mut Findings, rule: &HostRule) {
    let url = rule.pattern.canonical();
    let subject = format!("git {url}");
    let (quoted, profile) = (shell_quoted(&url), shell_quoted(&rule.profile));
    // Without git there is nothing to check.
    let Ok(lines) = listed() else { return };
    let helpers = lines.iter().filter(|line| line.is("credential", "helper") && line.covers(&rule.pattern));
    // An empty value resets the helpers before it; git asks the remaining ones in order.
    let asked = helpers.fold(None, |asked: Option<(&Line, String)>, line| match line.value.as_str() {
        "" => None,
        helper => asked.or_else(|| Some((line, program_asked(helper)?))),
    });
    let Some((line, program)) = asked else {
        let connect = format!("keyfob setup git --profile {profile} {quoted}");
        findings.warn(
            &subject,
            format!("it has the profile {:?}, but git does not ask keyfob", rule.profile),
            Hint::Command(connect),
        );
        return;
    };
    if !is_program(&program, Path::new("/")) {
        let again = format!("keyfob setup git --undo {quoted} && keyfob setup git --profile {profile} {quoted}");
        findings.error(&subject, format!("git runs {program}, which does not exist"), Hint::Command(again));
        return;
    }
    match named_profile(&line.value).filter(|name| *name != rule.profile) {
        None => findings.ok(&subject, format!("git runs {program} for the profile {:?}", rule.profile)),
        Some(name) => {
            let origin = line.origin.strip_prefix("file:").unwrap_or(&line.origin);
            let what = format!("git runs {program} for the profile {name:?} here, as {} says", clean(origin));
            findings.ok(&subject, what);
        }
    }
    if rule.pattern.has_path() {
        // A wildcard's settings are looked up with an arbitrary host that it matches.
        let words = ["config", "--type=bool", "--get-urlmatch", "credential.useHttpPath", &url.replace('*', "any")];
        if git(&words, "").is_ok_and(|said| said.stdout.trim() != "true") {
            let remedy = format!("git config --global {} true", shell_quoted(&by_path(&url)));
            findings.error(
                &subject,
                "git does not say which path it wants a token for, so it gets none",
                Hint::Command(remedy),
            );
        }
    }
    for (what, remedy) in interfering(&lines, &rule.pattern) {
        findings.warn(&subject, what, remedy);
    }
}

/// The keyfob program that git runs for this helper, in any notation; `None` for other helpers.
fn program_asked(helper: &str) -> Option<String> {
    let (command, by_shell) = helper.strip_prefix('!').map_or((helper, false), |command| (command, true));
    let (program, rest) = match command.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'')?,
        None => command.split_once(' ').unwrap_or((command, "")),
    };
    let name = program.rsplit('/').next()?;
    if by_shell || program.starts_with('/') {
        let runs_git =
            name == "git-credential-keyfob" || name == "keyfob" && rest.split_whitespace().next() == Some("git");
        return runs_git.then(|| program.to_owned());
    }
    (name == "keyfob").then(|| format!("git-credential-{program}"))
}

/// The profile in a helper's `--profile`, which then answers instead of the one in `[hosts]`.
fn named_profile(helper: &str) -> Option<String> {
    let mut words =
        helper.split_whitespace().skip_while(|word| *word != "--profile" && !word.starts_with("--profile="));
    let word = words.next()?;
    let name = word.strip_prefix("--profile=").or_else(|| words.next())?;
    Some(name.trim_matches(['\'', '"']).to_owned())
}

/// A line of git's configuration.
struct Line {
    /// `system`, `global`, `local`, `worktree` or `command`.
    scope: String,
    /// Where it is set: `file:PATH`, `command line:`, …
    origin: String,
    key: String,
    value: String,
}

impl Line {
    /// The section, the subsection, and the name of the key.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let (section, name) = self.key.rsplit_once('.').unwrap_or_default();
        let (section, url) = section.split_once('.').map_or((section, None), |(section, url)| (section, Some(url)));
        (section, url, name)
    }

    fn is(&self, section: &str, name: &str) -> bool {
        let (own_section, _, own_name) = self.parts();
        (own_section, own_name) == (section, name)
    }

    /// Whether the line applies to this host, or to all hosts.
    fn concerns(&self, host: &HostPattern) -> bool {
        self.parts().1.is_none_or(|url| host.overlaps(url))
    }

    /// Whether the line applies to every URL that the pattern matches.
    fn covers(&self, host: &HostPattern) -> bool {
        let below = |pattern: HostPattern| format!("{}/", host.canonical()).starts_with(&(pattern.canonical() + "/"));
        let covers = |url| HostPattern::parse(url).is_ok_and(|pattern| !pattern.has_path() || below(pattern));
        self.concerns(host) && self.parts().1.is_none_or(covers)
    }

    /// The key without a user name and password in its URL, which may be a token.
    fn shown(&self) -> Cow<'_, str> {
        let (section, url, name) = self.parts();
        match url.map(without_token) {
            Some(Cow::Owned(bare)) => format!("{section}.{bare}.{name}").into(),
            _ => Cow::Borrowed(&self.key),
        }
    }

    /// The remedy that runs `git config` with these words on the line's file.
    fn remedy(&self, words: &[&str]) -> Hint {
        let Some(file) = self.origin.strip_prefix("file:") else {
            let remedy = "it comes from the environment: GIT_CONFIG_COUNT, GIT_CONFIG_PARAMETERS";
            return remedy.into();
        };
        if matches!(self.shown(), Cow::Owned(_)) {
            let remedy = format!("remove it: git config --file {} --edit", shell_quoted(file));
            return remedy.into();
        }
        let words = ["git", "config", "--file", file].into_iter().chain(words.iter().copied());
        Hint::Command(plan::line(&words.map(str::to_owned).collect::<Vec<_>>()))
    }

    /// The remedy that removes the key.
    fn removal(&self) -> Hint {
        self.remedy(&["--unset-all", &self.key])
    }

    /// The remedy that removes those values of the key that match.
    fn removal_of(&self, values: &str) -> Hint {
        self.remedy(&["--unset-all", &self.key, values])
    }
}

/// All lines of git's configuration.
fn listed() -> Result<Vec<Line>> {
    let list = git(&["config", "--null", "--show-scope", "--show-origin", "--list"], "")?.stdout;
    let fields: Vec<&str> = list.split_terminator('\0').collect();
    let line = |fields: &[&str]| {
        let (key, value) = fields[2].split_once('\n').unwrap_or((fields[2], ""));
        let [scope, origin, key, value] = [fields[0], fields[1], key, value].map(str::to_owned);
        Line { scope, origin, key, value }
    };
    Ok(fields.chunks_exact(3).map(line).collect())
}

/// Other settings in git's configuration that get between keyfob and this host, with the remedy for each.
fn interfering(lines: &[Line], host: &HostPattern) -> Vec<(String, Hint)> {
    let mut found = Vec::new();
    for line in lines {
        let (section, url, name) = line.parts();
        let value = line.value.as_str();
        let origin = line.origin.strip_prefix("file:").unwrap_or(&line.origin);
        let place = format!("{} in {}", clean(&line.shown()), clean(origin));
        match (section, name) {
            // Helpers of the system and the user for all hosts come before keyfob's lines, which reset them.
            ("credential", "helper")
                if line.concerns(host)
                    && (url.is_some() || !matches!(&*line.scope, "system" | "global"))
                    && !value.is_empty()
                    && program_asked(value).is_none() =>
            {
                // Show only the first word, because the rest may be a script with a password.
                let helper = clean(value.split(' ').next().unwrap_or_default());
                let message = format!("{place} is another helper for this host ({helper}): git hands it the token");
                found.push((message, line.removal_of("!(^$|keyfob)")));
            }
            ("credential", "username") if line.concerns(host) && host.username().is_none() => {
                let message = format!("{place} makes git ask for that user name");
                found.push((message, line.removal()));
            }
            ("http", "extraheader")
                if line.concerns(host) && value.to_ascii_lowercase().starts_with("authorization") =>
            {
                let message = format!("{place} sends a credential of its own, which goes before keyfob's");
                found.push((message, line.removal_of(&format!("^{}", &value[.."authorization".len()]))));
            }
            ("url", "insteadof" | "pushinsteadof") if host.overlaps(value) => {
                let target = clean(&without_token(url.unwrap_or_default()));
                let message = format!("{place} sends git to {target} instead, where keyfob may not be asked");
                found.push((message, line.removal()));
            }
            ("remote", "url" | "pushurl") if host.overlaps(value) => {
                let Some(bare) = without_user(value) else { continue };
                let message = format!("{place} has a user name in it, which git sends along");
                found.push((message, line.remedy(&[&line.key, &bare])));
            }
            _ => {}
        }
    }
    found
}

/// A URL without its user name and password; `None` if it has none.
fn without_user(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{host}{path}"))
}

/// A URL that is safe to show: without user name and password, which may be a token.
fn without_token(url: &str) -> Cow<'_, str> {
    let bare = Some(url).filter(|url| url.starts_with("http")).and_then(without_user);
    bare.map_or(Cow::Borrowed(url), Cow::Owned)
}

/// What git will ask keyfob for.
fn asked(host: HostPattern, chosen: &Chosen) -> Asked {
    let url = host.canonical();
    Asked {
        chosen: chosen.clone(),
        kind: TokenKind::Access,
        what: format!("git asks keyfob for {url}"),
        prompts: Some("when git first needs a token"),
        unanswered: format!("git is set up for {url}, but was not answered"),
        attempt: Box::new(move || attempt(&host)),
    }
}

/// Makes git ask for the host's credential, as a fetch would.
fn attempt(host: &HostPattern) -> Result<String> {
    let url = host.canonical();
    if host.is_wildcard() {
        return Ok(format!("git asks keyfob for {url}.\n"));
    }
    let answer = git(&["credential", "fill"], &format!("url={url}\n"))?;
    if answer.ok && answer.stdout.lines().any(|line| line.starts_with("password=")) {
        return Ok(format!("git asks keyfob for {url}, and is answered.\n"));
    }
    let what = format!("git is set up for {url}, but was not answered: {}", clean(&answer.stderr));
    let failure = Failure::new(Exit::Failed, what);
    Err(failure.hint("the helpers that git runs: git config --show-origin --get-all credential.helper").into())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn keyfob_is_known_however_git_is_told_to_run_it() {
        for (helper, program) in [
            ("!/usr/local/bin/keyfob git", Some("/usr/local/bin/keyfob")),
            ("!'/home/a b/keyfob' git", Some("/home/a b/keyfob")),
            ("!keyfob git --profile a --host https://a", Some("keyfob")),
            ("/usr/bin/keyfob git", Some("/usr/bin/keyfob")),
            ("keyfob", Some("git-credential-keyfob")),
            ("/opt/git-credential-keyfob", Some("/opt/git-credential-keyfob")),
            ("", None),
            ("store", None),
            ("!keyfob token", None),
            ("!gh auth git-credential", None),
            ("/x/notkeyfob git", None),
            ("!'unended", None),
        ] {
            assert_eq!(program_asked(helper).as_deref(), program, "{helper}");
        }
    }

    #[test]
    fn the_profile_that_a_helper_names_is_known() {
        for (helper, name) in [
            ("!keyfob git", None),
            ("!keyfob git --profile work --host https://a", Some("work")),
            ("!/x/keyfob git --host https://a --profile='work'", Some("work")),
            ("keyfob --profile=work --host=https://a", Some("work")),
            ("!keyfob git --profile", None),
        ] {
            assert_eq!(named_profile(helper).as_deref(), name, "{helper}");
        }
    }

    #[test]
    fn the_user_name_alone_is_taken_out_of_an_address() {
        for (url, bare) in [
            ("https://ada@git.example/team/a", Some("https://git.example/team/a")),
            ("https://ada:pass@git.example", Some("https://git.example")),
            ("https://git.example/~a@b", None),
            ("git@git.example:a", None),
        ] {
            assert_eq!(without_user(url).as_deref(), bare, "{url}");
        }
    }
}
