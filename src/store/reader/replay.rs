//! The archive beside what was made of it: what a replay compares.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Reader;
use super::archive::rows;
use crate::model::{Assembly, EntityKey, EntityType, Wish};
use crate::store::{ArchivedRecord, Error, codec, snapshot};

/// Which part of the archive is replayed.
#[derive(Clone, Debug, Default)]
pub struct ReplayFilter {
    /// Records of this stream (`source/stream`).
    pub stream: Option<String>,
    /// Records received at or after this time; UTC.
    pub since: Option<DateTime<Utc>>,
    /// Records received before this time; UTC.
    pub until: Option<DateTime<Utc>>,
    /// These entities alone, by their rows (see [`Reader::entities_of`]); all where `None`.
    pub entities: Option<Vec<i64>>,
}

impl ReplayFilter {
    fn takes(&self, slot: &Slot) -> bool {
        self.stream.as_deref().is_none_or(|stream| stream == slot.stream)
            && self.since.is_none_or(|since| slot.received_at >= since.timestamp_micros())
            && self.until.is_none_or(|until| slot.received_at < until.timestamp_micros())
    }
}

/// What the store has of one entity that a record speaks of last.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its row.
    pub entity: i64,
    /// Its identity.
    pub key: EntityKey,
    /// Its newest event says that it should be upstream.
    pub present: bool,
    /// What its newest event says, hashed; absent where none was made.
    pub hash: Option<[u8; 32]>,
    /// The latest record of each stream that speaks of it, by the stream's name.
    pub slots: Vec<Slot>,
    /// Whether it is compared when this record is replayed: among the records that the filter takes, it is the newest
    /// one of the entity. So each entity is compared once.
    pub due: bool,
}

/// The latest record of one stream that speaks of an entity.
#[derive(Clone, Debug)]
pub struct Slot {
    /// `source/stream`.
    pub stream: String,
    /// The archived record.
    pub archive_id: i64,
    /// When it was received, in microseconds since 1970 UTC.
    pub received_at: i64,
    /// Its bytes were given up.
    pub given_up: bool,
    /// Why it is held for a person; absent where it is not.
    pub held: Option<String>,
    /// What the store keeps as this stream's part; absent where all that came was held.
    pub part: Option<StoredPart>,
}

/// A part as the store keeps it.
#[derive(Clone, Debug)]
pub struct StoredPart {
    /// Snapshots lack the entity: mapping its record again does not bring it back.
    pub gone: bool,
    /// Whether it should be upstream.
    pub wish: Wish,
    /// How it joins the other parts.
    pub assembly: Option<Assembly>,
    /// SHA-256 of its `data`.
    pub hash: [u8; 32],
    content: i64,
}

impl Reader {
    /// How many records the archive has had: the highest id.
    pub fn newest_record(&self) -> Result<i64, Error> {
        let newest = self.one("read the archive", "SELECT max(id) FROM archive", (), |row| row.get(0))?;
        Ok(newest.flatten().unwrap_or(0))
    }

    /// Ids of archived records whose bytes are there, ascending, behind `after` (0 at first).
    pub fn replayable(&self, filter: &ReplayFilter, after: i64, limit: usize) -> Result<Vec<i64>, Error> {
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        let sql = "SELECT a.id FROM archive a JOIN stream s ON s.id = a.stream_id
                   WHERE a.id > ?1 AND a.given_up_at IS NULL AND (?2 IS NULL OR s.name = ?2)
                     AND (?3 IS NULL OR a.received_at >= ?3) AND (?4 IS NULL OR a.received_at < ?4)
                   ORDER BY a.id LIMIT ?5";
        if let Some(entities) = &filter.entities {
            return self.records_of(filter, entities, after, limit);
        }
        let of = (after, &filter.stream, micros(filter.since), micros(filter.until), rows(limit));
        self.all("read the archive", sql, of, |row| row.get(0))
    }

