//! What the store gives up, and when: in small steps, each in a transaction of its own that runs when nothing else
//! waits, so that no commit is kept waiting.
//!
//! A reader looks for what may go; the writer takes it away after it has asked once more. Never touched: whatever an
//! entity with an undelivered event or an open held item needs, the data of parts, the newest delivered version of
//! each entity, and the records behind what a catalogue now is. The sums (P3) stay: the table `given_up` holds
//! what they count that has no row any more.
//!
//! ```text
//! archive  bytes ──▶ row, dispositions (nothing names it)      held   closed items
//! outbox   versions that a newer one replaced upstream         audit  old lines
//! file     free pages ──▶ back to the disk
//! ```

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::volume::{DAY, Volume};
use super::writer::Tx;
use super::{Error, Reader, Store, attachments, outbox, query};

/// How long what is kept. Ages count from the day on which a thing was received, replaced or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The bytes of archived records: as far back as a mapping can be tried against the past.
    pub archive: Duration,
    /// They are given up earlier where they take more than this, but not before [`RetentionPolicy::SHORTEST`].
    pub archive_max_bytes: Option<u64>,
    /// Delivered versions, from the day on which a newer one of their entity was delivered.
    pub versions: Duration,
    /// Failed attempts of what is delivered since.
    pub attempts: Duration,
    /// Held items that are closed. Dismissed ones stay: they say why a record that is read again is no news.
    pub held: Duration,
    /// The audit log.
    pub audit: Duration,
}

/// A day.
const ONE_DAY: Duration = Duration::from_secs(86_400);

impl RetentionPolicy {
    /// What is younger is never given up: sweeps, reconciliation and re-sent messages may ask for it.
    pub const SHORTEST: Duration = Duration::from_secs(30 * 86_400);
}

impl Default for RetentionPolicy {
    fn default() -> RetentionPolicy {
        RetentionPolicy {
            archive: ONE_DAY * 400,
            archive_max_bytes: None,
            versions: ONE_DAY * 400,
            attempts: ONE_DAY * 90,
            held: ONE_DAY * 400,
            audit: ONE_DAY * 1095,
        }
    }
}

/// A kind of thing that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Bytes of archived records.
    Bodies,
    /// Delivered versions that a newer one replaced.
    Versions,
    /// Failed attempts of what is delivered.
    Attempts,
    /// Closed held items.
    Held,
    /// Archived records (their rows) that nothing names any more.
    Records,
    /// Lines of the audit log.
    Audit,
    /// Bytes of files that upstream has had for long, and files that nothing names.
    Files,
    /// Data that neither a part nor a version names.
    Orphans,
}

impl Kept {
    /// All kinds, in the order in which one lets go of the next.
    pub const ALL: [Kept; 8] = [
        Kept::Bodies,
        Kept::Versions,
        Kept::Attempts,
        Kept::Held,
        Kept::Records,
        Kept::Audit,
        Kept::Files,
        Kept::Orphans,
    ];

    /// The stable word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kept::Bodies => "bodies",
            Kept::Versions => "versions",
            Kept::Attempts => "attempts",
            Kept::Held => "held",
            Kept::Records => "records",
            Kept::Audit => "audit",
            Kept::Files => "files",
            Kept::Orphans => "orphans",
        }
    }

    /// When a row of the table that is walked came, in about the order of its rows.
    fn came(self) -> &'static str {
        match self {
            Kept::Bodies | Kept::Records => "received_at",
            Kept::Versions | Kept::Attempts => "created_at",
            Kept::Held => "opened_at",
            Kept::Audit | Kept::Files | Kept::Orphans => "at",
        }
    }

    /// The table that is walked, and which of its rows (`x`) may go that are older than `?1`.
    fn rows(self) -> (&'static str, &'static str) {
        match self {
            Kept::Bodies => ("archive", BODIES),
            Kept::Versions => ("outbox", VERSIONS),
            Kept::Attempts => (
                "outbox",
                "x.state = 'delivered' AND x.done_at < ?1
                 AND EXISTS (SELECT 1 FROM attempt t WHERE t.outbox_id = x.id)",
            ),
            Kept::Held => (
                "held",
                "x.state IN ('retried', 'released', 'superseded') AND x.closed_at < ?1
                 AND NOT EXISTS (SELECT 1 FROM change_set c WHERE c.held_id = x.id)
                 AND NOT EXISTS (SELECT 1 FROM onboarding o WHERE o.held_id = x.id)",
            ),
            Kept::Records => ("archive", RECORDS),
            Kept::Audit => ("audit", "x.at < ?1"),
            // They have ways of their own.
            Kept::Files | Kept::Orphans => ("audit", "0"),
        }
    }
}

