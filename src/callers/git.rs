//! git's credential helper protocol: `keyfob git get|store|erase|capability`.
//!
//! A request is `key=value` lines on stdin, and so is the answer on stdout. No answer means that git asks elsewhere.
//! <https://git-scm.com/docs/git-credential#IOFMT>, <https://git-scm.com/docs/gitcredentials>
//!
//! - A token goes only to a host in `[hosts]`. A request that is not plainly valid gets nothing, with exit code 0.
//! - `wwwauth[]` is used only to choose between Bearer and Basic; no address is taken from it.
//! - `host` and `oauth_refresh_token` are never answered: git would adopt the first, and pass the second to every
//!   helper.
//! - If git supports `state[]`, it gets the token's serial and scheme in it, and sends them back after a 401. If the
//!   server's challenge does not name that scheme, the same token is sent in the other scheme; otherwise it is
//!   replaced, once per git command. A git without `state[]` sends `erase`, and its next command gets a new token.
//! - A token that was issued moments ago is kept, because the host then refuses the account, not the token.

use super::{Ask, Caller, Credential, Failed, Io, LARGEST, Link, Outcome, Refused, Requester, Want, What, Whose};
use crate::arguments::{Arguments, Grammar, Rest};
use crate::config::{HostPattern, Key, Target, text};
use crate::failure::{Exit, Failure, Hint};
use crate::log::debug;
use crate::program;
use crate::providers::HostAuth;
use crate::session::Serial;
use std::borrow::Cow;
use std::ffi::OsString;
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
    Key {
        short: Some('p'),
        ..text("profile", "NAME", "Answer with this profile's token, for --host only; [hosts] is not asked")
    },
    text("host", "URL", "The host that --profile is for: https://HOST[:PORT][/PATH]"),
];

/// The prefix of keyfob's entry in git's `state[]`.
const STATE: &str = "keyfob:";

/// A profile, and the pattern of the hosts that may have its token, from the command line.
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
            // If this fails, git's command has already failed and says so itself.
            if let Err(failure) = erase(io, ask, given) {
                debug(|| failure.message);
            }
            0
        }
        Some("capability") => io.answer("version 0\ncapability authtype\ncapability state\n".into()),
        // There is nothing to do for `store`, and unknown operations must be ignored.
        _ => 0,
    }
}

/// `--profile` and `--host`, which must be given together.
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
    let no_prompt = forbidden(io.environment);
    let token = |refused| {
        let whose = Whose::Host { target: &request.target, caller: CALLER.name, given };
        let usual = Want::token(whose, Requester::Program("git"));
        ask(Want { purpose: Some(request.target.origin()), no_prompt, forbids: forbidden_by_git, refused, ..usual })
    };
    let lines = match token(Refused::Unknown) {
        Outcome::NotMine => return 0,
        Outcome::Misconfigured(failure) => return io.fail(&failure),
        Outcome::Credential(credential) => request.answer(credential, |serial| token(Refused::Token(serial))),
        other => Err(other.failure()),
    };
    match lines {
        Ok(lines) => io.answer(lines),
        Err(failure) => {
            // The host is ours. Without `quit`, git would ask the person for a password.
            io.answer("quit=1\n".into());
            io.fail(&in_one_line(failure))
        }
    }
}

/// Puts the command that signs in into the failure's first line, because editors show only that line of git's output.
fn in_one_line(failure: Failure) -> Failure {
    let command = failure.hint.as_ref().filter(|_| failure.exit == Exit::SignInNeeded).and_then(Hint::command);
    let command = command.map(|command| format!("run `{command}` in a terminal: "));
    Failure { message: command.unwrap_or_default() + &failure.message, ..failure }
}

