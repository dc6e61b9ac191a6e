//! Two hundred callers at once: with a token in the cache, and with one that has to be renewed first.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs2::FileExt;
use keyfob_test_support::Keyfob;
use keyfob_test_support::provider::{Auto, Options, Provider};
use serde_json::{Value, json};

use super::table::{Budget, Table};
use super::turns::{against, median, medians, ratio, readable};
use super::{Place, profile};
use crate::common::home::{CASES, Reads};

const CALLERS: usize = 200;
/// How long the provider takes to renew a token: what the large ones take.
const DELAY: Duration = Duration::from_millis(500);

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    fresh(place, table)?;
    expired(place, table)
}

fn fresh(place: &Place, table: &mut Table) -> Result<()> {
    let case = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    let (keyfob, reader) = (place.home.keyfob(case), place.home.reader(&place.reader, case));
    // Whoever waited for one of these would wait for ever.
    let session = place.home.path().join(place.home.file(Reads::Session("lab")));
    let lock = |kind: &str| -> Result<File> {
        let file = File::create(session.with_extension(kind))?;
        FileExt::lock_exclusive(&file)?;
        Ok(file)
    };
    let locks = (lock("lock")?, lock("sign-in.lock")?);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..place.rounds(20) {
        for (run, times) in [&keyfob, &reader].into_iter().zip(&mut times) {
            times.push(at_once((0..CALLERS).map(|_| run.command()).collect::<Result<_>>()?)?);
        }
    }
    drop(locks);
    let [keyfob, reader] = times.map(median);
    let what = format!("throughput of {CALLERS} callers at once, fresh token / the C program");
    let from = format!("{} for all; the session's locks held by another meanwhile", against(keyfob, reader));
    table.figure(&what, ratio(reader, keyfob), "×", &from, Budget::AtLeast(0.6));
    Ok(())
}

fn expired(place: &Place, table: &mut Table) -> Result<()> {
    let case = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    let start = medians(&[place.home.keyfob(case)], place.rounds(100))?[0];
    let cores = thread::available_parallelism()?.get();
    let expected = DELAY + start * u32::try_from(CALLERS)? / u32::try_from(cores)?;

    let idp = Provider::start(Options { delay: DELAY, ..Options::default() });
    let signed_in = SignedIn::new(place, &idp, &profile(&idp, None))?;
    let mut times = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..place.rounds(5).max(3) {
        signed_in.expire()?;
        let before = idp.requests().len();
        let callers = (0..CALLERS).map(|_| signed_in.command(&["token"])).collect();
        times.push(at_once(callers)?);
        requests.push(idp.requests().len() - before);
    }
    let what = format!("{CALLERS} callers at once, expired token: requests at the provider");
    let most = requests.iter().copied().max().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    table.figure(&what, most as f64, "", "most of several rounds", Budget::Is(1.0));
    let last = median(times);
    let what = format!("{CALLERS} callers at once, expired token: the last answer / provider's delay + starts ÷ cores");
    let from = format!("{}; the provider takes {}", against(last, expected), readable(DELAY));
    table.figure(&what, ratio(last, expected), "×", &from, Budget::AtMost(1.5));
    Ok(())
}

/// Starts all at the same moment; the time until the last has ended. Fails if one fails.
fn at_once(commands: Vec<Command>) -> Result<Duration> {
    let start = Barrier::new(commands.len() + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = commands
            .into_iter()
            .map(|mut command| {
                let start = &start;
                scope.spawn(move || -> Result<()> {
                    start.wait();
                    let status = command.stderr(Stdio::null()).spawn()?.wait()?;
                    ensure!(status.success(), "{command:?}: {status}");
                    Ok(())
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread that starts callers panicked"))??;
        }
        Ok(began.elapsed())
    })
}

/// A keyfob with a session at a provider of its own.
pub(crate) struct SignedIn {
    keyfob: Keyfob,
    session: PathBuf,
}

impl SignedIn {
    /// Signs in with this configuration, whose profile is the only one.
    pub(crate) fn new(place: &Place, idp: &Provider, config: &str) -> Result<Self> {
        idp.auto(Auto::Approve);
        let keyfob = Keyfob::new(&place.keyfob).config(config);
        let output = keyfob_test_support::Output::of(keyfob.command(["login"]).env("KEYFOB_PROMPT", "always"), b"");
        ensure!(output.code == Some(0), "could not sign in: {}", output.stderr);
        let mut files = fs::read_dir(keyfob.cache_dir())?.filter_map(|entry| Some(entry.ok()?.path()));
        let session =
            files.find(|file| file.extension().is_some_and(|e| e == "json")).context("there is no session")?;
        Ok(Self { keyfob, session })
    }

    /// A command of keyfob's that says nothing to anyone.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.keyfob.command(args);
        command.env("KEYFOB_PROMPT", "never").stdout(Stdio::null());
        command
    }

    /// Where its configuration, its cache and its home are.
    pub(crate) fn keyfob(&self) -> &Keyfob {
        &self.keyfob
    }

    /// The session's file, and what it holds once its access tokens have ended.
    pub(crate) fn ended(&self) -> Result<(PathBuf, String)> {
        let mut session: Value = serde_json::from_slice(&fs::read(&self.session)?)?;
        for token in session["tokens"].as_array_mut().context("a session without tokens")? {
            token["expires_at"] = json!(1);
        }
        Ok((self.session.clone(), session.to_string()))
    }

    /// Its access tokens have ended.
    pub(crate) fn expire(&self) -> Result<()> {
        let (file, content) = self.ended()?;
        Ok(fs::write(file, content)?)
    }
}
