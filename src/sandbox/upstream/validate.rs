//! Whether an event is what the contract says: its schema, the schema of its data, and what the
//! attributes say of each other.
//!
//! Stricter than a consumer has to be: the published schemas are open, and what this very version
//! sends has no member that the model lacks.

use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use uuid::Uuid;

use super::Error;
use crate::model::event::Withdrawal;
use crate::model::schema::{entity_schema, event_schema, schema_uri, withdrawal_schema, withdrawal_schema_uri};
use crate::model::{
    CloudEvent, CriticalValue, EntityKey, EntityType, EventKind, ExamItem, ExamItemGroup, ExamPackage, ExamReport,
};

/// The compiled schemas.
pub(super) struct Validator {
    event: jsonschema::Validator,
    data: HashMap<String, jsonschema::Validator>,
}

/// What identifies a valid event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    pub(super) id: &'a str,
    pub(super) subject: &'a str,
    pub(super) sequence: &'a str,
    pub(super) content_hash: &'a str,
}

/// Why an event is not taken. Never contains its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Validator {
    pub(super) fn new() -> Result<Validator, Error> {
        let compile = |schema: schemars::Schema| {
            let options = jsonschema::options().should_validate_formats(true).should_ignore_unknown_formats(true);
            options.build(schema.as_value()).map_err(|cause| Error::Schema(cause.to_string()))
        };
        let mut data = HashMap::from([(withdrawal_schema_uri(), compile(withdrawal_schema())?)]);
        for entity in EntityType::ALL {
            data.insert(schema_uri(entity), compile(entity_schema(entity))?);
        }
        Ok(Validator { event: compile(event_schema())?, data })
    }

    /// Checks one event.
    pub(super) fn check<'a>(&self, event: &'a Json) -> Result<Checked<'a>, Refusal> {
        against(&self.event, event, "event-schema")?;
        model::<CloudEvent>(event, "event-schema")?;
        let attribute = |name: &str| event.get(name).and_then(Json::as_str).unwrap_or_default();
        let must = |fine: bool, code: &'static str, message: &str| {
            if fine { Ok(()) } else { Err(Refusal { code, message: message.to_owned() }) }
        };
        must(attribute("specversion") == "1.0", "specversion", "specversion is not 1.0")?;
        must(attribute("datacontenttype") == "application/json", "datacontenttype", "datacontenttype is not JSON")?;
        let id = Uuid::try_parse(attribute("id")).ok();
        must(id.is_some_and(|id| id.get_version_num() == 5), "id", "id is no UUID v5")?;
        let time = chrono::DateTime::parse_from_rfc3339(attribute("time"));
        must(time.is_ok(), "time", "time is not RFC 3339 with an offset")?;
        must(is_source(attribute("source")), "source", "source is not /hospitals/{hospital}/sources/{source}")?;
        let key = EntityKey::from_subject(attribute("subject")).ok();
        let key = key.filter(|key| key.key == attribute("partitionkey"));
        let Some(key) = key else {
            return Err(Refusal { code: "subject", message: "subject is not {entity type}/{partitionkey}".to_owned() });
        };
        let sequence = attribute("sequence");
        let fixed = sequence.len() == 20 && sequence.bytes().all(|byte| byte.is_ascii_digit());
        must(fixed, "sequence", "sequence is not twenty digits")?;
        must(is_traceparent(attribute("traceparent")), "traceparent", "traceparent is not W3C trace context")?;
        let kind = attribute("type");
        let schema = if kind == EventKind::telling(key.entity).event_type(key.entity) {
            schema_uri(key.entity)
        } else if kind == EventKind::Withdrawn.event_type(key.entity) && key.entity != EntityType::CriticalValue {
            withdrawal_schema_uri()
        } else {
            return Err(Refusal { code: "type", message: "type does not fit the subject".to_owned() });
        };
        must(attribute("dataschema") == schema, "dataschema", "dataschema does not fit the type")?;
        let data = &event["data"];
        if let Some(validator) = self.data.get(&schema) {
            against(validator, data, "data-schema")?;
        }
        match key.entity {
            _ if schema == withdrawal_schema_uri() => model::<Withdrawal>(data, "data-schema")?,
            EntityType::ExamItem => model::<ExamItem>(data, "data-schema")?,
            EntityType::ExamItemGroup => model::<ExamItemGroup>(data, "data-schema")?,
            EntityType::ExamPackage => model::<ExamPackage>(data, "data-schema")?,
            EntityType::ExamReport => model::<ExamReport>(data, "data-schema")?,
            EntityType::CriticalValue => model::<CriticalValue>(data, "data-schema")?,
        }
        must(has_exact_numbers(data), "number", "data holds a number that is no integer of 53 bits")?;
        let inside = if kind.ends_with("withdrawn") { data.get("key") } else { data.pointer("/envelope/business_key") };
        must(inside.and_then(Json::as_str) == Some(&key.key), "data-key", "data is about another key than subject")?;
        must(
            content_hash(data).as_deref() == Some(attribute("contenthash")),
            "contenthash",
            "contenthash is not data's",
        )?;
        Ok(Checked {
            id: attribute("id"),
            subject: attribute("subject"),
            sequence,
            content_hash: attribute("contenthash"),
        })
    }
}

/// `sha256-<hex>` over the canonical JSON.
pub(super) fn content_hash(data: &Json) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(data).ok()?;
    Some(format!("sha256-{}", hex::encode(Sha256::digest(canonical))))
}

fn against(validator: &jsonschema::Validator, value: &Json, code: &'static str) -> Result<(), Refusal> {
    let Err(error) = validator.validate(value) else { return Ok(()) };
    // Paths, not values: the message of a receipt is read by people who may not see the data.
    let message = format!("at {:?}: {}", error.instance_path().to_string(), error.schema_path());
    Err(Refusal { code, message })
}

/// The SHA-256 (hex) of each file that an event names.
pub(super) fn files_of(event: &Json) -> impl Iterator<Item = &str> {
    let named = event.pointer("/data/attachments").and_then(Json::as_array);
    named.into_iter().flatten().filter_map(|file| file["digest"].as_str()?.strip_prefix("sha256-"))
}

/// Holds a value to a type of the model, which knows all its members.
fn model<'a, T: Deserialize<'a>>(value: &'a Json, code: &'static str) -> Result<(), Refusal> {
    let Err(error) = T::deserialize(value) else { return Ok(()) };
    let text = error.to_string();
    // The name of a member may be told; what else the message may quote is data.
    let unknown = text.split(',').next().filter(|told| told.starts_with("unknown field"));
    Err(Refusal { code, message: unknown.unwrap_or("not as the model has it").to_owned() })
}

fn is_source(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    matches!(parts[..], ["", "hospitals", hospital, "sources", source] if !hospital.is_empty() && !source.is_empty())
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2] && text.split('-').all(hex)
}

fn has_exact_numbers(value: &Json) -> bool {
    const LIMIT: i64 = 1 << 53;
    match value {
        Json::Number(number) => number.as_i64().is_some_and(|number| (-LIMIT..=LIMIT).contains(&number)),
        Json::Array(list) => list.iter().all(has_exact_numbers),
        Json::Object(map) => map.values().all(has_exact_numbers),
        _ => true,
    }
}
