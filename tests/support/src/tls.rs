//! A private certificate authority that lives as long as the test.
//!
//! keyfob speaks https to everything but loopback, so a test of the real thing needs a certificate that nobody
//! else trusts, and a `ca-file` that makes it trusted.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

use crate::options::Certificate;

/// A certificate authority and the server certificate it signed.
pub(crate) struct Authority {
    folder: TempDir,
    config: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new(kind: Certificate) -> Self {
        let ca_key = KeyPair::generate().expect("a key for the authority");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "keyfob test authority");
        let ca_pem = ca.self_signed(&ca_key).expect("the authority's certificate").pem();

        let key = KeyPair::generate().expect("a key for the server");
        // An address among the names becomes an IP entry of the certificate.
        let names = match kind {
            Certificate::OtherHost | Certificate::OwnAuthorityOfOther => vec!["elsewhere.example".to_owned()],
            _ => ["localhost", "127.0.0.1", "0.0.0.0", "id", "id.lab.example", "id.hosts.example"]
                .map(str::to_owned)
                .to_vec(),
        };
        let mut leaf = CertificateParams::new(names).expect("the server's names");
        leaf.distinguished_name.push(DnType::CommonName, "keyfob test server");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        match kind {
            Certificate::Expired | Certificate::OwnAuthorityExpired => leaf.not_after = date_time_ymd(2020, 1, 1),
            Certificate::NotYet => leaf.not_before = date_time_ymd(3000, 1, 1),
            _ => {}
        }
        let is_own = matches!(
            kind,
            Certificate::OwnAuthority | Certificate::OwnAuthorityOfOther | Certificate::OwnAuthorityExpired
        );
        if is_own {
            leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = match kind {
            Certificate::SelfSigned => leaf.self_signed(&key),
            _ if is_own => leaf.self_signed(&key),
            _ => leaf.signed_by(&key, &Issuer::new(ca, ca_key)),
        };
        let certificate = certificate.expect("the server's certificate");

        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        // Named rather than taken from the process: a test binary may hold another TLS library's default.
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every version of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a key that fits its certificate");

        let folder = TempDir::with_prefix("keyfob-test-ca-").expect("a temporary folder");
        let authority = Self { folder, config: Arc::new(config) };
        let trusted = if is_own { certificate.pem() } else { ca_pem };
        fs::write(authority.path(), trusted).expect("writing the authority's certificate");
        authority
    }

    /// The authority's certificate in PEM form.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
