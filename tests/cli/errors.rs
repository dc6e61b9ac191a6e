//! What a person sees when a caller, the provider or a sign-in fails: one line that says what, at most one that says what
//! to do, the exit code that README promises, nothing on stdout. `errors_config` holds what is wrong with the configuration,
//! `errors_cache` what is wrong on this machine, `errors_setup` what keeps `keyfob setup` from its work; `common/errors.rs`
//! says how messages are compared.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;

use crate::common::azure::WORK;
use crate::common::errors::Scene;
use crate::common::{LAB, SOON, now, token};
use keyfob_test_support::provider::{Auto, Endpoint, IdToken, Options, Provider, Reply};
use keyfob_test_support::{Output, skip};
use serde_json::json;

// The caller.

#[test]
fn an_odd_exec_credential_request_gets_one_clear_line() {
    let scene = Scene::signed_in();
    let v1 = "client.authentication.k8s.io/v1";
    for (info, why) in [
        ("{".to_owned(), "it is not JSON (line 1, column 1)".to_owned()),
        ("yes".into(), "it is not JSON (line 1, column 1)".into()),
        ("[]".into(), "it is not an ExecCredential (line 1, column 2)".into()),
        ("null".into(), "it is not an ExecCredential (line 1, column 4)".into()),
        (
            json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"}).to_string(),
            "its apiVersion is \"client.authentication.k8s.io/v1alpha1\", not client.authentication.k8s.io/v1 or \
             client.authentication.k8s.io/v1beta1\n\
             hint: set `apiVersion: client.authentication.k8s.io/v1` in the kubeconfig's exec section"
                .into(),
        ),
        (
            json!({"apiVersion": "v1\u{1b}[2J"}).to_string(),
            format!(
                "its apiVersion is \"v1\\u001b[2J\", not {v1} or {v1}beta1\n\
                 hint: set `apiVersion: {v1}` in the kubeconfig's exec section"
            ),
        ),
        ("[".repeat(100_000), "it is not JSON (line 1, column 100000)".into()),
    ] {
        let mut command = scene.keyfob.command(["kubernetes"]);
        let output = Output::of(command.env("KUBERNETES_EXEC_INFO", info).env("KEYFOB_PROMPT", "never"), b"");
        let error = format!("error: could not answer the ExecCredential request: {why}\n");
        scene.assert_failed(&output, 1, &error);
    }
    // What is not known, or not of the type that was expected, is no reason to refuse.
    for info in [
        String::new(),
        "{}".into(),
        json!({"apiVersion": null, "spec": null}).to_string(),
        json!({"apiVersion": v1, "kind": "Other", "spec": {"interactive": "yes", "cluster": [1]}, "x": 1}).to_string(),
    ] {
        let mut command = scene.keyfob.command(["kubernetes"]);
        let output = Output::of(command.env("KUBERNETES_EXEC_INFO", info).env("KEYFOB_PROMPT", "never"), b"");
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(output.stdout.starts_with(&format!("{{\"apiVersion\":\"{v1}\",\"kind\":\"ExecCredential\",")));
    }
}

#[test]
fn an_exec_credential_request_that_is_not_text_gets_one_clear_line() {
    use std::os::unix::ffi::OsStrExt;

    let scene = Scene::signed_in();
    let mut command = scene.keyfob.command(["kubernetes"]);
    command.env("KUBERNETES_EXEC_INFO", std::ffi::OsStr::from_bytes(b"{\xff\x1b[2J"));
    let output = Output::of(command.env("KEYFOB_PROMPT", "never"), b"");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(output.stderr.starts_with("error: could not read the ExecCredential request: "), "{output:?}");
    assert_eq!(output.stderr.matches(char::is_control).collect::<Vec<_>>(), ["\n"]);
}

