//! keyfob at OAuth servers as they are, each with its own manners. What a person sees there, the exit codes and the requests
//! are the tables of docs/servers.md, which these tests hold to; `KEYFOB_WRITE_SERVERS=1` writes them.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::common::{Caller, PROGRAM, now, refresh_token, wait_until};
use keyfob_test_support::real::{Lifetimes, OauthServer, OidcProvider, Prompt, Request, Transport};
use keyfob_test_support::{Keyfob, Output, need};
use serde_json::{Value, json};

/// A server, and the people at it.
trait Server {
    fn title(&self) -> String;
    fn origin(&self) -> &str;
    fn profile(&self) -> String;
    /// Has the person decide: `approve`, `deny` or, too late, `expire`. `shown` is the whole prompt.
    fn decide(&self, what: &str, shown: &str, code: &str);
    /// Has the administrator end every grant.
    fn revoke(&self);
    /// What keyfob asked since the last time.
    fn requests(&self) -> Vec<String>;
}

impl Server for OauthServer {
    fn title(&self) -> String {
        self.title().to_owned()
    }

    fn origin(&self) -> &str {
        self.origin()
    }

    fn profile(&self) -> String {
        format!("{}client-id = 'keyfob'\n", self.profile())
    }

    fn decide(&self, what: &str, _shown: &str, code: &str) {
        self.tell(what, &json!(code));
    }

    fn revoke(&self) {
        self.tell("revoke", &Value::Null);
    }

    fn requests(&self) -> Vec<String> {
        let requests = self.tell("requests", &Value::Null);
        requests.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }
}

/// The npm package, and how many of its requests have been looked at.
struct Node(OidcProvider, Cell<usize>);

impl Server for Node {
    fn title(&self) -> String {
        let package: Value = serde_json::from_str(include_str!("../package.json")).unwrap();
        format!("oidc-provider {}", package["dependencies"]["oidc-provider"].as_str().unwrap())
    }

    fn origin(&self) -> &str {
        self.0.issuer()
    }

    fn profile(&self) -> String {
        format!("issuer = '{}'\nclient-id = 'kubernetes'\n", self.origin())
    }

    fn decide(&self, what: &str, shown: &str, _code: &str) {
        let prompt = Prompt::find(shown).unwrap();
        match what {
            "approve" => self.0.sign_in(&prompt),
            "deny" => self.0.turn_back(&prompt, "consent"),
            _ => {}
        }
    }

    fn revoke(&self) {
        self.0.revoke_everything();
    }

    fn requests(&self) -> Vec<String> {
        let requests = self.0.requests();
        let line = |request: &Request| {
            let method = if request.path.starts_with("/.well-known/") { "GET" } else { "POST" };
            let (grant, status) = (request.grant.rsplit(':').next().unwrap_or_default(), request.status.to_string());
            let words = [method, &request.path, grant, &status, &request.error];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        // One that is being answered has no status yet.
        let done =
            requests.iter().skip(self.1.get()).take_while(|request| request.status > 0).map(line).collect::<Vec<_>>();
        self.1.set(self.1.get() + done.len());
        done
    }
}

/// Signs in there, and goes through what may become of that.
struct Scene<'s> {
    server: &'s dyn Server,
    keyfob: Keyfob,
    rows: Vec<String>,
}

impl<'s> Scene<'s> {
    fn new(server: &'s dyn Server) -> Self {
        let config = format!("[profile.lab]\n{}", server.profile());
        Self { server, keyfob: Keyfob::new(PROGRAM).config(&config), rows: Vec::new() }
    }

    fn start(&self, prompt: &str, args: &[&str]) -> Caller {
        Caller::start(self.keyfob.command(args).env("KEYFOB_PROMPT", prompt))
    }

    /// Waits until a poll has been answered like that; what was asked until then.
    fn wait_for(&self, answer: &str) -> Vec<String> {
        let mut seen = Vec::new();
        wait_until(&format!("{answer} at {}", self.server.title()), || {
            seen.extend(self.server.requests());
            seen.iter().any(|line| line.ends_with(answer))
        });
        seen
    }

    /// A sign-in in which the person lets keyfob ask in vain once, and then decides.
    fn sign_in(&mut self, situation: &str, args: &[&str], what: &str, code: i32) {
        let caller = self.start("always", args);
        let shown = caller.code();
        let seen = self.wait_for("authorization_pending");
        self.server.decide(what, &caller.stderr(), &shown);
        self.row(situation, seen, &caller.finish(), code);
    }

    /// A call that nobody is asked at.
    fn quietly(&mut self, situation: &str, args: &[&str], code: i32) {
        let output = self.start("never", args).finish();
        self.row(situation, Vec::new(), &output, code);
    }

    /// A line of the table: what was asked, what was seen, how it ended.
    fn row(&mut self, situation: &str, mut requests: Vec<String>, output: &Output, code: i32) {
        requests.extend(self.server.requests());
        println!("{}: {situation}: {requests:?}", self.server.title());
        assert_eq!(output.code, Some(code), "{situation}: {output:?}");
        assert!(code == 0 || output.stdout.is_empty(), "{situation}: {output:?}");
        // How often the person kept keyfob waiting is no matter.
        requests.dedup();
        let own = ["error: ", "hint: ", "warning: "];
        let lines = output.stderr.lines().filter(|line| own.iter().any(|own| line.starts_with(own)));
        let prompted = crate::common::code(&output.stderr).map(|_| "the prompt");
        let seen: Vec<&str> = prompted.into_iter().chain(lines).collect();
        let row = format!("| {situation} | {} | {code} | {} |", seen.join("<br>"), requests.join("<br>"));
        let (config, cache) = (self.keyfob.config_file(), self.keyfob.cache_dir());
        let own = format!("KEYFOB_CONFIG={} KEYFOB_CACHE_DIR={} {PROGRAM}", config.display(), cache.display());
        self.rows.push(row.replace(self.server.origin(), "ORIGIN").replace(&own, "keyfob"));
    }

