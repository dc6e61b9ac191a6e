//! The device code flow (RFC 8628): the person enters a code on any device, and this process polls the server until
//! that has happened.

use super::{Begun, End, Polling, Turn, patient, scopes};
use crate::clock::{Timestamp, boottime, now_ms};
use crate::grants::Ask;
use crate::log::debug;
use crate::oauth::answer::Answer;
use crate::oauth::{Client, NotStarted};
use crate::session::{Pending, PendingDevice, PendingFlow, Session};
use std::time::Duration;

/// The longest time until the next poll that the session's file may say, in milliseconds; more means that the clock was
/// set back.
const LONGEST_WAIT_MS: i64 = 300_000;

/// Requests a code for `ask`'s scopes and for all scopes that `session` asked for before.
pub(super) fn begin(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> Result<Begun<Turns>, NotStarted> {
    let (scopes, key) = scopes(client, session, ask);
    let (sent, started_at) = (boottime(), Timestamp::now());
    let (code, code_verifier) = client.device_authorization(&scopes)?;
    let turns = Turns { polling: Polling::new(code.interval, sent + Duration::from_secs(code.expires_in), boottime()) };
    let pending = Pending {
        scopes,
        key,
        started_at,
        expires_at: started_at.plus(code.expires_in),
        asked_by: ask.by.clone(),
        terminal: None,
        driver: None,
        flow: PendingFlow::Device(PendingDevice {
            device_code: code.device_code,
            user_code: code.user_code,
            verification_uri: code.verification_uri.to_string(),
            verification_uri_complete: code.verification_uri_complete.map(|address| address.to_string()),
            message: code.message,
            code_verifier,
            interval: code.interval,
            wait: None,
            next_poll_ms: None,
        }),
    };
    Ok((pending, turns))
}

/// A pending sign-in, in the one process that polls.
#[derive(Debug)]
pub struct Turns {
    polling: Polling,
}

impl Turns {
    /// Continues a sign-in that another process began. Only a sign-in in steps records when the next poll may be sent;
    /// otherwise waits one whole interval.
    pub fn resume(pending: &Pending, device: &PendingDevice) -> Self {
        let now = boottime();
        let left = Duration::from_secs(pending.expires_at.since(Timestamp::now()));
        let wait = device.next_poll_ms.map_or(patient(device.interval), |at_ms| {
            Duration::from_millis(at_ms.saturating_sub(now_ms()).clamp(0, LONGEST_WAIT_MS).unsigned_abs())
        });
        let longer = device.wait.unwrap_or(device.interval);
        Self { polling: Polling::resume((device.interval, longer), now + left, now + wait) }
    }

    /// When the sign-in expires, as time since boot.
    pub fn deadline(&self) -> Duration {
        self.polling.deadline()
    }

    /// When the next turn is, as time since boot.
    pub fn next(&self) -> Duration {
        self.polling.next()
    }

    /// Polls the server if it is time to. `resource` is that of the profile that began. Updates the interval in
    /// `device`.
    pub fn turn(&mut self, client: &Client<'_>, device: &mut PendingDevice, resource: Option<&str>) -> Turn {
        let now = boottime();
        if self.polling.ended(now) {
            return Turn::Ended(End::Expired);
        }
        if now < self.next() {
            return Turn::Wait(self.next());
        }
        let answer = client.poll(&device.device_code, device.code_verifier.as_ref(), resource);
        if let Err(why) | Ok(Answer::Transient(why, _)) = &answer {
            debug(|| format!("polling goes on: {why}"));
        }
        if let Some(end) = self.polling.receive(answer, boottime()) {
            return Turn::Ended(end);
        }
        device.interval = self.polling.interval();
        device.wait = Some(self.polling.wait()).filter(|wait| *wait != device.interval);
        Turn::Wait(self.next())
    }

    /// Records in `device` when the next turn is, for a sign-in in steps.
    pub fn note_next(&self, device: &mut PendingDevice) {
        let wait = i64::try_from(self.next().saturating_sub(boottime()).as_millis()).unwrap_or(LONGEST_WAIT_MS);
        device.next_poll_ms = Some(now_ms().saturating_add(wait));
    }
}
