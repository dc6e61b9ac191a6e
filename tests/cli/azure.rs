//! az and azd: the command line of every caller, byte for byte, and what it gets.
//!
//! The callers find keyfob by the names `az` and `azd`, most of them through a shell. The real Azure SDKs are in
//! `azure_sdk.rs`, Entra's own side in `entra.rs`.

use crate::common::azure::{Azure, WORK, claims, plain};
use crate::common::{self, LAB, PROGRAM, Scene, copy_program, now, token};
use keyfob_test_support::entra::{HOME_TENANT, OTHER_TENANT};
use keyfob_test_support::provider::{Endpoint, Options, Reply};
use keyfob_test_support::{Output, Terminal};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

/// What an SDK parses, with a subscription in it: here the tenant stands for it.
const ANSWER: &str = "{\"accessToken\":\"TOKEN\",\"expiresOn\":\"LOCAL\",\"expires_on\":EPOCH,\
    \"subscription\":\"11111111-1111-1111-1111-111111111111\",\"tenant\":\"11111111-1111-1111-1111-111111111111\",\
    \"tokenType\":\"Bearer\"}\n";
/// What it parses with `--tenant fabrikam.com`.
const OF_TENANT: &str = "{\"accessToken\":\"TOKEN\",\"expiresOn\":\"LOCAL\",\"expires_on\":EPOCH,\
    \"tenant\":\"fabrikam.com\",\"tokenType\":\"Bearer\"}\n";
const SHOW: &str = "{\"environmentName\":\"AzureCloud\",\"id\":\"11111111-1111-1111-1111-111111111111\",\
    \"isDefault\":true,\"name\":\"N/A(tenant level account)\",\"state\":\"Enabled\",\
    \"tenantId\":\"11111111-1111-1111-1111-111111111111\",\
    \"user\":{\"name\":\"alice@example.com\",\"type\":\"user\"}}\n";
const AZD: &str = "{\"token\":\"TOKEN\",\"expiresOn\":\"RFC3339\"}\n";
const SIGNED_OUT: &str = "ERROR: Please run 'az login' to setup account.\nWith keyfob: LOGIN\n";

/// What ran well and said nothing but on stdout.
#[track_caller]
fn said(azure: &Azure, line: &str) -> String {
    let output = azure.sh(line);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{line}: {}", output.stdout);
    output.stdout
}

/// What failed, with LOGIN in place of the command that signs in.
#[track_caller]
fn failed(azure: &Azure, line: &str) -> (Option<i32>, String) {
    let output = azure.sh(line);
    assert_eq!(output.stdout, "", "{line}");
    let keyfob = &azure.scene.keyfob;
    let login = format!(
        "KEYFOB_CONFIG={} KEYFOB_CACHE_DIR={} keyfob login work",
        keyfob.config_file().display(),
        keyfob.cache_dir().display()
    );
    (output.code, output.stderr.replace(&login, "LOGIN"))
}

