//! Entities beside the dictionaries that name what they are made of.
//!
//! A package of unknown groups, a report of unknown items or with another unit than the dictionary's, is held here and
//! waits for the entries that may settle it: when they arrive, or change, it is looked at again and follows by itself.
//! And a group that is turned off is held against the packages that upstream has.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::unpack;
use super::held::{self, Leg};
use super::ledger::{self, Ledger, Whole};
use super::prepare::{Doubtful, Good, Hash, doubtful};
use super::writer::Tx;
use super::{Error, guard};
use crate::model::dictionary::{Compared, Dictionary, is_entry, named};
use crate::model::{Entity, EntityKey, EntityType, Held, Severity};

/// Held items that one commit looks at again; the rest is the next one's.
const AT_ONCE: i64 = 200;

/// Entries that are kept in memory, by the hash of their content. A catalogue that is larger is read again.
const KEPT: usize = 20_000;

/// What waits for nothing any more and is to be looked at again.
const DUE: &str = "due";

/// Entries by the hash of their content, so that nothing in here is ever out of date. `None`: it can't be read.
#[derive(Default)]
pub(super) struct Entries(Mutex<HashMap<Hash, Option<Arc<Entity>>>>);

impl Entries {
    fn get(&self, hash: &Hash) -> Option<Option<Arc<Entity>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn keep(&self, hash: Hash, entry: Option<Arc<Entity>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(hash, entry);
    }
}

/// The dictionaries as the transaction sees them.
struct Shelf<'t, 'a> {
    tx: &'t Tx<'a>,
    failed: RefCell<Option<Error>>,
}

impl Shelf<'_, '_> {
    fn entries(&self, source: Option<&str>, kind: EntityType, code: &str) -> Result<Option<Vec<Arc<Entity>>>, Error> {
        let sql = "SELECT p.hash, p.content_id FROM dictionary d JOIN part p ON p.entity_id = d.entity_id
                   WHERE d.type = ?1 AND d.code = ?2 AND (?3 IS NULL OR d.source = ?3) AND p.absent IS NULL";
        let found = self.tx.all("look into the dictionary", sql, (kind.as_str(), code, source), |row| {
            Ok((row.get::<_, Hash>(0)?, row.get::<_, i64>(1)?))
        })?;
        let mut entries = Vec::with_capacity(found.len());
        let mut known = false;
        for (hash, content) in found {
            let kept = &self.tx.shared.entries;
            let entry = match kept.get(&hash) {
                Some(entry) => entry,
                None => {
                    let data = match ledger::data(self.tx, ledger::CONTENT, content) {
                        Err(Error::Unreadable(_)) => None,
                        data => data?,
                    };
                    let entry = data.and_then(|data| Entity::from_json(kind, &data).ok()).map(Arc::new);
                    kept.keep(hash, entry.clone());
                    entry
                }
            };
            // What can't be read is known all the same; what has another code by now is not it.
            let is_it = entry.as_ref().is_none_or(|entry| named(entry).is_some_and(|own| own == code));
            known |= is_it;
            entries.extend(entry.filter(|_| is_it));
        }
        Ok(known.then_some(entries))
    }
}

