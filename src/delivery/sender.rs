//! The loop that takes entries from the outbox and sends them.
//!
//! A batch that gets no answer stays together in memory and is sent again under the same
//! `webhook-id`, a few times; then its entries go back to the outbox with a retry time. Entries that
//! were part of a failing batch before travel in ever smaller ones, so that one that upstream chokes
//! on ends up alone and delays nobody else (P5). While the breaker is open nothing is claimed but
//! the one entry that asks whether upstream is well again.
//!
//! After a crash the store gives everything back that was not settled; it is sent under the same
//! event ids (P4).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use reqwest::Method;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Resets;
use super::classify::{Answer, EventReceipt, Failure, Reply, classify};
use super::client::{BATCH_MEDIA_TYPE, Client, Outgoing, join_events};
use super::signature::batch_id;
use super::status::{LastFailure, Status, explain};
use crate::breaker::{Breaker, Permit};
use crate::retry::Policy;
use crate::store::{ClaimLimit, Entry, Settlement, Store, Verdict};
use crate::switches::{DELIVERY_BATCH, DELIVERY_PARALLEL, HOLD_DELIVERIES, Switches};

/// So often a batch is sent as it is before its entries go back to the outbox.
const BATCH_ATTEMPTS: u32 = 4;

/// So long a batch may stay together in memory: shorter than the store's lease on what was claimed.
const TOGETHER: Duration = Duration::from_secs(240);

/// So long a graceful stop waits for answers. Whatever is still out then is ambiguous, and is sent
/// again after the next start under the same ids.
const DRAIN: Duration = Duration::from_secs(10);

/// The store is asked for work so often even if nothing woke the loop: a lost wake-up costs seconds, not a day.
const IDLE: Duration = Duration::from_secs(5);

/// Entries that travel, or wait to travel, together.
#[derive(Debug)]
struct Batch {
    entries: Vec<Entry>,
    /// Attempts of exactly this batch.
    attempts: u32,
    due: Instant,
    claimed: Instant,
}

impl Batch {
    fn new(entries: Vec<Entry>, now: Instant) -> Batch {
        Batch { entries, attempts: 0, due: now, claimed: now }
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.body.len()).sum()
    }
}

/// What an exchange with the store is about.
#[derive(Debug)]
struct Exchanged {
    settlements: Vec<Settlement>,
    limit: ClaimLimit,
    since: Instant,
}

/// After the store failed it is asked again so much later.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Sender {
    client: Client,
    store: Store,
    policy: Policy,
    breaker: Breaker,
    waiting: Vec<Batch>,
    flying: JoinSet<Reply>,
    flights: HashMap<Id, (Batch, Instant)>,
    /// Settlements that the store has not been told of yet.
    unsettled: Vec<Settlement>,
    /// The store being told of settlements and asked for the next batch; at most one at a time.
    exchange: JoinSet<Result<Vec<Entry>, crate::store::Error>>,
    /// What it is about.
    exchanged: Exchanged,
    /// Whether something may wait that must not.
    urgent: bool,
    /// Whether the last claim was as large as it might be, so that there is probably more.
    more: bool,
    status: Status,
    publish: watch::Sender<Status>,
    resets: Resets,
    switches: Switches,
}

impl Sender {
    pub(super) fn new(
        client: Client,
        store: Store,
        publish: watch::Sender<Status>,
        resets: Resets,
        switches: Switches,
    ) -> Sender {
        let policy = client.settings().retry.policy();
        let status = publish.borrow().clone();
        Sender {
            client,
            store,
            policy,
            breaker: Breaker::new(policy),
            waiting: Vec::new(),
            flying: JoinSet::new(),
            flights: HashMap::new(),
            unsettled: Vec::new(),
            exchange: JoinSet::new(),
            exchanged: Exchanged {
                settlements: Vec::new(),
                limit: ClaimLimit { events: 0, bytes: 0 },
                since: Instant::now(),
            },
            urgent: true,
            more: false,
            status,
            publish,
            resets,
            switches,
        }
    }

    /// Whether a person wants events to wait in the outbox.
    fn held(&self) -> bool {
        self.switches.on(&HOLD_DELIVERIES).is_some()
    }