#[test]
fn every_caller_gets_what_it_parses() {
    let azure = Azure::new();
    let r = "https://management.core.windows.net/";
    let s = "https://management.azure.com/.default";
    for (caller, line, answer) in [
        ("Python", format!("az account get-access-token --output json --resource {r}"), ANSWER),
        (
            "Python",
            format!("az account get-access-token --output json --resource {r} --tenant fabrikam.com"),
            OF_TENANT,
        ),
        ("JavaScript", format!("az account get-access-token --output json --resource {r}"), ANSWER),
        ("Go", format!("az account get-access-token -o json --resource {r}"), ANSWER),
        ("Go", format!("az account get-access-token -o json --resource {r} --tenant fabrikam.com"), OF_TENANT),
        (
            "Go",
            format!("az account get-access-token -o json --resource {r} --subscription \"a b\""),
            &ANSWER.replacen("11111111-1111-1111-1111-111111111111", "a b", 1),
        ),
        (".NET", format!("az account get-access-token --output json --resource {r}"), ANSWER),
        ("Java", format!("az account get-access-token --output json --resource {r}"), ANSWER),
        ("Rust", format!("cd /bin && az account get-access-token -o json --scope {s}"), ANSWER),
        (
            "Rust",
            format!("cd /bin && az account get-access-token -o json --scope {s} --tenant fabrikam.com"),
            OF_TENANT,
        ),
        (
            "Terraform",
            "az version -o=json".into(),
            "{\"azure-cli\":\"2.91.0\",\"azure-cli-core\":\"2.91.0\",\"azure-cli-telemetry\":\"1.1.0\",\"extensions\":{}}\n",
        ),
        ("Terraform", "az account show -o=json".into(), SHOW),
        ("Terraform", format!("az account get-access-token --scope {s} -o=json"), ANSWER),
        ("Terraform", format!("az account get-access-token --scope {s} --tenant fabrikam.com -o=json"), OF_TENANT),
        ("Databricks", "az account show --output json".into(), SHOW),
        (
            "Databricks",
            "az account get-access-token --resource 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d --output json".into(),
            ANSWER,
        ),
        ("Functions tools", "az account get-access-token --query accessToken --output json".into(), "\"TOKEN\"\n"),
        ("shell", "az account get-access-token --query accessToken -o tsv".into(), "TOKEN\n"),
        (
            "shell",
            "az account get-access-token --query \"{accessToken:accessToken}\" -o json".into(),
            "{\"accessToken\":\"TOKEN\"}\n",
        ),
        ("shell", "az account get-access-token --query expiresOn -o tsv".into(), "LOCAL\n"),
        ("shell", "az account get-access-token --only-show-errors".into(), ANSWER),
        ("shell", "az account get-access-token -o none".into(), ""),
        ("shell", "az account show --query id -o tsv".into(), "11111111-1111-1111-1111-111111111111\n"),
        ("shell", "az account show --query user.name -o tsv".into(), "alice@example.com\n"),
        ("azd, JavaScript", format!("azd auth token --output json --no-prompt --scope {s}"), AZD),
        ("azd, Go", format!("azd auth token -o json --no-prompt --scope {s} --tenant-id fabrikam.com"), AZD),
        ("azd, shell", "azd auth token".into(), "TOKEN\n"),
    ] {
        assert_eq!(plain(&azure, &said(&azure, &line)), answer, "{caller}: {line}");
    }
    let list = SHOW.replace("environmentName", "cloudName").replace('\n', "");
    // The order of the keys is that of az: sorted.
    assert_eq!(said(&azure, "az account list -o json"), format!("[{list}]\n"));
    assert_eq!(said(&azure, "az cloud show --query name -o tsv"), "AzureCloud\n");
    // All from one sign-in.
    assert_eq!(azure.scene.idp.count("device"), 1);
    azure.scene.assert_proper();
}

