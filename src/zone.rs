//! Local time, for the callers whose protocol has it: the one file that describes this machine's zone is read, and of it
//! only what the moment takes (RFC 9636, "TZif"). jiff's own way is to read the whole of it into tables, and to list the
//! whole database before, which would be a quarter of a cached answer.

use crate::clock::Timestamp;
use jiff::tz::{Offset, TimeZone};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest time zone file read, in bytes; the largest there is has some thousand.
const LARGEST: u64 = 1 << 16;

/// `2026-11-22 22:30:56`: a time in this machine's own zone, without a word about which. `None` past the year 9999.
pub fn local(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_second(time.0).ok()?;
    Some(offset(time).to_datetime(time).to_string().replace('T', " "))
}

/// How far the local time is ahead of UTC, in the zone that the C library would find: what `TZ` names (a file below
/// `TZDIR`, or a rule), else `/etc/localtime`, else UTC.
fn offset(time: jiff::Timestamp) -> Offset {
    let named = std::env::var("TZ").ok();
    let named = named.as_deref().map(|name| name.strip_prefix(':').unwrap_or(name));
    let file = match named {
        None => PathBuf::from("/etc/localtime"),
        Some("") => return Offset::UTC,
        Some(name) => {
            let folder = std::env::var_os("TZDIR").filter(|folder| !folder.is_empty());
            Path::new(&folder.unwrap_or_else(|| "/usr/share/zoneinfo".into())).join(name)
        }
    };
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    let by_file = read.ok().and_then(|_| in_file(&bytes, time));
    by_file.or_else(|| by_rule(named?, time)).unwrap_or(Offset::UTC)
}

/// By a rule as POSIX writes it, such as `PST8PDT,M3.2.0,M11.1.0`.
fn by_rule(rule: &str, time: jiff::Timestamp) -> Option<Offset> {
    Some(TimeZone::posix(rule).ok()?.to_offset(time))
}

/// By the bytes of a time zone file; `None` if they are none.
pub fn in_file(bytes: &[u8], time: jiff::Timestamp) -> Option<Offset> {
    let old = Block::read(bytes, 4)?;
    if old.version == 0 {
        return old.at(time).or_else(|| old.last());
    }
    // The same again with times of 64 bits, and a rule for what comes after the last of them.
    let new = bytes.get(old.end..)?;
    let block = Block::read(new, 8)?;
    let rule = std::str::from_utf8(new.get(block.end..)?).ok()?.trim_matches('\n');
    block.at(time).or_else(|| if rule.is_empty() { block.last() } else { by_rule(rule, time) })
}

/// A header and its data (RFC 9636, sections 3.1 and 3.2).
struct Block<'b> {
    version: u8,
    /// Bytes of a time.
    width: usize,
    /// When the offset changes, in order.
    times: &'b [u8],
    /// For each of them, the number of the type from then on.
    numbers: &'b [u8],
    /// Types, of six bytes: the first four are the offset.
    types: &'b [u8],
    /// Where the next block begins.
    end: usize,
}

impl<'b> Block<'b> {
    fn read(bytes: &'b [u8], width: usize) -> Option<Self> {
        const HEADER: usize = 44;
        let header = bytes.get(..HEADER)?;
        let count = |at: usize| usize::try_from(u32::from_be_bytes(*header.get(at..)?.first_chunk()?)).ok();
        if !header.starts_with(b"TZif") {
            return None;
        }
        let (in_utc, standard, leaps) = (count(20)?, count(24)?, count(28)?);
        let (times, types, letters) = (count(32)?, count(36)?, count(40)?);
        // No file is nearly as large as numbers that would not fit.
        let mut at = HEADER;
        let mut next = |count: usize, size: usize| {
            let start = at;
            at = count.checked_mul(size)?.checked_add(start)?;
            bytes.get(start..at)
        };
        let (times, numbers, types) = (next(times, width)?, next(times, 1)?, next(types, 6)?);
        next(letters, 1)?;
        next(leaps, width + 4)?;
        next(standard, 1)?;
        next(in_utc, 1)?;
        Some(Self { version: header[4], width, times, numbers, types, end: at })
    }

