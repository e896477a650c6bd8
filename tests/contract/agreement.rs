//! Sender, sandbox, JSON Schemas and the OpenAPI document say the same.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hisync::delivery::Stored;
use hisync::delivery::heartbeat::{HealthBeat, HeldBeat, OutboxBeat, StreamBeat, StreamCounts};
use hisync::delivery::{Heartbeat, Pulse, openapi};
use hisync::sandbox::upstream::{Fault, Target};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::misbehaving::{RawServer, Wire, http};
use crate::support::{Agent, sandbox};

/// A validator of one of the document's schemas.
fn schema(name: &str) -> jsonschema::Validator {
    let mut document = openapi::document();
    document["$ref"] = json!(format!("#/components/schemas/{name}"));
    jsonschema::options().should_validate_formats(true).should_ignore_unknown_formats(true).build(&document).unwrap()
}

pub(crate) fn holds(name: &str, value: &Json) {
    let problems: Vec<String> = schema(name).iter_errors(value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{name}: {problems:?}");
}

fn client(url: &str) -> reqwest::RequestBuilder {
    reqwest::Client::builder().no_proxy().build().unwrap().get(url)
}

async fn get(url: &str) -> String {
    client(url).send().await.unwrap().text().await.unwrap()
}

/// Sends a recorded request again, as it was; gives status and body of the answer.
async fn replay(upstream: &str, wire: &Wire) -> (u16, Json) {
    let mut request = reqwest::Client::new().post(format!("{upstream}/v1/events")).body(wire.body.clone());
    for name in ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"] {
        request = request.header(name, wire.header(name).unwrap());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn what_is_sent_and_answered_is_what_the_document_says() {
    let upstream = sandbox(None).await;
    let recorder = RawServer::start(|_, _| http(204, "", "")).await;
    let mut agent = Agent::new(&recorder.url);
    agent.settings.compression = hisync::delivery::Compression::None;
    agent.commit(&["A", "B"]).await;
    agent.withdraw(&["A"]).await;
    agent.start();
    let status = agent.settled(3).await;
    assert_eq!(status.counts.accepted, 3);
    let requests = recorder.requests.lock().unwrap().clone();
    for wire in &requests {
        let batch: Json = serde_json::from_slice(&wire.body).unwrap();
        holds("Batch", &batch);
        for word in ["accepted", "duplicate"] {
            let (status, receipts) = replay(&upstream.url(), wire).await;
            assert_eq!(status, 200, "{receipts}");
            holds("Receipts", &receipts);
            for receipt in receipts["results"].as_array().unwrap() {
                assert_eq!(receipt["status"], word);
            }
        }
        let mut later = batch.clone();
        later[0]["data"]["surprise"] = json!(1);
        assert!(schema("Batch").is_valid(&later), "a later version may add members");
        let mut broken = batch.clone();
        broken[0]["data"] = json!({});
        assert!(!schema("Batch").is_valid(&broken), "the document looks into data");
    }
}

#[tokio::test]
async fn an_older_version_that_comes_late_changes_nothing_upstream() {
    let upstream = sandbox(None).await;
    let recorder = RawServer::start(|_, _| http(204, "", "")).await;
    let mut agent = Agent::new(&recorder.url);
    agent.settings.compression = hisync::delivery::Compression::None;
    agent.commit(&["A"]).await;
    agent.withdraw(&["A"]).await;
    agent.start();
    agent.settled(2).await;
    let requests = recorder.requests.lock().unwrap().clone();
    let [first, second] = requests.as_slice() else { panic!("two versions of one entity are two requests") };
    let (_, newer) = replay(&upstream.url(), second).await;
    assert_eq!(newer["results"][0]["status"], "accepted");
    let (status, older) = replay(&upstream.url(), first).await;
    assert_eq!((status, &older["results"][0]["status"]), (200, &json!("duplicate")), "{older}");
    assert_eq!(older["results"][0]["code"], "superseded");
}

#[tokio::test]
async fn the_sandbox_refuses_what_is_not_as_the_contract_says() {
    let upstream = sandbox(None).await;
    let server = RawServer::start(|_, _| http(204, "", "")).await;
    let mut agent = Agent::new(&server.url);
    agent.settings.compression = hisync::delivery::Compression::None;
    agent.commit(&["A"]).await;
    agent.start();
    agent.settled(1).await;
    let wire = server.requests.lock().unwrap()[0].clone();
    let good = serde_json::from_slice::<Json>(&wire.body).unwrap()[0].clone();
    let keys = hisync::delivery::signature::Keys::parse(crate::support::SECRET).unwrap();
    let post = async |event: &Json, signed_at: i64| {
        let body = json!([event]).to_string();
        let request = reqwest::Client::new().post(format!("{}/v1/events", upstream.url()));
        let request = request
            .header("content-type", "application/cloudevents-batch+json")
            .header("webhook-id", "b")
            .header("webhook-timestamp", signed_at)
            .header("webhook-signature", keys.sign("b", signed_at, body.as_bytes()));
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice::<Json>(&answer.bytes().await.unwrap()).unwrap())
    };
    let now = agent.clock.now().timestamp();
    assert_eq!(post(&good, now - 301).await.0, 401, "too old");
    let changes: [(&str, Json, &str); 16] = [
        ("/specversion", json!("0.3"), "specversion"),
        ("/id", json!("6f1e0a3e-7a63-4f7e-9b52-0d7b6a0f9a11"), "id"),
        ("/time", json!("2026-03-01 08:00:00"), "time"),
        ("/source", json!("/hospitals/demo-001"), "source"),
        ("/subject", json!("exam_item/main:peis:B"), "subject"),
        ("/sequence", json!("17"), "sequence"),
        ("/traceparent", json!("00-1-2-3"), "traceparent"),
        ("/type", json!("hisync.exam_report.upserted"), "type"),
        ("/dataschema", json!("urn:hisync:schema:exam_item:v9"), "dataschema"),
        ("/data/item_name", json!(7), "data-schema"),
        ("/data/envelope/business_key", json!("main:peis:B"), "data-key"),
        ("/contenthash", json!("sha256-00"), "contenthash"),
        ("/data/item_name", json!("其他"), "contenthash"),
        ("/lane", json!(1), "event-schema"),
        ("/extension", json!("x"), "event-schema"),
        ("/data/extension", json!("x"), "data-schema"),
    ];
    for (pointer, value, code) in changes {
        let mut event = good.clone();
        match event.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => match pointer.strip_prefix("/data/") {
                Some(name) => event["data"][name] = value,
                None => event[pointer.trim_start_matches('/')] = value,
            },
        }
        let (status, body) = post(&event, now).await;
        holds("Receipts", &body);
        let result = &body["results"][0];
        assert_eq!((status, &result["status"], &result["code"]), (200, &json!("rejected"), &json!(code)), "{pointer}");
    }
    let (_, body) = post(&good, now).await;
    assert_eq!(body["results"][0]["status"], "accepted");
    let (_, body) = post(&good, now).await;
    assert_eq!(body["results"][0]["status"], "duplicate");
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(upstream.attempts().len(), 18);
}

