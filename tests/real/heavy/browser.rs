//! A whole sign-in as a person does it: what a terminal shows is read off it, opened in a real Chromium and approved
//! there, and whoever waited for that goes on by itself.

use std::process::Command;

use keyfob_test_support::entra::AZURE_CLI;
use keyfob_test_support::provider::Options;

use crate::common::screen::{qr_code, qr_reader, seen_in, terminal};
use crate::common::{self, Caller, PROGRAM, SOON, Scene, browser, token};
use keyfob_test_support::real::{
    ApiServer, Browser, ExecPlugin, KubeHome, Kubectl, Lifetimes, OidcProvider, Prompt, Request, Transport,
};
use keyfob_test_support::{Keyfob, Streams, Terminal, need};

/// Room for a QR code with an address that holds the code.
const SIZE: (u16, u16) = (80, 32);

/// Starts a command in a terminal such as people have.
fn in_terminal(mut command: Command) -> Terminal {
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    Terminal::start_sized(command, Streams::default(), SIZE)
}

/// The prompt on the screen, once all of it is there, the QR code included.
fn prompt(running: &Terminal) -> (vt100::Parser, Prompt) {
    let screen = terminal(&running.wait_for("the code ends in", SOON), SIZE);
    let prompt = Prompt::find(&screen.screen().contents()).unwrap();
    (screen, prompt)
}

/// A kubectl that runs this keyfob.
fn home_with(api: &ApiServer, keyfob: &Keyfob) -> KubeHome {
    let env = [("KEYFOB_CONFIG", keyfob.config_file()), ("KEYFOB_CACHE_DIR", keyfob.cache_dir())];
    let plugin = ExecPlugin {
        api_version: "v1",
        cluster_info: true,
        command: PROGRAM.into(),
        args: vec!["kubernetes".to_owned()],
        env: env.map(|(name, path)| (name.to_owned(), path.display().to_string())).to_vec(),
    };
    KubeHome::new(api, &plugin)
}

#[test]
fn a_person_signs_in_at_the_real_oidc_provider_by_the_qr_code_and_kubectl_goes_on() {
    need!(qr_reader());
    let kubectl = need!(Kubectl::newest());
    let provider = need!(OidcProvider::start(Transport::Http, Lifetimes::default()));
    let api = need!(ApiServer::start(&provider));
    let browser = need!(Browser::start());
    let issuer = provider.issuer();
    let keyfob =
        Keyfob::new(PROGRAM).config(&format!("[profile.lab]\nissuer = '{issuer}'\nclient-id = 'kubernetes'\n"));
    let home = home_with(&api, &keyfob);

    let pods = in_terminal(home.command(kubectl, &["get", "pods"]));
    let (_, shown) = prompt(&pods);
    // In a second terminal the same sign-in is shown for a phone's camera.
    let login = in_terminal(keyfob.command(["login", "--qr"]));
    let (screen, shown_there) = prompt(&login);
    assert_eq!(shown_there, shown);
    let read = qr_code(screen.screen());
    assert_eq!(read, format!("{issuer}/device?user_code={}", shown.code));

    browser.open(&read);
    browser.read("Confirm Device");
    // The person compares.
    browser.read(&shown.code);
    browser.press("Continue");
    browser.enter("login", "ada");
    browser.enter("password", "any");
    browser.press("Sign-in");
    browser.read("Authorize");
    browser.press("Continue");
    browser.read("Sign-in Success");

    let ended = pods.wait();
    let left = seen_in(&ended.screen, SIZE);
    assert_eq!((ended.code, left.as_str()), (Some(0), "NAME    STATUS\nweb-0   Running\nweb-1   Running"));
    let ended = login.wait();
    let left = seen_in(&ended.screen, SIZE);
    assert!(ended.code == Some(0) && left.starts_with("Signed in to lab as ada"), "{left}");
    assert_eq!(provider.count(Request::is_device_request), 1);
    assert!(
        api.requests().iter().all(|request| request.status != 401 && request.name == "ada"),
        "{:?}",
        api.requests()
    );
    provider.assert_polls_were_proper();
}

