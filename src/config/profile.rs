//! A profile: its settings as checked values, with the provider's row filled in.

use super::environment::{under_environment, variable};
use super::hosts::HostPattern;
use super::identity::{CaFile, SessionKey};
use super::keys::Key;
use super::machine::{self, Machine, MachineGrant, Wrong};
use super::settings::{AuthMethod, Flow, KEYS, Origin, PromptMode, Settings};
use super::{Selection, file_name};
use crate::address::Address;
use crate::failure::Failure;
use crate::providers::{PRESETS, Preset, Redirect, TokenKind};
use crate::secret::Secret;
use crate::sorted;
use crate::text::shell_quoted;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The default of [`Profile::refusal_memory`], in seconds: longer than a command keeps retrying, and short enough for a
/// person to wait.
const REFUSAL_MEMORY: u64 = 30;

/// Longest client secret, in bytes.
const LONGEST_SECRET: usize = 64 << 10;
/// Longest client secret in a file that a flag names, in bytes.
const LONGEST_FLAG_SECRET: usize = 512;

/// Endpoints that are known without discovery: from the settings, or from the provider's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Device authorization endpoint (RFC 8628, section 3.1).
    pub device_authorization: Option<Address>,
    /// Token endpoint.
    pub token: Option<Address>,
    /// Revocation endpoint (RFC 7009).
    pub revocation: Option<Address>,
}

/// The files of a client's private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The private key, as PEM.
    pub file: PathBuf,
    /// The key's id at the provider.
    pub id: Option<String>,
    /// The key's certificate, and optionally its chain, as PEM.
    pub certificates: Option<PathBuf>,
}

/// A way to get a token, with a name, or without one if flags describe it. Every value has been checked.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The name in `[profile.NAME]`.
    pub name: Option<String>,
    /// The provider's row.
    pub preset: &'static Preset,
    /// The issuer to discover and to check ID tokens against.
    pub issuer: Option<Address>,
    /// The address of the issuer's metadata, if it is not a well-known address.
    pub metadata: Option<Address>,
    /// The issuer of ID tokens, if the provider has one per tenant: a template in which the authority is filled in.
    pub issuer_template: Option<String>,
    /// Endpoints that are known without discovery.
    pub endpoints: Endpoints,
    /// Whether `config.toml` sets an endpoint and no flag does, so that the endpoints' origins are the person's choice.
    pub endpoints_chosen: bool,
    /// Where to ask for the account's name if there is no ID token, and the member that holds the name.
    pub account_source: Option<(Address, &'static str)>,
    /// The key of the session.
    pub session: SessionKey,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// `token-kind`, if it is set.
    pub token_kind: Option<TokenKind>,
    /// The `audience` request parameter.
    pub audience: Option<String>,
    /// The `resource` request parameter.
    pub resource: Option<String>,
    /// The only account that may sign in.
    pub account: Option<String>,
    /// Other parameters of the request that begins a sign-in. No other request has them.
    pub extra: Vec<(String, String)>,
    /// The only Kubernetes clusters that get its token; empty means all.
    pub clusters: Vec<HostPattern>,
    /// Least remaining life of a cached token, in seconds.
    pub min_ttl: Option<u64>,
    /// How long a refused or expired sign-in is remembered, in seconds.
    pub refusal_memory: u64,
    /// Certificate authorities to trust in addition to the system's.
    pub ca_file: Option<CaFile>,
    /// Where a sign-in may be shown.
    pub prompt: PromptMode,
    /// How a person signs in.
    pub flow: Flow,
    /// How the client secret is sent, if it is set.
    pub auth_method: Option<AuthMethod>,
    /// The key that the client signs assertions with, if it has one.
    pub client_key: Option<ClientKey>,
    /// How a machine gets its tokens; `None` if a person signs in.
    pub machine: Option<Machine>,
    /// The environment variables that were used because of `environment`.
    pub variables: Vec<&'static str>,
    settings: Settings,
    flags: Settings,
    /// What a caller asked for instead of the profile's own settings; see [`Profile::asking`].
    asked: Settings,
}

/// What another process of this program, with the same configuration, needs to make the same profile.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recipe {
    name: Option<String>,
    flags: Vec<(String, Vec<String>)>,
    asked: Vec<(String, Vec<String>)>,
}

impl Profile {
    /// The recipe of this profile.
    pub fn recipe(&self) -> Recipe {
        Recipe { name: self.name.clone(), flags: self.flags.words(), asked: self.asked.words() }
    }

    /// Makes a profile from its recipe.
    pub fn of(recipe: Recipe) -> Result<Self> {
        let flags = Settings::from_words(recipe.flags).map_err(Failure::usage)?;
        let said = match &recipe.name {
            Some(name) => super::load()?.take(name)?,
            None => Settings::default(),
        };
        let asked = Settings::from_words(recipe.asked).map_err(Failure::usage)?;
        let profile = Self::resolve(recipe.name, said, flags)?;
        Ok(profile.asking(asked.items("scopes").to_vec(), asked.tenant.as_deref())?)
    }

