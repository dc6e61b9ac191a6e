//! Azure Container Registry: exchanges an access token of Entra ID for a registry's own refresh token, which docker
//! then exchanges at that registry. <https://azure.github.io/acr/AAD-OAuth.html>

use super::machine::{Proven, granted, with_proof};
use super::{Ask, Renewal, sources};
use crate::clock::Timestamp;
use crate::config::Machine;
use crate::failure::{Exit, Failure};
use crate::oauth::answer::Answer;
use crate::oauth::http::unreachable;
use crate::oauth::id_token::Claims;
use crate::secret::Secret;
use form_urlencoded::Serializer;
use zeroize::Zeroizing;

/// The scope of the token that is exchanged. A token for Azure Resource Manager would work too, but would give access
/// to much more.
pub const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// How long the registry's token is kept if it does not say when it expires, in seconds.
const UNSTATED: u64 = 300;

/// Sends one request for a token of the machine's registry.
pub(super) fn ask(ask: &Ask<'_>, machine: &Machine, proven: &Proven) -> Renewal {
    let (Some(endpoint), Some(registry)) = (&ask.profile.endpoints.token, &machine.registry) else {
        return Failure::usage("the profile names no `registry`").into();
    };
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "access_token").append_pair("service", registry);
    if let Some(tenant) = Claims::of(&proven.token).and_then(|claims| claims.tenant) {
        form.append_pair("tenant", &tenant);
    }
    form.append_pair("access_token", proven.token.expose());
    let body = Zeroizing::new(form.finish());
    let reply = match sources::post(ask.profile, endpoint, &body) {
        Ok(reply) => reply,
        Err(failure) => return failure.into(),
    };
    let refused = |why: &str| {
        let what = format!("the registry {registry} gave no token: {why}");
        Renewal::Refused(with_proof(Failure::new(Exit::Failed, what), proven))
    };
    match Answer::hiding(&reply, std::slice::from_ref(&proven.token)) {
        Answer::Object(members) => match members.text("refresh_token").map(Secret::from) {
            Some(token) => {
                let end = Claims::of(&token).and_then(|claims| claims.expires_at);
                granted(ask, token, end.unwrap_or(Timestamp::now().plus(UNSTATED)))
            }
            None => refused("its answer has no `refresh_token`"),
        },
        Answer::Error(error) => refused(&error.text()),
        Answer::Transient(why, after) => Renewal::Trouble(unreachable(endpoint.as_str(), &why), after),
        Answer::Redirect(why) | Answer::Unreadable(why) => refused(&why),
    }
}
