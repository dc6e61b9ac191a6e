//! What git's own suite asks of a credential helper (`t0303-credential-external.sh`), as far as it applies to one that
//! stores nothing it is given.
//!
//! The suite's way is kept: `git credential fill`, `approve` and `reject` with keyfob as the only helper, and an askpass
//! that says what it was asked; so whatever keyfob does not answer, git asks the person for, and no more.
//!
//! The suite itself, that of git 2.47 and with none of its hosts mapped, passes 13 of its 22 cases. The other nine wait
//! for something to come back that they have stored, and `store` keeps nothing: tokens come from the provider alone.
//!
//! | case of t0303 | here |
//! |---|---|
//! | has no existing data; requires matching protocol, host, username, path | hold, also where a neighbour is mapped |
//! | not confused by long header | holds, also where the victim is mapped |
//! | stores password, `password_expiry_utc`, `oauth_refresh_token` | hold: accepted in silence |
//! | can forget host, can forget user, erases all matching credentials | hold: the access token goes. The next one comes from the session, which is not git's to end |
//! | times out | holds: an expired token is never answered |
//! | does not erase a password distinct from input; remembers other user | fail, since they store first; hold for the provider's tokens |
//! | can retrieve password; gets `password_expiry_utc` | fail, since they store first; hold for the provider's tokens |
//! | overwrites on store; overwrites when `password_expiry_utc` changes; can store multiple users; can store empty username; gets `oauth_refresh_token` | do not apply: nothing that is stored comes back, and a refresh token is never answered |
//!
//! Each runs with git before and since it knows capabilities.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::common::{Scene, now};
use keyfob_test_support::provider::Options;
use keyfob_test_support::real::{Git, Missing};
use keyfob_test_support::{Output, need};
use serde_json::json;

/// Two people at one host, a host for everybody, and a path.
const CONFIG: &str = "
[profile.lab]
issuer = 'ISSUER'
client-id = 'keyfob'
[profile.eve]
issuer = 'ISSUER'
client-id = 'keyfob'
account = 'eve@example.com'
[hosts]
'https://example.com' = 'lab'
'https://user1@users.example.com' = 'lab'
'https://user2@users.example.com' = 'eve'
'https://path.tld/foo.git' = 'lab'
";

/// Says what it is asked, and answers with it.
const ASKPASS: &str = "#!/bin/sh
echo \"askpass: $*\" >&2
case \"$1\" in Username*) echo askpass-username ;; *) echo askpass-password ;; esac
";

/// A git with keyfob as its only helper.
struct Setting {
    scene: Scene,
    git: &'static Git,
}

impl Setting {
    /// Alice and Eve have signed in; their access tokens are `abc` and `xyz`, good to the end of the century.
    fn new(git: Result<&'static Git, Missing>) -> Result<Self, Missing> {
        let git = git?;
        let scene = Scene::with(Options::default(), CONFIG);
        let askpass = scene.keyfob.home().join("askpass");
        fs::write(&askpass, ASKPASS).unwrap();
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
        for (user, profile, token) in [("alice@example.com", "lab", "abc"), ("eve@example.com", "eve", "xyz")] {
            scene.idp.set_user(user);
            scene.idp.auto(keyfob_test_support::Auto::Approve);
            assert_eq!(scene.prompting(["token", "--profile", profile]).code, Some(0));
            change_session(&scene, user, |access| {
                access["token"] = json!(token);
                access["received_at"] = json!(1_700_000_000_i64);
                access["expires_at"] = json!(4_102_444_800_i64);
            });
        }
        Ok(Self { scene, git })
    }

    fn credential(&self, operation: &str, options: &[&str], input: &str) -> Output {
        let mut command = self.scene.keyfob.other(&self.git.path);
        let home = self.scene.keyfob.home();
        command.args(["-c", concat!("credential.helper=", env!("CARGO_BIN_EXE_keyfob"), " git")]).args(options);
        command.args(["credential", operation]).current_dir(home).stdin(Stdio::piped());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", home.join(".gitconfig"));
        command.env("GIT_ASKPASS", home.join("askpass")).env("KEYFOB_PROMPT", "never");
        Output::of(&mut command, input.as_bytes())
    }

