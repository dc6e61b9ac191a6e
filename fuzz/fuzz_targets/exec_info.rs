//! `KUBERNETES_EXEC_INFO`.
#![no_main]

use keyfob::callers::kubernetes::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Request::parse(text, "v1") {
        Ok(request) => {
            let known = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
            assert!(known.contains(&request.api_version.as_str()));
            request.server.iter().for_each(|server| keyfob_fuzz::assert_shown_as_it_is(server));
        }
        Err(failure) => keyfob_fuzz::assert_shown_as_it_is(&failure.message),
    }
});
