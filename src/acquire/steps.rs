//! A sign-in in steps, for programs that do the waiting themselves: call [`start`], then [`step`] until the sign-in has
//! ended.
//!
//! The sign-in is like any other: it is in the session's file, where other callers find it, show it and may finish it.
//! A step that comes before the server's polling interval has passed sends no request, so no caller can poll too fast.

use super::flow::write_down;
use super::machine::nothing_is_kept;
use super::renew::Renewed;
use super::sign_in::{LOOK, keep_pending};
use super::{Acquired, Attempt, Effort, LOCK_LIMIT, TokenWant, acquire};
use crate::clock::{Timestamp, boottime};
use crate::failure::{Exit, Failure};
use crate::flows::{Turn, Turns};
use crate::oauth::{Client, http};
use crate::policy::Started;
use crate::process::Uninterrupted;
use crate::session::{FlowKind, Pending, PendingDevice, Session};
use crate::store::{SessionFile, Store};
use anyhow::{Context, Result};
use std::thread::sleep;
use std::time::Duration;

/// The state of a sign-in.
pub enum Step {
    /// There is a token.
    Done(Acquired),
    /// A person has yet to enter the code.
    Waiting(Box<Waiting>),
    /// The sign-in was refused.
    Refused(Failure),
    /// The code has expired.
    Expired(Failure),
}

/// A pending sign-in by device code, which outlives each step.
#[derive(Debug)]
pub struct Waiting {
    /// The sign-in, as in the session's file.
    pub pending: Pending,
    /// The code and addresses to show.
    pub device: PendingDevice,
    /// How long to wait before the next step, which then asks the provider.
    pub wait: Duration,
}

/// Starts a sign-in, or joins a pending one, without waiting for its end. Returns [`Step::Done`] if the session is
/// already good, unless the want's effort is [`Effort::SignIn`].
pub fn start(want: &TokenWant<'_>) -> Result<Step> {
    with_file(want, Attempt::first_step)
}

/// Asks the provider once whether the person has finished, if the polling interval has passed. Fails with exit code 3
/// if no sign-in was started.
pub fn step(want: &TokenWant<'_>) -> Result<Step> {
    with_file(want, Attempt::step)
}

/// Opens the session's file for a step. A machine needs no steps: its token is the answer.
fn with_file<'w>(
    want: &'w TokenWant<'w>,
    work: impl FnOnce(&Attempt<'w>, &SessionFile<'_>) -> Result<Step>,
) -> Result<Step> {
    if want.profile.machine.is_some() {
        return acquire(want).map(Step::Done);
    }
    let store = Store::open_or_make()?.ok_or_else(nothing_is_kept)?;
    let store = store.replacing_locked(want.begins_anew());
    let file = store.session(&want.profile.session);
    let mut attempt = Attempt::new(want)?;
    if let Some(session) = file.session()? {
        attempt.started = Started::of(&session, &attempt.needs.key);
    }
    work(&attempt, &file).with_context(|| format!("could not sign in to {}", want.profile.title()))
}

impl Attempt<'_> {
    /// [`start`], with the session's file.
    fn first_step(&self, file: &SessionFile<'_>) -> Result<Step> {
        if self.want.effort != Effort::SignIn
            && let Some(credential) = self.without_a_person(file)?
        {
            return Ok(Step::Done(credential));
        }
        if self.needs.by_browser {
            let what = "a sign-in in steps goes by device code, and this profile signs in by browser";
            return Err(Failure::usage(what).run(self.want.profile.command("login")).into());
        }
        let began = boottime();
        loop {
            let lock = file.try_sign_in_lock()?;
            let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
            let pending = session.pending.clone().filter(|p| p.lives(Timestamp::now()) && self.leads_to_ours(p));
            if let Some(waiting) = pending.and_then(waiting) {
                return Ok(waiting);
            }
            if lock.is_none() && session.pending.as_ref().is_some_and(|pending| self.may_replace(pending)) {
                self.replace_by_code(file, &session, None)?;
                continue;
            }
            if lock.is_some() {
                let made = Client::new(self.want.profile, session.server.as_ref(), http::LIMIT);
                let (client, found) = self.noted(file, made)?;
                let (mut pending, turns) = self.begun(file, &client, FlowKind::Device)?;
                turns.note_next(&mut pending);
                write_down(file, found.as_ref(), &pending)?;
                continue;
            }
            if boottime().saturating_sub(began) > LOCK_LIMIT {
                let why = "another process is at a sign-in for something else";
                return Err(Failure::new(Exit::Failed, why).hint("finish that one first, or end its process").into());
            }
            sleep(LOOK);
        }
    }

    /// [`step`], with the session's file.
    fn step(&self, file: &SessionFile<'_>) -> Result<Step> {
        let lock = file.try_sign_in_lock()?;
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        let Some(mut pending) = session.pending.clone().filter(|pending| self.leads_to_ours(pending)) else {
            return self.last_outcome(file, &session);
        };
        let Some(wait) = waiting(pending.clone()) else { return self.last_outcome(file, &session) };
        // If another process holds the lock, that process polls.
        let Some(lock) = lock else { return Ok(wait) };
        let (client, _) = self.noted(file, Client::new(self.want.profile, session.server.as_ref(), http::LIMIT))?;
        let Some(room) = file.reserve(&lock, &session)? else { return Ok(wait) };
        let Some(mut turns) = Turns::resume(&pending) else { return Ok(wait) };
        let until_saved = Uninterrupted::begin();
        let end = match turns.turn(&client, &mut pending) {
            Turn::Ended(end) => end,
            Turn::Wait(_) => {
                turns.note_next(&mut pending);
                keep_pending(file, &pending)?;
                return Ok(waiting(pending).unwrap_or(wait));
            }
        };
        match self.finish(file, room, &client, end, &pending, until_saved) {
            Ok(()) => self.last_outcome(file, &file.session()?.unwrap_or(session)),
            Err(error) => match file.session()?.filter(|session| session.refusal.is_some()) {
                Some(session) => self.last_outcome(file, &session),
                None => Err(error),
            },
        }
    }

    /// The outcome of the last sign-in, whichever process ended it.
    fn last_outcome(&self, file: &SessionFile<'_>, session: &Session) -> Result<Step> {
        if let Some(refusal) = &session.refusal {
            let failure = self.refusal(refusal);
            return Ok(if refusal.expired { Step::Expired(failure) } else { Step::Refused(failure) });
        }
        if session.is_signed_in(Timestamp::now())
            && let Some(credential) = self.without_a_person(file)?
        {
            return Ok(Step::Done(credential));
        }
        let command = format!("{} --start", self.want.profile.command("login"));
        Err(Failure::new(Exit::SignInNeeded, "no sign-in was started").run(command).into())
    }

    /// Gets a token from the session without a sign-in; `None` if only a sign-in helps.
    fn without_a_person(&self, file: &SessionFile<'_>) -> Result<Option<Acquired>> {
        loop {
            match self.renew(file)? {
                Renewed::Answer(credential) => return Ok(Some(credential)),
                Renewed::SignIn(_) => return Ok(None),
                Renewed::LookAgain => {}
            }
        }
    }
}

/// The step to return for a pending sign-in; `None` if it is not by device code.
fn waiting(pending: Pending) -> Option<Step> {
    let device = pending.device()?.clone();
    let wait = Turns::resume(&pending)?.next().saturating_sub(boottime());
    Some(Step::Waiting(Box::new(Waiting { pending, device, wait })))
}
