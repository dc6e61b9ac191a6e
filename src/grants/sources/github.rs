//! GitHub Actions, and systems that copy it: a job's own token.
//! <https://docs.github.com/actions/reference/security/oidc>

use super::{address, http, member, variable};
use crate::address::Address;
use crate::config::Profile;
use crate::failure::Failure;
use crate::secret::Secret;
use form_urlencoded::{Serializer, parse};
use zeroize::Zeroizing;

const HINT: &str = "give the job `permissions: id-token: write`; there is no token outside of a job, nor for a pull request from a fork";

/// The address at which a job asks for a token, and the job's own token that authenticates the request.
pub(super) struct Job {
    pub(super) address: Address,
    pub(super) token: Secret,
}

impl Job {
    pub(super) fn find() -> Result<Self, Failure> {
        let token = Secret::from(variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", HINT)?);
        Ok(Self { address: address("ACTIONS_ID_TOKEN_REQUEST_URL", HINT)?, token })
    }
}

/// Requests a token for `audience`.
pub(super) fn token(profile: &Profile, audience: &str) -> Result<String, Failure> {
    let Job { address, token } = Job::find()?;
    let url = for_audience(address.as_str(), audience);
    let bearer = Zeroizing::new(format!("bearer {}", token.expose()));
    let headers = [("authorization", bearer.as_str()), ("accept", "application/json; api-version=2.0")];
    member(address.as_str(), http(profile)?.get_with(&url, &headers), &token, "value", HINT)
}

/// Sets the audience in an address that already has a query, perhaps with another audience.
fn for_audience(address: &str, audience: &str) -> String {
    let (place, query) = address.split_once('?').unwrap_or((address, ""));
    let others = parse(query.as_bytes()).filter(|(name, _)| name != "audience");
    let query = Serializer::new(String::new()).extend_pairs(others).append_pair("audience", audience).finish();
    format!("{place}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_takes_its_place_in_any_query() {
        for (address, asked) in [
            ("https://a.example/t", "https://a.example/t?audience=api%3A%2F%2Fx"),
            ("https://a.example/t?api-version=2.0", "https://a.example/t?api-version=2.0&audience=api%3A%2F%2Fx"),
            ("https://a.example/t?audience=old&b=%20", "https://a.example/t?b=+&audience=api%3A%2F%2Fx"),
        ] {
            assert_eq!(for_audience(address, "api://x"), asked);
        }
    }
}
