//! Comparing what a source says with the ledger, without making anything of it, and the reports of it.
//!
//! A run notes what it finds as it goes (so it needs no memory of its own), and what it has met in `reconcile_seen`:
//! what the ledger has of the period and that was not met is extra. What is missing or differs is committed afterwards
//! as an ordinary record; what is extra is only ever listed, and held for a person when two runs agree.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::prepare::Hash;
use super::reader::{Reader, time};
use super::snapshot::MISSING;
use super::writer::Tx;
use super::{ArchivedRecord, Error, Incoming, Store, ledger, upstream};
use crate::model::{EntityKey, EntityType, Finding, Outcome, Severity, Wish};

/// Items of each kind that a run keeps; the counts are exact.
const LISTED: i64 = 1000;

/// Runs that are kept of each subject.
const KEPT: i64 = 200;

/// The reason code of what two comparisons in a row did not find in the source any more.
const GONE: &str = "gone-from-source";

/// So many comparisons in a row must lack an entity before a person is asked whether it is to be withdrawn.
const READS: i64 = 2;

/// The name under which comparisons with upstream are kept.
pub const UPSTREAM: &str = "upstream";

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The source, the ledger and the receipts.
    Source,
    /// The ledger and the receipts: the source can't be asked again.
    Ledger,
    /// What upstream has and the ledger.
    Upstream,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Scope::Source => "source",
            Scope::Ledger => "ledger",
            Scope::Upstream => "upstream",
        }
    }
}

/// What a record of the source says beside the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// The ledger says the same.
    Agrees,
    /// It is held for a person, or was dismissed.
    Held,
    /// The ledger has something else of the entity.
    Differs,
    /// The ledger has nothing of the entity.
    Missing,
}

/// A record of the source, hashed, ready to be compared.
#[derive(Clone, Debug)]
pub struct Compared {
    digest: Hash,
    /// It lies outside of the period: only that it is there is noted.
    only_seen: bool,
    outcomes: Vec<(EntityType, Option<EntityKey>, Option<Said>)>,
}

#[derive(Clone, Debug)]
struct Said {
    hash: Hash,
    absent: Option<String>,
}

impl Compared {
    /// Hashes what a record says, in the way in which a commit does.
    pub fn of(incoming: &Incoming) -> Compared {
        let outcome = |outcome: &Outcome| match outcome {
            // What is told once is not told again because it is read again.
            Outcome::Mapped(mapped) if mapped.key.entity == EntityType::CriticalValue => None,
            Outcome::Mapped(mapped) => {
                let absent = match &mapped.wish {
                    Wish::Present => None,
                    Wish::Absent { reason } => Some(reason.clone()),
                };
                let said = Said { hash: Sha256::digest(&mapped.data).into(), absent };
                Some((mapped.key.entity, Some(mapped.key.clone()), Some(said)))
            }
            Outcome::Held(held) => {
                let entity = held.entity.or(held.key.as_ref().map(|key| key.entity))?;
                Some((entity, held.key.clone(), None))
            }
        };
        Compared {
            digest: incoming.raw.digest(),
            only_seen: false,
            outcomes: incoming.outcomes.iter().filter_map(outcome).collect(),
        }
    }

