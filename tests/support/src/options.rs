//! What kind of provider to start. Servers differ in everything the standards leave open; each difference that a
//! client has to survive is one field here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

/// The id of the one client of a provider started with default options.
pub const CLIENT_ID: &str = "keyfob";

/// A change made to every JSON answer that the provider's own logic gives, errors included.
pub type Edit = Arc<dyn Fn(Endpoint, &mut Value) + Send + Sync>;

/// The addresses a provider answers at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The metadata, in either of its places.
    Discovery,
    /// `/authorize`: signs a person in in a browser, and sends that back with a code.
    Authorize,
    /// `/device_authorization`: gives out codes.
    Device,
    /// `/token`: polls and refreshes.
    Token,
    /// `/revoke`.
    Revoke,
    /// `/jwks`: the key that signs.
    Jwks,
    /// `/userinfo`.
    UserInfo,
    /// `/device`: the page where a person types the code.
    Page,
}

/// How a client authenticates; a registered client has one way and no other is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A public client: `client_id` in the body.
    None,
    /// HTTP Basic with form-encoded id and secret.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Its secret, if it is confidential.
    pub secret: Option<String>,
    /// How it authenticates.
    pub auth: ClientAuth,
}

impl Client {
    /// A client without a secret.
    #[must_use]
    pub fn public(id: &str) -> Self {
        Self { id: id.into(), secret: None, auth: ClientAuth::None }
    }

    /// A client that sends its secret by HTTP Basic.
    #[must_use]
    pub fn basic(id: &str, secret: &str) -> Self {
        Self { id: id.into(), secret: Some(secret.into()), auth: ClientAuth::Basic }
    }

    /// A client that sends its secret in the body.
    #[must_use]
    pub fn post(id: &str, secret: &str) -> Self {
        Self { id: id.into(), secret: Some(secret.into()), auth: ClientAuth::Post }
    }
}

/// When an ID token is sent, `openid` being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdToken {
    /// At sign-in and with every refresh.
    Always,
    /// At sign-in.
    First,
    /// With a refresh.
    Refresh,
    /// Never.
    Never,
}

/// The kind of certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// A valid certificate.
    Good,
    /// A certificate for another host.
    OtherHost,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// Self-signed, and not signed by the authority.
    SelfSigned,
    /// Self-signed and marked as an authority's, as by `openssl req -x509`. `ca_file` is this certificate itself.
    OwnAuthority,
    /// Like `OwnAuthority`, for another host.
    OwnAuthorityOfOther,
    /// Like `OwnAuthority`, but expired.
    OwnAuthorityExpired,
}

/// The form of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessToken {
    /// Random characters.
    Opaque,
    /// A signed JWT.
    Jwt,
}

/// The form of the granted scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeFormat {
    /// `"openid email"`, as RFC 6749 has it.
    Spaces,
    /// `"openid,email"`.
    Commas,
    /// `["openid","email"]`.
    Array,
    /// Not at all: the granted scopes are the ones that were asked for.
    Absent,
}

