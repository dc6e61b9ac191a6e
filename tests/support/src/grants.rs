//! Codes, grants and tokens: RFC 6749, 7009, 7636 and 8628 apart from HTTP.
//!
//! Strict where the standards leave a choice, because a client that passes here should pass everywhere: a poll
//! before its time, a poll after success and a refresh token used twice are all counted, and have consequences.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::form;
use crate::jwt::{Signer, random_bytes, random_secret};
use crate::options::{AccessToken, Client, ClientAuth, IdToken, Options, ScopeFormat};

pub(crate) type Form = [(String, String)];

/// An OAuth error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

fn refuse<T>(error: &'static str, description: &'static str) -> Result<T, Refusal> {
    Err(Refusal { error, description })
}

pub(crate) type Outcome = Result<Value, Refusal>;

/// What happens to each new code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// Nothing: a test or a person decides.
    Ignore,
    /// It is approved at once.
    Approve,
    /// It is denied at once.
    Deny,
    /// It is approved once this many polls were told to wait.
    After(u32),
}

/// What a person or time does to a code.
#[derive(Clone, Copy)]
pub(crate) enum Decision {
    Approve,
    Deny,
    Expire,
}

enum Status {
    Pending,
    Approved { user: String },
    Denied,
    Expired,
    Spent { grant: usize },
}

#[expect(clippy::struct_field_names, reason = "the names are those of RFC 8628")]
struct Code {
    device_code: String,
    /// The path it was given out at, where paths name tenants.
    tenant: Option<String>,
    user_code: String,
    client: String,
    scope: Vec<String>,
    audience: Option<String>,
    challenge: Option<String>,
    deadline: Instant,
    interval: Duration,
    last_poll: Instant,
    waits: u32,
    status: Status,
    waited_for: bool,
}

/// An authorization code (RFC 6749, section 4.1.2).
struct Authorization {
    code: String,
    tenant: Option<String>,
    client: String,
    redirect: String,
    scope: Vec<String>,
    audience: Option<String>,
    challenge: String,
    nonce: Option<String>,
    user: String,
    used: Option<usize>,
}

/// What one approval allows; every token belongs to one.
struct Grant {
    client: String,
    user: String,
    scope: Vec<String>,
    audience: Option<String>,
    ended: bool,
}

struct Access {
    grant: usize,
    deadline: Instant,
    dead: bool,
}

struct Refresh {
    grant: usize,
    replaced: Option<Instant>,
    dead: bool,
}

/// Everything the provider has given out, and to whom.
pub(crate) struct Ledger {
    options: Options,
    issuer: String,
    /// The tenant that the request at hand names, and its id.
    tenant: Option<(String, String)>,
    /// The nonce of the authorization request at hand, for its ID token.
    nonce: Option<String>,
    pub(crate) signer: Signer,
    codes: Vec<Code>,
    authorizations: Vec<Authorization>,
    grants: Vec<Grant>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    pub(crate) issued: Vec<String>,
    pub(crate) user: String,
    pub(crate) auto: Auto,
    pub(crate) too_fast: usize,
    pub(crate) polls_after_success: usize,
    pub(crate) refresh_reuses: usize,
}

impl Ledger {
    pub(crate) fn new(options: Options, issuer: String) -> Self {
        Self {
            options,
            issuer,
            tenant: None,
            nonce: None,
            signer: Signer::new(),
            codes: Vec::new(),
            authorizations: Vec::new(),
            grants: Vec::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            issued: Vec::new(),
            user: "alice@example.com".into(),
            auto: Auto::Ignore,
            too_fast: 0,
            polls_after_success: 0,
            refresh_reuses: 0,
        }
    }

    /// Notes which tenant a request is for.
    pub(crate) fn enter(&mut self, path: &str) -> Result<(), Refusal> {
        self.tenant = None;
        if !self.options.tenants.is_empty() {
            let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            self.tenant = self.options.tenants.iter().find(|(known, _)| known == name).cloned();
            if self.tenant.is_none() {
                return refuse(
                    "invalid_request",
                    "AADSTS90002: Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
                );
            }
        }
        Ok(())
    }

