//! Which profile answers, and what it says: flags over environment over `config.toml`.
//!
//! `settings` is what a profile can say and does say, each key with its type and its place; `keys` how a key looks; `file`
//! reads the TOML, the user's over what `system` has for all users, and `part` what one answer needs of both. This file
//! picks the profile, `profile` completes it by its provider's row, and `identity` is what its session is known by.

pub mod edit;
mod environment;
mod file;
pub mod hosts;
mod identity;
mod keys;
mod machine;
mod part;
mod profile;
mod settings;
pub mod system;

pub use file::{Az, File, Installation, StoreKind, contents, load, load_part, path as file_path, read};
pub use hosts::{HostPattern, HostRule, Target};
pub use identity::{CaFile, SessionKey};
pub use keys::{Key, Shape, text, word};
pub use machine::{Machine, MachineGrant, Source};
pub use part::Asked;
pub use profile::{ClientKey, Endpoints, Profile, Recipe};
pub use settings::{AuthMethod, Flow, KEYS, Origin, PromptMode, Settings};

use crate::failure::Failure;
use crate::text::meant;
use anyhow::Result;
use std::collections::BTreeMap;

/// What to do where there is no profile.
fn no_profile() -> &'static str {
    if file::path().is_none() {
        // As for a container's made-up user.
        return "set HOME or KEYFOB_CONFIG, for there is no home directory to find config.toml in; or pass --issuer and --client-id";
    }
    "make one: keyfob setup --profile NAME --issuer URL --client-id ID; or pass --issuer and --client-id"
}

/// What the command line says about the profile to use.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `--profile`, or a command's own argument.
    pub profile: Option<String>,
    /// The profile keys given as flags.
    pub flags: Settings,
}

impl Profile {
    /// The profile that answers: `--issuer`, `--provider` or `--token-endpoint` start a nameless one; else
    /// `--profile`, `KEYFOB_PROFILE`, `default-profile`, or the only one there is.
    pub fn select(selection: &Selection) -> Result<Self> {
        if let Some(nameless) = Self::nameless(selection)? {
            return Ok(nameless);
        }
        let Selection { profile, flags } = selection;
        let environment = std::env::var("KEYFOB_PROFILE").ok().filter(|n| !n.is_empty());
        let mut file = file::load_part(Asked::Profile(profile.as_deref().or(environment.as_deref())))?;
        let name: &str = if let Some(name) = profile {
            file.named(name)?
        } else if let Some(name) = &environment {
            file.named(name).map_err(|mut failure| {
                failure.message.insert_str(0, "KEYFOB_PROFILE: ");
                failure
            })?
        } else if let Some(name) = &file.default_profile {
            name
        } else {
            let mut names = file.profiles.keys();
            match (names.next(), names.next()) {
                (None, _) => return Err(Failure::usage("no profile is configured").hint(no_profile()).into()),
                (Some(name), None) => name,
                _ => {
                    let all = file.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    return Err(Failure::usage(format!("which profile? There are {all}"))
                        .hint("name one with --profile or KEYFOB_PROFILE, or set `default-profile` in config.toml")
                        .into());
                }
            }
        };
        let name = name.to_owned();
        let settings = file.take(&name)?;
        Ok(Self::resolve(Some(name), settings, flags.clone())?)
    }

    /// A profile of this name that is in no file yet.
    pub fn proposed(name: &str, settings: Settings) -> Result<Self, Failure> {
        Self::resolve(Some(name.to_owned()), settings, Settings::default())
    }

    /// A profile that the flags alone describe, if they do.
    fn nameless(selection: &Selection) -> Result<Option<Self>, Failure> {
        let Selection { profile, flags } = selection;
        let Some(key) = ["issuer", "provider", "token-endpoint"].into_iter().find(|key| flags.has(key)) else {
            return Ok(None);
        };
        if let Some(name) = profile {
            let given = flags.place(key);
            let what = format!("{given} describes a profile of its own and cannot be used with profile {name:?}");
            return Err(Failure::usage(what).hint(format!("leave out {given} or the profile's name")));
        }
        Self::resolve(None, Settings::default(), flags.clone()).map(Some)
    }

