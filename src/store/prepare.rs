//! What can be done to a batch before the writer gets it: hashing, packing, writing findings down.

use std::collections::{HashMap, HashSet};

use connector_api::Raw;
use sha2::{Digest as _, Sha256};

use super::codec::{Packed, pack};
use super::codes::{self, Unknown};
use super::{Error, Incoming, IncomingBatch, SnapshotPolicy, attachments};
use crate::model::{EntityKey, EntityType, Finding, Held, Mapped, Outcome, Severity, Wish};

/// The reason code of rows that contradict each other.
pub(super) const DUPLICATE_KEY: &str = "duplicate-key";

/// SHA-256.
pub(super) type Hash = [u8; 32];

pub(super) struct Batch {
    pub(super) stream: String,
    pub(super) source: String,
    pub(super) records: Vec<Record>,
    /// From and to, in the stored form; `None` is the start.
    pub(super) advance: Option<(Option<String>, Option<String>)>,
    pub(super) snapshot: Option<SnapshotPolicy>,
}

pub(super) struct Record {
    pub(super) archived: Option<i64>,
    pub(super) digest: Hash,
    pub(super) format: String,
    pub(super) charset: Option<String>,
    pub(super) source_ref: String,
    pub(super) resend_key: Option<String>,
    pub(super) mapping_version: String,
    pub(super) body: Packed,
    pub(super) outcomes: Vec<Prepared>,
    /// Entities of which another record of the same transaction makes the version.
    pub(super) quiet: Vec<EntityKey>,
}

pub(super) enum Prepared {
    Mapped(Good),
    Held(Doubtful),
}

impl Prepared {
    pub(super) fn key(&self) -> Option<&EntityKey> {
        match self {
            Prepared::Mapped(good) => Some(&good.key),
            Prepared::Held(doubtful) => doubtful.key.as_ref(),
        }
    }

    fn search(&mut self) -> &mut Vec<String> {
        match self {
            Prepared::Mapped(good) => &mut good.search,
            Prepared::Held(doubtful) => &mut doubtful.search,
        }
    }
}

/// An entity, or a part of one, that the mapping vouches for.
pub(super) struct Good {
    pub(super) key: EntityKey,
    /// Why it should not be upstream; `None` where it should.
    pub(super) absent: Option<String>,
    pub(super) hash: Hash,
    pub(super) data: Packed,
    pub(super) search: Vec<String>,
    /// Codes that no table knows, delivered as issues.
    pub(super) unknown: Vec<Unknown>,
    pub(super) files: Vec<attachments::Prepared>,
    /// How it joins the other parts, as it is stored.
    pub(super) assembly: Option<String>,
    /// By what the source orders its versions.
    pub(super) revision: Option<String>,
}

/// What records that fit no stream are counted under, in the place of an entity type.
pub(super) const UNROUTED: &str = "unrouted";

/// An entity that is held for a person.
pub(super) struct Doubtful {
    /// What it is counted under: an entity type, or [`UNROUTED`].
    pub(super) kind: &'static str,
    pub(super) key: Option<EntityKey>,
    pub(super) reason: String,
    /// JSON.
    pub(super) findings: String,
    pub(super) search: Vec<String>,
    /// How long its parts are waited for before a person is called, in microseconds; `None`: not at all.
    pub(super) wait: Option<i64>,
}

pub(super) fn batch(batch: IncomingBatch) -> Result<Batch, Error> {
    let stored = |at: &connector_api::Watermark| (!at.is_start()).then(|| at.to_text());
    let mut records: Vec<Record> = batch.records.into_iter().map(record).collect::<Result<_, _>>()?;
    if batch.snapshot.is_some() {
        hold_contradictions(&mut records)?;
    }
    Ok(Batch {
        source: batch.stream.source().as_str().to_owned(),
        stream: batch.stream.as_str().to_owned(),
        advance: batch.advance.map(|advance| (stored(&advance.from), stored(&advance.to))),
        snapshot: batch.snapshot,
        records,
    })
}

