//! Prints a bare token, for scripts and every tool that can run a command to get one.

use super::{Ask, Caller, Credential, Io, Outcome, Requester, Want, Whose, json_line};
use crate::arguments::{Arguments, Grammar, PROFILE, Rest};
use crate::change::files::write_private;
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, text, word};
use crate::failure::Failure;
use crate::providers::TokenKind;
use crate::secret::Buffer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::path::Path;

/// `keyfob token`
pub const CALLER: Caller = Caller {
    name: "token",
    alias: None,
    link: None,
    about: "Print a token, for scripts and tools with a token command",
    hosts: false,
    grammar: Grammar { flags: &[PROFILE, KEYS, FLAGS], rest: Rest::Profile },
    after_help: "\
Formats, one line each:
  raw           the token alone
  header        `Authorization: Bearer TOKEN`
  headers-json  the same as a JSON object, for programs that ask a helper for headers
  json          token, kind, expiry, account and profile
  xoauth2       what IMAP and SMTP clients send to sign in by XOAUTH2, in Base64
  oauthbearer   the same by OAUTHBEARER (RFC 7628)

Examples:
  curl -H \"$(keyfob token -p lab --format header)\" https://api.example.com/
  export TOKEN=$(keyfob token -p lab)
  keyfob token -p lab --format json | jq -r .expires_at
  keyfob token -p lab --out ~/.cache/lab.token    for programs that read a file",
    run,
};

const FLAGS: &[Key] = &[
    word(
        "format",
        &["raw", "header", "headers-json", "json", "xoauth2", "oauthbearer"],
        "How to print it [default: raw]",
    ),
    text("user", "NAME", "The mailbox, for xoauth2 and oauthbearer [default: the account that is signed in]"),
    text("out", "FILE", "Write it to a file for you alone, at once, and print nothing"),
];

/// Prints a token.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let credential = match ask(Want::token(Whose::Selected(io.arguments), Requester::Parent("keyfob token"))) {
        Outcome::Credential(credential) => credential,
        other => return io.fail(&other.failure()),
    };
    let line = match answer(io.arguments, &credential) {
        Ok(line) => line,
        Err(failure) => return io.fail(&failure),
    };
    match io.arguments.one("out") {
        None => io.answer(line),
        Some(file) => match write_private(Path::new(file), &Buffer::from(line.into_bytes())) {
            Ok(()) => 0,
            Err(error) => io.fail(&Failure::of(&error)),
        },
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

fn answer(arguments: &Arguments, credential: &Credential) -> Result<String, Failure> {
    let token = credential.token.expose();
    Ok(match arguments.one("format") {
        Some("header") => ["Authorization: Bearer ", token, "\n"].concat(),
        Some("headers-json") => {
            ["{\"Authorization\":", json_line(&["Bearer ", token].concat()).trim_end(), "}\n"].concat()
        }
        Some("json") => json_line(&Json {
            token,
            token_kind: credential.kind,
            expires_at: credential.expires_at.and_then(Timestamp::rfc3339),
            expires_at_epoch: credential.expires_at.map(|t| t.0),
            account: credential.account.as_deref(),
            profile: &credential.profile,
        }),
        Some("xoauth2") => sasl(&["user=", mailbox(arguments, credential)?, "\x01auth=Bearer ", token, "\x01\x01"]),
        Some("oauthbearer") => {
            // RFC 5801, section 4: `=` and `,` must be escaped in names.
            let user = mailbox(arguments, credential)?.replace('=', "=3D").replace(',', "=2C");
            sasl(&["n,a=", &user, ",\x01auth=Bearer ", token, "\x01\x01"])
        }
        _ => [token, "\n"].concat(),
    })
}

/// A client's first message in a SASL exchange, in Base64.
fn sasl(parts: &[&str]) -> String {
    STANDARD.encode(Buffer::from(parts.concat().into_bytes()).as_slice()) + "\n"
}

/// The user whose mailbox is opened.
fn mailbox<'a>(arguments: &'a Arguments, credential: &'a Credential) -> Result<&'a str, Failure> {
    let user = arguments.one("user").or(credential.account.as_deref()).filter(|user| !user.contains(char::is_control));
    user.ok_or_else(|| Failure::usage("the provider does not say which mailbox it is").hint("add --user NAME"))
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
            (&["--format=headers-json"], "{\"Authorization\":\"Bearer t0k\\\"en\"}\n"),
            // "user=ada^Aauth=Bearer t0k\"en^A^A" and "n,a=ada,^Aauth=Bearer t0k\"en^A^A"
            (&["--format=xoauth2"], "dXNlcj1hZGEBYXV0aD1CZWFyZXIgdDBrImVuAQE=\n"),
            (&["--format=oauthbearer"], "bixhPWFkYSwBYXV0aD1CZWFyZXIgdDBrImVuAQE=\n"),
            // "n,a=a=2Cb=3Dc,^A…"
            (&["--format=oauthbearer", "--user", "a,b=c"], "bixhPWE9MkNiPTNEYywBYXV0aD1CZWFyZXIgdDBrImVuAQE=\n"),
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
    fn a_mailbox_that_nobody_names_is_asked_for() {
        let ask = |_: Want<'_>| Outcome::Credential(credential("t"));
        for words in [&["--format=xoauth2"][..], &["--format=oauthbearer", "--user", "a\u{1}b"]] {
            let stderr = "error: the provider does not say which mailbox it is\nhint: add --user NAME\n".to_owned();
            assert_eq!(run(&CALLER, words, Given::default(), &ask), (2, String::new(), stderr));
        }
    }

    #[test]
    fn a_file_is_for_the_user_alone_and_changes_at_once() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old, and readable by all").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let ask = |_: Want<'_>| Outcome::Credential(credential("t"));
        let words = ["--out", file.to_str().unwrap()];
        assert_eq!(run(&CALLER, &words, Given::default(), &ask), (0, String::new(), String::new()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "t\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = folder.path().join("no/token");
        let said = run(&CALLER, &["--out", missing.to_str().unwrap()], Given::default(), &ask);
        assert_eq!((said.0, said.2.starts_with("error: could not write ")), (1, true), "{said:?}");
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
