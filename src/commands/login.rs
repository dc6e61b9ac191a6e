//! `keyfob login`: signs in, or makes the provider confirm the session. Also in steps, for programs that do the waiting
//! themselves.

use crate::acquire::{Acquired, Effort, Requester, Step, TokenWant, Waiting, acquire, foreign_host, start, step};
use crate::arguments::ProfileFlags;
use crate::clock::{Timestamp, roughly};
use crate::config::{Profile, Selection};
use crate::failure::{Exit, Failure, Hint};
use crate::flows::patient;
use crate::prompt::{ONLY_YOURS, foreign_note};
use crate::providers::TokenKind;
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

/// `keyfob login`
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = "\
A session that is still good is only confirmed: the provider is asked for a new token, and you are asked for nothing.

--start prints the address and the code, and returns. --poll asks the provider once whether you have signed in, and exits \
with 0 when you have, with 3 while it waits for you, with 4 when the sign-in was refused or has expired. A --poll before \
the interval has passed sends no request.

Examples:
  keyfob login lab
  keyfob login lab --force                 sign in again, perhaps by another account
  keyfob login work --account bob@contoso.com
                                           one more account, with a session of its own
  keyfob login lab --flow device           by a code, although a browser could be opened
  keyfob login --issuer https://id.example.com --client-id kubernetes
  keyfob login lab --start --json          {\"status\":\"pending\",\"user_code\":…,\"interval\":5,…}
  until keyfob login lab --poll; do sleep 5; done
  keyfob login lab --events                the same objects, one a line, until it is done")]
pub struct Arguments {
    /// Profile to sign in to [default: `KEYFOB_PROFILE`, default-profile, or the only one]
    profile: Option<String>,
    /// The same as PROFILE
    #[arg(long = "profile", short = 'p', value_name = "NAME", conflicts_with = "profile")]
    named: Option<String>,
    /// Sign in even if the session is good
    #[arg(long, short)]
    force: bool,
    /// Start a sign-in, print what to show, and return
    #[arg(long, conflicts_with = "poll")]
    start: bool,
    /// Ask once whether the sign-in is done
    #[arg(long, conflicts_with = "force")]
    poll: bool,
    /// Wait no longer than this; the code stays good
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["start", "poll"])]
    timeout: Option<u64>,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
    /// Sign in, and print every change as a JSON object of its own, one a line, for programs
    #[arg(long, conflicts_with_all = ["start", "poll", "timeout", "json", "qr"])]
    events: bool,
    /// Show the address as a QR code too, if the terminal is large enough
    #[arg(long, conflicts_with_all = ["start", "poll"])]
    qr: bool,
    #[command(flatten)]
    flags: ProfileFlags,
}

/// Signs in, prints the account, and returns the exit code.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let selection =
        Selection { profile: arguments.profile.clone().or(arguments.named.clone()), flags: arguments.flags.0.clone() };
    let profile = Profile::select(&selection)?;
    let want = TokenWant {
        min_life: 0,
        effort: if arguments.force { Effort::SignIn } else { Effort::Confirm },
        qr: arguments.qr,
        timeout: arguments.timeout.map(Duration::from_secs),
        ..TokenWant::of(&profile, profile.token_kind.unwrap_or(TokenKind::Access), Requester::Person)
    };
    if arguments.events {
        return events(&want);
    }
    let step = if arguments.start {
        start(&want)?
    } else if arguments.poll {
        step(&want)?
    } else {
        Step::Done(acquire(&want)?)
    };
    if arguments.json {
        super::print(&(serde_json::to_string(&Json::of(&step, &profile))? + "\n"))?;
    }
    match step {
        Step::Done(credential) => {
            if !arguments.json {
                super::say(&done(&profile, &credential))?;
            }
            Ok(0)
        }
        Step::Waiting(step) => {
            if !arguments.json {
                super::print(&waiting(&profile, &step, arguments.start))?;
            }
            Ok(if arguments.start { 0 } else { Exit::SignInNeeded as u8 })
        }
        Step::Refused(failure) | Step::Expired(failure) if arguments.json => Ok(failure.exit as u8),
        Step::Refused(failure) | Step::Expired(failure) => Err(failure.into()),
    }
}

