//! Programs in a terminal of their own.
//!
//! Where keyfob may show a code depends on what is a terminal, which one controls the process and who is in its
//! foreground. Only a real pseudo-terminal with a session of its own answers that.

use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command as PtyCommand, Pty, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::ptsname;

use crate::bin::{PATIENCE, wait};
use crate::http::lock;

/// The target of a standard stream of a program in a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// The terminal.
    #[default]
    Terminal,
    /// `/dev/null`.
    Null,
    /// A file, whose contents at the end are in [`Ended`].
    File,
}

/// The standard streams; all of them the terminal by default. kubectl gives its plugins null, file, terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input; [`Stream::File`] is an empty one.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// How a program in a terminal ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything that was shown.
    pub screen: String,
    /// What stdout held, if it was a file.
    pub stdout: String,
    /// What stderr held, if it was a file.
    pub stderr: String,
}

#[derive(Default)]
struct Screen {
    bytes: Vec<u8>,
    ended: bool,
}

/// A program in a terminal of its own, as the leader of its session. The size is 80 by 24 unless another is set.
/// Dropping it kills the program.
pub struct Terminal {
    child: Child,
    pty: Option<Arc<Pty>>,
    /// The program's end of the terminal, held open until it has exited. A program whose streams all lead elsewhere may
    /// open the terminal later, and a terminal that no process has open reads as closed.
    held: Option<OwnedFd>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    closing: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    stdout: Option<std::fs::File>,
    stderr: Option<std::fs::File>,
}

impl Terminal {
    /// Starts a command with all its streams on the terminal, whatever they were before.
    pub fn start(command: Command) -> Self {
        Self::start_with(command, Streams::default())
    }

    /// Starts a command with these streams.
    pub fn start_with(command: Command, streams: Streams) -> Self {
        Self::start_sized(command, streams, (80, 24))
    }

    /// Starts a command with these streams, in a terminal of so many columns and rows.
    pub fn start_sized(command: Command, streams: Streams, (columns, rows): (u16, u16)) -> Self {
        crate::signals::end_what_is_started();
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("a terminal that has a size");
        let name = ptsname(&pty, Vec::new()).expect("the terminal's name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let held = Some(rustix::fs::open(name, flags, Mode::empty()).expect("the terminal"));
        let shown = format!("{command:?}");
        let mut command = PtyCommand::from(command);
        let (stdin, _) = stdio(streams.stdin);
        let (out, stdout) = stdio(streams.stdout);
        let (err, stderr) = stdio(streams.stderr);
        if let Some(stdin) = stdin {
            command = command.stdin(stdin);
        }
        if let Some(out) = out {
            command = command.stdout(out);
        }
        if let Some(err) = err {
            command = command.stderr(err);
        }
        let child = command.spawn(pts).unwrap_or_else(|error| panic!("could not start {shown}: {error}"));

        let pty = Arc::new(pty);
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        let closing = Arc::new(AtomicBool::new(false));
        let reader = {
            let (pty, screen, closing) = (Arc::clone(&pty), Arc::clone(&screen), Arc::clone(&closing));
            thread::spawn(move || {
                read(&pty, &screen, &closing);
                lock(&screen.0).ended = true;
                screen.1.notify_all();
            })
        };
        Self { child, pty: Some(pty), held, screen, closing, reader: Some(reader), stdout, stderr }
    }

    /// Everything shown so far, unprocessed: lines end in `\r
    /// `.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&lock(&self.screen.0).bytes).into_owned()
    }

