//! What a device-flow client owes an identity provider, seen from the provider: the real program, every request on
//! record, and answers of every kind that servers, proxies and networks give. Tests are named after the numbers that the
//! code's own comments use (R1 to R60); what needs no wire is tested beside the code.
//!
//! Whatever a test is about, it ends by checking that no poll came early or after success, and that no refresh token
//! was used twice.

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{self, LAB, PROGRAM, SOON, now, token};
use keyfob_test_support::jwt;
use keyfob_test_support::provider::{
    AccessToken, Auto, Client, Endpoint, IdToken, Options, Provider, Reply, Request, ScopeFormat,
};
use keyfob_test_support::{Keyfob, Output};
use serde_json::{Value, json};

/// A scene that is checked at its end.
struct Scene(common::Scene);

impl Deref for Scene {
    type Target = common::Scene;

    fn deref(&self) -> &common::Scene {
        &self.0
    }
}

impl Scene {
    fn new(options: Options, toml: &str) -> Self {
        Self(common::Scene::with(options, toml))
    }

    fn lab(options: Options) -> Self {
        Self::new(options, LAB)
    }

    /// Someone has signed in to the profile `lab`.
    fn signed_in(options: Options) -> Self {
        let scene = Self::lab(options);
        scene.sign_in();
        scene
    }

    /// Gets a token by a sign-in that is approved before the first poll; later ones are approved as well.
    fn sign_in(&self) -> String {
        self.idp.auto(Auto::Approve);
        token(&self.prompting(["token"]))
    }

    /// From now on the cached tokens of this kind end in so many seconds; below zero they have ended.
    fn leave(&self, kind: &str, seconds: i64) {
        self.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                if token["key"]["kind"] == kind {
                    token["expires_at"] = json!(now() + seconds);
                }
            }
        });
    }

    fn of_kind(&self, label: &str) -> Vec<Request> {
        self.idp.requests().into_iter().filter(|request| request.label == label).collect()
    }

    fn polls(&self) -> Vec<Request> {
        self.of_kind("token:device_code")
    }

    fn refreshes(&self) -> Vec<Request> {
        self.of_kind("token:refresh_token")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.assert_proper();
        }
    }
}

/// The ExecCredential that was printed.
fn exec_credential(output: &Output) -> Value {
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// The error of a run that ended with this code and an empty stdout; whatever prompt went before is left out.
fn failure(output: &Output, code: i32) -> &str {
    assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{output:?}");
    let at = output.stderr.find("error: ").unwrap_or_else(|| panic!("no error: {output:?}"));
    let text = &output.stderr[at..];
    assert!(text.lines().count() <= 2, "{text}");
    assert!(text.lines().skip(1).all(|line| line.starts_with("hint: ")), "{text}");
    text
}

/// Runs the cases side by side, since most of them wait.
fn each<T: Debug + Clone + Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let running: Vec<_> = cases.into_iter().map(|case| (case.clone(), scope.spawn(|| test(case)))).collect();
        for (case, running) in running {
            assert!(running.join().is_ok(), "failed for {case:?}");
        }
    });
}