struct Steady;

#[async_trait]
impl Pulse for Steady {
    async fn heartbeat(&self) -> Option<Heartbeat> {
        let at = "2026-03-01T08:00:00Z".parse().unwrap();
        Some(Heartbeat {
            hospital: "demo-001".into(),
            agent_version: "0.1.0".into(),
            config_hash: "00".repeat(32),
            started_at: at,
            health: Some(HealthBeat { level: "attention".into(), reasons: vec!["held held items".into()] }),
            streams: vec![StreamBeat {
                id: "peis/items".into(),
                state: "waiting".into(),
                health: Some("healthy".into()),
                last_success: Some(at),
                watermark_age_secs: Some(5),
                counts: StreamCounts::default(),
            }],
            outbox: OutboxBeat { depth: 3, oldest_age_secs: None },
            held: HeldBeat { open: 1 },
        })
    }
}

#[tokio::test]
async fn heartbeats_arrive_signed_and_as_documented() {
    let upstream = sandbox(None).await;
    let agent = Agent::new(&upstream.url());
    let mut changes = upstream.changes();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(agent.delivery().heartbeats(Arc::new(Steady)).run(stop.clone()));
    changes.changed().await.unwrap();
    stop.cancel();
    tasks.join_next().await;
    let shown: Json = serde_json::from_str(&get(&format!("{}/v1/heartbeats", upstream.url())).await).unwrap();
    holds("Heartbeat", &shown[0]["heartbeat"]);
    assert_eq!(shown[0]["heartbeat"]["outbox"]["depth"], 3);
}

