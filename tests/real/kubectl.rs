//! The real kubectl gets its tokens from keyfob, which gets them from a certified OpenID provider; and lists pods from
//! a server that knows nothing but that provider's keys.

use std::time::{SystemTime, UNIX_EPOCH};

use keyfob_test_support::real::{
    ApiServer, ExecPlugin, KubeHome, Kubectl, Lifetimes, Missing, OidcProvider, Request, Running, Transport, wait_for,
};
use keyfob_test_support::{Keyfob, Output, need};

/// What `get pods` prints.
const PODS: &str = "NAME    STATUS\nweb-0   Running\nweb-1   Running\n";

/// Seconds that tokens live where a test waits for their end. keyfob hands one out for three quarters of that, which
/// must be enough for a few runs of kubectl on a busy machine.
const SHORT: u32 = 16;

/// A provider, an API server that trusts it, and a keyfob that knows it.
pub(crate) struct Cluster {
    pub(crate) provider: OidcProvider,
    pub(crate) api: ApiServer,
    pub(crate) keyfob: Keyfob,
    kubectl: &'static Kubectl,
}

impl Cluster {
    pub(crate) fn new(lifetimes: Lifetimes) -> Result<Self, Missing> {
        let kubectl = Kubectl::newest()?;
        let provider = OidcProvider::start(Transport::Https, lifetimes)?;
        let api = ApiServer::start(&provider)?;
        Ok(Self { provider, api, keyfob: Keyfob::new(env!("CARGO_BIN_EXE_keyfob")), kubectl })
    }

    /// The kubeconfig of a user of keyfob: everything in `args` and `env`, no configuration file.
    pub(crate) fn home(&self, api_version: &'static str, cluster_info: bool, extra: &[&str]) -> KubeHome {
        // A test has no terminal; kubectl passes on what keyfob shows on stderr.
        self.home_with_prompt("always", api_version, cluster_info, extra)
    }

