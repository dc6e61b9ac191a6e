//! What answers a caller in the program: the profile is found, and its token acquired.

use super::host_callers;
use super::seam::{Credential, Described, Kind, Outcome, Refused, Want, What, Whose};
use crate::acquire::{self, acquire};
use crate::arguments::Arguments;
use crate::clock::Timestamp;
use crate::config::hosts::{check_callers, find};
use crate::config::{self, Az, HostPattern, HostRule, Profile, Target};
use crate::failure::{Exit, Failure};
use crate::providers::TokenKind;
use crate::secret::Secret;
use crate::session::Token;
use crate::store::{HandedOut, Store};
use anyhow::Result;
use std::time::Duration;

/// Longest time that dropping a token waits for another process, which is probably getting a new one.
const ERASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a caller.
pub fn ask(want: Want<'_>) -> Outcome {
    let found = match want.whose {
        Whose::Selected(arguments) => Found::selected(arguments),
        Whose::Cluster(arguments, cluster) => Found::for_cluster(arguments, cluster),
        Whose::Az(arguments) => Found::for_az(arguments),
        Whose::Host { target, caller, given } => match rule(target, caller, given) {
            // The host is ours: what goes wrong from here on does not let another helper answer.
            Ok(Some((file, rule))) => Found::by_rule(file, rule),
            Ok(None) => return Outcome::NotMine,
            Err(error) => return Outcome::Misconfigured(Failure::of(&error)),
        },
    };
    found.and_then(|found| found.answer(want)).unwrap_or_else(|error| Outcome::Failed(Failure::of(&error)))
}

/// The rule that a host falls under, and the file it is in; `given` stands for the whole of `[hosts]`.
fn rule(
    target: &Target,
    caller: &str,
    given: Option<(&str, &HostPattern)>,
) -> Result<Option<(config::File, HostRule)>> {
    if given.is_some_and(|(_, pattern)| !pattern.matches(target)) {
        return Ok(None);
    }
    let file = config::load()?;
    if let Some((profile, pattern)) = given {
        return Ok(Some((file, HostRule::given(profile, pattern.clone()))));
    }
    check_callers(&file.hosts, &host_callers())?;
    let rule = find(&file.hosts, target, caller).cloned();
    Ok(rule.map(|rule| (file, rule)))
}

/// The profile that answers, and what the configuration says besides.
struct Found {
    profile: Profile,
    rule: Option<HostRule>,
    az: Az,
}

impl Found {
    fn selected(arguments: &Arguments) -> Result<Self> {
        let profile = Profile::select(&arguments.selection()?)?;
        Ok(Self { profile, rule: None, az: Az::default() })
    }

    fn for_cluster(arguments: &Arguments, cluster: Option<&Target>) -> Result<Self> {
        let found = Self::selected(arguments)?;
        check_cluster(&found.profile, arguments, cluster)?;
        Ok(found)
    }

    fn for_az(arguments: &Arguments) -> Result<Self> {
        let (profile, az) = Profile::for_az(&arguments.selection()?)?;
        Ok(Self { profile, rule: None, az })
    }

    fn by_rule(file: config::File, rule: HostRule) -> Result<Self> {
        let profile = Profile::named(file, &rule.profile)?;
        Ok(Self { profile, rule: Some(rule), az: Az::default() })
    }

    fn answer(self, want: Want<'_>) -> Result<Outcome> {
        match want.what {
            What::Token => self.token(want).map(Outcome::Credential),
            What::Profile => Ok(Outcome::Profile(self.described())),
            What::Account => self.account().map(Outcome::Profile),
            What::Erase(token) => erase(&self.profile, token).map(|()| Outcome::Done),
        }
    }

