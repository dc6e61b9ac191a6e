//! Machines that sign themselves in, beside the programs that others wrote for that: PyJWT checks what is signed, and the
//! Azure SDK's own credential is asked in the same environment.

use std::fs;

use crate::common::machine::{Keys, answer};
use crate::common::{PROGRAM, token};
use keyfob_test_support::lookalike::{Lookalike, Seen, json};
use keyfob_test_support::real::AzureSdk;
use keyfob_test_support::{Keyfob, Output, need};
use serde_json::{Value, json};

/// Checks an assertion as a server does that knows the certificate; says its header and claims.
const CHECK: &str = r#"
import json, sys, jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from base64 import urlsafe_b64encode, b64encode
from cryptography.hazmat.primitives.serialization import Encoding
asked = json.load(sys.stdin)
certificate = x509.load_pem_x509_certificate(asked["certificate"].encode())
options = {"require": ["iss", "sub", "aud", "jti", "nbf", "iat", "exp"]}
claims = jwt.decode(asked["assertion"], certificate.public_key(), algorithms=[asked["algorithm"]],
    audience=asked["audience"], issuer="robot", options=options)
header = jwt.get_unverified_header(asked["assertion"])
thumbprint = urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
print(json.dumps({"header": header, "thumbprint": thumbprint, "life": claims["exp"] - claims["iat"]}))
"#;

#[test]
fn pyjwt_takes_what_a_client_signs() {
    let sdk = need!(AzureSdk::python());
    let (rsa, ec) = (need!(Keys::rsa()), need!(Keys::ec()));
    for (keys, says, algorithm) in [
        (&rsa, "client-key-file = 'KEY'\n", "RS256"),
        (&rsa, "client-key-file = 'KEY'\nclient-certificate-file = 'CERT'\n", "PS256"),
        (&ec, "client-key-file = 'KEY'\n", "ES256"),
        (&ec, "client-key-file = 'KEY'\nclient-certificate-file = 'CERT'\n", "ES256"),
    ] {
        let server = Lookalike::start(|_| json(200, &answer("t0ken")));
        let [key, certificate] = ["key.pem", "cert.pem"].map(|name| keys.path(name));
        let says = says.replace("KEY", key.to_str().unwrap()).replace("CERT", certificate.to_str().unwrap());
        let keyfob = Keyfob::new(PROGRAM).config(&format!(
            "[profile.ci]\ntoken-endpoint = '{}/token'\nclient-id = 'robot'\ngrant = 'client-credentials'\n{says}",
            server.origin()
        ));
        assert_eq!(token(&keyfob.run(["token"])), "t0ken");
        let asked = json!({
            "assertion": server.seen()[0].field("client_assertion").unwrap(),
            "certificate": fs::read_to_string(&certificate).unwrap(),
            "algorithm": algorithm,
            "audience": format!("{}/token", server.origin()),
        });
        let mut check = sdk.run(|program| keyfob.other(program), CHECK);
        let checked = Output::of(check.stdin(std::process::Stdio::piped()), asked.to_string().as_bytes());
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
        assert_eq!((&checked["life"], &checked["header"]["alg"]), (&json!(300), &json!(algorithm)));
        let with_certificate = says.contains("client-certificate-file");
        let shown = if with_certificate { &checked["thumbprint"] } else { &Value::Null };
        assert_eq!(&checked["header"]["x5t#S256"], shown, "{checked}");
    }
}

/// As the Azure SDK signs in with what the webhook of AKS puts into a pod.
const WORKLOAD: &str = r#"
from azure.identity import WorkloadIdentityCredential
print(WorkloadIdentityCredential(disable_instance_discovery=True).get_token("https://vault.azure.net/.default").token)
"#;

#[test]
fn a_pod_asks_entra_for_what_the_azure_sdk_asks_for() {
    let sdk = need!(AzureSdk::python());
    let server = Lookalike::start_tls(|seen| {
        let host = seen.header("host").unwrap_or_default();
        let home = format!("https://{host}/contoso.com");
        if seen.method == "POST" {
            return json(200, &answer("t0ken"));
        }
        json(
            200,
            &json!({
                "issuer": format!("{home}/v2.0"),
                "token_endpoint": format!("{home}/oauth2/v2.0/token"),
                "authorization_endpoint": format!("{home}/oauth2/v2.0/authorize"),
            }),
        )
    });
    let keyfob = Keyfob::new(PROGRAM).config(
        "[profile.pod]\nprovider = 'entra'\nscopes = ['https://vault.azure.net/.default']\ngrant = 'client-credentials'\n\
         source = 'file'\nenvironment = 'azure'\n",
    );
    let file = keyfob.home().join("azure-identity-token");
    fs::write(&file, "pods-own-token\n").unwrap();
    let ca = server.ca_file().unwrap();
    let variables = [
        ("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000001".to_owned()),
        ("AZURE_TENANT_ID", "contoso.com".to_owned()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_string_lossy().into_owned()),
        ("AZURE_AUTHORITY_HOST", format!("{}/", server.origin())),
        ("SSL_CERT_FILE", ca.to_string_lossy().into_owned()),
        ("REQUESTS_CA_BUNDLE", ca.to_string_lossy().into_owned()),
    ];
    let run = |mut command: std::process::Command| {
        let output = Output::of(command.envs(variables.iter().map(|(name, value)| (name, value))), b"");
        assert_eq!((output.code, output.stdout.trim()), (Some(0), "t0ken"), "{output:?}");
        server.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap()
    };
    let theirs = run(sdk.run(|program| keyfob.other(program), WORKLOAD));
    let ours = run(keyfob.command(["token"]));
    // What is only theirs says which library it is.
    let said = |seen: &Seen| {
        let mut form = seen.form();
        form.retain(|(name, _)| name != "client_info");
        // They send the line break of the file, which no header and no JWT has.
        for (_, value) in &mut form {
            value.truncate(value.trim_end().len());
        }
        form.sort();
        (seen.target.clone(), seen.header("authorization").map(str::to_owned), form)
    };
    assert_eq!(said(&ours), said(&theirs));
    assert_eq!(ours.field("client_assertion").as_deref(), Some("pods-own-token"));
}