    pub(crate) fn home_with_prompt(
        &self,
        prompt: &str,
        api_version: &'static str,
        cluster_info: bool,
        extra: &[&str],
    ) -> KubeHome {
        let mut args = vec!["kubernetes".to_owned()];
        args.extend(self.provider.flags());
        args.extend(extra.iter().map(|&flag| flag.to_owned()));
        let env = [
            ("KEYFOB_CONFIG", self.keyfob.config_file().display().to_string()),
            ("KEYFOB_CACHE_DIR", self.keyfob.cache_dir().display().to_string()),
            ("KEYFOB_PROMPT", prompt.to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let command = env!("CARGO_BIN_EXE_keyfob").into();
        KubeHome::new(&self.api, &ExecPlugin { api_version, cluster_info, command, args, env })
    }

    /// Starts `kubectl get pods` with nothing known about the server.
    pub(crate) fn get_pods(&self, home: &KubeHome) -> Running {
        home.forget_discovery();
        Running::start(&mut home.command(self.kubectl, &["get", "pods"]))
    }

    /// The token that the API server saw last, by fingerprint, and its expiry.
    fn last_token(&self) -> (String, u64) {
        let last = self.api.requests().pop().expect("a request at the API server");
        (last.token, last.expires.expect("a token with an expiry"))
    }

    /// Waits until the token that the API server saw last is worth nothing.
    fn wait_for_expiry(&self) {
        let (_, expires) = self.last_token();
        wait_for("the ID token to expire", || (now() > expires).then_some(()));
        self.provider.wait_until_access_tokens_expired();
    }

    /// Everybody was let in, always, as Ada.
    fn assert_nobody_was_turned_away(&self) {
        let requests = self.api.requests();
        assert!(requests.iter().all(|request| request.status != 401 && request.name == "ada"), "{requests:?}");
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// Asserts that kubectl printed the pods.
pub(crate) fn assert_pods(output: &Output) {
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), PODS), "{output:?}");
}

/// Asserts that kubectl printed the pods and nothing else happened that a user could see.
fn assert_pods_silently(output: &Output) {
    assert_pods(output);
    assert_eq!(output.stderr, "");
}

/// The story of a working day: sign in, work, and work on after the token has expired.
fn day(api_version: &'static str, cluster_info: bool) {
    let cluster = need!(Cluster::new(Lifetimes::tokens(SHORT)));
    let home = cluster.home(api_version, cluster_info, &[]);

    let mut first = cluster.get_pods(&home);
    cluster.provider.sign_in(&first.prompt());
    assert_pods(&first.finish());
    let (first_token, _) = cluster.last_token();
    let after_sign_in = cluster.provider.requests().len();

    assert_pods_silently(&cluster.get_pods(&home).finish());
    assert_eq!(cluster.last_token().0, first_token);
    assert_eq!(cluster.provider.requests().len(), after_sign_in, "the cache needs no provider");

    cluster.wait_for_expiry();
    cluster.provider.set_lifetimes(Lifetimes::default());
    assert_pods_silently(&cluster.get_pods(&home).finish());
    assert_ne!(cluster.last_token().0, first_token);
    assert_eq!(cluster.provider.count(Request::is_refresh), 1);
    assert_eq!(cluster.provider.refresh_tokens(), ["used", "in force"]);
    let after_refresh = cluster.provider.requests().len();

    assert_pods_silently(&cluster.get_pods(&home).finish());
    assert_eq!(cluster.provider.requests().len(), after_refresh, "the cache needs no provider");
    assert_eq!(cluster.provider.count(Request::is_device_request), 1);
    cluster.assert_nobody_was_turned_away();
    cluster.provider.assert_polls_were_proper();

    // The rotation was real: the first refresh token is worth nothing any more.
    let first_refresh_token = &cluster.provider.tokens("RefreshToken")[0].token;
    assert!(!cluster.provider.takes_refresh_token(&cluster.provider.client("none"), first_refresh_token));
}

#[test]
fn real_kubectl_v1_signs_in_by_device_flow_then_cache_then_refreshes_with_the_real_oidc_provider() {
    day("v1", false);
}

#[test]
fn real_kubectl_v1_with_cluster_info_signs_in_then_cache_then_refreshes_with_the_real_oidc_provider() {
    day("v1", true);
}

#[test]
fn real_kubectl_v1beta1_signs_in_by_device_flow_then_cache_then_refreshes_with_the_real_oidc_provider() {
    day("v1beta1", false);
}

#[test]
fn real_kubectl_v1beta1_with_cluster_info_signs_in_then_cache_then_refreshes_with_the_real_oidc_provider() {
    day("v1beta1", true);
}

#[test]
fn several_real_kubectl_share_one_sign_in_and_then_one_refresh_at_the_real_oidc_provider() {
    let cluster = need!(Cluster::new(Lifetimes::tokens(SHORT)));
    let homes = [("v1", true), ("v1", false), ("v1beta1", true), ("v1beta1", false)]
        .map(|(api_version, cluster_info)| cluster.home(api_version, cluster_info, &[]));

    let mut running = homes.each_ref().map(|home| cluster.get_pods(home));
    let prompts = running.each_mut().map(Running::prompt);
    assert!(prompts.iter().all(|prompt| *prompt == prompts[0]), "{prompts:?}");
    cluster.provider.sign_in(&prompts[0]);
    for kubectl in running {
        assert_pods(&kubectl.finish());
    }
    assert_eq!(cluster.provider.count(Request::is_device_request), 1);
    assert_eq!(cluster.provider.refresh_tokens(), ["in force"]);

    cluster.wait_for_expiry();
    cluster.provider.set_lifetimes(Lifetimes::default());
    let running = homes.each_ref().map(|home| cluster.get_pods(home));
    for kubectl in running {
        assert_pods_silently(&kubectl.finish());
    }
    assert_eq!(cluster.provider.count(Request::is_refresh), 1);
    assert_eq!(cluster.provider.refresh_tokens(), ["used", "in force"]);
    cluster.assert_nobody_was_turned_away();
    cluster.provider.assert_polls_were_proper();
}

#[test]
fn every_real_kubectl_here_takes_keyfobs_answer_from_the_cache() {
    let cluster = need!(Cluster::new(Lifetimes::default()));
    let home = cluster.home("v1", false, &[]);
    let mut first = cluster.get_pods(&home);
    cluster.provider.sign_in(&first.prompt());
    assert_pods(&first.finish());

    for kubectl in need!(Kubectl::all()) {
        for (api_version, cluster_info) in [("v1", true), ("v1", false), ("v1beta1", true), ("v1beta1", false)] {
            let home = cluster.home(api_version, cluster_info, &[]);
            let output = Running::start(&mut home.command(kubectl, &["get", "pods"])).finish();
            assert_eq!(output.stdout, PODS, "{kubectl:?} {api_version} {output:?}");
            assert_eq!(output.stderr, "", "{kubectl:?} {api_version}");
        }
    }
    assert_eq!(cluster.provider.count(Request::is_device_request), 1);
    assert_eq!(cluster.provider.count(Request::is_refresh), 0);
    cluster.assert_nobody_was_turned_away();
    cluster.provider.assert_polls_were_proper();
}

#[test]
fn real_kubectl_shows_an_access_token_that_the_real_oidc_provider_is_asked_about() {
    let mut cluster = need!(Cluster::new(Lifetimes::default()));
    cluster.api = need!(ApiServer::start_introspecting(&cluster.provider));
    let home = cluster.home("v1", true, &["--token-kind", "access"]);
    let mut first = cluster.get_pods(&home);
    cluster.provider.sign_in(&first.prompt());
    assert_pods(&first.finish());
    assert_eq!(cluster.last_token().0, cluster.provider.tokens("AccessToken")[0].fingerprint);
    cluster.assert_nobody_was_turned_away();
    cluster.provider.assert_polls_were_proper();
}

#[test]
fn real_kubectl_reports_a_sign_in_refused_at_the_real_oidc_provider_and_asks_only_once() {
    let cluster = need!(Cluster::new(Lifetimes::default()));
    let home = cluster.home("v1", false, &[]);
    let mut first = cluster.get_pods(&home);
    cluster.provider.turn_back(&first.prompt(), "consent");
    let output = first.finish();
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(output.stderr.contains("failed with exit code 4"), "{output:?}");
    // kubectl runs its plugin again and again within one command; the user is asked once.
    assert_eq!(cluster.provider.count(Request::is_device_request), 1);
    assert_eq!(cluster.api.requests().len(), 0);
    cluster.provider.assert_polls_were_proper();
}

#[test]
fn real_kubectl_without_a_place_for_a_prompt_shows_the_sign_in_command_which_works() {
    let cluster = need!(Cluster::new(Lifetimes::default()));
    let home = cluster.home_with_prompt("never", "v1", false, &[]);
    let output = cluster.get_pods(&home).finish();
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(output.stderr.contains("failed with exit code 3"), "{output:?}");
    assert_eq!(cluster.provider.count(Request::is_device_request), 0);

    // The person copies the command into a terminal, which knows nothing of the kubeconfig's environment.
    let hint = output.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).expect("a hint");
    let elsewhere = Keyfob::new(env!("CARGO_BIN_EXE_keyfob"));
    let mut login = elsewhere.other("sh");
    login.args(["-c", hint]).env("KEYFOB_PROMPT", "always");
    let mut login = Running::start(&mut login);
    cluster.provider.sign_in(&login.prompt());
    let login = login.finish();
    assert_eq!(login.code, Some(0), "{login:?}");

