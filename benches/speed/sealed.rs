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
    let homes = (Home::new(&place.keyfob)?, Home::new(&place.keyfob)?);
    let measured = moved(&homes, token).and_then(|()| compare(place, table, &homes, token));
    forget_keys(&homes.1.path().join("cache"));
    measured
}

/// Seals the sessions of the second home. Those of the first are sealed and taken back, because a session that was sealed
/// is renewed, and remembers that nobody answered.
fn moved(homes: &(Home, Home), token: &Case) -> Result<()> {
    for (home, kinds) in [(&homes.0, &["kernel", "file"][..]), (&homes.1, &["kernel"])] {
        for kind in kinds {
            let args: &'static [&'static str] = Vec::from(["store", kind]).leak();
            home.keyfob(&Case { args, ..*token }).answer()?;
            home.keyfob(token).answer()?;
        }
    }
    Ok(())
}

fn compare(place: &Place, table: &mut Table, homes: &(Home, Home), case: &Case) -> Result<()> {
    let (clear, sealed) = (homes.0.keyfob(case), homes.1.keyfob(case));
    let times = medians(&[clear.clone(), sealed.clone()], place.rounds(2000))?;
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
