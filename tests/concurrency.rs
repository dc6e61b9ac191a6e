//! Many callers at once share one sign-in, a refusal is remembered, and none of them says a secret.

use keyfob_test_support::bin::{Keyfob, Output};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider, Reply};
use std::thread;

fn arguments(idp: &Provider) -> Vec<String> {
    ["token", "--issuer", idp.issuer(), "--client-id", "keyfob", "--scope", "openid", "--scope", "offline_access"]
        .map(str::to_owned)
        .to_vec()
}

fn twelve(keyfob: &Keyfob, arguments: &[String]) -> Vec<Output> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let words = &words;
    thread::scope(|scope| {
        let running: Vec<_> = (0..12).map(|_| scope.spawn(move || keyfob.run(words))).collect();
        running.into_iter().map(|caller| caller.join().expect("a caller ran")).collect()
    })
}

#[test]
fn twelve_at_once_without_a_session_share_one_code_and_say_no_secret() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::After(1));
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).env("KEYFOB_PROMPT", "always").env("KEYFOB_LOG", "debug");
    let answers = twelve(&keyfob, &arguments(&idp));
    assert!(answers.iter().all(|a| a.code == Some(0) && a.stdout == answers[0].stdout), "{answers:?}");
    assert_eq!((idp.count("device"), idp.user_codes().len()), (1, 1));
    assert_eq!((idp.too_fast(), idp.polls_after_success()), (0, 0));
    for secret in idp.issued() {
        assert!(answers.iter().all(|a| !a.stderr.contains(&secret)), "a secret stands on stderr");
    }
}

#[test]
fn a_refusal_is_remembered_and_login_ignores_it() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Deny);
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).env("KEYFOB_PROMPT", "always");
    let words = arguments(&idp);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(keyfob.run(&words).code, Some(4));
    assert_eq!(keyfob.run(&words).code, Some(4));
    assert_eq!(idp.count("device"), 1, "the second call asks nobody");

    idp.script(Endpoint::Device, [Reply::error("unauthorized_client")]);
    let mut login = words.clone();
    login[0] = "login";
    let refused = keyfob.run(&login);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert_eq!(refused.stderr.lines().count(), 2, "{}", refused.stderr);
}
