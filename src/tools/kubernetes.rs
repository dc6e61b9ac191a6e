//! `keyfob setup kubernetes`: a user of the kubeconfig that runs keyfob.

use super::findings::{Findings, Level};
use super::found::{Found, Machine};
use super::kubeconfig::{CREDENTIALS, Entry, Exec, Files, Kind, Kubeconfig, Variable, paths};
use super::kubelogin::Former;
use super::kuberc::{Allowed, Kuberc, Program};
use super::profile::{Chosen, Config, Wanted, plain};
use super::{Asked, Job, Tool, is_program};
use crate::change::backup::{Records, Setup};
use crate::change::plan::{Plan, Shown};
use crate::change::undo::Undo;
use crate::config::{File, Profile};
use crate::failure::{Failure, Hint};
use crate::program;
use crate::sorted;
use crate::text::{clean, nearest, shell_quoted};
use anyhow::Result;
use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `keyfob setup kubernetes`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only the lines of this user and this context are changed; the undo puts the file's earlier bytes back.

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
    /// Context to give this user
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Cluster of the context, if that is new
    #[arg(long, value_name = "NAME", requires = "context")]
    cluster: Option<String>,
    /// The kubeconfig to change [default: the one kubectl would change]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// kubectl, and other programs that read a kubeconfig.
pub(super) const TOOL: Tool = Tool {
    name: NAME,
    alias: Some("kubectl"),
    about: "Have a user of the kubeconfig get tokens from keyfob",
    define: Arguments::augment_args,
    connect: |matches| connect(&Arguments::from_arg_matches(matches)?),
    disconnect: |matches| disconnect(&Arguments::from_arg_matches(matches)?),
    discover,
    check,
};

const NAME: &str = "kubernetes";
/// The name of this setup in config.toml.
const BY: &str = "setup kubernetes";

/// Connects a user with a profile.
fn connect(arguments: &Arguments) -> Result<Job> {
    let files = Files::find(arguments.kubeconfig.as_deref())?;
    let mut config = Config::load()?;
    if arguments.from_kubelogin {
        return take_over(arguments, files, config);
    }
    let name = match arguments.user.as_slice() {
        [] => arguments.wanted.profile.as_ref(),
        [user] => Some(user),
        _ => return Err(Failure::usage("one user at a time").hint("several go with --from-kubelogin").into()),
    };
    let clusters = name.map(|user| files.clusters(user)).unwrap_or_default();
    let chosen = arguments.wanted.in_config(&mut config, BY, &clusters)?;
    let user = name.map_or(chosen.title(), String::as_str);
    let mut change = Change::of(files)?;
    change.user(user, &chosen.profile, &[])?;
    match &arguments.context {
        Some(context) => change.context(context, arguments.cluster.as_deref(), user, chosen.title())?,
        None => change.note_unused(user),
    }
    let title = format!("Connect kubectl's user {user} with the profile {}", chosen.title());
    let attempt =
        Attempt { files: change.files.all.iter().map(|file| file.path.clone()).collect(), user: user.to_owned() };
    let plan = change.into_plan(config, Plan::default())?;
    Ok(Job { asked: vec![asked(chosen, attempt)], ..Job::new(title, plan) })
}

