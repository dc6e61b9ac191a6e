//! A clock that is far off the provider's, or was, before it was set: no token is handed out that the provider would
//! refuse, none is thrown away that it would take, and nobody asks again and again.

use crate::common::{Scene, now, token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{AccessToken, Auto, Endpoint, Options, Reply};
use serde_json::{Value, json};

/// Three hours.
const FAR: i64 = 3 * 3600;

/// When a token ends by this machine's clock, as a Kubernetes client is told; in seconds from now.
#[track_caller]
fn left(output: &Output) -> i64 {
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    let end: jiff::Timestamp = answer["status"]["expirationTimestamp"].as_str().unwrap().parse().unwrap();
    end.as_second() - now()
}

/// Signs in, and asks for ID tokens again and again, before and after they have ended.
#[track_caller]
fn lives_an_hour(options: Options) {
    let scene = Scene::signed_in(options);
    for refreshes in [0, 0, 1, 1, 2] {
        if refreshes > scene.idp.count("token:refresh_token") {
            scene.leave(-1);
        }
        let left = left(&scene.silently(["kubernetes"]));
        assert!((3540..=3600).contains(&left), "{left}");
        assert_eq!(scene.idp.count("token:refresh_token"), refreshes, "no more than is needed");
    }
    scene.assert_proper();
}

#[test]
fn an_id_token_of_a_provider_whose_clock_is_ahead_lives_as_long_as_it_should() {
    lives_an_hour(Options { clock: FAR, ..Options::default() });
}

#[test]
fn an_id_token_of_a_provider_whose_clock_is_behind_lives_as_long_as_it_should() {
    lives_an_hour(Options { clock: -FAR, ..Options::default() });
}

#[test]
fn a_provider_that_does_not_say_the_time_has_said_it_in_the_token() {
    lives_an_hour(Options { clock: FAR, date: false, ..Options::default() });
}

/// What sends the `Date` need not be what signs.
#[test]
fn a_date_that_is_off_does_not_end_a_token_that_was_made_just_now() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let claims = json!({
        "iss": scene.idp.issuer(), "aud": "keyfob", "sub": "user-alice", "iat": now(), "exp": now() + 3600,
    });
    let answer = json!({"access_token": "t", "id_token": scene.idp.sign(&claims)});
    let reply = Reply::json(200, &answer).header("Date", "Sun, 06 Nov 2044 08:49:37 GMT");
    scene.idp.script(Endpoint::Token, [reply]);
    assert!((3540..=3600).contains(&left(&scene.silently(["kubernetes"]))));
}

#[test]
fn an_access_token_that_says_itself_when_it_ends_does_so_by_the_providers_clock() {
    for clock in [FAR, -FAR] {
        let access = Options { access_token: AccessToken::Jwt, access_lifetime: None, clock, ..Options::default() };
        let scene = Scene::signed_in(access);
        let session = scene.session();
        let end = session["tokens"][0]["expires_at"].as_i64().unwrap();
        assert!((3500..=3600).contains(&(end - now())), "{session}");
    }
}

#[test]
fn an_id_token_that_has_ended_before_it_came_gets_a_hint_where_the_clock_may_be_why() {
    let hint = "hint: if this machine's clock is wrong, set it: the provider does not say what time it is\n";
    let error =
        "error: could not get a token for lab: the provider's ID token cannot be used: it has already expired\n";
    for (options, expected) in [
        // Ours may be fast.
        (Options { clock: -FAR, date: false, ..Options::default() }, format!("{error}{hint}")),
        // Ours is right, and so it is the provider's doing.
        (Options { id_token_lifetime: -1, ..Options::default() }, error.into()),
        (Options { id_token_lifetime: -1, clock: -FAR, ..Options::default() }, error.into()),
    ] {
        let scene = Scene::new(options);
        scene.idp.auto(Auto::Approve);
        // The sign-in is good for everything else.
        token(&scene.prompting(["token"]));
        let output = scene.silently(["kubernetes"]);
        assert_eq!(output, Output { stdout: String::new(), stderr: expected, code: Some(1) });
    }
}

/// The clock was hours fast when the token came, and has been set right: nobody knows how long it lives.
#[test]
fn a_token_from_the_future_is_renewed_once() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    scene.change(|session| {
        for token in session["tokens"].as_array_mut().unwrap() {
            token["received_at"] = json!(now() + FAR);
            token["expires_at"] = json!(now() + FAR + 3600);
        }
    });
    let new = scene.token();
    assert_ne!(new, old);
    assert_eq!(scene.token(), new);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
}

#[test]
fn a_token_from_the_future_that_never_ends_is_as_good_as_ever() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    scene.change(|session| {
        for token in session["tokens"].as_array_mut().unwrap() {
            token["received_at"] = json!(now() + FAR);
            token.as_object_mut().unwrap().remove("expires_at");
        }
    });
    assert_eq!(scene.token(), old);
}
