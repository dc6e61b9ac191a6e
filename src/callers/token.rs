//! The bare token, for scripts and for every tool that can run a command to get one.

use super::{Ask, Caller, Credential, Io, Outcome, Requester, Want, Whose, json_line};
use crate::arguments::{Grammar, PROFILE, Rest};
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, word};
use crate::providers::TokenKind;
use serde::Serialize;

/// `keyfob token`
pub const CALLER: Caller = Caller {
    name: "token",
    alias: None,
    link: None,
    about: "Print a token, for scripts and tools with a token command",
    hosts: false,
    grammar: Grammar { flags: &[PROFILE, KEYS, FLAGS], rest: Rest::Nothing },
    after_help: "\
Formats, one line each:
  raw      the token alone
  header   `Authorization: Bearer TOKEN`
  json     token, kind, expiry, account and profile

Examples:
  curl -H \"$(keyfob token -p lab --format header)\" https://api.example.com/
  export TOKEN=$(keyfob token -p lab)
  keyfob token -p lab --format json | jq -r .expires_at",
    run,
};

const FLAGS: &[Key] = &[word("format", &["raw", "header", "json"], "How to print it [default: raw]")];

/// Prints a token.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    match ask(Want::token(Whose::Selected(io.arguments), Requester::Parent("keyfob token"))) {
        Outcome::Credential(credential) => io.answer(answer(io.arguments.one("format"), &credential)),
        other => io.fail(&other.failure()),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    token: &'a str,
    token_kind: TokenKind,
    expires_at: Option<String>,
    expires_at_epoch: Option<i64>,
    account: Option<&'a str>,
    profile: &'a str,
}

fn answer(format: Option<&str>, credential: &Credential) -> String {
    let token = credential.token.expose();
    match format {
        Some("header") => ["Authorization: Bearer ", token, "\n"].concat(),
        Some("json") => json_line(&Json {
            token,
            token_kind: credential.kind,
            expires_at: credential.expires_at.and_then(Timestamp::rfc3339),
            expires_at_epoch: credential.expires_at.map(|t| t.0),
            account: credential.account.as_deref(),
            profile: &credential.profile,
        }),
        _ => [token, "\n"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::failure::{Exit, Failure};

    #[test]
    fn each_format_is_literally_this() {
        let ask =
            |_: Want<'_>| Outcome::Credential(Credential { account: Some("ada".to_owned()), ..credential("t0k\"en") });
        for (words, stdout) in [
            (&[][..], "t0k\"en\n"),
            (&["--format", "raw"], "t0k\"en\n"),
            (&["--format=header"], "Authorization: Bearer t0k\"en\n"),
            (
                &["--format=json"],
                "{\"token\":\"t0k\\\"en\",\"token_kind\":\"access\",\"expires_at\":\"2026-11-22T22:00:00Z\",\
                 \"expires_at_epoch\":1795384800,\"account\":\"ada\",\"profile\":\"lab\"}\n",
            ),
        ] {
            let said = run(&CALLER, words, Given::default(), &ask);
            assert_eq!(said, (0, stdout.to_owned(), String::new()), "{words:?}");
        }
        let endless = |_: Want<'_>| Outcome::Credential(Credential { expires_at: None, ..credential("t") });
        let (_, stdout, _) = run(&CALLER, &["--format=json"], Given::default(), &endless);
        assert!(stdout.contains("\"expires_at\":null,\"expires_at_epoch\":null,\"account\":null"), "{stdout}");
    }

    #[test]
    fn a_failure_is_two_lines_and_its_exit_code() {
        let ask = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "a sign-in is needed").run("keyfob login lab"))
        };
        let said = run(&CALLER, &["--profile", "lab"], Given::default(), &ask);
        let stderr = "error: a sign-in is needed\nhint: keyfob login lab\n";
        assert_eq!(said, (3, String::new(), stderr.to_owned()));
    }
}
