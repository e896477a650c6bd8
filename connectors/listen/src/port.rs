//! The port: opening it, letting peers in, closing it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{CancellationToken, FaultClass, Probe, SourceError, SourceId};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::server::TlsStream;

use crate::tls::Encryption;
use crate::{Gripes, Peers, Tls};

/// A pause after the system refused a connection (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which port a source listens on, and for whom.
#[derive(Clone, Debug)]
pub struct Port {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// How it is encrypted; not at all where left out.
    pub tls: Option<Tls>,
    /// What the paths in `tls` are relative to.
    pub base_dir: PathBuf,
    /// The protocol inside the encryption, for peers that ask for it by name (ALPN).
    pub protocol: Option<&'static str>,
    /// Who may connect.
    pub peers: Peers,
    /// How many connections may be open at once.
    pub connections: usize,
}

/// A port that is open.
#[derive(Debug)]
pub struct Opened {
    /// The real address.
    pub address: SocketAddr,
    socket: TcpListener,
    door: Arc<Door>,
    peers: Peers,
    connections: usize,
}

/// How what comes to an open port is decrypted.
#[derive(Debug)]
pub struct Door {
    source: SourceId,
    encryption: Option<Encryption>,
    gripes: Arc<Gripes>,
}

impl Port {
    /// Reads the certificates, so that their absence shows now and not at the first connection, and
    /// binds the port.
    pub async fn open(&self, source: &SourceId, gripes: Arc<Gripes>) -> Result<Opened, SourceError> {
        let encryption =
            self.tls.as_ref().map(|tls| Encryption::read(tls, &self.base_dir, self.protocol)).transpose()?;
        let socket = TcpListener::bind(self.address).await.map_err(|error| {
            let operation = format!("listen on {}", self.address);
            let fault = match error.kind() {
                io::ErrorKind::PermissionDenied => SourceError::stop(FaultClass::Bind, operation)
                    .hint("ports below 1024 need a privilege; choose another port"),
                io::ErrorKind::AddrInUse => SourceError::retry(FaultClass::Bind, operation)
                    .hint("another program, or another source, listens on this port"),
                _ => SourceError::retry(FaultClass::Bind, operation).hint("the address must be one of this machine"),
            };
            fault.because(error)
        })?;
        let address = socket.local_addr().unwrap_or(self.address);
        let door = Arc::new(Door { source: source.clone(), encryption, gripes });
        Ok(Opened { address, socket, door, peers: self.peers.clone(), connections: self.connections })
    }

    /// Opens the port for a moment, lets nobody in, and says what would be served.
    pub async fn probe(&self, source: &SourceId) -> Result<Probe, SourceError> {
        let opened = self.open(source, Arc::new(Gripes::new(source.clone()))).await?;
        let mut findings = vec![format!("the port {} is free", self.address)];
        match &opened.door.encryption {
            None => findings.push("connections are not encrypted".to_owned()),
            Some(encryption) if encryption.asks_peers() => {
                findings.push("the certificate and its key fit, and peers must show certificates".to_owned());
            }
            Some(_) => findings.push("the certificate and its key fit".to_owned()),
        }
        Ok(Probe { findings, ..Probe::default() })
    }
}

impl Opened {
    /// Lets peers in until `stop`, each served by a task of its own, then waits for those.
    ///
    /// The task gets the door, for [`Door::encrypted`].
    pub async fn serve<F>(self, stop: &CancellationToken, mut serve: impl FnMut(Arc<Door>, TcpStream, SocketAddr) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Opened { socket, door, peers, connections: limit, .. } = self;
        let (source, gripes) = (&door.source, &door.gripes);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => report(source, ended),
                accepted = socket.accept() => match accepted {
                    Ok((_, peer)) if !peers.allow(peer) => {
                        gripes.warn("peer", peer.ip(), "a peer outside of allowed_peers was turned away");
                    }
                    Ok((_, peer)) if connections.len() >= limit => {
                        gripes.warn("connections", peer.ip(), "too many connections");
                    }
                    Ok((stream, peer)) => {
                        // An answer must not wait for the next one to fill a packet.
                        let _ = stream.set_nodelay(true);
                        connections.spawn(serve(Arc::clone(&door), stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(%source, %error, "accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // The port is free at once, for whoever comes next.
        drop(socket);
        while let Some(ended) = connections.join_next().await {
            report(source, ended);
        }
    }
}

impl Door {
    /// Whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Sets up the encryption of a connection within a time. `None` where that failed, which is
    /// logged, where the agent stops, or where nothing is to be encrypted.
    pub async fn encrypted(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        within: Duration,
        stop: &CancellationToken,
    ) -> Option<TlsStream<TcpStream>> {
        let encryption = self.encryption.as_ref()?;
        let shaken = tokio::select! {
            () = stop.cancelled() => return None,
            shaken = tokio::time::timeout(within, encryption.accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => self.gripes.warn("tls", peer.ip(), &format!("no TLS handshake: {error}")),
            Err(_) => self.gripes.warn("tls", peer.ip(), "no TLS handshake in time"),
        }
        None
    }
}

/// One connection's panic is not another's.
fn report(source: &SourceId, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%source, "a connection's task panicked; the other connections go on");
    }
}
