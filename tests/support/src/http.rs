//! An HTTP/1.1 server small enough to misbehave on purpose.
//!
//! A test of a client has to answer with exact bytes, byte by byte, far too many of them or not at all. Server
//! libraries exist to make that impossible, so this one is plain threads over [`TcpListener`]: one request for
//! each connection, and a stop that leaves neither a thread nor a port behind.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HEAD_LIMIT: u64 = 64 * 1024;
const BODY_LIMIT: u64 = 16 * 1024 * 1024;
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Takes a lock whose holder may have panicked: one failed assertion must not hide behind a poisoned lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer, byte for byte.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code; any three digits.
    pub status: u16,
    /// Headers in order. `Connection: close` is added, and `Content-Length` unless it is given here.
    pub headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: Body,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug)]
pub enum Body {
    /// These bytes at once.
    Bytes(Vec<u8>),
    /// These bytes one at a time, with a pause before each.
    Trickled(Vec<u8>, Duration),
    /// These bytes so many times, however much that is.
    Repeated(Vec<u8>, usize),
    /// Spaces without end, until the client hangs up.
    Endless,
}

impl Answer {
    /// An answer with a content type and a body.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type".into(), content_type.into())], body: Body::Bytes(body.into()) }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn head(&self) -> String {
        use std::fmt::Write as _;

        let mut head = format!("HTTP/1.1 {} \r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let length = match &self.body {
            Body::Bytes(bytes) | Body::Trickled(bytes, _) => Some(bytes.len()),
            Body::Repeated(bytes, times) => Some(bytes.len() * times),
            Body::Endless => None,
        };
        let given = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if let Some(length) = length.filter(|_| !given) {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}

/// A flag that wakes sleeping threads when it is set.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        *lock(&self.stopped)
    }

    fn set(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    /// Sleeps for `time`; returns false if the server stopped meanwhile.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let stopped = lock(&self.stopped);
        let (stopped, _) =
            self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
        !*stopped
    }
}

/// The server's end of one connection, ready to send an answer. If it is dropped without one, the connection is closed.
pub(crate) struct Connection<'a> {
    stream: &'a mut dyn Write,
    stop: &'a Stop,
}

impl Connection<'_> {
    pub(crate) fn send(&mut self, answer: &Answer) -> io::Result<()> {
        let mut bytes = answer.head().into_bytes();
        match &answer.body {
            Body::Bytes(body) => {
                bytes.extend_from_slice(body);
                self.send_raw(&bytes)
            }
            Body::Trickled(body, pause) => {
                self.send_raw(&bytes)?;
                for byte in body {
                    if !self.stop.sleep(*pause) {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    self.send_raw(&[*byte])?;
                }
                Ok(())
            }
            Body::Repeated(unit, times) => {
                self.send_raw(&bytes)?;
                let at_once = (64 * 1024 / unit.len()).clamp(1, *times);
                let many = unit.repeat(at_once);
                for _ in 0..times / at_once {
                    self.send_raw(&many)?;
                }
                self.send_raw(&unit.repeat(times % at_once))
            }
            Body::Endless => {
                while !self.stop.is_set() {
                    self.send_raw(&bytes)?;
                    bytes = vec![b' '; 16 * 1024];
                }
                Ok(())
            }
        }
    }

    /// Sends any bytes, HTTP or not.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }
}

/// The live connections, so that stopping can hang up on clients that neither send nor read.
#[derive(Default)]
struct Live(Mutex<Vec<(SocketAddr, TcpStream)>>);

impl Live {
    fn add(&self, peer: SocketAddr, stream: TcpStream) {
        lock(&self.0).push((peer, stream));
    }

    fn remove(&self, peer: SocketAddr) {
        lock(&self.0).retain(|(other, _)| *other != peer);
    }

    fn hang_up(&self) {
        for (_, stream) in lock(&self.0).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The running server; dropping it stops it and waits for its threads.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<Stop>,
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A free port of 127.0.0.1. Binding comes before starting because the handler has to know its own address.
    pub(crate) fn bind() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1")
    }

