//! Finding what upstream lost, or has in excess, by digests.

use std::io::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use hisync::clock::Clock;
use hisync::delivery::digests::{Comparison, Error};
use hisync::model::digest::place;
use hisync::model::{EntityKey, EntityType, Sequence};
use hisync::sandbox::upstream::{Fault, Line, Options as UpstreamOptions, Target, Upstream};
use hisync::store::{HeldFilter, Scope, UPSTREAM};
use serde_json::{Value as Json, json};

use crate::agreement::holds;
use crate::misbehaving::{RawServer, http};
use crate::support::{Agent, many, sandbox};

async fn compare(agent: &Agent) -> Comparison {
    let run = agent.store.reconcile_ask(UPSTREAM, Scope::Upstream, None, "test").await.unwrap();
    agent.store.reconcile_begin(run).await.unwrap();
    agent.delivery().digests("demo-001", "main").compare(run).await.unwrap()
}

/// Subject, id and sequence of what upstream has.
fn state(upstream: &Upstream) -> Vec<(String, String, String)> {
    let text = |line: &Line, name: &str| line.event[name].as_str().unwrap().to_owned();
    upstream.latest().iter().map(|line| (text(line, "subject"), text(line, "id"), text(line, "contenthash"))).collect()
}

fn subjects(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| format!("exam_item/main:peis:{code}")).collect()
}

/// A sandbox that looks at no signatures, so that the agent's clock may be wrong.
async fn trusting() -> Upstream {
    let listen = "127.0.0.1:0".parse().unwrap();
    Upstream::start(UpstreamOptions { listen, dir: None, keys: None, clock: Clock::system() }).await.unwrap()
}

#[tokio::test]
async fn what_upstream_lost_is_sent_again_under_the_same_ids() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    let codes = many(600);
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    agent.commit(&codes).await;
    agent.withdraw(&["I0007"]).await;
    agent.start();
    agent.settled(601).await;
    let before = state(&upstream);

    let same = compare(&agent).await;
    assert_eq!((same.agreed, same.lost, same.requests), (600, 0, 1));
    upstream.lose(&subjects(&["I0003", "I0007", "I0400"])).unwrap();
    // Of the withdrawn one the version before is there again.
    let found = compare(&agent).await;
    assert_eq!((found.agreed, found.lost, found.healed.resent), (597, 3, 3));
    agent.settled(604).await;
    assert_eq!(state(&upstream), before);
    let same = compare(&agent).await;
    assert_eq!((same.agreed, same.lost, same.requests), (600, 0, 1));
    let totals = agent.store.read(hisync::store::Reader::totals).await.unwrap();
    assert!(totals["exam_item"].adds_up && totals["exam_item"].delivered == 601, "{totals:?}");
}

/// A line as the sandbox keeps it.
fn kept(number: u64, at: DateTime<Utc>) -> Line {
    let key = EntityKey::new(EntityType::ExamItem, format!("main:peis:I{number:05}"));
    let sequence = Sequence(at.timestamp_micros().unsigned_abs() + number);
    Line {
        number,
        received_at: at,
        batch_id: "b".into(),
        status: "accepted".into(),
        code: None,
        applied: true,
        event: json!({
            "id": sequence.event_id("demo-001", &key).to_string(), "source": "/hospitals/demo-001/sources/peis",
            "type": "hisync.exam_item.upserted", "subject": key.subject(), "partitionkey": key.key,
            "time": at.to_rfc3339(), "sequence": sequence.to_string(),
            "contenthash": format!("sha256-{}", hex::encode(place(&key.key))),
        }),
    }
}