/// Callers stop reading whenever they like: `keyfob status | head -1`.
#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let scene = Scene::signed_in();
    for args in [&["token"][..], &["kubernetes"], &["status"], &["--help"], &["--version"], &["login"], &["logout"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scene.keyfob.command(args);
        let child = command.env("KEYFOB_PROMPT", "never").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{args:?}");
        assert_eq!(ended.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { skip!("/dev/full is not there") };
    let scene = Scene::signed_in();
    let mut command = scene.keyfob.command(["token"]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    let error = "error: could not write the answer to stdout: No space left on device (os error 28)\n";
    assert_eq!((String::from_utf8_lossy(&ended.stderr).as_ref(), ended.status.code()), (error, Some(1)));
}

#[test]
fn closed_standard_streams_are_survived() {
    let scene = Scene::signed_in();
    let expected = scene.token();
    let sh = |script: &str| {
        let mut command = scene.keyfob.other("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob"), "token"]).env("KEYFOB_PROMPT", "never");
        Output::of(&mut command, b"")
    };
    assert_eq!(token(&sh("exec \"$0\" \"$@\" <&- 2>&-")), expected);
    assert_eq!(sh("exec \"$0\" \"$@\" >&-").stderr, "");
    // Had the cache taken the number of a closed stream, it would hold what was meant for the caller.
    scene.leave(-1);
    sh("exec \"$0\" \"$@\" >&- 2>&-");
    assert_ne!(scene.token(), expected);
}

// The provider.

/// Metadata for an issuer.
type Document = fn(String) -> Reply;

#[test]
fn what_is_wrong_with_metadata_is_named() {
    let cases: [(Document, &str); 6] = [
        (|_| Reply::json(200, &json!({"token_endpoint": "https://x.example"})), "it names no issuer"),
        (|_| Reply::json(200, &json!({"issuer": 7})), "it names no issuer"),
        (
            |_| Reply::json(200, &json!({"issuer": "https://other\u{1b}[2J.example"})),
            "it is of the issuer \"https://other[2J.example\", not \"ISSUER\"",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "token_endpoint": "http://id.example.com/token"})),
            "its `token_endpoint` is not https (plain http is allowed only on loopback)",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "device_authorization_endpoint": ["x"]})),
            "its `device_authorization_endpoint` is not a string",
        ),
        (
            |issuer| Reply::json(200, &json!({"issuer": issuer, "revocation_endpoint": "https://a@b.example"})),
            "its `revocation_endpoint` has a user name in it",
        ),
    ];
    for (document, why) in cases {
        let scene = Scene::lab();
        scene.idp.always(Endpoint::Discovery, document(scene.idp.issuer().to_owned()));
        scene.assert_failed(
            &scene.prompting(["token"]),
            1,
            &format!(
                "error: could not get a token for lab: the metadata at ISSUER/.well-known/openid-configuration cannot \
                 be used: {why}\nhint: check `issuer`: it must be written exactly as the provider writes it\n"
            ),
        );
    }
    let scene = Scene::new(Options { oidc_discovery: false, ..Options::default() }, LAB);
    let error = "error: could not get a token for lab: found no metadata of ISSUER \
                 (ISSUER/.well-known/openid-configuration: status 404; ISSUER/.well-known/oauth-authorization-server: \
                 status 404)\n\
                 hint: check `issuer`; for a server without metadata set `token-endpoint`, and \
                 `device-authorization-endpoint` or `authorization-endpoint`\n";
    scene.assert_failed(&scene.prompting(["token"]), 1, error);
}

#[test]
fn what_is_wrong_with_a_device_answer_is_named() {
    for (answer, why) in [
        (json!({"user_code": "u", "verification_uri": "https://a.example"}), "its answer has no `device_code`"),
        (json!({"device_code": "d", "verification_uri": "https://a.example"}), "its answer has no `user_code`"),
        (json!({"device_code": "d", "user_code": "u"}), "its answer has no `verification_uri`"),
        (
            json!({"device_code": "d", "user_code": "u", "verification_uri": "http://evil.example/"}),
            "its `verification_uri` is not https (plain http is allowed only on loopback)",
        ),
    ] {
        let scene = Scene::lab();
        scene.idp.script(Endpoint::Device, [Reply::json(200, &answer)]);
        let error = format!("error: could not get a token for lab: ISSUER/device_authorization: {why}\n");
        scene.assert_failed(&scene.prompting(["token"]), 1, &error);
    }
}