    /// The offset at `time`; `None` from the last change on.
    fn at(&self, time: jiff::Timestamp) -> Option<Offset> {
        let number = |bytes: &[u8]| {
            let sign = if bytes[0] < 128 { 0 } else { -1 };
            bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
        };
        let (mut low, mut high) = (0, self.numbers.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let change = self.times.get(middle * self.width..(middle + 1) * self.width)?;
            if number(change) <= time.as_second() { low = middle + 1 } else { high = middle }
        }
        match low {
            _ if low == self.numbers.len() => None,
            0 => self.kind(0),
            _ => self.kind(self.numbers[low - 1]),
        }
    }

    /// The offset from the last change on.
    fn last(&self) -> Option<Offset> {
        self.kind(self.numbers.last().copied().unwrap_or(0))
    }

    fn kind(&self, number: u8) -> Option<Offset> {
        let kind = self.types.get(usize::from(number) * 6..)?;
        Offset::from_seconds(i32::from_be_bytes(*kind.first_chunk()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zones() -> Vec<(String, Vec<u8>)> {
        let names = ["Asia/Seoul", "Asia/Kolkata", "America/Los_Angeles", "Africa/Casablanca", "Europe/Dublin", "UTC"];
        let read = |name: &str| Some((name.to_owned(), std::fs::read(format!("/usr/share/zoneinfo/{name}")).ok()?));
        names.into_iter().filter_map(read).collect()
    }

    #[test]
    fn every_moment_has_the_offset_that_the_whole_file_says() {
        for (name, bytes) in zones() {
            let whole = TimeZone::tzif(&name, &bytes).unwrap();
            // Every four days and an odd bit from 1900 to 2150, so that every season and every change is met.
            for second in (-2_208_988_800_i64..5_680_281_600).step_by(345_678) {
                let time = jiff::Timestamp::from_second(second).unwrap();
                assert_eq!(in_file(&bytes, time), Some(whole.to_offset(time)), "{name} at {time}");
            }
            for following in whole.following(jiff::Timestamp::from_second(0).unwrap()).take(300) {
                let change = following.timestamp();
                for time in [change, change - jiff::SignedDuration::from_secs(1)] {
                    assert_eq!(in_file(&bytes, time), Some(whole.to_offset(time)), "{name} at {time}");
                }
            }
        }
    }

    #[test]
    fn an_old_file_says_it_in_32_bits() {
        let mut bytes = b"TZif\0".to_vec();
        bytes.extend([0; 15]);
        for count in [0_u32, 0, 0, 1, 2, 0] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(1000_i32.to_be_bytes());
        bytes.push(1);
        for offset in [-3600_i32, 7200] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        let at = |second| in_file(&bytes, jiff::Timestamp::from_second(second).unwrap()).map(Offset::seconds);
        assert_eq!(
            (at(-5000), at(999), at(1000), at(i64::from(u32::MAX))),
            (Some(-3600), Some(-3600), Some(7200), Some(7200))
        );
    }

    #[test]
    fn rules_are_read_too() {
        let time = jiff::Timestamp::from_second(1_899_367_200).unwrap();
        assert_eq!(by_rule("KST-9", time).unwrap().seconds(), 9 * 3600);
        assert_eq!(by_rule("PST8PDT,M3.2.0,M11.1.0", time).unwrap().seconds(), -7 * 3600);
        assert_eq!(by_rule("nonsense", time), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_trouble(
            cut in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            second in -1_000_000_000_i64..5_000_000_000,
        ) {
            for (_, mut bytes) in zones() {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                let _ = in_file(&bytes[..cut.index(bytes.len())], jiff::Timestamp::from_second(second).unwrap());
                let _ = in_file(&bytes, jiff::Timestamp::from_second(second).unwrap());
            }
        }
    }
}
