//! The OAuth wire: RFC 6749, 7009, 7636, 8414, 8628 and OpenID Connect, as far as a device-flow client needs them.
//!
//! `http` moves bytes, `json` takes apart what they hold, `answer` says what it means; `discovery` and `id_token` read two
//! special documents. This file puts requests together: a [`Client`] is one profile at one server.

pub mod answer;
pub mod discovery;
pub mod http;
pub mod id_token;
pub mod json;

use crate::address::Address;
use crate::clock::{Skew, Timestamp, boottime};
use crate::config::{AuthMethod, Profile};
use crate::failure::{Exit, Failure};
use crate::providers::owner;
use crate::secret::Secret;
use crate::session::{Account, Metadata, Pending};
use answer::{Answer, DeviceCode, OauthError};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use http::{Http, unreachable};
use ring::digest::{SHA256, digest};
use std::cell::Cell;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a server's metadata is believed, in seconds.
const METADATA_LIFE: u64 = 24 * 3600;

/// RFC 8628, section 3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// One profile's client at its server.
pub struct Client<'p> {
    profile: &'p Profile,
    http: Http,
    secret: Option<Secret>,
    auth: AuthMethod,
    device_authorization: Option<Address>,
    token: Address,
    revocation: Option<Address>,
    s256: bool,
    offline_access: bool,
    skew: Cell<Skew>,
}

impl<'p> Client<'p> {
    /// Finds the endpoints: given by hand, by the provider's row, or by discovery, which has `limit` for all its requests.
    /// `known` is what an earlier discovery found; the second value is what was found now and is worth keeping.
    pub fn new(profile: &'p Profile, known: Option<&Metadata>, limit: Duration) -> Result<(Self, Option<Metadata>)> {
        let mut http = Http::new(profile.ca_file.as_ref())?;
        let by_hand = &profile.endpoints;
        let complete = by_hand.device_authorization.is_some() && by_hand.token.is_some();
        let now = Timestamp::now();
        let mut found = None;
        let fresh = known.filter(|m| m.fetched_at <= now && now.since(m.fetched_at) < METADATA_LIFE);
        if let (None, Some(issuer), false) = (fresh, &profile.issuer, complete) {
            crate::log::debug(|| format!("discovering {issuer}"));
            http.until(boottime() + limit);
            found = Some(discovery::discover(&http, issuer)?);
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
        let client = Self {
            device_authorization: published(&by_hand.device_authorization, |m| {
                m.device_authorization_endpoint.as_ref()
            }),
            revocation: published(&by_hand.revocation, |m| m.revocation_endpoint.as_ref()),
            token,
            secret: profile.client_secret()?,
            auth: profile.auth_method.or(metadata.map(|m| m.auth_method)).unwrap_or(AuthMethod::ClientSecretBasic),
            s256: metadata.is_some_and(|m| m.s256),
            offline_access: metadata.is_none_or(|m| m.offline_access),
            skew: Cell::default(),
            http,
            profile,
        };
        client.check_origins()?;
        Ok((client, found))
    }

    /// Fails where the endpoints are not all one provider's: a code, or a refresh token, that one gave would go to another.
    /// Origins may differ within a provider whose row says which hosts are its own, and where `config.toml` says so; and no
    /// other issuer may name those hosts.
    fn check_origins(&self) -> Result<(), Failure> {
        let endpoints = [
            ("the device authorization endpoint", self.device_authorization.as_ref()),
            ("the token endpoint", Some(&self.token)),
            ("the revocation endpoint", self.revocation.as_ref()),
        ];
        let endpoints = endpoints.into_iter().filter_map(|(what, address)| Some((what, address?)));
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
            let hint = "if both are the provider's, name them in config.toml: `device-authorization-endpoint`, \
                        `token-endpoint`, `revocation-endpoint`";
            return Err(Failure::new(Exit::Failed, text).hint(hint));
        }
        Ok(())
    }

    /// Gives each request from now on this much time at most.
    pub fn limit(&mut self, limit: Duration) {
        self.http.limit(limit);
    }

    /// Has all requests from now on end by then, on the steady clock.
    pub fn until(&mut self, until: Duration) {
        self.http.until(until);
    }

    /// Where tokens come from; for messages.
    pub fn token_endpoint(&self) -> &str {
        self.token.as_str()
    }

    /// How the server's clock differed from this machine's when it last answered.
    pub fn skew(&self) -> Skew {
        self.skew.get()
    }

    /// The scopes a sign-in asks for: those of the profile, less an `offline_access` that was only a default and that
    /// the server does not know.
    pub fn askable(&self, scopes: &[String]) -> Vec<String> {
        let keep = |s: &&String| self.offline_access || *s != "offline_access" || self.profile.asks_for(s);
        scopes.iter().filter(keep).cloned().collect()
    }

