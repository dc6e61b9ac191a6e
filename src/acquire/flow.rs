//! Chooses the flow of a sign-in. Switches to the browser if a policy refuses the device code flow, and to a code if a
//! person asks for one while another process waits for the browser.

use super::sign_in::keep_pending;
use super::view::View;
use super::{Attempt, LOCK_LIMIT};
use crate::clock::Timestamp;
use crate::config::Flow;
use crate::failure::{Failure, Hint};
use crate::flows::{self, Choice, Has, Turns, choose};
use crate::oauth::answer::OauthError;
use crate::oauth::{Client, NotStarted, http};
use crate::providers::Redirect;
use crate::session::{DeviceRefused, FlowKind, Metadata, Pending, PendingFlow, Session};
use crate::store::SessionFile;
use anyhow::Result;

/// The reason shown when a sign-in continues in the browser.
pub(super) const REFUSED_BY_POLICY: &str = "a policy of the provider refuses sign-ins by device code";

/// The failure of a provider that starts no sign-in.
const NOT_STARTED: &str = "the provider refused to start a sign-in";

/// The result of starting a sign-in.
enum Beginning {
    /// The sign-in is pending.
    Begun(Box<(Pending, Turns)>),
    /// A policy of the provider refuses sign-ins by device code.
    Forbidden(Failure),
}

impl Attempt<'_> {
    /// Continues `left`, a sign-in that another process began, if possible. Otherwise begins a new one and saves it
    /// with the metadata `found`. The first value is true if `left` is continued.
    pub(super) fn started(
        &self,
        file: &SessionFile<'_>,
        client: &Client<'_>,
        found: Option<&Metadata>,
        left: Option<Pending>,
        view: &mut View<'_>,
    ) -> Result<(bool, Pending, Turns)> {
        if let Some(left) = left {
            if let Some((pending, turns)) = resume(file, left)? {
                return Ok((true, pending, turns));
            }
            view.because = Some("the process that waited for the browser has ended".into());
        }
        let choice = self.choice(file, client)?;
        let (mut pending, turns) = match self.begin(file, client, choice.flow)? {
            Beginning::Begun(begun) => *begun,
            Beginning::Forbidden(_) if !choice.said && Has::of(client, self.want.profile).browser => {
                view.because = Some(REFUSED_BY_POLICY.into());
                self.begun(file, client, FlowKind::Browser)?
            }
            Beginning::Forbidden(failure) => return self.noted(file, Err(failure.into())),
        };
        pending.terminal = view.screen.terminal().map(str::to_owned);
        pending.driver = Some(std::process::id());
        write_down(file, found, &pending)?;
        Ok((false, pending, turns))
    }

    /// Chooses the flow of this sign-in.
    fn choice(&self, file: &SessionFile<'_>, client: &Client<'_>) -> Result<Choice> {
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        Ok(choose(client, self.want.profile, &session)?)
    }

    /// Begins a sign-in by this flow. If a policy refuses the device code flow, remembers that in the session.
    fn begin(&self, file: &SessionFile<'_>, client: &Client<'_>, flow: FlowKind) -> Result<Beginning> {
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        match self.while_asking(|| flows::begin(flow, client, &session, &self.ask())) {
            Ok(begun) => Ok(Beginning::Begun(Box::new(begun))),
            Err(NotStarted::Forbidden(error)) => {
                remember_device_refused(file, &error)?;
                Ok(Beginning::Forbidden(client.refused(&error, NOT_STARTED)))
            }
            Err(NotStarted::Failed(failure)) => self.noted(file, Err(failure.into())),
        }
    }

    /// Like [`Attempt::begin`], but a refused device code flow is an error.
    pub(super) fn begun(
        &self,
        file: &SessionFile<'_>,
        client: &Client<'_>,
        flow: FlowKind,
    ) -> Result<(Pending, Turns)> {
        match self.begin(file, client, flow)? {
            Beginning::Begun(begun) => Ok(*begun),
            Beginning::Forbidden(failure) => self.noted(file, Err(failure.into())),
        }
    }

    /// Begins a sign-in by device code in place of the pending one, and saves it. The process that drove the other finds
    /// it in the file and continues it, or waits for it.
    pub(super) fn replace_by_code(
        &self,
        file: &SessionFile<'_>,
        session: &Session,
        terminal: Option<&str>,
    ) -> Result<Pending> {
        // A failure here is not recorded in the session: the other sign-in goes on.
        let (client, found) =
            self.while_asking(|| Client::new(self.want.profile, session.server.as_ref(), http::LIMIT))?;
        let begun = self.while_asking(|| flows::begin(FlowKind::Device, &client, session, &self.ask()));
        let (mut pending, turns) = begun.map_err(|why| match why {
            NotStarted::Forbidden(error) => client.refused(&error, NOT_STARTED),
            NotStarted::Failed(failure) => failure,
        })?;
        turns.note_next(&mut pending);
        pending.terminal = terminal.map(str::to_owned);
        write_down(file, found.as_ref(), &pending)?;
        Ok(pending)
    }

    /// Whether a sign-in whose device code was refused by a policy may continue in the browser: only if neither the
    /// profile nor the call names a flow.
    pub(super) fn may_go_on_by_browser(&self, client: &Client<'_>) -> Result<bool> {
        let profile = self.want.profile;
        let said = choose(client, profile, &Session::new(&profile.session))?.said;
        Ok(!said && Has::of(client, profile).browser)
    }

    /// The hint for a sign-in that nobody finished. The provider's page may have said why: a policy blocks the code, or
    /// the client is registered for device codes alone.
    pub(super) fn other_flow(&self, pending: &Pending) -> Option<Hint> {
        let profile = self.want.profile;
        let (open, what, flow) = match &pending.flow {
            PendingFlow::Device(_) => {
                (!profile.preset.device_refusals.is_empty(), "said that the sign-in is blocked", "browser")
            }
            PendingFlow::Browser(browser) => (browser.untried, "showed an error", "device"),
        };
        let command = profile.command(&format!("login --flow {flow}"));
        (open && profile.flow == Flow::Auto).then(|| Hint::Words(format!("if the page {what}: {command}")))
    }

    /// Adds to the failure of a browser sign-in what must be registered with the provider, if the error is about that.
    pub(super) fn about_the_browser(&self, error: &OauthError, failure: Failure) -> Failure {
        let Redirect { host, port, path } = self.want.profile.redirect();
        let port = if port == 0 { String::new() } else { format!(":{port}") };
        match error.code.as_str() {
            "unauthorized_client"
            | "unsupported_grant_type"
            | "unsupported_response_type"
            | "redirect_uri_mismatch" => failure.hint(format!(
                "allow the client {:?} the authorization code grant, and register http://{host}{port}{path}",
                self.want.profile.session.client_id
            )),
            _ => failure,
        }
    }
}

