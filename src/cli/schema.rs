//! `hisync schema`: the JSON Schemas.

use schemars::Schema;
use serde_json::{Map, Value as Json};

use super::{Exit, Terminal};
use crate::config::reference;
use crate::diagnose::nearest;
use crate::model::EntityType;
use crate::model::schema::{entity_schema, event_schema, withdrawal_schema};
use crate::registry;

/// Prints a JSON Schema (2020-12): of an entity, an event, a withdrawal or the configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync schema                            all schemas of what travels upstream, by name
  hisync schema exam_report                the schema of a report
  hisync schema config > hisync.schema.json   for editors that complete and check TOML")]
pub(super) struct Args {
    /// exam_item, exam_item_group, exam_package, exam_report, event, withdrawal or config; all but
    /// config where none is given.
    name: Option<String>,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    match args.name.as_deref() {
        Some("config") => terminal.json(&reference::json_schema(registry::all())),
        Some(name) => match upstream().into_iter().find(|(known, _)| known == name) {
            Some((_, schema)) => terminal.json(&schema),
            None => {
                let names: Vec<String> =
                    upstream().into_iter().map(|(name, _)| name).chain(["config".to_owned()]).collect();
                let near = nearest(name, names.iter().map(String::as_str));
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                terminal.note(&format!("error: there is no schema {name:?}{near}\nThe schemas: {}", names.join(", ")));
                return Exit::Usage;
            }
        },
        None => {
            let all: Map<String, Json> =
                upstream().into_iter().map(|(name, schema)| (name, schema.to_value())).collect();
            terminal.json(&all);
        }
    }
    Exit::Fine
}

fn upstream() -> Vec<(String, Schema)> {
    let entities = EntityType::ALL.into_iter().map(|entity| (entity.to_string(), entity_schema(entity)));
    let others = [("event".to_owned(), event_schema()), ("withdrawal".to_owned(), withdrawal_schema())];
    entities.chain(others).collect()
}
