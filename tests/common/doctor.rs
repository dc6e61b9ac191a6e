//! The output of `keyfob doctor`, without what is ok.

use keyfob_test_support::Output;

/// Every line except the ok ones and the summary. Also checks the exit code against them.
#[track_caller]
pub fn complaints(output: &Output) -> Vec<String> {
    assert_eq!(output.stderr, "", "{output:?}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = output.stdout.lines().filter(|line| !line.starts_with("ok ")).map(words).collect();
    let total = lines.pop().unwrap();
    let count = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    let (warnings, errors) = (count("warn "), count("error "));
    let several = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let counted = format!(" ok, {}, {}", several(warnings, "warning"), several(errors, "error"));
    assert!(total.ends_with(&counted), "{output:?}");
    assert_eq!(output.code, Some(i32::from(errors > 0)), "{output:?}");
    lines
}
