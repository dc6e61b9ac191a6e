//! git's credential helper protocol: `keyfob git get|store|erase|capability`.
//!
//! A request is `key=value` lines on stdin, the answer the same on stdout; no answer means that git asks elsewhere.
//! <https://git-scm.com/docs/git-credential#IOFMT>, <https://git-scm.com/docs/gitcredentials>
//!
//! - A token goes only to a host in `[hosts]`, and a request that is not plainly one gets nothing, with exit 0.
//! - What `wwwauth[]` says chooses between Bearer and Basic, nothing else: no address is taken from it.
//! - `host` and `oauth_refresh_token` are never answered: git adopts the one, and hands the other to every helper.
//! - git that knows `state[]` gets the token's serial with it, and brings it back after a 401: then that token is
//!   replaced, once, within the same git command. Others send `erase`, and the next command gets a new one.

use super::{Ask, Caller, Credential, Io, LARGEST, Link, Outcome, Refused, Requester, Want, What, Whose};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::config::{HostPattern, Key, Target, text};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::providers::HostAuth;
use crate::secret::Secret;
use crate::session::Serial;
use std::fmt::Write;

/// `keyfob git`
pub const CALLER: Caller = Caller {
    name: "git",
    alias: None,
    link: Some(Link { name: "git-credential-keyfob", grammar: None }),
    about: "Answer git (credential helper), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[FLAGS], rest: Rest::Word("OPERATION", "get, store, erase or capability") },
    after_help: "\
git runs this. `keyfob setup git` has it do so for one host; by hand:
  git config --global credential.https://github.com.helper '!keyfob git'

Which profile's token a host gets is said in config.toml:
  [hosts]
  \"https://github.com\" = \"gh\"
  \"https://*.visualstudio.com\" = \"work\"
  \"https://git.lab:8443/team\" = { profile = \"lab\", auth = \"basic\", username = \"oauth2\" }
or in git's own configuration:
  git config --global credential.https://github.com.helper '!keyfob git --profile gh --host https://github.com'

Try what git gets:
  printf 'protocol=https\\nhost=github.com\\n' | keyfob git get",
    run,
};

const FLAGS: &[Key] = &[
    text("profile", "NAME", "Answer with this profile's token, for --host only; [hosts] is not asked"),
    text("host", "URL", "The host that --profile is for: https://HOST[:PORT][/PATH]"),
];

/// What our part of git's `state[]` starts with.
const STATE: &str = "keyfob:";

/// A profile and the hosts that may have its token, from the command line.
type Given<'a> = Option<(&'a str, &'a HostPattern)>;

/// Answers git.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let (profile, pattern) = match given(io.arguments) {
        Ok(given) => given.unzip(),
        Err(failure) => return io.fail(&failure),
    };
    let given = profile.zip(pattern.as_ref());
    match io.arguments.rest().first().map(String::as_str) {
        Some("get") => get(io, ask, given),
        Some("erase") => {
            // Whatever keeps it from working, git's command has failed already and says so itself.
            if let Err(failure) = erase(io, ask, given) {
                debug(|| failure.message);
            }
            0
        }
        Some("capability") => io.answer("version 0\ncapability authtype\ncapability state\n".into()),
        // `store` has nothing to do here; operations yet to come are to be ignored.
        _ => 0,
    }
}

/// `--profile` and `--host`, which go together.
fn given(arguments: &Arguments) -> Result<Option<(&str, HostPattern)>, Failure> {
    match (arguments.one("profile"), arguments.one("host")) {
        (None, None) => Ok(None),
        (Some(profile), Some(host)) => {
            let pattern = HostPattern::parse(host).map_err(|why| Failure::usage(format!("--host: {host:?} {why}")))?;
            Ok(Some((profile, pattern)))
        }
        (Some(_), None) => Err(Failure::usage("--profile without --host: which host may have its token?")
            .hint("add --host https://HOST, or leave both out and name the host in [hosts]")),
        (None, Some(_)) => Err(Failure::usage("--host without --profile: whose token may it have?")
            .hint("add --profile NAME, or leave both out and name the host in [hosts]")),
    }
}

