//! Stand-ins for the Azure CLI (`az`) and the Azure Developer CLI (`azd`), for programs that run them to get tokens.
//!
//! The Azure SDKs, Terraform, Databricks and scripts get tokens by running one of the two. The commands that they run
//! are answered here; other commands are passed on to the real program, which comes after keyfob on `PATH`, or fail
//! with exit code 2 if there is none. `line` parses their flags, `output` writes az's formats, `clouds` holds what az
//! knows about the national clouds.
//!
//! - Nobody is asked to sign in, because the caller captures the output and kills a process that takes longer than ten
//!   seconds. If nobody is signed in, the exit code is 1 at once, with the message that makes an SDK try its next
//!   credential.
//! - If one sign-in serves every resource and tenant (Microsoft Entra ID), the caller chooses both. A profile of any
//!   other provider answers with its own scopes.
//! - Every failure has exit code 1, and an invalid command line has exit code 2, whatever keyfob's own exit codes are.

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

/// Least remaining life of a token, in seconds: with less than five minutes left, the SDKs ask again for every request.
const MIN_LIFE: u64 = 600;

/// How long a caller waits. The shortest time limit of a caller is ten seconds, after which it gets no reason.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The lifetime to report for a token without expiry, in seconds.
const ENDLESS: u64 = 3600;

/// keyfob's own flags, which come before the other program's words.
const FLAGS: &[&[Key]] = &[PROFILE, KEYS];

const PROFILE: &[Key] = &[Key {
    name: "profile",
    flag: Some("profile"),
    short: Some('p'),
    value: "NAME",
    shape: Shape::Text,
    help: "Profile to use [default: `profile` in [az], or the only one of Entra]",
}];

/// Asks for a token from the cache or a refresh, without a sign-in.
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

/// When a token expires. A caller wants a time even for a token that only revocation ends.
fn end(credential: &Credential) -> Timestamp {
    credential.expires_at.unwrap_or_else(|| Timestamp::now().plus(ENDLESS))
}

fn too_late() -> Failure {
    Failure::new(Exit::Failed, "the token ends after the year 9999, which cannot be told")
}
