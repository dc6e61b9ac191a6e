//! A home in which everybody has signed in long ago: keyfob answers every case from its cache.
//!
//! Every byte of it is fixed, and every path a program is given is relative to it, so that a count does not depend on
//! the machine's folders, on the day or on a server's port.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use keyfob::session::Session;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::run::Run;

/// A file that keyfob reads to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The configuration.
    Config,
    /// The session of this profile.
    Session(&'static str),
}

/// A way to ask keyfob, and what it reads to answer.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is called in tables and records.
    pub name: &'static str,
    /// Its command line.
    pub args: &'static [&'static str],
    /// Its environment, beside what says where the files are.
    pub variables: &'static [(&'static str, &'static str)],
    /// The file that it reads on standard input.
    pub input: Option<&'static str>,
    /// The files it reads, standard input apart.
    pub reads: &'static [Reads],
    /// What its answer holds.
    pub answer: &'static str,
}

/// What is timed and counted.
pub const CASES: &[Case] = &[
    Case {
        name: "keyfob kubernetes",
        args: &["kubernetes", "--profile=lab"],
        variables: &[EXEC_INFO],
        input: None,
        reads: &[Reads::Config, Reads::Session("lab")],
        answer: "\"token\":\"id.abcdef",
    },
    Case {
        name: "keyfob kubernetes, by flags",
        args: &[
            "kubernetes",
            "--issuer=https://id.example.com/realms/lab",
            "--client-id=kubernetes",
            "--scope=openid",
            "--scope=email",
            "--scope=offline_access",
        ],
        variables: &[EXEC_INFO],
        input: None,
        reads: &[Reads::Session("lab")],
        answer: "\"token\":\"id.abcdef",
    },
    Case {
        name: "keyfob git get",
        args: &["git", "get"],
        variables: &[],
        input: Some(GIT_REQUEST),
        reads: &[Reads::Config, Reads::Session("lab")],
        answer: "\ncredential=access.abcdef",
    },
    Case {
        name: "keyfob az account get-access-token",
        args: &[
            "az",
            "account",
            "get-access-token",
            "--output=json",
            "--resource=https://management.core.windows.net/",
        ],
        // Its answer holds the local time.
        variables: &[("TZ", "UTC0")],
        input: None,
        reads: &[Reads::Config, Reads::Session("entra")],
        answer: "\"accessToken\":\"access.abcdef",
    },
    Case {
        name: "keyfob token",
        args: &["token", "--profile=lab"],
        variables: &[],
        input: None,
        reads: &[Reads::Config, Reads::Session("lab")],
        answer: "access.abcdef",
    },
];

/// The other callers; these are counted. A new caller is one entry here.
pub const TOOLS: &[Case] = &[
    tool("keyfob azd auth token", &["azd", "auth", "token", "--output=json", AZD_SCOPE], None, "access.abcdef"),
    tool("keyfob docker get", &["docker", "get"], Some("docker-request"), "\"Secret\":\"access.abcdef"),
    tool(
        "keyfob keyring get",
        &["keyring", "get", "https://pypi.example.com/simple/", "oauth2"],
        None,
        "access.abcdef",
    ),
    tool("keyfob cargo", &["cargo"], Some("cargo-request"), "\"token\":\"Bearer access.abcdef"),
    tool("keyfob goauth", &["goauth"], None, "Authorization: Bearer access.abcdef"),
    tool("keyfob terraform get", &["terraform", "get", "registry.example.com"], None, "{\"token\":\"access.abcdef"),
    tool("keyfob bazel get", &["bazel", "get"], Some("bazel-request"), "Bearer access.abcdef"),
];

const AZD_SCOPE: &str = "--scope=https://management.core.windows.net//.default";

const fn tool(
    name: &'static str,
    args: &'static [&'static str],
    input: Option<&'static str>,
    answer: &'static str,
) -> Case {
    Case { name, args, variables: &[("KEYFOB_CONFIG", TOOLS_CONFIG), ("TZ", "UTC0")], input, reads: &[], answer }
}

