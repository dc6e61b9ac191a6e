//! Google's executable-sourced credentials: `keyfob google`, run by the client libraries and gcloud for a workload or
//! workforce identity pool. <https://google.aip.dev/auth/4117>
//!
//! The request is in environment variables. The answer is JSON on stdout with exit code 0, even for failures, because
//! only then do the libraries show code and message. Most of them read stderr as part of the answer, so nothing is
//! written to it.
//!
//! - The pool in `GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE` must equal the profile's `audience`, because the file that names
//!   the pool may come from anyone.
//! - Nobody is asked to sign in, unless the library says that it is interactive; it then reads the answer from a file.

use super::{Ask, Caller, Credential, Io, Kind, Outcome, Requester, Want, What, Whose, json_line};
use crate::arguments::{Grammar, PROFILE, Rest};
use crate::change::files::write_private;
use crate::config::KEYS;
use crate::failure::Failure;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// `keyfob google`
pub const CALLER: Caller = Caller {
    name: "google",
    alias: None,
    link: None,
    about: "Answer Google's client libraries and gcloud (executable-sourced credentials)",
    hosts: false,
    grammar: Grammar { flags: &[PROFILE, KEYS], rest: Rest::Nothing },
    after_help: "\
The libraries run this with GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1, where the credential configuration says
  \"credential_source\": {\"executable\": {\"command\": \"/home/ada/.local/bin/keyfob google --profile gcp\"}}
The profile names the pool, word for word as the configuration does:
  [profile.gcp]
  issuer = \"https://id.example.com\"
  client-id = \"gcp\"
  audience = \"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/lab\"",
    run,
};

/// Shorter than the 30 seconds that the libraries wait by default.
const TIMEOUT: Duration = Duration::from_secs(25);
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

#[derive(Serialize)]
struct Answer<'a> {
    version: u8,
    success: bool,
    token_type: &'a str,
    id_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_time: Option<i64>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    version: u8,
    success: bool,
    code: &'a str,
    message: &'a str,
}

/// Answers a library.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let answered = token(io, ask).and_then(|answer| match interactive_file(io) {
        Some(file) => {
            write_private(Path::new(&file), answer.as_bytes()).map_err(|e| Failure::of(&e)).map(|()| String::new())
        }
        None => Ok(answer),
    });
    let answer = answered.unwrap_or_else(|failure| {
        let hint = failure.hint.as_ref().map(|hint| format!("; {}", hint.text())).unwrap_or_default();
        let (code, message) = ((failure.exit as u8).to_string(), format!("keyfob: {}{hint}", failure.message));
        json_line(&Refusal { version: 1, success: false, code: &code, message: &message })
    });
    io.answer(answer)
}

/// The answer with the token.
fn token(io: &Io<'_>, ask: &Ask<'_>) -> Result<String, Failure> {
    let asked = |name: &str| variable(io, &format!("GOOGLE_EXTERNAL_ACCOUNT_{name}"));
    let token_type = asked("TOKEN_TYPE").unwrap_or_else(|| ID_TOKEN.to_owned());
    if ![ID_TOKEN, JWT].contains(&token_type.as_str()) {
        return Err(Failure::usage(format!("a token of the type {token_type:?} cannot be had")));
    }
    let usual = Want::token(Whose::Selected(io.arguments), Requester::Parent("keyfob google"));
    let audience = match ask(Want { what: What::Profile, ..usual.clone() }) {
        Outcome::Profile(profile) => profile.audience,
        other => return Err(other.failure()),
    };
    if audience.is_none() || audience != asked("AUDIENCE") {
        let what = "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE is not the profile's `audience`";
        return Err(Failure::usage(what).hint("set `audience` in the profile to the pool's, if it may have its tokens"));
    }
    let interactive = interactive_file(io).is_some();
    let want = Want {
        kind: Kind::Id,
        no_prompt: (!interactive).then_some("the library shows none"),
        timeout: (!interactive).then_some(TIMEOUT),
        ..usual
    };
    match ask(want) {
        Outcome::Credential(Credential { token, expires_at, .. }) => Ok(json_line(&Answer {
            version: 1,
            success: true,
            token_type: &token_type,
            id_token: token.expose(),
            expiration_time: expires_at.map(|end| end.0),
        })),
        other => Err(other.failure()),
    }
}

