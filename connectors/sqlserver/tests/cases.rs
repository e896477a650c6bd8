//! Runs every case under `fixtures/sqlserver`: data made by `input.sql`, read as `source.toml` says,
//! in pages of every size, must give what `expected.json` holds.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::path::Path;

use connector_api::{Decoder, Record, Watermark};
use connector_sqlserver::SqlServer;
use connector_tds_testkit::TdsServer;
use connector_testkit::cases;
use connector_testkit::conformance::{load_source, poller, scan_changes, scan_snapshot};
use serde_json::{Value as Json, json};

#[tokio::test]
async fn every_case_reads_as_expected() {
    for case in cases(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sqlserver")) {
        let server = support::server();
        server.execute(&case.text("input.sql"));
        let source = case.text("source.toml").replace("PORT", &server.port().to_string());
        for limit in [100, 2, 1] {
            case.expect(&read(&source, &server, limit).await);
        }
    }
}

async fn read(source: &str, server: &TdsServer, limit: usize) -> Json {
    let table: toml::Table = toml::from_str(source).unwrap();
    let mut streams = serde_json::Map::new();
    for stream in table["sources"][0]["streams"].as_array().unwrap() {
        let name = stream["id"].as_str().unwrap();
        let mut poller = poller::<SqlServer>(source, server.folder(), name);
        let decoder = load_source::<SqlServer>(source, server.folder()).unwrap().decoder;
        let found = if stream["mode"].as_str() == Some("snapshot") {
            let (records, counted) = scan_snapshot(&mut *poller, limit).await;
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