#[tokio::test]
async fn ten_of_very_many_are_found_with_a_handful_of_requests() {
    // Hashing is slow without optimisation; the number of requests is the same.
    let many: u64 = if cfg!(debug_assertions) { 3_000 } else { 20_000 };
    let folder = tempfile::TempDir::new().unwrap();
    let at = "2026-03-01T08:00:00Z".parse().unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.path().join("received.jsonl")).unwrap());
    for number in 1..=many {
        serde_json::to_writer(&mut file, &kept(number, at)).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.into_inner().unwrap();
    let upstream = sandbox(Some(folder.path())).await;
    let agent = Agent::new(&upstream.url());

    assert_eq!(agent.delivery().digests("demo-001", "main").learn().await.unwrap(), Some(many));
    assert_eq!(agent.delivery().digests("demo-001", "main").learn().await.unwrap(), None, "only a new store learns");
    let same = compare(&agent).await;
    assert_eq!((same.agreed, same.requests), (many, 1));

    let codes: Vec<String> = (1..=10).map(|n| format!("exam_item/main:peis:I{:05}", n * (many / 11))).collect();
    assert_eq!(upstream.lose(&codes).unwrap().len(), 10);
    let found = compare(&agent).await;
    assert_eq!((found.agreed, found.lost), (many - 10, 10));
    assert!(found.requests <= 3, "one for the types, one for the day, one for the groups: {}", found.requests);
    // Nothing is known of them but that upstream had them: there is nothing to send.
    assert_eq!(found.healed.pending, 10);
    // A restart of the sandbox forgets no loss.
    drop(upstream);
    let upstream = sandbox(Some(folder.path())).await;
    assert_eq!(upstream.latest().len() as u64, many - 10);
}

#[tokio::test]
async fn an_upstream_without_digests_is_left_alone() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A"]).await;
    let handle = agent.start();
    agent.settled(1).await;
    for status in [404, 405, 501] {
        upstream.put_faults(vec![Fault { on: Target::Digests, status: Some(status), ..Fault::default() }]);
        let done = agent.delivery().digests("demo-001", "main").compare(1).await;
        assert!(matches!(done, Err(Error::Unsupported { .. })), "{done:?}");
    }
    let silent = RawServer::start(|_, _| http(204, "", "")).await;
    agent.settings.url = silent.url.parse().unwrap();
    let done = agent.delivery().digests("demo-001", "main").compare(1).await;
    assert!(matches!(done, Err(Error::Unsupported { .. })), "{done:?}");
    let portal = RawServer::start(|_, _| http(200, "", "<html>Welcome</html>")).await;
    agent.settings.url = portal.url.parse().unwrap();
    let done = agent.delivery().digests("demo-001", "main").compare(1).await;
    assert!(matches!(done, Err(Error::Unreadable(_))), "{done:?}");
    assert_eq!(handle.status().breaker.state, "closed");
}

#[tokio::test]
async fn a_lost_store_sends_only_what_changed_although_the_clock_went_back() {
    let upstream = trusting().await;
    let mut before = Agent::new(&upstream.url());
    before.commit(&["A", "B", "C", "D"]).await;
    before.withdraw(&["D"]).await;
    before.start();
    before.settled(5).await;
    let known = state(&upstream);
    drop(before);

    let late = Clock::manual(Clock::system().now() - TimeDelta::days(400));
    let mut after = Agent::with_clock(&upstream.url(), late);
    assert_eq!(after.delivery().digests("demo-001", "main").learn().await.unwrap(), Some(4));
    after.commit(&["A", "B"]).await;
    after.commit_as(&["C"], "second").await;
    after.commit(&["E"]).await;
    after.start();
    let status = after.settled(2).await;
    assert_eq!((status.counts.accepted, status.counts.duplicate), (2, 0), "no sequence was too old");
    let now = state(&upstream);
    assert_eq!((&now[0], &now[1], &now[3]), (&known[0], &known[1], &known[3]));
    assert_ne!(now[2], known[2]);
    let same = compare(&after).await;
    assert_eq!((same.agreed, same.requests), (5, 1));
    let totals = after.store.read(hisync::store::Reader::totals).await.unwrap()["exam_item"];
    assert_eq!((totals.unchanged, totals.delivered, totals.adds_up), (2, 2, true));
}

