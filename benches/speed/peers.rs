//! The helpers that people run today, answering from their own warm caches, beside keyfob answering the same question.
//!
//! A peer is one row of [`PEERS`]. What the registries have is fetched into the target folder, and only when asked for
//! with `--peers`, since some of it is large; what they do not have is taken from this machine, or named as missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::Place;
use super::table::{Budget, Table};
use super::turns::{against, medians, ratio};
use crate::common::home::{CASES, GIT_REQUEST};
use crate::common::programs::{on_path, run};
use crate::common::run::Run;

/// A helper that people run today.
struct Peer {
    name: &'static str,
    /// The case in which keyfob does the same.
    rival: &'static str,
    source: Source,
    /// Makes a warm cache in a home of its own; how to ask. The first path is what was fetched, or found.
    ask: fn(&Path, &Path) -> Result<Run>,
    /// What its answer holds.
    answer: &'static str,
}

/// Where a peer comes from.
enum Source {
    /// A package on PyPI, and its version.
    Pypi(&'static str, &'static str),
    /// A package on npm, and its version.
    Npm(&'static str, &'static str),
    /// A package of Debian's, at the version of this machine's release.
    Debian(&'static str),
    /// A program on the search path that no registry here has; where people get it.
    Path(&'static str, &'static str),
}

const PEERS: &[Peer] = &[
    Peer {
        name: "Azure CLI",
        rival: "keyfob az account get-access-token",
        source: Source::Pypi("azure-cli", "2.91.0"),
        ask: |fetched, home| {
            let python = warmed(fetched, home)?;
            let words = ["-m", "azure.cli", "account", "get-access-token", "--output", "json"];
            let run = Run::new(python, words).within(home).env("HOME", home).env("AZURE_CONFIG_DIR", home);
            Ok(run.env("AZURE_CORE_COLLECT_TELEMETRY", "no").env("PATH", "/usr/bin:/bin"))
        },
        answer: "\"accessToken\": \"access.a",
    },
    Peer {
        name: "MSAL for Python",
        rival: "keyfob token",
        source: Source::Pypi("msal", "1.39.0"),
        ask: |fetched, home| {
            let python = warmed(fetched, home)?;
            Ok(Run::new(python, [script("msal_token.py"), home.to_owned()]).within(home))
        },
        answer: "access.a",
    },
    Peer {
        name: "MSAL for Node",
        rival: "keyfob token",
        source: Source::Npm("@azure/msal-node", "7.2.3"),
        ask: |fetched, home| {
            // Its cache has the same form as that of MSAL for Python, which is what makes one here.
            let python = fetched.with_file_name("msal-1.39.0");
            ensure!(python.is_dir(), "MSAL for Python, which warms its cache, is not here");
            warmed(&python, home)?;
            // Modules are looked for beside the script.
            let beside = fetched.join("msal_token.mjs");
            fs::copy(script("msal_token.mjs"), &beside)?;
            let node = on_path("node").context("node is not here")?;
            Ok(Run::new(node, [beside, home.to_owned()]).within(home))
        },
        answer: "access.a",
    },
    Peer {
        name: "gke-gcloud-auth-plugin",
        rival: "keyfob kubernetes",
        source: Source::Path("gke-gcloud-auth-plugin", "Google's own package repository"),
        ask: |program, home| {
            let kube = home.join(".kube");
            fs::create_dir(&kube)?;
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
                "clusters": [{ "name": "lab", "cluster": { "server": "https://127.0.0.1:1" } }],
                "users": [{ "name": "lab", "user": {} }],
            });
            fs::write(kube.join("config"), config.to_string())?;
            let cache = json!({
                "current_context": "lab",
                "access_token": format!("access.{}", "a".repeat(1000)),
                "token_expiry": "2100-01-01T00:00:00Z",
                "extra_args": "",
            });
            private(&kube.join("gke_gcloud_auth_plugin_cache"), &cache.to_string())?;
            let request = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{"interactive":false}}"#;
            let run = Run::new(program, [""; 0]).within(home).env("HOME", home).env("PATH", "/usr/bin:/bin");
            Ok(run.env("KUBERNETES_EXEC_INFO", request))
        },
        answer: "\"token\": \"access.a",
    },
    Peer {
        name: "gh auth git-credential",
        rival: "keyfob git get",
        source: Source::Debian("gh"),
        ask: |fetched, home| {
            let hosts = "git.example.com:\n    user: ada\n    oauth_token: gho_abcdef\n    git_protocol: https\n";
            private(&home.join("hosts.yml"), hosts)?;
            let run = Run::new(fetched.join("usr/bin/gh"), ["auth", "git-credential", "get"]).within(home);
            Ok(run.env("HOME", home).env("GH_CONFIG_DIR", home))
        },
        answer: "password=gho_abcdef",
    },
    Peer {
        // It keeps nothing itself: what it has got is another helper's to keep, and this is its share of every answer.
        name: "git-credential-oauth (declining a host it does not know)",
        rival: "keyfob git get",
        source: Source::Debian("git-credential-oauth"),
        ask: |fetched, home| {
            let run = Run::new(fetched.join("usr/bin/git-credential-oauth"), ["get"]).within(home);
            Ok(run.env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default()))
        },
        answer: "",
    },
];

