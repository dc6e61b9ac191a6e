//! kubelogin.int128, `get-token`, also called `kubectl oidc-login`.
//! <https://github.com/int128/kubelogin/blob/master/docs/usage.md>

use super::{Flags, Taken, Word, at_home, list};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(super) const FLAGS: Flags = &[
    ("oidc-issuer-url", None, false),
    ("oidc-client-id", None, false),
    ("oidc-client-secret", None, false),
    ("oidc-extra-scope", None, false),
    ("oidc-use-access-token", None, true),
    ("oidc-auth-request-extra-params", None, false),
    ("certificate-authority", None, false),
    ("certificate-authority-data", None, false),
    ("insecure-skip-tls-verify", None, true),
    ("grant-type", None, false),
    ("username", None, false),
    ("password", None, false),
    ("oidc-redirect-url", None, false),
    ("oidc-redirect-url-hostname", None, false),
    ("oidc-redirect-url-authcode-keyboard", None, false),
    ("oidc-pkce-method", None, false),
    ("oidc-use-pkce", None, true),
    ("force-refresh", None, true),
    ("token-cache-dir", None, false),
    ("token-cache-storage", None, false),
    ("listen-address", None, false),
    ("listen-port", None, false),
    ("skip-open-browser", None, true),
    ("browser-command", None, false),
    ("authentication-timeout-sec", None, false),
    ("local-server-cert", None, false),
    ("local-server-key", None, false),
    ("open-url-after-authentication", None, false),
    ("tls-renegotiation-once", None, true),
    ("tls-renegotiation-freely", None, true),
];

/// The keys of an `auth-provider` named `oidc`, as arguments. Its tokens are left out, because keyfob cannot renew
/// them.
pub(super) const LEGACY: &[(&str, &str)] = &[
    ("idp-issuer-url", "oidc-issuer-url"),
    ("client-id", "oidc-client-id"),
    ("client-secret", "oidc-client-secret"),
    ("extra-scopes", "oidc-extra-scope"),
    ("idp-certificate-authority", "certificate-authority"),
    ("idp-certificate-authority-data", "certificate-authority-data"),
];

/// Reads arguments into a profile.
pub(super) fn read(taken: &mut Taken, said: Vec<Word>) -> Result<(), String> {
    let machine = said.iter().any(|word| word.flag == "grant-type" && word.value == "client-credentials");
    for word in said {
        take(taken, &word, machine).map_err(|why| format!("{}: {why}", word.place))?;
    }
    if !(machine || taken.settings.has("flow")) {
        // kubelogin's default redirect URI, so it is the one registered at the provider.
        for (key, value) in [("redirect-host", "localhost"), ("redirect-port", "8000")] {
            if !taken.settings.has(key) {
                taken.key(key, value)?;
            }
        }
    }
    Ok(())
}

fn take(taken: &mut Taken, word: &Word, machine: bool) -> Result<(), String> {
    let value = word.value.as_str();
    match word.flag {
        // The same as leaving the argument out.
        "oidc-use-access-token" | "insecure-skip-tls-verify" if value == "false" => {}
        "oidc-issuer-url" => taken.key("issuer", value)?,
        "oidc-client-id" => taken.key("client-id", value)?,
        "oidc-client-secret" => taken.secret = (!value.is_empty()).then(|| Secret::from(value.to_owned())),
        // Scopes in addition to those that keyfob asks for by default. A machine does not need `offline_access`.
        "oidc-extra-scope" => {
            taken.more("scopes", if machine { &["openid"] } else { &["openid", "offline_access"] }, &list(value)?)?;
        }
        "oidc-use-access-token" => taken.key("token-kind", "access")?,
        "oidc-auth-request-extra-params" => {
            for item in list(value)? {
                match item.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is not NAME=VALUE")? {
                    (key @ ("audience" | "resource"), value) => taken.key(key, value)?,
                    _ => taken.more("extra", &[], &[item])?,
                }
            }
        }
        "certificate-authority" if taken.settings.has("ca-file") => return Err("keyfob takes one file".to_owned()),
        "certificate-authority" => taken.key("ca-file", at_home(value))?,
        "certificate-authority-data" => {
            let pem = STANDARD.decode(value).ok().and_then(|pem| String::from_utf8(pem).ok());
            let pem = pem.ok_or("it is not PEM in base64")?;
            let all = taken.certificates.get_or_insert_default();
            all.push_str(pem.trim_end());
            all.push('\n');
        }
        "insecure-skip-tls-verify" => {
            return Err("keyfob checks certificates always; --ca-file names an authority".to_owned());
        }
        "grant-type" => match value {
            "auto" | "authcode" => {}
            "device-code" => taken.key("flow", "device")?,
            "authcode-keyboard" | "password" => {
                taken.notes.push(format!("kubelogin signed in by {value}; keyfob does by browser or device code"));
            }
            "client-credentials" => {
                taken.key("grant", "client-credentials")?;
                taken.more("scopes", &["openid"], &[])?;
            }
            _ => return Err("it is no way to sign in that keyfob knows".to_owned()),
        },
        // A machine has no browser to redirect.
        "oidc-redirect-url" if !machine => taken.redirect_url(word)?,
        "oidc-redirect-url-hostname" if !machine => taken.redirect(word, value, "")?,
        // `127.0.0.1:8000`, of which several may be listed, or only a port.
        "listen-address" | "listen-port" if !machine => {
            taken.redirect(word, "", value.split(',').next().unwrap_or_default())?;
        }
        _ => taken.drop(word),
    }
    Ok(())
}
