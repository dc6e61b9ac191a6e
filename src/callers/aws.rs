//! AWS's `credential_process`: temporary keys of a role, in exchange for a profile's token, for the AWS CLI and SDKs.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
//!
//! The keys are cached and renewed like any token, because AWS's programs keep them only within one process. A failure
//! goes to stderr with an exit code; the programs show both.

use super::{Ask, Caller, Credential, Io, Outcome, Requester, Want, Whose, json_line};
use crate::arguments::{Grammar, PROFILE, Rest};
use crate::clock::Timestamp;
use crate::config::{KEYS, Key, text};
use crate::failure::Failure;
use serde::{Deserialize, Serialize};

/// `keyfob aws`
pub const CALLER: Caller = Caller {
    name: "aws",
    alias: None,
    link: None,
    about: "Answer the AWS CLI and SDKs (credential_process), with keys of a role",
    hosts: false,
    grammar: Grammar { flags: &[PROFILE, KEYS, FLAGS], rest: Rest::Nothing },
    after_help: "\
The role trusts the provider of the profile, and the client id as its audience. `keyfob setup aws` writes this for one profile \
of AWS; by hand, in ~/.aws/config:
  [profile dev]
  credential_process = /home/ada/.local/bin/keyfob aws --profile lab --role arn:aws:iam::123456789012:role/dev

Or with a profile of keyfob's that has `grant = \"aws-role\"`, as a machine's has:
  credential_process = /home/ada/.local/bin/keyfob aws --profile aws-dev

Try what AWS gets:
  keyfob aws --profile lab --role arn:aws:iam::123456789012:role/dev",
    run,
};

const FLAGS: &[Key] = &[
    Key {
        name: "assumed-role",
        flag: Some("role"),
        ..text("", "ARN", "Role to get keys of, with the profile's ID token")
    },
    Key {
        name: "sts-region",
        flag: Some("region"),
        ..text("", "REGION", "Region whose endpoint is asked for them [default: us-east-1]")
    },
];

/// Least remaining life of the keys, in seconds, because the SDKs ask for new keys when 15 minutes are left.
const MIN_LIFE: u64 = 960;

/// The keys in the form in which they are cached.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
}

/// Answers AWS.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let (role, region) = (io.arguments.one("assumed-role"), io.arguments.one("sts-region"));
    let whose = match (role, region) {
        (Some(role), region) => Whose::Role(io.arguments, role, region),
        (None, None) => Whose::Selected(io.arguments),
        (None, Some(_)) => return io.fail(&Failure::usage("--region without --role").hint("add --role ARN")),
    };
    let want = Want {
        min_life: Some(MIN_LIFE),
        purpose: role.map(str::to_owned),
        ..Want::token(whose, Requester::Parent("keyfob aws"))
    };
    let credential = match ask(want) {
        Outcome::Credential(credential) => credential,
        other => return io.fail(&other.failure()),
    };
    if let Some(answer) = answer(&credential) {
        return io.answer(answer);
    }
    let what = "the profile's token is no key of AWS";
    io.fail(&Failure::usage(what).hint("add --role ARN, or give the profile `grant = \"aws-role\"`"))
}

/// The answer for AWS; `None` if the token does not consist of keys.
fn answer(credential: &Credential) -> Option<String> {
    let Keys { access_key_id, secret_access_key, session_token } =
        serde_json::from_str(credential.token.expose()).ok()?;
    let expiration = credential.expires_at.and_then(Timestamp::rfc3339);
    Some(json_line(&Answer { version: 1, access_key_id, secret_access_key, session_token, expiration }))
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::failure::Exit;

    const ROLE: &str = "arn:aws:iam::123456789012:role/dev";
    const KEYS: &str = "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s/+\",\"SessionToken\":\"t==\"}";

    fn said(words: &[&str], ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given::default(), ask)
    }

    #[test]
    fn the_answer_is_literally_this() {
        let ask = |want: Want<'_>| {
            assert!(matches!(want.whose, Whose::Role(_, ROLE, Some("eu-west-1"))), "{want:?}");
            assert_eq!((want.min_life, want.purpose.as_deref()), (Some(960), Some(ROLE)));
            Outcome::Credential(credential(KEYS))
        };
        let stdout = "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s/+\",\"SessionToken\":\"t==\",\
                      \"Expiration\":\"2026-11-22T22:00:00Z\"}\n";
        let words = ["--profile=lab", "--role", ROLE, "--region=eu-west-1"];
        assert_eq!(said(&words, &ask), (0, stdout.to_owned(), String::new()));
        let selected = |want: Want<'_>| {
            assert!(matches!(want.whose, Whose::Selected(_)), "{want:?}");
            Outcome::Credential(credential(KEYS))
        };
        assert_eq!(said(&["--profile=aws-dev"], &selected), (0, stdout.to_owned(), String::new()));
    }

    #[test]
    fn a_failure_is_two_lines_and_an_exit_code() {
        let failed = |_: Want<'_>| {
            Outcome::Failed(Failure::new(Exit::SignInNeeded, "a sign-in is needed").run("keyfob login lab"))
        };
        let stderr = "error: a sign-in is needed\nhint: keyfob login lab\n".to_owned();
        assert_eq!(said(&["--role", ROLE], &failed), (3, String::new(), stderr));
        let plain = |_: Want<'_>| Outcome::Credential(credential("t"));
        let stderr = "error: the profile's token is no key of AWS\n\
                      hint: add --role ARN, or give the profile `grant = \"aws-role\"`\n";
        assert_eq!(said(&[], &plain), (2, String::new(), stderr.to_owned()));
        let never = |want: Want<'_>| panic!("{want:?}");
        assert_eq!(said(&["--region", "eu-west-1"], &never).0, 2);
    }
}
