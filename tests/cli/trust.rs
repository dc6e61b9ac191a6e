//! Who may say what: whose configuration is read, and what a caller's flags cannot do that the configuration can.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use std::sync::Arc;

use crate::common::errors::Scene;
use crate::common::{Fresh, LAB, wait_until};
use keyfob_test_support::provider::{Edit, Endpoint, Options, Provider};
use keyfob_test_support::{Output, skip};
use serde_json::{Value, json};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const WHOSE: &str = "error: could not use HOME/config.toml: it belongs to another user (uid 54321)\nhint: ";

#[test]
fn a_configuration_that_others_can_change_is_not_read() {
    let scene = Scene::signed_in();
    let file = scene.keyfob.config_file();
    for (bits, said) in [(0o664, "0664"), (0o646, "0646"), (0o666, "0666"), (0o1622, "1622")] {
        mode(&file, bits);
        for command in ["token", "kubernetes", "status", "login", "setup"] {
            scene.assert_failed(
                &scene.silently([command]),
                2,
                &format!(
                    "error: could not use HOME/config.toml: other users can change it (mode {said})\n\
                     hint: chmod go-w HOME/config.toml\n"
                ),
            );
        }
    }
    mode(&file, 0o644);
    let token = scene.token();
    mode(&file, 0o400);
    assert_eq!(scene.token(), token);
    // What is looked at is the file that is read, wherever a link has led.
    let real = scene.keyfob.home().join("real.toml");
    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    assert_eq!(scene.token(), token);
    mode(&real, 0o662);
    assert_eq!(scene.silently(["token"]).code, Some(2));
    // What is written to a device is not what is read from it.
    let nothing = Output::of(scene.keyfob.command(["status"]).env("KEYFOB_CONFIG", "/dev/null"), b"");
    assert_eq!((nothing.code, nothing.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_configuration_of_another_user_is_not_read_not_even_by_root() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can give files away");
    }
    let scene = Scene::signed_in();
    chown(scene.keyfob.config_file(), Some(54_321), None).unwrap();
    for command in ["token", "git", "doctor"] {
        let args: &[&str] = if command == "git" { &["git", "get"] } else { &[command] };
        let output = scene.keyfob.run_with_input(args, "protocol=https\nhost=a.example\n\n");
        let said = output.stdout + &output.stderr;
        assert!(said.contains("it belongs to another user (uid 54321)"), "{command}: {said}");
    }
    let roots = "root goes by its own configuration alone: use `sudo -H`, in a container `--user`, or a copy that is \
                 root's\n";
    scene.assert_failed(&scene.silently(["token"]), 2, &format!("{WHOSE}{roots}"));

    // Root's is read by everybody, another's is not.
    let home = scene.keyfob.home();
    for path in [home, &scene.keyfob.cache_dir()] {
        chown(path, Some(65_534), None).unwrap();
    }
    let mut names = fs::read_dir(scene.keyfob.cache_dir()).unwrap();
    names.try_for_each(|entry| chown(entry?.path(), Some(65_534), None)).unwrap();
    let program = home.join("keyfob");
    crate::common::copy_program(&program);
    let nobody = || {
        let mut command = scene.keyfob.other("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("token");
        Output::of(command.env("KEYFOB_PROMPT", "never"), b"")
    };
    scene.assert_failed(&nobody(), 2, &format!("{WHOSE}make one of your own, or name one by KEYFOB_CONFIG\n"));
    for owner in [0, 65_534] {
        chown(scene.keyfob.config_file(), Some(owner), None).unwrap();
        let output = nobody();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    }
}

#[test]
fn a_secret_file_that_a_flag_names_is_sent_only_if_it_can_be_a_secret() {
    let scene = Scene::lab();
    let file = scene.keyfob.home().join("secret");
    let path = file.to_str().unwrap();
    let flags = ["token", "--issuer", scene.idp.issuer(), "--client-id", "keyfob", "--client-secret-file", path];
    for (content, why) in [
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n", "is not one line of printable characters"),
        ("a\u{1b}b", "is not one line of printable characters"),
        ("gehe\u{ef}m", "is not one line of printable characters"),
        (&"x".repeat(513), "is longer than 512 bytes"),
    ] {
        fs::write(&file, content).unwrap();
        let error = format!(
            "error: could not get a token for ISSUER: the client secret file HOME/secret {why}\n\
             hint: name it by `client-secret-file` in config.toml if it is one\n"
        );
        scene.assert_failed(&scene.prompting(flags), 2, &error);
        assert_eq!(scene.idp.count("token"), 0);
    }
    // What config.toml names is the user's to say.
    fs::write(&file, "x".repeat(513)).unwrap();
    scene.keyfob.write_config(&format!(
        "[profile.lab]\nissuer = '{}'\nclient-id = 'keyfob'\nclient-secret-file = '{path}'\n",
        scene.idp.issuer()
    ));
    scene.silently(["token"]);
    let output = scene.prompting(["login", "--timeout", "1"]);
    assert!(!output.stderr.contains("512"), "{output:?}");
    assert!(scene.idp.count("device") > 0);
}

/// A provider whose metadata names these endpoints instead of its own.
fn naming(endpoints: &[(&'static str, String)]) -> Scene {
    let endpoints = endpoints.to_vec();
    let edit: Edit = Arc::new(move |endpoint, value: &mut Value| {
        for (name, address) in endpoints.iter().filter(|_| endpoint == Endpoint::Discovery) {
            value[*name] = json!(address);
        }
    });
    Scene::new(Options { edit: Some(edit), ..Options::default() }, LAB)
}

#[test]
fn endpoints_of_two_origins_are_not_used_unless_the_configuration_says_so() {
    for (endpoint, name, what) in [
        (Endpoint::Token, "token_endpoint", "the token endpoint"),
        (Endpoint::Device, "device_authorization_endpoint", "the device authorization endpoint"),
        (Endpoint::Revoke, "revocation_endpoint", "the revocation endpoint"),
    ] {
        let other = Provider::start(Options::default());
        let scene = naming(&[(name, other.url(endpoint))]);
        let output = scene.prompting(["token"]);
        let stderr = output.stderr.replace(scene.idp.issuer(), "ISSUER").replace(other.issuer(), "OTHER");
        assert_eq!(output.code, Some(1), "{stderr}");
        assert!(
            stderr.starts_with("error: could not get a token for lab: the endpoints of ISSUER are at different"),
            "{stderr}"
        );
        assert!(stderr.contains(what) && stderr.contains("OTHER") && stderr.contains("\nhint: "), "{stderr}");
        assert_eq!((scene.idp.count("device"), other.requests().len()), (0, 0), "{stderr}");

        // The person has said so.
        let key = name.replace('_', "-");
        let by_hand = format!("{}{key} = '{}'\n", LAB.replace("ISSUER", scene.idp.issuer()), other.url(endpoint));
        scene.keyfob.write_config(&by_hand);
        let output = scene.prompting(["login", "--timeout", "1"]);
        assert_eq!(output.code, Some(3), "{output:?}");

        // A flag is not the configuration.
        let plain = Scene::new(Options::default(), LAB);
        let flag = format!("--{key}={}", other.url(endpoint));
        let output = plain.prompting(["token", "--issuer", plain.idp.issuer(), "--client-id=keyfob", &flag]);
        assert!(output.stderr.contains("at different origins"), "{output:?}");
        assert_eq!(plain.idp.count("device"), 0);
    }
}

#[test]
fn the_endpoints_of_a_provider_that_is_known_are_not_used_under_another_issuer() {
    let microsoft = |name: &str| format!("https://login.microsoftonline.com/common/oauth2/v2.0/{name}");
    let scene = naming(&[
        ("device_authorization_endpoint", microsoft("devicecode")),
        ("token_endpoint", microsoft("token")),
        ("revocation_endpoint", microsoft("revoke")),
    ]);
    scene.assert_failed(
        &scene.prompting(["token"]),
        1,
        "error: could not get a token for lab: ISSUER names login.microsoftonline.com, which is Microsoft Entra ID's\n\
         hint: for Microsoft Entra ID set `provider = \"entra\"`\n",
    );
}

#[test]
fn a_flag_does_not_send_the_code_of_a_known_provider_elsewhere() {
    let other = Provider::start(Options::default());
    let flags = ["--provider=gitlab", "--client-id=c", &format!("--token-endpoint={}", other.url(Endpoint::Token))];
    let scene = Scene::lab();
    let output = scene.prompting(["token"].into_iter().chain(flags));
    let error = format!(
        "error: could not get a token for https://gitlab.com: the endpoints of https://gitlab.com are at different \
         origins: the device authorization endpoint at https://gitlab.com, the token endpoint at {}\n",
        other.issuer()
    );
    assert!(output.stderr.starts_with(&error), "{output:?}");
    assert_eq!(other.requests().len(), 0);
}

/// A program that handles core dumps gets them whatever their size limit is, but not of a process that the kernel may not
/// dump. Such a process can be told by its files in /proc, which are root's.
#[test]
fn no_program_that_handles_core_dumps_gets_the_memory() {
    let mut command = Fresh::new().command(&["kubernetes", "--exec-info", "-"]);
    command.current_dir("/").stdin(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(54_321);
    }
    let mut child = command.spawn().unwrap();
    let owner = || fs::metadata(format!("/proc/{}/status", child.id())).unwrap().uid();
    wait_until("a process that the kernel may not dump", || owner() == 0);
    child.kill().unwrap();
    child.wait().unwrap();
}
