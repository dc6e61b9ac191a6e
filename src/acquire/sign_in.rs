//! Steps 5 to 7: one sign-in, shared by all processes that wait for it.

use super::flow::{REFUSED_BY_POLICY, forbids, remember_device_refused, tell};
use super::renew::revoke;
use super::view::View;
use super::{Acquired, Attempt, Effort, LOCK_LIMIT, Needed, Requester};
use crate::clock::{Timestamp, boottime, now_ms, roughly};
use crate::config::{Flow, PromptMode};
use crate::failure::{Exit, Failure, Hint};
use crate::flows::{End, Turn, Turns};
use crate::grants::{Ask, no_id_token, read};
use crate::log::debug;
use crate::oauth::answer::{OauthError, TokenAnswer};
use crate::oauth::{Client, http};
use crate::policy::Decision;
use crate::process::{self, Uninterrupted};
use crate::providers::TokenKind;
use crate::session::{Failed, FlowKind, Grant, Pending, Refusal, Session, Unconfirmed};
use crate::store::{Lock, Room, Saved, SessionFile};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// How often a waiting process reads the session's file.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How a sign-in was completed.
pub(super) enum SignedIn {
    /// Nobody could be asked, but this token is still valid.
    With(Acquired),
    /// This process finished the sign-in.
    Here,
    /// Another process finished it, or it was for another token: read the session to see what can be done now.
    Elsewhere,
}

