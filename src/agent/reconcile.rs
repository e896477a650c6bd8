//! Comparing: a new store begins with what upstream has, upstream is compared on schedule, and so are the streams that
//! no poller's task looks after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use connector_api::{Mode, StreamId};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::sources::{self, Rounds};
use super::supervisor::{Supervisor, Task};
use crate::clock::Clock;
use crate::config::{Config, StreamConfig};
use crate::delivery::digests::{COMPARED, Error};
use crate::delivery::{Delivery, Digests};
use crate::intake::reconcile::{Comparable, Lags, Period, Policy, ask, ledger_only};
use crate::intake::{Board, Reconciler, Schedule};
use crate::model::EntityType;
use crate::store::{self, Finished, Healed, Scope, Store};

/// How often a long wait looks at the clock again, so that a clock set forward or back is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// A scheduled comparison with upstream that failed is made again so much later.
const RETRY: chrono::TimeDelta = chrono::TimeDelta::minutes(30);

/// So long polled streams of a new store wait to be told what upstream has.
const LEARNING: Duration = Duration::from_secs(10 * 60);

/// When a stream is compared, as its configuration says.
pub fn policy(config: &Config, stream: &StreamConfig) -> Option<Policy> {
    let table = stream.reconcile.as_ref()?;
    Some(Policy {
        schedule: Schedule::new(table.schedule.clone(), config.agent.timezone),
        window: table.window,
        lags: Lags { closed_after: table.lag, undelivered_after: table.undelivered_after },
    })
}

/// What asks for comparisons; those with upstream through `upstream`.
pub fn reconciler(
    config: &Config,
    store: &Store,
    clock: &Clock,
    rounds: &Rounds,
    upstream: mpsc::Sender<i64>,
) -> Reconciler {
    let streams = config.sources.iter().flat_map(|source| &source.streams).map(|stream| {
        let lags = policy(config, stream).map_or_else(Lags::default, |policy| policy.lags);
        let task = rounds.sender(&stream.id);
        (stream.id.clone(), Comparable { mode: stream.mode, lags, task })
    });
    let streams: HashMap<StreamId, Comparable> = streams.collect();
    Reconciler {
        store: store.clone(),
        clock: clock.clone(),
        zone: config.agent.timezone,
        streams: Arc::new(streams),
        upstream,
    }
}

/// Waits until it is known what upstream has; not for ever, and not where that can't be known.
pub async fn learnt(mut learning: watch::Receiver<bool>, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        // An error says that nobody learns any more.
        _ = tokio::time::timeout(LEARNING, learning.wait_for(|learnt| *learnt)) => {}
    }
}

/// What the task that compares with upstream needs.
pub struct WithUpstream {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The store.
    pub store: Store,
    /// The statuses of the streams.
    pub board: Board,
    /// The time.
    pub clock: Clock,
}

/// Lets a new store begin with what upstream has, then compares the two on schedule and when asked.
pub fn with_upstream(
    of: WithUpstream,
    supervisor: &Supervisor,
    stop: &CancellationToken,
    asked: mpsc::Receiver<i64>,
    learnt: watch::Sender<bool>,
) -> Task {
    let (asked, of) = (Arc::new(Mutex::new(asked)), Arc::new(of));
    let stop_task = stop.clone();
    supervisor.spawn("upstream digests", stop.clone(), move || {
        let (of, asked, learnt, stop) = (of.clone(), asked.clone(), learnt.clone(), stop_task.clone());
        async move {
            let WithUpstream { config, store, clock, .. } = &*of;
            let delivery = Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock.clone());
            let digests =
                delivery.map_err(|error| error.to_string())?.digests(&config.agent.hospital, &config.agent.campus);
            let learning = async {
                match digests.learn().await {
                    Ok(Some(known)) if known > 0 => tracing::info!(known, "a new store begins with what upstream has"),
                    Ok(_) | Err(Error::Unsupported { .. }) => {}
                    Err(error) => tracing::warn!(%error, "what upstream has could not be learnt"),
                }
            };
            tokio::select! {
                // Whoever takes its place learns.
                () = stop.cancelled() => return Ok(()),
                () = learning => {}
            }
            learnt.send_replace(true);
            let mut asked = asked.lock().await;
            of.serve(&digests, &mut asked, &stop).await
        }
    })
}

