//! The OAuth wire protocol: RFC 6749, 7009, 7636, 8414, 8628, 9207 and OpenID Connect, as far as a client on a person's
//! machine needs them.
//!
//! `http` sends and receives bytes, `json` parses objects, `answer` interprets replies. `discovery` and `id_token` read
//! two special documents. `request` posts a form. A [`Client`] stands for one profile at one server, and knows which
//! requests there are.

pub mod answer;
mod assertion;
mod connect;
pub mod discovery;
pub mod http;
pub mod id_token;
pub mod json;
mod lookup;
pub mod proxy;
mod request;
mod tls;

pub use request::Request;

use crate::address::Address;
use crate::clock::{Skew, Timestamp, boottime};
use crate::config::{AuthMethod, Flow, Profile};
use crate::failure::{Exit, Failure};
use crate::providers::{Flows, known_by_error, owner};
use crate::secret::Secret;
use crate::session::Metadata;
use answer::{Answer, DeviceCode, OauthError};
use anyhow::Result;
use assertion::Key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Http, unreachable};
use ring::digest::{SHA256, digest};
use std::cell::Cell;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a server's metadata is used before it is fetched again, in seconds.
const METADATA_LIFE: u64 = 24 * 3600;

/// The grant type of the device code flow (RFC 8628, section 3.4).
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The OAuth client of one profile at its server.
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Client<'p> {
    profile: &'p Profile,
    http: Http,
    secret: Option<Secret>,
    auth: AuthMethod,
    authorization: Option<Address>,
    key: Option<Key>,
    device_authorization: Option<Address>,
    token: Address,
    revocation: Option<Address>,
    s256: bool,
    form_post: bool,
    names_issuer: bool,
    offline_access: bool,
    skew: Cell<Skew>,
    sent: Cell<Option<Timestamp>>,
}

/// A digest of what the profile's client authenticates with: its secret, or the contents of its key file. `None` for a
/// public client. It is kept with a token, so it must not lead back to a credential that outlives the token.
pub fn credential(profile: &Profile) -> Result<Option<String>> {
    let digest = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes));
    Ok(match &profile.client_key {
        Some(key) => Some(digest(&assertion::contents(&key.file, "client key")?)),
        None => profile.client_secret()?.map(|secret| digest(secret.expose().as_bytes())),
    })
}

impl<'p> Client<'p> {
    /// Finds the endpoints: from the profile, from the provider's row, or by discovery, whose requests together take at
    /// most `limit`. `known` is the metadata from an earlier discovery. The second value is newly discovered metadata,
    /// which is worth keeping.
    pub fn new(profile: &'p Profile, known: Option<&Metadata>, limit: Duration) -> Result<(Self, Option<Metadata>)> {
        let mut http = Http::new(profile.ca_file.as_ref())?;
        let by_hand = &profile.endpoints;
        let authorization = profile.authorization_endpoint();
        let begins = match profile.flow {
            _ if profile.machine.is_some() => &by_hand.token,
            Flow::Browser => &authorization,
            _ if profile.preset.flows == Flows::Browser => &authorization,
            _ => &by_hand.device_authorization,
        };
        let complete = begins.is_some() && by_hand.token.is_some();
        let now = Timestamp::now();
        let mut found = None;
        let fresh = known.filter(|m| m.fetched_at <= now && now.since(m.fetched_at) < METADATA_LIFE);
        if let (None, Some(issuer), false) = (fresh, &profile.issuer, complete) {
            crate::log::debug(|| format!("discovering {issuer}"));
            http.until(boottime() + limit);
            found = Some(discovery::discover(&http, issuer, profile.metadata.as_ref())?);
            http.until(Duration::MAX);
        }
        let metadata = fresh.or(found.as_ref());
        let published = |by_hand: &Option<Address>, text: fn(&Metadata) -> Option<&String>| {
            by_hand.clone().or_else(|| Address::parse(metadata.and_then(text)?).ok())
        };
        let token = published(&by_hand.token, |m| m.token_endpoint.as_ref()).ok_or_else(|| {
            Failure::new(Exit::Failed, format!("{} publishes no token endpoint", profile.session.authority))
                .hint("set `token-endpoint`")
        })?;
        let body = profile.preset.secret_in_body;
        let usual = if body { AuthMethod::ClientSecretPost } else { AuthMethod::ClientSecretBasic };
        let client = Self {
            authorization: published(&authorization, |m| m.authorization_endpoint.as_ref()),
            device_authorization: published(&by_hand.device_authorization, |m| {
                m.device_authorization_endpoint.as_ref()
            }),
            revocation: published(&by_hand.revocation, |m| m.revocation_endpoint.as_ref()),
            token,
            secret: profile.client_secret()?,
            key: profile.client_key.as_ref().map(Key::read).transpose()?,
            auth: profile.auth_method.or(metadata.map(|m| m.auth_method)).unwrap_or(usual),
            s256: metadata.is_some_and(|m| m.s256),
            form_post: profile.preset.form_post.unwrap_or_else(|| metadata.is_some_and(|m| m.form_post)),
            names_issuer: metadata.is_some_and(|m| m.names_issuer),
            offline_access: metadata.is_none_or(|m| m.offline_access),
            skew: Cell::default(),
            sent: Cell::default(),
            http,
            profile,
        };
        client.check_origins(&[
            ("the device authorization endpoint", client.device_authorization.as_ref()),
            ("the token endpoint", Some(&client.token)),
            ("the revocation endpoint", client.revocation.as_ref()),
        ])?;
        Ok((client, found))
    }