    fn records_of(&self, filter: &ReplayFilter, entities: &[i64], after: i64, limit: usize) -> Result<Vec<i64>, Error> {
        let mut ids: Vec<i64> = Vec::new();
        for entity in entities {
            let slots = self.slots(*entity)?;
            ids.extend(slots.iter().filter(|slot| !slot.given_up && filter.takes(slot)).map(|slot| slot.archive_id));
        }
        ids.retain(|id| *id > after);
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit);
        Ok(ids)
    }

    /// The entities that a person names by key, by subject or by a search word (an exam number). At most a thousand.
    pub fn entities_of(&self, needle: &str) -> Result<Vec<i64>, Error> {
        let operation = "look for an entity";
        if let Ok(key) = EntityKey::from_subject(needle) {
            let sql = "SELECT id FROM entity WHERE type = ?1 AND key = same('entity.key', ?2)";
            return self.all(operation, sql, (key.entity.as_str(), &key.key), |row| row.get(0));
        }
        let sql = "SELECT id FROM entity WHERE key = same('entity.key', ?1) AND type IN
                     ('exam_item', 'exam_item_group', 'exam_package', 'exam_report', 'critical_value')
                   UNION SELECT entity_id FROM search
                     WHERE word = same('search.word', ?1) AND entity_id > 0 ORDER BY 1 LIMIT 1000";
        self.all(operation, sql, (needle,), |row| row.get(0))
    }

    /// An archived record, to be mapped without changing anything; [`Error::Unreadable`] where its bytes are damaged.
    pub fn replayed_record(&self, id: i64) -> Result<ArchivedRecord, Error> {
        self.record(id, id)
    }

    /// What the store has of the entities that this record speaks of last, and why a person looks at it where it did
    /// not even tell its entity. Both are empty for a record that a newer one overtook.
    pub fn standings(&self, record: i64, filter: &ReplayFilter) -> Result<(Vec<Standing>, Option<String>), Error> {
        let operation = "read what became of a record";
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite(operation))?;
        let sql = "SELECT entity_id FROM disposition WHERE archive_id = ?1 AND entity_id IS NOT NULL
                   UNION SELECT entity_id FROM held WHERE archive_id = ?1 AND state = 'open' AND leg = 'record'
                     AND entity_id IS NOT NULL";
        let entities: Vec<i64> = self.all(operation, sql, (record,), |row| row.get(0))?;
        let mut standings = Vec::with_capacity(entities.len());
        for entity in entities {
            if filter.entities.as_ref().is_some_and(|asked| !asked.contains(&entity)) {
                continue;
            }
            let slots = self.slots(entity)?;
            if !slots.iter().any(|slot| slot.archive_id == record) {
                continue;
            }
            let newest = slots.iter().filter(|slot| !slot.given_up && filter.takes(slot)).map(|slot| slot.archive_id);
            let due = newest.max() == Some(record);
            let sql = "SELECT type, opened('entity.key', NULL, key), state, hash FROM entity WHERE id = ?1";
            let found = self.one(operation, sql, (entity,), |row| {
                let state: String = row.get(2)?;
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, state == "present", row.get(3)?))
            })?;
            let (kind, key, present, hash) = found.ok_or(Error::NotFound { what: "entity", id: entity })?;
            let kind: EntityType = kind.parse().map_err(|_| Error::Unreadable("an entity type"))?;
            standings.push(Standing { entity, key: EntityKey::new(kind, key), present, hash, slots, due });
        }
        let sql = "SELECT reason FROM held WHERE archive_id = ?1 AND state = 'open' AND leg = 'record'
                     AND entity_id IS NULL ORDER BY id DESC LIMIT 1";
        let unknown = self.one(operation, sql, (record,), |row| row.get(0))?;
        Ok((standings, unknown))
    }

    /// Where an entity stands with each stream: its part, or what came after it and is held.
    fn slots(&self, entity: i64) -> Result<Vec<Slot>, Error> {
        let operation = "read an entity's parts";
        let sql =
            "SELECT s.name, p.archive_id, a.received_at, a.given_up_at, p.absent, p.assembly, p.content_id, p.hash
                   FROM part p JOIN stream s ON s.id = p.stream_id LEFT JOIN archive a ON a.id = p.archive_id
                   WHERE p.entity_id = ?1";
        let parts = self.all(operation, sql, (entity,), |row| {
            let absent: Option<String> = row.get(4)?;
            let assembly: Option<String> = row.get(5)?;
            let received_at: Option<i64> = row.get(2)?;
            let part = StoredPart {
                gone: absent.as_deref() == Some(snapshot::MISSING),
                wish: absent.map_or(Wish::Present, |reason| Wish::Absent { reason }),
                assembly: assembly.and_then(|text| serde_json::from_str(&text).ok()),
                content: row.get(6)?,
                hash: row.get(7)?,
            };
            Ok(Slot {
                stream: row.get(0)?,
                archive_id: row.get(1)?,
                received_at: received_at.unwrap_or(0),
                // The record of a part may be gone altogether.
                given_up: received_at.is_none() || row.get::<_, Option<i64>>(3)?.is_some(),
                held: None,
                part: Some(part),
            })
        })?;
        let mut slots: BTreeMap<String, Slot> = parts.into_iter().map(|slot| (slot.stream.clone(), slot)).collect();
        let sql = "SELECT s.name, h.archive_id, a.received_at, a.given_up_at, h.reason
                   FROM held h JOIN stream s ON s.id = h.stream_id JOIN archive a ON a.id = h.archive_id
                   WHERE h.entity_id = ?1 AND h.state = 'open' AND h.leg = 'record' ORDER BY h.archive_id, h.id";
        let held = self.all(operation, sql, (entity,), |row| {
            Ok(Slot {
                stream: row.get(0)?,
                archive_id: row.get(1)?,
                received_at: row.get(2)?,
                given_up: row.get::<_, Option<i64>>(3)?.is_some(),
                held: Some(row.get(4)?),
                part: None,
            })
        })?;
        for held in held {
            match slots.get_mut(&held.stream) {
                Some(slot) if slot.archive_id > held.archive_id => {}
                Some(slot) => *slot = Slot { part: slot.part.take(), ..held },
                None => _ = slots.insert(held.stream.clone(), held),
            }
        }
        Ok(slots.into_values().collect())
    }

    /// The newest record, whose bytes are here, that an entity is made of.
    pub(in crate::store) fn newest_record_of(&self, entity: i64) -> Result<Option<i64>, Error> {
        let slots = self.slots(entity)?;
        Ok(slots.iter().filter(|slot| !slot.given_up).map(|slot| slot.archive_id).max())
    }

    /// The row of an entity, and the newest record of this stream that speaks of it (0: none); `None` where the store
    /// does not know the entity.
    pub fn known_entity(&self, key: &EntityKey, stream: &str) -> Result<Option<(i64, i64)>, Error> {
        let sql = "SELECT id FROM entity WHERE type = ?1 AND key = same('entity.key', ?2)";
        let of = (key.entity.as_str(), &key.key);
        let Some(entity) = self.one("look for an entity", sql, of, |row| row.get::<_, i64>(0))? else {
            return Ok(None);
        };
        let slot = self.slots(entity)?.into_iter().find(|slot| slot.stream == stream);
        Ok(Some((entity, slot.map_or(0, |slot| slot.archive_id))))
    }

    /// The `data` of an entity's newest event, and whether upstream was told exactly what the ledger compares with;
    /// `None` for a withdrawal, and where its content is kept no more.
    pub fn newest_data(&self, standing: &Standing) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let sql = "SELECT c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body), e.hash
                   FROM event e JOIN content c ON c.id = e.content_id
                   WHERE e.id = (SELECT max(id) FROM outbox WHERE entity_id = ?1) AND e.kind <> 'withdrawn'";
        let found = self.one("read an event", sql, (standing.entity,), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, [u8; 32]>(3)?))
        })?;
        let Some((codec, size, body, hash)) = found else { return Ok(None) };
        Ok(Some((codec::unpack(codec, size, body)?, standing.hash == Some(hash))))
    }

    /// The `data` of a stored part.
    pub fn part_data(&self, part: &StoredPart) -> Result<Vec<u8>, Error> {
        let sql = "SELECT codec, size, opened_body(codec, 'content', id, body) FROM content WHERE id = ?1";
        let found = self.one("read a part", sql, (part.content,), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let (codec, size, body) = found.ok_or(Error::NotFound { what: "part", id: part.content })?;
        codec::unpack(codec, size, body)
    }
}
