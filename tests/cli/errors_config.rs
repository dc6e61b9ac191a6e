//! What a person sees when the command line or the configuration is wrong: see `common/errors.rs` for how it is compared.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::common::LAB;
use crate::common::errors::{Scene, assert_failed, silently, stable};
use crate::common::token;
use keyfob_test_support::{Keyfob, Output, skip};

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line_and_the_nearest_right_word() {
    let cases = [
        ("[profile.lab]\nclientid = 'x'\n", "HOME/config.toml:2: unknown key `clientid`; did you mean `client-id`?\n"),
        ("\n[profiles.lab]\n", "HOME/config.toml:2: unknown key `profiles`; did you mean `profile`?\n"),
        (
            "[profile.lab]\nclient-id = 'c'\nprovider = 'keycloack'\n",
            "HOME/config.toml:3: `provider` \"keycloack\" is not known; did you mean `keycloak`?\n",
        ),
        (
            "[profile.lab]\ntoken-kind = 'acces'\n",
            "HOME/config.toml:2: `token-kind` cannot be \"acces\"; did you mean `access`?\n",
        ),
        (
            "[profile.lab]\nscopes = 'openid'\n",
            "HOME/config.toml:2: `scopes` must be a list of strings, not a string\n",
        ),
        ("[profile.lab]\nmin-ttl = true\n", "HOME/config.toml:2: `min-ttl` must be a number, not true or false\n"),
        (
            "[profile.lab]\nissuer = 'http://id.example.com'\nclient-id = 'c'\n",
            "HOME/config.toml:2: `issuer` is not https (plain http is allowed only on loopback)\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\ntoken-endpoint = 'ftp://x'\n",
            "HOME/config.toml:4: `token-endpoint` is not https\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\n",
            "profile \"lab\" has no `client-id`\n\
             hint: add `client-id = \"…\"` below [profile.lab] in HOME/config.toml, or pass --client-id\n",
        ),
        (
            "[profile.lab]\nclient-id = 'c'\n",
            "profile \"lab\" has no `issuer`\n\
             hint: add `issuer = \"…\"` below [profile.lab] in HOME/config.toml, or pass --issuer\n",
        ),
        (
            "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\nclient-secret = 'x'\n\
             client-secret-file = 'y'\n",
            "HOME/config.toml:4: `client-secret` and `client-secret-file` exclude each other\n",
        ),
        (
            "[profile.lab]\nprovider = 'gitea'\n",
            "profile \"lab\" has no `authority`, the address of your own installation\n\
             hint: add `authority = \"…\"` below [profile.lab] in HOME/config.toml, or pass --authority\n",
        ),
        (
            "default-profile = 'lap'\n[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\n",
            "HOME/config.toml:1: `default-profile`: there is no profile \"lap\"; did you mean `lab`?\n",
        ),
        (
            "[profile.lab]\n[profile.work]\n",
            "which profile? There are lab, work\n\
             hint: name one with --profile or KEYFOB_PROFILE, or set `default-profile` in config.toml\n",
        ),
        (
            "",
            "no profile is configured\n\
             hint: make one: keyfob setup --profile NAME --issuer URL --client-id ID; or pass --issuer and \
             --client-id\n",
        ),
    ];
    for (toml, error) in cases {
        let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).config(toml);
        for command in ["token", "kubernetes", "login", "logout"] {
            assert_failed(&keyfob, &silently(&keyfob, &[command]), 2, &format!("error: {error}"));
        }
        assert!(!keyfob.cache_dir().exists(), "nothing is made for a mistake");
    }
}

