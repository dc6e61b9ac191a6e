//! kubectl's preferences (kuberc), for the programs that they allow a kubeconfig to run (KEP-3104, kubectl 1.35).
//!
//! A program is allowed if an entry of the list and the kubeconfig's command lead to the same file on `PATH`; links are
//! not followed. The list should name the link `keyfob-kubernetes`, which answers kubectl and does nothing else, never
//! `keyfob`, because a kubeconfig could then run any of its commands.

use super::kubeconfig::LINK;
use super::{on_path, own_program};
use crate::change::files::is_read_only;
use crate::change::plan::{Plan, Shown, Step};
use crate::change::yaml::{Wrong, Yaml};
use crate::failure::{Exit, Failure};
use crate::text::shell_quoted;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::canonicalize;
use std::path::{Path, PathBuf};

const POLICY: &str = "/credentialPluginPolicy";
const LIST: &str = "/credentialPluginAllowlist";
/// The key of an entry's name: in kubectl 1.35, and from 1.36 on.
const KEYS: [&str; 2] = ["name", "command"];

/// The preferences file.
#[derive(Clone, Debug)]
pub(super) struct Kuberc {
    pub(super) path: PathBuf,
    /// The file's bytes.
    pub(super) before: Vec<u8>,
    yaml: Yaml,
}

impl Kuberc {
    /// Reads the preferences that kubectl uses; `None` if there are none.
    pub(super) fn find() -> Result<Option<Self>> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if set("KUBECTL_KUBERC").is_some_and(|value| value == "false") {
            return Ok(None);
        }
        let usual = || Some(std::env::home_dir()?.join(".kube/kuberc"));
        match set("KUBERC").map(PathBuf::from).or_else(usual) {
            Some(path) if path != Path::new("off") && path.exists() => Self::read(&path).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads the preferences in a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let before = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        let yaml = Yaml::parse(&String::from_utf8_lossy(&before)).map_err(|wrong| at(path, &wrong))?;
        Ok(Self { path: path.to_owned(), before, yaml })
    }

    /// Whether kubectl may run this program.
    pub(super) fn allows(&self, program: &str) -> bool {
        match self.policy() {
            "Allowlist" => self.entries().any(|entry| found(entry).is_some_and(|entry| Some(entry) == found(program))),
            policy => policy != "DenyAll",
        }
    }

    /// Adds a program to the list. Fails if kubectl may not run any program.
    pub(super) fn allow(&mut self, program: &str) -> Result<(), Failure> {
        if self.policy() == "DenyAll" {
            let line = self.yaml.line(POLICY);
            let what = format!("{}:{line}: kubectl is to run no program for a token (DenyAll)", self.path.display());
            return Err(Failure::new(Exit::Failed, what)
                .hint("say `credentialPluginPolicy: Allowlist` there, and run the same command again"));
        }
        let list = self.yaml.value().pointer(LIST).and_then(Value::as_array);
        let known = list.and_then(|list| KEYS.iter().find(|key| list.iter().any(|entry| entry.get(*key).is_some())));
        let entry = Map::from_iter([(known.unwrap_or(&KEYS[0]).to_string(), Value::from(program))]);
        self.yaml.push(LIST, &Value::Object(entry)).map_err(|wrong| at(&self.path, &wrong))
    }

    /// Removes a program from the list.
    pub(super) fn forget(&mut self, program: &str) -> Result<(), Failure> {
        let Some(index) = self.entries().position(|entry| entry == program) else { return Ok(()) };
        self.yaml.remove(&format!("{LIST}/{index}")).map_err(|wrong| at(&self.path, &wrong))
    }

    /// The text after the changes.
    pub(super) fn text(&self) -> String {
        self.yaml.text()
    }

    fn policy(&self) -> &str {
        self.yaml.value().pointer(POLICY).and_then(Value::as_str).unwrap_or_default()
    }

    fn entries(&self) -> impl Iterator<Item = &str> {
        let list = self.yaml.value().pointer(LIST).and_then(Value::as_array).into_iter().flatten();
        list.map(|entry| KEYS.iter().find_map(|key| entry.get(*key)?.as_str()).unwrap_or_default())
    }
}

