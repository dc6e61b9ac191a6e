//! A sign-in from beginning to end, with no account, no configuration and no network:
//!
//! ```text
//! cargo run --release --example demo                 you approve in a browser
//! cargo run --release --example demo -- --approve    nobody has to
//! ```
//!
//! An identity provider starts on this machine. Then keyfob runs the way kubectl runs it, as a process of its own:
//! once with a sign-in, and again to show what every later `kubectl` command costs.

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use keyfob_test_support::provider::{Auto, Client, Options, Provider};
use keyfob_test_support::scratch::Scratch;

const HELP: &str = "\
A sign-in from beginning to end, on this machine alone.

Usage: cargo run --release --example demo [-- --approve]

  --approve    approve the sign-in by itself instead of in a browser
  --help       this text
";

/// What kubectl says to a plugin, in the environment. `NUMBER` tells one kubectl command from the next: here all of them are
/// one process, and a process that asks twice for the same has had its token refused.
const EXEC_INFO: &str = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":true},"command":NUMBER}"#;

const LATER_RUNS: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap_or_default()).collect();
    match words[..] {
        // The demo starts itself as `demo keyfob …`, since cargo builds no keyfob binary for an example.
        ["keyfob", ..] => ExitCode::from(keyfob::run(arguments)),
        [] => report(demo(false)),
        ["--approve"] => report(demo(true)),
        ["--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn demo(approve: bool) -> io::Result<()> {
    let provider = Provider::start(Options { clients: vec![Client::public("demo")], ..Options::default() });
    if approve {
        // Not at once, so that there is a prompt to see.
        provider.auto(Auto::After(1));
    }
    let scratch = Scratch::new("keyfob-demo-")?;
    fs::write(scratch.path().join("config.toml"), "")?;
    let keyfob = Keyfob { provider: &provider, scratch: &scratch, approve, runs: Cell::new(0) };

    println!("An identity provider now runs on this machine: {}", provider.issuer());
    println!("\n1. kubectl needs a token and runs its credential plugin:\n");
    println!("   keyfob {}\n", keyfob.arguments().join(" "));
    if approve {
        println!("   Nobody has to do anything: the provider approves by itself in a moment.\n");
    }
    let first = keyfob.run()?;
    let asked = keyfob.requests();
    println!("\n   keyfob asked the provider {} times: {}", asked.len(), asked.join(" "));

    println!("\n2. This is what kubectl reads from keyfob's stdout, and all of it:\n");
    println!("{}", first.trim_end());

    let mut times = Vec::with_capacity(LATER_RUNS);
    for _ in 0..LATER_RUNS {
        let start = Instant::now();
        let again = keyfob.run()?;
        times.push(start.elapsed());
        if again != first {
            return Err(io::Error::other("keyfob gave another answer than the first time"));
        }
    }
    let more = keyfob.requests().len() - asked.len();
    println!("\n3. kubectl needs a token again, as with every command: the same answer, from the cache.\n");
    println!("   {LATER_RUNS} runs of keyfob, each a whole process from start to exit:");
    println!("   {:.1} ms (median), {more} requests to the provider.", milliseconds(median(times)));
    Ok(())
}

/// keyfob, run as a process that finds nothing of the user's and leaves nothing behind.
struct Keyfob<'a> {
    provider: &'a Provider,
    scratch: &'a Scratch,
    approve: bool,
    runs: Cell<u32>,
}

impl Keyfob<'_> {
    /// What stands in a kubeconfig, under `users[].user.exec.args`.
    fn arguments(&self) -> [&str; 9] {
        let issuer = self.provider.issuer();
        ["kubernetes", "--issuer", issuer, "--client-id", "demo", "--scope", "openid", "--scope", "offline_access"]
    }

    /// What it asked the provider so far; the browser's requests are not among them.
    fn requests(&self) -> Vec<String> {
        let by_browser = |label: &str| matches!(label, "page" | "other");
        let requests = self.provider.requests().into_iter();
        requests.filter(|request| !by_browser(&request.label)).map(|request| request.path).collect()
    }

    /// Runs it once, and returns what it said to kubectl.
    fn run(&self) -> io::Result<String> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("keyfob").args(self.arguments());
        self.runs.set(self.runs.get() + 1);
        command.env("KUBERNETES_EXEC_INFO", EXEC_INFO.replace("NUMBER", &self.runs.get().to_string()));
        // Folders and an empty configuration of its own, and no proxy between this machine and itself.
        command.env("XDG_RUNTIME_DIR", self.scratch.path());
        command.env("KEYFOB_CACHE_DIR", self.scratch.path().join("cache"));
        command.env("KEYFOB_CONFIG", self.scratch.path().join("config.toml"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env_remove("KEYFOB_PROFILE").env_remove("KEYFOB_PROMPT");
        // With nobody at a terminal keyfob would rather fail than prompt; here the prompt is to be seen all the same.
        if self.approve && !io::stderr().is_terminal() {
            command.env("KEYFOB_PROMPT", "always");
        }
        // Like kubectl: keyfob's stderr is the user's, its stdout is read to the end.
        let Output { status, stdout, .. } = command.stdin(Stdio::inherit()).stderr(Stdio::inherit()).output()?;
        if Scratch::interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if status.success() {
            String::from_utf8(stdout).map_err(io::Error::other)
        } else {
            Err(io::Error::other(format!("keyfob gave no token ({status}); kubectl would stop here, too")))
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn report(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("\nThat was all. The provider and the cache are gone again.");
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            eprintln!("\nInterrupted. Nothing is left behind.");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\n{error}");
            ExitCode::FAILURE
        }
    }
}
