//! The connections of a port: serving and stopping.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connector_api::{
    CancellationToken, Endpoint, FaultClass, Intake, Listener, Probe, SourceError, SourceId, SourceSpec, async_trait,
};
use connector_listen::{Door, Opened, Port};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::body::STOP_WAIT;
use crate::desk::Desk;
use crate::settings::{Checked, Limits, Settings, Stream};

/// How long after a stop the answer to a request that was received may still take to leave.
const FAREWELL: Duration = Duration::from_millis(100);

/// The listener of one source.
pub(crate) struct WebhookListener {
    source: SourceId,
    port: Port,
    limits: Limits,
    desk: Arc<Desk>,
    opened: Option<Opened>,
}

impl WebhookListener {
    pub(crate) fn new(source: &SourceSpec<Settings, Stream>, checked: Checked, desk: Arc<Desk>) -> WebhookListener {
        let Checked { address, limits, peers, connections } = checked;
        let (tls, base_dir) = (source.settings.tls.clone(), source.base_dir.clone());
        let port = Port { address, tls, base_dir, protocol: Some("http/1.1"), peers, connections };
        WebhookListener { source: source.id.clone(), port, limits, desk, opened: None }
    }

    /// Reads the secret, so that its absence shows now and not at the first request.
    fn check_secret(&self) -> Result<(), SourceError> {
        self.desk.guard.try_secret().map_err(|error| {
            SourceError::retry(FaultClass::Login, "read the secret that senders must know").because(error)
        })
    }

    async fn bind(&self) -> Result<Opened, SourceError> {
        self.check_secret()?;
        self.port.open(&self.source, Arc::clone(&self.desk.gripes)).await
    }
}

#[async_trait]
impl Listener for WebhookListener {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        self.check_secret()?;
        self.port.probe(&self.source).await
    }

    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let opened = self.bind().await?;
        let scheme = if self.port.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint(format!("{scheme}://{}", opened.address));
        self.opened = Some(opened);
        Ok(endpoint)
    }

    async fn serve(mut self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.bind().await?,
        };
        let WebhookListener { limits, desk, .. } = *self;
        let serve = |door, stream, peer| {
            let connection = Connection { desk: Arc::clone(&desk), intake: Arc::clone(&intake), limits, peer };
            connection.serve(door, stream, stop.clone())
        };
        opened.serve(&stop, serve).await;
        Ok(())
    }
}

struct Connection {
    desk: Arc<Desk>,
    intake: Arc<dyn Intake>,
    limits: Limits,
    peer: SocketAddr,
}

impl Connection {
    async fn serve(self, door: Arc<Door>, stream: TcpStream, stop: CancellationToken) {
        if !door.is_encrypted() {
            return self.converse(stream, stop).await;
        }
        if let Some(stream) = door.encrypted(stream, self.peer, self.limits.header, &stop).await {
            self.converse(stream, stop).await;
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
                match tokio::time::timeout(STOP_WAIT + FAREWELL, connection.as_mut()).await {
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
