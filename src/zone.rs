//! Local time, for callers whose protocol needs it. Reads only the file of this machine's time zone; jiff's own
//! function for the system's zone lists the whole database first.

use crate::clock::Timestamp;
use jiff::tz::TimeZone;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest time zone file, in bytes; real ones have a few thousand.
const LARGEST: u64 = 1 << 16;

/// A time in this machine's zone, without the zone's name: `2026-11-22 22:30:56`; `None` after the year 9999.
pub fn local(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_second(time.0).ok()?;
    Some(own().to_datetime(time).to_string().replace('T', " "))
}

/// Parses such a local time, with or without a fraction; `None` if it is invalid. In an hour that occurs twice, the
/// first is meant.
pub fn moment(local: &str) -> Option<Timestamp> {
    let time: jiff::civil::DateTime = local.replace(' ', "T").parse().ok()?;
    Some(Timestamp(own().to_timestamp(time).ok()?.as_second()))
}

/// This machine's time zone.
fn own() -> TimeZone {
    let folder = std::env::var_os("TZDIR").filter(|folder| !folder.is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("/usr/share/zoneinfo"), PathBuf::from);
    zone(std::env::var("TZ").ok().as_deref(), &folder)
}

/// The zone that the C library would use: from `TZ` (a file below `folder`, or a POSIX rule), otherwise
/// `/etc/localtime`, otherwise UTC.
fn zone(named: Option<&str>, folder: &Path) -> TimeZone {
    let named = named.map(|name| name.strip_prefix(':').unwrap_or(name));
    let file = match named {
        None => PathBuf::from("/etc/localtime"),
        Some("") => return TimeZone::UTC,
        Some(name) => folder.join(name),
    };
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    let by_file = read.ok().and_then(|_| TimeZone::tzif("", &bytes).ok());
    by_file.or_else(|| TimeZone::posix(named?).ok()).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    /// A file of a zone that is two hours ahead of UTC from second 1000 on, and one hour behind before.
    fn file() -> Vec<u8> {
        let mut bytes = b"TZif\0".to_vec();
        bytes.extend([0; 15]);
        for count in [0_u32, 0, 0, 1, 2, 4] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(1000_i32.to_be_bytes());
        bytes.push(1);
        for offset in [-3600_i32, 7200] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(b"ABC\0");
        bytes
    }

    #[test]
    fn a_zone_is_a_file_or_a_rule_and_else_utc() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Here"), file()).unwrap();
        std::fs::write(folder.path().join("Broken"), "TZif").unwrap();
        let hour = |named, second| {
            let time = jiff::Timestamp::from_second(second).unwrap();
            zone(Some(named), folder.path()).to_datetime(time)
        };
        let whole = folder.path().join("Here");
        for named in ["Here", ":Here", whole.to_str().unwrap()] {
            assert_eq!(hour(named, 999), date(1969, 12, 31).at(23, 16, 39, 0), "{named}");
            assert_eq!(hour(named, 1000), date(1970, 1, 1).at(2, 16, 40, 0), "{named}");
        }
        assert_eq!(hour("KST-9", 0), date(1970, 1, 1).at(9, 0, 0, 0));
        assert_eq!(hour("PST8PDT,M3.2.0,M11.1.0", 1_899_367_200), date(2030, 3, 10).at(3, 0, 0, 0));
        for utc in ["", "nonsense", "Broken", "../none"] {
            assert_eq!(hour(utc, 0), date(1970, 1, 1).at(0, 0, 0, 0), "{utc}");
        }
    }

    #[test]
    fn local_time_is_said_without_its_zone() {
        let said = local(Timestamp(1_795_384_800)).unwrap();
        assert_eq!((said.len(), &said[..7], local(Timestamp(i64::MAX))), (19, "2026-11", None));
    }
}