    /// Which client asks. One method per request (RFC 6749 section 2.3), and the one it registered.
    pub(crate) fn client(&self, authorization: Option<&str>, form: &Form) -> Result<Client, Refusal> {
        let body_id = field(form, "client_id");
        let body_secret = field(form, "client_secret");
        let (id, secret, auth) = match authorization {
            Some(_) if body_secret.is_some() => {
                return refuse("invalid_request", "the client authenticates in two ways at once");
            }
            Some(header) => match form::basic(header) {
                Some((id, _)) if body_id.is_some_and(|other| other != id) => {
                    return refuse("invalid_request", "two different clients in one request");
                }
                Some((id, secret)) => (id, Some(secret), ClientAuth::Basic),
                None => return refuse("invalid_client", "the Authorization header is not Basic, or not form-encoded"),
            },
            None => {
                let auth = if body_secret.is_some() { ClientAuth::Post } else { ClientAuth::None };
                (body_id.unwrap_or_default().to_owned(), body_secret.map(str::to_owned), auth)
            }
        };
        match self.options.clients.iter().find(|client| client.id == id) {
            None => refuse("invalid_client", "no such client"),
            Some(client) if client.auth != auth => {
                refuse("invalid_client", "the client authenticates in another way than it registered")
            }
            Some(client) if client.secret != secret => refuse("invalid_client", "the client's secret is wrong"),
            Some(client) => Ok(client.clone()),
        }
    }

    /// The device endpoint: RFC 8628 section 3.2.
    pub(crate) fn device(&mut self, client: &Client, form: &Form) -> Outcome {
        let scope = self.scope(field(form, "scope").unwrap_or_default())?;
        let challenge = self.challenge(form)?;
        let now = Instant::now();
        let lifetime = self.options.expires_in.as_ref().and_then(seconds).unwrap_or(Duration::from_secs(900));
        let code = Code {
            device_code: random_secret("device-"),
            tenant: self.tenant.as_ref().map(|(name, _)| name.clone()),
            user_code: user_code(),
            client: client.id.clone(),
            scope,
            audience: audience(form),
            challenge,
            deadline: now + lifetime,
            interval: self.interval(),
            last_poll: now,
            waits: 0,
            status: match self.auto {
                Auto::Approve => Status::Approved { user: self.user.clone() },
                Auto::Deny => Status::Denied,
                Auto::Ignore | Auto::After(_) => Status::Pending,
            },
            waited_for: false,
        };

        let page = format!("{}/device", self.issuer);
        let mut answer = json!({
            "device_code": code.device_code,
            "user_code": code.user_code,
            "verification_uri": page,
        });
        if self.options.complete_uri {
            answer["verification_uri_complete"] = format!("{page}?user_code={}", code.user_code).into();
        }
        for (name, value) in [("expires_in", &self.options.expires_in), ("interval", &self.options.interval)] {
            if let Some(value) = value {
                answer[name] = value.clone();
            }
        }
        self.issued.push(code.device_code.clone());
        self.codes.push(code);
        Ok(answer)
    }

    /// The token endpoint.
    pub(crate) fn token(&mut self, client: &Client, form: &Form) -> Outcome {
        match field(form, "grant_type") {
            Some("urn:ietf:params:oauth:grant-type:device_code") => self.poll(client, form),
            Some("authorization_code") => self.exchange(client, form),
            Some("refresh_token") => self.refresh(client, form),
            Some(_) => refuse("unsupported_grant_type", "codes and refresh tokens only"),
            None => refuse("invalid_request", "grant_type is missing"),
        }
    }

    /// The authorization endpoint: where the browser is sent, and with what. The challenge is required (RFC 9700).
    pub(crate) fn authorize(&mut self, query: &Form) -> Result<(String, Vec<(String, String)>), Refusal> {
        let client = field(query, "client_id").unwrap_or_default().to_owned();
        if !self.options.clients.iter().any(|known| known.id == client) {
            return refuse("invalid_client", "no such client");
        }
        let redirect = field(query, "redirect_uri").unwrap_or_default().to_owned();
        if !self.knows_redirect(&redirect) {
            return refuse("invalid_request", "the redirect address is not registered");
        }
        let fields = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let wrong = |error, description| {
            Ok((redirect.clone(), fields(&[("error", error), ("error_description", description)])))
        };
        let scope = match self.scope(field(query, "scope").unwrap_or_default()) {
            Ok(scope) => scope,
            Err(refusal) => return wrong(refusal.error, refusal.description),
        };
        let Some(challenge) = field(query, "code_challenge") else {
            return wrong("invalid_request", "code_challenge is missing");
        };
        if field(query, "code_challenge_method") != Some("S256") {
            return wrong("invalid_request", "code_challenge_method has to be S256");
        }
        if field(query, "response_type") != Some("code") || field(query, "state").is_none() {
            return wrong("invalid_request", "not a request for a code, or without a state");
        }
        if self.auto == Auto::Deny {
            return wrong("access_denied", "the user said no");
        }
        let code = random_secret("code-");
        self.issued.push(code.clone());
        self.authorizations.push(Authorization {
            code: code.clone(),
            tenant: self.tenant.as_ref().map(|(name, _)| name.clone()),
            client,
            redirect: redirect.clone(),
            scope,
            audience: audience(query),
            challenge: challenge.to_owned(),
            nonce: field(query, "nonce").map(str::to_owned),
            user: self.user.clone(),
            used: None,
        });
        Ok((redirect, fields(&[("code", &code)])))
    }

