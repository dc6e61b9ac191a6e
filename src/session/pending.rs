//! A pending sign-in, as kept in the session's file for the processes that wait for it.

use super::{FlowKind, TokenKey};
use crate::clock::Timestamp;
use crate::secret::{Secret, expose, expose_option};
use serde::{Deserialize, Serialize};

/// A pending sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// The key of its access token. The process that finishes the sign-in may want a different token.
    pub key: TokenKey,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When the code or the browser sign-in expires.
    pub expires_at: Timestamp,
    /// Who asked for a token, shown by processes that join.
    pub asked_by: String,
    /// The terminal that shows it, so that no other process shows it there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The id of the process that drives it; `None` for a sign-in in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<u32>,
    /// How the person signs in.
    pub flow: PendingFlow,
}

/// What a flow needs to continue a sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PendingFlow {
    /// Device code flow (RFC 8628). It outlives its process, because another process can continue polling.
    Device(PendingDevice),
    /// Authorization code flow in a browser (RFC 8252). It ends with its process, to which the browser is redirected.
    Browser(PendingBrowser),
}

/// An authorization request whose response a process waits for (RFC 8252).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingBrowser {
    /// The address on this machine that redirects to the provider. It cannot be guessed, so it also identifies the
    /// sign-in.
    pub address: String,
    /// Whether a program that opens it was found.
    #[serde(default)]
    pub opening: bool,
    /// Whether nobody has signed in to this session by browser yet, although the provider supports device codes too:
    /// the client may be registered for device codes alone.
    #[serde(default)]
    pub untried: bool,
}

/// A device authorization response (RFC 8628, section 3.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingDevice {
    /// The device code, with which any process that holds the sign-in lock can poll.
    #[serde(serialize_with = "expose")]
    pub device_code: Secret,
    /// The code that the person enters.
    pub user_code: String,
    /// The address where the person enters the code.
    pub verification_uri: String,
    /// The same address with the code included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// The provider's own message for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The PKCE verifier (RFC 7636), if the server supports PKCE.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub code_verifier: Option<Secret>,
    /// Seconds between polls, including what `slow_down` added.
    pub interval: u64,
    /// A longer interval after failures, in seconds, until the server answers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// When the next poll may be sent, in milliseconds since the Unix epoch. Set only by a sign-in in steps (`login
    /// --poll`), because each step is a separate process; a process that polls until the end keeps the time itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<i64>,
}

impl Pending {
    /// Whether the sign-in can still succeed. If it began in the future, the clock has been set back since, and it is
    /// unknown how long the code is still valid.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.expires_at > now && self.started_at <= now.plus(60)
    }

    /// The device authorization, unless this is a browser sign-in.
    pub fn device(&self) -> Option<&PendingDevice> {
        match &self.flow {
            PendingFlow::Device(device) => Some(device),
            PendingFlow::Browser(_) => None,
        }
    }

    /// Like [`Pending::device`], but mutable.
    pub fn device_mut(&mut self) -> Option<&mut PendingDevice> {
        match &mut self.flow {
            PendingFlow::Device(device) => Some(device),
            PendingFlow::Browser(_) => None,
        }
    }

    /// The flow of this sign-in.
    pub fn kind(&self) -> FlowKind {
        match &self.flow {
            PendingFlow::Device(_) => FlowKind::Device,
            PendingFlow::Browser(_) => FlowKind::Browser,
        }
    }

    /// Whether both are the same sign-in.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.flow, &other.flow) {
            (PendingFlow::Device(one), PendingFlow::Device(other)) => one.device_code == other.device_code,
            (PendingFlow::Browser(one), PendingFlow::Browser(other)) => one.address == other.address,
            _ => false,
        }
    }
}
