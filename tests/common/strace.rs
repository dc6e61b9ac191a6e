//! strace: shows what a program asks of the system, and makes system calls fail.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether strace is installed.
pub fn is_here() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// The command under strace with these options.
pub fn watch(command: &Command, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).arg(command.get_program()).args(command.get_args());
    strace.env_clear().stdin(Stdio::null());
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// The command with failing system calls, each as `call:error=E:when=N`.
pub fn failing(command: &Command, calls: &[&str]) -> Command {
    failing_noted(command, calls, Path::new("/dev/null"))
}

/// Like `failing`, with all calls of these names recorded in a file.
pub fn failing_noted(command: &Command, calls: &[&str], log: &Path) -> Command {
    let names: Vec<&str> = calls.iter().map(|call| call.split(':').next().unwrap()).collect();
    let mut options =
        vec!["-o".to_owned(), log.display().to_string(), "-e".to_owned(), format!("trace={}", names.join(","))];
    for call in calls {
        options.extend(["-e".to_owned(), format!("inject={call}")]);
    }
    watch(command, &options.iter().map(String::as_str).collect::<Vec<_>>())
}
