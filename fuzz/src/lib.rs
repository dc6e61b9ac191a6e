//! What the fuzz targets do with their bytes: each asserts what has to hold of a parser of bytes from outside. Apart from the
//! targets themselves, so that the tests run them on every seed.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyfob::address::Address;
use keyfob::arguments::Arguments;
use keyfob::callers::{
    Ask, Caller, Credential, Described, Io, Outcome, Want, What, Whose, bazel, cargo, docker, git, goauth, google,
    keyring, kubernetes, terraform,
};
use keyfob::change::yaml::{Wrong, Yaml};
use keyfob::clock::{Skew, Timestamp};
use keyfob::config::{self, HostPattern, Profile, edit};
use keyfob::flows::Polling;
use keyfob::flows::listener::{self, Expected, Request, Verdict, judge};
use keyfob::oauth::answer::{Answer, DeviceCode, TokenAnswer};
use keyfob::oauth::discovery;
use keyfob::oauth::http::{Reply, date};
use keyfob::oauth::id_token::Claims;
use keyfob::oauth::json::Members;
use keyfob::providers::{HostAuth, TokenKind};
use keyfob::secret::Secret;
use keyfob::session::Serial;
use keyfob::store::{Found, parse};
use serde_json::{Value, json};

/// What a target does with its bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub const TARGETS: [(&str, Target); 17] = [
    ("answer", answer),
    ("bazel_request", bazel_request),
    ("browser_request", browser_request),
    ("cargo_request", cargo_request),
    ("config", config),
    ("date", dates),
    ("discovery", metadata),
    ("docker_request", docker_request),
    ("exec_info", exec_info),
    ("git_request", git_request),
    ("goauth_request", goauth_request),
    ("google_request", google_request),
    ("id_token", id_token),
    ("keyring_arguments", keyring_arguments),
    ("kubeconfig", kubeconfig),
    ("session", session),
    ("terraform_arguments", terraform_arguments),
];

/// What the device and token endpoints answer: the first byte chooses the status, the rest is the body.
pub fn answer(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let statuses = [200, 200, 201, 302, 400, 401, 403, 404, 428, 429, 500, 503];
    let reply = Reply {
        status: statuses[usize::from(*first) % statuses.len()],
        body: body.to_vec().into(),
        html: first & 0x80 != 0,
        retry_after: (first & 0x40 != 0).then_some(u64::from(*first)),
        location: None,
        coding: None,
        challenge: None,
        flavor: None,
        skew: Skew::default(),
        cut: None,
    };
    let answer = Answer::of(&reply);
    match &answer {
        Answer::Object(object) => {
            if let Ok(code) = DeviceCode::read(object) {
                assert!((1..=60).contains(&code.interval) && (1..=3600).contains(&code.expires_in));
                assert_shown_as_it_is(&code.user_code);
                assert_shown_as_it_is(code.verification_uri.as_str());
            }
            if let Ok(TokenAnswer { refresh_token, tokens }) = TokenAnswer::read(object) {
                for token in tokens.ok().map(|tokens| tokens.access_token).into_iter().chain(refresh_token) {
                    let token = token.expose();
                    assert!(!token.is_empty() && !token.contains(|c: char| c.is_control() || c.is_whitespace()));
                }
            }
        }
        Answer::Error(error) => assert_shown_as_it_is(&error.text()),
        Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => {
            assert_shown_as_it_is(why);
        }
    }
    let now = Duration::from_secs(100);
    let mut polling = Polling::new(5, Duration::from_secs(900), now);
    if polling.receive(Ok(answer), now).is_none() {
        assert!(polling.next() >= Duration::from_secs(106) && polling.next() <= polling.deadline());
    }
}

/// What a browser, or anything else on this machine, sends to the port that a sign-in waits at.
pub fn browser_request(bytes: &[u8]) {
    const STATE: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let request = match Request::read(bytes) {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(status) => return assert!([400, 411, 413].contains(&status), "{status}"),
    };
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    // Empty lines before a request do not count (RFC 9112, section 2.2).
    let text = text.trim_start_matches(['\r', '\n']);
    for posted in [false, true] {
        let expected = Expected {
            short: "/short0123456789ab".into(),
            to: "https://id.example.com/authorize".into(),
            path: "/back".into(),
            state: Secret::from(STATE.to_owned()),
            posted,
            names_issuer: false,
            issuer: Some("https://id.example.com".into()),
        };
        let verdict = judge(&request, &expected, 8400);
        if !matches!(verdict, Verdict::Say(..)) {
            assert!(["127.0.0.1:8400", "localhost:8400", "[::1]:8400"].iter().any(|host| text.contains(host)));
        }
        match verdict {
            Verdict::Lead => assert!(text.starts_with("get /short0123456789ab")),
            Verdict::Say(status, words) => {
                assert!([400, 404].contains(&status));
                assert_shown_as_it_is(words);
            }
            Verdict::Answered(listener::Answer::Code(code)) => {
                assert!(!code.expose().contains(char::is_control));
                assert!(!posted || text.starts_with("post"));
            }
            Verdict::Answered(listener::Answer::Error(code, description)) => {
                assert_shown_as_it_is(&code);
                assert_shown_as_it_is(&description);
            }
            Verdict::Answered(listener::Answer::Foreign(why)) => assert_shown_as_it_is(&why),
        }
    }
}

