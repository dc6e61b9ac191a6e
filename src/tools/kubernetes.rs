//! `keyfob setup kubernetes`: a user of the kubeconfig that runs keyfob, through `kubectl config` itself.
//!
//! kubectl writes the whole file anew, so its former bytes are kept, and the undo puts them back; see `former`.

use super::findings::Findings;
use super::former::{Former, FormerContext, Undo, User};
use super::found::{Found, Machine};
use super::kubelogin;
use super::plan::{Plan, Step, line};
use super::profile::{Config, Wanted, plain};
use super::{Job, Ran, Tool, is_program, on_path, own_name, own_path, run as ran};
use crate::config::{File, Profile, file_path};
use crate::failure::{Exit, Failure, Hint};
use crate::text::{clean, nearest, shell_quoted};
use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// `keyfob setup kubernetes`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
kubectl itself changes the kubeconfig; the undo puts the former bytes back.

Examples:
  keyfob setup kubernetes --profile lab --context lab
  keyfob setup kubernetes --profile lab --user ada --kubeconfig ~/lab.yaml
  keyfob setup kubernetes --profile lab --issuer https://id.example.com --client-id kubernetes
                                           makes the profile, too
  keyfob setup kubernetes --from-kubelogin
                                           users that run int128's or Azure's kubelogin
  keyfob setup kubernetes --undo --user ada")]
struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Take over users that run kubelogin, int128's or Azure's [default: all that do], with a profile for each
    #[arg(long, conflicts_with_all = ["context", "cluster"])]
    from_kubelogin: bool,
    /// User of the kubeconfig [default: the profile's name]; repeat for more with --from-kubelogin
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// Context that is to have this user
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Cluster of the context, if that is new
    #[arg(long, value_name = "NAME", requires = "context")]
    cluster: Option<String>,
    /// The kubeconfig to change [default: the one kubectl would change]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// What this calls itself in config.toml.
const BY: &str = "setup kubernetes";

/// kubectl, and whatever else reads a kubeconfig
pub(super) const TOOL: Tool = Tool {
    name: "kubernetes",
    alias: Some("kubectl"),
    about: "Have a user of the kubeconfig get tokens from keyfob",
    define: Arguments::augment_args,
    connect: |matches| connect(&Arguments::from_arg_matches(matches)?),
    disconnect: |matches| disconnect(&Arguments::from_arg_matches(matches)?),
    discover,
    check,
};

/// Connects a user with a profile.
fn connect(arguments: &Arguments) -> Result<Job> {
    let files = Files::find(arguments.kubeconfig.as_deref())?;
    let mut config = Config::load()?;
    if arguments.from_kubelogin {
        return take_over(arguments, &files, config);
    }
    let profile = arguments.wanted.in_config(&mut config, BY)?;
    let user = match arguments.user.as_slice() {
        [] => profile.title(),
        [user] => user,
        _ => return Err(Failure::usage("one user at a time").hint("several go with --from-kubelogin").into()),
    };
    let mut change = Change::new(&files, profile.title());
    change.user(user, profile.title(), &[])?;
    match &arguments.context {
        Some(context) => change.context(context, arguments.cluster.as_deref(), user)?,
        None => change.notes.extend(files.unused(user)),
    }
    let title = format!("Connect kubectl's user {user} with the profile {}", profile.title());
    let plan = change.into_plan(config, Plan::default())?;
    Ok(Job { title, plan, after: Box::new(move || checked(&profile)) })
}

