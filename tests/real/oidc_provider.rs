//! keyfob against a certified OpenID provider, unmodified: the npm package `oidc-provider`, over https with a private
//! certificate authority and over http on loopback.
//!
//! The person at the browser opens the address that keyfob shows and types the code that it shows, on the provider's
//! own pages. This provider sends no `interval`, rotates refresh tokens, and ends a whole grant when a token is used
//! twice, so it punishes most things that a client can do wrong; every test ends by checking that the polls were
//! proper.

use std::fs;
use std::thread;

use keyfob_test_support::real::{Client, Lifetimes, Missing, OidcProvider, Request, Running, Transport, wait_for};
use keyfob_test_support::{Keyfob, Output, need};

/// Seconds that tokens live where a test waits for their end.
const SHORT: u32 = 3;

/// A provider, and a keyfob that knows it.
struct Scene {
    provider: OidcProvider,
    keyfob: Keyfob,
    flags: Vec<String>,
}

impl Scene {
    fn new(transport: Transport, lifetimes: Lifetimes) -> Result<Self, Missing> {
        let provider = OidcProvider::start(transport, lifetimes)?;
        let flags = provider.flags();
        Ok(Self { provider, keyfob: Keyfob::new(env!("CARGO_BIN_EXE_keyfob")), flags })
    }

    /// Starts keyfob; `prompt` is what `KEYFOB_PROMPT` says.
    fn start(&self, prompt: &str, command: &str) -> Running {
        let mut command = self.keyfob.command([command]);
        Running::start(command.args(&self.flags).env("KEYFOB_PROMPT", prompt))
    }

    /// Runs keyfob where it may not prompt.
    fn quietly(&self, command: &str) -> Output {
        self.start("never", command).finish()
    }

    /// A whole sign-in by `keyfob token`; the token.
    fn sign_in(&self) -> String {
        let mut run = self.start("always", "token");
        self.provider.sign_in(&run.prompt());
        token(&run.finish())
    }

    /// The last access token that the provider issued.
    fn last_access_token(&self) -> String {
        self.provider.tokens("AccessToken").pop().expect("an access token").token
    }
}

/// The token on standard output, and nothing else there.
fn token(output: &Output) -> String {
    assert_eq!(output.code, Some(0), "{output:?}");
    let token = output.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no newline: {output:?}"));
    assert!(!token.is_empty() && !token.contains(char::is_whitespace), "{output:?}");
    token.to_owned()
}

/// Asserts an exit code, an empty stdout and an error on stderr.
fn assert_failed(output: &Output, code: i32) {
    assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{output:?}");
    assert!(output.stderr.contains("error: "), "{output:?}");
}

#[test]
fn the_real_oidc_provider_over_https_is_pending_and_then_signs_in() {
    let scene = need!(Scene::new(Transport::Https, Lifetimes::default()));
    let mut run = scene.start("always", "token");
    let prompt = run.prompt();
    wait_for("a poll that finds nobody yet", || {
        scene.provider.requests().iter().any(|poll| poll.error == "authorization_pending").then_some(())
    });
    assert!(run.is_running());
    scene.provider.sign_in(&prompt);
    assert_eq!(token(&run.finish()), scene.last_access_token());

    let before = scene.provider.requests();
    let polls: Vec<&str> = before.iter().filter(|poll| poll.is_poll()).map(|poll| poll.error.as_str()).collect();
    assert!(polls.len() >= 2, "{polls:?}");
    assert_eq!(polls.iter().filter(|error| error.is_empty()).count(), 1, "{polls:?}");
    // From now on the cache answers, and nobody is asked.
    let cached = scene.quietly("token");
    assert_eq!(token(&cached), scene.last_access_token());
    assert_eq!(cached.stderr, "");
    assert_eq!(scene.provider.requests().len(), before.len());
    scene.provider.assert_polls_were_proper();
}

#[test]
fn the_real_oidc_provider_over_http_sends_no_interval_and_sees_the_first_poll_after_five_seconds() {
    let scene = need!(Scene::new(Transport::Http, Lifetimes::default()));
    assert_eq!(scene.sign_in(), scene.last_access_token());
    let requests = scene.provider.requests();
    let start = requests.iter().find(|request| request.is_device_request()).expect("a device request");
    let poll = requests.iter().find(|request| request.is_poll()).expect("a poll");
    assert!(!start.answered.contains(&"interval".to_owned()), "{start:?}");
    assert!(poll.at - start.done >= 5000.0, "{start:?} {poll:?}");
    assert_eq!((start.auth.as_str(), start.client.as_str()), ("none", "kubernetes"));
    scene.provider.assert_polls_were_proper();
}

#[test]
fn the_real_oidc_provider_is_not_spoken_to_without_its_ca_file() {
    let mut scene = need!(Scene::new(Transport::Https, Lifetimes::default()));
    scene.flags.retain(|flag| flag != "--ca-file" && !flag.ends_with("ca.pem"));
    assert_failed(&scene.start("always", "token").finish(), 5);
    assert_eq!(scene.provider.requests().len(), 0);
}

