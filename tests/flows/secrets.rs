//! Nothing that keyfob says, shows or leaves lying about holds a secret: not with its log on, not when something fails,
//! not when a server misbehaves. The one exception is the answer itself, and the files in the cache folder, which are
//! for their owner alone.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::common::{LAB, PROGRAM, SOON, Scene, token};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Client, Endpoint, Options, Provider, Reply};
use serde_json::json;

/// Looks different in every encoding.
const CLIENT_SECRET: &str = "s3cret+of/the client=&%";

/// What a server hands out that is no good. Long enough that none of it appears by chance.
const BAD_TOKEN: &str = "bad-token-7c1f9f1e52a04be8a4f3";

/// Everything that was said so far, and where.
struct Story {
    scene: Scene,
    said: Vec<(String, String)>,
}

impl Story {
    fn new(client: Client) -> Self {
        let idp = Provider::start(Options { clients: vec![client], ..Options::default() });
        let keyfob = keyfob_test_support::Keyfob::new(PROGRAM)
            .env("KEYFOB_LOG", "debug")
            .env("RUST_BACKTRACE", "full")
            .env("RUST_LIB_BACKTRACE", "full");
        let secret = keyfob.home().join("client-secret");
        fs::write(&secret, CLIENT_SECRET).unwrap();
        let profile = format!("{}client-secret-file = '{}'\n", LAB.replace("ISSUER", idp.issuer()), secret.display());
        keyfob.write_config(&profile);
        Self { scene: Scene { idp, keyfob }, said: Vec::new() }
    }

    fn idp(&self) -> &Provider {
        &self.scene.idp
    }

    /// Takes down what a run said; what a caller got on stdout is what it asked for, if it got it.
    fn note(&mut self, args: &[&str], output: &Output) {
        let answered = matches!(args[0], "token" | "kubernetes") && output.code == Some(0);
        let what = format!("{args:?} ({})", self.said.len());
        if !answered {
            self.said.push((format!("stdout of {what}"), output.stdout.clone()));
        }
        self.said.push((format!("stderr of {what}"), output.stderr.clone()));
    }

    /// Runs where a sign-in is shown; `code` is the exit code.
    #[track_caller]
    fn run(&mut self, args: &[&str], code: i32) {
        let output = self.scene.prompting(args.iter().copied());
        assert_eq!(output.code, Some(code), "{output:?}");
        self.note(args, &output);
    }

    /// The cached token has ended, the token endpoint answers this, and so the call fails.
    #[track_caller]
    fn refresh_fails(&mut self, reply: Reply, code: i32) {
        self.scene.leave(-1);
        self.idp().script(Endpoint::Token, [reply]);
        let output = self.scene.silently(["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{output:?}");
        self.scene.after_the_pause();
        self.note(&["refresh"], &output);
    }

    /// A sign-in is begun and approved, but this is the answer to its poll.
    #[track_caller]
    fn sign_in_fails(&mut self, reply: Reply, code: i32) {
        self.idp().auto(Auto::Approve);
        self.idp().script(Endpoint::Token, [reply]);
        self.run(&["login", "--force"], code);
    }

    /// Everything secret, and how else it can be written.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = self.idp().issued();
        secrets.extend([CLIENT_SECRET.to_owned(), BAD_TOKEN.to_owned()]);
        for request in self.idp().requests() {
            secrets
                .extend(["code_verifier", "client_secret"].iter().filter_map(|n| request.field(n)).map(str::to_owned));
            secrets.extend(request.header("authorization").map(|h| h.split(' ').next_back().unwrap().to_owned()));
        }
        secrets.sort_unstable();
        secrets.dedup();
        let encoded = secrets.iter().flat_map(|secret| {
            let form = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            // The end of a token is as good as the whole: a message may have been cut.
            let end = secret.chars().skip(secret.chars().count().saturating_sub(16)).collect();
            [form, STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), end, secret.clone()]
        });
        encoded.collect()
    }

    fn assert_nothing_leaked(&self) {
        let secrets = self.secrets();
        assert!(self.said.len() > 3 && secrets.len() > 10);
        for (place, text) in &self.said {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{secret:?} stands in the {place}:\n{text}");
            }
            assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{place}:\n{text}");
        }
        assert!(self.said.iter().any(|(_, text)| text.contains("keyfob: POST ")), "the log was on");
        let mut files = Vec::new();
        walk(self.scene.keyfob.home(), &mut files);
        for secret in &secrets {
            assert!(
                !files.iter().any(|file| file.contains(secret.as_str())),
                "{secret:?} is in a file's name: {files:?}"
            );
        }
    }
}

