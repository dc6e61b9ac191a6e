//! `keyfob azd …`: the Azure Developer CLI's `azd auth token`.
//! <https://learn.microsoft.com/azure/developer/azure-developer-cli/reference#azd-auth-token>

use super::line::{Flag, Line, Takes};
use super::{Asked, FLAGS, end, profile, report, signed_out, token, too_late};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::callers::Caller;
use crate::failure::Failure;
use crate::text::one_line;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;

/// `keyfob azd`
pub const CALLER: Caller = Caller {
    name: "azd",
    alias: None,
    program: Some("azd"),
    about: "Answer Azure SDKs in place of the Azure Developer CLI",
    grammar: Grammar { flags: FLAGS, rest: Rest::Line("COMMAND", "An azd command with its own flags") },
    after_help: "\
Answered is: auth token (--output json|none, --scope, --tenant-id, --claims)

A link called `azd`, in a folder before any other azd on PATH, is what programs find.
`keyfob setup az` makes it; by hand:
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
fn run(arguments: &Arguments) -> Result<()> {
    let line = Line::read(arguments.rest(), LINE);
    if line.command != "auth token" {
        let what = if line.command.is_empty() { "this".to_owned() } else { format!("'{}'", one_line(&line.command)) };
        let text = format!(
            "ERROR: keyfob answers auth token in place of the Azure Developer CLI; for {what} the real azd is needed.\n"
        );
        return Err(report(2, text));
    }
    let mistake = line.mistake.clone().or_else(|| match line.one("output") {
        None | Some("json" | "none") => None,
        Some(other) => Some(format!("argument --output: keyfob's azd answers json and none, not {other:?}")),
    });
    if let Some(mistake) = mistake {
        let text = format!("ERROR: {}. For what keyfob does not know the real azd is needed.\n", one_line(&mistake));
        return Err(report(2, text));
    }
    let json = line.one("output") == Some("json");
    let text = access_token(arguments, &line, json).map_err(|error| failed(&error, json))?;
    crate::callers::answer(text)
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    #[serde(rename = "expiresOn")]
    expires_on: String,
}

fn access_token(arguments: &Arguments, line: &Line, json: bool) -> Result<String> {
    let (profile, _) = profile(arguments)?;
    let asked = Asked {
        scopes: line.all("scope").map(str::to_owned).collect(),
        tenant: line.one("tenant").map(str::to_owned),
        claims: line.one("claims").map(claims).transpose()?,
    };
    let (credential, _) = token(profile, asked)?;
    let token = credential.token.expose();
    if !json {
        return Ok(format!("{token}\n"));
    }
    let expires_on = end(&credential).rfc3339().ok_or_else(too_late)?;
    Ok(serde_json::to_string(&Token { token, expires_on })? + "\n")
}

/// A claims challenge: JSON in either alphabet of base64, padded or not.
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
    message: String,
    suggestion: &'a str,
}

/// A failure as azd writes it.
fn failed(error: &anyhow::Error, json: bool) -> anyhow::Error {
    let login = signed_out(error).map(one_line);
    let hint =
        error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_ref()).map(|hint| one_line(hint.text()));
    let (kind, message) = match &login {
        Some(_) => ("not_logged_in", "not logged in, run `azd auth login` to login".to_owned()),
        None => ("failed", one_line(&format!("{error:#}"))),
    };
    let suggestion = login.map(|login| format!("with keyfob: {login}")).or(hint).unwrap_or_default();
    if !json {
        let suggestion = if suggestion.is_empty() { suggestion } else { format!("{suggestion}\n") };
        return report(1, format!("ERROR: {message}\n{suggestion}"));
    }
    let problem = Problem { error: kind, message: format!("ERROR: {message}"), suggestion: &suggestion };
    report(1, serde_json::to_string(&problem).unwrap_or_default() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
