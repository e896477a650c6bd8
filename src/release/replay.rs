//! Maps archived records under another configuration and compares what that makes with what was made.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::diff::differences;
use super::tally::{Kind, MappingPair, Report, Tally, WHOLE};
use crate::intake::Readers;
use crate::model::{Assembly, Compose, EntityKey, EntityType, Outcome, Part, Wish};
use crate::store::{ArchivedRecord, Error, Reader, ReplayFilter, Slot, Standing};

/// Records that a thread gets at once.
const CHUNK: usize = 64;

/// Why a hold is none that records alone can answer: dictionaries, a catalogue as a whole, the order of versions, other
/// people's files. Such a hold stays; whether it would be one is not judged.
const BEYOND_RECORDS: &[&str] = &[
    "attachment-shared",
    "choice-impossible",
    "duplicate-key",
    "group-off",
    "group-unknown",
    "item-sex",
    "item-unknown",
    "item-unlisted",
    "kind-differs",
    "mass-disabled",
    "member-unknown",
    "members-dropped",
    "name-of-another",
    "older-revision",
    "order-unknown",
    "package-sex",
    "panel-incomplete",
    "price-jump",
    "sex-changed",
    "unit-changed",
    "unit-differs",
    "unit-missing",
    "unreadable-event",
];

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
                scope.spawn(move || Worker { reader: open()?, plan, shared, tally: Tally::default() }.work(&receiver))
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
    /// Entities that would be new and were counted, by the beginning of their key's hash.
    new: Mutex<HashSet<[u8; 16]>>,
}

struct Worker<'a> {
    reader: Reader,
    plan: &'a Plan<'a>,
    shared: &'a Shared,
    tally: Tally,
}

/// What an entity would be.
enum After {
    Mapped {
        wish: Wish,
        data: Vec<u8>,
    },
    Held {
        reason: String,
    },
    /// No record yields it any more.
    Gone,
    /// It can't be told.
    Unknown(&'static str),
}

struct NewPart<'s> {
    stream: &'s str,
    wish: Wish,
    data: Vec<u8>,
    assembly: Option<Assembly>,
    /// Exactly what the store has of this stream.
    same: bool,
}