    /// Makes a profile from its settings and checks them. Flags override the environment, which overrides the file.
    pub(super) fn resolve(name: Option<String>, file: Settings, flags: Settings) -> Result<Self, Failure> {
        check_flags(&file, &flags)?;
        let environment = of_environment()?;
        let endpoints_chosen = names_endpoint(&file) && !names_endpoint(&flags);
        let over = [&environment, &flags].into_iter().filter(|said| !said.is_empty());
        let settings = over.cloned().fold(file, Settings::overlaid);
        let (settings, variables) = under_environment(settings)?;
        let said = Said { name: name.as_deref(), settings: &settings };
        let preset = said.preset()?;
        let Server { issuer, issuer_template, endpoints, account_source, authority } = said.server(preset)?;
        let client_id = said.client(preset)?;
        let machine = said.machine(preset, &authority)?;
        let account = settings.account.clone();
        let ca_file = said.ca_file()?;
        let label = account.clone().unwrap_or_default();
        let session = SessionKey { authority, client_id, label, parts: said.parts(preset, ca_file.as_ref()) };
        Ok(Self {
            preset,
            issuer,
            issuer_template,
            metadata: settings.metadata.clone(),
            endpoints,
            endpoints_chosen,
            account_source,
            session,
            scopes: said.scopes(preset),
            token_kind: settings.token_kind,
            audience: settings.audience.clone(),
            resource: settings.resource.clone(),
            account,
            extra: settings.extra.clone().unwrap_or_default(),
            clusters: settings.clusters.clone().unwrap_or_default(),
            min_ttl: settings.min_ttl,
            refusal_memory: settings.refusal_memory.unwrap_or(REFUSAL_MEMORY),
            ca_file,
            prompt: settings.prompt.unwrap_or(PromptMode::Auto),
            flow: settings.flow.unwrap_or_default(),
            auth_method: settings.auth_method,
            client_key: said.client_key()?,
            machine,
            variables,
            name,
            settings,
            flags,
            asked: Settings::default(),
        })
    }

    /// A profile for the keys of an AWS role: its proof is the token of the selected profile, and it has its own
    /// session.
    pub fn for_role(selection: &Selection, role: &str, region: Option<&str>) -> Result<Self> {
        let parent = Self::select(selection)?;
        let Some(parent) = parent.name else {
            let what = "--role wants a profile with a name";
            return Err(Failure::usage(what)
                .hint("write the profile into config.toml: keyfob setup --profile NAME …")
                .into());
        };
        let mut said = Settings::default();
        let source = [("grant", "aws-role"), ("source", "profile"), ("source-profile", &parent), ("role", role)];
        for (name, value) in source.into_iter().chain(region.map(|region| ("region", region))) {
            said.set(key(name), vec![value.to_owned()], Origin::Flag(name)).map_err(Failure::usage)?;
        }
        Ok(Self::resolve(None, Settings::default(), said)?)
    }

