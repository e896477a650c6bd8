//! Maps archived records under another configuration and compares what that makes with what was made.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::examine::{Examiner, Look, Subject};
use super::tally::{MappingPair, Report, Tally};
use crate::intake::Readers;
use crate::model::{Compose, EntityKey};
use crate::store::{Error, Reader, ReplayFilter};

/// Records that a thread gets at once.
const CHUNK: usize = 64;

/// What is tried, on what.
pub struct Plan<'a> {
    /// Decoders and mappings of each stream, as they would be.
    pub readers: &'a Readers,
    /// Makes entities of parts, as it would.
    pub composer: &'a dyn Compose,
    /// Which records.
    pub filter: ReplayFilter,
    /// The mappings before and after, for the report.
    pub mappings: Vec<MappingPair>,
    /// Threads that map; at least one.
    pub threads: usize,
}

impl Plan<'_> {
    pub(super) fn examiner<'e>(&'e self, reader: &'e Reader) -> Examiner<'e> {
        Examiner { reader, readers: self.readers, composer: self.composer, filter: &self.filter }
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Archived records that were looked at.
    pub records: u64,
    /// The id of the record that was given out last.
    pub at: i64,
    /// The id of the archive's newest record.
    pub newest: i64,
}

/// Replays. `open` gives each thread a reader of its own; memory does not grow with the archive, except by sixteen
/// bytes for each entity that would be new.
pub fn replay(
    open: &(dyn Fn() -> Result<Reader, Error> + Sync),
    plan: &Plan<'_>,
    mut progress: impl FnMut(Progress),
) -> Result<Report, Error> {
    let reader = open()?;
    let newest = reader.newest_record()?;
    let threads = plan.threads.max(1);
    let shared = Shared::default();
    let (sender, receiver) = sync_channel::<Vec<i64>>(2 * threads);
    let receiver = Arc::new(Mutex::new(receiver));
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (receiver, shared) = (receiver.clone(), &shared);
                scope.spawn(move || work(&open()?, plan, shared, &receiver))
            })
            .collect();
        // Only the workers hold it: where all of them have ended, nothing waits for them.
        drop(receiver);
        let fed = feed(&reader, plan, &shared, newest, &sender, &mut progress);
        drop(sender);
        let mut sum = Tally::default();
        let mut failed = fed.err();
        for worker in workers {
            match worker.join() {
                Ok(Ok(tally)) => sum.merge(tally),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                // Half a report looks like a whole one.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed.map_or(Ok(sum), Err)
    })?;
    Ok(tally.report(plan.mappings.clone()))
}

fn feed(
    reader: &Reader,
    plan: &Plan<'_>,
    shared: &Shared,
    newest: i64,
    sender: &std::sync::mpsc::SyncSender<Vec<i64>>,
    progress: &mut impl FnMut(Progress),
) -> Result<(), Error> {
    let mut after = 0;
    // What comes in meanwhile is not replayed: the agent may write beside.
    while !shared.failed.load(Ordering::Relaxed) {
        let mut ids = reader.replayable(&plan.filter, after, CHUNK)?;
        ids.retain(|id| *id <= newest);
        let Some(last) = ids.last().copied() else { break };
        after = last;
        if sender.send(ids).is_err() {
            break;
        }
        progress(Progress { records: shared.records.load(Ordering::Relaxed), at: last, newest });
    }
    Ok(())
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    failed: AtomicBool,
    records: AtomicU64,
    /// Entities that would be new and were counted.
    new: Mutex<Seen>,
}

/// Entities that would be new, by the beginning of their key's hash: each counts once, however many records tell it.
#[derive(Default)]
pub(super) struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// True for the first time.
    pub(super) fn first(&mut self, key: &EntityKey) -> bool {
        let hash: [u8; 32] = Sha256::digest(key.subject()).into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        self.0.insert(short)
    }

    /// Leaves out what was counted before.
    pub(super) fn keep_first(&mut self, look: &mut Look) {
        look.found.retain(|found| match &found.subject {
            Subject::New(key) => self.first(key),
            Subject::Entity(..) | Subject::Record(_) => true,
        });
    }
}

fn work(
    reader: &Reader,
    plan: &Plan<'_>,
    shared: &Shared,
    receiver: &Mutex<Receiver<Vec<i64>>>,
) -> Result<Tally, Error> {
    let examiner = plan.examiner(reader);
    let mut tally = Tally::default();
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(ids) = next else { break };
        for id in ids {
            let mut look = examiner.record(id).inspect_err(|_| shared.failed.store(true, Ordering::Relaxed))?;
            if look.found.iter().any(|found| matches!(found.subject, Subject::New(_))) {
                shared.new.lock().unwrap_or_else(PoisonError::into_inner).keep_first(&mut look);
            }
            tally.look(look);
            shared.records.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(tally)
}
