//! What one sign-in left behind: the account, its refresh token, its tokens, and what happened when they were asked for.
//!
//! Everything that happens to a session is a method here that changes the model and nothing else: [`Session::signed_in`],
//! [`Session::renewed`], [`Session::ended`], [`Session::failed`]. The store puts the result on disk.

mod pending;
#[cfg(test)]
mod tests;
mod token;

pub use pending::{Pending, PendingBrowser, PendingDevice, PendingFlow};
pub use token::{ClaimsDigest, Proof, Serial, Token, TokenKey};

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::config::{AuthMethod, SessionKey};
use crate::failure::{Exit, Failure, Hint};
use crate::providers::TokenKind;
use crate::secret::{Secret, expose_option};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The layout this program writes. A file with a higher number is left alone; one of layout 1, which had no parts, is read,
/// and written in this one.
pub const VERSION: u32 = 2;
/// How long it is remembered that a policy refused the device flow, in seconds.
const DEVICE_REFUSED_FOR: u64 = 7 * 24 * 3600;
/// So many wants are remembered that the provider answered with a no.
const MOST_UNMET: usize = 16;
/// So many tokens are kept, the last that came: older ones can be had again, and every answer reads past all of them.
const MOST_TOKENS: usize = 64;

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
    /// The sign-in that all of this comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// The refresh token, if the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub refresh_token: Option<Secret>,
    /// Scopes the sign-in asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// Those of them that were granted.
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
    /// The sign-in that a person is at. (Layout 1 has another form of it, under another name.)
    #[serde(default, rename = "sign_in", skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// What a sign-in brought whose account could not be checked yet: nothing of it is handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
    /// The sign-in that was refused or ran out, remembered for a moment.
    #[serde(default, rename = "refused", skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Why there is no refresh token any more.
    #[serde(default, rename = "ended", skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// What a machine made all of this from; none where a person signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// What went wrong when the provider was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// What the provider would not give without a new sign-in, although the session is good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// The provider's policy refused the device flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_refused: Option<DeviceRefused>,
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

/// When and how a session began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Tells this sign-in from every other.
    #[serde(default)]
    pub serial: Serial,
    /// By this machine's clock.
    pub at: Timestamp,
    /// How the person signed in.
    pub flow: FlowKind,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TokenKey>,
    /// Whether it brought a refresh token.
    #[serde(default)]
    pub renewable: bool,
}

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// By a code that is entered on any device (RFC 8628).
    Device,
    /// In a browser that comes back to this machine (RFC 8252).
    Browser,
}

impl fmt::Display for FlowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "by device code",
            Self::Browser => "by browser",
        })
    }
}

/// A policy's refusal of the device flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRefused {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// What the provider said.
    pub because: String,
}

/// What a token answer brings, checked and with its times by this machine's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The new refresh token; none keeps the old one (RFC 6749, section 6).
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub refresh_token: Option<Secret>,
    /// The access token, and the ID token if there is one that may be handed out.
    pub tokens: Vec<Token>,
    /// The scopes that were asked for.
    pub asked: Vec<String>,
    /// Those of them that were granted.
    pub granted: Vec<String>,
    /// Whose they are, as the ID token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// When the answer was asked for.
    pub at: Timestamp,
    /// Who asked for it, and what for.
    pub by: String,
}

/// What a sign-in brought, before its account is checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// How the person signed in.
    pub flow: FlowKind,
    /// What came of it.
    pub grant: Grant,
}

/// The last time that tokens came from the provider. Answers from the cache are written down nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The program that wanted one, and what for.
    pub by: String,
    /// When, by this machine's clock.
    pub at: Timestamp,
}

/// A server's endpoints as its metadata gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Metadata {
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// Device authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// Authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
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
    /// `form_post` is among its response modes (OAuth 2.0 Form Post Response Mode).
    #[serde(default)]
    pub form_post: bool,
    /// Its authorization answers name the issuer (RFC 9207).
    #[serde(default)]
    pub names_issuer: bool,
    /// Its scopes, when it lists them, hold `offline_access`; true when it lists none.
    pub offline_access: bool,
}

/// A sign-in that was refused or ran out, remembered for a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since the Unix epoch: it is compared with when a caller started.
    pub at_ms: i64,
    /// What was said then.
    pub message: String,
    /// What to do about it, besides another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// The code ran out, rather than that a person or a policy refused.
    #[serde(default)]
    pub expired: bool,
    /// The exit code.
    #[serde(default = "refused")]
    pub exit: Exit,
}

fn refused() -> Exit {
    Exit::Refused
}

