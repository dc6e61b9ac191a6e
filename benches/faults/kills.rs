//! kill -9 at random moments of a refresh, a sign-in and a logout, and what the next call then finds.
//!
//! The provider rotates its refresh tokens, where it says so, and ends the whole session if it sees an old one again. A
//! kill after the old token was sent and before the answer was written is then nobody's to mend; it is counted apart, by
//! whether the provider had answered yet.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Options};

use rustix::process::{Signal, kill_process};

use crate::common::{SOON, Scene, refresh_token, worker_of};

/// How many run at once; what they mostly do is wait.
const WORKERS: usize = 8;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Refresh,
    /// A refresh, and the process that makes it.
    Both,
    /// A refresh, once the first byte of the answer is there.
    Answer,
    SignIn,
    /// A sign-in where there is a session already.
    SignInAgain,
    Logout,
    /// A refresh of a sealed session, with the process that makes it.
    Sealed,
    /// `keyfob store`: sealed, or back in clear.
    Move,
}

/// A table's rows: what it is called, what is killed, whether refresh tokens rotate, and for how many of a hundred kills.
pub(crate) type Rows = &'static [(&'static str, Deed, bool, usize)];

/// Sessions in clear.
pub(crate) const CLEAR: Rows = &[
    ("refresh, its worker too", Deed::Both, false, 24),
    ("refresh, rotation", Deed::Refresh, true, 12),
    ("refresh, rotation, its worker too", Deed::Both, true, 12),
    ("refresh, rotation, first byte out", Deed::Answer, true, 12),
    ("sign-in", Deed::SignIn, false, 16),
    ("sign-in over a session, rotation", Deed::SignInAgain, true, 12),
    ("logout, rotation", Deed::Logout, true, 12),
];

/// Sealed sessions.
pub(crate) const SEALED: Rows =
    &[("refresh of a sealed session", Deed::Sealed, false, 50), ("the store changed", Deed::Move, true, 50)];

/// What a kill cost.
enum Fate {
    /// Nothing: the next call went on from there.
    Nothing,
    /// The session, or the approval; the provider had not answered yet.
    Asked,
    /// The same; it had answered, and the answer was not written yet.
    Answered,
    /// Something that may not be lost.
    Lost(String),
}

/// What the kills of one row cost.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kills: usize,
    /// Kills after which something was on stdout.
    pub(crate) told: usize,
    pub(crate) asked: usize,
    pub(crate) answered: usize,
    /// What may not be.
    pub(crate) lost: Vec<String>,
}

/// Small, and the same again for the same seed.
struct Random(u64);

impl Random {
    /// 32 bits; xorshift64*.
    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap()
    }

    fn time(&mut self, most: Duration) -> Duration {
        most.mul_f64(f64::from(self.bits()) / f64::from(u32::MAX))
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.bits()).unwrap() % below
    }
}

/// Kills so often in all.
pub(crate) fn run(rows: Rows, kills: usize, seed: u64) -> Vec<Row> {
    let mut sum = 0;
    let rows = rows.iter().zip(1..).map(|((name, deed, rotation, share), number)| {
        let before = kills * sum / 100;
        sum += share;
        row(name, *deed, *rotation, kills * sum / 100 - before, seed.wrapping_mul(31).wrapping_add(number))
    });
    rows.collect()
}

fn row(name: &'static str, deed: Deed, rotation: bool, kills: usize, seed: u64) -> Row {
    let row = Mutex::new(Row { name, ..Row::default() });
    thread::scope(|scope| {
        for worker in 0..WORKERS.min(kills) {
            let row = &row;
            scope.spawn(move || {
                let mut victim = Victim::new(deed, rotation, seed.wrapping_mul(1009).wrapping_add(worker as u64) | 1);
                // A kill that comes too late is none; but some must come in time.
                for _ in 0..kills * 4 {
                    if row.lock().unwrap().kills >= kills {
                        break;
                    }
                    let Some((told, fate)) = victim.kill() else { continue };
                    let mut row = row.lock().unwrap();
                    if row.kills >= kills {
                        break;
                    }
                    row.kills += 1;
                    row.told += usize::from(told);
                    match fate {
                        Fate::Nothing => {}
                        Fate::Asked if rotation && !told => row.asked += 1,
                        Fate::Answered if rotation && !told => row.answered += 1,
                        // An approval, which is asked for again: there was no session yet.
                        Fate::Asked if deed == Deed::SignIn => row.asked += 1,
                        Fate::Answered if deed == Deed::SignIn => row.answered += 1,
                        Fate::Asked | Fate::Answered => {
                            row.lost.push("a session that does not rotate, or was told".into());
                        }
                        Fate::Lost(what) => row.lost.push(what),
                    }
                }
            });
        }
    });
    row.into_inner().unwrap()
}

