//! kill -9 at any moment costs nothing: the next call works, the files are whole, no lock is held, and nothing piles up.
//!
//! The moments are swept in two ways: by the clock, as they happen to people, and by the system calls that change
//! something, one after the other, so that no moment in between is left out. The one moment nobody can do anything about
//! lies between a server's answer and the end of the write that keeps it, where the server forgets the old refresh token
//! at once (rotation) and ends the session if it sees it again; those are counted apart. What was written and not yet
//! renamed, the next call finds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::{Caller, Scene, refresh_token, strace, token};
use fs2::FileExt;
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::{Output, skip};
use serde_json::Value;

/// How many run at once; what they mostly do is wait.
const WORKERS: usize = 12;

/// System calls before which something differs from after them, as far as anybody else can tell. A question mark stands
/// before those that not every machine has.
const CALLS: &str = "?open,openat,?mkdir,mkdirat,flock,write,pwrite64,fallocate,fsync,?rename,renameat,?unlink,unlinkat,connect,sendto,recvfrom,exit_group";

/// When a run is killed.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// This long after it was started.
    Time(Duration),
    /// Before the so-manieth system call of this name, by this signal.
    Call(String, usize, &'static str),
}

impl Moment {
    /// Runs `command`, and kills it then; false if it had ended by itself.
    pub(crate) fn kill(&self, command: &mut Command) -> bool {
        match self {
            Self::Time(time) => {
                let mut caller = Caller::start(command);
                thread::sleep(*time);
                let killed = caller.is_running();
                if killed {
                    caller.kill_anyway();
                }
                killed
            }
            Self::Call(name, number, signal) => {
                let inject = format!("inject={name}:signal={signal}:when={number}");
                let mut strace =
                    strace::watch(command, &["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject]);
                let output = Caller::start(&mut strace).finish();
                // strace ends as what it watched did.
                assert!(matches!(output.code, None | Some(0)), "{output:?}");
                output.code.is_none()
            }
        }
    }
}

/// The moments before each of the system calls that `command` makes, which runs once for that.
pub(crate) fn calls(scene: &Scene, command: &Command) -> Vec<Moment> {
    let log = scene.keyfob.home().join("strace.log");
    let options = ["-o", log.to_str().unwrap(), "-e", &format!("trace={CALLS}")];
    let output = Caller::start(&mut strace::watch(command, &options)).finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    // `1234  openat(…`; a call that another thread's interrupted has a second line, without its name in this place.
    let mut seen = BTreeMap::<(String, String), usize>::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let name = call.trim_start().split('(').next().unwrap();
        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            *seen.entry((process.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    fs::remove_file(&log).unwrap();
    // They are counted thread by thread; and one more each, for a run in which one answer comes in two pieces.
    let mut most = BTreeMap::<String, usize>::new();
    for ((_, name), count) in seen {
        let known = most.entry(name).or_default();
        *known = count.max(*known);
    }
    most.into_iter().flat_map(|(name, n)| (1..=n + 1).map(move |i| Moment::Call(name.clone(), i, "KILL"))).collect()
}

/// The same moments, at which the process is only told to end: in turn as by Ctrl-C, by a parent, and by a terminal that goes.
fn told(mut moments: Vec<Moment>) -> Vec<Moment> {
    let signals = ["INT", "TERM", "HUP"].into_iter().cycle();
    for (moment, told) in moments.iter_mut().zip(signals) {
        if let Moment::Call(_, _, signal) = moment {
            *signal = told;
        }
    }
    moments
}

/// What the folder holds besides the session's file and its locks: nothing, or one temporary file. Nothing is damaged
/// and nobody holds a lock.
#[track_caller]
fn check_folder(scene: &Scene, when: &Moment) {
    scene.settle();
    let names = scene.names();
    let Some(stem) = names.iter().find_map(|name| name.strip_suffix(".lock")) else {
        assert_eq!(names, Vec::<String>::new(), "{when:?}");
        return;
    };
    let stem = stem.trim_end_matches(".sign-in");
    let expected = ["json", "lock", "new", "sign-in.lock", "sign-in.new"].map(|ending| format!("{stem}.{ending}"));
    assert!(names.iter().all(|name| expected.contains(name)), "{when:?}: {names:?}");
    for name in &names {
        let path = scene.keyfob.cache_dir().join(name);
        if name.ends_with(".json") {
            let session: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(session["version"], 2, "{when:?}: {session}");
        }
        if name.ends_with(".lock") {
            File::open(&path).unwrap().try_lock_exclusive().unwrap_or_else(|error| panic!("{when:?}: {name}: {error}"));
        }
    }
}

/// A call that nobody disturbs; afterwards there is no temporary file.
fn undisturbed(scene: &Scene, when: &Moment, prompt: &str) -> Output {
    let output = Output::of(&mut scene.command(prompt, ["token"]), b"");
    check_folder(scene, when);
    output
}

fn has_temporary_file(scene: &Scene) -> bool {
    scene.names().iter().any(|name| name.ends_with(".new"))
}

/// Moments from the start on, evenly spread; afterwards some more at random.
pub(crate) fn times(whole: Duration) -> Vec<Moment> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    println!("seed of the random moments: {seed}");
    let mut state = u64::try_from(seed & 0xffff_ffff).unwrap() | 1;
    let mut random = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        whole.mul_f64(f64::from(u16::try_from(state & 0xffff).unwrap()) / 65_535.0)
    };
    let even = (0..60).map(|i| whole * i / 55);
    even.chain((0..12).map(|_| random())).map(Moment::Time).collect()
}

/// How long `command` takes.
pub(crate) fn measured(command: &mut Command) -> Duration {
    let began = Instant::now();
    token(&Output::of(command, b""));
    began.elapsed()
}

/// Does `work` at each moment; how often it killed something.
fn sweep(moments: &[Moment], work: impl Fn(usize, &Moment) -> bool + Sync) -> usize {
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let mine = moments.iter().skip(worker).step_by(WORKERS);
                scope.spawn(move || mine.filter(|moment| work(worker, moment)).count())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

fn scenes(options: &Options) -> Vec<Scene> {
    thread::scope(|scope| {
        let starting: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| Scene::signed_in(options.clone()))).collect();
        starting.into_iter().map(|scene| scene.join().unwrap()).collect()
    })
}

fn options(rotation: bool) -> Options {
    Options { rotation, ..Options::default() }
}

/// Refreshes are killed where the refresh token stays; how many.
fn refreshes_survive(scenes: &[Scene], moments: &[Moment]) -> usize {
    let killed = sweep(moments, |worker, when| {
        let scene = &scenes[worker];
        scene.leave(-1);
        let killed = when.kill(&mut scene.command("never", ["token"]));
        check_folder(scene, when);
        let output = undisturbed(scene, when, "never");
        assert!(scene.idp.accepts(&token(&output)), "{when:?}");
        assert_eq!(output.stderr, "", "{when:?}");
        // A temporary file that was left behind goes with the next write.
        scene.leave(-1);
        token(&undisturbed(scene, when, "never"));
        assert!(!has_temporary_file(scene), "{when:?}");
        killed
    });
    assert!(scenes.iter().all(|scene| scene.idp.count("device") == 1), "nobody had to sign in again");
    killed
}

#[test]
fn a_refresh_killed_at_any_time_costs_nothing() {
    let scenes = scenes(&options(false));
    scenes[0].leave(-1);
    let whole = measured(&mut scenes[0].command("never", ["token"]));
    let moments = times(whole * 2);
    let killed = refreshes_survive(&scenes, &moments);
    println!("{killed} of {} refreshes of {whole:?} were killed", moments.len());
    assert!(killed > 0);
}

#[test]
fn a_refresh_killed_before_any_system_call_costs_nothing() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scenes = scenes(&options(false));
    scenes[0].leave(-1);
    let moments = calls(&scenes[0], &scenes[0].command("never", ["token"]));
    let killed = refreshes_survive(&scenes, &moments);
    println!("a refresh was killed before each of {killed} system calls");
    assert!(killed > 20, "{killed} system calls cannot be all");
}

