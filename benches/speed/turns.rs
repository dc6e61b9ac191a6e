//! Whole processes, timed in turn: what slows the machine for a moment slows all of them.

use std::time::Duration;

use anyhow::Result;

use crate::common::run::Run;

/// What one contestant needs before each of its runs, outside the time that is taken.
pub(crate) type Prepare<'a> = &'a dyn Fn() -> Result<()>;

/// The median time of each program over so many rounds, in which every one runs once.
pub(crate) fn medians(runs: &[Run], rounds: usize) -> Result<Vec<Duration>> {
    let nothing: Prepare<'_> = &|| Ok(());
    medians_prepared(&runs.iter().map(|run| (run, nothing)).collect::<Vec<_>>(), rounds)
}

/// The same, each with something to be done before every run.
pub(crate) fn medians_prepared(runs: &[(&Run, Prepare<'_>)], rounds: usize) -> Result<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); runs.len()];
    // The first rounds warm the caches of the file system and the processor.
    for round in 0..rounds + WARM_UP {
        for ((run, prepare), times) in runs.iter().zip(&mut times) {
            prepare()?;
            let time = run.time()?;
            if round >= WARM_UP {
                times.push(time);
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

const WARM_UP: usize = 2;

/// The middle one.
pub(crate) fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// `a` as a multiple of `b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Two times for the eye: microseconds below ten milliseconds.
pub(crate) fn against(a: Duration, b: Duration) -> String {
    format!("{} against {}", readable(a), readable(b))
}

/// A time for the eye.
pub(crate) fn readable(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
