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
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// Largest request read, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// For how long a token counts as just issued, in seconds.
const MOMENTS: u64 = 60;

/// What a caller reads, and where it answers.
pub struct Io<'io> {
    /// Its flags, and the words after them.
    pub arguments: &'io Arguments,
    /// Looks up a variable of the environment.
    pub environment: &'io dyn Fn(&str) -> Option<OsString>,
    /// Standard input.
    pub stdin: &'io mut dyn Read,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: &'io dyn Fn() -> bool,
    /// Standard output: for the protocol's bytes, and nothing else.
    pub stdout: &'io mut dyn Write,
    /// Standard error: for failures.
    pub stderr: &'io mut dyn Write,
    /// Hands the call on to the next program of this name on `PATH`, with these arguments; the exit code, 1 if there is none.
    pub pass_on: &'io dyn Fn(&str, &[String]) -> u8,
}

impl Io<'_> {
    /// Everything on standard input. One byte more than [`LARGEST`] means that there was too much.
    pub fn request(&mut self) -> io::Result<Buffer> {
        let mut bytes = Buffer::default();
        (&mut *self.stdin).take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The same to the first empty line: a client may keep standard input open after that.
    pub fn request_to_empty_line(&mut self) -> io::Result<Buffer> {
        // More than a usual request. What is read into is cleared before.
        const PIECE: usize = 512;
        let mut bytes = Buffer::default();
        let mut length = 0;
        loop {
            bytes.resize(length + PIECE, 0);
            let read = match self.stdin.read(&mut bytes[length..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            bytes.truncate(length + read);
            // Not what has been looked at before, but for its last byte.
            let ends =
                bytes.starts_with(b"\n") || bytes[length.saturating_sub(1)..].windows(2).any(|pair| pair == b"\n\n");
            length = bytes.len();
            if read == 0 || ends || length as u64 > LARGEST {
                return Ok(bytes);
            }
        }
    }

    /// The next line on standard input without its end, for a program that waits for the answer before it closes its side.
    /// `None` at the end of the input. One byte more than [`LARGEST`] means that the line was too long.
    #[expect(clippy::unbuffered_bytes, reason = "standard input has a buffer")]
    pub fn line(&mut self) -> io::Result<Option<Buffer>> {
        let mut line = Buffer::default();
        for byte in (&mut *self.stdin).take(LARGEST + 1).bytes() {
            match byte? {
                b'\n' => return Ok(Some(line)),
                byte => line.push(byte),
            }
        }
        Ok((!line.is_empty()).then_some(line))
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
#[derive(Clone, Debug)]
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
    /// Looks for such a reason where that takes time: asked when a prompt is about to be shown.
    pub forbids: fn() -> Option<&'static str>,
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
            forbids: || None,
            timeout: None,
        }
    }

    /// The token of the profile that a host is mapped to in `[hosts]`, as a caller of this name asks for it. The prompt names
    /// the program that runs keyfob, or `program` where the system does not tell.
    pub fn for_host(target: &'a Target, caller: &'static str, program: &'static str) -> Self {
        let whose = Whose::Host { target, caller, given: None };
        Self { purpose: Some(target.origin()), ..Self::token(whose, Requester::Parent(program)) }
    }
}

/// Which profile is to answer.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The one that flags, environment and configuration select.
    Selected(&'a Arguments),
    /// The same for a Kubernetes cluster, as far as the request says plainly which it is: a profile may answer some alone.
    Cluster(&'a Arguments, Option<&'a Target>),
    /// The one that flags, environment and configuration select, for keys of this role of AWS, in this region.
    Role(&'a Arguments, &'a str, Option<&'a str>),
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
    /// Those of all hosts in `[hosts]` that are for the caller of this name and stand for themselves alone; with
    /// [`What::Cached`].
    EveryHost(&'static str),
}

/// What of a profile is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A token: [`Outcome::Credential`].
    Token,
    /// The token that the cache holds, without a request, a prompt or a wait: [`Outcome::Hosts`].
    Cached,
    /// Whether a rule of `[hosts]` is about the host, whatever path it names: [`Outcome::Done`], else [`Outcome::NotMine`].
    Mapped,
    /// Where it signs in, without looking whether anybody has: [`Outcome::Profile`].
    Profile,
    /// The same with the account that is signed in; if none is, a failure that names the command for it.
    Account,
    /// That this token, which did not work, is dropped, or the one that would be handed out: [`Outcome::Done`], or
    /// [`Outcome::Kept`].
    Erase(Option<&'a Failed>),
}

/// A token that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The token.
    pub token: Secret,
    /// How it was shown.
    pub scheme: HostAuth,
}

/// Which kind of token is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the profile says, else an access token.
    Usual,
    /// What the profile says, else what a Kubernetes API server takes of its provider.
    Kubernetes,
    /// What the profile says, else an ID token.
    Id,
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
    /// The client keeps what it is given. If the process that asks was handed a token for a request in the same words
    /// before, that one has probably been refused.
    IfAskedBefore(&'a [&'a str]),
}

