//! The whole life of a record.

use uuid::Uuid;

use super::archive::rows;
use super::{Reader, digest_text, time};
use crate::model::{EntityKey, changes};
use crate::store::{EntityLife, Error, Explained, PartView, Version, codec};

/// Entities that one word may name; more are not shown.
const MOST: usize = 50;
/// Differences between two versions that are shown.
const CHANGES: usize = 20;

impl Reader {
    /// Everything about what a person names: by key, by subject (`exam_report/main:peis:1`), by search
    /// word (an exam number), by event id (looked for one by one: slow in a large store), by archive
    /// id (`archive:7`, or the bare number where it means nothing else).
    pub fn explain(&self, needle: &str) -> Result<Explained, Error> {
        self.explain_within(needle, i64::MAX)
    }

    /// The same; an event id is looked for among so many of the newest events only.
    pub fn explain_within(&self, needle: &str, newest: i64) -> Result<Explained, Error> {
        let operation = "explain a record";
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite(operation))?;
        if let Some(id) = needle.strip_prefix("archive:").and_then(|id| id.parse().ok()) {
            return self.explain_archived(id);
        }
        let mut ids: Vec<i64> = match EntityKey::from_subject(needle) {
            Ok(key) => {
                let sql = "SELECT id FROM entity WHERE type = ?1 AND key = same('entity.key', ?2)";
                self.all(operation, sql, (key.entity.as_str(), &key.key), |row| row.get(0))?
            }
            Err(_) => Vec::new(),
        };
        if ids.is_empty() {
            // The types are named so that the index on (type, key) serves.
            let sql = "SELECT id FROM entity WHERE key = same('entity.key', ?1) AND type IN
                         ('exam_item', 'exam_item_group', 'exam_package', 'exam_report')
                       UNION SELECT entity_id FROM search
                         WHERE word = same('search.word', ?1) AND entity_id > 0 ORDER BY 1 LIMIT ?2";
            ids = self.all(operation, sql, (needle, rows(MOST)), |row| row.get(0))?;
        }
        if ids.is_empty()
            && let Ok(event) = Uuid::parse_str(needle)
        {
            let sql = "SELECT entity_id FROM event WHERE id > ?2 AND event_id = ?1";
            let after = self.newest_entry()?.saturating_sub(newest);
            ids = self.all(operation, sql, (event.as_bytes(), after), |row| row.get(0))?;
        }
        let held = self.held_by(needle, None)?;
        if ids.is_empty()
            && held.is_empty()
            && let Ok(id) = needle.parse()
        {
            return self.explain_archived(id);
        }
        Ok(Explained { entities: self.lives(ids)?, held, record: None })
    }

    fn explain_archived(&self, id: i64) -> Result<Explained, Error> {
        let record = match self.archived(id) {
            Ok(record) => record,
            Err(Error::NotFound { .. }) => return Ok(Explained::default()),
            Err(error) => return Err(error),
        };
        let sql = "SELECT DISTINCT entity_id FROM disposition WHERE archive_id = ?1 AND entity_id IS NOT NULL LIMIT ?2";
        let ids = self.all("explain a record", sql, (id, rows(MOST)), |row| row.get(0))?;
        Ok(Explained { entities: self.lives(ids)?, held: self.held_by("", Some(id))?, record: Some(record) })
    }

    fn lives(&self, ids: Vec<i64>) -> Result<Vec<EntityLife>, Error> {
        ids.into_iter().map(|id| self.life(id)).collect()
    }

    fn life(&self, id: i64) -> Result<EntityLife, Error> {
        let sql = "SELECT type, opened('entity.key', NULL, key), state FROM entity WHERE id = ?1";
        let found = self.one("explain a record", sql, (id,), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (entity, key, state) = found.ok_or(Error::NotFound { what: "entity", id })?;
        let mut before = None;
        let versions = self.outbox_of(id)?.into_iter().map(|entry| {
            let data = self.data_of(entry.id)?;
            let changes = match (before.replace(data.clone()).flatten(), data) {
                (Some(before), Some(data)) => changes::between(&before, &data, CHANGES),
                _ => Vec::new(),
            };
            let sql = "SELECT received_at, digest FROM archive WHERE id = ?1";
            let record = self.one("explain a record", sql, (entry.archive_id,), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
            })?;
            Ok(Version {
                received_at: record.map(|(at, _)| time(at)),
                raw_digest: record.map(|(_, digest)| digest_text(&digest)),
                history: self.attempts(entry.id)?,
                changes,
                entry,
            })
        });
        Ok(EntityLife {
            entity,
            key,
            state,
            versions: versions.collect::<Result<_, Error>>()?,
            parts: self.parts(id)?,
            held: self.held_of(id)?,
        })
    }

    /// What an event says of its entity; `None` for a withdrawal, and where it can't be read any more.
    fn data_of(&self, event: i64) -> Result<Option<serde_json::Value>, Error> {
        let sql = "SELECT c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
                   FROM event e JOIN content c ON c.id = e.content_id
                   WHERE e.id = ?1 AND e.kind <> 'withdrawn'";
        let found = self.one("explain a record", sql, (event,), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let data = found.and_then(|(codec, size, body)| codec::unpack(codec, size, body).ok());
        Ok(data.and_then(|data| serde_json::from_slice(&data).ok()))
    }

    fn parts(&self, entity: i64) -> Result<Vec<PartView>, Error> {
        let sql =
            "SELECT s.name, p.archive_id, a.received_at, p.digest, m.version, p.absent, abs(p.missing) FROM part p
                   JOIN stream s ON s.id = p.stream_id LEFT JOIN archive a ON a.id = p.archive_id
                   LEFT JOIN mapping m ON m.id = p.mapping_id WHERE p.entity_id = ?1 ORDER BY s.name";
        self.all("explain a record", sql, (entity,), |row| {
            Ok(PartView {
                stream: row.get(0)?,
                archive_id: row.get(1)?,
                received_at: row.get::<_, Option<i64>>(2)?.map(time),
                raw_digest: digest_text(&row.get::<_, [u8; 32]>(3)?),
                mapping_version: row.get(4)?,
                absent_reason: row.get(5)?,
                missing: row.get(6)?,
            })
        })
    }
}