    /// The suite's `check`: what goes in, what comes out, and what is asked meanwhile.
    #[track_caller]
    fn check(&self, operation: &str, options: &[&str], input: &str, stdout: &str, stderr: &str) {
        let output = self.credential(operation, options, input);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str(), output.code),
            (stdout, stderr, Some(0)),
            "{operation} {input:?} with {:?}",
            self.git.version
        );
    }

    /// A request that keyfob leaves to the person.
    #[track_caller]
    fn check_asks(&self, options: &[&str], input: &str, address: &str) {
        let (scheme, rest) = address.split_once("://").unwrap();
        let asked = if input.contains("username=") {
            format!("askpass: Password for '{address}': \n")
        } else {
            format!(
                "askpass: Username for '{address}': \naskpass: Password for '{scheme}://askpass-username@{rest}': \n"
            )
        };
        let username = if input.contains("username=") { "" } else { "username=askpass-username\n" };
        self.check("fill", options, input, &format!("{input}{username}password=askpass-password\n"), &asked);
    }

    /// The token that a request gets.
    #[track_caller]
    fn token(&self, input: &str) -> String {
        let output = self.credential("fill", &[], input);
        let token = output.stdout.lines().find_map(|line| line.strip_prefix("password="));
        token.unwrap_or_else(|| panic!("{output:?}")).to_owned()
    }

    /// A request that gets this token.
    #[track_caller]
    fn check_gets(&self, options: &[&str], input: &str, token: &str) {
        let plain = input.replace("username=user1\n", "").replace("username=user2\n", "");
        // git keeps an expiry since 2.40.
        let expiry = if self.git.version >= (2, 40) { "password_expiry_utc=4102444800\n" } else { "" };
        let answer = format!("{plain}username=x-access-token\npassword={token}\n{expiry}");
        self.check("fill", options, input, &answer, "");
    }

    fn approve(&self, input: &str) {
        self.check("approve", &[], input, "", "");
    }

    fn reject(&self, input: &str) {
        self.check("reject", &[], input, "", "");
    }
}

/// Changes a person's access token where it is kept.
fn change_session(scene: &Scene, user: &str, change: impl FnOnce(&mut serde_json::Value)) {
    for name in scene.names().iter().filter(|name| name.ends_with(".json")) {
        let file = scene.keyfob.cache_dir().join(name);
        let mut session: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        if session["account"]["name"] == user {
            let tokens = session["tokens"].as_array_mut().unwrap();
            change(tokens.iter_mut().find(|token| token["key"]["kind"] == "access").unwrap());
            fs::write(&file, session.to_string()).unwrap();
            return;
        }
    }
    panic!("nobody has signed in as {user}");
}

/// A test for either git.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($setting:ident) $body:block)+) => {$(
        #[test]
        $(#[$doc])*
        fn $name() {
            for git in [Git::with_capabilities(), Git::without_capabilities()] {
                let $setting = need!(Setting::new(git));
                $body
            }
        }
    )+};
}

