//! Grants that get tokens without a person. [`refresh`] renews sessions that a person began. [`machine`] holds the
//! grants of machines, which authenticate with a token from one of the [`sources`].
//!
//! This file reads a token answer, whichever grant it is for: which tokens are in it, whose they are, and when they
//! expire by this machine's clock.

pub mod acr;
mod arc;
mod aws;
pub mod delegated;
pub mod machine;
mod managed_identity;
mod metadata;
pub mod refresh;
pub mod sources;

use crate::address::Address;
use crate::clock::{Skew, Timestamp};
use crate::config::Profile;
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::oauth::answer::{Answer, OauthError, TokenAnswer, Tokens};
use crate::oauth::id_token::{Claims, Unusable};
use crate::oauth::{Client, http};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::{Account, ClaimsDigest, Grant, Serial, Token, TokenKey};
use crate::text::clean;

/// What a grant needs to know about the call.
#[derive(Debug)]
pub struct Ask<'p> {
    /// The profile to get a token of.
    pub profile: &'p Profile,
    /// The key of the token.
    pub key: TokenKey,
    /// A claims challenge, as JSON (OpenID Connect Core, section 5.5).
    pub claims: Option<&'p str>,
    /// Who asks, and what for; shown by `keyfob status`.
    pub by: String,
}

/// The outcome of a renewal.
#[derive(Debug)]
pub enum Renewal {
    /// New tokens. The second value is the failure to report if the wanted kind of token is missing or cannot be used.
    Granted(Grant, Option<Failure>),
    /// The provider has ended the grant.
    Ended(Because),
    /// The provider wants a new sign-in for this token alone; the session is good.
    Unmet(Because),
    /// The provider refused the request itself; the session is still good (R41).
    Refused(Failure),
    /// The provider gave no decision: try again later, after this many seconds if the provider said so (R39).
    Trouble(Failure, Option<u64>),
}

/// Why a refresh was refused.
#[derive(Debug)]
pub struct Because {
    /// The provider's message.
    pub text: String,
    /// Whether a policy forbids device code flows, and this session began by one.
    pub forbids_device: bool,
}

/// The outcome of a request that was sent at `sent` for the scopes `asked`. `refused` interprets an error answer.
fn answered(
    client: &Client<'_>,
    ask: &Ask<'_>,
    asked: &[String],
    sent: Timestamp,
    answer: Result<Answer, String>,
    refused: impl FnOnce(&OauthError) -> Renewal,
) -> Renewal {
    let trouble =
        |why: &str, retry_after| Renewal::Trouble(http::unreachable(client.token_endpoint(), why), retry_after);
    match answer {
        Ok(Answer::Object(object)) => match TokenAnswer::read(&object) {
            Ok(answer) => {
                let (grant, problem) = read(&answer, ask, asked, sent, client.skew());
                Renewal::Granted(grant, problem)
            }
            Err(why) => trouble(&why, None),
        },
        Ok(Answer::Error(error)) => refused(&error),
        Ok(Answer::Transient(why, retry_after)) => trouble(&why, retry_after),
        Ok(Answer::Redirect(why) | Answer::Unreadable(why)) | Err(why) => trouble(&why, None),
    }
}

