//! A git server: `git http-backend` behind the identity provider's tokens, and LFS beside it.
//!
//! It asks for credentials as it is told to, takes only live tokens, and keeps every request as one line, so that a test
//! can say what git and its helper did. Repositories are made from nothing, without a work tree, and are gone with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::http::{Answer, Body, Connection, Incoming, Server, Stop, header, lock};
use crate::lfs::{self, Lfs};
use crate::options::Certificate;
use crate::real::{Git, Missing};
use crate::tls::Authority;

/// The branch that every repository has.
const MAIN: &str = "refs/heads/main";

/// A way to show a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// The token as the password of HTTP Basic.
    Basic,
}

/// What kind of git server to start. The default speaks http and takes Bearer and Basic, with any user name.
#[derive(Clone, Debug)]
pub struct GitOptions {
    /// https with a private authority instead of http.
    pub tls: bool,
    /// The schemes that it asks for, in this order, and accepts.
    pub schemes: Vec<Scheme>,
    /// The user name that Basic must come with.
    pub username: Option<String>,
    /// Repositories that anybody may read.
    pub public: Vec<String>,
    /// Repositories that nobody may read; the answer is the same as for wrong credentials.
    pub hidden: Vec<String>,
}

impl Default for GitOptions {
    fn default() -> Self {
        Self {
            tls: false,
            schemes: vec![Scheme::Bearer, Scheme::Basic],
            username: None,
            public: Vec::new(),
            hidden: Vec::new(),
        }
    }
}

/// One request that reached the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The whole `Authorization` header, secrets included.
    pub authorization: Option<String>,
    /// The status it was answered with.
    pub status: u16,
}

impl GitRequest {
    /// The request on one line, without secrets: `GET /a.git/info/refs Bearer 200`, with `-` for no credentials.
    pub fn line(&self) -> String {
        let scheme = self.authorization.as_deref().map_or("-", |header| header.split(' ').next().unwrap_or_default());
        format!("{} {} {scheme} {}", self.method, self.path, self.status)
    }
}

/// A redirect of every request to another origin.
#[derive(Clone)]
struct Redirect {
    origin: String,
    authorized_only: bool,
}

struct State {
    requests: Vec<GitRequest>,
    redirect: Option<Redirect>,
    lfs: Lfs,
}

struct Shared {
    options: GitOptions,
    git: &'static Git,
    folder: TempDir,
    state: Mutex<State>,
    accepts: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

/// A running git server. Dropping it closes its port and removes its repositories.
pub struct GitServer {
    shared: Arc<Shared>,
    origin: String,
    ca_file: Option<PathBuf>,
    // Fields are dropped in order: the server before the folder that holds its certificate.
    _server: Server,
    _authority: Option<Authority>,
}

impl GitServer {
    /// Starts a server on a free port of 127.0.0.1. `accepts` says whether a token is good now;
    /// [`Provider::judge`](crate::Provider::judge) is one that does.
    pub fn start(options: GitOptions, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Result<Self, Missing> {
        let git = Git::any()?;
        let listener = Server::bind();
        let address = listener.local_addr().expect("the address of a bound socket");
        let authority = options.tls.then(|| Authority::new(Certificate::Good));
        let origin = format!("{}://{address}", if options.tls { "https" } else { "http" });
        let shared = Arc::new(Shared {
            options,
            git,
            folder: TempDir::with_prefix("keyfob-test-git-").expect("a temporary folder"),
            state: Mutex::new(State { requests: Vec::new(), redirect: None, lfs: Lfs::default() }),
            accepts: Box::new(accepts),
        });
        let server = {
            let shared = Arc::clone(&shared);
            let tls = authority.as_ref().map(Authority::config);
            Server::start(listener, tls, Arc::new(Stop::default()), move |incoming, connection| {
                shared.handle(&incoming, connection);
            })
        };
        Ok(Self {
            shared,
            origin,
            ca_file: authority.as_ref().map(Authority::path),
            _server: server,
            _authority: authority,
        })
    }

    /// `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The address of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.origin)
    }

