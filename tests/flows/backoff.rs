//! A provider that cannot answer is left alone for a while, and nobody is the worse for it.

use crate::common::Scene;
use keyfob_test_support::provider::{Endpoint, Options, Reply};
use serde_json::json;

fn refreshes(scene: &Scene) -> usize {
    scene.idp.count("token:refresh_token")
}

#[test]
fn while_the_old_token_lives_it_is_the_answer_and_the_provider_is_asked_once() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    scene.leave(100);
    scene.idp.always(Endpoint::Token, Reply::empty(503));
    for _ in 0..5 {
        assert_eq!(scene.token(), old);
    }
    assert_eq!(refreshes(&scene), 1);
    scene.after_the_pause();
    assert_eq!(scene.token(), old);
    assert_eq!(refreshes(&scene), 2);

    scene.idp.always(Endpoint::Token, Reply::Real);
    scene.after_the_pause();
    assert_ne!(scene.token(), old);
    assert_eq!(scene.session().get("last_error"), None, "all is well again");
}

#[test]
fn without_a_token_the_first_failure_may_have_been_a_hiccup_and_the_second_is_believed() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    scene.idp.always(Endpoint::Token, Reply::empty(503));
    for (asked, left_alone) in [(1, false), (2, false), (2, true)] {
        let output = scene.silently(["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(5), ""), "{output:?}");
        assert_eq!(refreshes(&scene), asked);
        assert_eq!(output.stderr.contains("; it is not asked again for "), left_alone, "{output:?}");
    }
    // A person who asks for it is not kept waiting.
    scene.idp.always(Endpoint::Token, Reply::Real);
    let login = scene.silently(["login"]);
    assert_eq!(login.code, Some(0), "{login:?}");
    scene.token();
}

#[test]
fn retry_after_is_believed_with_and_without_a_token() {
    for left in [100, -1] {
        let scene = Scene::signed_in(Options::default());
        scene.leave(left);
        scene.idp.always(Endpoint::Token, Reply::empty(429).header("retry-after", "60"));
        let first = scene.silently(["token"]);
        let again = scene.silently(["token"]);
        assert_eq!(refreshes(&scene), 1, "{first:?} {again:?}");
        if left < 0 {
            assert!(again.stderr.contains("it is not asked again for "), "{again:?}");
        }
        let pause = &scene.session()["last_error"]["backoff"];
        for name in ["with_token_ms", "without_ms"] {
            assert!((60_000..=90_000).contains(&pause[name].as_u64().unwrap()), "{pause}");
        }
    }
}

#[test]
fn tokens_that_came_together_are_not_renewed_together() {
    // Of sixteen with seven minutes left, those whose serial gives them more than two minutes besides the usual five; ten
    // more make a quarter of an hour's life.
    let scene = Scene::signed_in(Options::default());
    scene.idp.always(Endpoint::Token, Reply::empty(503));
    let mut asked = Vec::new();
    for serial in 0..16_u64 {
        scene.leave(420);
        scene.change(|session| {
            session.as_object_mut().unwrap().remove("last_error");
            for token in session["tokens"].as_array_mut().unwrap() {
                token["serial"] = json!(serial * 40 + 10);
            }
        });
        let before = refreshes(&scene);
        scene.token();
        scene.settle();
        asked.push(refreshes(&scene) - before);
    }
    assert_eq!(asked, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
}
