//! Finds what can be connected on this machine, with the command for each.

use super::profile::Config;
use crate::change::plan::line;
use crate::config::{File, Profile};
use crate::failure::Failure;
use crate::text::clean;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The configuration that the tools' files are compared with.
#[derive(Debug)]
pub struct Machine {
    /// The contents of config.toml.
    pub file: File,
    /// Its profiles.
    pub profiles: BTreeMap<String, Result<Profile, Failure>>,
}

/// Something that can be connected.
#[derive(Debug)]
pub struct Offer {
    /// A description of it.
    what: String,
    /// The words after `keyfob setup`.
    pub words: Vec<String>,
    /// Whether they can be run as they are; otherwise the person must fill in the words in capitals.
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

    /// The profile that answers if none is named.
    pub(super) fn usual(&self) -> Option<&str> {
        let only = self.file.profiles.keys().next().filter(|_| self.file.profiles.len() == 1);
        self.file.default_profile.as_ref().or(only).map(String::as_str)
    }

    /// The valid profiles.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values().filter_map(|profile| profile.as_ref().ok())
    }
}

impl Found {
    /// What is found before any tool is searched for.
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

    /// The list for people.
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