/// Reads the answer to a token request that was sent at `sent` for `scopes`. `skew` is the difference to the server's
/// clock when it answered. The second value is the failure to report if the wanted kind of token cannot be used.
pub fn read(
    answer: &TokenAnswer,
    ask: &Ask<'_>,
    scopes: &[String],
    sent: Timestamp,
    skew: Skew,
) -> (Grant, Option<Failure>) {
    let mut grant = Grant {
        refresh_token: answer.refresh_token.clone(),
        tokens: Vec::new(),
        asked: scopes.to_vec(),
        granted: scopes.to_vec(),
        account: None,
        at: sent,
        by: ask.by.clone(),
    };
    let tokens = match &answer.tokens {
        Ok(tokens) => tokens,
        Err(why) => {
            let what = format!("the provider's answer cannot be used: {why}");
            return (grant, Some(Failure::new(Exit::Failed, what)));
        }
    };
    if let Some(granted) = &tokens.scope {
        grant.granted.retain(|scope| granted.contains(scope));
    }
    let claims = tokens.id_token.as_ref().and_then(Claims::of);
    let skew = best_skew(skew, claims.as_ref(), sent);
    let checked = checked(claims.as_ref(), ask.profile, skew.there(sent));
    // A token for another client, or from another issuer, does not say who signed in here.
    if matches!(checked, Ok(_) | Err(Unusable::Ended | Unusable::NoExpiry)) {
        grant.account = claims.as_ref().and_then(|claims| account(claims, ask.profile.preset.tenant.is_some()));
    }
    let token = |kind, token: &Secret, expires_at: Option<Timestamp>, issued_at: Timestamp| Token {
        key: ask.key.of_kind(kind),
        token: token.clone(),
        serial: Serial::draw(),
        received_at: sent,
        expires_at,
        lifetime: expires_at.map(|end| end.since(issued_at)),
        refresh_at: None,
        tenant: grant.account.as_ref().and_then(|account| account.tenant.clone()),
        claims: ask.claims.map(ClaimsDigest::of),
    };
    let refresh_at = tokens.refresh_in.map(|seconds| sent.plus(seconds));
    let end = access_end(tokens, ask.profile, sent, skew);
    let mut brought = vec![Token { refresh_at, ..token(TokenKind::Access, &tokens.access_token, end, sent) }];
    let problem = tokens.id_token.as_ref().and_then(|id_token| match checked {
        Ok(claims) => {
            let issued_at = claims.issued_at.map_or(sent, |at| skew.here(at));
            brought.push(token(TokenKind::Id, id_token, claims.expires_at.map(|end| skew.here(end)), issued_at));
            None
        }
        Err(why) => unusable(&why, ask.key.kind, skew),
    });
    grant.tokens = brought;
    (grant, problem)
}

/// The failure to report if the ID token cannot be handed out; `None` if only the access token is wanted.
fn unusable(why: &Unusable, wanted: TokenKind, skew: Skew) -> Option<Failure> {
    if wanted == TokenKind::Access {
        debug(|| format!("ignoring the provider's ID token: {why}"));
        return None;
    }
    let failure = Failure::new(Exit::Failed, format!("the provider's ID token cannot be used: {why}"));
    let hint = "if this machine's clock is wrong, set it: the provider does not say what time it is";
    Some(if *why == Unusable::Ended && skew.seconds().is_none() { failure.hint(hint) } else { failure })
}

/// The failure to report if an ID token is wanted and the answer has none.
pub fn no_id_token(profile: &Profile) -> Failure {
    let failure = Failure::new(Exit::Failed, "the provider sent no ID token");
    failure.hint(if profile.scopes.iter().any(|scope| scope == "openid") {
        "have the provider give this client ID tokens, or set `token-kind = \"access\"`"
    } else {
        "add `openid` to `scopes`, or set `token-kind = \"access\"`"
    })
}

/// The best estimate of the server's clock skew. The issuer of an ID token knows the time, whereas the `Date` header
/// may be a proxy's. So an ID token that was issued just now by this machine's clock outweighs `Date`; and if there is
/// no `Date`, an ID token issued in the future shows how far this clock is behind.
fn best_skew(date: Skew, claims: Option<&Claims>, sent: Timestamp) -> Skew {
    let Some(issued_at) = claims.and_then(|claims| claims.issued_at) else { return date };
    let signer = Skew::measured(issued_at, sent);
    if signer.seconds() == Some(0) || (date.seconds().is_none() && issued_at > sent) { signer } else { date }
}

/// When an access token expires (R30): from the answer, otherwise from the token if it is a JWT, otherwise from the
/// provider's row; `None` if only revocation ends it.
fn access_end(tokens: &Tokens, profile: &Profile, sent: Timestamp, skew: Skew) -> Option<Timestamp> {
    if let Some(seconds) = tokens.expires_in {
        return Some(sent.plus(seconds));
    }
    let said = Claims::of(&tokens.access_token).and_then(|claims| claims.expires_at);
    said.map(|end| skew.here(end)).or_else(|| profile.preset.unstated_lifetime.map(|seconds| sent.plus(seconds)))
}

