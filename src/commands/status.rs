//! `keyfob status`: the sessions, their accounts and how long they last; never a secret.

use super::store;
use crate::clock::{Timestamp, roughly};
use crate::config::system::Share;
use crate::config::{self, Profile, SessionKey, StoreKind, file_path};
use crate::failure::Failure;
use crate::flows::expect;
use crate::process;
use crate::prompt::Screen;
use crate::session::{FlowKind, Pending, PendingFlow, Session};
use crate::sorted;
use crate::store::{Kept, Store};
use crate::text::{clean, shell_quoted};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// `keyfob status`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  keyfob status
  keyfob status lab
  keyfob status --json | jq -r '.sessions[].account'")]
pub struct Arguments {
    /// Show this profile alone
    profile: Option<String>,
    /// The same as PROFILE
    #[arg(long = "profile", short = 'p', value_name = "NAME", conflicts_with = "profile")]
    named: Option<String>,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    config: Option<String>,
    /// The path of the system's file, if there is one.
    system_config: Option<&'static str>,
    /// The profiles that come from the system's file.
    system_profiles: Vec<String>,
    /// The system's share in words.
    #[serde(skip)]
    system: Option<String>,
    cache: String,
    /// How sessions are kept: `file`, `kernel` or `none`.
    store: &'static str,
    #[serde(skip)]
    kept: Kept,
    sessions: Vec<Entry>,
    /// Files that should hold a session but do not, or cannot be used.
    damaged: Vec<Damaged>,
    /// Profiles that nobody has signed in to, or that cannot be used.
    other_profiles: Vec<Other>,
}

#[derive(Serialize)]
struct Entry {
    profiles: Vec<String>,
    /// Profiles that lead to this session with `--account` and its label.
    profiles_with_account: Vec<String>,
    /// Environment variables that were used for these profiles.
    environment: Vec<String>,
    account_label: Option<String>,
    authority: String,
    client_id: String,
    account: Option<String>,
    signed_in: bool,
    /// Whether a machine signs itself in, rather than a person.
    machine: bool,
    refreshable: bool,
    /// The flow of the sign-in.
    began: Option<FlowKind>,
    /// How the next sign-in will go, as far as that is known without asking the provider.
    next: Option<String>,
    /// What the provider said when its policy refused the device code flow.
    device_refused: Option<String>,
    /// Why the session can no longer be renewed.
    ended: Option<String>,
    tokens: Vec<TokenEntry>,
    last_fetched: Option<Last>,
    pending: Option<Waiting>,
}

impl Entry {
    /// Sessions of profiles come first, sorted by name.
    fn order(&self) -> (bool, &[String], Option<&str>) {
        (self.profiles.is_empty(), &self.profiles, self.account_label.as_deref())
    }
}

/// When tokens were last fetched, and for whom. Answers from the cache are not recorded.
#[derive(Serialize)]
struct Last {
    by: String,
    at: Option<String>,
    #[serde(skip)]
    ago: u64,
}

/// A pending sign-in.
#[derive(Serialize)]
struct Waiting {
    flow: FlowKind,
    verification_uri: String,
    asked_by: String,
    started_at: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    ago: Option<u64>,
    #[serde(skip)]
    left: u64,
}

#[derive(Serialize)]
struct TokenEntry {
    kind: String,
    scopes: Vec<String>,
    tenant: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    left: Option<u64>,
}

#[derive(Serialize)]
struct Damaged {
    file: String,
    problem: String,
}

#[derive(Serialize)]
struct Other {
    name: String,
    /// Whether a machine signs itself in, rather than a person.
    machine: bool,
    /// How the first sign-in will go.
    next: Option<String>,
    problem: Option<String>,
}

/// Prints the sessions.
pub fn run(arguments: &Arguments) -> Result<()> {
    let status = gather(arguments.profile.as_deref().or(arguments.named.as_deref()))?;
    if arguments.json {
        return super::print(&(serde_json::to_string_pretty(&status)? + "\n"));
    }
    super::say(&text(&status))
}

