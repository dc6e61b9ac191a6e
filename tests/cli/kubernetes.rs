//! What a kubeconfig may have keyfob do: by the link for lists of allowed programs, and with a profile that names its
//! clusters.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;

use crate::common::{LAB, PROGRAM, Scene};
use keyfob_test_support::Output;
use keyfob_test_support::provider::Options;

/// Runs the link with these words.
fn run(scene: &Scene, words: &[&str]) -> Output {
    let link = scene.keyfob.home().join("keyfob-kubernetes");
    if !link.exists() {
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    }
    Output::of(scene.keyfob.other(link).args(words).env("KEYFOB_PROMPT", "never"), b"")
}

#[test]
fn the_link_answers_a_client_by_profile() {
    let scene = Scene::signed_in(Options::default());
    let answer = scene.silently(["kubernetes", "--profile", "lab"]);
    assert!(answer.stdout.starts_with("{\"apiVersion\":\"client.authentication.k8s.io/v1\""), "{answer:?}");
    for words in [&["--profile", "lab"][..], &["-p", "lab"], &["--profile=lab"], &[]] {
        let output = run(&scene, words);
        assert_eq!((output.code, &output.stdout, output.stderr.as_str()), (Some(0), &answer.stdout, ""), "{words:?}");
    }
}

#[test]
fn the_link_does_nothing_else() {
    let scene = Scene::signed_in(Options::default());
    for (words, what) in [
        (&["--profile", "lab", "--issuer", "https://id.example.com"][..], "unexpected argument '--issuer' found"),
        (&["--client-id=c"], "unexpected argument '--client-id' found"),
        (&["--exec-info", "/etc/hostname"], "unexpected argument '--exec-info' found"),
        (&["--exec-info=-"], "unexpected argument '--exec-info' found"),
        (&["--api-version=v1"], "unexpected argument '--api-version' found"),
        (&["--ca-file", "/etc/hostname"], "unexpected argument '--ca-file' found"),
        (&["--version"], "unexpected argument '--version' found"),
        (&["token"], "unexpected argument 'token' found"),
        (&["kubernetes", "--profile", "lab"], "unexpected argument 'kubernetes' found"),
        (&["login", "lab"], "unexpected argument 'login' found"),
        (&["--", "token"], "unexpected argument 'token' found"),
        (&["--profile", "lab", "--profile", "lab"], "the argument '--profile <NAME>' cannot be used multiple times"),
    ] {
        let output = run(&scene, words);
        let (error, hint) = output.stderr.split_once('\n').unwrap();
        assert_eq!(
            (output.code, output.stdout.as_str(), error),
            (Some(2), "", &*format!("error: {what}")),
            "{words:?}"
        );
        let similar = "hint: a similar argument exists: '--profile'\n";
        assert!(hint == "hint: `keyfob-kubernetes --help` says what there is\n" || hint == similar, "{hint}");
    }
    let help = run(&scene, &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("\nUsage: keyfob-kubernetes [OPTIONS]\n"), "{}", help.stdout);
    assert!(!help.stdout.contains("issuer"), "{}", help.stdout);
}

/// What a client says with `provideClusterInfo`.
fn from(server: &str) -> String {
    format!("{{\"spec\":{{\"cluster\":{{\"server\":\"{server}\"}}}}}}")
}

#[test]
fn a_profile_that_names_its_clusters_answers_those_alone() {
    let clusters = "clusters = ['https://10.0.0.1:6443', 'https://*.k8s.example.com/prod']\n";
    let scene = Scene::with(Options::default(), &format!("{LAB}{clusters}"));
    scene.sign_in();
    let ask = |words: &[&str], request: Option<&str>| {
        let mut command = scene.command("never", [&["kubernetes", "--profile", "lab"], words].concat());
        command.envs(request.map(|request| ("KUBERNETES_EXEC_INFO", request)));
        Output::of(&mut command, b"")
    };
    for server in ["https://10.0.0.1:6443", "HTTPS://10.0.0.1:6443/", "https://eu.k8s.example.com:443/prod/c-1"] {
        let output = ask(&[], Some(&from(server)));
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{server}");
    }
    for (server, origin) in [
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("http://10.0.0.1:6443", "http://10.0.0.1:6443"),
        ("https://10.0.0.1:6443.evil.example", ""),
        ("https://10.0.0.1:6443@evil.example", ""),
        ("https://evil.example#https://10.0.0.1:6443", ""),
        ("https://evil.example/https://10.0.0.1:6443", ""),
        ("https://eu.k8s.example.com/test", "https://eu.k8s.example.com"),
        ("https://k8s.example.com/prod", "https://k8s.example.com"),
        ("", ""),
    ] {
        let error = if origin.is_empty() {
            "error: profile \"lab\" has `clusters`, and the request does not say which one asks\n\
             hint: set `provideClusterInfo: true` in the kubeconfig's exec section\n"
                .to_owned()
        } else {
            format!(
                "error: {origin} is not among the `clusters` of profile \"lab\"\n\
                 hint: add it there only if its token may go to that cluster\n"
            )
        };
        let output = ask(&[], Some(&from(server)));
        assert_eq!((output.code, output.stdout.as_str(), output.stderr), (Some(2), "", error), "{server}");
    }
    for request in [None, Some("{}"), Some(r#"{"spec":{"cluster":{}}}"#)] {
        let output = ask(&[], request);
        assert!(output.code == Some(2) && output.stderr.contains("provideClusterInfo"), "{output:?}");
    }
    // The kubeconfig is not to say what the request is, nor anything of the profile.
    let file = scene.keyfob.home().join("request.json");
    fs::write(&file, from("https://10.0.0.1:6443")).unwrap();
    for (flag, value) in [("exec-info", file.to_str().unwrap()), ("api-version", "v1"), ("scope", "admin")] {
        let output = ask(&[&format!("--{flag}"), value], Some(&from("https://10.0.0.1:6443")));
        let error = format!(
            "error: profile \"lab\" has `clusters`, and takes no flag but --profile\nhint: leave out --{flag}\n"
        );
        assert_eq!((output.code, output.stdout.as_str(), output.stderr), (Some(2), "", error));
    }
    // Other callers are not a kubeconfig's.
    assert_eq!(scene.silently(["token"]).code, Some(0));
}

/// Whatever bytes a program is started with: an answer, or a mistake on the command line.
#[test]
fn words_that_are_not_text_are_survived() {
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let scene = Scene::new(Options::default());
    let run = |name: &OsStr, words: &[&OsStr]| {
        let mut command = scene.command("never", words);
        Output::of(command.arg0(name), b"")
    };
    let word = OsStr::new;
    // The hint of a missing sign-in names the program.
    for name in [odd, OsStr::from_bytes(b"/\xff/keyfob"), word("")] {
        let output = run(name, &[word("token")]);
        assert!(output.code == Some(3) && output.stderr.contains("hint: "), "{output:?}");
    }
    for words in [
        &[odd][..],
        &[word("token"), odd],
        &[word("token"), word("--profile"), odd],
        &[word("git"), odd],
        &[word("az"), odd],
        &[word("az"), word("account"), odd],
        &[word("login"), odd],
        &[word("status"), odd],
    ] {
        for name in [word("keyfob"), odd, word("az"), word("git-credential-keyfob"), word("keyfob-kubernetes")] {
            let output = run(name, words);
            assert!(output.code == Some(2), "{name:?} {words:?}: {output:?}");
            assert!(output.stdout.is_empty() && output.stderr.lines().count() <= 2, "{output:?}");
        }
    }
}