    /// The same record as one that lies outside of the period: only that it is there is noted.
    #[must_use]
    pub fn only_seen(self) -> Compared {
        Compared { only_seen: true, ..self }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Records (or versions of upstream) that were compared.
    pub compared: u64,
    /// Those that agree.
    pub agreed: u64,
    /// Those that are held for a person.
    pub held: u64,
    /// What the other side has and the ledger lacks; with upstream, what upstream lacks.
    pub missing: u64,
    /// What both have and says something else.
    pub differing: u64,
    /// What the ledger has and the source lacks; with upstream, what upstream has and no source says.
    pub extra: u64,
    /// What was committed anew, or is sent again.
    pub repaired: u64,
    /// Requests that a comparison with upstream took.
    pub requests: u64,
    /// What was not compared, and why.
    pub note: Option<String>,
}

/// A run, as people see it. Times are UTC.
#[derive(Clone, Debug, Serialize)]
pub struct ReconcileRun {
    /// Its id.
    pub id: i64,
    /// The stream (`source/stream`), or `upstream`.
    pub subject: String,
    /// What was compared: `source`, `ledger` (of a stream that can't be asked again) or `upstream`.
    pub scope: String,
    /// The beginning of the period; `None` where everything was compared.
    pub since: Option<DateTime<Utc>>,
    /// Its end, which is not part of it.
    pub until: Option<DateTime<Utc>>,
    /// `schedule`, or a person's name.
    pub asked_by: String,
    /// `asked`, `running`, `done` or `failed`.
    pub state: String,
    /// When it was asked for or began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Records (or versions of upstream) that were compared.
    pub compared: i64,
    /// Those that agree.
    pub agreed: i64,
    /// Those that are held for a person.
    pub held: i64,
    /// In the source and not in the ledger; with upstream, acknowledged by upstream and not there any more.
    pub missing: i64,
    /// In both, with another content.
    pub differing: i64,
    /// In the ledger and not in the source any more; with upstream, there and said by no source.
    pub extra: i64,
    /// In the ledger, and upstream has not acknowledged it for long.
    pub undelivered: i64,
    /// What was committed anew, or is sent again.
    pub repaired: i64,
    /// Requests that a comparison with upstream took.
    pub requests: i64,
    /// What was not compared and why, or why it failed.
    pub note: Option<String>,
}

impl ReconcileRun {
    /// How many differences were found.
    pub fn drift(&self) -> i64 {
        self.missing + self.differing + self.extra + self.undelivered
    }
}

/// Something that a run found.
#[derive(Clone, Debug, Serialize)]
pub struct ReconcileItem {
    /// `missing`, `differing`, `extra` or `undelivered`.
    pub kind: String,
    /// The entity's type.
    pub entity: String,
    /// The entity's key; `None` where the record has none.
    pub key: Option<String>,
    /// Where the newest event of the entity stands now; `None` where there is none.
    pub now: Option<String>,
}

/// A run with what it found.
#[derive(Clone, Debug, Serialize)]
pub struct ReconcileReport {
    /// The run.
    #[serde(flatten)]
    pub run: ReconcileRun,
    /// What it found, at most 1000 of each kind.
    pub items: Vec<ReconcileItem>,
}

impl Store {
    /// Notes that a comparison is asked for; answers its id.
    pub async fn reconcile_ask(
        &self,
        subject: &str,
        scope: Scope,
        period: Option<(DateTime<Utc>, DateTime<Utc>)>,
        who: &str,
    ) -> Result<i64, Error> {
        let (subject, who) = (subject.to_owned(), who.to_owned());
        let since = period.map(|(since, _)| since.timestamp_micros());
        let until = period.map(|(_, until)| until.timestamp_micros());
        self.write("ask for a comparison", 1, move |tx| {
            let sql = "INSERT INTO reconcile_run (subject, scope, since, until, asked_by, state, started_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, 'asked', ?6)";
            tx.insert("ask for a comparison", sql, (&subject, scope.as_str(), since, until, &who, tx.now))
        })
        .await
    }

    /// Notes that a comparison begins.
    pub async fn reconcile_begin(&self, run: i64) -> Result<(), Error> {
        self.write("begin a comparison", 1, move |tx| {
            let sql = "UPDATE reconcile_run SET state = 'running', started_at = ?2 WHERE id = ?1";
            tx.run("begin a comparison", sql, (run, tx.now))?;
            // What a run left that never ended.
            let sql = "DELETE FROM reconcile_seen WHERE run_id NOT IN
                         (SELECT id FROM reconcile_run WHERE state = 'running')";
            tx.run("begin a comparison", sql, ())?;
            Ok(())
        })
        .await
    }

