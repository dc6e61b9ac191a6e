//! `[hosts]`: the only hosts that ever get a token, and whose.
//!
//! A pattern is an address: scheme, host, port and path must all be those of the request. `*.` in front stands for exactly
//! one label, a path for itself and everything below it, a user name for requests that carry it. Of several patterns that
//! match, the one that says more wins: an exact host over `*.`, a longer path, a user name.
//!
//! A request is somebody else's text. It is taken apart strictly: what is not plainly a host, a port or a path matches
//! nothing, however close it looks.

use crate::address::is_loopback;
use crate::providers::HostAuth;
use std::cmp::Reverse;

/// One line of `[hosts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// Which requests it is for.
    pub pattern: HostPattern,
    /// The name of the profile whose token they get.
    pub profile: String,
    /// How the token is shown; `None`: as the provider's row says.
    pub auth: Option<HostAuth>,
    /// The user name beside the token with [`HostAuth::Basic`]; `None`: as the provider's row says.
    pub username: Option<String>,
}

/// An address that stands for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    https: bool,
    /// Lower case, without the `*.`.
    host: String,
    wildcard: bool,
    port: u16,
    path: Vec<String>,
    username: Option<String>,
}

/// What a caller asks a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    https: bool,
    host: String,
    port: u16,
    path: Vec<String>,
    username: Option<String>,
}

impl HostPattern {
    /// Reads a pattern as it stands in `[hosts]`. The error says what is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("is not an address such as https://git.example.com")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (username, host) = match authority.rsplit_once('@') {
            Some((name, host)) => (Some(name), host),
            None => (None, authority),
        };
        if username.is_some_and(|name| name.is_empty() || name.contains([':', '@'])) {
            return Err("has a user name that is empty, or a password");
        }
        let (wildcard, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if host.contains('*') {
            return Err("has a `*` that is not the whole first label");
        }
        let target = Target::parse(scheme, host, Some(path.trim_end_matches('/')).filter(|p| !p.is_empty()), username)
            .ok_or("is not an address such as https://git.example.com:8443/team")?;
        if wildcard && !target.host.contains('.') {
            return Err("has a `*` before a single label");
        }
        if !target.https && !is_loopback(&target.host) {
            return Err("is not https (plain http is allowed only on loopback)");
        }
        let Target { https, host, port, path, username } = target;
        Ok(Self { https, host, wildcard, port, path, username })
    }

    /// Whether a request is for what this pattern stands for.
    pub fn matches(&self, target: &Target) -> bool {
        let host = if self.wildcard {
            target.host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == self.host)
        } else {
            target.host == self.host
        };
        host && self.https == target.https
            && self.port == target.port
            && target.path.starts_with(&self.path)
            && (self.username.is_none() || self.username == target.username)
    }

    /// Whether the request must carry a path to match.
    pub fn has_path(&self) -> bool {
        !self.path.is_empty()
    }

    /// Whether an address as other programs write it, which may be the beginning of one, is about this pattern's host.
    pub fn overlaps(&self, url: &str) -> bool {
        let origin = |url: &str| {
            let (scheme, rest) = url.split_once("://")?;
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            Target::parse(scheme, host.strip_prefix("*.").unwrap_or(host), None, None)
        };
        origin(url).is_some_and(|other| {
            let below = self.wildcard && other.host.strip_suffix(&self.host).is_some_and(|label| label.ends_with('.'));
            self.https == other.https && self.port == other.port && (self.host == other.host || below)
        })
    }

    /// Whether it is for one user name alone.
    pub fn names_user(&self) -> bool {
        self.username.is_some()
    }

    /// Whether it stands for many hosts.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The pattern written in one way.
    pub fn canonical(&self) -> String {
        let name = self.username.as_ref().map(|name| format!("{name}@")).unwrap_or_default();
        let star = if self.wildcard { "*." } else { "" };
        address(self.https, &format!("{name}{star}{}", self.host), self.port, &self.path)
    }
}

impl Target {
    /// Takes a request apart: a scheme, a host with or without a port, a path without its leading slash. `None` for
    /// everything that is not plainly that.
    pub fn parse(scheme: &str, host: &str, path: Option<&str>, username: Option<&str>) -> Option<Self> {
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = match host.rfind(':').filter(|_| !host.ends_with(']')) {
            Some(colon) => (&host[..colon], port(&host[colon + 1..])?),
            None => (host, if https { 443 } else { 80 }),
        };
        let host = host.to_ascii_lowercase();
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let plain = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(is_label),
        };
        let path: Vec<String> = path.into_iter().flat_map(|p| p.split('/')).map(str::to_owned).collect();
        let username = username.map(str::to_owned);
        let sound = plain && path.iter().all(|c| is_component(c)) && username.as_deref().is_none_or(is_component);
        sound.then_some(Self { https, host, port, path, username })
    }

    /// Scheme, host and port, for people.
    pub fn origin(&self) -> String {
        address(self.https, &self.host, self.port, &[])
    }
}

/// The rule that a request falls under, if any.
pub fn find<'r>(rules: &'r [HostRule], target: &Target) -> Option<&'r HostRule> {
    let says = |p: &HostPattern| (Reverse(p.wildcard), p.path.len(), p.username.is_some());
    rules.iter().filter(|rule| rule.pattern.matches(target)).max_by_key(|rule| says(&rule.pattern))
}

fn address(https: bool, host: &str, port: u16, path: &[String]) -> String {
    let (scheme, usual) = if https { ("https", 443) } else { ("http", 80) };
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let path: String = path.iter().flat_map(|component| ["/", component]).collect();
    format!("{scheme}://{host}{port}{path}")
}

/// A port as a client writes it: digits, no sign, no leading zero.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

