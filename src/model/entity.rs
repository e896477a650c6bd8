//! The entities that travel upstream, and what they are made of.
//!
//! Rules that shape them (domain guide §9):
//! - every interpreted value keeps the source's literal beside it, in a field named `…_raw`;
//! - a source's abnormal flag is never overwritten: `flag_derived` stands beside `flag_source`;
//! - decimals travel as text with their digits kept, prices as whole fen;
//! - absent means "the source did not say"; it is never a default.
//!
//! The mapping engine compiles mapping files against the JSON Schemas of these types, so a field
//! added here is a field that a mapping may fill. It reads the extension `x-hisync-reader`: how text
//! becomes the value, where the type alone does not tell. `x-hisync-personal` marks personal data for
//! whoever receives it; what people see here is masked by shape and place (`ops/mask`).

mod critical;
mod dictionary;
mod package;
mod report;
mod result;
mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EntityKey, EntityType, Finding, Lifecycle, canonical};

pub use critical::*;
pub use dictionary::*;
pub use package::*;
pub use report::*;
pub use result::*;
pub(crate) use written::report_objects;

/// One entity of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    /// A detail item.
    ExamItem(Box<ExamItem>),
    /// A group item.
    ExamItemGroup(Box<ExamItemGroup>),
    /// A package.
    ExamPackage(Box<ExamPackage>),
    /// A report.
    ExamReport(Box<ExamReport>),
    /// A critical value.
    CriticalValue(Box<CriticalValue>),
}

impl Entity {
    /// Which type this is.
    pub fn entity_type(&self) -> EntityType {
        match self {
            Entity::ExamItem(_) => EntityType::ExamItem,
            Entity::ExamItemGroup(_) => EntityType::ExamItemGroup,
            Entity::ExamPackage(_) => EntityType::ExamPackage,
            Entity::ExamReport(_) => EntityType::ExamReport,
            Entity::CriticalValue(_) => EntityType::CriticalValue,
        }
    }

    /// What all entities carry.
    pub fn envelope(&self) -> &Envelope {
        match self {
            Entity::ExamItem(item) => &item.envelope,
            Entity::ExamItemGroup(group) => &group.envelope,
            Entity::ExamPackage(package) => &package.envelope,
            Entity::ExamReport(report) => &report.envelope,
            Entity::CriticalValue(value) => &value.envelope,
        }
    }

    /// What all entities carry, to be changed.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Entity::ExamItem(item) => &mut item.envelope,
            Entity::ExamItemGroup(group) => &mut group.envelope,
            Entity::ExamPackage(package) => &mut package.envelope,
            Entity::ExamReport(report) => &mut report.envelope,
            Entity::CriticalValue(value) => &mut value.envelope,
        }
    }

    /// Its identity inside the hospital.
    pub fn key(&self) -> EntityKey {
        EntityKey::new(self.entity_type(), self.envelope().business_key.clone())
    }

    /// The event's `data`: canonical JSON (RFC 8785), so that equal entities have equal bytes.
    pub fn to_canonical_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Entity::ExamItem(item) => canonical::to_vec(item),
            Entity::ExamItemGroup(group) => canonical::to_vec(group),
            Entity::ExamPackage(package) => canonical::to_vec(package),
            Entity::ExamReport(report) => canonical::written(&**report),
            Entity::CriticalValue(value) => canonical::written(&**value),
        }
    }

    /// Reads an event's `data`.
    pub fn from_json(entity: EntityType, json: &[u8]) -> Result<Entity, serde_json::Error> {
        Ok(match entity {
            EntityType::ExamItem => Entity::ExamItem(serde_json::from_slice(json)?),
            EntityType::ExamItemGroup => Entity::ExamItemGroup(serde_json::from_slice(json)?),
            EntityType::ExamPackage => Entity::ExamPackage(serde_json::from_slice(json)?),
            EntityType::ExamReport => Entity::ExamReport(serde_json::from_slice(json)?),
            EntityType::CriticalValue => Entity::CriticalValue(serde_json::from_slice(json)?),
        })
    }
}

/// What all entities carry.
///
/// Only what is a property of the entity itself stands here. What differs from one reading of the
/// same content to the next (when it was read, the raw record's digest, the mapping's version, the
/// revision) travels as attributes of the event and is kept in the ledger: were it part of `data`,
/// each reading would look like a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Upstream's id of this hospital. From the agent's configuration, never from a payload.
    pub hospital_id: String,
    /// The campus, where codes and exam numbers have their meaning.
    pub campus_id: String,
    /// The id of the source that it was read from.
    pub source_system: String,
    /// `exam_item`, `exam_item_group`, `exam_package`, `exam_report` or `critical_value`.
    pub entity_type: String,
    /// `campus:scope:natural key`.
    pub business_key: String,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What was noticed and did not stop delivery.
    pub issues: Vec<Finding>,
    /// Proof that no child was lost on the way.
    pub manifest: Manifest,
}

/// Where an entity comes from: what stays the same from one reading to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The place inside the source: a view's name, an HL7 message type, a file pattern.
    pub source_ref: String,
    /// The connector that read it.
    pub adapter: String,
    /// The character set that was used to decode it, where that was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
}

/// Children counted on the way in and on the way out: `rows_read = mapped + excluded + duplicates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Child rows (HL7: result segments) that the source gave.
    pub rows_read: u32,
    /// Children that are in the entity.
    pub mapped: u32,
    /// Identical repetitions that were folded into one.
    pub duplicates: u32,
    /// Children that the mapping leaves out, by reason.
    pub excluded: Vec<Excluded>,
}

impl Manifest {
    /// Whether the sum holds. Where it does not, that is a bug in hisync, and nothing is sent.
    pub fn adds_up(&self) -> bool {
        let excluded: u64 = self.excluded.iter().map(|part| u64::from(part.count)).sum();
        u64::from(self.rows_read) == u64::from(self.mapped) + u64::from(self.duplicates) + excluded
    }
}

/// Children that the mapping leaves out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// The reason, as written in the mapping.
    pub reason: String,
    /// How many.
    pub count: u32,
}

/// A decimal as text, with exactly the digits that the source gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DecimalText(
    #[schemars(regex(pattern = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"))] pub String,
);

/// A person's sex as recorded. Codes of the source are bound in the mapping; there is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    /// Male.
    Male,
    /// Female.
    Female,
    /// The source says that it is not known.
    Unknown,
    /// The source says that it can't be determined.
    Undetermined,
}

/// For whom an item or package is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplicableSex {
    /// Men only.
    Male,
    /// Women only.
    Female,
    /// Everybody.
    Both,
}

/// Marital status, GB/T 2261.2 in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaritalStatus {
    /// Never married (10).
    Single,
    /// Married (20 to 23).
    Married,
    /// Widowed (30).
    Widowed,
    /// Divorced (40).
    Divorced,
    /// Not stated (90).
    Other,
}