    /// The most events in a batch now.
    fn batch_events(&self) -> usize {
        let configured = self.client.settings().batch_max_events;
        self.switches.number(&DELIVERY_BATCH).map_or(configured, |most| most.min(configured))
    }

    /// How many batches may be on their way now.
    fn parallel(&self) -> usize {
        let configured = self.client.settings().parallel;
        self.switches.number(&DELIVERY_PARALLEL).map_or(configured, |most| most.min(configured))
    }

    /// Delivers until told to stop, then waits for what is on its way.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (store, resets) = (self.store.clone(), self.resets.clone());
        let mut written = true;
        let mut switched = self.switches.changes();
        while !stop.is_cancelled() {
            // What is claimed already leaves before the store is told of what has come back, unless it is in trouble.
            if written && !self.held() {
                self.launch_ready();
            }
            if !self.held() {
                self.reach_ahead();
            }
            // What comes back meanwhile is written with the next exchange.
            written = !self.exchange.is_empty() || self.flush().await;
            let wake = match written {
                false => Instant::now() + STORE_PAUSE,
                // A switch that ends by itself is noticed so soon.
                true if self.held() => {
                    self.release_old().await;
                    Instant::now() + IDLE
                }
                true => self.fill().await,
            };
            self.show();
            tokio::select! {
                Some(done) = self.flying.join_next_with_id() => self.land(done),
                Some(done) = self.exchange.join_next() => self.end_exchange(done),
                () = stop.cancelled() => break,
                () = resets.notified() => self.breaker.reset(),
                // The switches live as long as this sender.
                _ = switched.changed() => {}
                () = store.urgent_arrived() => self.urgent = true,
                () = store.work_arrived(), if self.may_claim() => {}
                () = sleep_until(wake) => {}
            }
        }
        self.drain().await;
    }

    fn may_claim(&self) -> bool {
        let permitted = matches!(self.breaker.permit(Instant::now()), Permit::Free | Permit::Probe);
        permitted && !self.held() && self.has_room()
    }

    /// Whether another batch may be claimed: memory is bounded by what waits and flies (P8).
    fn has_room(&self) -> bool {
        let settings = self.client.settings();
        let waiting: usize = self.waiting.iter().map(Batch::bytes).sum();
        self.flights.len() < self.parallel() && waiting < 4 * settings.parallel * settings.batch_max_bytes
    }

    /// Sends as much as may be sent now; returns when to look again, if nothing comes back before.
    async fn fill(&mut self) -> Instant {
        let idle = Instant::now() + IDLE;
        self.release_old().await;
        self.fill_urgent().await;
        while self.flights.len() < self.parallel() {
            let now = Instant::now();
            let probe = match self.breaker.permit(now) {
                Permit::Free => false,
                // Answers to older requests come first: they tell as much as a probe does.
                Permit::Probe if !self.flights.is_empty() => return idle,
                Permit::Probe => true,
                Permit::WaitUntil(until) => return until,
                Permit::WaitForProbe => return idle,
            };
            // The next batch is under way from the store.
            if !self.exchange.is_empty() {
                match if probe { None } else { self.next_waiting(now) } {
                    Some(batch) => self.launch(batch),
                    None => return idle,
                }
                continue;
            }
            match self.next_batch(now, probe).await {
                Ok(Some(batch)) => self.launch(batch),
                Ok(None) => return self.next_wake(now).await,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the outbox can't be used");
                    return now + STORE_PAUSE;
                }
            }
            if probe {
                self.breaker.begin_probe();
            }
        }
        idle
    }

    /// Sends batches that waited long enough, as far as there are places.
    fn launch_ready(&mut self) {
        let now = Instant::now();
        while self.flights.len() < self.parallel() && self.breaker.permit(now) == Permit::Free {
            match self.next_waiting(now) {
                Some(batch) => self.launch(batch),
                None => return,
            }
        }
    }

    /// Begins to claim the next batch while others are on their way, where the last claim was a full one, and writes
    /// what has come back in the same transaction: so the line waits neither for the disk nor for the reading of
    /// bodies. While upstream is in trouble the outbox is the place to wait.
    fn reach_ahead(&mut self) {
        let now = Instant::now();
        let wanted = self.more && self.waiting.is_empty() && self.breaker.permit(now) == Permit::Free;
        if !wanted || !self.exchange.is_empty() {
            return;
        }
        let settlements = std::mem::take(&mut self.unsettled);
        self.exchanged = Exchanged { settlements, limit: self.limit(false), since: now };
        let (store, settlements, limit) =
            (self.store.clone(), self.exchanged.settlements.clone(), self.exchanged.limit);
        self.exchange.spawn(async move { store.settle_and_take(settlements, limit).await });
    }

    fn end_exchange(&mut self, done: Result<Result<Vec<Entry>, crate::store::Error>, JoinError>) {
        let (limit, since) = (self.exchanged.limit, self.exchanged.since);
        let settlements = std::mem::take(&mut self.exchanged.settlements);
        match done {
            Ok(Ok(entries)) => return self.arrive(entries, limit, since),
            Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "the outbox can't be used"),
            Err(_) => tracing::error!("reading the outbox failed: a bug in hisync"),
        }
        // Told once more by themselves: perhaps only the claim can't be done, which is asked for again when there is a
        // free place.
        self.more = false;
        self.unsettled.splice(0..0, settlements);
    }

    /// Sends what must not wait behind others, even where every other place is taken.
    async fn fill_urgent(&mut self) {
        let settings = self.client.settings();
        let (events, bytes, room) = (self.batch_events(), settings.batch_max_bytes, self.parallel() + 1);
        while self.urgent && self.flights.len() < room && self.breaker.permit(Instant::now()) == Permit::Free {
            match self.store.take_urgent(ClaimLimit { events, bytes }).await {
                Ok(entries) if entries.is_empty() => self.urgent = false,
                Ok(entries) => {
                    for batch in by_lane(entries) {
                        self.launch(Batch::new(batch, Instant::now()));
                    }
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the outbox can't be used");
                    return;
                }
            }
        }
    }

    /// Gives back what waits too long: while upstream is away the outbox is the place to wait.
    async fn release_old(&mut self) {
        let now = Instant::now();
        let old = |batch: &mut Batch| now >= batch.claimed + TOGETHER;
        let old: Vec<Batch> = self.waiting.extract_if(.., old).collect();
        if old.is_empty() {
            return;
        }
        for batch in old {
            let sent = batch.attempts > 0;
            self.give_back(batch, "paused", sent);
        }
        self.flush().await;
    }

    async fn next_wake(&self, now: Instant) -> Instant {
        let waiting = self.waiting.iter().map(|batch| batch.due).min();
        let outbox = match self.store.next_due().await {
            Ok(due) => due.map(|due| now + (due - self.client.clock().now()).to_std().unwrap_or(Duration::ZERO)),
            Err(_) => None,
        };
        // An entry that is due and was not claimed waits for something else: no reason to spin.
        let outbox = outbox.map(|due| due.max(now + Duration::from_millis(20)));
        [waiting, outbox].into_iter().flatten().fold(now + IDLE, Instant::min)
    }

    /// A batch that waited long enough, else what the outbox has.
    ///
    /// Whatever is claimed may leave at any time, so the store is told at once: after a crash its
    /// fate is not known, and it is sent again under the same ids.
    async fn next_batch(&mut self, now: Instant, probe: bool) -> Result<Option<Batch>, crate::store::Error> {
        if let Some(batch) = self.next_waiting(now) {
            return Ok(Some(batch));
        }
        if !self.has_room() {
            return Ok(None);
        }
        self.claim(probe).await?;
        Ok(self.next_waiting(Instant::now()))
    }

    /// Claims a batch; it waits to be sent.
    async fn claim(&mut self, probe: bool) -> Result<(), crate::store::Error> {
        let (limit, now) = (self.limit(probe), Instant::now());
        let entries = self.store.take(limit).await?;
        self.arrive(entries, limit, now);
        Ok(())
    }

    /// How much one claim takes.
    fn limit(&self, probe: bool) -> ClaimLimit {
        let settings = self.client.settings();
        // Commas and brackets count as well.
        let bytes = settings.batch_max_bytes.saturating_sub(settings.batch_max_events + 2).max(1);
        ClaimLimit { events: if probe { 1 } else { self.batch_events() }, bytes }
    }

    /// What was claimed waits to be sent.
    fn arrive(&mut self, entries: Vec<Entry>, limit: ClaimLimit, claimed: Instant) {
        let largest = entries.iter().map(|entry| entry.body.len()).max().unwrap_or_default();
        let taken: usize = entries.iter().map(|entry| entry.body.len()).sum();
        self.more = entries.len() >= limit.events || taken.saturating_add(largest) > limit.bytes;
        self.waiting.extend(arrange(entries, self.batch_events(), claimed));
    }

    /// Of the batches that waited long enough, the one that waited longest.
    fn next_waiting(&mut self, now: Instant) -> Option<Batch> {
        let due = self.waiting.iter().enumerate().filter(|(_, batch)| batch.due <= now);
        let (place, _) = due.min_by_key(|(_, batch)| batch.due)?;
        Some(self.waiting.remove(place))
    }

    fn launch(&mut self, mut batch: Batch) {
        batch.attempts += 1;
        let id = batch_id(batch.entries.iter().map(|entry| entry.event_id)).to_string();
        tracing::debug!(batch = %id, events = batch.entries.len(), attempt = batch.attempts, "sending");
        let client = self.client.clone();
        let events: Vec<Bytes> = batch.entries.iter().map(|entry| entry.body.clone()).collect();
        let lane = events.first().and_then(|event| lane_of(event)).map(str::to_owned);
        let task = self.flying.spawn(async move {
            let outgoing = Outgoing {
                method: Method::POST,
                path: "/v1/events".to_owned(),
                media_type: BATCH_MEDIA_TYPE.to_owned(),
                id,
                body: join_events(&events),
                compression: client.settings().compression,
            };
            drop(events);
            client.send_on(outgoing, lane.as_deref()).await.reply
        });
        self.status.counts.requests += 1;
        self.flights.insert(task.id(), (batch, Instant::now()));
    }

    /// Takes a reply to what becomes of the batch.
    fn land(&mut self, done: Result<(Id, Reply), JoinError>) {
        let (id, reply) = match done {
            Ok(landed) => landed,
            // A panic in the HTTP client tells nothing about what upstream has seen.
            Err(error) => (error.id(), Reply::Failed(Failure::ConnectionLost)),
        };
        let Some((batch, left)) = self.flights.remove(&id) else { return };
        histogram!("hisync_delivery_request_seconds").record(left.elapsed());
        let events: Vec<_> = batch.entries.iter().map(|entry| entry.event_id).collect();
        match classify(&reply, &events, self.client.clock().now()) {
            Answer::Receipts(receipts) => self.receipts(batch, receipts),
            Answer::Split { code, message } => self.split(batch, code, message),
            Answer::Retry { code, sent, after, everything } => {
                let (now, wall) = (Instant::now(), self.client.clock().now());
                self.failed(&code);
                if self.breaker.unavailable(&code, now, wall) {
                    tracing::error!(code, meaning = explain(&code), "upstream is not available: delivery is paused");
                }
                if let (true, Some(after)) = (everything, after) {
                    self.breaker.pause(after, now, wall);
                }
                let due = now + after.unwrap_or_else(|| self.policy.wait(batch.attempts - 1));
                if batch.attempts < BATCH_ATTEMPTS && due < batch.claimed + TOGETHER {
                    self.waiting.push(Batch { due, ..batch });
                } else {
                    self.give_back(batch, &code, sent);
                }
            }
            Answer::Misconfigured { code, sent } => {
                self.failed(&code);
                if self.breaker.misconfigured(&code, Instant::now(), self.client.clock().now()) {
                    tracing::error!(code, meaning = explain(&code), "upstream can't be used as configured: paused");
                }
                self.give_back(batch, &code, sent);
            }
        }
    }

    fn receipts(&mut self, batch: Batch, receipts: Vec<EventReceipt>) {
        self.succeeded("200");
        let now = self.client.clock().now();
        for (entry, receipt) in batch.entries.into_iter().zip(receipts) {
            let (answer, verdict) = match receipt {
                EventReceipt::Delivered(status) => (status, Verdict::Delivered { status }),
                EventReceipt::Rejected { code, message } => {
                    tracing::warn!(event = %entry.event_id, code, "upstream rejected an event: held");
                    ("rejected", Verdict::Held { code, message })
                }
                EventReceipt::Retry { code } => {
                    ("retry", Verdict::Retry { at: self.policy.next_time(entry.attempts, now), code })
                }
            };
            self.settle(entry.id, answer, verdict);
        }
    }

    fn split(&mut self, mut batch: Batch, code: String, message: String) {
        self.succeeded(&code);
        let now = Instant::now();
        if batch.entries.len() > 1 {
            let second = batch.entries.split_off(batch.entries.len().div_ceil(2));
            let halves = [batch.entries, second];
            self.waiting.extend(halves.map(|half| Batch { claimed: batch.claimed, ..Batch::new(half, now) }));
        } else {
            for entry in batch.entries {
                tracing::warn!(event = %entry.event_id, code, "upstream refuses an event: held");
                self.settle(entry.id, "rejected", Verdict::Held { code: code.clone(), message: message.clone() });
            }
        }
    }

    /// Back to the outbox: what surely was not sent as if nothing had been, the rest with a retry time.
    fn give_back(&mut self, batch: Batch, code: &str, sent: bool) {
        let now = self.client.clock().now();
        for entry in batch.entries {
            let verdict = if sent {
                Verdict::Retry { at: self.policy.next_time(entry.attempts, now), code: code.to_owned() }
            } else {
                Verdict::Unsent
            };
            self.settle(entry.id, "retry", verdict);
        }
    }

    fn settle(&mut self, id: i64, answer: &'static str, verdict: Verdict) {
        let counts = &mut self.status.counts;
        let count = match answer {
            "accepted" => &mut counts.accepted,
            "duplicate" => &mut counts.duplicate,
            "rejected" => &mut counts.rejected,
            _ => &mut counts.retried,
        };
        *count += 1;
        counter!("hisync_delivery_events_total", "answer" => answer).increment(1);
        self.unsettled.push(Settlement { id, verdict });
    }

    /// Writes what became of attempts. What the store can't take now is kept: without it the entries
    /// would stay in flight until the next start.
    async fn flush(&mut self) -> bool {
        if self.unsettled.is_empty() {
            return true;
        }
        match self.store.settle(self.unsettled.clone()).await {
            Ok(()) => self.unsettled.clear(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "receipts can't be written; trying again");
            }
        }
        self.unsettled.is_empty()
    }

    fn succeeded(&mut self, code: &str) {
        counter!("hisync_delivery_requests_total", "code" => code.to_owned()).increment(1);
        self.status.last_success = Some(self.client.clock().now());
        if self.breaker.success() {
            tracing::info!("upstream answers again: delivery goes on");
        }
    }

    fn failed(&mut self, code: &str) {
        counter!("hisync_delivery_requests_total", "code" => code.to_owned()).increment(1);
        let at = self.client.clock().now();
        self.status.last_failure = Some(LastFailure { at, code: code.to_owned(), text: explain(code) });
        tracing::debug!(code, "a batch was not taken");
    }

    fn show(&mut self) {
        self.status.breaker = self.breaker.status();
        self.status.in_flight = self.flights.values().map(|(batch, _)| batch.entries.len()).sum();
        self.status.waiting = self.waiting.iter().map(|batch| batch.entries.len()).sum();
        gauge!("hisync_delivery_in_flight").set(self.status.in_flight as f64);
        self.publish.send_if_modified(|shown| {
            // Told by another loop.
            self.status.attachments = shown.attachments.clone();
            let changed = *shown != self.status;
            if changed {
                shown.clone_from(&self.status);
            }
            changed
        });
    }

    /// Waits for the answers that are still out, and gives back what waits.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(done)) = timeout_at(deadline, self.exchange.join_next()).await {
            self.end_exchange(done);
        }
        while let Ok(Some(done)) = timeout_at(deadline, self.flying.join_next_with_id()).await {
            self.land(done);
            self.flush().await;
        }
        for batch in std::mem::take(&mut self.waiting) {
            let sent = batch.attempts > 0;
            self.give_back(batch, "stopped", sent);
        }
        self.flush().await;
        self.show();
    }
}

