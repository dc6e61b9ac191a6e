//! Checks this machine: the configuration, the files it names, and the sessions.

use crate::callers::host_callers;
use crate::clock::{Timestamp, roughly};
use crate::config::hosts::check_callers;
use crate::config::{self, File, Installation, Profile, SessionKey, Settings, StoreKind};
use crate::failure::{Failure, Hint};
use crate::session::Session;
use crate::store::{Kept, Store};
use crate::text::shell_quoted;
use crate::tools::findings::Findings;
use anyhow::Result;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// What findings about the configuration files are about.
const CONFIGURATION: &str = "configuration";
/// All permissions of group and others.
const OPEN: u32 = 0o077;

/// Checks `config.toml`. Returns its contents, if it can be read, and its usable profiles, or only the one named
/// `only`. Fails if there is no profile of that name.
pub(super) fn configuration(findings: &mut Findings, only: Option<&str>) -> Result<(Option<File>, Vec<Profile>)> {
    let Some(file) = file(findings)? else { return Ok((None, Vec::new())) };
    if let Some(name) = only {
        file.named(name)?;
    }
    let variable = std::env::var("KEYFOB_PROFILE").ok().filter(|name| !name.is_empty());
    if let Some(name) = variable.filter(|name| !file.profiles.contains_key(name)) {
        let message = format!("it names the profile {name:?}, which does not exist");
        findings.error("KEYFOB_PROFILE", message, Hint::Command("unset KEYFOB_PROFILE".into()));
    }
    let mut profiles = Vec::new();
    for (name, profile) in Profile::all_of(file.clone()) {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let subject = format!("profile {name}");
        match profile {
            Ok(profile) => {
                secret_file(findings, &subject, &profile);
                profiles.push(profile);
            }
            Err(failure) => findings.failure(&subject, &failure.into(), "correct that"),
        }
    }
    Ok((Some(file), profiles))
}

/// The contents of `config.toml`, if it can be read.
fn file(findings: &mut Findings) -> Result<Option<File>> {
    let path = config::file_path().ok_or_else(|| {
        Failure::usage("there is no home directory to find config.toml in").hint("set HOME or KEYFOB_CONFIG")
    })?;
    let place = path.display();
    let system = match config::system::load() {
        Ok(system) => system,
        Err(error) => {
            findings.failure(CONFIGURATION, &error, "correct that");
            return Ok(None);
        }
    };
    if !path.exists() && system.is_none() {
        if std::env::var_os("KEYFOB_CONFIG").is_some() {
            let message = format!("KEYFOB_CONFIG names {place}, which does not exist");
            findings.error(CONFIGURATION, message, Hint::Command("unset KEYFOB_CONFIG".into()));
            return Ok(None);
        }
        let message = format!("{place} does not exist; every caller has to say everything by flags");
        findings.warn(CONFIGURATION, message, "keyfob setup --profile NAME --issuer URL --client-id ID");
        return Ok(Some(File::default()));
    }
    let file = match config::load().and_then(|file| {
        check_callers(&file.hosts, &host_callers())?;
        Ok(file)
    }) {
        Ok(file) => file,
        Err(error) => {
            findings.failure(CONFIGURATION, &error, "correct that");
            return Ok(None);
        }
    };
    profiles_and_hosts(findings, &path, &file);
    Ok(Some(file))
}

/// Reports how many profiles the user's file has, what comes from the system's file, and who can read their secrets.
fn profiles_and_hosts(findings: &mut Findings, path: &Path, file: &File) {
    let (place, share) = (path.display(), file.system.clone().unwrap_or_default());
    let (shared, own): (Vec<_>, Vec<_>) = file.profiles.iter().partition(|(name, _)| share.profiles.contains(name));
    let holds_secret = |said: &[(_, &Result<Settings, _>)]| {
        said.iter().filter_map(|(_, settings)| settings.as_ref().ok()).any(|settings| settings.has("client-secret"))
    };
    if let Some(mode) = excess(path, OPEN).filter(|_| holds_secret(&own)) {
        let message = format!("other users can get at the client secret in {place} (mode {mode:04o})");
        findings.error(CONFIGURATION, message, close(path, "go="));
    } else {
        findings.ok(CONFIGURATION, format!("{} in {place}", count(own.len(), "profile")));
    }
    if holds_secret(&shared) {
        let message = format!("every user can read the client secret in {}", config::system::PATH);
        findings.warn(CONFIGURATION, message, "register a public client, which has none");
    }
    if file.system.is_some() {
        findings.ok(CONFIGURATION, share.described());
    }
    for name in &share.replaced {
        let rules = file.hosts.iter().filter(|rule| rule.system && rule.profile == *name);
        let hosts: Vec<_> = rules.map(|rule| rule.pattern.canonical()).collect();
        if !hosts.is_empty() {
            let message = format!(
                "{} maps {} to its profile {name}, which {place} replaces: its token goes there instead",
                config::system::PATH,
                hosts.join(", ")
            );
            findings.warn(CONFIGURATION, message, "give your profile another name, unless its token is meant for them");
        }
    }
}

