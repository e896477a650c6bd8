//! Archived records: to look at, and to be mapped again.

use std::collections::BTreeSet;

use bytes::Bytes;
use connector_api::{Raw, StreamId};

use super::super::codec::unpack;
use super::super::prepare::DUPLICATE_KEY;
use super::{Reader, digest_text, time};
use crate::store::{ArchivedRecord, ArchivedView, Error, HeldFilter};

impl Reader {
    /// An archived record, to look at.
    pub fn archived(&self, id: i64) -> Result<ArchivedView, Error> {
        let operation = "read the archive";
        let sql = "SELECT s.name, a.received_at, opened('archive.source_ref', a.id, a.source_ref), a.format, a.charset,
                     a.digest, a.given_up_at, a.codec, a.size, opened_body(a.codec, 'archive', a.id, a.body)
                   FROM archive a JOIN stream s ON s.id = a.stream_id WHERE a.id = ?1";
        let found = self.one(operation, sql, (id,), |row| {
            let view = ArchivedView {
                archive_id: id,
                stream: row.get(0)?,
                received_at: time(row.get(1)?),
                source_ref: row.get(2)?,
                format: row.get(3)?,
                charset: row.get(4)?,
                digest: digest_text(&row.get::<_, [u8; 32]>(5)?),
                given_up_at: row.get::<_, Option<i64>>(6)?.map(time),
                body: Bytes::new(),
            };
            Ok((view, row.get::<_, i64>(7)?, row.get::<_, i64>(8)?, row.get::<_, Vec<u8>>(9)?))
        })?;
        let (view, codec, size, body) = found.ok_or(Error::NotFound { what: "archived record", id })?;
        if view.given_up_at.is_some() {
            return Ok(view);
        }
        Ok(ArchivedView { body: unpack(codec, size, body)?.into(), ..view })
    }

    /// The records behind the open held items (of the record leg) that a filter names, oldest
    /// first, each once: to be mapped again. `after` is a [cursor](ArchivedRecord::cursor), 0 at first.
    pub fn held_records(&self, filter: &HeldFilter, after: i64, limit: usize) -> Result<Vec<ArchivedRecord>, Error> {
        let ids = self.all(
            "read held records",
            "SELECT DISTINCT h.archive_id FROM held h JOIN stream s ON s.id = h.stream_id
             WHERE h.state = 'open' AND h.leg = 'record' AND h.archive_id > ?1
               AND (?2 IS NULL OR h.id = ?2) AND (?3 IS NULL OR s.name = ?3) AND (?4 IS NULL OR h.reason = ?4)
             ORDER BY h.archive_id LIMIT ?5",
            (after, filter.id, &filter.stream, &filter.reason, rows(limit)),
            |row| row.get(0),
        )?;
        self.readable(ids.into_iter().map(|id| (id, id)))
    }