/// Refreshes are killed where refresh tokens rotate; how many, and how many of those lost the session.
fn rotations_survive(scenes: &[Scene], moments: &[Moment]) -> (usize, usize) {
    let lost = AtomicUsize::new(0);
    let killed = sweep(moments, |worker, when| {
        let scene = &scenes[worker];
        scene.leave(-1);
        let (before, requests) = (refresh_token(&scene.session()), scene.idp.count("token:refresh_token"));
        let killed = when.kill(&mut scene.command("never", ["token"]));
        check_folder(scene, when);
        let reached = scene.idp.count("token:refresh_token") - requests;
        let kept = refresh_token(&scene.session()) != before
            || scene.unrenamed().is_some_and(|session| refresh_token(&session) != before);

        let output = undisturbed(scene, when, "never");
        if reached > 0 && !kept {
            // The server had answered; nobody can know with what.
            assert!(killed, "{when:?}");
            assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{when:?}: {output:?}");
            assert!(output.stderr.contains("the provider ended the session (invalid_grant: "), "{when:?}: {output:?}");
            lost.fetch_add(1, Ordering::SeqCst);
            scene.sign_in();
        } else {
            assert!(scene.idp.accepts(&token(&output)), "{when:?}");
            assert_eq!(output.stderr, "", "{when:?}");
        }
        killed
    });
    let lost = lost.into_inner();
    assert_eq!(scenes.iter().map(|scene| scene.idp.refresh_reuses()).sum::<usize>(), lost);
    (killed, lost)
}

