//! Held items as people see them.

use rusqlite::Row;

use super::archive::rows;
use super::{Reader, time};
use crate::store::{AuditEntry, Error, HeldDetail, HeldFilter, HeldSummary};

const COLUMNS: &str = "h.id, h.leg, h.state, h.reason, s.name, h.type, opened('entity.key', NULL, n.key),
    h.archive_id, h.event_id, m.version, h.opened_at, h.closed_at, h.closed_by,
    opened('held.note', h.id, h.note), h.until
    FROM held h JOIN stream s ON s.id = h.stream_id LEFT JOIN entity n ON n.id = h.entity_id
    LEFT JOIN mapping m ON m.id = h.mapping_id";

fn summary(row: &Row<'_>) -> rusqlite::Result<HeldSummary> {
    Ok(HeldSummary {
        id: row.get(0)?,
        leg: row.get(1)?,
        state: row.get(2)?,
        reason: row.get(3)?,
        stream: row.get(4)?,
        entity: row.get(5)?,
        key: row.get(6)?,
        archive_id: row.get(7)?,
        outbox_id: row.get(8)?,
        mapping_version: row.get(9)?,
        opened_at: time(row.get(10)?),
        closed_at: row.get::<_, Option<i64>>(11)?.map(time),
        closed_by: row.get(12)?,
        note: row.get(13)?,
        waits_until: row.get::<_, Option<i64>>(14)?.map(time),
    })
}

impl Reader {
    /// Held items, oldest first, behind the item `after` (0 at first).
    pub fn held_list(&self, filter: &HeldFilter, limit: usize, after: i64) -> Result<Vec<HeldSummary>, Error> {
        // Only what is asked for stands in the statement, and 'open' as a literal, so that SQLite finds an index for it.
        let asked = [
            (filter.open_only, " AND h.state = 'open'"),
            (filter.stream.is_some(), " AND h.stream_id = (SELECT id FROM stream WHERE name = ?2)"),
            (filter.reason.is_some(), " AND h.reason = ?3"),
            (filter.id.is_some(), " AND h.id = ?4"),
        ];
        let asked: String = asked.iter().filter(|(asked, _)| *asked).map(|(_, sql)| *sql).collect();
        let sql = format!("SELECT {COLUMNS} WHERE h.id > ?1{asked} ORDER BY h.id LIMIT ?5");
        let params = (after, &filter.stream, &filter.reason, filter.id, rows(limit));
        self.all("list held items", &sql, params, summary)
    }

    /// One held item with all that a person needs to decide.
    pub fn held_show(&self, id: i64) -> Result<HeldDetail, Error> {
        let operation = "read a held item";
        let item = self.one(operation, &format!("SELECT {COLUMNS} WHERE h.id = ?1"), (id,), summary)?;
        let item = item.ok_or(Error::NotFound { what: "held item", id })?;
        let findings: Option<String> = self.one(
            operation,
            "SELECT opened('held.findings', id, findings) FROM held WHERE id = ?1",
            (id,),
            |row| row.get(0),
        )?;
        let findings =
            serde_json::from_str(&findings.unwrap_or_default()).map_err(|_| Error::Unreadable("a finding"))?;
        Ok(HeldDetail {
            findings,
            // The record of an item that is closed for long may be gone.
            record: match item.archive_id.map(|archive| self.archived(archive)) {
                Some(Err(Error::NotFound { .. })) => None,
                record => record.transpose()?,
            },
            // An event that is held for being unreadable can't be shown, and everything else about it can.
            event: match item.outbox_id.map(|event| self.event(event)) {
                Some(Err(Error::Unreadable(_) | Error::NotFound { .. })) => None,
                event => event.transpose()?,
            },
            history: self.audit_of(&format!("held/{id}"))?,
            item,
        })
    }

    /// What people did to a thing of the store (`held/7`), oldest first.
    pub fn audit_of(&self, subject: &str) -> Result<Vec<AuditEntry>, Error> {
        let sql = "SELECT at, who, act, subject, opened('audit.detail', at, detail) FROM audit
                   WHERE subject = ?1 ORDER BY id";
        self.all("read the audit log", sql, (subject,), |row| {
            Ok(AuditEntry {
                at: time(row.get(0)?),
                who: row.get(1)?,
                act: row.get(2)?,
                subject: row.get(3)?,
                detail: row.get(4)?,
            })
        })
    }

    /// The held items of an entity.
    pub(super) fn held_of(&self, entity: i64) -> Result<Vec<HeldSummary>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE h.entity_id = ?1 ORDER BY h.id");
        self.all("list held items", &sql, (entity,), summary)
    }

    /// The held items without an entity that a word names, or that an archived record gave.
    pub(super) fn held_by(&self, word: &str, archive: Option<i64>) -> Result<Vec<HeldSummary>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} WHERE h.entity_id IS NULL AND h.id IN (SELECT held_id FROM search
                 WHERE word = same('search.word', ?1)
               UNION SELECT id FROM held WHERE archive_id = ?2) ORDER BY h.id"
        );
        self.all("list held items", &sql, (word, archive), summary)
    }
}
