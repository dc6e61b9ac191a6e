//! What a cached answer from a sealed session costs more than one from a session in clear.

use anyhow::{Context, Result};
use keyfob_test_support::forget_keys;

use super::Place;
use super::table::{Budget, Table};
use super::turns::{against, medians};
use crate::common::callgrind;
use crate::common::home::{CASES, Case, Home};

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let token = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    let home = Home::new(&place.keyfob)?;
    let moved = home.keyfob(&Case { args: &["store", "kernel"], ..*token }).answer();
    let measured = moved.and_then(|_| compare(place, table, &home, token));
    forget_keys(&home.path().join("cache"));
    measured
}

fn compare(place: &Place, table: &mut Table, sealed: &Home, case: &Case) -> Result<()> {
    let (clear, sealed) = (place.home.keyfob(case), sealed.keyfob(case));
    let times = medians(&[clear.clone(), sealed.clone()], place.rounds(400))?;
    let more = times[1].saturating_sub(times[0]).as_secs_f64() * 1e6;
    let from = against(times[1], times[0]);
    table.figure("wall: `keyfob token` sealed, more than in clear", more, "µs", &from, Budget::AtMost(70.0));
    if callgrind::is_here() {
        let counts = (callgrind::instructions(&sealed)?, callgrind::instructions(&clear)?);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let ratio = counts.0 as f64 / counts.1 as f64;
        let from = format!("{} against {}", counts.0, counts.1);
        table.figure("instructions: `keyfob token` sealed / in clear", ratio, "×", &from, Budget::None);
    }
    Ok(())
}