#[test]
fn a_rotating_refresh_whose_caller_is_killed_at_any_time_is_never_lost() {
    let scenes = scenes(&options(true));
    scenes[0].leave(-1);
    let whole = measured(&mut scenes[0].command("never", ["token"]));
    let (killed, lost) = rotations_survive(&scenes, &times(whole * 2));
    println!("{killed} callers of refreshes that take {whole:?} were killed");
    assert!(killed > 0);
    assert_eq!(lost, 0);
}

#[test]
fn a_rotating_refresh_killed_before_any_system_call_is_lost_only_before_its_answer_is_written() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scenes = scenes(&options(true));
    scenes[0].leave(-1);
    let moments = calls(&scenes[0], &scenes[0].command("never", ["token"]));
    let (killed, lost) = rotations_survive(&scenes, &moments);
    println!(
        "a refresh was killed before each of {killed} system calls; \
         {lost} of them lie between the server's answer and the end of the write"
    );
    assert!(killed > 20 && lost > 0 && lost < killed / 2, "{lost} of {killed} cannot be");
}

/// It is not the process that renews, or it waits for the disk.
#[test]
fn a_rotating_refresh_interrupted_before_any_system_call_is_never_lost() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scenes = scenes(&options(true));
    scenes[0].leave(-1);
    let moments = told(calls(&scenes[0], &scenes[0].command("never", ["token"])));
    let ended = sweep(&moments, |worker, when| {
        let scene = &scenes[worker];
        scene.leave(-1);
        let ended = when.kill(&mut scene.command("never", ["token"]));
        check_folder(scene, when);
        let output = undisturbed(scene, when, "never");
        assert!(scene.idp.accepts(&token(&output)), "{when:?}");
        ended
    });
    println!("a refresh was interrupted before each of {ended} system calls");
    assert!(ended > 20, "{ended} system calls cannot be all");
    scenes.iter().for_each(Scene::assert_proper);
    assert!(scenes.iter().all(|scene| scene.idp.count("device") == 1), "nobody had to sign in again");
}

/// Sign-ins are killed, and the next call finishes them or begins a new one; how many.
fn sign_ins_survive(moments: &[Moment]) -> usize {
    sweep(moments, |_, when| {
        let scene = Scene::new(options(false));
        scene.idp.auto(Auto::Approve);
        let killed = when.kill(&mut scene.command("always", ["token"]));
        scene.settle();
        check_folder(&scene, when);
        let codes = scene.idp.user_codes().len();
        let written = scene.names().iter().any(|name| name.ends_with(".json")) || scene.unrenamed().is_some();
        let spent = scene.idp.issued().iter().any(|secret| secret.starts_with("refresh-"));

        let output = undisturbed(&scene, when, "always");
        assert!(scene.idp.accepts(&token(&output)), "{when:?}");
        assert!(!killed || !has_temporary_file(&scene), "{when:?}");
        assert_eq!(scene.idp.too_fast(), 0, "{when:?}");
        // The next call shows another code only if nobody wrote the first one down, or it was spent.
        let more = scene.idp.user_codes().len() - codes;
        match (codes, written, spent) {
            (0, _, _) | (1, false, _) => assert_eq!(more, 1, "{when:?}"),
            (1, true, false) => assert_eq!(more, 0, "{when:?}"),
            (1, true, true) => assert_eq!(more, scene.idp.polls_after_success(), "{when:?}"),
            _ => panic!("{when:?}: {codes} codes"),
        }
        killed
    })
}

