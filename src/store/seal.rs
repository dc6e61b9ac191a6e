//! A sealed session file (layout 3): one line of JSON in clear, which says how the file is sealed, followed by the
//! session encrypted with AES-256-GCM (NIST SP 800-38D).
//!
//! Each write draws a new nonce of 96 bits. The line and the session's name are authenticated too, so that one file
//! cannot be put in another's place. Bytes after the sealed ones do not count: a process that was killed may have left
//! its reserved space there.

use crate::secret::Buffer;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// The layout of a sealed file.
pub(super) const SEALED: u32 = 3;
/// How every sealed file begins, and no other file.
const BEGINS: &[u8] = b"{\"version\":3,";
/// The only algorithm.
const ALGORITHM: &str = "A256GCM";
/// Longest header line, in bytes.
const LONGEST: usize = 160;
/// The most bytes by which a sealed file is longer than the session in clear.
pub(super) const OVERHEAD: usize = LONGEST + 16;

/// The header line in front of the sealed bytes.
#[derive(Serialize, Deserialize)]
struct Header<'h> {
    version: u32,
    alg: &'h str,
    /// The name of the key.
    kid: &'h str,
    /// The nonce, in base64.
    nonce: &'h str,
    /// The number of sealed bytes, including the tag.
    size: usize,
}

/// A key that seals sessions, and its name.
pub(super) struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

impl Key {
    /// Draws a new key.
    pub(super) fn draw() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).context("could not draw a key")?;
        Ok(Self::of(bytes))
    }

    /// The key with these bytes, under its own name.
    pub(super) fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self { id: name(&bytes), bytes }
    }

    /// Bytes that were found under the name of a key; see [`is_itself`](Self::is_itself).
    #[cfg(any(test, target_os = "linux"))]
    pub(super) fn called(id: &str, bytes: Zeroizing<[u8; 32]>) -> Self {
        Self { id: id.to_owned(), bytes }
    }

    /// Whether the key's name matches its bytes. Opening a file proves that too, and is faster.
    pub(super) fn is_itself(&self) -> bool {
        name(&self.bytes) == self.id
    }

    /// Parses a key: 32 bytes in base64 or hexadecimal, with optional white space around.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(if text.len() == 64 {
            let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
            (0..64).step_by(2).map(digits).collect::<Option<Vec<u8>>>()?
        } else {
            BASE64.decode(text).ok()?
        });
        Some(Self::of(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The key as text, which [`parse`](Self::parse) reads.
    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(*self.bytes))
    }

    /// The key's name: eight hexadecimal digits.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The key's 32 bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals `bytes`, the session `name` in clear. Returns the contents of the sealed file.
    pub(super) fn seal(&self, name: &str, mut bytes: Buffer) -> Result<Buffer> {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).context("could not draw a nonce")?;
        let size = bytes.len() + AES_256_GCM.tag_len();
        let header = Header { version: SEALED, alg: ALGORITHM, kid: &self.id, nonce: &BASE64.encode(nonce), size };
        let mut sealed = Buffer::from(Vec::with_capacity(bytes.len() + OVERHEAD));
        serde_json::to_writer(&mut *sealed, &header)?;
        sealed.push(b'\n');
        let aad = Aad::from([name.as_bytes(), b"\n", &sealed].concat());
        let key = self.unbound()?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *bytes)
            .ok()
            .context("could not seal the session")?;
        sealed.extend_from_slice(&bytes);
        Ok(sealed)
    }

    /// Opens the contents of a sealed file of the session `name`, whose header is `seal`; `None` if this key did not
    /// seal it, or if it was changed.
    pub(super) fn open(&self, name: &str, seal: &Seal, mut bytes: Buffer) -> Option<Buffer> {
        let line = bytes.get(..seal.start)?;
        let aad = Aad::from([name.as_bytes(), b"\n", line].concat());
        let end = seal.start.checked_add(seal.size).filter(|end| seal.kid == self.id && *end <= bytes.len())?;
        bytes.truncate(end);
        let nonce = Nonce::assume_unique_for_key(seal.nonce);
        let opened = self.unbound().ok()?.open_within(nonce, aad, &mut bytes, seal.start..);
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    fn unbound(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &*self.bytes).ok().context("AES-256-GCM cannot be used")?;
        Ok(LessSafeKey::new(key))
    }
}

