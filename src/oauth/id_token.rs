//! ID tokens (OpenID Connect Core, section 2): who signed in, and when the token expires.
//!
//! The signature is not checked: the token came directly from the token endpoint over TLS, which section 3.1.3.7
//! accepts instead. The service that receives the token checks the signature.

use super::json::Members;
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::text::clean;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// The claims that may hold an account's name, best first. `upn` and `unique_name` are AD FS's, `emails` is Azure AD
/// B2C's.
const NAMES: [&str; 6] = ["preferred_username", "upn", "email", "emails", "unique_name", "name"];

/// The `sub` that Azure AD B2C writes for every account if a policy leaves it out.
const NO_SUBJECT: &str = "Not supported currently. Use oid claim.";

/// The claims of a JWT that keyfob uses. A claim that is missing or has another type is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`, one or more.
    pub audience: Vec<String>,
    /// `azp`: the client that the token was issued to.
    pub authorized_party: Option<String>,
    /// `sub`, which never changes for an account, or `oid` if `sub` says not to use it.
    pub subject: Option<String>,
    /// `tid`: the id of a tenant (Microsoft Entra ID).
    pub tenant: Option<String>,
    /// `nonce`: identifies the authorization request.
    pub nonce: Option<String>,
    /// `iat`, by the server's clock.
    pub issued_at: Option<Timestamp>,
    /// `exp`, by the server's clock.
    pub expires_at: Option<Timestamp>,
    /// The name that a person knows the account by: the first of `NAMES`, otherwise the subject; without control
    /// characters.
    pub name: Option<String>,
}

/// Why an ID token may not be handed out (R33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The token is not a JWT.
    NoJwt,
    /// Its issuer is the first one instead of the second one.
    Issuer(String, String),
    /// Its audience does not include this client.
    Audience(String),
    /// It was issued to this other client.
    AuthorizedParty(String),
    /// It names no subject.
    NoSubject,
    /// It has no expiry.
    NoExpiry,
    /// It has expired.
    Ended,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJwt => f.write_str("it is not a JWT"),
            Self::Issuer(said, expected) => write!(f, "its issuer is {said:?}, not {expected:?}"),
            Self::Audience(client_id) => write!(f, "it is not meant for the client {client_id:?}"),
            Self::AuthorizedParty(client_id) => write!(f, "it was issued to another client, {client_id:?}"),
            Self::NoSubject => f.write_str("it does not say whose it is (`sub`)"),
            Self::NoExpiry => f.write_str("it does not say when it expires"),
            Self::Ended => f.write_str("it has already expired"),
        }
    }
}

impl Claims {
    /// The claims of a JWT; `None` if `token` is not one.
    pub fn of(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let members = Members::read(&bytes).ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        let time = |name: &str| {
            let seconds = members.get::<f64>(name).filter(|seconds| (0.0..1e12).contains(seconds));
            seconds.map(|seconds| Timestamp(seconds as i64))
        };
        let text = |name: &str| members.text(name).or_else(|| members.list(name)?.into_iter().next());
        let subject = members.text("sub");
        let subject = if subject.as_deref() == Some(NO_SUBJECT) { members.text("oid") } else { subject };
        let names = NAMES.iter().filter_map(|name| text(name)).chain(subject.clone());
        let name = names.map(|text| clean(&text)).find(|text| !text.is_empty());
        Some(Self {
            issuer: members.text("iss"),
            audience: members.list("aud").or_else(|| members.text("aud").map(|one| vec![one])).unwrap_or_default(),
            authorized_party: members.text("azp"),
            subject,
            tenant: members.text("tid"),
            nonce: members.text("nonce"),
            issued_at: time("iat"),
            expires_at: time("exp"),
            name,
        })
    }

