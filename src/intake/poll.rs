//! Asks one stream's poller, on schedule, and commits what it yields.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use connector_api::{Action, Batch, FaultClass, Mode, Poller, Request, SourceError, StreamId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::board::{Board, StreamFailure, StreamState};
use super::gate::{Closure, Gate};
use super::normalise::Normaliser;
use super::reconcile::{Reconcile, Wanted};
use super::schedule::Schedule;
use super::source::{Admission, SourceBreaker};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::store::{self, IncomingBatch, Moment, RecordReceipt, SnapshotPolicy, Store};

/// Longer than any sane query, short enough that a hung driver is noticed the same hour.
const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);

/// After a failure that needs a person (a refused login, a missing view) a stream is tried again
/// this seldom: often enough to go on by itself once the hospital has repaired it, too seldom to
/// lock an account.
const STOPPED_RETRY: Duration = Duration::from_secs(30 * 60);

/// How often a long wait looks at the clock again, so that a clock set forward or back is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// A catalogue larger than this isn't one; its snapshot is refused rather than held in memory.
const MAX_SNAPSHOT_RECORDS: usize = 200_000;

/// What is needed to run one stream, beside its poller.
pub struct PollStream {
    /// The stream.
    pub id: StreamId,
    /// How it yields its records.
    pub mode: Mode,
    /// When it is asked.
    pub schedule: Schedule,
    /// When a window of how many days is read again.
    pub sweep: Option<(Schedule, Duration)>,
    /// The hospital's time zone.
    pub zone: Tz,
    /// About how many records one fetch asks for.
    pub batch_size: usize,
    /// When a snapshot's missing entities may be withdrawn.
    pub snapshot: SnapshotPolicy,
    /// The mapping.
    pub normaliser: Normaliser,
    /// Where records go.
    pub store: Store,
    /// What stops intake.
    pub gate: Arc<Gate>,
    /// The breaker of its source.
    pub breaker: Arc<SourceBreaker>,
    /// Where its status is shown.
    pub board: Board,
    /// The time.
    pub clock: Clock,
    /// When a closed period is compared with the source.
    pub reconcile: Reconcile,
}