/// `--from-kubelogin`: a profile for each user that runs it, and keyfob in its place.
fn take_over(arguments: &Arguments, files: &Files, mut config: Config) -> Result<Job> {
    let execs = files.execs();
    let runs_it = |name: &str| execs.iter().any(|(user, exec)| user == name && kubelogin::is_kubelogin(exec));
    let users: Vec<&str> = if arguments.user.is_empty() {
        execs.iter().map(|(user, _)| user.as_str()).filter(|user| runs_it(user)).collect()
    } else {
        arguments.user.iter().map(String::as_str).collect()
    };
    if let Some(other) = users.iter().find(|user| !runs_it(user)) {
        return Err(Failure::usage(format!("the user {other:?} does not run kubelogin")).into());
    }
    let [first, others @ ..] = users.as_slice() else {
        return Err(Failure::usage("no user of the kubeconfig runs kubelogin").into());
    };
    if arguments.wanted.profile.is_some() && !others.is_empty() {
        let what = format!("--profile names one profile, and there are the users {}", users.join(", "));
        return Err(Failure::usage(what).hint("leave it out, or name one with --user").into());
    }
    let mut plan = Plan::default();
    let mut profiles = Vec::new();
    let mut change = Change::new(files, arguments.wanted.profile.as_deref().unwrap_or(first));
    for (user, exec) in execs.iter().filter(|(user, _)| users.contains(&user.as_str())) {
        let cannot = |why: String| Failure::usage(format!("the user {user:?} cannot be taken over: {why}"));
        let taken = kubelogin::read(exec).map_err(cannot)?;
        if !taken.dropped.is_empty() {
            let dropped = taken.dropped.join(", ");
            plan.notes.push(format!("of the user {user:?}, {dropped} is dropped: it means nothing to keyfob"));
        }
        plan.notes.extend(taken.notes.iter().map(|note| format!("of the user {user:?}: {note}")));
        let name = arguments.wanted.profile.clone().unwrap_or_else(|| plain(user));
        change.user(user, &name, &taken.env)?;
        let profile = taken.into_config(&mut config, &name, &arguments.wanted.flags.0, BY, &mut plan)?;
        profiles.push(profile);
    }
    let title = format!("Have keyfob take kubelogin's place for {}", users.join(", "));
    let plan = change.into_plan(config, plan)?;
    Ok(Job { title, plan, after: Box::new(move || profiles.iter().map(checked).collect()) })
}

/// The kubeconfigs, as kubectl finds them.
pub(super) struct Files {
    /// Each with what it holds.
    all: Vec<(PathBuf, View)>,
    /// The one that what is new goes into.
    target: PathBuf,
}

/// What a kubeconfig holds, in kubectl's words; secrets are left out.
#[derive(Debug, Default, Deserialize)]
struct View {
    users: Option<Vec<Named>>,
    contexts: Option<Vec<Named>>,
    clusters: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    user: Value,
    #[serde(default)]
    context: Value,
}

/// The program that kubectl runs for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exec {
    pub(super) api_version: Option<String>,
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) interactive_mode: Option<String>,
    #[serde(default)]
    pub(super) provide_cluster_info: bool,
}

/// A variable of its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

/// The file given, else those of `KUBECONFIG`, else the one in the home folder.
fn kubeconfigs(given: Option<&Path>) -> Result<Vec<PathBuf>> {
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
    /// Reads them.
    pub(super) fn find(given: Option<&Path>) -> Result<Self> {
        let files = kubeconfigs(given)?.into_iter();
        let all: Vec<_> = files.map(|file| Ok((file.clone(), View::of(&file)?))).collect::<Result<_>>()?;
        // As kubectl chooses.
        let target = all.iter().find(|(file, _)| file.exists()).or(all.last()).map(|(file, _)| file.clone());
        let target = target.ok_or_else(|| {
            Failure::usage("KUBECONFIG names no file").hint("unset KUBECONFIG, or name the file with --kubeconfig")
        })?;
        Ok(Self { all, target })
    }

    /// A user, and the file it is in.
    fn user(&self, name: &str) -> Option<(&Path, &Value)> {
        self.find_in(|view| &view.users, name).map(|(file, named)| (file, &named.user))
    }

    fn context(&self, name: &str) -> Option<(&Path, &Value)> {
        self.find_in(|view| &view.contexts, name).map(|(file, named)| (file, &named.context))
    }

    fn find_in(&self, list: fn(&View) -> &Option<Vec<Named>>, name: &str) -> Option<(&Path, &Named)> {
        self.all.iter().find_map(|(file, view)| {
            let found = list(view).iter().flatten().find(|entry| entry.name == name)?;
            Some((file.as_path(), found))
        })
    }

    /// Every user that runs a program.
    pub(super) fn execs(&self) -> Vec<(String, Exec)> {
        let users = self.all.iter().flat_map(|(_, view)| view.users.iter().flatten());
        users.filter_map(|user| Some((user.name.clone(), Exec::deserialize(&user.user["exec"]).ok()?))).collect()
    }

    /// Every context, and its user, which may be empty.
    pub(super) fn contexts(&self) -> impl Iterator<Item = (&str, &str)> {
        let contexts = self.all.iter().flat_map(|(_, view)| view.contexts.iter().flatten());
        contexts.map(|entry| (entry.name.as_str(), entry.context["user"].as_str().unwrap_or_default()))
    }

    /// The names of contexts or clusters.
    fn names(&self, list: fn(&View) -> &Option<Vec<Named>>) -> Vec<&str> {
        self.all.iter().flat_map(|(_, view)| list(view).iter().flatten()).map(|entry| entry.name.as_str()).collect()
    }

    /// How to use a user that no context has.
    fn unused(&self, user: &str) -> Option<String> {
        if self.contexts().any(|(_, of)| of == user) {
            return None;
        }
        let user = shell_quoted(user);
        Some(format!("no context has this user yet: kubectl --user={user}, or the same setup with --context NAME"))
    }
}

