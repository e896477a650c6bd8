//! The watermark moves past nothing that may still come or was not seen.

use crate::support::{site, start};
use connector_api::{
    Action, Advance, Batch, ConnectorKind as _, FaultClass, Flow, Poller, Request, SourceError, SourceTime, Value,
    Watermark,
};
use connector_rest::Rest;
use connector_testkit::conformance::{FixtureRow, poller};
use connector_testkit::recorded::{Peer, Turn};
use connector_testkit::source_spec;
use serde_json::json;

/// An answer of rows with a time each, and more headers.
fn answer(headers: &str, total: usize, stamps: &[&str]) -> Turn {
    let rows: Vec<_> = stamps.iter().map(|stamp| json!({"stamp": stamp})).collect();
    let body = json!({"total": total, "list": rows}).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    Turn::Answer([head.into_bytes(), body.into_bytes()].concat())
}

fn on(turns: Vec<Turn>, stream: &str) -> (Peer, Box<dyn Poller>) {
    let peer = Peer::start(turns);
    let text = format!(
        "[[sources]]\nid = \"s\"\nsettings = {{ url = \"{}\" }}\n[[sources.streams]]\nid = \"it\"\n\
         mode = \"incremental\"\nrecords = \"list\"\n{stream}\n",
        peer.url
    );
    let poller = poller::<Rest>(&text, std::path::Path::new("."), "it");
    (peer, poller)
}

async fn first(poller: &mut dyn Poller) -> Result<Batch, SourceError> {
    poller.fetch(Request::Changes { from: &start(), after: None }, 100).await
}

fn moved_to(advance: Option<Advance>) -> Option<String> {
    match advance?.to.columns().first()? {
        Value::Time(SourceTime::Local(time)) => Some(time.to_string()),
        _ => None,
    }
}

/// Eight in the morning of 2 January 2024 in the hospital.
const DATE: &str = "Date: Tue, 02 Jan 2024 00:00:00 GMT\r\n";

const FROM: &str = "list = { query = { from = \"{{ from }}\" } }\n";

#[tokio::test]
async fn a_record_of_the_future_is_read_and_the_watermark_stays_behind_it() {
    let stream = format!("{FROM}changes = {{ start = \"2024-01-01\", field = \"stamp\" }}");
    for (date, ahead) in [("", "2099-01-02 08:00:00"), (DATE, "2024-01-02 08:05:00"), (DATE, "2024-01-03 07:59:00")] {
        let (_peer, mut poller) = on(vec![answer(date, 2, &[ahead, "2024-01-02 07:50:00"])], &stream);
        let batch = first(&mut *poller).await.unwrap();
        assert_eq!(batch.records.len(), 2);
        assert_eq!(moved_to(batch.advance).as_deref(), Some("2024-01-02 07:50:00"), "{ahead}");
    }
}

#[tokio::test]
async fn a_window_is_stored_by_the_earlier_of_both_clocks() {
    let stream = format!("{FROM}changes = {{ start = \"2024-01-01\" }}");
    let (_peer, mut poller) = on(vec![answer(DATE, 1, &["2024-01-02 07:50:00"])], &stream);
    let to = moved_to(first(&mut *poller).await.unwrap().advance).unwrap();
    assert!(("2024-01-02 07:59:00".."2024-01-02 08:00:01").contains(&to.as_str()), "{to}");
    let later = "Date: Fri, 02 Jan 2099 00:00:00 GMT\r\n";
    for headers in ["", later, "Date: today\r\n"] {
        let (_peer, mut poller) = on(vec![answer(headers, 1, &["2024-01-02 07:50:00"])], &stream);
        let to = moved_to(first(&mut *poller).await.unwrap().advance).unwrap();
        assert!(("2025".."2098").contains(&to.as_str()), "our own clock counts: {to}");
    }
}

#[tokio::test]
async fn a_list_that_shrinks_while_it_is_paged_is_read_again() {
    let stream = "list = { query = { from = \"{{ from }}\", page = \"{{ page }}\" } }\ntotal = \"total\"\n\
                  paging = { by = \"page\", size = 2 }\nchanges = { start = \"2024-01-01\" }";
    let (one, two) = (["2024-01-02 07:50:00", "2024-01-02 07:51:00"], ["2024-01-02 07:53:00"]);
    let (_peer, mut poller) = on(vec![answer("", 4, &one), answer("", 3, &two)], stream);
    let page = first(&mut *poller).await.unwrap();
    assert_eq!((page.records.len(), page.advance), (2, None));
    let error = poller.fetch(Request::Changes { from: &start(), after: page.next.as_ref() }, 9).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Data, Action::Retry { after: None }));
    assert!(error.chain().contains("had 4 records and has 3"), "{}", error.chain());
}

