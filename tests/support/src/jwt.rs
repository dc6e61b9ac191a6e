//! JSON Web Tokens signed for real, so that any program that checks signatures can be pointed at the provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

const KEY_ID: &str = "test-key-1";

/// One ES256 key, new for each provider.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a new key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
            .expect("the key just made");
        Self { key, random }
    }

    /// A signed token; `kind` is the `typ` of its header.
    pub(crate) fn sign(&self, kind: &str, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": KEY_ID, "typ": kind });
        let mut token = [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.key.sign(&self.random, token.as_bytes()).expect("a signature");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// What `/jwks` answers.
    pub(crate) fn jwks(&self) -> Value {
        // The public key is 0x04 followed by the two coordinates.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y }] })
    }
}

/// A secret of 256 bits that is safe in a URL.
pub(crate) fn random_secret(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

/// Random bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("randomness");
    bytes
}

/// The claims of a JWT, unverified; `None` for anything else.
pub fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// The header of a JWT.
pub fn header(token: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?).ok()
}

/// A token with these claims that nobody has signed, for what does not check signatures.
pub fn unsigned(claims: &Value) -> String {
    let parts = [json!({ "alg": "none" }), claims.clone()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{}.c2ln", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn the_published_key_verifies_the_signature() {
        let signer = Signer::new();
        let token = signer.sign("JWT", &json!({ "sub": "alice" }));
        assert_eq!(claims(&token), Some(json!({ "sub": "alice" })));

        let jwks = signer.jwks();
        let mut public = vec![4];
        for part in ["x", "y"] {
            public.extend(URL_SAFE_NO_PAD.decode(jwks["keys"][0][part].as_str().unwrap()).unwrap());
        }
        let (text, signature) = token.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
    }
}