pub(crate) fn measure(place: &Place, table: &mut Table) -> Result<()> {
    for peer in PEERS {
        let what = format!("wall: `{}` / {}", peer.rival, peer.name);
        let case = CASES.iter().find(|case| case.name == peer.rival).context("no such case")?;
        let home = TempDir::with_prefix("keyfob-peer-")?;
        let ready = peer.source.get(place).and_then(|fetched| {
            let mut run = (peer.ask)(&fetched, home.path())?;
            run.input = case.input.map(|_| place.home.path().join(GIT_REQUEST));
            // What it keeps from its first run on is part of a warm cache.
            let answer = run.answer()?;
            ensure!(answer.contains(peer.answer), "it does not answer: {answer}");
            Ok(run)
        });
        match ready {
            Ok(peer) => {
                let times = medians(&[place.home.keyfob(case), peer], place.rounds(100))?;
                table.figure(&what, ratio(times[0], times[1]), "×", &against(times[0], times[1]), Budget::Below(1.0));
            }
            Err(error) => table.missing(&what, &format!("{error:#}")),
        }
    }
    Ok(())
}

impl Source {
    /// The folder it was fetched to, or the program that was found.
    fn get(&self, place: &Place) -> Result<PathBuf> {
        let name = match self {
            Self::Pypi(name, version) | Self::Npm(name, version) => format!("{}-{version}", name.replace('/', "-")),
            Self::Debian(name) => format!("{name}-debian"),
            Self::Path(name, source) => {
                return on_path(name).with_context(|| format!("not here, and only {source} has it"));
            }
        };
        let folder = place.folder.join(name);
        if !folder.is_dir() {
            ensure!(place.fetch, "not fetched; `--peers` does");
            eprintln!("  fetching {}", folder.display());
            // Under its own name only when it is complete.
            let draft = TempDir::with_prefix_in("draft-", &place.folder)?;
            self.fetch(draft.path())?;
            fs::rename(draft.path(), &folder)?;
            drop(draft.keep());
        }
        Ok(folder)
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Pypi(name, version) => {
                run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
                let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
                run(Command::new(folder.join("bin/python")).args(pip).arg(format!("{name}=={version}")))?;
            }
            Self::Npm(name, version) => {
                let npm = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"];
                run(Command::new("npm").args(npm).arg(folder).arg(format!("{name}@{version}")))?;
            }
            Self::Debian(name) => {
                run(Command::new("apt-get").args(["download", "--quiet", name]).current_dir(folder))?;
                let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
                let package = files.find(|file| file.extension().is_some_and(|e| e == "deb"));
                run(Command::new("dpkg").arg("--extract").arg(package.context("no package came")?).arg(folder))?;
            }
            Self::Path(..) => {}
        }
        Ok(())
    }
}

/// Makes the caches of MSAL and Azure CLI in `home`, with the Python that was fetched, which is returned.
fn warmed(fetched: &Path, home: &Path) -> Result<PathBuf> {
    let python = fetched.join("bin/python");
    run(Command::new(&python).arg(script("warm.py")).arg(home))?;
    Ok(python)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

fn private(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o600))?)
}