/// Every path below a folder.
fn walk(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        paths.push(path.to_str().unwrap().to_owned());
        if path.is_dir() {
            walk(&path, paths);
        }
    }
}

/// From the first sign-in to the last logout, with everything that can go wrong on the way.
fn whole_story(client: Client) {
    let mut story = Story::new(client);
    story.idp().auto(Auto::After(1));
    story.run(&["token"], 0);
    story.run(&["token", "--format", "json"], 0);
    story.run(&["kubernetes"], 0);
    story.run(&["status"], 0);
    story.run(&["status", "--json"], 0);
    story.scene.leave(-1);
    story.run(&["token"], 0);
    story.run(&["login"], 0);

    // What a caller, a person or a file can get wrong.
    story.run(&["token", "--nonsense"], 2);
    story.run(&["token", "-p", "nobody"], 2);
    story.run(&["kubernetes", "--exec-info", "/dev/null/nothing"], 2);
    for command in ["token", "kubernetes", "login", "logout", "status"] {
        story.run(&[command, "--help"], 0);
    }

    // The token endpoint, when it is to renew a token.
    story.refresh_fails(Reply::Drop, 5);
    story.refresh_fails(Reply::empty(503), 5);
    story.refresh_fails(Reply::html(502, "Bad Gateway"), 5);
    story.refresh_fails(Reply::redirect(302, "https://elsewhere.example/"), 5);
    story.refresh_fails(Reply::error("invalid_client"), 1);
    story.refresh_fails(Reply::error("invalid_scope"), 1);
    story.refresh_fails(Reply::json(200, &json!({ "access_token": BAD_TOKEN, "token_type": "mac" })), 5);
    story.refresh_fails(Reply::json(200, &json!({ "access_token": format!("{BAD_TOKEN}\n") })), 5);
    story.refresh_fails(Reply::json(200, &json!({ "access_token": [BAD_TOKEN] })), 5);
    story.refresh_fails(Reply::body(200, "application/json", format!(r#"{{"access_token":"{BAD_TOKEN}"#)), 5);
    story.refresh_fails(Reply::body(200, "text/plain", format!("access_token={BAD_TOKEN}")), 5);
    story.refresh_fails(Reply::json(500, &json!({ "access_token": BAD_TOKEN })), 5);
    story.refresh_fails(Reply::json(400, &json!({ "access_token": BAD_TOKEN })), 1);
    for wire in [
        "HTTP/1.1 200 TOKEN\r\nX TOKEN\r\n\r\n",
        "HTTP/1.1 TOKEN\r\n\r\n",
        "TOKEN",
        "HTTP/1.1 200 OK\r\nContent-Length: TOKEN\r\n\r\nTOKEN",
    ] {
        story.refresh_fails(Reply::Wire(wire.replace("TOKEN", BAD_TOKEN).into()), 5);
    }
    story.scene.leave(-1);
    story.run(&["token"], 0);

    // The same when a person has signed in.
    story.sign_in_fails(Reply::Wire(b"HTTP/1.1 200 OK\r\n\r\n{".to_vec()), 5);
    story.sign_in_fails(Reply::json(200, &json!({ "access_token": BAD_TOKEN, "token_type": "mac" })), 5);
    story.sign_in_fails(Reply::error("unauthorized_client"), 1);
    story.sign_in_fails(Reply::error("access_denied"), 4);
    story.sign_in_fails(Reply::error("expired_token"), 4);
    story.sign_in_fails(Reply::RealThenDrop, 4);
    story.idp().set_user("mallory@example.com");
    story.run(&["login", "--force"], 4);
    story.idp().set_user("alice@example.com");
    story.run(&["login", "--force"], 0);
    story.idp().script(Endpoint::Device, [Reply::error("invalid_client")]);
    story.run(&["login", "--force"], 1);

    // The session's end, by the provider and by the person.
    story.idp().revoke_refresh_tokens();
    story.scene.leave(-1);
    let output = story.scene.silently(["token"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    story.note(&["ended"], &output);
    story.run(&["login"], 0);
    story.idp().script(Endpoint::Revoke, [Reply::empty(503), Reply::empty(503)]);
    story.run(&["logout"], 0);
    story.run(&["login"], 0);
    story.run(&["logout", "--all"], 0);
    story.run(&["status"], 0);

    story.assert_nothing_leaked();
}

#[test]
fn the_whole_story_of_a_client_with_a_secret_in_the_header_says_no_secret() {
    whole_story(Client::basic("keyfob", CLIENT_SECRET));
}

#[test]
fn the_whole_story_of_a_client_with_a_secret_in_the_body_says_no_secret() {
    whole_story(Client::post("keyfob", CLIENT_SECRET));
}

#[test]
fn a_server_that_quotes_the_request_does_not_make_keyfob_say_it() {
    let form: String = form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
    let header = STANDARD.encode(format!("keyfob:{form}"));
    for client in [Client::post("keyfob", CLIENT_SECRET), Client::basic("keyfob", CLIENT_SECRET)] {
        let mut story = Story::new(client);
        story.idp().auto(Auto::Approve);
        story.run(&["token"], 0);
        let sent = story.scene.session()["refresh_token"].as_str().unwrap().to_owned();
        let error = |code: &str| {
            let description = format!("unknown refresh token {sent} of the client with {CLIENT_SECRET}");
            Reply::json(400, &json!({ "error": code, "error_description": description }))
        };
        let quoted = |what: &str| Reply::json(400, &json!({ "error": "invalid_client", "error_description": what }));
        story.refresh_fails(error("invalid_request"), 1);
        story.refresh_fails(error("server_error"), 5);
        story.refresh_fails(quoted(&format!("cannot read client_secret={form}&refresh_token={sent}")), 1);
        story.refresh_fails(quoted(&format!("Authorization: Basic {header}")), 1);
        story.refresh_fails(Reply::redirect(302, &format!("/token?refresh_token={sent}&client_secret={form}")), 5);
        story.refresh_fails(error("invalid_grant"), 3);
        story.idp().script(Endpoint::Device, [quoted(&format!("{CLIENT_SECRET} is not right"))]);
        story.run(&["login"], 1);
        story.assert_nothing_leaked();
    }
}

#[test]
fn a_damaged_session_file_is_not_quoted() {
    for damage in [
        r#"{"version":1,"authority":"a","client_id":"c","refresh_token":["SECRET"]}"#,
        r#"{"version":"SECRET"}"#,
        r#"{"SECRET":1"#,
        "SECRET",
        r#"{"version":1,"authority":"a","client_id":"c","tokens":[{"key":{"kind":"SECRET"}}]}"#,
    ] {
        let mut story = Story::new(Client::basic("keyfob", CLIENT_SECRET));
        story.idp().auto(Auto::Approve);
        story.run(&["token"], 0);
        let file = story.scene.file();
        let damaged = || {
            fs::write(&file, damage.replace("SECRET", BAD_TOKEN)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        };
        damaged();
        story.run(&["status"], 0);
        story.run(&["status", "--json"], 0);
        let output = story.scene.silently(["token"]);
        assert_eq!(output.code, Some(3), "{output:?}");
        story.note(&["damaged"], &output);
        damaged();
        story.run(&["logout"], 0);
        story.assert_nothing_leaked();
    }
}

#[test]
fn a_wrong_configuration_is_not_quoted() {
    let lab = "[profile.lab]\nissuer = 'https://id.example'\nclient-id = 'keyfob'\n";
    let mut story = Story::new(Client::basic("keyfob", CLIENT_SECRET));
    // So that there is something to compare with.
    story.idp().auto(Auto::Approve);
    story.run(&["token"], 0);
    for line in [
        "client-secret = SECRET",
        "client-secret = 'SECRET",
        "client-secret = ['SECRET']",
        "client-secret = { 'SECRET' = 'SECRET' }",
        "client-secret = \"SECRET\\u001b\"",
        "client-secret = 'SECRET'\nclient-secret = 'SECRET'",
        "client-secret = 'SECRET'\nclient-secret-file = '/nowhere'",
        "client-secrte = 'SECRET'",
        "client-secret = 'SECRET' SECRET",
    ] {
        story.scene.keyfob.write_config(&format!("{lab}{}\n", line.replace("SECRET", BAD_TOKEN)));
        for command in [&["token"][..], &["login"], &["logout"], &["status"]] {
            let output = story.scene.silently(command.iter().copied());
            assert_eq!(
                output.code,
                Some(if command == ["status"] && output.code == Some(0) { 0 } else { 2 }),
                "{output:?}"
            );
            story.note(&["wrong configuration"], &output);
        }
    }
    story.assert_nothing_leaked();
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let mut story = Story::new(Client::basic("keyfob", CLIENT_SECRET));
    story.idp().auto(Auto::Approve);
    story.run(&["token"], 0);
    for args in [
        &["token", "--client-secret", BAD_TOKEN][..],
        &["token", &format!("--client-secret={BAD_TOKEN}")],
        &["login", "lab", "--client-secret", BAD_TOKEN],
    ] {
        story.run(args, 2);
        // What a person typed is in the label.
        let said = story.said.iter_mut().rev().take(2);
        said.for_each(|(place, _)| *place = "command line with a secret".to_owned());
    }
    story.assert_nothing_leaked();
}

#[test]
fn the_process_list_shows_no_secret() {
    let mut story = Story::new(Client::basic("keyfob", CLIENT_SECRET));
    let hold = story.idp().hold(Endpoint::Token);
    let caller = story.scene.start(["token"]);
    let code = caller.code();
    story.idp().approve(&code);
    story.idp().wait_for("token:device_code", 1, SOON);
    drop(hold);
    token(&caller.finish());

    story.scene.leave(-1);
    let hold = story.idp().hold(Endpoint::Token);
    let caller = story.scene.start(["token"]);
    story.idp().wait_for("token:refresh_token", 1, SOON);
    let mut processes = vec![caller.pid().to_string()];
    while let Some(process) = processes.pop() {
        // The environment of a process that cannot be traced is for root alone.
        let read = |what: &str| match fs::read(format!("/proc/{process}/{what}")) {
            Err(error) if what == "environ" && error.kind() == ErrorKind::PermissionDenied => String::new(),
            bytes => String::from_utf8_lossy(&bytes.unwrap()).into_owned(),
        };
        assert!(read("cmdline").starts_with(PROGRAM));
        for what in ["cmdline", "comm", "environ"] {
            story.said.push((format!("{what} of a process"), read(what)));
        }
        for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
            let thread = thread.unwrap().path();
            story.said.push(("name of a thread".to_owned(), fs::read_to_string(thread.join("comm")).unwrap()));
            let children = fs::read_to_string(thread.join("children")).unwrap();
            processes.extend(children.split_whitespace().map(str::to_owned));
        }
    }
    drop(hold);
    let output = caller.finish();
    token(&output);
    story.note(&["token"], &output);
    story.assert_nothing_leaked();
}

#[test]
fn no_core_is_dumped_while_secrets_are_held() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$0\" token", PROGRAM]).current_dir(scene.keyfob.home());
    let mut child = shell.spawn().unwrap();
    scene.idp.wait_for("token:refresh_token", 1, SOON);

    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    let status = child.wait().unwrap();
    drop(hold);
    assert_eq!((status.signal(), status.core_dumped()), (Some(3), false));
    assert_eq!(core.split_whitespace().next(), Some("0"), "the limit of core dumps is {core}");
}

/// The permissions of a file or folder.
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn files_are_for_their_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let scene = Scene::new(Options::default());
        let deep = scene.keyfob.home().join("some/where/else");
        let with_umask = |args: &str, prompt: &str| {
            let mut shell = scene.keyfob.other("sh");
            shell.args(["-c", &format!("umask {umask}; exec \"$0\" {args}"), PROGRAM]);
            shell.env("KEYFOB_PROMPT", prompt).env("KEYFOB_CACHE_DIR", &deep);
            Output::of(&mut shell, b"")
        };
        scene.idp.auto(Auto::Approve);
        // The second writes over what the first wrote, the third over what a killed process left.
        token(&with_umask("token", "always"));
        token(&with_umask("token --scope openid", "never"));
        let names: Vec<_> = fs::read_dir(&deep).unwrap().map(|e| e.unwrap().path()).collect();
        let json = names.iter().find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
        fs::write(json.with_extension("new"), "left by another").unwrap();
        token(&with_umask("token --scope offline_access", "never"));

        assert_eq!(mode(&deep), 0o700, "umask {umask}");
        for path in &names {
            assert_eq!(mode(path), 0o600, "umask {umask}: {}", path.display());
        }
        assert!(!json.with_extension("new").exists());
        // A folder on the way that had to be made is nobody else's, either.
        assert_eq!(mode(deep.parent().unwrap()) & 0o077, 0, "umask {umask}");
    }
}
