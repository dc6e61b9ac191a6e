//! The tools that are connected host by host have this in common: a rule in `[hosts]`, one file of the tool's own, and
//! for some a link by which the tool finds keyfob. A tool is a [`Hosted`] with functions that change its file.

use super::findings::Findings;
use super::found::{Found, Machine};
use super::profile::{Chosen, Config, Wanted};
use super::{Asked, Job, is_keyfob_at, is_program, own_program, urls};
use crate::change::files::{folder_to_make, read};
use crate::change::plan::{Plan, Step};
use crate::change::undo::Undo;
use crate::config::hosts::of_caller;
use crate::config::{File, HostPattern, HostRule, Profile, edit};
use crate::failure::{Exit, Failure, Hint};
use crate::program::{self, on_path};
use crate::providers::TokenKind;
use crate::sorted;
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A tool that is connected host by host.
#[derive(Clone, Copy)]
pub(super) struct Hosted {
    /// The subcommand of `keyfob setup`.
    pub name: &'static str,
    /// The name of this setup in config.toml.
    pub by: &'static str,
    /// The tool's name for people.
    pub title: &'static str,
    /// The caller that its rules in `[hosts]` are for; `None` if the tool's own file names the profile.
    pub caller: Option<&'static str>,
    /// The link that the tool runs, and the folder for it below the home folder; `None` for the folder means one on
    /// `PATH`.
    pub link: Option<(&'static str, Option<&'static str>)>,
    /// The path of the tool's file.
    pub file: fn() -> Result<PathBuf>,
    /// Whether one setting in that file is for all hosts.
    pub shared: bool,
    /// Adds keyfob for a host to the file's text.
    pub with: fn(&str, &Entry<'_>) -> Result<String>,
    /// Removes keyfob for a host from the file's text.
    pub without: fn(&str, &HostPattern) -> String,
    /// The program that the file makes the tool run for a host, if any.
    pub runs: fn(&str, &HostPattern) -> Option<String>,
    /// How the tool asks: keyfob's arguments, its stdin, and a text that the answer contains.
    pub asks: fn(&HostPattern, &str) -> (Vec<String>, String, &'static str),
}

/// The entry to make in the tool's file.
pub(super) struct Entry<'a> {
    pub host: &'a HostPattern,
    pub profile: &'a str,
    /// The absolute path of keyfob.
    pub own: &'a str,
    /// The value of `--registry`.
    pub registry: Option<&'a str>,
}

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Hosts whose token the tool is to get from keyfob: `[https://]HOST[:PORT][/PATH]`
    #[arg(required = true, value_name = "URL")]
    hosts: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// What setup did for a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Added {
    /// Whether it added the rule in `[hosts]`, or the caller to it.
    rule: bool,
    /// Whether it added the entry in the tool's file.
    entry: bool,
    /// The link it made, for this host or for others that are still connected.
    link: Option<PathBuf>,
    /// The highest folder that had to be made for the link.
    made: Option<PathBuf>,
}

impl Hosted {
    /// Adds the tool's arguments to a subcommand.
    pub(super) fn define(&self, command: Command, help: &'static str) -> Command {
        let command = Arguments::augment_args(command).after_help(help);
        match self.link {
            Some((name, None)) => {
                let what = format!("Folder on PATH for the link {name} [default: one of yours]");
                command.arg(
                    Arg::new("bin").long("bin").value_name("FOLDER").help(what).value_parser(value_parser!(PathBuf)),
                )
            }
            _ => command,
        }
    }

    /// Connects the tool.
    pub(super) fn connect(&self, matches: &ArgMatches) -> Result<Job> {
        let arguments = Arguments::from_arg_matches(matches)?;
        let hosts = patterns(&arguments.hosts)?;
        let mut config = Config::load()?;
        let chosen = arguments.wanted.in_config(&mut config, self.by, &[])?;
        let title = format!("Connect {} with the profile {} for {}", self.title, chosen.title(), urls(&hosts));
        let plan = self.connecting(config, &hosts, chosen.title(), matches)?;
        let asked = hosts.into_iter().map(|host| self.asked(host, &chosen)).collect();
        Ok(Job { asked, ..Job::new(title, plan) })
    }