/// A case where there is much that it does not need.
pub struct Grown {
    /// What is asked; its name says how much there is.
    pub case: Case,
    /// The configuration.
    pub config: String,
    /// How many tokens the session holds besides the two that are asked for.
    pub tokens: usize,
}

/// What must not cost more for everybody who has much.
pub fn grown() -> Vec<Grown> {
    let [kubernetes, _, git, _, token] = CASES else { panic!("the cases above") };
    let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let hosts = many(1000, &|number| format!("\"https://git{number}.example.com/team\" = \"lab\"\n"));
    let hosts = CONFIG_TEXT.replace("[hosts]\n", &format!("[hosts]\n{hosts}"));
    let profiles = many(1000, &|number| {
        format!("[profile.p{number}]\nissuer = \"https://id{number}.example.com\"\nclient-id = \"kubernetes\"\n\n")
    });
    let request =
        EXEC_INFO.1.replace("\"interactive\"", &format!("\"data\":\"{}\",\"interactive\"", "a".repeat(120_000)));
    let request = [(EXEC_INFO.0, &*request.leak())];
    let kubernetes = &Case { variables: Vec::from(request).leak(), ..*kubernetes };
    let grown = |name, case: &Case, config: &str, tokens| Grown {
        case: Case { name, ..*case },
        config: config.to_owned(),
        tokens,
    };
    vec![
        grown("keyfob token, 1,000 lines of [hosts]", token, &hosts, 0),
        grown("keyfob git get, 1,000 lines of [hosts]", git, &hosts, 0),
        grown("keyfob token, 1,000 profiles", token, &format!("{CONFIG_TEXT}\n{profiles}"), 0),
        grown("keyfob token, 500 tokens in the session", token, CONFIG_TEXT, 500),
        grown("keyfob kubernetes, a request of 120 kB", kubernetes, CONFIG_TEXT, 0),
    ]
}

/// What kubectl says to a plugin, and a number: for the same process to ask the same thing again would mean that the
/// token it was given before did not work.
const EXEC_INFO: (&str, &str) = (
    "KUBERNETES_EXEC_INFO",
    // With client-go's newline: a client that does not keep its token costs less.
    "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{\"interactive\":false},\"asked\":\"NUMBER\"}\n",
);

const CONFIG: &str = "config.toml";
const TOOLS_CONFIG: &str = "tools.toml";
const CACHE: &str = "cache";

/// What the callers read on standard input.
const REQUESTS: &[(&str, &str)] = &[
    (GIT_REQUEST, GIT_REQUEST_TEXT),
    ("docker-request", "registry.example.com"),
    (
        "cargo-request",
        "{\"v\":1,\"registry\":{\"index-url\":\"sparse+https://crates.example.com/index/\",\"name\":\"lab\"},\"kind\":\"get\",\
         \"operation\":\"read\",\"args\":[]}\n",
    ),
    ("bazel-request", "{\"uri\":\"https://cache.example.com/a\"}"),
];
/// What git says to a helper.
pub const GIT_REQUEST: &str = "git-request";
/// The bytes of that.
pub const GIT_REQUEST_TEXT: &str = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example.com\n\
                                wwwauth[]=Bearer realm=\"git\"\n";

/// What is configured.
pub const CONFIG_TEXT: &str = r#"default-profile = "lab"

[profile.lab]
issuer = "https://id.example.com/realms/lab"
client-id = "kubernetes"
scopes = ["openid", "email", "offline_access"]

[profile.entra]
provider = "entra"
tenant = "11111111-1111-1111-1111-111111111111"
client-id = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

[hosts]
"https://git.example.com" = "lab"

[az]
profile = "entra"
"#;

