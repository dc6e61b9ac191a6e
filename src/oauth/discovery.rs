//! A server's metadata: OpenID Connect Discovery 1.0 and RFC 8414.

use super::answer::Answer;
use super::http::{Http, Reply, unreachable};
use super::json::Members;
use crate::address::Address;
use crate::clock::Timestamp;
use crate::config::AuthMethod;
use crate::failure::{Exit, Failure};
use crate::session::Metadata;
use crate::text::clean;

/// The most redirects that are followed for one document.
const MOST_REDIRECTS: usize = 3;
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// The well-known names of a metadata document, which a redirect must keep.
const WELL_KNOWN: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// Fetches the metadata of `issuer`: from `place` if it is given, otherwise from the first well-known address, and from
/// the second if the first has no device authorization endpoint (R43).
pub fn discover(http: &Http, issuer: &Address, place: Option<&Address>) -> Result<Metadata, Failure> {
    let hint = "check `issuer`; for a server without metadata set `token-endpoint`, and `device-authorization-endpoint` or \
                `authorization-endpoint`";
    let mut found: Option<Metadata> = None;
    let mut reasons = Vec::new();
    let well_known = || vec![issuer.openid_configuration(), issuer.authorization_server_metadata()];
    for url in place.map_or_else(well_known, |place| vec![place.to_string()]) {
        match (fetch(http, issuer, url), found.take()) {
            (Ok(Ok(metadata)), None) if metadata.device_authorization_endpoint.is_none() => found = Some(metadata),
            (Ok(Ok(metadata)), first) => {
                let better = metadata.device_authorization_endpoint.is_some();
                return Ok(first.filter(|_| !better).unwrap_or(metadata));
            }
            // The first document is good, so a failure at the second address does not matter.
            (_, Some(first)) => return Ok(first),
            (Ok(Err(reason)), None) => reasons.push(reason),
            (Err(failure), None) => return Err(failure),
        }
    }
    found.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("found no metadata of {issuer} ({})", reasons.join("; "))).hint(hint)
    })
}

/// Fetches one address: the metadata, or the reason why there is none. Fails if no other address should be tried.
fn fetch(http: &Http, issuer: &Address, url: String) -> Result<Result<Metadata, String>, Failure> {
    let (url, reply) = follow(http, url)?;
    Ok(Err(match Answer::of(&reply) {
        Answer::Object(object) => match read(&object, issuer, Timestamp::now()) {
            Ok(metadata) => return Ok(Ok(metadata)),
            Err(why) => {
                let what = format!("the metadata at {url} cannot be used: {why}");
                return Err(Failure::new(Exit::Failed, what)
                    .hint("check `issuer`: it must be written exactly as the provider writes it"));
            }
        },
        Answer::Transient(why, _) if reply.status == 429 || reply.status >= 500 => {
            return Err(unreachable(&url, &why));
        }
        Answer::Unreadable(why) if reply.cut.is_some() => return Err(unreachable(&url, &why)),
        // Most servers answer "not found" with a web page; any other web page comes from a proxy or a portal.
        Answer::Transient(why, _) if reply.status != 404 => format!("{url}: {why}"),
        Answer::Redirect(why) | Answer::Unreadable(why) => format!("{url}: {why}"),
        Answer::Error(error) if !error.code.starts_with("http_") => format!("{url}: {}", error.text()),
        _ => format!("{url}: status {}", reply.status),
    }))
}

/// Fetches an address and follows redirects within one origin to a well-known address. The document's issuer is checked
/// in any case.
fn follow(http: &Http, mut url: String) -> Result<(String, Reply), Failure> {
    let mut left = MOST_REDIRECTS;
    loop {
        let reply = http.get(&url, None).map_err(|why| unreachable(&url, &why))?;
        match reply.location.as_ref().filter(|_| left > 0 && REDIRECTS.contains(&reply.status)) {
            Some(location) if moved(&url, location).is_some() => url = moved(&url, location).unwrap_or_default(),
            _ => return Ok((url, reply)),
        }
        left -= 1;
    }
}

/// The target of a redirect, if it may be followed.
fn moved(from: &str, location: &str) -> Option<String> {
    let from = Address::parse(from).ok()?;
    let to = if location.starts_with('/') && !location.starts_with("//") {
        Address::parse(&(from.origin() + location)).ok()?
    } else {
        Address::parse(location).ok()?
    };
    let path = to.as_str().split(['?', '#']).next()?.trim_end_matches('/');
    let kept = WELL_KNOWN.iter().any(|name| from.as_str().contains(name) && path.contains(name));
    (kept && to.origin() == from.origin()).then(|| to.as_str().to_owned())
}

