//! Chooses the proxy of a request from the environment as Go does, and with it kubectl. `ALL_PROXY`, which Go does not
//! support, works as in curl. <https://pkg.go.dev/golang.org/x/net/http/httpproxy>
//!
//! - `HTTPS_PROXY`, otherwise `https_proxy`, otherwise `ALL_PROXY` or `all_proxy`. `HTTP_PROXY` is for plain http,
//!   which never leaves this machine.
//! - `NO_PROXY`, otherwise `no_proxy`, is a list separated by commas. An entry is a domain (which includes its
//!   subdomains), `.domain` (only its subdomains), an address, a range of addresses (CIDR), or `*` for everything. All
//!   but ranges may have a port.
//! - `localhost` and loopback addresses are never reached through a proxy.

use crate::address::has_whole_port;
use crate::failure::Failure;
use http::Uri;
use std::ffi::OsString;
use std::net::IpAddr;
use ureq::Proxy;

/// The variables that name a proxy; the first one that is set counts.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The variables that name hosts which are reached without the proxy.
pub const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy, and the hosts that are reached without it.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// The variable that names the proxy.
    pub variable: &'static str,
    /// The proxy. Its address may contain a password and must not be shown.
    pub proxy: Proxy,
    except: String,
}

impl Proxies {
    /// Reads the environment; `None` if no proxy is set. Fails if the address is invalid, because bypassing the proxy
    /// would be a surprise; the address is not quoted.
    pub fn read(environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Failure> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let Some((variable, value)) = VARIABLES.into_iter().find_map(|name| Some((name, set(name)?))) else {
            return Ok(None);
        };
        let whole = |proxy: &Proxy| !proxy.host().is_empty() && proxy.uri().authority().is_some_and(has_whole_port);
        let proxy = value.to_str().and_then(|address| Proxy::new(address).ok()).filter(whole);
        let except = EXCEPTIONS.into_iter().find_map(set).map(|hosts| hosts.to_string_lossy().to_ascii_lowercase());
        match proxy {
            Some(proxy) => Ok(Some(Self { variable, proxy, except: except.unwrap_or_default() })),
            None => Err(Failure::usage(format!("{variable} is set, but is not the address of a proxy"))
                .run(format!("unset {variable}"))),
        }
    }

    /// The proxy for a request; `None` if it is reached directly.
    pub fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"))?.to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return None;
        }
        let port = uri.port_u16().unwrap_or(443);
        let bypassed = self.except.split(',').any(|entry| matches(entry.trim(), host, ip, port));
        (!bypassed).then_some(&self.proxy)
    }

    /// The proxy's host, port and variable, for messages.
    pub fn place(&self) -> String {
        format!("{}:{} ({})", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// Whether an entry of `NO_PROXY` matches this host.
fn matches(entry: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, length)) = range(entry) {
        return ip.is_some_and(|ip| is_within(ip, network, length));
    }
    let bare = |text: &str| text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::to_owned);
    let (name, only) = match entry.rsplit_once(':') {
        // An IPv6 address contains colons, so a port can follow it only after brackets.
        Some((name, digits)) if !name.contains(':') || bare(name).is_some() => (name, Some(digits)),
        _ => (entry, None),
    };
    if only.is_some_and(|digits| digits.parse() != Ok(port)) {
        return false;
    }
    let inner = if only.is_some() { bare(name) } else { None };
    let name = inner.as_deref().unwrap_or(name);
    if let Ok(address) = name.parse::<IpAddr>() {
        return ip == Some(address);
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let (domain, itself) = name.strip_prefix('.').map_or((name, true), |domain| (domain, false));
    let below = host.strip_suffix(domain).is_some_and(|label| label.ends_with('.'));
    !domain.is_empty() && (below || itself && host == domain)
}

/// Parses a range of addresses, such as `10.0.0.0/8`.
fn range(entry: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = entry.split_once('/')?;
    let (network, length): (IpAddr, u32) = (network.parse().ok()?, length.parse().ok()?);
    (length <= if network.is_ipv4() { 32 } else { 128 }).then_some((network, length))
}

fn is_within(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length,
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded: an environment per line, and the proxy that each program chose for each host, as the first letter of
    /// its name.
    const RECORDED: &str = include_str!("proxies.txt");

    fn chosen(environment: &str, hosts: &[&str]) -> String {
        let set: Vec<(&str, &str)> = environment.split(';').filter_map(|one| one.split_once('=')).collect();
        let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let proxies = Proxies::read(&variable).unwrap();
        let of = |host: &&str| {
            let uri = format!("https://{host}/").parse().unwrap();
            let proxy = proxies.as_ref().and_then(|proxies| proxies.of(&uri));
            proxy.and_then(|proxy| proxy.host().chars().next()).unwrap_or('-')
        };
        hosts.iter().map(of).collect()
    }

    /// Recorded from Go 1.27's `http.ProxyFromEnvironment`, curl 7.88 and Python 3.11's urllib on one machine.
    #[test]
    fn a_proxy_is_chosen_as_go_chooses_it_and_where_it_has_no_rule_as_curl_does() {
        let mut lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
        let hosts: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let mut count = 0;
        for line in lines {
            let [environment, go, curl, python] =
                line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
            let ours = chosen(environment, &hosts);
            let by_all = environment.to_uppercase().contains("ALL_PROXY=") && go.chars().all(|chosen| chosen == '-');
            // Go never uses a proxy for loopback, even if the variables name one; nor does keyfob.
            let local = |host: &&str| ["localhost", "127.0.0.1", "[::1]"].contains(host);
            let curls: String =
                hosts.iter().zip(curl.chars()).map(|(host, c)| if local(host) { '-' } else { c }).collect();
            assert_eq!(ours, if by_all { &curls } else { go }, "{environment} (curl: {curl}, Python: {python})");
            count += 1;
        }
        assert_eq!(count, 31);
    }
}
