//! `keyfob az …`: the Azure CLI's token commands.
//! <https://learn.microsoft.com/cli/azure/account#az-account-get-access-token>

use super::clouds::Cloud;
use super::line::{Flag, Line, Takes};
use super::output::Output;
use super::{FLAGS, end, token, too_late, want};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::callers::{Ask, Caller, Described, Io, Link, Outcome, Want, What};
use crate::failure::{Exit, Failure};
use crate::text::one_line;
use crate::zone;
use serde::Serialize;
use serde_json::{Value, json};

/// The version to report. Callers want at least 2.30 and less than 3.
const VERSION: &str = "2.91.0";
/// The name that az gives a subscription that is only a tenant.
const NO_SUBSCRIPTION: &str = "N/A(tenant level account)";

/// `keyfob az`
pub const CALLER: Caller = Caller {
    name: "az",
    alias: None,
    link: Some(Link { name: "az", grammar: None }),
    about: "Answer Azure SDKs, Terraform and scripts in place of the Azure CLI",
    hosts: false,
    grammar: Grammar { flags: FLAGS, rest: Rest::Line("COMMAND", "An az command with its own flags") },
    after_help: "\
It answers account get-access-token, account show, account list, version and cloud show (-o json|tsv|none, --query). Any other command that does not begin with `account` goes to the real az behind keyfob on PATH, if there is one.

Programs find it by a link called `az`, in a folder that comes before any other az on PATH.
`keyfob setup az` makes the link; by hand:
  ln -s \"$(command -v keyfob)\" ~/.local/bin/az

Examples:
  keyfob az account get-access-token --resource https://graph.microsoft.com
  keyfob az account get-access-token --query accessToken -o tsv
  keyfob az --profile work account show",
    run,
};

/// The prefix of keyfob's sign-in command, in the line below az's own message.
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
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let line = Line::read(io.arguments.rest(), LINE);
    let answer = match &*line.command {
        "account get-access-token" => access_token,
        "account show" => show,
        "account list" => list,
        "version" => version,
        "cloud show" => cloud,
        other => {
            if !is_account(other) {
                (io.pass_on)("az", io.arguments.rest());
            }
            return io.complain(&unanswered(other), 2);
        }
    };
    if let Some(mistake) = &line.mistake {
        if !is_account(&line.command) {
            (io.pass_on)("az", io.arguments.rest());
        }
        let text =
            format!("ERROR: {}. For what keyfob does not know, the real Azure CLI is needed.\n", one_line(mistake));
        return io.complain(&text, 2);
    }
    let output = match Output::new(line.one("output"), line.one("query")) {
        Ok(output) => output,
        Err(mistake) => return io.complain(&format!("ERROR: {}\n", one_line(&mistake)), 2),
    };
    match answer(&Asked { arguments: io.arguments, line: &line, output: &output, ask }) {
        Ok(text) => io.answer(text),
        Err(failure) => io.complain(&failed(&failure), 1),
    }
}

/// Whether a command is about the account. The real az may have a different account, so it must not answer these.
fn is_account(command: &str) -> bool {
    command.split(' ').next() == Some("account")
}

/// The message for a command that only the real az answers, if there is no real az.
fn unanswered(command: &str) -> String {
    let what = if command.is_empty() { "this".to_owned() } else { format!("'{}'", one_line(command)) };
    let own = match command {
        "login" => "\nWith keyfob: keyfob login\n",
        "logout" => "\nWith keyfob: keyfob logout\n",
        "account set" => "\nWith keyfob: set `subscription` below [az] in config.toml\n",
        _ => "\n",
    };
    format!("ERROR: keyfob answers {COMMANDS} in place of the Azure CLI; for {what} the real Azure CLI is needed.{own}")
}

/// A command with its flags.
struct Asked<'a> {
    arguments: &'a Arguments,
    line: &'a Line,
    output: &'a Output,
    ask: &'a Ask<'a>,
}

impl Asked<'_> {
    fn profile(&self, what: What<'_>) -> Result<Described, Failure> {
        match (self.ask)(Want { what, ..want(self.arguments) }) {
            Outcome::Profile(described) => Ok(described),
            other => Err(other.failure()),
        }
    }
}

