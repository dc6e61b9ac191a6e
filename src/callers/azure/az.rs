//! `keyfob az …`: the Azure CLI's token commands.
//! <https://learn.microsoft.com/cli/azure/account#az-account-get-access-token>

use super::clouds::Cloud;
use super::line::{Flag, Line, Takes};
use super::output::Output;
use super::{Asked, FLAGS, end, profile, report, signed_out, token, too_late};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::callers::Caller;
use crate::clock::Timestamp;
use crate::config::{Az, Profile};
use crate::failure::{Exit, Failure};
use crate::session::Account;
use crate::store::Store;
use crate::text::one_line;
use crate::zone;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

/// The version that is claimed: callers want at least 2.30, and below 3.
const VERSION: &str = "2.91.0";
/// What az calls a subscription that is only a tenant.
const NO_SUBSCRIPTION: &str = "N/A(tenant level account)";

/// `keyfob az`
pub const CALLER: Caller = Caller {
    name: "az",
    alias: None,
    program: Some("az"),
    about: "Answer Azure SDKs, Terraform and scripts in place of the Azure CLI",
    grammar: Grammar { flags: FLAGS, rest: Rest::Line("COMMAND", "An az command with its own flags") },
    after_help: "\
Answered are: account get-access-token, account show, account list, version, cloud show (-o json|tsv|none, --query)

A link called `az`, in a folder before any other az on PATH, is what programs find.
`keyfob setup az` makes it; by hand:
  ln -s \"$(command -v keyfob)\" ~/.local/bin/az

Examples:
  keyfob az account get-access-token --resource https://graph.microsoft.com
  keyfob az account get-access-token --query accessToken -o tsv
  keyfob az --profile work account show",
    run,
};

/// In front of keyfob's own command for a sign-in, below az's words for the lack of one.
pub const WITH_KEYFOB: &str = "With keyfob: ";

const COMMANDS: &str = "account get-access-token, account show, account list, version and cloud show";

const LINE: &[Flag] = &[
    Flag { name: "output", spellings: &["--output", "-o"], takes: Takes::One },
    Flag { name: "query", spellings: &["--query"], takes: Takes::One },
    Flag { name: "only-show-errors", spellings: &["--only-show-errors"], takes: Takes::Nothing },
    Flag { name: "verbose", spellings: &["--verbose"], takes: Takes::Nothing },
    Flag { name: "debug", spellings: &["--debug"], takes: Takes::Nothing },
    Flag { name: "resource", spellings: &["--resource"], takes: Takes::One },
    Flag { name: "resource-type", spellings: &["--resource-type"], takes: Takes::One },
    Flag { name: "scope", spellings: &["--scope"], takes: Takes::Rest },
    Flag { name: "tenant", spellings: &["--tenant", "-t"], takes: Takes::One },
    Flag { name: "subscription", spellings: &["--subscription", "--name", "-n", "-s"], takes: Takes::One },
    Flag { name: "all", spellings: &["--all"], takes: Takes::Nothing },
    Flag { name: "refresh", spellings: &["--refresh"], takes: Takes::Nothing },
];

/// Answers one command.
fn run(arguments: &Arguments) -> Result<()> {
    let line = Line::read(arguments.rest(), LINE);
    let answer = match &*line.command {
        "account get-access-token" => access_token,
        "account show" => show,
        "account list" => list,
        "version" => version,
        "cloud show" => cloud,
        other => {
            let what = if other.is_empty() { "this".to_owned() } else { format!("'{}'", one_line(other)) };
            let text = format!(
                "ERROR: keyfob answers {COMMANDS} in place of the Azure CLI; for {what} the real Azure CLI is needed.\n"
            );
            return Err(report(2, text));
        }
    };
    if let Some(mistake) = &line.mistake {
        let text =
            format!("ERROR: {}. For what keyfob does not know the real Azure CLI is needed.\n", one_line(mistake));
        return Err(report(2, text));
    }
    let output = Output::new(line.one("output"), line.one("query"))
        .map_err(|mistake| report(2, format!("ERROR: {}\n", one_line(&mistake))))?;
    let text = answer(arguments, &line, &output).map_err(|error| failed(&error))?;
    crate::callers::answer(text)
}

/// A failure as az writes it.
fn failed(error: &anyhow::Error) -> anyhow::Error {
    if let Some(login) = signed_out(error) {
        return report(
            1,
            format!("ERROR: Please run 'az login' to setup account.\n{WITH_KEYFOB}{}\n", one_line(login)),
        );
    }
    let hint = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_ref());
    let hint = hint.map(|hint| format!("{}\n", one_line(hint.text()))).unwrap_or_default();
    report(1, format!("ERROR: {}\n{hint}", one_line(&format!("{error:#}"))))
}

