//! The tasks of the sources: one supervised task per polled stream and per listener.

use std::collections::HashMap;
use std::sync::Arc;

use connector_api::{
    Connector, Decoder, Endpoint, Flow, Listener, SettingsProblem, SourceError, StreamId, StreamPoller,
};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::supervisor::{Supervisor, Task};
use crate::clock::Clock;
use crate::config::{Config, SourceConfig, StreamConfig};
use crate::intake::{
    Board, Custody, Gate, Normaliser, PollStream, Readers, Reconcile, RoundReport, RoundRequest, Schedule, Sources,
    StreamFailure, StreamState,
};
use crate::mapping::{Context, Site};
use crate::model::EntityType;
use crate::store::Store;

/// What the sources' tasks share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Where records go.
    pub store: Store,
    /// The disk's floor.
    pub gate: Arc<Gate>,
    /// Where statuses are shown.
    pub board: Board,
    /// The breakers of the sources that are asked.
    pub breakers: Sources,
    /// The time.
    pub clock: Clock,
    /// True once it is known what upstream has, where the store is new.
    pub learnt: tokio::sync::watch::Sender<bool>,
}

/// Asks streams for a round outside their schedule.
#[derive(Clone, Debug, Default)]
pub struct Rounds(HashMap<StreamId, mpsc::Sender<RoundRequest>>);

/// Why a stream could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RoundRefusal {
    /// There is no such stream, or nobody polls it.
    #[error("{0} is no polled stream of this configuration")]
    Unknown(StreamId),
    /// The agent is shutting down, or the stream's task is being started again.
    #[error("the stream is not running")]
    NotRunning,
    /// The round failed.
    #[error("{0}")]
    Failed(String),
}

impl Rounds {
    /// The polled streams.
    pub fn streams(&self) -> Vec<StreamId> {
        let mut streams: Vec<_> = self.0.keys().cloned().collect();
        streams.sort();
        streams
    }

    /// Adds a stream whose task is asked through a channel.
    pub(super) fn insert(&mut self, stream: StreamId, task: mpsc::Sender<RoundRequest>) {
        self.0.insert(stream, task);
    }

    /// What a stream's task is asked through; `None` where nobody polls it.
    pub(super) fn sender(&self, stream: &StreamId) -> Option<mpsc::Sender<RoundRequest>> {
        self.0.get(stream).cloned()
    }

    /// Reads a stream now; returns when a round that began after the call has ended.
    pub async fn ask(&self, stream: &StreamId) -> Result<RoundReport, RoundRefusal> {
        let sender = self.0.get(stream).ok_or_else(|| RoundRefusal::Unknown(stream.clone()))?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        sender.send(RoundRequest::Read(answer)).await.map_err(|_| RoundRefusal::NotRunning)?;
        answered.await.map_err(|_| RoundRefusal::NotRunning)?.map_err(RoundRefusal::Failed)
    }
}

/// What the composer knows of the configuration: the rules of the mappings, guards and dictionaries.
pub fn site(config: &Config) -> Site {
    let streams = || config.sources.iter().flat_map(|source| &source.streams);
    let mappings = Site::new(streams().map(|stream| (stream.id.to_string(), &*stream.mapping)));
    let guards = streams().filter_map(|stream| Some((stream.id.to_string(), stream.guards?)));
    let dictionaries = streams().filter(|stream| stream.mode == connector_api::Mode::Snapshot);
    let dictionaries = dictionaries.map(|stream| (stream.entity, stream.id.source().as_str().to_owned()));
    mappings.guarded(guards).reading(dictionaries)
}

/// The facts of the configuration that a source's mappings know.
pub fn context(config: &Config, source: &SourceConfig) -> Context {
    Context {
        hospital: config.agent.hospital.clone(),
        campus: config.agent.campus.clone(),
        source: source.id.to_string(),
        adapter: source.kind.name.to_owned(),
        timezone: config.agent.timezone,
    }
}

/// The mapping of a stream with the facts that it needs.
pub fn normaliser(config: &Config, source: &SourceConfig, stream: &StreamConfig) -> Normaliser {
    Normaliser::new(stream.mapping.clone(), context(config, source))
}

