//! The profile that a tool is connected to: one that is there, or a new one, checked against its provider first.

use super::Job;
use super::former::{Former, Undo};
use super::plan::{Plan, Step};
use crate::arguments::ProfileFlags;
use crate::config::{self, File, KEYS, Origin, Profile, Selection, Settings, edit};
use crate::failure::{Exit, Failure};
use crate::oauth::Client;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use toml_edit::TomlError;

/// Which profile, and what it is to say if it is new.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Profile to connect, or with --issuer or --provider a new one's name [default: the one that answers unnamed]
    #[arg(long, short, value_name = "NAME")]
    pub profile: Option<String>,
    #[command(flatten)]
    /// What it says.
    pub flags: ProfileFlags,
}

/// `config.toml`, as it is and as it is to be.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// The profiles that are new.
    added: Vec<String>,
}

impl Wanted {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.profile.is_none() && self.flags.0.is_empty()
    }

    /// The profile; added to `config` in the name of `by` if it is new.
    pub(super) fn in_config(&self, config: &mut Config, by: &str) -> Result<Profile> {
        if self.flags.0.is_empty() {
            return Profile::select(&Selection { profile: self.profile.clone(), ..Selection::default() });
        }
        let Some(name) = &self.profile else {
            return Err(Failure::usage("the new profile has no name").hint("add --profile NAME").into());
        };
        let settings = anywhere(&self.flags.0)?;
        let profile = Profile::proposed(name, settings.clone())?;
        if config.add(name, &settings, by)? {
            check(&profile)?;
        }
        Ok(profile)
    }
}

/// What `setup` without a tool calls itself in config.toml.
const ALONE: &str = "setup";

/// `keyfob setup --profile NAME --issuer …`
pub fn make(wanted: &Wanted) -> Result<Job> {
    let mut config = Config::load()?;
    let mut plan = Plan::default();
    let profile = wanted.in_config(&mut config, ALONE)?;
    let former = config.keep([])?;
    plan.steps.extend(config.into_step());
    plan.keep(former);
    let login = format!("To sign in: {}\n", profile.command("login"));
    Ok(Job { title: format!("Make the profile {}", profile.title()), plan, after: Box::new(move || Ok(login.clone())) })
}

/// `keyfob setup --undo --profile NAME`
pub fn remove(name: &str) -> Result<Job> {
    let mut config = Config::load()?;
    let mut plan = Plan::default();
    let mut undo = Undo::of(|former| former.is_alone() && former.has_added(name))?;
    config.release(name, ALONE, &mut undo, &mut plan)?;
    if undo.leaves_nothing() {
        config.take_back(&mut undo, &mut plan)?;
        undo.finish(&mut plan);
    }
    Ok(Job { title: format!("Remove the profile {name}"), plan, after: Box::new(|| Ok(String::new())) })
}

/// Fails unless the provider takes sign-ins as `profile` describes them.
pub(super) fn check(profile: &Profile) -> Result<()> {
    let (client, _) = Client::new(profile, None, crate::oauth::http::LIMIT)?;
    client.device_endpoint()?;
    Ok(())
}

/// The same settings with files named from the root: callers run in folders of their own.
pub(super) fn anywhere(settings: &Settings) -> Result<Settings> {
    let mut settings = settings.clone();
    for name in ["client-secret-file", "ca-file"] {
        if let Some(file) = settings.items(name).first() {
            let file = std::path::absolute(file).with_context(|| format!("could not tell where {file} is"))?;
            set(&mut settings, name, vec![file.to_string_lossy().into_owned()])?;
        }
    }
    Ok(settings)
}

/// Sets a key by its name.
pub(super) fn set(settings: &mut Settings, name: &str, items: Vec<String>) -> Result<(), Failure> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else { return Ok(()) };
    settings.set(key, items, Origin::Flag(key.flag.unwrap_or(key.name))).map_err(Failure::usage)
}

/// A name as part of a file's name, or of a profile's.
pub(super) fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect()
}

