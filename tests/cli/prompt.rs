//! The prompt as a person sees it: in a real terminal, read back as the screen that its bytes make.

use std::process::Command;

use crate::common::screen::{qr_code, qr_reader, seen_in, terminal};
use crate::common::{PROGRAM, SOON, Scene, code, wait_until};
use keyfob_test_support::provider::{Auto, Endpoint, Options};
use keyfob_test_support::{Ended, Output, Stream, Streams, Terminal, need};
use serde_json::json;

/// kubectl's request, with `provideClusterInfo`.
const REQUEST: &str = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"server":"https://10.0.0.1:6443"},"interactive":false}}"#;

/// What a person sees of these bytes, without the empty rows below.
fn seen(bytes: &str) -> String {
    seen_in(bytes, (80, 24))
}

fn kubernetes(scene: &Scene) -> Command {
    let mut command = scene.command("auto", ["kubernetes"]);
    command.env("TERM", "xterm").env("KUBERNETES_EXEC_INFO", REQUEST);
    command
}

/// As kubectl runs a plugin: stdout is read by it, stdin is nothing.
fn plugin(command: Command, stderr: Stream) -> Terminal {
    Terminal::start_with(command, Streams { stdin: Stream::Null, stdout: Stream::File, stderr })
}

#[track_caller]
fn answered(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.screen);
    assert!(ended.stdout.starts_with(r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"#), "{}", ended.stdout);
}

#[test]
fn the_prompt_says_everything_counts_down_in_place_and_is_gone_when_done() {
    let scene = Scene::new(Options::default());
    let terminal = plugin(kubernetes(&scene), Stream::Terminal);
    let code = scene.idp.wait_for_code(SOON);
    // Two states of the countdown: only what is rewritten in place is on the screen once all the same.
    terminal.wait_for("9:58", SOON);
    let screen = seen(&terminal.screen());
    let issuer = scene.idp.issuer();
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines[0], format!("Sign in to {issuer} (profile lab)"));
    assert!(
        lines[1].starts_with("A token is asked for by ") && lines[1].ends_with(" for https://10.0.0.1:6443."),
        "{screen}"
    );
    assert_eq!(lines[3], format!("    Open        {issuer}/device"));
    assert_eq!(lines[4], format!("    Enter code  {code}"));
    assert_eq!(lines[6], "Enter the code only if you started this yourself.");
    assert!(
        lines[7].starts_with("Waiting; the code ends in 9:5")
            && lines[7].ends_with(". Ctrl-C stops; the code stays good."),
        "{screen}"
    );
    assert_eq!(lines.len(), 8, "{screen}");

    scene.idp.approve(&code);
    let ended = terminal.wait();
    answered(&ended);
    assert_eq!(seen(&ended.screen), "", "the screen is as it was before");
    scene.assert_proper();
}

#[test]
fn behind_a_piped_stderr_the_prompt_is_on_the_terminal_itself() {
    let scene = Scene::new(Options::default());
    let terminal = plugin(kubernetes(&scene), Stream::File);
    let code = scene.idp.wait_for_code(SOON);
    terminal.wait_for(&code, SOON);
    scene.idp.approve(&code);
    answered(&terminal.wait());
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let scene = Scene::new(Options::default());
    let mut command = kubernetes(&scene);
    command.env("TERM", "dumb");
    let terminal = plugin(command, Stream::Terminal);
    let shown = scene.idp.wait_for_code(SOON);
    terminal.wait_for("stays good.\r\n", SOON);
    scene.idp.approve(&shown);
    let ended = terminal.wait();
    answered(&ended);
    assert!(!ended.screen.contains('\u{1b}'), "{:?}", ended.screen);
    assert_eq!(code(&ended.screen.replace('\r', "")), Some(shown));
}

/// What is asked for and cannot be had is not left out in silence.
#[test]
fn a_qr_code_that_cannot_be_shown_is_missed() {
    let scene = Scene::new(Options::default());
    for (flow, why) in [
        ("device", "There is no QR code here: it needs a terminal that can be rewritten.\n"),
        ("browser", "There is no QR code: no other device can open that address.\n"),
    ] {
        let output = scene.prompting(["login", "--qr", "--timeout", "1", "--flow", flow]);
        assert!(output.stderr.contains(why), "{flow}: {output:?}");
    }
}

/// Each line of the log stands alone, and the countdown is one line that is not rewritten.
#[test]
fn the_log_does_not_stick_to_the_countdown() {
    let scene = Scene::new(Options::default());
    let mut command = scene.keyfob.command(["token"]);
    command.env("KEYFOB_LOG", "debug").env("TERM", "xterm");
    let terminal = Terminal::start(command);
    terminal.wait_for("Ctrl-C stops; the code stays good.\r\n", SOON);
    scene.idp.approve(&scene.idp.wait_for_code(SOON));
    let ended = terminal.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!ended.screen.contains('\u{1b}'), "{:?}", ended.screen);
    for (before, _) in ended.screen.match_indices("keyfob: ").map(|(at, _)| ended.screen.split_at(at)) {
        assert!(before.is_empty() || before.ends_with('\n'), "{:?}", ended.screen);
    }
}

