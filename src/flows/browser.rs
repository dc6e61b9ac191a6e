//! The authorization code flow (RFC 6749, section 4.1; RFC 7636; RFC 8252): the provider's page in a browser on this
//! machine, which redirects back here with a code.

use super::listener::{self, Answer, Expected, Listener};
use super::opener::{Opening, openers};
use super::{Begun, End, Place, Turn, environment, scopes};
use crate::clock::{Timestamp, boottime};
use crate::config::Flow;
use crate::failure::Failure;
use crate::grants::Ask;
use crate::oauth::answer::{self, OauthError, TokenAnswer};
use crate::oauth::id_token::Claims;
use crate::oauth::{Client, random};
use crate::secret::Secret;
use crate::session::{FlowKind, Pending, PendingBrowser, PendingFlow, Session};
use std::time::Duration;

/// How long a person has to sign in, in seconds: as long as most device codes are valid.
const LIFE: u64 = 900;
/// How often to check whether the program that opens the browser has succeeded.
const LOOK: Duration = Duration::from_millis(50);

/// A pending sign-in, in the one process that listens for the browser.
pub struct Turns {
    listener: Listener,
    opening: Opening,
    deadline: Duration,
    redirect: String,
    verifier: Secret,
    nonce: Option<Secret>,
    /// Whether it is still unknown if the browser opens.
    is_opening: bool,
}

/// Starts to listen for the answer to a request for `ask`'s scopes and for all scopes that `session` asked for before.
pub(super) fn begin(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> Result<Begun<Turns>, Failure> {
    let redirect = ask.profile.redirect();
    client.authorization_endpoint()?;
    let sockets = listener::bind(redirect.port, redirect.host == "localhost")?;
    let port = sockets.1;
    let address = format!("http://{}:{port}{}", redirect.host, redirect.path);
    let (scopes, key) = scopes(client, session, ask);
    let (state, verifier, short) = (random::<32>()?, random::<32>()?, random::<12>()?);
    let nonce = scopes.iter().any(|scope| scope == "openid").then(random::<16>).transpose()?;
    let scope = scopes.join(" ");
    let posted = client.posts_answers();
    let mut parameters = vec![("redirect_uri", address.as_str()), ("state", state.expose())];
    parameters.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
    parameters.extend(nonce.as_ref().map(|nonce| ("nonce", nonce.expose())));
    parameters.extend(posted.then_some(("response_mode", "form_post")));
    let (names_issuer, issuer) = client.issuer();
    let expected = Expected {
        short: format!("/{}", short.expose()),
        to: client.authorization_request(&parameters, &verifier)?,
        path: if redirect.path.is_empty() { "/".into() } else { redirect.path.into() },
        state,
        posted,
        names_issuer,
        issuer: issuer.map(str::to_owned),
    };
    let started_at = Timestamp::now();
    let here = format!("http://127.0.0.1:{port}{}", expected.short);
    let openers = openers(&here, Place::find().wsl, &environment);
    let tried = session.begun.as_ref().is_some_and(|begun| begun.flow == FlowKind::Browser);
    let untried = !tried && ask.profile.flow == Flow::Auto && client.device_endpoint().is_ok();
    let flow = PendingFlow::Browser(PendingBrowser { address: here, opening: !openers.is_empty(), untried });
    let turns = Turns {
        listener: Listener::new(sockets, expected)?,
        opening: Opening::new(openers),
        deadline: boottime() + Duration::from_secs(LIFE),
        redirect: address,
        verifier,
        nonce,
        is_opening: true,
    };
    let pending = Pending {
        scopes,
        key,
        started_at,
        expires_at: started_at.plus(LIFE),
        asked_by: ask.by.clone(),
        terminal: None,
        driver: None,
        flow,
    };
    Ok((pending, turns))
}

impl Turns {
    /// When the sign-in expires, as time since boot.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Opens the browser, serves its requests, and exchanges the code once it has arrived.
    pub(super) fn turn(&mut self, client: &Client<'_>) -> Turn {
        if boottime() >= self.deadline {
            return Turn::Ended(End::Expired);
        }
        self.is_opening = self.opening.go_on();
        match self.listener.serve() {
            None => Turn::Wait(self.deadline),
            Some(Answer::Code(code)) => Turn::Ended(self.exchange(client, &code)),
            Some(Answer::Error(code, description)) => {
                let error = OauthError { code, description, ..OauthError::default() };
                Turn::Ended(if error.code == "access_denied" { End::Refused(error) } else { End::Failed(error) })
            }
            Some(Answer::Foreign(why)) => Turn::Ended(End::Foreign(why)),
        }
    }

    /// Sleeps until there is something to do, but at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        self.listener.wait(if self.is_opening { limit.min(LOOK) } else { limit });
    }

    /// Shows in the browser how the sign-in ended.
    pub(super) fn tell(self, well: bool, words: &str) {
        self.listener.tell(well, words);
    }

    /// Exchanges the code for tokens, and checks that they are for this sign-in.
    fn exchange(&self, client: &Client<'_>, code: &Secret) -> End {
        let object = match client.exchange(code, &self.redirect, &self.verifier) {
            Ok(answer::Answer::Object(object)) => object,
            Ok(answer::Answer::Error(error)) => return End::Failed(error),
            Ok(answer::Answer::Transient(why, _) | answer::Answer::Redirect(why) | answer::Answer::Unreadable(why))
            | Err(why) => return End::Lost(why),
        };
        let answer = match TokenAnswer::read(&object) {
            Ok(answer) => answer,
            Err(why) => return End::Lost(why),
        };
        let id_token = answer.tokens.as_ref().ok().and_then(|tokens| tokens.id_token.as_ref());
        let claims = id_token.and_then(Claims::of);
        // OpenID Connect Core, section 3.1.3.7: a wrong nonce means that the ID token was issued for another request.
        let said = claims.as_ref().map(|claims| claims.nonce.as_deref());
        if let (Some(nonce), Some(said)) = (&self.nonce, said)
            && said != Some(nonce.expose())
        {
            if let Some(token) = &answer.refresh_token {
                let _ = client.revoke(token, "refresh_token");
            }
            return End::Foreign("its ID token was made for another sign-in (`nonce`)".into());
        }
        End::Approved(answer)
    }
}
