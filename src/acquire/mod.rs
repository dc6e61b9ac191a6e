//! How a caller gets a token, step by step: policy → lock → renew → sign in → save.
//!
//! 1. Read the session's file and ask `policy` what may be handed out. A good token is the answer: no lock, no network,
//!    no write.
//! 2. Otherwise take the session's lock. Read the file again while waiting, because another process may have done the
//!    work.
//! 3. Renew under the lock, in a separate process (`worker`), so that nothing that happens to the caller loses the
//!    provider's answer. New tokens are on disk before any caller gets them. A failure that may pass never costs the
//!    refresh token; only the provider's definite refusal of it does. The outcome is written to the session, and
//!    `policy` decides again, so the callers that waited for the lock learn it from the same place.
//! 4. Release the lock: no lock that other callers need is held while a person types.
//! 5. If there is nowhere to show a sign-in, fail with the command to run.
//! 6. Sign in: one process holds the sign-in lock and drives the flow. The pending sign-in is in the session's file, so
//!    the other processes wait for it, and one of them continues it if the driving process dies. A person who asks for
//!    a code replaces a sign-in that waits for the browser.
//!    A machine's profile has no steps 5 and 6: step 3 obtains the machine's proof (`machine`).
//! 7. Remember a refused or expired sign-in for a short while, so that callers that retry at once do not prompt again.

mod flow;
mod machine;
mod renew;
mod sign_in;
mod steps;
mod view;
pub mod worker;

pub use crate::policy::{Effort, RefusedToken};
pub use steps::{Step, Waiting, start, step};
pub use view::foreign_host;

use crate::address::Address;
use crate::clock::{Timestamp, boottime};
use crate::config::{Flow, Profile};
use crate::failure::{Exit, Failure};
use crate::grants::Ask;
use crate::log::debug;
use crate::oauth::http;
use crate::policy::{Decision, Needs, Now, Started, policy};
use crate::prompt::{Screen, parent, while_waiting};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::{ClaimsDigest, Serial, Session, Token, TokenKey};
use crate::store::{LOST_LIMIT, SessionFile, Store};
use anyhow::{Context, Result};
use renew::Renewed;
use std::sync::OnceLock;
use std::time::Duration;

/// Least remaining life of a token handed out, in seconds, unless the profile or the caller sets another.
const MIN_LIFE: u64 = 300;
/// Wait at most this long to renew a token that is still valid; then return it.
const EARLY_LIMIT: Duration = Duration::from_secs(4);
/// Longest time that the session's lock is held for requests: to discover the provider's endpoints and to renew the
/// token.
pub const HOLD: Duration = http::LIMIT.saturating_mul(2);
/// Give up waiting for a lock after this long, because no process holds it longer.
pub const LOCK_LIMIT: Duration = HOLD.saturating_add(Duration::from_secs(10));
const _: () = assert!(LOST_LIMIT.as_secs() >= LOCK_LIMIT.as_secs(), "a lost lock is waited for as long as any");

/// What a caller asks for: which token, and how to get it.
#[derive(Debug)]
pub struct TokenWant<'p> {
    /// The profile to get a token of.
    pub profile: &'p Profile,
    /// Whether the access token or the ID token is wanted.
    pub kind: TokenKind,
    /// Least remaining life of the token, in seconds, unless the profile sets `min_ttl`.
    pub min_life: u64,
    /// Who asks, for the prompt.
    pub requester: Requester,
    /// What the token is for, e.g. the cluster's address, for the prompt.
    pub purpose: Option<String>,
    /// Whether a cached token will do, or the provider must be asked.
    pub effort: Effort,
    /// Why this caller may not prompt, whatever the profile says; completes "a sign-in is needed, and …".
    pub no_prompt: Option<&'static str>,
    /// Looks for a reason like `no_prompt` if finding it takes time. Called only when a prompt is about to be shown.
    pub forbids: fn() -> Option<&'static str>,
    /// Show the sign-in's address as a QR code too, if it fits the screen.
    pub qr: bool,
    /// A token that was handed out before and did not work; the answer must be a different one.
    pub refused: Option<RefusedToken>,
    /// A claims challenge: claims that the resource wants and the cached token lacks (JSON for the `claims` parameter,
    /// OpenID Connect Core, section 5.5). Only a new token answers it.
    pub claims: Option<&'p str>,
    /// How long the caller waits, whether for a person, another process or the provider; `None` means without limit.
    pub timeout: Option<Duration>,
}