/// The parser's own words may change, the line and what is kept to ourselves may not.
#[test]
fn broken_toml_is_named_with_its_line_and_no_secret_of_it_is_shown() {
    for (toml, line) in [
        ("[profile.lab]\nclient-id = 'c'\nclient-secret = \"hunter2\nscopes = []\n", 3),
        ("[profile.lab]\nclient-secret = hunter2\n", 2),
        ("[profile.lab]\nclient-secret = ['hunter2']\n", 2),
        ("[profile.lab]\nclient-secret = \"hunter2\\u001b\"\n", 2),
        ("[profile.lab]\nclient-secret = 'hunter2'\nclient-secret = 'hunter2'\n", 3),
        ("[profile.lab\n", 1),
    ] {
        let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob")).config(toml);
        let output = silently(&keyfob, &["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{toml}");
        let said = stable(&keyfob, &output.stderr);
        assert!(said.starts_with(&format!("error: HOME/config.toml:{line}: ")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // What is wrong with the file is an error, what is wrong with a profile its line.
        let status = silently(&keyfob, &["status"]);
        let status = stable(&keyfob, &(status.stdout + &status.stderr));
        assert!(status.contains(&format!(": HOME/config.toml:{line}: ")), "{status}");
        assert!(!(said + &status).contains("hunter2"), "{status}");
    }
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    fs::write(keyfob.config_file(), b"[profile.lab]\nissuer = '\xff'\n").unwrap();
    let error = "error: could not read configuration HOME/config.toml: stream did not contain valid UTF-8\n\
                 hint: KEYFOB_CONFIG names that file: correct or unset it\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);

    fs::write(keyfob.config_file(), " ".repeat(1024 * 1024 + 1)).unwrap();
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, "error: HOME/config.toml: larger than 1 MiB\n");

    fs::remove_file(keyfob.config_file()).unwrap();
    let error = "error: could not read configuration HOME/config.toml: No such file or directory (os error 2)\n\
                 hint: KEYFOB_CONFIG names that file: correct or unset it\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);

    fs::create_dir(keyfob.config_file()).unwrap();
    let error = "error: could not read configuration HOME/config.toml: Is a directory (os error 21)\n\
                 hint: KEYFOB_CONFIG names that file: correct or unset it\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);
}

#[test]
fn without_a_configuration_file_in_its_usual_place_there_is_no_profile_yet() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    let output = Output::of(keyfob.command(["token"]).env_remove("KEYFOB_CONFIG"), b"");
    let error = "error: no profile is configured\n\
                 hint: make one: keyfob setup --profile NAME --issuer URL --client-id ID; or pass --issuer and \
                 --client-id\n";
    assert_failed(&keyfob, &output, 2, error);
}

#[test]
fn a_profile_that_is_not_there_is_named_with_where_it_was_asked_for() {
    let scene = Scene::lab();
    let error = "error: there is no profile \"lap\"; did you mean `lab`?\n";
    scene.assert_failed(&scene.silently(["token", "--profile", "lap"]), 2, error);
    scene.assert_failed(&scene.silently(["login", "lap"]), 2, error);
    let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_PROFILE", "zzz"), b"");
    scene.assert_failed(&output, 2, "error: KEYFOB_PROFILE: there is no profile \"zzz\"; known are `lab`\n");
    let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_PROMPT", "yes"), b"");
    let error = "error: KEYFOB_PROMPT: `prompt` cannot be \"yes\"; known are `auto`, `always`, `never`\n";
    scene.assert_failed(&output, 2, error);
    let output = scene.silently(["token", "--profile", "lab", "--issuer", "https://id.example.com"]);
    let error = "error: --issuer describes a profile of its own and cannot be used with profile \"lab\"\n\
                 hint: leave out --issuer or the profile's name\n";
    scene.assert_failed(&output, 2, error);
}

#[test]
fn a_mistake_on_the_command_line_takes_no_more_than_two_lines() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    for (args, said) in [
        (&["tokn"][..], "tokn"),
        (&["token", "--isuer", "x"], "--isuer"),
        (&["token", "--client-secret", "x"], "--client-secret"),
        (&["token", "--min-ttl", "soon"], "--min-ttl"),
        (&["token", "--token-kind", "acces"], "acces"),
        (&["token", "--format", "xml"], "xml"),
        (&["token", "extra"], "extra"),
        (&["login", "--scope"], "--scope"),
        (&["logout", "lab", "--all"], "--all"),
    ] {
        let output = silently(&keyfob, args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{args:?}");
        let lines: Vec<_> = output.stderr.lines().collect();
        assert!(lines[0].starts_with("error: ") && lines[0].contains(said), "{args:?}: {}", output.stderr);
        assert!(lines.len() <= 2 && lines.iter().skip(1).all(|l| l.starts_with("hint: ")), "{}", output.stderr);
    }
}

/// `HOME` is not all: without it, the system is asked where the user lives. A namespace has users it knows nothing of.
#[test]
fn without_a_home_there_is_nowhere_to_keep_tokens() {
    let stranger = ["--user", "--map-user=54321", "--map-group=54321"];
    let tried = Command::new("unshare").args(stranger).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        skip!("`unshare` cannot make a user without a home here");
    }
    let scene = Scene::lab();
    let run = |set: &[(&str, &str)]| {
        let mut command = scene.keyfob.other("unshare");
        command.args(stranger).args([env!("CARGO_BIN_EXE_keyfob"), "token", "--client-id", "keyfob"]);
        command.args(["--issuer", scene.idp.issuer()]).env("KEYFOB_PROMPT", "never");
        for folder in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "KEYFOB_CONFIG", "KEYFOB_CACHE_DIR"] {
            command.env_remove(folder);
        }
        Output::of(command.envs(set.iter().copied()), b"")
    };
    let error = "error: there is no home directory to keep tokens in\nhint: set HOME or KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&run(&[]), 2, error);
    scene.assert_failed(&run(&[("HOME", "")]), 2, error);
    // One folder is enough; nothing else of a home is needed.
    let output = run(&[("KEYFOB_CACHE_DIR", scene.keyfob.cache_dir().to_str().unwrap())]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:?}");
}