    /// Waits until the text is on the screen, and returns the screen.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> String {
        let has = |screen: &Screen| String::from_utf8_lossy(&screen.bytes).contains(text);
        let (mutex, changed) = &*self.screen;
        let guard = lock(mutex);
        let _ = changed.wait_timeout_while(guard, timeout, |screen| !has(screen) && !screen.ended);
        let screen = self.screen();
        assert!(screen.contains(text), "{text:?} was not shown within {timeout:?}; the screen:\n{screen}");
        screen
    }

    /// Resizes the terminal, in columns and rows. Returns what was shown until then.
    pub fn resize(&self, (columns, rows): (u16, u16)) -> String {
        let pty = self.pty.as_deref().expect("a terminal that is still open");
        let before = self.screen();
        pty.resize(Size::new(rows, columns)).expect("a terminal that changes its size");
        before
    }

    /// Types something; Enter is `\r`.
    pub fn send(&self, keys: impl AsRef<[u8]>) {
        let pty = self.pty.as_deref().expect("a terminal that is still open");
        (&mut { pty }).write_all(keys.as_ref()).expect("typing into the terminal");
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        self.send(b"\x03");
    }

    /// Closes the terminal, as closing its window does.
    pub fn hang_up(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.pty = None;
        self.held = None;
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program with SIGKILL, so that it cleans nothing up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for the end of the program.
    pub fn wait(mut self) -> Ended {
        let Some(status) = wait(&mut self.child, Instant::now() + PATIENCE) else {
            panic!("it did not end within {PATIENCE:?}; the screen:\n{}", self.screen());
        };
        self.held = None;
        // The last output may still be on its way to the screen.
        let (mutex, changed) = &*self.screen;
        drop(changed.wait_timeout_while(lock(mutex), Duration::from_secs(5), |screen| !screen.ended));
        Ended {
            code: status.code(),
            signal: status.signal(),
            screen: self.screen(),
            stdout: contents(self.stdout.take()),
            stderr: contents(self.stderr.take()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        self.hang_up();
    }
}

/// Reads until the last process has left the terminal, or until it is to be closed. For the latter it checks regularly,
/// because a terminal cannot be closed while a thread is waiting in read.
fn read(pty: &Pty, screen: &(Mutex<Screen>, Condvar), closing: &AtomicBool) {
    let look_up = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut buffer = [0; 4096];
    while !closing.load(Ordering::SeqCst) {
        match poll(&mut [PollFd::new(pty, PollFlags::IN)], Some(&look_up)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match (&mut { pty }).read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                lock(&screen.0).bytes.extend_from_slice(&buffer[..length]);
                screen.1.notify_all();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Linux returns EIO when the other end is closed.
            Err(_) => return,
        }
    }
}

fn stdio(stream: Stream) -> (Option<Stdio>, Option<std::fs::File>) {
    match stream {
        Stream::Terminal => (None, None),
        Stream::Null => (Some(Stdio::null()), None),
        Stream::File => {
            let file = tempfile::tempfile().expect("a temporary file");
            let copy = file.try_clone().expect("a second handle to a temporary file");
            (Some(copy.into()), Some(file))
        }
    }
}

fn contents(file: Option<std::fs::File>) -> String {
    let mut text = String::new();
    if let Some(mut file) = file {
        file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("reading a temporary file");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_terminal_controls_the_program() {
        let streams = Streams { stdin: Stream::Null, stdout: Stream::File, stderr: Stream::Terminal };
        let script = "echo out; echo err >&2; echo direct >/dev/tty; stty size </dev/tty >&2; exit 7";
        let ended = Terminal::start_with(sh(script), streams).wait();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "out\n"));
        assert_eq!(ended.screen, "err\r\ndirect\r\n24 80\r\n");
    }

    #[test]
    fn keys_and_ctrl_c_arrive() {
        let terminal = Terminal::start(sh("read line; echo got $line; exec sleep 60"));
        terminal.send("hello\r");
        terminal.wait_for("got hello", SOON);
        terminal.interrupt();
        assert_eq!(terminal.wait().signal, Some(2));
    }

    #[test]
    fn closing_the_terminal_hangs_up() {
        let mut terminal = Terminal::start(sh("echo ready; exec sleep 60"));
        terminal.wait_for("ready", SOON);
        terminal.hang_up();
        assert_eq!(terminal.wait().signal, Some(1));
    }
}
