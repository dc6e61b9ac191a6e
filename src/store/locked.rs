//! A session whose lock is held, and how it is saved.

use super::lock::Lock;
use super::room::{Room, again};
use super::seal::{Key, OVERHEAD};
use super::{Found, LARGEST, SessionFile, folder};
use crate::clock::Timestamp;
use crate::log::debug;
use crate::secret::{Buffer, Secret};
use crate::session::Session;
use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::fs::File;
use std::time::Duration;

/// The most bytes that a provider's answer adds to a session: an answer has at most 1 MiB, and lists of short words
/// grow when they are stored.
const ANSWER: usize = 2 << 20;
/// How long to wait for a lock that was lost. Longer than any process holds it, because an answer would be lost with it.
pub const LOST_LIMIT: Duration = Duration::from_secs(100);

/// Whether a grant was saved.
#[derive(Debug)]
#[must_use]
pub enum Saved {
    /// The grant is on disk.
    Saved,
    /// Not saved: another process has saved a newer grant since this process read the session.
    Superseded(Box<Session>),
    /// Not saved: the session was deleted after this process had read it.
    SignedOut,
}

/// A session whose lock is held, so that it may be written.
#[derive(Debug)]
pub struct Locked<'f> {
    file: &'f SessionFile<'f>,
    lock: Lock<'f>,
    known: Known,
    /// The key that seals what is written. Fetched at the start, so that saving an answer cannot fail for lack of it.
    key: Option<Key>,
}

/// What the file held when this process last read or wrote it.
#[derive(Debug, Default)]
struct Known {
    session: bool,
    refresh_token: Option<Secret>,
}

impl Known {
    fn of(session: &Session) -> Self {
        Self { session: true, refresh_token: session.refresh_token.clone() }
    }
}

impl<'f> Locked<'f> {
    pub(super) fn new(file: &'f SessionFile<'f>, lock: Lock<'f>) -> Result<Self> {
        let key = again(|| file.store.sealing_key())?;
        Ok(Self { file, lock, known: Known::default(), key })
    }

    /// The lock's file, for a process that is to share the lock.
    pub fn pass_on(&self) -> Result<File> {
        self.lock.pass_on().context("could not pass the lock on")
    }

    /// Reads the session, or returns a new one. A damaged file is kept under another name; the second value then says
    /// so.
    pub fn load(&mut self) -> Result<(Session, Option<String>)> {
        again(|| self.finish()).with_context(|| self.could_not("write"))?;
        let found = again(|| self.file.read())?;
        self.known = if let Found::Session(session) = &found { Known::of(session) } else { Known::default() };
        match found {
            Found::Session(session) => Ok((*session, None)),
            Found::Nothing => Ok((Session::new(&self.file.key), None)),
            Found::Damaged(why) => Ok((Session::new(&self.file.key), Some(self.set_aside(&why)?))),
        }
    }

    /// Renames a damaged file to keep it. Returns a message that says so.
    fn set_aside(&self, why: &str) -> Result<String> {
        let folder = &self.file.store.folder;
        let mut aside = format!("{}.damaged-{}", self.file.stem, Timestamp::now().0);
        while statat(folder, &*aside, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            aside.push('x');
        }
        renameat(folder, &*self.file.name(), folder, &*aside)
            .with_context(|| format!("could not set the damaged {} aside", self.file.path().display()))?;
        let kept = self.file.store.path.join(aside);
        Ok(format!("the session file was damaged ({why}) and is kept as {}", kept.display()))
    }