    /// Ends what a stop or a crash cut off.
    pub async fn reconcile_recover(&self) -> Result<(), Error> {
        self.write("end comparisons that were cut off", 1, |tx| {
            // A scheduled one comes again by itself.
            let cut_off = "SELECT id FROM reconcile_run WHERE state IN ('asked', 'running') AND asked_by = 'schedule'";
            let sql = format!("DELETE FROM reconcile_item WHERE run_id IN ({cut_off})");
            tx.run("end comparisons that were cut off", &sql, ())?;
            let sql = format!("DELETE FROM reconcile_run WHERE id IN ({cut_off})");
            tx.run("end comparisons that were cut off", &sql, ())?;
            let sql = "UPDATE reconcile_run SET state = 'failed', ended_at = ?1, note = 'cut off by a stop'
                       WHERE state IN ('asked', 'running')";
            tx.run("end comparisons that were cut off", sql, (tx.now,))?;
            Ok(())
        })
        .await
    }

    /// Compares records of a stream with the ledger, notes what it finds, and changes nothing else; answers one
    /// agreement for each record.
    pub async fn reconcile_compare(
        &self,
        run: i64,
        stream: &StreamId,
        records: Vec<Compared>,
    ) -> Result<Vec<Agreement>, Error> {
        let stream = stream.as_str().to_owned();
        self.write("compare with the ledger", records.len(), move |tx| {
            let sql = "SELECT id FROM stream WHERE name = ?1";
            let stream: Option<i64> = tx.one("read the stream", sql, (&stream,), |row| row.get(0))?;
            let mut notes = Notes::of(tx, run)?;
            records.iter().map(|record| compare(tx, &mut notes, stream, record)).collect()
        })
        .await
    }

    /// Notes entities of a stream that the source lacks.
    pub async fn reconcile_extra(&self, run: i64, stream: &StreamId, entities: Vec<i64>) -> Result<(), Error> {
        let stream = stream.as_str().to_owned();
        self.write("note what a source lacks", entities.len(), move |tx| {
            let mut notes = Notes::of(tx, run)?;
            for entity in &entities {
                let key = ledger::key_of(tx, *entity)?;
                notes.add(tx, "extra", key.entity.as_str(), Some(&key.key))?;
                let sql = "UPDATE part SET missing = missing + 1 WHERE entity_id = ?1 AND missing >= 0
                             AND stream_id = (SELECT id FROM stream WHERE name = ?2)";
                tx.run("note what a source lacks", sql, (entity, &stream))?;
            }
            Ok(())
        })
        .await
    }

    /// Notes what a comparison with upstream found.
    pub async fn reconcile_note(&self, run: i64, found: Vec<(&'static str, EntityKey)>) -> Result<(), Error> {
        self.write("note what upstream lacks", found.len(), move |tx| {
            let mut notes = Notes::of(tx, run)?;
            found.iter().try_for_each(|(kind, key)| notes.add(tx, kind, key.entity.as_str(), Some(&key.key)))
        })
        .await
    }

    /// Ends a comparison. With the ledger of a stream, what was made in the period and has waited for a receipt since
    /// `overdue` is noted, and what two comparisons in a row did not find in the source is held for a person.
    pub async fn reconcile_end(
        &self,
        run: i64,
        finished: Finished,
        overdue: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        self.write("end a comparison", 1, move |tx| {
            let sql = "SELECT r.subject, r.scope, r.since, r.until, s.id FROM reconcile_run r
                       LEFT JOIN stream s ON s.name = r.subject WHERE r.id = ?1";
            let found = tx.one("read a comparison", sql, (run,), |row| {
                let period = (row.get::<_, Option<i64>>(2)?, row.get::<_, Option<i64>>(3)?);
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, period, row.get::<_, Option<i64>>(4)?))
            })?;
            let (subject, scope, period, stream) = found.ok_or(Error::NotFound { what: "comparison", id: run })?;
            let mut undelivered = 0;
            if let (Some(stream), Some(overdue), (Some(since), Some(until))) = (stream, overdue, period) {
                undelivered = note_undelivered(tx, run, stream, since, until, overdue.timestamp_micros())?;
                if scope == Scope::Source.as_str() {
                    hold_gone(tx, stream)?;
                }
            }
            let Finished { compared, agreed, held, missing, differing, extra, repaired, requests, note } = &finished;
            let n = |count: &u64| i64::try_from(*count).unwrap_or(i64::MAX);
            tx.run(
                "end a comparison",
                "UPDATE reconcile_run SET state = 'done', ended_at = ?2, compared = ?3, agreed = ?4, held = ?5,
                   missing = ?6, differing = ?7, extra = ?8, undelivered = ?9, repaired = ?10, requests = ?11,
                   note = ?12 WHERE id = ?1",
                rusqlite::params![
                    run,
                    tx.now,
                    n(compared),
                    n(agreed),
                    n(held),
                    n(missing),
                    n(differing),
                    n(extra),
                    undelivered,
                    n(repaired),
                    n(requests),
                    note
                ],
            )?;
            forget(tx, run, &subject)
        })
        .await
    }

