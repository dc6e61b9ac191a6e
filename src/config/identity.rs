//! The key of a session: everything that its grant was requested for. Two profiles that differ in any of it have
//! different sessions, and share no token, refresh token, prompt or error.

use siphasher::sip128::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::Read;
use std::path::PathBuf;

/// Largest `ca-file`, in bytes.
const LARGEST: u64 = 1 << 20;

/// Identifies a session. All profiles with the same key share the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey {
    /// The issuer; for a provider with many issuers, its home; if there is neither, the token endpoint.
    pub authority: String,
    /// The client id.
    pub client_id: String,
    /// The profile's `account`, or empty.
    pub label: String,
    /// Other settings that change the grant, by key: endpoints, `audience`, `resource`, the digest of a `ca-file`, and
    /// each `extra` parameter as `extra.NAME`. Keys that are not set are missing.
    pub parts: BTreeMap<String, String>,
}

impl SessionKey {
    /// A digest of the key, to which more can be added. Without parts it equals the digest from before there were
    /// parts, so that such a session keeps its file and its locks.
    pub fn digest(&self) -> SipHasher13 {
        let mut digest = SipHasher13::new();
        let named = self.parts.iter().flat_map(|(name, value)| [name, value]);
        for part in [&self.authority, &self.client_id, &self.label].into_iter().chain(named) {
            digest.write(&(part.len() as u64).to_le_bytes());
            digest.write(part.as_bytes());
        }
        digest
    }
}

/// The contents of a `ca-file`. They are read once, so that the session's key always describes what is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFile {
    /// The file's path.
    pub path: PathBuf,
    /// The file's contents, which should be PEM.
    pub pem: Vec<u8>,
}

impl CaFile {
    /// Reads the file, at most 1 MiB. The error says why it cannot be read.
    pub(super) fn read(path: PathBuf) -> Result<Self, String> {
        let mut pem = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut pem));
        match read {
            Ok(_) if pem.len() as u64 <= LARGEST => Ok(Self { path, pem }),
            Ok(_) => Err(format!("{} is larger than 1 MiB", path.display())),
            Err(error) => Err(format!("could not read the certificate file {}: {error}", path.display())),
        }
    }

    /// A digest of the contents, in hexadecimal.
    pub(super) fn digest(&self) -> String {
        format!("{:032x}", SipHasher13::new().hash(&self.pem).as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip128::Hasher128;

    fn key(parts: &[(&str, &str)]) -> SessionKey {
        SessionKey {
            authority: "https://id.example.com".into(),
            client_id: "k8s".into(),
            label: String::new(),
            parts: parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// Session files are named by this digest, so it must never change.
    #[test]
    fn a_session_without_parts_has_the_digest_it_always_had() {
        let digest = |parts: &[_]| format!("{:032x}", key(parts).digest().finish128().as_u128());
        assert_eq!(digest(&[]), "7671aaa6c79e431705ea1a213b1a47ce");
        assert_eq!(digest(&[("audience", "a")]), "33ff888c8d9e025356048004585da422");
    }

    #[test]
    fn no_two_sessions_have_one_digest() {
        let all = [
            key(&[]),
            key(&[("audience", "a")]),
            key(&[("resource", "a")]),
            key(&[("audience", "a"), ("resource", "a")]),
            key(&[("audiencea", "")]),
            key(&[("", "audiencea")]),
            SessionKey { label: "a".into(), ..key(&[]) },
        ];
        let mut digests: Vec<_> = all.iter().map(|key| key.digest().finish128().as_u128()).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn a_ca_file_is_read_once_and_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            CaFile::read(path)
        };
        let whole = usize::try_from(LARGEST).unwrap();
        let (one, same, other) = (read("a", b"x").unwrap(), read("b", b"x").unwrap(), read("c", b"y").unwrap());
        assert_eq!(
            (one.pem.as_slice(), one.digest() == same.digest(), one.digest() == other.digest()),
            (&b"x"[..], true, false)
        );
        assert_eq!(one.digest().len(), 32);
        assert_eq!(whole, 1024 * 1024);
        assert_eq!(read("d", &vec![b' '; whole]).unwrap().pem.len(), whole);
        assert!(read("e", &vec![b' '; whole + 1]).unwrap_err().ends_with("/e is larger than 1 MiB"));
    }
}
