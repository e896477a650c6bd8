//! Files beside a record: they come with it, or it is held; and what a person is shown of a folder.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::fs;
use std::time::Duration;

use connector_api::{Document, FaultClass, Value};
use serde_json::{Value as Json, json};
use support::{Kept, Place, RENAMED, config};

/// Attachments named by the column `files`, with further rules.
fn attached(settings: &str, rules: &str) -> String {
    config(settings) + &format!("attachments = {{ fields = [\"files\"]{rules} }}\n")
}

/// What a document has as attachments: names and sizes.
fn attachments(document: &Document) -> Json {
    let list = document.root.get("attachments").and_then(Value::as_list).unwrap_or_default();
    let shown = |one: &Value| {
        let map = one.as_map().unwrap();
        let Some(Value::Bytes(bytes)) = map.get("bytes") else { panic!("no bytes") };
        json!([map.get("name").unwrap().as_text(), map.get("file_name").unwrap().as_text(), bytes.len()])
    };
    list.iter().map(shown).collect()
}

#[tokio::test(start_paused = true)]
async fn files_named_by_a_record_are_archived_with_it() {
    let place = Place::new();
    place.put("a.pdf", "%PDF-1.7 report");
    fs::create_dir(place.inbox().join("img")).unwrap();
    place.put("b.jpg", b"\xff\xd8\xff\xe0");
    place.put("t.csv", "no,files\n1,D:\\PACS\\a.pdf;b.jpg\n2,\n");
    let intake = Kept::all();
    let config = attached(RENAMED, "");
    let running = place.start(&config, intake.clone()).await;
    place.arrives("done", "t.csv").await;
    running.stopped().await;
    let stored = intake.stored();
    let documents: Vec<&Document> = stored.iter().map(|(_, record)| record.document.as_ref().unwrap()).collect();
    assert_eq!(attachments(documents[0]), json!([["files", "D:\\PACS\\a.pdf", 15], ["files", "b.jpg", 4]]));
    assert_eq!(attachments(documents[1]), json!([]));
    assert_eq!(stored[1].1.raw.format, "text/csv; stream=export/reports", "a record without files is no bundle");
    let decoder = place.decoder(&config);
    for (_, record) in &stored {
        assert_eq!(decoder.decode(&record.raw).as_ref(), record.document.as_ref());
    }
    assert_eq!(place.names("."), ["a.pdf", "b.jpg"], "they may belong to other records as well");
}

