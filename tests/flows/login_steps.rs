//! `keyfob login` in steps, for programs that run the waiting themselves, and with a limit of the caller's own.

use std::thread::sleep;
use std::time::Duration;

use crate::common::azure::WORK;
use crate::common::{self, Scene, token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use serde_json::{Value, json};

/// What a step said in JSON, and its exit code; nothing on stderr.
#[track_caller]
fn step(scene: &Scene, args: &[&str]) -> (Value, Option<i32>) {
    let output = scene.silently([&["login"], args, &["--json"]].concat());
    assert_eq!((output.stderr.as_str(), output.stdout.lines().count()), ("", 1), "{args:?}: {}", output.stdout);
    (serde_json::from_str(&output.stdout).unwrap(), output.code)
}

/// As if the server had last spoken of the code so long ago that it may be polled.
fn a_while_later(scene: &Scene) {
    scene.change(|session| session["sign_in"]["flow"]["next_poll_ms"] = json!(0));
}

#[test]
fn start_prints_address_code_expiry_and_interval_and_returns() {
    let scene = Scene::with(Options { interval: Some(json!(5)), ..Options::entra() }, WORK);
    let (started, code) = step(&scene, &["--start"]);
    assert_eq!(code, Some(0));
    let user_code = scene.idp.user_codes()[0].clone();
    let expires_in = started["expires_in"].as_u64().unwrap();
    assert!((595..=600).contains(&expires_in), "{started}");
    let session = scene.session();
    let end = jiff::Timestamp::from_second(session["sign_in"]["expires_at"].as_i64().unwrap()).unwrap();
    assert_eq!(
        started,
        json!({
            "status": "pending",
            "profile": "work",
            "verification_uri": "https://microsoft.com/devicelogin",
            "verification_uri_complete": null,
            "user_code": user_code,
            "message": format!("To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter the code {user_code} to authenticate."),
            "foreign_host": null,
            "expires_at": end.to_string(),
            "expires_in": expires_in,
            "interval": 5,
            "retry_in": 6,
        })
    );
    assert!(!started.to_string().contains(session["sign_in"]["flow"]["device_code"].as_str().unwrap()));
    // Once more: the same sign-in.
    let again = step(&scene, &["--start"]).0;
    assert_eq!((&again["user_code"], scene.idp.count("device")), (&started["user_code"], 1));
    assert_eq!(scene.idp.count("token"), 0, "nobody has polled");
}

#[test]
fn every_change_is_an_object_of_its_own() {
    let scene = Scene::new(Options { interval: Some(json!(1)), ..Options::default() });
    let events = |command: &mut std::process::Command| -> (Vec<Value>, Option<i32>) {
        let output = Output::of(command, b"");
        assert_eq!(output.stderr, "");
        (output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.code)
    };
    let login = |args: &[&str]| scene.command("never", [&["login", "lab", "--events"], args].concat());
    for (auto, status, code) in [(Auto::Deny, "refused", 4), (Auto::Approve, "done", 0)] {
        scene.idp.auto(auto);
        let (said, ended) = events(&mut login(&["--force"]));
        let [pending, end] = &said[..] else { panic!("{said:?}") };
        assert_eq!((&pending["status"], &end["status"], ended), (&json!("pending"), &json!(status), Some(code)));
        assert!(pending["user_code"].is_string() && pending["verification_uri"].is_string(), "{pending}");
    }
    // A session that is good is only confirmed.
    let (said, code) = events(&mut login(&[]));
    assert!(said.len() == 1 && said[0]["status"] == "done" && code == Some(0), "{said:?}");
    scene.idp.always(Endpoint::Device, Reply::error("invalid_client"));
    let (said, code) = events(&mut login(&["--force"]));
    assert!(said.len() == 1 && said[0]["status"] == "failed" && code == Some(1), "{said:?}");
}

#[test]
fn start_and_poll_until_it_is_done() {
    let scene = Scene::with(Options::entra(), WORK);
    let (started, _) = step(&scene, &["--start"]);
    // Too early, and too early again: nobody is asked.
    for _ in 0..3 {
        let (early, code) = step(&scene, &["--poll"]);
        assert_eq!((early["status"].as_str(), code), (Some("pending"), Some(3)));
    }
    assert_eq!(scene.idp.count("token"), 0);
    let mut polls = 0;
    let done = loop {
        sleep(Duration::from_secs(started["retry_in"].as_u64().unwrap()));
        let (said, code) = step(&scene, &["--poll"]);
        polls += 1;
        if code == Some(0) {
            break said;
        }
        assert_eq!((said["status"].as_str(), code), (Some("pending"), Some(3)));
        scene.idp.approve(started["user_code"].as_str().unwrap());
    };
    assert_eq!(polls, 2);
    assert_eq!(
        (&done["status"], &done["profile"], &done["account"]),
        (&json!("done"), &json!("work"), &json!("alice@example.com"))
    );
    assert!(done["expires_at"].as_str().unwrap().ends_with('Z'), "{done}");
    // Done stays done, and costs no poll.
    assert_eq!(step(&scene, &["--poll"]).0["status"], "done");
    scene.token();
    assert_eq!((scene.idp.count("token:device_code"), scene.idp.count("device")), (2, 1));
    scene.assert_proper();
    // Where the session is good there is nothing to start, unless that is asked for.
    assert_eq!(step(&scene, &["--start"]).0["status"], "done");
    assert_eq!(step(&scene, &["--start", "--force"]).0["status"], "pending");
}

#[test]
fn a_refusal_and_an_expiry_are_told_apart() {
    let scene = Scene::with(Options::entra(), WORK);
    let (started, _) = step(&scene, &["--start"]);
    scene.idp.deny(started["user_code"].as_str().unwrap());
    a_while_later(&scene);
    for _ in 0..2 {
        let (refused, code) = step(&scene, &["--poll"]);
        assert_eq!((refused["status"].as_str(), code), (Some("refused"), Some(4)));
        assert!(
            refused["error"]
                .as_str()
                .unwrap()
                .starts_with("the sign-in was refused (authorization_declined: AADSTS70018: "),
            "{refused}"
        );
    }
    let (started, _) = step(&scene, &["--start"]);
    assert_eq!(started["status"], "pending", "a new one");
    scene.idp.expire(started["user_code"].as_str().unwrap());
    a_while_later(&scene);
    let (expired, code) = step(&scene, &["--poll"]);
    assert_eq!((expired["status"].as_str(), code), (Some("expired"), Some(4)));
    assert_eq!(expired["error"], "the code has expired before it was entered");

    // By this machine's own clock: nobody is asked.
    step(&scene, &["--start"]);
    scene.change(|session| session["sign_in"]["expires_at"] = json!(common::now() - 1));
    let polls = scene.idp.count("token");
    assert_eq!(step(&scene, &["--poll"]).0["status"], "expired");
    assert_eq!(scene.idp.count("token"), polls);
}

#[test]
fn a_server_that_wants_to_be_asked_less_often_is() {
    let scene = Scene::with(Options::entra(), WORK);
    step(&scene, &["--start"]);
    for (reply, interval, retry_in) in [
        (Reply::json(400, &json!({"error": "slow_down"})), 6, 8),
        (Reply::empty(503), 6, 15),
        (Reply::empty(429).header("Retry-After", "100"), 6, 120),
        (Reply::Drop, 6, 58),
    ] {
        scene.idp.script(Endpoint::Token, [reply.clone()]);
        a_while_later(&scene);
        let (said, code) = step(&scene, &["--poll"]);
        assert_eq!(
            (&said["interval"], &said["retry_in"], code),
            (&json!(interval), &json!(retry_in), Some(3)),
            "{reply:?}"
        );
        // And still when asked again.
        let again = step(&scene, &["--poll"]).0["retry_in"].as_u64().unwrap();
        assert!((retry_in - 2..=retry_in).contains(&again), "{reply:?}: {again}");
    }
}

#[test]
fn a_kubectl_that_comes_by_shows_the_same_code_and_finishes_it() {
    let scene = Scene::with(Options::entra(), WORK);
    let (started, _) = step(&scene, &["--start"]);
    let caller = scene.start(["kubernetes"]);
    assert_eq!(caller.code(), started["user_code"].as_str().unwrap());
    // It polls now, so a step does not.
    let (said, code) = step(&scene, &["--poll"]);
    assert_eq!((said["status"].as_str(), code), (Some("pending"), Some(3)));
    scene.idp.approve(started["user_code"].as_str().unwrap());
    assert_eq!(caller.finish().code, Some(0));
    assert_eq!(step(&scene, &["--poll"]).0["status"], "done");
    scene.assert_proper();
}

#[test]
fn after_a_poller_that_died_a_step_waits_one_whole_interval() {
    let scene = Scene::with(Options::entra(), WORK);
    step(&scene, &["--start"]);
    let caller = scene.start(["token"]);
    caller.code();
    scene.idp.wait_for("token:device_code", 1, common::SOON);
    caller.kill();
    let polls = scene.idp.count("token");
    assert_eq!(step(&scene, &["--poll"]).0["retry_in"], 2);
    assert_eq!(scene.idp.count("token"), polls);
    scene.assert_proper();
}

/// A process whose own settings are wrong says so, and leaves the sign-in to those who can finish it.
#[test]
fn a_mistake_of_ones_own_ends_nobodys_sign_in() {
    let scene = Scene::new(Options::default());
    step(&scene, &["--start"]);
    a_while_later(&scene);
    let mistaken = |args: &[&str]| {
        let mut command = scene.command("always", args);
        Output::of(command.env("HTTPS_PROXY", "ftp://proxy.example"), b"")
    };
    let before = scene.session();
    for args in [&["login", "--poll"][..], &["token"]] {
        assert_eq!(mistaken(args).code, Some(2), "{args:?}");
        assert_eq!(scene.session(), before, "{args:?}");
    }
    scene.idp.approve(&scene.idp.user_codes()[0]);
    assert_eq!(step(&scene, &["--poll"]).0["status"], "done");

    // Nor is it news for those who wait for a renewal.
    scene.leave(-1);
    let before = scene.session();
    assert_eq!(mistaken(&["token"]).code, Some(2));
    assert_eq!(scene.session(), before);
}

#[test]
fn without_json_it_is_said_in_words() {
    let scene = Scene::with(Options::entra(), WORK);
    let none = scene.silently(["login", "--poll"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(3), ""));
    assert!(
        none.stderr.starts_with("error: could not sign in to work: no sign-in was started\nhint: "),
        "{}",
        none.stderr
    );
    assert!(none.stderr.ends_with("keyfob login work --start\n"), "{}", none.stderr);

    let started = scene.silently(["login", "--start"]);
    let code = scene.idp.user_codes()[0].clone();
    let lines: Vec<&str> = started.stdout.lines().collect();
    assert_eq!(lines[..2], ["Open        https://microsoft.com/devicelogin".to_owned(), format!("Enter code  {code}")]);
    assert_eq!(lines[2], "Enter the code only if you started this yourself.");
    assert!(
        lines[3].starts_with("The code ends in ") && lines[3].ends_with("; ask with --poll, every 2 s."),
        "{lines:?}"
    );
    assert_eq!((started.code, started.stderr.as_str()), (Some(0), ""));

    let early = scene.silently(["login", "--poll"]);
    assert!(early.stdout.starts_with("Not yet; the code ends in "), "{early:?}");
    assert_eq!((early.code, early.stderr.as_str()), (Some(3), ""));
    scene.idp.deny(&code);
    a_while_later(&scene);
    let refused = scene.silently(["login", "--poll"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(4), ""));
    assert!(
        refused.stderr.starts_with("error: the sign-in was refused (authorization_declined: "),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_limit_of_the_callers_own_is_no_expiry() {
    let scene = Scene::with(Options::entra(), WORK);
    let output = scene.prompting(["login", "--timeout", "1"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{}", output.stderr);
    let why = "nobody has entered the code within 1 s; it is good for ";
    assert!(
        output.stderr.contains(why) && output.stderr.contains(" min more\nhint: to go on with it: "),
        "{}",
        output.stderr
    );
    assert_eq!(scene.session()["refused"], Value::Null);

    // The code stays good, for a step or for whoever comes next.
    let code = scene.idp.user_codes()[0].clone();
    scene.idp.approve(&code);
    let next = scene.prompting(["login", "--json"]);
    let done: Value = serde_json::from_str(&next.stdout).unwrap();
    assert_eq!((&done["status"], &done["account"]), (&json!("done"), &json!("alice@example.com")));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();

    // Also for one that waits for another's sign-in.
    let scene = Scene::with(Options::entra(), WORK);
    let polling = scene.start(["token"]);
    let code = polling.code();
    assert_eq!(scene.prompting(["login", "--timeout", "1"]).code, Some(3));
    scene.idp.approve(&code);
    token(&polling.finish());
}

#[test]
fn what_does_not_go_together_is_refused() {
    let scene = Scene::with(Options::entra(), WORK);
    scene.idp.auto(Auto::Approve);
    for args in
        [&["--start", "--poll"][..], &["--poll", "--force"], &["--start", "--timeout", "3"], &["--timeout", "soon"]]
    {
        assert_eq!(scene.silently([&["login"], args].concat()).code, Some(2), "{args:?}");
    }
    assert_eq!(scene.idp.requests().len(), 0);
}
