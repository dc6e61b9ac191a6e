//! What stands between a caller's protocol and the rest of keyfob: [`Io`], which it reads and writes; [`Want`], what it
//! asks for; [`Outcome`], what it gets.

use crate::acquire::Requester;
use crate::arguments::Arguments;
use crate::clock::Timestamp;
use crate::config::{HostPattern, Target};
use crate::failure::{Exit, Failure};
use crate::providers::{HostAuth, TokenKind};
use crate::secret::{Buffer, Secret};
use crate::session::Serial;
use serde::Serialize;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// Largest request read, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// What a caller reads, and where it answers.
pub struct Io<'io> {
    /// Its flags, and the words after them.
    pub arguments: &'io Arguments,
    /// Looks up a variable of the environment.
    pub environment: &'io dyn Fn(&str) -> Option<OsString>,
    /// Standard input.
    pub stdin: &'io mut dyn Read,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: &'io dyn Fn() -> bool,
    /// Standard output: for the protocol's bytes, and nothing else.
    pub stdout: &'io mut dyn Write,
    /// Standard error: for failures.
    pub stderr: &'io mut dyn Write,
    /// Goes on as the real program of this name that keyfob stands in for, with the words after its own flags. Returns only
    /// if there is none.
    pub hand_on: &'io dyn Fn(&str),
}

impl Io<'_> {
    /// Everything on standard input. One byte more than [`LARGEST`] means that there was too much.
    pub fn request(&mut self) -> io::Result<Buffer> {
        let mut bytes = Buffer::default();
        (&mut *self.stdin).take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the whole answer to standard output, and returns the exit code. A caller that has gone away is no failure.
    pub fn answer(&mut self, text: String) -> u8 {
        let text = Buffer::from(text.into_bytes());
        match self.stdout.write_all(&text).and_then(|()| self.stdout.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                self.fail(&Failure::new(Exit::Failed, format!("could not write the answer to stdout: {e}")))
            }
            _ => 0,
        }
    }

    /// Shows a failure as keyfob's own commands do, in at most two lines on standard error, and returns its exit code.
    pub fn fail(&mut self, failure: &Failure) -> u8 {
        self.complain(&failure.lines(), failure.exit as u8)
    }

    /// Writes a failure in the protocol's own words to standard error, and returns `code`.
    pub fn complain(&mut self, text: &str, code: u8) -> u8 {
        let _ = self.stderr.write_all(text.as_bytes());
        code
    }
}

/// One line of JSON. There is room for it at once: growing would leave copies of a token behind that nothing wipes.
///
/// # Panics
/// If `value` cannot be JSON, such as a map with keys that are no strings.
pub fn json_line(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(4096);
    serde_json::to_writer(&mut line, value).expect("strings and numbers always serialize");
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is text")
}

/// Answers what a caller wants.
pub type Ask<'a> = dyn Fn(Want<'_>) -> Outcome + 'a;

/// What a caller asks for. Once the profile is found, it becomes a [`Want`](crate::acquire::Want) of `acquire`.
#[derive(Debug)]
pub struct Want<'a> {
    /// Which profile is to answer.
    pub whose: Whose<'a>,
    /// What of it.
    pub what: What<'a>,
    /// Which kind of token.
    pub kind: Kind,
    /// Scopes; none means the profile's own. Only where one sign-in serves every resource.
    pub scopes: Vec<String>,
    /// Tenant; `None` means the profile's own. Only where one sign-in serves every tenant.
    pub tenant: Option<&'a str>,
    /// What a resource wants the token to say that the cached one does not: the `claims` parameter of OpenID Connect Core,
    /// section 5.5, as JSON.
    pub claims: Option<&'a str>,
    /// Least life that a token must have left, in seconds, unless the profile says; `None` means the usual.
    pub min_life: Option<u64>,
    /// What is known of a token that was handed out before and did not work.
    pub refused: Refused<'a>,
    /// Who asks, for the prompt.
    pub requester: Requester,
    /// What it asks for, for the prompt: the host or cluster.
    pub purpose: Option<String>,
    /// Why this caller may not prompt, whatever the profile says, as `…` in "a sign-in is needed, and …".
    pub no_prompt: Option<&'static str>,
    /// How long the caller waits; `None` means as long as it takes.
    pub timeout: Option<Duration>,
}