    /// Like [`held_records`](Reader::held_records): those of a stream that were held under another
    /// mapping than this one. Rows that contradict each other are not among them: one by one each
    /// would look fine.
    pub fn stale_held(
        &self,
        stream: &StreamId,
        mapping_version: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedRecord>, Error> {
        let ids = self.all(
            "read held records",
            "SELECT DISTINCT h.archive_id FROM held h JOIN stream s ON s.id = h.stream_id
             WHERE h.state = 'open' AND h.leg = 'record' AND h.archive_id > ?1 AND s.name = ?2
               AND h.mapping_id NOT IN (SELECT value FROM json_each(?3)) AND h.reason <> ?5
             ORDER BY h.archive_id LIMIT ?4",
            (after, stream.as_str(), list(&self.alike(mapping_version)?), rows(limit), DUPLICATE_KEY),
            |row| row.get(0),
        )?;
        self.readable(ids.into_iter().map(|id| (id, id)))
    }

    /// The records behind entities of a stream that were mapped under another mapping than this
    /// one, to be mapped again. `after` is a [cursor](ArchivedRecord::cursor), 0 at first. A record that
    /// gave several entities comes once a page, and no more once it was mapped again. Records whose bytes are given
    /// up stay as they were mapped.
    pub fn stale_parts(
        &self,
        stream: &StreamId,
        mapping_version: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedRecord>, Error> {
        let operation = "read parts under another mapping";
        let sql = "SELECT id FROM stream WHERE name = ?1";
        let stream_id: Option<i64> = self.one(operation, sql, (stream.as_str(),), |row| row.get(0))?;
        let Some(stream_id) = stream_id else { return Ok(Vec::new()) };
        let alike = list(&self.alike(mapping_version)?);
        let sql = "SELECT id FROM mapping WHERE id NOT IN (SELECT value FROM json_each(?1))";
        let others: Vec<i64> = self.all(operation, sql, (&alike,), |row| row.get(0))?;
        // One range of the index for each old mapping; there are few of them.
        let mut found: Vec<(i64, i64)> = Vec::new();
        for other in others {
            found.extend(self.all(
                operation,
                "SELECT p.entity_id, p.archive_id FROM part p
                 WHERE p.stream_id = ?1 AND p.mapping_id = ?2 AND p.entity_id > ?3 AND EXISTS
                   (SELECT 1 FROM archive a WHERE a.id = p.archive_id AND a.given_up_at IS NULL) AND NOT EXISTS
                   (SELECT 1 FROM held h WHERE h.archive_id = p.archive_id AND h.entity_id = p.entity_id
                      AND h.mapping_id IN (SELECT value FROM json_each(?4)) AND h.state IN ('open', 'dismissed'))
                 ORDER BY p.entity_id LIMIT ?5",
                (stream_id, other, after, &alike, rows(limit)),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?);
        }
        found.sort_unstable();
        found.truncate(limit);
        let last = found.last().map(|(entity, _)| *entity);
        let mut seen = BTreeSet::new();
        found.retain(|(_, archive)| seen.insert(*archive));
        let mut records = self.readable(found.into_iter().map(|(entity, archive)| (archive, entity)))?;
        // Records that were left out must not make the next page begin too early.
        if let (Some(record), Some(last)) = (records.last_mut(), last) {
            record.cursor = last;
        }
        Ok(records)
    }

    /// Records with their cursors. One that is damaged is told of and left as it is: it must not keep the others from
    /// being mapped again.
    pub(super) fn readable(&self, ids: impl Iterator<Item = (i64, i64)>) -> Result<Vec<ArchivedRecord>, Error> {
        let mut records = Vec::new();
        for (id, cursor) in ids {
            match self.record(id, cursor) {
                Ok(record) => records.push(record),
                Err(Error::Unreadable(what)) => {
                    tracing::error!(record = id, "{what} in the store can't be read: it is not mapped again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    pub(in crate::store) fn record(&self, id: i64, cursor: i64) -> Result<ArchivedRecord, Error> {
        let sql = "SELECT s.name, a.received_at, opened('archive.source_ref', a.id, a.source_ref),
                     opened('archive.resend_key', NULL, a.resend_key), a.format, a.charset, a.codec, a.size,
                     opened_body(a.codec, 'archive', a.id, a.body), a.digest
                   FROM archive a JOIN stream s ON s.id = a.stream_id WHERE a.id = ?1";
        let found = self.one("read the archive", sql, (id,), |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, Option<String>>(3)?,
                row.get::<_, String>(4)?,
                row.get::<_, Option<String>>(5)?,
                (row.get::<_, i64>(6)?, row.get::<_, i64>(7)?, row.get::<_, Vec<u8>>(8)?, row.get::<_, Vec<u8>>(9)?),
            ))
        })?;
        let (stream, received_at, source_ref, resend_key, format, charset, (codec, size, body, digest)) =
            found.ok_or(Error::NotFound { what: "archived record", id })?;
        let raw = Raw { format, charset, body: Bytes::from(unpack(codec, size, body)?) };
        // What has changed on the disk would be mapped without a word.
        if raw.digest().as_slice() != digest {
            return Err(Error::Unreadable("an archived record"));
        }
        Ok(ArchivedRecord {
            archive_id: id,
            stream: StreamId::parse(&stream).ok_or(Error::Unreadable("a stream's name"))?,
            raw,
            source_ref,
            resend_key,
            received_at: time(received_at),
            cursor,
        })
    }
}

/// Row ids as a JSON list, which SQLite can look into.
fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("[{}]", ids.join(","))
}

/// A limit as SQLite takes it.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
