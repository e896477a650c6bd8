//! Guards over a catalogue: a change set that is doubted is held as one item, and upstream keeps what it has.
//!
//! A snapshot is looked at as a whole before it is applied. Where its changes are doubted, the parts are stored, and no
//! event is made of them: the item lists the entities, and releasing it makes the events from their parts. It is
//! released by a person, or by an equal snapshot some time later; it closes by itself where a later snapshot is within
//! the limits again. And packages whose groups no dictionary knows yet wait here for the dictionary.

use sha2::{Digest as _, Sha256};

use super::Error;
use super::codec::{Packed, unpack};
use super::held::{self, Leg};
use super::ledger::{self, Ledger, Origin, Whole};
use super::prepare::{Batch, Doubtful, Good, Hash, Prepared};
use super::snapshot::MISSING;
use super::writer::Tx;
use crate::model::guard::Change;
use crate::model::{EntityKey, EntityType, Finding, Severity};

/// The reason code of a held change set.
pub(super) const MASS_CHANGE: &str = "mass-change";

/// The reason code of a delivered report that no longer has some of its results.
const RESULT_VANISHED: &str = "result-vanished";

/// Findings that the item lists at most.
const LISTED: usize = 100;

/// What is to be done with a snapshot's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// They follow.
    Free,
    /// They are held under this item.
    Hold(i64),
    /// They follow, and so does what this item held back.
    Release(i64, &'static str),
}

struct Changed<'b> {
    key: &'b EntityKey,
    hash: Hash,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// The stream's last change set.
struct Known {
    held: i64,
    fingerprint: Hash,
    since: i64,
    state: String,
}

/// Looks at a snapshot's changes as a whole, before any of them is applied.
pub(super) fn examine(tx: &mut Tx<'_>, stream: i64, batch: &Batch) -> Result<Decision, Error> {
    let Some(guards) = tx.shared.composer.guards(&batch.stream) else { return Ok(Decision::Free) };
    let outcomes = || batch.records.iter().flat_map(|record| &record.outcomes);
    let mut changed = Vec::new();
    for outcome in outcomes() {
        if let Prepared::Mapped(good) = outcome
            && is_guarded(good.key.entity)
            && let Some(change) = change(tx, good)?
        {
            changed.push(change);
        }
    }
    let known = known(tx, stream)?;
    let open = known.as_ref().filter(|known| known.state == "open").map(|known| known.held);
    let findings = if changed.is_empty() {
        Vec::new()
    } else {
        let changes: Vec<Change<'_>> = changed
            .iter()
            .map(|changed| Change {
                key: changed.key,
                before: changed.before.as_deref(),
                after: changed.after.as_deref(),
            })
            .collect();
        tx.shared.composer.doubt_changes(&batch.stream, &changes, outcomes().count())
    };
    if findings.is_empty() {
        return Ok(open.map_or(Decision::Free, |held| Decision::Release(held, "the changes are within the limits")));
    }
    let fingerprint = fingerprint(&changed);
    if let Some(known) = known.filter(|known| known.fingerprint == fingerprint) {
        let wait = i64::try_from(guards.confirm_after.as_micros()).unwrap_or(i64::MAX);
        match known.state.as_str() {
            "open" if wait > 0 && tx.now.saturating_sub(known.since) >= wait => {
                return Ok(Decision::Release(known.held, "an equal snapshot confirms it"));
            }
            "open" | "dismissed" => return Ok(Decision::Hold(known.held)),
            _ => {}
        }
    }
    let kind = changed.first().map_or(EntityType::ExamPackage, |changed| changed.key.entity);
    hold(tx, stream, kind, open, &fingerprint, findings, changed.len()).map(Decision::Hold)
}

fn is_guarded(entity: EntityType) -> bool {
    matches!(entity, EntityType::ExamPackage | EntityType::ExamItemGroup | EntityType::ExamItem)
}