impl WithUpstream {
    async fn serve(
        &self,
        digests: &Digests,
        asked: &mut mpsc::Receiver<i64>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let schedule = self.config.upstream.anti_entropy.schedule();
        let schedule = schedule.map(|schedule| Schedule::new(schedule, self.config.agent.timezone));
        let next = || schedule.as_ref().and_then(|schedule| schedule.next_after(self.clock.now()));
        let mut due = next();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(run) = asked.recv() => {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        done = compare(digests, &self.store, run, |entity| self.read(entity)) => {
                            done.map_err(|error| error.to_string())?;
                        }
                    }
                }
                () = wait(&self.clock, due) => {
                    due = next();
                    let run = self.store.reconcile_ask(store::UPSTREAM, Scope::Upstream, None, "schedule").await;
                    let run = run.map_err(|error| error.to_string())?;
                    let done = tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        done = compare(digests, &self.store, run, |entity| self.read(entity)) => done,
                    };
                    match done.map_err(|error| error.to_string())? {
                        Ended::Done => {}
                        Ended::Failed => {
                            let soon = self.clock.now() + RETRY;
                            due = Some(due.map_or(soon, |regular| regular.min(soon)));
                        }
                        // It has no comparisons that could fail.
                        Ended::Unsupported => {
                            self.store.reconcile_cancel(run).await.map_err(|error| error.to_string())?;
                        }
                    }
                }
            }
        }
    }

    /// The streams that yield a type, once each of them that can be polled was read to its end since the start.
    fn read(&self, entity: EntityType) -> Option<Vec<String>> {
        let streams: Vec<_> = self.board.all().into_iter().filter(|stream| stream.entity == entity).collect();
        let read = streams.iter().all(|stream| stream.mode == Mode::Push || stream.rounds > 0);
        (read && !streams.is_empty()).then(|| streams.into_iter().map(|stream| stream.id.to_string()).collect())
    }
}

/// How a comparison with upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was made.
    Done,
    /// It could not be made this time: the report says why.
    Failed,
    /// Upstream has no digests.
    Unsupported,
}

/// Compares with upstream, and notes what came of it.
pub async fn compare(
    digests: &Digests,
    store: &Store,
    run: i64,
    read: impl Fn(EntityType) -> Option<Vec<String>>,
) -> Result<Ended, store::Error> {
    store.reconcile_begin(run).await?;
    let found = match digests.compare(run).await {
        Ok(found) => found,
        Err(error) => {
            store.reconcile_fail(run, &connector_api::chain(&error)).await?;
            let unsupported = matches!(error, Error::Unsupported { .. });
            return Ok(if unsupported { Ended::Unsupported } else { Ended::Failed });
        }
    };
    let (mut extra, mut unread) = (0, Vec::new());
    for entity in COMPARED {
        match read(entity) {
            Some(streams) => extra += store.upstream_excess(entity, streams).await?,
            None => unread.push(entity.as_str()),
        }
    }
    let Healed { resent, revised, pending, .. } = found.healed;
    let note = (!unread.is_empty() && found.unknown > 0).then(|| {
        format!("what upstream has in excess is not told before every stream was read: {}", unread.join(", "))
    });
    let finished = Finished {
        compared: found.agreed + found.lost + found.differing + found.unknown,
        agreed: found.agreed,
        held: 0,
        missing: found.lost,
        differing: found.differing,
        extra,
        repaired: resent + revised,
        requests: found.requests,
        note,
    };
    if found.lost + found.differing + extra > 0 {
        let (lost, differing) = (found.lost, found.differing);
        tracing::warn!(run, lost, differing, extra, resent, revised, pending, "upstream and the ledger differed");
    }
    store.reconcile_end(run, finished, None).await?;
    Ok(Ended::Done)
}

async fn wait(clock: &Clock, due: Option<DateTime<Utc>>) {
    loop {
        let Some(due) = due else { return std::future::pending().await };
        let left = (due - clock.now()).to_std().unwrap_or_default();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}

/// Compares the ledger of listeners' streams with the receipts on schedule; `None` where none is to be compared.
pub fn listeners(shared: &sources::Shared, supervisor: &Supervisor, stop: &CancellationToken) -> Option<Task> {
    let all = || shared.config.sources.iter().flat_map(|source| &source.streams);
    let pushed = |stream: &&StreamConfig| stream.schedule.is_none() && stream.reconcile.is_some();
    all().find(pushed)?;
    let (shared, stop_task) = (shared.clone(), stop.clone());
    Some(supervisor.spawn("reconcile listeners", stop.clone(), move || {
        let (shared, stop) = (shared.clone(), stop_task.clone());
        async move {
            let sources::Shared { config, store, clock, .. } = &shared;
            let streams: Vec<(StreamId, Policy)> = config
                .sources
                .iter()
                .flat_map(|source| &source.streams)
                .filter(pushed)
                .filter_map(|stream| Some((stream.id.clone(), policy(config, stream)?)))
                .collect();
            let next = |policy: &Policy| policy.schedule.next_after(clock.now());
            let mut due: Vec<Option<DateTime<Utc>>> = streams.iter().map(|(_, policy)| next(policy)).collect();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = wait(clock, due.iter().flatten().min().copied()) => {}
                }
                for ((stream, policy), due) in streams.iter().zip(&mut due) {
                    if due.is_some_and(|at| at <= clock.now()) {
                        *due = next(policy);
                        let zone = config.agent.timezone;
                        let period = Period::last(clock.now(), zone, policy.window, policy.lags.closed_after);
                        let done = async {
                            let run = ask(store, stream, Mode::Push, &period, zone, "schedule").await?;
                            ledger_only(store, clock, Mode::Push, policy.lags, run).await
                        };
                        done.await.map_err(|error: store::Error| error.to_string())?;
                    }
                }
            }
        }
    }))
}
