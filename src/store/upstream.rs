//! What upstream is known to have: its last acknowledged version of each entity, the highest sequence that it knows,
//! and what is done where a comparison shows that it has something else.
//!
//! A store that is new (or was lost) asks upstream first and begins with what that has ([`learn`]): what the sources
//! then say again is unchanged, and nothing is sent twice. What no source says any more stands out: it is in the
//! ledger without a part. Taking that back is a person's decision.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::held::{self, Leg};
use super::ledger::{self, Ledger, Origin, Whole};
use super::outbox::{list, promote};
use super::prepare::Hash;
use super::reader::Reader;
use super::snapshot::MISSING;
use super::writer::{Shared, Tx};
use super::{Error, Store, attachments};
use crate::model::digest::{self, Sum};
use crate::model::{EntityKey, EntityType, EventKind, Finding, Sequence, Severity};

/// The reason code of what upstream has and no source says.
pub(super) const EXCESS: &str = "upstream-excess";

/// Keys that a held item lists; all of them are kept beside it.
const LISTED: usize = 100;

/// No clock is in the year 2200: a sequence beyond it is none of ours, and would stand in the way of every later one.
const HIGHEST: u64 = 7_258_118_400_000_000;

/// A version that upstream says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirVersion {
    /// Of which entity.
    pub key: EntityKey,
    /// Its sequence.
    pub sequence: Sequence,
    /// Its content hash.
    pub hash: Hash,
    /// Whether it is a withdrawal.
    pub withdrawn: bool,
    /// Days since 1970 (UTC) of its event's time.
    pub day: i64,
}

impl TheirVersion {
    /// Whether it can be a version that an agent made.
    pub fn is_plausible(&self) -> bool {
        self.key.entity != EntityType::CriticalValue && (1..=HIGHEST).contains(&self.sequence.0)
    }
}

/// A version that upstream has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgedVersion {
    /// The entity's row.
    pub entity_id: i64,
    /// Its key.
    pub key: String,
    /// The version's sequence.
    pub sequence: Sequence,
    /// Its content hash.
    pub hash: Hash,
    /// Whether it is a withdrawal.
    pub withdrawn: bool,
}

/// What was done about what a comparison with upstream found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Healed {
    /// Events that are sent again under their ids.
    pub resent: u64,
    /// New versions, because upstream knows a later sequence than this store, or another content under the same.
    pub revised: u64,
    /// Versions of upstream that say what the ledger says: noted as acknowledged.
    pub adopted: u64,
    /// Entities that only upstream knows, noted in the ledger.
    pub seeded: u64,
    /// Left alone: they are on their way already, or held for a person.
    pub pending: u64,
}

impl Healed {
    /// Adds what another call did.
    pub fn add(&mut self, other: Healed) {
        self.resent += other.resent;
        self.revised += other.revised;
        self.adopted += other.adopted;
        self.seeded += other.seeded;
        self.pending += other.pending;
    }
}

/// Notes what upstream has acknowledged; `ids` lists outbox entries (JSON).
pub(super) fn acknowledged(tx: &Tx<'_>, ids: &str) -> Result<(), Error> {
    let sql = "INSERT INTO acknowledged (entity_id, type, day, sequence, hash, withdrawn)
               SELECT e.entity_id, n.type, e.created_at / 86400000000, e.sequence, e.hash, e.kind = 'withdrawn'
               FROM json_each(?1) j CROSS JOIN event e ON e.id = j.value CROSS JOIN entity n ON n.id = e.entity_id
               WHERE n.type <> 'critical_value'
               ON CONFLICT DO UPDATE SET day = excluded.day, sequence = excluded.sequence, hash = excluded.hash,
                 withdrawn = excluded.withdrawn WHERE excluded.sequence >= acknowledged.sequence";
    tx.run("note what upstream has", sql, (ids,))?;
    Ok(())
}

/// Reads the floor of sequences when the store is opened.
pub(super) fn load_floor(conn: &Connection, shared: &Shared) -> Result<(), Error> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM sequence_floor";
    let floor: i64 = conn.query_row(sql, (), |row| row.get(0)).map_err(Error::sqlite("read the sequence floor"))?;
    shared.floor.store(floor, Ordering::Release);
    Ok(())
}