#[tokio::test]
async fn versions_that_upstream_took_for_old_ones_are_found_and_follow_anew() {
    let upstream = trusting().await;
    let mut before = Agent::new(&upstream.url());
    before.commit(&["A", "B"]).await;
    before.start();
    before.settled(2).await;
    let known = state(&upstream);
    drop(before);

    // Nothing could be learnt: upstream did not answer that.
    let late = Clock::manual(Clock::system().now() - TimeDelta::days(400));
    let mut after = Agent::with_clock(&upstream.url(), late);
    after.commit(&["A"]).await;
    after.commit_as(&["B"], "second").await;
    after.start();
    let status = after.settled(2).await;
    assert_eq!(status.counts.duplicate, 2, "upstream has later sequences");
    assert_eq!(state(&upstream), known);

    let found = compare(&after).await;
    assert_eq!((found.healed.adopted, found.healed.revised), (1, 1), "{found:?}");
    after.until(|status| status.counts.accepted == 1).await;
    let now = state(&upstream);
    assert_eq!(now[0], known[0]);
    assert_ne!(now[1].2, known[1].2, "the second version is there");
    // What was queued again meanwhile ends as a duplicate.
    loop {
        let same = compare(&after).await;
        if same.agreed == 2 && same.requests == 1 {
            break;
        }
        after.until(|status| status.in_flight == 0).await;
    }
}

#[tokio::test]
async fn what_only_upstream_has_waits_for_a_person() {
    let upstream = sandbox(None).await;
    let mut before = Agent::new(&upstream.url());
    before.commit(&["A", "B", "C"]).await;
    before.start();
    before.settled(3).await;
    drop(before);

    let mut after = Agent::new(&upstream.url());
    after.delivery().digests("demo-001", "main").learn().await.unwrap();
    after.commit(&["A"]).await;
    let streams = || vec!["peis/items".to_owned()];
    assert_eq!(after.store.upstream_excess(EntityType::ExamItem, streams()).await.unwrap(), 2);
    // B was only read late.
    after.commit(&["B"]).await;
    assert_eq!(after.store.upstream_excess(EntityType::ExamItem, streams()).await.unwrap(), 1);
    let open = HeldFilter { open_only: true, ..HeldFilter::default() };
    let held = after.store.read(move |reader| reader.held_list(&open, 10, 0)).await.unwrap();
    assert_eq!((held.len(), held[0].reason.as_str()), (1, "upstream-excess"));
    after.start();
    assert_eq!(state(&upstream).len(), 3, "nothing is withdrawn by itself");
    assert_eq!(after.store.held_release(held[0].id, "wang").await.unwrap(), 1);
    after.settled(1).await;
    let latest = upstream.latest();
    let kinds: Vec<&str> = latest.iter().map(|line| line.event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hisync.exam_item.upserted", "hisync.exam_item.upserted", "hisync.exam_item.withdrawn"]);
    assert_eq!(compare(&after).await.agreed, 3);
}

#[tokio::test]
async fn questions_and_answers_are_what_the_document_says() {
    let recorder = RawServer::start(|_, _| http(404, "", "")).await;
    let mut agent = Agent::new(&recorder.url);
    agent.settings.compression = hisync::delivery::Compression::None;
    let _ = agent.delivery().digests("demo-001", "main").compare(1).await;
    let asked: Json = serde_json::from_slice(&recorder.requests.lock().unwrap()[0].body).unwrap();
    holds("DigestQuery", &asked);

    let upstream = trusting().await;
    agent.settings.url = upstream.url().parse().unwrap();
    agent.commit(&["A"]).await;
    agent.start();
    agent.settled(1).await;
    let day = Clock::system().now().date_naive().to_string();
    let nodes = json!([
        { "entity_type": "exam_item", "count": 0, "digest": "00" },
        { "entity_type": "exam_item", "day": day, "count": 0, "digest": "00" },
        { "entity_type": "exam_package", "count": 0, "digest": "0".repeat(64) },
    ]);
    let query = json!({ "hospital": "demo-001", "key_prefix": "main:", "nodes": nodes });
    let request = reqwest::Client::new()
        .post(format!("{}/v1/digests", upstream.url()))
        .body(query.to_string())
        .header("content-type", "application/json");
    let answer: Json = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
    holds("DigestAnswer", &answer);
    assert_eq!(answer["nodes"][0]["children"][0]["day"], day);
    assert_eq!(answer["nodes"][1]["entries"][0]["key"], "main:peis:A");
    assert_eq!(answer["nodes"][2]["count"], 0);
    let sequence = &upstream.latest()[0].event["sequence"];
    assert_eq!((&answer["last_sequence"], &answer["nodes"][1]["entries"][0]["sequence"]), (sequence, sequence));
}
