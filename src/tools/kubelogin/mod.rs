//! Reads users of a kubeconfig that run kubelogin as profiles. There are two programs of this name: int128's (`kubectl
//! oidc-login`, for OpenID Connect) and Azure's. Also reads their predecessors, users with an `auth-provider`.
//!
//! An argument is taken over if it means the same to keyfob, and dropped if keyfob does not need it. It is refused if
//! it means something that keyfob does not do, or if it is unknown.

mod azure;
mod int128;

use super::kubeconfig::{Exec, Variable};
use super::profile::{Chosen, Config, anywhere, set};
use crate::change::files::create;
use crate::change::plan::Plan;
use crate::config::{Profile, Settings};
use crate::secret::Secret;
use crate::text::clean;
use anyhow::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A user's kubelogin settings, converted.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The settings of the profile.
    pub(super) settings: Settings,
    /// The client secret from the arguments.
    pub(super) secret: Option<Secret>,
    /// The certificates from the arguments, as PEM.
    pub(super) certificates: Option<String>,
    /// The variables that kubectl must continue to set.
    pub(super) env: Vec<Variable>,
    /// The arguments that keyfob does not need.
    pub(super) dropped: Vec<String>,
    /// What will be different.
    pub(super) notes: Vec<String>,
}

/// Certificates in a temporary file for the check with the provider, because the plan's own file does not exist yet.
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

/// The arguments of a program: the long name, the letter, and whether it can be given without a value.
type Flags = &'static [(&'static str, Option<char>, bool)];

/// An argument or variable of a user.
struct Word {
    /// The long name of the argument.
    flag: &'static str,
    /// Where it was set, for errors. The value is never shown, because it may be a misplaced secret.
    place: String,
    value: String,
}

/// Variables that mean the same to every program.
const COMMON_ENV: [&str; 7] =
    ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "PATH"];

/// Arguments of the logging library that both programs use, in the same form.
const LOGGING: Flags = &[
    ("v", Some('v'), false),
    ("vmodule", None, false),
    ("logtostderr", None, true),
    ("alsologtostderr", None, true),
    ("stderrthreshold", None, false),
    ("log-file", None, false),
    ("log-dir", None, false),
    ("log-file-max-size", None, false),
    ("log-backtrace-at", None, false),
    ("skip-headers", None, true),
    ("skip-log-headers", None, true),
    ("add-dir-header", None, true),
    ("one-output", None, true),
];

/// A user whose tokens keyfob may be able to provide.
pub(super) struct Former {
    is_azure: bool,
    what: &'static str,
    args: Vec<String>,
    env: Vec<Variable>,
}

impl Former {
    /// How the user gets its token, completing "the user X …".
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Reads a user's entry; `None` if it does not run kubelogin.
    pub(super) fn of(user: &Value) -> Option<Self> {
        Exec::of(user).map_or_else(|| Self::auth_provider(&user["auth-provider"]), |exec| Self::exec(&exec))
    }

    fn exec(exec: &Exec) -> Option<Self> {
        let program = Path::new(&exec.command).file_name()?.to_str()?.trim_end_matches(".exe");
        let args = exec.args.as_deref().unwrap_or_default();
        let args = match program {
            "kubelogin" | "kubectl-oidc_login" => args,
            "kubectl" => args.strip_prefix(&["oidc-login".to_owned()])?,
            _ => return None,
        };
        let args = args.strip_prefix(&["get-token".to_owned()])?.to_vec();
        let is_azure = program == "kubelogin" && !args.iter().any(|arg| arg.starts_with("--oidc-"));
        Some(Self { is_azure, what: "runs kubelogin", args, env: exec.env.clone().unwrap_or_default() })
    }

    /// Reads an `auth-provider`, which kubectl itself handled before it could run programs.
    fn auth_provider(entry: &Value) -> Option<Self> {
        let (is_azure, names): (bool, &[(&str, &str)]) = match entry["name"].as_str()? {
            "azure" => (true, azure::LEGACY),
            "oidc" => (false, int128::LEGACY),
            _ => return None,
        };
        let said = names.iter().filter_map(|(key, flag)| Some((flag, entry["config"][key].as_str()?)));
        let mut args: Vec<String> = said.map(|(flag, value)| format!("--{flag}={value}")).collect();
        // Without `config-mode`, Azure's old kind of token is meant.
        if is_azure && entry["config"]["config-mode"].as_str() != Some("1") {
            args.push("--legacy".to_owned());
        }
        Some(Self { is_azure, what: "has an auth-provider", args, env: Vec::new() })
    }

