//! What git, or a repository by way of git, writes on stdin. A host that is not mapped never matches.
#![no_main]

use keyfob::callers::git::Request;
use keyfob::config::HostPattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::parse(bytes) else { return };
    let matches = |pattern: &str| HostPattern::parse(pattern).expect("a good pattern").matches(&request.target);
    let origin = request.target.origin();
    keyfob_fuzz::assert_shown_as_it_is(&origin);
    assert!(!matches("https://github.com") || origin == "https://github.com", "{origin}");
    assert!(!matches("https://git.lab:8443/team") || origin == "https://git.lab:8443", "{origin}");
    if matches("https://*.visualstudio.com") {
        let label = origin.strip_prefix("https://").and_then(|host| host.strip_suffix(".visualstudio.com"));
        assert!(label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', ':', '@'])), "{origin}");
    }
});
