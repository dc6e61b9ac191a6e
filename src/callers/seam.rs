//! The interface between a caller's protocol and the rest of keyfob: [`Io`], which a caller reads and writes; [`Want`],
//! what it asks for; [`Outcome`], what it gets.

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

/// How long a token counts as just issued, in seconds.
const MOMENTS: u64 = 60;

/// A caller's input and output.
pub struct Io<'io> {
    /// The caller's flags, and the words after them.
    pub arguments: &'io Arguments,
    /// Looks up an environment variable.
    pub environment: &'io dyn Fn(&str) -> Option<OsString>,
    /// Standard input.
    pub stdin: &'io mut dyn Read,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: &'io dyn Fn() -> bool,
    /// Standard output, for the protocol's bytes only.
    pub stdout: &'io mut dyn Write,
    /// Standard error: for failures.
    pub stderr: &'io mut dyn Write,
    /// Runs the next program of this name on `PATH` with these arguments instead, and returns its exit code; 1 if there
    /// is none.
    pub pass_on: &'io dyn Fn(&str, &[String]) -> u8,
}

impl Io<'_> {
    /// Reads all of standard input. If it is longer than [`LARGEST`], returns [`LARGEST`] + 1 bytes.
    pub fn request(&mut self) -> io::Result<Buffer> {
        let mut bytes = Buffer::default();
        (&mut *self.stdin).take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Like [`Io::request`], but stops at the first empty line, because a client may keep standard input open after
    /// that.
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
            // Search only the new bytes and the last one before them.
            let ends =
                bytes.starts_with(b"\n") || bytes[length.saturating_sub(1)..].windows(2).any(|pair| pair == b"\n\n");
            length = bytes.len();
            if read == 0 || ends || length as u64 > LARGEST {
                return Ok(bytes);
            }
        }
    }

    /// Reads the next line of standard input, without its line break, for a program that waits for an answer to each
    /// line. `None` at the end of the input. If the line is longer than [`LARGEST`], returns [`LARGEST`] + 1 bytes.
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

    /// Writes the whole answer to standard output, and returns the exit code. It is not an error if the reader has
    /// gone.
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

    /// Writes a failure in the protocol's own form to standard error, and returns `code`.
    pub fn complain(&mut self, text: &str, code: u8) -> u8 {
        let _ = self.stderr.write_all(text.as_bytes());
        code
    }
}

/// One line of JSON. The buffer is large enough from the start, because growing it would leave copies of a token in
/// memory.
///
/// # Panics
/// If `value` is not representable in JSON, e.g. a map whose keys are not strings.
pub fn json_line(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(4096);
    serde_json::to_writer(&mut line, value).expect("strings and numbers always serialize");
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is text")
}

/// Answers a caller's [`Want`].
pub type Ask<'a> = dyn Fn(Want<'_>) -> Outcome + 'a;

/// What a caller asks for. When the profile has been found, it becomes a [`TokenWant`](crate::acquire::TokenWant).
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// How to find the profile that answers.
    pub whose: Whose<'a>,
    /// What to get from that profile.
    pub what: What<'a>,
    /// The kind of token.
    pub kind: Kind,
    /// Scopes; empty means the profile's own. Ignored unless one sign-in serves every resource.
    pub scopes: Vec<String>,
    /// Tenant; `None` means the profile's own. Ignored unless one sign-in serves every tenant.
    pub tenant: Option<&'a str>,
    /// A claims challenge: claims that the resource wants and the cached token lacks (JSON for the `claims` parameter,
    /// OpenID Connect Core, section 5.5).
    pub claims: Option<&'a str>,
    /// Least remaining life of the token, in seconds, unless the profile sets `min-ttl`; `None` means the usual.
    pub min_life: Option<u64>,
    /// What is known about a token that was handed out before and did not work.
    pub refused: Refused<'a>,
    /// Who asks, for the prompt.
    pub requester: Requester,
    /// What the token is for: the host or cluster, for the prompt.
    pub purpose: Option<String>,
    /// Why this caller may not prompt, whatever the profile says; completes "a sign-in is needed, and …".
    pub no_prompt: Option<&'static str>,
    /// Looks for a reason like `no_prompt` if finding it takes time. Called only when a prompt is about to be shown.
    pub forbids: fn() -> Option<&'static str>,
    /// How long the caller waits; `None` means without limit.
    pub timeout: Option<Duration>,
}

impl<'a> Want<'a> {
    /// A token with the defaults that suit most callers.
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