#[test]
fn the_demo_is_approved_on_its_own_page_and_leaves_nothing_behind() {
    let demo = need!(common::demo());
    let browser = need!(Browser::start());
    let keyfob = Keyfob::new(demo);
    let folder = keyfob.home().join("temporary");
    std::fs::create_dir(&folder).unwrap();
    let mut command = keyfob.command([""; 0]);
    command.env("TMPDIR", &folder);

    let demo = in_terminal(command);
    let (_, shown) = prompt(&demo);
    browser.open(&shown.address);
    browser.read("Sign in on a device");
    browser.enter("user_code", &shown.code);
    browser.press("Approve");
    browser.read("Approved");

    let ended = demo.wait();
    let left = seen_in(&ended.screen, SIZE);
    assert_eq!(ended.code, Some(0), "{left}");
    assert!(left.ends_with("That was all. The provider and the cache are gone again."), "{left}");
    assert!(!left.contains("Enter code"), "{left}");
    assert_eq!(common::files(&folder, &[]), [""; 0]);
}

/// The local address on the screen, once all of the prompt is there.
fn address(running: &Terminal) -> String {
    let screen = terminal(&running.wait_for("Waiting for the browser", SOON), SIZE);
    browser::address(&screen.screen().contents()).unwrap()
}

#[test]
fn a_person_signs_in_by_browser_at_the_real_oidc_provider_and_kubectl_goes_on() {
    let kubectl = need!(Kubectl::newest());
    // It lists `form_post`; where its endpoints are given by hand, the code comes in the address.
    for posted in [true, false] {
        let provider = need!(OidcProvider::start(Transport::Http, Lifetimes::default()));
        let api = need!(ApiServer::start(&provider));
        let browser = need!(Browser::start());
        let issuer = provider.issuer();
        let endpoints = if posted {
            String::new()
        } else {
            format!("authorization-endpoint = '{issuer}/auth'\ntoken-endpoint = '{issuer}/token'\n")
        };
        let keyfob = Keyfob::new(PROGRAM).config(&format!(
            "[profile.lab]\nissuer = '{issuer}'\nclient-id = 'kubernetes'\nflow = 'browser'\n{endpoints}"
        ));
        let home = home_with(&api, &keyfob);
        let pods = in_terminal(home.command(kubectl, &["get", "pods"]));
        browser.open(&address(&pods));
        browser.enter("login", "ada");
        browser.enter("password", "any");
        browser.press("Sign-in");
        browser.read("Authorize");
        browser.press("Continue");
        browser.read("keyfob has signed in as ada. You can close this page.");
        let ended = pods.wait();
        let left = seen_in(&ended.screen, SIZE);
        assert_eq!((ended.code, left.as_str()), (Some(0), "NAME    STATUS\nweb-0   Running\nweb-1   Running"));
        assert_eq!(provider.count(Request::is_device_request), 0);
    }
}

#[test]
fn look_alikes_of_entra_gitea_and_google_are_signed_in_to_by_browser() {
    let browser = need!(Browser::start());
    for (what, options, toml) in [
        (
            "Entra",
            Options::entra(),
            format!("provider = 'entra'\nauthority = 'ISSUER'\nclient-id = '{AZURE_CLI}'\nflow = 'browser'\n"),
        ),
        ("Gitea", Options::gitea(), "provider = 'gitea'\nauthority = 'ISSUER'\n".to_owned()),
        (
            "Google",
            Options::google(),
            "provider = 'google'\nissuer = 'ISSUER'\nclient-id = 'keyfob'\nclient-secret = 's3cret-value'\n\
             flow = 'browser'\n"
                .to_owned(),
        ),
    ] {
        let scene = Scene::with(options, &format!("[profile.p]\n{toml}"));
        let caller = Caller::start(&mut scene.command("always", ["token"]));
        browser.open(&caller.address());
        browser.read("keyfob has signed in as alice@example.com. You can close this page.");
        let first = token(&caller.finish());
        scene.leave(-1);
        assert_ne!(token(&scene.silently(["token"])), first, "{what}: renewed");
        scene.assert_proper();
    }
}
