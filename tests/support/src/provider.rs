//! The identity provider: a real one in every respect that a device-flow client can see, on a port of this machine.
//!
//! Tests, benches and the demo all sign in here. It keeps every request, so that a test can say what was asked and
//! when; it waits on conditions rather than on the clock, so that a slow machine changes nothing; and any answer
//! can be replaced by a script ([`Reply`]).

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::grants::{Decision, Form, Ledger, Refusal, field};
use crate::http::{Connection, Incoming, Server, Stop, header, lock};
use crate::tls::Authority;
use crate::{form, page};

pub use crate::grants::Auto;
pub use crate::http::{Answer, Body};
pub use crate::options::{
    AccessToken, CLIENT_ID, Certificate, Client, ClientAuth, Edit, Endpoint, IdToken, Options, ScopeFormat,
};
pub use crate::reply::Reply;

/// One request that reached the provider.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The parameters of the query.
    pub query: Vec<(String, String)>,
    /// All headers, as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The body's fields, if it is a form.
    pub form: Vec<(String, String)>,
    /// The kind of request; see [`Provider::count`].
    pub label: String,
    /// Whether the request has taken effect, even if its answer has not arrived yet.
    pub done: bool,
    /// The status it was answered with; `None` if it never was, or not by HTTP.
    pub status: Option<u16>,
    /// When it had been read completely.
    pub received: Instant,
    /// When its answer had been written.
    pub answered: Option<Instant>,
}

impl Request {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The first form field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.form, name)
    }

    /// The body as text, for a test that searches it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

struct State {
    ledger: Ledger,
    requests: Vec<Request>,
    scripts: HashMap<Endpoint, VecDeque<Reply>>,
    standing: HashMap<Endpoint, Reply>,
    held: HashMap<Held, usize>,
    stopping: bool,
}

struct Shared {
    options: Options,
    issuer: String,
    state: Mutex<State>,
    changed: Condvar,
    stop: Arc<Stop>,
}

/// A running identity provider. Dropping it closes its port.
pub struct Provider {
    shared: Arc<Shared>,
    ca_file: Option<PathBuf>,
    // Fields are dropped in order: the server before the folder that holds its certificate.
    _server: Server,
    _authority: Option<Authority>,
}

/// The point at which requests to an endpoint wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    /// Before they are handled.
    Request(Endpoint),
    /// After they have taken effect, and before the answer is sent.
    Answer(Endpoint),
}

/// Makes an endpoint's requests wait until it is dropped; see [`Provider::hold`] and [`Provider::hold_answers`].
pub struct Hold {
    shared: Arc<Shared>,
    held: Held,
}

