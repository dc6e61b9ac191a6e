//! What a person sees of a sign-in. Each sign-in is shown once per terminal.

use super::Attempt;
use crate::address::Address;
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::flows::environment;
use crate::prompt::{Screen, SignIn, Way};
use crate::session::{Pending, PendingFlow};
use crate::text::clean;
use std::time::Duration;

/// A screen, and the state of what it shows.
pub(super) struct View<'a> {
    attempt: &'a Attempt<'a>,
    pub(super) screen: Screen,
    /// Why a sign-in is needed.
    pub(super) because: Option<String>,
    /// Another process started it.
    pub(super) joined: bool,
    /// The last sign-in passed to [`View::show`].
    seen: Option<Pending>,
    /// `seen` is on this process's screen, not only on another's.
    shown: bool,
    /// The person has been told that the process that drives the sign-in is stopped.
    stopped: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(attempt: &'a Attempt<'a>, screen: Screen, because: Option<String>) -> Self {
        Self { attempt, screen, because, joined: false, seen: None, shown: false, stopped: false }
    }

    /// Shows a sign-in once, and later updates its countdown. `waiting`: another process is to finish it.
    pub(super) fn show(&mut self, pending: &Pending, waiting: bool) {
        let left = Duration::from_secs(pending.expires_at.since(Timestamp::now()));
        if self.seen.as_ref().is_some_and(|seen| seen.is(pending)) {
            if self.shown && !self.stopped {
                self.screen.left(left);
            }
            return;
        }
        self.seen = Some(pending.clone());
        // The process that started it has already shown it on this same terminal. If that process died, we are not
        // waiting but driving the sign-in ourselves, and show it again.
        self.shown = !(waiting && pending.terminal.is_some() && pending.terminal.as_deref() == self.screen.terminal());
        if !self.shown {
            return;
        }
        let profile = self.attempt.want.profile;
        let asked_by = if self.joined { Some(pending.asked_by.clone()) } else { self.attempt.asked_by() };
        let foreign = foreign_host(profile, pending);
        // VS Code forwards the port by itself.
        let by_ssh = environment("SSH_CONNECTION").is_some() && environment("VSCODE_IPC_HOOK_CLI").is_none();
        let host = by_ssh.then(host_name);
        let by_code = profile.command("login --flow device");
        self.screen.show(&SignIn {
            profile: profile.title(),
            authority: &profile.session.authority,
            account: profile.account.as_deref(),
            asked_by: asked_by.as_deref(),
            joined: self.joined,
            open_for: Some(Duration::from_secs(Timestamp::now().since(pending.started_at))),
            because: self.because.as_deref(),
            way: match &pending.flow {
                PendingFlow::Device(device) => Way::Code {
                    message: device.message.as_deref(),
                    verification_uri: &device.verification_uri,
                    verification_uri_complete: device.verification_uri_complete.as_deref(),
                    foreign_host: foreign.as_deref(),
                    user_code: &device.user_code,
                },
                PendingFlow::Browser(browser) => {
                    let by_code = browser.untried.then_some(by_code.as_str());
                    Way::Browser {
                        address: &browser.address,
                        opening: browser.opening,
                        remote: host.as_deref(),
                        by_code,
                    }
                }
            },
            left,
            qr: self.attempt.want.qr,
        });
    }
}

impl View<'_> {
    /// Tells the person, once, that a sign-in by code has to end before this one can begin in the browser.
    pub(super) fn say_by_code(&mut self, pending: &Pending) {
        if self.seen.as_ref().is_some_and(|seen| seen.is(pending)) {
            return;
        }
        self.seen = Some(pending.clone());
        let who = pending.driver.map_or_else(|| "another process".to_owned(), |driver| format!("process {driver}"));
        self.screen.notice(&[
            format!("{who} waits for a sign-in by code; this one begins in the browser when that has ended"),
            format!("waiting for {who}"),
        ]);
    }

    /// Tells the person, once, that the process that drives the sign-in is stopped, and that no other can continue it.
    pub(super) fn say_stopped(&mut self, driver: u32) {
        if !self.stopped {
            self.stopped = true;
            self.screen.notice(&[
                format!(
                    "process {driver} holds this sign-in and is stopped; go on with it (fg), or end it: kill {driver}"
                ),
                format!("process {driver} is stopped: fg, or kill {driver}"),
            ]);
        }
    }
}

/// This machine's host name.
fn host_name() -> String {
    clean(&rustix::system::uname().nodename().to_string_lossy())
}

/// Returns the first host in a sign-in's addresses that is not known to be the provider's.
pub fn foreign_host(profile: &Profile, pending: &Pending) -> Option<String> {
    let host = |address: &str| Address::parse(address).map(|a| a.host()).unwrap_or_default();
    let authority = host(&profile.session.authority);
    let known = |host: &String| *host == authority || profile.preset.verification_hosts.contains(&host.as_str());
    let device = pending.device()?;
    let addresses = [Some(&device.verification_uri), device.verification_uri_complete.as_ref()];
    addresses.into_iter().flatten().map(|address| host(address)).find(|host| !known(host))
}