impl View {
    fn of(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let view = kubectl(file, &["config", "view", "--output=json"])?;
        serde_json::from_str(&view).with_context(|| format!("could not read what kubectl says of {}", file.display()))
    }
}

/// `kubectl` for one kubeconfig.
fn words(file: &Path, rest: &[&str]) -> Vec<String> {
    let file = format!("--kubeconfig={}", file.display());
    ["kubectl", &file].into_iter().chain(rest.iter().copied()).map(str::to_owned).collect()
}

/// What kubectl says.
fn kubectl(file: &Path, rest: &[&str]) -> Result<String> {
    let words = words(file, rest);
    let Ran { ok, stdout, stderr } = ran(&words, &[], "")?;
    if ok {
        return Ok(stdout);
    }
    let what = format!("`{}` failed: {}", line(&words), clean(&stderr));
    Err(Failure::new(Exit::Failed, what).into())
}

/// A change of kubeconfigs, and how it was before.
struct Change<'f> {
    files: &'f Files,
    profile: String,
    commands: Vec<Vec<String>>,
    notes: Vec<String>,
    users: Vec<User>,
    contexts: Vec<FormerContext>,
}

impl<'f> Change<'f> {
    fn new(files: &'f Files, profile: &str) -> Self {
        let (commands, notes) = (Vec::new(), Vec::new());
        Self { files, profile: profile.to_owned(), commands, notes, users: Vec::new(), contexts: Vec::new() }
    }

    /// Has a user run keyfob, with these variables.
    fn user(&mut self, name: &str, profile: &str, env: &[Variable]) -> Result<()> {
        if name.starts_with('-') {
            return Err(Failure::usage(format!("the user {name:?} begins as a flag of kubectl does")).into());
        }
        let there = self.files.user(name);
        let file = there.map_or(self.files.target.as_path(), |(file, _)| file);
        if let Some((_, user)) = there {
            let others = interfering(name, user, file)?;
            self.notes.extend(others.into_iter().map(|(what, unset)| format!("{what}; to remove it: {unset}")));
        }
        let former = there.and_then(|(_, user)| Exec::deserialize(&user["exec"]).ok());
        let env = env.iter().cloned().chain(own_files()).collect();
        let exec = Exec { env: Some(env), ..Exec::keyfob(own_name()?, profile) };
        if former.as_ref().is_some_and(|former| former.does_what(&exec)) {
            return Ok(());
        }
        if let Some(former) = &former {
            self.commands.push(words(file, &["config", "unset", &format!("users.{name}.exec")]));
            if !former.is_keyfob() {
                let program = shell_quoted(&former.command);
                self.notes.push(format!("the user {name:?} runs {program} now; keyfob takes its place"));
            }
        }
        self.commands.push(exec.command(file, name)?);
        if self.files.all.len() > 1 {
            self.notes.push(format!("of the files in KUBECONFIG, {} is changed", file.display()));
        }
        self.users.push(User {
            file: file.to_owned(),
            name: name.to_owned(),
            profile: profile.to_owned(),
            was_there: there.is_some(),
            exec: former,
        });
        Ok(())
    }

