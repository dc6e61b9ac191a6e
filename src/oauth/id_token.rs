//! ID tokens (OpenID Connect Core, section 2): who signed in, and until when the token is good.
//!
//! The signature is not checked: the token came straight from the token endpoint over TLS, which is what section
//! 3.1.3.7 asks of a client then. Whoever receives it checks it.

use crate::clock::Timestamp;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The claims of a JWT; `None` if `token` is not one.
pub fn claims(token: &Secret) -> Option<Map<String, Value>> {
    let mut parts = token.expose().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    super::json::object(&bytes)
}

/// A claim that is a time in seconds since the epoch.
pub fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let number = claims.get(name)?.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (0.0..1e12).contains(&number).then_some(Timestamp(number as i64))
}

/// What the account is known by: `preferred_username`, else `email`, else `sub`; cleaned for display.
pub fn account(claims: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(crate::text::clean).filter(|s| !s.is_empty());
    ["preferred_username", "email", "sub"].into_iter().find_map(text)
}

/// Checks a token that is to be handed out as a credential (R33): its issuer, its audience, its expiry. `issuer` may
/// hold `{tid}`, for which the token's `tid` stands; without one the issuer is not known and not checked. `now` is by the server's clock.
pub fn check(claims: &Map<String, Value>, issuer: Option<&str>, client_id: &str, now: Timestamp) -> Result<(), String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if let Some(expected) = issuer {
        let expected = expected.replace("{tid}", text("tid").unwrap_or_default());
        let said = text("iss").unwrap_or_default();
        if said != expected {
            return Err(format!("its issuer is {:?}, not {expected:?}", crate::text::clean(said)));
        }
    }
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(several)) => several.iter().any(|a| a == client_id),
        _ => false,
    };
    if !for_us {
        return Err(format!("it is not meant for the client {client_id:?}"));
    }
    match time(claims, "exp") {
        Some(end) if end > now => Ok(()),
        Some(_) => Err("it has already expired".into()),
        None => Err("it does not say when it expires".into()),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn claims_of_a_jwt_and_of_nothing_else() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"ada"}"#);
        let read = |t: String| claims(&Secret::from(t));
        assert_eq!(read(format!("e30.{payload}.sig")).unwrap()["sub"], "ada");
        assert_eq!(read(format!("e30.{payload}==.sig")).unwrap()["sub"], "ada", "padding is tolerated");
        for not_one in
            ["opaque".into(), "a.b".into(), "a.!!.c".into(), format!("a.{}.c", URL_SAFE_NO_PAD.encode("[1]"))]
        {
            assert_eq!(read(not_one), None);
        }
    }

    #[test]
    fn r33_issuer_audience_and_expiry_are_checked() {
        let good = json!({"iss": "https://id.example", "aud": ["x", "k8s"], "exp": 200});
        let checked = |change: Value, issuer: Option<&str>| {
            let mut claims = object(good.clone());
            claims.extend(object(change));
            check(&claims, issuer, "k8s", Timestamp(100))
        };
        let issuer = Some("https://id.example");
        assert_eq!(checked(json!({}), issuer), Ok(()));
        assert_eq!(checked(json!({"aud": "k8s"}), issuer), Ok(()));
        assert_eq!(
            checked(json!({"iss": "https://evil.example"}), None),
            Ok(()),
            "an issuer that is not known is not checked"
        );
        assert_eq!(
            checked(json!({"iss": "https://m.example/42/v2", "tid": "42"}), Some("https://m.example/{tid}/v2")),
            Ok(())
        );
        assert_eq!(
            checked(json!({"iss": "https://evil.example"}), issuer).unwrap_err(),
            "its issuer is \"https://evil.example\", not \"https://id.example\""
        );
        assert_eq!(checked(json!({"aud": "other"}), issuer).unwrap_err(), "it is not meant for the client \"k8s\"");
        assert_eq!(checked(json!({"aud": null}), issuer).unwrap_err(), "it is not meant for the client \"k8s\"");
        assert_eq!(checked(json!({"exp": 100}), issuer).unwrap_err(), "it has already expired");
        assert_eq!(checked(json!({"exp": "soon"}), issuer).unwrap_err(), "it does not say when it expires");
    }

    #[test]
    fn the_account_is_the_first_name_there_is() {
        assert_eq!(account(&object(json!({"sub": "1", "email": "a@b", "preferred_username": "ada"}))).unwrap(), "ada");
        assert_eq!(account(&object(json!({"sub": "1", "email": "a@b"}))).unwrap(), "a@b");
        assert_eq!(account(&object(json!({"sub": "1\u{1b}[2J"}))).unwrap(), "1[2J");
        assert_eq!(account(&object(json!({}))), None);
    }
}