/// Arranges claimed entries in batches: the fresh ones together, those that were in a failing batch
/// before in smaller ones, a quarter of the size with each attempt, down to one.
fn arrange(entries: Vec<Entry>, max: usize, now: Instant) -> Vec<Batch> {
    let size = |attempts: u32| max.checked_shr(attempts.saturating_mul(2)).unwrap_or(0).max(1);
    let mut batches: Vec<(u32, Batch)> = Vec::new();
    for entries in by_lane(entries) {
        let first = batches.len();
        for entry in entries {
            let attempts = entry.attempts;
            match batches[first..].iter_mut().rev().find(|(of, _)| *of == attempts) {
                Some((_, batch)) if batch.entries.len() < size(attempts) => batch.entries.push(entry),
                _ => batches.push((attempts, Batch::new(vec![entry], now))),
            }
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// Entries whose events have the same routing label together, in the order in which labels are met.
fn by_lane(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut lanes: Vec<Vec<Entry>> = Vec::new();
    for entry in entries {
        let lane = lane_of(&entry.body);
        let same = |known: &&mut Vec<Entry>| known.first().is_some_and(|first| lane_of(&first.body) == lane);
        match lanes.iter_mut().find(same) {
            Some(known) => known.push(entry),
            None => lanes.push(vec![entry]),
        }
    }
    lanes
}

/// The routing label of an event: the last attribute before its data. Quotes inside of attributes are escaped, so that
/// none of them can look like it.
fn lane_of(event: &[u8]) -> Option<&str> {
    let head = &event[..memchr::memmem::find(event, b"\",\"data\":")?];
    let at = memchr::memmem::rfind(head, b",\"lane\":\"")?;
    let lane = &head[at + b",\"lane\":\"".len()..];
    if lane.contains(&b'"') { None } else { std::str::from_utf8(lane).ok() }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{EntityKey, EntityType};

    #[test]
    fn entries_of_one_routing_label_travel_together() {
        let lanes = ["", "blue", "", "green", "blue", ""];
        let entries = lanes.iter().zip(1..).map(|(lane, id)| {
            let label = if lane.is_empty() { String::new() } else { format!(",\"lane\":\"{lane}\"") };
            let said = "\\\",\\\"lane\\\":\\\"x";
            let body =
                format!("{{\"partitionkey\":\"{said}\",\"traceparent\":\"00\"{label},\"data\":{{\"lane\":\"red\"}}}}");
            assert_eq!(lane_of(body.as_bytes()), Some(*lane).filter(|lane| !lane.is_empty()), "{body}");
            let key = EntityKey::new(EntityType::ExamItem, id.to_string());
            Entry { id, event_id: Uuid::from_u128(7), key, body: body.into(), attempts: 0 }
        });
        let batches = arrange(entries.collect(), 16, Instant::now());
        let ids: Vec<Vec<i64>> =
            batches.iter().map(|batch| batch.entries.iter().map(|entry| entry.id).collect()).collect();
        assert_eq!(ids, [vec![1, 3, 6], vec![2, 5], vec![4]]);
    }

    #[test]
    fn entries_that_failed_before_travel_in_ever_smaller_batches() {
        let attempts = [0, 0, 1, 0, 1, 1, 1, 1, 2, 2, 9];
        let entries = attempts.iter().zip(1..).map(|(attempts, id)| Entry {
            id,
            event_id: Uuid::from_u128(7),
            key: EntityKey::new(EntityType::ExamItem, id.to_string()),
            body: Bytes::from_static(b"{}"),
            attempts: *attempts,
        });
        let batches = arrange(entries.collect(), 16, Instant::now());
        let ids: Vec<Vec<i64>> =
            batches.iter().map(|batch| batch.entries.iter().map(|entry| entry.id).collect()).collect();
        assert_eq!(ids, [vec![1, 2, 4], vec![3, 5, 6, 7], vec![8], vec![9], vec![10], vec![11]]);
    }
}
