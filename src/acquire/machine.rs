//! Steps 2 and 3 for a machine, where no person signs in: obtain the machine's proof and ask for a token with it. The
//! proof may be another profile's token, which is acquired before this session's lock is taken.

use super::renew::Renewed;
use super::{Acquired, Attempt, TokenWant, acquire};
use crate::clock::now_ms;
use crate::config::{self, Machine, MachineGrant, Profile};
use crate::failure::{Exit, Failure};
use crate::grants::machine::{Proven, ask, proven};
use crate::grants::{Renewal, acr, no_id_token, sources};
use crate::oauth::{self, http};
use crate::process::Uninterrupted;
use crate::providers::TokenKind;
use crate::session::{Grant, Proof, Session};
use crate::store::{Locked, Saved, Store};
use anyhow::{Context, Result};

/// Identifies what the profile's tokens are made from: the source's token, and the client's credential. `None` if a
/// person signs in. Sends no request.
pub(super) fn proof(profile: &Profile) -> Result<Option<Proof>> {
    let Some(machine) = &profile.machine else { return Ok(None) };
    let source = match parent(machine)? {
        Some(parent) => proof_of_parent(&parent)?,
        None => sources::proof(machine)?,
    };
    let credential = oauth::credential(profile)?;
    Ok(Some(match credential {
        Some(credential) => Proof::of([source.as_str(), &credential]),
        None => source,
    }))
}

fn proof_of_parent(parent: &Profile) -> Result<Proof> {
    let session = match Store::open()? {
        Some(store) => store.session(&parent.session).session()?,
        None => None,
    };
    let begun = session.as_ref().and_then(|session| session.begun.as_ref()).map(|begun| begun.serial.to_string());
    let account = session.as_ref().and_then(|session| session.account.as_ref()?.subject.clone());
    let own = session.and_then(|session| session.proof).map(|proof| proof.as_str().to_owned());
    let parts = [begun, account, own].map(Option::unwrap_or_default);
    Ok(Proof::of(parts.iter().map(String::as_str)))
}

/// The profile whose token is this machine's proof, if there is one.
fn parent(machine: &Machine) -> Result<Option<Profile>> {
    let Some(name) = machine.parent() else { return Ok(None) };
    let parent = Profile::named(config::load()?, name)?;
    Ok(Some(match machine.grant {
        MachineGrant::Acr => parent.asking(vec![acr::SCOPE.to_owned()], None)?,
        _ => parent,
    }))
}

/// The failure of a sign-in if the configuration says that no session is kept.
pub(super) fn nothing_is_kept() -> Failure {
    let why = "config.toml says `store = \"none\"`: nothing is kept of a sign-in, so every call would ask for another";
    Failure::usage(why).hint("use a machine's `grant` in the profile, or keep sessions: keyfob store file")
}

