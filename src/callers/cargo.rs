//! Cargo's credential provider protocol, version 1: `keyfob --cargo-plugin`.
//! <https://doc.rust-lang.org/cargo/reference/credential-provider-protocol.html>
//!
//! keyfob writes the first line. Then each line of JSON from cargo gets one line as an answer; the exit code is always
//! 0. An index that is not mapped is "not supported", so that cargo asks the next provider.

use super::{Ask, Caller, Credential, Io, LARGEST, Outcome, Want, What, json_line};
use crate::arguments::{Grammar, Rest};
use crate::config::Target;
use crate::failure::{Failure, Hint};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// `keyfob cargo`
pub const CALLER: Caller = Caller {
    name: "cargo",
    alias: Some("--cargo-plugin"),
    link: None,
    about: "Answer cargo (credential provider), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Nothing },
    after_help: "\
cargo runs `keyfob --cargo-plugin`. `keyfob setup cargo` has it do so for one registry; by hand, in ~/.cargo/config.toml
  [registries.lab]
  index = \"sparse+https://crates.example.com/index/\"
  credential-provider = [\"keyfob\"]
Which profile's token an index gets is said in config.toml. It is sent as `Bearer TOKEN`; with auth = \"basic\", as HTTP Basic:
  [hosts]
  \"https://crates.example.com/index\" = { profile = \"lab\", callers = [\"cargo\"] }",
    run,
};

/// Answers cargo line by line, until the input ends.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    io.answer("{\"v\":[1]}\n".into());
    loop {
        let answer = match io.line() {
            Ok(Some(line)) => answer(&line, ask),
            Ok(None) => return 0,
            Err(e) => other(&Failure::usage(format!("could not read the request: {e}"))),
        };
        if io.answer(answer) != 0 {
            return 0;
        }
    }
}

/// The parts of a request that are read.
#[derive(Deserialize)]
struct Request {
    v: u32,
    registry: Registry,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    index_url: String,
}

#[derive(Serialize)]
enum Answer<'a> {
    Ok(Get<'a>),
}

/// The complete value of `Authorization`, and how long cargo may keep it.
#[derive(Serialize)]
struct Get<'a> {
    kind: &'a str,
    token: &'a str,
    cache: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
    operation_independent: bool,
}

/// The answer to one line.
fn answer(line: &[u8], ask: &Ask<'_>) -> String {
    let request = Some(line).filter(|line| line.len() as u64 <= LARGEST);
    let request =
        request.and_then(|line| serde_json::from_slice::<Request>(line).ok()).filter(|request| request.v == 1);
    let Some(request) = request else {
        return other(&Failure::usage("the request is none of cargo's credential provider protocol, version 1"));
    };
    let not_mine = || json_line(&json!({"Err": {"kind": "url-not-supported"}}));
    let Some(target) = Target::of_url(&request.registry.index_url) else { return not_mine() };
    let want = Want::for_host(&target, CALLER.name, CALLER.name);
    let want = match request.kind.as_str() {
        "get" => want,
        "logout" => Want { what: What::Erase(None), ..want },
        "login" => Want { what: What::Profile, ..want },
        _ => return json_line(&json!({"Err": {"kind": "operation-not-supported"}})),
    };
    match ask(want) {
        Outcome::NotMine => not_mine(),
        Outcome::Credential(credential) => token(&credential),
        Outcome::Done => json_line(&json!({"Ok": {"kind": "logout"}})),
        Outcome::Profile(_) => {
            other(&Failure::usage("keyfob keeps no tokens of others").hint("sign in with `keyfob login`"))
        }
        failed => other(&failed.failure()),
    }
}

fn token(credential: &Credential) -> String {
    let token = credential.authorization();
    let expiration = credential.expires_at.map(|end| end.0);
    let cache = if expiration.is_some() { "expires" } else { "session" };
    json_line(&Answer::Ok(Get { kind: "get", token: &token, cache, expiration, operation_independent: true }))
}

