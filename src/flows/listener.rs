//! Where a browser comes back to (RFC 8252, section 7.3): an HTTP server on loopback that waits for one answer.
//!
//! - It listens on 127.0.0.1, and on ::1 too where the redirect says `localhost`. What comes from another user of this machine
//!   (root excepted) is dropped unread, where the system tells whose it is.
//! - One address, which nobody guesses, leads to the provider. The redirect's path takes the answer. Everything else is not
//!   found, the root included.
//! - Only an answer with the right `state` counts; whatever else comes is answered and forgotten, and the waiting goes on. Where
//!   the answer is to be posted, one in an address is refused: people are talked into copying addresses.
//! - Every connection has a few seconds, a bounded head and a bounded body; none keeps another one waiting.
//! - The browser that brought the answer is told how the sign-in ended once that is known. No page holds a script, loads
//!   anything, or repeats what was sent.

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

/// Largest head and body of a request, in bytes. An answer takes a few thousand.
const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 10;
/// Longest time for a request to arrive whole.
const LIMIT: Duration = Duration::from_secs(5);
/// So many connections are read at once; one more drops the oldest.
const MOST: usize = 64;
/// So many ports are tried until one is free on both loopback addresses.
const ATTEMPTS: usize = 16;

/// What is waited for, and what is answered meanwhile.
pub struct Expected {
    /// The path of the short address, which leads to `to`.
    pub short: String,
    /// The address of the authorization request.
    pub to: String,
    /// The redirect's path, `/` if it has none.
    pub path: String,
    /// The request's `state`.
    pub state: Secret,
    /// The answer comes as a form that is posted.
    pub posted: bool,
    /// `iss` must be there (RFC 9207).
    pub names_issuer: bool,
    /// What `iss` must be if it is there.
    pub issuer: Option<String>,
}

/// The provider's answer (RFC 6749, section 4.1.2).
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// `code`.
    Code(Secret),
    /// `error` and `error_description`, cleaned.
    Error(String, String),
    /// It is from another issuer, or does not say from which: nothing in it counts (RFC 9207, section 2.4).
    Foreign(String),
}

/// A request, whole.
#[derive(Debug)]
pub struct Request {
    method: String,
    path: String,
    host: String,
    /// Its body is a form.
    posts_form: bool,
    /// The query of a GET, the form of a POST.
    fields: Vec<(String, String)>,
}

/// What is done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent on to the provider.
    Lead,
    /// It gets this status and a page with these words.
    Say(u16, &'static str),
    /// It is what was waited for.
    Answered(Answer),
}

const NOT_FOUND: Verdict = Verdict::Say(404, "There is nothing here.");

/// The length of a request's head in `bytes`, if it is whole; what stands before `from` has been searched already.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    bytes[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4)
}

/// Takes a head apart: a request without its body yet, and the body's length. The error is the status to answer.
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
    /// The request that `bytes` begin with: `None` until it is whole; the error is the status to answer.
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

    /// What it says of this name; nothing if it says it twice.
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other == name);
        let (first, second) = (values.next(), values.next());
        first.filter(|_| second.is_none()).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, _)| other == name)
    }
}

/// Decides about a request to this port.
pub fn judge(request: &Request, expected: &Expected, port: u16) -> Verdict {
    // A name of another host's that leads here (DNS rebinding).
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
    // By their digests, which take as long to compare wherever they differ.
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

/// A connection whose request has not arrived whole.
struct Connection {
    stream: TcpStream,
    until: Duration,
    bytes: Vec<u8>,
    /// The request without its body, and where that begins and ends, once the head has come.
    head: Option<(Request, usize, usize)>,
}

/// What has come of a connection's request.
enum Received {
    /// Not all of it.
    Part,
    /// All of it.
    Whole(Request),
    /// What is answered with this status.
    Refused(u16),
    /// Nothing more will come.
    HungUp,
}

/// The server.
pub struct Listener {
    sockets: Vec<TcpListener>,
    port: u16,
    expected: Expected,
    connections: Vec<Connection>,
    /// Who brought the answer, and is to be told how it ended.
    answered: Option<TcpStream>,
}

/// Sockets on a port (0: any that is free) of 127.0.0.1, and of ::1 too if `both` and the machine has it. Fails if the port is
/// taken.
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
            // A browser that tries ::1 first would tell another program the code. Kept, so that the next one differs.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tried.push(four);
                if port != 0 || tried.len() == ATTEMPTS {
                    return Err(taken(&error));
                }
            }
            // There is no ::1 here.
            Err(_) => return Ok((vec![four], chosen)),
        }
    }
}

impl Listener {
    /// Waits for an answer on sockets from [`bind`].
    pub fn new((sockets, port): (Vec<TcpListener>, u16), expected: Expected) -> Result<Self, Failure> {
        for socket in &sockets {
            let failed = |error: io::Error| Failure::new(Exit::Failed, format!("could not listen: {error}"));
            socket.set_nonblocking(true).map_err(failed)?;
        }
        Ok(Self { sockets, port, expected, connections: Vec::new(), answered: None })
    }

    /// Sleeps until there is something to do, or for `limit`.
    pub fn wait(&self, limit: Duration) {
        let sockets = self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN));
        let streams = self.connections.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::IN));
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut sockets.chain(streams).collect::<Vec<_>>(), limit.as_ref());
    }

    /// Does what can be done now. The answer, once it has come: then nothing else is listened to.
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
            // As many at a time as are kept, or a flood of them would keep this loop from what has come.
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
    /// Reads what has come.
    fn receive(&mut self) -> Received {
        let mut piece = [0; 8 << 10];
        // No more at once than a whole request, or one fast sender would keep all others waiting.
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

/// Whether the system says that a connection from `peer` to `local` is of another user, who is not root.
fn is_another_users(peer: SocketAddr, local: SocketAddr) -> bool {
    let word = |octets: &[u8]| octets.try_into().map(u32::from_ne_bytes).unwrap_or_default();
    // As proc_net_tcp prints them: words in the machine's own order.
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
    // Root may have been made root by another user, whose browser it is.
    let own = rustix::process::geteuid();
    let made_root = || std::env::var("SUDO_UID").ok().filter(|_| own.is_root())?.parse().ok();
    owner.is_some_and(|uid| uid != 0 && uid != own.as_raw() && Some(uid) != made_root())
}

/// Answers, and ends the connection. A browser that has gone is no failure.
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

/// A page with a title and a sentence.
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
        /// However the pieces of requests are put together: only what has the one state, to this host, is an answer, and no
        /// more has to be read than was sent.
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
            // A part of it is never more than the whole.
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
    fn a_port_is_free_on_both_loopback_addresses_or_another_one_is_taken() {
        let (sockets, port) = bind(0, true).unwrap();
        assert!(!sockets.is_empty() && sockets.iter().all(|socket| socket.local_addr().unwrap().port() == port));
        assert!(bind(port, false).unwrap_err().message.starts_with(&format!("could not listen on port {port} for")));
        // Taken on ::1 alone.
        let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
        let taken = six.local_addr().unwrap().port();
        assert!(bind(taken, true).is_err(), "another program would be told the code");
        assert_eq!(bind(taken, false).unwrap().1, taken);
    }
}