    /// Takes back that a comparison was asked for.
    pub async fn reconcile_cancel(&self, run: i64) -> Result<(), Error> {
        self.write("take back a comparison", 1, move |tx| {
            tx.run("take back a comparison", "DELETE FROM reconcile_item WHERE run_id = ?1", (run,))?;
            tx.run("take back a comparison", "DELETE FROM reconcile_run WHERE id = ?1", (run,))?;
            Ok(())
        })
        .await
    }

    /// Notes that a comparison failed, and why (free of personal data). What it had found so far stays listed.
    pub async fn reconcile_fail(&self, run: i64, why: &str) -> Result<(), Error> {
        let why = why.to_owned();
        self.write("end a comparison", 1, move |tx| {
            let sql = "UPDATE reconcile_run SET state = 'failed', ended_at = ?2, note = ?3
                       WHERE id = ?1 AND ended_at IS NULL RETURNING subject";
            let subject = tx.all("end a comparison", sql, (run, tx.now, &why), |row| row.get::<_, String>(0))?;
            subject.first().map_or(Ok(()), |subject| forget(tx, run, subject))
        })
        .await
    }
}

/// Compares one record; the worst of what its outcomes say.
fn compare(tx: &mut Tx<'_>, notes: &mut Notes, stream: Option<i64>, record: &Compared) -> Result<Agreement, Error> {
    let mut worst = Agreement::Agrees;
    for (entity, key, said) in &record.outcomes {
        let agreement = match stream {
            _ if record.only_seen => {
                seen(tx, notes.run, key.as_ref())?;
                continue;
            }
            Some(stream) => compare_outcome(tx, notes.run, stream, record.digest, key.as_ref(), said.as_ref())?,
            None => Agreement::Missing,
        };
        let kind = match agreement {
            Agreement::Missing => Some("missing"),
            Agreement::Differs => Some("differing"),
            Agreement::Agrees | Agreement::Held => None,
        };
        if let Some(kind) = kind {
            notes.add(tx, kind, entity.as_str(), key.as_ref().map(|key| key.key.as_str()))?;
        }
        worst = worst.max(agreement);
    }
    Ok(worst)
}

fn seen(tx: &Tx<'_>, run: i64, key: Option<&EntityKey>) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    ledger::find(tx, key)?.map_or(Ok(()), |known| seen_entity(tx, run, known.id))
}

fn seen_entity(tx: &Tx<'_>, run: i64, entity: i64) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO reconcile_seen (run_id, entity_id) VALUES (?1, ?2)";
    tx.run("note what a source has", sql, (run, entity))?;
    Ok(())
}

