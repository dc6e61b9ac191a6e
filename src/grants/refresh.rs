//! RFC 6749, section 6: a new access token for the refresh token of a session that a person began.

use super::{Ask, Because, Renewal, answered};
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::log::debug;
use crate::oauth::Client;
use crate::oauth::answer::OauthError;
use crate::session::Session;

/// Asks once, with the session's refresh token; `None` if it has none.
pub fn refresh(client: &Client<'_>, session: &Session, ask: &Ask<'_>) -> Option<Renewal> {
    let refresh_token = session.refresh_token.as_ref()?;
    let scopes = scopes_to_name(client, session, ask.profile);
    debug(|| format!("refreshing the session of {}", ask.profile.title()));
    let sent = Timestamp::now();
    let answer = client.refresh(refresh_token, scopes.as_deref(), ask.claims);
    let asked = scopes.unwrap_or_else(|| session.asked.clone());
    Some(answered(client, ask, &asked, sent, answer, |error| refused(client, session, ask, error)))
}

/// What an error answer means for the session.
fn refused(client: &Client<'_>, session: &Session, ask: &Ask<'_>, error: &OauthError) -> Renewal {
    let profile = ask.profile;
    let forbids_device = session.is_of_device_flow() && client.forbids_device_flow(error);
    let because = |text| Because { text, forbids_device };
    // What one tenant or resource answers concerns that alone, unless it says that the refresh token is dead.
    let about_this = || error.is_about_this_resource() || !(error.ends_the_token() || session.was_begun_for(&ask.key));
    if profile.preset.multi_resource && ends_the_grant(error) && about_this() {
        return Renewal::Unmet(because(format!("the provider wants one for this ({})", error.text())));
    }
    if ends_the_grant(error) {
        return Renewal::Ended(because(format!("the provider ended the session ({})", error.text())));
    }
    if error.code == "invalid_scope" && asks_for_more(client, session, profile) {
        return Renewal::Unmet(because("more scopes are needed than were granted".into()));
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
