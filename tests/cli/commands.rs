//! What a person runs: login, logout, status, and the plain token in its three forms.

use crate::common::{LAB, PROGRAM, Scene, now, token};
use keyfob_test_support::Output;
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What ran well and said nothing but on stdout.
#[track_caller]
fn said(scene: &Scene, args: &[&str]) -> String {
    let output = scene.silently(args.iter().copied());
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {}", output.stdout);
    output.stdout
}

#[test]
fn login_names_the_account_confirms_a_session_and_signs_in_again_when_forced() {
    let scene = Scene::signed_in(Options::default());
    let confirmed = said(&scene, &["login", "lab"]);
    assert!(confirmed.starts_with("Signed in to lab as alice@example.com; the token is good until 20"), "{confirmed}");
    assert!(confirmed.ends_with("Z.\n"), "{confirmed}");
    assert_eq!((scene.idp.count("device"), scene.idp.count("token:refresh_token")), (1, 1));

    scene.idp.auto(Auto::Approve);
    let again = scene.prompting(["login", "--force"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(scene.idp.count("device"), 2);
    scene.assert_proper();
}

#[test]
fn logout_revokes_the_refresh_token_first_and_leaves_nothing() {
    let scene = Scene::signed_in(Options::default());
    assert_eq!(said(&scene, &["logout"]), "Signed out of lab (alice@example.com).\n");
    assert_eq!(scene.names(), Vec::<String>::new());
    let hints: Vec<_> =
        scene.idp.requests().iter().filter_map(|r| r.field("token_type_hint").map(str::to_owned)).collect();
    assert_eq!(hints, ["refresh_token", "access_token"]);
    assert_eq!(said(&scene, &["logout"]), "Not signed in to lab.\n");
    assert_eq!(said(&scene, &["logout", "--all"]), "There are no sessions.\n");
}

#[test]
fn logout_deletes_what_could_not_be_revoked_and_says_so() {
    let scene = Scene::signed_in(Options::default());
    scene.idp.always(Endpoint::Revoke, Reply::error("unsupported_token_type"));
    let output = scene.silently(["logout", "--all"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "Signed out of lab (alice@example.com).\n"));
    assert_eq!(
        output.stderr,
        "warning: the session of lab is deleted here, but could not be revoked at the provider: unsupported_token_type\n"
    );
    assert_eq!(scene.names(), Vec::<String>::new());
}

#[test]
fn status_tells_everything_but_the_secrets() {
    let scene = Scene::signed_in(Options::default());
    said(&scene, &["login", "lab"]);
    let text = said(&scene, &["status"]).replace(scene.idp.issuer(), "ISSUER");
    for line in [
        "lab: signed in as alice@example.com\n",
        "  provider  ISSUER\n",
        "  client    keyfob\n",
        "  renewal   silent\n",
        "  fetched   for `keyfob login`, less than a minute ago\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains(" token, good for 59 min (") || text.contains(" token, good for 1 h ("), "{text}");

    let json: serde_json::Value = serde_json::from_str(&said(&scene, &["status", "--json"])).unwrap();
    let session = &json["sessions"][0];
    assert_eq!(session["profiles"], serde_json::json!(["lab"]));
    assert_eq!(session["account"], "alice@example.com");
    assert_eq!((&session["signed_in"], &session["refreshable"]), (&true.into(), &true.into()));

    said(&scene, &["logout"]);
    assert!(said(&scene, &["status"]).starts_with("lab: not signed in\n"));
}

/// By which flow the next sign-in goes, why, where it appears, and until when none is needed.
#[test]
fn status_and_doctor_say_what_happens_next_time() {
    let scene = Scene::with(
        Options::default(),
        &format!("{LAB}[profile.web]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\nflow = 'browser'\naccount = 'a'\n"),
    );
    let says = |prompt: &str, environment: &[(&str, &str)], command: &[&str]| {
        let mut command = scene.command(prompt, command);
        Output::of(command.env_remove("KEYFOB_FLOW").envs(environment.iter().copied()), b"").stdout
    };
    for (prompt, environment, name, next) in [
        (
            "never",
            [("CI", "true")],
            "lab",
            "by device code, since this is a CI job (CI); it appears nowhere, since prompting is switched off",
        ),
        ("always", [("KEYFOB_FLOW", "browser")], "lab", "by browser, since KEYFOB_FLOW says so; it appears on stderr"),
        (
            "auto",
            [("CI", "true")],
            "web",
            "by browser, since the profile says so; it appears nowhere from here, since there is no terminal",
        ),
    ] {
        let status = says(prompt, &environment, &["status", name]);
        assert!(status.starts_with(&format!("{name}: not signed in\n  next      a sign-in {next}\n")), "{status}");
        let doctor = says(prompt, &environment, &["doctor", name]);
        let next = next.replace("; it appears", ", and appears");
        assert!(doctor.contains(&next), "{doctor}");
    }
    scene.idp.auto(Auto::Approve);
    scene.prompting(["token", "lab"]);
    let session = |doctor: &str| doctor.lines().find(|line| line.contains("session lab: ")).unwrap().to_owned();
    let status = says("never", &[("CI", "true")], &["status", "lab"]);
    assert!(status.contains("\n  next      a sign-in by device code, since this is a CI job"), "{status}");
    let good = session(&says("never", &[], &["doctor", "--offline"]));
    assert!(good.starts_with("ok     session lab: signed in as alice@example.com; its token is good for "), "{good}");
    assert!(good.ends_with(", and renewed silently"), "{good}");
    scene.leave(-1);
    let ended = session(&says("never", &[], &["doctor", "--offline"]));
    assert_eq!(ended, "ok     session lab: signed in as alice@example.com; the next token is fetched silently");
    scene.change(|session| session["refresh_token"] = Value::Null);
    scene.leave(700);
    let last = session(&says("never", &[], &["doctor", "--offline"]));
    assert_eq!(last, "ok     session lab: signed in as alice@example.com; its token is good for 11 min");
}

#[test]
fn status_shows_a_pending_sign_in_and_who_fetched_last() {
    let scene = Scene::signed_in(Options::default());
    let now = now();
    scene.change(|session| {
        session["fetched"] = json!({ "by": "git for https://git.example.com", "at": now - 200 });
        session["sign_in"] = json!({
            "scopes": [], "key": { "kind": "access", "scopes": [] }, "started_at": now - 3600, "expires_at": now + 630,
            "asked_by": "kubectl for https://10.0.0.1:6443",
            "flow": {
                "kind": "device", "device_code": "d3v1ce", "user_code": "WDJB-MJHT", "interval": 5,
                "verification_uri": "https://id.example.com/device",
            },
        });
    });
    let text = said(&scene, &["status"]);
    assert!(text.contains("  fetched   for git for https://git.example.com, 3 min ago\n"), "{text}");
    let (before, after) = text
        .split_once("  sign-in   started for kubectl for https://10.0.0.1:6443, 1 h ago; its code is good for 10 min")
        .unwrap_or_else(|| panic!("{text}"));
    assert!(after.contains(" more\n            at https://id.example.com/device\n"), "{text}");
    assert!(!before.contains("WDJB") && !after.contains("WDJB") && !text.contains("d3v1ce"), "{text}");
}

#[test]
fn the_json_of_status_is_what_its_page_says() {
    fn walk(value: &Value, path: &str, seen: &mut BTreeSet<String>) {
        if !path.is_empty() {
            seen.insert(path.to_owned());
        }
        match value {
            Value::Array(items) => {
                seen.remove(path);
                let path = format!("{path}[]");
                seen.insert(path.clone());
                for item in items {
                    walk(item, &path, seen);
                }
            }
            Value::Object(members) => {
                let dot = if path.is_empty() { "" } else { "." };
                for (name, member) in members {
                    walk(member, &format!("{path}{dot}{name}"), seen);
                }
            }
            _ => {}
        }
    }
    // Everything that there can be: a session that waits for a person, a damaged one, a profile that cannot be used.
    let config = format!("default-profile = 'lab'\n{LAB}[profile.broken]\nprovider = 'entra'\n");
    let scene = Scene::with(Options::default(), &config);
    scene.sign_in();
    let now = now();
    scene.change(|session| {
        session["sign_in"] = json!({
            "scopes": [], "key": { "kind": "access", "scopes": [] },
            "started_at": now, "expires_at": now + 60, "asked_by": "kubectl",
            "flow": {
                "kind": "device", "device_code": "d", "user_code": "u", "interval": 5,
                "verification_uri": "https://id.example.com/device",
            },
        });
    });
    let damaged = scene.file().with_file_name("damaged.json");
    std::fs::write(&damaged, "{").unwrap();
    std::fs::set_permissions(&damaged, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut seen = BTreeSet::new();
    walk(&serde_json::from_str(&said(&scene, &["status", "--json"])).unwrap(), "", &mut seen);
    let page = std::fs::read_to_string("docs/status.md").unwrap();
    let documented: BTreeSet<_> =
        page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned())).collect();
    assert_eq!(seen, documented);
}

#[test]
fn a_token_is_printed_raw_as_a_header_or_as_json() {
    let scene = Scene::signed_in(Options::default());
    let raw = token(&scene.silently(["token"]));
    assert_eq!(said(&scene, &["token", "--format", "raw"]), format!("{raw}\n"));
    assert_eq!(said(&scene, &["token", "--format", "header"]), format!("Authorization: Bearer {raw}\n"));
    let line = said(&scene, &["token", "--format", "json"]);
    assert_eq!(line.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["token"], &json["token_kind"]), (&raw.into(), &"access".into()));
    assert_eq!((&json["account"], &json["profile"]), (&"alice@example.com".into(), &"lab".into()));
    let left = json["expires_at_epoch"].as_i64().unwrap() - now();
    assert!((3000..=3600).contains(&left), "{line}");
}

#[test]
fn a_request_comes_from_a_file_or_from_stdin_as_well_and_its_version_is_answered() {
    let scene = Scene::signed_in(Options::default());
    let request = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{}}"#;
    let file = scene.keyfob.home().join("request.json");
    std::fs::write(&file, request).unwrap();
    let by_file = said(&scene, &["kubernetes", "--exec-info", file.to_str().unwrap()]);
    assert!(
        by_file.starts_with(r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","#),
        "{by_file}"
    );
    assert_eq!(scene.keyfob.run_with_input(["kubectl", "--exec-info", "-"], request).stdout, by_file);
    let v1 = said(&scene, &["kubernetes"]);
    assert_eq!(v1, by_file.replace("v1beta1", "v1"));
}

#[test]
fn the_log_says_that_an_answer_came_from_the_cache() {
    let scene = Scene::signed_in(Options::default());
    let mut command = scene.keyfob.command(["token"]);
    let output = Output::of(command.env("KEYFOB_LOG", "debug"), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), "keyfob: the cache holds a token of lab\n"));
}

#[test]
fn every_command_explains_itself_with_examples() {
    let scene = Scene::new(Options::default());
    for command in ["kubernetes", "token", "login", "logout", "status"] {
        let help = said(&scene, &[command, "--help"]);
        assert!(help.contains("\nExamples:\n"), "{PROGRAM} {command}: {help}");
    }
    assert!(said(&scene, &["--help"]).contains("Exit codes: 0 answered"));
}

/// In front of a command, behind it, and by position where it is a person's.
#[test]
fn a_profile_is_named_in_every_way_by_every_command() {
    let scene =
        Scene::with(Options::default(), &format!("{LAB}[profile.other]\nissuer = 'ISSUER'\nclient-id = 'other'\n"));
    scene.idp.auto(Auto::Approve);
    let asked = |words: &[&str]| scene.prompting(words.iter().copied());
    for command in [
        &["login"][..],
        &["token"],
        &["token", "--format", "json"],
        &["kubernetes"],
        &["status"],
        &["doctor", "--offline"],
        &["logout"],
    ] {
        let (name, flags) = command.split_first().unwrap();
        let ways: [&[&str]; 6] = [
            &["-p", "lab", name],
            &["--profile", "lab", name],
            &["--profile=lab", name],
            &[name, "-p", "lab"],
            &[name, "--profile=lab"],
            &[name, "lab"],
        ];
        for way in ways {
            let words = [way, flags].concat();
            let output = asked(&words);
            assert!(matches!((*name, output.code), (_, Some(0))), "{words:?}: {output:?}");
            assert!(!output.stdout.contains("other"), "{words:?}: {output:?}");
        }
        let twice = asked(&[&[*name, "lab", "--profile", "lab"], flags].concat());
        assert_eq!(twice.code, Some(2), "{name}: {twice:?}");
        let nobody = asked(&[&[*name, "nobody"], flags].concat());
        assert_eq!(nobody.code, Some(2), "{name}: {nobody:?}");
        assert!(nobody.stderr.starts_with("error: there is no profile \"nobody\""), "{name}: {nobody:?}");
    }
    // Where another program's command line follows, only in front of it.
    let version = |words: &[&str]| asked(words).stdout;
    assert_eq!(version(&["-p", "lab", "az", "version"]), version(&["az", "--profile=lab", "version"]));
    let alone = asked(&["-p", "lab"]);
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(2), ""), "{alone:?}");
}

