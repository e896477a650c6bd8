//! Held items: what needs a person, and what a person does about it.
//!
//! `open → retried | released | dismissed | superseded`. A retry of a record does not happen here:
//! the agent maps the archived record again and commits it, which closes the item.

use super::ledger::{self, Origin};
use super::prepare::Hash;
use super::writer::Tx;
use super::{Error, guard, onboarding, snapshot, upstream};
use crate::model::WAITING;

/// Where an item comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// A record that the mapping does not vouch for.
    Record,
    /// An event that upstream refuses.
    Outbox,
    /// Too many entities missing from a snapshot.
    Withdrawal,
    /// A catalogue that changed too much at once.
    Change,
    /// A new stream whose first sample is not in order.
    Start,
}

impl Leg {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Leg::Record => "record",
            Leg::Outbox => "outbox",
            Leg::Withdrawal => "withdrawal",
            Leg::Change => "change",
            Leg::Start => "start",
        }
    }

    fn parse(text: &str) -> Leg {
        match text {
            "outbox" => Leg::Outbox,
            "withdrawal" => Leg::Withdrawal,
            "change" => Leg::Change,
            "start" => Leg::Start,
            _ => Leg::Record,
        }
    }
}

/// An item to be opened.
pub(super) struct New<'a> {
    pub(super) leg: Leg,
    pub(super) stream: i64,
    pub(super) archive: Option<i64>,
    pub(super) event: Option<i64>,
    pub(super) kind: &'static str,
    pub(super) entity: Option<i64>,
    pub(super) digest: Option<Hash>,
    pub(super) mapping: Option<i64>,
    pub(super) reason: &'a str,
    /// JSON.
    pub(super) findings: &'a str,
    /// Until when nobody is called for it, in microseconds; `None`: it needs a person now.
    pub(super) until: Option<i64>,
}

/// The reason code of parts that were waited for in vain.
const OVERDUE: &str = "parts-overdue";

/// Until when the parts of an entity are waited for, and under which reason: a wait that has begun, or is
/// over, does not begin anew with each version of a part.
pub(super) fn wait(tx: &Tx<'_>, entity: i64, micros: i64) -> Result<(&'static str, Option<i64>), Error> {
    let sql = "SELECT reason, until FROM held WHERE entity_id = ?1 AND state = 'open' AND leg = 'record'
                 AND reason IN (?2, ?3) ORDER BY until IS NOT NULL, until LIMIT 1";
    let begun = tx.one("look for a held item", sql, (entity, WAITING, OVERDUE), |row| {
        Ok((row.get_ref(0)?.as_str()? == OVERDUE, row.get::<_, Option<i64>>(1)?))
    })?;
    Ok(match begun {
        Some((true, _)) => (OVERDUE, None),
        Some((false, Some(until))) => (WAITING, Some(until)),
        _ => (WAITING, Some(tx.now.saturating_add(micros))),
    })
}

/// Parts that were held by a clock that was ahead are waited for no longer than others.
pub(super) fn clock_went_back(tx: &Tx<'_>) -> Result<(), Error> {
    let sql = "UPDATE held SET until = until - (opened_at - ?1)
               WHERE until IS NOT NULL AND state = 'open' AND opened_at > ?1 AND until > opened_at";
    tx.run("follow the clock", sql, (tx.now,))?;
    Ok(())
}

/// Calls a person for the parts that were waited for long enough.
pub(super) fn overdue(tx: &mut Tx<'_>) -> Result<(), Error> {
    let sql = "SELECT id FROM held WHERE until IS NOT NULL AND state = 'open' AND until <= ?1 LIMIT 100";
    let over: Vec<i64> = tx.all("look for overdue parts", sql, (tx.now,), |row| row.get(0))?;
    for id in over {
        tx.run("call for overdue parts", "UPDATE held SET reason = ?2, until = NULL WHERE id = ?1", (id, OVERDUE))?;
        tx.count_held(Leg::Record.as_str(), WAITING, -1);
        tx.count_held(Leg::Record.as_str(), OVERDUE, 1);
    }
    Ok(())
}

