//! Whether it matters how many sessions there are.

use anyhow::{Context, Result};

use super::table::{Budget, Table};
use super::turns::{median, medians, ratio, readable};
use super::{Place, kernel};
use crate::common::callgrind;
use crate::common::home::{CASES, Home};
use crate::common::run::Run;

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let crowds: [usize; 3] = if place.quick { [10, 1_000, 10_000] } else { [10, 1_000, 100_000] };
    // Not `kubernetes`, which leaves a note of its own elsewhere.
    let case = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    let homes = crowds
        .map(|sessions| {
            let home = Home::new(&place.keyfob)?;
            home.crowd(sessions)?;
            Ok(home)
        })
        .into_iter()
        .collect::<Result<Vec<Home>>>()?;
    let runs: Vec<Run> = homes.iter().map(|home| home.keyfob(case)).collect();
    let crowds = format!("{} / {} / {}", crowds[0], crowds[1], crowds[2]);

    let what = format!("instructions with {crowds} sessions");
    if callgrind::is_here() {
        let counts = runs.iter().map(callgrind::instructions).collect::<Result<Vec<_>>>()?;
        let measured = format!("{} / {} / {}", counts[0], counts[1], counts[2]);
        table.fact(&what, &measured, counts.iter().all(|count| *count == counts[0]));
    } else {
        table.missing(&what, "valgrind is not here");
    }

    let what = format!("system calls with {crowds} sessions");
    let calls = runs.iter().map(|run| kernel::calls(place, run)).collect::<Result<Option<Vec<_>>>>()?;
    match calls {
        Some(calls) => {
            let totals: Vec<usize> = calls.iter().map(|calls| calls.values().sum()).collect();
            let measured = format!("{} / {} / {}", totals[0], totals[1], totals[2]);
            table.fact(&what, &measured, calls.iter().all(|other| *other == calls[0]));
        }
        None => table.missing(&what, "strace is not here"),
    }

    let mut several = Vec::new();
    for _ in 0..5 {
        several.push(medians(&runs, place.rounds(200))?);
    }
    for (number, sessions) in crowds.split(" / ").enumerate().skip(1) {
        // In thousandths, since a median needs an order.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio near one")]
        let thousandths = |times: &Vec<_>| (ratio(times[number], times[0]) * 1000.0).round() as u32;
        let middle = median(several.iter().map(thousandths).collect());
        let from =
            format!("median of five runs; {}", readable(median(several.iter().map(|times| times[number]).collect())));
        let what = format!("wall with {sessions} sessions / with 10");
        table.figure(&what, f64::from(middle) / 1000.0, "×", &from, Budget::AtMost(1.05));
    }
    Ok(())
}
