//! A registry of packages: files behind the identity provider's tokens, with every request kept as one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::git::basic;
use crate::http::{Answer, Server, Stop, header, lock};
use crate::options::Certificate;
use crate::tls::Authority;

/// What a registry asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    /// https with a private authority instead of http.
    pub tls: bool,
    /// The challenge of its 401, such as `Basic realm="x"`.
    pub challenge: &'static str,
}

type Files = BTreeMap<String, (&'static str, Vec<u8>)>;

#[derive(Default)]
struct State {
    files: Files,
    /// The answers to posted forms, for which no credentials are needed.
    answers: Files,
    forms: Vec<String>,
    lines: Vec<String>,
}

/// A running registry; dropping it closes its port.
pub struct Registry {
    state: Arc<Mutex<State>>,
    origin: String,
    ca_file: Option<PathBuf>,
    // Fields are dropped in order: the server before the folder that holds its certificate.
    _server: Server,
    _authority: Option<Authority>,
}

impl Registry {
    /// Starts one on a free port of 127.0.0.1. `accepts` says whether a token is good now.
    pub fn start(asks: Asks, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let listener = Server::bind();
        let address = listener.local_addr().expect("the address of a bound socket");
        let authority = asks.tls.then(|| Authority::new(Certificate::Good));
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        let tls = authority.as_ref().map(Authority::config);
        let server = Server::start(listener, tls, Arc::new(Stop::default()), move |incoming, connection| {
            let path = incoming.target.split('?').next().unwrap_or_default();
            let authorization = header(&incoming.headers, "authorization");
            let file = lock(&seen).files.get(path).cloned();
            let form = lock(&seen).answers.get(path).cloned().filter(|_| incoming.method == "POST");
            if form.is_some() {
                lock(&seen).forms.push(String::from_utf8_lossy(&incoming.body).into_owned());
            }
            let answer = match file.or_else(|| form.clone()) {
                Some((content_type, bytes)) if form.is_some() => Answer::new(200, content_type, bytes),
                _ if !authorization.is_some_and(|shown| is_good(shown, &accepts)) => {
                    Answer::new(401, "text/plain", "Who are you?\n").header("WWW-Authenticate", asks.challenge)
                }
                Some((content_type, bytes)) => Answer::new(200, content_type, bytes),
                None => Answer::new(404, "text/plain", "There is none.\n"),
            };
            let scheme = authorization.map_or("-", |shown| shown.split(' ').next().unwrap_or_default());
            lock(&seen).lines.push(format!("{} {path} {scheme} {}", incoming.method, answer.status));
            // A client that hung up is its own test's business.
            drop(connection.send(&answer));
        });
        let origin = format!("{}://{address}", if asks.tls { "https" } else { "http" });
        let ca_file = authority.as_ref().map(Authority::path);
        Self { state, origin, ca_file, _server: server, _authority: authority }
    }

    /// `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        self.origin.rsplit('/').next().unwrap_or_default()
    }

    /// The authority's certificate, if it speaks https.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Serves a file at a path.
    pub fn serve(&self, path: &str, content_type: &'static str, bytes: impl Into<Vec<u8>>) {
        lock(&self.state).files.insert(path.to_owned(), (content_type, bytes.into()));
    }

    /// Answers a form that is posted to a path, without asking for credentials.
    pub fn answer_form(&self, path: &str, content_type: &'static str, bytes: impl Into<Vec<u8>>) {
        lock(&self.state).answers.insert(path.to_owned(), (content_type, bytes.into()));
    }

    /// Every form since the last call, as it was sent.
    pub fn take_forms(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).forms)
    }

    /// Every request since the last call, without secrets: `GET /v2/ Basic 200`, with `-` for no credentials.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).lines)
    }
}

/// Whether a valid token is sent: as Bearer, as the password of Basic, or bare.
fn is_good(shown: &str, accepts: &impl Fn(&str) -> bool) -> bool {
    match shown.split_once(' ') {
        Some(("Bearer", token)) => accepts(token),
        Some(("Basic", value)) => basic(value).is_some_and(|(_, token)| accepts(&token)),
        Some(_) => false,
        None => accepts(shown),
    }
}