/// A failure in az's format.
fn failed(failure: &Failure) -> String {
    if let Some(login) = failure.sign_in() {
        return format!("ERROR: Please run 'az login' to setup account.\n{WITH_KEYFOB}{}\n", one_line(login));
    }
    let hint = failure.hint.as_ref().map(|hint| format!("{}\n", one_line(hint.text()))).unwrap_or_default();
    format!("ERROR: {}\n{hint}", one_line(&failure.message))
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
fn access_token(asked: &Asked<'_>) -> Result<String, Failure> {
    let (tenant, subscription) = (asked.line.one("tenant"), asked.line.one("subscription"));
    let credential = token(asked.ask, Want { scopes: scopes(asked)?, tenant, ..want(asked.arguments) })?;
    let end = end(&credential);
    let own = credential.tenant.as_deref().unwrap_or_default();
    let local = zone::local(end).ok_or_else(too_late)?;
    asked.output.text(&Granted {
        access_token: credential.token.expose(),
        // Exactly six digits, because one client's parser accepts nothing else.
        expires_on_local: local + ".000000",
        expires_on: end.0,
        // Without a subscription az reports the tenant in its place; if a tenant was given, it reports no subscription.
        subscription: tenant.is_none().then(|| subscription.or(credential.subscription.as_deref()).unwrap_or(own)),
        tenant: tenant.unwrap_or(own),
        token_type: "Bearer",
    })
}

/// The scopes to ask for: from `--scope`, or for a resource. The resource's name is not trimmed.
fn scopes(asked: &Asked<'_>) -> Result<Vec<String>, Failure> {
    let line = asked.line;
    let scopes: Vec<String> = line.all("scope").map(str::to_owned).collect();
    if !scopes.is_empty() {
        return Ok(scopes);
    }
    if let Some(resource) = line.one("resource") {
        return Ok(vec![format!("{resource}/.default")]);
    }
    let cloud = Cloud::at(&asked.profile(What::Profile)?.authority);
    let resource = cloud.resource(line.one("resource-type").unwrap_or("arm")).ok_or_else(|| {
        let known = cloud.kinds().collect::<Vec<_>>().join(", ");
        Failure::new(Exit::Failed, format!("--resource-type has to be one of {known}"))
    })?;
    Ok(vec![format!("{resource}/.default")])
}

/// `account show`
fn show(asked: &Asked<'_>) -> Result<String, Failure> {
    let described = asked.profile(What::Account)?;
    let account = account(&described, "environmentName");
    if let Some(wanted) = asked.line.one("subscription")
        && !account["id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(wanted))
    {
        let cloud = Cloud::at(&described.authority).name;
        let what = format!("The subscription of '{wanted}' doesn't exist in cloud '{cloud}'.");
        return Err(Failure::new(Exit::Failed, what).hint("With keyfob: set `subscription` below [az] in config.toml"));
    }
    asked.output.text(&account)
}

/// `account list`
fn list(asked: &Asked<'_>) -> Result<String, Failure> {
    let accounts = match asked.profile(What::Account) {
        Ok(described) => vec![account(&described, "cloudName")],
        Err(failure) if failure.sign_in().is_some() => Vec::new(),
        Err(failure) => return Err(failure),
    };
    asked.output.text(&accounts)
}

/// The account that is signed in. `cloud` is the member that holds the cloud's name.
fn account(described: &Described, cloud: &str) -> Value {
    let tenant = described.tenant.as_deref().unwrap_or_default();
    let subscription = described.subscription.as_deref();
    json!({
        cloud: Cloud::at(&described.authority).name,
        "id": subscription.unwrap_or(tenant),
        "isDefault": true,
        "name": subscription.unwrap_or(NO_SUBSCRIPTION),
        "state": "Enabled",
        "tenantId": tenant,
        "user": {
            "name": described.account.as_deref().unwrap_or_default(),
            "type": if described.machine { "servicePrincipal" } else { "user" },
        },
    })
}

/// `version`
fn version(asked: &Asked<'_>) -> Result<String, Failure> {
    let extensions = json!({});
    asked.output.text(&json!({
        "azure-cli": VERSION,
        "azure-cli-core": VERSION,
        "azure-cli-telemetry": "1.1.0",
        "extensions": extensions,
    }))
}

/// `cloud show`
fn cloud(asked: &Asked<'_>) -> Result<String, Failure> {
    let authority = asked.profile(What::Profile)?.authority;
    let cloud = Cloud::at(&authority);
    asked.output.text(&json!({
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::seam::tests::{Given, credential, run};
    use crate::callers::{Credential, Kind, Whose};
    use std::cell::Cell;
    use std::time::Duration;

    const CLOUD: &str = "https://login.microsoftonline.us";

    /// A profile in a national cloud.
    fn described() -> Described {
        Described { authority: CLOUD.to_owned(), tenant: Some("t1".to_owned()), ..Described::default() }
    }

    fn said(words: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, &words.split(' ').collect::<Vec<_>>(), Given::default(), ask)
    }

    fn answered(words: &str, ask: &Ask<'_>) -> String {
        let (code, stdout, stderr) = said(words, ask);
        assert_eq!((code, stderr.as_str()), (0, ""), "{words}");
        stdout
    }

    #[test]
    fn a_token_is_asked_for_by_scope_resource_or_kind_of_resource() {
        for (flags, scopes, tenant) in [
            ("--scope a b", &["a", "b"][..], None),
            ("--scope a --resource r", &["a"], None),
            (
                "--resource https://graph.microsoft.com/ --tenant t2",
                &["https://graph.microsoft.com//.default"],
                Some("t2"),
            ),
            ("--resource-type ms-graph", &["https://graph.microsoft.us//.default"], None),
            ("-o json", &["https://management.core.usgovcloudapi.net//.default"], None),
        ] {
            let ask = |want: Want<'_>| {
                if want.what == What::Profile {
                    return Outcome::Profile(described());
                }
                assert!(matches!(want.whose, Whose::Az(_)));
                assert_eq!((want.what, want.kind, want.min_life), (What::Token, Kind::Access, Some(600)));
                assert_eq!(want.no_prompt, Some("the caller of az and azd cannot show one"));
                assert_eq!(want.timeout, Some(Duration::from_secs(8)));
                assert_eq!((want.scopes, want.tenant), (scopes.iter().map(ToString::to_string).collect(), tenant));
                Outcome::Credential(credential("t"))
            };
            answered(&format!("account get-access-token {flags}"), &ask);
        }
    }

    #[test]
    fn the_token_is_literally_this() {
        let ask = |subscription: Option<&str>| {
            let subscription = subscription.map(str::to_owned);
            move |_: Want<'_>| {
                let subscription = subscription.clone();
                Outcome::Credential(Credential { tenant: Some("t1".to_owned()), subscription, ..credential("abc") })
            }
        };
        let local = zone::local(crate::clock::Timestamp(1_795_384_800)).unwrap();
        let text = |subscription: &str, tenant: &str| {
            format!(
                "{{\"accessToken\":\"abc\",\"expiresOn\":\"{local}.000000\",\"expires_on\":1795384800,{subscription}\
                 \"tenant\":\"{tenant}\",\"tokenType\":\"Bearer\"}}\n"
            )
        };
        let get = "account get-access-token --scope s";
        assert_eq!(answered(get, &ask(None)), text("\"subscription\":\"t1\",", "t1"));
        assert_eq!(answered(get, &ask(Some("sub"))), text("\"subscription\":\"sub\",", "t1"));
        let named = answered(&format!("{get} --subscription mine"), &ask(Some("sub")));
        assert_eq!(named, text("\"subscription\":\"mine\",", "t1"));
        assert_eq!(answered(&format!("{get} --tenant t2"), &ask(Some("sub"))), text("", "t2"));
        assert_eq!(answered(&format!("{get} --query accessToken -o tsv"), &ask(None)), "abc\n");
    }

    #[test]
    fn the_account_is_shown_and_listed() {
        let ask = |subscription: Option<&'static str>| {
            move |want: Want<'_>| {
                assert_eq!(want.what, What::Account);
                let (account, subscription) = (Some("ada".to_owned()), subscription.map(str::to_owned));
                Outcome::Profile(Described { account, subscription, ..described() })
            }
        };
        let shown = |id: &str, name: &str| {
            format!(
                "\"id\":\"{id}\",\"isDefault\":true,\"name\":\"{name}\",\"state\":\"Enabled\",\"tenantId\":\"t1\",\
                 \"user\":{{\"name\":\"ada\",\"type\":\"user\"}}}}"
            )
        };
        let missing = "ERROR: The subscription of 'other' doesn't exist in cloud 'AzureUSGovernment'.\n\
                       With keyfob: set `subscription` below [az] in config.toml\n";
        let other = said("account show --subscription other", &ask(Some("sub")));
        assert_eq!(other, (1, String::new(), missing.to_owned()));
        let own = answered("account show --subscription SUB", &ask(Some("sub")));
        assert_eq!(own, answered("account show", &ask(Some("sub"))));
        let tenant = shown("t1", "N/A(tenant level account)");
        assert_eq!(
            answered("account show", &ask(None)),
            format!("{{\"environmentName\":\"AzureUSGovernment\",{tenant}\n")
        );
        assert_eq!(
            answered("account list", &ask(Some("sub"))),
            format!("[{{\"cloudName\":\"AzureUSGovernment\",{}]\n", shown("sub", "sub"))
        );
    }

    #[test]
    fn signed_out_is_said_in_az_own_words() {
        let nobody = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in").run("keyfob login azure"))
        };
        let words = "ERROR: Please run 'az login' to setup account.\nWith keyfob: keyfob login azure\n".to_owned();
        assert_eq!(said("account show", &nobody), (1, String::new(), words.clone()));
        assert_eq!(said("account get-access-token", &nobody), (1, String::new(), words));
        assert_eq!(answered("account list", &nobody), "[]\n");
    }

    #[test]
    fn any_other_failure_is_exit_1() {
        let hint = |_: Want<'_>| Outcome::Misconfigured(Failure::usage("no profile\nhere").hint("add one"));
        let words = "ERROR: no profile here\nadd one\n".to_owned();
        for command in ["account list", "account show", "account get-access-token", "cloud show"] {
            assert_eq!(said(command, &hint), (1, String::new(), words.clone()), "{command}");
        }
        let bare = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::Unreachable, "out of reach"));
        assert_eq!(said("account show", &bare), (1, String::new(), "ERROR: out of reach\n".to_owned()));
    }

    #[test]
    fn what_az_would_refuse_is_refused_before_anything_is_asked() {
        let never = |want: Want<'_>| panic!("{want:?}");
        for (words, code, stderr) in [
            (
                "login",
                2,
                "ERROR: keyfob answers account get-access-token, account show, account list, version and cloud show in \
                 place of the Azure CLI; for 'login' the real Azure CLI is needed.\nWith keyfob: keyfob login\n",
            ),
            (
                "--debug",
                2,
                "ERROR: keyfob answers account get-access-token, account show, account list, version and cloud show in \
                 place of the Azure CLI; for this the real Azure CLI is needed.\n",
            ),
            (
                "version --nonsense",
                2,
                "ERROR: unrecognized arguments: --nonsense. For what keyfob does not know, the real Azure CLI is needed.\n",
            ),
            (
                "version -o table",
                2,
                "ERROR: argument --output: keyfob's az answers json, tsv and none, not \"table\"\n",
            ),
        ] {
            assert_eq!(said(words, &never), (code, String::new(), stderr.to_owned()), "{words}");
        }
        let unknown = said("account get-access-token --resource-type x", &|_| Outcome::Profile(described()));
        assert_eq!((unknown.0, &*unknown.1), (1, ""));
        let known = "arm, aad-graph, ms-graph, batch, media, oss-rdbms";
        assert_eq!(unknown.2, format!("ERROR: --resource-type has to be one of {known}\n"));
    }

    /// The real az may know another account.
    #[test]
    fn the_real_az_answers_what_keyfob_does_not_except_about_the_account() {
        for (words, passed_on, own) in [
            ("login", true, "With keyfob: keyfob login\n"),
            ("logout", true, "With keyfob: keyfob logout\n"),
            ("vm list", true, "for 'vm list' the real Azure CLI is needed.\n"),
            ("account set -s x", false, "With keyfob: set `subscription` below [az] in config.toml\n"),
            ("account", false, "for 'account' the real Azure CLI is needed.\n"),
            ("version --nonsense", true, "the real Azure CLI is needed.\n"),
            ("account show --nonsense", false, "the real Azure CLI is needed.\n"),
        ] {
            let passed = Cell::new(false);
            let given = Given { passed_on: Some(&passed), ..Given::default() };
            let words: Vec<&str> = words.split(' ').collect();
            let (code, stdout, stderr) = run(&CALLER, &words, given, &|want| panic!("{want:?}"));
            assert_eq!((code, stdout.as_str(), passed.get()), (2, "", passed_on), "{words:?}");
            assert!(stderr.ends_with(own), "{stderr}");
        }
    }

    #[test]
    fn version_and_cloud_are_known_without_a_sign_in() {
        let version = answered("version", &|want| panic!("{want:?}"));
        let modules = "\"azure-cli-core\":\"2.91.0\",\"azure-cli-telemetry\":\"1.1.0\",\"extensions\":{}";
        assert_eq!(version, format!("{{\"azure-cli\":\"2.91.0\",{modules}}}\n"));
        let ask = |want: Want<'_>| {
            assert_eq!(want.what, What::Profile);
            Outcome::Profile(described())
        };
        let cloud: Value = serde_json::from_str(&answered("cloud show", &ask)).unwrap();
        assert_eq!(cloud["name"], "AzureUSGovernment");
        assert_eq!(cloud["endpoints"]["activeDirectory"], CLOUD);
        assert_eq!(cloud["endpoints"]["management"], "https://management.core.usgovcloudapi.net/");
        assert_eq!(cloud["endpoints"]["resourceManager"], "https://management.usgovcloudapi.net/");
    }
}