#[test]
fn a_provider_out_of_reach_is_exit_5() {
    let scene = Scene::lab();
    let flags = |issuer: &str, more: &[&str]| {
        let mut command = scene.keyfob.command(["token", "--issuer", issuer, "--client-id", "c", "--prompt", "always"]);
        Output::of(command.args(more), b"")
    };
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("http://127.0.0.1:{port}");
    let error = format!(
        "error: could not get a token for {dead}: could not reach {dead}/.well-known/openid-configuration: connection \
         refused\n"
    );
    scene.assert_failed(&flags(&dead, &[]), 5, &error);

    // https where there is none.
    let plain = scene.idp.issuer().replace("http://", "https://");
    let output = flags(&plain, &[]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(5), "", 1), "{output:?}");

    let secure = Provider::start(Options { tls: true, ..Options::default() });
    let issuer = secure.issuer();
    let output = flags(issuer, &[]);
    let error = format!(
        "error: could not get a token for {issuer}: could not reach {issuer}/.well-known/openid-configuration: its \
         certificate is not trusted ("
    );
    assert!(output.stderr.starts_with(&error), "{output:?}");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.lines().count()), (Some(5), "", 1), "{output:?}");
}

#[test]
fn a_provider_that_lacks_something_is_named_with_what_helps() {
    let scene = Scene::lab();
    scene.idp.always(Endpoint::Discovery, Reply::json(200, &json!({"issuer": scene.idp.issuer()})));
    let error =
        "error: could not get a token for lab: ISSUER publishes no token endpoint\nhint: set `token-endpoint`\n";
    scene.assert_failed(&scene.prompting(["token"]), 1, error);

    let scene = Scene::new(Options::default(), &format!("{LAB}client-secret = 'hunter2'\n"));
    scene.idp.script(Endpoint::Device, [Reply::error("invalid_client")]);
    let error = "error: could not get a token for lab: the provider refused to start a sign-in: invalid_client\n\
                 hint: check the client id \"keyfob\" and its secret\n";
    scene.assert_failed(&scene.prompting(["token"]), 1, error);
}

/// A label of 64 letters is no name, which the system knows without asking anybody.
#[test]
fn a_host_name_that_is_not_known_is_exit_5() {
    let scene = Scene::lab();
    let issuer = format!("https://{}.invalid", "a".repeat(64));
    let output = scene.prompting(["token", "--issuer", &issuer, "--client-id", "c"]);
    let error = format!(
        "error: could not get a token for {issuer}: could not reach {issuer}/.well-known/openid-configuration: its host \
         name is not known here (Name or service not known)\n"
    );
    scene.assert_failed(&output, 5, &error);
}

#[test]
fn what_comes_instead_of_an_answer_is_said() {
    for (reply, why) in [
        (
            Reply::html(403, "<p>Sign in to the network</p>"),
            "it answered a web page (status 403); is a proxy or login page in between?",
        ),
        (
            Reply::redirect(302, "https://portal.example/"),
            "it redirects to https://portal.example/; is a captive portal in between, or the address wrong?",
        ),
        (Reply::error("temporarily_unavailable"), "it answered temporarily_unavailable (status 400)"),
        (Reply::body(200, "application/json", "[]"), "its answer is not a JSON object"),
        (Reply::empty(200).header("x-large", &"x".repeat(70_000)), "the head of its answer is larger than 64 KiB"),
    ] {
        let scene = Scene::lab();
        scene.idp.script(Endpoint::Device, [reply]);
        let error =
            format!("error: could not get a token for lab: could not reach ISSUER/device_authorization: {why}\n");
        scene.assert_failed(&scene.prompting(["token"]), 5, &error);
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        // Read, or the connection would be cut off.
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"220 smtp.example ESMTP\r\n\r\n").unwrap();
    });
    let scene = Scene::lab();
    let output = scene.prompting(["token", "--issuer", &issuer, "--client-id", "c"]);
    server.join().unwrap();
    let error = format!(
        "error: could not get a token for {issuer}: could not reach {issuer}/.well-known/openid-configuration: its answer \
         is not HTTP (http parse fail: invalid HTTP version)\n"
    );
    scene.assert_failed(&output, 5, &error);
}

#[test]
fn a_session_that_no_profile_leads_to_is_revoked_by_what_its_file_says() {
    let scene = Scene::signed_in();
    scene.keyfob.write_config("");
    let output = scene.silently(["logout", "--all"]);
    let said = [&output.stderr, &output.stdout].map(|text| text.replace(scene.idp.issuer(), "ISSUER"));
    assert_eq!((said, output.code), (["", "Signed out of ISSUER (alice@example.com).\n"].map(str::to_owned), Some(0)));
    assert!(scene.idp.count("revoke") > 0);
}

