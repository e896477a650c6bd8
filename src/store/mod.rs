//! The store: the archive, the ledger, watermarks, the outbox and held items, in one SQLite file.
//!
//! One thread writes; what waits shares a transaction and its fsync. A call that returns `Ok` is on
//! stable storage (P1), whole (P2). Reading goes through [`Reader`], beside the writer and, for the
//! command line, without an agent.
//!
//! ```text
//! commit ─▶ prepare (hash, pack) ─▶ writer ─▶ ingest ─▶ ledger ─▶ event + outbox ─▶ claim … settle
//!                                               │          └ snapshot: what is missing
//!                                               └ held
//! ```

mod alerts;
mod attachments;
mod audit;
mod backup;
mod canary;
mod codec;
mod codes;
mod dictionary;
mod error;
mod figures;
mod guard;
mod held;
mod ingest;
mod ledger;
mod onboarding;
mod outbox;
mod prepare;
mod query;
mod reader;
mod reconcile;
mod reseal;
mod retention;
mod revision;
mod schema;
mod snapshot;
mod types;
mod upstream;
mod vault;
mod verify;
mod view;
mod volume;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use connector_api::seal::KeyRing;
use connector_api::{StreamId, Watermark};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock::Clock;
use crate::model::{EntityKey, SharedComposer};

pub use alerts::{AlertChange, AlertMessage, AlertSilence, ChannelState, Episode, MessageKind, MessageOutcome};
pub use audit::{AuditCheck, AuditLine};
pub use backup::{Copied, backup, restore};
pub use canary::CanaryDay;
pub use codes::Codes;
pub use error::Error;
pub use figures::{Figures, share};
pub use onboarding::{Moment, Onboarding, StartPolicy};
pub use reader::*;
pub use reconcile::{Agreement, Compared, Finished, ReconcileItem, ReconcileReport, ReconcileRun, Scope, UPSTREAM};
pub use retention::{ArchiveStatus, Kept, RetentionPolicy, Stride};
pub use types::*;
pub use upstream::{AcknowledgedVersion, Healed, TheirVersion};
pub use vault::{rewrap, rewrite};
pub use verify::{Fault, Verified};
pub use view::*;
pub use watch::{Ageing, TrafficHour};

/// Readers that may run at the same time, beside those that intake and delivery need; and how many are kept.
const READERS: usize = 4;

/// A batch with more bytes than this is hashed and packed on a thread that may block.
const HEAVY: usize = 256 * 1024;

/// The reason code of an event that can't be unpacked, and of a version that follows one.
const UNREADABLE_EVENT: &str = "unreadable-event";

/// What the store writes into events.
#[derive(Clone, Debug)]
pub struct Options {
    /// The upstream's id of this hospital.
    pub hospital: String,
    /// This agent's version.
    pub agent_version: String,
    /// The routing label, where one is configured.
    pub lane: Option<String>,
}

/// A handle to the store. Clones share the one writer.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<writer::Shared>,
    /// `None` once the last handle goes.
    sender: Option<writer::Sender>,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Reader>>,
    permits: Semaphore,
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The writer catches the panics of jobs; there is nobody left to tell of another one.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.sender = None;
        self.join();
    }
}

/// How much a claim may take.
#[derive(Clone, Copy, Debug)]
pub struct ClaimLimit {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of event bodies together (a single larger event is claimed alone).
    pub bytes: usize,
}

/// What waits to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// Events that are neither delivered nor held.
    pub entries: u64,
    /// Bytes of their bodies, as they are sent (before compression).
    pub bytes: u64,
}

/// An outbox entry that a sender has taken.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its row.
    pub id: i64,
    /// The event's id.
    pub event_id: Uuid,
    /// Which entity it is about.
    pub key: EntityKey,
    /// The whole CloudEvent as JSON: the same bytes on every attempt.
    pub body: Bytes,
    /// How many attempts were made before.
    pub attempts: u32,
}

/// What became of an attempt, entry by entry.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The entry's row.
    pub id: i64,
    /// What upstream said.
    pub verdict: Verdict,
}

