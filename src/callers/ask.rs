//! Answers callers in the program: finds the profile, and acquires its token.

use super::host_callers;
use super::seam::{Credential, Described, Failed, Kind, Outcome, Refused, Want, What, Whose, is_new};
use crate::acquire::{self, Acquired, Requester, acquire};
use crate::arguments::Arguments;
use crate::clock::Timestamp;
use crate::config::hosts::{check_callers, find, of_caller, of_host};
use crate::config::{self, Asked, Az, HostPattern, HostRule, Profile, Target};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::providers::TokenKind;
use crate::store::{HandedOut, Store};
use anyhow::Result;
use std::time::Duration;

/// How long dropping a token waits for another process, which is probably getting a new token.
const ERASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a caller.
pub fn ask(want: Want<'_>) -> Outcome {
    if let (Whose::Host { target, caller, given }, What::Erase(Some(failed))) = (want.whose, want.what) {
        return erase(target, caller, given, failed).unwrap_or_else(|error| Outcome::Failed(Failure::of(&error)));
    }
    let found = match want.whose {
        Whose::Selected(arguments) => Found::selected(arguments),
        Whose::Cluster(arguments, cluster) => Found::for_cluster(arguments, cluster),
        Whose::Role(arguments, role, region) => Found::for_role(arguments, role, region),
        Whose::Az(arguments) => Found::for_az(arguments),
        Whose::EveryHost(caller) => return every_host(caller, &want),
        Whose::Host { target, caller, .. } if want.what == What::Mapped => {
            return match is_mapped(target, caller) {
                Ok(true) => Outcome::Done,
                Ok(false) => Outcome::NotMine,
                Err(error) => Outcome::Misconfigured(Failure::of(&error)),
            };
        }
        Whose::Host { target, caller, given } => match rule(target, caller, given) {
            // The host is ours, so a failure from here on must not let another helper answer.
            Ok(Some((file, rule))) => Found::by_rule(file, rule).and_then(|found| found.at(target)),
            Ok(None) => return Outcome::NotMine,
            Err(error) => return Outcome::Misconfigured(Failure::of(&error)),
        },
    };
    found.and_then(|found| found.answer(want)).unwrap_or_else(|error| Outcome::Failed(Failure::of(&error)))
}

/// The rule for a host, and the configuration it is in. `given` replaces all of `[hosts]`.
fn rule(
    target: &Target,
    caller: &str,
    given: Option<(&str, &HostPattern)>,
) -> Result<Option<(config::File, HostRule)>> {
    if let Some((_, pattern)) = given.filter(|(_, pattern)| !pattern.matches(target)) {
        debug(|| format!("the request for {} is not one for {}", target.origin(), pattern.canonical()));
        return Ok(None);
    }
    if let Some((profile, pattern)) = given {
        let file = config::load_part(Asked::Profile(Some(profile)))?;
        return Ok(Some((file, HostRule::given(profile, pattern.clone()))));
    }
    let file = config::load_part(Asked::Host(target))?;
    check_callers(&file.hosts, &host_callers())?;
    let rule = find(&file.hosts, target, caller).cloned();
    Ok(rule.map(|rule| (file, rule)))
}

/// Whether a rule for this caller is about the host, regardless of paths.
fn is_mapped(target: &Target, caller: &str) -> Result<bool> {
    let (file, origin) = (config::load()?, target.origin());
    check_callers(&file.hosts, &host_callers())?;
    Ok(file.hosts.iter().any(|rule| rule.is_for(caller) && rule.pattern.overlaps(&origin)))
}

/// The cached tokens of the hosts that a caller answers for. A profile with mistakes has none.
fn every_host(caller: &'static str, want: &Want<'_>) -> Outcome {
    let file = match config::load() {
        Ok(file) => file,
        Err(error) => return Outcome::Misconfigured(Failure::of(&error)),
    };
    let rules =
        of_caller(&file.hosts, caller).filter(|rule| !rule.pattern.is_wildcard() && rule.pattern.username().is_none());
    let cached = rules.filter_map(|rule| {
        let found = Found::by_rule(file.clone(), rule.clone()).ok()?;
        found.token(want.clone(), acquire::cached).ok()?
    });
    Outcome::Hosts(cached.collect())
}

