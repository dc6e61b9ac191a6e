//! The prompt as a person sees it: in a real terminal, read back as the screen that its bytes make.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::process::Command;

use common::{PROGRAM, SOON, Scene, code};
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::{Ended, Output, Stream, Streams, Terminal};

/// kubectl's request, with `provideClusterInfo`.
const REQUEST: &str = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"server":"https://10.0.0.1:6443"},"interactive":false}}"#;

/// What a person sees of these bytes, without the empty rows below.
fn seen(bytes: &str) -> String {
    let mut screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
    screen.process(bytes.as_bytes());
    screen.screen().contents().trim_end().to_owned()
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
    assert!(lines[7].starts_with("Waiting; the code ends in 9:5") && lines[7].ends_with(". Ctrl-C stops."), "{screen}");
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
    terminal.wait_for("Ctrl-C stops.\r\n", SOON);
    scene.idp.approve(&shown);
    let ended = terminal.wait();
    answered(&ended);
    assert!(!ended.screen.contains('\u{1b}'), "{:?}", ended.screen);
    assert_eq!(code(&ended.screen.replace('\r', "")), Some(shown));
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