    /// Where a sign-in starts (RFC 8628, section 3.1); fails where the server has no such place.
    pub fn device_endpoint(&self) -> Result<&Address, Failure> {
        self.device_authorization.as_ref().ok_or_else(|| {
            let what =
                format!("{} publishes no device authorization endpoint (RFC 8628)", self.profile.session.authority);
            Failure::new(Exit::Failed, what).hint(
                "enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it has one it does not publish",
            )
        })
    }

    /// RFC 8628, section 3.1: asks for a code. The second value is the PKCE verifier, where the server takes one (R46).
    pub fn device_authorization(&self, scopes: &[String]) -> Result<(DeviceCode, Option<Secret>), Failure> {
        let endpoint = self.device_endpoint()?;
        let mut form = self.form();
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        for (name, value) in self.targets().chain(self.profile.extra.iter().map(|(n, v)| (n.as_str(), v.as_str()))) {
            form.append_pair(name, value);
        }
        let verifier = self.s256.then(code_verifier).transpose()?;
        if let Some(verifier) = &verifier {
            let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
            form.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
        }
        let answer = self.post(endpoint, form).map_err(|why| unreachable(endpoint.as_str(), &why))?;
        match answer {
            Answer::Object(object) => {
                let code = DeviceCode::read(&object)
                    .map_err(|why| Failure::new(Exit::Failed, format!("{endpoint}: {why}")))?;
                Ok((code, verifier))
            }
            Answer::Error(error) => Err(self.refused(&error, "the provider refused to start a sign-in")),
            Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => {
                Err(unreachable(endpoint.as_str(), &why))
            }
        }
    }

    /// RFC 8628, section 3.4: asks once whether the person is done. `Err` is a transport failure.
    pub fn poll(&self, pending: &Pending) -> Result<Answer, String> {
        let mut form = self.form();
        let device = pending.device();
        form.append_pair("grant_type", DEVICE_GRANT).append_pair("device_code", device.device_code.expose());
        if let Some(verifier) = &device.code_verifier {
            form.append_pair("code_verifier", verifier.expose());
        }
        // That of the profile it was begun for.
        if let Some(resource) = &pending.key.resource {
            form.append_pair("resource", resource);
        }
        self.post(&self.token, form)
    }