/// A file that upstream must have before an event that names it.
#[derive(Clone, Debug)]
pub struct DueFile {
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes; `None` where the store has given them up, or can't read them.
    pub bytes: Option<Bytes>,
    /// How many attempts were made before.
    pub attempts: u32,
}

/// What became of an attempt to send a file.
#[derive(Clone, Debug)]
pub enum FileVerdict {
    /// Upstream has it.
    Stored,
    /// To be sent again, not before a time.
    Retry {
        /// When.
        at: DateTime<Utc>,
        /// A stable word.
        code: String,
    },
    /// Upstream will never take it: the events that name it are held.
    Refused {
        /// Upstream's code, or ours.
        code: String,
        /// Upstream's words, or ours.
        message: String,
    },
}

/// What upstream said of one event.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Upstream has it (`accepted` or `duplicate`).
    Delivered {
        /// Upstream's word.
        status: &'static str,
    },
    /// To be sent again under the same id, not before a time.
    Retry {
        /// When.
        at: DateTime<Utc>,
        /// A stable word: `http-503`, `timeout`, `receipt-missing`.
        code: String,
    },
    /// Upstream refuses it: held for a person.
    Held {
        /// Upstream's code, or ours.
        code: String,
        /// Upstream's words.
        message: String,
    },
    /// Never sent after all (the breaker opened, a shutdown): back to the queue, no attempt counted.
    Unsent,
}

impl Store {
    /// Opens or creates the store in a folder, migrates it, and recovers what a crash left: what was
    /// claimed is queued again, what was on its way is sent again under the same id.
    ///
    /// Blocks; fails with [`Error::Locked`] where another agent has it open.
    pub fn open(dir: &Path, options: Options, composer: SharedComposer, clock: Clock) -> Result<Store, Error> {
        Store::open_with(dir, options, composer, clock, None)
    }