/// Looks again and again until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Time between the end of one answer and the next request.
fn pause(before: &Request, after: &Request) -> Duration {
    after.received.saturating_duration_since(before.answered.unwrap_or(before.received))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lists of scopes, compared without regard to order.
fn sorted(scopes: &str) -> Vec<&str> {
    let mut scopes: Vec<_> = scopes.split(' ').collect();
    scopes.sort_unstable();
    scopes
}

// Requests.

#[test]
fn r1_every_request_is_a_form_posted_over_tls_that_is_checked() {
    let scene = Scene::lab(Options { tls: true, ..Options::default() });
    let stranger = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    let flags = ["token", "--issuer", scene.idp.issuer(), "--client-id", "keyfob", "--prompt", "always"];
    let refused = stranger.run(flags);
    assert!(failure(&refused, 5).contains("its certificate is not trusted"), "{refused:?}");
    assert_eq!(scene.idp.requests().len(), 0);

    scene.sign_in();
    scene.leave("access", -1);
    scene.token();
    assert_eq!(scene.silently(["logout"]).code, Some(0));
    let posts: Vec<_> = scene.idp.requests().into_iter().filter(|request| request.method == "POST").collect();
    let labels: Vec<_> = posts.iter().map(|request| request.label.as_str()).collect();
    assert_eq!(labels, ["device", "token:device_code", "token:refresh_token", "revoke", "revoke"]);
    for post in posts {
        assert_eq!(post.header("content-type"), Some("application/x-www-form-urlencoded"), "{post:?}");
        assert!(post.query.is_empty() && !post.form.is_empty(), "{post:?}");
    }
}

/// A client with characters that both encodings have to survive, in all that it asks.
fn confidential(client: Client, more: &str) -> Scene {
    let toml = format!("[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'my client/ü'\n{more}");
    let scene = Scene::new(Options { clients: vec![client], ..Options::default() }, &toml);
    scene.sign_in();
    scene.leave("access", -1);
    scene.token();
    assert_eq!(scene.silently(["logout"]).stderr, "");
    let of_client = |request: &Request| request.method == "POST";
    assert_eq!(scene.idp.requests().iter().filter(|r| of_client(r)).count(), 5);
    scene
}

#[test]
fn r2_basic_encodes_id_and_secret_first_and_has_the_id_in_the_body_too() {
    let client = Client::basic("my client/ü", "a+b&c:d %=é");
    let scene = confidential(client, "client-secret = 'a+b&c:d %=é'\n");
    for post in scene.idp.requests().iter().filter(|request| request.method == "POST") {
        // my+client%2F%C3%BC:a%2Bb%26c%3Ad+%25%3D%C3%A9
        let header = "Basic bXkrY2xpZW50JTJGJUMzJUJDOmElMkJiJTI2YyUzQWQrJTI1JTNEJUMzJUE5";
        assert_eq!(post.header("authorization"), Some(header), "{}", post.label);
        assert!(post.text().starts_with("client_id=my+client%2F%C3%BC&"), "{}", post.text());
        assert_eq!(post.field("client_secret"), None, "one method per request: {}", post.text());
    }
}

#[test]
fn r2_the_secret_goes_into_the_body_where_the_server_lists_only_that() {
    let client = Client::post("my client/ü", "a+b&c:d %=é");
    let scene = confidential(client, "client-secret = 'a+b&c:d %=é'\n");
    for post in scene.idp.requests().iter().filter(|request| request.method == "POST") {
        let start = "client_id=my+client%2F%C3%BC&client_secret=a%2Bb%26c%3Ad+%25%3D%C3%A9&";
        assert!(post.text().starts_with(start), "{}", post.text());
        assert_eq!(post.header("authorization"), None, "one method per request: {}", post.label);
    }
}

#[test]
fn r2_the_profile_may_choose_the_method_and_keep_the_secret_in_a_file() {
    // Two clients, so that the metadata lists both methods and Basic would be taken.
    let clients = vec![Client::basic("other", "x"), Client::post("keyfob", "line")];
    let scene = Scene::lab(Options { clients, ..Options::default() });
    let file = scene.keyfob.home().join("secret");
    fs::write(&file, "line\n").unwrap();
    let more =
        format!("client-secret-file = '{}'\ntoken-endpoint-auth-method = 'client_secret_post'\n", file.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    scene.sign_in();
    assert_eq!(scene.polls()[0].field("client_secret"), Some("line"), "the line break does not count");
    assert_eq!(scene.polls()[0].header("authorization"), None);
}

#[test]
fn r3_no_sign_in_is_started_that_nobody_would_see() {
    let scene = Scene::lab(Options::default());
    for mode in ["auto", "never"] {
        // In the background, whatever terminal this test is run in.
        let mut command = scene.keyfob.command(["token"]);
        let output = Output::of(command.env("KEYFOB_PROMPT", mode).process_group(0), b"");
        let error = failure(&output, 3);
        assert!(error.contains("\nhint: ") && error.ends_with("keyfob login lab\n"), "{error}");
    }
    assert_eq!(scene.idp.requests().len(), 0);
}

#[test]
fn r4_json_is_asked_for_in_every_request() {
    let scene = Scene::signed_in(Options::default());
    scene.leave("access", -1);
    scene.token();
    scene.silently(["logout"]);
    let requests = scene.idp.requests();
    assert_eq!(requests.len(), 6);
    for request in requests {
        assert_eq!(request.header("accept"), Some("application/json"), "{}", request.label);
    }
}

#[test]
fn r5_what_the_profile_adds_is_sent_where_servers_want_it() {
    let more = "scopes = ['openid', 'offline_access']\naudience = 'https://api.example/a?b'\nresource = 'urn:r'\n\
                extra = { login_hint = 'ada & co', claims = '{\"x\":1}' }\n";
    let scene = Scene::new(Options { pkce: false, ..Options::default() }, &format!("{LAB}{more}"));
    scene.sign_in();
    scene.leave("access", -1);
    scene.token();
    assert_eq!(
        scene.of_kind("device")[0].text(),
        "client_id=keyfob&scope=openid+offline_access&audience=https%3A%2F%2Fapi.example%2Fa%3Fb&resource=urn%3Ar\
         &claims=%7B%22x%22%3A1%7D&login_hint=ada+%26+co"
    );
    assert_eq!(scene.polls()[0].field("resource"), Some("urn:r"));
    let refresh = &scene.refreshes()[0];
    assert_eq!(refresh.field("audience"), Some("https://api.example/a?b"));
    assert_eq!(refresh.field("resource"), Some("urn:r"));
    assert_eq!((refresh.field("login_hint"), refresh.field("scope")), (None, None));
}

// The device answer.

#[test]
fn r9_an_error_in_a_200_of_the_device_endpoint_is_an_error() {
    let scene = Scene::lab(Options::default());
    let body = json!({"error": "device_flow_disabled", "error_description": "Device Flow must be explicitly enabled"});
    scene.idp.script(Endpoint::Device, [Reply::json(200, &body)]);
    assert_eq!(
        failure(&scene.prompting(["token"]), 1),
        "error: could not get a token for lab: the provider refused to start a sign-in: device_flow_disabled: Device \
         Flow must be explicitly enabled\n\
         hint: allow the client \"keyfob\" the device authorization grant at the provider\n"
    );
    assert_eq!(scene.polls().len(), 0);
}

// Polling.

#[test]
fn r14_a_poll_is_literally_this() {
    let scene = Scene::lab(Options { pkce: false, ..Options::default() });
    scene.sign_in();
    let code = scene.idp.issued()[0].clone();
    assert!(code.starts_with("device-"), "{code}");
    assert_eq!(
        scene.polls()[0].text(),
        format!(
            "client_id=keyfob&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code={code}"
        )
    );
}

#[test]
fn r15_every_poll_waits_for_the_interval_after_an_answer_the_first_one_too() {
    let scene =
        Scene::lab(Options { interval: Some(json!(2)), delay: Duration::from_millis(700), ..Options::default() });
    scene.idp.auto(Auto::After(1));
    token(&scene.prompting(["token"]));
    let requests = [scene.of_kind("device"), scene.polls()].concat();
    assert_eq!(requests.len(), 3);
    for two in requests.windows(2) {
        assert!(pause(&two[0], &two[1]) >= seconds(2), "{:?}", pause(&two[0], &two[1]));
    }
}

#[test]
fn r17_slow_down_makes_every_later_pause_five_seconds_longer() {
    let scene = Scene::lab(Options::default());
    scene.idp.auto(Auto::After(1));
    scene.idp.script(Endpoint::Token, [Reply::error("slow_down")]);
    token(&scene.prompting(["token"]));
    let polls = scene.polls();
    assert_eq!(polls.len(), 3);
    assert!(polls.windows(2).all(|two| pause(&two[0], &two[1]) >= seconds(6)), "{polls:?}");
}

#[test]
fn r17_an_interval_that_comes_with_slow_down_is_honoured() {
    let scene = Scene::lab(Options::default());
    scene.idp.auto(Auto::Approve);
    scene.idp.script(Endpoint::Token, [Reply::json(200, &json!({"error": "slow_down", "interval": 8}))]);
    token(&scene.prompting(["token"]));
    let polls = scene.polls();
    assert_eq!(polls.len(), 2);
    assert!(pause(&polls[0], &polls[1]) >= seconds(8), "{polls:?}");
}

#[test]
fn r20_a_code_that_ran_out_or_was_denied_ends_the_sign_in_with_exit_4() {
    each([true, false], |denied| {
        let scene = Scene::lab(Options::default());
        thread::scope(|scope| {
            let running = scope.spawn(|| scene.prompting(["token"]));
            let code = scene.idp.wait_for_code(SOON);
            if denied {
                scene.idp.deny(&code);
            } else {
                scene.idp.expire(&code);
            }
            let said = if denied { "refused" } else { "expired" };
            let output = running.join().unwrap();
            assert!(failure(&output, 4).contains(said), "{output:?}");
        });
        assert_eq!(scene.idp.user_codes().len(), 1, "no new flow by itself");
    });
}

#[test]
fn r22_pending_is_pending_under_every_status() {
    each([200, 400, 401, 403, 404, 428, 429, 500, 503], |status| {
        let scene = Scene::lab(Options::default());
        scene.idp.script(Endpoint::Token, [Reply::json(status, &json!({"error": "authorization_pending"}))]);
        scene.sign_in();
        assert_eq!(scene.polls().len(), 2, "{status}");
    });
}

#[test]
fn r22_a_refusal_is_a_refusal_under_every_status() {
    each([200, 400, 401, 403, 404, 428, 429, 500, 503], |status| {
        let scene = Scene::lab(Options::default());
        scene.idp.script(Endpoint::Token, [Reply::json(status, &json!({"error": "access_denied"}))]);
        let output = scene.prompting(["token"]);
        assert!(failure(&output, 4).contains("the sign-in was refused (access_denied)"), "{output:?}");
        assert_eq!(scene.polls().len(), 1, "{status}");
    });
}

#[test]
fn r22_r21_trouble_that_passes_makes_polling_slower_and_never_ends_it() {
    each(trouble_that_passes(), |(what, reply)| {
        let scene = Scene::lab(Options::default());
        scene.idp.script(Endpoint::Token, [reply]);
        scene.sign_in();
        let polls = scene.polls();
        assert_eq!(polls.len(), 2, "{what}");
        assert!(pause(&polls[0], &polls[1]) >= seconds(2), "{what}: {:?}", pause(&polls[0], &polls[1]));
    });
}

/// Answers after which nothing is decided.
fn trouble_that_passes() -> [(&'static str, Reply); 11] {
    [
        ("no answer", Reply::Drop),
        ("not HTTP", Reply::Wire(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("408", Reply::empty(408)),
        ("429", Reply::empty(429)),
        ("500", Reply::json(500, &json!({}))),
        ("502", Reply::body(502, "text/plain", "Bad Gateway")),
        ("503 with a page", Reply::html(503, "Maintenance")),
        ("200 with a page", Reply::html(200, "Please sign in to the hotel")),
        ("400 with a page", Reply::html(400, "Blocked")),
        ("503 in JSON", Reply::json(503, &json!({"error": "backend_down"}))),
        ("temporarily_unavailable", Reply::error("temporarily_unavailable")),
    ]
}

#[test]
fn r22_trouble_at_the_device_endpoint_is_the_providers_and_leaves_nothing_behind() {
    each(trouble_that_passes(), |(what, reply)| {
        let scene = Scene::lab(Options::default());
        scene.idp.script(Endpoint::Device, [reply]);
        let output = scene.prompting(["token"]);
        let error =
            format!("error: could not get a token for lab: could not reach {}", scene.idp.url(Endpoint::Device));
        assert!(failure(&output, 5).starts_with(&error), "{what}: {output:?}");
        scene.sign_in();
    });
}

#[test]
fn r22_retry_after_is_honoured() {
    let scene = Scene::lab(Options::default());
    scene.idp.script(Endpoint::Token, [Reply::empty(503).header("Retry-After", "4")]);
    scene.sign_in();
    let polls = scene.polls();
    assert!(pause(&polls[0], &polls[1]) >= seconds(4), "{polls:?}");
}

/// Every request that can be redirected: within the server, and to another that must never hear of it.
#[test]
fn r23_no_redirect_is_followed_but_that_of_a_document_within_its_origin() {
    let other = Provider::start(Options::default());
    let elsewhere = other.url(Endpoint::Token);
    each([301, 302, 303, 307, 308], |status| {
        for to in [elsewhere.as_str(), "/elsewhere"] {
            let redirect = || Reply::redirect(status, to);
            let scene = Scene::lab(Options::default());
            let redirected = |output: &Output, code| {
                let error = failure(output, code);
                assert!(error.contains(&format!("it redirects to {to}")), "{error}");
                assert!(error.contains("captive portal"), "what it may be is not said: {error}");
            };
            scene.idp.always(Endpoint::Discovery, redirect());
            let output = scene.prompting(["token"]);
            assert!(matches!(output.code, Some(1 | 5)), "{output:?}");
            redirected(&output, output.code.unwrap());
            scene.idp.always(Endpoint::Discovery, Reply::Real);

            scene.idp.script(Endpoint::Device, [redirect()]);
            redirected(&scene.prompting(["token"]), 5);
            assert_eq!(scene.polls().len(), 0);

            scene.idp.script(Endpoint::Token, [redirect()]);
            redirected(&scene.prompting(["token"]), 5);
            assert_eq!(scene.polls().len(), 1, "a redirect ends the sign-in");

            scene.sign_in();
            scene.leave("access", -1);
            scene.idp.script(Endpoint::Token, [redirect()]);
            redirected(&scene.silently(["token"]), 5);
            scene.token();

            scene.idp.always(Endpoint::Revoke, redirect());
            let output = scene.silently(["logout"]);
            assert!(output.stderr.contains(&format!("it redirects to {to}")), "{output:?}");
            assert!(scene.idp.requests().iter().all(|request| request.path != "/elsewhere"));
        }
    });
    assert_eq!(other.requests().len(), 0);
}

/// A provider without a device endpoint whose second well-known place is a page, a failure, or another's document.
#[test]
fn r43_what_is_odd_at_the_second_place_has_no_say() {
    let options = || Options { device_endpoint_in_metadata: false, authorize_in_metadata: false, ..Options::default() };
    for reply in [
        Reply::html(200, "Welcome"),
        Reply::json(500, &json!({"error": "server_error"})),
        Reply::json(200, &json!({"issuer": "https://other.example", "token_endpoint": "https://other.example/t"})),
        Reply::Drop,
    ] {
        let scene = Scene::lab(options());
        scene.idp.script(Endpoint::Discovery, [Reply::Real, reply]);
        let output = scene.prompting(["token"]);
        assert!(failure(&output, 1).contains("device"), "{output:?}");
        assert!(!output.stderr.contains("other.example") && !output.stderr.contains("/.well-known/"), "{output:?}");
    }
}

/// As at Azure AD B2C, whose issuer is not the address below which its documents are.
#[test]
fn r43_metadata_may_be_elsewhere_and_is_still_the_issuers() {
    let aliases = vec![("/tenant/policy/configuration".to_owned(), Endpoint::Discovery)];
    let toml = format!("{LAB}metadata = 'ISSUER/tenant/policy/configuration'\n");
    let scene = Scene::new(Options { aliases: aliases.clone(), ..Options::default() }, &toml);
    scene.sign_in();
    let places: Vec<_> = scene.idp.requests().into_iter().filter(|r| r.method == "GET").map(|r| r.path).collect();
    assert_eq!(places, ["/tenant/policy/configuration"]);

    let options = Options { aliases, issuer_override: Some("https://other.example".into()), ..Options::default() };
    let scene = Scene::new(options, &toml);
    let output = scene.prompting(["token"]);
    assert!(failure(&output, 1).contains("it is of the issuer \"https://other.example\""), "{output:?}");
}

/// Entra by its issuer alone: its numbers say what it is.
#[test]
fn r41_an_error_number_of_entras_names_its_row() {
    let scene = Scene::lab(Options::default());
    let said = json!({
        "error": "invalid_client", "error_codes": [7_000_218],
        "error_description": "AADSTS7000218: The request body must contain the following parameter: 'client_assertion'"
    });
    scene.idp.script(Endpoint::Token, [Reply::json(401, &said)]);
    let output = scene.prompting(["token"]);
    let hint = "hint: for Microsoft Entra ID set `provider = \"entra\"` in place of `issuer`\n";
    assert!(output.stderr.ends_with(hint), "{output:?}");
}

/// What stands between providers and clients says HTTP in several ways.
#[test]
fn r58_an_answer_is_read_however_it_is_framed() {
    let framings: [fn(&str) -> String; 5] = [
        |body| format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}"),
        |body| format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        |body| format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"),
        |body| {
            let (one, other) = body.split_at(7);
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7;name=\"x y\"\r\n{one}\r\n{:x} ; odd\r\n{other}\r\n\
                 0;last\r\nTrailer: x\r\n\r\n",
                other.len()
            )
        },
        |body| format!("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    ];
    for (number, framing) in framings.into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let own = issuer.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let is_get = head(&client).first().is_some_and(|line| line.starts_with("GET "));
                let answer = if is_get {
                    json!({"issuer": own, "token_endpoint": format!("{own}/t"), "device_authorization_endpoint": format!("{own}/d")})
                } else {
                    json!({"device_code": "x", "user_code": "WDJB-MJHT", "verification_uri": format!("{own}/v"), "expires_in": 600})
                };
                let _ = client.write_all(framing(&answer.to_string()).as_bytes());
            }
        });
        let keyfob = Keyfob::new(PROGRAM);
        let output = keyfob.run(["login", "--start", "--issuer", &issuer, "--client-id", "keyfob"]);
        assert!(output.code == Some(0) && output.stdout.contains("WDJB-MJHT"), "{number}: {output:?}");
    }
}

/// Several providers answer so where a slash is missing, or their paths have changed.
#[test]
fn r23_metadata_may_move_within_its_origin_three_times() {
    let discoveries = |scene: &Scene| scene.idp.requests().iter().filter(|r| r.path.contains("/.well-known/")).count();
    for (times, found) in [(1, true), (3, true), (4, false)] {
        let scene = Scene::lab(Options::default());
        let document = "/.well-known/openid-configuration";
        let moves = [
            document.to_owned(),
            format!("{}{document}", scene.idp.issuer()),
            document.to_owned(),
            document.to_owned(),
        ];
        let moves = moves.iter().take(times).map(|to| Reply::redirect(308, to));
        scene.idp.script(Endpoint::Discovery, moves);
        scene.idp.auto(Auto::Approve);
        let output = scene.prompting(["token"]);
        if found {
            token(&output);
            assert_eq!(discoveries(&scene), times + 1);
        } else {
            // The other well-known place is tried, and answers.
            assert!(discoveries(&scene) > 4, "{output:?}");
        }
    }
}

/// The code may be used up, and asking again may cost the grant: whoever asks next gets a new code.
#[test]
fn r25_a_success_that_cannot_be_read_ends_the_sign_in() {
    let json = |body: &str| Reply::body(200, "application/json", body);
    let replies = [
        ("nothing", json("")),
        ("half", json("{\"access_token\":")),
        ("a list", json("[]")),
        ("no token", json("{\"token_type\":\"Bearer\"}")),
        ("a token that is none", json("{\"access_token\":\"a\\nb\"}")),
        ("another kind of token", json("{\"access_token\":\"t\",\"token_type\":\"DPoP\"}")),
        ("less than was announced", json("{\"access_token\":\"t\"}").header("Content-Length", "100")),
        ("more than there may be", Reply::endless(200)),
    ];
    each(replies, |(what, reply)| {
        // Were it polled on, it would take as long as the code lives.
        let scene = Scene::lab(Options { expires_in: Some(json!(9)), ..Options::default() });
        scene.idp.script(Endpoint::Token, [reply]);
        let output = scene.prompting(["token"]);
        let error = failure(&output, 5);
        assert!(error.contains("the sign-in's answer") && error.contains("\nhint: sign in again: "), "{what}: {error}");
        assert_eq!(scene.polls().len(), 1, "{what}");
        scene.sign_in();
        assert_eq!(scene.idp.user_codes().len(), 2, "{what}: the same code cannot be used again");
    });
}

#[test]
fn r26_ctrl_c_frees_the_locks_and_leaves_the_old_tokens_and_the_code() {
    let scene = Scene::signed_in(Options::default());
    scene.idp.auto(Auto::Ignore);
    let before = scene.session();
    let old = scene.token();

    let terminal = scene.keyfob.in_terminal(["login", "--force"]);
    let code = scene.idp.wait_for_code(SOON);
    terminal.wait_for(&code, SOON);
    terminal.interrupt();
    let ended = terminal.wait();
    assert_eq!((ended.code, ended.signal), (None, Some(2)), "{ended:?}");

    let after = scene.session();
    for kept in ["tokens", "refresh_token", "account", "granted"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(scene.token(), old);

    // The code is still good; nobody is locked out, and nobody is asked for a second one.
    scene.idp.approve(&code);
    let output = scene.prompting(["login", "--force"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains(&code), "{output:?}");
    assert_eq!(scene.idp.user_codes().len(), 2, "one for each sign-in");
    assert_ne!(scene.token(), old);
}

// The token answer.

#[test]
fn r29_tokens_of_any_size_are_kept_and_handed_out() {
    let scene = Scene::lab(Options::default());
    let [one, two] = ["1", "2"].map(|digit| digit.repeat(600_000));
    let answer = |token: &str| {
        Reply::json(200, &json!({"access_token": token, "expires_in": 3600, "refresh_token": "r", "scope": "openid"}))
    };
    scene.idp.script(Endpoint::Token, [answer(&one), answer(&two)]);
    assert!(token(&scene.prompting(["token"])) == one);
    let other = ["token", "--scope", "other"];
    assert!(token(&scene.silently(other)) == two);
    // Both are in the session's file now.
    assert!(scene.token() == one);
    assert!(token(&scene.silently(other)) == two);
    assert_eq!(scene.idp.count("token"), 2);
}

#[test]
fn r30_a_lifetime_that_is_not_said_is_the_jwts_or_an_hour() {
    let expiry = |options: Options| {
        let scene = Scene::signed_in(Options { access_lifetime: None, ..options });
        let output = scene.silently(["token", "--format", "json"]);
        let answer: Value = serde_json::from_str(&output.stdout).unwrap();
        (answer["token"].as_str().unwrap().to_owned(), answer["expires_at_epoch"].as_i64().unwrap())
    };
    let before = now();
    let (_, end) = expiry(Options::default());
    assert!((before + 3600..=now() + 3600).contains(&end), "{end}");
    let (token, end) = expiry(Options { access_token: AccessToken::Jwt, ..Options::default() });
    assert_eq!(jwt::claims(&token).unwrap()["exp"], end);
}

#[test]
fn r31_what_was_granted_is_known_however_it_is_written() {
    each([ScopeFormat::Spaces, ScopeFormat::Commas, ScopeFormat::Array], |scope_format| {
        // The server grants less than was asked, and another order.
        let edit = move |endpoint: Endpoint, answer: &mut Value| {
            if endpoint == Endpoint::Token && answer.get("scope").is_some() {
                answer["scope"] = match scope_format {
                    ScopeFormat::Commas => json!("b,openid,offline_access"),
                    ScopeFormat::Array => json!(["b", "openid", "offline_access"]),
                    _ => json!("b openid offline_access"),
                };
            }
        };
        let more = "scopes = ['openid', 'offline_access', 'a', 'b']\n";
        let scene = Scene::new(Options { edit: Some(Arc::new(edit)), ..Options::default() }, &format!("{LAB}{more}"));
        scene.sign_in();
        assert_eq!(scene.session()["granted"], json!(["openid", "offline_access", "b"]));
        // A narrower token is asked for by what can be had.
        token(&scene.silently(["token", "--scope", "openid", "--scope", "a", "--scope", "b"]));
        assert_eq!(scene.refreshes()[0].field("scope"), Some("openid b"));
    });
    let scene = Scene::signed_in(Options { scope_format: ScopeFormat::Absent, ..Options::default() });
    assert_eq!(scene.session()["granted"], json!(["openid", "offline_access"]), "as asked");
}

#[test]
fn r33_an_id_token_is_handed_out_only_if_it_is_ours_and_lives() {
    let cases = [
        (json!({"iss": "https://evil.example"}), "its issuer is \"https://evil.example\", not \"ISSUER\""),
        (json!({"aud": "another-client"}), "it is not meant for the client \"keyfob\""),
        (json!({"exp": 1_000_000_000}), "it has already expired"),
        (json!({"exp": null}), "it does not say when it expires"),
    ];
    each(cases, |(claims, why)| {
        let scene = Scene::lab(Options { claims, ..Options::default() });
        scene.idp.auto(Auto::Approve);
        let why = why.replace("ISSUER", scene.idp.issuer());
        let error = format!("error: could not get a token for lab: the provider's ID token cannot be used: {why}\n");
        assert_eq!(failure(&scene.prompting(["kubernetes"]), 1), error);
        // Nobody has to sign in again for what an ID token is not needed for.
        scene.token();
    });
}

#[test]
fn r33_the_expiry_handed_out_is_the_id_tokens_own() {
    let scene = Scene::signed_in(Options { id_token_lifetime: 120, ..Options::default() });
    let status = exec_credential(&scene.silently(["kubernetes"]))["status"].clone();
    let claims = jwt::claims(status["token"].as_str().unwrap()).unwrap();
    let end = keyfob::clock::Timestamp(claims["exp"].as_i64().unwrap()).rfc3339().unwrap();
    assert_eq!(status["expirationTimestamp"], end);
    assert_eq!(claims["iss"], scene.idp.issuer());
}

#[test]
fn r33_an_id_token_that_only_a_refresh_brings_is_fetched_at_once() {
    let scene = Scene::lab(Options { id_token: IdToken::Refresh, ..Options::default() });
    scene.idp.auto(Auto::Approve);
    let answer = exec_credential(&scene.prompting(["kubernetes"]));
    assert!(jwt::claims(answer["status"]["token"].as_str().unwrap()).is_some(), "{answer}");
    assert_eq!((scene.polls().len(), scene.refreshes().len()), (1, 1));
}

#[test]
fn r33_an_id_token_that_only_a_sign_in_brings_takes_a_sign_in_when_it_has_ended() {
    let scene = Scene::signed_in(Options { id_token: IdToken::First, ..Options::default() });
    let first = exec_credential(&scene.silently(["kubernetes"]));
    scene.leave("id", -1);
    let error = scene.silently(["kubernetes"]);
    assert!(failure(&error, 3).contains("a sign-in is needed"), "{error:?}");
    let second = exec_credential(&scene.prompting(["kubernetes"]));
    assert_ne!(first["status"]["token"], second["status"]["token"]);
}

#[test]
fn r33_a_server_that_sends_no_id_token_is_told_apart_from_one_that_needs_a_sign_in() {
    let scene = Scene::lab(Options { id_token: IdToken::Never, ..Options::default() });
    scene.idp.auto(Auto::Approve);
    let error = "error: could not get a token for lab: the provider sent no ID token\n\
                 hint: have the provider give this client ID tokens, or set `token-kind = \"access\"`\n";
    assert_eq!(failure(&scene.prompting(["kubernetes"]), 1), error);
    assert_eq!(failure(&scene.prompting(["kubernetes"]), 1), error);
    assert_eq!(scene.idp.user_codes().len(), 1, "a second sign-in would bring none either");
}

// Refreshing.

#[test]
fn r35_a_new_refresh_token_replaces_the_old_and_without_one_the_old_goes_on() {
    each([true, false], |rotation| {
        let scene = Scene::signed_in(Options { rotation, ..Options::default() });
        for _ in 0..3 {
            scene.leave("access", -1);
            scene.token();
        }
        let sent: Vec<_> = scene.refreshes().iter().map(|r| r.field("refresh_token").unwrap().to_owned()).collect();
        let given: Vec<_> = scene.idp.issued().into_iter().filter(|t| t.starts_with("refresh-")).collect();
        let expected = if rotation { given[..3].to_vec() } else { vec![given[0].clone(); 3] };
        assert_eq!(sent, expected);
        assert_eq!(scene.session()["refresh_token"], given.last().unwrap().as_str());
    });
}

/// The caller does not read, and its pipe is full: the program cannot answer yet. What it has to have done before
/// answering is done all the same.
#[test]
fn r36_new_tokens_are_on_disk_before_the_answer() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let scene = Scene::signed_in(Options::default());
    scene.leave("access", -1);
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();

    let mut child = scene.keyfob.command(["token"]).env("KEYFOB_PROMPT", "never").stdout(writer).spawn().unwrap();
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let new =
        until("a new refresh token", || scene.idp.issued().into_iter().filter(|t| t.starts_with("refresh-")).nth(1));
    until("the new refresh token in the file", || (scene.session()["refresh_token"] == new.as_str()).then_some(()));
    assert_eq!(child.try_wait().unwrap(), None, "it cannot have answered yet");

    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(scene.session()["tokens"].as_array().unwrap().len(), 2, "access and ID token");
    assert_eq!(answer.trim(), scene.token());
}

#[test]
fn r37_many_callers_make_one_refresh() {
    let scene = Scene::signed_in(Options { delay: Duration::from_millis(300), ..Options::default() });
    scene.leave("access", -1);
    let mut tokens: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(|| scene.token())).collect();
        running.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    tokens.dedup();
    assert_eq!((tokens.len(), scene.refreshes().len()), (1, 1));
}

/// Another machine on the same home folder, say, whose lock this one does not see.
#[test]
fn r38_a_refused_token_that_has_been_replaced_meanwhile_is_not_the_end() {
    let scene = Scene::signed_in(Options::default());
    let stale = fs::read(scene.file()).unwrap();
    scene.leave("access", -1);
    scene.token();
    // Its access token has ended, so that the answer takes its refresh token.
    scene.leave("access", -1);
    let newer = fs::read(scene.file()).unwrap();
    fs::write(scene.file(), stale).unwrap();
    scene.leave("access", -1);

    scene.idp.script(Endpoint::Token, [Reply::error("invalid_grant")]);
    let hold = scene.idp.hold(Endpoint::Token);
    let token = thread::scope(|scope| {
        let running = scope.spawn(|| scene.token());
        scene.idp.wait_for("token:refresh_token", 2, SOON);
        fs::write(scene.file(), newer).unwrap();
        drop(hold);
        running.join().unwrap()
    });
    assert!(scene.idp.accepts(&token));
    let sent: Vec<_> = scene.refreshes().iter().map(|r| r.field("refresh_token").unwrap().to_owned()).collect();
    assert_eq!(sent[1], sent[0], "the stale one was tried");
    assert_ne!(sent[2], sent[0], "and then the newer one");
}

#[test]
fn r38_a_definite_refusal_drops_the_refresh_token_and_nothing_else() {
    let codes = ["invalid_grant", "interaction_required", "login_required", "consent_required"];
    let statuses = [200, 400, 401, 403, 429, 500];
    let cases = codes.map(|code| (400, code)).into_iter().chain(statuses.map(|status| (status, "invalid_grant")));
    each(cases, |(status, code)| {
        let scene = Scene::signed_in(Options::default());
        scene.leave("access", -1);
        let body = json!({"error": code, "error_description": "The session has ended"});
        scene.idp.script(Endpoint::Token, [Reply::json(status, &body)]);
        let output = scene.silently(["token"]);
        let why = format!("a sign-in is needed: the provider ended the session ({code}: The session has ended)");
        assert!(failure(&output, 3).contains(&why), "{output:?}");
        let session = scene.session();
        assert_eq!((session.get("refresh_token"), &session["account"]["name"]), (None, &json!("alice@example.com")));
        // The ID token is no less good than before, and it is not asked for a second time.
        exec_credential(&scene.silently(["kubernetes"]));
        failure(&scene.silently(["token"]), 3);
        assert_eq!(scene.refreshes().len(), 1);
    });
}

#[test]
fn r39_trouble_that_passes_costs_nothing_and_the_old_token_is_answered_while_it_lives() {
    let cut = Reply::body(200, "application/json", "{").header("Content-Length", "100");
    let more = [
        ("half an answer", Reply::body(200, "application/json", "{\"access_token\":")),
        ("less than was announced", cut),
        ("a redirect", Reply::redirect(302, "https://portal.example/")),
        ("no end", Reply::endless(200)),
    ];
    each(trouble_that_passes().into_iter().chain(more), |(what, reply)| {
        let scene = Scene::signed_in(Options::default());
        let (old, before) = (scene.token(), scene.session());
        // Not much left: time to renew it, but no reason not to use it.
        scene.leave("access", 100);
        scene.idp.always(Endpoint::Token, reply);
        assert_eq!(scene.token(), old, "{what}");
        scene.leave("access", -1);
        let output = scene.silently(["token"]);
        let error = format!("error: could not get a token for lab: could not reach {}", scene.idp.url(Endpoint::Token));
        assert!(failure(&output, 5).starts_with(&error), "{what}: {output:?}");
        assert_eq!(scene.refreshes().len(), 2, "{what}: it was tried each time");
        assert_eq!(scene.session()["refresh_token"], before["refresh_token"], "{what}");

        scene.idp.always(Endpoint::Token, Reply::Real);
        scene.after_the_pause();
        assert_ne!(scene.token(), old, "{what}");
    });
}

#[test]
fn r39_a_server_that_is_not_there_costs_nothing() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    let server = scene.session()["server"].clone();
    // Nothing listens there: a port that was just free.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("http://127.0.0.1:{port}/token");
    scene.leave("access", 100);
    scene.change(|session| {
        for endpoint in ["device_authorization_endpoint", "token_endpoint", "revocation_endpoint"] {
            session["server"][endpoint] = json!(dead);
        }
    });
    assert_eq!(scene.token(), old);
    scene.leave("access", -1);
    assert_eq!(
        failure(&scene.silently(["token"]), 5),
        format!("error: could not get a token for lab: could not reach {dead}: connection refused\n")
    );
    scene.change(|session| session["server"] = server);
    scene.after_the_pause();
    assert_ne!(scene.token(), old);
}

