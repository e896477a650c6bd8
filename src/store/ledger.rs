//! The ledger: whether what a record says of an entity is news, and the event that says so.
//!
//! Compared with the newest event made for the entity, delivered or not. So a version is never
//! sent twice, and a version that goes back to an older content is sent again.

use std::sync::atomic::Ordering;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::codec::{Packed, pack, unpack};
use super::prepare::{Doubtful, Good, Hash, Prepared, UNROUTED};
use super::vault::DAMAGED;
use super::writer::Tx;
use super::{Error, UNREADABLE_EVENT, attachments, outbox};
use crate::model::event::Withdrawal;
use crate::model::schema::{schema_uri, withdrawal_schema_uri};
use crate::model::{
    Assembly, EntityKey, EntityType, EventKind, Finding, HEADER, Held, Part, Sequence, Severity, WAITING, Wish,
    canonical,
};

/// An entity's row.
pub(super) struct Ledger {
    pub(super) id: i64,
    /// The newest event is an upsert.
    pub(super) present: bool,
    pub(super) sequence: Sequence,
    pub(super) hash: Option<Hash>,
    /// Made in this transaction: nothing of it can lie in the outbox, or be held.
    pub(super) fresh: bool,
}

/// What a record comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) stream: i64,
    pub(super) source: &'a str,
    pub(super) mapping: i64,
    pub(super) mapping_version: &'a str,
    /// `None` where no record says it: a withdrawal because snapshots lack the entity.
    pub(super) archive: Option<i64>,
}

/// What an entity is as a whole.
pub(super) struct Whole {
    pub(super) absent: Option<String>,
    pub(super) hash: Hash,
    /// The row of its data, and the data's length.
    pub(super) content: i64,
    pub(super) size: i64,
}

pub(super) fn find(tx: &Tx<'_>, key: &EntityKey) -> Result<Option<Ledger>, Error> {
    tx.one(
        "read the ledger",
        "SELECT id, state, sequence, hash FROM entity WHERE type = ?1 AND key = same('entity.key', ?2)",
        (key.entity.as_str(), &key.key),
        |row| {
            Ok(Ledger {
                id: row.get(0)?,
                present: row.get_ref(1)?.as_str()? == "present",
                sequence: Sequence(row.get::<_, i64>(2)?.unsigned_abs()),
                hash: row.get(3)?,
                fresh: false,
            })
        },
    )
}

/// Adds an entity that [`find`] did not find.
pub(super) fn create(tx: &Tx<'_>, key: &EntityKey) -> Result<Ledger, Error> {
    let sql = "INSERT INTO entity (type, key) VALUES (?1, same('entity.key', ?2))";
    let id = tx.insert("add to the ledger", sql, (key.entity.as_str(), &key.key))?;
    Ok(Ledger { id, present: false, sequence: Sequence::default(), hash: None, fresh: true })
}

/// Lets a person find the entity (or the held item, where there is no entity) by these words.
pub(super) fn index(tx: &Tx<'_>, words: &[String], entity: i64, held: i64) -> Result<(), Error> {
    for word in words {
        let sql = "INSERT OR IGNORE INTO search (word, entity_id, held_id) VALUES (same('search.word', ?1), ?2, ?3)";
        tx.run("index search words", sql, (word, entity, held))?;
    }
    Ok(())
}

pub(super) fn store_content(tx: &Tx<'_>, data: &Packed) -> Result<i64, Error> {
    let sql = "INSERT INTO content (id, codec, size, body)
               SELECT n, seal_codec(?1), ?2, seal_body('content', n, ?3)
               FROM (SELECT coalesce(max(id), 0) + 1 AS n FROM content)";
    tx.insert("store data", sql, (data.codec, data.size, &data.bytes))
}