#[tokio::test(start_paused = true)]
async fn a_joined_list_with_a_missing_file_waits_and_is_then_held_and_never_delivered_without_it() {
    let place = Place::new();
    place.put("a.pdf", "%PDF-1.7");
    place.put("t.csv", "no,files\n1,a.pdf;张三.jpg\n2,a.pdf\n");
    place.put("u.csv", "no,files\n3,\n");
    let intake = Kept::all();
    let config = attached(RENAMED, ", wait_secs = 60");
    let running = place.start(&config, intake.clone()).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(intake.stored().is_empty(), "no later file of the stream goes first");
    place.arrives("done", "u.csv").await;
    assert_eq!(intake.column("no"), ["attachment-missing", "2", "3"]);
    let (_, held) = intake.stored().remove(0);
    let failure = held.document.as_ref().unwrap_err();
    assert_eq!(
        failure.detail, "file 2 of the 2 that the record names, by \"files\", did not come or is too large",
        "no name of a person"
    );
    assert_eq!(place.decoder(&config).decode(&held.raw).as_ref(), Err(failure), "nor by a retry");
    // Sent again with what was missing.
    place.put("张三.jpg", b"\xff\xd8\xff\xe0");
    fs::rename(place.inbox().join("done/t.csv"), place.inbox().join("t.csv")).unwrap();
    place.arrives("done", "t.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["attachment-missing", "2", "3", "1"], "what was stored is known again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_late_is_waited_for() {
    let place = Place::new();
    place.put("t.csv", "no,files\n1,pdf\\a.pdf\n");
    fs::create_dir(place.inbox().join("pdf")).unwrap();
    let intake = Kept::all();
    let stable = "complete = { type = \"stable\", secs = 5 }";
    let running = place.start(&attached(stable, ", folder = \"pdf\", after = \"move\""), intake.clone()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    place.put("pdf/a.pdf", "%PDF-1.7");
    tokio::time::sleep(Duration::from_secs(3)).await;
    place.put("pdf/a.pdf", "%PDF-1.7 and more");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(intake.stored().is_empty(), "it was still growing");
    place.arrives("done", "a.pdf").await;
    running.stopped().await;
    let (_, record) = intake.stored().remove(0);
    assert_eq!(attachments(record.document.as_ref().unwrap()), json!([["files", "pdf\\a.pdf", 17]]));
    assert_eq!(place.names("done"), ["a.pdf", "t.csv"]);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_is_replaced_before_it_is_moved_is_read_again() {
    let place = Place::new();
    place.put("a.pdf", "%PDF-1.7 first");
    place.put("t.csv", "no,files\n1,a.pdf\n2,a.pdf\n");
    let intake = Kept::gated(0);
    let running = place.start(&attached(RENAMED, ", after = \"move\""), intake.clone()).await;
    intake.arrivals(1).await;
    // Stored, and not moved yet.
    place.put("a.pdf", "%PDF-1.7 the second");
    intake.gate.add_permits(100);
    place.arrives("done", "a.pdf").await;
    running.stopped().await;
    let sizes: Vec<Json> = intake
        .stored()
        .iter()
        .map(|(_, record)| attachments(record.document.as_ref().unwrap())[0][2].clone())
        .collect();
    assert_eq!(sizes, [14, 14, 19, 19]);
    assert_eq!((place.names("."), place.names("done")), (vec![], vec!["a.pdf".to_owned(), "t.csv".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_table_with_a_memo_file_and_pictures_waits_for_all_of_them_at_once() {
    // A FoxPro table of one record that names a.jpg, and its memo file.
    let mut table = vec![0; 32];
    (table[0], table[4], table[8], table[10]) = (0xf5, 1, 97, 19);
    for (name, kind, width) in [("files", b'C', 8), ("no", b'M', 10)] {
        let mut field = [0; 32];
        field[..name.len()].copy_from_slice(name.as_bytes());
        (field[11], field[16]) = (kind, width);
        table.extend_from_slice(&field);
    }
    table.extend_from_slice(b"\r a.jpg            1\x1a");
    let mut memo = vec![0; 64];
    memo[7] = 64;
    memo.extend_from_slice(b"\0\0\0\x01\0\0\0\x027a");
    let place = Place::new();
    let intake = Kept::all();
    let config = attached("complete = { type = \"stable\", secs = 5 }", "")
        .replace("*.csv", "*.dbf")
        .replace("type = \"csv\"", "type = \"dbf\"");
    let running = place.start(&config, intake.clone()).await;
    place.put("T.dbf", &table);
    tokio::time::sleep(Duration::from_secs(20)).await;
    place.put("t.FPT", &memo);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(intake.stored().is_empty());
    place.put("a.jpg", b"\xff\xd8\xff");
    place.arrives("done", "t.FPT").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["7a"]);
    assert_eq!(
        (place.names("."), place.names("done")),
        (vec!["a.jpg".to_owned()], vec!["T.dbf".to_owned(), "t.FPT".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_page_in_the_place_of_a_pdf_is_held() {
    let place = Place::new();
    place.put("a.pdf", "<html><body>404 Not Found</body></html>");
    place.put("t.csv", "no,files\n1,a.pdf\n");
    let intake = Kept::all();
    let running = place.start(&attached(RENAMED, ""), intake.clone()).await;
    place.arrives("done", "t.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["attachment-content"]);
}

#[tokio::test(start_paused = true)]
async fn names_that_lead_elsewhere_and_columns_that_are_missing_are_held() {
    let place = Place::new();
    let secret = place.base().join("secret");
    fs::write(&secret, "x").unwrap();
    std::os::unix::fs::symlink(&secret, place.inbox().join("link.txt")).unwrap();
    place.put("t.csv", "no,files\n1,pacs/../../secret\n2,pacs/link.txt\n");
    place.put("u.csv", "no\n3\n");
    let intake = Kept::all();
    let running = place.start(&attached(RENAMED, ", prefix = 'PACS\\', wait_secs = 1"), intake.clone()).await;
    place.arrives("done", "t.csv").await;
    place.arrives("done", "u.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["attachment-missing", "attachment-missing", "attachment-field"]);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_attachments_that_is_gone_says_nothing_about_its_files() {
    let place = Place::new();
    let share = place.base().join("pacs");
    fs::create_dir(&share).unwrap();
    fs::write(share.join("a.pdf"), "%PDF-1.7").unwrap();
    let away = place.base().join("away");
    fs::rename(&share, &away).unwrap();
    place.put("t.csv", "no,files\n1,a.pdf\n");
    let intake = Kept::all();
    let config = attached(RENAMED, ", folder = \"../pacs\", wait_secs = 1");
    let error = place.start(&config, intake.clone()).await.ended().await.unwrap_err();
    assert_eq!(error.class, FaultClass::Missing, "{}", error.chain());
    assert!(intake.stored().is_empty());
    fs::rename(&away, &share).unwrap();
    let running = place.start(&config, intake.clone()).await;
    place.arrives("done", "t.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["1"]);
}

#[tokio::test]
async fn a_probe_counts_what_waits_and_changes_nothing() {
    let place = Place::new();
    for name in ["a.csv", "b.csv", "c.txt", "d.tmp", ".hisync-moving-e.csv"] {
        place.put(name, "no\n1\n");
    }
    let probe = place.listener(&config("failed_dir = \"/dev/shm\"")).probe().await.unwrap();
    assert_eq!(
        probe.findings,
        [
            "the folder can be listed and written to",
            "done_dir is on the folder's file system, and will be made: a move is one step",
            "failed_dir is on another file system: files are copied there before they are removed",
            "2 × file of export/reports",
            "1 × file of no stream",
            "1 × ignored",
        ]
    );
    assert_eq!(place.names("."), [".hisync-moving-e.csv", "a.csv", "b.csv", "c.txt", "d.tmp"]);
    let gone = config("").replace("\"inbox\"", "\"none\"");
    assert_eq!(place.listener(&gone).probe().await.unwrap_err().class, FaultClass::Missing);
}

#[tokio::test]
async fn a_file_is_described_by_its_first_records_before_it_is_taken() {
    let place = Place::new();
    place.put("a.csv", "TJBH,XM\n1,甲\n2,乙\n3,丙\n4,丁\n5,戊\n6,己\n");
    place.put("other.txt", "x");
    let mut listener = place.listener(&config(""));
    let listed = listener.discover(None).await.unwrap();
    let names: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.kind.as_str())).collect();
    assert_eq!(names, [("a.csv", "file of export/reports"), ("other.txt", "file of no stream")]);
    let described = listener.discover(Some("a.csv")).await.unwrap().remove(0);
    let columns: Vec<&str> = described.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!((columns, described.rows, described.sample.len()), (vec!["TJBH", "XM"], Some(6), 5));
    assert_eq!(listener.discover(Some("other.txt")).await.unwrap_err().class, FaultClass::Missing);
    assert_eq!(listener.discover(Some("../secret")).await.unwrap_err().class, FaultClass::Missing);
    assert_eq!(place.names("."), ["a.csv", "other.txt"]);
}
