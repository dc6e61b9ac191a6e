//! Go's GOAUTH protocol: `GOAUTH='keyfob goauth'`. See `go help goauth`.
//!
//! Go runs the command once before it sends any request. It runs it again whenever a server answers with 4xx, with the
//! address as the last argument and the head of the response on stdin.
//!
//! - The first time, it gets the cached tokens of all hosts, and nobody is asked to sign in, because most commands need
//!   no token.
//! - The second time, a token is renewed, replaced or signed in for only after 401 and 403. Go also reports 404 and
//!   410, which servers send for every module that they do not have.
//! - A host that is not mapped gets nothing, with exit code 0.

use super::{Ask, Caller, Credential, Io, LARGEST, Outcome, Refused, Requester, Want, What, Whose};
use crate::arguments::{Grammar, Rest};
use crate::config::Target;
use crate::failure::{Exit, Failure};

/// `keyfob goauth`
pub const CALLER: Caller = Caller {
    name: "goauth",
    alias: None,
    link: None,
    about: "Answer the go command (GOAUTH), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Line("URL", "what Go has been refused; its response is on stdin") },
    after_help: "\
`keyfob setup go` has Go run this; by hand
  go env -w GOAUTH='/home/ada/.local/bin/keyfob goauth; netrc'
Which profile's token a host gets is said in config.toml:
  [hosts]
  \"https://go.example.com\" = { profile = \"lab\", callers = [\"goauth\"] }",
    run,
};

/// The same for both calls of one Go command, so that a token that the first call printed counts as refused in the
/// second.
const REQUEST: &[&str] = &["goauth"];

/// Answers Go.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let refused = Refused::IfAskedBefore(REQUEST);
    let url = match io.arguments.rest() {
        [] => {
            let want = Want::token(Whose::EveryHost(CALLER.name), Requester::Parent("go"));
            return answer(io, ask(Want { what: What::Cached, refused, ..want }), None);
        }
        [url] if !url.starts_with('-') => url,
        [word, ..] => {
            let failure = Failure::usage(format!("Go hands over one address, and not {word:?}"));
            return io.fail(&failure.hint("[hosts] in config.toml says whose token each host gets"));
        }
    };
    let Some(target) = Target::of_url(url) else { return 0 };
    let head = match io.request() {
        Ok(head) => head,
        Err(e) => return io.fail(&Failure::new(Exit::Failed, e.to_string())),
    };
    let want = Want::for_host(&target, CALLER.name, "go");
    let outcome = match status(&head) {
        Some(401 | 403) => ask(Want { refused, ..want }),
        _ => ask(Want { what: What::Cached, ..want }),
    };
    answer(io, outcome, Some(&target))
}

fn answer(io: &mut Io<'_>, outcome: Outcome, target: Option<&Target>) -> u8 {
    let hosts = match outcome {
        Outcome::NotMine => return 0,
        Outcome::Credential(credential) => vec![credential],
        Outcome::Hosts(hosts) => hosts,
        other => return io.fail(&other.failure()),
    };
    io.answer(hosts.iter().filter_map(|host| block(host, target)).collect())
}

/// The address to send a token to, and the header. Go sends it to every address that begins with this one.
fn block(credential: &Credential, target: Option<&Target>) -> Option<String> {
    let pattern = credential.pattern.as_ref()?;
    let place = target.map_or_else(|| pattern.canonical(), |target| pattern.at(target));
    // Go accepts only https here, and takes one unreadable line for a failure of all.
    let plain = place.starts_with("https://") && !credential.token.expose().contains(char::is_control);
    plain.then(|| [&place, "\n\nAuthorization: ", &credential.authorization(), "\n\n"].concat())
}

