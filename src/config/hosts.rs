//! `[hosts]`: the only hosts that ever get a token, and which profile's.
//!
//! A pattern is an address: its scheme, host, port and path must all match the request. `*.` at the beginning stands
//! for exactly one label; a path includes everything below it; a user name matches only requests with that name. If
//! several patterns match, the most specific one wins: an exact host over `*.`, a longer path, a user name.
//!
//! A rule is for git only, unless it names its callers.
//!
//! A request comes from outside, so it is parsed strictly: if it is not plainly a scheme, a host and a port, it matches
//! nothing, however similar it looks. A path that is not plain matters only if a pattern for the host has a path: then
//! the request matches nothing.

use crate::address::is_loopback;
use crate::failure::Failure;
use crate::log::debug;
use crate::providers::HostAuth;
use crate::text::meant;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The caller that a rule is for if it has no `callers`.
pub const GIT: &str = "git";

/// One line of `[hosts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// The requests that it is for.
    pub pattern: HostPattern,
    /// The callers that it is for; `None` means git.
    pub callers: Option<HostCallers>,
    /// The name of the profile whose token is handed out.
    pub profile: String,
    /// How the token is sent; `None` means as the provider's row says.
    pub auth: Option<HostAuth>,
    /// The user name to send with [`HostAuth::Basic`]; `None` means as the provider's row says.
    pub username: Option<String>,
    /// Whether it is in the system's file. Every matching rule in the user's file takes precedence over it.
    pub system: bool,
}

/// The callers of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCallers {
    /// The callers' names.
    pub names: Vec<String>,
    /// `FILE:LINE`, for error messages.
    pub place: String,
}

impl HostRule {
    /// A rule from the command line: this profile for these requests.
    pub fn given(profile: &str, pattern: HostPattern) -> Self {
        Self { pattern, callers: None, profile: profile.to_owned(), auth: None, username: None, system: false }
    }

    /// Whether the rule is for this caller.
    pub fn is_for(&self, caller: &str) -> bool {
        self.callers.as_ref().map_or(caller == GIT, |callers| callers.names.iter().any(|name| name == caller))
    }
}

/// A pattern that requests are matched against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    scheme: Scheme,
    /// In lower case, without the `*.`.
    host: String,
    wildcard: bool,
    port: u16,
    path: Vec<String>,
    username: Option<String>,
}

/// The protocol of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scheme {
    Http,
    Https,
    /// For `git imap-send`.
    Imap,
    Imaps,
    /// For `git send-email`, which configures its encryption elsewhere.
    Smtp,
}

impl Scheme {
    const ALL: [(Self, &'static str, u16); 5] = [
        (Self::Http, "http", 80),
        (Self::Https, "https", 443),
        (Self::Imap, "imap", 143),
        (Self::Imaps, "imaps", 993),
        (Self::Smtp, "smtp", 587),
    ];

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(scheme, ..)| scheme)
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The port if an address names none.
    fn usual_port(self) -> u16 {
        Self::ALL[self as usize].2
    }
}

/// The host and path that a caller asks a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    /// Its components, decoded; or why the path is ambiguous, completing "its path …".
    path: Result<Vec<String>, &'static str>,
    username: Option<String>,
}

