//! The programs of `tests/real`, which run in Node: the OpenID provider, the Kubernetes API server's face, and a person's
//! browser.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::Prompt;
use super::{HANG, Missing, on_path, run, store, wait_for};

/// What pins the packages.
const PACKAGE: [(&str, &str); 2] = [
    ("package.json", include_str!("../../../real/package.json")),
    ("package-lock.json", include_str!("../../../real/package-lock.json")),
];

/// The programs themselves.
const SCRIPTS: [(&str, &str); 5] = [
    ("api-server.mjs", include_str!("../../../real/api-server.mjs")),
    ("browser.mjs", include_str!("../../../real/browser.mjs")),
    ("oidc-provider.mjs", include_str!("../../../real/oidc-provider.mjs")),
    ("person.mjs", include_str!("../../../real/person.mjs")),
    ("wire.mjs", include_str!("../../../real/wire.mjs")),
];

/// Node, and the folder where the scripts find their packages.
struct Node {
    program: PathBuf,
    scripts: PathBuf,
}

impl Node {
    /// Fetches the packages on first use.
    fn get() -> Result<&'static Self, Missing> {
        static NODE: OnceLock<Result<Node, Missing>> = OnceLock::new();
        NODE.get_or_init(Self::prepare).as_ref().map_err(Clone::clone)
    }

    fn prepare() -> Result<Self, Missing> {
        let program = on_path("node").ok_or_else(|| Missing::new("node", "not found"))?;
        let version = run(Command::new(&program).arg("--version")).map_err(|why| Missing::new("node", why))?;
        let version = String::from_utf8_lossy(&version).trim().to_owned();
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < 20) {
            return Err(Missing::new("node 20 or later", version));
        }

        let write = |folder: &Path, files: &[(&str, &str)]| {
            files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text)).map_err(|e| e.to_string())
        };
        let pins = PACKAGE.map(|(_, text)| text);
        let packages = store::folder(&format!("node-{}", store::hash(&pins)), |folder| {
            write(folder, &PACKAGE)?;
            let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
            let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
            run(Command::new(npm).args(options).current_dir(folder)).map(drop)
        })
        .map_err(|why| Missing::new("npm packages", why))?;

        // In the packages' folder, because imports look for node_modules there.
        let texts = SCRIPTS.map(|(_, text)| text);
        let name = format!("{}/scripts-{}", packages.file_name().unwrap_or_default().display(), store::hash(&texts));
        let scripts =
            store::folder(&name, |folder| write(folder, &SCRIPTS)).map_err(|why| Missing::new("node", why))?;
        Ok(Self { program, scripts })
    }
}

/// A Node program that listens, and its control server.
struct Service {
    child: Child,
    /// The JSON that the program printed when it was ready.
    ready: Value,
    folder: TempDir,
}

impl Service {
    fn start(script: &str, folder: TempDir, config: &Value) -> Result<Self, Missing> {
        let node = Node::get()?;
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut child = Command::new(&node.program)
            .arg(node.scripts.join(script))
            .arg(config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|why| Missing::new("node", why))?;
        let stdout = child.stdout.take().expect("a piped stdout");
        let mut service = Self { child, ready: Value::Null, folder };

        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = line.recv_timeout(HANG).unwrap_or_default();
        service.ready =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{script} did not start: {line}{}", service.log()));
        Ok(service)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One request to the control server.
    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let port = self.ready["control"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a control port");
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut answer = String::new();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(HANG))?;
                stream.write_all(request.as_bytes())?;
                stream.read_to_string(&mut answer)
            })
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}\n{}", self.log());
        serde_json::from_str(body).expect("JSON from the control server")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The program ends when its input closes; the kill is for one that hangs.
        drop(self.child.stdin.take());
        for _ in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.log());
        }
    }
}

