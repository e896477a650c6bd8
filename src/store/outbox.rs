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

use super::writer::Tx;
use super::{ClaimLimit, Error, Settlement, Verdict, held, ledger};

/// Longer than any request may take, or a slow upstream sees an event twice; short enough that a
/// sender that died alone does not block its keys for long. Microseconds.
const LEASE: i64 = 10 * 60 * 1_000_000;

/// Attempts that are remembered, entry by entry.
const REMEMBERED: i64 = 20;

/// A claimed entry as it lies in the file.
pub(super) struct Claimed {
    pub(super) id: i64,
    pub(super) event_id: [u8; 16],
    pub(super) entity: String,
    pub(super) key: String,
    pub(super) attempts: u32,
    pub(super) head: String,
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
    let events = i64::try_from(limit.events).unwrap_or(i64::MAX);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
    // Those that waited get up to half of the claim, so that neither they nor the fresh ones starve.
    let mut due = tx.all("claim", DUE, (1, tx.now, (events / 2).max(1).min(events)), read)?;
    let rest = events - due.len() as i64;
    due.extend(tx.all("claim", DUE, (0, 0, rest), read)?);

    let mut claimed = Vec::with_capacity(due.len());
    let mut bytes = 0_usize;
    for (id, before, size) in due {
        bytes = bytes.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        if bytes > limit.bytes && !claimed.is_empty() {
            break;
        }
        let sql = "UPDATE outbox SET state = ?3, ready_at = NULL, claimed_at = ?2 WHERE id = ?1";
        tx.run("claim", sql, (id, tx.now, state))?;
        tx.count_outbox(Some(&before), state, 1);
        let sql = "SELECT e.event_id, n.type, n.key, o.attempts, e.head, c.codec, c.size, c.body FROM outbox o
                   JOIN event e ON e.id = o.id JOIN entity n ON n.id = o.entity_id JOIN content c ON c.id = e.content_id
                   WHERE o.id = ?1";
        let entry = tx.one("claim", sql, (id,), |row| {
            Ok(Claimed {
                id,
                event_id: row.get(0)?,
                entity: row.get(1)?,
                key: row.get(2)?,
                attempts: row.get(3)?,
                head: row.get(4)?,
                codec: row.get(5)?,
                size: row.get(6)?,
                body: row.get(7)?,
            })
        })?;
        claimed.push(entry.ok_or(Error::Unreadable("an event"))?);
    }
    Ok(claimed)
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
}

fn row_of(tx: &Tx<'_>, id: i64) -> Result<Option<Row>, Error> {
    let sql = "SELECT o.state, o.entity_id, o.stream_id, n.type, o.attempts, o.counts FROM outbox o
               JOIN entity n ON n.id = o.entity_id WHERE o.id = ?1";
    tx.one("read the outbox", sql, (id,), |row| {
        Ok(Row {
            state: row.get(0)?,
            entity: row.get(1)?,
            stream: row.get(2)?,
            entity_type: row.get(3)?,
            attempts: row.get(4)?,
            counts: row.get::<_, i64>(5)? == 1,
        })
    })
}

pub(super) fn settle(tx: &mut Tx<'_>, settlements: &[Settlement]) -> Result<(), Error> {
    for settlement in settlements {
        let id = settlement.id;
        let row = row_of(tx, id)?.ok_or(Error::NotFound { what: "outbox entry", id })?;
        let ours = matches!(row.state.as_str(), "claimed" | "inflight");
        match &settlement.verdict {
            // A receipt counts even if the lease ran out meanwhile: upstream has it.
            Verdict::Delivered { status } if !matches!(row.state.as_str(), "delivered" | "held") => {
                finish(tx, id, &row, "delivered", status, None)?;
                held::supersede_refused(tx, row.entity, id)?;
            }
            Verdict::Held { code, message } if ours => {
                remember(tx, id, row.attempts + 1, code)?;
                finish(tx, id, &row, "held", code, Some(message))?;
                held::refused(tx, id, code, message)?;
            }
            Verdict::Retry { at, code } if ours => {
                remember(tx, id, row.attempts + 1, code)?;
                let sql = "UPDATE outbox SET state = 'waiting', ready_at = ?2, claimed_at = NULL,
                             attempts = attempts + 1, last_code = ?3, last_message = NULL WHERE id = ?1";
                tx.run("settle", sql, (id, at.timestamp_micros().max(1), code))?;
                tx.count_outbox(Some(&row.state), "waiting", 1);
                tx.wake = true;
            }
            Verdict::Unsent if ours => {
                let sql = "UPDATE outbox SET state = 'queued', ready_at = 0, claimed_at = NULL WHERE id = ?1";
                tx.run("settle", sql, (id,))?;
                tx.count_outbox(Some(&row.state), "queued", 1);
                tx.wake = true;
            }
            // Settled before, or put back when its lease ran out: it is claimed anew.
            _ => {}
        }
    }
    Ok(())
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
                 last_code = ?4, last_message = ?5 WHERE id = ?1";
    tx.run("settle", sql, (id, state, tx.now, code, message))?;
    tx.count_outbox(Some(&row.state), state, 1);
    if row.counts {
        tx.count(row.stream, ledger::kind(&row.entity_type)?, Some("queued"), Some(state));
    }
    promote(tx, row.entity)
}

/// Makes the oldest open entry of an entity its head.
fn promote(tx: &mut Tx<'_>, entity: i64) -> Result<(), Error> {
    let sql = "UPDATE outbox SET ready_at = 0 WHERE state = 'queued' AND ready_at IS NULL
                 AND stream_id NOT IN (SELECT stream_id FROM onboarding WHERE state = 'waiting') AND id =
                 (SELECT id FROM outbox WHERE entity_id = ?1 AND done_at IS NULL ORDER BY id LIMIT 1)";
    if tx.run("settle", sql, (entity,))? > 0 {
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
        let sql = "UPDATE outbox SET state = 'queued', ready_at = 0, claimed_at = NULL, ambiguous = max(ambiguous, ?2),
                     attempts = attempts + ?2 WHERE id = ?1";
        tx.run("recover the outbox", sql, (id, cut_off))?;
        tx.count_outbox(Some(&state), "queued", 1);
        tx.wake = true;
    }
    Ok(())
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
    if row.counts {
        tx.count(row.stream, ledger::kind(&row.entity_type)?, Some("held"), Some("queued"));
    }
    promote(tx, row.entity)
}