impl HostPattern {
    /// Parses a pattern from `[hosts]`. The error says what is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("is not an address such as https://git.example.com")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (username, host) = match authority.rsplit_once('@') {
            Some((name, host)) => (Some(user_name(name)?), host),
            None => (None, authority),
        };
        let (wildcard, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if host.contains('*') {
            return Err("has a `*` that is not the whole first label");
        }
        let what = "is not an address such as https://git.example.com:8443/team";
        let path = Some(path.trim_end_matches('/')).filter(|path| !path.is_empty());
        let Target { scheme, host, port, path, .. } = Target::parse(scheme, host, path, None).ok_or(what)?;
        let path = path.map_err(|_| what)?;
        if wildcard && !host.contains('.') {
            return Err("has a `*` before a single label");
        }
        match scheme {
            Scheme::Http if !is_loopback(&host) => Err("is not https (plain http is allowed only on loopback)"),
            Scheme::Imap if !is_loopback(&host) => Err("is not imaps (plain imap is allowed only on loopback)"),
            _ => Ok(()),
        }?;
        Ok(Self { scheme, host, wildcard, port, path, username })
    }

    /// Whether the pattern matches a request.
    pub fn matches(&self, target: &Target) -> bool {
        self.matches_host(target)
            && (self.path.is_empty() || target.path.as_ref().is_ok_and(|path| path.starts_with(&self.path)))
            && (self.username.is_none() || self.username == target.username)
    }

    /// Whether the pattern matches a request's host, regardless of path and user name.
    pub fn matches_host(&self, target: &Target) -> bool {
        let host = if self.wildcard {
            target.host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == self.host)
        } else {
            target.host == self.host
        };
        host && self.scheme == target.scheme && self.port == target.port
    }

    /// Whether the pattern matches every request that `other` matches.
    fn covers(&self, other: &Self) -> bool {
        let host = if self.wildcard && !other.wildcard {
            other.host.split_once('.').is_some_and(|(_, rest)| rest == self.host)
        } else {
            self.wildcard == other.wildcard && self.host == other.host
        };
        host && (self.scheme, self.port) == (other.scheme, other.port)
            && other.path.starts_with(&self.path)
            && (self.username.is_none() || self.username == other.username)
    }

    /// Whether the pattern has a path, so that only requests with a path match.
    pub fn has_path(&self) -> bool {
        !self.path.is_empty()
    }

    /// Whether an address (or its beginning) as other programs write it is on a host of this pattern.
    pub fn overlaps(&self, url: &str) -> bool {
        let origin = |url: &str| {
            let (scheme, rest) = url.split_once("://")?;
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            Target::parse(scheme, host.strip_prefix("*.").unwrap_or(host), None, None)
        };
        origin(url).is_some_and(|other| {
            let below = self.wildcard && other.host.strip_suffix(&self.host).is_some_and(|label| label.ends_with('.'));
            self.scheme == other.scheme && self.port == other.port && (self.host == other.host || below)
        })
    }

    /// The user name that the pattern requires, if any.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The same pattern for requests with this user name.
    #[must_use]
    pub fn for_user(self, name: &str) -> Self {
        Self { username: Some(name.to_owned()), ..self }
    }

    /// Whether the host begins with `*.`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The pattern with the request's host in place of `*.`, as an address.
    pub fn at(&self, target: &Target) -> String {
        address(self.scheme, &target.host, self.port, &self.path)
    }

    /// The pattern in its canonical form.
    pub fn canonical(&self) -> String {
        let name = self.username.as_ref().map(|name| encoded(name) + "@").unwrap_or_default();
        let star = if self.wildcard { "*." } else { "" };
        address(self.scheme, &format!("{name}{star}{}", self.host), self.port, &self.path)
    }
}

