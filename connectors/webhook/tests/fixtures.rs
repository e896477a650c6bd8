//! The cases under `fixtures/webhook`: a request sent over a socket, and what is stored and answered.
//!
//! `request.txt` holds the request's line and headers, `input.*` its body. Everything stored is
//! decoded from the archive's form as well, and must give the same.

mod support;

use connector_api::{Decoder, Record, Value};
use serde_json::{Value as Json, json};
use support::{Kept, Running, ask, request};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/webhook");

#[tokio::test]
async fn every_case_is_stored_and_answered_as_expected() {
    for case in connector_testkit::cases(CASES) {
        let intake = Kept::all();
        let running = Running::start(&case.text("source.toml"), intake.clone()).await;
        let head = case.text("request.txt");
        let (line, headers) = head.trim_end().split_once('\n').unwrap_or((head.trim_end(), ""));
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let answer = ask(&running, &request(line, &headers, &case.input())).await;
        let decoder = running.decoder.clone();
        running.stopped().await;

        let calls: Vec<Json> = intake
            .calls()
            .iter()
            .map(|call| {
                let records: Vec<Json> =
                    call.records.iter().map(|record| shown(record, &*decoder, &case.name)).collect();
                json!({ "stream": call.stream.as_ref().map(|stream| stream.as_str()), "records": records })
            })
            .collect();
        case.expect(&json!({ "status": answer.status, "body": answer.body, "calls": calls }));
    }
}

fn shown(record: &Record, decoder: &dyn Decoder, case: &str) -> Json {
    let again = decoder.decode(&record.raw);
    match &record.document {
        Ok(document) => assert_eq!(again.as_ref(), Ok(document), "{case}"),
        Err(_) => assert!(again.is_err(), "{case}: unreadable at first, and read from the archive"),
    }
    let (document, failure) = match &record.document {
        Ok(document) => (Json::from(&Value::Map(document.root.clone())), Json::Null),
        Err(failure) => (Json::Null, json!({ "code": failure.code, "detail": failure.detail })),
    };
    json!({
        "source_ref": record.source_ref,
        "resend_key": record.resend_key,
        "format": record.raw.format,
        "charset": record.raw.charset,
        "bytes": record.raw.body.len(),
        "document": document,
        "failure": failure,
    })
}