    /// Fails if the endpoints have different origins, because a code or refresh token from one would be sent to
    /// another. Different origins are allowed for hosts that the provider's row lists, and if `config.toml` sets the
    /// endpoints. No other issuer may use a host that a row lists.
    fn check_origins(&self, endpoints: &[(&str, Option<&Address>)]) -> Result<(), Failure> {
        let endpoints = endpoints.iter().filter_map(|(what, address)| Some((*what, (*address)?)));
        if self.profile.endpoints_chosen {
            return Ok(());
        }
        let authority = &self.profile.session.authority;
        let home = Address::parse(authority).ok().and_then(|home| owner(&home.host()));
        let row = home.unwrap_or(self.profile.preset);
        for (_, address) in endpoints.clone() {
            let host = address.host();
            if let Some(other) = owner(&host).filter(|owner| owner.name != row.name) {
                let what = format!("{authority} names {host}, which is {}'s", other.title);
                let hint = format!("for {} set `provider = \"{}\"`", other.title, other.name);
                return Err(Failure::new(Exit::Failed, what).hint(hint));
            }
        }
        let token = self.token.origin();
        let own = endpoints.clone().all(|(_, address)| row.hosts.contains(&&*address.host()));
        let mut origins = endpoints.map(|(what, address)| (what, address.origin()));
        if let Some((what, other)) = origins.find(|(_, origin)| !own && *origin != token) {
            let text = format!(
                "the endpoints of {authority} are at different origins: {what} at {other}, the token endpoint at {token}"
            );
            let hint = "if both are the provider's, name them in config.toml: `authorization-endpoint`, \
                        `device-authorization-endpoint`, `token-endpoint`, `revocation-endpoint`";
            return Err(Failure::new(Exit::Failed, text).hint(hint));
        }
        Ok(())
    }

    /// Sets the time limit of each request from now on.
    pub fn limit(&mut self, limit: Duration) {
        self.http.limit(limit);
    }

    /// Makes all requests from now on end by `until`, as time since boot.
    pub fn until(&mut self, until: Duration) {
        self.http.until(until);
    }

    /// The token endpoint's address, for messages.
    pub fn token_endpoint(&self) -> &str {
        self.token.as_str()
    }

    /// The difference between the server's clock and this machine's at the last answer.
    pub fn skew(&self) -> Skew {
        self.skew.get()
    }

    /// When the last request was sent; the tokens it brought have been valid since then.
    pub fn sent(&self) -> Timestamp {
        self.sent.get().unwrap_or_else(Timestamp::now)
    }

    /// The scopes that a sign-in asks for: `scopes`, without an `offline_access` that is only a default and that the
    /// server does not support.
    pub fn askable(&self, scopes: &[String]) -> Vec<String> {
        let keep = |s: &&String| self.offline_access || *s != "offline_access" || self.profile.asks_for(s);
        scopes.iter().filter(keep).cloned().collect()
    }

