//! The configuration of the whole machine, beneath the user's: what each of them decides, and which is named where one is
//! wrong.
//!
//! Its path is fixed, so each run has a folder of the test's own in that place, in a mount namespace.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::common::errors::{UNSHARE, can_mount};
use crate::common::{Fresh, PROGRAM};
use keyfob_test_support::{Output, skip};
use serde_json::{Value, json};

const PLACE: &str = "/etc/xdg/keyfob/config.toml";

const SYSTEM: &str = "\
default-profile = 'corp'
[profile.corp]
issuer = 'https://id.corp.example'
client-id = 'corp'
[profile.lab]
issuer = 'https://id.corp.example'
client-id = 'corp'
[hosts]
'https://git.example.com/team' = 'corp'
'https://other.example' = 'corp'
'https://go.example' = { profile = 'corp', callers = ['goauth', 'git'] }
";

const OWN: &str = "\
[profile.lab]
issuer = 'https://id.example.com'
client-id = 'mine'
[hosts]
'https://*.example.com' = 'lab'
'https://go.example' = 'lab'
";

/// A user on a machine whose administrator has written something.
struct Machine(Fresh);

impl Machine {
    fn with(system: &str, own: Option<&str>) -> Self {
        let machine = Self(Fresh::new());
        machine.0.write("etc/keyfob/config.toml", system);
        fs::set_permissions(machine.system(), fs::Permissions::from_mode(0o644)).unwrap();
        if let Some(own) = own {
            machine.0.write(".config/keyfob/config.toml", own);
        }
        machine
    }

    fn system(&self) -> PathBuf {
        self.0.path("etc/keyfob/config.toml")
    }

    fn own(&self) -> Option<String> {
        fs::read_to_string(self.0.path(".config/keyfob/config.toml")).ok()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.other("unshare");
        let script = "mount --bind \"$HOME/etc\" /etc/xdg && exec \"$0\" \"$@\"";
        command.args(UNSHARE).args(["sh", "-c", script, PROGRAM]).args(args);
        command
    }

    /// Runs; what differs from run to run is written `HOME`.
    fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, "")
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        let output = Output::of(self.command(args).stdin(std::process::Stdio::piped()), input.as_bytes());
        let said = |text: String| text.replace(self.0.path("").to_str().unwrap().trim_end_matches('/'), "HOME");
        Output { stdout: said(output.stdout), stderr: said(output.stderr), ..output }
    }

    /// The profile whose token git would get for this address.
    fn whose(&self, host: &str, path: &str) -> String {
        let request = format!("protocol=https\nhost={host}\npath={path}\n\n");
        let said = self.run_with_input(&["git", "get"], &request).stderr;
        said.rsplit_once("login ").unwrap_or_else(|| panic!("{said}")).1.trim().to_owned()
    }
}

macro_rules! need_mounts {
    () => {
        if !can_mount() || !std::path::Path::new("/etc/xdg").is_dir() {
            skip!("nothing can be mounted over /etc/xdg here");
        }
    };
}

#[test]
fn the_users_file_beats_the_systems_profile_by_profile_rule_by_rule_and_key_by_key() {
    need_mounts!();
    let machine = Machine::with(SYSTEM, Some(OWN));
    for (host, path, profile) in [
        // Fewer words of the user's beat more of the system's.
        ("git.example.com", "team/x", "lab"),
        ("go.example", "", "lab"),
        ("other.example", "", "corp"),
    ] {
        assert_eq!(machine.whose(host, path), profile, "{host}");
    }
    let status =
        |machine: &Machine| -> Value { serde_json::from_str(&machine.run(&["status", "--json"]).stdout).unwrap() };
    assert_eq!(status(&machine)["system_config"], PLACE);
    assert_eq!(status(&machine)["system_profiles"], json!(["corp"]));
    // A profile merges whole: nothing of the system's `lab` is left in the user's.
    assert!(machine.run(&["token", "lab"]).stderr.ends_with("login lab\n"));
    machine.0.write(".config/keyfob/config.toml", "[profile.lab]\nclient-id = 'mine'\n");
    let said = machine.run(&["token", "lab"]).stderr;
    let hint = "hint: add `issuer = \"…\"` below [profile.lab] in HOME/.config/keyfob/config.toml, or pass --issuer\n";
    assert_eq!(said, format!("error: profile \"lab\" has no `issuer`\n{hint}"));

    for (own, profile) in [("", "corp"), ("default-profile = 'lab'\n", "lab")] {
        machine.0.write(".config/keyfob/config.toml", &format!("{own}{OWN}"));
        assert!(machine.run(&["token"]).stderr.ends_with(&format!("login {profile}\n")), "{own}");
    }
    // One file that is named is all there is.
    let mut named = machine.command(&["token"]);
    let named = Output::of(named.env("KEYFOB_CONFIG", machine.0.path(".config/keyfob/config.toml")), b"");
    assert!(named.stderr.ends_with("login lab\n"), "{named:?}");
}

