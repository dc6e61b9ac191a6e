//! `keyfob logout`: revokes at the provider, then deletes here, even if the provider could not be asked.

use super::warn;
use crate::acquire::{HOLD, LOCK_LIMIT};
use crate::address::Address;
use crate::arguments::ProfileFlags;
use crate::clock::{Timestamp, boottime};
use crate::config::{Machine, Profile, Selection};
use crate::failure::{Exit, Failure};
use crate::oauth::{Client, http};
use crate::prompt::{Screen, while_waiting};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::Session;
use crate::store::{Contents, SessionFile, Store};
use anyhow::Result;

/// `keyfob logout`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The session is deleted here in any case. What the provider did not revoke is named on stderr.

Examples:
  keyfob logout lab
  keyfob logout --all")]
pub struct Arguments {
    /// Profile to sign out of [default: `KEYFOB_PROFILE`, default-profile, or the only one]
    #[arg(conflicts_with = "all")]
    profile: Option<String>,
    /// The same as PROFILE
    #[arg(long = "profile", short = 'p', value_name = "NAME", conflicts_with_all = ["profile", "all"])]
    named: Option<String>,
    /// Sign out of every session there is
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    flags: ProfileFlags,
}

/// Signs out.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.all {
        let selection = Selection {
            profile: arguments.profile.clone().or(arguments.named.clone()),
            flags: arguments.flags.0.clone(),
        };
        let profile = Profile::select(&selection).or_else(|error| Err(with_a_stray(error)?))?;
        return sign_out_of(&profile);
    }
    let Some(store) = Store::open()?.map(|store| store.replacing_locked(true)) else {
        return super::print("There are no sessions.\n");
    };
    let Contents { sessions, damaged, unusable } = store.contents()?;
    if sessions.is_empty() && damaged.is_empty() && unusable.is_empty() {
        return super::print("There are no sessions.\n");
    }
    let profiles: Vec<Profile> = Profile::all()?.into_values().filter_map(Result::ok).collect();
    // A session that cannot be signed out of does not keep the others from it.
    let mut left = unusable.len();
    for (file, _) in sessions {
        let signed_out = if let Some(profile) = profiles.iter().find(|profile| profile.leads_to(file.key())) {
            sign_out(&file, Ok(profile), profile.title())
        } else {
            let by_its_file = Profile::of_session(file.key());
            sign_out(&file, by_its_file.as_ref().map_err(|why| why.message.as_str()), &file.key().authority)
        };
        if let Err(error) = signed_out {
            warn(&format!("{error:#}"));
            left += 1;
        }
    }
    for (file, failure) in damaged {
        store.remove_damaged(&file)?;
        warn(&format!("{}; it is deleted, but could not be revoked at the provider", failure.message));
    }
    for (_, failure) in unusable {
        warn(&failure.message);
    }
    store.remove_damaged_copies(None)?;
    none_is_left(left)
}

/// Fails if `left`, the number of sessions that could not be signed out of, is not 0.
fn none_is_left(left: usize) -> Result<()> {
    if left == 0 {
        return Ok(());
    }
    let what = format!("{left} of the sessions could not be signed out of");
    Err(Failure::new(Exit::Failed, what).hint("see the warnings above").into())
}

/// The failure that there is no such profile, with a hint to sign out of a session to which no profile leads.
fn with_a_stray(error: anyhow::Error) -> Result<anyhow::Error> {
    let failure = Failure::of(&error);
    let Some(store) = Store::open()?.filter(|_| failure.exit == Exit::Usage) else { return Ok(error) };
    let profiles: Vec<Profile> = Profile::all()?.into_values().filter_map(Result::ok).collect();
    let now = Timestamp::now();
    let is_stray = |file: &SessionFile<'_>| !profiles.iter().any(|profile| profile.leads_to(file.key()));
    let strays = store.contents()?.sessions;
    let mut strays = strays.iter().filter(|(file, session)| session.is_signed_in(now) && is_stray(file));
    Ok(match strays.next() {
        None => error,
        Some((file, _)) => {
            let command = Profile::of_session(file.key()).map(|profile| profile.command("logout"));
            let command = command.unwrap_or_else(|_| "keyfob logout --all".to_owned());
            failure.hint(format!("for the session that no profile leads to: {command}")).into()
        }
    })
}