#[test]
fn a_client_secret_that_cannot_be_read_stops_before_anything_is_asked() {
    let scene = Scene::lab();
    let file = scene.keyfob.home().join("secret");
    let more = format!("client-secret-file = '{}'\n", file.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    let error = "error: could not get a token for lab: could not read the client secret HOME/secret: No such file or \
                 directory (os error 2)\n";
    scene.assert_failed(&scene.prompting(["token"]), 2, error);
    let large = "x".repeat(65_537);
    for (content, why) in
        [("", "is empty"), ("\n", "is empty"), ("\r\n", "is empty"), (large.as_str(), "is larger than 64 KiB")]
    {
        fs::write(&file, content).unwrap();
        let error = format!("error: could not get a token for lab: the client secret file HOME/secret {why}\n");
        scene.assert_failed(&scene.prompting(["token"]), 2, &error);
    }
    assert_eq!((scene.idp.count("device"), scene.idp.count("token")), (0, 0));
}

#[test]
fn a_ca_file_without_certificates_is_named() {
    let scene = Scene::lab();
    let file = scene.keyfob.home().join("ca.pem");
    let more = format!("ca-file = '{}'\n", file.display());
    scene.keyfob.write_config(&(LAB.replace("ISSUER", scene.idp.issuer()) + &more));
    let fails = |why: &str| {
        let error = format!("error: {why}\nhint: `ca-file` must name a PEM file with certificates\n");
        scene.assert_failed(&scene.prompting(["token"]), 2, &error);
    };
    let place = "HOME/config.toml:4";
    fails(&format!("{place}: could not read the certificate file HOME/ca.pem: No such file or directory (os error 2)"));
    let unusable = |why: &str| fails(&format!("could not get a token for lab: HOME/ca.pem {why}"));
    fs::write(&file, "").unwrap();
    unusable("holds no certificate");
    fs::write(&file, "hello").unwrap();
    unusable("holds no certificate");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    unusable("is not a PEM file");
    fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    fails(&format!("{place}: HOME/ca.pem is larger than 1 MiB"));
    assert_eq!(scene.idp.requests().len(), 0);
}

/// Going around a company's proxy would be a surprise.
#[test]
fn a_proxy_that_cannot_be_understood_is_named_and_not_gone_around() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let before = scene.idp.requests().len();
    let with = |name: &str, proxy: &OsStr| {
        Output::of(scene.keyfob.command(["token"]).env(name, proxy).env("KEYFOB_PROMPT", "always"), b"")
    };
    for (name, proxy) in [
        ("HTTPS_PROXY", "ftp://ada:hunter2@proxy.example:3128"),
        ("https_proxy", "http://ada:hunter2@proxy.example:port"),
        ("ALL_PROXY", "http://ada:hunter2@"),
        ("all_proxy", "http://ada:%ff@proxy.example"),
        ("HTTPS_PROXY", "ada:hunter2@proxy example"),
        ("https_proxy", "\u{202e}hunter2"),
        ("HTTPS_PROXY", "/hunter2"),
        ("HTTPS_PROXY", "[::1"),
        ("HTTPS_PROXY", ":"),
        ("HTTPS_PROXY", "http://:3128"),
        ("HTTPS_PROXY", " "),
    ] {
        let error = format!(
            "error: could not get a token for lab: {name} is set, but is not the address of a proxy\n\
             hint: unset {name}\n"
        );
        scene.leave(-1);
        let output = with(name, OsStr::new(proxy));
        scene.assert_failed(&output, 2, &error);
        scene.assert_failed(&with(name, OsStr::from_bytes(b"http://proxy\xff.example")), 2, &error);
        // What is good is handed out all the same.
        scene.leave(100);
        assert_eq!(token(&with(name, OsStr::new(proxy))), old, "{proxy}");
    }
    assert_eq!(scene.idp.requests().len(), before);
    scene.leave(-1);
    let both = |name: &str| {
        let mut command = scene.keyfob.command(["token"]);
        command.env("HTTPS_PROXY", "ftp://proxy.example").env(name, "http://127.0.0.1:1").env("KEYFOB_PROMPT", "never");
        Output::of(&mut command, b"")
    };
    // Not by the next best either.
    assert!(both("ALL_PROXY").stderr.contains(": HTTPS_PROXY is set, "), "{:?}", both("ALL_PROXY"));
    token(&with("HTTPS_PROXY", OsStr::new("")));
}

