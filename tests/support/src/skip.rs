//! How a test says that it did not run. A skip that nobody sees is a test that nobody has.

use std::io::Write as _;

/// Ends a test because the machine lacks something: says so on stderr and returns. With `CI` set, where nothing may be
/// missing, it fails instead. Takes what [`format!`] takes.
#[macro_export]
macro_rules! skip {
    ($($what:tt)*) => {{
        $crate::skipped(&format!($($what)*));
        return;
    }};
}

/// Unwraps what a test needs from a result. If the machine lacks it, [skips](crate::skip) the test and says what is
/// missing.
#[macro_export]
macro_rules! need {
    ($what:expr) => {
        match $what {
            Ok(found) => found,
            Err(missing) => $crate::skip!("{missing}"),
        }
    };
}

/// What [`skip!`](crate::skip) says; for a test that cannot simply return.
pub fn skipped(what: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {what}", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("CI").is_none_or(|value| value.is_empty()), "{line}");
    // Not eprintln: the test harness swallows what a passing test prints.
    let _ = writeln!(std::io::stderr(), "{line}");
}
