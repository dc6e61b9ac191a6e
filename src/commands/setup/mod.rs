//! `keyfob setup`: connect a tool to a profile through the tool's own configuration, and disconnect it again.
//!
//! Every tool is one file that makes a plan. A plan is shown before anything is changed; on a terminal the person
//! agrees, elsewhere `--yes` has to. Undoing removes what setting up wrote, and nothing else.

mod az;
mod git;

use crate::commands::print;
use crate::failure::{Exit, Failure};
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `keyfob setup`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is going to change is shown first. Without a terminal to ask on, --yes is needed.

Examples:
  keyfob setup git --profile gh https://github.com
  keyfob setup git --undo https://github.com
  keyfob setup az --profile work ~/bin")]
pub struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Put keyfob in the place of the Azure CLI, for programs that run `az` or `azd` to get a token
    Az(az::Arguments),
    /// Have git ask keyfob for a host's token
    Git(git::Arguments),
}

/// Sets a tool up.
pub fn set_up(arguments: &Arguments) -> Result<()> {
    match &arguments.tool {
        Tool::Az(arguments) => az::run(arguments),
        Tool::Git(arguments) => git::run(arguments),
    }
}

/// How a plan is agreed to.
#[derive(Debug, clap::Args)]
struct Consent {
    /// Take back what `setup` did
    #[arg(long)]
    undo: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Everything was as it is to be.
    NothingToDo,
    /// The person would not.
    Declined,
    /// It was carried out.
    Done,
}

/// One change.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A file's new text, in place of the old one.
    Edit { path: PathBuf, before: String, after: String },
    /// A symbolic link, and where it leads.
    Link { path: PathBuf, target: PathBuf },
    /// A symbolic link to remove.
    Unlink(PathBuf),
    /// A command to run.
    Run(Vec<String>),
    /// A file to remove if nothing is left in it.
    RemoveIfEmpty(PathBuf),
}

/// What is going to be changed, and what to know before.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    notes: Vec<String>,
}

impl Plan {
    fn edit(&mut self, path: &Path, before: &str, after: String) {
        if after != before {
            self.steps.push(Step::Edit { path: path.to_owned(), before: before.to_owned(), after });
        }
    }

    fn run<const N: usize>(&mut self, words: [&str; N]) {
        self.steps.push(Step::Run(words.map(str::to_owned).to_vec()));
    }

    fn remove_if_empty(&mut self, path: PathBuf) {
        self.steps.push(Step::RemoveIfEmpty(path));
    }

    /// The plan as a person reads it.
    fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            match step {
                Step::Edit { path, before, after } => {
                    let _ = writeln!(text, "{}", path.display());
                    for line in changed_lines(before, after) {
                        let _ = writeln!(text, "  {}", line.trim_end());
                    }
                }
                Step::Run(words) => {
                    let words: Vec<_> = words.iter().map(|word| shell_quoted(word)).collect();
                    let _ = writeln!(text, "{}", words.join(" "));
                }
                Step::Link { path, target } => {
                    let _ = writeln!(text, "{} -> {}", path.display(), target.display());
                }
                Step::Unlink(path) => {
                    let _ = writeln!(text, "{} is removed", path.display());
                }
                Step::RemoveIfEmpty(_) => {}
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {note}");
        }
        text
    }

    /// Shows the plan, asks, and carries it out.
    fn carry_out(&self, title: &str, consent: &Consent) -> Result<Outcome> {
        if self.steps.is_empty() {
            print(&format!("{title}: nothing to do.\n{}", self.text()))?;
            return Ok(Outcome::NothingToDo);
        }
        print(&format!("{title}:\n\n{}\n", self.text()))?;
        if !consent.yes && !agreed()? {
            print("Nothing was changed.\n")?;
            return Ok(Outcome::Declined);
        }
        for step in &self.steps {
            match step {
                Step::Edit { path, after, .. } => {
                    replace(path, after).with_context(|| format!("could not change {}", path.display()))?;
                }
                Step::Run(words) => {
                    let ran = run(words, &[], "")?;
                    if !ran.ok {
                        let what = format!("`{}` failed: {}", words.join(" "), clean(&ran.stderr));
                        return Err(Failure::new(Exit::Failed, what).into());
                    }
                }
                Step::Link { path, target } => {
                    std::os::unix::fs::symlink(target, path)
                        .with_context(|| format!("could not make the link {}", path.display()))?;
                }
                Step::Unlink(path) => {
                    std::fs::remove_file(path).with_context(|| format!("could not remove {}", path.display()))?;
                }
                Step::RemoveIfEmpty(path) => {
                    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
                        std::fs::remove_file(path).with_context(|| format!("could not remove {}", path.display()))?;
                    }
                }
            }
        }
        Ok(Outcome::Done)
    }
}

/// Asks on the terminal whether to go on; fails where there is none.
fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::usage("nothing was changed: there is no terminal to ask on")
            .hint("add --yes to make the change shown")
            .into());
    }
    print("Go on? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("could not read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The lines that differ, `- ` before the old and `+ ` before the new ones; what both begin and end with is left out.
fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let marked =
        |mark: &'static str, lines: &[&str]| lines.iter().map(move |l| format!("{mark} {l}")).collect::<Vec<_>>();
    let mut lines = marked("-", &old[start..old.len() - end]);
    lines.extend(marked("+", &new[start..new.len() - end]));
    lines
}

/// Replaces a file's text at once, with its permissions kept; a link is followed, since dotfiles often are links.
fn replace(path: &Path, text: &str) -> Result<()> {
    let path = std::fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".keyfob-new");
    let temporary = path.with_file_name(name);
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    Ok(written?)
}

/// How a command ended, and what it said.
struct Ran {
    ok: bool,
    stdout: String,
    stderr: String,
}

/// Runs a command that asks nobody anything.
fn run(words: &[String], environment: &[(&str, &str)], input: &str) -> Result<Ran> {
    let failed = || format!("could not run {}", words[0]);
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read it is none the worse.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { ok: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Where this very keyfob is.
fn own_path() -> Result<PathBuf> {
    std::env::current_exe().context("could not tell where keyfob is")
}

/// `config.toml` and its text.
fn config_file() -> Result<(PathBuf, String)> {
    let path = crate::config::file_path().context("there is no home directory to find config.toml in")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(changed_lines("a\nb\nc\n", "a\nb\nx\nc\n"), ["+ x"]);
        assert_eq!(changed_lines("a\nx\nc\n", "a\nc\n"), ["- x"]);
        assert_eq!(changed_lines("", "x\ny\n"), ["+ x", "+ y"]);
        assert_eq!(changed_lines("a\n", "a\n"), [""; 0]);
    }
}
