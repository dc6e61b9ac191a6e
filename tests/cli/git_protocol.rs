//! git's credential protocol, byte for byte: what gets a token, and everything that must not.
//!
//! A session with a fresh token is always there, and requests that do get it stand in the same tests: a helper that is
//! merely silent fails them.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::git::{CONFIG, ask, scene};
use crate::common::{PROGRAM, SOON, Scene, token};
use keyfob_test_support::provider::{Endpoint, Options};
use keyfob_test_support::{Keyfob, Output};

/// What those who can do no better get.
const BASIC: &str = "username=x-access-token\npassword=abc\npassword_expiry_utc=4102444800\n";
/// What a host gets that wants a user name.
const OAUTH2: &str = "username=oauth2\npassword=abc\npassword_expiry_utc=4102444800\n";
/// What git gets that takes any scheme.
const BEARER: &str = "capability[]=authtype\nauthtype=Bearer\ncredential=abc\npassword_expiry_utc=4102444800\n";
/// What is added for git that will ask again; the middle is the token's serial number, and how it is shown.
const STATE: &str = "capability[]=state\nstate[]=keyfob:00000000deadbeef/bearer\ncontinue=1\n";
/// The same where it is shown as a password.
const STATE_BASIC: &str = "capability[]=state\nstate[]=keyfob:00000000deadbeef/basic\ncontinue=1\n";

/// Asserts that this was the whole answer, and all was well.
#[track_caller]
fn assert_says(output: &Output, stdout: &str, about: &[u8]) {
    let about = String::from_utf8_lossy(&about[..about.len().min(400)]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), (stdout, "", Some(0)), "{about:?}");
}

/// The access tokens in the cache.
fn access_tokens(scene: &Scene) -> Vec<String> {
    let session = scene.session();
    let tokens = session["tokens"].as_array().cloned().unwrap_or_default();
    let access = tokens.iter().filter(|token| token["key"]["kind"] == "access");
    access.map(|token| token["token"].as_str().unwrap().to_owned()).collect()
}

// get: who gets a token, and in which words.

#[test]
fn a_request_for_a_mapped_host_gets_the_token() {
    let scene = scene();
    let seen = scene.idp.requests().len();
    let all = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com\n";
    for (request, answer) in [
        ("protocol=https\nhost=github.com\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\n\n", BASIC.to_owned()),
        ("host=github.com\nprotocol=https\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\n\nhost=evil.example\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\npath=team/repo.git\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\nusername=ada\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\npassword=\nunknown=x\nunknown[]=x\nunknown[]=y\n", BASIC.to_owned()),
        // The decided cases: neither case nor a port that is the usual one make another host.
        ("protocol=HTTPS\nhost=github.com\n", BASIC.to_owned()),
        ("protocol=https\nhost=GitHub.com\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com:443\n", BASIC.to_owned()),
        // Every other kind of pattern.
        ("protocol=https\nhost=one.visualstudio.com\n", BASIC.to_owned()),
        ("protocol=https\nhost=git.lab:8443\npath=team/repo.git\n", OAUTH2.to_owned()),
        ("protocol=https\nhost=git.lab:8443\npath=team\n", OAUTH2.to_owned()),
        ("protocol=https\nhost=corp.example\nusername=ada\n", BASIC.to_owned()),
        ("protocol=http\nhost=127.0.0.1:8080\n", BASIC.to_owned()),
        // What git can and the server wants.
        ("capability[]=authtype\nprotocol=https\nhost=github.com\n", BEARER.to_owned()),
        ("capability[]=state\nprotocol=https\nhost=github.com\n", format!("{BASIC}{STATE_BASIC}")),
        (all, format!("{BEARER}{STATE}")),
        (&format!("{all}wwwauth[]=Bearer realm=\"x\"\nwwwauth[]=Basic\n"), format!("{BEARER}{STATE}")),
        (&format!("{all}wwwauth[]=Basic realm=\"x\"\n"), format!("{BASIC}{STATE_BASIC}")),
        (&format!("{all}wwwauth[]=Bearer authorization_uri=https://evil.example/token\n"), format!("{BEARER}{STATE}")),
        (
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.lab:8443\npath=team\nwwwauth[]=Bearer\n",
            format!("{OAUTH2}{STATE_BASIC}"),
        ),
        // Asked again: another token than this one was refused, so this one is good; and it is the last answer.
        (&format!("{all}state[]=keyfob:0000000000000000/bearer\n"), BEARER.to_owned()),
        // Asked again, since the server takes Basic alone: the same token in the other scheme.
        (
            &format!("{all}wwwauth[]=Basic realm=\"x\"\nstate[]=keyfob:00000000deadbeef/bearer\n"),
            format!("{BASIC}{STATE_BASIC}"),
        ),
        // Where no rule of the host has a path or a user name, nobody asks what they are.
        ("protocol=https\nhost=github.com\npath=org/My%20Project/_git/r\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\npath=a//b#c?d;e%zz\\\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\npath=\nusername=\n", BASIC.to_owned()),
        ("protocol=https\nhost=github.com\nusername=CORP\\ada\n", BASIC.to_owned()),
        ("protocol=https\nhost=corp.example\nusername=ada\npath=a//../b\n", BASIC.to_owned()),
        // Where one has a path, it is decoded once.
        ("protocol=https\nhost=git.lab:8443\npath=team/My%20Project/_git/r\n", OAUTH2.to_owned()),
        (&format!("{all}authtype=Bearer\n"), format!("{BEARER}{STATE}")),
        (&format!("{all}state[]=other:00000000deadbeef\n"), format!("{BEARER}{STATE}")),
    ] {
        assert_says(&ask(&scene, "get", request), &answer, request.as_bytes());
    }
    let latin = b"protocol=https\nhost=github.com\npath=b\xfcro/r\nusername=J\xfcrg\n";
    assert_says(&ask(&scene, "get", latin), BASIC, latin);
    assert_eq!(scene.idp.requests().len(), seen, "the cache needs no provider");
}

