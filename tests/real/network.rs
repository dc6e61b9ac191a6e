//! Networks that loopback is not: a host has IPv6 addresses to which packets go, and from which none come back; a virtual
//! machine has a host at a link-local address.

#![cfg(target_os = "linux")]

use std::process::Command;

use crate::common::machine::Keys;
use crate::common::{PROGRAM, token};
use keyfob_test_support::{Keyfob, Output, need, skip};

/// Makes `id.test` a host with one address that answers and fifteen before it that do not, in a network of its own, and runs the
/// words that follow. On the loopback device a network that is not this machine's is a place where packets vanish.
const DEAD: &str = "ip link set lo up && ip -6 addr add 2001:db8:1::1/128 dev lo nodad && \
                    ip -6 route add 2001:db8::/64 dev lo || exit 99; \
                    for n in 1 2 3 4 5 6 7 8 9 a b c d e f; do echo \"2001:db8::$n id.test\"; done > hosts; \
                    echo '127.0.0.1 id.test' >> hosts; mount --bind hosts /etc/hosts || exit 99; exec \"$@\"";

/// The host of a virtual machine, of Azure or of Google Cloud, at the address that both have.
const METADATA: &str = r#"
import http.server, json, subprocess, sys, threading
AZURE = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
GOOGLE = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=a&format=full"
class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        azure = self.path == AZURE and self.headers["metadata"] == "true"
        google = self.path == GOOGLE and self.headers["metadata-flavor"] == "Google"
        body = json.dumps({"access_token": "from-azure", "expires_in": "3600"}) if azure else "from-google"
        self.send_response(200 if azure or google else 400)
        self.send_header("metadata-flavor", "Google")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("169.254.169.254", 80), Host)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"#;

/// A provider as small as can be, which runs its arguments once it listens.
const PROVIDER: &str = r#"
import http.server, json, ssl, subprocess, sys, threading
class Provider(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        own = "https://id.test:8443"
        body = json.dumps({"issuer": own, "token_endpoint": own + "/t", "device_authorization_endpoint": own + "/d",
            "device_code": "x", "user_code": "WDJB-MJHT", "verification_uri": own + "/v", "expires_in": 600}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Provider)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(subprocess.run(sys.argv[3:]).returncode)
"#;

/// Runs these words in a network of their own, after this shell script.
fn alone(keyfob: &Keyfob, script: &str, words: &[&str]) -> Command {
    let mut command = keyfob.other("unshare");
    command.args(["--net", "--mount", "--map-root-user", "sh", "-c", script, "sh"]).args(words);
    command.current_dir(keyfob.home());
    command
}

/// All of the ten seconds that a connection may take would go to the first addresses, one after the other.
#[test]
fn fifteen_addresses_that_do_not_answer_do_not_keep_the_sixteenth_from_it() {
    let keys = need!(Keys::new(&[
        "rsa:2048",
        "-addext",
        "subjectAltName=DNS:id.test",
        "-addext",
        "basicConstraints=critical,CA:FALSE"
    ]));
    let keyfob = Keyfob::new(PROGRAM);
    let within = |words: &[&str]| alone(&keyfob, DEAD, words);
    if !within(&["true"]).output().is_ok_and(|tried| tried.status.success()) {
        skip!("`unshare` and `ip` cannot make a network here");
    }
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| keys.path(name).display().to_string());
    let (provider, flags) = (["python3", "-c", PROVIDER, &certificate, &key, PROGRAM], ["login", "--start"]);
    let server = ["--issuer", "https://id.test:8443", "--client-id", "keyfob", "--ca-file", &certificate];
    let output = Output::of(&mut within(&[&provider[..], &flags, &server].concat()), b"");
    assert!(output.code == Some(0) && output.stdout.contains("WDJB-MJHT"), "{output:?}");
}

/// Whatever proxy the environment names: one would ask its own host for an identity.
#[test]
fn a_virtual_machines_host_is_asked_at_its_own_address() {
    const LINK: &str = "ip link set lo up && ip addr add 169.254.169.254/32 dev lo || exit 99; exec \"$@\"";
    let keyfob = Keyfob::new(PROGRAM).config(
        "[profile.azure]\ngrant = 'managed-identity'\nscopes = ['https://vault.azure.net/.default']\n\
         [profile.google]\ngrant = 'none'\nsource = 'gcp'\nsource-audience = 'a'\n",
    );
    if !alone(&keyfob, LINK, &["true"]).output().is_ok_and(|tried| tried.status.success()) {
        skip!("`unshare` and `ip` cannot make a network here");
    }
    for cloud in ["azure", "google"] {
        let mut asked = alone(&keyfob, LINK, &["python3", "-c", METADATA, PROGRAM, "token", "-p", cloud]);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            asked.env(name, "http://127.0.0.1:9");
        }
        assert_eq!(token(&Output::of(&mut asked, b"")), format!("from-{cloud}"));
    }
}
