//! Reads `config.toml`. Positions are kept, so that an error names the line and the nearest valid word.

use super::hosts::{HostCallers, HostPattern, HostRule, repeated};
use super::keys::Shape;
use super::part::{Asked, part};
use super::settings::{KEYS, Origin, Settings};
use super::system::{self, Share};
use crate::failure::Failure;
use crate::providers::HostAuth;
use crate::text::meant;
use crate::text::shell_quoted;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Largest configuration file, in bytes.
const LARGEST: u64 = 1 << 20;

/// The contents of the configuration.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The profile to use if none is named.
    pub default_profile: Option<String>,
    /// `[profile.NAME]` by name, or what is wrong with it. A mistake in one profile does not affect the others.
    pub profiles: BTreeMap<String, Result<Settings, Failure>>,
    /// `[hosts]`.
    pub hosts: Vec<HostRule>,
    /// `[az]`.
    pub az: Az,
    /// Settings of the installation as a whole.
    pub installation: Installation,
    /// Which of these settings come from the system's file, if there is one.
    pub system: Option<Share>,
}

/// Settings of the installation as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// `store`: how sessions are kept.
    pub store: Option<StoreKind>,
    /// `key-command`: the program that prints the key of sealed sessions, and its arguments; empty if there is none.
    pub key_command: Vec<String>,
}

/// How sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In files that only the user can access.
    File,
    /// In files sealed with a key in the kernel's keyring.
    Kernel,
    /// Not at all; nothing is written.
    None,
}

impl StoreKind {
    /// The words for the kinds, in `config.toml` and on the command line.
    pub const WORDS: [&str; 3] = ["file", "kernel", "none"];

    /// The kind for this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::File, Self::Kernel, Self::None].into_iter().find(|kind| kind.word() == word)
    }

    /// The word for this kind.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl Installation {
    /// Reads the settings from the configuration.
    pub fn load() -> Result<Self> {
        Ok(load()?.installation)
    }
}

/// `[az]`: the answers of the stand-in for the Azure CLI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Az {
    /// The profile to use if the command line names none.
    pub profile: Option<String>,
    /// The subscription that `az account show` reports.
    pub subscription: Option<String>,
}

/// The user's file: `KEYFOB_CONFIG`, otherwise `keyfob/config.toml` in the user's configuration folder; `None` if there
/// is no home directory.
pub fn path() -> Option<PathBuf> {
    match std::env::var_os("KEYFOB_CONFIG").filter(|p| !p.is_empty()) {
        Some(named) => Some(named.into()),
        None => dirs::config_dir().map(|folder| folder.join("keyfob/config.toml")),
    }
}

/// Whether `KEYFOB_CONFIG` is set, so that it names the only file to read.
pub(super) fn is_named() -> bool {
    std::env::var_os("KEYFOB_CONFIG").is_some_and(|named| !named.is_empty())
}

/// Reads the user's file over the system's. A missing user's file counts as empty, unless `KEYFOB_CONFIG` names it.
pub fn load() -> Result<File> {
    Ok(Texts::read()?.whole()?)
}

/// Reads what one answer needs of the configuration; possibly all of it.
pub fn load_part(asked: Asked<'_>) -> Result<File> {
    let texts = Texts::read()?;
    Ok(part(&texts, asked).map_or_else(|| texts.whole(), Ok)?)
}

/// The texts of the configuration files.
pub(super) struct Texts {
    /// The user's path and text; the text is empty if the file does not exist.
    pub(super) own: (PathBuf, String),
    /// The text of the system's file, if there is one.
    pub(super) system: Option<String>,
}

impl Texts {
    fn read() -> Result<Self> {
        let system = system::text()?;
        let Some(path) = path() else { return Ok(Self { own: Default::default(), system }) };
        let own = match contents(&path)? {
            Some(text) => text,
            None if is_named() => return Err(unreadable(&path, &rustix::io::Errno::NOENT.into())),
            None => String::new(),
        };
        Ok(Self { own: (path, own), system })
    }

