//! Decides what may be handed out from a session and what has to be done first: one pure function, without clock, disk
//! or network.
//!
//! | decision | when | what the caller does |
//! |---|---|---|
//! | fresh | a token has enough life left | hands it out |
//! | due | the same, but it is time to renew it | hands it out, and has it renewed |
//! | renew | it ends too soon, or there is none | waits for a renewal, but returns the old token if that takes long |
//! | back off | the provider has just failed | hands out the old token, or fails as the last one did |
//! | confirm | a sign-in's account could not be checked yet | checks it |
//! | sign in | nothing but a person helps | hands out the old token, or has a person sign in |

use crate::clock::Timestamp;
use crate::failure::Exit;
use crate::session::{ClaimsDigest, LastError, Proof, Serial, Session, Token, TokenKey};

/// Least remaining life of a token if a refresh invalidates the old token, in seconds.
const MIN_LIFE_LATE: u64 = 30;

/// What a caller needs of a session.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The key of the token.
    pub key: TokenKey,
    /// Least remaining life of the token, in seconds, unless `min_ttl` is set.
    pub min_life: u64,
    /// The profile's `min_ttl`, in seconds.
    pub min_ttl: Option<u64>,
    /// Whether a token may be renewed while it still has minutes to live; false if a refresh invalidates the old token.
    pub early_refresh: bool,
    /// Whether a cached token will do, or the provider must be asked.
    pub effort: Effort,
    /// A token that was handed out before and did not work; the answer must be a different one.
    pub refused: Option<RefusedToken>,
    /// The claims challenge that the token must answer.
    pub claims: Option<ClaimsDigest>,
    /// A session that began by device code must not be used.
    pub by_browser: bool,
    /// What a machine's tokens are made from; `None` if a person signs in. A machine can always ask for another token.
    pub proof: Option<Proof>,
}

/// How much is done for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The quickest of these that works: the cached token, a refresh, a sign-in.
    Least,
    /// Ask the provider for a new token: by a refresh or a sign-in, even if a sign-in was refused a moment ago.
    Confirm,
    /// A new sign-in, even if the session is good.
    SignIn,
}

impl Effort {
    /// The same effort for a machine, which renews where a person would sign in.
    #[must_use]
    pub fn without_a_person(self) -> Self {
        if self == Self::SignIn { Self::Confirm } else { self }
    }
}

/// A token that was handed out before, and did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedToken {
    /// The caller says that it did not work.
    Surely(Serial),
    /// It seems that it did not work. If no other token can be had right now, this one will do.
    Perhaps(Serial),
}

/// The state of a session when a call began. What differs from it now happened during the call, whatever the clocks
/// say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    token: Option<Serial>,
    begun: Option<Serial>,
    last_error: Option<Serial>,
    unmet: Option<Serial>,
}

impl Started {
    /// The state of a session, for a call that wants the token `key`.
    pub fn of(session: &Session, key: &TokenKey) -> Self {
        Self {
            token: session.token(key).map(|token| token.serial),
            begun: session.begun.as_ref().map(|begun| begun.serial),
            last_error: session.last_error.as_ref().map(|error| error.serial),
            unmet: session.unmet.iter().find(|unmet| unmet.key == *key).map(|unmet| unmet.serial),
        }
    }
}

impl Started {
    /// Whether this token was in the session.
    pub fn had(&self, token: Serial) -> bool {
        self.token == Some(token)
    }
}

/// The current time, in the two precisions that a session uses.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For the life of tokens, in seconds.
    pub at: Timestamp,
    /// For backing off, in milliseconds since the Unix epoch.
    pub ms: i64,
}

impl Now {
    /// Reads the wall clock.
    pub fn read() -> Self {
        Self { at: Timestamp::now(), ms: crate::clock::now_ms() }
    }
}

