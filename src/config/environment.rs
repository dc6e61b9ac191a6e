//! `environment` in a profile: takes settings from the variables that Azure's own programs read, over those in the
//! profile. A profile has to ask for this, because a variable that was set for one program would otherwise change
//! another's identity.

use super::machine::MachineGrant;
use super::profile::key;
use super::settings::{Origin, Settings};
use crate::address::{Address, is_loopback};
use crate::failure::Failure;
use crate::providers::Preset;
use serde::Deserialize;

/// Whose variable names are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Names {
    /// `AZURE_…` and `AAD_…`.
    Azure,
    /// `ARM_…`, as Terraform uses.
    AzureRm,
}

/// The words for [`Names`] in `config.toml`.
pub(super) const NAMES: &[&str] = &["azure", "azurerm"];

/// Keys, each with the variables that set it. If several are set, the last one counts.
type Variables = [(&'static str, &'static [&'static str])];

/// The client's id, tenant and credentials.
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
/// What Azure's workload identity webhook sets in a pod.
const POD: &Variables = &[
    ("client-id", &["AZURE_CLIENT_ID"]),
    ("source-file", &["AZURE_FEDERATED_TOKEN_FILE"]),
    ("authority", &["AZURE_AUTHORITY_HOST"]),
];
/// What a task of Azure Pipelines sets; used only for keys that are not set otherwise.
const PIPELINE: &Variables = &[
    ("client-id", &["AZURESUBSCRIPTION_CLIENT_ID"]),
    ("tenant", &["AZURESUBSCRIPTION_TENANT_ID"]),
    ("service-connection", &["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"]),
];

/// Overrides `settings` from the environment, if `environment` is set. Also returns the names of the variables that
/// were used.
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
            // As in kubelogin, a certificate takes precedence over a secret.
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

/// The variable that would set a key that is missing, if `environment` is set.
pub(super) fn variable(settings: &Settings, key: &str) -> Option<&'static str> {
    let own = if settings.environment? == Names::Azure { AZURE } else { AZURE_RM };
    let known = [own, POD, PIPELINE].into_iter().flatten().find(|(known, _)| key.starts_with(known))?;
    known.1.last().copied()
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

/// The authority in a variable. Only a cloud that the provider's row knows is accepted, because the machine's proof is
/// sent there.
fn cloud(name: &str, value: &str, row: &Preset) -> Result<String, Failure> {
    let home = value.trim_end_matches('/');
    let local = Address::parse(home).is_ok_and(|address| is_loopback(&address.host()));
    if local || row.assertion_audiences.iter().any(|(known, _)| *known == home) {
        return Ok(home.to_owned());
    }
    let known = row.assertion_audiences.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    Err(Failure::usage(format!("{name} names no cloud that keyfob knows")).hint(format!("known are {known}")))
}