/// Drops the access token that did not work, if it is still in the cache. If the request holds no token, drops the one
/// that `get` would answer with.
fn erase(io: &mut Io<'_>, ask: &Ask<'_>, given: Given<'_>) -> Result<(), Failure> {
    let Some(request) = read(io)? else { return Ok(()) };
    let failed = request.failed.as_ref();
    if failed.is_some_and(|failed| request.challenged().is_some_and(|scheme| scheme != failed.scheme)) {
        // The server does not accept tokens in that scheme, so the token itself may be good.
        return Ok(());
    }
    let whose = Whose::Host { target: &request.target, caller: CALLER.name, given };
    match ask(Want { what: What::Erase(failed), ..Want::token(whose, Requester::Program("git")) }) {
        Outcome::Done | Outcome::NotMine => Ok(()),
        Outcome::Kept { account } => {
            io.fail(&just_issued(account.as_deref()));
            Ok(())
        }
        other => Err(other.failure()),
    }
}

/// The failure of a host that refuses a new token: the account has no access.
fn just_issued(account: Option<&str>) -> Failure {
    let to = account.map(|account| format!(" to {account}")).unwrap_or_default();
    Failure::new(Exit::Refused, format!("the host refused a token just issued{to}: no access?"))
        .hint("check the address of the repository, and whether this account may use it")
}

/// What in the environment forbids a prompt, if anything does.
fn forbidden(environment: &dyn Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let says = |name: &str| environment(name).and_then(|said| said.into_string().ok());
    if says("GIT_TERMINAL_PROMPT").is_some_and(|said| is_false(&said)) {
        return Some("GIT_TERMINAL_PROMPT forbids a prompt");
    }
    let never = says("GCM_INTERACTIVE").is_some_and(|said| is_never(&said));
    never.then_some("GCM_INTERACTIVE forbids a prompt")
}

/// Whether git's configuration forbids a prompt; a separate process has to read it.
fn forbidden_by_git() -> Option<&'static str> {
    let git = program::find("git")?;
    let said = program::run(&git, &["config", "--get", "credential.interactive"], &[], "", None).ok()?;
    (said.ok && is_never(said.stdout.trim()))
        .then_some("credential.interactive in git's configuration forbids a prompt")
}

/// Whether this value switches prompts off, for git or for Git Credential Manager. An empty value comes from a key
/// without a value, which git reads as true.
fn is_never(said: &str) -> bool {
    !said.is_empty() && is_false(said) || said.eq_ignore_ascii_case("never")
}

/// Whether git reads this value as false (git-config(1), "Values").
fn is_false(said: &str) -> bool {
    let word = matches!(said.to_ascii_lowercase().as_str(), "" | "false" | "no" | "off");
    word || said.parse::<i64>().is_ok_and(|number| number == 0)
}

fn read(io: &mut Io<'_>) -> Result<Option<Request>, Failure> {
    let bytes = io.request_to_empty_line().map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    let request = Request::parse(&bytes);
    Ok(request.inspect_err(|why| debug(|| format!("not a request that gets a token: {why}"))).ok())
}

/// A token that was handed out before and that the server did not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The token's serial.
    pub serial: Serial,
    /// The scheme in which it was sent.
    pub scheme: HostAuth,
}

impl Shown {
    /// Parses an entry of `state[]`, after [`STATE`].
    fn parse(text: &str) -> Option<Self> {
        let (serial, scheme) = text.split_once('/')?;
        let scheme = [HostAuth::Bearer, HostAuth::Basic].into_iter().find(|known| word(*known) == scheme)?;
        Some(Self { serial: Serial::parse(serial)?, scheme })
    }
}

/// The name of a scheme in `state[]`, and in lower case in a challenge.
fn word(scheme: HostAuth) -> &'static str {
    match scheme {
        HostAuth::Bearer => "bearer",
        HostAuth::Basic => "basic",
    }
}

/// A request from git.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The host and path.
    pub target: Target,
    /// Whether git supports `authtype` and `credential`.
    pub authtype: bool,
    /// Whether git supports `state[]`.
    pub state: bool,
    /// The token handed out earlier in the same git command, which the server did not accept.
    pub shown: Option<Shown>,
    /// The scheme of each of the server's challenges, in lower case; empty if git passed none.
    pub schemes: Vec<String>,
    /// With `erase`: the token that failed.
    pub failed: Option<Failed>,
}