    /// Converts it to a profile. The error names what keyfob cannot do.
    pub(super) fn read(&self) -> Result<Taken, String> {
        let mut taken = Taken::default();
        let flags = if self.is_azure { azure::FLAGS } else { int128::FLAGS };
        let mut said = words(&self.args, flags)?;
        for variable in &self.env {
            let Variable { name, value } = variable;
            if COMMON_ENV.iter().any(|common| name.eq_ignore_ascii_case(common)) {
                taken.env.push(variable.clone());
            } else if let Some((_, flag)) = azure::VARIABLES.iter().find(|(known, _)| self.is_azure && known == name) {
                said.push(Word { flag, place: format!("variable {name}"), value: value.clone() });
            } else if self.is_azure && azure::OWN_VARIABLES.contains(&name.as_str()) {
                taken.env.push(variable.clone());
            } else if name == "KUBECACHEDIR" || (self.is_azure && name == "AZURE_CLI_TIMEOUT") {
                taken.dropped.push(name.clone());
            } else {
                return Err(format!("variable {} is not known to keyfob", clean(name)));
            }
        }
        if self.is_azure {
            azure::read(&mut taken, said)?;
        } else {
            int128::read(&mut taken, said)?;
        }
        Ok(taken)
    }
}

/// Parses arguments as Go's flags: `--flag=VALUE`, `--flag VALUE`, `-l VALUE`, `-lVALUE`.
fn words(args: &[String], flags: Flags) -> Result<Vec<Word>, String> {
    let mut said = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        // Split off the value first, because it may be a secret.
        let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        let unknown = || format!("argument {} is not known to keyfob", clean(name));
        let mut value = value.map(str::to_owned);
        let mut known = flags.iter().chain(LOGGING);
        let known = if let Some(long) = name.strip_prefix("--") {
            known.find(|(flag, ..)| *flag == long || flag.replace('-', "_") == long)
        } else {
            let mut letters = arg.strip_prefix('-').ok_or_else(unknown)?.chars();
            let letter = letters.next();
            let rest = letters.as_str();
            value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
            known.find(|(_, short, _)| short.is_some() && *short == letter)
        };
        let &(flag, _, alone) = known.ok_or_else(unknown)?;
        let place = format!("argument --{flag}");
        let value = match value {
            Some(value) => value,
            None if alone => "true".to_owned(),
            None => args.next().cloned().ok_or_else(|| format!("{place} has no value"))?,
        };
        said.push(Word { flag, place, value });
    }
    Ok(said)
}

/// Parses a list as Go's flags do: one line of CSV (RFC 4180).
fn list(value: &str) -> Result<Vec<String>, String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        let last = items.len() - 1;
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => items[last].push('"'),
            '"' if quoted || items[last].is_empty() => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            c => items[last].push(c),
        }
    }
    if quoted {
        return Err("a quotation mark is open at its end".to_owned());
    }
    Ok(items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

/// Replaces a leading `~/` by the home folder.
fn at_home(file: &str) -> String {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    match (file.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest).to_string_lossy().into_owned(),
        _ => file.to_owned(),
    }
}

impl Taken {
    /// The settings of the profile, with `flags` over kubelogin's arguments.
    fn settings(&self, flags: &Settings, clusters: Vec<String>) -> Result<Settings> {
        let mut settings = anywhere(&self.settings.clone().overlaid(flags.clone()))?;
        if !clusters.is_empty() {
            set(&mut settings, "clusters", clusters)?;
        }
        Ok(settings)
    }

