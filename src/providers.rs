//! Identity providers as a table, one row each. The code depends on a row's columns, never on its name.
//!
//! A provider that follows OpenID Connect Discovery needs no row, because `issuer` in the profile is enough. A row
//! holds what a server does not publish: addresses, the scope for a refresh token, which kind of token its callers
//! need. To add a provider, add a row to [`PRESETS`]; every difference is a column of [`Preset`]. A column that is too
//! long for the row is a table in a file with the provider's name.

mod entra;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// How a token is sent to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAuth {
    /// `Authorization: Bearer` (RFC 6750).
    Bearer,
    /// As the password of HTTP Basic (RFC 7617).
    Basic,
}

/// Which of a session's tokens is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// The OAuth access token.
    Access,
    /// The OpenID Connect ID token, which a Kubernetes API server checks.
    Id,
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "access",
            Self::Id => "id",
        })
    }
}

/// The flows by which a person can sign in at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// The device code flow and the browser flow, if their endpoints are known.
    Both,
    /// Both, but the browser flow needs a client secret, so the device code flow is used unless the profile says
    /// otherwise.
    DeviceFirst,
    /// The browser flow only, because there is no device grant.
    Browser,
}

/// The redirect URI on this machine: `http://HOST:PORT` and the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// `127.0.0.1`, or `localhost` if the provider does not accept that.
    pub host: &'a str,
    /// The port, if the provider compares it; 0 means any free port (RFC 8252, section 7.3).
    pub port: u16,
    /// The path, as it must be registered.
    pub path: &'a str,
}

/// One identity provider. In templates, `{authority}`, `{host}` (the authority's) and `{tenant}` are replaced by the
/// profile's.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
pub struct Preset {
    /// The name in `provider = "…"` and `--provider`.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Its home address, which the profile's `authority` can replace (by the address of an installation or a national
    /// cloud); empty if the profile must set it. `None`: the provider has no `authority`.
    pub authority: Option<&'static str>,
    /// The default for `tenant`; empty if the profile must set it. `None`: the provider has no tenants.
    pub tenant: Option<&'static str>,
    /// Values of `tenant` that stand for many tenants.
    pub tenant_groups: &'static [&'static str],
    /// The issuer, as a template. `{tid}` stands for the ID token's `tid`, and `{any}` for any text. `None`: the
    /// profile must set it.
    pub issuer: Option<&'static str>,
    /// The flows that it supports.
    pub flows: Flows,
    /// A public client that exists in every installation, for profiles without `client-id`.
    pub client_id: Option<&'static str>,
    /// The redirect URI.
    pub redirect: Redirect<'static>,
    /// Whether the authorization response is a form that the browser posts; `None`: as discovery says.
    pub form_post: Option<bool>,
    /// Other parameters of an authorization request, unless the profile's `extra` sets them.
    pub authorization_parameters: &'static [(&'static str, &'static str)],
    /// Authorization endpoint, as a template; `None`: from discovery.
    pub authorization_endpoint: Option<&'static str>,
    /// Device authorization endpoint, as a template; `None`: from discovery.
    pub device_authorization_endpoint: Option<&'static str>,
    /// Token endpoint, as a template; `None`: from discovery.
    pub token_endpoint: Option<&'static str>,
    /// Revocation endpoint, as a template; `None`: from discovery, or there is none.
    pub revocation_endpoint: Option<&'static str>,
    /// The default for `scopes`.
    pub scopes: &'static [&'static str],
    /// Scopes that are always added, because without them there is no refresh token or no account name.
    pub scopes_besides: &'static [&'static str],
    /// Whether one refresh token serves every resource and tenant. Then every refresh names the scopes it wants, and
    /// callers may name scopes too; but a sign-in is for one resource only.
    pub multi_resource: bool,
    /// The kind of token that `keyfob kubernetes` hands out if the profile does not say.
    pub kubernetes_token: TokenKind,
    /// Whether a token may be renewed while it still has minutes to live; false if a refresh invalidates the token that
    /// was handed out before.
    pub early_refresh: bool,
    /// The lifetime of an access token if neither the server nor the token says, in seconds. `None`: until it is
    /// revoked.
    pub unstated_lifetime: Option<u64>,
    /// Where to ask for the account's name if there is no ID token, and the member that holds the name.
    pub account: Option<(&'static str, &'static str)>,
    /// Hosts that belong to this provider alone. Its endpoints may be on any of them; another issuer's endpoints on
    /// none.
    pub hosts: &'static [&'static str],
    /// Other hosts on which this provider's users enter codes.
    pub verification_hosts: &'static [&'static str],
    /// How its servers accept a token, if `[hosts]` does not say.
    pub host_auth: HostAuth,
    /// The user name to send with a token in HTTP Basic.
    pub basic_username: &'static str,
    /// Whether the provider requires a client secret even from programs that cannot keep one secret.
    pub needs_secret: bool,
    /// Whether a client secret is sent in the body rather than the header. Needed for rows whose endpoints are fixed,
    /// so that no metadata says which.
    pub secret_in_body: bool,
    /// The audience of another issuer's token that authenticates a client here, by authority. The first entry is for
    /// authorities that are not listed.
    pub assertion_audiences: &'static [(&'static str, &'static str)],
    /// Advice for the error numbers of this provider.
    pub advice: &'static [(RangeInclusive<u32>, &'static str)],
    /// The error numbers that say that a policy forbids the device code flow.
    pub device_refusals: &'static [RangeInclusive<u32>],
}

