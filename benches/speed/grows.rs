//! What a cached answer costs when there is much that it does not need.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Place;
use super::table::{Budget, Table};
use super::turns::{against, medians, ratio};
use crate::common::callgrind;
use crate::common::home::{CASES, CONFIG_TEXT, Reads};
use crate::common::run::Run;

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let token = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    let plain = place.home.keyfob(token);
    let configured = |name: &str, text: String| -> Result<Run> {
        fs::write(place.home.path().join(name), text)?;
        Ok(plain.clone().env("KEYFOB_CONFIG", name))
    };
    let hosts = |count: usize| {
        let rules = (0..count).fold(String::new(), |mut rules, n| {
            let _ = writeln!(rules, "\"https://git-{n}.example.com\" = \"lab\"");
            rules
        });
        CONFIG_TEXT.replace("\n[az]", &format!("{rules}\n[az]"))
    };
    let profiles = (0..998).fold(String::new(), |mut text, n| {
        let _ = write!(text, "\n[profile.m-{n}]\nissuer = \"https://id.example.com/realms/{n}\"\nclient-id = \"c\"\n");
        text
    });
    let runs = [
        plain.clone(),
        configured("hosts-1000.toml", hosts(1_000))?,
        configured("hosts-20000.toml", hosts(20_000))?,
        configured("profiles-1000.toml", format!("{CONFIG_TEXT}{profiles}"))?,
        many_tokens(place, &plain)?,
    ];
    let times = medians(&runs, place.rounds(100))?;
    for (what, a, b, budget) in [
        ("1,000 lines of `[hosts]` / one", 1, 0, 1.8),
        ("20,000 lines of `[hosts]` / 1,000", 2, 1, 20.0),
        ("1,000 profiles / two", 3, 0, 4.0),
        ("500 tokens in the session / two", 4, 0, 1.5),
    ] {
        let what = format!("wall: `keyfob token` with {what}");
        table.figure(&what, ratio(times[a], times[b]), "×", &against(times[a], times[b]), Budget::AtMost(budget));
    }
    exec_info(place, table)
}

/// The same, from a session that holds five hundred tokens.
fn many_tokens(place: &Place, plain: &Run) -> Result<Run> {
    let file = place.home.path().join(place.home.file(Reads::Session("lab")));
    let mut session: Value = serde_json::from_slice(&fs::read(&file)?)?;
    more_tokens(&mut session, 500);
    let folder = place.home.path().join("cache-500");
    DirBuilder::new().mode(0o700).create(&folder)?;
    let copy = folder.join(file.file_name().context("a session's file")?);
    fs::copy(&file, &copy)?;
    // Its mode is as it was.
    fs::write(copy, session.to_string())?;
    Ok(plain.clone().env("KEYFOB_CACHE_DIR", "cache-500"))
}

/// Adds tokens of other scopes until there are so many.
pub(crate) fn more_tokens(session: &mut Value, count: usize) {
    let Some(tokens) = session["tokens"].as_array_mut() else { return };
    for number in tokens.len()..count {
        let mut token = tokens[0].clone();
        token["key"]["scopes"] = json!([format!("scope-{number}")]);
        tokens.push(token);
    }
}

/// A cluster's certificates come with kubectl's request, and keyfob does not need them.
fn exec_info(place: &Place, table: &mut Table) -> Result<()> {
    let what = "instructions: `keyfob kubernetes` with 120 kB from kubectl / with what it says without its cluster";
    if !callgrind::is_here() {
        table.missing(what, "valgrind is not here");
        return Ok(());
    }
    let small = place.home.keyfob(&CASES[0]);
    let (name, value) = CASES[0].variables[0];
    let cluster = format!(
        "\"spec\":{{\"cluster\":{{\"server\":\"https://k8s.example.com\",\"certificate-authority-data\":\"{}\"}},",
        "LS0t".repeat(30_000)
    );
    let large = small.clone().env(name, value.replacen("\"spec\":{", &cluster, 1));
    let counts = (callgrind::instructions(&large)?, callgrind::instructions(&small)?);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let ratio = counts.0 as f64 / counts.1 as f64;
    table.figure(what, ratio, "×", &format!("{} against {}", counts.0, counts.1), Budget::AtMost(1.5));
    Ok(())
}
