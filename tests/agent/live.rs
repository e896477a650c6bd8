//! Another configuration, switches and rotated secrets while the real program runs.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use connector_tds_testkit::{self as tds, TdsServer};
use hisync::clock::Clock;
use hisync::delivery::signature::Keys;
use hisync::sandbox::upstream::{Fault, Options, Upstream};
use serde_json::{Value as Json, json};

use super::support::{Site, command, eventually, hisync, hisync_json, message, visit};
use hisync::sandbox::hospital::{Answer, LabSender, Patience, Sent};

/// The real agent, as a process.
pub(super) struct Process(Child, std::path::PathBuf);

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.1).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            println!("--- the end of the log\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub(super) async fn start(site: &Site) -> Process {
        let process = Process::spawn(site);
        eventually("the agent to run", async || {
            let (code, status) = status(site);
            let busy = |stream: &Json| stream["state"] == "starting" || stream["state"] == "reading";
            code < 2 && status["agent"]["config_digest"].is_string() && !streams(&status).iter().any(busy)
        })
        .await;
        process
    }

    fn spawn(site: &Site) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(log_file(site)).unwrap();
        let mut run = command(&["run", "-c", &site.config.to_string_lossy()]);
        Process(run.stdout(Stdio::null()).stderr(log).spawn().unwrap(), log_file(site))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }

    pub(super) fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn log_file(site: &Site) -> std::path::PathBuf {
    site.folder.path().join("agent.log")
}

fn log(site: &Site) -> String {
    std::fs::read_to_string(log_file(site)).unwrap_or_default()
}

fn status(site: &Site) -> (i32, Json) {
    let config = site.config.to_string_lossy().into_owned();
    let (code, out, _) = hisync(&["status", "-c", &config, "--json"]);
    (code, serde_json::from_str(&out).unwrap_or_default())
}

fn streams(status: &Json) -> Vec<Json> {
    status["streams"].as_array().cloned().unwrap_or_default()
}

fn stream(site: &Site, id: &str) -> Json {
    streams(&status(site).1).into_iter().find(|stream| stream["id"] == id).unwrap_or_default()
}

