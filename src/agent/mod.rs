//! The agent: start-up order, supervision, shutdown.
//!
//! Start: store, admin address, delivery, sources. Nothing is taken in before the store is open, and
//! whoever is on call can look at an agent whose sources fail. Stop: sources, then delivery until the
//! grace time is over, then the store. A crash at any point is safe: nothing here is part of the
//! promises, only of their comfort.

mod canaries;
mod now;
mod pieces;
mod prints;
pub mod pulse;
pub mod reconcile;
mod reload;
mod retention;
mod scrub;
mod shadow;
mod site;
pub mod sources;
pub mod supervisor;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, Delivery};
use crate::intake::{Again, Board, Gate, RoundReport, Sources};
use crate::ops;
use crate::release::{self, InForce};
use crate::store::{self, Store};
use crate::switches::{HOLD_DELIVERIES, Switches};

pub use now::Now;
use sources::{RoundRefusal, Rounds, Shared};
use supervisor::{Supervisor, Task};

/// This program's version, as events and heartbeats carry it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The file in the data folder that tells commands where a running agent can be asked.
pub const AGENT_FILE: &str = "agent.json";

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be made.
    #[error("create the data folder {path:?}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The key of the store can't be read.
    #[error("open the store")]
    Key(#[source] crate::config::KeyError),
    /// The store can't be opened.
    #[error("open the store")]
    Store(#[source] store::Error),
    /// A candidate that a person has promoted has mistakes now.
    #[error("use the mapping that was promoted:\n{}", crate::diagnose::render(.0, false))]
    Promoted(Vec<crate::diagnose::Problem>),
    /// The admin address can't be bound.
    #[error("listen on {address} (admin.listen)")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        cause: connector_api::SourceError,
    },
    /// The operators can't be taken on.
    #[error("take on the operators (admin.operators)")]
    Operators(#[source] ops::access::Error),
    /// Delivery can't be set up.
    #[error("set up delivery")]
    Delivery(#[source] delivery::Error),
    /// Alerts can't be set up.
    #[error("set up alerts")]
    Alerts(#[source] Box<ops::alert::SendError>),
}

/// What [`AGENT_FILE`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentFile {
    /// The agent's process.
    pub pid: u32,
    /// Where its admin API listens.
    pub admin: SocketAddr,
    /// A random word of this run, which its admin API answers at `/live`: another agent that listens at a
    /// reused address has another one. It protects nothing.
    pub run: String,
    /// The token of this run: who can read this file may do everything, as who can read the store beside it could.
    #[serde(default)]
    pub token: String,
    /// Whether the admin address is encrypted.
    #[serde(default)]
    pub tls: bool,
}

impl AgentFile {
    /// Reads the file of an agent that runs, or ran, on a data folder.
    pub fn read(data_dir: &Path) -> Option<AgentFile> {
        serde_json::from_slice(&std::fs::read(data_dir.join(AGENT_FILE)).ok()?).ok()
    }

    fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        // A new file, so that nobody who had the old one open reads this run's token.
        let path = data_dir.join(AGENT_FILE);
        let _ = std::fs::remove_file(&path);
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o640);
        std::io::Write::write_all(&mut options.open(&path)?, &serde_json::to_vec(self)?)
    }
}

/// A running agent.
pub struct Agent {
    config: Arc<Config>,
    base: Base,
    now: now::Now,
    pages: ops::Pages,
    admin: SocketAddr,
    keeper: ops::access::Doorkeeper,
    desk: ops::alert::Desk,
    rounds: Rounds,
    /// Asks for comparisons with upstream.
    upstream: tokio::sync::mpsc::Sender<i64>,
    pieces: BTreeMap<String, pieces::Piece>,
    /// Told to end, and not waited for: a door whose last guest still gets an answer.
    leaving: Vec<(CancellationToken, Task)>,
    file: AgentFile,
    /// What everything stands on, as it was at the start.
    core: serde_json::Value,
    /// What upstream knows this agent by, as it was when the configuration came into force.
    credentials: serde_json::Value,
    /// Who may use the admin address, as it was then.
    operators: serde_json::Value,
}

/// What stays the same for as long as the agent runs.
struct Base {
    store: Store,
    board: Board,
    gate: Arc<Gate>,
    breakers: Sources,
    switches: Switches,
    site: Arc<site::LiveSite>,
    watch: ops::watch::Watch,
    delivery: DeliverySlot,
    /// True once it is known what upstream has, where the store is new.
    learnt: tokio::sync::watch::Sender<bool>,
    supervisor: Supervisor,
    reload: Arc<ops::reload::Reload>,
    started_at: DateTime<Utc>,
    clock: Clock,
}