/// The file in which an interactive library expects the answer; `None` if the library is not interactive.
fn interactive_file(io: &Io<'_>) -> Option<String> {
    variable(io, "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE").filter(|said| said == "1")?;
    variable(io, "GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE").filter(|file| !file.is_empty())
}

fn variable(io: &Io<'_>, name: &str) -> Option<String> {
    (io.environment)(name)?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::callers::Described;
    use crate::failure::Exit;

    const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/lab";
    const AUDIENCE: (&str, &str) = ("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", POOL);

    fn said(environment: &[(&str, &str)], ask: &Ask<'_>) -> String {
        let (code, stdout, stderr) = run(&CALLER, &["--profile=gcp"], Given { environment, ..Given::default() }, ask);
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout
    }

    /// Answers with a profile that has this audience, and with a token.
    fn of<'a>(
        audience: Option<&'a str>,
        token: impl Fn(Want<'_>) -> Outcome + 'a,
    ) -> impl Fn(Want<'_>) -> Outcome + 'a {
        move |want| match want.what {
            What::Profile => {
                let audience = audience.map(str::to_owned);
                Outcome::Profile(Described { audience, ..Described::default() })
            }
            _ => token(want),
        }
    }

    #[test]
    fn the_answer_is_literally_this() {
        let ask = of(Some(POOL), |want: Want<'_>| {
            assert_eq!(want.kind, Kind::Id);
            assert!(want.no_prompt.is_some() && want.timeout.is_some_and(|timeout| timeout < Duration::from_secs(30)));
            Outcome::Credential(credential("a.b.c"))
        });
        for kind in [ID_TOKEN, JWT] {
            let stdout = format!(
                "{{\"version\":1,\"success\":true,\"token_type\":\"{kind}\",\"id_token\":\"a.b.c\",\"expiration_time\":1795384800}}\n"
            );
            assert_eq!(said(&[AUDIENCE, ("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", kind)], &ask), stdout);
        }
    }

    #[test]
    fn another_pool_gets_nothing() {
        let never = |want: Want<'_>| panic!("{want:?}");
        for (audience, asked) in [(Some(POOL), "//iam.googleapis.com/evil"), (None, POOL), (Some(POOL), "")] {
            let stdout = said(&[("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", asked)], &of(audience, never));
            assert!(
                stdout.starts_with("{\"version\":1,\"success\":false,\"code\":\"2\",\"message\":\"keyfob: GOOGLE_")
            );
        }
        assert!(said(&[], &of(None, never)).contains("\"success\":false"));
        let saml = ("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", "urn:ietf:params:oauth:token-type:saml2");
        assert!(said(&[AUDIENCE, saml], &of(Some(POOL), never)).contains("\"success\":false"));
    }

    #[test]
    fn a_failure_is_on_stdout_alone() {
        let failed = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in").run("keyfob login gcp"))
        };
        assert_eq!(
            said(&[AUDIENCE], &of(Some(POOL), failed)),
            "{\"version\":1,\"success\":false,\"code\":\"3\",\"message\":\"keyfob: nobody is signed in; keyfob login gcp\"}\n"
        );
    }

    #[test]
    fn an_interactive_library_finds_the_answer_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("answer.json");
        let interactive = [
            AUDIENCE,
            ("GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE", "1"),
            ("GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE", file.to_str().unwrap()),
        ];
        let ask = of(Some(POOL), |want: Want<'_>| {
            assert_eq!((want.no_prompt, want.timeout), (None, None));
            Outcome::Credential(credential("a.b.c"))
        });
        assert_eq!(said(&interactive, &ask), "");
        assert!(std::fs::read_to_string(file).unwrap().contains("\"id_token\":\"a.b.c\""));
    }
}
