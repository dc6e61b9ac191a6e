//! `keyfob setup az`: links named `az` and `azd` in a folder of the person's choice, and the profile that they answer
//! with in `[az]`.

use super::findings::Findings;
use super::found::{Found, Machine};
use super::profile::{Chosen, Config, Wanted};
use super::{Asked, Job, Tool, is_keyfob_at, own_program};
use crate::change::backup::Records;
use crate::change::files::folder_to_make;
use crate::change::plan::{Plan, Step};
use crate::change::undo::Undo;
use crate::config::{self, File, Profile, Selection, edit};
use crate::failure::{Exit, Failure, Hint};
use crate::program::{self, Ran};
use crate::providers::TokenKind;
use crate::sorted;
use crate::text::{clean, shell_quoted};
use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};
use std::fs::canonicalize;
use std::path::{Path, PathBuf};

/// The programs that keyfob stands in for.
const NAMES: [&str; 2] = ["az", "azd"];

/// `keyfob setup az`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Programs run the first `az` on their PATH: the folder has to come before that of a real Azure CLI.

Examples:
  keyfob setup az --profile work ~/bin
  keyfob setup az --profile work --provider entra --tenant contoso.com --client-id ID ~/bin
                                           makes the profile, too
  keyfob setup az --undo ~/bin")]
struct Arguments {
    /// Folder to put the links in
    folder: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
}

/// The Azure CLI.
pub(super) const TOOL: Tool = Tool {
    name: NAME,
    alias: None,
    about: "Put keyfob in the place of the Azure CLI, for programs that run `az` or `azd` to get a token",
    define: Arguments::augment_args,
    connect: |matches| connect(&Arguments::from_arg_matches(matches)?),
    disconnect: |matches| disconnect(&Arguments::from_arg_matches(matches)?),
    discover,
    check,
};

const NAME: &str = "az";
/// The name of this setup in config.toml.
const BY: &str = "setup az";

/// What setup did for a folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Added {
    /// The highest folder that had to be made for the links.
    made: Option<PathBuf>,
    /// The profile that setup wrote in `[az]`, for this folder or for others that still have links.
    profile: Option<String>,
}

/// Makes the links.
fn connect(arguments: &Arguments) -> Result<Job> {
    let folder = arguments.folder()?;
    let (plan, chosen) = connecting(&folder, &arguments.wanted)?;
    let title = format!("Put keyfob in {} as az and azd", folder.display());
    let asked = chosen.into_iter().map(|chosen| asked(folder.join("az"), chosen)).collect();
    Ok(Job { asked, ..Job::new(title, plan) })
}

/// Removes the links.
fn disconnect(arguments: &Arguments) -> Result<Job> {
    let folder = arguments.folder()?;
    let (plan, released) = undoing(&folder, arguments.wanted.profile.as_deref())?;
    let title = format!("Remove keyfob's az and azd from {}", folder.display());
    let done = "az and azd are no longer keyfob there.\n".to_owned();
    Ok(Job { done, released, ..Job::new(title, plan) })
}

impl Arguments {
    fn folder(&self) -> Result<PathBuf> {
        std::path::absolute(&self.folder).context("could not tell which folder that is")
    }
}