/// `--from-kubelogin`: makes a profile for each user that runs kubelogin, and puts keyfob in its place. A user that
/// cannot be taken over is skipped with a note, or an error if it was asked for by name.
fn take_over(arguments: &Arguments, files: Files, mut config: Config) -> Result<Job> {
    let formers: Vec<(String, Former)> =
        files.users().filter_map(|user| Some((user.name.to_owned(), Former::of(user.value)?))).collect();
    let wanted = &arguments.user;
    if let Some(other) = wanted.iter().find(|name| !formers.iter().any(|(user, _)| user == *name)) {
        return Err(Failure::usage(format!("the user {other:?} does not run kubelogin")).into());
    }
    let mut plan = Plan::default();
    let mut users = Vec::new();
    let flags = &arguments.wanted.flags.0;
    let mut refused = None;
    for (user, former) in formers.into_iter().filter(|(user, _)| wanted.is_empty() || wanted.contains(user)) {
        let name = arguments.wanted.profile.clone().unwrap_or_else(|| plain(&user));
        let taken = former.read().map_err(|why| Failure::usage(why).into());
        match taken.and_then(|taken| taken.check(&name, flags).map(|()| taken)) {
            Ok(taken) => users.push((user, taken)),
            Err(error) => {
                let why = Failure::of(&error);
                let what = format!("the user {user:?} cannot be taken over: {}", why.message);
                let remedy = why.hint.as_ref().map(|hint| format!("; {}", hint.text())).unwrap_or_default();
                plan.notes.push(format!("{what}{remedy}"));
                refused.get_or_insert(Failure { message: what, ..why });
            }
        }
    }
    if let Some(failure) = refused.take_if(|_| !wanted.is_empty() || users.is_empty()) {
        return Err(failure.into());
    }
    let names: Vec<&str> = users.iter().map(|(user, _)| user.as_str()).collect();
    let [_, others @ ..] = names.as_slice() else {
        return Err(Failure::usage("no user of the kubeconfig runs kubelogin").into());
    };
    if arguments.wanted.profile.is_some() && !others.is_empty() {
        let what = format!("--profile names one profile, and there are the users {}", names.join(", "));
        return Err(Failure::usage(what).hint("leave it out, or name one with --user").into());
    }
    let title = format!("Have keyfob take kubelogin's place for {}", names.join(", "));
    let mut all = Vec::new();
    let mut change = Change::of(files)?;
    let mut used = BTreeSet::new();
    for (user, taken) in users {
        if !taken.dropped.is_empty() {
            let dropped = taken.dropped.join(", ");
            plan.notes.push(format!("of the user {user:?}, {dropped} is dropped: it means nothing to keyfob"));
        }
        plan.notes.extend(taken.notes.iter().map(|note| format!("of the user {user:?}: {note}")));
        let name = arguments.wanted.profile.clone().unwrap_or_else(|| unused(&plain(&user), &mut used));
        let env = taken.env.clone();
        let clusters = change.files.clusters(&user);
        let chosen = taken.into_config(&mut config, &name, (flags, clusters), BY, &mut plan)?;
        change.user(&user, &chosen.profile, &env)?;
        let files = change.files.all.iter().map(|file| file.path.clone()).collect();
        all.push(asked(chosen, Attempt { files, user }));
    }
    let plan = change.into_plan(config, plan)?;
    Ok(Job { asked: all, ..Job::new(title, plan) })
}

/// A profile name that is not used yet. Two users can have the same name apart from characters that profile names lack.
fn unused(name: &str, used: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| used.insert(name.clone())).unwrap_or_default()
}

/// What setup did for a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    /// Whether the user existed before.
    existed: bool,
    /// The contexts that use this user now.
    contexts: Vec<DoneContext>,
    /// The program that kubectl's preferences had to allow.
    allowed: Option<Allowed>,
}

impl Done {
    /// The programs that setups had kubectl's preferences allow.
    fn allowed<'s>(setups: impl IntoIterator<Item = &'s Setup>) -> impl Iterator<Item = Allowed> {
        let setups = setups.into_iter().filter(|setup| setup.tool == NAME);
        setups.filter_map(|setup| Self::deserialize(&setup.did).ok()?.allowed)
    }
}

/// A context whose user was set.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DoneContext {
    file: PathBuf,
    name: String,
    /// Whether the context existed before.
    existed: bool,
    /// The user that it had before.
    user_before: Option<String>,
}

/// A change to kubeconfigs.
struct Change {
    files: Files,
    notes: Vec<String>,
    /// The lines to show for each file.
    shown: Vec<Vec<String>>,
    /// The entries for people who edit the kubeconfig themselves.
    by_hand: Kubeconfig,
    program: Program,
    /// Each user with its file, its profile, and what setup did.
    done: Vec<(String, PathBuf, String, Done)>,
}

impl Change {
    fn of(files: Files) -> Result<Self> {
        let shown = vec![Vec::new(); files.all.len()];
        let by_hand = Kubeconfig::empty(&files.all[files.target].path);
        Ok(Self { files, notes: Vec::new(), shown, by_hand, program: Program::find()?, done: Vec::new() })
    }

