//! The HTTP server on loopback to which the browser is redirected (RFC 8252, section 7.3). It waits for one answer.
//!
//! - It listens on 127.0.0.1, and also on ::1 if the redirect names `localhost`. If the system tells whose a connection
//!   is, connections of other users (except root) are dropped unread.
//! - One short address, which cannot be guessed, redirects to the provider. The redirect URI's path takes the answer.
//!   All other paths, including the root, are not found.
//! - Only an answer with the right `state` counts. Any other request gets a reply and is forgotten, and the wait goes
//!   on. If the answer is to be posted, a code in an address is refused, because people can be talked into copying
//!   addresses.
//! - Every connection has a time limit of a few seconds and a limit for its head and body; none delays the others.
//! - Once it is known how the sign-in ended, the browser that brought the answer is told. Pages contain no script, load
//!   nothing, and do not repeat what was sent.

use crate::clock::boottime;
use crate::failure::{Exit, Failure};
use crate::secret::Secret;
use crate::text::clean;
use httparse::{EMPTY_HEADER, Status};
use ring::digest::{SHA256, digest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Size limits of a request's head and body, in bytes. An answer takes a few thousand bytes.
const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 10;
/// Time limit for a request to arrive completely.
const LIMIT: Duration = Duration::from_secs(5);
/// The most connections that are read at once; a further one replaces the oldest.
const MOST: usize = 64;
/// How many ports are tried to find one that is free on both loopback addresses.
const ATTEMPTS: usize = 16;

/// The answer to wait for, and the address to redirect to.
pub struct Expected {
    /// The path of the short address, which redirects to `to`.
    pub short: String,
    /// The address of the authorization request.
    pub to: String,
    /// The path of the redirect URI, `/` if it has none.
    pub path: String,
    /// The `state` parameter of the request.
    pub state: Secret,
    /// Whether the answer is posted as a form.
    pub posted: bool,
    /// Whether the answer must contain `iss` (RFC 9207).
    pub names_issuer: bool,
    /// The value that `iss` must have if it is present.
    pub issuer: Option<String>,
}

/// The provider's answer (RFC 6749, section 4.1.2).
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// `code`.
    Code(Secret),
    /// `error` and `error_description`, cleaned for display.
    Error(String, String),
    /// The answer is from another issuer or lacks the issuer, so it must not be used (RFC 9207, section 2.4).
    Foreign(String),
}

/// A complete request.
#[derive(Debug)]
pub struct Request {
    method: String,
    path: String,
    host: String,
    /// Whether its body is a form.
    posts_form: bool,
    /// The query of a GET, or the form of a POST.
    fields: Vec<(String, String)>,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Redirect it to the provider.
    Lead,
    /// Reply with this status and a page with this text.
    Say(u16, &'static str),
    /// It is the provider's answer.
    Answered(Answer),
}

const NOT_FOUND: Verdict = Verdict::Say(404, "There is nothing here.");

/// The length of a request's head, if `bytes` hold all of it. `from` is where the last search ended.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    bytes[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4)
}

/// Parses a head. Returns the request, without its body, and the body's length. The error is the status to reply with.
fn read_head(head: &[u8]) -> Result<(Request, usize), u16> {
    let mut headers = [EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    if !matches!(parsed.parse(head), Ok(Status::Complete(_))) {
        return Err(400);
    }
    let one = |name: &str| {
        let mut values = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(header), None) => std::str::from_utf8(header.value).map(Some).map_err(|_| 400u16),
            _ => Err(400),
        }
    };
    if one("transfer-encoding")?.is_some() {
        return Err(411);
    }
    let length = match one("content-length")? {
        None => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|length| *length <= BODY).ok_or(413u16)?
        }
        Some(_) => return Err(400),
    };
    let method = parsed.method.unwrap_or_default().to_owned();
    let target = parsed.path.filter(|target| target.starts_with('/')).ok_or(400u16)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_form = one("content-type")?.is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
    });
    let fields = if method == "GET" { fields(query.as_bytes()) } else { Vec::new() };
    let host = one("host")?.unwrap_or_default().to_ascii_lowercase();
    Ok((Request { posts_form: method == "POST" && is_form, path: path.to_owned(), method, host, fields }, length))
}

fn fields(form: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(form).into_owned().collect()
}