#[test]
fn callers_that_a_person_types_say_what_they_are_for() {
    let scene = Scene::signed_in(Options::default());
    let note = "note: a program runs this, and writes its request here; an empty line or Ctrl-D ends it\r\n";
    for words in [&["git", "get"][..], &["docker", "get"], &["bazel", "get"], &["cargo"]] {
        let terminal = Terminal::start(scene.keyfob.command(words.iter().copied()));
        terminal.wait_for(note, SOON);
        terminal.send("\u{4}");
        terminal.wait();
    }
    let ended = Terminal::start(scene.keyfob.command(["kubernetes"])).wait();
    let note =
        "note: kubectl and other clients run this, and read what it prints; for people there is `keyfob token`\r\n";
    assert!(ended.screen.starts_with(note), "{}", ended.screen);
}

#[test]
fn a_terminal_of_a_full_screen_program_is_not_written_to() {
    let scene = Scene::new(Options::default());
    for redirect in ["2>err", ""] {
        let mut shell = scene.keyfob.other("sh");
        shell.args(["-c", &format!("stty raw -echo; {PROGRAM} token >out {redirect}; code=$?; stty sane; exit $code")]);
        shell.current_dir(scene.keyfob.home()).env("TERM", "xterm");
        let ended = Terminal::start(shell).wait();
        assert_eq!(ended.code, Some(3), "{}", ended.screen);
        assert!(!ended.screen.contains("Enter code"), "{}", ended.screen);
    }
    assert_eq!(scene.idp.count("device"), 0);
}

/// Whoever asked for the token is gone, keyfob still waits for the person, who has opened an editor meanwhile.
#[test]
fn a_terminal_that_a_full_screen_program_takes_later_is_not_written_to_either() {
    let scene = Scene::new(Options { interval: Some(json!(1)), ..Options::default() });
    let mut shell = scene.keyfob.other("sh");
    let editor = "read line; stty raw -echo; printf EDITOR; wait $!; code=$?; stty sane; exit $code";
    shell.args(["-c", &format!("{PROGRAM} token >out & {editor}")]);
    shell.current_dir(scene.keyfob.home()).env("TERM", "xterm");
    let terminal = Terminal::start(shell);
    terminal.wait_for("Ctrl-C stops", SOON);
    terminal.send("\r");
    let polls = scene.idp.count("token:device_code");
    let before = terminal.wait_for("EDITOR", SOON);
    // More than two seconds.
    scene.idp.wait_for("token:device_code", polls + 3, SOON);
    assert_eq!(terminal.screen(), before);
    scene.idp.approve(&scene.idp.user_codes()[0]);
    let ended = terminal.wait();
    assert_eq!((ended.code, ended.screen), (Some(0), before));
}

#[test]
fn a_program_in_the_background_does_not_take_the_terminal() {
    let scene = Scene::new(Options::default());
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-mc", &format!("{PROGRAM} token >out 2>err & wait $!")]).current_dir(scene.keyfob.home());
    let ended = Terminal::start(shell).wait();
    assert_eq!((ended.code, ended.screen.contains("Enter code")), (Some(3), false), "{}", ended.screen);
}

#[test]
fn where_nothing_can_be_shown_the_command_to_run_is_named_and_works() {
    let scene = Scene::new(Options::default());
    let output = scene.silently(["token"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""));
    let hint = output.stderr.lines().nth(1).unwrap().strip_prefix("hint: ").unwrap().to_owned();
    scene.idp.auto(Auto::Approve);
    let mut shell = scene.keyfob.other("sh");
    shell.args(["-c", &hint]).env_remove("KEYFOB_CONFIG").env_remove("KEYFOB_CACHE_DIR").env("KEYFOB_PROMPT", "always");
    let login = Output::of(&mut shell, b"");
    assert_eq!(login.code, Some(0), "{hint}\n{}", login.stderr);
    assert_eq!(scene.silently(["token"]).code, Some(0));
}

#[test]
fn r26_ctrl_c_stops_at_once_and_the_next_call_goes_on_with_the_same_code() {
    let scene = Scene::new(Options::default());
    let terminal = plugin(kubernetes(&scene), Stream::Terminal);
    let code = scene.idp.wait_for_code(SOON);
    terminal.wait_for(&code, SOON);
    terminal.interrupt();
    let ended = terminal.wait();
    assert_eq!((ended.signal, ended.stdout.as_str()), (Some(2), ""));

    let terminal = plugin(kubernetes(&scene), Stream::Terminal);
    terminal.wait_for(&code, SOON);
    scene.idp.approve(&code);
    answered(&terminal.wait());
    assert_eq!(scene.idp.count("device"), 1);
    scene.assert_proper();
}

