//! Machines that sign themselves in: what each grant and each source sends, to the letter, and what comes of the answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::common::machine::{Keys, answer, checked_claims, file};
use crate::common::{Caller, PROGRAM, now, token, wait_until};
use keyfob_test_support::lookalike::{Lookalike, Seen, json};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider, Reply};
use keyfob_test_support::{Keyfob, Output, jwt, need, skip};
use serde_json::json;

/// A token endpoint that answers every request by the same token.
fn endpoint() -> Lookalike {
    Lookalike::start(|_| json(200, &answer("t0ken")))
}

/// A keyfob with the profile `ci`, which asks at `/token` of this server.
fn machine(server: &Lookalike, says: &str) -> Keyfob {
    let origin = server.origin();
    let config = format!("[profile.ci]\ntoken-endpoint = '{origin}/token'\nclient-id = 'robot'\n{says}");
    Keyfob::new(PROGRAM).config(&config)
}

/// Runs `keyfob token`, through a proxy that answers nobody: nothing here may go through it.
fn run(keyfob: &Keyfob) -> Output {
    let mut command = keyfob.command(["token"]);
    command
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .env("KEYFOB_PROMPT", "never");
    Output::of(&mut command, b"")
}

/// The form of the one request that was made.
#[track_caller]
fn the_one(server: &Lookalike) -> Seen {
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    seen.into_iter().next().unwrap()
}

#[track_caller]
fn assert_form(seen: &Seen, expected: &[(&str, &str)]) {
    let form = seen.form();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, expected);
}

/// The failure of a run, as it is printed.
#[track_caller]
fn failure(output: &Output) -> (Option<i32>, &str) {
    assert_eq!(output.stdout, "");
    (output.code, output.stderr.as_str())
}

#[test]
fn client_credentials_by_a_secret() {
    let server = endpoint();
    let secret = "client-secret = 's3 cret'\ngrant = 'client-credentials'\nscopes = ['a', 'b']\naudience = 'x'\n\
                  extra = { connector_id = 'k' }\n";
    assert_eq!(token(&run(&machine(&server, secret))), "t0ken");
    let seen = the_one(&server);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/token"));
    assert_eq!(seen.header("authorization"), Some("Basic cm9ib3Q6czMrY3JldA=="));
    let form = [("client_id", "robot"), ("grant_type", "client_credentials"), ("scope", "a b"), ("audience", "x")];
    assert_form(&seen, &[&form[..], &[("connector_id", "k")]].concat());

    let server = endpoint();
    let post =
        "client-secret = 's3 cret'\ngrant = 'client-credentials'\ntoken-endpoint-auth-method = 'client_secret_post'\n";
    assert_eq!(token(&run(&machine(&server, post))), "t0ken");
    let seen = the_one(&server);
    assert_eq!(seen.header("authorization"), None);
    assert_form(&seen, &[("client_id", "robot"), ("client_secret", "s3 cret"), ("grant_type", "client_credentials")]);
}

/// The audience is what the profile says; each assertion has a number of its own.
#[test]
fn client_credentials_by_a_key() {
    let (rsa, ec, [p384, ed25519]) = (need!(Keys::rsa()), need!(Keys::ec()), need!(Keys::rare()));
    ec.openssl(&[&["ec", "-in", "key.pem", "-out", "sec1.pem"]]).unwrap();
    rsa.openssl(&[&["rsa", "-traditional", "-in", "key.pem", "-out", "pkcs1.pem"]]).unwrap();
    for (keys, name, algorithm) in [
        (&rsa, "key.pem", "RS256"),
        (&rsa, "pkcs1.pem", "RS256"),
        (&ec, "key.pem", "ES256"),
        (&ec, "sec1.pem", "ES256"),
        (&p384, "key.pem", "ES384"),
        (&ed25519, "key.pem", "EdDSA"),
    ] {
        let server = endpoint();
        let path = keys.path(name);
        let says =
            format!("grant = 'client-credentials'\nclient-key-file = '{}'\nclient-key-id = 'k1'\n", path.display());
        let keyfob = machine(&server, &says);
        assert_eq!(token(&run(&keyfob)), "t0ken");
        assert_eq!(Output::of(&mut keyfob.command(["login", "ci"]), b"").code, Some(0));
        let [one, other] = &server.seen()[..] else { panic!("two requests") };
        assert_eq!(one.header("authorization"), None);
        let (header, claims) = checked_claims(one);
        assert_eq!(header, json!({ "alg": algorithm, "kid": "k1", "typ": "JWT" }));
        let audience = format!("{}/token", server.origin());
        assert_eq!(claims, json!({ "iss": "robot", "sub": "robot", "aud": audience }));
        let assertions = [one, other].map(|seen| seen.field("client_assertion").unwrap());
        assert!(assertions.iter().all(|assertion| keys.signed(assertion)) && assertions[0] != assertions[1]);
    }
}

#[test]
fn client_credentials_by_a_certificate_as_entra_wants_it() {
    let keys = need!(Keys::rsa());
    let (thumbprint, der) = keys.certificate();
    let authority = need!(Keys::rsa());
    let chain = [&authority, &keys].map(|keys| fs::read_to_string(keys.path("cert.pem")).unwrap()).concat();
    for (certificates, x5c) in [
        (fs::read_to_string(keys.path("cert.pem")).unwrap(), json!(null)),
        // The key's own comes first, wherever it stands.
        (chain, json!([der, authority.certificate().1])),
    ] {
        let server = endpoint();
        let both = fs::read_to_string(keys.path("key.pem")).unwrap() + &certificates;
        let file = file(keys.folder.path(), "both.pem", &both);
        let keyfob = Keyfob::new(PROGRAM).config(&format!(
            "[profile.ci]\nprovider = 'entra'\nauthority = '{}'\ntenant = 'contoso.com'\nclient-id = 'robot'\n\
             scopes = ['https://vault.azure.net/.default']\ngrant = 'client-credentials'\nclient-certificate-file = '{file}'\n",
            server.origin()
        ));
        assert_eq!(token(&run(&keyfob)), "t0ken");
        let seen = the_one(&server);
        assert_eq!(seen.target, "/contoso.com/oauth2/v2.0/token");
        assert_eq!(seen.field("scope").as_deref(), Some("https://vault.azure.net/.default"));
        let (header, claims) = checked_claims(&seen);
        let mut expected = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        if !x5c.is_null() {
            expected["x5c"] = x5c;
        }
        assert_eq!(header, expected);
        let audience = format!("{}/contoso.com/oauth2/v2.0/token", server.origin());
        assert_eq!(claims, json!({ "iss": "robot", "sub": "robot", "aud": audience }));
        assert!(keys.signed(&seen.field("client_assertion").unwrap()));
    }
}

