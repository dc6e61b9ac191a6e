//! What each event does to a session.

use super::*;
use serde_json::{Value, from_value, json, to_value};

const NOW: Timestamp = Timestamp(10_000);

fn key(scope: &str) -> TokenKey {
    from_value(json!({ "kind": "access", "scopes": [scope] })).unwrap()
}

/// A token that is valid for `left` more seconds.
fn token(word: &str, key: impl Into<TokenKey>, left: i64) -> Token {
    let key = key.into();
    let token = json!({ "key": key, "token": word, "received_at": NOW, "expires_at": NOW.0 + left });
    from_value(token).unwrap()
}

fn account(name: &str, subject: Option<&str>, tenant: Option<&str>) -> Account {
    Account { name: name.into(), subject: subject.map(Into::into), tenant: tenant.map(Into::into) }
}

fn session(refresh_token: Option<&str>, tokens: Vec<Token>) -> Session {
    let key = SessionKey {
        authority: "https://id.example.com".into(),
        client_id: "c".into(),
        label: String::new(),
        parts: BTreeMap::new(),
    };
    let refresh_token = refresh_token.map(|token| Secret::from(token.to_owned()));
    Session { refresh_token, tokens, ..Session::new(&key) }
}

fn grant(refresh_token: Option<&str>, tokens: Vec<Token>, granted: &[&str]) -> Grant {
    let refresh_token = refresh_token.map(|token| Secret::from(token.to_owned()));
    let granted: Vec<String> = granted.iter().map(|&scope| scope.to_owned()).collect();
    Grant {
        refresh_token,
        tokens,
        asked: vec!["a".into(), "b".into()],
        granted,
        account: None,
        at: NOW,
        by: "git".into(),
    }
}

/// The refresh token, and the other tokens.
fn tokens(session: &Session) -> (Option<&str>, Vec<&str>) {
    let refresh = session.refresh_token.as_ref().map(Secret::expose);
    (refresh, session.tokens.iter().map(|token| token.token.expose()).collect())
}

fn unmet(session: &Session) -> Vec<&str> {
    session.unmet.iter().map(|unmet| unmet.because.as_str()).collect()
}

fn failed(exit: Exit, back_off: bool) -> Failed {
    let back_off = back_off.then_some(Retry { retry_after: Some(7), chance: 0.5 });
    Failed { failure: Failure::new(exit, "no\nnetwork").hint("look"), key: None, back_off }
}

#[test]
fn who_has_a_refresh_token_or_one_that_lives_is_signed_in() {
    let of = |refresh, left: Option<i64>| {
        session(refresh, left.map(|left| token("t", key("a"), left)).into_iter().collect()).is_signed_in(NOW)
    };
    assert!(of(Some("r"), None) && of(None, Some(1)) && of(Some("r"), Some(-1)));
    assert!(!of(None, None) && !of(None, Some(-1)));
}

#[test]
fn a_policys_refusal_of_the_device_flow_counts_for_seven_days() {
    let mut session = session(None, vec![]);
    let refused = DeviceRefused { at: NOW, because: "policy".into() };
    session.device_refused = Some(refused);
    for (now, counts) in [(-1, false), (0, true), (604_799, true), (604_800, false)] {
        assert_eq!(session.device_refused(Timestamp(NOW.0 + now)).is_some(), counts, "{now}");
    }
}

#[test]
fn a_flow_has_words_for_a_person() {
    assert_eq!([FlowKind::Device, FlowKind::Browser].map(|flow| flow.to_string()), ["by device code", "by browser"]);
}

fn pending(flow: &Value) -> Pending {
    let pending = json!({
        "scopes": ["a"], "key": key("a"), "started_at": NOW, "expires_at": NOW.0 + 900, "asked_by": "git", "flow": flow
    });
    from_value(pending).unwrap()
}

fn by_device(device_code: &str) -> Pending {
    let verification_uri = "https://id.example.com/device";
    pending(&json!({
        "kind": "device", "device_code": device_code, "user_code": "AB-CD", "verification_uri": verification_uri,
        "interval": 5
    }))
}

fn by_browser(address: &str) -> Pending {
    pending(&json!({ "kind": "browser", "address": address }))
}

#[test]
fn a_pending_sign_in_lives_until_its_code_expires_unless_the_clock_was_set_back() {
    for (now, lives) in [(-61, false), (-60, true), (0, true), (899, true), (900, false), (901, false)] {
        assert_eq!(by_device("d1").lives(Timestamp(NOW.0 + now)), lives, "{now}");
    }
}