/// The rest of what can be wrong in the file or in a flag: the whole line each, and what mends it.
#[test]
fn every_other_mistake_in_the_configuration_is_named() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    let long = format!("issuer = 'https://id.example.com/{}'", "x".repeat(2000));
    for (toml, error) in [
        (
            "provider = 'github'\nclient-id = 'c'\ntenant = 't'",
            "HOME/config.toml:4: `tenant` means nothing to GitHub\n",
        ),
        (
            "provider = 'google'\nclient-id = 'c'",
            "profile \"lab\" has no `client-secret-file`, which Google wants\n\
             hint: add `client-secret-file = \"…\"` below [profile.lab] in HOME/config.toml, or pass \
             --client-secret-file\n",
        ),
        (
            "provider = 'github-enterprise'\nclient-id = 'c'",
            "profile \"lab\" has no `authority`, the address of your own installation\n\
             hint: add `authority = \"…\"` below [profile.lab] in HOME/config.toml, or pass --authority\n",
        ),
        (
            "provider = 'entra'\nclient-id = 'c'\ntenant = '../x'",
            "HOME/config.toml:4: `tenant` must be a tenant id or a domain name\n",
        ),
        (
            "issuer = 'https://id.example.com'\nclient-id = 'c'\nscopes = ['openid email']",
            "HOME/config.toml:4: `scopes` \"openid email\" is not one scope; list them one by one\n",
        ),
        (
            "issuer = 'https://id.example.com'\nclient-id = 'c'\nextra = { client_id = 'x' }",
            "HOME/config.toml:4: `extra` cannot set `client_id`, which keyfob sends itself\n",
        ),
        ("client-id = \"a\\u001bb\"", "HOME/config.toml:2: `client-id` holds a control character\n"),
        ("min-ttl = -1", "HOME/config.toml:2: `min-ttl` must be a whole number of seconds, not \"-1\"\n"),
        ("extra = { '' = 'x' }", "HOME/config.toml:2: `extra` must be NAME=VALUE, not \"=x\"\n"),
        ("client-id = ''", "HOME/config.toml:2: `client-id` is empty\n"),
        ("issuer = 'id.example.com'\nclient-id = 'c'", "HOME/config.toml:2: `issuer` is not an absolute web address\n"),
        ("issuer = 'https://a b'\nclient-id = 'c'", "HOME/config.toml:2: `issuer` is not a web address\n"),
        (&format!("{long}\nclient-id = 'c'"), "HOME/config.toml:2: `issuer` is too long\n"),
        (
            "issuer = 'https://id.example.com/#x'\nclient-id = 'c'",
            "HOME/config.toml:2: `issuer` has a fragment (`#…`)\n",
        ),
        ("issuer = 'https://id.example.com/?x'\nclient-id = 'c'", "HOME/config.toml:2: `issuer` has a query (`?…`)\n"),
        (
            "issuer = 'https://ada@id.example.com'\nclient-id = 'c'",
            "HOME/config.toml:2: `issuer` has a user name in it\n",
        ),
        ("issuer = 'https://:443'\nclient-id = 'c'", "HOME/config.toml:2: `issuer` names no host\n"),
        ("client-id = 7", "HOME/config.toml:2: `client-id` must be a string, not a number\n"),
        ("extra = 'x'", "HOME/config.toml:2: `extra` must be a table, not a string\n"),
        ("client-id = 'c'\nclient-id = 'd'", "HOME/config.toml:3: not valid TOML: duplicate key\n"),
    ] {
        keyfob.write_config(&format!("[profile.lab]\n{toml}\n"));
        assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, &format!("error: {error}"));
    }
    keyfob.write_config("profile = 'lab'\n");
    let error = "error: HOME/config.toml:1: `profile` must be a table, not a string\n";
    assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, error);
}

