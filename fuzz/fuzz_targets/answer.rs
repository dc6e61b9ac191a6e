//! What the device and token endpoints answer: the first byte chooses the status, the rest is the body.
#![no_main]

use keyfob::clock::Skew;
use keyfob::flows::Polling;
use keyfob::oauth::answer::{Answer, DeviceCode, TokenAnswer};
use keyfob::oauth::http::Reply;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let statuses = [200, 200, 201, 302, 400, 401, 403, 404, 428, 429, 500, 503];
    let reply = Reply {
        status: statuses[usize::from(*first) % statuses.len()],
        body: body.to_vec().into(),
        html: first & 0x80 != 0,
        retry_after: (first & 0x40 != 0).then_some(u64::from(*first)),
        location: None,
        coding: None,
        skew: Skew::default(),
        cut: None,
    };
    let answer = Answer::of(&reply);
    match &answer {
        Answer::Object(object) => {
            if let Ok(code) = DeviceCode::read(object) {
                assert!((1..=60).contains(&code.interval) && (1..=3600).contains(&code.expires_in));
                keyfob_fuzz::assert_shown_as_it_is(&code.user_code);
                keyfob_fuzz::assert_shown_as_it_is(code.verification_uri.as_str());
            }
            if let Ok(TokenAnswer { refresh_token, tokens }) = TokenAnswer::read(object) {
                for token in tokens.ok().map(|tokens| tokens.access_token).into_iter().chain(refresh_token) {
                    let token = token.expose();
                    assert!(!token.is_empty() && !token.contains(|c: char| c.is_control() || c.is_whitespace()));
                }
            }
        }
        Answer::Error(error) => keyfob_fuzz::assert_shown_as_it_is(&error.text()),
        Answer::Transient(why, _) | Answer::Redirect(why) | Answer::Unreadable(why) => {
            keyfob_fuzz::assert_shown_as_it_is(why);
        }
    }
    let now = Duration::from_secs(100);
    let mut polling = Polling::new(5, Duration::from_secs(900), now);
    if polling.receive(Ok(answer), now).is_none() {
        assert!(polling.next() >= Duration::from_secs(106) && polling.next() <= polling.deadline());
    }
});
