//! The sessions on disk: one file and two lock files each, in one folder that only the user can access.
//!
//! Reading takes no lock: a file is replaced by rename, so a reader sees either the whole old file or the whole new
//! one. Writing takes the session's lock, so that only one process uses the temporary file next to the session. If a
//! process was killed after it had written the whole temporary file, the next process that takes the lock renames it to
//! the session's name, because it may hold the only refresh token that the provider still accepts. An incomplete
//! temporary file is overwritten by the next write. Locks are always taken in the same order: first the sign-in lock,
//! then the session's.
//!
//! No symbolic link below the folder is followed, and no file is read that another user owns or could read.

mod excerpt;
mod folder;
mod handed_out;
#[cfg_attr(not(target_os = "linux"), path = "no_keyring.rs")]
mod keyring;
mod lock;
mod locked;
mod room;
mod seal;
mod sealing;

pub use handed_out::HandedOut;
pub use lock::Lock;
pub use locked::{LOST_LIMIT, Locked, Saved};
pub use room::Room;
pub use sealing::{Kept, exported, unlock};

use crate::access::ours_alone;
use crate::clock::boottime;
use crate::config::{Installation, SessionKey, StoreKind};
use crate::failure::{Exit, Failure};
use crate::secret::Buffer;
use crate::session::{Session, TokenKey, VERSION};
use anyhow::{Context, Result};
use room::again;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;
use seal::Seal;
use siphasher::sip128::Hasher128;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest session file read, in bytes: several answers of the largest size.
const LARGEST: usize = 16 << 20;

/// The name of the folder in messages.
const WHAT: &str = "cache folder";

/// The folder that holds the sessions.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    folder: OwnedFd,
    /// Whether a sealed session whose key is lost may be replaced; see [`Store::replacing_locked`].
    replaces_locked: bool,
}

/// What the folder holds.
#[derive(Debug, Default)]
pub struct Contents<'s> {
    /// Every session, with its file.
    pub sessions: Vec<(SessionFile<'s>, Session)>,
    /// Every file that should hold a session but does not, with the failure to report.
    pub damaged: Vec<(PathBuf, Failure)>,
    /// Every file that belongs to another user, is a link, or was written by a newer version, with the failure to
    /// report.
    pub unusable: Vec<(PathBuf, Failure)>,
}

/// What a session's file holds.
#[derive(Debug)]
pub enum Found {
    /// There is no file.
    Nothing,
    /// A session.
    Session(Box<Session>),
    /// Something that is not a session; the text says what is wrong with it.
    Damaged(String),
}

impl Found {
    fn session(self) -> Option<Session> {
        match self {
            Self::Session(session) => Some(*session),
            Self::Nothing | Self::Damaged(_) => None,
        }
    }
}

impl Store {
    /// The folder's path: `KEYFOB_CACHE_DIR`, otherwise `keyfob` in the user's cache folder.
    pub fn path() -> Result<PathBuf> {
        match std::env::var_os("KEYFOB_CACHE_DIR").filter(|p| !p.is_empty()) {
            // Remove a trailing slash, because with one a symbolic link would be followed.
            Some(named) if named.as_bytes().ends_with(b"/") => Ok(Path::new(&named).components().collect()),
            Some(named) => Ok(named.into()),
            None => dirs::cache_dir().map(|folder| folder.join("keyfob")).ok_or_else(|| {
                Failure::usage("there is no home directory to keep tokens in")
                    .hint("set HOME or KEYFOB_CACHE_DIR")
                    .into()
            }),
        }
    }

    /// Opens the folder; `None` if it does not exist. Fails if other users can access it.
    pub fn open() -> Result<Option<Self>> {
        Self::at(Self::path()?)
    }

    /// Fails if the folder does not exist and could not be made.
    pub fn check_place() -> Result<()> {
        folder::check_place(&Self::path()?, WHAT)
    }

    /// Opens the folder at this path; `None` if it does not exist.
    pub(crate) fn at(path: PathBuf) -> Result<Option<Self>> {
        let folder = folder::open(&path, WHAT)?;
        Ok(folder.map(|folder| Self { path, folder, replaces_locked: false }))
    }

    /// Opens the folder, and makes it if it does not exist; `None` if `config.toml` says `store = "none"`. Fails if
    /// `config.toml` wants sealed sessions and they are not sealed.
    pub fn open_or_make() -> Result<Option<Self>> {
        let kind = Installation::load()?.store;
        if kind == Some(StoreKind::None) {
            return Ok(None);
        }
        let store = Self::made()?;
        store.check_kind(kind)?;
        Ok(Some(store))
    }