#[test]
fn a_pending_sign_in_is_known_by_what_nobody_else_has() {
    let (device, browser) = (by_device("d1"), by_browser("http://127.0.0.1:1/x"));
    assert!(device.is(&by_device("d1")) && !device.is(&by_device("d2")));
    assert!(browser.is(&by_browser("http://127.0.0.1:1/x")) && !browser.is(&by_browser("http://127.0.0.1:1/y")));
    assert!(!device.is(&browser) && !browser.is(&device));
}

#[test]
fn only_a_device_sign_in_has_a_device_code() {
    let (mut device, mut browser) = (by_device("d1"), by_browser("http://127.0.0.1:1/x"));
    assert_eq!(device.device().map(|it| it.user_code.as_str()), Some("AB-CD"));
    device.device_mut().unwrap().interval = 10;
    assert_eq!(device.device().unwrap().interval, 10);
    assert!(browser.device().is_none() && browser.device_mut().is_none());
    assert_eq!([device.kind(), browser.kind()], [FlowKind::Device, FlowKind::Browser]);
}

#[test]
fn a_token_lives_for_as_long_as_it_is_valid_by_a_clock_that_can_be_trusted() {
    let token = token("t", key("a"), 300);
    for (now, seconds, lives) in [
        (0, 300, true),
        (0, 301, false),
        (299, 1, true),
        (299, 2, false),
        (300, 0, false),
        // The clock was set back by a minute, and by a second more.
        (-60, 0, true),
        (-61, 0, false),
    ] {
        assert_eq!(token.lives(Timestamp(NOW.0 + now), seconds), lives, "{now} {seconds}");
    }
    assert!(Token { expires_at: None, ..token }.lives(Timestamp(i64::MAX), u64::MAX));
}

#[test]
fn a_key_holds_its_scopes_sorted_and_once() {
    let scopes = ["b", "a", "b"].map(str::to_owned);
    let other = TokenKey { tenant: Some("t".into()), ..key("x") }.with_scopes(&scopes);
    assert_eq!((other.scopes.concat(), other.tenant.as_deref()), ("ab".into(), Some("t")));
}

#[test]
fn a_serial_is_sixteen_digits_and_drawn_by_chance() {
    let text = "00000000000000ff";
    let serial = Serial::parse(text).unwrap();
    assert_eq!((serial.to_string().as_str(), serial.share_of(16), serial.share_of(0)), (text, 15, 0));
    for wrong in ["", "ff", "00000000000000FF", "+0000000000000ff", "00000000000000ff0", "00000000000000fg"] {
        assert_eq!(Serial::parse(wrong), None, "{wrong}");
    }
    assert_ne!(Serial::draw(), Serial::draw());
}

#[test]
fn a_proof_tells_its_parts_apart() {
    let text = |parts: &[&str]| Proof::of(parts.iter().copied()).as_str().to_owned();
    assert_eq!(text(&["ab", "c"]), "8ebef3ffc2725aa286199dfeb83d72f3");
    assert_ne!(text(&["ab", "c"]), text(&["a", "bc"]));
}

#[test]
fn a_sign_in_takes_the_place_of_what_was_there() {
    let old = || {
        let mut old = session(Some("r0"), vec![token("t0", key("x"), 60)]);
        old.account = Some(account("ada", Some("1"), None));
        old.unmet(key("y"), "policy".into());
        old.ended_because = Some("revoked".into());
        old.refusal =
            Some(Refusal { at_ms: 1, message: "denied".into(), hint: None, expired: false, exit: Exit::Refused });
        old.granted = vec!["x".into()];
        old.failed(failed(Exit::Unreachable, true), 1);
        old
    };
    let mut signed_in = old();
    let mut brought = grant(Some("r1"), vec![token("t1", key("a"), 60)], &["a", "c"]);
    brought.account = Some(account("grace", Some("2"), None));
    signed_in.signed_in(brought, FlowKind::Device);
    assert_eq!(tokens(&signed_in), (Some("r1"), vec!["t1"]));
    assert_eq!(signed_in.account.as_ref().map(|account| account.name.as_str()), Some("grace"));
    assert_eq!((signed_in.asked.concat(), signed_in.granted.concat()), ("ab".into(), "a".into()));
    let left = (&signed_in.refusal, &signed_in.ended_because, &signed_in.last_error, unmet(&signed_in).len());
    assert_eq!(left, (&None, &None, &None, 0));
    assert_eq!(signed_in.fetched, Some(Fetched { by: "git".into(), at: NOW }));
    let begun = signed_in.begun.as_ref().unwrap();
    assert_eq!((begun.at, begun.flow, begun.renewable), (NOW, FlowKind::Device, true));
    assert!(signed_in.was_begun_for(&key("a").of_kind(TokenKind::Id)) && !signed_in.was_begun_for(&key("b")));
    assert!(session(None, vec![]).was_begun_for(&key("b")), "nobody knows");

    // Without a refresh token the old tokens cannot be requested again, so they stay. A grant without an account's name
    // leaves the name as it is.
    let mut signed_in = old();
    signed_in.signed_in(grant(None, vec![token("t1", key("a"), 60)], &[]), FlowKind::Device);
    assert_eq!(tokens(&signed_in), (None, vec!["t0", "t1"]));
    assert_eq!(signed_in.account.as_ref().map(|account| account.name.as_str()), Some("ada"));
    assert!(!signed_in.begun.unwrap().renewable);
}

