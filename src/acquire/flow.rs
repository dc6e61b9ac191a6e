//! By which flow a sign-in goes, and the way from a device code that a policy refuses to the browser.

use super::sign_in::keep_pending;
use super::view::View;
use super::{Attempt, LOCK_LIMIT};
use crate::clock::Timestamp;
use crate::config::Flow;
use crate::failure::{Failure, Hint};
use crate::flows::{self, Choice, Has, Turns, choose};
use crate::oauth::answer::OauthError;
use crate::oauth::{Client, NotStarted};
use crate::providers::Redirect;
use crate::session::{DeviceRefused, FlowKind, Metadata, Pending, PendingFlow, Session};
use crate::store::SessionFile;
use anyhow::Result;

/// Why a sign-in goes by browser after all.
pub(super) const REFUSED_BY_POLICY: &str = "a policy of the provider refuses sign-ins by device code";

/// How the beginning of a sign-in went.
enum Beginning {
    /// It is under way.
    Begun(Box<(Pending, Turns)>),
    /// A policy of the provider refuses sign-ins by device code.
    Forbidden(Failure),
}

impl Attempt<'_> {
    /// Goes on with `left`, which another process began, if that can be; else begins a sign-in, and writes it down for the
    /// others with what was `found` of the server. The first value: whether it goes on.
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

    /// By which flow this sign-in goes.
    fn choice(&self, file: &SessionFile<'_>, client: &Client<'_>) -> Result<Choice> {
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        Ok(choose(client, self.want.profile, &session)?)
    }

    /// Begins a sign-in by this flow. That a policy refuses a device code is remembered.
    fn begin(&self, file: &SessionFile<'_>, client: &Client<'_>, flow: FlowKind) -> Result<Beginning> {
        let session = file.session()?.unwrap_or_else(|| Session::new(&self.want.profile.session));
        match self.while_asking(|| flows::begin(flow, client, &session, &self.ask())) {
            Ok(begun) => Ok(Beginning::Begun(Box::new(begun))),
            Err(NotStarted::Forbidden(error)) => {
                remember_device_refused(file, &error)?;
                Ok(Beginning::Forbidden(client.refused(&error, "the provider refused to start a sign-in")))
            }
            Err(NotStarted::Failed(failure)) => self.noted(file, Err(failure.into())),
        }
    }

    /// The same where no other flow will do.
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

    /// Whether a sign-in that a policy refuses by device code goes on by browser: where nobody has said how to sign in.
    pub(super) fn may_go_on_by_browser(&self, client: &Client<'_>) -> Result<bool> {
        let profile = self.want.profile;
        let said = choose(client, profile, &Session::new(&profile.session))?.said;
        Ok(!said && Has::of(client, profile).browser)
    }

    /// The hint after a sign-in that nobody finished, where the provider's page may have said why: a policy forbids entering
    /// the code, or the client is registered for codes alone.
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

    /// The failure of a sign-in by browser, with what has to be registered if that is what it is about.
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

/// Puts a sign-in that has begun on disk for the others.
pub(super) fn write_down(file: &SessionFile<'_>, found: Option<&Metadata>, pending: &Pending) -> Result<()> {
    file.update(LOCK_LIMIT, |session| {
        session.server = found.cloned().or(session.server.take());
        session.pending = Some(pending.clone());
        session.refusal = None;
        session.last_error = None;
    })
}

/// Writes down that a policy refused the device flow: for a while sign-ins go by browser.
pub(super) fn remember_device_refused(file: &SessionFile<'_>, error: &OauthError) -> Result<()> {
    let refused = DeviceRefused { at: Timestamp::now(), because: error.text() };
    file.update(LOCK_LIMIT, |session| {
        session.pending = None;
        session.device_refused = Some(refused);
    })
}

/// Goes on with a sign-in that another process began; `None` if it ended with that one.
fn resume(file: &SessionFile<'_>, mut pending: Pending) -> Result<Option<(Pending, Turns)>> {
    let Some(turns) = Turns::resume(&pending) else { return Ok(None) };
    if let Some(device) = pending.device_mut() {
        // If it was a sign-in in steps: from here on this process polls, and does not write down when.
        device.next_poll_ms = None;
    }
    pending.driver = Some(std::process::id());
    keep_pending(file, &pending)?;
    Ok(Some((pending, turns)))
}

/// Whether an error says that a policy forbids what this sign-in goes by, a device code.
pub(super) fn forbids(client: &Client<'_>, error: &OauthError, pending: &Pending) -> bool {
    pending.kind() == FlowKind::Device && client.forbids_device_flow(error)
}

/// Tells the person in the browser, if there is one, how the sign-in has ended.
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
