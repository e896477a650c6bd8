//! The sockets: accepting, reading, storing, answering, closing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, Endpoint, FaultClass, Intake, Listener, Record, Refusal, SourceError, SourceId, StreamId,
    async_trait,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::ack;
use crate::framing::{Event, Framer};
use crate::session::{Outcome, Plan, Session};
use crate::settings::Limits;

/// How many frames of one connection are stored together. Senders that do not wait for each
/// acknowledgement gain by it; more would only delay the first answer.
const GROUP: usize = 64;

/// How much is asked of the socket at once.
const READ_BYTES: usize = 64 << 10;

/// How long the CR after a frame's FS is awaited. Senders that leave it out wait this long.
const CR_WAIT: Duration = Duration::from_millis(250);

/// How long a frame that is being received may take once the agent stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How long the peer may take to read the last answer. Closing with unread input resets the
/// connection, and the answer with it.
const LINGER: Duration = Duration::from_secs(2);

/// A pause after the system refused a connection (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener of one source.
pub(crate) struct MllpListener {
    source: SourceId,
    address: SocketAddr,
    limits: Limits,
    session: Arc<Session>,
    socket: Option<TcpListener>,
}

impl MllpListener {
    pub(crate) fn new(source: SourceId, address: SocketAddr, limits: Limits, session: Arc<Session>) -> MllpListener {
        MllpListener { source, address, limits, session, socket: None }
    }

    async fn bind(&self) -> Result<TcpListener, SourceError> {
        TcpListener::bind(self.address).await.map_err(|error| {
            let operation = format!("listen on {}", self.address);
            let fault = match error.kind() {
                io::ErrorKind::PermissionDenied => SourceError::stop(FaultClass::Bind, operation)
                    .hint("ports below 1024 need a privilege; choose another port"),
                io::ErrorKind::AddrInUse => SourceError::retry(FaultClass::Bind, operation)
                    .hint("another program, or another source, listens on this port"),
                _ => SourceError::retry(FaultClass::Bind, operation).hint("the address must be one of this machine"),
            };
            fault.because(error)
        })
    }
}