/// Writes `ca.pem`, `server.pem` and `server.key` for a server on loopback whose certificate only this authority signs.
fn certify(folder: &Path) {
    let write = |name: &str, pem: String| fs::write(folder.join(name), pem).expect("writing a certificate");

    let ca_key = KeyPair::generate().expect("a key for the authority");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "keyfob test authority");
    write("ca.pem", ca.self_signed(&ca_key).expect("the authority's certificate").pem());

    let key = KeyPair::generate().expect("a key for the server");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut leaf = CertificateParams::new(names).expect("the server's names");
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("the server's certificate");
    write("server.pem", certificate.pem());
    write("server.key", key.serialize_pem());
}

fn folder() -> TempDir {
    TempDir::with_prefix("keyfob-real-").expect("a temporary folder")
}

/// How the provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain http, as is allowed on loopback.
    Http,
    /// https with a certificate of a private authority.
    Https,
}

/// The lifetimes of what the provider issues, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Access tokens.
    pub access: u32,
    /// ID tokens.
    pub id: u32,
    /// Device codes.
    pub code: u32,
}

impl Default for Lifetimes {
    /// An hour for tokens, two minutes for codes: a program that outlives its test stops asking then.
    fn default() -> Self {
        Self { access: 3600, id: 3600, code: 120 }
    }
}

impl Lifetimes {
    /// Access and ID tokens that live this long.
    pub fn tokens(seconds: u32) -> Self {
        Self { access: seconds, id: seconds, ..Self::default() }
    }
}

/// A client that the provider knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret, unless it is a public client.
    pub secret: Option<String>,
    /// How it authenticates at the token endpoint.
    pub method: String,
}

/// A request that a program sent to the provider.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it arrived, in milliseconds of the provider's own clock.
    pub at: f64,
    /// When the answer was ready.
    pub done: f64,
    /// The path, without the host.
    pub path: String,
    /// The status it was answered with.
    pub status: u64,
    /// How the client authenticated: `basic`, `body` or `none`.
    pub auth: String,
    /// The client that the provider recognised.
    pub client: String,
    /// The `grant_type` field.
    pub grant: String,
    /// The `error` member of the answer.
    pub error: String,
    /// The fingerprint of the device code that was sent or issued.
    pub device_code: String,
    /// The fingerprint of the refresh token that was sent.
    pub refresh_token: String,
    /// The names of the form's fields.
    pub fields: Vec<String>,
    /// The names of the answer's members.
    pub answered: Vec<String>,
}

impl Request {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let names = |name: &str| {
            let names = value[name].as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        Self {
            at: value["at"].as_f64().unwrap_or_default(),
            done: value["done"].as_f64().unwrap_or_default(),
            path: text("path"),
            status: value["status"].as_u64().unwrap_or_default(),
            auth: text("auth"),
            client: text("client"),
            grant: text("grant_type"),
            error: text("error"),
            device_code: text("device_code"),
            refresh_token: text("refresh_token"),
            fields: names("fields"),
            answered: names("answered"),
        }
    }

    /// The start of a device flow.
    pub fn is_device_request(&self) -> bool {
        self.path == "/device/auth"
    }

    /// A poll for a device code.
    pub fn is_poll(&self) -> bool {
        self.grant == "urn:ietf:params:oauth:grant-type:device_code"
    }

    /// A refresh.
    pub fn is_refresh(&self) -> bool {
        self.grant == "refresh_token"
    }
}

/// A token that the provider issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `AccessToken` or `RefreshToken`.
    pub kind: String,
    /// The token itself.
    pub token: String,
    /// The name it has in [`Request`] and [`ApiRequest`].
    pub fingerprint: String,
    /// Whether its lifetime is over, whatever its state.
    pub expired: bool,
    /// `in force`, `used` (by a rotation) or `gone`.
    pub state: String,
}

/// The real npm `oidc-provider`, with people called `ada` and `grace`.
pub struct OidcProvider(Service, Transport);

