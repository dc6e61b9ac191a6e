//! The session: everything that one grant left behind, i.e. the account, its refresh token, its tokens, and the outcome
//! of the last requests.
//!
//! Every event in a session's life is a method here that changes only the model: [`Session::signed_in`],
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

/// The layout that this program writes. A file with a higher number is left alone. A file of layout 1, which had no
/// `parts`, is read, and written back in this layout.
pub const VERSION: u32 = 2;
/// How long a policy's refusal of the device code flow is remembered, in seconds.
const DEVICE_REFUSED_FOR: u64 = 7 * 24 * 3600;
/// The most wants that are remembered as unmet; see [`Unmet`].
const MOST_UNMET: usize = 16;
/// The most tokens that are kept. The oldest are dropped, because they can be requested again, and every call has to
/// read past all of them.
const MOST_TOKENS: usize = 64;

/// The contents of one session file. A session that was never signed in to may exist: it holds a pending sign-in, or
/// remembers a refused one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The layout, [`VERSION`].
    pub version: u32,
    /// See [`SessionKey`]. It is repeated in the file so that the file is never taken for another session's.
    pub authority: String,
    /// See [`SessionKey`].
    pub client_id: String,
    /// See [`SessionKey`].
    #[serde(default)]
    pub label: String,
    /// See [`SessionKey`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// The account that signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The sign-in that the grant comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// The refresh token, if the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub refresh_token: Option<Secret>,
    /// The scopes that the sign-in asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// The scopes in `asked` that were granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<String>,
    /// The valid tokens, at most one per [`TokenKey`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Token>,
    /// When tokens were last fetched, and for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    /// The server's metadata, kept so that a refresh takes only one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Metadata>,
    /// The pending sign-in. (Layout 1 has a different form of it, under another name.)
    #[serde(default, rename = "sign_in", skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// A new grant whose account could not be checked yet. None of its tokens is handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
    /// A sign-in that was refused or expired, remembered for a short while.
    #[serde(default, rename = "refused", skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Why the refresh token is no longer valid.
    #[serde(default, rename = "ended", skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// Identifies what a machine's tokens were made from; `None` if a person signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The last request's error, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Tokens that the provider issues only after a new sign-in, although the session is good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// The last refusal of the device code flow by a policy of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_refused: Option<DeviceRefused>,
}

/// The account that signed in, as the provider names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name that a person knows the account by.
    pub name: String,
    /// The ID token's `sub`, which never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The id of the tenant that the account signed in to, if the provider has tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// When and how a session began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Identifies this sign-in.
    #[serde(default)]
    pub serial: Serial,
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// How the person signed in.
    pub flow: FlowKind,
    /// The token that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TokenKey>,
    /// Whether the grant included a refresh token.
    #[serde(default)]
    pub renewable: bool,
}

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// The device code flow: the code is entered on any device (RFC 8628).
    Device,
    /// The authorization code flow, in a browser that redirects to this machine (RFC 8252).
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

/// A refusal of the device code flow by a policy of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRefused {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// The provider's message.
    pub because: String,
}

/// The contents of a token answer, checked, and with times by this machine's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The new refresh token; without one the old one stays valid (RFC 6749, section 6).
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub refresh_token: Option<Secret>,
    /// The access token, and the ID token if it may be handed out.
    pub tokens: Vec<Token>,
    /// The scopes that were asked for.
    pub asked: Vec<String>,
    /// The scopes in `asked` that were granted.
    pub granted: Vec<String>,
    /// The account, from the ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// When the request was sent.
    pub at: Timestamp,
    /// The program that asked, and what for.
    pub by: String,
}

/// A sign-in's grant before its account is checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// How the person signed in.
    pub flow: FlowKind,
    /// The grant.
    pub grant: Grant,
}

/// The last time that tokens were fetched from the provider. Answers from the cache are not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The program that asked, and what for.
    pub by: String,
    /// When, by this machine's clock.
    pub at: Timestamp,
}

