//! Every error of `docs/errors.md` is brought about by a test that checks its message, its hint and its exit code.
//!
//! Whether one is there is read from the tests. A row of the page counts as tested by a test function that holds both of
//! its texts as literals, the hint where a hint stands, and in the same literal if there is one in it; something that is
//! printed (`error: …`, az's `ERROR: …`, a `warning: …`); and the exit code of the row's section as one of several
//! arguments, in a tuple, or as `Some`. The helpers that it calls, if they are in the same file, count as part of it. Where
//! two rows fit the same words, they are the longer one's.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use literals::strings;

#[path = "common/literals.rs"]
mod literals;

/// What no test can bring about, and why. It is on the page all the same, since the source says it.
const UNTESTED: [(&str, &str); 4] = [
    ("the system gives no random bytes: …", "every system that keyfob runs on does"),
    ("the cache folder … vanished", "in the moment between its being made and being opened"),
    ("it runs another program", "only users that run kubelogin are read"),
    ("nobody is signed in", "az says that in words of its own"),
];

/// Rows that the tests have in other words: of few words more of the line, since they would be found anywhere; and the
/// command that stands for the one that signs in, which `common/errors.rs` writes in capitals.
const AS_TESTED: [(&str, &str); 4] = [
    ("a string", "must be a string, not "),
    ("a number", "must be a number, not "),
    ("a table", "must be a table, not "),
    ("login --force", "LOGIN --force"),
];

/// A file of the source without comments, and what it is tested with.
fn code(file: &Path) -> (String, String) {
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let end = lines.iter().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(lines.len());
    let joined = |lines: &[&str]| lines.iter().flat_map(|line| [*line, "\n"]).collect();
    (joined(&lines[..end]), joined(&lines[end..]))
}

/// Every file below a folder, as [`code`] reads it.
fn files(folder: &str) -> BTreeMap<String, (String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join(folder)], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(name, code(&path));
            }
        }
    }
    files
}

/// A row of the page.
struct Row {
    /// The exit code that its section is about.
    exit: String,
    error: String,
    hint: String,
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).unwrap();
    let (mut exit, mut rows) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.split(':').next().unwrap().clone_into(&mut exit);
        } else if line.starts_with('|') && !line.starts_with("|-") && !line.starts_with("| error") {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().to_owned());
            rows.push(Row { exit: exit.clone(), error: cells.next().unwrap(), hint: cells.next().unwrap() });
        }
    }
    rows
}

/// The cells of the tables' first two columns, as they stand.
fn page() -> BTreeSet<String> {
    rows().into_iter().flat_map(|row| [row.error, row.hint]).filter(|cell| !cell.is_empty()).collect()
}

/// A test function, with the helpers of its file that it calls.
struct Tester {
    /// Its file and its name.
    name: String,
    code: String,
    literals: Vec<String>,
}

impl Tester {
    /// Whether an exit code stands here as one of several arguments, in a tuple, or as `Some`.
    fn has_code(&self, code: &str) -> bool {
        self.code.match_indices(code).any(|(at, _)| {
            let (before, after) = (self.code[..at].trim_end(), &self.code[at + code.len()..]);
            let first = before.ends_with('(') && after.starts_with(',');
            let later = before.ends_with(',') && after.starts_with([',', ')']);
            first || later || before.ends_with("Some(") && after.starts_with(')')
        })
    }
}

/// The functions in a piece of code that rustfmt has been at: name, text, and whether it is a test.
fn functions(code: &str) -> Vec<(String, String, bool)> {
    let lines: Vec<_> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let (indent, head) = line.split_at(line.len() - line.trim_start().len());
        let head = head.strip_prefix("pub ").unwrap_or(head);
        let Some(name) = head.strip_prefix("fn ") else { continue };
        let name = name.split(['(', '<']).next().unwrap().to_owned();
        let end = lines[at..].iter().position(|line| line.strip_prefix(indent).is_some_and(|rest| rest == "}"));
        let text = lines[at..=at + end.unwrap_or(0)].join("\n");
        let is_test = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.trim_start().starts_with("#["))
            .any(|line| line.trim() == "#[test]");
        found.push((name, text, is_test));
    }
    found
}

fn testers() -> Vec<Tester> {
    let tests = files("tests").into_iter().map(|(name, (code, _))| (name, code));
    let all = tests.chain(files("src").into_iter().map(|(name, (_, tests))| (name, tests)));
    let mut testers = Vec::new();
    for (file, code) in all.filter(|(file, _)| file != "tests/error_tests.rs") {
        let functions = functions(&code);
        for (name, text, _) in functions.iter().filter(|(.., is_test)| *is_test) {
            let calls = |name: &str| text.contains(&format!("{name}("));
            let helpers =
                functions.iter().filter(|(name, _, is_test)| !is_test && calls(name)).map(|(_, text, _)| text);
            let code: String = std::iter::once(text).chain(helpers).flat_map(|text| [text, "\n"]).collect();
            testers.push(Tester { name: format!("{file}: {name}"), literals: strings(&code), code });
        }
    }
    testers
}