/// A request that has just failed: the processes that waited for it need not try themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// Tells this error from every other.
    #[serde(default)]
    pub serial: Serial,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was asked for, where the answer concerns just that; none where it concerns the whole session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TokenKey>,
    /// The exit code.
    pub exit: Exit,
    /// What was said then.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// How often in a row the provider could not answer, or would not.
    #[serde(default)]
    pub failures: u32,
    /// How long it is left alone because of that.
    #[serde(default)]
    pub backoff: Backoff,
}

/// A request that failed, on its way to being remembered as [`LastError`].
#[derive(Clone, Debug)]
pub struct Failed {
    /// What to tell those who wait.
    pub failure: Failure,
    /// What was asked for, where the answer concerns just that.
    pub key: Option<TokenKey>,
    /// Whether the provider is to be left alone for a while.
    pub back_off: Option<BackOff>,
}

/// How a provider is left alone.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    /// For how many seconds it asked for that.
    pub retry_after: Option<u64>,
    /// Drawn from 0 to 1, so that machines that failed together do not come back together.
    pub chance: f64,
}

/// What the provider would not give without a new sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Tells this answer from every other.
    #[serde(default)]
    pub serial: Serial,
    /// What was asked for.
    pub key: TokenKey,
    /// Why it was not given, for a person.
    pub because: String,
}

impl LastError {
    /// The failure again, for another process.
    pub fn failure(&self) -> Failure {
        Failure { exit: self.exit, message: self.message.clone(), hint: self.hint.clone() }
    }

    /// The failure for a caller that comes while the provider is left alone, for `left` milliseconds more.
    pub fn backing_off(&self, left: u64) -> Failure {
        let seconds = left.div_ceil(1000);
        let message = format!("{}; it is not asked again for {seconds} s, except by `keyfob login`", self.message);
        Failure { message, ..self.failure() }
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
            begun: None,
            refresh_token: None,
            asked: Vec::new(),
            granted: Vec::new(),
            tokens: Vec::new(),
            fetched: None,
            server: None,
            pending: None,
            unconfirmed: None,
            refusal: None,
            ended_because: None,
            proof: None,
            last_error: None,
            unmet: Vec::new(),
            device_refused: None,
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

    /// This session if a machine made it from `proof`; else a new one that it is to make from that.
    #[must_use]
    pub fn made_from(self, proof: &Proof) -> Self {
        let same = self.proof.as_ref() == Some(proof);
        if same { self } else { Self { proof: Some(proof.clone()), ..Self::new(&self.key()) } }
    }

    /// The token kept under `key`.
    pub fn token(&self, key: &TokenKey) -> Option<&Token> {
        self.tokens.iter().find(|t| t.key == *key)
    }

    /// The policy's refusal of the device flow that still counts at `now`.
    pub fn device_refused(&self, now: Timestamp) -> Option<&DeviceRefused> {
        // One from the future was written by a clock that has been set right since.
        self.device_refused.as_ref().filter(|it| it.at <= now && now.since(it.at) < DEVICE_REFUSED_FOR)
    }

    /// Whether what is there began by device code.
    pub fn is_of_device_flow(&self) -> bool {
        let unconfirmed = self.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.flow);
        unconfirmed.or(self.begun.as_ref().map(|begun| begun.flow)) == Some(FlowKind::Device)
    }

    /// Has every token renewed when it is asked for next, although it lives on, if it can be.
    pub fn renew_soon(&mut self, now: Timestamp) {
        if self.refresh_token.is_some() {
            self.tokens.iter_mut().for_each(|token| token.refresh_at = Some(now));
        }
    }

    /// Whether a person has signed in and something of it is left.
    pub fn is_signed_in(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() || self.tokens.iter().any(|t| t.lives(now, 0))
    }

    /// A sign-in has brought `grant`, and its account has been checked: it takes the place of what was there before.
    pub fn signed_in(&mut self, grant: Grant, flow: FlowKind) {
        let renewable = grant.refresh_token.is_some();
        let key = grant.tokens.first().map(|token| token.key.clone());
        self.begun = Some(Begun { serial: Serial::draw(), at: grant.at, flow, key, renewable });
        self.account = grant.account.clone().or(self.account.take());
        (self.asked, self.granted) = (grant.asked.clone(), Vec::new());
        if renewable {
            // The others can be had again, from the grant that is in force now.
            self.tokens.clear();
        }
        (self.refresh_token, self.pending, self.unconfirmed) = (None, None, None);
        (self.refusal, self.ended_because) = (None, None);
        self.unmet.clear();
        self.renewed(grant);
    }