    /// The authorization endpoint (RFC 6749, section 3.1). Fails if the server has none, if its origin is not the token
    /// endpoint's, or if the provider requires a client secret that the profile lacks.
    pub fn authorization_endpoint(&self) -> Result<&Address, Failure> {
        let authority = &self.profile.session.authority;
        let Some(endpoint) = &self.authorization else {
            let what = format!("{authority} publishes no authorization endpoint (RFC 6749)");
            return Err(Failure::new(Exit::Failed, what).hint(
                "set `authorization-endpoint` if it has one it does not publish, or sign in by device code: `flow = \"device\"`",
            ));
        };
        if self.profile.preset.flows == Flows::DeviceFirst && self.secret.is_none() {
            let what = format!("{} wants a client secret for a sign-in by browser", self.profile.preset.title);
            return Err(Failure::usage(what).hint("set `client-secret-file`, or sign in by device code"));
        }
        self.check_origins(&[
            ("the authorization endpoint", Some(endpoint)),
            ("the token endpoint", Some(&self.token)),
        ])?;
        Ok(endpoint)
    }

    /// Whether the authorization response is a form that the browser posts.
    pub fn posts_answers(&self) -> bool {
        self.form_post
    }

    /// Whether the authorization response must name the issuer, and the issuer's name, if it is known (RFC 9207).
    pub fn issuer(&self) -> (bool, Option<&str>) {
        (self.names_issuer, self.profile.issuer.as_ref().map(Address::as_str))
    }

    /// The URL of an authorization request (RFC 6749, section 4.1.1; RFC 7636, section 4.3), with `parameters`, the
    /// client's and the profile's.
    pub fn authorization_request(&self, parameters: &[(&str, &str)], verifier: &Secret) -> Result<String, Failure> {
        let endpoint = self.authorization_endpoint()?.as_str();
        let Profile { preset, audience, resource, extra, .. } = self.profile;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("response_type", "code").append_pair("client_id", self.id());
        query.extend_pairs(parameters);
        query.append_pair("code_challenge", &code_challenge(verifier)).append_pair("code_challenge_method", "S256");
        let hint = self.profile.login_hint();
        let optional = [("audience", audience.as_deref()), ("resource", resource.as_deref()), ("login_hint", hint)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let others = optional.chain(preset.authorization_parameters.iter().copied());
        query.extend_pairs(others.filter(|(name, _)| !extra.iter().any(|(known, _)| known == name)));
        query.extend_pairs(extra);
        Ok(format!("{endpoint}{}{}", if endpoint.contains('?') { '&' } else { '?' }, query.finish()))
    }

    /// Exchanges a code, which is then spent, for tokens (RFC 6749, section 4.1.3). `Err` is a transport failure.
    pub fn exchange(&self, code: &Secret, redirect: &str, verifier: &Secret) -> Result<Answer, String> {
        self.request(&self.token)
            .with("grant_type", "authorization_code")
            .with_secret("code", code)
            .with("redirect_uri", redirect)
            .with_secret("code_verifier", verifier)
            .with("resource", self.profile.resource.as_deref())
            .send()
    }

    /// The device authorization endpoint (RFC 8628, section 3.1). Fails if the server has none.
    pub fn device_endpoint(&self) -> Result<&Address, Failure> {
        self.device_authorization.as_ref().ok_or_else(|| {
            let authority = &self.profile.session.authority;
            let what = format!("{authority} publishes no device authorization endpoint (RFC 8628)");
            let grant = "enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it has one it does not publish";
            let browser = self.authorization.as_ref().map(|_| "sign in by browser, as `keyfob login` does; or ");
            Failure::new(Exit::Failed, what).hint(format!("{}{grant}", browser.unwrap_or_default()))
        })
    }

    /// A request to an endpoint, with the client's id and authentication.
    pub fn request<'c>(&'c self, endpoint: &'c Address) -> Request<'c> {
        Request::new(self, endpoint)
    }

    /// A request to the token endpoint with these scopes, and the profile's `audience`, `resource` and `extra`
    /// parameters.
    pub fn token_request(&self, grant_type: &str, scopes: &[String]) -> Request<'_> {
        let scopes = Some(scopes.join(" ")).filter(|scopes| !scopes.is_empty());
        let request = self.request(&self.token).with("grant_type", grant_type).with("scope", scopes.as_deref());
        let extra = self.profile.extra.iter();
        extra.fold(self.for_target(request), |request, (name, value)| request.with(name, value.as_str()))
    }