#[test]
fn r39_a_400_without_a_body_is_a_refusal() {
    let scene = Scene::signed_in(Options::default());
    scene.leave("access", -1);
    scene.idp.script(Endpoint::Token, [Reply::empty(400)]);
    let output = scene.silently(["token"]);
    assert!(failure(&output, 3).contains("(invalid_request: status 400 without a body)"), "{output:?}");
    assert_eq!(scene.session().get("refresh_token"), None);
}

#[test]
fn r40_an_id_token_outlives_a_refresh_that_brings_none() {
    let scene = Scene::signed_in(Options { id_token: IdToken::First, ..Options::default() });
    let before = exec_credential(&scene.silently(["kubernetes"]));
    scene.leave("access", -1);
    scene.token();
    assert_eq!(exec_credential(&scene.silently(["kubernetes"])), before);
    assert_eq!(scene.refreshes().len(), 1);
}

#[test]
fn r41_an_error_of_the_request_is_reported_and_keeps_the_refresh_token() {
    let cases = [
        (401, "invalid_client", "check the client id \"keyfob\"; if it has a secret, set `client-secret-file`"),
        (400, "unauthorized_client", "allow the client \"keyfob\" the device authorization grant at the provider"),
        (400, "invalid_scope", "check `scopes` (openid offline_access)"),
        (400, "invalid_target", "check `resource` and `audience`"),
        (400, "invalid_request", "keyfob login lab"),
        // Whatever else a server may say, and however.
        (404, "not_found", "keyfob login lab"),
        (403, "forbidden", "keyfob login lab"),
    ];
    each(cases, |(status, code, hint)| {
        let scene = Scene::signed_in(Options::default());
        let before = scene.session();
        scene.leave("access", -1);
        scene.idp.script(Endpoint::Token, [Reply::json(status, &json!({"error": code}))]);
        let output = scene.silently(["token"]);
        let error = failure(&output, 1);
        let what = format!("error: could not get a token for lab: the provider refused to renew the token: {code}\n");
        let said = error.strip_prefix(&what).unwrap_or_else(|| panic!("{error}"));
        assert!(said.starts_with("hint: ") && said.ends_with(&format!("{hint}\n")), "{said}");
        assert_eq!(scene.session()["refresh_token"], before["refresh_token"]);
        scene.token();
    });
}

