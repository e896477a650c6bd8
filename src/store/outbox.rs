//! The outbox: events on their way upstream.
//!
//! ```text
//!            claim          mark_inflight        Delivered
//!  queued ─────────▶ claimed ─────────▶ inflight ─────────▶ delivered      (take: both steps in one)
//!    ▲  ▲              │ Unsent, crash     │ │ └─ Held ────▶ held
//!    │  └──────────────┘                   │ └─ Retry ─▶ waiting ─ claim ▶ …
//!    └── crash, lease over: ambiguous, sent again under the same id
//! ```
//!
//! Only the oldest open entry of an entity (the head) has a `ready_at`, so a claim touches what it
//! takes and nothing else, and two entries of one entity are never on their way together (P5).
//! When the head is delivered or held, the next one becomes the head.

use std::collections::{BTreeMap, HashSet};

use super::writer::Tx;
use super::{ClaimLimit, Error, Settlement, Verdict, attachments, held, ledger, upstream};

/// Longer than any request may take, or a slow upstream sees an event twice; short enough that a
/// sender that died alone does not block its keys for long. Microseconds.
const LEASE: i64 = 10 * 60 * 1_000_000;

/// Attempts that are remembered, entry by entry.
const REMEMBERED: i64 = 20;

/// The due time of a head that must not wait behind others; that of any other is 0, or a time.
pub(super) const URGENT: i64 = -1;

/// Sets the due time of a head that is due at once.
const AT_ONCE: &str = "iif((SELECT n.type FROM entity n WHERE n.id = entity_id) = 'critical_value', -1, 0)";

/// A claimed entry as it lies in the file.
pub(super) struct Claimed {
    pub(super) id: i64,
    pub(super) event_id: [u8; 16],
    pub(super) entity: String,
    pub(super) key: String,
    pub(super) attempts: u32,
    pub(super) head: String,
    pub(super) hash: super::prepare::Hash,
    pub(super) sequence: i64,
    pub(super) codec: i64,
    pub(super) size: i64,
    pub(super) body: Vec<u8>,
}

/// Due entries in order; used by the claim and by its test.
pub(super) const DUE: &str =
    "SELECT id, state, size FROM outbox WHERE ready_at BETWEEN ?1 AND ?2 ORDER BY ready_at, id LIMIT ?3";

/// Takes due entries; `state` is `claimed`, or `inflight` where they leave at once.
pub(super) fn claim(tx: &mut Tx<'_>, limit: ClaimLimit, state: &'static str) -> Result<Vec<Claimed>, Error> {
    unclaim(tx, tx.now - LEASE)?;
    // As long as there is something to do about it: what is done here may be rolled back with its group.
    if tx.shared.clock_went_back(tx.now) && !clock_went_back(tx)? {
        tx.shared.follow_clock(tx.now);
    }
    held::overdue(tx)?;
    super::dictionary::reconsider(tx)?;
    let events = i64::try_from(limit.events).unwrap_or(i64::MAX);
    let mut due = tx.all("claim", DUE, (URGENT, URGENT, events), due_row)?;
    let rest = events - due.len() as i64;
    // Those that waited get up to half of the claim, so that neither they nor the fresh ones starve.
    due.extend(tx.all("claim", DUE, (1, tx.now, (rest / 2).max(1).min(rest)), due_row)?);
    let rest = events - due.len() as i64;
    due.extend(tx.all("claim", DUE, (0, 0, rest), due_row)?);
    take(tx, due, limit, state)
}

/// Takes what must not wait behind others, to leave at once.
pub(super) fn claim_urgent(tx: &mut Tx<'_>, limit: ClaimLimit) -> Result<Vec<Claimed>, Error> {
    let events = i64::try_from(limit.events).unwrap_or(i64::MAX);
    let due = tx.all("claim", DUE, (URGENT, URGENT, events), due_row)?;
    take(tx, due, limit, "inflight")
}

