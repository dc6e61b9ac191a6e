//! Time: the wall clock for what is recorded or compared with servers, and the time since boot for waiting.

use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in whole seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current time, by the wall clock.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs().cast_signed()))
    }

    /// This time plus `seconds`, saturating.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }

    /// Seconds from `earlier` to this time; 0 if this time is not later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// RFC 3339 in UTC with upper-case `T` and `Z`, e.g. `2026-11-22T22:00:00Z`; `None` after the year 9999.
    pub fn rfc3339(self) -> Option<String> {
        jiff::Timestamp::from_second(self.0).ok().map(|t| t.to_string())
    }
}

/// How far a server's clock is ahead of this machine's, if the server says. Tokens expire by the server's clock, but
/// keyfob and its callers use this machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew(Option<i64>);

impl Skew {
    /// A difference of up to this many seconds may be caused by the network or by rounding to whole seconds.
    const NONE: i64 = 60;

    /// The skew if the server's clock says `there` when this machine's says `here`.
    pub fn measured(there: Timestamp, here: Timestamp) -> Self {
        let ahead = there.0.saturating_sub(here.0);
        Self(Some(if (-Self::NONE..=Self::NONE).contains(&ahead) { 0 } else { ahead }))
    }

    /// By how many seconds the server's clock is ahead, negative if it is behind; `None` if the server has not said.
    pub fn seconds(self) -> Option<i64> {
        self.0
    }

    /// The server's time when this machine's clock says `here`.
    pub fn there(self, here: Timestamp) -> Timestamp {
        Timestamp(here.0.saturating_add(self.0.unwrap_or(0)))
    }

    /// This machine's time when the server's clock says `there`.
    pub fn here(self, there: Timestamp) -> Timestamp {
        Timestamp(there.0.saturating_sub(self.0.unwrap_or(0)))
    }
}

/// The current time by the wall clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The time since boot, including suspended time if the system can tell (Linux). Deadlines use it, because the wall
/// clock may be set, and [`std::time::Instant`] stops while a laptop sleeps (R27).
pub fn boottime() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    Duration::try_from(rustix::time::clock_gettime(CLOCK)).unwrap_or_default()
}

/// The time left for display: `12:34`, or `1:02:03` from an hour on.
pub fn minutes(left: Duration) -> String {
    let seconds = left.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A rough duration for people: `59 min`, `1 h 59 min`, `2 d 3 h`.
pub fn roughly(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (large, small) = match minutes {
        0 => return "less than a minute".into(),
        1..60 => return format!("{minutes} min"),
        60..1440 => ((minutes / 60, "h"), (minutes % 60, "min")),
        _ => ((minutes / 1440, "d"), (minutes / 60 % 24, "h")),
    };
    let whole = format!("{} {}", large.0, large.1);
    if small.0 == 0 { whole } else { format!("{whole} {} {}", small.0, small.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_what_kubernetes_takes() {
        assert_eq!(Timestamp(1_795_384_800).rfc3339().unwrap(), "2026-11-22T22:00:00Z");
        assert_eq!(Timestamp(i64::MAX).rfc3339(), None);
    }

    #[test]
    fn time_is_said_in_two_units_at_most() {
        for (minutes, words) in [
            (0, "less than a minute"),
            (1, "1 min"),
            (59, "59 min"),
            (60, "1 h"),
            (119, "1 h 59 min"),
            (1439, "23 h 59 min"),
            (1440, "1 d"),
            (2879, "1 d 23 h"),
        ] {
            assert_eq!(roughly(Duration::from_secs(minutes * 60 + 59)), words);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp(1).plus(u64::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(1).since(Timestamp(5)), 0);
        assert_eq!(Timestamp(i64::MAX).since(Timestamp(i64::MIN)), i64::MAX.cast_unsigned());
    }

    #[test]
    fn a_servers_clock_counts_from_a_minute_on() {
        let skew = |there| Skew::measured(Timestamp(there), Timestamp(1000));
        assert_eq!([skew(940), skew(1060), skew(939), skew(1061)].map(Skew::seconds), [0, 0, -61, 61].map(Some));
        assert_eq!(
            (skew(8200).there(Timestamp(1005)), skew(8200).here(Timestamp(8205))),
            (Timestamp(8205), Timestamp(1005))
        );
        assert_eq!((Skew::default().seconds(), Skew::default().there(Timestamp(7))), (None, Timestamp(7)));
        assert_eq!(skew(i64::MAX).there(Timestamp(i64::MAX)), Timestamp(i64::MAX));
    }

    #[test]
    fn time_left_reads_like_a_clock() {
        assert_eq!(minutes(Duration::from_secs(899)), "14:59");
        assert_eq!(minutes(Duration::from_secs(3723)), "1:02:03");
    }
}
