//! Kubernetes client-go credential plugins: `client.authentication.k8s.io`, v1 and v1beta1.
//!
//! The request is in `KUBERNETES_EXEC_INFO`; the answer is an `ExecCredential` on stdout with the same `apiVersion`.
//! `spec.interactive` is about stdin, which is not read here, so it does not rule out a sign-in. If client-go asks
//! again for a token that it was just given, the token was refused; see `store::HandedOut`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use super::{Ask, Caller, Credential, Io, Kind, LARGEST, Link, Outcome, Refused, Requester, Want, Whose, json_line};
use crate::arguments::{Grammar, PROFILE, Rest};
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, Target, text, word};
use crate::failure::{Exit, Failure};
use crate::text::clean;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::env::VarError;
use std::fs::File;
use std::io::Read;

const GROUP: &str = "client.authentication.k8s.io/";
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const REQUEST: &str = "KUBERNETES_EXEC_INFO";

/// `keyfob kubernetes`
pub const CALLER: Caller = Caller {
    name: "kubernetes",
    alias: Some("kubectl"),
    // For lists of the programs that a kubeconfig may run: this link answers clients, by profile, and does nothing
    // else.
    link: Some(Link { name: "keyfob-kubernetes", grammar: Some(Grammar { flags: &[PROFILE], rest: Rest::Nothing }) }),
    about: "Answer kubectl and other Kubernetes clients (ExecCredential)",
    hosts: false,
    grammar: Grammar { flags: &[PROFILE, KEYS, FLAGS], rest: Rest::Profile },
    after_help: "\
In a kubeconfig, where `keyfob setup kubernetes` puts it:
  users:
  - name: lab
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: keyfob
        args: [kubernetes, --profile, lab]
        interactiveMode: IfAvailable

Examples:
  keyfob kubernetes --profile lab | jq -r .status.token
  keyfob kubernetes --profile lab --exec-info request.json",
    run,
};

const FLAGS: &[Key] = &[
    text("exec-info", "FILE", "Read the request from FILE (`-`: stdin) instead of KUBERNETES_EXEC_INFO"),
    word("api-version", &VERSIONS, "Version to answer in when the request names none [default: v1]"),
];

/// Answers a Kubernetes client.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    match answered(io, ask) {
        Ok(text) => io.answer(text),
        Err(failure) => io.fail(&failure),
    }
}

fn answered(io: &mut Io<'_>, ask: &Ask<'_>) -> Result<String, Failure> {
    let text = read(io).context("could not read the ExecCredential request").map_err(|error| Failure::of(&error))?;
    let request = Request::parse(&text, io.arguments.one("api-version").unwrap_or(VERSIONS[0]))?;
    // client-go keeps a token until it expires or is refused, one for each command with its arguments; only client-go
    // ends its request with a newline. Other clients ask at any time: Python's each time it loads its configuration,
    // kube-rs three times for one request.
    let keeps = text.ends_with('\n') && io.arguments.one("exec-info").is_none();
    let same = if keeps { io.arguments.words().chain([&*text]).collect() } else { Vec::new() };
    if text.is_empty() && (io.stdout_is_terminal)() {
        let note =
            "note: kubectl and other clients run this, and read what it prints; for people there is `keyfob token`\n";
        io.complain(note, 0);
    }
    let whose = Whose::Cluster(io.arguments, request.cluster.as_ref());
    let want = Want {
        kind: Kind::Kubernetes,
        purpose: request.cluster.as_ref().map(Target::origin),
        refused: if keeps { Refused::IfAskedBefore(&same) } else { Refused::Unknown },
        ..Want::token(whose, Requester::Parent("a Kubernetes client"))
    };
    match ask(want) {
        Outcome::Credential(credential) => Ok(answer(&request.api_version, &credential)),
        other => Err(other.failure()),
    }
}

/// Reads the request; empty if there is none.
fn read(io: &mut Io<'_>) -> Result<String> {
    let mut text = String::new();
    match io.arguments.one("exec-info") {
        None => {
            if let Some(value) = (io.environment)(REQUEST) {
                text = value.into_string().map_err(VarError::NotUnicode).context(REQUEST)?;
            }
        }
        Some("-") => {
            (&mut *io.stdin).take(LARGEST).read_to_string(&mut text).context("stdin")?;
        }
        Some(file) => {
            let read = File::open(file).and_then(|f| f.take(LARGEST).read_to_string(&mut text));
            read.map_err(|e| Failure::usage(e.to_string())).with_context(|| file.to_owned())?;
        }
    }
    Ok(text)
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The version to answer in, with its group.
    pub api_version: String,
    /// The cluster, if the kubeconfig sets `provideClusterInfo`.
    pub cluster: Option<Target>,
}