impl Worker<'_> {
    fn work(mut self, receiver: &Mutex<Receiver<Vec<i64>>>) -> Result<Tally, Error> {
        loop {
            let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(ids) = next else { break };
            for id in ids {
                if let Err(error) = self.record(id) {
                    self.shared.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                self.shared.records.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(self.tally)
    }

    fn record(&mut self, id: i64) -> Result<(), Error> {
        let (standings, held) = self.reader.standings(id, &self.plan.filter)?;
        if standings.is_empty() && held.is_none() {
            self.tally.overtaken += 1;
            return Ok(());
        }
        let record = match self.reader.replayed_record(id) {
            Ok(record) => record,
            Err(Error::Unreadable(_)) => {
                self.tally.skipped("record-damaged");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(outcomes) = self.outcomes(&record) else {
            self.tally.skipped("stream-not-configured");
            return Ok(());
        };
        self.tally.records += 1;
        for standing in standings.iter().filter(|standing| standing.due) {
            self.compare(id, standing, &outcomes)?;
        }
        if self.plan.filter.entities.is_none() {
            self.others(&record, &standings, held.as_deref(), &outcomes)?;
        }
        Ok(())
    }

    fn outcomes(&self, record: &ArchivedRecord) -> Option<Vec<Outcome>> {
        let (normaliser, decoder) = self.plan.readers.get(&record.stream)?;
        let document = decoder.decode(&record.raw);
        Some(normaliser.outcomes(&document, &record.source_ref, record.raw.charset.as_deref()))
    }

    /// What a record would yield beside the entities that it has yielded.
    fn others(
        &mut self,
        record: &ArchivedRecord,
        standings: &[Standing],
        held: Option<&str>,
        outcomes: &[Outcome],
    ) -> Result<(), Error> {
        let id = record.archive_id;
        if held.is_some_and(|reason| BEYOND_RECORDS.contains(&reason)) {
            self.tally.still_held += 1;
            return Ok(());
        }
        let of = |outcome: &Outcome| match outcome {
            Outcome::Mapped(mapped) => Some(mapped.key.clone()),
            Outcome::Held(held) => held.key.clone(),
        };
        let keys: HashSet<EntityKey> = outcomes.iter().filter_map(of).collect();
        // An entity whose record does not tell it any more was counted as held by then.
        let mut told = standings.iter().any(|standing| !keys.contains(&standing.key));
        for outcome in outcomes {
            let (key, kind) = match outcome {
                Outcome::Mapped(mapped) => (Some(&mapped.key), mapped.key.entity),
                Outcome::Held(now) => match (&now.key, now.entity) {
                    (Some(key), _) => (Some(key), key.entity),
                    (None, Some(kind)) => (None, kind),
                    (None, None) => continue,
                },
            };
            let Some(key) = key else {
                // Once for a record: it is held as one.
                match (held, outcome) {
                    (None, Outcome::Held(now)) if !told => self.tally.whole(kind, id, Kind::HeldNow, &now.reason),
                    (Some(_), _) if !told => self.tally.still_held(kind, id),
                    _ => {}
                }
                told = true;
                continue;
            };
            let known = standings.iter().any(|standing| standing.key == *key);
            if known || !self.is_news(key, &record.stream, id)? {
                continue;
            }
            match (held, outcome) {
                (Some(reason), Outcome::Mapped(_)) => self.tally.whole(kind, id, Kind::ReleasedNow, reason),
                (Some(_), Outcome::Held(_)) => self.tally.still_held(kind, id),
                (None, Outcome::Held(now)) => self.tally.whole(kind, id, Kind::HeldNow, &now.reason),
                (None, Outcome::Mapped(mapped)) if mapped.wish == Wish::Present => {
                    // An alarm that was too old to ring when it came is no news of the mapping.
                    let rings = || self.plan.composer.is_news(None, &mapped.data, record.received_at);
                    if kind != EntityType::CriticalValue || rings() {
                        self.tally.whole(kind, id, Kind::New, WHOLE);
                    }
                }
                (None, Outcome::Mapped(_)) => {}
            }
        }
        Ok(())
    }

    /// Whether a record would be the first, or the newest, of its stream to speak of an entity; once for each.
    fn is_news(&self, key: &EntityKey, stream: &StreamId, id: i64) -> Result<bool, Error> {
        if let Some((_, newest)) = self.reader.known_entity(key, stream.as_str())?
            && newest >= id
        {
            return Ok(false);
        }
        let hash: [u8; 32] = Sha256::digest(key.subject()).into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        Ok(self.shared.new.lock().unwrap_or_else(PoisonError::into_inner).insert(short))
    }

    fn compare(&mut self, id: i64, standing: &Standing, own: &[Outcome]) -> Result<(), Error> {
        let kind = standing.key.entity;
        let held = standing.slots.iter().filter(|slot| slot.held.is_some()).max_by_key(|slot| slot.archive_id);
        let held = held.and_then(|slot| slot.held.as_deref());
        if held.is_some_and(|reason| BEYOND_RECORDS.contains(&reason)) {
            self.tally.still_held(kind, id);
            return Ok(());
        }
        let mut parts = Vec::with_capacity(standing.slots.len());
        // Each stream tells of a critical value alone.
        let alarm = kind == EntityType::CriticalValue;
        let mut after = None;
        for slot in standing.slots.iter().filter(|slot| !alarm || slot.archive_id == id) {
            match self.part(id, slot, &standing.key, own)? {
                Ok(part) => parts.push(part),
                Err(instead) => after = after.or(Some(instead)),
            }
        }
        let after = match after {
            Some(after) => after,
            None => {
                let composed = (parts.len() > 1 && !alarm) || parts.iter().any(|part| part.assembly.is_some());
                if !composed && held.is_none() && parts.iter().all(|part| part.same) {
                    self.tally.compared(kind, id, Vec::new());
                    return Ok(());
                }
                self.whole(&standing.key, parts, composed)
            }
        };
        match after {
            After::Unknown(why) => self.tally.skipped(why),
            After::Held { .. } if held.is_some() => self.tally.still_held(kind, id),
            After::Held { reason } => self.tally.whole(kind, id, Kind::HeldNow, &reason),
            After::Gone => self.tally.whole(kind, id, Kind::Missing, WHOLE),
            After::Mapped { wish, data } => self.beside(id, standing, held, &wish, &data)?,
        }
        Ok(())
    }

    /// What a stream would give of an entity.
    fn part<'s>(
        &self,
        id: i64,
        slot: &'s Slot,
        key: &EntityKey,
        own: &[Outcome],
    ) -> Result<Result<NewPart<'s>, After>, Error> {
        if slot.given_up {
            let Some(stored) = &slot.part else { return Ok(Err(After::Unknown("record-given-up"))) };
            let data = match self.reader.part_data(stored) {
                Err(Error::Unreadable(_)) => return Ok(Err(After::Unknown("content-damaged"))),
                data => data?,
            };
            let (wish, assembly) = (stored.wish.clone(), stored.assembly.clone());
            return Ok(Ok(NewPart { stream: &slot.stream, wish, data, assembly, same: true }));
        }
        let loaded;
        let outcomes = if slot.archive_id == id {
            own
        } else {
            let record = match self.reader.replayed_record(slot.archive_id) {
                Err(Error::Unreadable(_)) => return Ok(Err(After::Unknown("record-damaged"))),
                record => record?,
            };
            match self.outcomes(&record) {
                Some(outcomes) => loaded = outcomes,
                None => return Ok(Err(After::Unknown("stream-not-configured"))),
            }
            &loaded
        };
        // As at receipt, the last one counts.
        let of_it = outcomes.iter().rev().find(|outcome| match outcome {
            Outcome::Mapped(mapped) => mapped.key == *key,
            Outcome::Held(held) => held.key.as_ref() == Some(key),
        });
        Ok(match of_it {
            None => {
                // A record that can't tell its entity any more is held as a whole, and counts as that.
                let unknown = |outcome: &&Outcome| matches!(outcome, Outcome::Held(held) if held.key.is_none());
                match outcomes.iter().find(unknown) {
                    Some(Outcome::Held(held)) => Err(After::Held { reason: held.reason.clone() }),
                    _ => Err(After::Gone),
                }
            }
            Some(Outcome::Held(held)) => Err(After::Held { reason: held.reason.clone() }),
            Some(Outcome::Mapped(mapped)) => {
                let stored = slot.part.as_ref();
                let gone = stored.filter(|stored| stored.gone && slot.held.is_none());
                let wish = gone.map_or_else(|| mapped.wish.clone(), |stored| stored.wish.clone());
                let hash: [u8; 32] = Sha256::digest(&mapped.data).into();
                let same = stored.is_some_and(|stored| stored.hash == hash && stored.wish == wish);
                let assembly = mapped.assembly.as_deref().cloned();
                Ok(NewPart { stream: &slot.stream, wish, data: mapped.data.clone(), assembly, same })
            }
        })
    }

    fn whole(&self, key: &EntityKey, mut parts: Vec<NewPart<'_>>, composed: bool) -> After {
        if !composed {
            return parts.pop().map_or(After::Gone, |part| After::Mapped { wish: part.wish, data: part.data });
        }
        let parts: Vec<Part<'_>> = parts
            .iter()
            .map(|part| Part {
                stream: part.stream,
                wish: &part.wish,
                data: &part.data,
                assembly: part.assembly.as_ref(),
            })
            .collect();
        match self.plan.composer.compose(key, &parts) {
            Outcome::Mapped(mapped) => After::Mapped { wish: mapped.wish, data: mapped.data },
            Outcome::Held(held) => After::Held { reason: held.reason },
        }
    }

    /// Compares what an entity would be with its newest event.
    fn beside(
        &mut self,
        id: i64,
        standing: &Standing,
        held: Option<&str>,
        wish: &Wish,
        after: &[u8],
    ) -> Result<(), Error> {
        let (key, kind) = (&standing.key, standing.key.entity);
        let gone = standing.slots.iter().filter_map(|slot| slot.part.as_ref()).any(|part| part.gone);
        if kind == EntityType::CriticalValue && held.is_none() && *wish == Wish::Present {
            let before = match self.reader.newest_data(standing) {
                Err(Error::Unreadable(_)) => None,
                newest => newest?.map(|(data, _)| data).filter(|_| standing.present),
            };
            if !self.plan.composer.is_news(before.as_deref(), after, received_at(standing, id)) {
                self.tally.compared(kind, id, Vec::new());
                return Ok(());
            }
        }
        if *wish != Wish::Present || !standing.present {
            match (held, wish) {
                (Some(reason), _) => self.tally.whole(kind, id, Kind::ReleasedNow, reason),
                // Snapshots lack it: that is no matter of mapping.
                (None, Wish::Absent { .. }) if standing.present && !gone => {
                    self.tally.whole(kind, id, Kind::Missing, WHOLE);
                }
                (None, Wish::Present) => self.tally.whole(kind, id, Kind::New, WHOLE),
                (None, Wish::Absent { .. }) => self.tally.compared(kind, id, Vec::new()),
            }
            return Ok(());
        }
        let hash: [u8; 32] = Sha256::digest(after).into();
        if standing.hash == Some(hash) {
            match held {
                Some(reason) => self.tally.whole(kind, id, Kind::ReleasedNow, reason),
                None => self.tally.compared(kind, id, Vec::new()),
            }
            return Ok(());
        }
        let newest = match self.reader.newest_data(standing) {
            Err(Error::Unreadable(_)) => None,
            newest => newest?,
        };
        let Some((before, exact)) = newest else {
            self.tally.skipped("content-given-up");
            return Ok(());
        };
        if let Some(doubt) = self.plan.composer.doubt_change(key, &before, after) {
            match held {
                Some(_) => self.tally.still_held(kind, id),
                None => self.tally.whole(kind, id, Kind::HeldNow, &doubt.reason),
            }
            return Ok(());
        }
        if let Some(reason) = held {
            self.tally.whole(kind, id, Kind::ReleasedNow, reason);
            return Ok(());
        }
        let (Ok(before), Ok(after)) = (serde_json::from_slice::<Json>(&before), serde_json::from_slice::<Json>(after))
        else {
            self.tally.skipped("content-damaged");
            return Ok(());
        };
        let mut found = differences(&before, &after);
        if !exact {
            // Upstream was told findings beside, which dictionaries gave and a replay does not.
            found.retain(|difference| difference.field != "envelope.issues");
        }
        self.tally.compared(kind, id, found);
        Ok(())
    }
}

/// When the record came: alarms are weighed as they were then.
fn received_at(standing: &Standing, id: i64) -> DateTime<Utc> {
    let slot = standing.slots.iter().find(|slot| slot.archive_id == id);
    slot.and_then(|slot| DateTime::from_timestamp_micros(slot.received_at)).unwrap_or_default()
}
