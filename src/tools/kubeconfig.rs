//! Kubeconfigs: finding, reading and changing them. kubectl is not used for this: one that only chooses among versions asks
//! the server first, and for that would run the very program that is to be changed.

use crate::change::yaml::{Wrong, Yaml};
use crate::config::{Target, file_path};
use crate::failure::{Exit, Failure};
use crate::sorted;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The link that answers kubectl and does nothing else.
pub(super) const LINK: &str = "keyfob-kubernetes";

/// The first lines of a new kubeconfig.
const HEAD: &str = "apiVersion: v1\nkind: Config\n";

/// Credentials that a user may have besides a program. kubectl or the API server prefers each of them to the program's
/// token.
pub(super) const CREDENTIALS: [(&[&str], &str); 4] = [
    (&["token", "tokenFile"], "a token of its own, which kubectl sends instead"),
    (&["username", "password"], "a password, which kubectl sends instead"),
    (
        &["client-certificate", "client-certificate-data", "client-key", "client-key-data"],
        "a client certificate, which API servers look at first",
    ),
    (&["auth-provider"], "an auth-provider, besides which kubectl takes no program"),
];

/// One kubeconfig file.
#[derive(Clone, Debug)]
pub(super) struct Kubeconfig {
    /// The file's path.
    pub(super) path: PathBuf,
    /// The file's bytes; `None` if it does not exist.
    pub(super) before: Option<Vec<u8>>,
    yaml: Yaml,
}

/// All kubeconfig files, as kubectl finds them.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The files; there is at least one.
    pub(super) all: Vec<Kubeconfig>,
    /// The index of the file that gets new entries.
    pub(super) target: usize,
}

/// The lists in a kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Context,
    Cluster,
}

/// An entry of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'f> {
    /// The index of its file.
    pub(super) file: usize,
    /// Its index in the list.
    index: usize,
    pub(super) kind: Kind,
    pub(super) name: &'f str,
    /// The value of its `user`, `context` or `cluster` key.
    pub(super) value: &'f Value,
}

/// The `exec` section of a user: the program that kubectl runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_version: Option<String>,
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<Vec<Variable>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interactive_mode: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) provide_cluster_info: bool,
}

/// An environment variable of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

impl Kind {
    const ALL: [Self; 3] = [Self::User, Self::Context, Self::Cluster];

    /// The key of the list, and the key of an entry's value.
    pub(super) fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::User => ("users", "user"),
            Self::Context => ("contexts", "context"),
            Self::Cluster => ("clusters", "cluster"),
        }
    }
}

impl Entry<'_> {
    /// The path of a key in the entry, for [`Yaml`].
    pub(super) fn path(&self, key: &str) -> String {
        let (list, own) = self.kind.keys();
        format!("/{list}/{}/{own}/{key}", self.index)
    }

    /// The path of the whole entry.
    pub(super) fn whole(&self) -> String {
        format!("/{}/{}", self.kind.keys().0, self.index)
    }
}

impl Kubeconfig {
    /// Reads a file; a missing one has no entries.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let before = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e).with_context(|| format!("could not read {}", path.display())),
        };
        let text = before.as_deref().map_or(Ok(HEAD), std::str::from_utf8);
        let text = text.map_err(|_| Failure::new(Exit::Failed, format!("{} is not UTF-8", path.display())))?;
        Self::of(path, text, before.clone())
    }

    /// A kubeconfig without entries, for this path.
    pub(super) fn empty(path: &Path) -> Self {
        let yaml = Yaml::parse("").expect("nothing is YAML");
        Self { path: path.to_owned(), before: None, yaml }
    }

    /// Parses `text` as the file at this path.
    pub(super) fn of(path: &Path, text: &str, before: Option<Vec<u8>>) -> Result<Self> {
        let yaml = Yaml::parse(text).map_err(|wrong| at(path, &wrong))?;
        let wrong = |place: &str, why: &str| {
            let why = format!("{} is not {why}", place.trim_start_matches('/').replace('/', "."));
            Err(at(path, &Wrong { line: yaml.line(place), why }).into())
        };
        if !matches!(yaml.value(), Value::Object(_) | Value::Null) {
            return wrong("/it", "a kubeconfig");
        }
        for kind in Kind::ALL {
            let (list, _) = kind.keys();
            match yaml.value().get(list) {
                None | Some(Value::Null) => {}
                Some(Value::Array(entries)) => {
                    for (index, entry) in entries.iter().enumerate() {
                        if !entry["name"].is_string() {
                            return wrong(&format!("/{list}/{index}/name"), "a name");
                        }
                    }
                }
                Some(_) => return wrong(&format!("/{list}"), "a list"),
            }
        }
        Ok(Self { path: path.to_owned(), before, yaml })
    }

    /// The text after the changes.
    pub(super) fn text(&self) -> String {
        self.yaml.text()
    }

    /// The entries of a list. `file` is the file's index, to be stored in them.
    pub(super) fn entries(&self, kind: Kind, file: usize) -> impl Iterator<Item = Entry<'_>> {
        let (list, own) = kind.keys();
        let entries = self.yaml.value().get(list).and_then(Value::as_array).into_iter().flatten();
        entries.enumerate().map(move |(index, entry)| {
            let name = entry["name"].as_str().unwrap_or_default();
            Entry { file, index, kind, name, value: &entry[own] }
        })
    }

    /// The entry with this name.
    pub(super) fn entry(&self, kind: Kind, name: &str) -> Option<Entry<'_>> {
        self.entries(kind, 0).find(|entry| entry.name == name)
    }

    /// Whether the file has no entries at all.
    pub(super) fn is_bare(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.entries(kind, 0).next().is_none())
    }

    /// Changes the file. An error names the line.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Yaml) -> Result<(), Wrong>) -> Result<(), Failure> {
        edit(&mut self.yaml).map_err(|wrong| at(&self.path, &wrong))
    }

    /// The value of a top-level key; `None` if it does not exist.
    pub(super) fn top(&self, key: &str) -> Option<&Value> {
        self.yaml.value().get(key)
    }
}

