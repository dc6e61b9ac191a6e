//! What a person sees when the cache on this machine is wrong: files that are damaged, not ours or in the way, and disks that
//! are full. Nothing is lost that was there before. See `common/errors.rs` for how messages are compared.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use crate::common::errors::{Scene, can_mount, stable, with_mount};
use crate::common::{Fresh, PROGRAM, SOON, now, token};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Output, skip};
use serde_json::json;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What becomes of a file's bytes.
type Damage = fn(Vec<u8>) -> Vec<u8>;

/// Whatever stood in the file is kept under another name, which is said; and one sign-in mends it.
#[test]
fn a_damaged_session_is_set_aside_with_its_bytes_and_named() {
    let cases: [(Damage, &str); 6] = [
        (|mut bytes| bytes.split_off(0)[..100].to_vec(), "it is not a session (line 1, column 100)"),
        (|_| Vec::new(), "it is not a session (line 1, column 0)"),
        (|_| b"\0\xff\xfe".to_vec(), "it is not UTF-8"),
        (|_| b"null".to_vec(), "it is not a session (line 1, column 4)"),
        (|_| vec![b' '; (1 << 24) + 1], "it is larger than 16 MiB"),
        (
            |bytes| String::from_utf8(bytes).unwrap().replace("\"client_id\":\"keyfob\"", "\"client_id\":\"k\"").into(),
            "it belongs to another session",
        ),
    ];
    thread::scope(|scope| {
        for (damage, why) in cases {
            scope.spawn(move || set_aside(damage, why));
        }
    });
}

fn set_aside(damage: Damage, why: &str) {
    let scene = Scene::signed_in();
    let file = scene.file();
    let damaged = damage(fs::read(&file).unwrap());
    fs::write(&file, &damaged).unwrap();

    let output = scene.silently(["token"]);
    let asides: Vec<_> = scene.names().into_iter().filter(|name| name.contains(".damaged-")).collect();
    let [aside] = &asides[..] else { panic!("{asides:?}") };
    let kept = scene.keyfob.cache_dir().join(aside);
    let said = Output { stderr: output.stderr.replace(aside, "ASIDE"), ..output };
    scene.assert_failed(
        &said,
        3,
        &format!(
            "error: could not get a token for lab: a sign-in is needed: the session file was damaged ({why}) and is \
             kept as HOME/cache/ASIDE, and prompting is switched off\nhint: LOGIN lab\n"
        ),
    );
    assert!(fs::read(&kept).unwrap() == damaged, "{why}");
    assert_eq!(mode(&kept), 0o600);

    let prompted = scene.prompting(["token"]);
    let new = token(&prompted);
    assert_eq!(scene.token(), new);
    assert!(kept.exists());
}

