//! Google Cloud: the identity token of a virtual machine or a pod, from the metadata server.
//! <https://cloud.google.com/compute/docs/instances/verifying-instance-identity>

use super::http;
use crate::config::Profile;
use crate::failure::{Exit, Failure};
use crate::grants::metadata;
use crate::oauth::http::{Reply, unreachable};
use form_urlencoded::Serializer;
use std::time::Duration;

/// Longest time to connect: if a link-local address does not answer quickly, it never will.
const CONNECT: Duration = Duration::from_secs(3);
const PATH: &str = "computeMetadata/v1/instance/service-accounts/default/identity";

/// Requests a token for `audience`.
pub(super) fn token(profile: &Profile, audience: &str) -> Result<String, Failure> {
    let home = metadata::named_host("GCE_METADATA_HOST")?.unwrap_or_else(|| metadata::LINK_LOCAL.to_owned());
    let mut query = Serializer::new(String::new());
    query.append_pair("audience", audience).append_pair("format", "full");
    let place = format!("{home}/{PATH}");
    let url = format!("{place}?{}", query.finish());
    let mut http = http(profile)?;
    http.connect_within(CONNECT);
    let reply = http.get_with(&url, &[("metadata-flavor", "Google")]).and_then(Reply::whole);
    let reply =
        reply.map_err(|why| unreachable(&place, &why).hint("`source = \"gcp\"` is for machines of Google Cloud"))?;
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    match reply.status {
        200 if reply.flavor.as_deref() == Some("Google") => Ok(body),
        200 => Err(Failure::new(Exit::Failed, format!("{place} is not Google's: its answer has no `Metadata-Flavor`"))),
        429 | 500.. => Err(unreachable(&place, &format!("it answered with status {}", reply.status))),
        404 => {
            let what = format!("{place} knows no identity of this machine");
            Err(Failure::new(Exit::Failed, what).hint("give the machine a service account"))
        }
        status => Err(Failure::new(Exit::Failed, format!("{place} gave no token: it answered with status {status}"))),
    }
}
