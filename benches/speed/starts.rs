//! The cached answers, against the least that a program can do and against git's own helper.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use super::Place;
use super::table::{Budget, Table};
use super::turns::{against, medians, ratio};
use crate::common::home::{CASES, Case, GIT_REQUEST, TOOLS};
use crate::common::programs::on_path;
use crate::common::run::Run;

/// How the kernel holds a program's file in memory decides how many pages a start has to fault in. What the column says, and
/// whether the file is dropped from memory first, so that the first runs read it again.
const CONDITIONS: [(&str, bool); 2] = [("after a reboot", true), ("just installed", false)];

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let folder = place.home.path();
    let fixed = place.fixed.as_ref().map(|_| folder.join("keyfob-static"));
    let mut programs = vec![(&place.keyfob, folder.join("keyfob")), (&place.reader, folder.join("read"))];
    programs.extend(place.fixed.iter().zip(fixed.clone()));
    if let Some(fixed) = &fixed {
        fs::copy(place.fixed.as_ref().context("a static program")?, fixed)?;
        same_answers(place, fixed)?;
    }
    for (condition, dropped) in CONDITIONS {
        for (built, copy) in &programs {
            install(built, copy, dropped)?;
        }
        walls(place, table, condition, fixed.as_deref())?;
    }
    Ok(())
}

/// Copies a program, as installing it does, into the file system's large pieces of memory; `dropped` empties those.
fn install(built: &Path, copy: &PathBuf, dropped: bool) -> Result<()> {
    fs::copy(built, copy)?;
    if dropped {
        let file = File::open(copy)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// The static program says what the other one says, to every caller, a thousand times.
fn same_answers(place: &Place, fixed: &Path) -> Result<()> {
    let cases: Vec<&Case> = CASES.iter().chain(TOOLS).collect();
    for number in 0..place.rounds(1000) {
        let case = cases[number % cases.len()];
        let dynamic = place.home.keyfob(case);
        let answers = (dynamic.answer()?, Run { program: fixed.to_owned(), ..dynamic }.answer()?);
        ensure!(answers.0 == answers.1, "{}: the static program answers otherwise: {answers:?}", case.name);
    }
    Ok(())
}

fn walls(place: &Place, table: &mut Table, condition: &str, fixed: Option<&Path>) -> Result<()> {
    let reader = place.home.path().join("read");
    let mut runs: Vec<Run> = Vec::new();
    for case in CASES {
        let keyfob = place.home.keyfob(case);
        let fixed =
            fixed.map_or_else(|| keyfob.clone(), |program| Run { program: program.to_owned(), ..keyfob.clone() });
        runs.extend([place.home.reader(&reader, case), keyfob, fixed]);
    }
    let store = credential_store(place)?;
    runs.extend(store.clone());
    let times = medians(&runs, place.rounds(400))?;
    for (case, times) in CASES.iter().zip(times.chunks_exact(3)) {
        let beside = |keyfob| (ratio(keyfob, times[0]), against(keyfob, times[0]));
        let what = format!("wall, {condition}: `{}` / a C program that prints the same files", case.name);
        let budget = if case.name == "keyfob kubernetes" { 1.45 } else { 1.4 };
        let (figure, from) = beside(times[1]);
        table.figure(&what, figure, "×", &from, Budget::AtMost(budget));
        let what = format!("wall, {condition}, static: `{}` / the C program", case.name);
        let (figure, from) = beside(times[2]);
        match fixed {
            Some(_) => table.figure(&what, figure, "×", &from, Budget::AtMost(0.95)),
            None => table.missing(&what, "`.ci/static` has not built it"),
        }
    }
    let what = format!("wall, {condition}: `keyfob git get` / `git credential-store get`");
    let git = CASES.iter().position(|case| case.input == Some(GIT_REQUEST));
    match (store, git) {
        (Some(_), Some(git)) => {
            let store = times[CASES.len() * 3];
            let programs = [("", times[git * 3 + 1]), (", static", times[git * 3 + 2])];
            for (program, keyfob) in programs.into_iter().take(1 + usize::from(fixed.is_some())) {
                let what = what.replace(": ", &format!("{program}: "));
                table.figure(&what, ratio(keyfob, store), "×", &against(keyfob, store), Budget::AtMost(0.7));
            }
        }
        _ => table.missing(&what, "git is not here"),
    }
    Ok(())
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
