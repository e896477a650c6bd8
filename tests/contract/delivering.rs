//! The sender against the sandbox: what arrives, and how often.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use hisync::delivery::{Compression, Reason};
use hisync::sandbox::upstream::{Change, Fault, PartialReceipts, When};
use tempfile::TempDir;

use crate::support::{Agent, codes, many, sandbox};

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

#[tokio::test]
async fn what_is_committed_arrives_once_however_it_is_compressed() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let upstream = sandbox(None).await;
        let mut agent = Agent::new(&upstream.url());
        agent.settings.compression = compression;
        agent.commit(&["A", "B", "C"]).await;
        agent.start();
        let status = agent.settled(3).await;
        assert_eq!(status.counts.accepted, 3, "{compression:?}");
        assert_eq!(status.breaker.state, "closed");
        assert_eq!(sorted(codes(&upstream.attempts())), ["A", "B", "C"]);
        agent.stop().await;
    }
}

#[tokio::test]
async fn work_that_arrives_later_wakes_the_sender() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    for (place, code) in ["A", "B", "C"].into_iter().enumerate() {
        agent.commit(&[code]).await;
        agent.settled(place as u64 + 1).await;
    }
    assert_eq!(codes(&upstream.attempts()), ["A", "B", "C"]);
}

#[tokio::test]
async fn versions_of_one_entity_arrive_in_order_and_a_withdrawal_last() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    for version in ["one", "two", "three"] {
        agent.commit_as(&["A", "B"], version).await;
    }
    agent.withdraw(&["A"]).await;
    agent.start();
    agent.settled(7).await;
    let names: Vec<String> = upstream
        .received()
        .iter()
        .filter(|line| line.event["subject"] == "exam_item/main:peis:A")
        .map(|line| line.event["data"]["item_name"].as_str().unwrap_or("withdrawn").to_owned())
        .collect();
    assert_eq!(names, ["空腹血糖 one", "空腹血糖 two", "空腹血糖 three", "withdrawn"]);
    assert_eq!(upstream.received().len(), 7, "nothing superseded, nothing refused");
}

#[tokio::test]
async fn batches_keep_both_limits() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.settings.batch_max_events = 7;
    agent.commit(&texts(&many(40))).await;
    agent.start();
    agent.settled(40).await;
    agent.stop().await;
    agent.settings.batch_max_events = 200;
    agent.settings.batch_max_bytes = 4096;
    agent.commit_as(&texts(&many(40)), "second").await;
    agent.start();
    agent.settled(40).await;
    let attempts = upstream.attempts();
    assert_eq!(attempts.len(), 80);
    let batches: BTreeSet<&str> = attempts.iter().map(|line| line.batch_id.as_str()).collect();
    for batch in batches {
        let of: Vec<_> = attempts.iter().filter(|line| line.batch_id == batch).collect();
        let bytes: usize = of.iter().map(|line| line.event.to_string().len() + 1).sum();
        assert!(of.len() <= 7 || (bytes < 4096 && attempts[40..].iter().any(|line| line.batch_id == batch)));
    }
}

#[tokio::test]
async fn an_upstream_that_fails_for_a_while_gets_the_same_batch_under_the_same_id() {
    let faults = [
        Fault { status: Some(503), count: Some(2), ..Fault::default() },
        Fault { status: Some(500), when: When::After, count: Some(1), ..Fault::default() },
        Fault { cut: true, count: Some(1), ..Fault::default() },
        Fault { cut: true, when: When::After, count: Some(1), ..Fault::default() },
        Fault { garbage: true, count: Some(1), ..Fault::default() },
        Fault {
            status: Some(429),
            headers: [("retry-after".into(), "0".into())].into(),
            count: Some(1),
            ..Fault::default()
        },
    ];
    for fault in faults {
        let upstream = sandbox(None).await;
        upstream.put_faults(vec![fault.clone()]);
        let mut agent = Agent::new(&upstream.url());
        agent.commit(&["A", "B"]).await;
        agent.start();
        agent.settled(2).await;
        let attempts = upstream.attempts();
        assert_eq!(sorted(codes(&upstream.received())), ["A", "B"], "each once: {fault:?}");
        assert!(attempts.len() > 2, "there was more than one attempt: {fault:?}");
        let ids: HashSet<&str> = attempts.iter().map(|line| line.batch_id.as_str()).collect();
        assert_eq!(ids.len(), 1, "one batch, one id: {fault:?}");
    }
}