    /// The user name to send with its tokens in HTTP Basic, if no rule sets one.
    pub fn basic_username(&self) -> &'static str {
        match &self.machine {
            Some(machine) if machine.grant == MachineGrant::Acr => "00000000-0000-0000-0000-000000000000",
            _ => self.preset.basic_username,
        }
    }

    /// The same profile, for the scopes (if any) and the tenant (if any) that a caller asks for. Returned unchanged unless
    /// one session serves every resource and tenant.
    pub fn asking(mut self, scopes: Vec<String>, tenant: Option<&str>) -> Result<Self, Failure> {
        if !self.preset.multi_resource {
            return Ok(self);
        }
        let mut ask = |name: &str, flag, items| self.asked.set(key(name), items, Origin::Flag(flag));
        if !scopes.is_empty() {
            ask("scopes", "scope", scopes).map_err(Failure::usage)?;
        }
        if let Some(tenant) = tenant {
            ask("tenant", "tenant", vec![tenant.to_owned()]).map_err(Failure::usage)?;
        }
        self.settings = self.settings.overlaid(self.asked.clone());
        let said = Said { name: self.name.as_deref(), settings: &self.settings };
        self.scopes = said.scopes(self.preset);
        if self.asked.tenant.is_some() {
            if self.settings.token_endpoint.is_some() {
                return Err(said.wrong("token-endpoint", "was set by hand, so no other tenant can be asked"));
            }
            self.endpoints = said.server(self.preset)?.endpoints;
        }
        Ok(self)
    }

    /// The kind of token that `keyfob kubernetes` hands out.
    pub fn kubernetes_kind(&self) -> TokenKind {
        // A machine gets no ID tokens, unless its profile asks for them.
        let usual = if self.machine.is_some() { TokenKind::Access } else { self.preset.kubernetes_token };
        self.token_kind.unwrap_or(usual)
    }

    // The following are computed only when a sign-in needs them, so that a cached answer does not pay for them.

    /// The authorization endpoint (RFC 6749, section 3.1), if it is known without discovery.
    pub fn authorization_endpoint(&self) -> Option<Address> {
        let tenant = self.settings.tenant.as_deref().or(self.preset.tenant).unwrap_or_default();
        let filled = |template| Address::assembled(filled(template, &self.session.authority, tenant));
        self.settings.authorization_endpoint.clone().or_else(|| self.preset.authorization_endpoint.map(filled))
    }

    /// The redirect URI (RFC 8252, section 7.3).
    pub fn redirect(&self) -> Redirect<'_> {
        let Settings { redirect_host, redirect_port, redirect_path, .. } = &self.settings;
        let Redirect { host, port, path } = self.preset.redirect;
        Redirect {
            host: redirect_host.as_deref().unwrap_or(host),
            port: redirect_port.unwrap_or(port),
            path: redirect_path.as_deref().unwrap_or(path),
        }
    }

    /// The account that the provider's page should offer.
    pub fn login_hint(&self) -> Option<&str> {
        self.settings.login_hint.as_deref().or(self.account.as_deref())
    }

    /// The file that holds the client's secret, if there is one.
    pub fn client_secret_file(&self) -> Option<&Path> {
        self.settings.client_secret_file.as_deref()
    }

    /// The client secret, read now; `None` for a public client. A line break at the file's end is ignored. A file that
    /// a flag names is sent only if it looks like a secret, because a kubeconfig from another person may name any file.
    pub fn client_secret(&self) -> Result<Option<Secret>> {
        if let Some(secret) = &self.settings.client_secret {
            return Ok(Some(secret.clone()));
        }
        let Some(path) = self.client_secret_file() else { return Ok(None) };
        let wrong = |why: &str| Failure::usage(format!("the client secret file {} {why}", path.display()));
        // Large enough from the start, because growing would leave copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(LONGEST_SECRET + 1));
        std::fs::File::open(path)
            .and_then(|f| f.take(LONGEST_SECRET as u64 + 1).read_to_string(&mut text))
            .map_err(|e| Failure::usage(e.to_string()))
            .with_context(|| format!("could not read the client secret {}", path.display()))?;
        if text.len() > LONGEST_SECRET {
            return Err(wrong("is larger than 64 KiB").into());
        }
        let end = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(end);
        if text.is_empty() {
            return Err(wrong("is empty").into());
        }
        if self.flags.client_secret_file.is_some() {
            // RFC 6749, appendix A.2: a secret consists of printable characters.
            let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let why = match text.len() {
                _ if !printable => Some("is not one line of printable characters"),
                ..=LONGEST_FLAG_SECRET => None,
                _ => Some("is longer than 512 bytes"),
            };
            if let Some(why) = why {
                return Err(wrong(why).hint("name it by `client-secret-file` in config.toml if it is one").into());
            }
        }
        Ok(Some(Secret::from(std::mem::take(&mut *text))))
    }

    /// The name that a person knows this profile by: its name, otherwise its issuer.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.session.authority)
    }

    /// The session that this profile has with `--account LABEL`.
    pub fn with_account(&self, label: &str) -> SessionKey {
        SessionKey { label: label.to_owned(), ..self.session.clone() }
    }

    /// Whether this profile uses the session, either as it is or with `--account` and the session's label.
    pub fn leads_to(&self, session: &SessionKey) -> bool {
        self.session == *session || (!session.label.is_empty() && self.with_account(&session.label) == *session)
    }

    /// A nameless profile for the session, made from its key. Fails if the key does not say enough: of a `ca-file` it
    /// has only the digest. The profile has no client secret.
    pub fn of_session(session: &SessionKey) -> Result<Self, Failure> {
        let SessionKey { authority, client_id, label, parts } = session;
        let row = PRESETS.iter().find(|row| row.authority == Some(authority));
        let (server, at) = match row {
            Some(row) => ("provider", row.name),
            None if parts.get("token-endpoint") == Some(authority) => ("token-endpoint", authority.as_str()),
            None => ("issuer", authority.as_str()),
        };
        let mut said = vec![(server, at.to_owned()), ("client-id", client_id.clone())];
        said.extend(Some(("account", label.clone())).filter(|(_, label)| !label.is_empty()));
        said.extend(parts.iter().map(|(name, value)| match name.strip_prefix(EXTRA) {
            Some(parameter) => ("extra", format!("{parameter}={value}")),
            None => (name.as_str(), value.clone()),
        }));
        let mut flags = Settings::default();
        for (name, value) in said {
            let known = KEYS.iter().find(|key| key.name == name && name != "ca-file");
            let Some((key, flag)) = known.and_then(|key| Some((key, key.flag?))) else {
                return Err(Failure::usage(format!("its file does not say which `{name}` it has")));
            };
            let items = [flags.items(name), &[value]].concat();
            flags.set(key, items, Origin::Flag(flag)).map_err(Failure::usage)?;
        }
        let profile = Self { endpoints_chosen: true, ..Self::resolve(None, Settings::default(), flags)? };
        if profile.session != *session {
            return Err(Failure::usage("its file does not say enough about it"));
        }
        Ok(profile)
    }

    /// The tenant, if the profile names a single tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.settings.tenant.as_deref().filter(|tenant| !self.preset.tenant_groups.contains(tenant))
    }

    /// Azure's resource id of the managed identity, if the profile names one.
    pub fn identity_resource_id(&self) -> Option<&str> {
        self.settings.identity_resource_id.as_deref()
    }

    /// The subscription whose account the Azure CLI is to use, if the profile names one.
    pub fn subscription(&self) -> Option<&str> {
        self.settings.subscription.as_deref()
    }

    /// Whether the profile itself sets this scope; false if it is only a default.
    pub fn asks_for(&self, scope: &str) -> bool {
        self.settings.scopes.iter().flatten().any(|s| s == scope)
    }

    /// The shell command `keyfob VERB` for this profile. It includes the variables that point this process at its
    /// files, because the person's shell may not have them.
    pub fn command(&self, verb: &str) -> String {
        self.command_with(verb, &self.flags)
    }

    /// Like [`Profile::command`], with the scopes and tenant from [`Profile::asking`].
    pub fn command_for_this(&self, verb: &str) -> String {
        self.command_with(verb, &self.flags.clone().overlaid(self.asked.clone()))
    }

    fn command_with(&self, verb: &str, flags: &Settings) -> String {
        let environment = ["KEYFOB_CONFIG", "KEYFOB_CACHE_DIR"].into_iter().filter_map(|name| {
            let value = std::env::var_os(name).filter(|v| !v.is_empty())?;
            Some(format!("{name}={} ", shell_quoted(&value.to_string_lossy())))
        });
        let program = crate::process::name();
        let name = self.name.as_deref().map(|n| format!(" {}", shell_quoted(n))).unwrap_or_default();
        let environment: String = environment.collect();
        format!("{environment}{} {verb}{name}{}", shell_quoted(&program), flags.as_flags())
    }
}

