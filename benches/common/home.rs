//! A home in which everybody has signed in long ago: keyfob answers every case from its cache.
//!
//! Every byte of it is fixed, and every path a program is given is relative to it, so that a count does not depend on
//! the machine's folders, on the day or on a server's port.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::run::Run;

/// A way to ask keyfob, and what it reads to answer.
#[derive(Debug)]
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
    pub reads: &'static [&'static str],
    /// What its answer holds.
    pub answer: &'static str,
}

/// What is measured. A new caller is one entry here.
pub const CASES: &[Case] = &[
    Case {
        name: "keyfob kubernetes",
        args: &["kubernetes", "--profile=lab"],
        variables: &[EXEC_INFO],
        input: None,
        reads: &[CONFIG, LAB],
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
        reads: &[LAB],
        answer: "\"token\":\"id.abcdef",
    },
    Case {
        name: "keyfob git get",
        args: &["git", "get"],
        variables: &[],
        input: Some(GIT_REQUEST),
        reads: &[CONFIG, LAB],
        answer: "\ncredential=access.abcdef",
    },
    Case {
        name: "keyfob token",
        args: &["token", "--profile=lab"],
        variables: &[],
        input: None,
        reads: &[CONFIG, LAB],
        answer: "access.abcdef",
    },
];

/// What kubectl says to a plugin.
const EXEC_INFO: (&str, &str) = (
    "KUBERNETES_EXEC_INFO",
    r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#,
);

const CONFIG: &str = "config.toml";
const CACHE: &str = "cache";
const LAB: &str = "cache/id.example.com-44933f4464943851631be082.json";
/// What git says to a helper.
pub const GIT_REQUEST: &str = "git-request";
const GIT_REQUEST_TEXT: &str = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example.com\n\
                                wwwauth[]=Bearer realm=\"git\"\n";

const CONFIG_TEXT: &str = r#"default-profile = "lab"

[profile.lab]
issuer = "https://id.example.com/realms/lab"
client-id = "kubernetes"
scopes = ["openid", "email", "offline_access"]

[hosts]
"https://git.example.com" = "lab"
"#;

/// A folder with a copy of keyfob, its configuration and its cache; gone when this is dropped.
pub struct Home(TempDir);

impl Home {
    /// A home with this keyfob; every case is asked once, and must be answered.
    pub fn new(keyfob: &Path) -> Result<Self> {
        let home = Self(TempDir::with_prefix("keyfob-bench-")?);
        fs::copy(keyfob, home.path().join("keyfob"))?;
        fs::set_permissions(home.path().join("keyfob"), Permissions::from_mode(0o755))?;
        fs::write(home.path().join(CONFIG), CONFIG_TEXT)?;
        fs::write(home.path().join(GIT_REQUEST), GIT_REQUEST_TEXT)?;
        DirBuilder::new().mode(0o700).create(home.path().join(CACHE))?;
        home.private(LAB, &session("https://id.example.com/realms/lab", "kubernetes"))?;
        for case in CASES {
            let answer = home.keyfob(case).answer()?;
            ensure!(answer.contains(case.answer), "{}: not the cached answer: {answer}", case.name);
        }
        Ok(home)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// keyfob as one case asks it.
    pub fn keyfob(&self, case: &Case) -> Run {
        let mut run = Run::new("./keyfob", case.args).within(self.path());
        for (name, value) in [("KEYFOB_CONFIG", CONFIG), ("KEYFOB_CACHE_DIR", CACHE), ("KEYFOB_PROMPT", "never")] {
            run = run.env(name, value);
        }
        for (name, value) in case.variables {
            run = run.env(name, value);
        }
        run.input = case.input.map(|name| self.path().join(name));
        run
    }

    /// A program that reads and prints what keyfob reads in this case, in the same surroundings.
    pub fn reader(&self, program: &Path, case: &Case) -> Run {
        let standard_input = case.input.map(|_| "-");
        let files = case.reads.iter().copied().chain(standard_input);
        Run { program: program.to_owned(), args: files.map(Into::into).collect(), ..self.keyfob(case) }
    }

    /// Puts so many sessions of others beside the ones that are used.
    pub fn crowd(&self, sessions: usize) -> Result<()> {
        for number in 0..sessions {
            let client = format!("client-{number}");
            let name = format!("cache/id.example.com-{:024x}.json", number * 0x9e37_79b9);
            // What they hold is never read; that they are there is what counts.
            self.private(&name, &json!({ "version": 1, "authority": "https://id.example.com", "client_id": client }))?;
        }
        Ok(())
    }

    fn private(&self, name: &str, content: &Value) -> Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path().join(name))?;
        Ok(file.write_all(content.to_string().as_bytes())?)
    }
}

/// A session with two tokens of usual sizes, which live until the year 2100.
fn session(authority: &str, client_id: &str) -> Value {
    let scopes = ["email", "offline_access", "openid"];
    let token = |kind: &str, size: usize| {
        json!({
            "key": { "kind": kind, "scopes": scopes },
            "token": opaque(kind, size),
            "received_at": 4_102_441_200_u64,
            "expires_at": 4_102_444_800_u64,
            "lifetime": 3600,
        })
    };
    json!({
        "version": 1,
        "authority": authority,
        "client_id": client_id,
        "label": "",
        "account": { "name": "ada@example.com", "subject": "248289761001" },
        "refresh_token": opaque("refresh", 800),
        "asked": scopes,
        "granted": scopes,
        "tokens": [token("access", 1400), token("id", 1100)],
        "server": {
            "fetched_at": 4_102_441_200_u64,
            "device_authorization_endpoint": format!("{authority}/device"),
            "token_endpoint": format!("{authority}/token"),
            "auth_method": "client_secret_basic",
            "s256": true,
            "offline_access": true,
        },
    })
}

/// Something like a token, of so many bytes.
fn opaque(kind: &str, size: usize) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    format!("{kind}.").chars().chain(letters.chars().cycle()).take(size).collect()
}