impl Target {
    /// Parses a request: a scheme, a host with an optional port, a path without its leading slash, a user name. `None`
    /// unless scheme, host and port are plainly valid.
    pub fn parse(scheme: &str, host: &str, path: Option<&str>, username: Option<&str>) -> Option<Self> {
        let scheme = Scheme::of(scheme)?;
        let (host, port) = match host.rfind(':').filter(|_| !host.ends_with(']')) {
            Some(colon) => (&host[..colon], port(&host[colon + 1..])?),
            None => (host, scheme.usual_port()),
        };
        let host = host.to_ascii_lowercase();
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let plain = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(is_label),
        };
        let path = path.map_or(Ok(Vec::new()), components);
        plain.then(|| Self { scheme, host, port, path, username: username.map(str::to_owned) })
    }

    /// Parses an address as package managers and build tools write it: `http://…` or `https://…`, also written
    /// `grpc://…` or `grpcs://…`, optionally with `sparse+` in front. A trailing slash and a query are ignored. `None`
    /// for anything else, including an address with a user name.
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").filter(|_| url.bytes().all(|b| b.is_ascii_graphic()))?;
        let scheme = scheme.to_ascii_lowercase();
        let scheme = match scheme.strip_prefix("sparse+").unwrap_or(&scheme) {
            "grpcs" | "https" => "https",
            "grpc" | "http" => "http",
            _ => return None,
        };
        let place = rest.split('?').next().unwrap_or_default();
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let path = (!path.is_empty()).then(|| path.strip_suffix('/').unwrap_or(path));
        Self::parse(scheme, host, path, None).filter(|target| target.path.is_ok())
    }

    /// The host in lower case, without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether this is a mail server.
    pub fn is_mail(&self) -> bool {
        !matches!(self.scheme, Scheme::Http | Scheme::Https)
    }

    /// The user name in the request.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Whether both have the same scheme, host and port.
    pub fn is_same_host(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Whether both paths are valid and equal.
    pub fn is_same_path(&self, other: &Self) -> bool {
        self.path.is_ok() && self.path == other.path
    }

    /// Scheme, host and port, for messages.
    pub fn origin(&self) -> String {
        address(self.scheme, &self.host, self.port, &[])
    }
}

/// The rule for a caller's request; `None` if no rule matches.
pub fn find<'r>(rules: &'r [HostRule], target: &Target, caller: &str) -> Option<&'r HostRule> {
    if let Err(why) = target.path
        && let Some(rule) = of_host(rules, target, caller).find(|rule| rule.pattern.has_path())
    {
        debug(|| format!("its path {why}, and {} has one: no token for this request", rule.pattern.canonical()));
        return None;
    }
    let says = |HostRule { system, pattern: p, .. }: &HostRule| {
        (Reverse(*system), Reverse(p.wildcard), p.path.len(), p.username.is_some())
    };
    let matching = rules.iter().filter(|rule| rule.is_for(caller) && rule.pattern.matches(target));
    matching.max_by_key(|rule| says(rule))
}

/// The rules for a caller, without those of the system that a rule of the user's always overrides.
pub fn of_caller<'r>(rules: &'r [HostRule], caller: &str) -> impl Iterator<Item = &'r HostRule> {
    let of_caller = move |rule: &&HostRule| rule.is_for(caller);
    let beaten = move |rule: &HostRule| {
        let mut own = rules.iter().take_while(|rule| !rule.system).filter(of_caller);
        rule.system && own.any(|own| own.pattern.covers(&rule.pattern))
    };
    rules.iter().filter(of_caller).filter(move |rule| !beaten(rule))
}

/// The rules for a caller and the host of a request, regardless of path and user name.
pub fn of_host<'r>(rules: &'r [HostRule], target: &Target, caller: &str) -> impl Iterator<Item = &'r HostRule> {
    rules.iter().filter(move |rule| rule.is_for(caller) && rule.pattern.matches_host(target))
}

/// Fails if a rule names a caller that is not in `known`.
pub fn check_callers(rules: &[HostRule], known: &[&str]) -> Result<(), Failure> {
    for HostCallers { names, place } in rules.iter().filter_map(|rule| rule.callers.as_ref()) {
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            let meant = meant(name, known.iter().copied());
            return Err(Failure::usage(format!("{place}: `callers` cannot be {name:?}; {meant}")));
        }
    }
    Ok(())
}

/// The index of the first rule whose pattern an earlier rule already has, after that of the earlier one.
pub(super) fn repeated(rules: &[HostRule]) -> Option<[usize; 2]> {
    let mut seen = BTreeMap::new();
    rules.iter().enumerate().find_map(|(at, rule)| Some([seen.insert(&rule.pattern, at)?, at]))
}