#[test]
fn a_key_that_cannot_be_used_gets_the_command_that_makes_one() {
    let keys = need!(Keys::rsa());
    keys.openssl(&[&["pkey", "-in", "key.pem", "-aes256", "-passout", "pass:p", "-out", "locked.pem"]]).unwrap();
    keys.openssl(&[&[
        "pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-passout", "pass:p", "-out", "a.pfx",
    ]])
    .unwrap();
    let (other, unknown) = (need!(Keys::rsa()), need!(Keys::new(&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"])));
    let locked = keys.path("locked.pem");
    for (says, error) in [
        (
            format!("client-key-file = '{}'", locked.display()),
            format!(
                "the client key {0} is encrypted, and nobody is here to type its password\nhint: openssl pkey -in {0} -out key.pem",
                locked.display()
            ),
        ),
        (
            format!("client-key-file = '{}'", keys.path("a.pfx").display()),
            format!(
                "the client key {0} is not PEM\nhint: openssl pkcs12 -nodes -in {0} -out key.pem",
                keys.path("a.pfx").display()
            ),
        ),
        (
            format!("client-key-file = '{}'", unknown.path("key.pem").display()),
            format!(
                "the client key {} is of a kind that cannot be used\nhint: RSA of 2048 bits or more, P-256, P-384, or Ed25519",
                unknown.path("key.pem").display()
            ),
        ),
        (
            format!("client-key-file = '{}'", keys.path("cert.pem").display()),
            format!(
                "the client key {} holds no private key\nhint: it must be PEM: `-----BEGIN PRIVATE KEY-----`",
                keys.path("cert.pem").display()
            ),
        ),
        (
            format!(
                "client-key-file = '{}'\nclient-certificate-file = '{}'",
                keys.path("key.pem").display(),
                other.path("cert.pem").display()
            ),
            format!(
                "the client certificate {} is another key's\nhint: it must be PEM, of the key that `client-key-file` names",
                other.path("cert.pem").display()
            ),
        ),
    ] {
        let server = endpoint();
        let output = run(&machine(&server, &format!("grant = 'client-credentials'\n{says}\n")));
        let error = format!("error: could not get a token for ci: {error}\n");
        assert_eq!(failure(&output), (Some(2), error.as_str()));
        assert_eq!(server.seen(), []);
    }
}

/// On a machine that jobs share, the client's id is no secret: what it authenticates with decides whose token it is.
#[test]
fn a_token_belongs_to_the_secret_or_key_that_brought_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (Arc::new(need!(Keys::rsa())), need!(Keys::rsa()));
    let [own_key, other_key] = [&*own, &other].map(|keys| fs::read_to_string(keys.path("key.pem")).unwrap());
    for (key, right, wrong) in
        [("client-secret-file", "right", "wrong"), ("client-key-file", own_key.as_str(), other_key.as_str())]
    {
        let own = Arc::clone(&own);
        let server = Lookalike::start(move |seen| {
            let by_secret = seen.header("authorization") == Some("Basic cm9ib3Q6cmlnaHQ=");
            let is_right = by_secret || seen.field("client_assertion").is_some_and(|assertion| own.signed(&assertion));
            if is_right { json(200, &answer("t0ken")) } else { json(401, &json!({ "error": "invalid_client" })) }
        });
        let place = file(folder.path(), key, right);
        let keyfob = machine(&server, &format!("grant = 'client-credentials'\n{key} = '{place}'\n"));
        let after = |content: &str| {
            fs::write(&place, content).unwrap();
            (run(&keyfob).code, server.seen().len())
        };
        assert_eq!([right, wrong, right].map(after), [(Some(0), 1), (Some(1), 2), (Some(0), 3)]);
    }
}

/// Each source with its own keys. The token of each is `from-` and its name.
const SOURCES: [(&str, &str); 7] = [
    ("file", "source-file = 'PLACE'"),
    ("env", "source-env = 'JOB_TOKEN'"),
    ("command", "source-command = ['echo', 'from-command']"),
    ("github", "source-audience = 'a'"),
    ("azure-pipelines", "service-connection = 's'"),
    ("gcp", "source-audience = 'a'"),
    ("profile", "source-profile = 'parent'"),
];

/// A credential of the client: what the profile says, what is sent in the header and in the form, and the key, with the
/// header of the assertions that it signs.
struct Credential<'k> {
    says: String,
    header: Option<&'static str>,
    secret: Option<&'static str>,
    key: Option<(&'k Keys, serde_json::Value)>,
}

/// Everything by which a client can authenticate.
fn credentials<'k>(rsa: &'k Keys, ec: &'k Keys) -> [Credential<'k>; 5] {
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| fs::read_to_string(rsa.path(name)).unwrap());
    let both = file(rsa.folder.path(), "both.pem", &(key + &certificate));
    let by_secret = |more: &str, header, secret| {
        let says = format!("client-secret = 's3 cret'\n{more}");
        Credential { says, header, secret, key: None }
    };
    let by_key = |keys, name: &str, file: &str, signed| {
        let says = format!("{name} = '{file}'\n");
        Credential { says, header: None, secret: None, key: Some((keys, signed)) }
    };
    let [rsa_key, ec_key] = [rsa, ec].map(|keys| keys.path("key.pem").display().to_string());
    let thumbprint = rsa.certificate().0;
    [
        by_secret("", Some("Basic cm9ib3Q6czMrY3JldA=="), None),
        by_secret("token-endpoint-auth-method = 'client_secret_post'\n", None, Some("s3 cret")),
        by_key(rsa, "client-key-file", &rsa_key, json!({ "alg": "RS256", "typ": "JWT" })),
        by_key(ec, "client-key-file", &ec_key, json!({ "alg": "ES256", "typ": "JWT" })),
        by_key(rsa, "client-certificate-file", &both, json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint })),
    ]
}

/// The form of a request to `/token`, to the letter, by this grant, with this source's token and this credential.
#[track_caller]
fn assert_sent(seen: &Seen, origin: &str, grant: &str, source: Option<&str>, credential: Option<&Credential<'_>>) {
    const ASSERTION: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let proof = source.map(|source| format!("from-{source}"));
    let mut form = vec![("client_id", "robot")];
    form.extend(credential.and_then(|credential| Some(("client_secret", credential.secret?))));
    match (grant, &proof) {
        ("client-credentials", None) => form.push(("grant_type", "client_credentials")),
        ("client-credentials", Some(proof)) => {
            form.extend([("grant_type", "client_credentials"), ASSERTION, ("client_assertion", proof)]);
        }
        ("jwt-bearer", Some(proof)) => {
            form.extend([("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", proof)]);
        }
        (_, proof) => {
            form.push(("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"));
            form.push(("subject_token", proof.as_deref().unwrap()));
            let of_profile = source == Some("profile");
            form.push(("subject_token_type", if of_profile { ACCESS_TOKEN } else { JWT }));
        }
    }
    let assertion = seen.field("client_assertion").unwrap_or_default();
    if let Some((keys, header)) = credential.and_then(|credential| credential.key.as_ref()) {
        let claims = json!({ "iss": "robot", "sub": "robot", "aud": format!("{origin}/token") });
        assert_eq!(checked_claims(seen), (header.clone(), claims));
        assert!(keys.signed(&assertion));
        form.extend([ASSERTION, ("client_assertion", &assertion)]);
    }
    assert_form(seen, &form);
    let header = credential.and_then(|credential| credential.header);
    assert_eq!((seen.method.as_str(), seen.header("authorization")), ("POST", header));
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Every grant with every source, and with everything by which the client can authenticate.
#[test]
fn each_grant_takes_each_source_and_each_credential_of_the_client() {
    let (rsa, ec) = (need!(Keys::rsa()), need!(Keys::ec()));
    let place = file(rsa.folder.path(), "token", "from-file");
    let server = Lookalike::start(|seen| match seen.target.as_str() {
        "/token" => json(200, &answer("t0ken")),
        target if target.starts_with("/computeMetadata/") => {
            keyfob_test_support::provider::Answer::new(200, "text/html", "from-gcp").header("Metadata-Flavor", "Google")
        }
        _ => json(200, &json!({ "value": "from-github", "oidcToken": "from-azure-pipelines" })),
    });
    let origin = server.origin();
    // The requests that a profile makes for the token.
    let asked = |says: &str, expected: &str| {
        let parent = "[profile.parent]\ngrant = 'none'\nsource = 'env'\nsource-env = 'PARENT'\n";
        let variables = [
            ("JOB_TOKEN", "from-env".to_owned()),
            ("PARENT", "from-profile".to_owned()),
            ("KEYFOB_PROFILE", "ci".to_owned()),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{origin}/job")),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "r".to_owned()),
            ("SYSTEM_OIDCREQUESTURI", format!("{origin}/job")),
            ("SYSTEM_ACCESSTOKEN", "s".to_owned()),
            ("GCE_METADATA_HOST", origin.trim_start_matches("http://").to_owned()),
        ];
        let keyfob = machine(&server, &format!("{says}{parent}").replace("PLACE", &place));
        let keyfob = variables.iter().fold(keyfob, |keyfob, (name, value)| keyfob.env(name, value));
        let before = server.seen().len();
        assert_eq!(token(&run(&keyfob)), expected, "{says}");
        server.seen().split_off(before)
    };
    let by_server = |source| usize::from(["github", "azure-pipelines", "gcp"].contains(&source));
    let credentials = credentials(&rsa, &ec);
    let each = || credentials.iter().map(Some);
    for credential in each().flatten() {
        let seen = asked(&format!("grant = 'client-credentials'\n{}", credential.says), "t0ken");
        assert_eq!(seen.len(), 1);
        assert_sent(&seen[0], origin, "client-credentials", None, Some(credential));
    }
    for (source, keys) in SOURCES {
        let says = |grant: &str| format!("grant = '{grant}'\nsource = '{source}'\n{keys}\n");
        assert_eq!(asked(&says("none"), &format!("from-{source}")).len(), by_server(source));
        let alone = [("client-credentials", None), ("token-exchange", None), ("jwt-bearer", None)];
        let by_both = ["token-exchange", "jwt-bearer"].into_iter().flat_map(|grant| each().map(move |by| (grant, by)));
        for (grant, credential) in alone.into_iter().chain(by_both) {
            let credential_says = credential.map_or("", |credential| &credential.says);
            let seen = asked(&(says(grant) + credential_says), "t0ken");
            assert_eq!(seen.len(), 1 + by_server(source));
            assert_sent(&seen[seen.len() - 1], origin, grant, Some(source), credential);
        }
    }
}

/// A file is read anew for each request; who it is decides whose token it is, not which of its tokens.
#[test]
fn a_federated_token_of_a_file_stands_for_the_client() {
    let server = endpoint();
    let folder = tempfile::tempdir().unwrap();
    let pod = |subject: &str, number: u32| {
        jwt::unsigned(&json!({ "iss": "https://k8s.example", "sub": subject, "aud": "api://x", "jti": number }))
    };
    let place = file(folder.path(), "token", &format!("{}\n", pod("pod-a", 1)));
    let keyfob = machine(&server, &format!("grant = 'client-credentials'\nsource = 'file'\nsource-file = '{place}'\n"));
    assert_eq!(token(&run(&keyfob)), "t0ken");
    let form = [
        ("client_id", "robot"),
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &pod("pod-a", 1)),
    ];
    assert_form(&the_one(&server), &form);
    fs::write(&place, pod("pod-a", 2)).unwrap();
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_eq!(server.seen().len(), 1, "the same pod");
    fs::write(&place, pod("pod-b", 3)).unwrap();
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_eq!(server.seen().last().unwrap().field("client_assertion"), Some(pod("pod-b", 3)));
    // And back again: what pod-b left is not pod-a's.
    fs::write(&place, pod("pod-a", 4)).unwrap();
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_eq!(server.seen().len(), 3);
    let error = format!(
        "error: could not get a token for ci: could not read the token file {place}: No such file or directory (os error 2)\n"
    );
    fs::remove_file(&place).unwrap();
    assert_eq!(failure(&run(&keyfob)), (Some(2), error.as_str()));
}