    /// The profile of these settings, checked without references to files that the plan has yet to create.
    fn proposed(&self, name: &str, mut settings: Settings) -> Result<Profile> {
        if let Some(secret) = self.secret.as_ref().filter(|_| !settings.has("client-secret-file")) {
            set(&mut settings, "client-secret", vec![secret.expose().to_owned()])?;
        }
        let mut scratch = None;
        if let Some(pem) = self.certificates.as_ref().filter(|_| !settings.has("ca-file")) {
            let file = scratch.insert(Scratch::with(pem)?);
            set(&mut settings, "ca-file", vec![file.0.to_string_lossy().into_owned()])?;
        }
        Ok(Profile::proposed(name, settings)?)
    }

    /// Fails unless this makes a profile.
    pub(super) fn check(&self, name: &str, flags: &Settings) -> Result<()> {
        self.proposed(name, self.settings(flags, Vec::new())?).map(drop)
    }

    /// Adds the profile to `config` under this name, unless it exists, with `flags` overriding kubelogin's arguments.
    /// The plan creates the files for a secret or certificates in kubelogin's arguments.
    pub(super) fn into_config(
        self,
        config: &mut Config,
        name: &str,
        (flags, clusters): (&Settings, Vec<String>),
        by: &str,
        plan: &mut Plan,
    ) -> Result<Chosen> {
        let mut settings = self.settings(flags, clusters)?;
        let profile = self.proposed(name, settings.clone())?;
        if let Some(secret) = self.secret.filter(|_| !settings.has("client-secret-file")) {
            let path = config.secret_file(name);
            set(&mut settings, "client-secret-file", vec![path.to_string_lossy().into_owned()])?;
            plan.secret(&path, secret.expose().as_bytes(), "is made, with the client secret")?;
        }
        if let Some(pem) = self.certificates.filter(|_| !settings.has("ca-file")) {
            let path = config.ca_file(name);
            set(&mut settings, "ca-file", vec![path.to_string_lossy().into_owned()])?;
            plan.secret(&path, pem.as_bytes(), "is made, with the certificate authorities")?;
        }
        Ok(Chosen { profile, is_new: config.add(name, &settings, by)? })
    }

    fn key(&mut self, key: &str, value: impl Into<String>) -> Result<(), String> {
        set(&mut self.settings, key, vec![value.into()]).map_err(|failure| failure.message)
    }

    /// Appends to a key that is a list.
    fn more(&mut self, key: &str, first: &[&str], items: &[String]) -> Result<(), String> {
        let mut all = self.settings.items(key).to_vec();
        if !self.settings.has(key) {
            all.extend(first.iter().map(|&item| item.to_owned()));
        }
        for item in items {
            if !all.contains(item) {
                all.push(item.clone());
            }
        }
        set(&mut self.settings, key, all).map_err(|failure| failure.message)
    }

    /// Takes over a redirect URI.
    fn redirect_url(&mut self, word: &Word) -> Result<(), String> {
        let address = word.value.strip_prefix("http://").unwrap_or_default();
        let (host, rest) = address.split_at(address.find([':', '/']).unwrap_or(address.len()));
        self.redirect(word, host, rest)
    }

    /// Takes over the parts of a redirect URI that keyfob supports; otherwise drops and names the argument. Without a
    /// host the argument is only a listening address, which does not override the redirect URI.
    fn redirect(&mut self, word: &Word, host: &str, rest: &str) -> Result<(), String> {
        let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let port = port.rsplit(':').next().unwrap_or_default();
        let listens = host.is_empty() && word.flag.starts_with("listen");
        if !listens && !["localhost", "127.0.0.1"].contains(&host) {
            self.drop(word);
            return Ok(());
        }
        for (key, value) in [("redirect-host", host), ("redirect-port", port), ("redirect-path", path)] {
            let known = listens && self.settings.has(key);
            if !(value.is_empty() || known) {
                self.key(key, value)?;
            }
        }
        Ok(())
    }