    /// Whether a redirect address is a loopback one that is registered (RFC 8252, section 7.3).
    fn knows_redirect(&self, redirect: &str) -> bool {
        let split = |address: &str| {
            let rest = address.strip_prefix("http://")?;
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (host, port) = authority.rsplit_once(':')?;
            Some((host.to_owned(), port.to_owned(), path.to_owned()))
        };
        let Some((host, port, path)) = split(redirect) else { return false };
        if self.options.redirects.is_empty() {
            return ["127.0.0.1", "localhost"].contains(&host.as_str());
        }
        self.options
            .redirects
            .iter()
            .filter_map(|known| split(known))
            .any(|known| (known.0 == host && known.2 == path) && (known.1 == "*" || known.1 == port))
    }

    /// RFC 6749 section 4.1.3; a code that comes twice ends what it gave (section 4.1.2).
    fn exchange(&mut self, client: &Client, form: &Form) -> Outcome {
        let code = field(form, "code").unwrap_or_default();
        let tenant = self.tenant.as_ref().map(|(name, _)| name.as_str());
        let found = self.authorizations.iter_mut().find(|known| known.code == code && known.client == client.id);
        let Some(known) = found else { return refuse("invalid_grant", "no such code") };
        if let Some(grant) = known.used {
            self.grants[grant].ended = true;
            return refuse("invalid_grant", "the code was used before; what it gave is revoked");
        }
        let verifier = field(form, "code_verifier").unwrap_or_default();
        let hash = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        if URL_SAFE_NO_PAD.encode(hash) != known.challenge {
            return refuse("invalid_grant", "the verifier does not fit the challenge");
        }
        if field(form, "redirect_uri") != Some(&known.redirect) || known.tenant.as_deref() != tenant {
            return refuse("invalid_grant", "not the redirect address, or the tenant, that the code was given for");
        }
        let grant = self.grants.len();
        known.used = Some(grant);
        let (user, scope, audience) = (known.user.clone(), known.scope.clone(), known.audience.clone());
        self.nonce = known.nonce.clone();
        let client = client.id.clone();
        self.grants.push(Grant { client, user, scope: scope.clone(), audience: audience.clone(), ended: false });
        let offline = !self.options.offline_access || scope.iter().any(|name| name == "offline_access");
        let refresh = offline.then(|| self.new_refresh(grant));
        let answer = self.tokens(grant, &scope, audience.as_deref(), refresh, true);
        self.nonce = None;
        Ok(answer)
    }

