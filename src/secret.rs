//! Tokens, codes and client secrets that cannot be printed by accident.

use serde::{Deserialize, Deserializer, Serializer};
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// A secret text: it has no `Display`, `Debug` prints `[redacted]`, and it is wiped from memory when dropped. Reading
/// it takes a visible [`Secret::expose`]; writing it to the cache takes a visible `serialize_with`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the wire, the cache file or the caller's protocol.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut mem::take(&mut self.0).into_bytes());
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

/// Serializes a secret in clear. For `#[serde(serialize_with)]` on fields of files that only the user can read, nowhere
/// else.
pub fn expose<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

/// [`expose`] for a secret that may be absent.
pub fn expose_option<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose(secret, to),
        None => to.serialize_none(),
    }
}

/// Bytes that contain secrets: `Debug` does not print them, and they are wiped from memory when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Buffer(Vec<u8>);

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites the whole capacity of a vector, in small slices. `zeroize` fills slices at once but vectors byte by byte,
/// which took a tenth of every cached answer; and the C library fills large pieces with an instruction that is slow to
/// start.
fn wipe(bytes: &mut Vec<u8>) {
    const PIECE: usize = 1024;
    while let room @ 1.. = bytes.capacity() - bytes.len() {
        bytes.extend_from_slice(&[0; PIECE][..room.min(PIECE)]);
    }
    bytes.chunks_mut(PIECE).for_each(<[u8]>::zeroize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_is_wiped() {
        for length in (0..40).chain(1000..1050) {
            let mut bytes = Vec::with_capacity(2 * length);
            bytes.extend((0..length).map(|_| b'x'));
            wipe(&mut bytes);
            assert_eq!(bytes, vec![0; bytes.capacity()]);
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2".to_owned()))), "Some([redacted])");
        assert_eq!(format!("{:?}", Buffer::from(b"hunter2".to_vec())), "[redacted]");
    }
}
