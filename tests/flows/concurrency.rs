//! Many callers at once: `git fetch --recurse-submodules -j8` and a handful of kubectl are a dozen keyfobs within a
//! tenth of a second. However many there are, the provider sees one refresh, a person sees one code, and everybody gets
//! the one answer; whoever does the work may die over it.

use std::fs;

use crate::common::{self, Caller, LAB, SOON, Scene, now, token, wait_for_sleepers, wait_until, worker_of};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyfob_test_support::provider::{AccessToken, Auto, Client, Endpoint, Options, Reply};
use keyfob_test_support::{Output, Terminal};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

fn pids(callers: &[Caller]) -> Vec<u32> {
    callers.iter().map(Caller::pid).collect()
}

/// Waits for the end of all; their answers, which are all the same.
#[track_caller]
fn same_answer(callers: Vec<Caller>) -> Output {
    let outputs: Vec<Output> = callers.into_iter().map(Caller::finish).collect();
    let answers: Vec<_> = outputs.iter().map(|o| (o.code, &o.stdout)).collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{outputs:#?}");
    outputs.into_iter().next().unwrap()
}

/// The same where what they say on stderr is the same, too.
#[track_caller]
fn same_output(callers: Vec<Caller>) -> Output {
    let mut outputs: Vec<Output> = callers.into_iter().map(Caller::finish).collect();
    assert!(outputs.iter().all(|o| *o == outputs[0]), "{outputs:#?}");
    outputs.swap_remove(0)
}

#[test]
fn twelve_with_an_ended_token_share_one_refresh() {
    let scene = Scene::signed_in(Options::default());
    let old = token(&scene.silently(["token"]));
    scene.leave(-1);

    let hold = scene.idp.hold(Endpoint::Token);
    let callers = scene.twelve("never");
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    wait_for_sleepers(&pids(&callers), 1);
    drop(hold);

    let answer = same_output(callers);
    assert_eq!(answer.stderr, "");
    let new = token(&answer);
    assert_ne!(new, old);
    assert!(scene.idp.accepts(&new));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn twelve_that_want_two_kinds_of_token_share_one_refresh() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);

    let hold = scene.idp.hold(Endpoint::Token);
    let mut bare = scene.twelve("never");
    let kubernetes = bare.iter().take(6).map(|_| Caller::start(&mut scene.command("never", ["kubernetes"]))).collect();
    bare.truncate(6);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    drop(hold);

    token(&same_output(bare));
    let answer = same_output(kubernetes);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

#[test]
fn a_refresh_under_way_delays_nobody_whose_token_is_good() {
    let scene = Scene::signed_in(Options::default());
    let good = token(&scene.silently(["token"]));

    let hold = scene.idp.hold(Endpoint::Token);
    let mut other = scene.start(["token", "--scope", "openid"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    // Nobody lets the provider go on before this has answered.
    assert_eq!(token(&scene.silently(["token"])), good);
    assert!(other.is_running());
    drop(hold);

    assert_ne!(token(&other.finish()), good);
    scene.assert_proper();
}

/// Twelve on one terminal; they leave their answers and exit codes in `answer.1` to `answer.12`.
const TWELVE_ON_A_TERMINAL: &str = r#"
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        { "$KEYFOB" token >"$HOME/answer.$i"; echo "exit $?" >>"$HOME/answer.$i"; } &
    done
    wait
"#;

#[test]
fn twelve_without_a_session_on_one_terminal_show_one_code_once() {
    let scene = Scene::new(Options::default());
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", TWELVE_ON_A_TERMINAL]).env("KEYFOB", common::PROGRAM);
    shell.env("KEYFOB_PROMPT", "auto").env("TERM", "xterm");
    let terminal = Terminal::start(shell);

    let code = scene.idp.wait_for_code(SOON);
    terminal.wait_for(&code, SOON);
    let mut callers = Vec::new();
    wait_until("twelve callers", || {
        callers = keyfobs_below(terminal.pid());
        callers.len() == 12
    });
    wait_for_sleepers(&callers, 0);
    scene.idp.approve(&code);
    let ended = terminal.wait();

    assert_eq!(ended.screen.matches(&code).count(), 1, "{}", ended.screen);
    let answers: Vec<String> =
        (1..=12).map(|i| fs::read_to_string(scene.keyfob.home().join(format!("answer.{i}"))).unwrap()).collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:#?}");
    let answer = answers[0].strip_suffix("\nexit 0\n").unwrap_or_else(|| panic!("{answers:?}"));
    assert!(scene.idp.accepts(answer));
    assert_eq!((scene.idp.count("device"), scene.idp.count("token:refresh_token")), (1, 0));
    scene.assert_proper();
}

/// The keyfobs whose ancestor is the process `above`.
fn keyfobs_below(above: u32) -> Vec<u32> {
    let read = |pid: &str, what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let children = |pid: &str| -> Vec<String> {
        read(pid, &format!("task/{pid}/children")).split_whitespace().map(str::to_owned).collect()
    };
    let below = children(&above.to_string());
    let all = below.iter().flat_map(|pid| children(pid)).chain(below.iter().cloned());
    all.filter(|pid| read(pid, "comm").trim() == "keyfob").map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn twelve_without_a_session_on_separate_pipes_show_the_same_code_and_who_started_it() {
    let scene = Scene::new(Options::default());
    let callers = scene.twelve("always");
    let codes: Vec<String> = callers.iter().map(Caller::code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    scene.idp.approve(&codes[0]);

    let outputs: Vec<Output> = callers.into_iter().map(Caller::finish).collect();
    let answers: Vec<String> = outputs.iter().map(token).collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:#?}");
    assert!(scene.idp.accepts(&answers[0]));
    // This test is the program that asks.
    let who = fs::read_to_string("/proc/self/comm").unwrap();
    let (asked, joined) = (
        format!("A token is asked for by {}.\n", who.trim_end()),
        format!("This sign-in was started for {}, less than a minute ago.\n", who.trim_end()),
    );
    let says = |what: &str| outputs.iter().filter(|o| o.stderr.contains(what)).count();
    assert_eq!((says(&asked), says(&joined)), (1, 11), "{outputs:#?}");
    assert_eq!((scene.idp.count("device"), scene.idp.count("discovery")), (1, 1));
    scene.assert_proper();
}

/// Twelve that wait for the one that is at `endpoint`, which then gets this answer; what all of them say.
#[track_caller]
fn twelve_fail(scene: &Scene, endpoint: Endpoint, what: &str, reply: Reply) -> Output {
    scene.idp.always(endpoint, reply);
    let hold = scene.idp.hold(endpoint);
    let callers = scene.twelve("always");
    scene.idp.wait_for(what, 1, SOON);
    wait_for_sleepers(&pids(&callers), 1);
    drop(hold);
    let output = same_output(callers);
    assert_eq!(scene.idp.count(what), 1, "one request for all");
    output
}

#[test]
fn twelve_share_one_failed_refresh_when_the_provider_hangs_up() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let output = twelve_fail(&scene, Endpoint::Token, "token:refresh_token", Reply::Drop);
    let url = scene.idp.url(Endpoint::Token);
    let stderr = format!("error: could not get a token for lab: could not reach {url}: the connection was cut off\n");
    assert_eq!(output, Output { stdout: String::new(), stderr, code: Some(5) });

    scene.idp.always(Endpoint::Token, Reply::Real);
    token(&scene.silently(["token"]));
    scene.assert_proper();
}

#[test]
fn twelve_share_one_failed_refresh_when_the_provider_is_down() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let output = twelve_fail(&scene, Endpoint::Token, "token:refresh_token", Reply::empty(503));
    let url = scene.idp.url(Endpoint::Token);
    let stderr = format!("error: could not get a token for lab: could not reach {url}: it answered with status 503\n");
    assert_eq!(output, Output { stdout: String::new(), stderr, code: Some(5) });
}

#[test]
fn twelve_get_the_old_token_while_it_lives_when_the_provider_is_down() {
    let scene = Scene::signed_in(Options::default());
    let old = token(&scene.silently(["token"]));
    scene.leave(120);
    let output = twelve_fail(&scene, Endpoint::Token, "token:refresh_token", Reply::empty(503));
    assert_eq!((token(&output), output.stderr.as_str()), (old, ""));
}

#[test]
fn twelve_share_one_sign_in_that_cannot_begin() {
    let scene = Scene::new(Options::default());
    let output = twelve_fail(&scene, Endpoint::Device, "device", Reply::empty(503));
    let url = scene.idp.url(Endpoint::Device);
    let stderr = format!("error: could not get a token for lab: could not reach {url}: it answered with status 503\n");
    assert_eq!(output, Output { stdout: String::new(), stderr, code: Some(5) });
}

#[test]
fn twelve_share_one_discovery_that_fails() {
    let scene = Scene::new(Options::default());
    let output = twelve_fail(&scene, Endpoint::Discovery, "discovery:oidc", Reply::Drop);
    assert_eq!((output.code, output.stdout.as_str()), (Some(5), ""), "{output:?}");
}

#[test]
fn twelve_share_one_refusal() {
    let scene = Scene::new(Options::default());
    let callers = scene.twelve("always");
    let code = callers.iter().map(Caller::code).next_back().unwrap();
    scene.idp.deny(&code);
    let answer = same_answer(callers);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(4), ""), "{answer:?}");
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

/// What a caller says that comes after a refusal.
fn refusal(scene: &Scene) -> Output {
    let (config, cache) = (scene.keyfob.config_file(), scene.keyfob.cache_dir());
    let stderr = format!(
        "error: could not get a token for lab: the sign-in was refused (access_denied: the user said no)\n\
         hint: to try again: KEYFOB_CONFIG={} KEYFOB_CACHE_DIR={} {} login lab\n",
        config.display(),
        cache.display(),
        common::PROGRAM
    );
    Output { stdout: String::new(), stderr, code: Some(4) }
}

#[test]
fn a_refusal_is_remembered_for_half_a_minute() {
    let scene = Scene::new(Options::default());
    scene.idp.auto(Auto::Deny);
    assert!(scene.prompting(["token"]).stderr.ends_with(&refusal(&scene).stderr));

    // The next ones get the same message, and no code.
    assert_eq!(scene.prompting(["token"]), refusal(&scene));
    assert_eq!(same_output(scene.twelve("always")), refusal(&scene));
    let answer = scene.prompting(["kubernetes"]);
    assert_eq!(answer, refusal(&scene));
    assert_eq!(scene.idp.count("device"), 1);

    scene.change(|session| session["refused"]["at_ms"] = json!((now() - 31) * 1000));
    scene.idp.auto(Auto::Approve);
    token(&scene.prompting(["token"]));
    assert_eq!(scene.idp.count("device"), 2);
    scene.assert_proper();
}

#[test]
fn how_long_a_refusal_is_remembered_is_the_profiles_to_say() {
    let toml = format!("{LAB}refusal-memory = 600\n");
    let scene = Scene::with(Options::default(), &toml);
    scene.idp.auto(Auto::Deny);
    assert_eq!(scene.prompting(["token"]).code, Some(4));
    for (seconds_ago, asked) in [(599, 1), (601, 2)] {
        scene.change(|session| {
            let at_ms = (now() - seconds_ago) * 1000;
            session["refused"]["at_ms"] = json!(at_ms);
        });
        assert_eq!(scene.prompting(["token"]).code, Some(4));
        assert_eq!(scene.idp.count("device"), asked, "{seconds_ago} s after it");
    }
}

/// The clock has been put back since this one began to wait: what it is told has happened all the same.
#[test]
fn a_refusal_by_a_clock_that_was_put_back_is_one_to_those_who_wait() {
    let scene = Scene::new(Options::default());
    let held = scene.idp.hold(Endpoint::Token);
    let poller = scene.start(["token"]);
    poller.code();
    let waiter = scene.start(["token"]);
    waiter.code();
    scene.change(|session| {
        session["sign_in"] = json!(null);
        session["refused"] = json!({ "at_ms": (now() - 3600) * 1000, "message": "the sign-in was refused (no)" });
    });
    let output = waiter.finish();
    assert_eq!(output.code, Some(4), "{output:?}");
    poller.kill();
    drop(held);
    assert_eq!(scene.idp.count("device"), 1);
}

#[test]
fn a_refusal_from_the_future_is_not_remembered() {
    let scene = Scene::new(Options::default());
    scene.idp.auto(Auto::Deny);
    assert_eq!(scene.prompting(["token"]).code, Some(4));

    // The clock was wrong, and has been put right since.
    scene.change(|session| session["refused"]["at_ms"] = json!((now() + 3600) * 1000));
    scene.idp.auto(Auto::Approve);
    token(&scene.prompting(["token"]));
    scene.assert_proper();
}

#[test]
fn a_failure_from_the_future_is_nobodys() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [Reply::empty(503)]);
    assert_eq!(scene.silently(["token"]).code, Some(5));

    // The clock was wrong, and has been put right since.
    scene.change(|session| session["last_error"]["at_ms"] = json!((now() + 3600) * 1000));
    token(&scene.silently(["token"]));
    scene.assert_proper();
}

