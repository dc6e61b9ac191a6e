//! Tokens, codes and client secrets that cannot be printed by accident.

use serde::{Deserialize, Deserializer, Serializer};
use sha2::{Digest, Sha256};
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

/// Tells one secret from another without giving anything of it away: the first half of its SHA-256, in hex. Only for
/// secrets that cannot be guessed, such as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of `secret`.
    pub fn of(secret: &Secret) -> Self {
        let digest = Sha256::digest(secret.expose());
        Self(crate::text::hex(&digest[..16]))
    }

    /// Takes a fingerprint back from text; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// Switches core dumps off for this process: what it holds must not land in a file or with a crash reporter. Both
/// ways, since a reporter that the kernel pipes dumps to does not heed the limit.
pub fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Writes a secret in clear; for `#[serde(serialize_with)]` on the fields of the cache file, nowhere else.
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
    fn a_fingerprint_is_half_a_digest_and_reads_back() {
        let fingerprint = Fingerprint::of(&Secret::from("abc".to_owned()));
        assert_eq!(fingerprint.to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(Fingerprint::parse("ba7816bf8f01cfea414140de5dae2223"), Some(fingerprint));
        assert_eq!(Fingerprint::parse("BA7816BF8F01CFEA414140DE5DAE2223"), None);
        assert_eq!(Fingerprint::parse(""), None);
    }

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2".to_owned()))), "Some([redacted])");
    }
}
