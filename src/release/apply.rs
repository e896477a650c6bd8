//! Makes a replay come true: new versions of exactly what differs, in bounded transactions.
//!
//! What was applied compares as equal from then on, so an interruption at any moment needs no place to go on at: the
//! next run begins at the front, and its sums go on where the store has them.

use std::collections::BTreeMap;
use std::thread;

use connector_api::StreamId;
use serde::Serialize;

use super::diff::Difference;
use super::examine::{Found, Look, Subject, Verdict};
use super::replay::{Plan, Progress, Seen};
use super::tally::{Kind, Report, Tally, WHOLE};
use crate::model::EntityKey;
use crate::store::{ApplyRun, Error, Incoming, IncomingBatch, Reader, Store};

/// Entities that change in one transaction: few enough that each is over at once.
const BATCH: usize = 50;
/// Records that a thread looks at before what was found is applied.
const CHUNK: usize = 64;

/// What was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// What differed, and what was made of it; over all runs where this one went on with an earlier one.
    pub applied: ApplyRun,
    /// Entities that no record yields any more: nothing takes them back but a person.
    pub left: u64,
    /// What this run found.
    #[serde(flatten)]
    pub report: Report,
}

/// What changes together: an entity, or a record that tells none.
struct Due {
    key: Option<EntityKey>,
    records: Vec<i64>,
}

/// Applies a plan. Nothing else may write to the store meanwhile. Blocks its thread while it maps.
pub async fn apply(
    store: &Store,
    open: &(dyn Fn() -> Result<Reader, Error> + Sync),
    plan: &Plan<'_>,
    what: &str,
    who: &str,
    mut progress: impl FnMut(Progress),
) -> Result<Applied, Error> {
    let mut readers = (0..plan.threads.max(1)).map(|_| open()).collect::<Result<Vec<Reader>, Error>>()?;
    let front = open()?;
    let newest = front.newest_record()?;
    let begun = store.apply_begin(what, who).await?;
    let (mut tally, mut seen, mut left, mut looked) = (Tally::default(), Seen::default(), 0, 0);
    // Of an entity that the store does not know, the newest record of each stream alone makes a version.
    let mut new: BTreeMap<String, (EntityKey, BTreeMap<StreamId, i64>)> = BTreeMap::new();
    let mut after = 0;
    loop {
        let mut ids = front.replayable(&plan.filter, after, CHUNK * readers.len())?;
        ids.retain(|id| *id <= newest);
        let Some(last) = ids.last().copied() else { break };
        after = last;
        looked += ids.len() as u64;
        let looks = tokio::task::block_in_place(|| examine(&mut readers, plan, &ids))?;
        let mut due = Vec::new();
        for mut look in looks {
            for found in look.found.iter().filter(|found| is_change(found)) {
                match &found.subject {
                    Subject::New(key) => {
                        let (_, slots) = new.entry(key.subject()).or_insert_with(|| (key.clone(), BTreeMap::new()));
                        for id in &found.records {
                            slots.insert(front.replayed_record(*id)?.stream, *id);
                        }
                    }
                    Subject::Entity(_, key) => {
                        left += u64::from(is_gone(found));
                        due.push(Due { key: Some(key.clone()), records: found.records.clone() });
                    }
                    Subject::Record(_) => due.push(Due { key: None, records: found.records.clone() }),
                }
            }
            seen.keep_first(&mut look);
            tally.look(look);
        }
        for due in due.chunks(BATCH) {
            commit(store, &front, plan, begun.id, due).await?;
        }
        progress(Progress { records: looked, at: last, newest });
    }
    let mut due: Vec<Due> = new
        .into_values()
        .map(|(key, slots)| {
            let mut records: Vec<i64> = slots.into_values().collect();
            records.sort_unstable();
            Due { key: Some(key), records }
        })
        .collect();
    due.sort_by_key(|due| due.records.last().copied());
    for due in due.chunks(BATCH) {
        commit(store, &front, plan, begun.id, due).await?;
    }
    let done = store.apply_end(begun.id).await?;
    let applied = ApplyRun { resumed: begun.resumed, ..done };
    Ok(Applied { applied, left, report: tally.report(plan.mappings.clone()) })
}

fn is_change(found: &Found) -> bool {
    matches!(&found.verdict, Verdict::Compared(differences) if !differences.is_empty())
}

fn is_gone(found: &Found) -> bool {
    let gone = |differences: &[Difference]| {
        differences.iter().any(|difference| difference.kind == Kind::Missing && difference.field == WHOLE)
    };
    matches!(&found.verdict, Verdict::Compared(differences) if gone(differences))
}

/// Looks at records on all threads; the looks stand in the order of the records.
fn examine(readers: &mut [Reader], plan: &Plan<'_>, ids: &[i64]) -> Result<Vec<Look>, Error> {
    let share = ids.len().div_ceil(readers.len()).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = readers
            .iter_mut()
            .zip(ids.chunks(share))
            .map(|(reader, ids)| {
                scope.spawn(move || {
                    let examiner = plan.examiner(reader);
                    ids.iter().map(|id| examiner.record(*id)).collect::<Result<Vec<Look>, Error>>()
                })
            })
            .collect();
        let mut looks = Vec::with_capacity(ids.len());
        for worker in workers {
            match worker.join() {
                Ok(found) => looks.extend(found?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(looks)
    })
}

/// Maps the records of some entities again, in one transaction.
async fn commit(store: &Store, reader: &Reader, plan: &Plan<'_>, run: i64, due: &[Due]) -> Result<(), Error> {
    let mut ids: Vec<i64> = due.iter().flat_map(|due| due.records.iter().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut quiet = Vec::new();
    for due in due {
        let (Some(key), Some((_, before))) = (&due.key, due.records.split_last()) else { continue };
        quiet.extend(before.iter().map(|id| (*id, key.clone())));
    }
    let mut batches: Vec<IncomingBatch> = Vec::new();
    for id in ids {
        let record = reader.replayed_record(id)?;
        let Some((normaliser, decoder)) = plan.readers.get(&record.stream) else { continue };
        let document = decoder.decode(&record.raw);
        let incoming: Incoming = normaliser.again(record.archive_id, record.raw, &document, record.source_ref);
        match batches.last_mut() {
            Some(batch) if batch.stream == record.stream => batch.records.push(incoming),
            _ => batches.push(IncomingBatch {
                stream: record.stream,
                records: vec![incoming],
                advance: None,
                snapshot: None,
            }),
        }
    }
    store.apply(run, batches, quiet).await.map(drop)
}
