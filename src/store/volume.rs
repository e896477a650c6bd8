//! Figures that are kept in memory or by days, so that nobody has to count rows.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, Row};

use super::{Error, query};

/// A day in microseconds.
pub(super) const DAY: i64 = 86_400_000_000;

/// The sums of undelivered events, as of the last commit: read where a look into the file would cost too much.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) entries: AtomicI64,
    pub(super) bytes: AtomicI64,
}

impl Backlog {
    /// Reads the sums once, when the store is opened.
    pub(super) fn load(&self, conn: &Connection) -> Result<(), Error> {
        let sql = "SELECT coalesce(sum(n) FILTER (WHERE scope = 'outbox'), 0),
                          coalesce(sum(n) FILTER (WHERE scope = 'outbox-bytes'), 0) FROM counter
                   WHERE scope = 'outbox-bytes' OR (scope = 'outbox' AND name NOT IN ('delivered', 'held'))";
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (entries, bytes) = query::one(conn, "read the sums", sql, (), read)?.unwrap_or_default();
        self.entries.store(entries, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn add(&self, (entries, bytes): (i64, i64)) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What is archived on a day, and what of it is given up.
#[derive(Clone, Copy, Default)]
pub(super) struct Volume {
    pub(super) records: i64,
    pub(super) raw: i64,
    pub(super) packed: i64,
    pub(super) kept_records: i64,
    pub(super) kept: i64,
}

impl Volume {
    pub(super) fn merge(&mut self, later: Volume) {
        self.records += later.records;
        self.raw += later.raw;
        self.packed += later.packed;
        self.kept_records += later.kept_records;
        self.kept += later.kept;
    }

    pub(super) fn write(self, conn: &Connection, day: i64) -> Result<(), Error> {
        let failed = || Error::sqlite("update the archive's sums");
        let sql = "INSERT INTO volume (day, records, raw, packed, kept_records, kept) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT DO UPDATE SET records = records + excluded.records, raw = raw + excluded.raw,
                     packed = packed + excluded.packed, kept_records = kept_records + excluded.kept_records,
                     kept = kept + excluded.kept";
        let mut statement = conn.prepare_cached(sql).map_err(failed())?;
        let Volume { records, raw, packed, kept_records, kept } = self;
        statement.execute((day, records, raw, packed, kept_records, kept)).map_err(failed())?;
        Ok(())
    }
}
