//! `keyfob azd …`: the Azure Developer CLI's `azd auth token`.
//! <https://learn.microsoft.com/azure/developer/azure-developer-cli/reference#azd-auth-token>

use super::line::{Flag, Line, Takes};
use super::{FLAGS, end, token, too_late, want};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::callers::{Ask, Caller, Io, Link, Want, json_line};
use crate::failure::Failure;
use crate::text::one_line;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;

/// `keyfob azd`
pub const CALLER: Caller = Caller {
    name: "azd",
    alias: None,
    link: Some(Link { name: "azd", grammar: None }),
    about: "Answer Azure SDKs in place of the Azure Developer CLI",
    hosts: false,
    grammar: Grammar { flags: FLAGS, rest: Rest::Line("COMMAND", "An azd command with its own flags") },
    after_help: "\
It answers auth token (--output json|none, --scope, --tenant-id, --claims). Any other command goes to the real azd behind keyfob on PATH, if there is one.

Programs find it by a link called `azd`, in a folder that comes before any other azd on PATH.
`keyfob setup az` makes the link; by hand:
  ln -s \"$(command -v keyfob)\" ~/.local/bin/azd

Examples:
  keyfob azd auth token --output json --scope https://graph.microsoft.com/.default",
    run,
};

const LINE: &[Flag] = &[
    Flag { name: "output", spellings: &["--output", "-o"], takes: Takes::One },
    Flag { name: "no-prompt", spellings: &["--no-prompt"], takes: Takes::Nothing },
    Flag { name: "debug", spellings: &["--debug"], takes: Takes::Nothing },
    Flag { name: "scope", spellings: &["--scope"], takes: Takes::Several },
    Flag { name: "tenant", spellings: &["--tenant-id"], takes: Takes::One },
    Flag { name: "claims", spellings: &["--claims"], takes: Takes::One },
];

/// Answers one command.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let line = Line::read(io.arguments.rest(), LINE);
    if line.command != "auth token" {
        (io.pass_on)("azd", io.arguments.rest());
        let what = if line.command.is_empty() { "this".to_owned() } else { format!("'{}'", one_line(&line.command)) };
        let text = format!(
            "ERROR: keyfob answers auth token in place of the Azure Developer CLI; for {what} the real azd is needed.\n"
        );
        return io.complain(&text, 2);
    }
    let mistake = line.mistake.clone().or_else(|| match line.one("output") {
        None | Some("json" | "none") => None,
        Some(other) => Some(format!("argument --output: keyfob's azd answers json and none, not {other:?}")),
    });
    if let Some(mistake) = mistake {
        let text = format!("ERROR: {}. For what keyfob does not know, the real azd is needed.\n", one_line(&mistake));
        return io.complain(&text, 2);
    }
    let json = line.one("output") == Some("json");
    match access_token(io.arguments, &line, json, ask) {
        Ok(text) => io.answer(text),
        Err(failure) => io.complain(&failed(&failure, json), 1),
    }
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    #[serde(rename = "expiresOn")]
    expires_on: String,
}

fn access_token(arguments: &Arguments, line: &Line, json: bool, ask: &Ask<'_>) -> Result<String, Failure> {
    let claims = line.one("claims").map(claims).transpose()?;
    let scopes = line.all("scope").map(str::to_owned).collect();
    let (tenant, claims) = (line.one("tenant"), claims.as_deref());
    let credential = token(ask, Want { scopes, tenant, claims, ..want(arguments) })?;
    let token = credential.token.expose();
    if !json {
        return Ok([token, "\n"].concat());
    }
    let expires_on = end(&credential).rfc3339().ok_or_else(too_late)?;
    Ok(json_line(&Token { token, expires_on }))
}

/// Decodes a claims challenge: a JSON object in standard or URL-safe base64, with or without padding.
fn claims(given: &str) -> Result<String, Failure> {
    let bare = given.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare));
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok())
        .ok_or_else(|| Failure::usage("--claims has to be a JSON object in base64"))
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    message: &'a str,
    suggestion: &'a str,
}