/// Collects everything, or only what concerns the profile `only`. Fails if there is no profile of that name.
fn gather(only: Option<&str>) -> Result<Status> {
    let now = Timestamp::now();
    let file = config::load()?;
    only.map(|name| file.named(name)).transpose()?;
    let (said, share) = (file.installation.store, file.system.clone());
    let profiles =
        sorted::map(Profile::all_of(file).into_iter().filter(|(name, _)| only.is_none_or(|only| name == only)));
    let mut sessions = Vec::new();
    let mut damaged = Vec::new();
    let mut kept = Kept::Clear;
    if let Some(store) = Store::open()? {
        let contents = store.contents()?;
        kept = store.kept()?;
        for (file, session) in &contents.sessions {
            if let Some(entry) = shown(file.key(), session, &profiles, only, now) {
                let before = |other: &Entry| other.order() <= entry.order();
                sessions.insert(sessions.partition_point(before), entry);
            }
        }
        damaged.extend(
            contents
                .damaged
                .into_iter()
                .chain(contents.unusable)
                .map(|(file, failure)| Damaged { file: file.display().to_string(), problem: clean(&failure.message) }),
        );
    }
    let other_profiles = profiles
        .iter()
        .filter(|(name, _)| !sessions.iter().any(|s: &Entry| s.profiles.contains(name)))
        .map(|(name, p)| Other {
            name: name.clone(),
            machine: p.as_ref().is_ok_and(|p| p.machine.is_some()),
            next: p.as_ref().ok().and_then(|profile| next(profile, &Session::new(&profile.session))),
            problem: p.as_ref().err().map(ToString::to_string),
        })
        .collect();
    Ok(Status {
        config: file_path().map(|p| p.display().to_string()),
        system_config: share.as_ref().map(|_| config::system::PATH),
        system: share.as_ref().map(Share::described),
        system_profiles: share.map(|share| share.profiles).unwrap_or_default(),
        cache: Store::path()?.display().to_string(),
        store: match (&kept, said) {
            (Kept::Sealed(_) | Kept::Sealing(_), _) => StoreKind::Kernel,
            (Kept::Clear, Some(StoreKind::None)) => StoreKind::None,
            (Kept::Clear, _) => StoreKind::File,
        }
        .word(),
        kept,
        sessions,
        damaged,
        other_profiles,
    })
}

/// What is shown of a session; `None` for one that does not concern the profile `only`, or that holds nothing but a failed
/// first attempt.
fn shown(
    key: &SessionKey,
    session: &Session,
    profiles: &BTreeMap<String, Result<Profile, Failure>>,
    only: Option<&str>,
    now: Timestamp,
) -> Option<Entry> {
    let usable = profiles.iter().filter_map(|(name, p)| Some((name, p.as_ref().ok()?)));
    let own = usable.clone().filter(|(_, p)| p.session == *key);
    // With `--account` a profile has other sessions besides its own.
    let with_account = |p: &Profile| p.with_account(&session.label) == *key && p.session != *key;
    let others = usable.filter(|(_, p)| with_account(p)).map(|(name, _)| name.clone()).collect();
    let mut entry = entry(session, own.clone().map(|(name, _)| name.clone()).collect(), others, now);
    if entry.pending.is_none() {
        entry.next = own.clone().find_map(|(_, profile)| next(profile, session));
    }
    entry.environment = own.flat_map(|(_, p)| &p.variables).map(|name| (*name).to_owned()).collect();
    let is_a_profiles = !entry.profiles.is_empty();
    let is_shown = entry.signed_in || entry.pending.is_some() || is_a_profiles;
    let concerns = only.is_none() || is_a_profiles || !entry.profiles_with_account.is_empty();
    (is_shown && concerns).then_some(entry)
}

/// How the next sign-in will go and where it will appear; `None` if no person signs in.
fn next(profile: &Profile, session: &Session) -> Option<String> {
    let choice = expect(profile, session).ok().filter(|_| profile.machine.is_none())?;
    Some(format!("{}, since {}; it appears {}", choice.flow, choice.because, Screen::place(profile.prompt)))
}

/// What is shown of a session; never a secret.
fn entry(session: &Session, profiles: Vec<String>, profiles_with_account: Vec<String>, now: Timestamp) -> Entry {
    let tokens = session.tokens.iter().filter(|t| t.lives(now, 1)).map(|t| TokenEntry {
        kind: t.key.kind.to_string(),
        scopes: t.key.scopes.clone(),
        tenant: t.tenant.clone(),
        expires_at: t.expires_at.and_then(Timestamp::rfc3339),
        left: t.expires_at.map(|end| end.since(now)),
    });
    Entry {
        profiles,
        profiles_with_account,
        environment: Vec::new(),
        account_label: Some(session.label.clone()).filter(|label| !label.is_empty()),
        authority: session.authority.clone(),
        client_id: session.client_id.clone(),
        account: session.account.as_ref().map(|a| a.name.clone()),
        signed_in: session.is_signed_in(now),
        machine: session.proof.is_some(),
        refreshable: session.refresh_token.is_some() || session.proof.is_some(),
        next: None,
        began: session.begun.as_ref().filter(|_| session.is_signed_in(now)).map(|begun| begun.flow),
        device_refused: session.device_refused(now).map(|refused| clean(&refused.because)),
        ended: session.ended_because.as_deref().map(clean),
        tokens: tokens.collect(),
        last_fetched: session.fetched.as_ref().map(|last| Last {
            by: clean(&last.by),
            at: last.at.rfc3339(),
            ago: now.since(last.at),
        }),
        pending: session.pending.as_ref().filter(|p| p.expires_at > now && goes_on(p)).map(|pending| Waiting {
            flow: pending.kind(),
            verification_uri: clean(address(pending)),
            asked_by: clean(&pending.asked_by),
            started_at: pending.started_at.rfc3339(),
            expires_at: pending.expires_at.rfc3339(),
            ago: Some(now.since(pending.started_at)),
            left: pending.expires_at.since(now),
        }),
    }
}