/// Makes the entity from all its parts; with one part it is that part.
pub(super) fn compose(tx: &Tx<'_>, key: &EntityKey, entity: i64) -> Result<Result<Whole, Doubtful>, Error> {
    struct Stored {
        stream: String,
        wish: Wish,
        data: Vec<u8>,
        hash: Hash,
        assembly: Option<Assembly>,
    }
    let failed = || Error::sqlite("read an entity's parts");
    let mut statement = tx
        .conn
        .prepare_cached(
            "SELECT s.name, p.absent, p.hash, p.content_id, c.codec, c.size,
               opened_body(c.codec, 'content', c.id, c.body), p.assembly FROM part p
             JOIN stream s ON s.id = p.stream_id JOIN content c ON c.id = p.content_id
             WHERE p.entity_id = ?1 ORDER BY s.name",
        )
        .map_err(failed())?;
    let rows = statement.query_map((entity,), |row| {
        let whole = Whole { absent: row.get(1)?, hash: row.get(2)?, content: row.get(3)?, size: row.get(5)? };
        let assembly = row.get::<_, Option<String>>(7)?;
        Ok((row.get::<_, String>(0)?, whole, row.get::<_, i64>(4)?, row.get::<_, Vec<u8>>(6)?, assembly))
    });
    let mut parts = Vec::new();
    let mut only = None;
    for row in rows.map_err(failed())? {
        let (stream, whole, codec, body, assembly) = row.map_err(failed())?;
        let wish = whole.absent.clone().map_or(Wish::Present, |reason| Wish::Absent { reason });
        // One damaged part must not keep whole batches out of the store; a person looks at the entity.
        let Ok(data) = unpack(codec, whole.size, body) else { return unreadable(key, PART).map(Err) };
        let assembly = assembly.map(|text| serde_json::from_str(&text)).transpose();
        let Ok(assembly) = assembly else { return unreadable(key, PART).map(Err) };
        parts.push(Stored { stream, wish, data, hash: whole.hash, assembly });
        only = Some(whole);
    }
    if let [Stored { assembly: None, .. }] = parts.as_slice()
        && let Some(whole) = only
    {
        return Ok(Ok(whole));
    }
    if parts.iter().any(|part| Hash::from(Sha256::digest(&part.data)) != part.hash) {
        return unreadable(key, PART).map(Err);
    }
    // The header's wait counts, where it is there.
    let hours = |part: &Stored| part.assembly.as_ref().map(|it| (it.part == HEADER, i64::from(it.wait_hours)));
    let wait = parts.iter().filter_map(hours).max().map(|(_, hours)| hours * 3_600_000_000);
    let parts: Vec<Part<'_>> = parts
        .iter()
        .map(|part| Part { stream: &part.stream, wish: &part.wish, data: &part.data, assembly: part.assembly.as_ref() })
        .collect();
    Ok(match super::prepare::outcome(tx.shared.composer.compose(key, &parts))? {
        Prepared::Held(doubtful) if doubtful.reason == WAITING => Err(Doubtful { wait, ..doubtful }),
        Prepared::Held(doubtful) => Err(doubtful),
        Prepared::Mapped(Good { absent, hash, data, .. }) => {
            Ok(Whole { absent, hash, content: store_content(tx, &data)?, size: data.size })
        }
    })
}

/// The data of an entity's newest event.
pub(super) const NEWEST: &str = "SELECT c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
    FROM event e JOIN content c ON c.id = e.content_id WHERE e.id = (SELECT max(id) FROM outbox WHERE entity_id = ?1)";

/// Why the entity's next version may not follow its newest event by itself.
pub(super) fn doubt_change(
    tx: &Tx<'_>,
    key: &EntityKey,
    ledger: &Ledger,
    next: &Whole,
) -> Result<Option<Doubtful>, Error> {
    if !ledger.present || next.absent.is_some() || ledger.hash == Some(next.hash) {
        return Ok(None);
    }
    let before = match data(tx, NEWEST, ledger.id) {
        // A damaged or lost version must not keep the versions after it out of the store; a person looks at one.
        Err(Error::Unreadable(_)) => return unreadable(key, VERSION).map(Some),
        Ok(None) if has_event(tx, ledger.id)? => return unreadable(key, VERSION).map(Some),
        before => before?,
    };
    let after = data(tx, CONTENT, next.content)?;
    // What upstream had before this store was made has no version here.
    let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
    tx.shared.composer.doubt_change(key, &before, &after).map(super::prepare::doubtful).transpose()
}

fn has_event(tx: &Tx<'_>, entity: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM outbox WHERE entity_id = ?1 LIMIT 1";
    Ok(tx.one("read the outbox", sql, (entity,), |_| Ok(()))?.is_some())
}

const VERSION: &str = "the version before can't be read from the store: its file is damaged";
const PART: &str = "a part can't be read from the store: its file is damaged";

fn unreadable(key: &EntityKey, message: &str) -> Result<Doubtful, Error> {
    super::prepare::doubtful(Held {
        entity: Some(key.entity),
        key: Some(key.clone()),
        reason: UNREADABLE_EVENT.to_owned(),
        findings: vec![Finding::new(UNREADABLE_EVENT, Severity::Hold, "", message)],
        search: Vec::new(),
    })
}

/// The data of a content's row.
pub(super) const CONTENT: &str =
    "SELECT codec, size, opened_body(codec, 'content', id, body) FROM content WHERE id = ?1";

/// Whether an entity that only tells of something tells anything new.
fn is_news(tx: &Tx<'_>, ledger: &Ledger, whole: &Whole) -> Result<bool, Error> {
    let before = match ledger.present {
        true => data(tx, NEWEST, ledger.id),
        false => Ok(None),
    };
    // An alarm too many, where the one before can't be read.
    let before = match before {
        Err(Error::Unreadable(_)) => None,
        before => before?,
    };
    let Some(after) = data(tx, CONTENT, whole.content)? else {
        return Ok(true);
    };
    let now = DateTime::from_timestamp_micros(tx.now).unwrap_or_default();
    Ok(tx.shared.composer.is_news(before.as_deref(), &after, now))
}