    /// The plan that has the tool ask keyfob for these hosts. Fails if the tool has another helper for one of them.
    fn connecting(
        &self,
        mut config: Config,
        hosts: &[HostPattern],
        profile: &str,
        matches: &ArgMatches,
    ) -> Result<Plan> {
        let mut plan = Plan::default();
        let path = (self.file)()?;
        let before = text(&path)?;
        let (mut after, mut by_hand) = (before.clone().unwrap_or_default(), String::new());
        let own = own_program()?.to_string_lossy().into_owned();
        let registry = matches.try_get_one::<String>("registry").ok().flatten().map(String::as_str);
        let mut done = Vec::new();
        for host in hosts {
            let entry = Entry { host, profile, own: &own, registry };
            let rule = self.map(&mut config, host, profile)?;
            let is_new = match (self.runs)(&after, host) {
                None => true,
                Some(there) if is_keyfob(&there) => false,
                Some(other) => {
                    let (title, url) = (self.title, host.canonical());
                    let what = format!("{title} has {:?} for {url} already, in {}", clean(&other), path.display());
                    return Err(Failure::usage(what).hint("remove that first").into());
                }
            };
            if is_new {
                after = (self.with)(&after, &entry)?;
            }
            if by_hand.is_empty() || !self.shared {
                by_hand += &(self.with)("", &Entry { registry: Some(registry.unwrap_or("NAME")), ..entry })?;
            }
            done.push((host.canonical(), Added { rule, entry: is_new, ..Added::default() }));
        }
        let (link, made) = self.link(&mut plan, &own, matches.try_get_one::<PathBuf>("bin").ok().flatten())?;
        for (url, added) in done.into_iter().filter(|(_, added)| added.rule || added.entry || link.is_some()) {
            let all = |earlier: Option<Added>| {
                let earlier = earlier.unwrap_or_default();
                let (link, made) = (earlier.link.or(link.clone()), earlier.made.or(made.clone()));
                Added { rule: added.rule || earlier.rule, entry: added.entry || earlier.entry, link, made }
            };
            let setup = config.setup(&plan, (self.name, &url), Some(profile), vec![path.clone()], all)?;
            plan.setups.push(setup);
        }
        let links = std::mem::take(&mut plan.steps);
        config.into_plan(&mut plan);
        plan.edit_quietly(&path, before.as_deref(), &after, "gets keyfob as a helper");
        plan.steps.extend(links);
        plan.lines.insert(1, (path.display().to_string(), by_hand));
        Ok(plan)
    }

    /// Maps the host in `[hosts]`. Returns whether that changes anything.
    fn map(&self, config: &mut Config, host: &HostPattern, profile: &str) -> Result<bool> {
        let Some(caller) = self.caller else { return Ok(false) };
        let rule = config.rule(host, caller, profile)?;
        if let Some(other) = rule.as_ref().map(|rule| &rule.profile).filter(|other| *other != profile) {
            let url = host.canonical();
            return Err(Failure::usage(format!("{url} has the token of profile {other:?} already"))
                .hint("change that in [hosts] of config.toml, or connect with that profile")
                .into());
        }
        let is_new = rule.is_none_or(|rule| !rule.is_for(caller));
        config.say(is_new, |text| edit::with_host_for(text, host, profile, caller))?;
        Ok(is_new)
    }

