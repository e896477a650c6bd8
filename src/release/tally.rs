//! Counts differences in bounded memory; the sums of several threads add up to the same report.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::diff::Difference;
use super::examine::{Found, Look, Verdict};
use crate::model::EntityType;

/// Kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A value that both versions have differs.
    Value,
    /// A unit differs.
    Unit,
    /// A flag differs.
    Flag,
    /// A code, or what a code table reads, differs.
    Code,
    /// What was there is not there any more: a field, an element of a list, an entity.
    Missing,
    /// What was not there is there: a field, an element of a list, an entity.
    New,
    /// The same elements in another order.
    Order,
    /// Only what goes with the entity differs: findings, where it comes from, the count of its rows.
    Envelope,
    /// It was fine, and would be held for a person.
    HeldNow,
    /// It is held for a person, and would be fine.
    ReleasedNow,
}

impl Kind {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Value => "value",
            Kind::Unit => "unit",
            Kind::Flag => "flag",
            Kind::Code => "code",
            Kind::Missing => "missing",
            Kind::New => "new",
            Kind::Order => "order",
            Kind::Envelope => "envelope",
            Kind::HeldNow => "held-now",
            Kind::ReleasedNow => "released-now",
        }
    }
}

/// Codes that are counted one by one for a field.
const CODES: usize = 200;
/// Pairs of values that are counted one by one for a field.
const PAIRS: usize = 40;
/// Fields that are counted one by one; a mapping has a few hundred.
const GROUPS: usize = 4_000;
/// Examples that are kept for a field.
const EXAMPLES: usize = 3;
/// Characters of a value that are shown.
const SHOWN: usize = 160;

/// The field of what concerns an entity as a whole.
pub(super) const WHOLE: &str = "(entity)";

/// How often, and of how many entities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Entities with such a change.
    pub entities: u64,
    /// Changes.
    pub changes: u64,
}

/// How many entities of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Entities that were compared.
    pub entities: u64,
    /// Those among them with a change.
    pub changed: u64,
}

/// A value before and after, masked, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
    /// How often.
    pub count: u64,
}

/// One change to look at; what it was made of is found with `hisync explain archive:ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// The archived record.
    pub archive_id: i64,
    /// The field, elements of lists by their codes.
    pub place: String,
    /// Before, masked.
    pub before: String,
    /// After, masked.
    pub after: String,
}

/// All changes of one kind of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The kind.
    pub kind: Kind,
    /// The entity's type.
    pub entity: &'static str,
    /// The field without places; the reason code where it is held or released; `(entity)` for one that comes or goes.
    pub field: String,
    /// How often.
    #[serde(flatten)]
    pub count: Count,
    /// How often by the code of the innermost element.
    pub codes: BTreeMap<String, u64>,
    /// Changes whose codes are not listed.
    pub more_codes: u64,
    /// The values before and after that were met first, the commonest of them first.
    pub pairs: Vec<Pair>,
    /// Changes whose values are not listed.
    pub more_pairs: u64,
    /// The oldest ones.
    pub examples: Vec<Example>,
}

/// The mapping of a stream before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappingPair {
    /// `source/stream`.
    pub stream: String,
    /// The version that the configuration names.
    pub configured: String,
    /// The version that was tried.
    pub tried: String,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The mapping of each stream.
    pub mappings: Vec<MappingPair>,
    /// Records that were mapped.
    pub records: u64,
    /// Records that newer ones have overtaken: nothing that upstream has comes from them.
    pub overtaken: u64,
    /// Entities that were compared.
    pub entities: u64,
    /// Entities with at least one change.
    pub changed: u64,
    /// The share of entities with a change, in percent.
    pub changed_percent: f64,
    /// Entities and records that are held for a person and would still be.
    pub still_held: u64,
    /// What could not be compared, by reason.
    pub not_compared: BTreeMap<Cow<'static, str>, u64>,
    /// Sums by type of entity.
    pub types: BTreeMap<&'static str, Share>,
    /// Sums by kind of change.
    pub kinds: BTreeMap<Kind, Count>,
    /// Every kind of change of every field, that of most entities first.
    pub groups: Vec<Group>,
    /// Changes of fields beyond those that are listed.
    pub more_groups: u64,
}

#[derive(Debug, Default)]
struct Field {
    count: Count,
    codes: BTreeMap<String, u64>,
    more_codes: u64,
    pairs: BTreeMap<(String, String), u64>,
    more_pairs: u64,
    examples: Vec<Example>,
}

/// Adds to a count of a bounded map; `more` counts what has no place in it.
fn count<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, n: u64, most: usize, more: &mut u64) {
    if map.len() < most || map.contains_key(&key) {
        *map.entry(key).or_default() += n;
    } else {
        *more += n;
    }
}

