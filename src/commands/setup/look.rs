//! `keyfob setup` by itself: what there is to connect on this machine, and the command for each.

use super::kubernetes::Files;
use super::plan::line;
use super::{Config, git, kubelogin, own_path};
use crate::commands::{print, say};
use crate::config::{File, HostPattern, Profile};
use crate::failure::{Exit, Failure, Report};
use crate::providers::PRESETS;
use crate::text::clean;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::Command;

/// Something to connect.
#[derive(Debug)]
struct Offer {
    /// What was found.
    what: String,
    /// The words behind `keyfob setup`.
    words: Vec<String>,
    /// Whether they can be run as they stand; else the words in capitals are the person's to fill in.
    whole: bool,
}

/// Everything that was found.
#[derive(Debug, Default)]
struct Found {
    offers: Vec<Offer>,
    connected: Vec<String>,
    notes: Vec<String>,
}

/// Shows what there is; on a terminal, does the one that the person chooses.
pub(super) fn run() -> Result<()> {
    let config = Config::load()?;
    let file = config.file()?;
    let profiles = Profile::all_of(config.file()?);
    let mut found = Found::default();
    if profiles.is_empty() {
        found.offer("no profile yet", &["--profile", "NAME", "--issuer", "URL", "--client-id", "ID"], false);
    } else {
        let names: Vec<_> = profiles.keys().map(|name| clean(name)).collect();
        found.notes.push(format!("Profiles: {}", names.join(", ")));
    }
    found.kubectl(&file);
    found.git(&file, &profiles);
    found.az(&profiles);
    say(&found.text())?;
    found.choose()
}

impl Found {
    fn offer(&mut self, what: impl Into<String>, words: &[&str], whole: bool) {
        self.offers.push(Offer {
            what: what.into(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            whole,
        });
    }

    /// Users that run kubelogin, and contexts whose users do not run keyfob.
    fn kubectl(&mut self, file: &File) {
        let files = match Files::find(None) {
            Ok(files) => files,
            Err(error) => {
                self.notes.push(format!("kubectl: {}", clean(&format!("{error:#}"))));
                return;
            }
        };
        let execs = files.execs();
        for (user, exec) in execs.iter().filter(|(_, exec)| kubelogin::is_kubelogin(exec)) {
            let title = format!("kubectl: the user {} runs kubelogin", clean(user));
            match kubelogin::read(exec) {
                Ok(_) => self.offer(title, &["kubernetes", "--from-kubelogin", "--user", user], true),
                Err(why) => self.notes.push(format!("{title}, which keyfob cannot take over: {why}")),
            }
        }
        let only = file.profiles.keys().next().filter(|_| file.profiles.len() == 1);
        let profile = file.default_profile.as_ref().or(only);
        for (context, user) in files.contexts() {
            match execs.iter().find(|(name, _)| name == user) {
                Some((_, exec)) if exec.is_keyfob() => {
                    self.connected.push(format!("kubectl: the context {}", clean(context)));
                }
                Some((_, exec)) if kubelogin::is_kubelogin(exec) => {}
                _ => {
                    let title = match user {
                        "" => format!("kubectl: the context {}, which has no user", clean(context)),
                        user => format!("kubectl: the context {} with the user {}", clean(context), clean(user)),
                    };
                    let name = profile.map_or("NAME", String::as_str);
                    let mut words = vec!["kubernetes", "--profile", name, "--context", context];
                    if file.profiles.is_empty() {
                        words.extend(["--issuer", "URL", "--client-id", "ID"]);
                    }
                    self.offer(title, &words, profile.is_some());
                }
            }
        }
    }

    /// The https remotes of the repository here, and what `[hosts]` maps.
    fn git(&mut self, file: &File, profiles: &BTreeMap<String, Result<Profile, Failure>>) {
        let Ok(remotes) = git::remotes() else { return };
        let remotes = remotes.iter().filter_map(|url| {
            let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| *scheme == "https")?;
            let host = rest.split('/').next()?.rsplit('@').next()?;
            HostPattern::parse(&format!("{scheme}://{host}")).ok()
        });
        let mut hosts: Vec<(HostPattern, Option<&str>)> =
            file.hosts.iter().map(|rule| (rule.pattern.clone(), Some(rule.profile.as_str()))).collect();
        for remote in remotes {
            if !hosts.iter().any(|(known, _)| known.overlaps(&remote.canonical())) {
                hosts.push((remote, None));
            }
        }
        for (host, profile) in hosts {
            let url = host.canonical();
            if git::is_connected(&url) {
                self.connected.push(format!("git: {}", clean(&url)));
                continue;
            }
            let at = |authority: &str| HostPattern::parse(authority).is_ok_and(|home| home == host);
            let signs_in_there = |profile: &&Profile| at(&profile.session.authority);
            let found = profiles.values().filter_map(|profile| profile.as_ref().ok()).find(signs_in_there);
            let preset = PRESETS.iter().find(|preset| preset.authority.is_some_and(at));
            let title = format!("git: {}", clean(&url));
            match (profile.or(found.map(Profile::title)), preset) {
                (Some(name), _) => self.offer(title, &["git", "--profile", name, &url], true),
                (None, Some(preset)) => {
                    let words =
                        ["git", "--profile", preset.name, "--provider", preset.name, "--client-id", "ID", url.as_str()];
                    self.offer(title, &words, false);
                }
                (None, None) => {
                    let mut words = vec!["git", "--profile", "NAME", &url];
                    if file.profiles.is_empty() {
                        words.extend(["--issuer", "URL", "--client-id", "ID"]);
                    }
                    self.offer(title, &words, false);
                }
            }
        }
    }

