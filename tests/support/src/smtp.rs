//! A mail server that asks for the identity provider's tokens: just enough SMTP (RFC 5321) for a client to send one mail, with
//! AUTH XOAUTH2 and PLAIN, and without TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::lock;

/// Whether a token is good for a user.
type Accepts = dyn Fn(&str, &str) -> bool + Send + Sync;

/// A running mail server; it ends with the test.
pub struct Smtp {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    /// Starts one on a free port of 127.0.0.1. `accepts` says whether a user may send with a token.
    pub fn start(accepts: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address of a bound socket");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (accepts, noted): (Arc<Accepts>, _) = (Arc::new(accepts), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (accepts, noted) = (Arc::clone(&accepts), Arc::clone(&noted));
                // A client that hangs up is its own test's business.
                thread::spawn(move || serve(stream, &accepts, &noted));
            }
        });
        Self { address, seen }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it saw since the last call, without secrets: `XOAUTH2 ada@example.com 235`, `mail`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.seen))
    }
}

fn serve(stream: TcpStream, accepts: &Arc<Accepts>, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).ok();
    let mut line = move || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    say("220 mail.test")?;
    let mut signed_in = false;
    loop {
        let command = line()?;
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => say("250-mail.test\r\n250 AUTH XOAUTH2 PLAIN")?,
            "AUTH" => {
                let mut words = command.split(' ').skip(1).map(str::to_owned);
                let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
                let initial = if let Some(initial) = words.next() {
                    initial
                } else {
                    say("334 ")?;
                    line()?
                };
                let (user, token) = shown(&mechanism, &initial).unwrap_or_default();
                signed_in = accepts(&user, &token);
                let status = if signed_in { "235 2.7.0 ok" } else { "535 5.7.8 no" };
                lock(seen).push(format!("{mechanism} {user} {}", &status[..3]));
                say(status)?;
            }
            "MAIL" if !signed_in => say("530 5.7.0 sign in first")?,
            "DATA" => {
                say("354 go on")?;
                while line()? != "." {}
                lock(seen).push("mail".to_owned());
                say("250 2.0.0 ok")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
}

/// The user and the token in the client's first message.
fn shown(mechanism: &str, initial: &str) -> Option<(String, String)> {
    let message = String::from_utf8(STANDARD.decode(initial).ok()?).ok()?;
    let (user, token) = match mechanism {
        "XOAUTH2" => {
            let rest = message.strip_prefix("user=")?.strip_suffix("\x01\x01")?;
            rest.split_once("\x01auth=Bearer ")?
        }
        // RFC 4616: the mailbox may be named before.
        "PLAIN" => message.split_once('\0')?.1.split_once('\0')?,
        _ => return None,
    };
    Some((user.to_owned(), token.to_owned()))
}