#[test]
fn a_token_of_a_variable_is_exchanged() {
    let server = endpoint();
    let says =
        "grant = 'token-exchange'\nsource = 'env'\nsource-env = 'JOB_TOKEN'\naudience = 'cluster'\nscopes = ['s']\n";
    let keyfob = machine(&server, says).env("JOB_TOKEN", "job-token");
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_form(
        &the_one(&server),
        &[
            ("client_id", "robot"),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("scope", "s"),
            ("audience", "cluster"),
            ("subject_token", "job-token"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ],
    );
    let mut other_job = keyfob.command(["token"]);
    other_job.env("JOB_TOKEN", "another-job's-token");
    assert_eq!(token(&Output::of(&mut other_job, b"")), "t0ken");
    assert_eq!(server.seen().len(), 2, "another job gets a token of its own");
    let mut without = keyfob.command(["token"]);
    without.env_remove("JOB_TOKEN");
    let output = Output::of(&mut without, b"");
    let error = "error: could not get a token for ci: the variable JOB_TOKEN holds no token\nhint: the CI job has to ask for it; see docs/machines.md, \
                 or the CI's own documentation of OpenID Connect\n";
    assert_eq!(failure(&output), (Some(2), error));
}

/// What is exchanged for an ID token comes as the access token (RFC 8693, section 2.2.1).
#[test]
fn an_exchange_may_be_for_an_id_token_and_of_any_type() {
    let server = Lookalike::start(|_| {
        let issued = "urn:ietf:params:oauth:token-type:id_token";
        json(200, &json!({ "access_token": "an-id-token", "issued_token_type": issued, "token_type": "N_A" }))
    });
    let says = "grant = 'token-exchange'\nsource = 'env'\nsource-env = 'JOB_TOKEN'\ntoken-kind = 'id'\n\
                subject-token-type = 'urn:example:own'\n";
    assert_eq!(token(&run(&machine(&server, says).env("JOB_TOKEN", "job-token"))), "an-id-token");
    let seen = the_one(&server);
    assert_eq!(seen.field("subject_token_type").as_deref(), Some("urn:example:own"));
    assert_eq!(seen.field("requested_token_type").as_deref(), Some("urn:ietf:params:oauth:token-type:id_token"));
}

#[test]
fn what_a_program_prints_is_an_assertion() {
    let server = endpoint();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("print token");
    fs::write(&program, "#!/bin/sh\necho \"  $1|$(pwd)|$KEYFOB_PROMPT \"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let says = |words: &str| format!("grant = 'jwt-bearer'\nsource = 'command'\nsource-command = [{words}]\n");
    let link = folder.path().join("print-token");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    let keyfob = machine(&server, &says(&format!("'{}', '$HOME;x'", link.display())));
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_form(
        &the_one(&server),
        &[
            ("client_id", "robot"),
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", "$HOME;x|/|never"),
        ],
    );
    for (words, error) in [
        (
            "'sh', '-c', 'echo s3cret; echo why >&2; exit 3'",
            "could not get a token for ci: `source-command`: sh failed: why",
        ),
        (
            "'no-such-program'",
            "could not get a token for ci: `source-command`: there is no program no-such-program on PATH",
        ),
        ("'sh', '-c', 'echo a b'", "could not get a token for ci: what \"sh\" prints is not a token"),
        ("'true'", "could not get a token for ci: what \"true\" prints is empty"),
    ] {
        let output = run(&machine(&server, &says(words)));
        let (_, stderr) = failure(&output);
        assert_eq!(stderr.lines().next(), Some(format!("error: {error}").as_str()));
    }
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn github_actions_is_asked_as_it_wants() {
    let job =
        jwt::unsigned(&json!({ "iss": "https://token.actions.githubusercontent.com", "sub": "repo:o/r", "aud": "a" }));
    let value = job.clone();
    let server = Lookalike::start(move |seen| match seen.target.as_str() {
        "/token" => json(200, &answer("t0ken")),
        _ => json(200, &json!({ "count": 7, "value": value })),
    });
    let says = "grant = 'token-exchange'\nsource = 'github'\nsource-audience = 'api://x y'\n";
    let keyfob = machine(&server, says)
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/job/1?api-version=2.0&audience=old", server.origin()))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token-1");
    assert_eq!(token(&run(&keyfob)), "t0ken");
    let [asked, exchanged] = &server.seen()[..] else { panic!("two requests") };
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/job/1?api-version=2.0&audience=api%3A%2F%2Fx+y")
    );
    assert_eq!(asked.header("authorization"), Some("bearer request-token-1"));
    assert_eq!(asked.header("accept"), Some("application/json; api-version=2.0"));
    assert_eq!(exchanged.field("subject_token"), Some(job));
    // Cached for this job, and for no other.
    assert_eq!(token(&run(&keyfob)), "t0ken");
    assert_eq!(server.seen().len(), 2);
    let mut other = keyfob.command(["token"]);
    other.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token-2");
    assert_eq!(token(&Output::of(&mut other, b"")), "t0ken");
    assert_eq!(server.seen().len(), 4);
    let mut outside = keyfob.command(["token"]);
    outside.env_remove("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    let output = Output::of(&mut outside, b"");
    let error = "error: could not get a token for ci: the variable ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set\nhint: give the job `permissions: id-token: \
                 write`; there is no token outside of a job, nor for a pull request from a fork\n";
    assert_eq!(failure(&output), (Some(2), error));
}

#[test]
fn azure_pipelines_is_asked_as_it_wants() {
    let server = Lookalike::start(|seen| match seen.target.as_str() {
        "/token" => json(200, &answer("t0ken")),
        "/oidctoken?api-version=7.1&serviceConnectionId=s-1" => json(200, &json!({ "oidcToken": "pipeline-token" })),
        _ => keyfob_test_support::provider::Answer::new(302, "text/html", "<html>")
            .header("Location", "https://x.example/"),
    });
    let says = |connection: &str| {
        format!("grant = 'client-credentials'\nsource = 'azure-pipelines'\nservice-connection = '{connection}'\n")
    };
    let within = |keyfob: Keyfob| {
        let address = format!("{}/oidctoken/", server.origin());
        keyfob.env("SYSTEM_OIDCREQUESTURI", address).env("SYSTEM_ACCESSTOKEN", "system-access-token")
    };
    assert_eq!(token(&run(&within(machine(&server, &says("s-1"))))), "t0ken");
    let [asked, used] = &server.seen()[..] else { panic!("two requests") };
    assert_eq!((asked.method.as_str(), asked.body.as_str()), ("POST", ""));
    for (name, value) in [
        ("authorization", "Bearer system-access-token"),
        ("content-type", "application/json"),
        ("x-tfs-fedauthredirect", "Suppress"),
        ("content-length", "0"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert_eq!(used.field("client_assertion").as_deref(), Some("pipeline-token"));
    let output = run(&within(machine(&server, &says("s-2"))));
    let (code, stderr) = failure(&output);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/oidctoken/ gave no token: it redirects to https://x.example/"), "{stderr}");
    assert!(
        stderr.contains("hint: map it into the step: `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`"),
        "{stderr}"
    );
}

#[test]
fn google_clouds_metadata_server_is_asked_as_it_wants() {
    let identity = jwt::unsigned(&json!({ "iss": "https://accounts.google.com", "sub": "1", "exp": now() + 3600 }));
    let body = identity.clone();
    let server = Lookalike::start(move |seen| {
        let plain = keyfob_test_support::provider::Answer::new(200, "text/html", body.clone());
        if seen.target.contains("audience=fake") { plain } else { plain.header("Metadata-Flavor", "Google") }
    });
    let config = |audience: &str| {
        Keyfob::new(PROGRAM)
            .config(&format!("[profile.ci]\ngrant = 'none'\nsource = 'gcp'\nsource-audience = '{audience}'\n"))
            .env("GCE_METADATA_HOST", server.origin().trim_start_matches("http://"))
    };
    let keyfob = config("https://k8s.example");
    assert_eq!(token(&run(&keyfob)), identity);
    let seen = the_one(&server);
    let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
    assert_eq!(seen.target, format!("{path}?audience=https%3A%2F%2Fk8s.example&format=full"));
    assert_eq!(seen.header("metadata-flavor"), Some("Google"));
    let kubernetes = Output::of(&mut keyfob.command(["kubernetes"]), b"");
    assert!(kubernetes.stdout.contains(&identity), "{kubernetes:?}");
    assert_eq!(server.seen().len(), 1);
    let output = run(&config("fake"));
    assert!(failure(&output).1.contains("is not Google's: its answer has no `Metadata-Flavor`"), "{output:?}");
    let mut far = keyfob.command(["token"]);
    far.env("GCE_METADATA_HOST", "metadata.evil.example").env("KEYFOB_CACHE_DIR", keyfob.home().join("other"));
    let output = Output::of(&mut far, b"");
    let error = "error: could not get a token for ci: the address in GCE_METADATA_HOST is not https (plain http is allowed \
                 only on loopback)\nhint: plain http is for loopback and 169.254.x.x, written as digits\n";
    assert_eq!(failure(&output), (Some(2), error));
}

/// A person signs in once; each tool gets a token of its own audience made from that.
const CLUSTER: &str = "[profile.person]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n[profile.cluster]\ntoken-endpoint = 'SERVER/token'\n\
                       client-id = 'broker'\nclient-secret = 's3cret-of-broker'\ngrant = 'token-exchange'\nsource = 'profile'\n\
                       source-profile = 'person'\naudience = 'cluster-1'\n";

struct Derived {
    idp: Provider,
    server: Lookalike,
    keyfob: Keyfob,
}

impl Derived {
    fn new() -> Self {
        let idp = Provider::start(Options::default());
        let server = endpoint();
        let config = CLUSTER.replace("ISSUER", idp.issuer()).replace("SERVER", server.origin());
        Self { keyfob: Keyfob::new(PROGRAM).config(&config), idp, server }
    }

    fn run(&self, prompt: &str, words: &[&str]) -> Output {
        Output::of(self.keyfob.command(words).env("KEYFOB_PROMPT", prompt), b"")
    }

    /// The profile `cluster`'s token, from the cache or not.
    fn cluster(&self) -> Output {
        self.run("never", &["kubernetes", "-p", "cluster"])
    }
}

#[test]
fn one_sign_in_gives_each_cluster_a_token_of_its_own_audience() {
    let scene = Derived::new();
    let without = scene.cluster();
    assert_eq!(without.code, Some(3));
    assert!(without.stderr.contains(" login person\n"), "{without:?}");
    // The parent's sign-in is prompted for in the name of the program that asked.
    scene.idp.auto(Auto::Approve);
    let asked = scene.run("always", &["kubernetes", "-p", "cluster"]);
    assert!(asked.stdout.contains("\"token\":\"t0ken\"") && asked.stderr.contains("Enter code"), "{asked:?}");
    let access = token(&scene.run("never", &["token", "-p", "person"]));
    let seen = the_one(&scene.server);
    assert_eq!(seen.header("authorization"), Some("Basic YnJva2VyOnMzY3JldC1vZi1icm9rZXI="));
    assert_form(
        &seen,
        &[
            ("client_id", "broker"),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", "cluster-1"),
            ("subject_token", &access),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ],
    );
    assert!(scene.cluster().stdout.contains("t0ken"));
    assert_eq!((scene.server.seen().len(), scene.idp.count("token:refresh_token")), (1, 0), "from the cache");

    // Signing out of the one ends the other.
    let out = scene.run("never", &["logout", "person"]);
    assert!(out.stdout.contains("Signed out of person") && out.stdout.contains("Signed out of cluster"), "{out:?}");
    assert_eq!(scene.cluster().code, Some(3));

    // And so does another person's sign-in, whatever is left of it.
    scene.run("always", &["login", "person"]);
    assert!(scene.cluster().stdout.contains("t0ken"));
    scene.run("always", &["login", "person", "--force"]);
    assert!(scene.cluster().stdout.contains("t0ken"));
    assert_eq!(scene.server.seen().len(), 3);
}

/// What forbids a prompt to the program that asks forbids one for the sign-in that its token is made from.
#[test]
fn a_parents_sign_in_is_not_prompted_for_where_the_program_that_asks_may_not() {
    let scene = Derived::new();
    let config = fs::read_to_string(scene.keyfob.config_file()).unwrap();
    fs::write(scene.keyfob.config_file(), format!("{config}\n[hosts]\n'https://git.example' = 'cluster'\n")).unwrap();
    scene.idp.auto(Auto::Approve);
    let mut git = scene.keyfob.command(["git", "get"]);
    git.env("KEYFOB_PROMPT", "always").env("GIT_CONFIG_COUNT", "1").stdin(Stdio::piped());
    git.env("GIT_CONFIG_KEY_0", "credential.interactive").env("GIT_CONFIG_VALUE_0", "false");
    let output = Output::of(&mut git, b"protocol=https\nhost=git.example\n\n");
    assert_eq!(scene.idp.count("device"), 0, "{output:?}");
    assert!(output.stderr.contains("credential.interactive in git's configuration forbids a prompt"), "{output:?}");
}

/// A session that cannot be used is no reason to leave the others that come from the same sign-in.
#[test]
fn signing_out_goes_on_past_what_cannot_be_used_of_what_was_derived() {
    let scene = Derived::new();
    let config = fs::read_to_string(scene.keyfob.config_file()).unwrap();
    let second = config[config.find("[profile.cluster]").unwrap()..].replace("cluster]", "second]");
    let second = second.replace("cluster-1", "cluster-2");
    fs::write(scene.keyfob.config_file(), format!("{config}\n{second}")).unwrap();
    scene.idp.auto(Auto::Approve);
    assert_eq!(scene.run("always", &["login", "person"]).code, Some(0));
    let before = files(&scene);
    assert!(scene.cluster().stdout.contains("t0ken"));
    let first: Vec<_> = files(&scene).into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(token(&scene.run("never", &["token", "-p", "second"])), "t0ken");
    fs::set_permissions(&first[0], fs::Permissions::from_mode(0o644)).unwrap();
    let out = scene.run("never", &["logout", "person"]);
    assert!(out.stdout.contains("Signed out of person") && out.stdout.contains("Signed out of second"), "{out:?}");
    assert!(out.code == Some(1) && out.stderr.starts_with("warning: could not use "), "{out:?}");
    assert_eq!(files(&scene), first);
}

/// The sessions' files.
fn files(scene: &Derived) -> Vec<PathBuf> {
    let files = fs::read_dir(scene.keyfob.cache_dir()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "json")).collect()
}

/// Fifty programs start at once, as a pipeline does.
#[test]
fn fifty_callers_of_a_machine_make_one_request() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let opened = Arc::clone(&gate);
    let server = Lookalike::start(move |_| {
        let (open, changed) = &*opened;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        json(200, &answer("t0ken"))
    });
    let keyfob = machine(&server, "grant = 'client-credentials'\nclient-secret = 's'\n");
    let callers: Vec<_> = (0..50).map(|_| Caller::start(keyfob.command(["token"]).env("CI", "true"))).collect();
    wait_until("the request", || !server.seen().is_empty());
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for caller in callers {
        assert_eq!(token(&caller.finish()), "t0ken");
    }
    assert_eq!(server.seen().len(), 1);
}

/// Its provider fails: the old token serves to its end, then every caller fails at once, and the provider is left alone.
#[test]
fn the_old_token_serves_while_the_provider_is_down() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let server = Lookalike::start(move |_| {
        let trouble = json!({ "error": "temporarily_unavailable" });
        let down = is_down.load(Ordering::SeqCst);
        if down { json(503, &trouble).header("Retry-After", "60") } else { json(200, &answer("t0ken")) }
    });
    let keyfob = machine(&server, "grant = 'client-credentials'\nclient-secret = 's'\n");
    assert_eq!(token(&run(&keyfob)), "t0ken");
    let mut files = fs::read_dir(keyfob.cache_dir()).unwrap().map(|entry| entry.unwrap().path());
    let session = files.find(|path| path.extension().is_some_and(|kind| kind == "json")).unwrap();
    let leave = |seconds: i64| {
        let mut said: serde_json::Value = serde_json::from_slice(&fs::read(&session).unwrap()).unwrap();
        said["tokens"][0]["expires_at"] = json!(now() + seconds);
        fs::write(&session, said.to_string()).unwrap();
    };
    down.store(true, Ordering::SeqCst);
    leave(100);
    for _ in 0..3 {
        assert_eq!(token(&run(&keyfob)), "t0ken");
    }
    assert_eq!(server.seen().len(), 2, "one more, then it is left alone");
    leave(-1);
    let output = run(&keyfob);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("temporarily_unavailable (status 503); it is not asked again for "), "{output:?}");
    assert_eq!(server.seen().len(), 2);
    // A person at the keyboard may ask at once; there is nothing to sign in to.
    let login = Output::of(keyfob.command(["login"]).env("KEYFOB_PROMPT", "always"), b"");
    assert_eq!((login.code, server.seen().len()), (Some(5), 3), "{login:?}");
    down.store(false, Ordering::SeqCst);
    let login = Output::of(keyfob.command(["login", "--force"]).env("KEYFOB_PROMPT", "always"), b"");
    assert!(login.stdout.starts_with("Signed in to ci; the token is good until "), "{login:?}");
}