    /// The audience of a client assertion (RFC 7523, section 3). It is taken from the profile or the provider's row,
    /// never from metadata; otherwise a server could obtain an assertion that is valid at another server.
    fn assertion_audience(&self) -> &str {
        let endpoint = self.profile.endpoints.token.as_ref().or(self.profile.issuer.as_ref());
        endpoint.map_or(self.token_endpoint(), Address::as_str)
    }

    /// Requests a device code (RFC 8628, section 3.1). The second value is the PKCE verifier, if the server supports
    /// PKCE (R46).
    pub fn device_authorization(&self, scopes: &[String]) -> Result<(DeviceCode, Option<Secret>), NotStarted> {
        let endpoint = self.device_endpoint()?;
        let verifier = self.s256.then(random::<32>).transpose()?;
        let challenge = verifier.as_ref().map(code_challenge);
        let scopes = Some(scopes.join(" ")).filter(|scopes| !scopes.is_empty());
        let request = self.request(endpoint).with("scope", scopes.as_deref());
        let extra = self.profile.extra.iter();
        let request = extra.fold(self.for_target(request), |request, (name, value)| request.with(name, value.as_str()));
        let request = request
            .with("code_challenge", challenge.as_deref())
            .with("code_challenge_method", challenge.is_some().then_some("S256"));
        match request.send().map_err(|why| unreachable(endpoint.as_str(), &why))? {
            Answer::Object(members) => {
                let code = DeviceCode::read(&members);
                Ok((code.map_err(|why| Failure::new(Exit::Failed, format!("{endpoint}: {why}")))?, verifier))
            }
            Answer::Error(error) if self.forbids_device_flow(&error) => Err(NotStarted::Forbidden(error)),
            Answer::Error(error) => Err(self.refused(&error, "the provider refused to start a sign-in").into()),
            Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => {
                Err(unreachable(endpoint.as_str(), &why).into())
            }
        }
    }

    /// Whether an error says that a policy forbids the device code flow, or the use of sessions that began by it.
    pub fn forbids_device_flow(&self, error: &OauthError) -> bool {
        self.profile.preset.refuses_device(&error.numbers, &error.description)
    }

    /// Polls once for the tokens of a device code (RFC 8628, section 3.4). `resource` is that of the profile that began
    /// the sign-in. `Err` is a transport failure.
    pub fn poll(
        &self,
        device_code: &Secret,
        code_verifier: Option<&Secret>,
        resource: Option<&str>,
    ) -> Result<Answer, String> {
        self.request(&self.token)
            .with("grant_type", DEVICE_GRANT)
            .with_secret("device_code", device_code)
            .with_secret("code_verifier", code_verifier)
            .with("resource", resource)
            .send()
    }

    /// Refreshes (RFC 6749, section 6). `scopes` are given only if they differ from the granted ones; `claims` is JSON.
    /// `Err` is a transport failure.
    pub fn refresh(
        &self,
        refresh_token: &Secret,
        scopes: Option<&[String]>,
        claims: Option<&str>,
    ) -> Result<Answer, String> {
        let scopes = scopes.map(|scopes| scopes.join(" "));
        let request = self
            .request(&self.token)
            .with("grant_type", "refresh_token")
            .with_secret("refresh_token", refresh_token)
            .with("scope", scopes.as_deref());
        self.for_target(request).with("claims", claims).send()
    }

