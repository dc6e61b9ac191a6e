//! No request whatever gets a token for a host that is not mapped.
//!
//! Requests are made from good ones by the small changes that attackers make, and judged a second time here, by the
//! documented rules and without keyfob's code.

use std::sync::LazyLock;

use crate::common::git::{MAPPED, ask, scene};
use keyfob::callers::git::Request;
use keyfob::config::hosts::{self, HostPattern, HostRule};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

/// Requests from which others are made by small changes.
const SEEDS: &[&str] = &[
    "protocol=https\nhost=github.com\n",
    "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com:443\nwwwauth[]=Bearer\n",
    "protocol=https\nhost=one.visualstudio.com\nusername=ada\n",
    "protocol=https\nhost=git.lab:8443\npath=team/repo.git\n",
    "protocol=https\nhost=git.lab:8443\npath=team/..b/.c/repo.git\n",
    "capability[]=authtype\nprotocol=https\nhost=corp.example\nusername=ada\nwwwauth[]=Basic realm=\"x\"\n",
    "protocol=http\nhost=127.0.0.1:8080\nwwwauth[]=Basic\n",
    "protocol=https\nhost=git.lab:8443\npath=team/My%20Project/_git/r\n",
    "url=https://github.com/team/repo.git\npath=team/repo.git\nprotocol=https\nhost=github.com\nusername=x\npassword=y\n",
    "url=https://ada@git.lab:8443/team/r\npath=team/r\nprotocol=https\nhost=git.lab:8443\nusername=ada\n",
    "protocol=https\nhost=github.com\npath=a//b;c%zz\nusername=CORP\\ada\n\n",
    "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com\nstate[]=keyfob:00000000deadbeef/bearer\n",
];

