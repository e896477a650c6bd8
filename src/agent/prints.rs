//! What each part of the agent stands on: two prints that are equal need the same part.
//!
//! A print holds the part's settings as they are written, the versions of its mappings, and a digest of each secret and
//! certificate that they refer to, salted anew in each process: prints are compared in memory and never shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use connector_api::{Mode, Secret};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, SourceConfig, StreamConfig};
use crate::delivery::Auth;
use crate::ops::access;

/// Files of settings that are read when a part starts. Larger ones, and of other kinds, are data.
const READ_AT_START: [&str; 11] = ["pem", "crt", "cer", "key", "p12", "wsdl", "xsd", "xml", "toml", "sql", "template"];
const LARGEST: u64 = 1 << 20;

fn digest(bytes: &[u8]) -> Json {
    static SALT: OnceLock<String> = OnceLock::new();
    let mut hash = Sha256::new();
    hash.update(SALT.get_or_init(access::random_word).as_bytes());
    hash.update(bytes);
    hex::encode(hash.finalize()).into()
}

/// What a table refers to outside of the configuration: secrets and files, each by its path with a digest.
fn outside(table: &Json, base_dir: &Path, with_secrets: bool) -> Json {
    let mut found = Map::new();
    look_outside(table, base_dir, with_secrets, "", &mut found);
    Json::Object(found)
}

fn look_outside(value: &Json, base_dir: &Path, with_secrets: bool, path: &str, found: &mut Map<String, Json>) {
    match value {
        Json::Object(entries) => {
            if let Ok(secret) = serde_json::from_value::<Secret>(value.clone()) {
                if let (true, Ok(text)) = (with_secrets, secret.read(base_dir)) {
                    found.insert(format!("{path} (the secret)"), digest(text.expose().as_bytes()));
                }
                return;
            }
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                look_outside(value, base_dir, with_secrets, &path, found);
            }
        }
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look_outside(item, base_dir, with_secrets, &format!("{path}[{at}]"), found);
            }
        }
        Json::String(name) => {
            let file = base_dir.join(name);
            let kind = file.extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_lowercase();
            let read = READ_AT_START.contains(&kind.as_str())
                && std::fs::metadata(&file).is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
            if let Some(bytes) = read.then(|| std::fs::read(&file).ok()).flatten() {
                found.insert(format!("{path} (the file)"), digest(&bytes));
            }
        }
        _ => {}
    }
}

/// A table of the file as it is written; `null` where it is left out.
fn table(config: &Config, name: &str) -> Json {
    config.written.get(name).cloned().unwrap_or_default()
}

/// A table without some of its keys.
fn without(mut table: Json, keys: &[&str]) -> Json {
    if let Some(entries) = table.as_object_mut() {
        entries.retain(|key, _| !keys.contains(&key.as_str()));
    }
    table
}

fn written_source(config: &Config, source: &SourceConfig) -> Json {
    let sources = config.written.get("sources").and_then(Json::as_array);
    let id = |table: &&Json| table.get("id").and_then(Json::as_str) == Some(source.id.as_str());
    sources.and_then(|sources| sources.iter().find(id)).cloned().unwrap_or_default()
}

fn written_stream(config: &Config, source: &SourceConfig, stream: &StreamConfig) -> Json {
    let source = written_source(config, source);
    let short = stream.id.as_str().split_once('/').map_or("", |(_, id)| id);
    let streams = source.get("streams").and_then(Json::as_array);
    let id = |table: &&Json| table.get("id").and_then(Json::as_str) == Some(short);
    streams.and_then(|streams| streams.iter().find(id)).cloned().unwrap_or_default()
}

/// Keys of a stream's table that only those read who look at the stream from outside.
const LOOKED_AT: [&str; 5] = ["expect", "onboarding", "canaries", "guards", "mapping"];