pub(super) fn data(tx: &Tx<'_>, sql: &str, id: i64) -> Result<Option<Vec<u8>>, Error> {
    let found = tx.one("read data", sql, (id,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    found.map(|(codec, size, body)| unpack(codec, size, body)).transpose()
}

/// Compares the entity with its newest event; makes another where that says something else.
/// Answers the event's row.
pub(super) fn settle_entity(
    tx: &mut Tx<'_>,
    origin: Origin<'_>,
    key: &EntityKey,
    ledger: &Ledger,
    whole: &Whole,
) -> Result<Option<i64>, Error> {
    settle_told(tx, origin, key, ledger, whole, None)
}

/// Like [`settle_entity`]; upstream is told `told` where that is given, and the next version is compared with `whole`.
pub(super) fn settle_told(
    tx: &mut Tx<'_>,
    origin: Origin<'_>,
    key: &EntityKey,
    ledger: &Ledger,
    whole: &Whole,
    told_data: Option<&[u8]>,
) -> Result<Option<i64>, Error> {
    match &whole.absent {
        None if ledger.present && ledger.hash == Some(whole.hash) => Ok(None),
        None if key.entity == EntityType::CriticalValue && !is_news(tx, ledger, whole)? => Ok(None),
        None => {
            let told_whole = told_data.map(|data| stored(tx, None, data)).transpose()?;
            let sent = told_whole.as_ref().unwrap_or(whole);
            event(tx, origin, key, ledger, EventKind::telling(key.entity), sent, whole.hash).map(Some)
        }
        // An alarm that rang has rung.
        Some(_) if key.entity == EntityType::CriticalValue => Ok(None),
        Some(reason) if ledger.present => {
            let taken_back =
                Withdrawal { key: key.key.clone(), last_sequence: ledger.sequence.to_string(), reason: told(reason) };
            let data = canonical::to_vec(&taken_back).map_err(|_| Error::Unreadable("a withdrawal"))?;
            let whole = stored(tx, whole.absent.clone(), &data)?;
            event(tx, origin, key, ledger, EventKind::Withdrawn, &whole, whole.hash).map(Some)
        }
        Some(_) => Ok(None),
    }
}

/// Stores data as that of a version.
fn stored(tx: &Tx<'_>, absent: Option<String>, data: &[u8]) -> Result<Whole, Error> {
    let (hash, size) = (Sha256::digest(data).into(), data.len() as i64);
    Ok(Whole { absent, hash, content: store_content(tx, &pack(data))?, size })
}

/// The attributes of an event before its `data`, in the order in which they are sent.
#[derive(Serialize)]
struct Head<'a> {
    specversion: &'a str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    datacontenttype: &'a str,
    dataschema: String,
    sequence: String,
    partitionkey: &'a str,
    contenthash: String,
    mappingversion: &'a str,
    agentversion: &'a str,
    traceparent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<&'a str>,
}

/// True where an event is the one that was made: its data has the hash that was noted, and its attributes say what the
/// ledger says.
pub(super) fn is_as_made(
    head: &str,
    data: &[u8],
    hash: &Hash,
    id: uuid::Uuid,
    key: &EntityKey,
    sequence: Sequence,
) -> bool {
    /// What decides what becomes of an event.
    #[derive(serde::Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        subject: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        sequence: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        partitionkey: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        contenthash: std::borrow::Cow<'a, str>,
    }
    let whole = format!("{head}null}}");
    let Ok(said) = serde_json::from_str::<Said<'_>>(&whole) else { return false };
    Hash::from(Sha256::digest(data)) == *hash
        && said.contenthash.strip_prefix("sha256-") == Some(hex::encode(hash).as_str())
        && said.id == id.to_string()
        && said.subject == key.subject()
        && said.sequence == sequence.to_string()
        && said.partitionkey == key.key
}

