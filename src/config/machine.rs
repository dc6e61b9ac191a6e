//! A profile to which no person signs in: the grant that gets its tokens, and the source of the machine's proof.

use super::hosts::Target;
use super::settings::Settings;
use crate::address::Address;
use crate::providers::TokenKind;
use serde::Deserialize;
use std::path::PathBuf;

/// The grant with which a machine gets tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineGrant {
    /// RFC 6749, section 4.4: the client's own credentials.
    ClientCredentials,
    /// RFC 8693: exchanges the source's token.
    TokenExchange,
    /// RFC 7523, section 2.1: the source's token is the grant.
    JwtBearer,
    /// Azure's managed identity of this machine.
    ManagedIdentity,
    /// The account that is signed in to the Azure CLI.
    Az,
    /// The account that is signed in to the Azure Developer CLI.
    Azd,
    /// Temporary keys of a role from AWS, in exchange for the source's token.
    AwsRole,
    /// A registry's own token from Azure Container Registry, in exchange for the source's token.
    Acr,
    /// The source's own token, unchanged.
    None,
}

impl MachineGrant {
    /// Whether tokens come from the profile's token endpoint.
    pub fn asks_a_server(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::TokenExchange | Self::JwtBearer)
    }

    /// Whether this grant is specific to Azure.
    pub(super) fn is_azures(self) -> bool {
        matches!(self, Self::ManagedIdentity | Self::Az | Self::Azd)
    }
}

/// The words for [`MachineGrant`] in `grant`.
pub(super) const GRANTS: &[&str] =
    &["client-credentials", "token-exchange", "jwt-bearer", "managed-identity", "az", "azd", "aws-role", "acr", "none"];

/// The AWS region to ask if the profile names none.
const REGION: &str = "us-east-1";

/// The words for [`Source`] in `source`.
pub(super) const SOURCES: &[&str] = &["file", "env", "command", "github", "azure-pipelines", "gcp", "profile"];

/// The source of the token that proves what this machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, read again for each request.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A program and its arguments; the token is its output without surrounding white space.
    Command(Vec<String>),
    /// GitHub Actions, with this audience.
    Github(String),
    /// Azure Pipelines, with the service connection of this id.
    AzurePipelines(String),
    /// Google Cloud's metadata server, with this audience.
    Gcp(String),
    /// The token of the profile of this name.
    Profile(String),
}

/// A machine's settings in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The grant.
    pub grant: MachineGrant,
    /// The source of its proof; `None` if the client's secret or key is enough.
    pub source: Option<Source>,
    /// `subject_token_type` of a token exchange, if it is set.
    pub subject_token_type: Option<String>,
    /// `requested_token_type` of a token exchange, if it is set.
    pub requested_token_type: Option<String>,
    /// The AWS role whose keys are requested.
    pub role: Option<String>,
    /// The host of the Azure Container Registry whose token is requested.
    pub registry: Option<String>,
}

/// The keys that describe a source, each with the sources that it applies to.
const SOURCE_KEYS: [(&str, &[&str]); 6] = [
    ("source-file", &["file"]),
    ("source-env", &["env"]),
    ("source-command", &["command"]),
    ("source-audience", &["github", "gcp"]),
    ("service-connection", &["azure-pipelines"]),
    ("source-profile", &["profile"]),
];

/// Keys that are part of a machine's session key, in addition to those of every session.
pub(super) const PARTS: [&str; 15] = [
    "grant",
    "identity-resource-id",
    "subscription",
    "source",
    "source-file",
    "source-env",
    "source-command",
    "source-audience",
    "service-connection",
    "source-profile",
    "subject-token-type",
    "requested-token-type",
    "role",
    "region",
    "registry",
];