/// A server's metadata (RFC 8414): its endpoints and abilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Metadata {
    /// When the metadata was fetched, by this machine's clock.
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
    /// How the server wants the client to authenticate.
    pub auth_method: AuthMethod,
    /// Whether S256 is among its PKCE methods (RFC 7636).
    pub s256: bool,
    /// Whether `form_post` is among its response modes (OAuth 2.0 Form Post Response Mode).
    #[serde(default)]
    pub form_post: bool,
    /// Whether its authorization responses name the issuer (RFC 9207).
    #[serde(default)]
    pub names_issuer: bool,
    /// Whether `offline_access` is among the scopes it lists; true if it lists none.
    pub offline_access: bool,
}

/// A sign-in that was refused or expired, remembered for a short while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The message that was shown.
    pub message: String,
    /// What to do about it, besides trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// Whether the code expired, rather than being refused by a person or a policy.
    #[serde(default)]
    pub expired: bool,
    /// The exit code.
    #[serde(default = "refused")]
    pub exit: Exit,
}

fn refused() -> Exit {
    Exit::Refused
}

/// The last request's failure. Processes that waited for that request need not send it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// Identifies this error.
    #[serde(default)]
    pub serial: Serial,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The token that the error concerns; `None` if it concerns the whole session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TokenKey>,
    /// The exit code.
    pub exit: Exit,
    /// The message that was shown.
    pub message: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// How many requests in a row have failed.
    #[serde(default)]
    pub failures: u32,
    /// How long to leave the provider alone.
    #[serde(default)]
    pub backoff: Backoff,
}

/// A failed request, about to be recorded as [`LastError`].
#[derive(Clone, Debug)]
pub struct Failed {
    /// The failure, for the processes that wait.
    pub failure: Failure,
    /// The token that the failure concerns; `None` if it concerns the whole session.
    pub key: Option<TokenKey>,
    /// How to compute the time to leave the provider alone; `None` if it need not be left alone.
    pub back_off: Option<Retry>,
}

/// The inputs of [`Backoff::after`].
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The server's `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// A random number from 0 to 1, so that machines that failed together do not come back together.
    pub chance: f64,
}

/// A token that the provider issues only after a new sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Identifies this refusal.
    #[serde(default)]
    pub serial: Serial,
    /// The token that was asked for.
    pub key: TokenKey,
    /// The provider's reason, for a person.
    pub because: String,
}

impl LastError {
    /// The failure to report in a process that did not send the request itself.
    pub fn failure(&self) -> Failure {
        Failure { exit: self.exit, message: self.message.clone(), hint: self.hint.clone() }
    }

    /// The failure for a caller that comes while the provider is left alone. `left` is the remaining time in
    /// milliseconds.
    pub fn backing_off(&self, left: u64) -> Failure {
        let seconds = left.div_ceil(1000);
        let message = format!("{}; it is not asked again for {seconds} s, except by `keyfob login`", self.message);
        Failure { message, ..self.failure() }
    }
}

impl Session {
    /// An empty session.
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

    /// The key of this session.
    pub fn key(&self) -> SessionKey {
        SessionKey {
            authority: self.authority.clone(),
            client_id: self.client_id.clone(),
            label: self.label.clone(),
            parts: self.parts.clone(),
        }
    }

    /// Returns this session if it was made from `proof`, otherwise a new, empty one for that proof.
    #[must_use]
    pub fn made_from(self, proof: &Proof) -> Self {
        let same = self.proof.as_ref() == Some(proof);
        if same { self } else { Self { proof: Some(proof.clone()), ..Self::new(&self.key()) } }
    }

    /// The token under `key`, if there is one.
    pub fn token(&self, key: &TokenKey) -> Option<&Token> {
        self.tokens.iter().find(|t| t.key == *key)
    }

    /// The recorded refusal of the device code flow, if it is recent enough at `now` to count.
    pub fn device_refused(&self, now: Timestamp) -> Option<&DeviceRefused> {
        // A refusal from the future was recorded before the clock was set back, and does not count.
        self.device_refused.as_ref().filter(|it| it.at <= now && now.since(it.at) < DEVICE_REFUSED_FOR)
    }

