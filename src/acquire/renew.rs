//! Steps 2 to 4: take the session's lock, and do under it what can be done without a person.

use super::worker::{Worker, ends_with_us};
use super::{Acquired, Attempt, EARLY_LIMIT, HOLD, LOCK_LIMIT, Needed};
use crate::clock::{Timestamp, boottime, now_ms};
use crate::failure::{Exit, Failure};
use crate::grants::refresh::refresh;
use crate::grants::{Because, Renewal, no_id_token};
use crate::log::debug;
use crate::oauth::{Client, http};
use crate::policy::Decision;
use crate::process::Uninterrupted;
use crate::prompt::{SAY_AFTER, Screen};
use crate::providers::TokenKind;
use crate::session::{Account, DeviceRefused, Failed, Grant, Refusal, Retry, Session, TokenKey, Unconfirmed};
use crate::store::{Locked, Saved, SessionFile};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// A request gets at least this much time.
const SHORTEST: Duration = Duration::from_secs(1);

/// The outcome of an attempt to renew.
pub(super) enum Renewed {
    /// A token to hand out.
    Answer(Acquired),
    /// Only a sign-in helps.
    SignIn(Needed),
    /// The session has changed; read it again, because more can be done now.
    LookAgain,
}

/// The session's lock, or a token that appeared in the file while this process waited for the lock.
enum Locking<'f> {
    Locked(Locked<'f>),
    Answer(Acquired),
}

