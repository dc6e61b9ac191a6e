//! RFC 6749, section 6: a new access token for the refresh token of a session that a person began.

use super::{Ask, read};
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::failure::Failure;
use crate::log::debug;
use crate::oauth::answer::{Answer, OauthError, TokenAnswer};
use crate::oauth::{Client, http};
use crate::session::{Grant, Session};

/// How a renewal ended.
#[derive(Debug)]
pub enum Renewal {
    /// With tokens. The second value says what is wrong, if the one that was asked for is not among what can be used.
    Granted(Grant, Option<Failure>),
    /// The provider has ended the grant, and this is what it said.
    Ended(String),
    /// The provider wants a new sign-in for just this, for this reason; the session is good.
    Unmet(String),
    /// The provider refused the request as it is; the session is not to blame (R41).
    Refused(Failure),
    /// Nothing was decided: try again later, after so many seconds if the provider said so (R39).
    Trouble(Failure, Option<u64>),
}

/// Asks once, with the session's refresh token; `None` if it has none.
pub fn refresh(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> Option<Renewal> {
    let refresh_token = session.refresh_token.as_ref()?;
    let scopes = scopes_to_name(client, session, ask.profile);
    debug(|| format!("refreshing the session of {}", ask.profile.title()));
    let sent = Timestamp::now();
    let answer = client.refresh(refresh_token, scopes.as_deref(), ask.claims);
    let trouble =
        |why: &str, retry_after| Renewal::Trouble(http::unreachable(client.token_endpoint(), why), retry_after);
    Some(match answer {
        Ok(Answer::Object(object)) => match TokenAnswer::read(&object) {
            Ok(answer) => {
                let asked = scopes.unwrap_or_else(|| session.asked.clone());
                let (grant, problem) = read(&answer, ask, &asked, sent, client.skew());
                Renewal::Granted(grant, problem)
            }
            Err(why) => trouble(&why, None),
        },
        Ok(Answer::Error(error)) => refused(client, session, ask, &error),
        Ok(Answer::Transient(why, retry_after)) => trouble(&why, retry_after),
        Ok(Answer::Redirect(why) | Answer::Unreadable(why)) | Err(why) => trouble(&why, None),
    })
}

/// What an error answer means for the session.
fn refused(client: &Client<'_>, session: &Session, ask: &Ask<'_>, error: &OauthError) -> Renewal {
    let profile = ask.profile;
    // What one tenant or resource answers concerns that alone, unless it says that the refresh token is dead.
    let about_this = || error.is_about_this_resource() || !(error.ends_the_token() || session.was_begun_for(&ask.key));
    if profile.preset.multi_resource && ends_the_grant(error) && about_this() {
        return Renewal::Unmet(format!("the provider wants one for this ({})", error.text()));
    }
    if ends_the_grant(error) {
        return Renewal::Ended(format!("the provider ended the session ({})", error.text()));
    }
    if error.code == "invalid_scope" && asks_for_more(client, session, profile) {
        return Renewal::Unmet("more scopes are needed than were granted".into());
    }
    let failure = client.refused(error, "the provider refused to renew the token");
    Renewal::Refused(if failure.hint.is_none() { failure.run(profile.command("login")) } else { failure })
}

/// Whether an error ends the grant, rather than being about this request.
fn ends_the_grant(error: &OauthError) -> bool {
    let codes = ["invalid_grant", "bad_refresh_token", "interaction_required", "login_required", "consent_required"];
    error.bodyless || codes.contains(&error.code.as_str())
}

/// The `scope` parameter: none where the scopes are those that were signed in for, since some servers refuse what they
/// themselves did not grant.
fn scopes_to_name(client: &Client<'_>, session: &Session, profile: &Profile) -> Option<Vec<String>> {
    if profile.preset.multi_resource {
        return Some(profile.scopes.clone());
    }
    let want = client.askable(&profile.scopes);
    if asks_for_more(client, session, profile) {
        return Some(want);
    }
    let fewer = session.asked.iter().any(|scope| !want.contains(scope));
    fewer.then(|| want.into_iter().filter(|scope| session.granted.contains(scope)).collect())
}

/// Whether the sign-in was for fewer scopes than are wanted now, and that matters.
fn asks_for_more(client: &Client<'_>, session: &Session, profile: &Profile) -> bool {
    let want = client.askable(&profile.scopes);
    !profile.preset.multi_resource && want.iter().any(|scope| !session.asked.contains(scope))
}
