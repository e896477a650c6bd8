//! The status page in a real browser: each page, each act, both languages, a desk's screen and a phone's. With
//! `HISYNC_PICTURES=FOLDER` the same tests take the pictures of the guides (`scripts/pictures`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chrono::{DateTime, Days, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use chrono_tz::Asia::Shanghai;
use connector_api::StreamId;
use hisync::agent::{Agent, AgentFile};
use hisync::clock::Clock;
use hisync::ops::health::Reason;
use hisync::ops::watch::kept_since;
use hisync::sandbox::hospital::Visit;
use hisync::sandbox::hospital::peis::ReportState;
use hisync::sandbox::hospital::people::Sex;
use hisync::sandbox::upstream::Fault;
use hisync::store::{AlertChange, Point, TrafficHour};
use serde_json::{Value as Json, json};

use super::access::{PASSWORD, guarded};
use super::live::Process;
use super::support::{
    Peer, REPORTS, Site, delivered, eventually, held, hisync_json, message, overview, read, send, visit,
};

/// A browser that shows the page of an agent.
struct Browser {
    process: Child,
    scenes: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    fn open(agent: &Agent) -> Browser {
        Browser::at(agent.admin_address())
    }

    fn at(address: SocketAddr) -> Browser {
        let peers = std::env::var_os("HISYNC_NODE_PEERS")
            .expect("HISYNC_NODE_PEERS names no folder with playwright-core: scripts/test makes it");
        let mut process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/pages.js"))
            .arg(format!("http://{address}"))
            .env("NODE_PATH", Path::new(&peers).join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node, and the Debian package chromium: scripts/test installs them");
        let scenes = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut browser = Browser { process, scenes, answers };
        browser.answered();
        browser
    }

    /// Plays a scene of `tests/peers/pages.js`.
    fn plays(&mut self, scene: &str, args: Json) {
        writeln!(self.scenes, "{}", json!({ "scene": scene, "args": args })).unwrap();
        self.answered();
    }

    fn answered(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        if let Some(error) = answer["error"].as_str() {
            panic!("{error}");
        }
    }
}

fn now() -> DateTime<Utc> {
    Clock::system().now()
}

/// An hour of a day that is over.
fn yesterday(hour: u32) -> NaiveDateTime {
    (now().with_timezone(&Shanghai).date_naive() - Days::new(2)).and_hms_opt(hour, 0, 0).unwrap()
}

/// Writes a final report of a new visit; a flag stands beside one of its results.
fn report(site: &mut Site, visit: &Visit, at: NaiveDateTime, flag: Option<&str>) {
    let sex = if visit.person.sex == Sex::Male { "1" } else { "2" };
    let written = site.peis.change(|desk| {
        desk.register(visit, sex)?;
        for (n, order) in visit.orders.iter().enumerate() {
            desk.enter(visit, order, flag.filter(|_| n == 0))?;
        }
        desk.conclude(visit, ReportState::Concluded, at)?;
        desk.touch(visit, at)
    });
    written.unwrap();
}

/// How much of a day's work a hospital has done, hour by hour: most of it in the morning.
const WORK: [f64; 24] = [
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02, 0.09, 0.17, 0.19, 0.16, 0.11, 0.04, 0.04, 0.07, 0.06, 0.04, 0.01, 0.0, 0.0,
    0.0, 0.0, 0.0, 0.0,
];

/// Gives an agent a past: the last day of the charts, and twelve weeks of ordinary hours.
async fn remember(agent: &Agent) {
    let (store, now) = (agent.store(), now());
    let overview = overview(agent).await;
    let today = hisync::ops::report::point(&overview, now);
    let steps: i64 = 95;
    let at = |step: i64| now - TimeDelta::minutes(15 * (steps - step) + 15);
    let work = |step: i64| WORK[at(step).with_timezone(&Shanghai).hour() as usize];
    let all: f64 = (0..steps).map(work).sum();
    let mut done = 0.0;
    let points = (0..steps).map(|step| {
        done += work(step) / all;
        let share = |n: i64| (n as f64 * done) as i64;
        let busy = (work(step) * 60.0) as i64;
        Point {
            at: at(step),
            received: share(today.received),
            delivered: share(today.delivered),
            held: (step / 24).min(today.held),
            waiting: if step % 3 == 0 { busy } else { 0 },
        }
    });
    store.add_trend(points.collect()).await.unwrap();
    let local = now.with_timezone(&Shanghai).naive_local();
    let hours = (0..=84_u64).flat_map(|back| (0..24_u32).map(move |hour| (back, hour)));
    let hours = hours.filter(|(back, hour)| *back > 0 || *hour < local.hour()).map(|(back, hour)| {
        let day = local.date() - Days::new(back);
        let records = (WORK[hour as usize] * 400.0) as u64 + (back * 7 + u64::from(hour)) % 5;
        TrafficHour {
            stream: REPORTS.to_owned(),
            hour: format!("{day}T{hour:02}"),
            records: if (6..18).contains(&hour) { records } else { 0 },
            good_secs: 3600,
        }
    });
    store.add_traffic(hours.collect(), kept_since(Shanghai, now)).await.unwrap();
}

async fn held_id(agent: &Agent, reason: &str) -> i64 {
    let items = held(agent).await;
    items.iter().find(|item| item.reason == reason && item.state == "open").unwrap_or_else(|| panic!("{items:?}")).id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_shows_the_way_of_a_record_the_last_day_and_what_needs_a_person() {
    let mut site = Site::new().await;
    for index in 0..30 {
        report(&mut site, &visit(index), yesterday(9), None);
    }
    report(&mut site, &visit(30), yesterday(10), Some("※"));
    let agent = site.start().await;
    delivered(&agent).await;
    remember(&agent).await;
    agent.stop().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(0, "C1", Some("ZZ"))).await;
    delivered(&agent).await;
    let reports = overview(&agent).await.totals["exam_report"].source;
    let mut browser = Browser::open(&agent);
    browser.plays("overview", json!({ "streams": 5, "held": 2, "reports": reports }));
    browser.plays("streams", json!({ "stream": REPORTS }));
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    for index in 31..37 {
        report(&mut site, &visit(index), yesterday(11), None);
    }
    read(&agent, REPORTS).await;
    eventually("delivery to notice", async || agent.delivery().breaker.state != "closed").await;
    browser.plays("outage", json!({}));
    site.upstream.put_faults(Vec::new());
    agent.stop().await;
    browser.plays("lost", json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_gone_is_shown_and_asked_again_from_the_page() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    site.edit("hisync.toml", "peis.db", "moved.db");
    let agent = site.start().await;
    let reports = StreamId::parse(REPORTS).unwrap();
    for _ in 0..5 {
        assert!(agent.poll_now(&reports).await.is_err());
    }
    let mut browser = Browser::open(&agent);
    browser.plays("broken_source", json!({}));
    std::os::unix::fs::symlink(site.folder.path().join("peis.db"), site.folder.path().join("moved.db")).unwrap();
    browser.plays("source_back", json!({}));
    delivered(&agent).await;
    let acts = agent.store().read(|reader| reader.audit_of("source/peis")).await.unwrap();
    assert_eq!(
        acts.iter().map(|act| (act.who.as_str(), act.act.as_str())).collect::<Vec<_>>(),
        [("wang", "source-reset")]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_items_are_seen_beside_what_was_read_and_settled_in_place() {
    let mut site = Site::new().await;
    for index in 0..3 {
        report(&mut site, &visit(index), yesterday(9), Some("※"));
    }
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(5, "C1", Some("ZZ"))).await;
    let database = rusqlite::Connection::open(site.peis.path()).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    database.execute_batch("UPDATE 套餐 SET 原价 = 原价 * 100, 售价 = 售价 * 100").unwrap();
    read(&agent, "peis/packages").await;
    delivered(&agent).await;
    let items = held(&agent).await;
    let of = |person: usize| {
        let number = visit(person).exam_no;
        items.iter().find(|item| item.key.as_ref().is_some_and(|key| key.contains(&number))).unwrap().id
    };
    let mut browser = Browser::open(&agent);
    browser.plays("held_list", json!({ "reasons": ["unknown-code", "mass-change"] }));
    browser.plays("held_item", json!({ "id": of(0), "name": visit(0).person.name }));
    browser.plays("held_retry", json!({ "id": of(0) }));
    browser.plays("held_dismiss", json!({ "id": of(1) }));
    browser.plays("held_release", json!({ "reason": "mass-change" }));
    browser.plays("held_retry_all", json!({ "reason": "unknown-code" }));
    let state = |items: &[hisync::store::HeldSummary], id: i64| {
        items.iter().find(|item| item.id == id).map(|item| item.state.clone()).unwrap()
    };
    let (first, second, after) = (of(0), of(1), held(&agent).await);
    assert_eq!((state(&after, first).as_str(), state(&after, second).as_str()), ("open", "dismissed"));
    let released = after.iter().find(|item| item.reason == "mass-change").unwrap();
    assert_eq!((released.state.as_str(), released.closed_by.as_deref()), ("released", Some("wang")));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_code_is_mapped_in_place_and_its_records_are_delivered() {
    let mut site = Site::new().await;
    for index in 0..3 {
        report(&mut site, &visit(index), yesterday(9), Some("※"));
    }
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(5, "C1", Some("ZZ"))).await;
    delivered(&agent).await;
    let mut browser = Browser::open(&agent);
    browser.plays("codes", json!({ "code": "※", "standard": "abnormal" }));
    let table = site.folder.path().join("mappings/demo-peis/codes/flag.csv");
    assert!(std::fs::read_to_string(table).unwrap().contains("※,异常,abnormal"));
    agent.stop().await;
    let agent = site.start().await;
    eventually("the records to be mapped again", async || {
        held(&agent).await.iter().filter(|item| item.stream == REPORTS).all(|item| item.state != "open")
    })
    .await;
    delivered(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_shown_while_upstream_is_down_and_sent_from_the_page() {
    let mut site = Site::new().await;
    let agent = site.start().await;
    delivered(&agent).await;
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    for index in 0..4 {
        report(&mut site, &visit(index), yesterday(9), None);
    }
    read(&agent, REPORTS).await;
    eventually("delivery to notice", async || agent.delivery().breaker.state == "open").await;
    let waiting = overview(&agent).await.outbox_depth;
    let mut browser = Browser::open(&agent);
    browser.plays("outbox", json!({ "waiting": waiting, "name": visit(0).person.name }));
    browser.plays("send_now", json!({}));
    site.upstream.put_faults(Vec::new());
    browser.plays("upstream_back", json!({}));
    delivered(&agent).await;
    let acts = agent.store().read(|reader| reader.audit_of("upstream")).await.unwrap();
    assert_eq!(
        acts.iter().map(|act| (act.who.as_str(), act.act.as_str())).collect::<Vec<_>>(),
        [("wang", "upstream-reset")]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_record_is_found_by_its_exam_number() {
    let mut site = Site::new().await;
    report(&mut site, &visit(0), yesterday(9), None);
    let agent = site.start().await;
    delivered(&agent).await;
    let mut browser = Browser::open(&agent);
    browser.plays("find", json!({ "number": visit(0).exam_no }));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_silenced_and_channels_tried_from_the_page() {
    let site = Site::new().await;
    let (peer, ports) = Peer::start("alert_channels.py");
    std::fs::write(site.folder.path().join("group"), format!("http://127.0.0.1:{}/wecom?key=wecom-key", ports["http"]))
        .unwrap();
    let text = std::fs::read_to_string(&site.config).unwrap();
    let channel = "[[alerts.channels]]\ntype = \"wecom\"\nid = \"oncall\"\nurl = { file = \"group\" }\n";
    std::fs::write(&site.config, format!("{text}\n{channel}")).unwrap();
    let agent = site.start().await;
    delivered(&agent).await;
    let reason = |code, subject: &str, en: &str, zh: &str| {
        let reason = Reason::new(code, subject).says(en, zh);
        let (code, subject) = (code.to_owned(), reason.subject.clone());
        AlertChange::Open { code, subject, reason: serde_json::to_value(reason).unwrap(), channels: Vec::new() }
    };
    let changes = vec![
        reason("upstream-clock", "upstream", "its clock is 4 min behind this machine's", "上游时钟比本机慢 4 分钟"),
        reason("stream-silent", "stream lab/reports", "silent for 3 h in its hours", "规定时段内没有新数据，已 3 小时"),
    ];
    agent.store().change_alerts(changes).await.unwrap();
    let mut browser = Browser::open(&agent);
    browser.plays("alerts", json!({ "channel": "oncall" }));
    assert_eq!(peer.next()["channel"], "wecom");
    let acts = agent.store().read(|reader| reader.audit_list(None, 10)).await.unwrap();
    let acts: Vec<_> = acts.iter().map(|line| (line.entry.who.as_str(), line.entry.act.as_str())).collect();
    assert_eq!(acts, [("wang", "alert-silence-end"), ("wang", "alert-silence")]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_is_asked_for_and_read_on_the_page() {
    let mut site = Site::new().await;
    for index in 0..3 {
        report(&mut site, &visit(index), yesterday(9 + index as u32), None);
    }
    let agent = site.start().await;
    delivered(&agent).await;
    // Committed by the hospital long after its time: no poll sees it.
    report(&mut site, &visit(3), yesterday(6), None);
    let mut browser = Browser::open(&agent);
    browser.plays("compare", json!({ "stream": REPORTS, "key": visit(3).exam_no }));
    delivered(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_in_force_is_shown_with_its_history_and_without_its_secrets() {
    let site = Site::new().await;
    let agent = site.start().await;
    agent.stop().await;
    site.edit("hisync.toml", "heartbeat_secs = 5", "heartbeat_secs = 7");
    let agent = site.start().await;
    agent.stop().await;
    // The same once more is no news.
    let agent = site.start().await;
    let mut browser = Browser::open(&agent);
    browser.plays("config", json!({ "secret": "whsec_" }));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_are_set_and_the_configuration_is_loaded_again_from_the_page() {
    let site = Site::new().await;
    let process = Process::start(&site).await;
    eventually("the agent to tell its address", async || AgentFile::read(&site.data_dir()).is_some()).await;
    let mut browser = Browser::at(AgentFile::read(&site.data_dir()).unwrap().admin);
    browser.plays("switches", json!({}));
    site.edit("hisync.toml", "heartbeat_secs = 5", "heartbeat_secs = 7");
    browser.plays("reload", json!({}));
    let (_, lines) = hisync_json(&site.config, &["audit", "list"]);
    let acts: Vec<_> = lines.as_array().unwrap().iter().filter(|line| line["who"] == "wang").collect();
    assert!(
        acts.iter().any(|line| line["act"] == "switch-set") && acts.iter().any(|line| line["act"] == "switch-clear")
    );
    drop(browser);
    process.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_keeps_to_what_an_account_may_do_and_tells_whether_the_audit_log_is_whole() {
    let (site, agent) = guarded(false).await;
    let id = held_id(&agent, "unknown-code").await;
    let mut browser = Browser::open(&agent);
    browser.plays("log_in", json!({ "name": "li", "password": PASSWORD, "wrong": "not this one" }));
    browser.plays("only_looks", json!({ "id": id }));
    browser.plays("log_out", json!({}));
    browser.plays("log_in", json!({ "name": "wang", "password": PASSWORD, "wrong": "nor this one" }));
    browser.plays("operates", json!({ "id": id, "operator": "wang" }));
    browser.plays("audit", json!({ "lines": ["login-refused", "logout", "held-dismiss"] }));
    drop(browser);
    agent.stop().await;
    let db = rusqlite::Connection::open(site.data_dir().join("hisync.db")).unwrap();
    db.execute_batch("DROP TRIGGER audit_is_not_rewritten; UPDATE audit SET who = 'nobody' WHERE act = 'held-dismiss'")
        .unwrap();
    let text = std::fs::read_to_string(&site.config).unwrap();
    let open = text.split("[[admin.operators]]").next().unwrap();
    std::fs::write(&site.config, open).unwrap();
    let agent = site.start().await;
    let mut browser = Browser::open(&agent);
    browser.plays("broken_audit", json!({}));
    agent.stop().await;
}

/// What a browser loads before the first page stands: bytes of each answer as it is sent.
async fn first_load(agent: &Agent) -> Vec<(&'static str, usize)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut loaded = Vec::new();
    for path in ["/", "/page.css", "/page.js", "/api/me", "/api/status", "/api/day"] {
        let url = format!("http://{}{path}", agent.admin_address());
        let answer = client.get(url).header("accept-encoding", "gzip").send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        loaded.push((path, answer.bytes().await.unwrap().len()));
    }
    loaded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_load_is_below_100_kilobytes() {
    let mut site = Site::new().await;
    report(&mut site, &visit(0), yesterday(9), Some("※"));
    let agent = site.start().await;
    delivered(&agent).await;
    remember(&agent).await;
    let loaded = first_load(&agent).await;
    let all: usize = loaded.iter().map(|(_, bytes)| bytes).sum();
    assert!(all < 100_000, "{all} bytes: {loaded:?}");
    agent.stop().await;
}

/// Prints how long the first load takes over loopback with a million records in the store:
/// `cargo nextest run --release -p hisync --test agent --run-ignored only million_records --no-capture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills a store with a million records: for a person who wants to know a time"]
async fn the_first_load_beside_a_million_records() {
    let site = Site::new().await;
    let agent = site.start().await;
    delivered(&agent).await;
    agent.stop().await;
    let db = rusqlite::Connection::open(site.data_dir().join("hisync.db")).unwrap();
    db.execute_batch(include_str!("million.sql")).unwrap();
    drop(db);
    let agent = site.start().await;
    first_load(&agent).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = std::time::Instant::now();
        let bytes: usize = first_load(&agent).await.iter().map(|(_, bytes)| bytes).sum();
        times.push((began.elapsed(), bytes));
    }
    times.sort();
    let records: i64 = overview(&agent).await.streams.iter().map(|stream| stream.records).sum();
    let (median, bytes) = times[times.len() / 2];
    println!("{records} records: the first load is {bytes} bytes and takes {median:?} (of 20 the median)");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in [
        "/api/held?limit=100",
        "/api/codes?lately=200",
        "/api/outbox?limit=50",
        "/api/outbox/recent?limit=50",
        "/api/explain?newest=100000&q=no-777777",
        "/api/explain?newest=100000&q=00000000-0000-4000-8000-000000000000",
        "/api/audit?limit=100",
        "/api/config",
    ] {
        let began = std::time::Instant::now();
        let answer = client.get(format!("http://{}{path}", agent.admin_address())).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        let bytes = answer.bytes().await.unwrap().len();
        println!("{path}: {bytes} bytes in {:?}", began.elapsed());
    }
    agent.stop().await;
}
