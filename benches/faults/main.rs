//! What fifty callers at once, sudden death and a provider in trouble do to keyfob, in five tables.
//!
//! ```text
//! cargo bench --bench faults [-- --callers 50 --kills 500 --seed NUMBER]
//! ```
//!
//! Everything happens on this machine, in temporary folders. The exit code is 1 if anything was not as promised: a second
//! prompt, a second refresh, a wrong answer, a lost one, a lost session.

#![expect(clippy::unwrap_used, reason = "what fails here is the bench")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod crowd;
mod ends;
mod gap;
mod kills;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    // `cargo test --all-targets` runs a bench without this word: to see whether it works at all.
    let whole = std::env::args().any(|argument| argument == "--bench");
    let callers = argument("--callers").unwrap_or(if whole { 50 } else { 5 });
    let kills = argument("--kills").unwrap_or(if whole { 500 } else { 12 });
    let seed = argument("--seed").unwrap_or_else(clock);
    let good = [
        crowd::table(usize::try_from(callers).unwrap()),
        kills_table("with sessions in clear", kills::CLEAR, usize::try_from(kills).unwrap(), seed),
        kills_table("with sealed sessions", kills::SEALED, usize::try_from(kills).unwrap(), seed),
        ends::table(if whole { 60 } else { 2 }),
        gap::table(if whole { 200 } else { 5 }),
    ];
    if good.iter().all(|good| *good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what sudden death costs; whether everything was as promised.
fn kills_table(what: &str, rows: kills::Rows, kills: usize, seed: u64) -> bool {
    println!("\n{kills} kills at random moments {what} (--seed {seed})\n");
    println!("                                            after the  request    answered,");
    println!("                                     kills  first byte in flight  not written   lost");
    let began = Instant::now();
    let rows = kills::run(rows, kills, seed);
    for kills::Row { name, kills, told, asked, answered, lost } in &rows {
        let good = verdict(lost.is_empty());
        println!("{name:<36}{kills:>6}{told:>12}{asked:>10}{answered:>13}{:>7}  {good}", lost.len());
        for what in lost {
            println!("    {what}");
        }
    }
    let killed: usize = rows.iter().map(|row| row.kills).sum();
    let good = killed == kills && rows.iter().all(|row| row.lost.is_empty());
    println!("{:<36}{killed:>6}{:>44}  {}", "in all", "", verdict(good));
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    good
}

/// The number after a word on the command line.
fn argument(word: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != word).skip(1);
    arguments.next().map(|number| number.parse().unwrap_or_else(|_| panic!("{word} takes a number, not {number}")))
}

/// A number that is another one every time.
fn clock() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// How a row of a table ends.
fn verdict(good: bool) -> &'static str {
    if good { "as promised" } else { "BROKEN" }
}
