//! People who stop, sign out and share machines while a sign-in is under way, and what the processes that wait are told.

use crate::common::{LAB, PROGRAM, SOON, Scene, now, token, wait_for_sleepers, wait_until};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Keyfob, Output};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

#[test]
fn a_poller_that_is_stopped_is_named_to_those_who_wait() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    let waiter = scene.start(["token"]);
    assert_eq!(waiter.code(), code);
    kill_process(pid(poller.pid()), Signal::STOP).unwrap();
    let said = format!("keyfob: process {} holds this sign-in and is stopped; ", poller.pid());
    wait_until("a word about the stopped process", || waiter.stderr().contains(&said));
    kill_process(pid(poller.pid()), Signal::CONT).unwrap();
    scene.idp.approve(&code);
    assert_eq!(token(&waiter.finish()), token(&poller.finish()));
    assert_eq!(scene.idp.count("device"), 1);
}

#[test]
fn a_code_from_a_clock_that_was_wrong_is_not_joined() {
    const YEAR: i64 = 365 * 24 * 3600;
    let scene = Scene::new(Options::default());
    assert_eq!(scene.silently(["login", "--start"]).code, Some(0));
    scene.change(|session| {
        session["sign_in"]["started_at"] = json!(now() + YEAR);
        session["sign_in"]["expires_at"] = json!(now() + YEAR + 600);
    });
    assert_eq!(scene.silently(["login", "--start", "--force"]).code, Some(0));
    assert_eq!(scene.idp.count("device"), 2);
}

#[test]
fn a_sign_out_ends_the_sign_in_that_is_under_way_for_all_and_a_later_approval_brings_nothing_back() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    let waiter = scene.start(["token"]);
    assert_eq!(waiter.code(), code);
    // The approval is on its way when the session goes.
    let hold = scene.idp.hold(Endpoint::Token);
    scene.idp.wait_for("token:device_code", 1, SOON);
    scene.idp.approve(&code);
    let output = scene.silently(["logout"]);
    assert_eq!(output.stdout, "Not signed in to lab; the sign-in that was under way is ended.\n", "{output:?}");
    drop(hold);
    for caller in [poller, waiter] {
        let output = caller.finish();
        assert_eq!((output.code, output.stdout.as_str()), (Some(4), ""), "{output:?}");
        assert!(
            output.stderr.contains("error: could not get a token for lab: the session was deleted during the sign-in")
        );
    }
    assert_eq!(scene.silently(["token"]).code, Some(3));
    assert!(!scene.idp.issued().iter().any(|token| scene.idp.accepts(token)), "what was granted is revoked");
    assert_eq!(scene.idp.user_codes().len(), 1, "nobody was asked again");
}

#[test]
fn what_was_refused_to_one_profile_is_not_told_to_another() {
    let wide = format!("{LAB}scopes = ['openid', 'offline_access', 'wide']\n").replace("lab]", "wide]");
    let scene = Scene::with(Options::default(), &format!("{LAB}{wide}"));
    scene.idp.script(Endpoint::Device, [Reply::error("invalid_scope")]);
    let hold = scene.idp.hold(Endpoint::Device);
    let refused = scene.start(["token", "-p", "wide"]);
    scene.idp.wait_for("device", 1, SOON);
    let waiter = scene.start(["token", "-p", "lab"]);
    // It waits before the other one is refused.
    wait_for_sleepers(&[waiter.pid()], 0);
    drop(hold);
    let output = refused.finish();
    assert!(output.stderr.contains("invalid_scope"), "{output:?}");
    let code = waiter.code();
    scene.idp.approve(&code);
    token(&waiter.finish());
}

