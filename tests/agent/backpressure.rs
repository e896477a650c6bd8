//! Intake that stops before anything is lost, and sources that are left alone: each goes on by itself.

use connector_api::StreamId;
use hisync::agent::Agent;
use hisync::sandbox::hospital::Answer;
use hisync::sandbox::upstream::Fault;
use serde_json::Value as Json;

use super::support::{REPORTS, Site, delivered, eventually, hisync, hisync_json, message, overview, read, send, visit};

const FLOOR: &str = "disk_floor_bytes = 67108864";

fn limited(site: &Site, entries: u32) {
    site.edit("hisync.toml", FLOOR, &format!("{FLOOR}\noutbox_max_entries = {entries}"));
}

/// Adds a source to which catalogue entries are pushed.
fn add_push(site: &Site) {
    let mut config = std::fs::read_to_string(&site.config).unwrap();
    config.push_str(
        r#"
[[sources]]
id = "push"
connector = "webhook"
settings = { listen = "127.0.0.1:0" }

[[sources.streams]]
id = "items"
entity = "exam_item"
mode = "push"
mapping = "mappings/demo-peis/exam_item.toml"
path = "/items"
format = "json"
"#,
    );
    std::fs::write(&site.config, config).unwrap();
}

async fn codes(site: &Site) -> Vec<String> {
    let (_, report) = hisync_json(&site.config, &["status"]);
    let reasons = report["health"]["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
}

async fn push(agent: &Agent) -> (u16, Option<String>) {
    let streams = agent.board().all();
    let endpoint = streams.into_iter().find(|stream| stream.id.as_str() == "push/items").and_then(|s| s.endpoint);
    let address = endpoint.unwrap().trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{address}/items")).header("content-type", "application/json");
    let answer = request.body(r#"{"明细编码":"X1"}"#).send().await.unwrap();
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_outbox_stops_intake_and_an_upstream_that_is_back_lets_it_go_on() {
    let mut site = Site::new().await;
    limited(&site, 20);
    add_push(&site);
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    // The catalogue alone is more than the limit: one commit is never torn, so it is in, and nothing after it.
    eventually("the outbox to be full", async || agent.store().backlog().entries >= 20).await;
    let letter = message(0, "C1", None);
    assert_eq!(send(&mut lab, &letter).await.answer, Answer::Refused("AE".to_owned()));
    let (status, after) = push(&agent).await;
    assert_eq!((status, after.as_deref()), (503, Some("30")));
    let (queued, records) = (agent.store().backlog(), total_records(&agent).await);
    site.conclude(&visit(0), 9, None);
    let reports = StreamId::parse(REPORTS).unwrap();
    let refused = agent.poll_now(&reports).await.unwrap_err().to_string();
    assert!(refused.contains("wait to be delivered"), "{refused}");
    let stream = agent.board().all().into_iter().find(|stream| stream.id == reports).unwrap();
    assert_eq!(stream.state.as_str(), "paused");
    assert_eq!((agent.store().backlog(), total_records(&agent).await), (queued, records), "nothing came in");
    assert!(codes(&site).await.contains(&"outbox".to_owned()));

    // Upstream is back. Nobody restarts anything.
    site.upstream.put_faults(Vec::new());
    agent.reset_breaker();
    delivered(&agent).await;
    assert_eq!(send(&mut lab, &letter).await.answer, Answer::Accepted);
    assert!(push(&agent).await.0 < 300);
    assert_eq!(read(&agent, REPORTS).await.new, 1);
    delivered(&agent).await;
    assert!(!codes(&site).await.contains(&"outbox".to_owned()));
    let totals = overview(&agent).await.totals;
    assert!(totals.values().all(|totals| totals.adds_up && totals.queued == 0), "{totals:?}");
    agent.stop().await;
}

async fn total_records(agent: &Agent) -> i64 {
    overview(agent).await.streams.iter().map(|stream| stream.records).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_goes_out_while_the_disks_floor_stops_intake() {
    let mut site = Site::new().await;
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    let before = overview(&agent).await;
    assert_eq!(before.totals["exam_report"].queued, 1, "{:?}", before.totals);
    agent.stop().await;

    let beyond = "disk_floor_bytes = 9007199254740991";
    site.edit("hisync.toml", FLOOR, beyond);
    let agent = site.start().await;
    assert!(codes(&site).await.contains(&"disk".to_owned()));
    site.upstream.put_faults(Vec::new());
    agent.reset_breaker();
    delivered(&agent).await;
    let after = overview(&agent).await;
    assert!(after.totals.values().all(|totals| totals.adds_up && totals.queued == 0), "{:?}", after.totals);
    assert_eq!((after.totals["exam_report"].delivered, after.totals["exam_report"].source), (1, 1));
    assert_eq!(send(&mut site.lab(&agent), &message(0, "C1", None)).await.answer, Answer::Refused("AE".to_owned()));
    agent.stop().await;
}

fn breaker(report: &Json, source: &str) -> Json {
    let sources = report["sources"].as_array().unwrap();
    sources.iter().find(|status| status["id"] == source).unwrap()["breaker"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_gone_is_left_alone_until_a_probe_or_a_person_finds_it_back() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    site.edit("hisync.toml", "peis.db", "moved.db");
    let moved = site.folder.path().join("moved.db");
    let agent = site.start().await;
    let reports = StreamId::parse(REPORTS).unwrap();
    for _ in 0..5 {
        assert!(agent.poll_now(&reports).await.is_err());
    }
    let (_, report) = hisync_json(&site.config, &["status"]);
    let open = breaker(&report, "peis");
    assert!(open["state"] != "closed" && open["since"].is_string() && open["retry_at"].is_string(), "{open}");
    assert!(codes(&site).await.contains(&"source-down".to_owned()));
    // It touches nobody else.
    assert_eq!(send(&mut site.lab(&agent), &message(0, "C1", None)).await.answer, Answer::Accepted);
    let config = site.config.to_string_lossy().into_owned();
    let (code, _, err) = hisync(&["sources", "reset", "nobody", "-c", &config]);
    assert!(code != 0 && err.contains("sources list"), "{code} {err}");

    // Its system is back: whoever repaired it need not wait for the next probe.
    std::os::unix::fs::symlink(site.folder.path().join("peis.db"), &moved).unwrap();
    let (code, _, err) = hisync(&["sources", "reset", "peis", "-c", &config]);
    assert_eq!(code, 0, "{err}");
    eventually("the streams to be read", async || {
        agent.board().all().iter().all(|stream| stream.failures == 0 && stream.state.as_str() != "failing")
    })
    .await;
    let (_, report) = hisync_json(&site.config, &["status"]);
    assert_eq!(breaker(&report, "peis")["state"], "closed");
    let (_, sources) = hisync_json(&site.config, &["sources", "list"]);
    assert_eq!(sources[0]["id"], "peis");
    delivered(&agent).await;
    let acts = agent.store().read(|reader| reader.audit_of("source/peis")).await.unwrap();
    assert_eq!(acts.iter().map(|act| act.act.as_str()).collect::<Vec<_>>(), ["source-reset"]);
    agent.stop().await;
}