    /// Makes a user run keyfob for a profile, with these variables.
    fn user(&mut self, name: &str, profile: &Profile, env: &[Variable]) -> Result<()> {
        let user = self.files.entry(Kind::User, name);
        let before = user.and_then(|user| Exec::of(user.value));
        let others = user.map(|user| other_credentials(user.value)).unwrap_or_default();
        let env: Vec<Variable> = env.iter().cloned().chain(own_files()).collect();
        let command = self.program.path.to_string_lossy().into_owned();
        let told = before.as_ref().is_some_and(|before| before.provide_cluster_info);
        let exec = Exec {
            env: Some(env).filter(|env| !env.is_empty()),
            provide_cluster_info: told || !profile.clusters.is_empty(),
            ..Exec::keyfob(command, profile.title())
        };
        let entry = json!({"name": name, "user": {"exec": exec}});
        self.by_hand.edit(|yaml| yaml.push("/users", &entry))?;
        if others.is_empty() && before.as_ref().is_some_and(|before| before.does_what(&exec)) {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| !before.is_keyfob()) {
            let program = shell_quoted(&before.command);
            self.notes.push(format!("the user {name:?} runs {program} now; keyfob takes its place"));
        }
        for what in sorted::set(others.iter().map(|(_, what)| *what)) {
            self.notes.push(format!("the user {name:?} has {what}; it is taken out"));
        }
        let (number, existed) = (user.map_or(self.files.target, |user| user.file), user.is_some());
        let paths = user.map(|user| {
            let others: Vec<String> = others.iter().map(|(key, _)| user.path(key)).collect();
            (user.path("exec"), others)
        });
        let file = &mut self.files.all[number];
        file.edit(|yaml| match paths {
            Some((exec, others)) => {
                yaml.set(&exec, &entry["user"]["exec"])?;
                others.iter().try_for_each(|other| yaml.remove(other))
            }
            None => yaml.push("/users", &entry),
        })?;
        let place = file.path.clone();
        self.shown[number].extend(others.iter().map(|(key, _)| format!("- user {name}: {key}")));
        self.shown[number].push(format!("+ user {name}: {}", exec.line()));
        if self.files.all.len() > 1 {
            self.notes.push(format!("of the files in KUBECONFIG, {} is changed", place.display()));
        }
        let allowed = self.program.allowed(Done::allowed(&Records::load()?.setups));
        let done = Done { existed, contexts: Vec::new(), allowed };
        self.done.push((name.to_owned(), place, profile.title().to_owned(), done));
        Ok(())
    }

    /// Makes a context use a user, who has this profile.
    fn context(&mut self, name: &str, cluster: Option<&str>, user: &str, profile: &str) -> Result<()> {
        let context = self.files.entry(Kind::Context, name);
        let names = |kind| self.files.entries(kind).map(|entry| entry.name).collect::<Vec<_>>();
        let mut entry = json!({"name": name, "context": {"user": user}});
        if let Some(cluster) = context.map_or(cluster, |context| context.value["cluster"].as_str()) {
            entry["context"]["cluster"] = Value::from(cluster);
        }
        self.by_hand.edit(|yaml| yaml.push("/contexts", &entry))?;
        let (number, before) = match (context, cluster) {
            (Some(context), _) if context.value["user"] == user => return Ok(()),
            (Some(context), _) => (context.file, context.value["user"].as_str()),
            (None, Some(cluster)) if names(Kind::Cluster).contains(&cluster) => (self.files.target, None),
            (None, Some(cluster)) => return Err(unknown("cluster", cluster, &names(Kind::Cluster)).into()),
            (None, None) => return Err(unknown("context", name, &names(Kind::Context)).into()),
        };
        let before = before.filter(|before| !before.is_empty()).map(str::to_owned);
        if let Some(before) = &before {
            self.notes.push(format!("the context {name:?} has the user {before:?} now, which stays as it is"));
        }
        let path = context.map(|context| context.path("user"));
        let file = &mut self.files.all[number];
        file.edit(|yaml| match &path {
            Some(path) => yaml.set(path, &Value::from(user)),
            None => yaml.push("/contexts", &entry),
        })?;
        self.shown[number].push(format!("+ context {name}: user {user}"));
        let done = DoneContext {
            file: file.path.clone(),
            name: name.to_owned(),
            existed: path.is_some(),
            user_before: before,
        };
        if self.done.is_empty() {
            let place = self.files.entry(Kind::User, user).map_or(number, |user| user.file);
            let (place, existed) = (self.files.all[place].path.clone(), true);
            self.done.push((
                user.to_owned(),
                place,
                profile.to_owned(),
                Done { existed, contexts: Vec::new(), allowed: None },
            ));
        }
        self.done[0].3.contexts.push(done);
        Ok(())
    }

