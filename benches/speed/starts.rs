//! The cached answers, against the least that a program can do and against git's own helper.

use std::fs;

use anyhow::Result;

use super::Place;
use super::table::{Budget, Table};
use super::turns::{against, medians, ratio};
use crate::common::callgrind;
use crate::common::home::{CASES, GIT_REQUEST};
use crate::common::programs::on_path;
use crate::common::run::Run;

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let mut runs: Vec<Run> = Vec::new();
    for case in CASES {
        runs.push(place.home.keyfob(case));
        runs.push(place.home.reader(&place.reader, case));
    }
    runs.push(Run::new(&place.hello, [""; 0]).within(place.home.path()));
    let store = credential_store(place)?;
    runs.extend(store.clone());
    let times = medians(&runs, place.rounds(400))?;
    for (case, times) in CASES.iter().zip(times.chunks_exact(2)) {
        let what = format!("wall: `{}` / a C program that prints the same files", case.name);
        let (keyfob, reader) = (times[0], times[1]);
        table.figure(&what, ratio(keyfob, reader), "×", &against(keyfob, reader), Budget::AtMost(1.4));
    }
    // What a start of Rust's own costs, on the way to the budget above.
    let (hello, reader) = (times[CASES.len() * 2], times[1]);
    let what = "wall: a Rust program that prints one line / the C program";
    table.figure(what, ratio(hello, reader), "×", &against(hello, reader), Budget::None);
    let what = "wall: `keyfob git get` / `git credential-store get`";
    let git = CASES.iter().position(|case| case.input == Some(GIT_REQUEST));
    match (store, git) {
        (Some(_), Some(git)) => {
            let (keyfob, store) = (times[git * 2], times[CASES.len() * 2 + 1]);
            table.figure(what, ratio(keyfob, store), "×", &against(keyfob, store), Budget::AtMost(0.95));
        }
        _ => table.missing(what, "git is not here"),
    }
    instructions(place, table)
}

/// git's own helper in C, with the same host in its file.
fn credential_store(place: &Place) -> Result<Option<Run>> {
    let Some(git) = on_path("git") else { return Ok(None) };
    let file = place.home.path().join("git-credentials");
    fs::write(&file, format!("https://x-access-token:{}@git.example.com\n", "0123456789abcdef".repeat(87)))?;
    let run = Run::new(git, ["credential-store", "--file=git-credentials", "get"]).within(place.home.path());
    let run = run.env("HOME", place.home.path()).reading(place.home.path().join(GIT_REQUEST));
    anyhow::ensure!(run.answer()?.contains("password=0123456789abcdef"), "git credential-store does not answer");
    Ok(Some(run))
}

fn instructions(place: &Place, table: &mut Table) -> Result<()> {
    let hello = Run::new(&place.hello, [""; 0]).within(place.home.path());
    let hello = if callgrind::is_here() { Some(callgrind::instructions(&hello)?) } else { None };
    for case in CASES {
        let what = format!("instructions: `{}` / a Rust program that prints one line", case.name);
        let Some(hello) = hello else {
            table.missing(&what, "valgrind is not here");
            continue;
        };
        let count = callgrind::instructions(&place.home.keyfob(case))?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let ratio = count as f64 / hello as f64;
        table.figure(&what, ratio, "×", &format!("{count} against {hello}"), Budget::AtMost(1.6));
    }
    Ok(())
}