impl<'a> Want<'a> {
    /// A token as most callers want it.
    pub fn token(whose: Whose<'a>, requester: Requester) -> Self {
        Self {
            whose,
            what: What::Token,
            kind: Kind::Usual,
            scopes: Vec::new(),
            tenant: None,
            claims: None,
            min_life: None,
            refused: Refused::Unknown,
            requester,
            purpose: None,
            no_prompt: None,
            timeout: None,
        }
    }
}

/// Which profile is to answer.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The one that flags, environment and configuration select.
    Selected(&'a Arguments),
    /// The same for a Kubernetes cluster, as far as the request says plainly which it is: a profile may answer some alone.
    Cluster(&'a Arguments, Option<&'a Target>),
    /// The one that flags or `[az]` name, or the only one of Entra.
    Az(&'a Arguments),
    /// The one that a host is mapped to: by `given`, a profile and a pattern from the command line, else by `[hosts]`.
    Host {
        /// The host, and the path if there is one.
        target: &'a Target,
        /// The caller's name: a rule may be for some callers alone.
        caller: &'static str,
        /// Stands for the whole of `[hosts]`.
        given: Option<(&'a str, &'a HostPattern)>,
    },
}

/// What of a profile is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A token: [`Outcome::Credential`].
    Token,
    /// Where it signs in, without looking whether anybody has: [`Outcome::Profile`].
    Profile,
    /// The same with the account that is signed in; if none is, a failure that names the command for it.
    Account,
    /// That this token, which did not work, is dropped: [`Outcome::Done`].
    Erase(&'a Secret),
}

/// Which kind of token is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the profile says, else an access token.
    Usual,
    /// What the profile says, else what a Kubernetes API server takes of its provider.
    Kubernetes,
    /// An access token, whatever the profile says.
    Access,
}

/// What is known of a token that was handed out before and did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// Nothing.
    Unknown,
    /// It is the one with this serial: any other will do.
    Token(Serial),
    /// The client keeps what it is given. If the process that asks was handed a token for this request before, that one
    /// has probably been refused.
    IfAskedBefore(&'a str),
}

/// What a caller gets.
#[derive(Debug)]
pub enum Outcome {
    /// The token.
    Credential(Credential),
    /// What was asked about the profile.
    Profile(Described),
    /// What was to be done is done.
    Done,
    /// The host is mapped to no profile: another helper may answer.
    NotMine,
    /// The configuration cannot be read, so that it is not known whether the host is mapped.
    Misconfigured(Failure),
    /// The profile is to answer and cannot. Where a sign-in is missing, [`Failure::sign_in`] is the command for it.
    Failed(Failure),
}

impl Outcome {
    /// The failure, for a caller that has taken what it knows how to answer.
    pub fn failure(self) -> Failure {
        match self {
            Self::Misconfigured(failure) | Self::Failed(failure) => failure,
            Self::NotMine => Failure::usage("no profile is mapped to this host").hint("map it below [hosts]"),
            Self::Credential(_) | Self::Profile(_) | Self::Done => {
                Failure::new(Exit::Failed, "what was asked for is not what was answered")
            }
        }
    }
}

/// A token, and what a caller may need to show it.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token.
    pub token: Secret,
    /// What it is known by where it must not be shown itself.
    pub serial: Serial,
    /// Which kind it is.
    pub kind: TokenKind,
    /// When it ends; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The tenant that it came from, or that the profile names.
    pub tenant: Option<String>,
    /// The profile's name, else its issuer.
    pub profile: String,
    /// How the host's rule says that it is shown.
    pub auth: Option<HostAuth>,
    /// How it is shown where no rule says.
    pub usual_auth: HostAuth,
    /// The user name beside it with [`HostAuth::Basic`].
    pub username: Cow<'static, str>,
    /// The subscription that `[az]` names.
    pub subscription: Option<String>,
}