/// No event is made at or below this sequence from now on.
pub(super) fn raise(tx: &Tx<'_>, sequence: Sequence) -> Result<(), Error> {
    if sequence.0 > HIGHEST {
        return Err(Error::Refused("upstream names a sequence that no agent can have made"));
    }
    let sql = "INSERT INTO sequence_floor (id, sequence, learned_at) VALUES (1, ?1, ?2)
               ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)";
    tx.run("raise the sequence floor", sql, (sequence.0 as i64, tx.now))?;
    // A transaction that fails leaves it raised: a sequence may always be higher than it has to be.
    tx.shared.floor.fetch_max(sequence.0 as i64, Ordering::AcqRel);
    Ok(())
}

/// Notes that upstream is asked for what it has; answers whether that is to be done: the store is new, or an earlier
/// time did not come to its end.
pub(super) fn begin_learning(tx: &Tx<'_>) -> Result<bool, Error> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM entity), (SELECT learned_at IS NULL FROM sequence_floor)";
    let (empty, unfinished) = tx
        .one("look whether the store is new", sql, (), |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, Option<bool>>(1)?))
        })?
        .unwrap_or_default();
    if !(empty && unfinished.is_none()) && unfinished != Some(true) {
        return Ok(false);
    }
    let sql = "INSERT OR IGNORE INTO sequence_floor (id, sequence, learned_at) VALUES (1, 0, NULL)";
    tx.run("begin with what upstream has", sql, ())?;
    Ok(true)
}

/// Notes that all of it is known, or that it never will be (upstream can't tell).
pub(super) fn end_learning(tx: &Tx<'_>) -> Result<(), Error> {
    tx.run("end with what upstream has", "UPDATE sequence_floor SET learned_at = ?1", (tx.now,))?;
    Ok(())
}

/// Begins the ledger with what upstream has. What the ledger knows already stays; answers how many it did not know.
pub(super) fn learn(tx: &mut Tx<'_>, theirs: &[TheirVersion]) -> Result<u64, Error> {
    let mut seeded = 0;
    for their in theirs.iter().filter(|their| their.is_plausible()) {
        if ledger::find(tx, &their.key)?.is_none_or(|known| known.sequence == Sequence::default()) {
            seed(tx, their)?;
            seeded += 1;
        }
    }
    Ok(seeded)
}

fn seed(tx: &Tx<'_>, their: &TheirVersion) -> Result<(), Error> {
    let entity = match ledger::find(tx, &their.key)? {
        Some(known) => known.id,
        None => ledger::create(tx, &their.key)?.id,
    };
    adopt(tx, entity, their)
}

/// Takes upstream's version for the newest one of the entity.
fn adopt(tx: &Tx<'_>, entity: i64, their: &TheirVersion) -> Result<(), Error> {
    let state = if their.withdrawn { "withdrawn" } else { "present" };
    let hash = (!their.withdrawn).then_some(their.hash);
    let sql = "UPDATE entity SET state = ?2, sequence = ?3, hash = coalesce(?4, hash) WHERE id = ?1";
    tx.run("note what upstream has", sql, (entity, state, their.sequence.0 as i64, hash))?;
    let sql = "INSERT INTO acknowledged (entity_id, type, day, sequence, hash, withdrawn)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET day = excluded.day, sequence = excluded.sequence, hash = excluded.hash,
                 withdrawn = excluded.withdrawn";
    let of = their.key.entity.as_str();
    tx.run(
        "note what upstream has",
        sql,
        (entity, of, their.day, their.sequence.0 as i64, their.hash, their.withdrawn),
    )?;
    Ok(())
}

/// Does what a comparison calls for. `lost` are rows of entities of which upstream lacks the acknowledged version;
/// `theirs` are versions that upstream has and that are not the acknowledged ones.
pub(super) fn heal(tx: &mut Tx<'_>, lost: &[i64], theirs: &[TheirVersion]) -> Result<Healed, Error> {
    let mut healed = Healed::default();
    for entity in lost {
        send_again(tx, *entity, &mut healed)?;
    }
    for their in theirs.iter().filter(|their| their.is_plausible()) {
        match ledger::find(tx, &their.key)? {
            None => {
                seed(tx, their)?;
                healed.seeded += 1;
            }
            // Only held so far.
            Some(known) if known.sequence == Sequence::default() => {
                seed(tx, their)?;
                healed.seeded += 1;
            }
            // Ours is later: it is on its way, or found lost where it belongs.
            Some(known) if known.sequence > their.sequence => {}
            Some(known) => differs(tx, &known, their, &mut healed)?,
        }
    }
    Ok(healed)
}