/// Saves a sign-in that has begun, so that other processes find it.
pub(super) fn write_down(file: &SessionFile<'_>, found: Option<&Metadata>, pending: &Pending) -> Result<()> {
    file.update(LOCK_LIMIT, |session| {
        session.server = found.cloned().or(session.server.take());
        session.pending = Some(pending.clone());
        session.refusal = None;
        session.last_error = None;
    })
}

/// Remembers in the session that a policy refused the device code flow, so that sign-ins use the browser for a while.
pub(super) fn remember_device_refused(file: &SessionFile<'_>, error: &OauthError) -> Result<()> {
    let refused = DeviceRefused { at: Timestamp::now(), because: error.text() };
    file.update(LOCK_LIMIT, |session| {
        session.pending = None;
        session.device_refused = Some(refused);
    })
}

/// Continues a sign-in that another process began; `None` if it ended with that process.
fn resume(file: &SessionFile<'_>, mut pending: Pending) -> Result<Option<(Pending, Turns)>> {
    let Some(turns) = Turns::resume(&pending) else { return Ok(None) };
    if let Some(device) = pending.device_mut() {
        // `next_poll_ms` is for sign-ins in steps; from here on this process polls and keeps the time itself.
        device.next_poll_ms = None;
    }
    pending.driver = Some(std::process::id());
    keep_pending(file, &pending)?;
    Ok(Some((pending, turns)))
}

/// Whether the error says that a policy forbids this sign-in's flow, the device code flow.
pub(super) fn forbids(client: &Client<'_>, error: &OauthError, pending: &Pending) -> bool {
    pending.kind() == FlowKind::Device && client.forbids_device_flow(error)
}

/// Shows in the browser, if this sign-in uses one, how the sign-in has ended.
pub(super) fn tell(turns: Turns, file: &SessionFile<'_>, finished: &Result<()>) {
    match finished {
        Ok(()) => {
            let session = file.session().ok().flatten().filter(|session| session.unconfirmed.is_none());
            let account = session.and_then(|session| session.account);
            let who = account.map(|account| format!(" as {}", account.name)).unwrap_or_default();
            turns.tell(true, &format!("keyfob has signed in{who}. You can close this page."));
        }
        Err(error) => turns.tell(false, &format!("{}. You can close this page.", Failure::of(error).message)),
    }
}