/// A program that setup had the preferences allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowed {
    /// The preferences file.
    pub(super) kuberc: PathBuf,
    program: PathBuf,
    /// Whether setup made the link.
    made: bool,
}

/// The program for kubectl to run, and what has to be done for that.
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// The changed preferences, if they did not allow the program.
    kuberc: Option<Kuberc>,
    /// The target of the link, if it has to be made.
    target: Option<PathBuf>,
}

impl Program {
    /// keyfob itself; or, if kubectl runs only listed programs, the link that does nothing but answer kubectl.
    pub(super) fn find() -> Result<Self> {
        let own = own_program()?;
        let Some(mut kuberc) = Kuberc::find()?.filter(|kuberc| !kuberc.allows(&own.to_string_lossy())) else {
            return Ok(Self { path: own, kuberc: None, target: None });
        };
        let is_own =
            |link: &PathBuf| canonicalize(link).is_ok_and(|link| canonicalize(&own).is_ok_and(|own| own == link));
        let path = on_path(LINK).find(is_own).unwrap_or_else(|| own.with_file_name(LINK));
        let is_missing = !is_own(&path);
        let word = path.to_string_lossy().into_owned();
        let is_allowed = kuberc.allows(&word);
        if !is_allowed {
            kuberc.allow(&word)?;
        }
        if is_missing && (is_read_only(&path) || path.symlink_metadata().is_ok()) {
            let what = format!("kubectl runs only what {} lists, and {word} cannot be made", kuberc.path.display());
            let link = format!("in a folder on PATH: ln -s {} {LINK}", shell_quoted(&own.to_string_lossy()));
            return Err(Failure::new(Exit::Failed, what).hint(link).into());
        }
        Ok(Self { path, kuberc: Some(kuberc).filter(|_| !is_allowed), target: is_missing.then_some(own) })
    }

    /// The program that this setup allows, or that an earlier one, from `earlier`, has allowed already.
    pub(super) fn allowed(&self, mut earlier: impl Iterator<Item = Allowed>) -> Option<Allowed> {
        match &self.kuberc {
            Some(kuberc) => {
                let (kuberc, program) = (kuberc.path.clone(), self.path.clone());
                Some(Allowed { kuberc, program, made: self.target.is_some() })
            }
            None => earlier.find(|allowed| allowed.program == self.path),
        }
    }

    /// Adds what has to be done to a plan.
    pub(super) fn into_plan(self, plan: &mut Plan) {
        let path = self.path;
        plan.steps.extend(self.target.map(|target| Step::Link { path: path.clone(), target }));
        if let Some(kuberc) = self.kuberc {
            let shown = vec![format!("+ kubectl may run {}", path.display())];
            plan.write(&kuberc.path, Some(&kuberc.before), kuberc.text().as_bytes(), Shown::Lines(shown));
        }
    }
}

impl Allowed {
    /// Removes the program from the list, unless one of `others` needs it.
    pub(super) fn take_off(&self, others: &[Self], plan: &mut Plan) -> Result<()> {
        if others.iter().any(|other| other.program == self.program) {
            return Ok(());
        }
        let mut kuberc = Kuberc::read(&self.kuberc)?;
        kuberc.forget(&self.program.to_string_lossy())?;
        let shown = vec![format!("- kubectl may run {}", self.program.display())];
        plan.write(&kuberc.path, Some(&kuberc.before), kuberc.text().as_bytes(), Shown::Lines(shown));
        Ok(())
    }

    /// Removes the link if setup made it, unless one of `others` needs it.
    pub(super) fn remove_link(&self, others: &[Self], plan: &mut Plan) {
        let is_needed = others.iter().any(|other| other.program == self.program);
        if self.made && !is_needed && self.program.is_symlink() {
            plan.steps.push(Step::Unlink(self.program.clone()));
        }
    }
}

/// The file that a word leads to.
fn found(word: &str) -> Option<PathBuf> {
    if word.contains('/') { Some(PathBuf::from(word)) } else { on_path(word).next() }
}

fn at(path: &Path, wrong: &Wrong) -> Failure {
    let what = format!("{}:{}: {}", path.display(), wrong.line, wrong.why);
    Failure::new(Exit::Failed, what).hint("correct kubectl's preferences, or KUBERC")
}
