//! A lock for file systems that have none, as some NFS and some container mounts: a file that only one process can make.
//!
//! No kernel removes it when its holder dies, so whoever waits does: at once where the holder ran on this machine and is
//! gone, else when nobody has touched the file for longer than anybody may hold it, by the clock of the file system
//! itself. One process at a time may judge that. What it then moves out of the way it looks at again before it is
//! removed, and the lock is made anew by whoever is first, so that of any number who take over one wins.
//!
//! A holder that was suspended for longer than that finds out before it writes.

use crate::clock::boottime;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fstat, futimens, linkat, openat};
use rustix::fs::{renameat, unlinkat};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A lock that nobody has touched for this long is nobody's.
pub(super) const STALE: Duration = Duration::from_secs(120);
/// The same of one that does not say whose it is yet: whoever made it was killed over it, or finds out.
const UNSIGNED: Duration = Duration::from_secs(10);
/// How often a lock that is held for longer is touched.
const TOUCH: Duration = Duration::from_secs(5);
/// Most bytes of a lock file that are read.
const LARGEST: u64 = 4096;

/// The lock, removed when dropped.
#[derive(Debug)]
pub(super) struct HeldFile {
    folder: OwnedFd,
    name: String,
    file: File,
    /// What is in the file: nobody else's is the same.
    contents: String,
    tag: String,
    touched: Cell<Duration>,
}

/// What a lock file was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    contents: String,
    touched: Duration,
}

/// What a process that waits knows of the lock file it waits for, so that it need not judge it at every look.
#[derive(Debug, Default)]
pub(super) struct Judged(Cell<Option<(Duration, Duration)>>);

impl Judged {
    /// Whether somebody else's lock file was in the way.
    pub(super) fn any(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether a lock file last touched at `touched` is known to be held still, from an earlier look at it or at an older one.
    fn is_held(&self, touched: Duration) -> bool {
        self.0.get().is_some_and(|(known, until)| touched >= known && boottime() < until)
    }

    /// Remembers that the lock file last touched at `touched` will be held for at least this long.
    fn set(&self, touched: Duration, at_least: Duration) {
        self.0.set(Some((touched, boottime() + at_least)));
    }
}

impl HeldFile {
    /// The file of the lock `lock`.
    pub(super) fn name(lock: &str) -> String {
        format!("{lock}.held")
    }

