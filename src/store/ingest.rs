//! Commits a batch: what is new is archived, compared, queued or held, in one transaction (P2).

use std::sync::PoisonError;

use super::codes;
use super::guard::{self, Decision};
use super::held::{self, Leg};
use super::ledger::{self, Ledger, Origin};
use super::prepare::{Batch, Doubtful, Good, Hash, Prepared, Record};
use super::volume::Volume;
use super::writer::{Name, Progress, Tx};
use super::{Committed, Error, RecordReceipt, attachments, dictionary, onboarding, prepare, revision, snapshot};
use crate::model::dictionary::Compared;
use crate::model::{EntityKey, EntityType, Finding, Held, Severity};

/// The stream's row as the batch found it.
struct Stream<'a> {
    id: i64,
    name: &'a str,
    source: &'a str,
    /// The number of this snapshot; 0 where the batch is none.
    scan: i64,
    /// What is to be done with the changes of this snapshot; `None` where the batch is none.
    decision: Option<Decision>,
}

/// The latest part of an entity from the stream.
struct PartRow {
    archive: i64,
    digest: Hash,
    mapping: i64,
    absent: Option<String>,
    hash: Hash,
    content: i64,
    revision: Option<String>,
}

/// What the store knows of an outcome before it is applied.
struct Known {
    ledger: Option<Ledger>,
    part: Option<PartRow>,
    /// The entity has parts from other streams.
    shared: bool,
    /// This very content is what is held (or was dismissed) last.
    held_already: bool,
    /// An open held item is newer than the part.
    held_since: bool,
    /// The archived record with these very bytes, where it is what the stream said last of the entity,
    /// and the mapping that was applied to it.
    same: Option<(i64, i64)>,
}

/// What became of one outcome.
pub(super) enum Fate {
    Event(i64),
    Unchanged,
    Held(i64),
    /// An archived record that something newer has overtaken.
    Superseded,
}

pub(super) fn commit(tx: &mut Tx<'_>, batch: &Batch) -> Result<Committed, Error> {
    let mut stream = open_stream(tx, batch)?;
    if batch.snapshot.is_some() {
        stream.decision = Some(guard::examine(tx, stream.id, batch)?);
    }
    let mut committed = Committed::default();
    let (mut stored, mut resent, mut reread) = (0_i64, 0_i64, 0_i64);
    // A row without identity could be any of those that seem to be missing.
    let mut sound = true;
    for record in &batch.records {
        let mapping = mapping_row(tx, &record.mapping_version)?;
        sound &= record.outcomes.iter().all(|outcome| outcome.key().is_some());
        let receipt = take(tx, &stream, record, mapping)?;
        match receipt {
            RecordReceipt::Stored { .. } => stored += i64::from(record.archived.is_none()),
            RecordReceipt::Resent { .. } => resent += 1,
            RecordReceipt::Reread => reread += 1,
        }
        committed.receipts.push(receipt);
    }
    if let Some(Decision::Release(held, note)) = stream.decision {
        guard::release(tx, held, stream.id, stream.source, "released", "hisync", note)?;
    }
    dictionary::reconsider(tx)?;
    if let Some(policy) = batch.snapshot
        && sound
    {
        let origin =
            Origin { stream: stream.id, source: stream.source, mapping: 0, mapping_version: "", archive: None };
        committed.withdrawn = snapshot::infer(tx, origin, stream.scan, policy)?;
        dictionary::reconsider(tx)?;
    }
    let received = (stored + resent > 0).then_some(tx.now);
    let progress = Progress { records: stored, resent, reread, received_at: received, committed_at: tx.now };
    if batch.advance.is_none() && batch.snapshot.is_none() {
        // A message of its own: the group writes the sums of all of them once.
        tx.progress(stream.id, progress);
        return Ok(committed);
    }
    progress.write(tx.conn, stream.id)?;
    let moved = batch.advance.as_ref().map(|(_, to)| to.as_deref());
    tx.run(
        "move the watermark",
        "UPDATE stream SET scan = max(scan, ?2), watermark = iif(?3, seal('stream.watermark', id, ?4), watermark),
           watermark_at = iif(?3, ?5, watermark_at) WHERE id = ?1",
        (stream.id, stream.scan, moved.is_some(), moved.flatten(), tx.now),
    )?;
    Ok(committed)
}

