//! What a sign-in or a renewal brings is on disk first and handed out only where it belongs: to the account that signed in
//! before, and under the scopes that were asked for.

use crate::common::{SOON, Scene, token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Endpoint, IdToken, Options, Reply, ScopeFormat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::sync::Arc;

/// A provider without ID tokens, which is asked for the account's name.
fn hub() -> Scene {
    hub_with("")
}

/// The same with more settings.
fn hub_with(settings: &str) -> Scene {
    let login: fn(Endpoint, &mut Value) = |endpoint, answer| {
        if endpoint == Endpoint::UserInfo {
            let name = answer["email"].as_str().unwrap().split('@').next().unwrap().to_owned();
            answer["login"] = json!(name);
        }
    };
    let options = Options {
        oidc_discovery: false,
        error_status: 200,
        scope_format: ScopeFormat::Commas,
        id_token: IdToken::Never,
        rotation: true,
        aliases: vec![
            ("/login/device/code".to_owned(), Endpoint::Device),
            ("/login/oauth/access_token".to_owned(), Endpoint::Token),
            ("/api/v3/user".to_owned(), Endpoint::UserInfo),
        ],
        edit: Some(Arc::new(login)),
        ..Options::default()
    };
    let scene = Scene::with(
        options,
        &format!(
            "[profile.hub]\nprovider = 'github-enterprise'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\n\
             scopes = ['repo', 'offline_access']\n{settings}"
        ),
    );
    scene.sign_in();
    scene
}

fn sign_in_again(scene: &Scene) -> Output {
    scene.idp.auto(Auto::Approve);
    let output = scene.prompting(["login", "--force"]);
    scene.idp.auto(Auto::Ignore);
    output
}

/// How many of the access tokens given out so far the provider still takes.
fn accepted(scene: &Scene) -> usize {
    scene.idp.issued().iter().filter(|token| token.starts_with("access-") && scene.idp.accepts(token)).count()
}

#[test]
fn a_sign_in_whose_account_cannot_be_asked_for_now_is_kept_handed_out_to_nobody_and_confirmed_later() {
    let scene = hub();
    let before = scene.session();
    assert_eq!(before["account"]["name"], "alice");
    let first = token(&scene.silently(["token"]));
    scene.idp.always(Endpoint::UserInfo, Reply::empty(503));
    let output = sign_in_again(&scene);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("/api/v3/user who signed in: it answered with status 503"), "{}", output.stderr);
    let session = scene.session();
    assert_eq!(session["refresh_token"], before["refresh_token"], "what was there stays");
    assert!(session["unconfirmed"]["grant"]["refresh_token"].is_string(), "what came is on disk");
    assert_eq!(token(&scene.silently(["token"])), first);

    scene.idp.always(Endpoint::UserInfo, Reply::Real);
    scene.leave(-1);
    scene.change(|session| session["last_error"] = Value::Null);
    let second = token(&scene.silently(["token"]));
    assert_ne!(second, first);
    assert!(scene.idp.accepts(&second));
    let session = scene.session();
    assert_eq!((&session["unconfirmed"], session["account"]["name"].as_str()), (&Value::Null, Some("alice")));
    assert_eq!(scene.idp.count("token:refresh_token"), 0, "no refresh was needed");
}

#[test]
fn a_sign_in_that_turns_out_later_to_be_another_accounts_is_revoked_and_never_used() {
    let scene = hub();
    scene.idp.set_user("bob@example.com");
    scene.idp.always(Endpoint::UserInfo, Reply::empty(503));
    assert_eq!(sign_in_again(&scene).code, Some(5));
    scene.idp.always(Endpoint::UserInfo, Reply::Real);
    scene.leave(-1);
    scene.change(|session| session["last_error"] = Value::Null);
    let output = scene.silently(["token"]);
    assert_eq!(scene.session()["unconfirmed"], Value::Null);
    // The old session goes on: nothing of bob's was handed out.
    let answer = if output.code == Some(0) { output } else { scene.silently(["token"]) };
    let renewed = token(&answer);
    assert!(scene.idp.accepts(&renewed));
    assert_eq!(scene.session()["account"]["name"], "alice");
}

