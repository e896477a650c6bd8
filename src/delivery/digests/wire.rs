//! The messages by which the agent and upstream compare what they have (`POST /v1/digests`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::EntityType;

/// Asks what upstream has, group by group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestQuery {
    /// Upstream's id of this hospital: only its entities are meant.
    pub hospital: String,
    /// Only entities are meant whose key begins with this: the agent's campus. Another agent may serve another one.
    pub key_prefix: String,
    /// The groups that are asked about, at most 64.
    pub nodes: Vec<DigestNode>,
}

/// A group of versions: all of a type, all of a type and day, or those whose subject's hash begins in a certain way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestNode {
    /// Any type but `critical_value`.
    pub entity_type: EntityType,
    /// The UTC day of the event's `time`, `2026-11-20`; all days where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The first digits of the SHA-256 (lower-case hex) of the subject, an even number of them; with `day` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many versions the agent believes upstream to have in it.
    pub count: u64,
    /// The digest of those. Where both are as upstream has it, an answer needs neither children nor entries.
    pub digest: String,
}

/// What upstream has in the groups that it was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestAnswer {
    /// The highest sequence of any event of this hospital that upstream has ever taken. The agent makes no event
    /// at or below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sequence: Option<String>,
    /// One group for each node, in any order.
    pub nodes: Vec<DigestGroup>,
}

/// What upstream has in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestGroup {
    /// As asked.
    pub entity_type: EntityType,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many versions it holds.
    pub count: u64,
    /// Their digest: the exclusive-or of the hashes of their lines, 64 hex digits; zeros for none.
    pub digest: String,
    /// The smaller groups that it consists of, all that are not empty: by day, or by two more digits of the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<DigestChild>>,
    /// Instead: the versions themselves, all of them. Some hundreds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<DigestEntry>>,
}

/// A smaller group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestChild {
    /// Its day, where the group is one of all days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Its whole prefix, where the group is one of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many versions it holds.
    pub count: u64,
    /// Their digest.
    pub digest: String,
}

/// The latest version of an entity that upstream has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestEntry {
    /// The entity's key (`partitionkey`).
    pub key: String,
    /// The version's sequence.
    pub sequence: String,
    /// Its content hash.
    pub contenthash: String,
    /// Whether it is a withdrawal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}