/// Makes the next version of an entity and queues it; answers the event's row.
pub(super) fn event(
    tx: &mut Tx<'_>,
    origin: Origin<'_>,
    key: &EntityKey,
    ledger: &Ledger,
    kind: EventKind,
    whole: &Whole,
    compared: Hash,
) -> Result<i64, Error> {
    let options = &tx.shared.options;
    let floor = Sequence(tx.shared.floor.load(Ordering::Acquire).unsigned_abs());
    let sequence = Sequence::next(ledger.sequence.max(floor), tx.now.unsigned_abs());
    let event_id = sequence.event_id(&options.hospital, key);
    let trace = event_id.simple().to_string();
    let head = Head {
        specversion: "1.0",
        id: event_id.to_string(),
        source: format!("/hospitals/{}/sources/{}", options.hospital, origin.source),
        kind: kind.event_type(key.entity),
        subject: key.subject(),
        time: DateTime::from_timestamp_micros(tx.now).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, false),
        datacontenttype: "application/json",
        dataschema: match kind {
            EventKind::Upserted | EventKind::Raised => schema_uri(key.entity),
            EventKind::Withdrawn => withdrawal_schema_uri(),
        },
        sequence: sequence.to_string(),
        partitionkey: &key.key,
        contenthash: format!("sha256-{}", hex::encode(whole.hash)),
        mappingversion: origin.mapping_version,
        agentversion: &options.agent_version,
        traceparent: format!("00-{trace}-{}-01", &trace[16..]),
        lane: options.lane.as_deref(),
    };
    let mut head = serde_json::to_string(&head).map_err(|_| Error::Unreadable("an event"))?;
    // The data follows byte for byte as the content hash covers it.
    head.pop();
    head.push_str(",\"data\":");
    let size = head.len() as i64 + whole.size + 1;

    let busy = !ledger.fresh
        && tx
            .one(
                "read the outbox",
                "SELECT 1 FROM outbox WHERE entity_id = ?1 AND done_at IS NULL LIMIT 1",
                (ledger.id,),
                |_| Ok(()),
            )?
            .is_some();
    let files = match kind {
        EventKind::Upserted => attachments::named(tx, ledger.id, whole.content)?,
        EventKind::Withdrawn | EventKind::Raised => Vec::new(),
    };
    // An alarm waits for no judgement of its stream: late it is worth nothing.
    let alarm = key.entity == EntityType::CriticalValue;
    let blocked = busy || attachments::lacking(tx, &files)? || (!alarm && tx.waits(origin.stream)?);
    let at_once = if alarm { outbox::URGENT } else { 0 };
    let ready = (!blocked).then_some(at_once);
    let id = tx.insert(
        "queue an event",
        "INSERT INTO outbox (entity_id, stream_id, state, ready_at, size, created_at)
         VALUES (?1, ?2, 'queued', ?3, ?4, ?5)",
        (ledger.id, origin.stream, ready, size, tx.now),
    )?;
    tx.run(
        "store an event",
        "INSERT INTO event (id, entity_id, sequence, event_id, kind, hash, mapping_id, archive_id, created_at, head,
           content_id, config_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, seal('event.head', ?1, ?10), ?11, ?12)",
        rusqlite::params![
            id,
            ledger.id,
            sequence.0 as i64,
            event_id.as_bytes(),
            kind.as_str(),
            whole.hash,
            origin.mapping,
            origin.archive,
            tx.now,
            head,
            whole.content,
            Some(tx.shared.config.load(Ordering::Acquire)).filter(|id| *id > 0)
        ],
    )?;
    tx.run(
        "update the ledger",
        "UPDATE entity SET state = ?2, sequence = ?3, hash = ?4 WHERE id = ?1",
        (ledger.id, if kind == EventKind::Withdrawn { "withdrawn" } else { "present" }, sequence.0 as i64, compared),
    )?;
    attachments::bind(tx, id, &files)?;
    tx.wake |= !blocked;
    tx.groups_changed |= ledger.present && key.entity == EntityType::ExamItemGroup;
    if at_once == outbox::URGENT {
        tx.shared.urgent.raise();
    }
    tx.count_outbox(None, "queued", 1);
    tx.count_bytes(size);
    Ok(id)
}

/// Reads an entity's key back.
pub(super) fn key_of(tx: &Tx<'_>, entity: i64) -> Result<EntityKey, Error> {
    let found = tx.one(
        "read the ledger",
        "SELECT type, opened('entity.key', NULL, key) FROM entity WHERE id = ?1",
        (entity,),
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
    )?;
    let (kind, key) = found.ok_or(Error::NotFound { what: "entity", id: entity })?;
    if key == DAMAGED {
        return Err(Error::Unreadable("an entity's key"));
    }
    Ok(EntityKey { entity: entity_type(&kind)?, key })
}

/// Reads what is counted as it is stored: an entity type, or records that fit no stream.
pub(super) fn kind(text: &str) -> Result<&'static str, Error> {
    if text == UNROUTED { Ok(UNROUTED) } else { entity_type(text).map(EntityType::as_str) }
}

/// Reads an entity type as it is stored.
pub(super) fn entity_type(text: &str) -> Result<EntityType, Error> {
    text.parse().map_err(|_| Error::Unreadable("an entity type"))
}

/// The word that upstream is told: a report that upstream has and that is a draft again was taken
/// back 反审核, whichever of the two the source calls it.
fn told(reason: &str) -> String {
    if reason == "draft" { "reversed".to_owned() } else { reason.to_owned() }
}
