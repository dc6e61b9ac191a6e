//! `keyfob setup kubernetes --from-kubelogin`: kubeconfigs as the two kubelogins document them, switched over by one
//! command and back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::kube::Home;
use crate::common::machine::{Keys, file};
use crate::common::{PROGRAM, now, undated};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyfob_test_support::entra::AKS_CLIENT;
use keyfob_test_support::lookalike::{self, Lookalike};
use keyfob_test_support::provider::{Auto, Client, Options, Provider};
use keyfob_test_support::real::{ApiServer, Lifetimes, OidcProvider, Running, Transport};
use keyfob_test_support::{Output, need};
use serde_json::{Value, json};

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

/// A user of AKS as `az aks get-credentials` writes it.
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

/// What Azure's `kubelogin convert-kubeconfig` made of a file from `az aks get-credentials`: one user for each of its ways
/// to sign in, and one with an `auth-provider` as before its conversion.
const CONVERTED: &str = include_str!("kubelogin.yaml");

/// A cluster of AKS, what signs people and machines in to it, and a home with the kubeconfig [`CONVERTED`].
struct Aks {
    home: Home,
    idp: Provider,
    /// Entra for machines, the metadata service, and the pipeline's token endpoint.
    machines: Lookalike,
    kubeconfig: String,
    key: Keys,
    _api: ApiServer,
}

impl Aks {
    fn start() -> Result<Self, String> {
        let idp = Provider::start(Options { oidc_discovery: true, ..Options::entra() });
        idp.auto(Auto::Approve);
        let api = ApiServer::start_for(idp.issuer(), AKS_SERVER).map_err(|missing| missing.to_string())?;
        let claims =
            json!({ "iss": idp.issuer(), "aud": AKS_SERVER, "sub": "robot", "iat": now(), "exp": now() + 3600 });
        let token = idp.sign(&claims);
        let answer = json!({ "access_token": token, "token_type": "Bearer", "expires_in": "3600", "oidcToken": "job" });
        let machines = Lookalike::start(move |_| lookalike::json(200, &answer));
        let key = Keys::rsa()?;
        let pem = key.path("both.pem");
        fs::write(&pem, ["key.pem", "cert.pem"].map(|name| fs::read_to_string(key.path(name)).unwrap()).concat())
            .unwrap();
        file(key.folder.path(), "azureProfile.json", "another account");
        let federated = file(key.folder.path(), "token", "pods-token");
        let kubeconfig = CONVERTED
            .replace("https://aks.example", api.server())
            .replace("Q0E=", &STANDARD.encode(api.ca_pem()))
            .replace("/etc/azure/client.pem", pem.to_str().unwrap())
            .replace("/etc/azure/token", &federated)
            .replace("/etc/azure/cli", key.folder.path().to_str().unwrap());
        let home = Home::new(Some(&kubeconfig)).map_err(|missing| missing.to_string())?;
        home.other(Path::new("true"));
        for (tool, member) in [("az", "accessToken"), ("azd", "token")] {
            let program = home.path(".run/bin").join(tool);
            let calls = home.path(".run/calls");
            let script = format!(
                "#!/bin/sh\necho \"{tool} $*${{AZURE_CONFIG_DIR+ in $AZURE_CONFIG_DIR}}\" >> {}\necho '{{\"{member}\": \"{token}\"}}'\n",
                calls.display()
            );
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Ok(Self { home, idp, machines, kubeconfig, key, _api: api })
    }

    /// Runs a program, with these variables and the address of the metadata service.
    fn run(&self, program: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.home.other(Path::new(program));
        command.args(words).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.machines.origin());
        Output::of(command.envs(variables.iter().copied()), b"")
    }

    /// Takes users over; what it printed.
    #[track_caller]
    fn take_over(&self, authority: &str, words: &[&str], variables: &[(&str, &str)]) -> String {
        let setup = ["setup", "kubernetes", "--yes", "--from-kubelogin", "--authority", authority];
        let done = self.run(PROGRAM, &[&setup, words].concat(), variables);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(!done.stdout.contains("hunter2"), "{done:?}");
        done.stdout
    }

    #[track_caller]
    fn assert_kubectl_is_answered(&self, context: &str, variables: &[(&str, &str)]) {
        let pods = self.run("kubectl", &["--context", context, "get", "pods", "--output=name"], variables);
        assert_eq!((pods.code, pods.stdout.as_str()), (Some(0), "pod/web-0\npod/web-1\n"), "{context} {pods:?}");
    }

    /// What machines asked for: method, target, and the form without assertions, each of which is checked.
    fn asked(&self) -> Vec<String> {
        let described = self.machines.seen().into_iter().map(|seen| {
            let fields = seen.form().into_iter().filter(|(name, _)| !name.starts_with("client_assertion_"));
            let fields = fields.map(|(name, value)| match name.as_str() {
                "client_assertion" if value.contains('.') => format!(" {name}={}", self.key.signed(&value)),
                _ => format!(" {name}={value}"),
            });
            format!("{} {}{}", seen.method, seen.target, fields.collect::<String>())
        });
        described.collect()
    }
}

