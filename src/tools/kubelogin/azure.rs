//! Azure's kubelogin, `get-token`.
//! <https://azure.github.io/kubelogin/cli/get-token.html>

use super::{Flags, Taken, Word, at_home};
use crate::secret::Secret;
use crate::sorted;
use crate::text::shell_quoted;
use std::collections::BTreeMap;

pub(super) const FLAGS: Flags = &[
    ("login", Some('l'), false),
    ("server-id", None, false),
    ("client-id", None, false),
    ("client-secret", None, false),
    ("client-certificate", None, false),
    ("client-certificate-password", None, false),
    ("tenant-id", Some('t'), false),
    ("subscription", Some('s'), false),
    ("environment", Some('e'), false),
    ("authority-host", None, false),
    ("username", None, false),
    ("password", None, false),
    ("identity-resource-id", None, false),
    ("federated-token-file", None, false),
    ("azure-pipelines-service-connection-id", None, false),
    ("legacy", None, true),
    ("pop-enabled", None, true),
    ("pop-claims", None, false),
    ("use-azurerm-env-vars", None, true),
    ("disable-environment-override", None, true),
    ("disable-instance-discovery", None, true),
    ("redirect-url", None, false),
    ("login-hint", None, false),
    ("token-cache-dir", None, false),
    ("cache-dir", None, false),
    ("timeout", None, false),
];

/// The environment variables that kubelogin reads, as arguments.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("AAD_LOGIN_METHOD", "login"),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_ID", "client-id"),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "client-secret"),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE", "client-certificate"),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE_PASSWORD", "client-certificate-password"),
    ("AZURE_CLIENT_ID", "client-id"),
    ("AZURE_CLIENT_SECRET", "client-secret"),
    ("AZURE_CLIENT_CERTIFICATE_PATH", "client-certificate"),
    ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "client-certificate-password"),
    ("AZURE_TENANT_ID", "tenant-id"),
    ("AZURE_AUTHORITY_HOST", "authority-host"),
    ("AZURE_FEDERATED_TOKEN_FILE", "federated-token-file"),
    ("AAD_USER_PRINCIPAL_NAME", "username"),
    ("AAD_USER_PRINCIPAL_PASSWORD", "password"),
    ("AZURE_USERNAME", "username"),
    ("AZURE_PASSWORD", "password"),
];

/// Variables of the Azure CLI, which keyfob's `az` grant also runs.
pub(super) const OWN_VARIABLES: [&str; 2] = ["AZURE_CONFIG_DIR", "AZD_CONFIG_DIR"];

/// The keys of an `auth-provider` named `azure`, as arguments.
pub(super) const LEGACY: &[(&str, &str)] = &[
    ("client-id", "client-id"),
    ("apiserver-id", "server-id"),
    ("tenant-id", "tenant-id"),
    ("environment", "environment"),
];

/// kubelogin's names of Azure's clouds, and their authorities if not the public one.
const CLOUDS: &[(&str, Option<&str>)] = &[
    ("AzurePublicCloud", None),
    ("AzurePublic", None),
    ("AzureCloud", None),
    ("AzureUSGovernmentCloud", Some("https://login.microsoftonline.us")),
    ("AzureUSGovernment", Some("https://login.microsoftonline.us")),
    ("AzureChinaCloud", Some("https://login.partner.microsoftonline.cn")),
];

/// The login methods of machines, which kubelogin lets the environment override.
const MACHINES: [&str; 4] = ["spn", "msi", "workloadidentity", "azurepipelines"];

/// The arguments of a user, while they are read into a profile. If one is repeated, the last one counts.
struct Reader<'t> {
    taken: &'t mut Taken,
    said: BTreeMap<&'static str, Word>,
    /// The arguments that keyfob has used.
    used: Vec<&'static str>,
}

/// Reads arguments and variables into a profile.
pub(super) fn read(taken: &mut Taken, words: Vec<Word>) -> Result<(), String> {
    let said = sorted::map(words.into_iter().map(|word| (word.flag, word)));
    let mut reader = Reader { taken, said, used: Vec::new() };
    if reader.is_on("legacy") {
        return Err(reader.wrong("legacy", "keyfob has no tokens of the old kind, for `spn:`"));
    }
    if reader.is_on("pop-enabled") {
        return Err(reader.wrong("pop-enabled", "keyfob has no tokens with proof of possession"));
    }
    reader.taken.key("provider", "entra")?;
    reader.login()?;
    reader.authority()?;
    let server = reader.value("server-id").ok_or("argument --server-id is missing")?;
    let server = server.trim_end_matches('/');
    let scope = if server.ends_with("/.default") { server.to_owned() } else { format!("{server}/.default") };
    reader.taken.more("scopes", &[], &[scope])?;
    let Reader { taken, said, used } = reader;
    said.values().filter(|word| !used.contains(&word.flag)).for_each(|word| taken.drop(word));
    Ok(())
}