fn open_stream<'a>(tx: &mut Tx<'_>, batch: &'a Batch) -> Result<Stream<'a>, Error> {
    if batch.advance.is_none()
        && batch.snapshot.is_none()
        && let Some(id) = tx.known(Name::Stream, &batch.stream)
    {
        return Ok(Stream { id, name: &batch.stream, source: &batch.source, scan: 0, decision: None });
    }
    let sql = "SELECT id, scan, opened('stream.watermark', id, watermark) FROM stream WHERE name = ?1";
    let found = tx.one("read the stream", sql, (&batch.stream,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    let (id, scan, watermark) = match found {
        Some(found) => found,
        None => {
            let sql = "INSERT INTO stream (name, source) VALUES (?1, ?2)";
            let id = tx.insert("add the stream", sql, (&batch.stream, &batch.source))?;
            let judged = tx.shared.starts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&batch.stream);
            if judged {
                onboarding::begin(tx, id)?;
            }
            (id, 0, None)
        }
    };
    if let Some((from, _)) = &batch.advance
        && *from != watermark
    {
        return Err(Error::WatermarkMoved { stream: batch.stream.clone() });
    }
    tx.learn(Name::Stream, &batch.stream, id);
    let scan = if batch.snapshot.is_some() { scan + 1 } else { 0 };
    Ok(Stream { id, name: &batch.stream, source: &batch.source, scan, decision: None })
}

pub(super) fn mapping_row(tx: &mut Tx<'_>, version: &str) -> Result<i64, Error> {
    if let Some(id) = tx.known(Name::Mapping, version) {
        return Ok(id);
    }
    let sql = "SELECT id FROM mapping WHERE version = ?1";
    let id = match tx.one("read the mapping's row", sql, (version,), |row| row.get(0))? {
        Some(id) => id,
        None => tx.insert("add the mapping", "INSERT INTO mapping (version) VALUES (?1)", (version,))?,
    };
    tx.learn(Name::Mapping, version, id);
    Ok(id)
}

fn take(tx: &mut Tx<'_>, stream: &Stream<'_>, record: &Record, mapping: i64) -> Result<RecordReceipt, Error> {
    if record.outcomes.is_empty() {
        return Err(Error::Refused("a record came without an outcome"));
    }
    if let Some(archive_id) = record.archived {
        again(tx, stream, record, archive_id, mapping)?;
        return Ok(RecordReceipt::Stored { archive_id });
    }
    if let Some((archive_id, of)) = resent(tx, stream, record)? {
        // What fitted no stream when it came first, and is held for that, has found one.
        if of != stream.id && !record.mapping_version.is_empty() && is_only_held(tx, archive_id)? {
            again(tx, stream, record, archive_id, mapping)?;
        }
        return Ok(RecordReceipt::Resent { archive_id });
    }
    let mut known = Vec::with_capacity(record.outcomes.len());
    let mut news = false;
    for outcome in &record.outcomes {
        let found = look(tx, stream, record, outcome, mapping)?;
        news |= !is_reread(&found, outcome, record, mapping);
        known.push(found);
    }
    if !news {
        for (found, outcome) in known.iter().zip(&record.outcomes) {
            if let (Some(ledger), false) = (&found.ledger, is_alarm(outcome)) {
                seen(tx, stream, ledger.id)?;
                guard::agrees(tx, (stream.id, stream.source), ledger.id)?;
            }
        }
        return Ok(RecordReceipt::Reread);
    }
    // An alarm that an older mapping did not raise makes no new version of its record.
    let settled =
        || known.iter().zip(&record.outcomes).filter(|(_, outcome)| !is_alarm(outcome)).map(|(known, _)| known);
    if let Some(archive) = archived_before(settled, record, mapping) {
        again(tx, stream, record, archive, mapping)?;
        return Ok(RecordReceipt::Reread);
    }
    let archive_id = tx.insert(
        "archive a record",
        "INSERT INTO archive (id, stream_id, received_at, source_ref, resend_key, format, charset, digest, codec, size,
           body)
         SELECT n, ?1, ?2, seal('archive.source_ref', n, ?3), same('archive.resend_key', ?4), ?5, ?6, ?7,
           seal_codec(?8), ?9, seal_body('archive', n, ?10)
         FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'archive'), 0) + 1 AS n)",
        (
            stream.id,
            tx.now,
            &record.source_ref,
            &record.resend_key,
            &record.format,
            &record.charset,
            record.digest,
            record.body.codec,
            record.body.size,
            &record.body.bytes,
        ),
    )?;
    let (raw, packed) = (record.body.size, record.body.bytes.len() as i64 + tx.shared.vault.overhead());
    tx.volume(tx.now, Volume { records: 1, raw, packed, kept_records: 1, kept: packed });
    // What was looked up still holds where no outcome touches the entity of another.
    let apart = record.outcomes.iter().enumerate().all(|(n, outcome)| {
        record.outcomes.len() == 1
            || (outcome.key().is_some() && record.outcomes[..n].iter().all(|other| other.key() != outcome.key()))
    });
    for (n, (outcome, found)) in record.outcomes.iter().zip(known).enumerate() {
        let found = if apart { found } else { look(tx, stream, record, outcome, mapping)? };
        let (entity, fate) = apply(tx, stream, record, outcome, found, archive_id, mapping)?;
        let disposition = Disposition::new(kind_of(outcome), entity, fate);
        tx.count(stream.id, disposition.kind, None, Some(disposition.sum("queued")));
        disposition.write(tx, archive_id, n as i64)?;
    }
    Ok(RecordReceipt::Stored { archive_id })
}