fn secret_file(findings: &mut Findings, subject: &str, profile: &Profile) {
    if let Err(error) = profile.client_secret() {
        findings.failure(subject, &error, "write it there, or correct `client-secret-file`");
    } else if let Some((file, mode)) = profile.client_secret_file().and_then(|file| Some((file, excess(file, OPEN)?))) {
        let message = format!("other users can get at the client secret in {} (mode {mode:04o})", file.display());
        findings.error(subject, message, close(file, "go="));
    }
    let key = profile.client_key.as_ref().map(|key| key.file.as_path());
    if let Some((file, mode)) = key.and_then(|file| Some((file, excess(file, OPEN)?))) {
        let message = format!("other users can get at the client key in {} (mode {mode:04o})", file.display());
        findings.error(subject, message, close(file, "go="));
    }
}

/// Checks the cache folder and the sessions in it. `all` says that `profiles` are all profiles.
pub(super) fn cache(findings: &mut Findings, profiles: &[Profile], all: bool) {
    const SUBJECT: &str = "cache";
    let elsewhere = "set KEYFOB_CACHE_DIR to a folder of your own";
    let place = Store::path().map(|path| path.display().to_string()).unwrap_or_default();
    let store = match Store::open() {
        Ok(Some(store)) => store,
        Ok(None) => {
            match Store::check_place() {
                Ok(()) => findings.ok(SUBJECT, format!("{place} is not there yet; the first sign-in makes it")),
                Err(error) => findings.failure(SUBJECT, &error, elsewhere),
            }
            for profile in profiles {
                session(findings, profile, None);
            }
            return;
        }
        Err(error) => return findings.failure(SUBJECT, &error, elsewhere),
    };
    match store.contents() {
        Err(error) => findings.failure(SUBJECT, &error, elsewhere),
        Ok(contents) => {
            findings.ok(SUBJECT, format!("{} in {place}", count(contents.sessions.len(), "session")));
            for (_, failure) in contents.damaged {
                findings.warn(SUBJECT, failure.message, failure.hint.unwrap_or_else(|| elsewhere.into()));
            }
            for (_, failure) in contents.unusable {
                findings.failure(SUBJECT, &failure.into(), elsewhere);
            }
            let strays = contents.sessions.iter().filter(|(file, _)| !profiles.iter().any(|p| p.leads_to(file.key())));
            for (file, session) in strays.filter(|_| all) {
                stray(findings, file.key(), session);
            }
        }
    }
    kept(findings, &store);
    if let Some(place) = store.locks_elsewhere() {
        let message = format!(
            "the file system has no locks; they are kept in {}, which other machines do not see",
            place.display()
        );
        findings.warn(SUBJECT, message, "set KEYFOB_CACHE_DIR to a folder on a local disk");
    }
    for profile in profiles {
        match store.session(&profile.session).session() {
            Err(error) => findings.failure(&subject(profile), &error, elsewhere),
            Ok(found) => session(findings, profile, found),
        }
    }
}

/// Checks that sessions are kept as `config.toml` says, and reports what a restart means for sealed ones.
fn kept(findings: &mut Findings, store: &Store) {
    const SUBJECT: &str = "store";
    let (Ok(kept), Ok(installation)) = (store.kept(), Installation::load()) else { return };
    let wanted = installation.store.unwrap_or(StoreKind::File);
    match (&kept, wanted) {
        (Kept::Clear, StoreKind::File | StoreKind::None) => {}
        (Kept::Clear, StoreKind::Kernel) => {
            let message = "config.toml says `store = \"kernel\"`, and the sessions are not sealed";
            findings.warn(SUBJECT, message, Hint::Command("keyfob store kernel".into()));
        }
        (Kept::Sealing(_), _) => {
            let message = "not every session is sealed";
            findings.warn(SUBJECT, message, Hint::Command("keyfob store kernel".into()));
        }
        (Kept::Sealed(_), StoreKind::File | StoreKind::None) => {
            let message = "the sessions are sealed, and config.toml does not say `store = \"kernel\"`";
            findings.warn(SUBJECT, message, "write it there, or move them back: keyfob store file");
        }
        (Kept::Sealed(_), StoreKind::Kernel) => {
            let back = match installation.key_command.first() {
                Some(program) => format!("`key-command` ({program}) brings the key back"),
                None => "you sign in again, since there is no `key-command`".to_owned(),
            };
            findings.ok(SUBJECT, format!("sealed by a key in the kernel's keyring; after a restart {back}"));
        }
    }
}

