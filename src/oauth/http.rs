//! One request, one raw reply. This is the only user of `ureq`.
//!
//! No redirect is followed. A reply may take 30 seconds and 1 MiB, a connection 10 seconds (R58). The reply is bytes
//! and a status, which `answer` interprets.

use super::connect::Race;
use super::lookup::Lookup;
use super::proxy::Proxies;
use super::tls::{self, Tls};
use crate::clock::{Skew, Timestamp, boottime};
use crate::config::CaFile;
use crate::failure::{Exit, Failure};
use crate::secret::Buffer;
use anyhow::Result;
use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, SocksConnector};
use ureq::{Agent, RequestBuilder};

/// Time limit for one request and its reply.
pub const LIMIT: Duration = Duration::from_secs(30);
/// The least time that a request gets, even if its deadline has passed.
const LEAST: Duration = Duration::from_millis(1);
const CONNECT: Duration = Duration::from_secs(10);
const LARGEST: u64 = 1 << 20;
/// The standard library has no error kind for a failed lookup; its message begins with this, followed by the system's
/// reason.
const LOOKUP: &str = "failed to lookup address information: ";
/// A server's reply, of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, at most 1 MiB.
    pub body: Buffer,
    /// Whether the content type says HTML.
    pub html: bool,
    /// `Retry-After`, in seconds from now.
    pub retry_after: Option<u64>,
    /// `Location` of a redirect.
    pub location: Option<String>,
    /// The body's content coding, although none was accepted.
    pub coding: Option<String>,
    /// The difference to the server's clock, from its `Date` header.
    pub skew: Skew,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// `Metadata-Flavor`, which identifies Google's metadata server.
    pub flavor: Option<String>,
    /// Why the body of a success did not arrive completely. The request has taken effect all the same.
    pub cut: Option<String>,
}

impl Reply {
    /// This reply, or why its body did not arrive, for a request that can be repeated without harm.
    pub fn whole(self) -> Result<Self, String> {
        match self.cut {
            Some(why) => Err(why),
            None => Ok(self),
        }
    }
}

/// Sends requests. Make one only when it is needed, because it reads the trust store.
pub struct Http {
    agent: Agent,
    proxies: Option<Proxies>,
    tls: Tls,
    limit: Duration,
    until: Duration,
    connect: Duration,
}