    /// The token of the profile that `[hosts]` maps a host to, for the caller of this name. The prompt names the
    /// program that runs keyfob, or `program` if the system does not report it.
    pub fn for_host(target: &'a Target, caller: &'static str, program: &'static str) -> Self {
        let whose = Whose::Host { target, caller, given: None };
        Self { purpose: Some(target.origin()), ..Self::token(whose, Requester::Parent(program)) }
    }
}

/// How to find the profile that answers.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The profile that flags, environment and configuration select.
    Selected(&'a Arguments),
    /// The selected profile, for this Kubernetes cluster (if the request plainly names it), because a profile may be
    /// limited to some clusters.
    Cluster(&'a Arguments, Option<&'a Target>),
    /// The selected profile, for keys of this AWS role, in this region.
    Role(&'a Arguments, &'a str, Option<&'a str>),
    /// The profile that flags or `[az]` name, or the only one of Entra.
    Az(&'a Arguments),
    /// The profile that a host is mapped to: by `given`, a profile and a pattern from the command line, otherwise by
    /// `[hosts]`.
    Host {
        /// The host, and the path if there is one.
        target: &'a Target,
        /// The caller's name, because a rule may be for some callers only.
        caller: &'static str,
        /// A profile and a pattern that replace all of `[hosts]`.
        given: Option<(&'a str, &'a HostPattern)>,
    },
    /// The profiles of all single hosts in `[hosts]` that are for the caller of this name; for [`What::Cached`].
    EveryHost(&'static str),
}

/// What to get from a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A token. Answered by [`Outcome::Credential`].
    Token,
    /// The token in the cache, without a request, a prompt or a wait. Answered by [`Outcome::Hosts`].
    Cached,
    /// Whether any rule in `[hosts]` is about the host, regardless of paths. Answered by [`Outcome::Done`] or
    /// [`Outcome::NotMine`].
    Mapped,
    /// Where the profile signs in, whether or not anybody has signed in. Answered by [`Outcome::Profile`].
    Profile,
    /// Like `Profile`, with the account that is signed in. If none is, fails with the command to sign in.
    Account,
    /// Drop this token, which did not work, or the one that would be handed out. Answered by [`Outcome::Done`] or
    /// [`Outcome::Kept`].
    Erase(Option<&'a Failed>),
}

/// A token that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The token.
    pub token: Secret,
    /// The authentication scheme in which it was sent.
    pub scheme: HostAuth,
}

/// The kind of token that is wanted, if the profile does not set `token-kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An access token.
    Usual,
    /// What a Kubernetes API server usually accepts from the profile's provider.
    Kubernetes,
    /// An ID token.
    Id,
    /// An access token, even if the profile sets `token-kind`.
    Access,
}

/// What is known about a token that was handed out before and did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// Nothing is known.
    Unknown,
    /// The token with this serial was refused, so a different one is wanted.
    Token(Serial),
    /// The client keeps its tokens. If the same process was handed a token for the same request before, that token was
    /// probably refused.
    IfAskedBefore(&'a [&'a str]),
}

/// The answer to a caller.
#[derive(Debug)]
pub enum Outcome {
    /// The token.
    Credential(Credential),
    /// The cached tokens of the hosts that were asked for.
    Hosts(Vec<Credential>),
    /// The description of the profile.
    Profile(Described),
    /// The requested change was made.
    Done,
    /// The token that did not work was issued to this account moments ago, so a new one would be refused as well.
    Kept {
        /// Who signed in.
        account: Option<String>,
    },
    /// The host is not mapped to a profile, so another helper may answer.
    NotMine,
    /// The configuration cannot be read, so it is unknown whether the host is mapped.
    Misconfigured(Failure),
    /// The profile cannot answer. If a sign-in is missing, [`Failure::sign_in`] is the command for it.
    Failed(Failure),
}

impl Outcome {
    /// The failure, for a caller that has already handled the other outcomes.
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

/// A token, and what a caller may need to present it.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token.
    pub token: Secret,
    /// Identifies the token where the token itself must not be shown.
    pub serial: Serial,
    /// Whether this is an access token or an ID token.
    pub kind: TokenKind,
    /// When the token was received, by this machine's clock.
    pub received_at: Timestamp,
    /// When the token expires; `None` if only revocation ends it.
    pub expires_at: Option<Timestamp>,
    /// Who signed in.
    pub account: Option<String>,
    /// The tenant that issued the token, or that the profile names.
    pub tenant: Option<String>,
    /// The profile's name, or its issuer if it has no name.
    pub profile: String,
    /// The pattern that matched, if a host was asked for.
    pub pattern: Option<HostPattern>,
    /// The authentication scheme in the host's rule, if it sets one.
    pub auth: Option<HostAuth>,
    /// The authentication scheme to use if no rule sets one.
    pub usual_auth: HostAuth,
    /// The user name to send with [`HostAuth::Basic`].
    pub username: Cow<'static, str>,
    /// The subscription that `[az]` names.
    pub subscription: Option<String>,
}