impl<'p> TokenWant<'p> {
    /// A want with the defaults that suit most callers: any good token, no purpose, no timeout.
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
            forbids: || None,
            qr: false,
            refused: None,
            claims: None,
            timeout: None,
        }
    }

    /// Whether this call may replace a sealed session whose key is lost: only if a person is signing in, or if no
    /// person ever has to.
    fn begins_anew(&self) -> bool {
        self.requester == Requester::Person || self.profile.machine.is_some()
    }
}

/// Who asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The person at the keyboard.
    Person,
    /// The program that started keyfob, under the name that the system reports, or under this name if it reports none.
    Parent(&'static str),
    /// The program of this name, whichever process started keyfob for it.
    Program(&'static str),
}

/// A token, and what callers need to know about it.
#[derive(Clone, Debug)]
pub struct Acquired {
    /// The token.
    pub token: Secret,
    /// Identifies the token where the token itself must not be shown.
    pub serial: Serial,
    /// Whether this is an access token or an ID token.
    pub kind: TokenKind,
    /// When the token was received, by this machine's clock.
    pub received_at: Timestamp,
    /// When the token expires; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The id of the tenant that issued the token, if the provider has tenants.
    pub tenant: Option<String>,
}

impl Acquired {
    fn of(session: &Session, token: &Token) -> Self {
        Self {
            token: token.token.clone(),
            serial: token.serial,
            kind: token.key.kind,
            received_at: token.received_at,
            expires_at: token.expires_at,
            account: session.account.as_ref().map(|a| a.name.clone()),
            tenant: token.tenant.clone(),
        }
    }
}

/// Gets a token, from the cache if possible, otherwise by a renewal or a sign-in. Fails with exit code 3 if a person
/// must sign in and cannot be asked, 4 if they refused, 5 if the provider cannot be reached.
pub fn acquire(want: &TokenWant<'_>) -> Result<Acquired> {
    let what = || format!("could not get a token for {}", want.profile.title());
    let mut attempt = Attempt::new(want).with_context(what)?;
    let mut living = None;
    // Step 1, which answers nearly every call.
    if let Some(store) = Store::open()?.map(|store| store.replacing_locked(want.begins_anew()))
        && let Some(session) = store.session(&want.profile.session).session_for(&attempt.needs.key)?
    {
        attempt.started = Started::of(&session, &attempt.needs.key);
        if let Decision::Fresh(token) | Decision::BackOff { fallback: Some(token), .. } = attempt.decide(&session) {
            debug(|| format!("the cache holds a token of {}", want.profile.title()));
            return Ok(Acquired::of(&session, token));
        }
        living = attempt.living(&session);
    }
    attempt.start_waiting();
    if let Err(error) = attempt.prepare(living.is_some()) {
        return living.ok_or(error).with_context(what);
    }
    let credential = match Store::open_or_make()?.map(|store| store.replacing_locked(want.begins_anew())) {
        Some(store) => attempt.work(&store.session(&want.profile.session)),
        None => attempt.ask_and_forget(),
    };
    credential.with_context(what)
}

/// Returns the cached token that can be handed out now, if any. Sends no request, waits for nothing and changes
/// nothing.
pub fn cached(want: &TokenWant<'_>) -> Result<Option<Acquired>> {
    let attempt = Attempt::new(want)?;
    let session = match Store::open()? {
        Some(store) => store.session(&want.profile.session).session_for(&attempt.needs.key)?,
        None => None,
    };
    Ok(session.and_then(|session| attempt.living(&session)))
}

/// The key under which a session stores the token that is wanted.
pub fn token_key(want: &TokenWant<'_>) -> TokenKey {
    let Profile { preset, endpoints, scopes, audience, resource, .. } = want.profile;
    // One session can serve several tenants; the tenant's token endpoint tells their tokens apart.
    let tenant = preset.tenant.and(endpoints.token.as_ref()).map(ToString::to_string);
    let (audience, resource) = (audience.clone(), resource.clone());
    TokenKey { kind: want.kind, scopes: Vec::new(), tenant, audience, resource }.with_scopes(scopes)
}

/// One call of [`acquire`], on its way through the steps.
struct Attempt<'w> {
    want: &'w TokenWant<'w>,
    needs: Needs,
    started: Started,
    /// When the caller stops waiting, as time since boot ([`boottime`]).
    until: Duration,
    /// Who asks, as reported by the process that started this worker.
    by: Option<String>,
    /// The result of [`TokenWant::forbids`], once it has been called.
    forbidden: OnceLock<Option<&'static str>>,
}