    /// A renewal has brought `grant`.
    pub fn renewed(&mut self, grant: Grant) {
        if grant.refresh_token.is_some() {
            self.refresh_token = grant.refresh_token;
        }
        for scope in grant.granted {
            if !self.granted.contains(&scope) && self.asked.contains(&scope) {
                self.granted.push(scope);
            }
        }
        for token in grant.tokens {
            self.unmet.retain(|unmet| unmet.key != token.key);
            self.tokens.retain(|t| t.key != token.key && t.lives(grant.at, 0));
            if token.lives(grant.at, 0) {
                self.tokens.push(token);
            }
        }
        let beyond = self.tokens.len().saturating_sub(MOST_TOKENS);
        self.tokens.drain(..beyond);
        self.fetched = Some(Fetched { by: grant.by, at: grant.at });
        self.last_error = None;
    }

    /// Whether a token under `key` would be what the sign-in itself was for, of either kind.
    pub fn was_begun_for(&self, key: &TokenKey) -> bool {
        let begun_for = self.begun.as_ref().and_then(|begun| begun.key.as_ref());
        begun_for.is_none_or(|begun_for| begun_for.of_kind(key.kind) == *key)
    }

    /// The provider has ended the grant: there is no refresh token any more.
    pub fn ended(&mut self, because: String) {
        self.refresh_token = None;
        self.ended_because = Some(because);
        self.last_error = None;
    }

    /// The provider wants a new sign-in for just what `key` asks for.
    pub fn unmet(&mut self, key: TokenKey, because: String) {
        self.unmet.retain(|unmet| unmet.key != key);
        self.unmet.push(Unmet { serial: Serial::draw(), key, because });
        let beyond = self.unmet.len().saturating_sub(MOST_UNMET);
        self.unmet.drain(..beyond);
    }

    /// A request has failed; see [`Failed`].
    pub fn failed(&mut self, failed: Failed, at_ms: i64) {
        let Failed { failure: Failure { exit, message, hint }, key, back_off } = failed;
        let before = self.last_error.as_ref().map_or(0, |before| before.failures);
        let (failures, backoff) = back_off.map_or((0, Backoff::default()), |BackOff { retry_after, chance }| {
            let failures = before.saturating_add(1);
            (failures, Backoff::after(failures, retry_after, chance))
        });
        // A request that was refused as it is may be put right at once; a living token is no reason to try.
        let backoff = if exit == Exit::Unreachable { backoff } else { Backoff { without_ms: 0, ..backoff } };
        let message = crate::text::one_line(&message);
        let serial = Serial::draw();
        self.last_error = Some(LastError { serial, at_ms, key, exit, message, hint, failures, backoff });
    }

    /// Whether `account`, which a renewal names, is another than the one that signed in (OpenID Connect Core, section 12.2).
    pub fn is_of_another(&self, account: &Account) -> bool {
        self.account.as_ref().is_some_and(|before| match (&before.subject, &account.subject) {
            // One account has another `sub` in every tenant.
            (Some(one), Some(other)) => before.tenant == account.tenant && one != other,
            _ => false,
        })
    }

    /// Whether the account of `grant` may take this session over.
    /// The error says who signed in and who should have, and what to do about it.
    pub fn confirms(&self, wanted: Option<&str>, account: Option<&Account>) -> Result<(), (String, Option<Hint>)> {
        let said = account.map_or("an account without a name", |a| &a.name);
        if let Some(wanted) = wanted {
            let is =
                account.is_some_and(|a| a.name.eq_ignore_ascii_case(wanted) || a.subject.as_deref() == Some(wanted));
            let what = || (format!("{said} signed in, but this profile is for {wanted}"), None);
            return if is { Ok(()) } else { Err(what()) };
        }
        let Some(before) = &self.account else { return Ok(()) };
        let same = account.is_some_and(|now| match (&before.subject, &now.subject) {
            // `sub` decides; names are for people. One account has another `sub` in every tenant.
            (Some(one), Some(other)) if before.tenant == now.tenant => one == other,
            (Some(_), None) => false,
            _ => before.name == now.name,
        });
        if same {
            return Ok(());
        }
        let hint = account.map(|now| {
            let name = &now.name;
            Hint::Words(format!("for a session of its own, set `account = {name:?}` in the profile, or pass --account"))
        });
        Err((format!("{said} signed in, but this session belongs to {}", before.name), hint))
    }
}

impl Grant {
    /// What to revoke if the grant is not wanted, and its `token_type_hint` (RFC 7009).
    pub fn revocable(&self) -> Option<(&Secret, &'static str)> {
        let access = self.tokens.iter().find(|token| token.key.kind == TokenKind::Access);
        let access = access.map(|token| (&token.token, "access_token"));
        self.refresh_token.as_ref().map(|token| (token, "refresh_token")).or(access)
    }
}