    fn token(self, want: Want<'_>) -> Result<Credential> {
        let Self { mut profile, rule, az } = self;
        if !want.scopes.is_empty() || want.tenant.is_some() {
            profile = profile.asking(want.scopes, want.tenant)?;
        }
        let kind = match want.kind {
            Kind::Usual => profile.token_kind.unwrap_or(TokenKind::Access),
            Kind::Kubernetes => profile.kubernetes_kind(),
            Kind::Access => TokenKind::Access,
        };
        let handed_out = match want.refused {
            Refused::IfAskedBefore(request) => HandedOut::look(&profile.session, request),
            Refused::Unknown | Refused::Token(_) => None,
        };
        let before = handed_out.as_ref().and_then(HandedOut::before);
        let usual = acquire::Want::of(&profile, kind, want.requester);
        let credential = acquire(&acquire::Want {
            min_life: want.min_life.unwrap_or(usual.min_life),
            purpose: want.purpose,
            no_prompt: want.no_prompt,
            refused: match want.refused {
                Refused::Token(serial) => Some(acquire::Refused::Surely(serial)),
                Refused::Unknown | Refused::IfAskedBefore(_) => before.map(acquire::Refused::Perhaps),
            },
            claims: want.claims,
            timeout: want.timeout,
            ..usual
        })?;
        if let Some(handed_out) = handed_out {
            handed_out.note(credential.serial, before.is_some());
        }
        let (auth, username) = rule.map_or((None, None), |rule| (rule.auth, rule.username));
        Ok(Credential {
            token: credential.token,
            serial: credential.serial,
            kind: credential.kind,
            expires_at: credential.expires_at,
            account: credential.account,
            tenant: credential.tenant.or_else(|| profile.tenant().map(str::to_owned)),
            auth,
            usual_auth: profile.preset.host_auth,
            username: username.map_or(profile.preset.basic_username.into(), Into::into),
            profile: profile.name.unwrap_or(profile.session.authority),
            subscription: az.subscription,
        })
    }

    fn described(self) -> Described {
        let tenant = self.profile.tenant().map(str::to_owned);
        let machine = self.profile.machine.is_some();
        let (authority, subscription) = (self.profile.session.authority, self.az.subscription);
        Described { authority, machine, account: None, tenant, subscription }
    }

    fn account(self) -> Result<Described> {
        if self.profile.machine.is_some() {
            let id = Some(self.profile.session.client_id.clone()).filter(|id| !id.is_empty());
            // As az calls the one that has no id of its own.
            let account = id.or_else(|| Some("systemAssignedIdentity".to_owned()));
            return Ok(Described { account, ..self.described() });
        }
        let session = match Store::open()? {
            Some(store) => store.session(&self.profile.session).session()?,
            None => None,
        };
        let Some(session) = session.filter(|session| session.is_signed_in(Timestamp::now())) else {
            let failure = Failure::new(Exit::SignInNeeded, "nobody is signed in");
            return Err(failure.run(self.profile.command("login")).into());
        };
        let account = session.account.unwrap_or_default();
        let described = self.described();
        Ok(Described { account: Some(account.name), tenant: account.tenant.or(described.tenant), ..described })
    }
}

/// Fails if a profile that names its clusters is not to answer this one. The request has to say which it is, and the
/// kubeconfig, where flags stand, may say nothing else about the profile or the request.
fn check_cluster(profile: &Profile, arguments: &Arguments, cluster: Option<&Target>) -> Result<(), Failure> {
    if profile.clusters.is_empty() {
        return Ok(());
    }
    let name = profile.title();
    if let Some(flag) = arguments.beside_profile() {
        return Err(Failure::usage(format!("profile {name:?} has `clusters`, and takes no flag but --profile"))
            .hint(format!("leave out --{flag}")));
    }
    let Some(cluster) = cluster else {
        return Err(Failure::usage(format!(
            "profile {name:?} has `clusters`, and the request does not say which one asks"
        ))
        .hint("set `provideClusterInfo: true` in the kubeconfig's exec section"));
    };
    if profile.clusters.iter().any(|pattern| pattern.matches(cluster)) {
        return Ok(());
    }
    Err(Failure::usage(format!("{} is not among the `clusters` of profile {name:?}", cluster.origin()))
        .hint("add it there only if its token may go to that cluster"))
}

/// Drops an access token that did not work, if it is still in the session.
fn erase(profile: &Profile, failed: &Secret) -> Result<()> {
    let Some(store) = Store::open()? else { return Ok(()) };
    let file = store.session(&profile.session);
    let holds = |tokens: &[Token]| tokens.iter().any(|t| t.token == *failed);
    if file.session()?.is_some_and(|session| holds(&session.tokens)) {
        file.update(ERASE_TIMEOUT, |session| session.tokens.retain(|t| t.token != *failed))?;
    }
    Ok(())
}