#[test]
fn r41_a_client_that_is_not_known_is_told_before_a_code_is_shown() {
    let scene = Scene::new(Options::default(), &LAB.replace("'keyfob'", "'nobody'"));
    let output = scene.prompting(["token"]);
    assert_eq!(
        output.stderr,
        "error: could not get a token for lab: the provider refused to start a sign-in: invalid_client: no such client\n\
         hint: check the client id \"nobody\"; if it has a secret, set `client-secret-file`\n"
    );
    failure(&output, 1);
}

// Discovery.

#[test]
fn r42_an_issuer_is_https_and_has_no_query() {
    for (issuer, why) in [
        ("http://id.example.com", "is not https (plain http is allowed only on loopback)"),
        ("https://id.example.com/?tenant=x", "has a query (`?…`)"),
        ("https://user@id.example.com", "has a user name in it"),
        ("id.example.com", "is not an absolute web address"),
    ] {
        let output = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).run(["token", "--client-id", "c", "--issuer", issuer]);
        assert_eq!(failure(&output, 2), format!("error: --issuer: `issuer` {why}\n"));
    }
}

#[test]
fn r43_metadata_is_found_in_both_places() {
    for (path, oidc_discovery, seen) in [
        ("/realms/lab", true, &["/realms/lab/.well-known/openid-configuration"][..]),
        (
            "/realms/lab",
            false,
            &["/realms/lab/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/lab"],
        ),
        ("", false, &["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]),
    ] {
        let options = Options { path: path.into(), oidc_discovery, rfc8414_discovery: true, ..Options::default() };
        let scene = Scene::signed_in(options);
        let paths: Vec<_> = scene.idp.requests().into_iter().filter(|r| r.method == "GET").map(|r| r.path).collect();
        assert_eq!(paths, seen);
    }
}

#[test]
fn r43_the_second_place_is_asked_for_what_the_first_leaves_out() {
    let scene = Scene::lab(Options { rfc8414_discovery: true, ..Options::default() });
    let document = json!({"issuer": scene.idp.issuer(), "token_endpoint": scene.idp.url(Endpoint::Token)});
    scene.idp.script(Endpoint::Discovery, [Reply::json(200, &document)]);
    scene.sign_in();
    assert_eq!((scene.idp.count("discovery:oidc"), scene.idp.count("discovery:rfc8414")), (1, 1));
}

#[test]
fn r44_metadata_of_another_issuer_is_refused() {
    let scene = Scene::lab(Options { issuer_override: Some("https://other.example".into()), ..Options::default() });
    let issuer = scene.idp.issuer();
    assert_eq!(
        failure(&scene.prompting(["token"]), 1),
        format!(
            "error: could not get a token for lab: the metadata at {issuer}/.well-known/openid-configuration cannot be \
             used: it is of the issuer \"https://other.example\", not \"{issuer}\"\n\
             hint: check `issuer`: it must be written exactly as the provider writes it\n"
        )
    );
    assert_eq!(scene.idp.count("device"), 0);
}

#[test]
fn r44_a_template_for_all_tenants_is_accepted_and_the_id_token_still_checked() {
    let edit = |endpoint: Endpoint, answer: &mut Value| {
        if endpoint == Endpoint::Discovery {
            answer["issuer"] = json!(answer["issuer"].as_str().unwrap().replace("/contoso/", "/{tenantid}/"));
        }
    };
    let options = Options { tls: true, path: "/contoso/v2.0".into(), edit: Some(Arc::new(edit)), ..Options::default() };
    let scene = Scene::signed_in(options);
    let answer = exec_credential(&scene.silently(["kubernetes"]));
    let claims = jwt::claims(answer["status"]["token"].as_str().unwrap()).unwrap();
    assert_eq!(claims["iss"], scene.idp.issuer());
}

#[test]
fn r45_a_server_without_a_device_endpoint_is_told_so_and_takes_one_by_hand() {
    let options = || Options { device_endpoint_in_metadata: false, authorize_in_metadata: false, ..Options::default() };
    let scene = Scene::lab(options());
    assert_eq!(
        failure(&scene.prompting(["token"]), 1),
        format!(
            "error: could not get a token for lab: {} publishes no device authorization endpoint (RFC 8628)\n\
             hint: enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it \
             has one it does not publish\n",
            scene.idp.issuer()
        )
    );
    let scene = Scene::new(options(), &format!("{LAB}device-authorization-endpoint = 'ISSUER/device_authorization'\n"));
    scene.sign_in();
    assert_eq!(scene.idp.count("discovery"), 1);
    let answer = exec_credential(&scene.silently(["kubernetes"]));
    assert!(answer["status"]["token"].is_string());
}

#[test]
fn r45_with_both_endpoints_by_hand_nothing_is_discovered() {
    let scene = Scene::new(
        Options { oidc_discovery: false, pkce: false, ..Options::default() },
        "[profile.lab]\nclient-id = 'keyfob'\ntoken-endpoint = 'ISSUER/token'\n\
         device-authorization-endpoint = 'ISSUER/device_authorization'\nrevocation-endpoint = 'ISSUER/revoke'\n",
    );
    scene.sign_in();
    scene.leave("access", -1);
    scene.token();
    assert_eq!(scene.silently(["logout"]).stderr, "");
    let labels: Vec<_> = scene.idp.requests().into_iter().map(|request| request.label).collect();
    assert_eq!(labels, ["device", "token:device_code", "token:refresh_token", "revoke", "revoke"]);
}

#[test]
fn r46_a_challenge_goes_with_the_code_where_s256_is_advertised_and_nowhere_else() {
    let mut challenges = Vec::new();
    for _ in 0..2 {
        // The provider itself checks that challenge and verifier belong together.
        let scene = Scene::signed_in(Options { pkce_required: true, ..Options::default() });
        let device = scene.of_kind("device").remove(0);
        assert_eq!(device.field("code_challenge_method"), Some("S256"));
        let verifier = scene.polls()[0].field("code_verifier").unwrap().to_owned();
        assert!(verifier.len() >= 43 && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        challenges.push(device.field("code_challenge").unwrap().to_owned());
    }
    assert_ne!(challenges[0], challenges[1]);
    let scene = Scene::signed_in(Options { pkce: false, ..Options::default() });
    assert_eq!(scene.of_kind("device")[0].field("code_challenge"), None);
    assert_eq!(scene.polls()[0].field("code_verifier"), None);
}

#[test]
fn metadata_is_believed_for_a_day_so_that_a_refresh_is_one_request() {
    let scene = Scene::signed_in(Options::default());
    let before = scene.idp.requests().len();
    scene.leave("access", -1);
    scene.token();
    assert_eq!(scene.idp.requests().len(), before + 1);

    scene.leave("access", -1);
    scene.change(|session| session["server"]["fetched_at"] = json!(now() - 24 * 3600 + 60));
    scene.token();
    assert_eq!((scene.idp.requests().len(), scene.idp.count("discovery")), (before + 2, 1));

    for fetched_at in [now() - 24 * 3600, now() + 3600] {
        let discoveries = scene.idp.count("discovery");
        scene.leave("access", -1);
        scene.change(|session| session["server"]["fetched_at"] = json!(fetched_at));
        scene.token();
        assert_eq!(scene.idp.count("discovery"), discoveries + 1);
    }
}

// Signing out.

#[test]
fn r47_the_refresh_token_is_revoked_first_and_then_what_it_made() {
    let scene = Scene::signed_in(Options::default());
    let wide = scene.token();
    let narrow = token(&scene.silently(["token", "--scope", "openid"]));
    let refresh = scene.session()["refresh_token"].as_str().unwrap().to_owned();
    let output = scene.silently(["logout"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("Signed out of lab (alice@example.com).\n", ""));
    let revoked: Vec<_> = scene
        .of_kind("revoke")
        .iter()
        .map(|r| (r.field("token_type_hint").unwrap().to_owned(), r.field("token").unwrap().to_owned()))
        .collect();
    let named = |hint: &str, token: &str| (hint.to_owned(), token.to_owned());
    let expected = [named("refresh_token", &refresh), named("access_token", &wide), named("access_token", &narrow)];
    assert_eq!(revoked, expected);
    assert!(!scene.idp.accepts(&wide) && !scene.idp.accepts(&narrow));
    assert_eq!(fs::read_dir(scene.keyfob.cache_dir()).unwrap().count(), 0, "not even locks are left");
}

#[test]
fn r47_a_session_is_deleted_here_whatever_the_provider_says_and_that_is_said() {
    let no_endpoint: fn(Endpoint, &mut Value) = |endpoint, answer| {
        if endpoint == Endpoint::Discovery {
            answer["revocation_endpoint"] = Value::Null;
        }
    };
    let unchanged: fn(Endpoint, &mut Value) = |_, _| {};
    let cases = [
        (unchanged, 401, Reply::Real, "unsupported_token_type: nothing is revoked here"),
        (unchanged, 503, Reply::empty(503), "it answered with status 503"),
        (unchanged, 200, Reply::Drop, "the connection was cut off"),
        (no_endpoint, 200, Reply::Real, "the provider publishes no revocation endpoint"),
    ];
    for (edit, revoke_status, reply, why) in cases {
        let scene = Scene::signed_in(Options { revoke_status, edit: Some(Arc::new(edit)), ..Options::default() });
        scene.idp.always(Endpoint::Revoke, reply);
        let output = scene.silently(["logout"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "Signed out of lab (alice@example.com).\n"));
        assert_eq!(
            output.stderr,
            format!("warning: the session of lab is deleted here, but could not be revoked at the provider: {why}\n")
        );
        assert_eq!(fs::read_dir(scene.keyfob.cache_dir()).unwrap().count(), 0);
        failure(&scene.silently(["token"]), 3);
    }
}

#[test]
fn r47_signing_out_needs_no_provider() {
    let scene = Scene::signed_in(Options::default());
    scene.change(|session| session["server"]["fetched_at"] = json!(0));
    scene.idp.always(Endpoint::Discovery, Reply::empty(503));
    let output = scene.silently(["logout"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "Signed out of lab (alice@example.com).\n"));
    assert!(output.stderr.contains("could not be revoked at the provider: could not reach "), "{output:?}");
    assert_eq!(fs::read_dir(scene.keyfob.cache_dir()).unwrap().count(), 0);
}

#[test]
fn r47_an_unknown_token_counts_as_revoked() {
    let scene = Scene::signed_in(Options::default());
    scene.change(|session| session["refresh_token"] = json!("made-up"));
    assert_eq!(scene.silently(["logout"]).stderr, "");
}

// HTTP.

#[test]
fn r58_an_answer_that_does_not_end_is_cut_off_at_a_mebibyte() {
    for endpoint in [Endpoint::Discovery, Endpoint::Device] {
        let scene = Scene::lab(Options::default());
        scene.idp.always(endpoint, Reply::endless(200));
        let output = scene.prompting(["token"]);
        assert!(failure(&output, 5).ends_with(": the answer is larger than 1 MiB\n"), "{output:?}");
    }
    let scene = Scene::signed_in(Options::default());
    scene.leave("access", -1);
    scene.idp.script(Endpoint::Token, [Reply::endless(200)]);
    let output = scene.silently(["token"]);
    assert!(failure(&output, 5).ends_with(": the answer is larger than 1 MiB\n"), "{output:?}");
    scene.token();
}

#[test]
fn r58_a_mebibyte_is_taken_and_a_byte_more_is_not() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    let of_size = |size: usize| {
        let answer = json!({"access_token": "new", "expires_in": 3600}).to_string();
        Reply::body(200, "application/json", answer.clone() + &" ".repeat(size - answer.len()))
    };
    scene.leave("access", 100);
    scene.idp.script(Endpoint::Token, [of_size(1024 * 1024 + 1), of_size(1024 * 1024)]);
    assert_eq!(scene.token(), old);
    scene.after_the_pause();
    assert_eq!(scene.token(), "new");
}

#[test]
fn r59_no_secret_is_in_an_address_a_log_or_an_error() {
    let scene = Scene::new(
        Options { clients: vec![Client::basic("keyfob", "s3cret-of-the-client")], ..Options::default() },
        &format!("{LAB}client-secret = 's3cret-of-the-client'\n"),
    );
    scene.idp.auto(Auto::Approve);
    let loudly = |prompt: &str, args: &[&str]| {
        let mut command = scene.keyfob.command(args);
        Output::of(command.env("KEYFOB_LOG", "debug").env("KEYFOB_PROMPT", prompt), b"").stderr
    };
    let mut said = loudly("always", &["login"]);
    for reply in [Reply::Drop, Reply::empty(503), Reply::error("invalid_client"), Reply::error("invalid_grant")] {
        scene.leave("access", -1);
        scene.idp.script(Endpoint::Token, [reply]);
        said += &loudly("never", &["token"]);
    }
    said += &loudly("always", &["kubernetes"]);
    said += &loudly("never", &["status"]);
    said += &loudly("never", &["logout"]);
    assert!(said.contains("keyfob: POST "), "the log is on: {said}");

    let verifiers = scene.polls().into_iter().map(|poll| poll.field("code_verifier").unwrap().to_owned());
    let basic = "Basic a2V5Zm9iOnMzY3JldC1vZi10aGUtY2xpZW50";
    assert_eq!(scene.polls()[0].header("authorization"), Some(basic));
    let secrets = scene.idp.issued().into_iter().chain(verifiers);
    for secret in secrets.chain(["s3cret-of-the-client".to_owned(), basic[6..].to_owned()]) {
        assert!(!said.contains(&secret), "{secret} was said");
        for request in scene.idp.requests() {
            let address = format!("{}?{:?}", request.path, request.query);
            assert!(!address.contains(&secret), "{secret} is in {address}");
        }
    }
}

/// Some servers say which token they did not like.
#[test]
fn r59_a_secret_that_the_server_repeats_is_not_repeated_here() {
    let scene = Scene::signed_in(Options::default());
    // With characters that are written in another way in the request.
    let refresh = "a/refresh+token=of-the-server's";
    scene.change(|session| session["refresh_token"] = json!(refresh));
    for code in ["invalid_request", "temporarily_unavailable", "invalid_grant"] {
        scene.leave("access", -1);
        let body = json!({"error": code, "error_description": format!("Invalid refresh token: {refresh}")});
        scene.idp.script(Endpoint::Token, [Reply::json(400, &body)]);
        let mut command = scene.keyfob.command(["token"]);
        let output = Output::of(command.env("KEYFOB_LOG", "debug").env("KEYFOB_PROMPT", "never"), b"");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("Invalid refresh token"), "{output:?}");
        assert!(!output.stderr.contains(refresh), "{code}: {output:?}");
        let session = scene.session();
        assert!(!session["last_error"].to_string().contains(refresh), "{session}");
    }
}

#[test]
fn r59_what_a_server_says_is_cut_and_cleaned() {
    let scene = Scene::lab(Options::default());
    let body = json!({"error": "bad\u{1b}[2J", "error_description": format!("{}\r\n\u{202e}end", "x".repeat(5000))});
    scene.idp.script(Endpoint::Device, [Reply::json(400, &body)]);
    assert_eq!(
        failure(&scene.prompting(["token"]), 1),
        format!(
            "error: could not get a token for lab: the provider refused to start a sign-in: bad[2J: {}…\n",
            "x".repeat(300)
        )
    );
}

/// A proxy on loopback. What it does with a connection that asks for `CONNECT host:port` is up to the test.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    fn start(serve: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&asked);
        let serve = Arc::new(serve);
        let listening = thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Some(line) = head(&client).into_iter().next() else { return };
                list.lock().unwrap().push(line.clone());
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(client, line.split(' ').nth(1).unwrap_or_default()));
            }
        });
        Self { address, asked, listening: Some(listening) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An empty request stops it.
        let _ = TcpStream::connect(&self.address).map(|mut stop| stop.write_all(b"\r\n"));
        let _ = self.listening.take().map(thread::JoinHandle::join);
    }
}

