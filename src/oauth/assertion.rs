//! Client assertions (RFC 7523, section 2.2): a JWT that the client signs to authenticate, instead of sending a secret.
//!
//! If the client has a certificate, the header holds its thumbprint (`x5t#S256`, RFC 7515, section 4.1.8); if there are
//! several certificates, it also holds the whole chain (`x5c`), as Microsoft Entra ID requires.
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use crate::clock::Timestamp;
use crate::config::ClientKey;
use crate::failure::{Exit, Failure};
use crate::secret::{Buffer, Secret};
use crate::text::shell_quoted;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{Signer, SigningKey};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// How long an assertion is valid, in seconds. It is used at once, and every server accepts this lifetime.
const LIFE: u64 = 300;
/// The most bytes read from a key or certificate file.
const LARGEST: u64 = 1 << 20;

/// A client's private key, and how the provider identifies it.
pub(super) struct Key {
    signer: Box<dyn Signer>,
    /// The JWT header without `typ`.
    header: Value,
}

impl Key {
    /// Reads the files. Fails with exit code 2 if they hold no usable key, with a hint how to convert them.
    pub(super) fn read(files: &ClientKey) -> Result<Self, Failure> {
        let key = signing_key(&files.file)?;
        let wrong = |what: &str| Failure::usage(format!("the client key {} {what}", files.file.display()));
        let chain = files.certificates.as_deref().map(|file| chain(file, &*key)).transpose()?;
        let (scheme, algorithm) = [
            // Servers that use certificates (Microsoft Entra ID) want RSA-PSS; without a certificate it is skipped.
            (SignatureScheme::RSA_PSS_SHA256, "PS256"),
            (SignatureScheme::RSA_PKCS1_SHA256, "RS256"),
            (SignatureScheme::ECDSA_NISTP256_SHA256, "ES256"),
            (SignatureScheme::ECDSA_NISTP384_SHA384, "ES384"),
            (SignatureScheme::ED25519, "EdDSA"),
        ]
        .into_iter()
        .filter(|(_, algorithm)| *algorithm != "PS256" || chain.is_some())
        .find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
        .ok_or_else(|| wrong("is of a kind that no server takes"))?;
        let signer = key.choose_scheme(&[scheme]).ok_or_else(|| wrong("signs nothing"))?;
        let mut header = json!({ "alg": algorithm });
        if let Some(id) = &files.id {
            header["kid"] = json!(id);
        }
        if let Some(chain) = chain {
            header["x5t#S256"] = json!(URL_SAFE_NO_PAD.encode(digest(&SHA256, &chain[0])));
            if chain.len() > 1 {
                header["x5c"] = chain.iter().map(|certificate| STANDARD.encode(certificate)).collect();
            }
        }
        Ok(Self { signer, header })
    }

    /// An assertion that identifies `client` to `audience`, valid for five minutes from now. Fails, with the reason, if
    /// the key cannot sign.
    pub(super) fn assertion(&self, client: &str, audience: &str) -> Result<Secret, String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| format!("the system gives no random bytes: {error}"))?;
        let now = Timestamp::now();
        let mut header = self.header.clone();
        header["typ"] = json!("JWT");
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": now.0,
            "iat": now.0,
            "exp": now.plus(LIFE).0,
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.signer.sign(signed.as_bytes()).ok();
        let signature = signature.and_then(|signature| match self.signer.scheme() {
            SignatureScheme::ECDSA_NISTP256_SHA256 => fixed(&signature, 32),
            SignatureScheme::ECDSA_NISTP384_SHA384 => fixed(&signature, 48),
            _ => Some(signature),
        });
        let signature = signature.ok_or("the client's key does not sign")?;
        Ok(Secret::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// Converts an ECDSA signature from ASN.1, as TLS uses it, to two numbers of `size` bytes each (RFC 7518, section 3.4).
fn fixed(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    /// Splits an ASN.1 element of this kind into its contents and the bytes that follow it. None here is longer than
    /// 127 bytes.
    fn element(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
        let (&[found, length], rest) = bytes.split_first_chunk::<2>()?;
        if found != kind || length > 0x7f { None } else { rest.split_at_checked(length.into()) }
    }
    let (numbers, _) = element(signature, 0x30)?;
    let (r, rest) = element(numbers, 0x02)?;
    let (s, _) = element(rest, 0x02)?;
    let mut both = Vec::with_capacity(2 * size);
    for number in [r, s] {
        // Drop leading zeros; ASN.1 adds one to keep a number positive.
        let digits = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        both.extend(std::iter::repeat_n(0, size.checked_sub(digits.len())?));
        both.extend_from_slice(digits);
    }
    Some(both)
}

/// Reads a file of a client. `what` says in an error what it is.
pub(super) fn contents(file: &Path, what: &str) -> Result<Buffer, Failure> {
    let mut bytes = Buffer::default();
    let read = std::fs::File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    let wrong = |error| Failure::usage(format!("could not read the {what} {}: {error}", file.display()));
    read.map_err(wrong)?;
    Ok(bytes)
}

fn signing_key(file: &Path) -> Result<Arc<dyn SigningKey>, Failure> {
    let bytes = contents(file, "client key")?;
    let wrong = |what: &str| Failure::usage(format!("the client key {} {what}", file.display()));
    let made = |command: &str| format!("openssl {command} -in {} -out key.pem", shell_quoted(&file.to_string_lossy()));
    let holds = |words: &str| bytes.windows(words.len()).any(|window| window == words.as_bytes());
    // This is DER, e.g. PKCS #12 from a .pfx file.
    if bytes.first() == Some(&0x30) {
        return Err(wrong("is not PEM").run(made("pkcs12 -nodes")));
    }
    if holds("ENCRYPTED") {
        return Err(wrong("is encrypted, and nobody is here to type its password").run(made("pkey")));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| wrong("holds no private key").hint("it must be PEM: `-----BEGIN PRIVATE KEY-----`"))?;
    any_supported_type(&key).map_err(|_| {
        wrong("is of a kind that cannot be used").hint("RSA of 2048 bits or more, P-256, P-384, or Ed25519")
    })
}

/// The certificates in a file, beginning with the key's own.
fn chain(file: &Path, key: &dyn SigningKey) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = contents(file, "client certificate")?;
    let wrong = |what: &str| {
        let message = format!("the client certificate {} {what}", file.display());
        Failure::new(Exit::Usage, message).hint("it must be PEM, of the key that `client-key-file` names")
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let mut found = found.ok().filter(|found| !found.is_empty()).ok_or_else(|| wrong("holds no certificate"))?;
    let public = key.public_key().ok_or_else(|| wrong("cannot be compared with the key"))?;
    // Only the key's own certificate contains the whole public key.
    let is_own = |certificate: &CertificateDer<'_>| certificate.windows(public.len()).any(|part| part == &public[..]);
    let own = found.iter().position(is_own).ok_or_else(|| wrong("is another key's"))?;
    found.swap(0, own);
    Ok(found)
}