#[test]
fn what_was_set_aside_before_is_not_written_over() {
    let scene = Scene::signed_in();
    let earlier: Vec<_> = (0..60).map(|s| scene.file().with_extension(format!("damaged-{}", now() + s))).collect();
    for path in &earlier {
        fs::write(path, "earlier").unwrap();
    }
    fs::write(scene.file(), "{").unwrap();
    let output = scene.silently(["token"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(earlier.iter().all(|path| fs::read(path).unwrap() == b"earlier"));
    assert_eq!(scene.names().iter().filter(|name| name.contains(".damaged-")).count(), 61);
}

#[test]
fn a_damaged_session_is_told_to_whoever_looks_and_signing_out_works() {
    let scene = Scene::signed_in();
    let file = scene.file();
    fs::write(&file, "{").unwrap();
    let status = scene.silently(["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let said = stable(&scene.keyfob, &(status.stdout + &status.stderr));
    assert!(said.contains("HOME/cache/SESSION.json") && said.contains("damaged"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), b"{", "looking changes nothing");

    let output = scene.silently(["logout"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "Not signed in to lab.\n"));
    assert_eq!(
        output.stderr,
        "warning: the session file of lab was damaged; it is deleted, but could not be revoked at the provider\n"
    );
    assert_eq!(scene.names(), [""; 0], "no copy is left");
}

#[test]
fn a_session_of_a_newer_version_is_left_alone() {
    let scene = Scene::signed_in();
    let old = scene.token();
    scene.change(|session| {
        session["version"] = json!(3);
        session["tokens"] = json!({"of": "another kind"});
    });
    let bytes = fs::read(scene.file()).unwrap();
    for command in ["token", "kubernetes", "login", "logout"] {
        scene.assert_failed(
            &scene.silently([command]),
            1,
            "error: could not use HOME/cache/SESSION.json: a newer keyfob wrote it\n\
             hint: update this keyfob, or set KEYFOB_CACHE_DIR to a folder of its own\n",
        );
        assert_eq!(fs::read(scene.file()).unwrap(), bytes, "{command}");
    }
    assert!(scene.idp.accepts(&old));
}

#[test]
fn a_session_that_others_can_read_is_refused_and_the_hint_mends_it() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let folder = scene.keyfob.cache_dir();
    for (path, name, open, closed) in [
        (scene.file(), "/SESSION.json", 0o640, 0o600),
        (scene.file(), "/SESSION.json", 0o604, 0o600),
        (folder, "", 0o750, 0o700),
    ] {
        set_mode(&path, open);
        let output = scene.silently(["token"]);
        scene.assert_failed(
            &output,
            1,
            &format!(
                "error: could not use HOME/cache{name}: other users can get at it (mode {open:04o})\n\
                 hint: chmod go= HOME/cache{name}\n"
            ),
        );
        let hint = output.stderr.lines().nth(1).unwrap().strip_prefix("hint: ").unwrap();
        assert_eq!(Output::of(scene.keyfob.other("sh").args(["-c", hint]), b"").code, Some(0));
        assert_eq!(mode(&path), closed);
        assert_eq!(scene.token(), old);
    }
}

#[test]
fn a_session_of_another_user_is_refused() {
    let scene = Scene::signed_in();
    if !is_root() {
        // Only root can give files away; but root has some.
        let output = Output::of(scene.keyfob.command(["token"]).env("KEYFOB_CACHE_DIR", "/"), b"");
        let error = "error: could not use /: it belongs to another user (uid 0)\n\
                     hint: set KEYFOB_CACHE_DIR to a folder of your own\n";
        scene.assert_failed(&output, 1, error);
        return;
    }
    let old = scene.token();
    for (path, name) in [(scene.file(), "/SESSION.json"), (scene.keyfob.cache_dir(), "")] {
        chown(&path, Some(54_321), None).unwrap();
        for command in ["token", "logout"] {
            scene.assert_failed(
                &scene.silently([command]),
                1,
                &format!(
                    "error: could not use HOME/cache{name}: it belongs to another user (uid 54321)\n\
                     hint: set KEYFOB_CACHE_DIR to a folder of your own\n"
                ),
            );
        }
        chown(&path, Some(0), None).unwrap();
        assert_eq!(scene.token(), old);
    }
}

#[test]
fn a_symbolic_link_is_followed_nowhere() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let (folder, file) = (scene.keyfob.cache_dir(), scene.file());
    let real = scene.keyfob.home().join("elsewhere");

    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    let error = "error: could not use HOME/cache/SESSION.json: it is a symbolic link\n\
                 hint: remove it and sign in again\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::rename(&real, &file).unwrap();
    assert_eq!(scene.token(), old);

    fs::rename(&folder, &real).unwrap();
    symlink(&real, &folder).unwrap();
    let error = "error: could not use the cache folder HOME/cache: it is a file or a link, not a folder\n\
                 hint: remove it, or set KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    // Nor with a slash at its end.
    let slash = format!("{}/", folder.display());
    scene.assert_failed(&Output::of(scene.command("never", ["token"]).env("KEYFOB_CACHE_DIR", slash), b""), 1, error);
    fs::remove_file(&folder).unwrap();
    fs::rename(&real, &folder).unwrap();
    assert_eq!(scene.token(), old);
}

/// As another user than root, too, who could not use a folder or file without permissions.
#[test]
fn what_is_made_can_be_used_whatever_the_umask() {
    let scene = Scene::lab();
    scene.idp.auto(Auto::Approve);
    let folder = scene.keyfob.home().join("new/cache");
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", "umask 0777; exec \"$0\" token", env!("CARGO_BIN_EXE_keyfob")]);
    token(&Output::of(shell.env("KEYFOB_CACHE_DIR", &folder).env("KEYFOB_PROMPT", "always"), b""));
    assert_eq!([mode(&scene.keyfob.home().join("new")), mode(&folder)], [0o700; 2]);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// As by `sudo -E`: the user could not use a folder of root's any more.
#[test]
fn root_makes_nothing_in_the_home_of_another_user() {
    if !is_root() {
        skip!("only root can be two users");
    }
    let scene = Scene::lab();
    let home = scene.keyfob.home().join("theirs");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(54_321), None).unwrap();
    // Neither where a folder of root's is there already.
    fs::create_dir(home.join(".cache")).unwrap();
    for folder in ["new/keyfob", ".cache/keyfob"] {
        let output = Output::of(scene.command("always", ["token"]).env("KEYFOB_CACHE_DIR", home.join(folder)), b"");
        let error = format!(
            "error: could not make the cache folder HOME/theirs/{folder}: HOME/theirs belongs to another user (uid 54321)\n\
             hint: run it as that user, without sudo, or set KEYFOB_CACHE_DIR to a folder of your own\n"
        );
        scene.assert_failed(&output, 1, &error);
    }
    assert_eq!(fs::read_dir(home.join(".cache")).unwrap().count() + fs::read_dir(&home).unwrap().count(), 1);
}