    /// Adds the link to the plan, unless the tool finds keyfob without it. Returns the link that exists for this tool
    /// alone, and the highest folder that had to be made for it.
    fn link(&self, plan: &mut Plan, own: &str, bin: Option<&PathBuf>) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
        let Some((name, fixed)) = self.link else { return Ok((None, None)) };
        let others = Undo::of(|_| false)?;
        let mut earlier = others.others().filter(|setup| setup.tool == self.name);
        let earlier =
            earlier.find_map(|setup| Added::deserialize(&setup.did).ok().filter(|added| added.link.is_some()));
        let there = earlier.map(|added| (added.link, added.made)).unwrap_or_default();
        if bin.is_none() && self.found(name).is_some_and(|file| is_keyfob_at(&file)) {
            return Ok(there);
        }
        let folder = match (bin, fixed) {
            (Some(folder), _) => std::path::absolute(folder)?,
            (None, Some(fixed)) => home()?.join(fixed),
            (None, None) => folder_on_path(name)?,
        };
        let path = folder.join(name);
        let made = folder_to_make(&path);
        plan.steps.extend(made.as_ref().map(|_| Step::Folder(folder)));
        match std::fs::symlink_metadata(&path) {
            Ok(_) if !is_keyfob_at(&path) => {
                let what = format!("{} is there already, and is not keyfob", path.display());
                return Err(Failure::usage(what).hint("remove it, or add --bin FOLDER").into());
            }
            Ok(_) => return Ok(there),
            Err(_) => plan.steps.push(Step::Link { path: path.clone(), target: own.into() }),
        }
        let line = format!("ln -s {} {}\n", shell_quoted(own), shell_quoted(&path.to_string_lossy()));
        plan.lines.push(("in a shell".to_owned(), line));
        Ok((Some(path), made))
    }

    /// The program that the tool finds by the link's name.
    fn found(&self, name: &str) -> Option<PathBuf> {
        match self.link {
            Some((_, Some(fixed))) => {
                Some(home().ok()?.join(fixed).join(name)).filter(|file| program::is_program(file))
            }
            _ => on_path(name).next(),
        }
    }

    /// Disconnects the tool from keyfob for these hosts.
    pub(super) fn disconnect(&self, matches: &ArgMatches) -> Result<Job> {
        let hosts = patterns(&Arguments::from_arg_matches(matches)?.hosts)?;
        let urls = urls(&hosts);
        let (plan, released) = self.undoing(&hosts)?;
        let done = format!("{} no longer asks keyfob for {urls}.\n", self.title);
        Ok(Job { done, released, ..Job::new(format!("Disconnect {} from keyfob for {urls}", self.title), plan) })
    }

    /// The plan of an undo, and the profiles that it removes.
    fn undoing(&self, hosts: &[HostPattern]) -> Result<(Plan, Vec<Profile>)> {
        let mut plan = Plan::default();
        let mut config = Config::load()?;
        let urls: Vec<String> = hosts.iter().map(HostPattern::canonical).collect();
        let undo = Undo::of(|setup| setup.tool == self.name && urls.contains(&setup.name))?;
        let mut profiles = sorted::set(undo.undone.iter().filter_map(|setup| setup.profile.clone()));
        let (mut entries, mut links) = (Vec::new(), Vec::new());
        for (host, url) in hosts.iter().zip(&urls) {
            let known =
                undo.undone.iter().filter(|setup| setup.name == *url).map(|setup| Added::deserialize(&setup.did));
            let mut known: Vec<Added> = known.collect::<Result<_, _>>()?;
            if known.is_empty() {
                // There is no record, so remove whatever looks as if `setup` had written it.
                known.push(Added { rule: true, entry: true, ..Added::default() });
            }
            if let Some(caller) = self.caller.filter(|_| known.iter().any(|added| added.rule)) {
                let rule = config.rule(host, caller, "")?;
                profiles.extend(rule.map(|rule| rule.profile));
                config.edit(|text| edit::without_host_for(text, host, caller, undo.made_section("hosts")))?;
            }
            entries.extend(known.iter().any(|added| added.entry || self.shared).then_some(host));
            links.extend(known.into_iter().filter_map(|added| Some((added.link?, added.made))));
        }
        let is_used = undo.others().any(|setup| setup.tool == self.name);
        let released = config.release(profiles.iter().map(String::as_str), self.by, &undo, &mut plan)?;
        config.take_back(&undo, &mut plan)?;
        let path = (self.file)()?;
        undo.file(&path, &mut plan, |plan| {
            let before = text(&path)?.unwrap_or_default();
            let ours = |text: &str, host| (self.runs)(text, host).is_some_and(|program| is_keyfob(&program));
            let entries = entries.iter().filter(|_| !(self.shared && is_used));
            let after = entries
                .fold(before.clone(), |text, host| if ours(&text, host) { (self.without)(&text, host) } else { text });
            plan.edit_quietly(&path, Some(&before), &after, "no longer has keyfob as a helper");
            Ok(())
        })?;
        links.dedup();
        for (link, made) in links.into_iter().filter(|(link, _)| !is_used && is_keyfob_at(link)) {
            let folder = link.parent().unwrap_or(Path::new("/")).to_owned();
            plan.steps.push(Step::Unlink(link));
            plan.steps.extend(made.map(|highest| Step::RemoveFolder { path: folder, highest }));
        }
        undo.finish(&mut plan);
        Ok((plan, released))
    }

    /// Finds the hosts in `[hosts]` that the tool may ask for.
    pub(super) fn discover(&self, machine: &Machine, found: &mut Found) {
        let Ok(text) = (self.file)().and_then(|path| text(&path)) else { return };
        let text = text.unwrap_or_default();
        for rule in self.rules(&machine.file, None) {
            let url = rule.pattern.canonical();
            let what = format!("{}: {}", self.title, clean(&url));
            if (self.runs)(&text, &rule.pattern).is_some_and(|program| is_keyfob(&program)) {
                found.connected.push(what);
            } else {
                found.offer(what, &[self.name, "--profile", &rule.profile, &url], true);
            }
        }
    }

    /// Checks what the tool runs for the hosts that have a profile.
    pub(super) fn check(&self, findings: &mut Findings, file: &File, only: Option<&str>) {
        let rules: Vec<&HostRule> = self.rules(file, only).collect();
        if rules.is_empty() {
            return;
        }
        let text = match (self.file)().and_then(|path| text(&path)) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => return findings.failure(self.name, &error, "correct that"),
        };
        for HostRule { pattern, profile, .. } in rules {
            let url = pattern.canonical();
            let subject = format!("{} {url}", self.name);
            let (quoted, name) = (shell_quoted(&url), shell_quoted(profile));
            let connect = Hint::Command(format!("keyfob setup {} --profile {name} {quoted}", self.name));
            let Some(program) = (self.runs)(&text, pattern).filter(|program| is_keyfob(program)) else {
                let what = format!("it has the profile {profile:?}, but {} does not ask keyfob", self.title);
                findings.warn(&subject, what, connect);
                continue;
            };
            let found = if program.contains('/') {
                Some(PathBuf::from(&program)).filter(|file| is_program(&program, file))
            } else {
                self.found(&program)
            };
            match found {
                Some(found) if is_keyfob_at(&found) => {
                    let what = format!("{} runs {} for the profile {profile:?}", self.title, found.display());
                    findings.ok(&subject, what);
                }
                Some(found) => {
                    let what = format!("{} runs {}, which is not keyfob", self.title, found.display());
                    findings.error(&subject, what, "put keyfob before it on PATH, or remove it");
                }
                None => {
                    let again = format!(
                        "keyfob setup {} --undo {quoted} && keyfob setup {0} --profile {name} {quoted}",
                        self.name
                    );
                    let what = format!("{} runs {program}, which does not exist", self.title);
                    findings.error(&subject, what, Hint::Command(again));
                }
            }
        }
    }

    /// The rules for this tool, or only those with one profile.
    fn rules<'f>(&self, file: &'f File, only: Option<&'f str>) -> impl Iterator<Item = &'f HostRule> + use<'f> {
        let rules = self.caller.into_iter().flat_map(|caller| of_caller(&file.hosts, caller));
        rules.filter(move |rule| only.is_none_or(|only| rule.profile == only))
    }

    /// What the tool will ask keyfob for.
    fn asked(&self, host: HostPattern, chosen: &Chosen) -> Asked {
        let (tool, url, profile) = (*self, host.canonical(), chosen.title().to_owned());
        Asked {
            chosen: chosen.clone(),
            kind: chosen.profile.token_kind.unwrap_or(TokenKind::Access),
            what: format!("{} asks keyfob for {url}", self.title),
            prompts: None,
            unanswered: format!("{} is set up for {url}, but was not answered", self.title),
            attempt: Box::new(move || tool.attempt(&host, &profile)),
        }
    }

    /// Makes keyfob answer a request like the tool's.
    fn attempt(&self, host: &HostPattern, profile: &str) -> Result<String> {
        let (title, url) = (self.title, host.canonical());
        if host.is_wildcard() {
            return Ok(format!("{title} asks keyfob for {url}.\n"));
        }
        let (words, input, holds) = (self.asks)(host, profile);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = program::run(&own_program()?, &words, &[], &input, Some(Path::new("/")))?;
        if ran.ok && ran.stdout.contains(holds) {
            return Ok(format!("{title} asks keyfob for {url}, and is answered.\n"));
        }
        let what = format!("{title} is set up for {url}, but was not answered: {}", clean(&ran.stderr));
        Err(Failure::new(Exit::Failed, what).into())
    }
}

