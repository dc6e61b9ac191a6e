//! Steps 2 to 4 of the story: the session's lock, and a silent refresh under it.

use super::{Attempt, Credential, EARLY_LIMIT, Effort, HOLD, LOCK_LIMIT, Refused, SignInNeeded, credential};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::clock::{Skew, Timestamp, boottime, now_ms};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::oauth::answer::{Answer, OauthError, Tokens};
use crate::oauth::{Client, http, id_token};
use crate::prompt::{PATIENCE, Screen};
use crate::providers::TokenKind;
use crate::session::{Account, Fetched, LastError, Serial, Session, Token, TokenKey};
use crate::store::{Locked, Saved, SessionFile};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// Shortest time that a request is given.
const SHORTEST: Duration = Duration::from_secs(1);

impl Attempt<'_> {
    /// Steps 2 to 4.
    pub(super) fn refresh(&self, file: &SessionFile<'_>) -> Result<Result<Credential, SignInNeeded>> {
        let mut locked = match self.lock(file) {
            Ok(Ok(locked)) => locked,
            Ok(Err(credential)) => return Ok(Ok(credential)),
            // Nothing can be written here now, which is no reason to withhold what still lives.
            Err(error) => {
                let living = file.session()?.and_then(|session| self.still_living(&session));
                return living.ok_or(error).map(Ok);
            }
        };
        let (session, notice) = locked.load()?;
        if let Some(credential) = self.done_meanwhile(&session)? {
            return Ok(Ok(credential));
        }
        if self.want.effort == Effort::SignIn {
            return Ok(Err(SignInNeeded::of(&session, None)));
        }
        if session.refresh_token.is_none() {
            if let (Some(Refused::Perhaps(_)), Some(credential)) = (self.want.refused, self.still_living(&session)) {
                return Ok(Ok(credential));
            }
            let now = Timestamp::now();
            let ended = !session.tokens.is_empty() && !session.tokens.iter().any(|token| token.lives(now, 1));
            let because =
                notice.or_else(|| ended.then(|| "the last token has ended and there is none to renew it with".into()));
            return Ok(Err(SignInNeeded::of(&session, because)));
        }
        if let Some((trouble, left)) = self.resting(&session) {
            let error = || trouble.resting(left).into();
            return self.still_living(&session).ok_or_else(error).map(Ok);
        }
        self.renew(file, locked, session)
    }

    /// Asks the provider for new tokens.
    fn renew(
        &self,
        file: &SessionFile<'_>,
        mut locked: Locked<'_>,
        mut session: Session,
    ) -> Result<Result<Credential, SignInNeeded>> {
        // All that follows happens under the lock, for which others wait no longer than this and a little more.
        let until = boottime() + HOLD;
        let living = self.still_living(&session).is_some();
        let limit = || if living { EARLY_LIMIT } else { http::LIMIT.min(self.patience_left().max(SHORTEST)) };
        let made = self.patiently(|| Client::new(self.want.profile, session.server.as_ref(), limit()));
        let (mut client, found) = match made {
            Ok(made) => made,
            Err(error) => return self.troubled(&mut locked, &mut session, error, None).map(Ok),
        };
        client.limit(limit());
        client.until(until);
        session.server = found.or(session.server);
        // A new refresh token that cannot be saved would be lost, and the old one used up.
        let room = match locked.reserve(&session) {
            Ok(Some(room)) => room,
            Ok(None) => {
                drop(locked);
                return self.refresh(file);
            }
            Err(error) => return self.still_living(&session).ok_or(error).map(Ok),
        };
        while let Some(refresh_token) = session.refresh_token.clone() {
            let scopes = self.scopes_to_name(&session);
            debug(|| format!("refreshing the session of {}", self.want.profile.title()));
            let sent = Timestamp::now();
            let answer = self.patiently(|| client.refresh(&refresh_token, scopes.as_deref(), self.want.claims));
            let (why, retry_after) = match answer {
                Ok(Answer::Object(object)) => match Tokens::read(&object) {
                    Ok(tokens) => {
                        let asked = session.asked.clone();
                        let kept = self.keep(&mut session, &tokens, &asked, sent, client.skew());
                        session.last_error = None;
                        // On disk before anyone is answered, also when what came cannot be handed out.
                        match locked.save_in(room, &session)? {
                            Saved::Saved => kept?,
                            news => {
                                drop(locked);
                                return self.not_saved(file, &client, &tokens, &news);
                            }
                        }
                        return match self.obtained(&session) {
                            // It has sent one before, so it is only the renewal that brings none (R33).
                            Err(_) if session.account.as_ref().is_some_and(|a| a.subject.is_some()) => {
                                let because = Some("the provider renews no ID tokens".into());
                                Ok(Err(SignInNeeded::of(&session, because)))
                            }
                            obtained => obtained.map(Ok),
                        };
                    }
                    Err(why) => (why, None),
                },
                Ok(Answer::Error(error))
                    if self.want.profile.preset.multi_resource && error.is_about_this_resource() =>
                {
                    locked.save(&session)?;
                    let because = Some(format!("the provider wants one for this ({})", error.text()));
                    return Ok(Err(SignInNeeded { for_this: true, ..SignInNeeded::of(&session, because) }));
                }
                Ok(Answer::Error(error)) if refuses_the_grant(&error) => {
                    let (on_disk, _) = locked.load()?;
                    if on_disk.refresh_token.is_some() && on_disk.refresh_token != session.refresh_token {
                        // Somebody who does not see our lock was faster; theirs is the one in force (R38).
                        session = on_disk;
                        continue;
                    }
                    session.refresh_token = None;
                    locked.save(&session)?;
                    let because = Some(format!("the provider ended the session ({})", error.text()));
                    return Ok(Err(SignInNeeded::of(&session, because)));
                }
                Ok(Answer::Error(error)) if error.code == "invalid_scope" && self.was_not_asked(&session) => {
                    locked.save(&session)?;
                    let because = Some("more scopes are needed than were granted".into());
                    return Ok(Err(SignInNeeded::of(&session, because)));
                }
                Ok(Answer::Error(error)) => {
                    return Err(client.refused(&error, "the provider refused to renew the token").into());
                }
                Ok(Answer::Transient(why, retry_after)) => (why, retry_after),
                Ok(Answer::Redirect(why) | Answer::Unreadable(why)) | Err(why) => (why, None),
            };
            let error = http::unreachable(client.token_endpoint(), &why);
            return self.troubled(&mut locked, &mut session, error.into(), retry_after).map(Ok);
        }
        Ok(Err(SignInNeeded::of(&session, None)))
    }

    /// What to do where another process has changed the session since this one sent its request.
    fn not_saved(
        &self,
        file: &SessionFile<'_>,
        client: &Client<'_>,
        tokens: &Tokens,
        news: &Saved,
    ) -> Result<Result<Credential, SignInNeeded>> {
        if !matches!(news, Saved::SignedOut) {
            return self.refresh(file);
        }
        let _ = tokens.refresh_token.as_ref().map(|token| client.revoke(token, "refresh_token"));
        let because = Some("the session was signed out meanwhile".into());
        Ok(Err(SignInNeeded { known: None, because, for_this: false }))
    }

    /// Takes the session's lock, unless the file comes to hold the answer first.
    fn lock<'f>(&self, file: &'f SessionFile<'_>) -> Result<Result<Locked<'f>, Credential>> {
        let began = boottime();
        let limit = LOCK_LIMIT.min(self.patience_left());
        let mut pause = Duration::from_millis(5);
        let mut screen = None;
        loop {
            if let Some(locked) = file.try_lock()? {
                return Ok(Ok(locked));
            }
            if let Some(spare) = &self.spare {
                return Ok(Err(spare.clone()));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
            let session = file.session()?;
            if let Some(session) = &session
                && let Some(credential) = self.done_meanwhile(session)?
            {
                return Ok(Err(credential));
            }
            let waited = boottime().saturating_sub(began);
            match session.and_then(|session| self.still_living(&session)) {
                Some(old) if waited > EARLY_LIMIT => return Ok(Err(old)),
                None if waited > limit => return Err(file.lock_is_held(waited).into()),
                _ => {}
            }
            if waited > PATIENCE {
                let screen: &mut Option<Screen> = screen.get_or_insert_with(|| self.screen());
                if let Some(screen) = screen {
                    screen.status("waiting for another process to renew the token");
                }
            }
        }
    }

    /// What another process did since this call began: the token we want, or trouble that we need not go through again.
    pub(super) fn done_meanwhile(&self, session: &Session) -> Result<Option<Credential>> {
        let news = |token: &Token| {
            self.want.effort == Effort::Least || token.received_at.0.saturating_mul(1000) > self.started_ms
        };
        if session.token(&self.key).is_some_and(news)
            && let Some(credential) = self.answer(session)
        {
            return Ok(Some(credential));
        }
        match &session.last_error {
            Some(trouble) if self.was_since(trouble.at_ms) => match self.still_living(session) {
                Some(credential) => Ok(Some(credential)),
                None => Err(trouble.failure().into()),
            },
            _ => Ok(None),
        }
    }

    /// The old token, when it cannot be renewed right now.
    pub(super) fn still_living(&self, session: &Session) -> Option<Credential> {
        let token = match self.want.refused {
            Some(Refused::Perhaps(_)) => session.token(&self.key),
            _ => self.cached(session),
        }
        .filter(|t| t.lives(Timestamp::now(), 1))?;
        (self.want.effort == Effort::Least).then(|| credential(session, token))
    }

    /// Writes trouble down for those who wait, and answers with the old token if it lives.
    fn troubled(
        &self,
        locked: &mut Locked<'_>,
        session: &mut Session,
        error: anyhow::Error,
        retry_after: Option<u64>,
    ) -> Result<Credential> {
        debug(|| format!("{error:#}"));
        let mut trouble = LastError::of(&error, now_ms());
        if trouble.exit == Exit::Usage {
            // This process's own settings: no news to anybody else.
            return self.still_living(session).ok_or(error);
        }
        if trouble.exit == Exit::Unreachable {
            trouble.failures = session.last_error.as_ref().map_or(0, |before| before.failures).saturating_add(1);
            // Without randomness, in the middle of the range.
            let chance = getrandom::u32().map_or(0.5, |drawn| f64::from(drawn) / f64::from(u32::MAX));
            trouble.pause = Backoff::after(trouble.failures, retry_after, chance);
        }
        session.last_error = Some(trouble);
        // A courtesy to others: not being able to must not cost the answer.
        if let Err(unsaved) = locked.save(session) {
            debug(|| format!("{unsaved:#}"));
        }
        self.still_living(session).ok_or(error)
    }

    /// The `scope` parameter of a refresh: none where the scopes are those that were signed in for, since some servers
    /// refuse what they themselves did not grant.
    fn scopes_to_name(&self, session: &Session) -> Option<Vec<String>> {
        let want = &self.want.profile.scopes;
        if self.want.profile.preset.multi_resource || self.was_not_asked(session) {
            return Some(want.clone());
        }
        let fewer = session.asked.iter().any(|s| !want.contains(s));
        fewer.then(|| want.iter().filter(|s| session.granted.contains(s)).cloned().collect())
    }

    /// Whether the sign-in was for fewer scopes than are wanted now, and that matters.
    fn was_not_asked(&self, session: &Session) -> bool {
        let profile = self.want.profile;
        !profile.preset.multi_resource && profile.scopes.iter().any(|s| !session.asked.contains(s))
    }

    /// Takes a token answer into the session. Fails if it holds an ID token that may not be handed out and one is wanted.
    /// `sent` is when it was asked for, `skew` what the server's clock said when it answered.
    pub(super) fn keep(
        &self,
        session: &mut Session,
        tokens: &Tokens,
        asked: &[String],
        sent: Timestamp,
        skew: Skew,
    ) -> Result<()> {
        let profile = self.want.profile;
        let claims = tokens.id_token.as_ref().and_then(id_token::claims);
        // Whoever signs knows the time; a proxy that sends `Date` may not. So a token that was made just now, by this
        // machine's clock, outweighs `Date`; and without `Date`, one made in the future says how far this clock is behind.
        let made =
            claims.as_ref().and_then(|c| id_token::time(c, "iat")).map(|made| (made, Skew::measured(made, sent)));
        let skew = match made {
            Some((_, signer)) if signer.seconds() == Some(0) => signer,
            Some((made, signer)) if skew.seconds().is_none() && made > sent => signer,
            _ => skew,
        };
        // OpenID Connect Core, section 12.2. At a sign-in the account has been checked, and replaced, before.
        let claim = |name: &str| claims.as_ref().and_then(|c| c.get(name)).and_then(serde_json::Value::as_str);
        let tenant = claim("tid").filter(|_| profile.preset.tenant.is_some()).map(crate::text::clean);
        // One account has another subject in every tenant.
        let same_tenant = |a: &&Account| profile.preset.tenant.is_none() || a.tenant == tenant;
        let before = session.account.as_ref().filter(same_tenant).and_then(|a| a.subject.as_deref());
        let now = claim("sub");
        if let (Some(before), Some(now)) = (before, now)
            && before != now
        {
            let what = "the provider renewed the token for another account than the one that signed in";
            return Err(Failure::new(Exit::Failed, what).run(profile.command("login --force")).into());
        }
        if let Some(new) = &tokens.refresh_token {
            session.refresh_token = Some(new.clone());
        }
        for scope in tokens.scope.as_deref().unwrap_or(asked) {
            if !session.granted.contains(scope) {
                session.granted.push(scope.clone());
            }
        }
        let jwt_exp = || {
            let claims = id_token::claims(&tokens.access_token)?;
            id_token::time(&claims, "exp").map(|end| skew.here(end))
        };
        let expires_at = match tokens.expires_in {
            Some(seconds) => Some(sent.plus(seconds)),
            None => jwt_exp().or_else(|| profile.preset.unstated_lifetime.map(|seconds| sent.plus(seconds))),
        };
        let access = Token {
            key: TokenKey { kind: TokenKind::Access, ..self.key.clone() },
            token: tokens.access_token.clone(),
            serial: Serial::draw(),
            received_at: sent,
            expires_at,
            lifetime: expires_at.map(|end| end.since(sent)),
            refresh_at: tokens.refresh_in.map(|seconds| sent.plus(seconds)),
            tenant: tenant.clone(),
        };
        session.keep(access, sent);
        session.fetched = Some(Fetched { by: self.requester(), at: sent });
        let Some(token) = &tokens.id_token else { return Ok(()) };
        let ended = claims.as_ref().and_then(|c| id_token::time(c, "exp")).is_some_and(|end| end <= sent);
        let checked = claims.ok_or_else(|| "it is not a JWT".to_owned()).and_then(|claims| {
            let issuer = profile.issuer_template.as_deref().or(profile.issuer.as_ref().map(Address::as_str));
            id_token::check(&claims, issuer, &profile.session.client_id, skew.there(sent)).map(|()| claims)
        });
        match checked {
            Ok(claims) => {
                let expires_at = id_token::time(&claims, "exp").map(|end| skew.here(end));
                let issued_at = id_token::time(&claims, "iat").map_or(sent, |made| skew.here(made));
                let token = Token {
                    key: TokenKey { kind: TokenKind::Id, ..self.key.clone() },
                    token: token.clone(),
                    serial: Serial::draw(),
                    received_at: sent,
                    expires_at,
                    lifetime: expires_at.map(|end| end.since(issued_at)),
                    refresh_at: None,
                    tenant,
                };
                session.keep(token, sent);
                Ok(())
            }
            Err(why) if self.want.kind == TokenKind::Id => {
                let failure = Failure::new(Exit::Failed, format!("the provider's ID token cannot be used: {why}"));
                let hint = "if this machine's clock is wrong, set it: the provider does not say what time it is";
                Err(if ended && skew.seconds().is_none() { failure.hint(hint) } else { failure }.into())
            }
            Err(why) => {
                debug(|| format!("ignoring the provider's ID token: {why}"));
                Ok(())
            }
        }
    }
}

/// Whether an error ends the grant, rather than being about this request.
fn refuses_the_grant(error: &OauthError) -> bool {
    error.bodyless
        || matches!(
            error.code.as_str(),
            "invalid_grant" | "interaction_required" | "login_required" | "consent_required"
        )
}