/// What the machine's owner has to tell the provider is said.
#[test]
fn a_refusal_says_what_the_provider_was_shown() {
    let server = Lookalike::start(|_| {
        let description = "AADSTS700213: No matching federated identity record found for presented assertion subject.";
        let error = json!({ "error": "invalid_client", "error_description": description, "error_codes": [700_213] });
        json(401, &error)
    });
    let job = jwt::unsigned(&json!({ "iss": "https://ci.example", "sub": "repo:o/r:ref", "aud": ["a", "b"] }));
    let keyfob = Keyfob::new(PROGRAM)
        .config(&format!(
            "[profile.ci]\nprovider = 'entra'\nauthority = '{}'\ntenant = 't'\nclient-id = 'robot'\n\
             grant = 'client-credentials'\nsource = 'env'\nsource-env = 'JOB_TOKEN'\n",
            server.origin()
        ))
        .env("JOB_TOKEN", &job);
    let output = run(&keyfob);
    let (code, stderr) = failure(&output);
    assert_eq!(code, Some(1));
    let hint = "\nhint: add a federated credential with this token's issuer, subject and audience to the application; it was \
                shown a token of the issuer \"https://ci.example\", subject \"repo:o/r:ref\", audience \"a\", \"b\"\n";
    assert!(stderr.ends_with(hint), "{stderr}");
    assert!(!stderr.contains(&job));
}