/// The rules of the other callers, in the place of git's.
const TOOLS_RULES: &str = r#"[hosts]
"https://registry.example.com" = { profile = "lab", callers = ["docker", "terraform"] }
"https://pypi.example.com/simple" = { profile = "lab", callers = ["keyring"], username = "oauth2" }
"https://crates.example.com/index" = { profile = "lab", callers = ["cargo"] }
"https://go.example.com" = { profile = "lab", callers = ["goauth"] }
"https://cache.example.com" = { profile = "lab", callers = ["bazel"] }
"#;

const LAB_SCOPES: &[&str] = &["email", "offline_access", "openid"];
const ENTRA_SCOPES: &[&str] = &["https://management.core.windows.net//.default", "offline_access", "openid", "profile"];
const ENTRA_TENANT: &str = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token";

/// A folder with a copy of keyfob, its configuration and its cache; gone when this is dropped.
pub struct Home {
    folder: TempDir,
    /// What `XDG_RUNTIME_DIR` names, where the system has a file system in memory.
    memory: Option<TempDir>,
    /// Profiles, and their sessions' files below the folder.
    sessions: Vec<(&'static str, String)>,
}

impl Home {
    /// A home with this keyfob; every case is asked once, and must be answered.
    pub fn new(keyfob: &Path) -> Result<Self> {
        let mut home = Self::with(keyfob, CONFIG_TEXT, 0)?;
        let client = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
        let entra = session("https://login.microsoftonline.com", client, ENTRA_SCOPES, Some(ENTRA_TENANT));
        home.sign_in("entra", &entra)?;
        CASES.iter().chain(TOOLS).try_for_each(|case| home.try_out(case))?;
        Ok(home)
    }

    /// One where there is more than the case needs, which is asked once, and must be answered.
    pub fn grown(keyfob: &Path, grown: &Grown) -> Result<Self> {
        let home = Self::with(keyfob, &grown.config, grown.tokens)?;
        home.try_out(&grown.case)?;
        Ok(home)
    }

    /// A home with this configuration, and this many tokens in its one session besides the two that are asked for.
    fn with(keyfob: &Path, config: &str, tokens: usize) -> Result<Self> {
        let memory = TempDir::with_prefix_in("keyfob-bench-", "/dev/shm").ok();
        let mut home = Self { folder: TempDir::with_prefix("keyfob-bench-")?, memory, sessions: Vec::new() };
        fs::copy(keyfob, home.path().join("keyfob"))?;
        fs::set_permissions(home.path().join("keyfob"), Permissions::from_mode(0o755))?;
        fs::write(home.path().join(CONFIG), config)?;
        let tools = CONFIG_TEXT.replace("[hosts]\n\"https://git.example.com\" = \"lab\"\n", TOOLS_RULES);
        fs::write(home.path().join(TOOLS_CONFIG), tools)?;
        for (name, text) in REQUESTS {
            fs::write(home.path().join(name), text)?;
        }
        DirBuilder::new().mode(0o700).create(home.path().join(CACHE))?;
        let mut lab = lab_session();
        let others = (0..tokens).map(|number| token(&[&format!("s{number}")], None, "access", 1400));
        lab["tokens"].as_array_mut().context("a session has tokens")?.splice(0..0, others);
        home.sign_in("lab", &lab)?;
        Ok(home)
    }

