//! `keyfob setup az`: links named `az` and `azd` where the person says, and the profile they answer with in `[az]`.

use super::{Consent, Outcome, Plan, Step, config_file, own_path, run as ran};
use crate::commands::print;
use crate::config::{self, Profile, Selection, edit};
use crate::failure::{Exit, Failure};
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The programs that keyfob stands in for.
const NAMES: [&str; 2] = ["az", "azd"];

/// `keyfob setup az`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Programs run the first `az` on their PATH: the folder has to come before that of a real Azure CLI.

Examples:
  keyfob setup az --profile work ~/bin
  keyfob setup az --undo ~/bin")]
pub(super) struct Arguments {
    /// Folder to put the links in; it has to be there
    folder: PathBuf,
    /// Profile to answer with [default: `[az]` in config.toml, or the only Entra profile]
    #[arg(long, short, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Puts the links in their place, or takes them away.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let folder = std::path::absolute(&arguments.folder).context("could not tell which folder that is")?;
    if arguments.consent.undo {
        let title = format!("Remove keyfob's az and azd from {}", folder.display());
        if undoing(&folder, arguments.profile.as_deref())?.carry_out(&title, &arguments.consent)? == Outcome::Done {
            print("az and azd are no longer keyfob there.\n")?;
        }
        return Ok(());
    }
    let title = format!("Put keyfob in {} as az and azd", folder.display());
    if connecting(&folder, arguments.profile.as_deref())?.carry_out(&title, &arguments.consent)? != Outcome::Declined {
        print(&checked(&folder)?)?;
    }
    Ok(())
}

fn connecting(folder: &Path, profile: Option<&str>) -> Result<Plan> {
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", folder.display()))
            .hint(format!("make it first: mkdir -p {}", shell_quoted(&folder.to_string_lossy())))
            .into());
    }
    let mut plan = Plan::default();
    if let Some(name) = profile {
        let selection = Selection { profile: Some(name.to_owned()), ..Selection::default() };
        Profile::select(&selection)?;
        let (path, before) = config_file()?;
        match config::az()?.profile {
            Some(other) if other != name => {
                return Err(Failure::usage(format!("az answers with the profile {other:?} already"))
                    .hint("change `profile` below [az] in config.toml, or leave out --profile")
                    .into());
            }
            _ => {
                let after = edit::with_az_profile(&before, name).context("could not change config.toml")?;
                plan.edit(&path, &before, after);
            }
        }
    }
    let own = own_path()?;
    for name in NAMES {
        let path = folder.join(name);
        match std::fs::read_link(&path) {
            Ok(target) if target == own => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                plan.steps.push(Step::Link { path, target: own.clone() });
            }
            _ => {
                let what = format!("{} is there already, and is not keyfob", path.display());
                return Err(Failure::usage(what).hint("choose another folder, or remove it").into());
            }
        }
    }
    plan.notes.extend(on_path(folder, std::env::var_os("PATH").unwrap_or_default().as_os_str()));
    Ok(plan)
}

fn undoing(folder: &Path, profile: Option<&str>) -> Result<Plan> {
    let mut plan = Plan::default();
    if let Some(name) = profile {
        let (path, before) = config_file()?;
        let after = edit::without_az_profile(&before, name).context("could not change config.toml")?;
        plan.edit(&path, &before, after);
    } else if let Some(name) = config::az()?.profile {
        plan.notes.push(format!("[az] keeps the profile {name:?}; --profile {} removes it too", shell_quoted(&name)));
    }
    for name in NAMES {
        let path = folder.join(name);
        let ours = |target: PathBuf| target.file_name().is_some_and(|name| name == "keyfob");
        if std::fs::read_link(&path).is_ok_and(ours) {
            plan.steps.push(Step::Unlink(path));
        }
    }
    Ok(plan)
}

/// What a program that runs `az` will find with this `PATH`, unless it is the one in the folder.
fn on_path(folder: &Path, path: &std::ffi::OsStr) -> Vec<String> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    let Some(place) = folders.iter().position(|other| other == folder) else {
        return vec![format!(
            "{} is not on PATH; programs find az there only once it is: export PATH={}:\"$PATH\"",
            folder.display(),
            shell_quoted(&folder.to_string_lossy())
        )];
    };
    let before = folders[..place].iter().flat_map(|other| NAMES.map(|name| other.join(name)));
    let hides = |path: PathBuf| format!("{} comes first on PATH; put {} before it", path.display(), folder.display());
    before.filter(|path| path.is_file()).map(hides).collect()
}

/// Asks the new az for a token, as a program would, and says what came of it.
fn checked(folder: &Path) -> Result<String> {
    let az = folder.join("az").to_string_lossy().into_owned();
    let words = [az.as_str(), "account", "get-access-token", "--output", "none"].map(str::to_owned);
    let answer = ran(&words, &[("KEYFOB_PROMPT", "never")], "")?;
    if answer.ok {
        return Ok(format!("{az} answers.\n"));
    }
    if answer.stderr.contains("az login") {
        let login = answer.stderr.lines().skip(1).collect::<Vec<_>>().join(" ");
        return Ok(format!("{az} is keyfob. Nobody has signed in yet. {}\n", clean(&login)));
    }
    let what = format!("{az} is keyfob, but does not answer: {}", clean(&answer.stderr));
    Err(Failure::new(Exit::Failed, what).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_programs_do_not_see_is_named() {
        let folder = Path::new("/home/ada/bin");
        assert_eq!(on_path(folder, "/home/ada/bin:/usr/bin".as_ref()), [""; 0]);
        assert_eq!(
            on_path(folder, "/usr/bin:/bin".as_ref()),
            [
                "/home/ada/bin is not on PATH; programs find az there only once it is: export PATH=/home/ada/bin:\"$PATH\""
            ]
        );
    }
}
