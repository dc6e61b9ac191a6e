//! Azure's managed identities: the host that a program runs on gives it a token, without a secret. The environment says
//! which kind of host that is; it is searched in the same order as in Microsoft's own libraries.
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use super::arc;
use super::metadata::{LINK_LOCAL, checked};
use super::{Ask, Renewal, read};
use crate::clock::{Timestamp, boottime};
use crate::config::Profile;
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::oauth::answer::{Answer, TokenAnswer};
use crate::oauth::http::{Http, Reply, unreachable};
use crate::oauth::json::Members;
use crate::secret::Secret;
use form_urlencoded::Serializer;
use std::thread::sleep;
use std::time::Duration;

/// Time limit for all requests for one token. A metadata service that is being updated may refuse for most of it.
const LIMIT: Duration = Duration::from_secs(40);
/// Longest time to connect: if a link-local address does not answer quickly, it never will.
const CONNECT: Duration = Duration::from_secs(2);
/// The first pause before a virtual machine's service is asked again; each pause is twice as long as the last.
const PAUSE: Duration = Duration::from_millis(800);
/// How many requests are sent to a virtual machine's service.
const TRIES: u32 = 5;

/// A token request: a POST if it has a form, otherwise a GET.
struct Request<'h> {
    url: String,
    form: Option<String>,
    headers: Vec<(&'h str, &'h str)>,
}

/// Where to ask for a token.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    kind: Kind,
    endpoint: String,
    /// A secret from the environment that the request must send.
    header: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// App Service, Functions and Container Apps.
    AppService,
    MachineLearning,
    CloudShell,
    /// A machine outside of Azure that is managed with Azure Arc.
    Arc,
    /// A virtual machine, or a pod on one.
    VirtualMachine,
}

impl Host {
    /// Finds the host's kind and address from environment variables.
    fn find(variable: impl Fn(&str) -> Option<String>, has_arc: impl Fn() -> bool) -> Result<Self, Failure> {
        let at = |name: &str| variable(name).map(|text| checked(name, &text)).transpose();
        let host = |kind, endpoint, header| Ok(Self { kind, endpoint, header });
        let (identity, msi) = (at("IDENTITY_ENDPOINT")?, at("MSI_ENDPOINT")?);
        if let (Some(endpoint), Some(header)) = (&identity, variable("IDENTITY_HEADER")) {
            if variable("IDENTITY_SERVER_THUMBPRINT").is_some() {
                return Err(Failure::usage("keyfob does not know the managed identities of Service Fabric"));
            }
            return host(Kind::AppService, endpoint.clone(), Some(header));
        }
        if let Some(endpoint) = msi {
            return match variable("MSI_SECRET") {
                Some(secret) => host(Kind::MachineLearning, endpoint, Some(secret)),
                None => host(Kind::CloudShell, endpoint, None),
            };
        }
        if (identity.is_some() && variable("IMDS_ENDPOINT").is_some()) || has_arc() {
            let usual = || "http://localhost:40342/metadata/identity/oauth2/token".to_owned();
            return host(Kind::Arc, identity.unwrap_or_else(usual), None);
        }
        let home = at("AZURE_POD_IDENTITY_AUTHORITY_HOST")?.unwrap_or_else(|| LINK_LOCAL.to_owned());
        host(Kind::VirtualMachine, format!("{home}/metadata/identity/oauth2/token"), None)
    }