impl Request {
    /// Parses a request, which ends at an empty line or at the end of the bytes. Fails for everything that is not
    /// plainly valid, so that it gets no token; the reason does not quote the request.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() as u64 > LARGEST {
            return Err("it is too large");
        }
        let mut single: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let (mut authtype, mut state, mut shown) = (false, false, None);
        let mut schemes = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty()) {
            if let Some(challenge) = line.strip_prefix(b"wwwauth[]=")
                && !challenge.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
            {
                // The server's challenge may contain any character; only its first word counts.
                let scheme = challenge.split(|byte| b" \t,".contains(byte)).next().unwrap_or_default();
                schemes.push(String::from_utf8_lossy(scheme).to_ascii_lowercase());
                continue;
            }
            let (key, value) = key_and_value(line)?;
            match key {
                "capability[]" => {
                    authtype |= value == "authtype";
                    state |= value == "state";
                }
                "state[]" => shown = value.strip_prefix(STATE).and_then(Shown::parse).or(shown),
                list if list.ends_with("[]") => {}
                _ if single.iter().any(|(known, _)| *known == key) => return Err("it says one thing twice"),
                _ => single.push((key, value)),
            }
        }
        let one = |key: &str| single.iter().find(|(known, _)| *known == key).map(|(_, value)| &**value);
        let (path, username) = (one("path").filter(|p| !p.is_empty()), one("username").filter(|u| !u.is_empty()));
        let (Some(protocol), Some(host)) = (one("protocol"), one("host")) else {
            return Err("it names no protocol or no host");
        };
        let target = Target::parse(protocol, host, path, username)
            .ok_or("it names no host plainly, or none of https, http, smtp, imaps or imap")?;
        // A refresh token never comes from `get`, so it can only be in an `erase`.
        let failed = match (one("credential"), one("password").or(one("oauth_refresh_token"))) {
            (Some(token), _) => Some(Failed { token: token.to_owned().into(), scheme: HostAuth::Bearer }),
            (None, Some(token)) => Some(Failed { token: token.to_owned().into(), scheme: HostAuth::Basic }),
            (None, None) => None,
        };
        if let Some(url) = one("url") {
            let user = user_in(url, &target, path).ok_or("its `url` says something else than its parts")?;
            // With a token, the user name is the one that a helper answered.
            if failed.is_none() && user != username {
                return Err("its `url` is for another user name than its parts");
            }
        }
        Ok(Self { target, authtype, state, shown, schemes, failed })
    }

    /// The scheme in the server's challenges, if they name exactly one of the two.
    fn challenged(&self) -> Option<HostAuth> {
        let named = |scheme| self.schemes.iter().any(|named| named == word(scheme));
        match (named(HostAuth::Bearer), named(HostAuth::Basic)) {
            (true, false) => Some(HostAuth::Bearer),
            (false, true) => Some(HostAuth::Basic),
            _ => None,
        }
    }

    /// The scheme to send a token in. If git supports any scheme, the host's rule decides, otherwise the server's
    /// challenges, otherwise what is usual for the provider.
    fn scheme(&self, said: Option<HostAuth>, usual: HostAuth) -> HostAuth {
        // For a mail server git accepts only a password.
        if self.authtype && !self.target.is_mail() {
            said.or(self.challenged()).unwrap_or(usual)
        } else {
            HostAuth::Basic
        }
    }

    /// The answer with this token, or with the one from `replace` if the server has refused exactly this one.
    fn answer(&self, mut credential: Credential, replace: impl FnOnce(Serial) -> Outcome) -> Result<String, Failure> {
        let scheme = self.scheme(credential.auth, credential.usual_auth);
        let refused = self.shown.filter(|shown| shown.scheme == scheme);
        if let Some(shown) = refused.filter(|shown| shown.serial == credential.serial) {
            if credential.is_new() {
                return Err(just_issued(credential.account.as_deref()));
            }
            credential = match replace(shown.serial) {
                Outcome::Credential(other) => other,
                outcome => return Err(outcome.failure()),
            };
        }
        self.lines(&credential, scheme, refused.is_none())
    }

    /// The user name to send with the token; for a mail server it is the mailbox's.
    fn username<'a>(&'a self, credential: &'a Credential) -> &'a str {
        let mailbox = self.target.username().or(credential.account.as_deref()).filter(|_| self.target.is_mail());
        mailbox.filter(|name| !name.contains(char::is_control)).unwrap_or(&credential.username)
    }

    /// The lines that git reads. `again`: git may come back once more after a 401.
    fn lines(&self, credential: &Credential, scheme: HostAuth, again: bool) -> Result<String, Failure> {
        let token = credential.token.expose();
        // These characters would end a line or value in git. Searching for each separately is faster.
        if ['\n', '\r', '\0'].into_iter().any(|end| token.contains(end)) {
            let why = "the provider's token cannot be passed to git: it holds a line break";
            return Err(Failure::new(Exit::Failed, why));
        }
        let mut lines = String::with_capacity(token.len() + 256);
        let _ = match scheme {
            // Without our own capability line git ignores what follows.
            HostAuth::Bearer => write!(lines, "capability[]=authtype\nauthtype=Bearer\ncredential={token}\n"),
            HostAuth::Basic => write!(lines, "username={}\npassword={token}\n", self.username(credential)),
        };
        if let Some(end) = credential.expires_at {
            let _ = writeln!(lines, "password_expiry_utc={}", end.0);
        }
        if self.state && again && !self.target.is_mail() {
            let (serial, scheme) = (credential.serial, word(scheme));
            let _ = write!(lines, "capability[]=state\nstate[]={STATE}{serial}/{scheme}\ncontinue=1\n");
        }
        Ok(lines)
    }
}