#[test]
fn a_sign_in_refused_at_the_real_oidc_provider_is_over_until_keyfob_login() {
    let scenes = ["code", "login", "consent"].map(|page| (page, Scene::new(Transport::Http, Lifetimes::default())));
    thread::scope(|scope| {
        for (page, scene) in scenes {
            let scene = need!(scene);
            scope.spawn(move || {
                let mut run = scene.start("always", "token");
                scene.provider.turn_back(&run.prompt(), page);
                assert_failed(&run.finish(), 4);
                // A caller that tries again at once gets the same words and no new prompt.
                assert_failed(&scene.start("always", "token").finish(), 4);
                assert_eq!(scene.provider.count(Request::is_device_request), 1);

                if page == "code" {
                    let mut login = scene.start("always", "login");
                    scene.provider.sign_in(&login.prompt());
                    assert_eq!(login.finish().code, Some(0));
                    assert_eq!(token(&scene.quietly("token")), scene.last_access_token());
                }
                scene.provider.assert_polls_were_proper();
            });
        }
    });
}

#[test]
fn a_code_that_nobody_types_at_the_real_oidc_provider_expires() {
    let lifetimes = Lifetimes { code: 7, ..Lifetimes::default() };
    let scene = need!(Scene::new(Transport::Https, lifetimes));
    let mut run = scene.start("always", "token");
    run.prompt();
    assert_failed(&run.finish(), 4);
    assert_eq!(scene.provider.count(Request::is_device_request), 1);
    assert_eq!(scene.provider.tokens("AccessToken"), []);
    scene.provider.assert_polls_were_proper();
}

#[test]
fn signing_out_ends_the_refresh_token_at_the_real_oidc_provider() {
    let scene = need!(Scene::new(Transport::Https, Lifetimes::default()));
    scene.sign_in();
    let [refresh_token] = &scene.provider.tokens("RefreshToken")[..] else { panic!("one refresh token") };

    let logout = scene.quietly("logout");
    assert_eq!((logout.code, logout.stderr.as_str()), (Some(0), ""), "{logout:?}");
    let revocations = scene.provider.requests();
    let revocation = revocations.iter().find(|request| request.path == "/token/revocation").expect("a revocation");
    assert_eq!((revocation.status, revocation.client.as_str()), (200, "kubernetes"));
    assert_eq!(scene.provider.refresh_tokens(), ["gone"]);
    assert!(!scene.provider.takes_refresh_token(&scene.provider.client("none"), &refresh_token.token));

    assert_failed(&scene.quietly("token"), 3);
    assert_eq!(scene.provider.count(Request::is_refresh), 0);
    scene.provider.assert_polls_were_proper();
}

#[test]
fn a_person_signs_in_by_browser_at_the_real_oidc_provider() {
    // It lists `form_post`; where its endpoints are given by hand, the code comes in the address.
    for posted in [true, false] {
        let mut scene = need!(Scene::new(Transport::Http, Lifetimes::tokens(SHORT)));
        let issuer = scene.provider.issuer().to_owned();
        scene.flags.extend(["--flow", "browser", "--extra", "prompt=consent"].map(str::to_owned));
        if !posted {
            let endpoint = |name, path| [format!("--{name}-endpoint"), format!("{issuer}{path}")];
            scene.flags.extend([endpoint("authorization", "/auth"), endpoint("token", "/token")].concat());
        }
        let mut run = scene.start("always", "token");
        let address = run.address();
        scene.provider.sign_in_by_browser(&address, posted, "keyfob has signed in as ada. You can close this page.");
        let first = token(&run.finish());
        assert_eq!(first, scene.last_access_token());
        scene.provider.wait_until_access_tokens_expired();
        let second = token(&scene.quietly("token"));
        assert_ne!(first, second);
        assert_eq!(scene.provider.refresh_tokens(), ["used", "in force"]);
        assert_eq!(scene.provider.count(Request::is_device_request), 0);
    }
}

#[test]
fn a_person_turns_back_in_the_browser_at_the_real_oidc_provider() {
    let mut scene = need!(Scene::new(Transport::Http, Lifetimes::default()));
    scene.flags.extend(["--flow", "browser"].map(str::to_owned));
    let mut run = scene.start("always", "token");
    scene.provider.turn_back_in_browser(&run.address(), "the sign-in was refused (access_denied: ");
    assert_failed(&run.finish(), 4);
}

/// What was granted ends at the server; keyfob learns it when it refreshes, asks once, and then wants a sign-in.
fn ends_at_the_server(scene: &Scene, end: impl FnOnce(&OidcProvider)) {
    scene.sign_in();
    end(&scene.provider);
    scene.provider.wait_until_access_tokens_expired();
    for _ in 0..2 {
        assert_failed(&scene.quietly("token"), 3);
    }
    let requests = scene.provider.requests();
    let refreshes: Vec<&str> = requests.iter().filter(|r| r.is_refresh()).map(|r| r.error.as_str()).collect();
    assert_eq!(refreshes, ["invalid_grant"]);
    assert_eq!(scene.provider.count(Request::is_device_request), 1);
}