/// The claims of an ID token, if it may be handed out (R33); otherwise the reason why not.
fn checked<'c>(claims: Option<&'c Claims>, profile: &Profile, now: Timestamp) -> Result<&'c Claims, Unusable> {
    let claims = claims.ok_or(Unusable::NoJwt)?;
    let issuer = profile.issuer_template.as_deref().or(profile.issuer.as_ref().map(Address::as_str));
    claims.check(issuer, &profile.session.client_id, now)?;
    Ok(claims)
}

/// The account that an ID token names.
fn account(claims: &Claims, tenants: bool) -> Option<Account> {
    let tenant = claims.tenant.as_deref().filter(|_| tenants).map(clean);
    claims.name.clone().map(|name| Account { name, subject: claims.subject.clone(), tenant })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use crate::config::resolved;
    use crate::failure::Hint;
    use crate::oauth::json::Members;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, from_value, json};

    const SENT: Timestamp = Timestamp(10_000);
    const LAB: &[(&str, &str)] = &[("issuer", "https://id.example"), ("client-id", "c")];

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// An ID token for the profile above, with these claims changed.
    fn id_token(changes: Value) -> String {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "c", "sub": "1", "name": "ada", "tid": "t", "iat": 10_000, "exp": 12_000
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwt(&claims)
    }

    /// What is read from an answer with an access token and these members, if a token of this kind is wanted. The
    /// server's clock is `ahead` by so many seconds, if it says.
    fn read_by(flags: &[(&str, &str)], members: Value, kind: &str, ahead: Option<i64>) -> (Grant, Option<Failure>) {
        let profile = resolved(flags).unwrap();
        let mut answer = json!({ "access_token": "a", "token_type": "Bearer" });
        answer.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = TokenAnswer::read(&Members::read(answer.to_string().as_bytes()).unwrap()).unwrap();
        let key = from_value(json!({ "kind": kind, "scopes": ["x", "y"] })).unwrap();
        let ask = Ask { profile: &profile, key, claims: None, by: "git".into() };
        let skew = ahead.map_or(Skew::default(), |ahead| Skew::measured(Timestamp(SENT.0 + ahead), SENT));
        read(&answer, &ask, &["x".to_owned(), "y".to_owned()], SENT, skew)
    }

    #[test]
    fn r30_an_access_token_ends_when_the_answer_says_else_the_token_else_the_providers_row() {
        let end =
            |flags, members, ahead| read_by(flags, members, "access", ahead).0.tokens[0].expires_at.map(|at| at.0);
        let by_token = || json!({ "access_token": jwt(&json!({ "exp": 20_000 })) });
        assert_eq!(
            end(LAB, json!({ "expires_in": 600, "access_token": by_token()["access_token"] }), None),
            Some(10_600)
        );
        assert_eq!(end(LAB, by_token(), None), Some(20_000));
        assert_eq!(end(LAB, by_token(), Some(1_000)), Some(19_000), "by the server's clock");
        assert_eq!(end(LAB, json!({}), None), Some(13_600));
        assert_eq!(end(&[("provider", "github"), ("client-id", "c")], json!({}), None), None);
    }

    /// `Date` may be a proxy's; the issuer of an ID token knows the time.
    #[test]
    fn an_id_token_ends_by_the_clock_that_is_most_likely_its_issuers() {
        for (issued_at, ahead, end, lifetime) in [
            (10_000, None, 12_000, 2_000),
            (10_000, Some(1_000), 12_000, 2_000),
            (11_000, None, 11_000, 1_000),
            (11_000, Some(500), 11_500, 1_000),
            (5_000, None, 12_000, 7_000),
            (5_000, Some(1_000), 11_000, 7_000),
        ] {
            let token = id_token(json!({ "iat": issued_at }));
            let (grant, _) = read_by(LAB, json!({ "id_token": token }), "id", ahead);
            let id = &grant.tokens[1];
            assert_eq!(
                (id.key.kind, id.expires_at, id.lifetime),
                (TokenKind::Id, Some(Timestamp(end)), Some(lifetime))
            );
        }
    }

    #[test]
    fn r33_an_id_token_that_may_not_be_handed_out_is_a_failure_only_if_it_is_wanted() {
        let cannot = "the provider's ID token cannot be used:";
        let clock = "if this machine's clock is wrong, set it: the provider does not say what time it is";
        for (token, ahead, account, why, hint) in [
            (id_token(json!({})), None, Some("ada"), None, None),
            (id_token(json!({ "aud": "d" })), None, None, Some("it is not meant for the client \"c\""), None),
            (
                id_token(json!({ "iss": "x" })),
                None,
                None,
                Some("its issuer is \"x\", not \"https://id.example\""),
                None,
            ),
            (
                id_token(json!({ "exp": 9_000, "iat": 8_000 })),
                None,
                Some("ada"),
                Some("it has already expired"),
                Some(clock),
            ),
            (
                id_token(json!({ "exp": 9_000, "iat": 8_000 })),
                Some(0),
                Some("ada"),
                Some("it has already expired"),
                None,
            ),
            ("opaque".into(), None, None, Some("it is not a JWT"), None),
        ] {
            let read = |kind| read_by(LAB, json!({ "id_token": token }), kind, ahead);
            let (grant, problem) = read("access");
            assert_eq!((grant.account.map(|account| account.name).as_deref(), problem), (account, None), "{token}");
            assert_eq!(grant.tokens.len(), if why.is_none() { 2 } else { 1 });
            let problem = read("id").1;
            let message = problem.as_ref().map(|failure| failure.message.clone());
            assert_eq!(message, why.map(|why| format!("{cannot} {why}")));
            assert_eq!(problem.as_ref().and_then(|failure| failure.hint.as_ref()).map(Hint::text), hint, "{why:?}");
        }
    }

    #[test]
    fn an_account_has_a_tenant_where_the_provider_has_tenants() {
        let token = id_token(json!({ "iss": "https://login.microsoftonline.com/t/v2.0" }));
        let entra = &[("provider", "entra"), ("client-id", "c"), ("tenant", "t")][..];
        let (grant, _) = read_by(entra, json!({ "id_token": token }), "access", None);
        let account = Account { name: "ada".into(), subject: Some("1".into()), tenant: Some("t".into()) };
        assert_eq!((grant.account, grant.tokens[0].tenant.as_deref()), (Some(account), Some("t")));
        let (grant, _) = read_by(LAB, json!({ "id_token": id_token(json!({})) }), "access", None);
        assert_eq!(grant.account.unwrap().tenant, None);
    }

    #[test]
    fn what_was_granted_is_what_was_asked_for_unless_the_answer_says_less() {
        let granted = |members| read_by(LAB, members, "access", None).0.granted.join(" ");
        assert_eq!((granted(json!({})), granted(json!({ "scope": "y z" }))), ("x y".into(), "y".into()));
        let refresh = json!({ "access_token": "", "refresh_token": "r" });
        let (grant, problem) = read_by(LAB, refresh, "access", None);
        assert_eq!((grant.refresh_token.unwrap().expose(), grant.tokens.len()), ("r", 0));
        assert!(problem.unwrap().message.starts_with("the provider's answer cannot be used: "));
    }

    #[test]
    fn who_wants_an_id_token_is_told_how_to_get_one() {
        let hint = |scopes| {
            let profile = resolved(&[LAB, &[("scopes", scopes)]].concat()).unwrap();
            no_id_token(&profile).hint.unwrap().text().to_owned()
        };
        assert_eq!(hint("api"), "add `openid` to `scopes`, or set `token-kind = \"access\"`");
        let given = "have the provider give this client ID tokens, or set `token-kind = \"access\"`";
        assert_eq!(hint("openid"), given);
    }
}
