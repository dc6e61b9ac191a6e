//! What git, or a repository by way of git, writes on stdin. A host that is not mapped gets nothing.
#![no_main]

use keyfob::callers::{Outcome, Want, Whose, git};
use keyfob::config::HostPattern;
use keyfob_fuzz::{assert_shown_as_it_is, credential, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let ask = |want: Want<'_>| {
        let Whose::Host { target, .. } = want.whose else { panic!("{want:?}") };
        let matches = |pattern: &str| HostPattern::parse(pattern).expect("a good pattern").matches(target);
        let origin = target.origin();
        assert_eq!(want.purpose.as_ref(), Some(&origin));
        assert_shown_as_it_is(&origin);
        if matches("https://*.visualstudio.com") {
            let label = origin.strip_prefix("https://").and_then(|host| host.strip_suffix(".visualstudio.com"));
            assert!(label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', ':', '@'])), "{origin}");
            return Outcome::Credential(credential("t0ken"));
        }
        let Some(mapped) = ["https://github.com", "https://git.lab:8443/team"].into_iter().find(|known| matches(known))
        else {
            return Outcome::NotMine;
        };
        assert_eq!(origin, mapped.trim_end_matches("/team"));
        Outcome::Credential(credential("t0ken"))
    };
    let (code, stdout, stderr) = run(&git::CALLER, &["get"], None, bytes, &ask);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.is_empty() || stdout.lines().filter(|line| line.ends_with("=t0ken")).count() == 1, "{stdout}");
});