impl Credential {
    /// Whether the token was issued moments ago.
    pub fn is_new(&self) -> bool {
        is_new(self.received_at)
    }

    /// The value of the `Authorization` header (RFC 6750, section 2.1; RFC 7617, section 2).
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

/// Whether a token received at this time was issued moments ago. A host that refuses it would refuse the next one as
/// well.
pub(super) fn is_new(received_at: Timestamp) -> bool {
    Timestamp::now().since(received_at) < MOMENTS
}

/// A description of a profile.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Where it signs in.
    pub authority: String,
    /// Whether a machine signs itself in, rather than a person.
    pub machine: bool,
    /// The account that is signed in, if it was asked for.
    pub account: Option<String>,
    /// The account's tenant, or the one that the profile names.
    pub tenant: Option<String>,
    /// The subscription that `[az]` names.
    pub subscription: Option<String>,
    /// The profile's `audience`.
    pub audience: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::callers::Caller;
    use std::cell::Cell;

    /// A token that expires on 22 November 2026 at 22:00 UTC.
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

    /// A caller's input besides its arguments.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Given<'a> {
        pub(crate) environment: &'a [(&'a str, &'a str)],
        pub(crate) stdin: &'a [u8],
        pub(crate) terminal: bool,
        /// Set once the caller runs the real program.
        pub(crate) passed_on: Option<&'a Cell<bool>>,
    }

    /// The exit code with which a test's `pass_on` shows that it was called.
    pub(crate) const PASSED_ON: u8 = 77;

    /// Runs a caller. Returns its exit code, stdout and stderr.
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
                pass_on: &|_, _| {
                    given.passed_on.inspect(|passed_on| passed_on.set(true));
                    PASSED_ON
                },
            },
            ask,
        );
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    /// A standard output whose reader has gone.
    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The result of `act`, and what it wrote to standard error.
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

    /// A standard input that delivers these pieces and errors, and then never ends.
    struct Pieces<'a>(&'a [Result<&'a [u8], ErrorKind>]);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (next, rest) = self.0.split_first().expect("nobody waits for more");
            self.0 = rest;
            let piece = (*next)?;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn read_to_empty_line(stdin: &[Result<&[u8], ErrorKind>]) -> Result<Vec<u8>, ErrorKind> {
        let mut io = Io {
            arguments: &Arguments::default(),
            environment: &|_| None,
            stdin: &mut Pieces(stdin),
            stdout_is_terminal: &|| false,
            pass_on: &|_, _| PASSED_ON,
            stdout: &mut io::sink(),
            stderr: &mut io::sink(),
        };
        io.request_to_empty_line().map(|bytes| bytes.to_vec()).map_err(|error| error.kind())
    }

    #[test]
    fn a_request_ends_at_an_empty_line_wherever_it_is_cut() {
        let read = |pieces: &[&[u8]]| {
            let pieces: Vec<_> = pieces.iter().copied().map(Ok).collect();
            String::from_utf8(read_to_empty_line(&pieces).unwrap()).unwrap()
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
    fn reading_goes_on_after_an_interruption_and_after_no_other_error() {
        let read = read_to_empty_line;
        assert_eq!(read(&[Err(ErrorKind::Interrupted), Ok(b"a=b\n\n")]), Ok(b"a=b\n\n".to_vec()));
        assert_eq!(read(&[Ok(b"a=b\n"), Err(ErrorKind::Other)]), Err(ErrorKind::Other));
    }

    #[test]
    fn a_prompt_for_a_host_names_it_and_the_program() {
        let target = Target::parse("https", "ghcr.io", Some("team"), None).unwrap();
        let want = Want::for_host(&target, "docker", "podman");
        assert_eq!(want.purpose.as_deref(), Some("https://ghcr.io"));
        assert!(matches!(want.whose, Whose::Host { caller: "docker", given: None, .. }), "{want:?}");
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
