//! What a complete snapshot does not contain, and when that is a withdrawal (P6).

use super::held::{self, Leg};
use super::ledger::{self, Origin};
use super::writer::Tx;
use super::{Error, SnapshotPolicy};
use crate::model::{Finding, Severity};

/// The reason of a withdrawal because complete snapshots lack the entity.
pub(super) const MISSING: &str = "missing";

/// The reason code of the held item.
const BULK: &str = "bulk-withdrawal";

/// Keys that the held item lists; all of them are kept beside it.
const LISTED: usize = 100;

/// Compares a snapshot with the ledger; answers how many entities were withdrawn.
pub(super) fn infer(tx: &mut Tx<'_>, origin: Origin<'_>, scan: i64, policy: SnapshotPolicy) -> Result<u32, Error> {
    let stream = origin.stream;
    let missing = tx.all(
        "look for what a snapshot lacks",
        "SELECT entity_id, missing + iif(missing < 0, -1, 1) FROM part
         WHERE stream_id = ?1 AND seen_scan > 0 AND seen_scan < ?2 AND absent IS NULL",
        (stream, scan),
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let open = tx.one(
        "look for a bulk withdrawal",
        "SELECT id FROM held WHERE stream_id = ?1 AND leg = 'withdrawal' AND state = 'open'",
        (stream,),
        |row| row.get::<_, i64>(0),
    )?;
    if missing.is_empty() {
        reappeared(tx, open)?;
        return Ok(0);
    }
    let sql = "SELECT count(*) FROM part WHERE stream_id = ?1 AND seen_scan > 0 AND absent IS NULL";
    let active: i64 = tx.one("count a stream's entities", sql, (stream,), |row| row.get(0))?.unwrap_or(0);
    tx.run(
        "note what a snapshot lacks",
        "UPDATE part SET missing = missing + iif(missing < 0, -1, 1)
         WHERE stream_id = ?1 AND seen_scan > 0 AND seen_scan < ?2 AND absent IS NULL",
        (stream, scan),
    )?;
    let count = missing.len() as i64;
    // Below zero: a person has refused to withdraw it. It still counts in the share.
    let due = || missing.iter().filter(|(_, reads)| *reads >= i64::from(policy.reads)).map(|(entity, _)| *entity);
    // A catalogue that turns empty is a lost permission or a dropped filter, however small it was.
    let all = count == active;
    let share = count > i64::from(policy.min_bulk) && count * 100 > i64::from(policy.max_share_percent) * active;
    let bulk = all || share;
    if !bulk {
        reappeared(tx, open)?;
        let mut withdrawn = 0;
        for entity in due() {
            withdrawn += u32::from(withdraw(tx, origin, entity)?);
        }
        return Ok(withdrawn);
    }
    if due().next().is_some() {
        let entities: Vec<i64> = missing.iter().map(|(entity, _)| *entity).collect();
        hold(tx, stream, open, &entities, active)?;
    }
    Ok(0)
}

/// Closes a bulk withdrawal that is none any more.
fn reappeared(tx: &mut Tx<'_>, open: Option<i64>) -> Result<(), Error> {
    if let Some(id) = open {
        held::close(tx, id, "superseded", "hisync", "a later snapshot contains them again")?;
    }
    Ok(())
}

fn hold(tx: &mut Tx<'_>, stream: i64, open: Option<i64>, entities: &[i64], active: i64) -> Result<(), Error> {
    let mut findings = vec![Finding::new(
        BULK,
        Severity::Hold,
        "",
        format!("{} of {active} entities are missing from the snapshot", entities.len()),
    )];
    let mut kind = None;
    for entity in entities.iter().take(LISTED) {
        let key = ledger::key_of(tx, *entity)?;
        kind = Some(key.entity.as_str());
        findings.push(Finding::new(MISSING, Severity::Info, "", "missing from the snapshot").value(key.subject()));
    }
    let Some(kind) = kind else { return Ok(()) };
    let findings = serde_json::to_string(&findings).map_err(|_| Error::Unreadable("a finding"))?;
    let id = match open {
        Some(id) => {
            tx.run(
                "update a bulk withdrawal",
                "UPDATE held SET findings = seal('held.findings', id, ?2) WHERE id = ?1",
                (id, &findings),
            )?;
            tx.run("update a bulk withdrawal", "DELETE FROM held_member WHERE held_id = ?1", (id,))?;
            id
        }
        None => {
            let item = held::New {
                leg: Leg::Withdrawal,
                stream,
                archive: None,
                event: None,
                kind,
                entity: None,
                digest: None,
                mapping: None,
                reason: BULK,
                findings: &findings,
                until: None,
            };
            held::open(tx, item)?
        }
    };
    for entity in entities {
        let sql = "INSERT INTO held_member (held_id, entity_id) VALUES (?1, ?2)";
        tx.run("list a bulk withdrawal", sql, (id, entity))?;
    }
    Ok(())
}

/// Notes that a person refuses to withdraw what an item lists: not before a snapshot has had it again.
pub(super) fn refuse(tx: &Tx<'_>, held: i64, stream: i64) -> Result<(), Error> {
    let sql = "UPDATE part SET missing = -missing WHERE stream_id = ?2 AND missing > 0
               AND entity_id IN (SELECT entity_id FROM held_member WHERE held_id = ?1)";
    tx.run("refuse a bulk withdrawal", sql, (held, stream))?;
    Ok(())
}

/// Takes an entity's part from this stream back; answers whether that made an event.
pub(super) fn withdraw(tx: &mut Tx<'_>, origin: Origin<'_>, entity: i64) -> Result<bool, Error> {
    let sql = "UPDATE part SET absent = ?3 WHERE entity_id = ?1 AND stream_id = ?2 RETURNING archive_id,
                 mapping_id,                 (SELECT version FROM mapping WHERE id = mapping_id)";
    let rows = tx.all("withdraw an entity", sql, (entity, origin.stream, MISSING), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?.unwrap_or_default()))
    })?;
    let Some((archive, mapping, mapping_version)) = rows.into_iter().next() else { return Ok(false) };
    let key = ledger::key_of(tx, entity)?;
    let Some(ledger) = ledger::find(tx, &key)? else { return Ok(false) };
    let origin = Origin { mapping, mapping_version: &mapping_version, ..origin };
    let event = match ledger::compose(tx, &key, entity)? {
        Ok(whole) => ledger::settle_entity(tx, origin, &key, &ledger, &whole)?,
        Err(doubtful) => {
            let (reason, until) = match doubtful.wait {
                Some(micros) => held::wait(tx, entity, micros)?,
                None => (doubtful.reason.as_str(), None),
            };
            let item = held::New {
                leg: Leg::Record,
                stream: origin.stream,
                archive: Some(archive),
                event: None,
                kind: key.entity.as_str(),
                entity: Some(entity),
                digest: None,
                mapping: Some(mapping),
                reason,
                findings: &doubtful.findings,
                until,
            };
            held::open(tx, item)?;
            None
        }
    };
    if event.is_some() {
        // No record says it, but it is a version like any other: it counts in the sums (P3).
        tx.count(origin.stream, key.entity.as_str(), None, Some("queued"));
    }
    Ok(event.is_some())
}
