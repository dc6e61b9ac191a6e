//! What is on the network: the way there, and each profile's provider.

use super::Findings;
use crate::address::Address;
use crate::clock::roughly;
use crate::config::Profile;
use crate::oauth::Client;
use crate::oauth::http::{Http, unreachable};
use anyhow::Result;
use std::time::Duration;

/// Longest time for one request: somebody is waiting.
const LIMIT: Duration = Duration::from_secs(10);

/// What a proxy is named by, in the order in which it is looked for.
const PROXIES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// The proxy and the certificate authorities, as a request would use them.
pub(super) fn way(findings: &mut Findings) {
    let named = PROXIES.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    match (ureq::Proxy::try_from_env(), named) {
        (Some(proxy), _) => findings.ok("proxy", format!("{}:{}", proxy.host(), proxy.port())),
        (None, Some(name)) => {
            findings.bad("proxy", format!("{name} is set, but is not the address of a proxy"), format!("unset {name}"));
        }
        (None, None) => findings.ok("proxy", "none"),
    }
    let found = rustls_native_certs::load_native_certs();
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| std::env::var_os(name).is_some());
    let place = named.map_or_else(|| "the platform's".to_owned(), |name| format!("those that {name} names"));
    match (found.certs.len(), named) {
        (0, Some(name)) => {
            findings.bad("authorities", format!("{name} names no certificate authorities"), format!("unset {name}"));
        }
        (0, None) => {
            let remedy = "install the package ca-certificates, or name a file by `ca-file` in the profile";
            findings.bad("authorities", "the platform has no certificate authorities", remedy);
        }
        (number, _) => findings.ok("authorities", format!("{place}: {number}")),
    }
}

/// One profile's provider: that it answers, what time it thinks it is, and where a sign-in would start.
pub(super) fn profile(findings: &mut Findings, profile: &Profile) {
    let subject = format!("profile {}", profile.title());
    if let Err(error) = look(findings, &subject, profile) {
        findings.failure(&subject, &error);
    }
}

fn look(findings: &mut Findings, subject: &str, profile: &Profile) -> Result<()> {
    let mut http = Http::new(profile.ca_file.as_deref())?;
    http.limit(LIMIT);
    let by_hand = profile.endpoints.token.as_ref().map(ToString::to_string);
    let url = by_hand.or(profile.issuer.as_ref().map(Address::openid_configuration)).unwrap_or_default();
    // Any answer will do: that of a token endpoint is one of displeasure.
    let reply = match http.get(&url, None) {
        Ok(reply) => reply,
        Err(why) => {
            let remedy = "check the network, the proxy (HTTPS_PROXY, NO_PROXY), and for a private authority `ca-file`";
            findings.bad(subject, unreachable(&url, &why).message, remedy);
            return Ok(());
        }
    };
    match reply.skew.seconds() {
        Some(ahead) if ahead != 0 => {
            let by = roughly(Duration::from_secs(ahead.unsigned_abs()));
            let way = if ahead > 0 { "behind" } else { "ahead of" };
            let message = format!("this machine's clock is {by} {way} the provider's");
            findings.bad(subject, message, "set the clock, best by itself: timedatectl set-ntp true");
        }
        _ => {}
    }
    let (client, _) = Client::new(profile, None, LIMIT)?;
    let endpoint = client.device_endpoint()?;
    findings.ok(subject, format!("{url} answers; sign-in starts at {endpoint}"));
    Ok(())
}