    /// Adds a note how to use the user, if no context does.
    fn note_unused(&mut self, user: &str) {
        if !self.files.entries(Kind::Context).any(|context| context.value["user"] == user) {
            let user = shell_quoted(user);
            let how = format!("kubectl --user={user}, or the same setup with --context NAME");
            self.notes.push(format!("no context has this user yet: {how}"));
        }
    }

    /// Adds the changes to a plan, after the profile that they need.
    fn into_plan(self, config: Config, mut plan: Plan) -> Result<Plan> {
        for (name, place, profile, done) in self.done {
            let contexts = done.contexts.iter().map(|context| context.file.clone());
            let kuberc = done.allowed.iter().map(|allowed| allowed.kuberc.clone());
            let files = std::iter::once(place).chain(contexts).chain(kuberc).collect();
            let all = |earlier: Option<Done>| match earlier {
                Some(mut earlier) => {
                    earlier.contexts.extend(done.contexts);
                    earlier.allowed = earlier.allowed.or(done.allowed);
                    earlier
                }
                None => done,
            };
            plan.setups.push(config.setup(&plan, (NAME, &name), Some(&profile), files, all)?);
        }
        config.into_plan(&mut plan);
        if !self.shown.iter().all(Vec::is_empty) {
            self.program.into_plan(&mut plan);
        }
        for (file, shown) in self.files.all.iter().zip(self.shown).filter(|(_, shown)| !shown.is_empty()) {
            plan.write(&file.path, file.before.as_deref(), file.text().as_bytes(), Shown::Lines(shown));
        }
        plan.lines.push((self.by_hand.path.display().to_string(), self.by_hand.text()));
        plan.notes.extend(self.notes);
        Ok(plan)
    }
}

