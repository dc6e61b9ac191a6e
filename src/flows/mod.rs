//! How a person signs in. A flow is begun once, is kept in the session's file as a [`Pending`] while it is under way,
//! and continues in turns. Each turn says when the next one is, or how the sign-in ended.
//!
//! The flows are `device` (RFC 8628) and `browser` (RFC 8252); `choice` decides which of them a sign-in takes.
//! `polling` is the state machine of the device code flow. `listener` and `opener` belong to the browser flow.

mod browser;
mod choice;
mod device;
pub mod listener;
mod opener;
mod polling;

pub use choice::{Choice, Has, Place, choose, environment, expect};
pub use polling::{End, Polling, patient};

use crate::grants::Ask;
use crate::oauth::{Client, NotStarted};
use crate::session::{FlowKind, Pending, PendingFlow, Session, TokenKey};
use std::thread::sleep;
use std::time::Duration;

/// A sign-in that has begun: its state for other processes, and the state of the process that drives it.
pub type Begun<T> = (Pending, T);

/// The state of a sign-in after a turn.
#[derive(Debug)]
pub enum Turn {
    /// Not ended; the next turn is at this time since boot.
    Wait(Duration),
    /// The sign-in has ended.
    Ended(End),
}

/// A pending sign-in, in the one process that drives it.
pub enum Turns {
    /// By device code.
    Device(device::Turns),
    /// By browser.
    Browser(Box<browser::Turns>),
}

/// Begins a sign-in by this flow, for `ask`'s scopes and for all scopes that `session` asked for before.
pub fn begin(
    flow: FlowKind,
    client: &Client<'_>,
    session: &Session,
    ask: &Ask<'_>,
) -> Result<Begun<Turns>, NotStarted> {
    Ok(match flow {
        FlowKind::Device => {
            let (pending, turns) = device::begin(client, session, ask)?;
            (pending, Turns::Device(turns))
        }
        FlowKind::Browser => {
            let (pending, turns) = browser::begin(client, session, ask)?;
            (pending, Turns::Browser(Box::new(turns)))
        }
    })
}

/// The scopes that a sign-in asks for, and the key of its access token. The scopes of the previous sign-in are added if a
/// refresh can narrow them again, because other callers would lose them otherwise.
fn scopes(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> (Vec<String>, TokenKey) {
    let profile = ask.profile;
    let mut scopes = profile.scopes.clone();
    if !profile.preset.multi_resource && session.begun.as_ref().is_none_or(|begun| begun.renewable) {
        scopes.extend(session.asked.iter().filter(|scope| !profile.scopes.contains(scope)).cloned());
    }
    (client.askable(&scopes), ask.key.with_scopes(&scopes))
}

impl Turns {
    /// Continues a sign-in that another process began; `None` if it ended with that process.
    pub fn resume(pending: &Pending) -> Option<Self> {
        pending.device().map(|device| Self::Device(device::Turns::resume(pending, device)))
    }

    /// When the next turn is, as time since boot.
    pub fn next(&self) -> Duration {
        match self {
            Self::Device(turns) => turns.next(),
            Self::Browser(turns) => turns.deadline(),
        }
    }

    /// Records in `pending` when the next turn is, for a sign-in in steps.
    pub fn note_next(&self, pending: &mut Pending) {
        if let (Self::Device(turns), PendingFlow::Device(device)) = (self, &mut pending.flow) {
            turns.note_next(device);
        }
    }

    /// When the sign-in expires, as time since boot.
    pub fn deadline(&self) -> Duration {
        match self {
            Self::Device(turns) => turns.deadline(),
            Self::Browser(turns) => turns.deadline(),
        }
    }

    /// Does what can be done now. Updates in `pending`, which must be from the same sign-in, what another process needs
    /// to continue.
    pub fn turn(&mut self, client: &Client<'_>, pending: &mut Pending) -> Turn {
        match (self, &mut pending.flow) {
            (Self::Device(turns), PendingFlow::Device(device)) => {
                turns.turn(client, device, pending.key.resource.as_deref())
            }
            (Self::Browser(turns), PendingFlow::Browser(_)) => turns.turn(client),
            (Self::Device(_) | Self::Browser(_), _) => Turn::Ended(End::Expired),
        }
    }

    /// Sleeps until there is something to do, but at most for `limit`.
    pub fn wait(&self, limit: Duration) {
        match self {
            Self::Device(_) => sleep(limit),
            Self::Browser(turns) => turns.wait(limit),
        }
    }

    /// Shows in the browser, if this sign-in uses one, how it ended.
    pub fn tell(self, well: bool, words: &str) {
        if let Self::Browser(turns) = self {
            turns.tell(well, words);
        }
    }
}
