//! The addresses of metadata services, which tell a machine its identity. These are the only addresses beyond this
//! machine that are asked by plain http, and never through a proxy.

use crate::address::Address;
use crate::failure::Failure;
use http::Uri;
use std::net::Ipv4Addr;

/// The metadata server's address in every cloud; the link-local network does not reach beyond the host.
pub(super) const LINK_LOCAL: &str = "http://169.254.169.254";

/// Checks the address in an environment variable, and returns it without a trailing slash. It must be https, or plain
/// http to loopback or to an IPv4 address in 169.254/16 written as digits, because a name could lead anywhere.
pub(super) fn checked(name: &str, text: &str) -> Result<String, Failure> {
    let uri: Option<Uri> = text.parse().ok();
    let plain = uri.as_ref().filter(|uri| uri.scheme_str() == Some("http"));
    let link_local = plain.and_then(|uri| uri.host()?.parse::<Ipv4Addr>().ok()).is_some_and(|ip| ip.is_link_local());
    let clean = !text.contains(['@', '#']) && text.len() <= 2000;
    if !(link_local && clean) {
        Address::parse(text).map_err(|why| {
            let hint = "plain http is for loopback and 169.254.x.x, written as digits";
            Failure::usage(format!("the address in {name} {why}")).hint(hint)
        })?;
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Like [`checked`], for a variable that holds only a host; `None` if it is not set.
pub(super) fn named_host(name: &str) -> Result<Option<String>, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map(|host| checked(name, &format!("http://{host}"))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_leads_no_further_than_this_hosts_own_link() {
        for (good, address) in [
            ("http://169.254.169.254", "http://169.254.169.254"),
            ("http://169.254.131.5:8081/msi/token/", "http://169.254.131.5:8081/msi/token"),
            ("http://127.0.0.1:41000/msi", "http://127.0.0.1:41000/msi"),
            ("http://localhost:40342/x", "http://localhost:40342/x"),
            ("https://identity.example.com/x", "https://identity.example.com/x"),
        ] {
            assert_eq!(checked("IDENTITY_ENDPOINT", good).unwrap(), address);
        }
        for bad in [
            "http://169.254.169.254.evil.example/",
            "http://169.254.169.254@evil.example/",
            "http://metadata.google.internal",
            "http://10.0.0.1/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://170.254.1.1/",
            "ftp://169.254.169.254/",
            "169.254.169.254",
            "",
        ] {
            assert!(checked("IDENTITY_ENDPOINT", bad).is_err(), "{bad}");
        }
    }
}
