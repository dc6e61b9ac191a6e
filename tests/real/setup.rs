//! From a fresh home, one command connects the real kubectl, git and an Azure SDK with a profile that is new; they work; and
//! the undo leaves every file and folder as it was, byte for byte.

use std::path::Path;

use crate::common::azure::claims;
use crate::common::kube::Home;
use crate::common::{Fresh, now};
use keyfob_test_support::entra::HOME_TENANT;
use keyfob_test_support::git::{GitOptions, GitServer};
use keyfob_test_support::provider::{Auto, Options, Provider};
use keyfob_test_support::real::{ApiServer, AzureSdk, Git, Lifetimes, OidcProvider, Running, Transport};
use keyfob_test_support::{Output, need};
use serde_json::{Value, json};

/// A kubeconfig as people have them: in an order and a style that kubectl would not write.
const KUBECONFIG: &str = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n\
    - {name: lab, context: {cluster: lab, user: old}}   # work\n\
    clusters:\n  - name: lab\n    cluster:\n      server: SERVER\n      certificate-authority: ../ca.pem\n\
    users:\n  - name: old\n    user: {token: hunter2}\n";

#[test]
fn kubectl_lists_pods() {
    let provider = need!(OidcProvider::start(Transport::Https, Lifetimes::default()));
    let api = need!(ApiServer::start(&provider));
    let home = need!(Home::new(Some(&KUBECONFIG.replace("SERVER", api.server()))));
    std::fs::write(home.path("ca.pem"), api.ca_pem()).unwrap();
    let untouched = home.files();

    let context = ["--profile", "lab", "--context", "lab"];
    let flags = provider.flags();
    let done = home.setup(&[&flags.iter().map(String::as_str).collect::<Vec<_>>()[..], &context].concat());
    assert!(done.contains("\nkubectl asks keyfob. Nobody has signed in yet.\n"), "{done}");
    let login = done.trim_end().rsplit("; or now: ").next().unwrap();
    let mut login = Running::start(home.other(Path::new("sh")).args(["-c", login]).env("KEYFOB_PROMPT", "always"));
    provider.sign_in(&login.prompt());
    assert_eq!(login.finish().code, Some(0));

    let pods = home.kubectl(&["get", "pods"]);
    let printed = "NAME    STATUS\nweb-0   Running\nweb-1   Running\n";
    assert_eq!((pods.code, pods.stdout.as_str(), pods.stderr.as_str()), (Some(0), printed, ""));
    assert!(api.requests().iter().all(|request| request.status == 200 && request.name == "ada"));
    assert_eq!(
        home.setup(&context),
        "Connect kubectl's user lab with the profile lab: nothing to do.\n\
         kubectl asks keyfob, and is answered: there is a token.\nThe cluster of the context lab takes it.\n"
    );

    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn git_clones() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    let git = need!(Git::any());
    let server = need!(GitServer::start(GitOptions { tls: true, ..GitOptions::default() }, idp.judge()));
    server.repository("a");
    let fresh = Fresh::new();
    // git knows the server's certificate, and has no final newline, which it would add.
    fresh.write(".gitconfig", &format!("# mine\n[http]\n  sslCAInfo={}", server.ca_file().unwrap().display()));
    let untouched = fresh.files();

    let flags = ["--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"];
    let done = fresh.run(&[&["setup", "git", "--yes", server.origin()], &flags[..]].concat());
    assert!(done.contains("keyfob asks you to sign in when git first needs a token; or now: "), "{done}");
    assert_eq!(
        fresh.read(".config/keyfob/config.toml"),
        format!(
            "# Added by keyfob setup git\n[profile.lab]\nissuer = \"{}\"\nclient-id = \"keyfob\"\n\n\
             [hosts]\n\"{}\" = \"lab\"\n",
            idp.issuer(),
            server.origin()
        )
    );
    fresh.run(&["login", "lab"]);
    let cloned = Output::of(fresh.other(&git.path).args(["clone", "-q", &server.url("a")]), b"");
    assert_eq!((cloned.code, cloned.stderr.as_str()), (Some(0), ""));
    assert_eq!(fresh.read("a/README"), "two\n");
    std::fs::remove_dir_all(fresh.path("a")).unwrap();

    fresh.run(&["setup", "git", "--undo", "--yes", server.origin()]);
    assert_eq!(fresh.files(), untouched);
}

#[test]
fn an_azure_sdk_gets_a_token() {
    let idp = Provider::start(Options::entra());
    idp.auto(Auto::Approve);
    let sdk = need!(AzureSdk::python());
    let fresh = Fresh::new();
    let untouched = fresh.files();

    let bin = fresh.path("own/bin");
    let flags = ["--profile", "work", "--provider", "entra", "--authority", idp.issuer(), "--tenant", "contoso.com"];
    let client = ["--client-id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"];
    let done = fresh.run(&[&["setup", "az", "--yes", "own/bin"], &flags[..], &client].concat());
    assert!(done.contains(&format!("\n{} is made\n", bin.display())), "{done}");
    fresh.run(&["login", "work"]);
    let asked = json!({
        "credential": "AzureCliCredential", "scope": "https://graph.microsoft.com/.default", "calls": 1, "options": {},
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path))).unwrap();
    let given = Output::of(sdk.command(|python| fresh.other(python), &asked).env("PATH", path), b"");
    let token: Value = serde_json::from_str(&given.stdout).unwrap_or_else(|e| panic!("{e}: {given:?}"));
    let claims = claims(token["token"].as_str().unwrap_or_else(|| panic!("{given:?}")));
    assert_eq!((&claims["aud"], &claims["tid"]), (&json!("https://graph.microsoft.com"), &json!(HOME_TENANT)));
    assert!(claims["exp"].as_i64().unwrap() > now(), "{claims}");

    let undone = fresh.run(&["setup", "az", "--undo", "--yes", "own/bin"]);
    assert!(undone.contains(&format!("\n{} is removed, if it is empty\n", bin.display())), "{undone}");
    assert_eq!(fresh.files(), untouched);
}