/// How an outcome would change what upstream has; `None` where it would not.
fn change<'b>(tx: &Tx<'_>, good: &'b Good) -> Result<Option<Changed<'b>>, Error> {
    let ledger = ledger::find(tx, &good.key)?;
    let (present, hash, id) =
        ledger.as_ref().map_or((false, None, 0), |ledger| (ledger.present, ledger.hash, ledger.id));
    let changes = match good.absent {
        None => !present || hash != Some(good.hash),
        Some(_) => present,
    };
    if !changes {
        return Ok(None);
    }
    let before = if present { newest(tx, id)? } else { None };
    let after = match good.absent {
        None => {
            let Packed { codec, size, bytes } = &good.data;
            Some(unpack(*codec, *size, bytes.clone())?)
        }
        Some(_) => None,
    };
    Ok(Some(Changed { key: &good.key, hash: good.hash, before, after }))
}

/// The newest version's data. A damaged one is no reason to stop: the next version is compared with nothing.
fn newest(tx: &Tx<'_>, entity: i64) -> Result<Option<Vec<u8>>, Error> {
    match ledger::data(tx, ledger::NEWEST, entity) {
        Err(Error::Unreadable(_)) => Ok(None),
        data => data,
    }
}

fn fingerprint(changed: &[Changed<'_>]) -> Hash {
    let mut lines: Vec<(String, &Hash, bool)> =
        changed.iter().map(|changed| (changed.key.subject(), &changed.hash, changed.after.is_some())).collect();
    lines.sort();
    let mut digest = Sha256::new();
    for (subject, hash, present) in lines {
        digest.update((subject.len() as u64).to_be_bytes());
        digest.update(subject);
        digest.update(hash);
        digest.update([u8::from(present)]);
    }
    digest.finalize().into()
}

fn known(tx: &Tx<'_>, stream: i64) -> Result<Option<Known>, Error> {
    let sql = "SELECT c.held_id, c.fingerprint, c.since, h.state FROM change_set c JOIN held h ON h.id = c.held_id
               WHERE c.stream_id = ?1";
    tx.one("read a held change set", sql, (stream,), |row| {
        Ok(Known { held: row.get(0)?, fingerprint: row.get(1)?, since: row.get(2)?, state: row.get(3)? })
    })
}

/// Opens the item of a change set, or brings the open one up to date; answers its id.
fn hold(
    tx: &mut Tx<'_>,
    stream: i64,
    kind: EntityType,
    open: Option<i64>,
    fingerprint: &Hash,
    mut findings: Vec<Finding>,
    changes: usize,
) -> Result<i64, Error> {
    let text = format!("{} doubtful changes; all {changes} that came together are held", findings.len());
    findings.truncate(LISTED);
    findings.insert(0, Finding::new(MASS_CHANGE, Severity::Hold, "", text));
    let findings = serde_json::to_string(&findings).map_err(|_| Error::Unreadable("a finding"))?;
    let held = match open {
        Some(held) => {
            tx.run(
                "update a held change set",
                "UPDATE held SET findings = seal('held.findings', id, ?2) WHERE id = ?1",
                (held, &findings),
            )?;
            held
        }
        None => held::open(
            tx,
            held::New {
                leg: Leg::Change,
                stream,
                archive: None,
                event: None,
                kind: kind.as_str(),
                entity: None,
                digest: None,
                mapping: None,
                reason: MASS_CHANGE,
                findings: &findings,
                until: None,
            },
        )?,
    };
    let sql = "INSERT INTO change_set (stream_id, held_id, fingerprint, since) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET held_id = excluded.held_id, fingerprint = excluded.fingerprint,
                 since = excluded.since";
    tx.run("note a held change set", sql, (stream, held, fingerprint, tx.now))?;
    Ok(held)
}

/// The item under which a version is held back; `None` where it may follow. Outside of a snapshot each change is looked
/// at by itself.
pub(super) fn holds(
    tx: &mut Tx<'_>,
    stream: (i64, &str),
    decision: Option<Decision>,
    key: &EntityKey,
    ledger: &Ledger,
    whole: &Whole,
) -> Result<Option<i64>, Error> {
    let changes = match whole.absent {
        None => !ledger.present || ledger.hash != Some(whole.hash),
        Some(_) => ledger.present,
    };
    if !is_guarded(key.entity) || !changes {
        return Ok(None);
    }
    let held = match decision {
        Some(Decision::Hold(held)) => held,
        Some(Decision::Free | Decision::Release(..)) => return Ok(None),
        None if !ledger.present || tx.shared.composer.guards(stream.1).is_none() => return Ok(None),
        None => {
            let before = newest(tx, ledger.id)?;
            let after = match whole.absent {
                None => ledger::data(tx, ledger::CONTENT, whole.content)?,
                Some(_) => None,
            };
            let change = Change { key, before: before.as_deref(), after: after.as_deref() };
            let findings = tx.shared.composer.doubt_changes(stream.1, &[change], usize::MAX / 100);
            if findings.is_empty() {
                return Ok(None);
            }
            let fingerprint = fingerprint(&[Changed { key, hash: whole.hash, before: None, after: after.clone() }]);
            let open = known(tx, stream.0)?.filter(|known| known.state == "open").map(|known| known.held);
            let before = open.map(|held| findings_of(tx, held)).transpose()?.unwrap_or_default();
            let mut all: Vec<Finding> = before.into_iter().filter(|finding| finding.code != MASS_CHANGE).collect();
            findings.into_iter().for_each(|finding| {
                if !all.contains(&finding) {
                    all.push(finding);
                }
            });
            let count = all.len();
            hold(tx, stream.0, key.entity, open, &fingerprint, all, count)?
        }
    };
    let sql = "INSERT OR IGNORE INTO held_member (held_id, entity_id) VALUES (?1, ?2)";
    tx.run("list a held change", sql, (held, ledger.id))?;
    Ok(Some(held))
}

fn findings_of(tx: &Tx<'_>, held: i64) -> Result<Vec<Finding>, Error> {
    let text: Option<String> = tx.one(
        "read a held item",
        "SELECT opened('held.findings', id, findings) FROM held WHERE id = ?1",
        (held,),
        |row| row.get(0),
    )?;
    serde_json::from_str(&text.unwrap_or_default()).map_err(|_| Error::Unreadable("a finding"))
}

/// Lets the changes follow that an item holds back; answers how many entities got a version by it.
pub(super) fn release(
    tx: &mut Tx<'_>,
    held: i64,
    stream: i64,
    source: &str,
    state: &str,
    who: &str,
    note: &str,
) -> Result<u32, Error> {
    let sql = "SELECT m.entity_id, p.archive_id FROM held_member m
               JOIN part p ON p.entity_id = m.entity_id AND p.stream_id = ?2
               WHERE m.held_id = ?1 AND p.missing = 0 AND p.absent IS NOT ?3";
    let members = tx.all("read a held change set", sql, (held, stream, MISSING), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let mut released = 0;
    for (entity, archive) in members {
        if let Some(true) = follow(tx, held, (stream, source), entity, archive)? {
            released += 1;
        }
    }
    held::close(tx, held, state, who, note)?;
    Ok(released)
}

/// Makes the version of an entity from its parts, the latest of which is a held record; `None` where that is not so, or
/// the parts are doubtful together; else whether an event was made.
pub(super) fn follow(
    tx: &mut Tx<'_>,
    held: i64,
    (stream, source): (i64, &str),
    entity: i64,
    archive: i64,
) -> Result<Option<bool>, Error> {
    let sql = "SELECT p.mapping_id, m.version FROM part p JOIN mapping m ON m.id = p.mapping_id
               WHERE p.entity_id = ?1 AND p.stream_id = ?2 AND p.archive_id = ?3";
    let part = tx.one("read a part", sql, (entity, stream, archive), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let Some((mapping, version)) = part else { return Ok(None) };
    let key = ledger::key_of(tx, entity)?;
    let Some(known) = ledger::find(tx, &key)? else { return Ok(None) };
    let Ok(whole) = ledger::compose(tx, &key, entity)? else { return Ok(None) };
    let origin = Origin { stream, source, mapping, mapping_version: &version, archive: Some(archive) };
    let told = told(tx, &key, &known, &whole)?;
    let Some(event) = ledger::settle_told(tx, origin, &key, &known, &whole, told.as_deref())? else {
        return Ok(Some(false));
    };
    // The record was counted as held; now the event that it became counts.
    let sql = "UPDATE disposition SET fate = 'event', event_id = ?3, held_id = NULL WHERE archive_id = ?1
               AND n = (SELECT min(n) FROM disposition WHERE archive_id = ?1 AND held_id = ?2
                          AND (entity_id IS NULL OR entity_id = ?4))";
    let counted = tx.run("release a held item", sql, (archive, held, event, entity))? > 0;
    tx.count(stream, key.entity.as_str(), counted.then_some("held"), Some("queued"));
    Ok(Some(true))
}

/// The data that names what a version lacks, where it was doubted for that.
fn told(tx: &Tx<'_>, key: &EntityKey, known: &Ledger, whole: &Whole) -> Result<Option<Vec<u8>>, Error> {
    if !known.present || whole.absent.is_some() {
        return Ok(None);
    }
    let (Some(before), Some(after)) = (newest(tx, known.id)?, ledger::data(tx, ledger::CONTENT, whole.content)?) else {
        return Ok(None);
    };
    Ok(tx.shared.composer.told_by_release(key, &before, &after))
}

/// The doubt about an entity that names groups, and the codes of those that it waits for.
pub(super) fn doubt_groups(
    tx: &Tx<'_>,
    key: &EntityKey,
    ledger: &Ledger,
    whole: &Whole,
) -> Result<Option<(Doubtful, Vec<String>)>, Error> {
    // Only a package names groups: nothing else is worth reading again.
    let unchanged = ledger.present && ledger.hash == Some(whole.hash);
    if key.entity != EntityType::ExamPackage || whole.absent.is_some() || unchanged {
        return Ok(None);
    }
    let Some(data) = ledger::data(tx, ledger::CONTENT, whole.content)? else { return Ok(None) };
    let named = tx.shared.composer.named_groups(key, &data);
    if named.is_empty() {
        return Ok(None);
    }
    let mut groups = Vec::with_capacity(named.len());
    for code in named {
        let sql = "SELECT c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
                   FROM search s JOIN entity e ON e.id = s.entity_id
                   JOIN part p ON p.entity_id = e.id JOIN content c ON c.id = p.content_id
                   WHERE s.word = same('search.word', ?1) AND e.type = 'exam_item_group' AND p.absent IS NULL LIMIT 1";
        let found = tx.one("look into the dictionary", sql, (&code,), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let data = found.map(|(codec, size, body)| unpack(codec, size, body)).transpose()?;
        groups.push((code, data));
    }
    let Some(doubt) = tx.shared.composer.doubt_groups(key, &groups) else { return Ok(None) };
    let waits: Vec<String> = doubt.findings.iter().filter_map(|finding| finding.source_value.clone()).collect();
    Ok(Some((super::prepare::doubtful(doubt)?, waits)))
}

/// A report lost results, and a later read says the same: then the source means it. Two reads of one moment may both
/// see a report that is being written anew.
const READS_APART: i64 = 60 * 1_000_000;

/// Lets a version follow that was doubted for what it lacks, where its record is read again unchanged.
pub(super) fn agrees(tx: &mut Tx<'_>, (stream, source): (i64, &str), entity: i64) -> Result<(), Error> {
    let sql = "SELECT id, archive_id FROM held WHERE entity_id = ?1 AND stream_id = ?2 AND leg = 'record'
               AND state = 'open' AND reason = ?3 AND opened_at <= ?4 LIMIT 1";
    let of = (entity, stream, RESULT_VANISHED, tx.now.saturating_sub(READS_APART));
    let doubted =
        tx.one("look for a held item", sql, of, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    if let Some((held, Some(archive))) = doubted
        && follow(tx, held, (stream, source), entity, archive)?.is_some()
    {
        held::close(tx, held, "released", "hisync", "a second read agrees")?;
    }
    Ok(())
}

/// Lets a held item wait for entries of the dictionary of groups.
pub(super) fn wait(tx: &Tx<'_>, held: i64, groups: &[String]) -> Result<(), Error> {
    tx.run("wait for a dictionary", "DELETE FROM waiting WHERE held_id = ?1", (held,))?;
    for code in groups {
        let sql = "INSERT OR IGNORE INTO waiting (type, code, held_id) VALUES ('exam_item_group', ?1, ?2)";
        tx.run("wait for a dictionary", sql, (code, held))?;
    }
    Ok(())
}

/// Notes that the dictionary has an entry, or has it anew.
pub(super) fn arrived(tx: &mut Tx<'_>, key: &EntityKey, words: &[String]) {
    if key.entity == EntityType::ExamItemGroup {
        tx.arrived.extend(words.iter().cloned());
    }
}

/// Looks again at what waited for nothing but entries that have arrived.
pub(super) fn reconsider(tx: &mut Tx<'_>) -> Result<(), Error> {
    let arrived = std::mem::take(&mut tx.arrived);
    let mut items = std::collections::BTreeSet::new();
    for code in arrived {
        let sql = "DELETE FROM waiting WHERE type = 'exam_item_group' AND code = ?1 RETURNING held_id";
        items.extend(tx.all("look for what waits", sql, (&code,), |row| row.get::<_, i64>(0))?);
    }
    for held in items {
        let sql = "SELECT 1 FROM waiting WHERE held_id = ?1 LIMIT 1";
        if tx.one("look for what waits", sql, (held,), |_| Ok(()))?.is_some() {
            continue;
        }
        let sql = "SELECT h.stream_id, s.source, s.name, h.entity_id, h.archive_id FROM held h
                   JOIN stream s ON s.id = h.stream_id WHERE h.id = ?1 AND h.state = 'open'";
        let found = tx.one("look for what waits", sql, (held,), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, Option<i64>>(3)?,
                row.get::<_, Option<i64>>(4)?,
            ))
        })?;
        let Some((stream, source, name, Some(entity), Some(archive))) = found else { continue };
        let key = ledger::key_of(tx, entity)?;
        let Ok(whole) = ledger::compose(tx, &key, entity)? else { continue };
        let Some(known) = ledger::find(tx, &key)? else { continue };
        if let Some((doubt, waits)) = doubt_groups(tx, &key, &known, &whole)? {
            let sql = "UPDATE held SET findings = seal('held.findings', id, ?2) WHERE id = ?1";
            tx.run("update a held item", sql, (held, &doubt.findings))?;
            wait(tx, held, &waits)?;
            continue;
        }
        // Beside the dictionary the change itself may be one to look at.
        if let Some(set) = holds(tx, (stream, &name), None, &key, &known, &whole)? {
            let sql = "UPDATE disposition SET held_id = ?2 WHERE archive_id = ?1 AND held_id = ?3";
            tx.run("hold a change", sql, (archive, set, held))?;
            held::close(tx, held, "retried", "hisync", "the dictionary knows its groups")?;
            continue;
        }
        if follow(tx, held, (stream, &source), entity, archive)?.is_some() {
            held::close(tx, held, "retried", "hisync", "the dictionary knows its groups")?;
        }
    }
    Ok(())
}