    /// The first az on `PATH`, or a profile that az could answer with.
    fn az(&mut self, profiles: &BTreeMap<String, Result<Profile, Failure>>) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let place = folders.iter().position(|folder| folder.join("az").is_file());
        let az = place.map(|place| folders[place].join("az"));
        if az.as_ref().is_some_and(|az| std::fs::canonicalize(az).is_ok_and(|az| own_path().is_ok_and(|own| own == az)))
        {
            self.connected.push("az".to_owned());
            return;
        }
        let entra = profiles.values().filter_map(|p| p.as_ref().ok()).filter(|p| p.preset.multi_resource);
        let entra: Vec<&str> = entra.map(Profile::title).collect();
        let title = match &az {
            Some(az) => format!("az: {}", clean(&az.to_string_lossy())),
            None if !entra.is_empty() => "az: none on PATH".to_owned(),
            None => return,
        };
        // A folder of the person's own, where programs look before they find that one.
        let home = std::env::home_dir().unwrap_or_default();
        let mut before = folders[..place.unwrap_or(folders.len())].iter();
        let own = before.find(|folder| folder.starts_with(&home) && folder.is_dir());
        let folder = own.map_or_else(|| "FOLDER".into(), |folder| folder.to_string_lossy());
        let name = if let [name] = entra[..] { name } else { "NAME" };
        let mut words = vec!["az", "--profile", name];
        if entra.is_empty() {
            words.extend(["--provider", "entra", "--tenant", "TENANT", "--client-id", "ID"]);
        }
        words.push(&folder);
        self.offer(title, &words, entra.len() == 1 && own.is_some());
    }

    /// What a person reads.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut number = 0;
        for offer in &self.offers {
            number += usize::from(offer.whole);
            let mark = if offer.whole { number.to_string() } else { "-".to_owned() };
            let words: Vec<String> =
                ["keyfob", "setup"].map(str::to_owned).into_iter().chain(offer.words.clone()).collect();
            let _ = writeln!(text, "{mark:>3}  {}\n     {}", offer.what, line(&words));
        }
        if self.offers.is_empty() {
            text.push_str("There is nothing to connect here.\n");
        }
        if self.offers.iter().any(|offer| !offer.whole) {
            text.push_str("Words in capitals are yours to fill in.\n");
        }
        for connected in &self.connected {
            let _ = writeln!(text, "  =  {connected} has keyfob");
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }

    /// Asks which one, where there is a terminal and a choice, and does it.
    fn choose(&self) -> Result<()> {
        let whole: Vec<&Offer> = self.offers.iter().filter(|offer| offer.whole).collect();
        if whole.is_empty() || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(());
        }
        let numbers = if whole.len() == 1 { "1".to_owned() } else { format!("1-{}", whole.len()) };
        print(&format!("Which one? [{numbers}, or Enter for none] "))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("could not read the answer")?;
        let answer = answer.trim();
        if answer.is_empty() {
            return Ok(());
        }
        let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let Some(offer) = number.and_then(|number| whole.get(number)) else {
            return Err(Failure::usage(format!("{:?} is none of them", clean(answer))).into());
        };
        let mut command = Command::new(own_path()?);
        let status = command.arg("setup").args(&offer.words).status().context("could not run keyfob")?;
        if status.success() {
            return Ok(());
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed as u8);
        Err(Report { text: String::new(), code }.into())
    }
}