/// A client may keep its end open: what ends a request is an empty line.
#[test]
fn a_request_ends_at_an_empty_line() {
    let scene = scene();
    let mut command = scene.command("never", ["git", "get"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"protocol=https\nhost=github.com\n\n").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), child.wait().unwrap().code()), (BASIC, Some(0)));
    drop(stdin);
}

#[test]
fn what_is_refused_is_named_in_the_log() {
    let scene = scene();
    for (request, why) in [
        (
            "protocol=https\nhost=github.com\r\n",
            "keyfob: not a request that gets a token: it has an empty key or a control character\n",
        ),
        (
            "url=https://ada:secret@github.com\nprotocol=https\nhost=github.com\n",
            "keyfob: not a request that gets a token: its `url` says something else than its parts\n",
        ),
        (
            "protocol=https\nhost=git.lab:8443\npath=team//r\n",
            "keyfob: its path has an empty component, `.` or `..`, and https://git.lab:8443/team has one: no token for this request\n",
        ),
        (
            "protocol=https\nhost=git.lab:8443\npath=%74eam\n",
            "keyfob: its path has something encoded that no client encodes, and https://git.lab:8443/team has one: no token for this request\n",
        ),
    ] {
        let mut command = scene.command("never", ["git", "get"]);
        let output = Output::of(command.env("KEYFOB_LOG", "debug").stdin(Stdio::piped()), request.as_bytes());
        assert_eq!((output.stdout.as_str(), output.code), ("", Some(0)));
        assert!(output.stderr.ends_with(why), "{}", output.stderr);
    }
}

#[test]
fn long_values_and_long_lists_are_survived() {
    let scene = scene();
    let long = "a".repeat(100_000);
    let good = "capability[]=authtype\nprotocol=https\nhost=github.com\n";
    for request in [
        format!("{good}wwwauth[]=Bearer realm=\"{long}\"\n"),
        format!("{good}{}", "wwwauth[]=Bearer realm=\"x\"\n".repeat(900)),
        format!("{good}path={long}\n"),
        format!("{good}username={long}\n"),
        format!("{good}{long}={long}\n"),
        format!("{good}{}", format!("state[]=other:{long}\n").repeat(5)),
    ] {
        assert_says(&ask(&scene, "get", &request), BEARER, request.as_bytes());
    }
    for request in [
        format!("protocol=https\nhost=github.com{long}\n"),
        format!("protocol=https\nhost={long}.github.com\n"),
        format!("protocol={long}\nhost=github.com\n"),
        // Not a request that git makes.
        format!("{good}{}", format!("wwwauth[]={long}\n").repeat(11)),
    ] {
        assert_says(&ask(&scene, "get", &request), "", request.as_bytes());
    }
}