/// What a caller gets.
#[derive(Debug)]
pub enum Outcome {
    /// The token.
    Credential(Credential),
    /// What the cache holds of the hosts that were asked for.
    Hosts(Vec<Credential>),
    /// What was asked about the profile.
    Profile(Described),
    /// What was to be done is done.
    Done,
    /// The token that did not work was issued moments ago, to this account: a new one would be refused as well.
    Kept {
        /// Who signed in.
        account: Option<String>,
    },
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
            Self::Credential(_) | Self::Hosts(_) | Self::Profile(_) | Self::Done | Self::Kept { .. } => {
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
    /// When it came, by this machine's clock.
    pub received_at: Timestamp,
    /// When it ends; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The tenant that it came from, or that the profile names.
    pub tenant: Option<String>,
    /// The profile's name, else its issuer.
    pub profile: String,
    /// Which requests it is for, where a host was asked for.
    pub pattern: Option<HostPattern>,
    /// How the host's rule says that it is shown.
    pub auth: Option<HostAuth>,
    /// How it is shown where no rule says.
    pub usual_auth: HostAuth,
    /// The user name beside it with [`HostAuth::Basic`].
    pub username: Cow<'static, str>,
    /// The subscription that `[az]` names.
    pub subscription: Option<String>,
}

impl Credential {
    /// Whether it was issued moments ago.
    pub fn is_new(&self) -> bool {
        is_new(self.received_at)
    }

    /// What stands behind `Authorization:` (RFC 6750, section 2.1; RFC 7617, section 2).
    pub fn authorization(&self) -> String {
        let token = self.token.expose();
        match self.auth {
            Some(HostAuth::Basic) => [
                "Basic ",
                &STANDARD.encode(Buffer::from([&self.username, ":", token].concat().into_bytes()).as_slice()),
            ]
            .concat(),
            Some(HostAuth::Bearer) | None => ["Bearer ", token].concat(),
        }
    }
}

/// Whether a token that came then was issued moments ago: a host that refuses it would refuse the next one as well.
pub(super) fn is_new(received_at: Timestamp) -> bool {
    Timestamp::now().since(received_at) < MOMENTS
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
    /// `audience` of the profile.
    pub audience: Option<String>,
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
            received_at: Timestamp(0),
            expires_at: Some(Timestamp(1_795_384_800)),
            account: None,
            tenant: None,
            profile: "lab".to_owned(),
            pattern: None,
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

    /// What a test's caller does instead of handing its call on: the exit code tells that it did.
    pub(crate) const PASSED_ON: u8 = 77;

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
                stdout_is_terminal: &|| given.terminal,
                stdout: &mut stdout,
                stderr: &mut stderr,
                pass_on: &|_, _| PASSED_ON,
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
            stdout_is_terminal: &|| false,
            stdout,
            stderr: &mut stderr,
            pass_on: &|_, _| PASSED_ON,
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

    /// Standard input that hands over these pieces, and would never end.
    struct Open<'a>(&'a [&'a [u8]]);

    impl Read for Open<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (piece, rest) = self.0.split_first().expect("nobody waits for more");
            self.0 = rest;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_request_ends_at_an_empty_line_wherever_it_is_cut() {
        let read = |pieces: &[&[u8]]| {
            let mut io = Io {
                arguments: &Arguments::default(),
                environment: &|_| None,
                stdin: &mut Open(pieces),
                stdout_is_terminal: &|| false,
                pass_on: &|_, _| PASSED_ON,
                stdout: &mut io::sink(),
                stderr: &mut io::sink(),
            };
            String::from_utf8(io.request_to_empty_line().unwrap().to_vec()).unwrap()
        };
        assert_eq!(read(&[b"a=b\n\n"]), "a=b\n\n");
        assert_eq!(read(&[b"a=b\n", b"\n"]), "a=b\n\n");
        assert_eq!(read(&[b"\n"]), "\n");
        assert_eq!(read(&[b"a=b", b"\nc=d\n\nrest"]), "a=b\nc=d\n\nrest");
        assert_eq!(read(&[b"a=b\n", b""]), "a=b\n");
        let piece = [b'x'; 512];
        assert_eq!(
            read(&vec![&piece[..]; 2049]).len(),
            (1 << 20) + 512,
            "more is not read than shows that it is too much"
        );
    }

    #[test]
    fn lines_are_read_one_by_one() {
        let lines = |bytes: &[u8]| {
            let read = |io: &mut Io<'_>| std::iter::from_fn(|| io.line().unwrap().map(|line| line.len())).collect();
            let lengths: Vec<usize> = with_io(bytes, &mut io::sink(), read).0;
            lengths
        };
        assert_eq!(lines(b""), [0; 0]);
        assert_eq!(lines(b"ab\n\nc"), [2, 0, 1]);
        assert_eq!(lines(&vec![b'x'; (1 << 20) + 1]), [(1 << 20) + 1]);
    }

    #[test]
    fn a_token_is_shown_as_its_rule_says() {
        let shown = |auth| Credential { auth, ..credential("t") }.authorization();
        assert_eq!(shown(None), "Bearer t");
        assert_eq!(shown(Some(HostAuth::Bearer)), "Bearer t");
        assert_eq!(shown(Some(HostAuth::Basic)), "Basic eC1hY2Nlc3MtdG9rZW46dA==");
    }

    #[test]
    fn every_outcome_without_a_use_is_a_failure() {
        let failure = Failure::new(Exit::Refused, "no");
        assert_eq!(Outcome::Failed(failure.clone()).failure(), failure);
        assert_eq!(Outcome::Misconfigured(failure.clone()).failure(), failure);
        assert_eq!(Outcome::NotMine.failure().exit, Exit::Usage);
        let others = [Outcome::Done, Outcome::Kept { account: None }, Outcome::Profile(Described::default())];
        for outcome in others.into_iter().chain([Outcome::Credential(credential("t"))]) {
            assert_eq!(outcome.failure().exit, Exit::Failed);
        }
    }
}
