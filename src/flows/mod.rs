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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Timestamp, boottime, now_ms};
    use crate::config::resolved;
    use crate::oauth::http::LIMIT;
    use serde_json::{from_value, json};

    #[test]
    fn the_scopes_of_the_last_sign_in_are_asked_for_again_if_a_refresh_can_narrow_them() {
        let asked = |provider: &str, renewable: Option<bool>| {
            let profile = resolved(&[("provider", provider), ("client-id", "c"), ("scopes", "b")]).unwrap();
            let begun = renewable.map(|it| from_value(json!({ "at": 1, "flow": "device", "renewable": it })).unwrap());
            let last = ["b", "a"].map(str::to_owned).to_vec();
            let session = Session { asked: last, begun, ..Session::new(&profile.session) };
            let (client, _) = Client::new(&profile, None, LIMIT).unwrap();
            let key = from_value(json!({ "kind": "access", "scopes": [] })).unwrap();
            let (scopes, key) =
                scopes(&client, &session, &Ask { profile: &profile, key, claims: None, by: String::new() });
            (scopes.join(" "), key.scopes.join(" "))
        };
        let (both, own) = (("b a".to_owned(), "a b".to_owned()), ("b".to_owned(), "b".to_owned()));
        assert_eq!(asked("github", Some(true)), both);
        assert_eq!(asked("github", None), both);
        assert_eq!(asked("github", Some(false)), own);
        let entra = asked("entra", Some(true)).0;
        assert_eq!(entra, "b openid profile offline_access", "one session has tokens for every resource");
    }

    #[test]
    fn a_device_sign_in_is_continued_at_the_time_that_was_recorded_or_after_its_interval() {
        for (recorded, wait) in [(None, 6_000), (Some(20_000), 20_000), (Some(-1), 0), (Some(300_001), 300_000)] {
            let (wall, boot) = (now_ms(), boottime());
            let mut pending: Pending = from_value(json!({
                "scopes": [], "key": { "kind": "access", "scopes": [] }, "started_at": wall / 1000,
                "expires_at": Timestamp(wall / 1000).plus(900), "asked_by": "git",
                "flow": {
                    "kind": "device", "device_code": "d", "user_code": "AB-CD", "interval": 5,
                    "verification_uri": "https://id.example/device", "next_poll_ms": recorded.map(|ms: i64| wall + ms),
                },
            }))
            .unwrap();
            let turns = Turns::resume(&pending).unwrap();
            turns.note_next(&mut pending);
            let spent = boottime().saturating_sub(boot) + Duration::from_millis(1);
            // The clocks went on in between, by `spent` at most; the session's file knows whole seconds.
            let after = |time: Duration, ms, slack: Duration| time.abs_diff(boot + Duration::from_millis(ms)) <= slack;
            assert!(after(turns.next(), wait, spent), "{recorded:?}");
            assert!(after(turns.deadline(), 900_000, spent + Duration::from_secs(1)), "{recorded:?}");
            let noted = Duration::from_millis(pending.device().unwrap().next_poll_ms.unwrap().abs_diff(wall));
            assert!(noted.abs_diff(Duration::from_millis(wait)) <= 2 * spent, "{recorded:?}");
        }
    }
}