impl Provider {
    /// Starts a provider on a free port of 127.0.0.1.
    pub fn start(options: Options) -> Self {
        let listener = Server::bind();
        let port = listener.local_addr().expect("the address of a bound socket").port();
        let authority = options.tls.then(|| Authority::new(options.certificate));
        let origin = if options.tls {
            format!("https://{}:{port}", options.tls_host)
        } else {
            format!("http://127.0.0.1:{port}")
        };
        let issuer = format!("{origin}{}", options.path);
        let stop = Arc::new(Stop::default());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ledger: Ledger::new(options.clone(), issuer.clone()),
                requests: Vec::new(),
                scripts: HashMap::new(),
                standing: HashMap::new(),
                held: HashMap::new(),
                stopping: false,
            }),
            changed: Condvar::new(),
            options,
            issuer,
            stop: Arc::clone(&stop),
        });
        let server = {
            let shared = Arc::clone(&shared);
            let tls = authority.as_ref().map(Authority::config);
            Server::start(listener, tls, stop, move |incoming, connection| shared.handle(incoming, connection))
        };
        Self { shared, ca_file: authority.as_ref().map(Authority::path), _server: server, _authority: authority }
    }

    /// The issuer: `http://127.0.0.1:PORT` or `https://localhost:PORT`, and the path of the options.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The address of one endpoint, for settings made by hand.
    pub fn url(&self, endpoint: Endpoint) -> String {
        self.shared.url(endpoint)
    }

    /// The authority's certificate, if it speaks https.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    // Actions of people, and of time.

    /// A person approves a code, as the current user.
    pub fn approve(&self, user_code: &str) {
        self.decide(user_code, Decision::Approve);
    }

    /// A person denies a code.
    pub fn deny(&self, user_code: &str) {
        self.decide(user_code, Decision::Deny);
    }

    /// Makes a code expire.
    pub fn expire(&self, user_code: &str) {
        self.decide(user_code, Decision::Expire);
    }

    /// What happens to codes given out from now on. [`Auto::Ignore`] at first.
    pub fn auto(&self, auto: Auto) {
        self.with(|state| state.ledger.auto = auto);
    }

    /// Sets the user who approves from now on; `alice@example.com` at first.
    pub fn set_user(&self, email: &str) {
        self.with(|state| email.clone_into(&mut state.ledger.user));
    }

    /// Invalidates every access token so far, although it has not expired.
    pub fn expire_access_tokens(&self) {
        self.with(|state| state.ledger.expire_access_tokens());
    }

    /// Makes every refresh token so far `invalid_grant`.
    pub fn revoke_refresh_tokens(&self) {
        self.with(|state| state.ledger.revoke_refresh_tokens());
    }

    // Its answers.

    /// The next answers of an endpoint, in turn; after them it goes on as before.
    pub fn script(&self, endpoint: Endpoint, replies: impl IntoIterator<Item = Reply>) {
        self.with(|state| state.scripts.entry(endpoint).or_default().extend(replies));
    }

    /// The answer of an endpoint from now on, after any script; [`Reply::Real`] restores normal answers.
    pub fn always(&self, endpoint: Endpoint, reply: Reply) {
        self.with(|state| state.standing.insert(endpoint, reply));
    }

    /// Makes requests to an endpoint wait, recorded but not handled, until the result is dropped.
    #[must_use = "the endpoint is held only until this is dropped"]
    pub fn hold(&self, endpoint: Endpoint) -> Hold {
        self.held(Held::Request(endpoint))
    }

    /// Handles requests to an endpoint, but keeps back the answers until the result is dropped.
    #[must_use = "the answers are kept only until this is dropped"]
    pub fn hold_answers(&self, endpoint: Endpoint) -> Hold {
        self.held(Held::Answer(endpoint))
    }

    fn held(&self, held: Held) -> Hold {
        self.with(|state| *state.held.entry(held).or_default() += 1);
        Hold { shared: Arc::clone(&self.shared), held }
    }

    /// A JWT signed with the key at `/jwks`, for scripted answers.
    pub fn sign(&self, claims: &Value) -> String {
        self.with(|state| state.ledger.signer.sign("JWT", claims))
    }

    // Its records.

    /// The user codes given out so far.
    pub fn user_codes(&self) -> Vec<String> {
        self.with(|state| state.ledger.user_codes())
    }

    /// Waits for a pending code that no earlier call has returned.
    pub fn wait_for_code(&self, timeout: Duration) -> String {
        self.wait(timeout, |state| state.ledger.next_pending())
            .unwrap_or_else(|| panic!("no user code was asked for within {timeout:?}; requests: {:#?}", self.labels()))
    }

    /// Waits until so many requests of a kind have come; what kinds there are says [`Provider::count`].
    pub fn wait_for(&self, what: &str, count: usize, timeout: Duration) {
        self.wait(timeout, |state| (state.count(what) >= count).then_some(())).unwrap_or_else(|| {
            panic!("fewer than {count} requests for {what} within {timeout:?}; requests: {:#?}", self.labels())
        });
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| state.requests.clone())
    }

    /// How many requests of a kind have come: `device`, `token:device_code`, `token:refresh_token`, `revoke`,
    /// `discovery:oidc`, `discovery:rfc8414`, `jwks`, `userinfo`, `page`, `other`; the part before the colon counts all
    /// of its kind.
    pub fn count(&self, what: &str) -> usize {
        self.with(|state| state.count(what))
    }

    /// Every secret it has issued: device codes, access, refresh and ID tokens.
    pub fn issued(&self) -> Vec<String> {
        self.with(|state| state.ledger.issued.clone())
    }

    /// Whether an API of this provider would accept the access token now.
    pub fn accepts(&self, access_token: &str) -> bool {
        self.with(|state| state.ledger.accepts(access_token))
    }

    /// Like [`Provider::accepts`], as a function for a server that accepts this provider's tokens.
    pub fn judge(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |access_token| shared.with(|state| state.ledger.accepts(access_token))
    }

    /// The number of polls that came too early, including the first poll for a code.
    pub fn too_fast(&self) -> usize {
        self.with(|state| state.ledger.too_fast)
    }

    /// The number of polls for a code that had already been answered with tokens.
    pub fn polls_after_success(&self) -> usize {
        self.with(|state| state.ledger.polls_after_success)
    }

    /// The number of refresh tokens that were used again after they had been replaced.
    pub fn refresh_reuses(&self) -> usize {
        self.with(|state| state.ledger.refresh_reuses)
    }

    fn labels(&self) -> Vec<String> {
        let label = |request: &Request| format!("{} → {:?}", request.label, request.status);
        self.with(|state| state.requests.iter().map(label).collect())
    }

    fn decide(&self, user_code: &str, decision: Decision) {
        self.with(|state| state.ledger.decide(user_code, decision))
            .unwrap_or_else(|problem| panic!("{user_code}: {problem}"));
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(act)
    }

    fn wait<T>(&self, timeout: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut found = None;
        let state = lock(&self.shared.state);
        let _ = self.shared.changed.wait_timeout_while(state, timeout, |state| {
            found = look(state);
            found.is_none()
        });
        found
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Held requests would keep the server from stopping.
        self.with(|state| state.stopping = true);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.with(|state| {
            if let Some(count) = state.held.get_mut(&self.held) {
                *count -= 1;
            }
        });
    }
}

