//! A profile's settings: a typed field for each key, and the place where it was set. The table below is the only list
//! of keys; `config.toml`, flags, help, completions and `setup` follow from it.

use super::environment::{NAMES, Names};
use super::hosts::HostPattern;
use super::keys::{self, Key, Shape, in_file, text, word};
use super::machine::{GRANTS, MachineGrant, SOURCES};
use crate::address::Address;
use crate::providers::{OPENID, PRESETS, Preset, TokenKind, preset};
use crate::secret::Secret;
use crate::text::{meant, shell_quoted};
use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a sign-in may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptMode {
    /// stderr if it is a terminal, otherwise the controlling terminal if we may write to it, otherwise nowhere.
    Auto,
    /// stderr, whatever it is.
    Always,
    /// Nowhere.
    Never,
}

/// How a person signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// Whichever flow suits the provider and the machine; see `flows::automatic`.
    #[default]
    Auto,
    /// Only in a browser on this machine.
    Browser,
    /// Only by a code that is entered on any device.
    Device,
}

/// How a client sends its secret (named as in RFC 7591, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// In the HTTP Basic header.
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    Line(Arc<str>, usize),
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// A key as it was set, to be written again.
#[derive(Clone)]
struct Entry {
    name: &'static str,
    items: Vec<String>,
    origin: Origin,
}

/// Adds a key, or replaces it. There are few, so that a search costs less than a map.
fn put(all: &mut Vec<Entry>, entry: Entry) {
    match all.iter_mut().find(|known| known.name == entry.name) {
        Some(known) => *known = entry,
        None => all.push(entry),
    }
}

/// Declares [`Settings`] and [`KEYS`] from one table. Each row has a field, its type, its key, and the function that
/// parses the field from the key's items.
macro_rules! settings {
    ($($field:ident: $type:ty = $key:expr, $read:expr;)*) => {
        /// The values of a profile's keys; `None` for keys that were not set.
        #[derive(Clone, Default)]
        pub struct Settings {
            /// The keys that were set, each once.
            said: Vec<Entry>,
            $(pub(super) $field: Option<$type>,)*
        }

        /// Every key, in the order in which help shows them.
        pub const KEYS: &[Key] = &[$($key),*];

        impl Settings {
            fn read(&mut self, key: &Key, items: &[String]) -> Result<(), String> {
                $(if key.name == const { $key }.name {
                    let read: fn(&Key, &[String]) -> Result<$type, String> = $read;
                    self.$field = Some(read(key, items)?);
                })*
                Ok(())
            }

            /// Removes the key of this name.
            pub(super) fn forget(&mut self, name: &str) {
                self.said.retain(|said| said.name != name);
                $(if name == const { $key }.name {
                    self.$field = None;
                })*
            }

            /// Overrides these settings with `over`.
            #[must_use]
            pub fn overlaid(mut self, over: Self) -> Self {
                over.said.into_iter().for_each(|entry| put(&mut self.said, entry));
                Self { said: self.said, $($field: over.$field.or(self.$field),)* }
            }
        }
    };
}