/// What kubectl's prompt looks like in a terminal of this size: what the program is called, the issuer's port and the
/// seconds stand as they do here. Gone when done.
#[track_caller]
fn snapshot(size: (u16, u16), expected: &str) {
    let scene = Scene::new(Options::default());
    let mut shell = scene.keyfob.other("sh");
    // The name of the program that asks is that of the shell, whatever runs the test.
    shell.args(["-c", &format!("{PROGRAM} kubernetes >out; true")]).current_dir(scene.keyfob.home());
    shell.env("TERM", "xterm").env("KUBERNETES_EXEC_INFO", REQUEST).env("KEYFOB_PROMPT", "auto");
    let terminal = Terminal::start_sized(shell, Streams::default(), size);
    let code = scene.idp.wait_for_code(SOON);
    // Two states of the countdown.
    wait_until("the countdown", || terminal.screen().matches("\r\u{1b}[K").count() >= 2);
    let port = scene.idp.issuer().rsplit(':').next().unwrap();
    let seconds = (0..10).map(|second| format!("9:5{second}"));
    let screen = seconds.fold(seen_in(&terminal.screen(), size), |screen, left| screen.replace(&left, "9:58"));
    assert_eq!(screen.replace(port, "54321").replace(&code, "WDJB-MJHT"), expected);
    scene.idp.approve(&code);
    let ended = terminal.wait();
    assert_eq!((ended.code, seen_in(&ended.screen, size).as_str()), (Some(0), ""));
    scene.assert_proper();
}

#[test]
fn in_300_columns() {
    snapshot(
        (300, 24),
        "\
Sign in to http://127.0.0.1:54321 (profile lab)
A token is asked for by sh for https://10.0.0.1:6443.

    Open        http://127.0.0.1:54321/device
    Enter code  WDJB-MJHT

Enter the code only if you started this yourself.
Waiting; the code ends in 9:58. Ctrl-C stops; the code stays good.",
    );
}

#[test]
fn in_40_columns() {
    snapshot(
        (40, 14),
        "\
Sign in to http://127.0.0.1:54321
(profile lab)
A token is asked for by sh for
https://10.0.0.1:6443.

Open
    http://127.0.0.1:54321/device
Enter code
    WDJB-MJHT

Enter the code only if you started this
yourself.
9:58 left. Ctrl-C stops.",
    );
}

#[test]
fn in_20_columns_nothing_is_cut_and_the_address_stays_whole() {
    // What the terminal itself has wrapped is one line for whoever copies it.
    snapshot(
        (20, 24),
        "\
Sign in to
http://127.0.0.1:54321
(profile lab)
A token is asked for
by sh for
https://10.0.0.1:6443.

Open
http://127.0.0.1:54321/device
Enter code
    WDJB-MJHT

Enter the code only
if you started this
yourself.
9:58 left",
    );
}

#[test]
fn a_terminal_that_becomes_narrow_gets_the_prompt_anew_and_nothing_stays_behind() {
    let scene = Scene::new(Options::default());
    let running = plugin(kubernetes(&scene), Stream::Terminal);
    let code = scene.idp.wait_for_code(SOON);
    running.wait_for("9:58", SOON);
    let before = running.resize((40, 24));
    running.wait_for("Enter code\r\n", SOON);
    running.wait_for("left. Ctrl-C stops.", SOON);
    let seen = |bytes: &str| {
        let mut screen = terminal(&before, (80, 24));
        screen.screen_mut().set_size(24.try_into().unwrap(), 40.try_into().unwrap());
        screen.process(&bytes.as_bytes()[before.len()..]);
        screen.screen().contents().trim_end().to_owned()
    };
    let screen = seen(&running.screen());
    assert!(screen.starts_with("Sign in to http://127.0.0.1:"), "{screen}");
    assert!(
        screen.contains(&format!("Enter code\n    {code}\n\nEnter the code only if you started this\nyourself.\n9:5")),
        "{screen}"
    );
    assert_eq!(screen.matches("Sign in").count(), 1, "{screen}");
    scene.idp.approve(&code);
    let ended = running.wait();
    answered(&ended);
    assert_eq!(seen(&ended.screen), "");
}