/// Sums of one thread.
#[derive(Debug, Default)]
pub(super) struct Tally {
    records: u64,
    overtaken: u64,
    still_held: u64,
    not_compared: BTreeMap<Cow<'static, str>, u64>,
    types: BTreeMap<&'static str, Share>,
    kinds: BTreeMap<Kind, Count>,
    fields: BTreeMap<(Kind, &'static str, String), Field>,
    more_groups: u64,
}

impl Tally {
    /// An entity was compared, and these are its changes.
    fn compared(&mut self, entity: EntityType, archive_id: i64, differences: Vec<Difference>) {
        let kind = entity.as_str();
        let share = self.types.entry(kind).or_default();
        share.entities += 1;
        share.changed += u64::from(!differences.is_empty());
        let mut kinds: Vec<Kind> = Vec::new();
        let mut fields: Vec<(Kind, String)> = Vec::new();
        for difference in differences {
            let Difference { kind: of, field, place, code, before, after } = difference;
            let sum = self.kinds.entry(of).or_default();
            sum.changes += 1;
            if !kinds.contains(&of) {
                kinds.push(of);
                sum.entities += 1;
            }
            let key = (of, kind, field);
            if self.fields.len() >= GROUPS && !self.fields.contains_key(&key) {
                self.more_groups += 1;
                continue;
            }
            let first = !fields.iter().any(|(known, field)| *known == of && *field == key.2);
            if first {
                fields.push((of, key.2.clone()));
            }
            self.fields.entry(key).or_default().add(first, archive_id, place, code, &before, &after);
        }
    }

    /// Counts what a look at a record found.
    pub(super) fn look(&mut self, look: Look) {
        self.overtaken += u64::from(look.overtaken);
        self.records += u64::from(look.mapped);
        look.found.into_iter().for_each(|found| self.found(found));
    }

    /// Records that were looked at elsewhere.
    pub(super) fn went(&mut self, mapped: u64, overtaken: u64) {
        self.records += mapped;
        self.overtaken += overtaken;
    }

    pub(super) fn found(&mut self, found: Found) {
        match found.verdict {
            Verdict::Compared(differences) => self.compared(found.entity, found.archive_id, differences),
            Verdict::StillHeld { counted } => {
                self.still_held += 1;
                if counted {
                    self.compared(found.entity, found.archive_id, Vec::new());
                }
            }
            Verdict::Unknown(why) => *self.not_compared.entry(why).or_default() += 1,
        }
    }

    /// Adds what another thread has counted.
    pub(super) fn merge(&mut self, other: Tally) {
        self.records += other.records;
        self.overtaken += other.overtaken;
        self.still_held += other.still_held;
        self.more_groups += other.more_groups;
        for (why, n) in other.not_compared {
            *self.not_compared.entry(why).or_default() += n;
        }
        for (kind, share) in other.types {
            let sum = self.types.entry(kind).or_default();
            sum.entities += share.entities;
            sum.changed += share.changed;
        }
        for (kind, more) in other.kinds {
            self.kinds.entry(kind).or_default().add(more);
        }
        for (key, field) in other.fields {
            if self.fields.len() >= GROUPS && !self.fields.contains_key(&key) {
                self.more_groups += field.count.changes;
            } else {
                self.fields.entry(key).or_default().merge(field);
            }
        }
    }

    pub(super) fn report(self, mappings: Vec<MappingPair>) -> Report {
        let (entities, changed) =
            self.types.values().fold((0, 0), |(all, some), share| (all + share.entities, some + share.changed));
        let group = |((kind, entity, field), found): ((Kind, &'static str, String), Field)| {
            let pair = |((before, after), count)| Pair { before, after, count };
            let mut pairs: Vec<Pair> = found.pairs.into_iter().map(pair).collect();
            pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
            let Field { count, codes, more_codes, more_pairs, examples, .. } = found;
            Group { kind, entity, field, count, codes, more_codes, pairs, more_pairs, examples }
        };
        let mut groups: Vec<Group> = self.fields.into_iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count.entities));
        Report {
            mappings,
            records: self.records,
            overtaken: self.overtaken,
            entities,
            changed,
            changed_percent: if entities == 0 { 0.0 } else { changed as f64 * 100.0 / entities as f64 },
            still_held: self.still_held,
            not_compared: self.not_compared,
            types: self.types,
            kinds: self.kinds,
            groups,
            more_groups: self.more_groups,
        }
    }
}

impl Count {
    fn add(&mut self, more: Count) {
        self.entities += more.entities;
        self.changes += more.changes;
    }
}

impl Field {
    fn add(&mut self, first: bool, archive_id: i64, place: String, code: Option<String>, before: &Json, after: &Json) {
        self.count.add(Count { entities: u64::from(first), changes: 1 });
        if let Some(code) = code {
            count(&mut self.codes, code, 1, CODES, &mut self.more_codes);
        }
        let (before, after) = (short(before), short(after));
        if !before.is_empty() || !after.is_empty() {
            count(&mut self.pairs, (before.clone(), after.clone()), 1, PAIRS, &mut self.more_pairs);
        }
        self.example(Example { archive_id, place, before, after });
    }

    /// The oldest are kept, whatever thread found them.
    fn example(&mut self, example: Example) {
        if self.examples.len() < EXAMPLES || self.examples.last().is_some_and(|last| example < *last) {
            let at = self.examples.partition_point(|known| *known < example);
            self.examples.insert(at, example);
            self.examples.truncate(EXAMPLES);
        }
    }

    fn merge(&mut self, other: Field) {
        self.count.add(other.count);
        self.more_codes += other.more_codes;
        self.more_pairs += other.more_pairs;
        for (code, n) in other.codes {
            count(&mut self.codes, code, n, CODES, &mut self.more_codes);
        }
        for (pair, n) in other.pairs {
            count(&mut self.pairs, pair, n, PAIRS, &mut self.more_pairs);
        }
        other.examples.into_iter().for_each(|example| self.example(example));
    }
}

/// A value in a few words.
pub(super) fn short(value: &Json) -> String {
    let text = match value {
        Json::Null => return String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