#[test]
fn python_runs_it_in_bin_without_a_shell_and_java_merges_what_is_on_stderr() {
    let azure = Azure::new();
    let line = "az account get-access-token --output json --resource https://graph.microsoft.com";
    let words: Vec<&str> = line.split(' ').collect();
    let output = Output::of(azure.command(words[0], &words[1..]).current_dir("/bin"), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(plain(&azure, &output.stdout), ANSWER);
    assert_eq!(plain(&azure, &said(&azure, &format!("{line} 2>&1"))), ANSWER);
    // With a refresh behind it, and an open pipe for stdin.
    azure.scene.leave(-1);
    let merged = format!("{line} 2>&1");
    let output =
        Output::of(azure.command("/bin/sh", &["-c", &merged]).stdin(std::process::Stdio::piped()), b"never read");
    assert_eq!((output.code, plain(&azure, &output.stdout).as_str()), (Some(0), ANSWER));
}

#[test]
fn the_local_time_has_six_digits_whatever_the_zone_says() {
    let azure = Azure::new();
    let line =
        "az account get-access-token --query '[expiresOn, expires_on]' -o json --resource https://graph.microsoft.com";
    said(&azure, line);
    // The last second before California's clocks went forward, and the next; before they went back, and the next.
    for (end, zone, local) in [
        (1_899_367_199, "UTC", "2030-03-10 09:59:59.000000"),
        (1_899_367_199, "Asia/Seoul", "2030-03-10 18:59:59.000000"),
        (1_899_367_199, "Asia/Kolkata", "2030-03-10 15:29:59.000000"),
        (1_899_367_199, "America/Los_Angeles", "2030-03-10 01:59:59.000000"),
        (1_899_367_200, "America/Los_Angeles", "2030-03-10 03:00:00.000000"),
        (1_919_926_799, "America/Los_Angeles", "2030-11-03 01:59:59.000000"),
        (1_919_926_800, "America/Los_Angeles", "2030-11-03 01:00:00.000000"),
        (1_919_926_800, ":America/Los_Angeles", "2030-11-03 01:00:00.000000"),
        (1_919_926_800, "KST-9", "2030-11-03 18:00:00.000000"),
        (1_919_926_800, "", "2030-11-03 09:00:00.000000"),
        (1_919_926_800, "Nowhere/AtAll", "2030-11-03 09:00:00.000000"),
        (1_919_926_800, "../../../etc/passwd", "2030-11-03 09:00:00.000000"),
    ] {
        if zone.contains('/')
            && !zone.contains("Nowhere")
            && !zone.contains("..")
            && !std::path::Path::new("/usr/share/zoneinfo").join(zone.trim_start_matches(':')).is_file()
        {
            keyfob_test_support::skip!("no time zone {zone} here");
        }
        azure.scene.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                token["expires_at"] = json!(end);
            }
        });
        let output = Output::of(azure.command("/bin/sh", &["-c", line]).env("TZ", zone), b"");
        assert_eq!((output.stdout, output.stderr.as_str()), (format!("[\"{local}\",{end}]\n"), ""), "{zone}");
    }
    // Without TZ: whatever /etc/localtime says, and it says something.
    let output = Output::of(azure.command("/bin/sh", &["-c", line]).env_remove("TZ"), b"");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

#[test]
fn signed_out_is_exit_1_at_once_in_the_words_that_make_sdks_move_on() {
    let azure = Azure::signed_out(Options::entra(), WORK);
    let scope = "https://graph.microsoft.com/.default";
    for line in [
        "az account get-access-token --output json --resource https://graph.microsoft.com".to_owned(),
        format!("az account get-access-token --scope {scope} --tenant fabrikam.com"),
        "az account show".to_owned(),
        "az account get-access-token -o none".to_owned(),
    ] {
        assert_eq!(failed(&azure, &line), (Some(1), SIGNED_OUT.to_owned()), "{line}");
    }
    assert_eq!(
        failed(&azure, &format!("azd auth token --output json --no-prompt --scope {scope}")),
        (
            Some(1),
            "{\"error\":\"not_logged_in\",\"message\":\"ERROR: not logged in, run `azd auth login` to login\",\
             \"suggestion\":\"with keyfob: LOGIN\"}\n"
                .to_owned()
        )
    );
    assert_eq!(
        failed(&azure, "azd auth token"),
        (Some(1), "ERROR: not logged in, run `azd auth login` to login\nwith keyfob: LOGIN\n".to_owned())
    );
    assert_eq!(said(&azure, "az account list"), "[]\n");
    assert_eq!(azure.scene.idp.requests().len(), 0, "nobody was asked anything");
}

#[test]
fn a_session_that_the_provider_ended_is_signed_out() {
    let azure = Azure::new();
    let ended = json!({ "error": "invalid_grant", "error_description": "AADSTS50173: no", "suberror": "bad_token" });
    azure.scene.idp.script(Endpoint::Token, [Reply::json(400, &ended)]);
    let line = "az account get-access-token --resource https://graph.microsoft.com";
    assert_eq!(failed(&azure, line), (Some(1), SIGNED_OUT.to_owned()));
    assert_eq!(failed(&azure, line), (Some(1), SIGNED_OUT.to_owned()));
    assert_eq!(azure.scene.idp.count("token:refresh_token"), 1, "the second call knew it");
}

