//! What this process arranges about itself before it does anything else.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::mem::forget;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Makes the process a safe place for secrets, however it was started: standard streams that are open, a write
/// to a reader that has gone an error instead of the end, no core dumps.
pub fn prepare() {
    hold_streams();
    // A handler that only takes note: the write then fails like any other. A program of ours that is killed between
    // a provider's answer and the disk would lose the session.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default());
    if rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some() {
        // The same for a file that would grow beyond the limit of this process.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
    no_core_dumps();
}

/// Makes this process one that nobody's terminal, process group or time limit ends, and that keeps no pipe of its parent's
/// open: a program may wait for the end of one.
pub fn detach() {
    let _ = rustix::process::setsid();
    deaf();
    let Ok(open) = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd")) else { return };
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
}

/// Has the system say how programs that this process starts have ended, also where it was itself started to ignore SIGCHLD:
/// their exit codes would be lost.
pub fn hear_of_children() {
    let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
}

/// What a person or a parent ends a process by.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Lets what would end this process pass for as long as it lives.
fn deaf() {
    for signal in ENDING {
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// While this lives, what would end this process waits: between a grant request and the disk, a session hangs on it.
pub struct Uninterrupted(());

/// How this process takes what would end it, once it has had to wait.
struct Ending {
    /// It ends the process, as usual.
    at_once: Arc<AtomicBool>,
    /// What has come.
    told: Vec<(i32, Arc<AtomicBool>)>,
}

impl Ending {
    fn get() -> &'static Self {
        static ENDING_ONCE: OnceLock<Ending> = OnceLock::new();
        ENDING_ONCE.get_or_init(|| {
            let at_once = Arc::new(AtomicBool::new(true));
            let ignored = ignored_signals();
            let heeded = ENDING.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
            let told = heeded.filter_map(|signal| {
                let told = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(signal, Arc::clone(&told)).ok()?;
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&at_once)).ok()?;
                Some((signal, told))
            });
            let told = told.collect();
            Self { at_once, told }
        })
    }
}

impl Uninterrupted {
    /// From now on.
    pub fn begin() -> Self {
        Ending::get().at_once.store(false, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        let Ending { at_once, told } = Ending::get();
        at_once.store(true, Ordering::SeqCst);
        if let Some((signal, _)) = told.iter().find(|(_, told)| told.load(Ordering::SeqCst)) {
            let _ = signal_hook::low_level::emulate_default_handler(*signal);
        }
    }
}

/// The signals that this process was started to ignore, as nohup(1) does, as a mask; none where the system does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// What a shell calls this program by: the path it was started by, unless that is a link with another name.
pub fn name() -> String {
    let path = std::env::args_os().next().and_then(|path| path.into_string().ok());
    path.filter(|path| path.ends_with("/keyfob")).unwrap_or_else(|| "keyfob".to_owned())
}

/// Whether a process of this program is stopped, as by Ctrl-Z; false where the system does not tell.
pub fn is_stopped(pid: u32) -> bool {
    // proc_pid_stat(5): the name in parentheses, then the state.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.split_once("(keyfob) ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['T', 't']))
}

/// Whether there is a process of this number.
pub fn is_running(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One of another user's is there too.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
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
