//! The keys of sealed sessions.

use linux_keyutils::{KeyRing, KeyRingIdentifier::User};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Removes the keys of the sealed sessions in a cache folder from the kernel's keyring, as a restart of the machine does.
pub fn forget_keys(cache: &Path) {
    let files = fs::read_dir(cache).expect("the cache folder").map(|entry| entry.expect("an entry").path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let bytes = fs::read(file).expect("a session");
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(header) = serde_json::from_slice::<Value>(line) else { continue };
        let Some(key) = header["kid"].as_str() else { continue };
        let ring = KeyRing::get_persistent(User).or_else(|_| KeyRing::from_special_id(User, false));
        if let Ok(key) = ring.and_then(|ring| ring.search(&format!("keyfob:{key}"))) {
            key.invalidate().expect("the key is ours");
        }
    }
}