#[test]
fn nobody_is_ever_asked_to_sign_in_not_even_on_a_terminal() {
    let azure = Azure::signed_out(Options::entra(), WORK);
    for line in ["az account get-access-token", "azd auth token --output json"] {
        let mut command = azure.command("/bin/sh", &["-c", line]);
        command.env("KEYFOB_PROMPT", "always").env("TERM", "xterm");
        let ended = Terminal::start(command).wait();
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.screen);
        assert!(!ended.screen.contains("Enter code"), "{line}: {}", ended.screen);
    }
    assert_eq!(azure.scene.idp.count("device"), 0);
}

#[test]
fn what_is_not_answered_names_what_is() {
    let azure = Azure::signed_out(Options::entra(), WORK);
    let needed = "ERROR: keyfob answers account get-access-token, account show, account list, version and cloud show in \
                  place of the Azure CLI; for ";
    for (line, what, own) in [
        ("az storage account list -o json", "'storage account list'", ""),
        ("az login", "'login'", "With keyfob: keyfob login\n"),
        ("az logout", "'logout'", "With keyfob: keyfob logout\n"),
        (
            "az account set --subscription s",
            "'account set'",
            "With keyfob: set `subscription` below [az] in config.toml\n",
        ),
        ("az --version", "this", ""),
        ("az account", "'account'", ""),
    ] {
        let text = format!("{needed}{what} the real Azure CLI is needed.\n{own}");
        assert_eq!(failed(&azure, line), (Some(2), text), "{line}");
    }
    for (line, text) in [
        (
            "az account show --nonsense",
            "ERROR: unrecognized arguments: --nonsense. For what keyfob does not know, the real Azure CLI is needed.\n",
        ),
        (
            "az account show -o",
            "ERROR: argument -o: expected one argument. For what keyfob does not know, the real Azure CLI is needed.\n",
        ),
        (
            "az account show -o table",
            "ERROR: argument --output: keyfob's az answers json, tsv and none, not \"table\"\n",
        ),
        ("az account show --query '['", "ERROR: argument --query: \"[\" is not JMESPath: "),
        (
            "azd env list",
            "ERROR: keyfob answers auth token in place of the Azure Developer CLI; for 'env list' the real azd is needed.\n",
        ),
        (
            "azd auth token --environment x",
            "ERROR: unrecognized arguments: --environment. For what keyfob does not know, the real azd is needed.\n",
        ),
        (
            "azd auth token -o table",
            "ERROR: argument --output: keyfob's azd answers json and none, not \"table\". For what keyfob does not know, the real azd is needed.\n",
        ),
    ] {
        let (code, stderr) = failed(&azure, line);
        assert_eq!(code, Some(2), "{line}");
        assert!(stderr == text || (line.contains("query") && stderr.starts_with(text)), "{line}: {stderr}");
    }
}

#[test]
fn an_empty_tenant_is_none_and_what_cannot_be_one_is_named() {
    let azure = Azure::new();
    let line = "az account get-access-token --resource https://graph.microsoft.com";
    assert_eq!(
        plain(&azure, &said(&azure, &format!("{line} --subscription s --tenant ''"))),
        ANSWER.replacen("11111111-1111-1111-1111-111111111111", "s", 1)
    );
    let (code, stderr) = failed(&azure, &format!("{line} --tenant ../x"));
    assert_eq!((code, stderr.as_str()), (Some(1), "ERROR: --tenant: `tenant` must be a tenant id or a domain name\n"));
    let (code, stderr) = failed(&azure, "az account get-access-token --resource-type nonsense");
    assert_eq!(
        (code, stderr.as_str()),
        (
            Some(1),
            "ERROR: --resource-type has to be one of arm, aad-graph, ms-graph, batch, media, data-lake, oss-rdbms\n"
        )
    );
}

