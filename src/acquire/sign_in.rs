//! Steps 5 to 7 of the story: one sign-in, whoever waits for it, shown once per terminal and remembered when refused.

use super::{Attempt, Effort, LOCK_LIMIT, Requester, SignInNeeded, SignedIn};
use crate::address::Address;
use crate::clock::{Timestamp, boottime, minutes, now_ms};
use crate::config::PromptMode;
use crate::device::{End, Polling};
use crate::failure::{Exit, Failure, Hint};
use crate::log::debug;
use crate::oauth::answer::{Answer, OauthError, Tokens};
use crate::oauth::{Client, http, id_token};
use crate::prompt::{Screen, SignIn, parent};
use crate::providers::TokenKind;
use crate::session::{Account, LastError, Metadata, Pending, Refusal, Session, TokenKey};
use crate::store::{Lock, Room, Saved, SessionFile};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// How often a waiting process looks at the session's file.
pub(super) const LOOK: Duration = Duration::from_millis(100);

impl Attempt<'_> {
    /// Steps 5 to 7.
    pub(super) fn sign_in(&self, file: &SessionFile<'_>, needed: SignInNeeded) -> Result<SignedIn> {
        let before = file.session()?;
        if let Some(refusal) = before.as_ref().and_then(|s| s.refusal.as_ref())
            && self.want.effort == Effort::Least
            // Who may not ask anyway is told what to run.
            && self.want.no_prompt.is_none()
            && u64::try_from(self.started_ms.saturating_sub(refusal.at_ms)).is_ok_and(|ms| ms < self.want.profile.refusal_memory * 1000)
        {
            return Err(self.refusal(refusal).into());
        }
        let Some(screen) = self.screen() else {
            // What ends soon is better than nothing.
            let living = before.and_then(|session| self.still_living(&session)).map(SignedIn::Here);
            return living.ok_or_else(|| self.nobody_to_ask(&needed).into());
        };
        let refused_before = before.and_then(|session| session.refusal);
        let mut view = View { attempt: self, screen, because: needed.because, seen: None, shown: false, joined: false };
        let mut quiet = Duration::ZERO;
        loop {
            // Read after the attempt at the lock: what its last holder finished is in the file then.
            let lock = file.try_sign_in_lock()?;
            let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
            if let Some(credential) = self.done_meanwhile(&session)? {
                return Ok(SignedIn::Here(credential));
            }
            if session.refresh_token.is_some() && session.refresh_token != needed.known {
                return Ok(SignedIn::Elsewhere);
            }
            // One that was not there before is new, whatever its clock said.
            let is_new =
                |refusal: &&Refusal| self.was_since(refusal.at_ms) || refused_before.as_ref() != Some(*refusal);
            if let Some(refusal) = session.refusal.as_ref().filter(is_new) {
                return Err(self.refusal(refusal).into());
            }
            if let Some(lock) = lock {
                return self.poll(file, &lock, session, &mut view);
            }
            view.joined = true;
            if let Some(pending) = &session.pending {
                view.show(pending, true);
            }
            if self.patience_left().is_zero() {
                return Err(self.out_of_patience(session.pending.as_ref()));
            }
            // Without a code that lives the holder is about to have one, or done; or it is stopped, and nobody knows for
            // how long. Counted by looks, since all sleep while the machine does.
            let lives = session.pending.is_some_and(|pending| pending.expires_at > Timestamp::now());
            quiet = if lives { Duration::ZERO } else { quiet + LOOK };
            if quiet > LOCK_LIMIT {
                return Err(file.sign_in_lock_is_held(quiet).into());
            }
            sleep(LOOK);
        }
    }

    /// As the one process that holds the sign-in lock: starts a sign-in, or goes on with the one that is there.
    fn poll(&self, file: &SessionFile<'_>, lock: &Lock<'_>, session: Session, view: &mut View<'_>) -> Result<SignedIn> {
        let made = self.patiently(|| Client::new(self.want.profile, session.server.as_ref(), http::LIMIT));
        let (client, found) = or_trouble(file, made)?;
        // What the person approves is to be kept: no code is shown that could not be.
        let Some(room) = file.reserve(lock, &session)? else { return Ok(SignedIn::Elsewhere) };
        let mut resumed = session.pending.filter(|p| p.expires_at > Timestamp::now() && self.leads_to_ours(p));
        loop {
            let going_on = resumed.is_some();
            let (pending, mut polling) = match resumed.take() {
                Some(pending) => {
                    if pending.polled_at_ms.is_some() {
                        // It was a sign-in in steps; from here on this process polls, and does not write down when.
                        file.update(LOCK_LIMIT, |session| {
                            if let Some(pending) = &mut session.pending {
                                pending.polled_at_ms = None;
                            }
                        })?;
                    }
                    // When it was last polled is not known: wait one whole interval.
                    let now = boottime();
                    let left = Duration::from_secs(pending.expires_at.since(Timestamp::now()));
                    let polling = Polling::new(pending.interval, now + left, now);
                    (pending, polling)
                }
                None => self.start(file, &client, found.clone(), view.screen.terminal(), None)?,
            };
            view.joined = going_on;
            view.show(&pending, false);
            let (scopes, key) = (pending.scopes.clone(), pending.key.clone());
            let Some(end) = poll_until_end(file, lock, &client, pending, &mut polling, view)? else {
                return Ok(SignedIn::Elsewhere);
            };
            if going_on && matches!(end, End::Spent(_)) {
                // Whoever polled before us died with the answer. The person has to approve once more.
                view.because = Some("the last sign-in was interrupted".into());
                continue;
            }
            return self.finish(file, room, &client, end, &scopes, key);
        }
    }

    /// Whether a pending sign-in, started by whoever, brings the token that is wanted here.
    pub(super) fn leads_to_ours(&self, pending: &Pending) -> bool {
        let profile = self.want.profile;
        // Elsewhere a refresh brings the rest. Here a sign-in is for one resource, at one tenant's endpoint.
        !profile.preset.multi_resource
            || (pending.scopes == profile.scopes
                && pending.key.as_ref().is_some_and(|key| key.tenant == self.key.tenant))
    }

    /// Asks for a code and writes it down for the others. `polled_at_ms` as in [`Pending`].
    pub(super) fn start(
        &self,
        file: &SessionFile<'_>,
        client: &Client<'_>,
        found: Option<Metadata>,
        terminal: Option<&str>,
        polled_at_ms: Option<i64>,
    ) -> Result<(Pending, Polling)> {
        let sent = boottime();
        let sent_at = Timestamp::now();
        let wanted = {
            // Ask again for all that was granted before, or the next caller's scopes would be gone.
            let known = file.session()?.map(|session| session.asked).unwrap_or_default();
            let mut scopes = self.want.profile.scopes.clone();
            if !self.want.profile.preset.multi_resource {
                scopes.extend(known.into_iter().filter(|s| !self.want.profile.scopes.contains(s)));
            }
            client.askable(&scopes)
        };
        let answer = self.patiently(|| client.device_authorization(&wanted));
        let (code, code_verifier) = or_trouble(file, answer.map_err(Into::into))?;
        let pending = Pending {
            device_code: code.device_code,
            user_code: code.user_code,
            verification_uri: code.verification_uri.to_string(),
            verification_uri_complete: code.verification_uri_complete.map(|u| u.to_string()),
            message: code.message,
            code_verifier,
            scopes: wanted,
            key: Some(self.key.clone()),
            started_at: Some(sent_at),
            expires_at: sent_at.plus(code.expires_in),
            interval: code.interval,
            asked_by: self.requester(),
            polled_at_ms,
            terminal: terminal.map(str::to_owned),
        };
        file.update(LOCK_LIMIT, |session| {
            session.server = found.or(session.server.take());
            session.pending = Some(pending.clone());
            session.refusal = None;
            session.last_error = None;
        })?;
        let polling = Polling::new(code.interval, sent + Duration::from_secs(code.expires_in), boottime());
        Ok((pending, polling))
    }

    /// Writes down how a sign-in ended, and answers; `scopes` and `key` as in [`Pending`].
    pub(super) fn finish(
        &self,
        file: &SessionFile<'_>,
        mut room: Room<'_>,
        client: &Client<'_>,
        end: End,
        scopes: &[String],
        key: Option<TokenKey>,
    ) -> Result<SignedIn> {
        let sent = Timestamp::now();
        let preset = self.want.profile.preset;
        let advice = |error: &OauthError| preset.advice(&error.numbers, &error.description).map(Hint::from);
        let expired = matches!(end, End::Expired);
        let refused = |message: String, hint: Option<Hint>| {
            let refusal = Refusal { at_ms: now_ms(), message, hint, expired };
            file.update(LOCK_LIMIT, |session| {
                session.pending = None;
                session.refusal = Some(refusal.clone());
            })?;
            Err(self.refusal(&refusal).into())
        };
        match end {
            End::Approved(tokens) => {
                // Some providers are asked for the name, which no lock waits for.
                let account = account(client, &tokens);
                let mut locked = file.lock_for(&mut room, LOCK_LIMIT)?;
                let (mut session, _) = locked.load()?;
                session.pending = None;
                if let Err(message) = self.expected(&session, account.as_ref()) {
                    drop(locked);
                    // A grant that is not wanted is not left behind.
                    let unwanted = tokens
                        .refresh_token
                        .as_ref()
                        .map_or((&tokens.access_token, "access_token"), |t| (t, "refresh_token"));
                    let _ = client.revoke(unwanted.0, unwanted.1);
                    return refused(message, None);
                }
                session.account = account.or(session.account);
                session.asked = scopes.to_vec();
                session.granted.clear();
                if tokens.refresh_token.is_some() {
                    // The others can be had again, from the grant that is in force now.
                    session.tokens.clear();
                }
                session.refresh_token = None;
                session.refusal = None;
                session.last_error = None;
                let key = key.map_or_else(|| self.key.clone(), |key| TokenKey { kind: self.key.kind, ..key });
                let begun_for = Attempt { key, ..Attempt::new(self.want) };
                let kept = begun_for.keep(&mut session, &tokens, scopes, sent, client.skew());
                let saved = locked.save_in(room, &session)?;
                drop(locked);
                if !matches!(saved, Saved::Saved) || begun_for.key != self.key {
                    return Ok(SignedIn::Elsewhere);
                }
                kept?;
                if self.want.kind == TokenKind::Id && tokens.id_token.is_none() && session.refresh_token.is_some() {
                    // Some servers send ID tokens only on refresh.
                    if let Ok(credential) = self.refresh(file)? {
                        return Ok(SignedIn::Here(credential));
                    }
                }
                self.obtained(&session).map(SignedIn::Here)
            }
            End::Refused(error) => refused(format!("the sign-in was refused ({})", error.text()), advice(&error)),
            End::Expired => refused("the code has expired before it was entered".into(), None),
            End::Spent(error) => refused(format!("the code is no longer valid ({})", error.text()), advice(&error)),
            End::Failed(error) => {
                or_trouble(file, Err(client.refused(&error, "the provider ended the sign-in").into()))
            }
            End::Lost(why) => {
                let what = format!("the sign-in's answer from {} was lost: {why}", client.token_endpoint());
                or_trouble(
                    file,
                    Err(Failure::new(Exit::Unreachable, what).hint(format!("sign in again: {}", self.login())).into()),
                )
            }
        }
    }

    /// Whether this account may sign in here: the one the profile names, or the one that did before.
    fn expected(&self, session: &Session, account: Option<&Account>) -> Result<(), String> {
        let said = account.map_or("an account without a name", |a| &a.name);
        if let Some(wanted) = &self.want.profile.account {
            let is = account.is_some_and(|a| a.name.eq_ignore_ascii_case(wanted) || a.subject.as_ref() == Some(wanted));
            return if is { Ok(()) } else { Err(format!("{said} signed in, but this profile is for {wanted}")) };
        }
        match (&session.account, account) {
            (Some(before), Some(now))
                if before.name != now.name && (before.subject.is_none() || before.subject != now.subject) =>
            {
                Err(format!("{said} signed in, but this session belongs to {}", before.name))
            }
            _ => Ok(()),
        }
    }

    /// Who asks and what for; `None` when the person does.
    fn asked_by(&self) -> Option<String> {
        let who = match self.want.requester {
            Requester::Person => return None,
            Requester::Parent(otherwise) => parent().unwrap_or_else(|| otherwise.to_owned()),
            Requester::Program(name) => name.to_owned(),
        };
        Some(match &self.want.purpose {
            Some(purpose) => format!("{who} for {purpose}"),
            None => who,
        })
    }

    /// Who asks and what for, in the words for others.
    pub(super) fn requester(&self) -> String {
        self.asked_by().unwrap_or_else(|| "`keyfob login`".into())
    }

    /// How much longer this caller waits.
    pub(super) fn patience_left(&self) -> Duration {
        self.until.saturating_sub(boottime())
    }

    /// The caller's own limit is no end of the sign-in: the code stays good, and whoever comes next goes on with it.
    fn out_of_patience(&self, pending: Option<&Pending>) -> anyhow::Error {
        let seconds = self.want.timeout.unwrap_or_default().as_secs();
        let left = pending.map_or(0, |pending| pending.expires_at.since(Timestamp::now()));
        let left = minutes(Duration::from_secs(left));
        let what = format!("nobody has entered the code within {seconds} s; it is good for {left} more");
        Failure::new(Exit::SignInNeeded, what).hint(format!("to go on with it: {}", self.login())).into()
    }

    fn nobody_to_ask(&self, needed: &SignInNeeded) -> Failure {
        let because = needed.because.as_ref().map(|b| format!(": {b}")).unwrap_or_default();
        let nowhere = match (self.want.no_prompt, self.want.profile.prompt) {
            (Some(why), _) => why,
            (None, PromptMode::Never) => "prompting is switched off",
            (None, _) => "there is no terminal to show a sign-in on",
        };
        let login = if needed.for_this { self.want.profile.command_for_this("login") } else { self.login() };
        Failure::new(Exit::SignInNeeded, format!("a sign-in is needed{because}, and {nowhere}")).run(login)
    }

    pub(super) fn refusal(&self, refusal: &Refusal) -> Failure {
        let again = format!("to try again: {}", self.login());
        let hint = refusal.hint.as_ref().map_or_else(|| again.clone(), |hint| format!("{}; {again}", hint.text()));
        Failure::new(Exit::Refused, refusal.message.clone()).hint(hint)
    }

    /// The command that signs in to this profile.
    fn login(&self) -> String {
        self.want.profile.command("login")
    }
}

