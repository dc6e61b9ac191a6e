//! What was said about a profile, by key, and where it was said: the file's values under the command line's.

use super::keys::{KEYS, Key, Shape};
use crate::text::{nearest, shell_quoted};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    Line(String, usize),
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, PartialEq, Eq)]
struct Value {
    /// One entry; several for lists; `NAME=VALUE` entries for pairs.
    items: Vec<String>,
    /// For errors.
    origin: Origin,
}

/// The values of a profile's keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, Value>);

/// Which keys are set; one of the values may be a client secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Settings {
    /// Sets `key`, replacing what was there. The error names the place and the nearest right word.
    pub fn set(&mut self, key: &'static Key, items: Vec<String>, origin: Origin) -> Result<(), String> {
        for item in &items {
            if item.chars().any(char::is_control) {
                return Err(format!("{origin}: `{}` holds a control character", key.name));
            }
            match key.shape {
                Shape::Word(words) if !words.contains(&item.as_str()) => {
                    return Err(format!(
                        "{origin}: `{}` cannot be {item:?}; {}",
                        key.name,
                        meant(item, words.iter().copied())
                    ));
                }
                Shape::Seconds if item.parse::<u32>().is_err() => {
                    return Err(format!("{origin}: `{}` must be a whole number of seconds, not {item:?}", key.name));
                }
                Shape::Pairs if item.split_once('=').is_none_or(|(name, _)| name.is_empty()) => {
                    return Err(format!("{origin}: `{}` must be NAME=VALUE, not {item:?}", key.name));
                }
                Shape::Text if item.is_empty() => return Err(format!("{origin}: `{}` is empty", key.name)),
                _ => {}
            }
        }
        self.0.insert(key.name, Value { items, origin });
        Ok(())
    }

    /// These settings with `over` on top.
    #[must_use]
    pub fn overlaid(mut self, over: Self) -> Self {
        self.0.extend(over.0);
        self
    }

    /// Whether `key` was set.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value of a key that has one.
    pub fn one(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|v| v.items.first()).map(String::as_str)
    }

    /// The values of a key that has several; empty if not set.
    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], |v| &v.items)
    }

    /// What was set, in the order of the table of keys.
    pub fn said(&self) -> impl Iterator<Item = (&'static Key, &[String])> {
        KEYS.iter().filter_map(|key| Some((key, self.0.get(key.name)?.items.as_slice())))
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both say the same, wherever it was written.
    pub fn says_what(&self, other: &Self) -> bool {
        self.said().eq(other.said())
    }

    /// Where `key` was set; for an error about it. A key that is not set is named by itself.
    pub fn place(&self, key: &str) -> String {
        self.0.get(key).map_or_else(|| format!("`{key}`"), |v| v.origin.to_string())
    }

    /// These settings as flags that a shell reads back: what to append to a command that is to use the same profile.
    pub fn as_flags(&self) -> String {
        let mut flags = String::new();
        for key in KEYS {
            let (Some(flag), Some(value)) = (key.flag, self.0.get(key.name)) else { continue };
            for item in &value.items {
                let _ = write!(flags, " --{flag} {}", shell_quoted(item));
            }
        }
        flags
    }
}

/// `did you mean …?`, or the words there are.
pub(super) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.clone().into_iter().next().is_none() => "there are none".to_owned(),
        None => format!("known are {}", known.into_iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}
