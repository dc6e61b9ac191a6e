//! Microsoft Entra ID, by a look-alike of its device-code and token endpoints: each of its answers, to the letter, and how
//! it ends.

use crate::common::azure::{WORK, claims};
use crate::common::{SOON, Scene, now, token, wait_until};
use keyfob_test_support::entra::{AKS_CLIENT, CONSUMERS, HOME_TENANT, OTHER_TENANT, VERIFICATION_URI, error_body};
use keyfob_test_support::provider::{Auto, Endpoint, Options, Reply};
use keyfob_test_support::{Output, Terminal};
use serde_json::{Value, json};

const GRAPH: &str = "https://graph.microsoft.com/.default";
const VAULT: &str = "https://vault.azure.net/.default";

fn scene() -> Scene {
    Scene::with(Options::entra(), WORK)
}

fn signed_in() -> Scene {
    let scene = scene();
    scene.sign_in();
    scene
}

/// An error of Entra's with status 400, and its `suberror`.
fn refused(error: &str, number: u32, suberror: Option<&str>) -> Reply {
    let mut body = error_body(error, number, "What it says.");
    if let Some(suberror) = suberror {
        body["suberror"] = suberror.into();
    }
    Reply::json(400, &body)
}

/// Signs in where the token endpoint answers this first, and the person approves.
fn sign_in_through(options: Options, first: Vec<Reply>) -> (Scene, Output) {
    let scene = Scene::with(options, WORK);
    scene.idp.auto(Auto::Approve);
    scene.idp.script(Endpoint::Token, first);
    let output = scene.prompting(["token"]);
    (scene, output)
}

#[test]
fn a_device_code_request_is_literally_this_and_so_is_a_poll() {
    let scene = signed_in();
    let requests = scene.idp.requests();
    assert_eq!(requests[0].path, "/contoso.com/oauth2/v2.0/devicecode");
    assert_eq!(
        requests[0].text(),
        "client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&scope=openid+profile+offline_access"
    );
    assert_eq!(requests[1].path, "/contoso.com/oauth2/v2.0/token");
    let code = requests[1].field("device_code").unwrap();
    assert_eq!(
        requests[1].text(),
        format!(
            "client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
             &device_code={code}"
        )
    );
    // Neither discovery nor anything else.
    assert_eq!(requests.len(), 2);
}

#[test]
fn the_tenant_may_be_a_group_a_domain_or_an_id_and_another_cloud_has_its_own_authority() {
    for (tenant, tid) in [
        ("organizations", HOME_TENANT),
        ("common", HOME_TENANT),
        ("consumers", CONSUMERS),
        ("contoso.com", HOME_TENANT),
        (HOME_TENANT, HOME_TENANT),
    ] {
        let scene = Scene::with(Options::entra(), &WORK.replace("contoso.com", tenant));
        let claims = claims(&scene.sign_in());
        assert_eq!((&claims["tid"], &scene.session()["account"]["tenant"]), (&json!(tid), &json!(tid)), "{tenant}");
        assert_eq!(scene.idp.requests()[0].path, format!("/{tenant}/oauth2/v2.0/devicecode"));
    }
    // Without a word about it: `organizations`.
    let scene = Scene::with(Options::entra(), &WORK.replace("tenant = 'contoso.com'\n", ""));
    scene.sign_in();
    assert_eq!(scene.idp.requests()[0].path, "/organizations/oauth2/v2.0/devicecode");
}

#[test]
fn pending_and_slow_down_are_waited_for() {
    let first = vec![
        Reply::Real.after(std::time::Duration::ZERO),
        refused("authorization_pending", 70016, None),
        refused("slow_down", 50196, None),
    ];
    let scene = scene();
    scene.idp.auto(Auto::After(1));
    scene.idp.script(Endpoint::Token, first);
    let output = scene.prompting(["token"]);
    token(&output);
    assert_eq!(scene.idp.count("token:device_code"), 4);
    scene.assert_proper();
}

