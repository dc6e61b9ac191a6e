//! What a cached answer asks of the kernel. That it is none of what is forbidden is a test (`tests/flows/cached_path.rs`);
//! here is how much it is, beside the least that a program can ask.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::Place;
use super::table::{Budget, Table};
use crate::common::home::CASES;
use crate::common::programs::{on_path, run};
use crate::common::run::Run;

/// How often each system call is made.
pub(crate) type Calls = BTreeMap<String, usize>;

/// The system calls of a program, by name; `None` without strace.
pub(crate) fn calls(place: &Place, watched: &Run) -> Result<Option<Calls>> {
    let Some(strace) = on_path("strace") else { return Ok(None) };
    let log = place.folder.join("strace.log");
    let words = ["-f".into(), "-e".into(), "signal=none".into(), "-o".into(), log.clone().into()];
    run(&mut watched.under(strace, &words)?)?;
    let mut calls = Calls::new();
    for line in fs::read_to_string(&log)?.lines() {
        // `1234  openat(AT_FDCWD, …`
        let name = line.split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('(')).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    fs::remove_file(log)?;
    Ok(Some(calls))
}

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let hello = Run::new(&place.hello, [""; 0]).within(place.home.path());
    let Some(hello) = calls(place, &hello)? else {
        table.missing("system calls", "strace is not here");
        return Ok(());
    };
    let hello: usize = hello.values().sum();
    for case in CASES {
        let calls = calls(place, &place.home.keyfob(case))?.unwrap_or_default();
        let total: usize = calls.values().sum();
        let count = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<usize>();
        let from = format!(
            "{} open, {} read, {} write, {} map memory; a Rust program that prints one line: {hello}",
            count(&["open", "openat", "openat2"]),
            count(&["read", "pread64", "readv"]),
            count(&["write", "writev", "pwrite64"]),
            count(&["mmap", "munmap", "mprotect", "brk", "mremap"]),
        );
        let what = format!("system calls: `{}`", case.name);
        #[expect(clippy::cast_precision_loss, reason = "some dozens")]
        table.figure(&what, total as f64, "", &from, Budget::None);
    }
    Ok(())
}
