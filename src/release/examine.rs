//! Compares what a record would make, under other mappings, with what was made of it: the one judgement that replay,
//! apply and shadow share.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::diff::{Difference, differences};
use super::tally::{Kind, WHOLE};
use crate::intake::Readers;
use crate::model::{Assembly, Compose, EntityKey, EntityType, Outcome, Part, Wish};
use crate::store::{ArchivedRecord, Error, Reader, ReplayFilter, Slot, Standing};

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

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An entity of the store: its row and its key.
    Entity(i64, EntityKey),
    /// An entity that the store does not know.
    New(EntityKey),
    /// A record as a whole, which tells no entity.
    Record(i64),
}

/// What was found of one entity, or of one record that tells none.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: Subject,
    pub(super) entity: EntityType,
    /// The newest record that tells of it.
    pub(super) archive_id: i64,
    /// A person decides about it, now or then.
    pub(super) held: bool,
    /// The records whose mapping again makes what was found come true, ascending.
    pub(super) records: Vec<i64>,
    pub(super) verdict: Verdict,
}

/// What became of a comparison.
#[derive(Debug)]
pub(super) enum Verdict {
    /// These are the differences; none where nothing would change.
    Compared(Vec<Difference>),
    /// It is held for a person, and would still be. `counted`: it is an entity that counts as compared.
    StillHeld { counted: bool },
    /// It can't be compared, for this reason.
    Unknown(Cow<'static, str>),
}

/// What a look at one record found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Newer records have overtaken it: nothing that upstream has comes from it.
    pub(super) overtaken: bool,
    /// It was mapped.
    pub(super) mapped: bool,
    pub(super) found: Vec<Found>,
}

/// Looks at records as they would be mapped.
pub(super) struct Examiner<'a> {
    pub(super) reader: &'a Reader,
    /// Decoders and mappings of each stream, as they would be.
    pub(super) readers: &'a Readers,
    /// Makes entities of parts, as it would.
    pub(super) composer: &'a dyn Compose,
    pub(super) filter: &'a ReplayFilter,
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

/// An entity comes, goes, is held or released as a whole.
fn whole(kind: Kind, field: &str) -> Verdict {
    Verdict::Compared(vec![Difference {
        kind,
        field: field.to_owned(),
        place: String::new(),
        code: None,
        before: Json::Null,
        after: Json::Null,
    }])
}

const SAME: Verdict = Verdict::Compared(Vec::new());

