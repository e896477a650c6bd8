//! The agent: start-up order, supervision, shutdown.
//!
//! Start: store, admin address, delivery, sources. Nothing is taken in before the store is open, and
//! whoever is on call can look at an agent whose sources fail. Stop: sources, then delivery until the
//! grace time is over, then the store. A crash at any point is safe: nothing here is part of the
//! promises, only of their comfort.

pub mod pulse;
pub mod reconcile;
mod retention;
pub mod sources;
pub mod supervisor;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use connector_listen::Opened;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, Delivery};
use crate::intake::{Again, Board, Gate, RoundReport, Sources};
use crate::ops;
use crate::store::{self, Store};

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
    store: Store,
    board: Board,
    rounds: Rounds,
    delivery: DeliverySlot,
    admin: SocketAddr,
    stop_sources: CancellationToken,
    stop_delivery: CancellationToken,
    stop_ops: CancellationToken,
    sources: Vec<Task>,
    deliverers: Vec<Task>,
    servers: Vec<Task>,
    reload: Arc<ops::codes::Reload>,
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
        let config: Arc<Config> = config.into();
        let data_dir = config.agent.data_dir.clone();
        std::fs::create_dir_all(&data_dir).map_err(|cause| StartError::Folder { path: data_dir.clone(), cause })?;
        let options = store::Options {
            hospital: config.agent.hospital.clone(),
            agent_version: VERSION.to_owned(),
            lane: config.agent.lane.clone(),
        };
        let composer = Arc::new(sources::site(&config));
        let keys = config.store.keys(&config.base_dir).map_err(StartError::Key)?;
        let store =
            Store::open_with(&data_dir, options, composer, clock.clone(), keys.as_ref()).map_err(StartError::Store)?;
        store.judge_starts(starts(&config)).await.map_err(StartError::Store)?;
        store.reconcile_recover().await.map_err(StartError::Store)?;
        let shown = ops::bundle::redacted(&config.written);
        begin(&store, &config, &shown, clock.now()).await;
        let token = ops::access::random_word();
        let tls = config.admin.tls.is_some();
        let keeper =
            ops::access::Doorkeeper::new(&config.admin.operators, &config.base_dir, &token, tls, clock.clone())
                .map_err(StartError::Operators)?;
        let opened = config
            .admin
            .open(&config.base_dir, None)
            .await
            .map_err(|cause| StartError::Admin { address: config.admin.listen, cause })?;
        let admin = opened.address;

        let supervisor = Supervisor::new(clock.clone());
        let board = Board::default();
        let watched_store = store.clone();
        let gate = Gate::new(&data_dir, config.agent.disk_floor_bytes)
            .limited(config.agent.outbox_limit, move || watched_store.backlog());
        let gate = Arc::new(gate);
        let polled =
            config.sources.iter().filter(|source| source.streams.iter().all(|stream| stream.schedule.is_some()));
        let breakers = Sources::new(polled.map(|source| (source.id.clone(), source.kind.name.to_owned())), &clock);
        let started_at = clock.now();
        let run = uuid::Uuid::new_v4().to_string();
        let (stop_sources, stop_delivery, stop_ops) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());

        let first = Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock.clone())
            .map_err(StartError::Delivery)?;
        let slot = DeliverySlot(Arc::new(Mutex::new(first.handle())));
        let again = Again::new(store.clone(), sources::decoders(&config)).behind(gate.clone());
        let (upstream, asked) = tokio::sync::mpsc::channel(1);
        let entropy = reconcile::WithUpstream {
            config: config.clone(),
            store: store.clone(),
            board: board.clone(),
            clock: clock.clone(),
        };
        let (entropy, learning) = reconcile::with_upstream(entropy, &supervisor, &stop_sources, asked);
        let shared = Shared {
            config: config.clone(),
            store: store.clone(),
            gate: gate.clone(),
            board: board.clone(),
            breakers: breakers.clone(),
            clock: clock.clone(),
            learning,
        };
        let (mut source_tasks, rounds) = sources::start(&shared, &supervisor, &stop_sources);
        source_tasks.push(entropy);
        source_tasks.extend(reconcile::listeners(&shared, &supervisor, &stop_sources));
        source_tasks.push(renormalise(&supervisor, &stop_sources, again.clone()));
        source_tasks.push(watch(&supervisor, &stop_sources, &shared));
        source_tasks.push(retention::start(&supervisor, &stop_sources, &shared));

        let reload = Arc::new(ops::codes::Reload::default());
        let place = (config.agent.hospital.as_str(), config.agent.timezone);
        let desk = ops::alert::Desk::new(&config.alerts, &config.base_dir, place, store.clone(), clock.clone())
            .map_err(|error| StartError::Alerts(Box::new(error)))?;
        let state = ops::State {
            about: ops::About {
                hospital: config.agent.hospital.clone(),
                campus: config.agent.campus.clone(),
                version: VERSION.to_owned(),
                config_digest: config.digest.clone(),
                timezone: config.agent.timezone.to_string(),
                started_at,
            },
            keeper,
            run: run.clone(),
            zone: config.agent.timezone,
            watched: watched(&config),
            expectations: expectations(&config),
            watch: ops::watch::Watch::new(config.calendar.clone()),
            desk,
            store: store.clone(),
            board: board.clone(),
            gate,
            breakers,
            retention: config.retention,
            config: Arc::new(shown),
            again,
            reconciler: reconcile::reconciler(&config, &store, &clock, &rounds, upstream),
            reload: reload.clone(),
            delivery: {
                let slot = slot.clone();
                Arc::new(move || slot.get())
            },
            tasks: {
                let supervisor = supervisor.clone();
                Arc::new(move || supervisor.statuses())
            },
            clock: clock.clone(),
        };
        let deliverers = deliver(&config, &store, &clock, &supervisor, &stop_delivery, &slot, first, &state);
        source_tasks.push(watch::probes(&supervisor, &stop_sources, &shared, &state));
        let mut servers = watch::start(&supervisor, &stop_ops, &config, &state);
        servers.push(serve(&supervisor, &stop_ops, &config, opened, state));
        let file = AgentFile { pid: std::process::id(), admin, run, token, tls };
        if let Err(error) = file.write(&data_dir) {
            tracing::warn!(%error, "could not write {AGENT_FILE}; commands will look at the store directly");
        }
        Ok(Agent {
            config,
            store,
            board,
            rounds,
            delivery: slot,
            admin,
            stop_sources,
            stop_delivery,
            stop_ops,
            sources: source_tasks,
            deliverers,
            servers,
            reload,
            clock,
        })
    }

    /// Where the status page and the admin API listen.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The statuses of all streams.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Returns when the agent is asked, over its admin API, to load its configuration again.
    pub async fn reload_asked(&self) {
        self.reload.asked().await;
    }

    /// The store, for reading beside the agent.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How delivery is now.
    pub fn delivery(&self) -> delivery::Status {
        self.delivery.status()
    }

    /// Sends again at once where the breaker made delivery wait.
    pub fn reset_breaker(&self) {
        self.delivery.get().reset_breaker();
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
        let deadline = Instant::now() + self.config.agent.shutdown_grace;
        self.stop_sources.cancel();
        for task in self.sources {
            task.ended_by(deadline).await;
        }
        let drained = tokio::time::timeout_at(deadline, drain(&self.store, &self.delivery, &self.clock)).await;
        if drained.is_err() {
            tracing::info!("the grace time is over; what is not delivered yet is sent after the next start");
        }
        self.stop_delivery.cancel();
        // Whatever the drain has left of the grace time, an answer that is out may still come in.
        let last = deadline.max(Instant::now() + Duration::from_secs(2));
        for task in self.deliverers {
            task.ended_by(last).await;
        }
        self.stop_ops.cancel();
        for task in self.servers {
            task.ended_by(last).await;
        }
        self.store.close().await;
        // A file that stays behind only makes commands try an address where nobody answers.
        let _ = std::fs::remove_file(self.config.agent.data_dir.join(AGENT_FILE));
    }
}