    /// Makes the file of the lock `lock` in `folder` if nobody holds it; `None` if somebody does.
    pub(super) fn attempt(folder: &OwnedFd, lock: &str, judged: &Judged) -> Result<Option<Self>, Errno> {
        let name = Self::name(lock);
        loop {
            match make(folder, &name) {
                Ok(file) => return Self::made(folder, &name, file).map(|held| Some(held).filter(Self::is_ours)),
                Err(Errno::EXIST) if take_over(folder, &name, judged)? => {}
                Err(Errno::EXIST) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    fn made(folder: &OwnedFd, name: &str, mut file: File) -> Result<Self, Errno> {
        let tag = tag()?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let contents = format!("{tag} {} {} {host}\n", std::process::id(), namespace().as_deref().unwrap_or("-"));
        // Flushed, since a file server shows it to others only then.
        let written = file.write_all(contents.as_bytes()).and_then(|()| file.sync_all());
        let made = written.and_then(|()| folder.try_clone()).map(|folder| {
            let touched = Cell::new(boottime());
            Self { folder, name: name.to_owned(), file, contents, tag, touched }
        });
        made.map_err(|e| {
            let _ = unlinkat(folder, name, AtFlags::empty());
            Errno::from_io_error(&e).unwrap_or(Errno::IO)
        })
    }

    /// Tells the holder from every other that there was or will be; fit for a file's name.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Says that it is still held, for one that is held for longer than others wait.
    pub(super) fn touch(&self) {
        if boottime().saturating_sub(self.touched.get()) >= TOUCH {
            self.touched.set(boottime());
            // The file server's own clock.
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let _ = futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
        }
    }

    /// Whether it is still held: not if this process was suspended for so long that another took over.
    pub(super) fn is_ours(&self) -> bool {
        matches!(look(&self.folder, &self.name), Ok(Some(found)) if found.contents == self.contents)
    }

    /// When it was made or touched, by the clock of the file system.
    pub(super) fn now(&self) -> Result<Duration, Errno> {
        touched(&self.file)
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = unlinkat(&self.folder, &*self.name, AtFlags::empty());
        }
    }
}

/// Who holds the lock `lock`, for a person: `pid 123 on host`; `None` if nobody does.
pub(super) fn holder(folder: &OwnedFd, lock: &str) -> Option<String> {
    let found = look(folder, &HeldFile::name(lock)).ok()??;
    let mut words = found.contents.split_whitespace();
    let (pid, host) = (words.nth(1)?.parse::<u32>().ok()?, words.nth(1)?);
    Some(format!("pid {pid} on {}", crate::text::clean(host)))
}

/// When a file was last written or touched, since 1970 by the clock of its file system.
pub(super) fn touched(file: impl std::os::fd::AsFd) -> Result<Duration, Errno> {
    let stat = fstat(file)?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(Duration::new(u64::try_from(stat.st_mtime).unwrap_or_default(), nanoseconds))
}

/// Makes a file that is not there.
fn make(folder: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// A lock file as it is now; `None` if there is none. Opened, since a file server is asked anew then.
fn look(folder: &OwnedFd, name: &str) -> Result<Option<Found>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    match (&file).take(LARGEST).read_to_end(&mut bytes) {
        Ok(_) => {}
        // Removed on the file server while it was open here.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::STALE) => return Ok(None),
        Err(e) => return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
    }
    let touched = touched(&file)?;
    Ok(Some(Found { contents: String::from_utf8_lossy(&bytes).into_owned(), touched }))
}

/// Removes the lock file `name` if it is nobody's any more. False if it is somebody's, or somebody else is at it.
fn take_over(folder: &OwnedFd, name: &str, judged: &Judged) -> Result<bool, Errno> {
    let Some(found) = look(folder, name)? else { return Ok(true) };
    let dead = found.is_of_the_dead();
    if !dead && judged.is_held(found.touched) {
        return Ok(false);
    }
    let Some(judge) = Judge::attempt(folder, name)? else {
        judged.set(found.touched, Duration::ZERO);
        return Ok(false);
    };
    // Also of one from the future: the file system's clock was wrong, and has been put right since.
    let age = judge.now.abs_diff(found.touched);
    if age <= found.limit() && !dead {
        judged.set(found.touched, found.limit().saturating_sub(age));
        return Ok(false);
    }
    if look(folder, name)?.as_ref() != Some(&found) {
        return Ok(true);
    }
    crate::log::debug(|| format!("taking over the lock {name}, which nobody holds any more"));
    judge.remove(name, &found)
}

impl Found {
    /// How long nobody may have touched it for it to be somebody's.
    fn limit(&self) -> Duration {
        if self.contents.is_empty() { UNSIGNED } else { STALE }
    }

    /// Whether its holder was a process of this machine, and is gone.
    fn is_of_the_dead(&self) -> bool {
        let mut words = self.contents.split_whitespace().skip(1);
        let pid = words.next().and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?));
        let (Some(pid), Some(theirs)) = (pid, words.next()) else { return false };
        namespace().is_some_and(|ours| ours == theirs) && rustix::process::test_kill_process(pid) == Err(Errno::SRCH)
    }
}

/// The one process that may judge a lock file, and remove it.
struct Judge<'f> {
    folder: &'f OwnedFd,
    name: String,
    /// By the clock of the file system.
    now: Duration,
}

