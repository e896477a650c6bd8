//! Who an entity is, and which version of it is meant.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of event ids (UUID v5). Chosen once; changing it would make every event new.
const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x6d1f_58c6_0d3b_5f0a_9a53_6e7a_1c64_29d7);

/// The kinds of entity that travel upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityType {
    /// Detail item 明细项目: what gets a result.
    ExamItem,
    /// Group item 组合项目: what is ordered.
    ExamItemGroup,
    /// Package 套餐: what is sold.
    ExamPackage,
    /// Report 体检报告: the results of one visit, or of one department for a visit.
    ExamReport,
    /// Critical value 危急值: one result that has to be acted on at once.
    CriticalValue,
}

impl EntityType {
    /// All of them, in the order in which upstream can resolve their references.
    pub const ALL: [EntityType; 5] = [
        EntityType::ExamItem,
        EntityType::ExamItemGroup,
        EntityType::ExamPackage,
        EntityType::ExamReport,
        EntityType::CriticalValue,
    ];

    /// The name in configuration, events and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EntityType::ExamItem => "exam_item",
            EntityType::ExamItemGroup => "exam_item_group",
            EntityType::ExamPackage => "exam_package",
            EntityType::ExamReport => "exam_report",
            EntityType::CriticalValue => "critical_value",
        }
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no entity type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no entity type; use exam_item, exam_item_group, exam_package, exam_report or critical_value")]
pub struct UnknownEntityType(pub String);

impl FromStr for EntityType {
    type Err = UnknownEntityType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EntityType::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownEntityType(text.to_owned()))
    }
}

/// The identity of one entity inside one hospital.
///
/// The key is scoped text, `campus:scope:natural key`, never a row id and never a number: leading
/// zeros and 19-digit ids survive. The scope is the source's id unless the mapping names another,
/// so that two sources that describe the same visit can agree on one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    /// What it is.
    pub entity: EntityType,
    /// Which one it is.
    pub key: String,
}

impl EntityKey {
    /// Joins an entity type and a scoped key.
    pub fn new(entity: EntityType, key: impl Into<String>) -> EntityKey {
        EntityKey { entity, key: key.into() }
    }

    /// `{entity type}/{key}`, the CloudEvents subject.
    pub fn subject(&self) -> String {
        format!("{}/{}", self.entity, self.key)
    }

    /// Reads a subject.
    pub fn from_subject(subject: &str) -> Result<EntityKey, UnknownEntityType> {
        let (entity, key) = subject.split_once('/').ok_or_else(|| UnknownEntityType(subject.to_owned()))?;
        Ok(EntityKey { entity: entity.parse()?, key: key.to_owned() })
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.entity, self.key)
    }
}

/// The order of the versions of one entity.
///
/// Derived from the commit's clock in microseconds and never smaller than the last one known, so
/// that versions stay ordered after the clock went back, and after the store was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence that follows `last` for a commit at `now_micros` (microseconds since 1970).
    #[must_use]
    pub fn next(last: Sequence, now_micros: u64) -> Sequence {
        Sequence(now_micros.max(last.0.saturating_add(1)))
    }

    /// The id of the event that carries this version: the same for every attempt, and the same
    /// for every agent that derives it from the same facts.
    pub fn event_id(self, hospital: &str, key: &EntityKey) -> Uuid {
        let name = format!("{hospital}\n{}\n{}\n{self}", key.entity, key.key);
        Uuid::new_v5(&EVENT_NAMESPACE, name.as_bytes())
    }
}

/// Fixed width, so that sequences sort as text.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

impl FromStr for Sequence {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Sequence)
    }
}

/// Where an entity is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// In use.
    #[default]
    Active,
    /// Still known, not to be used for anything new (a package off sale, an item switched off).
    Disabled,
    /// Taken back: the hospital no longer stands by it (反审核, or gone from a complete catalogue).
    Withdrawn,
    /// Erased in the source.
    Deleted,
}

impl Lifecycle {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Active => "active",
            Lifecycle::Disabled => "disabled",
            Lifecycle::Withdrawn => "withdrawn",
            Lifecycle::Deleted => "deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_rise_even_when_the_clock_goes_back() {
        let first = Sequence::next(Sequence::default(), 1_000);
        let second = Sequence::next(first, 400);
        assert!(second > first);
        assert!(second.to_string() > first.to_string(), "they must sort as text");
        assert_eq!(Sequence::next(Sequence::default(), 1_800_000_000_000_000).to_string().len(), 20);
    }

    #[test]
    fn an_event_id_depends_on_each_part_of_its_identity() {
        let key = EntityKey::new(EntityType::ExamReport, "main:peis:0301170001");
        let id = Sequence(7).event_id("demo-001", &key);
        assert_eq!(id, Sequence(7).event_id("demo-001", &key));
        assert_ne!(id, Sequence(8).event_id("demo-001", &key));
        assert_ne!(id, Sequence(7).event_id("demo-002", &key));
        assert_ne!(id, Sequence(7).event_id("demo-001", &EntityKey::new(EntityType::ExamItem, key.key.clone())));
    }

    #[test]
    fn a_subject_reads_back_even_where_the_key_holds_slashes() {
        let key = EntityKey::new(EntityType::ExamPackage, "main:peis:A/01");
        assert_eq!(EntityKey::from_subject(&key.subject()), Ok(key));
        assert!(EntityKey::from_subject("exam_visit/1").is_err());
    }
}
