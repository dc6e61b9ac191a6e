//! The way nearly every call ends, seen from the kernel: a cached answer reads two or three files and writes one line.
//!
//! What a process does is what `strace` says it does: no socket, no lock, no write but the answer, no change to any
//! file, no folder listed, no program started, no trust store read. And here is every file it opens that belongs to the
//! user, with the reason.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};

use crate::common::azure::WORK;
use crate::common::{self, Caller, Scene, token};
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::{Output, skip};

/// A system call: its name, and everything between the parentheses.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
}

impl Call {
    /// `1234  openat(AT_FDCWD</home>, "x", O_RDONLY) = 3</home/x>`
    fn read(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        let arguments = rest.rsplit_once(" = ").map_or(rest, |(arguments, _)| arguments);
        Some(Self { name: name.to_owned(), arguments: arguments.trim_end().trim_end_matches(')').to_owned() })
    }

    /// The path of an `open` or `openat`, whole.
    fn opened(&self) -> Option<String> {
        let quoted = self.arguments.split('"').nth(1);
        match self.name.as_str() {
            "open" | "creat" => quoted.map(str::to_owned),
            "openat" | "openat2" => {
                let (folder, path) = (self.arguments.split(['<', '>']).nth(1)?, quoted?);
                Some(if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") })
            }
            _ => None,
        }
    }

    /// The number of the file it is about.
    fn descriptor(&self) -> &str {
        self.arguments.split(['<', ',', ' ']).next().unwrap_or_default()
    }
}

/// Runs keyfob and watches it; its answer, and what it did from its first instruction on.
fn watched(scene: &Scene, args: &[&str]) -> (Output, Vec<Call>) {
    watched_with(scene, args, &[])
}

/// The same with more in the environment.
fn watched_with(scene: &Scene, args: &[&str], environment: &[(&str, &str)]) -> (Output, Vec<Call>) {
    let log = scene.keyfob.home().join("strace.log");
    let mut strace = scene.keyfob.other("strace");
    // No signals; file descriptors with their paths; strings long enough for a path.
    strace.args(["-f", "-y", "-s", "4096", "-e", "signal=none", "-o"]).arg(&log);
    strace.arg(common::PROGRAM).args(args).env("KEYFOB_PROMPT", "never");
    strace.envs(environment.iter().copied());
    let output = Caller::start(&mut strace).finish();
    let calls = fs::read_to_string(&log).unwrap().lines().filter_map(Call::read).collect();
    (output, calls)
}

/// Skips a test where the machine has no strace, or where it would count itself.
macro_rules! need_strace {
    () => {
        if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            skip!("strace is not here");
        }
        if std::env::var_os("LLVM_PROFILE_FILE").is_some() {
            skip!("a program that counts its coverage writes files of its own");
        }
    };
}

/// Asserts that nothing was done but to read these files (below the home folder), and to answer.
#[track_caller]
fn assert_only_read(scene: &Scene, (output, calls): (Output, Vec<Call>), files: &[&str]) {
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");

    let home = format!("{}/", scene.keyfob.home().display());
    let stem = scene.file().file_stem().unwrap().to_str().unwrap().to_owned();
    let opened: Vec<String> = calls.iter().filter_map(Call::opened).collect();
    let ours = opened.iter().filter_map(|path| path.strip_prefix(&home)).map(|path| path.replace(&stem, "SESSION"));
    assert_eq!(ours.collect::<Vec<_>>(), files, "{calls:#?}");
    let theirs = opened.iter().filter(|path| !path.starts_with(&home));
    let trust = |path: &&String| ["ssl", "cert", "pki", ".pem", ".crt"].iter().any(|word| path.contains(word));
    assert_eq!({ theirs }.find(trust), None, "no trust store");

    for call in &calls {
        let Call { name, arguments } = call;
        let fine = match name.as_str() {
            "write" | "writev" => call.descriptor() == "1",
            "fcntl" => !arguments.contains("LK"),
            "open" | "openat" | "openat2" => ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().all(|f| !arguments.contains(f)),
            other => !FORBIDDEN.contains(&other),
        };
        assert!(fine, "{call:?}");
    }
    // One program, in one piece.
    let count = |name: &str| calls.iter().filter(|call| call.name == name).count();
    assert_eq!((count("execve"), count("write") + count("writev")), (1, 1), "{calls:#?}");
    assert!(count("openat") > 0 && count("exit_group") == 1, "not a record of a whole run: {calls:#?}");
}

