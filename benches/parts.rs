//! What keyfob itself computes for an answer, part by part, in this process: where a cached answer's instructions go that
//! are not the start of a process, and what a refresh adds that is not the network.
//!
//! ```text
//! cargo bench --bench parts                all of it
//! cargo bench --bench parts -- cached      what is on the cached path
//! ```
//!
//! The inputs are those of the other benches; `common/home.rs` has them.

mod common;

use std::ffi::OsString;
use std::path::Path;

use common::home::{CASES, CONFIG_TEXT, GIT_REQUEST_TEXT, lab_session};
use divan::{Bencher, black_box};
use serde_json::json;

fn main() {
    divan::main();
}

/// What every cached answer is made of.
mod cached {
    use super::{Bencher, CASES, CONFIG_TEXT, GIT_REQUEST_TEXT, OsString, Path, black_box, lab_session};
    use keyfob::arguments::Arguments;
    use keyfob::callers::{CALLERS, git, kubernetes};
    use keyfob::config;
    use keyfob::store::{Found, parse};

    /// Every caller's command line.
    #[divan::bench(args = CASES.iter().map(|case| case.name))]
    fn arguments(bencher: Bencher, name: &str) {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        let words: Vec<OsString> = case.args[1..].iter().map(Into::into).collect();
        let caller = CALLERS.iter().find(|caller| caller.name == case.args[0]).expect("a caller");
        bencher.bench(|| {
            Arguments::read(&caller.grammar, black_box(&words)).expect("a command line that clap is not asked about")
        });
    }

    /// Two profiles, a host and `[az]`.
    #[divan::bench]
    fn configuration() -> config::File {
        config::read(Path::new("config.toml"), black_box(CONFIG_TEXT)).expect("a configuration")
    }

    /// A session with an access token and an ID token.
    #[divan::bench]
    fn session(bencher: Bencher) {
        let text = lab_session().to_string();
        bencher.bench(|| match parse(black_box(text.as_bytes()), None) {
            Found::Session(session) => session,
            other => panic!("{other:?}"),
        });
    }

    /// git's request.
    #[divan::bench]
    fn git_request() -> git::Request {
        git::Request::parse(black_box(GIT_REQUEST_TEXT.as_bytes())).expect("a request")
    }

    /// kubectl's request.
    #[divan::bench]
    fn exec_info(bencher: Bencher) {
        let (_, text) = CASES[0].variables[0];
        bencher.bench(|| kubernetes::Request::parse(black_box(text), "v1").expect("a request"));
    }
}

/// What only a refresh or a sign-in needs.
mod fetched {
    use super::{Bencher, black_box, json};
    use keyfob::address::Address;
    use keyfob::clock::{Skew, Timestamp};
    use keyfob::oauth::answer::{Answer, Tokens};
    use keyfob::oauth::http::Reply;
    use keyfob::oauth::{discovery, id_token, json as objects};
    use keyfob::secret::Secret;

    /// A token endpoint's answer, with tokens of usual sizes.
    #[divan::bench]
    fn token_answer(bencher: Bencher) {
        let body = json!({
            "access_token": "a".repeat(1400),
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": "r".repeat(800),
            "scope": "openid email offline_access",
        });
        let body = body.to_string().into_bytes();
        let reply = || Reply {
            status: 200,
            body: body.clone().into(),
            html: false,
            retry_after: None,
            location: None,
            skew: Skew::default(),
            cut: None,
        };
        bencher.with_inputs(reply).bench_values(|reply| match Answer::of(&reply) {
            Answer::Object(object) => Tokens::read(&object).expect("tokens"),
            _ => panic!("not an object"),
        });
    }

    /// A server's metadata.
    #[divan::bench]
    fn metadata(bencher: Bencher) {
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
        bencher.bench(|| {
            let object = objects::object(black_box(body.as_bytes())).expect("an object");
            discovery::read(&object, &issuer, Timestamp(7)).expect("metadata")
        });
    }

    /// An ID token's claims.
    #[divan::bench]
    fn claims(bencher: Bencher) {
        // {"alg":"none"}, then {"iss":"https://id.example.com","sub":"1","aud":"keyfob","exp":4102444800}.
        let token = Secret::from(String::from(
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiMSIsImF1ZCI6ImtleWZvYiIsImV4cCI6NDEwMjQ0NDgwMH0.c2ln",
        ));
        bencher.bench(|| id_token::claims(black_box(&token)).expect("claims"));
    }
}