    /// Makes sure that an answer can be saved before the provider is asked: that the lock is held, and that there is
    /// disk space for the answer besides `session`. `None` if another process may have taken the lock; then begin
    /// again.
    pub fn reserve(&self, session: &Session) -> Result<Option<Room<'f>>> {
        self.file.reserve(&self.lock, session)
    }

    /// Saves a session that holds no new grant. If another process has replaced the session, it is left as it is,
    /// because the change was about the old one.
    pub fn save(&mut self, session: &Session) -> Result<()> {
        self.write(session, None).map(drop)
    }

    /// Saves a new grant. When this returns [`Saved::Saved`], the grant survives whatever happens next. If the file is
    /// written but cannot be renamed now, [`Locked::load`] renames it later.
    pub fn save_in(&mut self, mut room: Option<Room<'f>>, session: &Session) -> Result<Saved> {
        room.iter_mut().for_each(Room::release);
        self.write(session, room)
    }

    fn write(&mut self, session: &Session, room: Option<Room<'f>>) -> Result<Saved> {
        self.replace(session, room).with_context(|| self.could_not("write"))
    }

    fn replace(&mut self, session: &Session, room: Option<Room<'f>>) -> Result<Saved> {
        if let Some(news) = self.news()? {
            return Ok(news);
        }
        let bytes = bytes(session)?;
        let bytes = match &self.key {
            Some(key) => key.seal(&self.file.stem, bytes)?,
            None => bytes,
        };
        let name = self.file.temporary_name();
        let room = room.and_then(|mut room| room.rename(name.clone()).then_some(room));
        let mut room = room.map_or_else(|| Room::new(self.file.store, name), Ok)?;
        room.write(&bytes)?;
        self.rename()?;
        self.known = Known::of(session);
        Ok(Saved::Saved)
    }

    /// What another process has done to the session since this one read it; `None` if nothing. Nothing can have
    /// happened while the lock was held.
    fn news(&mut self) -> Result<Option<Saved>> {
        let ours = self.lock.is_ours();
        if ours && !self.lock.is_local() {
            return Ok(None);
        }
        if !ours {
            debug(|| "the lock was lost; taking it again".to_owned());
            self.lock = self.file.lock_again(LOST_LIMIT)?;
            again(|| self.finish())?;
        }
        Ok(match again(|| self.file.read())? {
            Found::Session(session)
                if session.refresh_token.is_some() && session.refresh_token != self.known.refresh_token =>
            {
                self.known = Known::of(&session);
                Some(Saved::Superseded(session))
            }
            Found::Nothing if self.known.session => Some(Saved::SignedOut),
            _ => None,
        })
    }

    /// Finishes the save of a process that died or failed after it had written the whole temporary file: renames that
    /// file to the session's name. An error here stops the caller, because the next write would destroy that file.
    fn finish(&self) -> Result<()> {
        let (SessionFile { store, key, .. }, name) = (self.file, self.file.temporary_name());
        // An unreadable temporary file was not completely written, so the next write replaces it.
        let Ok(Found::Session(_)) = store.read(&name, Some(key), None) else { return Ok(()) };
        debug(|| format!("finishing {}", self.file.path().display()));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fsync(openat(&store.folder, &*name, flags, Mode::empty())?)?;
        self.rename()
    }

    /// Renames the temporary file to the session's name.
    fn rename(&self) -> Result<()> {
        let folder = &self.file.store.folder;
        again(|| Ok(renameat(folder, self.file.temporary_name(), folder, self.file.name())?))?;
        again(|| folder::flush(folder))
    }

    /// Deletes the session and its locks. Returns false, and deletes nothing, if another process has saved a new grant
    /// meanwhile.
    pub fn delete(mut self) -> Result<bool> {
        if let Some(Saved::Superseded(_)) = self.news().with_context(|| self.could_not("delete"))? {
            return Ok(false);
        }
        for name in [self.file.temporary_name(), self.file.name()] {
            match unlinkat(&self.file.store.folder, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e).with_context(|| self.could_not("delete")),
            }
        }
        self.file.store.remove_damaged_copies(Some(&self.file.stem))?;
        self.lock.remove(&self.file.sign_in_lock_name());
        Ok(true)
    }

    fn could_not(&self, what: &str) -> String {
        format!("could not {what} {}", self.file.path().display())
    }
}

/// How much disk space an answer may need besides `session`, in bytes.
pub(super) fn room_for(session: &Session) -> Result<usize> {
    Ok((bytes(session)?.len() + ANSWER + OVERHEAD).min(LARGEST))
}

/// The file's contents. If they would be larger than what is read, the oldest tokens are left out, because they
/// can be requested again.
fn bytes(session: &Session) -> Result<Buffer> {
    let mut bytes = Buffer::from(serde_json::to_vec(session)?);
    let mut smaller = None;
    while bytes.len() > LARGEST - OVERHEAD {
        let smaller = smaller.get_or_insert_with(|| {
            let mut session = session.clone();
            session.tokens.sort_by_key(|token| Reverse(token.received_at));
            session
        });
        ensure!(!smaller.tokens.is_empty(), "it would be larger than 16 MiB");
        smaller.tokens.truncate(smaller.tokens.len() / 2);
        bytes = serde_json::to_vec(smaller)?.into();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_can_be_read_however_much_has_come() {
        let token = |number: i64, size: usize| {
            json!({
                "key": { "kind": "access", "scopes": [number.to_string()] },
                "token": "x".repeat(size),
                "received_at": number,
            })
        };
        let session = |size: usize| {
            let tokens: Vec<_> = (0..20).map(|number| token(number, size)).collect();
            let session =
                json!({ "version": 2, "authority": "a", "client_id": "c", "refresh_token": "r", "tokens": tokens });
            serde_json::from_value::<Session>(session).unwrap()
        };
        assert_eq!(serde_json::from_slice::<Session>(&bytes(&session(10)).unwrap()).unwrap().tokens.len(), 20);
        let written = bytes(&session(1 << 20)).unwrap();
        assert!(written.len() <= LARGEST);
        let read: Session = serde_json::from_slice(&written).unwrap();
        assert!(read.refresh_token.is_some());
        let newest: Vec<i64> = read.tokens.iter().map(|token| token.received_at.0).collect();
        assert_eq!(newest, (10..20).rev().collect::<Vec<_>>());
        let mut endless = session(10);
        endless.authority = "a".repeat(LARGEST);
        assert!(bytes(&endless).is_err());
    }
}