    fn try_out(&self, case: &Case) -> Result<()> {
        let answer = self.keyfob(case).answer()?;
        ensure!(answer.contains(case.answer), "{}: not the cached answer: {answer}", case.name);
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a session where keyfob looks for that of this profile: a look that finds nothing leaves a lock of its name.
    fn sign_in(&mut self, profile: &'static str, session: &Value) -> Result<()> {
        let mut asked = self.keyfob_with(&["token", "--profile", profile]).command()?;
        asked.stderr(Stdio::null());
        ensure!(asked.status()?.code() == Some(3), "there is a session of {profile} already");
        let mut names =
            fs::read_dir(self.path().join(CACHE))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let lock = names.find(|name| name.ends_with(".lock")).context("keyfob looked for no session")?;
        fs::remove_file(self.path().join(CACHE).join(&lock))?;
        let file = format!("{CACHE}/{}.json", lock.trim_end_matches(".lock"));
        self.private(&file, session)?;
        self.sessions.push((profile, file));
        Ok(())
    }

    /// A file that keyfob reads, as it is called in the folder.
    pub fn file(&self, file: Reads) -> &str {
        match file {
            Reads::Config => CONFIG,
            Reads::Session(profile) => {
                let known = self.sessions.iter().find(|(name, _)| *name == profile);
                known.map(|(_, file)| file.as_str()).unwrap_or_default()
            }
        }
    }

    /// keyfob as one case asks it.
    pub fn keyfob(&self, case: &Case) -> Run {
        let mut run = self.keyfob_with(case.args);
        for (name, value) in case.variables {
            run = run.env(name, value);
        }
        run.input = case.input.map(|name| self.path().join(name));
        run
    }

    fn keyfob_with(&self, args: &[&str]) -> Run {
        let mut run = Run::new("./keyfob", args).within(self.path());
        for (name, value) in [("KEYFOB_CONFIG", CONFIG), ("KEYFOB_CACHE_DIR", CACHE), ("KEYFOB_PROMPT", "never")] {
            run = run.env(name, value);
        }
        match &self.memory {
            Some(memory) => run.env("XDG_RUNTIME_DIR", memory.path()),
            None => run,
        }
    }

    /// A program that reads and prints what keyfob reads in this case, in the same surroundings.
    pub fn reader(&self, program: &Path, case: &Case) -> Run {
        let standard_input = case.input.map(|_| "-");
        let files = case.reads.iter().map(|file| self.file(*file)).chain(standard_input);
        Run { program: program.to_owned(), args: files.map(Into::into).collect(), ..self.keyfob(case) }
    }

    /// Writes a session as keyfob itself does.
    fn private(&self, name: &str, session: &Value) -> Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path().join(name))?;
        let session: Session = serde_json::from_value(session.clone())?;
        Ok(file.write_all(&serde_json::to_vec(&session)?)?)
    }
}

/// The session of the profile `lab`.
pub fn lab_session() -> Value {
    session("https://id.example.com/realms/lab", "kubernetes", LAB_SCOPES, None)
}

/// A session with two tokens of usual sizes, which live until the year 2100.
fn session(authority: &str, client_id: &str, scopes: &[&str], tenant: Option<&str>) -> Value {
    json!({
        "version": 1,
        "authority": authority,
        "client_id": client_id,
        "label": "",
        "account": { "name": "ada@example.com", "subject": "248289761001" },
        "refresh_token": opaque("refresh", 800),
        "asked": scopes,
        "granted": scopes,
        "tokens": [token(scopes, tenant, "access", 1400), token(scopes, tenant, "id", 1100)],
        "server": {
            "fetched_at": 1_700_000_000,
            "device_authorization_endpoint": format!("{authority}/device"),
            "token_endpoint": format!("{authority}/token"),
            "auth_method": "client_secret_basic",
            "s256": true,
            "offline_access": true,
        },
    })
}

/// A token of so many bytes.
fn token(scopes: &[&str], tenant: Option<&str>, kind: &str, size: usize) -> Value {
    json!({
        "key": { "kind": kind, "scopes": scopes, "tenant": tenant },
        "token": opaque(kind, size),
        "serial": 12_297_829_382_473_034_410_u64,
        "received_at": 1_700_000_000,
        "expires_at": 4_102_444_800_u64,
        "lifetime": 2_402_444_800_u64,
    })
}

/// Something like a token, of so many bytes.
fn opaque(kind: &str, size: usize) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    format!("{kind}.").chars().chain(letters.chars().cycle()).take(size).collect()
}
