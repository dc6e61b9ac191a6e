//! An ID token, once as the token itself and once as the claims in it.
#![no_main]

use keyfob::clock::Timestamp;
use keyfob::oauth::{id_token, json};
use keyfob::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let token = id_token::claims(&Secret::from(text.to_owned()));
    for claims in [token, json::object(text.as_bytes())].into_iter().flatten() {
        let now = Timestamp(1_800_000_000);
        let checked = id_token::check(&claims, Some("https://id.example.com/{tid}"), "keyfob", now);
        if let Err(why) = &checked {
            keyfob_fuzz::assert_shown_as_it_is(why);
        } else {
            assert!(id_token::time(&claims, "exp").is_some_and(|end| end > now));
        }
        if let Some(account) = id_token::account(&claims) {
            keyfob_fuzz::assert_shown_as_it_is(&account);
        }
    }
});