/// What nobody knows yet whose it is can be signed out of, too.
#[test]
fn a_sign_in_that_is_not_confirmed_is_revoked_by_signing_out_or_in_again() {
    let scene = hub_with("revocation-endpoint = 'ISSUER/revoke'\naccount = 'alice'\n");
    scene.idp.always(Endpoint::UserInfo, Reply::empty(503));
    assert_eq!(sign_in_again(&scene).code, Some(5));
    assert_eq!(accepted(&scene), 2);
    // The third takes the place of the second.
    assert_eq!(sign_in_again(&scene).code, Some(5));
    assert_eq!(accepted(&scene), 2);
    let output = scene.silently(["logout"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert_eq!(accepted(&scene), 0);

    assert_eq!(sign_in_again(&scene).code, Some(5));
    let output = scene.silently(["logout"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert_eq!(accepted(&scene), 0, "the first of all is not left either");
}

/// It was revoked meanwhile, perhaps: it can never be confirmed, and is in nobody's way.
#[test]
fn a_sign_in_that_is_not_confirmed_and_whose_token_is_dead_is_given_up_for_what_was_there_before() {
    let scene = hub();
    scene.idp.always(Endpoint::UserInfo, Reply::empty(503));
    assert_eq!(sign_in_again(&scene).code, Some(5));
    scene.idp.always(Endpoint::UserInfo, Reply::json(401, &json!({"message": "Bad credentials", "status": "401"})));
    scene.leave(-1);
    scene.change(|session| session["last_error"] = Value::Null);
    assert!(scene.idp.accepts(&scene.token()));
    assert_eq!((scene.session()["unconfirmed"].clone(), scene.idp.count("token:refresh_token")), (Value::Null, 1));
    scene.assert_proper();
}

#[test]
fn a_person_may_sign_in_anew_where_the_last_sign_in_cannot_be_confirmed() {
    let scene = hub();
    scene.idp.always(Endpoint::UserInfo, Reply::empty(503));
    assert_eq!(sign_in_again(&scene).code, Some(5));
    scene.idp.script(Endpoint::UserInfo, [Reply::Real]);
    assert_eq!(sign_in_again(&scene).code, Some(0));
    assert_eq!((scene.session()["unconfirmed"].clone(), scene.idp.count("device")), (Value::Null, 3));
}

/// What it brought is on disk by then.
#[test]
fn ctrl_c_while_the_account_is_asked_for_ends_the_sign_in_at_once_and_costs_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scene = hub();
        let hold = scene.idp.hold(Endpoint::UserInfo);
        let asked = scene.idp.count("userinfo");
        let caller = scene.start(["login", "--force"]);
        scene.idp.approve(&caller.code());
        scene.idp.wait_for("userinfo", asked + 1, SOON);
        kill_process(Pid::from_raw(i32::try_from(caller.pid()).unwrap()).unwrap(), signal).unwrap();
        assert_eq!(caller.finish().code, None, "{signal:?}");
        assert_eq!(scene.session()["last_error"], Value::Null, "it did not wait for the end of the request");
        drop(hold);
        scene.leave(-1);
        assert!(scene.idp.accepts(&scene.token()));
        assert_eq!((scene.session()["unconfirmed"].clone(), scene.idp.count("device")), (Value::Null, 2));
        assert_eq!(scene.idp.count("token:refresh_token"), 0, "{signal:?}");
    }
}

#[test]
fn an_account_that_is_not_surely_the_same_is_not_taken_for_it() {
    type Edit = fn(&Scene) -> Value;
    let same_name: Edit = |scene| claims(scene, &json!({"sub": "another", "preferred_username": "alice@example.com"}));
    let other_client: Edit = |scene| claims(scene, &json!({"sub": "user-alice", "azp": "another-client"}));
    let no_subject: Edit = |scene| claims(scene, &json!({"preferred_username": "alice@example.com"}));
    let no_id_token: Edit = |_| Value::Null;
    for (what, id_token) in [
        ("the same name with another subject", same_name),
        ("an ID token for another client", other_client),
        ("an ID token without a subject", no_subject),
        ("no ID token", no_id_token),
    ] {
        let scene = Scene::signed_in(Options::default());
        let before = scene.session();
        let first = token(&scene.silently(["token"]));
        let id_token = id_token(&scene);
        let mut answer = json!({"access_token": "of-another", "refresh_token": "of-another-too", "expires_in": 3600});
        if id_token.is_string() {
            answer["id_token"] = id_token;
        }
        scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
        let output = sign_in_again(&scene);
        assert_eq!((output.code, output.stdout.as_str()), (Some(4), ""), "{what}: {}", output.stderr);
        assert!(output.stderr.contains("but this session belongs to alice@example.com"), "{what}: {}", output.stderr);
        assert_eq!(scene.session()["refresh_token"], before["refresh_token"], "{what}");
        assert_eq!(token(&scene.silently(["token"])), first, "{what}");
    }
}

/// A policy of Azure AD B2C may be set to have no `sub`: then it is the same for everybody, and `oid` says who it is.
#[test]
fn a_subject_that_is_everybodys_does_not_make_two_accounts_one() {
    let everybodys = |oid: &str| json!({"sub": "Not supported currently. Use oid claim.", "oid": oid});
    let scene = Scene::signed_in(Options { claims: everybodys("alices"), ..Options::default() });
    assert_eq!(scene.session()["account"]["subject"], "alices");
    let answer = json!({"access_token": "bobs", "expires_in": 3600, "id_token": claims(&scene, &everybodys("bobs"))});
    scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
    let output = sign_in_again(&scene);
    assert_eq!((output.code, output.stdout.as_str()), (Some(4), ""), "{output:?}");
    assert!(output.stderr.contains("but this session belongs to alice@example.com"), "{output:?}");
}

/// AD FS, Entra External ID and Azure AD B2C as their documents have it.
#[test]
fn an_account_is_called_by_the_name_that_it_signs_in_with() {
    let none = json!({"preferred_username": null, "email": null});
    for (said, name) in [
        (json!({"upn": "ada@contoso.com", "unique_name": "CONTOSO\\ada"}), "ada@contoso.com"),
        (json!({"unique_name": "CONTOSO\\ada"}), "CONTOSO\\ada"),
        (json!({"emails": ["ada@example.com"], "name": "Ada", "oid": "884408e1"}), "ada@example.com"),
        (json!({"email": ["ada@example.com", "a@example.com"]}), "ada@example.com"),
        (json!({"name": "Ada", "oid": "884408e1"}), "Ada"),
        (json!({}), "user-alice"),
    ] {
        let mut claims = none.clone();
        claims.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let scene = Scene::signed_in(Options { claims, ..Options::default() });
        assert_eq!(scene.session()["account"]["name"], name, "{said}");
    }
}

/// A signed ID token with these claims besides the usual ones.
fn claims(scene: &Scene, more: &Value) -> Value {
    let mut claims = json!({"iss": scene.idp.issuer(), "aud": "keyfob", "exp": crate::common::now() + 3600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!(scene.idp.sign(&claims))
}

#[test]
fn a_host_mapped_to_a_narrow_profile_gets_no_token_of_a_wide_one() {
    let profile = |name: &str, scope: &str| {
        format!(
            "[profile.{name}]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n\
             scopes = ['openid', 'offline_access', '{scope}']\n"
        )
    };
    let hosts = "[hosts]\n'https://read.example' = 'reader'\n";
    let scene = Scene::with(Options::default(), &(profile("admin", "admin") + &profile("reader", "read") + hosts));
    scene.idp.auto(Auto::Approve);
    token(&scene.prompting(["token", "-p", "admin"]));
    // A sign-in for the narrow profile asks for what was granted before as well, and its token is not handed out for less.
    let narrow = token(&scene.prompting(["token", "-p", "reader"]));
    let scopes = |token: &str| {
        let session = scene.session();
        let tokens = session["tokens"].as_array().unwrap().clone();
        tokens.into_iter().find(|t| t["token"] == token).unwrap()["key"]["scopes"].clone()
    };
    assert_eq!(scopes(&narrow), json!(["offline_access", "openid", "read"]));
    let asked: Vec<_> = scene.idp.requests().into_iter().filter_map(|r| r.field("scope").map(str::to_owned)).collect();
    assert_eq!(asked.last().unwrap(), "openid offline_access read", "{asked:?}");
    let mut git = scene.command("never", ["git", "get"]);
    git.stdin(std::process::Stdio::piped());
    let answer = Output::of(&mut git, b"protocol=https\nhost=read.example\n\n");
    assert!(answer.stdout.contains(&format!("password={narrow}\n")), "{answer:?}");
}

#[test]
fn a_refresh_answer_that_cannot_be_used_still_brings_its_refresh_token() {
    for body in [
        r#"{"access_token":"a","token_type":"DPoP","refresh_token":"next"}"#,
        r#"{"token_type":"Bearer","refresh_token":"next"}"#,
        r#"{"access_token":"","refresh_token":"next"}"#,
        r#"{"access_token":7,"refresh_token":"next"}"#,
    ] {
        let scene = Scene::signed_in(Options { rotation: true, ..Options::default() });
        scene.leave(-1);
        scene.idp.script(Endpoint::Token, [Reply::body(200, "application/json", body)]);
        let output = scene.silently(["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{body}: {}", output.stderr);
        assert_eq!(scene.session()["refresh_token"], "next", "{body}");
    }
    for body in [
        r#"{"access_token":"a","expires_in":1e999,"refresh_token":"next"}"#,
        r#"{"access_token":"a","expires_in":60,"refresh_token":"next","message":"\ud800"}"#,
    ] {
        let scene = Scene::signed_in(Options { rotation: true, ..Options::default() });
        scene.leave(-1);
        scene.idp.script(Endpoint::Token, [Reply::body(200, "application/json", body)]);
        let output = scene.silently(["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "a\n"), "{body}: {}", output.stderr);
        assert_eq!(scene.session()["refresh_token"], "next", "{body}");
    }
}

#[test]
fn a_dead_refresh_token_that_github_names_in_its_own_way_leads_to_a_sign_in() {
    let scene = hub();
    scene.leave(-1);
    let dead =
        json!({"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired."});
    scene.idp.script(Endpoint::Token, [Reply::json(200, &dead)]);
    let output = scene.silently(["token"]);
    assert_eq!(output.code, Some(3), "{}", output.stderr);
    assert!(output.stderr.contains("the provider ended the session (bad_refresh_token: "), "{}", output.stderr);
    assert!(output.stderr.contains("\nhint: ") && output.stderr.contains("login hub"), "{}", output.stderr);
    // What is known is not asked for again, and is said again.
    let again = scene.silently(["token"]);
    assert!(again.stderr.contains("the provider ended the session (bad_refresh_token: "), "{}", again.stderr);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    for (command, line) in [
        ("status", "  ended     the provider ended the session (bad_refresh_token: "),
        ("doctor", "nobody is signed in: the provider ended"),
    ] {
        let said = scene.silently([command]).stdout;
        assert!(said.contains(line), "{said}");
    }
    scene.idp.auto(Auto::Approve);
    assert_eq!(scene.prompting(["login"]).code, Some(0));
    assert_eq!(scene.session()["ended"], Value::Null);
}

#[test]
fn a_refusal_without_a_word_about_the_grant_does_not_keep_a_person_from_signing_in() {
    for (status, body) in
        [(404, "not here"), (403, r#"{"message":"no"}"#), (401, ""), (401, r#"{"error":"invalid_client"}"#)]
    {
        let scene = Scene::signed_in(Options::default());
        scene.idp.always(Endpoint::Token, Reply::body(status, "application/json", body));
        // What lives is handed out, and the provider is left alone.
        let first = token(&scene.silently(["token"]));
        scene.leave(100);
        for _ in 0..2 {
            assert_eq!(token(&scene.silently(["token"])), first, "{status} {body}");
            scene.settle();
        }
        assert_eq!(scene.idp.count("token:refresh_token"), 1, "{status} {body}");
        scene.leave(-1);
        scene.change(|session| session["last_error"] = Value::Null);
        let output = scene.silently(["token"]);
        assert_eq!(output.code, Some(1), "{status} {body}: {}", output.stderr);
        assert!(output.stderr.contains("\nhint: "), "{status} {body}: {}", output.stderr);
        // `login` finds that the session is of no use, and asks a person.
        let caller = scene.start(["login"]);
        let code = caller.code();
        scene.idp.always(Endpoint::Token, Reply::Real);
        scene.idp.approve(&code);
        assert_eq!(caller.finish().code, Some(0), "{status} {body}");
    }
}

#[test]
fn an_answer_that_is_lost_on_its_way_does_not_cost_the_session_where_the_old_token_is_still_taken() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    assert_eq!(scene.silently(["token"]).code, Some(5));
    assert!(scene.idp.accepts(&token(&scene.silently(["token"]))));
    let sent: Vec<_> =
        scene.idp.requests().iter().filter_map(|r| r.field("refresh_token").map(str::to_owned)).collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1], "the old one, once more");
    assert_eq!(scene.idp.count("device"), 1);
}

#[test]
fn a_hundred_and_twenty_thousand_scopes_in_an_answer_are_no_work_and_are_not_remembered() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let scopes: Vec<String> = (0..120_000).map(|n| format!("s{n}")).chain(["openid".to_owned()]).collect();
    let answer = json!({"access_token": "a", "expires_in": 3600, "scope": scopes.join(" ")});
    scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
    assert_eq!(scene.silently(["token"]).stdout, "a\n");
    assert!(std::fs::metadata(scene.file()).unwrap().len() < 8192);
    assert_eq!(accepted(&scene), 1);
}
