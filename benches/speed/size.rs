//! How large the program is, and how much memory it takes.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keyfob_test_support::Keyfob;
use keyfob_test_support::provider::{Auto, Options, Provider};

use super::table::{Budget, Table};
use super::{Place, profile};
use crate::common::home::CASES;

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let size = fs::metadata(&place.keyfob)?.len();
    table.figure("size of the release binary", megabytes(size), "MB", "", Budget::AtMost(4.0));
    match &place.fixed {
        Some(program) => {
            let size = megabytes(fs::metadata(program)?.len());
            table.figure("size of the static program", size, "MB", "", Budget::AtMost(4.5));
        }
        None => table.missing("size of the static program", "`.ci/static` has not built it"),
    }

    for case in CASES {
        let watched = &mut place.home.keyfob(case).under(&place.peak, &[])?;
        let what = format!("peak memory: `{}`", case.name);
        table.figure(&what, megabytes(used(watched)?.0), "MB", "", Budget::AtMost(5.0));
    }

    // With TLS, as it would be: the trust store is a good part of it.
    let idp = Provider::start(Options { tls: true, ..Options::default() });
    idp.auto(Auto::Approve);
    let keyfob = Keyfob::new(&place.keyfob).config(&profile(&idp, idp.ca_file()));
    let mut sign_in = keyfob.other(&place.peak);
    sign_in.arg(&place.keyfob).arg("login").env("KEYFOB_PROMPT", "always");
    let peak = megabytes(used(&mut sign_in)?.0);
    ensure!(idp.count("token:device_code") > 0, "nobody signed in");
    table.figure("peak memory: `keyfob login`, over TLS", peak, "MB", "", Budget::AtMost(16.0));
    Ok(())
}

/// The most memory that a program had, in bytes, and the time it computed, in microseconds. The command runs `peak`.
pub(crate) fn used(command: &mut Command) -> Result<(u64, u64)> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    // Last, since the program may have said something before.
    let words = said.lines().rev().find_map(|line| line.strip_prefix("peak "));
    let (kibibytes, micros) = words.and_then(|words| words.split_once(' ')).context("peak said nothing")?;
    Ok((kibibytes.parse::<u64>()? * 1024, micros.trim().parse()?))
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    bytes / 1e6
}
