//! What keeps `keyfob setup` from its work, beyond what its own tests show: the whole message, its hint and the exit code.
//!
//! kubectl is a script here, so that it can fail. A kubeconfig is JSON, which is YAML too, and which the script hands back
//! as it is. `HOME` stands for the run's own folder, `KEYFOB` for the program.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::errors::{UNSHARE, can_mount};
use crate::common::{PROGRAM, SOON, Scene};
use keyfob_test_support::provider::{Options, Provider};
use keyfob_test_support::{Ended, Keyfob, Output, Stream, Streams, Terminal, skip};
use serde_json::{Value, json};

const LAB: &str = "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\n";

/// Leaves a trace.
const KUBECTL: &str = "echo \"$@\" >> \"$HOME/kubectl-ran\"";

struct Home(Keyfob);

impl Home {
    fn new(toml: &str) -> Self {
        let home = Self(Keyfob::new(PROGRAM).config(toml));
        fs::create_dir(home.path("tools")).unwrap();
        home.tool("kubectl", KUBECTL);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.home().join(name)
    }

    /// A script that is found before any other program of this name. A shell writes it: what this process has open for
    /// writing, a program that another test starts meanwhile has open too, and then it cannot be run.
    fn tool(&self, name: &str, script: &str) {
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"tools/$0\"; chmod 700 \"tools/$0\"";
        let mut sh = self.0.other("sh");
        let done = Output::of(sh.args(["-c", write, name, script]).current_dir(self.0.home()), b"");
        assert_eq!(done.code, Some(0), "{done:?}");
    }

