//! Tests every caller that answers for hosts against hostile requests.

use super::seam::tests::{Given, credential, run};
use super::{CALLERS, Caller, Credential, Outcome, Want, What, Whose, host_callers};
use crate::config::hosts::find;
use crate::config::{HostPattern, HostRule};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Makes a request for an address or host: the arguments, and standard input.
type Asking = fn(&str) -> (Vec<String>, String);

/// A way to ask every caller that answers for hosts.
const ASKING: &[(&str, Asking)] = &[
    ("git", |place| {
        let (scheme, rest) = place.split_once("://").unwrap_or(("https", place));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = if path.is_empty() { String::new() } else { format!("path={path}\n") };
        (vec!["get".into()], format!("protocol={scheme}\nhost={host}\n{path}"))
    }),
    ("docker", |place| (vec!["get".into()], place.into())),
    ("keyring", |place| (["get", place, "ada"].map(str::to_owned).to_vec(), String::new())),
    ("cargo", |place| {
        let registry = serde_json::json!({"v": 1, "registry": {"index-url": place}, "kind": "get"});
        (Vec::new(), format!("{registry}\n"))
    }),
    ("goauth", |place| (vec![place.into()], "HTTP/1.1 401 x\n\n".into())),
    ("terraform", |place| (["get", place].map(str::to_owned).to_vec(), String::new())),
    ("bazel", |place| (vec!["get".into()], serde_json::json!({"uri": place}).to_string())),
];

/// The rules in these tests; each is for every caller.
static RULES: LazyLock<Vec<HostRule>> = LazyLock::new(|| {
    let patterns = ["https://ghcr.io", "https://pkg.example/team", "https://*.wild.example", "http://127.0.0.1:5000"];
    let all = |pattern: &&str| {
        let pattern = HostPattern::parse(pattern).unwrap();
        let callers = Some(crate::config::hosts::HostCallers {
            names: host_callers().into_iter().map(str::to_owned).collect(),
            place: String::new(),
        });
        HostRule { callers, ..HostRule::given("lab", pattern) }
    };
    patterns.iter().map(all).collect()
});

/// Asks a caller for an address. Returns what it printed, and the host whose token it was given.
fn asked(caller: &Caller, place: &str) -> Option<(String, Option<String>)> {
    let (_, asking) = ASKING.iter().find(|(name, _)| *name == caller.name).unwrap();
    let (words, stdin) = asking(place);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // clap takes a word that begins with a dash for a flag.
    if words.iter().any(|word| word.starts_with('-')) {
        return None;
    }
    let of = RefCell::new(None);
    let ask = |want: Want<'_>| {
        let Whose::Host { target, caller: name, .. } = want.whose else { panic!("{want:?}") };
        assert_eq!(name, caller.name);
        match (find(&RULES, target, name), want.what) {
            (None, _) => Outcome::NotMine,
            (Some(_), What::Mapped) => Outcome::Done,
            (Some(rule), _) => {
                *of.borrow_mut() = Some(target.origin());
                Outcome::Credential(Credential { pattern: Some(rule.pattern.clone()), ..credential("t0k~n") })
            }
        }
    };
    let (_, stdout, stderr) = run(caller, &words, Given { stdin: stdin.as_bytes(), ..Given::default() }, &ask);
    assert!(!stderr.contains("t0k~n"));
    Some((stdout, of.into_inner()))
}

