//! The story of a token, top to bottom: cached → lock → re-read → refresh → sign in → save.
//!
//! 1. A cached token with enough life left is the answer: no lock, no network, no write.
//! 2. Else take the session's lock, reading the file again while waiting: somebody may have done the work.
//! 3. Refresh under the lock, unless the provider is to be left alone for a moment (`pause`). New tokens are on disk before
//!    anyone is answered. LastError that may pass never costs the refresh token; only the provider's definite refusal of it
//!    does.
//! 4. Let the lock go: none that others need is held while a person types.
//! 5. Without a place to show a sign-in, say which command to run.
//! 6. Sign in: one process holds the sign-in lock and polls; the code is in the session's file, so that the others wait
//!    for it, and one of them goes on with the same code if that process dies.
//! 7. A refused or expired sign-in is remembered for a moment, so that callers that retry at once do not prompt again.

mod refresh;
mod sign_in;
mod steps;

pub use steps::{Step, start, step};

use crate::address::Address;
use crate::clock::{Timestamp, boottime, now_ms};
use crate::config::Profile;
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::oauth::http;
use crate::prompt::{Screen, while_waiting};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::{LastError, Serial, Session, Token, TokenKey};
use crate::store::{SessionFile, Store};
use anyhow::{Context, Result};
use std::time::Duration;

/// Least life of a token handed out, in seconds, where neither the profile nor the caller says.
const MIN_LIFE: u64 = 300;
/// The same where a refresh kills the token handed out before.
const MIN_LIFE_LATE: u64 = 30;
/// Longest wait, for the provider or for another process, to renew a token which still lives: that one is the answer then,
/// for a caller that may have no patience.
const EARLY_LIMIT: Duration = Duration::from_secs(4);
/// Longest time that the session's lock is held for requests: to find the provider's endpoints, and to renew the token.
pub const HOLD: Duration = http::LIMIT.saturating_mul(2);
/// Give up on a lock after this long: no holder takes longer.
pub const LOCK_LIMIT: Duration = HOLD.saturating_add(Duration::from_secs(10));

/// What a caller asks for.
#[derive(Debug)]
pub struct Want<'p> {
    /// Whose token.
    pub profile: &'p Profile,
    /// Which of its tokens.
    pub kind: TokenKind,
    /// Least life it must have left, in seconds, unless the profile says.
    pub min_life: u64,
    /// Who asks, for the prompt.
    pub requester: Requester,
    /// What it asks for, e.g. the cluster's address.
    pub purpose: Option<String>,
    /// How much of what is there will do.
    pub effort: Effort,
    /// Why this caller may not prompt, whatever the profile says, as `…` in "a sign-in is needed, and …".
    pub no_prompt: Option<&'static str>,
    /// Show a sign-in's address as a QR code too, where it fits.
    pub qr: bool,
    /// A token that was handed out before and did not work: anything but this one.
    pub refused: Option<Refused>,
    /// What a resource wants the token to say that the cached one does not (the `claims` parameter of OpenID Connect Core,
    /// section 5.5, as JSON): only a new one will do.
    pub claims: Option<&'p str>,
    /// How long the caller waits: for a person, another process, the provider.
    pub timeout: Option<Duration>,
}

/// A token that was handed out before, and did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The caller says so.
    Surely(Serial),
    /// It looks that way. If there is no other to be had right now, this one will do.
    Perhaps(Serial),
}

impl<'p> Want<'p> {
    /// What most callers ask for: anything that is good, without a purpose to name.
    pub fn of(profile: &'p Profile, kind: TokenKind, requester: Requester) -> Self {
        let effort = Effort::Least;
        Self {
            profile,
            kind,
            min_life: MIN_LIFE,
            requester,
            purpose: None,
            effort,
            no_prompt: None,
            qr: false,
            refused: None,
            claims: None,
            timeout: None,
        }
    }
}

/// Who asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The person at the keyboard.
    Person,
    /// The program that runs keyfob: by its own name where the system tells it, else by this one.
    Parent(&'static str),
    /// This program, whatever runs keyfob for it.
    Program(&'static str),
}

/// How much of what is there will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Whatever is good: the cached token, a refreshed one, a new sign-in.
    Least,
    /// The provider must confirm the session: refresh, or sign in, also if that was refused a moment ago.
    Confirm,
    /// A new sign-in.
    SignIn,
}

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token.
    pub token: Secret,
    /// What it is known by where it must not be shown itself.
    pub serial: Serial,
    /// Which kind it is.
    pub kind: TokenKind,
    /// When it ends; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The id of the tenant it came from, where the provider has tenants.
    pub tenant: Option<String>,
}