/// A server that follows OpenID Connect Discovery: the base of all rows, and the row of profiles without `provider`.
pub const OPENID: Preset = Preset {
    name: "openid",
    title: "OpenID Connect",
    authority: None,
    tenant: None,
    tenant_groups: &[],
    issuer: None,
    flows: Flows::Both,
    client_id: None,
    redirect: ANY_PORT,
    form_post: None,
    authorization_parameters: &[],
    authorization_endpoint: None,
    device_authorization_endpoint: None,
    token_endpoint: None,
    revocation_endpoint: None,
    scopes: &["openid", "offline_access"],
    scopes_besides: &[],
    multi_resource: false,
    kubernetes_token: TokenKind::Id,
    early_refresh: true,
    unstated_lifetime: Some(3600),
    account: None,
    hosts: &[],
    verification_hosts: &[],
    host_auth: HostAuth::Bearer,
    basic_username: "x-access-token",
    needs_secret: false,
    secret_in_body: false,
    assertion_audiences: &[],
    advice: &[],
    device_refusals: &[],
};

/// As in RFC 8252: the loopback address with any port. `http://127.0.0.1` has to be registered.
const ANY_PORT: Redirect<'static> = Redirect { host: "127.0.0.1", port: 0, path: "" };
/// For providers that also compare the port.
const FIXED_PORT: Redirect<'static> = Redirect { port: 28460, ..ANY_PORT };

const OWN_ISSUER_WITH_EMAIL: Preset = Preset { scopes: &["openid", "email", "offline_access"], ..OPENID };

/// GitHub, wherever it is hosted.
const GITHUB: Preset = Preset {
    flows: Flows::DeviceFirst,
    authorization_endpoint: Some("{authority}/login/oauth/authorize"),
    device_authorization_endpoint: Some("{authority}/login/device/code"),
    token_endpoint: Some("{authority}/login/oauth/access_token"),
    scopes: &["repo"],
    kubernetes_token: TokenKind::Access,
    early_refresh: false,
    unstated_lifetime: None,
    host_auth: HostAuth::Basic,
    ..OPENID
};

const BITBUCKET: Preset = Preset {
    flows: Flows::Browser,
    kubernetes_token: TokenKind::Access,
    unstated_lifetime: Some(7200),
    needs_secret: true,
    host_auth: HostAuth::Basic,
    basic_username: "x-token-auth",
    ..OPENID
};

const GITEA: Preset = Preset {
    authority: Some(""), // every installation has its own
    flows: Flows::Browser,
    // The client "git-credential-oauth", which every installation has by its setting DEFAULT_APPLICATIONS. Its
    // registered redirect URI is http://127.0.0.1, without a path.
    client_id: Some("a4792ccc-144e-407e-86c9-5e7d8d9c3269"),
    authorization_endpoint: Some("{authority}/login/oauth/authorize"),
    token_endpoint: Some("{authority}/login/oauth/access_token"),
    scopes: &["openid", "profile", "read:repository", "write:repository"],
    kubernetes_token: TokenKind::Access,
    host_auth: HostAuth::Basic,
    basic_username: "oauth2",
    ..OPENID
};