impl Request {
    /// Parses the request at the start of `bytes`; `None` if it is not complete. The error is the status to reply with.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, u16> {
        let Some(head) = head_end(bytes, 0) else { return Ok(None) };
        let (request, length) = read_head(&bytes[..head])?;
        Ok(bytes.get(head..head + length).map(|body| request.with(body)))
    }

    fn with(mut self, body: &[u8]) -> Self {
        if self.posts_form {
            self.fields = fields(body);
        }
        self
    }

    /// The value of this field; `None` if it occurs more than once.
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other == name);
        let (first, second) = (values.next(), values.next());
        first.filter(|_| second.is_none()).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, _)| other == name)
    }
}

/// Decides what to do with a request to this port.
pub fn judge(request: &Request, expected: &Expected, port: u16) -> Verdict {
    // Another `Host` means that a foreign name resolves to this address (DNS rebinding).
    if !["127.0.0.1", "localhost", "[::1]"].iter().any(|host| request.host == format!("{host}:{port}")) {
        return Verdict::Say(400, "This address is not known here.");
    }
    let get = request.method == "GET";
    if get && request.path == expected.short {
        return Verdict::Lead;
    }
    let answers = request.has("state") || request.has("code") || request.has("error");
    if !(get || request.method == "POST") || request.path != expected.path || !answers {
        return NOT_FOUND;
    }
    if get && expected.posted && request.has("code") {
        return Verdict::Say(
            400,
            "A code does not belong in an address. Do not pass this address on to anybody; close this page.",
        );
    }
    // Compare digests, so that the time taken does not reveal where the values differ.
    let hash = |text: &str| digest(&SHA256, text.as_bytes());
    let known = hash(expected.state.expose());
    if request.field("state").is_none_or(|state| hash(state).as_ref() != known.as_ref()) {
        return Verdict::Say(400, "This does not belong to the sign-in that is waited for.");
    }
    let said = request.field("iss");
    match (&expected.issuer, said) {
        (_, None) if request.has("iss") || expected.names_issuer => {
            return Verdict::Answered(Answer::Foreign("it does not say which issuer it is from (`iss`)".into()));
        }
        (Some(issuer), Some(said)) if issuer != said => {
            let why = format!("it is from the issuer {:?}, not {issuer:?}", clean(said));
            return Verdict::Answered(Answer::Foreign(why));
        }
        _ => {}
    }
    match (request.field("error"), request.field("code")) {
        (Some(error), _) => {
            let description = request.field("error_description").unwrap_or_default();
            Verdict::Answered(Answer::Error(clean(error), clean(description)))
        }
        (None, Some(code)) if !code.is_empty() && !code.contains(|c: char| c.is_control() || c.is_whitespace()) => {
            Verdict::Answered(Answer::Code(Secret::from(code.to_owned())))
        }
        _ => Verdict::Say(400, "This is no answer to a sign-in."),
    }
}

/// A connection whose request is not complete yet.
struct Connection {
    stream: TcpStream,
    until: Duration,
    bytes: Vec<u8>,
    /// The request without its body, and where the body begins and ends, once the head is complete.
    head: Option<(Request, usize, usize)>,
}

/// What has been received on a connection.
enum Received {
    /// Part of a request.
    Part,
    /// A complete request.
    Whole(Request),
    /// A request to be refused with this status.
    Refused(u16),
    /// The connection was closed.
    HungUp,
}

/// The server.
pub struct Listener {
    sockets: Vec<TcpListener>,
    port: u16,
    expected: Expected,
    connections: Vec<Connection>,
    /// The connection that brought the answer, kept to show how the sign-in ended.
    answered: Option<TcpStream>,
}

/// Binds a port (0 means any free one) on 127.0.0.1, and also on ::1 if `both` is set and the machine has ::1. Returns
/// the sockets and the port. Fails if the port is in use.
pub fn bind(port: u16, both: bool) -> Result<(Vec<TcpListener>, u16), Failure> {
    let taken = |error: &io::Error| {
        let at = if port == 0 { "on 127.0.0.1".to_owned() } else { format!("on port {port}") };
        let failure = Failure::new(Exit::Failed, format!("could not listen {at} for the browser's answer: {error}"));
        if port == 0 {
            failure
        } else {
            failure.hint("end the program that listens there, or set another `redirect-port`")
        }
    };
    let mut tried = Vec::new();
    loop {
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| taken(&error))?;
        let chosen = four.local_addr().map_err(|error| taken(&error))?.port();
        if !both {
            return Ok((vec![four], chosen));
        }
        match TcpListener::bind((Ipv6Addr::LOCALHOST, chosen)) {
            Ok(six) => return Ok((vec![four, six], chosen)),
            // A browser that tries ::1 first would send the code to another program. Keep the socket, so that the next
            // port differs.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tried.push(four);
                if port != 0 || tried.len() == ATTEMPTS {
                    return Err(taken(&error));
                }
            }
            // This machine has no ::1.
            Err(_) => return Ok((vec![four], chosen)),
        }
    }
}