    /// RFC 6749, section 6. `scopes` only where they differ from what the token was granted for; `claims` as JSON. `Err`
    /// is a transport failure.
    pub fn refresh(
        &self,
        refresh_token: &Secret,
        scopes: Option<&[String]>,
        claims: Option<&str>,
    ) -> Result<Answer, String> {
        let mut form = self.form();
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh_token.expose());
        if let Some(scopes) = scopes {
            form.append_pair("scope", &scopes.join(" "));
        }
        for (name, value) in self.targets().chain(claims.map(|claims| ("claims", claims))) {
            form.append_pair(name, value);
        }
        self.post(&self.token, form)
    }

    /// RFC 7009: `hint` is `refresh_token` or `access_token`. The error says why the server would not.
    pub fn revoke(&self, token: &Secret, hint: &str) -> Result<(), String> {
        let endpoint = self.revocation.as_ref().ok_or("the provider publishes no revocation endpoint")?;
        let mut form = self.form();
        form.append_pair("token", token.expose()).append_pair("token_type_hint", hint);
        let body = Zeroizing::new(form.finish());
        let reply = self.http.post(endpoint.as_str(), &body, self.authorization().as_deref().map(String::as_str))?;
        match Answer::hiding(&reply, &self.secrets(&body)) {
            // The body of a success means nothing (section 2.2), and most are empty.
            _ if reply.status == 200 || reply.status == 204 => Ok(()),
            Answer::Error(error) => Err(error.text()),
            Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => Err(why),
            Answer::Object(_) => Err(format!("it answered with status {}", reply.status)),
        }
    }

    /// The account, by the provider's user endpoint, for providers without ID tokens; `None` if there is no such endpoint.
    /// Fails with exit 5 if it does not say.
    pub fn account(&self, access_token: &Secret) -> Result<Option<Account>, Failure> {
        let Some((url, member)) = &self.profile.account_source else { return Ok(None) };
        let header = Zeroizing::new(format!("Bearer {}", access_token.expose()));
        let failed = |why: &str| Failure::new(Exit::Unreachable, format!("could not ask {url} who signed in: {why}"));
        let reply = self.http.get(url.as_str(), Some(&header)).map_err(|why| failed(&why))?;
        match Answer::hiding(&reply, std::slice::from_ref(access_token)) {
            Answer::Object(user) => {
                let name = user.text(member).map(|name| crate::text::clean(&name));
                let name = name.filter(|name| !name.is_empty()).ok_or_else(|| failed("its answer names no account"))?;
                Ok(Some(Account { name, ..Account::default() }))
            }
            Answer::Error(error) => Err(failed(&error.text())),
            Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => Err(failed(&why)),
        }
    }

    /// The failure of a request that is wrong in itself (a client or a scope that the server does not know, …), with a hint
    /// at what mends it (R41). The session is not to blame, and is kept.
    pub fn refused(&self, error: &OauthError, what: &str) -> Failure {
        let failure = Failure::new(Exit::Failed, format!("{what}: {}", error.text()));
        let client = &self.profile.session.client_id;
        if let Some(advice) = self.profile.preset.advice(&error.numbers, &error.description) {
            return failure.hint(advice);
        }
        match error.code.as_str() {
            "invalid_client" | "http_401" if self.secret.is_some() => {
                failure.hint(format!("check the client id {client:?} and its secret"))
            }
            "invalid_client" | "http_401" => {
                failure.hint(format!("check the client id {client:?}; if it has a secret, set `client-secret-file`"))
            }
            "unauthorized_client" | "unsupported_grant_type" | "device_flow_disabled" => {
                failure.hint(format!("allow the client {client:?} the device authorization grant at the provider"))
            }
            "invalid_scope" => failure.hint(format!("check `scopes` ({})", self.profile.scopes.join(" "))),
            "invalid_target" => failure.hint("check `resource` and `audience`"),
            _ => failure,
        }
    }

    /// `audience` and `resource`, as far as the profile has them (R5).
    fn targets(&self) -> impl Iterator<Item = (&'p str, &'p str)> {
        let profile = self.profile;
        let audience = profile.audience.as_deref().map(|a| ("audience", a));
        audience.into_iter().chain(profile.resource.as_deref().map(|r| ("resource", r)))
    }

    /// A form with the client in it. The id goes into the body in any case, since some servers want it there besides
    /// the header (R2); the secret goes to one place only.
    fn form(&self) -> Serializer<'static, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("client_id", &self.profile.session.client_id);
        if let (Some(secret), AuthMethod::ClientSecretPost) = (&self.secret, self.auth) {
            form.append_pair("client_secret", secret.expose());
        }
        form
    }

    /// RFC 6749, section 2.3.1: id and secret are form-encoded before they are joined.
    fn authorization(&self) -> Option<Zeroizing<String>> {
        let (Some(secret), AuthMethod::ClientSecretBasic) = (&self.secret, self.auth) else { return None };
        let (id, secret) = (form_encoded(&self.profile.session.client_id), form_encoded(secret.expose()));
        let pair = Zeroizing::new(format!("{id}:{secret}"));
        Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
    }

    fn post(&self, endpoint: &Address, mut form: Serializer<'static, String>) -> Result<Answer, String> {
        let body = Zeroizing::new(form.finish());
        crate::log::debug(|| format!("POST {endpoint}"));
        let reply = self.http.post(endpoint.as_str(), &body, self.authorization().as_deref().map(String::as_str))?;
        crate::log::debug(|| format!("{endpoint} answered with status {}", reply.status));
        if let Some(seconds) = reply.skew.seconds().filter(|s| *s != 0) {
            crate::log::debug(|| format!("its clock is {seconds} s ahead of this machine's"));
        }
        self.skew.set(reply.skew);
        Ok(Answer::hiding(&reply, &self.secrets(&body)))
    }

    /// The secrets in a request with this form: those of the body and that of the client, in clear and as they are sent.
    fn secrets(&self, body: &str) -> Vec<Secret> {
        const NAMES: [&str; 4] = ["device_code", "code_verifier", "refresh_token", "token"];
        let pairs = form_urlencoded::parse(body.as_bytes());
        let sent =
            pairs.filter(|(name, _)| NAMES.contains(&&**name)).map(|(_, value)| Secret::from(value.into_owned()));
        let mut secrets: Vec<Secret> = sent.chain(self.secret.clone()).collect();
        let encoded = |secret: &Secret| Secret::from(form_encoded(secret.expose()));
        secrets.extend(secrets.iter().map(encoded).collect::<Vec<_>>());
        let header = self.authorization().and_then(|header| header.strip_prefix("Basic ").map(str::to_owned));
        secrets.extend(header.map(Secret::from));
        secrets
    }
}

fn form_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// RFC 7636, section 4.1: 32 random octets.
fn code_verifier() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random bytes: {e}")))?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(*bytes)))
}
