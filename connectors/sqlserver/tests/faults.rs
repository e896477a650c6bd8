//! A server that hangs, dies or answers nonsense in the middle.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::time::Duration;

use connector_api::{Action, FaultClass, Poller, Request, Watermark};
use connector_tds_testkit::{FaultKind, TdsServer};
use connector_testkit::conformance::scan_changes;
use support::{changes, server, snapshot};

const STREAM: &str = r#"fetch = { from = "t", key = ["id"], watermark = { column = "id", type = "number", lag = 0 } }"#;
const ROWS: usize = 400;

fn filled() -> TdsServer {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, name nvarchar(40)); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE
         i < 400) INSERT INTO t SELECT i, '姓名' || i FROM n;",
    );
    server
}

async fn scan(poller: &mut dyn Poller) -> usize {
    scan_changes(poller, &mut Watermark::start(), 150).await.len()
}

async fn failed(poller: &mut dyn Poller) -> connector_api::SourceError {
    let start = Watermark::start();
    poller.fetch(Request::Changes { from: &start, after: None }, 300).await.expect_err("a fault")
}

#[tokio::test]
async fn a_stall_in_the_middle_of_a_row_ends_with_query_timeout() {
    let server = filled();
    let mut poller = changes(&server, "query_timeout_secs = 1", STREAM);
    server.inject("SELECT TOP 301", FaultKind::StallAfter(5_001));
    let error = failed(&mut *poller).await;
    assert_eq!((error.class, error.action), (FaultClass::Timeout, Action::Retry { after: None }));
    assert!(error.hint.unwrap().contains("query_timeout_secs"));
    assert_eq!(scan(&mut *poller).await, ROWS, "the next scan is whole");
    assert_eq!(server.accepted(), 2, "on a connection of its own");
}

/// The rest of an answer, or a late acknowledgement, must not be taken for the answer to another
/// question.
#[tokio::test]
async fn after_a_timeout_late_answers_reach_nobody() {
    let server = filled();
    let mut poller = changes(&server, "query_timeout_secs = 1", STREAM);
    for _ in 0..3 {
        server.inject("SELECT TOP 301", FaultKind::StallAfter(2_000));
        failed(&mut *poller).await;
        server.release();
        assert_eq!(scan(&mut *poller).await, ROWS);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_connection_with_it() {
    let server = filled();
    let mut poller = changes(&server, "", STREAM);
    server.inject("SELECT TOP 301", FaultKind::StallAfter(3_000));
    let start = Watermark::start();
    let struck = async {
        while server.faults_left() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        answered = poller.fetch(Request::Changes { from: &start, after: None }, 300) => {
            panic!("the server stalls, but answered {:?}", answered.map(|batch| batch.records.len()));
        }
        () = struck => {}
    }
    assert_eq!(scan(&mut *poller).await, ROWS, "stopped in mid-poll, the next poll begins afresh");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_row_is_tried_again() {
    for kind in [FaultKind::ResetAfter(4_321), FaultKind::CloseAfter(4_321), FaultKind::ResetAfter(3)] {
        let server = filled();
        let mut poller = changes(&server, "", STREAM);
        server.inject("SELECT TOP 301", kind.clone());
        let error = failed(&mut *poller).await;
        let expected = (FaultClass::Protocol, Action::Retry { after: None });
        assert_eq!((error.class, error.action), expected, "{kind:?}: {}", error.chain());
        assert_eq!(scan(&mut *poller).await, ROWS);
    }
}

#[tokio::test]
async fn answers_in_the_smallest_pieces_are_whole() {
    for bytes in [1, 7, 4095] {
        let server = filled();
        let mut poller = changes(&server, "", STREAM);
        server.inject("SELECT TOP 151", FaultKind::Pieces { bytes, pause: Duration::ZERO });
        assert_eq!(scan(&mut *poller).await, ROWS, "pieces of {bytes}");
    }
    let server = filled();
    let mut poller = changes(&server, "", STREAM);
    server.inject("SELECT TOP 151", FaultKind::Pieces { bytes: 512, pause: Duration::from_millis(2) });
    assert_eq!(scan(&mut *poller).await, ROWS, "a slow drip");
}

#[tokio::test]
async fn bytes_that_are_no_tokens_end_the_connection() {
    let server = filled();
    let mut poller = changes(&server, "query_timeout_secs = 1", STREAM);
    for garbage in [vec![0x00; 20], vec![0x81, 0xff, 0x7f, 1, 2, 3], b"HTTP/1.1 200 OK".to_vec(), vec![0xd1; 40]] {
        server.inject("SELECT TOP 301", FaultKind::Garbage(garbage.clone()));
        let error = failed(&mut *poller).await;
        // Where a token seems to go on after its message's end, the driver waits for more.
        let classes = [FaultClass::Protocol, FaultClass::Timeout];
        assert!(classes.contains(&error.class), "{garbage:?}: {}", error.chain());
        assert_eq!(scan(&mut *poller).await, ROWS);
    }
}

#[tokio::test]
async fn a_server_that_restarts_while_nobody_asks_is_not_noticed() {
    let server = filled();
    let mut poller = changes(&server, "", STREAM);
    assert_eq!(scan(&mut *poller).await, ROWS);
    server.cut();
    assert_eq!(scan(&mut *poller).await, ROWS);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_snapshot_does_not_outlive_its_connection() {
    let server = filled();
    let mut poller = snapshot(&server, "", r#"fetch = { from = "t", key = ["id"] }"#);
    let first = poller.fetch(Request::Snapshot { after: None }, 100).await.unwrap();
    server.cut();
    let cursor = first.next.unwrap();
    let error = poller.fetch(Request::Snapshot { after: Some(&cursor) }, 100).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Protocol, Action::Retry { after: None }));
    let error = poller.fetch(Request::Snapshot { after: Some(&cursor) }, 100).await.unwrap_err();
    assert!(error.hint.unwrap().contains("from its beginning"));
}

#[tokio::test]
async fn deadlocks_locks_and_faults_of_the_server_pass_by_themselves() {
    let server = filled();
    let mut poller = changes(&server, "", STREAM);
    for (number, severity, class) in [
        (1205, 13, FaultClass::Other),
        (1222, 16, FaultClass::Timeout),
        (701, 17, FaultClass::Unreachable),
        (824, 24, FaultClass::Other),
        (3960, 16, FaultClass::Other),
    ] {
        server.inject("SELECT TOP 301", FaultKind::Error { number, class: severity, message: "x".to_owned() });
        let error = failed(&mut *poller).await;
        assert_eq!((error.class, error.action), (class, Action::Retry { after: None }), "{number}");
        assert!(error.hint.is_some());
    }
    assert_eq!(scan(&mut *poller).await, ROWS);
}

/// Memory is a page's, not the table's.
#[tokio::test]
async fn a_long_table_is_read_in_pages() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int PRIMARY KEY, name nvarchar(40)); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1
         FROM n WHERE i < 20000) INSERT INTO t SELECT i, '姓名' || i FROM n;",
    );
    let mut poller = changes(&server, "", STREAM);
    let (mut after, mut seen) = (None, 0);
    let start = Watermark::start();
    loop {
        let batch = poller.fetch(Request::Changes { from: &start, after: after.as_ref() }, 5000).await.unwrap();
        assert!(batch.records.len() <= 5000);
        seen += batch.records.len();
        after = batch.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 20_000);
    assert_eq!(server.accepted(), 1);
}