/// Polls, counting down on the screen, until the sign-in has ended; `None` if another process has taken that over.
fn poll_until_end(
    file: &SessionFile<'_>,
    lock: &Lock<'_>,
    client: &Client<'_>,
    mut pending: Pending,
    polling: &mut Polling,
    view: &mut View<'_>,
) -> Result<Option<End>> {
    loop {
        loop {
            let now = boottime();
            if now >= polling.next() {
                break;
            }
            view.screen.left(polling.deadline().saturating_sub(now));
            let patience = view.attempt.patience_left();
            if patience.is_zero() {
                return Err(view.attempt.out_of_patience(Some(&pending)));
            }
            sleep(polling.next().saturating_sub(now).min(patience).min(Duration::from_secs(1)));
        }
        if !lock.is_ours() {
            return Ok(None);
        }
        if polling.ended(boottime()) {
            return Ok(Some(End::Expired));
        }
        let answer = client.poll(&pending);
        if let Err(why) | Ok(Answer::Transient(why, _)) = &answer {
            debug(|| format!("polling goes on: {why}"));
        }
        if let end @ Some(_) = polling.receive(answer, boottime()) {
            return Ok(end);
        }
        if polling.interval() != pending.interval {
            // Whoever goes on after us must not be faster than the server allows.
            pending.interval = polling.interval();
            file.update(LOCK_LIMIT, |session| {
                if let Some(known) = session.pending.as_mut().filter(|p| p.device_code == pending.device_code) {
                    known.interval = pending.interval;
                }
            })?;
        }
    }
}

