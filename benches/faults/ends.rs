//! Callers that end at every millisecond between the request for a renewal and what is saved, each in five ways.
//!
//! The provider rotates its refresh tokens, answers after [`DELAY`], and ends the session if it sees an old one again.

use std::thread;
use std::time::Duration;

use keyfob_test_support::provider::{Endpoint, Options};

use rustix::process::Signal;

use crate::common::{End, SOON, Scene};

/// How long the provider takes to answer.
const DELAY: Duration = Duration::from_millis(20);

const REFRESH: &str = "token:refresh_token";

/// Prints what came of it, for this many milliseconds; whether nothing was lost.
pub(crate) fn table(milliseconds: u64) -> bool {
    println!(
        "\nCallers that end at each millisecond after the request, up to {milliseconds}; it is answered after {DELAY:?}\n"
    );
    println!("                       ended    before it was told    lost    second prompts");
    let rows = thread::scope(|scope| {
        End::ALL.map(|how| scope.spawn(move || row(how, milliseconds))).map(|row| row.join().unwrap())
    });
    let mut good = true;
    for (how, Row { silent, lost, prompts }) in End::ALL.iter().zip(rows) {
        let name = match how {
            End::Signal(Signal::INT) => "interrupted",
            End::Signal(Signal::TERM) => "told to end",
            End::Signal(Signal::HUP) => "its terminal gone",
            End::Signal(_) => "killed",
            End::WithParent => "killed with its parent",
        };
        println!(
            "{name:<24}{milliseconds:>4}{silent:>22}{lost:>8}{prompts:>18}  {}",
            crate::verdict(lost + prompts == 0)
        );
        good &= lost + prompts == 0;
    }
    good
}

struct Row {
    /// How many ended before they printed a token.
    silent: usize,
    lost: usize,
    prompts: usize,
}

fn row(how: End, milliseconds: u64) -> Row {
    let scene = Scene::signed_in(Options { rotation: true, delay: DELAY, ..Options::default() });
    let mut row = Row { silent: 0, lost: 0, prompts: 0 };
    for millisecond in 0..milliseconds {
        scene.leave(-1);
        let requests = scene.idp.count(REFRESH);
        let hold = scene.idp.hold(Endpoint::Token);
        let shell = scene.start_under_a_shell("never");
        let inner = shell.inner();
        scene.idp.wait_for(REFRESH, requests + 1, SOON);
        drop(hold);
        thread::sleep(Duration::from_millis(millisecond));
        // It may have ended by itself.
        let _ = how.end(&shell, inner);
        row.silent += usize::from(shell.finish().stdout.is_empty());
        scene.settle();
        let output = scene.silently(["token"]);
        let answered = output.code == Some(0) && scene.idp.accepts(output.stdout.trim_end());
        let once = scene.idp.count(REFRESH) == requests + 1;
        row.lost += usize::from(!(answered && once));
    }
    row.prompts = scene.idp.user_codes().len() - 1;
    row
}