    /// Checks an ID token that is to be handed out as a credential, at `now` by the server's clock (OpenID Connect
    /// Core, section 3.1.3.7): its issuer, its audience, the client it was issued to, its subject and its expiry.
    /// `issuer` may contain `{tid}`, which stands for the token's tenant, or `{any}`, which matches any text; `None`
    /// means that the issuer is unknown and not checked.
    pub fn check(&self, issuer: Option<&str>, client_id: &str, now: Timestamp) -> Result<(), Unusable> {
        if let Some(expected) = issuer {
            let expected = expected.replace("{tid}", self.tenant.as_deref().unwrap_or_default());
            let said = self.issuer.as_deref().unwrap_or_default();
            let is_it = match expected.split_once("{any}") {
                Some((before, after)) => said
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .is_some_and(|any| !any.is_empty()),
                None => said == expected,
            };
            if !is_it {
                return Err(Unusable::Issuer(clean(said), expected));
            }
        }
        if !self.audience.iter().any(|audience| audience == client_id) {
            return Err(Unusable::Audience(client_id.to_owned()));
        }
        if let Some(other) = self.authorized_party.as_ref().filter(|party| *party != client_id) {
            return Err(Unusable::AuthorizedParty(clean(other)));
        }
        if self.subject.is_none() {
            return Err(Unusable::NoSubject);
        }
        match self.expires_at {
            None => Err(Unusable::NoExpiry),
            Some(end) if end <= now => Err(Unusable::Ended),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claims(payload: Value) -> Claims {
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        Claims::of(&Secret::from(format!("e30.{payload}.sig"))).unwrap()
    }

    #[test]
    fn claims_of_a_jwt_and_of_nothing_else() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"ada"}"#);
        let read = |token: String| Claims::of(&Secret::from(token));
        for token in [format!("e30.{payload}.sig"), format!("e30.{payload}==.sig")] {
            assert_eq!(read(token).unwrap().subject.as_deref(), Some("ada"), "padding is tolerated");
        }
        for not_one in
            ["opaque".into(), "a.b".into(), "a.!!.c".into(), format!("a.{}.c", URL_SAFE_NO_PAD.encode("[1]"))]
        {
            assert_eq!(read(not_one), None);
        }
    }

    #[test]
    fn a_claim_of_another_type_is_absent() {
        let odd = claims(json!({
            "iss": 7, "aud": {}, "azp": [], "sub": "", "tid": null, "iat": "soon", "exp": -1, "email": 3
        }));
        assert_eq!(odd, Claims::default());
        let times = claims(json!({ "iat": 7.9, "exp": 1e12 }));
        assert_eq!((times.issued_at, times.expires_at), (Some(Timestamp(7)), None));
        assert_eq!(claims(json!({ "aud": ["a", 7, "b"] })).audience, ["a", "b"]);
    }