#[test]
fn status_and_doctor_know_a_machine() {
    let server = endpoint();
    let keyfob = machine(&server, "grant = 'client-credentials'\nclient-secret = 's'\n");
    let status = |keyfob: &Keyfob| Output::of(&mut keyfob.command(["status"]), b"").stdout;
    assert!(status(&keyfob).starts_with("ci: signs itself in; no token was asked for yet\n"));
    assert_eq!(token(&run(&keyfob)), "t0ken");
    let said = status(&keyfob);
    assert!(
        said.contains("  cached    access token, good for ") && !said.contains('('),
        "no scopes, no tenant: {said}"
    );
    assert!(said.starts_with("ci: signs itself in\n") && said.contains("  renewal   silent\n"), "{said}");
    let doctor = Output::of(&mut keyfob.command(["doctor"]), b"").stdout;
    assert!(doctor.contains(&format!("this machine asks {}/token for tokens", server.origin())), "{doctor}");
    assert!(doctor.contains("ok     session ci: signs itself in\n"), "{doctor}");
}

/// As in a container whose file system is read-only.
#[test]
fn where_nothing_is_kept_a_machine_asks_each_time_and_a_person_cannot_sign_in() {
    let server = endpoint();
    let keyfob = machine(&server, "grant = 'client-credentials'\nclient-secret = 's'\n");
    keyfob.write_config(&format!("store = 'none'\n{}", fs::read_to_string(keyfob.config_file()).unwrap()));
    for asked in 1..=2 {
        assert_eq!(token(&run(&keyfob)), "t0ken");
        assert_eq!(server.seen().len(), asked);
    }
    assert!(!keyfob.cache_dir().exists());
    let down = Lookalike::start(|_| json(503, &json!({ "error": "temporarily_unavailable" })));
    let keyfob = machine(&down, "grant = 'client-credentials'\nclient-secret = 's'\n");
    keyfob.write_config(&format!("store = 'none'\n{}", fs::read_to_string(keyfob.config_file()).unwrap()));
    assert_eq!(run(&keyfob).code, Some(5));

    let lab = "store = 'none'\n[profile.lab]\nissuer = 'https://127.0.0.1:9'\nclient-id = 'c'\n";
    let keyfob = Keyfob::new(PROGRAM).config(lab);
    let said = "error: could not get a token for lab: config.toml says `store = \"none\"`: nothing is kept of a sign-in, \
                so every call would ask for another\n\
                hint: use a machine's `grant` in the profile, or keep sessions: keyfob store file\n";
    assert_eq!(failure(&run(&keyfob)), (Some(2), said));
    assert!(!keyfob.cache_dir().exists());
}

/// A profile of a managed identity, in an environment that names this server.
fn identity(says: &str, variables: &[(&str, String)]) -> Keyfob {
    let config =
        format!("[profile.ci]\ngrant = 'managed-identity'\nscopes = ['https://vault.azure.net/.default']\n{says}");
    let keyfob = Keyfob::new(PROGRAM).config(&config);
    variables.iter().fold(keyfob, |keyfob, (name, value)| keyfob.env(name, value))
}

/// What the hosts of Azure answer.
fn vault_token(end: i64) -> serde_json::Value {
    json!({ "access_token": "t0ken", "expires_on": end.to_string(), "resource": "https://vault.azure.net", "token_type": "Bearer" })
}

#[test]
fn each_host_of_a_managed_identity_is_asked_as_it_wants() {
    const BY_ID: &str = "client-id = 'c-1'\n";
    const BY_RESOURCE: &str = "identity-resource-id = '/sub/x'\n";
    const VAULT: &str = "resource=https%3A%2F%2Fvault.azure.net";
    for (says, variables, target, headers) in [
        (
            "",
            &[("IDENTITY_ENDPOINT", "/msi"), ("IDENTITY_HEADER", "s3cret")][..],
            "/msi?api-version=2019-08-01&VAULT",
            ("x-identity-header", "s3cret"),
        ),
        (
            BY_ID,
            &[("IDENTITY_ENDPOINT", "/msi"), ("IDENTITY_HEADER", "s3cret")],
            "/msi?api-version=2019-08-01&VAULT&client_id=c-1",
            ("x-identity-header", "s3cret"),
        ),
        (
            BY_RESOURCE,
            &[("IDENTITY_ENDPOINT", "/msi"), ("IDENTITY_HEADER", "s3cret")],
            "/msi?api-version=2019-08-01&VAULT&mi_res_id=%2Fsub%2Fx",
            ("x-identity-header", "s3cret"),
        ),
        (
            BY_ID,
            &[("MSI_ENDPOINT", "/ml"), ("MSI_SECRET", "s3cret")],
            "/ml?api-version=2017-09-01&VAULT&clientid=c-1",
            ("secret", "s3cret"),
        ),
        ("", &[("MSI_ENDPOINT", "/shell")], "/shell", ("metadata", "true")),
        (
            BY_RESOURCE,
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "/")],
            "/metadata/identity/oauth2/token?api-version=2018-02-01&VAULT&msi_res_id=%2Fsub%2Fx",
            ("metadata", "true"),
        ),
    ] {
        let server = Lookalike::start(|_| json(200, &vault_token(now() + 3000)));
        let at = |path: &str| format!("{}{path}", server.origin());
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, if value.starts_with('/') { at(value) } else { (*value).to_owned() }))
            .collect();
        let keyfob = identity(says, &variables);
        let said =
            Output::of(keyfob.command(["token", "--format", "json"]).env("HTTP_PROXY", "http://127.0.0.1:9"), b"");
        let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        let left = said["expires_at_epoch"].as_i64().unwrap() - now();
        assert!(said["token"] == "t0ken" && (2900..=3000).contains(&left), "{said}");
        let seen = the_one(&server);
        assert_eq!(seen.target, target.replace("VAULT", VAULT));
        assert_eq!(seen.header(headers.0), Some(headers.1));
        assert_eq!(seen.header("authorization"), None);
        let posts = target == "/shell";
        assert_eq!((seen.method.as_str(), seen.body.as_str()), if posts { ("POST", VAULT) } else { ("GET", "") });
    }
}