/// How a source is reached, with what some of its streams ask for.
fn connection(config: &Config, source: &SourceConfig, streams: &[&StreamConfig], polled: bool) -> Json {
    let own: BTreeMap<&str, Json> = streams
        .iter()
        .map(|stream| (stream.id.as_str(), json!({ "mode": mode(stream.mode), "own": stream.settings })))
        .collect();
    let settings = json!({ "settings": source.settings, "streams": own });
    // What a sender proves itself by is read for each request; the key of a port only when that opens.
    let outside = match polled {
        true => outside(&settings, &config.base_dir, true),
        false => {
            let tls = source.settings.get("tls").cloned().unwrap_or_default();
            json!([outside(&settings, &config.base_dir, false), outside(&tls, &config.base_dir, true)])
        }
    };
    json!({ "connector": source.kind.name, "outside": outside, "of": settings })
}

fn mode(mode: Mode) -> Json {
    serde_json::to_value(mode).unwrap_or_default()
}

/// A polled stream.
pub(super) fn polled(config: &Config, source: &SourceConfig, stream: &StreamConfig) -> Json {
    json!({
        "connection": connection(config, source, &[stream], true),
        "stream": without(written_stream(config, source, stream), &LOOKED_AT),
        "mapping": stream.mapping.version(),
    })
}

/// The socket or folder of a source that listens; not how what it receives is read.
pub(super) fn listening(config: &Config, source: &SourceConfig) -> Json {
    let streams: Vec<&StreamConfig> = source.streams.iter().collect();
    connection(config, source, &streams, false)
}

/// How what a source receives is read.
pub(super) fn reading(source: &SourceConfig) -> Json {
    let of = |stream: &StreamConfig| json!([stream.id.as_str(), stream.entity.as_str(), stream.mapping.version()]);
    source.streams.iter().map(of).collect()
}

/// What everything stands on: another one is another agent.
pub(super) fn core(config: &Config) -> Json {
    let agent = table(config, "agent");
    let base = ["hospital", "campus", "timezone", "data_dir", "lane"];
    let agent: Map<String, Json> =
        base.into_iter().filter_map(|key| Some((key.to_owned(), agent.get(key)?.clone()))).collect();
    let store = table(config, "store");
    json!({ "agent": agent, "outside": outside(&store, &config.base_dir, true), "store": store })
}

/// Delivery. A signing secret or token is read for each request; only the key of a client certificate is not.
pub(super) fn delivery(config: &Config) -> Json {
    let upstream = without(table(config, "upstream"), &["anti_entropy"]);
    let fixed = matches!(config.upstream.auth, Auth::MutualTls { .. });
    json!({ "outside": outside(&upstream, &config.base_dir, fixed), "upstream": upstream })
}

/// What compares upstream with the ledger.
pub(super) fn digests(config: &Config) -> Json {
    let own = ["batch_max_events", "batch_max_bytes", "parallel", "heartbeat_secs", "retry"];
    let upstream = without(table(config, "upstream"), &own);
    let fixed = matches!(config.upstream.auth, Auth::MutualTls { .. });
    json!({ "outside": outside(&upstream, &config.base_dir, fixed), "upstream": upstream })
}

/// What upstream knows this agent by.
pub(super) fn credentials(config: &Config) -> Json {
    let auth = table(config, "upstream").get("auth").cloned().unwrap_or_default();
    let secrets = outside(&auth, &config.base_dir, true);
    json!({ "auth": auth, "outside": secrets, "url": table(config, "upstream").get("url") })
}

/// Alerts. Secrets are read for each message; templates when the desk is set up.
pub(super) fn alerts(config: &Config) -> Json {
    let alerts = table(config, "alerts");
    let mut templates = Map::new();
    if let Some(folder) = &config.alerts.templates {
        let entries = std::fs::read_dir(config.base_dir.join(folder)).into_iter().flatten().flatten();
        for entry in entries.take(1000) {
            let small = entry.metadata().is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
            if let Some(bytes) = small.then(|| std::fs::read(entry.path()).ok()).flatten() {
                templates.insert(entry.file_name().to_string_lossy().into_owned(), digest(&bytes));
            }
        }
    }
    json!({ "outside": outside(&alerts, &config.base_dir, false), "alerts": alerts, "templates": templates })
}

/// Where traces go.
pub(super) fn traces(config: &Config) -> Json {
    let traces = table(config, "traces");
    json!({ "outside": outside(&traces, &config.base_dir, true), "traces": traces })
}