#[test]
fn address_and_code_are_bold_unless_no_color_says_otherwise() {
    let scene = Scene::new(Options::default());
    for (no_color, bold) in [("", true), ("1", false)] {
        let mut command = kubernetes(&scene);
        command.env("NO_COLOR", no_color);
        let running = plugin(command, Stream::Terminal);
        running.wait_for("Ctrl-C stops", SOON);
        let bytes = running.screen();
        let code = scene.idp.user_codes().pop().unwrap();
        let address = format!("{}/device", scene.idp.issuer());
        for value in [&address, &code] {
            assert_eq!(bytes.contains(&format!("\u{1b}[1m{value}\u{1b}[0m")), bold, "{bytes:?}");
        }
        assert_eq!(bytes.contains("\u{1b}[0m"), bold, "{bytes:?}");
        running.interrupt();
        running.wait();
    }
}

#[test]
fn whoever_joins_is_told_for_whom_it_was_started_and_since_when() {
    let scene = Scene::new(Options::default());
    let first = plugin(kubernetes(&scene), Stream::Terminal);
    let code = scene.idp.wait_for_code(SOON);
    first.wait_for(&code, SOON);
    scene.change(|session| {
        let at = &mut session["sign_in"]["started_at"];
        *at = (at.as_i64().unwrap() - 125).into();
    });
    let mut command = scene.command("auto", ["login"]);
    command.env("TERM", "xterm");
    let second = Terminal::start(command);
    let screen = seen(&second.wait_for("the code ends in", SOON)).replace('\n', " ");
    assert!(screen.contains(" (profile lab) This sign-in was started for "), "{screen}");
    assert!(screen.contains(" for https://10.0.0.1:6443, 2 min ago. "), "{screen}");
    scene.idp.approve(&code);
    answered(&first.wait());
    assert_eq!(second.wait().code, Some(0));
}

#[test]
fn a_provider_that_is_slow_is_named_after_a_second_and_the_words_are_gone_afterwards() {
    for (endpoint, signed_in) in [(Endpoint::Discovery, false), (Endpoint::Device, false), (Endpoint::Token, true)] {
        let scene = if signed_in { Scene::signed_in(Options::default()) } else { Scene::new(Options::default()) };
        if signed_in {
            scene.leave(-1);
        }
        let held = scene.idp.hold(endpoint);
        let running = plugin(kubernetes(&scene), Stream::Terminal);
        let screen = running.wait_for("stops.", SOON);
        assert_eq!(seen(&screen), "keyfob: waiting for 127.0.0.1 to answer. Ctrl-C stops.");
        drop(held);
        if !signed_in {
            let code = scene.idp.wait_for_code(SOON);
            let screen = seen(&running.wait_for(&code, SOON));
            assert!(!screen.contains("to answer"), "{screen}");
            scene.idp.approve(&code);
        }
        let ended = running.wait();
        answered(&ended);
        assert_eq!(seen(&ended.screen), "");
    }
}

#[test]
fn a_sign_out_that_takes_long_says_so_too() {
    let scene = Scene::signed_in(Options::default());
    let held = scene.idp.hold(Endpoint::Revoke);
    let mut command = scene.command("auto", ["logout"]);
    command.env("TERM", "xterm");
    let running = plugin(command, Stream::Terminal);
    let screen = running.wait_for("stops.", SOON);
    assert_eq!(seen(&screen), "keyfob: waiting for 127.0.0.1 to revoke the session. Ctrl-C stops.");
    drop(held);
    let ended = running.wait();
    assert_eq!(ended.stdout, "Signed out of lab (alice@example.com).\n");
    assert_eq!((ended.code, seen(&ended.screen).as_str()), (Some(0), ""));
}

#[test]
fn the_qr_code_holds_the_address_in_colour_and_without() {
    need!(qr_reader());
    let scene = Scene::new(Options::default());
    // With empty rows beside it, and without.
    for (no_color, rows) in [("", 24), ("1", 24), ("", 20), ("1", 20)] {
        let mut command = scene.command("auto", ["login", "--qr"]);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env("NO_COLOR", no_color);
        let size = (80, rows);
        let running = Terminal::start_sized(command, Streams::default(), size);
        let bytes = running.wait_for("Ctrl-C stops", SOON);
        let code = scene.idp.user_codes().pop().unwrap();
        let address = format!("{}/device", scene.idp.issuer());
        let screen = terminal(&bytes, size);
        for text in [&address, &code] {
            assert!(screen.screen().contents().contains(text), "{}", screen.screen().contents());
        }
        assert_eq!(qr_code(screen.screen()), address, "{no_color:?} {rows}");
        running.interrupt();
        running.wait();
    }
}

#[test]
fn a_qr_code_that_does_not_fit_is_left_out_and_what_it_needs_is_said() {
    let scene = Scene::new(Options::default());
    let mut command = scene.command("auto", ["login", "--qr"]);
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    let running = Terminal::start_sized(command, Streams::default(), (80, 12));
    let bytes = running.wait_for("Ctrl-C stops", SOON);
    let screen = seen_in(&bytes, (80, 12));
    assert!(screen.contains("\nThe QR code needs a terminal of 29 columns and 19 rows.\nWaiting;"), "{screen}");
}