/// Opens an item; a record that is held again keeps the item (its id and age) that it has.
pub(super) fn open(tx: &mut Tx<'_>, new: New<'_>) -> Result<i64, Error> {
    if let (Leg::Record, Some(archive)) = (new.leg, new.archive) {
        let sql = "SELECT id, reason FROM held WHERE archive_id = ?1 AND leg = 'record' AND state = 'open'
                     AND entity_id IS ?2 AND type = ?3 LIMIT 1";
        let of = (archive, new.entity, new.kind);
        let same =
            tx.one("look for a held item", sql, of, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        if let Some((id, reason)) = same {
            let sql = "UPDATE held SET reason = ?2, findings = seal('held.findings', id, ?3), mapping_id = ?4,
                         until = ?5 WHERE id = ?1";
            tx.run("update a held item", sql, (id, new.reason, new.findings, new.mapping, new.until))?;
            tx.count_held(new.leg.as_str(), &reason, -1);
            tx.count_held(new.leg.as_str(), new.reason, 1);
            return Ok(id);
        }
    }
    tx.count_held(new.leg.as_str(), new.reason, 1);
    tx.insert(
        "open a held item",
        "INSERT INTO held (id, leg, stream_id, archive_id, event_id, type, entity_id, digest, mapping_id, reason,
           findings, state, opened_at, until)
         SELECT n, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, seal('held.findings', n, ?10), 'open', ?11, ?12
         FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'held'), 0) + 1 AS n)",
        (
            new.leg.as_str(),
            new.stream,
            new.archive,
            new.event,
            new.kind,
            new.entity,
            new.digest,
            new.mapping,
            new.reason,
            new.findings,
            tx.now,
            new.until,
        ),
    )
}

/// Holds for another reason what an item holds already.
pub(super) fn doubt_otherwise(tx: &mut Tx<'_>, id: i64, reason: &str, findings: &str) -> Result<(), Error> {
    let sql = "SELECT leg, reason FROM held WHERE id = ?1 AND state = 'open'";
    let before =
        tx.one("read a held item", sql, (id,), |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let Some((leg, before)) = before else { return Ok(()) };
    let sql = "UPDATE held SET reason = ?2, findings = seal('held.findings', id, ?3) WHERE id = ?1";
    tx.run("update a held item", sql, (id, reason, findings))?;
    let leg = Leg::parse(&leg).as_str();
    tx.count_held(leg, &before, -1);
    tx.count_held(leg, reason, 1);
    Ok(())
}

/// Closes an item; does nothing where it is closed already.
pub(super) fn close(tx: &mut Tx<'_>, id: i64, state: &str, who: &str, note: &str) -> Result<bool, Error> {
    let sql = "UPDATE held SET state = ?2, closed_at = ?3, closed_by = ?4, note = seal('held.note', id, ?5)
               WHERE id = ?1 AND state = 'open'
               RETURNING leg, reason, until IS NOT NULL";
    let closed = tx.all("close a held item", sql, (id, state, tx.now, who, note), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
    })?;
    for (leg, reason, waited) in &closed {
        tx.run("wait no longer", "DELETE FROM waiting WHERE held_id = ?1", (id,))?;
        tx.count_held(Leg::parse(leg).as_str(), reason, -1);
        if *waited && state != "dismissed" {
            told_by_the_whole(tx, id)?;
        }
    }
    Ok(!closed.is_empty())
}