    /// Opens the folder, and makes it if it does not exist, however its sessions are kept.
    pub fn made() -> Result<Self> {
        let path = Self::path()?;
        let folder = folder::open_or_make(&path, WHAT)?;
        Ok(Self { path, folder, replaces_locked: false })
    }

    /// Sets whether a sealed session whose key is lost may be replaced; it is then set aside like a damaged one.
    #[must_use]
    pub fn replacing_locked(self, replaces_locked: bool) -> Self {
        Self { replaces_locked, ..self }
    }

    /// Where the lock files are, if the folder's file system has no locks. Unknown (`None`) until there is a session.
    pub fn locks_elsewhere(&self) -> Option<PathBuf> {
        let stems = self.stems().ok()?;
        stems.first().and_then(|stem| lock::elsewhere(self, &format!("{stem}.json")))
    }

    /// The file of the session with this key, whether or not it exists.
    pub fn session(&self, key: &SessionKey) -> SessionFile<'_> {
        self.file(key.clone(), stem(key))
    }

    fn file(&self, key: SessionKey, stem: String) -> SessionFile<'_> {
        SessionFile { store: self, key, stem }
    }

    /// Reads all session files. Not used to answer callers, because it lists the folder.
    pub fn contents(&self) -> Result<Contents<'_>> {
        let mut contents = Contents::default();
        for stem in self.stems()? {
            let path = self.path.join(format!("{stem}.json"));
            match self.read(&format!("{stem}.json"), None, None) {
                Ok(Found::Nothing) => {}
                Ok(Found::Session(session)) => contents.sessions.push((self.file(session.key(), stem), *session)),
                Ok(Found::Damaged(why)) => {
                    let quoted = crate::text::shell_quoted(&path.to_string_lossy());
                    let failure = Failure::new(Exit::Failed, format!("{} is damaged: {why}", path.display()));
                    contents.damaged.push((path, failure.run(format!("rm {quoted}"))));
                }
                Err(error) => contents.unusable.push((path, Failure::of(&error))),
            }
        }
        Ok(contents)
    }

    /// The names of all session files without `.json`, sorted.
    fn stems(&self) -> Result<Vec<String>> {
        let mut stems = Vec::new();
        for entry in std::fs::read_dir(&self.path).context("could not list the cache folder")? {
            let name = entry.context("could not list the cache folder")?.file_name();
            stems.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
        }
        stems.sort_unstable();
        Ok(stems)
    }

    /// Deletes a damaged file, given by its path in [`Contents`].
    pub fn remove_damaged(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        unlinkat(&self.folder, name, AtFlags::empty()).with_context(|| format!("could not delete {}", path.display()))
    }

    /// Deletes the copies of damaged files, which may hold a refresh token: those of the session file `stem`, or all.
    /// Returns how many there were.
    pub fn remove_damaged_copies(&self, stem: Option<&str>) -> Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.path).context("could not list the cache folder")? {
            let name = entry.context("could not list the cache folder")?.file_name();
            let of = name.to_str().and_then(|name| name.split_once(".damaged-")).map(|(of, _)| of);
            if of.is_some_and(|of| stem.is_none_or(|stem| stem == of)) {
                unlinkat(&self.folder, &name, AtFlags::empty())
                    .with_context(|| format!("could not delete {}", self.path.join(&name).display()))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Reads a file. If `key` is given, a session with another key counts as damaged. If `token` is given, other tokens
    /// may be left out.
    fn read(&self, name: &str, key: Option<&SessionKey>, token: Option<&TokenKey>) -> Result<Found> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP) => {
                let why = format!("could not use {}: it is a symbolic link", path.display());
                return Err(Failure::new(Exit::Failed, why).hint("remove it and sign in again").into());
            }
            Err(e) => return Err(e).with_context(|| format!("could not open {}", path.display())),
        };
        let stat = fstat(&file)?;
        ours_alone(&stat, &path, folder::ELSEWHERE)?;
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > LARGEST {
            return Ok(Found::Damaged("it is larger than 16 MiB".into()));
        }
        let mut bytes = Buffer::from(Vec::with_capacity(size + 1));
        File::from(file)
            .take(LARGEST as u64)
            .read_to_end(&mut bytes)
            .with_context(|| format!("could not read {}", path.display()))?;
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let bytes = match self.in_clear(stem, bytes)? {
            InClear::Bytes(bytes) => bytes,
            InClear::Damaged(why) => return Ok(Found::Damaged(why.into())),
        };
        let excerpt = token.and_then(|token| excerpt::excerpt(&bytes, token));
        let found = parse(excerpt.as_ref().map_or(&bytes, |text| text.as_bytes()), key);
        let newer = match &found {
            Found::Session(session) => session.version > VERSION,
            // A newer version may have another layout.
            Found::Damaged(_) => version(&bytes).is_some_and(|v| v > VERSION),
            Found::Nothing => false,
        };
        if newer {
            let why = format!("could not use {}: a newer keyfob wrote it", path.display());
            return Err(Failure::new(Exit::Failed, why)
                .hint("update this keyfob, or set KEYFOB_CACHE_DIR to a folder of its own")
                .into());
        }
        Ok(found)
    }

    /// The clear text of the session file `stem`, whether it is sealed or not.
    fn in_clear(&self, stem: &str, bytes: Buffer) -> Result<InClear> {
        let path = || self.path.join(format!("{stem}.json"));
        if !seal::is_sealed(&bytes) {
            if let Kept::Sealed(_) = self.kept()? {
                let why = format!("could not use {}: it is not sealed, as the others are", path().display());
                return Err(Failure::new(Exit::Failed, why).run("keyfob store kernel").into());
            }
            return Ok(InClear::Bytes(bytes));
        }
        let Some(seal) = Seal::of(&bytes) else { return Ok(InClear::Damaged("it is not a sealed session")) };
        let key = sealing::key_to_open(&seal.kid)?;
        let opened = key.as_ref().map(|key| key.open(stem, &seal, bytes).ok_or_else(|| key.is_itself()));
        match opened {
            Some(Ok(bytes)) => Ok(InClear::Bytes(bytes)),
            Some(Err(true)) => Ok(InClear::Damaged("its seal is broken")),
            // The key is lost, or the keyring holds other bytes under its name.
            _ if self.replaces_locked => Ok(InClear::Damaged("it is sealed, and its key is gone")),
            _ => Err(sealing::locked(&path()).into()),
        }
    }
}