/// The addresses of a profile's server.
struct Server {
    issuer: Option<Address>,
    issuer_template: Option<String>,
    endpoints: Endpoints,
    account_source: Option<(Address, &'static str)>,
    authority: String,
}

/// What the environment says about every profile.
fn of_environment() -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    if let Some(mode) = std::env::var("KEYFOB_PROMPT").ok().filter(|mode| !mode.is_empty()) {
        settings.set(key("prompt"), vec![mode], Origin::Environment("KEYFOB_PROMPT")).map_err(Failure::usage)?;
    }
    Ok(settings)
}

/// Fails if a flag would change what only the file may say: a flow that is set, and the keys of a machine's profile.
fn check_flags(file: &Settings, flags: &Settings) -> Result<(), Failure> {
    if let (Some(Flow::Browser | Flow::Device), Some(flag)) = (file.flow, flags.flow)
        && file.flow != Some(flag)
    {
        let what = format!("{}: `flow` is set for this profile, and no flag changes it", file.place("flow"));
        return Err(Failure::usage(what).hint("leave --flow out, or set `flow = \"auto\"` there"));
    }
    if let (Some(_), Some((key, _))) = (file.grant, flags.all().find(|(key, _)| MACHINES_OWN.contains(&key.name))) {
        let what =
            format!("{}: a machine's profile takes `{}` from config.toml alone", flags.place(key.name), key.name);
        return Err(Failure::usage(what));
    }
    Ok(())
}

fn names_endpoint(said: &Settings) -> bool {
    said.authorization_endpoint.is_some()
        || said.device_authorization_endpoint.is_some()
        || said.token_endpoint.is_some()
        || said.revocation_endpoint.is_some()
}

/// The settings of a profile that is being checked.
struct Said<'a> {
    name: Option<&'a str>,
    settings: &'a Settings,
}