    fn drop(&mut self, word: &Word) {
        self.dropped.push(word.place.strip_prefix("argument ").unwrap_or(&word.place).to_owned());
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

    fn read(exec: &Exec) -> Result<Taken, String> {
        Former::exec(exec).unwrap().read()
    }

    /// Each key with its items, joined.
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
        /// Every kubeconfig is either taken over or refused, and no secret in it is shown.
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
            (
                "kubelogin",
                &["--server-id=s", "--login=ropc"],
                None,
                "argument --login: a password is for its owner to type at the provider".to_owned(),
            ),
            (
                "kubelogin",
                &["--server-id=s", "-lspn", "--client-certificate=/a b.pfx"],
                None,
                "argument --client-certificate: it is not PEM; this makes PEM of it: openssl pkcs12 -nodes -in '/a b.pfx' -out \
                 client.pem"
                    .to_owned(),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--pop-enabled"],
                None,
                "argument --pop-enabled: keyfob has no tokens with proof of possession".to_owned(),
            ),
            (
                "kubelogin",
                &["--server-id=s", "--legacy"],
                None,
                "argument --legacy: keyfob has no tokens of the old kind, for `spn:`".to_owned(),
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
                Some(("AAD_LOGIN_METHOD", "hunter2")),
                "variable AAD_LOGIN_METHOD: it is no way to sign in that keyfob knows".to_owned(),
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
            assert!(Former::exec(&exec(command, args, &[])).is_none(), "{command} {args:?}");
        }
    }

    /// Each login method, with the options that it may have: the resulting keys, then what is kept.
    #[test]
    fn each_of_azures_ways_to_sign_in_becomes_a_profile() {
        const SERVER: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";
        let scope = format!("scopes={SERVER}/.default");
        for (words, env, keys) in [
            ("--login devicecode --client-id c --tenant-id t --cache-dir /x", &[][..], "client-id=c SCOPE tenant=t"),
            (
                "-l interactive --client-id c --tenant-id t --redirect-url http://localhost:8400/back --login-hint ada@x",
                &[],
                "client-id=c SCOPE tenant=t redirect-host=localhost redirect-port=8400 redirect-path=/back login-hint=ada@x",
            ),
            (
                "--login=spn --client-id=c --tenant-id=t --client-certificate /c.pem --client-secret=s",
                &[],
                "client-id=c SCOPE tenant=t client-certificate-file=/c.pem grant=client-credentials environment=azure",
            ),
            (
                "--login spn --use-azurerm-env-vars --environment AzureUSGovernmentCloud",
                &[],
                "SCOPE authority=https://login.microsoftonline.us grant=client-credentials environment=azurerm",
            ),
            (
                "--login spn --client-id c --tenant-id t --disable-environment-override",
                &[("AZURE_CLIENT_SECRET", "s")],
                "client-id=c SCOPE tenant=t grant=client-credentials",
            ),
            ("-lmsi", &[], "SCOPE grant=managed-identity environment=azure"),
            ("-lmsi --client-id c", &[], "client-id=c SCOPE grant=managed-identity environment=azure"),
            (
                "-l=msi --identity-resource-id /s/x",
                &[],
                "SCOPE grant=managed-identity identity-resource-id=/s/x environment=azure",
            ),
            ("--login azurecli", &[("AZURE_CONFIG_DIR", "/az")], "SCOPE grant=az"),
            ("--login azurecli -t t -s sub", &[], "SCOPE tenant=t grant=az subscription=sub"),
            ("--login azd --tenant-id t", &[], "SCOPE tenant=t grant=azd"),
            ("--login workloadidentity", &[], "SCOPE grant=client-credentials source=file environment=azure"),
            (
                "--login workloadidentity --client-id c -t t --federated-token-file /f --authority-host https://login.microsoftonline.us/",
                &[],
                "client-id=c SCOPE tenant=t authority=https://login.microsoftonline.us grant=client-credentials source=file \
                 source-file=/f environment=azure",
            ),
            (
                "--login azurepipelines -tt --client-id c --azure-pipelines-service-connection-id s",
                &[],
                "client-id=c SCOPE tenant=t grant=client-credentials source=azure-pipelines service-connection=s environment=azure",
            ),
            ("", &[("AAD_LOGIN_METHOD", "azurecli"), ("KUBECACHEDIR", "/x")], "SCOPE grant=az"),
        ] {
            let args = format!("get-token {words} --server-id {SERVER} --v=5 --logtostderr");
            let args: Vec<&str> = args.split_whitespace().collect();
            let taken = read(&exec("kubelogin", &args, env)).unwrap();
            let all: Vec<_> = said(&taken).iter().map(|(key, items)| format!("{key}={items}")).collect();
            assert_eq!(all.join(" "), format!("provider=entra {}", keys.replace("SCOPE", &scope)), "{words}");
            let kept = env.iter().filter(|(name, _)| *name == "AZURE_CONFIG_DIR").count();
            assert_eq!(taken.env.len(), kept, "{words}");
        }
        let server = |id: &str| {
            let args = ["get-token", "-lmsi", "--server-id", id];
            read(&exec("kubelogin", &args, &[])).unwrap().settings.items("scopes").join(" ")
        };
        assert_eq!(["s/", "s", "https://x/.default"].map(server), ["s/.default", "s/.default", "https://x/.default"]);
    }

