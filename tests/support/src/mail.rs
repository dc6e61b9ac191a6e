//! Mail servers that ask for the identity provider's tokens, without TLS: just enough SMTP (RFC 5321) for a client to send one
//! mail, with AUTH XOAUTH2 and PLAIN, and just enough IMAP (RFC 3501) to store one, with AUTHENTICATE PLAIN.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::lock;

/// A connection, and what is needed to serve it.
struct Desk<'a> {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    accepts: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
    seen: &'a Mutex<Vec<String>>,
}

/// A running mail server; it ends with the test.
pub struct MailServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    /// Starts one for SMTP on a free port of 127.0.0.1. `accepts` says whether a user may send with a token.
    pub fn smtp(accepts: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        Self::start(accepts, smtp)
    }

    /// Starts a server for IMAP.
    pub fn imap(accepts: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        Self::start(accepts, imap)
    }

    fn start(accepts: impl Fn(&str, &str) -> bool + Send + Sync + 'static, serve: fn(Desk<'_>) -> Option<()>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address of a bound socket");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (accepts, noted) = (Arc::new(accepts), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (accepts, noted) = (Arc::clone(&accepts), Arc::clone(&noted));
                let reader = BufReader::new(stream.try_clone().expect("a second handle of the connection"));
                // A client that hangs up is its own test's business.
                thread::spawn(move || serve(Desk { reader, stream, accepts: &*accepts, seen: &noted }));
            }
        });
        Self { address, seen }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it has seen since the last call, without secrets: `XOAUTH2 ada@example.com 235`, `mail`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.seen))
    }
}

impl Desk<'_> {
    fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).ok()
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    }

    fn note(&self, what: String) {
        lock(self.seen).push(what);
    }

    /// Handles AUTH or AUTHENTICATE with these words, and returns whether the client may sign in. `go_on` asks for the
    /// first message, if it is not in the words.
    fn signs_in(&mut self, words: &str, go_on: &str, statuses: [&str; 2]) -> Option<bool> {
        let (mechanism, initial) = words.split_once(' ').map_or((words, None), |(word, rest)| (word, Some(rest)));
        let mechanism = mechanism.to_ascii_uppercase();
        let initial = if let Some(initial) = initial {
            initial.to_owned()
        } else {
            self.say(go_on)?;
            self.line()?
        };
        let (user, token) = shown(&mechanism, &initial).unwrap_or_default();
        let may = (self.accepts)(&user, &token);
        self.note(format!("{mechanism} {user} {}", statuses[usize::from(!may)]));
        Some(may)
    }
}

fn smtp(mut desk: Desk<'_>) -> Option<()> {
    desk.say("220 mail.test")?;
    let mut signed_in = false;
    loop {
        let command = desk.line()?;
        let (verb, rest) = command.split_once(' ').unwrap_or((&command, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => desk.say("250-mail.test\r\n250 AUTH XOAUTH2 PLAIN")?,
            "AUTH" => {
                signed_in = desk.signs_in(rest, "334 ", ["235", "535"])?;
                desk.say(if signed_in { "235 2.7.0 ok" } else { "535 5.7.8 no" })?;
            }
            "MAIL" if !signed_in => desk.say("530 5.7.0 sign in first")?,
            "DATA" => {
                desk.say("354 go on")?;
                while desk.line()? != "." {}
                desk.note("mail".to_owned());
                desk.say("250 2.0.0 ok")?;
            }
            "QUIT" => return desk.say("221 bye"),
            _ => desk.say("250 ok")?,
        }
    }
}

fn imap(mut desk: Desk<'_>) -> Option<()> {
    desk.say("* OK mail.test")?;
    let mut signed_in = false;
    loop {
        let command = desk.line()?;
        let (tag, rest) = command.split_once(' ')?;
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let verb = verb.to_ascii_uppercase();
        let mut well = true;
        match verb.as_str() {
            "CAPABILITY" => desk.say("* CAPABILITY IMAP4rev1 AUTH=PLAIN")?,
            "AUTHENTICATE" => {
                signed_in = desk.signs_in(rest, "+ ", ["OK", "NO"])?;
                well = signed_in;
            }
            "APPEND" if signed_in => {
                let size = rest.rsplit_once('{')?.1.strip_suffix('}')?.parse().ok()?;
                desk.say("+ go on")?;
                let mut message = vec![0; size];
                desk.reader.read_exact(&mut message).ok()?;
                desk.line()?;
                desk.note("mail".to_owned());
            }
            "LOGOUT" => desk.say("* BYE")?,
            _ => {}
        }
        desk.say(&format!("{tag} {} {verb}", if well { "OK" } else { "NO" }))?;
        if verb == "LOGOUT" {
            return Some(());
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
        // RFC 4616: the mailbox may come first.
        "PLAIN" => message.split_once('\0')?.1.split_once('\0')?,
        _ => return None,
    };
    Some((user.to_owned(), token.to_owned()))
}
