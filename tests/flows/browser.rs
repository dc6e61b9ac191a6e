//! Signing in by browser: from the short address to the tokens, whatever comes to the port meanwhile.

use crate::common::browser::{Opener, Page, address, browse, get, page, port, raw, request};
use crate::common::{self, Caller, SOON, Scene, token, wait_for_sleepers, wait_until};
use keyfob_test_support::entra::{AZURE_CLI, error_body};
use keyfob_test_support::provider::{Auto, Edit, Endpoint, Options, Reply, ScopeFormat};
use keyfob_test_support::{Output, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

const LAB: &str = "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\nflow = 'browser'\n";

fn scene(options: Options) -> Scene {
    Scene::with(options, LAB)
}

/// The query of the authorization request so far.
fn asked(scene: &Scene) -> Vec<(String, String)> {
    scene.idp.requests().into_iter().find(|request| request.label == "authorize").unwrap().query
}

fn field<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[track_caller]
fn assert_says(page: &Page, status: u16, words: &str) {
    assert_eq!(page.status, status, "{page:?}");
    assert!(page.body.contains(words), "{page:?}");
}

#[test]
fn r61_a_person_signs_in_and_the_page_says_as_whom() {
    for form_post in [false, true] {
        let scene = scene(Options { form_post, names_issuer: form_post, ..Options::default() });
        let caller = scene.start(["token"]);
        let address = caller.address();
        let page = browse(&address);
        assert_says(&page, 200, "keyfob has signed in as alice@example.com. You can close this page.");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(page.header(name), Some(value));
        }
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; style-src"));
        let answer = token(&caller.finish());
        assert!(scene.idp.accepts(&answer));
        assert_eq!(scene.token(), answer);
        assert_eq!(scene.session()["begun"]["flow"], "browser");

        let query = asked(&scene);
        assert_eq!(field(&query, "response_mode"), form_post.then_some("form_post"));
        assert_eq!(field(&query, "code_challenge_method"), Some("S256"));
        assert_eq!(field(&query, "scope"), Some("openid offline_access"));
        let redirect = field(&query, "redirect_uri").unwrap();
        assert_eq!(redirect, format!("http://127.0.0.1:{}", port(&address)));
        assert!(field(&query, "state").unwrap().len() >= 43 && field(&query, "nonce").unwrap().len() >= 22);
        // What was issued or drawn for it is nowhere but in the session's file.
        for secret in scene.idp.issued() {
            assert!(!page.body.contains(&secret) && !page.head.contains(&secret));
        }
        // The listener has gone.
        assert!(TcpStream::connect(("127.0.0.1", port(&address))).is_err());
        assert_eq!(scene.idp.count("device"), 0);
    }
}

#[test]
fn the_session_is_renewed_as_any_other() {
    let scene = scene(Options::default());
    let caller = scene.start(["token"]);
    browse(&caller.address());
    let first = token(&caller.finish());
    scene.leave(-1);
    let second = token(&scene.silently(["token"]));
    assert_ne!(first, second);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn what_a_person_refuses_is_refused() {
    let scene = scene(Options::default());
    scene.idp.auto(Auto::Deny);
    let caller = scene.start(["token"]);
    let page = browse(&caller.address());
    assert_says(&page, 400, "the sign-in was refused (access_denied: the user said no)");
    let output = caller.finish();
    assert_eq!((output.code, output.stdout.as_str()), (Some(4), ""));
    assert!(output.stderr.contains("error: could not get a token for lab: the sign-in was refused (access_denied: "));
    assert_eq!(scene.idp.count("token"), 0);
}

#[test]
fn the_page_says_when_the_exchange_failed() {
    let scene = scene(Options::default());
    scene.idp.always(Endpoint::Token, Reply::json(503, &json!({"error": "temporarily_unavailable"})));
    let caller = scene.start(["token"]);
    let page = browse(&caller.address());
    assert_says(&page, 400, "The sign-in failed");
    let output = caller.finish();
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("the sign-in's answer from"), "{output:?}");
    // A caller that tries again at once is told the same, and opens no other window.
    let again = scene.prompting(["token"]);
    assert_eq!((again.code, address(&again.stderr)), (Some(5), None), "{again:?}");
    assert!(output.stderr.ends_with(&again.stderr), "{again:?}");
    assert_eq!(scene.idp.count("authorize"), 1);
}

