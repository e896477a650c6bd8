//! The reference of the configuration, made from the settings types: tables for people, a JSON
//! Schema for editors.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::file::{AgentTable, RetentionTable, ShadowTable, SourceTable, StoreTable, StreamTable};
use crate::registry::{Kind, schema_of};
use crate::{delivery, ops};

/// The options of one table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// The path of the table, e.g. `settings.tls`; for one of several alternatives with its tag.
    pub path: String,
    /// What the table is for.
    pub meaning: String,
    /// Its keys.
    pub options: Vec<Opt>,
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Opt {
    /// The key.
    pub key: String,
    /// The type, in words.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the file must give it.
    pub required: bool,
    /// What it is where the file does not give it, as JSON.
    pub default: Option<Json>,
    /// What it means.
    pub meaning: String,
}

/// The tables that a schema describes, the table itself first, then those below it.
pub fn tables(schema: &Json, path: &str) -> Vec<Table> {
    let mut found = Vec::new();
    collect(schema, schema, path, &[], &mut found);
    found
}

/// `open` are the names of the types that this table is part of: a type that contains itself is
/// described once.
fn collect<'a>(root: &'a Json, schema: &'a Json, path: &str, open: &[&'a str], found: &mut Vec<Table>) {
    let schema = resolve(root, schema);
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let option = |(key, property): (&String, &Json)| Opt {
        key: key.clone(),
        kind: kind_of(root, property),
        required: required.contains(&key.as_str()),
        default: property.get("default").filter(|default| !default.is_null()).cloned(),
        meaning: meaning_of(root, property),
    };
    let mut options: Vec<Opt> = properties.iter().map(option).collect();
    options.sort_by_key(|option| !option.required);
    found.push(Table { path: path.to_owned(), meaning: described(schema), options });
    for (key, property) in properties {
        below(root, property, &format!("{path}.{key}"), open, found);
    }
}

/// The tables that a value may be, hold or list.
fn below<'a>(root: &'a Json, property: &'a Json, path: &str, open: &[&'a str], found: &mut Vec<Table>) {
    let mut open = open.to_vec();
    if let Some(name) = property.get("$ref").and_then(Json::as_str) {
        if open.contains(&name) {
            return;
        }
        open.push(name);
    }
    if is_secret(property) {
        return;
    }
    let schema = resolve(root, property);
    if let Some(items) = schema.get("items") {
        return below(root, items, &format!("{path}[]"), &open, found);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        below(root, values, &format!("{path}.NAME"), &open, found);
    }
    let forms = forms_of(schema);
    for form in &forms {
        if forms.len() == 1 {
            below(root, form, path, &open, found);
        } else {
            let form = resolve(root, form);
            let tag = form.get("properties").and_then(Json::as_object).into_iter().flatten();
            let tag = tag.filter_map(|(key, schema)| Some(format!(" ({key} = {})", schema.get("const")?))).next();
            collect(root, form, &format!("{path}{}", tag.unwrap_or_default()), &open, found);
        }
    }
    collect(root, schema, path, &open, found);
}

fn resolve<'a>(root: &'a Json, mut schema: &'a Json) -> &'a Json {
    while let Some(target) =
        schema.get("$ref").and_then(Json::as_str).and_then(|name| root.pointer(name.strip_prefix('#')?))
    {
        schema = target;
    }
    schema
}

fn forms_of(schema: &Json) -> Vec<&Json> {
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array).into_iter().flatten();
    forms.filter(|form| form.get("type").and_then(Json::as_str) != Some("null")).collect()
}

fn is_secret(schema: &Json) -> bool {
    let named = |schema: &Json| schema.get("$ref").and_then(Json::as_str).is_some_and(|name| name.ends_with("/Secret"));
    named(schema) || forms_of(schema).first().is_some_and(|form| named(form))
}

