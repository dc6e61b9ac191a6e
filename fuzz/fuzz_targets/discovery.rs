//! A server's metadata, of one particular issuer.
#![no_main]

use keyfob::address::Address;
use keyfob::clock::Timestamp;
use keyfob::oauth::discovery;
use keyfob::oauth::json::Members;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Members::read(bytes) else { return };
    let issuer = Address::parse("https://id.example.com/realms/lab").expect("a good issuer");
    match discovery::read(&document, &issuer, Timestamp(7)) {
        Ok(metadata) => {
            let endpoints =
                [metadata.device_authorization_endpoint, metadata.token_endpoint, metadata.revocation_endpoint];
            for endpoint in endpoints.into_iter().flatten() {
                let address = Address::parse(&endpoint).expect("a checked address");
                keyfob_fuzz::assert_shown_as_it_is(address.as_str());
                let loopback = ["localhost", "127.", "[::1]", "[::ffff:7f"];
                let host = address.host();
                let here = loopback.iter().any(|l| host.starts_with(l)) || host.ends_with(".localhost");
                assert!(endpoint.to_ascii_lowercase().starts_with("https://") || here, "{endpoint}");
            }
        }
        Err(why) => keyfob_fuzz::assert_shown_as_it_is(&why),
    }
});
