//! `keyfob setup kubernetes --from-kubelogin`: kubeconfigs as the two kubelogins document them, switched over by one
//! command and back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::kube::Home;
use crate::common::undated;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyfob_test_support::entra::AKS_CLIENT;
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
    let spn = AZURE.replace("devicecode", "spn").replace("name: clusterUser_group_aks", "name: robot");
    let other = oidc.replace("name: oidc", "name: other user");
    let home = need!(Home::new(Some(&format!("users:\n{oidc}{other}{spn}- name: me\n  user: {{}}\n"))));
    let untouched = home.files();
    for (args, error) in [
        (
            &["--from-kubelogin"][..],
            "error: the user \"robot\" cannot be taken over: argument --login: it signs in without a person; \
             keyfob signs people in\n",
        ),
        (&["--from-kubelogin", "--user", "me"], "error: the user \"me\" does not run kubelogin\n"),
        (
            &["--from-kubelogin", "--profile", "p"],
            "error: --profile names one profile, and there are the users oidc, other user, robot\n\
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

    let both = ["--from-kubelogin", "--user", "oidc", "--user", "other user"];
    home.setup(&both);
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
