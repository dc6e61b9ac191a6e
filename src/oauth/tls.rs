//! TLS: which servers are trusted, and descriptions of what went wrong.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use rustls_platform_verifier::Verifier;
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Encrypts a connection if the address is https.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// The certificates in `ca-file`.
    named: Arc<Vec<CertificateDer<'static>>>,
    config: Arc<OnceLock<Result<Arc<ClientConfig>, Error>>>,
}

impl Tls {
    /// Trusts the platform's certificate authorities and these certificates.
    pub(super) fn new(named: Vec<CertificateDer<'static>>) -> Self {
        Self { named: Arc::new(named), config: Arc::default() }
    }

    /// Starts to read the trust store in a thread while the connection is made.
    pub(super) fn prepare(&self) {
        if self.config.get().is_none() {
            let tls = self.clone();
            // If no thread can be started, the store is read after connecting.
            let _ = Builder::new().spawn(move || drop(tls.config()));
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        self.config.get_or_init(|| configured(&self.named).map(Arc::new)).clone()
    }
}

fn configured(named: &[CertificateDer<'static>]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if cfg!(target_vendor = "apple") && named.is_empty() {
        Arc::new(Verifier::new(Arc::clone(&provider))?)
    } else {
        Arc::new(Trusting::new(named, bundle(), &provider)?)
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The authorities in the system's bundle file; `None` if there is none or the environment names other files. The
/// folder of authorities holds nearly always the same ones, and takes twice as long to read.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn bundle() -> Option<Vec<CertificateDer<'static>>> {
    if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let file = openssl_probe::probe().cert_file?;
    Some(rustls_native_certs::load_certs_from_paths(Some(&file), None).certs)
        .filter(|certificates| !certificates.is_empty())
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn bundle() -> Option<Vec<CertificateDer<'static>>> {
    None
}

/// Trusts the system's authorities, those in `ca-file`, and a server's own certificate if it is in `ca-file`, even if
/// it is marked as an authority's, as `openssl req -x509` marks it.
#[derive(Debug)]
struct Trusting {
    authorities: Arc<WebPkiServerVerifier>,
    /// The certificates in `ca-file`.
    named: Vec<CertificateDer<'static>>,
    /// Verifies with all of the system's authorities, if `authorities` has only those of the bundle. Read when the
    /// bundle does not know a server's authority. `None` if there are no others.
    all: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    provider: Arc<CryptoProvider>,
}

impl Trusting {
    fn new(
        named: &[CertificateDer<'static>],
        bundle: Option<Vec<CertificateDer<'static>>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let all = if bundle.is_some() { OnceLock::new() } else { OnceLock::from(None) };
        let system = bundle.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
        let authorities = verifier(named, system, provider)?;
        Ok(Self { authorities, named: named.to_vec(), all, provider: Arc::clone(provider) })
    }

    /// The verifier with all of the system's authorities, if the bundle may lack some.
    fn all(&self) -> Option<&WebPkiServerVerifier> {
        let read = || verifier(&self.named, rustls_native_certs::load_native_certs().certs, &self.provider).ok();
        self.all.get_or_init(read).as_deref()
    }
}

/// A verifier that trusts these authorities.
fn verifier(
    named: &[CertificateDer<'static>],
    system: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(named.iter().cloned());
    roots.add_parsable_certificates(system);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|e| Error::General(e.to_string()))
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verified = self.authorities.verify_server_cert(server, others, name, ocsp, now);
        if matches!(verified, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
            && let Some(all) = self.all()
        {
            verified = all.verify_server_cert(server, others, name, ocsp, now);
        }
        match verified {
            // This error comes after the check of the validity period, so only the name remains to be checked.
            Err(Error::InvalidCertificate(why)) if is_of_an_authority(&why) && self.named.contains(server) => {
                verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a server's certificate was refused because it is marked as an authority's.
fn is_of_an_authority(why: &CertificateError) -> bool {
    let CertificateError::Other(other) = why else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Encrypted>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("its host name cannot be checked"))?;
        let mut connection = ClientConnection::new(self.config()?, name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Encrypted { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// An encrypted connection.
pub(super) struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Describes for a person why a connection could not be encrypted.
pub(super) fn described(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("its certificate is not trusted ({})", untrusted(why)),
        Error::NoCertificatesPresented => "it shows no certificate".into(),
        Error::InvalidMessage(_) => "it does not speak TLS; is the port right?".into(),
        Error::PeerIncompatible(_)
        | Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity,
        ) => "it speaks no TLS that is safe (1.2 or 1.3)".into(),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => "its TLS knows no host of this name".into(),
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate | AlertDescription::BadCertificate,
        ) => "it wants a certificate from its clients, which keyfob does not have".into(),
        Error::AlertReceived(alert) => format!("it ended the connection (TLS alert {alert:?})"),
        _ => "its TLS is not right".into(),
    }
}

/// Describes what is wrong with a certificate.
fn untrusted(why: &CertificateError) -> &'static str {
    use CertificateError as Why;
    match why {
        Why::Expired | Why::ExpiredContext { .. } => "it has expired; is this machine's clock right?",
        Why::NotValidYet | Why::NotValidYetContext { .. } => "it is not valid yet; is this machine's clock right?",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "it is for another host",
        Why::UnknownIssuer => "its authority is not known here; `ca-file` names one",
        Why::Revoked => "it has been revoked",
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => "it is not one for servers",
        Why::BadSignature => "its signature is not right",
        Why::UnsupportedSignatureAlgorithmContext { .. }
        | Why::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed in a way that is not accepted here"
        }
        why if is_of_an_authority(why) => "it is signed by itself; `ca-file` can name it",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{InvalidMessage, OtherError, PeerIncompatible};

    #[test]
    fn every_failure_has_words() {
        let certificate = |why| Error::InvalidCertificate(why);
        let authority = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        for (error, words) in [
            (certificate(CertificateError::Revoked), "its certificate is not trusted (it has been revoked)"),
            (certificate(CertificateError::BadEncoding), "its certificate is not trusted (it cannot be read)"),
            (
                certificate(CertificateError::Other(authority)),
                "its certificate is not trusted (it is signed by itself; `ca-file` can name it)",
            ),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "it does not speak TLS; is the port right?"),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "it speaks no TLS that is safe (1.2 or 1.3)",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "it wants a certificate from its clients, which keyfob does not have",
            ),
            (
                Error::AlertReceived(AlertDescription::InternalError),
                "it ended the connection (TLS alert InternalError)",
            ),
            (Error::HandshakeNotComplete, "its TLS is not right"),
        ] {
            assert_eq!(described(&error), words);
        }
    }
}