/// Somebody who is killed again and again.
struct Victim {
    deed: Deed,
    rotation: bool,
    scene: Scene,
    random: Random,
    /// How long an undisturbed run takes, as far as is known.
    whole: Duration,
}

impl Victim {
    fn new(deed: Deed, rotation: bool, seed: u64) -> Self {
        let scene = Self::scene(deed, rotation);
        Self { deed, rotation, scene, random: Random(seed), whole: Duration::from_millis(30) }
    }

    fn scene(deed: Deed, rotation: bool) -> Scene {
        let options = Options { rotation, ..Options::default() };
        if deed == Deed::SignIn { Scene::new(options) } else { Scene::signed_in(options) }
    }

    /// Kills it once. Whether something had come on stdout, and what it cost; `None` if it ended before.
    fn kill(&mut self) -> Option<(bool, Fate)> {
        match self.deed {
            Deed::Refresh | Deed::Both | Deed::Answer => self.kill_refresh(),
            Deed::SignIn => self.kill_sign_in(),
            Deed::SignInAgain => self.kill_sign_in_again(),
            Deed::Logout => self.kill_logout(),
            Deed::Sealed => self.kill_sealed_refresh(),
            Deed::Move => self.kill_move(),
        }
    }

    /// Starts `command` and kills it: at a random time from its start or from a request of it on.
    fn shoot(&mut self, mut command: Command, requests: &[&str], whole: Duration) -> Option<(Instant, bool)> {
        let before: Vec<usize> = requests.iter().map(|request| self.scene.idp.count(request)).collect();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0];
        let mut told = false;
        if self.deed == Deed::Answer {
            told = stdout.read(&mut first).unwrap() == 1;
        } else {
            let which = self.random.index(requests.len() + 1);
            if let (Some(request), Some(before)) = (requests.get(which), before.get(which)) {
                self.scene.idp.wait_for(request, before + 1, SOON);
                thread::sleep(self.random.time(self.whole / 2));
            } else {
                thread::sleep(self.random.time(whole));
            }
        }
        let when = Instant::now();
        if matches!(self.deed, Deed::Both | Deed::Sealed)
            && let Some(worker) = worker_of(child.id())
        {
            let _ = kill_process(worker, Signal::KILL);
        }
        child.kill().unwrap();
        let killed = child.wait().unwrap().signal() == Some(9);
        told |= matches!(stdout.read(&mut first), Ok(1));
        self.scene.settle();
        killed.then_some((when, told))
    }

    /// Whether the provider had answered the last request of this kind by then.
    fn excuse(&self, request: &str, when: Instant) -> Fate {
        let last = self.scene.idp.requests().into_iter().rfind(|r| r.label == request);
        match last.and_then(|r| r.answered) {
            Some(answered) if answered <= when => Fate::Answered,
            _ => Fate::Asked,
        }
    }

    fn kill_refresh(&mut self) -> Option<(bool, Fate)> {
        const REFRESH: &str = "token:refresh_token";
        self.scene.leave(-1);
        let (before, requests) = (refresh_token(&self.scene.session()), self.scene.idp.count(REFRESH));
        let command = self.scene.command("never", ["token"]);
        let killed = self.shoot(command, &[REFRESH], self.whole.mul_f64(1.3));
        let kept = refresh_token(&self.scene.session()) != before
            || self.scene.unrenamed().is_some_and(|session| refresh_token(&session) != before);
        let spent = self.scene.idp.count(REFRESH) > requests && self.rotation;

        let began = Instant::now();
        let output = self.scene.silently(["token"]);
        if self.scene.idp.count(REFRESH) > requests + usize::from(spent) {
            self.whole = (self.whole + began.elapsed()) / 2;
        }
        let (when, told) = killed?;
        let fate = if self.answers(&output) {
            Fate::Nothing
        } else if spent && !kept && output.code == Some(3) {
            self.excuse_before(REFRESH, requests, when)
        } else {
            Fate::Lost(format!("{output:?}"))
        };
        if !matches!(fate, Fate::Nothing) {
            self.scene.sign_in();
        }
        Some((told, fate))
    }

    /// The same as [`Self::excuse`] for the request after the first `requests`, since the next call made one, too.
    fn excuse_before(&self, request: &str, requests: usize, when: Instant) -> Fate {
        let fatal = self.scene.idp.requests().into_iter().filter(|r| r.label == request).nth(requests);
        match fatal.and_then(|r| r.answered) {
            Some(answered) if answered <= when => Fate::Answered,
            _ => Fate::Asked,
        }
    }

    fn kill_sign_in(&mut self) -> Option<(bool, Fate)> {
        self.scene = Self::scene(self.deed, self.rotation);
        self.scene.idp.auto(Auto::Approve);
        let command = self.scene.command("always", ["token"]);
        let killed = self.shoot(command, &["device", "token:device_code"], Duration::from_millis(1400));
        let (when, told) = killed?;
        let codes = self.scene.idp.user_codes().len();
        let written = self.scene.names().iter().any(|name| name.ends_with(".json")) || self.scene.unrenamed().is_some();
        let spent = self.scene.idp.issued().iter().any(|secret| secret.starts_with("refresh-"));
        let excuse = self.excuse("token:device_code", when);

        let output = self.scene.prompting(["token"]);
        let more = self.scene.idp.user_codes().len() - codes;
        let fate = match (self.answers(&output), codes, more) {
            // Went on, or nobody had seen the code yet.
            (true, 1, 0) | (true, 0, 1) => Fate::Nothing,
            (true, 1, 1) if !written => Fate::Nothing,
            (true, 1, 1) if spent => excuse,
            _ => Fate::Lost(format!("{codes} codes, {more} more: {output:?}")),
        };
        Some((told, fate))
    }

    fn kill_sign_in_again(&mut self) -> Option<(bool, Fate)> {
        self.scene.idp.auto(Auto::Approve);
        // It may go on with the code of the one that was killed before, and then asks for none.
        let command = self.scene.command("always", ["login", "--force"]);
        let killed = self.shoot(command, &["token:device_code"], Duration::from_millis(1400));
        self.scene.leave(-1);
        let output = self.scene.silently(["token"]);
        let (_, told) = killed?;
        let fate = if self.answers(&output) { Fate::Nothing } else { Fate::Lost(format!("{output:?}")) };
        Some((told, fate))
    }

    fn kill_logout(&mut self) -> Option<(bool, Fate)> {
        if self.scene.names().is_empty() {
            self.scene.sign_in();
        }
        let command = self.scene.command("never", ["logout"]);
        let killed = self.shoot(command, &["revoke"], self.whole);
        let output = self.scene.silently(["logout"]);
        let (_, told) = killed?;
        let left = self.scene.names();
        let alive = self.scene.idp.issued().iter().filter(|token| self.scene.idp.accepts(token)).count();
        let fate = if (output.code, left.len(), alive) == (Some(0), 0, 0) {
            Fate::Nothing
        } else {
            Fate::Lost(format!("{alive} tokens that live, {left:?}: {output:?}"))
        };
        Some((told, fate))
    }

    fn kill_sealed_refresh(&mut self) -> Option<(bool, Fate)> {
        self.store("file");
        self.scene.leave(-1);
        self.store("kernel");
        let command = self.scene.command("never", ["token"]);
        let killed = self.shoot(command, &["token:refresh_token"], self.whole.mul_f64(1.3));
        let clear = self.scene.unrenamed().is_some();
        let output = self.scene.silently(["token"]);
        self.scene.settle();
        let (_, told) = killed?;
        let fate = if self.answers(&output) && !clear { Fate::Nothing } else { Fate::Lost(format!("{output:?}")) };
        Some((told, fate))
    }

    fn kill_move(&mut self) -> Option<(bool, Fate)> {
        let there = if self.random.index(2) == 0 { "kernel" } else { "file" };
        self.store(if there == "file" { "kernel" } else { "file" });
        let began = Instant::now();
        let whole = self.whole;
        let killed = self.shoot(self.scene.command("never", ["store", there]), &[], whole);
        if killed.is_none() {
            self.whole = (self.whole + began.elapsed()) / 2;
        }
        // A call in the middle, and the same command, which finishes it.
        let outputs =
            [self.scene.silently(["token"]), self.scene.silently(["store", there]), self.scene.silently(["token"])];
        self.scene.settle();
        let (_, told) = killed?;
        let good = self.answers(&outputs[0]) && outputs[1].code == Some(0) && self.answers(&outputs[2]);
        Some((told, if good { Fate::Nothing } else { Fate::Lost(format!("{there}: {outputs:?}")) }))
    }

    fn store(&self, kind: &str) {
        let output = self.scene.silently(["store", kind]);
        assert_eq!(output.code, Some(0), "{output:?}");
    }

    /// Whether the output is a good token.
    fn answers(&self, output: &Output) -> bool {
        output.code == Some(0) && self.scene.idp.accepts(output.stdout.trim_end())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.scene.forget_keys();
    }
}