/// Requests that must get nothing.
const ATTACKS: &[&[u8]] = &[
    b"",
    b"\n",
    b"\n\n",
    b"=\n",
    b"nonsense\n",
    b"\xff\xfe\n",
    // A key twice, the second being the better or the worse one.
    b"protocol=https\nhost=github.com\nhost=github.com\n",
    b"protocol=https\nhost=github.com\nhost=evil.example\n",
    b"protocol=https\nhost=evil.example\nhost=github.com\n",
    b"protocol=https\nprotocol=https\nhost=github.com\n",
    b"protocol=http\nprotocol=https\nhost=github.com\n",
    b"protocol=https\nhost=github.com\npath=a\npath=a\n",
    b"protocol=https\nhost=github.com\nusername=a\nusername=a\n",
    b"protocol=https\nhost=github.com\nunknown=a\nunknown=a\n",
    // Empty or missing.
    b"protocol=https\n",
    b"host=github.com\n",
    b"protocol=https\nhost=\n",
    b"protocol=\nhost=github.com\n",
    b"protocol=https\n\nhost=github.com\n",
    b"\nprotocol=https\nhost=github.com\n",
    b"protocol\nhost=github.com\n",
    b"protocol=https\nhost\n",
    b"protocol=https\nhost=github.com\n=x\n",
    b"protocol=https\nhost=github.com\nnonsense\n",
    b" protocol=https\nhost=github.com\n",
    b"protocol =https\nhost=github.com\n",
    b"Protocol=https\nHost=github.com\n",
    b"protocol[]=https\nhost[]=github.com\n",
    // Control characters in a value.
    b"protocol=https\r\nhost=github.com\r\n",
    b"protocol=https\nhost=github.com\r\n",
    b"protocol=https\nhost=github.com\r",
    b"protocol=https\nhost=git\rhub.com\n",
    b"protocol=https\nhost=github.com\0\n",
    b"protocol=https\nhost=github.com\0.evil.example\n",
    b"protocol=https\0\nhost=github.com\n",
    b"protocol=https\nhost=github.com\t\n",
    b"protocol=https\nhost=github.com\x7f\n",
    b"protocol=https\nhost=github.com\xc2\x85\n",
    b"protocol=https\nhost=github.com\npath=a\rb\n",
    b"protocol=https\nhost=github.com\nwwwauth[]=Basic\r\n",
    b"protocol=https\nhost=github.com\npath=a\0b\n",
    // Hosts that look like it.
    b"protocol=https\nhost=github.com.attacker.example\n",
    b"protocol=https\nhost=evil.com#.github.com\n",
    b"protocol=https\nhost=evil.com?.github.com\n",
    b"protocol=https\nhost=github.com/.evil.com\n",
    b"protocol=https\nhost=github.com\\.evil.com\n",
    b"protocol=https\nhost=github.com@evil.com\n",
    b"protocol=https\nhost=evil.com@github.com\n",
    b"protocol=https\nhost=ada:x@github.com\n",
    b"protocol=https\nhost=github.com \n",
    b"protocol=https\nhost= github.com\n",
    b"protocol=https\nhost=github.com.\n",
    b"protocol=https\nhost=github.com.:443\n",
    b"protocol=https\nhost=.github.com\n",
    b"protocol=https\nhost=github..com\n",
    b"protocol=https\nhost=www.github.com\n",
    b"protocol=https\nhost=notgithub.com\n",
    b"protocol=https\nhost=github.co\n",
    b"protocol=https\nhost=github%2ecom\n",
    b"protocol=https\nhost=github.com%0a\n",
    b"protocol=https\nhost=%67ithub.com\n",
    b"protocol=https\nhost=g\xc4\xb1thub.com\n",
    b"protocol=https\nhost=\xc2\xadgithub.com\n",
    b"protocol=https\nhost=github\xe3\x80\x82com\n",
    b"protocol=https\nhost=gith\xffub.com\n",
    b"protocol=https\nhost=[github.com]\n",
    b"protocol=https\nhost=https://github.com\n",
    // Ports.
    b"protocol=https\nhost=github.com:\n",
    b"protocol=https\nhost=github.com:80\n",
    b"protocol=https\nhost=github.com:0443\n",
    b"protocol=https\nhost=github.com:+443\n",
    b"protocol=https\nhost=github.com: 443\n",
    b"protocol=https\nhost=github.com:65979\n",
    b"protocol=https\nhost=github.com:443:443\n",
    b"protocol=https\nhost=github.com:443@evil.com\n",
    b"protocol=http\nhost=127.0.0.1\n",
    b"protocol=http\nhost=127.0.0.1:8081\n",
    b"protocol=http\nhost=127.1:8080\n",
    b"protocol=http\nhost=localhost:8080\n",
    b"protocol=https\nhost=127.0.0.1:8080\n",
    // Schemes, among them what git asks for proxies, certificates and mail.
    b"protocol=https%0ahost=github.com\n",
    b"protocol=https%0ahost=github.com\nhost=evil.example\n",
    b"protocol=http\nhost=github.com\n",
    b"protocol=http\nhost=github.com:443\n",
    b"protocol=cert\nhost=github.com\npath=github.com\n",
    b"protocol=cert\nhost=\npath=/home/ada/key.pem\n",
    b"protocol=smtp\nhost=github.com:443\n",
    b"protocol=imap\nhost=github.com\n",
    b"protocol=ssh\nhost=github.com\n",
    b"protocol=https \nhost=github.com\n",
    b"protocol=https:\nhost=github.com\n",
    b"protocol=http\nhost=proxy.example:3128\n",
    b"protocol=https\nhost=evil.example\n",
    // A whole address beside the parts.
    b"url=https://github.com\n",
    b"protocol=https\nhost=github.com\nurl=https://evil.example\n",
    b"protocol=https\nhost=evil.example\nurl=https://github.com\n",
    b"protocol=https\nhost=github.com\nurl=https://github.com\nurl=https://github.com\n",
    b"protocol=https\nhost=github.com\nurl=https://github.com\r\n",
    b"protocol=https\nhost=github.com\nurl=https://ada:x@github.com\n",
    b"protocol=https\nhost=github.com\nurl=https://ada@github.com\n",
    b"protocol=https\nhost=github.com\nurl=http://github.com\n",
    b"protocol=https\nhost=github.com\nurl=https://github.com:444\n",
    b"protocol=https\nhost=github.com\nurl=https://github.com%2f@evil.example\n",
    b"protocol=https\nhost=github.com\nurl=https://github.com\\@evil.example\n",
    b"protocol=https\nhost=github.com\nurl=https://evil.example@github.com:x\n",
    b"protocol=https\nhost=github.com\nurl=github.com\n",
    b"protocol=https\nhost=github.com\npath=a\nurl=https://github.com/b\n",
    b"url=https://github.com\nusername=x\npassword=abc\n",
    // One label, no more and no less.
    b"protocol=https\nhost=visualstudio.com\n",
    b"protocol=https\nhost=.visualstudio.com\n",
    b"protocol=https\nhost=a.b.visualstudio.com\n",
    b"protocol=https\nhost=*.visualstudio.com\n",
    b"protocol=https\nhost=evil.example#.visualstudio.com\n",
    b"protocol=https\nhost=evil.example:443.visualstudio.com\n",
    b"protocol=https\nhost=one.visualstudio.com.evil.example\n",
    b"protocol=https\nhost=onevisualstudio.com\n",
    // Paths, component by component.
    b"protocol=https\nhost=git.lab:8443\n",
    b"protocol=https\nhost=git.lab:8443\npath=\n",
    b"protocol=https\nhost=git.lab\npath=team/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=teams/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=Team/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=other/team/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=/team/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/../other/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/./repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team//repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team%2f..%2fother\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%2e%2e/other\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/..\\other\n",
    b"protocol=https\nhost=git.lab:8443\npath=team\\repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team?x\n",
    b"protocol=https\nhost=git.lab:8443\npath=team#x\n",
    b"protocol=https\nhost=git.lab:8443/team\npath=repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team;x/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team%3bx/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=%74eam/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%2e%2e/repo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team%252f..%252fother\n",
    b"protocol=https\nhost=git.lab:8443\npath=team%5crepo.git\n",
    b"protocol=https\nhost=git.lab:8443\npath=team%23x\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%0a\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%zz\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/%ff\n",
    b"protocol=https\nhost=git.lab:8443\npath=team/b\xfcro\n",
    // A user name that is for somebody.
    b"protocol=https\nhost=corp.example\n",
    b"protocol=https\nhost=corp.example\nusername=eve\n",
    b"protocol=https\nhost=corp.example\nusername=Ada\n",
    b"protocol=https\nhost=corp.example\nusername=\n",
    b"protocol=https\nhost=ada@corp.example\n",
];