    /// Parses both files completely.
    pub(super) fn whole(&self) -> Result<File, Failure> {
        let (path, text) = &self.own;
        read(path, text, self.system.as_deref().map(system::parsed).transpose()?)
    }
}

/// Parses `text`, the user's file at `path`, and lays it over the system's.
pub fn read(path: &Path, text: &str, system: Option<File>) -> Result<File, Failure> {
    parse(path, text, system.as_ref()).map(|own| over(own, system)).map_err(Failure::usage)
}

fn over(own: File, system: Option<File>) -> File {
    if let Some(system) = system { own.over(system) } else { own }
}

/// The text of a configuration file; `None` if it does not exist. Fails if another user could have written it, because
/// the file decides where tokens go.
pub fn contents(path: &Path) -> Result<Option<String>> {
    let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(path, &e)),
    };
    // Check the opened file itself, so that a link cannot be changed in between.
    trusted(path, &metadata, rustix::process::geteuid().as_raw())?;
    // Enough for most files, so that they are read at once.
    let mut text = String::with_capacity(4096);
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::usage(format!("{}: larger than 1 MiB", path.display())).into());
    }
    Ok(Some(text))
}

fn unreadable(path: &Path, why: &std::io::Error) -> anyhow::Error {
    let failure = Failure::usage(format!("could not read configuration {}: {why}", path.display()));
    if is_named() {
        failure.hint("KEYFOB_CONFIG names that file: correct or unset it").into()
    } else if path == Path::new(system::PATH) {
        let folder = path.parent().unwrap_or(path).to_string_lossy();
        failure.run(format!("sudo chmod -R a+rX {}", shell_quoted(&folder))).into()
    } else if why.kind() == std::io::ErrorKind::PermissionDenied
        && std::fs::metadata(path).is_ok_and(|file| file.uid() == rustix::process::geteuid().as_raw())
    {
        failure.run(format!("chmod u+r {}", shell_quoted(&path.to_string_lossy()))).into()
    } else {
        failure.into()
    }
}

/// Fails unless the file belongs to `user` or root, and no other user may write it. The folder need not be checked,
/// because a file that another user puts there belongs to that user.
fn trusted(path: &Path, file: &Metadata, user: u32) -> Result<(), Failure> {
    let (place, owner, mode) = (path.display(), file.uid(), file.mode() & 0o7777);
    if ![user, 0].contains(&owner) {
        let failure = Failure::usage(format!("could not use {place}: it belongs to another user (uid {owner})"));
        return Err(failure.hint(match user {
            _ if path == Path::new(system::PATH) => "it has to be root's, since it is for every user",
            0 => "root goes by its own configuration alone: use `sudo -H`, in a container `--user`, or a copy that is root's",
            _ => "make one of your own, or name one by KEYFOB_CONFIG",
        }));
    }
    // Anyone may write to a device such as /dev/null, but that does not change what is read from it.
    if mode & 0o022 != 0 && !file.file_type().is_char_device() {
        let failure = Failure::usage(format!("could not use {place}: other users can change it (mode {mode:04o})"));
        let sudo = if owner == user { "" } else { "sudo " };
        return Err(failure.run(format!("{sudo}chmod go-w {}", shell_quoted(&place.to_string()))));
    }
    Ok(())
}

/// Parses the text of the file at `path`, which may also refer to profiles of `beneath`, the file below it. The error
/// is one line: `FILE:LINE: what is wrong`.
pub(super) fn parse(path: &Path, text: &str, beneath: Option<&File>) -> Result<File, String> {
    let reader = Reader::of_lines(path, text, Vec::new());
    let mut file = File::default();
    let table = reader.read(text, &mut file)?;
    let top = table.get_ref();
    let named =
        top.get("default-profile").zip(file.default_profile.as_ref()).map(|(at, name)| ("default-profile", at, name));
    let az = top.get("az").zip(file.az.profile.as_ref()).map(|(at, name)| ("az.profile", at, name));
    let hosts = top.get("hosts").and_then(|v| v.get_ref().as_table()).into_iter().flatten();
    let hosts = hosts.zip(&file.hosts).map(|((pattern, at), rule)| (pattern.get_ref().as_ref(), at, &rule.profile));
    for (what, at, name) in named.into_iter().chain(az).chain(hosts) {
        let known = |file: &File| file.profiles.contains_key(name);
        if !known(&file) && !beneath.is_some_and(known) {
            let profiles = file.profiles.keys().chain(beneath.into_iter().flat_map(|file| file.profiles.keys()));
            let meant = meant(name, profiles.map(String::as_str));
            return Err(reader.error(at.span().start, &format!("`{what}`: there is no profile {name:?}; {meant}")));
        }
    }
    Ok(file)
}

