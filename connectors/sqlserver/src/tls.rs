//! TLS as this connector wants it: trust by authority or by fingerprint, and errors that name a cure.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use connector_api::{FaultClass, SourceError};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme, version,
};

use crate::settings::Trust;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Reads a fingerprint as people write it.
pub(crate) fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    hex::decode(digits).ok()?.try_into().ok()
}

/// Decides about the server's certificate, and remembers which one was presented.
#[derive(Debug)]
pub(crate) struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
    presented: Mutex<Option<[u8; 32]>>,
}

#[derive(Debug)]
enum Rule {
    Authorities(Arc<WebPkiServerVerifier>),
    Pinned([u8; 32]),
    Any,
}

impl Verifier {
    fn presented(&self) -> Option<String> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner).map(hex::encode)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest: [u8; 32] = Sha256::digest(end_entity).into();
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        match &self.rule {
            Rule::Authorities(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Rule::Pinned(pin) if *pin == digest => Ok(ServerCertVerified::assertion()),
            Rule::Pinned(_) => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
            Rule::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    /// That the server holds the certificate's key. Of no use where any certificate will do, and old
    /// self-signed ones have keys that are refused here.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.rule {
            Rule::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.rule {
            Rule::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a handshake needs. Files are read each time, so a new one takes effect with the next
/// connection.
pub(crate) fn client(trust: &Trust, base_dir: &Path) -> Result<(Arc<ClientConfig>, Arc<Verifier>), SourceError> {
    let failed = |cause: Cause| {
        let what = match trust {
            Trust::Ca(path) => format!("read the authorities in {}", path.display()),
            _ => "read this machine's certificate authorities".to_owned(),
        };
        SourceError::stop(FaultClass::Tls, what)
            .because(cause)
            .hint("settings.trust names a PEM file that hisync must be allowed to read, or pin the certificate")
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let rule = match trust {
        Trust::Any => Rule::Any,
        Trust::Sha256(text) => Rule::Pinned(pin(text).ok_or_else(|| failed("this is no SHA-256".into()))?),
        Trust::System | Trust::Ca(_) => {
            let roots = Arc::new(roots(trust, base_dir).map_err(failed)?);
            let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            Rule::Authorities(built.map_err(|cause| failed(cause.into()))?)
        }
    };
    let verifier = Arc::new(Verifier { rule, provider: Arc::clone(&provider), presented: Mutex::default() });
    // Inside TDS 7 there is no TLS 1.3.
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS12])
        .map_err(|cause| failed(cause.into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier))
        .with_no_client_auth();
    Ok((Arc::new(config), verifier))
}

fn roots(trust: &Trust, base_dir: &Path) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    if let Trust::Ca(path) = trust {
        for certificate in CertificateDer::pem_file_iter(base_dir.join(path))? {
            roots.add(certificate?)?;
        }
    } else {
        // Some machines hold a few that can't be read; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() { Err("there is no certificate in it".into()) } else { Ok(roots) }
}

/// A handshake failed: whose fault it is, and what to do.
pub(crate) fn classify(operation: String, cause: io::Error, verifier: &Verifier) -> SourceError {
    const OLD: &str = "the server seems to know only old TLS, as SQL Server 2008 to 2014 without updates do: have TLS 1.2 \
                       enabled there, or read it through the odbc connector with FreeTDS; `encryption = \"off\"` works \
                       where the server does not force encryption, but then the password travels readable";
    let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let (error, hint) = match tls {
        Some(Error::InvalidCertificate(reason)) => {
            let presented = verifier.presented().unwrap_or_default();
            let why = match (&verifier.rule, reason) {
                (Rule::Pinned(_), _) => "it is not the pinned one",
                (_, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                    "it is for another name: see settings.certificate_name"
                }
                (_, CertificateError::Expired | CertificateError::ExpiredContext { .. }) => "it has expired",
                _ => "no trusted authority vouches for it",
            };
            let hint = format!(
                "the server's certificate has the SHA-256 {presented}, and {why}. If its administrator confirms that \
                 fingerprint, set trust = {{ sha256 = \"{presented}\" }}. A server without a certificate of its own makes \
                 a new one at each start, which can't be pinned: have one installed, or set trust = \"any\""
            );
            (SourceError::stop(FaultClass::Tls, operation), hint)
        }
        Some(
            Error::AlertReceived(
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity,
            )
            | Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::NoCipherSuitesInCommon,
            ),
        ) => (SourceError::stop(FaultClass::Tls, operation), OLD.to_owned()),
        Some(_) => {
            let hint = "the server's TLS is broken, or its key is too short (under 2048 bits): have it renewed";
            (SourceError::stop(FaultClass::Tls, operation), hint.to_owned())
        }
        // Windows closes the connection where it finds no common version; so does a server that stops.
        None => {
            (SourceError::retry(FaultClass::Tls, operation), format!("the server hung up during the handshake: {OLD}"))
        }
    };
    error.because(cause).hint(hint)
}
