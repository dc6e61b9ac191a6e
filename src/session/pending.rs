//! A sign-in that a person is at, as it stands in the session's file for the processes that wait for it.

use super::{FlowKind, TokenKey};
use crate::clock::Timestamp;
use crate::secret::{Secret, expose, expose_option};
use serde::{Deserialize, Serialize};

/// A sign-in under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Scopes asked for.
    pub scopes: Vec<String>,
    /// What its access token will be filed under: the process that finishes the sign-in may want another one.
    pub key: TokenKey,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Who asked, for those who join.
    pub asked_by: String,
    /// The terminal it is shown on, so that no process shows it there a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The process that drives it; none for a sign-in in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<u32>,
    /// How the person signs in.
    pub flow: PendingFlow,
}

/// What a flow needs to go on with a sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PendingFlow {
    /// RFC 8628. It survives its process: another one goes on polling.
    Device(PendingDevice),
    /// RFC 8252. It ends with its process, which is the one that the browser comes back to.
    Browser(PendingBrowser),
}

/// RFC 8252: an authorization request whose answer a process waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingBrowser {
    /// The address on this machine that leads to the provider. Nobody can guess it, so it names the sign-in too.
    pub address: String,
    /// A program was found that opens it.
    #[serde(default)]
    pub opening: bool,
    /// Nobody has signed in to this session by browser, and the provider takes device codes too: the client may be
    /// registered for those alone.
    #[serde(default)]
    pub untried: bool,
}

/// RFC 8628, section 3.2: a device authorization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingDevice {
    /// The device code; with it, the process that holds the sign-in lock goes on polling.
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
    /// PKCE verifier (RFC 7636), where the server takes one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_option")]
    pub code_verifier: Option<Secret>,
    /// Seconds between polls, with what `slow_down` added.
    pub interval: u64,
    /// The same where failures have made it longer, until the server answers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// When the next poll may be sent, in milliseconds since the Unix epoch. Only a sign-in in steps (`login --poll`) writes
    /// this down, since each step is a process of its own; one that polls until the end has no need to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<i64>,
}

impl Pending {
    /// Whether it can still end in a token. One that began in the future was written by a clock that has been set back
    /// since: how long its code lives is not known then.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.expires_at > now && self.started_at <= now.plus(60)
    }

    /// The device authorization, if it is one.
    pub fn device(&self) -> Option<&PendingDevice> {
        match &self.flow {
            PendingFlow::Device(device) => Some(device),
            PendingFlow::Browser(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn device_mut(&mut self) -> Option<&mut PendingDevice> {
        match &mut self.flow {
            PendingFlow::Device(device) => Some(device),
            PendingFlow::Browser(_) => None,
        }
    }

    /// By which flow.
    pub fn kind(&self) -> FlowKind {
        match &self.flow {
            PendingFlow::Device(_) => FlowKind::Device,
            PendingFlow::Browser(_) => FlowKind::Browser,
        }
    }

    /// Whether both are one sign-in.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.flow, &other.flow) {
            (PendingFlow::Device(one), PendingFlow::Device(other)) => one.device_code == other.device_code,
            (PendingFlow::Browser(one), PendingFlow::Browser(other)) => one.address == other.address,
            _ => false,
        }
    }
}
