//! The fleet's row; `cargo bench --bench fleet` shows all that was weighed.

#[path = "../fleet/simulation.rs"]
mod simulation;

use anyhow::Result;
use simulation::{AT_ONCE, KEYFOB, MACHINES, USUAL, run};

use super::Place;
use super::table::{Budget, Table};

#[expect(clippy::unnecessary_wraps, reason = "a part, as the others")]
pub(crate) fn measure(_: &Place, table: &mut Table) -> Result<()> {
    let (keyfob, at_once) = (run(&KEYFOB, &USUAL), run(&AT_ONCE, &USUAL));
    let what = format!("{MACHINES} machines, one moment of expiry: busiest second ÷ mean");
    let from = format!(
        "{}/s, {} failed calls; without spread and pauses {}/s, {}; the provider sends {}",
        keyfob.peak(),
        keyfob.failed,
        at_once.peak(),
        at_once.failed,
        USUAL.name
    );
    table.figure(&what, f64::from(keyfob.peak()) / keyfob.mean(), "×", &from, Budget::None);
    Ok(())
}
