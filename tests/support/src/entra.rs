//! A look-alike of Microsoft Entra ID: its paths with tenants, its bodies, one refresh token for every resource and tenant.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::options::{AccessToken, Client, Endpoint, Options};

/// The client id of the Azure CLI, and what the Azure SDKs sign in as.
pub const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// The client id that `kubectl` signs in to AKS as.
pub const AKS_CLIENT: &str = "80faf920-1908-4b52-b5ef-a8e7bedfc67a";
/// The tenant of every account here: `contoso.com`.
pub const HOME_TENANT: &str = "11111111-1111-1111-1111-111111111111";
/// A tenant where every account is a guest: `fabrikam.com`.
pub const OTHER_TENANT: &str = "22222222-2222-2222-2222-222222222222";
/// The tenant of personal accounts, the same for all of them.
pub const CONSUMERS: &str = "9188040d-6c67-4b5b-b112-36a304b66dad";
/// Where codes are entered.
pub const VERIFICATION_URI: &str = "https://microsoft.com/devicelogin";

impl Options {
    /// Entra's authorization, device-code and token endpoints.
    #[must_use]
    pub fn entra() -> Self {
        let tenants = [
            ("organizations", HOME_TENANT),
            ("common", HOME_TENANT),
            ("consumers", CONSUMERS),
            ("contoso.com", HOME_TENANT),
            (HOME_TENANT, HOME_TENANT),
            ("fabrikam.com", OTHER_TENANT),
            (OTHER_TENANT, OTHER_TENANT),
        ];
        Self {
            clients: [AZURE_CLI, AKS_CLIENT].map(Client::public).to_vec(),
            tenants: tenants.map(|(name, id)| (name.to_owned(), id.to_owned())).to_vec(),
            aliases: vec![
                ("/*/oauth2/v2.0/devicecode".to_owned(), Endpoint::Device),
                ("/*/oauth2/v2.0/authorize".to_owned(), Endpoint::Authorize),
                ("/*/oauth2/v2.0/token".to_owned(), Endpoint::Token),
            ],
            oidc_discovery: false,
            pkce: false,
            redirects: vec!["http://localhost:*".to_owned()],
            access_token: AccessToken::Jwt,
            refresh_any_scope: true,
            // The tokens are renewed, and the old ones stay good.
            refresh_grace: Duration::from_secs(86400),
            edit: Some(Arc::new(worded)),
            ..Self::default()
        }
    }
}

/// The bodies as Entra writes them.
fn worded(endpoint: Endpoint, body: &mut Value) {
    if let Some(error) = body["error"].as_str().map(str::to_owned) {
        let description = body["error_description"].as_str().unwrap_or_default().to_owned();
        let (error, number, text) = match error.as_str() {
            "authorization_pending" => (
                "authorization_pending",
                70016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.".to_owned(),
            ),
            "access_denied" => ("authorization_declined", 70018, "User declined the authorization.".to_owned()),
            "expired_token" => (
                "expired_token",
                70020,
                "The provided value for the input parameter 'device_code' is not valid. This device code has expired."
                    .to_owned(),
            ),
            "slow_down" => (
                "slow_down",
                50196,
                "The server terminated an operation because it encountered a client request loop.".to_owned(),
            ),
            "invalid_client" => (
                "unauthorized_client",
                700_016,
                "Application with identifier was not found in the directory 'Contoso'.".to_owned(),
            ),
            other if description.starts_with("AADSTS") => {
                let number = description[6..].split(':').next().and_then(|n| n.parse().ok()).unwrap_or_default();
                *body = error_body(other, number, description.split_once(": ").map_or("", |(_, text)| text));
                return;
            }
            "invalid_grant" => ("invalid_grant", 70000, description),
            _ => ("invalid_request", 900_144, description),
        };
        *body = error_body(error, number, &text);
        return;
    }
    match endpoint {
        Endpoint::Device => {
            let code = body["user_code"].as_str().unwrap_or_default();
            body["message"] = format!(
                "To sign in, use a web browser to open the page {VERIFICATION_URI} and enter the code {code} to authenticate."
            )
            .into();
            body["verification_uri"] = VERIFICATION_URI.into();
        }
        Endpoint::Token => {
            body["ext_expires_in"] = body["expires_in"].clone();
            // A first-party client's refresh token is good for its whole family.
            body["foci"] = "1".into();
        }
        _ => {}
    }
}

/// An error of Entra's, to the letter.
pub fn error_body(error: &str, number: u32, text: &str) -> Value {
    const TRACE: &str = "33333333-3333-3333-3333-333333333333";
    const CORRELATION: &str = "44444444-4444-4444-4444-444444444444";
    const AT: &str = "2026-11-22 09:34:07Z";
    json!({
        "error": error,
        "error_description": format!(
            "AADSTS{number}: {text}\r\nTrace ID: {TRACE}\r\nCorrelation ID: {CORRELATION}\r\nTimestamp: {AT}"
        ),
        "error_codes": [number],
        "timestamp": AT,
        "trace_id": TRACE,
        "correlation_id": CORRELATION,
        "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
    })
}