/// Why a person has to sign in, and what to do if nobody can be asked.
#[derive(Debug)]
struct Needed {
    because: Option<String>,
    /// Only this caller's token needs the sign-in; the session as a whole is good.
    for_this: bool,
    /// The answer for a caller that cannot prompt.
    fallback: Option<Acquired>,
}

impl<'w> Attempt<'w> {
    /// Fails if the machine lacks the proof that its profile names.
    fn new(want: &'w TokenWant<'w>) -> Result<Self> {
        let needs = Needs {
            key: token_key(want),
            min_life: want.min_life,
            min_ttl: want.profile.min_ttl,
            early_refresh: want.profile.preset.early_refresh,
            effort: if want.profile.machine.is_some() { want.effort.without_a_person() } else { want.effort },
            refused: want.refused,
            claims: want.claims.map(ClaimsDigest::of),
            by_browser: want.profile.flow == Flow::Browser,
            proof: machine::proof(want.profile)?,
        };
        Ok(Self {
            want,
            needs,
            started: Started::default(),
            until: Duration::MAX,
            by: None,
            forbidden: OnceLock::new(),
        })
    }

    fn decide<'s>(&self, session: &'s Session) -> Decision<'s> {
        policy(session, &self.needs, &self.started, Now::read())
    }

    /// Starts the clock of the caller's timeout. Called only after the cache has been tried, because that takes no
    /// time.
    fn start_waiting(&mut self) {
        self.until = self.want.timeout.map_or(Duration::MAX, |timeout| boottime().saturating_add(timeout));
    }

    /// How much longer this caller waits.
    fn time_left(&self) -> Duration {
        self.until.saturating_sub(boottime())
    }

    /// The screen on which something may be shown now, if there is one.
    fn screen(&self) -> Option<Screen> {
        if self.want.no_prompt.is_some() {
            return None;
        }
        Screen::find(self.want.profile.prompt).filter(|_| self.forbidden().is_none())
    }

    /// Why [`TokenWant::forbids`] rules out a prompt; `None` if it allows one.
    fn forbidden(&self) -> Option<&'static str> {
        *self.forbidden.get_or_init(self.want.forbids)
    }

    /// Does `work`, which asks the provider, and shows a status line if that takes long.
    fn while_asking<T>(&self, work: impl FnOnce() -> T) -> T {
        while_waiting(&self.asking(), || self.screen(), work)
    }

    /// The status line shown while the provider is asked.
    fn asking(&self) -> String {
        let authority = &self.want.profile.session.authority;
        let host = Address::parse(authority).map_or_else(|_| authority.clone(), |address| address.host());
        format!("waiting for {host} to answer")
    }

    /// Who asks and for what; `None` if the person at the keyboard asks.
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

    /// What the grants need to know about this call.
    fn ask(&self) -> Ask<'w> {
        Ask {
            profile: self.want.profile,
            key: self.needs.key.clone(),
            claims: self.want.claims,
            by: self.by.clone().or_else(|| self.asked_by()).unwrap_or_else(|| "`keyfob login`".into()),
        }
    }

    /// Steps 2 to 7: everything after the cache.
    fn work(&self, file: &SessionFile<'_>) -> Result<Acquired> {
        let mut has_signed_in = false;
        loop {
            let needed = match self.renew(file)? {
                Renewed::Answer(credential) => return Ok(credential),
                Renewed::LookAgain => continue,
                Renewed::SignIn(needed) => needed,
            };
            if has_signed_in {
                // Another sign-in would end the same way.
                let because = needed.because.unwrap_or_else(|| "its tokens cannot be used for this".into());
                return Err(Failure::new(Exit::Failed, format!("the sign-in did not help: {because}")).into());
            }
            match self.sign_in(file, needed)? {
                sign_in::SignedIn::With(credential) => return Ok(credential),
                sign_in::SignedIn::Here => has_signed_in = true,
                sign_in::SignedIn::Elsewhere => {}
            }
        }
    }
}