impl State {
    fn count(&self, what: &str) -> usize {
        let fits = |label: &str| label.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.requests.iter().filter(|request| fits(&request.label)).count()
    }

    fn next_reply(&mut self, endpoint: Endpoint) -> Reply {
        let scripted = self.scripts.get_mut(&endpoint).and_then(VecDeque::pop_front);
        scripted.or_else(|| self.standing.get(&endpoint).cloned()).unwrap_or(Reply::Real)
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut lock(&self.state));
        self.changed.notify_all();
        result
    }

    fn url(&self, endpoint: Endpoint) -> String {
        let path = match endpoint {
            Endpoint::Discovery => "/.well-known/openid-configuration",
            Endpoint::Authorize => "/authorize",
            Endpoint::Device => "/device_authorization",
            Endpoint::Token => "/token",
            Endpoint::Revoke => "/revoke",
            Endpoint::Jwks => "/jwks",
            Endpoint::UserInfo => "/userinfo",
            Endpoint::Page => "/device",
        };
        format!("{}{path}", self.issuer)
    }

    fn handle(&self, incoming: Incoming, connection: &mut Connection<'_>) {
        let request = Request::new(incoming, |path| self.route(path));
        let endpoint = self.route(&request.path).map(|(endpoint, _)| endpoint);
        let (index, reply) = self.with(|state| {
            state.requests.push(request.clone());
            (state.requests.len() - 1, endpoint.map_or(Reply::Real, |endpoint| state.next_reply(endpoint)))
        });
        if endpoint.is_some_and(|endpoint| !self.let_go(Held::Request(endpoint))) {
            return;
        }
        if endpoint == Some(Endpoint::Token) && !self.stop.sleep(self.options.delay) {
            return;
        }
        self.reply(reply, index, endpoint, &request, connection);
    }

    /// Waits until nothing is held at this point; false if the provider stops instead.
    fn let_go(&self, held: Held) -> bool {
        let is_held = |state: &mut State| !state.stopping && state.held.get(&held).is_some_and(|count| *count > 0);
        let state = self.changed.wait_while(lock(&self.state), is_held).unwrap_or_else(PoisonError::into_inner);
        !state.stopping
    }

    fn reply(
        &self,
        reply: Reply,
        index: usize,
        endpoint: Option<Endpoint>,
        request: &Request,
        connection: &mut Connection<'_>,
    ) {
        // Write the record first, because the client may read it as soon as it has the answer.
        let mut send = |answer: &Answer| {
            let note = |status| {
                self.with(|state| {
                    state.requests[index].status = Some(status);
                    state.requests[index].answered = Some(Instant::now());
                });
            };
            note(answer.status);
            let answer = &self.dated(answer);
            if connection.send(answer).is_ok() && matches!(answer.body, Body::Trickled(..)) {
                note(answer.status);
            }
        };
        match reply {
            Reply::Real => {
                let answer = self.answer(endpoint, request);
                self.with(|state| state.requests[index].done = true);
                if endpoint.is_none_or(|endpoint| self.let_go(Held::Answer(endpoint))) {
                    send(&answer);
                }
            }
            Reply::RealThenDrop => drop(self.answer(endpoint, request)),
            Reply::RealThenWait(time) => {
                let answer = self.answer(endpoint, request);
                if self.stop.sleep(time) {
                    send(&answer);
                }
            }
            Reply::Drop => {}
            Reply::Answer(answer) => send(&answer),
            // A client that gets such bytes may close the connection early.
            Reply::Wire(bytes) => drop(connection.send_raw(&bytes)),
            Reply::After(time, reply) => {
                if self.stop.sleep(time) {
                    self.reply(*reply, index, endpoint, request, connection);
                }
            }
        }
    }

    /// The answer with a `Date` by the provider's clock, unless it has one.
    fn dated(&self, answer: &Answer) -> Answer {
        let answer = answer.clone();
        if !self.options.date || header(&answer.headers, "date").is_some() {
            return answer;
        }
        let now =
            jiff::Timestamp::from_second(self.with(|state| state.ledger.now())).expect("a time before the year 9999");
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).expect("a date");
        answer.header("Date", &date)
    }

    /// The endpoint for a path, and the label for its requests.
    fn route(&self, path: &str) -> Option<(Endpoint, &'static str)> {
        let Options { path: prefix, aliases, oidc_discovery, rfc8414_discovery, .. } = &self.options;
        if *rfc8414_discovery && path.strip_prefix("/.well-known/oauth-authorization-server") == Some(prefix) {
            return Some((Endpoint::Discovery, "discovery:rfc8414"));
        }
        let endpoint = match path.strip_prefix(prefix.as_str()) {
            Some("/.well-known/openid-configuration") if *oidc_discovery => Some(Endpoint::Discovery),
            Some("/authorize") => Some(Endpoint::Authorize),
            Some("/device_authorization") => Some(Endpoint::Device),
            Some("/token") => Some(Endpoint::Token),
            Some("/revoke") => Some(Endpoint::Revoke),
            Some("/jwks") => Some(Endpoint::Jwks),
            Some("/userinfo") => Some(Endpoint::UserInfo),
            Some("/device") => Some(Endpoint::Page),
            _ => aliases.iter().find(|(alias, _)| alias_fits(alias, path)).map(|(_, endpoint)| *endpoint),
        }?;
        let label = match endpoint {
            Endpoint::Discovery => "discovery:oidc",
            Endpoint::Authorize => "authorize",
            Endpoint::Device => "device",
            Endpoint::Token => "token",
            Endpoint::Revoke => "revoke",
            Endpoint::Jwks => "jwks",
            Endpoint::UserInfo => "userinfo",
            Endpoint::Page => "page",
        };
        Some((endpoint, label))
    }

    fn answer(&self, endpoint: Option<Endpoint>, request: &Request) -> Answer {
        let Some(endpoint) = endpoint else {
            return Answer::new(404, "text/plain", "There is nothing here.\n");
        };
        let allowed = match endpoint {
            Endpoint::Discovery | Endpoint::Jwks | Endpoint::Authorize => &["GET"][..],
            Endpoint::Device | Endpoint::Token | Endpoint::Revoke => &["POST"],
            Endpoint::UserInfo | Endpoint::Page => &["GET", "POST"],
        };
        if !allowed.contains(&request.method.as_str()) {
            return Answer::new(405, "text/plain", "Not by this method.\n").header("Allow", &allowed.join(", "));
        }
        match endpoint {
            Endpoint::Discovery => self.json(endpoint, 200, self.metadata()),
            Endpoint::Jwks => {
                let jwks = self.with(|state| state.ledger.signer.jwks());
                self.json(endpoint, 200, jwks)
            }
            Endpoint::UserInfo => self.user_info(request),
            Endpoint::Page => self.page(request),
            Endpoint::Authorize => self.authorize(request),
            Endpoint::Device | Endpoint::Token | Endpoint::Revoke => match self.oauth(endpoint, request) {
                Ok(Value::Null) => Answer::new(200, "text/plain", ""),
                Ok(answer) => self.json(endpoint, 200, answer),
                Err(refusal) => self.refuse(endpoint, request, &refusal),
            },
        }
    }

    fn oauth(&self, endpoint: Endpoint, request: &Request) -> Result<Value, Refusal> {
        if endpoint == Endpoint::Revoke && self.options.revoke_status != 200 {
            return Err(Refusal { error: "unsupported_token_type", description: "nothing is revoked here" });
        }
        let form = &request.form;
        strict_form(request)?;
        self.with(|state| {
            let ledger = &mut state.ledger;
            ledger.enter(&request.path)?;
            let client = ledger.client(request.header("authorization"), form)?;
            match endpoint {
                Endpoint::Device => ledger.device(&client, form),
                Endpoint::Revoke => ledger.revoke(&client, form).map(|()| Value::Null),
                _ => ledger.token(&client, form),
            }
        })
    }

    fn refuse(&self, endpoint: Endpoint, request: &Request, refusal: &Refusal) -> Answer {
        let status = match refusal.error {
            _ if endpoint == Endpoint::Revoke && self.options.revoke_status != 200 => self.options.revoke_status,
            "invalid_client" if self.options.error_status == 400 => 401,
            _ => self.options.error_status,
        };
        let body = json!({ "error": refusal.error, "error_description": refusal.description });
        let answer = self.json(endpoint, status, body);
        // RFC 6749 section 5.2: a client that used `Authorization` is told the scheme.
        if status == 401 && request.header("authorization").is_some() {
            answer.header("WWW-Authenticate", "Basic realm=\"keyfob test provider\"")
        } else {
            answer
        }
    }

    fn json(&self, endpoint: Endpoint, status: u16, mut value: Value) -> Answer {
        if let Some(edit) = &self.options.edit {
            edit(endpoint, &mut value);
        }
        Answer::new(status, "application/json", value.to_string()).header("Cache-Control", "no-store")
    }

    fn metadata(&self) -> Value {
        let options = &self.options;
        let mut methods: Vec<&str> = Vec::new();
        for client in &options.clients {
            let method = match client.auth {
                ClientAuth::None => "none",
                ClientAuth::Basic => "client_secret_basic",
                ClientAuth::Post => "client_secret_post",
            };
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        let mut metadata = json!({
            "issuer": options.issuer_override.as_ref().unwrap_or(&self.issuer),
            "token_endpoint": self.url(Endpoint::Token),
            "revocation_endpoint": self.url(Endpoint::Revoke),
            "jwks_uri": self.url(Endpoint::Jwks),
            "userinfo_endpoint": self.url(Endpoint::UserInfo),
            "response_types_supported": [],
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": methods,
        });
        if options.device_endpoint_in_metadata {
            metadata["device_authorization_endpoint"] = self.url(Endpoint::Device).into();
        }
        if options.authorize_in_metadata {
            metadata["authorization_endpoint"] = self.url(Endpoint::Authorize).into();
            metadata["response_types_supported"] = json!(["code"]);
        }
        if options.form_post {
            metadata["response_modes_supported"] = json!(["query", "form_post"]);
        }
        if options.names_issuer {
            metadata["authorization_response_iss_parameter_supported"] = json!(true);
        }
        if options.pkce {
            metadata["code_challenge_methods_supported"] = json!(["S256"]);
        }
        if let Some(scopes) = &options.scopes {
            metadata["scopes_supported"] = json!(scopes);
        }
        metadata
    }

    fn user_info(&self, request: &Request) -> Answer {
        let claims = request
            .header("authorization")
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.with(|state| state.ledger.user_info(token)));
        match claims {
            Some(claims) => self.json(Endpoint::UserInfo, 200, claims),
            None => self
                .json(Endpoint::UserInfo, 401, json!({ "error": "invalid_token" }))
                .header("WWW-Authenticate", "Bearer error=\"invalid_token\""),
        }
    }

    /// Answers an authorization request for the current user, without a page. [`Auto::Deny`] refuses.
    fn authorize(&self, request: &Request) -> Answer {
        let query = &request.query;
        let answered = self.with(|state| {
            state.ledger.enter(&request.path)?;
            state.ledger.authorize(query)
        });
        let (redirect, mut fields) = match answered {
            Ok(answered) => answered,
            // Nobody is redirected to an unknown address (RFC 6749, section 4.1.2.1).
            Err(refusal) => return Answer::new(400, "text/plain", format!("{}\n", refusal.description)),
        };
        fields.extend(field(query, "state").map(|state| ("state".to_owned(), state.to_owned())));
        if self.options.names_issuer {
            fields.push(("iss".to_owned(), self.issuer.clone()));
        }
        if self.options.posts && field(query, "response_mode") == Some("form_post") {
            return Answer::new(200, "text/html; charset=utf-8", page::posted(&redirect, &fields))
                .header("Cache-Control", "no-store");
        }
        let mark = if redirect.contains('?') { '&' } else { '?' };
        let to = format!("{redirect}{mark}{}", form::encode(&fields));
        Answer::new(302, "text/plain", "").header("Location", &to)
    }

    fn page(&self, request: &Request) -> Answer {
        let page = |status, body| {
            // Buttons that approve must not be shown in a frame of another site.
            let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
            Answer::new(status, "text/html; charset=utf-8", body)
                .header("Content-Security-Policy", policy)
                .header("Cache-Control", "no-store")
        };
        if request.method == "GET" {
            let user = self.with(|state| state.ledger.user.clone());
            return page(200, page::form(&user, field(&request.query, "user_code").unwrap_or_default()));
        }
        let (decision, title, text) = match request.field("action") {
            Some("approve") => (Decision::Approve, "Approved", "You can close this page and go back to the program."),
            Some("deny") => (Decision::Deny, "Denied", "The program gets no access. You can close this page."),
            _ => return page(400, page::message("Nothing chosen", "Press Approve or Deny.", true)),
        };
        let typed = request.field("user_code").unwrap_or_default();
        match self.with(|state| state.ledger.decide(typed, decision)) {
            Ok(()) => page(200, page::message(title, text, false)),
            Err(problem) => page(400, page::message("That did not work", problem, true)),
        }
    }
}