#[test]
fn a_machine_with_the_systems_file_alone_is_set_up() {
    need_mounts!();
    let machine = Machine::with(SYSTEM, None);
    assert_eq!(machine.whose("other.example", ""), "corp");
    let doctor = machine.run(&["doctor", "--offline"]).stdout;
    for line in [
        "ok     configuration: 0 profiles in HOME/.config/keyfob/config.toml\n",
        "ok     configuration: /etc/xdg/keyfob/config.toml, for every user: profile corp, profile lab, [hosts], \
         default-profile\n",
    ] {
        assert!(doctor.contains(line), "{doctor}");
    }
    machine.0.write(".config/keyfob/config.toml", OWN);
    let share = "/etc/xdg/keyfob/config.toml, for every user: profile corp, [hosts], default-profile (not lab, which the \
                 user's file replaces)\n";
    let doctor = machine.run(&["doctor", "--offline"]).stdout;
    assert!(doctor.contains(&format!("ok     configuration: {share}")), "{doctor}");
    assert!(!doctor.contains("warn   configuration"), "{doctor}");
    // Of two rules for one host, only the one that decides is looked at.
    assert_eq!(doctor.matches("git https://go.example:").count(), 1, "{doctor}");
    let status = machine.run(&["status"]).stdout;
    assert!(
        status.contains(&format!("Configuration: HOME/.config/keyfob/config.toml\n               {share}")),
        "{status}"
    );
}

#[test]
fn doctor_warns_of_a_profile_that_takes_the_hosts_of_the_systems_profile_of_its_name() {
    need_mounts!();
    let machine = Machine::with(&format!("{SYSTEM}'https://lab.example' = 'lab'\n"), Some(OWN));
    assert_eq!(machine.whose("lab.example", ""), "lab");
    let doctor = machine.run(&["doctor", "--offline"]).stdout;
    let warning = "warn   configuration: /etc/xdg/keyfob/config.toml maps https://lab.example to its profile lab, which \
                   HOME/.config/keyfob/config.toml replaces: its token goes there instead\n       \
                   -> give your profile another name, unless its token is meant for them\n";
    assert!(doctor.contains(warning), "{doctor}");
}

#[test]
fn setup_writes_to_the_users_file_alone_and_only_what_the_systems_does_not_say() {
    need_mounts!();
    let machine = Machine::with(SYSTEM, None);
    let done = machine.run(&["setup", "git", "--profile", "corp", "--yes", "https://other.example"]);
    assert_eq!((done.code, machine.own()), (Some(0), None), "{done:?}");
    // The user's own choice for a host that the system's file gives to another.
    machine.0.write(".config/keyfob/config.toml", OWN);
    let done = machine.run(&["setup", "git", "--profile", "lab", "--yes", "https://other.example"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(machine.own().unwrap(), format!("{OWN}\"https://other.example\" = \"lab\"\n"));
    assert_eq!(machine.whose("other.example", ""), "lab");
    assert_eq!(fs::read_to_string(machine.system()).unwrap(), SYSTEM);
}

#[test]
fn what_is_wrong_is_named_with_the_file_that_says_it() {
    need_mounts!();
    let machine = Machine::with(SYSTEM, Some(OWN));
    let error = || {
        let output = machine.run(&["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
        output.stderr
    };
    machine.0.write(".config/keyfob/config.toml", "[hosts]\n'https://a.example' = 'crop'\n");
    assert_eq!(
        error(),
        "error: HOME/.config/keyfob/config.toml:2: `https://a.example`: there is no profile \"crop\"; did you mean `corp`?\n"
    );
    machine.0.write(".config/keyfob/config.toml", OWN);
    // What is the user's is no part of the system's.
    fs::write(machine.system(), "default-profile = 'lab'\n").unwrap();
    let alone = "there is no profile \"lab\"; there are none";
    assert_eq!(error(), format!("error: {PLACE}:1: `default-profile`: {alone}\n"));
    fs::write(machine.system(), "\nprofile = 3\n").unwrap();
    assert_eq!(error(), format!("error: {PLACE}:2: `profile` must be a table, not a number\n"));
    fs::write(machine.system(), "[profile.corp]\nissuer = 'https://id.corp.example'\n").unwrap();
    let said = machine.run(&["token", "corp"]).stderr;
    assert!(said.contains(&format!("below [profile.corp] in {PLACE}, ")), "{said}");
    fs::set_permissions(machine.system(), fs::Permissions::from_mode(0o666)).unwrap();
    let open = format!("error: could not use {PLACE}: other users can change it (mode 0666)\n");
    assert_eq!(error(), format!("{open}hint: chmod go-w {PLACE}\n"));
    fs::write(machine.system(), "[profile.ci]\nprovider = 'github'\nclient-id = 'c'\nclient-secret = 's'\n").unwrap();
    fs::set_permissions(machine.system(), fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = machine.run(&["doctor", "--offline"]).stdout;
    assert!(
        doctor.contains(&format!("warn   configuration: every user can read the client secret in {PLACE}\n")),
        "{doctor}"
    );
    if rustix::process::geteuid().is_root() {
        chown(machine.system(), Some(54_321), None).unwrap();
        let hint = "hint: it has to be root's, since it is for every user\n";
        let said = error();
        assert!(said.starts_with(&format!("error: could not use {PLACE}: it belongs to another user (uid ")), "{said}");
        assert!(said.ends_with(hint), "{said}");
    }
}