/// A part that only waited for others has nothing to say of its own any more: it counts as unchanged.
fn told_by_the_whole(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let sql = "UPDATE disposition SET fate = 'unchanged', held_id = NULL
               WHERE archive_id = (SELECT archive_id FROM held WHERE id = ?1) AND held_id = ?1
               RETURNING type, (SELECT stream_id FROM held WHERE id = ?1)";
    let moved =
        tx.all("count a part that waited", sql, (id,), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    for (kind, stream) in moved {
        tx.count(stream, ledger::kind(&kind)?, Some("held"), Some("unchanged"));
    }
    Ok(())
}

fn close_all(tx: &mut Tx<'_>, ids: Vec<i64>, note: &str) -> Result<(), Error> {
    for id in ids {
        close(tx, id, "superseded", "hisync", note)?;
    }
    Ok(())
}

/// Closes what a newer held record of the same entity (or with the same bytes) replaces.
pub(super) fn supersede_older(
    tx: &mut Tx<'_>,
    stream: i64,
    entity: Option<i64>,
    digest: &Hash,
    archive: i64,
) -> Result<(), Error> {
    let read = |row: &rusqlite::Row<'_>| row.get(0);
    let older = match entity {
        Some(entity) => tx.all(
            "look for held items",
            "SELECT id FROM held WHERE entity_id = ?1 AND stream_id = ?2 AND leg = 'record' AND state = 'open'
               AND archive_id < ?3",
            (entity, stream, archive),
            read,
        )?,
        None => tx.all(
            "look for held items",
            "SELECT id FROM held WHERE stream_id = ?1 AND digest = ?2 AND leg = 'record' AND state = 'open'
               AND entity_id IS NULL AND archive_id < ?3",
            (stream, digest, archive),
            read,
        )?,
    };
    close_all(tx, older, "a newer record is held")
}

/// Closes the items of an entity whose records its parts have overtaken: the entity is fine as a whole.
pub(super) fn supersede_covered(tx: &mut Tx<'_>, entity: i64) -> Result<(), Error> {
    let settled = tx.all(
        "look for held items",
        "SELECT h.id, p.archive_id > h.archive_id FROM held h
         JOIN part p ON p.entity_id = h.entity_id AND p.stream_id = h.stream_id
         WHERE h.entity_id = ?1 AND h.leg = 'record' AND h.state = 'open' AND p.archive_id >= h.archive_id",
        (entity,),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (id, overtaken) in settled {
        // The very record that is held may be fine now that another stream's part has come.
        let (state, note) =
            if overtaken { ("superseded", "a newer record is fine") } else { ("retried", "fine as a whole") };
        close(tx, id, state, "hisync", note)?;
    }
    Ok(())
}

/// Closes what upstream refused of entities once it has a newer version: `delivered` lists the outbox
/// entries that it has.
pub(super) fn supersede_refused(tx: &mut Tx<'_>, delivered: &str) -> Result<(), Error> {
    let older = tx.all(
        "look for held items",
        "SELECT h.id FROM json_each(?1) j CROSS JOIN outbox o ON o.id = j.value
         CROSS JOIN held h ON h.entity_id = o.entity_id
         WHERE h.leg = 'outbox' AND h.state = 'open' AND h.event_id < o.id",
        (delivered,),
        |row| row.get(0),
    )?;
    close_all(tx, older, "a newer version is delivered")
}

/// The open items of an archived record.
pub(super) fn open_of_archive(tx: &Tx<'_>, archive: i64) -> Result<Vec<i64>, Error> {
    let sql = "SELECT id FROM held WHERE archive_id = ?1 AND leg = 'record' AND state = 'open'";
    tx.all("look for held items", sql, (archive,), |row| row.get(0))
}

/// Writes down what a person did.
pub(super) fn audit(tx: &Tx<'_>, who: &str, act: &str, subject: &str, detail: &str) -> Result<(), Error> {
    super::audit::append(tx, who, act, subject, detail)
}

struct Item {
    leg: Leg,
    open: bool,
    stream: i64,
    event: Option<i64>,
    entity: Option<i64>,
    archive: Option<i64>,
}

fn item(tx: &Tx<'_>, id: i64) -> Result<Item, Error> {
    let sql = "SELECT leg, state, stream_id, event_id, entity_id, archive_id FROM held WHERE id = ?1";
    let found = tx.one("read a held item", sql, (id,), |row| {
        Ok(Item {
            leg: Leg::parse(row.get_ref(0)?.as_str()?),
            open: row.get_ref(1)?.as_str()? == "open",
            stream: row.get(2)?,
            event: row.get(3)?,
            entity: row.get(4)?,
            archive: row.get(5)?,
        })
    })?;
    found.ok_or(Error::NotFound { what: "held item", id })
}

/// Sends a refused event again under the same id.
pub(super) fn retry_outbox(tx: &mut Tx<'_>, id: i64, who: &str) -> Result<(), Error> {
    let item = item(tx, id)?;
    let (Leg::Outbox, Some(event)) = (item.leg, item.event) else {
        return Err(Error::Refused("this held item is no refused event"));
    };
    if !item.open {
        return Err(Error::Refused("this held item is closed"));
    }
    super::outbox::requeue(tx, event)?;
    close(tx, id, "retried", who, "sent again")?;
    audit(tx, who, "held-retry", &format!("held/{id}"), "")
}

/// Carries out a bulk withdrawal, answering how many entities were withdrawn; or lets a version
/// follow of which only the change was doubted.
pub(super) fn release(tx: &mut Tx<'_>, id: i64, who: &str) -> Result<u32, Error> {
    let withdrawn = release_item(tx, id, who)?;
    super::dictionary::reconsider(tx)?;
    Ok(withdrawn)
}

fn release_item(tx: &mut Tx<'_>, id: i64, who: &str) -> Result<u32, Error> {
    let item = item(tx, id)?;
    if !item.open {
        return Err(Error::Refused("this held item is closed"));
    }
    let sql = "SELECT source FROM stream WHERE id = ?1";
    let source: String = tx
        .one("read the stream", sql, (item.stream,), |row| row.get(0))?
        .ok_or(Error::NotFound { what: "stream", id: item.stream })?;
    if item.leg == Leg::Change {
        let released = guard::release(tx, id, item.stream, &source, "released", who, "")?;
        audit(tx, who, "held-release", &format!("held/{id}"), &format!("{released} changes"))?;
        return Ok(0);
    }
    if item.leg == Leg::Start {
        onboarding::start(tx, item.stream, who, "")?;
        audit(tx, who, "held-release", &format!("held/{id}"), "the stream delivers")?;
        return Ok(0);
    }
    if item.leg != Leg::Withdrawal {
        release_change(tx, id, &item, &source, who)?;
        audit(tx, who, "held-release", &format!("held/{id}"), "")?;
        return Ok(0);
    }
    let origin = Origin { stream: item.stream, source: &source, mapping: 0, mapping_version: "", archive: None };
    // Those that came back since, or that another record has withdrawn, are left alone.
    let missing = tx.all(
        "read what a bulk withdrawal takes back",
        "SELECT m.entity_id FROM held_member m JOIN part p ON p.entity_id = m.entity_id AND p.stream_id = ?2
         WHERE m.held_id = ?1 AND p.missing <> 0 AND p.absent IS NULL",
        (id, item.stream),
        |row| row.get(0),
    )?;
    let mut withdrawn = 0;
    for entity in missing {
        withdrawn += u32::from(snapshot::withdraw(tx, origin, entity)?);
    }
    withdrawn += upstream::release_excess(tx, id, item.stream, &source)?;
    close(tx, id, "released", who, "")?;
    audit(tx, who, "held-release", &format!("held/{id}"), &format!("{withdrawn} withdrawn"))?;
    Ok(withdrawn)
}

/// Lets a version follow whose parts are all fine: only that it follows the one before was doubted.
fn release_change(tx: &mut Tx<'_>, id: i64, item: &Item, source: &str, who: &str) -> Result<(), Error> {
    let refused = || Error::Refused("this item is not one to release; retry or dismiss it");
    let (Leg::Record, Some(entity), Some(archive)) = (item.leg, item.entity, item.archive) else {
        return Err(refused());
    };
    // The record that is held is the latest part of the entity: it was vouched for by itself.
    guard::follow(tx, id, (item.stream, source), entity, archive)?.ok_or_else(refused)?;
    super::attachments::release(tx, entity)?;
    close(tx, id, "released", who, "")?;
    supersede_covered(tx, entity)
}

/// Closes an item without doing what it asks for. It stays counted as held (P3).
pub(super) fn dismiss(tx: &mut Tx<'_>, id: i64, who: &str, reason: &str) -> Result<(), Error> {
    let item = item(tx, id)?;
    if !close(tx, id, "dismissed", who, reason)? {
        return Err(Error::Refused("this held item is closed"));
    }
    if item.leg == Leg::Withdrawal {
        snapshot::refuse(tx, id, item.stream)?;
    }
    if let (Leg::Record, Some(archive)) = (item.leg, item.archive) {
        super::codes::forget(tx, archive)?;
    }
    audit(tx, who, "held-dismiss", &format!("held/{id}"), reason)
}

/// Opens the item of an event that upstream refuses.
pub(super) fn refused(tx: &mut Tx<'_>, event: i64, kind: &'static str, code: &str, message: &str) -> Result<(), Error> {
    // The event's own row may be gone, and with it what it was made from.
    let sql = "SELECT o.stream_id, o.entity_id, e.archive_id, e.mapping_id
               FROM outbox o LEFT JOIN event e ON e.id = o.id WHERE o.id = ?1";
    let found = tx.one("read an event", sql, (event,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
    })?;
    let (stream, entity, archive, mapping) = found.ok_or(Error::NotFound { what: "outbox entry", id: event })?;
    let finding = crate::model::Finding::new(code, crate::model::Severity::Hold, "", message);
    let findings = serde_json::to_string(&[finding]).map_err(|_| Error::Unreadable("a finding"))?;
    let item = New {
        leg: Leg::Outbox,
        stream,
        archive,
        event: Some(event),
        kind,
        entity: Some(entity),
        digest: None,
        mapping,
        reason: code,
        findings: &findings,
        until: None,
    };
    open(tx, item)?;
    Ok(())
}