impl OidcProvider {
    /// Starts one of its own for a test.
    pub fn start(transport: Transport, lifetimes: Lifetimes) -> Result<Self, Missing> {
        let folder = folder();
        let mut config = json!({ "accessTtl": lifetimes.access, "idTtl": lifetimes.id, "codeTtl": lifetimes.code });
        if transport == Transport::Https {
            certify(folder.path());
            for (key, file) in [("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")] {
                config[key] = json!(folder.path().join(file));
            }
        }
        Ok(Self(Service::start("oidc-provider.mjs", folder, &config)?, transport))
    }

    /// Its issuer address.
    pub fn issuer(&self) -> &str {
        self.0.text("issuer")
    }

    /// The certificate to trust, with https.
    pub fn ca_file(&self) -> Option<PathBuf> {
        (self.1 == Transport::Https).then(|| self.0.file("ca.pem"))
    }

    /// The client with this authentication method: `none`, `client_secret_basic` or `client_secret_post`.
    pub fn client(&self, method: &str) -> Client {
        let clients = self.0.control("GET", "/clients", &Value::Null);
        let found = clients.as_array().into_iter().flatten();
        let client = found.into_iter().find(|client| client["token_endpoint_auth_method"] == method);
        let client = client.unwrap_or_else(|| panic!("no client with {method}"));
        let text = |name: &str| client[name].as_str().map(str::to_owned);
        Client { id: text("client_id").expect("an id"), secret: text("client_secret"), method: method.to_owned() }
    }

    /// The flags for keyfob to use this provider as its public client.
    pub fn flags(&self) -> Vec<String> {
        self.flags_for("kubernetes")
    }

    /// The flags for keyfob to use this provider as the client with this id.
    pub fn flags_for(&self, client: &str) -> Vec<String> {
        let mut flags = vec!["--issuer", self.issuer(), "--client-id", client];
        flags.extend(["openid", "email", "groups", "profile", "offline_access"].iter().flat_map(|s| ["--scope", s]));
        let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        if let Some(file) = self.ca_file() {
            flags.extend(["--ca-file".to_owned(), file.display().to_string()]);
        }
        flags
    }

    /// Ada opens the address, types the code, confirms it, signs in and consents: each on the provider's own page.
    pub fn sign_in(&self, prompt: &Prompt) {
        let visit = self.visit(prompt, &json!({}));
        assert_eq!(visit["seen"], json!(["code", "confirm", "login", "consent"]), "{visit}");
        assert!(visit["words"].as_str().is_some_and(|words| words.contains("Sign-in Success")), "{visit}");
    }

    /// Ada signs in at the address on this machine at which a browser sign-in begins, and sees `words` at the end.
    /// `posted`: the answer comes as a form rather than in the address.
    pub fn sign_in_by_browser(&self, address: &str, posted: bool, words: &str) {
        let visit = self.0.control("POST", "/visit", &json!({ "address": address }));
        let pages: &[&str] = if posted { &["login", "consent", "posted"] } else { &["login", "consent"] };
        assert_eq!(visit["seen"], json!(pages), "{visit}");
        assert!(visit["words"].as_str().is_some_and(|said| said.contains(words)), "{visit}");
    }

    /// Like `sign_in_by_browser`, but Ada turns back at the login page.
    pub fn turn_back_in_browser(&self, address: &str, words: &str) {
        let visit = self.0.control("POST", "/visit", &json!({ "address": address, "turnBack": "login" }));
        assert!(visit["words"].as_str().is_some_and(|said| said.contains(words)), "{visit}");
    }

    /// Ada goes as far as this page (`code`, `login` or `consent`) and turns back.
    pub fn turn_back(&self, prompt: &Prompt, page: &str) {
        let visit = self.visit(prompt, &json!({ "turnBack": page }));
        assert!(visit["words"].as_str().is_some_and(|words| words.contains("interrupted")), "{visit}");
    }

    fn visit(&self, prompt: &Prompt, more: &Value) -> Value {
        let mut visit = more.clone();
        visit["address"] = json!(prompt.address);
        visit["user_code"] = json!(prompt.code);
        self.0.control("POST", "/visit", &visit)
    }