    /// The authority's certificate, if it speaks https.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    // Its repositories.

    /// Makes a bare repository with two commits on `main`, which say `one` and `two` in the file `README`.
    pub fn repository(&self, name: &str) {
        let folder = self.shared.repository(name);
        self.shared.git(["init", "--quiet", "--bare", "--initial-branch=main"], &folder, b"");
        let [one, two] = ["one\n", "two\n"].map(|text| Entry::File("README", text.as_bytes()));
        self.import(name, &[&[one], &[two]]);
    }

    /// Adds a commit that gives a file of a repository new content.
    pub fn commit(&self, name: &str, file: &str, content: &[u8]) {
        self.import(name, &[&[Entry::File(file, content)]]);
    }

    /// Makes a repository with so many submodules, `NAME-1` and so on, each a repository beside it. Their addresses are
    /// relative, so that they are on this server whatever its port.
    pub fn superproject(&self, name: &str, submodules: usize) {
        self.repository(name);
        let modules: Vec<_> = (1..=submodules).map(|number| format!("{name}-{number}")).collect();
        let section = |module| format!("[submodule \"{module}\"]\n\tpath = {module}\n\turl = ../{module}.git\n");
        let sections: String = modules.iter().map(section).collect();
        for module in &modules {
            self.repository(module);
        }
        let heads: Vec<_> = modules.iter().map(|module| self.head(module)).collect();
        let mut entries = vec![Entry::File(".gitmodules", sections.as_bytes())];
        entries.extend(modules.iter().zip(&heads).map(|(module, head)| Entry::Submodule(module, head)));
        self.import(name, &[&entries]);
    }

    /// The commit that `main` of a repository is at.
    pub fn head(&self, name: &str) -> String {
        let file = self.shared.repository(name).join(MAIN);
        std::fs::read_to_string(file).expect("a branch").trim().to_owned()
    }

    // Its behaviour.

    /// From now on every request is sent to another origin with status 302; with `authorized_only`, only those that
    /// carry a good token, and the others are asked for one.
    pub fn redirect(&self, origin: &str, authorized_only: bool) {
        lock(&self.shared.state).redirect = Some(Redirect { origin: origin.to_owned(), authorized_only });
    }

    // Its records.

    /// Every request since the last call, in order.
    pub fn take_requests(&self) -> Vec<GitRequest> {
        std::mem::take(&mut lock(&self.shared.state).requests)
    }

    /// The same as [lines](GitRequest::line).
    pub fn take_lines(&self) -> Vec<String> {
        self.take_requests().iter().map(GitRequest::line).collect()
    }

    /// Adds commits to `main`, each of these entries.
    fn import(&self, name: &str, commits: &[&[Entry<'_>]]) {
        let folder = self.shared.repository(name);
        let mut stream = Vec::new();
        let mut parent = folder.join(MAIN).exists().then(|| format!("from {MAIN}^0\n"));
        for entries in commits {
            let head = format!("commit {MAIN}\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 0\n");
            stream.extend_from_slice(head.as_bytes());
            // Within one stream a commit follows the one before it by itself.
            stream.extend_from_slice(parent.take().unwrap_or_default().as_bytes());
            for entry in *entries {
                match entry {
                    Entry::File(path, content) => {
                        let head = format!("M 100644 inline {path}\ndata {}\n", content.len());
                        stream.extend_from_slice(head.as_bytes());
                        stream.extend_from_slice(content);
                        stream.push(b'\n');
                    }
                    Entry::Submodule(path, commit) => {
                        stream.extend_from_slice(format!("M 160000 {commit} {path}\n").as_bytes());
                    }
                }
            }
        }
        self.shared.git(["fast-import", "--quiet"], &folder, &stream);
    }
}

/// What a commit puts at a path.
enum Entry<'e> {
    File(&'e str, &'e [u8]),
    Submodule(&'e str, &'e str),
}

impl Shared {
    fn repository(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join("repositories").join(format!("{name}.git"));
        std::fs::create_dir_all(&folder).expect("a folder for a repository");
        folder
    }

