//! The real Azure SDKs, unmodified, with keyfob as their az and azd: here Python's, in `heavy` that of JavaScript.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::azure::{Azure, WORK, claims};
use crate::common::{PROGRAM, now};
use keyfob_test_support::entra::{HOME_TENANT, OTHER_TENANT};
use keyfob_test_support::provider::Options;
use keyfob_test_support::real::{AzureSdk, Missing};
use keyfob_test_support::{Output, need};
use serde_json::{Value, json};

const SCOPE: &str = "https://graph.microsoft.com/.default";
const CREDENTIALS: [&str; 3] = ["AzureCliCredential", "AzureDeveloperCliCredential", "DefaultAzureCredential"];

type Found = Result<&'static AzureSdk, Missing>;

/// What an SDK's credential gives, call by call.
#[track_caller]
fn ask(azure: &Azure, sdk: &AzureSdk, credential: &str, calls: usize, options: &Value) -> Vec<Value> {
    let asked = json!({ "credential": credential, "scope": SCOPE, "calls": calls, "options": options });
    let mut command = sdk.command(|program| azure.command(program.to_str().unwrap(), &[]), &asked);
    // The credentials of a developer's machine only: the others would ask the network who they are.
    command.env("AZURE_TOKEN_CREDENTIALS", "dev");
    let output = Output::of(&mut command, b"");
    assert_eq!(output.code, Some(0), "{}: {}", sdk.language, output.stderr);
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Puts scripts in place of the links, which write down how they are run.
fn recorded(azure: &Azure) -> impl Fn() -> Vec<String> {
    let log = azure.scene.keyfob.home().join("runs");
    for name in ["az", "azd"] {
        let link = azure.scene.keyfob.home().join("links").join(name);
        fs::remove_file(&link).unwrap();
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> '{}'\nexec '{PROGRAM}' {name} \"$@\"\n", log.display());
        fs::write(&link, script).unwrap();
        fs::set_permissions(&link, fs::Permissions::from_mode(0o755)).unwrap();
    }
    move || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_good(given: &Value, tid: &str) {
    let claims = claims(given["token"].as_str().unwrap_or_else(|| panic!("{given}")));
    assert_eq!((&claims["aud"], &claims["tid"]), (&json!("https://graph.microsoft.com"), &json!(tid)));
    #[expect(clippy::cast_possible_truncation, reason = "seconds")]
    let left = given["expires_on"].as_f64().unwrap() as i64 - now();
    assert!((3300..=3600).contains(&left), "{given}: {left}");
}

pub(crate) fn get_tokens(sdk: Found) {
    let sdk = need!(sdk);
    let azure = Azure::new();
    for credential in CREDENTIALS {
        let given = ask(&azure, sdk, credential, 1, &json!({}));
        assert_eq!(given.len(), 1);
        assert_good(&given[0], HOME_TENANT);
    }
    // One token for all of them.
    assert_eq!((azure.scene.idp.count("device"), azure.scene.idp.count("token:refresh_token")), (1, 1));
}

#[test]
fn python_gets_tokens() {
    get_tokens(AzureSdk::python());
}

pub(crate) fn five_calls_are_five_runs(sdk: Found, az: &str, azd: &str) {
    let sdk = need!(sdk);
    let azure = Azure::new();
    let runs = recorded(&azure);
    let cli = ask(&azure, sdk, "AzureCliCredential", 5, &json!({}));
    let developer_cli = ask(&azure, sdk, "AzureDeveloperCliCredential", 5, &json!({}));
    for given in cli.iter().chain(&developer_cli) {
        assert_good(given, HOME_TENANT);
    }
    assert_eq!(runs(), [vec![az; 5], vec![azd; 5]].concat());
    assert_eq!(azure.scene.idp.count("token:refresh_token"), 1);
}

#[test]
fn five_calls_from_python_are_five_runs() {
    five_calls_are_five_runs(
        AzureSdk::python(),
        "az account get-access-token --output json --resource https://graph.microsoft.com",
        "azd auth token --output json --no-prompt --scope https://graph.microsoft.com/.default",
    );
}

pub(crate) fn say_unavailable_when_signed_out(sdk: Found) {
    let sdk = need!(sdk);
    let azure = Azure::signed_out(Options::entra(), WORK);
    for (credential, words) in [("AzureCliCredential", "az login"), ("AzureDeveloperCliCredential", "azd auth login")] {
        let given = ask(&azure, sdk, credential, 1, &json!({}));
        let why = given[0]["unavailable"].as_str().unwrap_or_else(|| panic!("{credential}: {given:?}"));
        assert!(why.contains(words), "{credential}: {why}");
    }
    // It moves on from the first to the second: both are named.
    let given = ask(&azure, sdk, "DefaultAzureCredential", 1, &json!({}));
    let why = given[0].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    assert!(why.contains("az login") && why.contains("azd auth login"), "{given:?}");
    assert_eq!(azure.scene.idp.requests().len(), 0);
}

#[test]
fn python_says_unavailable_when_signed_out() {
    say_unavailable_when_signed_out(AzureSdk::python());
}

pub(crate) fn name_a_tenant(sdk: Found, tenant: &Value) {
    let sdk = need!(sdk);
    let azure = Azure::new();
    for credential in &CREDENTIALS[..2] {
        assert_good(&ask(&azure, sdk, credential, 1, tenant)[0], OTHER_TENANT);
    }
    assert_eq!(azure.scene.idp.count("device"), 1);
}

#[test]
fn python_names_a_tenant() {
    name_a_tenant(AzureSdk::python(), &json!({ "tenant_id": OTHER_TENANT }));
}

pub(crate) fn challenge_by_claims(sdk: Found) {
    let sdk = need!(sdk);
    let azure = Azure::new();
    let before = ask(&azure, sdk, "AzureDeveloperCliCredential", 1, &json!({}));
    let challenge = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
    let options = json!({ "claims": challenge });
    let after = ask(&azure, sdk, "AzureDeveloperCliCredential", 1, &options);
    assert_good(&after[0], HOME_TENANT);
    assert_ne!(before[0]["token"], after[0]["token"]);
    let requests = azure.scene.idp.requests();
    assert_eq!(requests.last().unwrap().field("claims"), Some(challenge));
    // az cannot be told: the SDK itself says what to do.
    let refused = ask(&azure, sdk, "AzureCliCredential", 1, &options);
    let why = refused[0].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    assert!(why.contains("--claims-challenge"), "{why}");
}

#[test]
fn python_challenges_by_claims() {
    challenge_by_claims(AzureSdk::python());
}
