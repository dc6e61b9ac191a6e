//! Chooses the flow of a sign-in if neither the profile nor the environment does: a pure function of what the provider
//! supports and where the process runs.

use super::opener;
use crate::clock::Timestamp;
use crate::config::{Flow, Profile};
use crate::failure::Failure;
use crate::oauth::Client;
use crate::providers::Flows;
use crate::session::{FlowKind, Session};
use std::path::Path;

/// The variable that sets the flow for profiles with `flow = "auto"`.
const VARIABLE: &str = "KEYFOB_FLOW";

/// A flow, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The flow.
    pub flow: FlowKind,
    /// The reason; completes "by browser, since …".
    pub because: String,
    /// Whether a person chose it, in the profile, by a flag or by the variable.
    pub said: bool,
}

/// The flows that a provider supports for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Has {
    /// The device code flow.
    pub device: bool,
    /// The authorization code flow.
    pub browser: bool,
    /// Both are supported, but the authorization code flow needs a client secret, which few people have.
    pub device_first: bool,
}

/// What kind of machine this is, as far as it is not in the environment variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Place {
    /// Linux inside Windows (WSL).
    pub wsl: bool,
    /// A container.
    pub container: bool,
    /// macOS.
    pub macos: bool,
    /// Whether a program that opens a browser was found.
    pub opener: bool,
}

/// The value of an environment variable, if it is not empty.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Place {
    /// Inspects this machine.
    pub fn find() -> Self {
        let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
        let release = rustix::system::uname().release().to_string_lossy().to_ascii_lowercase();
        let wsl = release.contains("microsoft") && !container;
        let opener = !opener::openers("", wsl, &environment).is_empty();
        Self { wsl, container, macos: cfg!(target_os = "macos"), opener }
    }
}

impl Has {
    /// What the provider supports for this client.
    pub fn of(client: &Client<'_>, profile: &Profile) -> Self {
        let (device, browser) = (client.device_endpoint().is_ok(), client.authorization_endpoint().is_ok());
        Self { device, browser, ..Self::usual(profile) }
    }

    /// What such a provider usually supports, without asking it.
    fn usual(profile: &Profile) -> Self {
        let flows = profile.preset.flows;
        Self { device: flows != Flows::Browser, browser: true, device_first: flows == Flows::DeviceFirst }
    }
}

/// The flow that the next sign-in will probably take, without asking the provider.
pub fn expect(profile: &Profile, session: &Session) -> Result<Choice, Failure> {
    choose_of(|| Has::usual(profile), profile, session, &environment)
}

/// Chooses the flow of a sign-in: from the profile, otherwise from `KEYFOB_FLOW`, otherwise the browser if a policy has
/// refused the device code flow in this session, otherwise by `automatic`. Fails if `KEYFOB_FLOW` is invalid.
pub fn choose(client: &Client<'_>, profile: &Profile, session: &Session) -> Result<Choice, Failure> {
    choose_of(|| Has::of(client, profile), profile, session, &environment)
}

fn choose_of(
    has: impl FnOnce() -> Has,
    profile: &Profile,
    session: &Session,
    set: &dyn Fn(&str) -> Option<String>,
) -> Result<Choice, Failure> {
    let said = |flow, because: String| Ok(Choice { flow, because, said: true });
    match profile.flow {
        Flow::Browser => return said(FlowKind::Browser, "the profile says so".into()),
        Flow::Device => return said(FlowKind::Device, "the profile says so".into()),
        Flow::Auto => {}
    }
    match set(VARIABLE).as_deref() {
        Some("browser") => return said(FlowKind::Browser, format!("{VARIABLE} says so")),
        Some("device") => return said(FlowKind::Device, format!("{VARIABLE} says so")),
        None | Some("auto") => {}
        Some(other) => {
            return Err(Failure::usage(format!("{VARIABLE} cannot be {other:?}; use auto, browser or device")));
        }
    }
    let has = has();
    if has.browser && session.device_refused(Timestamp::now()).is_some() {
        let because = "the provider's policy has refused a device code".into();
        return Ok(Choice { flow: FlowKind::Browser, because, said: false });
    }
    let (flow, because) = automatic(has, Place::find(), set);
    Ok(Choice { flow, because: because.into(), said: false })
}

