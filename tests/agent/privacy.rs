//! P9: no person is in logs, metrics or error texts, however much is logged and whatever fails.

use std::process::Stdio;

use hisync::agent::AgentFile;
use hisync::sandbox::hospital::{Day, Visit};
use hisync::sandbox::upstream::{Change, Fault, PartialReceipts};

use super::support::{Site, command, eventually, message, visit};

/// What must not be found of a person.
pub(super) fn words(visit: &Visit) -> Vec<String> {
    let person = &visit.person;
    let mut words = vec![
        person.name.clone(),
        person.citizen_id.clone(),
        person.phone.clone(),
        person.archive_no.clone(),
        visit.exam_no.clone(),
        person.birth.format("%Y%m%d").to_string(),
        person.birth.format("%Y-%m-%d").to_string(),
    ];
    words.extend(visit.conclusions().into_iter().map(|conclusion| conclusion.text.to_string()));
    let results = visit.orders.iter().flat_map(|order| &order.results);
    // A number may be anything; a sentence is a finding.
    words.extend(results.map(|row| row.value.clone()).filter(|value| value.chars().count() > 6));
    words
}

fn assert_clean<'a>(what: &str, text: &str, visits: impl IntoIterator<Item = &'a Visit>) {
    for visit in visits {
        for word in words(visit) {
            let line = text.lines().find(|line| line.contains(&word));
            assert_eq!(line, None, "{what} holds {word:?}");
        }
    }
}

/// The files of a support bundle, all in one text with their names.
fn bundle(config: &str, folder: &std::path::Path) -> String {
    use std::io::Read as _;
    let path = folder.join("bundle.tar.gz");
    let (code, out, err) = super::support::hisync(&["support-bundle", "-c", config, "-o", path.to_str().unwrap()]);
    assert_eq!((code, out.trim()), (0, path.to_str().unwrap()), "{err}");
    let unpacked = flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap());
    let mut text = String::new();
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        text.push_str(&format!("\n=== {}\n", entry.path().unwrap().display()));
        entry.read_to_string(&mut text).unwrap();
    }
    text
}

#[test]
fn a_support_bundle_of_a_whole_day_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("day");
    let arguments = ["demo", "--once", "--people", "14", "--seed", "12", "--dir", day.to_str().unwrap()];
    let output = command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = bundle(day.join("hisync.toml").to_str().unwrap(), folder.path());
    for name in ["status.json", "alerts.json", "store.json", "versions.json", "config.json", "log-missing.txt"] {
        assert!(text.contains(&format!("/{name}\n")), "{name} is missing");
    }
    assert!(text.contains("\"exam_report\""), "it says something: {text}");
    let visits: Vec<Visit> = (0..14).map(|index| Day::new(12, 14).visit(index)).collect();
    assert_clean("the bundle", &text, &visits);
}

#[test]
fn a_day_that_is_logged_to_the_last_detail_names_nobody() {
    let arguments = ["demo", "--once", "--json", "--people", "14", "--seed", "11"];
    let output = command(&arguments).env("HISYNC_LOG", "trace").output().unwrap();
    let (out, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(log.contains("hisync::"), "it logs");
    let visits: Vec<Visit> = (0..14).map(|index| Day::new(11, 14).visit(index)).collect();
    assert_clean("the log", &log, &visits);
    assert_clean("the output", &out, &visits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_names_nobody_either() {
    let mut site = Site::new().await;
    let visits = [visit(0), visit(1)];
    // Upstream refuses, in words that name the person.
    let words = format!("no such person: {} {}", visits[0].person.name, visits[0].person.citizen_id);
    site.upstream.put_faults(vec![
        Fault { status: Some(500), body: words.clone(), count: Some(2), ..Fault::default() },
        Fault { status: Some(422), body: words, count: Some(2), ..Fault::default() },
        Fault {
            receipts: Some(PartialReceipts { every: 2, change: Change::Reject }),
            count: Some(4),
            ..Fault::default()
        },
    ]);
    site.conclude(&visits[0], 9, Some("※"));
    let config = site.config.to_string_lossy().into_owned();
    let written = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, written + "\n[log]\nfile = \"logs/hisync.log\"\n").unwrap();
    let log_file = site.folder.path().join("log");
    let mut program = command(&["run", "-c", &config]);
    program.env("HISYNC_LOG", "trace").stdout(Stdio::null()).stderr(std::fs::File::create(&log_file).unwrap());
    let mut program = program.spawn().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually("the agent's address", async || AgentFile::read(&site.data_dir()).is_some()).await;
    let admin = AgentFile::read(&site.data_dir()).unwrap().admin;
    let get = async |path: &str| {
        let answer = client.get(format!("http://{admin}{path}")).send().await;
        answer.unwrap().text().await.unwrap()
    };
    let status = async || serde_json::from_str::<serde_json::Value>(&get("/api/status").await).unwrap();
    let listening = async || {
        let streams = status().await["streams"].clone();
        streams.as_array().unwrap().iter().find_map(|stream| stream["endpoint"].as_str().map(str::to_owned))
    };
    eventually("the laboratory's receiver", async || listening().await.is_some()).await;
    let patience = hisync::sandbox::hospital::Patience::default();
    let mut lab = hisync::sandbox::hospital::LabSender::new(listening().await.unwrap().parse().unwrap(), patience);
    let mut broken = message(1, "C2", None);
    let name = broken.bytes.windows(6).position(|window| window == b"PID|1|").unwrap() + 6;
    broken.bytes.splice(name..name, [b'|', 0xFF, 0xFF]);
    for message in [message(1, "C1", Some("ZZ")), broken] {
        lab.send(&message).await;
    }
    eventually("the outbox to empty", async || status().await["store"]["outbox_depth"] == 0).await;
    let metrics = get("/metrics").await;
    let report = get("/api/status").await;
    let alerts = get("/api/alerts").await;
    let bundle = bundle(&config, site.folder.path());
    let stopped = std::process::Command::new("kill").arg(program.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert_eq!(program.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(log_file).unwrap();
    assert!(log.contains("hisync stopped"), "{log}");
    assert_clean("the log", &log, &visits);
    assert_clean("the metrics", &metrics, &visits);
    assert_clean("the status", &report, &visits);
    assert_clean("the alerts", &alerts, &visits);
    for name in ["status.json", "metrics.txt", "log.txt"] {
        assert!(bundle.contains(&format!("/{name}\n")), "{name} is missing");
    }
    assert!(bundle.contains("\"message\":\"hisync runs\""), "the log file is in it: {bundle}");
    assert_clean("the bundle", &bundle, &visits);
    let secret = "c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM";
    assert!(!bundle.contains(secret) && !log.contains(secret));
    let lines = std::fs::read_to_string(site.folder.path().join("logs/hisync.log")).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "one object per line");
    assert_clean("the log file", &lines, &visits);
}
