//! SECURITY.md promises nothing that no test shows: every test it names is there.

use std::fs;
use std::path::Path;

#[test]
fn every_claim_points_to_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    // `tests/x.rs`: `one`, `two`. What stands in backquotes is every second piece.
    let (mut file, mut tests) = (String::new(), 0);
    let mut before = "";
    for (index, piece) in text.split('`').enumerate() {
        if index % 2 == 0 {
            before = piece;
        } else if Path::new(piece).extension().is_some_and(|ending| ending == "rs") {
            file = fs::read_to_string(root.join(piece)).unwrap_or_else(|error| panic!("{piece}: {error}"));
        } else if matches!(before.trim(), ":" | ",") {
            let head = format!("#[test]\n    fn {piece}()");
            let there = file.contains(&head) || file.contains(&head.replace("    ", ""));
            assert!(there, "there is no test {piece} where SECURITY.md says");
            tests += 1;
        }
    }
    assert!(tests > 30, "{tests} tests were found in SECURITY.md");
}
