//! `keyfob login`: sign in, or have the provider confirm the session that is there.

use crate::acquire::{Asker, Effort, Want, acquire};
use crate::arguments::ProfileFlags;
use crate::clock::Timestamp;
use crate::config::{Profile, Selection};
use crate::providers::TokenKind;
use anyhow::Result;

/// `keyfob login`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A session that is still good is only confirmed: the provider is asked for a new token, nobody for a code.

Examples:
  keyfob login lab
  keyfob login lab --force                 sign in again, as somebody else perhaps
  keyfob login --issuer https://id.example.com --client-id kubernetes")]
pub struct Arguments {
    /// Profile to sign in to [default: `KEYFOB_PROFILE`, default-profile, or the only one]
    profile: Option<String>,
    /// Sign in even if the session is good
    #[arg(long, short)]
    force: bool,
    /// Show the address as a QR code too, if the terminal is large enough
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    flags: ProfileFlags,
}

/// Signs in, and names the account.
pub fn run(arguments: &Arguments) -> Result<()> {
    let selection = Selection { profile: arguments.profile.clone(), flags: arguments.flags.0.clone() };
    let profile = Profile::select(&selection)?;
    let credential = acquire(&Want {
        profile: &profile,
        kind: profile.token_kind.unwrap_or(TokenKind::Access),
        min_life: 0,
        asker: Asker::Person,
        purpose: None,
        effort: if arguments.force { Effort::SignIn } else { Effort::Confirm },
        no_prompt: None,
        qr: arguments.qr,
        refused: None,
    })?;
    let who = credential.account.as_deref().map(|a| format!(" as {a}")).unwrap_or_default();
    let until = credential.expires_at.and_then(Timestamp::rfc3339);
    let until = until.map(|t| format!("; the token is good until {t}")).unwrap_or_default();
    super::print(&format!("Signed in to {}{who}{until}.\n", profile.title()))
}