/// A small change to a request.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static [u8]),
    InsertByte(Index, u8),
    Remove(Index),
    Replace(Index, u8),
    SwitchCase(Index),
    Escape(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    /// After the value of a line.
    Append(Index, &'static [u8]),
    /// Before the value of a line.
    Prepend(Index, &'static [u8]),
    /// Instead of the value of a line.
    Value(Index, &'static [u8]),
}

/// What attackers put into requests.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b"%",
    b"%0a",
    b"%00",
    b"%2e",
    b"#",
    b"?",
    b"@",
    b"/",
    b"//",
    b"\\",
    b":",
    b".",
    b"..",
    b"/../",
    b"=",
    b"*",
    b"[",
    b"]",
    b"\x7f",
    b"\xff",
    b"\xc2\x85",
    b"\xe3\x80\x82",
    b":443",
    b":80",
    b":8443",
    b":0443",
    b"evil.example",
    b".evil.example",
    b"evil.example#.",
    b"evil.example/.",
    b"@evil.example",
    b"ada@",
    b"ada:x@",
    b"www.",
    b"a.b.",
    b"github.com",
    b"one.visualstudio.com",
    b"git.lab:8443",
    b"127.0.0.1:8080",
    b"http",
    b"https",
    b"ssh",
    b"cert",
    b"team/",
    b"s/",
    b"../",
    b"team/../other",
    b"teams/repo.git",
    b"host=evil.example\n",
    b"host=github.com\n",
    b"protocol=https\n",
    b"path=team\n",
    b"username=ada\n",
    b"url=https://github.com\n",
    b"url=https://evil.example/team\n",
    b"https://",
    b"ada:x@github.com/",
    b"github.com/@",
    b"%2f",
    b"%25",
    b"%74",
    b"%20",
    b";",
    b"\n\n",
];

/// A request that is a seed but for a few small changes.
fn near_miss() -> impl Strategy<Value = Vec<u8>> {
    let index = any::<Index>;
    let piece = || select(PIECES);
    let change = prop_oneof![
        (index(), piece()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::InsertByte(at, byte)),
        index().prop_map(Change::Remove),
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        index().prop_map(Change::SwitchCase),
        index().prop_map(Change::Escape),
        (index(), index()).prop_map(|(line, at)| Change::Repeat(line, at)),
        (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        (index(), piece()).prop_map(|(line, piece)| Change::Append(line, piece)),
        (index(), piece()).prop_map(|(line, piece)| Change::Prepend(line, piece)),
        (index(), piece()).prop_map(|(line, piece)| Change::Value(line, piece)),
    ];
    (select(SEEDS), prop::collection::vec(change, 0..4))
        .prop_map(|(seed, changes)| changes.iter().fold(seed.as_bytes().to_vec(), changed))
}

/// The request after a change; the same if there is nothing in it to change.
fn changed(mut request: Vec<u8>, change: &Change) -> Vec<u8> {
    if request.is_empty() {
        return request;
    }
    let length = request.len();
    let mut lines: Vec<Vec<u8>> = request.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let count = lines.len();
    // The value of a line: from behind its first `=` to before its end.
    let value = |line: &[u8]| {
        let start = line.iter().position(|byte| *byte == b'=').map_or(0, |equals| equals + 1);
        let end = line.len() - usize::from(line.ends_with(b"\n"));
        start.min(end)..end
    };
    match change {
        Change::Insert(at, piece) => drop(request.splice(at.index(length)..at.index(length), piece.iter().copied())),
        Change::InsertByte(at, byte) => request.insert(at.index(length), *byte),
        Change::Remove(at) => drop(request.remove(at.index(length))),
        Change::Replace(at, byte) => request[at.index(length)] = *byte,
        Change::SwitchCase(at) => request[at.index(length)] ^= 0x20,
        Change::Escape(at) => {
            let at = at.index(length);
            let escape = format!("%{:02x}", request[at]);
            request.splice(at..=at, escape.into_bytes());
        }
        Change::Repeat(line, at) => lines.insert(at.index(count + 1), lines[line.index(count)].clone()),
        Change::Swap(one, other) => lines.swap(one.index(count), other.index(count)),
        Change::Append(line, piece) | Change::Prepend(line, piece) | Change::Value(line, piece) => {
            let line = &mut lines[line.index(count)];
            let value = value(line);
            let place = match change {
                Change::Append(..) => value.end..value.end,
                Change::Prepend(..) => value.start..value.start,
                _ => value,
            };
            line.splice(place, piece.iter().copied());
        }
    }
    match change {
        Change::Repeat(..) | Change::Swap(..) | Change::Append(..) | Change::Prepend(..) | Change::Value(..) => {
            lines.concat()
        }
        _ => request,
    }
}

/// Which of the mapped hosts a request names, by the documented rules and nothing of keyfob's code.
fn entitled(request: &[u8]) -> Option<&'static str> {
    let head = request.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    // A challenge is the server's text: any letters, and tabs.
    let (challenges, head): (Vec<&[u8]>, Vec<&[u8]>) = head.partition(|line| line.starts_with(b"wwwauth[]="));
    let odd = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    // A path and a user name are bytes.
    let bytes = |line: &&[u8]| line.starts_with(b"path=") || line.starts_with(b"username=");
    let text = |line: &&[u8]| {
        if bytes(line) { Ok(String::from_utf8_lossy(line).into()) } else { String::from_utf8(line.to_vec()) }
    };
    let head: Vec<String> = head.iter().map(text).collect::<Result<_, _>>().ok()?;
    if challenges.concat().iter().any(odd) || head.iter().any(|line| line.contains(char::is_control)) {
        return None;
    }
    let one = |key: &str| {
        let mut values = head.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next();
        if values.next().is_some() { Err(()) } else { Ok(value) }
    };
    let (protocol, host) = (one("protocol").ok()??.to_ascii_lowercase(), one("host").ok()??.to_ascii_lowercase());
    let (path, username, url) = (one("path").ok()?, one("username").ok()?, one("url").ok()?);
    let host = host.strip_suffix(":443").unwrap_or(&host);
    if let Some(url) = url {
        let url = url.to_ascii_lowercase();
        let authority = url.strip_prefix(&format!("{protocol}://"))?.split(['/', '?', '#']).next()?;
        let named = authority.rsplit('@').next()?;
        if named.strip_suffix(":443").unwrap_or(named) != host || authority.contains(['\\', '%']) {
            return None;
        }
    }
    match (protocol.as_str(), host) {
        ("http", "127.0.0.1:8080") => Some("http://127.0.0.1:8080"),
        ("https", "github.com") => Some("https://github.com"),
        ("https", "corp.example") if username == Some("ada") => Some("https://ada@corp.example"),
        ("https", "git.lab:8443") => {
            let path = path_of_a_server(path?)?;
            (path == "team" || path.starts_with("team/")).then_some("https://git.lab:8443/team")
        }
        ("https", host) => {
            let label = host.strip_suffix(".visualstudio.com")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (!label.is_empty() && label.chars().all(plain)).then_some("https://*.visualstudio.com")
        }
        _ => None,
    }
}

/// The path that every server takes this one for, if there is just one.
fn path_of_a_server(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let byte = u8::from_str_radix(piece.get(..2).filter(|two| !two.starts_with('+'))?, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte) {
            return None;
        }
        bytes.push(byte);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    let path = String::from_utf8(bytes).ok()?;
    let several = |c: char| c.is_control() || ";?#\\\u{fffd}".contains(c);
    let plain = !path.contains(several) && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then_some(path)
}

/// Which of the mapped hosts keyfob takes a request for.
fn taken_for(request: &[u8]) -> Option<String> {
    static RULES: LazyLock<Vec<HostRule>> = LazyLock::new(|| {
        let rule = |pattern: &&str| HostRule {
            pattern: HostPattern::parse(pattern).unwrap(),
            callers: None,
            profile: (*pattern).to_owned(),
            auth: None,
            username: None,
            system: false,
        };
        MAPPED.iter().map(rule).collect()
    });
    let request = Request::parse(request).ok()?;
    hosts::find(&RULES, &request.target, "git").map(|rule| rule.profile.clone())
}

#[test]
fn every_seed_is_a_request_that_gets_a_token() {
    for seed in SEEDS {
        let host = entitled(seed.as_bytes());
        assert!(host.is_some(), "{seed:?}");
        assert_eq!(taken_for(seed.as_bytes()).as_deref(), host, "{seed:?}");
    }
}

/// So many, or as `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(4_096), failure_persistence: None, ..ProptestConfig::default() })]

    /// The one direction that matters: what is taken for a mapped host is a request for it.
    #[test]
    fn no_small_change_gets_a_token_for_another_host(request in near_miss()) {
        if let Some(host) = taken_for(&request) {
            prop_assert_eq!(Some(host.as_str()), entitled(&request), "{:?}", String::from_utf8_lossy(&request));
        }
    }

    /// The same for what nobody ever meant as a request.
    #[test]
    fn no_bytes_get_a_token(request in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(taken_for(&request), None);
    }

    /// The same for lines of the right form.
    #[test]
    fn no_other_lines_get_a_token(
        lines in prop::collection::vec(("(protocol|host|path|username|url|[a-z]{1,4}(\\[\\])?)", "[ -~]{0,24}|https|\\PC{0,8}"), 0..8),
    ) {
        let request = lines.iter().fold(String::new(), |request, (key, value)| request + key + "=" + value + "\n");
        if let Some(host) = taken_for(request.as_bytes()) {
            prop_assert_eq!(Some(host.as_str()), entitled(request.as_bytes()), "{:?}", request);
        }
    }
}

/// The whole program, for as many requests as a test may take; one session for all of them.
#[test]
fn the_program_itself_gives_no_small_change_a_token_for_another_host() {
    let scene = scene();
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let tested = TestRunner::new(config).run(&near_miss(), |request| {
        let output = ask(&scene, "get", &request);
        prop_assert_eq!((output.stderr.as_str(), output.code), ("", Some(0)));
        let given = !output.stdout.is_empty();
        prop_assert_eq!(given, taken_for(&request).is_some());
        prop_assert!(!given || entitled(&request).is_some(), "{:?}", output);
        Ok(())
    });
    tested.unwrap();
}
