//! Answers that are not quite what they should be: what is good in them is kept, and what they say is passed on.

use crate::common::{Scene, token};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use serde_json::json;

/// A token answer as it is on the wire, and what is wrong with its access token, if it cannot be used.
const ANSWERS: &[(&str, Option<&str>)] = &[
    (r#"{"access_token":"a","token_type":"DPoP","refresh_token":"R"}"#, Some("its token is of the type \"DPoP\"")),
    (r#"{"token_type":"Bearer","refresh_token":"R"}"#, Some("its answer has no `access_token`")),
    (r#"{"access_token":"","refresh_token":"R"}"#, Some("its answer has no `access_token`")),
    (r#"{"access_token":["a"],"refresh_token":"R"}"#, Some("its answer has no `access_token`")),
    (r#"{"access_token":" a","refresh_token":"R"}"#, Some("its `access_token` is not a token")),
    (r#"{"access_token":"\ud800","refresh_token":"R"}"#, Some("its answer has no `access_token`")),
    (r#"{"access_token":"a","expires_in":1e999,"refresh_token":"R"}"#, None),
    (r#"{"access_token":"a","scope":"\ud800","refresh_token":"R"}"#, None),
    (r#"{"note":"\udfff","access_token":"a","expires_in":{},"scope":7,"refresh_token":"R"}"#, None),
    (r#"{"access_token":"a","refresh_token":"Q","refresh_token":"R"}"#, None),
    ("\u{feff}{\"access_token\":\"a\",\"refresh_token\":\"R\"}", None),
];

fn said(body: &str) -> Reply {
    Reply::body(200, "application/json", body)
}

#[test]
fn a_new_refresh_token_is_kept_whatever_else_is_in_its_answer() {
    for (body, wrong) in ANSWERS {
        let scene = Scene::signed_in(Options::default());
        scene.leave(-1);
        scene.idp.script(Endpoint::Token, [said(body)]);
        let output = scene.silently(["token"]);
        match wrong {
            None => assert_eq!(token(&output), "a", "{body}"),
            Some(why) => {
                assert_ne!(output.code, Some(0), "{body}");
                assert!(output.stderr.contains(why), "{body}: {output:?}");
            }
        }
        assert_eq!(scene.session()["refresh_token"], "R", "{body}");
        assert_eq!(scene.idp.count("token:refresh_token"), 1);
    }
}

#[test]
fn a_sign_in_is_kept_if_its_refresh_token_can_be_used() {
    for (body, wrong) in ANSWERS {
        let scene = Scene::new(Options::default());
        scene.idp.auto(Auto::Approve);
        // The provider knows nothing of this refresh token: it is what the next request is made with.
        scene.idp.script(Endpoint::Token, [said(body), said(r#"{"access_token":"b"}"#)]);
        let got = token(&scene.prompting(["token"]));
        assert_eq!(got, if wrong.is_some() { "b" } else { "a" }, "{body}");
        assert_eq!(scene.session()["refresh_token"], "R", "{body}");
        assert_eq!(scene.idp.count("device"), 1);
    }
}

#[test]
fn what_a_server_says_in_any_form_is_passed_on() {
    let json = |status, body| Reply::json(status, &body);
    for (reply, words) in [
        (
            json(403, json!({"error": {"code": 403, "message": "The API is off", "status": "PERMISSION_DENIED"}})),
            "PERMISSION_DENIED: The API is off",
        ),
        (json(400, json!({"error": {"code": 7, "message": "odd"}})), "renew the token: 7: odd"),
        (
            json(404, json!({"code": "no_such_client", "message": "Never seen"})),
            "no_such_client: Never seen (status 404)",
        ),
        (json(400, json!({"title": "Bad", "detail": "The form is odd"})), "The form is odd (status 400)"),
        (json(404, json!({"error": "device_not_found"})), "device_not_found"),
        (
            Reply::body(415, "text/plain", "Unsupported Media Type\r\nuse a form"),
            "Unsupported Media Type use a form (status 415)",
        ),
        (Reply::empty(401), "status 401 without a body"),
        (Reply::body(503, "application/json", r#"{"message":"closed for lunch"}"#), "closed for lunch (status 503)"),
        (
            Reply::body(400, "application/json", b"\x1f\x8b\x08".to_vec()).header("Content-Encoding", "gzip"),
            "its answer is compressed (gzip), which was not asked for (status 400)",
        ),
        (Reply::body(200, "application/json", b"\xff\xfe{\0}\0".to_vec()), "its answer is UTF-16, and JSON is UTF-8"),
    ] {
        let scene = Scene::signed_in(Options::default());
        scene.leave(-1);
        scene.idp.script(Endpoint::Token, [reply.clone()]);
        let output = scene.silently(["token"]);
        assert_eq!(output.stdout, "", "{reply:?}");
        assert!(output.stderr.contains(words), "{words:?} is not in {output:?}");
    }
}

#[test]
fn no_coding_is_asked_for() {
    let scene = Scene::signed_in(Options::default());
    let requests = scene.idp.requests();
    assert!(requests.len() > 2);
    assert!(requests.iter().all(|request| request.header("accept-encoding") == Some("identity")), "{requests:?}");
}