fn reasons(site: &Site) -> Vec<String> {
    let (_, status) = status(site);
    let reasons = status["health"]["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap_or_default().to_owned()).collect()
}

fn reload(site: &Site) -> (i32, Json) {
    hisync_json(&site.config, &["reload", "--who", "wang"])
}

fn parts(outcome: &Json) -> Vec<String> {
    let parts = outcome["parts"].as_array().cloned().unwrap_or_default();
    parts
        .iter()
        .map(|part| format!("{}: {}", part["part"].as_str().unwrap(), part["effect"].as_str().unwrap()))
        .collect()
}

fn audited(site: &Site, act: &str) -> Vec<Json> {
    let (_, lines) = hisync_json(&site.config, &["audit", "list"]);
    lines.as_array().unwrap().iter().filter(|line| line["act"] == act).cloned().collect()
}

fn lab_address(site: &Site) -> SocketAddr {
    stream(site, "lab/reports")["endpoint"].as_str().unwrap().parse().unwrap()
}

fn is_open(peer: &TcpStream) -> bool {
    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut byte = [0];
    match (&mut &*peer).read(&mut byte) {
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        Ok(n) => n > 0,
    }
}

/// Whether the agent has taken custody of a message.
fn taken(sent: Sent) -> bool {
    sent.answer == Answer::Accepted
}

/// How many versions of reports upstream has applied.
fn reports(upstream: &Upstream) -> usize {
    upstream.received().iter().filter(|line| line.event["type"] == "hisync.exam_report.upserted").count()
}

/// A site whose reports are read each second.
async fn busy_site() -> Site {
    let site = Site::new().await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let (before, after) = text.split_once("entity = \"exam_report\"").unwrap();
    let after = after.replacen("\"0 0 3 1 1 *\"", "\"* * * * * *\"", 1);
    std::fs::write(&site.config, format!("{before}entity = \"exam_report\"{after}")).unwrap();
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_changes_one_source_leaves_the_other_untouched() {
    let site = Site::new().await;
    let agent = Process::start(&site).await;
    let lab = TcpStream::connect(lab_address(&site)).unwrap();
    let items = stream(&site, "peis/items");
    let (_, before) = status(&site);

    // Nothing has changed.
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"], parts(&outcome)), (0, &json!("unchanged"), vec![]));

    site.edit("hisync.toml", "id = \"packages\"\n", "id = \"packages\"\nbatch_size = 77\n");
    let (code, outcome) = hisync_json(&site.config, &["reload", "--dry-run"]);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("would-apply")), "{outcome}");
    assert_eq!(status(&site).1["agent"]["config_digest"], before["agent"]["config_digest"]);
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("applied")), "{outcome}");
    assert_eq!(parts(&outcome), ["stream peis/packages: starts anew"]);
    assert_eq!(outcome["changed"], json!(["sources.peis.streams.packages.batch_size"]));
    assert!(is_open(&lab), "the laboratory's connection");
    assert_eq!(stream(&site, "peis/items")["last_attempt_at"], items["last_attempt_at"], "no other stream is read");
    let (_, after) = status(&site);
    assert_ne!(after["agent"]["config_digest"], before["agent"]["config_digest"]);
    assert_eq!(after["agent"]["started_at"], before["agent"]["started_at"]);

    // A code table of the listener's mapping: the connection stays, and the next message is read by it.
    let version = stream(&site, "lab/reports")["mapping_version"].clone();
    let flags = "mappings/demo-lab/codes/flag.csv";
    let table = std::fs::read_to_string(site.folder.path().join(flags)).unwrap();
    std::fs::write(site.folder.path().join(flags), format!("{}\nZZ,ZZ,normal,normal\n", table.trim_end())).unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("applied")), "{outcome}");
    assert!(parts(&outcome).contains(&"listener lab: goes on, and reads by the new mapping".to_owned()), "{outcome}");
    assert_ne!(stream(&site, "lab/reports")["mapping_version"], version);
    assert!(is_open(&lab));

    // A source goes, and comes back.
    let text = std::fs::read_to_string(&site.config).unwrap();
    let at = text.rfind("[[sources]]").unwrap();
    std::fs::write(&site.config, &text[..at]).unwrap();
    let (_, outcome) = reload(&site);
    assert!(parts(&outcome).contains(&"listener lab: ends".to_owned()), "{outcome}");
    assert!(!is_open(&lab) && stream(&site, "lab/reports").is_null());
    std::fs::write(&site.config, &text).unwrap();
    let (_, outcome) = reload(&site);
    assert!(parts(&outcome).contains(&"listener lab: starts".to_owned()), "{outcome}");
    TcpStream::connect(lab_address(&site)).unwrap();
    let acts = audited(&site, "config-reload");
    assert!(acts.len() == 5 && acts.iter().all(|line| line["who"] == "wang"), "{acts:?}");
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_refused_with_every_problem_and_the_old_one_goes_on() {
    let mut site = busy_site().await;
    let agent = Process::start(&site).await;
    let lab = TcpStream::connect(lab_address(&site)).unwrap();
    let good = std::fs::read_to_string(&site.config).unwrap();
    let bad = good.replace("heartbeat_secs = 5", "heartbeat_sec = 5").replace("mode = \"push\"", "mode = \"pull\"");
    std::fs::write(&site.config, bad).unwrap();
    let config = site.config.to_string_lossy().into_owned();
    let (code, out, err) = hisync(&["reload", "-c", &config]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("nothing was touched"), "{out}");
    for word in ["heartbeat_secs", "pull", "hisync.toml:"] {
        assert!(err.contains(word), "{word}: {err}");
        assert!(log(&site).contains(word), "{word}: {}", log(&site));
    }
    let (code, outcome) = reload(&site);
    let problems = outcome["problems"].as_array().unwrap();
    assert!(code == 2 && problems.len() >= 2 && problems.iter().all(|problem| problem["line"].is_u64()), "{outcome}");
    assert!(reasons(&site).contains(&"config-refused".to_owned()));
    assert!(is_open(&lab));
    site.conclude(&visit(0), 9, None);
    eventually("a report", async || reports(&site.upstream) == 1).await;

    // By a signal too; and what is repaired is told no more.
    agent.signal(rustix::process::Signal::HUP);
    eventually("the refusal", async || log(&site).matches("is refused, the old one goes on").count() == 3).await;
    std::fs::write(&site.config, good.replace("heartbeat_secs = 5", "heartbeat_secs = 6")).unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, parts(&outcome)), (0, vec!["delivery: starts anew".to_owned()]), "{outcome}");
    assert!(!reasons(&site).contains(&"config-refused".to_owned()));
    site.conclude(&visit(0), 10, None);
    eventually("another report", async || reports(&site.upstream) == 2).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_does_not_start_leaves_everything_as_it_was() {
    let site = Site::new().await;
    let agent = Process::start(&site).await;
    let (old, lab) = (lab_address(&site), TcpStream::connect(lab_address(&site)).unwrap());
    let good = std::fs::read_to_string(&site.config).unwrap();
    let (before, after) = good.rsplit_once("[[sources]]").unwrap();
    let with = |change: &dyn Fn(&str) -> String| {
        std::fs::write(&site.config, format!("{before}[[sources]]{}", change(after))).unwrap();
    };

    // A port that somebody else has: it is tried before the old one is left.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = taken.local_addr().unwrap().to_string();
    with(&|lab| lab.replace("127.0.0.1:0", &there));
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("refused")), "{outcome}");
    assert!(outcome["troubles"][0].as_str().unwrap().contains(&there), "{outcome}");
    assert!(is_open(&lab) && lab_address(&site) == old);
    assert!(reasons(&site).contains(&"config-refused".to_owned()));

    // At the same address only the old one can make room: when the new one fails, it comes back.
    std::fs::write(site.folder.path().join("bad.pem"), "no certificate").unwrap();
    std::fs::write(site.folder.path().join("bad.key"), "no key").unwrap();
    let tls = "listen = \"127.0.0.1:0\", tls = { certificate = \"bad.pem\", key = \"bad.key\" }";
    with(&|lab| lab.replace("listen = \"127.0.0.1:0\"", tls));
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("rolled-back")), "{outcome}");
    eventually("the old listener", async || stream(&site, "lab/reports")["state"] == "listening").await;
    TcpStream::connect(lab_address(&site)).unwrap();

    // A free port is taken; a database that is not there does not replace one that is.
    drop(taken);
    with(&|lab| lab.replace("127.0.0.1:0", &there));
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("applied")), "{outcome}");
    assert_eq!(lab_address(&site).to_string(), there);
    let (open, digest) =
        (TcpStream::connect(lab_address(&site)).unwrap(), status(&site).1["agent"]["config_digest"].clone());
    site.edit("hisync.toml", "peis.db", "nowhere.db");
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("refused")), "{outcome}");
    assert!(outcome["troubles"][0].as_str().unwrap().contains("do not work where the old ones do"), "{outcome}");
    assert!(is_open(&open) && status(&site).1["agent"]["config_digest"] == digest);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_address_moves_and_whoever_asked_for_it_is_answered() {
    let site = Site::new().await;
    let agent = Process::start(&site).await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = free.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&site.config).unwrap();
    let moved = text.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{there}\""), 1);
    std::fs::write(&site.config, &moved).unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("refused")), "it is taken: {outcome}");
    drop(free);
    let (code, outcome) = reload(&site);
    assert_eq!((code, parts(&outcome)), (0, vec!["admin: starts anew".to_owned()]), "{outcome}");
    let file = hisync::agent::AgentFile::read(&site.data_dir()).unwrap();
    assert_eq!(file.admin.to_string(), there);
    assert!(status(&site).1["agent"]["config_digest"].is_string());
    // What everything stands on is another matter.
    site.edit("hisync.toml", "[agent]", "[agent]\nlane = \"staging\"");
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("restarting")), "{outcome}");
    eventually("the agent to run again", async || {
        let now = hisync::agent::AgentFile::read(&site.data_dir());
        now.is_some_and(|now| now.run != file.run) && status(&site).1["agent"]["config_digest"].is_string()
    })
    .await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reloads_and_kills_in_their_middle_lose_nothing() {
    let mut site = busy_site().await;
    let mut agent = Process::start(&site).await;
    let (mut sent, mut lab): (usize, Option<LabSender>) = (0, None);
    for n in 0..20 {
        let text = std::fs::read_to_string(&site.config).unwrap();
        let (from, to) = (format!("heartbeat_secs = {}", 5 + n), format!("heartbeat_secs = {}", 6 + n));
        let text = text.replace(&from, &to);
        let text = match n % 3 {
            0 => {
                text.replace("id = \"reports\"\nentity", &format!("id = \"reports\"\nbatch_size = {}\nentity", 50 + n))
            }
            _ => text.lines().filter(|line| !line.starts_with("batch_size")).collect::<Vec<_>>().join("\n") + "\n",
        };
        std::fs::write(&site.config, text).unwrap();
        site.conclude(&visit(0), 9 + n as u32 / 2, None);
        let before = log(&site);
        agent.signal(rustix::process::Signal::HUP);
        if n % 5 == 4 {
            tokio::time::sleep(Duration::from_millis(7 * n as u64)).await;
            agent.kill();
            agent = Process::start(&site).await;
            lab = None;
        } else {
            let applied = |log: &str| log.matches("going on under it").count() + log.matches("hisync runs").count();
            eventually("the reload", async || applied(&log(&site)) > applied(&before)).await;
        }
        // The laboratory sends until it is acknowledged.
        let letter = message(100 + n, &format!("C{n}"), None);
        for _ in 0..200 {
            let mut connected = lab.take().unwrap_or_else(|| {
                let patience = Patience { answer_within: Duration::from_secs(5), attempts: 1, pause: Duration::ZERO };
                LabSender::new(lab_address(&site), patience)
            });
            if taken(connected.send(&letter).await) {
                sent += 1;
                lab = Some(connected);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(sent, 20);
    let of_lab = || {
        let latest = site.upstream.latest();
        latest.iter().filter(|line| line.event["source"].as_str().unwrap_or_default().ends_with("/lab")).count()
    };
    eventually("every report", async || of_lab() == 20).await;
    // The checkup's own report was written twenty times; its newest version is the last word.
    let last = format!("{:02}:00:00", 9 + 19 / 2);
    let newest = || {
        let latest = site.upstream.latest();
        latest.iter().any(|line| {
            line.event["source"].as_str().unwrap_or_default().ends_with("/peis")
                && line.event["type"] == "hisync.exam_report.upserted"
                && line.event["data"].to_string().contains(&last)
        })
    };
    eventually("the newest version", async || newest()).await;
    agent.stop();
    let (code, out, err) = hisync(&["store", "verify", "-c", &site.config.to_string_lossy()]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_takes_effect_at_once_survives_a_kill_and_ends_by_itself() {
    let mut site = busy_site().await;
    let agent = Process::start(&site).await;
    let config = site.config.to_string_lossy().into_owned();
    let set = |arguments: &[&str]| {
        let (code, out, err) = hisync(&[&["switch", "set", "-c", &config, "--who", "wang"], arguments].concat());
        assert_eq!(code, 0, "{out}{err}");
        err
    };
    let waits = |site: &Site| status(site).1["store"]["outbox_depth"].as_i64().unwrap_or_default();

    let said = set(&["hold-deliveries", "on", "--until", "2h", "--reason", "upstream asks for a pause"]);
    assert!(said.contains("hold-deliveries is on now, until"), "{said}");
    site.conclude(&visit(0), 9, None);
    eventually("an event that waits", async || waits(&site) == 1).await;
    agent.kill();
    let agent = Process::start(&site).await;
    assert!(reasons(&site).contains(&"deliveries-held".to_owned()));
    assert_eq!((waits(&site), reports(&site.upstream)), (1, 0));
    let (code, _, err) =
        hisync(&["switch", "clear", "hold-deliveries", "-c", &config, "--reason", "ready", "--who", "wang"]);
    assert_eq!(code, 0, "{err}");
    eventually("the report", async || reports(&site.upstream) == 1).await;

    // A source is paused: its reports stay where they are; the laboratory is asked to come again.
    set(&["pause-intake", "on", "--until", "1h", "--reason", "both are upgraded"]);
    let patience = Patience { answer_within: Duration::from_secs(5), attempts: 1, pause: Duration::ZERO };
    let mut lab = LabSender::new(lab_address(&site), patience);
    assert!(!taken(lab.send(&message(7, "C7", None)).await));
    eventually("a pause", async || stream(&site, "peis/reports")["state"] == "paused").await;
    site.conclude(&visit(0), 10, None);
    set(&["pause-intake", "off", "peis", "--until", "1h", "--reason", "this one is done"]);
    eventually("the second report", async || reports(&site.upstream) == 2).await;
    assert!(!taken(lab.send(&message(7, "C7", None)).await), "the laboratory is still paused");

    // It ends by itself, and the audit log says so.
    set(&["pause-intake", "on", "--until", "2s", "--reason", "one more moment"]);
    eventually("its end", async || audited(&site, "switch-expired").len() == 1).await;
    assert!(taken(lab.send(&message(7, "C7", None)).await));
    eventually("the third report", async || reports(&site.upstream) == 3).await;

    // The log says more for a while.
    assert!(!log(&site).contains("DEBUG"));
    set(&["log-level", "debug", "--until", "1h", "--reason", "a slow query"]);
    site.conclude(&visit(0), 13, None);
    eventually("more lines", async || log(&site).contains("DEBUG")).await;
    for wrong in [
        ["hold-deliveries", "perhaps", "--until", "1h"],
        ["mute-alerts", "on", "--until", "9d"],
        ["delivery-batch", "0", "--until", "1h"],
    ] {
        let (code, _, err) = hisync(&[&["switch", "set", "-c", &config, "--reason", "x"][..], &wrong[..]].concat());
        assert_eq!(code, 1, "{wrong:?}: {err}");
    }
    assert!(audited(&site, "switch-set").iter().all(|line| line["who"] == "wang"));
    agent.stop();

    // Without an agent too: it starts with its deliveries held.
    let said = set(&["hold-deliveries", "on", "--until", "2h", "--reason", "first look"]);
    assert!(said.contains("when the agent starts"), "{said}");
    let agent = Process::start(&site).await;
    let (_, all) = hisync_json(&site.config, &["switch", "list"]);
    let held = all.as_array().unwrap().iter().find(|switch| switch["name"] == "hold-deliveries").unwrap();
    assert_eq!((&held["set"][0]["value"], &held["set"][0]["who"]), (&json!("on"), &json!("wang")));
    agent.stop();
}

/// Other keys than the site's.
const ROTATED: &str = "whsec_YW5vdGhlci1zeW50aGV0aWMtc2VjcmV0LXRlc3Q=";
const WRONG: &str = "whsec_bm90LXRoZS1zZWNyZXQtb2YtYW55Ym9keS1oZXJl";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_secret_is_used_without_a_restart_and_a_wrong_one_stops_nothing() {
    let mut site = busy_site().await;
    let secret = site.folder.path().join("upstream.secret");
    let agent = Process::start(&site).await;
    site.conclude(&visit(0), 9, None);
    eventually("a report", async || reports(&site.upstream) == 1).await;

    // A wrong one: the reload is refused, and the one before goes on being used.
    std::fs::write(&secret, WRONG).unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("refused")), "{outcome}");
    assert!(outcome["troubles"][0].as_str().unwrap().contains("http-401"), "{outcome}");
    assert!(!outcome.to_string().contains("bm90LXRo"), "no secret is told");
    site.conclude(&visit(0), 10, None);
    eventually("a report under the old secret", async || reports(&site.upstream) == 2).await;
    eventually("the alarm", async || reasons(&site).contains(&"secret-refused".to_owned())).await;

    // The right one, which upstream takes from the same moment on.
    let address = site.upstream.address();
    let before = reports(&site.upstream);
    std::fs::write(&secret, ROTATED).unwrap();
    let options =
        Options { listen: address, dir: None, keys: Some(Keys::parse(ROTATED).unwrap()), clock: Clock::system() };
    let old = std::mem::replace(&mut site.upstream, {
        let free = Options { listen: "127.0.0.1:0".parse().unwrap(), ..options.clone() };
        Upstream::start(free).await.unwrap()
    });
    old.stop().await;
    site.upstream = Upstream::start(options).await.unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!(code, 0, "{outcome}");
    assert!(!reasons(&site).contains(&"config-refused".to_owned()));
    site.conclude(&visit(0), 11, None);
    eventually("the report under the new secret", async || reports(&site.upstream) == 1).await;
    eventually("the end of the alarm", async || !reasons(&site).contains(&"secret-refused".to_owned())).await;
    assert_eq!(before, 2);
    // Both at once, as the sides change over one after the other.
    site.upstream.put_faults(vec![Fault { status: Some(503), count: Some(1), ..Fault::default() }]);
    site.conclude(&visit(0), 12, None);
    eventually("another report", async || reports(&site.upstream) == 2).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_noticed_where_the_configuration_wants_that() {
    let site = Site::new().await;
    site.edit("hisync.toml", "[agent]", "[agent]\nreload = \"on-change\"");
    let agent = Process::start(&site).await;
    let digest = || status(&site).1["agent"]["config_digest"].clone();
    let before = digest();
    site.edit("hisync.toml", "heartbeat_secs = 5", "heartbeat_secs = 7");
    eventually("the new configuration", async || digest() != before && digest().is_string()).await;
    let good = digest();
    site.edit("hisync.toml", "heartbeat_secs = 7", "heartbeat_secs = -7");
    eventually("the refusal", async || reasons(&site).contains(&"config-refused".to_owned())).await;
    assert_eq!(digest(), good);
    let acts = audited(&site, "config-reload");
    assert!(acts.iter().all(|line| line["who"] == "file"), "{acts:?}");
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_tells_the_configuration_that_it_was_made_under() {
    let mut site = busy_site().await;
    let agent = Process::start(&site).await;
    let short = |site: &Site| status(site).1["agent"]["config_digest"].as_str().unwrap()[..12].to_owned();
    let first = visit(0);
    let before = short(&site);
    site.conclude(&first, 9, None);
    eventually("a report", async || reports(&site.upstream) == 1).await;
    site.edit("hisync.toml", "heartbeat_secs = 5", "heartbeat_secs = 7");
    reload(&site);
    let after = short(&site);
    assert_ne!(before, after);
    site.conclude(&first, 10, None);
    eventually("another report", async || reports(&site.upstream) == 2).await;
    let (_, life) = hisync_json(&site.config, &["explain", &first.exam_no]);
    let versions = life["entities"][0]["versions"].as_array().unwrap();
    let versions: Vec<&str> = versions.iter().map(|of| of["entry"]["config_version"].as_str().unwrap()).collect();
    assert_eq!(versions, [before, after]);
    agent.stop();
}

const FLAT: &str = r#"
[mapping]
entity = "exam_report"
[key]
parts = ["TJBH"]
[codes.sex]
inline = { "1" = "male", "2" = "female" }
[fields]
report_kind = { const = "health", reason = "a test" }
status = { const = "final", reason = "a test" }
[fields.examinee]
examinee_key = "TJBH"
name = "XM"
sex = { from = "XB", codes = "sex" }
[fields.visit]
exam_no = "TJBH"
[fields.groups]
each = "rows"
group_by = ["ZHBM"]
[fields.groups.fields]
group_code = "ZHBM"
group_name = "ZHBM"
[fields.groups.fields.items]
each = "rows"
[fields.groups.fields.items.fields]
item_code = "XMDM"
item_name = "XMMC"
value = "JG"
unit = "DW"
reference = "CKFW"
"#;

/// Adds a SQL Server whose password lies in a file.
fn add_server(site: &Site, port: u16) {
    std::fs::write(site.folder.path().join("flat.toml"), FLAT).unwrap();
    let mut config = std::fs::read_to_string(&site.config).unwrap();
    config.push_str(&format!(
        r#"
[[sources]]
id = "his"
connector = "sqlserver"
settings = {{ host = "127.0.0.1", port = {port}, database = "tj", user = "hisync", password = {{ file = "his.password" }}, encryption = "login-only", trust = "any" }}

[[sources.streams]]
id = "reports"
entity = "exam_report"
mode = "incremental"
schedule = "* * * * * *"
mapping = "flat.toml"
onboarding = {{ enabled = false }}
fetch = {{ from = "dbo.FLAT", key = ["TJBH"], group = true, order_by = ["XMDM"], watermark = {{ column = "GXSJ", type = "timestamp", lag_secs = 0 }} }}
"#
    ));
    std::fs::write(&site.config, config).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_a_source_is_rotated_and_a_wrong_one_leaves_the_connection_that_works() {
    let server = TdsServer::start(tds::Options::default());
    server.execute(
        "CREATE TABLE FLAT (TJBH varchar(20), XM nvarchar(20), XB varchar(2), ZHBM varchar(10), XMDM varchar(10),
           XMMC nvarchar(40), JG varchar(20), DW varchar(10), CKFW varchar(20), GXSJ datetime)",
    );
    let report = |n: u32| {
        server.execute(&format!(
            "INSERT INTO FLAT VALUES ('{n:08}', '张试一', '1', '001', '0001', '谷丙转氨酶', '5.5', 'U/L', '9-50',
               '2026-01-01 00:0{n}:00')"
        ));
    };
    let site = Site::new().await;
    add_server(&site, server.port());
    let password = site.folder.path().join("his.password");
    std::fs::write(&password, "not this one").unwrap();
    report(1);
    let agent = Process::start(&site).await;
    assert_eq!(stream(&site, "his/reports")["failure"]["class"], "login");

    // The right one, and a reload: it is read at once.
    std::fs::write(&password, tds::Options::default().password).unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, parts(&outcome)), (0, vec!["stream his/reports: starts anew".to_owned()]), "{outcome}");
    assert!(outcome["parts"][0]["because"][0].as_str().unwrap().contains("password (the secret)"), "{outcome}");
    eventually("the first report", async || reports(&site.upstream) == 1).await;
    let open = server.open();
    assert!(open > 0, "the connection is kept");

    // A wrong one again: what works goes on working.
    std::fs::write(&password, "nor this one").unwrap();
    let (code, outcome) = reload(&site);
    assert_eq!((code, &outcome["verdict"]), (1, &json!("refused")), "{outcome}");
    assert!(!outcome.to_string().contains("nor this one"));
    report(2);
    eventually("the second report", async || reports(&site.upstream) == 2).await;
    assert!(reasons(&site).contains(&"config-refused".to_owned()));
    agent.stop();
}
