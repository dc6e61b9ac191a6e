//! AWS: temporary keys of a role, in exchange for the token of an OpenID provider.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
//!
//! The request is not signed, because the token authenticates it. The keys are kept as one token: a JSON object with
//! AWS's three values under AWS's names.

use super::machine::{Proven, granted, with_proof};
use super::{Ask, Renewal, sources};
use crate::clock::Timestamp;
use crate::config::Machine;
use crate::failure::{Exit, Failure};
use crate::oauth::http::Reply;
use crate::secret::Secret;
use crate::text::clean;
use form_urlencoded::Serializer;
use serde_json::json;
use zeroize::Zeroizing;

/// The session's name in AWS's logs.
const SESSION: &str = "keyfob";

/// Sends one request for keys of the machine's role.
pub(super) fn ask(ask: &Ask<'_>, machine: &Machine, proven: &Proven) -> Renewal {
    let (Some(endpoint), Some(role)) = (&ask.profile.endpoints.token, &machine.role) else {
        return Failure::usage("the profile names no `role`").into();
    };
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", "AssumeRoleWithWebIdentity").append_pair("Version", "2011-06-15");
    form.append_pair("RoleArn", role).append_pair("RoleSessionName", SESSION);
    form.append_pair("WebIdentityToken", proven.token.expose());
    let body = Zeroizing::new(form.finish());
    match sources::post(ask.profile, endpoint, &body) {
        Err(failure) => failure.into(),
        Ok(reply) => read(ask, &reply, role, proven),
    }
}

/// The outcome of an answer.
fn read(ask: &Ask<'_>, reply: &Reply, role: &str, proven: &Proven) -> Renewal {
    let text = String::from_utf8_lossy(&reply.body);
    let value = |name: &str| element(&text, name);
    if reply.status == 200 {
        let keys = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(value);
        let end = value("Expiration").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let ([Some(id), Some(secret), Some(session)], Some(end)) = (keys, end) else {
            let what = "AWS answered with something else than keys";
            return Renewal::Trouble(Failure::new(Exit::Unreachable, what), None);
        };
        let keys = json!({"AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": session});
        return granted(ask, Secret::from(keys.to_string()), Timestamp(end.as_second()));
    }
    let said = |name| value(name).map(|text| clean(&text.replace(proven.token.expose(), "…"))).unwrap_or_default();
    let why = format!("AWS gave no keys of {}: {}: {}", clean(role), said("Code"), said("Message"));
    // IDPCommunicationError: AWS could not reach the provider, and asks to try again.
    if reply.status == 429 || reply.status >= 500 || said("Code") == "IDPCommunicationError" {
        return Renewal::Trouble(Failure::new(Exit::Unreachable, why), reply.retry_after);
    }
    Renewal::Refused(with_proof(Failure::new(Exit::Failed, why), proven))
}

/// The text of the first element with this name. AWS's answers have no attributes, and nothing is escaped in these
/// elements.
fn element<'t>(xml: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty() && !text.contains('<'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_by_its_name_alone() {
        let xml =
            "<R><Credentials>\n <AccessKeyId> A </AccessKeyId><SessionToken>s+/=</SessionToken></Credentials><B/></R>";
        assert_eq!((element(xml, "AccessKeyId"), element(xml, "SessionToken")), (Some("A"), Some("s+/=")));
        assert_eq!((element(xml, "Credentials"), element(xml, "B"), element("", "A")), (None, None, None));
    }
}