/// A failure that names the file and line.
fn at(path: &Path, wrong: &Wrong) -> Failure {
    Failure::new(Exit::Failed, format!("{}:{}: {}", path.display(), wrong.line, wrong.why))
        .hint("correct the kubeconfig, or KUBECONFIG")
}

/// The paths: the file given, otherwise those in `KUBECONFIG`, otherwise the one in the home folder.
pub(super) fn paths(given: Option<&Path>) -> Result<Vec<PathBuf>> {
    let named: Vec<PathBuf> = match (given, std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty())) {
        (Some(file), _) => vec![file.to_owned()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|file| !file.as_os_str().is_empty()).collect(),
        (None, None) => {
            let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
            let home = home.ok_or_else(|| {
                Failure::usage("there is no home directory to find the kubeconfig in")
                    .hint("set HOME, or name the file with --kubeconfig")
            })?;
            vec![home.join(".kube/config")]
        }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for file in named {
        let file = std::path::absolute(&file).unwrap_or(file);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    Ok(files)
}

impl Files {
    /// Reads all files.
    pub(super) fn find(given: Option<&Path>) -> Result<Self> {
        let all: Vec<_> = paths(given)?.iter().map(|path| Kubeconfig::read(path)).collect::<Result<_>>()?;
        // kubectl chooses the same file.
        let exists = all.iter().position(|file| file.before.is_some());
        let target = exists.or(all.len().checked_sub(1)).ok_or_else(|| {
            Failure::usage("KUBECONFIG names no file").hint("unset KUBECONFIG, or name the file with --kubeconfig")
        })?;
        Ok(Self { all, target })
    }

    /// The entries in all files. If two have the same name, kubectl uses the first.
    pub(super) fn entries(&self, kind: Kind) -> impl Iterator<Item = Entry<'_>> {
        self.all.iter().enumerate().flat_map(move |(number, file)| file.entries(kind, number))
    }

    /// The entry with this name.
    pub(super) fn entry(&self, kind: Kind, name: &str) -> Option<Entry<'_>> {
        self.entries(kind).find(|entry| entry.name == name)
    }

    /// The addresses of the clusters that a user is for, if its program is told the cluster.
    pub(super) fn clusters(&self, user: &str) -> Vec<String> {
        let exec = self.entry(Kind::User, user).and_then(|user| Exec::of(user.value));
        if !exec.is_some_and(|exec| exec.provide_cluster_info) {
            return Vec::new();
        }
        let contexts = self.entries(Kind::Context).filter(|context| context.value["user"] == user);
        let servers = contexts.filter_map(|context| {
            let cluster = self.entry(Kind::Cluster, context.value["cluster"].as_str()?)?;
            Some(Target::of_url(cluster.value["server"].as_str()?)?.origin())
        });
        sorted::set(servers).into_iter().collect()
    }

    /// Every user; of two with the same name, the first.
    pub(super) fn users(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut seen = BTreeSet::new();
        self.entries(Kind::User).filter(move |user| seen.insert(user.name))
    }

    /// Every user that runs a program.
    pub(super) fn execs(&self) -> Vec<(Entry<'_>, Exec)> {
        self.users().filter_map(|user| Some((user, Exec::of(user.value)?))).collect()
    }
}

impl Exec {
    /// An `exec` section that runs keyfob for a profile.
    pub(super) fn keyfob(command: String, profile: &str) -> Self {
        let words = ["kubernetes", "--profile", profile].map(str::to_owned);
        // The link stands for the subcommand.
        let args = if command.ends_with(LINK) { words[1..].to_vec() } else { words.to_vec() };
        Self {
            api_version: Some("client.authentication.k8s.io/v1".to_owned()),
            command,
            args: Some(args),
            interactive_mode: Some("IfAvailable".to_owned()),
            ..Self::default()
        }
    }

    /// The `exec` section of a user, if it is readable.
    pub(super) fn of(user: &Value) -> Option<Self> {
        user.get("exec").filter(|exec| exec.is_object()).and_then(|exec| Self::deserialize(exec).ok())
    }

    /// Whether the program is a keyfob.
    pub(super) fn is_keyfob(&self) -> bool {
        Path::new(&self.command).file_name().is_some_and(|name| name == "keyfob" || name == LINK)
    }

    /// The profile in its arguments.
    pub(super) fn profile(&self) -> Option<&str> {
        self.args.iter().flatten().skip_while(|arg| *arg != "--profile").nth(1).map(String::as_str)
    }

    /// Whether both run the same program in the same way.
    pub(super) fn does_what(&self, other: &Self) -> bool {
        let env = |exec: &Self| exec.env.clone().unwrap_or_default();
        (&self.command, &self.args, env(self), self.provide_cluster_info)
            == (&other.command, &other.args, env(other), other.provide_cluster_info)
    }

    /// `KEYFOB_CONFIG` in its environment, if that is not this process's configuration.
    pub(super) fn own_config(&self) -> Option<&str> {
        let named = self.env.iter().flatten().find(|variable| variable.name == "KEYFOB_CONFIG");
        let named = named.map(|variable| variable.value.as_str()).filter(|path| !path.is_empty())?;
        (file_path().as_deref() != Some(Path::new(named))).then_some(named)
    }

    /// Its command line, for people.
    pub(super) fn line(&self) -> String {
        let words: Vec<String> = std::iter::once(&self.command).chain(self.args.iter().flatten()).cloned().collect();
        crate::change::plan::line(&words)
    }
}
