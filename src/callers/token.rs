//! The bare token, for scripts and for every tool that can run a command to get one.

use crate::acquire::{Credential, Requester, Want, acquire};
use crate::arguments::{Arguments, Grammar, PROFILE, Rest};
use crate::callers::Caller;
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, Profile, word};
use crate::providers::TokenKind;
use anyhow::Result;
use serde::Serialize;

/// `keyfob token`
pub const CALLER: Caller = Caller {
    name: "token",
    alias: None,
    program: None,
    about: "Print a token, for scripts and tools with a token command",
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
fn run(arguments: &Arguments) -> Result<()> {
    let profile = Profile::select(&arguments.selection()?)?;
    let kind = profile.token_kind.unwrap_or(TokenKind::Access);
    let credential = acquire(&Want::of(&profile, kind, Requester::Parent("keyfob token")))?;
    super::answer(answer(arguments.one("format"), &profile, &credential))
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

fn answer(format: Option<&str>, profile: &Profile, credential: &Credential) -> String {
    let token = credential.token.expose();
    match format {
        Some("header") => format!("Authorization: Bearer {token}\n"),
        Some("json") => {
            let json = Json {
                token,
                token_kind: credential.kind,
                expires_at: credential.expires_at.and_then(Timestamp::rfc3339),
                expires_at_epoch: credential.expires_at.map(|t| t.0),
                account: credential.account.as_deref(),
                profile: profile.title(),
            };
            serde_json::to_string(&json).expect("strings and numbers always serialize") + "\n"
        }
        _ => format!("{token}\n"),
    }
}