/// Which callers there are is known where a host is looked up.
#[test]
fn a_caller_in_hosts_that_does_not_exist_is_named_with_its_line() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    keyfob.write_config(
        "[profile.lab]\nissuer = 'https://id.example'\nclient-id = 'c'\n[hosts]\n'https://a.example' = 'lab'\n\
         'https://b.example' = { profile = 'lab', callers = ['dokcer'] }\n",
    );
    let error = "HOME/config.toml:6: `callers` cannot be \"dokcer\"; did you mean `docker`?\n";
    let output = keyfob.run_with_input(["git", "get"], "protocol=https\nhost=b.example\n");
    assert_failed(&keyfob, &output, 2, &format!("error: {error}"));
    let doctor = silently(&keyfob, &["doctor", "--offline"]);
    let said = doctor.stdout.replace(&keyfob.home().display().to_string(), "HOME");
    assert!(doctor.code == Some(1) && said.contains(error), "{doctor:?}");
}

#[test]
fn every_mistake_in_hosts_is_named() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    for (hosts, error) in [
        (
            "'https://git.example.com' = 7",
            "HOME/config.toml:5: `https://git.example.com` must be a profile's name or a table, not a number\n",
        ),
        (
            "'https://:x@git.example.com' = 'lab'",
            "HOME/config.toml:5: `hosts`: \"https://:x@git.example.com\" has a user name that is empty, or a password\n",
        ),
        (
            "'https://git.*.com' = 'lab'",
            "HOME/config.toml:5: `hosts`: \"https://git.*.com\" has a `*` that is not the whole first label\n",
        ),
        ("'https://*.com' = 'lab'", "HOME/config.toml:5: `hosts`: \"https://*.com\" has a `*` before a single label\n"),
        (
            "'git.example.com' = 'lab'",
            "HOME/config.toml:5: `hosts`: \"git.example.com\" is not an address such as https://git.example.com\n",
        ),
        (
            "'https://git.example.com:0' = 'lab'",
            "HOME/config.toml:5: `hosts`: \"https://git.example.com:0\" is not an address such as \
             https://git.example.com:8443/team\n",
        ),
        (
            "'https://git.example.com' = { auth = 'basic' }",
            "HOME/config.toml:5: `hosts`: \"https://git.example.com\" names no `profile`\n",
        ),
        (
            "'https://git.example.com' = { profile = 'lab', auth = 'basik' }",
            "HOME/config.toml:5: `auth` cannot be \"basik\"; did you mean `basic`?\n",
        ),
        (
            "'https://git.example.com' = { profile = 'lab', username = 'a:b' }",
            "HOME/config.toml:5: `username` is empty, or holds a colon or a control character\n",
        ),
        ("'https://git.example.com' = { profile = 'lab', callers = [] }", "HOME/config.toml:5: `callers` is empty\n"),
        (
            "'https://git.example.com' = 'lab'\n'https://git.example.com:443' = 'lab'",
            "HOME/config.toml:6: `hosts`: \"https://git.example.com:443\" is the same address as \"https://git.example.com\"\n",
        ),
        (
            "'https://git.example.com' = 'lap'",
            "HOME/config.toml:5: `https://git.example.com`: there is no profile \"lap\"; did you mean `lab`?\n",
        ),
    ] {
        keyfob.write_config(&format!(
            "[profile.lab]\nissuer = 'https://id.example'\nclient-id = 'c'\n[hosts]\n{hosts}\n"
        ));
        assert_failed(&keyfob, &silently(&keyfob, &["token"]), 2, &format!("error: {error}"));
    }
}

