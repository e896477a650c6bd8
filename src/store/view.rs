//! What people see of the store: the same structs for `--json`, the admin API and the status page.
//!
//! Field names are stable. Times are UTC. Keys, search words, findings, bodies and upstream's words
//! may be personal data: they go to an operator who asked, never to a log.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use connector_api::{Raw, StreamId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{EntityType, Finding, WAITING};

/// What became of every version that sources gave (P3). One record may give several entities; each
/// counts. A withdrawal because snapshots lack an entity counts as a version too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All versions: the sum that the others must give.
    pub source: i64,
    /// Upstream has it.
    pub delivered: i64,
    /// Says what the newest event of its entity says already.
    pub unchanged: i64,
    /// Held for a person, dismissed and superseded ones included.
    pub held: i64,
    /// On its way.
    pub queued: i64,
    /// `source = delivered + unchanged + held + queued`.
    pub adds_up: bool,
}

impl Totals {
    pub(super) fn add(&mut self, name: &str, n: i64) {
        match name {
            "source" => self.source += n,
            "delivered" => self.delivered += n,
            "unchanged" => self.unchanged += n,
            "held" => self.held += n,
            _ => self.queued += n,
        }
        self.adds_up = self.source == self.delivered + self.unchanged + self.held + self.queued;
    }

    pub(super) fn zero() -> Totals {
        Totals { adds_up: true, ..Totals::default() }
    }
}

/// The store at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Bytes of the file and its write-ahead log.
    pub size_bytes: u64,
    /// Entries that are neither delivered nor held.
    pub outbox_depth: i64,
    /// Entries by state.
    pub outbox: BTreeMap<String, i64>,
    /// When the oldest undelivered event was made; `None` where all is delivered or held.
    pub oldest_undelivered_at: Option<DateTime<Utc>>,
    /// Open held items by leg and reason.
    pub held_open: Vec<HeldCount>,
    /// By entity type; those that were never seen are left out. Records that fit no stream, and so are
    /// of no known type, are counted under `unrouted`.
    pub totals: BTreeMap<String, Totals>,
    /// By stream.
    pub streams: Vec<StreamProgress>,
}

impl Overview {
    /// Open held items that need a person: without those whose parts are still waited for.
    pub fn held_for_people(&self) -> i64 {
        self.held_open.iter().filter(|held| held.reason != WAITING).map(|held| held.count).sum()
    }
}

/// How many open held items have a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldCount {
    /// `record`, `outbox`, `withdrawal`, `change` or `start`.
    pub leg: String,
    /// The reason code.
    pub reason: String,
    /// How many.
    pub count: i64,
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamProgress {
    /// `source/stream`.
    pub stream: String,
    /// The watermark in its stored form; `None` at the start.
    pub watermark: Option<String>,
    /// When it moved last.
    pub watermark_at: Option<DateTime<Utc>>,
    /// Records in the archive.
    pub records: i64,
    /// Records that came again under the same resend key.
    pub resent: i64,
    /// Records that a poll read again.
    pub reread: i64,
    /// Complete snapshots.
    pub snapshots: i64,
    /// When the last new or resent record came: what silence is measured by.
    pub last_received_at: Option<DateTime<Utc>>,
    /// When the last batch was committed, an empty one included.
    pub last_commit_at: Option<DateTime<Utc>>,
    /// What became of its records, all entity types together.
    pub totals: Totals,
}

/// Which held items are meant. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct HeldFilter {
    /// Only this item.
    pub id: Option<i64>,
    /// Only of this stream (`source/stream`).
    pub stream: Option<String>,
    /// Only with this reason code.
    pub reason: Option<String>,
    /// Only those that still need a person.
    pub open_only: bool,
}

/// A held item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldSummary {
    /// Its id.
    pub id: i64,
    /// `record`, `outbox`, `withdrawal`, `change` or `start`.
    pub leg: String,
    /// `open`, `retried`, `released`, `dismissed` or `superseded`.
    pub state: String,
    /// The reason code.
    pub reason: String,
    /// `source/stream`.
    pub stream: String,
    /// The entity's type; `unrouted` where the record fits no stream.
    pub entity: String,
    /// The entity's key, where that could be read.
    pub key: Option<String>,
    /// The archived record that it comes from.
    pub archive_id: Option<i64>,
    /// The outbox entry that upstream refuses.
    pub outbox_id: Option<i64>,
    /// The mapping that was applied.
    pub mapping_version: Option<String>,
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// Until when.
    pub closed_at: Option<DateTime<Utc>>,
    /// By whom; `hisync` where nobody had to.
    pub closed_by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// Until when the parts of its entity are waited for; `None` where it needs a person now.
    pub waits_until: Option<DateTime<Utc>>,
}

/// A held item with all that a person needs to decide.
#[derive(Clone, Debug, Serialize)]
pub struct HeldDetail {
    /// The item.
    pub item: HeldSummary,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was received, where a record is behind it.
    pub record: Option<ArchivedView>,
    /// The event that upstream refuses.
    pub event: Option<Box<RawValue>>,
    /// What people did about it.
    pub history: Vec<AuditEntry>,
}