/// The plan, and the profile that az will answer with.
fn connecting(folder: &Path, wanted: &Wanted) -> Result<(Plan, Option<Chosen>)> {
    if let Some(file) = folder.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        return Err(Failure::usage(format!("{} is not a folder", file.display())).into());
    }
    let mut plan = Plan::default();
    let mut config = Config::load()?;
    let mut written = None;
    let chosen = if wanted.is_empty() {
        let found = Profile::for_az(&Selection::default());
        plan.notes.extend(found.as_ref().err().map(|why| format!("az has no answer yet: {why:#}")));
        found.ok().map(|(profile, _)| Chosen { profile, is_new: false })
    } else {
        let chosen = wanted.in_config(&mut config, BY, &[])?;
        let name = chosen.title();
        match config.file()?.az.profile {
            Some(other) if other != name => {
                return Err(Failure::usage(format!("az answers with the profile {other:?} already"))
                    .hint("change `profile` below [az] in config.toml, or leave out --profile")
                    .into());
            }
            Some(_) => {}
            None => written = Some(name.to_owned()),
        }
        config.say(written.is_some(), |text| edit::with_az_profile(text, name))?;
        Some(chosen)
    };
    let made = folder_to_make(&folder.join("az"));
    let records = Records::load()?;
    let mut others = records.setups.iter().filter(|setup| setup.tool == NAME);
    let written = written.or(others.find_map(|setup| Added::deserialize(&setup.did).ok()?.profile));
    let added = Added { made: made.clone(), profile: written };
    let all = |earlier: Option<Added>| Added { made: earlier.and_then(|earlier| earlier.made).or(added.made), ..added };
    let name = folder.to_string_lossy();
    plan.setups.push(config.setup(&plan, (NAME, &name), chosen.as_ref().map(Chosen::title), Vec::new(), all)?);
    config.into_plan(&mut plan);
    plan.steps.extend(made.map(|_| Step::Folder(folder.to_owned())));
    let own = own_program()?;
    plan.steps.extend(links(folder, &own)?);
    plan.notes.extend(on_path(folder, std::env::var_os("PATH").unwrap_or_default().as_os_str()));
    let own = shell_quoted(&own.to_string_lossy());
    let lines = NAMES.map(|name| format!("ln -s {own} {}\n", shell_quoted(&folder.join(name).to_string_lossy())));
    plan.lines.push(("in a shell".to_owned(), lines.concat()));
    Ok((plan, chosen))
}

/// The steps that make the links to `own`, this program, that the folder lacks. Fails if it has something else of that
/// name.
fn links(folder: &Path, own: &Path) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for path in NAMES.map(|name| folder.join(name)) {
        match std::fs::read_link(&path) {
            Ok(target)
                if target == own
                    || canonicalize(&target).is_ok_and(|target| canonicalize(own).is_ok_and(|own| own == target)) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                steps.push(Step::Link { path, target: own.to_owned() });
            }
            _ => {
                let what = format!("{} is there already, and is not keyfob", path.display());
                return Err(Failure::usage(what).hint("choose another folder, or remove it").into());
            }
        }
    }
    Ok(steps)
}

/// The plan of an undo, and the profiles that it removes.
fn undoing(folder: &Path, profile: Option<&str>) -> Result<(Plan, Vec<Profile>)> {
    let mut plan = Plan::default();
    let mut config = Config::load()?;
    let undo = Undo::of(|setup| setup.tool == NAME && Path::new(&setup.name) == folder)?;
    let kept: Vec<Added> = undo.undone.iter().map(|setup| Added::deserialize(&setup.did)).collect::<Result<_, _>>()?;
    let elsewhere = undo.others().find(|setup| setup.tool == NAME).map(|setup| setup.name.clone());
    let there = config.file()?.az.profile;
    let ours = if kept.is_empty() {
        // There is no record. If setup made the profile in `[az]`, setup wrote it there too.
        let made = there.clone().filter(|name| config.added_by(name) == Some(BY));
        profile.map(str::to_owned).or(made)
    } else {
        kept.iter().find_map(|added| added.profile.clone())
    };
    let mut profiles = sorted::set(undo.undone.iter().filter_map(|setup| setup.profile.clone()));
    profiles.extend(ours.clone());
    match (there, elsewhere, ours) {
        (Some(there), Some(elsewhere), _) => {
            plan.notes.push(format!("[az] keeps the profile {there:?}, for az in {elsewhere}"));
        }
        (Some(_), None, Some(name)) => {
            config.edit(|text| edit::without_az_profile(text, &name, undo.made_section("az")))?;
        }
        (Some(there), None, None) if kept.is_empty() => {
            let name = shell_quoted(&there);
            plan.notes.push(format!("[az] keeps the profile {there:?}; --profile {name} removes it too"));
        }
        _ => {}
    }
    let released = config.release(profiles.iter().map(String::as_str), BY, &undo, &mut plan)?;
    config.take_back(&undo, &mut plan)?;
    for name in NAMES {
        let path = folder.join(name);
        let ours = |target: PathBuf| target.file_name().is_some_and(|name| name == "keyfob");
        if std::fs::read_link(&path).is_ok_and(ours) {
            plan.steps.push(Step::Unlink(path));
        }
    }
    for highest in kept.into_iter().filter_map(|added| added.made) {
        plan.steps.push(Step::RemoveFolder { path: folder.to_owned(), highest });
    }
    undo.finish(&mut plan);
    Ok((plan, released))
}