/// The profile that answers, with the rule and `[az]` settings that led to it.
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

    fn for_role(arguments: &Arguments, role: &str, region: Option<&str>) -> Result<Self> {
        let profile = Profile::for_role(&arguments.selection()?, role, region)?;
        Ok(Self { profile, rule: None, az: Az::default() })
    }

    fn for_az(arguments: &Arguments) -> Result<Self> {
        let (profile, az) = Profile::for_az(&arguments.selection()?)?;
        Ok(Self { profile, rule: None, az })
    }

    fn by_rule(file: config::File, rule: HostRule) -> Result<Self> {
        let profile = Profile::named(file, &rule.profile)?;
        Ok(Self { profile, rule: Some(rule), az: Az::default() })
    }

    /// Fails if the profile's tokens are for one registry and the host is another.
    fn at(self, target: &Target) -> Result<Self> {
        let registry = self.profile.machine.as_ref().and_then(|machine| machine.registry.as_deref());
        let is_it = |registry| Target::parse("https", registry, None, None).is_some_and(|own| own.is_same_host(target));
        match registry.filter(|registry| !is_it(registry)) {
            None => Ok(self),
            Some(registry) => {
                let what = format!("the profile {:?} is for the registry {registry} alone", self.profile.title());
                Err(Failure::usage(what).hint("map each registry to a profile of its own").into())
            }
        }
    }

    fn answer(self, want: Want<'_>) -> Result<Outcome> {
        match want.what {
            What::Token => {
                let token = self.token(want, |want| acquire(want).map(Some))?;
                Ok(token.map_or(Outcome::Done, Outcome::Credential))
            }
            What::Cached => Ok(Outcome::Hosts(self.token(want, acquire::cached)?.into_iter().collect())),
            What::Mapped => Ok(Outcome::Done),
            What::Profile => Ok(Outcome::Profile(self.described())),
            What::Account => self.account().map(Outcome::Profile),
            What::Erase(_) => self.forget().map(|()| Outcome::Done),
        }
    }

    /// The token, which `get` obtains.
    fn token(
        self,
        want: Want<'_>,
        get: impl Fn(&acquire::TokenWant<'_>) -> Result<Option<Acquired>>,
    ) -> Result<Option<Credential>> {
        let Self { mut profile, rule, az } = self;
        if !want.scopes.is_empty() || want.tenant.is_some() {
            profile = profile.asking(want.scopes, want.tenant)?;
        }
        let kind = match want.kind {
            Kind::Usual => usual_kind(&profile),
            Kind::Kubernetes => profile.kubernetes_kind(),
            Kind::Id => profile.token_kind.unwrap_or(TokenKind::Id),
            Kind::Access => TokenKind::Access,
        };
        let handed_out = match want.refused {
            Refused::IfAskedBefore(request) => HandedOut::look(&profile.session, request),
            Refused::Unknown | Refused::Token(_) => None,
        };
        let before = handed_out.as_ref().and_then(HandedOut::before);
        let usual = acquire::TokenWant::of(&profile, kind, want.requester);
        let credential = get(&acquire::TokenWant {
            min_life: want.min_life.unwrap_or(usual.min_life),
            purpose: want.purpose,
            no_prompt: want.no_prompt,
            forbids: want.forbids,
            refused: match want.refused {
                Refused::Token(serial) => Some(acquire::RefusedToken::Surely(serial)),
                Refused::Unknown | Refused::IfAskedBefore(_) => before.map(acquire::RefusedToken::Perhaps),
            },
            claims: want.claims,
            timeout: want.timeout,
            ..usual
        })?;
        let Some(credential) = credential else { return Ok(None) };
        if let Some(handed_out) = handed_out {
            handed_out.note(credential.serial, before.is_some());
        }
        let (auth, username, pattern) =
            rule.map_or((None, None, None), |rule| (rule.auth, rule.username, Some(rule.pattern)));
        Ok(Some(Credential {
            token: credential.token,
            serial: credential.serial,
            kind: credential.kind,
            received_at: credential.received_at,
            expires_at: credential.expires_at,
            account: credential.account,
            tenant: credential.tenant.or_else(|| profile.tenant().map(str::to_owned)),
            auth,
            pattern,
            usual_auth: profile.preset.host_auth,
            username: username.map_or(profile.basic_username().into(), Into::into),
            profile: profile.name.unwrap_or(profile.session.authority),
            subscription: az.subscription,
        }))
    }

    /// Drops the cached access token.
    fn forget(&self) -> Result<()> {
        let Some(store) = Store::open()? else { return Ok(()) };
        let file = store.session(&self.profile.session);
        let wanted = acquire::TokenWant::of(&self.profile, usual_kind(&self.profile), Requester::Person);
        let key = acquire::token_key(&wanted);
        if file.session()?.is_some_and(|session| session.token(&key).is_some()) {
            file.update(ERASE_TIMEOUT, |session| session.tokens.retain(|token| token.key != key))?;
        }
        Ok(())
    }

    fn described(self) -> Described {
        let tenant = self.profile.tenant().map(str::to_owned);
        let machine = self.profile.machine.is_some();
        let Profile { session, audience, .. } = self.profile;
        let subscription = self.az.subscription;
        Described { authority: session.authority, machine, account: None, tenant, subscription, audience }
    }

    fn account(self) -> Result<Described> {
        if self.profile.machine.is_some() {
            let id = Some(self.profile.session.client_id.clone()).filter(|id| !id.is_empty());
            // az shows this name for an identity without a client id.
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

/// Fails if the profile has `clusters` and this cluster is not among them. The request must name the cluster, and the
/// flags, which come from the kubeconfig, may not change anything else.
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

/// The kind of token for callers that need no special one.
fn usual_kind(profile: &Profile) -> TokenKind {
    profile.token_kind.unwrap_or(TokenKind::Access)
}

/// Drops a token that a host refused, if a profile for the host still holds it. The user name is ignored, because in
/// this request it is the one that was handed out. A token that was sent in a scheme that the host does not accept is
/// kept.
fn erase(
    target: &Target,
    caller: &str,
    given: Option<(&str, &HostPattern)>,
    Failed { token, scheme }: &Failed,
) -> Result<Outcome> {
    let file = config::load()?;
    let given = given.map(|(profile, pattern)| [HostRule::given(profile, pattern.clone())]);
    let rules = given.as_ref().map_or(&*file.hosts, |rule| rule);
    let mut outcome = Outcome::NotMine;
    for rule in of_host(rules, target, caller).filter(|rule| rule.auth.is_none_or(|auth| auth == *scheme)) {
        let profile = Profile::named(file.clone(), &rule.profile)?;
        let Some(store) = Store::open()? else { return Ok(Outcome::Done) };
        let store_file = store.session(&profile.session);
        let session = store_file.session()?;
        let failed = session.as_ref().and_then(|session| session.tokens.iter().find(|held| held.token == *token));
        match failed {
            Some(failed) if is_new(failed.received_at) => {
                let account = session.as_ref().and_then(|session| session.account.as_ref());
                return Ok(Outcome::Kept { account: account.map(|account| account.name.clone()) });
            }
            Some(_) => {
                store_file.update(ERASE_TIMEOUT, |session| session.tokens.retain(|held| held.token != *token))?;
            }
            None => {}
        }
        outcome = Outcome::Done;
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::super::kubernetes;
    use super::*;
    use crate::secret::Secret;
    use crate::session::Serial;
    use std::ffi::OsString;
    use std::path::Path;

    const CONFIG: &str = "\
[profile.lab]
issuer = 'https://id.example'
client-id = 'c'
audience = 'k8s'
clusters = ['https://k8s.example:6443']
[profile.azure]
provider = 'entra'
client-id = 'c'
tenant = 't'
[profile.acr]
grant = 'acr'
registry = 'lab.azurecr.io'
source = 'profile'
source-profile = 'azure'
[profile.vm]
provider = 'entra'
tenant = 't'
grant = 'managed-identity'
[profile.vm-of-its-own]
provider = 'entra'
tenant = 't'
grant = 'managed-identity'
client-id = 'vm'
";

    fn found(profile: &str) -> Found {
        let file = config::read(Path::new("c.toml"), CONFIG, None).unwrap();
        Found::by_rule(file, HostRule::given(profile, HostPattern::parse("https://a.example").unwrap())).unwrap()
    }

    #[test]
    fn only_a_cluster_that_the_profile_names_gets_its_token() {
        let checked = |profile: &str, flags: &[&str], cluster: Option<&str>| {
            let words: Vec<OsString> = flags.iter().map(OsString::from).collect();
            let arguments = Arguments::read(&kubernetes::CALLER.grammar, &words).unwrap();
            let cluster = cluster.map(|url| Target::of_url(url).unwrap());
            check_cluster(&found(profile).profile, &arguments, cluster.as_ref()).map_err(|failure| failure.message)
        };
        let (named, other) = (Some("https://k8s.example:6443/x"), Some("https://other.example"));
        assert_eq!(checked("lab", &["--profile", "lab"], named), Ok(()));
        assert_eq!(checked("azure", &["--client-id", "d"], other), Ok(()), "it has no `clusters`");
        for (flags, cluster, why) in [
            (&[][..], other, "https://other.example is not among the `clusters` of profile \"lab\""),
            (&[], None, "profile \"lab\" has `clusters`, and the request does not say which one asks"),
            (&["--client-id", "d"], named, "profile \"lab\" has `clusters`, and takes no flag but --profile"),
        ] {
            assert_eq!(checked("lab", flags, cluster), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_token_of_one_registry_is_for_no_other_host() {
        let at = |profile, host| {
            let target = Target::parse("https", host, None, None).unwrap();
            found(profile).at(&target).map(|_| ()).map_err(|error| Failure::of(&error).message)
        };
        assert_eq!(at("acr", "lab.azurecr.io"), Ok(()));
        assert_eq!(at("lab", "other.azurecr.io"), Ok(()));
        let why = "the profile \"acr\" is for the registry lab.azurecr.io alone";
        assert_eq!(at("acr", "other.azurecr.io"), Err(why.to_owned()));
    }

    #[test]
    fn what_a_caller_wants_is_asked_of_the_profile() {
        let (arguments, serial) = (Arguments::default(), Serial::parse("00000000deadbeef").unwrap());
        let usual = || Want::token(Whose::Selected(&arguments), Requester::Program("git"));
        let want = Want {
            kind: Kind::Id,
            min_life: Some(900),
            purpose: Some("https://a.example".into()),
            no_prompt: Some("no"),
            forbids: || Some("never"),
            refused: Refused::Token(serial),
            claims: Some("{}"),
            timeout: Some(Duration::from_secs(8)),
            ..usual()
        };
        let get = |want: &acquire::TokenWant<'_>| {
            assert_eq!((want.kind, want.min_life, want.requester), (TokenKind::Id, 900, Requester::Program("git")));
            assert_eq!(want.purpose.as_deref(), Some("https://a.example"));
            assert_eq!((want.no_prompt, (want.forbids)()), (Some("no"), Some("never")));
            assert_eq!(want.refused, Some(acquire::RefusedToken::Surely(serial)));
            assert_eq!((want.claims, want.timeout), (Some("{}"), Some(Duration::from_secs(8))));
            let (token, received_at) = (Secret::from("t".to_owned()), Timestamp(1));
            let (kind, expires_at, account) = (TokenKind::Id, Some(Timestamp(2)), Some("ada".to_owned()));
            Ok(Some(Acquired { token, serial, kind, received_at, expires_at, account, tenant: None }))
        };
        let credential = found("azure").token(want, get).unwrap().unwrap();
        assert_eq!((credential.token.expose(), credential.profile.as_str()), ("t", "azure"));
        assert_eq!(credential.tenant.as_deref(), Some("t"), "the profile's, if the answer names none");
        assert_eq!(credential.pattern.map(|pattern| pattern.canonical()).as_deref(), Some("https://a.example"));

        for (scope, tenant) in [(None, None), (Some("https://db.example/.default"), None), (None, Some("t2"))] {
            let want = Want { scopes: scope.map(str::to_owned).into_iter().collect(), tenant, ..usual() };
            let get = |want: &acquire::TokenWant<'_>| {
                let scopes = &want.profile.scopes;
                assert!(scopes.contains(&scope.unwrap_or("openid").to_owned()), "{scopes:?}");
                assert_eq!(want.profile.tenant(), Some(tenant.unwrap_or("t")));
                Ok(None)
            };
            assert!(found("azure").token(want, get).unwrap().is_none());
        }
    }

    #[test]
    fn a_profile_is_described_and_a_machine_is_an_account() {
        let lab = found("lab").described();
        assert_eq!((lab.authority.as_str(), lab.machine, lab.tenant), ("https://id.example", false, None));
        assert_eq!(lab.audience.as_deref(), Some("k8s"));
        for (profile, name) in [("vm", "systemAssignedIdentity"), ("vm-of-its-own", "vm")] {
            let machine = found(profile).account().unwrap();
            assert_eq!((machine.account.as_deref(), machine.tenant.as_deref()), (Some(name), Some("t")));
            assert!(machine.machine);
        }
    }
}