    #[test]
    fn int128s_machine_and_its_lists() {
        let args = [
            "get-token",
            "--oidc-issuer-url=https://id.example",
            "--oidc-client-id=k8s",
            "--oidc-client-secret=hunter2",
            "--grant-type=client-credentials",
            "--oidc-extra-scope=\"a,b\",c",
            "--oidc-auth-request-extra-params=\"x=1,2\",audience=api",
            "--certificate-authority=~/ca.pem",
            "--tls-renegotiation-freely",
            "--alsologtostderr",
            "--log_file=/x",
        ];
        let taken = read(&exec("kubelogin", &args, &[])).unwrap();
        let home = std::env::home_dir().unwrap();
        let expected = [
            ("issuer", "https://id.example".to_owned()),
            ("client-id", "k8s".to_owned()),
            ("scopes", "openid a,b c".to_owned()),
            ("audience", "api".to_owned()),
            ("extra", "x=1,2".to_owned()),
            ("ca-file", home.join("ca.pem").to_string_lossy().into_owned()),
            ("grant", "client-credentials".to_owned()),
        ];
        assert_eq!(said(&taken), expected);
        assert_eq!(taken.dropped, ["--tls-renegotiation-freely", "--alsologtostderr", "--log-file"]);
        for (text, items) in
            [("a,b", &["a", "b"][..]), (" a , ,b ", &["a", "b"]), ("\"a\"\"b\",\"c d\"", &["a\"b", "c d"]), ("", &[])]
        {
            assert_eq!(list(text).unwrap(), items, "{text}");
        }
        assert_eq!(list("\"a"), Err("a quotation mark is open at its end".to_owned()));
    }

    #[test]
    fn an_auth_provider_is_read_as_well() {
        let user = |name: &str, config: &[(&str, &str)]| {
            let config: serde_json::Map<_, _> =
                config.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            Former::of(&serde_json::json!({ "auth-provider": { "name": name, "config": config } }))
                .map(|former| former.read())
        };
        let azure = [("client-id", "c"), ("apiserver-id", "s"), ("tenant-id", "t"), ("access-token", "hunter2")];
        let taken = user("azure", &[&azure[..], &[("config-mode", "1"), ("environment", "AzureChinaCloud")]].concat());
        let expected = [
            ("provider", "entra"),
            ("client-id", "c"),
            ("scopes", "s/.default"),
            ("tenant", "t"),
            ("authority", "https://login.partner.microsoftonline.cn"),
        ];
        let taken = taken.unwrap().unwrap();
        assert_eq!(said(&taken), expected.map(|(key, value)| (key, value.to_owned())));
        for old in [&azure[..], &[&azure[..], &[("config-mode", "0")]].concat()] {
            let why = "argument --legacy: keyfob has no tokens of the old kind, for `spn:`";
            assert_eq!(user("azure", old).unwrap().unwrap_err(), why);
        }
        let oidc = user(
            "oidc",
            &[
                ("idp-issuer-url", "https://id.example"),
                ("client-id", "k8s"),
                ("client-secret", "hunter2"),
                ("extra-scopes", "email,groups"),
                ("refresh-token", "hunter2"),
            ],
        );
        let taken = oidc.unwrap().unwrap();
        let expected = [
            ("issuer", "https://id.example"),
            ("client-id", "k8s"),
            ("scopes", "openid offline_access email groups"),
            ("redirect-host", "localhost"),
            ("redirect-port", "8000"),
        ];
        assert_eq!(said(&taken), expected.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(taken.secret.unwrap().expose(), "hunter2");
        assert!(user("gcp", &[]).is_none());
    }
}