/// One label of a host name, lower case.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// One component of a path, or a user name: nothing that a server might take for something else.
fn is_component(component: &str) -> bool {
    !component.is_empty()
        && component != "."
        && component != ".."
        && !component.contains(|c: char| c.is_control() || matches!(c, '/' | '\\' | '%' | '?' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, profile: &str) -> HostRule {
        let pattern = HostPattern::parse(pattern).unwrap();
        HostRule { pattern, profile: profile.to_owned(), auth: None, username: None }
    }

    fn target(scheme: &str, host: &str, path: &str) -> Option<Target> {
        Target::parse(scheme, host, Some(path).filter(|p| !p.is_empty()), None)
    }

    fn whose(scheme: &str, host: &str, path: &str) -> Option<String> {
        let rules = [
            rule("https://github.com", "gh"),
            rule("https://github.com/team", "team"),
            rule("https://GitHub.com/team/deep/", "deep"),
            rule("https://*.visualstudio.com", "azure"),
            rule("https://own.visualstudio.com", "own"),
            rule("http://localhost:8080", "local"),
            rule("https://[::1]:8443", "six"),
            rule("https://only.example:444/a", "path"),
        ];
        find(&rules, &target(scheme, host, path)?).map(|rule| rule.profile.clone())
    }

    #[test]
    fn the_longest_match_wins_component_by_component() {
        for (scheme, host, path, profile) in [
            ("https", "github.com", "", "gh"),
            ("HTTPS", "GitHub.COM:443", "other/repo.git", "gh"),
            ("https", "github.com", "team", "team"),
            ("https", "github.com", "team/repo", "team"),
            ("https", "github.com", "team2/repo", "gh"),
            ("https", "github.com", "team/deep/er", "deep"),
            ("https", "github.com", "my team/repo", "gh"),
            ("https", "one.visualstudio.com", "", "azure"),
            ("https", "own.visualstudio.com", "x", "own"),
            ("http", "localhost:8080", "", "local"),
            ("https", "[::1]:8443", "", "six"),
            ("https", "only.example:444", "a/b", "path"),
        ] {
            assert_eq!(whose(scheme, host, path).as_deref(), Some(profile), "{scheme} {host} {path}");
        }
    }

    #[test]
    fn whatever_is_not_plainly_the_mapped_address_matches_nothing() {
        for (scheme, host, path) in [
            ("http", "github.com", ""),
            ("http", "github.com:443", ""),
            ("https", "github.com.", ""),
            ("https", "github.com:", ""),
            ("https", "github.com:0443", ""),
            ("https", "github.com:+443", ""),
            ("https", "github.com:444", ""),
            ("https", "github.com:65979", ""),
            ("https", "github.com:443:443", ""),
            ("https", "github.com ", ""),
            ("https", " github.com", ""),
            ("https", "github.com\0", ""),
            ("https", "github.com.attacker.example", ""),
            ("https", "evil.com#.github.com", ""),
            ("https", "github.com/.evil.com", ""),
            ("https", "github.com@evil.com", ""),
            ("https", "ada@github.com", ""),
            ("https", "www.github.com", ""),
            ("https", "githüb.com", ""),
            ("https", "github.com", "a/../b"),
            ("https", "github.com", "a//b"),
            ("https", "github.com", "/a"),
            ("https", "github.com", "a/"),
            ("https", "github.com", "a/./b"),
            ("https", "github.com", "a%2fb"),
            ("https", "github.com", "a\\b"),
            ("https", "github.com", "a?b"),
            ("https", "github.com", "a\nb"),
            ("https", "visualstudio.com", ""),
            ("https", ".visualstudio.com", ""),
            ("https", "a.b.visualstudio.com", ""),
            ("https", "only.example:444", ""),
            ("https", "only.example:444", "ab"),
            ("https", "", ""),
            ("https", "[::1", ""),
            ("https", "::1:8443", ""),
            ("cert", "github.com", ""),
            ("", "github.com", ""),
        ] {
            assert_eq!(whose(scheme, host, path), None, "{scheme:?} {host:?} {path:?}");
        }
    }

    #[test]
    fn a_user_name_in_the_pattern_is_for_those_who_carry_it() {
        let rules = [rule("https://github.com", "home"), rule("https://ada@github.com", "work")];
        for (name, profile) in [(None, "home"), (Some("ada"), "work"), (Some("eve"), "home")] {
            let target = Target::parse("https", "github.com", None, name).unwrap();
            assert_eq!(find(&rules, &target).unwrap().profile, profile);
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        for (pattern, why) in [
            ("github.com", "is not an address such as https://git.example.com"),
            ("https://", "is not an address such as https://git.example.com:8443/team"),
            ("ssh://github.com", "is not an address such as https://git.example.com:8443/team"),
            ("http://github.com", "is not https (plain http is allowed only on loopback)"),
            ("https://a.*.com", "has a `*` that is not the whole first label"),
            ("https://*.*.com", "has a `*` that is not the whole first label"),
            ("https://*github.com", "has a `*` that is not the whole first label"),
            ("https://*.com", "has a `*` before a single label"),
            ("https://github.com:x", "is not an address such as https://git.example.com:8443/team"),
            ("https://github.com/a/../b", "is not an address such as https://git.example.com:8443/team"),
            ("https://ada:secret@github.com", "has a user name that is empty, or a password"),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap_err(), why, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_is_written_in_one_way() {
        for (pattern, canonical) in [
            ("HTTPS://GitHub.com:443/", "https://github.com"),
            ("https://*.Example.com:8443/a/b/", "https://*.example.com:8443/a/b"),
            ("http://ada@LOCALHOST:80", "http://ada@localhost"),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().canonical(), canonical);
        }
    }
}