#[test]
fn login_ignores_the_memory_of_a_refusal() {
    let scene = Scene::new(Options::default());
    scene.idp.auto(Auto::Deny);
    assert_eq!(scene.prompting(["token"]).code, Some(4));

    scene.idp.auto(Auto::Approve);
    let login = scene.prompting(["login"]);
    assert_eq!(login.code, Some(0), "{login:?}");
    assert_eq!(scene.idp.count("device"), 2);
    // And the memory is gone.
    token(&scene.silently(["token"]));
    scene.assert_proper();
}

#[test]
fn login_joins_the_sign_in_that_is_under_way() {
    let scene = Scene::new(Options::default());
    let first = scene.start(["token"]);
    let code = first.code();
    let login = scene.start(["login"]);
    assert_eq!(login.code(), code);
    scene.idp.approve(&code);
    token(&first.finish());
    let login = login.finish();
    assert!(login.stdout.starts_with("Signed in to lab as alice@example.com; "), "{login:?}");
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

/// It waits for as long as an honest process may be at it, which is more than a minute.
#[test]
fn a_sign_in_that_another_process_is_stuck_in_is_said() {
    let scene = Scene::signed_in(Options::default());
    let lock = fs::File::create(scene.file().with_extension("sign-in.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // Not one of those that are waited for no longer than a minute.
    let ended = scene.command("never", ["login", "--start", "--force"]).output().unwrap();
    let error = "error: could not sign in to lab: another process is at a sign-in for something else\n\
                 hint: finish that one first, or end its process\n";
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!((said[0].as_str(), said[1].as_str(), ended.status.code()), ("", error, Some(1)));
}

#[test]
fn a_waiter_goes_on_with_the_same_code_when_the_poller_is_killed() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    let waiter = scene.start(["token"]);
    assert_eq!(waiter.code(), code);

    poller.kill();
    scene.idp.approve(&code);
    assert!(scene.idp.accepts(&token(&waiter.finish())));
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

#[test]
fn eleven_go_on_with_the_same_code_when_the_poller_is_killed_in_the_middle_of_a_poll() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    let waiters: Vec<Caller> = (1..12).map(|_| scene.start(["token"])).collect();
    assert!(waiters.iter().all(|waiter| waiter.code() == code));

    // It dies while it waits for the provider, which has not looked at the request yet and so never will.
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    let hold = scene.idp.hold(Endpoint::Token);
    scene.idp.wait_for("token:device_code", 1, SOON);
    poller.kill();
    drop(hold);
    scene.idp.approve(&code);
    let answer = same_answer(waiters);
    assert!(scene.idp.accepts(&token(&answer)));
    assert_eq!((scene.idp.count("device"), scene.idp.count("token:device_code")), (1, 2));
    scene.assert_proper();
}

#[test]
fn the_next_call_goes_on_with_the_same_code_when_the_poller_was_killed() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    poller.kill();

    let next = scene.start(["token"]);
    assert_eq!(next.code(), code);
    scene.idp.approve(&code);
    token(&next.finish());
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

#[test]
fn a_code_that_was_spent_by_a_poller_that_died_means_a_new_sign_in() {
    let scene = Scene::new(Options::default());
    let poller = scene.start(["token"]);
    let code = poller.code();
    let waiter = scene.start(["token"]);
    assert_eq!(waiter.code(), code);

    // The provider has given its tokens out, but the poller does not live to see them.
    scene.idp.script(Endpoint::Token, [Reply::RealThenWait(SOON)]);
    scene.idp.approve(&code);
    wait_until("the code to be spent", || scene.idp.issued().iter().any(|t| t.starts_with("refresh-")));
    poller.kill();

    scene.idp.auto(Auto::Approve);
    let output = waiter.finish();
    assert!(scene.idp.accepts(&token(&output)));
    assert!(output.stderr.contains("Why now: the last sign-in was interrupted.\n"), "{output:?}");
    assert_eq!(scene.idp.count("device"), 2);
    assert_eq!((scene.idp.too_fast(), scene.idp.polls_after_success()), (0, 1), "there was no way to know");
}

#[test]
fn a_waiter_refreshes_when_the_one_that_was_at_it_is_killed() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    // The provider never looks at the first request.
    scene.idp.script(Endpoint::Token, [Reply::Drop]);
    let hold = scene.idp.hold(Endpoint::Token);
    let first = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let waiter = scene.start(["token"]);
    wait_for_sleepers(&[waiter.pid()], 0);
    kill_process(worker_of(first.pid()).unwrap(), Signal::KILL).unwrap();
    first.kill();
    scene.idp.wait_for("token:refresh_token", 2, SOON);
    drop(hold);
    let output = waiter.finish();
    token(&output);
    assert_eq!((output.stderr.as_str(), scene.idp.count("token:refresh_token")), ("", 2));
    scene.assert_proper();
}

/// One sign-in serves all profiles that differ in scopes alone, but each gets a token of its own, no matter which process
/// finishes it.
#[test]
fn going_on_with_the_sign_in_of_another_profile_gives_no_token_of_the_others() {
    let red = format!("{LAB}audience = 'https://red.example'\nresource = 'urn:red'\n").replace("lab", "red");
    let blue = red.replace("red]", "blue]") + "scopes = ['openid']\n";
    let scene = Scene::with(Options { access_token: AccessToken::Jwt, ..Options::default() }, &format!("{red}{blue}"));
    let poller = scene.start(["token", "-p", "red"]);
    let shown = poller.code();
    poller.kill();
    let other = scene.start(["token", "-p", "blue"]);
    assert_eq!(other.code(), shown);
    scene.idp.approve(&shown);
    let blue = token(&other.finish());
    let poll = scene.idp.requests().into_iter().rfind(|request| request.field("device_code").is_some()).unwrap();
    assert_eq!(poll.field("resource"), Some("urn:red"));
    assert_eq!(audience_of(&blue), "https://red.example");
    assert_eq!((scene.idp.count("device"), scene.idp.count("token:refresh_token")), (1, 1));
    // The one it was begun for has its own as well.
    let red = token(&scene.silently(["token", "-p", "red"]));
    assert_eq!(audience_of(&red), "https://red.example");
    assert_ne!(red, blue);
    assert_eq!(token(&scene.silently(["token", "-p", "blue"])), blue);
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.assert_proper();
}

/// Whom an access token is for.
fn audience_of(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["aud"].as_str().unwrap().to_owned()
}

/// Two clients of one provider.
fn two_profiles() -> Scene {
    let clients = ["red", "blue"].map(Client::public).to_vec();
    let toml = ["red", "blue"].map(|id| LAB.replace("lab", id).replace("keyfob", id)).concat();
    Scene::with(Options { clients, ..Options::default() }, &toml)
}

#[test]
fn two_profiles_sign_in_side_by_side() {
    let scene = two_profiles();
    let mut red = scene.start(["token", "-p", "red"]);
    let red_code = red.code();
    let blue = scene.start(["token", "-p", "blue"]);
    let blue_code = blue.code();
    assert_ne!(red_code, blue_code);
    scene.idp.approve(&blue_code);
    token(&blue.finish());
    assert!(red.is_running());
    scene.idp.approve(&red_code);
    token(&red.finish());
    scene.assert_proper();
}

#[test]
fn two_profiles_refresh_side_by_side() {
    let scene = two_profiles();
    scene.idp.auto(Auto::Approve);
    for profile in ["red", "blue"] {
        token(&scene.prompting(["token", "-p", profile]));
    }
    // Other scopes than the cached token's: a refresh.
    let wanted = |profile| ["token", "-p", profile, "--scope", "openid"];
    scene.idp.script(Endpoint::Token, [Reply::RealThenWait(SOON)]);
    let mut red = scene.start(wanted("red"));
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    token(&scene.silently(wanted("blue")));
    assert!(red.is_running());
}

#[test]
fn logout_waits_for_a_refresh_and_revokes_what_it_brought() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let hold = scene.idp.hold(Endpoint::Token);
    let refresh = scene.start(["token"]);
    scene.idp.wait_for("token:refresh_token", 1, SOON);
    let logout = scene.start(["logout"]);
    wait_for_sleepers(&[logout.pid()], 0);
    drop(hold);

    let new = token(&refresh.finish());
    let logout = logout.finish();
    assert_eq!((logout.stdout.as_str(), logout.stderr.as_str()), ("Signed out of lab (alice@example.com).\n", ""));
    assert!(!scene.idp.accepts(&new));
    assert_eq!(scene.names(), Vec::<String>::new());
    scene.assert_proper();
}

