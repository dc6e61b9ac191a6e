//! `Date` and `Retry-After`.
#![no_main]

use keyfob::clock::{Skew, Timestamp};
use keyfob::oauth::http::date;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let here = Timestamp(1_800_000_000);
    if let Some(there) = date(text) {
        let skew = Skew::measured(there, here);
        assert_eq!(skew.here(skew.there(here)), here);
    }
});
