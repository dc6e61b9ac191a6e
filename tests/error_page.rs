//! `docs/errors.md` lists what keyfob says when it fails: everything that the source can say, and nothing else.
//!
//! What the source can say is read from the source: the texts in calls such as `Failure::…`, `.hint(…)` and `Err(…)`, and
//! in `let what = …`, `let why = …` and `let hint = …`, which is how a text that does not fit into a call is named here.
//!
//! `docs/doctor.md` lists in the same way what `keyfob doctor` finds: the texts of its findings and of their remedies.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use literals::strings;

#[path = "common/literals.rs"]
mod literals;

/// In front of what ends up in an error.
const ERRORS: [&str; 22] = [
    "self.error(",
    "reader.error(",
    "Self::Transient(",
    "Self::Redirect(",
    "Self::Unreadable(",
    "Found::Damaged(",
    "let because = ",
    "let notice = ",
    "match error {",
    "match why {",
    "Failure::new(",
    "Failure::usage(",
    ".hint(",
    ".context(",
    "with_context(",
    "Err(",
    "ok_or(",
    "ok_or_else(",
    "map_err(",
    "let what = ",
    "let why = ",
    "let hint = ",
];

/// In front of what doctor finds, and of what to do about it.
const FINDINGS: [&str; 6] = [".doubt(", ".bad(", ".failure(", "Remedy::Run(", "let message = ", "let remedy = "];

/// Where doctor looks.
const DOCTOR: [&str; 4] = [
    "src/commands/doctor/",
    "src/commands/setup/az.rs",
    "src/commands/setup/git.rs",
    "src/commands/setup/kubernetes.rs",
];

/// What is no error: the prompt says why there is no QR code, and goes on.
const OTHERS: [&str; 1] = ["src/prompt/"];

/// A file of the source without comments and tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// Every file of the source, by its path from the project's folder.
fn source() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join("src")], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(name, code(&path));
            }
        }
    }
    files
}

/// Words, as against names and patterns.
fn is_said(text: &str) -> bool {
    text.contains(' ') && text.chars().any(|letter| letter.is_ascii_lowercase())
}

/// The cells of the first two columns of a page's tables whose first column is headed so, as they stand.
fn page(name: &str, heading: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (mut cells, mut ours) = (BTreeSet::new(), false);
    for line in page.lines() {
        let row: Vec<&str> = line.split('|').skip(1).map(str::trim).collect();
        match row[..] {
            [] => ours = false,
            [first, ..] if first == heading => ours = true,
            [first, ..] if first.starts_with("---") => {}
            [first, second, ..] if ours => cells.extend([first, second].map(str::to_owned)),
            _ => {}
        }
    }
    cells.remove("");
    cells
}

/// What the source says behind one of these, and the page does not.
fn missing(page: &BTreeSet<String>, starts: &[&str], is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (file, code) in source().iter().filter(|(file, _)| is_meant(file)) {
        for start in starts {
            for (at, _) in code.match_indices(start) {
                let said = strings(&code[at + start.len()..]).into_iter().filter(|text| is_said(text));
                missing.extend(said.filter(|text| !page.contains(text)).map(|text| format!("{file}: {text}")));
            }
        }
    }
    missing
}

/// What is on the page, and the source says nowhere.
fn stale(page: BTreeSet<String>) -> Vec<String> {
    let said: BTreeSet<String> = source()
        .values()
        .flat_map(|code| code.match_indices('"').map(|(at, _)| strings(&code[at..])).collect::<Vec<_>>())
        .flatten()
        .collect();
    page.into_iter().filter(|text| !said.contains(text)).collect()
}

#[test]
fn every_error_is_on_the_page() {
    let is_meant = |file: &str| !OTHERS.iter().any(|other| file.starts_with(other));
    let missing = missing(&page("docs/errors.md", "error"), &ERRORS, is_meant);
    assert!(missing.is_empty(), "not in docs/errors.md:\n{}", missing.join("\n"));
}

#[test]
fn every_text_on_the_page_is_said_somewhere() {
    let stale = stale(page("docs/errors.md", "error"));
    assert!(stale.is_empty(), "in docs/errors.md, but nowhere in the source:\n{}", stale.join("\n"));
}

#[test]
fn everything_that_doctor_finds_is_on_its_page() {
    let page = page("docs/doctor.md", "finding");
    let missing = missing(&page, &FINDINGS, |file| DOCTOR.iter().any(|place| file.starts_with(place)));
    assert!(missing.is_empty(), "not in docs/doctor.md:\n{}", missing.join("\n"));
    let stale = stale(page);
    assert!(stale.is_empty(), "in docs/doctor.md, but nowhere in the source:\n{}", stale.join("\n"));
}