#[test]
fn a_resource_is_never_trimmed_and_several_scopes_go_together() {
    let azure = Azure::new();
    for (args, scope) in [
        ("", "https://management.core.windows.net//.default"),
        ("--resource https://management.core.windows.net/", "https://management.core.windows.net//.default"),
        ("--resource https://graph.microsoft.com", "https://graph.microsoft.com/.default"),
        ("--resource-type ms-graph", "https://graph.microsoft.com//.default"),
        ("--resource-type oss-rdbms", "https://ossrdbms-aad.database.windows.net/.default"),
        ("--scope https://a.example/read https://a.example/write", "https://a.example/read https://a.example/write"),
        ("--resource api://x --subscription s", "api://x/.default"),
    ] {
        said(&azure, &format!("az account get-access-token {args}"));
        let requests = azure.scene.idp.requests();
        assert_eq!(
            requests.last().unwrap().field("scope").unwrap(),
            format!("{scope} openid profile offline_access"),
            "{args}"
        );
    }
}

#[test]
fn one_sign_in_serves_three_resources_and_two_tenants() {
    let azure = Azure::new();
    let mut seen = Vec::new();
    for resource in ["https://graph.microsoft.com", "https://vault.azure.net", "https://management.azure.com"] {
        for (tenant, tid) in [("", HOME_TENANT), (" --tenant fabrikam.com", OTHER_TENANT)] {
            let line = format!("az account get-access-token --query accessToken -o tsv --resource {resource}{tenant}");
            let first = said(&azure, &line);
            let claims = claims(first.trim());
            assert_eq!((&claims["aud"], &claims["tid"]), (&json!(resource), &json!(tid)), "{line}");
            assert_eq!(said(&azure, &line), first, "from the cache");
            seen.push(first);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    let idp = &azure.scene.idp;
    assert_eq!((idp.count("device"), idp.count("token:refresh_token")), (1, 6));
    azure.scene.assert_proper();
}

#[test]
fn a_token_with_less_than_ten_minutes_is_renewed() {
    let azure = Azure::new();
    let line = "az account get-access-token --query accessToken -o tsv --resource https://graph.microsoft.com";
    let first = said(&azure, line);
    // The token whose renewal is not spread over the next ten minutes.
    let plain_serial = || {
        azure.scene.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                token["serial"] = json!(0);
            }
        });
    };
    plain_serial();
    azure.scene.leave(660);
    assert_eq!(said(&azure, line), first);
    azure.scene.leave(590);
    assert_ne!(said(&azure, line), first);
    // What is not long enough here is long enough for everybody else.
    plain_serial();
    azure.scene.leave(590);
    let by_token = token(&azure.scene.silently(["token", "--scope", "https://graph.microsoft.com/.default"]));
    assert_eq!(azure.scene.idp.count("token:refresh_token"), 2, "{by_token}");
}

#[test]
fn claims_go_past_the_cached_token_and_with_the_refresh() {
    let azure = Azure::new();
    let line = "azd auth token --scope https://graph.microsoft.com/.default";
    let first = said(&azure, line);
    assert_eq!(said(&azure, line), first);
    // {"access_token":{"nbf":{"essential":true,"value":"1"}}}
    let challenge = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxIn19fQ==";
    let with_claims = format!("{line} --no-prompt --claims {challenge}");
    let second = said(&azure, &with_claims);
    assert_ne!(second, first);
    let requests = azure.scene.idp.requests();
    let sent = requests.last().unwrap().field("claims").unwrap().to_owned();
    assert_eq!(sent, r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#);
    assert_eq!(said(&azure, line), second, "the new one is the cached one");
    assert_ne!(said(&azure, &with_claims), second);

    // The old token is no answer to a challenge, whatever keeps the new one from coming.
    azure.scene.idp.always(Endpoint::Token, Reply::empty(503));
    let (code, stderr) = failed(&azure, &with_claims);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("could not reach") && !stderr.contains("azd auth login"), "{stderr}");
    let (code, stderr) = failed(&azure, &format!("{line} --claims nonsense"));
    assert_eq!((code, stderr.as_str()), (Some(1), "ERROR: --claims has to be a JSON object in base64\n"));
}

