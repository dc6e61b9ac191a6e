//! `docs/errors.md` lists what keyfob says when it fails: everything that the source can say, and nothing else.
//!
//! What the source can say is read from the source: the texts in calls such as `Failure::…`, `.hint(…)` and `Err(…)`, and
//! in `let what = …`, `let why = …` and `let hint = …`, which is how a text that does not fit into a call is named here.

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

/// The cells of the tables' first two columns, as they stand.
fn page() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).unwrap();
    let rows =
        page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-") && !line.starts_with("| error"));
    let cells =
        rows.flat_map(|row| row.split('|').skip(1).take(2).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn every_error_is_on_the_page() {
    let page = page();
    let mut missing = Vec::new();
    for (file, code) in source().iter().filter(|(file, _)| !OTHERS.iter().any(|other| file.starts_with(other))) {
        for start in ERRORS {
            for (at, _) in code.match_indices(start) {
                let said = strings(&code[at + start.len()..]).into_iter().filter(|text| is_said(text));
                missing.extend(said.filter(|text| !page.contains(text)).map(|text| format!("{file}: {text}")));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/errors.md:\n{}", missing.join("\n"));
}

#[test]
fn every_text_on_the_page_is_said_somewhere() {
    let said: BTreeSet<String> = source()
        .values()
        .flat_map(|code| code.match_indices('"').map(|(at, _)| strings(&code[at..])).collect::<Vec<_>>())
        .flatten()
        .collect();
    let stale: Vec<_> = page().into_iter().filter(|text| !said.contains(text)).collect();
    assert!(stale.is_empty(), "in docs/errors.md, but nowhere in the source:\n{}", stale.join("\n"));
}