settings! {
    provider: &'static Preset =
        text("provider", "NAME", "A provider that keyfob knows, e.g. entra, github, google"), row;
    issuer: Address = text("issuer", "URL", "OpenID Connect issuer; its endpoints are discovered"), one;
    client_id: String = text("client-id", "ID", "Client (application) id registered at the provider"), one;
    client_secret: Secret = Key { flag: None, ..text("client-secret", "SECRET", "Client secret") }, one;
    client_secret_file: PathBuf = text("client-secret-file", "FILE", "File that holds the client secret"), one;
    scopes: Vec<String> = Key {
        flag: Some("scope"),
        shape: Shape::List,
        ..text("scopes", "SCOPE", "Scope to ask for; repeat for more")
    }, scopes;
    token_kind: TokenKind = word("token-kind", &["id", "access"], "Which token to hand out"), chosen;
    tenant: String = text("tenant", "TENANT", "Tenant id or domain"), one;
    authority: Address = text("authority", "URL", "Where the provider lives, if not at its usual address"), one;
    account: String =
        text("account", "NAME", "The only account that may sign in; separates the sessions of several accounts"), one;
    audience: String = text("audience", "AUDIENCE", "`audience` parameter sent to the provider"), one;
    resource: String = text("resource", "RESOURCE", "`resource` parameter sent to the provider (RFC 8707)"), one;
    extra: Vec<(String, String)> = Key {
        shape: Shape::Pairs,
        ..text("extra", "NAME=VALUE", "Another parameter for the request that begins a sign-in; repeat for more")
    }, pairs;
    flow: Flow = word(
        "flow",
        &["auto", "browser", "device"],
        "How to sign in: in a browser on this machine, by a code on any device, or as it fits [default: auto]",
    ), chosen;
    redirect_host: String = word(
        "redirect-host",
        &["127.0.0.1", "localhost"],
        "Host of the address that a browser comes back to, as registered at the provider",
    ), one;
    redirect_port: u16 =
        keys::number("redirect-port", "PORT", "Its port, where the provider compares it or one is forwarded"), port;
    redirect_path: String = text("redirect-path", "PATH", "Its path, e.g. /callback"), path;
    login_hint: String = text("login-hint", "NAME", "Account that the provider's page offers [default: `account`]"), one;
    clusters: Vec<HostPattern> = Key {
        flag: None,
        shape: Shape::List,
        ..text("clusters", "URL", "The only Kubernetes clusters that get its token, by address")
    }, clusters;
    min_ttl: u64 = keys::seconds("min-ttl", "Least life a cached token must have left"), seconds;
    refusal_memory: u64 = keys::seconds(
        "refusal-memory",
        "How long a refused or expired sign-in is not asked for again [default: 30]",
    ), seconds;
    prompt: PromptMode = word(
        "prompt",
        &["auto", "always", "never"],
        "Where to show a sign-in: on a terminal, on stderr in any case, nowhere",
    ), chosen;
    ca_file: PathBuf =
        text("ca-file", "FILE", "PEM file with certificate authorities to trust besides the system's"), one;
    metadata: Address = text("metadata", "URL", "Where the issuer's metadata is, if not at its well-known address"), one;
    authorization_endpoint: Address =
        text("authorization-endpoint", "URL", "Authorization endpoint, for servers that do not publish it"), one;
    device_authorization_endpoint: Address = text(
        "device-authorization-endpoint",
        "URL",
        "Device authorization endpoint, for servers that do not publish it",
    ), one;
    token_endpoint: Address = text("token-endpoint", "URL", "Token endpoint, for servers that do not publish it"), one;
    revocation_endpoint: Address =
        text("revocation-endpoint", "URL", "Revocation endpoint, for servers that do not publish it"), one;
    auth_method: AuthMethod = word(
        "token-endpoint-auth-method",
        &["client_secret_basic", "client_secret_post"],
        "How the client secret is sent",
    ), chosen;
    client_key_file: PathBuf = in_file("client-key-file", "PEM file with the private key that the client shows itself by"), one;
    client_key_id: String = in_file("client-key-id", "The name that the provider knows that key by"), one;
    client_certificate_file: PathBuf =
        in_file("client-certificate-file", "PEM file with that key's certificate, and perhaps its chain"), one;
    grant: MachineGrant = Key { flag: None, ..word("grant", GRANTS, "How a machine asks for a token") }, chosen;
    source: String = Key { flag: None, ..word("source", SOURCES, "Where the machine's own proof comes from") }, source;
    source_file: PathBuf = in_file("source-file", "File with that proof"), one;
    source_env: String = in_file("source-env", "Environment variable with that proof"), one;
    source_command: Vec<String> =
        Key { shape: Shape::List, ..in_file("source-command", "Program that prints that proof") }, command;
    source_profile: String = in_file("source-profile", "Profile whose token is that proof"), one;
    source_audience: String = in_file("source-audience", "What that proof is to be for"), one;
    service_connection: String = in_file("service-connection", "Id of an Azure Pipelines service connection"), one;
    identity_resource_id: String = in_file("identity-resource-id", "Azure's id of one of several managed identities"), one;
    subscription: String = in_file("subscription", "Subscription whose account the Azure CLI is to take"), one;
    environment: Names = Key {
        flag: None,
        ..word("environment", NAMES, "Whose variables say who this machine is, before what stands here")
    }, chosen;
    subject_token_type: String =
        in_file("subject-token-type", "Type of the token that is exchanged (RFC 8693, section 3)"), one;
    requested_token_type: String =
        in_file("requested-token-type", "Type of the token that it is exchanged for"), one;
    role: String = Key { value: "ARN", ..in_file("role", "Role of AWS whose keys are wanted") }, one;
    region: String = in_file("region", "Region of AWS that is asked for them"), one;
    registry: String = in_file("registry", "Azure Container Registry whose token is wanted, by its host"), one;
}