/// The handle of the delivery that runs now: another one after a restart of its task.
#[derive(Clone)]
pub struct DeliverySlot(Arc<Mutex<delivery::Handle>>);

impl DeliverySlot {
    fn get(&self) -> delivery::Handle {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, handle: delivery::Handle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// How delivery is now.
    pub fn status(&self) -> delivery::Status {
        self.get().status()
    }
}

impl Agent {
    /// Starts everything that a configuration names. Sources and upstream may be out of reach: that
    /// is their status, not a failure to start.
    pub async fn start(config: impl Into<Arc<Config>>, clock: Clock) -> Result<Agent, StartError> {
        Agent::start_under(config, clock, Arc::default()).await
    }

    /// Like [`start`](Agent::start), where the process can be asked for another configuration.
    pub async fn start_under(
        config: impl Into<Arc<Config>>,
        clock: Clock,
        reload: Arc<ops::reload::Reload>,
    ) -> Result<Agent, StartError> {
        let config: Arc<Config> = config.into();
        let data_dir = config.agent.data_dir.clone();
        std::fs::create_dir_all(&data_dir).map_err(|cause| StartError::Folder { path: data_dir.clone(), cause })?;
        let options = store::Options {
            hospital: config.agent.hospital.clone(),
            agent_version: VERSION.to_owned(),
            lane: config.agent.lane.clone(),
        };
        let keys = config.store.keys(&config.base_dir).map_err(StartError::Key)?;
        let promoted = promoted(&config, &options, &clock, keys.as_ref()).map_err(StartError::Store)?;
        let InForce { config, void } = release::in_force(config, &promoted).map_err(StartError::Promoted)?;
        let site = Arc::new(site::LiveSite::new(sources::site(&config)));
        let store = Store::open_with(&data_dir, options, site.clone(), clock.clone(), keys.as_ref())
            .map_err(StartError::Store)?;
        store.forget_promoted(void).await.map_err(StartError::Store)?;
        store.reconcile_recover().await.map_err(StartError::Store)?;
        let switches = Switches::new(clock.clone());
        store.end_switches().await.map_err(StartError::Store)?;
        ops::switching::refresh(&store, &switches).await.map_err(StartError::Store)?;
        begin(&store, clock.now()).await;
        let token = ops::access::random_word();
        let keeper = keeper(&config, &token, &clock).map_err(StartError::Operators)?;
        let opened = config
            .admin
            .open(&config.base_dir, None)
            .await
            .map_err(|cause| StartError::Admin { address: config.admin.listen, cause })?;
        let admin = opened.address;

        let (watched_store, suspected_store) = (store.clone(), store.clone());
        let gate = Gate::new(&data_dir, config.agent.disk_floor_bytes)
            .limited(config.agent.outbox_limit, move || watched_store.backlog())
            .distrusting(move || suspected_store.is_damaged())
            .under(switches.clone());
        let first = Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock.clone())
            .map_err(StartError::Delivery)?
            .under(switches.clone());
        let base = Base {
            board: Board::default(),
            gate: Arc::new(gate),
            breakers: Sources::default(),
            site,
            watch: ops::watch::Watch::new(config.calendar.clone()),
            delivery: DeliverySlot(Arc::new(Mutex::new(first.handle()))),
            learnt: tokio::sync::watch::Sender::new(false),
            supervisor: Supervisor::new(clock.clone()),
            reload,
            started_at: clock.now(),
            store,
            switches,
            clock,
        };
        let desk = base.desk(&config).map_err(|error| StartError::Alerts(Box::new(error)))?;
        let file = AgentFile {
            pid: std::process::id(),
            admin,
            run: uuid::Uuid::new_v4().to_string(),
            token,
            tls: config.admin.tls.is_some(),
        };
        let (rounds, upstream) = (Rounds::default(), tokio::sync::mpsc::channel(1).0);
        let state = base.state(&config, (&keeper, &desk), &file.run, &rounds, upstream.clone());
        let mut agent = Agent {
            now: now::Now::new(config.clone(), state.clone()),
            pages: ops::Pages::new(state),
            config: config.clone(),
            base,
            admin,
            keeper,
            desk,
            rounds,
            upstream,
            pieces: BTreeMap::new(),
            leaving: Vec::new(),
            file,
            core: prints::core(&config),
            credentials: prints::credentials(&config),
            operators: prints::operators(&config),
        };
        let ready = reload::Ready { delivery: Some(first), admin: Some(opened), ..reload::Ready::default() };
        // What can't be opened now is tried again by its task.
        let unopened = agent.switch(config, ready, reload::Failing::IsRetried, "start").await;
        unopened.map_err(|failed| match failed {
            reload::SwitchError::Store(error) => StartError::Store(error),
            reload::SwitchError::Parts(_) => StartError::Store(store::Error::Closed),
        })?;
        Ok(agent)
    }