/// All named providers.
pub const PRESETS: &[Preset] = &[
    OPENID,
    Preset {
        name: "entra",
        title: "Microsoft Entra ID",
        authority: Some("https://login.microsoftonline.com"),
        tenant: Some("organizations"),
        tenant_groups: &["organizations", "common", "consumers"],
        issuer: Some("{authority}/{tid}/v2.0"),
        redirect: Redirect { host: "localhost", ..ANY_PORT },
        // So no code is ever in the address bar, from where people could be talked into copying it.
        form_post: Some(true),
        authorization_endpoint: Some("{authority}/{tenant}/oauth2/v2.0/authorize"),
        device_authorization_endpoint: Some("{authority}/{tenant}/oauth2/v2.0/devicecode"),
        token_endpoint: Some("{authority}/{tenant}/oauth2/v2.0/token"),
        scopes: &["openid", "profile", "offline_access"],
        // `profile` adds the account's name.
        scopes_besides: &["openid", "profile", "offline_access"],
        multi_resource: true,
        kubernetes_token: TokenKind::Access,
        hosts: &[
            "login.microsoftonline.com",
            "login.microsoftonline.us",
            "login.partner.microsoftonline.cn",
            "login.chinacloudapi.cn",
            "login.windows.net",
            "sts.windows.net",
        ],
        verification_hosts: &["microsoft.com", "www.microsoft.com", "login.microsoft.com", "aka.ms"],
        // As in Microsoft's own libraries.
        secret_in_body: true,
        assertion_audiences: entra::ASSERTION_AUDIENCES,
        advice: entra::ADVICE,
        device_refusals: entra::DEVICE_REFUSALS,
        ..OPENID
    },
    Preset {
        name: "entra-external-id",
        title: "Microsoft Entra External ID",
        authority: Some(""), // https://NAME.ciamlogin.com
        tenant: Some(""),    // its id, or NAME.onmicrosoft.com
        issuer: Some("https://{tid}.ciamlogin.com/{tid}/v2.0"),
        redirect: Redirect { host: "localhost", ..ANY_PORT },
        form_post: Some(true),
        authorization_endpoint: Some("{authority}/{tenant}/oauth2/v2.0/authorize"),
        token_endpoint: Some("{authority}/{tenant}/oauth2/v2.0/token"),
        scopes: &["openid", "profile", "offline_access"],
        scopes_besides: &["openid", "profile", "offline_access"],
        kubernetes_token: TokenKind::Access,
        // Its device endpoint sends people to microsoft.com/devicelogin, which does not know these accounts.
        flows: Flows::Browser,
        advice: entra::ADVICE,
        ..OPENID
    },
    Preset {
        name: "entra-b2c",
        title: "Azure AD B2C",
        authority: Some(""), // https://NAME.b2clogin.com/NAME.onmicrosoft.com/POLICY
        // TENANT-ID, or tfp/TENANT-ID/POLICY, depending on the policy's settings.
        issuer: Some("https://{host}/{any}/v2.0/"),
        flows: Flows::Browser,
        redirect: Redirect { host: "localhost", ..ANY_PORT },
        form_post: Some(true),
        authorization_endpoint: Some("{authority}/oauth2/v2.0/authorize"),
        token_endpoint: Some("{authority}/oauth2/v2.0/token"),
        scopes_besides: &["openid", "offline_access"],
        advice: entra::ADVICE,
        ..OPENID
    },
    Preset {
        name: "github",
        title: "GitHub",
        authority: Some("https://github.com"),
        account: Some(("https://api.github.com/user", "login")),
        hosts: &["github.com", "api.github.com"],
        ..GITHUB
    },
    Preset {
        name: "github-data-residency",
        title: "GitHub Enterprise Cloud (ghe.com)",
        authority: Some(""), // https://NAME.ghe.com
        account: Some(("https://api.{host}/user", "login")),
        ..GITHUB
    },
    Preset {
        name: "github-enterprise",
        title: "GitHub Enterprise Server",
        authority: Some(""), // every installation has its own
        account: Some(("{authority}/api/v3/user", "login")),
        ..GITHUB
    },
    Preset {
        name: "gitlab",
        title: "GitLab",
        authority: Some("https://gitlab.com"),
        issuer: Some("{authority}"),
        authorization_endpoint: Some("{authority}/oauth/authorize"),
        device_authorization_endpoint: Some("{authority}/oauth/authorize_device"),
        token_endpoint: Some("{authority}/oauth/token"),
        revocation_endpoint: Some("{authority}/oauth/revoke"),
        scopes: &["openid", "read_repository", "write_repository"],
        early_refresh: false,
        unstated_lifetime: Some(7200),
        hosts: &["gitlab.com"],
        host_auth: HostAuth::Basic,
        basic_username: "oauth2",
        ..OPENID
    },
    Preset {
        name: "google",
        title: "Google",
        issuer: Some("https://accounts.google.com"),
        scopes: &["openid", "email"],
        // Google's clients for desktop programs use the query response mode.
        form_post: Some(false),
        // Google issues a refresh token only if it is asked for one, and only after consent.
        authorization_parameters: &[("access_type", "offline"), ("prompt", "consent")],
        needs_secret: true,
        hosts: &["accounts.google.com", "oauth2.googleapis.com"],
        verification_hosts: &["www.google.com", "google.com"],
        // For Artifact Registry.
        basic_username: "oauth2accesstoken",
        ..OPENID
    },
    Preset { name: "okta", title: "Okta", redirect: FIXED_PORT, ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "auth0", title: "Auth0", redirect: FIXED_PORT, ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "keycloak", title: "Keycloak", ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "dex", title: "Dex", scopes: &["openid", "email", "groups", "offline_access"], ..OPENID },
    Preset { name: "zitadel", title: "ZITADEL", ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "authentik", title: "authentik", ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "authelia", title: "Authelia", ..OWN_ISSUER_WITH_EMAIL },
    Preset { name: "hydra", title: "Ory Hydra", scopes: &["openid", "offline_access"], ..OPENID },
    Preset {
        name: "huggingface",
        title: "Hugging Face",
        issuer: Some("https://huggingface.co"),
        scopes: &["openid", "profile"],
        kubernetes_token: TokenKind::Access,
        hosts: &["huggingface.co"],
        ..OPENID
    },
    Preset { name: "ping", title: "PingOne and PingFederate", ..OWN_ISSUER_WITH_EMAIL },
    Preset {
        name: "bitbucket",
        title: "Bitbucket Cloud",
        authority: Some("https://bitbucket.org"),
        // A request's redirect URI may only extend the one that is registered with the client.
        redirect: FIXED_PORT,
        authorization_endpoint: Some("{authority}/site/oauth2/authorize"),
        token_endpoint: Some("{authority}/site/oauth2/access_token"),
        scopes: &["account", "repository", "repository:write"],
        account: Some(("https://api.bitbucket.org/2.0/user", "username")),
        hosts: &["bitbucket.org", "api.bitbucket.org"],
        ..BITBUCKET
    },
    Preset {
        name: "bitbucket-data-center",
        title: "Bitbucket Data Center",
        authority: Some(""), // every installation has its own
        redirect: FIXED_PORT,
        authorization_endpoint: Some("{authority}/rest/oauth2/latest/authorize"),
        token_endpoint: Some("{authority}/rest/oauth2/latest/token"),
        revocation_endpoint: Some("{authority}/rest/oauth2/latest/revoke"),
        scopes: &["REPO_WRITE"],
        ..BITBUCKET
    },
    Preset { name: "gitea", title: "Gitea", ..GITEA },
    Preset { name: "forgejo", title: "Forgejo", ..GITEA },
    Preset {
        name: "openshift",
        title: "OpenShift",
        authority: Some(""), // https://oauth-openshift.apps.CLUSTER
        flows: Flows::Browser,
        // The client of `oc login --web`, which every cluster has since OpenShift 4.14.
        client_id: Some("openshift-cli-client"),
        redirect: Redirect { path: "/callback", ..ANY_PORT },
        authorization_endpoint: Some("{authority}/oauth/authorize"),
        token_endpoint: Some("{authority}/oauth/token"),
        scopes: &["user:full"],
        kubernetes_token: TokenKind::Access,
        ..OPENID
    },
    Preset {
        name: "cognito",
        title: "Amazon Cognito",
        flows: Flows::Browser,
        redirect: Redirect { host: "localhost", ..FIXED_PORT },
        scopes: &["openid", "email"],
        ..OPENID
    },
];