/// Locks and temporary files have names that can be guessed.
#[test]
fn nothing_is_written_through_a_link_in_place_of_a_lock_or_a_temporary_file() {
    let scene = Scene::signed_in();
    let victim = scene.keyfob.home().join("victim");
    fs::write(&victim, "precious").unwrap();
    scene.leave(-1);
    let lock = scene.file().with_extension("lock");
    fs::remove_file(&lock).unwrap();
    symlink(&victim, &lock).unwrap();
    let error = "error: could not get a token for lab: could not open the lock SESSION.lock: Too many levels of symbolic \
                 links (os error 40)\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::remove_file(&lock).unwrap();

    symlink(&victim, scene.file().with_extension("new")).unwrap();
    scene.token();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_cache_folder_that_is_no_folder_or_cannot_be_made_is_named() {
    let scene = Scene::lab();
    let folder = scene.keyfob.cache_dir();
    fs::write(&folder, "precious").unwrap();
    for command in ["token", "login", "logout", "status"] {
        let error = "error: could not use the cache folder HOME/cache: it is a file or a link, not a folder\n\
                     hint: remove it, or set KEYFOB_CACHE_DIR\n";
        scene.assert_failed(&scene.silently([command]), 1, error);
    }
    assert_eq!(fs::read_to_string(&folder).unwrap(), "precious");
    // Below a file there can be none.
    let mut command = scene.keyfob.command(["login"]);
    let output = Output::of(command.env("KEYFOB_CACHE_DIR", folder.join("below")), b"");
    let error = "error: could not use the cache folder HOME/cache/below: it is a file or a link, not a folder\n\
                 hint: remove it, or set KEYFOB_CACHE_DIR\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.requests().len(), 0);
}

/// A file system that takes no more bytes: no file of this process may grow, which a disk that is full does not differ
/// from; and it needs neither root nor a disk.
fn on_a_full_disk(scene: &Scene, prompt: &str, args: &[&str]) -> Output {
    let mut command = scene.keyfob.other("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_keyfob")]).args(args);
    Output::of(command.env("KEYFOB_PROMPT", prompt), b"")
}

