//! The demo as a person runs it, in a real terminal: every line that it leaves there.

use std::fs;

use super::screens::snapshot;
use crate::common::screen::seen_in;
use crate::common::{self, files};
use keyfob_test_support::{Keyfob, Streams, Terminal, need};

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

    let mut screen = seen_in(&ended.screen, SIZE);
    for (before, after, word) in [
        (" on this machine: ", "\n", "ISSUER"),
        ("\"expirationTimestamp\":\"", "\"", "TIME"),
        ("\"token\":\"", "\"", "TOKEN"),
        ("start to exit:\n   ", " ms", "NUMBER"),
    ] {
        let differs = screen.split(before).nth(1).and_then(|rest| rest.split(after).next()).unwrap_or_default();
        assert_ne!(differs, "", "{word} is missing:\n{screen}");
        screen = screen.replace(&differs.to_owned(), word);
    }
    snapshot("demo", &screen);
    assert_eq!((ended.code, files(keyfob.home(), &[])), (Some(0), before));
}