/// The bytes of a record may go when nothing of its entities waits or is held, when the daily figures have counted it,
/// and when it is not what a catalogue now is: that has to be mapped again under a corrected mapping.
const BODIES: &str = "x.given_up_at IS NULL AND x.received_at < ?1
    AND x.id <= (SELECT archive_id FROM canary_cursor)
    AND NOT EXISTS (SELECT 1 FROM held h WHERE h.archive_id = x.id AND h.state = 'open')
    AND NOT EXISTS (SELECT 1 FROM disposition d JOIN outbox o ON o.entity_id = d.entity_id
                    WHERE d.archive_id = x.id AND o.done_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM disposition d JOIN held h ON h.entity_id = d.entity_id
                    WHERE d.archive_id = x.id AND h.state = 'open')
    AND NOT EXISTS (SELECT 1 FROM disposition d JOIN part p ON p.entity_id = d.entity_id AND p.archive_id = x.id
                    WHERE d.archive_id = x.id AND d.type IN ('exam_item', 'exam_item_group', 'exam_package'))";

/// A version may go when upstream has had a newer one of its entity for so long, and when neither a held item nor the
/// record of a part names it: a record that is mapped again looks for the version that it made.
const VERSIONS: &str = "x.state = 'delivered' AND x.done_at < ?1
    AND EXISTS (SELECT 1 FROM outbox n WHERE n.entity_id = x.entity_id AND n.id > x.id AND n.state = 'delivered'
                  AND n.done_at < ?1)
    AND NOT EXISTS (SELECT 1 FROM held h WHERE h.event_id = x.id)
    AND NOT EXISTS (SELECT 1 FROM event e JOIN part p ON p.entity_id = e.entity_id AND p.archive_id = e.archive_id
                    WHERE e.id = x.id)";

/// The row of a record may go when nothing names it.
const RECORDS: &str = "x.given_up_at IS NOT NULL AND x.received_at < ?1
    AND NOT EXISTS (SELECT 1 FROM held h WHERE h.archive_id = x.id)
    AND NOT EXISTS (SELECT 1 FROM unknown_code_of u WHERE u.archive_id = x.id)
    AND NOT EXISTS (SELECT 1 FROM disposition d JOIN outbox o ON o.id = d.event_id WHERE d.archive_id = x.id)
    AND NOT EXISTS (SELECT 1 FROM disposition d JOIN part p ON p.entity_id = d.entity_id AND p.archive_id = x.id
                    WHERE d.archive_id = x.id)";

/// Rows that a reader looks at in one go.
const WINDOW: i64 = 2_000;

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stride {
    /// Where the next step goes on; `None` at the end.
    pub next: Option<i64>,
    /// Things that were given up.
    pub n: u64,
    /// Bytes among them, as stored: they lie free in the file until [`Store::shrink`] returns them.
    pub bytes: u64,
}

impl Reader {
    /// Up to `most` rows behind `after` that may go, and where to look on.
    fn outlived(&self, kind: Kept, before: i64, after: i64, most: usize) -> Result<(Vec<i64>, Option<i64>), Error> {
        let operation = "look for what is outlived";
        let (table, condition) = kind.rows();
        let came = kind.came();
        let sql = format!(
            "SELECT max(id), min(came) FROM (SELECT id, {came} came FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2)"
        );
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let window = self.one(operation, &sql, (after, WINDOW), read)?.unwrap_or_default();
        // Where all of them are too young, so are those behind them: a large archive is not read for nothing.
        let (Some(to), Some(oldest)) = window else { return Ok((Vec::new(), None)) };
        if oldest >= before {
            return Ok((Vec::new(), None));
        }
        let sql =
            format!("SELECT x.id FROM {table} x WHERE x.id > ?2 AND x.id <= ?3 AND {condition} ORDER BY x.id LIMIT ?4");
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let ids: Vec<i64> = self.all(operation, &sql, (before, after, to, limit), |row| row.get(0))?;
        // A full list ends where it ends; there may be more behind it in the window.
        let next = if ids.len() == most { ids.last().copied().unwrap_or(to) } else { to };
        Ok((ids, Some(next)))
    }