    /// Where the status page and the admin API listen.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The statuses of all streams.
    pub fn board(&self) -> &Board {
        &self.base.board
    }

    /// The store, for reading beside the agent.
    pub fn store(&self) -> &Store {
        &self.base.store
    }

    /// What people have switched.
    pub fn switches(&self) -> &Switches {
        &self.base.switches
    }

    /// How delivery is now.
    pub fn delivery(&self) -> delivery::Status {
        self.base.delivery.status()
    }

    /// Sends again at once where the breaker made delivery wait.
    pub fn reset_breaker(&self) {
        self.base.delivery.get().reset_breaker();
    }

    /// The polled streams.
    pub fn polled_streams(&self) -> Vec<StreamId> {
        self.rounds.streams()
    }

    /// Reads a stream now; returns when a round that began after the call has ended.
    pub async fn poll_now(&self, stream: &StreamId) -> Result<RoundReport, RoundRefusal> {
        self.rounds.ask(stream).await
    }

    /// Stops in order. What can't be delivered within the grace time waits in the store.
    pub async fn stop(self) {
        let Agent { config, base, pieces, leaving, .. } = self;
        let deadline = Instant::now() + config.agent.shutdown_grace;
        let of = |wave: pieces::Wave| pieces.values().filter(move |piece| piece.wave == wave);
        of(pieces::Wave::Sources).for_each(pieces::Piece::cancel);
        let mut waves: BTreeMap<pieces::Wave, Vec<Task>> = BTreeMap::new();
        let (delivery, ops): (Vec<_>, Vec<_>) = [pieces::Wave::Delivery, pieces::Wave::Ops]
            .map(|wave| of(wave).map(pieces::Piece::tokens).collect::<Vec<_>>().concat())
            .into();
        for piece in pieces.into_values() {
            waves.entry(piece.wave).or_default().extend(piece.tasks);
        }
        for task in waves.remove(&pieces::Wave::Sources).unwrap_or_default() {
            task.ended_by(deadline).await;
        }
        let drained = async {
            // Another agent delivers what a shadow has read.
            if !config.shadow.agent {
                drain(&base.store, &base.delivery, &base.switches, &base.clock).await;
            }
        };
        if tokio::time::timeout_at(deadline, drained).await.is_err() {
            tracing::info!("the grace time is over; what is not delivered yet is sent after the next start");
        }
        delivery.iter().for_each(CancellationToken::cancel);
        // Whatever the drain has left of the grace time, an answer that is out may still come in.
        let last = deadline.max(Instant::now() + Duration::from_secs(2));
        for task in waves.remove(&pieces::Wave::Delivery).unwrap_or_default() {
            task.ended_by(last).await;
        }
        ops.iter().for_each(CancellationToken::cancel);
        for task in waves.remove(&pieces::Wave::Ops).unwrap_or_default() {
            task.ended_by(last).await;
        }
        for (farewell, task) in leaving {
            farewell.cancel();
            task.ended_by(last).await;
        }
        base.store.close().await;
        // A file that stays behind only makes commands try an address where nobody answers.
        let _ = std::fs::remove_file(config.agent.data_dir.join(AGENT_FILE));
    }
}

fn keeper(config: &Config, token: &str, clock: &Clock) -> Result<ops::access::Doorkeeper, ops::access::Error> {
    let secure = config.admin.tls.is_some();
    ops::access::Doorkeeper::new(&config.admin.operators, &config.base_dir, token, secure, clock.clone())
}

impl Base {
    fn desk(&self, config: &Config) -> Result<ops::alert::Desk, ops::alert::SendError> {
        let place = (config.agent.hospital.as_str(), config.agent.timezone);
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let desk = ops::alert::Desk::new(&config.alerts, &config.base_dir, place, store, clock)?;
        Ok(desk.under(self.switches.clone()))
    }

