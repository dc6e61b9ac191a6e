//! The configuration file for all users of a machine, beneath each user's own, so that one file can set up a team. Its
//! path is fixed, and no environment variable changes it.

use super::file::{self, Az, File};
use super::hosts::HostRule;
use crate::failure::Failure;
use anyhow::Result;
use std::collections::btree_map::Entry;
use std::path::Path;

/// The file's path.
pub const PATH: &str = if cfg!(target_os = "macos") {
    "/Library/Application Support/keyfob/config.toml"
} else {
    "/etc/xdg/keyfob/config.toml"
};

/// Reads the file; `None` if it does not exist, or if `KEYFOB_CONFIG` names the only file to read. The file must be
/// complete: its rules may name only its own profiles.
pub fn load() -> Result<Option<File>> {
    Ok(text()?.as_deref().map(parsed).transpose()?)
}

/// The file's text; `None` as for [`load`].
pub(super) fn text() -> Result<Option<String>> {
    if file::is_named() { Ok(None) } else { file::contents(Path::new(PATH)) }
}

/// Parses the file's text.
pub(super) fn parsed(text: &str) -> Result<File, Failure> {
    file::parse(Path::new(PATH), text, None).map_err(Failure::usage)
}

/// Which of the settings in force come from the system's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The names of its profiles that are in force.
    pub profiles: Vec<String>,
    /// The names of its profiles that the user's file replaces.
    pub replaced: Vec<String>,
    /// Its other keys that are in force.
    keys: Vec<&'static str>,
}

impl Share {
    /// A description for people, with the file's path.
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
    /// Lays the user's file over the system's. A profile, `[az]` or a top-level key of the user's replaces the system's
    /// as a whole; a matching rule of the user's takes precedence over every rule of the system's.
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