    /// git on this side, which knows nothing of anybody's configuration.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.git.path);
        command.env_clear().env("HOME", self.folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Runs git in a repository, with something to read; what it printed.
    fn git<const N: usize>(&self, args: [&str; N], folder: &Path, input: &[u8]) -> Vec<u8> {
        let (success, stdout) = run(self.command().args(args).current_dir(folder), input);
        assert!(success, "git {args:?} failed");
        stdout
    }

    fn handle(&self, incoming: &Incoming, connection: &mut Connection<'_>) {
        let (path, query) = incoming.target.split_once('?').unwrap_or((&incoming.target, ""));
        let authorization = header(&incoming.headers, "authorization");
        let redirect = lock(&self.state).redirect.clone();
        let hidden = self.options.hidden.iter().any(|hidden| hidden == name(path));
        let allowed = !hidden && (self.is_good(authorization) || self.is_public(path, query));
        let answer = match redirect {
            Some(Redirect { origin, authorized_only }) if allowed || !authorized_only => {
                Answer::new(302, "text/plain", "").header("Location", &format!("{origin}{}", incoming.target))
            }
            _ if !allowed => self.challenge(),
            _ if path.contains(lfs::PLACE) => self.lfs(incoming, path),
            _ => self.backend(incoming, path, query).unwrap_or_else(|| Answer::new(500, "text/plain", "")),
        };
        // The client may look at the record as soon as it has read the answer, so the record comes first.
        lock(&self.state).requests.push(GitRequest {
            method: incoming.method.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: authorization.map(str::to_owned),
            status: answer.status,
        });
        // A client that hung up is its own test's business.
        drop(connection.send(&answer));
    }

    fn is_public(&self, path: &str, query: &str) -> bool {
        let writes = path.ends_with("/git-receive-pack") || query == "service=git-receive-pack";
        !writes && self.options.public.iter().any(|public| public == name(path))
    }

    fn is_good(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, value)) = authorization.and_then(|header| header.split_once(' ')) else { return false };
        let takes = |scheme| self.options.schemes.contains(&scheme);
        match scheme {
            "Bearer" => takes(Scheme::Bearer) && (self.accepts)(value),
            "Basic" if takes(Scheme::Basic) => basic(value).is_some_and(|(name, token)| {
                self.options.username.as_ref().is_none_or(|wanted| *wanted == name) && (self.accepts)(&token)
            }),
            _ => false,
        }
    }

    fn challenge(&self) -> Answer {
        let answer = Answer::new(401, "text/plain", "Who are you?\n");
        self.options.schemes.iter().fold(answer, |answer, scheme| {
            let challenge = match scheme {
                Scheme::Bearer => "Bearer realm=\"git\"",
                Scheme::Basic => "Basic realm=\"git\"",
            };
            answer.header("WWW-Authenticate", challenge)
        })
    }

    fn lfs(&self, incoming: &Incoming, path: &str) -> Answer {
        let (name, place) = path.split_once(lfs::PLACE).unwrap_or_default();
        let host = header(&incoming.headers, "host").unwrap_or_default();
        let scheme = if self.options.tls { "https" } else { "http" };
        let base = format!("{scheme}://{host}{name}{}", lfs::PLACE);
        lock(&self.state).lfs.answer(incoming, &base, place)
    }