    /// What is shown under a configuration.
    fn state(
        &self,
        config: &Arc<Config>,
        (keeper, desk): (&ops::access::Doorkeeper, &ops::alert::Desk),
        run: &str,
        rounds: &Rounds,
        upstream: tokio::sync::mpsc::Sender<i64>,
    ) -> ops::State {
        let again = Again::new(self.store.clone(), sources::decoders(config)).behind(self.gate.clone());
        let mut watch = self.watch.clone();
        watch.calendar = Arc::new(config.calendar.clone());
        let (slot, supervisor) = (self.delivery.clone(), self.supervisor.clone());
        ops::State {
            about: ops::About {
                hospital: config.agent.hospital.clone(),
                campus: config.agent.campus.clone(),
                version: VERSION.to_owned(),
                config_digest: config.digest.clone(),
                timezone: config.agent.timezone.to_string(),
                started_at: self.started_at,
            },
            keeper: keeper.clone(),
            run: run.to_owned(),
            zone: config.agent.timezone,
            watched: watched(config),
            expectations: expectations(config),
            watch,
            desk: desk.clone(),
            store: self.store.clone(),
            board: self.board.clone(),
            gate: self.gate.clone(),
            breakers: self.breakers.clone(),
            retention: config.retention,
            config: Arc::new(ops::bundle::redacted(&config.written)),
            again,
            reconciler: reconcile::reconciler(config, &self.store, &self.clock, rounds, upstream),
            reload: self.reload.clone(),
            switches: self.switches.clone(),
            delivery: Arc::new(move || slot.get()),
            tasks: Arc::new(move || supervisor.statuses()),
            clock: self.clock.clone(),
        }
    }

    /// What the sources' tasks share under a configuration.
    fn shared(&self, config: &Arc<Config>) -> Shared {
        Shared {
            config: config.clone(),
            store: self.store.clone(),
            gate: self.gate.clone(),
            board: self.board.clone(),
            breakers: self.breakers.clone(),
            clock: self.clock.clone(),
            learnt: self.learnt.clone(),
        }
    }
}

/// What a person has promoted, read before anything is opened under a mapping.
pub(crate) fn promoted(
    config: &Config,
    options: &store::Options,
    clock: &Clock,
    keys: Option<&connector_api::seal::KeyRing>,
) -> Result<Vec<store::Promoted>, store::Error> {
    let folder = &config.agent.data_dir;
    let read = || store::Reader::open_with(folder, keys).and_then(|reader| reader.promoted());
    match read() {
        Err(store::Error::Missing) => Ok(Vec::new()),
        Ok(promoted) => Ok(promoted),
        // An older layout, or what a kill has left: opening it mends both, and maps nothing.
        Err(_) => {
            let composer = Arc::new(sources::site(config));
            drop(Store::open_with(folder, options.clone(), composer, clock.clone(), keys)?);
            read()
        }
    }
}

/// Notes how things stand before anything is read, for the status page's charts. An agent that does not start for want
/// of it would be worse.
async fn begin(store: &Store, now: DateTime<Utc>) {
    let noted = async {
        let overview = store.read(store::Reader::overview).await?;
        store.add_trend(vec![ops::report::point(&overview, now)]).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the status page's charts lack this start");
    }
}

fn streams(config: &Config) -> impl Iterator<Item = &crate::config::StreamConfig> {
    config.sources.iter().flat_map(|source| &source.streams)
}

/// How new streams are judged before they deliver.
fn starts(config: &Config) -> std::collections::HashMap<String, store::StartPolicy> {
    streams(config).filter_map(|stream| Some((stream.id.to_string(), stream.onboarding?))).collect()
}

/// The streams whose daily figures are watched.
fn watched(config: &Config) -> ops::canary::Watched {
    streams(config).filter_map(|stream| Some((stream.id.to_string(), stream.canaries?))).collect()
}

/// When silence is a failure, stream by stream.
fn expectations(config: &Config) -> Vec<(StreamId, crate::config::Expect)> {
    let streams = config.sources.iter().flat_map(|source| &source.streams);
    streams.filter_map(|stream| Some((stream.id.clone(), stream.expect.clone()?))).collect()
}

/// Waits until nothing is due any more, or delivery is held up anyway.
async fn drain(store: &Store, delivery: &DeliverySlot, switches: &Switches, clock: &Clock) {
    loop {
        if switches.on(&HOLD_DELIVERIES).is_some() {
            return;
        }
        let due: Option<DateTime<Utc>> = store.next_due().await.ok().flatten();
        let status = delivery.status();
        let nothing_due = due.is_none_or(|at| at > clock.now());
        // A batch that waits for its next attempt is claimed: the store does not call it due.
        let idle = status.in_flight == 0 && status.waiting == 0;
        if status.breaker.state != "closed" || (nothing_due && idle) {
            return;
        }
        let mut handle = delivery.get();
        // A change of status, or a short while: a delivery that went quiet must not hang the stop.
        let _ = tokio::time::timeout(Duration::from_millis(100), handle.changed()).await;
    }
}
