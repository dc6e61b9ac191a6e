//! Connects to the first of a host's addresses that answers. An address that does not answer costs a quarter of a
//! second, not the whole timeout (RFC 8305, "Happy Eyeballs").

use crate::later::in_a_thread;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

/// How long to wait for one address before trying the next one as well (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Longer than any request; the system limits how long a timeout may be.
const LONGEST: Duration = Duration::from_secs(3600);

/// Connects by TCP, unless a proxy's connector has already connected.
#[derive(Debug)]
pub(super) struct Race;

impl<In: Transport> Connector<In> for Race {
    type Out = Either<In, Stream>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(connected) = chained {
            return Ok(Some(Either::A(connected)));
        }
        let stream =
            first(&ordered(&details.addrs), within(details.timeout)).map_err(|e| reason(e, details.timeout))?;
        if details.config.no_delay() {
            stream.set_nodelay(true)?;
        }
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Stream { stream, buffers })))
    }
}

/// The addresses, alternating between IPv4 and IPv6, beginning with the family that the system prefers (RFC 8305,
/// section 4).
fn ordered(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let (mut preferred, mut others): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_first);
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend((!preferred.is_empty()).then(|| preferred.remove(0)));
        ordered.extend((!others.is_empty()).then(|| others.remove(0)));
    }
    ordered
}

/// The first connection that succeeds within `limit`; otherwise the error of the address that failed last.
fn first(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect_timeout(only, limit);
    }
    let began = Instant::now();
    let (sender, attempts) = channel();
    let mut waiting = addresses.iter().copied();
    let (mut running, mut last) = (0, io::Error::from(ErrorKind::AddrNotAvailable));
    loop {
        let left = limit.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        let mut pause = left;
        if let Some(address) = waiting.next() {
            let sender = sender.clone();
            let attempt = move || drop(sender.send(TcpStream::connect_timeout(&address, left)));
            in_a_thread(attempt)?;
            running += 1;
            pause = left.min(ATTEMPT_DELAY);
        } else if running == 0 {
            return Err(last);
        }
        match attempts.recv_timeout(pause) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => (running, last) = (running - 1, e),
            Err(RecvTimeoutError::Timeout) if began.elapsed() >= limit => return Err(ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
    }
}

fn within(timeout: NextTimeout) -> Duration {
    (*timeout.after).clamp(Duration::from_millis(1), LONGEST)
}

/// Converts an error to ureq's; a timeout becomes the timeout of the request.
fn reason(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(Some(within(timeout)))?;
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(|e| reason(e, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(Some(within(timeout)))?;
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|e| reason(e, timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let quiet = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            Ok::<_, io::Error>(peeked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock))
        };
        quiet(&self.stream).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_families_take_turns_and_the_preferred_one_begins() {
        let order = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            ordered(&addresses).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let [one, two, three] = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"];
        let [four, five] = ["192.0.2.1:1", "192.0.2.2:1"];
        assert_eq!(order(&[one, two, three, four, five]), [one, four, two, five, three]);
        assert_eq!(order(&[four, one]), [four, one]);
        assert_eq!(order(&[four, five]), [four, five]);
        assert_eq!(order(&[]), [""; 0]);
    }

    /// A listener whose queue is full, so that connections to it hang, with the connections that fill it.
    fn hanging() -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            filling.push(stream);
        }
        (listener, filling)
    }

    #[test]
    fn an_address_that_hangs_does_not_keep_the_next_one_waiting() {
        let hanging: Vec<_> = (0..3).map(|_| hanging()).collect();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses: Vec<_> = hanging.iter().map(|(listener, _)| listener.local_addr().unwrap()).collect();
        addresses.push(good.local_addr().unwrap());
        let stream = first(&addresses, Duration::from_secs(10)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good.local_addr().unwrap());
        let error = first(&addresses[..2], Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn where_no_address_answers_the_last_reason_is_given() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for addresses in [&[closed][..], &[closed, closed]] {
            assert_eq!(first(addresses, Duration::from_secs(10)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        assert_eq!(first(&[], Duration::from_secs(10)).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    }
}