/// The status in a response's head; `None` if it is not a response.
pub fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next().filter(|_| head.len() as u64 <= LARGEST)?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next().filter(|status| status.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::config::HostPattern;

    fn said(words: &[&str], head: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given { stdin: head.as_bytes(), ..Given::default() }, ask)
    }

    fn of(pattern: &str) -> Credential {
        Credential { pattern: HostPattern::parse(pattern).ok(), ..credential("abc") }
    }

    #[test]
    fn the_first_call_prints_what_the_cache_holds() {
        let ask = |want: Want<'_>| {
            assert!(matches!((want.whose, want.what), (Whose::EveryHost("goauth"), What::Cached)), "{want:?}");
            assert_eq!(want.refused, Refused::IfAskedBefore(REQUEST));
            Outcome::Hosts(vec![of("https://go.example"), of("http://127.0.0.1:80"), of("https://b.example:8443/team")])
        };
        let stdout = "https://go.example\n\nAuthorization: Bearer abc\n\n\
                      https://b.example:8443/team\n\nAuthorization: Bearer abc\n\n";
        assert_eq!(said(&[], "", &ask), (0, stdout.to_owned(), String::new()));
        assert_eq!(said(&[], "", &|_| Outcome::Hosts(Vec::new())), (0, String::new(), String::new()));
    }

    #[test]
    fn only_401_and_403_are_more_than_the_cache() {
        for (head, what) in [
            ("HTTP/1.1 401 Unauthorized\nWww-Authenticate: Bearer\n\n", What::Token),
            ("HTTP/2.0 403 \r\n\r\n", What::Token),
            ("HTTP/1.1 404 Not Found\n\n", What::Cached),
            ("HTTP/1.1 410 Gone\n\n", What::Cached),
            ("HTTP/1.1 4010 x\n\n", What::Cached),
            ("401\n\n", What::Cached),
            ("", What::Cached),
        ] {
            let ask = |want: Want<'_>| {
                let Whose::Host { target, caller: "goauth", .. } = want.whose else { panic!("{want:?}") };
                assert_eq!((target.origin().as_str(), want.what), ("https://one.go.example", what), "{head}");
                let refused = Refused::IfAskedBefore(REQUEST);
                assert_eq!(want.refused, if what == What::Token { refused } else { Refused::Unknown });
                Outcome::Credential(of("https://*.go.example/team"))
            };
            let stdout = "https://one.go.example/team\n\nAuthorization: Bearer abc\n\n".to_owned();
            assert_eq!(said(&["https://one.go.example/team/m/@v/list"], head, &ask), (0, stdout, String::new()));
        }
    }

    #[test]
    fn what_is_not_mapped_gets_nothing() {
        let head = "HTTP/1.1 401 Unauthorized\n\n";
        let nothing = (0, String::new(), String::new());
        assert_eq!(said(&["https://a.example/m"], head, &|_| Outcome::NotMine), nothing);
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in ["a.example", "https://ada@a.example/", "https://a.example/../b", ""] {
            assert_eq!(said(&[odd], head, &never), nothing, "{odd:?}");
        }
        let broken = |_: Want<'_>| {
            let token = "a\nb".to_owned().into();
            Outcome::Credential(Credential { token, ..of("https://a.example") })
        };
        assert_eq!(said(&["https://a.example/m"], head, &broken), nothing);
    }

    #[test]
    fn what_go_never_says_is_refused() {
        let never = |want: Want<'_>| panic!("{want:?}");
        for (words, word) in [(&["-x"][..], "-x"), (&["https://a.example", "b"], "https://a.example")] {
            let stderr = format!(
                "error: Go hands over one address, and not \"{word}\"\n\
                 hint: [hosts] in config.toml says whose token each host gets\n"
            );
            assert_eq!(said(words, "", &never), (2, String::new(), stderr));
        }
    }

    #[test]
    fn a_failure_is_two_lines_and_an_exit_code() {
        let ask = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::Refused, "no"));
        let said = said(&["https://a.example/m"], "HTTP/1.1 401 x\n\n", &ask);
        assert_eq!(said, (4, String::new(), "error: no\n".to_owned()));
    }
}
