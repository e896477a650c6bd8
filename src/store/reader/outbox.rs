//! Outbox entries as people see them.

use rusqlite::Row;
use serde_json::value::RawValue;

use super::archive::rows;
use super::{Reader, digest_text, time};
use crate::model::Sequence;
use crate::store::{Attempt, Error, OutboxDetail, OutboxSummary, codec, event_body};

const COLUMNS: &str =
    "o.id, e.event_id, n.type, opened('entity.key', NULL, n.key), e.kind, e.sequence, s.name, o.state,
    o.attempts, o.ambiguous,
    o.size, o.created_at, o.ready_at, o.done_at, o.last_code,
    opened('outbox.last_message', o.id, o.last_message), e.hash, m.version, e.archive_id,
    substr(v.digest, 1, 12)
    FROM outbox o JOIN event e ON e.id = o.id JOIN entity n ON n.id = o.entity_id JOIN stream s ON s.id = o.stream_id
    LEFT JOIN mapping m ON m.id = e.mapping_id LEFT JOIN config_version v ON v.id = e.config_id";

fn summary(row: &Row<'_>) -> rusqlite::Result<OutboxSummary> {
    Ok(OutboxSummary {
        id: row.get(0)?,
        event_id: uuid::Uuid::from_bytes(row.get(1)?).to_string(),
        entity: row.get(2)?,
        key: row.get(3)?,
        kind: row.get(4)?,
        sequence: Sequence(row.get::<_, i64>(5)?.unsigned_abs()).to_string(),
        stream: row.get(6)?,
        state: row.get(7)?,
        attempts: row.get(8)?,
        ambiguous: row.get::<_, i64>(9)? != 0,
        size_bytes: row.get(10)?,
        created_at: time(row.get(11)?),
        next_try_at: row.get::<_, Option<i64>>(12)?.filter(|at| *at > 0).map(time),
        done_at: row.get::<_, Option<i64>>(13)?.map(time),
        last_code: row.get(14)?,
        last_message: row.get(15)?,
        content_hash: digest_text(&row.get::<_, [u8; 32]>(16)?),
        mapping_version: row.get(17)?,
        archive_id: row.get(18)?,
        config_version: row.get(19)?,
    })
}

impl Reader {
    /// Entries, oldest first, behind the entry `after` (0 at first): those in one state, or those that
    /// are neither delivered nor held.
    pub fn outbox_list(&self, state: Option<&str>, limit: usize, after: i64) -> Result<Vec<OutboxSummary>, Error> {
        // Among millions that are done, the few that are open are found by their index.
        let sql = match state {
            Some("delivered" | "held") => {
                format!("SELECT {COLUMNS} WHERE o.state = ?1 AND o.id > ?2 ORDER BY o.id LIMIT ?3")
            }
            _ => format!(
                "SELECT {COLUMNS} WHERE o.id IN (SELECT id FROM outbox INDEXED BY outbox_open WHERE done_at IS NULL
                   AND id > ?2 AND (?1 IS NULL OR state = ?1) ORDER BY id LIMIT ?3) ORDER BY o.id"
            ),
        };
        self.all("list the outbox", &sql, (state, after, rows(limit)), summary)
    }

    /// The newest entries below `before` (all, where it is `None`), newest first, whatever became of them.
    pub fn outbox_recent(&self, before: Option<i64>, limit: usize) -> Result<Vec<OutboxSummary>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE o.id < ?1 ORDER BY o.id DESC LIMIT ?2");
        self.all("list the outbox", &sql, (before.unwrap_or(i64::MAX), rows(limit)), summary)
    }

    /// One entry with its event and attempts.
    pub fn outbox_show(&self, id: i64) -> Result<OutboxDetail, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE o.id = ?1");
        let entry = self.one("read the outbox", &sql, (id,), summary)?;
        let entry = entry.ok_or(Error::NotFound { what: "outbox entry", id })?;
        Ok(OutboxDetail { entry, history: self.attempts(id)?, event: self.event(id)? })
    }

    /// The attempts that are remembered of an entry.
    pub(super) fn attempts(&self, id: i64) -> Result<Vec<Attempt>, Error> {
        let sql = "SELECT n, at, code FROM attempt WHERE outbox_id = ?1 ORDER BY n";
        self.all("read an entry's attempts", sql, (id,), |row| {
            Ok(Attempt { n: row.get(0)?, at: time(row.get(1)?), code: row.get(2)? })
        })
    }

    /// An event, exactly as it is sent.
    pub(super) fn event(&self, id: i64) -> Result<Box<RawValue>, Error> {
        let sql =
            "SELECT opened('event.head', e.id, e.head), c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
                   FROM event e JOIN content c ON c.id = e.content_id WHERE e.id = ?1";
        let found = self.one("read an event", sql, (id,), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        let (head, codec, size, data) = found.ok_or(Error::NotFound { what: "event", id })?;
        let body = event_body(head, codec::unpack(codec, size, data)?);
        serde_json::from_slice(&body).map_err(|_| Error::Unreadable("an event"))
    }

    /// The entries of an entity, oldest first.
    pub(super) fn outbox_of(&self, entity: i64) -> Result<Vec<OutboxSummary>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE o.entity_id = ?1 ORDER BY o.id");
        self.all("list the outbox", &sql, (entity,), summary)
    }
}