/// Whether a sign-in can still succeed; a browser sign-in ends with its process.
fn goes_on(pending: &Pending) -> bool {
    pending.kind() == FlowKind::Device || pending.driver.is_none_or(process::is_running)
}

/// The address where a person continues a sign-in.
fn address(pending: &Pending) -> &str {
    match &pending.flow {
        PendingFlow::Device(device) => &device.verification_uri,
        PendingFlow::Browser(browser) => &browser.address,
    }
}

/// The lines about a session.
fn describe(session: &Entry, lines: &mut Vec<String>) {
    let label = session.account_label.as_deref().unwrap_or_default();
    let others = session.profiles_with_account.iter().map(|p| format!("{p} --account {}", shell_quoted(label)));
    let names: Vec<String> = session.profiles.iter().cloned().chain(others).collect();
    let names = if names.is_empty() { "(no profile)".to_owned() } else { names.join(", ") };
    let who = match &session.account {
        _ if session.machine => "signs itself in".to_owned(),
        Some(account) if session.signed_in => format!("signed in as {account}"),
        _ if session.signed_in => "signed in".to_owned(),
        _ => "not signed in".to_owned(),
    };
    lines.push(format!("{names}: {who}"));
    lines.push(format!("  provider  {}", session.authority));
    if !session.client_id.is_empty() {
        lines.push(format!("  client    {}", session.client_id));
    }
    if !session.environment.is_empty() {
        lines.push(format!("  by        {} of the environment", session.environment.join(", ")));
    }
    for token in &session.tokens {
        let left =
            token.left.map_or("until it is revoked".into(), |s| format!("for {}", roughly(Duration::from_secs(s))));
        let scopes = Some(token.scopes.join(" ")).filter(|scopes| !scopes.is_empty());
        let tenant = token.tenant.as_ref().map(|tenant| format!("tenant {tenant}"));
        let of: Vec<String> = scopes.into_iter().chain(tenant).collect();
        let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join("; ")) };
        lines.push(format!("  cached    {} token, good {left}{of}", token.kind));
    }
    if session.signed_in {
        let renewal = if session.refreshable { "silent" } else { "not renewable; a sign-in when the token ends" };
        lines.push(format!("  renewal   {renewal}"));
    }
    if let Some(flow) = session.began {
        lines.push(format!("  began     {flow}"));
    }
    if let Some(next) = &session.next {
        lines.push(format!("  next      a sign-in {next}"));
    }
    if let Some(refused) = &session.device_refused {
        lines.push(format!("  policy    refuses sign-ins by device code, so they go by browser ({refused})"));
    }
    if let Some(why) = &session.ended {
        lines.push(format!("  ended     {why}"));
    }
    if let Some(last) = &session.last_fetched {
        lines.push(format!("  fetched   for {}, {} ago", last.by, roughly(Duration::from_secs(last.ago))));
    }
    if let Some(pending) = &session.pending {
        let since = pending.ago.map(|s| format!(", {} ago", roughly(Duration::from_secs(s)))).unwrap_or_default();
        let left = roughly(Duration::from_secs(pending.left));
        let what = if pending.flow == FlowKind::Device { "its code is good" } else { "it waits for the browser" };
        lines.push(format!("  sign-in   started for {}{since}; {what} for {left} more", pending.asked_by));
        lines.push(format!("            at {}", pending.verification_uri));
    }
}

/// The output for people.
fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    for session in &status.sessions {
        describe(session, &mut lines);
    }
    lines.extend(status.damaged.iter().map(|damaged| damaged.problem.clone()));
    for other in &status.other_profiles {
        lines.push(match &other.problem {
            Some(problem) => format!("{}: cannot be used: {problem}", other.name),
            None if other.machine => format!("{}: signs itself in; no token was asked for yet", other.name),
            None => format!("{}: not signed in", other.name),
        });
        lines.extend(other.next.iter().map(|next| format!("  next      a sign-in {next}")));
    }
    if lines.is_empty() {
        lines.push("No sessions and no profiles.".into());
    }
    lines.push(String::new());
    lines.push(format!("Configuration: {}", status.config.as_deref().unwrap_or("none: there is no home directory")));
    lines.extend(status.system.iter().map(|system| format!("               {system}")));
    lines.push(format!("Sessions:      {}", status.cache));
    if status.kept != Kept::Clear {
        lines.push(format!("               {}", store::described(&status.kept)));
    }
    lines.join("\n") + "\n"
}