#[test]
fn the_provider_out_of_reach_is_exit_1_and_says_so() {
    let azure = Azure::new();
    azure.scene.idp.always(Endpoint::Token, Reply::empty(503));
    let endpoint = format!("{}/contoso.com/oauth2/v2.0/token", azure.scene.idp.issuer());
    let why = format!("could not get a token for work: could not reach {endpoint}: it answered with status 503");
    assert_eq!(
        failed(&azure, "az account get-access-token --resource https://graph.microsoft.com"),
        (Some(1), format!("ERROR: {why}\n"))
    );
    assert_eq!(
        failed(&azure, "azd auth token --output json --scope https://graph.microsoft.com/.default"),
        (Some(1), format!("{{\"error\":\"failed\",\"message\":\"ERROR: {why}\",\"suggestion\":\"\"}}\n"))
    );
}

#[test]
fn a_provider_that_does_not_answer_is_given_up_before_the_caller_gives_up() {
    let azure = Azure::new();
    let line = "az account get-access-token --query accessToken -o tsv --resource https://graph.microsoft.com";
    let first = said(&azure, line);
    let _hold = azure.scene.idp.hold(Endpoint::Token);
    // Half a minute is what a person at a terminal waits; an SDK kills what takes ten seconds.
    let patient = || {
        let before = azure.scene.idp.count("token:refresh_token");
        let login = azure.scene.start(["login"]);
        azure.scene.idp.wait_for("token:refresh_token", before + 1, common::SOON);
        login
    };
    // While that one has the lock: too short a life, but a life, is the answer.
    azure.scene.leave(100);
    let mut login = patient();
    assert_eq!(said(&azure, line), first);
    azure.scene.leave(-1);
    let (code, stderr) = failed(&azure, line);
    assert!(stderr.contains(": it did not answer in time\n"), "{stderr}");
    assert!(code == Some(1) && login.is_running());
    login.kill();

    // With the lock to itself, beside one that is as patient elsewhere.
    let elsewhere = Azure::new();
    let _hold = elsewhere.scene.idp.hold(Endpoint::Token);
    let mut login = elsewhere.scene.start(["login"]);
    azure.scene.leave(100);
    assert_eq!(said(&azure, line), first);
    azure.scene.change(|session| session["last_error"] = json!(null));
    azure.scene.leave(-1);
    let (code, stderr) = failed(&azure, line);
    assert!(stderr.contains(": it did not answer in time\n"), "{stderr}");
    assert!(code == Some(1) && login.is_running());
}

#[test]
fn az_says_which_profile_then_the_only_one_of_entra() {
    let other = "[profile.lab]\nissuer = 'ISSUER'\nclient-id = 'keyfob'\n";
    let azure = Azure::signed_out(Options::entra(), &format!("default-profile = 'lab'\n{WORK}{other}"));
    assert_eq!(failed(&azure, "az account show"), (Some(1), SIGNED_OUT.to_owned()));
    assert_eq!(failed(&azure, "KEYFOB_PROFILE=lab az account show"), (Some(1), SIGNED_OUT.to_owned()));
    let (_, stderr) = failed(&azure, "az --profile lab account show");
    assert!(stderr.ends_with("keyfob login lab\n"), "{stderr}");

    let config = |toml: &str| azure.scene.keyfob.write_config(&toml.replace("ISSUER", azure.scene.idp.issuer()));
    let second = WORK.replace("profile.work", "profile.home");
    config(&format!("{WORK}{second}"));
    let (code, stderr) = failed(&azure, "az account show");
    let file = azure.scene.keyfob.config_file();
    let hint = format!("name one below [az] in {}: profile = \"…\"", file.display());
    assert_eq!((code, stderr), (Some(1), format!("ERROR: which profile, \"home\" or \"work\"?\n{hint}\n")));
    config(&format!("{WORK}{second}[az]\nprofile = 'work'\n"));
    assert_eq!(failed(&azure, "az account show"), (Some(1), SIGNED_OUT.to_owned()));
    config(other);
    let (code, stderr) = failed(&azure, "az account get-access-token");
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("ERROR: no profile says `provider = \"entra\"`\n"), "{stderr}");
    // Which needs none.
    said(&azure, "az version");
}

