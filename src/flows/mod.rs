//! How a person signs in. Every flow is begun once, stands in the session's file as a
//! [`Pending`] while it is under way, and goes on in turns: each says how long to wait for the next, or how the sign-in ended.
//!
//! `device` (RFC 8628) and `browser` (RFC 8252) are the flows; `choice` is which of them a sign-in takes. `polling` is the one's
//! state machine, `listener` and `opener` are the other's ends.

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

/// A sign-in that has begun: what the others see of it, and what the process that drives it goes on with.
pub type Begun<T> = (Pending, T);

/// How a sign-in stands after a turn.
#[derive(Debug)]
pub enum Turn {
    /// Not yet: the next turn is at this time, on the clock that counts from boot.
    Wait(Duration),
    /// It has ended.
    Ended(End),
}

/// A sign-in under way, as the one process sees it that drives it.
pub enum Turns {
    /// By device code.
    Device(device::Turns),
    /// By browser.
    Browser(Box<browser::Turns>),
}

/// Begins a sign-in by this flow for `ask`, and for all that `session` was granted before.
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

/// The scopes that a sign-in asks for and what its access token is filed under: what is asked, and all that `session` was
/// granted before where a refresh can narrow that down again: else the next caller's scopes would be gone.
fn scopes(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> (Vec<String>, TokenKey) {
    let profile = ask.profile;
    let mut scopes = profile.scopes.clone();
    if !profile.preset.multi_resource && session.begun.as_ref().is_none_or(|begun| begun.renewable) {
        scopes.extend(session.asked.iter().filter(|scope| !profile.scopes.contains(scope)).cloned());
    }
    (client.askable(&scopes), ask.key.with_scopes(&scopes))
}

impl Turns {
    /// Goes on with a sign-in that another process began; `None` if it ended with that one.
    pub fn resume(pending: &Pending) -> Option<Self> {
        pending.device().map(|device| Self::Device(device::Turns::resume(pending, device)))
    }

    /// When the next turn is, on the clock that counts from boot.
    pub fn next(&self) -> Duration {
        match self {
            Self::Device(turns) => turns.next(),
            Self::Browser(turns) => turns.deadline(),
        }
    }

    /// Writes into `pending` when the next turn is, for a sign-in in steps.
    pub fn note_next(&self, pending: &mut Pending) {
        if let (Self::Device(turns), PendingFlow::Device(device)) = (self, &mut pending.flow) {
            turns.note_next(device);
        }
    }

    /// When the sign-in ends by itself, on the clock that counts from boot.
    pub fn deadline(&self) -> Duration {
        match self {
            Self::Device(turns) => turns.deadline(),
            Self::Browser(turns) => turns.deadline(),
        }
    }

    /// Does what can be done now. `pending`, which began with this, then has what other processes need to go on with it.
    pub fn turn(&mut self, client: &Client<'_>, pending: &mut Pending) -> Turn {
        match (self, &mut pending.flow) {
            (Self::Device(turns), PendingFlow::Device(device)) => {
                turns.turn(client, device, pending.key.resource.as_deref())
            }
            (Self::Browser(turns), PendingFlow::Browser(_)) => turns.turn(client),
            (Self::Device(_) | Self::Browser(_), _) => Turn::Ended(End::Expired),
        }
    }

    /// Sleeps until the next turn is worth while, or for `limit`.
    pub fn wait(&self, limit: Duration) {
        match self {
            Self::Device(_) => sleep(limit),
            Self::Browser(turns) => turns.wait(limit),
        }
    }

    /// Tells the person in the browser, if there is one, how it ended.
    pub fn tell(self, well: bool, words: &str) {
        if let Self::Browser(turns) = self {
            turns.tell(well, words);
        }
    }
}