    /// Sets the lifetimes of tokens from now on.
    pub fn set_lifetimes(&self, lifetimes: Lifetimes) {
        let Lifetimes { access, id, code } = lifetimes;
        self.0.control("POST", "/set", &json!({ "accessTtl": access, "idTtl": id, "codeTtl": code }));
    }

    /// Answers every request with this status and an HTML page from now on; 0 ends that.
    pub fn set_outage(&self, status: u16) {
        self.0.control("POST", "/set", &json!({ "outage": status }));
    }

    /// The administrator deletes a person.
    pub fn delete_person(&self, account: &str) {
        self.0.control("POST", "/delete-person", &json!({ "account": account }));
    }

    /// The administrator ends all sessions, grants and tokens.
    pub fn revoke_everything(&self) {
        self.0.control("POST", "/revoke-everything", &Value::Null);
    }

    /// The program's requests so far, in order, without those of people's pages and of the test itself.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.0.control("GET", "/requests", &Value::Null);
        requests.as_array().into_iter().flatten().map(Request::read).collect()
    }

    /// The number of requests of this sort.
    pub fn count(&self, sort: fn(&Request) -> bool) -> usize {
        self.requests().iter().filter(|request| sort(request)).count()
    }

    /// The tokens of this kind, `AccessToken` or `RefreshToken`, in the order in which they were issued.
    pub fn tokens(&self, kind: &str) -> Vec<Token> {
        let tokens = self.0.control("GET", "/tokens", &Value::Null);
        let read = |value: &Value| {
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let expired = value["expired"] == true;
            let [kind, token, fingerprint, state] = ["kind", "token", "fingerprint", "state"].map(text);
            Token { kind, token, fingerprint, expired, state }
        };
        tokens.as_array().into_iter().flatten().map(read).filter(|token| token.kind == kind).collect()
    }

    /// The states of the refresh tokens, oldest first.
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.tokens("RefreshToken").into_iter().map(|token| token.state).collect()
    }

    /// Waits until every access token has expired by the provider's clock.
    pub fn wait_until_access_tokens_expired(&self) {
        wait_for("the access tokens to expire", || {
            self.tokens("AccessToken").iter().all(|token| token.expired).then_some(())
        });
    }

    /// Whether the provider accepts this refresh token from its client. An accepted token is used up, and an already
    /// used one ends its whole family.
    pub fn takes_refresh_token(&self, client: &Client, token: &str) -> bool {
        let mut form = json!({ "grant_type": "refresh_token", "refresh_token": token, "client_id": client.id });
        let mut question = json!({ "path": "/token" });
        match (&client.secret, client.method.as_str()) {
            (Some(secret), "client_secret_basic") => {
                question["client"] = json!(client.id);
                question["secret"] = json!(secret);
            }
            (Some(secret), _) => form["client_secret"] = json!(secret),
            (None, _) => {}
        }
        question["form"] = form;
        let answer = self.0.control("POST", "/ask", &question);
        let accepted = answer["status"] == 200;
        assert!(accepted || answer["body"]["error"] == "invalid_grant", "{answer}");
        accepted
    }

    /// Asserts what every device flow must do, whatever a test is about: no poll within five seconds of the last
    /// answer, because this provider names no interval, and none after the end.
    pub fn assert_polls_were_proper(&self) {
        let requests = self.requests();
        for start in requests.iter().filter(|request| request.is_device_request() && request.status == 200) {
            assert!(!start.answered.contains(&"interval".to_owned()), "this provider names no interval");
            let mut last = start;
            for poll in requests.iter().filter(|poll| poll.is_poll() && poll.device_code == start.device_code) {
                let over = last.is_poll() && last.error != "authorization_pending";
                assert!(!over, "a poll after the end: {last:?}, then {poll:?}");
                let pause = poll.at - last.done;
                assert!(pause >= 5000.0, "a poll after {pause} ms: {last:?}, then {poll:?}");
                last = poll;
            }
        }
    }
}