#[tokio::test]
async fn a_wrong_secret_opens_the_breaker_and_loses_nothing() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    std::fs::write(agent.dir.path().join("secret"), "whsec_d3Jvbmctd3Jvbmctd3Jvbmc=").unwrap();
    agent.settings.retry.max_ms = 60_000;
    agent.settings.retry.initial_ms = 60_000;
    agent.commit(&texts(&many(30))).await;
    let handle = agent.start();
    let status = agent.until(|status| status.breaker.state == "open").await;
    assert_eq!(status.breaker.reason, Some(Reason::Configuration));
    assert_eq!(status.breaker.code.as_deref(), Some("http-401"));
    assert_eq!(status.last_failure.unwrap().code, "http-401");
    assert!(upstream.attempts().is_empty());
    agent.stop().await;
    // The secret is corrected; a restart, or a person's reset, tries at once.
    std::fs::write(agent.dir.path().join("secret"), crate::support::SECRET).unwrap();
    handle.reset_breaker();
    agent.settings.retry.initial_ms = 1;
    agent.settings.retry.max_ms = 10;
    agent.commit(&["Z"]).await;
    agent.start();
    agent.until(|status| status.counts.accepted >= 1).await;
    assert_eq!(codes(&upstream.received()), ["Z"], "the others wait for their time");
}

#[tokio::test]
async fn a_corrected_secret_is_used_without_a_restart() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    std::fs::write(agent.dir.path().join("secret"), "whsec_d3Jvbmctd3Jvbmctd3Jvbmc=").unwrap();
    agent.commit(&["A", "B"]).await;
    agent.start();
    agent.until(|status| status.breaker.state != "closed").await;
    std::fs::write(agent.dir.path().join("secret"), crate::support::SECRET).unwrap();
    let status = agent.settled(2).await;
    assert_eq!((status.breaker.state, status.counts.accepted), ("closed", 2));
}

#[tokio::test]
async fn receipts_that_name_only_some_events_send_the_others_again() {
    for change in [Change::Omit, Change::Retry] {
        let upstream = sandbox(None).await;
        let receipts = Some(PartialReceipts { every: 2, change });
        upstream.put_faults(vec![Fault { receipts, count: Some(1), ..Fault::default() }]);
        let mut agent = Agent::new(&upstream.url());
        agent.commit(&["A", "B", "C", "D"]).await;
        agent.start();
        let status = agent.settled(4).await;
        assert_eq!(sorted(codes(&upstream.received())), ["A", "B", "C", "D"]);
        let duplicates = if change == Change::Omit { 2 } else { 0 };
        assert_eq!((status.counts.duplicate, status.counts.retried), (duplicates, 2), "{change:?}");
    }
}

