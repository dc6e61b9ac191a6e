//! The fleet's row; `cargo bench --bench fleet` shows all that was weighed.

#[path = "../fleet/simulation.rs"]
mod simulation;

use anyhow::Result;
use simulation::{AT_ONCE, FLAT, MACHINES, USUAL, run};

use super::Place;
use super::table::{Budget, Table};

#[expect(clippy::unnecessary_wraps, reason = "a part, as the others")]
pub(crate) fn measure(_: &Place, table: &mut Table) -> Result<()> {
    let (flat, at_once) = (run(&FLAT, &USUAL), run(&AT_ONCE, &USUAL));
    let what = format!("{MACHINES} machines, one moment of expiry: busiest second ÷ mean");
    let from = format!(
        "{}/s and {} failed calls; {}/s and {} without spread and pauses; {}: {}",
        flat.peak(),
        flat.failed,
        at_once.peak(),
        at_once.failed,
        USUAL.name,
        FLAT.name
    );
    table.figure(&what, f64::from(flat.peak()) / flat.mean(), "×", &from, Budget::None);
    Ok(())
}
