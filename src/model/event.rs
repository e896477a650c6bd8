//! The CloudEvent (CloudEvents 1.0, JSON format) that carries one version of an entity upstream.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::EntityType;

/// What an event says about its entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The entity is now as `data` says.
    Upserted,
    /// The entity is taken back; `data` is a [`Withdrawal`].
    Withdrawn,
    /// It has been found, and somebody has to know: only of critical values, which are never taken back.
    Raised,
}

impl EventKind {
    /// The last part of the event's type.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Upserted => "upserted",
            EventKind::Withdrawn => "withdrawn",
            EventKind::Raised => "raised",
        }
    }

    /// What says that an entity is as `data` says.
    pub fn telling(entity: EntityType) -> EventKind {
        if entity == EntityType::CriticalValue { EventKind::Raised } else { EventKind::Upserted }
    }

    /// The event's type: `hisync.exam_report.upserted`.
    pub fn event_type(self, entity: EntityType) -> String {
        format!("hisync.{entity}.{self}")
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no event kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of \"upserted\", \"withdrawn\", \"raised\"")]
pub struct UnknownEventKind(pub String);

impl FromStr for EventKind {
    type Err = UnknownEventKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "upserted" => Ok(EventKind::Upserted),
            "withdrawn" => Ok(EventKind::Withdrawn),
            "raised" => Ok(EventKind::Raised),
            other => Err(UnknownEventKind(other.to_owned())),
        }
    }
}

/// One element of the batch that is posted upstream.
///
/// What changes without the entity changing (times, versions of software) is an attribute;
/// what the entity *is* is `data`. `contenthash` covers `data` alone, so a consumer can skip what
/// it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// UUID v5 over hospital, entity type, key and sequence: the same for every attempt.
    pub id: String,
    /// `/hospitals/{hospital}/sources/{source}`.
    pub source: String,
    /// `hisync.<entity>.upserted`, `hisync.<entity>.withdrawn` or `hisync.critical_value.raised`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `{entity type}/{key}`.
    pub subject: String,
    /// When the version was committed, RFC 3339 with offset.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The versioned URI of the schema of `data`.
    pub dataschema: String,
    /// Order within the subject: fixed width, sorts as text, later is larger.
    pub sequence: String,
    /// The entity's key.
    pub partitionkey: String,
    /// `sha256-<hex>` over the canonical JSON (RFC 8785) of `data`.
    pub contenthash: String,
    /// Name and version of the mapping that produced `data`.
    pub mappingversion: String,
    /// Version of the agent that produced the event.
    pub agentversion: String,
    /// W3C trace context.
    pub traceparent: String,
    /// A routing label, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// The entity as it now is, or a [`Withdrawal`].
    pub data: Json,
}

/// The `data` of a `withdrawn` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The entity's key, as in the event's subject.
    pub key: String,
    /// The sequence of the version that is taken back: the last one sent for this key.
    pub last_sequence: String,
    /// Why, as a stable word: `reversed` (反审核), `missing` (gone from a complete catalogue),
    /// `deleted`.
    pub reason: String,
}
