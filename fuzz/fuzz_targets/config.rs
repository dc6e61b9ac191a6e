//! `config.toml`: what is wrong is said in one line, and an edited file can still be read.
#![no_main]

use keyfob::config::{self, HostPattern, Profile, edit};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let path = Path::new("config.toml");
    let read = config::read(path, text).map(Profile::all_of);
    match &read {
        Ok(profiles) => {
            for failure in profiles.values().filter_map(|profile| profile.as_ref().err()) {
                assert!(failure.lines().lines().count() <= 2);
            }
        }
        Err(failure) => assert!(failure.message.starts_with("config.toml:"), "{failure:?}"),
    }
    let pattern = HostPattern::parse("https://fuzz.example").expect("a good pattern");
    if let (Ok(profiles), Ok(added)) = (&read, edit::with_host(text, &pattern, "lab")) {
        if profiles.contains_key("lab") {
            config::read(path, &added).expect("what was added can be read");
        }
        edit::without_host(&added, &pattern, false).expect("and taken out again");
    }
});