/// Shows only which keys are set, because a value may be a client secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.said.iter().map(|said| said.name)).finish()
    }
}

impl Settings {
    /// Sets `key`, replacing its value. `items` is one text; lists have several; for pairs, each is `NAME=VALUE`. The
    /// error names the place and the nearest valid word.
    pub fn set(&mut self, key: &'static Key, items: Vec<String>, origin: Origin) -> Result<(), String> {
        let wrong = |why: String| format!("{origin}: `{}` {why}", key.name);
        if items.iter().any(|item| item.chars().any(char::is_control)) {
            return Err(wrong("holds a control character".to_owned()));
        }
        if key.shape == Shape::Text && items.iter().any(String::is_empty) {
            return Err(wrong("is empty".to_owned()));
        }
        self.read(key, &items).map_err(wrong)?;
        put(&mut self.said, Entry { name: key.name, items, origin });
        Ok(())
    }

    /// The provider's row.
    pub(super) fn row(&self) -> &'static Preset {
        // Azure's own grants bring tokens of Entra ID.
        let azures = self.grant.filter(|grant| grant.is_azures()).and_then(|_| preset("entra"));
        self.provider.or(azures).unwrap_or(&OPENID)
    }

    fn get(&self, name: &str) -> Option<&Entry> {
        self.said.iter().find(|said| said.name == name)
    }

    /// Whether the key of this name is set.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The items of the key of this name, as passed to [`Settings::set`]; empty if it is not set.
    pub fn items(&self, name: &str) -> &[String] {
        self.get(name).map_or(&[], |said| &said.items)
    }

    /// The names of the keys that were set, and their items.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        self.said.iter().map(|said| (said.name, said.items.as_slice()))
    }

    /// The keys that are set and their items, in the order of [`KEYS`].
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, &[String])> {
        KEYS.iter().filter_map(|key| Some((key, self.get(key.name)?.items.as_slice())))
    }

    /// The settings in a form that another process can read with [`Settings::from_words`].
    pub(super) fn words(&self) -> Vec<(String, Vec<String>)> {
        self.all().map(|(key, items)| (key.name.to_owned(), items.to_vec())).collect()
    }

    /// Restores settings from [`Settings::words`], as if they were set by flags. Fails if a key is unknown.
    pub(super) fn from_words(words: Vec<(String, Vec<String>)>) -> Result<Self, String> {
        let mut settings = Self::default();
        for (name, items) in words {
            let key = KEYS.iter().find(|key| key.name == name).ok_or_else(|| format!("unknown key {name:?}"))?;
            settings.set(key, items, Origin::Flag(key.flag.unwrap_or(key.name)))?;
        }
        Ok(settings)
    }

    /// The configuration file that sets any of these keys.
    pub(super) fn file(&self) -> Option<&str> {
        self.said.iter().find_map(|said| if let Origin::Line(file, _) = &said.origin { Some(&**file) } else { None })
    }

    /// Whether there are settings and all were set by flags, as for a profile that is not in a file yet.
    pub(super) fn is_by_flags(&self) -> bool {
        !self.is_empty() && self.said.iter().all(|said| matches!(said.origin, Origin::Flag(_)))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Whether both have the same values, wherever they were set.
    pub fn says_what(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }

    /// Where the key of this name was set, for an error message; the key's name if it is not set.
    pub fn place(&self, name: &str) -> String {
        self.get(name).map_or_else(|| format!("`{name}`"), |said| said.origin.to_string())
    }

    /// These settings as flags for a shell, to append to a command that is to use the same profile.
    pub fn as_flags(&self) -> String {
        let mut flags = String::new();
        for (flag, items) in self.all().filter_map(|(key, items)| Some((key.flag?, items))) {
            for item in items {
                let _ = write!(flags, " --{flag} {}", shell_quoted(item));
            }
        }
        flags
    }
}