impl Reader<'_> {
    /// The value of an argument; `None` if it is empty.
    fn value(&mut self, flag: &'static str) -> Option<String> {
        self.used.push(flag);
        self.said.get(flag).map(|word| word.value.clone()).filter(|value| !value.is_empty())
    }

    fn is_on(&mut self, flag: &'static str) -> bool {
        self.value(flag).is_some_and(|value| value != "false")
    }

    fn wrong(&self, flag: &str, why: &str) -> String {
        let place = self.said.get(flag).map_or_else(|| format!("argument --{flag}"), |word| word.place.clone());
        format!("{place}: {why}")
    }

    /// Sets a key of the profile to an argument's value.
    fn take(&mut self, flag: &'static str, key: &str) -> Result<(), String> {
        let Some(value) = self.value(flag) else { return Ok(()) };
        self.taken.key(key, at_home(&value)).map_err(|why| self.wrong(flag, &why))
    }

    fn login(&mut self) -> Result<(), String> {
        let login = self.value("login").unwrap_or_else(|| "devicecode".to_owned());
        match login.as_str() {
            "devicecode" => self.take("client-id", "client-id")?,
            "interactive" => {
                self.take("client-id", "client-id")?;
                self.take("login-hint", "login-hint")?;
                if self.value("redirect-url").is_some()
                    && let Some(word) = self.said.get("redirect-url")
                {
                    self.taken.redirect_url(word)?;
                }
            }
            "spn" => {
                self.taken.key("grant", "client-credentials")?;
                self.take("client-id", "client-id")?;
                self.secret()?;
            }
            "msi" => {
                self.taken.key("grant", "managed-identity")?;
                self.take("client-id", "client-id")?;
                if !self.taken.settings.has("client-id") {
                    self.take("identity-resource-id", "identity-resource-id")?;
                }
            }
            "azurecli" => {
                self.taken.key("grant", "az")?;
                self.take("subscription", "subscription")?;
            }
            "azd" => self.taken.key("grant", "azd")?,
            "workloadidentity" => {
                self.taken.key("grant", "client-credentials")?;
                self.taken.key("source", "file")?;
                self.take("client-id", "client-id")?;
                self.take("federated-token-file", "source-file")?;
            }
            "azurepipelines" => {
                self.taken.key("grant", "client-credentials")?;
                self.taken.key("source", "azure-pipelines")?;
                self.take("client-id", "client-id")?;
                self.take("azure-pipelines-service-connection-id", "service-connection")?;
            }
            "ropc" => return Err(self.wrong("login", "a password is for its owner to type at the provider")),
            _ => return Err(self.wrong("login", "it is no way to sign in that keyfob knows")),
        }
        if login != "msi" {
            self.take("tenant-id", "tenant")?;
        }
        // Skip this if kubelogin was told to ignore its environment. Also skip it for people: a variable that was set
        // for another program would turn them into someone else.
        if MACHINES.contains(&login.as_str()) && !self.is_on("disable-environment-override") {
            let names = if self.is_on("use-azurerm-env-vars") { "azurerm" } else { "azure" };
            self.taken.key("environment", names)?;
        }
        Ok(())
    }

    /// The credentials of a service principal. As in kubelogin, a certificate takes precedence over a secret.
    fn secret(&mut self) -> Result<(), String> {
        let secret = self.value("client-secret");
        match self.value("client-certificate") {
            Some(file) if [".pfx", ".p12"].iter().any(|end| file.to_ascii_lowercase().ends_with(end)) => {
                let made = format!("openssl pkcs12 -nodes -in {} -out client.pem", shell_quoted(&file));
                let why = format!("it is not PEM; this makes PEM of it: {made}");
                Err(self.wrong("client-certificate", &why))
            }
            Some(_) => self.take("client-certificate", "client-certificate-file"),
            None => {
                self.taken.secret = secret.map(Secret::from);
                Ok(())
            }
        }
    }

    /// Where the account signs in: an address, or a cloud by its name.
    fn authority(&mut self) -> Result<(), String> {
        let environment = self.value("environment");
        if let Some(host) = self.value("authority-host") {
            let host = host.trim_end_matches('/');
            return self.taken.key("authority", host).map_err(|why| self.wrong("authority-host", &why));
        }
        let Some(environment) = environment else { return Ok(()) };
        let known = CLOUDS.iter().find(|(cloud, _)| cloud.eq_ignore_ascii_case(&environment));
        let (_, authority) = known.ok_or_else(|| self.wrong("environment", "it is no cloud that keyfob knows"))?;
        authority.map_or(Ok(()), |authority| self.taken.key("authority", authority))
    }
}
