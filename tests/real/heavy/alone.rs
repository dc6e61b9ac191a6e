//! The static program in a root folder that holds nothing but it, certificates and `resolv.conf`, as in an image made `FROM
//! scratch`. `.ci/static` runs these tests; a program that needs a dynamic linker cannot, and skips them.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;

use crate::common::{copy_program, now, token};
use keyfob_test_support::real::{
    ApiServer, ExecPlugin, KubeHome, Kubectl, Lifetimes, OidcProvider, Running, Transport,
};
use keyfob_test_support::{Auto, Options, Output, Provider, need};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where systems keep their certificate authorities: Debian, Fedora, Alpine.
const PLACES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The names that were asked for; or why no name server could be started.
static ASKED: LazyLock<Result<&'static Mutex<Vec<String>>, String>> = LazyLock::new(|| {
    let socket = UdpSocket::bind("127.0.0.1:53").map_err(|e| format!("no name server can be started here: {e}"))?;
    let asked: &Mutex<Vec<String>> = Box::leak(Box::default());
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut query) {
            let (name, answer) = answer(&query[..size]);
            asked.lock().unwrap().push(name);
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(asked)
});

/// The name in a query, and what a server says that knows `id.lab.example`, and lies about `localhost`.
fn answer(query: &[u8]) -> (String, Vec<u8>) {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(&String::from_utf8_lossy(&query[at + 1..end]));
        name.push('.');
        at = end;
    }
    let address: Option<[u8; 4]> = match name.as_str() {
        "id.lab.example." => Some([127, 0, 0, 1]),
        "localhost." => Some([127, 66, 66, 66]),
        _ => None,
    };
    // Only IPv4 addresses are known; for others of a known name the answer is empty.
    let found = address.filter(|_| query[at + 1..at + 3] == [0, 1]);
    let code = if address.is_some() { 0x80 } else { 0x83 };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, code, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    answer.extend(&query[12..at + 5]);
    if let Some(address) = found {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    (name, answer)
}

/// A root folder with the program alone.
struct Root(TempDir);

impl Root {
    fn new() -> Result<Self, String> {
        let root = Self(TempDir::with_prefix("keyfob-root-").unwrap());
        copy_program(&root.path("/keyfob"));
        let tried =
            Command::new("chroot").arg(root.0.path()).args(["/keyfob", "--version"]).stderr(Stdio::null()).status();
        if !tried.is_ok_and(|status| status.success()) {
            return Err("this needs root, and a program without a dynamic linker".to_owned());
        }
        root.write("/etc/resolv.conf", "nameserver 127.0.0.1\nsearch other.example lab.example\n");
        Ok(root)
    }

    /// A file inside, as it is called outside.
    fn path(&self, inside: &str) -> std::path::PathBuf {
        self.0.path().join(inside.trim_start_matches('/'))
    }

    fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        let file = self.path(inside);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// A provider that this root has a profile for.
    fn knows(&self, idp: &Provider) {
        self.write("/config.toml", format!("[profile.lab]\nissuer = '{}'\nclient-id = 'keyfob'\n", idp.issuer()));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.0.path()).arg("/keyfob").args(args).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KEYFOB_CONFIG", "/config.toml").env("KEYFOB_CACHE_DIR", "/cache").env("KEYFOB_PROMPT", "always");
        command
    }

    fn token(&self) -> Output {
        Output::of(&mut self.command(&["token"]), b"")
    }

    /// As if all tokens had ended.
    fn end_tokens(&self) {
        let mut files = fs::read_dir(self.path("/cache")).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|file| file.extension().is_some_and(|kind| kind == "json")).expect("a session");
        let mut session: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for token in session["tokens"].as_array_mut().unwrap() {
            token["expires_at"] = json!(now() - 1);
        }
        fs::write(file, session.to_string()).unwrap();
    }
}

/// A provider of this name, where everybody signs in at once.
fn provider(tls_host: &'static str) -> Provider {
    let idp = Provider::start(Options { tls: true, tls_host, ..Options::default() });
    idp.auto(Auto::Approve);
    idp
}

fn authority(idp: &Provider) -> Vec<u8> {
    fs::read(idp.ca_file().unwrap()).unwrap()
}

#[test]
fn signs_in_and_renews_by_every_kind_of_name() {
    let root = need!(Root::new());
    let asked = need!(ASKED.as_ref());
    root.write("/etc/hosts", "127.0.0.1 id.hosts.example\n");
    for (host, by) in
        [("id.lab.example", "id.lab.example."), ("id", "id.lab.example."), ("id.hosts.example", ""), ("localhost", "")]
    {
        let idp = provider(host);
        root.knows(&idp);
        root.write(PLACES[0], authority(&idp));
        let _ = fs::remove_dir_all(root.path("/cache"));
        asked.lock().unwrap().clear();
        let first = token(&root.token());
        let names = asked.lock().unwrap().clone();
        assert_eq!(names.iter().any(|name| name == by), !by.is_empty(), "{host}: {names:?}");
        assert!(by == "id.lab.example." || names.is_empty(), "{host}: {names:?}");
        root.end_tokens();
        assert_ne!(token(&root.token()), first);
        assert_eq!(idp.count("token:refresh_token"), 1);
    }
}

#[test]
fn trusts_only_the_authorities_that_the_system_has() {
    let root = need!(Root::new());
    let idp = provider("localhost");
    root.knows(&idp);
    let untrusted = root.token();
    assert_eq!(untrusted.code, Some(5), "{untrusted:?}");
    assert_eq!(idp.count("device"), 0, "{untrusted:?}");
    for place in PLACES {
        root.write(place, authority(&idp));
        token(&root.token());
        fs::remove_file(root.path(place)).unwrap();
        fs::remove_dir_all(root.path("/cache")).unwrap();
    }
    root.write("/mine.pem", authority(&idp));
    token(&Output::of(root.command(&["token"]).env("SSL_CERT_FILE", "/mine.pem"), b""));
}

#[test]
fn answers_kubectl() {
    let root = need!(Root::new());
    let kubectl = need!(Kubectl::newest());
    let provider = need!(OidcProvider::start(Transport::Https, Lifetimes::default()));
    let api = need!(ApiServer::start(&provider));
    let ca_file = provider.ca_file().unwrap().display().to_string();
    root.write(PLACES[2], fs::read(&ca_file).unwrap());
    let mut args = vec![root.path("/").display().to_string(), "/keyfob".to_owned(), "kubernetes".to_owned()];
    args.extend(provider.flags().into_iter().filter(|word| word != "--ca-file" && *word != ca_file));
    root.write("/config.toml", "");
    let env = [("KEYFOB_CONFIG", "/config.toml"), ("KEYFOB_CACHE_DIR", "/cache"), ("KEYFOB_PROMPT", "always")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let command = Path::new("chroot").to_owned();
    let home = KubeHome::new(&api, &ExecPlugin { api_version: "v1", cluster_info: false, command, args, env });

    let mut first = Running::start(&mut home.command(kubectl, &["get", "pods"]));
    provider.sign_in(&first.prompt());
    let pods = "NAME    STATUS\nweb-0   Running\nweb-1   Running\n";
    let first = first.finish();
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), pods), "{first:?}");
    root.end_tokens();
    let renewed = Running::start(&mut home.command(kubectl, &["get", "pods"])).finish();
    assert_eq!((renewed.code, renewed.stdout.as_str(), renewed.stderr.as_str()), (Some(0), pods, ""));
    assert!(api.requests().iter().all(|request| request.status != 401));
}