/// Notes what the status page tells of: the configuration, and how things stand before anything is read. An agent that
/// does not start for want of it would be worse.
async fn begin(store: &Store, config: &Config, shown: &serde_json::Value, now: DateTime<Utc>) {
    let noted = async {
        store.note_config(VERSION, &config.digest, shown).await?;
        let overview = store.read(store::Reader::overview).await?;
        store.add_trend(vec![ops::report::point(&overview, now)]).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the status page's history lacks this start");
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

/// Counts daily figures, tells the log of shares that jump, and judges new streams that have no rounds.
fn watch(supervisor: &Supervisor, stop: &CancellationToken, shared: &Shared) -> Task {
    let (shared, stop_task) = (shared.clone(), stop.clone());
    supervisor.spawn("canaries", stop.clone(), move || {
        let (Shared { config, store, clock, .. }, stop) = (shared.clone(), stop_task.clone());
        async move {
            let (watched, zone) = (watched(&config), config.agent.timezone);
            let mut told: Vec<(String, String)> = Vec::new();
            loop {
                while store.count_figures(zone).await.map_err(|error| error.to_string())? && !stop.is_cancelled() {}
                for stream in streams(&config) {
                    let judged = store.judge(&stream.id, store::Moment::Tick).await;
                    judged.map_err(|error| error.to_string())?;
                }
                let (asked, now) = (watched.clone(), clock.now());
                let days = store.read(move |reader| ops::canary::read(reader, &asked, zone, now)).await;
                let reasons = ops::canary::reasons(&days.map_err(|error| error.to_string())?, &watched, zone, now);
                let day = now.with_timezone(&zone).date_naive().to_string();
                told.retain(|(of, _)| *of == day);
                for reason in reasons {
                    // Once a day for each share; its figures move all day.
                    let what = reason.text.split(" % ").nth(1).and_then(|rest| rest.split(" today").next());
                    let key = (day.clone(), format!("{}: {}", reason.subject, what.unwrap_or_default()));
                    if !told.contains(&key) {
                        tracing::warn!(subject = reason.subject, "a daily share jumps: {}", reason.text);
                        told.push(key);
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(ops::canary::EVERY) => {}
                }
            }
        }
    })
}

/// When silence is a failure, stream by stream.
fn expectations(config: &Config) -> Vec<(StreamId, crate::config::Expect)> {
    let streams = config.sources.iter().flat_map(|source| &source.streams);
    streams.filter_map(|stream| Some((stream.id.clone(), stream.expect.clone()?))).collect()
}

/// Maps again what was held or mapped under another version, once after each start.
fn renormalise(supervisor: &Supervisor, stop: &CancellationToken, again: Again) -> Task {
    let stop_task = stop.clone();
    supervisor.spawn("renormalise", stop.clone(), move || {
        let (again, stop) = (again.clone(), stop_task.clone());
        async move {
            again.catch_up(&stop).await.map_err(|error| format!("map again what another mapping made: {error}"))?;
            stop.cancelled().await;
            Ok(())
        }
    })
}

#[expect(clippy::too_many_arguments, reason = "called once, from the start-up order")]
fn deliver(
    config: &Arc<Config>,
    store: &Store,
    clock: &Clock,
    supervisor: &Supervisor,
    stop: &CancellationToken,
    slot: &DeliverySlot,
    first: Delivery,
    state: &ops::State,
) -> Vec<Task> {
    let pulse = Arc::new(pulse::AgentPulse(state.clone()));
    let beats = first.heartbeats(pulse.clone());
    let mut first = Some(first);
    let (again, store, clock, slot, stop_task) =
        (config.clone(), store.clone(), clock.clone(), slot.clone(), stop.clone());
    let sender = supervisor.spawn("delivery", stop.clone(), move || {
        let delivery = match first.take() {
            Some(delivery) => Ok(delivery),
            None => Delivery::new(&again.upstream, &again.base_dir, store.clone(), clock.clone()),
        };
        let (slot, stop, store) = (slot.clone(), stop_task.clone(), store.clone());
        async move {
            let delivery = delivery.map_err(|error| error.to_string())?;
            // After a panic: what the lost sender had claimed goes back, under the same ids.
            store.unclaim().await.map_err(|error| error.to_string())?;
            slot.set(delivery.handle());
            delivery.run(stop).await;
            Ok(())
        }
    });
    let mut beats = Some(beats);
    let (config, store, clock, stop_task) = (config.clone(), state.store.clone(), state.clock.clone(), stop.clone());
    let heart = supervisor.spawn("heartbeat", stop.clone(), move || {
        let beats = beats.take().map(Ok).unwrap_or_else(|| {
            Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock.clone())
                .map(|delivery| delivery.heartbeats(pulse.clone()))
        });
        let stop = stop_task.clone();
        async move {
            beats.map_err(|error| error.to_string())?.run(stop).await;
            Ok(())
        }
    });
    vec![sender, heart]
}

fn serve(
    supervisor: &Supervisor,
    stop: &CancellationToken,
    config: &Arc<Config>,
    opened: Opened,
    state: ops::State,
) -> Task {
    let address = opened.address;
    let mut first = Some(opened);
    let (stop_task, config) = (stop.clone(), config.clone());
    supervisor.spawn("admin", stop.clone(), move || {
        let (opened, state, stop, config) = (first.take(), state.clone(), stop_task.clone(), config.clone());
        async move {
            let opened = match opened {
                Some(opened) => opened,
                None => config
                    .admin
                    .open(&config.base_dir, Some(address))
                    .await
                    .map_err(|error| connector_api::chain(&error))?,
            };
            ops::serve(opened, state, stop).await.map_err(|error| error.to_string())
        }
    })
}

/// Waits until nothing is due any more, or delivery is held up anyway.
async fn drain(store: &Store, delivery: &DeliverySlot, clock: &Clock) {
    loop {
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