/// The result of reading a file that may be sealed.
enum InClear {
    /// The session's bytes.
    Bytes(Buffer),
    /// The file was changed by another program, or can never be opened again.
    Damaged(&'static str),
}

/// The version in a session file, whatever else the file holds.
fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    // Reads only the first value, because what follows it need not be JSON.
    serde_json::Deserializer::from_slice(bytes).into_iter::<Versioned>().next()?.ok().map(|v| v.version)
}

/// Parses a session file. If `key` is given, a session with another key counts as damaged.
pub fn parse(bytes: &[u8], key: Option<&SessionKey>) -> Found {
    // Validate the UTF-8 once for the whole text; from bytes, serde_json would validate every string.
    let Ok(text) = std::str::from_utf8(bytes) else { return Found::Damaged("it is not UTF-8".into()) };
    match serde_json::from_str::<Session>(text) {
        Ok(session) if key.is_some_and(|k| *k != session.key()) => {
            Found::Damaged("it belongs to another session".into())
        }
        // If saved again, a file of an older layout gets the current one.
        Ok(session) => Found::Session(Box::new(Session { version: session.version.max(VERSION), ..session })),
        // serde_json quotes values of the wrong type; the position is enough and holds no secret.
        Err(e) => Found::Damaged(format!("it is not a session (line {}, column {})", e.line(), e.column())),
    }
}

/// The file of one session.
#[derive(Debug)]
pub struct SessionFile<'s> {
    store: &'s Store,
    key: SessionKey,
    stem: String,
}

