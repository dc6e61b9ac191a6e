//! A hundred thousand machines whose tokens end at the same moment, and a provider that can serve so many requests a
//! second and sheds the rest.
//!
//! Each machine has callers that ask for a token every few seconds, for hours. The time that is simulated goes by in
//! whole seconds; what is random comes from a generator with a fixed seed, so every run says the same.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive numbers far below 2^32"
)]

use keyfob::backoff::Backoff;

/// Machines.
pub(crate) const MACHINES: usize = 100_000;
/// How long a token lives, in seconds.
pub(crate) const LIFETIME: u32 = 3600;
/// How long the simulation goes on, in seconds: the moment at which all tokens end, and the one after it.
pub(crate) const HORIZON: u32 = 3 * LIFETIME;
/// A token is renewed when it has this left at the latest, in seconds.
const MIN_LIFE: u32 = 300;

/// What the provider does to requests it cannot serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shedding {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Requests that it serves in one second.
    pub(crate) capacity: u32,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u32>,
    /// From when to when it serves nobody at all, in seconds.
    pub(crate) outage: Option<(u32, u32)>,
}

/// Seven times what an even load would be, and no `Retry-After`.
pub(crate) const USUAL: Shedding = Shedding { name: "429 above 200/s", capacity: 200, retry_after: None, outage: None };

/// When a client asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The early refresh comes at most so many seconds before its latest moment; how many is the token's own number.
    pub(crate) spread: u32,
    /// How long it asks nothing after a failure.
    pub(crate) pauses: Pauses,
}

/// How long a client asks nothing after a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pauses {
    /// No pause: every call asks.
    None,
    /// keyfob's own.
    Keyfob,
    /// After each failure twice as long, in seconds: the first and the longest while a token lives, and without one.
    Doubling([u32; 2], [u32; 2]),
}

/// A fixed moment for the early refresh, and another try with every call.
pub(crate) const AT_ONCE: Policy =
    Policy { name: "5 min before the end, again with every call", spread: 0, pauses: Pauses::None };

/// What keyfob does: up to a quarter of the token's life, and the pauses of `keyfob::backoff`.
pub(crate) const KEYFOB: Policy =
    Policy { name: "keyfob: spread 10 min, its pauses", spread: LIFETIME / 4 - MIN_LIFE, pauses: Pauses::Keyfob };

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Requests in each second.
    pub(crate) requests: Vec<u32>,
    /// Requests that were shed.
    pub(crate) shed: u64,
    /// Calls that got no token while the provider was in service.
    pub(crate) failed: u64,
    /// The same while it was not.
    pub(crate) failed_in_outage: u64,
    /// Machines that had a call fail while the provider was in service.
    pub(crate) machines: usize,
}

impl Outcome {
    /// The most requests in one second.
    pub(crate) fn peak(&self) -> u32 {
        self.requests.iter().copied().max().unwrap_or_default()
    }

    /// Requests per second, over the time in which there were any.
    pub(crate) fn mean(&self) -> f64 {
        let first = self.requests.iter().position(|count| *count > 0).unwrap_or_default();
        let sum: u64 = self.requests.iter().map(|count| u64::from(*count)).sum();
        sum as f64 / (self.requests.len() - first).max(1) as f64
    }
}

/// A machine and its one session.
struct Machine {
    /// Seconds between two calls.
    period: u32,
    /// The moment of one of them.
    phase: u32,
    /// The token's own number: where in the spread its refresh lies, in 65536ths.
    place: u32,
    /// When its token ends.
    end: u32,
    /// Failed refreshes since the last good one.
    failures: u32,
    /// No request before this while the token lives, and without one.
    not_before: [u32; 2],
    /// It has had a call fail.
    failed: bool,
}

impl Machine {
    /// Its first call at `time` or later.
    fn call(&self, time: u32) -> u32 {
        let since = time.saturating_sub(self.phase);
        self.phase + since.div_ceil(self.period) * self.period
    }