#[test]
fn start_says_whose_host_it_is_not_and_who_may_enter_the_code() {
    let elsewhere: fn(Endpoint, &mut Value) = |endpoint, answer| {
        if endpoint == Endpoint::Device {
            answer["verification_uri"] = json!("https://elsewhere.example/device");
            answer.as_object_mut().unwrap().remove("verification_uri_complete");
        }
    };
    let scene = Scene::new(Options { edit: Some(std::sync::Arc::new(elsewhere)), ..Options::default() });
    let said = scene.silently(["login", "--start"]).stdout;
    let lines: Vec<&str> = said.lines().skip(2).take(2).collect();
    let note = "Note: elsewhere.example is not the provider's own host. Go on only if you know it.";
    assert_eq!(lines, [note, "Enter the code only if you started this yourself."], "{said}");
    let json: Value = serde_json::from_str(&scene.silently(["login", "--start", "--json"]).stdout).unwrap();
    assert_eq!(json["foreign_host"], "elsewhere.example");
}

#[test]
fn a_code_that_nobody_can_see_is_no_code() {
    for invisible in ["\u{3164}", "\u{2800}\u{2800}", "\u{115f}\u{1160}", "\u{ffa0}"] {
        let scene = Scene::new(Options::default());
        let answer =
            json!({"device_code": "d", "user_code": invisible, "verification_uri": "https://id.example/device"});
        scene.idp.script(Endpoint::Device, [Reply::json(200, &answer)]);
        let output = scene.prompting(["token"]);
        assert!(output.stderr.contains("its answer has no `user_code`"), "{output:?}");
    }
}

#[test]
fn a_refresh_names_no_scope_that_the_sign_in_could_not_ask_for() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    // As a server leaves it that lists its scopes, and `offline_access` is not among them.
    scene.change(|session| {
        session["asked"] = json!(["openid"]);
        session["server"]["offline_access"] = json!(false);
    });
    token(&scene.silently(["token"]));
    let refresh = scene.idp.requests().into_iter().rfind(|request| request.field("refresh_token").is_some()).unwrap();
    assert_eq!(refresh.field("scope"), None);
}

/// The last token of a session that could not be renewed; its end is told as often as it is asked for.
#[test]
fn why_a_person_is_asked_is_said_every_time() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    scene.idp.revoke_refresh_tokens();
    for _ in 0..3 {
        let output = scene.silently(["token"]);
        assert!(
            output.stderr.contains("a sign-in is needed: the provider ended the session (invalid_grant"),
            "{output:?}"
        );
    }
    scene.idp.auto(Auto::Ignore);
    let caller = scene.start(["token"]);
    caller.code();
    assert!(caller.stderr().contains("Why now: the provider ended the session (invalid_grant"), "{}", caller.stderr());
}

/// Also where the session ended while a token still lived, which was handed out without a word.
#[test]
fn why_a_person_is_asked_is_said_although_a_living_token_was_served_first() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(100);
    scene.idp.revoke_refresh_tokens();
    let living = scene.silently(["token"]);
    assert_eq!((living.code, living.stderr.as_str()), (Some(0), ""), "{living:?}");
    scene.leave(-1);
    let output = scene.silently(["token"]);
    assert!(output.stderr.contains("a sign-in is needed: the provider ended the session (invalid_grant"), "{output:?}");
    let shown = scene.silently(["status"]).stdout;
    assert!(shown.contains("the provider ended the session (invalid_grant"), "{shown}");
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
}

