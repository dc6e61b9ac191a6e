//! What may be handed out of a session, and what has to be done first: one function without clock, disk or network.
//!
//! | decision | when | what the caller does |
//! |---|---|---|
//! | fresh | a token lives long enough | hands it out |
//! | due | the same, but it is time to renew it | hands it out, and has it renewed |
//! | renew | it ends too soon, or there is none | waits for a renewal; the old token is the answer if that takes long |
//! | back off | the provider has just failed | hands out the old token, or fails as the last one did |
//! | confirm | a sign-in's account could not be checked yet | checks it |
//! | sign in | nothing but a person helps | hands out the old token, or has a person sign in |

use crate::clock::Timestamp;
use crate::failure::Exit;
use crate::session::{ClaimsDigest, LastError, Proof, Serial, Session, Token, TokenKey};

/// Least life of a token handed out where a refresh kills the one before, in seconds.
const MIN_LIFE_LATE: u64 = 30;

/// What a caller needs of a session.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Which token.
    pub key: TokenKey,
    /// Least life it must have left, in seconds, unless the profile says.
    pub min_life: u64,
    /// What the profile says about that, in seconds.
    pub min_ttl: Option<u64>,
    /// Whether a token may be renewed while it still has minutes to live. Where a refresh kills it, it may not.
    pub early_refresh: bool,
    /// How much of what is there will do.
    pub effort: Effort,
    /// A token that was handed out before and did not work: anything but this one.
    pub refused: Option<Refused>,
    /// The claims challenge that the token must answer.
    pub claims: Option<ClaimsDigest>,
    /// Nothing of a session that began by device code will do.
    pub by_browser: bool,
    /// What a machine makes tokens from: it can always ask for another, and no person helps. None where a person signs in.
    pub proof: Option<Proof>,
}

/// How much of what is there will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Anything good: the cached token, a refreshed one, a new sign-in.
    Least,
    /// The provider must confirm the session: refresh, or sign in, also if that was refused a moment ago.
    Confirm,
    /// A new sign-in.
    SignIn,
}

impl Effort {
    /// The same where there is nobody to sign in.
    #[must_use]
    pub fn without_a_person(self) -> Self {
        if self == Self::SignIn { Self::Confirm } else { self }
    }
}

/// A token that was handed out before, and did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The caller says so.
    Surely(Serial),
    /// It looks that way. If no other can be had right now, this one will do.
    Perhaps(Serial),
}

/// How the session stood when a call began: what differs now happened meanwhile, whatever any clock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    token: Option<Serial>,
    begun: Option<Serial>,
    last_error: Option<Serial>,
    unmet: Option<Serial>,
}

impl Started {
    /// What to remember of a session for a call that wants the token `key`.
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
    /// Whether this token was there.
    pub fn had(&self, token: Serial) -> bool {
        self.token == Some(token)
    }
}

/// The time, in both of the precisions that a session holds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// In seconds, for the life of tokens.
    pub at: Timestamp,
    /// In milliseconds since the Unix epoch, for backing off.
    pub ms: i64,
}

impl Now {
    /// By the wall clock.
    pub fn read() -> Self {
        Self { at: Timestamp::now(), ms: crate::clock::now_ms() }
    }
}