    /// One run of `git http-backend` (RFC 3875). `None` if its answer makes no sense.
    fn backend(&self, incoming: &Incoming, path: &str, query: &str) -> Option<Answer> {
        let mut command = self.command();
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", self.folder.path().join("repositories"))
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &incoming.method)
            .env("PATH_INFO", path.replace("%20", " "))
            .env("QUERY_STRING", query)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("REMOTE_USER", "ada")
            .env("CONTENT_LENGTH", incoming.body.len().to_string());
        for (name, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ] {
            if let Some(value) = header(&incoming.headers, name) {
                command.env(variable, value);
            }
        }
        let (_, said) = run(&mut command, &incoming.body);
        let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let mut answer = Answer { status: 200, headers: Vec::new(), body: Body::Bytes(said[end + 4..].to_vec()) };
        for line in std::str::from_utf8(&said[..end]).ok()?.split("\r\n") {
            let (name, value) = line.split_once(": ")?;
            if name == "Status" {
                answer.status = value.split(' ').next()?.parse().ok()?;
            } else {
                answer = answer.header(name, value);
            }
        }
        Some(answer)
    }
}

/// The repository that a path is in.
fn name(path: &str) -> &str {
    path.trim_start_matches('/').split(".git/").next().unwrap_or_default()
}

/// Runs a command to its end; whether it was content, and what it printed.
fn run(command: &mut Command, input: &[u8]) -> (bool, Vec<u8>) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a piped stdin");
    thread::scope(|scope| {
        // Beside the reading: it may answer before it has read everything. It may also end before that.
        scope.spawn(move || drop(stdin.write_all(input)));
        let output = child.wait_with_output().expect("waiting for git");
        (output.status.success(), output.stdout)
    })
}