/// Reads a metadata document (RFC 8414, section 3.2). The error says what is wrong with it.
pub fn read(document: &Members, issuer: &Address, now: Timestamp) -> Result<Metadata, String> {
    let said = document.text("issuer").ok_or("it names no issuer")?;
    if !same_issuer(&said, issuer.as_str()) {
        return Err(format!("it is of the issuer {:?}, not {:?}", clean(&said), issuer.as_str()));
    }
    let endpoint = |name: &str| match document.get::<String>(name) {
        None if document.has(name) => Err(format!("its `{name}` is not a string")),
        None => Ok(None),
        Some(text) => match Address::parse(&text) {
            Ok(_) => Ok(Some(text)),
            Err(why) => Err(format!("its `{name}` {why}")),
        },
    };
    let lists = |name: &str, item: &str| Some(document.list::<String>(name)?.iter().any(|entry| entry == item));
    let methods = "token_endpoint_auth_methods_supported";
    // RFC 8414, section 2: if there is no list, the method is Basic.
    let basic =
        lists(methods, "client_secret_basic") != Some(false) || lists(methods, "client_secret_post") != Some(true);
    Ok(Metadata {
        fetched_at: now,
        device_authorization_endpoint: endpoint("device_authorization_endpoint")?,
        authorization_endpoint: endpoint("authorization_endpoint")?,
        token_endpoint: endpoint("token_endpoint")?,
        revocation_endpoint: endpoint("revocation_endpoint")?,
        auth_method: if basic { AuthMethod::ClientSecretBasic } else { AuthMethod::ClientSecretPost },
        form_post: lists("response_modes_supported", "form_post").unwrap_or(false),
        names_issuer: document.get("authorization_response_iss_parameter_supported").unwrap_or(false),
        s256: lists("code_challenge_methods_supported", "S256").unwrap_or(false),
        offline_access: lists("scopes_supported", "offline_access").unwrap_or(true),
    })
}

/// R44: the issuers must be identical, except that some servers publish one metadata document for all tenants with
/// `{tenantid}` in place of one path component.
fn same_issuer(said: &str, wanted: &str) -> bool {
    if said == wanted {
        return true;
    }
    let Some((before, after)) = said.split_once("{tenantid}") else { return false };
    let tenant = wanted.strip_prefix(before).and_then(|w| w.strip_suffix(after));
    before.starts_with("https://")
        && before[8..].contains('/')
        && tenant.is_some_and(|t| !t.is_empty() && !t.contains('/'))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read_for(issuer: &str, value: Value) -> Result<Metadata, String> {
        read(&Members::read(value.to_string().as_bytes()).unwrap(), &Address::parse(issuer).unwrap(), Timestamp(7))
    }

    #[test]
    fn r44_the_issuer_must_be_identical_but_for_a_tenant_template() {
        for (said, wanted, same) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example/", "https://a.example", false),
            ("https://A.example", "https://a.example", false),
            ("https://m.example/{tenantid}/v2.0", "https://m.example/organizations/v2.0", true),
            ("https://m.example/{tenantid}/v2.0", "https://m.example/a/b/v2.0", false),
            ("https://m.example/{tenantid}/v2.0", "https://m.example//v2.0", false),
            ("https://{tenantid}/v2.0", "https://evil.example/v2.0", false),
            ("{tenantid}", "https://evil.example", false),
        ] {
            assert_eq!(same_issuer(said, wanted), same, "{said} {wanted}");
        }
        assert_eq!(
            read_for("https://a.example", json!({"issuer": "https://b.example\u{1b}"})).unwrap_err(),
            "it is of the issuer \"https://b.example\", not \"https://a.example\""
        );
    }

    #[test]
    fn a_document_may_move_within_its_origin_and_keeps_its_name() {
        let from = "https://id.example/realms/a/.well-known/openid-configuration";
        for (location, to) in [
            (
                "/auth/realms/a/.well-known/openid-configuration",
                Some("https://id.example/auth/realms/a/.well-known/openid-configuration"),
            ),
            (
                "https://id.example/realms/a/.well-known/openid-configuration/",
                Some("https://id.example/realms/a/.well-known/openid-configuration/"),
            ),
            (
                "https://ID.example:443/x/.well-known/openid-configuration",
                Some("https://ID.example:443/x/.well-known/openid-configuration"),
            ),
            ("https://evil.example/realms/a/.well-known/openid-configuration", None),
            ("https://id.example:444/realms/a/.well-known/openid-configuration", None),
            ("http://id.example/realms/a/.well-known/openid-configuration", None),
            ("//evil.example/.well-known/openid-configuration", None),
            ("https://id.example@evil.example/.well-known/openid-configuration", None),
            ("/.well-known/oauth-authorization-server", None),
            ("/login?next=/.well-known/openid-configuration", None),
            ("/login#/.well-known/openid-configuration", None),
            ("/login", None),
            ("configuration", None),
            ("", None),
        ] {
            assert_eq!(moved(from, location).as_deref(), to, "{location}");
        }
    }

    #[test]
    fn endpoints_and_abilities_are_read_and_wrong_types_named() {
        let metadata = read_for("https://a.example", json!({
            "issuer": "https://a.example", "token_endpoint": "https://a.example/t", "device_authorization_endpoint": null,
            "token_endpoint_auth_methods_supported": ["client_secret_post"], "code_challenge_methods_supported": ["plain", "S256"],
            "scopes_supported": ["openid"]
        }))
        .unwrap();
        assert_eq!(metadata.token_endpoint.as_deref(), Some("https://a.example/t"));
        assert_eq!(metadata.device_authorization_endpoint, None);
        assert_eq!(metadata.auth_method, AuthMethod::ClientSecretPost);
        assert!(metadata.s256 && !metadata.offline_access);
        for (endpoint, why) in [
            (json!(3), "its `token_endpoint` is not a string"),
            (json!("http://b.example/t"), "its `token_endpoint` is not https (plain http is allowed only on loopback)"),
        ] {
            let document = json!({"issuer": "https://a.example", "token_endpoint": endpoint});
            assert_eq!(read_for("https://a.example", document).unwrap_err(), why);
        }
    }
}
