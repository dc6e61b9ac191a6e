//! Programs that are run as they come: those of this machine, and pinned ones of PyPI and npm.

use std::path::PathBuf;
use std::process::Command;

use super::{Missing, on_path, run, store};

/// A program on the search path.
pub fn on_this_machine(name: &str) -> Result<PathBuf, Missing> {
    on_path(name).ok_or_else(|| Missing::new(name, "not found"))
}

/// A folder with these packages of PyPI, each as `NAME==VERSION`, for `PYTHONPATH`; their programs are in `bin`.
pub fn pypi(packages: &[&str]) -> Result<PathBuf, Missing> {
    let missing = |why| Missing::new(&packages.join(", "), why);
    let python = on_path("python3").ok_or_else(|| missing("python3 not found".to_owned()))?;
    let fetched = store::folder(&format!("pypi-{}", store::hash(packages)), |folder| {
        let options = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-compile"];
        let mut pip = Command::new(&python);
        run(pip.args(["-m", "pip"]).args(options).arg("--target").arg(folder).args(packages)).map(drop)
    });
    fetched.map_err(missing)
}

/// The `node_modules` with one package of npm, as `NAME@VERSION`.
pub fn npm(package: &str) -> Result<PathBuf, Missing> {
    let fetched = store::folder(&format!("npm-{}", store::hash(&[package])), |folder| {
        let options = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"];
        run(Command::new("npm").args(options).arg(folder).arg(package)).map(drop)
    });
    fetched.map(|folder: PathBuf| folder.join("node_modules")).map_err(|why| Missing::new(package, why))
}