#[test]
fn whatever_is_not_plainly_a_request_for_a_mapped_host_gets_nothing() {
    let scene = scene();
    let seen = scene.idp.requests().len();
    for attack in ATTACKS {
        assert_says(&ask(&scene, "get", attack), "", attack);
    }
    let good = "protocol=https\nhost=github.com\n";
    assert_says(&ask(&scene, "get", good), BASIC, good.as_bytes());
    assert_eq!(scene.idp.requests().len(), seen);
}

#[test]
fn neither_the_environment_nor_a_default_chooses_for_a_host() {
    let mut scene = Scene::with(
        Options::default(),
        "default-profile = 'lab'\n[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n",
    );
    scene.sign_in();
    scene.keyfob = scene.keyfob.env("KEYFOB_PROFILE", "lab");
    let request = "protocol=https\nhost=github.com\n";
    assert_says(&ask(&scene, "get", request), "", request.as_bytes());
}

#[test]
fn profile_and_host_stand_for_the_whole_of_hosts_and_go_together() {
    let scene = scene();
    let run = |args: &[&str], request: &str| scene.keyfob.run_with_input([&["git"], args, &["get"]].concat(), request);
    let pair = ["--profile", "lab", "--host", "https://other.example/team"];
    let mapped = "protocol=https\nhost=other.example\npath=team/repo.git\n";
    assert_says(&run(&pair, mapped), BASIC, mapped.as_bytes());
    for request in [
        "protocol=https\nhost=other.example\npath=repo.git\n",
        "protocol=https\nhost=other.example\n",
        "protocol=http\nhost=other.example\npath=team/repo.git\n",
        // It stands in [hosts], which is not asked.
        "protocol=https\nhost=github.com\npath=team/repo.git\n",
    ] {
        assert_says(&run(&pair, request), "", request.as_bytes());
    }
    for (args, message) in [
        (&pair[..2], "error: --profile without --host: which host may have its token?\n"),
        (&pair[2..], "error: --host without --profile: whose token may it have?\n"),
    ] {
        let output = run(args, mapped);
        assert_eq!((output.stdout.as_str(), output.code), ("", Some(2)), "{output:?}");
        assert!(output.stderr.starts_with(message), "{output:?}");
    }
}