    /// RFC 8628 section 3.5.
    fn poll(&mut self, client: &Client, form: &Form) -> Outcome {
        let Some(device_code) = field(form, "device_code") else {
            return refuse("invalid_request", "device_code is missing");
        };
        let Some(code) = self.codes.iter_mut().find(|code| code.device_code == device_code && code.client == client.id)
        else {
            return refuse("invalid_grant", "no such device code");
        };
        if code.tenant.as_deref() != self.tenant.as_ref().map(|(name, _)| name.as_str()) {
            return refuse("bad_verification_code", "the code was given out at another tenant's endpoint");
        }
        if let Status::Spent { grant } = code.status {
            self.polls_after_success += 1;
            self.grants[grant].ended = true;
            return refuse("invalid_grant", "the code was used before; what it gave is revoked");
        }

        let now = Instant::now();
        let early = now < code.last_poll + code.interval;
        code.last_poll = now;
        self.too_fast += usize::from(early);
        if now >= code.deadline && !matches!(code.status, Status::Denied) {
            code.status = Status::Expired;
        }
        if matches!(code.status, Status::Pending) && matches!(self.auto, Auto::After(polls) if code.waits >= polls) {
            code.status = Status::Approved { user: self.user.clone() };
        }
        let user = match &code.status {
            Status::Pending => {
                code.waits += 1;
                if early {
                    code.interval += Duration::from_secs(5);
                    return refuse("slow_down", "poll five seconds slower from now on");
                }
                return refuse("authorization_pending", "nobody has decided yet");
            }
            Status::Denied => return refuse("access_denied", "the user said no"),
            Status::Expired => return refuse("expired_token", "the code has expired"),
            Status::Approved { user } => user.clone(),
            Status::Spent { .. } => unreachable!("answered above"),
        };
        if let Some(challenge) = &code.challenge {
            let verifier = field(form, "code_verifier").unwrap_or_default();
            let hash = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
            if URL_SAFE_NO_PAD.encode(hash) != *challenge {
                return refuse("invalid_grant", "the verifier does not fit the challenge");
            }
        }

        let grant = self.grants.len();
        self.grants.push(Grant {
            client: code.client.clone(),
            user,
            scope: code.scope.clone(),
            audience: code.audience.clone(),
            ended: false,
        });
        code.status = Status::Spent { grant };
        let (scope, audience) = (code.scope.clone(), code.audience.clone());
        let offline = !self.options.offline_access || scope.iter().any(|name| name == "offline_access");
        let refresh = offline.then(|| self.new_refresh(grant));
        Ok(self.tokens(grant, &scope, audience.as_deref(), refresh, true))
    }

    /// RFC 6749 section 6, with rotation after RFC 9700.
    fn refresh(&mut self, client: &Client, form: &Form) -> Outcome {
        let Some(token) = field(form, "refresh_token") else {
            return refuse("invalid_request", "refresh_token is missing");
        };
        let Some((grant, replaced)) = self
            .refresh
            .get(token)
            .filter(|refresh| !refresh.dead)
            .map(|refresh| (refresh.grant, refresh.replaced))
            .filter(|(grant, _)| self.grants[*grant].client == client.id && !self.grants[*grant].ended)
        else {
            return refuse("invalid_grant", "no such refresh token, or no longer");
        };
        if replaced.is_some_and(|replaced| replaced.elapsed() >= self.options.refresh_grace) {
            self.refresh_reuses += 1;
            self.grants[grant].ended = true;
            return refuse("invalid_grant", "the refresh token was used before; the whole grant is revoked");
        }
        let scope = match field(form, "scope").filter(|scope| !scope.is_empty()) {
            None => self.grants[grant].scope.clone(),
            Some(asked) => {
                let asked = self.scope(asked)?;
                if !self.options.refresh_any_scope && asked.iter().any(|name| !self.grants[grant].scope.contains(name))
                {
                    return refuse("invalid_scope", "more than was granted");
                }
                asked
            }
        };

        if self.options.refresh_kills_access {
            self.access.values_mut().filter(|access| access.grant == grant).for_each(|access| access.dead = true);
        }
        let next = self.options.rotation.then(|| {
            let entry = self.refresh.get_mut(token).expect("found above");
            entry.replaced.get_or_insert_with(Instant::now);
            self.new_refresh(grant)
        });
        let audience = audience(form).or_else(|| self.grants[grant].audience.clone());
        Ok(self.tokens(grant, &scope, audience.as_deref(), next, false))
    }

    /// RFC 7009: the unknown is as good as revoked.
    pub(crate) fn revoke(&mut self, client: &Client, form: &Form) -> Result<(), Refusal> {
        let Some(token) = field(form, "token") else {
            return refuse("invalid_request", "token is missing");
        };
        let (grant, whole) = match (self.refresh.get(token), self.access.get(token)) {
            (Some(refresh), _) => (refresh.grant, true),
            (None, Some(access)) => (access.grant, false),
            (None, None) => return Ok(()),
        };
        if self.grants[grant].client != client.id {
            return refuse("invalid_grant", "the token belongs to another client");
        }
        if whole {
            self.grants[grant].ended = true;
        } else if let Some(access) = self.access.get_mut(token) {
            access.dead = true;
        }
        Ok(())
    }