impl Attempt<'_> {
    /// If another profile's token is the proof, makes sure that it can be had, by a sign-in if this caller may prompt.
    /// `living`: this profile's old token is still valid, so no prompt is needed.
    pub(super) fn prepare(&mut self, living: bool) -> Result<()> {
        let Some(machine) = &self.want.profile.machine else { return Ok(()) };
        let Some(parent) = parent(machine)? else { return Ok(()) };
        let no_prompt = living.then_some("the old token still lives");
        self.ask_parent(machine, &parent, self.want.no_prompt.or(no_prompt))?;
        self.needs.proof = proof(self.want.profile)?;
        Ok(())
    }

    fn ask_parent(&self, machine: &Machine, parent: &Profile, no_prompt: Option<&'static str>) -> Result<Proven> {
        let kind = parent.token_kind.unwrap_or(machine.proof_kind());
        let want = TokenWant {
            no_prompt,
            timeout: self.want.timeout.map(|_| self.time_left()),
            forbids: self.want.forbids,
            qr: self.want.qr,
            purpose: self.want.purpose.clone(),
            ..TokenWant::of(parent, kind, self.want.requester)
        };
        Ok(Proven::of_profile(acquire(&want)?.token, kind))
    }

    /// Asks for a token as this machine, and records the outcome in the session.
    pub(super) fn ask_as_machine(
        &self,
        machine: &Machine,
        mut locked: Locked<'_>,
        session: Session,
    ) -> Result<Renewed> {
        let _until_saved = Uninterrupted::begin();
        let proof = self.needs.proof.as_ref().context("a machine without a proof")?;
        let mut session = session.made_from(proof);
        let Some(room) = locked.reserve(&session)? else { return Ok(Renewed::LookAgain) };
        let renewal = self.while_asking(|| self.asked_as_machine(machine, &mut session));
        let renewal = match renewal {
            Ok(renewal) => renewal,
            Err(error) => return self.not_renewed(locked, session, &error),
        };
        if !self.take(renewal, &mut session)? {
            return self.written_down(locked, &session);
        }
        match locked.save_in(Some(room), &session)? {
            Saved::Saved => self.outcome(&session),
            // The file now holds something newer, or nothing; this grant is not worth keeping.
            Saved::Superseded(_) | Saved::SignedOut => Ok(Renewed::LookAgain),
        }
    }

    /// Like [`Attempt::ask_as_machine`], but keeps nothing: `config.toml` says `store = "none"`, so each call asks.
    pub(super) fn ask_and_forget(&self) -> Result<Acquired> {
        let (Some(machine), Some(proof)) = (&self.want.profile.machine, &self.needs.proof) else {
            return Err(nothing_is_kept().into());
        };
        let mut session = Session::new(&self.want.profile.session).made_from(proof);
        let renewal = self.while_asking(|| self.asked_as_machine(machine, &mut session))?;
        self.take(renewal, &mut session)?;
        match self.outcome(&session)? {
            Renewed::Answer(credential) => Ok(credential),
            Renewed::LookAgain | Renewed::SignIn(_) => Err(Failure::new(Exit::Failed, "nothing was answered").into()),
        }
    }

    /// Takes a grant, or a failure, into the session. Returns whether there was a grant. Fails if this process's own
    /// settings are wrong, because that does not concern other processes.
    fn take(&self, renewal: Renewal, session: &mut Session) -> Result<bool> {
        let (failure, after) = match renewal {
            Renewal::Granted(grant, problem) => {
                self.granted_to_machine(session, grant, problem);
                return Ok(true);
            }
            Renewal::Refused(failure) if failure.exit == Exit::Usage => return Err(failure.into()),
            Renewal::Refused(failure) => (failure, None),
            Renewal::Trouble(failure, after) => (failure, after),
            Renewal::Ended(why) | Renewal::Unmet(why) => (Failure::new(Exit::Failed, why.text), None),
        };
        session.failed(self.failed(failure, after), now_ms());
        Ok(false)
    }

    fn asked_as_machine(&self, machine: &Machine, session: &mut Session) -> Result<Renewal> {
        let own = self.ask();
        let proven = match parent(machine)? {
            // The parent's token was there a moment ago: if a sign-in was needed, it was done before this lock was
            // taken.
            Some(parent) => Some(self.ask_parent(machine, &parent, Some("its session's lock is held"))?),
            None => match proven(&own, machine) {
                Ok(proven) => proven,
                Err(failure) => return Ok(failure.into()),
            },
        };
        let client = machine.grant.asks_a_server().then(|| self.client(session, http::LIMIT)).transpose()?;
        Ok(ask(client.as_ref(), machine, &own, proven.as_ref()))
    }

    /// Takes a grant into the session, and records a failure if the wanted token is missing.
    fn granted_to_machine(&self, session: &mut Session, grant: Grant, problem: Option<Failure>) {
        let key = &self.needs.key;
        let brought = grant.tokens.iter().any(|token| token.key == *key && token.lives(grant.at, 1));
        session.renewed(grant);
        let missing = || match key.kind {
            TokenKind::Id => no_id_token(self.want.profile),
            TokenKind::Access => Failure::new(Exit::Failed, "the new token has already ended"),
        };
        if let Some(problem) = problem.or_else(|| (!brought).then(missing)) {
            session.failed(self.failed(problem, None), now_ms());
        }
    }
}
