//! The configuration of the whole machine, beneath each user's, so that one file sets up a team. Its path is fixed: nothing
//! in the environment leads elsewhere.

use super::file::{self, Az, File};
use super::hosts::HostRule;
use crate::failure::Failure;
use anyhow::Result;
use std::collections::btree_map::Entry;
use std::path::Path;

/// Where it is.
pub const PATH: &str = if cfg!(target_os = "macos") {
    "/Library/Application Support/keyfob/config.toml"
} else {
    "/etc/xdg/keyfob/config.toml"
};

/// What it says; `None` if it does not exist, or `KEYFOB_CONFIG` names the only file to read. It must be whole by itself: its
/// rules name its own profiles.
pub fn load() -> Result<Option<File>> {
    Ok(text()?.as_deref().map(parsed).transpose()?)
}

/// Its text.
pub(super) fn text() -> Result<Option<String>> {
    if file::is_named() { Ok(None) } else { file::contents(Path::new(PATH)) }
}

/// What its text says.
pub(super) fn parsed(text: &str) -> Result<File, Failure> {
    file::parse(Path::new(PATH), text, None).map_err(Failure::usage)
}

/// What the system's file says of what holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Names of the profiles that are its.
    pub profiles: Vec<String>,
    /// Names of those that the user's file replaces.
    replaced: Vec<String>,
    /// The other keys that are its.
    keys: Vec<&'static str>,
}

impl Share {
    /// In words, with the place.
    pub fn described(&self) -> String {
        let profiles = self.profiles.iter().map(|name| format!("profile {name}"));
        let says: Vec<_> = profiles.chain(self.keys.iter().map(|&key| key.to_owned())).collect();
        let replaced = match self.replaced.as_slice() {
            [] => String::new(),
            names => format!(" (not {}, which the user's file replaces)", names.join(", ")),
        };
        format!(
            "{PATH}, for every user: {}{replaced}",
            if says.is_empty() { "nothing".into() } else { says.join(", ") }
        )
    }
}

impl File {
    /// The user's file over the system's: a profile, `[az]` and each key at the top replace the system's whole, and a rule that
    /// matches beats every rule of the system.
    pub(super) fn over(mut self, system: Self) -> Self {
        let mut share = Share::default();
        for (name, said) in system.profiles {
            match self.profiles.entry(name) {
                Entry::Occupied(own) => share.replaced.push(own.key().clone()),
                Entry::Vacant(free) => {
                    share.profiles.push(free.key().clone());
                    free.insert(said);
                }
            }
        }
        let mut add = |own_is_silent: bool, says: bool, key| {
            let is_its = own_is_silent && says;
            share.keys.extend(is_its.then_some(key));
            is_its
        };
        add(true, !system.hosts.is_empty(), "[hosts]");
        self.hosts.extend(system.hosts.into_iter().map(|rule| HostRule { system: true, ..rule }));
        if add(self.default_profile.is_none(), system.default_profile.is_some(), "default-profile") {
            self.default_profile = system.default_profile;
        }
        if add(self.az == Az::default(), system.az != Az::default(), "[az]") {
            self.az = system.az;
        }
        let (own, system) = (&mut self.installation, system.installation);
        if add(own.store.is_none(), system.store.is_some(), "store") {
            own.store = system.store;
        }
        if add(own.key_command.is_empty(), !system.key_command.is_empty(), "key-command") {
            own.key_command = system.key_command;
        }
        self.system = Some(share);
        self
    }
}