impl Request {
    /// Parses a request; an empty one asks for `default` (`v1` or `v1beta1`). Unknown fields are ignored.
    pub fn parse(text: &str, default: &str) -> Result<Self, Failure> {
        let failed =
            |why: String| Failure::new(Exit::Failed, format!("could not answer the ExecCredential request: {why}"));
        let mut request = Self { api_version: format!("{GROUP}{default}"), cluster: None };
        if text.trim().is_empty() {
            return Ok(request);
        }
        let said: ExecInfo<'_> = serde_json::from_str(text).map_err(|e| {
            let what = if e.is_data() { "an ExecCredential" } else { "JSON" };
            failed(format!("it is not {what} (line {}, column {})", e.line(), e.column()))
        })?;
        if let Some(version) = said.api_version {
            let word: String = serde_json::from_str(version.get()).unwrap_or_default();
            if !word.strip_prefix(GROUP).is_some_and(|v| VERSIONS.contains(&v)) {
                return Err(failed(format!(
                    "its apiVersion is {}, not {GROUP}v1 or {GROUP}v1beta1",
                    clean(version.get())
                ))
                .hint(format!("set `apiVersion: {GROUP}v1` in the kubeconfig's exec section")));
            }
            request.api_version = word;
        }
        let cluster = said.spec.and_then(|spec| spec.cluster);
        let server = cluster.and_then(|cluster| serde_json::from_str::<String>(cluster.server?.get()).ok());
        request.cluster = server.as_deref().and_then(Target::of_url);
        Ok(request)
    }
}

/// The parts of a request that are read. A request may be large, because it holds the cluster's certificates and
/// `config` if the kubeconfig says so. A field of the wrong type is ignored if nothing depends on it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo<'t> {
    #[serde(borrow)]
    api_version: Option<&'t RawValue>,
    #[serde(borrow)]
    spec: Option<Spec<'t>>,
}

#[derive(Deserialize)]
struct Spec<'t> {
    #[serde(borrow)]
    cluster: Option<Cluster<'t>>,
}

#[derive(Deserialize)]
struct Cluster<'t> {
    #[serde(borrow)]
    server: Option<&'t RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    api_version: &'a str,
    kind: &'static str,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_timestamp: Option<String>,
    token: &'a str,
}