#[test]
fn a_host_that_chooses_no_identity_is_not_asked_to() {
    for (says, variables, why) in [
        (
            "client-id = 'c'\n",
            &[("MSI_ENDPOINT", "http://127.0.0.1:9/")][..],
            "`client-id`: Cloud Shell does not choose",
        ),
        (
            "identity-resource-id = '/x'\n",
            &[("MSI_ENDPOINT", "http://127.0.0.1:9/"), ("MSI_SECRET", "s")],
            "`identity-resource-id`: Azure Machine Learning does not choose",
        ),
        (
            "client-id = 'c'\n",
            &[("IDENTITY_ENDPOINT", "http://127.0.0.1:9/"), ("IMDS_ENDPOINT", "x")],
            "`client-id`: Azure Arc does not choose",
        ),
    ] {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let output = run(&identity(says, &variables));
        let (code, stderr) = failure(&output);
        assert!(code == Some(2) && stderr.contains(why), "{output:?}");
    }
}

/// It starts, is updated, and has no such identity; what does not pass is said at once.
#[test]
fn a_virtual_machines_service_is_given_time() {
    let identity_after = |troubles: [(u16, &'static str); 2]| {
        let count = AtomicUsize::new(0);
        let server = Lookalike::start(move |_| match troubles.get(count.fetch_add(1, Ordering::Relaxed)) {
            Some((status, error)) => json(*status, &json!({ "error": error })),
            // Life of a day: it is renewed from half of that on.
            None => json(200, &json!({ "access_token": "t0ken", "expires_in": "86400", "token_type": "Bearer" })),
        });
        let keyfob = identity("", &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin().to_owned())]);
        assert_eq!(token(&run(&keyfob)), "t0ken");
        assert_eq!(server.seen().len(), 3);
        keyfob
    };
    identity_after([(429, "too_many_requests"), (503, "unavailable")]);
    let keyfob = identity_after([(404, "not_found"), (410, "gone")]);
    let mut files = fs::read_dir(keyfob.cache_dir()).unwrap().map(|entry| entry.unwrap().path());
    let session = files.find(|path| path.extension().is_some_and(|kind| kind == "json")).unwrap();
    let session: serde_json::Value = serde_json::from_slice(&fs::read(session).unwrap()).unwrap();
    let [from, until] = ["refresh_at", "expires_at"].map(|name| session["tokens"][0][name].as_i64().unwrap());
    assert_eq!(until - from, 43200);

    let server = Lookalike::start(|_| {
        let description = "Identity not found";
        json(400, &json!({ "error": "invalid_request", "error_description": description }))
    });
    let output = run(&identity("", &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin().to_owned())]));
    let (code, stderr) = failure(&output);
    let hint = "hint: assign an identity to this machine; or check `client-id` and `identity-resource-id`";
    assert!(
        code == Some(1) && stderr.contains("invalid_request: Identity not found\n") && stderr.contains(hint),
        "{stderr}"
    );
    assert_eq!(server.seen().len(), 1);
    let nowhere = run(&identity("", &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9".to_owned())]));
    let (code, stderr) = failure(&nowhere);
    assert!(code == Some(5) && stderr.contains("managed identity"), "{stderr}");
}

/// What a container's host says of an address that it does not know, and a metadata service of which a proxy knows nothing.
#[test]
fn a_machine_without_the_service_is_told_what_the_grant_is_for() {
    let docker = "connecting to 169.254.169.254:80: dial tcp 169.254.169.254:80: connectex: A socket operation was attempted \
                  to an unreachable network.";
    let (text, page) = (keyfob_test_support::provider::Answer::new, "<html>Forbidden by the proxy</html>");
    let hint = "\nhint: this grant is for machines of Azure that have a managed identity\n";
    let by_proxy = "it answered a web page (status 403); is a proxy or login page in between?\n";
    for (reply, end) in [
        (text(403, "text/plain", docker), hint),
        (json(403, &json!({ "error": "unreachable", "error_description": docker })), hint),
        (text(403, "text/html", page), by_proxy),
    ] {
        let reply = Mutex::new(Some(reply));
        let server = Lookalike::start(move |_| reply.lock().unwrap().take().unwrap());
        let output = run(&identity("", &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin().to_owned())]));
        let (code, stderr) = failure(&output);
        assert!(code == Some(5) && stderr.ends_with(end) && stderr.lines().count() <= 2, "{output:?}");
        assert_eq!(server.seen().len(), 1);
    }
}

/// The host says when the token ends by its own clock.
#[test]
fn a_host_whose_clock_is_another_is_understood() {
    let then = 1_767_225_600;
    let server =
        Lookalike::start(move |_| json(200, &vault_token(then + 3000)).header("Date", "Thu, 01 Jan 2026 00:00:00 GMT"));
    let place = format!("{}/msi", server.origin());
    let keyfob = identity("", &[("IDENTITY_ENDPOINT", place), ("IDENTITY_HEADER", "s3cret".to_owned())]);
    let said = Output::of(&mut keyfob.command(["token", "--format", "json"]), b"");
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let left = said["expires_at_epoch"].as_i64().unwrap() - now();
    assert!((2900..=3000).contains(&left), "{said}");
}

/// What answers in place of the agent gets nothing that is not the agent's.
#[test]
fn a_false_agent_of_azure_arc_gets_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let bait = file(folder.path(), "bait.key", "bait-5ecret");
    for realm in [bait.as_str(), "/var/opt/azcmagent/tokens/../../../../etc/hostname", "/etc/hostname", ""] {
        let challenge = format!("Basic realm={realm}");
        let server = Lookalike::start(move |_| json(401, &json!({})).header("WWW-Authenticate", &challenge));
        let place = |path: &str| format!("{}{path}", server.origin());
        let output = run(&identity("", &[("IDENTITY_ENDPOINT", place("/token")), ("IMDS_ENDPOINT", place("/"))]));
        let (code, stderr) = failure(&output);
        assert!(code == Some(1) && stderr.contains("it names a file that is not one of the agent's keys"), "{stderr}");
        let seen = the_one(&server);
        assert_eq!(seen.target, "/token?api-version=2020-06-01&resource=https%3A%2F%2Fvault.azure.net");
        assert_eq!((seen.header("metadata"), seen.header("authorization")), (Some("true"), None));
    }
}