    /// Has a context use a user.
    fn context(&mut self, name: &str, cluster: Option<&str>, user: &str) -> Result<()> {
        if name.starts_with('-') {
            return Err(Failure::usage(format!("the context {name:?} begins as a flag of kubectl does")).into());
        }
        let (file, former_user) = match (self.files.context(name), cluster) {
            (Some((_, context)), _) if context["user"] == user => return Ok(()),
            (Some((file, context)), _) => (file, context["user"].as_str()),
            (None, Some(cluster)) => {
                let known = self.files.names(|view| &view.clusters);
                if !known.contains(&cluster) {
                    return Err(unknown("cluster", cluster, &known).into());
                }
                (self.files.target.as_path(), None)
            }
            (None, None) => return Err(unknown("context", name, &self.files.names(|view| &view.contexts)).into()),
        };
        let former_user = former_user.filter(|former| !former.is_empty());
        if let Some(former) = former_user {
            self.notes.push(format!("the context {name:?} has the user {former:?} now, which stays as it is"));
        }
        let was_there = self.files.context(name).is_some();
        let mut rest = vec!["config".to_owned(), "set-context".to_owned(), name.to_owned(), format!("--user={user}")];
        rest.extend(cluster.filter(|_| !was_there).map(|cluster| format!("--cluster={cluster}")));
        self.commands.push(words(file, &rest.iter().map(String::as_str).collect::<Vec<_>>()));
        self.contexts.push(FormerContext {
            file: file.to_owned(),
            name: name.to_owned(),
            user: user.to_owned(),
            was_there,
            former_user: former_user.map(str::to_owned),
        });
        Ok(())
    }

    /// Adds this to a plan; what was there is kept.
    fn into_plan(self, config: Config, mut plan: Plan) -> Result<Plan> {
        let Self { profile, commands, notes, users, contexts, .. } = self;
        plan.notes.extend(notes);
        let files = users.iter().map(|user| &user.file).chain(contexts.iter().map(|context| &context.file));
        let mut files: Vec<PathBuf> = files.cloned().collect();
        files.sort_unstable();
        files.dedup();
        if files.is_empty() {
            // By which the undo finds what else there is to take back.
            files.push(self.files.target.clone());
        }
        let mut former = config.keep(files)?;
        former.profiles = users.iter().map(|user| user.profile.clone()).chain([profile]).collect();
        (former.users, former.contexts) = (users, contexts);
        // The profile before what needs it.
        plan.steps.extend(config.into_step());
        plan.steps.extend(commands.into_iter().map(Step::Run));
        plan.keep(former);
        Ok(plan)
    }
}