cases! {
    has_no_existing_data(setting) {
        setting.check_asks(&[], "protocol=https\nhost=other.example.com\n", "https://other.example.com");
    }

    a_mapped_host_gets_the_token_and_its_expiry(setting) {
        setting.check_gets(&[], "protocol=https\nhost=example.com\n", "abc");
    }

    requires_matching_protocol(setting) {
        setting.check_asks(&[], "protocol=http\nhost=example.com\n", "http://example.com");
    }

    requires_matching_host(setting) {
        setting.check_asks(&[], "protocol=https\nhost=other.tld\n", "https://other.tld");
    }

    requires_matching_username(setting) {
        let other = "protocol=https\nhost=users.example.com\nusername=other\n";
        setting.check_asks(&[], other, "https://other@users.example.com");
        setting.check_asks(&[], "protocol=https\nhost=users.example.com\n", "https://users.example.com");
        setting.check_gets(&[], "protocol=https\nhost=users.example.com\nusername=user1\n", "abc");
        setting.check_gets(&[], "protocol=https\nhost=users.example.com\nusername=user2\n", "xyz");
    }

    requires_matching_path(setting) {
        let paths = ["-c", "credential.useHttpPath=true"];
        setting.check_gets(&paths, "protocol=https\nhost=path.tld\npath=foo.git\n", "abc");
        setting.check_asks(&paths, "protocol=https\nhost=path.tld\npath=bar.git\n", "https://path.tld/bar.git");
    }

    nothing_that_is_stored_comes_back(setting) {
        for stored in [
            "username=store-user\npassword=store-pass\n",
            "username=\npassword=\n",
            "username=user\npassword=pass\npassword_expiry_utc=9999999999\n",
            "username=user\npassword=pass\noauth_refresh_token=xyzzy\n",
            "capability[]=authtype\nauthtype=Bearer\ncredential=random-token\n",
        ] {
            setting.approve(&format!("protocol=https\nhost=other.tld\n{stored}"));
            setting.check_asks(&[], "protocol=https\nhost=other.tld\n", "https://other.tld");
            setting.approve(&format!("protocol=https\nhost=example.com\n{stored}"));
            setting.check_gets(&[], "protocol=https\nhost=example.com\n", "abc");
        }
    }

    does_not_erase_a_password_distinct_from_input(setting) {
        setting.reject("protocol=https\nhost=example.com\nusername=x-access-token\npassword=other\n");
        setting.check_gets(&[], "protocol=https\nhost=example.com\n", "abc");
    }

    can_forget_host_and_can_forget_user(setting) {
        for request in [
            "protocol=https\nhost=example.com\n",
            "protocol=https\nhost=example.com\nusername=x-access-token\n",
            "protocol=https\nhost=users.example.com\nusername=user2\n",
        ] {
            let before = setting.token(request);
            assert_eq!(setting.token(request), before);
            setting.reject(request);
            let after = setting.token(request);
            assert!(after != before && setting.scene.idp.accepts(&after), "{request}");
        }
    }

    forgets_the_token_and_remembers_the_other_users(setting) {
        setting.reject("protocol=https\nhost=users.example.com\nusername=user1\npassword=abc\n");
        let token = setting.token("protocol=https\nhost=users.example.com\nusername=user1\n");
        assert!(token != "abc" && setting.scene.idp.accepts(&token), "{token}");
        setting.check_gets(&[], "protocol=https\nhost=users.example.com\nusername=user2\n", "xyz");
    }

    is_not_confused_by_a_long_header(setting) {
        // git 2.39 drops what it does not know.
        let keeps = setting.git.knows_capabilities();
        for length in [1_001, 1_002, 4_096, 65_513, 200_000] {
            let header = format!("wwwauth[]=basic realm={}host=example.com\n", "a".repeat(length));
            let input = "protocol=https\nhost=badguy.example.com\n";
            let answer = format!("{input}username=askpass-username\npassword=askpass-password\n");
            setting.check(
                "fill",
                &[],
                &format!("{input}{header}"),
                &(answer + if keeps { &header } else { "" }),
                "askpass: Username for 'https://badguy.example.com': \n\
                 askpass: Password for 'https://askpass-username@badguy.example.com': \n",
            );
        }
    }

    times_out(setting) {
        change_session(&setting.scene, "alice@example.com", |access| access["expires_at"] = json!(now() - 1));
        setting.scene.idp.revoke_refresh_tokens();
        let output = setting.credential("fill", &[], "protocol=https\nhost=example.com\n");
        // The host is keyfob's: the person is asked to sign in, and not for a password.
        assert_eq!((output.stdout.as_str(), output.code), ("", Some(128)), "{output:?}");
        assert!(output.stderr.starts_with("error: run `"), "{output:?}");
        assert!(output.stderr.contains("` in a terminal: could not get a token for lab: a sign-in is needed"), "{output:?}");
        assert!(!output.stderr.contains("askpass"), "{output:?}");
    }
}

#[test]
fn gets_authtype_and_credential() {
    let setting = need!(Setting::new(Git::with_capabilities()));
    let input = "capability[]=authtype\nprotocol=https\nhost=example.com\n";
    let answer = "capability[]=authtype\nauthtype=Bearer\ncredential=abc\nprotocol=https\nhost=example.com\n\
                  password_expiry_utc=4102444800\n";
    setting.check("fill", &[], input, answer, "");
    let other = "capability[]=authtype\nprotocol=https\nhost=users.example.com\nusername=barbaz\n";
    let plain = "protocol=https\nhost=users.example.com\nusername=barbaz\npassword=askpass-password\n";
    setting.check("fill", &[], other, plain, "askpass: Password for 'https://barbaz@users.example.com': \n");
}