    /// A kubeconfig with these users.
    fn kubeconfig(&self, users: &Value) {
        let config = json!({"users": users, "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}]});
        fs::create_dir_all(self.path(".kube")).unwrap();
        fs::write(self.path(".kube/config"), config.to_string()).unwrap();
    }

    fn other(&self, program: &str) -> Command {
        let mut command = self.0.other(program);
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::iter::once(self.path("tools")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(self.0.home());
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.other(PROGRAM);
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    fn sh(&self, script: &str) -> Output {
        Output::of(self.other("sh").args(["-c", script, PROGRAM]), b"")
    }

    fn plain(&self, text: &str) -> String {
        text.replace(PROGRAM, "KEYFOB").replace(self.0.home().to_str().unwrap(), "HOME")
    }

    /// Asserts how a run ended and what it said. What is to be changed may have been shown before.
    #[track_caller]
    fn assert_failed(&self, output: &Output, code: i32, stderr: &str) {
        assert_eq!((self.plain(&output.stderr).as_str(), output.code), (stderr, Some(code)), "{output:?}");
    }

    /// Runs in a terminal, and does something between the question and the answer.
    fn asked(&self, args: &[&str], question: &str, meanwhile: impl FnOnce(), answer: &[u8]) -> Output {
        let streams = Streams { stderr: Stream::File, ..Streams::default() };
        let terminal = Terminal::start_with(self.command(args), streams);
        terminal.wait_for(question, SOON);
        meanwhile();
        terminal.send(answer);
        let Ended { code, screen: stdout, stderr, .. } = terminal.wait();
        Output { code, stdout, stderr }
    }
}

#[test]
fn what_cannot_be_set_up_is_refused_before_anything_is_changed() {
    let home = Home::new(&format!(
        "{LAB}[profile.home]\nissuer = 'https://id.example.com'\nclient-id = 'd'\n[az]\nprofile = 'home'\n"
    ));
    fs::write(home.path("file"), "").unwrap();
    fs::create_dir(home.path("bin")).unwrap();
    fs::write(home.path("bin/az"), "").unwrap();
    home.kubeconfig(&json!([{"name": "u", "user": {}}]));
    for (args, error) in [
        (
            &["setup", "az", "--yes", "--profile", "lab", "links"][..],
            "error: az answers with the profile \"home\" already\n\
             hint: change `profile` below [az] in config.toml, or leave out --profile\n",
        ),
        (&["setup", "az", "--yes", "file"], "error: HOME/file is not a folder\n"),
        (&["setup", "az", "--yes", "file/below"], "error: HOME/file is not a folder\n"),
        (
            &["setup", "az", "--yes", "bin"],
            "error: HOME/bin/az is there already, and is not keyfob\nhint: choose another folder, or remove it\n",
        ),
    ] {
        let output = home.run(args);
        home.assert_failed(&output, 2, error);
        assert_eq!(output.stdout, "");
    }
    // Below a table in braces there is no room for another profile.
    home.0.write_config("profile = { lab = { issuer = 'https://id.example.com', client-secret = 'hunter2' } }\n");
    let output =
        home.run(&["setup", "--yes", "--profile", "x", "--issuer", "https://id.example.com", "--client-id", "c"]);
    let error = "error: could not change config.toml: cannot extend value of type inline table with a dotted key\n\
                 hint: change HOME/config.toml by hand\n";
    home.assert_failed(&output, 1, error);
    home.0.write_config(LAB);
    let output = Output::of(home.command(&["setup", "kubernetes", "--profile", "lab"]).env("KUBECONFIG", ":"), b"");
    let error = "error: KUBECONFIG names no file\nhint: unset KUBECONFIG, or name the file with --kubeconfig\n";
    home.assert_failed(&output, 2, error);
}

#[test]
fn what_keyfob_cannot_take_over_of_kubelogin_is_named_without_its_value() {
    let home = Home::new("");
    let int128 = ["--oidc-issuer-url=https://id.example.com", "--oidc-client-id=c"];
    let azure = ["--server-id=s", "--client-id=c"];
    for (base, more, env, why) in [
        (
            &int128,
            &["--grant-type=hunter2"][..],
            None,
            "argument --grant-type: it is no way to sign in that keyfob knows",
        ),
        (
            &int128,
            &["--insecure-skip-tls-verify"],
            None,
            "argument --insecure-skip-tls-verify: keyfob checks certificates always; --ca-file names an authority",
        ),
        (
            &int128,
            &["--certificate-authority=a.pem", "--certificate-authority=b.pem"],
            None,
            "argument --certificate-authority: keyfob takes one file",
        ),
        (
            &int128,
            &["--certificate-authority-data=hunter2!"],
            None,
            "argument --certificate-authority-data: it is not PEM in base64",
        ),
        (
            &int128,
            &["--oidc-auth-request-extra-params=hunter2"],
            None,
            "argument --oidc-auth-request-extra-params: it is not NAME=VALUE",
        ),
        (&int128, &["--oidc-new=hunter2"], None, "argument --oidc-new is not known to keyfob"),
        (&int128, &["--oidc-extra-scope"], None, "argument --oidc-extra-scope has no value"),
        (&int128, &[], Some("HUNTER"), "variable HUNTER is not known to keyfob"),
        (&azure, &["--login=hunter2"], None, "argument --login: it is no way to sign in that keyfob knows"),
        (&azure, &["--login=ropc"], None, "argument --login: a password is for its owner to type at the provider"),
        (&azure, &["--legacy"], None, "argument --legacy: keyfob has no tokens of the old kind, for `spn:`"),
        (&azure, &["--pop-enabled"], None, "argument --pop-enabled: keyfob has no tokens with proof of possession"),
        (&azure, &["--environment=hunter2"], None, "argument --environment: it is no cloud that keyfob knows"),
        (&azure, &[], Some("AAD_LOGIN_METHOD"), "variable AAD_LOGIN_METHOD: it is no way to sign in that keyfob knows"),
        (&["--client-id=c", "--tenant-id=t"], &[], None, "argument --server-id is missing"),
    ] {
        let args = [&["get-token"], &base[..], more].concat();
        let env: Vec<_> = env.into_iter().map(|name| json!({"name": name, "value": "hunter2"})).collect();
        home.kubeconfig(&json!([{"name": "u", "user": {"exec": {"command": "kubelogin", "args": args, "env": env}}}]));
        let output = home.run(&["setup", "kubernetes", "--yes", "--from-kubelogin"]);
        home.assert_failed(&output, 2, &format!("error: the user \"u\" cannot be taken over: {why}\n"));
        assert_eq!(output.stdout, "");
    }
    let args = [&["get-token", "--oidc-client-secret=hunter2"][..], &int128].concat();
    home.kubeconfig(&json!([{"name": "u", "user": {"exec": {"command": "kubelogin", "args": args}}}]));
    fs::write(home.path("u.client-secret"), "mine").unwrap();
    let error = "error: HOME/u.client-secret exists already, with something else in it\n\
                 hint: remove it, or choose another profile's name\n";
    home.assert_failed(&home.run(&["setup", "kubernetes", "--yes", "--from-kubelogin"]), 2, error);
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_named_by_its_line_and_kubectl_is_not_asked() {
    let home = Home::new(LAB);
    let setup = ["setup", "kubernetes", "--yes", "--profile", "lab", "--user", "u", "--kubeconfig", "k"];
    for (text, place) in [
        ("users: 3\n", "1: users is not a list"),
        ("# mine\nusers:\n- name: [a]\n", "3: users.0.name is not a name"),
        ("# mine\nusers:\n- user: {}\n", "3: users.0.name is not a name"),
        ("- a\n", "1: it is not a kubeconfig"),
        ("users:\n- name: u\n  token: 'hunter2\n", "3: it is not YAML: unclosed quote"),
        ("kind: *x\n", "1: it is not YAML: while parsing node, found unknown anchor"),
        (
            "users:\n- name: u\n  user: &u {}\n- name: v\n  user: *u\n",
            "3: users.0.user cannot be changed in place: an anchor, an alias or a rare notation is in the way",
        ),
    ] {
        fs::write(home.path("k"), text).unwrap();
        let error = format!("error: HOME/k:{place}\nhint: correct the kubeconfig, or KUBECONFIG\n");
        home.assert_failed(&home.run(&setup), 1, &error);
        assert_eq!(fs::read_to_string(home.path("k")).unwrap(), text);
    }
    fs::write(home.path("k"), b"\xff").unwrap();
    home.assert_failed(&home.run(&setup), 1, "error: HOME/k is not UTF-8\n");
    assert!(!home.path("kubectl-ran").exists());
}

#[test]
fn a_tool_that_is_set_up_and_not_answered_says_why_and_what_to_do() {
    let home = Home::new(&format!("{LAB}[az]\nprofile = 'lab'\n"));
    home.kubeconfig(&json!([]));
    fs::write(home.0.cache_dir(), "").unwrap();
    for (args, error) in [
        (
            &["setup", "kubernetes", "--yes", "--profile", "lab"][..],
            "error: kubectl is set up, but keyfob does not answer: could not use the cache folder HOME/cache: it is a \
             file or a link, not a folder\nhint: remove it, or set KEYFOB_CACHE_DIR\n",
        ),
        (
            &["setup", "az", "--yes", "links"],
            "error: HOME/links/az is keyfob, but does not answer: could not use the cache folder HOME/cache: it is a \
             file or a link, not a folder\nhint: remove it, or set KEYFOB_CACHE_DIR\n",
        ),
        (
            &["setup", "git", "--yes", "--profile", "lab", "https://git.example.com"],
            "error: git is set up for https://git.example.com, but was not answered: could not use the cache folder \
             HOME/cache: it is a file or a link, not a folder\nhint: remove it, or set KEYFOB_CACHE_DIR\n",
        ),
    ] {
        home.assert_failed(&home.run(args), 1, error);
    }
}

#[test]
fn git_that_is_not_answered_though_there_is_a_token_says_why() {
    let scene = Scene::signed_in(Options::default());
    let home = Home(scene.keyfob);
    fs::create_dir(home.path("tools")).unwrap();
    home.tool("git", "case \"$*\" in 'credential fill') echo 'fatal: could not read Username' >&2; exit 128 ;; esac");
    let error = "error: git is set up for https://git.lab, but was not answered: fatal: could not read Username\n\
                 hint: the helpers that git runs: git config --show-origin --get-all credential.helper\n";
    home.assert_failed(&home.run(&["setup", "git", "--yes", "--profile", "lab", "https://git.lab"]), 1, error);
    assert!(fs::read_to_string(home.0.config_file()).unwrap().contains("https://git.lab"));
}

#[test]
fn what_comes_in_the_way_between_the_question_and_the_answer_is_named() {
    let idp = Provider::start(Options::default());
    let go_on = "Go on? [y/N] ";

    let home = Home::new("");
    let file = home.0.config_file();
    fs::remove_file(&file).unwrap();
    let flags = ["setup", "--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"];
    let output = home.asked(&flags, go_on, || fs::write(&file, "").unwrap(), b"y\r");
    let changed = "error: HOME/config.toml has been changed since it was looked at\nhint: run the same command again\n";
    home.assert_failed(&output, 1, changed);

    fs::remove_file(&file).unwrap();
    assert_eq!(home.run(&[&flags[..], &["--yes"]].concat()).code, Some(0));
    let in_the_way = || {
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
    };
    let output = home.asked(&["setup", "--undo", "--profile", "lab"], go_on, in_the_way, b"y\r");
    home.assert_failed(&output, 1, "error: could not remove HOME/config.toml: Is a directory (os error 21)\n");

    let home = Home::new(LAB);
    fs::create_dir(home.path("links")).unwrap();
    let in_the_way = || fs::write(home.path("links/az"), "").unwrap();
    let output = home.asked(&["setup", "az", "links"], go_on, in_the_way, b"y\r");
    home.assert_failed(&output, 1, "error: could not make the link HOME/links/az: File exists (os error 17)\n");

    let home = Home::new(LAB);
    home.kubeconfig(&json!([]));
    let kubeconfig = home.path(".kube/config");
    assert_eq!(home.run(&["setup", "kubernetes", "--yes", "--profile", "lab"]).code, Some(0));
    let change = || fs::write(&kubeconfig, "{}").unwrap();
    let output = home.asked(&["setup", "kubernetes", "--undo"], go_on, change, b"y\r");
    let error = "error: HOME/.kube/config has been changed since it was looked at\nhint: run the same command again\n";
    home.assert_failed(&output, 1, error);
    assert_eq!(fs::read_to_string(&kubeconfig).unwrap(), "{}");
}

#[test]
fn an_answer_that_cannot_be_read_or_carried_out_is_named() {
    let home = Home::new(LAB);
    let output = home.asked(&["setup", "az", "links"], "Go on? [y/N] ", || (), b"\xff\r");
    home.assert_failed(&output, 1, "error: could not read the answer: stream did not contain valid UTF-8\n");

    // The one that asks is gone when it is to be put somewhere.
    let home = Home::new(&format!("{LAB}[profile.work]\nprovider = 'entra'\nclient-id = 'c'\n"));
    let copy = home.path("tools/keyfob");
    assert_eq!(home.sh("cp \"$0\" tools/keyfob").code, Some(0));
    let mut setup = home.other(copy.to_str().unwrap());
    setup.arg("setup").env("PATH", std::env::join_paths([home.path("tools"), "/nowhere".into()]).unwrap());
    let streams = Streams { stderr: Stream::File, ..Streams::default() };
    let terminal = Terminal::start_with(setup, streams);
    terminal.wait_for("Which one? [1, or Enter for none] ", SOON);
    fs::remove_file(&copy).unwrap();
    terminal.send("1\r");
    let Ended { code, stderr, .. } = terminal.wait();
    let error =
        "error: this keyfob has been replaced or removed since it was started\nhint: run the same command again\n";
    assert_eq!((stderr.as_str(), code), (error, Some(1)));
}

#[test]
fn a_folder_that_is_gone_is_no_place_to_start_from() {
    let home = Home::new(LAB);
    fs::create_dir(home.path("gone")).unwrap();
    let gone = "cd gone; rmdir ../gone; exec \"$0\" ";
    let output = home.sh(&format!("{gone} setup az --yes links"));
    let error = "error: could not tell which folder that is: No such file or directory (os error 2)\n";
    home.assert_failed(&output, 1, error);
    fs::create_dir(home.path("gone")).unwrap();
    let flags = "--profile x --issuer https://id.example.com --client-id c --ca-file a.pem";
    let output = home.sh(&format!("{gone} setup --yes {flags}"));
    let error = "error: could not tell where a.pem is: No such file or directory (os error 2)\n";
    home.assert_failed(&output, 1, error);
}

#[test]
fn without_proc_keyfob_cannot_be_put_anywhere() {
    if !can_mount() {
        skip!("`unshare` cannot hide /proc here");
    }
    let home = Home::new(LAB);
    fs::create_dir(home.path("links")).unwrap();
    let script = "mount -t tmpfs none /proc; exec \"$0\" setup az --yes links";
    let output = Output::of(home.other("unshare").args(UNSHARE).args(["sh", "-c", script, PROGRAM]), b"");
    let error = "error: could not tell where keyfob is: no /proc/self/exe available. Is /proc mounted?\n";
    home.assert_failed(&output, 1, error);
}

/// Without `HOME` the system is asked, which knows nothing of this user.
#[test]
fn without_a_home_setup_says_what_to_set() {
    let stranger = ["--user", "--map-user=54321", "--map-group=54321"];
    let tried = Command::new("unshare").args(stranger).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        skip!("`unshare` cannot make a user without a home here");
    }
    let home = Home::new(LAB);
    home.kubeconfig(&json!([]));
    let run = |keep: &[&str], args: &[&str]| {
        let mut command = home.other("unshare");
        command.args(stranger).arg(PROGRAM).args(args);
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "KEYFOB_CONFIG"] {
            if !keep.contains(&name) {
                command.env_remove(name);
            }
        }
        Output::of(&mut command, b"")
    };
    let setup = ["setup", "kubernetes", "--yes", "--profile", "lab"];
    let error = "error: there is no home directory to find config.toml in\nhint: set HOME or KEYFOB_CONFIG\n";
    home.assert_failed(&run(&[], &["setup", "git", "--yes", "--undo", "https://git.lab"]), 2, error);
    let git = ["setup", "git", "--yes", "--profile", "lab", "https://git.lab"];
    let error = "error: there is no home directory to find git's configuration in\nhint: set HOME\n";
    home.assert_failed(&run(&["KEYFOB_CONFIG"], &git), 2, error);
    let error = "error: there is no home directory to find the kubeconfig in\n\
                 hint: set HOME, or name the file with --kubeconfig\n";
    home.assert_failed(&run(&["KEYFOB_CONFIG"], &setup), 2, error);
    let output = run(&["KEYFOB_CONFIG"], &[&setup[..], &["--kubeconfig", ".kube/config"]].concat());
    let error = "error: there is no home directory to keep backups in\nhint: set HOME\n";
    home.assert_failed(&output, 2, error);
}
