//! `keyfob setup kubernetes --from-kubelogin`: kubeconfigs as the two kubelogins document them, switched over by one
//! command and back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::kube::Home;
use crate::common::{now, undated};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyfob_test_support::entra::AKS_CLIENT;
use keyfob_test_support::lookalike::{Lookalike, json};
use keyfob_test_support::provider::{Auto, Client, Options, Provider};
use keyfob_test_support::real::{ApiServer, Lifetimes, OidcProvider, Running, Transport};
use keyfob_test_support::{Output, need};
use serde_json::Value;

/// A user as int128's kubelogin documents it, after `users:`.
const INT128: &str = "\
- name: oidc
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      interactiveMode: Never
      command: kubectl
      args:
      - oidc-login
      - get-token
      - --oidc-issuer-url=ISSUER_URL
      - --oidc-client-id=YOUR_CLIENT_ID
";

/// A user of AKS as Azure's `kubelogin convert-kubeconfig` writes it.
const AZURE: &str = "\
- name: clusterUser_group_aks
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - get-token
      - --environment
      - AzurePublicCloud
      - --server-id
      - 6dae42f8-4368-4678-94ff-3960e28e3630
      - --client-id
      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a
      - --tenant-id
      - contoso.com
      - --login
      - devicecode
      command: kubelogin
      env: null
      installHint: |2

        kubelogin is not installed which is required to connect to AAD enabled cluster.

        To learn more, please go to https://aka.ms/aks/kubelogin
      provideClusterInfo: false
";