impl<'f> Judge<'f> {
    /// `None` if another process judges it now.
    fn attempt(folder: &'f OwnedFd, lock: &str) -> Result<Option<Self>, Errno> {
        let name = format!("{lock}.judge");
        match make(folder, &name) {
            Ok(file) => {
                let mut judge = Self { folder, name, now: Duration::ZERO };
                judge.now = touched(&file)?;
                Ok(Some(judge))
            }
            Err(Errno::EXIST) => {
                // It takes a moment, unless that process was killed over it.
                if let Some(found) = look(folder, &name)? {
                    let probe = format!("{lock}.{}", tag()?);
                    let now = make(folder, &probe).and_then(touched);
                    let _ = unlinkat(folder, &*probe, AtFlags::empty());
                    if now?.abs_diff(found.touched) > STALE {
                        let _ = unlinkat(folder, &*name, AtFlags::empty());
                    }
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Removes the lock file that was `found`, and nothing else that may have come to be under its name.
    fn remove(self, lock: &str, found: &Found) -> Result<bool, Errno> {
        let aside = format!("{lock}.{}", tag()?);
        match renameat(self.folder, lock, self.folder, &*aside) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(true),
            Err(e) => return Err(e),
        }
        // Gone already: so old that somebody else has cleared it up.
        let Some(moved) = look(self.folder, &aside)? else { return Ok(true) };
        let theirs = moved != *found;
        if theirs {
            // Put back, unless somebody has made another: then its owner finds out before it writes.
            match linkat(self.folder, &*aside, self.folder, lock, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => {}
                // Not every file system has links.
                Err(_) => return renameat(self.folder, &*aside, self.folder, lock).map(|()| false),
            }
        }
        let _ = unlinkat(self.folder, &*aside, AtFlags::empty());
        Ok(!theirs)
    }
}

impl Drop for Judge<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(self.folder, &*self.name, AtFlags::empty());
    }
}

/// 16 random hexadecimal digits.
fn tag() -> Result<String, Errno> {
    getrandom::u64().map(|drawn| format!("{drawn:016x}")).map_err(|_| Errno::IO)
}

/// What tells the processes of this machine by their numbers: the boot, and the namespace that the numbers are of. `None`
/// where the system does not say.
fn namespace() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A lock of another machine's process.
    const THEIRS: &str = "0123456789abcdef 1 - elsewhere\n";

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let home = tempfile::tempdir().unwrap();
        let folder = rustix::fs::open(home.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (home, folder)
    }

    /// Makes a lock file that was touched so many seconds ago.
    fn leave(home: &tempfile::TempDir, contents: &str, seconds: u64) {
        let path = home.path().join("a.lock.held");
        std::fs::write(&path, contents).unwrap();
        age(&path, seconds);
    }