impl Listener {
    /// Makes the server from the sockets of [`bind`].
    pub fn new((sockets, port): (Vec<TcpListener>, u16), expected: Expected) -> Result<Self, Failure> {
        for socket in &sockets {
            let failed = |error: io::Error| Failure::new(Exit::Failed, format!("could not listen: {error}"));
            socket.set_nonblocking(true).map_err(failed)?;
        }
        Ok(Self { sockets, port, expected, connections: Vec::new(), answered: None })
    }

    /// Sleeps until there is something to do, but at most for `limit`.
    pub fn wait(&self, limit: Duration) {
        let sockets = self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN));
        let streams = self.connections.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::IN));
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut sockets.chain(streams).collect::<Vec<_>>(), limit.as_ref());
    }

    /// Handles everything that has arrived. Returns the provider's answer once it is there, and then stops listening.
    pub fn serve(&mut self) -> Option<Answer> {
        self.accept();
        let now = boottime();
        let mut waiting = Vec::new();
        let mut answer = None;
        for mut connection in std::mem::take(&mut self.connections) {
            let verdict = match connection.receive() {
                Received::Part if connection.until > now => {
                    waiting.push(connection);
                    continue;
                }
                Received::Part | Received::HungUp => continue,
                Received::Whole(request) => judge(&request, &self.expected, self.port),
                Received::Refused(status) => Verdict::Say(status, "This request is not understood here."),
            };
            match verdict {
                Verdict::Lead => send(&mut connection.stream, 302, Some(&self.expected.to), "Sign in", ""),
                Verdict::Say(status, words) => send(&mut connection.stream, status, None, "keyfob", words),
                Verdict::Answered(answered) if answer.is_none() => {
                    answer = Some(answered);
                    self.answered = Some(connection.stream);
                }
                Verdict::Answered(_) => {
                    send(&mut connection.stream, 400, None, "keyfob", "The sign-in has been answered.");
                }
            }
        }
        self.connections = waiting;
        if answer.is_some() {
            self.connections.clear();
            self.sockets.clear();
        }
        answer
    }

    fn accept(&mut self) {
        for socket in &self.sockets {
            // Limit how many are accepted at once; otherwise a flood of connections would keep this loop from serving
            // requests.
            for _ in 0..MOST {
                let Ok((stream, peer)) = socket.accept() else { break };
                let local = stream.local_addr();
                if stream.set_nonblocking(true).is_err() || local.is_ok_and(|local| is_another_users(peer, local)) {
                    continue;
                }
                if self.connections.len() == MOST {
                    self.connections.remove(0);
                }
                let until = boottime() + LIMIT;
                self.connections.push(Connection { stream, until, bytes: Vec::new(), head: None });
            }
        }
    }

    /// Tells the browser that brought the answer how the sign-in ended.
    pub fn tell(mut self, well: bool, words: &str) {
        if let Some(stream) = &mut self.answered {
            let title = if well { "Signed in" } else { "The sign-in failed" };
            send(stream, if well { 200 } else { 400 }, None, title, words);
        }
    }
}

impl Connection {
    /// Reads what has arrived.
    fn receive(&mut self) -> Received {
        let mut piece = [0; 8 << 10];
        // Read at most one whole request at once; otherwise a fast sender would keep all others waiting.
        for _ in 0..=(HEAD + BODY) / piece.len() {
            let read = match self.stream.read(&mut piece) {
                Ok(0) => return Received::HungUp,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Received::HungUp,
            };
            let searched = self.bytes.len();
            self.bytes.extend_from_slice(&piece[..read]);
            if self.head.is_none() {
                let end = head_end(&self.bytes, searched);
                if end.unwrap_or(self.bytes.len()) > HEAD {
                    return Received::Refused(431);
                }
                match end.map(|end| (end, read_head(&self.bytes[..end]))) {
                    Some((end, Ok((request, length)))) => self.head = Some((request, end, end + length)),
                    Some((_, Err(status))) => return Received::Refused(status),
                    None => {}
                }
            }
            if let Some((request, body, end)) = self.head.take_if(|(_, _, end)| self.bytes.len() >= *end) {
                return Received::Whole(request.with(&self.bytes[body..end]));
            }
        }
        Received::Part
    }
}

