//! Selects a profile and reads its settings: flags override the environment, which overrides `config.toml`.
//!
//! `settings` holds the values of a profile's keys and where each was set; `keys` describes keys. `file` reads the
//! TOML, with the user's file over the file for all users (`system`); `part` reads only what one answer needs of both.
//! This file selects the profile, `profile` completes it from its provider's row, and `identity` is the key of its
//! session.

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
#[cfg(test)]
pub(crate) use profile::tests::resolved;
pub use profile::{ClientKey, Endpoints, Profile, Recipe};
pub use settings::{AuthMethod, Flow, KEYS, Origin, PromptMode, Settings};

use crate::failure::Failure;
use crate::sorted;
use crate::text::meant;
use anyhow::Result;
use std::collections::BTreeMap;

/// The hint if no profile is configured.
fn no_profile() -> &'static str {
    if file::path().is_none() {
        // There is no home directory, as for the arbitrary user of a container.
        return "set HOME or KEYFOB_CONFIG, for there is no home directory to find config.toml in; or pass --issuer and --client-id";
    }
    "make one: keyfob setup --profile NAME --issuer URL --client-id ID; or pass --issuer and --client-id"
}

/// How the command line selects a profile.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The name from `--profile`, or from a command's own argument.
    pub profile: Option<String>,
    /// Profile keys that were given as flags.
    pub flags: Settings,
}

impl Profile {
    /// Selects the profile. `--issuer`, `--provider` or `--token-endpoint` describe one without a name; otherwise it is
    /// named by `--profile`, `KEYFOB_PROFILE` or `default-profile`, or is the only one there is.
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

    /// A profile with this name that is not in a file yet.
    pub fn proposed(name: &str, settings: Settings) -> Result<Self, Failure> {
        Self::resolve(Some(name.to_owned()), settings, Settings::default())
    }

    /// The profile that the flags alone describe; `None` if they do not describe one.
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

    /// Selects the profile that answers az and azd, and returns `[az]` with it: one described by flags, the one named
    /// by `--profile` or by `[az] profile`, or the only one whose provider serves every resource with one sign-in. The
    /// environment and `default-profile` are not used.
    pub fn for_az(selection: &Selection) -> Result<(Self, Az)> {
        if let Some(nameless) = Self::nameless(selection)? {
            return Ok((nameless, Az::default()));
        }
        let mut file = file::load_part(Asked::Az(selection.profile.as_deref()))?;
        // A profile that cannot be read may be such a profile, so it counts; otherwise another would be chosen instead.
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

    /// The profile of this name in the file. The environment and defaults do not choose it.
    pub fn named(mut file: File, name: &str) -> Result<Self, Failure> {
        file.named(name)?;
        let settings = file.take(name)?;
        Self::proposed(name, settings)
    }

    /// Every profile in the configuration by name, or what is wrong with it.
    pub fn all() -> Result<BTreeMap<String, Result<Self, Failure>>> {
        Ok(Self::all_of(file::load()?))
    }

    /// Every profile of `file` by name, or what is wrong with it.
    pub fn all_of(file: file::File) -> BTreeMap<String, Result<Self, Failure>> {
        let circles: Vec<_> = file.profiles.keys().map(|name| file.circle(name)).collect();
        sorted::map(file.profiles.into_iter().zip(circles).map(|((name, said), circle)| {
            let said = said.and_then(|said| circle.map_or(Ok(said), Err));
            (name.clone(), said.and_then(|said| Self::proposed(&name, said)))
        }))
    }
}

impl file::File {
    /// Takes the settings of the profile of this name out of the file; empty if it does not exist.
    fn take(&mut self, name: &str) -> Result<Settings, Failure> {
        let circle = self.circle(name);
        let none = Ok(Settings::default());
        let settings = match self.profiles.get_mut(name) {
            Some(said) => std::mem::replace(said, none),
            None => none,
        }?;
        circle.map_or(Ok(settings), Err)
    }

    /// What is wrong if following `source-profile` leads back to a profile, or to one that does not exist.
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

    /// Returns `name` if there is a profile of this name. Fails otherwise.
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