/// Parses the hosts, without duplicates. Without a scheme, https is meant.
pub(super) fn patterns(texts: &[String]) -> Result<Vec<HostPattern>, Failure> {
    let mut hosts: Vec<HostPattern> = Vec::new();
    for text in texts {
        let text = text.strip_prefix("sparse+").unwrap_or(text);
        let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let host = HostPattern::parse(&url).map_err(|why| Failure::usage(format!("{text:?} {why}")))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// A file's text; `None` if it does not exist.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes.to_vec()).with_context(|| format!("{} is not text", path.display()))?;
    Ok(Some(text))
}

/// The home folder.
pub(super) fn home() -> Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Ok(home.ok_or_else(|| Failure::usage("there is no home directory").hint("set HOME"))?)
}

/// The folder that a variable names, otherwise one below the home folder.
pub(super) fn folder_of(variable: &str, usual: &str) -> Result<PathBuf> {
    match std::env::var_os(variable).filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(std::path::absolute(folder)?),
        None => Ok(home()?.join(usual)),
    }
}

/// The first writable folder of the person's own on `PATH` that comes before any other program of this name.
fn folder_on_path(name: &str) -> Result<PathBuf> {
    let (home, own) = (home()?, own_program()?);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).take_while(|folder| !folder.join(name).is_file());
    let is_ours = |folder: &PathBuf| folder.starts_with(&home) || own.parent() == Some(folder);
    let mut folders = folders.filter(|folder| folder.is_absolute() && folder.is_dir() && is_ours(folder));
    let folder = folders.find(|folder| access(folder, Access::WRITE_OK).is_ok());
    let none = || {
        let before = on_path(name).next().map(|other| format!(" before {}", other.display())).unwrap_or_default();
        Failure::usage(format!("no folder of yours is on PATH{before}, for the link {name}"))
            .hint("add --bin FOLDER, and put that folder on PATH")
    };
    Ok(folder.ok_or_else(none)?)
}

/// Whether a program in a tool's file is keyfob or one of its links.
pub(super) fn is_keyfob(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    name == "keyfob" || name == "keyring" || name.ends_with("-keyfob")
}
