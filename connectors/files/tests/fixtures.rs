//! The cases under `fixtures/files`: a file put into the folder, what is stored, and where it goes.

mod support;

use std::fs;

use connector_api::{ConnectorKind as _, StreamId, Value};
use serde_json::{Value as Json, json};
use support::{Kept, Place};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/files");

#[tokio::test(start_paused = true)]
async fn every_case_is_stored_and_moved_as_expected() {
    for case in connector_testkit::cases(CASES) {
        let place = Place::new();
        let inputs = fs::read_dir(&case.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = inputs.into_iter().find(|name| name.starts_with("input.")).unwrap();
        place.put(".input", case.input());
        let hidden = fs::File::options().write(true).open(place.inbox().join(".input")).unwrap();
        hidden.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).unwrap();
        fs::rename(place.inbox().join(".input"), place.inbox().join(&name)).unwrap();
        let config = case.text("source.toml");
        let intake = Kept::all();
        let running = place.start(&config, intake.clone()).await;
        while place.names(".").contains(&name) {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        running.stopped().await;

        let decoder = place.decoder(&config);
        let mut records: Vec<Json> = Vec::new();
        for (stream, record) in intake.stored() {
            let again = decoder.decode(&record.raw);
            match &record.document {
                Ok(document) => assert_eq!(again.as_ref(), Ok(document), "{}", case.name),
                Err(_) => assert!(again.is_err(), "{}", case.name),
            }
            records.push(shown(stream.as_ref(), &record));
        }
        case.expect(&json!({ "records": records, "done": place.names("done"), "failed": place.names("failed") }));
    }
}

fn shown(stream: Option<&StreamId>, record: &connector_api::Record) -> Json {
    let (document, failure) = match &record.document {
        Ok(document) => (Json::from(&Value::Map(document.root.clone())), Json::Null),
        Err(failure) => (Json::Null, json!({ "code": failure.code, "detail": failure.detail })),
    };
    json!({
        "stream": stream.map(StreamId::as_str),
        "source_ref": record.source_ref,
        "resend_key": record.resend_key,
        "format": record.raw.format,
        "charset": record.raw.charset,
        "bytes": record.raw.body.len(),
        "document": document,
        "failure": failure,
    })
}

#[test]
fn the_sample_loads() {
    let spec = connector_testkit::source_spec::<connector_files::Files>(connector_files::Files::SAMPLE, ".".as_ref());
    assert!(connector_files::Files::build(spec).is_ok());
}