    fn age(path: &std::path::Path, seconds: u64) {
        let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    fn names(home: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(home.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn attempt(folder: &OwnedFd) -> Option<HeldFile> {
        HeldFile::attempt(folder, "a.lock", &Judged::default()).unwrap()
    }

    #[test]
    fn one_holds_it_and_leaves_nothing_behind() {
        let (home, folder) = folder();
        let held = attempt(&folder).unwrap();
        assert_eq!(names(&home), ["a.lock.held"]);
        assert!(attempt(&folder).is_none());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert_eq!(holder(&folder, "a.lock"), Some(format!("pid {} on {host}", std::process::id())));
        drop(held);
        assert_eq!(names(&home), Vec::<String>::new());
        assert_eq!(holder(&folder, "a.lock"), None);
        assert!(attempt(&folder).is_some());
    }

    #[test]
    fn one_that_was_not_touched_for_too_long_is_taken_over_and_no_other() {
        let (home, folder) = folder();
        for (seconds, taken) in [(0, false), (110, false), (130, true), (100_000, true)] {
            leave(&home, THEIRS, seconds);
            assert_eq!(attempt(&folder).is_some(), taken, "{seconds} s");
        }
        // Whatever is in it, unless there is nothing yet.
        for contents in ["\n", "a b c d", "\u{fffd}"] {
            leave(&home, contents, 110);
            assert!(attempt(&folder).is_none());
            leave(&home, contents, 130);
            assert!(attempt(&folder).is_some());
        }
        leave(&home, "", 5);
        assert!(attempt(&folder).is_none());
        leave(&home, "", 15);
        assert!(attempt(&folder).is_some());
        assert_eq!(names(&home), Vec::<String>::new());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_whose_holder_was_on_this_machine_and_is_gone_is_taken_over_at_once() {
        let (home, folder) = folder();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let namespace = namespace().unwrap();
        let theirs = format!("0123456789abcdef {pid} {namespace} here\n");
        // It has ended, but is still there for its parent to see.
        leave(&home, &theirs, 0);
        assert!(attempt(&folder).is_none());
        child.wait().unwrap();
        assert!(attempt(&folder).is_some());
        // Its number says nothing elsewhere.
        leave(&home, &theirs.replace("pid:", "pid:1"), 0);
        assert!(attempt(&folder).is_none());
    }

    #[test]
    fn of_many_who_take_over_one_wins() {
        const TAKERS: usize = 8;
        let (home, folder) = folder();
        for _ in 0..200 {
            leave(&home, THEIRS, 130);
            let (begin, end, winners) = (Barrier::new(TAKERS), Barrier::new(TAKERS), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..TAKERS {
                    scope.spawn(|| {
                        let judged = Judged::default();
                        begin.wait();
                        // Until somebody has it.
                        let held = loop {
                            match HeldFile::attempt(&folder, "a.lock", &judged).unwrap() {
                                None if winners.load(Ordering::SeqCst) == 0 => {}
                                held => break held,
                            }
                        };
                        winners.fetch_add(usize::from(held.is_some()), Ordering::SeqCst);
                        end.wait();
                        assert!(held.is_none_or(|held| held.is_ours()));
                    });
                }
            });
            assert_eq!(winners.load(Ordering::SeqCst), 1);
            assert_eq!(names(&home), Vec::<String>::new());
        }
    }

    #[test]
    fn what_has_come_in_the_place_of_a_stale_one_is_put_back() {
        let (home, folder) = folder();
        leave(&home, THEIRS, 130);
        let stale = look(&folder, "a.lock.held").unwrap().unwrap();
        let held = attempt(&folder).unwrap();
        let judge = Judge::attempt(&folder, "a.lock.held").unwrap().unwrap();
        assert!(!judge.remove("a.lock.held", &stale).unwrap());
        assert!(held.is_ours());
        assert_eq!(names(&home), ["a.lock.held"]);
    }

    #[test]
    fn a_judge_that_was_killed_is_in_the_way_for_a_while_only() {
        let (home, folder) = folder();
        leave(&home, THEIRS, 130);
        let judge = home.path().join("a.lock.held.judge");
        std::fs::write(&judge, "").unwrap();
        assert!(attempt(&folder).is_none());
        assert!(judge.exists());
        age(&judge, 130);
        assert!(attempt(&folder).is_none());
        assert!(!judge.exists());
        assert!(attempt(&folder).is_some());
        assert_eq!(names(&home), Vec::<String>::new());
    }

    #[test]
    fn a_holder_that_was_held_up_for_too_long_finds_out_and_takes_nothing_away() {
        let (home, folder) = folder();
        let late = attempt(&folder).unwrap();
        age(&home.path().join("a.lock.held"), 130);
        let held = attempt(&folder).unwrap();
        assert!(!late.is_ours());
        drop(late);
        assert!(held.is_ours());
    }

    #[test]
    fn a_lock_that_is_touched_is_not_taken_over() {
        let (home, folder) = folder();
        let held = attempt(&folder).unwrap();
        age(&home.path().join("a.lock.held"), 130);
        held.touched.set(Duration::ZERO);
        held.touch();
        assert!(attempt(&folder).is_none());
        assert!(held.is_ours());
    }
}
