//! What monitors see: metrics, rules, the dashboard.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hisync::ops::metrics::{self, Type};
use serde_json::Value as Json;

use super::support::{Peer, Site, delivered, visit};

/// Runs Prometheus' own checker.
fn promtool(arguments: &[&str], folder: &Path, input: &str) -> String {
    let mut process = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the Debian package prometheus: scripts/test installs it");
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}:\n{text}");
    text
}

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

async fn scrape(agent: &hisync::agent::Agent) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}/metrics", agent.admin_address())).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn metrics_are_as_prometheus_wants_them_and_each_is_described() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, Some("※"));
    let agent = site.start().await;
    delivered(&agent).await;
    let text = scrape(&agent).await;
    let said = promtool(&["check", "metrics"], Path::new("."), &text);
    assert_eq!(said.trim(), "", "{text}");
    let described: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let known = metrics::ALL.iter().find(|(known, ..)| *known == name);
        let kind = match kind {
            "counter" => Type::Counter,
            "histogram" => Type::Histogram,
            _ => Type::Gauge,
        };
        assert_eq!(known.map(|(_, kind, _)| *kind), Some(kind), "{name} is in no list, or of another type");
        assert!(described.contains(name), "{name} says nothing of itself");
    }
    let has = |sample: &str| text.lines().any(|line| line.starts_with(sample));
    assert!(has("hisync_stream_standing{stream=\"peis/reports\",standing=\"healthy\"} 1"), "{text}");
    assert!(has("hisync_health_reasons{code=\"held\"} 1") && has("hisync_unmapped_codes 1"), "{text}");
    agent.stop().await;
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let folder = config("prometheus");
    promtool(&["check", "rules", "hisync.rules.yml"], &folder, "");
    promtool(&["test", "rules", "hisync.rules.test.yml"], &folder, "");
    let dashboard = std::fs::read_to_string(config("grafana/hisync.json")).unwrap();
    let parsed: Json = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(parsed["uid"], "hisync");
    let rules = std::fs::read_to_string(folder.join("hisync.rules.yml")).unwrap();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for text in [&dashboard, &rules] {
        let named: BTreeSet<&str> =
            text.split(|c| !is_part(c)).filter(|word| word.starts_with("hisync_") && word.len() > 7).collect();
        assert!(named.len() > 8, "{named:?}");
        for name in named {
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(metrics::ALL.iter().any(|(known, ..)| *known == bare), "there is no metric {name}");
        }
    }
    for anchor in rules.split("docs/runbook.md#").skip(1).map(|rest| rest.split_whitespace().next().unwrap()) {
        assert!(hisync::ops::runbook::chapter(anchor).is_some(), "docs/runbook.md has no chapter {anchor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_delivered_event_is_a_trace_under_the_ids_that_upstream_got() {
    let (collector, first) = Peer::start("otlp_collector.py");
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    std::fs::write(site.folder.path().join("token"), "collector-token").unwrap();
    let traces = format!(
        "\n[traces]\nendpoint = \"http://127.0.0.1:{}/\"\ntoken = {{ file = \"token\" }}\n",
        first["http"].as_u64().unwrap()
    );
    let text = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, text + &traces).unwrap();
    let agent = site.start().await;
    delivered(&agent).await;
    let events = site.upstream.received();
    assert!(!events.is_empty());
    let mut sent = BTreeSet::new();
    for event in &events {
        sent.insert(event.event["traceparent"].as_str().unwrap().to_owned());
    }
    let mut told = BTreeSet::new();
    while told.len() < sent.len() {
        let span = collector.next();
        assert_eq!((span["path"].as_str(), span["service"].as_str()), (Some("/v1/traces"), Some("hisync")));
        assert_eq!(span["authorization"], "Bearer collector-token");
        if span["parent"] == "" {
            told.insert(format!("00-{}-{}-01", span["trace"].as_str().unwrap(), span["span"].as_str().unwrap()));
            assert!(span["lasts"].as_i64().unwrap() > 0, "{span}");
        } else {
            assert_eq!(span["name"], "deliver");
        }
    }
    assert_eq!(told, sent);
    agent.stop().await;
}
