//! What a registry or a cloud hands out for a profile's token: AWS's keys of a role, Azure Container Registry's own token.

use std::process::Stdio;

use crate::common::{LAB, Scene};
use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;
use keyfob_test_support::registry::{Asks, Registry};
use serde_json::Value;

const ASKS: Asks = Asks { tls: true, challenge: "Basic" };
const ROLE: &str = "arn:aws:iam::123456789012:role/dev";
const KEYS: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
    <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s/+</SecretAccessKey><SessionToken>t==</SessionToken>\
    <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

/// A service, and a keyfob whose configuration ends with this; `HOST` in it stands for the service, `CA` for its certificate.
fn scene(options: Options, parent: &str, rest: &str) -> (Scene, Registry) {
    let service = Registry::start(ASKS, |_| false);
    let rest = rest.replace("HOST", service.host()).replace("CA", &service.ca_file().unwrap().display().to_string());
    let scene = Scene::with(options, &format!("default-profile = 'lab'\n{parent}\n{rest}"));
    (scene, service)
}

fn form(service: &Registry) -> Vec<(String, String)> {
    let forms = service.take_forms();
    let [form] = &forms[..] else { panic!("{forms:?}") };
    let decoded = |text: &str| text.replace("%3A", ":").replace("%2F", "/");
    form.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect()
}

/// A profile that has the role's keys for the ID token of another.
fn with_role() -> (Scene, Registry) {
    let dev = format!(
        "[profile.dev]\ngrant = 'aws-role'\nrole = '{ROLE}'\nsource = 'profile'\nsource-profile = 'lab'\n\
         token-endpoint = 'https://HOST/'\nca-file = 'CA'\n"
    );
    scene(Options::default(), LAB, &dev)
}

#[test]
fn aws_gives_keys_for_the_id_token_and_they_are_cached() {
    let (scene, sts) = with_role();
    scene.sign_in();
    sts.answer_form("/", "text/xml", KEYS);
    let aws = || {
        let output = scene.silently(["aws", "--profile", "dev"]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
        output.stdout
    };
    let keys = "{\"Version\":1,\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"s/+\",\"SessionToken\":\"t==\",\
                \"Expiration\":\"2099-01-01T00:00:00Z\"}\n";
    assert_eq!(aws(), keys);
    let sent = form(&sts);
    let (names, values): (Vec<_>, Vec<_>) = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
    assert_eq!(names, ["Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken"]);
    assert_eq!(values[..4], ["AssumeRoleWithWebIdentity", "2011-06-15", ROLE, "keyfob"]);
    let id_token = scene.silently(["token", "--profile", "lab", "--token-kind", "id"]).stdout;
    assert_eq!(values[4], id_token.trim());
    assert_eq!(aws(), keys);
    assert_eq!(sts.take_forms(), [""; 0], "the keys come from the cache");

    // Signed out, what was made from the sign-in is gone with it.
    assert_eq!(scene.silently(["logout", "lab"]).code, Some(0));
    let signed_out = scene.silently(["aws", "--profile", "dev"]);
    assert_eq!((signed_out.code, signed_out.stdout.as_str()), (Some(3), ""), "{signed_out:?}");
}

#[test]
fn what_aws_says_of_a_role_is_said_and_is_no_secret() {
    let (scene, sts) = with_role();
    scene.sign_in();
    sts.answer_form("/", "text/xml", "<R>nothing</R>");
    let output = scene.silently(["aws", "--profile", "dev"]);
    assert!(
        output.code == Some(5) && output.stderr.contains("AWS answered with something else than keys"),
        "{output:?}"
    );
}

#[test]
fn where_a_role_and_a_region_lead_is_checked() {
    let (scene, _) = scene(Options::default(), LAB, "");
    for region in ["eu.evil.example/", "EU", "a/b", "eu@x", "eu:1", "eu#", ".."] {
        let output = scene.silently(["aws", "--profile", "lab", "--role", ROLE, "--region", region]);
        assert!(output.code == Some(2) && output.stderr.contains("is not a region of AWS"), "{output:?}");
    }
    for role in ["dev", "arn:aws:iam::1:user/dev", "arn:aws:iam::1:role/a b"] {
        let output = scene.silently(["aws", "--profile", "lab", "--role", role]);
        assert!(output.code == Some(2) && output.stderr.contains("is not the address of a role"), "{output:?}");
    }
}

#[test]
fn azures_registry_gives_its_own_token_to_docker() {
    let azure = "[profile.lab]\nprovider = 'entra'\nauthority = 'ISSUER'\ntenant = 'contoso.com'\nclient-id = '04b07795-8ddb-461a-bbee-02f9e1bf7b46'\n";
    let acr = "[profile.acr]\ngrant = 'acr'\nregistry = 'HOST'\nsource = 'profile'\nsource-profile = 'lab'\nca-file = 'CA'\n\
               [hosts]\n'https://HOST' = { profile = 'acr', callers = ['docker'] }\n\
               'https://*.azurecr.example' = { profile = 'acr', callers = ['docker'] }\n";
    let (scene, registry) = scene(Options::entra(), azure, acr);
    scene.sign_in();
    let token = scene.idp.sign(&serde_json::json!({"exp": 4_102_444_800_i64, "jti": "registry"}));
    registry.answer_form("/oauth2/exchange", "application/json", format!("{{\"refresh_token\":\"{token}\"}}"));
    let docker = |host: &str| {
        let mut command = scene.command("never", ["docker", "get"]);
        Output::of(command.stdin(Stdio::piped()), host.as_bytes())
    };
    for nth in 0..2 {
        let output = docker(registry.host());
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
        let said: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(said["Username"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(said["Secret"], token.as_str());
        if nth == 1 {
            assert_eq!(registry.take_forms(), [""; 0], "it comes from the cache");
            continue;
        }
        let sent = form(&registry);
        let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["grant_type", "service", "tenant", "access_token"]);
        assert_eq!((sent[0].1.as_str(), sent[1].1.as_str()), ("access_token", registry.host()));
        let claims = crate::common::azure::claims(&sent[3].1);
        assert_eq!(claims["aud"], "https://containerregistry.azure.net");
    }
    // A pattern that stands for more than the profile's own registry gets nothing for the others.
    let other = docker("other.azurecr.example");
    assert!(other.code == Some(1) && other.stdout.contains("is for the registry 127.0.0.1:"), "{other:?}");
    assert!(!other.stdout.contains(&token));
}
