//! What several fuzz targets assert, and how they run a caller without a process.

use keyfob::arguments::Arguments;
use keyfob::callers::{Ask, Caller, Credential, Io};
use keyfob::providers::{HostAuth, TokenKind};
use keyfob::secret::Secret;
use keyfob::session::Serial;
use std::ffi::OsString;

/// Panics if a terminal would obey any of `text`, or show it on more than one line.
pub fn assert_shown_as_it_is(text: &str) {
    let deceptive = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}');
    assert!(!text.chars().any(|c| c.is_control() || deceptive(c)), "{text:?}");
}

/// Runs a caller with these words, one variable and this input: its exit code, stdout and stderr.
pub fn run(
    caller: &Caller,
    words: &[&str],
    variable: Option<(&str, &str)>,
    mut stdin: &[u8],
    ask: &Ask<'_>,
) -> (u8, String, String) {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let arguments = Arguments::read(&caller.grammar, &words).expect("arguments of this caller");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io {
        arguments: &arguments,
        environment: &|name| variable.filter(|(known, _)| *known == name).map(|(_, value)| value.into()),
        stdin: &mut stdin,
        stdin_is_terminal: &|| false,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let code = (caller.run)(&mut io, ask);
    let text = |bytes| String::from_utf8(bytes).expect("every protocol is text");
    (code, text(stdout), text(stderr))
}

/// A token, to be found in an answer.
pub fn credential(token: &str) -> Credential {
    Credential {
        token: Secret::from(token.to_owned()),
        serial: Serial::default(),
        kind: TokenKind::Access,
        expires_at: None,
        account: None,
        tenant: None,
        profile: "lab".to_owned(),
        auth: None,
        usual_auth: HostAuth::Bearer,
        username: "x-access-token".into(),
        subscription: None,
    }
}
