//! A server that a test describes by one function, which answers each request. It records what it was sent, byte for
//! byte.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::http::{Answer, Incoming, Server, Stop, header, lock};
use crate::options::Certificate;
use crate::tls::Authority;
use crate::{form, jwt};

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Seen {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The fields of the form that the body is.
    pub fn form(&self) -> Vec<(String, String)> {
        form::parse(&self.body).unwrap_or_default()
    }

    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The header and claims of the JWT in that field, unverified.
    pub fn assertion(&self, name: &str) -> Option<(serde_json::Value, serde_json::Value)> {
        let token = self.field(name)?;
        Some((jwt::header(&token)?, jwt::claims(&token)?))
    }
}

/// A running server. Dropping it closes its port.
pub struct Lookalike {
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _server: Server,
    authority: Option<Authority>,
}

impl Lookalike {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(None, answer)
    }

    /// Like `start`, but by https, with a certificate for `localhost`.
    pub fn start_tls(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(Some(Authority::new(Certificate::Good)), answer)
    }

    fn serve(authority: Option<Authority>, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = Server::bind();
        let port = listener.local_addr().expect("the address of a bound socket").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let tls = authority.as_ref().map(Authority::config);
        let server = Server::start(listener, tls, Arc::new(Stop::default()), move |incoming, connection| {
            let Incoming { method, target, headers, body } = incoming;
            let request = Seen { method, target, headers, body: String::from_utf8_lossy(&body).into_owned() };
            lock(&record).push(request.clone());
            // A client that hangs up is its own test's business.
            let _ = connection.send(&answer(&request));
        });
        let origin =
            if authority.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        Self { origin, seen, _server: server, authority }
    }

    /// The certificate of the authority that signed the server's, if it speaks https.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::path)
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Every request so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }
}

/// A JSON answer.
pub fn json(status: u16, value: &serde_json::Value) -> Answer {
    Answer::new(status, "application/json", value.to_string())
}
