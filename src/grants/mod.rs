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
