//! What the store keeps of trials: replays that are made to come true, candidates in the shadow, promotions.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::reader::time;
use super::writer::Tx;
use super::{Error, IncomingBatch, Reader, Store, audit, ingest, prepare, schema};
use crate::model::EntityKey;

/// Findings of a run whose differences are kept; more are counted.
const LISTED: i64 = 20_000;
/// Findings of a run that has ended which are taken away at once.
const SWEEP: usize = 200;

/// A replay that is made to come true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplyRun {
    /// Its number.
    pub id: i64,
    /// It was begun before, and goes on.
    pub resumed: bool,
    /// Records that were mapped again.
    pub records: u64,
    /// Versions that were made.
    pub revisions: u64,
    /// Items that were opened for a person.
    pub held: u64,
}

/// A stream whose candidate is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// `source/stream`.
    pub stream: String,
    /// The candidate's version when it was promoted.
    pub version: String,
    /// What was in force before.
    pub former: String,
    /// When.
    pub promoted_at: DateTime<Utc>,
    /// Who did it.
    pub who: String,
}

/// What is tried: by stream, the version in force and the candidate's.
pub type Tried = BTreeMap<String, (String, String)>;

/// A candidate that runs, or ran, in the shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowRun {
    /// Its number.
    pub id: i64,
    /// By stream, the version in force and the candidate's.
    pub mappings: Tried,
    /// `running`, `promoted`, `discarded`, `replaced` (another candidate came), `ended` (it was taken out of the
    /// configuration).
    pub state: String,
    /// Since when it runs.
    pub began_at: DateTime<Utc>,
    /// Until when it ran.
    pub ended_at: Option<DateTime<Utc>>,
    /// Records that were mapped.
    pub records: u64,
    /// Records that newer ones had overtaken.
    pub overtaken: u64,
    /// Findings whose differences are kept.
    pub listed: u64,
    /// Records, versions and held items that came since it looked last.
    pub behind: u64,
    #[serde(skip)]
    pub(crate) cursors: Cursors,
}

/// How far a run has looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursors {
    pub(crate) archive: i64,
    pub(crate) event: i64,
    pub(crate) held: i64,
}

/// Records that a run has to look at, and how far it is then.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShadowWork {
    pub(crate) records: Vec<i64>,
    pub(crate) cursors: Cursors,
    /// There is more.
    pub(crate) more: bool,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShadowRow {
    pub(crate) subject: String,
    pub(crate) entity: String,
    pub(crate) archive_id: i64,
    pub(crate) verdict: String,
    pub(crate) held: bool,
    /// JSON; `None` where there are none. Of a row that was read: or where they are not kept.
    pub(crate) differences: Option<String>,
}

/// What a step of a run found.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShadowStep {
    /// The records that were looked at.
    pub(crate) looked: Vec<i64>,
    pub(crate) rows: Vec<ShadowRow>,
    /// Subjects that are spoken of under another name now.
    pub(crate) gone: Vec<String>,
    pub(crate) cursors: Cursors,
    pub(crate) mapped: i64,
    pub(crate) overtaken: i64,
}

impl Store {
    /// Begins to apply, or goes on with what a run of the same thing has left. Audited.
    pub async fn apply_begin(&self, what: &str, who: &str) -> Result<ApplyRun, Error> {
        let (what, who) = (what.to_owned(), who.to_owned());
        self.write("begin to apply", 1, move |tx| apply_begin(tx, &what, &who)).await
    }

    /// Maps records again, all batches in one transaction. Of an entity that several of them give parts of (`quiet`),
    /// only the last one makes a version: the parts change together.
    pub async fn apply(
        &self,
        run: i64,
        batches: Vec<IncomingBatch>,
        quiet: Vec<(i64, EntityKey)>,
    ) -> Result<ApplyRun, Error> {
        let mut prepared = Vec::with_capacity(batches.len());
        let mut weight = 1;
        for batch in batches {
            let mut batch = prepare::batch(batch)?;
            for record in &mut batch.records {
                let of = quiet.iter().filter(|(archive, _)| Some(*archive) == record.archived);
                record.quiet = of.map(|(_, key)| key.clone()).collect();
            }
            weight += batch.records.len();
            prepared.push(batch);
        }
        self.write("apply a mapping", weight, move |tx| apply(tx, run, &prepared)).await
    }