#[test]
fn a_session_that_no_profile_leads_to_and_whose_file_says_too_little_is_deleted_with_a_warning() {
    let scene = Scene::lab();
    let authority = scene.keyfob.home().join("ca.pem");
    fs::copy(Provider::start(Options { tls: true, ..Options::default() }).ca_file().unwrap(), &authority).unwrap();
    let more = format!("ca-file = '{}'\n", authority.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    scene.sign_in();
    scene.keyfob.write_config("");
    let output = scene.silently(["logout", "--all"]);
    let warning = "warning: the session of ISSUER is deleted here, but could not be revoked at the provider: no profile \
                   in config.toml leads to it, and its file does not say which `ca-file` it has\n";
    let said = [&output.stderr, &output.stdout].map(|text| text.replace(scene.idp.issuer(), "ISSUER"));
    let done = "Signed out of ISSUER (alice@example.com).\n";
    assert_eq!((said, output.code), ([warning, done].map(str::to_owned), Some(0)));
}

#[test]
fn a_sign_in_that_nobody_can_see_is_exit_3_with_the_command_that_shows_it() {
    let scene = Scene::lab();
    let error = "error: could not get a token for lab: a sign-in is needed, and prompting is switched off\n\
                 hint: LOGIN lab\n";
    scene.assert_failed(&scene.silently(["token"]), 3, error);
    let mut command = scene.keyfob.command(["kubernetes"]);
    // In the background, whatever terminal this test is run in.
    let output = Output::of(command.process_group(0), b"");
    let error = "error: could not get a token for lab: a sign-in is needed, and there is no terminal to show a sign-in \
                 on\nhint: LOGIN lab\n";
    scene.assert_failed(&output, 3, error);

    // A profile made of flags is named by them, quoted for a shell.
    let output = scene.silently(["token", "--issuer", scene.idp.issuer(), "--client-id", "it's mine"]);
    let error = "error: could not get a token for ISSUER: a sign-in is needed, and prompting is switched off\n\
                 hint: LOGIN --issuer ISSUER --client-id 'it'\\''s mine'\n";
    scene.assert_failed(&output, 3, error);
    // The command in the hint works as it stands.
    scene.idp.auto(Auto::Approve);
    let hint = scene.silently(["token"]).stderr.lines().nth(1).unwrap().strip_prefix("hint: ").unwrap().to_owned();
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", &hint]).env("KEYFOB_PROMPT", "always");
    let output = Output::of(shell.env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR"), b"");
    assert_eq!(output.code, Some(0), "{output:?}");
    scene.token();
}

#[test]
fn a_refused_or_expired_sign_in_is_exit_4_and_remembered_for_whoever_asks_at_once() {
    for (denied, said) in [
        (true, "the sign-in was refused (access_denied: the user said no)"),
        (false, "the code has expired before it was entered"),
    ] {
        let scene = Scene::lab();
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| scene.prompting(["token"]));
            let code = scene.idp.wait_for_code(SOON);
            if denied {
                scene.idp.deny(&code);
            } else {
                scene.idp.expire(&code);
            }
            running.join().unwrap()
        });
        let error = format!("error: could not get a token for lab: {said}\nhint: to try again: LOGIN lab\n");
        let at = output.stderr.find("error: ").unwrap();
        let first = Output { stderr: output.stderr[at..].to_owned(), ..output };
        scene.assert_failed(&first, 4, &error);
        // kubectl tries again at once, several times; and whoever cannot prompt gets the same answer.
        for prompt in ["always", "never"] {
            let mut command = scene.keyfob.command(["kubernetes"]);
            scene.assert_failed(&Output::of(command.env("KEYFOB_PROMPT", prompt), b""), 4, &error);
        }
        assert_eq!(scene.idp.user_codes().len(), 1);
        scene.idp.auto(Auto::Approve);
        assert_eq!(scene.prompting(["login"]).code, Some(0), "`login` ignores the memory");
        scene.token();
    }
}