impl SessionFile<'_> {
    /// The session's key.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// What the file holds now. Takes no lock and writes nothing.
    pub fn read(&self) -> Result<Found> {
        self.store.read(&self.name(), Some(&self.key), None)
    }

    /// The session, if the file holds a valid one.
    pub fn session(&self) -> Result<Option<Session>> {
        Ok(self.read()?.session())
    }

    /// The session for a caller that wants this token; other tokens may be left out, so it must never be saved.
    pub fn session_for(&self, token: &TokenKey) -> Result<Option<Session>> {
        Ok(self.store.read(&self.name(), Some(&self.key), Some(token))?.session())
    }

    /// The file's path, for messages.
    pub fn path(&self) -> PathBuf {
        self.store.path.join(self.name())
    }

    /// Takes the session's lock, which every write needs; `None` if another process holds it.
    pub fn try_lock(&self) -> Result<Option<Locked<'_>>> {
        self.take(&self.lock_name())?.map(|lock| Locked::new(self, lock)).transpose()
    }

    /// Takes a lock; `None` if another process holds it, or has lost it during a request that is still under way.
    fn take(&self, name: &str) -> Result<Option<Lock<'_>>> {
        let lock = Lock::attempt(self.store, name)?;
        Ok(lock.filter(|lock| !room::is_in_use(self.store, &lock.temporary_name())))
    }

    /// Takes over the session's lock from the process that passed its file on; `None` if `file` is not that lock's.
    pub fn locked_by(&self, file: File) -> Result<Option<Locked<'_>>> {
        let lock = Lock::passed_on(self.store, &self.lock_name(), file)?;
        lock.map(|lock| Locked::new(self, lock)).transpose()
    }

    /// Takes the session's lock, waiting at most `limit` for it.
    pub fn lock(&self, limit: Duration) -> Result<Locked<'_>> {
        Locked::new(self, self.wait_for_lock(limit, || self.take(&self.lock_name()))?)
    }

    /// Takes the session's lock again, after this process has lost it during a request.
    fn lock_again(&self, limit: Duration) -> Result<Lock<'_>> {
        self.wait_for_lock(limit, || Lock::attempt(self.store, &self.lock_name()))
    }

    /// Takes the session's lock to save the answer that `room` was reserved for, even if all other descriptors are in
    /// use.
    pub fn lock_for<'f>(&'f self, room: &mut Room<'_>, limit: Duration) -> Result<Locked<'f>> {
        room.release();
        if let Some(key) = &room.key {
            sealing::keep_here(key)?;
        }
        self.lock(limit)
    }

    fn wait_for_lock<'f>(&self, limit: Duration, attempt: impl Fn() -> Result<Option<Lock<'f>>>) -> Result<Lock<'f>> {
        let began = boottime();
        loop {
            if let Some(lock) = again(&attempt)? {
                return Ok(lock);
            }
            if boottime().saturating_sub(began) > limit {
                return Err(self.lock_is_held(limit).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes sure that an answer can be saved before the provider is asked: that `lock`, the session's or the sign-in
    /// lock, is held, and that there is disk space for the answer besides `session`. `None` if another process may have
    /// taken the lock.
    pub fn reserve(&self, lock: &Lock<'_>, session: &Session) -> Result<Option<Room<'_>>> {
        if !lock.is_ours() {
            return Ok(None);
        }
        let room = locked::room_for(session).and_then(|size| Room::reserved(self.store, lock.temporary_name(), size));
        let room = room.with_context(|| format!("could not write {}", self.path().display()))?;
        // From now on, a process that takes the lock sees the reserved file, whatever happens to the lock file.
        Ok(lock.is_ours().then_some(room))
    }

    /// The failure of waiting too long for the session's lock.
    pub fn lock_is_held(&self, waited: Duration) -> Failure {
        self.is_held(&self.lock_name(), waited)
    }

    /// The failure of waiting too long for the sign-in lock.
    pub fn sign_in_lock_is_held(&self, waited: Duration) -> Failure {
        self.is_held(&self.sign_in_lock_name(), waited)
    }

    fn is_held(&self, name: &str, waited: Duration) -> Failure {
        let path = lock::path(self.store, name);
        // Round to the nearest second, because the caller's timeout began a moment before this wait.
        let seconds = (waited + Duration::from_millis(500)).as_secs();
        let why = format!("another process has held the lock {} for {seconds} s", path.display());
        let path = crate::text::shell_quoted(&path.to_string_lossy());
        Failure::new(Exit::Failed, why).hint(format!("see which: fuser -v {path}"))
    }

    /// Changes the session under its lock, which is held only for one read and one write.
    pub fn update(&self, limit: Duration, change: impl FnOnce(&mut Session)) -> Result<()> {
        let mut locked = self.lock(limit)?;
        let (mut session, _) = locked.load()?;
        change(&mut session);
        locked.save(&session)
    }

    /// Takes the sign-in lock; `None` if another process holds it.
    pub fn try_sign_in_lock(&self) -> Result<Option<Lock<'_>>> {
        self.take(&self.sign_in_lock_name())
    }

    fn name(&self) -> String {
        format!("{}.json", self.stem)
    }

    /// The file that a session is written to before it is renamed.
    fn temporary_name(&self) -> String {
        format!("{}.new", self.stem)
    }

    fn lock_name(&self) -> String {
        format!("{}.lock", self.stem)
    }

    fn sign_in_lock_name(&self) -> String {
        format!("{}.sign-in.lock", self.stem)
    }
}

/// A session's file name without `.json`: the authority's host for people, and a digest of the whole key.
fn stem(key: &SessionKey) -> String {
    let place = key.authority.split_once("://").map_or(key.authority.as_str(), |(_, place)| place);
    let host = place.split(['/', ':']).next().unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(64).collect();
    let digits = u128::from_be_bytes(key.digest().finish128().as_bytes()) >> 32;
    format!("{}-{digits:024x}", host.trim_start_matches('.'))
}