/// With rotation a refresh that cannot be saved would cost the session: it is better not to ask.
#[test]
fn a_refresh_token_is_not_spent_when_its_successor_could_not_be_saved() {
    let scene = Scene::signed_in();
    scene.leave(-1);
    let before = fs::read(scene.file()).unwrap();
    let output = on_a_full_disk(&scene, "never", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: File too large (os \
                 error 27)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(fs::read(scene.file()).unwrap(), before);
    assert!(!scene.file().with_extension("new").exists());
    // There is room again.
    scene.token();
    assert_eq!(scene.idp.refresh_reuses(), 0);
}

#[test]
fn a_full_disk_does_not_hide_a_token_that_still_lives() {
    let scene = Scene::signed_in();
    let old = scene.token();
    assert_eq!(token(&on_a_full_disk(&scene, "never", &["token"])), old, "the cache is only read");
    // Due for renewal: it cannot be saved, but the old one is good.
    scene.leave(100);
    assert_eq!(token(&on_a_full_disk(&scene, "never", &["token"])), old);
}

/// The provider is down, and not even that can be written down.
#[test]
fn trouble_that_cannot_be_noted_does_not_hide_a_token_that_still_lives() {
    let scene = Scene::signed_in();
    let old = scene.token();
    let fails_to_refresh = |left: i64, count: usize| {
        scene.leave(left);
        scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
        let in_the_way = scene.file().with_extension("new");
        let hold = scene.idp.hold(Endpoint::Token);
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| scene.silently(["token"]));
            scene.idp.wait_for("token:refresh_token", count, SOON);
            // A folder in place of the room that was kept for the answer.
            fs::remove_file(&in_the_way).unwrap();
            fs::create_dir(&in_the_way).unwrap();
            drop(hold);
            running.join().unwrap()
        });
        fs::remove_dir(&in_the_way).unwrap();
        output
    };
    assert_eq!(token(&fails_to_refresh(100, 1)), old);
    // Without one, what keeps the session from being written is the error: nothing is asked for that could not be kept.
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: Is a directory (os \
                 error 21)\n";
    scene.assert_failed(&fails_to_refresh(-1, 2), 1, error);
}

#[test]
fn no_code_is_shown_that_could_not_be_kept() {
    let scene = Scene::lab();
    let output = on_a_full_disk(&scene, "always", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: File too large (os \
                 error 27)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.count("token"), 0);
}

#[test]
fn a_disk_that_is_really_full_is_named() {
    if !can_mount() {
        skip!("`unshare` cannot mount a small disk here");
    }
    let scene = Scene::signed_in_with(Options { rotation: false, ..Options::default() });
    scene.leave(-1);
    let keep = scene.keyfob.home().join("afterwards");
    fs::create_dir(&keep).unwrap();
    let before = fs::read(scene.file()).unwrap();
    let mount = format!(
        "D=$(mktemp -d {0}/d.XXXX); cp -p \"$C\"/* \"$D\"; mount -t tmpfs -o size=32k,mode=700 none \"$C\"; \
         cp -p \"$D\"/* \"$C\"; dd if=/dev/zero of=\"$C/fill\" bs=4k 2>/dev/null || true; \
         set +e; \"$0\" \"$@\"; code=$?; cp -p \"$C\"/*.json {0}; exit $code",
        keep.display()
    );
    let output = with_mount(&scene, &mount, "never", &["token"]);
    let error = "error: could not get a token for lab: could not write HOME/cache/SESSION.json: No space left on device \
                 (os error 28)\n";
    scene.assert_failed(&output, 1, error);
    let file = keep.join(scene.file().file_name().unwrap());
    assert_eq!(fs::read(file).unwrap(), before);
}

