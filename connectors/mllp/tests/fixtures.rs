//! The cases under `fixtures/mllp`: bytes sent over a socket, and what is stored and answered.
//!
//! An input that does not begin with a frame is sent as the content of one.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use connector_api::Value;
use connector_testkit::Call;
use serde_json::{Value as Json, json};
use support::{Kept, Peer, Running, framed};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/mllp");

#[tokio::test]
async fn every_case_is_stored_and_answered_as_expected() {
    for case in connector_testkit::cases(CASES) {
        let intake = Kept::all();
        let running = Running::start(&case.text("source.toml"), intake.clone()).await;
        let mut peer = Peer::connect(&running).await;
        let input = case.input();
        peer.send(&if input.contains(&0x0b) { input } else { framed(&input) }).await;
        let answers = peer.finish().await;
        running.stopped().await;

        let mut calls = intake.calls();
        calls.sort_by_key(|call| call.stream.clone());
        let records: Vec<Json> = calls.iter().flat_map(records).collect();
        case.expect(&json!({ "records": records, "answers": frames(&answers) }));
    }
}

fn records(call: &Call) -> Vec<Json> {
    let record = |record: &connector_api::Record| {
        let (document, failure) = match &record.document {
            Ok(document) => (Json::from(&Value::Map(document.root.clone())), Json::Null),
            Err(failure) => (Json::Null, json!({ "code": failure.code, "detail": failure.detail })),
        };
        json!({
            "stream": call.stream.as_ref().map(|stream| stream.as_str()),
            "source_ref": record.source_ref,
            "resend_key": record.resend_key,
            "format": record.raw.format,
            "charset": record.raw.charset,
            "bytes": record.raw.body.len(),
            "document": document,
            "failure": failure,
        })
    };
    call.records.iter().map(record).collect()
}

/// The answers' segments, with the time taken out.
fn frames(bytes: &[u8]) -> Vec<Vec<String>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => connector_formats::charset::Charset::Gb18030.decode(bytes).unwrap().into_owned(),
    };
    text.split_inclusive("\x1c\r")
        .map(|frame| {
            let content = frame.strip_prefix('\x0b').and_then(|frame| frame.strip_suffix("\x1c\r")).unwrap();
            content.split_terminator('\r').map(without_time).collect()
        })
        .collect()
}

fn without_time(segment: &str) -> String {
    if !segment.starts_with("MSH") && !segment.starts_with("BHS") {
        return segment.to_owned();
    }
    let separator = segment.chars().nth(3).unwrap();
    let mut fields: Vec<&str> = segment.split(separator).collect();
    let time = fields[6];
    assert!(time.len() == 19 && time.ends_with("+0000"), "{segment}");
    fields[6] = "TIME";
    fields.join(&separator.to_string())
}
