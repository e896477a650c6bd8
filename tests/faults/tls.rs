//! TLS between the agent and whoever stands before upstream: handshakes that succeed, and all that do not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What becomes of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hands {
    /// The certificate's time is over.
    Expired,
    /// The certificate is another machine's.
    Elsewhere,
    /// An authority that nobody knows has signed the certificate.
    Stranger,
    /// The connection ends after the first message.
    Cut,
    /// The connection is reset after the first message.
    Reset,
    /// Half of the server's answer comes, then the connection ends.
    Half,
    /// Nothing comes after the first message.
    Stall,
    /// No version that both speak.
    Version,
    /// The server speaks HTTP in the clear.
    ClearText,
}

/// The server's certificates.
pub(crate) struct Tls {
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    elsewhere: Arc<ServerConfig>,
    stranger: Arc<ServerConfig>,
}

impl Tls {
    /// Those that lie in a folder.
    pub(crate) fn read(folder: &Path) -> Tls {
        let config = |name: &str| {
            let pem = std::fs::read(folder.join(format!("{name}.pem"))).unwrap();
            let chain = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
        };
        Tls {
            good: config("good"),
            expired: config("expired"),
            elsewhere: config("elsewhere"),
            stranger: config("stranger"),
        }
    }

    /// Shakes hands; `None` where that comes to nothing.
    pub(crate) fn greet(&self, mut tcp: TcpStream, hands: Option<Hands>) -> Option<Wire> {
        let config = match hands {
            Some(Hands::Expired) => &self.expired,
            Some(Hands::Elsewhere) => &self.elsewhere,
            Some(Hands::Stranger) => &self.stranger,
            _ => &self.good,
        };
        let mut connection = ServerConnection::new(config.clone()).ok()?;
        match hands {
            Some(Hands::Version) => {
                first_message(&mut tcp)?;
                // An alert: a protocol version that nobody speaks.
                return tcp.write_all(&[0x15, 3, 3, 0, 2, 2, 70]).ok().and(None);
            }
            Some(Hands::ClearText) => {
                first_message(&mut tcp)?;
                return tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok().and(None);
            }
            Some(Hands::Half) => {
                connection.read_tls(&mut tcp).ok()?;
                connection.process_new_packets().ok()?;
                let mut flight = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut flight).ok()?;
                }
                return tcp.write_all(&flight[..flight.len() / 2]).ok().and(None);
            }
            _ => {}
        }
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).ok()?;
        }
        Some(Wire::Sealed(Box::new(StreamOwned::new(connection, tcp))))
    }
}

/// Reads what a client says first.
pub(crate) fn first_message(tcp: &mut TcpStream) -> Option<()> {
    tcp.read(&mut [0; 4096]).ok().filter(|read| *read > 0).map(drop)
}

/// A connection, encrypted or not.
pub(crate) enum Wire {
    Plain(TcpStream),
    Sealed(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Wire::Plain(tcp) => tcp,
            Wire::Sealed(sealed) => &sealed.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(tcp) => tcp.read(into),
            Wire::Sealed(sealed) => sealed.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(tcp) => tcp.write(bytes),
            Wire::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Plain(tcp) => tcp.flush(),
            Wire::Sealed(sealed) => sealed.flush(),
        }
    }
}
