//! Runs every case under `fixtures/sqlite`: a database made by `input.sql`, read as `source.toml`
//! says, in pages of every size, must give what `expected.json` holds.
//!
//! A case says, for each stream, its records as they are archived (`held` with a code where a
//! record is held), the watermark afterwards or the count. `HISYNC_ACCEPT=1` writes what was read.

use std::path::{Path, PathBuf};

use connector_api::{Decoder, Record, Watermark};
use connector_sqlite::Sqlite;
use connector_testkit::conformance::{load_source, poller, scan_changes, scan_snapshot};
use serde_json::{Value as Json, json};

#[tokio::test]
async fn every_case_reads_as_expected() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sqlite");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "cases were found");
    for case in cases {
        run(&case).await;
    }
}

async fn run(case: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(folder.path().join("source.db")).unwrap();
    database.execute_batch(&std::fs::read_to_string(case.join("input.sql")).unwrap()).unwrap();
    let source = std::fs::read_to_string(case.join("source.toml")).unwrap();
    let accepted = case.join("expected.json");
    if std::env::var_os("HISYNC_ACCEPT").is_some() {
        let found = read(&source, folder.path(), 100).await;
        std::fs::write(&accepted, format!("{found:#}\n")).unwrap();
    }
    let expected: Json = serde_json::from_str(&std::fs::read_to_string(&accepted).unwrap()).unwrap();
    for limit in [100, 3, 2, 1] {
        let found = read(&source, folder.path(), limit).await;
        assert_eq!(found, expected, "{} in pages of {limit}", case.display());
    }
}

async fn read(source: &str, folder: &Path, limit: usize) -> Json {
    let table: toml::Table = toml::from_str(source).unwrap();
    let mut streams = serde_json::Map::new();
    for stream in table["sources"][0]["streams"].as_array().unwrap() {
        let name = stream["id"].as_str().unwrap();
        let mut poller = poller::<Sqlite>(source, folder, name);
        let decoder = load_source::<Sqlite>(source, folder).unwrap().decoder;
        let found = if stream["mode"].as_str() == Some("snapshot") {
            let (records, counted) = scan_snapshot(&mut *poller, limit).await;
            assert_eq!(counted, Some(records.len() as u64), "the count agrees");
            json!({ "records": shown(&*decoder, &records), "counted": counted })
        } else {
            let mut stored = Watermark::start();
            let records = scan_changes(&mut *poller, &mut stored, limit).await;
            let at: Json = serde_json::from_str(&stored.to_text()).unwrap();
            json!({ "records": shown(&*decoder, &records), "watermark": at["at"] })
        };
        streams.insert(name.to_owned(), found);
    }
    Json::Object(streams)
}

/// Each record once: a repeated key is found again by every page that has one of its rows.
fn shown(decoder: &dyn Decoder, records: &[Record]) -> Vec<Json> {
    let mut shown: Vec<Json> = Vec::new();
    for record in records {
        assert_eq!(decoder.decode(&record.raw), record.document, "an archived row is read again as at first");
        let raw: Json = serde_json::from_slice(&record.raw.body).unwrap();
        let one = match &record.document {
            Ok(_) => raw,
            Err(failure) => json!({ "held": failure.to_string(), "raw": raw }),
        };
        if !shown.contains(&one) {
            shown.push(one);
        }
    }
    shown
}
