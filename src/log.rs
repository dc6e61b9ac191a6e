//! `KEYFOB_LOG=debug`: what keyfob does, on stderr, never a secret. Off by default, since on success stderr is empty.

/// Says what `message` makes, if debugging is on.
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
