//! The profile that a tool is connected to: an existing one, or a new one that is first checked with its provider.

use super::{Asked, Job};
use crate::arguments::ProfileFlags;
use crate::change::backup::{Records, Setup};
use crate::change::plan::{Plan, Step};
use crate::change::undo::Undo;
use crate::config::{self, File, Flow, HostPattern, HostRule, KEYS, Origin, Profile, Selection, Settings, edit};
use crate::failure::{Exit, Failure};
use crate::oauth::{Client, NotStarted};
use crate::providers::TokenKind;
use crate::sorted;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use toml_edit::TomlError;

/// Which profile, and what it is to say if it is new.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Profile to connect, or with --issuer or --provider a new one's name [default: KEYFOB_PROFILE, default-profile, or the only one]
    #[arg(long, short, value_name = "NAME")]
    pub profile: Option<String>,
    #[command(flatten)]
    /// What it says.
    pub flags: ProfileFlags,
}

/// `config.toml` before and after the change.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// The same changes applied to an empty file, for people who edit it themselves.
    alone: String,
}

impl Wanted {
    /// Whether no profile and no settings were given.
    pub fn is_empty(&self) -> bool {
        self.profile.is_none() && self.flags.0.is_empty()
    }

    /// The profile to connect. If it is new, adds it to `config` on behalf of `by`, limited to these clusters if there
    /// are any.
    pub(super) fn in_config(&self, config: &mut Config, by: &str, clusters: &[String]) -> Result<Chosen> {
        if self.flags.0.is_empty() {
            let profile = Profile::select(&Selection { profile: self.profile.clone(), ..Selection::default() })?;
            return Ok(Chosen { profile, is_new: false });
        }
        let Some(name) = &self.profile else {
            return Err(Failure::usage("the new profile has no name").hint("add --profile NAME").into());
        };
        let (name, mut settings) = match self.another_account(name, config)? {
            Some(other) => other,
            None => (name.clone(), anywhere(&self.flags.0)?),
        };
        let name = &name;
        if !clusters.is_empty() {
            set(&mut settings, "clusters", clusters.to_vec())?;
        }
        let profile = Profile::proposed(name, settings.clone())?;
        let is_new = config.add(name, &settings, by)?;
        Ok(Chosen { profile, is_new })
    }
}

impl Wanted {
    /// The name and settings of a profile for another account at an existing profile's provider, if `--account` is the
    /// only setting given for that profile.
    fn another_account(&self, name: &str, config: &Config) -> Result<Option<(String, Settings)>> {
        let said: Vec<_> = self.flags.0.all().collect();
        let ([(key, items)], Some(Ok(there))) = (&said[..], config.file()?.profiles.get(name).cloned()) else {
            return Ok(None);
        };
        let (true, Some(account)) = (key.name == "account", items.first()) else { return Ok(None) };
        if there.items("account").first() == Some(account) {
            return Ok(Some((name.to_owned(), there)));
        }
        let mut settings = there;
        set(&mut settings, "account", vec![account.clone()])?;
        Ok(Some((format!("{name}-{}", plain(account)), settings)))
    }
}

/// The profile that a tool is connected to.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The profile.
    pub profile: Profile,
    /// Whether this setup adds the profile.
    pub is_new: bool,
}

impl Chosen {
    /// The profile's name.
    pub(super) fn title(&self) -> &str {
        self.profile.title()
    }

    /// Fails unless the provider accepts sign-ins for the profile; see [`takes_sign_ins`].
    pub fn check(&self) -> Result<()> {
        let profile = &self.profile;
        if profile.machine.is_some() {
            // Asking for a token does no harm, and `setup` does so next.
            return Ok(());
        }
        let (client, _) = Client::new(profile, None, crate::oauth::http::LIMIT)?;
        takes_sign_ins(profile, &client)
    }
}

/// Fails unless the provider accepts sign-ins for the profile. If the provider has a device authorization endpoint,
/// requests a code, which fails with a wrong client id or scope; the code is not used. A browser sign-in cannot be
/// tried without a person, so it is enough that its endpoints are known.
pub fn takes_sign_ins(profile: &Profile, client: &Client<'_>) -> Result<()> {
    if profile.flow == Flow::Browser {
        return Ok(client.authorization_endpoint().map(drop)?);
    }
    if client.device_endpoint().is_err() && client.authorization_endpoint().is_ok() {
        return Ok(());
    }
    match client.device_authorization(&client.askable(&profile.scopes)) {
        // The provider knows the client; the sign-in will use the browser.
        Ok(_) | Err(NotStarted::Forbidden(_)) => Ok(()),
        Err(NotStarted::Failed(failure)) => Err(failure.into()),
    }
}

/// The name in config.toml of a `setup` without a tool.
const ALONE: &str = "setup";

