//! Bazel's credential helper protocol: `keyfob bazel get`. <https://github.com/EngFlow/credential-helper-spec>
//!
//! A request is JSON on stdin that names an address; the answer is JSON with the headers to send there. Bazel asks for
//! every address that its `--credential_helper` covers, so an address that is not mapped gets `{}` (no headers) rather
//! than an error. Bazel gives the helper ten seconds and no terminal.

use super::{Ask, Caller, Io, LARGEST, Link, Outcome, Want, json_line};
use crate::arguments::{Grammar, Rest};
use crate::clock::Timestamp;
use crate::config::Target;
use crate::failure::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `keyfob bazel`
pub const CALLER: Caller = Caller {
    name: "bazel",
    alias: None,
    link: Some(Link { name: "keyfob-bazel", grammar: None }),
    about: "Answer Bazel and what shares its protocol (credential helper), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Word("OPERATION", "get") },
    after_help: "\
Bazel runs this by the name keyfob-bazel, since it passes no arguments on: a link of that name, and in .bazelrc
  common --credential_helper=*.example.com=/home/ada/.local/bin/keyfob-bazel
Which profile's token a host gets is said in config.toml; grpcs is written as https:
  [hosts]
  \"https://cache.example.com\" = { profile = \"lab\", callers = [\"bazel\"] }

Try what Bazel gets:
  echo '{\"uri\":\"https://cache.example.com/a\"}' | keyfob bazel get",
    run,
};

/// Shorter than Bazel's ten seconds, so that Bazel can show the reason.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Answers Bazel.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    if io.arguments.rest() != ["get"] {
        return io.fail(&Failure::usage("the only operation is get"));
    }
    let request = match io.request() {
        Ok(request) => request,
        Err(e) => return io.fail(&Failure::new(Exit::Failed, e.to_string())),
    };
    let Some(uri) = uri(&request) else {
        return io.fail(&Failure::usage("the request is not {\"uri\": …}"));
    };
    let Some(target) = Target::of_url(&uri) else { return io.answer("{}\n".into()) };
    let want = Want {
        no_prompt: Some("Bazel shows none"),
        timeout: Some(TIMEOUT),
        ..Want::for_host(&target, CALLER.name, CALLER.name)
    };
    match ask(want) {
        Outcome::NotMine => io.answer("{}\n".into()),
        Outcome::Credential(credential) => {
            let headers = Headers { authorization: [&credential.authorization()] };
            let expires = credential.expires_at.and_then(Timestamp::rfc3339);
            io.answer(json_line(&Answer { headers, expires }))
        }
        other => io.fail(&other.failure()),
    }
}

/// The address in a request; `None` if the request is invalid.
pub fn uri(request: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Request {
        uri: String,
    }
    let fits = request.len() as u64 <= LARGEST;
    fits.then(|| serde_json::from_slice::<Request>(request).ok()).flatten().map(|request| request.uri)
}

#[derive(Serialize)]
struct Answer<'a> {
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

#[derive(Serialize)]
struct Headers<'a> {
    #[serde(rename = "Authorization")]
    authorization: [&'a str; 1],
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::callers::{Credential, Whose};
    use crate::providers::HostAuth;

    fn said(words: &[&str], stdin: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given { stdin: stdin.as_bytes(), ..Given::default() }, ask)
    }

    #[test]
    fn the_answer_is_literally_this() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, caller: "bazel", .. } = want.whose else { panic!("{want:?}") };
            assert_eq!(target.origin(), "https://cache.example:8980");
            assert!(want.no_prompt.is_some() && want.timeout.is_some_and(|timeout| timeout < Duration::from_secs(10)));
            Outcome::Credential(credential("abc"))
        };
        let stdout = "{\"headers\":{\"Authorization\":[\"Bearer abc\"]},\"expires\":\"2026-11-22T22:00:00Z\"}\n";
        for uri in ["https://cache.example:8980/ac/0123", "grpcs://cache.example:8980"] {
            let request = format!("{{\"uri\":\"{uri}\",\"later\":[1]}}");
            assert_eq!(said(&["get"], &request, &ask), (0, stdout.to_owned(), String::new()));
        }
        let basic = |_: Want<'_>| {
            let auth = Some(HostAuth::Basic);
            Outcome::Credential(Credential { auth, expires_at: None, username: "u".into(), ..credential("p") })
        };
        let stdout = "{\"headers\":{\"Authorization\":[\"Basic dTpw\"]}}\n";
        assert_eq!(said(&["get"], "{\"uri\":\"https://a.example\"}", &basic), (0, stdout.to_owned(), String::new()));
    }

    #[test]
    fn an_address_that_is_not_mapped_gets_no_headers() {
        let none = (0, "{}\n".to_owned(), String::new());
        assert_eq!(said(&["get"], "{\"uri\":\"https://a.example\"}", &|_| Outcome::NotMine), none);
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in ["a.example", "https://ada@a.example", "ftp://a.example", "https://a.example/..", ""] {
            assert_eq!(said(&["get"], &format!("{{\"uri\":\"{odd}\"}}"), &never), none, "{odd}");
        }
    }

    #[test]
    fn a_failure_and_what_is_no_request_are_on_stderr() {
        let ask = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in"));
        let stderr = "error: nobody is signed in\n".to_owned();
        assert_eq!(said(&["get"], "{\"uri\":\"https://a.example\"}", &ask), (3, String::new(), stderr));
        let never = |want: Want<'_>| panic!("{want:?}");
        for (words, request) in [(&["get"][..], ""), (&["get"], "{}"), (&["get"], "{\"uri\":1}"), (&["store"], "{}")] {
            let (code, stdout, stderr) = said(words, request, &never);
            assert!(code == 2 && stdout.is_empty() && stderr.starts_with("error: "), "{request}");
        }
    }
}