    /// Before which time (microseconds) the bytes of records go: the age, or the size where that says more.
    fn archive_cut(&self, policy: &RetentionPolicy, now: i64) -> Result<i64, Error> {
        let by_age = now.saturating_sub(micros(policy.archive.max(RetentionPolicy::SHORTEST)));
        let Some(most) = policy.archive_max_bytes.map(|most| i64::try_from(most).unwrap_or(i64::MAX)) else {
            return Ok(by_age);
        };
        let sql = "SELECT day, kept FROM volume WHERE kept > 0 ORDER BY day DESC";
        let days = self.all("read the archive's sums", sql, (), |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        let mut sum = 0_i64;
        let over = days.into_iter().find(|(_, kept): &(i64, i64)| {
            sum = sum.saturating_add(*kept);
            sum > most
        });
        // The day that goes beyond the size goes, unless it is too young.
        let by_size = over.map_or(i64::MIN, |(day, _)| (day + 1).saturating_mul(DAY));
        Ok(by_age.max(by_size.min(now.saturating_sub(micros(RetentionPolicy::SHORTEST)))))
    }
}

fn micros(age: Duration) -> i64 {
    i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
}

impl Store {
    /// Gives up at most `most` things of a kind that a policy has outlived, from a place on (0 at first). Runs when
    /// the writer has nothing else to do, in a transaction of its own.
    pub async fn give_up(&self, kind: Kept, policy: RetentionPolicy, after: i64, most: usize) -> Result<Stride, Error> {
        let now = self.now_micros();
        if kind == Kept::Files {
            let both = |tx: &mut Tx<'_>| Ok(attachments::give_up(tx)? + attachments::forget_orphans(tx)?);
            let n = self.write_later("give up files", both).await? as u64;
            return Ok(Stride { next: (n > 0).then_some(after + 1), n, bytes: 0 });
        }
        if kind == Kept::Orphans {
            return self.give_up_orphans(after, most).await;
        }
        let (before, ids, next) = self
            .read_now(move |reader| {
                let age = match kind {
                    Kept::Bodies | Kept::Records => None,
                    Kept::Versions => Some(policy.versions),
                    Kept::Attempts => Some(policy.attempts),
                    Kept::Held => Some(policy.held),
                    Kept::Audit | Kept::Files | Kept::Orphans => Some(policy.audit),
                };
                let before = match age {
                    Some(age) => now.saturating_sub(micros(age.max(RetentionPolicy::SHORTEST))),
                    None => reader.archive_cut(&policy, now)?,
                };
                let (ids, next) = reader.outlived(kind, before, after, most)?;
                Ok((before, ids, next))
            })
            .await?;
        if ids.is_empty() {
            return Ok(Stride { next, ..Stride::default() });
        }
        let (n, bytes) = self.write_later("give up what is outlived", move |tx| take(tx, kind, before, &ids)).await?;
        Ok(Stride { next, n, bytes })
    }

    /// Returns at most `pages` free pages of the file to the disk; answers how many are left beyond `spare`.
    pub async fn shrink(&self, pages: u32, spare: u32) -> Result<u64, Error> {
        let operation = "return free space to the disk";
        let free = move |conn: &rusqlite::Connection| {
            let free = query::one(conn, operation, "PRAGMA freelist_count", (), |row| row.get::<_, i64>(0))?;
            Ok::<_, Error>(u64::try_from(free.unwrap_or(0)).unwrap_or(0).saturating_sub(u64::from(spare)))
        };
        let surplus = self.read_now(move |reader| free(&reader.conn)).await?;
        if surplus == 0 {
            return Ok(0);
        }
        let pages = u64::from(pages).min(surplus);
        self.write_later(operation, move |tx| {
            let before = free(tx.conn)?;
            // One page a row: the statement has to be stepped to its end.
            tx.all(operation, &format!("PRAGMA incremental_vacuum({pages})"), (), |_| Ok(()))?;
            let after = free(tx.conn)?;
            // A file that was not made for it (by another program's VACUUM) gives nothing back this way.
            Ok(if after < before { after } else { 0 })
        })
        .await
    }

    pub(super) async fn write_later<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let sender = self.inner.sender.as_ref().ok_or(Error::Closed)?;
        sender.run_later(operation, work).await.inspect_err(|error| self.met(error))
    }
}