/// Chooses a flow, with the reason. A browser may only be opened if it opens in front of the person who asked.
pub(super) fn automatic(has: Has, place: Place, set: &dyn Fn(&str) -> Option<String>) -> (FlowKind, &'static str) {
    let is = |name: &str| set(name).is_some();
    let any = |names: &[&str]| names.iter().any(|name| is(name));
    let device = |because| (FlowKind::Device, because);
    let browser = |because| (FlowKind::Browser, because);
    // In a VS Code window that is connected to this machine, `BROWSER` opens a browser on the person's side, and ports
    // that are listened on here are forwarded. A tunnel lacks forwarding; it looks the same except for these variables.
    let vscode = any(&["VSCODE_IPC_HOOK_CLI"]) && is("BROWSER");
    let vscode = vscode && ((is("SSH_CONNECTION") && !is("SSH_TTY")) || is("REMOTE_CONTAINERS") || place.wsl);
    match () {
        () if !has.device && has.browser => browser("the provider has no device flow"),
        () if !has.browser => device("the provider has no browser flow for this client"),
        () if has.device_first => device("the provider's browser flow is for clients with a secret"),
        () if set("CI").is_some_and(|value| value != "false") => device("this is a CI job (CI)"),
        () if is("CODESPACES") => device("this is a codespace (CODESPACES)"),
        () if vscode => browser("VS Code opens it"),
        () if any(&["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"]) => device("this is a remote session (SSH_CONNECTION)"),
        () if place.container => device("this is a container"),
        () if is("VSCODE_IPC_HOOK_CLI") && !place.wsl => device("this is a tunnel of VS Code"),
        () if !(place.macos || place.wsl || any(&["DISPLAY", "WAYLAND_DISPLAY"])) => device("there is no display here"),
        () if !place.opener => device("no program here opens a browser"),
        () => browser("a browser can be opened here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolved;
    use crate::oauth::http::LIMIT;
    use crate::session::{DeviceRefused, Metadata};
    use serde_json::{from_value, json};

    const BOTH: Has = Has { device: true, browser: true, device_first: false };
    const LINUX: Place = Place { wsl: false, container: false, macos: false, opener: true };

    fn chosen(has: Has, place: Place, environment: &[&str]) -> &'static str {
        let set = |name: &str| {
            let said = environment.iter().filter_map(|pair| pair.split_once('='));
            said.filter(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value.to_owned()).next()
        };
        match automatic(has, place, &set).0 {
            FlowKind::Browser => "browser",
            FlowKind::Device => "device",
        }
    }

    #[test]
    fn the_flow_fits_the_place() {
        let wsl = Place { wsl: true, ..LINUX };
        let container = Place { container: true, ..LINUX };
        let macos = Place { macos: true, ..LINUX };
        let bare = Place { opener: false, ..LINUX };
        let remote = ["VSCODE_IPC_HOOK_CLI=/run/vscode.sock", "BROWSER=/helper"];
        let ssh = "SSH_CONNECTION=10.0.0.1 5 10.0.0.2 22";
        let with = |more: &[&'static str]| [&remote[..], more].concat();
        for (what, place, environment, flow) in [
            ("X11", LINUX, vec!["DISPLAY=:0"], "browser"),
            ("Wayland", LINUX, vec!["WAYLAND_DISPLAY=wayland-0"], "browser"),
            ("no display", LINUX, vec![], "device"),
            ("an empty display", LINUX, vec!["DISPLAY="], "device"),
            ("a display, nothing that opens", bare, vec!["DISPLAY=:0"], "device"),
            ("macOS", macos, vec![], "browser"),
            ("macOS by ssh", macos, vec![ssh], "device"),
            ("WSL", wsl, vec![], "browser"),
            ("WSL in VS Code", wsl, with(&[]), "browser"),
            ("WSL by ssh", wsl, vec![ssh, "SSH_TTY=/dev/pts/1"], "device"),
            ("ssh", LINUX, vec![ssh, "SSH_TTY=/dev/pts/1"], "device"),
            (
                "ssh with a forwarded display",
                LINUX,
                vec![ssh, "SSH_TTY=/dev/pts/1", "DISPLAY=localhost:10.0"],
                "device",
            ),
            ("a command by ssh", LINUX, vec!["SSH_CLIENT=10.0.0.1 5 22", "DISPLAY=:0"], "device"),
            ("VS Code by ssh", LINUX, with(&[ssh]), "browser"),
            ("ssh from VS Code's terminal to itself", LINUX, with(&[ssh, "SSH_TTY=/dev/pts/1"]), "device"),
            ("VS Code by ssh, without its helper", LINUX, vec![remote[0], ssh], "device"),
            ("a development container of VS Code", container, with(&["REMOTE_CONTAINERS=true"]), "browser"),
            ("a tunnel of VS Code", LINUX, with(&["DISPLAY=:0"]), "device"),
            ("a container", container, vec!["DISPLAY=:0"], "device"),
            ("a codespace", container, with(&["CODESPACES=true", "REMOTE_CONTAINERS=true"]), "device"),
            ("CI", LINUX, vec!["CI=true", "DISPLAY=:99"], "device"),
            ("CI that is none", LINUX, vec!["CI=false", "DISPLAY=:0"], "browser"),
        ] {
            assert_eq!(chosen(BOTH, place, &environment), flow, "{what}");
        }
    }

    #[test]
    fn the_flow_is_one_that_the_provider_has() {
        let display = ["DISPLAY=:0"];
        for (has, environment, flow) in [
            (Has { device: false, ..BOTH }, &[][..], "browser"),
            (Has { device: false, ..BOTH }, &["CI=true"], "browser"),
            (Has { browser: false, ..BOTH }, &display, "device"),
            (Has { device_first: true, ..BOTH }, &display, "device"),
            (Has { device: false, browser: false, ..BOTH }, &display, "device"),
        ] {
            assert_eq!(chosen(has, LINUX, environment), flow, "{has:?} {environment:?}");
        }
    }

    #[test]
    fn a_provider_usually_has_the_flows_of_its_row() {
        let usual = |provider, authority| {
            let profile = [("provider", provider), ("client-id", "c"), ("authority", authority)];
            let Has { device, browser, device_first } = Has::usual(&resolved(&profile).unwrap());
            (device, browser, device_first)
        };
        assert_eq!(usual("gitlab", "https://git.example"), (true, true, false));
        assert_eq!(usual("gitea", "https://git.example"), (false, true, false));
        assert_eq!(usual("github-enterprise", "https://git.example"), (true, true, true));
    }

    #[test]
    fn a_client_has_the_flows_whose_endpoints_its_server_publishes() {
        let has = |endpoint: &str| {
            let profile = resolved(&[("issuer", "https://id.example"), ("client-id", "c")]).unwrap();
            let known: Metadata = from_value(json!({
                "fetched_at": Timestamp::now(), "auth_method": "client_secret_basic", "s256": true, "offline_access": true,
                "token_endpoint": "https://id.example/token", endpoint: "https://id.example/begin",
            }))
            .unwrap();
            Has::of(&Client::new(&profile, Some(&known), LIMIT).unwrap().0, &profile)
        };
        assert_eq!(has("device_authorization_endpoint"), Has { browser: false, ..BOTH });
        assert_eq!(has("authorization_endpoint"), Has { device: false, ..BOTH });
    }

    #[test]
    fn the_profile_comes_before_the_variable_and_that_before_a_policys_refusal() {
        let chosen = |flow: &str, variable: Option<&str>, refused: bool, browser: bool| {
            let profile = resolved(&[("provider", "gitlab"), ("client-id", "c"), ("flow", flow)]).unwrap();
            let refused = refused.then(|| DeviceRefused { at: Timestamp::now(), because: "policy".into() });
            let session = Session { device_refused: refused, ..Session::new(&profile.session) };
            // By itself, a CI job uses device codes.
            let set = |name: &str| variable.filter(|_| name == VARIABLE).or((name == "CI").then_some("true"));
            let set = |name: &str| set(name).map(str::to_owned);
            choose_of(|| Has { browser, ..BOTH }, &profile, &session, &set).map(|choice| (choice.flow, choice.said))
        };
        for (flow, variable, refused, has_browser, choice) in [
            ("browser", Some("device"), false, true, (FlowKind::Browser, true)),
            ("device", Some("browser"), true, true, (FlowKind::Device, true)),
            ("auto", Some("browser"), false, true, (FlowKind::Browser, true)),
            ("auto", Some("device"), true, true, (FlowKind::Device, true)),
            ("auto", Some("auto"), true, true, (FlowKind::Browser, false)),
            ("auto", None, true, true, (FlowKind::Browser, false)),
            ("auto", None, true, false, (FlowKind::Device, false)),
            ("auto", None, false, true, (FlowKind::Device, false)),
        ] {
            assert_eq!(chosen(flow, variable, refused, has_browser), Ok(choice), "{flow} {variable:?} {refused}");
        }
        let failure = chosen("auto", Some("phone"), false, true).unwrap_err();
        assert_eq!(failure.message, "KEYFOB_FLOW cannot be \"phone\"; use auto, browser or device");
    }
}