/// Signs out of a profile, and of every session that was made from its token.
pub(super) fn sign_out_of(profile: &Profile) -> Result<()> {
    let Some(store) = Store::open()?.map(|store| store.replacing_locked(true)) else {
        return super::print(&format!("Not signed in to {}.\n", profile.title()));
    };
    sign_out(&store.session(&profile.session), Ok(profile), profile.title())?;
    let mut left = 0;
    // If config.toml cannot be read, the derived sessions stay; without this session their tokens are not handed out
    // either.
    for derived in Profile::all().unwrap_or_default().into_values().filter_map(Result::ok) {
        let parent = derived.machine.as_ref().and_then(Machine::parent);
        if parent.is_none() || parent != profile.name.as_deref() {
            continue;
        }
        let session = store.session(&derived.session).session();
        if let Err(error) = session.and_then(|session| session.map_or(Ok(()), |_| sign_out_of(&derived))) {
            warn(&format!("{error:#}"));
            left += 1;
        }
    }
    none_is_left(left)
}

/// Revokes and deletes one session. `profile` is one that leads to it, or the reason why there is none.
fn sign_out(file: &SessionFile<'_>, profile: Result<&Profile, &str>, title: &str) -> Result<()> {
    // Wait for a refresh that is under way, because its new token would otherwise outlive the sign-out.
    let waiting = "waiting for another process to renew the token";
    let screen = || profile.ok().and_then(|profile| Screen::find(profile.prompt));
    let mut locked = while_waiting(waiting, screen, || file.lock(LOCK_LIMIT))?;
    let (session, notice) = locked.load()?;
    if notice.is_some() {
        warn(&format!(
            "the session file of {title} was damaged; it is deleted, but could not be revoked at the provider"
        ));
    }
    let now = Timestamp::now();
    let signed_in = session.is_signed_in(now) || session.unconfirmed.is_some();
    let under_way = session.pending.as_ref().is_some_and(|pending| pending.lives(now));
    let problem = if signed_in { revoke(&session, profile).err() } else { None };
    let account = session.account.as_ref().map(|a| format!(" ({})", a.name)).unwrap_or_default();
    if !locked.delete()? {
        // Another process has renewed the session meanwhile.
        return sign_out(file, profile, title);
    }
    if let Some(why) = problem {
        warn(&format!("the session of {title} is deleted here, but could not be revoked at the provider: {why}"));
    }
    super::print(&if signed_in {
        format!("Signed out of {title}{account}.\n")
    } else if under_way {
        format!("Not signed in to {title}; the sign-in that was under way is ended.\n")
    } else {
        format!("Not signed in to {title}.\n")
    })
}

/// Revokes the refresh token (RFC 7009) first, because that ends the grant; then the access tokens, which some servers
/// keep valid.
fn revoke(session: &Session, profile: Result<&Profile, &str>) -> Result<(), String> {
    let profile = profile.map_err(|why| format!("no profile in config.toml leads to it, and {why}"))?;
    let host = Address::parse(&profile.session.authority).map(|address| address.host()).unwrap_or_default();
    while_waiting(
        &format!("waiting for {host} to revoke the session"),
        || Screen::find(profile.prompt),
        || revoke_at(profile, session),
    )
}

/// Revokes the session's refresh tokens, then the access tokens that are still valid (RFC 7009). The error is the first
/// problem.
fn revoke_at(profile: &Profile, session: &Session) -> Result<(), String> {
    let until = boottime() + HOLD;
    if profile.machine.as_ref().is_some_and(|machine| !machine.grant.asks_a_server()) {
        // These tokens cannot be revoked; they expire.
        return Ok(());
    }
    let made = Client::new(profile, session.server.as_ref(), http::LIMIT);
    let (mut client, _) = made.map_err(|e| format!("{e:#}"))?;
    // The session's lock is held during the requests.
    client.until(until);
    let now = Timestamp::now();
    // Include the tokens of a sign-in whose account could not be checked yet.
    let unconfirmed = session.unconfirmed.as_ref().map(|unconfirmed| &unconfirmed.grant);
    let refresh = session.refresh_token.iter().chain(unconfirmed.and_then(|grant| grant.refresh_token.as_ref()));
    let access = session
        .tokens
        .iter()
        .chain(unconfirmed.iter().flat_map(|grant| &grant.tokens))
        .filter(|t| t.key.kind == TokenKind::Access && t.lives(now, 0))
        .map(|t| (&t.token, "access_token"));
    let tokens: Vec<(&Secret, &str)> = refresh.map(|t| (t, "refresh_token")).chain(access).collect();
    // Report the first problem, which is about the refresh token, if there is one; later ones repeat it.
    let (began, mut problem) = (boottime(), None);
    for (token, hint) in tokens {
        // Limit the total time if the provider does not answer.
        if boottime().saturating_sub(began) >= http::LIMIT {
            problem.get_or_insert_with(|| "it answers too slowly".to_owned());
            break;
        }
        if let Err(why) = client.revoke(token, hint) {
            problem.get_or_insert(why);
        }
    }
    problem.map_or(Ok(()), Err)
}
