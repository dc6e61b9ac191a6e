//! Azure Pipelines: a token for a job, issued for one of its service connections.
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

/// The address at which a job asks for a token, and the job's own token that authenticates the request.
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

/// Requests a token for the service connection with this id.
pub(super) fn token(profile: &Profile, connection: &str) -> Result<String, Failure> {
    let Job { address, token } = Job::find()?;
    let mut query = Serializer::new(String::new());
    query.append_pair("api-version", "7.1").append_pair("serviceConnectionId", connection);
    let url = format!("{}?{}", address.as_str().trim_end_matches('/'), query.finish());
    let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        // Without this header, an invalid token is answered with the sign-in page.
        ("x-tfs-fedauthredirect", "Suppress"),
    ];
    member(address.as_str(), http(profile)?.post_with(&url, "", &headers), &token, "oidcToken", HINT)
}
