//! What other rooms hand to the store and get back from it.

use std::sync::Arc;

use connector_api::{Advance, Raw, StreamId};

use crate::model::{EntityKey, EntityType, Finding};

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
    /// One outcome per entity in the record; never empty.
    pub outcomes: Vec<Outcome>,
}

/// What the mapping made of one entity in a record.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It can be vouched for.
    Mapped(Mapped),
    /// It is held for a person.
    Held(Held),
}

/// An entity (or one stream's part of it) that can be vouched for.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Its identity.
    pub key: EntityKey,
    /// Whether it should be upstream.
    pub wish: Wish,
    /// The event's `data`: canonical JSON (RFC 8785).
    pub data: Vec<u8>,
    /// The words by which `hisync explain` finds it: exam number, code.
    pub search: Vec<String>,
}

/// Whether an entity should be upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It should, as `data` says.
    Present,
    /// It should not: a draft, or a report that was taken back. Where upstream has it, it is
    /// withdrawn for this reason (`reversed`, `deleted`); where upstream has nothing, nothing is asked for.
    Absent {
        /// A stable word.
        reason: String,
    },
}

/// An entity that is held for a person.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it would be.
    pub entity: EntityType,
    /// Its key, where that could be read.
    pub key: Option<EntityKey>,
    /// The reason code: that of its heaviest finding.
    pub reason: String,
    /// All findings.
    pub findings: Vec<Finding>,
    /// The words by which `hisync explain` finds it.
    pub search: Vec<String>,
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
    /// A poll read again what the archive has already, under the same mapping; no effect.
    Reread,
}

/// Makes one entity from the latest parts that several streams gave for the same key.
///
/// A pure function, called inside the store's transaction where an entity has more than one part,
/// so that two streams that change at the same moment can't miss each other.
pub trait Compose: Send + Sync {
    /// Composes the entity, or says why it can't be vouched for as a whole.
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome;
}

/// The latest part of an entity from one stream.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Which stream gave it.
    pub stream: &'a StreamId,
    /// Whether it asks for the entity to be upstream.
    pub wish: &'a Wish,
    /// The part's `data`.
    pub data: &'a [u8],
}

/// The composer of a shared handle.
pub type SharedComposer = Arc<dyn Compose>;
