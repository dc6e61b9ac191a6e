//! What one sign-in left behind, as it stands in the session's file.

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::config::{AuthMethod, SessionKey};
use crate::failure::{Exit, Failure, Hint};
use crate::providers::TokenKind;
use crate::secret::{Secret, expose, expose_option};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The layout this program writes. A file with a higher number is left alone; one of layout 1, which had no parts, is read,
/// and written in this one.
pub const VERSION: u32 = 2;

/// A clock that has been set back by no more than this, in seconds, leaves tokens as good as they were.
const CLOCK_STEP: u64 = 60;

/// One session's file. A session that has never signed in may exist: it then holds a pending sign-in, or the memory
/// of a refused one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// [`VERSION`].
    pub version: u32,
    /// See [`SessionKey`]; kept in the file so that a file is never taken for another session's.
    pub authority: String,
    /// See [`SessionKey`].
    pub client_id: String,
    /// See [`SessionKey`].
    #[serde(default)]
    pub label: String,
    /// See [`SessionKey`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// Who signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The refresh token, if the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub refresh_token: Option<Secret>,
    /// Scopes the sign-in asked for; the next one asks for all of them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// Scopes granted so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<String>,
    /// Tokens that live, one per [`TokenKey`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Token>,
    /// For whom tokens were last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    /// What the server said of itself, so that a refresh is one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Metadata>,
    /// The sign-in that a person is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The sign-in that just failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The refresh that just failed, for those who waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// Who signed in, in the provider's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What a person knows the account by.
    pub name: String,
    /// The ID token's `sub`, which never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The id of the tenant it signed in to, where the provider has tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// The last time that tokens came from the provider. Answers from the cache are written down nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The program that wanted one, and what for.
    pub by: String,
    /// When, by this machine's clock.
    pub at: Timestamp,
}

/// What tells one session's tokens apart.
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

/// Tells a token from every other, without giving anything of it away: a number drawn when the token came.
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
}

impl Serial {
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
}

impl Token {
    /// Whether it lives for `seconds` more from `now`. A token that came later than `now` does not: the clock has been set
    /// back since, and nobody knows by how much it was wrong when the token's end was worked out.
    pub fn lives(&self, now: Timestamp, seconds: u64) -> bool {
        let came = self.received_at <= now.plus(CLOCK_STEP);
        self.expires_at.is_none_or(|end| came && end > now && end.since(now) >= seconds)
    }
}

/// A server's endpoints as its metadata gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// Device authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// Token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Revocation endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// How it wants a client's secret.
    pub auth_method: AuthMethod,
    /// S256 is among its PKCE methods.
    pub s256: bool,
    /// Its scopes, when it lists them, hold `offline_access`; true when it lists none.
    pub offline_access: bool,
}

/// A device authorization that a person is to approve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The device code; with it, whoever holds the sign-in lock goes on polling.
    #[serde(serialize_with = "expose")]
    pub device_code: Secret,
    /// What the person enters.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// The provider's own words for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// PKCE verifier.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub code_verifier: Option<Secret>,
    /// Scopes asked for.
    pub scopes: Vec<String>,
    /// What its access token will be kept under: whoever finishes the sign-in may want another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TokenKey>,
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// Seconds between polls, as far as it has grown.
    pub interval: u64,
    /// When the server was last asked about it, in milliseconds since the Unix epoch. Only a sign-in in steps (`login
    /// --poll`) writes this down, since each step is a process of its own; one that polls until the end has no need to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polled_at_ms: Option<i64>,
    /// Who asked, for those who join.
    pub asked_by: String,
    /// The terminal it is shown on, so that no one shows it there twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// A sign-in that was refused or ran out, remembered for a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since the Unix epoch: it is compared with when a caller started.
    pub at_ms: i64,
    /// What was said then.
    pub message: String,
    /// What mends it, besides another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// The code ran out, rather than that somebody said no.
    #[serde(default)]
    pub expired: bool,
}

/// A refresh, or the start of a sign-in, that has just failed: those who waited for it need not try themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When, in milliseconds since the Unix epoch: finer than a timestamp, since it is compared with when a caller
    /// started to wait.
    pub at_ms: i64,
    /// What was said then.
    pub message: String,
    /// What mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// The exit code.
    pub exit: Exit,
    /// How often in a row the provider could not answer.
    #[serde(default)]
    pub failures: u32,
    /// How long it is left alone because of that.
    #[serde(default)]
    pub pause: Backoff,
}

impl LastError {
    /// What to write down about `error`.
    pub fn of(error: &anyhow::Error, at_ms: i64) -> Self {
        let failure = error.downcast_ref::<Failure>();
        Self {
            at_ms,
            message: crate::text::one_line(&format!("{error:#}")),
            hint: failure.and_then(|f| f.hint.clone()),
            exit: failure.map_or(Exit::Failed, |f| f.exit),
            failures: 0,
            pause: Backoff::default(),
        }
    }

    /// The failure for a caller that comes while the provider is left alone, for `left` milliseconds more.
    pub fn resting(&self, left: u64) -> Failure {
        let seconds = left.div_ceil(1000);
        let message = format!("{}; it is not asked again for {seconds} s, except by `keyfob login`", self.message);
        Failure { message, ..self.failure() }
    }

    /// The failure again, for another process.
    pub fn failure(&self) -> Failure {
        Failure { exit: self.exit, message: self.message.clone(), hint: self.hint.clone() }
    }
}

impl Session {
    /// A session nobody has signed in to.
    pub fn new(key: &SessionKey) -> Self {
        Self {
            version: VERSION,
            authority: key.authority.clone(),
            client_id: key.client_id.clone(),
            label: key.label.clone(),
            parts: key.parts.clone(),
            account: None,
            refresh_token: None,
            asked: Vec::new(),
            granted: Vec::new(),
            tokens: Vec::new(),
            fetched: None,
            server: None,
            pending: None,
            refusal: None,
            last_error: None,
        }
    }

    /// Which session this is.
    pub fn key(&self) -> SessionKey {
        SessionKey {
            authority: self.authority.clone(),
            client_id: self.client_id.clone(),
            label: self.label.clone(),
            parts: self.parts.clone(),
        }
    }

    /// The token kept under `key`.
    pub fn token(&self, key: &TokenKey) -> Option<&Token> {
        self.tokens.iter().find(|t| t.key == *key)
    }

    /// Keeps `token`, replacing the one under its key, and drops those that have ended.
    pub fn keep(&mut self, token: Token, now: Timestamp) {
        self.tokens.retain(|t| t.key != token.key && t.lives(now, 0));
        self.tokens.push(token);
    }

    /// Whether someone has signed in and something of it is left.
    pub fn signed_in(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() || self.tokens.iter().any(|t| t.lives(now, 0))
    }
}
