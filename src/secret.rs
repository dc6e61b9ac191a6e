//! Tokens, codes and client secrets that cannot be printed by accident.

use serde::{Deserialize, Deserializer, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// A secret text: no `Display`, `Debug` prints `[redacted]`, wiped from memory when dropped. Reading it takes a
/// visible [`Secret::expose`]; writing it to the cache takes a visible `serialize_with`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for the wire, the cache file or the caller's protocol.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

/// Writes a secret in clear; for `#[serde(serialize_with)]` on the fields of files that only the user can read, nowhere else.
pub fn expose<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

/// [`expose`] for a secret that may be absent.
pub fn expose_option<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose(secret, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2".to_owned()))), "Some([redacted])");
    }
}