fn address(scheme: Scheme, host: &str, port: u16, path: &[String]) -> String {
    let port = if port == scheme.usual_port() { String::new() } else { format!(":{port}") };
    let path: String = path.iter().flat_map(|component| ["/".to_owned(), encoded(component)]).collect();
    format!("{}://{host}{port}{path}", scheme.name())
}

/// Parses a port as clients write it: digits, no sign, no leading zero.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

/// Whether this is a valid label of a host name, in lower case.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// The components of a path as clients send it. Some send it decoded (git) and some encoded (libgit2), so it is decoded
/// once. The error says why servers could understand the path differently.
fn components(path: &str) -> Result<Vec<String>, &'static str> {
    let path = decoded(path)?;
    if path
        .contains(|c: char| c.is_control() || matches!(c, '\\' | '%' | ';' | '?' | '#' | char::REPLACEMENT_CHARACTER))
    {
        return Err("has a letter that servers read in several ways");
    }
    if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Err("has an empty component, `.` or `..`");
    }
    Ok(path.split('/').map(str::to_owned).collect())
}

/// Parses the user name of a pattern.
fn user_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains([':', '@']) {
        return Err("has a user name that is empty, or a password");
    }
    let name = decoded(text).map_err(|_| "has a user name that is not plainly encoded")?;
    if name.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err("has a user name with a letter that none has");
    }
    Ok(name.into_owned())
}