    fn file(&self) -> std::path::PathBuf {
        let files = fs::read_dir(self.keyfob.cache_dir()).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "json")).expect("a session")
    }

    fn session(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// As time does: the cached tokens have ended.
    fn end_tokens(&self) {
        let mut session = self.session();
        for token in session["tokens"].as_array_mut().unwrap() {
            token["expires_at"] = json!(now() - 1);
        }
        fs::write(self.file(), session.to_string()).unwrap();
    }

    /// What happens at every server.
    fn play(&mut self) {
        self.sign_in("pending, then approved", &["token"], "approve", 0);
        self.quietly("the cached token", &["token"], 0);
        for situation in ["the token has ended", "and once more"] {
            self.end_tokens();
            let before = refresh_token(&self.session());
            self.quietly(situation, &["token"], 0);
            assert_ne!(refresh_token(&self.session()), before, "the refresh token is replaced");
        }
        self.end_tokens();
        self.server.revoke();
        self.quietly("revoked at the server", &["token"], 3);
        self.sign_in("signed in again", &["login"], "approve", 0);
        self.quietly("signed out", &["logout"], 0);
        self.quietly("after that", &["token"], 3);
    }

    /// The process that asked is killed; the next one goes on with the same code, also through a restart of the server.
    fn restart(&mut self, restart: impl FnOnce(&Self) -> Vec<String>) {
        let first = self.start("always", &["login"]);
        let shown = first.code();
        let mut seen = self.wait_for("authorization_pending");
        first.kill();
        let second = self.start("always", &["login"]);
        assert_eq!(second.code(), shown);
        seen.extend(restart(self));
        self.server.decide("approve", &second.stderr(), &shown);
        self.row("restarted in mid-sign-in", seen, &second.finish(), 0);
    }

    /// Compares the table with the one in the docs, or writes it there.
    fn document(self) {
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md");
        let text = fs::read_to_string(&path).unwrap();
        let title = self.server.title();
        let name = title.split(' ').next().unwrap();
        let head =
            "| what happens | what the person sees | exit code | what the server is asked |\n|---|---|---|---|\n";
        let section = format!("\n## {title}\n\n{head}{}\n", self.rows.join("\n"));
        let start = text.find(&format!("\n## {name} ")).unwrap_or(text.len());
        let end = text[start..].find("\n\n## ").map_or(text.len(), |at| start + at + 1);
        if std::env::var_os("KEYFOB_WRITE_SERVERS").is_some() {
            fs::write(&path, format!("{}{section}{}", &text[..start], &text[end..])).unwrap();
        } else {
            assert_eq!(text[start..end], section, "KEYFOB_WRITE_SERVERS=1 writes docs/servers.md");
        }
    }
}

/// A server of `tests/real/servers`. Not every server has every answer.
fn at(module: &str, denies: bool, slows_down: bool) {
    let server = need!(OauthServer::start(module));
    let mut scene = Scene::new(&server);
    scene.play();
    if denies {
        scene.sign_in("denied", &["login"], "deny", 4);
    }
    scene.sign_in("the code has run out", &["login"], "expire", 4);
    if slows_down {
        // Another program polls with the same code at the same moment.
        server.tell("crowd", &json!(1));
        let caller = scene.start("always", &["login"]);
        let shown = caller.code();
        let seen = scene.wait_for("slow_down");
        server.tell("approve", &json!(shown));
        scene.row("told to slow down", seen, &caller.finish(), 0);
        scene.quietly("signed out", &["logout"], 0);
    }
    scene.restart(|scene| {
        server.tell("down", &json!(true));
        let seen = scene.wait_for("unanswered");
        server.tell("down", &json!(false));
        seen
    });
    scene.document();
}

#[test]
fn django_oauth_toolkit() {
    at("django_oauth_toolkit", true, false);
}

#[test]
fn django_allauth() {
    at("django_allauth", true, true);
}

#[test]
fn authlib() {
    at("authlib_flask", true, true);
}

#[test]
fn glewlwyd() {
    at("glewlwyd", false, true);
}

/// Node closes a connection that was idle for five seconds: as long as this server's polls are apart.
#[test]
fn oidc_provider_in_node() {
    let node = Node(need!(OidcProvider::start(Transport::Http, Lifetimes::default())), Cell::default());
    let mut scene = Scene::new(&node);
    scene.play();
    scene.sign_in("denied", &["login"], "deny", 4);
    node.0.set_lifetimes(Lifetimes { code: 8, ..Lifetimes::default() });
    scene.sign_in("the code has run out", &["login"], "expire", 4);
    node.0.set_lifetimes(Lifetimes::default());
    scene.restart(|scene| {
        node.0.set_outage(503);
        let seen = scene.wait_for("503");
        node.0.set_outage(0);
        seen
    });
    scene.document();
}