// The functions that parse a value. The error completes a sentence that begins with the key's name.

fn one<T: TryFrom<String>>(_: &Key, items: &[String]) -> Result<T, String>
where
    T::Error: fmt::Display,
{
    T::try_from(text_of(items).to_owned()).map_err(|why| why.to_string())
}

/// The text of a key that has a single text.
fn text_of(items: &[String]) -> &str {
    items.first().map_or("", String::as_str)
}

fn row(_: &Key, items: &[String]) -> Result<&'static Preset, String> {
    let name = text_of(items);
    let unknown = || format!("{name:?} is not known; {}", meant(name, PRESETS.iter().map(|row| row.name)));
    preset(name).ok_or_else(unknown)
}

fn chosen<T: DeserializeOwned>(key: &Key, items: &[String]) -> Result<T, String> {
    let word = text_of(items);
    let words = if let Shape::Word(words) = key.shape { words } else { &[] };
    let unknown = |_| unknown_word(word, words.iter().copied());
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(word)).map_err(unknown)
}

fn unknown_word<'w>(word: &str, words: impl Iterator<Item = &'w str> + Clone) -> String {
    format!("cannot be {word:?}; {}", meant(word, words))
}

fn source(key: &Key, items: &[String]) -> Result<String, String> {
    let word = text_of(items);
    let known = || SOURCES.iter().copied();
    if known().any(|source| source == word) { one(key, items) } else { Err(unknown_word(word, known())) }
}

fn command(_: &Key, items: &[String]) -> Result<Vec<String>, String> {
    match items.first() {
        None => Err("is empty".to_owned()),
        Some(program) if program.contains(char::is_whitespace) => {
            Err(format!("has the program {program:?}: list program and arguments one by one; there is no shell"))
        }
        Some(_) => Ok(items.to_vec()),
    }
}

fn seconds(_: &Key, items: &[String]) -> Result<u64, String> {
    let said = text_of(items);
    said.parse::<u32>().map(u64::from).map_err(|_| format!("must be a whole number of seconds, not {said:?}"))
}

fn port(_: &Key, items: &[String]) -> Result<u16, String> {
    let said = text_of(items);
    said.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("must be a port from 1 to 65535, not {said:?}"))
}

/// A path that is sent and compared literally, so it must contain nothing that a browser would write differently.
fn path(_: &Key, items: &[String]) -> Result<String, String> {
    let said = text_of(items);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let sound = said.starts_with('/') && said.chars().all(plain) && !said.contains("//") && !said.contains("/.");
    if sound { Ok(said.to_owned()) } else { Err(format!("must be a path such as /callback, not {said:?}")) }
}

fn scopes(_: &Key, items: &[String]) -> Result<Vec<String>, String> {
    match items.iter().find(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
        Some(bad) => Err(format!("{bad:?} is not one scope; list them one by one")),
        None => Ok(items.to_vec()),
    }
}

fn clusters(_: &Key, items: &[String]) -> Result<Vec<HostPattern>, String> {
    if items.is_empty() {
        return Err("is empty".to_owned());
    }
    items.iter().map(|url| HostPattern::parse(url).map_err(|why| format!("{url:?} {why}"))).collect()
}