impl Attempt<'_> {
    /// Answers from the session as it stands, or does under its lock what can be done without a person. If that fails,
    /// returns the old token if it is still valid.
    pub(super) fn renew(&self, file: &SessionFile<'_>) -> Result<Renewed> {
        self.renew_under_lock(file).or_else(|error| {
            debug(|| format!("{error:#}"));
            let living = file.session().ok().flatten().and_then(|session| self.living(&session));
            // Only the token from before this call, because a new token may not be safely on disk.
            let living = living.filter(|credential| self.started.had(credential.serial));
            living.map(Renewed::Answer).ok_or(error)
        })
    }

    /// Takes the session's lock and renews: in a worker, or in this process if a worker cannot be started or has ended
    /// without a result.
    fn renew_under_lock(&self, file: &SessionFile<'_>) -> Result<Renewed> {
        let mut worker = None;
        loop {
            let mut locked = match self.lock(file, worker.as_mut())? {
                Locking::Locked(locked) => locked,
                Locking::Answer(credential) => return Ok(Renewed::Answer(credential)),
            };
            let (mut session, notice) = locked.load()?;
            if notice.is_some() {
                session.ended_because = notice;
                locked.save(&session)?;
            }
            match self.decide(&session) {
                Decision::Renew { .. } | Decision::Due(_) if worker.is_none() => {
                    worker = Worker::start(self, &locked);
                    match &mut worker {
                        None => return self.ask_for_tokens(locked, session),
                        Some(worker) if ends_with_us() => {
                            worker.wait(self.time_left().min(HOLD));
                        }
                        Some(_) => {}
                    }
                }
                // The worker has ended without a result.
                Decision::Renew { .. } | Decision::Due(_) => return self.ask_for_tokens(locked, session),
                Decision::Confirm { .. } => return self.confirm(locked, session),
                _ => return self.outcome(&session),
            }
        }
    }

    /// The outcome that `policy` reads from the session.
    pub(super) fn outcome(&self, session: &Session) -> Result<Renewed> {
        let decision = self.decide(session);
        if let Decision::SignIn { fallback, because, for_this } = decision {
            let fallback = fallback.map(|token| Acquired::of(session, token));
            return Ok(Renewed::SignIn(Needed { because: because.map(str::to_owned), for_this, fallback }));
        }
        Ok(answer(session, &decision)?.map_or(Renewed::LookAgain, Renewed::Answer))
    }

    /// A token that can be handed out now, even if its remaining life is less than the caller wants.
    pub(super) fn living(&self, session: &Session) -> Option<Acquired> {
        let token = match self.decide(session) {
            Decision::Fresh(token) | Decision::Due(token) => Some(token),
            Decision::Renew { fallback }
            | Decision::BackOff { fallback, .. }
            | Decision::Confirm { fallback }
            | Decision::SignIn { fallback, .. } => fallback,
        };
        token.map(|token| Acquired::of(session, token))
    }

    /// Takes the session's lock, unless the answer appears in the file first. `worker` is the process that may hold the
    /// lock.
    fn lock<'f>(&self, file: &'f SessionFile<'_>, mut worker: Option<&mut Worker>) -> Result<Locking<'f>> {
        let began = boottime();
        let limit = LOCK_LIMIT.min(self.time_left());
        let mut pause = Duration::from_millis(5);
        let mut screen = None;
        loop {
            if let Some(locked) = file.try_lock()? {
                return Ok(Locking::Locked(locked));
            }
            let session = file.session_for(&self.needs.key)?;
            if let Some(session) = &session
                && let Some(credential) = answer(session, &self.decide(session))?
            {
                return Ok(Locking::Answer(credential));
            }
            let waited = boottime().saturating_sub(began);
            match session.and_then(|session| self.living(&session)) {
                Some(old) if waited > EARLY_LIMIT => return Ok(Locking::Answer(old)),
                // The caller's timeout has passed, but the lock's holder, whichever process it is, is not late yet.
                None if waited > limit && limit < LOCK_LIMIT => return Err(self.too_slow(file, waited).into()),
                None if waited > limit => return Err(file.lock_is_held(waited).into()),
                _ => {}
            }
            if waited > SAY_AFTER {
                let screen: &mut Option<Screen> = screen.get_or_insert_with(|| self.screen());
                if let Some(screen) = screen {
                    let another = || "waiting for another process to renew the token".to_owned();
                    screen.status(&if worker.is_some() { self.asking() } else { another() });
                }
            }
            match worker.as_mut().map(|worker| worker.wait(pause)) {
                None => sleep(pause),
                // The worker has ended, so from now on another process holds the lock.
                Some(true) => worker = None,
                Some(false) => {}
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The failure of a caller whose timeout has passed. The renewal goes on without it.
    fn too_slow(&self, file: &SessionFile<'_>, waited: Duration) -> Failure {
        let failure = http::unreachable(&self.want.profile.session.authority, "it did not answer in time");
        Failure { hint: file.lock_is_held(waited).hint, ..failure }
    }

    /// Asks the provider for new tokens and writes down the outcome. Signals to this process wait until that is saved.
    pub(super) fn ask_for_tokens(&self, mut locked: Locked<'_>, mut session: Session) -> Result<Renewed> {
        if let Some(machine) = &self.want.profile.machine {
            return self.ask_as_machine(machine, locked, session);
        }
        let _until_saved = Uninterrupted::begin();
        let client = match self.client(&mut session, http::LIMIT) {
            Ok(client) => client,
            Err(error) => return self.not_renewed(locked, session, &error),
        };
        // Make sure of space on disk first: a new refresh token that cannot be saved is lost, and the old one is spent.
        let Some(room) = locked.reserve(&session)? else { return Ok(Renewed::LookAgain) };
        let ask = self.ask();
        while let Some(renewal) = self.while_asking(|| refresh(&client, &session, &ask)) {
            match renewal {
                Renewal::Granted(grant, problem) => {
                    self.granted(&client, &mut session, grant, problem);
                    // Save before answering any caller, even if the grant holds no token that can be handed out.
                    return match locked.save_in(Some(room), &session)? {
                        Saved::Saved => self.outcome(&session),
                        Saved::Superseded(_) => Ok(Renewed::LookAgain),
                        Saved::SignedOut => {
                            let _ = session.refresh_token.map(|token| client.revoke(&token, "refresh_token"));
                            Ok(Renewed::LookAgain)
                        }
                    };
                }
                Renewal::Ended(because) => {
                    let (on_disk, _) = locked.load()?;
                    if on_disk.refresh_token.is_some() && on_disk.refresh_token != session.refresh_token {
                        // A process that does not see our lock renewed first, so its refresh token is the valid one (R38).
                        session = on_disk;
                        continue;
                    }
                    let because = noted(because, &mut session.device_refused);
                    session.ended(because);
                }
                Renewal::Unmet(because) => {
                    let because = noted(because, &mut session.device_refused);
                    session.unmet(self.needs.key.clone(), because);
                }
                Renewal::Refused(failure) => session.failed(self.failed(failure, None), now_ms()),
                Renewal::Trouble(failure, retry_after) => session.failed(self.failed(failure, retry_after), now_ms()),
            }
            return self.written_down(locked, &session);
        }
        Ok(Renewed::LookAgain)
    }

    /// Makes the provider's client. Each request takes at most `limit`, and all of them together end while other
    /// processes still wait for the lock. Puts newly discovered metadata of the server into `session`.
    pub(super) fn client(&self, session: &mut Session, limit: Duration) -> Result<Client<'_>> {
        let until = boottime() + HOLD;
        let made = self.while_asking(|| Client::new(self.want.profile, session.server.as_ref(), limit));
        let (mut client, found) = made?;
        client.limit(limit);
        client.until(until);
        session.server = found.or(session.server.take());
        Ok(client)
    }

    /// Takes a renewed grant into the session, unless it is for another account; then revokes it and records a failure.
    fn granted(&self, client: &Client<'_>, session: &mut Session, grant: Grant, problem: Option<Failure>) {
        let other = grant.account.as_ref().is_some_and(|account| session.is_of_another(account));
        if other {
            let what = "the provider renewed the token for another account than the one that signed in";
            let failure = Failure::new(Exit::Failed, what).run(self.want.profile.command("login --force"));
            revoke(client, &grant);
            return session.failed(self.failed(failure, None), now_ms());
        }
        let key = &self.needs.key;
        let brought = grant.tokens.iter().any(|token| token.key == *key && token.lives(grant.at, 0));
        session.renewed(grant);
        let of_a_subject = session.account.as_ref().is_some_and(|account| account.subject.is_some());
        if problem.is_none() && !brought && key.kind == TokenKind::Id && of_a_subject {
            // The provider sent an ID token at sign-in, so only a refresh brings none (R33).
            return session.unmet(key.clone(), "the provider renews no ID tokens".into());
        }
        let problem = problem.or_else(|| {
            let ended = || Failure::new(Exit::Failed, "the provider's new token has already ended");
            (!brought).then(|| if key.kind == TokenKind::Id { no_id_token(self.want.profile) } else { ended() })
        });
        if let Some(problem) = problem {
            session.failed(self.failed(problem, None), now_ms());
        }
    }

    /// Checks the account of a sign-in that could not be checked when it was made.
    fn confirm(&self, mut locked: Locked<'_>, mut session: Session) -> Result<Renewed> {
        let limit = if self.living(&session).is_some() { EARLY_LIMIT } else { http::LIMIT };
        let client = match self.client(&mut session, limit.min(self.time_left().max(SHORTEST))) {
            Ok(client) => client,
            Err(error) => return self.not_renewed(locked, session, &error),
        };
        let unwanted = self.settle(&client, &mut session, true);
        locked.save(&session)?;
        if let Some((grant, _)) = unwanted {
            revoke(&client, &grant);
        }
        self.outcome(&session)
    }

    /// Makes the session's unconfirmed grant effective if it is for the right account; otherwise removes it and returns
    /// it with the refusal. Asks the provider for the account's name if no ID token gives it. `again`: this is not the
    /// first attempt.
    pub(super) fn settle(&self, client: &Client<'_>, session: &mut Session, again: bool) -> Option<(Grant, Refusal)> {
        let Unconfirmed { flow, mut grant } = session.unconfirmed.take()?;
        let wanted = self.want.profile.account.as_deref();
        if grant.account.is_none()
            && let Some(access) = grant.tokens.iter().find(|token| token.key.kind == TokenKind::Access)
        {
            match self.while_asking(|| client.account_name(&access.token)) {
                Ok(name) => grant.account = name.map(|name| Account { name, ..Account::default() }),
                // The access token no longer works, so its account can never be found out.
                Err(failure) if again && failure.exit == Exit::Failed => {
                    let refusal = Refusal {
                        at_ms: now_ms(),
                        message: failure.message,
                        hint: None,
                        expired: false,
                        exit: Exit::Refused,
                    };
                    session.refusal = Some(refusal.clone());
                    return Some((grant, refusal));
                }
                Err(failure) if wanted.is_some() || session.account.is_some() => {
                    session.failed(self.failed(failure, None), now_ms());
                    session.unconfirmed = Some(Unconfirmed { flow, grant });
                    return None;
                }
                // The profile accepts any account, so the name is needed only for display.
                Err(failure) => debug(|| failure.message),
            }
        }
        match session.confirms(wanted, grant.account.as_ref()) {
            Ok(()) => {
                session.signed_in(grant, flow);
                None
            }
            Err((message, hint)) => {
                let refusal = Refusal { at_ms: now_ms(), message, hint, expired: false, exit: Exit::Refused };
                session.refusal = Some(refusal.clone());
                Some((grant, refusal))
            }
        }
    }

    /// Records that the provider could not be asked, and why.
    pub(super) fn not_renewed(
        &self,
        locked: Locked<'_>,
        mut session: Session,
        error: &anyhow::Error,
    ) -> Result<Renewed> {
        let failure = Failure::of(error);
        if failure.exit == Exit::Usage {
            // The settings of this process are wrong, which does not concern other processes.
            return Err(failure.into());
        }
        session.failed(self.failed(failure, None), now_ms());
        self.written_down(locked, &session)
    }

    /// Saves a session that holds a failure, and returns what follows from it.
    pub(super) fn written_down(&self, mut locked: Locked<'_>, session: &Session) -> Result<Renewed> {
        let saved = locked.save(session);
        match self.outcome(session)? {
            // If the save failed, report that: otherwise the next call would ask for the same sign-in again.
            Renewed::SignIn(_) => saved.and_then(|()| self.outcome(session)),
            outcome => {
                // The saved failure only informs other processes; the answer does not depend on it.
                if let Err(unsaved) = saved {
                    debug(|| format!("{unsaved:#}"));
                }
                Ok(outcome)
            }
        }
    }

    /// Prepares a failure for the session. A failure of this one request is filed under its token's key, because it
    /// does not concern callers that want another token.
    pub(super) fn failed(&self, failure: Failure, retry_after: Option<u64>) -> Failed {
        let key: Option<TokenKey> = (failure.exit == Exit::Failed).then(|| self.needs.key.clone());
        // If the system has no randomness, use the middle of the range.
        let chance = getrandom::u32().map_or(0.5, |drawn| f64::from(drawn) / f64::from(u32::MAX));
        Failed { failure, key, back_off: Some(Retry { retry_after, chance }) }
    }
}

/// The answer, if the decision needs no more work. Fails with the recorded error if the provider is to be left alone.
fn answer(session: &Session, decision: &Decision<'_>) -> Result<Option<Acquired>> {
    match decision {
        Decision::Fresh(token) | Decision::Due(token) | Decision::BackOff { fallback: Some(token), .. } => {
            Ok(Some(Acquired::of(session, token)))
        }
        Decision::BackOff { error, left_ms: 0, .. } => Err(error.failure().into()),
        Decision::BackOff { error, left_ms, .. } => Err(error.backing_off(*left_ms).into()),
        Decision::Renew { .. } | Decision::Confirm { .. } | Decision::SignIn { .. } => Ok(None),
    }
}

/// Returns the reason's text. If a policy refuses the device flow, also records that in `device_refused`.
fn noted(because: Because, device_refused: &mut Option<DeviceRefused>) -> String {
    if because.forbids_device {
        *device_refused = Some(DeviceRefused { at: Timestamp::now(), because: because.text.clone() });
    }
    because.text
}

/// Revokes a grant that is not going to be used.
pub(super) fn revoke(client: &Client<'_>, grant: &Grant) {
    if let Some((token, hint)) = grant.revocable()
        && let Err(why) = client.revoke(token, hint)
    {
        debug(|| format!("an unwanted grant could not be revoked: {why}"));
    }
}
