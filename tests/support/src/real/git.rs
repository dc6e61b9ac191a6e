//! git as it comes from its makers: the ones on this machine, told apart by what their credential helpers are told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Missing, run};

/// The first version that asks a credential helper for `capability[]`, and takes `authtype` and `state[]` from it.
const CAPABILITIES: (u32, u32) = (2, 46);

/// A git on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// Where it is.
    pub path: PathBuf,
    /// The first two numbers of its version.
    pub version: (u32, u32),
}

impl Git {
    /// A git whose helpers may answer with any scheme, and are asked again within one command: 2.46 or later.
    pub fn with_capabilities() -> Result<&'static Self, Missing> {
        let found = Self::all().iter().find(|git| git.knows_capabilities());
        found.ok_or_else(|| Missing::new("git 2.46 or later", format!("found: {:?}", Self::all())))
    }

    /// A git whose helpers can answer with a user name and a password only: before 2.46.
    pub fn without_capabilities() -> Result<&'static Self, Missing> {
        let found = Self::all().iter().find(|git| !git.knows_capabilities());
        found.ok_or_else(|| Missing::new("git before 2.46", format!("found: {:?}", Self::all())))
    }

    /// Whichever there is.
    pub fn any() -> Result<&'static Self, Missing> {
        Self::all().first().ok_or_else(|| Missing::new("git", "not found"))
    }

    /// Whether it is of the first kind.
    pub fn knows_capabilities(&self) -> bool {
        self.version >= CAPABILITIES
    }

    /// Every git here: those on the search path, and the system's, which another may hide there.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Git>> = OnceLock::new();
        ALL.get_or_init(|| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
            let mut found: Vec<Self> = Vec::new();
            for file in folders.map(|folder| folder.join(format!("git{}", std::env::consts::EXE_SUFFIX))) {
                if !found.iter().any(|git| git.path == file)
                    && let Some(git) = Self::at(&file)
                {
                    found.push(git);
                }
            }
            found
        })
    }

    fn at(path: &Path) -> Option<Self> {
        let said = run(Command::new(path).arg("version")).ok()?;
        Some(Self { path: path.to_owned(), version: version(std::str::from_utf8(&said).ok()?)? })
    }
}

/// What `git version` says, as numbers.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_makers_and_the_packagers_write_them() {
        assert_eq!(version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)\n"), Some((2, 39)));
        assert_eq!(version("git version 2.50.1.windows.1\n"), Some((2, 50)));
        assert_eq!(version("gitk"), None);
    }
}