/// What to do next. A fallback is a token that is still valid, though not for long enough.
#[derive(Clone, Debug)]
pub enum Decision<'s> {
    /// Hand out this token.
    Fresh(&'s Token),
    /// Hand out this token, and renew it.
    Due(&'s Token),
    /// Renew first.
    Renew {
        /// The answer for a caller that cannot wait.
        fallback: Option<&'s Token>,
    },
    /// Do not ask the provider now.
    BackOff {
        /// The token to hand out, if there is one.
        fallback: Option<&'s Token>,
        /// Otherwise, the error to fail with.
        error: &'s LastError,
        /// How many milliseconds to leave the provider alone; 0 if the error is from the request that this call waited
        /// for.
        left_ms: u64,
    },
    /// Check the account of the sign-in that has just been made.
    Confirm {
        /// The answer for a caller that cannot wait.
        fallback: Option<&'s Token>,
    },
    /// A person must sign in.
    SignIn {
        /// The answer for a caller that cannot prompt.
        fallback: Option<&'s Token>,
        /// The reason shown to the person.
        because: Option<&'s str>,
        /// Only this caller's token needs the sign-in; the session as a whole is good.
        for_this: bool,
    },
}

/// Decides what a call does next. `started` is the state of the session when the call began.
pub fn policy<'s>(session: &'s Session, needs: &Needs, started: &Started, now: Now) -> Decision<'s> {
    if needs.by_browser && session.is_of_device_flow() {
        let because = Some("this session began by device code, and the profile wants one by browser");
        return Decision::SignIn { fallback: None, because, for_this: false };
    }
    let machine = needs.proof.is_some();
    if session.proof != needs.proof {
        // The session was made from another proof, e.g. by another CI job: use neither its tokens nor its error.
        return Decision::Renew { fallback: None };
    }
    let token = session.token(&needs.key);
    let is_new = token.is_some_and(|token| Some(token.serial) != started.token);
    let signed_in_since = session.begun.as_ref().map(|begun| begun.serial) != started.begun;
    let effort = if signed_in_since || is_new { Effort::Least } else { needs.effort };
    let usable = token.filter(|token| effort == Effort::Least && needs.takes(token, is_new));
    let renewable = machine || session.refresh_token.is_some();
    if let Some(token) = usable {
        let due = renewable && (token.refresh_at.is_some_and(|at| at <= now.at) || !needs.early_enough(token, now.at));
        // A token that came during this call is handed out however short its life, because no better one can be had.
        if (is_new && token.lives(now.at, 1)) || (needs.enough(token, now.at) && !due) {
            return Decision::Fresh(token);
        }
        if needs.enough(token, now.at) {
            let waits = backing_off(session, needs, Some(token), now).is_some();
            return if waits { Decision::Fresh(token) } else { Decision::Due(token) };
        }
    }
    let doubtful = token.filter(|_| matches!(needs.refused, Some(RefusedToken::Perhaps(_))) && needs.claims.is_none());
    let fallback = usable.or(doubtful.filter(|_| effort == Effort::Least)).filter(|token| token.lives(now.at, 1));
    let unmet = session.unmet.iter().find(|unmet| unmet.key == needs.key && Some(unmet.serial) != started.unmet);
    if let Some(unmet) = unmet {
        return Decision::SignIn { fallback, because: Some(&unmet.because), for_this: true };
    }
    if let Some(error) = last_error(session, needs).filter(|error| Some(error.serial) != started.last_error) {
        if effort == Effort::Confirm && error.exit == Exit::Failed && !machine {
            // The session is of no use as it is, and a person is there who can sign in.
            return Decision::SignIn { fallback, because: Some(&error.message), for_this: false };
        }
        return Decision::BackOff { fallback, error, left_ms: 0 };
    }
    if effort == Effort::Least
        && let Some((error, left_ms)) = backing_off(session, needs, fallback, now)
    {
        return Decision::BackOff { fallback, error, left_ms };
    }
    if session.unconfirmed.is_some() && effort != Effort::SignIn {
        return Decision::Confirm { fallback };
    }
    if machine || (renewable && effort != Effort::SignIn) {
        return Decision::Renew { fallback };
    }
    if let Some(token) = doubtful.filter(|token| effort == Effort::Least && token.lives(now.at, 1)) {
        return Decision::Fresh(token);
    }
    Decision::SignIn { fallback, because: because(session, now.at), for_this: false }
}