/// `keyfob setup --profile NAME --issuer …`
pub fn make(wanted: &Wanted) -> Result<Job> {
    let mut config = Config::load()?;
    let chosen = wanted.in_config(&mut config, ALONE, &[])?;
    let mut plan = Plan::default();
    let setup = config.setup(&plan, (ALONE, chosen.title()), None, Vec::new(), |_: Option<()>| ())?;
    plan.setups.push(setup);
    config.into_plan(&mut plan);
    let title = format!("Make the profile {}", chosen.title());
    let asked = Asked {
        kind: chosen.profile.token_kind.unwrap_or(TokenKind::Access),
        chosen,
        what: String::new(),
        prompts: None,
        unanswered: "the profile is made, but there is no token of it".to_owned(),
        attempt: Box::new(|| Ok(String::new())),
    };
    Ok(Job { asked: vec![asked], ..Job::new(title, plan) })
}

/// `keyfob setup --undo --profile NAME`
pub fn remove(name: &str) -> Result<Job> {
    let mut config = Config::load()?;
    let mut plan = Plan::default();
    let undo = Undo::of(|setup| setup.tool == ALONE && setup.name == name)?;
    let released = config.release([name], ALONE, &undo, &mut plan)?;
    if !released.is_empty() || config.added_by(name).is_none() {
        config.take_back(&undo, &mut plan)?;
        undo.finish(&mut plan);
    }
    Ok(Job { released, ..Job::new(format!("Remove the profile {name}"), plan) })
}

/// Makes file names absolute, because callers run in other folders.
pub(super) fn anywhere(settings: &Settings) -> Result<Settings> {
    let mut settings = settings.clone();
    for name in ["client-secret-file", "client-certificate-file", "source-file", "ca-file"] {
        if let Some(file) = settings.items(name).first() {
            let file = std::path::absolute(file).with_context(|| format!("could not tell where {file} is"))?;
            set(&mut settings, name, vec![file.to_string_lossy().into_owned()])?;
        }
    }
    Ok(settings)
}

/// Sets a key by its name; ignores an unknown name.
pub(super) fn set(settings: &mut Settings, name: &str, items: Vec<String>) -> Result<(), Failure> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else { return Ok(()) };
    settings.set(key, items, Origin::Flag(key.flag.unwrap_or(key.name))).map_err(Failure::usage)
}

/// What still uses a profile that is to be removed, if anything.
fn user_of(profile: &str, file: &File, undo: &Undo) -> Option<String> {
    if file.hosts.iter().any(|host| host.profile == profile) {
        return Some("[hosts]".to_owned());
    }
    if file.az.profile.as_deref() == Some(profile) {
        return Some("[az]".to_owned());
    }
    if file.default_profile.as_deref() == Some(profile) {
        return Some("default-profile".to_owned());
    }
    let mut others = undo.others().filter(|other| other.tool != ALONE && other.profile.as_deref() == Some(profile));
    others.next().map(|other| format!("{} {:?}", other.tool, other.name))
}

/// A name as a part of a file or profile name: letters and digits of any script, `-` and `_`. It never begins with a
/// dash.
pub(super) fn plain(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    match plain.trim_matches('-') {
        "" => "user".to_owned(),
        plain => plain.to_owned(),
    }
}

impl Config {
    /// Reads the file; a missing file counts as empty.
    pub(super) fn load() -> Result<Self> {
        let path = config::file_path().ok_or_else(|| {
            Failure::usage("there is no home directory to find config.toml in").hint("set HOME or KEYFOB_CONFIG")
        })?;
        let path = std::path::absolute(&path).unwrap_or(path);
        let before = config::contents(&path)?;
        Ok(Self { path, after: before.clone().unwrap_or_default(), before, alone: String::new() })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's folder.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The configuration after the change, over the system's.
    pub(super) fn file(&self) -> Result<File> {
        Ok(config::read(&self.path, &self.after, config::system::load()?)?)
    }

    /// The user's rule for exactly this host; otherwise the system's rule, if it is for this caller and profile.
    pub(super) fn rule(&self, host: &HostPattern, caller: &str, profile: &str) -> Result<Option<HostRule>> {
        let as_wanted = |rule: &HostRule| rule.is_for(caller) && rule.profile == profile;
        let mut rules = self.file()?.hosts.into_iter();
        Ok(rules.find(|rule| rule.pattern == *host && (!rule.system || as_wanted(rule))))
    }

    /// Which `setup` added a profile.
    pub(super) fn added_by(&self, name: &str) -> Option<&str> {
        edit::profile_added_by(&self.after, name)
    }

    /// Changes the file.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&str) -> Result<String, TomlError>) -> Result<()> {
        // Leave out the quoted line and the position marker of the parser's message.
        let what = |e: TomlError| format!("could not change config.toml: {}", e.message());
        let failure = |e| Failure::new(Exit::Failed, what(e)).hint(format!("change {} by hand", self.path.display()));
        self.after = edit(&self.after).map_err(failure)?;
        Ok(())
    }

