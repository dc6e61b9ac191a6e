//! A provider that does everything a client must survive, at every stage: metadata, a code, a poll, a refresh, a
//! revocation. keyfob says one clear line, holds little memory, ends in time, and loses no session over it.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Caller, PROGRAM, Scene, now, token, wait_until};
use keyfob_test_support::lookalike::Lookalike;
use keyfob_test_support::provider::{Answer, Auto, Body, Certificate, Endpoint, Options, Provider, Reply};
use keyfob_test_support::{Keyfob, Output};
use serde_json::{Value, json};

/// The most that keyfob may hold, in bytes, stacks and all; it is half of it at the worst.
const MEMORY: u64 = 32 << 20;

/// How many run at once; what the slow ones do is wait.
const WORKERS: usize = 10;

/// What moves the cursor, changes colours, turns the text around or is not seen.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}\r\n\t\u{7f}\0x";

/// Where the provider can be hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Discovery,
    Device,
    Poll,
    Refresh,
    Revocation,
}

use Stage::{Device, Discovery, Poll, Refresh, Revocation};

const STAGES: [Stage; 5] = [Discovery, Device, Poll, Refresh, Revocation];

/// The most memory that any run was seen to hold, its code included, in KiB.
static MOST: AtomicU64 = AtomicU64::new(0);

/// Somebody who has signed in and meets a hostile provider again and again.
struct Victim {
    scene: Scene,
    /// The session's file, and the session as it was.
    file: PathBuf,
    session: Value,
}

impl Victim {
    fn new() -> Self {
        // A poll that is to go on does so for as long as the code lives.
        let scene = Scene::signed_in(Options { expires_in: Some(json!(9)), ..Options::default() });
        scene.leave(-1);
        Self { file: scene.file(), session: scene.session(), scene }
    }

    /// Lets the provider answer this at one stage; what keyfob then says, the prompt apart.
    fn meets(&self, stage: Stage, reply: &Reply) -> Output {
        let issuer = self.scene.idp.issuer();
        // Another label is another session, which knows no metadata yet.
        let stranger = ["token", "--client-id", "keyfob", "--account", "nobody", "--issuer", issuer];
        let (endpoint, prompt, args): (_, _, &[&str]) = match stage {
            Discovery => (Endpoint::Discovery, "always", &stranger),
            Device => (Endpoint::Device, "always", &["login", "--force"]),
            Poll => (Endpoint::Token, "always", &["login", "--force"]),
            Refresh => (Endpoint::Token, "never", &["token"]),
            Revocation => (Endpoint::Revoke, "never", &["logout"]),
        };
        self.scene.idp.auto(Auto::Approve);
        self.scene.idp.always(endpoint, reply.clone());
        let output = bounded(&self.scene, prompt, args);
        self.scene.idp.always(endpoint, Reply::Real);
        if stage == Revocation {
            // Nothing was revoked, so what was deleted here can be put back.
            assert!(!self.file.exists());
            fs::write(&self.file, self.session.to_string()).unwrap();
            fs::set_permissions(&self.file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        } else {
            let mut session: Value = serde_json::from_slice(&fs::read(&self.file).unwrap()).unwrap();
            assert_eq!(session["refresh_token"], self.session["refresh_token"], "{stage:?}: {output:?}");
            // The provider would be left alone for a while; here the next attack does not wait.
            session.as_object_mut().unwrap().remove("last_error");
            fs::write(&self.file, session.to_string()).unwrap();
        }
        output
    }
}

/// Runs to the end, within the memory that there may be. What it says is without the prompt.
#[track_caller]
fn bounded(scene: &Scene, prompt: &str, args: &[&str]) -> Output {
    let mut shell = scene.keyfob.other("sh");
    // Whoever asks the kernel for more is refused, and would die of it.
    shell.args(["-c", &format!("ulimit -d {}; exec \"$0\" \"$@\"", MEMORY >> 10), PROGRAM]).args(args);
    let mut caller = Caller::start(shell.env("KEYFOB_PROMPT", prompt));
    wait_until("the end of a caller", || {
        let status = fs::read_to_string(format!("/proc/{}/status", caller.pid())).unwrap_or_default();
        let held =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        MOST.fetch_max(held.unwrap_or(0), Ordering::Relaxed);
        !caller.is_running()
    });
    let mut output = caller.finish();
    for text in [&output.stdout, &output.stderr] {
        let odd = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}".contains(c);
        assert!(!text.contains(odd), "{output:?}");
    }
    if let Some((_, after)) = output.stderr.split_once(" Ctrl-C stops; the code stays good.\n") {
        output.stderr = after.to_owned();
    }
    output
}