impl Http {
    /// A client that trusts the platform's certificate authorities and those in `ca_file`.
    pub fn new(ca_file: Option<&CaFile>) -> Result<Self> {
        let tls = Tls::new(ca_file.map(certificates).transpose()?.unwrap_or_default());
        let config = Agent::config_builder()
            // `prepared` sets the proxy for each request.
            .proxy(None)
            // Treat error statuses as replies, because OAuth errors are 400 with JSON.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Polls are further apart than this, so no poll uses a connection that the server may be about to close.
            .max_idle_age(Duration::from_secs(1))
            .user_agent(concat!("keyfob/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .accept_encoding("identity")
            .build();
        let connector = ().chain(SocksConnector::default()).chain(ConnectProxyConnector::default()).chain(Race);
        let agent = Agent::with_parts(config, connector.chain(tls.clone()), Lookup);
        let proxies = Proxies::read(&|name| std::env::var_os(name))?;
        Ok(Self { agent, proxies, tls, limit: LIMIT, until: Duration::MAX, connect: CONNECT })
    }

    /// Sets the time limit of each request from now on, including its reply.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Makes all requests from now on end by `until`, as time since boot.
    pub fn until(&mut self, until: Duration) {
        self.until = until;
    }

    /// Sets the time limit for connecting.
    pub fn connect_within(&mut self, limit: Duration) {
        self.connect = limit;
    }

    fn left(&self) -> Duration {
        self.limit.min(self.until.saturating_sub(boottime())).max(LEAST)
    }

    /// Sets a request's time limits and its proxy.
    fn prepared<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        if request.uri_ref().and_then(Uri::scheme_str) == Some("https") {
            self.tls.prepare();
        }
        let proxy = request.uri_ref().and_then(|uri| self.proxies.as_ref()?.of(uri)).cloned();
        let config = request.config().timeout_connect(Some(self.connect)).timeout_global(Some(self.left()));
        config.proxy(proxy).build()
    }

    /// The result of a request. If it went through a proxy, an error says so, because the proxy may be the cause.
    fn reply(&self, url: &str, result: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, String> {
        let proxies =
            self.proxies.as_ref().filter(|proxies| url.parse().is_ok_and(|uri: Uri| proxies.of(&uri).is_some()));
        reply(result).map_err(|why| match proxies {
            Some(proxies) => format!("through the proxy {}: {why}", proxies.place()),
            None => why,
        })
    }

    /// POSTs a form, with this `Authorization` header.
    pub fn post(&self, url: &str, form: &str, authorization: Option<&str>) -> Result<Reply, String> {
        let mut request = self.prepared(self.agent.post(url)).content_type("application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        self.reply(url, request.send(form))
    }

    /// GETs, with this `Authorization` header.
    pub fn get(&self, url: &str, authorization: Option<&str>) -> Result<Reply, String> {
        let headers = authorization.map(|value| ("authorization", value));
        self.get_with(url, headers.as_slice())
    }

    /// GETs, with these headers.
    pub fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply, String> {
        let request = self.prepared(self.agent.get(url));
        self.reply(url, headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call())
    }

    /// POSTs a body, with these headers.
    pub fn post_with(&self, url: &str, body: &str, headers: &[(&str, &str)]) -> Result<Reply, String> {
        let request = self.prepared(self.agent.post(url));
        self.reply(url, headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send(body))
    }
}

/// The certificates of a PEM file.
fn certificates(file: &CaFile) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |what: &str| {
        Failure::usage(format!("{} {what}", file.path.display()))
            .hint("`ca-file` must name a PEM file with certificates")
    };
    let certificates = CertificateDer::pem_slice_iter(&file.pem).collect::<Result<Vec<_>, _>>();
    match certificates.map_err(|_| wrong("is not a PEM file"))? {
        none if none.is_empty() => Err(wrong("holds no certificate")),
        certificates => Ok(certificates),
    }
}

/// Reads a response to its end. The error says why there is none, or why an error's body could not be read.
fn reply(result: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, String> {
    let response = result.map_err(|e| described(&e))?;
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let html = header("content-type").is_some_and(|t| t.to_ascii_lowercase().contains("html"));
    let now = Timestamp::now();
    let skew = header("date").and_then(date).map_or(Skew::default(), |date| Skew::measured(date, now));
    let retry_after = header("retry-after").and_then(|value| seconds_from(value, skew.there(now)));
    let location = header("location").map(str::to_owned);
    let coding = header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let coding = coding.map(crate::text::clean);
    let [challenge, flavor] = ["www-authenticate", "metadata-flavor"].map(|name| header(name).map(str::to_owned));
    let status = response.status().as_u16();
    let body = response.into_body().into_with_config().limit(LARGEST).read_to_vec().map_err(|e| match e {
        ureq::Error::BodyExceedsLimit(_) => "the answer is larger than 1 MiB".to_owned(),
        other => described(&other),
    });
    let (body, cut) = match body {
        Ok(body) => (body.into(), None),
        Err(why) if (200..300).contains(&status) => (Buffer::default(), Some(why)),
        Err(why) => return Err(why),
    };
    Ok(Reply { status, body, html, retry_after, location, coding, skew, challenge, flavor, cut })
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. `now` is by the server's clock.
fn seconds_from(value: &str, now: Timestamp) -> Option<u64> {
    value.trim().parse().ok().or_else(|| date(value).map(|date| date.since(now)))
}

/// Parses an HTTP date (RFC 9110, section 5.6.7).
pub fn date(value: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Timestamp(date.as_second()))
}

/// Describes for a person why a request got no answer. The text holds no secret: addresses contain none, and no header
/// or body is quoted.
fn described(error: &ureq::Error) -> String {
    use std::io::ErrorKind;
    let tls = match error {
        ureq::Error::Rustls(e) => Some(e),
        // If TLS fails during an exchange, ureq returns an I/O error that contains the reason.
        ureq::Error::Io(e) => e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    if let Some(why) = tls {
        return tls::described(why);
    }
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time".into(),
        ureq::Error::LargeResponseHeader(..) => "the head of its answer is larger than 64 KiB".into(),
        ureq::Error::Protocol(why) => format!("its answer is not HTTP ({})", crate::text::clean(&why.to_string())),
        ureq::Error::ConnectProxyFailed(_) => "the proxy refused the connection".into(),
        ureq::Error::Io(e) => match e.kind() {
            ErrorKind::ConnectionRefused => "connection refused".into(),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                "the connection was cut off".into()
            }
            ErrorKind::TimedOut => "it did not answer in time".into(),
            _ => {
                let text = crate::text::clean(&e.to_string());
                match text.strip_prefix(LOOKUP) {
                    Some(why) => format!("its host name is not known here ({why})"),
                    None => text,
                }
            }
        },
        other => crate::text::clean(&other.to_string()),
    }
}

/// The failure of a request that got no answer.
pub fn unreachable(url: &str, why: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("could not reach {url}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = |value| seconds_from(value, Timestamp(784_111_770));
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:20 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }
}
