//! Unknown codes as people see them, and the records that they concern.

use connector_api::StreamId;
use rusqlite::Params;

use super::archive::rows;
use super::{Reader, time};
use crate::store::{ArchivedRecord, Error, UnknownCode, ledger};

impl Reader {
    /// The local codes that no table knows, in held and in flagged entities alike; the most frequent first.
    pub fn unknown_codes(&self) -> Result<Vec<UnknownCode>, Error> {
        let sql = "SELECT u.id, s.name, u.type, u.path, opened('unknown_code.value', NULL, u.value),
                     u.first_seen_at, u.last_seen_at,
                     count(DISTINCT o.archive_id), max(o.archive_id), count(DISTINCT h.archive_id), max(h.id)
                   FROM unknown_code u JOIN stream s ON s.id = u.stream_id JOIN unknown_code_of o ON o.code_id = u.id
                   LEFT JOIN held h ON h.archive_id = o.archive_id AND h.leg = 'record' AND h.state = 'open'
                   GROUP BY u.id ORDER BY 8 DESC, u.id";
        self.read_codes(sql, ())
    }

    /// At most so many of the local codes that no table knows, those that were met last; of each at most so many
    /// records are counted, the newest. Costs the same however many records hold a code.
    pub fn unknown_codes_lately(&self, limit: usize, counted: usize) -> Result<Vec<UnknownCode>, Error> {
        let sql = "SELECT u.id, s.name, u.type, u.path, opened('unknown_code.value', NULL, u.value),
                     u.first_seen_at, u.last_seen_at,
                     (SELECT count(*) FROM (SELECT DISTINCT archive_id FROM unknown_code_of
                        WHERE code_id = u.id ORDER BY archive_id DESC LIMIT ?2)),
                     (SELECT max(archive_id) FROM unknown_code_of WHERE code_id = u.id),
                     (SELECT count(*) FROM (SELECT DISTINCT archive_id FROM unknown_code_of
                        WHERE code_id = u.id ORDER BY archive_id DESC LIMIT ?2) few WHERE EXISTS
                       (SELECT 1 FROM held h WHERE h.archive_id = few.archive_id AND h.leg = 'record'
                          AND h.state = 'open')),
                     (SELECT max(h.id) FROM (SELECT archive_id FROM unknown_code_of
                        WHERE code_id = u.id ORDER BY archive_id DESC LIMIT ?2) few
                      JOIN held h ON h.archive_id = few.archive_id AND h.leg = 'record' AND h.state = 'open')
                   FROM unknown_code u JOIN stream s ON s.id = u.stream_id
                   WHERE EXISTS (SELECT 1 FROM unknown_code_of o WHERE o.code_id = u.id)
                   ORDER BY u.last_seen_at DESC, u.id LIMIT ?1";
        self.read_codes(sql, (rows(limit), rows(counted)))
    }

    fn read_codes(&self, sql: &str, params: impl Params) -> Result<Vec<UnknownCode>, Error> {
        let codes = self.all("read unknown codes", sql, params, |row| {
            let kind: String = row.get(2)?;
            let code = UnknownCode {
                id: row.get(0)?,
                stream: row.get(1)?,
                entity: crate::model::EntityType::ExamReport,
                path: row.get(3)?,
                value: row.get(4)?,
                count: row.get(7)?,
                held: row.get(9)?,
                first_seen_at: time(row.get(5)?),
                last_seen_at: time(row.get(6)?),
                sample_archive_id: row.get(8)?,
                sample_held_id: row.get(10)?,
            };
            Ok((kind, code))
        })?;
        codes.into_iter().map(|(kind, code)| Ok(UnknownCode { entity: ledger::entity_type(&kind)?, ..code })).collect()
    }

    /// The records that hold an unknown code, to be mapped again; `after` is a [cursor](ArchivedRecord::cursor), 0 at
    /// first. A record that was mapped again comes no more, unless the code is unknown still.
    pub fn records_with_code(&self, code: i64, after: i64, limit: usize) -> Result<Vec<ArchivedRecord>, Error> {
        let sql = "SELECT DISTINCT archive_id FROM unknown_code_of WHERE code_id = ?1 AND archive_id > ?2
                     AND EXISTS (SELECT 1 FROM archive a WHERE a.id = archive_id AND a.given_up_at IS NULL)
                   ORDER BY archive_id LIMIT ?3";
        let ids: Vec<i64> = self.all("read records with a code", sql, (code, after, rows(limit)), |row| row.get(0))?;
        self.readable(ids.into_iter().map(|id| (id, id)))
    }

    /// Whether what a version of a mapping knows was noted.
    pub fn knows_codes_of(&self, mapping_version: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM mapping_codes c JOIN mapping m ON m.id = c.mapping_id WHERE m.version = ?1";
        Ok(self.one("read a mapping's codes", sql, (mapping_version,), |_| Ok(()))?.is_some())
    }

    /// The rows of a version of a mapping and of those that read everything but new codes in the same way; -1 where
    /// there is none.
    pub(super) fn alike(&self, mapping_version: &str) -> Result<Vec<i64>, Error> {
        let sql = "SELECT id FROM mapping WHERE version = ?1
                   UNION SELECT a.alike_id FROM mapping_alike a JOIN mapping m ON m.id = a.mapping_id
                   WHERE m.version = ?1";
        self.all("read alike mappings", sql, (mapping_version,), |row| row.get(0))
    }

    /// The unknown codes of a stream.
    pub fn unknown_codes_of(&self, stream: &StreamId) -> Result<Vec<UnknownCode>, Error> {
        Ok(self.unknown_codes()?.into_iter().filter(|code| code.stream == stream.as_str()).collect())
    }
}