/// Gets a token. Fails with exit 3 if a person must sign in and cannot be asked, 4 if they refused, 5 if the provider is
/// out of reach.
pub fn acquire(want: &Want<'_>) -> Result<Credential> {
    let mut attempt = Attempt::new(want);
    // 1. The way nearly every call ends.
    if want.effort == Effort::Least
        && let Some(store) = Store::open()?
        && let Some(session) = store.session(&want.profile.session).session()?
    {
        if let Some(credential) = attempt.answer(&session).or_else(|| attempt.rested(&session)) {
            debug(|| format!("the cache holds a token of {}", want.profile.title()));
            return Ok(credential);
        }
        attempt.spare = attempt.spare(&session);
    }
    attempt.be_patient();
    let store = Store::open_or_make()?;
    let file = store.session(&want.profile.session);
    attempt.work(&file).with_context(|| format!("could not get a token for {}", want.profile.title()))
}

/// What a token is kept under.
fn token_key(want: &Want<'_>) -> TokenKey {
    let Profile { preset, endpoints, scopes, audience, resource, .. } = want.profile;
    let mut scopes = scopes.clone();
    scopes.sort_unstable();
    scopes.dedup();
    // Where one session serves several tenants, their token endpoints tell them apart.
    let tenant = preset.tenant.and(endpoints.token.as_ref()).map(ToString::to_string);
    TokenKey { kind: want.kind, scopes, tenant, audience: audience.clone(), resource: resource.clone() }
}

fn credential(session: &Session, token: &Token) -> Credential {
    Credential {
        token: token.token.clone(),
        serial: token.serial,
        kind: token.key.kind,
        expires_at: token.expires_at,
        account: session.account.as_ref().map(|a| a.name.clone()),
        tenant: token.tenant.clone(),
    }
}

/// One call's way through the story.
struct Attempt<'w> {
    want: &'w Want<'w>,
    key: TokenKey,
    started_ms: i64,
    /// When the caller has no more patience, on the steady clock.
    until: Duration,
    /// A token that would do, but that the provider would rather have renewed by now: nobody waits for that, and nothing
    /// that goes wrong with it is this call's trouble.
    spare: Option<Credential>,
}

/// How a refresh ended, if not with a token or a failure.
struct SignInNeeded {
    /// The refresh token that does not help. Another one is somebody's who has signed in meanwhile.
    known: Option<Secret>,
    /// Why, for the person.
    because: Option<String>,
    /// It is needed for just what this caller asks, not for the session as a whole.
    for_this: bool,
}

impl SignInNeeded {
    fn of(session: &Session, because: Option<String>) -> Self {
        Self { known: session.refresh_token.clone(), because, for_this: false }
    }
}

enum SignedIn {
    Here(Credential),
    /// Somebody else did, or is at it, or it was for another token than ours: there may be a new refresh token to use.
    Elsewhere,
}

impl<'w> Attempt<'w> {
    fn new(want: &'w Want<'w>) -> Self {
        Self { want, key: token_key(want), started_ms: now_ms(), until: Duration::MAX, spare: None }
    }
}

