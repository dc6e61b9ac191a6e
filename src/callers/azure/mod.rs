//! Stand-ins for the Azure CLI (`az`) and the Azure Developer CLI (`azd`), as far as programs run them for tokens.
//!
//! The Azure SDKs, Terraform, Databricks and scripts get their tokens by running one of the two. What is answered here is
//! what they ask; anything else goes to the real one behind keyfob on `PATH`, and without one exit 2 says so. `line` reads their flags, `output` writes
//! az's formats, `clouds` holds what az knows of the national clouds.
//!
//! - Nobody is ever asked to sign in: the caller captures what is shown, and kills what takes longer than ten seconds.
//!   Signed out means exit 1 at once, in the words that make an SDK try its next credential.
//! - Where one sign-in serves every resource and tenant (Microsoft Entra ID), the caller says which. The profile of any
//!   other provider answers with its own scopes.
//! - Every failure is exit 1, a command line that is not understood exit 2, whatever keyfob's own codes are.

pub mod az;
pub mod azd;
mod clouds;
mod line;
mod output;

use super::{Ask, Credential, Kind, Outcome, Requester, Want, Whose};
use crate::arguments::Arguments;
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, Shape};
use crate::failure::{Exit, Failure};
use std::time::Duration;

/// Least life of a token handed out, in seconds: below five minutes the SDKs ask again for every request.
const MIN_LIFE: u64 = 600;

/// How long a caller waits: the shortest limit that any of them has is ten seconds, and then it hears no reason.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The life told of a token that has no end, in seconds.
const ENDLESS: u64 = 3600;

/// Flags of keyfob's own, before the words of the other program.
const FLAGS: &[&[Key]] = &[PROFILE, KEYS];

const PROFILE: &[Key] = &[Key {
    name: "profile",
    flag: Some("profile"),
    short: Some('p'),
    value: "NAME",
    shape: Shape::Text,
    help: "Profile to use [default: `profile` in [az], or the only one of Entra]",
}];

/// A token from the cache or by a refresh; no sign-in.
fn want(arguments: &Arguments) -> Want<'_> {
    Want {
        kind: Kind::Access,
        min_life: Some(MIN_LIFE),
        no_prompt: Some("the caller of az and azd cannot show one"),
        timeout: Some(TIMEOUT),
        ..Want::token(Whose::Az(arguments), Requester::Parent("an Azure SDK"))
    }
}

fn token(ask: &Ask<'_>, want: Want<'_>) -> Result<Credential, Failure> {
    match ask(want) {
        Outcome::Credential(credential) => Ok(credential),
        other => Err(other.failure()),
    }
}

/// When a token ends. For one that only revocation ends, callers still want a time.
fn end(credential: &Credential) -> Timestamp {
    credential.expires_at.unwrap_or_else(|| Timestamp::now().plus(ENDLESS))
}

fn too_late() -> Failure {
    Failure::new(Exit::Failed, "the token ends after the year 9999, which cannot be told")
}
