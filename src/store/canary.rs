//! Daily figures of each stream, counted behind the intake: a canary must not slow down what it watches.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::codec::unpack;
use super::figures::{self, Figures};
use super::{Error, Reader, Store, ledger};
use crate::model::Finding;

/// Records that are counted at once.
const STEP: i64 = 200;

/// Days that are kept.
const KEPT: i64 = 60;

/// The figures of one stream and day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryDay {
    /// `source/stream`.
    pub stream: String,
    /// The hospital's day, `2026-11-22`.
    pub day: String,
    /// The counts.
    pub figures: Figures,
}

/// Figures that are to be added, by stream and day.
type Sums = BTreeMap<(i64, String), Figures>;

impl Reader {
    /// The figures of each stream since a day (`2026-11-22`), by stream and day.
    pub fn canaries(&self, since: &str) -> Result<Vec<CanaryDay>, Error> {
        let sql = "SELECT s.name, c.day, c.name, c.n FROM canary c JOIN stream s ON s.id = c.stream_id
                   WHERE c.day >= ?1 ORDER BY s.name, c.day";
        let rows = self.all("read daily figures", sql, (since,), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
        })?;
        let mut days: Vec<CanaryDay> = Vec::new();
        for (stream, day, name, n) in rows {
            match days.last_mut() {
                Some(last) if last.stream == stream && last.day == day => _ = last.figures.insert(name, n),
                _ => days.push(CanaryDay { stream, day, figures: Figures::from([(name, n)]) }),
            }
        }
        Ok(days)
    }

    /// The figures of the records behind the cursor: from where, up to where, and the sums.
    fn uncounted(&self, zone: Tz) -> Result<(i64, i64, Sums), Error> {
        let operation = "count daily figures";
        let sql = "SELECT archive_id FROM canary_cursor";
        let from: i64 = self.one(operation, sql, (), |row| row.get(0))?.unwrap_or(0);
        let sql = "SELECT a.id, a.stream_id, a.received_at, d.type, d.fate, c.codec, c.size,
                     opened_body(c.codec, 'content', c.id, c.body), opened('held.findings', h.id, h.findings)
                   FROM (SELECT id, stream_id, received_at FROM archive WHERE id > ?1 ORDER BY id LIMIT ?2) a
                   JOIN disposition d ON d.archive_id = a.id LEFT JOIN event e ON e.id = d.event_id
                   LEFT JOIN content c ON c.id = e.content_id LEFT JOIN held h ON h.id = d.held_id ORDER BY a.id";
        let rows = self.all(operation, sql, (from, STEP), |row| {
            let content = (row.get::<_, Option<i64>>(5)?, row.get::<_, Option<i64>>(6)?, row.get(7)?);
            Ok((
                (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?),
                (row.get::<_, String>(3)?, row.get::<_, String>(4)?),
                content,
                row.get::<_, Option<String>>(8)?,
            ))
        })?;
        let mut sums = Sums::new();
        let mut to = from;
        for ((archive, stream, received_at), (kind, fate), content, findings) in rows {
            to = archive;
            let day = super::reader::time(received_at).with_timezone(&zone).date_naive().to_string();
            let figures = sums.entry((stream, day)).or_default();
            let content: (Option<i64>, Option<i64>, Option<Vec<u8>>) = content;
            match (fate.as_str(), content, findings) {
                ("event", (Some(codec), Some(size), Some(body)), _) => {
                    if let (Ok(kind), Ok(data)) = (ledger::entity_type(&kind), unpack(codec, size, body)) {
                        figures::of_entity(figures, kind, &data);
                    }
                }
                ("held", _, Some(findings)) => {
                    let findings: Vec<Finding> = serde_json::from_str(&findings).unwrap_or_default();
                    figures::of_held(figures, findings.iter().map(|finding| finding.code.as_str()));
                }
                _ => {}
            }
        }
        Ok((from, to, sums))
    }
}

impl Store {
    /// Counts records that were taken in since the last call into the daily figures, some hundred at a time; true
    /// where there may be more.
    pub async fn count_figures(&self, zone: Tz) -> Result<bool, Error> {
        let (from, to, sums) = self.read(move |reader| reader.uncounted(zone)).await?;
        if to == from {
            return Ok(false);
        }
        let now = self.now_micros();
        let oldest = super::reader::time(now).with_timezone(&zone).date_naive() - chrono::Days::new(KEPT as u64);
        self.write("count daily figures", 1, move |tx| {
            let sql = "UPDATE canary_cursor SET archive_id = ?2 WHERE archive_id = ?1";
            if tx.run("count daily figures", sql, (from, to))? == 0 {
                return Ok(());
            }
            for ((stream, day), figures) in &sums {
                for (name, n) in figures {
                    let sql = "INSERT INTO canary (stream_id, day, name, n) VALUES (?1, ?2, ?3, ?4)
                               ON CONFLICT DO UPDATE SET n = n + excluded.n";
                    tx.run("count daily figures", sql, (stream, day, name, n))?;
                }
            }
            tx.run("forget old figures", "DELETE FROM canary WHERE day < ?1", (oldest.to_string(),))?;
            Ok(())
        })
        .await?;
        Ok(true)
    }
}
