//! Whether the sessions in a folder are sealed, and with which key.
//!
//! A file in the folder says so, not the configuration. So a caller that needs no `config.toml` finds it, and no
//! variable that names another `config.toml` can have a session written in clear. While the sessions are being sealed,
//! those in clear are still read, and every write seals. A sealed session is always read, as long as its key exists.

use super::seal::Key;
use super::{Store, folder, keyring};
use crate::config::{Installation, StoreKind};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::process;
use crate::program;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use zeroize::Zeroizing;

/// The file that says that the folder's sessions are sealed.
const MARK: &str = "sealed";
/// Time limit of `key-command` when a caller needs the key: nobody would see the command prompt.
const KEY_LIMIT: Duration = Duration::from_secs(5);

/// How the sessions of a folder are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In clear, readable for this user alone.
    Clear,
    /// Sealed with the key of this name.
    Sealed(String),
    /// Sealed with the key of this name, but some sessions may still be in clear, because sealing was interrupted.
    Sealing(String),
}

impl Store {
    /// Reads how the sessions are kept.
    pub fn kept(&self) -> Result<Kept> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut text = String::new();
        match openat(&self.folder, MARK, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Kept::Clear),
            opened => opened.map(|file| File::from(file).take(64).read_to_string(&mut text)),
        }
        .map_err(anyhow::Error::from)
        .and_then(|read| Ok(read?))
        .with_context(|| format!("could not read {}", self.path.join(MARK).display()))?;
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        Ok(match (words.next(), words.next()) {
            (Some(key), None) => Kept::Sealed(key),
            // An empty file also means sealed: nothing is written in clear because a word is missing.
            (key, _) => Kept::Sealing(key.unwrap_or_default()),
        })
    }

    /// Records how the sessions are kept.
    fn keep(&self, kept: &Kept) -> Result<()> {
        let text = match kept {
            Kept::Clear => None,
            Kept::Sealed(key) => Some(format!("{key}\n")),
            Kept::Sealing(key) => Some(format!("{key} sealing\n")),
        };
        let written = match text {
            Some(text) => self.write_mark(&text),
            None => match unlinkat(&self.folder, MARK, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(e.into()),
            },
        };
        written
            .and_then(|()| folder::flush(&self.folder))
            .with_context(|| format!("could not write {}", self.path.join(MARK).display()))
    }

    fn write_mark(&self, text: &str) -> Result<()> {
        let new = format!("{MARK}.new-{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = folder::open_file(&self.folder, &new, flags)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(renameat(&self.folder, &*new, &self.folder, MARK)?)
    }

    /// Makes every write seal from now on. Sessions in clear can still be read.
    pub fn begin_to_seal(&self) -> Result<()> {
        let key = match self.kept()? {
            Kept::Sealed(_) => return Ok(()),
            Kept::Sealing(id) => key_here(&id)?,
            Kept::Clear => None,
        };
        let key = key.map_or_else(new_key, Ok)?;
        self.keep(&Kept::Sealing(key.id().to_owned()))
    }

    /// Records that every session is sealed: from now on no session in clear is read.
    pub fn is_all_sealed(&self) -> Result<()> {
        match self.kept()? {
            Kept::Sealing(key) => self.keep(&Kept::Sealed(key)),
            Kept::Sealed(_) | Kept::Clear => Ok(()),
        }
    }

    /// Stops sealing.
    pub fn begin_to_unseal(&self) -> Result<()> {
        self.keep(&Kept::Clear)
    }

    /// The key to seal with; `None` if sessions are kept in clear.
    pub(super) fn sealing_key(&self) -> Result<Option<Key>> {
        let (id, kept): (_, fn(String) -> Kept) = match self.kept()? {
            Kept::Clear => return Ok(None),
            Kept::Sealed(id) => (id, Kept::Sealed),
            Kept::Sealing(id) => (id, Kept::Sealing),
        };
        match key_here(&id)? {
            Some(key) => Ok(Some(key)),
            // The key is lost, and no `key-command` can bring it back, so make a new one.
            None if Installation::load()?.key_command.is_empty() => {
                let key = new_key()?;
                self.keep(&kept(key.id().to_owned()))?;
                Ok(Some(key))
            }
            None => Err(locked(&self.path).into()),
        }
    }

    /// Before a session is made, checks that sessions are kept as `config.toml` says; an empty folder is made so.
    pub(super) fn check_kind(&self, kind: Option<StoreKind>) -> Result<()> {
        if kind != Some(StoreKind::Kernel) || self.kept()? != Kept::Clear {
            return Ok(());
        }
        if self.stems()?.is_empty() {
            self.begin_to_seal()?;
            return self.is_all_sealed();
        }
        let why = "config.toml says `store = \"kernel\"`, and the sessions there are have not been sealed";
        Err(Failure::usage(why).run("keyfob store kernel").into())
    }
}