/// What a stream's task is asked for outside its schedule.
#[derive(Debug)]
pub enum RoundRequest {
    /// A round now; answered when one that began afterwards has ended.
    Read(oneshot::Sender<Result<RoundReport, String>>),
    /// A comparison with the source; the store tells when it is done.
    Reconcile(Wanted),
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// Records that the source gave.
    pub read: u64,
    /// Records among them that were new.
    pub new: u64,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The source failed.
    #[error("the source failed")]
    Source(#[source] SourceError),
    /// The store failed.
    #[error("the store could not commit a page")]
    Store(#[source] store::Error),
    /// The source did not answer for so long that its connection is given up.
    #[error("no answer for {} minutes", FETCH_LIMIT.as_secs() / 60)]
    Hung,
    /// There is no room on the disk, or in the outbox.
    #[error("{}", .0.text)]
    NoRoom(Closure),
}

/// The poller hung: it must be built anew. The supervisor does so.
#[derive(Debug, thiserror::Error)]
#[error("the source did not answer; its connection is built anew")]
pub struct NeedsRebuild;

#[derive(Clone, Copy)]
enum Round {
    Regular,
    Sweep,
    Reconcile(Option<Wanted>),
}

impl PollStream {
    /// Runs the stream until `stop`. A round in progress ends after the page that it is at.
    pub async fn run(
        &self,
        poller: &mut dyn Poller,
        requests: &mut mpsc::Receiver<RoundRequest>,
        stop: &CancellationToken,
    ) -> Result<(), NeedsRebuild> {
        let backoff = || Backoff::new(Duration::from_secs(2), Duration::from_secs(300));
        let (mut failing, mut sweep_failing, mut reconcile_failing) = (backoff(), backoff(), backoff());
        let (mut waiters, mut wanted) = (Vec::new(), VecDeque::new());
        // When the next times were worked out. A clock that is before this was turned back.
        let mut since = self.clock.now();
        let mut due = since;
        let mut sweep_due = self.next_sweep(since);
        let mut resets = self.breaker.resets();
        let mut reconcile_due = self.reconcile.next_after(since);
        let mut switched = self.gate.switches().map(crate::switches::Switches::changes);
        // Whether the last regular round was refused because a person paused the stream.
        let mut paused = false;
        // When the last regular round ended, and when the next would be due where a person did not slow it down.
        let mut read_at: Option<DateTime<Utc>> = None;
        let mut slowed: Option<DateTime<Utc>> = None;
        loop {
            if let (Some(least), Some(read_at)) = (self.gate.poll_interval(&self.id), read_at)
                && read_at + least > due
            {
                slowed.get_or_insert(due);
                due = read_at + least;
            }
            let next_at = self.breaker.retry_at(&self.id).map_or(due, |at| at.max(due));
            self.board.update(&self.id, |status| status.next_at = Some(next_at));
            let mut take = |request| match request {
                RoundRequest::Read(waiter) => waiters.push(waiter),
                RoundRequest::Reconcile(asked) => wanted.push_back(asked),
            };
            while let Ok(request) = requests.try_recv() {
                take(request);
            }
            let asked = !waiters.is_empty() || !wanted.is_empty();
            let (round, admission) = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = std::future::ready(()), if asked => {
                    let round = match waiters.is_empty() {
                        false => Round::Regular,
                        true => Round::Reconcile(wanted.pop_front()),
                    };
                    (round, self.breaker.asked(&self.id))
                }
                Some(request) = requests.recv() => {
                    match request {
                        RoundRequest::Read(waiter) => waiters.push(waiter),
                        RoundRequest::Reconcile(asked) => wanted.push_back(asked),
                    }
                    continue;
                }
                // What was paused may go on now, and what was slowed down be read sooner.
                () = changed(&mut switched) => {
                    due = slowed.take().unwrap_or(due);
                    due = if paused { self.clock.now() } else { due };
                    continue;
                }
                // The breaker lives as long as this stream.
                _ = resets.changed() => {
                    failing.reset();
                    due = self.clock.now();
                    continue;
                }
                admitted = async {
                    let round = self.wait(due, [sweep_due, reconcile_due], since).await;
                    (round, self.breaker.admitted(&self.id).await)
                } => admitted,
            };
            let result = self.round(poller, round, stop).await;
            tell(admission, &result);
            let now = self.clock.now();
            if matches!(round, Round::Regular) {
                paused = matches!(&result, Err(RoundError::NoRoom(closure)) if closure.code == "paused");
                read_at = if paused { read_at } else { Some(now) };
                slowed = None;
            }
            let next = self.schedule.next_after(now).unwrap_or(now + STOPPED_RETRY);
            let (next_sweep, next_reconcile) = (self.next_sweep(now), self.reconcile.next_after(now));
            match (round, &result) {
                (Round::Regular, Ok(_)) => {
                    failing.reset();
                    due = next;
                }
                (Round::Regular, Err(error)) => due = self.after_failure(error, &mut failing, now, next),
                // A sweep that fails is tried again soon, and delays no regular round.
                (Round::Sweep, Ok(_)) => {
                    sweep_failing.reset();
                    sweep_due = next_sweep;
                }
                (Round::Sweep, Err(error)) => {
                    sweep_due = Some(self.after_failure(error, &mut sweep_failing, now, next_sweep.unwrap_or(next)));
                }
                // One that a person asked for is not made again by itself: the report says that it failed.
                (Round::Reconcile(Some(_)), Ok(_)) => {}
                (Round::Reconcile(Some(wanted)), Err(error)) => {
                    self.give_up(wanted.run, &error.to_string()).await;
                    self.after_failure(error, &mut reconcile_failing, now, next);
                }
                (Round::Reconcile(None), Ok(_)) => {
                    reconcile_failing.reset();
                    reconcile_due = next_reconcile;
                }
                (Round::Reconcile(None), Err(error)) => {
                    let latest = next_reconcile.unwrap_or(next);
                    reconcile_due = Some(self.after_failure(error, &mut reconcile_failing, now, latest));
                }
            }
            if now < since {
                sweep_due = next_sweep;
                reconcile_due = next_reconcile;
            }
            since = now;
            let hung = matches!(result, Err(RoundError::Hung));
            if matches!(round, Round::Regular) {
                let answer = result.map_err(|error| error.to_string());
                for waiter in waiters.drain(..) {
                    // Whoever asked may have gone; the round was made all the same.
                    let _ = waiter.send(answer.clone());
                }
            }
            if hung {
                for wanted in wanted {
                    self.give_up(wanted.run, "the source's connection is built anew").await;
                }
                return Err(NeedsRebuild);
            }
        }
    }

    /// Ends a comparison that is not made. Where the store fails as well, the next start ends it.
    async fn give_up(&self, run: i64, why: &str) {
        let _ = self.store.reconcile_fail(run, why).await;
    }

    fn next_sweep(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.sweep.as_ref().and_then(|(schedule, _)| schedule.next_after(now))
    }

    /// Waits until a regular round, a sweep or a comparison is due. A clock that was turned back would put off what
    /// is due by as much, so the stream is read at once and its times are worked out anew.
    async fn wait(&self, due: DateTime<Utc>, others: [Option<DateTime<Utc>>; 2], since: DateTime<Utc>) -> Round {
        let [sweep_due, reconcile_due] = others;
        loop {
            let now = self.clock.now();
            if due <= now || now < since {
                return Round::Regular;
            }
            if sweep_due.is_some_and(|at| at <= now) {
                return Round::Sweep;
            }
            if reconcile_due.is_some_and(|at| at <= now) {
                return Round::Reconcile(None);
            }
            let next = others.into_iter().flatten().fold(due, DateTime::min);
            let wait = (next - now).to_std().unwrap_or_default();
            tokio::time::sleep(wait.min(CLOCK_CHECK)).await;
        }
    }

    async fn round(
        &self,
        poller: &mut dyn Poller,
        round: Round,
        stop: &CancellationToken,
    ) -> Result<RoundReport, RoundError> {
        if let Some(reason) = self.gate.closed_for(&self.id) {
            return Err(RoundError::NoRoom(reason));
        }
        let began = self.clock.now();
        self.board.update(&self.id, |status| {
            status.state = StreamState::Reading;
            status.last_attempt_at = Some(began);
        });
        let report = match (round, self.mode) {
            (Round::Sweep, _) => self.sweep(poller, stop).await?,
            (Round::Reconcile(wanted), _) => self.reconcile(poller, wanted, stop).await?,
            (Round::Regular, Mode::Snapshot) => self.catalogue(poller, stop).await?,
            (Round::Regular, _) => self.changes(poller, stop).await?,
        };
        if matches!(round, Round::Regular) && !stop.is_cancelled() {
            self.store.judge(&self.id, Moment::Round).await.map_err(RoundError::Store)?;
        }
        let ended = self.clock.now();
        self.board.update(&self.id, |status| {
            status.state = StreamState::Waiting;
            status.last_success_at = Some(ended);
            status.rounds += 1;
            status.records += report.new;
            status.failures = 0;
            status.failure = None;
            if report.new > 0 {
                status.last_record_at = Some(ended);
            }
        });
        Ok(report)
    }

    /// Reads what changed, page by page. Each page is committed with the advance it justifies, so
    /// a crash costs at most one page of reading again.
    pub(super) async fn changes(
        &self,
        poller: &mut dyn Poller,
        stop: &CancellationToken,
    ) -> Result<RoundReport, RoundError> {
        let mut report = RoundReport::default();
        let mut after = None;
        loop {
            let from = self.store.watermark(&self.id).await.map_err(RoundError::Store)?;
            let request = Request::Changes { from: &from, after: after.as_ref() };
            let batch = self.fetch(poller, request).await?;
            after = batch.next.clone();
            self.commit(poller, batch, &mut report).await?;
            if after.is_none() || stop.is_cancelled() {
                return Ok(report);
            }
        }
    }

    /// Reads a window again, to find edits that did not touch the timestamp.
    async fn sweep(&self, poller: &mut dyn Poller, stop: &CancellationToken) -> Result<RoundReport, RoundError> {
        let window = self.sweep.as_ref().map_or(Duration::ZERO, |(_, window)| *window);
        let since = (self.clock.now() - window).with_timezone(&self.zone).naive_local();
        let mut report = RoundReport::default();
        let mut after = None;
        loop {
            let batch = self.fetch(poller, Request::Window { since, after: after.as_ref() }).await?;
            after = batch.next.clone();
            self.commit(poller, batch, &mut report).await?;
            if after.is_none() || stop.is_cancelled() {
                return Ok(report);
            }
        }
    }

    /// Reads a whole catalogue and commits it in one transaction, because half a catalogue would
    /// say that the other half is gone.
    async fn catalogue(&self, poller: &mut dyn Poller, stop: &CancellationToken) -> Result<RoundReport, RoundError> {
        let mut records = Vec::new();
        let mut after = None;
        let counted = loop {
            let batch = self.fetch(poller, Request::Snapshot { after: after.as_ref() }).await?;
            records.extend(batch.records.into_iter().map(|record| self.normaliser.received(record)));
            if records.len() > MAX_SNAPSHOT_RECORDS {
                let operation = format!("read a snapshot of at most {MAX_SNAPSHOT_RECORDS} records");
                return Err(RoundError::Source(
                    SourceError::stop(FaultClass::Data, operation)
                        .hint("use an incremental stream for data that grows"),
                ));
            }
            after = batch.next;
            if after.is_none() {
                break batch.counted;
            }
            if stop.is_cancelled() {
                return Ok(RoundReport::default());
            }
        };
        let read = records.len() as u64;
        if let Some(counted) = counted
            && counted != read
        {
            let operation =
                format!("read a consistent snapshot: the source counts {counted} records, {read} were read");
            return Err(RoundError::Source(SourceError::retry(FaultClass::Data, operation)));
        }
        let batch = IncomingBatch { stream: self.id.clone(), records, advance: None, snapshot: Some(self.snapshot) };
        let committed = self.store.commit(batch).await.map_err(RoundError::Store)?;
        self.told(poller).await?;
        Ok(RoundReport { read, new: new_records(&committed.receipts) })
    }

    pub(super) async fn fetch(&self, poller: &mut dyn Poller, request: Request<'_>) -> Result<Batch, RoundError> {
        // Asked for each page: the first reading of a large source takes many.
        if let Some(reason) = self.gate.closed_for(&self.id) {
            return Err(RoundError::NoRoom(reason));
        }
        match tokio::time::timeout(FETCH_LIMIT, poller.fetch(request, self.batch_size)).await {
            Ok(fetched) => fetched.map_err(RoundError::Source),
            Err(_) => Err(RoundError::Hung),
        }
    }

    async fn commit(&self, poller: &mut dyn Poller, batch: Batch, report: &mut RoundReport) -> Result<(), RoundError> {
        report.read += batch.records.len() as u64;
        let records: Vec<_> = batch.records.into_iter().map(|record| self.normaliser.received(record)).collect();
        if records.is_empty() && batch.advance.is_none() {
            return Ok(());
        }
        let batch = IncomingBatch { stream: self.id.clone(), records, advance: batch.advance, snapshot: None };
        let committed = self.store.commit(batch).await.map_err(RoundError::Store)?;
        report.new += new_records(&committed.receipts);
        self.store.judge(&self.id, Moment::Batch).await.map_err(RoundError::Store)?;
        self.told(poller).await
    }

    /// Lets the source know that what it gave is on stable storage.
    pub(super) async fn told(&self, poller: &mut dyn Poller) -> Result<(), RoundError> {
        match tokio::time::timeout(FETCH_LIMIT, poller.committed()).await {
            Ok(told) => told.map_err(RoundError::Source),
            Err(_) => Err(RoundError::Hung),
        }
    }

    /// Shows a failure, and says when to try again.
    fn after_failure(
        &self,
        error: &RoundError,
        backoff: &mut Backoff,
        now: DateTime<Utc>,
        regular: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let (state, failure, due) = match error {
            RoundError::Source(source) => {
                let (state, due) = match source.action {
                    Action::Retry { after } => {
                        let wait = backoff.next_wait().max(after.unwrap_or_default());
                        let soon = now + wait;
                        (StreamState::Failing, if after.is_some() { soon } else { soon.min(regular) })
                    }
                    Action::Stop => (StreamState::Stopped, now + STOPPED_RETRY),
                };
                (state, StreamFailure::of(source, now), due)
            }
            RoundError::NoRoom(reason) => {
                let failure = StreamFailure {
                    at: now,
                    class: match reason.code {
                        "disk" => "disk-floor",
                        "paused" => "paused",
                        _ => "outbox-limit",
                    }
                    .to_owned(),
                    message: reason.text.clone(),
                    hint: Some(reason.next.clone()),
                };
                (StreamState::Paused, failure, now + CLOCK_CHECK)
            }
            RoundError::Store(_) | RoundError::Hung => {
                let message = connector_api::chain(error);
                let class = if matches!(error, RoundError::Hung) { "timeout" } else { "store" };
                let failure = StreamFailure { at: now, class: class.to_owned(), message, hint: None };
                (StreamState::Failing, failure, (now + backoff.next_wait()).min(regular))
            }
        };
        let mut paused_already = false;
        self.board.update(&self.id, |status| {
            paused_already = status.state == StreamState::Paused;
            status.state = state;
            status.failures += 1;
            status.failure = Some(failure.clone());
        });
        match state {
            StreamState::Stopped => {
                tracing::error!(stream = %self.id, class = failure.class, "stream stopped: {}", failure.message);
            }
            // Looked at every few seconds; one line says it.
            StreamState::Paused if paused_already => {}
            _ => tracing::warn!(stream = %self.id, class = failure.class, "round failed: {}", failure.message),
        }
        due
    }
}

/// Waits until a switch is set, cleared or has ended; for ever where there are none.
async fn changed(switched: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    if let Some(switched) = switched
        && switched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// What a round says of its source. One that ended for another reason says nothing.
fn tell(admission: Admission, result: &Result<RoundReport, RoundError>) {
    match result {
        Ok(_) => admission.answered(),
        Err(RoundError::Source(error)) => admission.failed(error.class),
        Err(RoundError::Hung) => admission.failed(FaultClass::Timeout),
        Err(RoundError::Store(_) | RoundError::NoRoom(_)) => {}
    }
}

pub(super) fn new_records(receipts: &[RecordReceipt]) -> u64 {
    receipts.iter().filter(|receipt| matches!(receipt, RecordReceipt::Stored { .. })).count() as u64
}
