//! The store: the archive, the ledger, watermarks, the outbox and held items, in one SQLite file.

mod types;

use std::path::Path;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use connector_api::{StreamId, Watermark};
use uuid::Uuid;

use crate::clock::Clock;
use crate::model::{EntityKey, SharedComposer};

pub use types::*;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("{operation}")]
    Sqlite {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
}

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
pub struct Store {}

/// How much a claim may take.
#[derive(Clone, Copy, Debug)]
pub struct ClaimLimit {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of event bodies together (a single larger event is claimed alone).
    pub bytes: usize,
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
    /// Opens or creates the store in a folder, migrates it, and recovers what a crash left.
    pub fn open(dir: &Path, options: Options, composer: SharedComposer, clock: Clock) -> Result<Store, Error> {
        let _ = (dir, options, composer, clock);
        unimplemented!()
    }

    /// Commits a batch with fsync; waiting commits share one transaction.
    pub async fn commit(&self, batch: IncomingBatch) -> Result<Committed, Error> {
        let _ = batch;
        unimplemented!()
    }

    /// Where an incremental stream stands.
    pub async fn watermark(&self, stream: &StreamId) -> Result<Watermark, Error> {
        let _ = stream;
        unimplemented!()
    }

    /// Takes entries that are due, at most one per entity key.
    pub async fn claim(&self, limit: ClaimLimit) -> Result<Vec<Entry>, Error> {
        let _ = limit;
        unimplemented!()
    }

    /// Records that claimed entries are about to leave: from here on a crash leaves them ambiguous.
    pub async fn mark_inflight(&self, entries: Vec<i64>) -> Result<(), Error> {
        let _ = entries;
        unimplemented!()
    }

    /// Records what became of an attempt.
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        let _ = settlements;
        unimplemented!()
    }

    /// Returns when an entry may have become due by a commit, a settlement or a person's act.
    pub async fn work_arrived(&self) {}

    /// When the next waiting entry becomes due.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>, Error> {
        unimplemented!()
    }
}