fn due_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, String, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn take(
    tx: &mut Tx<'_>,
    due: Vec<(i64, String, i64)>,
    limit: ClaimLimit,
    state: &'static str,
) -> Result<Vec<Claimed>, Error> {
    let mut taken = Vec::with_capacity(due.len());
    let mut bytes = 0_usize;
    for (id, before, size) in due {
        bytes = bytes.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        if bytes > limit.bytes && !taken.is_empty() {
            break;
        }
        tx.count_outbox(Some(&before), state, 1);
        taken.push(id);
    }
    let ids = list(&taken);
    let sql = "UPDATE outbox SET state = ?3, ready_at = NULL, claimed_at = ?2
               WHERE id IN (SELECT value FROM json_each(?1))";
    tx.run("claim", sql, (&ids, tx.now, state))?;
    // CROSS JOIN keeps the list's order. An entry whose rows are gone (a lost page) is taken as one that can't be read:
    // it is held alone, where an error would stop all others with it.
    let sql = "SELECT o.id, coalesce(e.event_id, zeroblob(16)), coalesce(n.type, ''),
                 iif(n.id IS NULL, '', opened('entity.key', NULL, n.key)), o.attempts,
                 iif(e.id IS NULL OR c.id IS NULL, '', opened('event.head', e.id, e.head)),
                 coalesce(c.codec, 0), coalesce(c.size, 0),
                 iif(c.id IS NULL, x'', opened_body(c.codec, 'content', c.id, c.body)),
                 coalesce(e.hash, zeroblob(32)), coalesce(e.sequence, 0)
               FROM json_each(?1) j CROSS JOIN outbox o ON o.id = j.value LEFT JOIN event e ON e.id = o.id
               LEFT JOIN entity n ON n.id = o.entity_id LEFT JOIN content c ON c.id = e.content_id";
    let claimed = tx.all("claim", sql, (&ids,), |row| {
        Ok(Claimed {
            id: row.get(0)?,
            event_id: row.get(1)?,
            entity: row.get(2)?,
            key: row.get(3)?,
            attempts: row.get(4)?,
            head: row.get(5)?,
            codec: row.get(6)?,
            size: row.get(7)?,
            body: row.get(8)?,
            hash: row.get(9)?,
            sequence: row.get(10)?,
        })
    })?;
    if claimed.len() == taken.len() { Ok(claimed) } else { Err(Error::Unreadable("an event")) }
}

/// Row ids as a JSON list, for statements over all of them (`json_each`).
pub(super) fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("[{}]", ids.join(","))
}

pub(super) fn mark_inflight(tx: &mut Tx<'_>, entries: &[i64]) -> Result<(), Error> {
    for id in entries {
        let sql = "UPDATE outbox SET state = 'inflight' WHERE id = ?1 AND state = 'claimed'";
        if tx.run("mark inflight", sql, (id,))? == 1 {
            tx.count_outbox(Some("claimed"), "inflight", 1);
        }
    }
    Ok(())
}

/// An entry that a verdict is about.
struct Row {
    state: String,
    entity: i64,
    stream: i64,
    entity_type: String,
    attempts: i64,
    counts: bool,
    size: i64,
}

/// The columns of a [`Row`], of an entry `o` and its entity `n`. Where that is gone, the entry counts as what its
/// stream mostly has in the queue, which is nearly always all that it has.
const ROW: &str = "o.state, o.entity_id, o.stream_id,
    coalesce(n.type, (SELECT c.kind FROM counter c WHERE c.scope = CAST(o.stream_id AS TEXT) AND c.name = 'queued'
                      ORDER BY c.n DESC LIMIT 1)), o.attempts, o.counts, o.size";

