//! Reading the store without changing it.

mod archive;
mod codes;
mod explain;
mod held;
mod lives;
mod outbox;
mod replay;
mod statistics;

pub use lives::EventLife;
pub use statistics::{Statistics, stable_word};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use connector_api::seal::KeyRing;
use connector_api::{StreamId, Watermark};
use rusqlite::{Connection, Params, Row};

use super::vault::{self, Vault};
use super::{Error, HeldCount, Overview, StreamProgress, Totals, Unreadable, query, schema};

pub use replay::{ReplayFilter, Slot, Standing, StoredPart};

/// A read-only connection. Blocks: from async code go through [`Store::read`](super::Store::read).
pub struct Reader {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
}

impl Reader {
    /// Opens the store of a folder, with or without an agent running on it.
    pub fn open(dir: &Path) -> Result<Reader, Error> {
        Reader::open_with(dir, None)
    }

    /// Like [`open`](Reader::open), with the keys of the configuration: [`Error::NoKey`] and [`Error::WrongKey`] where
    /// the store needs another one.
    pub fn open_with(dir: &Path, keys: Option<&KeyRing>) -> Result<Reader, Error> {
        Reader::open_at(&schema::file(dir), keys)
    }

    /// Opens a store's file, wherever it lies and whatever its name: a backup.
    pub fn open_at(path: &Path, keys: Option<&KeyRing>) -> Result<Reader, Error> {
        let conn = schema::open_reader(path)?;
        let vault = vault::load(&conn, keys)?;
        vault::register(&conn, &vault)?;
        Ok(Reader { conn, path: path.to_owned() })
    }

    /// Opens the file with the keys that its agent has opened.
    pub(super) fn open_file(path: &Path, vault: &Arc<Vault>) -> Result<Reader, Error> {
        let conn = schema::open_reader(path)?;
        vault::register(&conn, vault)?;
        Ok(Reader { conn, path: path.to_owned() })
    }

    /// Where an incremental stream stands; the start, where it was never committed to.
    pub fn watermark(&self, stream: &StreamId) -> Result<Watermark, Error> {
        let sql = "SELECT opened('stream.watermark', id, watermark) FROM stream WHERE name = ?1";
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

    /// The store at a glance. Costs the same with millions of records as with none.
    pub fn overview(&self) -> Result<Overview, Error> {
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite("read the overview"))?;
        Ok(Overview {
            size_bytes: self.size(),
            outbox_depth: self.outbox_depth()?,
            outbox: self.outbox_states()?,
            oldest_undelivered_at: self.oldest_undelivered()?,
            held_open: self.held_open()?,
            totals: self.totals()?,
            streams: self.stream_progress()?,
        })
    }

    /// The same of a store of which some may not be readable: each part by itself.
    pub fn overview_in_parts(&self, unreadable: &mut Unreadable) -> Overview {
        // One state for all parts where that can be had.
        let _snapshot = self.conn.unchecked_transaction().ok();
        Overview {
            size_bytes: self.size(),
            outbox_depth: unreadable.part("/store/outbox_depth", self.outbox_depth()),
            outbox: unreadable.part("/store/outbox", self.outbox_states()),
            oldest_undelivered_at: unreadable.part("/store/oldest_undelivered_at", self.oldest_undelivered()),
            held_open: unreadable.part("/store/held_open", self.held_open()),
            totals: unreadable.part("/store/totals", self.totals()),
            streams: unreadable.part("/store/streams", self.stream_progress()),
        }
    }

    fn outbox_states(&self) -> Result<BTreeMap<String, i64>, Error> {
        let states = self.counters("outbox")?.into_iter().filter(|(.., n)| *n != 0);
        Ok(states.map(|(_, name, n)| (name, n)).collect())
    }

    fn outbox_depth(&self) -> Result<i64, Error> {
        let states = self.outbox_states()?;
        let waiting = states.iter().filter(|(state, _)| !matches!(state.as_str(), "delivered" | "held"));
        Ok(waiting.map(|(_, n)| n).sum())
    }

    fn oldest_undelivered(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let sql = "SELECT created_at FROM outbox INDEXED BY outbox_open WHERE done_at IS NULL
                     AND (stream_id NOT IN (SELECT stream_id FROM onboarding WHERE state = 'waiting')
                       OR EXISTS (SELECT 1 FROM entity n WHERE n.id = entity_id AND n.type = 'critical_value'))
                   ORDER BY id LIMIT 1";
        Ok(self.one("read the outbox", sql, (), |row| row.get::<_, i64>(0))?.map(time))
    }

    fn held_open(&self) -> Result<Vec<HeldCount>, Error> {
        let held = self.counters("held")?.into_iter().filter(|(.., n)| *n != 0);
        Ok(held.map(|(leg, reason, count)| HeldCount { leg, reason, count }).collect())
    }

    /// What became of every version, by entity type (P3).
    pub fn totals(&self) -> Result<BTreeMap<String, Totals>, Error> {
        let sql = "SELECT kind, name, sum(n) FROM counter WHERE scope NOT IN ('outbox', 'outbox-bytes', 'held')
                   GROUP BY kind, name";
        let mut totals = BTreeMap::new();
        for (kind, name, n) in self.all("read the sums", sql, (), counter)? {
            totals.entry(kind).or_insert_with(Totals::zero).add(&name, n);
        }
        Ok(totals)
    }

    /// How far each stream is, by name.
    pub fn stream_progress(&self) -> Result<Vec<StreamProgress>, Error> {
        let sql = "SELECT id, name, opened('stream.watermark', id, watermark), watermark_at,
                     records, resent, reread, scan, last_received_at,
                     last_commit_at FROM stream ORDER BY name";
        let at = |micros: Option<i64>| micros.map(time);
        let streams = self.all("read the streams", sql, (), |row| {
            let progress = StreamProgress {
                stream: row.get(1)?,
                watermark: row.get(2)?,
                watermark_at: at(row.get(3)?),
                records: row.get(4)?,
                resent: row.get(5)?,
                reread: row.get(6)?,
                snapshots: row.get(7)?,
                last_received_at: at(row.get(8)?),
                last_commit_at: at(row.get(9)?),
                totals: Totals::zero(),
            };
            Ok((row.get::<_, i64>(0)?, progress))
        })?;
        streams
            .into_iter()
            .map(|(id, mut progress)| {
                for (_, name, n) in self.counters(&id.to_string())? {
                    progress.totals.add(&name, n);
                }
                Ok(progress)
            })
            .collect()
    }

    fn counters(&self, scope: &str) -> Result<Vec<(String, String, i64)>, Error> {
        self.all("read the sums", "SELECT kind, name, n FROM counter WHERE scope = ?1", (scope,), counter)
    }

    fn size(&self) -> u64 {
        length(&self.path) + self.log_size()
    }

    /// Bytes of the write-ahead log.
    pub(super) fn log_size(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        length(Path::new(&log))
    }

    pub(super) fn one<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        query::one(&self.conn, operation, sql, params, read)
    }

    pub(super) fn all<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        query::all(&self.conn, operation, sql, params, read)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn counter(row: &Row<'_>) -> rusqlite::Result<(String, String, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// A digest as people see it.
fn digest_text(hash: &[u8]) -> String {
    format!("sha256-{}", hex::encode(hash))
}

/// A stored time.
pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
