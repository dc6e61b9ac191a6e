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

use crate::acquire::{Credential, Refused, Requester, Want, acquire};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::callers::Caller;
use crate::config::{HostPattern, HostRule, Key, Profile, Target, text};
use crate::failure::{Exit, Failure};
use crate::log::debug;
use crate::providers::{HostAuth, TokenKind};
use crate::secret::{Buffer, Secret};
use crate::session::{Serial, Token};
use crate::store::Store;
use anyhow::Result;
use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

/// `keyfob git`
pub const CALLER: Caller = Caller {
    name: "git",
    alias: None,
    program: Some("git-credential-keyfob"),
    about: "Answer git (credential helper), for the hosts in [hosts]",
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

/// Largest request read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Longest time that `erase` waits for another process: git's command has failed already, and whoever is at the session for
/// longer is getting a new token.
const PATIENCE: Duration = Duration::from_secs(2);
/// What our part of git's `state[]` starts with.
const STATE: &str = "keyfob:";

/// Answers git.
fn run(arguments: &Arguments) -> Result<()> {
    let given = given(arguments)?;
    match arguments.rest().first().map(String::as_str) {
        Some("get") => get(given),
        Some("erase") => {
            // Whatever keeps it from working, git's command has failed already and says so itself.
            if let Err(error) = erase(given) {
                debug(|| format!("{error:#}"));
            }
            Ok(())
        }
        Some("capability") => super::answer("version 0\ncapability authtype\ncapability state\n".into()),
        // `store` has nothing to do here; operations yet to come are to be ignored.
        _ => Ok(()),
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

fn get(given: Option<(&str, HostPattern)>) -> Result<()> {
    let Some(request) = read()? else { return Ok(()) };
    let Some((profile, rule)) = Profile::for_host(&request.target, given)? else { return Ok(()) };
    let want = Want {
        purpose: Some(request.target.origin()),
        no_prompt: no_prompt().then_some("GIT_TERMINAL_PROMPT forbids to ask for one"),
        refused: request.refused.map(Refused::Surely),
        ..Want::of(&profile, profile.token_kind.unwrap_or(TokenKind::Access), Requester::Program("git"))
    };
    let lines = acquire(&want).and_then(|credential| answer(&request, &profile, &rule, &credential));
    match lines {
        Ok(lines) => super::answer(lines),
        Err(error) => {
            // The host is ours: without this git would go on to ask the person for a password.
            super::answer("quit=1\n".into())?;
            Err(error)
        }
    }
}

/// Drops the access token that did not work, if it is still the one in the cache.
fn erase(given: Option<(&str, HostPattern)>) -> Result<()> {
    let Some(request) = read()? else { return Ok(()) };
    let Some(failed) = request.secret else { return Ok(()) };
    let Some((profile, _)) = Profile::for_host(&request.target, given)? else { return Ok(()) };
    let Some(store) = Store::open()? else { return Ok(()) };
    let file = store.session(&profile.session);
    let holds = |tokens: &[Token]| tokens.iter().any(|t| t.token == failed);
    if file.session()?.is_some_and(|session| holds(&session.tokens)) {
        file.update(PATIENCE, |session| session.tokens.retain(|t| t.token != failed))?;
    }
    Ok(())
}

/// Whether git's user has forbidden prompts, by git's own reading of a boolean.
fn no_prompt() -> bool {
    std::env::var("GIT_TERMINAL_PROMPT").is_ok_and(|said| is_false(&said))
}

fn is_false(said: &str) -> bool {
    let word = matches!(said.to_ascii_lowercase().as_str(), "" | "false" | "no" | "off");
    word || said.parse::<i64>().is_ok_and(|number| number == 0)
}

fn read() -> Result<Option<Request>> {
    let mut bytes = Buffer::default();
    std::io::stdin().take(LARGEST + 1).read_to_end(&mut bytes)?;
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
fn answer(request: &Request, profile: &Profile, rule: &HostRule, credential: &Credential) -> Result<String> {
    let token = credential.token.expose();
    if token.contains(char::is_control) {
        return Err(
            Failure::new(Exit::Failed, "the provider's token cannot be passed to git: it holds a line break").into()
        );
    }
    let mut lines = String::with_capacity(token.len() + 256);
    if request.bearer(rule.auth, profile.preset.host_auth) {
        // Without a capability line of our own git drops what follows.
        let _ = write!(lines, "capability[]=authtype\nauthtype=Bearer\ncredential={token}\n");
    } else {
        let username = rule.username.as_deref().unwrap_or(profile.preset.basic_username);
        let _ = write!(lines, "username={username}\npassword={token}\n");
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
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::{KEYS, Origin, Selection, Settings};

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

    #[test]
    fn the_answer_is_literally_this() {
        let mut flags = Settings::default();
        for (name, value) in [("issuer", "https://id.example.com"), ("client-id", "c")] {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            flags.set(key, vec![value.to_owned()], Origin::Flag(name)).unwrap();
        }
        let profile = Profile::select(&Selection { profile: None, flags }).unwrap();
        let credential = Credential {
            token: Secret::from("abc".to_owned()),
            serial: Serial::parse("00000000deadbeef").unwrap(),
            kind: TokenKind::Access,
            expires_at: Some(Timestamp(1_795_384_800)),
            account: None,
            tenant: None,
        };
        let rule = |username: Option<&str>| HostRule {
            pattern: HostPattern::parse("https://a.example").unwrap(),
            profile: "lab".to_owned(),
            auth: None,
            username: username.map(str::to_owned),
        };
        let said = |lines: &str, username| {
            let request = parsed(&format!("protocol=https\nhost=a.example\n{lines}")).unwrap();
            answer(&request, &profile, &rule(username), &credential).unwrap()
        };
        assert_eq!(said("", None), "username=x-access-token\npassword=abc\npassword_expiry_utc=1795384800\n");
        assert_eq!(said("", Some("oauth2")), "username=oauth2\npassword=abc\npassword_expiry_utc=1795384800\n");
        let bearer = "capability[]=authtype\nauthtype=Bearer\ncredential=abc\npassword_expiry_utc=1795384800\n";
        assert_eq!(said("capability[]=authtype\n", None), bearer);
        let both = "capability[]=authtype\ncapability[]=state\n";
        let state = "capability[]=state\nstate[]=keyfob:00000000deadbeef\ncontinue=1\n";
        assert_eq!(said(both, None), format!("{bearer}{state}"));
        let again = format!("{both}state[]=keyfob:0000000000000000\n");
        assert_eq!(said(&again, None), bearer, "the second answer is the last");
    }
}