impl Row {
    /// Reads [`ROW`] from a column on.
    fn read(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Row> {
        Ok(Row {
            state: row.get(at)?,
            entity: row.get(at + 1)?,
            stream: row.get(at + 2)?,
            entity_type: row.get(at + 3)?,
            attempts: row.get(at + 4)?,
            counts: row.get::<_, i64>(at + 5)? == 1,
            size: row.get(at + 6)?,
        })
    }
}

fn row_of(tx: &Tx<'_>, id: i64) -> Result<Option<Row>, Error> {
    let sql = format!("SELECT {ROW} FROM outbox o LEFT JOIN entity n ON n.id = o.entity_id WHERE o.id = ?1");
    tx.one("read the outbox", &sql, (id,), |row| Row::read(row, 0))
}

pub(super) fn settle(tx: &mut Tx<'_>, settlements: &[Settlement]) -> Result<(), Error> {
    let mut delivered: BTreeMap<&'static str, Vec<i64>> = BTreeMap::new();
    for settlement in settlements {
        let id = settlement.id;
        if let Verdict::Delivered { status } = settlement.verdict {
            delivered.entry(status).or_default().push(id);
            continue;
        }
        let row = row_of(tx, id)?.ok_or(Error::NotFound { what: "outbox entry", id })?;
        if !matches!(row.state.as_str(), "claimed" | "inflight") {
            // Settled before, or put back when its lease ran out: it is claimed anew.
            continue;
        }
        match &settlement.verdict {
            Verdict::Held { code, message } => {
                remember(tx, id, row.attempts + 1, code)?;
                finish(tx, id, &row, "held", code, Some(message))?;
                held::refused(tx, id, ledger::kind(&row.entity_type)?, code, message)?;
            }
            Verdict::Retry { code, .. } if code == attachments::UNKNOWN && !attachments::forget(tx, id)? => {
                let message = "upstream lacks a file that the agent has given up: have the record read again";
                remember(tx, id, row.attempts + 1, code)?;
                finish(tx, id, &row, "held", code, Some(message))?;
                held::refused(tx, id, ledger::kind(&row.entity_type)?, code, message)?;
            }
            Verdict::Retry { at, code } => {
                remember(tx, id, row.attempts + 1, code)?;
                let sql = "UPDATE outbox SET state = 'waiting', ready_at = ?2, claimed_at = NULL,
                             attempts = attempts + 1, last_code = ?3, last_message = NULL WHERE id = ?1";
                tx.run("settle", sql, (id, at.timestamp_micros().max(1), code))?;
                tx.count_outbox(Some(&row.state), "waiting", 1);
                tx.wake = true;
            }
            Verdict::Unsent => {
                let sql = format!(
                    "UPDATE outbox SET state = 'queued', ready_at = {AT_ONCE}, claimed_at = NULL WHERE id = ?1"
                );
                tx.run("settle", &sql, (id,))?;
                tx.count_outbox(Some(&row.state), "queued", 1);
                tx.wake = true;
            }
            Verdict::Delivered { .. } => {}
        }
    }
    delivered.into_iter().try_for_each(|(status, ids)| deliver(tx, status, &ids))
}

/// Notes what upstream has, a batch with a few statements: this is what nearly every settlement is.
fn deliver(tx: &mut Tx<'_>, status: &'static str, ids: &[i64]) -> Result<(), Error> {
    let sql = format!(
        "SELECT o.id, {ROW} FROM json_each(?1) j CROSS JOIN outbox o ON o.id = j.value
         LEFT JOIN entity n ON n.id = o.entity_id"
    );
    let rows = tx.all("read the outbox", &sql, (list(ids),), |row| Ok((row.get::<_, i64>(0)?, Row::read(row, 1)?)))?;
    if rows.len() < ids.len()
        && let Some(id) = ids.iter().copied().find(|id| rows.iter().all(|(found, _)| found != id))
    {
        return Err(Error::NotFound { what: "outbox entry", id });
    }
    let mut entities = Vec::with_capacity(rows.len());
    let mut done = Vec::with_capacity(rows.len());
    let mut seen = HashSet::with_capacity(rows.len());
    for (id, row) in rows {
        // A receipt counts even if the lease ran out meanwhile: upstream has it.
        if matches!(row.state.as_str(), "delivered" | "held") || !seen.insert(id) {
            continue;
        }
        tx.count_outbox(Some(&row.state), "delivered", 1);
        tx.count_bytes(-row.size);
        if row.counts {
            tx.count(row.stream, ledger::kind(&row.entity_type)?, Some("queued"), Some("delivered"));
        }
        entities.push(row.entity);
        done.push(id);
    }
    let sql = "UPDATE outbox SET state = 'delivered', ready_at = NULL, claimed_at = NULL, done_at = ?2,
                 attempts = attempts + 1, last_code = ?3, last_message = NULL
               WHERE id IN (SELECT value FROM json_each(?1))";
    tx.run("settle", sql, (list(&done), tx.now, status))?;
    upstream::acknowledged(tx, &list(&done))?;
    promote(tx, &list(&entities))?;
    held::supersede_refused(tx, &list(&done))
}

fn finish(
    tx: &mut Tx<'_>,
    id: i64,
    row: &Row,
    state: &'static str,
    code: &str,
    message: Option<&str>,
) -> Result<(), Error> {
    let sql = "UPDATE outbox SET state = ?2, ready_at = NULL, claimed_at = NULL, done_at = ?3, attempts = attempts + 1,
                 last_code = ?4, last_message = seal('outbox.last_message', id, ?5) WHERE id = ?1";
    tx.run("settle", sql, (id, state, tx.now, code, message))?;
    tx.count_outbox(Some(&row.state), state, 1);
    tx.count_bytes(-row.size);
    if row.counts {
        tx.count(row.stream, ledger::kind(&row.entity_type)?, Some("queued"), Some(state));
    }
    promote(tx, &list(&[row.entity]))
}

/// What a queued event may still wait for besides those before it: a file that upstream lacks, and the judgement of
/// its stream. An alarm waits for neither.
const CLEAR: &str = "NOT EXISTS (SELECT 1 FROM event_attachment e JOIN attachment a ON a.digest = e.digest
                       WHERE e.event_id = outbox.id AND a.confirmed_at IS NULL)
     AND (NOT EXISTS (SELECT 1 FROM onboarding b WHERE b.stream_id = outbox.stream_id AND b.state = 'waiting')
       OR EXISTS (SELECT 1 FROM entity n WHERE n.id = outbox.entity_id AND n.type = 'critical_value'))";