/// Signs in, and prints every change of the sign-in's state. Returns the exit code.
fn events(want: &TokenWant<'_>) -> Result<u8> {
    let profile = want.profile;
    let print = |json: &Json<'_>| super::print(&(serde_json::to_string(json)? + "\n"));
    let mut next = start(want);
    let mut shown = None;
    // After the start, only confirm, because `SignIn` would want another sign-in when this one is done.
    let later = TokenWant { effort: Effort::Confirm, ..TokenWant::of(profile, want.kind, want.requester) };
    loop {
        let now = match next {
            Ok(now) => now,
            Err(error) => {
                let Failure { message, hint, exit } = Failure::of(&error);
                print(&Json::Failed {
                    profile: profile.title(),
                    error: &message,
                    hint: hint.as_ref().map(Hint::text),
                })?;
                return Ok(exit as u8);
            }
        };
        match &now {
            Step::Waiting(waiting) => {
                let code = Some(waiting.device.user_code.clone());
                if code != shown {
                    print(&Json::of(&now, profile))?;
                    shown = code;
                }
                std::thread::sleep(waiting.wait);
                next = step(&later);
            }
            Step::Done(_) => return print(&Json::of(&now, profile)).map(|()| 0),
            Step::Refused(failure) | Step::Expired(failure) => {
                return print(&Json::of(&now, profile)).map(|()| failure.exit as u8);
            }
        }
    }
}

/// Signs in to a profile as a person, and prints the account.
pub(super) fn sign_in(profile: &Profile) -> Result<()> {
    let kind = profile.token_kind.unwrap_or(TokenKind::Access);
    let want = TokenWant { min_life: 0, effort: Effort::Confirm, ..TokenWant::of(profile, kind, Requester::Person) };
    super::say(&done(profile, &acquire(&want)?))
}

fn done(profile: &Profile, credential: &Acquired) -> String {
    let who = credential.account.as_deref().map(|a| format!(" as {a}")).unwrap_or_default();
    let until = credential.expires_at.and_then(Timestamp::rfc3339);
    let until = until.map(|t| format!("; the token is good until {t}")).unwrap_or_default();
    format!("Signed in to {}{who}{until}.\n", profile.title())
}

fn waiting(profile: &Profile, Waiting { pending, device, wait }: &Waiting, started: bool) -> String {
    let left = roughly(Duration::from_secs(pending.expires_at.since(Timestamp::now())));
    if !started {
        return format!("Not yet; the code ends in {left}. Ask again in {} s.\n", seconds(*wait));
    }
    let complete = device.verification_uri_complete.as_ref();
    let complete = complete.map(|address| format!("Or open     {address}\n")).unwrap_or_default();
    let foreign = foreign_host(profile, pending).map(|host| format!("{}\n", foreign_note(&host))).unwrap_or_default();
    format!(
        "Open        {}\nEnter code  {}\n{complete}{foreign}{ONLY_YOURS}\nThe code ends in {left}; ask with --poll, every {} s.\n",
        device.verification_uri,
        device.user_code,
        seconds(patient(device.interval))
    )
}

/// The wait in whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The state of a sign-in, for programs.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Json<'a> {
    Done {
        profile: &'a str,
        account: Option<&'a str>,
        expires_at: Option<String>,
    },
    Pending {
        profile: &'a str,
        verification_uri: &'a str,
        verification_uri_complete: Option<&'a str>,
        user_code: &'a str,
        message: Option<&'a str>,
        /// The address's host, if it is not the provider's own.
        foreign_host: Option<String>,
        expires_at: Option<String>,
        expires_in: u64,
        interval: u64,
        /// The seconds until the next --poll asks the provider.
        retry_in: u64,
    },
    Refused {
        profile: &'a str,
        error: &'a str,
        hint: Option<&'a str>,
    },
    Expired {
        profile: &'a str,
        error: &'a str,
        hint: Option<&'a str>,
    },
    /// With `--events` only: an error that is not the end of the sign-in.
    Failed {
        profile: &'a str,
        error: &'a str,
        hint: Option<&'a str>,
    },
}

impl<'a> Json<'a> {
    fn of(step: &'a Step, of: &'a Profile) -> Self {
        let profile = of.title();
        match step {
            Step::Done(Acquired { account, expires_at, .. }) => {
                let expires_at = expires_at.and_then(Timestamp::rfc3339);
                Self::Done { profile, account: account.as_deref(), expires_at }
            }
            Step::Waiting(step) => {
                let Waiting { pending, device, wait } = &**step;
                Self::Pending {
                    profile,
                    verification_uri: &device.verification_uri,
                    verification_uri_complete: device.verification_uri_complete.as_deref(),
                    user_code: &device.user_code,
                    message: device.message.as_deref(),
                    foreign_host: foreign_host(of, pending),
                    expires_at: pending.expires_at.rfc3339(),
                    expires_in: pending.expires_at.since(Timestamp::now()),
                    interval: device.interval,
                    retry_in: seconds(*wait),
                }
            }
            Step::Refused(Failure { message, hint, .. }) => {
                Self::Refused { profile, error: message, hint: hint.as_ref().map(Hint::text) }
            }
            Step::Expired(Failure { message, hint, .. }) => {
                Self::Expired { profile, error: message, hint: hint.as_ref().map(Hint::text) }
            }
        }
    }
}