    /// Like [`open`](Store::open), with the keys of the configuration: what the store holds of people is sealed under
    /// them, also what was stored before there were any. [`Error::NoKey`] and [`Error::WrongKey`] where the store
    /// needs another one; then it was not touched.
    pub fn open_with(
        dir: &Path,
        options: Options,
        composer: SharedComposer,
        clock: Clock,
        keys: Option<&KeyRing>,
    ) -> Result<Store, Error> {
        let lock = schema::lock(dir)?;
        let path = schema::file(dir);
        let (conn, vault) = schema::open_writer(&path, keys, clock.now_micros())?;
        let shared = Arc::new(writer::Shared {
            path,
            vault,
            options,
            composer,
            clock,
            work: tokio::sync::Notify::new(),
            urgent: writer::Signal::default(),
            files: writer::Signal::default(),
            entries: dictionary::Entries::default(),
            backlog: volume::Backlog::default(),
            starts: Mutex::default(),
            floor: std::sync::atomic::AtomicI64::new(0),
            latest: std::sync::atomic::AtomicI64::new(i64::MIN),
        });
        writer::recover(&conn, &shared)?;
        upstream::load_floor(&conn, &shared)?;
        // Whatever lies in the outbox is work.
        shared.work.notify_one();
        let (sender, thread) = writer::start(conn, Arc::clone(&shared), lock)?;
        let inner = Inner {
            shared,
            sender: Some(sender),
            thread: Mutex::new(Some(thread)),
            readers: Mutex::default(),
            permits: Semaphore::new(READERS),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Says how the first sample of each stream is judged before it delivers (`source/stream`). Streams that are not
    /// named deliver at once, and so do those of which the store has records already. Before anything is committed.
    /// A stream that waits and is not named any more starts.
    pub async fn judge_starts(&self, policies: HashMap<String, StartPolicy>) -> Result<(), Error> {
        let waiting = self.read_now(Reader::onboarding).await?;
        let unnamed: Vec<String> =
            waiting.into_iter().map(|waits| waits.stream).filter(|stream| !policies.contains_key(stream)).collect();
        *self.inner.shared.starts.lock().unwrap_or_else(PoisonError::into_inner) = policies;
        if unnamed.is_empty() {
            return Ok(());
        }
        self.write("start streams", unnamed.len(), move |tx| onboarding::start_unjudged(tx, &unnamed)).await
    }

    fn start_policy(&self, stream: &StreamId) -> Option<StartPolicy> {
        self.inner.shared.starts.lock().unwrap_or_else(PoisonError::into_inner).get(stream.as_str()).copied()
    }

    /// Spares a stream that delivers further looks.
    fn has_started(&self, stream: &StreamId) {
        self.inner.shared.starts.lock().unwrap_or_else(PoisonError::into_inner).remove(stream.as_str());
    }

    fn now_micros(&self) -> i64 {
        self.inner.shared.clock.now_micros()
    }

    /// Commits a batch with fsync; waiting commits share one transaction.
    ///
    /// Nothing of the batch is stored where it fails; [`Error::WatermarkMoved`] where its advance
    /// does not start at the stored watermark.
    pub async fn commit(&self, batch: IncomingBatch) -> Result<Committed, Error> {
        let bytes: usize = batch.records.iter().map(|record| record.raw.body.len()).sum();
        let prepared = if bytes > HEAVY {
            let work = tokio::task::spawn_blocking(move || prepare::batch(batch));
            work.await.map_err(|_| Error::Panicked { operation: "prepare a batch" })??
        } else {
            prepare::batch(batch)?
        };
        self.write("commit a batch", prepared.records.len() + 1, move |tx| ingest::commit(tx, &prepared)).await
    }

    /// Where an incremental stream stands; the start, where it was never committed to.
    pub async fn watermark(&self, stream: &StreamId) -> Result<Watermark, Error> {
        let stream = stream.clone();
        self.read_now(move |reader| reader.watermark(&stream)).await
    }

    /// Takes entries that are due, at most one per entity key: those that waited first, then by age.
    pub async fn claim(&self, limit: ClaimLimit) -> Result<Vec<Entry>, Error> {
        let claimed = self.write("claim", limit.events, move |tx| outbox::claim(tx, limit, "claimed")).await?;
        self.readable(claimed).await
    }

    /// Claims entries that leave at once, and records that in the same transaction: a sender that
    /// sends whatever it claims needs one fsync for both.
    pub async fn take(&self, limit: ClaimLimit) -> Result<Vec<Entry>, Error> {
        let claimed = self.write("claim", limit.events, move |tx| outbox::claim(tx, limit, "inflight")).await?;
        self.readable(claimed).await
    }

    /// Unpacks what was claimed. One event that can't be read is held by itself: were it an error of the
    /// whole claim, the others would wait for the end of its lease, and again after it.
    async fn readable(&self, claimed: Vec<outbox::Claimed>) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::with_capacity(claimed.len());
        let mut damaged = Vec::new();
        for claimed in claimed {
            let id = claimed.id;
            match entry(claimed) {
                Ok(entry) => entries.push(entry),
                Err(_) => damaged.push(Settlement {
                    id,
                    verdict: Verdict::Held {
                        code: UNREADABLE_EVENT.to_owned(),
                        message: "the event can't be read from the store: its file is damaged".to_owned(),
                    },
                }),
            }
        }
        if !damaged.is_empty() {
            self.settle(damaged).await?;
        }
        Ok(entries)
    }

    /// Records that claimed entries are about to leave: from here on a crash leaves them ambiguous.
    pub async fn mark_inflight(&self, entries: Vec<i64>) -> Result<(), Error> {
        self.write("mark inflight", entries.len(), move |tx| outbox::mark_inflight(tx, &entries)).await
    }

    /// Records what became of an attempt. A verdict on an entry that is settled already changes nothing.
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        self.write("settle", settlements.len(), move |tx| outbox::settle(tx, &settlements)).await
    }

