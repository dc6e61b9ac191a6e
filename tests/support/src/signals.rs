//! Gives programs the signal handling of a person's shell, whatever started the tests.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// Makes these signals end the programs that are started from now on, as by default. A process inherits its parent's
/// ignored signals: SIGHUP under `nohup`, SIGINT and SIGQUIT under a script's `&`. It does not inherit handlers, so an
/// ignored signal gets a handler here that does nothing.
pub(crate) fn end_what_is_started() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            if is_ignored(signal) {
                signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).expect("a handler");
            }
        }
    });
}

/// Whether this process ignores a signal (proc_pid_status(5)); false if the system does not say.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::Output;

    #[test]
    fn the_tests_of_the_terminal_pass_where_its_signals_are_ignored() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"trap "" HUP INT; exec "$0" --exact "$@""#]).arg(std::env::current_exe().unwrap());
        shell.args(["terminal::tests::closing_the_terminal_hangs_up", "terminal::tests::keys_and_ctrl_c_arrive"]);
        let output = Output::of(&mut shell, b"");
        assert!(output.code == Some(0) && output.stdout.contains("2 passed"), "{output:?}");
    }
}