/// What a cached answer has no use for.
const FORBIDDEN: &[&str] = &[
    // The network.
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    // Locks.
    "flock",
    // Changes.
    "creat",
    "truncate",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utimensat",
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendfile",
    "copy_file_range",
    // Listings.
    "getdents",
    "getdents64",
    // Other programs and threads, and waiting for them.
    "fork",
    "vfork",
    "clone",
    "clone3",
    "execveat",
    "nanosleep",
    "clock_nanosleep",
];

/// A session for `keyfob token` and `keyfob kubernetes` alike, and the flags that lead to it.
fn by_flags() -> (Scene, Vec<String>) {
    let scene = Scene::with(Options::default(), "");
    scene.idp.auto(Auto::Approve);
    let flags = ["--issuer", scene.idp.issuer(), "--client-id", "keyfob"].map(str::to_owned).to_vec();
    let mut words = vec!["token"];
    words.extend(flags.iter().map(String::as_str));
    token(&scene.prompting(words));
    (scene, flags)
}

#[test]
fn kubernetes_by_flags_reads_the_session_alone() {
    need_strace!();
    let (scene, flags) = by_flags();
    let mut args = vec!["kubernetes"];
    args.extend(flags.iter().map(String::as_str));
    let watched = watched(&scene, &args);
    assert!(watched.0.stdout.starts_with(r#"{"apiVersion":"client.authentication.k8s.io/v1","#), "{watched:?}");
    // The folder, so that nobody else's file can take the session's place; and the session.
    assert_only_read(&scene, watched, &["cache", "cache/SESSION.json", "cache/sealed"]);
}

#[test]
fn kubernetes_by_config_reads_the_config_and_the_session() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let watched = watched(&scene, &["kubernetes", "--profile", "lab"]);
    // Besides: the profile.
    assert_only_read(&scene, watched, &["config.toml", "cache", "cache/SESSION.json", "cache/sealed"]);
}

#[test]
fn kubernetes_asked_by_a_client_leaves_one_line_in_memory() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let request = "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{}}\n";
    let (output, mut calls) = watched_with(&scene, &["kubernetes"], &[("KUBERNETES_EXEC_INFO", request)]);
    // The one thing that is written, and the folder for it, made once.
    let about_it = |call: &Call| {
        let path = call.arguments.contains("/.run/keyfob");
        path && matches!(call.name.as_str(), "mkdirat" | "pwrite64") || call.arguments.contains("\"handed-")
    };
    let (its, others): (Vec<Call>, Vec<Call>) = calls.drain(..).partition(about_it);
    let names: Vec<_> = its.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["mkdirat", "openat", "pwrite64"], "{its:#?}");
    // Besides: the folder in memory, before it is made and after.
    let files = ["config.toml", ".run/keyfob", ".run/keyfob", "cache", "cache/SESSION.json", "cache/sealed"];
    assert_only_read(&scene, (output, others), &files);
}

#[test]
fn token_by_config_reads_the_config_and_the_session() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    for format in ["raw", "header", "json"] {
        let watched = watched(&scene, &["token", "--format", format]);
        assert_only_read(&scene, watched, &["config.toml", "cache", "cache/SESSION.json", "cache/sealed"]);
    }
}

#[test]
fn az_reads_the_config_and_the_session_and_the_zone() {
    need_strace!();
    let scene = Scene::with(Options::entra(), WORK);
    scene.sign_in();
    let args = ["az", "account", "get-access-token", "--output", "json", "--resource", "https://graph.microsoft.com"];
    assert_eq!(scene.silently(args).code, Some(0));
    let watched = watched(&scene, &args);
    let opened: Vec<String> = watched.1.iter().filter_map(Call::opened).collect();
    let zone = |path: &&String| path.contains("zoneinfo") || path.contains("localtime");
    assert_eq!(opened.iter().filter(zone).collect::<Vec<_>>(), ["/etc/localtime"], "the database is not searched");
    assert_only_read(&scene, watched, &["config.toml", "cache", "cache/SESSION.json", "cache/sealed"]);
}