/// Terminals obey control characters, and callers copy stderr into logs.
#[test]
fn no_control_character_of_the_server_reaches_a_stream() {
    let evil = "\u{1b}[2J\u{9b}31m\u{7}\u{202e}\r\n\tx";
    let scene = Scene::new(
        Options {
            claims: json!({"preferred_username": format!("a{evil}"), "sub": format!("s{evil}")}),
            ..Options::default()
        },
        LAB,
    );
    let mut outputs = Vec::new();
    let error =
        |status| Reply::json(status, &json!({"error": format!("e{evil}"), "error_description": evil.repeat(9)}));
    for reply in [
        error(400),
        error(503),
        Reply::redirect(302, "https://portal.example/\u{9b}31m"),
        Reply::json(200, &json!({"device_code": evil, "user_code": evil, "verification_uri": evil})),
    ] {
        scene.idp.script(Endpoint::Device, [reply]);
        outputs.push(scene.prompting(["token"]));
    }
    let code = json!({
        "device_code": "d", "user_code": format!("AB{evil}CD"), "verification_uri": "https://portal.example/device",
        "verification_uri_complete": format!("https://portal.example/device?c={evil}"), "message": evil,
        "expires_in": 600, "interval": 1,
    });
    scene.idp.script(Endpoint::Device, [Reply::json(200, &code)]);
    scene.idp.script(Endpoint::Token, [error(400)]);
    outputs.push(scene.prompting(["token"]));
    assert!(outputs[4].stderr.contains("Enter code  AB[2J31m xCD\n"), "{:?}", outputs[4]);

    scene.idp.auto(Auto::Approve);
    outputs.push(scene.prompting(["login"]));
    assert_eq!(outputs[5].code, Some(0));
    outputs.push(scene.silently(["status"]));
    outputs.push(scene.silently(["status", "--json"]));
    outputs.push(scene.silently(["token", "--format", "json"]));
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [error(400), error(503)]);
    outputs.push(scene.silently(["token"]));
    outputs.push(Output::of(
        scene.keyfob.command(["token"]).env("KEYFOB_LOG", "debug").env("KEYFOB_PROMPT", "never"),
        b"",
    ));
    scene.idp.script(Endpoint::Revoke, [error(400)]);
    outputs.push(scene.silently(["logout"]));
    assert!(outputs[11].stderr.starts_with("warning: "), "{:?}", outputs[11]);

    for output in outputs {
        for text in [&output.stdout, &output.stderr] {
            let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(odd), "{output:?}");
        }
    }
}

// Sign-ins that come to nothing.

/// The failure below what a sign-in has shown.
fn after_the_prompt(output: Output) -> Output {
    let at = output.stderr.find("error: ").unwrap_or_default();
    Output { stderr: output.stderr[at..].to_owned(), ..output }
}

#[test]
fn how_a_poll_ends_a_sign_in_is_said_with_what_to_do() {
    for (reply, code, error) in [
        (
            Reply::error("bad_verification_code"),
            4,
            "the code is no longer valid (bad_verification_code)\nhint: to try again: LOGIN lab\n",
        ),
        (
            Reply::error("invalid_client"),
            1,
            "the provider ended the sign-in: invalid_client\n\
             hint: check the client id \"keyfob\"; if it has a secret, set `client-secret-file`\n",
        ),
        (
            Reply::body(200, "application/json", "{"),
            5,
            "the sign-in's answer from ISSUER/token was lost: its answer is not a JSON object\n\
             hint: sign in again: LOGIN lab\n",
        ),
        (
            Reply::json(200, &json!({"token_type": "Bearer"})),
            5,
            "the sign-in's answer from ISSUER/token was lost: its answer has no `access_token`\n\
             hint: sign in again: LOGIN lab\n",
        ),
    ] {
        let scene = Scene::lab();
        scene.idp.script(Endpoint::Token, [reply]);
        let error = format!("error: could not get a token for lab: {error}");
        scene.assert_failed(&after_the_prompt(scene.prompting(["token"])), code, &error);
    }
}