    /// Makes a change that may already be in the file; it is applied only if `is_new`.
    pub(super) fn say(&mut self, is_new: bool, edit: impl Fn(&str) -> Result<String, TomlError>) -> Result<()> {
        self.alone = edit(&self.alone)?;
        if is_new { self.edit(edit) } else { Ok(()) }
    }

    /// Adds a profile on behalf of `by`. Returns false if an equal profile exists; fails if a different one does.
    pub(super) fn add(&mut self, name: &str, settings: &Settings, by: &str) -> Result<bool> {
        let add = |text: &str| edit::with_profile(text, name, settings, by);
        match self.file()?.profiles.get(name) {
            None => {
                self.say(true, add)?;
                self.file()?;
                Ok(true)
            }
            Some(Err(failure)) => Err(failure.clone().into()),
            Some(Ok(there)) if there.says_what(settings) => self.say(false, add).map(|()| false),
            Some(_) => {
                let what = format!("there is a profile {name:?} already, which says something else");
                Err(Failure::usage(what).hint("choose another name, or give --profile alone").into())
            }
        }
    }

    /// Removes profiles, with the files that were made for them, if nothing else uses them and if a tool's setup added
    /// them (or a setup without a tool, if `by` is that). Returns the removed profiles.
    pub(super) fn release<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        by: &str,
        undo: &Undo,
        plan: &mut Plan,
    ) -> Result<Vec<Profile>> {
        let mut released = Vec::new();
        for name in names {
            if self.added_by(name).is_none_or(|added_by| (added_by == ALONE) != (by == ALONE)) {
                continue;
            }
            let file = self.file()?;
            if let Some(user) = user_of(name, &file, undo) {
                plan.notes.push(format!("the profile {name:?} is left, since {user} names it"));
                continue;
            }
            for (key, path) in [("client-secret-file", self.secret_file(name)), ("ca-file", self.ca_file(name))] {
                let said = file.profiles.get(name).and_then(|said| said.as_ref().ok()?.items(key).first());
                if said.map(String::as_str) == path.to_str() && path.is_file() {
                    plan.steps.push(Step::Remove { path, folder: None });
                }
            }
            released.extend(Profile::named(file, name));
            self.after = edit::without_profile(&self.after, name);
        }
        Ok(released)
    }

    /// The file for a client secret that was passed to `setup`.
    pub(super) fn secret_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.client-secret", plain(name)))
    }

    /// The file for certificates that were passed to `setup`.
    pub(super) fn ca_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.ca.pem", plain(name)))
    }

    /// The record of a connection with a profile, as part of a plan that also changes `files`. `did` gets the data of
    /// an earlier setup of the same thing, if any, and returns the combined data.
    pub(super) fn setup<D: Serialize + DeserializeOwned>(
        &self,
        plan: &Plan,
        (tool, name): (&str, &str),
        profile: Option<&str>,
        files: Vec<PathBuf>,
        did: impl FnOnce(Option<D>) -> D,
    ) -> Result<Setup> {
        let records = Records::load()?;
        let is_new = |table: &str| {
            let exists = |text: &str| edit::has_section(text, table);
            exists(&self.after) && !self.before.as_deref().is_some_and(exists)
                || records.setups.iter().any(|setup| setup.sections.contains(table))
        };
        let mut setup = Setup {
            tool: tool.to_owned(),
            name: name.to_owned(),
            place: files.first().unwrap_or(&self.path).clone(),
            at: plan.at,
            profile: profile.map(str::to_owned),
            sections: sorted::set(["hosts", "az"].into_iter().filter(|table| is_new(table)).map(str::to_owned)),
            // The connection relies on config.toml even if this setup does not change it.
            files: std::iter::once(self.path.clone()).chain(files).collect(),
            did: Value::Null,
            copies: Vec::new(),
        };
        let earlier = records.setups.iter().find(|known| known.is_of(&setup));
        let earlier = earlier.and_then(|earlier| serde_json::from_value(earlier.did.clone()).ok());
        setup.did = serde_json::to_value(did(earlier))?;
        Ok(setup)
    }

    /// Adds the change to a plan, if there is one.
    pub(super) fn into_plan(self, plan: &mut Plan) {
        plan.edit(&self.path, self.before.as_deref(), &self.after);
        // The comment that marks a profile for the undo is not needed by people who edit the file themselves.
        let lines = self.alone.lines().filter(|line| !line.starts_with(edit::ADDED_BY));
        plan.lines.push((self.path.display().to_string(), lines.collect::<Vec<_>>().join("\n")));
    }

    /// Adds an undo to a plan, which restores the old bytes if possible.
    pub(super) fn take_back(self, undo: &Undo, plan: &mut Plan) -> Result<()> {
        let path = self.path.clone();
        undo.file(&path, plan, |plan| {
            self.into_plan(plan);
            Ok(())
        })
    }
}
