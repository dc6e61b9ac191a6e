//! A sign-in in steps, for programs that run the waiting themselves: [`start`], then [`step`] until it has ended.
//!
//! It is the same sign-in as any other: it stands in the session's file, where other callers find it, show it and may
//! finish it. A step that comes before the server's interval has passed asks nobody, so that no caller polls too fast.

use super::sign_in::{LOOK, or_trouble};
use super::{Attempt, Credential, Effort, LOCK_LIMIT, SignedIn, Want};
use crate::clock::{Timestamp, boottime, now_ms};
use crate::device::{End, Polling, patient};
use crate::failure::{Exit, Failure};
use crate::oauth::{Client, http};
use crate::session::{Pending, Session};
use crate::store::{Lock, SessionFile, Store};
use anyhow::{Context, Result};
use std::thread::sleep;
use std::time::Duration;

/// Longest time that a server can have asked to wait for, in milliseconds; more than that is a clock that was put back.
const LONGEST_WAIT_MS: i64 = 300_000;

/// How a sign-in stands.
pub enum Step {
    /// There is a token.
    Done(Credential),
    /// A person is to enter the code.
    Waiting(Box<Pending>, Duration),
    /// It was refused.
    Refused(Failure),
    /// The code has run out.
    Expired(Failure),
}

/// Starts a sign-in, or joins the one that is under way, and does not wait for its end. Done at once where the session is
/// good, unless [`Effort::SignIn`] asks for a new one. [`Step::Waiting`] says how long to wait before the first step.
pub fn start(want: &Want<'_>) -> Result<Step> {
    let store = Store::open_or_make()?;
    let file = store.session(&want.profile.session);
    Attempt::new(want).begin(&file).with_context(|| could_not(want))
}

/// Asks the provider once whether the person is done, if the time for that has come. [`Step::Waiting`] says how long to
/// wait before the next step. Fails with exit 3 if no sign-in was started.
pub fn step(want: &Want<'_>) -> Result<Step> {
    let store = Store::open_or_make()?;
    let file = store.session(&want.profile.session);
    Attempt::new(want).step(&file).with_context(|| could_not(want))
}

fn could_not(want: &Want<'_>) -> String {
    format!("could not sign in to {}", want.profile.title())
}

