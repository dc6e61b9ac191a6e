//! Sources of the token that proves what this machine is: a CI job's, a pod's, a virtual machine's. Each source that is
//! asked over the network has its own file.

mod azure_pipelines;
mod gcp;
mod github;

use crate::address::Address;
use crate::clock::boottime;
use crate::config::{Machine, MachineGrant, Profile, Source};
use crate::failure::{Exit, Failure};
use crate::grants::delegated;
use crate::log::debug;
use crate::oauth::answer::Answer;
use crate::oauth::http::{Http, Reply, unreachable};
use crate::oauth::id_token::Claims;
use crate::program;
use crate::secret::Secret;
use crate::session::Proof;
use crate::text::one_line;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Longest token, in bytes.
const LONGEST: u64 = 64 << 10;
/// Longest time for the request to a source.
const LIMIT: Duration = Duration::from_secs(20);
/// Variables that identify the CI job. They stand for a `source-command`, whose output also depends on the job but is
/// unknown until the program has run.
const JOBS: [&str; 8] = [
    "BITBUCKET_STEP_UUID",
    "BUILDKITE_JOB_ID",
    "CI_JOB_ID",
    "CIRCLE_WORKFLOW_JOB_ID",
    "GITHUB_RUN_ID",
    "GITHUB_JOB",
    "SYSTEM_JOBID",
    "TFC_RUN_ID",
];

/// Gets the source's token. Fails with exit code 2 if the source does not exist here or is not set up.
pub fn token(source: &Source, profile: &Profile) -> Result<Secret, Failure> {
    let (text, what) = match source {
        Source::File(file) => (in_file(file)?, format!("the token file {}", file.display())),
        Source::Env(name) => (in_variable(name)?, format!("the variable {name}")),
        Source::Command(words) => (printed(words)?, format!("what {:?} prints", words[0])),
        Source::Github(audience) => (github::token(profile, audience)?, "the answer of GitHub Actions".to_owned()),
        Source::AzurePipelines(connection) => {
            (azure_pipelines::token(profile, connection)?, "the answer of Azure Pipelines".to_owned())
        }
        Source::Gcp(audience) => (gcp::token(profile, audience)?, "the answer of the metadata server".to_owned()),
        Source::Profile(name) => return Err(Failure::usage(format!("the profile {name:?} was not asked"))),
    };
    let text = text.trim();
    // The token may be sent in a header.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = if text.is_empty() { "is empty" } else { "is not a token" };
        return Err(Failure::new(Exit::Failed, format!("{what} {why}")));
    }
    Ok(Secret::from(text.to_owned()))
}

/// Identifies this machine or job among others with the same profile, as far as possible without sending a request.
/// Fails as [`token`] does.
pub fn proof(machine: &Machine) -> Result<Proof, Failure> {
    Ok(match &machine.source {
        None if matches!(machine.grant, MachineGrant::Az | MachineGrant::Azd) => delegated::proof(machine.grant),
        None | Some(Source::Gcp(_) | Source::Profile(_)) => Proof::of([]),
        Some(Source::File(file)) => of_text(in_file(file)?),
        Some(Source::Env(name)) => of_text(in_variable(name)?),
        Some(Source::Command(_)) => {
            let jobs = JOBS.map(|name| std::env::var(name).unwrap_or_default());
            Proof::of(jobs.iter().map(String::as_str))
        }
        Some(Source::Github(_)) => {
            let github::Job { address, token } = github::Job::find()?;
            Proof::of([address.as_str(), token.expose()])
        }
        Some(Source::AzurePipelines(_)) => {
            let azure_pipelines::Job { address, token } = azure_pipelines::Job::find()?;
            Proof::of([address.as_str(), token.expose()])
        }
    })
}

/// For a JWT, which is reissued again and again, only its issuer and subject count.
fn of_text(text: String) -> Proof {
    let token = Secret::from(text);
    match Claims::of(&token) {
        Some(claims) => {
            let said = |claim: Option<String>| claim.unwrap_or_default();
            Proof::of([said(claims.issuer).as_str(), said(claims.subject).as_str()])
        }
        None => Proof::of([token.expose().trim()]),
    }
}

fn in_file(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let wrong = |error| Failure::usage(format!("could not read the token file {}: {error}", file.display()));
    read.map_err(wrong)?;
    Ok(text)
}

fn in_variable(name: &str) -> Result<String, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty() && value.len() as u64 <= LONGEST);
    value.ok_or_else(|| {
        Failure::usage(format!("the variable {name} holds no token"))
            .hint("the CI job has to ask for it; see docs/machines.md, or the CI's own documentation of OpenID Connect")
    })
}

/// The output of a program, run without a shell.
fn printed(words: &[String]) -> Result<String, Failure> {
    let name = &words[0];
    let failed = |error: anyhow::Error| Failure::of(&error.context("`source-command`"));
    let program = program::by_name(name).map_err(failed)?;
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let ran = program::run(&program, &arguments, &[], "", Some(Path::new("/"))).map_err(failed)?;
    if ran.ok {
        return Ok(ran.stdout);
    }
    // Do not repeat its output, which may be part of a token; its last error line is safe.
    let said = ran.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(Failure::new(Exit::Failed, format!("`source-command`: {name} failed: {}", one_line(said))))
}

/// A client for a source, or for a service that exchanges the source's token.
pub(super) fn http(profile: &Profile) -> Result<Http, Failure> {
    let mut http = Http::new(profile.ca_file.as_ref()).map_err(|error| Failure::of(&error))?;
    http.until(boottime() + LIMIT);
    Ok(http)
}

/// Posts a form to an endpoint that is not an OAuth server's, for a token of `profile`.
pub(super) fn post(profile: &Profile, endpoint: &Address, form: &str) -> Result<Reply, Failure> {
    debug(|| format!("POST {endpoint}"));
    let reply = http(profile)?.post(endpoint.as_str(), form, None).and_then(Reply::whole);
    reply.map_err(|why| unreachable(endpoint.as_str(), &why))
}

/// The value of a variable that a CI sets for jobs that may have a token. `hint` says how to get it set.
fn variable(name: &str, hint: &str) -> Result<String, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| Failure::usage(format!("the variable {name} is not set")).hint(hint))
}

/// Like [`variable`], for an address to which the job's token is sent.
fn address(name: &str, hint: &str) -> Result<Address, Failure> {
    let value = variable(name, hint)?;
    Address::parse(&value).map_err(|why| Failure::usage(format!("the address in {name} {why}")))
}

/// The member `name` of a JSON answer, which holds the token. `hint` says what to check if the source refused.
fn member(url: &str, reply: Result<Reply, String>, secret: &Secret, name: &str, hint: &str) -> Result<String, Failure> {
    let reply = reply.and_then(Reply::whole).map_err(|why| unreachable(url, &why))?;
    let refused = |why: &str| Failure::new(Exit::Failed, format!("{url} gave no token: {why}")).hint(hint);
    match Answer::hiding(&reply, std::slice::from_ref(secret)) {
        Answer::Object(members) => members.text(name).ok_or_else(|| refused(&format!("its answer has no `{name}`"))),
        Answer::Error(error) => Err(refused(&error.text())),
        Answer::Redirect(why) | Answer::Unreadable(why) => Err(refused(&why)),
        Answer::Transient(why, _) if reply.status < 400 => Err(refused(&why)),
        Answer::Transient(why, _) => Err(unreachable(url, &why)),
    }
}