impl Said<'_> {
    /// The failure of a key that is set wrongly, with its place.
    fn wrong(&self, key: &str, what: &str) -> Failure {
        Failure::usage(format!("{}: `{key}` {what}", self.settings.place(key)))
    }

    /// The failure of a key that is needed and not set, with what to write where.
    fn missing(&self, key: &str, why: &str) -> Failure {
        let whose = self.name.map_or_else(|| "this profile".to_owned(), |n| format!("profile {n:?}"));
        let variable = variable(self.settings, key).map(|name| format!("set {name}, or ")).unwrap_or_default();
        let remedy = match self.name {
            Some(_) if self.settings.is_by_flags() => format!("pass --{key}"),
            Some(n) => {
                let flag = if self::key(key).flag.is_some() { format!(", or pass --{key}") } else { String::new() };
                let file = self.settings.file().map_or_else(file_name, str::to_owned);
                format!("add `{key} = \"…\"` below [profile.{n}] in {file}{flag}")
            }
            None => format!("pass --{key}"),
        };
        Failure::usage(format!("{whose} has no `{key}`{why}")).hint(variable + &remedy)
    }

    /// The provider's row.
    fn preset(&self) -> Result<&'static Preset, Failure> {
        let preset = self.settings.row();
        for (key, takes) in [("authority", preset.authority.is_some()), ("tenant", preset.tenant.is_some())] {
            if self.settings.has(key) && !takes {
                return Err(self.wrong(key, &format!("means nothing to {}", preset.title)));
            }
        }
        Ok(preset)
    }

    /// Where the profile signs in: authority, issuer and endpoints, from the settings or the provider's row.
    fn server(&self, preset: &'static Preset) -> Result<Server, Failure> {
        let settings = self.settings;
        let tenant = settings.tenant.as_deref().or(preset.tenant).unwrap_or_default();
        if preset.tenant == Some("") && tenant.is_empty() {
            return Err(self.missing("tenant", ", its id or domain"));
        }
        if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
            return Err(self.wrong("tenant", "must be a tenant id or a domain name"));
        }
        let home = match (&settings.authority, preset.authority) {
            (Some(given), _) => given.as_str().trim_end_matches('/').to_owned(),
            (None, Some("")) => return Err(self.missing("authority", ", the address of your own installation")),
            (None, usual) => usual.unwrap_or_default().to_owned(),
        };
        let filled = |template: &str| filled(template, &home, tenant);
        let by_row = |template: &str| Address::assembled(filled(template));
        let or = |given: &Option<Address>, template: Option<&str>| given.clone().or_else(|| template.map(by_row));
        let by_grant = Machine::endpoint(settings).map_err(|(key, what)| self.wrong(key, what))?;
        let endpoints = Endpoints {
            device_authorization: or(&settings.device_authorization_endpoint, preset.device_authorization_endpoint),
            token: or(&settings.token_endpoint.clone().or(by_grant), preset.token_endpoint),
            revocation: or(&settings.revocation_endpoint, preset.revocation_endpoint),
        };
        let issuer_template = preset.issuer.map(filled).filter(|template| template.contains('{'));
        let row = if issuer_template.is_some() { None } else { preset.issuer };
        let issuer = or(&settings.issuer, row);
        if issuer.as_ref().is_some_and(Address::has_query) {
            return Err(self.wrong("issuer", "has a query (`?…`)"));
        }
        if let Some((given, document)) = issuer.as_ref().and_then(|issuer| issuer.as_str().split_once("/.well-known/"))
        {
            let failure = self.wrong("issuer", "is the address of a metadata document");
            return Err(failure.hint(format!("leave out /.well-known/{document}: {given}")));
        }
        let begins = endpoints.device_authorization.is_some() || settings.authorization_endpoint.is_some();
        let authority = match (&issuer, &endpoints.token) {
            _ if !home.is_empty() => home.clone(),
            (Some(issuer), _) => issuer.to_string(),
            (None, Some(token)) if begins || settings.grant.is_some() => token.to_string(),
            _ if settings.grant == Some(MachineGrant::None) => settings.source.clone().unwrap_or_default(),
            _ => return Err(self.missing("issuer", "")),
        };
        // A fixed address belongs to the provider's main site, so a token of another installation must not be sent
        // there.
        let at_home = preset.authority == Some(&*home);
        let account_source = preset
            .account
            .filter(|(template, _)| at_home || template.contains("{authority}") || template.contains("{host}"))
            .map(|(template, member)| (by_row(template), member));
        Ok(Server { issuer, issuer_template, endpoints, account_source, authority })
    }

    /// The client id, from the settings or the provider's row; empty for grants that need none. Fails if a secret is
    /// missing or set twice.
    fn client(&self, preset: &Preset) -> Result<String, Failure> {
        let (inline, file) = (self.settings.client_secret.is_some(), self.settings.client_secret_file.is_some());
        let client_id = self.settings.client_id.clone().or_else(|| preset.client_id.map(str::to_owned));
        let client_id = match (client_id, self.settings.grant) {
            (Some(id), _) => id,
            (None, Some(grant)) if grant != MachineGrant::ClientCredentials => String::new(),
            _ => return Err(self.missing("client-id", "")),
        };
        if inline && file {
            return Err(self.wrong("client-secret", "and `client-secret-file` exclude each other"));
        }
        if preset.needs_secret && !inline && !file && self.settings.grant.is_none() {
            return Err(self.missing("client-secret-file", &format!(", which {} wants", preset.title)));
        }
        Ok(client_id)
    }

    /// The key or certificate by which the client proves itself, if it has one.
    fn client_key(&self) -> Result<Option<ClientKey>, Failure> {
        let settings = self.settings;
        let certificates = settings.client_certificate_file.clone();
        let Some(file) = settings.client_key_file.clone().or_else(|| certificates.clone()) else { return Ok(None) };
        if let Some(key) = ["client-secret", "client-secret-file"].into_iter().find(|key| settings.has(key)) {
            return Err(self.wrong(key, "and a client key exclude each other"));
        }
        Ok(Some(ClientKey { file, id: settings.client_key_id.clone(), certificates }))
    }

    /// The machine's grant; `None` if a person signs in.
    fn machine(&self, preset: &Preset, authority: &str) -> Result<Option<Machine>, Failure> {
        let audiences = preset.assertion_audiences;
        let audience = audiences.iter().find(|(home, _)| *home == authority).or(audiences.first());
        let audience = audience.map(|(_, audience)| *audience);
        let machine = Machine::of(self.settings, audience).map_err(|wrong| match wrong {
            Wrong::Missing(key, why) => self.missing(key, &why),
            Wrong::Key(key, what) => self.wrong(key, &what),
        })?;
        let tenant = self.settings.tenant.as_deref().or(preset.tenant);
        let asks = machine.as_ref().is_some_and(|machine| machine.grant.asks_a_server());
        if asks && tenant.is_some_and(|tenant| preset.tenant_groups.contains(&tenant)) {
            return Err(self.missing("tenant", ", the id or domain of the one that knows this machine"));
        }
        Ok(machine)
    }

    fn scopes(&self, preset: &Preset) -> Vec<String> {
        if self.settings.grant.is_some() {
            return self.settings.scopes.clone().unwrap_or_default();
        }
        let owned = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>();
        let mut scopes = self.settings.scopes.clone().unwrap_or_else(|| owned(preset.scopes));
        let missing = preset.scopes_besides.iter().filter(|&&besides| !scopes.iter().any(|scope| scope == besides));
        scopes.extend(owned(&missing.copied().collect::<Vec<_>>()));
        scopes
    }

    fn ca_file(&self) -> Result<Option<CaFile>, Failure> {
        let Some(path) = &self.settings.ca_file else { return Ok(None) };
        CaFile::read(path.clone()).map(Some).map_err(|why| {
            let what = format!("{}: {why}", self.settings.place("ca-file"));
            Failure::usage(what).hint("`ca-file` must name a PEM file with certificates")
        })
    }

    /// The settings that shape a grant besides authority, client and account. `audience` and `resource` are not among
    /// them if every refresh names its resource.
    fn parts(&self, preset: &Preset, ca_file: Option<&CaFile>) -> BTreeMap<String, String> {
        let by_hand = [
            "metadata",
            "authorization-endpoint",
            "device-authorization-endpoint",
            "token-endpoint",
            "revocation-endpoint",
        ];
        let targets: &[&str] = if preset.multi_resource { &[] } else { &["audience", "resource"] };
        let is_part = |name| by_hand.contains(&name) || targets.contains(&name) || machine::PARTS.contains(&name);
        let said = self.settings.said().filter(|(name, _)| is_part(*name)).filter_map(|(name, items)| match items {
            [] => None,
            several @ [_, _, ..] if machine::PARTS.contains(&name) => Some((name.to_owned(), format!("{several:?}"))),
            [one, ..] => Some((name.to_owned(), one.clone())),
        });
        let mut parts = sorted::map(said);
        let extra = self.settings.extra.iter().flatten();
        parts.extend(extra.map(|(name, value)| (format!("{EXTRA}{name}"), value.clone())));
        parts.extend(ca_file.map(|file| ("ca-file".to_owned(), file.digest())));
        parts
    }
}

/// Keys that decide where a machine's proof is sent, whose proof it is, or what its token is for.
const MACHINES_OWN: [&str; 11] = [
    "audience",
    "authority",
    "ca-file",
    "client-id",
    "client-secret-file",
    "device-authorization-endpoint",
    "extra",
    "metadata",
    "resource",
    "revocation-endpoint",
    "token-endpoint",
];