#[tokio::test]
async fn attachments_are_stored_once_under_their_digest() {
    let folder = tempfile::TempDir::new().unwrap();
    let upstream = sandbox(Some(folder.path())).await;
    let agent = Agent::new(&upstream.url());
    let attachments = agent.delivery().attachments();
    let bytes = Bytes::from_static(b"%PDF-1.7 synthetic");
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(attachments.put(&digest, "application/pdf", bytes.clone()).await, Stored::Yes, "201");
    assert_eq!(attachments.put(&digest, "application/pdf", bytes.clone()).await, Stored::Yes, "409");
    assert_eq!(std::fs::read(folder.path().join("attachments").join(&digest)).unwrap(), bytes);
    let wrong = attachments.put(&"0".repeat(64), "application/pdf", bytes.clone()).await;
    assert_eq!(wrong, Stored::Refused { code: "digest".into() });
    upstream.put_faults(vec![Fault { on: Target::Attachments, status: Some(503), ..Fault::default() }]);
    let later = attachments.put(&digest, "application/pdf", bytes).await;
    assert_eq!(later, Stored::NotYet { code: "http-503".into(), after: None });
}

#[tokio::test]
async fn the_reading_side_shows_what_was_received() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.commit(&["A", "B"]).await;
    agent.commit_as(&["A"], "<b>second</b>").await;
    agent.withdraw(&["B"]).await;
    agent.start();
    agent.settled(4).await;
    let lines = |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Json>>();
    let url = upstream.url();
    assert_eq!(lines(get(&format!("{url}/v1/received")).await).len(), 4);
    assert_eq!(lines(get(&format!("{url}/v1/received?attempts=1")).await).len(), 4);
    let items = lines(get(&format!("{url}/v1/entities/exam_item")).await);
    assert_eq!(items.len(), 1, "the withdrawn one is gone");
    assert_eq!(items[0]["data"]["item_name"], "空腹血糖 <b>second</b>");
    assert_eq!(lines(get(&format!("{url}/v1/entities/exam_item?withdrawn=1")).await).len(), 2);
    let page = get(&url).await;
    assert!(page.contains("exam_item/main:peis:A") && page.contains("明细项目"));
    assert!(!page.contains("空腹血糖"), "the page shows identities, not what is in them");
}

#[tokio::test]
async fn faults_are_put_listed_and_cleared_over_http() {
    let upstream = sandbox(None).await;
    let url = format!("{}/faults", upstream.url());
    let http = reqwest::Client::new();
    let put = async |body: &str| http.put(&url).body(body.to_owned()).send().await.unwrap().status().as_u16();
    assert_eq!(put(r#"{"status":503,"headers":{"retry-after":"2"},"count":3}"#).await, 204);
    assert!(get(&url).await.contains("503"));
    assert_eq!(put(r#"[{"cut":true,"when":"after"},{"garbage":true,"on":"all"}]"#).await, 204);
    assert_eq!(put(r#"{"sttaus":503}"#).await, 400, "a slip is told, not ignored");
    assert_eq!(put("no json").await, 400);
    http.delete(&url).send().await.unwrap();
    assert_eq!(get(&url).await, "[]");
}
