//! The connections of a port: reading, storing, answering, closing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, Endpoint, Intake, Listener, Probe, Record, Refusal, SourceError, SourceId, StreamId, async_trait,
};
use connector_listen::{Door, Gripes, Opened, Port};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
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

/// The listener of one source.
pub(crate) struct MllpListener {
    source: SourceId,
    port: Port,
    limits: Limits,
    session: Arc<Session>,
    opened: Option<Opened>,
}

impl MllpListener {
    pub(crate) fn new(source: SourceId, port: Port, limits: Limits, session: Arc<Session>) -> MllpListener {
        MllpListener { source, port, limits, session, opened: None }
    }

    async fn bind(&self) -> Result<Opened, SourceError> {
        self.port.open(&self.source, Arc::new(Gripes::new(self.source.clone()))).await
    }
}

#[async_trait]
impl Listener for MllpListener {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        self.port.probe(&self.source).await
    }

    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let opened = self.bind().await?;
        let endpoint = Endpoint(opened.address.to_string());
        self.opened = Some(opened);
        Ok(endpoint)
    }

    async fn serve(mut self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.bind().await?,
        };
        let shared = Arc::new(Shared { source: self.source, session: self.session, limits: self.limits, intake });
        opened.serve(&stop, |door, stream, peer| receive(Arc::clone(&shared), door, stream, peer, stop.clone())).await;
        Ok(())
    }
}

/// Serves one connection, encrypted where the port is.
async fn receive(shared: Arc<Shared>, door: Arc<Door>, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
    if !door.is_encrypted() {
        return Connection::new(shared, stream, peer).serve(stop).await;
    }
    if let Some(stream) = door.encrypted(stream, peer, shared.limits.read, &stop).await {
        Connection::new(shared, stream, peer).serve(stop).await;
    }
}

/// What the connections of one listener share.
struct Shared {
    source: SourceId,
    session: Arc<Session>,
    limits: Limits,
    intake: Arc<dyn Intake>,
}

struct Connection<S> {
    shared: Arc<Shared>,
    stream: S,
    peer: SocketAddr,
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

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(shared: Arc<Shared>, stream: S, peer: SocketAddr) -> Connection<S> {
        let framer = Framer::new(shared.limits.message_bytes);
        Connection { shared, stream, peer, framer }
    }

    async fn serve(mut self, stop: CancellationToken) {
        let (shared, peer) = (Arc::clone(&self.shared), self.peer);
        let source = &shared.source;
        tracing::debug!(%source, %peer, "connected");
        match self.converse(stop).await {
            Ok(()) => tracing::debug!(%source, %peer, "closed"),
            Err(error) => tracing::warn!(%source, %peer, %error, "the connection broke"),
        }
    }

    async fn converse(&mut self, stop: CancellationToken) -> io::Result<()> {
        let mut begun: Option<Instant> = None;
        let mut stopping: Option<Instant> = None;
        loop {
            let events: Vec<Event> = std::iter::from_fn(|| self.framer.next()).take(GROUP).collect();
            if !events.is_empty() {
                begun = None;
                // After a stop, what was being received has its turn; what follows it does not.
                if self.exchange(&events).await? || stopping.is_some() {
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
            read = self.stream.read_buf(&mut self.framer.buffer) => match read {
                Ok(0) => Ok(Waited::Ended),
                Ok(_) => Ok(Waited::Received),
                // An encrypted connection that was closed without a word. A frame has an end of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Waited::Ended),
                Err(error) => Err(error),
            },
            () = until(deadline) => Ok(Waited::Late),
        }
    }

    /// Stores what the events say, then answers. True where the connection is to be closed.
    async fn exchange(&mut self, events: &[Event]) -> io::Result<bool> {
        let Shared { source, session, limits, intake } = &*self.shared;
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

        tracing::debug!(%source, peer = %self.peer, frames = plans.len(), records = records.len());
        let mut outcomes = store(&**intake, records).await.into_iter();
        let mut answers = Vec::with_capacity(256 * plans.len());
        let mut close = false;
        for ((plan, event), count) in plans.iter().zip(events).zip(counts) {
            let mut own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
            if plans.len() > 1 && own.iter().any(|outcome| matches!(outcome, Err(Refusal::Failed { .. }))) {
                // What one record broke must not keep the other frames out.
                own = store(&**intake, session.plan(event).records).await;
            }
            if let Some(refusal) = own.iter().find_map(|outcome| outcome.as_ref().err()) {
                let records = own.iter().filter(|outcome| outcome.is_err()).count();
                tracing::warn!(%source, peer = %self.peer, records, %refusal, "a frame was not stored");
            }
            close |= session.reply(plan, &own, ack::now(), &mut answers);
        }
        if !answers.is_empty() {
            let written = timeout(limits.read, async {
                self.stream.write_all(&answers).await?;
                self.stream.flush().await
            });
            let written = written.await;
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
            tracing::warn!(source = %self.shared.source, peer = %self.peer, bytes, why, "a frame was not completed");
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