    /// When it begins to renew the token it has.
    fn due(&self, policy: &Policy) -> u32 {
        self.end - MIN_LIFE - ((policy.spread * self.place) >> 16)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number from 0 to 1.
    fn chance(&mut self) -> f64 {
        f64::from(self.below(1 << 16)) / f64::from(1 << 16)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((((z ^ (z >> 31)) >> 32) * u64::from(bound)) >> 32).unwrap_or_default()
    }
}

/// Lets the time go by.
pub(crate) fn run(policy: &Policy, shedding: &Shedding) -> Outcome {
    let mut random = Random(7);
    let mut machines: Vec<Machine> = (0..MACHINES)
        .map(|_| {
            let period = 2 + random.below(29);
            let (phase, place) = (random.below(period), random.below(1 << 16));
            Machine { period, phase, place, end: LIFETIME, failures: 0, not_before: [0; 2], failed: false }
        })
        .collect();
    let mut calls: Vec<Vec<u32>> = vec![Vec::new(); HORIZON as usize];
    let schedule = |calls: &mut Vec<Vec<u32>>, number: u32, time: u32| {
        if let Some(second) = calls.get_mut(time as usize) {
            second.push(number);
        }
    };
    for (number, machine) in (0..).zip(&machines) {
        schedule(&mut calls, number, machine.call(machine.due(policy)));
    }
    let none = Outcome { requests: Vec::new(), shed: 0, failed: 0, failed_in_outage: 0, machines: 0 };
    let mut outcome = Outcome { requests: vec![0; HORIZON as usize], ..none };
    for now in 0..HORIZON {
        let in_outage = shedding.outage.is_some_and(|(from, to)| (from..to).contains(&now));
        let mut served = 0;
        for number in std::mem::take(&mut calls[now as usize]) {
            let machine = &mut machines[number as usize];
            let dead = machine.end <= now;
            if now >= machine.not_before[usize::from(dead)] {
                outcome.requests[now as usize] += 1;
                if !in_outage && served < shedding.capacity {
                    served += 1;
                    machine.end = now + LIFETIME;
                    machine.failures = 0;
                    machine.place = random.below(1 << 16);
                    schedule(&mut calls, number, machine.call(machine.due(policy)));
                    continue;
                }
                outcome.shed += 1;
                machine.failures += 1;
                let chance = random.chance();
                machine.not_before = pauses(policy, shedding, machine.failures, chance).map(|pause| now + pause);
            }
            if dead {
                let failed = if in_outage { &mut outcome.failed_in_outage } else { &mut outcome.failed };
                *failed += 1;
                machine.failed |= !in_outage;
            }
            // While the old token lives nothing happens until the pause is over; without one every call counts.
            let next = if dead { now + 1 } else { machine.not_before[0].min(machine.end).max(now + 1) };
            schedule(&mut calls, number, machine.call(next));
        }
    }
    outcome.machines = machines.iter().filter(|machine| machine.failed).count();
    outcome
}

/// How long a machine that has just been turned away asks nothing, in seconds: while its token lives, and without one.
fn pauses(policy: &Policy, shedding: &Shedding, failures: u32, chance: f64) -> [u32; 2] {
    let seconds = |ms: u64| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX);
    match policy.pauses {
        Pauses::None => [0, 0],
        Pauses::Keyfob => {
            let pause = Backoff::after(failures, shedding.retry_after.map(u64::from), chance);
            [pause.with_token_ms, pause.without_ms].map(seconds)
        }
        Pauses::Doubling(with, without) => [with, without].map(|[first, longest]| {
            let doubled = first.saturating_mul(1 << (failures - 1).min(16)).min(longest);
            let asked = shedding.retry_after.map_or(0.0, |told| f64::from(told) * (1.0 + chance / 2.0));
            seconds(((f64::from(doubled) * (0.5 + chance)).max(asked) * 1000.0) as u64)
        }),
    }
}
