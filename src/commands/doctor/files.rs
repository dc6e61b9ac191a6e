//! What is on this machine: the configuration, the files it names, and the sessions.

use super::Findings;
use crate::cache::Store;
use crate::clock::Timestamp;
use crate::config::{self, File, Profile};
use crate::failure::Failure;
use crate::text::shell_quoted;
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Others may write.
const WRITABLE: u32 = 0o022;
/// Others may do anything.
const OPEN: u32 = 0o077;

/// Looks at `config.toml`; what it says, and its usable profiles, or only the one that is named. Fails if there is none of
/// that name.
pub(super) fn configuration(findings: &mut Findings, only: Option<&str>) -> Result<(File, Vec<Profile>)> {
    const SUBJECT: &str = "configuration";
    let path = config::file_path().context("there is no home directory to find config.toml in")?;
    let place = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            findings.doubt(
                SUBJECT,
                format!("{place} is not there; every caller has to say everything by flags"),
                "keyfob setup --profile NAME --issuer URL --client-id ID",
            );
            String::new()
        }
        Err(e) => {
            findings.bad(SUBJECT, format!("{place}: {e}"), format!("ls -l {}", quoted(&path)));
            String::new()
        }
    };
    let file = match config::read(&path, &text) {
        Ok(file) => file,
        Err(failure) => {
            findings.bad(SUBJECT, failure.message, "correct that line");
            File::default()
        }
    };
    if let Some(name) = only.filter(|name| !file.profiles.contains_key(*name)) {
        let known: Vec<_> = file.profiles.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no profile {name:?}"))
            .hint(format!("the profiles in {place}: {}", known.join(", ")))
            .into());
    }
    if path.exists() {
        let secret = file.profiles.values().any(|settings| settings.has("client-secret"));
        match excess(&path, if secret { OPEN } else { WRITABLE }) {
            Some(mode) => {
                let why = if secret {
                    "holds a client secret, and other users can get at it"
                } else {
                    "is writable by others"
                };
                findings.bad(
                    SUBJECT,
                    format!("{place} {why} (mode {mode:04o})"),
                    format!("chmod go= {}", quoted(&path)),
                );
            }
            None => findings.ok(SUBJECT, format!("{place}: {}", count(file.profiles.len(), "profile"))),
        }
    }
    let mut profiles = Vec::new();
    let named = |name: &String| only.is_none_or(|only| only == name);
    for (name, profile) in Profile::all_of(file.clone()).into_iter().filter(|(name, _)| named(name)) {
        let subject = format!("profile {name}");
        match profile {
            Ok(profile) => {
                secret_file(findings, &subject, &profile);
                profiles.push(profile);
            }
            Err(failure) => findings.failure(&subject, &failure.into()),
        }
    }
    Ok((file, profiles))
}

fn secret_file(findings: &mut Findings, subject: &str, profile: &Profile) {
    if let Err(error) = profile.client_secret() {
        findings.failure(subject, &error);
    } else if let Some((file, mode)) = profile.client_secret_file().and_then(|file| Some((file, excess(file, OPEN)?))) {
        let message = format!("other users can get at the client secret {} (mode {mode:04o})", file.display());
        findings.bad(subject, message, format!("chmod go= {}", quoted(file)));
    }
}

/// Looks at the cache folder and the sessions in it.
pub(super) fn cache(findings: &mut Findings, profiles: &[Profile]) {
    const SUBJECT: &str = "sessions";
    let store = match Store::open() {
        Ok(Some(store)) => store,
        Ok(None) => {
            let place = Store::path().map(|path| path.display().to_string()).unwrap_or_default();
            findings.ok(SUBJECT, format!("{place} is not there yet; the first sign-in makes it"));
            signed_out(findings, profiles);
            return;
        }
        Err(error) => return findings.failure(SUBJECT, &error),
    };
    match store.contents() {
        Err(error) => findings.failure(SUBJECT, &error),
        Ok(contents) => {
            let place = Store::path().map(|path| path.display().to_string()).unwrap_or_default();
            findings.ok(SUBJECT, format!("{place}: {}", count(contents.sessions.len(), "session")));
            for (file, why) in contents.damaged {
                let message = format!("{} is damaged: {why}", file.display());
                findings.doubt(SUBJECT, message, "keyfob login, which sets it aside and begins anew");
            }
        }
    }
    if !store.has_locks() {
        let message = "the file system has no locks; lock files take their place, which is slower when a process dies";
        findings.doubt(SUBJECT, message, "set KEYFOB_CACHE_DIR to a folder on a local disk");
    }
    for profile in profiles {
        let subject = format!("profile {}", profile.title());
        match store.session(&profile.session).session() {
            Err(error) => findings.failure(&subject, &error),
            Ok(session) => match session.filter(|session| session.signed_in(Timestamp::now())) {
                None => signed_out(findings, std::slice::from_ref(profile)),
                Some(session) => {
                    if let Some(trouble) = &session.trouble {
                        let message = format!("the last time the provider was asked: {}", trouble.message);
                        findings.doubt(&subject, message, profile.command("login"));
                    }
                    let who = session.account.map(|account| format!(" as {}", account.name)).unwrap_or_default();
                    findings.ok(subject, format!("signed in{who}"));
                }
            },
        }
    }
}

fn signed_out(findings: &mut Findings, profiles: &[Profile]) {
    for profile in profiles {
        let subject = format!("profile {}", profile.title());
        findings.doubt(&subject, "nobody is signed in", profile.command("login"));
    }
}

/// The permissions of a file, if others have any of `forbidden`.
fn excess(path: &Path, forbidden: u32) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
    (mode & forbidden != 0).then_some(mode)
}

fn quoted(path: &Path) -> String {
    shell_quoted(&path.to_string_lossy())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