/// What to do; a fallback is a token that lives, though not for long enough.
#[derive(Clone, Debug)]
pub enum Decision<'s> {
    /// Hand this out.
    Fresh(&'s Token),
    /// Hand this out, and have it renewed.
    Due(&'s Token),
    /// Have it renewed first.
    Renew {
        /// For a caller that cannot wait.
        fallback: Option<&'s Token>,
    },
    /// Ask the provider nothing.
    BackOff {
        /// The answer, if there is one.
        fallback: Option<&'s Token>,
        /// Else this is.
        error: &'s LastError,
        /// For so many milliseconds; zero where it is the error of the request that this call waited for.
        left_ms: u64,
    },
    /// Check the account of the sign-in that has just been made.
    Confirm {
        /// For a caller that cannot wait.
        fallback: Option<&'s Token>,
    },
    /// Have a person sign in.
    SignIn {
        /// For a caller that cannot ask anybody.
        fallback: Option<&'s Token>,
        /// Why, for the person.
        because: Option<&'s str>,
        /// It is needed for just what this caller asks, not for the session as a whole.
        for_this: bool,
    },
}

/// Decides. `started` is how things were when the call began.
pub fn policy<'s>(session: &'s Session, needs: &Needs, started: &Started, now: Now) -> Decision<'s> {
    if needs.by_browser && session.is_of_device_flow() {
        let because = Some("this session began by device code, and the profile wants one by browser");
        return Decision::SignIn { fallback: None, because, for_this: false };
    }
    let machine = needs.proof.is_some();
    if session.proof != needs.proof {
        // Another CI job's, for instance: nothing of it is this one's, not even its error.
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
        // One that has just come is all that can be had, however short its life.
        if (is_new && token.lives(now.at, 1)) || (needs.enough(token, now.at) && !due) {
            return Decision::Fresh(token);
        }
        if needs.enough(token, now.at) {
            let waits = backing_off(session, needs, Some(token), now).is_some();
            return if waits { Decision::Fresh(token) } else { Decision::Due(token) };
        }
    }
    let doubtful = token.filter(|_| matches!(needs.refused, Some(Refused::Perhaps(_))) && needs.claims.is_none());
    let fallback = usable.or(doubtful.filter(|_| effort == Effort::Least)).filter(|token| token.lives(now.at, 1));
    let unmet = session.unmet.iter().find(|unmet| unmet.key == needs.key && Some(unmet.serial) != started.unmet);
    if let Some(unmet) = unmet {
        return Decision::SignIn { fallback, because: Some(&unmet.because), for_this: true };
    }
    if let Some(error) = last_error(session, needs).filter(|error| Some(error.serial) != started.last_error) {
        if effort == Effort::Confirm && error.exit == Exit::Failed && !machine {
            // The session is of no use as it is, and a person is there who wants one that is.
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
    /// Whether a token may be handed out to this caller at all, whatever life it has.
    fn takes(&self, token: &Token, is_new: bool) -> bool {
        let refused = match self.refused {
            Some(Refused::Surely(serial) | Refused::Perhaps(serial)) => token.serial == serial,
            None => false,
        };
        // A challenge names what the old token lacked, even one that answered the same challenge before.
        !refused && self.claims.is_none_or(|claims| is_new && token.claims == Some(claims))
    }

    /// Seconds that a token must have left: never more than a quarter of its life, or short-lived ones would be
    /// refreshed on every call.
    fn minimum(&self, token: &Token) -> u64 {
        let least = if self.early_refresh { self.min_ttl.unwrap_or(self.min_life) } else { MIN_LIFE_LATE };
        least.min(token.lifetime.unwrap_or(u64::MAX) / 4)
    }

    fn enough(&self, token: &Token, now: Timestamp) -> bool {
        token.lives(now, self.minimum(token))
    }

    /// Whether it is too early to renew a token. Unless the profile says how much life is enough, tokens differ by their
    /// serial, up to a quarter of their life: those that came together, as after an outage, are not renewed together.
    fn early_enough(&self, token: &Token, now: Timestamp) -> bool {
        let minimum = self.minimum(token);
        let spread = match token.lifetime {
            Some(life) if self.min_ttl.is_none() && self.early_refresh => token.serial.share_of(life / 4 - minimum),
            _ => 0,
        };
        token.lives(now, minimum + spread)
    }
}

/// What went wrong last, as far as it concerns this caller.
fn last_error<'s>(session: &'s Session, needs: &Needs) -> Option<&'s LastError> {
    session.last_error.as_ref().filter(|error| error.key.as_ref().is_none_or(|key| *key == needs.key))
}

/// The error because of which the provider is left alone by a caller with this token, or with none, and for how many
/// milliseconds more.
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

/// What is left at `now` of `whole` milliseconds since `at_ms`. An error from the future was written by a clock that has been
/// set right since.
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

    /// A token of an hour that lives for `left` seconds more; its serial adds nothing to what is enough.
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

    /// A decision in a word, with `+` where there is a fallback.
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

    /// What is decided for a call that began with this session.
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

    /// A machine asks again, and has nobody sign in; what was made from another proof is as if it were not there.
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
        // A token of ten minutes: 150 seconds are a quarter.
        assert_eq!([150, 149].map(|left| decided(600, left, serial("0"), &needs())), ["fresh", "renew+"]);
        // Of an hour: from 300 on, up to 900 by the serial; in between it is handed out and renewed.
        let late = serial(&format!("{:x}", 599));
        assert_eq!(
            [899, 898, 300, 299].map(|left| decided(3600, left, late, &needs())),
            ["fresh", "due", "due", "renew+"]
        );
        // The spread is what is between the two: a serial beyond it begins anew.
        let beyond = serial(&format!("{:x}", 601));
        assert_eq!([301, 300].map(|left| decided(3600, left, beyond, &needs())), ["fresh", "due"]);
        // Where the profile says, it is not spread; where a refresh kills the old token, it is late.
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
            (Refused::Surely(another), true, "fresh"),
            (Refused::Surely(this), true, "renew"),
            (Refused::Surely(this), false, "sign in"),
            (Refused::Perhaps(this), true, "renew+"),
            (Refused::Perhaps(this), false, "fresh"),
        ] {
            assert_eq!(decided(&session(vec![token(3600)], renewable), &needs(refused)), word, "{refused:?}");
        }
        // One that perhaps did not work is better than nothing only as long as it lives, and to a caller that takes it.
        let perhaps = |effort| Needs { effort, ..needs(Refused::Perhaps(this)) };
        assert_eq!(decided(&session(vec![token(0)], false), &perhaps(Effort::Least)), "sign in");
        assert_eq!(decided(&session(vec![token(3600)], false), &perhaps(Effort::Confirm)), "sign in");
    }

    /// A machine is asked to do by itself what a person would be asked for.
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
        // Renewed by another process, however short the new token's life.
        let renewed = session(vec![Token { serial: serial("7"), ..token(5) }], true);
        for needs in [&confirm, &sign_in] {
            assert_eq!(word(&policy(&renewed, needs, &started, NOW)), "fresh");
        }
        // Signed in for more scopes: a renewal narrows that down.
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
            // From the future: the clock has been set back since.
            (-1, 0, "renew"),
            (1, 3600, "fresh"),
        ] {
            assert_eq!(after(ms, left, &needs()), word, "{ms} ms, {left} s");
        }
        assert_eq!(after(1, 299, &Needs { effort: Effort::Confirm, ..needs() }), "renew");
        // What is due can wait.
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
        // A person who signs in is not kept from it by a session that is of no use.
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
