//! Which profile answers, and what it says: flags over environment over `config.toml`.
//!
//! `keys` is the table of what a profile can say, `settings` what was said and where, `file` the TOML; this file picks
//! the profile, and `profile` turns its settings into checked values.

mod file;
mod keys;
mod profile;
mod settings;

pub use file::path as file_path;
pub use keys::{KEYS, Key, Shape, text, word};
pub use profile::{AuthMethod, Endpoints, Profile, PromptMode, SessionKey};
pub use settings::{Origin, Settings};

use crate::failure::Failure;
use anyhow::Result;
use settings::meant;
use std::collections::BTreeMap;

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
        let Selection { profile, flags } = selection;
        if ["issuer", "provider", "token-endpoint"].iter().any(|k| flags.has(k)) {
            if let Some(name) = profile {
                let given = flags.place(if flags.has("issuer") {
                    "issuer"
                } else if flags.has("provider") {
                    "provider"
                } else {
                    "token-endpoint"
                });
                return Err(Failure::usage(format!(
                    "{given} describes a profile of its own and cannot be used with profile {name:?}"
                ))
                .hint(format!("leave out {given} or the profile's name"))
                .into());
            }
            return Ok(Self::resolve(None, Settings::default(), flags.clone())?);
        }
        let file = file::load()?;
        let named = |origin: &str, name: &str| {
            file.profiles.get(name).map(|s| (name.to_owned(), s.clone())).ok_or_else(|| {
                let names = file.profiles.keys().map(String::as_str);
                let failure = Failure::usage(format!(
                    "{origin}: there is no profile {name:?}; {}",
                    if file.profiles.is_empty() { "none is configured".into() } else { meant(name, names) }
                ));
                if file.profiles.is_empty() { failure.hint(no_profile_hint()) } else { failure }
            })
        };
        let environment = std::env::var("KEYFOB_PROFILE").ok().filter(|n| !n.is_empty());
        let (name, settings) = if let Some(name) = profile {
            named("profile", name)?
        } else if let Some(name) = environment {
            named("KEYFOB_PROFILE", &name)?
        } else if let Some(name) = &file.default_profile {
            named("default-profile", name)?
        } else {
            let mut profiles = file.profiles.iter();
            match (profiles.next(), profiles.next()) {
                (None, _) => return Err(Failure::usage("no profile is configured").hint(no_profile_hint()).into()),
                (Some((name, settings)), None) => (name.clone(), settings.clone()),
                _ => {
                    let all = file.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    return Err(Failure::usage(format!("which profile? There are {all}"))
                        .hint("name one with --profile or KEYFOB_PROFILE, or set `default-profile` in config.toml")
                        .into());
                }
            }
        };
        Ok(Self::resolve(Some(name), settings, flags.clone())?)
    }

    /// Every profile of the file, by name, or what is wrong with it.
    pub fn all() -> Result<BTreeMap<String, Result<Self, Failure>>> {
        let file = file::load()?;
        let resolve = |(name, s): (String, Settings)| (name.clone(), Self::resolve(Some(name), s, Settings::default()));
        Ok(file.profiles.into_iter().map(resolve).collect())
    }
}

fn file_name() -> String {
    file::path().map_or_else(|| "config.toml".to_owned(), |p| p.display().to_string())
}

fn no_profile_hint() -> String {
    format!("add a [profile.NAME] with `issuer` and `client-id` to {}, or pass --issuer and --client-id", file_name())
}