/// Parses one line. A path or a user name may contain invalid UTF-8, which then matches no rule.
fn key_and_value(line: &[u8]) -> Result<(&str, Cow<'_, str>), &'static str> {
    let equals = line.iter().position(|byte| *byte == b'=').ok_or("it has a line without `=`")?;
    let key = std::str::from_utf8(&line[..equals]).map_err(|_| "it is not UTF-8")?;
    let value = match std::str::from_utf8(&line[equals + 1..]) {
        Ok(value) => Cow::Borrowed(value),
        Err(_) if matches!(key, "path" | "username") => String::from_utf8_lossy(&line[equals + 1..]),
        Err(_) => return Err("it is not UTF-8"),
    };
    if key.is_empty() || key.contains(char::is_control) || value.contains(char::is_control) {
        return Err("it has an empty key or a control character");
    }
    Ok((key, value))
}

/// The user name in `url`, which gitoxide sends in addition to the parts. `None` unless `url` says the same as the
/// parts: the same scheme and host, and the same path, which may be encoded.
#[expect(clippy::option_option, reason = "an address that does not fit, and one without a user name")]
fn user_in<'u>(url: &'u str, target: &Target, path: Option<&str>) -> Option<Option<&'u str>> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let plain =
        !authority.contains(['%', '\\']) && user.is_none_or(|user| !user.is_empty() && !user.contains([':', '@']));
    let place = Some(place.trim_matches('/')).filter(|place| !place.is_empty());
    let other = Target::parse(scheme, host, place, None).filter(|other| plain && other.is_same_host(target))?;
    (path.is_none() || path == place || other.is_same_path(target)).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::clock::Timestamp;
    use std::cell::Cell;

    fn parsed(text: &str) -> Option<Request> {
        Request::parse(text.as_bytes()).ok()
    }

    fn failed_token(token: &str, scheme: HostAuth) -> Failed {
        Failed { token: token.to_owned().into(), scheme }
    }

    #[test]
    fn what_git_sends_is_read() {
        let request = parsed(
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=github.com\npath=team/repo.git\n\
             wwwauth[]=Basic realm=\"GitHub\"\nwwwauth[]=Bearer\nstate[]=other:x\n\
             state[]=keyfob:00000000deadbeef/basic\n",
        )
        .unwrap();
        assert_eq!(request.target, Target::parse("https", "github.com", Some("team/repo.git"), None).unwrap());
        assert!(request.authtype && request.state);
        let serial = Serial::parse("00000000deadbeef").unwrap();
        assert_eq!(request.shown, Some(Shown { serial, scheme: HostAuth::Basic }));
        assert_eq!(request.schemes, ["basic", "bearer"]);
        assert!(parsed("protocol=https\nhost=a.example\nlater[]=x\nlater[]=y\n").is_some(), "a list of a later git");

        let old = parsed("protocol=http\nhost=127.0.0.1:8080\nusername=ada\npassword=t\n\nhost=ignored\n").unwrap();
        assert_eq!(old.target, Target::parse("http", "127.0.0.1:8080", None, Some("ada")).unwrap());
        assert_eq!(old.failed, Some(failed_token("t", HostAuth::Basic)));
        assert_eq!((old.authtype, old.state, old.shown, old.schemes), (false, false, None, vec![]));
        let failed =
            parsed("authtype=Bearer\ncredential=t\nprotocol=https\nhost=a.example\npassword=u\n").unwrap().failed;
        assert_eq!(failed, Some(failed_token("t", HostAuth::Bearer)));
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
        for bytes in [&b"protocol=https\nhost=gith\xffub.com\n"[..], b"protocol=https\nhost=github.com\nuser\xff=a\n"] {
            assert_eq!(Request::parse(bytes), Err("it is not UTF-8"));
        }
        let odd = b"protocol=https\nhost=github.com\nwwwauth[]=Basic\trealm=\"B\xfcro\"\n";
        assert_eq!(Request::parse(odd).unwrap().schemes, ["basic"]);
        let carriage_return = Request::parse(b"protocol=https\nhost=github.com\nwwwauth[]=Basic\r\n");
        assert_eq!(carriage_return, Err("it has an empty key or a control character"));
    }

    #[test]
    fn a_path_and_a_user_name_may_be_anything_that_is_not_a_control_character() {
        for line in ["path=", "path=a//b", "path=a%zz", "path=a#b?c", "username=", "username=CORP\\ada", "username=%61"]
        {
            assert!(parsed(&format!("protocol=https\nhost=a.example\n{line}\n")).is_some(), "{line}");
        }
        let odd = Request::parse(b"protocol=https\nhost=a.example\npath=b\xfcro\nusername=J\xfcrg\n").unwrap();
        assert_eq!(odd.target.username(), Some("J\u{fffd}rg"));
        assert!(parsed("protocol=https\nhost=a.example\npath=a\u{85}b\n").is_none());
    }

    /// What gix-credentials 0.29 and 0.42 send, and what other clients might.
    #[test]
    fn an_address_beside_the_parts_must_say_what_they_say() {
        let erase = "username=x-access-token\npassword=abc\n";
        for (url, parts) in [
            ("https://github.com/team/repo.git", "path=team/repo.git\nprotocol=https\nhost=github.com\n"),
            ("https://github.com/team/repo.git", "protocol=https\nhost=github.com\n"),
            ("https://ada@github.com/team/repo.git", "path=team/repo.git\nprotocol=https\nhost=github.com\n"),
            (
                "https://h.example:8443/org/My%20Project/_git/r",
                "path=org/My%20Project/_git/r\nprotocol=https\nhost=h.example:8443\n",
            ),
            (
                "https://h.example:8443/org/My%20Project/_git/r",
                "path=org/My Project/_git/r\nprotocol=https\nhost=h.example:8443\n",
            ),
            ("https://GitHub.com:443/a//b/", "path=a//b\nprotocol=https\nhost=github.com\n"),
        ] {
            let request = parsed(&format!("url={url}\n{parts}{erase}"));
            assert_eq!(request.expect(url).failed, Some(failed_token("abc", HostAuth::Basic)));
        }
        for user in ["ada:x", "", "%61da", "ada@x", "a\\da"] {
            let url = format!("url=https://{user}@github.com/team/repo.git");
            assert_eq!(parsed(&format!("{url}\nprotocol=https\nhost=github.com\n{erase}")), None, "{url}");
        }
        let get = "path=team/repo.git\nprotocol=https\nhost=github.com\nusername=ada\n";
        for (url, fits) in [
            ("https://ada@github.com/team/repo.git", true),
            ("https://ada@github.com/team/repo.git/", true),
            ("HTTPS://ada@GITHUB.com:443/team/repo.git", true),
            ("https://github.com/team/repo.git", false),
            ("https://eve@github.com/team/repo.git", false),
            ("https://ada:x@github.com/team/repo.git", false),
            ("https://ada@x@github.com/team/repo.git", false),
            ("https://%61da@github.com/team/repo.git", false),
            ("https://ada@github.com\\@evil.example/team/repo.git", false),
            ("https://ada@github.com%2f/team/repo.git", false),
            ("https://ada@github%2ecom/team/repo.git", false),
            ("https://ada@github.com/team/other.git", false),
            ("https://ada@github.com/team/%72epo.git", false),
            ("https://ada@github.com", false),
            ("https://ada@github.com/team/repo.git?x", false),
            ("https://ada@github.com:444/team/repo.git", false),
            ("http://ada@github.com/team/repo.git", false),
            ("https://ada@evil.example/team/repo.git", false),
            ("https:ada@github.com/team/repo.git", false),
            ("ada@github.com:team/repo.git", false),
            ("", false),
        ] {
            assert_eq!(parsed(&format!("url={url}\n{get}")).is_some(), fits, "{url}");
            assert_eq!(parsed(&format!("url={url}\n")), None, "{url} alone");
            assert_eq!(parsed(&format!("{get}url={url}\nurl={url}\n")), None, "{url} twice");
        }
    }

    #[test]
    fn a_request_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
        let of = |length: usize| {
            let start = "protocol=https\nhost=github.com\nwwwauth[]=Basic ";
            Request::parse((start.to_owned() + &"x".repeat(length - start.len())).as_bytes())
        };
        assert!(of(1 << 20).is_ok());
        assert_eq!(of((1 << 20) + 1), Err("it is too large"));
    }

    #[test]
    fn a_token_is_shown_as_the_rule_says_else_as_the_challenge_does_else_as_usual() {
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
            ("capability[]=authtype\nwwwauth[]=Bearer\n", None, HostAuth::Basic, true),
            ("capability[]=authtype\nwwwauth[]=Bearer\nwwwauth[]=Basic\n", None, HostAuth::Basic, false),
            ("capability[]=authtype\nwwwauth[]=Negotiate\n", None, HostAuth::Bearer, true),
        ] {
            assert_eq!(with(lines).scheme(said, usual) == HostAuth::Bearer, bearer, "{lines:?} {said:?} {usual:?}");
        }
    }

    #[test]
    fn git_reads_a_boolean_in_its_own_way() {
        assert!(["0", "00", "", "false", "No", "OFF"].into_iter().all(is_false));
        assert!(!["1", "true", "yes", "on", "2", "nonsense"].into_iter().any(is_false));
        assert!(["0", "false", "No", "never", "NEVER"].into_iter().all(is_never));
        assert!(!["", "1", "true", "auto", "always"].into_iter().any(is_never));
    }

    /// Runs a git operation with this request.
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
        let state = |scheme| format!("capability[]=state\nstate[]=keyfob:00000000deadbeef/{scheme}\ncontinue=1\n");
        assert_eq!(answered(both, ""), format!("{bearer}{}", state("bearer")));
        let again = format!("{both}state[]=keyfob:0000000000000000/bearer\n");
        assert_eq!(answered(&again, ""), bearer, "another token than the refused one is the last answer");
        let other = format!("{both}state[]=keyfob:00000000deadbeef/bearer\nwwwauth[]=Basic\n");
        assert_eq!(
            answered(&other, "u"),
            format!("username=u\n{basic}{}", state("basic")),
            "the same token, shown otherwise"
        );
        let endless = |_: Want<'_>| Outcome::Credential(Credential { expires_at: None, ..credential("abc") });
        let (_, stdout, _) = said(&["get"], "protocol=https\nhost=a.example\ncapability[]=authtype\n", &endless);
        assert_eq!(stdout, "capability[]=authtype\nauthtype=Bearer\ncredential=abc\n");
    }

    #[test]
    fn a_token_is_replaced_where_it_is_refused_as_the_server_wants_it_unless_it_was_just_issued() {
        let capable = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=a.example\n";
        let new = Timestamp::now();
        for (lines, received_at, wanted, stdout) in [
            // The token was refused as Bearer and would be sent as Bearer again, so it is replaced.
            (
                "state[]=keyfob:00000000deadbeef/bearer\n",
                Timestamp(0),
                2,
                "capability[]=authtype\nauthtype=Bearer\ncredential=new\npassword_expiry_utc=1795384800\n",
            ),
            (
                "state[]=keyfob:00000000deadbeef/basic\nwwwauth[]=Basic\n",
                Timestamp(0),
                2,
                "username=x-access-token\npassword=new\npassword_expiry_utc=1795384800\n",
            ),
            (
                "state[]=keyfob:00000000deadbeef/bearer\nwwwauth[]=Basic\nwwwauth[]=Bearer\n",
                Timestamp(0),
                2,
                "capability[]=authtype\nauthtype=Bearer\ncredential=new\npassword_expiry_utc=1795384800\n",
            ),
            ("state[]=keyfob:00000000deadbeef/bearer\n", new, 1, "quit=1\n"),
            // A state of another version names no scheme, so the token is sent again.
            (
                "state[]=keyfob:00000000deadbeef\n",
                new,
                1,
                "capability[]=authtype\nauthtype=Bearer\ncredential=old\npassword_expiry_utc=1795384800\ncapability[]=state\nstate[]=keyfob:00000000deadbeef/bearer\ncontinue=1\n",
            ),
        ] {
            let asked = Cell::new(0);
            let ask = |want: Want<'_>| {
                asked.set(asked.get() + 1);
                let refused = want.refused != Refused::Unknown;
                let account = Some("ada".to_owned());
                let there = Credential { received_at, account, ..credential(if refused { "new" } else { "old" }) };
                let other = Serial::parse("0000000000000001").unwrap();
                Outcome::Credential(Credential { serial: if refused { other } else { there.serial }, ..there })
            };
            let (_, answer, stderr) = said(&["get"], &format!("{capable}{lines}"), &ask);
            assert_eq!((answer.as_str(), asked.get()), (stdout, wanted), "{lines}");
            let just_issued = "error: the host refused a token just issued to ada: no access?\n\
                               hint: check the address of the repository, and whether this account may use it\n";
            assert_eq!(stderr, if stdout == "quit=1\n" { just_issued } else { "" }, "{lines}");
        }
    }

    #[test]
    fn a_mail_server_is_given_a_password_for_the_mailbox() {
        let answered = |lines: &str, account: Option<&str>| {
            let ask = |want: Want<'_>| {
                assert_eq!(want.purpose.as_deref(), Some("smtp://mail.example:25"));
                Outcome::Credential(Credential { account: account.map(str::to_owned), ..credential("abc") })
            };
            let request =
                format!("capability[]=authtype\ncapability[]=state\nprotocol=smtp\nhost=mail.example:25\n{lines}");
            said(&["get"], &request, &ask)
        };
        let lines = |user: &str| format!("username={user}\npassword=abc\npassword_expiry_utc=1795384800\n");
        let asked = answered("username=ada@x.example\n", Some("eve"));
        assert_eq!(asked, (0, lines("ada@x.example"), String::new()));
        assert_eq!(answered("", Some("ada@x.example")).1, lines("ada@x.example"));
        assert_eq!(answered("", None).1, lines("x-access-token"));
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
            let given = Given { environment, stdin: stdin.as_bytes(), ..Given::default() };
            let words = ["get", "-p", "lab", "--host=https://git.lab:8443"];
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
        for (variables, why) in [
            (&[("GIT_TERMINAL_PROMPT", "0")][..], Some("GIT_TERMINAL_PROMPT forbids a prompt")),
            (&[("GCM_INTERACTIVE", "Never")], Some("GCM_INTERACTIVE forbids a prompt")),
            (&[("GCM_INTERACTIVE", "0")], Some("GCM_INTERACTIVE forbids a prompt")),
            (&[("GIT_TERMINAL_PROMPT", "1"), ("GCM_INTERACTIVE", "auto")], None),
        ] {
            get("", variables, &|want| assert_eq!(want.no_prompt, why));
        }
    }

    #[test]
    fn git_asks_nobody_else_for_a_host_that_is_ours() {
        let request = "protocol=https\nhost=a.example\n";
        let two = "error: nobody is signed in\nhint: keyfob login gh\n".to_owned();
        let ours = said(&["get"], request, &|_| Outcome::Failed(failed("nobody is signed in")));
        let what = "error: run `keyfob login gh` in a terminal: nobody is signed in\nhint: keyfob login gh\n";
        assert_eq!(ours, (3, "quit=1\n".to_owned(), what.to_owned()));
        let waits = || Failure::new(Exit::SignInNeeded, "nobody has come").hint("to go on with it: keyfob login gh");
        let (_, _, stderr) = said(&["get"], request, &|_| Outcome::Failed(waits()));
        assert_eq!(stderr, "error: nobody has come\nhint: to go on with it: keyfob login gh\n");
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
            // The token was sent in a scheme that the server does not accept.
            ("erase", "protocol=https\nhost=a.example\nauthtype=Bearer\ncredential=t\nwwwauth[]=Basic\n", ""),
            ("erase", "protocol=https\nhost=a.example\npassword=t\nwwwauth[]=Bearer\n", ""),
        ] {
            assert_eq!(said(&[operation], request, &never), (0, stdout.to_owned(), String::new()), "{operation}");
        }
    }

    #[test]
    fn erase_drops_the_token_that_failed_and_says_nothing_but_that_a_new_one_is_kept() {
        let kept = "error: the host refused a token just issued: no access?\n\
                    hint: check the address of the repository, and whether this account may use it\n";
        let outcomes: [fn() -> Outcome; 4] = [
            || Outcome::Kept { account: None },
            || Outcome::Done,
            || Outcome::NotMine,
            || Outcome::Failed(failed("the cache cannot be read")),
        ];
        for (lines, token) in [
            ("username=u\npassword=p\n", Some(failed_token("p", HostAuth::Basic))),
            ("password=p\nwwwauth[]=Basic\nwwwauth[]=Bearer\n", Some(failed_token("p", HostAuth::Basic))),
            ("authtype=Bearer\ncredential=p\n", Some(failed_token("p", HostAuth::Bearer))),
            ("", None),
        ] {
            for (outcome, stderr) in outcomes.iter().zip([kept, "", "", ""]) {
                let asked = Cell::new(0);
                let ask = |want: Want<'_>| {
                    asked.set(asked.get() + 1);
                    assert_eq!(want.what, What::Erase(token.as_ref()));
                    outcome()
                };
                let request = format!("protocol=https\nhost=a.example\n{lines}");
                assert_eq!(said(&["erase"], &request, &ask), (0, String::new(), stderr.to_owned()));
                assert_eq!(asked.get(), 1);
            }
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
