//! The sockets: accepting, encrypting, serving, stopping.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connector_api::{
    CancellationToken, Endpoint, FaultClass, Intake, Listener, SourceError, SourceId, SourceSpec, async_trait,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::auth::is_allowed;
use crate::body::STOP_WAIT;
use crate::desk::Desk;
use crate::settings::{Checked, Limits, Settings, Stream, Tls};

/// A pause after the system refused a connection (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener of one source.
pub(crate) struct WebhookListener {
    source: SourceId,
    address: SocketAddr,
    limits: Limits,
    peers: Vec<IpNet>,
    desk: Arc<Desk>,
    tls: Option<Tls>,
    base_dir: PathBuf,
    opened: Option<Opened>,
}

/// An open port, and how what comes to it is decrypted.
struct Opened {
    socket: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl WebhookListener {
    pub(crate) fn new(source: &SourceSpec<Settings, Stream>, checked: Checked, desk: Arc<Desk>) -> WebhookListener {
        let Checked { address, limits, peers } = checked;
        WebhookListener {
            source: source.id.clone(),
            address,
            limits,
            peers,
            desk,
            tls: source.settings.tls.clone(),
            base_dir: source.base_dir.clone(),
            opened: None,
        }
    }

    /// Reads the secret and the certificate, so that their absence shows now and not at the first
    /// request, and binds the port.
    async fn bind(&self) -> Result<Opened, SourceError> {
        self.desk.guard.try_secret().map_err(|error| {
            SourceError::retry(FaultClass::Login, "read the secret that senders must know").because(error)
        })?;
        let acceptor = self.tls.as_ref().map(|tls| crate::tls::acceptor(tls, &self.base_dir)).transpose()?;
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
        Ok(Opened { socket, acceptor })
    }
}

#[async_trait]
impl Listener for WebhookListener {
    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let opened = self.bind().await?;
        let address = opened.socket.local_addr().unwrap_or(self.address);
        let scheme = if opened.acceptor.is_some() { "https" } else { "http" };
        self.opened = Some(opened);
        Ok(Endpoint(format!("{scheme}://{address}")))
    }

    async fn serve(mut self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        let Opened { socket, acceptor } = match self.opened.take() {
            Some(opened) => opened,
            None => self.bind().await?,
        };
        let WebhookListener { source, limits, peers, desk, .. } = *self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => report(&source, ended),
                accepted = socket.accept() => match accepted {
                    Ok((_, peer)) if !is_allowed(&peers, peer.ip()) => {
                        desk.gripes.warn("peer", peer.ip(), "a peer outside of allowed_peers was turned away");
                    }
                    Ok((_, peer)) if connections.len() >= limits.connections => {
                        desk.gripes.warn("connections", peer.ip(), "too many connections");
                    }
                    Ok((stream, peer)) => {
                        let connection =
                            Connection { desk: Arc::clone(&desk), intake: Arc::clone(&intake), limits, peer };
                        connections.spawn(connection.serve(stream, acceptor.clone(), stop.clone()));
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
            report(&source, ended);
        }
        Ok(())
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

struct Connection {
    desk: Arc<Desk>,
    intake: Arc<dyn Intake>,
    limits: Limits,
    peer: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, stop: CancellationToken) {
        // An answer must not wait for the next one to fill a packet.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else { return self.converse(stream, stop).await };
        let shaken = tokio::select! {
            () = stop.cancelled() => return,
            shaken = tokio::time::timeout(self.limits.header, acceptor.accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.converse(stream, stop).await,
            Ok(Err(error)) => self.desk.gripes.warn("tls", self.peer.ip(), &format!("no TLS handshake: {error}")),
            Err(_) => self.desk.gripes.warn("tls", self.peer.ip(), "no TLS handshake in time"),
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin, stop: CancellationToken) {
        let storing = AtomicBool::new(false);
        let service = service_fn(|request| self.desk.serve(request, self.peer, &*self.intake, &stop, &storing));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header)
                // A peer that ends its side after the request still gets its answer, and one that
                // is gone does not stop the storing of what it sent completely.
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(STOP_WAIT + ACCEPT_PAUSE, connection.as_mut()).await {
                    Ok(ended) => ended,
                    // The agent bounds how long storing may take; then comes the answer.
                    Err(_) if storing.load(Ordering::SeqCst) => connection.await,
                    Err(_) => Ok(()),
                }
            }
        };
        match ended {
            Ok(()) => tracing::debug!(source = %self.desk.source, peer = %self.peer, "closed"),
            Err(error) if error.is_user() => {}
            Err(error) if error.is_timeout() => {
                tracing::debug!(source = %self.desk.source, peer = %self.peer, "idle, or slow to send a head");
            }
            Err(error) => self.desk.gripes.warn("broken", self.peer.ip(), &error.to_string()),
        }
    }
}
