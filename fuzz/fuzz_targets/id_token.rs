//! An ID token, once as the token itself and once as the claims in it.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyfob::clock::Timestamp;
use keyfob::oauth::id_token::Claims;
use keyfob::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let made = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(text));
    for claims in [text.to_owned(), made].into_iter().filter_map(|token| Claims::of(&Secret::from(token))) {
        let now = Timestamp(1_800_000_000);
        match claims.check(Some("https://id.example.com/{tid}"), "keyfob", now) {
            Err(why) => keyfob_fuzz::assert_shown_as_it_is(&why.to_string()),
            Ok(()) => assert!(claims.expires_at.is_some_and(|end| end > now) && claims.subject.is_some()),
        }
        if let Some(name) = &claims.name {
            keyfob_fuzz::assert_shown_as_it_is(name);
        }
    }
});