#[derive(Serialize)]
struct Granted<'a> {
    #[serde(rename = "accessToken")]
    access_token: &'a str,
    #[serde(rename = "expiresOn")]
    expires_on_local: String,
    expires_on: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'a str>,
    tenant: &'a str,
    #[serde(rename = "tokenType")]
    token_type: &'static str,
}

/// `account get-access-token`
fn access_token(arguments: &Arguments, line: &Line, output: &Output) -> Result<String> {
    let (tenant, subscription) = (line.one("tenant"), line.one("subscription"));
    if tenant.is_some() && subscription.is_some() {
        return Err(Failure::new(Exit::Failed, "Please specify only one of subscription and tenant, not both").into());
    }
    let (profile, az) = profile(arguments)?;
    let scopes = scopes(line, Cloud::at(&profile.session.authority))?;
    let asked = Asked { scopes, tenant: tenant.map(str::to_owned), claims: None };
    let (credential, profile) = token(profile, asked)?;
    let end = end(&credential);
    let own = credential.tenant.as_deref().or(profile.tenant()).unwrap_or_default();
    let local = zone::local(end).ok_or_else(too_late)?;
    output.text(&Granted {
        access_token: credential.token.expose(),
        // Six digits: one client's parser takes nothing else.
        expires_on_local: local + ".000000",
        expires_on: end.0,
        // Without a subscription az names the tenant in its place.
        subscription: tenant.is_none().then(|| subscription.or(az.subscription.as_deref()).unwrap_or(own)),
        tenant: tenant.unwrap_or(own),
        token_type: "Bearer",
    })
}

/// The scopes that a token is asked for by: as they are, or by the name of a resource, which is not trimmed.
fn scopes(line: &Line, cloud: &Cloud) -> Result<Vec<String>, Failure> {
    let scopes: Vec<String> = line.all("scope").map(str::to_owned).collect();
    if !scopes.is_empty() {
        return Ok(scopes);
    }
    let resource = match (line.one("resource"), line.one("resource-type")) {
        (Some(resource), _) => resource,
        (None, kind) => cloud.resource(kind.unwrap_or("arm")).ok_or_else(|| {
            let known = cloud.kinds().collect::<Vec<_>>().join(", ");
            Failure::new(Exit::Failed, format!("--resource-type has to be one of {known}"))
        })?,
    };
    Ok(vec![format!("{resource}/.default")])
}

/// `account show`
fn show(arguments: &Arguments, _: &Line, output: &Output) -> Result<String> {
    let (profile, az) = profile(arguments)?;
    match account(&profile, &az, "environmentName")? {
        Some(account) => output.text(&account),
        None => Err(Failure::new(Exit::SignInNeeded, "nobody is signed in").run(profile.command("login")).into()),
    }
}

/// `account list`
fn list(arguments: &Arguments, _: &Line, output: &Output) -> Result<String> {
    let (profile, az) = profile(arguments)?;
    output.text(&account(&profile, &az, "cloudName")?.into_iter().collect::<Vec<_>>())
}

/// The account that is signed in, with its cloud under the name that a command has for it.
fn account(profile: &Profile, az: &Az, cloud: &str) -> Result<Option<Value>> {
    let Some(store) = Store::open()? else { return Ok(None) };
    let session = store.session(&profile.session).session()?;
    let Some(session) = session.filter(|session| session.is_signed_in(Timestamp::now())) else { return Ok(None) };
    let Account { name, tenant, .. } = session.account.unwrap_or_default();
    let tenant = tenant.as_deref().or(profile.tenant()).unwrap_or_default();
    let subscription = az.subscription.as_deref();
    Ok(Some(json!({
        cloud: Cloud::at(&profile.session.authority).name,
        "id": subscription.unwrap_or(tenant),
        "isDefault": true,
        "name": subscription.unwrap_or(NO_SUBSCRIPTION),
        "state": "Enabled",
        "tenantId": tenant,
        "user": { "name": name, "type": "user" },
    })))
}

/// `version`
fn version(_: &Arguments, _: &Line, output: &Output) -> Result<String> {
    let extensions = json!({});
    output.text(&json!({
        "azure-cli": VERSION,
        "azure-cli-core": VERSION,
        "azure-cli-telemetry": "1.1.0",
        "extensions": extensions,
    }))
}

/// `cloud show`
fn cloud(arguments: &Arguments, _: &Line, output: &Output) -> Result<String> {
    let (profile, _) = profile(arguments)?;
    let authority = &profile.session.authority;
    let cloud = Cloud::at(authority);
    output.text(&json!({
        "endpoints": {
            "activeDirectory": authority,
            "activeDirectoryGraphResourceId": cloud.resource("aad-graph"),
            "activeDirectoryResourceId": cloud.resource("arm"),
            "management": cloud.resource("arm"),
            "microsoftGraphResourceId": cloud.resource("ms-graph"),
            "resourceManager": cloud.resource_manager,
        },
        "isActive": true,
        "name": cloud.name,
        "profile": "latest",
    }))
}
