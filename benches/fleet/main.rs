//! What a fleet of machines does to its provider: requests per second over time, for the ways there are to renew a token
//! early and to try again after a failure. Pure computation; see `simulation`.
//!
//! ```text
//! cargo bench --bench fleet
//! ```

mod simulation;

use simulation::{AT_ONCE, HORIZON, KEYFOB, LIFETIME, MACHINES, Outcome, Pauses, Policy, Shedding, USUAL, run};

/// What was weighed. The spread is how much earlier than 5 minutes before its end a token may be renewed; pauses double
/// from the first to the longest, "without" when the old token has ended.
const POLICIES: &[Policy] = &[
    AT_ONCE,
    Policy { name: "spread 5 min", spread: 300, ..AT_ONCE },
    Policy { name: "spread 10 min", spread: 600, ..AT_ONCE },
    Policy { name: "spread 15 min", spread: 900, ..AT_ONCE },
    Policy { name: "spread 30 min", spread: 1800, ..AT_ONCE },
    Policy { name: "no spread, keyfob's pauses", spread: 0, ..KEYFOB },
    Policy { name: "spread 5 min, keyfob's pauses", spread: 300, ..KEYFOB },
    KEYFOB,
    Policy { name: "spread 15 min, keyfob's pauses", spread: 900, ..KEYFOB },
    Policy {
        name: "spread 10 min, pauses 10 s to 2 min, 1 s to 10 s without",
        pauses: Pauses::Doubling([10, 120], [1, 10]),
        ..KEYFOB
    },
    Policy {
        name: "spread 10 min, pauses 30 s to 5 min, 1 s to 30 s without",
        pauses: Pauses::Doubling([30, 300], [1, 30]),
        ..KEYFOB
    },
    Policy {
        name: "spread 10 min, pauses 30 s to 5 min, 2 s to 60 s without",
        pauses: Pauses::Doubling([30, 300], [2, 60]),
        ..KEYFOB
    },
];

const PROVIDERS: &[Shedding] = &[
    Shedding { name: "429 with `Retry-After: 30` above 200/s", retry_after: Some(30), ..USUAL },
    USUAL,
    Shedding { name: "429 above 100/s", capacity: 100, ..USUAL },
    Shedding {
        name: "503 for all from 10 min before the end to 5 min before, 429 above 200/s",
        outage: Some((3000, 3300)),
        ..USUAL
    },
    Shedding {
        name: "503 for all from 5 min before the end to 5 min after, 429 above 200/s",
        outage: Some((3300, 3900)),
        ..USUAL
    },
    Shedding {
        name: "503 for all from 10 min before the end to 20 min after, 429 above 200/s",
        outage: Some((3000, 4800)),
        ..USUAL
    },
];

fn main() {
    let hours = HORIZON / 3600;
    println!(
        "{MACHINES} machines whose tokens of {LIFETIME} s all end at once, and callers every 2 to 30 s, for {hours} h."
    );
    println!("The bars are the busiest second of every five minutes, each twice the one before; the lowest is 25/s.");
    for provider in PROVIDERS {
        println!("\n{}\n", provider.name);
        println!(
            "| policy | requests/s, mean | peak | over time | shed | calls failed while it served (machines) | while it did not |"
        );
        println!("|---|---|---|---|---|---|---|");
        for policy in POLICIES {
            let outcome = run(policy, provider);
            let Outcome { shed, failed, machines, failed_in_outage, .. } = outcome;
            let (mean, peak, picture) = (outcome.mean(), outcome.peak(), picture(&outcome));
            let name = policy.name;
            println!(
                "| {name} | {mean:.0} | {peak} | `{picture}` | {shed} | {failed} ({machines}) | {failed_in_outage} |"
            );
        }
    }
}

/// The load as a line of bars.
fn picture(outcome: &Outcome) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let busiest = outcome.requests.chunks(300).map(|seconds| seconds.iter().copied().max().unwrap_or_default());
    let bar = |peak: u32| BARS.iter().zip(0..).find(|(_, step)| peak <= 25 << step).map_or('█', |(bar, _)| *bar);
    busiest.map(|peak| if peak == 0 { '·' } else { bar(peak) }).collect()
}
