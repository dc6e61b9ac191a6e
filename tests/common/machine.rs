//! Keys for machines, made by openssl, and checks of signatures made with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob_test_support::lookalike::Seen;
use ring::digest::{SHA256, digest};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Value, json};

/// A private key and a certificate, in files in a folder.
pub struct Keys {
    pub folder: tempfile::TempDir,
}

impl Keys {
    /// Makes a key of a kind that openssl knows, such as `rsa:2048`. `Err` says what is missing.
    pub fn new(kind: &[&str]) -> Result<Self, String> {
        let keys = Self { folder: tempfile::tempdir().unwrap() };
        keys.openssl(&[
            &[
                "req",
                "-x509",
                "-nodes",
                "-subj",
                "/CN=machine",
                "-days",
                "2",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
                "-newkey",
            ],
            kind,
        ])?;
        Ok(keys)
    }

    pub fn rsa() -> Result<Self, String> {
        Self::new(&["rsa:2048"])
    }

    pub fn ec() -> Result<Self, String> {
        Self::new(&["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    /// Of a kind that few providers take: by P-384, and by Ed25519.
    pub fn rare() -> Result<[Self; 2], String> {
        Ok([Self::new(&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"])?, Self::new(&["ed25519"])?])
    }

    /// Runs openssl in the folder; what it printed.
    pub fn openssl(&self, words: &[&[&str]]) -> Result<Vec<u8>, String> {
        let ran = Command::new("openssl").args(words.concat()).current_dir(self.folder.path()).output();
        let ran = ran.map_err(|error| format!("openssl: {error}"))?;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(ran.stdout)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The `x5t#S256` and `x5c` values of the certificate.
    pub fn certificate(&self) -> (String, String) {
        let der = self.openssl(&[&["x509", "-in", "cert.pem", "-outform", "DER"]]).unwrap();
        (URL_SAFE_NO_PAD.encode(digest(&SHA256, &der)), STANDARD.encode(der))
    }

    /// Whether this key signed the JWT with the algorithm in its header.
    pub fn signed(&self, token: &str) -> bool {
        let (text, signed) = token.rsplit_once('.').unwrap();
        let header = keyfob_test_support::jwt::header(token).unwrap();
        let (algorithm, public): (&dyn VerificationAlgorithm, _) = match header["alg"].as_str().unwrap() {
            "RS256" => (&signature::RSA_PKCS1_2048_8192_SHA256, self.rsa_public()),
            "PS256" => (&signature::RSA_PSS_2048_8192_SHA256, self.rsa_public()),
            "ES256" => (&signature::ECDSA_P256_SHA256_FIXED, self.public(65)),
            "ES384" => (&signature::ECDSA_P384_SHA384_FIXED, self.public(97)),
            "EdDSA" => (&signature::ED25519, self.public(32)),
            other => panic!("{other}"),
        };
        UnparsedPublicKey::new(algorithm, public)
            .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signed).unwrap())
            .is_ok()
    }

    /// The last bytes of the public key in DER: the key itself.
    fn public(&self, length: usize) -> Vec<u8> {
        let der = self.openssl(&[&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]]).unwrap();
        der[der.len() - length..].to_vec()
    }

    fn rsa_public(&self) -> Vec<u8> {
        self.openssl(&[&["rsa", "-in", "key.pem", "-RSAPublicKey_out", "-outform", "DER"]]).unwrap()
    }
}

/// The header and claims of a client assertion, without the times and the id, which are checked here.
#[track_caller]
pub fn checked_claims(seen: &Seen) -> (Value, Value) {
    let (header, mut claims) = seen.assertion("client_assertion").unwrap();
    let kind = seen.field("client_assertion_type").unwrap();
    assert_eq!(kind, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let claims_map = claims.as_object_mut().unwrap();
    let mut time = |name: &str| claims_map.remove(name).unwrap().as_i64().unwrap();
    let (issued, from, until) = (time("iat"), time("nbf"), time("exp"));
    let age = super::now() - issued;
    assert!((0..60).contains(&age) && from == issued && until == issued + 300, "{issued} {from} {until}");
    let number = claims_map.remove("jti").unwrap();
    assert_eq!(number.as_str().unwrap().len(), 22);
    (header, claims)
}

/// A token answer.
pub fn answer(token: &str) -> Value {
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 })
}

/// A file of this content, for a profile to name.
pub fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_string_lossy().into_owned()
}
