//! A token, the key it is stored under, and how long it is valid.

use crate::clock::Timestamp;
use crate::providers::TokenKind;
use crate::secret::{Secret, expose};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128};
use std::fmt;
use std::hash::Hasher;

/// If the clock is set back by at most this many seconds, tokens remain valid.
const CLOCK_STEP: u64 = 60;

/// Identifies a token within a session: by how the token was asked for, not by what the answer said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Access token or ID token.
    pub kind: TokenKind,
    /// The scopes asked for, sorted.
    pub scopes: Vec<String>,
    /// The token endpoint that issued it, if one session has several (tenants).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `audience` asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `resource` asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

impl TokenKey {
    /// The same key with these scopes, in any order.
    #[must_use]
    pub fn with_scopes(&self, scopes: &[String]) -> Self {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        Self { scopes, ..self.clone() }
    }

    /// The same key for the other kind of token, since one answer can bring both.
    #[must_use]
    pub fn of_kind(&self, kind: TokenKind) -> Self {
        Self { kind, ..self.clone() }
    }
}

/// Identifies a token, a sign-in or an error without revealing anything about it: a random number drawn when it was
/// received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(u64);

impl Serial {
    /// Draws a new serial. If the system has no randomness all serials are equal, and no token is then noticed as
    /// refused.
    pub fn draw() -> Self {
        Self(getrandom::u64().unwrap_or_default())
    }

    /// Parses the 16 hexadecimal digits that `Display` writes; `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// A number below `whole` (0 if `whole` is 0) that depends only on the serial, and is spread evenly over all
    /// serials.
    pub fn share_of(self, whole: u64) -> u64 {
        if whole == 0 { 0 } else { self.0 % whole }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies a claims challenge without storing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimsDigest(u64);

impl ClaimsDigest {
    /// The digest of the `claims` parameter's value.
    pub fn of(claims: &str) -> Self {
        let mut digest = SipHasher13::new();
        digest.write(claims.as_bytes());
        Self(digest.finish())
    }
}

/// Identifies what a machine made a session from, such as a CI job's own token, without storing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(String);

impl Proof {
    /// The digest of `parts`. It need not be secret: a process that can read it can read the token next to it.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut digest = sip128::SipHasher13::new();
        for part in parts {
            digest.write(&(part.len() as u64).to_le_bytes());
            digest.write(part.as_bytes());
        }
        Self(format!("{:032x}", digest.finish128().as_u128()))
    }

    /// The digest as text, to be a part of another session's proof.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token, and how long it is valid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// How the token was asked for.
    pub key: TokenKey,
    /// The token.
    #[serde(serialize_with = "expose")]
    pub token: Secret,
    /// Identifies the token where the token itself must not be shown.
    #[serde(default)]
    pub serial: Serial,
    /// When the token was received, by this machine's clock.
    pub received_at: Timestamp,
    /// When the token expires, by this machine's clock; `None` if only revocation ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The token's whole life from issue to expiry, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// When the provider wants it renewed, although it remains valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<Timestamp>,
    /// The id of the tenant that issued the token, if the provider has tenants and named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The claims challenge that the token answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimsDigest>,
}

impl Token {
    /// Whether the token is valid for at least `seconds` more at `now`. A token received later than `now` is not: the
    /// clock has been set back, and it is unknown how wrong it was when the token's expiry was computed.
    pub fn lives(&self, now: Timestamp, seconds: u64) -> bool {
        let came = self.received_at <= now.plus(CLOCK_STEP);
        self.expires_at.is_none_or(|end| came && end > now && end.since(now) >= seconds)
    }
}
