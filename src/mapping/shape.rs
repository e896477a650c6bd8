//! The shape of the entities, read from their JSON Schemas: what a mapping file may fill.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::model::EntityType;
use crate::model::schema::entity_schema;

/// The fields of one object of the model.
#[derive(Debug)]
pub(super) struct Shape {
    /// The type's name in the model, `ResultItem`.
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Whether the model can't do without it.
    pub(super) required: bool,
    pub(super) kind: Kind,
}

/// How text becomes the field's value.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    /// A name: lost characters are looked for.
    Name,
    /// What an item is: a word of hisync's own or a LOINC code. What is not listed has none.
    Concept,
    IdNumber,
    Integer,
    /// Whole fen.
    Money,
    Age,
    Decimal,
    Bool,
    Date,
    Time,
    Enum(Vec<String>),
    Object(Shape),
    Objects(Shape),
    Texts,
}

impl Shape {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field that keeps the literal of `name`, where the model has one.
    pub(super) fn raw_of(&self, name: &str) -> Option<&Field> {
        let stem = name.strip_suffix("_minor").unwrap_or(name);
        self.field(&format!("{stem}_raw")).filter(|raw| raw.name != name)
    }
}

/// The shape of an entity.
pub(super) fn of(entity: EntityType) -> &'static Shape {
    static SHAPES: LazyLock<Vec<(EntityType, Shape)>> = LazyLock::new(|| {
        EntityType::ALL
            .into_iter()
            .map(|entity| {
                let schema = entity_schema(entity).to_value();
                (entity, object(&schema, &schema, &schema["title"]))
            })
            .collect()
    });
    static NONE: Shape = Shape { name: String::new(), fields: Vec::new() };
    SHAPES.iter().find(|(kind, _)| *kind == entity).map_or(&NONE, |(_, shape)| shape)
}

fn object(root: &Json, schema: &Json, name: &Json) -> Shape {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| Field {
        name: name.clone(),
        required: required.iter().any(|word| word == name),
        kind: kind(root, schema),
    });
    Shape { name: name.as_str().unwrap_or_default().to_owned(), fields: fields.collect() }
}

fn kind(root: &Json, schema: &Json) -> Kind {
    match schema["x-hisync-reader"].as_str() {
        Some("money") => return Kind::Money,
        Some("age") => return Kind::Age,
        Some("name") => return Kind::Name,
        Some("id_number") => return Kind::IdNumber,
        Some("concept") => return Kind::Concept,
        _ => {}
    }
    let target = schema["$ref"]
        .as_str()
        .or_else(|| schema["anyOf"].as_array()?.iter().find_map(|option| option["$ref"].as_str()))
        .and_then(|reference| reference.strip_prefix("#/$defs/"));
    if let Some(target) = target {
        let definition = &root["$defs"][target];
        return match definition["oneOf"].as_array() {
            Some(options) => Kind::Enum(words(options)),
            None if definition["type"] == "object" => Kind::Object(object(root, definition, &Json::from(target))),
            None if target == "DecimalText" => Kind::Decimal,
            None => kind(root, definition),
        };
    }
    let is =
        |word: &str| schema["type"] == word || schema["type"].as_array().is_some_and(|t| t.iter().any(|t| t == word));
    if let Some(words) = schema["enum"].as_array() {
        return Kind::Enum(words.iter().filter_map(|word| Some(word.as_str()?.to_owned())).collect());
    }
    if is("array") {
        return match kind(root, &schema["items"]) {
            Kind::Object(shape) => Kind::Objects(shape),
            _ => Kind::Texts,
        };
    }
    match schema["format"].as_str() {
        Some("date") => Kind::Date,
        Some("date-time") => Kind::Time,
        _ if is("integer") => Kind::Integer,
        _ if is("boolean") => Kind::Bool,
        _ => Kind::Text,
    }
}

fn words(options: &[Json]) -> Vec<String> {
    let listed = options.iter().filter_map(|option| option["enum"].as_array()).flatten();
    let single = options.iter().map(|option| &option["const"]);
    listed.chain(single).filter_map(|word| Some(word.as_str()?.to_owned())).collect()
}