    #[test]
    fn r33_an_id_token_is_checked_before_it_is_handed_out() {
        let good = json!({"iss": "https://id.example", "aud": ["x", "k8s"], "azp": "k8s", "sub": "1", "exp": 101});
        let checked = |change: Value, issuer: Option<&str>| {
            let mut payload = good.clone();
            payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            claims(payload).check(issuer, "k8s", Timestamp(100)).map_err(|why| why.to_string())
        };
        let issuer = Some("https://id.example");
        for change in [json!({}), json!({"aud": "k8s"}), json!({"azp": null})] {
            assert_eq!(checked(change, issuer), Ok(()));
        }
        let foreign = json!({"iss": "https://evil.example"});
        assert_eq!(checked(foreign.clone(), None), Ok(()), "an issuer that is not known is not checked");
        let tenant = json!({"iss": "https://m.example/42/v2", "tid": "42"});
        assert_eq!(checked(tenant, Some("https://m.example/{tid}/v2")), Ok(()));
        for (change, why) in [
            (foreign, "its issuer is \"https://evil.example\", not \"https://id.example\""),
            (json!({"iss": null}), "its issuer is \"\", not \"https://id.example\""),
            (json!({"aud": "other"}), "it is not meant for the client \"k8s\""),
            (json!({"aud": null}), "it is not meant for the client \"k8s\""),
            (json!({"azp": "other"}), "it was issued to another client, \"other\""),
            (json!({"sub": null}), "it does not say whose it is (`sub`)"),
            (json!({"exp": 100}), "it has already expired"),
            (json!({"exp": "soon"}), "it does not say when it expires"),
        ] {
            assert_eq!(checked(change, issuer), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_account_is_the_first_name_there_is() {
        let name = |payload| claims(payload).name;
        assert_eq!(name(json!({"sub": "1", "email": "a@b", "preferred_username": "ada"})).as_deref(), Some("ada"));
        assert_eq!(name(json!({"sub": "1", "email": "a@b", "preferred_username": ""})).as_deref(), Some("a@b"));
        assert_eq!(name(json!({"sub": "1\u{1b}[2J"})).as_deref(), Some("1[2J"));
        assert_eq!(name(json!({})), None);
    }

    /// For each server: the expected name and subject, and whether the issuer must be accepted.
    #[test]
    fn accounts_and_issuers_of_microsofts_servers() {
        const OID: &str = "884408e1-2918-4c30-b12d-3aa027d7563b";
        const TENANT: &str = "775527ff-9a37-4307-8b3d-cc311f58d925";
        let external = "https://{tid}.ciamlogin.com/{tid}/v2.0";
        let external_is = |tenant: &str| format!("https://{tenant}.ciamlogin.com/{TENANT}/v2.0");
        let b2c = "https://contoso.b2clogin.com/{any}/v2.0/";
        let b2c_is = |host: &str, path: &str| format!("https://{host}/{path}/v2.0/");
        let b2c_claims = |sub: &str| json!({"sub": sub, "oid": OID, "emails": ["ada@example.com"], "name": "Ada"});
        let adfs = "https://fs.contoso.com/adfs";
        let adfs_claims = json!({"sub": "FN2kjQ", "upn": "ada@contoso.com", "unique_name": "CONTOSO\\ada"});
        let (tid, tfp) = (TENANT.to_owned(), format!("tfp/{TENANT}/b2c_1_signin"));
        for (who, said, expected, name, subject, good) in [
            // [MS-OIDCE] 2.2.3.2: `upn` is optional, `unique_name` is not. The second issuer is that of access tokens.
            (adfs_claims.clone(), adfs.to_owned(), adfs, "ada@contoso.com", "FN2kjQ", true),
            (adfs_claims, "http://fs.contoso.com/adfs/services/trust".into(), adfs, "ada@contoso.com", "FN2kjQ", false),
            (json!({"sub": "7", "unique_name": "CONTOSO\\ada"}), adfs.into(), adfs, "CONTOSO\\ada", "7", true),
            // Entra External ID's issuer has the tenant's id, whatever the tenant's name or domain.
            (
                json!({"sub": "7", "email": "ada@x.com", "tid": TENANT}),
                external_is(TENANT),
                external,
                "ada@x.com",
                "7",
                true,
            ),
            (json!({"sub": "7", "name": "Ada", "tid": TENANT}), external_is("contoso"), external, "Ada", "7", false),
            (json!({"sub": "7", "name": "Ada"}), external_is(TENANT), external, "Ada", "7", false),
            // Azure AD B2C has two forms of issuer and no `tid`; its older policies have no `sub`.
            (b2c_claims(OID), b2c_is("contoso.b2clogin.com", &tid), b2c, "ada@example.com", OID, true),
            (b2c_claims(OID), b2c_is("contoso.b2clogin.com", &tfp), b2c, "ada@example.com", OID, true),
            (b2c_claims(NO_SUBJECT), b2c_is("contoso.b2clogin.com", &tid), b2c, "ada@example.com", OID, true),
            (b2c_claims(OID), b2c_is("fabrikam.b2clogin.com", &tid), b2c, "ada@example.com", OID, false),
            (b2c_claims(OID), "https://contoso.b2clogin.com/v2.0/".into(), b2c, "ada@example.com", OID, false),
            (
                json!({"sub": OID, "email": ["ada@x.com"]}),
                b2c_is("contoso.b2clogin.com", &tid),
                b2c,
                "ada@x.com",
                OID,
                true,
            ),
            // Entra's version 1 has `unique_name` and `upn` in place of `preferred_username`.
            (
                json!({"sub": "7", "name": "Ada", "upn": "ada@x.com"}),
                "https://sts.example/1".into(),
                "https://sts.example/1",
                "ada@x.com",
                "7",
                true,
            ),
        ] {
            let mut payload = json!({"iss": said, "aud": "c", "exp": 101});
            payload.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
            let claims = claims(payload);
            let found = (claims.name.as_deref(), claims.subject.as_deref());
            assert_eq!(found, (Some(name), Some(subject)), "{who}");
            assert_eq!(claims.check(Some(expected), "c", Timestamp(100)).is_ok(), good, "{said} {expected}");
        }
        let nobody = json!({"iss": adfs, "aud": "c", "exp": 101, "sub": NO_SUBJECT});
        assert_eq!(claims(nobody).check(Some(adfs), "c", Timestamp(100)), Err(Unusable::NoSubject));
    }
}