/// `config.toml`: what is wrong is said in one line, and an edited file can still be read.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("config.toml");
    let read = config::read(path, text, None).map(Profile::all_of);
    match &read {
        Ok(profiles) => {
            for failure in profiles.values().filter_map(|profile| profile.as_ref().err()) {
                assert!(failure.lines().lines().count() <= 2);
            }
        }
        Err(failure) => assert!(failure.message.starts_with("config.toml:"), "{failure:?}"),
    }
    let pattern = HostPattern::parse("https://fuzz.example").expect("a good pattern");
    if let (Ok(profiles), Ok(added)) = (&read, edit::with_host(text, &pattern, "lab")) {
        if profiles.contains_key("lab") {
            config::read(path, &added, None).expect("what was added can be read");
        }
        edit::without_host(&added, &pattern, false).expect("and taken out again");
    }
}

/// `Date` and `Retry-After`.
pub fn dates(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let here = Timestamp(1_800_000_000);
    if let Some(there) = date(text) {
        let skew = Skew::measured(there, here);
        assert_eq!(skew.here(skew.there(here)), here);
    }
}

/// A server's metadata, of one particular issuer.
pub fn metadata(bytes: &[u8]) {
    let Ok(document) = Members::read(bytes) else { return };
    let issuer = Address::parse("https://id.example.com/realms/lab").expect("a good issuer");
    match discovery::read(&document, &issuer, Timestamp(7)) {
        Ok(metadata) => {
            let endpoints =
                [metadata.device_authorization_endpoint, metadata.token_endpoint, metadata.revocation_endpoint];
            for endpoint in endpoints.into_iter().flatten() {
                let address = Address::parse(&endpoint).expect("a checked address");
                assert_shown_as_it_is(address.as_str());
                let loopback = ["localhost", "127.", "[::1]", "[::ffff:7f"];
                let host = address.host();
                let here = loopback.iter().any(|l| host.starts_with(l)) || host.ends_with(".localhost");
                assert!(endpoint.to_ascii_lowercase().starts_with("https://") || here, "{endpoint}");
            }
        }
        Err(why) => assert_shown_as_it_is(&why),
    }
}

/// `KUBERNETES_EXEC_INFO`.
pub fn exec_info(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ask = |want: Want<'_>| {
        want.purpose.iter().for_each(|cluster| assert_shown_as_it_is(cluster));
        Outcome::Credential(credential("t0ken"))
    };
    let variable = Some(("KUBERNETES_EXEC_INFO", text)).filter(|(_, text)| !text.contains('\0'));
    let (code, stdout, stderr) = run(&kubernetes::CALLER, &[], variable.as_slice(), b"", &ask);
    if code == 0 {
        let known = ["v1", "v1beta1"].map(|version| {
            format!(
                "{{\"apiVersion\":\"client.authentication.k8s.io/{version}\",\"kind\":\"ExecCredential\",\
                 \"status\":{{\"token\":\"t0ken\"}}}}\n"
            )
        });
        assert!(known.contains(&stdout) && stderr.is_empty(), "{stdout}");
    } else {
        assert!(stdout.is_empty() && stderr.lines().count() <= 2, "{stderr}");
        stderr.lines().for_each(assert_shown_as_it_is);
    }
}

/// What git, or a repository by way of git, writes on stdin. A host that is not mapped gets nothing.
pub fn git_request(bytes: &[u8]) {
    let ask = |want: Want<'_>| {
        let Whose::Host { target, .. } = want.whose else { panic!("{want:?}") };
        let matches = |pattern: &str| HostPattern::parse(pattern).expect("a good pattern").matches(target);
        let origin = target.origin();
        assert_eq!(want.purpose.as_ref(), Some(&origin));
        assert_shown_as_it_is(&origin);
        if matches("https://*.visualstudio.com") {
            let label = origin.strip_prefix("https://").and_then(|host| host.strip_suffix(".visualstudio.com"));
            assert!(label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', ':', '@'])), "{origin}");
            return Outcome::Credential(credential("t0ken"));
        }
        let Some(mapped) = ["https://github.com", "https://git.lab:8443/team"].into_iter().find(|known| matches(known))
        else {
            return Outcome::NotMine;
        };
        assert_eq!(origin, mapped.trim_end_matches("/team"));
        Outcome::Credential(credential("t0ken"))
    };
    let (code, stdout, stderr) = run(&git::CALLER, &["get"], &[], bytes, &ask);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.is_empty() || stdout.lines().filter(|line| line.ends_with("=t0ken")).count() == 1, "{stdout}");
    // What is answered says plainly, and once, which host it is for.
    let hosts = bytes.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let mut hosts = hosts.filter_map(|line| line.strip_prefix(b"host=")).map(<[u8]>::to_ascii_lowercase);
    let mapped = |host: &[u8]| {
        let host = host.strip_suffix(b":443").unwrap_or(host);
        matches!(host, b"github.com" | b"git.lab:8443") || host.ends_with(b".visualstudio.com")
    };
    assert!(stdout.is_empty() || hosts.next().is_some_and(|host| mapped(&host)) && hosts.next().is_none());
}

