//! Finds and runs other programs: git, kubectl, az.
//!
//! Only programs in absolute folders on `PATH` are found, and never this program itself. A program that is run must not
//! prompt; it starts in `/` unless it needs the current folder, has a time limit, and is ended with everything it has
//! started. It is not run again by a keyfob that it runs.

use crate::failure::{Exit, Failure};
use crate::later::{Later, in_a_thread};
use crate::process;
use anyhow::{Context, Result};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::Metadata;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Time limit of a program.
const LIMIT: Duration = Duration::from_secs(30);
/// How long to wait for the rest of the output of a program that has ended, because what it left running may keep the
/// pipe open.
const REST: Duration = Duration::from_secs(1);
/// The most output that is read, in bytes.
const LARGEST: u64 = 4 << 20;
/// The variable with the programs that keyfob is running, nested and separated by colons.
const RUNNING: &str = "KEYFOB_RUNNING";

/// The variable with the keyfobs, by their files, that have passed on a call, so that two of them do not call each
/// other in a circle.
const PASSED: &str = "KEYFOB_PASSED";

/// The result of running a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Whether its exit code was 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Every program of this name on `PATH`, as absolute paths.
pub fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    folders.into_iter().map(move |folder| folder.join(name)).filter(|file| is_program(file))
}

/// Whether the file is executable.
pub fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// The first program of this name on `PATH` that is neither keyfob nor a keyfob that has passed on the call to this
/// one.
pub fn find(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().and_then(std::fs::metadata).ok().map(|file| identity(&file));
    let passed = std::env::var(PASSED).unwrap_or_default();
    let is_other = |file: &PathBuf| {
        let file = std::fs::metadata(file).map(|file| identity(&file));
        file.is_ok_and(|file| own.as_ref() != Some(&file) && !passed.split(' ').any(|other| other == file))
    };
    on_path(name).find(is_other)
}

/// Identifies a program's file, whatever its name is.
fn identity(file: &Metadata) -> String {
    format!("{}:{}", file.dev(), file.ino())
}

/// The program that a configuration names: an absolute path, or the first program of that name on `PATH`.
pub fn by_name(name: &str) -> Result<PathBuf> {
    let named = Path::new(name);
    let found = if named.is_absolute() { Some(named.to_owned()) } else { find(name).filter(|_| !name.contains('/')) };
    let why = || Failure::usage(format!("there is no program {name} on PATH")).hint("name it by its whole path");
    Ok(found.ok_or_else(why)?)
}

/// Runs a program to its end, in `folder` or in the current folder. `input` goes to its stdin. Fails if it cannot be
/// started, takes too long, or is already running and has started this keyfob.
pub fn run(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    input: &str,
    folder: Option<&Path>,
) -> Result<Ran> {
    run_within(LIMIT, program, arguments, environment, input, folder)
}

/// Like [`run`], with another time limit.
pub fn run_within(
    limit: Duration,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    input: &str,
    folder: Option<&Path>,
) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let running = std::env::var(RUNNING).unwrap_or_default();
    if running.split(':').any(|other| other == name) {
        let what = format!("{name} runs already, and asked keyfob; it is not run within itself");
        return Err(Failure::new(Exit::Failed, what).into());
    }
    command.env("KEYFOB_PROMPT", "never").env(RUNNING, format!("{running}:{name}")).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::hear_of_children();
    let child = command.spawn().with_context(|| format!("could not run {}", program.display()))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let ran = attend(child, limit, input).with_context(|| format!("could not run {}", program.display()));
    if let (Err(_) | Ok(None), Some(group)) = (&ran, group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    ran?.ok_or_else(|| {
        let what = format!("{} did not end within {} s", program.display(), limit.as_secs());
        Failure::new(Exit::Failed, what).into()
    })
}

/// Passes the input to a program, and waits for its end; `None` if it takes too long.
fn attend(mut child: Child, limit: Duration, input: &str) -> Result<Option<Ran>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = (in_a_thread(|| text(stdout))?, in_a_thread(|| text(stderr))?);
    if let Some(mut stdin) = stdin {
        // It is not an error if the program does not read its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = in_a_thread(move || child.wait().is_ok_and(|status| status.success()))?;
    let Some(ok) = ended.wait(limit) else { return Ok(None) };
    let text = |from: &Later<String>| from.wait(REST).unwrap_or_default();
    Ok(Some(Ran { ok, stdout: text(&stdout), stderr: text(&stderr) }))
}

/// Replaces this process by the next program of this name on `PATH`, which gets its streams, terminal and exit code.
/// Returns 1 as the exit code, and only if there is no such program.
pub fn pass_on(name: &str, arguments: &[String]) -> u8 {
    if let Some(program) = find(name) {
        let own = std::env::current_exe().and_then(std::fs::metadata).map(|file| identity(&file)).unwrap_or_default();
        let passed = std::env::var(PASSED).unwrap_or_default();
        let mut command = Command::new(program);
        let _ = command.args(arguments).env(PASSED, format!("{passed} {own}").trim_start()).exec();
    }
    1
}

/// Reads a pipe to its end, but at most [`LARGEST`] bytes.
fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // Further output has no reader, which ends the program.
        let _ = pipe.take(LARGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::kill_process;

    fn sh(script: &str, limit: Duration) -> Result<Ran> {
        run_within(limit, Path::new("/bin/sh"), &["-c", script], &[], "asked\n", None)
    }

    #[test]
    fn a_program_is_asked_and_asks_nobody() {
        let ran = sh("read word; echo \"$word $KEYFOB_PROMPT $KEYFOB_RUNNING\"; echo why >&2; exit 3", LIMIT).unwrap();
        assert_eq!(ran, Ran { ok: false, stdout: "asked never :sh\n".into(), stderr: "why\n".into() });
    }

    /// A process that a program leaves running does not delay the caller; a program that takes too long is ended.
    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let left = sh("sleep 60 > /dev/null 2>&1 < /dev/null & echo $!", LIMIT).unwrap();
        assert!(left.ok, "{left:?}");
        kill_process(Pid::from_raw(left.stdout.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        let error = sh("sleep 60 & sleep 60", Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh did not end within 0 s");
    }

    #[test]
    fn only_programs_by_whole_paths_are_found() {
        assert!(find("sh").is_some_and(|sh| sh.is_absolute()));
        assert_eq!(find("keyfob-that-does-not-exist"), None);
        let own = std::env::current_exe().unwrap();
        assert!(is_program(&own) && !is_program(own.parent().unwrap()));
    }
}