/// Everything about a provider that can be chosen. The default is a plain OpenID provider over http with one public
/// client, [`CLIENT_ID`], and a polling interval of one second.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// https with a private authority instead of http.
    pub tls: bool,
    /// The kind of its certificate.
    pub certificate: Certificate,
    /// The name in its https address. `0.0.0.0` is this machine too, but is not a loopback address when a proxy is
    /// chosen. `id`, `id.lab.example` and `id.hosts.example` are also in the certificate; a test makes them resolve.
    pub tls_host: &'static str,
    /// The path of the issuer, such as `/realms/lab`; empty for none.
    pub path: String,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The scopes that exist; any other is `invalid_scope`. `None` accepts all.
    pub scopes: Option<Vec<String>>,
    /// A refresh may ask for scopes that were never granted, as at servers where one sign-in serves every resource.
    pub refresh_any_scope: bool,
    /// The `interval` of the device answer, as it stands in the JSON; `None` leaves it out. Polls are held to it, to
    /// 5 seconds where it makes no sense, and to its thousandth where it can only mean milliseconds.
    pub interval: Option<Value>,
    /// The `expires_in` of the device answer; `None` leaves it out. A code lives 900 seconds where it makes no sense.
    pub expires_in: Option<Value>,
    /// Send `verification_uri_complete` as well.
    pub complete_uri: bool,
    /// The form of access tokens.
    pub access_token: AccessToken,
    /// The `expires_in` of the token answer; `None` leaves it out. A token lives an hour where it makes no sense.
    pub access_lifetime: Option<Value>,
    /// When ID tokens are sent.
    pub id_token: IdToken,
    /// Lifetime of an ID token in seconds; if it is negative, the token is already expired.
    pub id_token_lifetime: i64,
    /// An object whose members replace those of each ID token; `null` removes one.
    pub claims: Value,
    /// No refresh token unless `offline_access` was granted.
    pub offline_access: bool,
    /// A new refresh token with every refresh; reuse of an old one ends the whole grant.
    pub rotation: bool,
    /// For how long the refresh token just replaced still works.
    pub refresh_grace: Duration,
    /// A refresh ends the access tokens handed out before.
    pub refresh_kills_access: bool,
    /// Advertise PKCE (S256) and hold clients to the challenge they sent.
    pub pkce: bool,
    /// Refuse requests without a challenge.
    pub pkce_required: bool,
    /// How long the token endpoint takes.
    pub delay: Duration,
    /// The status of OAuth errors; some servers say 200.
    pub error_status: u16,
    /// What revocation answers; anything but 200 revokes nothing.
    pub revoke_status: u16,
    /// Metadata after OpenID Connect Discovery, at the end of the issuer's path.
    pub oidc_discovery: bool,
    /// Metadata after RFC 8414, before the issuer's path.
    pub rfc8414_discovery: bool,
    /// Whether the metadata names the device endpoint.
    pub device_endpoint_in_metadata: bool,
    /// The issuer that the metadata claims, if not the real one.
    pub issuer_override: Option<String>,
    /// Whether the metadata names the authorization endpoint.
    pub authorize_in_metadata: bool,
    /// Whether the metadata lists `form_post`.
    pub form_post: bool,
    /// Whether an answer that is requested with `form_post` is posted.
    pub posts: bool,
    /// Whether authorization answers name the issuer, and the metadata says so (RFC 9207).
    pub names_issuer: bool,
    /// The only redirect URIs, with `*` for any port; empty means every loopback address.
    pub redirects: Vec<String>,
    /// How scopes are written in token answers.
    pub scope_format: ScopeFormat,
    /// Tenants: the name in the path, and the id. With any, the first component of every path is one; tokens are for the
    /// one resource that the scopes name (`RESOURCE/.default`), and an account has another subject in each tenant.
    pub tenants: Vec<(String, String)>,
    /// The `refresh_in` of the token answer; `None` leaves it out.
    pub refresh_in: Option<Value>,
    /// More paths for endpoints, such as `/login/device/code`; a `*` stands for one component.
    pub aliases: Vec<(String, Endpoint)>,
    /// By how many seconds its clock is ahead. What it signs is dated by this clock.
    pub clock: i64,
    /// Every answer has a `Date` header.
    pub date: bool,
    /// A last change to every JSON answer. To replace a whole answer, use a script.
    pub edit: Option<Edit>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: false,
            certificate: Certificate::Good,
            tls_host: "localhost",
            path: String::new(),
            clients: vec![Client::public(CLIENT_ID)],
            scopes: None,
            refresh_any_scope: false,
            interval: Some(json!(1)),
            expires_in: Some(json!(600)),
            complete_uri: false,
            access_token: AccessToken::Opaque,
            access_lifetime: Some(json!(3600)),
            id_token: IdToken::Always,
            id_token_lifetime: 3600,
            claims: json!({}),
            offline_access: true,
            rotation: true,
            refresh_grace: Duration::ZERO,
            refresh_kills_access: false,
            pkce: true,
            pkce_required: false,
            delay: Duration::ZERO,
            error_status: 400,
            revoke_status: 200,
            oidc_discovery: true,
            rfc8414_discovery: false,
            device_endpoint_in_metadata: true,
            issuer_override: None,
            authorize_in_metadata: true,
            form_post: false,
            posts: true,
            names_issuer: false,
            redirects: Vec::new(),
            scope_format: ScopeFormat::Spaces,
            tenants: Vec::new(),
            refresh_in: None,
            aliases: Vec::new(),
            clock: 0,
            date: true,
            edit: None,
        }
    }
}

impl Options {
    /// Gitea and Forgejo: the client that every installation has for git, by browser alone.
    pub fn gitea() -> Self {
        Self {
            clients: vec![Client::public("a4792ccc-144e-407e-86c9-5e7d8d9c3269")],
            redirects: vec!["http://127.0.0.1:*".to_owned()],
            pkce_required: true,
            aliases: vec![
                ("/login/oauth/authorize".to_owned(), Endpoint::Authorize),
                ("/login/oauth/access_token".to_owned(), Endpoint::Token),
            ],
            oidc_discovery: false,
            offline_access: false,
            ..Self::default()
        }
    }

    /// Google with a client for desktop programs, `keyfob`, with the secret `s3cret-value`. Its metadata lists
    /// `form_post`, but the client is answered in the address anyway.
    pub fn google() -> Self {
        Self {
            clients: vec![Client::basic("keyfob", "s3cret-value")],
            offline_access: false,
            form_post: true,
            posts: false,
            ..Self::default()
        }
    }
}