impl Dictionary for Shelf<'_, '_> {
    fn look(&self, source: Option<&str>, kind: EntityType, code: &str) -> Option<Vec<Arc<Entity>>> {
        match self.entries(source, kind, code) {
            Ok(entries) => entries,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

/// Compares an entity with the dictionaries. A report that upstream has as it is is not looked at again; what belongs
/// to a catalogue is, since its entries may have changed since.
pub(super) fn compare(tx: &Tx<'_>, key: &EntityKey, ledger: &Ledger, whole: &Whole) -> Result<Compared, Error> {
    let unchanged = ledger.present && ledger.hash == Some(whole.hash);
    if whole.absent.is_some() || key.entity == EntityType::CriticalValue {
        return Ok(Compared::default());
    }
    if unchanged && key.entity == EntityType::ExamReport {
        return Ok(Compared::default());
    }
    let composer = &tx.shared.composer;
    let sql = "SELECT s.name, p.content_id FROM part p JOIN stream s ON s.id = p.stream_id
               WHERE p.entity_id = ?1 AND p.absent IS NULL ORDER BY s.name";
    let found = tx.all("read an entity's parts", sql, (ledger.id,), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    if !found.iter().any(|(stream, _)| composer.compares(key.entity, stream)) {
        return Ok(Compared::default());
    }
    let mut parts = Vec::with_capacity(found.len());
    for (stream, content) in found {
        match ledger::data(tx, ledger::CONTENT, content) {
            // A damaged part must not keep whole batches out of the store; it is told of where it is sent.
            Err(Error::Unreadable(_)) => {}
            data => parts.extend(data?.map(|data| (stream, data))),
        }
    }
    let shelf = Shelf { tx, failed: RefCell::new(None) };
    let compared = composer.compare(key, &parts, &shelf);
    match shelf.failed.into_inner() {
        Some(error) => Err(error),
        None => Ok(compared),
    }
}

/// The doubt that a comparison leaves; `None` where there is none.
pub(super) fn doubt(key: &EntityKey, compared: &Compared) -> Result<Option<Doubtful>, Error> {
    let heaviest = compared.findings.iter().map(|finding| finding.severity).max();
    let Some(weight) = heaviest.filter(|weight| *weight >= Severity::Hold) else { return Ok(None) };
    let reason = compared.findings.iter().find(|finding| finding.severity == weight);
    doubtful(Held {
        entity: Some(key.entity),
        key: Some(key.clone()),
        reason: reason.map(|finding| finding.code.clone()).unwrap_or_default(),
        findings: compared.findings.clone(),
        search: Vec::new(),
    })
    .map(Some)
}

/// The data that goes upstream instead of `data`: with what the comparison found. `None` where it found nothing.
pub(super) fn told(tx: &Tx<'_>, key: &EntityKey, data: &[u8], compared: &Compared) -> Option<Vec<u8>> {
    if compared.findings.is_empty() {
        return None;
    }
    tx.shared.composer.with_issues(key, data, &compared.findings)
}

/// The same for a version of which the data lies in the store.
pub(super) fn told_whole(
    tx: &Tx<'_>,
    key: &EntityKey,
    whole: &Whole,
    compared: &Compared,
) -> Result<Option<Vec<u8>>, Error> {
    if compared.findings.is_empty() || whole.absent.is_some() {
        return Ok(None);
    }
    match ledger::data(tx, ledger::CONTENT, whole.content) {
        Err(Error::Unreadable(_)) => Ok(None),
        data => Ok(data?.and_then(|data| told(tx, key, &data, compared))),
    }
}

/// Lets a held item wait for entries of the dictionaries.
pub(super) fn wait(tx: &Tx<'_>, held: i64, compared: &Compared) -> Result<(), Error> {
    tx.run("wait for a dictionary", "DELETE FROM waiting WHERE held_id = ?1", (held,))?;
    for (kind, code) in &compared.waits {
        let sql = "INSERT OR IGNORE INTO waiting (type, code, held_id) VALUES (?1, ?2, ?3)";
        tx.run("wait for a dictionary", sql, (kind.as_str(), code, held))?;
    }
    Ok(())
}

/// Notes that a dictionary has an entry, has it anew, or has it no more.
pub(super) fn arrived(tx: &mut Tx<'_>, source: &str, good: &Good, entity: i64) -> Result<(), Error> {
    if !is_entry(good.key.entity) {
        return Ok(());
    }
    let data = unpack(good.data.codec, good.data.size, good.data.bytes.clone())?;
    let entry = Entity::from_json(good.key.entity, &data).ok();
    let codes = entry.as_ref().and_then(named).map_or_else(|| good.search.clone(), |code| vec![code.to_owned()]);
    for code in codes {
        let sql = "INSERT OR IGNORE INTO dictionary (type, code, source, entity_id) VALUES (?1, ?2, ?3, ?4)";
        tx.run("add to the dictionary", sql, (good.key.entity.as_str(), &code, source, entity))?;
        tx.arrived.push((good.key.entity, code));
    }
    Ok(())
}

/// Looks again at what waited for nothing but entries that have arrived, and at what a group is made of that is off now.
pub(super) fn reconsider(tx: &mut Tx<'_>) -> Result<(), Error> {
    for (kind, code) in std::mem::take(&mut tx.arrived) {
        let sql = "DELETE FROM waiting WHERE type = ?1 AND code = ?2 RETURNING held_id";
        let waited = tx.all("look for what waits", sql, (kind.as_str(), &code), |row| row.get::<_, i64>(0))?;
        for held in waited {
            let sql = "INSERT OR IGNORE INTO waiting (type, code, held_id)
                       SELECT ?2, '', ?1 WHERE NOT EXISTS (SELECT 1 FROM waiting WHERE held_id = ?1)";
            tx.run("look for what waits", sql, (held, DUE))?;
        }
    }
    let sql = "SELECT held_id FROM waiting WHERE type = ?1 AND code = '' ORDER BY held_id LIMIT ?2";
    let due: Vec<i64> = tx.all("look for what waits", sql, (DUE, AT_ONCE), |row| row.get(0))?;
    for held in due {
        let sql = "DELETE FROM waiting WHERE type = ?1 AND code = '' AND held_id = ?2";
        tx.run("look at a held item again", sql, (DUE, held))?;
        look_again(tx, held)?;
    }
    if std::mem::take(&mut tx.groups_changed) {
        packages_of_what_is_off(tx)?;
    }
    Ok(())
}

fn look_again(tx: &mut Tx<'_>, held: i64) -> Result<(), Error> {
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
    let Some((stream, source, name, Some(entity), Some(archive))) = found else { return Ok(()) };
    let key = ledger::key_of(tx, entity)?;
    let Ok(whole) = ledger::compose(tx, &key, entity)? else { return Ok(()) };
    let Some(known) = ledger::find(tx, &key)? else { return Ok(()) };
    if still_doubted(tx, held, &key, &known, &whole)? {
        return Ok(());
    }
    // Beside the dictionary the change itself may be one to look at.
    if let Some(set) = guard::holds(tx, (stream, &name), None, &key, &known, &whole)? {
        let sql = "UPDATE disposition SET held_id = ?2 WHERE archive_id = ?1 AND held_id = ?3";
        tx.run("hold a change", sql, (archive, set, held))?;
        held::close(tx, held, "retried", "hisync", "it agrees with the dictionary")?;
        return Ok(());
    }
    if guard::follow(tx, held, (stream, &source), entity, archive)?.is_some() {
        held::close(tx, held, "retried", "hisync", "it agrees with the dictionary")?;
    }
    Ok(())
}

/// Whether the dictionaries hold an entity back, for which an item is open already: that says then what it waits for.
pub(super) fn still_doubted(
    tx: &mut Tx<'_>,
    held: i64,
    key: &EntityKey,
    ledger: &Ledger,
    whole: &Whole,
) -> Result<bool, Error> {
    let compared = compare(tx, key, ledger, whole)?;
    let Some(doubt) = doubt(key, &compared)? else { return Ok(false) };
    held::doubt_otherwise(tx, held, &doubt.reason, &doubt.findings)?;
    wait(tx, held, &compared)?;
    Ok(true)
}

/// Holds what upstream has of packages against groups that are off or gone: nothing is taken back, but a person sees
/// that a package is sold that can't be done as it is. Catalogues are small: all of them are looked at.
fn packages_of_what_is_off(tx: &mut Tx<'_>) -> Result<(), Error> {
    let sql = "SELECT e.id, min(p.stream_id), p.archive_id, p.mapping_id, p.digest FROM entity e
               JOIN part p ON p.entity_id = e.id AND p.absent IS NULL
               WHERE e.type = 'exam_package' AND e.state = 'present'
                 AND NOT EXISTS (SELECT 1 FROM held h WHERE h.entity_id = e.id AND h.leg = 'record' AND h.state = 'open')
               GROUP BY e.id";
    let packages = tx.all("look at packages again", sql, (), |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, i64>(3)?,
            row.get::<_, Hash>(4)?,
        ))
    })?;
    for (entity, stream, archive, mapping, digest) in packages {
        let key = ledger::key_of(tx, entity)?;
        let Ok(whole) = ledger::compose(tx, &key, entity)? else { continue };
        let Some(known) = ledger::find(tx, &key)? else { continue };
        let compared = compare(tx, &key, &known, &whole)?;
        let Some(doubt) = doubt(&key, &compared)? else { continue };
        let item = held::New {
            leg: Leg::Record,
            stream,
            archive: Some(archive),
            event: None,
            kind: key.entity.as_str(),
            entity: Some(entity),
            digest: Some(digest),
            mapping: Some(mapping),
            reason: &doubt.reason,
            findings: &doubt.findings,
            until: None,
        };
        let held = held::open(tx, item)?;
        wait(tx, held, &compared)?;
    }
    Ok(())
}
