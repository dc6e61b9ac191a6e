//! Tokens from the Azure CLI (`az`) and the Azure Developer CLI (`azd`), for the account that is signed in there.
//! Running one of them takes a third of a second, which the cache saves.

use super::managed_identity::resource;
use super::{Ask, Renewal, read};
use crate::clock::{Skew, Timestamp};
use crate::config::MachineGrant;
use crate::failure::{Exit, Failure};
use crate::oauth::answer::{TokenAnswer, Tokens};
use crate::oauth::json::Members;
use crate::program;
use crate::secret::Secret;
use crate::session::Proof;
use crate::text::{clean, one_line};
use crate::zone;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes that are read of a file of theirs.
const LARGEST: u64 = 4 << 20;
/// Longest error message of theirs that is repeated, in characters.
const LONGEST: usize = 300;

/// One of the two programs.
struct Tool {
    name: &'static str,
    title: &'static str,
    /// The command that signs in to it.
    login: &'static str,
    /// Where its account is kept: the variable that names its folder, the default folder in the home folder, and the
    /// files there.
    state: (&'static str, &'static str, &'static [&'static str]),
    /// What it prints if nobody is signed in.
    signed_out: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const AZ: Tool = Tool {
    name: "az",
    title: "the Azure CLI",
    login: "az login",
    state: ("AZURE_CONFIG_DIR", ".azure", &["azureProfile.json"]),
    signed_out: &["az login", "az account set"],
    environment: &[("AZURE_CORE_NO_COLOR", "true"), ("AZURE_CORE_ONLY_SHOW_ERRORS", "true")],
};

const AZD: Tool = Tool {
    name: "azd",
    title: "the Azure Developer CLI",
    login: "azd auth login",
    state: ("AZD_CONFIG_DIR", ".azd", &["auth.json", "config.json"]),
    signed_out: &["azd auth login", "not logged in"],
    environment: &[("NO_COLOR", "1")],
};

fn tool(grant: MachineGrant) -> &'static Tool {
    if grant == MachineGrant::Azd { &AZD } else { &AZ }
}

/// Identifies the account that is signed in there, without running the program.
pub fn proof(grant: MachineGrant) -> Proof {
    let (variable, usual, files) = tool(grant).state;
    let named = std::env::var_os(variable).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = named.or_else(|| Some(dirs::home_dir()?.join(usual))).unwrap_or_default();
    let contents = files.iter().map(|file| {
        let mut bytes = Vec::new();
        let _ = std::fs::File::open(folder.join(file)).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let contents: Vec<String> = contents.collect();
    Proof::of(contents.iter().map(String::as_str))
}

/// Runs the program once for a token.
pub(super) fn ask(grant: MachineGrant, ask: &Ask<'_>) -> Renewal {
    asked(grant, ask).unwrap_or_else(Renewal::from)
}

fn asked(grant: MachineGrant, ask: &Ask<'_>) -> Result<Renewal, Failure> {
    let tool = tool(grant);
    let program = program::find(tool.name).ok_or_else(|| {
        Failure::usage(format!("there is no program {:?} on PATH besides keyfob", tool.name))
            .hint(format!("install {}, or choose another `grant`", tool.title))
    })?;
    let words = words(grant, ask)?;
    let sent = Timestamp::now();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran =
        program::run(&program, &words, tool.environment, "", Some(Path::new("/"))).map_err(|e| Failure::of(&e))?;
    if !ran.ok {
        return Err(failed(tool, &ran.stdout, &ran.stderr));
    }
    let members = Members::read(ran.stdout.as_bytes())
        .map_err(|why| Failure::new(Exit::Failed, format!("what {} printed is {why}", tool.name)))?;
    let (token, end, tenant) = read_answer(grant, &members);
    let missing = || Failure::new(Exit::Failed, format!("{} printed no token", tool.name));
    let answer = TokenAnswer {
        refresh_token: None,
        tokens: Ok(Tokens {
            access_token: token
                .filter(|token| token.expose().bytes().all(|b| b.is_ascii_graphic()))
                .ok_or_else(missing)?,
            expires_in: end.map(|end| end.since(sent)),
            refresh_in: None,
            id_token: None,
            scope: None,
        }),
    };
    let (mut grant, problem) = read(&answer, ask, &ask.profile.scopes, sent, Skew::default());
    grant.tokens.iter_mut().for_each(|token| token.tenant.clone_from(&tenant));
    Ok(Renewal::Granted(grant, problem))
}

/// The arguments that ask for a token.
fn words(grant: MachineGrant, ask: &Ask<'_>) -> Result<Vec<String>, Failure> {
    let resource = resource(ask.profile)?;
    let said = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let tenant = ask.profile.tenant();
    if grant == MachineGrant::Azd {
        let mut words = said(&["auth", "token", "--output", "json", "--no-prompt", "--scope"]);
        words.push(format!("{resource}/.default"));
        words.extend(tenant.map(|tenant| said(&["--tenant-id", tenant])).into_iter().flatten());
        return Ok(words);
    }
    let mut words = said(&["account", "get-access-token", "--output", "json", "--resource", &resource]);
    words.extend(tenant.map(|tenant| said(&["--tenant", tenant])).into_iter().flatten());
    words.extend(ask.profile.subscription().map(|name| said(&["--subscription", name])).into_iter().flatten());
    Ok(words)
}

/// Reads the token, its expiry and its tenant from the program's output.
fn read_answer(grant: MachineGrant, members: &Members) -> (Option<Secret>, Option<Timestamp>, Option<String>) {
    let token = |name| members.text(name).filter(|text| !text.is_empty()).map(Secret::from);
    let written = members.text("expiresOn").unwrap_or_default();
    if grant == MachineGrant::Azd {
        return (token("token"), written.parse().ok().map(|at: jiff::Timestamp| Timestamp(at.as_second())), None);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    let end = members.number("expires_on").filter(|end| (0.0..1e12).contains(end)).map(|end| Timestamp(end as i64));
    // Before version 2.54, az gave only the local time.
    (token("accessToken"), end.or_else(|| zone::moment(&written)), members.text("tenant").map(|tenant| clean(&tenant)))
}

/// The failure of the program, with its own message.
fn failed(tool: &Tool, stdout: &str, stderr: &str) -> Failure {
    let said = format!("{stdout}\n{stderr}");
    if tool.signed_out.iter().any(|words| said.contains(words)) && !said.contains("AADSTS") {
        let failure = Failure::new(Exit::SignInNeeded, format!("nobody is signed in to {}", tool.title));
        return failure.run(tool.login);
    }
    // Repeat only stderr, because a failed program may have printed part of a token to stdout.
    let line = stderr.lines().rev().map(str::trim).find(|line| line.starts_with("ERROR:"));
    let line =
        line.or_else(|| stderr.lines().map(str::trim).rfind(|line| !line.is_empty())).unwrap_or("it said nothing");
    let words = one_line(line.trim_start_matches("ERROR:").trim());
    let no_token =
        |word: &str| if word.contains("eyJ") || word.len() > 200 { "[redacted]".to_owned() } else { word.to_owned() };
    let words = words.split(' ').map(no_token).collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(LONGEST).collect();
    Failure::new(Exit::Failed, format!("{} failed: {words}", tool.name))
        .hint(format!("see what it says: {}", tool.login))
}