/// The lines of a request's head.
fn head(client: &TcpStream) -> Vec<String> {
    let lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// Connects the two ends.
fn tunnel(mut client: TcpStream, to: &str) {
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    pass_on(client, to);
}

fn pass_on(mut client: TcpStream, to: &str) {
    let mut server = TcpStream::connect(to).unwrap();
    let (mut up_in, mut up_out) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = thread::spawn(move || {
        let _ = std::io::copy(&mut up_in, &mut up_out);
        let _ = up_out.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
}

/// A provider on this machine that goes through a proxy, as one elsewhere does.
fn elsewhere() -> Options {
    Options { tls: true, tls_host: "0.0.0.0", ..Options::default() }
}

#[test]
fn r60_a_proxy_in_the_environment_is_used_and_exceptions_are_heeded() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = Proxy::start(tunnel);
        let common::Scene { idp, keyfob } = common::Scene::with(elsewhere(), LAB);
        let scene = Scene(common::Scene { idp, keyfob: keyfob.env(variable, proxy.url()) });
        scene.sign_in();
        let host = scene.idp.issuer().strip_prefix("https://").unwrap();
        let asked = proxy.asked();
        assert!(asked.len() >= 3 && asked.iter().all(|line| *line == format!("CONNECT {host} HTTP/1.1")), "{asked:?}");

        let before = proxy.asked().len();
        scene.leave("access", -1);
        let mut command = scene.keyfob.command(["token"]);
        token(&Output::of(command.env("NO_PROXY", "example.com, 0.0.0.0/8").env("KEYFOB_PROMPT", "never"), b""));
        assert_eq!(proxy.asked().len(), before, "{variable}");
    }
}

#[test]
fn r60_a_proxy_that_refuses_or_answers_with_its_own_page_is_named() {
    let page = "<!doctype html><title>Blocked by policy</title>";
    let answer =
        format!("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let refusing = Proxy::start(move |mut client, _| drop(client.write_all(answer.as_bytes())));
    // One that looks into what it passes on has a certificate that is trusted here.
    let answering = Proxy::start(tunnel);
    for (proxy, why) in [
        (&refusing, "the proxy refused the connection"),
        (&answering, "it answered a web page (status 403); is a proxy or login page in between?"),
    ] {
        let scene = Scene::signed_in(elsewhere());
        let old = scene.token();
        scene.idp.always(Endpoint::Token, Reply::html(403, page));
        let through = |args: &[&str]| {
            let mut command = scene.keyfob.command(args);
            let url = proxy.url().replace("://", "://ada:hunter2@");
            let output = Output::of(command.env("HTTPS_PROXY", url).env("KEYFOB_PROMPT", "never"), b"");
            assert!(!output.stderr.contains("hunter2"), "{output:?}");
            output
        };
        scene.leave("access", 100);
        assert_eq!(token(&through(&["token"])), old, "a proxy's mood costs nothing");
        scene.leave("access", -1);
        let output = through(&["token"]);
        let place = proxy.url().replace("http://", "");
        let said = if why.starts_with("it answered") {
            why.to_owned()
        } else {
            format!("through the proxy {place} (HTTPS_PROXY): {why}")
        };
        assert!(failure(&output, 5).ends_with(&format!(": {said}\n")), "{output:?}");
        scene.after_the_pause();
        assert_eq!(scene.idp.count("token:refresh_token") > 0, why.starts_with("it answered"), "{why}");
    }
}

/// As Go and kubectl: what is on this machine needs no proxy, and `HTTP_PROXY` is not for https.
#[test]
fn r60_https_to_this_machine_and_http_proxy_mean_no_proxy() {
    let proxy = Proxy::start(tunnel);
    for (variable, options) in [
        ("HTTPS_PROXY", Options { tls: true, ..Options::default() }),
        ("HTTP_PROXY", elsewhere()),
        ("http_proxy", elsewhere()),
    ] {
        let common::Scene { idp, keyfob } = common::Scene::with(options, LAB);
        let scene = Scene(common::Scene { idp, keyfob: keyfob.env(variable, proxy.url()) });
        scene.sign_in();
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

/// A proxy that is not there is not the provider that is not there.
#[test]
fn r60_a_dead_proxy_is_named() {
    let scene = Scene::signed_in(elsewhere());
    scene.leave("access", -1);
    let mut command = scene.keyfob.command(["token"]);
    command.env("HTTPS_PROXY", "http://ada:hunter2@127.0.0.1:9").env("KEYFOB_PROMPT", "never");
    let output = Output::of(&mut command, b"");
    let why = ": through the proxy 127.0.0.1:9 (HTTPS_PROXY): connection refused\n";
    assert!(failure(&output, 5).ends_with(why) && !output.stderr.contains("hunter2"), "{output:?}");
}

/// What is not encrypted stays on this machine.
#[test]
fn r60_plain_http_to_this_machine_does_not_go_by_way_of_a_proxy() {
    let proxy = Proxy::start(tunnel);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
        let common::Scene { idp, keyfob } = common::Scene::with(Options::default(), LAB);
        let scene = Scene(common::Scene { idp, keyfob: keyfob.env(variable, proxy.url()) });
        scene.sign_in();
        scene.leave("access", -1);
        scene.token();
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

/// RFC 1928, as far as it takes.
#[test]
fn r60_a_socks_proxy_is_one_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, count) = (client.unwrap(), Arc::clone(&count));
            thread::spawn(move || {
                let mut hello = [0; 2];
                client.read_exact(&mut hello).unwrap();
                client.read_exact(&mut vec![0; usize::from(hello[1])]).unwrap();
                client.write_all(&[5, 0]).unwrap();
                // CONNECT to an IPv4 address.
                let mut request = [0; 10];
                client.read_exact(&mut request).unwrap();
                assert_eq!(request[..8], [5, 1, 0, 1, 0, 0, 0, 0]);
                count.fetch_add(1, Ordering::SeqCst);
                client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).unwrap();
                pass_on(client, &format!("127.0.0.1:{}", u16::from_be_bytes([request[8], request[9]])));
            });
        }
    });
    for scheme in ["socks5", "socks"] {
        let common::Scene { idp, keyfob } = common::Scene::with(elsewhere(), LAB);
        let scene = Scene(common::Scene { idp, keyfob: keyfob.env("ALL_PROXY", format!("{scheme}://{address}")) });
        let before = asked.load(Ordering::SeqCst);
        scene.sign_in();
        assert!(asked.load(Ordering::SeqCst) >= before + 3, "{scheme}");
    }
}