impl Attempt<'_> {
    /// From now on the caller's patience is running out. Not before the cached answer, which needs none.
    fn be_patient(&mut self) {
        self.until = self.want.timeout.map_or(Duration::MAX, |patience| boottime().saturating_add(patience));
    }

    /// Where something may be shown now, if anywhere.
    fn screen(&self) -> Option<Screen> {
        if self.want.no_prompt.is_some() { None } else { Screen::find(self.want.profile.prompt) }
    }

    /// Has the provider asked something, and says so where that takes long.
    fn patiently<T>(&self, work: impl FnOnce() -> T) -> T {
        let authority = &self.want.profile.session.authority;
        let host = Address::parse(authority).map_or_else(|_| authority.clone(), |address| address.host());
        while_waiting(&format!("waiting for {host} to answer"), || self.screen(), work)
    }

    /// The cached token, unless it is known not to work.
    fn cached<'s>(&self, session: &'s Session) -> Option<&'s Token> {
        let token = session.token(&self.key).filter(|_| self.want.claims.is_none());
        let Some(Refused::Surely(refused) | Refused::Perhaps(refused)) = self.want.refused else { return token };
        token.filter(|token| token.serial != refused)
    }

    /// The cached token, if it will do and need not be renewed yet.
    fn answer(&self, session: &Session) -> Option<Credential> {
        let token = self.cached(session)?;
        let now = Timestamp::now();
        let due = session.refresh_token.is_some() && token.refresh_at.is_some_and(|at| at <= now);
        (!due && token.lives(now, self.enough(token))).then(|| credential(session, token))
    }

    /// The cached token, if it will do, due or not.
    fn spare(&self, session: &Session) -> Option<Credential> {
        let token = self.cached(session)?;
        token.lives(Timestamp::now(), self.enough(token)).then(|| credential(session, token))
    }

    /// The trouble because of which the provider is left alone now, and for how many milliseconds more.
    fn resting<'s>(&self, session: &'s Session) -> Option<(&'s LastError, u64)> {
        let trouble = session.last_error.as_ref().filter(|_| self.want.effort == Effort::Least)?;
        let living = self.still_living(session).is_some();
        let pause = if living { trouble.pause.with_token_ms } else { trouble.pause.without_ms };
        // What lies in the future was written by a clock that has been put right since.
        let passed = u64::try_from(self.started_ms.saturating_sub(trouble.at_ms)).ok()?;
        pause.checked_sub(passed).filter(|left| *left > 0).map(|left| (trouble, left))
    }

    /// The old token, while the provider is left alone.
    fn rested(&self, session: &Session) -> Option<Credential> {
        self.resting(session).and_then(|_| self.still_living(session))
    }

    /// Seconds that a token must have left: never more than a quarter of its life, or short-lived ones would be
    /// refreshed on every call. Unless the profile says how many, tokens differ by their serial, up to that quarter:
    /// those that came together, as after an outage, are not renewed together.
    fn enough(&self, token: &Token) -> u64 {
        let quarter = token.lifetime.unwrap_or(u64::MAX) / 4;
        match self.want.profile.min_ttl {
            _ if !self.want.profile.preset.early_refresh => MIN_LIFE_LATE.min(quarter),
            Some(said) => said.min(quarter),
            None => {
                let least = self.want.min_life.min(quarter);
                // A token without a known life has no quarter to spread over.
                least + token.lifetime.map_or(0, |_| token.serial.share_of(quarter - least))
            }
        }
    }

    /// Whether something written down happened since this call began. What lies in the future was written by a clock
    /// that has been put right since, and says nothing.
    fn was_since(&self, at_ms: i64) -> bool {
        (self.started_ms..=now_ms()).contains(&at_ms)
    }

    /// The token just obtained, whatever life it has. One that had ended before is no longer in the session then.
    fn obtained(&self, session: &Session) -> Result<Credential> {
        session.token(&self.key).map(|t| credential(session, t)).ok_or_else(|| {
            Failure::new(Exit::Failed, "the provider sent no ID token")
                .hint("add `openid` to `scopes`, or set `token-kind = \"access\"`")
                .into()
        })
    }

    /// Everything past the cached answer.
    fn work(&self, file: &SessionFile<'_>) -> Result<Credential> {
        loop {
            let needed = match (self.refresh(file), &self.spare) {
                (Ok(Ok(credential)), _) => return Ok(credential),
                (Ok(Err(_)) | Err(_), Some(spare)) => return Ok(spare.clone()),
                (Ok(Err(needed)), None) => needed,
                (Err(error), None) => return Err(error),
            };
            match self.sign_in(file, needed)? {
                SignedIn::Here(credential) => return Ok(credential),
                SignedIn::Elsewhere => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, Origin, Selection, Settings};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    /// A profile whose provider is out of reach, and whose sign-ins can be shown.
    fn profile() -> Profile {
        let mut flags = Settings::default();
        for (name, value) in [("issuer", "http://127.0.0.1:1"), ("client-id", "c"), ("prompt", "always")] {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            flags.set(key, vec![value.to_owned()], Origin::Flag(name)).unwrap();
        }
        Profile::select(&Selection { profile: None, flags }).unwrap()
    }

    /// Between the look at the session that found none and the sign-in.
    #[test]
    fn a_sign_in_that_was_finished_in_the_last_moment_is_not_asked_for_again() {
        let alone = Permissions::from_mode(0o700);
        let (home, profile) = (tempfile::Builder::new().permissions(alone).tempdir().unwrap(), profile());
        let store = Store::at(home.path().to_owned()).unwrap().unwrap();
        let file = store.session(&profile.session);
        let want = Want::of(&profile, TokenKind::Access, Requester::Person);
        let needed = SignInNeeded::of(&Session::new(&profile.session), None);
        file.update(LOCK_LIMIT, |session| session.refresh_token = Some(Secret::from("new".to_owned()))).unwrap();
        assert!(matches!(Attempt::new(&want).sign_in(&file, needed), Ok(SignedIn::Elsewhere)));
    }

    #[test]
    fn patience_does_not_change_with_a_clock_that_is_set() {
        let profile = profile();
        let want = Want {
            timeout: Some(Duration::from_secs(8)),
            ..Want::of(&profile, TokenKind::Access, Requester::Parent("an Azure SDK"))
        };
        for hours in [-1, 1] {
            let mut attempt = Attempt::new(&want);
            attempt.be_patient();
            attempt.started_ms += hours * 3_600_000;
            let left = attempt.patience_left();
            assert!(left > Duration::from_secs(4) && left <= Duration::from_secs(8), "{left:?}");
        }
    }
}