#[test]
fn a_token_that_lives_is_the_answer_while_the_provider_does_not_say_where_to_renew_it() {
    let scene = Scene::signed_in(Options::default());
    let old = token(&scene.silently(["token"]));
    scene.leave(120);
    // Its metadata is not believed any more.
    scene.change(|session| session["server"]["fetched_at"] = json!(0));
    let hold = scene.idp.hold(Endpoint::Discovery);
    // Nobody lets the provider go on before this has answered.
    assert_eq!(token(&scene.silently(["token"])), old);
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
    drop(hold);
}

#[test]
fn nobody_refreshes_without_the_lock() {
    let scene = Scene::signed_in(Options::default());
    scene.leave(-1);
    let lock = scene.file().with_extension("lock");
    let held = fs::File::open(&lock).unwrap();
    fs2::FileExt::lock_exclusive(&held).unwrap();

    let mut caller = scene.start(["token"]);
    wait_for_sleepers(&[caller.pid()], 0);
    assert!(caller.is_running());
    assert_eq!(scene.idp.count("token:refresh_token"), 0);
    drop(held);
    token(&caller.finish());
    scene.assert_proper();
}

#[test]
fn whoever_started_before_the_time_ran_out_gets_the_same_refusal() {
    let scene = Scene::new(Options { expires_in: Some(json!(2)), ..Options::default() });
    let callers = scene.twelve("always");
    for caller in &callers {
        caller.code();
    }
    let answer = same_answer(callers);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(4), ""));
    assert!(
        answer.stderr.contains("error: could not get a token for lab: the code has expired before it was entered\n"),
        "{answer:?}"
    );
    assert_eq!(scene.idp.count("device"), 1);
}