#[async_trait]
impl Listener for MllpListener {
    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let socket = self.bind().await?;
        let address = socket.local_addr().unwrap_or(self.address);
        self.socket = Some(socket);
        Ok(Endpoint(address.to_string()))
    }

    async fn serve(mut self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.bind().await?,
        };
        let source = self.source;
        let shared = Arc::new(Shared { session: self.session, limits: self.limits, intake });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => report(&source, ended),
                accepted = socket.accept() => match accepted {
                    Ok((_, peer)) if connections.len() >= shared.limits.connections => {
                        tracing::warn!(%source, %peer, limit = shared.limits.connections, "too many connections");
                    }
                    Ok((stream, peer)) => {
                        let connection = Connection::new(Arc::clone(&shared), stream, peer, source.clone());
                        connections.spawn(connection.serve(stop.clone()));
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

/// What the connections of one listener share.
struct Shared {
    session: Arc<Session>,
    limits: Limits,
    intake: Arc<dyn Intake>,
}

struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    source: SourceId,
    framer: Framer,
}

/// What waiting for the peer led to.
enum Waited {
    Received,
    /// The peer has ended its side.
    Ended,
    /// Nothing came within the time that was allowed.
    Late,
    /// The agent is stopping.
    Stopping,
}

impl Connection {
    fn new(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, source: SourceId) -> Connection {
        let framer = Framer::new(shared.limits.message_bytes);
        Connection { shared, stream, peer, source, framer }
    }

    async fn serve(mut self, stop: CancellationToken) {
        let (source, peer) = (self.source.clone(), self.peer);
        tracing::debug!(%source, %peer, "connected");
        match self.converse(stop).await {
            Ok(()) => tracing::debug!(%source, %peer, "closed"),
            Err(error) => tracing::warn!(%source, %peer, %error, "the connection broke"),
        }
    }

    async fn converse(&mut self, stop: CancellationToken) -> io::Result<()> {
        // An answer must not wait for the next one to fill a packet.
        self.stream.set_nodelay(true)?;
        let mut begun: Option<Instant> = None;
        let mut stopping: Option<Instant> = None;
        loop {
            let events: Vec<Event> = std::iter::from_fn(|| self.framer.next()).take(GROUP).collect();
            if !events.is_empty() {
                begun = None;
                if self.exchange(&events).await? {
                    return self.close(LINGER).await;
                }
                continue;
            }
            if stop.is_cancelled() {
                stopping.get_or_insert_with(Instant::now);
                if self.framer.is_idle() {
                    return self.close(Duration::ZERO).await;
                }
            }
            begun = if self.framer.is_idle() { None } else { Some(begun.unwrap_or_else(Instant::now)) };
            match self.wait(&stop, begun, stopping).await? {
                Waited::Received | Waited::Stopping => {}
                Waited::Ended => return self.end("the peer closed the connection").await,
                Waited::Late => match self.framer.end_without_cr() {
                    Some(event) => {
                        if self.exchange(&[event]).await? {
                            return self.close(LINGER).await;
                        }
                        begun = None;
                    }
                    None => return self.end("the peer sent nothing more in time").await,
                },
            }
        }
    }

    async fn wait(
        &mut self,
        stop: &CancellationToken,
        begun: Option<Instant>,
        stopping: Option<Instant>,
    ) -> io::Result<Waited> {
        let limits = self.shared.limits;
        let mut deadline = match begun {
            Some(begun) => Some(begun + limits.read),
            None => limits.idle.map(|idle| Instant::now() + idle),
        };
        if self.framer.awaits_cr() {
            deadline = earlier(deadline, Instant::now() + CR_WAIT);
        }
        if let Some(stopping) = stopping {
            deadline = earlier(deadline, stopping + STOP_WAIT);
        }
        self.framer.buffer.reserve(READ_BYTES);
        tokio::select! {
            biased;
            () = stop.cancelled(), if stopping.is_none() => Ok(Waited::Stopping),
            read = self.stream.read_buf(&mut self.framer.buffer) => {
                Ok(if read? == 0 { Waited::Ended } else { Waited::Received })
            }
            () = until(deadline) => Ok(Waited::Late),
        }
    }

    /// Stores what the events say, then answers. True where the connection is to be closed.
    async fn exchange(&mut self, events: &[Event]) -> io::Result<bool> {
        let Shared { session, limits, intake } = &*self.shared;
        let mut plans: Vec<Plan> = Vec::with_capacity(events.len());
        for event in events {
            let plan = session.plan(event);
            let last = plan.close;
            plans.push(plan);
            if last {
                break;
            }
        }
        let mut counts = Vec::with_capacity(plans.len());
        let mut records = Vec::with_capacity(plans.len());
        for plan in &mut plans {
            counts.push(plan.records.len());
            records.append(&mut plan.records);
        }

        let mut outcomes = store(&**intake, records).await.into_iter();
        let mut answers = Vec::with_capacity(256 * plans.len());
        let mut close = false;
        for ((plan, event), count) in plans.iter().zip(events).zip(counts) {
            let mut own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
            if plans.len() > 1 && own.iter().any(|outcome| matches!(outcome, Err(Refusal::Failed { .. }))) {
                // What one record broke must not keep the other frames out.
                own = store(&**intake, session.plan(event).records).await;
            }
            for refusal in own.iter().filter_map(|outcome| outcome.as_ref().err()) {
                tracing::warn!(source = %self.source, peer = %self.peer, %refusal, "a record was not stored");
            }
            close |= session.reply(plan, &own, ack::now(), &mut answers);
        }
        if !answers.is_empty() {
            let written = timeout(limits.read, self.stream.write_all(&answers)).await;
            written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer takes no acknowledgement"))??;
        }
        Ok(close)
    }

    /// Ends a connection from which nothing more is to be expected.
    ///
    /// A frame that did not end was never acknowledged, so its sender has it still.
    async fn end(&mut self, why: &str) -> io::Result<()> {
        let left = self.framer.end_without_cr().or_else(|| self.framer.take_outside());
        if let Some(event) = left {
            self.exchange(&[event]).await?;
        } else if let Some(bytes) = self.framer.partial() {
            tracing::warn!(source = %self.source, peer = %self.peer, bytes, why, "a frame was not completed");
        }
        self.close(Duration::ZERO).await
    }

    /// Closes our side, and for a while reads on, so that the last answer is not lost to a reset.
    async fn close(&mut self, linger: Duration) -> io::Result<()> {
        // The peer may have gone already; then there is nobody to tell.
        let _ = self.stream.shutdown().await;
        let mut scrap = vec![0; 8 << 10];
        let drained = async { while matches!(self.stream.read(&mut scrap).await, Ok(n) if n > 0) {} };
        let _ = timeout(linger, drained).await;
        Ok(())
    }
}

fn earlier(deadline: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(deadline.map_or(other, |deadline| deadline.min(other)))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Stores records, those of one stream in one call, and answers what became of each.
async fn store(intake: &dyn Intake, records: Vec<(Option<StreamId>, Record)>) -> Vec<Outcome> {
    let mut outcomes = vec![Ok(()); records.len()];
    let mut parts: Vec<(Option<StreamId>, Vec<usize>, Vec<Record>)> = Vec::new();
    for (at, (stream, record)) in records.into_iter().enumerate() {
        let part = match parts.iter().position(|(other, _, _)| *other == stream) {
            Some(part) => part,
            None => {
                parts.push((stream, Vec::new(), Vec::new()));
                parts.len() - 1
            }
        };
        parts[part].1.push(at);
        parts[part].2.push(record);
    }
    for (stream, places, records) in parts {
        if let Err(refusal) = intake.accept(stream.as_ref(), records).await {
            for at in places {
                outcomes[at] = Err(refusal.clone());
            }
        }
    }
    outcomes
}