fn compare_outcome(
    tx: &mut Tx<'_>,
    run: i64,
    stream: i64,
    digest: Hash,
    key: Option<&EntityKey>,
    said: Option<&Said>,
) -> Result<Agreement, Error> {
    let Some(key) = key else {
        let sql = "SELECT 1 FROM held WHERE stream_id = ?1 AND digest = ?2 AND entity_id IS NULL
                     AND state IN ('open', 'dismissed') LIMIT 1";
        let held = tx.one("look for a held item", sql, (stream, digest), |_| Ok(()))?;
        return Ok(if held.is_some() { Agreement::Held } else { Agreement::Missing });
    };
    let Some(entity) = ledger::find(tx, key)?.map(|known| known.id) else { return Ok(Agreement::Missing) };
    seen_entity(tx, run, entity)?;
    let sql = "UPDATE part SET missing = 0 WHERE entity_id = ?1 AND stream_id = ?2 AND missing <> 0
                 AND absent IS NOT ?3";
    tx.run("note what a source has", sql, (entity, stream, MISSING))?;
    let sql = "SELECT archive_id, hash, absent FROM part WHERE entity_id = ?1 AND stream_id = ?2";
    let part = tx.one("read the entity's parts", sql, (entity, stream), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Hash>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    let since = part.as_ref().map_or(0, |(archive, ..)| *archive);
    let sql = "SELECT archive_id, digest, state FROM held WHERE entity_id = ?1 AND stream_id = ?2 AND leg = 'record'
                 AND state IN ('open', 'dismissed') AND archive_id >= ?3 ORDER BY archive_id DESC LIMIT 1";
    let held = tx.one("look for a held item", sql, (entity, stream, since), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Hash>>(1)?, row.get::<_, String>(2)?))
    })?;
    if held.as_ref().is_some_and(|(_, of, _)| *of == Some(digest)) {
        return Ok(Agreement::Held);
    }
    let Some((archive, hash, absent)) = part else { return Ok(Agreement::Missing) };
    // A version that is held since then is not what the source says now.
    let overtaken = held.is_some_and(|(of, _, state)| state == "open" && of > archive);
    let same = said.is_some_and(|said| said.hash == hash && said.absent == absent);
    Ok(if same && !overtaken { Agreement::Agrees } else { Agreement::Differs })
}

/// The list of what a run has found.
struct Notes {
    run: i64,
    next: i64,
    counts: BTreeMap<String, i64>,
}

