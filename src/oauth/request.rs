//! One request of a client to its server: posts a form with the client's authentication, and interprets the answer.

use super::Client;
use super::answer::Answer;
use crate::address::Address;
use crate::clock::Timestamp;
use crate::config::AuthMethod;
use crate::log::debug;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use zeroize::Zeroizing;

/// The `client_assertion_type` of a JWT (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A form to be posted to an endpoint. Its secrets are redacted if the server repeats them (R59).
#[must_use]
pub struct Request<'c> {
    client: &'c Client<'c>,
    endpoint: &'c Address,
    form: Serializer<'static, String>,
    secrets: Vec<Secret>,
}

impl<'c> Request<'c> {
    /// A form with the client's id and authentication. The id is always in the body, because some servers want it there
    /// as well as in the header (R2). The secret goes to one place only.
    pub(super) fn new(client: &'c Client<'c>, endpoint: &'c Address) -> Self {
        let form = Serializer::new(String::new());
        let id = Some(client.id()).filter(|id| !id.is_empty());
        let request = Self { client, endpoint, form, secrets: Vec::new() }.with("client_id", id);
        match (&client.secret, client.auth) {
            (Some(secret), AuthMethod::ClientSecretPost) => request.with_secret("client_secret", secret),
            _ => request,
        }
    }

    /// Adds a parameter, unless it is `None`.
    pub fn with<'v>(mut self, name: &str, value: impl Into<Option<&'v str>>) -> Self {
        if let Some(value) = value.into() {
            self.form.append_pair(name, value);
        }
        self
    }

    /// Adds a secret parameter, unless it is `None`.
    pub fn with_secret<'v>(mut self, name: &str, value: impl Into<Option<&'v Secret>>) -> Self {
        if let Some(value) = value.into() {
            self.secrets.push(value.clone());
            self.form.append_pair(name, value.expose());
        }
        self
    }

    /// Adds a token that authenticates the client (RFC 7523, section 2.2).
    pub fn with_assertion(self, assertion: &Secret) -> Self {
        self.with("client_assertion_type", ASSERTION_TYPE).with_secret("client_assertion", assertion)
    }

    /// Sends the request. `Err` is a transport failure; the server may have received the request.
    pub fn send(self) -> Result<Answer, String> {
        self.exchange().map(|(_, answer)| answer)
    }

    /// Like [`Request::send`], but also returns the status.
    pub(super) fn exchange(mut self) -> Result<(u16, Answer), String> {
        if let Some(key) = &self.client.key {
            let assertion = key.assertion(self.client.id(), self.client.assertion_audience())?;
            self = self.with_assertion(&assertion);
        }
        let Self { client, endpoint, .. } = self;
        let body = Zeroizing::new(self.form.finish());
        let header = authorization(client);
        debug(|| format!("POST {endpoint}"));
        client.sent.set(Some(Timestamp::now()));
        let reply = client.http.post(endpoint.as_str(), &body, header.as_deref().map(String::as_str))?;
        debug(|| format!("{endpoint} answered with status {}", reply.status));
        if let Some(seconds) = reply.skew.seconds().filter(|seconds| *seconds != 0) {
            debug(|| format!("its clock is {seconds} s ahead of this machine's"));
        }
        client.skew.set(reply.skew);
        // Hide the secrets both in clear and in the forms in which they were sent.
        let mut secrets = self.secrets;
        secrets.extend(client.secret.clone());
        let encoded: Vec<_> = secrets.iter().map(|secret| Secret::from(form_encoded(secret.expose()))).collect();
        secrets.extend(encoded);
        secrets.extend(header.and_then(|header| header.strip_prefix("Basic ").map(|pair| pair.to_owned().into())));
        Ok((reply.status, Answer::hiding(&reply, &secrets)))
    }
}

/// The Basic authorization header (RFC 6749, section 2.3.1): id and secret are form-encoded before they are joined.
fn authorization(client: &Client<'_>) -> Option<Zeroizing<String>> {
    let (Some(secret), AuthMethod::ClientSecretBasic) = (&client.secret, client.auth) else { return None };
    let (id, secret) = (form_encoded(client.id()), Zeroizing::new(form_encoded(secret.expose())));
    let pair = Zeroizing::new(format!("{id}:{}", *secret));
    Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
}

fn form_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
