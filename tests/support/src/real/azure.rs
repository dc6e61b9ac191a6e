//! The real Azure SDKs, for Python and for JavaScript, through a program of a few lines each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::python::{self, write};
use super::{Missing, on_path, run, store};

/// Pins the packages by version and hash.
const REQUIREMENTS: &str = include_str!("../../../real/azure/requirements.txt");
const PACKAGE: [(&str, &str); 2] = [
    ("package.json", include_str!("../../../real/azure/package.json")),
    ("package-lock.json", include_str!("../../../real/azure/package-lock.json")),
];
const PYTHON: &str = include_str!("../../../real/azure/credential.py");
const JAVASCRIPT: &str = include_str!("../../../real/azure/credential.mjs");

/// An Azure SDK, and the program that asks it.
#[derive(Clone, Debug)]
pub struct AzureSdk {
    /// The language it is for.
    pub language: &'static str,
    program: PathBuf,
    script: PathBuf,
    packages: PathBuf,
}

impl AzureSdk {
    /// azure-identity, from PyPI.
    pub fn python() -> Result<&'static Self, Missing> {
        static FOUND: OnceLock<Result<AzureSdk, Missing>> = OnceLock::new();
        FOUND
            .get_or_init(|| fetch_python().map_err(|why| Missing::new("azure-identity", why)))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// @azure/identity, from npm.
    pub fn javascript() -> Result<&'static Self, Missing> {
        static FOUND: OnceLock<Result<AzureSdk, Missing>> = OnceLock::new();
        FOUND
            .get_or_init(|| fetch_javascript().map_err(|why| Missing::new("@azure/identity", why)))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Makes a command the program's, which says in lines of JSON what the SDK gave for `asked`.
    pub fn command(&self, base: impl FnOnce(&Path) -> Command, asked: &serde_json::Value) -> Command {
        let mut command = base(&self.program);
        command.arg(&self.script).arg(asked.to_string());
        // Python looks for its packages here, JavaScript beside the script.
        command.env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
    /// Makes a command one that runs this program in the SDK's language, with its packages.
    pub fn run(&self, base: impl FnOnce(&Path) -> Command, program: &str) -> Command {
        let mut command = base(&self.program);
        command.args(["-c", program]).env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn fetch_python() -> Result<AzureSdk, String> {
    let (program, folder) = python::with_packages("azure-python", REQUIREMENTS, &[("credential.py", PYTHON)])?;
    Ok(AzureSdk {
        language: "Python",
        program,
        script: folder.join("credential.py"),
        packages: folder.join("packages"),
    })
}

fn fetch_javascript() -> Result<AzureSdk, String> {
    let program = on_path("node").ok_or("node not found")?;
    let pins = PACKAGE.map(|(_, text)| text);
    let name = format!("azure-node-{}", store::hash(&[&pins[..], &[JAVASCRIPT]].concat()));
    let folder = store::folder(&name, |folder| {
        write(folder, &PACKAGE)?;
        write(folder, &[("credential.mjs", JAVASCRIPT)])?;
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new(npm).args(options).current_dir(folder)).map(drop)
    })?;
    Ok(AzureSdk { language: "JavaScript", program, script: folder.join("credential.mjs"), packages: folder })
}