impl Attempt<'_> {
    fn begin(&self, file: &SessionFile<'_>) -> Result<Step> {
        if self.want.effort != Effort::SignIn
            && let Ok(credential) = self.refresh(file)?
        {
            return Ok(Step::Done(credential));
        }
        let began = boottime();
        loop {
            let lock = file.try_sign_in_lock()?;
            let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
            if let Some(pending) = session.pending.filter(|p| p.expires_at > Timestamp::now() && self.leads_to_ours(p))
            {
                let wait = patient(pending.interval);
                return Ok(Step::Waiting(Box::new(pending), wait));
            }
            if lock.is_some() {
                let (client, found) =
                    or_trouble(file, Client::new(self.want.profile, session.server.as_ref(), http::LIMIT))?;
                let (pending, _) = self.start(file, &client, found, None, Some(now_ms()))?;
                let wait = patient(pending.interval);
                return Ok(Step::Waiting(Box::new(pending), wait));
            }
            if boottime().saturating_sub(began) > LOCK_LIMIT {
                let why = "another process is at a sign-in for something else";
                return Err(Failure::new(Exit::Failed, why).hint("finish that one first, or end its process").into());
            }
            sleep(LOOK);
        }
    }

    fn step(&self, file: &SessionFile<'_>) -> Result<Step> {
        let lock = file.try_sign_in_lock()?;
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        let Some(pending) = session.pending.clone().filter(|pending| self.leads_to_ours(pending)) else {
            return self.outcome(file, &session);
        };
        // Whoever holds the lock polls.
        let Some(lock) = lock else {
            let wait = patient(pending.interval);
            return Ok(Step::Waiting(Box::new(pending), wait));
        };
        let wait = wait_for_turn(file, &pending)?;
        if pending.expires_at > Timestamp::now() && !wait.is_zero() {
            return Ok(Step::Waiting(Box::new(pending), wait));
        }
        self.ask_once(file, &lock, &session, pending)
    }

    fn ask_once(
        &self,
        file: &SessionFile<'_>,
        lock: &Lock<'_>,
        session: &Session,
        mut pending: Pending,
    ) -> Result<Step> {
        let (client, _) = or_trouble(file, Client::new(self.want.profile, session.server.as_ref(), http::LIMIT))?;
        let Some(room) = file.reserve(lock, session)? else {
            let wait = patient(pending.interval);
            return Ok(Step::Waiting(Box::new(pending), wait));
        };
        let now = boottime();
        let left = Duration::from_secs(pending.expires_at.since(Timestamp::now()));
        let mut polling = Polling::new(pending.interval, now + left, now);
        let end = if left.is_zero() { Some(End::Expired) } else { polling.receive(client.poll(&pending), boottime()) };
        let Some(end) = end else {
            // As if it had been polled so much later that one interval from then is when the server wants to be asked.
            let wait = polling.next().saturating_sub(boottime());
            let beyond = i64::try_from(wait.saturating_sub(patient(polling.interval())).as_millis());
            pending.interval = polling.interval();
            polled(file, &pending, pending.interval, now_ms() + beyond.unwrap_or(0))?;
            return Ok(Step::Waiting(Box::new(pending), wait));
        };
        match self.finish(file, room, &client, end, &pending.scopes, pending.key) {
            Ok(SignedIn::Here(credential)) => Ok(Step::Done(credential)),
            Ok(SignedIn::Elsewhere) => self.outcome(file, &file.session()?.unwrap_or_else(|| session.clone())),
            Err(error) => match file.session()?.filter(|session| session.refusal.is_some()) {
                Some(session) => self.outcome(file, &session),
                None => Err(error),
            },
        }
    }

    /// What became of the last sign-in, whoever finished it.
    fn outcome(&self, file: &SessionFile<'_>, session: &Session) -> Result<Step> {
        if let Some(refusal) = &session.refusal {
            let failure = self.refusal(refusal);
            return Ok(if refusal.expired { Step::Expired(failure) } else { Step::Refused(failure) });
        }
        if let Some(credential) = self.answer(session) {
            return Ok(Step::Done(credential));
        }
        if session.refresh_token.is_some()
            && let Ok(credential) = self.refresh(file)?
        {
            return Ok(Step::Done(credential));
        }
        let hint = format!("{} --start", self.want.profile.command("login"));
        Err(Failure::new(Exit::SignInNeeded, "no sign-in was started").run(hint).into())
    }
}

/// How long it is until the next poll may be sent.
fn wait_for_turn(file: &SessionFile<'_>, pending: &Pending) -> Result<Duration> {
    let interval = patient(pending.interval);
    let Some(at_ms) = pending.polled_at_ms else {
        // Somebody polled who did not write down when: wait one whole interval.
        polled(file, pending, pending.interval, now_ms())?;
        return Ok(interval);
    };
    let next = at_ms.saturating_add(i64::try_from(interval.as_millis()).unwrap_or(LONGEST_WAIT_MS));
    let left = next.saturating_sub(now_ms());
    Ok(Duration::from_millis(left.clamp(0, LONGEST_WAIT_MS).unsigned_abs()))
}

/// Writes down when the server last spoke of a code, and its interval.
fn polled(file: &SessionFile<'_>, pending: &Pending, interval: u64, at_ms: i64) -> Result<()> {
    file.update(LOCK_LIMIT, |session| {
        if let Some(known) = session.pending.as_mut().filter(|p| p.device_code == pending.device_code) {
            known.interval = interval;
            known.polled_at_ms = Some(at_ms);
        }
    })
}
