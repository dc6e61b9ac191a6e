//! A token, what it is filed under, and its life.

use crate::clock::Timestamp;
use crate::providers::TokenKind;
use crate::secret::{Secret, expose};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128};
use std::fmt;
use std::hash::Hasher;

/// A clock that has been set back by no more than this, in seconds, leaves tokens as good as they were.
const CLOCK_STEP: u64 = 60;

/// What tells one session's tokens apart: how a token was asked for, never what the answer made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Access or ID token.
    pub kind: TokenKind,
    /// The scopes asked for, sorted.
    pub scopes: Vec<String>,
    /// The token endpoint it came from, where that differs within one session (tenants).
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
    /// The same for these scopes, in any order.
    #[must_use]
    pub fn with_scopes(&self, scopes: &[String]) -> Self {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        Self { scopes, ..self.clone() }
    }

    /// The same for the other kind of token: one answer brings both.
    #[must_use]
    pub fn of_kind(&self, kind: TokenKind) -> Self {
        Self { kind, ..self.clone() }
    }
}

/// Tells a token, a sign-in or an error from every other of its kind, without giving anything of it away: a number drawn
/// when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(u64);

impl Serial {
    /// A new one. Without randomness, which no system lacks, all are alike: no token is then known to have failed.
    pub fn draw() -> Self {
        Self(getrandom::u64().unwrap_or_default())
    }

    /// Takes a serial back from text; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// A number below `whole`: always the same for one serial, and spread evenly over all serials.
    pub fn share_of(self, whole: u64) -> u64 {
        if whole == 0 { 0 } else { self.0 % whole }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Tells one claims challenge from another, without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimsDigest(u64);

impl ClaimsDigest {
    /// The digest of the `claims` parameter as it is sent.
    pub fn of(claims: &str) -> Self {
        let mut digest = SipHasher13::new();
        digest.write(claims.as_bytes());
        Self(digest.finish())
    }
}

/// Tells what a machine made a session from, such as a CI job's own token, from anything else, without keeping it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(String);

impl Proof {
    /// The digest of all of these. It is no secret, and guards none: who reads it can read the token beside it.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut digest = sip128::SipHasher13::new();
        for part in parts {
            digest.write(&(part.len() as u64).to_le_bytes());
            digest.write(part.as_bytes());
        }
        Self(format!("{:032x}", digest.finish128().as_u128()))
    }

    /// As text, for the proof of what is made from it in turn.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token and its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// What it was asked for as.
    pub key: TokenKey,
    /// The token.
    #[serde(serialize_with = "expose")]
    pub token: Secret,
    /// What it is known by where the token itself must not be.
    #[serde(default)]
    pub serial: Serial,
    /// When it came, by this machine's clock.
    pub received_at: Timestamp,
    /// When it ends, by this machine's clock; `None` if only revocation ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How long it lives from issue to expiry, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// From when on the provider would rather have it renewed, though it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<Timestamp>,
    /// The id of the tenant it came from, where the provider has tenants and said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The claims challenge that it answers, if it answers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimsDigest>,
}

impl Token {
    /// Whether it lives for `seconds` more from `now`. A token that came later than `now` does not: the clock has been set
    /// back since, and nobody knows by how much it was wrong when the token's end was worked out.
    pub fn lives(&self, now: Timestamp, seconds: u64) -> bool {
        let came = self.received_at <= now.plus(CLOCK_STEP);
        self.expires_at.is_none_or(|end| came && end > now && end.since(now) >= seconds)
    }
}
