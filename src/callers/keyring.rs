//! `keyring`, as pip and uv run it: `keyring get SERVICE [USER]`, in each of their dialects.
//! <https://pip.pypa.io/en/stable/topics/authentication/#keyring-support>
//!
//! This link is found before the real keyring on `PATH`, so every call that is not for keyfob is passed on to the real
//! one.
//!
//! - Only a full address is answered. pip then asks for the bare host too, and may send the answer to a
//!   `--trusted-host` over plain http. So a bare host that `[hosts]` knows gets nothing, and the call is not passed on.
//! - If there is no token, the exit code is 1 without output; pip and uv then go on without one.

use super::{Ask, Caller, Credential, Io, Link, Outcome, Want, What, json_line};
use crate::arguments::{Grammar, Rest};
use crate::config::Target;
use serde::Serialize;

/// `keyfob keyring`
pub const CALLER: Caller = Caller {
    name: "keyring",
    alias: None,
    link: Some(Link { name: "keyring", grammar: None }),
    about: "Answer pip and uv in place of keyring, for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Line("ARGUMENTS", "keyring's own") },
    after_help: "\
pip and uv run the first `keyring` on PATH. `keyfob setup pip` puts keyfob there; by hand, a link of that name, and
  pip config set global.keyring-provider subprocess
  pip install --index-url https://pypi.example.com/simple/ …
  uv pip install --keyring-provider subprocess --index-url https://oauth2@pypi.example.com/simple/ …
Which profile's token an index gets is said in config.toml:
  [hosts]
  \"https://pypi.example.com/simple\" = { profile = \"lab\", callers = [\"keyring\"], username = \"oauth2\" }

Try what pip gets:
  keyfob keyring --mode=creds --output=json get https://pypi.example.com/simple/",
    run,
};

/// Answers pip or uv.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let pass_on = |io: &mut Io<'_>| (io.pass_on)(CALLER.name, io.arguments.rest());
    let Some(request) = Request::parse(io.arguments.rest()) else { return pass_on(io) };
    let Some(target) = Target::of_url(&request.service) else {
        let mut bare =
            ["https", "http"].into_iter().filter_map(|scheme| Target::parse(scheme, &request.service, None, None));
        let is_ours = |target: Target| {
            let want = Want { what: What::Mapped, ..Want::for_host(&target, CALLER.name, "pip") };
            !matches!(ask(want), Outcome::NotMine)
        };
        return if bare.any(is_ours) { 1 } else { pass_on(io) };
    };
    match ask(Want::for_host(&target, CALLER.name, "pip")) {
        Outcome::NotMine => pass_on(io),
        Outcome::Credential(credential) => io.answer(request.answer(&credential)),
        other => io.complain(&other.failure().lines(), 1),
    }
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Password,
    Creds,
}

/// A `get` that keyfob may answer.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    service: String,
    username: Option<String>,
    mode: Mode,
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    password: &'a str,
}

