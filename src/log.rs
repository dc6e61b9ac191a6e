//! `KEYFOB_LOG=debug`: logs to stderr what keyfob does, never a secret. Off by default, because stderr must be empty on
//! success.

/// Logs the message that `message` makes, if debugging is on.
pub fn debug(message: impl FnOnce() -> String) {
    if is_on() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "keyfob: {}", crate::text::one_line(&message()));
    }
}

/// Whether debugging is on.
pub fn is_on() -> bool {
    std::env::var_os("KEYFOB_LOG").is_some_and(|level| level == "debug")
}