/// The name and the password of Basic credentials (RFC 7617).
pub(crate) fn basic(credentials: &str) -> Option<(String, String)> {
    let credentials = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (name, password) = credentials.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Output, need};

    /// Someone with a git and a helper of two lines, who knows a token.
    struct Person {
        home: TempDir,
        git: &'static Git,
    }

    impl Person {
        fn new(server: &GitServer, helper: &str) -> Self {
            let home = TempDir::with_prefix("keyfob-test-person-").unwrap();
            let ca = server.ca_file().map(|file| format!("[http]\nsslCAInfo = {}\n", file.display()));
            let config = format!(
                "[user]\nname = Ada\nemail = ada@example.com\n[credential]\nhelper = \"!f() {{ {helper}; }}; f\"\n{}",
                ca.unwrap_or_default()
            );
            std::fs::write(home.path().join(".gitconfig"), config).unwrap();
            Self { home, git: Git::any().unwrap() }
        }

        fn run<const N: usize>(&self, args: [&str; N]) -> Output {
            let mut command = Command::new(&self.git.path);
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.home.path());
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
            command.env("GIT_TRACE_CURL", "1").env("GIT_TRACE_CURL_NO_DATA", "1");
            Output::of(command.args(args).current_dir(self.home.path()).stdin(Stdio::null()), b"")
        }
    }

    const HELPER: &str = "test $1 = get && printf 'username=ada\\\\npassword=good\\\\n'";

    #[test]
    fn a_token_opens_it_and_nothing_else_does() {
        let options = GitOptions { username: Some("ada".into()), ..GitOptions::default() };
        let server = need!(GitServer::start(options, |token| token == "good"));
        server.repository("a");
        let person = Person::new(&server, HELPER);
        assert_eq!(person.run(["clone", "-q", &server.url("a")]).code, Some(0));
        assert_eq!(std::fs::read_to_string(person.home.path().join("a/README")).unwrap(), "two\n");
        let last = server.take_requests().pop().unwrap();
        assert_eq!(last.line(), "POST /a.git/git-upload-pack Basic 200");
        assert_eq!(last.authorization.as_deref(), Some("Basic YWRhOmdvb2Q="));

        for helper in [HELPER.replace("good", "bad"), HELPER.replace("ada", "eve"), "true".to_owned()] {
            let output = Person::new(&server, &helper).run(["clone", "-q", &server.url("a")]);
            assert_eq!(output.code, Some(128), "{output:?}");
            assert!(server.take_lines().iter().all(|line| line.ends_with(" 401")));
        }
    }

    #[test]
    fn a_large_push_arrives_in_pieces_and_a_compressed_request_as_it_is() {
        let server =
            need!(GitServer::start(GitOptions { tls: true, ..GitOptions::default() }, |token| token == "good"));
        server.repository("a");
        // Random bytes do not shrink: more than `http.postBuffer` is left of them.
        let large = || (0..50).flat_map(|_| crate::jwt::random_bytes::<60_000>()).collect::<Vec<u8>>();
        server.commit("a", "blob", &large());
        let person = Person::new(&server, HELPER);
        assert_eq!(person.run(["clone", "-q", &server.url("a")]).code, Some(0));
        std::fs::write(person.home.path().join("a/more"), large()).unwrap();
        assert_eq!(person.run(["-C", "a", "add", "more"]).code, Some(0));
        assert_eq!(person.run(["-C", "a", "commit", "-qm", "more"]).code, Some(0));
        let pushed = person.run(["-C", "a", "push", "-q", "origin", "main"]);
        assert_eq!(pushed.code, Some(0), "{pushed:?}");
        assert!(pushed.stderr.contains("Send header: Transfer-Encoding: chunked"), "{pushed:?}");
        let head = person.run(["-C", "a", "rev-parse", "HEAD"]);
        assert_eq!(head.stdout.trim(), server.head("a"));
        // Enough to say what is there already that git compresses it.
        for number in 0..60 {
            server.commit("a", "README", format!("{number}\n").as_bytes());
            assert_eq!(person.run(["-C", "a", "commit", "-q", "--allow-empty", "-m", "mine"]).code, Some(0));
        }
        let fetched = person.run(["-C", "a", "fetch", "-q"]);
        assert_eq!(fetched.code, Some(0), "{fetched:?}");
        assert!(fetched.stderr.contains("Send header: Content-Encoding: gzip"), "{fetched:?}");
        assert_eq!(person.run(["-C", "a", "rev-parse", "origin/main"]).stdout.trim(), server.head("a"));
    }

    #[test]
    fn submodules_are_beside_their_superproject() {
        let server =
            need!(GitServer::start(GitOptions { public: vec!["s".into()], ..GitOptions::default() }, |_| false));
        server.superproject("s", 2);
        let person = Person::new(&server, "true");
        assert_eq!(person.run(["clone", "-q", &server.url("s")]).code, Some(0));
        let output = person.run(["-C", "s", "submodule", "status"]);
        let wanted = format!("-{} s-1\n-{} s-2\n", server.head("s-1"), server.head("s-2"));
        assert_eq!(output.stdout, wanted, "{output:?}");
        assert_eq!(person.run(["-C", "s", "submodule", "update", "--init"]).code, Some(1));
        let refused = "GET /s-1.git/info/refs - 401".to_owned();
        assert!(server.take_lines().contains(&refused));
        assert_eq!(person.run(["-C", "s", "push", "-q", "origin", "main"]).code, Some(128), "public is for reading");
    }

    #[test]
    fn it_sends_elsewhere_who_it_is_told_to() {
        let start = || GitServer::start(GitOptions::default(), |token| token == "good");
        let (here, there) = (need!(start()), need!(start()));
        there.repository("a");
        here.redirect(there.origin(), true);
        // Nobody takes a credential along, and git asks for one only once.
        assert_eq!(Person::new(&here, HELPER).run(["clone", "-q", &here.url("a")]).code, Some(128));
        assert_eq!(here.take_lines().pop().unwrap(), "GET /a.git/info/refs Basic 302");
        assert_eq!(there.take_lines().pop().unwrap(), "GET /a.git/info/refs - 401");
        here.redirect(there.origin(), false);
        assert_eq!(Person::new(&here, HELPER).run(["clone", "-q", &here.url("a")]).code, Some(0));
        assert_eq!(here.take_lines(), ["GET /a.git/info/refs - 302"]);
    }
}