impl Request {
    /// Parses keyring's arguments. `None` for everything but `get`, and for unknown flags.
    fn parse(words: &[String]) -> Option<Self> {
        let (mut mode, mut json, mut plain) = (Mode::Password, false, Vec::new());
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
            match flag {
                "--mode" => {
                    mode = match value.or_else(|| words.next())? {
                        "password" => Mode::Password,
                        "creds" => Mode::Creds,
                        _ => return None,
                    }
                }
                "--output" => {
                    json = match value.or_else(|| words.next())? {
                        "plain" => false,
                        "json" => true,
                        _ => return None,
                    }
                }
                _ if flag.starts_with('-') => return None,
                _ => plain.push(word),
            }
        }
        let ["get", service, ref user @ ..] = plain[..] else { return None };
        (user.len() <= 1).then(|| Self {
            service: service.to_owned(),
            username: user.first().map(|&user| user.to_owned()),
            mode,
            json,
        })
    }

    fn answer(&self, credential: &Credential) -> String {
        let password = credential.token.expose();
        let username = self.username.as_deref().unwrap_or(&credential.username);
        let with_name = self.mode == Mode::Creds;
        if self.json {
            return json_line(&Json { username: with_name.then_some(username), password });
        }
        if with_name { [username, "\n", password, "\n"].concat() } else { [password, "\n"].concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, PASSED_ON, credential, run};
    use super::*;
    use crate::callers::Whose;
    use crate::failure::{Exit, Failure};

    fn said(words: &[&str], ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given::default(), ask)
    }

    const INDEX: &str = "https://pypi.example/simple/";

    #[test]
    fn every_dialect_is_answered_literally_so() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, caller: "keyring", .. } = want.whose else { panic!("{want:?}") };
            assert_eq!((target.origin().as_str(), want.what), ("https://pypi.example", What::Token));
            Outcome::Credential(Credential { username: "oauth2".into(), ..credential("abc") })
        };
        for (words, stdout) in [
            // pip before 26.3, and uv with a user name.
            (&["get", INDEX, "ada"][..], "abc\n"),
            // pip since 26.3.
            (&["--mode=creds", "--output=json", "get", INDEX], "{\"username\":\"oauth2\",\"password\":\"abc\"}\n"),
            (&["--mode=creds", "--output=json", "get", INDEX, "ada"], "{\"username\":\"ada\",\"password\":\"abc\"}\n"),
            // uv without a user name.
            (&["get", INDEX, "--mode", "creds"], "oauth2\nabc\n"),
            (&["--output", "json", "get", INDEX], "{\"password\":\"abc\"}\n"),
            (&["--mode", "password", "--output=plain", "get", INDEX], "abc\n"),
        ] {
            assert_eq!(said(words, &ask), (0, stdout.to_owned(), String::new()), "{words:?}");
        }
    }

    #[test]
    fn what_is_not_ours_is_handed_on() {
        let passed_on = (PASSED_ON, String::new(), String::new());
        assert_eq!(said(&["get", INDEX, "ada"], &|_| Outcome::NotMine), passed_on);
        assert_eq!(said(&["get", "pypi.example", "ada"], &|_| Outcome::NotMine), passed_on);
        let never = |want: Want<'_>| panic!("{want:?}");
        for words in [
            &["set", INDEX, "ada"][..],
            &["del", INDEX, "ada"],
            &["--list-backends"],
            &["get"],
            &["get", INDEX, "ada", "eve"],
            &["get", INDEX, "--disable"],
            &["get", "--mode", "other", INDEX],
            &["get", "https://ada@pypi.example/simple/"],
            &["get", "a service"],
            &[],
        ] {
            assert_eq!(said(words, &never), passed_on, "{words:?}");
        }
    }

    #[test]
    fn a_bare_host_gets_nothing_and_is_handed_on_only_if_it_is_not_mapped() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, .. } = want.whose else { panic!("{want:?}") };
            assert_eq!(want.what, What::Mapped);
            if target.origin() == "https://pypi.example" { Outcome::Done } else { Outcome::NotMine }
        };
        for service in ["pypi.example", "pypi.example:443"] {
            assert_eq!(said(&["get", service, "ada"], &ask), (1, String::new(), String::new()));
        }
        assert_eq!(said(&["get", "pypi.example:8443", "ada"], &ask).0, PASSED_ON);
        let unknown = |_: Want<'_>| Outcome::Misconfigured(Failure::usage("config.toml:1: no"));
        assert_eq!(said(&["get", "pypi.example", "ada"], &unknown).0, 1);
    }

    #[test]
    fn a_failure_is_on_stderr_and_is_not_handed_on() {
        let failed = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "nobody is signed in").run("keyfob login lab"))
        };
        let stderr = "error: nobody is signed in\nhint: keyfob login lab\n".to_owned();
        assert_eq!(said(&["get", INDEX, "ada"], &failed), (1, String::new(), stderr));
    }
}