#[test]
fn a_renewal_replaces_what_it_brings_and_drops_what_has_ended() {
    let mut renewed =
        session(Some("r0"), vec![token("a0", key("a"), 60), token("b0", key("b"), 60), token("c0", key("c"), -1)]);
    renewed.asked = vec!["a".into(), "b".into()];
    renewed.unmet(key("a"), "was".into());
    renewed.unmet(key("z"), "stays".into());
    renewed.failed(failed(Exit::Unreachable, true), 1);
    renewed.renewed(grant(None, vec![token("a1", key("a"), 60)], &["a", "a", "z"]));
    assert_eq!(tokens(&renewed), (Some("r0"), vec!["b0", "a1"]));
    assert_eq!((renewed.granted.concat(), unmet(&renewed), &renewed.last_error), ("a".into(), vec!["stays"], &None));
    renewed.renewed(grant(Some("r1"), vec![token("b1", key("b"), -1)], &["b"]));
    assert_eq!(tokens(&renewed), (Some("r1"), vec!["a1"]));
    assert_eq!(renewed.granted.concat(), "ab");
}

#[test]
fn so_many_tokens_are_kept_the_last_that_came() {
    let scope = |number: usize| key(&number.to_string());
    let mut renewed = session(Some("r"), (0..500).map(|number| token("old", scope(number), 60)).collect());
    renewed.renewed(grant(None, vec![token("new", scope(0), 60)], &[]));
    assert_eq!(renewed.tokens.len(), 64);
    assert_eq!((&renewed.tokens[0].key, &renewed.tokens[63].key), (&scope(437), &scope(0)));
}

#[test]
fn what_ends_a_grant_leaves_its_reason() {
    let mut ended = session(Some("r"), vec![token("t", key("a"), 60)]);
    ended.failed(failed(Exit::Unreachable, true), 1);
    ended.ended("revoked".into());
    assert_eq!(tokens(&ended), (None, vec!["t"]));
    assert_eq!((ended.ended_because.as_deref(), ended.last_error), (Some("revoked"), None));
}

#[test]
fn so_many_answers_of_no_are_remembered_the_last_of_each() {
    let mut session = session(None, vec![]);
    for number in 0..20 {
        session.unmet(key(&number.to_string()), number.to_string());
    }
    session.unmet(key("10"), "again".into());
    let mut wanted: Vec<String> = (4..20).filter(|number| *number != 10).map(|number| number.to_string()).collect();
    wanted.push("again".into());
    assert_eq!(unmet(&session), wanted);
}

#[test]
fn failures_add_up_and_only_an_unreachable_provider_is_left_alone_without_a_token() {
    let mut session = session(None, vec![]);
    for (exit, failures, without_ms) in
        [(Exit::Unreachable, 1, 8750), (Exit::Unreachable, 2, 8750), (Exit::Failed, 3, 0)]
    {
        session.failed(failed(exit, true), 5);
        let error = session.last_error.as_ref().unwrap();
        assert_eq!((error.failures, error.backoff.without_ms, error.at_ms), (failures, without_ms, 5));
        assert!(error.backoff.with_token_ms > 0);
        assert_eq!(error.message, "no network");
    }
    session.failed(failed(Exit::Failed, false), 5);
    let error = session.last_error.unwrap();
    assert_eq!((error.failures, error.backoff), (0, Backoff::default()));
    let told = error.backing_off(1001);
    assert_eq!(told.message, "no network; it is not asked again for 2 s, except by `keyfob login`");
    assert_eq!((told.exit, told.hint), (Exit::Failed, Some(Hint::Words("look".into()))));
}

