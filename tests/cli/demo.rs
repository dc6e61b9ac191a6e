//! The demo as a person runs it, in a real terminal: every line that it leaves there.

use std::fs;

use crate::common::screen::seen_in;
use crate::common::{self, files};
use keyfob_test_support::{Keyfob, Streams, Terminal, need};
use serde_json::Value;

/// Wide enough for a token on one line.
const SIZE: (u16, u16) = (1000, 40);

#[test]
fn every_line_of_the_demo_is_true() {
    let keyfob = Keyfob::new(need!(common::demo()));
    let temporary = keyfob.home().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let before = files(keyfob.home(), &[]);
    let mut command = keyfob.command(["--approve"]);
    command.env("TMPDIR", &temporary).env("TERM", "xterm");
    let ended = Terminal::start_sized(command, Streams::default(), SIZE).wait();

    let screen = seen_in(&ended.screen, SIZE);
    let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
    let issuer = lines[0].strip_prefix("An identity provider now runs on this machine: ").unwrap_or_default();
    let credential: Value = serde_json::from_str(lines[13]).unwrap_or_else(|error| panic!("{error}\n{screen}"));
    let time = lines[18].trim_start().split(' ').next().unwrap();
    assert!(issuer.starts_with("http://127.0.0.1:"), "{screen}");
    assert_eq!((&credential["kind"], credential["status"]["token"].is_string()), (&"ExecCredential".into(), true));
    assert!(time.parse::<f64>().is_ok_and(|milliseconds| milliseconds > 0.0), "{screen}");
    let expected = [
        &format!("An identity provider now runs on this machine: {issuer}"),
        "",
        "1. kubectl needs a token and runs its credential plugin:",
        "",
        &format!("   keyfob kubernetes --issuer {issuer} --client-id demo --scope openid --scope offline_access"),
        "",
        "   Nobody has to do anything: the provider approves by itself in a moment.",
        "",
        "",
        "   keyfob asked the provider 4 times: /.well-known/openid-configuration /device_authorization /token /token",
        "",
        "2. This is what kubectl reads from keyfob's stdout, and all of it:",
        "",
        lines[13],
        "",
        "3. kubectl needs a token again, as with every command: the same answer, from the cache.",
        "",
        "   20 runs of keyfob, each a whole process from start to exit:",
        &format!("   {time} ms (median), 0 requests to the provider."),
        "",
        "That was all. The provider and the cache are gone again.",
    ];
    assert_eq!(lines, expected);
    assert_eq!((ended.code, files(keyfob.home(), &[])), (Some(0), before));
}