    /// Does what [`Store::settle`] and then [`Store::take`] do in one transaction: a sender with batches on their way
    /// needs one fsync for each of them.
    pub async fn settle_and_take(&self, settlements: Vec<Settlement>, limit: ClaimLimit) -> Result<Vec<Entry>, Error> {
        let weight = settlements.len() + limit.events;
        let work = move |tx: &mut writer::Tx<'_>| {
            outbox::settle(tx, &settlements)?;
            outbox::claim(tx, limit, "inflight")
        };
        let claimed = self.write("settle and claim", weight, work).await?;
        self.readable(claimed).await
    }

    /// Takes what must not wait behind others (critical values), as [`Store::take`] does.
    pub async fn take_urgent(&self, limit: ClaimLimit) -> Result<Vec<Entry>, Error> {
        let claimed = self.write("claim", limit.events, move |tx| outbox::claim_urgent(tx, limit)).await?;
        self.readable(claimed).await
    }

    /// Returns when something that must not wait was queued. For one waiter, as [`Store::work_arrived`].
    pub async fn urgent_arrived(&self) {
        self.inner.shared.urgent.heard().await;
    }

    /// The file whose attempt is due longest; `None` where none is due now.
    pub async fn file_due(&self) -> Result<Option<DueFile>, Error> {
        let now = self.inner.shared.clock.now_micros();
        let due = self.read_now(move |reader| attachments::due(&reader.conn, now)).await?;
        Ok(due.map(|due| DueFile {
            sha256: hex::encode(due.digest),
            media_type: due.media_type.clone(),
            attempts: due.attempts,
            bytes: due.bytes().map(Bytes::from),
        }))
    }

    /// Records what became of an attempt to send a file, by the SHA-256 (hex) of its bytes.
    pub async fn settle_file(&self, sha256: &str, verdict: FileVerdict) -> Result<(), Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(sha256, &mut digest).map_err(|_| Error::Refused("this is no SHA-256 in hex"))?;
        self.write("settle a file", 1, move |tx| match &verdict {
            FileVerdict::Stored => attachments::confirm(tx, &digest),
            FileVerdict::Retry { at, code } => attachments::later(tx, &digest, at.timestamp_micros(), code),
            FileVerdict::Refused { code, message } => attachments::refuse(tx, &digest, code, message),
        })
        .await
    }

    /// Returns when a file is to be sent. For one waiter, as [`Store::work_arrived`].
    pub async fn file_arrived(&self) {
        self.inner.shared.files.heard().await;
    }

    /// Puts back everything that is claimed or on its way. For the start of the one sender, after
    /// the one before it died; an entry that was on its way is sent again under the same id.
    pub async fn unclaim(&self) -> Result<(), Error> {
        self.write("unclaim", 1, |tx| outbox::unclaim(tx, i64::MAX)).await
    }

    /// Undelivered events and the bytes of their bodies, as of the last commit. Costs nothing.
    pub fn backlog(&self) -> Backlog {
        let backlog = &self.inner.shared.backlog;
        let read = |sum: &AtomicI64| u64::try_from(sum.load(Ordering::Relaxed)).unwrap_or(0);
        Backlog { entries: read(&backlog.entries), bytes: read(&backlog.bytes) }
    }

    /// Returns when an entry may have become due by a commit, a settlement or a person's act.
    ///
    /// For one waiter: work that arrived since the last return is not missed.
    pub async fn work_arrived(&self) {
        self.inner.shared.work.notified().await;
    }

    /// When the next waiting entry becomes due; in the past where one is due now.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.read_now(Reader::next_due).await
    }

    /// Sends an event again that upstream refused (an open held item of the outbox leg), under the
    /// same id. [`Error::Superseded`] where a newer version of its entity is queued or delivered.
    pub async fn held_retry_outbox(&self, id: i64, who: &str) -> Result<(), Error> {
        let who = who.to_owned();
        self.write("retry a held event", 1, move |tx| held::retry_outbox(tx, id, &who)).await
    }

    /// Carries out a bulk withdrawal that was held; answers how many entities were withdrawn. Those
    /// that came back meanwhile are left alone. Or lets a version follow of which only the change was
    /// doubted (a report that turned into another person's); then the answer is 0.
    pub async fn held_release(&self, id: i64, who: &str) -> Result<u32, Error> {
        let who = who.to_owned();
        self.write("release a held item", 1, move |tx| held::release(tx, id, &who)).await
    }

    /// Closes a held item without doing what it asks for. It stays counted as held.
    pub async fn held_dismiss(&self, id: i64, who: &str, reason: &str) -> Result<(), Error> {
        let (who, reason) = (who.to_owned(), reason.to_owned());
        self.write("dismiss a held item", 1, move |tx| held::dismiss(tx, id, &who, &reason)).await
    }

    /// Writes into the audit log what a person did or looked at: `subject` is a thing of the store
    /// (`held/7`), never personal data.
    pub async fn audit(&self, who: &str, act: &str, subject: &str, detail: &str) -> Result<(), Error> {
        let [who, act, subject, detail] = [who, act, subject, detail].map(str::to_owned);
        self.write("write the audit log", 1, move |tx| held::audit(tx, &who, &act, &subject, &detail)).await
    }

    /// Notes the code tables of a version of a mapping (`base` is its digest without them), so that a version that
    /// only knows more codes concerns no records but those that hold them. Costs a look where it is noted already.
    pub async fn remember_codes(&self, version: &str, base: &str, codes: Codes) -> Result<(), Error> {
        let (version, base) = (version.to_owned(), base.to_owned());
        let asked = version.clone();
        if self.read_now(move |reader| reader.knows_codes_of(&asked)).await? {
            return Ok(());
        }
        self.write("note a mapping's codes", 1, move |tx| codes::remember(tx, &version, &base, &codes)).await
    }

    /// Reads on a thread that may block, beside the writer.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _permit = self.inner.permits.acquire().await.map_err(|_| Error::Closed)?;
        self.read_now(work).await
    }

    /// Reads without waiting for other readers: for what intake and delivery can't go on without, one
    /// short question at a time each.
    async fn read_now<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Weak, so that a reading that outlives its caller does not keep the store open.
        let inner = Arc::downgrade(&self.inner);
        let (path, vault) = (self.inner.shared.path.clone(), Arc::clone(&self.inner.shared.vault));
        let kept = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let task = tokio::task::spawn_blocking(move || {
            let reader = match kept {
                Some(reader) => reader,
                None => Reader::open_file(&path, &vault)?,
            };
            let result = work(&reader);
            Ok((result, reader))
        });
        let (result, reader) = task.await.map_err(|_| Error::Panicked { operation: "read" })??;
        if !result.as_ref().is_err_and(Error::breaks_connection)
            && let Some(inner) = inner.upgrade()
        {
            let mut readers = inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS {
                readers.push(reader);
            }
        }
        result
    }

    /// Finishes what waits, writes the WAL back into the file and ends the writer. Every later call
    /// of any handle fails with [`Error::Closed`].
    pub async fn close(&self) {
        if let Some(sender) = &self.inner.sender {
            sender.close().await;
        }
        self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let inner = Arc::clone(&self.inner);
        let _ = tokio::task::spawn_blocking(move || inner.join()).await;
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        weight: usize,
        work: impl FnMut(&mut writer::Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let sender = self.inner.sender.as_ref().ok_or(Error::Closed)?;
        sender.run(operation, weight, work).await
    }
}

fn entry(claimed: outbox::Claimed) -> Result<Entry, Error> {
    // A head that can't be opened is no JSON object, whatever it is.
    if !claimed.head.starts_with('{') || claimed.key == vault::DAMAGED {
        return Err(Error::Unreadable("an event"));
    }
    let event_id = Uuid::from_bytes(claimed.event_id);
    let key = EntityKey { entity: ledger::entity_type(&claimed.entity)?, key: claimed.key };
    let data = codec::unpack(claimed.codec, claimed.size, claimed.body)?;
    let sequence = crate::model::Sequence(claimed.sequence.unsigned_abs());
    // A disk that changes bytes says nothing: an event that is not what was made is never sent.
    if !ledger::is_as_made(&claimed.head, &data, &claimed.hash, event_id, &key, sequence) {
        return Err(Error::Unreadable("an event"));
    }
    Ok(Entry { id: claimed.id, event_id, key, body: event_body(claimed.head, data), attempts: claimed.attempts })
}

/// The event as it is sent: its attributes, then its data byte for byte.
fn event_body(head: String, data: Vec<u8>) -> Bytes {
    let mut body = head.into_bytes();
    body.extend_from_slice(&data);
    body.push(b'}');
    body.into()
}