fn problems(problems: &[SettingsProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    format!("build the connector: {}", texts.join("; "))
}

/// Whether a source is asked, and not sent by itself.
pub(super) fn is_polled(source: &SourceConfig) -> bool {
    source.streams.iter().all(|stream| stream.schedule.is_some())
}

/// Shows the streams of a source that begin, or begin to be read in another way.
pub(super) fn show(shared: &Shared, source: &SourceConfig, stream: &StreamConfig) {
    let version = stream.mapping.version();
    shared.board.add(stream.id.clone(), source.kind.name, stream.entity, stream.mode, version);
}

/// Starts a polled stream: the source at a place of the configuration, the stream at a place in it.
pub(super) fn poll(
    shared: &Shared,
    supervisor: &Supervisor,
    stop: &CancellationToken,
    (at, position): (usize, usize),
    receiver: mpsc::Receiver<RoundRequest>,
) -> Task {
    let stream = &shared.config.sources[at].streams[position];
    let name = format!("stream {}", stream.id);
    let (shared, stop_task) = (shared.clone(), stop.clone());
    // Kept over restarts, so that a request that arrives in between is answered by the next start.
    let receiver = Arc::new(Mutex::new(receiver));
    supervisor.spawn(name, stop.clone(), move || {
        let (shared, stop, receiver) = (shared.clone(), stop_task.clone(), receiver.clone());
        async move {
            let source = &shared.config.sources[at];
            let stream = &source.streams[position];
            let (task, mut poller) = poll_stream(&shared, source, stream)?;
            super::reconcile::learnt(shared.learnt.subscribe(), &stop).await;
            dictionaries_read(&shared, stream, &stop).await;
            let mut requests = receiver.lock().await;
            task.run(poller.poller.as_mut(), &mut requests, &stop).await.map_err(|error| error.to_string())
        }
    })
}

/// A polled stream with its poller, ready to be asked.
pub fn poll_stream(
    shared: &Shared,
    source: &SourceConfig,
    stream: &StreamConfig,
) -> Result<(PollStream, StreamPoller), String> {
    let (poller, decoder) = poller_of(source, &shared.config.base_dir, &stream.id)?;
    let Some(schedule) = stream.schedule.clone() else {
        return Err("a polled stream needs a schedule".to_owned());
    };
    let zone = shared.config.agent.timezone;
    let sweep = stream.sweep.as_ref().map(|sweep| (Schedule::new(sweep.schedule.clone(), zone), sweep.window));
    let task = PollStream {
        id: stream.id.clone(),
        mode: stream.mode,
        schedule: Schedule::new(schedule, zone),
        sweep,
        zone,
        batch_size: stream.batch_size,
        snapshot: stream.snapshot,
        normaliser: normaliser(&shared.config, source, stream),
        store: shared.store.clone(),
        gate: shared.gate.clone(),
        breaker: shared.breakers.of(&source.id).ok_or("a polled source has a breaker")?,
        board: shared.board.clone(),
        clock: shared.clock.clone(),
        reconcile: Reconcile { policy: super::reconcile::policy(&shared.config, stream), decoder },
    };
    Ok((task, poller))
}

/// How long streams wait for the dictionaries that they are compared with to be read once.
const DICTIONARY_FIRST: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until the dictionaries were asked once that what the stream yields is compared with: read before them, all of
/// it would be held for a moment. Whether they could be read, and what else is missing, the store looks after.
async fn dictionaries_read(shared: &Shared, stream: &StreamConfig, stop: &CancellationToken) {
    let before: &[EntityType] = match stream.entity {
        EntityType::ExamItem | EntityType::CriticalValue => return,
        EntityType::ExamItemGroup => &[EntityType::ExamItem],
        EntityType::ExamPackage => &[EntityType::ExamItemGroup],
        EntityType::ExamReport => &[EntityType::ExamItem, EntityType::ExamItemGroup, EntityType::ExamPackage],
    };
    let unread = || {
        let pending = [StreamState::Starting, StreamState::Reading];
        let first = |status: &crate::intake::StreamStatus| {
            before.contains(&status.entity) && status.mode == connector_api::Mode::Snapshot
        };
        shared.board.all().iter().any(|status| first(status) && status.rounds == 0 && pending.contains(&status.state))
    };
    let read = async {
        while unread() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = tokio::time::timeout(DICTIONARY_FIRST, read) => {}
    }
}

/// Builds a source anew and picks the poller of one of its streams.
pub(super) fn poller_of(
    source: &SourceConfig,
    base_dir: &std::path::Path,
    stream: &StreamId,
) -> Result<(StreamPoller, Arc<dyn Decoder>), String> {
    let Connector { decoder, flow } = source.build(base_dir).map_err(|found| problems(&found))?;
    let Flow::Poll(pollers) = flow else {
        return Err("the connector listens, but the stream has a schedule".to_owned());
    };
    pollers
        .into_iter()
        .find(|poller| poller.stream == *stream)
        .map(|poller| (poller, decoder))
        .ok_or_else(|| "the connector made no poller for the stream".to_owned())
}

/// What takes custody of what a source sends.
pub(super) fn custody(shared: &Shared, source: &SourceConfig) -> Arc<Custody> {
    Arc::new(Custody::new(
        source.id.clone(),
        normalisers(&shared.config, source),
        shared.store.clone(),
        shared.gate.clone(),
        shared.board.clone(),
        shared.clock.clone(),
    ))
}

/// How each stream of a source is read.
pub(super) fn normalisers(config: &Config, source: &SourceConfig) -> HashMap<StreamId, Normaliser> {
    source.streams.iter().map(|stream| (stream.id.clone(), normaliser(config, source, stream))).collect()
}

/// A listener whose socket or folder is open.
pub(super) type Open = (Box<dyn Listener>, Endpoint);

/// Opens a source's socket or folder; serves nobody yet.
pub(super) async fn open(source: &SourceConfig, base_dir: &std::path::Path) -> Result<Open, OpenError> {
    let Connector { flow, .. } = source.build(base_dir).map_err(|found| OpenError::Settings(problems(&found)))?;
    let Flow::Listen(mut listener) = flow else {
        return Err(OpenError::Settings("the connector polls, but a stream of it has no schedule".to_owned()));
    };
    let endpoint = listener.open().await.map_err(OpenError::Source)?;
    Ok((listener, endpoint))
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The connector can't be built.
    #[error("{0}")]
    Settings(String),
    /// The socket or folder can't be opened.
    #[error("{}", .0.chain())]
    Source(SourceError),
}

/// Starts a listener; `first` where its socket is open already.
pub(super) fn listen(
    shared: &Shared,
    supervisor: &Supervisor,
    stop: &CancellationToken,
    at: usize,
    custody: Arc<Custody>,
    mut first: Option<Open>,
) -> Task {
    let name = format!("listener {}", shared.config.sources[at].id);
    let (shared, stop_task) = (shared.clone(), stop.clone());
    // A listener that asked for any free port keeps the one it got when it is started again is not
    // promised; only configured ports are.
    supervisor.spawn(name, stop.clone(), move || {
        let (shared, stop, custody, first) = (shared.clone(), stop_task.clone(), custody.clone(), first.take());
        async move {
            let source = &shared.config.sources[at];
            let each = |change: &dyn Fn(&mut crate::intake::StreamStatus)| {
                for stream in &source.streams {
                    shared.board.update(&stream.id, change);
                }
            };
            let failed = |error: &SourceError| {
                let failure = StreamFailure::of(error, shared.clock.now());
                each(&|status| {
                    status.state = StreamState::Failing;
                    status.failures += 1;
                    status.failure = Some(failure.clone());
                });
                error.chain()
            };
            let opened = match first {
                Some(opened) => opened,
                None => open(source, &shared.config.base_dir).await.map_err(|error| match &error {
                    OpenError::Source(error) => failed(error),
                    OpenError::Settings(text) => text.clone(),
                })?,
            };
            let (listener, endpoint) = opened;
            tracing::info!(source = %source.id, endpoint = endpoint.0, "listening");
            each(&|status| {
                status.state = StreamState::Listening;
                status.endpoint = Some(endpoint.0.clone());
                status.failures = 0;
                status.failure = None;
            });
            listener.serve(custody, stop).await.map_err(|error| failed(&error))
        }
    })
}

/// What is needed to map archived records of each stream again.
pub fn decoders(config: &Config) -> Readers {
    let mut all = Readers::new();
    for source in &config.sources {
        match source.build(&config.base_dir) {
            Ok(built) => {
                for stream in &source.streams {
                    all.insert(stream.id.clone(), (normaliser(config, source, stream), built.decoder.clone()));
                }
            }
            // The source's own task reports it; its archive stays as it is until it is repaired.
            Err(found) => tracing::error!(source = %source.id, "{}", problems(&found)),
        }
    }
    all
}
