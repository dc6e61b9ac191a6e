//! The grants of machines: a token for a proof of what the machine is. There is no refresh token; the next token is
//! requested in the same way.

use super::{Ask, Renewal, acr, answered, aws, delegated, managed_identity, sources};
use crate::clock::Timestamp;
use crate::config::{Machine, MachineGrant};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::oauth::answer::OauthError;
use crate::oauth::id_token::Claims;
use crate::oauth::{Client, Request};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::{ClaimsDigest, Grant, Serial, Token};
use crate::text::clean;

/// The grant type of a token exchange (RFC 8693, section 2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The grant type of a JWT bearer assertion (RFC 7523, section 2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The prefix of token type identifiers (RFC 8693, section 3).
const TYPE: &str = "urn:ietf:params:oauth:token-type:";
/// A token with at least this lifetime, in seconds, is renewed after half of it, which leaves hours for an outage to
/// pass.
const LONG: u64 = 2 * 3600;
/// How long a source's own token is kept if it does not say when it expires, in seconds.
const UNSTATED: u64 = 300;

/// A token that proves what this machine is.
pub struct Proven {
    /// The token.
    pub token: Secret,
    /// Its type, for a token exchange (RFC 8693, section 3).
    pub kind: &'static str,
}

impl Proven {
    /// A token of another profile.
    pub fn of_profile(token: Secret, kind: TokenKind) -> Self {
        Self { token, kind: if kind == TokenKind::Id { "id_token" } else { "access_token" } }
    }
}

/// Sends one request for the grant of `machine`. `client` is for the profile's server, if the grant uses one. `proven`
/// is the source's token, if the profile has a source.
pub fn ask(client: Option<&Client<'_>>, machine: &Machine, ask: &Ask<'_>, proven: Option<&Proven>) -> Renewal {
    debug(|| format!("asking for a token of {}", ask.profile.title()));
    let renewal = match (machine.grant, client, proven) {
        (MachineGrant::ManagedIdentity, ..) => managed_identity::ask(ask),
        (MachineGrant::Az | MachineGrant::Azd, ..) => delegated::ask(machine.grant, ask),
        (MachineGrant::AwsRole, _, Some(proven)) => aws::ask(ask, machine, proven),
        (MachineGrant::Acr, _, Some(proven)) => acr::ask(ask, machine, proven),
        (_, Some(client), _) => at_server(client, machine, ask, proven),
        (_, None, Some(proven)) => as_it_is(ask, &proven.token),
        (_, None, None) => Renewal::Refused(Failure::usage("the profile names neither a server nor a source")),
    };
    match renewal {
        Renewal::Granted(grant, problem) => Renewal::Granted(of_a_machine(grant), problem),
        other => other,
    }
}

/// Uses the source's own token as the answer.
fn as_it_is(ask: &Ask<'_>, token: &Secret) -> Renewal {
    let end = Claims::of(token).and_then(|claims| claims.expires_at).unwrap_or(Timestamp::now().plus(UNSTATED));
    granted(ask, token.clone(), end)
}

/// A grant of one token that did not come in an OAuth answer and expires at `end`.
pub(super) fn granted(ask: &Ask<'_>, token: Secret, end: Timestamp) -> Renewal {
    let at = Timestamp::now();
    let token = Token {
        key: ask.key.clone(),
        token,
        serial: Serial::draw(),
        received_at: at,
        expires_at: Some(end),
        lifetime: Some(end.since(at)),
        refresh_at: None,
        tenant: None,
        claims: ask.claims.map(ClaimsDigest::of),
    };
    let (by, asked) = (ask.by.clone(), Vec::new());
    let granted = Vec::new();
    Renewal::Granted(Grant { refresh_token: None, tokens: vec![token], asked, granted, account: None, at, by }, None)
}

