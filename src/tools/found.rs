//! What there is to connect on this machine, and the command for each.

use super::profile::Config;
use crate::change::plan::line;
use crate::config::{File, Profile};
use crate::failure::Failure;
use crate::text::clean;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What the tools' own files are held against.
#[derive(Debug)]
pub struct Machine {
    /// What config.toml says.
    pub file: File,
    /// Its profiles.
    pub profiles: BTreeMap<String, Result<Profile, Failure>>,
}

/// Something to connect.
#[derive(Debug)]
pub struct Offer {
    /// What was found.
    what: String,
    /// The words behind `keyfob setup`.
    pub words: Vec<String>,
    /// Whether they can be run as they stand; else the words in capitals are the person's to fill in.
    pub whole: bool,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What can be connected.
    pub offers: Vec<Offer>,
    pub(super) connected: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Machine {
    /// Reads config.toml.
    pub fn look() -> Result<Self> {
        let file = Config::load()?.file()?;
        Ok(Self { profiles: Profile::all_of(file.clone()), file })
    }

    /// The profile that is used where none is named.
    pub(super) fn usual(&self) -> Option<&str> {
        let only = self.file.profiles.keys().next().filter(|_| self.file.profiles.len() == 1);
        self.file.default_profile.as_ref().or(only).map(String::as_str)
    }

    /// The profiles that can be used.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values().filter_map(|profile| profile.as_ref().ok())
    }
}

impl Found {
    /// What there is before any tool is looked for.
    pub fn of(machine: &Machine) -> Self {
        let mut found = Self::default();
        if machine.profiles.is_empty() {
            found.offer("no profile yet", &["--profile", "NAME", "--issuer", "URL", "--client-id", "ID"], false);
        } else {
            let names: Vec<_> = machine.profiles.keys().map(|name| clean(name)).collect();
            found.notes.push(format!("Profiles: {}", names.join(", ")));
        }
        found
    }

    pub(super) fn offer(&mut self, what: impl Into<String>, words: &[&str], whole: bool) {
        self.offers.push(Offer {
            what: what.into(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            whole,
        });
    }

    /// What a person reads.
    pub fn text(&self) -> String {
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
}
