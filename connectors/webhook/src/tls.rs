//! HTTPS: the port's certificate and, where configured, the senders' own.

use std::path::Path;
use std::sync::Arc;

use connector_api::{FaultClass, SourceError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::settings::Tls;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Reads the files. They are read once, when the port is opened: a new certificate takes effect
/// when the source is started again.
pub(crate) fn acceptor(tls: &Tls, base_dir: &Path) -> Result<TlsAcceptor, SourceError> {
    let failed = |path: &Path, cause: Cause| {
        SourceError::retry(FaultClass::Tls, format!("set up HTTPS with the file {}", path.display()))
            .because(cause)
            .hint("certificates and keys are PEM files that hisync must be allowed to read")
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&base_dir.join(&tls.certificate)).map_err(|cause| failed(&tls.certificate, cause))?;
    let key = PrivateKeyDer::from_pem_file(base_dir.join(&tls.key)).map_err(|cause| failed(&tls.key, cause.into()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| failed(&tls.certificate, cause.into()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = verifier(&base_dir.join(path), provider).map_err(|cause| failed(path, cause))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|cause| failed(&tls.certificate, cause.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    if found.is_empty() { Err(pem::Error::NoItemsFound.into()) } else { Ok(found) }
}

fn verifier(
    path: &Path,
    provider: Arc<tokio_rustls::rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Cause> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities.add(certificate)?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?)
}