/// The key of this name in [`KEYS`].
pub(super) fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).expect("a key of the table")
}

/// The prefix of an `extra` parameter's name in [`SessionKey::parts`].
const EXTRA: &str = "extra.";

/// Fills in `{authority}`, `{host}` (the authority's) and `{tenant}` in a row's template. `{tid}` and `{any}` stay, to
/// be matched against an ID token.
fn filled(template: &str, authority: &str, tenant: &str) -> String {
    let mut text = String::with_capacity(template.len() + authority.len() + tenant.len());
    for piece in template.split_inclusive('}') {
        let (before, word) = piece.split_once('{').unwrap_or((piece, ""));
        text.push_str(before);
        match word {
            "authority}" => text.push_str(authority),
            "tenant}" => text.push_str(tenant),
            "host}" => text.push_str(authority.split('/').nth(2).unwrap_or_default()),
            _ => text.push_str(&piece[before.len()..]),
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The profile of these flags.
    pub(crate) fn resolved(values: &[(&str, &str)]) -> Result<Profile, Failure> {
        let mut settings = Settings::default();
        for (name, value) in values {
            let key = key(name);
            let origin = Origin::Flag(key.flag.unwrap_or(key.name));
            settings.set(key, vec![(*value).to_owned()], origin).map_err(Failure::usage)?;
        }
        Profile::resolve(None, Settings::default(), settings)
    }

    #[test]
    fn an_account_is_asked_for_at_the_home_that_signs_it_in() {
        let at = |provider: &str, authority: Option<&str>| {
            let authority = authority.map(|authority| ("authority", authority));
            let said: Vec<_> = [("provider", provider), ("client-id", "c")].into_iter().chain(authority).collect();
            resolved(&said).unwrap().account_source.map(|(address, member)| format!("{address} {member}"))
        };
        for (provider, authority, source) in [
            ("github", None, Some("https://api.github.com/user login")),
            ("github", Some("https://github.corp.example"), None),
            ("github-data-residency", Some("https://octo.ghe.com"), Some("https://api.octo.ghe.com/user login")),
            ("github-enterprise", Some("https://git.corp.example"), Some("https://git.corp.example/api/v3/user login")),
            ("gitlab", None, None),
        ] {
            assert_eq!(at(provider, authority).as_deref(), source, "{provider} {authority:?}");
        }
    }

    #[test]
    fn templates_are_filled() {
        for (template, text) in [
            ("{authority}/{tenant}/token", "https://id.example/common/token"),
            ("{authority}/{tid}/v2.0", "https://id.example/{tid}/v2.0"),
            ("{authority}", "https://id.example"),
            ("https://other.example/", "https://other.example/"),
            ("https://api.{host}/user", "https://api.id.example/user"),
            ("", ""),
        ] {
            assert_eq!(filled(template, "https://id.example", "common"), text);
        }
    }

    #[test]
    fn an_issuer_and_a_client_are_enough() {
        let p = resolved(&[("issuer", "https://id.example.com/realms/lab"), ("client-id", "k8s")]).unwrap();
        assert_eq!(p.scopes, ["openid", "offline_access"]);
        assert_eq!(p.session.authority, "https://id.example.com/realms/lab");
        let login = p.command("login");
        assert!(login.ends_with("keyfob login --issuer https://id.example.com/realms/lab --client-id k8s"), "{login}");
    }

    #[test]
    fn what_is_missing_or_too_much_is_named_with_the_remedy() {
        let hint = |values: &[(&str, &str)]| resolved(values).unwrap_err().hint.unwrap().text().to_owned();
        assert_eq!(hint(&[("issuer", "https://id.example.com")]), "pass --client-id");
        let mut settings = Settings::default();
        settings.set(key("issuer"), vec!["https://id.example.com".into()], Origin::Flag("issuer")).unwrap();
        let proposed = Profile::proposed("lab", settings).unwrap_err().hint.unwrap();
        assert_eq!(proposed.text(), "pass --client-id", "the profile is in no file yet");
        for (document, issuer) in [
            ("https://id.example.com/.well-known/openid-configuration", "https://id.example.com"),
            ("https://id.example.com/a/.well-known/openid-configuration", "https://id.example.com/a"),
        ] {
            let wanted = format!("leave out /.well-known/openid-configuration: {issuer}");
            assert_eq!(hint(&[("issuer", document), ("client-id", "c")]), wanted);
        }
    }

    #[test]
    fn a_row_fills_in_endpoints_scopes_and_session() {
        let p = resolved(&[
            ("provider", "entra"),
            ("tenant", "contoso.com"),
            ("client-id", "c"),
            ("scopes", "api/.default"),
        ])
        .unwrap();
        assert_eq!(
            p.endpoints.device_authorization.unwrap().as_str(),
            "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/devicecode"
        );
        assert_eq!(p.scopes, ["api/.default", "openid", "profile", "offline_access"]);
        assert_eq!(p.session.authority, "https://login.microsoftonline.com", "one sign-in serves every tenant");
        assert_eq!(p.issuer_template.unwrap(), "https://login.microsoftonline.com/{tid}/v2.0");
        assert_eq!(p.issuer, None);
    }

    #[test]
    fn an_external_tenant_signs_in_at_its_own_name_and_is_issued_for_by_its_id() {
        let p = resolved(&[
            ("provider", "entra-external-id"),
            ("authority", "https://contoso.ciamlogin.com"),
            ("tenant", "contoso.onmicrosoft.com"),
            ("client-id", "c"),
        ])
        .unwrap();
        let path = "https://contoso.ciamlogin.com/contoso.onmicrosoft.com/oauth2/v2.0";
        assert_eq!(p.authorization_endpoint().unwrap().as_str(), format!("{path}/authorize"));
        assert_eq!(p.endpoints.token.unwrap().as_str(), format!("{path}/token"));
        assert_eq!(p.issuer_template.unwrap(), "https://{tid}.ciamlogin.com/{tid}/v2.0");
    }

    #[test]
    fn a_policy_of_azure_ad_b2c_is_an_authority_and_its_host_the_issuers() {
        let authority = "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_signin";
        let p = resolved(&[("provider", "entra-b2c"), ("authority", authority), ("client-id", "c")]).unwrap();
        assert_eq!(p.endpoints.token.unwrap().as_str(), format!("{authority}/oauth2/v2.0/token"));
        assert_eq!((p.issuer, p.issuer_template.as_deref()), (None, Some("https://contoso.b2clogin.com/{any}/v2.0/")));
    }

    #[test]
    fn a_subdomain_of_ghe_com_has_an_api_of_its_own() {
        let said = [("provider", "github-data-residency"), ("authority", "https://octo.ghe.com"), ("client-id", "c")];
        let p = resolved(&said).unwrap();
        assert_eq!(p.account_source.unwrap().0.as_str(), "https://api.octo.ghe.com/user");
        assert_eq!(p.endpoints.token.unwrap().as_str(), "https://octo.ghe.com/login/oauth/access_token");
    }

    #[test]
    fn a_browser_comes_back_to_what_is_registered() {
        let redirect = |more: &[(&str, &str)]| {
            let profile = resolved(&[&[("client-id", "c")], more].concat()).unwrap();
            let Redirect { host, port, path } = profile.redirect();
            format!("{host}:{port}{path}")
        };
        let issuer = ("issuer", "https://id.example.com");
        assert_eq!(redirect(&[issuer]), "127.0.0.1:0");
        assert_eq!(redirect(&[("provider", "entra")]), "localhost:0");
        assert_eq!(redirect(&[issuer, ("provider", "okta")]), "127.0.0.1:28460");
        let own = ("authority", "https://own.example");
        assert_eq!(redirect(&[own, ("provider", "openshift")]), "127.0.0.1:0/callback");
        let said = [("redirect-host", "localhost"), ("redirect-port", "8000"), ("redirect-path", "/")];
        assert_eq!(redirect(&[&[issuer], &said[..]].concat()), "localhost:8000/");
    }

    #[test]
    fn a_national_cloud_is_an_authority() {
        for authority in ["https://login.microsoftonline.us", "https://login.partner.microsoftonline.cn"] {
            let p = resolved(&[("provider", "entra"), ("client-id", "c"), ("authority", authority)]).unwrap();
            let Endpoints { device_authorization, token, .. } = p.endpoints;
            let path = format!("{authority}/organizations/oauth2/v2.0");
            assert_eq!(device_authorization.unwrap().as_str(), format!("{path}/devicecode"));
            assert_eq!(token.unwrap().as_str(), format!("{path}/token"));
            assert_eq!(p.issuer_template.unwrap(), format!("{authority}/{{tid}}/v2.0"));
        }
    }

    #[test]
    fn a_caller_may_ask_for_another_resource_and_tenant_where_one_sign_in_serves_them_all() {
        let entra = [("provider", "entra"), ("client-id", "c"), ("scopes", "own/.default")];
        let asked = || vec!["https://a.example/.default".to_owned()];
        let p = resolved(&entra).unwrap().asking(asked(), Some("fabrikam.com")).unwrap();
        assert_eq!(p.scopes, ["https://a.example/.default", "openid", "profile", "offline_access"]);
        assert_eq!(
            p.endpoints.token.as_ref().unwrap().as_str(),
            "https://login.microsoftonline.com/fabrikam.com/oauth2/v2.0/token"
        );
        let own = " login --provider entra --client-id c --scope own/.default";
        assert!(p.command("login").ends_with(own), "{}", p.command("login"));
        let this = " --client-id c --scope https://a.example/.default --tenant fabrikam.com";
        assert!(p.command_for_this("login").ends_with(this), "{}", p.command_for_this("login"));

        let p = resolved(&entra).unwrap().asking(Vec::new(), None).unwrap();
        assert_eq!(p.scopes[0], "own/.default");
        let bad = resolved(&entra).unwrap().asking(asked(), Some("a/b")).unwrap_err();
        assert_eq!(bad.message, "--tenant: `tenant` must be a tenant id or a domain name");
        let p = resolved(&[("issuer", "https://id.example.com"), ("client-id", "c")]).unwrap();
        assert_eq!(p.asking(asked(), Some("t")).unwrap().scopes, ["openid", "offline_access"]);
    }

    #[test]
    fn no_flag_changes_the_flow_that_a_profile_sets() {
        let said = |word: &str, origin| {
            let mut settings = Settings::default();
            settings.set(key("flow"), vec![word.to_owned()], origin).unwrap();
            settings
        };
        let with = |file: &str, flag: &str| {
            let mut file = said(file, Origin::Line("config.toml".into(), 3));
            for (name, value) in [("issuer", "https://id.example.com"), ("client-id", "c")] {
                file.set(key(name), vec![value.to_owned()], Origin::Line("config.toml".into(), 2)).unwrap();
            }
            Profile::resolve(Some("lab".into()), file, said(flag, Origin::Flag("flow"))).map(|profile| profile.flow)
        };
        assert_eq!(with("auto", "device").unwrap(), Flow::Device);
        assert_eq!(with("browser", "browser").unwrap(), Flow::Browser);
        for (file, flag) in [("browser", "device"), ("browser", "auto"), ("device", "browser")] {
            let failure = with(file, flag).unwrap_err();
            assert_eq!(failure.message, "config.toml:3: `flow` is set for this profile, and no flag changes it");
        }
    }

    #[test]
    fn no_extra_parameter_is_given_twice() {
        let items = vec!["a=1".into(), "b=1".into(), "a=2".into()];
        let refused = Settings::default().set(key("extra"), items, Origin::Flag("extra"));
        assert_eq!(refused.unwrap_err(), "--extra: `extra` names \"a\" twice");
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_their_place() {
        for (values, message) in [
            (
                &[("issuer", "http://id.example.com"), ("client-id", "c")][..],
                "--issuer: `issuer` is not https (plain http is allowed only on loopback)",
            ),
            (&[("issuer", "https://id.example.com/?x"), ("client-id", "c")], "--issuer: `issuer` has a query (`?…`)"),
            (&[("issuer", "https://id.example.com")], "this profile has no `client-id`"),
            (
                &[("provider", "keycloack"), ("client-id", "c")],
                "--provider: `provider` \"keycloack\" is not known; did you mean `keycloak`?",
            ),
            (&[("provider", "gitea")], "this profile has no `authority`, the address of your own installation"),
            (
                &[("provider", "entra-external-id"), ("authority", "https://own.ciamlogin.com"), ("client-id", "c")],
                "this profile has no `tenant`, its id or domain",
            ),
            (
                &[("issuer", "https://id.example.com"), ("client-id", "c"), ("redirect-port", "0")],
                "--redirect-port: `redirect-port` must be a port from 1 to 65535, not \"0\"",
            ),
            (
                &[("issuer", "https://id.example.com"), ("client-id", "c"), ("redirect-path", "callback")],
                "--redirect-path: `redirect-path` must be a path such as /callback, not \"callback\"",
            ),
            (
                &[("provider", "entra"), ("tenant", "a/b"), ("client-id", "c")],
                "--tenant: `tenant` must be a tenant id or a domain name",
            ),
            (
                &[("provider", "github-enterprise"), ("client-id", "c")],
                "this profile has no `authority`, the address of your own installation",
            ),
            (
                &[("provider", "google"), ("client-id", "c")],
                "this profile has no `client-secret-file`, which Google wants",
            ),
            (
                &[("issuer", "https://a.example"), ("tenant", "t"), ("client-id", "c")],
                "--tenant: `tenant` means nothing to OpenID Connect",
            ),
            (
                &[("issuer", "https://a.example"), ("scopes", "a b"), ("client-id", "c")],
                "--scope: `scopes` \"a b\" is not one scope; list them one by one",
            ),
            (
                &[("issuer", "https://a.example"), ("extra", "client_id=x"), ("client-id", "c")],
                "--extra: `extra` cannot set `client_id`, which keyfob sends itself",
            ),
            (&[("token-endpoint", "https://a.example/token"), ("client-id", "c")], "this profile has no `issuer`"),
            (
                &[("issuer", "https://a.example"), ("ca-file", "/nowhere"), ("client-id", "c")],
                "--ca-file: could not read the certificate file /nowhere: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(resolved(values).unwrap_err().message, message);
        }
    }

    #[test]
    fn a_session_leads_back_to_a_profile_that_has_it() {
        for values in [
            &[("issuer", "https://id.example.com"), ("client-id", "c"), ("account", "ada"), ("audience", "a")][..],
            &[("provider", "entra"), ("client-id", "c"), ("tenant", "contoso.com"), ("resource", "no part of it")],
            &[
                ("provider", "gitlab"),
                ("client-id", "c"),
                ("extra", "a=b=c"),
                ("revocation-endpoint", "https://r.example"),
            ],
            &[
                ("token-endpoint", "https://t.example"),
                ("device-authorization-endpoint", "https://d.example"),
                ("client-id", "c"),
            ],
        ] {
            let session = resolved(values).unwrap().session;
            let back = Profile::of_session(&session).unwrap();
            assert_eq!(back.session, session);
            assert!(back.leads_to(&session));
        }
        let entra = resolved(&[("provider", "entra"), ("client-id", "c"), ("audience", "a")]).unwrap().session;
        assert!(entra.parts.is_empty(), "one sign-in serves every resource");
        let unknown = |part: &str| SessionKey { parts: [(part.to_owned(), "x".to_owned())].into(), ..entra.clone() };
        for part in ["ca-file", "client-secret", "audience", "new"] {
            assert!(Profile::of_session(&unknown(part)).is_err(), "{part}");
        }
    }

    #[test]
    fn account_flags_lead_to_sessions_of_their_own() {
        let profile =
            resolved(&[("issuer", "https://id.example.com"), ("client-id", "c"), ("account", "ada")]).unwrap();
        let leads = |label: &str| profile.leads_to(&profile.with_account(label));
        assert_eq!([leads("ada"), leads("bob"), leads("")], [true, true, false]);
        let other = SessionKey { client_id: "d".into(), ..profile.session.clone() };
        assert!(!profile.leads_to(&other));
    }

    #[test]
    fn every_row_makes_a_profile() {
        for p in PRESETS {
            let mut values = vec![("provider", p.name), ("client-id", "c")];
            if p.authority == Some("") {
                values.push(("authority", "https://own.example"));
            }
            if p.tenant == Some("") {
                values.push(("tenant", "own.example"));
            }
            if p.issuer.is_none() && p.authorization_endpoint.is_none() {
                values.push(("issuer", "https://own.example"));
            }
            if p.needs_secret {
                values.push(("client-secret", "s"));
            }
            resolved(&values).unwrap_or_else(|e| panic!("{}: {e}", p.name));
        }
    }
}