impl Attempt<'_> {
    /// Steps 5 to 7.
    pub(super) fn sign_in(&self, file: &SessionFile<'_>, needed: Needed) -> Result<SignedIn> {
        let refused_before = file.session()?.and_then(|session| session.refusal);
        if let Some(refusal) = refused_before.as_ref().filter(|refusal| self.remembers(refusal)) {
            return Err(self.refusal(refusal).into());
        }
        let Some(screen) = self.screen() else {
            return match needed.fallback {
                // A token that expires soon is better than none.
                Some(living) => Ok(SignedIn::With(living)),
                None => Err(self.nobody_to_ask(&needed).into()),
            };
        };
        let mut view = View::new(self, screen, needed.because);
        let mut quiet = Duration::ZERO;
        let mut by_code = self.want.requester == Requester::Person && self.want.profile.flow == Flow::Device;
        loop {
            // Read the file after trying the lock, so that it holds whatever the last holder wrote.
            let lock = file.try_sign_in_lock()?;
            let session = file.session()?;
            if session.is_none() && view.joined {
                return Err(self.signed_out().into());
            }
            let session = session.unwrap_or_else(|| Session::new(&self.want.profile.session));
            if !matches!(self.decide(&session), Decision::SignIn { .. }) {
                return Ok(SignedIn::Elsewhere);
            }
            if let Some(refusal) = session.refusal.as_ref().filter(|now| refused_before.as_ref() != Some(*now)) {
                return Err(self.refusal(refusal).into());
            }
            if let Some(lock) = lock {
                return self.drive(file, &lock, session, &mut view);
            }
            if let Some(pending) = &session.pending {
                if std::mem::take(&mut by_code) && self.may_replace(pending) {
                    view.show(&self.replace_by_code(file, &session, view.screen.terminal())?, false);
                    continue;
                }
                self.show_joined(pending, &mut view);
            }
            if self.time_left().is_zero() {
                return Err(self.out_of_time(session.pending.as_ref()));
            }
            // Without a live pending sign-in, the holder is about to start one or has just finished; or it is stopped,
            // for an unknown time. Counting reads rather than time leaves out the time that the machine was asleep.
            let lives = session.pending.is_some_and(|pending| pending.lives(Timestamp::now()));
            quiet = if lives { Duration::ZERO } else { quiet + LOOK };
            if quiet > LOCK_LIMIT {
                return Err(file.sign_in_lock_is_held(quiet).into());
            }
            sleep(LOOK);
        }
    }

    /// Shows the sign-in of another process, which this one waits for, and what keeps that process from ending it.
    fn show_joined(&self, pending: &Pending, view: &mut View<'_>) {
        view.joined = true;
        if self.needs.by_browser && pending.kind() == FlowKind::Device {
            view.say_by_code(pending);
        } else {
            view.show(pending, true);
        }
        if let Some(driver) = pending.driver.filter(|pid| process::is_stopped(*pid)) {
            view.say_stopped(driver);
        }
    }

    /// Whether a refusal is so recent that a new caller is refused at once instead of prompting. A caller that may not
    /// prompt gets the command to run instead.
    fn remembers(&self, refusal: &Refusal) -> bool {
        let passed = u64::try_from(now_ms().saturating_sub(refusal.at_ms)).unwrap_or(u64::MAX);
        self.want.effort == Effort::Least
            && self.want.no_prompt.is_none()
            && passed < self.want.profile.refusal_memory * 1000
            && self.forbidden().is_none()
    }

    /// Run by the process that holds the sign-in lock: continues the pending sign-in, or begins a new one.
    fn drive(
        &self,
        file: &SessionFile<'_>,
        lock: &Lock<'_>,
        session: Session,
        view: &mut View<'_>,
    ) -> Result<SignedIn> {
        let made = self.while_asking(|| Client::new(self.want.profile, session.server.as_ref(), http::LIMIT));
        let (client, found) = self.noted(file, made)?;
        // Reserve disk space before showing a code: otherwise a person could approve a sign-in that cannot be saved.
        let Some(room) = file.reserve(lock, &session)? else { return Ok(SignedIn::Elsewhere) };
        let mut left = session.pending.filter(|p| p.lives(Timestamp::now()) && self.leads_to_ours(p));
        loop {
            let (going_on, mut pending, mut turns) = self.started(file, &client, found.as_ref(), left.take(), view)?;
            view.joined = going_on;
            view.show(&pending, false);
            let Some((end, until_saved)) = self.wait_for_end(file, lock, &client, &mut pending, &mut turns, view)?
            else {
                return file.session()?.map(|_| SignedIn::Elsewhere).ok_or_else(|| self.signed_out().into());
            };
            if going_on && matches!(end, End::Spent(_)) {
                // The process that polled before died before it saved the answer, so the person has to approve again.
                view.because = Some("the last sign-in was interrupted".into());
                continue;
            }
            if let Some(error) = end.error().filter(|error| forbids(&client, error, &pending))
                && self.may_go_on_by_browser(&client)?
            {
                remember_device_refused(file, error)?;
                view.because = Some(REFUSED_BY_POLICY.into());
                continue;
            }
            let finished = self.finish(file, room, &client, end, &pending, until_saved);
            tell(turns, file, &finished);
            finished?;
            return Ok(if self.is_ours(&pending) { SignedIn::Here } else { SignedIn::Elsewhere });
        }
    }

    /// Polls and counts down on the screen until the sign-in has ended. The returned guard keeps signals from
    /// interrupting this process until the end is saved. Returns `None` if another process has taken over the sign-in
    /// or replaced it.
    fn wait_for_end(
        &self,
        file: &SessionFile<'_>,
        lock: &Lock<'_>,
        client: &Client<'_>,
        pending: &mut Pending,
        turns: &mut Turns,
        view: &mut View<'_>,
    ) -> Result<Option<(End, Uninterrupted)>> {
        loop {
            let is_replaced = |session: Session| session.pending.is_none_or(|now| !now.is(pending));
            if !lock.is_ours() || file.session().ok().flatten().is_some_and(is_replaced) {
                return Ok(None);
            }
            let interval = pending.device().map(|device| device.interval);
            let until_saved = Uninterrupted::begin();
            let next = match turns.turn(client, pending) {
                Turn::Ended(end) => return Ok(Some((end, until_saved))),
                Turn::Wait(next) => next,
            };
            if pending.device().map(|device| device.interval) != interval {
                // Save the longer interval, so that a process that continues the sign-in does not poll faster than the
                // server allows.
                keep_pending(file, pending)?;
            }
            drop(until_saved);
            let now = boottime();
            view.screen.left(turns.deadline().saturating_sub(now));
            let left = self.time_left();
            if left.is_zero() {
                if pending.device().is_none() {
                    // A browser sign-in ends with its process.
                    file.update(LOCK_LIMIT, |session| session.pending = None)?;
                }
                return Err(self.out_of_time(Some(pending)));
            }
            turns.wait(next.saturating_sub(now).min(left).min(Duration::from_secs(1)));
        }
    }

    /// Whether a pending sign-in, whichever process began it, will provide the token that is wanted here.
    pub(super) fn leads_to_ours(&self, pending: &Pending) -> bool {
        self.brings_ours(pending) && !(self.needs.by_browser && pending.kind() == FlowKind::Device)
    }

    /// Whether a sign-in by device code may take the place of a pending one that another process drives: only if that
    /// one waits for a browser, which may be out of the person's reach, and the new one provides its token too.
    pub(super) fn may_replace(&self, pending: &Pending) -> bool {
        pending.kind() == FlowKind::Browser && pending.lives(Timestamp::now()) && self.brings_ours(pending)
    }

    /// Whether a pending sign-in and one for the token that is wanted here provide each other's tokens. With most
    /// providers a refresh does that. With a multi-resource provider a sign-in is for one resource at one tenant's
    /// endpoint.
    fn brings_ours(&self, pending: &Pending) -> bool {
        !self.want.profile.preset.multi_resource || self.is_ours(pending)
    }

    /// Whether the pending sign-in's token has the same key as the token that is wanted here.
    fn is_ours(&self, pending: &Pending) -> bool {
        pending.key.of_kind(self.needs.key.kind) == self.needs.key
    }

    /// Records how a sign-in ended. Fails unless it was approved and saved.
    pub(super) fn finish(
        &self,
        file: &SessionFile<'_>,
        room: Room<'_>,
        client: &Client<'_>,
        end: End,
        pending: &Pending,
        until_saved: Uninterrupted,
    ) -> Result<()> {
        let preset = self.want.profile.preset;
        let advice = |error: &OauthError| preset.advice(&error.numbers, &error.description).map(Hint::from);
        let expired = matches!(end, End::Expired);
        let by_browser = pending.kind() == FlowKind::Browser;
        if let Some(error) = end.error().filter(|error| forbids(client, error, pending)) {
            remember_device_refused(file, error)?;
        }
        let (message, hint) = match end {
            End::Approved(answer) => return self.keep(file, room, client, &answer, pending, until_saved),
            End::Failed(error) => {
                let failure = client.refused(&error, "the provider ended the sign-in");
                let failure = if by_browser { self.about_the_browser(&error, failure) } else { failure };
                return self.ended(file, failure, by_browser);
            }
            End::Foreign(why) => {
                let what = format!("the sign-in's answer is not from this provider: {why}");
                return self.ended(file, Failure::new(Exit::Failed, what).hint("check `issuer`"), by_browser);
            }
            End::Lost(why) => {
                let what = format!("the sign-in's answer from {} was lost: {why}", client.token_endpoint());
                let failure = Failure::new(Exit::Unreachable, what);
                let hint = format!("sign in again: {}", self.login());
                return self.ended(file, if by_browser { failure } else { failure.hint(hint) }, by_browser);
            }
            End::Refused(error) => (format!("the sign-in was refused ({})", error.text()), advice(&error)),
            End::Expired => {
                let what = if by_browser {
                    "nobody has signed in in the browser in time"
                } else {
                    "the code has expired before it was entered"
                };
                (what.into(), self.other_flow(pending))
            }
            End::Spent(error) => (format!("the code is no longer valid ({})", error.text()), advice(&error)),
        };
        self.refuse(file, &Refusal { at_ms: now_ms(), message, hint, expired, exit: Exit::Refused })
    }

    /// Records the failure that ended a sign-in. A failed browser sign-in is remembered like a refusal, because every
    /// caller that retried at once would open another window.
    fn ended(&self, file: &SessionFile<'_>, failure: Failure, by_browser: bool) -> Result<()> {
        if !by_browser {
            return self.noted(file, Err(failure.into()));
        }
        let Failure { exit, message, hint } = failure;
        self.refuse(file, &Refusal { at_ms: now_ms(), message, hint, expired: false, exit })
    }

    fn refuse(&self, file: &SessionFile<'_>, refusal: &Refusal) -> Result<()> {
        file.update(LOCK_LIMIT, |session| {
            session.pending = None;
            session.refusal = Some(refusal.clone());
        })?;
        Err(self.refusal(refusal).into())
    }

    /// Saves the grant of an approved sign-in, then checks its account.
    fn keep(
        &self,
        file: &SessionFile<'_>,
        mut room: Room<'_>,
        client: &Client<'_>,
        answer: &TokenAnswer,
        pending: &Pending,
        until_saved: Uninterrupted,
    ) -> Result<()> {
        let key = pending.key.of_kind(self.needs.key.kind);
        let ask = Ask { key: key.clone(), ..self.ask() };
        let (grant, problem) = read(answer, &ask, &pending.scopes, client.sent(), client.skew());
        let mut locked = file.lock_for(&mut room, LOCK_LIMIT)?;
        let mut room = Some(room);
        let (mut session, _) = locked.load()?;
        if session.pending.as_ref().is_none_or(|now| !now.is(pending)) {
            drop(locked);
            revoke(client, &grant);
            return Err(self.signed_out().into());
        }
        session.pending = None;
        let to_be_asked = grant.account.is_none();
        let replaced = session.unconfirmed.replace(Unconfirmed { flow: pending.kind(), grant: grant.clone() });
        if to_be_asked {
            if !self.is_saved(&locked.save_in(room.take(), &session)?, client, &grant)? {
                return Ok(());
            }
            // The grant is on disk, and the next call can do the rest if this process is interrupted.
            drop(until_saved);
        }
        let unwanted = self.settle(client, &mut session, false);
        if unwanted.is_none() && session.unconfirmed.is_none() {
            let missing = key.kind == TokenKind::Id && session.token(&key).is_none() && session.refresh_token.is_none();
            // A refresh may bring the token that this answer lacks.
            let problem = problem.filter(|_| session.refresh_token.is_none() || answer.tokens.is_ok());
            if let Some(problem) = problem.or_else(|| missing.then(|| no_id_token(self.want.profile))) {
                session.failed(self.failed(problem, None), now_ms());
            }
        }
        if !self.is_saved(&locked.save_in(room, &session)?, client, &grant)? {
            return Ok(());
        }
        drop(locked);
        if let Some(Unconfirmed { grant, .. }) = replaced {
            revoke(client, &grant);
        }
        if let Some((grant, refusal)) = unwanted {
            revoke(client, &grant);
            return Err(self.refusal(&refusal).into());
        }
        Ok(())
    }

    /// Whether the grant of a sign-in is on disk; `false` if a newer grant has replaced it. If the session was signed
    /// out meanwhile, revokes the grant and fails.
    fn is_saved(&self, saved: &Saved, client: &Client<'_>, grant: &Grant) -> Result<bool> {
        match saved {
            Saved::Saved => Ok(true),
            Saved::Superseded(_) => Ok(false),
            Saved::SignedOut => {
                revoke(client, grant);
                Err(self.signed_out().into())
            }
        }
    }

    /// Passes a success on. Records a failure for the processes that wait, and ends the pending sign-in.
    pub(super) fn noted<T>(&self, file: &SessionFile<'_>, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            let failure = Failure::of(error);
            if failure.exit == Exit::Usage {
                // The settings of this process are wrong; a process with other settings may still finish the sign-in.
                return;
            }
            let noted = file.update(LOCK_LIMIT, |session| {
                session.pending = None;
                session.failed(Failed { back_off: None, ..self.failed(failure, None) }, now_ms());
            });
            if let Err(unsaved) = noted {
                debug(|| format!("{unsaved:#}"));
            }
        })
    }

    /// The failure for everyone who waits for a sign-in whose session has been deleted.
    fn signed_out(&self) -> Failure {
        let what = "the session was deleted during the sign-in, as by `keyfob logout`";
        Failure::new(Exit::Refused, what).hint(format!("to try again: {}", self.login()))
    }

    /// The failure of a caller whose timeout has passed. A device code stays valid, and the next call continues with
    /// it.
    fn out_of_time(&self, pending: Option<&Pending>) -> anyhow::Error {
        let seconds = self.want.timeout.unwrap_or_default().as_secs();
        if let Some(pending) = pending.filter(|pending| pending.device().is_none()) {
            let what = format!("nobody has signed in in the browser within {seconds} s");
            let other = self.other_flow(pending).map(|hint| format!("; {}", hint.text())).unwrap_or_default();
            return Failure::new(Exit::SignInNeeded, what)
                .hint(format!("to try again: {}{other}", self.login()))
                .into();
        }
        let left = pending.map_or(0, |pending| pending.expires_at.since(Timestamp::now()));
        let left = roughly(Duration::from_secs(left));
        let what = format!("nobody has entered the code within {seconds} s; it is good for {left} more");
        Failure::new(Exit::SignInNeeded, what).hint(format!("to go on with it: {}", self.login())).into()
    }

    fn nobody_to_ask(&self, needed: &Needed) -> Failure {
        let because = needed.because.as_ref().map(|b| format!(": {b}")).unwrap_or_default();
        let nowhere = match (self.want.no_prompt.or(self.forbidden.get().copied().flatten()), self.want.profile.prompt)
        {
            (Some(why), _) => why,
            (None, PromptMode::Never) => "prompting is switched off",
            (None, _) => "there is no terminal to show a sign-in on",
        };
        let failure = Failure::new(Exit::SignInNeeded, format!("a sign-in is needed{because}, and {nowhere}"));
        if self.want.requester == Requester::Person {
            let steps = format!("{} --start", self.login());
            return failure.hint(format!(
                "run it in a terminal (`ssh -t`), show the sign-in on stderr by `--prompt always`, or sign in by steps: {steps}"
            ));
        }
        let login = if needed.for_this { self.want.profile.command_for_this("login") } else { self.login() };
        failure.run(login)
    }

    pub(super) fn refusal(&self, refusal: &Refusal) -> Failure {
        let again = format!("to try again: {}", self.login());
        let hint = refusal.hint.as_ref().map_or_else(|| again.clone(), |hint| format!("{}; {again}", hint.text()));
        Failure::new(refusal.exit, refusal.message.clone()).hint(hint)
    }

    /// The command that signs in to this profile.
    pub(super) fn login(&self) -> String {
        self.want.profile.command("login")
    }
}

/// Updates the pending sign-in in the file, unless the file now holds a different one.
pub(super) fn keep_pending(file: &SessionFile<'_>, pending: &Pending) -> Result<()> {
    file.update(LOCK_LIMIT, |session| {
        if let Some(known) = session.pending.as_mut().filter(|known| known.is(pending)) {
            known.clone_from(pending);
        }
    })
}