impl Preset {
    /// Whether an error says that a policy forbids the device code flow, by its numbers or by those in its description.
    pub fn refuses_device(&self, numbers: &[u32], description: &str) -> bool {
        let refuses = |number: &u32| self.device_refusals.iter().any(|of| of.contains(number));
        numbers.iter().any(refuses) || (numbers.is_empty() && entra::numbers_in(description).any(|n| refuses(&n)))
    }

    /// Advice for an error, by its numbers (`error_codes`), otherwise by those in its description.
    pub fn advice(&self, numbers: &[u32], description: &str) -> Option<&'static str> {
        let advice = |number: u32| self.advice.iter().find(|(of, _)| of.contains(&number)).map(|(_, what)| *what);
        numbers.iter().copied().find_map(advice).or_else(|| entra::numbers_in(description).find_map(advice))
    }
}

/// The row that has advice for these error numbers.
pub fn known_by_error(numbers: &[u32], description: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|row| row.advice(numbers, description).is_some())
}

/// The row to which a host belongs, if any.
pub fn owner(host: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|row| row.hosts.contains(&host))
}

/// The row with this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn names_are_unique_and_templates_use_only_known_words() {
        let mut names: Vec<_> = PRESETS.iter().map(|p| p.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PRESETS.len());
        for p in PRESETS {
            let home = p.authority.filter(|home| !home.is_empty());
            let endpoints = [p.authorization_endpoint, p.device_authorization_endpoint, p.token_endpoint];
            let templates = [p.issuer, p.revocation_endpoint, home].into_iter().chain(endpoints);
            for template in templates.flatten().chain(p.account.map(|a| a.0)) {
                let bare = ["{authority}", "{host}", "{tenant}", "{tid}", "{any}"]
                    .iter()
                    .fold(template.to_owned(), |t, w| t.replace(w, ""));
                assert!(!bare.contains(['{', '}']), "{}: {template}", p.name);
                assert!(!template.contains("{authority}") || p.authority.is_some(), "{}: {template}", p.name);
                assert!(!template.contains("{tenant}") || p.tenant.is_some(), "{}: {template}", p.name);
                assert!(template.starts_with("https://") || template.starts_with("{authority}"), "{}", p.name);
                if let Some(host) = template.strip_prefix("https://").and_then(|rest| rest.split('/').next())
                    && !host.contains('{')
                {
                    assert_eq!(owner(host).map(|row| row.name), Some(p.name), "{host} is its own");
                }
                // Addresses from a row are not checked again; see `Address::assembled`.
                let made = template.replace("{authority}", "https://id.example").replace("{tenant}", "common");
                let made = made.replace("{host}", "id.example");
                assert_eq!(Address::parse(&made.replace("{tid}", "t")).err(), None, "{}: {template}", p.name);
            }
        }
    }

    #[test]
    fn a_provider_that_kills_old_tokens_on_refresh_is_never_refreshed_early() {
        let late: Vec<_> = PRESETS.iter().filter(|p| !p.early_refresh).map(|p| p.name).collect();
        assert_eq!(late, ["github", "github-data-residency", "github-enterprise", "gitlab"]);
    }

    #[test]
    fn every_number_of_entras_has_its_advice() {
        let entra = preset("entra").unwrap();
        for (numbers, words) in [
            (&[50059][..], "set `tenant`"),
            (&[90133], "no device flow"),
            (&[90002], "typing error"),
            (&[700_016], "does not know the application"),
            (&[7_000_218], "allow public client flows"),
            (&[65001], "must consent"),
            (&[50076, 50079], "multi-factor"),
            (&[50173, 70043, 700_082, 70008], "expired or was revoked"),
            (&[53000, 53001, 53003, 53011, 50097, 50199], "Conditional Access"),
            (&[50196], "wait"),
            (&[500_011, 500_014], "check the scope"),
            (&[9_002_313], "check `client-id` and `scopes`"),
        ] {
            for number in numbers {
                let by_number = entra.advice(&[*number], "").unwrap();
                assert!(by_number.contains(words), "{number}: {by_number}");
                let said = format!("AADSTS{number}: What it says. Trace ID: 0 AADSTS1");
                assert_eq!(entra.advice(&[], &said), Some(by_number), "{number}");
                assert_eq!(preset("okta").unwrap().advice(&[*number], &said), None);
            }
        }
        assert_eq!(entra.advice(&[70016, 1], "AADSTS70016: pending, AADSTS, AADSTS99999999999"), None);
        // The numbers take precedence; other numbers quoted in the text do not matter.
        assert_eq!(entra.advice(&[50196], "AADSTS65001"), entra.advice(&[50196], ""));
    }
}