#[test]
fn trouble_in_mid_flow_ends_no_sign_in() {
    let troubles = [
        Reply::empty(503),
        Reply::empty(429).header("Retry-After", "1"),
        Reply::json(503, &error_body("temporarily_unavailable", 90033, "A transient error has occurred.")),
        Reply::html(502, "Bad Gateway"),
        Reply::Drop,
    ];
    std::thread::scope(|threads| {
        for trouble in troubles {
            threads.spawn(|| {
                let (scene, output) = sign_in_through(Options::entra(), vec![trouble]);
                token(&output);
                scene.assert_proper();
            });
        }
    });
}

#[test]
fn a_sign_in_that_ends_says_how_and_what_to_do() {
    for (reply, code, message, hint) in [
        (
            refused("authorization_declined", 70018, None),
            4,
            "the sign-in was refused (authorization_declined: AADSTS70018: What it says.",
            "hint: to try again: ",
        ),
        (
            refused("expired_token", 70020, None),
            4,
            "the code has expired before it was entered",
            "hint: if the page said that the sign-in is blocked: ",
        ),
        (
            refused("bad_verification_code", 70019, None),
            4,
            "the code is no longer valid (bad_verification_code: AADSTS70019: ",
            "hint: to try again: ",
        ),
        (
            refused("interaction_required", 50076, Some("basic_action")),
            1,
            "the provider ended the sign-in: interaction_required: AADSTS50076: ",
            "hint: sign in again: this needs multi-factor authentication",
        ),
        (
            refused("invalid_client", 7_000_218, None),
            1,
            "the provider ended the sign-in: invalid_client: AADSTS7000218: ",
            "hint: in the application's registration, under Authentication, allow public client flows",
        ),
        // The same with 200, as some of its servers have it.
        (
            Reply::json(200, &error_body("authorization_declined", 70018, "No.")),
            4,
            "the sign-in was refused (authorization_declined: AADSTS70018: No.",
            "hint: to try again: ",
        ),
    ] {
        let (scene, output) = sign_in_through(Options::entra(), vec![reply.clone()]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{reply:?}: {}", output.stderr);
        let (error, advice) = output.stderr.trim_end().rsplit_once('\n').unwrap();
        assert!(error.contains(message), "{message}: {error}");
        assert!(advice.starts_with(hint), "{hint}: {advice}");
        assert_eq!(scene.idp.count("token:device_code"), 1, "{reply:?}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_advised_by_number_before_a_code_is_shown() {
    for (number, error, hint) in [
        (50059, "invalid_request", "set `tenant` to a tenant's id or domain, or to `organizations`"),
        (90133, "invalid_request", "this authority has no device flow: set `tenant` to a tenant's id or domain"),
        (
            90002,
            "invalid_request",
            "check `tenant` for a typing error; or the tenant has no active subscription: ask who manages it",
        ),
        (700_016, "unauthorized_client", "check `client-id` and `tenant`: this tenant does not know the application"),
        (500_011, "invalid_resource", "check the scope: this tenant does not know its resource"),
        (9_002_313, "invalid_request", "check `client-id` and `scopes`: the provider cannot read the request"),
    ] {
        let scene = scene();
        scene.idp.script(Endpoint::Device, [refused(error, number, None)]);
        let output = scene.prompting(["token"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{number}: {}", output.stderr);
        assert!(output.stderr.ends_with(&format!("\nhint: {hint}\n")), "{number}: {}", output.stderr);
    }
    // By the look-alike itself: no such tenant, no such application.
    for (toml, hint) in [
        (WORK.replace("contoso.com", "contosso.com"), "check `tenant` for a typing error"),
        (WORK.replace("04b07795", "14b07795"), "check `client-id` and `tenant`"),
    ] {
        let output = Scene::with(Options::entra(), &toml).prompting(["token"]);
        assert!(output.stderr.contains(&format!("\nhint: {hint}")), "{}", output.stderr);
    }
}

#[test]
fn numbers_may_be_strings_and_intervals_missing_or_zero() {
    let odd = [
        Options { expires_in: Some(json!("900")), interval: Some(json!("1")), ..Options::entra() },
        Options { access_lifetime: Some(json!("3599")), ..Options::entra() },
        Options { interval: None, ..Options::entra() },
        Options { interval: Some(json!(0)), ..Options::entra() },
    ];
    std::thread::scope(|threads| {
        for options in odd {
            threads.spawn(|| {
                let scene = Scene::with(options, WORK);
                scene.idp.auto(Auto::After(1));
                token(&scene.prompting(["token"]));
                let left = scene.session()["tokens"][0]["expires_at"].as_i64().unwrap() - now();
                assert!((3500..=3600).contains(&left), "{left}");
                // Where there is no interval it is five seconds: nothing is polled hot.
                scene.assert_proper();
            });
        }
    });
}

#[test]
fn a_refresh_token_is_replaced_by_a_new_one_and_kept_without_one() {
    for rotation in [true, false] {
        let scene = Scene::with(Options { rotation, ..Options::entra() }, WORK);
        scene.sign_in();
        let before = scene.session()["refresh_token"].clone();
        for scope in [GRAPH, VAULT] {
            token(&scene.silently(["token", "--scope", scope]));
        }
        let after = scene.session()["refresh_token"].clone();
        assert_eq!(after != before, rotation);
        assert!(after.is_string());
    }
}

#[test]
fn a_refusal_of_one_resource_costs_the_others_nothing() {
    let scene = signed_in();
    for (error, number, suberror) in [
        ("invalid_grant", 50076, Some("basic_action")),
        ("interaction_required", 50079, Some("basic_action")),
        ("invalid_grant", 65001, Some("consent_required")),
        ("invalid_grant", 53003, Some("message_only")),
        ("consent_required", 65001, None),
        // The account does not exist in that tenant; the resource does not.
        ("invalid_grant", 50020, None),
        ("invalid_grant", 7_000_012, None),
    ] {
        scene.idp.script(Endpoint::Token, [refused(error, number, suberror)]);
        let output = scene.silently(["token", "--scope", GRAPH]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{error}: {}", output.stderr);
        let why = format!("the provider wants one for this ({error}: AADSTS{number}: What it says.");
        assert!(output.stderr.contains(&why), "{}", output.stderr);
        // What is left is good for everything else, and for this when the policy has changed.
        token(&scene.silently(["token", "--scope", VAULT]));
        scene.leave(-1);
    }
    token(&scene.silently(["token", "--scope", GRAPH]));
    assert_eq!(scene.idp.count("device"), 1);

    // az says the command that signs in for just that.
    scene.leave(-1);
    scene.idp.script(Endpoint::Token, [refused("invalid_grant", 50076, Some("basic_action"))]);
    let az = scene.silently([
        "az",
        "account",
        "get-access-token",
        "--resource",
        "https://graph.microsoft.com",
        "--tenant",
        "fabrikam.com",
    ]);
    assert_eq!(az.code, Some(1));
    let command = format!("keyfob login work --scope {GRAPH} --tenant fabrikam.com\n");
    assert!(
        az.stderr.starts_with("ERROR: Please run 'az login' to setup account.\n") && az.stderr.ends_with(&command),
        "{}",
        az.stderr
    );
}

#[test]
fn a_refusal_of_the_grant_ends_the_session() {
    for (number, suberror) in
        [(70043, Some("bad_token")), (700_082, Some("token_expired")), (50173, None), (70008, None)]
    {
        let scene = signed_in();
        scene.idp.script(Endpoint::Token, [refused("invalid_grant", number, suberror)]);
        // Without a reason it is the word of the tenant and for the resource that was signed in for.
        let scopes = if suberror.is_some() { vec!["token", "--scope", GRAPH] } else { vec!["login"] };
        let output = scene.silently(scopes);
        assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("the provider ended the session (invalid_grant: AADSTS{number}: ")),
            "{}",
            output.stderr
        );
        assert_eq!(scene.session()["refresh_token"], Value::Null, "{number}");
        // The sign-in's own token lives on.
        token(&scene.silently(["token"]));
    }
}

#[test]
fn a_sign_in_is_for_one_resource_also_where_others_were_asked_before() {
    let scene = signed_in();
    token(&scene.silently(["token", "--scope", GRAPH]));
    scene.idp.revoke_refresh_tokens();
    scene.idp.auto(Auto::Approve);
    let by_sign_in = token(&scene.prompting(["token", "--scope", VAULT]));
    assert_eq!(claims(&by_sign_in)["aud"], "https://vault.azure.net");
    assert_eq!(scene.idp.requests().last().unwrap().status, Some(200));
    let scopes: Vec<_> = scene
        .idp
        .requests()
        .iter()
        .filter(|r| r.label == "device")
        .map(|r| r.field("scope").unwrap().to_owned())
        .collect();
    assert_eq!(scopes[1], format!("{VAULT} openid profile offline_access"));
}

#[test]
fn whoever_waits_for_a_sign_in_to_another_resource_gets_its_own_token() {
    let scene = scene();
    let first = scene.start(["token", "--scope", GRAPH]);
    let code = first.code();
    let second = scene.start(["token", "--scope", VAULT]);
    assert_eq!(second.code(), code, "one sign-in");
    scene.idp.approve(&code);
    let tokens = [first, second].map(|caller| token(&caller.finish()));
    let audiences = tokens.map(|token| claims(&token)["aud"].as_str().unwrap().to_owned());
    assert_eq!(audiences, ["https://graph.microsoft.com", "https://vault.azure.net"]);
    assert_eq!(scene.idp.count("device"), 1);
}

#[test]
fn a_code_for_another_resource_is_not_gone_on_with_when_its_poller_has_died() {
    let scene = scene();
    let first = scene.start(["token", "--scope", GRAPH]);
    let code = first.code();
    first.kill();
    let second = scene.start(["token", "--scope", VAULT, "--tenant", OTHER_TENANT]);
    let own = second.code();
    assert_ne!(own, code);
    scene.idp.approve(&own);
    let claims = claims(&token(&second.finish()));
    assert_eq!((claims["aud"].as_str(), claims["tid"].as_str()), (Some("https://vault.azure.net"), Some(OTHER_TENANT)));
}

#[test]
fn past_refresh_in_a_token_is_renewed_but_a_failure_keeps_the_old_one() {
    let scene = Scene::with(Options { refresh_in: Some(json!(1800)), ..Options::entra() }, WORK);
    let first = scene.sign_in();
    let due = |scene: &Scene| {
        scene.change(|session| {
            for token in session["tokens"].as_array_mut().unwrap() {
                // The ID token has none.
                if let Some(at) = token["refresh_at"].as_i64() {
                    assert!(at > now() + 1000, "half an hour from when it came");
                    token["refresh_at"] = json!(now() - 1);
                }
            }
        });
    };
    assert_eq!(scene.token(), first);
    assert_eq!(scene.idp.count("token:refresh_token"), 0);

    // Trouble of any kind: the old one, and no second attempt for a while.
    due(&scene);
    scene.idp.always(Endpoint::Token, Reply::empty(503));
    for _ in 0..2 {
        assert_eq!(scene.token(), first);
        scene.settle();
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 1);
    scene.change(|session| session["last_error"] = Value::Null);
    for refusal in [refused("invalid_grant", 65001, Some("consent_required")), refused("invalid_scope", 70011, None)] {
        scene.idp.always(Endpoint::Token, refusal);
        assert_eq!(scene.token(), first);
        scene.settle();
    }
    assert_eq!(scene.idp.count("token:refresh_token"), 3);
    scene.change(|session| session["last_error"] = Value::Null);

    // While it is renewed, nobody waits, not even the caller that has it renewed.
    scene.idp.always(Endpoint::Token, Reply::Real);
    let hold = scene.idp.hold(Endpoint::Token);
    assert_eq!(scene.token(), first);
    scene.idp.wait_for("token:refresh_token", 4, SOON);
    assert_eq!(scene.token(), first);
    drop(hold);
    scene.settle();
    let second = scene.token();
    assert_ne!(second, first);
    assert_eq!(scene.token(), second);

    // The grant is gone: the token is still good, and nobody is asked to sign in.
    due(&scene);
    scene.idp.revoke_refresh_tokens();
    assert_eq!(token(&scene.prompting(["token"])), second);
    scene.settle();
    assert_eq!(scene.token(), second);
    assert_eq!((scene.idp.count("token:refresh_token"), scene.idp.count("device")), (5, 1));
}

#[test]
fn an_early_renewal_gives_up_before_its_caller_does() {
    let scene = Scene::with(Options { refresh_in: Some(json!(1800)), ..Options::entra() }, WORK);
    let first = scene.sign_in();
    scene.change(|session| session["tokens"][0]["refresh_at"] = json!(now() - 1));
    let elsewhere = signed_in();
    let _holds = [scene.idp.hold(Endpoint::Token), elsewhere.idp.hold(Endpoint::Token)];
    // One that waits for an answer as long as it can take.
    let mut patient = elsewhere.start(["login"]);
    assert_eq!(scene.token(), first);
    assert!(patient.is_running());
}

#[test]
fn the_servers_message_is_shown_cleaned_and_gone_afterwards_whatever_its_writing() {
    let options = Options::entra();
    let worded = options.edit.clone().unwrap();
    let edit = move |endpoint: Endpoint, body: &mut Value| {
        worded(endpoint, body);
        if endpoint == Endpoint::Device {
            let code = body["user_code"].as_str().unwrap().to_owned();
            body["message"] = format!("로그인하려면 웹 브라우저를 사용하여 https://microsoft.com/devicelogin 페이지를 열고 {code} 코드를 입력하여 인증하세요.\u{1b}[31m\u{202e}").into();
        }
    };
    let scene = Scene::with(Options { edit: Some(std::sync::Arc::new(edit)), ..options }, WORK);
    let mut command = scene.command("auto", ["login"]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command);
    let code = scene.idp.wait_for_code(SOON);
    let shown = terminal.wait_for("Ctrl-C stops", SOON);
    let message = format!(
        "로그인하려면 웹 브라우저를 사용하여 https://microsoft.com/devicelogin 페이지를 열고 {code} 코드를 입력하여 인증하세요.[31m"
    );
    // Wrapped where the row ends.
    assert!(shown.replace("\r\n", " ").contains(&message), "{shown:?}");
    assert!(shown.contains(&format!("    Open        \u{1b}[1m{VERIFICATION_URI}")), "{shown:?}");
    assert!(!shown.contains("not the provider's own host"), "{shown:?}");
    scene.idp.approve(&code);
    let ended = terminal.wait();
    let mut screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
    screen.process(ended.screen.as_bytes());
    let left = screen.screen().contents();
    assert!(
        left.trim().starts_with("Signed in to work as alice@example.com; ") && left.trim().lines().count() <= 2,
        "{left}"
    );
}

#[test]
fn every_account_has_a_session_of_its_own_and_none_is_the_first() {
    let scene = signed_in();
    scene.idp.auto(Auto::Approve);
    scene.idp.set_user("bob@example.com");
    let bob = scene.prompting(["login", "work", "--account", "bob@example.com"]);
    assert_eq!(bob.code, Some(0), "{}", bob.stderr);
    assert!(bob.stdout.starts_with("Signed in to work as bob@example.com"), "{}", bob.stdout);

    let who = |args: &[&str]| claims(&token(&scene.silently(args)))["preferred_username"].as_str().unwrap().to_owned();
    assert_eq!(who(&["token"]), "alice@example.com");
    assert_eq!(who(&["token", "--account", "bob@example.com"]), "bob@example.com");
    let az =
        ["az", "--account", "bob@example.com", "account", "get-access-token", "--query", "accessToken", "-o", "tsv"];
    assert_eq!(who(&az), "bob@example.com");

    let status = scene.silently(["status"]).stdout;
    assert!(status.contains("work: signed in as alice@example.com\n"), "{status}");
    let cached = format!("(offline_access openid profile; tenant {HOME_TENANT})\n");
    assert!(status.contains(&cached), "{status}");
    assert!(status.contains("work --account bob@example.com: signed in as bob@example.com\n"), "{status}");
    let json: Value = serde_json::from_str(&scene.silently(["status", "--json"]).stdout).unwrap();
    let mut accounts: Vec<_> = json["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["account"].clone(), s["account_label"].clone()))
        .collect();
    accounts.sort_by_key(|(account, _)| account.to_string());
    assert_eq!(
        accounts,
        [(json!("alice@example.com"), Value::Null), (json!("bob@example.com"), json!("bob@example.com"))]
    );

    // The wrong account is refused by name, and what was there stays.
    scene.idp.set_user("mallory@example.com");
    for (args, owner) in [
        (&["login", "work", "--force"][..], "this session belongs to alice@example.com"),
        (&["login", "work", "--account", "carol@example.com"], "this profile is for carol@example.com"),
    ] {
        let output = scene.prompting(args);
        assert_eq!(output.code, Some(4), "{}", output.stderr);
        assert!(output.stderr.contains(&format!("mallory@example.com signed in, but {owner}")), "{}", output.stderr);
    }
    assert_eq!(who(&["token"]), "alice@example.com");
    let none = scene.silently(["token", "--account", "carol@example.com"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(4), ""), "{}", none.stderr);
}

#[test]
fn a_refresh_token_of_a_family_is_used_by_its_own_client_alone() {
    let scene = signed_in();
    assert!(scene.idp.requests().len() == 2);
    scene.idp.auto(Auto::Ignore);
    let other = scene.silently(["token", "--client-id", AKS_CLIENT]);
    assert_eq!(other.code, Some(3), "{}", other.stderr);
    assert_eq!(scene.idp.requests().len(), 2, "nothing was tried with it");
}

#[test]
fn aks_and_azure_repos_by_the_profiles_of_the_page() {
    let page = include_str!("../../docs/azure.md");
    let profiles: String = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|t| t.contains("[profile.aks]"))
        .collect();
    let profiles = profiles.replace("provider  = \"entra\"", "provider = \"entra\"\nauthority = 'ISSUER'");
    let scene = Scene::with(Options::entra(), &profiles);
    scene.idp.auto(Auto::Approve);

    let kubernetes = scene.prompting(["kubernetes", "--profile", "aks"]);
    assert_eq!(kubernetes.code, Some(0), "{}", kubernetes.stderr);
    let answer: Value = serde_json::from_str(&kubernetes.stdout).unwrap();
    let given = claims(answer["status"]["token"].as_str().unwrap());
    assert_eq!(given["aud"], "6dae42f8-4368-4678-94ff-3960e28e3630");
    assert_eq!(given["client_id"], AKS_CLIENT);

    let mut git = scene.command("always", ["git", "get"]);
    git.stdin(std::process::Stdio::piped());
    let request = b"capability[]=authtype\nprotocol=https\nhost=dev.azure.com\npath=contoso/p/_git/r\n\n";
    let answer = Output::of(&mut git, request);
    let given =
        answer.stdout.lines().find_map(|line| line.strip_prefix("credential=")).unwrap_or_else(|| panic!("{answer:?}"));
    assert!(answer.stdout.contains("authtype=Bearer\n"), "{answer:?}");
    assert_eq!(claims(given)["aud"], "499b84ac-1321-427f-aa17-267ca6975798");
    // Two clients, two sign-ins; az has its token from the second.
    let az = scene.silently(["az", "account", "get-access-token", "--query", "accessToken", "-o", "tsv"]);
    assert_eq!(claims(&token(&az))["aud"], "https://management.core.windows.net/");
    assert_eq!(scene.idp.count("device"), 2);
}

#[test]
fn ctrl_c_is_no_expiry_and_no_refusal() {
    let scene = scene();
    let mut command = scene.command("auto", ["login"]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command);
    let code = scene.idp.wait_for_code(SOON);
    terminal.wait_for(&code, SOON);
    terminal.interrupt();
    assert_eq!(terminal.wait().signal, Some(2));
    assert_eq!(scene.session()["refused"], Value::Null);
    // The code is still good, for whoever comes next.
    let next = scene.start(["login"]);
    assert_eq!(next.code(), code);
    scene.idp.approve(&code);
    wait_until("the end of the second login", || scene.session()["account"].is_object());
    assert_eq!(next.finish().code, Some(0));
}