#[test]
fn without_a_session_git_is_told_to_stop_and_the_person_what_to_do() {
    let scene = Scene::with(Options::default(), CONFIG);
    let output = ask(&scene, "get", "protocol=https\nhost=github.com\n");
    assert_eq!((output.stdout.as_str(), output.code), ("quit=1\n", Some(3)), "{output:?}");
    let (first, hint) = output.stderr.trim_end().split_once("\nhint: ").unwrap();
    let why = "could not get a token for lab: a sign-in is needed, and prompting is switched off";
    assert_eq!(first, format!("error: run `{hint}` in a terminal: {why}"), "the first line says what to do");
    assert!(hint.ends_with(" login lab"), "{hint}");
    assert_eq!(scene.names().iter().filter(|name| name.ends_with(".json")).count(), 0);
    assert_eq!(scene.idp.count("device"), 0);
}

/// Else git would ask the next helper, and then the person, for what is ours.
#[test]
fn a_host_that_is_mapped_to_a_profile_with_a_mistake_is_still_ours() {
    let keyfob = Keyfob::new(PROGRAM).config(
        "[profile.lab]\nissuer = 'nonsense'\nclient-id = 'c'\n[profile.gh]\nprovider = 'github'\n\
         [hosts]\n'https://a.example' = 'lab'\n'https://b.example' = 'gh'\n",
    );
    let ask = |words: &[&str], host: &str| {
        keyfob.run_with_input([&["git", "get"], words].concat(), format!("protocol=https\nhost={host}\n"))
    };
    let given = ["--profile", "nobody", "--host", "https://c.example"];
    for (words, host) in [(&[][..], "a.example"), (&[], "b.example"), (&given, "c.example")] {
        let output = ask(words, host);
        assert_eq!((output.stdout.as_str(), output.code), ("quit=1\n", Some(2)), "{output:?}");
        assert!(output.stderr.starts_with("error: "), "{output:?}");
    }
    assert_says(&ask(&[], "c.example"), "", b"c.example");
    // Whose host it is cannot be known.
    keyfob.write_config("[hosts]\n'https://a.example' = 3\n");
    let output = ask(&[], "a.example");
    assert_eq!((output.stdout.as_str(), output.code), ("", Some(2)), "{output:?}");
}