/// What a caller may ask about a profile.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Where it signs in.
    pub authority: String,
    /// A machine signs itself in, and no person.
    pub machine: bool,
    /// The account that is signed in, where that was asked.
    pub account: Option<String>,
    /// The account's tenant, or the one that the profile names.
    pub tenant: Option<String>,
    /// The subscription that `[az]` names.
    pub subscription: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::callers::Caller;

    /// A token that ends on 22 November 2026 at 22:00 UTC.
    pub(crate) fn credential(token: &str) -> Credential {
        Credential {
            token: Secret::from(token.to_owned()),
            serial: Serial::parse("00000000deadbeef").unwrap(),
            kind: TokenKind::Access,
            expires_at: Some(Timestamp(1_795_384_800)),
            account: None,
            tenant: None,
            profile: "lab".to_owned(),
            auth: None,
            usual_auth: HostAuth::Bearer,
            username: "x-access-token".into(),
            subscription: None,
        }
    }

    /// What a caller is given besides its arguments.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Given<'a> {
        pub(crate) environment: &'a [(&'a str, &'a str)],
        pub(crate) stdin: &'a [u8],
        pub(crate) terminal: bool,
    }

    /// Runs a caller: its exit code, stdout and stderr.
    pub(crate) fn run(caller: &Caller, words: &[&str], given: Given<'_>, ask: &Ask<'_>) -> (u8, String, String) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let arguments = Arguments::read(&caller.grammar, &words).expect("arguments of this caller");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let variable = |name: &str| given.environment.iter().find(|(known, _)| *known == name).map(|(_, v)| v.into());
        let code = (caller.run)(
            &mut Io {
                arguments: &arguments,
                environment: &variable,
                stdin: &mut &*given.stdin,
                stdin_is_terminal: &|| given.terminal,
                stdout: &mut stdout,
                stderr: &mut stderr,
                hand_on: &|_| {},
            },
            ask,
        );
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    /// Standard output that takes nothing.
    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` returns, and what is on standard error after it.
    fn with_io<T>(stdin: &[u8], stdout: &mut dyn Write, act: impl FnOnce(&mut Io<'_>) -> T) -> (T, String) {
        let mut stderr = Vec::new();
        let done = act(&mut Io {
            arguments: &Arguments::default(),
            environment: &|_| None,
            stdin: &mut { stdin },
            stdin_is_terminal: &|| false,
            stdout,
            stderr: &mut stderr,
            hand_on: &|_| {},
        });
        (done, String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn an_answer_that_nobody_reads_is_no_failure_but_one_that_cannot_be_written_is() {
        let answer = |kind| with_io(b"", &mut Closed(kind), |io| io.answer("t\n".to_owned()));
        assert_eq!(answer(ErrorKind::BrokenPipe), (0, String::new()));
        let full = "error: could not write the answer to stdout: no storage space\n".to_owned();
        assert_eq!(answer(ErrorKind::StorageFull), (1, full));
    }

    #[test]
    fn a_request_is_read_to_one_byte_beyond_the_largest() {
        let length = |bytes: usize| with_io(&vec![b'x'; bytes], &mut io::sink(), |io| io.request().unwrap().len()).0;
        assert_eq!(length(0), 0);
        assert_eq!(length(1 << 20), 1 << 20);
        assert_eq!(length((1 << 20) + 1), (1 << 20) + 1);
        assert_eq!(length(1 << 21), (1 << 20) + 1);
    }

    #[test]
    fn every_outcome_without_a_use_is_a_failure() {
        let failure = Failure::new(Exit::Refused, "no");
        assert_eq!(Outcome::Failed(failure.clone()).failure(), failure);
        assert_eq!(Outcome::Misconfigured(failure.clone()).failure(), failure);
        assert_eq!(Outcome::NotMine.failure().exit, Exit::Usage);
        for outcome in [Outcome::Done, Outcome::Credential(credential("t")), Outcome::Profile(Described::default())] {
            assert_eq!(outcome.failure().exit, Exit::Failed);
        }
    }
}
