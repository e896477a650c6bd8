//! The admin address over real HTTP.

use hisync::agent::Agent;
use hisync::sandbox::upstream::Fault;
use serde_json::{Value as Json, json};

use super::support::{Site, delivered, eventually, held, message, send, visit};

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Asks the admin address; headers as given and no others.
async fn ask(agent: &Agent, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Json>) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", agent.admin_address());
    let mut request = client.request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

async fn get(agent: &Agent, path: &str) -> Answer {
    ask(agent, "GET", path, &[], None).await
}

/// The lines of the Prometheus text format: name with labels, and value.
fn samples(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let bare = name.split('{').next().unwrap();
            assert!(bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "{line}");
            assert!(!name.contains('{') || name.ends_with('}'), "{line}");
            (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error}: {line}")))
        })
        .collect()
}

#[tokio::test]
async fn machines_learn_whether_it_lives_is_ready_and_how_it_goes() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    delivered(&agent).await;
    assert_eq!(get(&agent, "/live").await.status, 200);
    let ready = get(&agent, "/ready").await;
    assert_eq!((ready.status, ready.text.as_str()), (200, "ready\n"));
    let metrics = get(&agent, "/metrics").await;
    assert_eq!(metrics.status, 200);
    let samples = samples(&metrics.text);
    assert!(samples.iter().all(|(name, _)| name.starts_with("hisync_")), "{}", metrics.text);
    for wanted in [
        "hisync_health",
        "hisync_outbox_depth",
        "hisync_held_open",
        "hisync_versions{entity=\"exam_report\",fate=\"delivered\"}",
        "hisync_stream_failures{stream=\"peis/reports\"}",
    ] {
        assert!(samples.iter().any(|(name, _)| name == wanted), "{wanted} is missing:\n{}", metrics.text);
    }
    let names = samples.iter().map(|(name, _)| name.as_str());
    let mut breakers: Vec<&str> = names.filter(|name| name.contains("breaker")).collect();
    breakers.sort_unstable();
    let expected = ["hisync_source_breaker_open{source=\"peis\"}", "hisync_upstream_breaker_open"];
    assert_eq!(breakers, expected, "one gauge for one fact");
    agent.stop().await;
}

#[tokio::test]
async fn the_status_has_the_documented_fields() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    delivered(&agent).await;
    let status = get(&agent, "/api/status").await.json();
    let fields: Vec<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "now",
        "health",
        "agent",
        "streams",
        "sources",
        "upstream",
        "peer",
        "store",
        "disk",
        "archive",
        "ageing",
        "certificates",
        "alerts",
        "tasks",
        "reconcile",
        "damage",
        "unreadable",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(status["health"], json!({ "level": "ok", "reasons": [] }));
    assert_eq!(status["agent"]["hospital"], "demo-001");
    let reports = status["streams"].as_array().unwrap().iter().find(|stream| stream["id"] == "peis/reports").unwrap();
    assert_eq!((&reports["state"], &reports["rounds"]), (&json!("waiting"), &json!(1)));
    assert_eq!(status["store"]["totals"]["exam_report"]["adds_up"], true);
    assert_eq!(status["upstream"]["breaker"]["state"], "closed");
    agent.stop().await;
}

#[tokio::test]
async fn a_foreign_page_can_neither_read_nor_act() {
    let site = Site::new().await;
    let agent = site.start().await;
    for (host, expected) in [
        ("hospital.example", 403),
        ("localhost.example:8686", 403),
        ("127.0.0.1.example", 403),
        ("localhost:8686", 200),
        ("127.0.0.1", 200),
        ("[::1]:8686", 200),
    ] {
        let answer = ask(&agent, "GET", "/api/status", &[("host", host)], None).await;
        assert_eq!(answer.status, expected, "{host}");
    }
    let act = json!({ "who": "somebody", "on": { "all": true } });
    let without = ask(&agent, "POST", "/api/held/retry", &[], Some(act.clone())).await;
    assert_eq!(without.status, 403);
    assert!(without.json()["error"].as_str().unwrap().contains("x-hisync"));
    let with = ask(&agent, "POST", "/api/held/retry", &[("x-hisync", "1")], Some(act)).await;
    assert_eq!(with.status, 200, "{}", with.text);
    for (name, value) in [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")] {
        assert_eq!(with.headers[name], value);
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_person_settles_held_items_over_http() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(0, "C1", Some("ZZ"))).await;
    let list = get(&agent, "/api/held").await.json();
    let id = list[0]["id"].as_i64().unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["reason"]), (1, &json!("unknown-code")));

    let shown = get(&agent, &format!("/api/held/{id}")).await;
    let person = visit(0).person;
    assert!(!shown.text.contains(&person.name) && !shown.text.contains(&person.citizen_id), "{}", shown.text);
    let query = format!("/api/held/{id}?personal=compare&who=A");
    let open = get(&agent, &query).await;
    assert!(open.text.contains(&person.name), "{}", open.text);

    assert_eq!(get(&agent, "/api/held/999").await.status, 404);
    let act = json!({ "who": "A", "because": "agreed with the laboratory" });
    let path = format!("/api/held/{id}/dismiss");
    let done = ask(&agent, "POST", &path, &[("x-hisync", "1")], Some(act.clone())).await.json();
    assert_eq!((&done["settled"], &done["still_held"]), (&json!(1), &json!(0)), "{done}");
    let again = ask(&agent, "POST", &path, &[("x-hisync", "1")], Some(act)).await;
    assert_eq!(again.status, 404, "{}", again.text);
    assert_eq!(held(&agent).await[0].state, "dismissed");
    let history = get(&agent, &query).await.json()["history"].clone();
    let acts: Vec<_> = history.as_array().unwrap().iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    assert!(acts.contains(&"held-dismiss") && acts.contains(&"show-personal"), "{acts:?}");
    agent.stop().await;
}

#[tokio::test]
async fn it_answers_while_the_upstream_is_down() {
    let mut site = Site::new().await;
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    eventually("delivery to notice", async || agent.delivery().breaker.state != "closed").await;
    let status = get(&agent, "/api/status").await.json();
    assert_eq!(status["health"]["level"], "failing");
    let reasons = status["health"]["reasons"].as_array().unwrap();
    let upstream = reasons.iter().find(|reason| reason["subject"] == "upstream").unwrap();
    assert!(upstream["text"].as_str().unwrap().contains("http-503"), "{upstream}");
    assert_eq!(get(&agent, "/ready").await.status, 200);
    assert!(!get(&agent, "/api/outbox").await.json().as_array().unwrap().is_empty());
    site.upstream.put_faults(Vec::new());
    let reset = ask(&agent, "POST", "/api/upstream/reset", &[("x-hisync", "1")], None).await;
    assert_eq!(reset.json(), json!({ "reset": true }));
    delivered(&agent).await;
    agent.stop().await;
}

#[tokio::test]
async fn it_answers_while_a_source_is_locked() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    // Another program holds the database for itself.
    let rude = rusqlite::Connection::open(site.peis.path()).unwrap();
    drop(site.peis);
    rude.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    let agent = Agent::start(hisync::config::load(&site.config).unwrap(), hisync::clock::Clock::system());
    let agent = agent.await.unwrap();
    assert_eq!(get(&agent, "/live").await.status, 200);
    let status = get(&agent, "/api/status").await.json();
    let states: Vec<_> = status["streams"].as_array().unwrap().iter().map(|stream| stream["state"].clone()).collect();
    assert_eq!(states.len(), 5, "{states:?}");
    drop(rude);
    agent.stop().await;
}
