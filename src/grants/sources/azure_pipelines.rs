//! Azure Pipelines: a job's own token, for one of its service connections.
//! <https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create>

use super::{address, http, member, variable};
use crate::address::Address;
use crate::config::Profile;
use crate::failure::Failure;
use crate::secret::Secret;
use form_urlencoded::Serializer;
use zeroize::Zeroizing;

const HINT: &str =
    "map it into the step: `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`; and check `service-connection`";

/// Where a job asks, and by what.
pub(super) struct Job {
    pub(super) address: Address,
    pub(super) token: Secret,
}

impl Job {
    pub(super) fn find() -> Result<Self, Failure> {
        let token = Secret::from(variable("SYSTEM_ACCESSTOKEN", HINT)?);
        Ok(Self { address: address("SYSTEM_OIDCREQUESTURI", HINT)?, token })
    }
}

/// Asks for a token for the service connection of this id.
pub(super) fn token(profile: &Profile, connection: &str) -> Result<String, Failure> {
    let Job { address, token } = Job::find()?;
    let mut query = Serializer::new(String::new());
    query.append_pair("api-version", "7.1").append_pair("serviceConnectionId", connection);
    let url = format!("{}?{}", address.as_str().trim_end_matches('/'), query.finish());
    let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        // Else it answers a token that it does not know by the page where a person signs in.
        ("x-tfs-fedauthredirect", "Suppress"),
    ];
    member(address.as_str(), http(profile)?.post_with(&url, "", &headers), &token, "oidcToken", HINT)
}