/// Nothing that stands in a file makes keyfob crash.
#[test]
fn numbers_that_cannot_be_are_survived() {
    let extremes = [i64::MIN, i64::MAX];
    for at in extremes {
        let scene = Scene::signed_in();
        let note = json!({ "at_ms": at, "message": "m", "exit": "unreachable", "failures": u32::MAX });
        scene.leave(-1);
        scene.change(|session| session["last_error"] = note.clone());
        scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
        assert_eq!(scene.silently(["token"]).code, Some(5));
        scene.change(|session| session["last_error"] = note.clone());
        token(&scene.silently(["token"]));
        scene.change(|session| {
            session["tokens"][0]["received_at"] = json!(at);
            session["tokens"][0]["expires_at"] = json!(at);
            session["tokens"][0]["refresh_at"] = json!(at);
            session["server"]["fetched_at"] = json!(at);
        });
        assert_eq!(scene.silently(["login"]).code, Some(0));
        scene.change(|session| {
            session["refresh_token"] = json!(null);
            session["tokens"] = json!([]);
            session["refused"] = note.clone();
        });
        token(&scene.prompting(["token"]));
    }
    for (at, interval) in [(json!(i64::MIN), u64::MAX), (json!(i64::MAX), u64::MAX), (json!(null), u64::MAX)] {
        let scene = Scene::lab();
        scene.idp.auto(Auto::Ignore);
        assert_eq!(scene.silently(["login", "--start"]).code, Some(0));
        scene.change(|session| {
            session["sign_in"]["flow"]["next_poll_ms"] = at.clone();
            session["sign_in"]["interval"] = json!(interval);
            session["sign_in"]["started_at"] = json!(i64::MIN);
            session["sign_in"]["expires_at"] = json!(i64::MAX);
        });
        assert_eq!(scene.silently(["login", "--poll"]).code, Some(3));
        assert_eq!(scene.silently(["status"]).code, Some(0));
        assert_eq!(scene.prompting(["login", "--timeout", "1"]).code, Some(3));
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_and_still_answers_from_the_cache() {
    let scene = Scene::signed_in();
    let old = scene.token();
    if !can_mount() {
        skip!("`unshare` cannot mount a folder read-only here");
    }
    let run = |args: &[&str]| {
        let mount = "mount --bind \"$C\" \"$C\"; mount -o remount,ro,bind \"$C\"";
        with_mount(&scene, mount, "never", args)
    };
    assert_eq!(token(&run(&["token"])), old);
    // Time to renew it, but it lives.
    scene.leave(100);
    assert_eq!(token(&run(&["token"])), old);
    scene.leave(-1);
    let output = run(&["token"]);
    let error = "error: could not get a token for lab: could not open the lock SESSION.lock: Read-only file system (os \
                 error 30)\n";
    scene.assert_failed(&output, 1, error);
    assert_eq!(scene.idp.count("token:refresh_token"), 0, "nothing is asked for that could not be kept");
    scene.token();
}

/// As its owner, who may be root, but has to keep to the permissions.
fn as_the_owner(fresh: &Fresh) -> Command {
    let mut command = fresh.other("setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search", PROGRAM, "token", "lab"]);
    if is_root() { command } else { fresh.command(&["token", "lab"]) }
}

#[test]
fn a_cache_folder_or_configuration_that_its_owner_may_not_open_is_opened_by_the_hint() {
    let fresh = Fresh::new();
    fresh.write(".config/keyfob/config.toml", "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'c'\n");
    let folder = fresh.path(".cache/keyfob");
    fs::create_dir_all(&folder).unwrap();
    for (path, what, command, code, open) in [
        (folder, "open the cache folder", "chmod u+rwx", 1, 0o700),
        (fresh.path(".config/keyfob/config.toml"), "read configuration", "chmod u+r", 2, 0o600),
    ] {
        set_mode(&path, 0);
        let output = Output::of(&mut as_the_owner(&fresh), b"");
        let place = path.display();
        assert_eq!(
            output.stderr,
            format!("error: could not {what} {place}: Permission denied (os error 13)\nhint: {command} {place}\n")
        );
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""));
        set_mode(&path, open);
    }
}

// What the system does not give.