/// A session to which no profile leads: `config.toml` has changed since, or a caller describes its profile by flags.
fn stray(findings: &mut Findings, key: &SessionKey, session: &Session) {
    if !session.is_signed_in(Timestamp::now()) {
        return;
    }
    let subject = format!("session {}", key.authority);
    let who = session.account.as_ref().map(|account| format!(" as {}", account.name)).unwrap_or_default();
    let message = format!("signed in{who} with client {}; no profile in config.toml leads to it", key.client_id);
    let logout = Profile::of_session(key).map(|profile| profile.command("logout"));
    match logout {
        Ok(logout) => findings.warn(&subject, message, format!("unless a caller uses it by its own flags: {logout}")),
        Err(_) => findings.warn(&subject, message, "`keyfob logout --all` deletes it, and every other session"),
    }
}

fn subject(profile: &Profile) -> String {
    format!("session {}", profile.title())
}

/// Reports the session of a profile.
fn session(findings: &mut Findings, profile: &Profile, session: Option<Session>) {
    let subject = subject(profile);
    let login = || profile.command("login");
    let now = Timestamp::now();
    if profile.machine.is_some() {
        return machine(findings, &subject, session, login());
    }
    let ended = session.as_ref().and_then(|session| session.ended_because.clone());
    let Some(session) = session.filter(|session| session.is_signed_in(now)) else {
        let message =
            ended.map_or_else(|| "nobody is signed in".to_owned(), |why| format!("nobody is signed in: {why}"));
        return findings.warn(&subject, message, Hint::Command(login()));
    };
    let who = session.account.as_ref().map(|account| format!(" as {}", account.name)).unwrap_or_default();
    let renewed = if session.refresh_token.is_some() { ", and renewed silently" } else { "" };
    let left = session.tokens.iter().filter(|token| token.lives(now, 1)).map(|token| token.expires_at);
    let next = left.max().map(|end| match end {
        Some(end) => format!("; its token is good for {}{renewed}", roughly(Duration::from_secs(end.since(now)))),
        None => "; its token is good until it is revoked".to_owned(),
    });
    let next =
        next.or_else(|| session.refresh_token.as_ref().map(|_| "; the next token is fetched silently".to_owned()));
    findings.ok(&subject, format!("signed in{who}{}", next.unwrap_or_default()));
    if let Some(trouble) = session.last_error {
        let message = format!("there was trouble when the provider was last asked: {}", trouble.message);
        findings.warn(&subject, message, Hint::Command(login()));
    }
    // A token without expiry needs no renewal.
    let ends: Option<Vec<_>> = session.tokens.iter().map(|token| token.expires_at).collect();
    if let Some(end) = ends.into_iter().flatten().max().filter(|_| session.refresh_token.is_none()) {
        let left = roughly(Duration::from_secs(end.since(now)));
        let message = format!("the token ends in {left}, and the provider gave none to renew it with");
        let remedy = format!(
            "have the provider give this client refresh tokens; `offline_access` may have to be among the `scopes`; then {} --force",
            login()
        );
        findings.warn(&subject, message, remedy);
    }
}

/// Reports the session of a machine, which signs itself in.
fn machine(findings: &mut Findings, subject: &str, session: Option<Session>, login: String) {
    match session.and_then(|session| session.last_error) {
        Some(trouble) => {
            let message = format!("there was trouble when a token was last asked for: {}", trouble.message);
            findings.warn(subject, message, Hint::Command(login));
        }
        None => findings.ok(subject, "signs itself in"),
    }
}

/// The permissions of a file, if they include any of `forbidden`.
fn excess(path: &Path, forbidden: u32) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
    (mode & forbidden != 0).then_some(mode)
}

fn close(path: &Path, change: &str) -> Hint {
    Hint::Command(format!("chmod {change} {}", quoted(path)))
}

fn quoted(path: &Path) -> String {
    shell_quoted(&path.to_string_lossy())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
