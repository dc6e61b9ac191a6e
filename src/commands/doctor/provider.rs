//! Checks the network: the proxy, the trust store, and each profile's provider.

use crate::address::Address;
use crate::clock::roughly;
use crate::config::Profile;
use crate::failure::{Failure, Hint};
use crate::flows::choose;
use crate::grants::sources::proof;
use crate::oauth::Client;
use crate::oauth::http::{Http, unreachable};
use crate::oauth::proxy::{EXCEPTIONS, Proxies};
use crate::prompt::Screen;
use crate::session::{FlowKind, Session};
use crate::store::Store;
use crate::tools::findings::Findings;
use crate::tools::profile::takes_sign_ins;
use anyhow::Result;
use std::time::Duration;

/// Time limit of one request, because a person is waiting.
const LIMIT: Duration = Duration::from_secs(10);

const NETWORK: &str = "check the network, the proxy (HTTPS_PROXY, NO_PROXY), and for a private authority `ca-file`";

/// Reports the proxy and the certificate authorities that a request would use.
pub(super) fn way(findings: &mut Findings) {
    match Proxies::read(&|name| std::env::var_os(name)) {
        Ok(Some(Proxies { variable, proxy, .. })) => {
            let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let but = EXCEPTIONS.into_iter().find(set);
            let but = but.map(|name| format!(", but not for what {name} names")).unwrap_or_default();
            findings.ok("proxy", format!("{}:{}, by {variable}{but}", proxy.host(), proxy.port()));
        }
        Ok(None) => findings.ok("proxy", "none"),
        Err(Failure { message, hint, .. }) => {
            findings.error("proxy", message, hint.unwrap_or_else(|| NETWORK.into()));
        }
    }
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| std::env::var_os(name).is_some());
    authorities(findings, rustls_native_certs::load_native_certs().certs.len(), named);
}

/// Reports how many certificate authorities were found. `named` is the variable that names them, if one is set.
fn authorities(findings: &mut Findings, number: usize, named: Option<&str>) {
    const SUBJECT: &str = "trust store";
    match (number, named) {
        (0, Some(name)) => {
            let message = format!("{name} names no certificate authorities");
            findings.error(SUBJECT, message, Hint::Command(format!("unset {name}")));
        }
        (0, None) => {
            let remedy = "install the package ca-certificates, or name a file by `ca-file` in the profile";
            findings.error(SUBJECT, "the platform has no certificate authorities", remedy);
        }
        (_, Some(name)) => findings.ok(SUBJECT, format!("{number} certificate authorities, by {name}")),
        (_, None) => findings.ok(SUBJECT, format!("{number} certificate authorities of the platform")),
    }
}

/// Checks one profile's provider: that it answers, its clock, and where a sign-in would start.
pub(super) fn profile(findings: &mut Findings, profile: &Profile) {
    let subject = format!("provider {}", profile.title());
    if let Err(error) = check(findings, &subject, profile) {
        findings.failure(&subject, &error, NETWORK);
    }
}

/// Adds what was found of the provider. Fails if its endpoints or this machine's proof cannot be used.
fn check(findings: &mut Findings, subject: &str, profile: &Profile) -> Result<()> {
    if let Some(machine) = profile.machine.as_ref().filter(|machine| !machine.grant.asks_a_server()) {
        proof(machine)?;
        findings.ok(subject, "this machine has what its tokens are made from");
        return Ok(());
    }
    let mut http = Http::new(profile.ca_file.as_ref())?;
    http.limit(LIMIT);
    let by_hand = profile.endpoints.token.as_ref().map(ToString::to_string);
    let url = by_hand.or(profile.issuer.as_ref().map(Address::openid_configuration)).unwrap_or_default();
    // Any answer shows that a server is there, even the error of a token endpoint for a GET.
    let reply = match http.get(&url, None) {
        Ok(reply) => reply,
        Err(why) => {
            findings.error(subject, unreachable(&url, &why).message, NETWORK);
            return Ok(());
        }
    };
    if let Some(ahead) = reply.skew.seconds().filter(|ahead| *ahead != 0) {
        let by = roughly(Duration::from_secs(ahead.unsigned_abs()));
        let way = if ahead > 0 { "behind" } else { "ahead of" };
        let message = format!("this machine's clock is {by} {way} the provider's");
        findings.error(subject, message, "set the clock, best by itself: timedatectl set-ntp true");
    }
    let (client, _) = Client::new(profile, None, LIMIT)?;
    let next = if let Some(machine) = &profile.machine {
        proof(machine)?;
        format!("this machine asks {} for tokens", client.token_endpoint())
    } else {
        let next = sign_in(&client, profile)?;
        takes_sign_ins(profile, &client)?;
        next
    };
    findings.ok(subject, format!("{url} answers; {next}"));
    Ok(())
}

/// Where a sign-in would start now, with its flow and the reason for that flow.
fn sign_in(client: &Client<'_>, profile: &Profile) -> Result<String> {
    let session = Store::open()?.and_then(|store| store.session(&profile.session).session().ok().flatten());
    let choice = choose(client, profile, &session.unwrap_or_else(|| Session::new(&profile.session)))?;
    let starts = match choice.flow {
        FlowKind::Device => client.device_endpoint()?,
        FlowKind::Browser => client.authorization_endpoint()?,
    };
    let place = Screen::place(profile.prompt);
    Ok(format!("a sign-in starts at {starts}, {}, since {}, and appears {place}", choice.flow, choice.because))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_authorities_gets_them() {
        let lines = |number, named| {
            let mut findings = Findings::default();
            authorities(&mut findings, number, named);
            findings.text(None)
        };
        let none = lines(0, None);
        assert!(none.starts_with("error  trust store: the platform has no certificate authorities\n"), "{none}");
        assert!(none.contains("       -> install the package ca-certificates, or "), "{none}");
        assert!(lines(3, None).starts_with("ok     trust store: 3 certificate authorities of the platform\n"));
    }
}