    /// Revokes a token (RFC 7009). `hint` is `refresh_token` or `access_token`. The error is the server's reason.
    pub fn revoke(&self, token: &Secret, hint: &str) -> Result<(), String> {
        let endpoint = self.revocation.as_ref().ok_or("the provider publishes no revocation endpoint")?;
        match self.request(endpoint).with_secret("token", token).with("token_type_hint", hint).exchange()? {
            // The body of a success has no meaning (RFC 7009, section 2.2), and is usually empty.
            (200 | 204, _) => Ok(()),
            (_, Answer::Error(error)) => Err(error.text()),
            (_, Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why)) => Err(why),
            (status, Answer::Object(_)) => Err(format!("it answered with status {status}")),
        }
    }

    /// The account's name from the provider's user endpoint, for providers without ID tokens; `None` if there is no
    /// such endpoint. Fails with exit code 1 if the endpoint rejects the token (RFC 6750, section 3.1), and 5 if it
    /// gives no name.
    pub fn account_name(&self, access_token: &Secret) -> Result<Option<String>, Failure> {
        let Some((url, member)) = &self.profile.account_source else { return Ok(None) };
        let header = Zeroizing::new(format!("Bearer {}", access_token.expose()));
        let could_not = |exit, why: &str| Failure::new(exit, format!("could not ask {url} who signed in: {why}"));
        let reply = self.http.get(url.as_str(), Some(&header));
        let reply = reply.map_err(|why| could_not(Exit::Unreachable, &why))?;
        let exit = if reply.status == 401 { Exit::Failed } else { Exit::Unreachable };
        let failed = |why: &str| could_not(exit, why);
        match Answer::hiding(&reply, std::slice::from_ref(access_token)) {
            Answer::Object(user) => {
                let name = user.text(member).map(|name| crate::text::clean(&name)).filter(|name| !name.is_empty());
                name.map(Some).ok_or_else(|| failed("its answer names no account"))
            }
            Answer::Error(error) => Err(failed(&error.text())),
            Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => Err(failed(&why)),
        }
    }

    /// The failure of a request that the server refused as such (an unknown client or scope, …), with a hint at what to
    /// change (R41). The session is kept, because it is not the cause.
    pub fn refused(&self, error: &OauthError, what: &str) -> Failure {
        let failure = Failure::new(Exit::Failed, format!("{what}: {}", error.text()));
        let client = self.id();
        let machine = self.profile.machine.is_some();
        if let Some(advice) = self.profile.preset.advice(&error.numbers, &error.description) {
            return failure.hint(advice);
        }
        if let Some(row) = known_by_error(&error.numbers, &error.description) {
            // The advice for these numbers refers to settings that only that row has, so name the row instead.
            return failure.hint(format!("for {} set `provider = \"{}\"` in place of `issuer`", row.title, row.name));
        }
        match error.code.as_str() {
            "invalid_client" | "http_401" if self.key.is_some() => {
                failure.hint(format!("check the client id {client:?} and its key, which the provider has to know"))
            }
            "invalid_client" | "http_401" if self.secret.is_some() => {
                failure.hint(format!("check the client id {client:?} and its secret"))
            }
            "invalid_client" | "http_401" => {
                failure.hint(format!("check the client id {client:?}; if it has a secret, set `client-secret-file`"))
            }
            "unauthorized_client" | "unsupported_grant_type" if machine => {
                failure.hint(format!("allow the client {client:?} this grant at the provider"))
            }
            "unauthorized_client" | "unsupported_grant_type" | "device_flow_disabled" => {
                failure.hint(format!("allow the client {client:?} the device authorization grant at the provider"))
            }
            "invalid_scope" => failure.hint(format!("check `scopes` ({})", self.profile.scopes.join(" "))),
            "invalid_target" => failure.hint("check `resource` and `audience`"),
            _ => failure,
        }
    }

    /// Adds the profile's `audience` and `resource`, if it has them (R5).
    fn for_target<'c>(&self, request: Request<'c>) -> Request<'c> {
        let profile = self.profile;
        request.with("audience", profile.audience.as_deref()).with("resource", profile.resource.as_deref())
    }

    fn id(&self) -> &str {
        &self.profile.session.client_id
    }
}

/// Why a sign-in by device code did not start.
#[derive(Debug)]
pub enum NotStarted {
    /// A policy of the provider forbids it.
    Forbidden(OauthError),
    /// Any other failure.
    Failed(Failure),
}

impl From<Failure> for NotStarted {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A random text that cannot be guessed: `OCTETS` random bytes in base64url. 32 bytes make a PKCE verifier (RFC 7636,
/// section 4.1).
pub fn random<const OCTETS: usize>() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; OCTETS]);
    getrandom::fill(&mut *bytes)
        .map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random bytes: {e}")))?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// The S256 code challenge of a verifier (RFC 7636, section 4.2).
fn code_challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()))
}