#[test]
fn r60_a_page_in_place_of_metadata_or_a_code_is_named() {
    let page = "it answered a web page (status 200); is a proxy or login page in between?";
    let scene = Scene::lab(Options::default());
    scene.idp.script(Endpoint::Device, [Reply::html(200, "Please sign in to the hotel")]);
    let output = scene.prompting(["token"]);
    assert!(failure(&output, 5).contains(page), "{output:?}");
    let scene = Scene::lab(Options::default());
    scene.idp.always(Endpoint::Discovery, Reply::html(200, "Please sign in to the hotel"));
    let output = scene.prompting(["token"]);
    assert!(failure(&output, output.code.unwrap()).contains(page), "{output:?}");
}

/// What lives is better than nothing, where nobody can be asked.
#[test]
fn a_token_that_lives_is_the_answer_where_it_cannot_be_renewed_and_nobody_can_be_asked() {
    let scene = Scene::signed_in(Options::default());
    let old = scene.token();
    scene.idp.revoke_refresh_tokens();
    for _ in 0..2 {
        scene.leave("access", 100);
        assert_eq!(scene.token(), old);
        assert_eq!(scene.session()["refresh_token"], Value::Null);
    }
    // Somebody who can be asked is.
    assert_ne!(scene.sign_in(), old);
    scene.idp.revoke_refresh_tokens();
    scene.leave("access", -1);
    assert_eq!(scene.silently(["token"]).code, Some(3));
}