impl Request {
    fn new(incoming: Incoming, route: impl Fn(&str) -> Option<(Endpoint, &'static str)>) -> Self {
        let Incoming { method, target, headers, body } = incoming;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let is_form = header(&headers, "content-type").is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let text = std::str::from_utf8(&body).ok().filter(|_| is_form);
        let form = text.and_then(form::parse).unwrap_or_default();
        let mut label = route(path).map_or("other", |(_, label)| label).to_owned();
        if label == "token" {
            let grant = field(&form, "grant_type").unwrap_or("none");
            label = format!("token:{}", grant.rsplit(':').next().unwrap_or(grant));
        }
        Self {
            path: path.to_owned(),
            query: form::parse(query).unwrap_or_default(),
            method,
            headers,
            body,
            form,
            label,
            done: false,
            status: None,
            received: Instant::now(),
            answered: None,
        }
    }
}

/// A form without repeated fields, which RFC 6749 section 3.2 forbids; RFC 8707 allows repeating `resource`.
fn strict_form(request: &Request) -> Result<(), Refusal> {
    let form: &Form = &request.form;
    let twice = form
        .iter()
        .enumerate()
        .any(|(index, (name, _))| name != "resource" && form[..index].iter().any(|(other, _)| other == name));
    if twice {
        return Err(Refusal { error: "invalid_request", description: "a field is there twice" });
    }
    if form.is_empty() {
        return Err(Refusal { error: "invalid_request", description: "the body is not a form" });
    }
    Ok(())
}

fn alias_fits(alias: &str, path: &str) -> bool {
    let (mut alias, mut path) = (alias.split('/'), path.split('/'));
    loop {
        match (alias.next(), path.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
}
