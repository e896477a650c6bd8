//! Reads a source from TOML as the agent does, for tests of one connector.

use std::path::Path;

use connector_api::{ConnectorKind, Mode, SourceId, SourceSpec, StreamId, StreamSpec};
use serde::Deserialize as _;

/// The time zone of the hospital of these tests.
pub const ZONE: chrono_tz::Tz = chrono_tz::Asia::Shanghai;

/// The keys of a stream's table that the agent reads itself.
pub(crate) const COMMON: [&str; 11] = [
    "id",
    "entity",
    "mode",
    "schedule",
    "mapping",
    "expect",
    "sweep",
    "batch_size",
    "guards",
    "onboarding",
    "canaries",
];

/// Reads the first `[[sources]]` table of a configuration for [`ConnectorKind::build`].
///
/// # Panics
/// Where the text is not such a table, names another connector, or has unknown keys.
pub fn source_spec<K: ConnectorKind>(toml: &str, base_dir: &Path) -> SourceSpec<K::Settings, K::Stream> {
    let mut file: toml::Table = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
    let Some(toml::Value::Array(sources)) = file.remove("sources") else { panic!("there is no [[sources]] table") };
    let Some(toml::Value::Table(mut source)) = sources.into_iter().next() else { panic!("[[sources]] is empty") };
    assert_eq!(source.remove("connector").as_ref().and_then(toml::Value::as_str), Some(K::NAME), "connector");
    let id = SourceId::new(take_text(&mut source, "id"));
    let settings = source.remove("settings").unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    let settings = K::Settings::deserialize(settings).unwrap_or_else(|error| panic!("settings: {error}"));
    let Some(toml::Value::Array(tables)) = source.remove("streams") else { panic!("there are no streams") };
    assert!(source.is_empty(), "unknown keys: {source:?}");
    let streams = tables.into_iter().map(|table| stream::<K>(&id, table)).collect();
    SourceSpec { id, base_dir: base_dir.to_owned(), zone: ZONE, settings, streams }
}

fn stream<K: ConnectorKind>(source: &SourceId, table: toml::Value) -> StreamSpec<K::Stream> {
    let toml::Value::Table(mut table) = table else { panic!("a stream is not a table") };
    let id = StreamId::new(source, &take_text(&mut table, "id"));
    let mode = table.remove("mode").unwrap_or_else(|| panic!("{id} has no mode"));
    let mode = Mode::deserialize(mode).unwrap_or_else(|error| panic!("{id}: mode: {error}"));
    for key in COMMON {
        table.remove(key);
    }
    let settings = K::Stream::deserialize(toml::Value::Table(table)).unwrap_or_else(|error| panic!("{id}: {error}"));
    StreamSpec { id, mode, settings }
}

fn take_text(table: &mut toml::Table, key: &str) -> String {
    match table.remove(key) {
        Some(toml::Value::String(text)) => text,
        other => panic!("{key} is {other:?}, not text"),
    }
}