impl Examiner<'_> {
    /// What would become of the entities that a record speaks of last.
    pub(super) fn record(&self, id: i64) -> Result<Look, Error> {
        let (standings, held) = self.reader.standings(id, self.filter)?;
        if standings.is_empty() && held.is_none() {
            return Ok(Look { overtaken: true, ..Look::default() });
        }
        let unknown = |why: &'static str| Found {
            subject: Subject::Record(id),
            entity: standings.first().map_or(EntityType::ExamReport, |standing| standing.key.entity),
            archive_id: id,
            held: false,
            records: Vec::new(),
            verdict: Verdict::Unknown(why.into()),
        };
        let record = match self.reader.replayed_record(id) {
            Ok(record) => record,
            Err(Error::Unreadable(_)) => {
                return Ok(Look { found: vec![unknown("record-damaged")], ..Look::default() });
            }
            Err(error) => return Err(error),
        };
        let Some(outcomes) = self.outcomes(&record) else {
            return Ok(Look { found: vec![unknown("stream-not-configured")], ..Look::default() });
        };
        let mut found = Vec::new();
        for standing in standings.iter().filter(|standing| standing.due) {
            found.push(self.compare(id, standing, &outcomes)?);
        }
        if self.filter.entities.is_none() {
            self.others(&record, &standings, held.as_deref(), &outcomes, &mut found)?;
        }
        Ok(Look { overtaken: false, mapped: true, found })
    }

    fn outcomes(&self, record: &ArchivedRecord) -> Option<Vec<Outcome>> {
        let (normaliser, decoder) = self.readers.get(&record.stream)?;
        let document = decoder.decode(&record.raw);
        Some(normaliser.outcomes(&document, &record.source_ref, record.raw.charset.as_deref()))
    }

    /// What a record would yield beside the entities that it has yielded.
    fn others(
        &self,
        record: &ArchivedRecord,
        standings: &[Standing],
        held: Option<&str>,
        outcomes: &[Outcome],
        found: &mut Vec<Found>,
    ) -> Result<(), Error> {
        let id = record.archive_id;
        let mut tell = |subject, entity, verdict| {
            let is_held = held.is_some() || matches!(subject, Subject::Record(_));
            found.push(Found { subject, entity, archive_id: id, held: is_held, records: vec![id], verdict });
        };
        if held.is_some_and(|reason| BEYOND_RECORDS.contains(&reason)) {
            tell(Subject::Record(id), EntityType::ExamReport, Verdict::StillHeld { counted: false });
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
                    (None, Outcome::Held(now)) if !told => {
                        tell(Subject::Record(id), kind, whole(Kind::HeldNow, &now.reason));
                    }
                    (Some(_), _) if !told => tell(Subject::Record(id), kind, Verdict::StillHeld { counted: true }),
                    _ => {}
                }
                told = true;
                continue;
            };
            let known = standings.iter().any(|standing| standing.key == *key);
            if known || !self.is_news(key, &record.stream, id)? {
                continue;
            }
            let subject = Subject::New(key.clone());
            match (held, outcome) {
                (Some(reason), Outcome::Mapped(_)) => tell(subject, kind, whole(Kind::ReleasedNow, reason)),
                (Some(_), Outcome::Held(_)) => tell(subject, kind, Verdict::StillHeld { counted: true }),
                (None, Outcome::Held(now)) => tell(subject, kind, whole(Kind::HeldNow, &now.reason)),
                (None, Outcome::Mapped(mapped)) if mapped.wish == Wish::Present => {
                    // An alarm that was too old to ring when it came is no news of the mapping.
                    let rings = || self.composer.is_news(None, &mapped.data, record.received_at);
                    if kind != EntityType::CriticalValue || rings() {
                        tell(subject, kind, whole(Kind::New, WHOLE));
                    }
                }
                (None, Outcome::Mapped(_)) => {}
            }
        }
        Ok(())
    }

    /// Whether a record would be the first, or the newest, of its stream to speak of an entity.
    fn is_news(&self, key: &EntityKey, stream: &StreamId, id: i64) -> Result<bool, Error> {
        let known = self.reader.known_entity(key, stream.as_str())?;
        Ok(known.is_none_or(|(_, newest)| newest < id))
    }

    fn compare(&self, id: i64, standing: &Standing, own: &[Outcome]) -> Result<Found, Error> {
        let kind = standing.key.entity;
        let held = standing.slots.iter().filter(|slot| slot.held.is_some()).max_by_key(|slot| slot.archive_id);
        let held = held.and_then(|slot| slot.held.as_deref());
        let mut found = Found {
            subject: Subject::Entity(standing.entity, standing.key.clone()),
            entity: kind,
            archive_id: id,
            held: held.is_some(),
            records: Vec::new(),
            verdict: Verdict::StillHeld { counted: true },
        };
        if held.is_some_and(|reason| BEYOND_RECORDS.contains(&reason)) {
            return Ok(found);
        }
        let mut parts = Vec::with_capacity(standing.slots.len());
        // Each stream tells of a critical value alone.
        let alarm = kind == EntityType::CriticalValue;
        let mut after = None;
        let mut records = BTreeSet::from([id]);
        for slot in standing.slots.iter().filter(|slot| !alarm || slot.archive_id == id) {
            let part = self.part(id, slot, &standing.key, own)?;
            let stays = slot.held.is_none() && part.as_ref().is_ok_and(|part| part.same);
            if !slot.given_up && !stays {
                records.insert(slot.archive_id);
            }
            match part {
                Ok(part) => parts.push(part),
                Err(instead) => after = after.or(Some(instead)),
            }
        }
        found.records = records.into_iter().collect();
        let after = match after {
            Some(after) => after,
            None => {
                let composed = (parts.len() > 1 && !alarm) || parts.iter().any(|part| part.assembly.is_some());
                if !composed && held.is_none() && parts.iter().all(|part| part.same) {
                    found.verdict = SAME;
                    return Ok(found);
                }
                self.whole(&standing.key, parts, composed)
            }
        };
        found.held |= matches!(after, After::Held { .. });
        found.verdict = match after {
            After::Unknown(why) => Verdict::Unknown(why.into()),
            After::Held { .. } if held.is_some() => Verdict::StillHeld { counted: true },
            After::Held { reason } => whole(Kind::HeldNow, &reason),
            After::Gone => whole(Kind::Missing, WHOLE),
            After::Mapped { wish, data } => self.beside(id, standing, held, &wish, &data)?,
        };
        Ok(found)
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
        match self.composer.compose(key, &parts) {
            Outcome::Mapped(mapped) => After::Mapped { wish: mapped.wish, data: mapped.data },
            Outcome::Held(held) => After::Held { reason: held.reason },
        }
    }

    /// Compares what an entity would be with its newest event.
    fn beside(
        &self,
        id: i64,
        standing: &Standing,
        held: Option<&str>,
        wish: &Wish,
        after: &[u8],
    ) -> Result<Verdict, Error> {
        let (key, kind) = (&standing.key, standing.key.entity);
        let gone = standing.slots.iter().filter_map(|slot| slot.part.as_ref()).any(|part| part.gone);
        if kind == EntityType::CriticalValue && held.is_none() && *wish == Wish::Present {
            let before = match self.reader.newest_data(standing) {
                Err(Error::Unreadable(_)) => None,
                newest => newest?.map(|(data, _)| data).filter(|_| standing.present),
            };
            if !self.composer.is_news(before.as_deref(), after, received_at(standing, id)) {
                return Ok(SAME);
            }
        }
        if *wish != Wish::Present || !standing.present {
            return Ok(match (held, wish) {
                (Some(reason), _) => whole(Kind::ReleasedNow, reason),
                // Snapshots lack it: that is no matter of mapping.
                (None, Wish::Absent { .. }) if standing.present && !gone => whole(Kind::Missing, WHOLE),
                (None, Wish::Present) => whole(Kind::New, WHOLE),
                (None, Wish::Absent { .. }) => SAME,
            });
        }
        let hash: [u8; 32] = Sha256::digest(after).into();
        if standing.hash == Some(hash) {
            return Ok(held.map_or(SAME, |reason| whole(Kind::ReleasedNow, reason)));
        }
        let newest = match self.reader.newest_data(standing) {
            Err(Error::Unreadable(_)) => None,
            newest => newest?,
        };
        let Some((before, exact)) = newest else { return Ok(Verdict::Unknown("content-given-up".into())) };
        if let Some(doubt) = self.composer.doubt_change(key, &before, after) {
            return Ok(match held {
                Some(_) => Verdict::StillHeld { counted: true },
                None => whole(Kind::HeldNow, &doubt.reason),
            });
        }
        if let Some(reason) = held {
            return Ok(whole(Kind::ReleasedNow, reason));
        }
        let (Ok(before), Ok(after)) = (serde_json::from_slice::<Json>(&before), serde_json::from_slice::<Json>(after))
        else {
            return Ok(Verdict::Unknown("content-damaged".into()));
        };
        let mut found = differences(&before, &after);
        if !exact {
            // Upstream was told findings beside, which dictionaries gave and a replay does not.
            found.retain(|difference| difference.field != "envelope.issues");
        }
        Ok(Verdict::Compared(found))
    }
}

/// When the record came: alarms are weighed as they were then.
fn received_at(standing: &Standing, id: i64) -> DateTime<Utc> {
    let slot = standing.slots.iter().find(|slot| slot.archive_id == id);
    slot.and_then(|slot| DateTime::from_timestamp_micros(slot.received_at)).unwrap_or_default()
}