/// Whether the system says that the connection from `peer` to `local` belongs to another user, other than root.
fn is_another_users(peer: SocketAddr, local: SocketAddr) -> bool {
    let word = |octets: &[u8]| octets.try_into().map(u32::from_ne_bytes).unwrap_or_default();
    // In the format of /proc/net/tcp: 32-bit words in native byte order.
    let printed = |address: SocketAddr| {
        let ip: String = match address.ip() {
            IpAddr::V4(ip) => format!("{:08X}", word(&ip.octets())),
            IpAddr::V6(ip) => ip.octets().chunks(4).fold(String::new(), |mut text, four| {
                let _ = write!(text, "{:08X}", word(four));
                text
            }),
        };
        format!("{ip}:{:04X}", address.port())
    };
    let (from, to) = (printed(peer), printed(local));
    let table = if peer.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let rows = std::fs::read_to_string(table).unwrap_or_default();
    let owner = rows.lines().find_map(|row| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let is_it = columns.get(1) == Some(&from.as_str()) && columns.get(2) == Some(&to.as_str());
        columns.get(7).filter(|_| is_it)?.parse::<u32>().ok()
    });
    // If this process runs as root by sudo, the browser may belong to the user who ran sudo.
    let own = rustix::process::geteuid();
    let made_root = || std::env::var("SUDO_UID").ok().filter(|_| own.is_root())?.parse().ok();
    owner.is_some_and(|uid| uid != 0 && uid != own.as_raw() && Some(uid) != made_root())
}

/// Sends a response and ends the connection. It does not matter if the browser has gone.
fn send(stream: &mut TcpStream, status: u16, location: Option<&str>, title: &str, words: &str) {
    let page = page(title, words);
    let location = location.map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status} \r\n{location}Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

