//! What other rooms hand to the store and get back from it.

use connector_api::{Advance, Raw, StreamId};

use crate::model::Outcome;

/// A batch to be committed in one transaction (P2).
#[derive(Clone, Debug)]
pub struct IncomingBatch {
    /// The stream that yielded it.
    pub stream: StreamId,
    /// The records in the source's order.
    pub records: Vec<Incoming>,
    /// The watermark's advance that the records justify. Refused where it does not start at the
    /// stored watermark.
    pub advance: Option<Advance>,
    /// Set where `records` are the whole catalogue of a snapshot stream.
    pub snapshot: Option<SnapshotPolicy>,
}

/// One record with what the mapping made of it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What was received.
    pub raw: Raw,
    /// Where it came from inside the source, free of personal data.
    pub source_ref: String,
    /// What tells a re-sent record from a new one with the same content; scoped to the source.
    pub resend_key: Option<String>,
    /// Name and version of the mapping that was applied; empty where there was none.
    pub mapping_version: String,
    /// Set where this is no new record but an archived one that was mapped again (a person's retry,
    /// a corrected mapping): its id in the archive. Its outcomes take the place of the ones before.
    pub archived: Option<i64>,
    /// One outcome per entity in the record; never empty.
    pub outcomes: Vec<Outcome>,
}

/// When entities that a complete snapshot lacks may be withdrawn (P6).
#[derive(Clone, Copy, Debug)]
pub struct SnapshotPolicy {
    /// An entity is withdrawn after it was missing from so many complete snapshots in a row.
    pub reads: u32,
    /// More missing than this share of the stream's active entities is held for a person.
    pub max_share_percent: u32,
    /// So few missing are never "bulk", whatever their share.
    pub min_bulk: u32,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { reads: 2, max_share_percent: 20, min_bulk: 3 }
    }
}

/// What became of a committed batch, record by record.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One receipt per record, in order.
    pub receipts: Vec<RecordReceipt>,
    /// Entities that were withdrawn because a complete snapshot lacks them.
    pub withdrawn: u32,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordReceipt {
    /// Archived as a new record.
    Stored {
        /// Its id in the archive.
        archive_id: i64,
    },
    /// The same record (same resend key and content) is in the archive already; no effect.
    Resent {
        /// The id of the first one.
        archive_id: i64,
    },
    /// A poll read again what the archive has already: no new version. Under the same mapping it has
    /// no effect; under another one the archived record was mapped again.
    Reread,
}