/// Upstream has a version at or after the ledger's newest.
fn differs(tx: &mut Tx<'_>, known: &Ledger, their: &TheirVersion, healed: &mut Healed) -> Result<(), Error> {
    let sql = "SELECT 1 FROM event WHERE entity_id = ?1 AND sequence = ?2 AND hash = ?3 LIMIT 1";
    let same = tx.one("look for an event", sql, (known.id, their.sequence.0 as i64, their.hash), |_| Ok(()))?;
    if known.sequence == their.sequence && same.is_some() {
        // Its receipt is on the way, or has come since the two sides were compared.
        healed.pending += 1;
        return Ok(());
    }
    let agrees = known.present != their.withdrawn && (their.withdrawn || known.hash == Some(their.hash));
    if agrees && their.sequence > known.sequence {
        adopt(tx, known.id, their)?;
        healed.adopted += 1;
        return Ok(());
    }
    let sql = "UPDATE entity SET sequence = max(sequence, ?2) WHERE id = ?1";
    tx.run("follow upstream's sequence", sql, (known.id, their.sequence.0 as i64))?;
    match revise(tx, known.id)? {
        true => healed.revised += 1,
        false => healed.pending += 1,
    }
    Ok(())
}

/// The newest event of an entity and where its delivery stands.
struct Newest {
    id: i64,
    state: String,
    stream: i64,
    source: String,
    counts: bool,
    sequence: i64,
    withdrawn: bool,
    mapping: i64,
    mapping_version: String,
    archive: Option<i64>,
    content: i64,
    size: i64,
    hash: Hash,
}

fn newest(tx: &Tx<'_>, entity: i64) -> Result<Option<Newest>, Error> {
    let sql = "SELECT o.id, o.state, o.stream_id, s.source, o.counts, e.sequence, e.kind = 'withdrawn', e.mapping_id,
                 coalesce(m.version, ''), e.archive_id, c.id, c.size, e.hash
               FROM outbox o JOIN stream s ON s.id = o.stream_id JOIN event e ON e.id = o.id
               JOIN content c ON c.id = e.content_id LEFT JOIN mapping m ON m.id = e.mapping_id
               WHERE o.id = (SELECT max(x.id) FROM outbox x WHERE x.entity_id = ?1)";
    tx.one("read the newest event", sql, (entity,), |row| {
        Ok(Newest {
            id: row.get(0)?,
            state: row.get(1)?,
            stream: row.get(2)?,
            source: row.get(3)?,
            counts: row.get::<_, i64>(4)? == 1,
            sequence: row.get(5)?,
            withdrawn: row.get(6)?,
            mapping: row.get(7)?,
            mapping_version: row.get(8)?,
            archive: row.get(9)?,
            content: row.get(10)?,
            size: row.get(11)?,
            hash: row.get(12)?,
        })
    })
}

/// Sends the acknowledged version of an entity again under its id; a new version where its event is not kept any more.
fn send_again(tx: &mut Tx<'_>, entity: i64, healed: &mut Healed) -> Result<(), Error> {
    let sql = "SELECT sequence FROM acknowledged WHERE entity_id = ?1";
    let acknowledged: Option<i64> = tx.one("read what upstream has", sql, (entity,), |row| row.get(0))?;
    let newest = newest(tx, entity)?;
    match newest {
        Some(newest) if newest.state != "delivered" => healed.pending += 1,
        Some(newest) if Some(newest.sequence) == acknowledged => {
            let sql =
                "UPDATE outbox SET state = 'queued', done_at = NULL, ready_at = NULL WHERE id = ?1 RETURNING size";
            let sizes = tx.all("send an event again", sql, (newest.id,), |row| row.get::<_, i64>(0))?;
            tx.count_bytes(sizes.iter().sum());
            tx.count_outbox(Some("delivered"), "queued", 1);
            if newest.counts {
                let kind = ledger::key_of(tx, entity)?.entity.as_str();
                tx.count(newest.stream, kind, Some("delivered"), Some("queued"));
            }
            attachments::want(tx, newest.id)?;
            promote(tx, &list(&[entity]))?;
            healed.resent += 1;
        }
        _ => match revise(tx, entity)? {
            true => healed.revised += 1,
            false => healed.pending += 1,
        },
    }
    Ok(())
}