/// An HTML page with a title and one sentence.
fn page(title: &str, words: &str) -> String {
    let words = words.chars().fold(String::new(), |mut text, char| {
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            other => text.push(other),
        }
        text
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark;font:1.125rem/1.5 system-ui,sans-serif}}\
         body{{max-width:32rem;margin:15vh auto;padding:0 1rem}}</style>\n<h1>{title}</h1>\n<p>{words}</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATE: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    fn expected(posted: bool) -> Expected {
        Expected {
            short: "/short".into(),
            to: "https://id.example.com/authorize".into(),
            path: "/".into(),
            state: Secret::from(STATE.to_owned()),
            posted,
            names_issuer: false,
            issuer: None,
        }
    }

    proptest! {
        /// Whatever pieces a request is made of: only a request with the right state, for this host, is an answer, and
        /// reading it never needs more bytes than were sent.
        #[test]
        fn nothing_but_the_right_state_is_an_answer(
            method in "GET|POST|HEAD|PUT|get|",
            path in "/|/short|/short/|//|/x|\\*|",
            names in prop::collection::vec(("code|state|error|iss|CODE|state%00", "[a-d%+&=;]{0,6}"), 0..5),
            state in prop::option::of(Just(STATE)),
            host in "127\\.0\\.0\\.1:8400|localhost:8400|\\[::1\\]:8400|evil\\.example|localhost:840|",
            length in 0usize..200,
            posted: bool,
            cut in 0usize..400,
        ) {
            let mut fields: Vec<String> = names.iter().map(|(name, value)| format!("{name}={value}")).collect();
            fields.extend(state.map(|state| format!("state={state}")));
            let form = fields.join("&");
            let head = format!("{method} {path}?{form} HTTP/1.1\r\nHost: {host}\r\n");
            let kind = "Content-Type: application/x-www-form-urlencoded";
            let text = format!("{head}{kind}\r\nContent-Length: {}\r\n\r\n{form}{}", form.len(), "x".repeat(length));
            let whole = Request::read(text.as_bytes());
            if let Ok(Some(request)) = &whole {
                let verdict = judge(request, &expected(posted), 8400);
                let local = ["127.0.0.1:8400", "localhost:8400", "[::1]:8400"].contains(&host.as_str());
                prop_assert!(local || matches!(verdict, Verdict::Say(400, _)));
                if let Verdict::Answered(answer) = verdict {
                    prop_assert!(state.is_some() && path == "/" && ["GET", "POST"].contains(&method.as_str()));
                    prop_assert_eq!(form.matches("state=").count(), 1);
                    prop_assert!(!(posted && method == "GET" && matches!(answer, Answer::Code(_))));
                }
            }
            // A prefix of a request never reads as a different request.
            let part = Request::read(&text.as_bytes()[..cut.min(text.len())]);
            prop_assert!(part.is_err() == whole.is_err() || matches!(part, Ok(None)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let ended = [&bytes[..], b"\r\n\r\n"].concat();
            let _ = (Request::read(&bytes).is_ok(), Request::read(&ended).is_ok());
        }
    }

    #[test]
    fn a_head_ends_at_its_empty_line_wherever_the_last_search_ended() {
        let text = b"GET / HTTP/1.1\r\n\r\nbody";
        for from in [0, 1, 15, 16, 17] {
            assert_eq!(head_end(text, from), Some(18), "{from}");
        }
        assert_eq!(head_end(&text[..17], 0), None);
    }

    #[test]
    fn a_request_is_read_once_it_is_complete_or_refused_with_a_status() {
        let read = |text: &str| {
            let request = Request::read(text.replace('\n', "\r\n").as_bytes())?;
            let fields = |request: &Request| {
                let fields = request.fields.iter().map(|(name, value)| format!(" {name}={value}"));
                format!("{} {}{}", request.method, request.path, fields.collect::<String>())
            };
            Ok(request.as_ref().map(fields))
        };
        let form = "Content-Type: application/x-www-form-urlencoded";
        let whole = |text: &str| Ok(Some(text.to_owned()));
        for (text, result) in [
            ("GET /cb?code=a%20b&x=+ HTTP/1.1\nHost: a\n\n".to_owned(), whole("GET /cb code=a b x= ")),
            ("GET /cb HTTP/1.1\nHost: a\n".into(), Ok(None)),
            (format!("POST /cb HTTP/1.1\n{form}\nContent-Length: 6\n\ncode=a&x=y"), whole("POST /cb code=a")),
            (
                format!("POST /cb HTTP/1.1\n{form}; charset=utf-8\ncontent-length: 6\n\ncode=a"),
                whole("POST /cb code=a"),
            ),
            (format!("POST /cb HTTP/1.1\n{form}\nContent-Length: 7\n\ncode=a"), Ok(None)),
            (format!("POST /cb?code=a HTTP/1.1\n{form}\n\n"), whole("POST /cb")),
            ("POST /cb HTTP/1.1\nContent-Type: text/plain\nContent-Length: 6\n\ncode=a".into(), whole("POST /cb")),
            (format!("PUT /cb HTTP/1.1\n{form}\nContent-Length: 6\n\ncode=a"), whole("PUT /cb")),
            ("GET / HTTP/1.1\nContent-Length: 65536\n\n".into(), Ok(None)),
            ("GET / HTTP/1.1\nContent-Length: 65537\n\n".into(), Err(413)),
            ("GET / HTTP/1.1\nContent-Length: 99999999999999999999\n\n".into(), Err(413)),
            ("GET / HTTP/1.1\nContent-Length:\n\n".into(), Err(400)),
            ("GET / HTTP/1.1\nContent-Length: +1\n\n".into(), Err(400)),
            ("GET / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\nx".into(), Err(400)),
            ("GET / HTTP/1.1\nTransfer-Encoding: chunked\n\n".into(), Err(411)),
            ("GET / HTTP/1.1\nHost: a\nHost: b\n\n".into(), Err(400)),
            ("GET http://a/ HTTP/1.1\n\n".into(), Err(400)),
            ("nonsense\n\n".into(), Err(400)),
        ] {
            assert_eq!(read(&text), result, "{text}");
        }
    }

    #[test]
    fn a_request_leads_to_the_provider_or_answers_or_is_told_why_it_does_not() {
        let issuer = "https://id.example.com";
        let plain = || Expected { path: "/cb".into(), ..expected(false) };
        let judged = |line: &str, host: &str, expected: &Expected| {
            let (method, target) = line.split_once(' ').unwrap();
            let target = target.replace("STATE", STATE);
            let (path, form) = target.split_once('?').unwrap_or((&target, ""));
            let text = if method == "POST" {
                let kind = "Content-Type: application/x-www-form-urlencoded";
                format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{form}",
                    form.len()
                )
            } else {
                format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            };
            judge(&Request::read(text.as_bytes()).unwrap().unwrap(), expected, 8400)
        };
        let code = || Verdict::Answered(Answer::Code(Secret::from("c".to_owned())));
        let foreign = |why: &str| Verdict::Answered(Answer::Foreign(why.into()));
        let other = || Verdict::Say(400, "This does not belong to the sign-in that is waited for.");
        let none = || Verdict::Say(400, "This is no answer to a sign-in.");
        let nameless = "it does not say which issuer it is from (`iss`)";
        let posted = || Expected { posted: true, ..plain() };
        let named = || Expected { names_issuer: true, issuer: Some(issuer.into()), ..plain() };
        let known = || Expected { issuer: Some(issuer.into()), ..plain() };
        for (line, expected, verdict) in [
            ("GET /short", plain(), Verdict::Lead),
            ("HEAD /short", plain(), NOT_FOUND),
            ("GET /", plain(), NOT_FOUND),
            ("GET /cb", plain(), NOT_FOUND),
            ("GET /cb?x=STATE", plain(), NOT_FOUND),
            ("GET /other?code=c&state=STATE", plain(), NOT_FOUND),
            ("HEAD /cb?code=c&state=STATE", plain(), NOT_FOUND),
            ("GET /cb?code=c&state=STATE", plain(), code()),
            ("POST /cb?code=c&state=STATE", plain(), code()),
            ("POST /cb?code=c&state=STATE", posted(), code()),
            (
                "GET /cb?error=denied%1b&state=STATE&error_description=No%0a%1bway",
                posted(),
                Verdict::Answered(Answer::Error("denied".into(), "No way".into())),
            ),
            (
                "GET /cb?error=e&code=c&state=STATE",
                plain(),
                Verdict::Answered(Answer::Error("e".into(), String::new())),
            ),
            ("GET /cb?code=c&state=x", plain(), other()),
            ("GET /cb?code=c", plain(), other()),
            ("GET /cb?error=e", plain(), other()),
            ("GET /cb?code=c&state=STATE&state=STATE", plain(), other()),
            ("GET /cb?state=STATE", plain(), none()),
            ("GET /cb?code=&state=STATE", plain(), none()),
            ("GET /cb?code=c&code=c&state=STATE", plain(), none()),
            ("GET /cb?code=a%20b&state=STATE", plain(), none()),
            ("GET /cb?code=a%07b&state=STATE", plain(), none()),
            ("GET /cb?code=c&state=STATE&iss=https://id.example.com", named(), code()),
            ("GET /cb?code=c&state=STATE", named(), foreign(nameless)),
            ("GET /cb?code=c&state=STATE", known(), code()),
            ("GET /cb?code=c&state=STATE&iss=a&iss=a", known(), foreign(nameless)),
            ("GET /cb?code=c&state=STATE&iss=a", plain(), code()),
            (
                "GET /cb?code=c&state=STATE&iss=a",
                known(),
                foreign("it is from the issuer \"a\", not \"https://id.example.com\""),
            ),
        ] {
            assert_eq!(judged(line, "localhost:8400", &expected), verdict, "{line}");
        }
        let Verdict::Say(400, words) = judged("GET /cb?code=c&state=STATE", "[::1]:8400", &posted()) else { panic!() };
        assert!(words.starts_with("A code does not belong in an address."));
        let foreign_name = Verdict::Say(400, "This address is not known here.");
        assert_eq!(judged("GET /short", "evil.example:8400", &plain()), foreign_name);
    }

    #[test]
    fn a_page_shows_its_words_and_no_markup_in_them() {
        let page = page("Signed in", "as <b>ada</b> & co");
        assert!(page.contains("<h1>Signed in</h1>\n<p>as &lt;b&gt;ada&lt;/b&gt; &amp; co</p>"), "{page}");
    }

    #[test]
    fn a_port_is_free_on_both_loopback_addresses_or_another_one_is_taken() {
        let (sockets, port) = bind(0, true).unwrap();
        assert!(!sockets.is_empty() && sockets.iter().all(|socket| socket.local_addr().unwrap().port() == port));
        assert!(bind(port, false).unwrap_err().message.starts_with(&format!("could not listen on port {port} for")));
        // A port that is in use only on ::1.
        let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
        let taken = six.local_addr().unwrap().port();
        assert!(bind(taken, true).is_err(), "another program would be told the code");
        assert_eq!(bind(taken, false).unwrap().1, taken);
    }
}