#[test]
fn the_real_kubectl_goes_on_after_each_of_azures_ways_to_sign_in() {
    const METADATA: &str = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=";
    const ID: &str = "00000000-0000-0000-0000-00000000000";
    let aks = need!(Aks::start());
    let users = ["auth-provider", "devicecode", "interactive", "old"];
    let names = users.map(|name| format!("clusterUser_lab_{name}"));
    let words: Vec<&str> = names.iter().flat_map(|name| ["--user", name]).collect();
    aks.take_over(aks.idp.issuer(), &words, &[]);
    for (context, name) in users.iter().zip(&names) {
        let login = Output::of(aks.home.command(&["login", name]).env("KEYFOB_PROMPT", "always"), b"");
        assert_eq!(login.code, Some(0), "{login:?}");
        aks.assert_kubectl_is_answered(context, &[]);
    }

    let done = aks.take_over(aks.machines.origin(), &[], &[]);
    for (name, why) in [
        ("azurepipelines", "has no `client-id`; set AZURE_CLIENT_ID, or pass --client-id\n"),
        ("older", "argument --legacy: keyfob has no tokens of the old kind, for `spn:`\n"),
        ("pop", "argument --pop-enabled: keyfob has no tokens with proof of possession\n"),
        ("ropc", "argument --login: a password is for its owner to type at the provider\n"),
        (
            "spn-environment",
            "has no `client-secret-file`, and neither `client-key-file` nor `source`: nothing shows what this machine is; \
             set AZURE_CLIENT_SECRET, or pass --client-secret-file\n",
        ),
        ("spn-pfx", "argument --client-certificate: it is not PEM; this makes PEM of it: openssl pkcs12 -nodes"),
        ("workloadidentity", "has no `client-id`; set AZURE_CLIENT_ID, or pass --client-id\n"),
    ] {
        let skipped = format!("Note: the user \"clusterUser_lab_{name}\" cannot be taken over: ");
        let line = done.lines().find(|line| line.starts_with(&skipped)).unwrap_or_else(|| panic!("{name} {done}"));
        assert!(format!("{line}\n").contains(why), "{line}");
    }
    for context in [
        "azd",
        "azurecli",
        "azurecli-folder",
        "msi",
        "msi-client",
        "spn-certificate",
        "spn-secret",
        "workloadidentity-file",
    ] {
        aks.assert_kubectl_is_answered(context, &[]);
    }
    let token = "POST /contoso.com/oauth2/v2.0/token";
    let scope = format!("grant_type=client_credentials scope={AKS_SERVER}/.default");
    let machines = [
        format!("{METADATA}{AKS_SERVER}"),
        format!("{METADATA}{AKS_SERVER}&client_id={ID}2"),
        format!("{token} client_id={ID}6 {scope} client_assertion=true"),
        format!("{token} client_id={ID}1 client_secret=hunter2-long-secret {scope}"),
        format!("{token} client_id={ID}3 {scope} client_assertion=pods-token"),
    ];
    assert_eq!(aks.asked(), machines);
    let calls = fs::read_to_string(aks.home.path(".run/calls")).unwrap();
    let azd = format!("azd auth token --output json --no-prompt --scope {AKS_SERVER}/.default --tenant-id contoso.com");
    let az = format!("az account get-access-token --output json --resource {AKS_SERVER}");
    let another = format!("{az} --tenant contoso.com in {}", aks.key.folder.path().display());
    let calls: BTreeSet<_> = calls.lines().collect();
    // The third by setup itself: kubectl alone sets the variable for the folder of another account.
    assert_eq!(calls, BTreeSet::from([&*azd, &az, &format!("{az} --tenant contoso.com"), &another]));

    // Where the job, the pod or the shell says who the machine is.
    let home = aks.machines.origin().to_owned() + "/";
    let pod = file(aks.key.folder.path(), "projected", "another-pods-token");
    let pipeline = home.clone() + "pipeline";
    let variables = [
        ("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000005"),
        ("AZURE_CLIENT_SECRET", "hunter2-variable"),
        ("AZURE_TENANT_ID", "fabrikam.com"),
        ("AZURE_FEDERATED_TOKEN_FILE", &pod),
        ("AZURE_AUTHORITY_HOST", &home),
        ("SYSTEM_ACCESSTOKEN", "s"),
        ("SYSTEM_OIDCREQUESTURI", &pipeline),
    ];
    let done = aks.take_over(aks.machines.origin(), &[], &variables);
    assert_eq!(done.matches("cannot be taken over").count(), 4, "{done}");
    for context in ["azurepipelines", "spn-environment", "workloadidentity"] {
        aks.assert_kubectl_is_answered(context, &variables);
    }
    let token = format!("POST /fabrikam.com/oauth2/v2.0/token client_id={ID}5");
    let machines = [
        format!("POST /pipeline?api-version=7.1&serviceConnectionId={ID}4"),
        format!("{token} {scope} client_assertion=job"),
        format!("{token} client_secret=hunter2-variable {scope}"),
        format!("{token} {scope} client_assertion=another-pods-token"),
    ];
    assert_eq!(aks.asked()[5..], machines);

    for _ in 0..3 {
        aks.home.setup(&["--undo"]);
    }
    assert_eq!(fs::read_to_string(aks.home.kubeconfig()).unwrap(), aks.kubeconfig);
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
