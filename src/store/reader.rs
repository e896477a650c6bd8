//! Reading the store without changing it.

use std::path::Path;

use chrono::{DateTime, Utc};
use connector_api::{StreamId, Watermark};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::{Error, schema};

/// A read-only connection. Blocks: from async code go through [`Store::read`](super::Store::read).
pub struct Reader {
    conn: Connection,
}

impl Reader {
    /// Opens the store of a folder, with or without an agent running on it.
    pub fn open(dir: &Path) -> Result<Reader, Error> {
        Reader::open_file(&schema::file(dir))
    }

    pub(super) fn open_file(path: &Path) -> Result<Reader, Error> {
        Ok(Reader { conn: schema::open_reader(path)? })
    }

    /// Where an incremental stream stands; the start, where it was never committed to.
    pub fn watermark(&self, stream: &StreamId) -> Result<Watermark, Error> {
        let sql = "SELECT watermark FROM stream WHERE name = ?1";
        let text = self.one("read the watermark", sql, (stream.as_str(),), |row| row.get::<_, Option<String>>(0))?;
        match text.flatten() {
            None => Ok(Watermark::start()),
            Some(text) => Watermark::from_text(&text)
                .map_err(|cause| Error::Watermark { stream: stream.as_str().to_owned(), cause }),
        }
    }

    /// When the next entry becomes due; in the past where one is due now.
    pub fn next_due(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let sql = "SELECT min(ready_at) FROM outbox WHERE ready_at IS NOT NULL";
        let due = self.one("read the outbox", sql, (), |row| row.get::<_, Option<i64>>(0))?;
        Ok(due.flatten().map(time))
    }

    pub(super) fn one<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
        statement.query_row(params, read).optional().map_err(Error::sqlite(operation))
    }

    pub(super) fn all<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
        let rows = statement.query_map(params, read).map_err(Error::sqlite(operation))?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(Error::sqlite(operation))
    }
}

/// A stored time.
pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