#[test]
fn a_refused_token_is_replaced_once_and_for_everybody() {
    let scene = scene();
    let again = "capability[]=authtype\ncapability[]=state\nauthtype=Bearer\nprotocol=https\nhost=github.com\n\
                 state[]=keyfob:00000000deadbeef/bearer\n";
    let first = ask(&scene, "get", again);
    let [token] = access_tokens(&scene).try_into().unwrap();
    assert_ne!(token, "abc");
    let answer = first.stdout.lines().collect::<Vec<_>>();
    assert_eq!(answer[..3], ["capability[]=authtype", "authtype=Bearer", &format!("credential={token}")]);
    assert!(answer[3].starts_with("password_expiry_utc=") && answer.len() == 4, "{answer:?}");
    assert_eq!((first.stderr.as_str(), first.code), ("", Some(0)));

    // The others, who were refused the same token, come later.
    for _ in 0..3 {
        assert_eq!(ask(&scene, "get", again), first);
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
}

// store, erase, capability, and whatever may come.

#[test]
fn store_and_the_unknown_read_nothing_say_nothing_and_change_nothing() {
    let scene = scene();
    let before = fs::read(scene.file()).unwrap();
    let secrets = "capability[]=authtype\nprotocol=https\nhost=github.com\nauthtype=Bearer\ncredential=stolen\n\
                   username=ada\npassword=stolen\noauth_refresh_token=stolen\nephemeral=1\n";
    for operation in ["store", "frobnicate", "GET", "approve", ""] {
        assert_says(&ask(&scene, operation, secrets), "", operation.as_bytes());
        assert_says(&ask(&scene, operation, b"\xff\0\r"), "", operation.as_bytes());
    }
    // Not even a configuration that cannot be read is in their way.
    scene.keyfob.write_config("nonsense");
    assert_says(&ask(&scene, "store", secrets), "", b"store");
    assert_eq!(fs::read(scene.file()).unwrap(), before);
}

#[test]
fn capability_says_what_git_may_ask_for() {
    let scene = scene();
    for input in ["", "protocol=https\nhost=github.com\n"] {
        let answer = "version 0\ncapability authtype\ncapability state\n";
        assert_says(&ask(&scene, "capability", input), answer, b"capability");
    }
}

#[test]
fn erase_drops_the_access_token_that_failed() {
    for request in [
        "protocol=https\nhost=github.com\nusername=x-access-token\npassword=abc\n",
        "capability[]=authtype\ncapability[]=state\nauthtype=Bearer\ncredential=abc\nprotocol=https\nhost=github.com\n\
         password_expiry_utc=4102444800\nwwwauth[]=Bearer realm=\"x\"\n",
    ] {
        let scene = scene();
        let before = scene.session();
        assert_says(&ask(&scene, "erase", request), "", request.as_bytes());
        let after = scene.session();
        assert_eq!(access_tokens(&scene), Vec::<String>::new());
        assert_eq!(after["refresh_token"], before["refresh_token"]);
        assert_eq!(after["account"], before["account"]);
        // The ID token is another token.
        assert_eq!(after["tokens"].as_array().unwrap().len(), before["tokens"].as_array().unwrap().len() - 1);
        assert_eq!(scene.idp.count("revoke"), 0);

        // A second one for the same failure finds nothing to do, and the next get makes a new token.
        assert_says(&ask(&scene, "erase", request), "", request.as_bytes());
        assert_eq!(scene.session(), after);
        let output = ask(&scene, "get", "protocol=https\nhost=github.com\n");
        let [token] = access_tokens(&scene).try_into().unwrap();
        assert!(output.stdout.starts_with(&format!("username=x-access-token\npassword={token}\n")), "{output:?}");
        assert_eq!(scene.idp.count("token:refresh_token"), 1);
    }
}

/// git's command has failed, and whoever holds the lock may be bringing a new token.
#[test]
fn erase_does_not_wait_for_a_provider() {
    let scene = scene();
    scene.leave(-1);
    let held = scene.idp.hold(Endpoint::Token);
    let refreshing = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let began = Instant::now();
    assert_says(&ask(&scene, "erase", "protocol=https\nhost=github.com\npassword=abc\n"), "", b"erase");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(held);
    token(&refreshing.finish());
    assert!(!access_tokens(&scene).contains(&"abc".to_owned()));
}

#[test]
fn erase_of_anything_else_changes_nothing() {
    let scene = scene();
    let before = fs::read(scene.file()).unwrap();
    let refresh = scene.session()["refresh_token"].as_str().unwrap().to_owned();
    for request in [
        "",
        "protocol=https\nhost=github.com\npassword=other\n",
        "protocol=https\nhost=github.com\npassword=ab\n",
        "protocol=https\nhost=github.com\npassword=\n",
        "protocol=https\nhost=github.com\nauthtype=Bearer\ncredential=other\n",
        &format!("protocol=https\nhost=github.com\npassword={refresh}\n"),
        &format!("protocol=https\nhost=github.com\noauth_refresh_token={refresh}\n"),
        "protocol=https\nhost=evil.example\npassword=abc\n",
        "protocol=http\nhost=github.com\npassword=abc\n",
        "protocol=https\nhost=github.com.\npassword=abc\n",
        "protocol=https\nhost=github.com\npassword=abc\npassword=abc\n",
        "protocol=https\nhost=github.com\r\npassword=abc\r\n",
    ] {
        assert_says(&ask(&scene, "erase", request), "", request.as_bytes());
        assert_eq!(fs::read(scene.file()).unwrap(), before, "{request:?}");
    }
    scene.keyfob.write_config("nonsense");
    assert_says(&ask(&scene, "erase", "protocol=https\nhost=github.com\npassword=abc\n"), "", b"erase");

    let nobody = Scene::with(Options::default(), CONFIG);
    assert_says(&ask(&nobody, "erase", "protocol=https\nhost=github.com\npassword=abc\n"), "", b"erase");
    assert_eq!(nobody.names(), Vec::<String>::new());
}

/// As gix-credentials 0.29 and 0.42 write it after a 401: the address beside the parts, and the answer's own user name.
#[test]
fn erase_by_gitoxide_drops_the_token() {
    for (url, parts) in [
        ("https://github.com/team/repo.git", "path=team/repo.git\nprotocol=https\nhost=github.com\n"),
        ("https://github.com/team/repo.git", "protocol=https\nhost=github.com\n"),
        ("https://ada@corp.example/team/repo.git", "protocol=https\nhost=corp.example\n"),
        (
            "https://git.lab:8443/team/My%20Project/_git/r",
            "path=team/My%20Project/_git/r\nprotocol=https\nhost=git.lab:8443\n",
        ),
        (
            "https://git.lab:8443/team/My%20Project/_git/r",
            "path=team/My Project/_git/r\nprotocol=https\nhost=git.lab:8443\n",
        ),
    ] {
        let scene = scene();
        let request = format!("url={url}\n{parts}username=x-access-token\npassword=abc\n\n");
        assert_says(&ask(&scene, "erase", &request), "", request.as_bytes());
        assert_eq!(access_tokens(&scene), Vec::<String>::new(), "{request}");
    }
}

/// `git credential reject` by hand.
#[test]
fn erase_without_a_token_drops_what_would_be_answered() {
    for request in ["protocol=https\nhost=github.com\n", "protocol=https\nhost=github.com\nusername=x-access-token\n"] {
        let scene = scene();
        let before = scene.session();
        for other in ["protocol=https\nhost=evil.example\n", "protocol=https\nhost=corp.example\nusername=eve\n"] {
            assert_says(&ask(&scene, "erase", other), "", other.as_bytes());
        }
        assert_eq!(scene.session(), before);
        assert_says(&ask(&scene, "erase", request), "", request.as_bytes());
        assert_eq!(access_tokens(&scene), Vec::<String>::new());
        let after = scene.session();
        assert_eq!(after["refresh_token"], before["refresh_token"]);
        assert_eq!(after["tokens"].as_array().unwrap().len(), before["tokens"].as_array().unwrap().len() - 1);
        assert_eq!(scene.idp.count("revoke"), 0);
    }
}

/// What was shown as the server takes none says nothing about the token.
#[test]
fn erase_in_a_scheme_that_the_server_does_not_take_keeps_the_token() {
    let scene = scene();
    let before = fs::read(scene.file()).unwrap();
    let host = "protocol=https\nhost=github.com\n";
    for request in [
        format!("{host}username=x\npassword=abc\nwwwauth[]=Bearer realm=\"x\"\n"),
        format!("{host}authtype=Bearer\ncredential=abc\nwwwauth[]=Basic realm=\"x\"\n"),
        // The rule says Basic.
        "protocol=https\nhost=git.lab:8443\npath=team\nauthtype=Bearer\ncredential=abc\n".to_owned(),
    ] {
        assert_says(&ask(&scene, "erase", &request), "", request.as_bytes());
        assert_eq!(fs::read(scene.file()).unwrap(), before, "{request}");
    }
}

/// The host refuses the account, so that the next token would be refused as well.
#[test]
fn a_token_that_was_just_issued_is_kept() {
    let scene = scene();
    scene.change(|session| {
        let now = session["fetched"]["at"].clone();
        for token in session["tokens"].as_array_mut().unwrap() {
            token["received_at"] = now.clone();
        }
    });
    let before = fs::read(scene.file()).unwrap();
    let said = "error: the host refused a token just issued to alice@example.com: no access?\n\
                hint: check the address of the repository, and whether this account may use it\n";
    let erased = ask(&scene, "erase", "protocol=https\nhost=github.com\nusername=x\npassword=abc\n");
    assert_eq!((erased.stdout.as_str(), erased.stderr.as_str(), erased.code), ("", said, Some(0)));
    let again = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com\n\
                 state[]=keyfob:00000000deadbeef/bearer\n";
    let asked = ask(&scene, "get", again);
    assert_eq!((asked.stdout.as_str(), asked.stderr.as_str(), asked.code), ("quit=1\n", said, Some(4)));
    assert_eq!(fs::read(scene.file()).unwrap(), before);
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
}

#[test]
fn by_its_own_name_it_is_the_same_helper() {
    let scene = scene();
    let (link, copy) = (scene.keyfob.home().join("git-credential-keyfob"), scene.keyfob.home().join("copy"));
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    fs::create_dir(&copy).unwrap();
    let copy = copy.join("git-credential-keyfob");
    fs::copy(PROGRAM, &copy).unwrap();
    for program in [link, copy] {
        let run = |operation: &str, request: &str| {
            let mut command = scene.keyfob.other(&program);
            Output::of(command.arg(operation).stdin(Stdio::piped()), request.as_bytes())
        };
        assert_says(&run("get", "protocol=https\nhost=github.com\n"), BASIC, b"get");
        assert_says(&run("get", "protocol=https\nhost=evil.example\n"), "", b"get");
        assert_says(&run("capability", ""), "version 0\ncapability authtype\ncapability state\n", b"capability");
    }
}

#[test]
fn without_an_operation_it_says_how_it_is_used() {
    let output = Keyfob::new(PROGRAM).run(["git"]);
    assert_eq!((output.stdout.as_str(), output.code), ("", Some(2)), "{output:?}");
    assert!(output.stderr.contains("OPERATION"), "{output:?}");
}
