//! The story of a token, top to bottom: policy → lock → renew → sign in → save.
//!
//! 1. The session's file is read, and `policy` says what may be handed out. A good token is the answer: no lock, no network,
//!    no write.
//! 2. Else take the session's lock, reading the file again while waiting: another process may have done the work.
//! 3. Renew under the lock, in a process of its own (`worker`), so that nothing that happens to the caller loses the
//!    provider's answer. New tokens are on disk before any caller is answered. Trouble that may pass never costs the
//!    refresh token; only the provider's definite refusal of it does. What happened is written down, and `policy` decides
//!    again: so the callers that waited learn it from the same place.
//! 4. Let the lock go: none that others need is held while a person types.
//! 5. Without a place to show a sign-in, say which command to run.
//! 6. Sign in: one process holds the sign-in lock and drives the flow; the pending sign-in is in the session's file, so that
//!    the others wait for it, and one of them goes on with it if that process dies.
//!    A machine's profile has no steps 5 and 6: what it proves itself by is asked for in step 3 (`machine`).
//! 7. A refused or expired sign-in is remembered for a moment, so that callers that retry at once do not prompt again.

mod flow;
mod machine;
mod renew;
mod sign_in;
mod steps;
mod view;
pub mod worker;

pub use crate::policy::{Effort, Refused};
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
use crate::store::{SessionFile, Store};
use anyhow::{Context, Result};
use renew::Renewed;
use std::sync::OnceLock;
use std::time::Duration;

/// Least life of a token handed out, in seconds, where neither the profile nor the caller says.
const MIN_LIFE: u64 = 300;
/// Wait at most this long to renew a token that is still valid; then return it.
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
    /// Looks for such a reason where that takes time: asked when a prompt is about to be shown.
    pub forbids: fn() -> Option<&'static str>,
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

impl<'p> Want<'p> {
    /// What most callers ask for: any good token, without a purpose to name.
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

    /// Whether this may begin a sealed session anew whose key is gone: a person signs in, or nobody has to.
    fn begins_anew(&self) -> bool {
        self.requester == Requester::Person || self.profile.machine.is_some()
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

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token.
    pub token: Secret,
    /// What it is known by where it must not be shown itself.
    pub serial: Serial,
    /// Which kind it is.
    pub kind: TokenKind,
    /// When it came, by this machine's clock.
    pub received_at: Timestamp,
    /// When it ends; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The id of the tenant it came from, where the provider has tenants.
    pub tenant: Option<String>,
}

impl Credential {
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

/// Gets a token. Fails with exit 3 if a person must sign in and cannot be asked, 4 if they refused, 5 if the provider is
/// out of reach.
pub fn acquire(want: &Want<'_>) -> Result<Credential> {
    let mut attempt = Attempt::new(want)?;
    let mut living = None;
    // 1. The way nearly every call ends.
    if let Some(store) = Store::open()?.map(|store| store.replacing_locked(want.begins_anew()))
        && let Some(session) = store.session(&want.profile.session).session_for(&attempt.needs.key)?
    {
        attempt.started = Started::of(&session, &attempt.needs.key);
        if let Decision::Fresh(token) | Decision::BackOff { fallback: Some(token), .. } = attempt.decide(&session) {
            debug(|| format!("the cache holds a token of {}", want.profile.title()));
            return Ok(Credential::of(&session, token));
        }
        living = attempt.living(&session);
    }
    attempt.start_waiting();
    if let Err(error) = attempt.prepare(living.is_some()) {
        return living.ok_or(error).with_context(|| format!("could not get a token for {}", want.profile.title()));
    }
    let credential = match Store::open_or_make()?.map(|store| store.replacing_locked(want.begins_anew())) {
        Some(store) => attempt.work(&store.session(&want.profile.session)),
        None => attempt.ask_and_forget(),
    };
    credential.with_context(|| format!("could not get a token for {}", want.profile.title()))
}

/// The token that the cache can answer with, if any. Asks nobody, waits for nothing and changes nothing.
pub fn cached(want: &Want<'_>) -> Result<Option<Credential>> {
    let attempt = Attempt::new(want)?;
    let session = match Store::open()? {
        Some(store) => store.session(&want.profile.session).session_for(&attempt.needs.key)?,
        None => None,
    };
    Ok(session.and_then(|session| attempt.living(&session)))
}

/// What a token is filed under.
pub fn token_key(want: &Want<'_>) -> TokenKey {
    let Profile { preset, endpoints, scopes, audience, resource, .. } = want.profile;
    // Where one session serves several tenants, their token endpoints tell them apart.
    let tenant = preset.tenant.and(endpoints.token.as_ref()).map(ToString::to_string);
    let (audience, resource) = (audience.clone(), resource.clone());
    TokenKey { kind: want.kind, scopes: Vec::new(), tenant, audience, resource }.with_scopes(scopes)
}

/// One call's way through the story.
struct Attempt<'w> {
    want: &'w Want<'w>,
    needs: Needs,
    started: Started,
    /// When the caller stops waiting, on the clock that counts from boot.
    until: Duration,
    /// Who asks, in the words of the process that was asked.
    by: Option<String>,
    /// What [`Want::forbids`] has found.
    forbidden: OnceLock<Option<&'static str>>,
}

/// Why a person has to sign in.
#[derive(Debug)]
struct Needed {
    because: Option<String>,
    /// It is needed for just what this caller asks, not for the session as a whole.
    for_this: bool,
    /// What a caller gets that cannot ask anybody.
    fallback: Option<Credential>,
}

impl<'w> Attempt<'w> {
    /// Fails where a machine does not have what its profile proves it by.
    fn new(want: &'w Want<'w>) -> Result<Self> {
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

    /// From now on the caller's time is running out. Not before the cached answer, which takes none.
    fn start_waiting(&mut self) {
        self.until = self.want.timeout.map_or(Duration::MAX, |timeout| boottime().saturating_add(timeout));
    }

    /// How much longer this caller waits.
    fn time_left(&self) -> Duration {
        self.until.saturating_sub(boottime())
    }

    /// Where something may be shown now, if anywhere.
    fn screen(&self) -> Option<Screen> {
        if self.want.no_prompt.is_some() {
            return None;
        }
        Screen::find(self.want.profile.prompt).filter(|_| self.forbidden().is_none())
    }

    /// What forbids a prompt besides the caller's own words.
    fn forbidden(&self) -> Option<&'static str> {
        *self.forbidden.get_or_init(self.want.forbids)
    }

    /// Has the provider asked something, and says so where that takes long.
    fn while_asking<T>(&self, work: impl FnOnce() -> T) -> T {
        while_waiting(&self.asking(), || self.screen(), work)
    }

    /// What is waited for while the provider is asked.
    fn asking(&self) -> String {
        let authority = &self.want.profile.session.authority;
        let host = Address::parse(authority).map_or_else(|_| authority.clone(), |address| address.host());
        format!("waiting for {host} to answer")
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

    /// What is asked of the provider.
    fn ask(&self) -> Ask<'w> {
        Ask {
            profile: self.want.profile,
            key: self.needs.key.clone(),
            claims: self.want.claims,
            by: self.by.clone().or_else(|| self.asked_by()).unwrap_or_else(|| "`keyfob login`".into()),
        }
    }

    /// Everything past the cached answer.
    fn work(&self, file: &SessionFile<'_>) -> Result<Credential> {
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