#[test]
fn every_cloud_has_resources_of_its_own() {
    let azure = Azure::signed_out(Options::entra(), "");
    let config = |authority: &str| {
        azure.scene.keyfob.write_config(&WORK.replace("ISSUER", authority));
    };
    let query = "[name, endpoints.activeDirectory, endpoints.activeDirectoryResourceId, endpoints.resourceManager]";
    for (authority, name, arm, manager) in [
        (
            "https://login.microsoftonline.com",
            "AzureCloud",
            "https://management.core.windows.net/",
            "https://management.azure.com/",
        ),
        (
            "https://login.microsoftonline.us",
            "AzureUSGovernment",
            "https://management.core.usgovcloudapi.net/",
            "https://management.usgovcloudapi.net/",
        ),
        (
            "https://login.partner.microsoftonline.cn",
            "AzureChinaCloud",
            "https://management.core.chinacloudapi.cn/",
            "https://management.chinacloudapi.cn",
        ),
    ] {
        config(authority);
        let said = said(&azure, &format!("az cloud show -o tsv --query '{query}'"));
        assert_eq!(said, format!("{name}\n{authority}\n{arm}\n{manager}\n"));
    }
}

#[test]
fn a_subscription_is_what_az_says_it_is() {
    let azure = Azure::signed_out(Options::entra(), &format!("{WORK}[az]\nsubscription = 'sub-1'\n"));
    azure.scene.sign_in();
    assert_eq!(
        said(&azure, "az account show --query '[id, name, tenantId]' -o tsv"),
        format!("sub-1\nsub-1\n{HOME_TENANT}\n")
    );
    let line = "az account get-access-token --query subscription -o tsv";
    assert_eq!(said(&azure, line), "sub-1\n");
    assert_eq!(said(&azure, &format!("{line} --subscription sub-2")), "sub-2\n");
    assert_eq!(said(&azure, &format!("{line} --tenant fabrikam.com")), "");
    // Both: the tenant says whose token it is.
    assert_eq!(said(&azure, &format!("{line} --tenant fabrikam.com --subscription sub-2")), "");
}

/// A script that asks for another subscription is not to be handed this one's tenant.
#[test]
fn a_subscription_that_is_not_configured_does_not_exist() {
    let azure = Azure::signed_out(Options::entra(), &format!("{WORK}[az]\nsubscription = 'sub-1'\n"));
    azure.scene.sign_in();
    assert_eq!(said(&azure, "az account show --subscription SUB-1 --query id -o tsv"), "sub-1\n");
    for flag in ["--subscription", "-s", "--name"] {
        assert_eq!(
            failed(&azure, &format!("az account show {flag} Other --query id -o tsv")),
            (
                Some(1),
                "ERROR: The subscription of 'Other' doesn't exist in cloud 'AzureCloud'.\n\
                 With keyfob: set `subscription` below [az] in config.toml\n"
                    .to_owned()
            )
        );
    }
}

#[test]
fn another_providers_profile_answers_with_its_own_scopes() {
    let azure = Azure::signed_out(Options::default(), &format!("{LAB}[az]\nprofile = 'lab'\n"));
    azure.scene.sign_in();
    let own = token(&azure.scene.silently(["token"]));
    for line in [
        "az account get-access-token --resource https://graph.microsoft.com --tenant t",
        "az account get-access-token --scope a b",
        "az account get-access-token",
    ] {
        assert_eq!(said(&azure, &format!("{line} --query accessToken -o tsv")), format!("{own}\n"), "{line}");
    }
    assert_eq!(said(&azure, "azd auth token --scope x --tenant-id t"), format!("{own}\n"));
    assert_eq!(said(&azure, "az account show --query user.name -o tsv"), "alice@example.com\n");
    assert_eq!(azure.scene.idp.count("token:refresh_token"), 0);
}

#[test]
fn everything_may_stand_on_the_command_line() {
    let azure = Azure::new();
    let words = format!(
        "keyfob() {{ {} \"$@\"; }}; keyfob az --provider entra --authority {} --tenant contoso.com --client-id {} account show --query user.name -o tsv",
        common::PROGRAM,
        azure.scene.idp.issuer(),
        keyfob_test_support::entra::AZURE_CLI
    );
    azure.scene.keyfob.write_config("");
    assert_eq!(said(&azure, &words), "alice@example.com\n");
}

