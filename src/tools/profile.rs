//! The profile that a tool is connected to: one that is there, or a new one, checked against its provider first.

use super::{Asked, Job};
use crate::arguments::ProfileFlags;
use crate::change::backup::{Records, Setup};
use crate::change::plan::{Plan, Step};
use crate::change::undo::Undo;
use crate::config::{self, File, Flow, HostPattern, HostRule, KEYS, Origin, Profile, Selection, Settings, edit};
use crate::failure::{Exit, Failure};
use crate::oauth::{Client, NotStarted};
use crate::providers::TokenKind;
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

/// `config.toml`, as it is and as it is to be.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// What it would need to say if it were empty.
    alone: String,
}

impl Wanted {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.profile.is_none() && self.flags.0.is_empty()
    }

    /// The profile; added to `config` in the name of `by` if it is new, for these clusters alone if there are any.
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
    /// The name and the settings of a profile for another account at the provider of one that is there, if `--account` alone
    /// is said of that one.
    fn another_account(&self, name: &str, config: &Config) -> Result<Option<(String, Settings)>> {
        let said: Vec<_> = self.flags.0.all().collect();
        let ([(key, items)], Some(Ok(there))) = (&said[..], config.file()?.profiles.remove(name)) else {
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
    /// Whether this adds it.
    pub is_new: bool,
}

impl Chosen {
    /// What it is called.
    pub(super) fn title(&self) -> &str {
        self.profile.title()
    }

    /// Fails unless the provider takes sign-ins as the profile describes them; see [`takes_sign_ins`].
    pub fn check(&self) -> Result<()> {
        let profile = &self.profile;
        if profile.machine.is_some() {
            // Nothing is lost by asking for a token itself, which is what `setup` does next.
            return Ok(());
        }
        let (client, _) = Client::new(profile, None, crate::oauth::http::LIMIT)?;
        takes_sign_ins(profile, &client)
    }
}

/// Fails unless the provider takes sign-ins as the profile describes them. A device authorization is asked for where it
/// has one, which a wrong client id or scope does not get; the code is left unused. A sign-in by browser cannot be tried
/// without a person, so there it is enough that its endpoints are known.
pub fn takes_sign_ins(profile: &Profile, client: &Client<'_>) -> Result<()> {
    if profile.flow == Flow::Browser {
        return Ok(client.authorization_endpoint().map(drop)?);
    }
    if client.device_endpoint().is_err() && client.authorization_endpoint().is_ok() {
        return Ok(());
    }
    match client.device_authorization(&client.askable(&profile.scopes)) {
        // The client is known, and a sign-in goes by browser then.
        Ok(_) | Err(NotStarted::Forbidden(_)) => Ok(()),
        Err(NotStarted::Failed(failure)) => Err(failure.into()),
    }
}

/// What `setup` without a tool calls itself in config.toml.
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

/// The same settings with files named from the root: callers run in folders of their own.
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

/// Sets a key by its name.
pub(super) fn set(settings: &mut Settings, name: &str, items: Vec<String>) -> Result<(), Failure> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else { return Ok(()) };
    settings.set(key, items, Origin::Flag(key.flag.unwrap_or(key.name))).map_err(Failure::usage)
}

/// What keeps a profile that is to go.
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

/// A name as part of a file's name, or of a profile's: letters and digits of any script. Never an option of a command.
pub(super) fn plain(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    match plain.trim_matches('-') {
        "" => "user".to_owned(),
        plain => plain.to_owned(),
    }
}

impl Config {
    /// Reads it; one that is not there is empty.
    pub(super) fn load() -> Result<Self> {
        let path = config::file_path().ok_or_else(|| {
            Failure::usage("there is no home directory to find config.toml in").hint("set HOME or KEYFOB_CONFIG")
        })?;
        let path = std::path::absolute(&path).unwrap_or(path);
        let before = config::contents(&path)?;
        Ok(Self { path, after: before.clone().unwrap_or_default(), before, alone: String::new() })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder it is in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What it is to say, over what the system's says.
    pub(super) fn file(&self) -> Result<File> {
        Ok(config::read(&self.path, &self.after, config::system::load()?)?)
    }

    /// The rule that stands here for just this host; else the system's, if that has it as it is wanted.
    pub(super) fn rule(&self, host: &HostPattern, caller: &str, profile: &str) -> Result<Option<HostRule>> {
        let as_wanted = |rule: &HostRule| rule.is_for(caller) && rule.profile == profile;
        let mut rules = self.file()?.hosts.into_iter();
        Ok(rules.find(|rule| rule.pattern == *host && (!rule.system || as_wanted(rule))))
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

    /// Has it say something that it may say already.
    pub(super) fn say(&mut self, is_new: bool, edit: impl Fn(&str) -> Result<String, TomlError>) -> Result<()> {
        self.alone = edit(&self.alone)?;
        if is_new { self.edit(edit) } else { Ok(()) }
    }

    /// Adds a profile in the name of `by`; `false` if it is there and says the same.
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

    /// Removes profiles, with the files that were made for them, if the setup of a tool added them, or what `by` names, and
    /// nothing else uses them. Returns those that are removed.
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
            released.extend(Profile::all_of(file).remove(name).and_then(Result::ok));
            self.after = edit::without_profile(&self.after, name);
        }
        Ok(released)
    }

    /// Where the client secret of a profile is kept that `setup` was handed.
    pub(super) fn secret_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.client-secret", plain(name)))
    }

    /// The same for certificates.
    pub(super) fn ca_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{}.ca.pem", plain(name)))
    }

    /// The record of something that is connected with a profile, as part of a plan that changes these files besides. `did`
    /// makes of what an earlier setup of the same did what both did.
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
            sections: ["hosts", "az"].into_iter().filter(|table| is_new(table)).map(str::to_owned).collect(),
            // What config.toml says is relied upon, changed or not.
            files: std::iter::once(self.path.clone()).chain(files).collect(),
            did: Value::Null,
            copies: Vec::new(),
        };
        let earlier = records.setups.iter().find(|known| known.is_of(&setup));
        let earlier = earlier.and_then(|earlier| serde_json::from_value(earlier.did.clone()).ok());
        setup.did = serde_json::to_value(did(earlier))?;
        Ok(setup)
    }

    /// Adds the change to a plan, if there is any.
    pub(super) fn into_plan(self, plan: &mut Plan) {
        plan.edit(&self.path, self.before.as_deref(), &self.after);
        // The mark of what an undo takes back is no matter of those who write the file themselves.
        let lines = self.alone.lines().filter(|line| !line.starts_with(edit::ADDED_BY));
        plan.lines.push((self.path.display().to_string(), lines.collect::<Vec<_>>().join("\n")));
    }

    /// The same for an undo, which puts the former bytes back if it can.
    pub(super) fn take_back(self, undo: &Undo, plan: &mut Plan) -> Result<()> {
        let path = self.path.clone();
        undo.file(&path, plan, |plan| {
            self.into_plan(plan);
            Ok(())
        })
    }
}