/// Valid addresses, mixed with what attackers put into them.
fn places() -> impl Strategy<Value = String> {
    let pieces = "https:// http:// grpcs:// sparse+https:// sparse+http:// grpc:// // / : @ ? # \\ .. . %2f \0 * [ ] ghcr.io \
                  GHCR.io pkg.example a.wild.example wild.example 127.0.0.1 localhost :443 :5000 :80 /team /team/ /teams \
                  /team/../other evil.example .evil.example a ada@ ada:x@ ä";
    let pieces: Vec<String> = pieces.split_whitespace().map(str::to_owned).chain([" ".to_owned()]).collect();
    prop::collection::vec(prop::sample::select(pieces), 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Whatever a caller is asked for, it prints a token only for a mapped host. An independent parser of addresses
    /// decides whether a host is mapped.
    #[test]
    fn no_caller_prints_a_token_for_a_host_that_is_not_mapped(place in places()) {
        for caller in CALLERS.iter().filter(|caller| caller.hosts) {
            let Some((stdout, of)) = asked(caller, &place) else { continue };
            // Go does not accept credentials for plain http.
            if caller.name == "goauth" && of.is_some() && !stdout.contains("t0k~n") {
                continue;
            }
            // Base64 would mean Basic, which no rule here uses.
            prop_assert_eq!(stdout.contains("t0k~n"), of.is_some(), "{} {:?}: {}", caller.name, place, stdout);
            let Some(origin) = of else { continue };
            let url = if place.contains("://") { place.clone() } else { format!("https://{place}") };
            // Paths in git's protocol may contain characters that an address must not.
            let uri = url.replace([' ', 'ä'], "_").parse::<http::Uri>().unwrap();
            let authority = uri.authority().unwrap();
            prop_assert!(!authority.as_str().contains('@'), "{} {place}", caller.name);
            let scheme = uri.scheme_str().unwrap().trim_start_matches("sparse+");
            let scheme = scheme.replace("grpcs", "https").replace("grpc", "http");
            let host = authority.host().to_ascii_lowercase();
            let mapped = match (scheme.as_str(), host.as_str(), uri.port_u16()) {
                ("https", "ghcr.io", None | Some(443)) | ("http", "127.0.0.1", Some(5000)) => true,
                ("https", "pkg.example", None | Some(443)) => uri.path() == "/team" || uri.path().starts_with("/team/"),
                ("https", host, None | Some(443)) => {
                    host.strip_suffix(".wild.example").is_some_and(|label| !label.is_empty() && !label.contains('.'))
                }
                _ => false,
            };
            prop_assert!(mapped && origin.contains(&host), "{} {place} {origin}", caller.name);
        }
    }
}

/// Known attacks on each protocol get no token, and mapped hosts do.
#[test]
fn every_caller_of_hosts_answers_for_what_is_mapped_alone() {
    assert_eq!(ASKING.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), host_callers().into_iter().collect());
    // These programs give a bare host, which means https.
    let bare = ["git", "docker", "terraform"];
    let whole = ["git", "docker", "keyring", "cargo", "goauth", "bazel"];
    for caller in CALLERS.iter().filter(|caller| caller.hosts) {
        let answered = |place: &str| asked(caller, place).is_some_and(|(stdout, _)| stdout.contains("t0k~n"));
        assert_eq!(answered("ghcr.io"), bare.contains(&caller.name), "{}", caller.name);
        assert_eq!(answered("ghcr.io:443"), bare.contains(&caller.name), "{}", caller.name);
        for place in
            ["https://ghcr.io", "https://GHCR.io:443/x", "https://pkg.example/team/simple", "https://a.wild.example"]
        {
            assert_eq!(answered(place), whole.contains(&caller.name), "{} {place}", caller.name);
        }
        for attack in [
            "",
            "https://",
            "https://ghcr.io.evil.example",
            "https://ghcr.io@evil.example",
            "https://evil.example@ghcr.io/",
            "https://evil.example#@ghcr.io",
            "https://evil.example/ghcr.io",
            "https://ghcr.io\\@evil.example",
            "https://ghcr.io:444",
            "https://ghcr.io:0443",
            "https://ghcr.io.",
            "http://ghcr.io",
            "grpc://ghcr.io",
            "sparse+http://ghcr.io",
            "ftp://ghcr.io",
            "smtp://ghcr.io",
            "imaps://ghcr.io:443",
            "https://pkg.example/",
            "https://pkg.example/teams",
            "https://pkg.example/team/../other",
            "https://pkg.example/team%2f..%2fother",
            "https://wild.example",
            "https://a.b.wild.example",
            "ghcr.io.",
            "pkg.example/team/../evil",
            "ghcr.io@evil.example",
            "ghcr.io evil.example",
            "ghcr.io\nevil.example",
            "evil.example",
            "127.0.0.1:5000",
        ] {
            assert!(!answered(attack), "{} {attack:?}", caller.name);
        }
    }
}