#[test]
fn a_renewal_that_brings_no_token_is_said() {
    for (answer, why) in [
        (json!({"access_token": "a\nb"}), "its `access_token` is not a token"),
        (json!({"access_token": "a", "token_type": "DPoP"}), "its token is of the type \"DPoP\", not Bearer"),
        (json!({"token_type": "Bearer"}), "its answer has no `access_token`"),
    ] {
        let scene = Scene::signed_in();
        scene.leave(-1);
        scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
        let error = format!("error: could not get a token for lab: could not reach ISSUER/token: {why}\n");
        scene.assert_failed(&scene.silently(["token"]), 5, &error);
    }
    let scene = Scene::signed_in();
    let claims = json!({
        "iss": scene.idp.issuer(), "aud": "keyfob", "sub": "user-bob", "exp": now() + 3600,
    });
    let answer = json!({"access_token": "of-bob", "id_token": scene.idp.sign(&claims)});
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [Reply::json(200, &answer)]);
    let error = "error: could not get a token for lab: the provider renewed the token for another account than the one \
                 that signed in\nhint: LOGIN --force lab\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
}

#[test]
fn an_id_token_that_cannot_be_used_is_said() {
    let scene = Scene::new(Options::default(), &format!("{LAB}token-kind = 'id'\n"));
    scene.idp.script(Endpoint::Token, [Reply::json(200, &json!({"access_token": "a", "id_token": "b"}))]);
    let error = "error: could not get a token for lab: the provider's ID token cannot be used: it is not a JWT\n";
    scene.assert_failed(&after_the_prompt(scene.prompting(["token"])), 1, error);
}

#[test]
fn a_sign_in_that_is_needed_says_why() {
    let scene = Scene::signed_in();
    scene.change(|session| session["refresh_token"] = json!(null));
    scene.leave(-1);
    let error = "error: could not get a token for lab: a sign-in is needed: the last token has ended and there is none to \
                 renew it with, and prompting is switched off\nhint: LOGIN lab\n";
    scene.assert_failed(&scene.silently(["token"]), 3, error);
    // One that lives has not ended; the person wants a new one.
    scene.leave(1000);
    let error = "error: could not get a token for lab: a sign-in is needed, and prompting is switched off\n\
                 hint: run it in a terminal (`ssh -t`), show the sign-in on stderr by `--prompt always`, or sign in by \
                 steps: LOGIN lab --start\n";
    scene.assert_failed(&scene.silently(["login"]), 3, error);

    let options = Options { id_token: IdToken::First, ..Options::default() };
    let scene = Scene::new(options, &format!("{LAB}token-kind = 'id'\n"));
    scene.sign_in();
    scene.leave(-1);
    let error = "error: could not get a token for lab: a sign-in is needed: the provider renews no ID tokens, and \
                 prompting is switched off\nhint: LOGIN lab\n";
    scene.assert_failed(&scene.silently(["token"]), 3, error);

    let scene = Scene::new(Options::entra(), WORK);
    scene.sign_in();
    let refused = json!({"error": "invalid_grant", "suberror": "basic_action", "error_description": "More proof."});
    scene.idp.script(Endpoint::Token, [Reply::json(400, &refused)]);
    let error = "error: could not get a token for work: a sign-in is needed: the provider wants one for this \
                 (invalid_grant: More proof.), and prompting is switched off\nhint: LOGIN work --scope api/.default\n";
    scene.assert_failed(&scene.silently(["token", "--scope", "api/.default"]), 3, error);

    let scene = Scene::new(Options::default(), &format!("{LAB}[hosts]\n'https://git.example.com' = 'lab'\n"));
    let mut git = scene.command("always", ["git", "get"]);
    git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::piped());
    let output = Output::of(&mut git, b"protocol=https\nhost=git.example.com\n\n");
    // What git is told: not to ask for a password either.
    assert_eq!(output.stdout, "quit=1\n");
    let error = "error: run `LOGIN lab` in a terminal: could not get a token for lab: a sign-in is needed, and \
                 GIT_TERMINAL_PROMPT forbids a prompt\nhint: LOGIN lab\n";
    scene.assert_failed(&Output { stdout: String::new(), ..output }, 3, error);
}

#[test]
fn a_caller_that_waits_no_longer_says_how_to_go_on() {
    let scene = Scene::lab();
    let output = after_the_prompt(scene.prompting(["login", "--timeout", "1"]));
    // How long the code lives, and a moment less.
    let output = Output { stderr: output.stderr.replace(" 9 min more\n", " 10 min more\n"), ..output };
    let error = "error: could not get a token for lab: nobody has entered the code within 1 s; it is good for 10 min more\n\
                 hint: to go on with it: LOGIN lab\n";
    scene.assert_failed(&output, 3, error);

    let scene = Scene::lab();
    let error = "error: could not sign in to lab: no sign-in was started\nhint: LOGIN lab --start\n";
    scene.assert_failed(&scene.prompting(["login", "--poll"]), 3, error);
}