#[test]
fn another_account_takes_no_session_over_and_the_page_says_so() {
    let scene = scene(Options::default());
    let caller = scene.start(["token"]);
    browse(&caller.address());
    let before = token(&caller.finish());
    scene.idp.set_user("bob@example.com");
    let caller = scene.start(["login", "--force"]);
    let page = browse(&caller.address());
    assert_says(&page, 400, "bob@example.com signed in, but this session belongs to alice@example.com");
    assert_eq!(caller.finish().code, Some(4));
    assert_eq!(scene.token(), before);
    assert_eq!(scene.idp.count("revoke"), 1);
}

/// What comes to the port while a sign-in is waited for: none of it ends it or gets a code, and none holds it up.
#[test]
fn r62_hostile_and_clumsy_clients_change_nothing() {
    for form_post in [false, true] {
        let scene = scene(Options { form_post, ..Options::default() });
        let caller = scene.start(["token"]);
        let short = caller.address();
        let at = port(&short);
        let local = format!("http://127.0.0.1:{at}");

        // Connections that say nothing, or half of something, for as long as they live.
        let mut stuck: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", at)).unwrap()).collect();
        stuck[1].write_all(b"GET / HTTP/1.1\r\nHost: 127").unwrap();
        stuck[2]
            .write_all(format!("POST / HTTP/1.1\r\nHost: 127.0.0.1:{at}\r\nContent-Length: 100\r\n\r\nst").as_bytes())
            .unwrap();

        for (path, status) in [
            ("/", 404),
            ("/favicon.ico", 404),
            ("/robots.txt", 404),
            ("/?code=c", 400),
            ("/?code=c&state=wrong", 400),
            ("/?state=wrong&error=access_denied", 400),
            ("/?error=access_denied", 400),
            ("/callback?code=c&state=s", 404),
            ("//?code=c", 404),
        ] {
            assert_eq!(get(&format!("{local}{path}")).status, status, "{path}");
        }
        for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "TRACE"] {
            assert_eq!(request(method, &short, None).status, 404, "{method}");
        }
        assert_eq!(request("POST", &local, Some("code=c&state=wrong")).status, 400);
        let host = |host: &str| {
            let target = short.rsplit('/').next().unwrap();
            page(&raw(at, format!("GET /{target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()))
        };
        for name in ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", ""] {
            assert_eq!(host(name).status, 400, "{name}");
        }
        for name in ["localhost", "[::1]", "LOCALHOST"] {
            assert_eq!(host(&format!("{name}:{at}")).status, 302, "{name}");
        }
        let head = format!("Host: 127.0.0.1:{at}\r\n");
        let long = "x".repeat(20 << 10);
        let many = "a: b\r\n".repeat(100);
        for (bytes, status) in [
            (format!("GET / HTTP/1.1\r\n{head}{head}\r\n"), 400),
            (format!("GET http://evil.example/ HTTP/1.1\r\n{head}\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{head}x: {long}\r\n\r\n"), 431),
            (format!("GET /{long} HTTP/1.1\r\n{head}\r\n"), 431),
            (format!("GET / HTTP/1.1\r\n{head}{many}\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 411),
            (format!("POST / HTTP/1.1\r\n{head}Content-Length: -1\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), 400),
            (format!("POST / HTTP/1.1\r\n{head}Content-Length: 10485760\r\n\r\n"), 413),
            ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".to_owned(), 400),
        ] {
            assert_eq!(page(&raw(at, bytes.as_bytes())).status, status, "{bytes:.80}");
        }
        // Ten million bytes of body: whatever they get to hear of it.
        let flood = format!("POST / HTTP/1.1\r\n{head}Content-Length: 10000000\r\n\r\n");
        raw(at, [flood.as_bytes(), &vec![b'x'; 10_000_000]].concat().as_slice());
        // More connections than are kept.
        let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", at)).unwrap()).collect();

        // Neither a right code by the wrong way, nor the right state twice.
        let to = get(&short).location().unwrap().to_owned();
        let query = to.split('?').nth(1).unwrap();
        let state = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state").unwrap().1.into_owned();
        if form_post {
            let by_address = get(&format!("{local}/?code=c&state={state}"));
            assert_says(&by_address, 400, "Do not pass this address on to anybody");
        }
        assert_eq!(request("POST", &local, Some(&format!("code=c&state={state}&state={state}"))).status, 400);
        assert_eq!(request("POST", &local, Some(&format!("code=&state={state}"))).status, 400);
        assert_eq!(request("POST", &local, Some(&format!("code=a%0Ab&state={state}"))).status, 400);
        assert_eq!(scene.idp.count("token"), 0);

        let shown = browse(&short);
        assert_says(&shown, 200, "keyfob has signed in as alice@example.com");
        let mut end = String::new();
        drop(crowd);
        // Nobody who waited was told anything.
        for mut stream in stuck {
            let _ = stream.read_to_string(&mut end);
        }
        assert_eq!(end, "");
        token(&caller.finish());
        assert_eq!(scene.idp.count("token:authorization_code"), 1);
    }
}

#[test]
fn two_answers_at_once_are_one() {
    let scene = scene(Options::default());
    let hold = scene.idp.hold(Endpoint::Token);
    let caller = scene.start(["token"]);
    let to = get(&caller.address()).location().unwrap().to_owned();
    let answer = get(&to).location().unwrap().to_owned();
    let again = get(&to).location().unwrap().to_owned();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| get(&answer));
        scene.idp.wait_for("token", 1, SOON);
        // The first one is being exchanged: nothing listens any more.
        assert!(TcpStream::connect(("127.0.0.1", port(&again))).is_err());
        drop(hold);
        assert_says(&first.join().unwrap(), 200, "keyfob has signed in as");
    });
    token(&caller.finish());
    assert_eq!(scene.idp.count("token:authorization_code"), 1);
}

/// Both have arrived before the caller, which is stopped meanwhile, reads one of them.
#[test]
fn of_two_answers_that_have_arrived_one_is_taken_and_the_other_is_told_so() {
    let scene = scene(Options::default());
    let caller = scene.start(["token"]);
    let to = get(&caller.address()).location().unwrap().to_owned();
    let answers = [(); 2].map(|()| get(&to).location().unwrap().to_owned());
    let pid = Pid::from_raw(i32::try_from(caller.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let state = || fs::read_to_string(format!("/proc/{}/stat", caller.pid())).unwrap();
    wait_until("a stopped caller", || state().contains(") T "));
    let streams = answers.map(|answer| {
        let (port, query) = (port(&answer), answer.split_once('?').unwrap().1);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
        stream
    });
    kill_process(pid, Signal::CONT).unwrap();
    let mut pages = streams.map(|mut stream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        page(&answer)
    });
    pages.sort_by_key(|page| page.status);
    assert_says(&pages[0], 200, "keyfob has signed in as");
    assert_says(&pages[1], 400, "The sign-in has been answered.");
    token(&caller.finish());
    assert_eq!(scene.idp.count("token:authorization_code"), 1);
}

#[test]
fn r63_r64_an_answer_of_another_issuer_or_for_another_sign_in_is_not_taken() {
    let evil = "&iss=https%3A%2F%2Fevil.example";
    for (names_issuer, more, words) in [
        (true, "", "it does not say which issuer it is from (`iss`)"),
        (true, evil, "it is from the issuer \"https://evil.example\", not "),
        (false, evil, "it is from the issuer \"https://evil.example\", not "),
        (false, "&error=server_error&iss=https%3A%2F%2Fevil.example", "it is from the issuer"),
    ] {
        let scene = scene(Options { names_issuer, ..Options::default() });
        let caller = scene.start(["token"]);
        let to = get(&caller.address()).location().unwrap().to_owned();
        let answer = get(&to).location().unwrap().split("&iss=").next().unwrap().to_owned();
        assert_says(&get(&format!("{answer}{more}")), 400, "The sign-in failed");
        let output = caller.finish();
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        assert!(output.stderr.contains(words), "{output:?}");
        assert_eq!(scene.idp.count("token"), 0, "the code goes nowhere");
    }
    for nonce in [json!("another"), Value::Null] {
        let scene = scene(Options { claims: json!({ "nonce": nonce }), ..Options::default() });
        let caller = scene.start(["token"]);
        browse(&caller.address());
        let output = caller.finish();
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        assert!(output.stderr.contains("its ID token was made for another sign-in (`nonce`)"), "{output:?}");
        assert_eq!(scene.idp.count("revoke"), 1);
    }
}

#[test]
fn an_opener_gets_the_short_address_and_nothing_else() {
    let scene = scene(Options::default());
    let opener = Opener::new(scene.keyfob.home(), "my browser", 0);
    let mut command = scene.command("always", ["token"]);
    let caller = Caller::start(command.env("BROWSER", &opener.program));
    let address = caller.address();
    wait_until("the opener", || !opener.notes().is_empty());
    assert_eq!(opener.notes(), format!("1 {address} /\n/dev/null\n/dev/null\n"));
    assert!(caller.stderr().contains("A browser window opens by itself"), "{}", caller.stderr());
    browse(&address);
    token(&caller.finish());
    assert_eq!(opener.notes().lines().count(), 3, "once");
}

/// Also where keyfob was started to ignore SIGCHLD, by a program that never waits for what it starts.
#[test]
fn an_opener_that_fails_is_followed_by_the_next_one_and_a_text_browser_is_none() {
    for ignoring in [&["--default-signal=CHLD"], &["--ignore-signal=CHLD"]] {
        let scene = scene(Options::default());
        let home = scene.keyfob.home();
        let openers =
            [("lynx", 0), ("bad", 3), ("good", 0), ("never", 0)].map(|(name, code)| Opener::new(home, name, code));
        let list = openers.each_ref().map(|opener| opener.program.display().to_string()).join(":");
        let mut command = scene.keyfob.other("env");
        command.args(ignoring).args([common::PROGRAM, "token"]);
        let caller = Caller::start(command.env("KEYFOB_PROMPT", "always").env("BROWSER", list));
        wait_until("the second opener", || !openers[2].notes().is_empty());
        browse(&caller.address());
        token(&caller.finish());
        let ran = openers.map(|opener| !opener.notes().is_empty());
        assert_eq!(ran, [false, true, true, false], "{ignoring:?}");
    }
}

#[test]
fn twelve_without_a_session_share_one_listener_and_one_window() {
    let scene = scene(Options::default());
    let opener = Opener::new(scene.keyfob.home(), "browser", 0);
    let browser = opener.program.display().to_string();
    let callers: Vec<Caller> =
        (0..12).map(|_| Caller::start(scene.command("always", ["token"]).env("BROWSER", &browser))).collect();
    let addresses: Vec<String> = callers.iter().map(Caller::address).collect();
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    let pids: Vec<u32> = callers.iter().map(Caller::pid).collect();
    wait_for_sleepers(&pids, 1);
    browse(&addresses[0]);
    let answers: Vec<String> = callers.into_iter().map(|caller| token(&caller.finish())).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((scene.idp.count("authorize"), scene.idp.count("token:authorization_code")), (1, 1));
    assert_eq!(opener.notes().lines().count(), 3, "one window");
}

#[test]
fn the_next_one_begins_anew_when_the_listening_process_is_killed() {
    let scene = scene(Options::default());
    let first = scene.start(["token"]);
    let old = first.address();
    let second = scene.start(["token"]);
    assert_eq!(second.address(), old);
    first.kill();
    wait_until("a new address", || {
        address(second.stderr().rsplit("Sign in to").next().unwrap()).is_some_and(|a| a != old)
    });
    let said = second.stderr();
    let last = said.rsplit("Sign in to").next().unwrap();
    assert!(last.contains("Why now: the process that waited for the browser has ended."), "{said}");
    browse(&address(last).unwrap());
    assert!(scene.idp.accepts(&token(&second.finish())));

    // The same for one that comes later.
    let scene = self::scene(Options::default());
    let first = scene.start(["token"]);
    first.address();
    first.kill();
    let status = scene.silently(["status"]);
    assert!(!status.stdout.contains("waits for the browser"), "{status:?}");
    let next = scene.start(["token"]);
    let address = next.address();
    assert!(next.stderr().contains("Why now: the process that waited for the browser has ended."));
    browse(&address);
    token(&next.finish());
}

#[test]
fn a_caller_with_a_limit_ends_its_sign_in() {
    let scene = scene(Options::default());
    let output = scene.prompting(["login", "--timeout", "1"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("nobody has signed in in the browser within 1 s"), "{output:?}");
    assert_eq!(scene.session().get("sign_in"), None);
}

#[test]
fn a_port_and_a_path_are_as_registered() {
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let toml = format!(
        "{LAB}redirect-port = {port}\nredirect-path = '/callback'\nredirect-host = 'localhost'\nlogin-hint = 'ada'\n"
    );
    let redirects = vec![format!("http://localhost:{port}/callback")];
    let scene = Scene::with(Options { redirects, ..Options::default() }, &toml);
    let caller = scene.start(["token"]);
    let short = caller.address();
    assert!(short.starts_with(&format!("http://127.0.0.1:{port}/")), "{short}");
    // It listens where a browser may look first, too.
    if let Ok(mut stream) = TcpStream::connect(("::1", port)) {
        stream.write_all(format!("GET /favicon.ico HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(page(&answer).status, 404);
    }
    let taken = scene.prompting(["token", "--account", "bob"]);
    assert_eq!(taken.code, Some(1), "{taken:?}");
    let error = format!("could not listen on port {port} for the browser's answer: ");
    assert!(taken.stderr.contains(&error), "{taken:?}");
    assert!(taken.stderr.contains("hint: end the program that listens there, or set another `redirect-port`"));
    browse(&short);
    token(&caller.finish());
    assert_eq!(field(&asked(&scene), "login_hint"), Some("ada"));
}

#[test]
fn a_profile_for_the_browser_takes_no_session_begun_by_device_code() {
    let scene = Scene::signed_in(Options::default());
    let by_device = scene.token();
    scene.keyfob.write_config(&LAB.replace("ISSUER", scene.idp.issuer()));
    let without = scene.silently(["token"]);
    assert_eq!((without.code, without.stdout.as_str()), (Some(3), ""));
    assert!(without.stderr.contains("this session began by device code, and the profile wants one by browser"));
    // Neither flag nor variable changes that.
    let flag = scene.silently(["token", "--flow", "device"]);
    assert_eq!(flag.code, Some(2), "{flag:?}");
    assert!(flag.stderr.contains("config.toml:4: `flow` is set for this profile, and no flag changes it"), "{flag:?}");
    let variable = common::Caller::start(scene.command("always", ["token"]).env("KEYFOB_FLOW", "device"));
    browse(&variable.address());
    let by_browser = token(&variable.finish());
    assert_ne!(by_browser, by_device);
    assert_eq!(scene.token(), by_browser);
}

#[test]
fn the_flow_is_chosen_by_flag_and_variable_where_the_profile_leaves_it_open() {
    let scene = Scene::new(Options::default());
    for (arguments, variable) in [(vec!["token", "--flow", "browser"], ""), (vec!["token"], "browser")] {
        let caller = Caller::start(scene.command("always", &arguments).env("KEYFOB_FLOW", variable));
        browse(&caller.address());
        token(&caller.finish());
        assert_eq!(scene.session()["begun"]["flow"], "browser");
        scene.silently(["logout"]);
    }
    let steps = scene.prompting(["login", "--start", "--flow", "browser"]);
    assert_eq!(steps.code, Some(2), "{steps:?}");
    assert!(steps.stderr.contains("a sign-in in steps goes by device code, and this profile signs in by browser"));
    let wrong = Caller::start(scene.command("always", ["token"]).env("KEYFOB_FLOW", "bowser")).finish();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("KEYFOB_FLOW cannot be \"bowser\"; use auto, browser or device"), "{wrong:?}");
}

const ENTRA: &str = "[profile.az]\nprovider = 'entra'\nauthority = 'ISSUER'\nclient-id = 'AZURE_CLI'\n\
                     scopes = ['https://management.azure.com/.default']\nauthorization-endpoint = 'ISSUER/organizations/oauth2/v2.0/authorize'\n";

fn entra() -> Scene {
    Scene::with(Options::entra(), &ENTRA.replace("AZURE_CLI", AZURE_CLI))
}

#[test]
fn r65_entra_posts_its_answer_to_localhost() {
    let scene = entra();
    let caller = scene.start(["token", "--flow", "browser"]);
    let short = caller.address();
    assert_says(&browse(&short), 200, "keyfob has signed in as");
    token(&caller.finish());
    let query = asked(&scene);
    assert_eq!(field(&query, "response_mode"), Some("form_post"));
    assert_eq!(field(&query, "redirect_uri"), Some(format!("http://localhost:{}", port(&short)).as_str()));
}

/// What Entra says where Conditional Access forbids device codes.
fn forbidden() -> Reply {
    let mut body = error_body("invalid_grant", 53003, "Access has been blocked by Conditional Access policies.");
    body["suberror"] = json!("message_only");
    Reply::json(400, &body)
}

const BY_POLICY: &str = "Why now: a policy of the provider refuses sign-ins by device code.";

#[test]
fn a_policy_that_refuses_a_device_code_at_the_start_leads_to_the_browser_once_and_is_remembered() {
    let scene = entra();
    scene.idp.always(Endpoint::Device, forbidden());
    let caller = scene.start(["token"]);
    let address = caller.address();
    assert!(caller.stderr().contains(BY_POLICY), "{}", caller.stderr());
    browse(&address);
    token(&caller.finish());
    assert_eq!(scene.idp.count("device"), 1);
    let status = scene.silently(["status"]).stdout;
    assert!(status.contains("  began     by browser\n"), "{status}");
    assert!(
        status
            .contains("  policy    refuses sign-ins by device code, so they go by browser (invalid_grant: AADSTS53003")
    );

    // The next one does not ask for a code again.
    let caller = scene.start(["login", "--force"]);
    browse(&caller.address());
    assert_eq!(caller.finish().code, Some(0));
    assert_eq!(scene.idp.count("device"), 1);
    // Not for ever.
    scene.change(|session| session["device_refused"]["at"] = json!(common::now() - 7 * 24 * 3600));
    let caller = scene.start(["login", "--force"]);
    browse(&caller.address());
    assert_eq!(caller.finish().code, Some(0));
    assert_eq!(scene.idp.count("device"), 2);
    // One who says how to sign in is not led elsewhere.
    let told = scene.prompting(["login", "--force", "--flow", "device"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("AADSTS53003") && told.stderr.contains("--flow browser"), "{told:?}");
}

#[test]
fn a_policy_that_refuses_at_a_poll_leads_to_the_browser() {
    let scene = entra();
    scene.idp.script(Endpoint::Token, [forbidden()]);
    let caller = scene.start(["token"]);
    let address = caller.address();
    assert!(caller.stderr().contains("Enter code") && caller.stderr().contains(BY_POLICY), "{}", caller.stderr());
    browse(&address);
    token(&caller.finish());
    assert_eq!((scene.idp.count("device"), scene.idp.count("authorize")), (1, 1));
}

#[test]
fn a_policy_that_refuses_a_refresh_leads_the_next_sign_in_to_the_browser() {
    let scene = entra();
    scene.sign_in();
    assert_eq!(scene.session()["begun"]["flow"], "device");
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [forbidden()]);
    let caller = scene.start(["token"]);
    browse(&caller.address());
    token(&caller.finish());
    assert_eq!((scene.idp.count("device"), scene.idp.count("authorize")), (1, 1));
    // A refusal of a session begun by browser says nothing of device codes.
    scene.change(|session| drop(session.as_object_mut().unwrap().remove("device_refused")));
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [forbidden()]);
    let caller = scene.start(["token"]);
    caller.code();
    assert_eq!(scene.session().get("device_refused"), None);
}

#[test]
fn neither_a_denial_nor_an_expiry_leads_to_the_browser() {
    for (auto, options) in
        [(Auto::Deny, Options::entra()), (Auto::Ignore, Options { expires_in: Some(json!(2)), ..Options::entra() })]
    {
        let scene = Scene::with(options, &ENTRA.replace("AZURE_CLI", AZURE_CLI));
        scene.idp.auto(auto);
        let output = scene.prompting(["token"]);
        assert_eq!(output.code, Some(4), "{output:?}");
        assert_eq!(scene.idp.count("authorize"), 0);
        assert_eq!(scene.session().get("device_refused"), None);
        assert_eq!(address(&output.stderr), None);
    }
}

#[test]
fn gitea_wants_nothing_but_its_address() {
    let scene = Scene::with(Options::gitea(), "[profile.forge]\nprovider = 'gitea'\nauthority = 'ISSUER'\n");
    let caller = scene.start(["token"]);
    assert_says(&browse(&caller.address()), 200, "keyfob has signed in as alice@example.com");
    let first = token(&caller.finish());
    scene.leave(-1);
    assert_ne!(token(&scene.silently(["token"])), first, "renewed");
    scene.assert_proper();
}

/// By address, although the metadata lists `form_post`.
#[test]
fn google_is_shown_the_secret_and_asked_for_a_refresh_token() {
    let toml = "[profile.g]\nprovider = 'google'\nissuer = 'ISSUER'\nclient-id = 'keyfob'\nclient-secret = 's3cret-value'\nflow = 'browser'\n";
    let scene = Scene::with(Options::google(), toml);
    let caller = scene.start(["token"]);
    assert_says(&browse(&caller.address()), 200, "keyfob has signed in as alice@example.com");
    token(&caller.finish());
    let query = asked(&scene);
    assert_eq!((field(&query, "access_type"), field(&query, "prompt")), (Some("offline"), Some("consent")));
    assert_eq!((field(&query, "client_secret"), field(&query, "response_mode")), (None, None));
}

/// A server that lists `form_post` and does not post: what the page says, and what helps.
#[test]
fn a_code_in_an_address_is_not_taken_where_the_metadata_lists_form_post_unless_endpoints_are_given_by_hand() {
    let scene = scene(Options { form_post: true, posts: false, ..Options::default() });
    let caller = scene.start(["token"]);
    assert_says(&browse(&caller.address()), 400, "A code does not belong in an address.");
    assert_eq!(scene.idp.count("token"), 0);
    drop(caller);
    let issuer = scene.idp.issuer();
    let endpoints = format!("authorization-endpoint = '{issuer}/authorize'\ntoken-endpoint = '{issuer}/token'\n");
    scene.keyfob.write_config(&format!("{}{endpoints}", LAB.replace("ISSUER", issuer)));
    let caller = scene.start(["token"]);
    assert_says(&browse(&caller.address()), 200, "keyfob has signed in as alice@example.com");
    token(&caller.finish());
}

/// A client that is registered for device codes alone: the provider's page is an error, which keyfob hears nothing of. What it
/// says before and after names the way on.
#[test]
fn a_client_without_a_redirect_address_is_led_to_the_device_code() {
    let redirects = vec!["https://none.example/".to_owned()];
    let scene = Scene::new(Options { redirects, ..Options::default() });
    let at_a_desk = |words: &[&str]| {
        let mut command = scene.command("always", words);
        // As it is by itself where a browser can be opened.
        command.env("KEYFOB_FLOW", "browser");
        command
    };
    let by_code = "login --flow device lab\n";
    let caller = Caller::start(&mut at_a_desk(&["token"]));
    let page = browse(&caller.address());
    assert_eq!(page.status, 400, "{page:?}");
    let shown = caller.stderr();
    let way_on = "If the page shows an error, sign in by a code: ";
    assert!(shown.lines().any(|line| line.starts_with(way_on) && format!("{line}\n").ends_with(by_code)), "{shown}");
    drop(caller);
    let late = Output::of(&mut at_a_desk(&["login", "--timeout", "1"]), b"");
    assert_eq!(late.code, Some(3), "{late:?}");
    assert!(late.stderr.contains("; if the page showed an error: ") && late.stderr.ends_with(by_code), "{late:?}");

    scene.idp.auto(Auto::Approve);
    assert_eq!(Output::of(&mut at_a_desk(&["login", "--flow", "device"]), b"").code, Some(0));
    scene.token();
}

#[test]
fn github_takes_a_device_code_unless_there_is_a_secret_and_a_wish() {
    let toml = "[profile.gh]\nprovider = 'github-enterprise'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\n";
    let aliases = vec![
        ("/login/device/code".to_owned(), Endpoint::Device),
        ("/login/oauth/authorize".to_owned(), Endpoint::Authorize),
        ("/login/oauth/access_token".to_owned(), Endpoint::Token),
    ];
    let scene = Scene::with(Options { aliases, oidc_discovery: false, ..Options::default() }, toml);
    let caller = Caller::start(scene.command("always", ["token"]).env("DISPLAY", ":0").env("BROWSER", "/bin/true"));
    caller.code();
    drop(caller);
    let told = scene.prompting(["token", "--flow", "browser"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(
        told.stderr.contains("GitHub Enterprise Server wants a client secret for a sign-in by browser"),
        "{told:?}"
    );
}

#[test]
fn a_connection_of_another_user_is_dropped() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can be two users");
    }
    let scene = scene(Options::default());
    let caller = scene.start(["token"]);
    let short = caller.address();
    let at = port(&short);
    let answer = |at: u16, user: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{at}; printf 'GET / HTTP/1.1\\r\\nHost: localhost:{at}\\r\\n\\r\\n' >&3; cat <&3"
        );
        let mut command = scene.keyfob.other("setpriv");
        command.args([&format!("--reuid={user}"), "--clear-groups", "bash", "-c", &script]).current_dir("/");
        Output::of(&mut command, b"").stdout
    };
    assert!(answer(at, "0").starts_with("HTTP/1.1 404 "));
    assert_eq!(answer(at, "65534"), "");
    drop(caller);
    // One that became root by sudo has a browser of another user's.
    let caller = Caller::start(scene.command("always", ["token"]).env("SUDO_UID", "65534"));
    let short = caller.address();
    let at = port(&short);
    assert!(answer(at, "65534").starts_with("HTTP/1.1 404 "));
    assert_eq!(answer(at, "65533"), "");
    browse(&short);
    token(&caller.finish());
}

#[test]
fn r66_an_authorization_endpoint_elsewhere_is_not_used() {
    for (address, words) in [
        (
            "https://other.example/authorize",
            "the authorization endpoint at https://other.example, the token endpoint at",
        ),
        ("https://accounts.google.com/o/oauth2/v2/auth", "names accounts.google.com, which is Google's"),
    ] {
        let edit: Edit = Arc::new(move |endpoint, value: &mut Value| {
            if endpoint == Endpoint::Discovery {
                value["authorization_endpoint"] = json!(address);
            }
        });
        let scene = scene(Options { edit: Some(edit), ..Options::default() });
        let output = scene.prompting(["token"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(words), "{output:?}");
    }
}

#[test]
fn github_gives_tokens_that_end_where_it_knows_how_and_ones_that_last_elsewhere() {
    let toml = "[profile.gh]\nprovider = 'github-enterprise'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\n\
                scopes = ['repo', 'offline_access']\n";
    let options = || Options {
        aliases: vec![
            ("/login/device/code".to_owned(), Endpoint::Device),
            ("/login/oauth/access_token".to_owned(), Endpoint::Token),
        ],
        oidc_discovery: false,
        error_status: 200,
        refresh_kills_access: true,
        scope_format: ScopeFormat::Commas,
        access_lifetime: Some(json!(28800)),
        ..Options::default()
    };
    let scene = Scene::with(options(), toml);
    let first = scene.sign_in();
    scene.leave(-1);
    let second = scene.token();
    assert_ne!(first, second, "renewed");
    assert!(scene.idp.accepts(&second));
    scene.assert_proper();

    let lasting: Edit = Arc::new(|endpoint, value: &mut Value| {
        if endpoint == Endpoint::Token {
            let answer = value.as_object_mut().unwrap();
            answer.remove("refresh_token");
            answer.remove("expires_in");
        }
    });
    let scene = Scene::with(Options { edit: Some(lasting), ..options() }, toml);
    let first = scene.sign_in();
    assert_eq!(scene.token(), first);
    assert_eq!(scene.session()["tokens"][0].get("expires_at"), None);
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
}