#[test]
fn a_sign_in_killed_at_any_time_goes_on_with_the_next_call() {
    let scene = Scene::new(options(false));
    scene.idp.auto(Auto::Approve);
    let whole = measured(&mut scene.command("always", ["token"]));
    let moments = times(whole + whole / 10);
    let killed = sign_ins_survive(&moments);
    println!("{killed} of {} sign-ins of {whole:?} were killed", moments.len());
    assert!(killed > 0);
}

#[test]
fn a_sign_in_killed_before_any_system_call_goes_on_with_the_next_call() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = Scene::new(options(false));
    scene.idp.auto(Auto::Approve);
    let killed = sign_ins_survive(&calls(&scene, &scene.command("always", ["token"])));
    println!("a sign-in was killed before each of {killed} system calls");
    assert!(killed > 40, "{killed} system calls cannot be all");
}

/// What the provider has granted is on disk before the process ends.
#[test]
fn a_sign_in_interrupted_before_any_system_call_is_never_lost() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = Scene::new(options(false));
    scene.idp.auto(Auto::Approve);
    let moments = told(calls(&scene, &scene.command("always", ["token"])));
    let ended = sweep(&moments, |_, when| {
        let scene = Scene::new(options(false));
        scene.idp.auto(Auto::Approve);
        let ended = when.kill(&mut scene.command("always", ["token"]));
        check_folder(&scene, when);
        let granted = scene.idp.issued().iter().any(|secret| secret.starts_with("refresh-"));
        let codes = scene.idp.user_codes().len();
        assert!(scene.idp.accepts(&token(&undisturbed(&scene, when, "always"))), "{when:?}");
        if granted {
            assert_eq!(scene.idp.user_codes().len(), codes, "{when:?}: nobody is asked again");
        }
        scene.assert_proper();
        ended
    });
    println!("a sign-in was interrupted before each of {ended} system calls");
    assert!(ended > 40, "{ended} system calls cannot be all");
}

#[test]
fn a_logout_killed_before_any_system_call_can_be_finished() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let scene = Scene::signed_in(options(false));
    let moments = calls(&scene, &scene.command("never", ["logout"]));
    let killed = sweep(&moments, |_, when| {
        let scene = Scene::signed_in(options(false));
        let killed = when.kill(&mut scene.command("never", ["logout"]));
        check_folder(&scene, when);
        let output = scene.silently(["logout"]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{when:?}: {output:?}");
        assert_eq!(scene.names(), Vec::<String>::new(), "{when:?}");
        assert!(!scene.idp.issued().iter().any(|token| scene.idp.accepts(token)), "{when:?}");
        killed
    });
    println!("a logout was killed before each of {killed} system calls");
    assert!(killed > 20, "{killed} system calls cannot be all");
}

/// The provider knows only the token that a killed process had written and not yet renamed.
#[test]
fn what_was_written_and_not_renamed_is_found_by_the_next_call() {
    let scene = Scene::signed_in(options(true));
    scene.leave(-1);
    let (file, old) = (scene.file(), fs::read(scene.file()).unwrap());
    let newest = scene.token();
    fs::copy(&file, file.with_extension("new")).unwrap();
    fs::write(&file, old).unwrap();

    assert_eq!(scene.token(), newest);
    assert!(!has_temporary_file(&scene));
    assert_eq!((scene.idp.count("token:refresh_token"), scene.idp.refresh_reuses()), (1, 0));
}

#[test]
fn what_was_not_wholly_written_or_is_not_ours_is_not_taken_for_a_session() {
    let scene = Scene::signed_in(options(true));
    let session = scene.session();
    let changed = |name: &str, value: Value| {
        let mut other = session.clone();
        other[name] = value;
        other["refresh_token"] = "of another".into();
        other.to_string().into_bytes()
    };
    let whole = changed("label", "".into());
    let cases = [
        (whole[..whole.len() - 1].to_vec(), 0o600),
        (Vec::new(), 0o600),
        (b" ".repeat(70_000), 0o600),
        (changed("client_id", "another".into()), 0o600),
        (changed("version", 3.into()), 0o600),
        (whole, 0o644),
    ];
    for (bytes, mode) in cases {
        scene.leave(-1);
        let temporary = scene.file().with_extension("new");
        fs::write(&temporary, &bytes).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
        assert!(scene.idp.accepts(&scene.token()), "{bytes:?} {mode:o}");
        assert!(!temporary.exists());
    }
    scene.assert_proper();
}