    /// Builds the token request. Fails if the profile names an identity and this kind of host does not let one choose.
    fn request(&self, profile: &Profile, resource: &str) -> Result<Request<'_>, Failure> {
        let client = Some(profile.session.client_id.as_str()).filter(|id| !id.is_empty());
        let by_resource = profile.identity_resource_id();
        let (version, client_name, resource_name, title) = match self.kind {
            Kind::AppService => ("2019-08-01", Some("client_id"), Some("mi_res_id"), "App Service"),
            Kind::MachineLearning => ("2017-09-01", Some("clientid"), None, "Azure Machine Learning"),
            Kind::CloudShell => ("", None, None, "Cloud Shell"),
            Kind::Arc => ("2020-06-01", None, None, "Azure Arc"),
            Kind::VirtualMachine => ("2018-02-01", Some("client_id"), Some("msi_res_id"), "a virtual machine"),
        };
        let mut form = Serializer::new(String::new());
        if !version.is_empty() {
            form.append_pair("api-version", version);
        }
        form.append_pair("resource", resource);
        for (key, value, name) in
            [("client-id", client, client_name), ("identity-resource-id", by_resource, resource_name)]
        {
            match (value, name) {
                (Some(value), Some(name)) => drop(form.append_pair(name, value)),
                (Some(_), None) => {
                    return Err(Failure::usage(format!("`{key}`: {title} does not choose an identity by it")));
                }
                (None, _) => {}
            }
        }
        let form = form.finish();
        let header = match (self.kind, self.header.as_deref()) {
            (Kind::AppService, Some(header)) => ("x-identity-header", header),
            (Kind::MachineLearning, Some(secret)) => ("secret", secret),
            _ => ("metadata", "true"),
        };
        Ok(match self.kind {
            Kind::CloudShell => Request {
                url: self.endpoint.clone(),
                form: Some(form),
                headers: vec![header, ("content-type", "application/x-www-form-urlencoded")],
            },
            _ => Request { url: format!("{}?{form}", self.endpoint), form: None, headers: vec![header] },
        })
    }
}

/// Asks this machine's host for a token.
pub(super) fn ask(ask: &Ask<'_>) -> Renewal {
    asked(ask).unwrap_or_else(Renewal::from)
}

fn asked(ask: &Ask<'_>) -> Result<Renewal, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = Host::find(variable, arc::is_here)?;
    debug(|| format!("this machine's host is {:?}, at {}", host.kind, host.endpoint));
    let resource = resource(ask.profile)?;
    let Request { url, form, headers } = host.request(ask.profile, &resource)?;
    let mut http = Http::new(None).map_err(|error| Failure::of(&error))?;
    http.until(boottime() + LIMIT);
    http.connect_within(CONNECT);
    let secret = Secret::from(host.header.clone().unwrap_or_default());
    let send = |more: &[(&str, &str)]| {
        let headers = [&headers[..], more].concat();
        let reply = match &form {
            Some(form) => http.post_with(&url, form, &headers),
            None => http.get_with(&url, &headers),
        };
        reply.and_then(Reply::whole).map_err(|why| unreachable(&host.endpoint, &why).hint(NOT_HERE))
    };
    let at = Timestamp::now();
    let reply = match host.kind {
        Kind::VirtualMachine => patiently(|| send(&[]))?,
        Kind::Arc => match send(&[])? {
            reply if reply.status == 401 => {
                let key = arc::key(&reply)?;
                send(&[("authorization", &format!("Basic {}", key.expose()))])?
            }
            reply => reply,
        },
        _ => send(&[])?,
    };
    Ok(renewal(ask, &host, &reply, &secret, at))
}

const NOT_HERE: &str = "this grant is for machines of Azure that have a managed identity";

/// What the host's answer comes to.
fn renewal(ask: &Ask<'_>, host: &Host, reply: &Reply, secret: &Secret, sent: Timestamp) -> Renewal {
    let place = &host.endpoint;
    let refused = |why: &str| Failure::new(Exit::Failed, format!("{place} gave this machine no token: {why}"));
    match Answer::hiding(reply, std::slice::from_ref(secret)) {
        Answer::Object(members) => match TokenAnswer::read(&members) {
            Ok(mut answer) => {
                if let Ok(tokens) = &mut answer.tokens {
                    tokens.expires_in = tokens.expires_in.or(seconds_left(&members, reply.skew.there(sent)));
                }
                let (grant, problem) = read(&answer, ask, &ask.profile.scopes, sent, reply.skew);
                Renewal::Granted(grant, problem)
            }
            Err(why) => Renewal::Refused(refused(&why)),
        },
        // The proxy of a container's host, which knows of no such address.
        Answer::Error(error) if reply.status == 403 && error.text().contains("unreachable") => {
            Renewal::Trouble(unreachable(place, &error.text()).hint(NOT_HERE), None)
        }
        Answer::Error(error) => Renewal::Refused(refused(&error.text()).hint(if reply.status == 400 {
            "assign an identity to this machine; or check `client-id` and `identity-resource-id`, which choose one of several"
        } else {
            NOT_HERE
        })),
        Answer::Transient(why, after) => Renewal::Trouble(unreachable(place, &why), after),
        Answer::Redirect(why) | Answer::Unreadable(why) => Renewal::Refused(refused(&why)),
    }
}