/// What Bazel writes on stdin.
pub fn bazel_request(bytes: &[u8]) {
    host_request(&bazel::CALLER, &["get"], bytes);
}

/// What cargo writes on stdin.
pub fn cargo_request(bytes: &[u8]) {
    host_request(&cargo::CALLER, &[], bytes);
}

/// What docker writes on stdin.
pub fn docker_request(bytes: &[u8]) {
    host_request(&docker::CALLER, &["get"], bytes);
}

/// What a program that asks for one host writes on stdin. A host that is not mapped gets nothing.
fn host_request(caller: &Caller, words: &[&str], bytes: &[u8]) {
    let known = [("https://*.mapped.example/team", ".mapped.example"), ("https://*.whole.example", ".whole.example")];
    let known = known.map(|(pattern, domain)| (HostPattern::parse(pattern).expect("a good pattern"), domain));
    let handed_out = Cell::new(false);
    let ask = |want: Want<'_>| {
        let Whose::Host { target, .. } = want.whose else { panic!("{want:?}") };
        assert_shown_as_it_is(&target.origin());
        let Some((mapped, domain)) = known.iter().find(|(pattern, _)| pattern.matches(target)) else {
            return Outcome::NotMine;
        };
        let origin = target.origin();
        let label = origin.strip_prefix("https://").and_then(|host| host.strip_suffix(domain));
        assert!(label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', ':', '@'])), "{want:?}");
        handed_out.set(true);
        Outcome::Credential(Credential { pattern: Some(mapped.clone()), ..credential("t0ken") })
    };
    let (_, stdout, stderr) = run(caller, words, &[], bytes, &ask);
    assert!(handed_out.get() || !stdout.contains("t0ken"), "{stdout}");
    assert!(!stderr.contains("t0ken") && stderr.lines().count() <= 2, "{stderr}");
    stderr.lines().for_each(assert_shown_as_it_is);
}

/// What Go passes on: the address in the first line, then the head of the response.
pub fn goauth_request(bytes: &[u8]) {
    let (url, head) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    let Some(url) = std::str::from_utf8(url).ok().filter(|url| !url.starts_with('-')) else { return };
    host_request(&goauth::CALLER, &[url], head.strip_prefix(b"\n").unwrap_or(head));
}

/// keyring's arguments, one a line.
pub fn keyring_arguments(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let words: Vec<&str> = text.lines().collect();
    if !words.iter().any(|word| matches!(*word, "--" | "-h" | "--help")) {
        host_request(&keyring::CALLER, &words, b"");
    }
}

/// Terraform's arguments, one a line.
pub fn terraform_arguments(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let words: Vec<&str> = text.lines().collect();
    if !words.iter().any(|word| matches!(*word, "--" | "-h" | "--help")) {
        host_request(&terraform::CALLER, &words, b"");
    }
}

/// What Google's libraries put into the environment, one value a line. Another pool than the profile's gets nothing.
pub fn google_request(bytes: &[u8]) {
    const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/lab";
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')) else { return };
    // Not the name of a file, which would be written.
    let names = ["AUDIENCE", "TOKEN_TYPE", "INTERACTIVE"].map(|name| format!("GOOGLE_EXTERNAL_ACCOUNT_{name}"));
    let variables: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(text.lines()).collect();
    let ask = |want: Want<'_>| match want.what {
        What::Profile => Outcome::Profile(Described { audience: Some(POOL.to_owned()), ..Described::default() }),
        _ => Outcome::Credential(credential("t0ken")),
    };
    let (code, stdout, stderr) = run(&google::CALLER, &["--profile=gcp"], &variables, b"", &ask);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&stdout).expect("one object of JSON");
    // A refusal names the kind of token that was asked for, whatever it is called.
    assert!(
        answer["id_token"] == "t0ken" && text.lines().next() == Some(POOL) || answer["success"] == false,
        "{stdout}"
    );
    assert_shown_as_it_is(stdout.trim_end());
}