#[test]
fn an_account_that_may_not_sign_in_is_named_with_the_one_that_may() {
    let scene = Scene::new(Options::default(), &format!("{LAB}account = 'alice@example.com'\n"));
    scene.idp.auto(Auto::Approve);
    scene.idp.set_user("bob@example.com");
    let error = "error: could not get a token for lab: bob@example.com signed in, but this profile is for \
                 alice@example.com\nhint: to try again: LOGIN lab\n";
    scene.assert_failed(&after_the_prompt(scene.prompting(["token"])), 4, error);

    let scene = Scene::signed_in();
    scene.idp.set_user("bob@example.com");
    let error = "error: could not get a token for lab: bob@example.com signed in, but this session belongs to \
                 alice@example.com\nhint: for a session of its own, set `account = \"bob@example.com\"` in the profile, \
                 or pass --account; to try again: LOGIN lab\n";
    scene.assert_failed(&after_the_prompt(scene.prompting(["login", "--force"])), 4, error);
}

// What callers cannot be told.

#[test]
fn a_token_that_a_caller_cannot_take_is_not_handed_out() {
    let scene = Scene::new(Options::default(), &format!("{LAB}[hosts]\n'https://git.example.com' = 'lab'\n"));
    scene.sign_in();
    let change = |of: &str, value: serde_json::Value| {
        scene.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                token[of] = value.clone();
            }
        });
    };
    change("token", json!("a\nb"));
    let mut git = scene.command("never", ["git", "get"]);
    let output = Output::of(git.stdin(Stdio::piped()), b"protocol=https\nhost=git.example.com\n\n");
    assert_eq!(output.stdout, "quit=1\n");
    let error = "error: the provider's token cannot be passed to git: it holds a line break\n";
    scene.assert_failed(&Output { stdout: String::new(), ..output }, 1, error);

    change("token", json!("abc"));
    change("expires_at", json!(400_000_000_000_i64));
    for (words, error) in [
        (
            &["az", "--profile", "lab", "account", "get-access-token"][..],
            "ERROR: the token ends after the year 9999, which cannot be told\n",
        ),
        (
            &["azd", "--profile", "lab", "auth", "token", "--output", "json"],
            "{\"error\":\"failed\",\"message\":\"ERROR: the token ends after the year 9999, which cannot be told\",\
             \"suggestion\":\"\"}\n",
        ),
    ] {
        scene.assert_failed(&scene.silently(words), 1, error);
    }
}

#[test]
fn what_az_cannot_do_is_said_on_one_line() {
    let work = "[profile.work]\nprovider = 'entra'\nclient-id = 'c'\ntoken-endpoint = 'ISSUER/token'\n";
    let scene = Scene::new(Options::entra(), work);
    for (words, code, error) in [
        (
            &["azd", "auth", "token", "--tenant-id", "t"][..],
            1,
            "ERROR: HOME/config.toml:4: `token-endpoint` was set by hand, so no other tenant can be asked\n",
        ),
        (
            &["az", "account", "show", "--query", "["],
            2,
            "ERROR: argument --query: \"[\" is not JMESPath: Parse error: Unexpected nud token -- found Eof\n",
        ),
        (
            &["az", "account", "show", "--output", "table"],
            2,
            "ERROR: argument --output: keyfob's az answers json, tsv and none, not \"table\"\n",
        ),
    ] {
        scene.assert_failed(&scene.silently(words), code, error);
    }
    scene.keyfob.write_config("");
    let error = "ERROR: no profile says `provider = \"entra\"`\n\
                 add one to HOME/config.toml, or name another below [az]: profile = \"…\"\n";
    scene.assert_failed(&scene.silently(["az", "account", "show"]), 1, error);
}

#[test]
fn a_page_for_people_that_cannot_be_written_is_a_failure() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { skip!("/dev/full is not there") };
    let scene = Scene::lab();
    let child = scene.keyfob.command(["status"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    let error = "error: could not write to stdout: No space left on device (os error 28)\n";
    assert_eq!((String::from_utf8_lossy(&ended.stderr).as_ref(), ended.status.code()), (error, Some(1)));
}