/// A request as the API server saw it.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// The path.
    pub path: String,
    /// The status it was answered with.
    pub status: u64,
    /// The fingerprint of the token it came with.
    pub token: String,
    /// The name in the token.
    pub name: String,
    /// The token's expiry in seconds since 1970, if it has one.
    pub expires: Option<u64>,
    /// Why the request was rejected.
    pub why: String,
}

/// The part of a Kubernetes API server that authenticates tokens of its OpenID provider.
pub struct ApiServer(Service);

impl ApiServer {
    /// A server that accepts ID tokens for the provider's public client, checked with the provider's keys.
    pub fn start(provider: &OidcProvider) -> Result<Self, Missing> {
        Self::start_with(provider, json!({}))
    }

    /// A server that accepts tokens for this audience from any provider without TLS.
    pub fn start_for(issuer: &str, audience: &str) -> Result<Self, Missing> {
        Self::start_service(json!({ "issuer": issuer, "audience": audience }))
    }

    /// A server that also accepts access tokens, which it checks by asking the provider.
    pub fn start_introspecting(provider: &OidcProvider) -> Result<Self, Missing> {
        let client = provider.client("client_secret_basic");
        Self::start_with(provider, json!({ "introspect": { "client": client.id, "secret": client.secret } }))
    }

    fn start_with(provider: &OidcProvider, mut config: Value) -> Result<Self, Missing> {
        config["issuer"] = json!(provider.issuer());
        config["audience"] = json!(provider.client("none").id);
        config["ca"] = json!(provider.ca_file());
        Self::start_service(config)
    }

    fn start_service(mut config: Value) -> Result<Self, Missing> {
        let folder = folder();
        certify(folder.path());
        config["cert"] = json!(folder.path().join("server.pem"));
        config["key"] = json!(folder.path().join("server.key"));
        Ok(Self(Service::start("api-server.mjs", folder, &config)?))
    }

    /// Its address.
    pub fn server(&self) -> &str {
        self.0.text("server")
    }

    /// The certificate to trust, in PEM form.
    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.0.file("ca.pem")).expect("the authority's certificate")
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<ApiRequest> {
        let read = |value: &Value| {
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            ApiRequest {
                path: text("path"),
                status: value["status"].as_u64().unwrap_or_default(),
                token: text("token"),
                name: text("name"),
                expires: value["expires"].as_u64(),
                why: text("why"),
            }
        };
        let requests = self.0.control("GET", "/requests", &Value::Null);
        requests.as_array().into_iter().flatten().map(read).collect()
    }

    /// Makes this server reject the token from now on.
    pub fn revoke(&self, fingerprint: &str) {
        self.0.control("POST", "/revoke", &json!({ "token": fingerprint }));
    }
}

/// A real Chromium, and the person who uses it. Each action waits until the page is ready for it.
pub struct Browser(Service);

impl Browser {
    /// Starts a browser with a new profile.
    pub fn start() -> Result<Self, Missing> {
        let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path);
        let program = program.ok_or_else(|| Missing::new("chromium", "not found"))?;
        let folder = folder();
        let config = json!({ "program": program, "folder": folder.path() });
        Ok(Self(Service::start("browser.mjs", folder, &config)?))
    }

    /// Opens an address.
    pub fn open(&self, address: &str) {
        self.0.control("POST", "/open", &json!({ "address": address }));
    }

    /// Types into the field of this name.
    pub fn enter(&self, field: &str, text: &str) {
        self.0.control("POST", "/type", &json!({ "field": field, "text": text }));
    }

    /// Presses the button with this label.
    pub fn press(&self, label: &str) {
        self.0.control("POST", "/press", &json!({ "label": label }));
    }

    /// Waits until the page says this.
    pub fn read(&self, text: &str) {
        self.0.control("POST", "/read", &json!({ "text": text }));
    }
}