/// Takes away those of a list that may still go; answers how many, and their bytes.
fn take(tx: &mut Tx<'_>, kind: Kept, before: i64, ids: &[i64]) -> Result<(u64, u64), Error> {
    let operation = "give up what is outlived";
    let (table, condition) = kind.rows();
    let sql = format!(
        "SELECT x.id FROM json_each(?2) j CROSS JOIN {table} x ON x.id = j.value WHERE {condition} ORDER BY x.id"
    );
    let ids: Vec<i64> = tx.all(operation, &sql, (before, outbox::list(ids)), |row| row.get(0))?;
    let list = outbox::list(&ids);
    let run = |tx: &Tx<'_>, sql: &str| tx.run(operation, sql, (&list,)).map(drop);
    let mut bytes = 0;
    match kind {
        Kept::Bodies => bytes = bodies(tx, &list)?,
        Kept::Versions => bytes = versions(tx, &list)?,
        Kept::Attempts => run(tx, "DELETE FROM attempt WHERE outbox_id IN (SELECT value FROM json_each(?1))")?,
        Kept::Held => {
            run(tx, "DELETE FROM held_member WHERE held_id IN (SELECT value FROM json_each(?1))")?;
            run(tx, "DELETE FROM held WHERE id IN (SELECT value FROM json_each(?1))")?;
        }
        Kept::Records => {
            let sql = "SELECT CAST(a.stream_id AS TEXT), d.type, d.fate, count(*) FROM json_each(?1) j
                       CROSS JOIN disposition d ON d.archive_id = j.value CROSS JOIN archive a ON a.id = j.value
                       WHERE d.fate IN ('unchanged', 'held') GROUP BY 1, 2, 3";
            remember(tx, sql, &list)?;
            run(tx, "DELETE FROM disposition WHERE archive_id IN (SELECT value FROM json_each(?1))")?;
            run(tx, "DELETE FROM archive WHERE id IN (SELECT value FROM json_each(?1))")?;
        }
        Kept::Audit => run(tx, "DELETE FROM audit WHERE id IN (SELECT value FROM json_each(?1))")?,
        Kept::Files | Kept::Orphans => {}
    }
    Ok((ids.len() as u64, u64::try_from(bytes).unwrap_or(0)))
}

/// Writes down what sums go on counting although its rows go. The statement answers scope, kind, name and number.
fn remember(tx: &Tx<'_>, sql: &str, list: &str) -> Result<(), Error> {
    let operation = "give up what is outlived";
    let sums = tx.all(operation, sql, (list,), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    })?;
    for sum in sums {
        let sql = "INSERT INTO given_up (scope, kind, name, n) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET n = n + excluded.n";
        tx.run(operation, sql, sum)?;
    }
    Ok(())
}

fn bodies(tx: &mut Tx<'_>, list: &str) -> Result<i64, Error> {
    let operation = "give up what is outlived";
    let sql = "SELECT a.received_at, length(a.body) FROM json_each(?1) j CROSS JOIN archive a ON a.id = j.value";
    let gone: Vec<(i64, i64)> = tx.all(operation, sql, (list,), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "UPDATE archive SET codec = 0, body = x'', given_up_at = ?2
               WHERE id IN (SELECT value FROM json_each(?1))";
    tx.run(operation, sql, (list, tx.now))?;
    for (received_at, length) in &gone {
        tx.volume(*received_at, Volume { kept_records: -1, kept: -length, ..Volume::default() });
    }
    Ok(gone.iter().map(|(_, length)| length).sum())
}

fn versions(tx: &mut Tx<'_>, list: &str) -> Result<i64, Error> {
    let operation = "give up what is outlived";
    let counted = "SELECT CAST(o.stream_id AS TEXT), n.type, 'delivered', count(*) FROM json_each(?1) j
                   CROSS JOIN outbox o ON o.id = j.value CROSS JOIN entity n ON n.id = o.entity_id
                   WHERE o.counts = 1 GROUP BY 1, 2";
    remember(tx, counted, list)?;
    remember(tx, "SELECT 'outbox', '', 'delivered', count(*) FROM json_each(?1)", list)?;
    // Data is shared by a part and by versions of one entity alone.
    let sql = "SELECT c.id, length(c.body) FROM json_each(?1) j CROSS JOIN event e ON e.id = j.value
               CROSS JOIN content c ON c.id = e.content_id
               WHERE NOT EXISTS (SELECT 1 FROM part p WHERE p.entity_id = e.entity_id AND p.content_id = c.id)
                 AND NOT EXISTS (SELECT 1 FROM outbox o CROSS JOIN event s ON s.id = o.id
                                 WHERE o.entity_id = e.entity_id AND s.content_id = c.id
                                   AND o.id NOT IN (SELECT value FROM json_each(?1)))
               GROUP BY c.id";
    let data: Vec<(i64, i64)> = tx.all(operation, sql, (list,), |row| Ok((row.get(0)?, row.get(1)?)))?;
    for sql in [
        "DELETE FROM attempt WHERE outbox_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM event_attachment WHERE event_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM event WHERE id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?1))",
    ] {
        tx.run(operation, sql, (list,))?;
    }
    let ids: Vec<i64> = data.iter().map(|(id, _)| *id).collect();
    let sql = "DELETE FROM content WHERE id IN (SELECT value FROM json_each(?1))";
    tx.run(operation, sql, (outbox::list(&ids),))?;
    Ok(data.iter().map(|(_, length)| length).sum())
}

/// What the archive holds, and what a record costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveStatus {
    /// From this day on (UTC) every record that came in can be mapped again; `None` of an empty archive. Of the days
    /// before, what a catalogue now is and what is held are here too.
    pub complete_since: Option<DateTime<Utc>>,
    /// Records that came in since the store was made.
    pub records: u64,
    /// Records among them whose bytes are here.
    pub kept_records: u64,
    /// Bytes of these, as stored.
    pub kept_bytes: u64,
    /// Bytes of a record as it was received, on average.
    pub record_raw_bytes: u64,
    /// Bytes of it as stored (compressed), on average.
    pub record_packed_bytes: u64,
    /// Bytes of the whole file for each record whose bytes are here: versions, ledger and indexes too.
    pub record_all_bytes: u64,
    /// Days with records among the last 30 days before today (UTC) since the first record; up to 30.
    pub measured_days: u64,
    /// Bytes by which the store grows a day, by what came in on these days.
    pub growth_bytes_per_day: u64,
    /// Bytes of the file, free pages included.
    pub file_bytes: u64,
    /// Bytes in the file that are free: they are used again, or returned to the disk.
    pub free_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
}