#[test]
fn r10_an_address_that_holds_the_code_on_another_host_is_pointed_out_too() {
    let scene = Scene::lab(Options::default());
    let uri = format!("{}/device", scene.idp.issuer());
    let answer = json!({
        "device_code": "d", "user_code": "WDJB", "interval": 1, "verification_uri": uri,
        "verification_uri_complete": "https://other.example/device?c=WDJB",
    });
    scene.idp.script(Endpoint::Device, [Reply::json(200, &answer)]);
    let output = scene.prompting(["token"]);
    assert!(output.stderr.contains("Note: other.example is not the provider's own host. "), "{output:?}");
}

// Accounts and scopes.

#[test]
fn only_the_profiles_account_may_sign_in_and_another_grant_is_not_left_behind() {
    let scene = Scene::new(Options::default(), &format!("{LAB}account = 'Alice@example.com'\n"));
    scene.idp.auto(Auto::Approve);
    scene.idp.set_user("bob@example.com");
    let output = scene.prompting(["token"]);
    let error = failure(&output, 4);
    assert!(error.contains("bob@example.com signed in, but this profile is for Alice@example.com"), "{error}");
    let bobs: Vec<_> = scene.idp.issued().into_iter().filter(|t| t.starts_with("access-")).collect();
    assert!(!scene.idp.accepts(&bobs[0]), "the grant is revoked");
    assert_eq!(scene.of_kind("revoke")[0].field("token_type_hint"), Some("refresh_token"));
    assert!(!fs::read_to_string(scene.file()).unwrap().contains(&bobs[0]));

    scene.idp.set_user("alice@example.com");
    let output = scene.prompting(["login"]);
    assert!(output.stdout.starts_with("Signed in to lab as alice@example.com; "), "{output:?}");
}

#[test]
fn another_account_under_the_same_session_is_refused_with_both_names() {
    let scene = Scene::signed_in(Options::default());
    let (old, before) = (scene.token(), scene.session());
    scene.idp.set_user("bob@example.com");
    let output = scene.prompting(["login", "--force"]);
    let error = failure(&output, 4);
    assert!(error.contains("bob@example.com signed in, but this session belongs to alice@example.com"), "{error}");
    let issued: Vec<_> = scene.idp.issued().into_iter().filter(|t| t.starts_with("access-")).collect();
    assert!(!scene.idp.accepts(&issued[1]) && scene.idp.accepts(&old));
    assert_eq!(scene.session()["refresh_token"], before["refresh_token"]);
    assert_eq!(scene.token(), old, "alice's session is untouched");

    // With a name of his own he has a session of his own.
    let output = scene.prompting(["login", "--account", "bob@example.com"]);
    assert!(output.stdout.starts_with("Signed in to lab as bob@example.com; "), "{output:?}");
    assert_eq!(token(&scene.silently(["token"])), old);
    assert_ne!(token(&scene.silently(["token", "--account", "bob@example.com"])), old);
}

#[test]
fn profiles_of_one_client_share_a_session_and_a_sign_in_is_for_all_scopes_so_far() {
    let profile = |name: &str, scope: &str| {
        format!(
            "[profile.{name}]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n\
             scopes = ['openid', 'offline_access', '{scope}']\n"
        )
    };
    let toml = profile("one", "mail") + &profile("two", "files");
    let scene = Scene::new(Options::default(), &toml);
    scene.idp.auto(Auto::Approve);
    token(&scene.prompting(["token", "--profile", "one"]));
    // The scope was never granted: the server says so, and a person is asked.
    let silent = scene.silently(["token", "--profile", "two"]);
    assert!(failure(&silent, 3).contains("more scopes are needed than were granted"), "{silent:?}");
    token(&scene.prompting(["token", "--profile", "two"]));
    let asked = scene.of_kind("device").remove(1);
    assert_eq!(sorted(asked.field("scope").unwrap()), ["files", "mail", "offline_access", "openid"]);
    // And never again, for either.
    token(&scene.silently(["token", "--profile", "one"]));
    let narrower = scene.refreshes().pop().unwrap();
    assert_eq!(sorted(narrower.field("scope").unwrap()), ["mail", "offline_access", "openid"]);
    token(&scene.silently(["token", "--profile", "two"]));
    assert_eq!(scene.idp.user_codes().len(), 2);
}

