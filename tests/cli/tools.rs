//! The callers of package managers and build tools, from the command line to the cache: which host gets what, what is dropped,
//! and what `exec` hands on.

use std::process::Stdio;

use crate::common::{Scene, refresh_token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Endpoint, Options};
use serde_json::{Value, json};

const CONFIG: &str = "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n[hosts]\n\
    'https://ghcr.io' = { profile = 'lab', callers = ['docker', 'goauth', 'keyring'] }\n\
    'https://*.wild.example' = { profile = 'lab', callers = ['docker', 'goauth'] }\n\
    'https://pypi.example/team' = { profile = 'lab', callers = ['keyring'], username = 'oauth2' }\n\
    'https://github.com' = 'lab'\n";

fn scene() -> Scene {
    let scene = Scene::with(Options::default(), CONFIG);
    scene.sign_in();
    scene
}

fn ask(scene: &Scene, words: &[&str], input: &str) -> Output {
    Output::of(scene.command("never", words).stdin(Stdio::piped()), input.as_bytes())
}

#[track_caller]
fn said(scene: &Scene, words: &[&str], input: &str) -> String {
    let output = ask(scene, words, input);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    output.stdout
}

#[test]
fn a_rule_is_for_the_callers_that_it_names() {
    let scene = scene();
    let token = scene.token();
    let docker = said(&scene, &["docker", "get"], "ghcr.io");
    assert_eq!(
        docker,
        format!("{{\"ServerURL\":\"ghcr.io\",\"Username\":\"x-access-token\",\"Secret\":\"{token}\"}}\n")
    );
    assert_ne!(refresh_token(&scene.session()), token, "docker would send that to the registry");
    assert_eq!(said(&scene, &["docker", "list"], ""), "{\"https://ghcr.io\":\"x-access-token\"}\n");
    let goauth = |place: &str| format!("https://{place}\n\nAuthorization: Bearer {token}\n\n");
    assert_eq!(said(&scene, &["goauth"], ""), goauth("ghcr.io"));
    let refused = "HTTP/1.1 404 Not Found\n\n";
    assert_eq!(said(&scene, &["goauth", "https://a.wild.example/m/@v/list"], refused), goauth("a.wild.example"));
    assert_eq!(said(&scene, &["goauth", "https://github.com/m/@v/list"], refused), "");
    let creds = said(&scene, &["keyring", "get", "https://pypi.example/team/simple/", "--mode", "creds"], "");
    assert_eq!(creds, format!("oauth2\n{token}\n"));
    for (words, input, none) in [
        (&["terraform", "get", "ghcr.io"][..], "", "{}\n"),
        (&["bazel", "get"], "{\"uri\":\"https://ghcr.io\"}", "{}\n"),
        (&["git", "get"], "protocol=https\nhost=ghcr.io\n", ""),
    ] {
        assert_eq!(said(&scene, words, input), none);
    }
    let docker = ask(&scene, &["docker", "get"], "github.com");
    assert_eq!((docker.code, docker.stdout.as_str()), (Some(1), "credentials not found in native keychain\n"));
}

/// A bare host is keyfob's whatever path its rule names, and gets nothing.
#[test]
fn a_bare_host_that_a_rule_is_about_is_not_handed_on() {
    let scene = scene();
    // The next keyring prints what it is asked for.
    let folder = scene.keyfob.home().join("bin");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("/bin/echo", folder.join("keyring")).unwrap();
    for (host, code, said) in [
        ("ghcr.io", 1, ""),
        ("pypi.example", 1, ""),
        ("pypi.example:443", 1, ""),
        ("elsewhere.example", 0, "get elsewhere.example ada\n"),
    ] {
        let mut keyring = scene.command("never", ["keyring", "get", host, "ada"]);
        let output = Output::of(keyring.env("PATH", &folder), b"");
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(code), said, ""), "{host}");
    }
}

#[test]
fn what_is_erased_is_the_access_token_alone() {
    let scene = scene();
    let before = scene.session();
    let token = scene.token();
    assert_eq!(said(&scene, &["docker", "erase"], "ghcr.io"), "");
    let after = scene.session();
    assert_eq!(after["refresh_token"], before["refresh_token"]);
    let tokens = |session: &Value| session["tokens"].as_array().unwrap().len();
    assert_eq!(tokens(&after), tokens(&before) - 1);
    assert_eq!(said(&scene, &["docker", "list"], ""), "{}\n");
    assert_eq!(said(&scene, &["goauth"], ""), "", "the first call of Go asks the provider nothing");
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
    let docker: Value = serde_json::from_str(&said(&scene, &["docker", "get"], "ghcr.io")).unwrap();
    assert_ne!(docker["Secret"], json!(token));
    assert_eq!(said(&scene, &["docker", "erase"], "elsewhere.example"), "");
}

