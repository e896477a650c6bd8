//! The lives of events that have ended, for traces.

use chrono::{DateTime, Utc};
use rusqlite::Row;

use super::{Reader, time};
use crate::store::{Attempt, Error};

/// From a record to upstream's receipt. Times are UTC; nothing here is personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLife {
    /// Its row.
    pub id: i64,
    /// The event's id, 32 hexadecimal digits: also the id of its trace.
    pub event_id: String,
    /// The entity's type.
    pub entity: String,
    /// `upserted`, `withdrawn` or `raised`.
    pub kind: String,
    /// `source/stream`.
    pub stream: String,
    /// When its record was committed; `None` for a withdrawal because snapshots lack the entity.
    pub received_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was delivered or held; `None` while it is neither.
    pub done_at: Option<DateTime<Utc>>,
    /// Its state in the outbox.
    pub state: String,
    /// Attempts that did not deliver, oldest first.
    pub history: Vec<Attempt>,
}

const LIFE: &str = "o.id, e.event_id, n.type, e.kind, s.name, a.received_at, o.created_at, o.done_at, o.state
    FROM outbox o JOIN event e ON e.id = o.id JOIN entity n ON n.id = o.entity_id JOIN stream s ON s.id = o.stream_id
    LEFT JOIN archive a ON a.id = e.archive_id";

fn life(row: &Row<'_>) -> rusqlite::Result<EventLife> {
    Ok(EventLife {
        id: row.get(0)?,
        event_id: hex::encode(row.get::<_, [u8; 16]>(1)?),
        entity: row.get(2)?,
        kind: row.get(3)?,
        stream: row.get(4)?,
        received_at: row.get::<_, Option<i64>>(5)?.map(time),
        created_at: time(row.get(6)?),
        done_at: row.get::<_, Option<i64>>(7)?.map(time),
        state: row.get(8)?,
        history: Vec::new(),
    })
}

impl Reader {
    /// The newest row of the outbox; 0 where it is empty.
    pub fn newest_entry(&self) -> Result<i64, Error> {
        Ok(self
            .one("read the outbox", "SELECT max(id) FROM outbox", (), |row| row.get::<_, Option<i64>>(0))?
            .flatten()
            .unwrap_or(0))
    }

    /// Entries that are neither delivered nor held, the oldest first.
    pub fn open_entries(&self, limit: i64) -> Result<Vec<i64>, Error> {
        let sql = "SELECT id FROM outbox INDEXED BY outbox_open WHERE done_at IS NULL ORDER BY id LIMIT ?1";
        self.all("read the outbox", sql, (limit,), |row| row.get(0))
    }

    /// The lives of the entries behind a row, oldest first, ended or not.
    pub fn event_lives(&self, after: i64, limit: i64) -> Result<Vec<EventLife>, Error> {
        let sql = format!("SELECT {LIFE} WHERE o.id > ?1 ORDER BY o.id LIMIT ?2");
        let lives = self.all("read the lives of events", &sql, (after, limit), life)?;
        lives.into_iter().map(|life| self.with_history(life)).collect()
    }

    /// The life of one entry; `None` where it is gone.
    pub fn event_life(&self, id: i64) -> Result<Option<EventLife>, Error> {
        let sql = format!("SELECT {LIFE} WHERE o.id = ?1");
        let found = self.one("read the lives of events", &sql, (id,), life)?;
        found.map(|life| self.with_history(life)).transpose()
    }

    fn with_history(&self, mut life: EventLife) -> Result<EventLife, Error> {
        if life.done_at.is_some() {
            let sql = "SELECT n, at, code FROM attempt WHERE outbox_id = ?1 ORDER BY n";
            life.history = self.all("read attempts", sql, (life.id,), |row| {
                Ok(Attempt { n: row.get(0)?, at: time(row.get(1)?), code: row.get(2)? })
            })?;
        }
        Ok(life)
    }
}