    pub(crate) fn start(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        stop: Arc<Stop>,
        handler: impl Fn(Incoming, &mut Connection<'_>) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("the address of a bound socket");
        let live = Arc::new(Live::default());
        let thread = {
            let (stop, live) = (Arc::clone(&stop), Arc::clone(&live));
            // The scope is what joins every connection when the listener ends.
            thread::spawn(move || {
                thread::scope(|scope| {
                    for stream in listener.incoming() {
                        if stop.is_set() {
                            break;
                        }
                        let Ok(stream) = stream else { continue };
                        let (tls, stop, live, handler) = (tls.clone(), &stop, &live, &handler);
                        scope.spawn(move || {
                            // A client that hangs up or talks nonsense is its own test's business.
                            let _ = serve(stream, tls, stop, live, handler);
                        });
                    }
                });
            })
        };
        Self { address, stop, live, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.set();
        self.live.hang_up();
        // Nothing but a connection wakes a thread that waits in accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    stop: &Stop,
    live: &Live,
    handler: &impl Fn(Incoming, &mut Connection<'_>),
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(IDLE_LIMIT))?;
    let peer = tcp.peer_addr()?;
    live.add(peer, tcp.try_clone()?);
    // Stopping hangs up first and lets threads end after: one that starts in between has to look for itself.
    let outcome = if stop.is_set() {
        Ok(())
    } else if let Some(config) = tls {
        serve_tls(tcp, config, stop, handler)
    } else {
        exchange(&mut BufReader::new(tcp), BufReader::get_mut, stop, handler)
    };
    live.remove(peer);
    outcome
}

fn serve_tls(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    stop: &Stop,
    handler: &impl Fn(Incoming, &mut Connection<'_>),
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, tcp));
    exchange(&mut reader, BufReader::get_mut, stop, handler)?;
    let stream = reader.get_mut();
    // Without the closing alert a careful client reads a complete answer as a truncated one.
    stream.conn.send_close_notify();
    stream.flush()
}

fn exchange<S: Write, R: BufRead>(
    reader: &mut R,
    stream: impl Fn(&mut R) -> &mut S,
    stop: &Stop,
    handler: &impl Fn(Incoming, &mut Connection<'_>),
) -> io::Result<()> {
    let mut incoming = read_head(reader)?;
    if header(&incoming.headers, "expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream(reader).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream(reader).flush()?;
    }
    if header(&incoming.headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut incoming.body)?;
    } else {
        let length = header(&incoming.headers, "content-length").and_then(|value| value.trim().parse().ok());
        read_part(reader, length.unwrap_or(0), &mut incoming.body)?;
    }
    let mut connection = Connection { stream: stream(reader), stop };
    handler(incoming, &mut connection);
    Ok(())
}

/// A body of pieces, each with its length in front (RFC 9112 section 7.1), up to and with the empty one.
fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.take(HEAD_LIMIT).read_line(&mut line)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(|_| invalid("not the length of a chunk"))?;
        read_part(reader, length, body)?;
        let mut end = String::new();
        reader.take(HEAD_LIMIT).read_line(&mut end)?;
        if end != "\r\n" {
            return Err(invalid("a chunk without an end, or a trailer"));
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// Reads `length` more bytes.
fn read_part(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let before = body.len() as u64;
    if length > BODY_LIMIT || before + length > BODY_LIMIT {
        return Err(invalid("a body over the limit"));
    }
    reader.take(length).read_to_end(body)?;
    if body.len() as u64 - before == length { Ok(()) } else { Err(invalid("a body cut short")) }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Incoming> {
    let mut reader = reader.take(HEAD_LIMIT);
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(invalid("a head cut short")) }
    };
    let start = line()?;
    let mut words = start.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(invalid("not a request line"));
    };
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("not a header"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Incoming { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The first header of that name, whatever its case.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