/// Where the admin address is, and how it is encrypted.
pub(super) fn admin(config: &Config) -> Json {
    let admin = without(table(config, "admin"), &["operators", "allow_remote"]);
    json!({ "outside": outside(&admin, &config.base_dir, true), "admin": admin })
}

/// Who may use the admin address.
pub(super) fn operators(config: &Config) -> Json {
    let operators = table(config, "admin").get("operators").cloned().unwrap_or_default();
    let secrets = outside(&operators, &config.base_dir, true);
    json!({ "operators": operators, "outside": secrets, "tls": config.admin.tls.is_some() })
}

/// When the streams of listeners are compared with the receipts.
pub(super) fn compared(config: &Config) -> Json {
    let pushed = |stream: &&StreamConfig| stream.schedule.is_none() && stream.reconcile.is_some();
    let of = |source: &SourceConfig| -> Vec<Json> {
        let streams = source.streams.iter().filter(pushed);
        streams.map(|stream| json!([stream.id.as_str(), written_stream(config, source, stream)["reconcile"]])).collect()
    };
    config.sources.iter().flat_map(of).collect()
}

/// What maps archived records again.
pub(super) fn readers(config: &Config) -> Json {
    config.sources.iter().map(reading).collect()
}

/// The paths at which two values differ, lists of tables by their ids.
pub(super) fn differences(before: &Json, after: &Json) -> Vec<String> {
    let mut found = Vec::new();
    compare(before, after, "", &mut found);
    found
}

fn compare(before: &Json, after: &Json, path: &str, found: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (before, after) {
        (before, after) if before == after => {}
        (Json::Object(left), Json::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let side = |side: &Map<String, Json>| side.get(key).cloned().unwrap_or_default();
                compare(&side(left), &side(right), &below(key), found);
            }
        }
        (Json::Array(left), Json::Array(right)) if by_id(left).is_some() && by_id(right).is_some() => {
            let (left, right) = (by_id(left).unwrap_or_default(), by_id(right).unwrap_or_default());
            let ids: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for id in ids {
                let side =
                    |side: &BTreeMap<String, &Json>| side.get(id).map(|table| (*table).clone()).unwrap_or_default();
                compare(&side(&left), &side(&right), &below(id), found);
            }
        }
        _ => found.push(if path.is_empty() { "everything".to_owned() } else { path.to_owned() }),
    }
}

fn by_id(items: &[Json]) -> Option<BTreeMap<String, &Json>> {
    let id = |item: &Json| ["id", "name"].into_iter().find_map(|key| item.get(key)?.as_str().map(str::to_owned));
    items.iter().map(|item| Some((id(item)?, item))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_paths_and_tables_by_their_ids() {
        let before =
            json!({ "agent": { "a": 1 }, "sources": [{ "id": "peis", "settings": { "host": "x" } }, { "id": "lab" }] });
        let after = json!({ "agent": { "a": 1, "b": 2 }, "sources": [{ "id": "new" }, { "id": "peis", "settings": { "host": "y" } }] });
        assert_eq!(
            differences(&before, &after),
            ["agent.b", "sources.lab", "sources.new", "sources.peis.settings.host"]
        );
        assert_eq!(differences(&json!([1, 2]), &json!([2, 1])), ["everything"]);
        assert!(differences(&before, &before.clone()).is_empty());
    }

    #[test]
    fn a_secret_that_is_replaced_differs_and_is_not_in_the_print() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let table = json!({ "host": "x", "password": { "file": "password" }, "database": "data.db" });
        std::fs::write(folder.path().join("data.db"), "changes all the time").unwrap();
        std::fs::write(&file, "first-secret").unwrap();
        let before = outside(&table, folder.path(), true);
        assert_eq!(before, outside(&table, folder.path(), true));
        std::fs::write(&file, "second-secret").unwrap();
        let after = outside(&table, folder.path(), true);
        assert_eq!(differences(&before, &after), ["password (the secret)"]);
        assert!(!after.to_string().contains("second-secret"));
        assert_eq!(outside(&table, folder.path(), false), json!({}));
    }
}