/// What never was a session leaves none.
#[test]
fn a_first_attempt_that_fails_leaves_no_session_of_no_profile() {
    let scene = Scene::new(Options::default());
    scene.idp.script(Endpoint::Device, [Reply::error("invalid_client")]);
    let issuer = scene.idp.issuer().to_owned();
    let output = scene.prompting(["token", "--issuer", &issuer, "--client-id", "wrong"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let shown = scene.silently(["status"]).stdout;
    assert!(!shown.contains("wrong"), "{shown}");
    let complaints = scene.silently(["doctor", "--offline"]).stdout;
    assert!(!complaints.contains("wrong"), "{complaints}");
}

/// A session that cannot be used is no reason to leave the others, nor the copies of damaged ones, which may hold a token.
#[test]
fn signing_out_of_everything_goes_on_past_what_cannot_be_used() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    let scene = Scene::signed_in(Options::default());
    let folder = scene.keyfob.cache_dir();
    let leave = |name: &str, text: &str, mode: u32| {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
    };
    leave("0-damaged.json", "{\"refresh_token\":\"kept\"", 0o600);
    leave("0-readable.json", "{}", 0o644);
    leave("0-newer.json", "{\"version\":99}", 0o600);
    leave("0-other.damaged-7", "{\"refresh_token\":\"kept\"", 0o600);
    symlink("/dev/null", folder.join("0-link.json")).unwrap();
    let shown = scene.silently(["status"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("lab: signed in as alice@example.com\n"), "{}", shown.stdout);
    for why in [
        "0-damaged.json is damaged: ",
        "0-readable.json: other users can",
        "0-newer.json: a newer",
        "0-link.json: it is a",
    ] {
        assert!(shown.stdout.contains(why), "{why}: {}", shown.stdout);
    }

    let output = scene.silently(["logout", "--all"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(1), "Signed out of lab (alice@example.com).\n"),
        "{output:?}"
    );
    assert!(output.stderr.contains("error: 3 of the sessions could not be signed out of\n"), "{}", output.stderr);
    assert!(output.stderr.contains("0-damaged.json is damaged: "), "{}", output.stderr);
    assert!(!scene.idp.issued().iter().any(|token| scene.idp.accepts(token)));
    let mut left = scene.names();
    left.retain(|name| !name.ends_with(".lock"));
    assert_eq!(left, ["0-link.json", "0-newer.json", "0-readable.json"]);
}

/// Where no file may grow, what is said to a caller by a pipe is said all the same.
#[test]
fn a_limit_on_the_size_of_files_ends_no_cached_answer() {
    let scene = Scene::signed_in(Options::default());
    let request =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}"#;
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", "ulimit -f 0; exec \"$0\" kubernetes", PROGRAM]);
    shell.env("KEYFOB_PROMPT", "never").env("KUBERNETES_EXEC_INFO", request);
    let output = Output::of(&mut shell, b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.stdout.contains("\"token\":"), "{output:?}");
}

/// Answers the requests of one connection, which stays open; but a poll that comes over one that was used before finds it
/// closed. `None` once there was none.
fn answer_all(connection: &TcpStream, polls: &AtomicUsize, closed: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(connection);
    for is_new in [true].into_iter().chain(std::iter::repeat(false)) {
        let head: Vec<String> =
            reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length?];
        reader.read_exact(&mut body).ok()?;
        let answer = if head[0].starts_with("POST /device ") {
            json!({"device_code": "d", "user_code": "ABCD", "verification_uri": "http://127.0.0.1/", "interval": 1})
        } else if !is_new {
            closed.fetch_add(1, Ordering::SeqCst);
            return Some(());
        } else if polls.fetch_add(1, Ordering::SeqCst) < 2 {
            json!({"error": "authorization_pending"})
        } else {
            json!({"access_token": "granted", "token_type": "Bearer", "expires_in": 3600})
        };
        let status = if answer["error"].is_null() { 200 } else { 400 };
        let answer = answer.to_string();
        write!(&*connection, "HTTP/1.1 {status} \r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
    None
}

/// Servers close connections that were idle for as long as the polls are apart, and so at the very moment of the next.
#[test]
fn no_poll_goes_to_a_connection_that_the_server_may_be_closing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (polls, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let config = format!(
        "[profile.lab]\nclient-id = 'keyfob'\ndevice-authorization-endpoint = 'http://{address}/device'\n\
         token-endpoint = 'http://{address}/token'\n"
    );
    let keyfob = Keyfob::new(PROGRAM).config(&config);
    thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                // The test itself has come, and is done.
                if connection.peek(&mut [0]).unwrap() == 0 {
                    return;
                }
                let (polls, closed) = (&polls, &closed);
                scope.spawn(move || answer_all(&connection, polls, closed));
            }
        });
        let mut command = keyfob.command(["token"]);
        let output = Output::of(command.env("KEYFOB_PROMPT", "always").env("KEYFOB_LOG", "debug"), b"");
        drop(TcpStream::connect(address).unwrap());
        assert_eq!(token(&output), "granted");
        assert!(!output.stderr.contains("polling goes on"), "{output:?}");
    });
    assert_eq!((polls.into_inner(), closed.into_inner()), (3, 0));
}
