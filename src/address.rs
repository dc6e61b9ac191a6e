//! Web addresses to which a secret may be sent: https, or http on this machine.

use http::Uri;
use http::uri::Authority;
use std::fmt;

/// Longest address, in bytes. A longer one could fill the screen and hide what is above it.
const LONGEST: usize = 2000;

/// An absolute address that has been checked: https (http only on loopback), a host, no user information, no fragment,
/// only ASCII without control characters or spaces. It is kept as written, because issuers are compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Checks `text`. The error says what is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        Self::check(text).map(|()| Self(text.to_owned()))
    }

    /// The checks of [`Address::parse`]: absolute, https (or http on loopback), ASCII, without a user name or a fragment.
    fn check(text: &str) -> Result<(), &'static str> {
        if text.contains('#') {
            return Err("has a fragment (`#…`)");
        }
        if text.len() > LONGEST {
            return Err("is too long");
        }
        // `Uri` accepts any non-ASCII character in a path, even one that reverses the direction of text.
        if !text.is_ascii() {
            return Err("is not a web address");
        }
        let uri = match text.parse::<Uri>() {
            Ok(uri) if uri.scheme().is_some() => uri,
            Err(_) if text.contains("://") => return Err("is not a web address"),
            _ => return Err("is not an absolute web address"),
        };
        let authority = uri.authority().ok_or("is not an absolute web address")?;
        if authority.as_str().contains('@') {
            return Err("has a user name in it");
        }
        if authority.host().is_empty() {
            return Err("names no host");
        }
        if !has_whole_port(authority) {
            return Err("is not a web address");
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(authority.host()) => {}
            Some("http") => return Err("is not https (plain http is allowed only on loopback)"),
            _ => return Err("is not https"),
        }
        Ok(())
    }

    /// An address made from a provider's row and checked parts. It cannot be invalid, so it is not checked again,
    /// because every cached answer would pay for that.
    pub fn assembled(text: String) -> Self {
        Self(text)
    }

    fn uri(&self) -> Uri {
        self.0.parse().unwrap_or_default()
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host in lower case; an IPv6 address keeps its brackets.
    pub fn host(&self) -> String {
        self.uri().host().unwrap_or_default().to_ascii_lowercase()
    }

    /// `https://host` or `https://host:port`: the host in lower case, without the scheme's default port.
    pub fn origin(&self) -> String {
        let uri = self.uri();
        let scheme = uri.scheme_str().unwrap_or_default();
        let usual = if scheme == "http" { 80 } else { 443 };
        let port = uri.port_u16().filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{}{port}", self.host())
    }

    /// Whether the address has a query (`?…`).
    pub fn has_query(&self) -> bool {
        self.0.contains('?')
    }

    /// The metadata address by OpenID Connect Discovery 1.0, section 4: the well-known path follows the issuer (R43).
    pub fn openid_configuration(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.trim_end_matches('/'))
    }

    /// The metadata address by RFC 8414, section 3.1: the well-known path is between the host and the issuer's path
    /// (R43).
    pub fn authorization_server_metadata(&self) -> String {
        let uri = self.uri();
        let origin = self.0.len() - uri.path_and_query().map_or(0, |p| p.as_str().len());
        // `Uri` adds the path `/` to a bare host, which the text does not contain.
        let origin = if self.0.ends_with('/') || uri.path() != "/" { origin } else { self.0.len() };
        format!("{}/.well-known/oauth-authorization-server{}", &self.0[..origin], uri.path().trim_end_matches('/'))
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::check(&text).map(|()| Self(text))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the authority ends with its host or with a valid port. The `http` crate accepts any text as a port, and
/// ignores it.
pub fn has_whole_port(authority: &Authority) -> bool {
    let place = authority.as_str().rsplit('@').next().unwrap_or_default();
    place.len() == authority.host().len() || authority.port_u16().is_some()
}

/// Whether the host is `localhost` or a loopback address. Names below `localhost` do not count, because most systems
/// ask the network for them.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_passes() {
        for good in [
            "https://id.example.com",
            "https://id.example.com:8443",
            "http://127.0.0.1:8080/x",
            "http://[::1]:1/",
            "http://localhost:3/a?b=c",
        ] {
            assert_eq!(Address::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("http://id.example.com", "is not https (plain http is allowed only on loopback)"),
            ("https://id.example.com:port/", "is not a web address"),
            ("https://id.example.com:65536/", "is not a web address"),
            ("https://id.example.com:", "is not a web address"),
            ("https://id.example.com:x.evil.example/", "is not a web address"),
            ("http://id.localhost/", "is not https (plain http is allowed only on loopback)"),
            ("http://127.0.0.1.example.com/", "is not https (plain http is allowed only on loopback)"),
            ("ftp://id.example.com", "is not https"),
            ("id.example.com", "is not an absolute web address"),
            ("/path", "is not an absolute web address"),
            ("https://user@id.example.com/", "has a user name in it"),
            ("https://id.example.com/#x", "has a fragment (`#…`)"),
            ("https://id.example.com/a b", "is not a web address"),
            ("https://id.example.com/\u{1b}[2J", "is not a web address"),
            ("https://id.example.com/\u{202e}", "is not a web address"),
            (&format!("https://id.example.com/{}", "x".repeat(LONGEST)), "is too long"),
            ("", "is not an absolute web address"),
        ] {
            assert_eq!(Address::parse(bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (address, origin) in [
            ("https://ID.example.com", "https://id.example.com"),
            ("https://id.example.com:443/a?b", "https://id.example.com"),
            ("https://id.example.com:80/", "https://id.example.com:80"),
            ("http://127.0.0.1:80/a", "http://127.0.0.1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Address::parse(address).unwrap().origin(), origin);
        }
    }

    #[test]
    fn r43_both_well_known_forms() {
        for (issuer, oidc, rfc8414) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/realms/x",
                "https://a.example/realms/x/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/realms/x",
            ),
            (
                "https://a.example:8443/o/",
                "https://a.example:8443/o/.well-known/openid-configuration",
                "https://a.example:8443/.well-known/oauth-authorization-server/o",
            ),
        ] {
            let issuer = Address::parse(issuer).unwrap();
            assert_eq!(issuer.openid_configuration(), oidc);
            assert_eq!(issuer.authorization_server_metadata(), rfc8414);
        }
    }
}