#[test]
fn a_profile_with_a_secret_and_an_authority_of_its_own_reads_only_the_latter() {
    need_strace!();
    let options = Options {
        tls: true,
        clients: vec![keyfob_test_support::provider::Client::basic("keyfob", "s3cret")],
        ..Options::default()
    };
    let scene = Scene::new(options);
    let secret = scene.keyfob.home().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let authority = scene.keyfob.home().join("authority.pem");
    fs::copy(scene.idp.ca_file().unwrap(), &authority).unwrap();
    let config = format!(
        "[profile.lab]\nissuer = '{}'\nclient-id = 'keyfob'\nclient-secret-file = '{}'\nca-file = '{}'\n",
        scene.idp.issuer(),
        secret.display(),
        authority.display()
    );
    scene.keyfob.write_config(&config);
    scene.sign_in();

    let watched = watched(&scene, &["token"]);
    // Its content is part of what the session is known by.
    assert_only_read(&scene, watched, &["config.toml", "authority.pem", "cache", "cache/SESSION.json", "cache/sealed"]);
}

#[test]
fn a_mistake_in_what_an_answer_does_not_need_is_said_when_a_token_is_fetched() {
    let scene = Scene::signed_in(Options::default());
    let config = fs::read_to_string(scene.keyfob.config_file()).unwrap();
    scene.keyfob.write_config(&format!("{config}[hosts]\n'github.com' = 'lab'\n"));
    assert_eq!(scene.silently(["token"]).code, Some(0));
    for args in [&["token", "--scope=more"][..], &["status"], &["login"]] {
        let output = scene.silently(args);
        let said = "config.toml:5: `hosts`: \"github.com\" is not an address such as https://git.example.com";
        assert_eq!((output.code, output.stderr.contains(said)), (Some(2), true), "{args:?}: {output:?}");
    }
}

#[test]
fn the_usual_places_are_read_where_the_environment_names_none() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    let home = scene.keyfob.home();
    fs::create_dir_all(home.join(".config/keyfob")).unwrap();
    fs::create_dir_all(home.join(".cache")).unwrap();
    fs::copy(scene.keyfob.config_file(), home.join(".config/keyfob/config.toml")).unwrap();
    let stem = scene.file().file_stem().unwrap().to_str().unwrap().to_owned();
    fs::rename(scene.keyfob.cache_dir(), home.join(".cache/keyfob")).unwrap();

    let log = home.join("strace.log");
    let mut strace = scene.keyfob.other("strace");
    strace.args(["-f", "-y", "-s", "4096", "-e", "trace=open,openat", "-o"]).arg(&log);
    strace.args([common::PROGRAM, "token"]).env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR");
    let output = Caller::start(&mut strace).finish();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let calls: Vec<Call> = fs::read_to_string(&log).unwrap().lines().filter_map(Call::read).collect();
    let below = format!("{}/", home.display());
    // The system's configuration does not exist here, and costs the attempt to open it.
    let of_the_system = calls.iter().filter_map(Call::opened).filter(|path| path.starts_with("/etc/xdg"));
    assert_eq!(of_the_system.collect::<Vec<_>>(), ["/etc/xdg/keyfob/config.toml"]);
    let ours = calls.iter().filter_map(Call::opened).filter_map(|path| path.strip_prefix(&below).map(str::to_owned));
    assert_eq!(
        ours.collect::<Vec<_>>(),
        [".config/keyfob/config.toml", ".cache/keyfob", &format!(".cache/keyfob/{stem}.json"), ".cache/keyfob/sealed"]
    );
}

#[test]
fn the_record_shows_what_a_refresh_does() {
    need_strace!();
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let (output, calls) = watched(&scene, &["token"]);
    token(&output);
    // What the other tests do not find can be found.
    for name in ["connect", "flock", "fsync", "unlinkat", "socket"] {
        assert!(FORBIDDEN.contains(&name) && calls.iter().any(|call| call.name == name), "{name}: {calls:#?}");
    }
    let opened: Vec<String> = calls.iter().filter_map(Call::opened).collect();
    assert!(opened.iter().any(|path| path.ends_with(".new")), "{opened:#?}");
}