/// A name that is not in the kubeconfig.
fn unknown(what: &str, name: &str, known: &[&str]) -> Failure {
    let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
    let there = near.unwrap_or_else(|| match known {
        [] => "there are none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    });
    Failure::usage(format!("the kubeconfig has no {what} {name:?}; {there}"))
}

/// Other credentials of a user that kubectl or the API server prefers to a program's token, each with the command that
/// removes it.
fn interfering(name: &str, user: &Value, file: &Path) -> Result<Vec<(String, String)>> {
    let has = |keys: &[&'static str]| keys.iter().copied().find(|key| !user[*key].is_null() && user[*key] != "");
    let unset = |key: &str| line(&words(file, &["config", "unset", &format!("users.{name}.{key}")]));
    if let Some(key) = has(&["auth-provider"]) {
        let what = format!("the user {name:?} has an auth-provider, besides which kubectl takes no program");
        return Err(Failure::usage(what).hint(format!("first: {}", unset(key))).into());
    }
    let mut notes = Vec::new();
    for (keys, what) in [
        (&["token", "tokenFile"][..], "a token of its own, which kubectl sends instead"),
        (&["password"], "a password, which kubectl sends instead"),
        (&["client-certificate", "client-certificate-data"], "a client certificate, which API servers look at first"),
    ] {
        if let Some(key) = has(keys) {
            notes.push((format!("the user {name:?} has {what}"), unset(key)));
        }
    }
    Ok(notes)
}

/// Users that run kubelogin, and contexts whose users do not run keyfob.
fn discover(machine: &Machine, found: &mut Found) {
    let files = match Files::find(None) {
        Ok(files) => files,
        Err(error) => {
            found.notes.push(format!("kubectl: {}", clean(&format!("{error:#}"))));
            return;
        }
    };
    let execs = files.execs();
    for (user, exec) in execs.iter().filter(|(_, exec)| kubelogin::is_kubelogin(exec)) {
        let title = format!("kubectl: the user {} runs kubelogin", clean(user));
        match kubelogin::read(exec) {
            Ok(_) => found.offer(title, &["kubernetes", "--from-kubelogin", "--user", user], true),
            Err(why) => found.notes.push(format!("{title}, which keyfob cannot take over: {why}")),
        }
    }
    let profile = machine.usual();
    for (context, user) in files.contexts() {
        match execs.iter().find(|(name, _)| name == user) {
            Some((_, exec)) if exec.is_keyfob() => {
                found.connected.push(format!("kubectl: the context {}", clean(context)));
            }
            Some((_, exec)) if kubelogin::is_kubelogin(exec) => {}
            _ => {
                let title = match user {
                    "" => format!("kubectl: the context {}, which has no user", clean(context)),
                    user => format!("kubectl: the context {} with the user {}", clean(context), clean(user)),
                };
                let mut words = vec!["kubernetes", "--profile", profile.unwrap_or("NAME"), "--context", context];
                if machine.file.profiles.is_empty() {
                    words.extend(["--issuer", "URL", "--client-id", "ID"]);
                }
                found.offer(title, &words, profile.is_some());
            }
        }
    }
}

/// What kubectl runs for the users that have keyfob.
fn check(findings: &mut Findings, config: &File, only: Option<&str>) {
    const CORRECT: &str = "correct the kubeconfig, or KUBECONFIG";
    // Without kubectl there is nothing that would run keyfob by its configuration.
    if on_path("kubectl").is_none() {
        return;
    }
    let files = match Files::find(None) {
        Ok(files) => files,
        Err(error) => return findings.failure("kubectl", &error, CORRECT),
    };
    let (there, missing): (Vec<_>, Vec<_>) = files.all.iter().map(|(file, _)| file).partition(|file| file.exists());
    if let Some(first) = missing.first().filter(|_| std::env::var_os("KUBECONFIG").is_some_and(|list| !list.is_empty()))
    {
        let remedy = match std::env::join_paths(there) {
            Ok(list) if !list.is_empty() => format!("export KUBECONFIG={}", shell_quoted(&list.to_string_lossy())),
            _ => "unset KUBECONFIG".to_owned(),
        };
        let message = format!("KUBECONFIG names {}, which does not exist", first.display());
        findings.warn("kubectl", message, Hint::Command(remedy));
    }
    for (name, exec) in files.execs().iter().filter(|(_, exec)| exec.is_keyfob()) {
        let Some((file, user)) = files.user(name) else { continue };
        let profile = exec.args.iter().flatten().skip_while(|arg| *arg != "--profile").nth(1);
        if only.is_some_and(|only| profile.is_none_or(|profile| profile != only)) {
            continue;
        }
        let subject = format!("kubectl {name}");
        if let Some(own) = exec.own_config() {
            let message = format!("runs {} with the configuration {own}, which was not looked at", exec.command);
            findings.warn(
                &subject,
                message,
                Hint::Command(format!("KEYFOB_CONFIG={} keyfob doctor", shell_quoted(own))),
            );
            continue;
        }
        let known = profile.filter(|name| config.profiles.contains_key(*name));
        let again =
            |profile: &str| format!("keyfob setup kubernetes --profile {profile} --user {}", shell_quoted(name));
        if let (Some(unknown), None) = (profile, known) {
            findings.error(&subject, format!("asks for the profile {unknown:?}, which does not exist"), again("NAME"));
            continue;
        }
        let program = &exec.command;
        if !is_program(program, file.parent().unwrap_or(file)) {
            let remedy = match known {
                Some(profile) => Hint::Command(again(&shell_quoted(profile))),
                None => again("NAME").into(),
            };
            findings.error(&subject, format!("runs {program}, which does not exist"), remedy);
            continue;
        }
        match interfering(name, user, file) {
            Err(error) => findings.failure(&subject, &error, CORRECT),
            Ok(notes) if notes.is_empty() => findings.ok(&subject, format!("runs {program}")),
            Ok(notes) => {
                for (what, remedy) in notes {
                    findings.error(&subject, what, Hint::Command(remedy));
                }
            }
        }
    }
}

impl Exec {
    /// keyfob for a profile.
    fn keyfob(command: String, profile: &str) -> Self {
        let args = ["kubernetes", "--profile", profile].map(str::to_owned).to_vec();
        Self { command, args: Some(args), ..Self::default() }
    }

    /// Whether it is some keyfob.
    pub(super) fn is_keyfob(&self) -> bool {
        Path::new(&self.command).file_name() == Some("keyfob".as_ref())
    }

    /// Whether it runs the same thing.
    fn does_what(&self, other: &Self) -> bool {
        let env = |exec: &Self| exec.env.clone().unwrap_or_default();
        (&self.command, &self.args) == (&other.command, &other.args) && env(self) == env(other)
    }

    /// Whether it asks for this profile.
    fn asks_for(&self, profile: &str) -> bool {
        self.is_keyfob() && self.args == Self::keyfob(String::new(), profile).args
    }

    /// The configuration that its environment names, if that is not the one this process has.
    fn own_config(&self) -> Option<&str> {
        let named = self.env.iter().flatten().find(|variable| variable.name == "KEYFOB_CONFIG");
        let named = named.map(|variable| variable.value.as_str()).filter(|path| !path.is_empty())?;
        (file_path().as_deref() != Some(Path::new(named))).then_some(named)
    }

    /// Whether a secret stands in its arguments, as kubelogin's may.
    fn has_secret(&self) -> bool {
        let values = self.env.iter().flatten().map(|variable| &variable.name).chain(self.args.iter().flatten());
        values.map(|value| value.to_ascii_lowercase()).any(|v| v.contains("secret") || v.contains("password"))
    }

    /// The command that gives it to a user.
    fn command(&self, file: &Path, user: &str) -> Result<Vec<String>> {
        // kubectl before 1.30 has no flag for what v1 demands; v1beta1 takes the same for granted.
        let modern = kubectl(file, &["config", "set-credentials", "--help"])?.contains("--exec-interactive-mode");
        let version = if modern { "v1" } else { "v1beta1" };
        let version = self.api_version.clone().unwrap_or_else(|| format!("client.authentication.k8s.io/{version}"));
        let mut rest = vec![
            "config".to_owned(),
            "set-credentials".to_owned(),
            user.to_owned(),
            format!("--exec-api-version={version}"),
            format!("--exec-command={}", self.command),
        ];
        rest.extend(self.args.iter().flatten().map(|arg| format!("--exec-arg={}", comma_safe(arg))));
        for Variable { name, value } in self.env.iter().flatten() {
            rest.push(format!("--exec-env={}", comma_safe(&format!("{name}={value}"))));
        }
        let mode = self.interactive_mode.as_deref().unwrap_or("IfAvailable");
        rest.extend(modern.then(|| format!("--exec-interactive-mode={mode}")));
        rest.extend(self.provide_cluster_info.then(|| "--exec-provide-cluster-info".to_owned()));
        Ok(words(file, &rest.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

/// The variables that tell this process where its files are; kubectl may be run without them.
fn own_files() -> impl Iterator<Item = Variable> {
    ["KEYFOB_CONFIG", "KEYFOB_CACHE_DIR"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        let value = std::path::absolute(value).ok()?.to_string_lossy().into_owned();
        Some(Variable { name: name.to_owned(), value })
    })
}

/// A value for a flag that takes a list with commas, as CSV has it.
fn comma_safe(value: &str) -> String {
    if value.contains([',', '"']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

/// Asks keyfob for a token, as kubectl would, and says what came of it.
fn checked(profile: &Profile) -> Result<String> {
    let own = own_path()?.to_string_lossy().into_owned();
    let words = [&own, "kubernetes", "--profile", profile.title()].map(str::to_owned);
    let answer = ran(&words, &[("KEYFOB_PROMPT", "never"), ("KUBERNETES_EXEC_INFO", "")], "")?;
    if answer.ok {
        return Ok("kubectl asks keyfob, and is answered: there is a token.\n".to_owned());
    }
    if answer.stderr.contains("a sign-in is needed") {
        let login = profile.command("login");
        let first = "keyfob asks you to sign in when kubectl first needs a token";
        return Ok(format!("kubectl asks keyfob. Nobody has signed in yet.\n{first}; or now: {login}\n"));
    }
    let (why, hint) = super::said(&answer.stderr);
    let what = format!("kubectl is set up, but keyfob does not answer: {why}");
    Err(Failure { hint, ..Failure::new(Exit::Failed, what) }.into())
}

/// Takes back the latest setup of these kubeconfigs, or of this user or profile in them.
fn disconnect(arguments: &Arguments) -> Result<Job> {
    let files = kubeconfigs(arguments.kubeconfig.as_deref())?;
    let profile = &arguments.wanted.profile;
    let mut undo = Undo::of_latest(|former| {
        files.iter().any(|file| former.keeps(file))
            && arguments.user.iter().all(|name| former.users.iter().any(|user| user.name == *name))
            && profile.iter().all(|name| former.profiles.contains(name))
    })?;
    let mut plan = Plan::default();
    let mut title = "Disconnect kubectl from keyfob".to_owned();
    let former = undo.undone().next().cloned();
    if let Some(former) = former {
        let names: Vec<_> = former.users.iter().map(|user| user.name.as_str()).collect();
        title = format!("Disconnect kubectl's user {} from keyfob", names.join(", "));
        let places = former.users.iter().map(|user| &user.file).chain(former.contexts.iter().map(|c| &c.file));
        let mut files: Vec<&Path> = places.map(PathBuf::as_path).collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            undo.file(file, &mut plan, |_, plan| piecemeal(&former, file, plan))?;
        }
        let mut config = Config::load()?;
        for name in undo.profiles(Vec::new()) {
            config.release(&name, BY, &mut undo, &mut plan)?;
        }
        config.take_back(&mut undo, &mut plan)?;
        undo.finish(&mut plan);
    }
    Ok(Job { title, plan, after: Box::new(|| Ok("kubectl no longer asks keyfob there.\n".to_owned())) })
}

/// Takes back users and contexts, by kubectl.
fn piecemeal(former: &Former, file: &Path, plan: &mut Plan) -> Result<()> {
    let files = Files { all: vec![(file.to_owned(), View::of(file)?)], target: file.to_owned() };
    for context in former.contexts.iter().filter(|context| context.file == file) {
        let name = context.name.as_str();
        if files.context(name).is_none_or(|(_, there)| there["user"] != context.user.as_str()) {
            continue;
        }
        let command = match &context.former_user {
            _ if !context.was_there => words(file, &["config", "delete-context", name]),
            Some(user) => words(file, &["config", "set-context", name, &format!("--user={user}")]),
            None => words(file, &["config", "unset", &format!("contexts.{name}.user")]),
        };
        plan.steps.push(Step::Run(command));
    }
    for user in former.users.iter().filter(|user| user.file == file) {
        let name = user.name.as_str();
        let there = files.user(name).and_then(|(_, there)| Exec::deserialize(&there["exec"]).ok());
        if !there.is_some_and(|exec| exec.asks_for(&user.profile)) {
            continue;
        }
        if !user.was_there {
            plan.steps.push(Step::Run(words(file, &["config", "delete-user", name])));
            continue;
        }
        plan.steps.push(Step::Run(words(file, &["config", "unset", &format!("users.{name}.exec")])));
        if let Some(exec) = &user.exec {
            if exec.has_secret() {
                let what = format!(
                    "{} has been changed, and a secret of its user {name:?} would have to stand on a command line",
                    file.display()
                );
                return Err(Failure::new(Exit::Failed, what)
                    .hint(format!("by hand: the former file is in {}, as base64", former.path().display()))
                    .into());
            }
            plan.steps.push(Step::Run(exec.command(file, name)?));
        }
    }
    Ok(())
}