/// Whether a file begins as a sealed file does.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGINS)
}

/// A key's name: a part of its SHA-256 digest, so that a wrong key is recognized.
fn name(bytes: &[u8; 32]) -> String {
    digest(&SHA256, bytes).as_ref()[..4].iter().fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// The header of a sealed file, parsed.
pub(super) struct Seal {
    /// The name of the key.
    pub(super) kid: String,
    nonce: [u8; 12],
    /// Where the sealed bytes begin, and how many there are, including the tag.
    start: usize,
    size: usize,
}

impl Seal {
    /// Parses the header of a file; `None` if it is damaged.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().take(LONGEST).position(|byte| *byte == b'\n')?;
        let header: Header<'_> = serde_json::from_slice(&bytes[..end]).ok()?;
        let plain = header.kid.len() == 8 && header.kid.bytes().all(|byte| byte.is_ascii_hexdigit());
        if (header.version, header.alg, plain) != (SEALED, ALGORITHM, true) {
            return None;
        }
        let nonce = BASE64.decode(header.nonce).ok()?.try_into().ok()?;
        Some(Self { kid: header.kid.to_owned(), nonce, start: end + 1, size: header.size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: &[u8] = b"{\"version\":2,\"authority\":\"https://id.example.com\",\"refresh_token\":\"r\"}";

    fn key() -> Key {
        Key::of(Zeroizing::new(*b"0123456789abcdef0123456789abcdef"))
    }

    /// Opens `bytes` as the session `name`.
    fn opened(key: &Key, name: &str, bytes: Buffer) -> Option<Buffer> {
        let seal = Seal::of(&bytes)?;
        key.open(name, &seal, bytes)
    }

    fn sealed() -> Buffer {
        key().seal("id.example.com-0", CLEAR.to_vec().into()).unwrap()
    }

    #[test]
    fn what_is_sealed_can_be_opened_by_its_key_under_its_name_alone() {
        let sealed = sealed();
        let text = String::from_utf8_lossy(&sealed).into_owned();
        let id = key().id().to_owned();
        assert!(
            text.starts_with(&format!("{{\"version\":3,\"alg\":\"A256GCM\",\"kid\":\"{id}\",\"nonce\":\"")),
            "{text}"
        );
        assert!(!text.contains("authority") && !text.contains("id.example.com"), "{text}");
        assert!(is_sealed(&sealed) && !is_sealed(CLEAR));
        assert_eq!(Seal::of(&sealed).map(|seal| seal.kid), Some(id));
        assert!(sealed.len() <= CLEAR.len() + OVERHEAD);
        assert_eq!(**opened(&key(), "id.example.com-0", sealed.clone()).unwrap(), *CLEAR);
        assert_eq!(opened(&key(), "id.example.com-1", sealed.clone()), None);
        let other = Key::of(Zeroizing::new([7; 32]));
        assert_eq!(opened(&other, "id.example.com-0", sealed.clone()), None);
        let left = [&sealed[..], b"    "].concat();
        assert_eq!(**opened(&key(), "id.example.com-0", left.into()).unwrap(), *CLEAR);
    }

    #[test]
    fn another_key_under_the_same_name_opens_nothing() {
        let other = Key::called(key().id(), Zeroizing::new([7; 32]));
        assert_eq!(opened(&other, "id.example.com-0", sealed()), None);
        assert!(!other.is_itself() && Key::called(key().id(), key().bytes).is_itself());
    }

    #[test]
    fn no_nonce_is_used_twice() {
        assert_ne!(sealed(), sealed());
    }

    #[test]
    fn whichever_bit_is_flipped_or_byte_is_missing_nothing_is_opened() {
        let sealed = sealed();
        for at in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(opened(&key(), "id.example.com-0", flipped), None, "bit {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(opened(&key(), "id.example.com-0", sealed[..length].to_vec().into()), None, "{length} bytes");
        }
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let hexadecimal = "3031323334353637383961626364656630313233343536373839616263646566";
        for text in [&*key().text(), hexadecimal, " MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"] {
            assert_eq!(Key::parse(text).map(|key| key.id), Some(key().id), "{text}");
        }
        for text in ["", "MDEyMzQ1", &hexadecimal[2..], &hexadecimal.replace('3', "x")] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
    }
}