/// Makes the oldest open entry of each entity of a list (JSON) its head, unless it waits for something else.
pub(super) fn promote(tx: &mut Tx<'_>, entities: &str) -> Result<(), Error> {
    let sql = format!(
        "UPDATE outbox SET ready_at = {AT_ONCE} WHERE state = 'queued' AND ready_at IS NULL AND id IN
           (SELECT (SELECT min(o.id) FROM outbox o WHERE o.entity_id = j.value AND o.done_at IS NULL)
            FROM json_each(?1) j)
          AND {CLEAR}"
    );
    if tx.run("settle", &sql, (entities,))? > 0 {
        tx.wake = true;
    }
    Ok(())
}

/// Why a version never goes upstream that was overtaken before its stream delivered.
const OVERTAKEN: &str = "superseded";

/// Sets versions aside that were overtaken while their stream was judged: what was wrong with its first sample is
/// corrected in the newer ones, and upstream need never see it. An alarm is never set aside.
fn set_aside(tx: &mut Tx<'_>, stream: i64) -> Result<(), Error> {
    let sql = "UPDATE outbox SET state = 'held', done_at = ?2, last_code = ?3
               WHERE stream_id = ?1 AND state = 'queued' AND ready_at IS NULL AND done_at IS NULL AND attempts = 0
                 AND EXISTS (SELECT 1 FROM outbox o JOIN event e ON e.id = o.id
                             WHERE o.entity_id = outbox.entity_id AND o.id > outbox.id AND e.kind = 'upserted')
               RETURNING counts, (SELECT type FROM entity WHERE id = entity_id), size";
    let aside = tx.all("set overtaken versions aside", sql, (stream, tx.now, OVERTAKEN), |row| {
        Ok((row.get::<_, i64>(0)? == 1, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    for (counts, kind, size) in &aside {
        tx.count_bytes(-size);
        if *counts {
            tx.count(stream, ledger::kind(kind)?, Some("queued"), Some("held"));
        }
    }
    if !aside.is_empty() {
        tx.count_outbox(Some("queued"), "held", aside.len() as i64);
    }
    Ok(())
}

/// Makes the heads of a stream due that waited for its judgement alone.
pub(super) fn start(tx: &mut Tx<'_>, stream: i64) -> Result<(), Error> {
    set_aside(tx, stream)?;
    let sql = format!(
        "UPDATE outbox SET ready_at = {AT_ONCE} WHERE stream_id = ?1 AND state = 'queued' AND ready_at IS NULL
           AND done_at IS NULL AND NOT EXISTS
             (SELECT 1 FROM outbox o WHERE o.entity_id = outbox.entity_id AND o.done_at IS NULL AND o.id < outbox.id)
           AND {CLEAR}"
    );
    if tx.run("start a stream", &sql, (stream,))? > 0 {
        tx.wake = true;
    }
    Ok(())
}

fn remember(tx: &Tx<'_>, id: i64, n: i64, code: &str) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO attempt (outbox_id, n, at, code) VALUES (?1, ?2, ?3, ?4)";
    tx.run("remember an attempt", sql, (id, n, tx.now, code))?;
    let sql = "DELETE FROM attempt WHERE outbox_id = ?1 AND n <= ?2";
    tx.run("remember an attempt", sql, (id, n - REMEMBERED))?;
    Ok(())
}

/// Puts back what was claimed before a time (microseconds): its sender is gone.
pub(super) fn unclaim(tx: &mut Tx<'_>, before: i64) -> Result<(), Error> {
    let sql = "SELECT id, state, attempts FROM outbox WHERE claimed_at IS NOT NULL AND claimed_at < ?1";
    let left = tx.all("recover the outbox", sql, (before,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    for (id, state, attempts) in left {
        let cut_off = state == "inflight";
        if cut_off {
            remember(tx, id, attempts + 1, "interrupted")?;
        }
        let sql = format!(
            "UPDATE outbox SET state = 'queued', ready_at = {AT_ONCE}, claimed_at = NULL,
               ambiguous = max(ambiguous, ?2), attempts = attempts + ?2 WHERE id = ?1"
        );
        tx.run("recover the outbox", &sql, (id, cut_off))?;
        tx.count_outbox(Some(&state), "queued", 1);
        tx.wake = true;
    }
    Ok(())
}

/// Tries at once what a clock that was ahead has put off: it would wait for as long as the clock was wrong. Answers
/// whether there was such an event.
pub(super) fn clock_went_back(tx: &mut Tx<'_>) -> Result<bool, Error> {
    let sql = "UPDATE outbox SET ready_at = ?1 WHERE state = 'waiting' AND ready_at > ?1
               AND EXISTS (SELECT 1 FROM attempt a
                           WHERE a.outbox_id = outbox.id AND a.n = outbox.attempts AND a.at > ?1)";
    let found = tx.run("follow the clock", sql, (tx.now.max(1),))? > 0;
    tx.wake |= found;
    attachments::clock_went_back(tx)?;
    held::clock_went_back(tx)?;
    Ok(found)
}

/// Holds an event that has not been sent; `false` where it is on its way, or done.
pub(super) fn hold(tx: &mut Tx<'_>, id: i64, code: &str, message: &str) -> Result<bool, Error> {
    let Some(row) = row_of(tx, id)?.filter(|row| matches!(row.state.as_str(), "queued" | "waiting")) else {
        return Ok(false);
    };
    finish(tx, id, &row, "held", code, Some(message))?;
    held::refused(tx, id, ledger::kind(&row.entity_type)?, code, message)?;
    Ok(true)
}

/// Sends a held event again, unless upstream has or will have a newer version of the entity.
pub(super) fn requeue(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let row = row_of(tx, id)?.filter(|row| row.state == "held").ok_or(Error::Refused("this event is not held"))?;
    let sql = "SELECT 1 FROM outbox WHERE entity_id = ?1 AND id > ?2 AND state <> 'held' LIMIT 1";
    if tx.one("read the outbox", sql, (row.entity, id), |_| Ok(()))?.is_some() {
        return Err(Error::Superseded);
    }
    // An older one of the same entity may be on its way; then this one waits behind it.
    let sql = "UPDATE outbox SET state = 'queued', done_at = NULL, ready_at = NULL WHERE id = ?1";
    tx.run("send an event again", sql, (id,))?;
    tx.count_outbox(Some("held"), "queued", 1);
    tx.count_bytes(row.size);
    attachments::want(tx, id)?;
    if row.counts {
        tx.count(row.stream, ledger::kind(&row.entity_type)?, Some("held"), Some("queued"));
    }
    promote(tx, &list(&[row.entity]))
}