/// The failure of a name that is not in the kubeconfig, with the nearest name or all names.
fn unknown(what: &str, name: &str, known: &[&str]) -> Failure {
    let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
    let there = near.unwrap_or_else(|| match known {
        [] => "there are none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    });
    Failure::usage(format!("the kubeconfig has no {what} {name:?}; {there}"))
}

/// A user's other credentials: each key with its description.
fn other_credentials(user: &Value) -> Vec<(&'static str, &'static str)> {
    let keys = CREDENTIALS.iter().flat_map(|(keys, what)| keys.iter().map(move |key| (*key, *what)));
    keys.filter(|(key, _)| !user[*key].is_null() && user[*key] != "").collect()
}

/// The variables that name this process's files, because kubectl may be run without them.
fn own_files() -> impl Iterator<Item = Variable> {
    ["KEYFOB_CONFIG", "KEYFOB_CACHE_DIR"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        let value = std::path::absolute(value).ok()?.to_string_lossy().into_owned();
        Some(Variable { name: name.to_owned(), value })
    })
}

/// Undoes the latest setup of these kubeconfigs, or those of this user or profile.
fn disconnect(arguments: &Arguments) -> Result<Job> {
    let files = paths(arguments.kubeconfig.as_deref())?;
    let profile = &arguments.wanted.profile;
    let undo = Undo::of(|setup| {
        setup.tool == NAME
            && files.iter().any(|file| setup.changed(file))
            && (arguments.user.is_empty() || arguments.user.contains(&setup.name))
            && profile.iter().all(|name| setup.profile.as_ref() == Some(name))
    })?
    .latest();
    let mut plan = Plan::default();
    let names: Vec<_> = undo.undone.iter().map(|setup| setup.name.as_str()).collect();
    let title = match names.as_slice() {
        [] => "Disconnect kubectl from keyfob".to_owned(),
        [name] => format!("Disconnect kubectl's user {name} from keyfob"),
        names => format!("Disconnect kubectl's users {} from keyfob", names.join(", ")),
    };
    let mut config = Config::load()?;
    let changed = sorted::set(undo.undone.iter().flat_map(|setup| &setup.files));
    let allowed: Vec<Allowed> = Done::allowed(&undo.undone).collect();
    let others: Vec<Allowed> = Done::allowed(undo.others()).collect();
    for file in changed.into_iter().filter(|file| *file != config.path()) {
        undo.file(file, &mut plan, |plan| match allowed.iter().find(|allowed| allowed.kuberc == *file) {
            Some(allowed) => allowed.take_off(&others, plan),
            None => take_out(&undo, file, plan),
        })?;
    }
    if let Some(allowed) = allowed.first() {
        allowed.remove_link(&others, &mut plan);
    }
    let profiles = sorted::set(undo.undone.iter().filter_map(|setup| setup.profile.as_deref()));
    let released = config.release(profiles, BY, &undo, &mut plan)?;
    config.take_back(&undo, &mut plan)?;
    undo.finish(&mut plan);
    Ok(Job { done: "kubectl no longer asks keyfob there.\n".to_owned(), released, ..Job::new(title, plan) })
}

/// Takes users and contexts out of a kubeconfig, if they are still as setup left them.
fn take_out(undo: &Undo, path: &Path, plan: &mut Plan) -> Result<()> {
    let mut file = Kubeconfig::read(path)?;
    let mut shown = Vec::new();
    for setup in &undo.undone {
        let before = setup.before(path).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let before = before.map(|text| Kubeconfig::of(path, &text, None)).transpose()?;
        let done = Done::deserialize(&setup.did)?;
        for context in done.contexts.iter().filter(|context| context.file == path) {
            take_out_context(&mut file, setup, context, before.as_ref(), &mut shown)?;
        }
        if setup.place == path {
            take_out_user(&mut file, setup, done.existed, before.as_ref(), &mut shown)?;
        }
    }
    let text = if undo.made(path) && file.is_bare() { String::new() } else { file.text() };
    plan.write(path, file.before.as_deref(), text.as_bytes(), Shown::Lines(shown));
    Ok(())
}

/// Takes a context out, or gives it back the user that it had. `before` is the file before the setup.
fn take_out_context(
    file: &mut Kubeconfig,
    setup: &Setup,
    done: &DoneContext,
    before: Option<&Kubeconfig>,
    shown: &mut Vec<String>,
) -> Result<()> {
    let DoneContext { name, existed, user_before, .. } = done;
    let Some(context) = file.entry(Kind::Context, name).filter(|there| there.value["user"] == *setup.name) else {
        return Ok(());
    };
    if !existed {
        shown.push(format!("- context {name}"));
        return remove(file, &context.whole(), Kind::Context, before);
    }
    let path = context.path("user");
    shown.push(format!("- context {name}: user {}", setup.name));
    shown.extend(user_before.iter().map(|user| format!("+ context {name}: user {user}")));
    Ok(file.edit(|yaml| match user_before {
        Some(user) => yaml.set(&path, &Value::from(user.as_str())),
        None => yaml.remove(&path),
    })?)
}

/// Takes a user out, or gives it back what it had in `before`, the file before the setup.
fn take_out_user(
    file: &mut Kubeconfig,
    setup: &Setup,
    existed: bool,
    before: Option<&Kubeconfig>,
    shown: &mut Vec<String>,
) -> Result<()> {
    let name = setup.name.as_str();
    let Some(user) = file.entry(Kind::User, name) else { return Ok(()) };
    let exec = Exec::of(user.value).filter(|exec| exec.is_keyfob() && exec.profile() == setup.profile.as_deref());
    let Some(exec) = exec else { return Ok(()) };
    if !existed {
        shown.push(format!("- user {name}"));
        return remove(file, &user.whole(), Kind::User, before);
    }
    shown.push(format!("- user {name}: {}", exec.line()));
    let keys = CREDENTIALS.iter().flat_map(|(keys, _)| keys.iter()).chain([&"exec"]);
    let mut back: Vec<(String, Value)> = Vec::new();
    for key in keys {
        let had = before.and_then(|before| before.entry(Kind::User, name)?.value.get(*key).cloned());
        if let Some(had) = had.filter(|_| *key == "exec" || user.value.get(*key).is_none()) {
            shown.push(format!("+ user {name}: {key} as before"));
            back.push((user.path(key), had));
        }
    }
    let path = user.path("exec");
    let is_back = back.iter().any(|(key, _)| *key == path);
    Ok(file.edit(|yaml| {
        back.iter().try_for_each(|(path, value)| yaml.set(path, value))?;
        if is_back { Ok(()) } else { yaml.remove(&path) }
    })?)
}

/// Removes an entry, and its list if that is then empty and did not exist before.
fn remove(file: &mut Kubeconfig, path: &str, kind: Kind, before: Option<&Kubeconfig>) -> Result<()> {
    let (list, _) = kind.keys();
    file.edit(|yaml| yaml.remove(path))?;
    let is_empty = file.top(list).and_then(Value::as_array).is_some_and(Vec::is_empty);
    if is_empty && before.is_some_and(|before| before.top(list).is_none()) {
        file.edit(|yaml| yaml.remove(&format!("/{list}")))?;
    }
    Ok(())
}

/// Finds users that run kubelogin, and contexts whose users do not run keyfob or are misconfigured.
fn discover(machine: &Machine, found: &mut Found) {
    let files = match Files::find(None) {
        Ok(files) => files,
        Err(error) => {
            found.notes.push(format!("kubectl: {}", clean(&format!("{error:#}"))));
            return;
        }
    };
    let execs = files.execs();
    let formers: Vec<_> = files.users().filter_map(|user| Some((user.name, Former::of(user.value)?))).collect();
    for (user, former) in &formers {
        let title = format!("kubectl: the user {} {}", clean(user), former.what());
        match former.read() {
            Ok(_) => found.offer(title, &["kubernetes", "--from-kubelogin", "--user", user], true),
            Err(why) => found.notes.push(format!("{title}, which keyfob cannot take over: {why}")),
        }
    }
    let mut wrong = BTreeSet::new();
    let usual = machine.usual();
    for context in files.entries(Kind::Context) {
        let name = context.value["user"].as_str().unwrap_or_default();
        match execs.iter().find(|(user, _)| user.name == name) {
            Some((user, exec)) if exec.is_keyfob() => match problems(&files, user, exec, &machine.file).first() {
                None => found.connected.push(format!("kubectl: the context {}", clean(context.name))),
                Some(Problem { what, .. }) if wrong.insert(name) => {
                    let profile = exec.profile().filter(|profile| machine.file.profiles.contains_key(*profile));
                    let words = ["kubernetes", "--profile", profile.unwrap_or("NAME"), "--user", name];
                    found.offer(format!("kubectl: the user {} {what}", clean(name)), &words, profile.is_some());
                }
                Some(_) => {}
            },
            _ if formers.iter().any(|(user, _)| *user == name) => {}
            _ => {
                let title = match name {
                    "" => format!("kubectl: the context {}, which has no user", clean(context.name)),
                    user => format!("kubectl: the context {} with the user {}", clean(context.name), clean(user)),
                };
                let mut words = vec!["kubernetes", "--profile", usual.unwrap_or("NAME"), "--context", context.name];
                if machine.file.profiles.is_empty() {
                    words.extend(["--issuer", "URL", "--client-id", "ID"]);
                }
                found.offer(title, &words, usual.is_some());
            }
        }
    }
}

/// What is wrong with a user that runs keyfob, and the remedy.
struct Problem {
    level: Level,
    what: String,
    remedy: Hint,
}

/// Everything that is wrong with a user that runs keyfob.
fn problems(files: &Files, user: &Entry<'_>, exec: &Exec, config: &File) -> Vec<Problem> {
    let program = &exec.command;
    if let Some(own) = exec.own_config() {
        let what = format!("runs {program} with the configuration {own}, which was not looked at");
        let remedy = Hint::Command(format!("KEYFOB_CONFIG={} keyfob doctor", shell_quoted(own)));
        return vec![Problem { level: Level::Warn, what, remedy }];
    }
    let known = exec.profile().filter(|name| config.profiles.contains_key(*name));
    let again = format!("--user {}", shell_quoted(user.name));
    let again = match known {
        Some(profile) => Hint::Command(format!("keyfob setup kubernetes --profile {} {again}", shell_quoted(profile))),
        None => format!("keyfob setup kubernetes --profile NAME {again}").into(),
    };
    let error = |what: String| Problem { level: Level::Error, what, remedy: again.clone() };
    if let (Some(unknown), None) = (exec.profile(), known) {
        return vec![error(format!("asks for the profile {unknown:?}, which does not exist"))];
    }
    let folder = files.all[user.file].path.parent().unwrap_or(Path::new("/"));
    if !is_program(program, folder) {
        return vec![error(format!("runs {program}, which does not exist"))];
    }
    let mut found: Vec<Problem> = Vec::new();
    for what in sorted::set(other_credentials(user.value).into_iter().map(|(_, what)| what)) {
        found.push(error(format!("has {what}")));
    }
    if let Ok(Some(kuberc)) = Kuberc::find()
        && !kuberc.allows(program)
    {
        found.push(error(format!("runs {program}, which {} forbids kubectl to run", kuberc.path.display())));
    }
    if !program.contains('/') {
        let what = format!("runs {program} by its name alone, which programs with another PATH do not find");
        found.push(Problem { level: Level::Warn, what, remedy: again });
    }
    found
}

/// Checks what kubectl runs for the users that have keyfob.
fn check(findings: &mut Findings, config: &File, only: Option<&str>) {
    let files = match Files::find(None) {
        Ok(files) => files,
        Err(error) => return findings.failure("kubectl", &error, "correct the kubeconfig, or KUBECONFIG"),
    };
    let (there, missing): (Vec<_>, Vec<_>) = files.all.iter().partition(|file| file.before.is_some());
    let is_named = std::env::var_os("KUBECONFIG").is_some_and(|list| !list.is_empty());
    if let Some(first) = missing.first().filter(|_| is_named) {
        let remedy = match std::env::join_paths(there.iter().map(|file| &file.path)) {
            Ok(list) if !list.is_empty() => format!("export KUBECONFIG={}", shell_quoted(&list.to_string_lossy())),
            _ => "unset KUBECONFIG".to_owned(),
        };
        let message = format!("KUBECONFIG names {}, which does not exist", first.path.display());
        findings.warn("kubectl", message, Hint::Command(remedy));
    }
    for (user, exec) in files.execs().iter().filter(|(_, exec)| exec.is_keyfob()) {
        if only.is_some_and(|only| exec.profile() != Some(only)) {
            continue;
        }
        let subject = format!("kubectl {}", user.name);
        let problems = problems(&files, user, exec, config);
        if problems.is_empty() {
            findings.ok(&subject, format!("runs {}", exec.command));
        }
        for Problem { level, what, remedy } in problems {
            findings.add(level, &subject, &what, Some(remedy));
        }
    }
}

/// What kubectl will ask keyfob for.
fn asked(chosen: Chosen, attempt: Attempt) -> Asked {
    Asked {
        kind: chosen.profile.kubernetes_kind(),
        chosen,
        what: "kubectl asks keyfob".to_owned(),
        prompts: Some("when kubectl first needs a token"),
        unanswered: "kubectl is set up, but keyfob does not answer".to_owned(),
        attempt: Box::new(move || attempt.run()),
    }
}

/// A trial run of kubectl.
struct Attempt {
    files: Vec<PathBuf>,
    user: String,
}

impl Attempt {
    /// Asks the API server for its version, which every known user may read, in the first context with this user.
    fn run(&self) -> Result<String> {
        let said = "kubectl asks keyfob, and is answered: there is a token.\n";
        let files: Vec<Kubeconfig> = self.files.iter().map(|path| Kubeconfig::read(path)).collect::<Result<_>>()?;
        let mut contexts = files.iter().flat_map(|file| file.entries(Kind::Context, 0));
        let context = contexts.find(|context| context.value["user"] == *self.user);
        let (Some(kubectl), Some(context)) = (program::find("kubectl"), context) else { return Ok(said.to_owned()) };
        let list = std::env::join_paths(&self.files)?.to_string_lossy().into_owned();
        let words = [&format!("--context={}", context.name), "get", "--raw=/version", "--request-timeout=10s"];
        let ran = program::run(&kubectl, &words, &[("KUBECONFIG", &list)], "", Some(Path::new("/")))?;
        let name = clean(context.name);
        if ran.ok {
            return Ok(format!("{said}The cluster of the context {name} takes it.\n"));
        }
        // The cluster may just be unreachable from here now.
        Ok(format!("{said}The cluster of the context {name} did not answer: {}\n", clean(&ran.stderr)))
    }
}
