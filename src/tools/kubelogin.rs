//! Users of a kubeconfig that run kubelogin, read as profiles: int128's (`kubectl oidc-login`, by OpenID Connect) and
//! Azure's, two programs of one name.
//!
//! An argument is taken over where it means the same to keyfob, dropped where it means nothing to it, and refused where it means something that keyfob does not do: so is everything unknown.

use super::kubeconfig::{Exec, Variable};
use super::profile::{Chosen, Config, anywhere, set};
use crate::change::files::create;
use crate::change::plan::Plan;
use crate::config::{Profile, Settings};
use crate::secret::Secret;
use crate::text::clean;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};

/// What became of a user's kubelogin.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The profile.
    pub(super) settings: Settings,
    /// The client secret among the arguments.
    pub(super) secret: Option<Secret>,
    /// The certificates among the arguments, as PEM.
    pub(super) certificates: Option<String>,
    /// What kubectl is to go on putting into the environment.
    pub(super) env: Vec<Variable>,
    /// The arguments that mean nothing to keyfob.
    pub(super) dropped: Vec<String>,
    /// What is different now.
    pub(super) notes: Vec<String>,
}

/// The certificates in a temporary file, for the check of the provider: the file that the plan makes is not there yet.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn with(pem: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("keyfob-{}.pem", std::process::id()));
        create(&path, pem.as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What an argument means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The profile's key of this name.
    Key(&'static str),
    /// Scopes besides `openid`, with commas.
    Scopes,
    /// The client secret.
    Secret,
    /// Certificates as PEM in base64.
    Certificates,
    /// The access token is wanted.
    AccessToken,
    /// Further parameters, `NAME=VALUE` with commas.
    Extra,
    /// int128's ways to sign in.
    Grant,
    /// Azure's ways to sign in.
    Login,
    /// The application id of the API server.
    Server,
    /// The cloud.
    Environment,
    /// The address that a browser comes back to, whole.
    Redirect,
    /// Its host.
    RedirectHost,
    /// Where the program listens for it, by its port.
    Listen,
    /// Nothing to keyfob; with a value.
    Nothing,
    /// Nothing to keyfob; by itself.
    NothingAlone,
    /// Something that keyfob does not do, and why; with a value.
    Refused(&'static str),
    /// The same by itself.
    RefusedAlone(&'static str),
}

use Meaning::{
    AccessToken, Certificates, Environment, Extra, Grant, Key, Listen, Login, Nothing, NothingAlone, Redirect,
    RedirectHost, Refused, RefusedAlone, Scopes, Server,
};

/// A program's arguments: the long name, the letter, what it means.
type Flags = &'static [(&'static str, Option<char>, Meaning)];

const NOT_A_PERSON: &str = "it belongs to the sign-in of a machine; keyfob signs people in";
// What stands in an argument is not repeated: it may be a secret at the wrong place.
const NO_PERSON: &str = "it signs in without a person; keyfob signs people in";
const NO_WAY: &str = "it is no way to sign in that keyfob knows";
const POP: &str = "keyfob has no tokens with proof of possession";

/// kubelogin.int128, `get-token`.
const INT128: Flags = &[
    ("oidc-issuer-url", None, Key("issuer")),
    ("oidc-client-id", None, Key("client-id")),
    ("oidc-client-secret", None, Meaning::Secret),
    ("oidc-extra-scope", None, Scopes),
    ("oidc-use-access-token", None, AccessToken),
    ("oidc-auth-request-extra-params", None, Extra),
    ("certificate-authority", None, Key("ca-file")),
    ("certificate-authority-data", None, Certificates),
    ("insecure-skip-tls-verify", None, RefusedAlone("keyfob checks certificates always; --ca-file names an authority")),
    ("grant-type", None, Grant),
    ("username", None, Nothing),
    ("password", None, Nothing),
    ("oidc-redirect-url", None, Redirect),
    ("oidc-redirect-url-hostname", None, RedirectHost),
    ("oidc-redirect-url-authcode-keyboard", None, Nothing),
    ("oidc-pkce-method", None, Nothing),
    ("oidc-use-pkce", None, NothingAlone),
    ("force-refresh", None, NothingAlone),
    ("token-cache-dir", None, Nothing),
    ("token-cache-storage", None, Nothing),
    ("listen-address", None, Listen),
    ("listen-port", None, Listen),
    ("skip-open-browser", None, NothingAlone),
    ("browser-command", None, Nothing),
    ("authentication-timeout-sec", None, Nothing),
    ("local-server-cert", None, Nothing),
    ("local-server-key", None, Nothing),
    ("open-url-after-authentication", None, Nothing),
    ("tls-renegotiation-once", None, NothingAlone),
    ("tls-renegotiation-freely", None, NothingAlone),
    ("v", Some('v'), Nothing),
];

/// Azure's kubelogin, `get-token`.
const AZURE: Flags = &[
    ("login", Some('l'), Login),
    ("server-id", None, Server),
    ("client-id", None, Key("client-id")),
    ("tenant-id", Some('t'), Key("tenant")),
    ("environment", Some('e'), Environment),
    ("legacy", None, RefusedAlone("keyfob has no tokens of the old kind, for `spn:`")),
    ("pop-enabled", None, RefusedAlone(POP)),
    ("pop-claims", None, Refused(POP)),
    ("client-secret", None, Refused(NOT_A_PERSON)),
    ("client-certificate", None, Refused(NOT_A_PERSON)),
    ("client-certificate-password", None, Refused(NOT_A_PERSON)),
    ("federated-token-file", None, Refused(NOT_A_PERSON)),
    ("identity-resource-id", None, Refused(NOT_A_PERSON)),
    ("authority-host", None, Refused(NOT_A_PERSON)),
    ("use-azurerm-env-vars", None, RefusedAlone(NOT_A_PERSON)),
    ("disable-environment-override", None, NothingAlone),
    ("disable-instance-discovery", None, NothingAlone),
    ("redirect-url", None, Redirect),
    ("login-hint", None, Key("login-hint")),
    ("token-cache-dir", None, Nothing),
    ("cache-dir", None, Nothing),
    ("timeout", None, Nothing),
    ("v", Some('v'), Nothing),
];

/// Azure's arguments as variables.
const AZURE_ENV: &[(&str, Meaning)] = &[
    ("AAD_LOGIN_METHOD", Login),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_ID", Key("client-id")),
    ("AZURE_CLIENT_ID", Key("client-id")),
    ("AZURE_TENANT_ID", Key("tenant")),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", Refused(NOT_A_PERSON)),
    ("AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE", Refused(NOT_A_PERSON)),
    ("AAD_USER_PRINCIPAL_NAME", Refused(NOT_A_PERSON)),
    ("AAD_USER_PRINCIPAL_PASSWORD", Refused(NOT_A_PERSON)),
];

/// Variables that mean the same to every program.
const COMMON_ENV: [&str; 6] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Where the accounts of Azure's clouds sign in, by kubelogin's names for them.
const CLOUDS: &[(&str, Option<&str>)] = &[
    ("AzurePublicCloud", None),
    ("AzureCloud", None),
    ("AzureUSGovernmentCloud", Some("https://login.microsoftonline.us")),
    ("AzureUSGovernment", Some("https://login.microsoftonline.us")),
    ("AzureChinaCloud", Some("https://login.partner.microsoftonline.cn")),
];

/// The program's name, and what its `get-token` is followed by; `None` if it is another program, or another of its
/// commands.
fn arguments(exec: &Exec) -> Option<(&str, &[String])> {
    let program = Path::new(&exec.command).file_name()?.to_str()?.trim_end_matches(".exe");
    let args = exec.args.as_deref().unwrap_or_default();
    let args = match program {
        "kubelogin" | "kubectl-oidc_login" => args,
        "kubectl" => args.strip_prefix(&["oidc-login".to_owned()])?,
        _ => return None,
    };
    Some((program, args.strip_prefix(&["get-token".to_owned()])?))
}

/// Whether this is one of the two kubelogins.
pub(super) fn is_kubelogin(exec: &Exec) -> bool {
    arguments(exec).is_some()
}

/// Reads a kubelogin as a profile. The error names what keyfob cannot do.
pub(super) fn read(exec: &Exec) -> Result<Taken, String> {
    let (program, args) = arguments(exec).ok_or("it runs another program")?;
    let is_azure = program == "kubelogin" && !args.iter().any(|arg| arg.starts_with("--oidc-"));
    let mut taken = Taken::default();
    if is_azure {
        taken.key("provider", "entra")?;
    }
    taken.arguments(args, if is_azure { AZURE } else { INT128 })?;
    for variable in exec.env.iter().flatten() {
        taken.variable(variable, is_azure)?;
    }
    if !is_azure && !taken.settings.has("flow") {
        // What it registers by default, and so what the provider knows.
        for (key, value) in [("redirect-host", "localhost"), ("redirect-port", "8000")] {
            if !taken.settings.has(key) {
                taken.key(key, value)?;
            }
        }
    }
    if is_azure && !taken.settings.has("scopes") {
        return Err("argument --server-id is missing".to_owned());
    }
    Ok(taken)
}

impl Taken {
    /// The profile, added to `config` under this name unless it is there; with `flags` over what kubelogin was told. What
    /// was in kubelogin's arguments and belongs into files is made by the plan.
    pub(super) fn into_config(
        self,
        config: &mut Config,
        name: &str,
        (flags, clusters): (&Settings, Vec<String>),
        by: &str,
        plan: &mut Plan,
    ) -> Result<Chosen> {
        let Self { settings, secret, certificates, .. } = self;
        let mut settings = anywhere(&settings.overlaid(flags.clone()))?;
        if !clusters.is_empty() {
            set(&mut settings, "clusters", clusters)?;
        }
        let mut trial = settings.clone();
        let mut scratch = None;
        if let Some(secret) = secret.filter(|_| !settings.has("client-secret-file")) {
            let path = config.secret_file(name);
            set(&mut settings, "client-secret-file", vec![path.to_string_lossy().into_owned()])?;
            set(&mut trial, "client-secret", vec![secret.expose().to_owned()])?;
            plan.secret(&path, secret.expose().as_bytes(), "is made, with the client secret")?;
        }
        if let Some(pem) = certificates.filter(|_| !settings.has("ca-file")) {
            let path = config.ca_file(name);
            set(&mut settings, "ca-file", vec![path.to_string_lossy().into_owned()])?;
            let file = Scratch::with(&pem)?;
            set(&mut trial, "ca-file", vec![file.0.to_string_lossy().into_owned()])?;
            scratch = Some(file);
            plan.secret(&path, pem.as_bytes(), "is made, with the certificate authorities")?;
        }
        // The files that the plan makes are not there yet.
        let profile = Profile::proposed(name, trial)?;
        drop(scratch);
        Ok(Chosen { profile, is_new: config.add(name, &settings, by)? })
    }

    fn arguments(&mut self, args: &[String], flags: Flags) -> Result<(), String> {
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            // A secret may stand behind the equals sign.
            let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            let unknown = || format!("argument {} is not known to keyfob", clean(name));
            let mut value = value.map(str::to_owned);
            let known = if let Some(long) = name.strip_prefix("--") {
                flags.iter().find(|(flag, ..)| *flag == long)
            } else {
                let mut letters = arg.strip_prefix('-').ok_or_else(unknown)?.chars();
                let letter = letters.next();
                let rest = letters.as_str();
                value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
                flags.iter().find(|(_, short, _)| short.is_some() && *short == letter)
            };
            let (name, _, meaning) = known.ok_or_else(unknown)?;
            let name = format!("--{name}");
            let value = match meaning {
                AccessToken | NothingAlone | RefusedAlone(_) => value.unwrap_or_else(|| "true".to_owned()),
                _ => value.or_else(|| args.next().cloned()).ok_or_else(|| format!("argument {name} has no value"))?,
            };
            self.take(*meaning, &name, &value).map_err(|why| format!("argument {name}: {why}"))?;
        }
        Ok(())
    }

    fn variable(&mut self, variable: &Variable, is_azure: bool) -> Result<(), String> {
        let Variable { name, value } = variable;
        if COMMON_ENV.iter().any(|common| name.eq_ignore_ascii_case(common)) {
            self.env.push(variable.clone());
            return Ok(());
        }
        match AZURE_ENV.iter().find(|(known, _)| is_azure && known == name) {
            Some((_, meaning)) => self.take(*meaning, name, value).map_err(|why| format!("variable {name}: {why}")),
            None => Err(format!("variable {} is not known to keyfob", clean(name))),
        }
    }

    fn key(&mut self, key: &str, value: &str) -> Result<(), String> {
        set(&mut self.settings, key, vec![value.to_owned()]).map_err(|failure| failure.message)
    }

    /// Adds to a key that is a list.
    fn more(&mut self, key: &str, first: &[&str], items: &[&str]) -> Result<(), String> {
        let mut all = self.settings.items(key).to_vec();
        if !self.settings.has(key) {
            all.extend(first.iter().map(|&item| item.to_owned()));
        }
        for item in items {
            if all.iter().all(|known| known != item) {
                all.push((*item).to_owned());
            }
        }
        set(&mut self.settings, key, all).map_err(|failure| failure.message)
    }

    /// Takes what a browser comes back to, as far as that can be said to keyfob; else it is dropped, and named.
    fn redirect(&mut self, meaning: Meaning, name: &str, value: &str) -> Result<(), String> {
        let (host, rest) = match meaning {
            Redirect => {
                let address = value.strip_prefix("http://").unwrap_or_default();
                address.split_at(address.find([':', '/']).unwrap_or(address.len()))
            }
            RedirectHost => (value, ""),
            // `127.0.0.1:8000`, the first of several; or a port alone.
            _ => ("", value.split(',').next().unwrap_or_default()),
        };
        let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let port = port.rsplit(':').next().unwrap_or_default();
        if meaning != Listen && !["localhost", "127.0.0.1"].contains(&host) {
            self.dropped.push(name.to_owned());
            return Ok(());
        }
        for (key, value) in [("redirect-host", host), ("redirect-port", port), ("redirect-path", path)] {
            // What says where to listen counts less than the address itself.
            let known = meaning == Listen && self.settings.has(key);
            if !(value.is_empty() || known) {
                self.key(key, value)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, meaning: Meaning, name: &str, value: &str) -> Result<(), String> {
        let items = || value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>();
        match meaning {
            // As of a flag that is not there.
            AccessToken | NothingAlone | RefusedAlone(_) if value == "false" => {}
            Key("ca-file") if self.settings.has("ca-file") => return Err("keyfob takes one file".to_owned()),
            Key(key) => self.key(key, value)?,
            // What keyfob asks for when nothing is said, besides.
            Scopes => self.more("scopes", &["openid", "offline_access"], &items())?,
            Meaning::Secret => self.secret = (!value.is_empty()).then(|| Secret::from(value.to_owned())),
            Certificates => {
                let pem = STANDARD.decode(value).ok().and_then(|pem| String::from_utf8(pem).ok());
                let pem = pem.ok_or("it is not PEM in base64")?;
                let all = self.certificates.get_or_insert_default();
                all.push_str(pem.trim_end());
                all.push('\n');
            }
            AccessToken => self.key("token-kind", "access")?,
            Extra => {
                for item in items() {
                    match item.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is not NAME=VALUE")? {
                        (key @ ("audience" | "resource"), value) => self.key(key, value)?,
                        _ => self.more("extra", &[], &[item])?,
                    }
                }
            }
            Grant => match value {
                "auto" | "authcode" => {}
                "device-code" => self.key("flow", "device")?,
                "authcode-keyboard" | "password" => {
                    self.notes.push(format!("kubelogin signed in by {value}; keyfob does by browser or device code"));
                }
                "client-credentials" => return Err(NO_PERSON.to_owned()),
                _ => return Err(NO_WAY.to_owned()),
            },
            Login => match value {
                "devicecode" | "interactive" => {}
                "azurecli" | "azd" => return Err("it asks az; `keyfob setup az` makes keyfob answer it".to_owned()),
                "spn" | "msi" | "workloadidentity" | "azurepipelines" | "ropc" => return Err(NO_PERSON.to_owned()),
                _ => return Err(NO_WAY.to_owned()),
            },
            Server => self.more("scopes", &[], &[&format!("{value}/.default")])?,
            Environment => {
                let known = CLOUDS.iter().find(|(cloud, _)| cloud.eq_ignore_ascii_case(value));
                let (_, authority) = known.ok_or("it is no cloud that keyfob knows")?;
                if let Some(authority) = authority {
                    self.key("authority", authority)?;
                }
            }
            Redirect | RedirectHost | Listen => self.redirect(meaning, name, value)?,
            Nothing | NothingAlone => self.dropped.push(name.to_owned()),
            Refused(why) | RefusedAlone(why) => return Err(why.to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exec(command: &str, args: &[&str], env: &[(&str, &str)]) -> Exec {
        let env = env.iter().map(|(name, value)| Variable { name: (*name).into(), value: (*value).into() });
        Exec {
            command: command.to_owned(),
            args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
            env: Some(env.collect()),
            ..Exec::default()
        }
    }

    /// Key by key: its items, joined.
    fn said(taken: &Taken) -> Vec<(&'static str, String)> {
        taken.settings.all().map(|(key, items)| (key.name, items.join(" "))).collect()
    }

    #[test]
    fn int128s_arguments_become_a_profile() {
        let all = exec(
            "kubectl",
            &[
                "oidc-login",
                "get-token",
                "--oidc-issuer-url=https://id.example",
                "--oidc-client-id",
                "k8s",
                "--oidc-client-secret=hunter2",
                "--oidc-extra-scope=email,groups",
                "--oidc-extra-scope",
                "profile",
                "--oidc-use-access-token",
                "--certificate-authority=/ca.pem",
                "--grant-type=password",
                "--oidc-auth-request-extra-params=audience=api,prompt=login",
                "--username=ada",
                "--password=hunter2",
                "--skip-open-browser",
                "--insecure-skip-tls-verify=false",
                "--token-cache-dir=/x",
                "-v1",
                "-v",
                "2",
            ],
            &[("https_proxy", "http://proxy:1")],
        );
        let taken = read(&all).unwrap();
        assert_eq!(
            said(&taken),
            [
                ("issuer", "https://id.example".to_owned()),
                ("client-id", "k8s".to_owned()),
                ("scopes", "openid offline_access email groups profile".to_owned()),
                ("token-kind", "access".to_owned()),
                ("audience", "api".to_owned()),
                ("extra", "prompt=login".to_owned()),
                ("redirect-host", "localhost".to_owned()),
                ("redirect-port", "8000".to_owned()),
                ("ca-file", "/ca.pem".to_owned()),
            ]
        );
        assert_eq!(taken.secret.as_ref().unwrap().expose(), "hunter2");
        let dropped = ["--username", "--password", "--skip-open-browser", "--token-cache-dir", "--v", "--v"];
        assert_eq!((taken.dropped.as_slice(), taken.env.len()), (&dropped.map(str::to_owned)[..], 1));
        assert_eq!(taken.notes, ["kubelogin signed in by password; keyfob does by browser or device code"]);
        assert!(!format!("{taken:?}").contains("hunter2"));
    }

    proptest! {
        /// Whatever stands in a kubeconfig is taken or refused, and no secret among it is said.
        #[test]
        fn anything_is_taken_or_refused(
            program in "kubelogin|kubectl-oidc_login",
            args in prop::collection::vec(
                prop_oneof![
                    "--?(oidc-issuer-url|oidc-extra-scope|certificate-authority-data|server-id|login|legacy|grant-type|v|é)(=.{0,4})?",
                    "-[vlté].{0,3}",
                    ".{0,6}",
                ],
                0..6,
            ),
        ) {
            let args: Vec<&str> = ["get-token"].into_iter().chain(args.iter().map(String::as_str)).collect();
            let secret = ["--oidc-client-secret=hunter2"];
            let said = format!("{:?}", read(&exec(&program, &[&args[..], &secret].concat(), &[])));
            prop_assert!(!said.contains("hunter2"), "{}", said);
        }
    }

    #[test]
    fn a_browser_comes_back_to_where_it_did() {
        let redirect = |args: &[&str]| {
            let args = [&["get-token", "--oidc-issuer-url=https://id.example"], args].concat();
            let taken = read(&exec("kubelogin", &args, &[])).unwrap();
            let said = said(&taken).into_iter().filter(|(key, _)| key.starts_with("redirect") || *key == "flow");
            let said: Vec<String> = said.map(|(_, value)| value).collect();
            (said.join(" "), taken.dropped.len())
        };
        for (args, expected, dropped) in [
            (&[][..], "localhost 8000", 0),
            (&["--grant-type=device-code"], "device", 0),
            (&["--listen-address=127.0.0.1:12345,127.0.0.1:23456"], "localhost 12345", 0),
            (&["--listen-address", "127.0.0.1:1", "--listen-address", "127.0.0.1:2"], "localhost 1", 0),
            (&["--oidc-redirect-url-hostname=127.0.0.1"], "127.0.0.1 8000", 0),
            (&["--oidc-redirect-url-hostname=lab.example"], "localhost 8000", 1),
            (&["--oidc-redirect-url=http://localhost:9000/callback"], "localhost 9000 /callback", 0),
            (&["--oidc-redirect-url=https://lab.example/callback"], "localhost 8000", 1),
        ] {
            assert_eq!(redirect(args), (expected.to_owned(), dropped), "{args:?}");
        }
    }

    #[test]
    fn azures_arguments_become_a_profile() {
        for (environment, authority) in [
            ("AzurePublicCloud", None),
            ("AzureUSGovernmentCloud", Some("https://login.microsoftonline.us")),
            ("AzureChinaCloud", Some("https://login.partner.microsoftonline.cn")),
        ] {
            let words = ["get-token", "--environment", environment, "--server-id", "s", "--client-id=c", "-tt"];
            let taken = read(&exec("/usr/bin/kubelogin", &words, &[("AAD_LOGIN_METHOD", "devicecode")])).unwrap();
            let mut expected =
                vec![("provider", "entra"), ("client-id", "c"), ("scopes", "s/.default"), ("tenant", "t")];
            expected.extend(authority.map(|authority| ("authority", authority)));
            let expected: Vec<_> = expected.into_iter().map(|(key, item)| (key, item.to_owned())).collect();
            assert_eq!(said(&taken), expected);
        }
    }

    #[test]
    fn what_keyfob_does_not_do_is_refused_by_name_and_no_value_is_said() {
        for (command, args, env, why) in [
            (
                "kubelogin",
                &["--oidc-issuer-url=https://id.example.com", "--insecure-skip-tls-verify"][..],
                None,
                "argument --insecure-skip-tls-verify: keyfob checks certificates always; --ca-file names an authority"
                    .to_owned(),
            ),
            (
                "kubelogin",
                &["--oidc-issuer-url=https://id.example.com", "--grant-type=client-credentials"],
                None,
                format!("argument --grant-type: {NO_PERSON}"),
            ),
            (
                "kubelogin",
                &["--oidc-issuer-url=https://id.example.com", "--oidc-new=hunter2"],
                None,
                "argument --oidc-new is not known to keyfob".to_owned(),
            ),
            (
                "kubelogin",
                &["--oidc-issuer-url=https://id.example.com", "--certificate-authority-data=hunter2!"],
                None,
                "argument --certificate-authority-data: it is not PEM in base64".to_owned(),
            ),
            ("kubelogin", &["--oidc-issuer-url"], None, "argument --oidc-issuer-url has no value".to_owned()),
            (
                "kubelogin",
                &["--oidc-issuer-url=https://id.example.com", "word"],
                None,
                "argument word is not known to keyfob".to_owned(),
            ),
            ("kubelogin", &["--server-id=s", "--login=spn"], None, format!("argument --login: {NO_PERSON}")),
            ("kubelogin", &["--server-id=s", "-l", "msi"], None, format!("argument --login: {NO_PERSON}")),
            (
                "kubelogin",
                &["--server-id=s", "--login", "workloadidentity"],
                None,
                format!("argument --login: {NO_PERSON}"),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--login=azurecli"],
                None,
                "argument --login: it asks az; `keyfob setup az` makes keyfob answer it".to_owned(),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--legacy"],
                None,
                "argument --legacy: keyfob has no tokens of the old kind, for `spn:`".to_owned(),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--client-secret=hunter2"],
                None,
                format!("argument --client-secret: {NOT_A_PERSON}"),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--environment=AzureStackCloud"],
                None,
                "argument --environment: it is no cloud that keyfob knows".to_owned(),
            ),
            ("kubelogin", &["--client-id=c"], None, "argument --server-id is missing".to_owned()),
            (
                "kubelogin",
                &["--server-id=s"],
                Some(("AAD_USER_PRINCIPAL_PASSWORD", "hunter2")),
                format!("variable AAD_USER_PRINCIPAL_PASSWORD: {NOT_A_PERSON}"),
            ),
            (
                "kubectl-oidc_login",
                &[],
                Some(("AAD_LOGIN_METHOD", "hunter2")),
                "variable AAD_LOGIN_METHOD is not known to keyfob".to_owned(),
            ),
        ] {
            let args = [&["get-token"], args].concat();
            let refused = read(&exec(command, &args, env.as_slice())).unwrap_err();
            assert_eq!(refused, why);
        }
        for (command, args) in [
            ("kubectl", &["get-token"][..]),
            ("kubectl", &["oidc-login", "setup"]),
            ("gke-gcloud-auth-plugin", &[]),
            ("kubelogin", &["convert-kubeconfig"]),
        ] {
            assert!(!is_kubelogin(&exec(command, args, &[])), "{command} {args:?}");
        }
    }
}
