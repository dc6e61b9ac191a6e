//! The helpers that people run today, answering from their own warm caches, beside keyfob answering the same question.
//!
//! A peer is one row of [`PEERS`]. `benches/peers/fetch` fetches them into the target folder; what is not there is named as
//! missing.

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
    /// Where it is below the folder of what was fetched; a name without a slash is looked for on the search path.
    program: &'static str,
    /// Makes a warm cache in a home of its own; how to ask. The first path is the program.
    ask: fn(&Path, &Path) -> Result<Run>,
    /// What its answer holds.
    answer: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        name: "Azure CLI",
        rival: "keyfob az account get-access-token",
        program: "azure-cli/bin/python",
        ask: |python, home| {
            warm(python, home)?;
            let words = ["-m", "azure.cli", "account", "get-access-token", "--output", "json"];
            let run = Run::new(python, words).within(home).env("HOME", home).env("AZURE_CONFIG_DIR", home);
            Ok(run.env("AZURE_CORE_COLLECT_TELEMETRY", "no").env("PATH", "/usr/bin:/bin"))
        },
        answer: "\"accessToken\": \"access.a",
    },
    Peer {
        name: "MSAL for Python",
        rival: "keyfob token",
        program: "msal/bin/python",
        ask: |python, home| {
            warm(python, home)?;
            Ok(Run::new(python, [script("msal_token.py"), home.to_owned()]).within(home))
        },
        answer: "access.a",
    },
    Peer {
        name: "MSAL for Node",
        rival: "keyfob token",
        program: "msal-node/node_modules/@azure/msal-node/package.json",
        ask: |package, home| {
            let modules = package.ancestors().nth(3).context("a package among others")?;
            let fetched = modules.parent().and_then(Path::parent).context("a folder of what was fetched")?;
            // Its cache has the same form as that of MSAL for Python, which is what makes one here.
            warm(&fetched.join("msal/bin/python"), home)?;
            // Modules are looked for beside the script.
            let beside = modules.with_file_name("msal_token.mjs");
            fs::copy(script("msal_token.mjs"), &beside)?;
            let node = on_path("node").context("node is not here")?;
            Ok(Run::new(node, [beside, home.to_owned()]).within(home))
        },
        answer: "access.a",
    },
    Peer {
        name: "gke-gcloud-auth-plugin",
        rival: "keyfob kubernetes",
        program: "gke-gcloud-auth-plugin",
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
        program: "gh/usr/bin/gh",
        ask: |gh, home| {
            let hosts = "git.example.com:\n    user: ada\n    oauth_token: gho_abcdef\n    git_protocol: https\n";
            private(&home.join("hosts.yml"), hosts)?;
            let run = Run::new(gh, ["auth", "git-credential", "get"]).within(home);
            Ok(run.env("HOME", home).env("GH_CONFIG_DIR", home))
        },
        answer: "password=gho_abcdef",
    },
    Peer {
        // It keeps nothing itself: what it has got is another helper's to keep, and this is its share of every answer.
        name: "git-credential-oauth (declining a host it does not know)",
        rival: "keyfob git get",
        program: "git-credential-oauth/usr/bin/git-credential-oauth",
        ask: |helper, home| {
            let run = Run::new(helper, ["get"]).within(home);
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
        let ready = peer.find(place).and_then(|program| {
            let mut run = (peer.ask)(&program, home.path())?;
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

impl Peer {
    fn find(&self, place: &Place) -> Result<PathBuf> {
        if !self.program.contains('/') {
            return on_path(self.program).context("it is not on PATH");
        }
        let program = place.folder.join(self.program);
        ensure!(program.is_file(), "`benches/peers/fetch` has not fetched it");
        Ok(program)
    }
}

/// Makes the caches of MSAL and Azure CLI in `home`, with a Python that has MSAL.
fn warm(python: &Path, home: &Path) -> Result<()> {
    run(Command::new(python).arg(script("warm.py")).arg(home)).map(drop)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

fn private(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o600))?)
}