/// What the provider does, and what keyfob makes of it.
struct Attack {
    name: &'static str,
    reply: Reply,
    /// Part of the line.
    says: &'static str,
    /// A poll is repeated after it, for as long as the code lives.
    passing: bool,
}

/// An attack that ends a sign-in.
fn attack(name: &'static str, reply: Reply, says: &'static str) -> Attack {
    Attack { name, reply, says, passing: false }
}

/// An attack after which a poll is repeated.
fn passing(name: &'static str, reply: Reply, says: &'static str) -> Attack {
    Attack { name, reply, says, passing: true }
}

/// A failure in one line, and perhaps a hint in another.
#[track_caller]
fn assert_clear(stage: Stage, attack: &Attack, output: &Output) {
    let Attack { name, reply, says, passing } = attack;
    let what = format!("{stage:?}, {name}: {output:#?}");
    let (first, says, codes): (_, _, &[i32]) = match stage {
        // The body of a 200 says nothing there.
        Revocation
            if matches!(reply, Reply::Answer(a) if a.status == 200)
                || (matches!(reply, Reply::Wire(_)) && !passing) =>
        {
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{what}");
            return;
        }
        Revocation => {
            ("warning: the session of lab is deleted here, but could not be revoked at the provider: ", *says, &[0])
        }
        Poll if *passing => {
            ("error: could not get a token for lab: ", "the code has expired before it was entered", &[4])
        }
        _ => ("error: could not get a token for ", *says, &[1, 5]),
    };
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(output.code.is_some_and(|code| codes.contains(&code)), "{what}");
    assert!(lines.len() <= 2 && lines.iter().all(|line| line.chars().count() < 700), "{what}");
    assert!(lines.iter().skip(1).all(|line| line.starts_with("hint: ")), "{what}");
    assert!(lines.first().is_some_and(|line| line.starts_with(first) && line.contains(says)), "{says:?}: {what}");
}

/// Every attack at every stage, several at once.
fn everywhere(attacks: &[Attack]) {
    let work = Mutex::new(attacks.iter().flat_map(|attack| STAGES.map(|stage| (stage, attack))).collect::<Vec<_>>());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let victim = Victim::new();
                loop {
                    let Some((stage, attack)) = work.lock().unwrap().pop() else { break };
                    assert_clear(stage, attack, &victim.meets(stage, &attack.reply));
                }
                // After all that, it goes on where it was.
                token(&victim.scene.silently(["token"]));
                assert_eq!(victim.scene.idp.refresh_reuses(), 0);
            });
        }
    });
    println!("at most {} KiB were resident so far", MOST.load(Ordering::Relaxed));
}

fn object(body: impl Into<Vec<u8>>) -> Reply {
    Reply::body(200, "application/json", body)
}