/// Passes a success on; writes a failure down for those who wait, and ends the pending sign-in.
pub(super) fn or_trouble<T>(file: &SessionFile<'_>, result: Result<T>) -> Result<T> {
    result.inspect_err(|error| {
        let trouble = LastError::of(error, now_ms());
        if trouble.exit == Exit::Usage {
            // This process's own settings: whoever has others may still finish the sign-in.
            return;
        }
        let noted = file.update(LOCK_LIMIT, |session| {
            session.pending = None;
            session.last_error = Some(trouble);
        });
        if let Err(unsaved) = noted {
            debug(|| format!("{unsaved:#}"));
        }
    })
}

/// What a person sees of a sign-in, once per terminal.
struct View<'a> {
    attempt: &'a Attempt<'a>,
    screen: Screen,
    because: Option<String>,
    /// The code that has been dealt with.
    seen: Option<String>,
    /// It is on this process's screen, not only on another's.
    shown: bool,
    /// Another process started it.
    joined: bool,
}

impl View<'_> {
    /// Shows a sign-in, once; `waiting` for another process to finish it.
    fn show(&mut self, pending: &Pending, waiting: bool) {
        let left = Duration::from_secs(pending.expires_at.since(Timestamp::now()));
        if self.seen.as_ref() == Some(&pending.user_code) {
            if self.shown {
                self.screen.left(left);
            }
            return;
        }
        self.seen = Some(pending.user_code.clone());
        // Whoever started it shows it on this very terminal already; unless it died, and then we are not waiting.
        self.shown = !(waiting && pending.terminal.is_some() && pending.terminal.as_deref() == self.screen.terminal());
        if !self.shown {
            return;
        }
        let profile = self.attempt.want.profile;
        let asked_by = if self.joined { Some(pending.asked_by.clone()) } else { self.attempt.asked_by() };
        let host = |address: &str| Address::parse(address).map(|a| a.host()).unwrap_or_default();
        let authority = host(&profile.session.authority);
        let known = |host: &String| *host == authority || profile.preset.verification_hosts.contains(&host.as_str());
        let addresses = [Some(&pending.verification_uri), pending.verification_uri_complete.as_ref()];
        let foreign = addresses.into_iter().flatten().map(|address| host(address)).find(|host| !known(host));
        self.screen.show(&SignIn {
            profile: profile.title(),
            authority: &profile.session.authority,
            account: profile.account.as_deref(),
            asked_by: asked_by.as_deref(),
            joined: self.joined,
            open_for: pending.started_at.map(|at| Duration::from_secs(Timestamp::now().since(at))),
            because: self.because.as_deref(),
            message: pending.message.as_deref(),
            verification_uri: &pending.verification_uri,
            verification_uri_complete: pending.verification_uri_complete.as_deref(),
            foreign_host: foreign.as_deref(),
            user_code: &pending.user_code,
            left,
            qr: self.attempt.want.qr,
        });
    }
}

/// Who signed in, if the provider says.
fn account(client: &Client<'_>, tokens: &Tokens) -> Option<Account> {
    let claims = tokens.id_token.as_ref().and_then(id_token::claims);
    match claims {
        Some(claims) => {
            let subject = claims.get("sub").and_then(serde_json::Value::as_str).map(str::to_owned);
            let tenant = claims.get("tid").and_then(serde_json::Value::as_str).map(crate::text::clean);
            id_token::account(&claims).map(|name| Account { name, subject, tenant })
        }
        None => client.account_name(&tokens.access_token).map(|name| Account { name, subject: None, tenant: None }),
    }
}