fn described(schema: &Json) -> String {
    let text = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the key says about itself, else what its type says.
fn meaning_of(root: &Json, property: &Json) -> String {
    let own = described(property);
    if own.is_empty() { described(resolve(root, property)) } else { own }
}

fn kind_of(root: &Json, property: &Json) -> String {
    if is_secret(property) {
        return "secret: { file = … }, { env = … }, { credential = … } or { sealed = … }".to_owned();
    }
    let schema = resolve(root, property);
    let words = |form: &Json| match (form.get("const"), form.get("enum").and_then(Json::as_array)) {
        (Some(word), _) => vec![word.to_string()],
        (_, Some(words)) => words.iter().filter(|word| !word.is_null()).map(Json::to_string).collect(),
        _ => Vec::new(),
    };
    let own = words(schema);
    if !own.is_empty() {
        return own.join(", ");
    }
    let forms = forms_of(schema);
    match forms.as_slice() {
        [] => {}
        [only] => return kind_of(root, only),
        _ => {
            let mut kinds: Vec<String> = Vec::new();
            for form in forms.iter().map(|form| resolve(root, form)) {
                let words = words(form);
                let kind = if words.is_empty() { kind_of(root, form) } else { words.join(", ") };
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            return kinds.join(", ");
        }
    }
    let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
    let kind = match schema.get("type") {
        Some(Json::Array(kinds)) => {
            kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or_default()
        }
        Some(Json::String(kind)) => kind,
        _ => "",
    };
    match (kind, format) {
        ("string", "hisync-id") => "id".to_owned(),
        ("string", "hisync-duration") => "length of time, e.g. \"2h\"".to_owned(),
        ("string", "hisync-hours") => "hours, e.g. \"08:30-17:30\"".to_owned(),
        ("string", "hisync-days") => "days, e.g. \"Mon-Sat\"".to_owned(),
        ("string", "hisync-cron") => "schedule, e.g. \"0 */5 6-20 * * *\"".to_owned(),
        ("string", "hisync-timezone") => "time zone, e.g. \"Asia/Shanghai\"".to_owned(),
        ("string", "uri") => "URL".to_owned(),
        ("string", _) => "text".to_owned(),
        ("integer", _) => match (number(schema, "minimum"), number(schema, "maximum")) {
            (Some(least), Some(most)) => format!("whole number, {least} to {most}"),
            (Some(least), None) if least != "0" => format!("whole number, at least {least}"),
            _ => "whole number".to_owned(),
        },
        ("number", _) => "number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("array", _) => {
            let each = schema.get("items").map(|items| kind_of(root, items)).unwrap_or_default();
            format!("list of {}", if each.is_empty() { "values" } else { &each })
        }
        ("object", _) => "table".to_owned(),
        _ => String::new(),
    }
}

fn number(schema: &Json, key: &str) -> Option<String> {
    schema.get(key).filter(|bound| bound.is_number()).map(Json::to_string)
}

/// `docs/configuration.md`.
pub fn markdown(kinds: &[Kind]) -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         One TOML file per hospital. This page is made from the types that read the file, so it can't be out of date.\n\
         `hisync check -c FILE` reports everything that is wrong with a file at once; `hisync schema config` prints a\n\
         JSON Schema for editors.\n\n\
         - Paths are relative to the folder of the configuration file.\n\
         - `include = [\"lab.toml\"]` at the top adds other files (each relative to the file that names it). Their\n  \
           `[[sources]]` are appended; the tables `[agent]`, `[store]`, `[upstream]`, `[admin]`, `[retention]`, `[alerts]`,\n  \
           `[log]`, `[traces]` and `[shadow]` may be given once.\n\
         - A key that is not listed here is an error.\n\
         - Secrets never stand in the file in clear text: `{ file = \"/run/secrets/peis\" }` names a file,\n  \
           `{ env = \"PEIS_PASSWORD\" }` an environment variable, `{ credential = \"peis\" }` a systemd credential;\n  \
           `{ sealed = \"v1.…\" }` is one that `hisync secret seal` has encrypted ([security](security.md#secrets)).\n\
         - Schedules are cron with seconds, `second minute hour day month weekday`, in the hospital's time zone.\n  \
           Weekdays are names, or numbers of which 1 is Sunday.\n",
    );
    let common = [
        ("agent", schema_of::<AgentTable>()),
        ("store", schema_of::<StoreTable>()),
        ("upstream", schema_of::<delivery::Settings>()),
        ("admin", schema_of::<ops::Settings>()),
        ("retention", schema_of::<RetentionTable>()),
        ("alerts", schema_of::<ops::alert::Settings>()),
        ("log", schema_of::<ops::log::Settings>()),
        ("traces", schema_of::<ops::traces::Settings>()),
        ("shadow", schema_of::<ShadowTable>()),
        ("sources", schema_of::<SourceTable>()),
        ("sources.streams", schema_of::<StreamTable>()),
    ];
    for (path, schema) in &common {
        let title = if path.starts_with("sources") { format!("`[[{path}]]`") } else { format!("`[{path}]`") };
        section(&title, tables(schema, path), &mut out);
    }
    for kind in kinds {
        let modes: Vec<String> = kind.modes.iter().map(|mode| json!(mode).to_string()).collect();
        let _ = write!(out, "\n## Connector `{}`\n\n{}\n\nModes: {}.\n", kind.name, kind.summary, modes.join(", "));
        for table in
            tables(&kind.settings_schema(), "settings").into_iter().chain(tables(&kind.stream_schema(), "streams[]"))
        {
            markdown_table(&table, &mut out);
        }
    }
    out
}

fn section(title: &str, tables: Vec<Table>, out: &mut String) {
    let _ = write!(out, "\n## {title}\n");
    for (index, mut table) in tables.into_iter().enumerate() {
        if index == 0 {
            table.path.clear();
        }
        markdown_table(&table, out);
    }
}

