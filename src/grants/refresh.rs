//! A refresh (RFC 6749, section 6): new tokens for the refresh token of a session that a person began.

use super::{Ask, Because, Renewal, answered};
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::log::debug;
use crate::oauth::Client;
use crate::oauth::answer::OauthError;
use crate::session::Session;

/// Sends one refresh request; `None` if the session has no refresh token.
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
    // A refusal for one tenant or resource concerns only that token, unless the error says that the refresh token is
    // dead.
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

/// Whether the error ends the grant, rather than concerning this request alone.
fn ends_the_grant(error: &OauthError) -> bool {
    let codes = ["invalid_grant", "bad_refresh_token", "interaction_required", "login_required", "consent_required"];
    error.bodyless || codes.contains(&error.code.as_str())
}

/// The `scope` parameter. `None` if the wanted scopes are those of the sign-in, because some servers refuse scopes that
/// they did not grant themselves.
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

/// Whether scopes are wanted now that the sign-in did not ask for. Always false for a multi-resource provider.
fn asks_for_more(client: &Client<'_>, session: &Session, profile: &Profile) -> bool {
    let want = client.askable(&profile.scopes);
    !profile.preset.multi_resource && want.iter().any(|scope| !session.asked.contains(scope))
}