/// The archived record that a poll has read again, under another mapping than before: it is mapped
/// again and no new version of anything. A message that comes again was sent again, and counts.
fn archived_before<'k, I: Iterator<Item = &'k Known>>(
    known: impl Fn() -> I,
    record: &Record,
    mapping: i64,
) -> Option<i64> {
    if record.resend_key.is_some() {
        return None;
    }
    let (archive, _) = known().next()?.same?;
    let one = known().all(|known| known.same.is_some_and(|(of, _)| of == archive));
    let corrected = known().any(|known| known.same.is_some_and(|(_, by)| by != mapping));
    (one && corrected).then_some(archive)
}

/// Whether this tells of a critical value: the one entity that is never missing from a snapshot.
fn is_alarm(outcome: &Prepared) -> bool {
    kind_of(outcome) == EntityType::CriticalValue.as_str()
}

fn kind_of(outcome: &Prepared) -> &'static str {
    match outcome {
        Prepared::Mapped(good) => good.key.entity.as_str(),
        Prepared::Held(doubtful) => doubtful.kind,
    }
}

/// The record's row, and the stream that it came to, where the source has sent it before.
fn resent(tx: &Tx<'_>, stream: &Stream<'_>, record: &Record) -> Result<Option<(i64, i64)>, Error> {
    let Some(key) = &record.resend_key else { return Ok(None) };
    tx.one(
        "look for a resent record",
        "SELECT a.id, s.id FROM archive a JOIN stream s ON s.id = a.stream_id
         WHERE a.resend_key = same('archive.resend_key', ?1) AND a.digest = ?2 AND s.source = ?3 LIMIT 1",
        (key, record.digest, stream.source),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// True where nothing has come of a record but held items.
fn is_only_held(tx: &Tx<'_>, archive: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM disposition WHERE archive_id = ?1 AND fate <> 'held' LIMIT 1";
    Ok(tx.one("read what became of a record", sql, (archive,), |_| Ok(()))?.is_none())
}

fn look(tx: &Tx<'_>, stream: &Stream<'_>, record: &Record, outcome: &Prepared, mapping: i64) -> Result<Known, Error> {
    let mut known =
        Known { ledger: None, part: None, shared: false, held_already: false, held_since: false, same: None };
    let Some(key) = outcome.key() else {
        let sql = "SELECT archive_id, mapping_id, state FROM held WHERE stream_id = ?1 AND digest = ?2
                     AND entity_id IS NULL AND type = ?3 AND state IN ('open', 'dismissed')
                   ORDER BY mapping_id = ?4 DESC, id DESC LIMIT 1";
        let of = (stream.id, record.digest, kind_of(outcome), mapping);
        let newest = tx.one("look for a held item", sql, of, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        if let Some((archive, mapped_by, state)) = newest {
            known.held_already = mapped_by == mapping;
            known.same = (state == "open").then_some((archive, mapped_by));
        }
        return Ok(known);
    };
    known.ledger = ledger::find(tx, key)?;
    let Some(entity) = known.ledger.as_ref().map(|ledger| ledger.id) else { return Ok(known) };
    let sql = "SELECT stream_id, archive_id, digest, mapping_id, absent, hash, content_id, revision FROM part WHERE entity_id = ?1";
    let parts = tx.all("read the entity's parts", sql, (entity,), |row| {
        let stream: i64 = row.get(0)?;
        Ok((
            stream,
            PartRow {
                archive: row.get(1)?,
                digest: row.get(2)?,
                mapping: row.get(3)?,
                absent: row.get(4)?,
                hash: row.get(5)?,
                content: row.get(6)?,
                revision: row.get(7)?,
            },
        ))
    })?;
    for (of, part) in parts {
        if of == stream.id { known.part = Some(part) } else { known.shared = true }
    }
    let standing = |part: &&PartRow| part.digest == record.digest && part.absent.as_deref() != Some(snapshot::MISSING);
    known.same = known.part.as_ref().filter(standing).map(|part| (part.archive, part.mapping));
    let part_archive = known.part.as_ref().map_or(0, |part| part.archive);
    let sql = "SELECT archive_id, digest, mapping_id, state FROM held WHERE entity_id = ?1 AND stream_id = ?2
               AND leg = 'record' AND state IN ('open', 'dismissed') AND archive_id >= ?3
               ORDER BY archive_id DESC LIMIT 1";
    let newest = tx.one("look for a held item", sql, (entity, stream.id, part_archive), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Hash>>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    })?;
    if let Some((archive, digest, mapped_by, state)) = newest {
        known.held_since = state == "open" && archive > part_archive;
        known.held_already = digest == Some(record.digest) && mapped_by == mapping;
        if known.held_since {
            known.same = (digest == Some(record.digest)).then_some((archive, mapped_by));
        }
    }
    Ok(known)
}

/// True where a poll has only read again what the store has already, under the same mapping.
fn is_reread(known: &Known, outcome: &Prepared, record: &Record, mapping: i64) -> bool {
    match outcome {
        Prepared::Held(_) => known.held_already,
        Prepared::Mapped(_) => known.part.as_ref().is_some_and(|part| {
            part.digest == record.digest
                && part.mapping == mapping
                && part.absent.as_deref() != Some(snapshot::MISSING)
                && !known.held_since
        }),
    }
}

/// Notes that a snapshot contains the entity.
fn seen(tx: &Tx<'_>, stream: &Stream<'_>, entity: i64) -> Result<(), Error> {
    if stream.scan > 0 {
        let sql = "UPDATE part SET seen_scan = ?3, missing = 0 WHERE entity_id = ?1 AND stream_id = ?2";
        tx.run("note what a snapshot contains", sql, (entity, stream.id, stream.scan))?;
    }
    Ok(())
}

fn apply(
    tx: &mut Tx<'_>,
    stream: &Stream<'_>,
    record: &Record,
    outcome: &Prepared,
    known: Known,
    archive: i64,
    mapping: i64,
) -> Result<(Option<i64>, Fate), Error> {
    let overtaken = known.part.as_ref().is_some_and(|part| part.archive > archive);
    if overtaken {
        return Ok((known.ledger.map(|ledger| ledger.id), Fate::Superseded));
    }
    let origin = Origin {
        stream: stream.id,
        source: stream.source,
        mapping,
        mapping_version: &record.mapping_version,
        archive: Some(archive),
    };
    match outcome {
        Prepared::Mapped(good) => {
            let fresh = known.ledger.is_none();
            let (entity, fate) = apply_good(tx, stream, origin, record, good, known, archive)?;
            if !fresh || !good.unknown.is_empty() {
                codes::note(tx, stream.id, good.key.entity.as_str(), Some(entity), archive, &good.unknown)?;
            }
            Ok((Some(entity), fate))
        }
        Prepared::Held(doubtful) => {
            let entity = match (&doubtful.key, known.ledger) {
                (Some(key), None) => Some(ledger::create(tx, key)?.id),
                (_, ledger) => ledger.map(|ledger| ledger.id),
            };
            if let Some(entity) = entity {
                seen(tx, stream, entity)?;
            }
            codes::note(tx, stream.id, doubtful.kind, entity, archive, &doubtful.unknown())?;
            let id = hold(tx, origin, entity, record.digest, doubtful, archive)?;
            Ok((entity, Fate::Held(id)))
        }
    }
}

fn hold(
    tx: &mut Tx<'_>,
    origin: Origin<'_>,
    entity: Option<i64>,
    digest: Hash,
    doubtful: &Doubtful,
    archive: i64,
) -> Result<i64, Error> {
    let (reason, until) = match (entity, doubtful.wait) {
        (Some(entity), Some(micros)) => held::wait(tx, entity, micros)?,
        _ => (doubtful.reason.as_str(), None),
    };
    held::supersede_older(tx, origin.stream, entity, &digest, archive)?;
    let item = held::New {
        leg: Leg::Record,
        stream: origin.stream,
        archive: Some(archive),
        event: None,
        kind: doubtful.kind,
        entity,
        digest: Some(digest),
        mapping: Some(origin.mapping),
        reason,
        findings: &doubtful.findings,
        until,
    };
    let id = held::open(tx, item)?;
    match entity {
        Some(entity) => ledger::index(tx, &doubtful.search, entity, 0)?,
        None => ledger::index(tx, &doubtful.search, 0, id)?,
    }
    Ok(id)
}

fn apply_good(
    tx: &mut Tx<'_>,
    stream: &Stream<'_>,
    origin: Origin<'_>,
    record: &Record,
    good: &Good,
    known: Known,
    archive: i64,
) -> Result<(i64, Fate), Error> {
    let ledger = match known.ledger {
        Some(ledger) => ledger,
        None => Ledger { bare: good.files.is_empty(), ..ledger::create(tx, &good.key)? },
    };
    if let Some(part) = &known.part
        && revision::is_older(good.revision.as_deref(), part.revision.as_deref())
    {
        let doubtful = revision::older(&good.key)?;
        let id = hold(tx, origin, Some(ledger.id), record.digest, &doubtful, archive)?;
        return Ok((ledger.id, Fate::Held(id)));
    }
    let same = known.part.as_ref().filter(|part| part.hash == good.hash);
    // Mapping an old record again does not bring back what snapshots no longer have.
    let again = record.archived.is_some();
    let gone = again && known.part.as_ref().is_some_and(|part| part.absent.as_deref() == Some(snapshot::MISSING));
    let absent = if gone { Some(snapshot::MISSING.to_owned()) } else { good.absent.clone() };
    let alarm = good.key.entity == EntityType::CriticalValue;
    // What was found once is not missing because a later catalogue does not tell it again.
    let scan = if alarm { 0 } else { stream.scan };
    let content = match same {
        Some(part) => part.content,
        None => {
            ledger::index(tx, &good.search, ledger.id, 0)?;
            ledger::store_content(tx, &good.data)?
        }
    };
    tx.run(
        "store a part",
        "INSERT INTO part (entity_id, stream_id, archive_id, digest, mapping_id, absent, hash, content_id, seen_scan,
           assembly, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?11, ?12)
         ON CONFLICT DO UPDATE SET archive_id = excluded.archive_id, digest = excluded.digest,
           mapping_id = excluded.mapping_id, absent = excluded.absent, hash = excluded.hash,
           content_id = excluded.content_id, seen_scan = max(seen_scan, excluded.seen_scan),
           missing = iif(?10, missing, 0), assembly = excluded.assembly,
           revision = excluded.revision",
        rusqlite::params![
            ledger.id,
            stream.id,
            archive,
            record.digest,
            origin.mapping,
            &absent,
            good.hash,
            content,
            scan,
            again,
            good.assembly,
            good.revision
        ],
    )?;
    dictionary::arrived(tx, stream.source, good, ledger.id)?;
    let files_shared =
        (!good.files.is_empty() || !ledger.fresh) && attachments::keep(tx, ledger.id, stream.id, &good.files)?;
    if record.quiet.contains(&good.key) {
        return Ok((ledger.id, Fate::Unchanged));
    }
    // Each stream that tells of a critical value tells of it alone.
    let whole = if (known.shared && !alarm) || good.assembly.is_some() {
        ledger::compose(tx, &good.key, ledger.id)?
    } else {
        Ok(ledger::Whole { absent, hash: good.hash, content, size: good.data.size })
    };
    match whole {
        Err(doubtful) => {
            let id = hold(tx, origin, Some(ledger.id), record.digest, &doubtful, archive)?;
            Ok((ledger.id, Fate::Held(id)))
        }
        Ok(whole) => {
            if files_shared && whole.absent.is_none() {
                let id = hold(tx, origin, Some(ledger.id), record.digest, &shared_file(&good.key)?, archive)?;
                return Ok((ledger.id, Fate::Held(id)));
            }
            if let Some(doubtful) = ledger::doubt_change(tx, &good.key, &ledger, &whole)? {
                let id = hold(tx, origin, Some(ledger.id), record.digest, &doubtful, archive)?;
                return Ok((ledger.id, Fate::Held(id)));
            }
            // A new entity has no part but this one.
            let compared = if ledger.fresh && !tx.shared.composer.compares(good.key.entity, stream.name) {
                Compared::default()
            } else {
                dictionary::compare(tx, &good.key, &ledger, &whole)?
            };
            if let Some(doubtful) = dictionary::doubt(&good.key, &compared)? {
                let id = hold(tx, origin, Some(ledger.id), record.digest, &doubtful, archive)?;
                dictionary::wait(tx, id, &compared)?;
                return Ok((ledger.id, Fate::Held(id)));
            }
            if !ledger.fresh {
                held::supersede_covered(tx, ledger.id)?;
            }
            if let Some(id) = guard::holds(tx, (stream.id, stream.name), stream.decision, &good.key, &ledger, &whole)? {
                return Ok((ledger.id, Fate::Held(id)));
            }
            let told = dictionary::told_whole(tx, &good.key, &whole, &compared)?;
            let event = ledger::settle_told(tx, origin, &good.key, &ledger, &whole, told.as_deref())?;
            Ok((ledger.id, event.map_or(Fate::Unchanged, Fate::Event)))
        }
    }
}

fn shared_file(key: &EntityKey) -> Result<Doubtful, Error> {
    let message = "another person's report has the very same file";
    prepare::doubtful(Held {
        entity: Some(key.entity),
        key: Some(key.clone()),
        reason: attachments::SHARED.to_owned(),
        findings: vec![Finding::new(attachments::SHARED, Severity::Hold, "attachments", message)],
        search: Vec::new(),
    })
}

/// What became of one outcome of an archived record, as it is stored.
struct Disposition {
    kind: &'static str,
    entity: Option<i64>,
    fate: &'static str,
    event: Option<i64>,
    held: Option<i64>,
}

impl Disposition {
    fn new(kind: &'static str, entity: Option<i64>, fate: Fate) -> Disposition {
        let (fate, event, held) = match fate {
            Fate::Event(id) => ("event", Some(id), None),
            Fate::Held(id) => ("held", None, Some(id)),
            Fate::Unchanged | Fate::Superseded => ("unchanged", None, None),
        };
        Disposition { kind, entity, fate, event, held }
    }

    /// The sum that it counts in; that of an event is the state of its delivery.
    fn sum(&self, event: &'static str) -> &'static str {
        if self.fate == "event" { event } else { self.fate }
    }

    fn write(&self, tx: &Tx<'_>, archive: i64, n: i64) -> Result<(), Error> {
        tx.run(
            "store what became of a record",
            "INSERT INTO disposition (archive_id, n, type, entity_id, fate, event_id, held_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (archive, n, self.kind, self.entity, self.fate, self.event, self.held),
        )?;
        Ok(())
    }
}

/// Applies an archived record that was mapped again: its outcomes take the place of the ones before.
///
/// What had become an event stays one (it was sent, or will be); where the new mapping says
/// something else, the new event is counted in its place, so that the record counts once.
fn again(tx: &mut Tx<'_>, stream: &Stream<'_>, record: &Record, archive: i64, mapping: i64) -> Result<(), Error> {
    let sql = "SELECT s.id, s.source FROM archive a JOIN stream s ON s.id = a.stream_id WHERE a.id = ?1";
    let found =
        tx.one("read the archive", sql, (archive,), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    match found {
        Some((of, _)) if of == stream.id => {}
        Some((of, source)) if source == stream.source && is_only_held(tx, archive)? => {
            move_record(tx, archive, of, stream.id)?;
        }
        _ => return Err(Error::NotFound { what: "archived record of this stream", id: archive }),
    }
    codes::forget(tx, archive)?;
    let mut before = dispositions(tx, archive)?;
    let open = held::open_of_archive(tx, archive)?;
    let mut after = Vec::new();
    let mut held_again = Vec::new();
    let mut overtaken = false;
    for outcome in &record.outcomes {
        let kind = kind_of(outcome);
        let known = look(tx, stream, record, outcome, mapping)?;
        let (entity, fate) = apply(tx, stream, record, outcome, known, archive, mapping)?;
        overtaken |= matches!(fate, Fate::Superseded);
        if let Fate::Held(id) = fate {
            held_again.push(id);
        }
        let prior = before.iter().position(|old| old.kind == kind && old.entity == entity);
        let prior = prior.or_else(|| before.iter().position(|old| old.kind == kind && old.entity.is_none()));
        let prior = prior.map(|at| before.swap_remove(at));
        let keep = match (&fate, &prior) {
            (Fate::Superseded, Some(_)) => true,
            (Fate::Unchanged, Some(old)) => old.fate == "event",
            _ => false,
        };
        let new = match prior {
            Some(old) if keep => old,
            prior => {
                let new = Disposition::new(kind, entity, fate);
                let from = prior.map(|old| uncount(tx, &old)).transpose()?.flatten();
                tx.count(stream.id, kind, from, Some(new.sum("queued")));
                new
            }
        };
        after.push(new);
    }
    for old in before {
        if old.fate == "event" {
            after.push(old);
        } else {
            let kind = old.kind;
            let from = uncount(tx, &old)?;
            tx.count(stream.id, kind, from, None);
        }
    }
    tx.run("replace what became of a record", "DELETE FROM disposition WHERE archive_id = ?1", (archive,))?;
    for (n, disposition) in after.iter().enumerate() {
        disposition.write(tx, archive, n as i64)?;
    }
    let (state, note) = if overtaken { ("superseded", "a newer record is known") } else { ("retried", "mapped again") };
    for id in open.into_iter().filter(|id| !held_again.contains(id)) {
        held::close(tx, id, state, "hisync", note)?;
    }
    Ok(())
}

/// Gives a record of which nothing has come to another stream of its source, as if it had come to
/// that one: a part under the stream that could do nothing with it would stand beside the next
/// version's for ever.
fn move_record(tx: &mut Tx<'_>, archive: i64, from: i64, to: i64) -> Result<(), Error> {
    for held in dispositions(tx, archive)? {
        tx.count(from, held.kind, Some("held"), None);
        tx.count(to, held.kind, None, Some("held"));
    }
    tx.run("move a record", "UPDATE archive SET stream_id = ?2 WHERE id = ?1", (archive, to))?;
    let sql = "UPDATE held SET stream_id = ?2 WHERE archive_id = ?1 AND leg = 'record'";
    tx.run("move a record", sql, (archive, to))?;
    for (stream, n) in [(from, -1), (to, 1)] {
        tx.run("move a record", "UPDATE stream SET records = records + ?2 WHERE id = ?1", (stream, n))?;
    }
    Ok(())
}

fn dispositions(tx: &Tx<'_>, archive: i64) -> Result<Vec<Disposition>, Error> {
    let sql = "SELECT type, entity_id, fate, event_id, held_id FROM disposition WHERE archive_id = ?1 ORDER BY n";
    let rows = tx.all("read what became of a record", sql, (archive,), |row| {
        let kind: String = row.get(0)?;
        let fate = match row.get_ref(2)?.as_str()? {
            "event" => "event",
            "held" => "held",
            _ => "unchanged",
        };
        Ok((kind, row.get(1)?, fate, row.get(3)?, row.get(4)?))
    })?;
    rows.into_iter()
        .map(|(kind, entity, fate, event, held)| {
            Ok(Disposition { kind: ledger::kind(&kind)?, entity, fate, event, held })
        })
        .collect()
}

/// The sum that a disposition is counted in, which it leaves; `None` where it is counted elsewhere.
fn uncount(tx: &Tx<'_>, old: &Disposition) -> Result<Option<&'static str>, Error> {
    let Some(event) = old.event else { return Ok(Some(old.sum("queued"))) };
    let sql = "SELECT state, counts FROM outbox WHERE id = ?1";
    let found = tx.one("read the outbox", sql, (event,), |row| {
        let sum = match row.get_ref(0)?.as_str()? {
            "delivered" => "delivered",
            "held" => "held",
            _ => "queued",
        };
        Ok((row.get::<_, i64>(1)? == 1).then_some(sum))
    })?;
    tx.run("count an event elsewhere", "UPDATE outbox SET counts = 0 WHERE id = ?1", (event,))?;
    // An event that is given up was delivered, and counts as such.
    Ok(found.unwrap_or(Some("delivered")))
}