impl Needs {
    /// Whether a token may be handed out to this caller at all, regardless of its remaining life.
    fn takes(&self, token: &Token, is_new: bool) -> bool {
        let refused = match self.refused {
            Some(RefusedToken::Surely(serial) | RefusedToken::Perhaps(serial)) => token.serial == serial,
            None => false,
        };
        // A challenge names what the old token lacked, even if that token was issued for the same challenge before.
        !refused && self.claims.is_none_or(|claims| is_new && token.claims == Some(claims))
    }

    /// Least remaining life in seconds: never more than a quarter of the token's life, because a short-lived token
    /// would otherwise be refreshed on every call.
    fn minimum(&self, token: &Token) -> u64 {
        let least = if self.early_refresh { self.min_ttl.unwrap_or(self.min_life) } else { MIN_LIFE_LATE };
        least.min(token.lifetime.unwrap_or(u64::MAX) / 4)
    }

    fn enough(&self, token: &Token, now: Timestamp) -> bool {
        token.lives(now, self.minimum(token))
    }

    /// Whether it is too early to renew a token. Unless the profile sets `min_ttl`, a share derived from the serial is
    /// added, up to a quarter of the token's life, so that tokens issued together, as after an outage, are not all
    /// renewed together.
    fn early_enough(&self, token: &Token, now: Timestamp) -> bool {
        let minimum = self.minimum(token);
        let spread = match token.lifetime {
            Some(life) if self.min_ttl.is_none() && self.early_refresh => token.serial.share_of(life / 4 - minimum),
            _ => 0,
        };
        token.lives(now, minimum + spread)
    }
}

/// The last error, if it concerns this caller.
fn last_error<'s>(session: &'s Session, needs: &Needs) -> Option<&'s LastError> {
    session.last_error.as_ref().filter(|error| error.key.as_ref().is_none_or(|key| *key == needs.key))
}

/// The error because of which this caller must not ask the provider, and for how many more milliseconds. `token` is the
/// token that the caller can hand out meanwhile, if it has one.
fn backing_off<'s>(
    session: &'s Session,
    needs: &Needs,
    token: Option<&Token>,
    now: Now,
) -> Option<(&'s LastError, u64)> {
    let error = last_error(session, needs)?;
    let whole = if token.is_some() { error.backoff.with_token_ms } else { error.backoff.without_ms };
    left(error.at_ms, whole, now).map(|left| (error, left))
}

/// How much is left at `now` of `whole` milliseconds since `at_ms`; `None` if nothing is. An error from the future was
/// written before the clock was set back, and is ignored.
fn left(at_ms: i64, whole: u64, now: Now) -> Option<u64> {
    let passed = u64::try_from(now.ms.saturating_sub(at_ms)).ok()?;
    whole.checked_sub(passed).filter(|left| *left > 0)
}

