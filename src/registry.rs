//! The one list of connector kinds.
//!
//! Adding a connector takes its folder under `connectors/`, a dependency and one line in [`all`].

use connector_api::{Connector, ConnectorKind, Mode, SettingsProblem, SourceSpec, StreamSpec};
use connector_files::Files;
use connector_mllp::Mllp;
use connector_odbc::Odbc;
use connector_rest::Rest;
use connector_soap::Soap;
use connector_sqlite::Sqlite;
use connector_sqlserver::SqlServer;
use connector_webhook::Webhook;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// A connector kind with its types erased.
#[derive(Debug)]
pub struct Kind {
    /// The name in the configuration.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// An annotated sample that loads as it stands.
    pub sample: &'static str,
    /// The modes that its streams may have.
    pub modes: &'static [Mode],
    settings_schema: fn() -> Json,
    stream_schema: fn() -> Json,
    build: fn(SourceSpec<Json, Json>) -> Result<Connector, Vec<SettingsProblem>>,
}

impl Kind {
    /// The JSON Schema of a source's `settings` table.
    pub fn settings_schema(&self) -> Json {
        (self.settings_schema)()
    }

    /// The JSON Schema of the connector's own keys of a stream's table.
    pub fn stream_schema(&self) -> Json {
        (self.stream_schema)()
    }

    /// Builds a connector; opens nothing. Every problem of the settings at once, each with its path
    /// below the source's table (`settings.path`, `streams[0].fetch.key`).
    pub fn build(&self, source: SourceSpec<Json, Json>) -> Result<Connector, Vec<SettingsProblem>> {
        (self.build)(source)
    }
}

/// The registry's line for a connector kind.
pub const fn entry<K: ConnectorKind>() -> Kind {
    Kind {
        name: K::NAME,
        summary: K::SUMMARY,
        sample: K::SAMPLE,
        modes: K::MODES,
        settings_schema: schema_of::<K::Settings>,
        stream_schema: schema_of::<K::Stream>,
        build: build::<K>,
    }
}

/// Every connector kind of this build, by name.
pub fn all() -> &'static [Kind] {
    static ALL: &[Kind] = &[
        entry::<Files>(),
        entry::<Mllp>(),
        entry::<Odbc>(),
        entry::<Rest>(),
        entry::<Soap>(),
        entry::<Sqlite>(),
        entry::<SqlServer>(),
        entry::<Webhook>(),
    ];
    ALL
}

/// The connector kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    all().iter().find(|kind| kind.name == name)
}

/// The JSON Schema (2020-12) of a settings type.
pub(crate) fn schema_of<T: JsonSchema>() -> Json {
    SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>().to_value()
}

fn build<K: ConnectorKind>(source: SourceSpec<Json, Json>) -> Result<Connector, Vec<SettingsProblem>> {
    let mut problems = Vec::new();
    let settings = typed::<K::Settings>("settings", source.settings, &mut problems);
    let mut streams = Vec::with_capacity(source.streams.len());
    for (index, stream) in source.streams.into_iter().enumerate() {
        let typed = typed::<K::Stream>(&format!("streams[{index}]"), stream.settings, &mut problems);
        if let Some(settings) = typed {
            streams.push(StreamSpec { id: stream.id, mode: stream.mode, settings });
        }
    }
    match settings {
        Some(settings) if problems.is_empty() => {
            let (base_dir, zone) = (source.base_dir, source.zone);
            K::build(SourceSpec { id: source.id, base_dir, zone, settings, streams })
        }
        _ => Err(problems),
    }
}

fn typed<T: DeserializeOwned>(path: &str, value: Json, problems: &mut Vec<SettingsProblem>) -> Option<T> {
    match serde_path_to_error::deserialize(value) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let below = error.path().to_string();
            let path = if below == "." { path.to_owned() } else { format!("{path}.{below}") };
            problems.push(SettingsProblem::new(path, error.into_inner().to_string()));
            None
        }
    }
}

#[cfg(test)]
mod tests;
