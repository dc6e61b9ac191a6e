//! A program under test while it runs: what it shows, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::wait_for;
use crate::Output;

/// The device flow as the user sees it: the address to open and the code to type there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The verification address, without the code.
    pub address: String,
    /// The user code.
    pub code: String,
}

impl Prompt {
    /// Finds the prompt in the output, which may hold other text: a word of the form `XXXX-XXXX`, and the last address before it.
    pub fn find(shown: &str) -> Option<Self> {
        let is_part = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_uppercase());
        let mut address = None;
        for word in shown.split_whitespace().map(|word| word.trim_matches(['.', ',', ':', '"', '(', ')'])) {
            if word.starts_with("http://") || word.starts_with("https://") {
                address = Some(word);
            } else if word.split_once('-').is_some_and(|(left, right)| is_part(left) && is_part(right)) {
                return Some(Self { address: address?.to_owned(), code: word.to_owned() });
            }
        }
        None
    }
}

/// A running program. Dropped before its end, it is killed, and so are the helpers it started.
pub struct Running {
    child: Child,
    done: bool,
    stdout: Stream,
    stderr: Stream,
}

/// What has come over a pipe so far.
struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn new(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let end = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            // By lines, so that nobody sees half a code.
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                end.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a pipe");
        }
        self.so_far()
    }
}

impl Running {
    /// Starts the command with pipes for both outputs; its standard input stays what the command says.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", command.get_program().display()));
        let stdout = Stream::new(child.stdout.take().expect("a piped stdout"));
        let stderr = Stream::new(child.stderr.take().expect("a piped stderr"));
        Self { child, done: false, stdout, stderr }
    }

    /// The prompt, as soon as standard error shows it.
    pub fn prompt(&mut self) -> Prompt {
        wait_for("a prompt", || {
            // Asked before the text is read: what ended has said everything, once its pipe is empty.
            let ended = self.child.try_wait().expect("the program's state");
            if let Some(status) = ended {
                let shown = self.stderr.all();
                return Some(Prompt::find(&shown).unwrap_or_else(|| panic!("no prompt, but {status} and {shown}")));
            }
            Prompt::find(&self.stderr.so_far())
        })
    }

    /// Waits for the address on this machine that a sign-in by browser begins at.
    pub fn address(&mut self) -> String {
        wait_for("an address", || {
            let shown = self.stderr.so_far();
            let line = shown.lines().find_map(|line| line.strip_prefix("    Open        http://127.0.0.1:"));
            line.map(|rest| format!("http://127.0.0.1:{rest}"))
        })
    }

    /// What it has said on standard error so far.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the program's state").is_none()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Output {
        let status = wait_for("the program to end", || self.child.try_wait().expect("the program's state"));
        self.done = true;
        Output { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done || !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // A credential helper outlives the program that is killed over it, and would go on polling.
        if cfg!(unix) {
            let parent = self.child.id().to_string();
            let _ = Command::new("pkill").args(["-KILL", "-P", &parent]).stdin(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_found_among_other_words() {
        let shown = "Sign in to http://127.0.0.1:1\n\n    Open http://127.0.0.1:1/device\n    Enter ABCD-EFGH.\n\
                     (or open http://127.0.0.1:1/device?user_code=ABCD-EFGH)\n";
        let prompt = Prompt { address: "http://127.0.0.1:1/device".to_owned(), code: "ABCD-EFGH".to_owned() };
        assert_eq!(Prompt::find(shown), Some(prompt));
        assert_eq!(Prompt::find("Open http://127.0.0.1:1/device"), None);
        assert_eq!(Prompt::find("ABCD-EFGH"), None);
    }
}