/// An ID token, once as the token itself and once as the claims in it.
pub fn id_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let made = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(text));
    for claims in [text.to_owned(), made].into_iter().filter_map(|token| Claims::of(&Secret::from(token))) {
        let now = Timestamp(1_800_000_000);
        match claims.check(Some("https://id.example.com/{tid}"), "keyfob", now) {
            Err(why) => assert_shown_as_it_is(&why.to_string()),
            Ok(()) => assert!(claims.expires_at.is_some_and(|end| end > now) && claims.subject.is_some()),
        }
        if let Some(name) = &claims.name {
            assert_shown_as_it_is(name);
        }
    }
}

/// A session's file: what is read as one is written again as the same.
pub fn session(bytes: &[u8]) {
    let Found::Session(session) = parse(bytes, None) else { return };
    let written = serde_json::to_vec(&session).expect("a session can be written");
    let Found::Session(again) = parse(&written, Some(&session.key())) else { panic!("written and not read") };
    assert_eq!(serde_json::to_vec(&again).expect("a session can be written"), written);
    session.is_signed_in(keyfob::clock::Timestamp(1_800_000_000));
}

/// Panics if a terminal would obey any of `text`, or show it on more than one line.
fn assert_shown_as_it_is(text: &str) {
    let deceptive = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}');
    assert!(!text.chars().any(|c| c.is_control() || deceptive(c)), "{text:?}");
}

/// Runs a caller with these words, variables and this input: its exit code, stdout and stderr.
fn run(
    caller: &Caller,
    words: &[&str],
    variables: &[(&str, &str)],
    mut stdin: &[u8],
    ask: &Ask<'_>,
) -> (u8, String, String) {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let arguments = Arguments::read(&caller.grammar, &words).expect("arguments of this caller");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io {
        arguments: &arguments,
        environment: &|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        stdin: &mut stdin,
        stdout_is_terminal: &|| false,
        stdout: &mut stdout,
        stderr: &mut stderr,
        pass_on: &|_, _| 1,
    };
    let code = (caller.run)(&mut io, ask);
    let text = |bytes| String::from_utf8(bytes).expect("every protocol is text");
    (code, text(stdout), text(stderr))
}

/// A token, to be found in an answer.
fn credential(token: &str) -> Credential {
    Credential {
        token: Secret::from(token.to_owned()),
        serial: Serial::default(),
        kind: TokenKind::Access,
        received_at: Timestamp(0),
        expires_at: None,
        account: None,
        tenant: None,
        profile: "lab".to_owned(),
        pattern: None,
        auth: None,
        usual_auth: HostAuth::Bearer,
        username: "x-access-token".into(),
        subscription: None,
    }
}

/// A kubeconfig, and the changes that `setup` makes: what comes of one says what was asked for, when it is read again, and one
/// that is refused changes nothing.
pub fn kubeconfig(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(yaml) = Yaml::parse(text) else { return };
    assert_eq!(yaml.text(), text);
    let changed = |yaml: &Yaml, change: &dyn Fn(&mut Yaml) -> Result<(), Wrong>| {
        let mut after = yaml.clone();
        if change(&mut after).is_err() {
            assert_eq!(after.text(), yaml.text());
            return None;
        }
        let again = Yaml::parse(&after.text()).expect("what was written can be read");
        assert_eq!(again.value(), after.value());
        Some(after)
    };
    let list = |yaml: &Yaml| yaml.value().pointer("/users").and_then(Value::as_array).cloned();
    let exec = json!({"command": "/usr/bin/keyfob", "args": ["kubernetes", "--profile", "a: \"b\" #"], "env": null});
    let user = json!({"name": "lab", "user": {"exec": exec}});
    for (path, value) in [("/users/0/user/exec", &exec), ("/contexts/0/context/user", &json!("keyfob-lab"))] {
        if let Some(after) = changed(&yaml, &|yaml| yaml.set(path, value)) {
            assert_eq!(after.value().pointer(path), Some(value));
        }
    }
    if let Some(with) = changed(&yaml, &|yaml| yaml.push("/users", &user)) {
        let (before, users) = (list(&yaml).unwrap_or_default(), list(&with).expect("a list"));
        assert_eq!(users, [&before[..], std::slice::from_ref(&user)].concat());
        let place = format!("/users/{}", before.len());
        if let Some(without) = changed(&with, &|yaml| yaml.remove(&place)) {
            assert_eq!(list(&without), Some(before));
        }
    }
    if let Some(without) = changed(&yaml, &|yaml| yaml.remove("/users/0"))
        && let Some(before) = list(&yaml).filter(|users| !users.is_empty())
    {
        assert_eq!(list(&without).as_deref(), Some(&before[1..]));
    }
}