fn because(session: &Session, now: Timestamp) -> Option<&str> {
    let ended = !session.tokens.is_empty() && !session.tokens.iter().any(|token| token.lives(now, 1));
    let without = ended.then_some("the last token has ended and there is none to renew it with");
    session.ended_because.as_deref().or(without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::config::SessionKey;
    use crate::failure::Failure;
    use crate::providers::TokenKind;
    use crate::secret::Secret;
    use crate::session::{Begun, Failed, FlowKind, Grant, Unconfirmed, Unmet};

    const NOW: Now = Now { at: Timestamp(10_000), ms: 10_000_000 };

    fn key() -> TokenKey {
        TokenKey { kind: TokenKind::Access, scopes: vec!["a".into()], tenant: None, audience: None, resource: None }
    }

    fn serial(digits: &str) -> Serial {
        Serial::parse(&format!("{digits:0>16}")).unwrap()
    }

    /// A token with a lifetime of one hour that is valid for `left` more seconds; its serial adds no spread.
    fn token(left: i64) -> Token {
        Token {
            key: key(),
            token: Secret::from("t".to_owned()),
            serial: serial("0"),
            received_at: Timestamp(NOW.at.0 + left - 3600),
            expires_at: Some(Timestamp(NOW.at.0 + left)),
            lifetime: Some(3600),
            refresh_at: None,
            tenant: None,
            claims: None,
        }
    }

    fn session(tokens: Vec<Token>, renewable: bool) -> Session {
        let key = SessionKey {
            authority: "https://id.example".into(),
            client_id: "c".into(),
            label: String::new(),
            parts: std::collections::BTreeMap::new(),
        };
        let refresh_token = renewable.then(|| Secret::from("r".to_owned()));
        Session { refresh_token, tokens, ..Session::new(&key) }
    }

    fn needs() -> Needs {
        Needs {
            key: key(),
            min_life: 300,
            min_ttl: None,
            early_refresh: true,
            effort: Effort::Least,
            refused: None,
            claims: None,
            by_browser: false,
            proof: None,
        }
    }

    /// A decision in one word, with `+` if it has a fallback.
    fn word(decision: &Decision<'_>) -> String {
        let with = |word: &str, fallback: &Option<_>| format!("{word}{}", if fallback.is_some() { "+" } else { "" });
        match decision {
            Decision::Fresh(_) => "fresh".into(),
            Decision::Due(_) => "due".into(),
            Decision::Renew { fallback } => with("renew", fallback),
            Decision::BackOff { fallback, .. } => with("back off", fallback),
            Decision::Confirm { fallback } => with("confirm", fallback),
            Decision::SignIn { fallback, for_this: false, .. } => with("sign in", fallback),
            Decision::SignIn { fallback, for_this: true, .. } => with("sign in for this", fallback),
        }
    }

    /// The decision for a call that began with this session.
    fn decided(session: &Session, needs: &Needs) -> String {
        word(&policy(session, needs, &Started::of(session, &needs.key), NOW))
    }

    #[test]
    fn the_life_that_is_left_decides() {
        for (left, renewable, word) in [
            (3600, true, "fresh"),
            (301, true, "fresh"),
            (300, true, "fresh"),
            (299, true, "renew+"),
            (1, true, "renew+"),
            (0, true, "renew"),
            (-1, true, "renew"),
            (300, false, "fresh"),
            (299, false, "sign in+"),
            (0, false, "sign in"),
        ] {
            assert_eq!(decided(&session(vec![token(left)], renewable), &needs()), word, "{left} {renewable}");
        }
        assert_eq!(decided(&session(vec![], true), &needs()), "renew");
        assert_eq!(decided(&session(vec![], false), &needs()), "sign in");
        let endless = Token { expires_at: None, lifetime: None, ..token(0) };
        assert_eq!(decided(&session(vec![endless], true), &needs()), "fresh");
    }

    /// A machine asks again instead of prompting, and ignores a session that was made from another proof.
    #[test]
    fn a_machine_asks_again_and_takes_nothing_that_another_made() {
        let proof = Proof::of(["job 1"]);
        let machine = |effort| Needs { proof: Some(proof.clone()), effort, ..needs() };
        let made = |tokens| Session { proof: Some(proof.clone()), ..session(tokens, false) };
        for (left, word) in [(3600, "fresh"), (299, "renew+"), (0, "renew")] {
            assert_eq!(decided(&made(vec![token(left)]), &machine(Effort::Least)), word, "{left}");
        }
        assert_eq!(decided(&made(vec![]), &machine(Effort::Least)), "renew");
        assert_eq!(decided(&made(vec![token(3600)]), &machine(Effort::Confirm)), "renew");
        let mut failed = made(vec![token(100)]);
        let failure = Failure::new(Exit::Failed, "no");
        failed.failed(Failed { failure, key: None, back_off: None }, NOW.ms);
        let before = Started { last_error: None, ..Started::of(&failed, &key()) };
        let since = policy(&failed, &machine(Effort::Confirm), &before, NOW);
        assert_eq!(word(&since), "back off", "an error is an error: nobody is asked to sign in");
        let others = Session { proof: Some(Proof::of(["job 2"])), ..failed };
        assert_eq!(decided(&others, &machine(Effort::Least)), "renew");
        assert_eq!(decided(&session(vec![token(3600)], false), &machine(Effort::Least)), "renew");
    }

    #[test]
    fn enough_is_at_most_a_quarter_of_a_tokens_life_and_spread_by_its_serial() {
        let decided = |life: i64, left: i64, serial: Serial, needs: &Needs| {
            let token = Token { lifetime: Some(life.unsigned_abs()), serial, ..token(left) };
            decided(&session(vec![token], true), needs)
        };
        // A lifetime of ten minutes: 150 seconds are a quarter of it.
        assert_eq!([150, 149].map(|left| decided(600, left, serial("0"), &needs())), ["fresh", "renew+"]);
        // A lifetime of one hour: enough from 300 seconds on, and due up to 900 depending on the serial.
        let late = serial(&format!("{:x}", 599));
        assert_eq!(
            [899, 898, 300, 299].map(|left| decided(3600, left, late, &needs())),
            ["fresh", "due", "due", "renew+"]
        );
        // The spread is 600 seconds, the difference of the two; larger serials wrap around.
        let beyond = serial(&format!("{:x}", 601));
        assert_eq!([301, 300].map(|left| decided(3600, left, beyond, &needs())), ["fresh", "due"]);
        // No spread if the profile sets `min_ttl`; the late minimum if a refresh invalidates the old token.
        let said = Needs { min_ttl: Some(600), ..needs() };
        assert_eq!([600, 599].map(|left| decided(3600, left, late, &said)), ["fresh", "renew+"]);
        let kills = Needs { early_refresh: false, min_ttl: Some(600), ..needs() };
        assert_eq!([30, 29].map(|left| decided(3600, left, late, &kills)), ["fresh", "renew+"]);
    }

    #[test]
    fn what_a_call_began_with_is_known() {
        let before = Started::of(&session(vec![token(1)], true), &key());
        assert!(before.had(serial("0")) && !before.had(serial("1")));
        assert!(!Started::default().had(serial("0")));
    }

    #[test]
    fn past_refresh_in_a_token_is_due_if_it_can_be_renewed() {
        let told = |at| vec![Token { refresh_at: Some(Timestamp(at)), ..token(3000) }];
        assert_eq!(decided(&session(told(10_000), true), &needs()), "due");
        assert_eq!(decided(&session(told(10_001), true), &needs()), "fresh");
        assert_eq!(decided(&session(told(10_000), false), &needs()), "fresh");
    }

    #[test]
    fn only_the_token_that_was_asked_for_counts() {
        let other = TokenKey { scopes: vec!["a".into(), "b".into()], ..key() };
        assert_eq!(decided(&session(vec![Token { key: other, ..token(3600) }], true), &needs()), "renew");
        let id = key().of_kind(TokenKind::Id);
        assert_eq!(decided(&session(vec![Token { key: id, ..token(3600) }], false), &needs()), "sign in");
    }

    #[test]
    fn a_token_that_did_not_work_is_not_handed_out_again() {
        let needs = |refused| Needs { refused: Some(refused), ..needs() };
        let (this, another) = (serial("0"), serial("1"));
        for (refused, renewable, word) in [
            (RefusedToken::Surely(another), true, "fresh"),
            (RefusedToken::Surely(this), true, "renew"),
            (RefusedToken::Surely(this), false, "sign in"),
            (RefusedToken::Perhaps(this), true, "renew+"),
            (RefusedToken::Perhaps(this), false, "fresh"),
        ] {
            assert_eq!(decided(&session(vec![token(3600)], renewable), &needs(refused)), word, "{refused:?}");
        }
        // A token that perhaps did not work is a last resort, as long as it is valid and the caller accepts a cached
        // one.
        let perhaps = |effort| Needs { effort, ..needs(RefusedToken::Perhaps(this)) };
        assert_eq!(decided(&session(vec![token(0)], false), &perhaps(Effort::Least)), "sign in");
        assert_eq!(decided(&session(vec![token(3600)], false), &perhaps(Effort::Confirm)), "sign in");
    }

    /// A machine renews where a person would sign in.
    #[test]
    fn where_nobody_signs_in_a_new_sign_in_is_a_renewal() {
        let efforts = [Effort::Least, Effort::Confirm, Effort::SignIn].map(Effort::without_a_person);
        assert_eq!(efforts, [Effort::Least, Effort::Confirm, Effort::Confirm]);
    }

    #[test]
    fn a_profile_for_the_browser_takes_nothing_that_began_by_device_code() {
        let begun = |flow| Some(Begun { serial: serial("7"), at: NOW.at, flow, key: None, renewable: true });
        let by_browser = Needs { by_browser: true, ..needs() };
        for (flow, needs, word) in [
            (FlowKind::Device, &needs(), "fresh"),
            (FlowKind::Device, &by_browser, "sign in"),
            (FlowKind::Browser, &needs(), "fresh"),
            (FlowKind::Browser, &by_browser, "fresh"),
        ] {
            let session = Session { begun: begun(flow), ..session(vec![token(3600)], true) };
            assert_eq!(decided(&session, needs), word, "{flow:?}");
        }
    }

    #[test]
    fn a_claims_challenge_is_answered_by_a_new_token_that_answers_it() {
        let (asked, other) = (ClaimsDigest::of("{}"), ClaimsDigest::of("{\"a\":1}"));
        let needs = Needs { claims: Some(asked), ..needs() };
        let with = |claims| session(vec![Token { claims, serial: serial("7"), ..token(3600) }], true);
        for (claims, at_start, since) in
            [(Some(asked), "renew", "fresh"), (Some(other), "renew", "renew"), (None, "renew", "renew")]
        {
            assert_eq!(decided(&with(claims), &needs), at_start);
            let word = word(&policy(&with(claims), &needs, &Started::default(), NOW));
            assert_eq!(word, since, "{claims:?}");
        }
    }

    #[test]
    fn more_effort_wants_something_that_happened_since() {
        let old = session(vec![token(3600)], true);
        let confirm = Needs { effort: Effort::Confirm, ..needs() };
        let sign_in = Needs { effort: Effort::SignIn, ..needs() };
        assert_eq!((decided(&old, &confirm), decided(&old, &sign_in)), ("renew".into(), "sign in".into()));
        assert_eq!(decided(&session(vec![], false), &confirm), "sign in");
        let started = Started::of(&old, &key());
        // Another process renewed it, however short the new token's life.
        let renewed = session(vec![Token { serial: serial("7"), ..token(5) }], true);
        for needs in [&confirm, &sign_in] {
            assert_eq!(word(&policy(&renewed, needs, &started, NOW)), "fresh");
        }
        // Another process signed in for more scopes; a refresh narrows the grant to the wanted ones.
        let begun = Begun { serial: serial("7"), at: NOW.at, flow: FlowKind::Device, key: None, renewable: true };
        let signed_in = Session { begun: Some(begun), ..session(vec![], true) };
        assert_eq!(word(&policy(&signed_in, &sign_in, &started, NOW)), "renew");
    }

    fn failed(exit: Exit, backoff: Backoff, at_ms: i64, key: Option<TokenKey>) -> LastError {
        let mut session = session(vec![], true);
        session.failed(Failed { failure: Failure::new(exit, "no"), key, back_off: None }, at_ms);
        LastError { backoff, ..session.last_error.unwrap() }
    }

    #[test]
    fn after_an_error_the_provider_is_left_alone_for_longer_by_those_who_have_a_token() {
        let backoff = Backoff { with_token_ms: 60_000, without_ms: 2_000 };
        let after = |ms: i64, left: i64, needs: &Needs| {
            let last_error = Some(failed(Exit::Unreachable, backoff, NOW.ms - ms, None));
            decided(&Session { last_error, ..session(vec![token(left)], true) }, needs)
        };
        for (ms, left, word) in [
            (1, 299, "back off+"),
            (59_999, 299, "back off+"),
            (60_000, 299, "renew+"),
            (1_999, 0, "back off"),
            (2_000, 0, "renew"),
            // The error is from the future, because the clock has been set back since.
            (-1, 0, "renew"),
            (1, 3600, "fresh"),
        ] {
            assert_eq!(after(ms, left, &needs()), word, "{ms} ms, {left} s");
        }
        assert_eq!(after(1, 299, &Needs { effort: Effort::Confirm, ..needs() }), "renew");
        // A renewal that is only due can wait.
        let told = Token { refresh_at: Some(NOW.at), ..token(3000) };
        let last_error = Some(failed(Exit::Unreachable, backoff, NOW.ms - 1, None));
        assert_eq!(decided(&Session { last_error, ..session(vec![told], true) }, &needs()), "fresh");
    }

    #[test]
    fn an_error_since_the_call_began_is_this_calls_as_well_unless_it_is_about_something_else() {
        let none = Backoff::default();
        let since = |exit, key, left, needs: &Needs| {
            let last_error = Some(failed(exit, none, NOW.ms, key));
            let session = Session { last_error, ..session(vec![token(left)], true) };
            let started = Started { last_error: None, ..Started::of(&session, &needs.key) };
            word(&policy(&session, needs, &started, NOW))
        };
        let confirm = Needs { effort: Effort::Confirm, ..needs() };
        let other = key().of_kind(TokenKind::Id);
        assert_eq!(since(Exit::Unreachable, None, 299, &needs()), "back off+");
        assert_eq!(since(Exit::Unreachable, None, 0, &needs()), "back off");
        assert_eq!(since(Exit::Failed, Some(key()), 0, &needs()), "back off");
        assert_eq!(since(Exit::Failed, Some(other), 0, &needs()), "renew");
        assert_eq!(since(Exit::Unreachable, None, 299, &confirm), "back off");
        // A person who wants to sign in is asked, although the session's last error says that it is of no use.
        assert_eq!(since(Exit::Failed, Some(key()), 299, &confirm), "sign in");
    }

    #[test]
    fn what_needs_a_sign_in_of_its_own_is_told_to_those_who_waited_and_asked_again_by_the_next() {
        let unmet = vec![Unmet { serial: serial("7"), key: key(), because: "why".into() }];
        let session = Session { unmet, ..session(vec![token(100)], true) };
        let decision = policy(&session, &needs(), &Started { unmet: None, ..Started::of(&session, &key()) }, NOW);
        assert_eq!(word(&decision), "sign in for this+");
        assert!(matches!(decision, Decision::SignIn { because: Some("why"), .. }));
        assert_eq!(decided(&session, &needs()), "renew+");
    }

    #[test]
    fn a_sign_in_that_was_not_confirmed_comes_before_anything_but_a_good_token() {
        let grant = Grant {
            refresh_token: None,
            tokens: vec![],
            asked: vec![],
            granted: vec![],
            account: None,
            at: NOW.at,
            by: String::new(),
        };
        let unconfirmed = || Some(Unconfirmed { flow: FlowKind::Device, grant: grant.clone() });
        let with = |left| Session { unconfirmed: unconfirmed(), ..session(vec![token(left)], true) };
        assert_eq!([3600, 299, 0].map(|left| decided(&with(left), &needs())), ["fresh", "confirm+", "confirm"]);
        assert_eq!(decided(&with(3600), &Needs { effort: Effort::SignIn, ..needs() }), "sign in");
    }

    #[test]
    fn why_a_person_is_asked_is_said() {
        let because = |session: &Session| match policy(session, &needs(), &Started::of(session, &key()), NOW) {
            Decision::SignIn { because, .. } => because.map(str::to_owned),
            decision => panic!("{decision:?}"),
        };
        assert_eq!(because(&session(vec![], false)), None);
        let ended = session(vec![token(-1)], false);
        let said = "the last token has ended and there is none to renew it with";
        assert_eq!(because(&ended).as_deref(), Some(said));
        let told = Session { ended_because: Some("the provider ended the session (no)".into()), ..ended };
        assert_eq!(because(&told).as_deref(), Some("the provider ended the session (no)"));
    }
}
