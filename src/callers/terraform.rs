//! Terraform's and OpenTofu's credentials helper protocol: `terraform-credentials-keyfob get|store|forget HOST`.
//! <https://developer.hashicorp.com/terraform/internals/credentials-helpers>
//!
//! A host that is not mapped gets `{}`. The protocol has no expiry, so a token that expires soon is renewed first.

use super::{Ask, Caller, Io, Link, Outcome, Want, What, json_line};
use crate::arguments::{Grammar, Rest};
use crate::config::Target;
use crate::failure::Failure;
use serde::Serialize;

/// `keyfob terraform`
pub const CALLER: Caller = Caller {
    name: "terraform",
    alias: None,
    link: Some(Link { name: "terraform-credentials-keyfob", grammar: None }),
    about: "Answer Terraform and OpenTofu (credentials helper), for the hosts in [hosts]",
    hosts: true,
    grammar: Grammar { flags: &[], rest: Rest::Line("OPERATION HOST", "get, store or forget, and a registry's host") },
    after_help: "\
Terraform runs this by the name terraform-credentials-keyfob. `keyfob setup terraform` has it do so; by hand, a link of that \
name in ~/.terraform.d/plugins, and in ~/.terraformrc
  credentials_helper \"keyfob\" {}
Which profile's token a registry gets is said in config.toml:
  [hosts]
  \"https://registry.example.com\" = { profile = \"lab\", callers = [\"terraform\"] }

Try what Terraform gets:
  keyfob terraform get registry.example.com",
    run,
};

/// Least remaining life of a token, in seconds, because it is read once for everything that a command downloads.
const MIN_LIFE: u64 = 900;

/// Answers Terraform.
fn run(io: &mut Io<'_>, ask: &Ask<'_>) -> u8 {
    let [operation, host] = io.arguments.rest() else {
        return io
            .fail(&Failure::usage("an operation and a host are needed, as in `keyfob terraform get app.example.com`"));
    };
    let Some(target) = Target::parse("https", host, None, None) else {
        // An invalid host cannot be mapped.
        return if operation == "get" { io.answer("{}\n".into()) } else { 0 };
    };
    let want = Want { min_life: Some(MIN_LIFE), ..Want::for_host(&target, CALLER.name, CALLER.name) };
    match operation.as_str() {
        "get" => match ask(want) {
            Outcome::NotMine => io.answer("{}\n".into()),
            Outcome::Credential(credential) => io.answer(json_line(&Answer { token: credential.token.expose() })),
            other => io.fail(&other.failure()),
        },
        "forget" => match ask(Want { what: What::Erase(None), ..want }) {
            Outcome::Done | Outcome::NotMine => 0,
            other => io.fail(&other.failure()),
        },
        "store" => io.fail(&Failure::usage("keyfob keeps no tokens of others").hint("sign in with `keyfob login`")),
        _ => io.fail(&Failure::usage("the operation is one of get, store and forget")),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
}

#[cfg(test)]
mod tests {
    use super::super::seam::tests::{Given, credential, run};
    use super::*;
    use crate::callers::Whose;
    use crate::failure::Exit;

    fn said(words: &[&str], ask: &Ask<'_>) -> (u8, String, String) {
        run(&CALLER, words, Given::default(), ask)
    }

    #[test]
    fn the_answer_is_literally_this() {
        let ask = |want: Want<'_>| {
            let Whose::Host { target, caller: "terraform", .. } = want.whose else { panic!("{want:?}") };
            assert_eq!((target.origin().as_str(), want.min_life), ("https://tf.example:8443", Some(900)));
            Outcome::Credential(credential("abc"))
        };
        assert_eq!(said(&["get", "tf.example:8443"], &ask), (0, "{\"token\":\"abc\"}\n".to_owned(), String::new()));
        let none = (0, "{}\n".to_owned(), String::new());
        assert_eq!(said(&["get", "tf.example"], &|_| Outcome::NotMine), none);
        let never = |want: Want<'_>| panic!("{want:?}");
        for odd in ["https://tf.example", "ada@tf.example", "tf.example/a", "", "tf.example "] {
            assert_eq!(said(&["get", odd], &never), none, "{odd:?}");
        }
    }

    #[test]
    fn a_failure_is_on_stderr_with_an_exit_code() {
        let ask = |_: Want<'_>| Outcome::Failed(Failure::new(Exit::Refused, "no"));
        for operation in ["get", "forget"] {
            assert_eq!(said(&[operation, "tf.example"], &ask), (4, String::new(), "error: no\n".to_owned()));
        }
        let never = |want: Want<'_>| panic!("{want:?}");
        for words in [&["store", "tf.example"][..], &["frob", "tf.example"], &["get"], &[]] {
            let (code, stdout, stderr) = said(words, &never);
            assert!(code == 2 && stdout.is_empty() && stderr.starts_with("error: "), "{words:?}");
        }
        let stored = "error: keyfob keeps no tokens of others\nhint: sign in with `keyfob login`\n";
        assert_eq!(said(&["store", "tf.example"], &never).2, stored);
    }

    #[test]
    fn what_is_forgotten_is_the_token_alone() {
        let ask = |want: Want<'_>| {
            assert_eq!(want.what, What::Erase(None));
            Outcome::Done
        };
        assert_eq!(said(&["forget", "tf.example"], &ask), (0, String::new(), String::new()));
        assert_eq!(said(&["forget", "tf.example"], &|_| Outcome::NotMine), (0, String::new(), String::new()));
    }
}