/// The key of this name, from the kernel's keyring or from `key-command`; `None` if neither has it.
pub(super) fn key_here(id: &str) -> Result<Option<Key>> {
    let kept = keyring::find(id)?.filter(Key::is_itself);
    kept.map_or_else(|| by_command(id), |key| Ok(Some(key)))
}

/// Like [`key_here`], but does not check that the keyring's bytes match the name, because opening a file proves that.
pub(super) fn key_to_open(id: &str) -> Result<Option<Key>> {
    keyring::find(id)?.map_or_else(|| by_command(id), |key| Ok(Some(key)))
}

/// The key of this name from `key-command`; `None` if the command does not have it.
fn by_command(id: &str) -> Result<Option<Key>> {
    let command = Installation::load()?.key_command;
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    debug(|| format!("the key {id} is not in the kernel's keyring; asking {program}"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = program::by_name(program)
        .and_then(|program| program::run_within(KEY_LIMIT, &program, &arguments, &[], "", Some(Path::new("/"))));
    match ran {
        Ok(ran) if ran.ok => taken(&Zeroizing::new(ran.stdout)).map(|key| (key.id() == id).then_some(key)),
        Ok(_) => Ok(None),
        Err(error) => {
            debug(|| format!("{error:#}"));
            Ok(None)
        }
    }
}

/// Puts a key back that has been lost from the kernel's keyring since it was read.
pub(super) fn keep_here(key: &Key) -> Result<()> {
    if keyring::find(key.id())?.is_none_or(|there| !there.is_itself()) {
        keyring::put(key)?;
    }
    Ok(())
}

/// Gets the key back with `key-command`, which may prompt on the terminal. Returns the key's name.
pub fn unlock() -> Result<String> {
    let command = Installation::load()?.key_command;
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("config.toml has no `key-command`")
            .hint("it is the program that prints the key, as docs/store.md shows; without one, run `keyfob login`")
            .into());
    };
    process::hear_of_children();
    let ran = Command::new(program::by_name(program)?).args(arguments).stderr(Stdio::inherit()).output();
    let ran = ran.with_context(|| format!("could not run {program}"))?;
    if !ran.status.success() {
        return Err(Failure::new(Exit::Failed, format!("{program} failed ({})", ran.status)).into());
    }
    let text = Zeroizing::new(ran.stdout);
    taken(&String::from_utf8_lossy(&text)).map(|key| key.id().to_owned())
}

/// The key as text, to be kept elsewhere; `None` if the keyring does not hold it.
pub fn exported(id: &str) -> Result<Option<Zeroizing<String>>> {
    Ok(keyring::find(id)?.filter(Key::is_itself).map(|key| key.text()))
}

/// Puts the key that `key-command` printed into the kernel's keyring.
fn taken(text: &str) -> Result<Key> {
    let Some(key) = Key::parse(text) else {
        let why = "what `key-command` printed is no key: 32 bytes in base64 or hexadecimal";
        return Err(Failure::usage(why).into());
    };
    keyring::put(&key)?;
    Ok(key)
}

fn new_key() -> Result<Key> {
    let key = Key::draw()?;
    keyring::put(&key)?;
    Ok(key)
}

/// The failure of a sealed session whose key is not available.
pub(super) fn locked(path: &Path) -> Failure {
    let why = format!("{} is locked: its key is not in the kernel's keyring, as after a restart", path.display());
    let failure = Failure::new(Exit::SignInNeeded, why);
    match Installation::load() {
        Ok(installation) if installation.key_command.is_empty() => failure.run("keyfob login"),
        _ => failure.run("keyfob unlock"),
    }
}