/// `expires_on`: seconds since 1970 by the host's clock, most often as text. `sent` is by that clock, too.
fn seconds_left(members: &Members, sent: Timestamp) -> Option<u64> {
    let end = members.number("expires_on").filter(|end| (0.0..1e12).contains(end))?;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    Some(Timestamp(end as i64).since(sent)).filter(|left| *left > 0)
}

/// Asks again while the service of a virtual machine is starting or being updated.
fn patiently(send: impl Fn() -> Result<Reply, Failure>) -> Result<Reply, Failure> {
    for tried in 0..TRIES - 1 {
        let reply = send()?;
        if !matches!(reply.status, 404 | 410 | 429 | 500..) {
            return Ok(reply);
        }
        sleep(PAUSE * 2_u32.pow(tried));
    }
    send()
}

/// The token's resource. Managed identities and the Azure CLI name it without the `/.default` of a scope.
pub(super) fn resource(profile: &Profile) -> Result<String, Failure> {
    match &profile.scopes[..] {
        [scope] => Ok(scope.strip_suffix("/.default").unwrap_or(scope).to_owned()),
        scopes => {
            let what = format!("this grant is for one resource, and `scopes` names {}", scopes.len());
            Err(Failure::usage(what).hint("set `scopes = [\"RESOURCE/.default\"]`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(variables: &[(&str, &str)], has_arc: bool) -> Result<Host, String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        Host::find(variable, || has_arc).map_err(|failure| failure.message)
    }

    #[test]
    fn the_environment_says_which_host_it_is_in_the_documented_order() {
        const HERE: &str = "http://127.0.0.1:41000/msi/token";
        let both = [("IDENTITY_ENDPOINT", HERE), ("IDENTITY_HEADER", "h"), ("MSI_ENDPOINT", HERE), ("MSI_SECRET", "s")];
        for (variables, arc, kind, header) in [
            (&both[..], true, Kind::AppService, Some("h")),
            (&both[2..], true, Kind::MachineLearning, Some("s")),
            (&both[2..3], true, Kind::CloudShell, None),
            (&[("IDENTITY_ENDPOINT", HERE), ("IMDS_ENDPOINT", HERE)], false, Kind::Arc, None),
            (&[], true, Kind::Arc, None),
            (&[("IDENTITY_ENDPOINT", HERE)], false, Kind::VirtualMachine, None),
        ] {
            let found = host(variables, arc).unwrap();
            assert_eq!((found.kind, found.header.as_deref()), (kind, header), "{variables:?}");
        }
        let usual = |arc| host(&[], arc).unwrap().endpoint;
        assert_eq!(usual(true), "http://localhost:40342/metadata/identity/oauth2/token");
        assert_eq!(usual(false), "http://169.254.169.254/metadata/identity/oauth2/token");
        let pod = host(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.1.2:80/")], false).unwrap();
        assert_eq!(pod.endpoint, "http://169.254.1.2:80/metadata/identity/oauth2/token");
        for name in ["IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"] {
            let error = host(&[(name, "http://evil.example/")], false).unwrap_err();
            assert!(error.starts_with(&format!("the address in {name} is not https")), "{error}");
        }
        let fabric = [&both[..2], &[("IDENTITY_SERVER_THUMBPRINT", "x")]].concat();
        assert_eq!(host(&fabric, false).unwrap_err(), "keyfob does not know the managed identities of Service Fabric");
    }
}
