//! Settings of this process itself: its streams, signals and core dumps.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::mem::forget;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Makes the process safe for secrets, however it was started: the standard streams are open, writing to a closed pipe
/// is an error instead of the end, and there are no core dumps.
pub fn prepare() {
    hold_streams();
    // This handler does nothing, so the write fails like any other. A process that is killed between a provider's answer
    // and the save would lose the session.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default());
    if rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some() {
        // The same for writing a file beyond this process's size limit.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
    no_core_dumps();
}

/// Detaches this process, so that no terminal, process group or time limit ends it, and closes the pipes of its parent,
/// because a program may be waiting for the end of one.
pub fn detach() {
    let _ = rustix::process::setsid();
    deaf();
    let Ok(open) = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd")) else { return };
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
}

/// Makes the system report the exit codes of child processes, even if this process was started with SIGCHLD ignored.
pub fn hear_of_children() {
    let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
}

/// The signals with which a person or a parent ends a process.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Ignores these signals for as long as the process lives.
fn deaf() {
    for signal in ENDING {
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// While this value exists, these signals wait, because between a grant request and the save an interruption would lose
/// the session.
pub struct Uninterrupted(());

/// How this process handles these signals after the first [`Uninterrupted`].
struct Ending {
    /// Whether a signal ends the process at once, as usual.
    at_once: Arc<AtomicBool>,
    /// The signals, with whether each has arrived.
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
    /// Delays the signals from now on.
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

/// A mask of the signals that this process was started to ignore, as by nohup(1); 0 if the system does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The name of this program for a shell: the path by which it was started, unless that is a link with another name.
pub fn name() -> String {
    let path = std::env::args_os().next().and_then(|path| path.into_string().ok());
    path.filter(|path| path.ends_with("/keyfob")).unwrap_or_else(|| "keyfob".to_owned())
}

/// Whether a keyfob process is stopped, e.g. by Ctrl-Z; false if the system does not tell.
pub fn is_stopped(pid: u32) -> bool {
    // proc_pid_stat(5): the name is in parentheses, followed by the state.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.split_once("(keyfob) ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['T', 't']))
}

/// Whether a process with this id exists.
pub fn is_running(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user counts too.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Opens `/dev/null` for standard streams that are closed. Otherwise the next file opened would get their number, and
/// output for the caller would be written to that file.
fn hold_streams() {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut streams =
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut streams, Some(&at_once)).is_err() {
        return;
    }
    for _ in streams.iter().filter(|stream| stream.revents().contains(PollFlags::NVAL)) {
        // `open` returns the lowest free number, which is that of the first closed stream.
        if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
            forget(null);
        }
    }
}

/// Disables core dumps, so that secrets in memory do not get into a file or to a crash reporter. Both settings are
/// needed, because a reporter to which the kernel pipes dumps ignores the limit.
fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