/// Where a text of the page fits into a line, `…` being whatever fits.
fn spans(text: &str, line: &str) -> Vec<(usize, usize)> {
    let mut pieces = text.trim_matches('…').split('…');
    let first = pieces.next().unwrap();
    let fits = |start: usize| {
        pieces.clone().try_fold(start + first.len(), |at, piece| {
            let skipped = line[at..].chars().next()?.len_utf8();
            Some(at + skipped + line[at + skipped..].find(piece)? + piece.len())
        })
    };
    line.match_indices(first).filter_map(|(start, _)| Some((start, fits(start)?))).collect()
}

fn as_tested(text: &str) -> Option<&'static str> {
    AS_TESTED.iter().find(|(row, _)| *row == text).map(|(_, more)| *more)
}

/// Whether a text of the page is said in a literal, and not only as a part of a longer one.
fn is_said(text: &str, literal: &str, page: &BTreeSet<String>) -> bool {
    let letters = |text: &str| text.chars().filter(|letter| *letter != '…').count();
    literal.lines().any(|line| match as_tested(text) {
        Some(more) => line.contains(more),
        None => spans(text, line).into_iter().any(|(start, end)| {
            let inside = |(from, to): (usize, usize)| from <= start && end <= to;
            let mut longer = page.iter().filter(|other| letters(other) > letters(text));
            !longer.any(|other| spans(other, line).into_iter().any(inside))
        }),
    })
}

/// Whether a hint is said in a literal: where a line begins with `hint: `, or at the beginning of a line.
fn is_hinted(hint: &str, literal: &str) -> bool {
    let hint = as_tested(hint).unwrap_or(hint);
    let at = |line: &str| spans(hint, line).first().map(|(start, _)| *start);
    literal.lines().any(|line| at(line).is_some_and(|start| start == 0 || line.starts_with("hint: ")))
}

/// What keeps a test that says an error in these literals from counting; nothing if it does count.
fn lacking(tester: &Tester, row: &Row, said: &BTreeSet<&str>) -> Vec<&'static str> {
    let has = |start: &str| tester.literals.iter().any(|text| text.contains(start));
    let apart = tester.literals.iter().any(|text| is_hinted(&row.hint, text));
    let mut here = tester.literals.iter().filter(|text| said.contains(text.as_str()));
    let hinted = row.hint.is_empty()
        || here.any(|text| if text.contains("hint: ") { is_hinted(&row.hint, text) } else { apart });
    // az has exit codes of its own, and a warning is no failure.
    let coded = tester.has_code(&row.exit)
        || has("ERROR: ") && tester.has_code("1")
        || has("warning: ") && tester.has_code("0");
    let printed = has("error: ") || has("ERROR: ") || has("warning: ");
    let all = [(hinted, "its hint"), (printed, "the line as it is printed"), (coded, "its exit code")];
    all.iter().filter(|(there, _)| !there).map(|(_, what)| *what).collect()
}

#[test]
fn every_error_on_the_page_is_brought_about_by_a_test() {
    let (page, testers) = (page(), testers());
    let (mut missing, mut excused) = (Vec::new(), BTreeSet::new());
    let literals: BTreeSet<&str> = testers.iter().flat_map(|tester| &tester.literals).map(String::as_str).collect();
    for row in rows() {
        // A hint without an error of its own belongs to the row above.
        let fits = |text: &str| match row.error.as_str() {
            "" => is_hinted(&row.hint, text),
            error => is_said(error, text, &page),
        };
        let said: BTreeSet<&str> = literals.iter().copied().filter(|text| fits(text)).collect();
        let says = |tester: &&Tester| tester.literals.iter().any(|text| said.contains(text.as_str()));
        let found: Vec<_> = testers.iter().filter(says).map(|tester| (tester, lacking(tester, &row, &said))).collect();
        if found.iter().any(|(_, lacks)| lacks.is_empty()) {
            continue;
        }
        if let Some((error, _)) = UNTESTED.iter().find(|(error, _)| *error == row.error) {
            excused.insert(*error);
            continue;
        }
        let nearest = found.iter().min_by_key(|(_, lacks)| lacks.len());
        let why = nearest.map_or("no test says it".to_owned(), |(tester, lacks)| {
            format!("{} says it without {}", tester.name, lacks.join(" and "))
        });
        missing.push(format!("| {} | {} | {why}", row.error, row.hint));
    }
    assert!(missing.is_empty(), "on docs/errors.md, but in no test:\n{}", missing.join("\n"));
    let unneeded: Vec<_> = UNTESTED.iter().filter(|(error, _)| !excused.contains(error)).collect();
    assert!(unneeded.is_empty(), "excused without need: {unneeded:?}");
}