/// In a folder of the agent's that only this process sees.
#[test]
fn the_agent_of_azure_arc_is_shown_its_key() {
    let server = Lookalike::start(|seen| match seen.header("authorization") {
        None => json(401, &json!({})).header("WWW-Authenticate", "Basic realm=/var/opt/azcmagent/tokens/1.key"),
        Some(_) => json(200, &vault_token(now() + 3000)),
    });
    let place = |path: &str| format!("{}{path}", server.origin());
    let keyfob = identity("", &[("IDENTITY_ENDPOINT", place("/token")), ("IMDS_ENDPOINT", place("/"))]);
    let script = "mount -t tmpfs none /var/opt && mkdir -p /var/opt/azcmagent/tokens && \
                  echo agents-key > /var/opt/azcmagent/tokens/1.key && exec \"$0\" token";
    let within = |script: &str| {
        let mut command = keyfob.other("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, PROGRAM]);
        command
    };
    if !within("mount -t tmpfs none /var/opt").output().is_ok_and(|output| output.status.success()) {
        skip!("unshare cannot make a mount namespace here");
    }
    assert_eq!(token(&Output::of(&mut within(script), b"")), "t0ken");
    let [_, shown] = &server.seen()[..] else { panic!("two requests") };
    assert_eq!(shown.header("authorization"), Some("Basic agents-key"));
}

/// A program in place of az or azd, first on PATH; and a keyfob whose profile asks it.
struct Delegated {
    keyfob: Keyfob,
    folder: tempfile::TempDir,
}

impl Delegated {
    fn new(tool: &str, says: &str, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(tool);
        fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {0}/calls\n{script}\n", folder.path().display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!("[profile.ci]\ngrant = '{tool}'\nscopes = ['https://vault.azure.net/.default']\n{says}");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let keyfob = Keyfob::new(PROGRAM).config(&config).env("PATH", path);
        fs::create_dir_all(keyfob.home().join(".azure")).unwrap();
        fs::write(keyfob.home().join(".azure/azureProfile.json"), "one account").unwrap();
        Self { keyfob, folder }
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

#[test]
fn the_azure_cli_is_asked_once_for_each_account() {
    let end = now() + 3000;
    let answer = json!({ "accessToken": "t0ken", "expires_on": end, "tenant": "t-1", "subscription": "s", "tokenType": "Bearer" });
    let says = "tenant = 'contoso.com'\n";
    let scene = Delegated::new("az", says, &format!("[ \"$KEYFOB_PROMPT$(pwd)\" = never/ ] && echo '{answer}'"));
    for _ in 0..3 {
        assert_eq!(token(&run(&scene.keyfob)), "t0ken");
    }
    let call = "account get-access-token --output json --resource https://vault.azure.net --tenant contoso.com\n";
    assert_eq!(scene.calls(), call);
    // As an SDK asks that runs `az`, for another resource.
    let asked = ["az", "account", "get-access-token", "--resource", "https://graph.microsoft.com"];
    let sdk = Output::of(&mut scene.keyfob.command(asked), b"");
    let said: serde_json::Value = serde_json::from_str(&sdk.stdout).unwrap_or_else(|_| panic!("{sdk:?}"));
    assert_eq!(
        (&said["accessToken"], &said["tenant"], &said["expires_on"]),
        (&json!("t0ken"), &json!("t-1"), &json!(end))
    );
    assert_eq!(scene.calls(), call.to_owned() + &call.replace("vault.azure.net", "graph.microsoft.com"));
    fs::write(scene.keyfob.home().join(".azure/azureProfile.json"), "another account").unwrap();
    assert_eq!(token(&run(&scene.keyfob)), "t0ken");
    assert_eq!(scene.calls().lines().count(), 3, "az login as somebody else");
}

#[test]
fn what_the_azure_clis_say_is_understood() {
    let azd = json!({ "token": "t0ken", "expiresOn": "2100-01-01T00:00:00Z" });
    let scene = Delegated::new("azd", "tenant = 'contoso.com'\n", &format!("echo '{azd}'"));
    let said = Output::of(&mut scene.keyfob.command(["token", "--format", "json"]), b"").stdout;
    assert!(said.contains("\"token\":\"t0ken\"") && said.contains("\"expires_at\":\"2100-01-01T00:00:00Z\""), "{said}");
    let call =
        "auth token --output json --no-prompt --scope https://vault.azure.net/.default --tenant-id contoso.com\n";
    assert_eq!(scene.calls(), call);

    let local = json!({ "accessToken": "t0ken", "expiresOn": "2100-01-01 02:00:00.123456" });
    let scene = Delegated::new("az", "subscription = 's-1'\n", &format!("echo '{local}'"));
    let said = Output::of(scene.keyfob.command(["token", "--format", "json"]).env("TZ", "XYZ-2"), b"").stdout;
    assert!(said.contains("\"expires_at\":\"2100-01-01T00:00:00Z\""), "{said}");
    assert!(scene.calls().ends_with("--resource https://vault.azure.net --subscription s-1\n"), "{}", scene.calls());

    for (script, code, error) in [
        (
            "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1",
            3,
            "nobody is signed in to the Azure CLI\nhint: az login\n",
        ),
        (
            "echo '{\"accessToken\": \"eyJ0.s3cret.x\"}'; echo 'WARNING: x' >&2; echo 'ERROR: AADSTS50076: run az login with eyJ0.s3cret.x' >&2; exit 1",
            1,
            "az failed: AADSTS50076: run az login with [redacted]\nhint: see what it says: az login\n",
        ),
        ("echo '{}'", 1, "az printed no token\n"),
        ("echo hello", 1, "what az printed is not a JSON object\n"),
    ] {
        let output = run(&Delegated::new("az", "", script).keyfob);
        let error = format!("error: could not get a token for ci: {error}");
        assert_eq!(failure(&output), (Some(code), error.as_str()));
    }
    // keyfob itself, called az, is not the Azure CLI.
    let scene = Delegated::new("az", "", "");
    let az = scene.folder.path().join("az");
    fs::remove_file(&az).unwrap();
    std::os::unix::fs::symlink(PROGRAM, &az).unwrap();
    let output = Output::of(scene.keyfob.command(["token"]).env("PATH", scene.folder.path()), b"");
    assert!(failure(&output).1.contains("there is no program \"az\" on PATH besides keyfob"), "{output:?}");
}

/// Its token is the answer, and stands nowhere else but in the cache; what it says when it fails may hold one, too.
#[test]
fn what_az_prints_is_said_to_nobody_else() {
    const SECRET: &str = "eyJ0eXAi.eyJzZWNyZXQi.c2VjcmV0";
    let good =
        format!("echo '{{\"accessToken\": \"{SECRET}\", \"expires_on\": 4102444800}}'; echo 'WARNING: {SECRET}' >&2");
    for (script, code) in
        [(good.clone(), 0), (format!("{good}; exit 1"), 1), (format!("echo '{{\"error\": \"{SECRET}\"}}'"), 1)]
    {
        let scene = Delegated::new("az", "", &script);
        let said = |words: &[&str]| Output::of(scene.keyfob.command(words).env("KEYFOB_LOG", "debug"), b"");
        let output = said(&["token"]);
        assert_eq!((output.code, output.stdout.contains(SECRET)), (Some(code), code == 0), "{output:?}");
        assert!(!output.stderr.contains(SECRET) && !scene.calls().contains(SECRET), "{output:?}");
        for words in [&["status"][..], &["status", "--json"], &["doctor"]] {
            let output = said(words);
            assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{output:?}");
        }
    }
}

/// What kubelogin reads, where the profile asks for it: what the environment says counts first, and is named.
#[test]
fn azures_variables_say_who_the_machine_is_where_the_profile_asks_for_that() {
    let server =
        Lookalike::start(|_| json(200, &json!({ "access_token": "t0ken", "expires_in": 3600, "value": "job" })));
    let says = "grant = 'client-credentials'\nscopes = ['s/.default']\nprovider = 'entra'\ntenant = 'own'\nclient-id = 'own'\n";
    let folder = tempfile::tempdir().unwrap();
    let token_file = file(folder.path(), "token", "pods-token");
    let home = format!("{}/", server.origin());
    let url = format!("{}/job", server.origin());
    let client = [("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t"), ("AAD_SERVICE_PRINCIPAL_CLIENT_ID", "older")];
    let authority = format!("authority = '{}'\n", server.origin());
    let pod = [("AZURE_FEDERATED_TOKEN_FILE", token_file.as_str()), ("AZURE_AUTHORITY_HOST", home.as_str())];
    let actions = [("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "r")];
    for (more, variables, place, shown) in [
        (
            format!("{authority}environment = 'azure'\nclient-secret = 'own'\n"),
            [&client[..], &[("AZURE_CLIENT_SECRET", "s3cret-of-c")]].concat(),
            "/t/",
            "client_id=c&client_secret=s3cret-of-c",
        ),
        (
            format!("{authority}environment = 'azurerm'\nclient-secret = 'own-s3cret'\n"),
            [&client[..], &[("ARM_CLIENT_ID", "arm")]].concat(),
            "/own/",
            "client_id=arm&client_secret=own-s3cret",
        ),
        (
            "environment = 'azure'\nsource = 'file'\n".to_owned(),
            [&client[..], &pod].concat(),
            "/t/",
            "client_id=c&grant_type=client_credentials&scope=s%2F.default&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
             client-assertion-type%3Ajwt-bearer&client_assertion=pods-token",
        ),
        (
            "environment = 'azure'\nsource = 'file'\n".to_owned(),
            [&client[..], &pod, &actions].concat(),
            "/t/",
            "client_assertion=job",
        ),
        (
            format!("{authority}client-secret = 'own-s3cret'\n"),
            client.to_vec(),
            "/own/",
            "client_id=own&client_secret=own-s3cret",
        ),
    ] {
        let keyfob = Keyfob::new(PROGRAM).config(&format!("[profile.ci]\n{says}{more}"));
        let keyfob = variables.iter().fold(keyfob, |keyfob, (name, value)| keyfob.env(name, value));
        assert_eq!(token(&run(&keyfob)), "t0ken", "{more}");
        let seen = server.seen().pop().unwrap();
        assert!(seen.target.starts_with(place) && seen.body.contains(shown), "{more} {seen:?}");
        let status = Output::of(&mut keyfob.command(["status"]), b"").stdout;
        assert_eq!(status.contains(" of the environment\n"), more.contains("environment"), "{status}");
        assert!(!status.contains("AAD_") && !status.contains("s3cret"), "{status}");
    }
    let keyfob = Keyfob::new(PROGRAM)
        .config(&format!("[profile.ci]\n{says}environment = 'azure'\nsource = 'file'\nsource-file = '{token_file}'\n"))
        .env("AZURE_AUTHORITY_HOST", "https://login.evil.example/");
    let output = run(&keyfob);
    let error = "error: AZURE_AUTHORITY_HOST names no cloud that keyfob knows\nhint: known are https://login.microsoftonline.com, ";
    assert!(output.code == Some(2) && failure(&output).1.starts_with(error), "{output:?}");
}

/// The recipes of docs/machines.md, each as it stands there, against a server in the place of the one that it names.
#[test]
fn every_recipe_brings_a_token() {
    const PAGE: &str = include_str!("../../docs/machines.md");
    if Command::new("jq").arg("--version").output().is_err() {
        skip!("jq, which a recipe runs, is not installed");
    }
    let recipes = PAGE.split("\n### ").skip(1).flat_map(|part| {
        let blocks = part.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
        blocks.map(|block| (part.lines().next().unwrap(), block))
    });
    let recipes: Vec<(&str, &str)> = recipes.collect();
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    let job = jwt::unsigned(&json!({ "iss": "https://ci.example", "sub": "job", "exp": now() + 3000 }));
    let body = json!({ "access_token": job, "value": job, "expires_in": "3600" });
    let server = Lookalike::start(move |_| json(200, &body));
    let job = server_job(&server);
    let folder = tempfile::tempdir().unwrap();
    let svids = json!([{ "spiffe_id": "spiffe://lab.example/job", "svid": job }]);
    let spire = json!([{ "svids": svids }, { "bundles": { "spiffe://lab.example": "e30=" } }]);
    for (name, printed) in [("az", json!({ "accessToken": job })), ("spire-agent", spire)] {
        let program = folder.path().join(name);
        fs::write(&program, format!("#!/bin/sh\necho '{printed}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let [pod, broker] =
        [("pod", "pods-token"), ("broker", "s3cret")].map(|(name, text)| file(folder.path(), name, text));
    for (title, recipe) in &recipes {
        let recipe = recipe
            .replace("/var/run/secrets/azure/tokens/azure-identity-token", &pod)
            .replace("/etc/keyfob/broker.secret", &broker)
            .replace("https://id.example.com/realms/lab", idp.issuer());
        let authority = format!("authority = '{}'\n", server.origin());
        let last = recipe.rsplit("[profile.").next().unwrap().split(']').next().unwrap().to_owned();
        let keyfob = Keyfob::new(PROGRAM)
            .config(&(recipe.clone() + if recipe.contains("\"entra\"") { &authority } else { "" }))
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/job", server.origin()))
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.origin())
            .env("VAULT_TOKEN", &job)
            .env("PATH", &path);
        if recipe.contains("source-profile") {
            Output::of(keyfob.command(["login", "sso"]).env("KEYFOB_PROMPT", "always"), b"");
            idp.script(Endpoint::Token, [Reply::json(200, &answer(&job))]);
        }
        let output = Output::of(keyfob.command(["kubernetes", "-p", &last]).env("KEYFOB_PROMPT", "never"), b"");
        assert!(output.stdout.contains(&format!("\"token\":\"{job}\"")), "{title}: {output:?}");
    }
    let exchanged = idp.requests().pop().unwrap();
    assert_eq!(exchanged.field("audience"), Some("cluster-1"));
    assert_eq!(recipes.len(), 8);
}

/// The token that a server hands out for everything.
fn server_job(server: &Lookalike) -> String {
    let keyfob = Keyfob::new(PROGRAM)
        .config("[profile.ci]\ngrant = 'none'\nsource = 'github'\nsource-audience = 'a'\n")
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/job", server.origin()))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token");
    token(&run(&keyfob))
}

/// What a machine shows of itself stands in no message, no log, no argument, and in no file of keyfob's; nor where a server
/// repeats it.
#[test]
fn what_a_machine_proves_itself_by_is_said_to_the_server_alone() {
    const SECRET: &str = "s3cret-8c2f41d0b7";
    let proof = jwt::unsigned(&json!({ "iss": "https://ci.example", "sub": "job", "jti": SECRET }));
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let (shut, by_google) = (Arc::clone(&gate), proof.clone());
    let server = Lookalike::start(move |seen| {
        let (closed, changed) = &*shut;
        drop(changed.wait_while(closed.lock().unwrap(), |closed| *closed).unwrap());
        let said = format!("{} {:?}", seen.body, seen.headers);
        if seen.target.starts_with("/computeMetadata/") {
            let answer = keyfob_test_support::provider::Answer::new(200, "text/html", by_google.clone());
            return answer.header("Metadata-Flavor", "Google");
        }
        let is_ok = seen.target.starts_with("/ok");
        let error = if is_ok { json!(null) } else { json!("invalid_client") };
        json(
            if is_ok { 200 } else { 400 },
            &json!({
                "access_token": "t0ken", "error": error, "error_description": said, "value": by_google, "oidcToken": by_google,
            }),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let place = file(folder.path(), "proof", &proof);
    let key = need!(Keys::rsa());
    let private = fs::read_to_string(key.path("key.pem")).unwrap();
    let inside = private.lines().nth(5).unwrap().to_owned();
    let print = folder.path().join("print");
    fs::write(&print, format!("#!/bin/sh\ncat '{place}'\necho '{SECRET}' >&2\n")).unwrap();
    fs::set_permissions(&print, fs::Permissions::from_mode(0o755)).unwrap();
    let secrets = [SECRET.to_owned(), proof.clone(), inside, "request-t0ken-5a".to_owned()];
    let absent = |text: &str, place: &str| {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place}: {text}");
        }
    };
    for says in [
        format!("grant = 'client-credentials'\nclient-secret = '{SECRET}'\n"),
        format!("grant = 'client-credentials'\nclient-key-file = '{}'\n", key.path("key.pem").display()),
        format!("grant = 'client-credentials'\nsource = 'file'\nsource-file = '{place}'\n"),
        "grant = 'token-exchange'\nsource = 'env'\nsource-env = 'PROOF'\n".to_owned(),
        format!("grant = 'jwt-bearer'\nsource = 'command'\nsource-command = ['{}']\n", print.display()),
        "grant = 'token-exchange'\nsource = 'github'\nsource-audience = 'a'\n".to_owned(),
        "grant = 'client-credentials'\nsource = 'azure-pipelines'\nservice-connection = 's'\n".to_owned(),
        "grant = 'jwt-bearer'\nsource = 'gcp'\nsource-audience = 'a'\n".to_owned(),
        "grant = 'managed-identity'\nscopes = ['https://vault.azure.net/.default']\n".to_owned(),
    ] {
        for path in ["ok", "refused"] {
            *gate.0.lock().unwrap() = true;
            let origin = server.origin();
            let place = format!("token-endpoint = '{origin}/{path}'\nclient-id = 'robot'\n");
            let place = if says.contains("managed-identity") { "" } else { &place };
            let keyfob = Keyfob::new(PROGRAM)
                .config(&format!("[profile.ci]\n{place}{says}"))
                .env("IDENTITY_ENDPOINT", format!("{origin}/{path}"))
                .env("IDENTITY_HEADER", "request-t0ken-5a")
                .env("SYSTEM_OIDCREQUESTURI", format!("{origin}/{path}"))
                .env("SYSTEM_ACCESSTOKEN", "request-t0ken-5a")
                .env("GCE_METADATA_HOST", origin.trim_start_matches("http://"))
                .env("PROOF", &proof)
                .env("KEYFOB_LOG", "debug")
                .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{origin}/{path}"))
                .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-t0ken-5a");
            let before = server.seen().len();
            let caller = Caller::start(&mut keyfob.command(["token"]));
            wait_until("the request", || server.seen().len() > before);
            for process in
                fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
            {
                absent(&String::from_utf8_lossy(&process), "arguments");
            }
            *gate.0.lock().unwrap() = false;
            gate.1.notify_all();
            let output = caller.finish();
            absent(&output.stderr, "stderr");
            for words in ["status", "doctor"] {
                let output = Output::of(&mut keyfob.command([words]), b"");
                absent(&(output.stdout + &output.stderr), words);
            }
            for entry in fs::read_dir(keyfob.cache_dir()).unwrap() {
                absent(&String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()), "the cache");
            }
        }
    }
}

/// There is nobody who could answer a claims challenge but the source, and its new token is all that can be had.
#[test]
fn a_claims_challenge_to_a_machine_is_answered_by_a_new_token() {
    let folder = tempfile::tempdir().unwrap();
    let end = now() + 3000;
    let claims = |number: u32| jwt::unsigned(&json!({ "iss": "i", "sub": "s", "exp": end, "jti": number }));
    let place = file(folder.path(), "token", &claims(1));
    let keyfob = Keyfob::new(PROGRAM).config(&format!(
        "[profile.ci]\ngrant = 'none'\nsource = 'file'\nsource-file = '{place}'\n[az]\nprofile = 'ci'\n"
    ));
    let azd = |words: &[&str]| {
        let output = Output::of(&mut keyfob.command([&["azd", "auth", "token"], words].concat()), b"");
        token(&output)
    };
    assert_eq!(azd(&[]), claims(1));
    fs::write(&place, claims(2)).unwrap();
    assert_eq!(azd(&[]), claims(1), "from the cache");
    assert_eq!(azd(&["--claims", "eyJhIjoxfQ"]), claims(2));
}