fn at_server(client: &Client<'_>, machine: &Machine, ask: &Ask<'_>, proven: Option<&Proven>) -> Renewal {
    let scopes = &ask.profile.scopes;
    let request = match machine.grant {
        MachineGrant::TokenExchange => exchange(client.token_request(TOKEN_EXCHANGE, scopes), machine, ask, proven),
        MachineGrant::JwtBearer => {
            client.token_request(JWT_BEARER, scopes).with_secret("assertion", proven.map(|proven| &proven.token))
        }
        _ => {
            let request = client.token_request("client_credentials", scopes);
            match proven {
                Some(proven) => request.with_assertion(&proven.token),
                None => request,
            }
        }
    };
    let request = request.with("claims", ask.claims);
    let sent = Timestamp::now();
    let answer = request.send();
    let renewal = answered(client, ask, scopes, sent, answer, |error| refused(client, error, proven));
    match renewal {
        // The exchanged token is always in `access_token`, whatever its type (RFC 8693, section 2.2.1).
        Renewal::Granted(mut grant, _) if machine.grant == MachineGrant::TokenExchange => {
            grant.tokens.retain(|token| token.key.kind == TokenKind::Access);
            grant.tokens.iter_mut().for_each(|token| token.key = ask.key.clone());
            Renewal::Granted(grant, None)
        }
        renewal => renewal,
    }
}

/// Adds the parameters of a token exchange (RFC 8693, section 2.1).
fn exchange<'c>(request: Request<'c>, machine: &Machine, ask: &Ask<'_>, proven: Option<&Proven>) -> Request<'c> {
    let kind = proven.map(|proven| format!("{TYPE}{}", proven.kind));
    let wanted = (ask.key.kind == TokenKind::Id).then(|| format!("{TYPE}id_token"));
    request
        .with_secret("subject_token", proven.map(|proven| &proven.token))
        .with("subject_token_type", machine.subject_token_type.as_deref().or(kind.as_deref()))
        .with("requested_token_type", machine.requested_token_type.as_deref().or(wanted.as_deref()))
}

/// A grant as a machine keeps it: without a refresh token, because a machine can ask at any time; tokens with a long
/// lifetime are renewed early.
fn of_a_machine(mut grant: Grant) -> Grant {
    grant.refresh_token = None;
    grant.account = None;
    for token in &mut grant.tokens {
        let half = token.lifetime.filter(|life| *life >= LONG).map(|life| token.received_at.plus(life / 2));
        token.refresh_at = token.refresh_at.or(half);
    }
    grant
}

/// The outcome of an error answer. If the machine presented another issuer's token, the failure describes that token,
/// because the provider has to be configured to trust it.
fn refused(client: &Client<'_>, error: &OauthError, proven: Option<&Proven>) -> Renewal {
    let failure = client.refused(error, "the provider refused this machine a token");
    let about_it =
        matches!(error.code.as_str(), "invalid_client" | "invalid_grant" | "unauthorized_client" | "invalid_request");
    Renewal::Refused(match proven.filter(|_| about_it) {
        Some(proven) => with_proof(failure, proven),
        None => failure,
    })
}

/// Adds to a failure which token was presented.
pub(super) fn with_proof(failure: Failure, proven: &Proven) -> Failure {
    let Some(claims) = Claims::of(&proven.token) else { return failure };
    let said = |claim: Option<&String>| claim.map_or_else(|| "none".to_owned(), |text| format!("{:?}", clean(text)));
    let audiences = claims.audience.iter().map(|one| format!("{:?}", clean(one))).collect::<Vec<_>>().join(", ");
    let (issuer, subject) = (said(claims.issuer.as_ref()), said(claims.subject.as_ref()));
    let first = failure.hint.as_ref().map(|hint| format!("{}; ", hint.text())).unwrap_or_default();
    let shown = format!("{first}it was shown a token of the issuer {issuer}, subject {subject}, audience {audiences}");
    failure.hint(shown)
}

impl From<Failure> for Renewal {
    /// A source that cannot be reached may work later; any other failure is a refusal.
    fn from(failure: Failure) -> Self {
        if failure.exit == Exit::Unreachable { Self::Trouble(failure, None) } else { Self::Refused(failure) }
    }
}

/// The token from the profile's source; `None` if there is none, or if the source is another profile.
pub fn proven(ask: &Ask<'_>, machine: &Machine) -> Result<Option<Proven>, Failure> {
    let Some(source) = &machine.source else { return Ok(None) };
    let token = sources::token(source, ask.profile)?;
    Ok(Some(Proven { token, kind: "jwt" }))
}