#[test]
fn every_other_mistake_on_the_command_line_is_named() {
    let keyfob = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    for (args, error) in [
        (
            &["logout", "--all", "lab"][..],
            "error: the argument '--all' cannot be used with '[PROFILE]'\n\
             hint: `keyfob logout --help` says what there is\n",
        ),
        (
            &["completions", "cmd"],
            "error: invalid value 'cmd' for '[SHELL]' [possible values: bash, elvish, fish, powershell, zsh]\n",
        ),
        (
            &["setup", "git"],
            "error: the following required arguments were not provided: <URL>...\n\
             hint: `keyfob setup git --help` says what there is\n",
        ),
        (&["logn"], "error: unrecognized subcommand 'logn'\nhint: some similar subcommands exist: 'logout', 'login'\n"),
        (&["zzz"], "error: unrecognized subcommand 'zzz'\nhint: `keyfob --help` says what there is\n"),
        (&["token", "--provider", "github"], "error: this profile has no `client-id`\nhint: pass --client-id\n"),
        (
            &["token", "--issuer", "https://id.example.com", "--extra", "x"],
            "error: --extra: `extra` must be NAME=VALUE, not \"x\"\n",
        ),
        (
            &["git", "--host", "git.example.com", "--profile", "lab", "get"],
            "error: --host: \"git.example.com\" is not an address such as https://git.example.com\n",
        ),
        (
            &["git", "--profile", "lab", "get"],
            "error: --profile without --host: which host may have its token?\n\
             hint: add --host https://HOST, or leave both out and name the host in [hosts]\n",
        ),
        (
            &["git", "--host", "https://git.example.com", "get"],
            "error: --host without --profile: whose token may it have?\n\
             hint: add --profile NAME, or leave both out and name the host in [hosts]\n",
        ),
        (
            &["setup", "--yes"],
            "error: which tool, or which profile?\n\
             hint: `keyfob setup --help` lists the tools; --profile NAME with --issuer or --provider makes a profile\n",
        ),
        (
            &["setup", "--undo"],
            "error: which tool, or which profile?\n\
             hint: `keyfob setup --help` lists the tools; --profile NAME takes a profile back\n",
        ),
    ] {
        assert_failed(&keyfob, &silently(&keyfob, args), 2, error);
    }
}
