//! The provider, seen by a client that does nothing but write bytes to a socket and read what comes.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob_test_support::jwt;
use keyfob_test_support::provider::{
    AccessToken, Auto, CLIENT_ID, Client, Endpoint, IdToken, Options, Provider, Reply, ScopeFormat,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An answer: status, headers, body.
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    fn error(&self) -> String {
        assert!(self.status >= 400, "{}: {}", self.status, self.body);
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

fn authority(idp: &Provider) -> String {
    idp.issuer().split('/').nth(2).unwrap().to_owned()
}

/// Everything that comes back; `None` if that is nothing.
fn raw(idp: &Provider, request: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(authority(idp)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    (!bytes.is_empty()).then_some(bytes)
}

fn split(bytes: &[u8]) -> Seen {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Seen { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

fn get(idp: &Provider, path: &str) -> Seen {
    get_with(idp, path, "")
}

fn get_with(idp: &Provider, path: &str, headers: &str) -> Seen {
    split(&raw(idp, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).unwrap())
}

fn form(path: &str, headers: &str, fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| text.replace('%', "%25").replace('+', "%2B").replace('&', "%26").replace(' ', "+");
    let body: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let body = body.join("&");
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn post(idp: &Provider, path: &str, fields: &[(&str, &str)]) -> Seen {
    split(&raw(idp, &form(path, "", fields)).unwrap())
}

fn ask(idp: &Provider, scope: &str) -> Value {
    let answer = post(idp, "/device_authorization", &[("client_id", CLIENT_ID), ("scope", scope)]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn poll(idp: &Provider, device: &Value) -> Seen {
    let device_code = device["device_code"].as_str().unwrap();
    post(idp, "/token", &[("grant_type", DEVICE_CODE), ("device_code", device_code), ("client_id", CLIENT_ID)])
}

fn refresh(idp: &Provider, token: &str) -> Seen {
    post(idp, "/token", &[("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID)])
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing in {value}"))
}

/// Polls at once are in time here.
fn quick() -> Options {
    Options { interval: Some(json!(0.000_001)), ..Options::default() }
}

fn signed_in(idp: &Provider) -> Value {
    idp.auto(Auto::Approve);
    let tokens = poll(idp, &ask(idp, "openid email offline_access"));
    assert_eq!(tokens.status, 200, "{}", tokens.body);
    tokens.json()
}

#[test]
fn a_sign_in_from_discovery_to_the_second_poll_after_success() {
    let idp = Provider::start(Options { path: "/realms/lab".into(), ..quick() });
    let metadata = get(&idp, "/realms/lab/.well-known/openid-configuration").json();
    assert_eq!(text(&metadata, "issuer"), idp.issuer());
    assert_eq!(text(&metadata, "token_endpoint"), idp.url(Endpoint::Token));
    assert_eq!(text(&metadata, "device_authorization_endpoint"), idp.url(Endpoint::Device));

    let device = post(
        &idp,
        "/realms/lab/device_authorization",
        &[("client_id", CLIENT_ID), ("scope", "openid email offline_access")],
    );
    let device = device.json();
    assert_eq!(text(&device, "verification_uri"), idp.url(Endpoint::Page));
    assert_eq!(device["expires_in"], 600);
    let code = idp.wait_for_code(SOON);
    assert_eq!(text(&device, "user_code"), code);
    assert_eq!(idp.user_codes(), [code.as_str()]);

    let poll = || {
        let fields =
            [("grant_type", DEVICE_CODE), ("device_code", text(&device, "device_code")), ("client_id", CLIENT_ID)];
        post(&idp, "/realms/lab/token", &fields)
    };
    assert_eq!(poll().error(), "authorization_pending");
    idp.approve(&code);
    let tokens = poll();
    assert!(tokens.head.contains("Cache-Control: no-store"));
    let tokens = tokens.json();
    assert_eq!(text(&tokens, "token_type"), "Bearer");
    assert_eq!(text(&tokens, "scope"), "openid email offline_access");
    assert_eq!(tokens["expires_in"], 3600);

    let claims = jwt::claims(text(&tokens, "id_token")).unwrap();
    assert_eq!((text(&claims, "iss"), text(&claims, "aud")), (idp.issuer(), CLIENT_ID));
    assert_eq!(text(&claims, "email"), "alice@example.com");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    for secret in ["access_token", "refresh_token", "id_token"].map(|name| text(&tokens, name)) {
        assert!(idp.issued().iter().any(|issued| issued == secret));
    }
    assert!(idp.issued().contains(&text(&device, "device_code").to_owned()));

    let access = text(&tokens, "access_token");
    assert!(idp.accepts(access));
    let bearer = format!("Authorization: Bearer {access}\r\n");
    assert_eq!(get_with(&idp, "/realms/lab/userinfo", &bearer).json()["email"], "alice@example.com");
    assert_eq!(poll().error(), "invalid_grant");
    assert!(!idp.accepts(access));
    assert_eq!(get_with(&idp, "/realms/lab/userinfo", &bearer).status, 401);
    assert_eq!((idp.polls_after_success(), idp.too_fast()), (1, 0));

    assert_eq!((idp.count("token"), idp.count("token:device_code"), idp.count("token:refresh_token")), (3, 3, 0));
    assert_eq!((idp.count("device"), idp.count("discovery"), idp.count("dev")), (1, 1, 0));
    let requests = idp.requests();
    assert_eq!(requests[1].field("scope"), Some("openid email offline_access"));
    assert_eq!(requests[2].status, Some(400));
    assert!(requests[3].received > requests[2].answered.unwrap());
}

#[test]
fn a_hurried_client_is_slowed_down_for_good() {
    let idp = Provider::start(Options::default());
    let device = ask(&idp, "openid");
    assert_eq!(poll(&idp, &device).error(), "slow_down", "even the first poll may come too early");
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(poll(&idp, &device).error(), "slow_down", "the interval is five seconds longer now");
    assert_eq!(idp.too_fast(), 2);
    idp.approve(text(&device, "user_code"));
    assert_eq!(poll(&idp, &device).status, 200, "slow_down only stands in for authorization_pending");
}

#[test]
fn an_interval_is_held_to_its_likely_meaning() {
    for (interval, waits) in [(json!(-1), 5.0), (json!(null), 5.0), (json!("0.01"), 0.01), (json!(61), 0.061)] {
        let idp = Provider::start(Options { interval: Some(interval.clone()), ..Options::default() });
        let device = ask(&idp, "openid");
        assert_eq!(device["interval"], interval);
        if waits < 1.0 {
            thread::sleep(Duration::from_secs_f64(waits));
        }
        let expected = if waits < 1.0 { "authorization_pending" } else { "slow_down" };
        assert_eq!(poll(&idp, &device).error(), expected, "{interval}");
    }
    let idp = Provider::start(Options { interval: None, expires_in: None, ..Options::default() });
    let device = ask(&idp, "openid");
    assert_eq!((device.get("interval"), device.get("expires_in")), (None, None));
}

#[test]
fn denial_expiry_and_approval_by_themselves() {
    let idp = Provider::start(Options { expires_in: Some(json!("600")), ..quick() });
    let device = ask(&idp, "openid");
    idp.deny(text(&device, "user_code"));
    assert_eq!(poll(&idp, &device).error(), "access_denied");
    let device = ask(&idp, "openid");
    idp.expire(text(&device, "user_code"));
    assert_eq!(poll(&idp, &device).error(), "expired_token");

    idp.auto(Auto::Deny);
    assert_eq!(poll(&idp, &ask(&idp, "openid")).error(), "access_denied");
    idp.auto(Auto::After(2));
    let device = ask(&idp, "openid");
    assert_eq!(poll(&idp, &device).error(), "authorization_pending");
    assert_eq!(poll(&idp, &device).error(), "authorization_pending");
    assert_eq!(poll(&idp, &device).status, 200);

    let idp = Provider::start(Options { expires_in: Some(json!(0.001)), ..quick() });
    let device = ask(&idp, "openid");
    thread::sleep(Duration::from_millis(5));
    assert_eq!(poll(&idp, &device).error(), "expired_token");
}

#[test]
fn a_refresh_token_works_once_and_its_reuse_ends_everything() {
    let idp = Provider::start(quick());
    let first = signed_in(&idp);
    let second = refresh(&idp, text(&first, "refresh_token")).json();
    assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
    assert!(idp.accepts(text(&first, "access_token")) && idp.accepts(text(&second, "access_token")));
    assert_eq!(refresh(&idp, text(&first, "refresh_token")).error(), "invalid_grant");
    assert_eq!(idp.refresh_reuses(), 1);
    assert_eq!(refresh(&idp, text(&second, "refresh_token")).error(), "invalid_grant");
    assert!(!idp.accepts(text(&second, "access_token")));
}

#[test]
fn refreshing_in_its_other_forms() {
    let idp = Provider::start(Options { rotation: false, id_token: IdToken::First, ..quick() });
    let first = signed_in(&idp);
    let second = refresh(&idp, text(&first, "refresh_token")).json();
    assert_eq!((second.get("refresh_token"), second.get("id_token")), (None, None));
    assert_eq!(refresh(&idp, text(&first, "refresh_token")).status, 200);
    idp.revoke_refresh_tokens();
    assert_eq!(refresh(&idp, text(&first, "refresh_token")).error(), "invalid_grant");
    idp.expire_access_tokens();
    assert!(!idp.accepts(text(&second, "access_token")));

    let idp = Provider::start(Options { refresh_grace: SOON, refresh_kills_access: true, ..quick() });
    let first = signed_in(&idp);
    assert_eq!(refresh(&idp, text(&first, "refresh_token")).status, 200);
    assert!(!idp.accepts(text(&first, "access_token")));
    assert_eq!(refresh(&idp, text(&first, "refresh_token")).status, 200);

    let more = |idp: &Provider, token: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID)];
        post(idp, "/token", &[&fields[..], &[("scope", "openid api")]].concat())
    };
    assert_eq!(more(&idp, text(&first, "refresh_token")).error(), "invalid_scope");
    let idp = Provider::start(Options { refresh_any_scope: true, ..quick() });
    assert_eq!(more(&idp, text(&signed_in(&idp), "refresh_token")).json()["scope"], "openid api");
}

#[test]
fn revocation_ends_the_grant_and_never_minds_the_unknown() {
    let idp = Provider::start(quick());
    let tokens = signed_in(&idp);
    let revoke = |idp: &Provider, token: &str| post(idp, "/revoke", &[("token", token), ("client_id", CLIENT_ID)]);
    assert_eq!(revoke(&idp, "nonsense").status, 200);
    assert_eq!(revoke(&idp, text(&tokens, "refresh_token")).status, 200);
    assert!(!idp.accepts(text(&tokens, "access_token")));
    assert_eq!(refresh(&idp, text(&tokens, "refresh_token")).error(), "invalid_grant");

    let idp = Provider::start(Options { revoke_status: 503, ..quick() });
    let tokens = signed_in(&idp);
    assert_eq!(revoke(&idp, text(&tokens, "refresh_token")).status, 503);
    assert!(idp.accepts(text(&tokens, "access_token")));
}

#[test]
fn clients_authenticate_in_their_one_way() {
    let clients = vec![Client::public("open"), Client::post("post", "s1"), Client::basic("my client", "a+b&c")];
    let idp = Provider::start(Options { clients, ..quick() });
    let device = |authorization: &str, fields: &[(&str, &str)]| {
        split(&raw(&idp, &form("/device_authorization", authorization, fields)).unwrap())
    };
    let basic = |credentials: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(credentials));

    assert_eq!(device("", &[("client_id", "open")]).status, 200);
    assert_eq!(device("", &[("client_id", "post"), ("client_secret", "s1")]).status, 200);
    assert_eq!(device(&basic("my+client:a%2Bb%26c"), &[("scope", "openid")]).status, 200);
    assert_eq!(device(&basic("my+client:a%2Bb%26c"), &[("client_id", "my client")]).status, 200);

    let not_encoded = device(&basic("my client:a+b&c"), &[("scope", "openid")]);
    assert_eq!((not_encoded.status, not_encoded.error().as_str()), (401, "invalid_client"));
    assert!(not_encoded.head.contains("WWW-Authenticate: Basic"));
    for fields in [
        &[("client_id", "nobody")][..],
        &[("client_id", "post")],
        &[("client_id", "post"), ("client_secret", "wrong")],
        &[("client_id", "open"), ("client_secret", "x")],
        &[("scope", "openid")],
    ] {
        assert_eq!(device("", fields).error(), "invalid_client", "{fields:?}");
    }
    let both = [("client_id", "my client"), ("client_secret", "a+b&c")];
    assert_eq!(device(&basic("my+client:a%2Bb%26c"), &both).error(), "invalid_request");
    assert_eq!(device(&basic("my+client:a%2Bb%26c"), &[("client_id", "open")]).error(), "invalid_request");
    assert_eq!(device("", &[("client_id", "open"), ("client_id", "open")]).error(), "invalid_request");
}

#[test]
fn a_challenge_asks_for_its_verifier() {
    let idp = Provider::start(Options { pkce_required: true, ..quick() });
    assert_eq!(post(&idp, "/device_authorization", &[("client_id", CLIENT_ID)]).error(), "invalid_request");

    let verifier = "a-verifier-of-at-least-forty-three-characters";
    let hash = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(hash);
    let fields = [("client_id", CLIENT_ID), ("code_challenge", &challenge), ("code_challenge_method", "S256")];
    let device = post(&idp, "/device_authorization", &fields).json();
    idp.approve(text(&device, "user_code"));
    assert_eq!(poll(&idp, &device).error(), "invalid_grant");
    let fields = [
        ("grant_type", DEVICE_CODE),
        ("device_code", text(&device, "device_code")),
        ("client_id", CLIENT_ID),
        ("code_verifier", verifier),
    ];
    assert_eq!(post(&idp, "/token", &fields).status, 200);
}

#[test]
fn metadata_in_its_two_places() {
    let options = Options {
        path: "/a/b".into(),
        oidc_discovery: false,
        rfc8414_discovery: true,
        device_endpoint_in_metadata: false,
        issuer_override: Some("https://elsewhere.example".into()),
        pkce: false,
        ..quick()
    };
    let idp = Provider::start(options);
    assert_eq!(get(&idp, "/a/b/.well-known/openid-configuration").status, 404);
    let metadata = get(&idp, "/.well-known/oauth-authorization-server/a/b").json();
    assert_eq!(text(&metadata, "issuer"), "https://elsewhere.example");
    assert_eq!(metadata.get("device_authorization_endpoint"), None);
    assert_eq!(metadata.get("code_challenge_methods_supported"), None);
    assert_eq!((idp.count("discovery:rfc8414"), idp.count("other")), (1, 1));
}

#[test]
fn answers_can_be_dressed_up() {
    let options = Options {
        access_token: AccessToken::Jwt,
        access_lifetime: None,
        id_token_lifetime: -60,
        claims: json!({ "aud": "someone-else", "email": null }),
        scope_format: ScopeFormat::Array,
        complete_uri: true,
        error_status: 200,
        scopes: Some(["openid", "email", "offline_access"].map(str::to_owned).to_vec()),
        aliases: vec![("/*/oauth2/v2.0/devicecode".into(), Endpoint::Device)],
        edit: Some(Arc::new(|endpoint, value| {
            if endpoint == Endpoint::Device && value.get("error").is_none() {
                value["message"] = json!("hello");
            }
        })),
        ..quick()
    };
    let idp = Provider::start(options);
    let device = post(&idp, "/contoso.com/oauth2/v2.0/devicecode", &[("client_id", CLIENT_ID)]).json();
    assert_eq!(text(&device, "message"), "hello");
    let complete = format!("{}?user_code={}", idp.url(Endpoint::Page), text(&device, "user_code"));
    assert_eq!(text(&device, "verification_uri_complete"), complete);
    let unknown = post(&idp, "/device_authorization", &[("client_id", CLIENT_ID), ("scope", "R/.default")]);
    assert_eq!((unknown.status, unknown.json()["error"].as_str()), (200, Some("invalid_scope")));

    let tokens = signed_in(&idp);
    assert_eq!(tokens["scope"], json!(["openid", "email", "offline_access"]));
    assert_eq!(tokens.get("expires_in"), None);
    assert_eq!(jwt::claims(text(&tokens, "access_token")).unwrap()["sub"], "user-alice");
    let claims = jwt::claims(text(&tokens, "id_token")).unwrap();
    assert_eq!((text(&claims, "aud"), claims.get("email")), ("someone-else", None));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), -60);
}

#[test]
fn a_person_approves_on_the_page() {
    let idp = Provider::start(quick());
    let device = ask(&idp, "openid");
    let page = get(&idp, "/device?user_code=%3Cb%3E");
    assert!(page.body.contains("alice@example.com") && page.body.contains("value=\"&lt;b&gt;\""), "{}", page.body);
    let press = |code: &str, action: &str| post(&idp, "/device", &[("user_code", code), ("action", action)]);
    let wrong = press("WRNG-CODE", "approve");
    assert!(wrong.status == 400 && wrong.body.contains("not known"), "{}", wrong.body);
    idp.set_user("bob@example.com");
    let typed = text(&device, "user_code").replace('-', "").to_lowercase();
    let done = press(&typed, "approve");
    assert!(done.status == 200 && done.body.contains("Approved"), "{}", done.body);
    let tokens = poll(&idp, &device).json();
    assert_eq!(jwt::claims(text(&tokens, "id_token")).unwrap()["email"], "bob@example.com");
    assert!(press(&typed, "deny").body.contains("already been used"));

    let device = ask(&idp, "openid");
    assert!(press(text(&device, "user_code"), "deny").body.contains("Denied"));
    assert_eq!(poll(&idp, &device).error(), "access_denied");
}

#[test]
fn scripts_replace_answers_in_turn() {
    let idp = Provider::start(quick());
    let tokens = signed_in(&idp);
    let pause = Duration::from_millis(2);
    idp.script(
        Endpoint::Token,
        [
            Reply::Drop,
            Reply::html(503, "Proxy").header("Retry-After", "7"),
            Reply::redirect(302, "https://portal.example/"),
            Reply::body(200, "application/json", [0xff, 0xfe]).trickled(pause),
            Reply::Wire(b"SSH-2.0-nonsense\r\n".to_vec()),
            Reply::Real.after(Duration::from_millis(50)),
            Reply::RealThenDrop,
        ],
    );
    let fields = |token| [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID)];
    let request = form("/token", "", &fields(text(&tokens, "refresh_token")));
    assert_eq!(raw(&idp, &request), None);
    let proxy = split(&raw(&idp, &request).unwrap());
    assert!(proxy.status == 503 && proxy.head.contains("Retry-After: 7") && proxy.body.contains("<h1>Proxy"));
    assert!(split(&raw(&idp, &request).unwrap()).head.contains("Location: https://portal.example/"));
    assert!(raw(&idp, &request).unwrap().ends_with(b"Content-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe"));
    assert_eq!(raw(&idp, &request).unwrap(), b"SSH-2.0-nonsense\r\n");
    let start = Instant::now();
    let refreshed = split(&raw(&idp, &request).unwrap()).json();
    assert!(start.elapsed() >= Duration::from_millis(50));

    let next = text(&refreshed, "refresh_token");
    assert_eq!(raw(&idp, &form("/token", "", &fields(next))), None);
    assert_eq!(refresh(&idp, next).error(), "invalid_grant", "the lost answer had replaced it");
    let statuses: Vec<_> = idp.requests().iter().skip(2).map(|request| request.status).collect();
    assert_eq!(statuses, [None, Some(503), Some(302), Some(200), None, Some(200), None, Some(400)]);

    idp.always(Endpoint::Device, Reply::empty(429));
    let asked = || post(&idp, "/device_authorization", &[("client_id", CLIENT_ID)]).status;
    assert_eq!((asked(), asked()), (429, 429));
    idp.always(Endpoint::Device, Reply::Real);
    assert_eq!(asked(), 200);
}

#[test]
fn held_requests_go_on_together() {
    let idp = Provider::start(quick());
    let hold = idp.hold(Endpoint::Device);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&idp, "openid"))).collect();
        idp.wait_for("device", 4, SOON);
        assert_eq!(idp.user_codes().len(), 0);
        drop(hold);
        for asked in asking {
            asked.join().unwrap();
        }
    });
    let mut codes: Vec<_> = (0..4).map(|_| idp.wait_for_code(SOON)).collect();
    codes.dedup();
    assert_eq!(codes, idp.user_codes());
}