    /// The profile that answers az and azd, and what else `[az]` says: a nameless one, `--profile`, `[az] profile`, or the
    /// only one whose provider serves every resource by one sign-in. Neither the environment nor `default-profile` chooses.
    pub fn for_az(selection: &Selection) -> Result<(Self, Az)> {
        if let Some(nameless) = Self::nameless(selection)? {
            return Ok((nameless, Az::default()));
        }
        let mut file = file::load_part(Asked::Az(selection.profile.as_deref()))?;
        // What cannot be read may be one of them: it is not passed over for another.
        let entra =
            |settings: &Result<Settings, Failure>| settings.as_ref().map_or(true, |said| said.row().multi_resource);
        let name = if let Some(name) = &selection.profile {
            file.named(name)?.to_owned()
        } else if let Some(name) = &file.az.profile {
            name.clone()
        } else {
            let mut names = file.profiles.iter().filter(|(_, settings)| entra(settings)).map(|(name, _)| name);
            match (names.next(), names.next()) {
                (Some(name), None) => name.clone(),
                (None, _) => {
                    return Err(Failure::usage("no profile says `provider = \"entra\"`")
                        .hint(format!("add one to {}, or name another below [az]: profile = \"…\"", file_name()))
                        .into());
                }
                (Some(one), Some(other)) => {
                    return Err(Failure::usage(format!("which profile, {one:?} or {other:?}?"))
                        .hint(format!("name one below [az] in {}: profile = \"…\"", file_name()))
                        .into());
                }
            }
        };
        let settings = file.take(&name)?;
        Ok((Self::resolve(Some(name), settings, selection.flags.clone())?, file.az))
    }

    /// The profile of this name in the file, which neither the environment nor a default chooses.
    pub fn named(mut file: File, name: &str) -> Result<Self, Failure> {
        file.named(name)?;
        let settings = file.take(name)?;
        Self::proposed(name, settings)
    }

    /// Every profile of the file, by name, or what is wrong with it.
    pub fn all() -> Result<BTreeMap<String, Result<Self, Failure>>> {
        Ok(Self::all_of(file::load()?))
    }

    /// The same for what was read of a file.
    pub fn all_of(file: file::File) -> BTreeMap<String, Result<Self, Failure>> {
        let names = file.profiles.keys();
        let mut circles: BTreeMap<String, Failure> =
            names.filter_map(|name| Some((name.clone(), file.circle(name)?))).collect();
        let profiles = file.profiles.into_iter().map(|(name, said)| {
            let said = said.and_then(|said| circles.remove(&name).map_or(Ok(said), Err));
            (name.clone(), said.and_then(|said| Self::proposed(&name, said)))
        });
        profiles.collect()
    }
}

impl file::File {
    /// What the profile of this name says, which is then no longer in the file; nothing if there is none.
    fn take(&mut self, name: &str) -> Result<Settings, Failure> {
        let circle = self.circle(name);
        let settings = self.profiles.remove(name).unwrap_or_else(|| Ok(Settings::default()))?;
        circle.map_or(Ok(settings), Err)
    }

    /// What is wrong where the token of a profile would be made from itself, or from one that does not exist.
    fn circle(&self, name: &str) -> Option<Failure> {
        let said = |name: &str| self.profiles.get(name).and_then(|said| said.as_ref().ok());
        let mut chain = vec![name];
        while let Some(settings) = said(chain[chain.len() - 1])
            && let Some(parent) = settings.items("source-profile").first()
        {
            let wrong = |why: String| {
                Some(Failure::usage(format!("{}: `source-profile`: {why}", settings.place("source-profile"))))
            };
            if let Err(failure) = self.named(parent) {
                return wrong(failure.message);
            }
            if chain.contains(&parent.as_str()) {
                return wrong(format!("it leads back to itself: {} → {parent}", chain.join(" → ")));
            }
            chain.push(parent);
        }
        None
    }

    /// The name of a profile that there is.
    pub fn named<'n>(&self, name: &'n str) -> Result<&'n str, Failure> {
        if self.profiles.contains_key(name) {
            return Ok(name);
        }
        let there = meant(name, self.profiles.keys().map(String::as_str));
        let failure = Failure::usage(format!("there is no profile {name:?}; {there}"));
        Err(if self.profiles.is_empty() { failure.hint(no_profile()) } else { failure })
    }
}

fn file_name() -> String {
    file::path().map_or_else(|| "config.toml".to_owned(), |p| p.display().to_string())
}