/// A failure in azd's format.
fn failed(failure: &Failure, json: bool) -> String {
    let (error, message, suggestion) = match failure.sign_in() {
        Some(login) => (
            "not_logged_in",
            "not logged in, run `azd auth login` to login".to_owned(),
            format!("with keyfob: {}", one_line(login)),
        ),
        None => (
            "failed",
            one_line(&failure.message),
            failure.hint.as_ref().map(|hint| one_line(hint.text())).unwrap_or_default(),
        ),
    };
    let message = format!("ERROR: {message}");
    if json {
        return json_line(&Problem { error, message: &message, suggestion: &suggestion });
    }
    if suggestion.is_empty() { format!("{message}\n") } else { format!("{message}\n{suggestion}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::seam::tests::{Given, credential, run};
    use crate::callers::{Credential, Outcome};
    use crate::clock::Timestamp;
    use crate::failure::Exit;

    fn said(words: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, &words.split(' ').collect::<Vec<_>>(), Given::default(), ask)
    }

    #[test]
    fn the_token_is_literally_this() {
        let ask = |want: Want<'_>| {
            assert_eq!((want.tenant, want.claims), (Some("t2"), Some("{}")));
            assert_eq!(want.scopes, ["a", "b"]);
            Outcome::Credential(credential("abc"))
        };
        let words = "auth token --scope a --scope b --tenant-id t2 --claims e30=";
        assert_eq!(said(words, &ask), (0, "abc\n".to_owned(), String::new()));
        let json = "{\"token\":\"abc\",\"expiresOn\":\"2026-11-22T22:00:00Z\"}\n".to_owned();
        assert_eq!(said(&format!("{words} --output json"), &ask), (0, json, String::new()));
    }

    #[test]
    fn a_token_without_an_end_is_said_to_live_an_hour() {
        let ask = |_: Want<'_>| Outcome::Credential(Credential { expires_at: None, ..credential("abc") });
        let in_an_hour = || Timestamp::now().plus(3600).rfc3339().unwrap();
        let before = in_an_hour();
        let (_, stdout, _) = said("auth token -o json", &ask);
        let token: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let shown = token["expiresOn"].as_str().unwrap().to_owned();
        assert!((before.clone()..=in_an_hour()).contains(&shown), "{before} {shown}");
    }

    #[test]
    fn a_token_that_ends_too_late_cannot_be_told() {
        let late = Some(Timestamp(253_402_300_800));
        let ask = |_: Want<'_>| Outcome::Credential(Credential { expires_at: late, ..credential("abc") });
        let stderr = "ERROR: the token ends after the year 9999, which cannot be told\n".to_owned();
        let json = format!("{{\"error\":\"failed\",\"message\":{:?},\"suggestion\":\"\"}}\n", stderr.trim_end());
        assert_eq!(said("auth token -o json", &ask), (1, String::new(), json));
    }

    #[test]
    fn a_failure_is_said_in_azd_own_words() {
        let nobody = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in").run("keyfob login azure"))
        };
        let broken = |_: Want<'_>| Outcome::Misconfigured(Failure::usage("no profile\nhere").hint("add one"));
        let bare = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::Unreachable, "out of reach"));
        let asks: [(&Ask<'_>, &str, &str); 3] = [
            (
                &nobody,
                "{\"error\":\"not_logged_in\",\"message\":\"ERROR: not logged in, run `azd auth login` to login\",\
                 \"suggestion\":\"with keyfob: keyfob login azure\"}\n",
                "ERROR: not logged in, run `azd auth login` to login\nwith keyfob: keyfob login azure\n",
            ),
            (
                &broken,
                "{\"error\":\"failed\",\"message\":\"ERROR: no profile here\",\"suggestion\":\"add one\"}\n",
                "ERROR: no profile here\nadd one\n",
            ),
            (
                &bare,
                "{\"error\":\"failed\",\"message\":\"ERROR: out of reach\",\"suggestion\":\"\"}\n",
                "ERROR: out of reach\n",
            ),
        ];
        for (ask, json, text) in asks {
            assert_eq!(said("auth token -o json", ask), (1, String::new(), json.to_owned()));
            assert_eq!(said("auth token", ask), (1, String::new(), text.to_owned()));
        }
    }

    #[test]
    fn what_azd_would_refuse_is_refused_before_anything_is_asked() {
        let never = |want: Want<'_>| panic!("{want:?}");
        for (words, code, stderr) in [
            (
                "init",
                2,
                "ERROR: keyfob answers auth token in place of the Azure Developer CLI; for 'init' the real azd is needed.\n",
            ),
            (
                "--debug",
                2,
                "ERROR: keyfob answers auth token in place of the Azure Developer CLI; for this the real azd is needed.\n",
            ),
            (
                "auth token --nonsense",
                2,
                "ERROR: unrecognized arguments: --nonsense. For what keyfob does not know, the real azd is needed.\n",
            ),
            (
                "auth token -o yaml",
                2,
                "ERROR: argument --output: keyfob's azd answers json and none, not \"yaml\". For what keyfob does not know, \
                 the real azd is needed.\n",
            ),
            ("auth token --claims x", 1, "ERROR: --claims has to be a JSON object in base64\n"),
        ] {
            assert_eq!(said(words, &never), (code, String::new(), stderr.to_owned()), "{words}");
        }
    }

    #[test]
    fn claims_come_in_either_base64() {
        let challenge = r#"{"access_token":{"nbf":{"essential":true,"value":"1"},"x":"??>"}}"#;
        for encoded in [
            base64::engine::general_purpose::STANDARD.encode(challenge),
            base64::engine::general_purpose::URL_SAFE.encode(challenge),
            URL_SAFE_NO_PAD.encode(challenge),
        ] {
            assert_eq!(claims(&encoded).unwrap(), challenge, "{encoded}");
        }
        for wrong in ["", "!", "W10=", "ImEi"] {
            assert_eq!(claims(wrong).unwrap_err().message, "--claims has to be a JSON object in base64", "{wrong}");
        }
    }
}
