//! Python, with packages that are pinned by version and hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{on_path, run, store};

/// Python itself, and a folder that holds these files and in `packages` what `requirements` names.
pub(super) fn with_packages(
    name: &str,
    requirements: &str,
    files: &[(&str, &str)],
) -> Result<(PathBuf, PathBuf), String> {
    let program = on_path("python3").ok_or("python3 not found")?;
    let version = run(Command::new(&program).args(["-c", "import sys; print(sys.implementation.cache_tag)"]))?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let pins = [&[requirements, &version][..], &files.iter().map(|(_, text)| *text).collect::<Vec<_>>()].concat();
    let folder = store::folder(&format!("{name}-{}", store::hash(&pins)), |folder| {
        write(folder, &[&[("requirements.txt", requirements)][..], files].concat())?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
        let only = ["--only-binary", ":all:", "--no-compile"];
        let mut install = Command::new(&program);
        install.args(pip).args(only).arg("--target").arg(folder.join("packages"));
        run(install.arg("--requirement").arg(folder.join("requirements.txt"))).map(drop)
    })?;
    Ok((program, folder))
}

/// Writes files into a folder.
pub(super) fn write(folder: &Path, files: &[(&str, &str)]) -> Result<(), String> {
    files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text)).map_err(|e| e.to_string())
}