/// Holds the rows of one catalogue that say different things of one entity: taken one after the
/// other, each snapshot would send them all again. Which of them is right, and so what else the
/// catalogue means by its rows, is not known: they are held as rows without identity.
fn hold_contradictions(records: &mut [Record]) -> Result<(), Error> {
    type Said = (Option<Hash>, Option<String>);
    let mut said: HashMap<EntityKey, Said> = HashMap::new();
    let mut contradicted: HashSet<EntityKey> = HashSet::new();
    for outcome in records.iter().flat_map(|record| &record.outcomes) {
        let says = match outcome {
            Prepared::Mapped(good) => (Some(good.hash), good.absent.clone()),
            Prepared::Held(_) => (None, None),
        };
        let Some(key) = outcome.key() else { continue };
        match said.get(key) {
            Some(before) if *before != says => _ = contradicted.insert(key.clone()),
            Some(_) => {}
            None => _ = said.insert(key.clone(), says),
        }
    }
    for outcome in records.iter_mut().flat_map(|record| &mut record.outcomes) {
        let Some(key) = outcome.key().filter(|key| contradicted.contains(key)) else { continue };
        let message = "another row of this catalogue says something else of the same entity";
        let finding = Finding::new(DUPLICATE_KEY, Severity::Hold, "", message).value(key.key.clone());
        let (kind, search) = (key.entity.as_str(), std::mem::take(outcome.search()));
        let findings = findings(&[finding])?;
        *outcome = Prepared::Held(Doubtful {
            kind,
            key: None,
            reason: DUPLICATE_KEY.to_owned(),
            findings,
            search,
            wait: None,
        });
    }
    Ok(())
}

fn findings(list: &[Finding]) -> Result<String, Error> {
    serde_json::to_string(list).map_err(|_| Error::Unreadable("a finding"))
}

fn record(incoming: Incoming) -> Result<Record, Error> {
    let digest = incoming.raw.digest();
    let Raw { format, charset, body } = incoming.raw;
    let body = match incoming.archived {
        // It lies in the archive already.
        Some(_) => Packed { codec: 0, size: 0, bytes: Vec::new() },
        None => pack(&body),
    };
    Ok(Record {
        archived: incoming.archived,
        digest,
        format,
        charset,
        source_ref: incoming.source_ref,
        resend_key: incoming.resend_key,
        mapping_version: incoming.mapping_version,
        body,
        outcomes: incoming.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?,
        quiet: Vec::new(),
    })
}

pub(super) fn outcome(outcome: Outcome) -> Result<Prepared, Error> {
    Ok(match outcome {
        Outcome::Mapped(mapped) => Prepared::Mapped(good(mapped)?),
        Outcome::Held(held) => Prepared::Held(doubtful(held)?),
    })
}

fn good(mapped: Mapped) -> Result<Good, Error> {
    let assembly = mapped.assembly.as_ref().map(serde_json::to_string).transpose();
    Ok(Good {
        key: mapped.key,
        absent: match mapped.wish {
            Wish::Present => None,
            Wish::Absent { reason } => Some(reason),
        },
        hash: Sha256::digest(&mapped.data).into(),
        data: pack(&mapped.data),
        unknown: codes::flagged(&mapped.data),
        search: mapped.search,
        files: mapped.files.into_iter().map(attachments::prepare).collect(),
        revision: mapped.revision,
        assembly: assembly.map_err(|_| Error::Unreadable("how parts join"))?,
    })
}

pub(super) fn doubtful(held: Held) -> Result<Doubtful, Error> {
    Ok(Doubtful {
        kind: held.entity.map_or(UNROUTED, EntityType::as_str),
        key: held.key,
        reason: held.reason,
        findings: findings(&held.findings)?,
        search: held.search,
        wait: None,
    })
}