    /// The claims about the user of a good access token.
    pub(crate) fn user_info(&self, access_token: &str) -> Option<Value> {
        let access = self.access.get(access_token).filter(|_| self.accepts(access_token))?;
        Some(Value::Object(user_claims(&self.grants[access.grant].user)))
    }

    pub(crate) fn accepts(&self, access_token: &str) -> bool {
        self.access
            .get(access_token)
            .is_some_and(|access| !access.dead && Instant::now() < access.deadline && !self.grants[access.grant].ended)
    }

    pub(crate) fn expire_access_tokens(&mut self) {
        self.access.values_mut().for_each(|access| access.dead = true);
    }

    pub(crate) fn revoke_refresh_tokens(&mut self) {
        self.refresh.values_mut().for_each(|refresh| refresh.dead = true);
    }

    /// Decides about a code, typed with or without its dash, in any case.
    pub(crate) fn decide(&mut self, typed: &str, decision: Decision) -> Result<(), &'static str> {
        let plain = |code: &str| code.replace(['-', ' '], "").to_ascii_uppercase();
        let typed = plain(typed);
        let Some(code) = self.codes.iter_mut().rev().find(|code| plain(&code.user_code) == typed) else {
            return Err("This code is not known. Check it and try again.");
        };
        if matches!(code.status, Status::Pending) && Instant::now() >= code.deadline {
            code.status = Status::Expired;
        }
        match (&code.status, decision) {
            (Status::Spent { .. }, _) => return Err("This code has already been used."),
            (Status::Expired, Decision::Approve | Decision::Deny) => return Err("This code has expired."),
            (Status::Denied, Decision::Approve) => return Err("This code has already been denied."),
            (_, Decision::Approve) => code.status = Status::Approved { user: self.user.clone() },
            (_, Decision::Deny) => code.status = Status::Denied,
            (_, Decision::Expire) => code.status = Status::Expired,
        }
        Ok(())
    }

    pub(crate) fn user_codes(&self) -> Vec<String> {
        self.codes.iter().map(|code| code.user_code.clone()).collect()
    }

    /// The oldest pending code that nobody has waited for yet.
    pub(crate) fn next_pending(&mut self) -> Option<String> {
        let code = self.codes.iter_mut().find(|code| matches!(code.status, Status::Pending) && !code.waited_for)?;
        code.waited_for = true;
        Some(code.user_code.clone())
    }

    fn scope(&self, text: &str) -> Result<Vec<String>, Refusal> {
        let scope: Vec<String> = text.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match &self.options.scopes {
            _ if !self.options.tenants.is_empty() && resources(&scope).count() > 1 => refuse(
                "invalid_request",
                "AADSTS28000: Provided value for the input parameter scope is not valid because it contains more than one resource.",
            ),
            Some(known) if scope.iter().any(|name| !known.contains(name)) => refuse("invalid_scope", "no such scope"),
            _ => Ok(scope),
        }
    }

    fn challenge(&self, form: &Form) -> Result<Option<String>, Refusal> {
        match (field(form, "code_challenge"), field(form, "code_challenge_method")) {
            _ if !self.options.pkce => Ok(None),
            (Some(challenge), Some("S256")) => Ok(Some(challenge.to_owned())),
            (Some(_), _) => refuse("invalid_request", "code_challenge_method has to be S256"),
            (None, _) if self.options.pkce_required => refuse("invalid_request", "code_challenge is missing"),
            (None, _) => Ok(None),
        }
    }

    fn interval(&self) -> Duration {
        match self.options.interval.as_ref().and_then(seconds) {
            Some(time) if time > Duration::from_secs(60) => time / 1000,
            Some(time) if !time.is_zero() => time,
            _ => Duration::from_secs(5),
        }
    }

    fn new_refresh(&mut self, grant: usize) -> String {
        let token = random_secret("refresh-");
        self.refresh.insert(token.clone(), Refresh { grant, replaced: None, dead: false });
        self.issued.push(token.clone());
        token
    }

    fn tokens(
        &mut self,
        grant: usize,
        scope: &[String],
        audience: Option<&str>,
        refresh: Option<String>,
        first: bool,
    ) -> Value {
        let Grant { client, user, .. } = &self.grants[grant];
        let lifetime = self.options.access_lifetime.as_ref().and_then(seconds).unwrap_or(Duration::from_secs(3600));
        let access = match self.options.access_token {
            AccessToken::Opaque => random_secret("access-"),
            AccessToken::Jwt => {
                let mut claims = user_claims(user);
                claims.insert("iss".into(), self.issuer.clone().into());
                claims.insert("aud".into(), audience.unwrap_or(client).into());
                if let Some((_, tid)) = &self.tenant {
                    claims.insert("tid".into(), tid.clone().into());
                    claims.insert("aud".into(), resources(scope).next().unwrap_or("graph").into());
                }
                claims.insert("client_id".into(), client.clone().into());
                claims.insert("scope".into(), scope.join(" ").into());
                claims.insert("iat".into(), self.now().into());
                claims.insert(
                    "exp".into(),
                    (self.now() + i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2)).into(),
                );
                claims.insert("jti".into(), random_secret("").into());
                self.signer.sign("at+jwt", &Value::Object(claims))
            }
        };
        let mut answer = json!({ "access_token": access, "token_type": "Bearer" });
        if let Some(refresh_in) = &self.options.refresh_in {
            answer["refresh_in"] = refresh_in.clone();
        }
        if let Some(expires_in) = &self.options.access_lifetime {
            answer["expires_in"] = expires_in.clone();
        }
        match self.options.scope_format {
            ScopeFormat::Spaces => answer["scope"] = scope.join(" ").into(),
            ScopeFormat::Commas => answer["scope"] = scope.join(",").into(),
            ScopeFormat::Array => answer["scope"] = scope.into(),
            ScopeFormat::Absent => {}
        }
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.into();
        }
        let wanted = match self.options.id_token {
            IdToken::Always => true,
            IdToken::First => first,
            IdToken::Refresh => !first,
            IdToken::Never => false,
        };
        if wanted && scope.iter().any(|name| name == "openid") {
            let id_token = self.id_token(client, user);
            self.issued.push(id_token.clone());
            answer["id_token"] = id_token.into();
        }
        self.issued.push(access.clone());
        self.access.insert(access, Access { grant, deadline: Instant::now() + lifetime, dead: false });
        answer
    }

    /// Seconds since 1970, by the provider's clock.
    pub(crate) fn now(&self) -> i64 {
        unix_now() + self.options.clock
    }

    fn id_token(&self, client: &str, user: &str) -> String {
        let mut claims = user_claims(user);
        claims.insert("iss".into(), self.issuer.clone().into());
        claims.insert("aud".into(), client.into());
        claims.insert("iat".into(), self.now().into());
        claims.insert("exp".into(), (self.now() + self.options.id_token_lifetime).into());
        if let Some((_, tid)) = &self.tenant {
            claims.insert("iss".into(), format!("{}/{tid}/v2.0", self.issuer).into());
            claims.insert("sub".into(), format!("{}-at-{tid}", claims["sub"].as_str().unwrap_or_default()).into());
            claims.insert("tid".into(), tid.clone().into());
        }
        if let Some(nonce) = &self.nonce {
            claims.insert("nonce".into(), nonce.clone().into());
        }
        for (name, value) in self.options.claims.as_object().into_iter().flatten() {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        self.signer.sign("JWT", &Value::Object(claims))
    }
}

/// The first field of that name.
pub(crate) fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// The resources that scopes name, as `RESOURCE/.default`.
fn resources(scope: &[String]) -> impl Iterator<Item = &str> {
    scope.iter().filter_map(|name| name.strip_suffix("/.default"))
}

fn audience(form: &Form) -> Option<String> {
    field(form, "audience").or_else(|| field(form, "resource")).map(str::to_owned)
}

fn user_claims(user: &str) -> Map<String, Value> {
    let name = user.split('@').next().unwrap_or(user);
    let claims = json!({
        "sub": format!("user-{name}"),
        "email": user,
        "email_verified": true,
        "preferred_username": user,
        "groups": ["developers"],
    });
    let Value::Object(claims) = claims else { unreachable!("written as an object") };
    claims
}

/// A duration as servers write it: a number, or a number in a string. `None` if it is neither, or not positive.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    // A century is as good as any larger number, and can still be added to a time.
    (number > 0.0).then(|| Duration::from_secs_f64(number.min(3.2e9)))
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the year 292 billion")
}

/// Eight consonants, as RFC 8628 section 6.1 recommends: no words, no lookalikes.
fn user_code() -> String {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    let mut code: String =
        random_bytes::<8>().iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect();
    code.insert(4, '-');
    code
}