/// Reads and commits until the end, or a failure. The keys, `held` where there is none.
async fn round(poller: &mut dyn Poller, stored: &mut Watermark) -> (Vec<String>, Result<(), SourceError>) {
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let batch = match poller.fetch(Request::Changes { from: stored, after: after.as_ref() }, 100).await {
            Ok(batch) => batch,
            Err(error) => return (read, Err(error)),
        };
        read.extend(batch.records.iter().map(|record| match &record.document {
            Ok(document) => FixtureRow::of(document).key,
            Err(_) => "held".to_owned(),
        }));
        let commits = !batch.records.is_empty() || batch.advance.is_some();
        *stored = batch.advance.map_or_else(|| stored.clone(), |advance| advance.to);
        if commits && let Err(error) = poller.committed().await {
            return (read, Err(error));
        }
        after = batch.next;
        if after.is_none() {
            return (read, Ok(()));
        }
    }
}

/// A list of what is not taken, two at a time, by windows of a day; each record may name a file.
fn untaken(total: &str) -> String {
    format!(
        "list = {{ path = \"list\", query = {{ size = \"2\", from = \"{{{{ from }}}}\", to = \"{{{{ to }}}}\" }} }}\n\
         records = \"data.list\"\n{total}\ndownloads = [{{ name = \"pdf\", url = \"name\" }}]\n\
         changes = {{ start = \"2024-01-02\", days = 400 }}\n\
         taken = {{ call = {{ path = \"taken\", body = '{{\"ids\": {{{{ keys }}}}}}' }}, key = \"key_no\" }}"
    )
}

const ANSWER: &str = r#"answer = { code = "code", ok = ["0"] }"#;

#[tokio::test]
async fn held_records_that_fill_the_list_are_told_and_nothing_moves_past_what_is_behind_them() {
    let site = site();
    let file = format!("{}file/7", site.url);
    let later = FixtureRow { stamp: Some("2025-06-01 08:00:00".to_owned()), ..FixtureRow::at("4", 4, "") };
    site.put(&[FixtureRow::at("1", 1, &file), FixtureRow::at("2", 2, &file), FixtureRow::at("3", 3, ""), later]).await;
    site.set(json!({"file": "missing"})).await;
    let mut poller = site.poller(ANSWER, "incremental", &untaken(""));
    let mut stored = start();
    let (read, ended) = round(&mut *poller, &mut stored).await;
    assert_eq!(read, ["held", "held", "4"], "the windows behind are read");
    let error = ended.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Data, Action::Retry { after: None }));
    assert!(error.chain().contains("2 records are offered again"), "{}", error.chain());
    assert_eq!(stored, start(), "3 stands behind them");
    site.set(json!({"file": "pdf"})).await;
    let (read, ended) = round(&mut *poller, &mut stored).await;
    assert_eq!((read, ended.is_ok()), (["1", "2", "3"].map(str::to_owned).to_vec(), true));
    assert_ne!(stored, start());
}

#[tokio::test]
async fn a_held_record_with_nothing_behind_it_is_no_failure_and_stays_offered() {
    let site = site();
    let file = format!("{}file/7", site.url);
    site.put(&[FixtureRow::at("1", 1, &file), FixtureRow::at("2", 2, "")]).await;
    site.set(json!({"file": "missing"})).await;
    let mut poller = site.poller(ANSWER, "incremental", &untaken("total = \"data.total\""));
    let mut stored = start();
    let (read, ended) = round(&mut *poller, &mut stored).await;
    ended.unwrap();
    assert_eq!(read, ["held", "2", "held"]);
    assert_eq!(stored, start());
}

#[tokio::test]
async fn times_are_in_the_hospitals_zone_unless_the_source_has_one_of_its_own() {
    // Half past eight in Tokyo, and in UTC.
    for (own, from) in [("", "1704151800"), (", timezone = \"UTC\"", "1704184200")] {
        let peer = Peer::start(vec![answer(DATE, 1, &["2024-01-02 07:50:00"])]);
        let text = format!(
            "[[sources]]\nid = \"s\"\nconnector = \"rest\"\nsettings = {{ url = \"{}\"{own} }}\n[[sources.streams]]\n\
             id = \"it\"\nmode = \"incremental\"\nrecords = \"list\"\n{FROM}\
             changes = {{ start = \"2024-01-01\", format = \"unix\" }}\n",
            peer.url
        );
        let mut source = source_spec::<Rest>(&text, std::path::Path::new("."));
        source.zone = "Asia/Tokyo".parse().unwrap();
        let Flow::Poll(mut pollers) = Rest::build(source).unwrap().flow else { panic!("it is polled") };
        let since = "2024-01-02T08:30:00".parse().unwrap();
        pollers[0].poller.fetch(Request::Window { since, after: None }, 10).await.unwrap();
        let asked = peer.asked.lock().unwrap()[0].clone();
        assert!(asked.contains(&format!("from={from}")), "{asked}");
    }
}
