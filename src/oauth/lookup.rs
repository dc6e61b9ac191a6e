//! Looks up a host's addresses. The system may take any amount of time, so a separate thread asks it, and the caller
//! waits only until the request's timeout.

use crate::later::in_a_thread;
use http::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

/// Like ureq's resolver, but does not panic if no thread can be started, and never looks up `localhost`.
#[derive(Debug)]
pub(super) struct Lookup;

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(addresses) = localhost(uri) {
            let mut found = self.empty();
            for address in addresses {
                found.push(address);
            }
            return Ok(found);
        }
        let (uri, config) = (uri.clone(), config.clone());
        let unlimited = NextTimeout { after: Duration::NotHappening, ..timeout };
        let found = in_a_thread(move || DefaultResolver::default().resolve(&uri, &config, unlimited))?;
        found.wait(*timeout.after).unwrap_or(Err(Error::Timeout(timeout.reason)))
    }
}

/// The loopback addresses, if the host is `localhost`. A name server's answer for that name must not be used (RFC 6761,
/// section 6.3); musl would ask one if `/etc/hosts` has no entry.
fn localhost(uri: &Uri) -> Option<[SocketAddr; 2]> {
    let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
    if host != "localhost" && !host.ends_with(".localhost") {
        return None;
    }
    let usual = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    Some([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_this_machine_without_asking() {
        let found = |uri: &'static str| {
            let all = localhost(&Uri::from_static(uri))?;
            Some(all.map(|address| address.to_string()))
        };
        let here = |port| Some([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        assert_eq!(found("http://localhost:8080/token"), here(8080));
        assert_eq!(found("http://localhost/"), here(80));
        assert_eq!(found("https://LocalHost./"), here(443));
        assert_eq!(found("https://id.localhost/"), here(443));
        for other in ["https://localhost.example.com/", "https://notlocalhost/", "https://127.0.0.1/", "/path"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
