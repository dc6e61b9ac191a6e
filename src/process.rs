//! What this process arranges about itself before it does anything else.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::mem::forget;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Makes the process a safe place for secrets, whoever started it and however: standard streams that are open, a write
/// to a reader that has gone an error instead of the end, no core dumps.
pub fn prepare() {
    hold_streams();
    // A handler that only takes note: the write then fails like any other. A program of ours that is killed between
    // a provider's answer and the disk would lose the session.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default());
    no_core_dumps();
}

/// Opens `/dev/null` for standard streams that are closed: else the next file opened would take their number, and what
/// is meant for the caller would be written to it.
fn hold_streams() {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut streams =
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut streams, Some(&at_once)).is_err() {
        return;
    }
    for _ in streams.iter().filter(|stream| stream.revents().contains(PollFlags::NVAL)) {
        // The lowest number that is free is the first that is closed.
        if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
            forget(null);
        }
    }
}

/// Switches core dumps off: what this process holds must not land in a file or with a crash reporter. Both ways, since a
/// reporter that the kernel pipes dumps to does not heed the limit.
fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
