//! Docker's credential helper protocol: `docker-credential-keyfob get|store|erase|list`, for docker, podman, skopeo and
//! buildah. <https://github.com/docker/docker-credential-helpers>
//!
//! `get` and `erase` read a registry's address from stdin. All answers go to stdout, failures too.
//!
//! - For a registry that is not mapped the answer is "not found", in the words that the programs look for, so that they
//!   go on without a credential.
//! - Nobody is asked to sign in, because `docker build` asks for every configured registry, whether or not it needs it.
//! - The secret is an access token, never a refresh token (`<token>`), because the programs would send that to the
//!   registry.
//! - The protocol has no expiry, so a token that expires soon is renewed first.

use super::{Ask, Caller, Io, Outcome, Requester, Want, What, Whose, json_line};
use crate::arguments::{Grammar, Rest};
use crate::config::Target;
use crate::failure::Failure;
use crate::sorted;
use crate::text::one_line;
use serde::Serialize;

/// `keyfob docker`
pub const CALLER: Caller = Caller {
    name: "docker",
    alias: None,
    link: Some(super::Link { name: "docker-credential-keyfob", grammar: None }),
    about: "Answer docker, podman, skopeo and buildah (credential helper), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Word("OPERATION", "get, store, erase or list") },
    after_help: "\
docker runs this by the name docker-credential-keyfob. `keyfob setup docker` has it do so for one registry; by hand, a link \
of that name on PATH, and in ~/.docker/config.json:
  {\"credHelpers\": {\"ghcr.io\": \"keyfob\"}}
Which profile's token a registry gets is said in config.toml:
  [hosts]
  \"https://ghcr.io\" = { profile = \"gh\", callers = [\"docker\"] }

Try what docker gets:
  printf ghcr.io | keyfob docker get",
    run,
};

/// The message that the programs take to mean that there is no credential.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// Least remaining life of a token, in seconds, because a long build pushes at its end.
const MIN_LIFE: u64 = 900;

/// Answers docker.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    match io.arguments.rest().first().map(String::as_str) {
        Some("get") => get(io, ask),
        Some("erase") => erase(io, ask),
        Some("list") => list(io, ask),
        Some("store") => say(io, "keyfob keeps no passwords: sign in with `keyfob login`, not with docker login"),
        _ => say(io, "the operation is one of get, store, erase and list"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

fn get(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let Some((server, target)) = server(io) else { return say(io, NOT_FOUND) };
    let want = Want {
        min_life: Some(MIN_LIFE),
        no_prompt: Some("docker asks for registries that it may not need"),
        ..Want::for_host(&target, CALLER.name, CALLER.name)
    };
    match ask(want) {
        Outcome::NotMine => say(io, NOT_FOUND),
        Outcome::Credential(credential) => {
            let (username, secret) = (&credential.username, credential.token.expose());
            io.answer(json_line(&Answer { server_url: &server, username, secret }))
        }
        other => {
            let failure = other.failure();
            // docker hides stdout if it can go on without a credential, as for a pull.
            io.fail(&failure);
            say(io, &sentence(&failure))
        }
    }
}

/// `docker logout`: drops the access token, so that the next `get` gets a new one. The session stays.
fn erase(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let Some((_, target)) = server(io) else { return 0 };
    match ask(Want { what: What::Erase(None), ..Want::for_host(&target, CALLER.name, CALLER.name) }) {
        Outcome::Done | Outcome::NotMine => 0,
        other => say(io, &sentence(&other.failure())),
    }
}

/// Lists only hosts with a cached token: the programs ask for each of them next, and treat one failure as a failure of
/// all.
fn list(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let want = Want::token(Whose::EveryHost(CALLER.name), Requester::Parent(CALLER.name));
    match ask(Want { what: What::Cached, ..want }) {
        Outcome::Hosts(hosts) => {
            let named = hosts.iter().filter_map(|host| Some((host.pattern.as_ref()?.canonical(), &host.username)));
            io.answer(json_line(&sorted::map(named)))
        }
        other => say(io, &sentence(&other.failure())),
    }
}

/// The registry on stdin, as text and parsed. It is an address, or a bare host, which means https.
fn server(io: &mut Io<'_>) -> Option<(String, Target)> {
    let server = String::from_utf8(io.request().ok()?.to_vec()).ok()?;
    let server = server.strip_suffix('\n').unwrap_or(&server);
    let target =
        if server.contains("://") { Target::of_url(server) } else { Target::parse("https", server, None, None) };
    Some((server.to_owned(), target?))
}

/// A failure in one line, which is what docker shows.
fn sentence(failure: &Failure) -> String {
    let hint = failure.hint.as_ref().map(|hint| format!("; {}", hint.text())).unwrap_or_default();
    one_line(&format!("keyfob: {}{hint}", failure.message))
}

/// Answers that there is no credential, and why.
fn say(io: &mut Io<'_>, why: &str) -> u8 {
    io.answer(format!("{why}\n")).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::callers::Credential;
    use crate::config::HostPattern;
    use crate::failure::Exit;

    fn said(operation: &str, stdin: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, &[operation], Given { stdin: stdin.as_bytes(), ..Given::default() }, ask)
    }

    #[test]
    fn the_answer_is_literally_this() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, caller: "docker", given: None } = want.whose else { panic!("{want:?}") };
            assert_eq!(target.origin(), "https://ghcr.io");
            assert_eq!((want.min_life, want.no_prompt.is_some()), (Some(900), true));
            Outcome::Credential(credential("t0k\"en"))
        };
        for server in ["ghcr.io", "ghcr.io\n", "https://ghcr.io", "https://ghcr.io/v2/"] {
            let stdout = format!(
                "{{\"ServerURL\":\"{}\",\"Username\":\"x-access-token\",\"Secret\":\"t0k\\\"en\"}}\n",
                server.trim_end_matches('\n')
            );
            assert_eq!(said("get", server, &ask), (0, stdout, String::new()));
        }
    }

    #[test]
    fn what_is_not_found_is_said_in_dockers_words() {
        let none = (1, "credentials not found in native keychain\n".to_owned(), String::new());
        assert_eq!(said("get", "ghcr.io", &|_| Outcome::NotMine), none);
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in
            ["", "ghcr.io\n\n", "ghcr.io evil.example", "ada@ghcr.io", "https://ada@ghcr.io/", "ghcr.io/team", "\0"]
        {
            assert_eq!(said("get", odd, &never), none, "{odd:?}");
        }
        let bytes = Given { stdin: b"ghcr.io\xff", ..Given::default() };
        assert_eq!(run(&CALLER, &["get"], bytes, &never), none);
    }

    #[test]
    fn a_failure_is_on_stdout_in_one_line_and_on_stderr_for_the_person() {
        let failed = || Failure::new(Exit::SignInNeeded, "nobody is\nsigned in").run("keyfob login gh");
        let both = (
            1,
            "keyfob: nobody is signed in; keyfob login gh\n".to_owned(),
            "error: nobody is signed in\nhint: keyfob login gh\n".to_owned(),
        );
        assert_eq!(said("get", "ghcr.io", &|_| Outcome::Failed(failed())), both);
        assert_eq!(said("get", "ghcr.io", &|_| Outcome::Misconfigured(failed())), both);
    }

    #[test]
    fn what_is_erased_is_the_token_alone_and_nothing_is_stored() {
        let ask = |want: Want<'_>| {
            assert_eq!(want.what, What::Erase(None));
            Outcome::Done
        };
        assert_eq!(said("erase", "ghcr.io", &ask), (0, String::new(), String::new()));
        assert_eq!(said("erase", "ghcr.io", &|_| Outcome::NotMine), (0, String::new(), String::new()));
        let locked = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::Failed, "the session is locked"));
        assert_eq!(said("erase", "ghcr.io", &locked), (1, "keyfob: the session is locked\n".to_owned(), String::new()));
        let never = |want: Want<'_>| panic!("{want:?}");
        assert_eq!(said("erase", "", &never), (0, String::new(), String::new()));
        let store = "{\"ServerURL\":\"ghcr.io\",\"Username\":\"ada\",\"Secret\":\"hunter2\"}";
        let why = "keyfob keeps no passwords: sign in with `keyfob login`, not with docker login\n";
        assert_eq!(said("store", store, &never), (1, why.to_owned(), String::new()));
        assert_eq!(said("frob", "", &never).0, 1);
    }

    #[test]
    fn what_the_cache_holds_is_listed() {
        let ask = |want: Want<'_>| {
            assert!(matches!((want.whose, want.what), (Whose::EveryHost("docker"), What::Cached)));
            let pattern = HostPattern::parse("https://ghcr.io").ok();
            Outcome::Hosts(vec![Credential { pattern, ..credential("t") }])
        };
        assert_eq!(
            said("list", "unused", &ask),
            (0, "{\"https://ghcr.io\":\"x-access-token\"}\n".to_owned(), String::new())
        );
        assert_eq!(said("list", "", &|_| Outcome::Hosts(Vec::new())), (0, "{}\n".to_owned(), String::new()));
    }
}