fn get(io: &mut Io<'_>, ask: &Ask<'_>, given: Given<'_>) -> u8 {
    let request = match read(io) {
        Ok(Some(request)) => request,
        Ok(None) => return 0,
        Err(failure) => return io.fail(&failure),
    };
    let forbidden = (io.environment)("GIT_TERMINAL_PROMPT").and_then(|said| said.into_string().ok());
    let want = Want {
        purpose: Some(request.target.origin()),
        no_prompt: forbidden
            .is_some_and(|said| is_false(&said))
            .then_some("GIT_TERMINAL_PROMPT forbids to ask for one"),
        refused: request.refused.map_or(Refused::Unknown, Refused::Token),
        ..Want::token(Whose::Host { target: &request.target, caller: CALLER.name, given }, Requester::Program("git"))
    };
    let lines = match ask(want) {
        Outcome::NotMine => return 0,
        Outcome::Misconfigured(failure) => return io.fail(&failure),
        Outcome::Credential(credential) => answer(&request, &credential),
        other => Err(other.failure()),
    };
    match lines {
        Ok(lines) => io.answer(lines),
        Err(failure) => {
            // The host is ours: without this git would go on to ask the person for a password.
            io.answer("quit=1\n".into());
            io.fail(&failure)
        }
    }
}

/// Drops the access token that did not work, if it is still the one in the cache.
fn erase(io: &mut Io<'_>, ask: &Ask<'_>, given: Given<'_>) -> Result<(), Failure> {
    let Some(request) = read(io)? else { return Ok(()) };
    let Some(failed) = &request.secret else { return Ok(()) };
    let whose = Whose::Host { target: &request.target, caller: CALLER.name, given };
    match ask(Want { what: What::Erase(Some(failed)), ..Want::token(whose, Requester::Program("git")) }) {
        Outcome::Done | Outcome::NotMine => Ok(()),
        other => Err(other.failure()),
    }
}

/// Whether git reads this text as false (git-config(1), "Values").
fn is_false(said: &str) -> bool {
    let word = matches!(said.to_ascii_lowercase().as_str(), "" | "false" | "no" | "off");
    word || said.parse::<i64>().is_ok_and(|number| number == 0)
}

fn read(io: &mut Io<'_>) -> Result<Option<Request>, Failure> {
    let bytes = io.request().map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    Ok(Request::parse(&bytes))
}

/// What git asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// For whom.
    pub target: Target,
    /// git takes `authtype` and `credential`.
    pub authtype: bool,
    /// git keeps `state[]` and brings it back.
    pub state: bool,
    /// The token handed out before in this command, which the server did not take.
    pub refused: Option<Serial>,
    /// The server's challenges name these schemes; `None` if git passed none on.
    pub schemes: Option<Vec<String>>,
    /// With `erase`: the token that failed.
    pub secret: Option<Secret>,
}

impl Request {
    /// Reads a request, which ends at an empty line or with the bytes. `None` for everything that is not plainly one:
    /// no such request gets a token.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > LARGEST {
            return None;
        }
        let mut single: Vec<(&str, &str)> = Vec::new();
        let (mut authtype, mut state, mut refused) = (false, false, None);
        let mut schemes: Option<Vec<String>> = None;
        for line in bytes.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty()) {
            if let Some(challenge) = line.strip_prefix(b"wwwauth[]=")
                && !challenge.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
            {
                // A server's own words, which may hold any letters and tabs. Only the first word counts.
                let scheme = challenge.split(|byte| b" \t,".contains(byte)).next().unwrap_or_default();
                schemes.get_or_insert_default().push(String::from_utf8_lossy(scheme).to_ascii_lowercase());
                continue;
            }
            let line = std::str::from_utf8(line).ok()?;
            let (key, value) = line.split_once('=')?;
            if key.is_empty() || line.contains(char::is_control) {
                return None;
            }
            match key {
                "capability[]" => {
                    authtype |= value == "authtype";
                    state |= value == "state";
                }
                "state[]" => refused = value.strip_prefix(STATE).and_then(Serial::parse).or(refused),
                // A whole address in one value is for git itself; beside the parts it could say something else.
                "url" => return None,
                list if list.ends_with("[]") => {}
                _ if single.iter().any(|(known, _)| *known == key) => return None,
                _ => single.push((key, value)),
            }
        }
        let one = |key: &str| single.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        Some(Self {
            target: Target::parse(one("protocol")?, one("host")?, one("path"), one("username"))?,
            authtype,
            state,
            refused,
            schemes,
            secret: one("credential").or(one("password")).map(|secret| Secret::from(secret.to_owned())),
        })
    }

    /// Whether the token is to be shown as Bearer: where git can, the host's rule or its provider says so, and the
    /// server does not want Basic alone.
    fn bearer(&self, said: Option<HostAuth>, usual: HostAuth) -> bool {
        let basic_alone = self.schemes.as_ref().is_some_and(|schemes| {
            schemes.iter().any(|scheme| scheme == "basic") && !schemes.iter().any(|scheme| scheme == "bearer")
        });
        self.authtype
            && match said {
                Some(auth) => auth == HostAuth::Bearer,
                None => usual == HostAuth::Bearer && !basic_alone,
            }
    }
}

