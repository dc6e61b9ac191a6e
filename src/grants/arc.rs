//! Azure Arc: a machine outside of Azure. Its agent writes a key to a file that only root and the agent's group may
//! read, names that file in its answer, and gives a token to a program that sends the key back.
//! <https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication>

use crate::failure::{Exit, Failure};
use crate::oauth::http::Reply;
use crate::secret::Secret;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The agent's program.
const AGENT: &str = "/opt/azcmagent/bin/himds";
/// The only folder that holds the agent's keys.
const FOLDER: &str = "/var/opt/azcmagent/tokens";
/// The user that the agent runs as.
const OWNER: &str = "himds";
/// Largest key, in bytes.
const LARGEST: i64 = 4096;

/// Whether the agent is installed on this machine.
pub(super) fn is_here() -> bool {
    Path::new(AGENT).exists()
}

/// Reads the key file that the agent's refusal names. Only files in the agent's folder are read: another program may
/// answer at that port, and could otherwise have any file sent to it.
pub(super) fn key(reply: &Reply) -> Result<Secret, Failure> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own =
        users.lines().find_map(|line| line.strip_prefix(OWNER)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok());
    let owners: Vec<u32> = std::iter::once(0).chain(own).collect();
    let wrong = |why: String| {
        Failure::new(Exit::Failed, format!("the answer of the Azure Arc agent cannot be used: {why}"))
            .hint(format!("to read the agent's keys, run as root or as a member of the group {OWNER}"))
    };
    let name = file_name(reply.challenge.as_deref().unwrap_or_default(), FOLDER).map_err(|why| wrong(why.into()))?;
    contents(Path::new(FOLDER), name, &owners).map_err(wrong)
}

/// The name of the file in a challenge `Basic realm=FOLDER/NAME.key`.
fn file_name<'c>(challenge: &'c str, folder: &str) -> Result<&'c str, &'static str> {
    let realm = challenge.strip_prefix("Basic realm=").ok_or("it asks for no key file")?;
    let realm = realm.trim().trim_matches('"');
    let name = realm.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let name = name.filter(|name| !name.contains(['/', '\0']) && name.len() > ".key".len() && name.len() < 256);
    name.filter(|name| name.ends_with(".key")).ok_or("it names a file that is not one of the agent's keys")
}

fn contents(folder: &Path, name: &str, owners: &[u32]) -> Result<Secret, String> {
    let failed = |error: rustix::io::Errno| format!("its key {name} could not be read: {error}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(folder, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let file = openat(&folder, name, flags | OFlags::NONBLOCK, Mode::empty()).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("its key is not a file".to_owned());
    }
    if !owners.contains(&stat.st_uid) {
        return Err(format!("its key belongs to another user (uid {})", stat.st_uid));
    }
    if stat.st_size > LARGEST {
        return Err("its key is larger than 4 KiB".to_owned());
    }
    let mut text = String::new();
    let read = File::from(file).take(LARGEST.unsigned_abs()).read_to_string(&mut text);
    let key = Secret::from(text);
    match read {
        // The key is sent in a header, so it must be one printable line.
        Ok(_) if key.expose().trim().bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Secret::from(key.expose().trim().to_owned()))
        }
        Ok(_) => Err("its key is not one line".to_owned()),
        Err(error) => Err(format!("its key could not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_key_in_the_agents_own_folder_is_named() {
        let named = |realm: &str| file_name(&format!("Basic realm={realm}"), "/t").ok().map(str::to_owned);
        assert_eq!(named("/t/a-1.key").as_deref(), Some("a-1.key"));
        assert_eq!(named("\"/t/a.key\"").as_deref(), Some("a.key"));
        for realm in [
            "/t/../etc/shadow",
            "/t/../x.key",
            "/t/sub/x.key",
            "/t//x.key",
            "/tt/x.key",
            "/t/x.key/",
            "/t/x.txt",
            "/t/.key",
            "/etc/x.key",
            "t/x.key",
            "",
        ] {
            assert_eq!(named(realm), None, "{realm}");
        }
        assert!(file_name("Bearer realm=/t/a.key", "/t").is_err() && file_name("", "/t").is_err());
    }

    #[test]
    fn a_key_is_a_small_file_of_the_agents() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let us = rustix::process::geteuid().as_raw();
        let read = |name: &str| contents(folder.path(), name, &[us]).map(|key| key.expose().to_owned());
        std::fs::write(place("a.key"), "s3cret\n").unwrap();
        assert_eq!(read("a.key").unwrap(), "s3cret");
        let others = contents(folder.path(), "a.key", &[us + 1]).unwrap_err();
        assert_eq!(others, format!("its key belongs to another user (uid {us})"));
        std::fs::write(place("large.key"), "x".repeat(4097)).unwrap();
        assert_eq!(read("large.key").unwrap_err(), "its key is larger than 4 KiB");
        std::fs::write(place("lines.key"), "a\nb").unwrap();
        assert_eq!(read("lines.key").unwrap_err(), "its key is not one line");
        symlink("/etc/hostname", place("link.key")).unwrap();
        assert!(read("link.key").unwrap_err().starts_with("its key link.key could not be read: Too many levels"));
        std::fs::create_dir(place("folder.key")).unwrap();
        assert_eq!(read("folder.key").unwrap_err(), "its key is not a file");
        rustix::fs::mknodat(rustix::fs::CWD, place("fifo.key"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read("fifo.key").unwrap_err(), "its key is not a file");
        symlink(folder.path(), folder.path().join("tokens")).unwrap();
        let linked = contents(&folder.path().join("tokens"), "a.key", &[us]).unwrap_err();
        assert!(linked.starts_with("its key a.key could not be read: "), "{linked}");
    }
}