    /// Ends a run. Audited with its sums.
    pub async fn apply_end(&self, run: i64) -> Result<ApplyRun, Error> {
        self.write("end what was applied", 1, move |tx| apply_end(tx, run)).await
    }

    /// Goes on with a candidate, or begins anew with another one; `None` where it has been promoted or discarded.
    /// An empty `tried` says that none is configured.
    pub(crate) async fn shadow_begin(&self, tried: Tried) -> Result<Option<ShadowRun>, Error> {
        self.write("begin with a candidate", 1, move |tx| shadow_begin(tx, &tried)).await
    }

    /// Notes what a step found; a run that has ended meanwhile notes nothing.
    pub(crate) async fn shadow_note(&self, run: i64, step: ShadowStep) -> Result<(), Error> {
        self.write("note what a candidate would make", step.rows.len() + 1, move |tx| shadow_note(tx, run, &step)).await
    }

    /// Takes away some findings of runs that have ended; answers how many.
    pub(crate) async fn shadow_sweep(&self) -> Result<usize, Error> {
        self.write("take away old findings", SWEEP, |tx| {
            let sql = "DELETE FROM shadow_found WHERE id IN (SELECT f.id FROM shadow_found f
                         WHERE f.run_id IN (SELECT id FROM shadow_run WHERE state <> 'running') LIMIT ?1)";
            tx.run("take away old findings", sql, (SWEEP as i64,))
        })
        .await
    }

    /// Puts the candidate that runs in force: all its streams at once, from the next start (or reload) of the agent
    /// on. Audited. [`Error::Refused`] where none runs.
    pub async fn promote(&self, who: &str, because: &str) -> Result<Vec<Promoted>, Error> {
        let (who, because) = (who.to_owned(), because.to_owned());
        self.write("promote a candidate", 1, move |tx| promote(tx, &who, &because)).await
    }

    /// Gives the candidate that runs up: it is not tried again until it is another one. Audited.
    pub async fn discard(&self, who: &str, because: &str) -> Result<(), Error> {
        let (who, because) = (who.to_owned(), because.to_owned());
        self.write("discard a candidate", 1, move |tx| {
            let Some(run) = running(tx)? else { return Err(NONE_RUNS) };
            end(tx, run.id, "discarded")?;
            audit::append(tx, &who, "shadow-discard", &format!("shadow/{}", run.id), &because)
        })
        .await
    }

    /// Takes promotions back: the configured mappings are in force again, from the next start (or reload) on. Audited.
    /// [`Error::Refused`] where nothing is promoted.
    pub async fn revert(&self, who: &str, because: &str) -> Result<Vec<Promoted>, Error> {
        let (who, because) = (who.to_owned(), because.to_owned());
        self.write("take a promotion back", 1, move |tx| {
            let promoted = tx.all("read promotions", PROMOTED, (), read_promoted)?;
            if promoted.is_empty() {
                return Err(Error::Refused("no candidate is promoted: the configured mappings are in force"));
            }
            for row in &promoted {
                let detail = format!("{} is not in force any more; {because}", row.version);
                audit::append(tx, &who, "shadow-revert", &format!("stream {}", row.stream), &detail)?;
            }
            tx.run("take a promotion back", "DELETE FROM promoted", ())?;
            Ok(promoted)
        })
        .await
    }

    /// Forgets promotions of streams that have no candidate any more: their configured mapping is in force. Audited.
    pub(crate) async fn forget_promoted(&self, streams: Vec<String>) -> Result<(), Error> {
        self.write("forget promotions", 1, move |tx| {
            for stream in &streams {
                if tx.run("forget a promotion", "DELETE FROM promoted WHERE stream = ?1", (stream,))? > 0 {
                    let detail = "the configuration names no candidate any more: its mapping is in force";
                    audit::append(tx, "hisync", "shadow-settled", &format!("stream {stream}"), detail)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn count(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::unsigned_abs)
}

const NONE_RUNS: Error = Error::Refused("no candidate runs in the shadow");

fn apply_run(tx: &Tx<'_>, id: i64, resumed: bool) -> Result<ApplyRun, Error> {
    let sql = "SELECT records, revisions, held FROM apply_run WHERE id = ?1";
    let found = tx.one("read what was applied", sql, (id,), |row| {
        Ok(ApplyRun { id, resumed, records: count(row, 0)?, revisions: count(row, 1)?, held: count(row, 2)? })
    })?;
    found.ok_or(Error::NotFound { what: "applied replay", id })
}

fn apply_begin(tx: &Tx<'_>, what: &str, who: &str) -> Result<ApplyRun, Error> {
    let sql = "SELECT id FROM apply_run WHERE ended_at IS NULL AND what = same('apply_run.what', ?1)
               ORDER BY id DESC LIMIT 1";
    let known: Option<i64> = tx.one("look for a begun replay", sql, (what,), |row| row.get(0))?;
    let id = match known {
        Some(id) => id,
        None => {
            let sql = "INSERT INTO apply_run (what, who, began_at) VALUES (same('apply_run.what', ?1), ?2, ?3)";
            tx.insert("begin to apply", sql, (what, who, tx.now))?
        }
    };
    let act = if known.is_some() { "replay-resume" } else { "replay-apply" };
    audit::append(tx, who, act, &format!("replay/{id}"), what)?;
    apply_run(tx, id, known.is_some())
}

fn apply(tx: &mut Tx<'_>, run: i64, batches: &[prepare::Batch]) -> Result<ApplyRun, Error> {
    let newest = |tx: &Tx<'_>, sql: &str| -> Result<i64, Error> {
        Ok(tx.one("read what was made", sql, (), |row| row.get(0))?.flatten().unwrap_or(0))
    };
    let event = newest(tx, "SELECT max(id) FROM outbox")?;
    let item = newest(tx, "SELECT max(id) FROM held")?;
    let mut records = 0;
    for batch in batches {
        ingest::commit(tx, batch)?;
        records += batch.records.len() as i64;
    }
    tx.run(
        "count what was applied",
        "UPDATE apply_run SET records = records + ?2,
           revisions = revisions + (SELECT count(*) FROM outbox WHERE id > ?3),
           held = held + (SELECT count(*) FROM held WHERE id > ?4 AND state = 'open') WHERE id = ?1",
        (run, records, event, item),
    )?;
    apply_run(tx, run, false)
}

fn apply_end(tx: &Tx<'_>, run: i64) -> Result<ApplyRun, Error> {
    let sql = "UPDATE apply_run SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL";
    tx.run("end what was applied", sql, (run, tx.now))?;
    let done = apply_run(tx, run, false)?;
    let who = tx.one("read who applied", "SELECT who FROM apply_run WHERE id = ?1", (run,), |row| row.get(0))?;
    let who: String = who.unwrap_or_default();
    let ApplyRun { records, revisions, held, .. } = &done;
    let detail = format!("{records} records mapped again, {revisions} versions made, {held} held");
    audit::append(tx, &who, "replay-applied", &format!("replay/{run}"), &detail)?;
    Ok(done)
}

const RUN: &str =
    "SELECT id, mappings, state, began_at, ended_at, records, overtaken, listed, after_archive, after_event,
    after_held, iif(r.state = 'running',
      (SELECT count(*) FROM archive a WHERE a.id > r.after_archive)
        + (SELECT count(*) FROM outbox o WHERE o.id > r.after_event)
        + (SELECT count(*) FROM held h WHERE h.id > r.after_held), 0) FROM shadow_run r";

fn read_run(row: &rusqlite::Row<'_>) -> rusqlite::Result<ShadowRun> {
    Ok(ShadowRun {
        id: row.get(0)?,
        mappings: serde_json::from_str(row.get_ref(1)?.as_str()?).unwrap_or_default(),
        state: row.get(2)?,
        began_at: time(row.get(3)?),
        ended_at: row.get::<_, Option<i64>>(4)?.map(time),
        records: count(row, 5)?,
        overtaken: count(row, 6)?,
        listed: count(row, 7)?,
        behind: count(row, 11)?,
        cursors: Cursors { archive: row.get(8)?, event: row.get(9)?, held: row.get(10)? },
    })
}

fn running(tx: &Tx<'_>) -> Result<Option<ShadowRun>, Error> {
    tx.one("read the candidate that runs", &format!("{RUN} WHERE state = 'running'"), (), read_run)
}

fn end(tx: &Tx<'_>, run: i64, state: &str) -> Result<(), Error> {
    let sql = "UPDATE shadow_run SET state = ?2, ended_at = ?3 WHERE id = ?1";
    tx.run("end a candidate's run", sql, (run, state, tx.now)).map(drop)
}

fn shadow_begin(tx: &Tx<'_>, tried: &Tried) -> Result<Option<ShadowRun>, Error> {
    let operation = "begin with a candidate";
    let newest = tx.one(operation, &format!("{RUN} ORDER BY id DESC LIMIT 1"), (), read_run)?;
    if tried.is_empty() {
        if let Some(run) = newest.filter(|run| run.state == "running") {
            end(tx, run.id, "ended")?;
        }
        return Ok(None);
    }
    if let Some(run) = &newest
        && run.mappings == *tried
        && matches!(run.state.as_str(), "running" | "discarded" | "promoted")
    {
        return Ok(newest.filter(|run| run.state == "running"));
    }
    // A candidate that was mended is tried on the same records.
    let mut first = "(SELECT coalesce(max(id), 0) FROM archive)".to_owned();
    if let Some(run) = newest.filter(|run| run.state == "running") {
        end(tx, run.id, "replaced")?;
        first = format!("(SELECT first_archive FROM shadow_run WHERE id = {})", run.id);
    }
    let sql = format!(
        "INSERT INTO shadow_run (mappings, state, began_at, first_archive, after_archive, after_event, after_held)
         SELECT ?1, 'running', ?2, n, n, (SELECT coalesce(max(id), 0) FROM outbox),
           (SELECT coalesce(max(id), 0) FROM held) FROM (SELECT {first} AS n)"
    );
    let mappings = serde_json::to_string(tried).map_err(|_| Error::Unreadable("a candidate's versions"))?;
    tx.run(operation, &sql, (&mappings, tx.now))?;
    running(tx)
}

fn shadow_note(tx: &Tx<'_>, run: i64, step: &ShadowStep) -> Result<(), Error> {
    let operation = "note what a candidate would make";
    let sql = "SELECT listed FROM shadow_run WHERE id = ?1 AND state = 'running'";
    let Some(mut listed) = tx.one(operation, sql, (run,), |row| row.get::<_, i64>(0))? else { return Ok(()) };
    let known = "SELECT id, differences IS NOT NULL FROM shadow_found
                 WHERE run_id = ?1 AND subject = same('shadow_found.subject', ?2)";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?));
    let forget = |id: i64| tx.run(operation, "DELETE FROM shadow_found WHERE id = ?1", (id,));
    for subject in &step.gone {
        if let Some((id, kept)) = tx.one(operation, known, (run, subject), read)? {
            listed -= i64::from(kept);
            forget(id)?;
        }
    }
    // What a record told and tells no more.
    for looked in &step.looked {
        let sql = "SELECT id, differences IS NOT NULL, opened('shadow_found.subject', NULL, subject)
                   FROM shadow_found WHERE run_id = ?1 AND archive_id = ?2";
        let told = tx.all(operation, sql, (run, looked), |row| Ok((read(row)?, row.get::<_, String>(2)?)))?;
        for ((id, kept), subject) in told {
            if !step.rows.iter().any(|row| row.subject == subject) {
                listed -= i64::from(kept);
                forget(id)?;
            }
        }
    }
    for row in &step.rows {
        let before = tx.one(operation, known, (run, &row.subject), read)?;
        let was = before.is_some_and(|(_, kept)| kept);
        let kept = row.differences.as_ref().filter(|_| was || listed < LISTED);
        listed += i64::from(kept.is_some()) - i64::from(was);
        let id = match before {
            Some((id, _)) => id,
            None => {
                let sql = "INSERT INTO shadow_found (run_id, subject, type, archive_id, verdict, held)
                           VALUES (?1, same('shadow_found.subject', ?2), ?3, ?4, '', 0)";
                tx.insert(operation, sql, (run, &row.subject, &row.entity, row.archive_id))?
            }
        };
        tx.run(
            operation,
            "UPDATE shadow_found SET type = ?2, archive_id = ?3, verdict = ?4, held = ?5,
               differences = seal('shadow_found.differences', id, ?6) WHERE id = ?1",
            (id, &row.entity, row.archive_id, &row.verdict, row.held, kept),
        )?;
    }
    let Cursors { archive, event, held } = step.cursors;
    let sql = "UPDATE shadow_run SET after_archive = ?2, after_event = ?3, after_held = ?4, records = records + ?5,
                 overtaken = overtaken + ?6, listed = ?7 WHERE id = ?1";
    tx.run(operation, sql, (run, archive, event, held, step.mapped, step.overtaken, listed)).map(drop)
}

const PROMOTED: &str = "SELECT stream, version, former, promoted_at, who FROM promoted ORDER BY stream";

fn read_promoted(row: &rusqlite::Row<'_>) -> rusqlite::Result<Promoted> {
    Ok(Promoted {
        stream: row.get(0)?,
        version: row.get(1)?,
        former: row.get(2)?,
        promoted_at: time(row.get(3)?),
        who: row.get(4)?,
    })
}

fn promote(tx: &Tx<'_>, who: &str, because: &str) -> Result<Vec<Promoted>, Error> {
    let Some(run) = running(tx)? else { return Err(NONE_RUNS) };
    end(tx, run.id, "promoted")?;
    for (stream, (former, version)) in &run.mappings {
        let sql = "INSERT OR REPLACE INTO promoted (stream, version, former, promoted_at, who)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        tx.run("promote a candidate", sql, (stream, version, former, tx.now, who))?;
        let detail = format!("{version} in place of {former}; {because}");
        audit::append(tx, who, "shadow-promote", &format!("stream {stream}"), &detail)?;
    }
    tx.all("read promotions", PROMOTED, (), read_promoted)
}

/// The name of the store's file in its folder.
pub fn file_name() -> &'static std::ffi::OsStr {
    schema::FILE_NAME.as_ref()
}

/// The number of the layout of a folder's store, whichever it is; it is only read.
pub fn layout_of(dir: &Path) -> Result<i64, Error> {
    schema::layout(&schema::look(&schema::file(dir))?)
}

impl Reader {
    /// When an archived record was received.
    pub fn received_at(&self, id: i64) -> Result<Option<DateTime<Utc>>, Error> {
        let sql = "SELECT received_at FROM archive WHERE id = ?1";
        Ok(self.one("read the archive", sql, (id,), |row| row.get::<_, i64>(0))?.map(time))
    }

    /// The newest archived records whose bytes are here, ascending.
    pub fn newest_records(&self, limit: usize) -> Result<Vec<i64>, Error> {
        let sql = "SELECT id FROM (SELECT id FROM archive WHERE given_up_at IS NULL ORDER BY id DESC LIMIT ?1)
                   ORDER BY id";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all("read the archive", sql, (limit,), |row| row.get(0))
    }

    /// The streams whose candidate is in force.
    pub fn promoted(&self) -> Result<Vec<Promoted>, Error> {
        self.all("read promotions", PROMOTED, (), read_promoted)
    }

    /// The newest run of a candidate.
    pub fn shadow_run(&self) -> Result<Option<ShadowRun>, Error> {
        self.one("read the candidate that runs", &format!("{RUN} ORDER BY id DESC LIMIT 1"), (), read_run)
    }

    /// How far a run has looked; `None` where it has ended.
    pub(crate) fn shadow_cursors(&self, run: i64) -> Result<Option<Cursors>, Error> {
        let sql = "SELECT after_archive, after_event, after_held FROM shadow_run WHERE id = ?1 AND state = 'running'";
        self.one("read how far a candidate is", sql, (run,), |row| {
            Ok(Cursors { archive: row.get(0)?, event: row.get(1)?, held: row.get(2)? })
        })
    }

    /// Up to about `limit` records that a run has to look at: what has come since, and the newest records of entities
    /// of which a version was made or an item was opened since.
    pub(crate) fn shadow_work(&self, from: Cursors, limit: usize) -> Result<ShadowWork, Error> {
        let operation = "read what has come in";
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite(operation))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut work = ShadowWork { cursors: from, ..ShadowWork::default() };
        let sql = "SELECT id, given_up_at IS NULL FROM archive WHERE id > ?1 ORDER BY id LIMIT ?2";
        let new =
            self.all(operation, sql, (from.archive, limit), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))?;
        work.more = new.len() as i64 == limit;
        work.cursors.archive = new.last().map_or(from.archive, |(id, _)| *id);
        work.records.extend(new.into_iter().filter(|(_, here)| *here).map(|(id, _)| id));
        for (sql, cursor) in [
            ("SELECT id, entity_id, NULL FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2", &mut work.cursors.event),
            ("SELECT id, entity_id, archive_id FROM held WHERE id > ?1 ORDER BY id LIMIT ?2", &mut work.cursors.held),
        ] {
            let rows = self.all(operation, sql, (*cursor, limit), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?))
            })?;
            work.more |= rows.len() as i64 == limit;
            for (id, entity, archive) in rows {
                *cursor = id;
                match (entity, archive) {
                    (Some(entity), _) => work.records.extend(self.newest_record_of(entity)?),
                    (None, archive) => work.records.extend(archive),
                }
            }
        }
        // What is new for the run alone; it looks at those before it later.
        work.records.retain(|id| *id <= work.cursors.archive);
        work.records.sort_unstable();
        work.records.dedup();
        Ok(work)
    }

    /// Records of findings that a person decides about, behind a row: they change without a record.
    pub(crate) fn shadow_held(&self, run: i64, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, Error> {
        let sql = "SELECT id, archive_id FROM shadow_found WHERE run_id = ?1 AND held = 1 AND id > ?2
                   ORDER BY id LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all("read what is held", sql, (run, after, limit), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Findings of a run behind a row, with their rows.
    pub(crate) fn shadow_rows(&self, run: i64, after: i64, limit: usize) -> Result<Vec<(i64, ShadowRow)>, Error> {
        let sql = "SELECT id, type, archive_id, verdict, held, opened('shadow_found.differences', id, differences)
                   FROM shadow_found WHERE run_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all("read what a candidate would make", sql, (run, after, limit), |row| {
            let found = ShadowRow {
                subject: String::new(),
                entity: row.get(1)?,
                archive_id: row.get(2)?,
                verdict: row.get(3)?,
                held: row.get(4)?,
                differences: row.get(5)?,
            };
            Ok((row.get(0)?, found))
        })
    }
}