#[test]
fn a_grant_revoked_at_the_real_oidc_provider_needs_a_new_sign_in() {
    let scene = need!(Scene::new(Transport::Https, Lifetimes::tokens(SHORT)));
    ends_at_the_server(&scene, |provider| {
        provider.revoke_everything();
        // The provider holds the token for gone at once, keyfob only when its time is up.
        let issued = provider.tokens("AccessToken");
        assert!(issued.iter().all(|token| token.state == "gone"), "{issued:?}");
    });
    // And a new sign-in mends it.
    assert_eq!(scene.sign_in(), scene.last_access_token());
    scene.provider.assert_polls_were_proper();
}

#[test]
fn a_person_deleted_at_the_real_oidc_provider_is_signed_out() {
    let scene = need!(Scene::new(Transport::Http, Lifetimes::tokens(SHORT)));
    ends_at_the_server(&scene, |provider| provider.delete_person("ada"));
    scene.provider.assert_polls_were_proper();
}

/// Signs in, refreshes and signs out with a secret, shown in one way only at each endpoint.
fn confidential(method: &str, auth: &str) {
    let mut scene = need!(Scene::new(Transport::Https, Lifetimes::tokens(SHORT)));
    let client: Client = scene.provider.client(method);
    let file = scene.keyfob.home().join("secret");
    // As an editor leaves it, with a newline.
    fs::write(&file, format!("{}\n", client.secret.as_deref().expect("a secret"))).expect("writing the secret");
    scene.flags = scene.provider.flags_for(&client.id);
    let file = file.display().to_string();
    scene.flags.extend(["--client-secret-file", &file, "--token-endpoint-auth-method", method].map(str::to_owned));

    let first = scene.sign_in();
    scene.provider.wait_until_access_tokens_expired();
    let second = token(&scene.quietly("token"));
    assert_ne!(first, second);
    assert_eq!(second, scene.last_access_token());
    assert_eq!(scene.provider.refresh_tokens(), ["used", "in force"]);
    assert_eq!(scene.quietly("logout").code, Some(0));
    assert_eq!(scene.provider.refresh_tokens().last().map(String::as_str), Some("gone"));

    let requests = scene.provider.requests();
    let shown: Vec<_> = requests.iter().filter(|request| !request.fields.is_empty()).collect();
    for path in ["/device/auth", "/token", "/token/revocation"] {
        assert!(shown.iter().any(|request| request.path == path), "{path}: {shown:?}");
    }
    for request in shown {
        assert_eq!((request.auth.as_str(), request.client.as_str()), (auth, client.id.as_str()), "{request:?}");
        assert_eq!(request.fields.contains(&"client_secret".to_owned()), auth == "body", "{request:?}");
    }
    scene.provider.assert_polls_were_proper();
}

#[test]
fn a_confidential_client_shows_its_secret_to_the_real_oidc_provider_by_basic() {
    confidential("client_secret_basic", "basic");
}

#[test]
fn a_confidential_client_shows_its_secret_to_the_real_oidc_provider_in_the_body() {
    confidential("client_secret_post", "body");
}

#[test]
fn the_real_oidc_provider_down_for_a_while_costs_no_sign_in() {
    let scene = need!(Scene::new(Transport::Http, Lifetimes::tokens(SHORT)));
    scene.sign_in();
    scene.provider.wait_until_access_tokens_expired();
    scene.provider.set_outage(503);
    assert_failed(&scene.quietly("token"), 5);
    assert_eq!(scene.provider.refresh_tokens(), ["in force"]);

    scene.provider.set_outage(0);
    let answer = scene.quietly("token");
    assert_eq!(token(&answer), scene.last_access_token());
    assert_eq!(scene.provider.refresh_tokens(), ["used", "in force"]);
    scene.provider.assert_polls_were_proper();
}

#[test]
fn many_callers_at_once_refresh_once_at_the_real_oidc_provider() {
    let scene = need!(Scene::new(Transport::Https, Lifetimes::tokens(SHORT)));
    scene.sign_in();
    scene.provider.wait_until_access_tokens_expired();
    scene.provider.set_lifetimes(Lifetimes::default());
    // This provider ends the whole grant when two of them use the same refresh token.
    let callers: Vec<Running> = (0..12).map(|_| scene.start("never", "token")).collect();
    let answers: Vec<String> = callers.into_iter().map(|caller| token(&caller.finish())).collect();
    let expected = scene.last_access_token();
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
    assert_eq!(scene.provider.count(Request::is_refresh), 1);
    assert_eq!(scene.provider.refresh_tokens(), ["used", "in force"]);
    scene.provider.assert_polls_were_proper();
}
