//! What the tests of relational sources share.

use std::path::Path;

use connector_api::{ConnectorKind, Decoder, Poller, Record, Request, Watermark};
use serde_json::{Value as Json, json};

use crate::conformance::{load_source, poller, scan_changes, scan_snapshot};

/// The streams of the conformance suite, where the parents are read by `fetch` and the snapshot from `parent`.
pub fn streams(fetch: &str) -> String {
    format!(
        r#"
        [[sources.streams]]
        id = "changes"
        mode = "incremental"
        fetch = {{ {fetch} }}
        children = [{{ name = "items", from = "child", key = ["key_no"], order_by = ["item"] }}]
        [[sources.streams]]
        id = "all"
        mode = "snapshot"
        fetch = {{ from = "parent", key = ["key_no"] }}
        children = [{{ name = "items", from = "child", key = ["key_no"] }}]
        "#
    )
}

/// What each stream of a fixture case's source gives in pages of `limit`: its records as they are archived (`held` with
/// a code where a record is held), and the watermark afterwards or the count.
///
/// # Panics
/// Where the source is refused, or an archived record reads otherwise than at first.
pub async fn read_case<K: ConnectorKind>(source: &str, folder: &Path, limit: usize) -> Json {
    let table: toml::Table = toml::from_str(source).expect("a source");
    let mut streams = serde_json::Map::new();
    for stream in table["sources"][0]["streams"].as_array().expect("streams") {
        let name = stream["id"].as_str().expect("an id");
        let mut poller = poller::<K>(source, folder, name);
        let built = load_source::<K>(source, folder).unwrap_or_else(|problems| panic!("refused: {problems:?}"));
        let found = if stream["mode"].as_str() == Some("snapshot") {
            let (records, counted) = scan_snapshot(&mut *poller, limit).await;
            json!({ "records": shown(&*built.decoder, &records), "counted": counted })
        } else {
            let mut stored = Watermark::start();
            let records = scan_changes(&mut *poller, &mut stored, limit).await;
            let at: Json = serde_json::from_str(&stored.to_text()).expect("JSON");
            json!({ "records": shown(&*built.decoder, &records), "watermark": at["at"] })
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
        let raw: Json = serde_json::from_slice(&record.raw.body).expect("JSON");
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

/// How many records a snapshot has, read in pages and thrown away; it ends early once `enough` came.
///
/// # Panics
/// Where the source fails.
pub async fn count_records(poller: &mut dyn Poller, page: usize, enough: usize) -> usize {
    let (mut after, mut rows) = (None, 0);
    loop {
        let batch = poller.fetch(Request::Snapshot { after: after.as_ref() }, page).await.expect("a page");
        rows += batch.records.len();
        after = batch.next.filter(|_| rows < enough);
        if after.is_none() {
            return rows;
        }
    }
}
