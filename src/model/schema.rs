//! The JSON Schemas of what travels upstream, made from the model's types.
//!
//! What is published is open: a consumer accepts members that it does not know, for fields may be
//! added under one version. The types themselves refuse unknown members, so that what hisync reads
//! back is what it wrote.

use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::event::{CloudEvent, Withdrawal};
use super::{CriticalValue, EntityType, ExamItem, ExamItemGroup, ExamPackage, ExamReport};

/// The version of the canonical model. A field added is a minor change and keeps it; a field
/// removed or changed in meaning makes a new one.
pub const MODEL_VERSION: &str = "v1";

/// The versioned URI of an entity's schema, as events name it in `dataschema`.
pub fn schema_uri(entity: EntityType) -> String {
    format!("urn:hisync:schema:{entity}:{MODEL_VERSION}")
}

/// The versioned URI of the schema of a withdrawal's `data`.
pub fn withdrawal_schema_uri() -> String {
    format!("urn:hisync:schema:withdrawal:{MODEL_VERSION}")
}

/// The JSON Schema (2020-12) of an entity.
pub fn entity_schema(entity: EntityType) -> Schema {
    let uri = schema_uri(entity);
    match entity {
        EntityType::ExamItem => schema_of::<ExamItem>(&uri),
        EntityType::ExamItemGroup => schema_of::<ExamItemGroup>(&uri),
        EntityType::ExamPackage => schema_of::<ExamPackage>(&uri),
        EntityType::ExamReport => schema_of::<ExamReport>(&uri),
        EntityType::CriticalValue => schema_of::<CriticalValue>(&uri),
    }
}

/// The JSON Schema of an event, whatever its `data`.
pub fn event_schema() -> Schema {
    schema_of::<CloudEvent>(&format!("urn:hisync:schema:event:{MODEL_VERSION}"))
}

/// The JSON Schema of a withdrawal's `data`.
pub fn withdrawal_schema() -> Schema {
    schema_of::<Withdrawal>(&withdrawal_schema_uri())
}

/// The settings of published schemas (2020-12): objects may have further members.
pub fn published() -> SchemaSettings {
    let open = |schema: &mut Schema| {
        if schema.get("additionalProperties") == Some(&false.into()) {
            schema.remove("additionalProperties");
        }
    };
    SchemaSettings::draft2020_12().with_transform(RecursiveTransform(open))
}

fn schema_of<T: JsonSchema>(uri: &str) -> Schema {
    let mut schema = SchemaGenerator::new(published()).into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), uri.into());
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_schemas_accept_members_that_a_later_version_adds() {
        for schema in EntityType::ALL.map(entity_schema).into_iter().chain([event_schema(), withdrawal_schema()]) {
            let text = schema.to_value().to_string();
            assert!(!text.contains("\"additionalProperties\":false"), "{text}");
            assert!(text.contains("\"required\""), "{text}");
        }
    }
}
