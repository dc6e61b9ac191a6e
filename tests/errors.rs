//! What a person sees when a caller, the provider or a sign-in fails: one line that says what, at most one that says what
//! to do, the exit code that README promises, nothing on stdout. `errors_config` holds what is wrong with the configuration,
//! `errors_cache` what is wrong on this machine, `errors_setup` what keeps `keyfob setup` from its work; `common/errors.rs`
//! says how messages are compared.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;

use common::errors::Scene;
use common::{LAB, SOON, token};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Provider, Reply};
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
        ("[]".into(), "it is not a JSON object".into()),
        ("null".into(), "it is not a JSON object".into()),
        (
            json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"}).to_string(),
            format!(
                "its apiVersion is \"client.authentication.k8s.io/v1alpha1\", not {v1} or {v1}beta1\n\
                 hint: set `apiVersion: {v1}` in the kubeconfig's exec section"
            ),
        ),
        (
            json!({"apiVersion": "v1\u{1b}[2J"}).to_string(),
            format!(
                "its apiVersion is \"v1\\u001b[2J\", not {v1} or {v1}beta1\n\
                 hint: set `apiVersion: {v1}` in the kubeconfig's exec section"
            ),
        ),
        ("[".repeat(100_000), "it is not JSON (line 1, column 128)".into()),
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
                 hint: check `issuer`; for a server without metadata set `device-authorization-endpoint` and \
                 `token-endpoint`\n";
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
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