#[test]
fn stopping_waits_for_nobody_and_frees_the_port() {
    let idp = Provider::start(quick());
    let address = authority(&idp);
    let start = Instant::now();
    idp.script(Endpoint::Jwks, [Reply::endless(200), Reply::Real.after(Duration::from_secs(600))]);
    let _hold = idp.hold(Endpoint::Device);
    let request = "GET /jwks HTTP/1.1\r\n\r\n";
    let requests = [request, request, &form("/device_authorization", "", &[("client_id", CLIENT_ID)]), "GET /half"];
    let mut clients: Vec<TcpStream> = Vec::new();
    for request in requests {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        clients.push(client);
    }
    idp.wait_for("jwks", 2, SOON);
    idp.wait_for("device", 1, SOON);
    drop(idp);
    assert!(start.elapsed() < SOON);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn https_with_an_authority_of_its_own() {
    let idp = Provider::start(Options { tls: true, ..quick() });
    assert!(idp.issuer().starts_with("https://localhost:"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(idp.ca_file().unwrap()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for name in ["localhost", "127.0.0.1"] {
        let tls = ClientConnection::new(Arc::clone(&config), name.try_into().unwrap()).unwrap();
        let tcp = TcpStream::connect(authority(&idp).replace("localhost", "127.0.0.1")).unwrap();
        let mut stream = StreamOwned::new(tls, tcp);
        stream.write_all(b"GET /.well-known/openid-configuration HTTP/1.1\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(text(&split(&bytes).json(), "issuer"), idp.issuer());
    }
    let ca_file = idp.ca_file().unwrap().to_owned();
    drop(idp);
    assert!(!ca_file.exists());
}