/// OpenID Connect Core, section 12.2: `sub` decides if both accounts are of one tenant.
#[test]
fn a_renewal_is_anothers_only_if_its_subject_says_so() {
    let mut session = session(None, vec![]);
    assert!(!session.is_of_another(&account("ada", Some("1"), None)));
    session.account = Some(account("ada", Some("1"), Some("t")));
    for (subject, tenant, other) in [
        (Some("2"), Some("t"), true),
        (Some("1"), Some("t"), false),
        (Some("2"), Some("u"), false),
        (None, Some("t"), false),
    ] {
        assert_eq!(session.is_of_another(&account("ada", subject, tenant)), other, "{subject:?} {tenant:?}");
    }
}

#[test]
fn a_sign_in_is_confirmed_for_its_own_account_alone() {
    let before = |subject| Session { account: Some(account("ada", subject, Some("t"))), ..session(None, vec![]) };
    let ada = |subject, tenant| account("ada", subject, tenant);
    for (subject, now, same) in [
        (Some("1"), Some(ada(Some("1"), Some("t"))), true),
        (Some("1"), Some(account("renamed", Some("1"), Some("t"))), true),
        (Some("1"), Some(ada(Some("2"), Some("t"))), false),
        (Some("1"), Some(ada(Some("2"), Some("u"))), true),
        (Some("1"), Some(account("grace", Some("1"), Some("u"))), false),
        (Some("1"), Some(ada(None, Some("t"))), false),
        (None, Some(ada(Some("1"), Some("t"))), true),
        (None, Some(account("grace", Some("1"), Some("t"))), false),
        (Some("1"), None, false),
    ] {
        assert_eq!(before(subject).confirms(None, now.as_ref()).is_ok(), same, "{subject:?} {now:?}");
    }
    let grace = account("grace", Some("2"), Some("t"));
    assert_eq!(
        before(Some("1")).confirms(None, Some(&grace)).unwrap_err(),
        (
            "grace signed in, but this session belongs to ada".into(),
            Some("for a session of its own, set `account = \"grace\"` in the profile, or pass --account".into())
        )
    );
    let nameless = before(Some("1")).confirms(None, None).unwrap_err();
    assert_eq!(nameless, ("an account without a name signed in, but this session belongs to ada".into(), None));
    assert_eq!(session(None, vec![]).confirms(None, None), Ok(()));
    for (wanted, is) in [("GRACE", true), ("2", true), ("ada", false)] {
        assert_eq!(before(Some("1")).confirms(Some(wanted), Some(&grace)).is_ok(), is, "{wanted}");
    }
    assert!(before(Some("1")).confirms(Some("ada"), None).is_err());
}

#[test]
fn what_is_revoked_of_a_grant_is_its_refresh_token_else_its_access_token() {
    let id = token("i", key("a").of_kind(TokenKind::Id), 60);
    let access = token("t", key("a"), 60);
    let revocable = |refresh, tokens| {
        grant(refresh, tokens, &[]).revocable().map(|(token, hint)| (token.expose().to_owned(), hint))
    };
    assert_eq!(revocable(Some("r"), vec![access.clone()]), Some(("r".into(), "refresh_token")));
    assert_eq!(revocable(None, vec![id.clone(), access]), Some(("t".into(), "access_token")));
    assert_eq!(revocable(None, vec![id]), None);
}

#[test]
fn tokens_are_renewed_soon_if_they_can_be() {
    for (refresh, at) in [(Some("r"), Some(NOW)), (None, None)] {
        let mut session = session(refresh, vec![token("t", key("a"), 60)]);
        session.renew_soon(NOW);
        assert_eq!(session.tokens[0].refresh_at, at);
    }
}

#[test]
fn what_another_proof_made_is_no_part_of_a_machines_session() {
    let (one, other) = (Proof::of(["1"]), Proof::of(["2"]));
    let made = Session { proof: Some(one.clone()), ..session(None, vec![token("t", key("a"), 60)]) };
    let written = |session: &Session| -> Value { to_value(session).unwrap() };
    assert_eq!(written(&made.clone().made_from(&one)), written(&made));
    let anew = made.made_from(&other);
    assert_eq!((tokens(&anew), &anew.proof), ((None, vec![]), &Some(other)));
}