/// Days over which growth is measured.
const MEASURED: i64 = 30;

impl Reader {
    /// What the archive holds, and what a record costs: from sums that are kept, so that a large store costs no more.
    pub fn archive_status(&self, now: DateTime<Utc>) -> Result<ArchiveStatus, Error> {
        let operation = "read the archive's sums";
        let sql = "SELECT day, records, raw, packed, kept_records, kept FROM volume ORDER BY day";
        let days: Vec<(i64, Volume)> = self.all(operation, sql, (), |row| {
            let volume = Volume {
                records: row.get(1)?,
                raw: row.get(2)?,
                packed: row.get(3)?,
                kept_records: row.get(4)?,
                kept: row.get(5)?,
            };
            Ok((row.get(0)?, volume))
        })?;
        let pragma = |name: &str| {
            let value = self.one(operation, &format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0))?;
            Ok::<_, Error>(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
        };
        let page = pragma("page_size")?;
        let (file_bytes, free_bytes) = (pragma("page_count")? * page, pragma("freelist_count")? * page);
        let sum = |of: fn(&Volume) -> i64| -> u64 {
            days.iter().map(|(_, volume)| u64::try_from(of(volume)).unwrap_or(0)).sum()
        };
        let (records, kept_records, kept) = (sum(|v| v.records), sum(|v| v.kept_records), sum(|v| v.kept));
        let since = days.iter().rev().take_while(|(_, volume)| volume.kept_records >= volume.records).last();
        let used = file_bytes.saturating_sub(free_bytes);
        let today = now.timestamp_micros().div_euclid(DAY);
        let first = days.first().map_or(today, |(day, _)| *day);
        let measured = (today - first).clamp(0, MEASURED);
        let lately = days.iter().filter(|(day, _)| (today - measured..today).contains(day));
        let packed: i64 = lately.map(|(_, volume)| volume.packed).sum();
        let all = used.checked_div(kept_records).unwrap_or(0);
        // What is stored beside the bytes of a record grows as they do.
        let growth = (packed as f64 / (measured.max(1)) as f64) * (used as f64 / (kept.max(1)) as f64).clamp(1.0, 20.0);
        Ok(ArchiveStatus {
            complete_since: since.and_then(|(day, _)| DateTime::from_timestamp_micros(day.saturating_mul(DAY))),
            records,
            kept_records,
            kept_bytes: kept,
            record_raw_bytes: sum(|v| v.raw).checked_div(records).unwrap_or(0),
            record_packed_bytes: sum(|v| v.packed).checked_div(records).unwrap_or(0),
            record_all_bytes: all,
            measured_days: u64::try_from(measured).unwrap_or(0),
            growth_bytes_per_day: growth as u64,
            file_bytes,
            free_bytes,
            wal_bytes: self.log_size(),
        })
    }
}