    /// Whether the session, or its unconfirmed grant, began by device code.
    pub fn is_of_device_flow(&self) -> bool {
        let unconfirmed = self.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.flow);
        unconfirmed.or(self.begun.as_ref().map(|begun| begun.flow)) == Some(FlowKind::Device)
    }

    /// Marks every token as due for renewal at `now`, if there is a refresh token to renew them with.
    pub fn renew_soon(&mut self, now: Timestamp) {
        if self.refresh_token.is_some() {
            self.tokens.iter_mut().for_each(|token| token.refresh_at = Some(now));
        }
    }

    /// Whether there is a refresh token or a token that is valid at `now`.
    pub fn is_signed_in(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() || self.tokens.iter().any(|t| t.lives(now, 0))
    }

    /// Replaces the session's grant by that of a new sign-in, whose account has been checked.
    pub fn signed_in(&mut self, grant: Grant, flow: FlowKind) {
        let renewable = grant.refresh_token.is_some();
        let key = grant.tokens.first().map(|token| token.key.clone());
        self.begun = Some(Begun { serial: Serial::draw(), at: grant.at, flow, key, renewable });
        self.account = grant.account.clone().or(self.account.take());
        (self.asked, self.granted) = (grant.asked.clone(), Vec::new());
        if renewable {
            // Drop the old tokens: the new refresh token can get them again.
            self.tokens.clear();
        }
        (self.refresh_token, self.pending, self.unconfirmed) = (None, None, None);
        (self.refusal, self.ended_because) = (None, None);
        self.unmet.clear();
        self.renewed(grant);
    }

    /// Adds a renewed grant to the session.
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

    /// Whether the token under `key` is the one that the sign-in asked for; the kind does not matter.
    pub fn was_begun_for(&self, key: &TokenKey) -> bool {
        let begun_for = self.begun.as_ref().and_then(|begun| begun.key.as_ref());
        begun_for.is_none_or(|begun_for| begun_for.of_kind(key.kind) == *key)
    }

    /// Records that the provider has ended the grant, so that the refresh token is no longer valid.
    pub fn ended(&mut self, because: String) {
        self.refresh_token = None;
        self.ended_because = Some(because);
        self.last_error = None;
    }

    /// Records that the provider wants a new sign-in for this token alone.
    pub fn unmet(&mut self, key: TokenKey, because: String) {
        self.unmet.retain(|unmet| unmet.key != key);
        self.unmet.push(Unmet { serial: Serial::draw(), key, because });
        let beyond = self.unmet.len().saturating_sub(MOST_UNMET);
        self.unmet.drain(..beyond);
    }

    /// Records a failed request. `at_ms` is in milliseconds since the Unix epoch.
    pub fn failed(&mut self, failed: Failed, at_ms: i64) {
        let Failed { failure: Failure { exit, message, hint }, key, back_off } = failed;
        let before = self.last_error.as_ref().map_or(0, |before| before.failures);
        let (failures, backoff) = back_off.map_or((0, Backoff::default()), |Retry { retry_after, chance }| {
            let failures = before.saturating_add(1);
            (failures, Backoff::after(failures, retry_after, chance))
        });
        // If the provider refused the request, the person may correct the cause at once, so a caller without a token
        // may try again immediately. A caller with a valid token has no reason to hurry.
        let backoff = if exit == Exit::Unreachable { backoff } else { Backoff { without_ms: 0, ..backoff } };
        let message = crate::text::one_line(&message);
        let serial = Serial::draw();
        self.last_error = Some(LastError { serial, at_ms, key, exit, message, hint, failures, backoff });
    }

    /// Whether a renewal's `account` is not the one that signed in (OpenID Connect Core, section 12.2).
    pub fn is_of_another(&self, account: &Account) -> bool {
        self.account.as_ref().is_some_and(|before| match (&before.subject, &account.subject) {
            // An account has a different `sub` in every tenant.
            (Some(one), Some(other)) => before.tenant == account.tenant && one != other,
            _ => false,
        })
    }

    /// Checks whether a grant for `account` may become this session's. `wanted` is the account that the profile names.
    /// The error says who signed in and who should have, with a hint.
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
            // `sub` decides, because names are only for people. An account has a different `sub` in every tenant.
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
    /// The token to revoke if the grant is not wanted, and its `token_type_hint` (RFC 7009, section 2.1).
    pub fn revocable(&self) -> Option<(&Secret, &'static str)> {
        let access = self.tokens.iter().find(|token| token.key.kind == TokenKind::Access);
        let access = access.map(|token| (&token.token, "access_token"));
        self.refresh_token.as_ref().map(|token| (token, "refresh_token")).or(access)
    }
}