impl Config {
    /// Reads it; one that is not there is empty.
    pub(super) fn load() -> Result<Self> {
        let path = config::file_path().ok_or_else(|| {
            Failure::usage("there is no home directory to find config.toml in").hint("set HOME or KEYFOB_CONFIG")
        })?;
        let path = std::path::absolute(&path).unwrap_or(path);
        let before = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e).with_context(|| format!("could not read {}", path.display())),
        };
        Ok(Self { path, after: before.clone().unwrap_or_default(), before, added: Vec::new() })
    }

    /// The folder it is in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What it is to say.
    pub(super) fn file(&self) -> Result<File, Failure> {
        config::read(&self.path, &self.after)
    }

    /// Which `setup` added a profile.
    pub(super) fn added_by(&self, name: &str) -> Option<&str> {
        edit::profile_added_by(&self.after, name)
    }

    /// Changes it.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&str) -> Result<String, TomlError>) -> Result<()> {
        // Without the line that it would quote, and a picture of where in it.
        let what = |e: TomlError| format!("could not change config.toml: {}", e.message());
        let failure = |e| Failure::new(Exit::Failed, what(e)).hint(format!("change {} by hand", self.path.display()));
        self.after = edit(&self.after).map_err(failure)?;
        Ok(())
    }

    /// Adds a profile in the name of `by`; `false` if it is there and says the same.
    pub(super) fn add(&mut self, name: &str, settings: &Settings, by: &str) -> Result<bool> {
        match self.file()?.profiles.get(name) {
            None => {
                self.edit(|text| edit::with_profile(text, name, settings, by))?;
                self.file()?;
                self.added.push(name.to_owned());
                Ok(true)
            }
            Some(Err(failure)) => Err(failure.clone().into()),
            Some(Ok(there)) if there.says_what(settings) => Ok(false),
            Some(_) => {
                let what = format!("there is a profile {name:?} already, which says something else");
                Err(Failure::usage(what).hint("choose another name, or give --profile alone").into())
            }
        }
    }

    /// Removes the profile `name`, with the files that were made for it, if the `setup` that `by` names added it, or one
    /// that `undo` takes back, and nothing else uses it.
    pub(super) fn release(&mut self, name: &str, by: &str, undo: &mut Undo, plan: &mut Plan) -> Result<()> {
        let Some(added_by) = self.added_by(name) else { return Ok(()) };
        if added_by != by && !undo.undone().any(|former| former.has_added(name)) {
            return Ok(());
        }
        let file = self.file()?;
        let kubectls = undo.others().flat_map(|other| &other.users).find(|user| user.profile == name);
        let user = if let Some(user) = kubectls {
            &format!("kubectl's user {:?}", user.name)
        } else if file.hosts.iter().any(|host| host.profile == name) {
            "[hosts]"
        } else if file.az.profile.as_deref() == Some(name) {
            "[az]"
        } else if file.default_profile.as_deref() == Some(name) {
            "default-profile"
        } else {
            for (key, path) in [("client-secret-file", self.secret_file(name)), ("ca-file", self.ca_file(name))] {
                let said = file.profiles.get(name).and_then(|said| said.as_ref().ok()?.items(key).first());
                if said.map(String::as_str) == path.to_str() && path.is_file() {
                    plan.steps.push(Step::Remove { path, folder: None });
                }
            }
            self.after = edit::without_profile(&self.after, name);
            return Ok(());
        };
        plan.notes.push(format!("the profile {name:?} is left, since {user} names it"));
        undo.leave(name);
        Ok(())
    }

    /// Where the client secret of a profile is kept that `setup` was handed.
    pub(super) fn secret_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.client-secret", plain(name)))
    }

    /// The same for certificates.
    pub(super) fn ca_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.ca.pem", plain(name)))
    }

    /// What an undo needs to know of it, and of these files that are changed besides.
    pub(super) fn keep(&self, files: impl IntoIterator<Item = PathBuf>) -> Result<Former> {
        let mut former = Former::of(std::iter::once(self.path.clone()).chain(files))?;
        former.added.clone_from(&self.added);
        for name in ["hosts", "az"] {
            let was_there = self.before.as_ref().is_some_and(|text| edit::has_section(text, name));
            former.note_section(name, !was_there && edit::has_section(&self.after, name))?;
        }
        Ok(former)
    }

    /// The change, if there is any.
    pub(super) fn into_step(self) -> Option<Step> {
        let Self { path, before, after, .. } = self;
        match before {
            Some(before) => (before != after).then_some(Step::Edit { path, before, after }),
            None => (!after.is_empty()).then_some(Step::Create { path, text: after }),
        }
    }

    /// The same for an undo, which puts the former bytes back if it can, and leaves no file that it was all of.
    pub(super) fn take_back(self, undo: &mut Undo, plan: &mut Plan) -> Result<()> {
        let path = self.path.clone();
        undo.file(&path, plan, |undo, plan| {
            let removal = undo.removal(&self.path).filter(|_| self.after.trim().is_empty());
            plan.steps.extend(removal.or_else(|| self.into_step()));
            Ok(())
        })
    }
}
