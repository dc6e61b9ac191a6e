//! A session's file: what is read as one is written again as the same.
#![no_main]

use keyfob::store::{Found, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Found::Session(session) = parse(bytes, None) else { return };
    let written = serde_json::to_vec(&session).expect("a session can be written");
    let Found::Session(again) = parse(&written, Some(&session.key())) else { panic!("written and not read") };
    assert_eq!(serde_json::to_vec(&again).expect("a session can be written"), written);
    session.is_signed_in(keyfob::clock::Timestamp(1_800_000_000));
});