/// Keys that apply to one grant only.
const GRANT_KEYS: [(&str, MachineGrant, &str); 7] = [
    ("identity-resource-id", MachineGrant::ManagedIdentity, "managed-identity"),
    ("subscription", MachineGrant::Az, "az"),
    ("subject-token-type", MachineGrant::TokenExchange, "token-exchange"),
    ("requested-token-type", MachineGrant::TokenExchange, "token-exchange"),
    ("role", MachineGrant::AwsRole, "aws-role"),
    ("region", MachineGrant::AwsRole, "aws-role"),
    ("registry", MachineGrant::Acr, "acr"),
];

/// What is wrong with the settings: the key and the message.
pub(super) enum Wrong {
    /// The key is not set but is required, for this reason.
    Missing(&'static str, String),
    /// The key is set but must not be, or has a wrong value.
    Key(&'static str, String),
}

impl Machine {
    /// Reads a machine's settings; `None` if a person signs in. `audience` is the audience that the provider expects of
    /// a source's token.
    pub(super) fn of(settings: &Settings, audience: Option<&str>) -> Result<Option<Self>, Wrong> {
        let Some(grant) = settings.grant else {
            let stray = settings.said().find(|(key, _)| PARTS.contains(key) || *key == "environment");
            let without = |(key, _)| Err(Wrong::Key(key, "means nothing without `grant`".to_owned()));
            return stray.map_or(Ok(None), without);
        };
        let source = source(settings, audience)?;
        let word = settings.items("grant").first().map_or("", String::as_str);
        if grant.is_azures() && settings.has("source") {
            return Err(Wrong::Key("source", format!("means nothing to `grant = \"{word}\"`")));
        }
        if source.is_none() && grant != MachineGrant::ClientCredentials && !grant.is_azures() {
            return Err(Wrong::Missing("source", format!(", which `grant = \"{word}\"` wants")));
        }
        for (key, own, word) in GRANT_KEYS {
            if settings.has(key) && grant != own {
                return Err(Wrong::Key(key, format!("is for `grant = \"{word}\"` alone")));
            }
        }
        let needed = [(MachineGrant::AwsRole, "role"), (MachineGrant::Acr, "registry")];
        if let Some((_, key)) = needed.into_iter().find(|(own, key)| grant == *own && !settings.has(key)) {
            return Err(Wrong::Missing(key, format!(", which `grant = \"{word}\"` wants")));
        }
        let is_role = |role: &String| {
            let path = role.strip_prefix("arn:aws").and_then(|rest| rest.split_once(":iam::")?.1.split_once(":role/"));
            path.is_some() && role.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if settings.role.as_ref().is_some_and(|role| !is_role(role)) {
            let what = "is not the address of a role, such as arn:aws:iam::123456789012:role/deploy";
            return Err(Wrong::Key("role", what.to_owned()));
        }
        let shown = ["client-secret", "client-secret-file", "client-key-file", "client-certificate-file"];
        match (shown.into_iter().find(|key| settings.has(key)), &source) {
            (Some(key), _) if !grant.asks_a_server() => {
                return Err(Wrong::Key(key, format!("means nothing to `grant = \"{word}\"`")));
            }
            // RFC 6749, section 2.3: one method of authentication in a request.
            (Some(key), Some(_)) if grant == MachineGrant::ClientCredentials => {
                let why = format!("and `{key}` exclude each other: either one shows what this machine is");
                return Err(Wrong::Key("source", why));
            }
            (None, None) if grant == MachineGrant::ClientCredentials => {
                let also = ", and neither `client-key-file` nor `source`: nothing shows what this machine is";
                return Err(Wrong::Missing("client-secret-file", also.to_owned()));
            }
            _ => {}
        }
        Ok(Some(Self {
            grant,
            source,
            subject_token_type: settings.subject_token_type.clone(),
            requested_token_type: settings.requested_token_type.clone(),
            role: settings.role.clone(),
            registry: settings.registry.clone(),
        }))
    }

    /// The kind of token that another profile must provide as proof, unless that profile sets `token-kind`.
    pub fn proof_kind(&self) -> TokenKind {
        if self.grant == MachineGrant::AwsRole { TokenKind::Id } else { TokenKind::Access }
    }

    /// The token endpoint, for grants whose other settings determine it. The error is the key, and what is wrong with
    /// it.
    pub(super) fn endpoint(settings: &Settings) -> Result<Option<Address>, (&'static str, &'static str)> {
        let plain = |text: &str| Target::parse("https", text, None, None).is_some();
        match settings.grant {
            Some(MachineGrant::AwsRole) => {
                let region = settings.region.as_deref().unwrap_or(REGION);
                let letters = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                if region.is_empty() || !letters || !plain(region) {
                    return Err(("region", "is not a region of AWS, such as eu-central-1"));
                }
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                Ok(Address::parse(&format!("https://sts.{region}.amazonaws.com{china}/")).ok())
            }
            Some(MachineGrant::Acr) => {
                let Some(registry) = settings.registry.as_deref() else { return Ok(None) };
                let address = Address::parse(&format!("https://{registry}/oauth2/exchange"));
                match address.ok().filter(|_| plain(registry)) {
                    Some(address) => Ok(Some(address)),
                    None => Err(("registry", "is not a registry's host, such as lab.azurecr.io")),
                }
            }
            _ => Ok(None),
        }
    }

    /// The profile whose token is this machine's proof, if there is one.
    pub fn parent(&self) -> Option<&str> {
        match &self.source {
            Some(Source::Profile(name)) => Some(name),
            _ => None,
        }
    }
}

/// The source that the settings name, with its parameters.
fn source(settings: &Settings, audience: Option<&str>) -> Result<Option<Source>, Wrong> {
    let word = settings.items("source").first().map_or("", String::as_str);
    for (key, words) in SOURCE_KEYS {
        if settings.has(key) && !words.contains(&word) {
            return Err(Wrong::Key(key, format!("means nothing without `source = \"{}\"`", words[0])));
        }
    }
    let missing = |key| Wrong::Missing(key, format!(", which `source = \"{word}\"` wants"));
    let text = |said: &Option<String>, key| said.clone().ok_or_else(|| missing(key));
    let for_audience = || {
        let said = settings.source_audience.as_deref().or(audience);
        said.map(str::to_owned).ok_or_else(|| missing("source-audience"))
    };
    Ok(Some(match word {
        "file" => Source::File(settings.source_file.clone().ok_or_else(|| missing("source-file"))?),
        "env" => Source::Env(text(&settings.source_env, "source-env")?),
        "command" => Source::Command(settings.source_command.clone().ok_or_else(|| missing("source-command"))?),
        "github" => Source::Github(for_audience()?),
        "azure-pipelines" => Source::AzurePipelines(text(&settings.service_connection, "service-connection")?),
        "gcp" => Source::Gcp(for_audience()?),
        "profile" => Source::Profile(text(&settings.source_profile, "source-profile")?),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use crate::config::{Profile, Settings, read};
    use std::path::Path;

    /// What is wrong with the profile `ci` with these settings, or its source.
    fn said(says: &str) -> String {
        let text = format!("[profile.ci]\n{says}\n[profile.parent]\nissuer = 'https://p.example'\nclient-id = 'p'\n");
        let profile = read(Path::new("c.toml"), &text, None).and_then(|file| Profile::named(file, "ci"));
        match profile {
            Ok(profile) => format!("{:?}", profile.machine.unwrap().source),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn each_source_wants_what_is_its_own() {
        const EXCHANGE: &str = "issuer = 'https://id.example'\ngrant = 'token-exchange'\n";
        for (says, expected) in [
            ("source = 'file'\nsource-file = '/t'", "Some(File(\"/t\"))"),
            ("source = 'env'\nsource-env = 'T'", "Some(Env(\"T\"))"),
            ("source = 'command'\nsource-command = ['a', '']", "Some(Command([\"a\", \"\"]))"),
            ("source = 'github'\nsource-audience = 'x'", "Some(Github(\"x\"))"),
            ("source = 'gcp'\nsource-audience = 'x'", "Some(Gcp(\"x\"))"),
            ("source = 'azure-pipelines'\nservice-connection = 's'", "Some(AzurePipelines(\"s\"))"),
            ("source = 'profile'\nsource-profile = 'parent'", "Some(Profile(\"parent\"))"),
            ("source = 'file'", "profile \"ci\" has no `source-file`, which `source = \"file\"` wants"),
            ("source = 'gcp'", "profile \"ci\" has no `source-audience`, which `source = \"gcp\"` wants"),
            ("source-env = 'T'", "c.toml:4: `source-env` means nothing without `source = \"env\"`"),
            ("source = 'file'\nsource-env = 'T'", "c.toml:5: `source-env` means nothing without `source = \"env\"`"),
            ("", "profile \"ci\" has no `source`, which `grant = \"token-exchange\"` wants"),
            ("source = 'fil'", "c.toml:4: `source` cannot be \"fil\"; did you mean `file`?"),
            ("source = 'command'\nsource-command = []", "c.toml:5: `source-command` is empty"),
            (
                "source = 'command'\nsource-command = ['a b']",
                "c.toml:5: `source-command` has the program \"a b\": list program and arguments one by one; there is no shell",
            ),
            (
                "source = 'profile'\nsource-profile = 'paren'",
                "c.toml:5: `source-profile`: there is no profile \"paren\"; did you mean `parent`?",
            ),
            (
                "source = 'profile'\nsource-profile = 'ci'",
                "c.toml:5: `source-profile`: it leads back to itself: ci → ci",
            ),
        ] {
            assert_eq!(said(&format!("{EXCHANGE}{says}")), expected);
        }
    }

    #[test]
    fn each_grant_wants_what_it_cannot_do_without() {
        for (says, expected) in [
            (
                "provider = 'entra'\nclient-id = 'c'\ntenant = 't'\ngrant = 'client-credentials'\nsource = 'github'",
                "Some(Github(\"api://AzureADTokenExchange\"))",
            ),
            (
                "provider = 'entra'\nclient-id = 'c'\ngrant = 'client-credentials'\nclient-secret = 's'",
                "profile \"ci\" has no `tenant`, the id or domain of the one that knows this machine",
            ),
            (
                "issuer = 'https://id.example'\nclient-id = 'c'\ngrant = 'client-credentials'",
                "profile \"ci\" has no `client-secret-file`, and neither `client-key-file` nor `source`: nothing shows what \
                 this machine is",
            ),
            (
                "issuer = 'https://id.example'\ngrant = 'client-credentials'\nclient-secret = 's'",
                "profile \"ci\" has no `client-id`",
            ),
            ("grant = 'none'\nsource = 'env'\nsource-env = 'T'", "Some(Env(\"T\"))"),
            ("grant = 'password'", "c.toml:2: `grant` cannot be \"password\"; known are `client-credentials`, "),
            (
                "issuer = 'https://id.example'\nclient-id = 'c'\nsource = 'github'",
                "c.toml:4: `source` means nothing without `grant`",
            ),
            (
                "issuer = 'https://id.example'\nclient-id = 'c'\ngrant = 'client-credentials'\nclient-secret = 's'\n\
                 requested-token-type = 'x'",
                "c.toml:6: `requested-token-type` is for `grant = \"token-exchange\"` alone",
            ),
            (
                "issuer = 'https://id.example'\nclient-id = 'c'\ngrant = 'client-credentials'\nclient-secret = 's'\n\
                 client-key-file = '/k'",
                "c.toml:5: `client-secret` and a client key exclude each other",
            ),
        ] {
            let said = said(says);
            assert!(said.starts_with(expected), "{said}");
        }
    }

    /// Whichever way the client would authenticate: a request shows it in one way, and some grants do not show it at all.
    #[test]
    fn a_credential_that_is_not_sent_is_refused() {
        for key in ["client-secret", "client-secret-file", "client-key-file", "client-certificate-file"] {
            let at_server = "issuer = 'https://id.example'\nclient-id = 'c'\nsource = 'env'\nsource-env = 'T'\n";
            let with = |says: &str, grant: &str| said(&format!("{says}grant = '{grant}'\n{key} = '/k'"));
            assert_eq!(
                with(at_server, "client-credentials"),
                format!("c.toml:4: `source` and `{key}` exclude each other: either one shows what this machine is")
            );
            for grant in ["token-exchange", "jwt-bearer"] {
                assert_eq!(with(at_server, grant), "Some(Env(\"T\"))");
            }
            let source = "source = 'env'\nsource-env = 'T'\n";
            for (says, grant) in [("", "managed-identity"), ("", "az"), ("", "azd"), (source, "none")] {
                let line = says.lines().count() + 3;
                let expected = format!("c.toml:{line}: `{key}` means nothing to `grant = \"{grant}\"`");
                assert_eq!(with(says, grant), expected);
            }
        }
        for grant in ["managed-identity", "az", "azd"] {
            for source in super::SOURCES {
                let keys = match *source {
                    "file" => "source-file = '/t'",
                    "env" => "source-env = 'T'",
                    "command" => "source-command = ['t']",
                    "azure-pipelines" => "service-connection = 's'",
                    "profile" => "source-profile = 'parent'",
                    _ => "source-audience = 'a'",
                };
                let expected = format!("c.toml:3: `source` means nothing to `grant = \"{grant}\"`");
                assert_eq!(said(&format!("grant = '{grant}'\nsource = '{source}'\n{keys}")), expected);
            }
        }
    }

    /// Two machines share a session only if all of these settings agree.
    #[test]
    fn what_a_machine_is_made_from_is_part_of_its_session() {
        let parts = |says: &str| {
            let text = format!("[profile.ci]\nissuer = 'https://id.example'\n{says}");
            let file = read(Path::new("c.toml"), &text, None).unwrap();
            Profile::named(file, "ci").unwrap().session.parts
        };
        let said = parts("grant = 'jwt-bearer'\nsource = 'command'\nsource-command = ['a', 'b c']");
        let said: Vec<_> = said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(said, [("grant", "jwt-bearer"), ("source", "command"), ("source-command", "[\"a\", \"b c\"]")]);
    }

    /// The arguments in a kubeconfig may come from anyone, so they must not decide where a machine's proof is sent.
    #[test]
    fn flags_do_not_lead_a_machine_elsewhere() {
        let text = "[profile.ci]\nprovider = 'entra'\ntenant = 't'\nclient-id = 'c'\ngrant = 'client-credentials'\n\
                    client-secret = 's'\n";
        let resolved = |name: &str, value: &str| {
            let file = read(Path::new("c.toml"), text, None).unwrap();
            let mut flags = Settings::default();
            let key = crate::config::KEYS.iter().find(|key| key.name == name).unwrap();
            flags.set(key, vec![value.to_owned()], crate::config::Origin::Flag(key.flag.unwrap())).unwrap();
            Profile::resolve(Some("ci".into()), file.profiles["ci"].clone().unwrap(), flags).map(|_| ())
        };
        for (name, value) in [
            ("authority", "https://evil.example"),
            ("token-endpoint", "https://evil.example/t"),
            ("ca-file", "/tmp/ca.pem"),
            ("client-id", "other"),
            ("client-secret-file", "/etc/hostname"),
            ("extra", "a=b"),
            ("audience", "another-cluster"),
            ("resource", "https://api.example"),
        ] {
            let error = resolved(name, value).unwrap_err();
            let why = format!("--{name}: a machine's profile takes `{name}` from config.toml alone");
            assert_eq!(error.message, why);
        }
        resolved("scopes", "https://vault.azure.net/.default").unwrap();
        resolved("min-ttl", "60").unwrap();
    }
}