#[test]
fn a_cache_folder_that_cannot_be_opened_made_or_listed_is_named() {
    let scene = Scene::signed_in();
    let folder = scene.keyfob.home().join("x".repeat(300));
    let output = Output::of(scene.command("never", ["token"]).env("KEYFOB_CACHE_DIR", &folder), b"");
    let output = Output { stderr: output.stderr.replace(&"x".repeat(300), "LONG"), ..output };
    let error = "error: could not open the cache folder HOME/LONG: File name too long (os error 36)\n";
    scene.assert_failed(&output, 1, error);

    let dangling = scene.keyfob.home().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let output = Output::of(scene.command("never", ["token"]).env("KEYFOB_CACHE_DIR", dangling.join("cache")), b"");
    let error = "error: could not make the cache folder HOME/dangling/cache: File exists (os error 17)\n";
    scene.assert_failed(&output, 1, error);

    // Where nobody makes folders, as in the home of a container whose root is read-only.
    let output = Output::of(scene.command("never", ["token"]).env("KEYFOB_CACHE_DIR", "/sys/keyfob"), b"");
    let why = fs::create_dir("/sys/keyfob").unwrap_err();
    let error = format!(
        "error: could not make the cache folder /sys/keyfob: {why}\n\
         hint: set KEYFOB_CACHE_DIR to a folder that can be written, or `store = \"none\"` in config.toml\n"
    );
    scene.assert_failed(&output, 1, &error);

    // The folder takes the last descriptor there is.
    let mut status = scene.keyfob.other("sh");
    status.args(["-c", "ulimit -n 4; exec \"$0\" status", env!("CARGO_BIN_EXE_keyfob")]);
    let error = "error: could not list the cache folder: Too many open files (os error 24)\n";
    scene.assert_failed(&Output::of(&mut status, b""), 1, error);
}

#[test]
fn what_is_no_file_in_place_of_a_session_is_named() {
    let scene = Scene::signed_in();
    let file = scene.file();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    set_mode(&file, 0o700);
    let error = "error: could not read HOME/cache/SESSION.json: Is a directory (os error 21)\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
    fs::remove_dir(&file).unwrap();
    let _socket = UnixListener::bind(&file).unwrap();
    let error = "error: could not open HOME/cache/SESSION.json: No such device or address (os error 6)\n";
    scene.assert_failed(&scene.silently(["token"]), 1, error);
}

#[test]
fn a_session_that_cannot_be_deleted_is_named() {
    let scene = Scene::signed_in();
    let file = scene.file();
    let hold = scene.idp.hold(Endpoint::Revoke);
    let output = thread::scope(|scope| {
        let running = scope.spawn(|| scene.silently(["logout"]));
        scene.idp.wait_for("revoke", 1, SOON);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        drop(hold);
        running.join().unwrap()
    });
    let error = "error: could not delete HOME/cache/SESSION.json: Is a directory (os error 21)\n";
    scene.assert_failed(&output, 1, error);
}

#[test]
fn a_damaged_session_that_cannot_be_set_aside_is_named_and_left() {
    let scene = Scene::signed_in();
    if !can_mount() {
        skip!("`unshare` cannot mount one file over another here");
    }
    fs::write(scene.file(), "{").unwrap();
    // What something is mounted on cannot be renamed.
    let mount = "for F in \"$C\"/*.json; do mount --bind \"$F\" \"$F\"; done";
    let error = "error: could not get a token for lab: could not set the damaged HOME/cache/SESSION.json aside: Device or \
                 resource busy (os error 16)\n";
    scene.assert_failed(&with_mount(&scene, mount, "never", &["token"]), 1, error);
    assert_eq!(fs::read(scene.file()).unwrap(), b"{");
}

#[test]
fn a_lock_that_somebody_keeps_is_named_with_how_to_see_whose_it_is() {
    let scene = Scene::signed_in();
    scene.leave(-1);
    let lock = File::create(scene.file().with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = "error: could not get a token for lab: could not reach ISSUER: it did not answer in time\n\
                 hint: see which: fuser -v HOME/cache/SESSION.lock\n";
    scene.assert_failed(&scene.silently(["login", "--timeout", "1"]), 5, error);
}