/// Makes a new version of an entity that says what the ledger's newest says; `false` where there is nothing to say it
/// from, or a person is asked already.
fn revise(tx: &mut Tx<'_>, entity: i64) -> Result<bool, Error> {
    let key = ledger::key_of(tx, entity)?;
    let Some(mut known) = ledger::find(tx, &key)? else { return Ok(false) };
    let newest = newest(tx, entity)?;
    if newest.as_ref().is_some_and(|newest| newest.state == "held") {
        return Ok(false);
    }
    let absent = (!known.present).then(|| MISSING.to_owned());
    let event = match newest.filter(|newest| newest.withdrawn != known.present) {
        Some(newest) => {
            let origin = Origin {
                stream: newest.stream,
                source: &newest.source,
                mapping: newest.mapping,
                mapping_version: &newest.mapping_version,
                archive: newest.archive,
            };
            let whole = Whole { absent, hash: newest.hash, content: newest.content, size: newest.size };
            tell(tx, origin, &key, &mut known, &whole)?.map(|event| (event, newest.stream))
        }
        None => from_parts(tx, entity, &key, &mut known)?,
    };
    let Some((_, stream)) = event else { return Ok(false) };
    // No record says it, but it is a version like any other: it counts in the sums (P3).
    tx.count(stream, key.entity.as_str(), None, Some("queued"));
    Ok(true)
}

/// The version is made from the entity's parts, where they say what the ledger says.
fn from_parts(tx: &mut Tx<'_>, entity: i64, key: &EntityKey, known: &mut Ledger) -> Result<Option<(i64, i64)>, Error> {
    let sql = "SELECT p.stream_id, s.source, p.mapping_id, m.version, p.archive_id FROM part p
               JOIN stream s ON s.id = p.stream_id JOIN mapping m ON m.id = p.mapping_id
               WHERE p.entity_id = ?1 ORDER BY p.archive_id DESC LIMIT 1";
    let part = tx.one("read an entity's parts", sql, (entity,), |row| {
        let (source, version) = (row.get::<_, String>(1)?, row.get::<_, String>(3)?);
        Ok((row.get::<_, i64>(0)?, source, row.get::<_, i64>(2)?, version, row.get::<_, i64>(4)?))
    })?;
    let Some((stream, source, mapping, version, archive)) = part else { return Ok(None) };
    let Ok(whole) = ledger::compose(tx, key, entity)? else { return Ok(None) };
    let says = match whole.absent {
        None => known.present && known.hash == Some(whole.hash),
        Some(_) => !known.present,
    };
    if !says {
        // A version that is held stands between the two.
        return Ok(None);
    }
    let origin = Origin { stream, source: &source, mapping, mapping_version: &version, archive: Some(archive) };
    Ok(tell(tx, origin, key, known, &whole)?.map(|event| (event, stream)))
}

fn tell(
    tx: &mut Tx<'_>,
    origin: Origin<'_>,
    key: &EntityKey,
    known: &mut Ledger,
    whole: &Whole,
) -> Result<Option<i64>, Error> {
    if whole.absent.is_some() {
        // What upstream has is to be taken back, whatever the ledger believed.
        known.present = true;
        return ledger::settle_entity(tx, origin, key, known, whole);
    }
    let compared = known.hash.unwrap_or(whole.hash);
    ledger::event(tx, origin, key, known, EventKind::telling(key.entity), whole, compared).map(Some)
}