/// Bazel's and Terraform's, byte for byte: the first answer and the next, another once a token has ended or was dropped, a host
/// that is not mapped, and nobody signed in.
#[test]
fn bazel_and_terraform_are_answered_until_nobody_is_signed_in() {
    let toml = "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n[hosts]\n\
                'https://mapped.example' = { profile = 'lab', callers = ['bazel', 'terraform'] }\n";
    let bazel = |host: &str| (["bazel", "get", ""], format!("{{\"uri\":\"https://{host}/a\"}}"));
    let terraform = |host: &'static str| (["terraform", "get", host], String::new());
    for is_bazel in [true, false] {
        let scene = Scene::with(Options::default(), toml);
        scene.sign_in();
        let asked = |host| {
            let (words, input) = if is_bazel { bazel(host) } else { terraform(host) };
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            ask(&scene, &words, &input)
        };
        let answered = || {
            let output = asked("mapped.example");
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
            let token = scene.token();
            let session = scene.session();
            let tokens = session["tokens"].as_array().unwrap();
            let end = tokens.iter().find(|known| known["token"] == token.as_str()).unwrap()["expires_at"].as_i64();
            let end = jiff::Timestamp::from_second(end.unwrap()).unwrap();
            let answer = if is_bazel {
                format!("{{\"headers\":{{\"Authorization\":[\"Bearer {token}\"]}},\"expires\":\"{end}\"}}\n")
            } else {
                format!("{{\"token\":\"{token}\"}}\n")
            };
            assert_eq!(output.stdout, answer);
            token
        };
        let first = answered();
        let before = scene.idp.requests().len();
        assert_eq!(answered(), first);
        assert_eq!(scene.idp.requests().len(), before, "the cache needs no provider");
        if is_bazel {
            scene.leave(-1);
        } else {
            assert_eq!(said(&scene, &["terraform", "forget", "mapped.example"], ""), "");
        }
        assert_ne!(answered(), first);
        let unmapped = asked("other.example");
        assert_eq!((unmapped.code, unmapped.stdout.as_str(), unmapped.stderr.as_str()), (Some(0), "{}\n", ""));
        std::fs::remove_dir_all(scene.keyfob.cache_dir()).unwrap();
        let nobody = asked("mapped.example");
        assert_eq!((nobody.code, nobody.stdout.as_str()), (Some(3), ""), "{nobody:?}");
        assert!(nobody.stderr.ends_with(" login lab\n"), "{nobody:?}");
    }
}

/// Bazel ends a helper after ten seconds. One that waits for a provider says so before, and the renewal goes on.
#[test]
fn bazel_is_told_before_its_time_is_up() {
    let scene = Scene::with(
        Options::default(),
        "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n[hosts]\n\
         'https://cache.example' = { profile = 'lab', callers = ['bazel'] }\n",
    );
    scene.sign_in();
    scene.leave(-1);
    let held = scene.idp.hold(Endpoint::Token);
    let bazel = || ask(&scene, &["bazel", "get"], "{\"uri\":\"https://cache.example/a\"}");
    let late = bazel();
    assert!(late.code != Some(0) && late.stdout.is_empty() && late.stderr.starts_with("error: "), "{late:?}");
    drop(held);
    scene.settle();
    let answered = bazel();
    assert_eq!((answered.code, answered.stderr.as_str()), (Some(0), ""), "{answered:?}");
    assert_eq!(scene.idp.count("token:refresh_token"), 1, "what was asked for first is what is answered");
}

#[test]
fn cargo_is_answered_by_the_name_it_runs() {
    let scene = scene();
    let request = "{\"v\":1,\"registry\":{\"index-url\":\"sparse+https://crates.example/\"},\"kind\":\"get\"}\n";
    let answer = said(&scene, &["--cargo-plugin"], request);
    assert_eq!(answer, "{\"v\":[1]}\n{\"Err\":{\"kind\":\"url-not-supported\"}}\n");
}

#[test]
fn exec_puts_the_token_into_the_environment_and_nowhere_else() {
    let scene = scene();
    let token = scene.token();
    let script = "printf '%s\\n' \"$A_TOKEN\" \"$B\"; tr '\\0' ' ' < /proc/$$/cmdline; exit 7";
    let words = ["exec", "--env", "A_TOKEN=lab", "--env=B=lab", "sh", "-c", script];
    let output = ask(&scene, &words, "");
    assert_eq!((output.code, output.stderr.as_str()), (Some(7), ""));
    assert!(output.stdout.starts_with(&format!("{token}\n{token}\nsh -c ")), "{output:?}");
    let shown = output.stdout.lines().skip(2).collect::<String>();
    assert!(!shown.contains(&token));
    for (program, code) in [("keyfob-no-such-program", 127), ("/", 126)] {
        let output = ask(&scene, &["exec", "--env", "A=lab", "--", program], "");
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.starts_with(&format!("error: could not run {program}: ")), "{output:?}");
    }
    for words in [&["exec", "--", "true"][..], &["exec", "--env", "A=lab"], &["exec", "--env", "1=lab", "--", "true"]] {
        assert_eq!(ask(&scene, words, "").code, Some(2), "{words:?}");
    }
    std::fs::remove_dir_all(scene.keyfob.cache_dir()).unwrap();
    let output = ask(&scene, &["exec", "--env", "A=lab", "--", "echo", "ran"], "");
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
}
