//! What keyfob itself computes for an answer, part by part, in this process: where a cached answer's instructions go that
//! are not the start of a process, and what a refresh adds that is not the network.
//!
//! ```text
//! cargo bench --bench parts                all of it
//! cargo bench --bench parts -- cached      only the parts whose name contains a word: here, what is on the cached path
//! ```
//!
//! The inputs are those of the other benches; `common/home.rs` has them.

mod common;

use std::ffi::OsString;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use common::home::{CASES, CONFIG_TEXT, GIT_REQUEST_TEXT, lab_session};
use keyfob::address::Address;
use keyfob::arguments::Arguments;
use keyfob::callers::{CALLERS, git, kubernetes};
use keyfob::clock::{Skew, Timestamp};
use keyfob::config;
use keyfob::oauth::answer::{Answer, TokenAnswer};
use keyfob::oauth::discovery;
use keyfob::oauth::http::Reply;
use keyfob::oauth::id_token::Claims;
use keyfob::oauth::json::Members;
use keyfob::secret::Secret;
use keyfob::store::{Found, parse};
use serde_json::json;

fn main() {
    for case in CASES {
        let words: Vec<OsString> = case.args[1..].iter().map(Into::into).collect();
        let caller = CALLERS.iter().find(|caller| caller.name == case.args[0]).expect("a caller");
        part(&format!("cached: arguments of `{}`", case.name), || {
            Arguments::read(&caller.grammar, black_box(&words)).expect("a command line that clap is not asked about")
        });
    }
    part("cached: configuration of two profiles, a host and `[az]`", || {
        config::read(Path::new("config.toml"), black_box(CONFIG_TEXT), None).expect("a configuration")
    });
    let session = lab_session().to_string();
    part("cached: session with an access token and an ID token", || match parse(black_box(session.as_bytes()), None) {
        Found::Session(session) => session,
        other => panic!("{other:?}"),
    });
    part("cached: git's request", || git::Request::parse(black_box(GIT_REQUEST_TEXT.as_bytes())).expect("a request"));
    let (_, exec_info) = CASES[0].variables[0];
    part("cached: kubectl's request", || kubernetes::Request::parse(black_box(exec_info), "v1").expect("a request"));
    fetched();
}

/// What only a refresh or a sign-in needs.
fn fetched() {
    let body = json!({
        "access_token": "a".repeat(1400),
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_token": "r".repeat(800),
        "scope": "openid email offline_access",
    });
    let reply = Reply {
        status: 200,
        body: body.to_string().into_bytes().into(),
        html: false,
        retry_after: None,
        location: None,
        coding: None,
        skew: Skew::default(),
        challenge: None,
        flavor: None,
        cut: None,
    };
    part("fetched: token endpoint's answer, with tokens of usual sizes", || match Answer::of(black_box(&reply)) {
        Answer::Object(object) => TokenAnswer::read(&object).expect("tokens"),
        _ => panic!("not an object"),
    });

    let issuer = "https://id.example.com/realms/lab";
    let body = json!({
        "issuer": issuer,
        "device_authorization_endpoint": format!("{issuer}/device"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email", "offline_access"],
    });
    let (body, issuer) = (body.to_string(), Address::parse(issuer).expect("an issuer"));
    part("fetched: server's metadata", || {
        let document = Members::read(black_box(body.as_bytes())).expect("an object");
        discovery::read(&document, &issuer, Timestamp(7)).expect("metadata")
    });

    // {"alg":"none"}, then {"iss":"https://id.example.com","sub":"1","aud":"keyfob","exp":4102444800}.
    let token = Secret::from(String::from(
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiMSIsImF1ZCI6ImtleWZvYiIsImV4cCI6NDEwMjQ0NDgwMH0.c2ln",
    ));
    part("fetched: ID token's claims", || Claims::of(black_box(&token)).expect("claims"));
}

/// Prints how long `work` takes: the median of 100 samples, each of as many runs as fill a millisecond.
fn part<T>(name: &str, mut work: impl FnMut() -> T) {
    // cargo adds `--bench` when it runs one.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench").peekable();
    if words.peek().is_some() && !words.any(|word| name.contains(&word)) {
        return;
    }
    let mut sample = |runs: u32| {
        let start = Instant::now();
        for _ in 0..runs {
            black_box(work());
        }
        start.elapsed()
    };
    let mut runs = 1;
    while sample(runs) < Duration::from_millis(1) {
        runs *= 2;
    }
    let mut samples: Vec<_> = (0..100).map(|_| sample(runs) / runs).collect();
    samples.sort_unstable();
    println!("{:>8} ns  {name}", samples[50].as_nanos());
}