#[test]
fn a_default_scope_that_the_server_does_not_list_is_not_asked_for() {
    let scopes = Some(vec!["openid".to_owned()]);
    let scene = Scene::signed_in(Options { scopes: scopes.clone(), ..Options::default() });
    assert_eq!(scene.of_kind("device")[0].field("scope"), Some("openid"));
    // One that the profile names is.
    let scene = Scene::new(Options { scopes, ..Options::default() }, &format!("{LAB}scopes = ['offline_access']\n"));
    let output = scene.prompting(["token"]);
    assert!(failure(&output, 1).contains("invalid_scope"), "{output:?}");
}

// Providers with a row of their own.

fn github(options: Options) -> Options {
    let alias = |path: &str, endpoint| (path.to_owned(), endpoint);
    Options {
        oidc_discovery: false,
        error_status: 200,
        scope_format: ScopeFormat::Commas,
        id_token: IdToken::Never,
        access_lifetime: None,
        aliases: vec![
            alias("/login/device/code", Endpoint::Device),
            alias("/login/oauth/access_token", Endpoint::Token),
            alias("/api/v3/user", Endpoint::UserInfo),
        ],
        ..options
    }
}

#[test]
fn github_says_errors_with_200_and_its_tokens_last_until_they_are_revoked() {
    let proxy = Proxy::start(|_, _| {});
    let scene = Scene::new(github(Options::default()), "");
    scene.idp.auto(Auto::After(1));
    let run = |prompt: &str, command: &str| {
        let mut run = scene.keyfob.command([command, "--provider", "github", "--authority", scene.idp.issuer()]);
        run.args(["--client-id", "keyfob", "--scope", "repo", "--scope", "read:org"]);
        // Whatever is meant for another host shows itself here, and goes no further.
        run.env("HTTPS_PROXY", proxy.url()).env("NO_PROXY", "127.0.0.1").env("KEYFOB_PROMPT", prompt);
        Output::of(&mut run, b"")
    };
    let first = token(&run("always", "token"));
    let paths: Vec<_> = scene.idp.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/login/device/code", "/login/oauth/access_token", "/login/oauth/access_token"]);
    assert_eq!(scene.polls()[0].status, Some(200));
    assert_eq!(scene.session()["granted"], json!(["repo", "read:org"]));

    assert_eq!(token(&run("never", "token")), first);
    assert_eq!(
        run("never", "kubernetes").stdout,
        format!(
            "{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":\
             {{\"token\":\"{first}\"}}}}\n"
        ),
        "no expiry that nobody knows"
    );
    assert_eq!(scene.idp.requests().len(), 3);
    assert_eq!(proxy.asked(), [""; 0], "a token of one installation goes to no other host");
}

#[test]
fn github_enterprise_is_asked_who_signed_in_with_the_new_token() {
    let login: fn(Endpoint, &mut Value) = |endpoint, answer| {
        if endpoint == Endpoint::UserInfo {
            answer["login"] = json!("alice");
        }
    };
    let scene = Scene::new(
        github(Options { edit: Some(Arc::new(login)), ..Options::default() }),
        "[profile.hub]\nprovider = 'github-enterprise'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\naccount = 'alice'\n",
    );
    let first = scene.sign_in();
    let user = scene.of_kind("userinfo").remove(0);
    assert_eq!((user.method.as_str(), user.header("authorization")), ("GET", Some(&*format!("Bearer {first}"))));
    assert_eq!(scene.session()["account"], json!({"name": "alice"}));
}

#[test]
fn google_calls_the_address_a_url_says_pending_with_428_and_keeps_its_refresh_token() {
    let url: fn(Endpoint, &mut Value) = |endpoint, answer| {
        if endpoint == Endpoint::Device {
            answer["verification_url"] = answer["verification_uri"].take();
            answer.as_object_mut().unwrap().remove("verification_uri");
        }
    };
    let options = Options {
        clients: vec![Client::post("keyfob", "not so secret")],
        edit: Some(Arc::new(url)),
        rotation: false,
        offline_access: false,
        ..Options::default()
    };
    let toml = format!("{LAB}provider = 'google'\nclient-secret = 'not so secret'\n");
    let scene = Scene::new(options, &toml);
    let pending = json!({"error": "authorization_pending", "error_description": "Precondition Required"});
    scene.idp.script(Endpoint::Token, [Reply::json(428, &pending)]);
    let first = scene.sign_in();
    scene.leave("access", -1);
    assert_ne!(scene.token(), first);
    assert_eq!((scene.polls().len(), scene.refreshes().len()), (2, 1));
    assert_eq!(scene.of_kind("device")[0].field("scope"), Some("openid email"));
}

/// One refresh token serves every tenant and resource of the account.
#[test]
fn entra_signs_in_once_for_all_tenants_and_resources() {
    let alias = |path: &str, endpoint| (path.to_owned(), endpoint);
    let aliases =
        vec![alias("/*/oauth2/v2.0/devicecode", Endpoint::Device), alias("/*/oauth2/v2.0/token", Endpoint::Token)];
    let options = Options { oidc_discovery: false, refresh_any_scope: true, aliases, ..Options::default() };
    let scene = Scene::new(options, "");
    scene.idp.auto(Auto::Approve);
    let run = |prompt: &str, tenant: &str, scope: &str| {
        let mut run = scene.keyfob.command(["token", "--provider", "entra", "--authority", scene.idp.issuer()]);
        run.args(["--client-id", "keyfob", "--tenant", tenant, "--scope", scope]).env("KEYFOB_PROMPT", prompt);
        token(&Output::of(&mut run, b""))
    };
    let wants = [
        ("contoso.com", "api://a/.default"),
        ("contoso.com", "api://b/.default"),
        ("fabrikam.com", "api://a/.default"),
    ];
    let tokens = [
        run("always", wants[0].0, wants[0].1),
        run("never", wants[1].0, wants[1].1),
        run("never", wants[2].0, wants[2].1),
    ];
    let seen: Vec<_> =
        scene.idp.requests().into_iter().map(|r| format!("{} {}", r.path, r.field("scope").unwrap_or("-"))).collect();
    assert_eq!(
        seen,
        [
            "/contoso.com/oauth2/v2.0/devicecode api://a/.default openid profile offline_access",
            "/contoso.com/oauth2/v2.0/token -",
            "/contoso.com/oauth2/v2.0/token api://b/.default openid profile offline_access",
            "/fabrikam.com/oauth2/v2.0/token api://a/.default openid profile offline_access",
        ]
    );
    // Each is cached on its own.
    for ((tenant, scope), token) in wants.into_iter().zip(&tokens) {
        assert_eq!(run("never", tenant, scope), *token);
    }
    assert_eq!(scene.idp.requests().len(), 4);
}

#[test]
fn entra_id_tokens_are_of_their_tenants_issuer() {
    for (iss, good) in [("/t-1/v2.0", true), ("/t-2/v2.0", false)] {
        let aliases = [("/*/oauth2/v2.0/devicecode", Endpoint::Device), ("/*/oauth2/v2.0/token", Endpoint::Token)];
        let aliases = aliases.map(|(path, endpoint)| (path.to_owned(), endpoint)).to_vec();
        let scene = Scene::new(
            Options { oidc_discovery: false, aliases, ..Options::default() },
            "[profile.lab]\nprovider = 'entra'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\ntoken-kind = 'id'\n",
        );
        let issuer = format!("{}{iss}", scene.idp.issuer());
        let id_token =
            scene.idp.sign(&json!({"iss": issuer, "aud": "keyfob", "sub": "1", "tid": "t-1", "exp": now() + 3600}));
        let answer = json!({"access_token": "a", "id_token": id_token, "expires_in": 3600});
        scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
        let output = scene.prompting(["kubernetes"]);
        if good {
            assert_eq!(exec_credential(&output)["status"]["token"], id_token);
        } else {
            assert!(failure(&output, 1).contains("its issuer is "), "{output:?}");
        }
    }
}

/// Its standard streams belong to the caller; nothing keyfob does may need one that is closed.
#[test]
fn a_sign_in_needs_no_standard_input() {
    let scene = Scene::lab(Options::default());
    scene.idp.auto(Auto::Approve);
    let (stdin, _keeps_it_open) = std::io::pipe().unwrap();
    let mut command = scene.keyfob.command(["token"]);
    token(&Output::of(command.env("KEYFOB_PROMPT", "always").stdin(Stdio::from(stdin)), b""));
}

/// OpenID Connect Core, section 12.2: a renewal names the same `sub`.
#[test]
fn a_renewal_for_another_account_is_not_handed_out() {
    let scene = Scene::signed_in(Options::default());
    let before = scene.session();
    let issuer = scene.idp.issuer();
    let claims = json!({"iss": issuer, "aud": "keyfob", "sub": "user-bob", "exp": now() + 3600});
    let answer = json!({"access_token": "of-bob", "refresh_token": "of-bob-too", "id_token": scene.idp.sign(&claims)});
    scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
    let output = scene.silently(["login"]);
    assert!(failure(&output, 3).contains("renewed the token for another account"), "{}", output.stderr);
    assert_eq!(scene.session()["refresh_token"], before["refresh_token"]);
    assert_eq!(scene.session()["tokens"], before["tokens"]);
    assert_eq!(scene.silently(["token"]).code, Some(0), "the old one is still there");
}
