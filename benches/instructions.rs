//! Counts the instructions of every cached answer, and holds them to the record beside this file.
//!
//! ```text
//! cargo bench --bench instructions                 counts, and compares
//! cargo bench --bench instructions -- --check      the same; more than 5 % above the record is a failure
//! cargo bench --bench instructions -- --record     writes the counts down: commit them with what changed them
//! cargo bench --bench instructions -- --order      writes down which functions run: the linker puts them side by side
//! ```

mod common;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use common::home::{CASES, Case, Home, TOOLS, grown};
use common::{callgrind, programs};

/// Growth that needs no new record, as a factor.
const TOLERANCE: f64 = 1.05;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

const UPDATE: &str = "cargo bench --bench instructions -- --record";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cached-first.ld");

const ORDER: &str = "cargo bench --bench instructions -- --order";

fn main() -> ExitCode {
    // cargo adds `--bench` when it runs one.
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => compare(false),
        ["--check"] => compare(true),
        ["--record"] => record(),
        ["--order"] => order(),
        _ => Err(anyhow::anyhow!("instructions [--check | --record | --order]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The counts of this machine, by case; the first is a Rust program that prints one line.
fn counted() -> Result<Vec<(String, u64)>> {
    ensure!(callgrind::is_here(), "valgrind is not here");
    let keyfob = programs::keyfob()?;
    let home = Home::new(&keyfob)?;
    let hello = programs::rust("hello", &programs::folder(&keyfob)?)?;
    fs::copy(hello, home.path().join("hello"))?;
    let hello = common::run::Run::new("./hello", [""; 0]).within(home.path());
    let mut counts = vec![("hello".to_owned(), callgrind::instructions(&hello)?)];
    for case in CASES.iter().chain(TOOLS) {
        counts.push((case.name.to_owned(), count(&home, case)?));
    }
    for grown in grown() {
        counts.push((grown.case.name.to_owned(), count(&Home::grown(&keyfob, &grown)?, &grown.case)?));
    }
    Ok(counts)
}

fn count(home: &Home, case: &Case) -> Result<u64> {
    let count = callgrind::instructions(&home.keyfob(case))?;
    // What does not repeat cannot be recorded.
    let again = callgrind::instructions(&home.keyfob(case))?;
    ensure!(again.abs_diff(count) * 200 < count, "{}: {count} instructions, then {again}", case.name);
    Ok(count)
}

fn compare(strict: bool) -> Result<()> {
    let recorded = Record::parse(&fs::read_to_string(RECORD).context(RECORD)?)?;
    let here = surroundings()?;
    let counts = counted()?;
    if recorded.surroundings != here {
        println!("the record was made with {}; this is {here}", recorded.surroundings);
    }
    let mut grown = Vec::new();
    for (name, count) in &counts {
        let Some((_, before)) = recorded.counts.iter().find(|(known, _)| known == name) else {
            grown.push(format!("{name} is not in the record"));
            println!("{count:>9}            {name}");
            continue;
        };
        let factor = ratio(*count, *before);
        println!("{count:>9}  {:+6.2} %  {name}", (factor - 1.0) * 100.0);
        if factor > TOLERANCE {
            grown.push(format!("{name} grew from {before} to {count} instructions"));
        }
        if factor < 1.0 / TOLERANCE {
            // What was won is kept only if it is written down.
            println!("           less than the record: {UPDATE}");
        }
    }
    for (name, _) in &recorded.counts {
        if !counts.iter().any(|(known, _)| known == name) {
            grown.push(format!("{name} is in the record, but is not counted any more"));
        }
    }
    if strict && !grown.is_empty() {
        bail!(
            "{}\nif that is the price of what this change brings, record it in the same commit: {UPDATE}",
            grown.join("\n")
        );
    }
    Ok(())
}

fn record() -> Result<()> {
    let record = Record { surroundings: surroundings()?, counts: counted()? };
    fs::write(RECORD, record.text())?;
    print!("{}", record.text());
    Ok(())
}

/// Writes the linker script by which the functions of cached answers lie side by side. Names of sections are those of the
/// symbols, less what is another with each compiler. Counts a program without such an order first: valgrind finds the names of
/// what lies in `.text` alone.
fn order() -> Result<()> {
    fs::write(SCRIPT, script(&BTreeSet::new()))?;
    let keyfob = programs::keyfob_with(&[("CARGO_PROFILE_RELEASE_STRIP", "none")])?;
    let home = Home::new(&keyfob)?;
    let mut functions = BTreeSet::new();
    for case in CASES.iter().chain(TOOLS) {
        callgrind::functions(&home.keyfob(case), &home.path().join("counted"), &mut functions)?;
    }
    #[cfg(target_os = "linux")]
    sealed(&keyfob, &mut functions)?;
    let known = |name: &&String| ["_ZN", "_R", "main"].iter().any(|start| name.starts_with(start));
    let sections: BTreeSet<String> = functions.iter().filter(known).map(|name| section(name)).collect();
    ensure!(sections.len() > 100, "the program has no symbols");
    Ok(fs::write(SCRIPT, script(&sections))?)
}

/// Adds what runs where sessions are sealed.
#[cfg(target_os = "linux")]
fn sealed(keyfob: &Path, functions: &mut BTreeSet<String>) -> Result<()> {
    let home = Home::new(keyfob)?;
    let token = CASES.iter().find(|case| case.name == "keyfob token").context("no such case")?;
    home.keyfob(&Case { args: &["store", "kernel"], ..*token }).answer()?;
    // The first answer has the session renewed, in vain.
    home.keyfob(token).answer()?;
    let counted = callgrind::functions(&home.keyfob(token), &home.path().join("counted"), functions);
    keyfob_test_support::forget_keys(&home.path().join("cache"));
    counted
}

/// A linker script that puts these sections before all others.
fn script(sections: &BTreeSet<String>) -> String {
    let lines = sections.iter().fold(String::new(), |lines, section| format!("{lines}    *({section})\n"));
    format!(
        "/* For GNU's linker and LLVM's: what runs for a cached answer lies side by side, on a tenth of the pages; see build.rs.\n   \
         Written by: {ORDER} */\nSECTIONS\n{{\n  .text.cached :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n"
    )
}

/// A pattern for the section of a function: Rust's hashes, of a function at the end of its name (`17h…E`) or of a crate within
/// (`Cs…_`), and what LLVM adds, stand open.
fn section(name: &str) -> String {
    let name = name.split(".llvm.").next().unwrap_or_default();
    if let Some((path, _)) = name.rsplit_once("17h").filter(|_| name.starts_with("_ZN")) {
        return format!(".text.{path}17h*");
    }
    let mut parts = name.split("Cs");
    let first = parts.next().unwrap_or_default().to_owned();
    let open = |part: &str| part.split_once('_').map_or_else(|| format!("Cs{part}"), |(_, rest)| format!("Cs*_{rest}"));
    format!(".text.{}*", parts.fold(first, |name, part| name + &open(part)))
}

fn ratio(count: u64, before: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let ratio = count as f64 / before.max(1) as f64;
    ratio
}

/// What a count depends on beside the program: the compiler, and the C library whose dynamic linker runs first.
fn surroundings() -> Result<String> {
    let rustc = programs::run(Command::new("rustc").arg("--version"))?;
    let rustc = rustc.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let libc = programs::run(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    Ok(format!("rustc {rustc}, {}, {}", libc.trim(), env::consts::ARCH))
}

/// What is written down.
struct Record {
    surroundings: String,
    counts: Vec<(String, u64)>,
}

impl Record {
    fn text(&self) -> String {
        let mut text = format!(
            "# Instructions of a cached answer, from the process's first to its last, as callgrind counts them.\n\
             # CI fails when one grows by more than 5 %. Written by: {UPDATE}\n\
             # {}\n",
            self.surroundings
        );
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{count:>9}  {name}");
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let mut comments = text.lines().filter_map(|line| line.strip_prefix("# "));
        let surroundings = comments.next_back().unwrap_or_default().to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let counts = lines.map(|line| {
            let (count, name) = line.trim().split_once("  ").with_context(|| format!("{RECORD}: {line}"))?;
            Ok((name.to_owned(), count.parse().with_context(|| format!("{RECORD}: {line}"))?))
        });
        Ok(Self { surroundings, counts: counts.collect::<Result<_>>()? })
    }
}