/// Brings the held item of a type up to date that lists what upstream has and no source says; answers how many
/// entities it lists. `streams` are the names of those that yield the type.
pub(super) fn hold_excess(
    tx: &mut Tx<'_>,
    entity: EntityType,
    entities: &[i64],
    streams: &[String],
) -> Result<u64, Error> {
    let sql = "SELECT id FROM held WHERE type = ?1 AND leg = 'withdrawal' AND state = 'open' AND reason = ?2";
    let open: Option<i64> = tx.one("look for a held item", sql, (entity.as_str(), EXCESS), |row| row.get(0))?;
    let sql =
        "SELECT n.id, opened('entity.key', NULL, n.key) FROM json_each(?1) j CROSS JOIN entity n ON n.id = j.value
               WHERE n.state = 'present' AND NOT EXISTS (SELECT 1 FROM part p WHERE p.entity_id = n.id)";
    let members = tx.all("read what upstream has in excess", sql, (list(entities),), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    if members.is_empty() {
        if let Some(id) = open {
            held::close(tx, id, "superseded", "hisync", "upstream has nothing in excess any more")?;
        }
        return Ok(0);
    }
    let count = members.len() as u64;
    let text = format!("upstream has {count} entities that no source says: release withdraws them");
    let mut findings = vec![Finding::new(EXCESS, Severity::Hold, "", text)];
    findings.extend(members.iter().take(LISTED).map(|(_, key)| {
        let subject = EntityKey::new(entity, key.clone()).subject();
        Finding::new(MISSING, Severity::Info, "", "no source says this").value(subject)
    }));
    let scope = members.first().and_then(|(_, key)| key.split(':').nth(1).map(str::to_owned)).unwrap_or_default();
    let names = serde_json::to_string(streams).map_err(|_| Error::Unreadable("a stream's name"))?;
    let sql =
        "SELECT id FROM stream WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY source = ?2 DESC, id LIMIT 1";
    let stream: Option<i64> = tx.one("read the streams", sql, (names, scope), |row| row.get(0))?;
    let Some(stream) = stream else { return Ok(count) };
    let entities: Vec<i64> = members.into_iter().map(|(id, _)| id).collect();
    list_held(tx, open, stream, entity.as_str(), EXCESS, &findings, &entities)?;
    Ok(count)
}

/// Opens the item of a bulk withdrawal, or brings the open one up to date.
pub(super) fn list_held(
    tx: &mut Tx<'_>,
    open: Option<i64>,
    stream: i64,
    kind: &'static str,
    reason: &str,
    findings: &[Finding],
    entities: &[i64],
) -> Result<(), Error> {
    let findings = serde_json::to_string(findings).map_err(|_| Error::Unreadable("a finding"))?;
    let id = match open {
        Some(id) => {
            tx.run(
                "update a held item",
                "UPDATE held SET findings = seal('held.findings', id, ?2) WHERE id = ?1",
                (id, &findings),
            )?;
            tx.run("update a held item", "DELETE FROM held_member WHERE held_id = ?1", (id,))?;
            id
        }
        None => held::open(
            tx,
            held::New {
                leg: Leg::Withdrawal,
                stream,
                archive: None,
                event: None,
                kind,
                entity: None,
                digest: None,
                mapping: None,
                reason,
                findings: &findings,
                until: None,
            },
        )?,
    };
    let sql = "INSERT INTO held_member (held_id, entity_id) SELECT ?1, value FROM json_each(?2)";
    tx.run("list a held item", sql, (id, list(entities)))?;
    Ok(())
}

/// Withdraws what an item lists and still no source says; answers how many.
pub(super) fn release_excess(tx: &mut Tx<'_>, held: i64, stream: i64, source: &str) -> Result<u32, Error> {
    let sql = "SELECT m.entity_id FROM held_member m JOIN entity n ON n.id = m.entity_id
               WHERE m.held_id = ?1 AND n.state = 'present'
                 AND NOT EXISTS (SELECT 1 FROM part p WHERE p.entity_id = m.entity_id)
                 AND NOT EXISTS (SELECT 1 FROM held h WHERE h.entity_id = m.entity_id AND h.leg = 'record'
                                   AND h.state IN ('open', 'dismissed'))";
    let members: Vec<i64> = tx.all("read what upstream has in excess", sql, (held,), |row| row.get(0))?;
    if members.is_empty() {
        return Ok(0);
    }
    let sql = "SELECT id, version FROM mapping ORDER BY id DESC LIMIT 1";
    let (mapping, version) = tx
        .one("read the mapping's row", sql, (), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
        .unwrap_or_default();
    let mut withdrawn = 0;
    for entity in members {
        let key = ledger::key_of(tx, entity)?;
        let Some(known) = ledger::find(tx, &key)? else { continue };
        let origin = Origin { stream, source, mapping, mapping_version: &version, archive: None };
        let gone = Whole { absent: Some(MISSING.to_owned()), hash: Hash::default(), content: 0, size: 0 };
        if ledger::settle_entity(tx, origin, &key, &known, &gone)?.is_some() {
            tx.count(stream, key.entity.as_str(), None, Some("queued"));
            withdrawn += 1;
        }
    }
    Ok(withdrawn)
}

impl Store {
    /// Notes that upstream is to be asked for what it has, and answers whether: the store is new, or was lost.
    pub async fn upstream_begin_learning(&self) -> Result<bool, Error> {
        self.write("begin with what upstream has", 1, |tx| begin_learning(tx)).await
    }

    /// Begins the ledger with what upstream has: what the sources say again is unchanged then. What the ledger knows
    /// already stays; answers how many entities it did not know.
    pub async fn upstream_learn(&self, theirs: Vec<TheirVersion>) -> Result<u64, Error> {
        self.write("begin with what upstream has", theirs.len(), move |tx| learn(tx, &theirs)).await
    }

    /// Notes that all of what upstream has is known, or that it can't tell.
    pub async fn upstream_end_learning(&self) -> Result<(), Error> {
        self.write("end with what upstream has", 1, |tx| end_learning(tx)).await
    }

    /// Makes every later event's sequence higher than this one, which upstream knows, whatever the clock says.
    pub async fn upstream_sequence(&self, highest: Sequence) -> Result<(), Error> {
        if highest.0 <= self.inner.shared.floor.load(Ordering::Acquire).unsigned_abs() {
            return Ok(());
        }
        self.write("raise the sequence floor", 1, move |tx| raise(tx, highest)).await
    }

    /// Does what a comparison with upstream calls for: `lost` are rows of entities of which it lacks the acknowledged
    /// version, `theirs` are versions that it has in other places or besides.
    pub async fn upstream_heal(&self, lost: Vec<i64>, theirs: Vec<TheirVersion>) -> Result<Healed, Error> {
        self.write("heal upstream", lost.len() + theirs.len(), move |tx| heal(tx, &lost, &theirs)).await
    }

    /// Lists what upstream has of a type and no source says, in an item held for a person; answers how many entities
    /// those are. `streams` are the names of those that yield the type, each read to its end before.
    pub async fn upstream_excess(&self, entity: EntityType, streams: Vec<String>) -> Result<u64, Error> {
        let excess = self.read(move |reader| reader.excess(entity)).await?;
        self.write("list what upstream has in excess", 1, move |tx| hold_excess(tx, entity, &excess, &streams)).await
    }
}

impl Reader {
    /// What upstream has acknowledged, by entity type and day, added up. Costs a look at each entity.
    pub fn acknowledged_days(&self) -> Result<BTreeMap<(EntityType, i64), Sum>, Error> {
        let sql = "SELECT a.type, a.day, opened('entity.key', NULL, n.key), a.sequence, a.hash FROM acknowledged a JOIN entity n ON n.id = a.entity_id";
        let mut sums: BTreeMap<(EntityType, i64), Sum> = BTreeMap::new();
        self.each(sql, (), |row| {
            let entity = ledger::entity_type(row.get_ref(0).and_then(|text| Ok(text.as_str()?)).map_err(failed())?)?;
            let day = row.get(1).map_err(failed())?;
            let (subject, sequence, hash) = version(entity, row, 2).map_err(failed())?;
            sums.entry((entity, day)).or_default().add(&digest::leaf(&subject, sequence, &hash));
            Ok(())
        })?;
        Ok(sums)
    }

    /// What upstream has acknowledged of one type and day under a prefix, added up by the byte after the prefix.
    pub fn acknowledged_groups(&self, entity: EntityType, day: i64, prefix: &[u8]) -> Result<BTreeMap<u8, Sum>, Error> {
        let sql = "SELECT opened('entity.key', NULL, n.key), a.sequence, a.hash FROM acknowledged a JOIN entity n ON n.id = a.entity_id
                   WHERE a.type = ?1 AND a.day = ?2";
        let mut sums: BTreeMap<u8, Sum> = BTreeMap::new();
        self.each(sql, (entity.as_str(), day), |row| {
            let (subject, sequence, hash) = version(entity, row, 0).map_err(failed())?;
            let place = digest::place(&subject);
            if let (true, Some(next)) = (place.starts_with(prefix), place.get(prefix.len())) {
                sums.entry(*next).or_default().add(&digest::leaf(&subject, sequence, &hash));
            }
            Ok(())
        })?;
        Ok(sums)
    }

    /// The versions that upstream has acknowledged of one type and day under a prefix, by the entity's row, behind
    /// `after` (0 at first), at most `limit`.
    pub fn acknowledged_versions(
        &self,
        entity: EntityType,
        day: i64,
        prefix: &[u8],
        after: i64,
        limit: usize,
    ) -> Result<Vec<AcknowledgedVersion>, Error> {
        let sql =
            "SELECT a.entity_id, opened('entity.key', NULL, n.key), a.sequence, a.hash, a.withdrawn FROM acknowledged a
                   JOIN entity n ON n.id = a.entity_id
                   WHERE a.type = ?1 AND a.day = ?2 AND a.entity_id > ?3 ORDER BY a.entity_id";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed())?;
        let mut rows = statement.query((entity.as_str(), day, after)).map_err(failed())?;
        let mut versions = Vec::new();
        while let Some(row) = rows.next().map_err(failed())? {
            let key: String = row.get(1).map_err(failed())?;
            if !digest::place(&EntityKey::new(entity, key.as_str()).subject()).starts_with(prefix) {
                continue;
            }
            versions.push(AcknowledgedVersion {
                entity_id: row.get(0).map_err(failed())?,
                key,
                sequence: Sequence(row.get::<_, i64>(2).map_err(failed())?.unsigned_abs()),
                hash: row.get(3).map_err(failed())?,
                withdrawn: row.get(4).map_err(failed())?,
            });
            if versions.len() == limit {
                break;
            }
        }
        Ok(versions)
    }

    /// Entities of a type that upstream has and of which no source has said anything, unless a person has refused to
    /// withdraw them. None while a record of the type is held without a key: it could be any of them. Right once every
    /// stream of the type has been read to its end.
    pub fn excess(&self, entity: EntityType) -> Result<Vec<i64>, Error> {
        let sql = "SELECT a.entity_id FROM acknowledged a JOIN entity n ON n.id = a.entity_id
                   WHERE a.type = ?1 AND a.withdrawn = 0 AND n.state = 'present'
                     AND NOT EXISTS (SELECT 1 FROM part p WHERE p.entity_id = a.entity_id)
                     AND NOT EXISTS (SELECT 1 FROM held h WHERE h.entity_id = a.entity_id AND h.leg = 'record'
                                       AND h.state IN ('open', 'dismissed'))
                     AND NOT EXISTS (SELECT 1 FROM held h WHERE h.entity_id IS NULL AND h.leg = 'record'
                                       AND h.state = 'open' AND h.type = ?1)
                     AND NOT EXISTS (SELECT 1 FROM held_member m JOIN held h ON h.id = m.held_id
                                     WHERE m.entity_id = a.entity_id AND h.state = 'dismissed' AND h.reason = ?2)";
        self.all("read what upstream has in excess", sql, (entity.as_str(), EXCESS), |row| row.get(0))
    }

    fn each(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached(sql).map_err(failed())?;
        let mut rows = statement.query(params).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            take(row)?;
        }
        Ok(())
    }
}

fn failed() -> impl FnOnce(rusqlite::Error) -> Error {
    Error::sqlite("read what upstream has")
}

/// Reads `key, sequence, hash` from a column on.
fn version(entity: EntityType, row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<(String, Sequence, Hash)> {
    let key = EntityKey::new(entity, row.get::<_, String>(at)?);
    Ok((key.subject(), Sequence(row.get::<_, i64>(at + 1)?.unsigned_abs()), row.get(at + 2)?))
}