/// Parses a file's text, or some of its lines.
pub(super) struct Reader {
    path: Arc<str>,
    /// The positions of the line breaks, to find the line of a key.
    line_ends: Vec<usize>,
    /// The numbers of the lines; empty if the text is the whole file.
    numbers: Vec<usize>,
}

impl Reader {
    /// A reader for `text` from the file at `path`. `numbers` are the lines' numbers; empty if it is the whole file.
    pub(super) fn of_lines(path: &Path, text: &str, numbers: Vec<usize>) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { path: path.display().to_string().into(), line_ends, numbers }
    }

    /// Parses the text into `file`. Does not check whether the profiles that it refers to exist.
    pub(super) fn read<'t>(&self, text: &'t str, file: &mut File) -> Result<Spanned<DeTable<'t>>, String> {
        let table = DeTable::parse(text)
            .map_err(|e| self.error(e.span().map_or(0, |s| s.start), &format!("not valid TOML: {}", e.message())))?;
        for (name, value) in table.get_ref() {
            match name.get_ref().as_ref() {
                "default-profile" => file.default_profile = Some(self.string("default-profile", value)?),
                "profile" => {
                    for (name, value) in self.table("profile", value)? {
                        let settings = self.profile(value).map_err(Failure::usage);
                        file.profiles.insert(name.get_ref().to_string(), settings);
                    }
                }
                "hosts" => {
                    let lines = self.table("hosts", value)?;
                    file.hosts = lines.iter().map(|(name, value)| self.host(name, value)).collect::<Result<_, _>>()?;
                    let patterns = || lines.iter().map(|(pattern, _)| pattern);
                    let named = |at: [usize; 2]| Some((patterns().nth(at[0])?, patterns().nth(at[1])?));
                    if let Some((one, other)) = repeated(&file.hosts).and_then(named) {
                        let what = format!("`hosts`: {:?} is the same address as {:?}", other.get_ref(), one.get_ref());
                        return Err(self.error(other.span().start, &what));
                    }
                }
                "az" => file.az = self.az(value)?,
                "store" => file.installation.store = Some(self.store(value)?),
                "key-command" => file.installation.key_command = self.command(value)?,
                unknown => {
                    let known = ["default-profile", "profile", "hosts", "az", "store", "key-command"];
                    return Err(self.unknown(name, unknown, &known));
                }
            }
        }
        Ok(table)
    }

    fn line(&self, at: usize) -> usize {
        let index = self.line_ends.partition_point(|end| *end < at);
        self.numbers.get(index).copied().unwrap_or(index + 1)
    }

    fn error(&self, at: usize, message: &str) -> String {
        format!("{}:{}: {message}", self.path, self.line(at))
    }

    fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> String {
        self.error(value.span().start, &format!("`{name}` must be {wanted}, not {}", described(value.get_ref())))
    }

    fn string(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
        value.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    fn table<'t, 'v>(&self, name: &str, value: &'t Spanned<DeValue<'v>>) -> Result<&'t DeTable<'v>, String> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(name, value, "a table"))
    }

    /// One rule of `[hosts]`: a profile's name, or a table.
    fn host(&self, pattern: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Result<HostRule, String> {
        let text = pattern.get_ref().as_ref();
        let wrong = |why: &str| self.error(pattern.span().start, &format!("`hosts`: {text:?} {why}"));
        let mut rule = HostRule {
            pattern: HostPattern::parse(text).map_err(wrong)?,
            callers: None,
            profile: String::new(),
            auth: None,
            username: None,
            system: false,
        };
        if let Some(profile) = value.get_ref().as_str() {
            profile.clone_into(&mut rule.profile);
            return Ok(rule);
        }
        let said = value.get_ref().as_table().ok_or_else(|| self.wrong(text, value, "a profile's name or a table"))?;
        for (name, value) in said {
            match name.get_ref().as_ref() {
                "profile" => rule.profile = self.string("profile", value)?,
                "callers" => rule.callers = Some(self.callers(name, value)?),
                "username" => rule.username = Some(self.user_name(value)?),
                "auth" => {
                    rule.auth = Some(match self.string("auth", value)?.as_str() {
                        "bearer" => HostAuth::Bearer,
                        "basic" => HostAuth::Basic,
                        other => {
                            let meant = meant(other, ["bearer", "basic"]);
                            return Err(self.error(value.span().start, &format!("`auth` cannot be {other:?}; {meant}")));
                        }
                    });
                }
                unknown => return Err(self.unknown(name, unknown, &["profile", "callers", "auth", "username"])),
            }
        }
        if rule.profile.is_empty() {
            return Err(wrong("names no `profile`"));
        }
        Ok(rule)
    }

    /// The callers of a rule. Their names are checked later.
    fn callers(&self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Result<HostCallers, String> {
        let names = value.get_ref().as_array().ok_or_else(|| self.wrong("callers", value, "a list of strings"))?;
        let names: Vec<_> = names.iter().map(|name| self.string("callers", name)).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(self.error(value.span().start, "`callers` is empty"));
        }
        Ok(HostCallers { names, place: format!("{}:{}", self.path, self.line(name.span().start)) })
    }

    /// A user name for HTTP Basic, which must not contain a colon (RFC 7617, section 2).
    fn user_name(&self, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
        let name = self.string("username", value)?;
        if name.is_empty() || name.contains(|c: char| c.is_control() || c == ':') {
            return Err(self.error(value.span().start, "`username` is empty, or holds a colon or a control character"));
        }
        Ok(name)
    }

    fn az(&self, value: &Spanned<DeValue<'_>>) -> Result<Az, String> {
        let mut az = Az::default();
        for (name, value) in self.table("az", value)? {
            match name.get_ref().as_ref() {
                "profile" => az.profile = Some(self.string("profile", value)?),
                "subscription" => az.subscription = Some(self.string("subscription", value)?),
                unknown => return Err(self.unknown(name, unknown, &["profile", "subscription"])),
            }
        }
        Ok(az)
    }

    fn store(&self, value: &Spanned<DeValue<'_>>) -> Result<StoreKind, String> {
        let word = self.string("store", value)?;
        StoreKind::of(&word).ok_or_else(|| {
            let meant = meant(&word, StoreKind::WORDS);
            self.error(value.span().start, &format!("`store` cannot be {word:?}; {meant}"))
        })
    }

    /// A program and its arguments.
    fn command(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
        let words = value.get_ref().as_array().ok_or_else(|| self.wrong("key-command", value, "a list of strings"))?;
        let words: Vec<_> = words.iter().map(|word| self.string("key-command", word)).collect::<Result<_, _>>()?;
        if words.first().is_none_or(String::is_empty) {
            return Err(self.error(value.span().start, "`key-command` names no program"));
        }
        Ok(words)
    }

    fn unknown(&self, name: &Spanned<DeString<'_>>, word: &str, known: &[&str]) -> String {
        let meant = meant(word, known.iter().copied());
        self.error(name.span().start, &format!("unknown key `{word}`; {meant}"))
    }

    /// The settings of one `[profile.NAME]`.
    fn profile(&self, value: &Spanned<DeValue<'_>>) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (name, value) in self.table("profile", value)? {
            let word = name.get_ref().as_ref();
            let Some(key) = KEYS.iter().find(|key| key.name == word) else {
                return Err(self.unknown(name, word, &KEYS.iter().map(|k| k.name).collect::<Vec<_>>()));
            };
            let items = match key.shape {
                Shape::Text | Shape::Word(_) => vec![self.string(word, value)?],
                Shape::Number => vec![
                    value
                        .get_ref()
                        .as_integer()
                        .map(ToString::to_string)
                        .ok_or_else(|| self.wrong(word, value, "a number"))?,
                ],
                Shape::List => value
                    .get_ref()
                    .as_array()
                    .ok_or_else(|| self.wrong(word, value, "a list of strings"))?
                    .iter()
                    .map(|item| self.string(word, item))
                    .collect::<Result<_, _>>()?,
                Shape::Pairs => self
                    .table(word, value)?
                    .iter()
                    .map(|(name, item)| Ok(format!("{}={}", name.get_ref(), self.string(word, item)?)))
                    .collect::<Result<_, String>>()?,
            };
            settings.set(key, items, Origin::Line(Arc::clone(&self.path), self.line(name.span().start)))?;
        }
        Ok(settings)
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<File, String> {
        parse(Path::new("config.toml"), text, None)
    }

    /// What is wrong with the file, or with a profile in it.
    fn mistake(text: &str) -> String {
        let file = parsed(text).map(|file| file.profiles.into_values().find_map(Result::err));
        file.map_or_else(|why| why, |failure| failure.unwrap().message)
    }

    #[test]
    fn a_whole_file() {
        let file = parsed(
            "default-profile = 'lab'\n[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'kubernetes'\n\
             scopes = ['openid', 'groups']\nmin-ttl = 60\nextra = { login_hint = 'ada' }\n",
        )
        .unwrap();
        assert_eq!(file.default_profile.as_deref(), Some("lab"));
        let lab = file.profiles["lab"].as_ref().unwrap();
        assert_eq!(lab.items("issuer"), ["https://id.example.com"]);
        assert_eq!(lab.items("scopes"), ["openid", "groups"]);
        assert_eq!(lab.items("min-ttl"), ["60"]);
        assert_eq!(lab.items("extra"), ["login_hint=ada"]);
        assert_eq!(lab.place("min-ttl"), "config.toml:6");
    }

    #[test]
    fn a_mistake_in_one_profile_is_no_trouble_to_the_others() {
        let file = parsed("[profile.a]\nissuer = 'http://id.example.com'\n[profile.b]\nprovider = 'github'\n").unwrap();
        let why = "config.toml:2: `issuer` is not https (plain http is allowed only on loopback)";
        assert_eq!(file.profiles["a"].as_ref().unwrap_err().message, why);
        assert!(file.profiles["b"].is_ok());
    }

    #[test]
    fn hosts_and_az() {
        let file = parsed(
            "[profile.lab]\n[profile.gh]\n[hosts]\n'https://github.com' = 'gh'\n\
             'https://git.lab:8443/team' = { profile = 'lab', auth = 'basic', username = 'oauth2' }\n\
             [az]\nprofile = 'lab'\nsubscription = 's'\n",
        )
        .unwrap();
        let said: Vec<_> = file
            .hosts
            .iter()
            .map(|h| (h.pattern.canonical(), h.profile.as_str(), h.auth, h.username.as_deref()))
            .collect();
        let team = ("https://git.lab:8443/team".to_owned(), "lab", Some(HostAuth::Basic), Some("oauth2"));
        assert_eq!(said, [team, ("https://github.com".to_owned(), "gh", None, None)]);
        assert_eq!(file.az, Az { profile: Some("lab".into()), subscription: Some("s".into()) });
    }

    #[test]
    fn a_rule_may_say_which_callers_it_is_for() {
        let file = parsed(
            "[profile.gh]\n[hosts]\n'https://a.example' = 'gh'\n\
             'https://ghcr.io' = { profile = 'gh', callers = ['docker', 'git'] }\n",
        )
        .unwrap();
        let names = vec!["docker".to_owned(), "git".to_owned()];
        let callers = file.hosts.iter().map(|rule| rule.callers.clone()).collect::<Vec<_>>();
        assert_eq!(callers, [None, Some(HostCallers { names, place: "config.toml:4".to_owned() })]);
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_line_and_the_nearest_word() {
        for (text, error) in [
            ("[profile.lab]\nclientid = 'x'\n", "config.toml:2: unknown key `clientid`; did you mean `client-id`?"),
            ("\n\n[profil.lab]\n", "config.toml:3: unknown key `profil`; did you mean `profile`?"),
            (
                "[profile.lab]\nprompt = 'allways'\n",
                "config.toml:2: `prompt` cannot be \"allways\"; did you mean `always`?",
            ),
            ("[profile.lab]\nscopes = 'openid'\n", "config.toml:2: `scopes` must be a list of strings, not a string"),
            ("[profile.lab]\nscopes = ['a', 3]\n", "config.toml:2: `scopes` must be a string, not a number"),
            ("[profile.lab]\nmin-ttl = 'soon'\n", "config.toml:2: `min-ttl` must be a number, not a string"),
            ("[profile.lab]\nmin-ttl = -1\n", "config.toml:2: `min-ttl` must be a whole number of seconds, not \"-1\""),
            ("[profile.lab]\nissuer = ''\n", "config.toml:2: `issuer` is empty"),
            ("[profile.lab]\nissuer = \"a\\u001b\"\n", "config.toml:2: `issuer` holds a control character"),
            (
                "default-profile = 'lap'\n[profile.lab]\n",
                "config.toml:1: `default-profile`: there is no profile \"lap\"; did you mean `lab`?",
            ),
            ("profile = 3\n", "config.toml:1: `profile` must be a table, not a number"),
            (
                "[hosts]\n'github.com' = 'gh'\n",
                "config.toml:2: `hosts`: \"github.com\" is not an address such as https://git.example.com",
            ),
            (
                "[profile.gh]\n[hosts]\n'https://github.com' = 'hg'\n",
                "config.toml:3: `https://github.com`: there is no profile \"hg\"; known are `gh`",
            ),
            (
                "[hosts]\n'https://a.example' = { profile = 'p', auth = 'bearerer' }\n",
                "config.toml:2: `auth` cannot be \"bearerer\"; did you mean `bearer`?",
            ),
            (
                "[hosts]\n'https://a.example' = { user = 'p' }\n",
                "config.toml:2: unknown key `user`; did you mean `username`?",
            ),
            ("[hosts]\n'https://a.example' = {}\n", "config.toml:2: `hosts`: \"https://a.example\" names no `profile`"),
            (
                "[hosts]\n'https://a.example' = 3\n",
                "config.toml:2: `https://a.example` must be a profile's name or a table, not a number",
            ),
            ("[hosts]\n'https://a.example' = { callers = [] }\n", "config.toml:2: `callers` is empty"),
            (
                "[hosts]\n'https://a.example' = { callers = 'git' }\n",
                "config.toml:2: `callers` must be a list of strings, not a string",
            ),
            (
                "[hosts]\n'https://a.example' = { callers = [3] }\n",
                "config.toml:2: `callers` must be a string, not a number",
            ),
            (
                "[hosts]\n'https://a.example' = { username = 'a:b' }\n",
                "config.toml:2: `username` is empty, or holds a colon or a control character",
            ),
            ("store = 'kernal'\n", "config.toml:1: `store` cannot be \"kernal\"; did you mean `kernel`?"),
            ("\nkey-command = 'pass'\n", "config.toml:2: `key-command` must be a list of strings, not a string"),
            ("key-command = []\n", "config.toml:1: `key-command` names no program"),
            ("[az]\nsub = 's'\n", "config.toml:2: unknown key `sub`; did you mean `subscription`?"),
            ("[az]\nprofile = 'p'\n", "config.toml:1: `az.profile`: there is no profile \"p\"; there are none"),
            (
                "[profile.gh]\n[hosts]\n'https://a.example' = 'gh'\n'https://A.example:443/' = 'gh'\n",
                "config.toml:3: `hosts`: \"https://a.example\" is the same address as \"https://A.example:443/\"",
            ),
        ] {
            assert_eq!(mistake(text), error);
        }
        let broken = parsed("[profile.lab]\nissuer = https://id\n").unwrap_err();
        assert!(broken.starts_with("config.toml:2: not valid TOML: "), "{broken}");
        assert!(!broken.contains('\n'), "{broken}");
    }
}