#[test]
fn answers_that_are_too_much() {
    let mebibyte = 1 << 20;
    let filled = |unit: &str| {
        let mut body = String::from("{\"error\":7,\"x\":[");
        while body.len() + unit.len() + 4 < mebibyte {
            body.push_str(unit);
        }
        body + "0]}"
    };
    let names = (0..50_000).map(|n| format!("\"{n:x}\":{n},")).collect::<Vec<_>>().concat();
    let (large, not_json) = ("the answer is larger than 1 MiB", "its answer is not a JSON object");
    everywhere(&[
        attack("an endless body", Reply::endless(200), large),
        passing("an endless error", Reply::endless(400), large),
        attack("100 MB of JSON", Reply::repeated(200, "{\"a\":[0,1,2,3]},", 100_000_000 / 16), large),
        attack("lists in lists", object("[".repeat(mebibyte)), not_json),
        attack("objects in objects", object("{\"a\":".repeat(mebibyte / 5)), not_json),
        attack(
            "depth in a member",
            object(format!("{{\"error\":7,\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000))),
            "unreadable_error",
        ),
        attack("what takes most memory", object(filled("{\"\":0},")), "unreadable_error"),
        attack("the same flat", object(filled("0,")), "unreadable_error"),
        attack("very many members", object(format!("{{{names}\"error\":7}}")), "unreadable_error"),
        passing(
            "a header without end",
            Reply::Wire(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(mebibyte)).into()),
            "the head of its answer is larger than 64 KiB",
        ),
        passing(
            "headers without end",
            Reply::Wire(("HTTP/1.1 200 OK\r\n".to_owned() + &"X: y\r\n".repeat(200_000)).into()),
            "its answer is not HTTP (http parse resulted in too many headers)",
        ),
        passing(
            "100 Continue for ever",
            Reply::Wire("HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000).into()),
            "the head of its answer is larger than 64 KiB",
        ),
    ]);
}

#[test]
fn answers_that_are_not_what_they_should_be() {
    let not_json = "its answer is not a JSON object";
    let wire = |bytes: &[u8]| Reply::Wire(bytes.to_vec());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let with = |more: &str| wire(format!("{head}{more}").as_bytes());
    everywhere(&[
        attack("invalid UTF-8", object(b"{\"error\":\"\xff\xfe\"}"), "\u{fffd}\u{fffd}"),
        attack("half a surrogate", object(r#"{"error":"\ud800"}"#), "unreadable_error"),
        attack("not a number", object(r#"{"expires_in":NaN,"interval":-Infinity}"#), not_json),
        attack("a number out of range", object(r#"{"error":"odd","expires_in":1e999}"#), "odd"),
        attack("two objects", object("{}{}"), not_json),
        attack("a NUL", object("{\"a\":1}\0"), not_json),
        attack(
            "compressed",
            object(b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()).header("Content-Encoding", "gzip"),
            "compressed (gzip)",
        ),
        attack("an error of a wrong type", object(r#"{"error":[{}]}"#), "unreadable_error"),
        attack("an error that is an object", object(r#"{"error":{"code":"invalid_grant"}}"#), "invalid_grant"),
        attack(
            "an error that turns the text around",
            Reply::json(400, &json!({"error": EVIL, "error_description": EVIL.repeat(1000)})),
            "[2J]0;title31m x",
        ),
        attack(
            "a message that does",
            Reply::json(403, &json!({"error": "no", "message": EVIL.repeat(1000)})),
            "no: [2J]0;title31m x",
        ),
        attack(
            "a redirect to http",
            Reply::redirect(302, "http://id.example.com/token"),
            "it redirects to http://id.example.com/token; is a captive portal in between",
        ),
        attack(
            "a redirect to a metadata service",
            Reply::redirect(307, "http://169.254.169.254/latest/meta-data/"),
            "it redirects to http://169.254.169.254/latest/meta-data/; is",
        ),
        attack(
            "a redirect that turns the text around",
            Reply::redirect(303, "https://x.example/\u{202e}\u{9b}31m"),
            "it redirects",
        ),
        attack("a redirect to nowhere", Reply::empty(301), "it redirects; is a captive portal"),
        passing(
            "not HTTP",
            wire(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "its answer is not HTTP (http parse fail: invalid HTTP version)",
        ),
        passing("HTTP/0.9", wire(b"<html>"), "its answer is not HTTP (http parse fail: invalid HTTP version)"),
        passing("status 999", wire(b"HTTP/1.1 999 \r\nContent-Length: 2\r\n\r\n{}"), "it answered with status 999"),
        passing(
            "status 1",
            wire(b"HTTP/1.1 1 OK\r\n\r\n"),
            "its answer is not HTTP (http parse fail: invalid response status)",
        ),
        passing(
            "a header that is not text",
            wire(b"HTTP/1.1 200 OK\r\nLocation\xff: \xff\xfe\r\n\r\n{}"),
            "its answer is not HTTP (http parse fail: invalid header name)",
        ),
        passing(
            "a negative length",
            with("Content-Length: -1\r\n\r\n{}"),
            "its answer is not HTTP (content-length header not a number)",
        ),
        attack("a length that is not kept", with("Content-Length: 1000000\r\n\r\n{}"), "the connection was cut off"),
        attack(
            "an immense length",
            with("Content-Length: 18446744073709551615\r\n\r\n{}"),
            "the connection was cut off",
        ),
        attack(
            "an immense chunk",
            with("Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}"),
            "the connection was cut off",
        ),
        attack(
            "chunks that are none",
            with("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
            "its answer is not HTTP (chunk length cannot be read as a number)",
        ),
        passing("nothing at all", Reply::Drop, "the connection was cut off"),
    ]);
}

/// What is not a text, nor anything else that is asked for.
fn wrong() -> [Value; 6] {
    [json!(7), json!(true), json!([[]]), json!({"a": {}}), json!(""), json!(null)]
}

/// `good` with these members replaced.
fn with(good: &Value, members: &[&str], value: &Value) -> Reply {
    let mut document = good.clone();
    for member in members {
        document[*member] = value.clone();
    }
    Reply::json(200, &document)
}

#[test]
fn a_needed_member_of_a_wrong_type_is_named() {
    let victim = Victim::new();
    let code = json!({"device_code": "d", "user_code": "u", "verification_uri": "https://id.example.com/device"});
    let (metadata, empty) = (json!({"issuer": victim.scene.idp.issuer()}), json!({}));
    for value in wrong() {
        let faces = |stage, document, member, says| {
            let attack = attack(member, with(document, &[member], &value), says);
            assert_clear(stage, &attack, &victim.meets(stage, &attack.reply));
        };
        faces(Discovery, &metadata, "issuer", "/openid-configuration cannot be used: it ");
        if !value.is_null() {
            let (device, token) = ("device_authorization_endpoint", "token_endpoint");
            faces(Discovery, &metadata, device, "cannot be used: its `device_authorization_endpoint` is not a");
            faces(Discovery, &metadata, token, "cannot be used: its `token_endpoint` is not a");
            faces(Discovery, &metadata, "revocation_endpoint", "cannot be used: its `revocation_endpoint` is not a");
        }
        faces(Device, &code, "device_code", "/device_authorization: its answer has no `device_code`");
        faces(Device, &code, "user_code", "/device_authorization: its answer has no `user_code`");
        faces(Device, &code, "verification_uri", "/device_authorization: its answer has no `verification_uri`");
        faces(Poll, &empty, "access_token", "/token was lost: its answer has no `access_token`");
        faces(Refresh, &empty, "access_token", "could not reach");
    }
}

#[test]
fn other_members_of_wrong_types_are_as_good_as_absent() {
    thread::scope(|scope| {
        for value in wrong() {
            scope.spawn(move || {
                let scene = Scene::new(Options::default());
                let url = |endpoint| scene.idp.url(endpoint);
                let metadata = json!({
                    "issuer": scene.idp.issuer(), "token_endpoint": url(Endpoint::Token),
                    "device_authorization_endpoint": url(Endpoint::Device),
                });
                let lists =
                    ["token_endpoint_auth_methods_supported", "code_challenge_methods_supported", "scopes_supported"];
                scene.idp.script(Endpoint::Discovery, [with(&metadata, &lists, &value)]);
                let page = "https://id.example.com/device";
                let code = json!({"device_code": "d", "user_code": "u", "verification_uri": page});
                let rest = ["verification_uri_complete", "message", "verification_url", "expires_in", "interval"];
                // A number is a time.
                let rest = &rest[..if value.is_number() { 3 } else { 5 }];
                scene.idp.script(Endpoint::Device, [with(&code, rest, &value)]);
                let rest = ["token_type", "expires_in", "refresh_token", "id_token", "scope", "error"];
                let null = json!(null);
                let answers = ["one", "two"].map(|t| {
                    let mut answer = json!({"access_token": t});
                    for member in rest {
                        // A text is a kind of token, and an error; whatever is not null is an error.
                        let text = value.is_string() && member == "token_type";
                        answer[member] = if text || member == "error" { null.clone() } else { value.clone() };
                    }
                    Reply::json(200, &answer)
                });
                scene.idp.script(Endpoint::Token, answers);
                assert_eq!(token(&bounded(&scene, "always", &["token"])), "one", "{value}");
                scene.change(|session| session["refresh_token"] = json!("kept"));
                scene.leave(-1);
                assert_eq!(token(&bounded(&scene, "never", &["token"])), "two", "{value}");
                assert_eq!(scene.session()["refresh_token"], "kept", "{value}");
            });
        }
    });
}

#[test]
fn intervals_and_expiries_stay_within_reason() {
    let scene = Scene::new(Options::default());
    for (value, interval, life) in [
        (json!(1e300), 5, 900),
        (json!(99_999_999_999_u64), 60, 3600),
        (json!(u64::MAX), 5, 900),
        (json!(-1), 5, 900),
        (json!(0), 5, 900),
        (json!("NaN"), 5, 900),
        (json!("inf"), 5, 900),
        (json!("-1e9"), 5, 900),
        (json!("1e9"), 60, 3600),
    ] {
        let code = json!({
            "device_code": "d", "user_code": value.to_string(), "verification_uri": "https://id.example.com/device",
            "interval": value, "expires_in": value,
        });
        scene.idp.script(Endpoint::Device, [Reply::json(200, &code)]);
        let began = now();
        let caller = scene.start(["login"]);
        caller.code();
        let pending = &scene.session()["sign_in"];
        assert_eq!(pending["flow"]["interval"], interval, "{value}");
        let expires_at = pending["expires_at"].as_i64().unwrap();
        assert!((began + life..=now() + life).contains(&expires_at), "{value}: {expires_at}");
        caller.kill();
        scene.change(|session| session["sign_in"] = json!(null));
    }

    // A token's life is the provider's to say, as long as it says a time.
    scene.sign_in();
    for (value, life) in [
        (json!(1e300), 3600),
        (json!(99_999_999_999_u64), 99_999_999_999_u64),
        (json!(-1), 3600),
        (json!("NaN"), 3600),
        (json!(9.5), 10),
    ] {
        scene.leave(-1);
        let answer = json!({"access_token": "new", "expires_in": value});
        scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
        assert_eq!(token(&bounded(&scene, "never", &["token"])), "new", "{value}");
        let session = scene.session();
        let mut tokens = session["tokens"].as_array().unwrap().iter();
        assert_eq!(tokens.find(|t| t["token"] == "new").unwrap()["lifetime"], life, "{value}");
    }
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let victim = Victim::new();
    let issuer = victim.scene.idp.issuer();
    let metadata = object(format!(r#"{{"issuer":"{issuer}","issuer":"https://elsewhere.example"}}"#));
    let attack = attack("two issuers", metadata, "it is of the issuer \"https://elsewhere.example\"");
    assert_clear(Discovery, &attack, &victim.meets(Discovery, &attack.reply));
    let answer = r#"{"access_token":"first","error":"invalid_grant","access_token":"last","error":null}"#;
    victim.scene.idp.script(Endpoint::Token, [object(answer)]);
    assert_eq!(victim.scene.token(), "last");
}

#[test]
fn no_address_leads_to_where_it_should_not() {
    let victim = Victim::new();
    let long = format!("https://id.example.com/{}", "x".repeat(60_000));
    for (address, why) in [
        ("http://169.254.169.254/latest/meta-data/", "is not https (plain http is allowed only on loopback)"),
        ("http://[fd00:ec2::254]/", "is not https (plain http is allowed only on loopback)"),
        ("http://metadata.google.internal/", "is not https (plain http is allowed only on loopback)"),
        ("http://127.0.0.1.id.example.com/", "is not https (plain http is allowed only on loopback)"),
        ("https://id.example.com@169.254.169.254/", "has a user name in it"),
        ("file:///etc/passwd", "is not a web address"),
        ("https://id.example.com/\u{202e}", "is not a web address"),
        ("https://id.example.com/\u{1b}[2J", "is not a web address"),
        (&long, "is too long"),
    ] {
        let code = json!({"device_code": "d", "user_code": "u", "verification_uri": address});
        let says = format!("/device_authorization: its `verification_uri` {why}");
        let output = victim.meets(Device, &Reply::json(200, &code));
        assert!(output.stderr.contains(&says) && output.stderr.lines().count() == 1, "{address}: {output:?}");
        for member in ["token_endpoint", "device_authorization_endpoint", "revocation_endpoint"] {
            let metadata = json!({"issuer": victim.scene.idp.issuer(), member: address});
            let output = victim.meets(Discovery, &Reply::json(200, &metadata));
            let says = format!("its `{member}` {why}");
            assert!(output.stderr.contains(&says), "{address}: {output:?}");
        }
    }
    assert_eq!(victim.scene.idp.count("token:device_code"), 1, "that of the first sign-in");
}

#[test]
fn a_certificate_that_is_not_right_is_not_trusted() {
    let scene = Scene::new(Options::default());
    for (certificate, why) in [
        (Certificate::OtherHost, "it is for another host"),
        (Certificate::Expired, "it has expired; is this machine's clock right?"),
        (Certificate::NotYet, "it is not valid yet; is this machine's clock right?"),
        (Certificate::SelfSigned, "its authority is not known here; `ca-file` names one"),
        (Certificate::OwnAuthorityOfOther, "it is for another host"),
        (Certificate::OwnAuthorityExpired, "it has expired; is this machine's clock right?"),
    ] {
        let idp = Provider::start(Options { tls: true, certificate, ..Options::default() });
        let ca = idp.ca_file().unwrap().to_str().unwrap();
        let args = ["token", "--client-id", "keyfob", "--issuer", idp.issuer(), "--ca-file", ca];
        let output = bounded(&scene, "always", &args);
        let line = format!(
            "error: could not get a token for {0}: could not reach {0}/.well-known/openid-configuration: its certificate \
             is not trusted ({why})\n",
            idp.issuer()
        );
        assert_eq!(output, Output { stdout: String::new(), stderr: line, code: Some(5) }, "{certificate:?}");
        assert_eq!(idp.requests().len(), 0, "{certificate:?}");
    }
}

/// As kubectl and curl take it. By itself it is not trusted.
#[test]
fn a_servers_own_certificate_is_trusted_where_the_profile_names_it() {
    let scene = Scene::new(Options::default());
    let idp = Provider::start(Options { tls: true, certificate: Certificate::OwnAuthority, ..Options::default() });
    let other = Provider::start(Options { tls: true, ..Options::default() });
    idp.auto(Auto::Approve);
    let ask = |ca: &Path| {
        let ca = ca.to_str().unwrap();
        bounded(&scene, "always", &["token", "--client-id", "keyfob", "--issuer", idp.issuer(), "--ca-file", ca])
    };
    let refused = ask(other.ca_file().unwrap());
    let why = "its certificate is not trusted (it is signed by itself; `ca-file` can name it)\n";
    assert!(refused.code == Some(5) && refused.stderr.ends_with(why), "{refused:?}");
    assert_eq!(idp.requests().len(), 0);
    token(&ask(idp.ca_file().unwrap()));
}

/// Where a machine asks first: the profile, the variable with the address, and how that begins.
const MACHINES: [(&str, &str, &str); 4] = [
    (
        "grant = 'managed-identity'\nscopes = ['https://vault.azure.net/.default']\n",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "http://",
    ),
    ("grant = 'none'\nsource = 'github'\nsource-audience = 'a'\n", "ACTIONS_ID_TOKEN_REQUEST_URL", "http://"),
    ("grant = 'none'\nsource = 'azure-pipelines'\nservice-connection = 's'\n", "SYSTEM_OIDCREQUESTURI", "http://"),
    ("grant = 'none'\nsource = 'gcp'\nsource-audience = 'a'\n", "GCE_METADATA_HOST", ""),
];

#[track_caller]
fn assert_given_up(says: &str, variable: &str, address: &str) {
    let keyfob = Keyfob::new(PROGRAM)
        .config(&format!("[profile.ci]\n{says}"))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "r")
        .env("SYSTEM_ACCESSTOKEN", "s")
        .env(variable, address);
    let output = Output::of(keyfob.command(["token"]).env("KEYFOB_PROMPT", "never"), b"");
    let line = output.stderr.lines().next().unwrap_or_default();
    assert!(line.contains(address) && line.contains("it did not answer in time"), "{says} {output:?}");
    assert_eq!((output.code, output.stdout.as_str()), (Some(5), ""), "{says} {output:?}");
}

/// Each takes the half minute that one request may take, all at once.
#[test]
fn answers_that_come_too_slowly_end_in_half_a_minute() {
    let slow = |status| Reply::json(status, &json!({"error": "x".repeat(100)})).trickled(Duration::from_secs(1));
    let attacks = [
        attack("a byte a second", slow(200), "it did not answer in time"),
        passing("an error, a byte a second", slow(400), "it did not answer in time"),
        passing("nothing", Reply::Drop.after(Duration::from_secs(50)), "it did not answer in time"),
    ];
    thread::scope(|scope| {
        for attack in &attacks {
            for stage in STAGES {
                scope.spawn(move || assert_clear(stage, attack, &Victim::new().meets(stage, &attack.reply)));
            }
        }
        // It is not asked to revoke every token there is, one half minute after the other.
        scope.spawn(|| {
            let scene = Scene::signed_in(Options::default());
            token(&scene.silently(["token", "--scope", "openid"]));
            scene.idp.always(Endpoint::Revoke, Reply::Drop.after(Duration::from_secs(50)));
            let output = bounded(&scene, "never", &["logout"]);
            assert!(
                output.stderr.ends_with("could not be revoked at the provider: it did not answer in time\n"),
                "{output:?}"
            );
            assert_eq!((output.code, scene.idp.count("revoke"), scene.names().len()), (Some(0), 1, 0));
        });
        // What a machine asks for its proof: it answers a byte a second, or takes a connection and says nothing.
        for (says, variable, path) in MACHINES {
            scope.spawn(move || {
                let body = Body::Trickled(vec![b' '; 100], Duration::from_secs(1));
                let slow = Lookalike::start(move |_| {
                    let headers = vec![("Metadata-Flavor".to_owned(), "Google".to_owned())];
                    Answer { status: 200, headers, body: body.clone() }
                });
                assert_given_up(says, variable, &slow.origin().replace("http://", path));
            });
            scope.spawn(move || {
                let silent = TcpListener::bind("127.0.0.1:0").unwrap();
                assert_given_up(says, variable, &format!("{path}{}", silent.local_addr().unwrap()));
            });
        }
        // It takes a connection, and says no word of TLS.
        scope.spawn(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let issuer = format!("https://{}", listener.local_addr().unwrap());
            let scene = Scene::new(Options::default());
            let output = bounded(&scene, "always", &["token", "--client-id", "keyfob", "--issuer", &issuer]);
            let line = format!(
                "error: could not get a token for {issuer}: could not reach {issuer}/.well-known/openid-configuration: \
                 it did not answer in time\n"
            );
            assert_eq!(output, Output { stdout: String::new(), stderr: line, code: Some(5) });
        });
    });
}