/// Finds the first az on `PATH`, or a profile that az could answer with.
fn discover(machine: &Machine, found: &mut Found) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let place = folders.iter().position(|folder| folder.join("az").is_file());
    let az = place.map(|place| folders[place].join("az"));
    if az.as_deref().is_some_and(is_keyfob_at) {
        found.connected.push("az".to_owned());
        return;
    }
    let entra: Vec<&str> = machine.usable().filter(|p| p.preset.multi_resource).map(Profile::title).collect();
    let title = match &az {
        Some(az) => format!("az: {}", clean(&az.to_string_lossy())),
        None if !entra.is_empty() => "az: none on PATH".to_owned(),
        None => return,
    };
    // A folder of the person's own that comes before the other az on `PATH`.
    let home = std::env::home_dir().unwrap_or_default();
    let mut before = folders[..place.unwrap_or(folders.len())].iter();
    let own = before.find(|folder| folder.starts_with(&home) && folder.is_dir());
    let folder = own.map_or_else(|| "FOLDER".into(), |folder| folder.to_string_lossy());
    let name = if let [name] = entra[..] { name } else { "NAME" };
    let mut words = vec!["az", "--profile", name];
    if entra.is_empty() {
        words.extend(["--provider", "entra", "--tenant", "TENANT", "--client-id", "ID"]);
    }
    words.push(&folder);
    found.offer(title, &words, entra.len() == 1 && own.is_some());
}

/// Checks what programs find that run `az`.
fn check(findings: &mut Findings, file: &File, only: Option<&str>) {
    if file.az == config::Az::default() || only.is_some_and(|only| file.az.profile.as_deref() != Some(only)) {
        return;
    }
    let mut found = program::on_path("az");
    let first = found.next();
    if let Some(az) = first.as_deref().filter(|az| is_keyfob_at(az)) {
        return findings.ok("az", format!("programs run {}, which is keyfob", az.display()));
    }
    let message = match first {
        None => "[az] is configured, but there is none on PATH".to_owned(),
        Some(az) => format!("programs run {}, which is not keyfob", az.display()),
    };
    let remedy = match found.find(|az| is_keyfob_at(az)).as_deref().and_then(Path::parent) {
        Some(folder) => Hint::Command(format!("export PATH={}:\"$PATH\"", shell_quoted(&folder.to_string_lossy()))),
        None => "keyfob setup az FOLDER, and FOLDER before the others on PATH".into(),
    };
    findings.warn("az", message, remedy);
}

/// Notes about what a program that runs `az` will find on `PATH`, if it is not the link in this folder.
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

/// What programs that run az will ask keyfob for.
fn asked(az: PathBuf, chosen: Chosen) -> Asked {
    Asked {
        chosen,
        kind: TokenKind::Access,
        what: format!("{} is keyfob", az.display()),
        prompts: None,
        unanswered: format!("{} is keyfob, but does not answer", az.display()),
        attempt: Box::new(move || attempt(&az)),
    }
}

/// Asks the new az for a token, as a program would.
fn attempt(az: &Path) -> Result<String> {
    let words = ["account", "get-access-token", "--output", "none"];
    let Ran { ok, stderr, .. } = program::run(az, &words, &[], "", Some(Path::new("/")))?;
    if ok {
        return Ok(format!("{} answers.\n", az.display()));
    }
    let what = format!("{} is keyfob, but does not answer: {}", az.display(), clean(&stderr));
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