#[test]
fn twelve_callers_at_once_make_one_refresh() {
    let azure = Azure::new();
    let line = "az account get-access-token --query accessToken -o tsv --resource https://graph.microsoft.com";
    let hold = azure.scene.idp.hold(Endpoint::Token);
    let callers: Vec<_> = (0..12)
        .map(|_| common::Caller::start(&mut azure.command("az", &line.split(' ').skip(1).collect::<Vec<_>>())))
        .collect();
    azure.scene.idp.wait_for("token:refresh_token", 1, common::SOON);
    let pids: Vec<u32> = callers.iter().map(common::Caller::pid).collect();
    common::wait_for_sleepers(&pids, 1);
    drop(hold);
    let mut tokens: Vec<String> = callers.into_iter().map(|caller| token(&caller.finish())).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(azure.scene.idp.count("token:refresh_token"), 1);
}

#[test]
fn the_end_of_a_token_that_has_none_is_in_an_hour() {
    let options = Options {
        access_lifetime: None,
        id_token: keyfob_test_support::provider::IdToken::Never,
        ..Options::default()
    };
    let scene = Scene::with(
        options,
        "[profile.gh]\nprovider = 'github'\nauthority = 'ISSUER'\nclient-id = 'keyfob'\ndevice-authorization-endpoint = 'ISSUER/device_authorization'\ntoken-endpoint = 'ISSUER/token'\n[az]\nprofile = 'gh'\n",
    );
    scene.sign_in();
    let output = scene.silently(["az", "account", "get-access-token", "--query", "expires_on"]);
    let left = output.stdout.trim().parse::<i64>().unwrap_or_else(|_| panic!("{output:?}")) - now();
    assert!((3540..=3600).contains(&left), "{left}");
}

/// Behind two keyfobs called az, each of which finds the other first.
#[test]
fn what_is_not_answered_goes_to_the_real_one_behind_and_an_account_never_does() {
    let azure = Azure::signed_out(Options::entra(), WORK);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for name in ["copy", "link", "real"] {
        fs::create_dir(place(name)).unwrap();
    }
    copy_program(&place("copy").join("az"));
    symlink(PROGRAM, place("link").join("az")).unwrap();
    for tool in ["az", "azd"] {
        let real = place("real").join(tool);
        fs::write(&real, "#!/bin/sh\necho \"real $0 $@\"\ncat\nexit 7\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = [place("copy"), place("link"), place("real"), "/usr/bin".into(), "/bin".into()];
    let path = std::env::join_paths(path).unwrap();
    let run = |program: &Path, words: &[&str]| {
        let mut command = azure.scene.keyfob.other(program);
        command.args(words).env("PATH", &path).env("KEYFOB_PROMPT", "never").stdin(Stdio::piped());
        Output::of(&mut command, b"typed\n")
    };
    let real = |tool: &str, words: &str| format!("real {} {words}\ntyped\n", place("real").join(tool).display());
    for first in ["copy", "link"] {
        for words in
            [&["group", "list", "-o", "table"][..], &["--version"], &["login", "--use-device-code"], &["version", "-x"]]
        {
            let output = run(&place(first).join("az"), words);
            assert_eq!((output.stdout, output.code), (real("az", &words.join(" ")), Some(7)), "{first} {words:?}");
        }
    }
    let azd = run(Path::new(PROGRAM), &["azd", "env", "list"]);
    assert_eq!((azd.stdout, azd.code), (real("azd", "env list"), Some(7)));
    for words in
        [&["account", "get-access-token"][..], &["account", "set", "-s", "x"], &["account", "show", "--nonsense"]]
    {
        let output = run(&place("link").join("az"), words);
        assert!(
            output.stdout.is_empty() && output.code != Some(7) && output.stderr.starts_with("ERROR: "),
            "{output:?}"
        );
    }
    let azd = run(Path::new(PROGRAM), &["azd", "auth", "token", "--nonsense"]);
    assert_eq!((azd.stdout.as_str(), azd.code), ("", Some(2)));
}