/// An archived record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchivedView {
    /// Its id in the archive.
    pub archive_id: i64,
    /// `source/stream`.
    pub stream: String,
    /// When it was committed.
    pub received_at: DateTime<Utc>,
    /// Where it came from inside the source.
    pub source_ref: String,
    /// The body's media type.
    pub format: String,
    /// The character set that it was decoded with, where that was a choice.
    pub charset: Option<String>,
    /// `sha256-<hex>` of the body.
    pub digest: String,
    /// When its bytes were given up, because the archive does not reach back so far; `None` where they are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<DateTime<Utc>>,
    /// The body, byte for byte, empty where it is given up; not part of the JSON.
    #[serde(skip)]
    pub body: Bytes,
}

/// An archived record to be mapped again: commit it with `archived: Some(archive_id)`.
#[derive(Clone, Debug)]
pub struct ArchivedRecord {
    /// Its id in the archive.
    pub archive_id: i64,
    /// Its stream.
    pub stream: StreamId,
    /// What was received.
    pub raw: Raw,
    /// Where it came from inside the source.
    pub source_ref: String,
    /// Its resend key.
    pub resend_key: Option<String>,
    /// When it was committed.
    pub received_at: DateTime<Utc>,
    /// Give it as `after` to read on behind this one.
    pub cursor: i64,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// What was done: `held-retry`, `held-release`, `held-dismiss`, or the word that the caller gave.
    pub act: String,
    /// To what: `held/7`.
    pub subject: String,
    /// In the person's words.
    pub detail: String,
}

/// An outbox entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxSummary {
    /// Its row.
    pub id: i64,
    /// The event's id.
    pub event_id: String,
    /// The entity's type.
    pub entity: String,
    /// The entity's key.
    pub key: String,
    /// `upserted` or `withdrawn`.
    pub kind: String,
    /// The version's sequence, as in the event.
    pub sequence: String,
    /// `source/stream`.
    pub stream: String,
    /// `queued`, `claimed`, `inflight`, `waiting`, `delivered` or `held`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// An attempt was cut off: upstream may have it already.
    pub ambiguous: bool,
    /// Bytes of the event.
    pub size_bytes: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Not before; `None` where it is not waiting for a time.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When it was delivered or held.
    pub done_at: Option<DateTime<Utc>>,
    /// Upstream's last word.
    pub last_code: Option<String>,
    /// Upstream's last words.
    pub last_message: Option<String>,
    /// `sha256-<hex>` of the event's data.
    pub content_hash: String,
    /// The mapping that made it.
    pub mapping_version: Option<String>,
    /// The record that it comes from; `None` for a withdrawal because snapshots lack the entity.
    pub archive_id: Option<i64>,
    /// The configuration in force when it was made: the first twelve digits of its SHA-256. `None` where that was not
    /// written down yet.
    pub config_version: Option<String>,
}

/// An attempt that did not deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The how-manieth.
    pub n: i64,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How: `http-503`, `timeout`, `interrupted`, or upstream's code.
    pub code: String,
}

/// An outbox entry with its event and attempts.
#[derive(Clone, Debug, Serialize)]
pub struct OutboxDetail {
    /// The entry.
    pub entry: OutboxSummary,
    /// The newest attempts that did not deliver, oldest first.
    pub history: Vec<Attempt>,
    /// The event, exactly as it is sent.
    pub event: Box<RawValue>,
}

/// Everything that the store knows of what a person asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explained {
    /// The entities that match.
    pub entities: Vec<EntityLife>,
    /// Held items that match and belong to no known entity.
    pub held: Vec<HeldSummary>,
    /// The archived record, where its id was asked for.
    pub record: Option<ArchivedView>,
}

/// The whole life of one entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityLife {
    /// Its type.
    pub entity: String,
    /// Its key.
    pub key: String,
    /// What the newest event says: `present`, `withdrawn`, or `never` where there is none.
    pub state: String,
    /// The latest part from each stream.
    pub parts: Vec<PartView>,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// Its held items, oldest first.
    pub held: Vec<HeldSummary>,
}

/// The latest part of an entity from one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartView {
    /// `source/stream`.
    pub stream: String,
    /// The record that gave it.
    pub archive_id: i64,
    /// When that was committed.
    pub received_at: Option<DateTime<Utc>>,
    /// `sha256-<hex>` of what was received.
    pub raw_digest: String,
    /// The mapping that was applied.
    pub mapping_version: Option<String>,
    /// Why it should not be upstream; `None` where it should.
    pub absent_reason: Option<String>,
    /// Complete snapshots in a row that lack it.
    pub missing: i64,
}

/// One version of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its event and where the delivery stands.
    pub entry: OutboxSummary,
    /// When the record behind it was committed.
    pub received_at: Option<DateTime<Utc>>,
    /// `sha256-<hex>` of what was received.
    pub raw_digest: Option<String>,
    /// The newest attempts that did not deliver, oldest first.
    pub history: Vec<Attempt>,
    /// Where it differs from the version before, without values; the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// A local code that no table knows, counted over the records that hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownCode {
    /// Its row.
    pub id: i64,
    /// `source/stream`.
    pub stream: String,
    /// The entity's type.
    pub entity: EntityType,
    /// Which field, list positions left out: `groups[].items[].item_code`.
    pub path: String,
    /// The source's code.
    pub value: String,
    /// In how many records, of each entity the newest.
    pub count: i64,
    /// How many of them are held for it; the others were delivered with an issue.
    pub held: i64,
    /// When it was met first.
    pub first_seen_at: DateTime<Utc>,
    /// When it was met last.
    pub last_seen_at: DateTime<Utc>,
    /// One of the records, in the archive.
    pub sample_archive_id: i64,
    /// One of the held items.
    pub sample_held_id: Option<i64>,
}