fn pairs(_: &Key, items: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in items {
        let pair = item.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| format!("must be NAME=VALUE, not {item:?}"))?;
        if RESERVED.split(' ').any(|reserved| reserved == name) {
            return Err(format!("cannot set `{name}`, which keyfob sends itself"));
        }
        // RFC 6749, section 3.1: no parameter is sent twice.
        if pairs.iter().any(|(known, _)| known == name) {
            return Err(format!("names {name:?} twice"));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Parameters that keyfob sends itself, and that `extra` must not set.
const RESERVED: &str = "client_id client_secret client_assertion client_assertion_type scope grant_type device_code \
                        refresh_token code_challenge code_challenge_method code_verifier audience resource assertion \
                        subject_token subject_token_type requested_token_type code response_type response_mode \
                        redirect_uri state nonce request request_uri";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[(&str, &[&str])]) -> Settings {
        let mut settings = Settings::default();
        for (name, items) in values {
            let key = KEYS.iter().find(|key| key.name == *name).unwrap();
            let items = items.iter().map(|&item| item.to_owned()).collect();
            settings.set(key, items, Origin::Flag(key.flag.unwrap_or(key.name))).unwrap();
        }
        settings
    }

    #[test]
    fn every_word_of_a_key_is_its_own_value() {
        let token_kind = |word| said(&[("token-kind", &[word])]).token_kind;
        assert_eq!(["id", "access"].map(token_kind), [TokenKind::Id, TokenKind::Access].map(Some));
        let prompt = |word| said(&[("prompt", &[word])]).prompt;
        let modes = [PromptMode::Auto, PromptMode::Always, PromptMode::Never];
        assert_eq!(["auto", "always", "never"].map(prompt), modes.map(Some));
        let flow = |word| said(&[("flow", &[word])]).flow;
        assert_eq!(["auto", "browser", "device"].map(flow), [Flow::Auto, Flow::Browser, Flow::Device].map(Some));
        let method = |word| said(&[("token-endpoint-auth-method", &[word])]).auth_method;
        let methods = [AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost];
        assert_eq!(["client_secret_basic", "client_secret_post"].map(method), methods.map(Some));
    }

    #[test]
    fn what_lies_over_settings_wins_with_its_place_and_leaves_the_rest() {
        let below = said(&[("client-id", &["below"]), ("min-ttl", &["60"])]);
        let above = said(&[("client-id", &["above"]), ("scopes", &["a", "b"])]);
        let both = below.overlaid(above);
        assert_eq!((both.client_id.as_deref(), both.min_ttl), (Some("above"), Some(60)));
        let all: Vec<_> = both.all().map(|(key, items)| (key.name, items.join(" "))).collect();
        let expected = [("client-id", "above"), ("scopes", "a b"), ("min-ttl", "60")];
        assert_eq!(all, expected.map(|(name, items)| (name, items.to_owned())));
        assert_eq!((both.place("scopes"), both.place("issuer")), ("--scope".to_owned(), "`issuer`".to_owned()));
        assert!(both.has("scopes") && !both.has("issuer") && !both.is_empty() && Settings::default().is_empty());
        assert_eq!(both.items("issuer"), &[] as &[String]);
    }

    #[test]
    fn settings_say_the_same_wherever_they_were_written() {
        let flag = said(&[("client-id", &["c"])]);
        let mut line = Settings::default();
        let key = KEYS.iter().find(|key| key.name == "client-id").unwrap();
        line.set(key, vec!["c".into()], Origin::Line("config.toml".into(), 3)).unwrap();
        assert!(flag.says_what(&line) && !flag.says_what(&said(&[("client-id", &["d"])])));
        assert_eq!(line.place("client-id"), "config.toml:3");
    }

    #[test]
    fn settings_become_flags_again_but_for_what_must_not_stand_there() {
        let settings = said(&[("client-secret", &["hunter2"]), ("client-id", &["a b"]), ("scopes", &["x", "y"])]);
        assert_eq!(settings.as_flags(), " --client-id 'a b' --scope x --scope y");
        assert_eq!(format!("{settings:?}"), r#"{"client-secret", "client-id", "scopes"}"#);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (name, items, why) in [
            ("extra", &["=x"][..], "must be NAME=VALUE, not \"=x\""),
            ("extra", &["x"], "must be NAME=VALUE, not \"x\""),
            ("extra", &["resource=x"], "cannot set `resource`, which keyfob sends itself"),
            ("scopes", &["a", ""], "\"\" is not one scope; list them one by one"),
            ("min-ttl", &["4294967296"], "must be a whole number of seconds, not \"4294967296\""),
            ("client-id", &[""], "is empty"),
            ("client-id", &["a\u{7f}"], "holds a control character"),
            ("provider", &["x"], "\"x\" is not known; known are `openid`, "),
        ] {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            let items = items.iter().map(|&item| item.to_owned()).collect();
            let error = Settings::default().set(key, items, Origin::Flag("f")).unwrap_err();
            assert!(error.starts_with(&format!("--f: `{name}` {why}")), "{error}");
        }
    }
}