#[tokio::test]
async fn a_rejected_event_is_held_and_the_others_pass() {
    let upstream = sandbox(None).await;
    let receipts = Some(PartialReceipts { every: 3, change: Change::Reject });
    upstream.put_faults(vec![Fault { receipts, count: Some(1), ..Fault::default() }]);
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A", "B", "C"]).await;
    agent.start();
    let status = agent.settled(3).await;
    assert_eq!((status.counts.accepted, status.counts.rejected), (2, 1));
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a_crash_between_sending_and_the_receipt_sends_the_same_events_again() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![Fault { delay_ms: 60_000, count: Some(1), ..Fault::default() }]);
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A", "B"]).await;
    agent.start();
    agent.until(|status| status.in_flight == 2).await;
    agent.crash().await;
    upstream.put_faults(vec![]);
    agent.start();
    agent.settled(2).await;
    let mut ids: Vec<_> = upstream.received().iter().map(|line| line.event["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn an_upstream_that_is_away_opens_the_breaker_and_gets_all_when_it_is_back() {
    let upstream = sandbox(None).await;
    let address = upstream.address();
    let url = upstream.url();
    upstream.stop().await;
    let mut agent = Agent::new(&url);
    agent.settings.batch_max_events = 10;
    agent.commit(&texts(&many(50))).await;
    agent.start();
    let status = agent.until(|status| status.breaker.state == "open").await;
    assert_eq!(status.breaker.reason, Some(Reason::Unavailable));
    assert_eq!(status.breaker.code.as_deref(), Some("unreachable"));
    let keys = Some(hisync::delivery::signature::Keys::parse(crate::support::SECRET).unwrap());
    let clock = hisync::clock::Clock::system();
    let options = hisync::sandbox::upstream::Options { listen: address, dir: None, keys, clock };
    let upstream = hisync::sandbox::upstream::Upstream::start(options).await.unwrap();
    let status = agent.settled(50).await;
    assert_eq!((status.counts.accepted, status.breaker.state), (50, "closed"));
    assert_eq!(upstream.received().len(), 50);
}

#[tokio::test]
async fn a_graceful_stop_waits_for_the_answer_that_is_out() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![Fault { delay_ms: 300, count: Some(1), ..Fault::default() }]);
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A"]).await;
    let handle = agent.start();
    agent.until(|status| status.in_flight == 1).await;
    agent.stop().await;
    assert_eq!(handle.status().counts.accepted, 1);
    agent.start();
    agent.commit(&["B"]).await;
    agent.settled(1).await;
    assert_eq!(codes(&upstream.attempts()), ["A", "B"], "A was settled before the stop");
}

#[tokio::test]
async fn what_the_sandbox_acknowledged_survives_its_restart() {
    let folder = TempDir::new().unwrap();
    let upstream = sandbox(Some(folder.path())).await;
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A", "B"]).await;
    agent.start();
    agent.settled(2).await;
    agent.stop().await;
    let before = upstream.received();
    upstream.stop().await;
    // A crash in the middle of a line: it was never acknowledged.
    let path = folder.path().join("received.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(br#"{"number":3,"rec"#);
    std::fs::write(&path, bytes).unwrap();
    let upstream = sandbox(Some(folder.path())).await;
    assert_eq!(upstream.received(), before);
    agent.settings.url = upstream.url().parse().unwrap();
    agent.commit(&["C"]).await;
    agent.start();
    agent.settled(1).await;
    upstream.stop().await;
    let upstream = sandbox(Some(folder.path())).await;
    assert_eq!(codes(&upstream.received()).last().map(String::as_str), Some("C"));
}

#[tokio::test]
async fn quiet_that_upstream_asks_for_is_kept() {
    let upstream = sandbox(None).await;
    let headers = [("retry-after".to_owned(), "1".to_owned())].into();
    upstream.put_faults(vec![Fault { status: Some(503), headers, count: Some(1), ..Fault::default() }]);
    let mut agent = Agent::new(&upstream.url());
    agent.settings.batch_max_events = 1;
    agent.settings.parallel = 1;
    agent.commit(&["A", "B", "C"]).await;
    agent.start();
    agent.settled(3).await;
    let attempts = upstream.attempts();
    let waited = attempts[1].received_at - attempts[0].received_at;
    assert!(waited.to_std().unwrap() >= Duration::from_millis(990), "nothing else was sent meanwhile: {waited}");
    assert!(attempts[1..].iter().any(|again| again.batch_id == attempts[0].batch_id), "the same batch, not another");
}