/// The lines that git reads.
fn answer(request: &Request, credential: &Credential) -> Result<String, Failure> {
    let token = credential.token.expose();
    // What ends a line or a value for git; each is looked for by itself, many bytes at once.
    if ['\n', '\r', '\0'].into_iter().any(|end| token.contains(end)) {
        let why = "the provider's token cannot be passed to git: it holds a line break";
        return Err(Failure::new(Exit::Failed, why));
    }
    let mut lines = String::with_capacity(token.len() + 256);
    if request.bearer(credential.auth, credential.usual_auth) {
        // Without a capability line of our own git drops what follows.
        let _ = write!(lines, "capability[]=authtype\nauthtype=Bearer\ncredential={token}\n");
    } else {
        let _ = write!(lines, "username={}\npassword={token}\n", credential.username);
    }
    if let Some(end) = credential.expires_at {
        let _ = writeln!(lines, "password_expiry_utc={}", end.0);
    }
    if request.state && request.refused.is_none() {
        let serial = credential.serial;
        let _ = write!(lines, "capability[]=state\nstate[]={STATE}{serial}\ncontinue=1\n");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use std::cell::Cell;

    fn parsed(text: &str) -> Option<Request> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn what_git_sends_is_read() {
        let request = parsed(
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com\npath=team/repo.git\n\
             wwwauth[]=Basic realm=\"GitHub\"\nwwwauth[]=Bearer\nstate[]=other:x\n\
             state[]=keyfob:00000000deadbeef\n",
        )
        .unwrap();
        assert_eq!(request.target, Target::parse("https", "github.com", Some("team/repo.git"), None).unwrap());
        assert!(request.authtype && request.state);
        assert_eq!(request.refused, Serial::parse("00000000deadbeef"));
        assert_eq!(request.schemes, Some(vec!["basic".to_owned(), "bearer".to_owned()]));

        let old = parsed("protocol=http\nhost=127.0.0.1:8080\nusername=ada\npassword=t\n\nhost=ignored\n").unwrap();
        assert_eq!(old.target, Target::parse("http", "127.0.0.1:8080", None, Some("ada")).unwrap());
        assert_eq!(old.secret, Some(Secret::from("t".to_owned())));
        assert_eq!((old.authtype, old.state, old.refused, old.schemes), (false, false, None, None));
    }

    #[test]
    fn what_is_not_plainly_a_request_is_none() {
        for text in [
            "",
            "\n",
            "protocol=https\n",
            "host=github.com\n",
            "protocol=\nhost=github.com\n",
            "protocol=https\nhost=\n",
            "protocol=https\nhost=github.com\nhost=github.com\n",
            "protocol=https\nhost=github.com\nusername=a\nusername=b\n",
            "protocol=https\nhost=github.com\nunknown=a\nunknown=b\n",
            "protocol=https\nhost=github.com\r\n",
            "protocol=https\nhost=github.com\npath=a\0b\n",
            "protocol=https\nhost=github.com\nnonsense\n",
            "protocol=https\nhost=github.com\n=x\n",
            "protocol=https\nhost=github.com\nurl=https://evil.example\n",
            "protocol=https%0ahost=github.com\nhost=github.com\n",
            "protocol=https\n\nhost=github.com\n",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
        assert_eq!(Request::parse(b"protocol=https\nhost=github.com\npath=\xff\n"), None);
        let odd = b"protocol=https\nhost=github.com\nwwwauth[]=Basic\trealm=\"B\xfcro\"\n";
        assert_eq!(Request::parse(odd).unwrap().schemes, Some(vec!["basic".to_owned()]));
        assert_eq!(Request::parse(b"protocol=https\nhost=github.com\nwwwauth[]=Basic\r\n"), None);
    }

    #[test]
    fn a_request_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
        let of = |length: usize| {
            let start = "protocol=https\nhost=github.com\nwwwauth[]=Basic ";
            Request::parse((start.to_owned() + &"x".repeat(length - start.len())).as_bytes())
        };
        assert!(of(1 << 20).is_some());
        assert_eq!(of((1 << 20) + 1), None);
    }

    #[test]
    fn bearer_where_git_can_the_host_may_and_the_server_does_not_want_basic_alone() {
        let with = |lines: &str| parsed(&format!("protocol=https\nhost=a.example\n{lines}")).unwrap();
        let new = "capability[]=authtype\n";
        for (lines, said, usual, bearer) in [
            ("", None, HostAuth::Bearer, false),
            (new, None, HostAuth::Bearer, true),
            (new, None, HostAuth::Basic, false),
            (new, Some(HostAuth::Bearer), HostAuth::Basic, true),
            (new, Some(HostAuth::Basic), HostAuth::Bearer, false),
            ("capability[]=authtype\nwwwauth[]=Basic realm=\"x\"\n", None, HostAuth::Bearer, false),
            ("capability[]=authtype\nwwwauth[]=Basic\nwwwauth[]=BEARER x\n", None, HostAuth::Bearer, true),
            ("capability[]=authtype\nwwwauth[]=Basic\n", Some(HostAuth::Bearer), HostAuth::Bearer, true),
            ("capability[]=authtype\nwwwauth[]=Negotiate\n", None, HostAuth::Bearer, true),
        ] {
            assert_eq!(with(lines).bearer(said, usual), bearer, "{lines:?} {said:?} {usual:?}");
        }
    }

    #[test]
    fn git_reads_a_boolean_in_its_own_way() {
        assert!(["0", "00", "", "false", "No", "OFF"].into_iter().all(is_false));
        assert!(!["1", "true", "yes", "on", "2", "nonsense"].into_iter().any(is_false));
    }

    /// Runs an operation of git's with this request.
    fn said(words: &[&str], request: &str, ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given { stdin: request.as_bytes(), ..Given::default() }, ask)
    }

    fn failed(why: &str) -> Failure {
        Failure::new(Exit::SignInNeeded, why).run("keyfob login gh")
    }

    #[test]
    fn the_answer_is_literally_this() {
        let answered = |lines: &str, username: &'static str| {
            let ask = |want: Want<'_>| {
                assert_eq!(want.purpose.as_deref(), Some("https://a.example"));
                Outcome::Credential(Credential { username: username.into(), ..credential("abc") })
            };
            let (code, stdout, stderr) = said(&["get"], &format!("protocol=https\nhost=a.example\n{lines}"), &ask);
            assert_eq!((code, stderr.as_str()), (0, ""));
            stdout
        };
        let basic = "password=abc\npassword_expiry_utc=1795384800\n";
        assert_eq!(answered("", "x-access-token"), format!("username=x-access-token\n{basic}"));
        assert_eq!(answered("", "oauth2"), format!("username=oauth2\n{basic}"));
        let bearer = "capability[]=authtype\nauthtype=Bearer\ncredential=abc\npassword_expiry_utc=1795384800\n";
        assert_eq!(answered("capability[]=authtype\n", ""), bearer);
        let both = "capability[]=authtype\ncapability[]=state\n";
        let state = "capability[]=state\nstate[]=keyfob:00000000deadbeef\ncontinue=1\n";
        assert_eq!(answered(both, ""), format!("{bearer}{state}"));
        let again = format!("{both}state[]=keyfob:0000000000000000\n");
        assert_eq!(answered(&again, ""), bearer, "the second answer is the last");
        let endless = |_: Want<'_>| Outcome::Credential(Credential { expires_at: None, ..credential("abc") });
        let (_, stdout, _) = said(&["get"], "protocol=https\nhost=a.example\ncapability[]=authtype\n", &endless);
        assert_eq!(stdout, "capability[]=authtype\nauthtype=Bearer\ncredential=abc\n");
    }

    #[test]
    fn what_is_wanted_is_what_git_says() {
        let get = |lines: &str, environment: &[(&str, &str)], judge: &dyn Fn(Want<'_>)| {
            let stdin = format!("protocol=https\nhost=git.lab:8443\n{lines}");
            let asked = Cell::new(false);
            let ask = |want: Want<'_>| {
                asked.set(true);
                judge(want);
                Outcome::NotMine
            };
            let given = Given { environment, stdin: stdin.as_bytes(), terminal: false };
            let words = ["get", "--profile=lab", "--host=https://git.lab:8443"];
            assert_eq!(run(&CALLER, &words, given, &ask), (0, String::new(), String::new()));
            assert!(asked.get());
        };
        get("", &[], &|want| {
            let Whose::Host { target, caller: "git", given: Some((profile, pattern)) } = want.whose else {
                panic!("{want:?}")
            };
            assert_eq!((target.origin().as_str(), profile), ("https://git.lab:8443", "lab"));
            assert_eq!(pattern.canonical(), "https://git.lab:8443");
            assert_eq!((want.refused, want.no_prompt), (Refused::Unknown, None));
        });
        get("state[]=keyfob:00000000deadbeef\n", &[("GIT_TERMINAL_PROMPT", "0")], &|want| {
            assert_eq!(want.refused, Refused::Token(Serial::parse("00000000deadbeef").unwrap()));
            assert_eq!(want.no_prompt, Some("GIT_TERMINAL_PROMPT forbids to ask for one"));
        });
        get("", &[("GIT_TERMINAL_PROMPT", "1")], &|want| assert_eq!(want.no_prompt, None));
    }

    #[test]
    fn git_asks_nobody_else_for_a_host_that_is_ours() {
        let request = "protocol=https\nhost=a.example\n";
        let two = "error: nobody is signed in\nhint: keyfob login gh\n".to_owned();
        let ours = said(&["get"], request, &|_| Outcome::Failed(failed("nobody is signed in")));
        assert_eq!(ours, (3, "quit=1\n".to_owned(), two.clone()));
        let unknown = said(&["get"], request, &|_| Outcome::Misconfigured(failed("nobody is signed in")));
        assert_eq!(unknown, (3, String::new(), two));
        for token in ["a\nb", "a\rb", "a\0b"] {
            let broken = said(&["get"], request, &|_| Outcome::Credential(credential(token)));
            let why = "error: the provider's token cannot be passed to git: it holds a line break\n".to_owned();
            assert_eq!(broken, (1, "quit=1\n".to_owned(), why));
        }
    }

    #[test]
    fn only_get_and_erase_with_a_request_ask_for_anything() {
        let never = |want: Want<'_>| panic!("{want:?}");
        let request = "protocol=https\nhost=a.example\nusername=u\npassword=p\n";
        for (operation, request, stdout) in [
            ("capability", "", "version 0\ncapability authtype\ncapability state\n"),
            ("store", request, ""),
            ("approve", request, ""),
            ("get", "", ""),
            ("erase", "", ""),
            ("erase", "protocol=https\nhost=a.example\n", ""),
        ] {
            assert_eq!(said(&[operation], request, &never), (0, stdout.to_owned(), String::new()), "{operation}");
        }
    }

    #[test]
    fn erase_drops_the_token_that_failed_and_says_nothing() {
        let request = "protocol=https\nhost=a.example\nusername=u\npassword=p\n";
        let outcomes: [fn() -> Outcome; 3] =
            [|| Outcome::Done, || Outcome::NotMine, || Outcome::Failed(failed("the cache cannot be read"))];
        for outcome in outcomes {
            let asked = Cell::new(0);
            let ask = |want: Want<'_>| {
                asked.set(asked.get() + 1);
                assert_eq!(want.what, What::Erase(Some(&Secret::from("p".to_owned()))));
                outcome()
            };
            assert_eq!(said(&["erase"], request, &ask), (0, String::new(), String::new()));
            assert_eq!(asked.get(), 1);
        }
    }

    #[test]
    fn profile_and_host_go_together() {
        let never = |want: Want<'_>| panic!("{want:?}");
        for (words, stderr) in [
            (
                &["store", "--profile=lab"][..],
                "error: --profile without --host: which host may have its token?\n\
                 hint: add --host https://HOST, or leave both out and name the host in [hosts]\n",
            ),
            (
                &["get", "--host=https://a.example"],
                "error: --host without --profile: whose token may it have?\n\
                 hint: add --profile NAME, or leave both out and name the host in [hosts]\n",
            ),
            (
                &["get", "--profile=lab", "--host=a.example"],
                "error: --host: \"a.example\" is not an address such as https://git.example.com\n",
            ),
        ] {
            assert_eq!(said(words, "", &never), (2, String::new(), stderr.to_owned()));
        }
    }
}
