//! The bare token, for scripts and for every tool that can run a command to get one.

use crate::acquire::{Credential, Effort, MIN_LIFE, Want, acquire};
use crate::arguments::ProfileArguments;
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::providers::TokenKind;
use anyhow::Result;
use serde::Serialize;

/// `keyfob token`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  curl -H \"$(keyfob token -p lab --format header)\" https://api.example.com/
  export TOKEN=$(keyfob token -p lab)
  keyfob token -p lab --format json | jq -r .expires_at")]
pub struct Arguments {
    #[command(flatten)]
    profile: ProfileArguments,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
}

/// What is printed; one line in every case.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Format {
    /// The token alone
    Raw,
    /// `Authorization: Bearer TOKEN`
    Header,
    /// Token, kind, expiry, account and profile
    Json,
}

/// Prints a token.
pub fn run(arguments: &Arguments) -> Result<()> {
    let profile = Profile::select(&arguments.profile.0)?;
    let credential = acquire(&Want {
        profile: &profile,
        kind: profile.token_kind.unwrap_or(TokenKind::Access),
        min_life: MIN_LIFE,
        caller: Some("keyfob token"),
        purpose: None,
        effort: Effort::Least,
    })?;
    super::answer(answer(arguments.format, &profile, &credential))
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

fn answer(format: Format, profile: &Profile, credential: &Credential) -> String {
    let token = credential.token.expose();
    match format {
        Format::Raw => format!("{token}\n"),
        Format::Header => format!("Authorization: Bearer {token}\n"),
        Format::Json => {
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
    }
}
