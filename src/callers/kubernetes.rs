//! Kubernetes client-go credential plugins: `client.authentication.k8s.io`, v1 and v1beta1.
//!
//! The request is in `KUBERNETES_EXEC_INFO`, the answer an `ExecCredential` on stdout with the same `apiVersion`.
//! `spec.interactive` speaks of stdin, which is never read here, so it does not forbid the device flow.
//! A client that asks again for the token it was just given has had it refused; see `store::HandedOut`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use crate::acquire::{Credential, Refused, Requester, Want, acquire};
use crate::arguments::{Arguments, Grammar, PROFILE, Rest};
use crate::callers::Caller;
use crate::config::{KEYS, Key, Profile, text, word};
use crate::failure::{Exit, Failure};
use crate::store::HandedOut;
use crate::text::clean;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal, Read};

const GROUP: &str = "client.authentication.k8s.io/";
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const REQUEST: &str = "KUBERNETES_EXEC_INFO";
/// Largest request read, in bytes; the largest part of one is a bundle of certificates.
const LARGEST: u64 = 1 << 20;

/// `keyfob kubernetes`
pub const CALLER: Caller = Caller {
    name: "kubernetes",
    alias: Some("kubectl"),
    program: None,
    about: "Answer kubectl and other Kubernetes clients (ExecCredential)",
    grammar: Grammar { flags: &[PROFILE, KEYS, FLAGS], rest: Rest::Nothing },
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
fn run(arguments: &Arguments) -> Result<()> {
    let request = request(arguments).context("could not read the ExecCredential request")?;
    let asked = Request::parse(&request, arguments.one("api-version").unwrap_or(VERSIONS[0]))?;
    let profile = Profile::select(&arguments.selection()?)?;
    let kind = profile.token_kind.unwrap_or(profile.preset.kubernetes_token);
    let want = Want::of(&profile, kind, Requester::Parent("a Kubernetes client"));
    // Only clients that say what they ask for keep what they are given; and a client that claims a terminal it does not
    // have asks several times.
    let keeps = std::env::var_os(REQUEST).is_some_and(|value| !value.is_empty());
    let keeps = keeps && (!asked.interactive || std::io::stdin().is_terminal());
    let handed = if keeps { HandedOut::look(&profile.session, &request) } else { None };
    let refused = handed.as_ref().and_then(HandedOut::before);
    let credential = acquire(&Want { purpose: asked.server, refused: refused.map(Refused::Perhaps), ..want })?;
    if let Some(handed) = handed {
        handed.note(credential.serial, refused.is_some());
    }
    super::answer(answer(&asked.api_version, &credential))
}

/// The bytes of the request; empty if there is none.
fn request(arguments: &Arguments) -> Result<String> {
    let mut text = String::new();
    match arguments.one("exec-info") {
        None => match std::env::var(REQUEST) {
            Ok(value) => text = value,
            Err(std::env::VarError::NotPresent) => {}
            Err(e) => return Err(e).context(REQUEST),
        },
        Some("-") => {
            std::io::stdin().take(LARGEST).read_to_string(&mut text).context("stdin")?;
        }
        Some(file) => {
            let read = std::fs::File::open(file).and_then(|f| f.take(LARGEST).read_to_string(&mut text));
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
    /// The client says that a person can answer on stdin.
    pub interactive: bool,
    /// The cluster's address, where the kubeconfig says `provideClusterInfo`.
    pub server: Option<String>,
}

impl Request {
    /// Reads a request; an empty one asks for `default` (`v1` or `v1beta1`). What is not known is ignored.
    pub fn parse(text: &str, default: &str) -> Result<Self, Failure> {
        let failed =
            |why: String| Failure::new(Exit::Failed, format!("could not answer the ExecCredential request: {why}"));
        let mut request = Self { api_version: format!("{GROUP}{default}"), interactive: false, server: None };
        if text.trim().is_empty() {
            return Ok(request);
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|e| failed(format!("it is not JSON (line {}, column {})", e.line(), e.column())))?;
        if !value.is_object() {
            return Err(failed("it is not a JSON object".into()));
        }
        if let Some(version) = value.get("apiVersion").filter(|v| !v.is_null()) {
            let said = version.as_str().unwrap_or_default();
            if !said.strip_prefix(GROUP).is_some_and(|v| VERSIONS.contains(&v)) {
                return Err(failed(format!(
                    "its apiVersion is {}, not {GROUP}v1 or {GROUP}v1beta1",
                    clean(&version.to_string())
                ))
                .hint(format!("set `apiVersion: {GROUP}v1` in the kubeconfig's exec section")));
            }
            said.clone_into(&mut request.api_version);
        }
        let spec = &value["spec"];
        request.interactive = spec["interactive"].as_bool().unwrap_or_default();
        request.server = spec["cluster"]["server"].as_str().map(clean).filter(|s| !s.is_empty());
        Ok(request)
    }
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

/// The one line that a client reads.
fn answer(api_version: &str, credential: &Credential) -> String {
    let credential = ExecCredential {
        api_version,
        kind: "ExecCredential",
        status: Status {
            expiration_timestamp: credential.expires_at.and_then(crate::clock::Timestamp::rfc3339),
            token: credential.token.expose(),
        },
    };
    serde_json::to_string(&credential).expect("strings always serialize") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::providers::TokenKind;
    use crate::secret::Secret;
    use crate::session::Serial;

    fn parsed(text: &str) -> Request {
        Request::parse(text, "v1").unwrap()
    }

    #[test]
    fn the_answer_is_literally_this() {
        let credential = Credential {
            token: Secret::from("t0k\"en".to_owned()),
            serial: Serial::default(),
            kind: TokenKind::Id,
            expires_at: Some(Timestamp(1_795_384_800)),
            account: None,
            tenant: None,
        };
        assert_eq!(
            answer("client.authentication.k8s.io/v1", &credential),
            "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":\
             {\"expirationTimestamp\":\"2026-11-22T22:00:00Z\",\"token\":\"t0k\\\"en\"}}\n"
        );
        assert_eq!(
            answer("client.authentication.k8s.io/v1beta1", &Credential { expires_at: None, ..credential }),
            "{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":\
             {\"token\":\"t0k\\\"en\"}}\n"
        );
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
            (r#"{"spec":{"unknown":[1,2,{"x":null}]}}"#, "v1"),
        ] {
            assert_eq!(parsed(text).api_version, format!("client.authentication.k8s.io/{version}"), "{text}");
        }
        assert_eq!(Request::parse("", "v1beta1").unwrap().api_version, "client.authentication.k8s.io/v1beta1");
    }

    #[test]
    fn the_clusters_address_is_taken_and_cleaned() {
        let text = r#"{"apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"server":"https://10.0.0.1:6443\u001b[2J","config":{"x":1}},"interactive":true}}"#;
        assert_eq!(parsed(text).server.unwrap(), "https://10.0.0.1:6443[2J");
        assert_eq!(parsed(r#"{"spec":{"cluster":{"server":7}}}"#).server, None);
    }

    #[test]
    fn odd_requests_get_a_clear_error() {
        for (text, why) in [
            ("{", "it is not JSON (line 1, column 1)"),
            ("[]", "it is not a JSON object"),
            ("null", "it is not a JSON object"),
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