/// What each command makes of a profile that is named in front of it, behind it, by position and by the environment.
#[test]
fn every_command_takes_a_profile_in_every_way_that_it_can() {
    type Whose = [Option<&'static str>; 4];
    const MINE: Whose = [Some("lab"), Some("lab"), None, Some("lab")];
    const PERSONS: Whose = [Some("lab"); 4];
    const HOSTS: Whose = [None, None, None, Some("other")];
    const NONE: Whose = [None; 4];
    let get = "protocol=https\nhost=x.example\n\n";
    let cargo =
        "{\"v\":1,\"registry\":{\"index-url\":\"sparse+https://x.example\"},\"kind\":\"get\",\"operation\":\"read\"}\n";
    let rows: &[(&[&str], &str, Whose)] = &[
        (&["kubernetes"], "", PERSONS),
        (&["token"], "", PERSONS),
        (&["login"], "", PERSONS),
        (&["logout"], "", PERSONS),
        // They show every profile, unless they are told on the command line.
        (&["status"], "", [Some("lab"), Some("lab"), Some("lab"), Some("other")]),
        (&["doctor", "--offline"], "", [Some("lab"), Some("lab"), Some("lab"), Some("other")]),
        (&["aws", "--role", "arn:aws:iam::123456789012:role/dev"], "", MINE),
        (&["google"], "", MINE),
        (&["git", "--host", "https://x.example", "get"], get, [Some("lab"), Some("lab"), None, None]),
        (&["az", "account", "get-access-token"], "", [Some("lab"), Some("lab"), None, Some("other")]),
        (&["azd", "auth", "token", "--scope", "x"], "", [Some("lab"), Some("lab"), None, Some("other")]),
        // A host has its profile.
        (&["docker", "get"], "x.example", HOSTS),
        (&["keyring", "get", "https://x.example", "u"], "", HOSTS),
        (&["cargo"], cargo, HOSTS),
        (&["terraform", "get", "x.example"], "", HOSTS),
        (&["bazel", "get"], "{\"uri\":\"https://x.example\"}", HOSTS),
        (&["goauth", "https://x.example"], "HTTP/1.1 401 Unauthorized\n\n", HOSTS),
        (&["setup", "git", "--print", "https://new.example"], "", [Some("lab"), Some("lab"), None, Some("lab")]),
        (&["exec", "--env", "T=other", "--", "true"], "", HOSTS),
        (&["store"], "", NONE),
        (&["unlock"], "", NONE),
        (&["completions", "fish"], "", NONE),
    ];
    let names: BTreeSet<_> = rows.iter().map(|(words, ..)| words[0].to_owned()).collect();
    let all: BTreeSet<_> =
        keyfob::cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(names, all);

    let callers = "callers = ['git', 'docker', 'keyring', 'cargo', 'goauth', 'terraform', 'bazel']";
    let scene = Scene::with(
        Options::default(),
        &format!(
            "{LAB}audience = 'a'\n[profile.other]\nissuer = 'ISSUER'\nclient-id = 'other'\n[az]\nprofile = 'other'\n\
             [hosts]\n'https://x.example' = {{ profile = 'other', {callers} }}\n"
        ),
    );
    for (words, input, expected) in rows {
        let (name, rest) = words.split_first().unwrap();
        let run = |way: &[&str], environment: &[(&str, &str)]| {
            let mut command = scene.command("never", way.iter().copied());
            command.envs(environment.iter().copied()).env("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", "a");
            command.env("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", "urn:ietf:params:oauth:token-type:jwt");
            Output::of(command.stdin(std::process::Stdio::piped()), input.as_bytes())
        };
        let (tool, rest) = if *name == "setup" { rest.split_at(1) } else { rest.split_at(0) };
        let behind = |words: &[&'static str]| [&[*name], tool, words, rest].concat();
        let ways: [Vec<Vec<&str>>; 3] = [
            vec![[&["-p", "lab"], &words[..]].concat(), [&["--profile=lab"], &words[..]].concat()],
            vec![behind(&["-p", "lab"]), behind(&["--profile", "lab"])],
            vec![behind(&["lab"])],
        ];
        let whose = |output: &Output| {
            let said = format!("{}{}", output.stdout, output.stderr).replace("default-profile", "");
            let names = |name: &str| said.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
            ["other", "lab"].into_iter().find(|name| names(name))
        };
        for (ways, expected) in ways.iter().zip(expected) {
            for way in ways {
                let output = run(way, &[]);
                match expected {
                    None => assert_ne!(output.code, Some(0), "{way:?}: {output:?}"),
                    Some(name) => assert_eq!(whose(&output), Some(*name), "{way:?}: {output:?}"),
                }
                assert!(!output.stderr.contains("as a value"), "{way:?}: {output:?}");
            }
        }
        let output = run(words, &[("KEYFOB_PROFILE", "lab")]);
        if let Some(name) = expected[3] {
            assert_eq!(whose(&output), Some(name), "KEYFOB_PROFILE=lab {words:?}: {output:?}");
        }
    }
}

#[test]
fn logout_names_the_session_that_no_profile_leads_to() {
    let scene = Scene::signed_in(Options::default());
    let config = fs::read_to_string(scene.keyfob.config_file()).unwrap();
    fs::write(scene.keyfob.config_file(), config.replace("profile.lab", "profile.work").replace("'keyfob'", "'c'"))
        .unwrap();
    let output = scene.silently(["logout", "lab"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    let hint = output.stderr.split_once("hint: for the session that no profile leads to: ").unwrap().1.trim();
    assert!(hint.ends_with(&format!("logout --issuer {} --client-id keyfob", scene.idp.issuer())), "{output:?}");
    let done = Output::of(scene.keyfob.other("sh").args(["-c", hint]), b"");
    assert!(done.stdout.starts_with("Signed out of "), "{done:?}");
}

#[test]
fn keyfob_alone_says_what_is_needed_first_on_the_smallest_screen() {
    let scene = Scene::new(Options::default());
    let output = scene.silently([] as [&str; 0]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
    assert!(output.stderr.lines().count() <= 12 && output.stderr.contains("keyfob setup"), "{output:?}");
}