    let before = cluster.provider.requests().len();
    assert_pods_silently(&cluster.get_pods(&home).finish());
    assert_eq!(cluster.provider.requests().len(), before, "the sign-in brought the ID token along");
    cluster.provider.assert_polls_were_proper();
}

#[test]
fn a_token_that_the_api_server_turns_away_is_replaced_within_the_command_of_every_kubectl_here() {
    let mut cluster = need!(Cluster::new(Lifetimes::default()));
    let mut home = cluster.home("v1", false, &[]);
    let mut first = cluster.get_pods(&home);
    cluster.provider.sign_in(&first.prompt());
    assert_pods(&first.finish());

    let refreshes = || cluster.provider.count(Request::is_refresh);
    for (kubectl, cluster_info) in need!(Kubectl::all()).iter().flat_map(|kubectl| [(kubectl, false), (kubectl, true)])
    {
        cluster.kubectl = kubectl;
        home = cluster.home("v1", cluster_info, &[]);
        let (revoked, expires) = cluster.last_token();
        cluster.api.revoke(&revoked);
        // Two ID tokens of the same second are the same bytes.
        let issued = expires - u64::from(Lifetimes::default().id);
        wait_for("another second", || (now() > issued).then_some(()));
        let before = refreshes();
        assert_pods(&cluster.get_pods(&home).finish());
        assert_ne!(cluster.last_token().0, revoked, "{kubectl:?}");
        assert_eq!(refreshes(), before + 1, "{kubectl:?}");
        assert_pods_silently(&cluster.get_pods(&home).finish());
        assert_eq!(refreshes(), before + 1, "another kubectl has been handed nothing before");
    }
    assert_eq!(cluster.provider.count(Request::is_device_request), 1);
    cluster.provider.assert_polls_were_proper();
}