/// The line that a client reads.
fn answer(api_version: &str, credential: &Credential) -> String {
    json_line(&ExecCredential {
        api_version,
        kind: "ExecCredential",
        status: Status {
            expiration_timestamp: credential.expires_at.and_then(Timestamp::rfc3339),
            token: credential.token.expose(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;

    fn parsed(text: &str) -> Request {
        Request::parse(text, "v1").unwrap()
    }

    #[test]
    fn the_answer_is_literally_this() {
        let v1 =
            r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#;
        let v1beta1 = &v1.replace("/v1", "/v1beta1");
        for (request, version) in [(v1, "v1"), (v1beta1, "v1beta1")] {
            let given = Given { environment: &[(REQUEST, request)], ..Given::default() };
            let said = run(&CALLER, &["--profile=lab"], given, &|_| Outcome::Credential(credential("t0k\"en")));
            let stdout = format!(
                "{{\"apiVersion\":\"client.authentication.k8s.io/{version}\",\"kind\":\"ExecCredential\",\"status\":\
                 {{\"expirationTimestamp\":\"2026-11-22T22:00:00Z\",\"token\":\"t0k\\\"en\"}}}}\n"
            );
            assert_eq!(said, (0, stdout, String::new()));
        }
        let endless = |_: Want<'_>| Outcome::Credential(Credential { expires_at: None, ..credential("t") });
        let (_, stdout, _) = run(&CALLER, &["--api-version=v1beta1"], Given::default(), &endless);
        assert_eq!(
            stdout,
            "{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":\
             {\"token\":\"t\"}}\n"
        );
    }

    #[test]
    fn client_go_is_known_by_its_newline() {
        let v1 =
            r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#;
        let line = &format!("{v1}\n");
        for (environment, words, keeps) in [
            (Some(line), &["--profile=lab"][..], true),
            (Some(&line.replace("false", "true")), &["--profile=lab"], true),
            // Python's client and kube-rs.
            (Some(&v1.to_owned()), &["--profile=lab"], false),
            (Some(&String::new()), &["--profile=lab"], false),
            (None, &["--profile=lab"], false),
            // A request from a file or stdin is a person's test.
            (None, &["--profile=lab", "--exec-info=-"], false),
            (Some(line), &["--profile=lab", "--exec-info=-"], false),
        ] {
            let variables: Vec<_> = environment.iter().map(|value| (REQUEST, value.as_str())).collect();
            let given = Given { environment: &variables, stdin: line.as_bytes(), ..Given::default() };
            let ask = |want: Want<'_>| {
                let same = ["profile", "lab", environment.map_or("", |value| value)];
                let expected = if keeps { Refused::IfAskedBefore(&same) } else { Refused::Unknown };
                assert_eq!((want.refused, want.kind), (expected, Kind::Kubernetes), "{variables:?} {words:?}");
                Outcome::Credential(credential("t"))
            };
            assert_eq!(run(&CALLER, words, given, &ask).0, 0);
        }
    }

    #[test]
    fn a_request_that_cannot_be_read_is_an_error_that_says_where_it_was() {
        let home = tempfile::tempdir().unwrap();
        let (file, none) = (home.path().join("request.json"), home.path().join("none.json"));
        std::fs::write(&file, r#"{"spec":{"cluster":{"server":"https://10.0.0.1:6443"}}}"#).unwrap();
        let ask = |want: Want<'_>| {
            assert_eq!(want.purpose.as_deref(), Some("https://10.0.0.1:6443"));
            Outcome::Credential(credential("t"))
        };
        let from = |file: &std::path::Path, stdin: &'static [u8]| {
            let given = Given { stdin, ..Given::default() };
            run(&CALLER, &["--exec-info", file.to_str().unwrap()], given, &ask)
        };
        assert_eq!(from(&file, b"").0, 0);
        let missing = format!(
            "error: could not read the ExecCredential request: {}: No such file or directory (os error 2)\n",
            none.display()
        );
        assert_eq!(from(&none, b""), (2, String::new(), missing));
        let odd = "error: could not read the ExecCredential request: stdin: stream did not contain valid UTF-8\n";
        assert_eq!(from("-".as_ref(), b"\xff"), (1, String::new(), odd.to_owned()));
        let given = Given { environment: &[(REQUEST, "{")], ..Given::default() };
        let broken = "error: could not answer the ExecCredential request: it is not JSON (line 1, column 1)\n";
        assert_eq!(run(&CALLER, &[], given, &ask), (1, String::new(), broken.to_owned()));
    }

    #[test]
    fn a_failure_is_two_lines_and_its_exit_code() {
        let failure = || Failure::new(Exit::Unreachable, "out of reach").hint("check the network");
        let said = run(&CALLER, &[], Given::default(), &|_| Outcome::Failed(failure()));
        assert_eq!(said, (5, String::new(), "error: out of reach\nhint: check the network\n".to_owned()));
    }

    #[test]
    fn the_version_that_was_asked_is_the_version_answered() {
        for (text, version) in [
            (
                r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#,
                "v1",
            ),
            (
                r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "spec": {"interactive": true}}"#,
                "v1beta1",
            ),
            ("", "v1"),
            (" \n", "v1"),
            (r#"{"spec":{"unknown":[1,2,{"x":null}],"interactive":"no","cluster":null}}"#, "v1"),
            (r#"{"apiVersion":null,"spec":null}"#, "v1"),
            (r#"{"apiVersion":"client.authentication.k8s.io\/v1beta1"}"#, "v1beta1"),
        ] {
            assert_eq!(parsed(text).api_version, format!("client.authentication.k8s.io/{version}"), "{text}");
        }
        assert_eq!(Request::parse("", "v1beta1").unwrap().api_version, "client.authentication.k8s.io/v1beta1");
    }

    /// The prompt shows this.
    #[test]
    fn of_a_clusters_address_scheme_host_and_port_are_shown() {
        for (server, shown) in [
            ("https://10.0.0.1:6443", Some("https://10.0.0.1:6443")),
            ("https://K8s.example.com:443/k8s/clusters/c-1", Some("https://k8s.example.com")),
            ("http://[::1]:8080/", Some("http://[::1]:8080")),
            ("https://10.0.0.1:6443\\u001b[2J", None),
            ("https://10.0.0.1:6443/          Enter code  EVIL-CODE", None),
            ("https://user@10.0.0.1", None),
            ("10.0.0.1", None),
            ("", None),
        ] {
            let request = format!("{{\"spec\":{{\"cluster\":{{\"server\":\"{server}\",\"config\":{{\"x\":1}}}}}}}}");
            let given = Given { environment: &[(REQUEST, &request)], ..Given::default() };
            let ask = |want: Want<'_>| {
                let Whose::Cluster(_, cluster) = want.whose else { panic!("{want:?}") };
                assert_eq!((want.purpose.as_deref(), cluster.map(Target::origin).as_deref()), (shown, shown));
                Outcome::Credential(credential("t"))
            };
            assert_eq!(run(&CALLER, &[], given, &ask).0, 0);
        }
        assert_eq!(parsed(r#"{"spec":{"cluster":{"server":7}}}"#).cluster, None);
    }

    #[test]
    fn odd_requests_get_a_clear_error() {
        for (text, why) in [
            ("{", "it is not JSON (line 1, column 1)"),
            ("[]", "it is not an ExecCredential (line 1, column 2)"),
            ("null", "it is not an ExecCredential (line 1, column 4)"),
            ("{\"spec\":7}", "it is not an ExecCredential (line 1, column 9)"),
            (
                r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#,
                "its apiVersion is \"client.authentication.k8s.io/v1alpha1\", not client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1",
            ),
            (
                r#"{"apiVersion":7}"#,
                "its apiVersion is 7, not client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1",
            ),
        ] {
            let failure = Request::parse(text, "v1").unwrap_err();
            assert_eq!(failure.message, format!("could not answer the ExecCredential request: {why}"));
            assert_eq!(failure.exit, Exit::Failed);
        }
    }
}