/// Decodes percent-encoding (RFC 3986, section 2.1) once. Fails if a character is encoded that needs no encoding, or a
/// slash, or if the result is not UTF-8.
fn decoded(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match byte.ok_or("has a `%` that encodes nothing")? {
            plain if is_unreserved(plain) || plain == b'/' => {
                return Err("has something encoded that no client encodes");
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| "is not UTF-8")
}

/// Percent-encodes text as one component of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || b"!$&'()*+,=".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether a byte is unreserved (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(pattern: &str, profile: &str) -> HostRule {
        HostRule::given(profile, HostPattern::parse(pattern).unwrap())
    }

    /// A rule for these callers only.
    fn rule_for(callers: &[&str], pattern: &str, profile: &str) -> HostRule {
        let names = callers.iter().map(ToString::to_string).collect();
        HostRule { callers: Some(HostCallers { names, place: "config.toml:7".to_owned() }), ..rule(pattern, profile) }
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
        find(&rules, &target(scheme, host, path)?, GIT).map(|rule| rule.profile.clone())
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
            ("https", "github.com", "a;b"),
            ("https", "github.com", "%74eam"),
            ("https", "github.com", "team%252f"),
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
    fn a_path_or_a_user_name_matters_only_where_a_rule_has_one() {
        let rules = [
            rule("https://plain.example", "plain"),
            rule("https://ada@user.example", "ada"),
            rule("https://user.example", "user"),
            rule("https://path.example/My%20Project/tëam", "path"),
            rule("https://path.example", "rest"),
            rule("https://ada%40corp.example@mail.example", "mail"),
            rule("https://CORP%5Cada@mail.example", "corp"),
        ];
        let odd = [
            "a//b", "", "/", "a/../b", "a/.", "a%2fb", "a%", "a%zz", "%61", "a;b", "a?b", "a#b", "a\\b", "a\nb",
            "\u{fffd}",
        ];
        let whose = |host: &str, path: Option<&str>, user: Option<&str>| {
            find(&rules, &Target::parse("https", host, path, user).unwrap(), GIT).map(|rule| rule.profile.clone())
        };
        for path in odd {
            assert_eq!(whose("plain.example", Some(path), Some(path)).as_deref(), Some("plain"), "{path:?}");
            assert_eq!(whose("user.example", Some(path), Some("ada")).as_deref(), Some("ada"), "{path:?}");
            assert_eq!(whose("user.example", None, Some(path)).as_deref(), Some("user"), "{path:?}");
            assert_eq!(whose("path.example", Some(path), None), None, "{path:?}");
        }
        for (path, profile) in [
            ("My Project/tëam/r", "path"),
            ("My%20Project/t%C3%ABam", "path"),
            ("My%20Project/tëam%3Cx%3E", "rest"),
            ("My+Project/tëam", "rest"),
            ("my Project/tëam", "rest"),
        ] {
            assert_eq!(whose("path.example", Some(path), None).as_deref(), Some(profile), "{path:?}");
        }
        // Encoded twice, or an encoded character that needs no encoding.
        for path in
            ["My%2520Project/tëam", "M%79 Project/tëam", "My%20Project/tëam%2Fr", "My%20Project/%FF", "a%25b", "a%3bb"]
        {
            assert_eq!(whose("path.example", Some(path), None), None, "{path:?}");
        }
        for (user, profile) in [
            (Some("ada@corp.example"), Some("mail")),
            (Some("CORP\\ada"), Some("corp")),
            (Some("ada"), None),
            (Some("ada%40corp.example"), None),
            (None, None),
        ] {
            assert_eq!(whose("mail.example", None, user).as_deref(), profile, "{user:?}");
        }
    }

    #[test]
    fn a_user_name_in_the_pattern_is_for_those_who_carry_it() {
        let rules = [rule("https://github.com", "home"), rule("https://ada@github.com", "work")];
        for (name, profile) in [(None, "home"), (Some("ada"), "work"), (Some("eve"), "home")] {
            let target = Target::parse("https", "github.com", None, name).unwrap();
            assert_eq!(find(&rules, &target, GIT).unwrap().profile, profile);
        }
    }

    #[test]
    fn a_rule_is_for_git_alone_unless_it_names_its_callers() {
        let rules = [
            rule("https://forge.example", "git"),
            rule_for(&["docker", "cargo"], "https://forge.example/api/packages", "packages"),
            rule_for(&["docker", "git"], "https://ghcr.io", "gh"),
            rule_for(&["docker"], "https://*.azurecr.io", "acr"),
        ];
        for (caller, url, profile) in [
            ("git", "https://forge.example/team/repo", Some("git")),
            ("git", "https://forge.example/api/packages/ada", Some("git")),
            ("cargo", "sparse+https://forge.example/api/packages/ada/cargo/", Some("packages")),
            ("cargo", "https://forge.example/team/repo", None),
            ("docker", "https://forge.example", None),
            ("docker", "https://ghcr.io", Some("gh")),
            ("git", "https://ghcr.io", Some("gh")),
            ("cargo", "https://ghcr.io", None),
            ("docker", "https://lab.azurecr.io", Some("acr")),
            ("git", "https://lab.azurecr.io", None),
            ("", "https://forge.example", None),
        ] {
            let target = Target::of_url(url).unwrap();
            assert_eq!(find(&rules, &target, caller).map(|rule| &*rule.profile), profile, "{caller} {url}");
        }
    }

    #[test]
    fn a_caller_that_does_not_exist_is_named_with_its_line() {
        let rules = [rule("https://a.example", "a"), rule_for(&["git", "dokcer"], "https://b.example", "b")];
        let failure = check_callers(&rules, &["git", "docker"]).unwrap_err();
        assert_eq!(failure.message, "config.toml:7: `callers` cannot be \"dokcer\"; did you mean `docker`?");
        assert_eq!(check_callers(&rules, &["git", "dokcer"]), Ok(()));
        assert_eq!(check_callers(&rules[..1], &[]), Ok(()));
    }

    #[test]
    fn the_first_that_repeats_another_is_found() {
        let rules = |patterns: &[&str]| patterns.iter().map(|pattern| rule(pattern, "p")).collect::<Vec<_>>();
        let (a, b) = ("https://a.example", "https://b.example/x");
        for (patterns, at) in [
            (&[][..], None),
            (&[a], None),
            (
                &[b, a, "https://a.example/x", "https://u@a.example", "https://*.a.example", "https://a.example:444"],
                None,
            ),
            (&[b, a, "https://A.example:443/", "https://b.example/x/"], Some(2)),
            (&[b, a, b, a, b], Some(2)),
        ] {
            assert_eq!(repeated(&rules(patterns)).map(|[_, at]| at), at, "{patterns:?}");
        }
    }

    /// The addresses that other tools use for registries, indexes and caches when they ask for a token.
    #[test]
    fn an_address_is_found_however_a_tool_writes_it() {
        let rules = [
            rule("https://ghcr.io", "ghcr"),
            rule("https://index.docker.io", "hub"),
            rule("http://localhost:5000", "local"),
            rule("https://crates.example/index", "crates"),
            rule("http://127.0.0.1:8080/simple", "pypi"),
            rule("https://cache.example:8980", "bazel"),
        ];
        let whose = |target: Option<Target>| find(&rules, &target?, GIT).map(|rule| rule.profile.clone());
        for (url, profile) in [
            ("https://index.docker.io/v1/", Some("hub")),
            ("sparse+https://crates.example/index/", Some("crates")),
            ("SPARSE+HTTPS://CRATES.example/index/", Some("crates")),
            ("https://crates.example/index/1/a?x=%2F..", Some("crates")),
            ("https://crates.example/index?/../other", Some("crates")),
            ("http://127.0.0.1:8080/simple/", Some("pypi")),
            ("grpcs://cache.example:8980", Some("bazel")),
            ("https://cache.example:8980/ac/0123", Some("bazel")),
            ("http://localhost:5000", Some("local")),
            ("grpc://localhost:5000/", Some("local")),
            // A different scheme, host, port or path.
            ("grpc://cache.example:8980", None),
            ("http://ghcr.io", None),
            ("sparse+http://crates.example/index/", None),
            ("sparse+sparse+https://crates.example/index/", None),
            ("git+https://crates.example/index/", None),
            ("https://localhost:5000", None),
            ("https://crates.example/", None),
            ("https://crates.example?/index", None),
            ("https://crates.example/indexes/", None),
            // Not plainly an address.
            ("ghcr.io", None),
            ("//ghcr.io", None),
            ("https:ghcr.io", None),
            ("https://ghcr.io//", None),
            ("https://ghcr.io/a//", None),
            ("https://ada@ghcr.io/", None),
            ("https://ghcr.io@evil.example/", None),
            ("https://evil.example?@ghcr.io/", None),
            ("https://evil.example#@ghcr.io/", None),
            ("https://ghcr.io#.evil.example/", None),
            ("https://ghcr.io\\.evil.example/", None),
            ("https://ghcr.io/a b", None),
            ("https://ghcr.io\n", None),
            (" https://ghcr.io", None),
            ("https://ghcr.io/a%2fb", None),
            ("https://ghcr.io/a/../b", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(whose(Target::of_url(url)).as_deref(), profile, "{url}");
        }
        // A bare host, with the scheme that its caller implies.
        for (scheme, host, profile) in [
            ("https", "ghcr.io", Some("ghcr")),
            ("https", "ghcr.io:443", Some("ghcr")),
            ("http", "ghcr.io", None),
            ("http", "localhost:5000", Some("local")),
            ("https", "localhost:5000", None),
            ("https", "ghcr.io/team", None),
            ("https", "ghcr.io?", None),
            ("https", "https://ghcr.io", None),
            ("https", "ada@ghcr.io", None),
        ] {
            assert_eq!(whose(Target::parse(scheme, host, None, None)).as_deref(), profile, "{scheme} {host}");
        }
    }

    /// Valid addresses, mixed with what attackers put into them.
    fn written() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(
            &[
                "https://",
                "http://",
                "grpcs://",
                "sparse+https://",
                "//",
                "/",
                ":",
                "@",
                "?",
                "#",
                "\\",
                "..",
                ".",
                "%2f",
                "\0",
                " ",
                "\n",
                "*",
                "[",
                "]",
                "ghcr.io",
                "GHCR.io",
                "crates.example",
                "localhost",
                ":443",
                ":5000",
                "/index",
                "/index/",
                "evil.example",
                "a",
                "ada@",
                "ä",
            ][..],
        );
        prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Compared with an independent parser of addresses.
        #[test]
        fn nothing_but_the_mapped_address_is_found_whatever_is_asked(text in written(), scheme in "https?") {
            let rules = [
                rule("https://ghcr.io", "ghcr"),
                rule("https://crates.example/index", "crates"),
                rule("http://localhost:5000", "local"),
            ];
            let bare = Target::parse(&scheme, &text, None, None);
            for (target, url) in [(Target::of_url(&text), text.clone()), (bare, format!("{scheme}://{text}"))] {
                let Some(found) = target.and_then(|target| find(&rules, &target, GIT)) else { continue };
                let uri = url.parse::<http::Uri>().unwrap();
                let host = uri.host().unwrap().to_ascii_lowercase();
                let scheme = uri.scheme_str().unwrap().trim_start_matches("sparse+").replace("grpcs", "https");
                let judged = (found.profile.as_str(), scheme.as_str(), host.as_str(), uri.port_u16());
                prop_assert!(
                    matches!(judged, ("ghcr", "https", "ghcr.io", None | Some(443)) | ("local", "http", "localhost", Some(5000)))
                        || matches!(judged, ("crates", "https", "crates.example", None | Some(443)))
                            && (uri.path() == "/index" || uri.path().starts_with("/index/")),
                    "{url}: {judged:?}"
                );
                prop_assert!(!uri.authority().unwrap().as_str().contains('@'), "{url}");
            }
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        for (pattern, why) in [
            ("github.com", "is not an address such as https://git.example.com"),
            ("https://", "is not an address such as https://git.example.com:8443/team"),
            ("ssh://github.com", "is not an address such as https://git.example.com:8443/team"),
            ("http://github.com", "is not https (plain http is allowed only on loopback)"),
            ("imap://mail.example", "is not imaps (plain imap is allowed only on loopback)"),
            ("https://a.*.com", "has a `*` that is not the whole first label"),
            ("https://*.*.com", "has a `*` that is not the whole first label"),
            ("https://*github.com", "has a `*` that is not the whole first label"),
            ("https://*.com", "has a `*` before a single label"),
            ("https://github.com:x", "is not an address such as https://git.example.com:8443/team"),
            ("https://github.com/a/../b", "is not an address such as https://git.example.com:8443/team"),
            ("https://ada:secret@github.com", "has a user name that is empty, or a password"),
            ("https://@github.com", "has a user name that is empty, or a password"),
            ("https://a%64a@github.com", "has a user name that is not plainly encoded"),
            ("https://ada%0a@github.com", "has a user name with a letter that none has"),
            ("https://github.com/%74eam", "is not an address such as https://git.example.com:8443/team"),
            ("https://github.com/team;x", "is not an address such as https://git.example.com:8443/team"),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap_err(), why, "{pattern}");
        }
    }

    #[test]
    fn a_mail_server_wants_a_rule_of_its_own_scheme() {
        let rules = [rule("smtp://mail.example:25", "smtp"), rule("imaps://ada%40x.example@mail.example", "imap")];
        let whose = |scheme: &str, host: &str, user: Option<&str>| {
            find(&rules, &Target::parse(scheme, host, None, user)?, GIT).map(|rule| rule.profile.clone())
        };
        assert_eq!(whose("smtp", "mail.example:25", None).as_deref(), Some("smtp"));
        assert_eq!(whose("imaps", "mail.example", Some("ada@x.example")).as_deref(), Some("imap"));
        for (scheme, host) in [
            ("smtp", "mail.example"),
            ("imap", "mail.example:993"),
            ("https", "mail.example"),
            ("smtps", "mail.example:25"),
        ] {
            assert_eq!(whose(scheme, host, Some("ada@x.example")), None, "{scheme} {host}");
        }
        assert_eq!(Target::of_url("smtp://mail.example:25"), None);
    }

    #[test]
    fn a_pattern_is_written_in_one_way() {
        for (pattern, canonical) in [
            ("HTTPS://GitHub.com:443/", "https://github.com"),
            ("https://*.Example.com:8443/a/b/", "https://*.example.com:8443/a/b"),
            ("http://ada@LOCALHOST:80", "http://ada@localhost"),
            ("SMTP://Mail.example:587", "smtp://mail.example"),
            ("imaps://mail.example:1993", "imaps://mail.example:1993"),
            ("imap://127.0.0.1:143", "imap://127.0.0.1"),
            ("https://my-git_1.example", "https://my-git_1.example"),
            ("https://ada%40corp.example@a.example/My Project", "https://ada%40corp.example@a.example/My%20Project"),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().canonical(), canonical);
        }
        let given = HostPattern::parse("https://*.a.example/b").unwrap().for_user("ada");
        assert_eq!(given.canonical(), "https://ada@*.a.example/b");
        assert_eq!((given.username(), given.is_wildcard(), given.has_path()), (Some("ada"), true, true));
        let plain = HostPattern::parse("https://a.example").unwrap();
        assert_eq!((plain.username(), plain.is_wildcard(), plain.has_path()), (None, false, false));
    }

    #[test]
    fn a_rule_of_the_user_replaces_those_of_the_system_that_it_covers() {
        let listed = |own: HostRule, other: HostRule| {
            let rules = [own, other];
            of_caller(&rules, GIT).map(|rule| rule.profile.clone()).collect::<Vec<_>>().join(" ")
        };
        let system = |pattern| HostRule { system: true, ..rule(pattern, "system") };
        for (own, pattern, left) in [
            ("https://git.example", "https://git.example", "own"),
            ("https://git.example", "https://git.example/team", "own"),
            ("https://git.example/team", "https://git.example", "own system"),
            ("https://git.example", "https://ada@git.example", "own"),
            ("https://ada@git.example", "https://ada@git.example", "own"),
            ("https://ada@git.example", "https://eve@git.example", "own system"),
            ("https://ada@git.example", "https://git.example", "own system"),
            ("https://*.git.example", "https://*.git.example", "own"),
            ("https://*.git.example", "https://a.git.example", "own"),
            ("https://*.git.example", "https://a.b.git.example", "own system"),
            ("https://*.git.example", "https://git.example", "own system"),
            ("https://git.example", "https://*.git.example", "own system"),
            ("https://git.example", "https://other.example", "own system"),
            ("https://git.example:8443", "https://git.example", "own system"),
            ("http://localhost:443", "https://localhost", "own system"),
        ] {
            assert_eq!(listed(rule(own, "own"), system(pattern)), left, "{own} {pattern}");
        }
        let (a, below) = ("https://a.example", "https://a.example/x");
        assert_eq!(listed(rule_for(&["docker"], a, "docker"), system(a)), "system", "it is for another caller");
        assert_eq!(listed(rule(a, "own"), rule(below, "more")), "own more", "both are the user's");
        assert_eq!(listed(system(a), system(below)), "system system");
    }

    #[test]
    fn an_address_of_another_program_is_on_a_patterns_host_whatever_its_path() {
        for (pattern, url, is) in [
            ("https://git.example/team", "https://ada@git.example/other", true),
            ("https://git.example", "https://git.example:443", true),
            ("https://git.example", "https://a.git.example", false),
            ("https://git.example", "https://other.example", false),
            ("https://git.example", "https://git.example:8443", false),
            ("https://localhost:80", "http://localhost", false),
            ("https://git.example", "git.example", false),
            ("https://*.git.example", "https://*.git.example/", true),
            ("https://*.git.example", "https://a.b.git.example", true),
            ("https://*.git.example", "https://git.example", true),
            ("https://*.git.example", "https://agit.example", false),
            ("https://*.git.example", "https://other.example", false),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().overlaps(url), is, "{pattern} {url}");
        }
    }
}