/// A failure, which cargo shows completely.
fn other(failure: &Failure) -> String {
    let hints: Vec<_> = failure.hint.iter().map(Hint::text).collect();
    json_line(&json!({"Err": {"kind": "other", "message": failure.message, "caused-by": hints}}))
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::callers::Whose;
    use crate::failure::Exit;
    use crate::providers::HostAuth;

    fn said(stdin: &str, ask: &Ask<'_>) -> String {
        let (code, stdout, stderr) = run(&CALLER, &[], Given { stdin: stdin.as_bytes(), ..Given::default() }, ask);
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout.strip_prefix("{\"v\":[1]}\n").unwrap().to_owned()
    }

    fn request(kind: &str, url: &str) -> String {
        format!(
            "{{\"v\":1,\"registry\":{{\"index-url\":\"{url}\",\"name\":\"lab\"}},\"kind\":\"{kind}\",\"operation\":\"read\",\"args\":[]}}\n"
        )
    }

    const INDEX: &str = "sparse+https://crates.example/index/";

    #[test]
    fn the_answer_is_literally_this() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, caller: "cargo", .. } = want.whose else { panic!("{want:?}") };
            assert_eq!((target.origin().as_str(), want.what), ("https://crates.example", What::Token));
            Outcome::Credential(credential("abc"))
        };
        let line = "{\"Ok\":{\"kind\":\"get\",\"token\":\"Bearer abc\",\"cache\":\"expires\",\"expiration\":1795384800,\
                    \"operation_independent\":true}}\n";
        assert_eq!(said(&request("get", INDEX), &ask), line);
        assert_eq!(said(&request("get", INDEX).repeat(2), &ask), line.repeat(2), "every line is answered");
        let basic = |_: Want<'_>| {
            let auth = Some(HostAuth::Basic);
            Outcome::Credential(Credential { auth, expires_at: None, username: "u".into(), ..credential("p") })
        };
        let line = "{\"Ok\":{\"kind\":\"get\",\"token\":\"Basic dTpw\",\"cache\":\"session\",\"operation_independent\":true}}\n";
        assert_eq!(said(&request("get", INDEX), &basic), line);
    }

    #[test]
    fn an_index_that_is_not_mapped_is_left_to_the_next_provider() {
        let not_mine = "{\"Err\":{\"kind\":\"url-not-supported\"}}\n";
        let kinds = ["get", "login", "logout"];
        assert!(kinds.iter().all(|kind| said(&request(kind, INDEX), &|_| Outcome::NotMine) == not_mine));
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in ["crates.example", "https://ada@crates.example/", "git+https://crates.example/", ""] {
            assert_eq!(said(&request("get", odd), &never), not_mine, "{odd}");
        }
        assert_eq!(said(&request("frob", INDEX), &never), "{\"Err\":{\"kind\":\"operation-not-supported\"}}\n");
    }

    #[test]
    fn a_failure_is_said_in_full() {
        let ask = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in").run("keyfob login lab"))
        };
        let line =
            "{\"Err\":{\"caused-by\":[\"keyfob login lab\"],\"kind\":\"other\",\"message\":\"nobody is signed in\"}}\n";
        assert_eq!(said(&request("get", INDEX), &ask), line);
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in ["\n", "{}\n", "{\"v\":2}\n", "nonsense", &request("get", INDEX).replace("\"v\":1", "\"v\":2")] {
            assert!(
                said(odd, &never)
                    .starts_with("{\"Err\":{\"caused-by\":[],\"kind\":\"other\",\"message\":\"the request")
            );
        }
        assert_eq!(said("", &never), "");
    }

    #[test]
    fn cargo_login_is_told_of_keyfobs_and_logout_drops_the_token() {
        let login = said(&request("login", INDEX), &|want| {
            assert_eq!(want.what, What::Profile);
            Outcome::Profile(crate::callers::Described::default())
        });
        assert!(login.contains("sign in with `keyfob login`"), "{login}");
        let logout = said(&request("logout", INDEX), &|want| {
            assert_eq!(want.what, What::Erase(None));
            Outcome::Done
        });
        assert_eq!(logout, "{\"Ok\":{\"kind\":\"logout\"}}\n");
    }
}