impl Notes {
    fn of(tx: &Tx<'_>, run: i64) -> Result<Notes, Error> {
        let sql = "SELECT kind, count(*), max(n) FROM reconcile_item WHERE run_id = ?1 GROUP BY kind";
        let kinds = tx.all("read what a comparison found", sql, (run,), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        let next = kinds.iter().map(|(.., last)| *last).max().unwrap_or(0) + 1;
        Ok(Notes { run, next, counts: kinds.into_iter().map(|(kind, n, _)| (kind, n)).collect() })
    }

    fn add(&mut self, tx: &Tx<'_>, kind: &str, entity: &str, key: Option<&str>) -> Result<(), Error> {
        let count = self.counts.entry(kind.to_owned()).or_default();
        if *count >= LISTED {
            return Ok(());
        }
        *count += 1;
        let sql =
            "INSERT INTO reconcile_item (run_id, n, kind, type, key) VALUES (?1, ?2, ?3, ?4, same('entity.key', ?5))";
        tx.run("note what a comparison found", sql, (self.run, self.next, kind, entity, key))?;
        self.next += 1;
        Ok(())
    }
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Notes what was made in the period and has waited for a receipt for long; answers how many. What waits for the
/// judgement of its stream has not begun to wait.
fn note_undelivered(tx: &Tx<'_>, run: i64, stream: i64, since: i64, until: i64, overdue: i64) -> Result<i64, Error> {
    let sql = "SELECT n.type, opened('entity.key', NULL, n.key) FROM outbox o INDEXED BY outbox_open JOIN entity n ON n.id = o.entity_id
               WHERE o.done_at IS NULL AND o.stream_id = ?1 AND o.created_at >= ?2 AND o.created_at < ?3
                 AND o.created_at < ?4
                 AND NOT EXISTS (SELECT 1 FROM onboarding b WHERE b.stream_id = ?1 AND b.state = 'waiting')
               ORDER BY o.id LIMIT ?5";
    let bounds = (stream, since, until, overdue, LISTED);
    let items =
        tx.all("read what waits", sql, bounds, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut notes = Notes::of(tx, run)?;
    items.iter().try_for_each(|(entity, key)| notes.add(tx, "undelivered", entity, Some(key)))?;
    if (items.len() as i64) < LISTED {
        return Ok(items.len() as i64);
    }
    let sql = "SELECT count(*) FROM outbox INDEXED BY outbox_open WHERE done_at IS NULL AND stream_id = ?1
                 AND created_at >= ?2 AND created_at < ?3 AND created_at < ?4";
    Ok(tx.one("count what waits", sql, (stream, since, until, overdue), |row| row.get(0))?.unwrap_or(0))
}

/// Brings the item up to date that lists what the source lacked in two comparisons in a row.
fn hold_gone(tx: &mut Tx<'_>, stream: i64) -> Result<(), Error> {
    let sql = "SELECT id FROM held WHERE stream_id = ?1 AND leg = 'withdrawal' AND state = 'open' AND reason = ?2";
    let open: Option<i64> = tx.one("look for a held item", sql, (stream, GONE), |row| row.get(0))?;
    let sql = "SELECT p.entity_id, n.type, opened('entity.key', NULL, n.key) FROM part p INDEXED BY part_missing
               JOIN entity n ON n.id = p.entity_id
               WHERE p.stream_id = ?1 AND p.missing > 0 AND p.missing >= ?2 AND p.absent IS NULL AND p.seen_scan = 0
               ORDER BY p.entity_id";
    let gone = tx.all("read what a source lacks", sql, (stream, READS), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    let Some((_, kind, _)) = gone.first() else {
        return open.map_or(Ok(()), |id| {
            super::held::close(tx, id, "superseded", "hisync", "the source has them again").map(drop)
        });
    };
    let kind = ledger::kind(kind)?;
    let text = format!("{} entities are gone from the source: release withdraws them", gone.len());
    let mut findings = vec![Finding::new(GONE, Severity::Hold, "", text)];
    findings.extend(gone.iter().take(100).map(|(_, entity, key)| {
        Finding::new(MISSING, Severity::Info, "", "gone from the source").value(format!("{entity}/{key}"))
    }));
    let entities: Vec<i64> = gone.iter().map(|(entity, ..)| *entity).collect();
    upstream::list_held(tx, open, stream, kind, GONE, &findings, &entities)
}

/// Drops what a run needed while it ran, and the oldest runs of its subject.
fn forget(tx: &Tx<'_>, run: i64, subject: &str) -> Result<(), Error> {
    tx.run("end a comparison", "DELETE FROM reconcile_seen WHERE run_id = ?1", (run,))?;
    let sql = "DELETE FROM reconcile_item WHERE run_id IN
                 (SELECT id FROM reconcile_run WHERE subject = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)";
    tx.run("forget old comparisons", sql, (subject, KEPT))?;
    let sql = "DELETE FROM reconcile_run WHERE id IN
                 (SELECT id FROM reconcile_run WHERE subject = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)";
    tx.run("forget old comparisons", sql, (subject, KEPT))?;
    Ok(())
}

impl Reader {
    /// Entities of a stream that a run has not met in the source, among those received at or after a time, behind
    /// `after` (0 at first): each with its record, where that can still be read. What a person refused to withdraw is
    /// not among them.
    pub fn reconcile_unseen(
        &self,
        run: i64,
        stream: &StreamId,
        received_since: DateTime<Utc>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Option<ArchivedRecord>)>, Error> {
        let sql = "SELECT p.archive_id, p.entity_id FROM part p JOIN stream s ON s.id = p.stream_id
                   JOIN archive a ON a.id = p.archive_id JOIN entity n ON n.id = p.entity_id
                   WHERE s.name = ?2 AND p.entity_id > ?4 AND p.absent IS NULL AND p.missing >= 0
                     AND n.type <> 'critical_value' AND a.received_at >= ?3
                     AND NOT EXISTS (SELECT 1 FROM reconcile_seen r WHERE r.run_id = ?1 AND r.entity_id = p.entity_id)
                   ORDER BY p.entity_id LIMIT ?5";
        let since = received_since.timestamp_micros();
        let of = (run, stream.as_str(), since, after, rows(limit));
        let found =
            self.all("read what a source lacks", sql, of, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let read = |(archive, entity)| match self.record(archive, entity) {
            Ok(record) => Ok((entity, Some(record))),
            Err(Error::Unreadable(_) | Error::NotFound { .. }) => Ok((entity, None)),
            Err(error) => Err(error),
        };
        found.into_iter().map(read).collect()
    }

    /// The runs of a subject, or of all, newest first.
    pub fn reconcile_runs(&self, subject: Option<&str>, limit: usize) -> Result<Vec<ReconcileRun>, Error> {
        let sql =
            format!("SELECT {COLUMNS} FROM reconcile_run WHERE ?1 IS NULL OR subject = ?1 ORDER BY id DESC LIMIT ?2");
        self.all("read comparisons", &sql, (subject, rows(limit)), run)
    }

    /// The newest run of each subject that has ended, by subject.
    pub fn reconcile_latest(&self) -> Result<Vec<ReconcileRun>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM reconcile_run WHERE id IN
               (SELECT max(id) FROM reconcile_run WHERE ended_at IS NOT NULL GROUP BY subject) ORDER BY subject"
        );
        self.all("read comparisons", &sql, (), run)
    }

    /// A run with what it found.
    pub fn reconcile_show(&self, id: i64) -> Result<ReconcileReport, Error> {
        let sql = format!("SELECT {COLUMNS} FROM reconcile_run WHERE id = ?1");
        let run = self.one("read a comparison", &sql, (id,), run)?;
        let run = run.ok_or(Error::NotFound { what: "comparison", id })?;
        let sql = "SELECT i.kind, i.type, opened('entity.key', NULL, i.key),
                     (SELECT o.state FROM outbox o JOIN entity n ON n.id = o.entity_id
                      WHERE n.type = i.type AND n.key = i.key ORDER BY o.id DESC LIMIT 1)
                   FROM reconcile_item i WHERE i.run_id = ?1 ORDER BY i.n";
        let items = self.all("read a comparison", sql, (id,), |row| {
            Ok(ReconcileItem { kind: row.get(0)?, entity: row.get(1)?, key: row.get(2)?, now: row.get(3)? })
        })?;
        Ok(ReconcileReport { run, items })
    }
}

const COLUMNS: &str = "id, subject, scope, since, until, asked_by, state, started_at, ended_at, compared, agreed, held,
    missing, differing, extra, undelivered, repaired, requests, note";

fn run(row: &rusqlite::Row<'_>) -> rusqlite::Result<ReconcileRun> {
    Ok(ReconcileRun {
        id: row.get(0)?,
        subject: row.get(1)?,
        scope: row.get(2)?,
        since: row.get::<_, Option<i64>>(3)?.map(time),
        until: row.get::<_, Option<i64>>(4)?.map(time),
        asked_by: row.get(5)?,
        state: row.get(6)?,
        started_at: time(row.get(7)?),
        ended_at: row.get::<_, Option<i64>>(8)?.map(time),
        compared: row.get(9)?,
        agreed: row.get(10)?,
        held: row.get(11)?,
        missing: row.get(12)?,
        differing: row.get(13)?,
        extra: row.get(14)?,
        undelivered: row.get(15)?,
        repaired: row.get(16)?,
        requests: row.get(17)?,
        note: row.get(18)?,
    })
}