/// The id of every API server of AKS that signs people in by Entra.
const AKS_SERVER: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// Signs in and runs what kubectl would run for a user; the token.
#[track_caller]
fn token(home: &Home, user: &str) -> String {
    let view = home.kubectl(&["config", "view", "--output=json"]);
    let view: Value = serde_json::from_str(&view.stdout).unwrap();
    let users = view["users"].as_array().unwrap();
    let exec = &users.iter().find(|entry| entry["name"] == user).unwrap()["user"]["exec"];
    let mut command = home.other(Path::new(exec["command"].as_str().unwrap()));
    command.args(exec["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
    let answer = Output::of(command.env("KEYFOB_PROMPT", "always"), b"");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_real_kubectl_goes_on_after_int128s_kubelogin() {
    let provider = need!(OidcProvider::start(Transport::Https, Lifetimes::default()));
    let api = need!(ApiServer::start(&provider));
    let ca = provider.ca_file().unwrap();
    let user = INT128.replace("ISSUER_URL", provider.issuer()).replace("YOUR_CLIENT_ID", "kubernetes");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n- context: {{cluster: lab, user: oidc}}\n  name: lab\n\
         clusters:\n- cluster: {{server: '{}', certificate-authority-data: {}}}\n  name: lab\nusers:\n{user}\
         \u{20}     - --oidc-extra-scope=email\n      - --oidc-extra-scope=groups,profile\n\
         \u{20}     - --certificate-authority={}\n      - --skip-open-browser\n",
        api.server(),
        STANDARD.encode(api.ca_pem()),
        ca.display()
    );
    let home = need!(Home::new(Some(&kubeconfig)));
    let untouched = home.files();
    let done = home.setup(&["--from-kubelogin"]);
    let done = home.plain(&done).replace(ca.to_str().unwrap(), "CA").replace(provider.issuer(), "ISSUER");
    assert_eq!(
        undated(&done),
        "Have keyfob take kubelogin's place for oidc:\n\n\
         HOME/.kube/config is copied to HOME/.local/share/keyfob/backups/config.DATE\n\
         HOME/.config/keyfob/config.toml\n\
         \u{20} + # Added by keyfob setup kubernetes\n\
         \u{20} + [profile.oidc]\n\
         \u{20} + issuer = \"ISSUER\"\n\
         \u{20} + client-id = \"kubernetes\"\n\
         \u{20} + scopes = [\"openid\", \"offline_access\", \"email\", \"groups\", \"profile\"]\n\
         \u{20} + redirect-host = \"localhost\"\n\
         \u{20} + redirect-port = 8000\n\
         \u{20} + ca-file = \"CA\"\n\
         HOME/.kube/config\n\
         \u{20} + user oidc: KEYFOB kubernetes --profile oidc\n\
         Note: of the user \"oidc\", --skip-open-browser is dropped: it means nothing to keyfob\n\
         Note: the user \"oidc\" runs kubectl now; keyfob takes its place\n\n\
         kubectl asks keyfob. Nobody has signed in yet.\n\
         keyfob asks you to sign in when kubectl first needs a token; or now: KEYFOB login oidc\n"
    );

    let mut login = home.command(&["login", "oidc"]);
    let mut login = Running::start(login.env("KEYFOB_PROMPT", "always"));
    provider.sign_in(&login.prompt());
    assert_eq!(login.finish().code, Some(0));
    let pods = home.kubectl(&["get", "pods", "--output=name"]);
    assert_eq!((pods.code, pods.stdout.as_str(), pods.stderr.as_str()), (Some(0), "pod/web-0\npod/web-1\n", ""));

    home.setup(&["--from-kubelogin", "--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn a_client_secret_and_certificates_among_the_arguments_become_files() {
    let options = Options { tls: true, clients: vec![Client::basic("lab", "hunter2")], ..Options::default() };
    let idp = Provider::start(options);
    idp.auto(Auto::Approve);
    let pem = fs::read(idp.ca_file().unwrap()).unwrap();
    let user = INT128.replace("ISSUER_URL", idp.issuer()).replace("YOUR_CLIENT_ID", "lab");
    let kubeconfig = format!(
        "users:\n{user}      - --oidc-client-secret=hunter2\n      - --certificate-authority-data={}\n",
        STANDARD.encode(&pem)
    );
    let home = need!(Home::new(Some(&kubeconfig)));
    let untouched = home.files();
    let done = home.setup(&["--from-kubelogin", "--profile", "lab"]);
    assert!(!done.contains("hunter2"), "{done}");
    let plain = home.plain(&done);
    for line in [
        "HOME/.config/keyfob/lab.client-secret is made, with the client secret\n",
        "HOME/.config/keyfob/lab.ca.pem is made, with the certificate authorities\n",
        "  + client-secret-file = \"HOME/.config/keyfob/lab.client-secret\"\n",
        "  + ca-file = \"HOME/.config/keyfob/lab.ca.pem\"\n",
    ] {
        assert!(plain.contains(line), "{plain}");
    }
    let secret = home.path(".config/keyfob/lab.client-secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hunter2");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(home.kubeconfig()).unwrap().contains("hunter2"));
    token(&home, "oidc");

    // Where somebody else has changed the file, too.
    let switched = fs::read(home.kubeconfig()).unwrap();
    assert_eq!(home.kubectl(&["config", "set-cluster", "other"]).code, Some(0));
    let undone = home.setup(&["--undo"]);
    assert!(!undone.contains("hunter2"), "{undone}");
    assert!(fs::read_to_string(home.kubeconfig()).unwrap().contains("- --oidc-client-secret=hunter2\n"));
    fs::write(home.kubeconfig(), &kubeconfig).unwrap();
    home.setup(&["--from-kubelogin", "--profile", "lab"]);
    assert_eq!(fs::read(home.kubeconfig()).unwrap(), switched);
    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn the_real_kubectl_goes_on_after_azures_kubelogin() {
    let idp = Provider::start(Options { oidc_discovery: true, ..Options::entra() });
    idp.auto(Auto::Approve);
    // As an API server of AKS: its own id is the audience, and so kubelogin's --server-id.
    let api = need!(ApiServer::start_for(idp.issuer(), AKS_SERVER));
    let kubeconfig = format!(
        "current-context: aks\ncontexts:\n- context: {{cluster: aks, user: clusterUser_group_aks}}\n  name: aks\n\
         clusters:\n- cluster: {{server: '{}', certificate-authority-data: {}}}\n  name: aks\nusers:\n{AZURE}",
        api.server(),
        STANDARD.encode(api.ca_pem())
    );
    let home = need!(Home::new(Some(&kubeconfig)));
    let untouched = home.files();
    let done = home.setup(&["--from-kubelogin", "--authority", idp.issuer()]);
    assert!(
        done.contains(&format!(
            "  + [profile.clusterUser_group_aks]\n  + provider = \"entra\"\n  + client-id = \"{AKS_CLIENT}\"\n\
             \u{20} + scopes = [\"{AKS_SERVER}/.default\"]\n  + tenant = \"contoso.com\"\n\
             \u{20} + authority = \"{}\"\n",
            idp.issuer()
        )),
        "{done}"
    );
    assert!(!fs::read_to_string(home.kubeconfig()).unwrap().contains("kubelogin"));

    let login = Output::of(home.command(&["login", "clusterUser_group_aks"]).env("KEYFOB_PROMPT", "always"), b"");
    assert_eq!(login.code, Some(0), "{login:?}");
    let pods = home.kubectl(&["get", "pods", "--output=name"]);
    assert_eq!((pods.code, pods.stdout.as_str(), pods.stderr.as_str()), (Some(0), "pod/web-0\npod/web-1\n", ""));

    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn several_users_are_taken_over_at_once_or_one_by_name() {
    let idp = Provider::start(Options::default());
    let oidc = INT128.replace("ISSUER_URL", idp.issuer()).replace("YOUR_CLIENT_ID", "keyfob");
    let spn = AZURE.replace("devicecode", "ropc").replace("name: clusterUser_group_aks", "name: robot");
    let other = oidc.replace("name: oidc", "name: other user");
    let home = need!(Home::new(Some(&format!("users:\n{oidc}{other}{spn}- name: me\n  user: {{}}\n"))));
    let untouched = home.files();
    for (args, error) in [
        (
            &["--from-kubelogin", "--user", "robot"][..],
            "error: the user \"robot\" cannot be taken over: argument --login: a password is for its owner to type at the \
             provider\n",
        ),
        (&["--from-kubelogin", "--user", "me"], "error: the user \"me\" does not run kubelogin\n"),
        (
            &["--from-kubelogin", "--profile", "p"],
            "error: --profile names one profile, and there are the users oidc, other user\n\
             hint: leave it out, or name one with --user\n",
        ),
        (
            &["--user", "a", "--user", "b", "--profile", "p", "--issuer", idp.issuer(), "--client-id", "keyfob"],
            "error: one user at a time\nhint: several go with --from-kubelogin\n",
        ),
    ] {
        let refused = home.run(&[&["setup", "kubernetes", "--yes"], args].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.starts_with(error), "{args:?} {refused:?}");
        assert_eq!(home.files(), untouched);
    }

    let both = ["--from-kubelogin"];
    let done = home.setup(&both);
    let skipped =
        "Note: the user \"robot\" cannot be taken over: argument --login: a password is for its owner to type at";
    assert!(done.contains(skipped), "{done}");
    let config = fs::read_to_string(home.path(".config/keyfob/config.toml")).unwrap();
    assert!(config.contains("[profile.oidc]\n") && config.contains("[profile.other-user]\n"), "{config}");
    home.setup(&["--undo", "--user", "oidc"]);
    let text = fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(text.contains("--oidc-issuer-url") && text.contains("- other-user\n"), "{text}");
    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
    home.setup(&both);
    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);

    let none = need!(Home::new(None));
    let refused = none.run(&["setup", "kubernetes", "--from-kubelogin"]);
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(2), "error: no user of the kubeconfig runs kubelogin\n"));
}

/// Each of the ways in which Azure's kubelogin signs a machine in, as `convert-kubeconfig` writes it: after its take-over the
/// real kubectl shows the token that this way brings.
#[test]
fn the_real_kubectl_goes_on_after_each_of_azures_ways_without_a_person() {
    // Its keys sign what the cluster takes, whichever way it came.
    let idp = Provider::start(Options::default());
    let api = need!(ApiServer::start_for(idp.issuer(), AKS_SERVER));
    let claims = serde_json::json!({
        "iss": idp.issuer(), "aud": AKS_SERVER, "sub": "robot", "iat": now(), "exp": now() + 3600,
    });
    let token = idp.sign(&claims);
    let answer =
        serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": "3600", "oidcToken": "job" });
    let entra = Lookalike::start(move |_| json(200, &answer));
    let home = need!(Home::new(None));
    let bin = home.path(".run/bin");
    home.other(Path::new("true"));
    for tool in ["az", "azd"] {
        let program = bin.join(tool);
        let member = if tool == "az" { "accessToken" } else { "token" };
        fs::write(&program, format!("#!/bin/sh\necho '{{\"{member}\": \"{token}\"}}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = home.path("federated");
    fs::write(&file, "pods-token").unwrap();
    let variables = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap().to_owned()),
        ("AZURE_CLIENT_ID", "from-the-environment".to_owned()),
        ("AZURE_TENANT_ID", "t".to_owned()),
        ("AZURE_AUTHORITY_HOST", format!("{}/", entra.origin())),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", entra.origin().to_owned()),
        ("SYSTEM_ACCESSTOKEN", "s".to_owned()),
        ("SYSTEM_OIDCREQUESTURI", format!("{}/pipeline", entra.origin())),
    ];
    for (user, args, shown) in [
        (
            "spn",
            "--client-id, c, --tenant-id, t, --authority-host, ENTRA/, --client-secret, hunter2-long-secret",
            "client_secret=hunter2-long-secret",
        ),
        ("workloadidentity", "--authority-host, ENTRA/", "client_assertion=pods-token"),
        (
            "azurepipelines",
            "--tenant-id, t, --authority-host, ENTRA/, --azure-pipelines-service-connection-id, s-1",
            "client_assertion=job",
        ),
        ("msi", "--v, '0'", ""),
        ("azurecli", "--tenant-id, t", ""),
        ("azurecli", "--cache-dir, /home/ada/.kube/cache/kubelogin/", ""),
        ("azd", "--tenant-id, t", ""),
    ] {
        let args = args.replace("ENTRA", entra.origin());
        let text = format!(
            "current-context: c\ncontexts:\n- {{name: c, context: {{cluster: c, user: '{user}'}}}}\nclusters:\n- {{name: c, \
             cluster: {{server: '{}', certificate-authority-data: {}}}}}\nusers:\n- name: '{user}'\n  user:\n    exec: {{apiVersion: \
             client.authentication.k8s.io/v1beta1, command: kubelogin, args: [get-token, --login, {user}, --server-id, \
             {AKS_SERVER}, {args}], env: null, installHint: \"\\nkubelogin is not installed which is required to connect to AAD \
             enabled cluster.\\n\", provideClusterInfo: false}}\n",
            api.server(),
            STANDARD.encode(api.ca_pem())
        );
        let _ = fs::create_dir(home.path(".kube"));
        fs::write(home.kubeconfig(), &text).unwrap();
        let within = |program: &Path, words: &[&str]| {
            let mut command = home.other(program);
            Output::of(command.args(words).envs(variables.iter().map(|(name, value)| (name, value))), b"")
        };
        let program = Path::new(crate::common::PROGRAM);
        let before = entra.seen().len();
        let done = within(program, &["setup", "kubernetes", "--yes", "--from-kubelogin"]);
        assert!(done.code == Some(0) && !done.stdout.contains("hunter2"), "{user} {done:?}");
        assert!(done.stdout.contains("kubectl asks keyfob, and is answered"), "{user} {done:?}");
        let now = fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(!now.contains("kubelogin") && !now.contains("hunter2"), "{now}");
        let pods = within(Path::new("kubectl"), &["get", "pods", "--output=name"]);
        assert_eq!((pods.code, pods.stdout.as_str()), (Some(0), "pod/web-0\npod/web-1\n"), "{user} {pods:?}");
        let asked = entra.seen().len() - before;
        let last = entra.seen().pop().map(|seen| seen.body).unwrap_or_default();
        // In the pipeline its own token is asked for first; then everything came from the cache.
        let expected = match user {
            "azurecli" | "azd" => 0,
            "azurepipelines" => 2,
            _ => 1,
        };
        assert!(asked == expected && last.contains(shown), "{user} {asked} {last}");
        within(program, &["setup", "kubernetes", "--yes", "--undo"]);
        assert_eq!(fs::read_to_string(home.kubeconfig()).unwrap(), text);
    }
}

/// Names from the field, the same user in two files, and what came before kubelogin.
#[test]
fn users_of_any_name_and_of_several_files_are_taken_over_each_by_itself() {
    let user = |name: &str, words: &str| {
        format!(
            "- name: '{name}'\n  user:\n    exec: {{apiVersion: client.authentication.k8s.io/v1, command: kubelogin, args: [get-token, {words}]}}\n"
        )
    };
    let az = |name: &str| user(name, "--login, azurecli, --server-id, s");
    let first = ["Łukasz", "~x", "my.token", "my-token", "ada.exec"].map(az).concat()
        + "- name: old\n  user: {auth-provider: {name: azure, config: {client-id: 80faf920-1908-4b52-b5ef-a8e7bedfc67a, apiserver-id: s, tenant-id: contoso.com, config-mode: '1'}}}\n"
        + "- name: older\n  user: {auth-provider: {name: azure, config: {client-id: c, apiserver-id: s, tenant-id: t}}}\n"
        + "- name: twice\n  user: {token: t}\n";
    let home = need!(Home::new(Some(&format!("users:\n{first}"))));
    let second = home.path(".kube/second");
    fs::write(&second, format!("users:\n{}{}", az("twice"), user("pop", "--pop-enabled, --server-id, s"))).unwrap();
    let untouched = home.files();
    let list = std::env::join_paths([home.kubeconfig(), second]).unwrap();
    let setup = |words: &[&str]| {
        let words = [&["setup", "kubernetes", "--yes"], words].concat();
        Output::of(home.command(&words).env("KUBECONFIG", &list), b"")
    };
    let idp = Provider::start(Options::entra());
    let done = setup(&["--from-kubelogin", "--authority", idp.issuer()]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout
            .starts_with("Have keyfob take kubelogin's place for Łukasz, ~x, my.token, my-token, ada.exec, old:\n"),
        "{done:?}"
    );
    for why in
        ["\"older\" cannot be taken over: argument --legacy", "\"pop\" cannot be taken over: argument --pop-enabled"]
    {
        assert!(done.stdout.contains(why), "{done:?}");
    }
    let config = fs::read_to_string(home.path(".config/keyfob/config.toml")).unwrap();
    for profile in [
        "[profile.\"Łukasz\"]",
        "[profile.x]",
        "[profile.my-token]",
        "[profile.my-token-2]",
        "[profile.ada-exec]",
        "[profile.old]",
    ] {
        assert!(config.contains(&format!("{profile}\n")), "{config}");
    }
    let view = Output::of(
        home.other(Path::new("kubectl")).args(["config", "view", "--output=json"]).env("KUBECONFIG", &list),
        b"",
    );
    let view: Value = serde_json::from_str(&view.stdout).unwrap();
    let users: Vec<_> = view["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| {
            let args =
                user["user"]["exec"]["args"].as_array().map(|args| args.last().unwrap().as_str().unwrap().to_owned());
            (user["name"].as_str().unwrap().to_owned(), args.unwrap_or_default())
        })
        .collect();
    for (user, profile) in [
        ("Łukasz", "Łukasz"),
        ("~x", "x"),
        ("my.token", "my-token"),
        ("my-token", "my-token-2"),
        ("old", "old"),
        ("older", ""),
        ("twice", ""),
    ] {
        assert!(users.contains(&(user.to_owned(), profile.to_owned())), "{user} {users:?}");
    }
    assert_eq!(setup(&["--undo"]).code, Some(0));
    assert_eq!(home.files(), untouched);
}
