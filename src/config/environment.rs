//! `environment` in a profile: what Azure's own programs read from the environment, in place of what the profile says. A
//! profile has to ask for it, since a variable that is there for one program would else change who another one is.

use super::machine::MachineGrant;
use super::profile::key;
use super::settings::{Origin, Settings};
use crate::address::{Address, is_loopback};
use crate::failure::Failure;
use crate::providers::Preset;
use serde::Deserialize;

/// Whose names the variables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Names {
    /// `AZURE_…` and `AAD_…`.
    Azure,
    /// `ARM_…`, as Terraform has them.
    AzureRm,
}

/// The words for [`Names`].
pub(super) const NAMES: &[&str] = &["azure", "azurerm"];

/// A key, and the variables that say it. Of several the last that is set counts.
type Variables = [(&'static str, &'static [&'static str])];

/// The client by its names, and what it shows itself by.
const AZURE: &Variables = &[
    ("client-id", &["AAD_SERVICE_PRINCIPAL_CLIENT_ID", "AZURE_CLIENT_ID"]),
    ("tenant", &["AZURE_TENANT_ID"]),
    ("client-secret", &["AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "AZURE_CLIENT_SECRET"]),
    ("client-certificate-file", &["AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE_PATH"]),
];
const AZURE_RM: &Variables = &[
    ("client-id", &["ARM_CLIENT_ID"]),
    ("tenant", &["ARM_TENANT_ID"]),
    ("client-secret", &["ARM_CLIENT_SECRET"]),
    ("client-certificate-file", &["ARM_CLIENT_CERTIFICATE_PATH"]),
];
/// What Azure's webhook puts into a pod.
const POD: &Variables = &[
    ("client-id", &["AZURE_CLIENT_ID"]),
    ("source-file", &["AZURE_FEDERATED_TOKEN_FILE"]),
    ("authority", &["AZURE_AUTHORITY_HOST"]),
];
/// What a task of Azure Pipelines has, where nothing else says it.
const PIPELINE: &Variables = &[
    ("client-id", &["AZURESUBSCRIPTION_CLIENT_ID"]),
    ("tenant", &["AZURESUBSCRIPTION_TENANT_ID"]),
    ("service-connection", &["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"]),
];

/// The settings under those of the environment, if they ask for that; and the names of the variables that were taken.
pub(super) fn under_environment(settings: Settings) -> Result<(Settings, Vec<&'static str>), Failure> {
    let Some(names) = settings.environment else { return Ok((settings, Vec::new())) };
    let row = settings.row();
    let mut taken = Taken { settings, names: Vec::new() };
    let source = taken.settings.source.clone();
    let own = if names == Names::Azure { AZURE } else { AZURE_RM };
    match (taken.settings.grant, source.as_deref()) {
        (Some(MachineGrant::ManagedIdentity), _) => taken.all(&own[..1], row)?,
        (Some(MachineGrant::ClientCredentials), None) => {
            taken.all(own, row)?;
            // As kubelogin has it: a certificate is taken before a secret.
            if taken.settings.has("client-certificate-file") {
                taken.settings.forget("client-secret");
                taken.settings.forget("client-secret-file");
            }
        }
        (Some(MachineGrant::ClientCredentials), Some("file")) => {
            taken.all(&own[..2], row)?;
            taken.all(POD, row)?;
            if ["ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"]
                .into_iter()
                .all(|name| value(name).is_some())
            {
                taken.settings.forget("source-file");
                taken.set("source", "ACTIONS_ID_TOKEN_REQUEST_URL", "github".to_owned())?;
            }
        }
        (Some(MachineGrant::ClientCredentials), Some("azure-pipelines")) => {
            taken.all(&own[..2], row)?;
            let missing = |(key, _): &&(&str, _)| !taken.settings.has(key);
            let missing: Vec<_> = PIPELINE.iter().filter(missing).copied().collect();
            taken.all(&missing, row)?;
        }
        _ => {
            let what = format!("{}: `environment` means nothing to this grant", taken.settings.place("environment"));
            return Err(Failure::usage(what));
        }
    }
    Ok((taken.settings, taken.names))
}

struct Taken {
    settings: Settings,
    names: Vec<&'static str>,
}

fn value(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Taken {
    fn all(&mut self, variables: &Variables, row: &Preset) -> Result<(), Failure> {
        for (key, names) in variables {
            let Some((name, value)) = names.iter().rev().find_map(|name| Some((*name, value(name)?))) else { continue };
            let value = if *key == "authority" { cloud(name, &value, row)? } else { value };
            if *key == "client-secret" {
                self.settings.forget("client-secret-file");
            }
            self.set(key, name, value)?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, variable: &'static str, value: String) -> Result<(), Failure> {
        self.settings.set(key(name), vec![value], Origin::Environment(variable)).map_err(Failure::usage)?;
        if !self.names.contains(&variable) {
            self.names.push(variable);
        }
        Ok(())
    }
}

/// The authority that a variable names, which gets what this machine proves itself by: a cloud that the row knows.
fn cloud(name: &str, value: &str, row: &Preset) -> Result<String, Failure> {
    let home = value.trim_end_matches('/');
    let local = Address::parse(home).is_ok_and(|address| is_loopback(&address.host()));
    if local || row.assertion_audiences.iter().any(|(known, _)| *known == home) {
        return Ok(home.to_owned());
    }
    let known = row.assertion_audiences.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    Err(Failure::usage(format!("{name} names no cloud that keyfob knows")).hint(format!("known are {known}")))
}