fn markdown_table(table: &Table, out: &mut String) {
    if !table.path.is_empty() {
        let _ = write!(out, "\n### `{}`\n", table.path);
    }
    if !table.meaning.is_empty() {
        let _ = write!(out, "\n{}\n", table.meaning);
    }
    if table.options.is_empty() {
        out.push_str("\nIt has no keys.\n");
        return;
    }
    out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    for option in &table.options {
        let default = match (&option.default, option.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "required".to_owned(),
            (None, false) => "optional".to_owned(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            option.key,
            cell(&option.kind),
            cell(&default),
            cell(&option.meaning)
        );
    }
}

/// `config/hisync.schema.json`: a JSON Schema (2020-12) of the whole file with every connector.
pub fn json_schema(kinds: &[Kind]) -> Json {
    let mut defs = Map::new();
    let agent = embed(schema_of::<AgentTable>(), "agent", &mut defs);
    let store = embed(schema_of::<StoreTable>(), "store", &mut defs);
    let upstream = embed(schema_of::<delivery::Settings>(), "upstream", &mut defs);
    let admin = embed(schema_of::<ops::Settings>(), "admin", &mut defs);
    let retention = embed(schema_of::<RetentionTable>(), "retention", &mut defs);
    let alerts = embed(schema_of::<ops::alert::Settings>(), "alerts", &mut defs);
    let log = embed(schema_of::<ops::log::Settings>(), "log", &mut defs);
    let traces = embed(schema_of::<ops::traces::Settings>(), "traces", &mut defs);
    let shadow = embed(schema_of::<ShadowTable>(), "shadow", &mut defs);
    let mut source = embed(schema_of::<SourceTable>(), "source", &mut defs);
    let stream = embed(schema_of::<StreamTable>(), "stream", &mut defs);
    if !kinds.is_empty() {
        source["properties"]["connector"]["enum"] = kinds.iter().map(|kind| kind.name).collect();
    }
    let mut choices = Vec::new();
    for kind in kinds {
        let settings = embed(kind.settings_schema(), kind.name, &mut defs);
        let own = embed(kind.stream_schema(), kind.name, &mut defs);
        let required = settings.get("required").and_then(Json::as_array).is_some_and(|keys| !keys.is_empty());
        let mut then = json!({ "properties": {
            "settings": settings,
            "streams": { "items": joined(stream.clone(), own) },
        } });
        if required {
            then["required"] = json!(["settings"]);
        }
        choices.push(json!({ "if": { "properties": { "connector": { "const": kind.name } } }, "then": then }));
    }
    if !choices.is_empty() {
        source["allOf"] = Json::Array(choices);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:hisync:schema:config:v1",
        "title": "The configuration of hisync",
        "type": "object",
        "properties": {
            "include": {
                "description": "Further files, each relative to this one.",
                "type": "array",
                "items": { "type": "string" },
            },
            "agent": agent,
            "store": store,
            "upstream": upstream,
            "admin": admin,
            "retention": retention,
            "alerts": alerts,
            "log": log,
            "traces": traces,
            "shadow": shadow,
            "sources": { "description": "The source systems.", "type": "array", "items": source, "minItems": 1 },
        },
        // An included file has a part of the tables, so none of them can be required of each file.
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// The keys of both tables in one.
fn joined(mut common: Json, own: Json) -> Json {
    let Some(properties) = own.get("properties").and_then(Json::as_object) else {
        if own.get("oneOf").is_some() || own.get("anyOf").is_some() {
            // Its keys depend on a tag: leave them to `hisync check`.
            common["additionalProperties"] = Json::Bool(true);
        }
        return common;
    };
    for (key, schema) in properties {
        common["properties"][key] = schema.clone();
    }
    if let (Some(all), Some(more)) = (common["required"].as_array_mut(), own.get("required").and_then(Json::as_array)) {
        all.extend(more.iter().cloned());
    }
    common
}

/// Moves a schema's definitions to the common ones under a name of its own.
fn embed(mut schema: Json, scope: &str, defs: &mut Map<String, Json>) -> Json {
    rename(&mut schema, scope);
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
        if let Some(Json::Object(own)) = object.remove("$defs") {
            defs.extend(own.into_iter().map(|(name, schema)| (format!("{scope}.{name}"), schema)));
        }
    }
    schema
}

fn rename(schema: &mut Json, scope: &str) {
    match schema {
        Json::Object(object) => {
            if let Some(Json::String(name)) = object.get_mut("$ref")
                && let Some(local) = name.strip_prefix("#/$defs/")
            {
                *name = format!("#/$defs/{scope}.{local}");
            }
            object.values_mut().for_each(|value| rename(value, scope));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| rename(item, scope)),
        _ => {}
    }
}
