//! Ways to get tokens without a person. [`refresh`] is the one for sessions that a person began; [`machine`] holds those of
//! machines, which prove what they are by a token from one of the [`sources`].
//!
//! This file reads a token answer, however it was asked for: which tokens are in it, whose they are, and until when they
//! are good by this machine's clock.

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

/// What a grant is asked for.
#[derive(Debug)]
pub struct Ask<'p> {
    /// The profile that asks.
    pub profile: &'p Profile,
    /// What its token is filed under.
    pub key: TokenKey,
    /// A claims challenge, as JSON (OpenID Connect Core, section 5.5).
    pub claims: Option<&'p str>,
    /// Who asks and what for, for `keyfob status`.
    pub by: String,
}

/// How a renewal ended.
#[derive(Debug)]
pub enum Renewal {
    /// With tokens. The second value says what is wrong, if the one that was asked for is not among what can be used.
    Granted(Grant, Option<Failure>),
    /// The provider has ended the grant.
    Ended(Because),
    /// The provider wants a new sign-in for just this; the session is good.
    Unmet(Because),
    /// The provider refused the request as it is; the session is not to blame (R41).
    Refused(Failure),
    /// Nothing was decided: try again later, after so many seconds if the provider said so (R39).
    Trouble(Failure, Option<u64>),
}

/// Why a refresh brought nothing.
#[derive(Debug)]
pub struct Because {
    /// In the provider's words.
    pub text: String,
    /// A policy forbids this to sessions that began by device code, as this one did.
    pub forbids_device: bool,
}

/// How a renewal ended whose request was sent at `sent` for the scopes `asked`; `refused` says what an error answer means.
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

/// A token answer that was asked for at `sent` with `scopes`; `skew` is what the server's clock said when it answered. The
/// second value says what is wrong with it, if the kind of token that was asked for is not among what can be used.
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
    // One that was issued to another client, or by another issuer, says nothing of who signed in here.
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

/// The failure of an ID token that cannot be handed out, where one is wanted.
fn unusable(why: &Unusable, wanted: TokenKind, skew: Skew) -> Option<Failure> {
    if wanted == TokenKind::Access {
        debug(|| format!("ignoring the provider's ID token: {why}"));
        return None;
    }
    let failure = Failure::new(Exit::Failed, format!("the provider's ID token cannot be used: {why}"));
    let hint = "if this machine's clock is wrong, set it: the provider does not say what time it is";
    Some(if *why == Unusable::Ended && skew.seconds().is_none() { failure.hint(hint) } else { failure })
}

/// The failure of an answer without an ID token, where one is wanted.
pub fn no_id_token(profile: &Profile) -> Failure {
    let failure = Failure::new(Exit::Failed, "the provider sent no ID token");
    failure.hint(if profile.scopes.iter().any(|scope| scope == "openid") {
        "have the provider give this client ID tokens, or set `token-kind = \"access\"`"
    } else {
        "add `openid` to `scopes`, or set `token-kind = \"access\"`"
    })
}

/// How far the server's clock is ahead. The signer of an ID token knows the time; a proxy that sends `Date` may not. So a
/// token that was issued just now, by this machine's clock, outweighs `Date`; and without `Date`, one issued in the future
/// says how far this clock is behind.
fn best_skew(date: Skew, claims: Option<&Claims>, sent: Timestamp) -> Skew {
    let Some(issued_at) = claims.and_then(|claims| claims.issued_at) else { return date };
    let signer = Skew::measured(issued_at, sent);
    if signer.seconds() == Some(0) || (date.seconds().is_none() && issued_at > sent) { signer } else { date }
}

/// When an access token ends (R30): as the answer says, else as the token says if it is a JWT, else as the provider's row
/// says; `None` if only revocation ends it.
fn access_end(tokens: &Tokens, profile: &Profile, sent: Timestamp, skew: Skew) -> Option<Timestamp> {
    if let Some(seconds) = tokens.expires_in {
        return Some(sent.plus(seconds));
    }
    let said = Claims::of(&tokens.access_token).and_then(|claims| claims.expires_at);
    said.map(|end| skew.here(end)).or_else(|| profile.preset.unstated_lifetime.map(|seconds| sent.plus(seconds)))
}

/// The claims of an ID token that may be handed out (R33); else why not.
fn checked<'c>(claims: Option<&'c Claims>, profile: &Profile, now: Timestamp) -> Result<&'c Claims, Unusable> {
    let claims = claims.ok_or(Unusable::NoJwt)?;
    let issuer = profile.issuer_template.as_deref().or(profile.issuer.as_ref().map(Address::as_str));
    claims.check(issuer, &profile.session.client_id, now)?;
    Ok(claims)
}

/// Who signed in, as an ID token says.
fn account(claims: &Claims, tenants: bool) -> Option<Account> {
    let tenant = claims.tenant.as_deref().filter(|_| tenants).map(clean);
    claims.name.clone().map(|name| Account { name, subject: claims.subject.clone(), tenant })
}
