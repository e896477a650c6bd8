//! TLS: the port's certificate and, where configured, the peers' own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_api::{FaultClass, SettingsProblem, SourceError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The files of an encrypted port, in PEM form; relative to the configuration file.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that lead from it to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of senders' certificates. A sender must show one where this is set.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Names of which a sender's certificate must bear one (as subject alternative name); any
    /// certificate of `client_ca` will do where left out.
    #[serde(default)]
    pub client_names: Vec<String>,
}

impl Tls {
    /// Reports what is wrong with the settings; the files are looked at when the port is opened.
    pub fn check(&self, problems: &mut Vec<SettingsProblem>) {
        for (at, name) in self.client_names.iter().enumerate() {
            if ServerName::try_from(name.as_str()).is_err() {
                let path = format!("settings.tls.client_names[{at}]");
                problems.push(SettingsProblem::new(path, "is neither a host's name nor an address"));
            }
        }
        if !self.client_names.is_empty() && self.client_ca.is_none() {
            problems.push(
                SettingsProblem::new("settings.tls.client_names", "means nothing without `client_ca`")
                    .hint("name the authority of the senders' certificates in `client_ca`"),
            );
        }
    }
}

/// The certificates of an open port.
pub(crate) struct Encryption {
    acceptor: TlsAcceptor,
    asks_peers: bool,
    /// Of which a peer's certificate must bear one, where there are any.
    names: Vec<ServerName<'static>>,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Reads the files. They are read once, when the port is opened: a new certificate takes effect
    /// when the source is started again.
    pub(crate) fn read(tls: &Tls, base_dir: &Path, protocol: Option<&str>) -> Result<Encryption, SourceError> {
        let failed = |path: &Path, cause: Cause| {
            SourceError::retry(FaultClass::Tls, format!("set up TLS with the file {}", path.display()))
                .because(cause)
                .hint("certificates and keys are PEM files that hisync must be allowed to read")
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&base_dir.join(&tls.certificate)).map_err(|cause| failed(&tls.certificate, cause))?;
        let key =
            PrivateKeyDer::from_pem_file(base_dir.join(&tls.key)).map_err(|cause| failed(&tls.key, cause.into()))?;
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
        let mut config =
            builder.with_single_cert(chain, key).map_err(|cause| failed(&tls.certificate, cause.into()))?;
        config.alpn_protocols = protocol.iter().map(|name| name.as_bytes().to_vec()).collect();
        let names = tls.client_names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok()).collect();
        Ok(Encryption { acceptor: TlsAcceptor::from(Arc::new(config)), asks_peers: tls.client_ca.is_some(), names })
    }

    pub(crate) fn asks_peers(&self) -> bool {
        self.asks_peers
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.acceptor.accept(stream).await?;
        if self.names.is_empty() || self.bears_a_name(&stream) {
            return Ok(stream);
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer's certificate bears none of client_names"))
    }

    fn bears_a_name(&self, stream: &TlsStream<TcpStream>) -> bool {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(Ok(certificate)) = shown.map(ParsedCertificate::try_from) else { return false };
        self.names.iter().any(|name| verify_server_name(&certificate, name).is_ok())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    if found.is_empty() { Err(pem::Error::NoItemsFound.into()) } else { Ok(found) }
}

fn verifier(path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Cause> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities.add(certificate)?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?)
}
