//! Alerts, from reasons to the people: real HTTP and SMTP servers that this project did not write.

use std::sync::Arc;

use chrono::TimeDelta;
use hisync::clock::Clock;
use hisync::config::Config;
use hisync::ops::alert::Desk;
use hisync::ops::health::{Health, Reason};
use hisync::store::{self, Store};
use serde_json::Value as Json;

use super::support::{Peer, Site, eventually, hisync, hisync_json, visit};

/// The servers of chat robots, a webhook and mail.
struct Servers {
    peer: Peer,
    http: u64,
    smtp: u64,
}

impl Servers {
    fn start() -> Servers {
        let (peer, first) = Peer::start("alert_channels.py");
        let port = |name: &str| first[name].as_u64().unwrap();
        Servers { peer, http: port("http"), smtp: port("smtp") }
    }

    /// The next messages, as `channel: first line`, sorted.
    fn told(&self, n: usize) -> Vec<String> {
        let text = |line: Json| {
            let text = line["text"].as_str().unwrap_or("refused").trim().lines().next().unwrap_or_default().to_owned();
            format!("{}: {text}", line["channel"].as_str().unwrap())
        };
        let mut told: Vec<String> = (0..n).map(|_| text(self.peer.next())).collect();
        told.sort();
        told
    }

    fn nothing_told(&self) {
        assert_eq!(self.peer.said(), None);
    }

    async fn set(&self, verb: &str, channel: &str) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{}/{verb}/{channel}", self.http);
        assert!(client.post(url).body("{}").send().await.unwrap().status().is_success());
    }

    /// Names them in a site's configuration.
    fn configure(&self, site: &Site) {
        let Servers { http, smtp, .. } = self;
        let secret = |name: &str, text: String| std::fs::write(site.folder.path().join(name), text).unwrap();
        secret("wecom", format!("http://127.0.0.1:{http}/wecom?key=wecom-key\n"));
        secret("dingtalk", format!("http://127.0.0.1:{http}/dingtalk?access_token=t"));
        secret("dingtalk-sign", "SECdingtalk".to_owned());
        secret("feishu", format!("http://127.0.0.1:{http}/feishu"));
        secret("feishu-sign", "feishu-secret".to_owned());
        secret("webhook", format!("http://127.0.0.1:{http}/webhook"));
        secret("webhook-sign", "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=".to_owned());
        let alerts = format!(
            r#"
[alerts]
language = "en"
open_after_secs = 60
close_after_secs = 60

[[alerts.channels]]
type = "wecom"
id = "group"
url = {{ file = "wecom" }}

[[alerts.channels]]
type = "dingtalk"
id = "ding"
url = {{ file = "dingtalk" }}
secret = {{ file = "dingtalk-sign" }}

[[alerts.channels]]
type = "feishu"
id = "lark"
url = {{ file = "feishu" }}
secret = {{ file = "feishu-sign" }}

[[alerts.channels]]
type = "webhook"
id = "center"
url = {{ file = "webhook" }}
secret = {{ file = "webhook-sign" }}

[[alerts.channels]]
type = "email"
id = "mail"
from = "failing"
host = "127.0.0.1"
port = {smtp}
security = "none"
sender = "hisync <hisync@hospital.example>"
recipients = ["oncall@hospital.example"]
"#
        );
        let file = site.folder.path().join("hisync.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text + &alerts).unwrap();
    }
}

fn open(config: &Config, clock: &Clock) -> Store {
    let options = store::Options { hospital: "demo".to_owned(), agent_version: "test".to_owned(), lane: None };
    let composer = Arc::new(hisync::agent::sources::site(config));
    Store::open(&config.agent.data_dir, options, composer, clock.clone()).unwrap()
}

fn desk(config: &Config, store: &Store, clock: &Clock) -> Desk {
    let place = ("demo", config.agent.timezone);
    Desk::new(&config.alerts, &config.base_dir, place, store.clone(), clock.clone()).unwrap()
}

fn later(clock: &Clock, secs: i64) {
    clock.set(clock.now() + TimeDelta::seconds(secs));
}

async fn look(desk: &Desk, reasons: &[&str]) {
    let reasons = reasons.iter().map(|code| match *code {
        "upstream-down" => Reason::new("upstream-down", "upstream"),
        "upstream-slow" => Reason::new("upstream-slow", "upstream"),
        _ => Reason::new("disk-low", "disk"),
    });
    desk.look(&Health::of(reasons.collect()).reasons, &Default::default()).await.unwrap();
    desk.send_due().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_channel_is_told_once_when_trouble_begins_and_once_when_it_ends() {
    let (servers, site) = (Servers::start(), Site::new().await);
    servers.configure(&site);
    let (config, clock) = (site.load(), Clock::manual(Clock::system().now()));
    let store = open(&config, &clock);
    let first = desk(&config, &store, &clock);
    let trouble = ["upstream-down", "upstream-slow"];
    look(&first, &trouble).await;
    servers.nothing_told();
    later(&clock, 61);
    look(&first, &trouble).await;
    let down = "[hisync demo] delivery is paused: upstream is at fault as a whole (look now)";
    let each = |text: &str| ["dingtalk", "email", "feishu", "webhook", "wecom"].map(|of| format!("{of}: {text}"));
    let expected = [&each(down)[..], &["webhook-body: hisync.alert.opened".to_owned()]].concat();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(servers.told(6), sorted(expected), "its cause speaks for what waits");
    look(&first, &trouble).await;
    // A restart repeats nothing.
    store.close().await;
    let store = open(&config, &clock);
    let again = desk(&config, &store, &clock);
    look(&again, &trouble).await;
    later(&clock, 61);
    look(&again, &trouble).await;
    servers.nothing_told();
    look(&again, &[]).await;
    later(&clock, 61);
    look(&again, &[]).await;
    let ended = "[hisync demo] ended: delivery is paused: upstream is at fault as a whole";
    let expected = [&each(ended)[..], &["webhook-body: hisync.alert.closed".to_owned()]].concat();
    assert_eq!(servers.told(6), sorted(expected));
    let alerts = again.alerts().await.unwrap();
    assert_eq!((alerts.open.len(), alerts.ended.len(), alerts.channels.len()), (0, 1, 5));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_also_where_nothing_can_be_stored_and_not_again_until_a_reminder_is_due() {
    let (servers, site) = (Servers::start(), Site::new().await);
    servers.configure(&site);
    let (config, clock) = (site.load(), Clock::manual(Clock::system().now()));
    let store = open(&config, &clock);
    let desk = desk(&config, &store, &clock);
    let reasons = [Reason::new("store-damaged", "store"), Reason::new("disk-low", "disk")];
    desk.tell_unstored(&reasons).await;
    let told = servers.told(6);
    assert_eq!(told.iter().filter(|line| line.contains("the store's file is damaged")).count(), 5, "{told:?}");
    desk.tell_unstored(&reasons).await;
    servers.nothing_told();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_is_tried_again_and_what_ended_meanwhile_is_not_told_at_all() {
    let (servers, site) = (Servers::start(), Site::new().await);
    servers.configure(&site);
    let (config, clock) = (site.load(), Clock::manual(Clock::system().now()));
    let store = open(&config, &clock);
    let desk = desk(&config, &store, &clock);
    servers.set("break", "wecom").await;
    look(&desk, &["disk-low"]).await;
    later(&clock, 61);
    look(&desk, &["disk-low"]).await;
    let told = servers.told(4);
    assert_eq!(told.len(), 4, "mail is for failures alone, and one channel is broken: {told:?}");
    for _ in 0..3 {
        later(&clock, 1900);
        desk.send_due().await.unwrap();
    }
    let group = desk.alerts().await.unwrap().channels.remove(0);
    assert_eq!((group.id.as_str(), group.waiting, group.attempts), ("group", 1, 4));
    assert_eq!(group.failure.as_deref(), Some("the channel's server answered 500"));
    let reasons = hisync::ops::alert::desk::channel_reasons(&[group]);
    assert_eq!(reasons[0].key(), "alert-channel channel group");
    servers.set("mend", "wecom").await;
    later(&clock, 1900);
    desk.send_due().await.unwrap();
    assert!(servers.told(1)[0].starts_with("wecom: [hisync demo] the disk is getting full"));
    look(&desk, &[]).await;
    later(&clock, 61);
    look(&desk, &[]).await;
    // By now the clock is so far ahead that two of the servers take no signature any more.
    let ended = "[hisync demo] ended: the disk is getting full";
    let expected = ["dingtalk: refused", &format!("feishu: {ended}"), "webhook: refused", &format!("wecom: {ended}")];
    assert_eq!(servers.told(4), expected);
    // The next trouble ends before the channel works again.
    servers.set("break", "wecom").await;
    look(&desk, &["disk-low"]).await;
    later(&clock, 61);
    look(&desk, &["disk-low"]).await;
    look(&desk, &[]).await;
    later(&clock, 121);
    look(&desk, &[]).await;
    servers.set("mend", "wecom").await;
    later(&clock, 1900);
    desk.send_due().await.unwrap();
    // Those that refuse signatures are tried again meanwhile; how often is left to chance.
    let mut told = Vec::new();
    while !told.contains(&format!("feishu: {ended}")) {
        told.extend(servers.told(1));
    }
    assert!(told.iter().all(|line| !line.starts_with("wecom")), "{told:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_tries_and_silences() {
    let (servers, mut site) = (Servers::start(), Site::new().await);
    servers.configure(&site);
    site.conclude(&visit(0), 9, Some("※"));
    let agent = site.start().await;
    let config = site.config.to_string_lossy().into_owned();
    let run = |arguments: &[&str]| hisync(&[arguments, &["-c", &config]].concat());
    let (code, out, err) = run(&["alerts", "test", "ding"]);
    assert_eq!((code, out.trim()), (0, "the channel ding took a trial message"), "{err}");
    assert!(servers.told(1)[0].starts_with("dingtalk: [hisync "));
    servers.set("break", "feishu").await;
    let (code, _, err) = run(&["alerts", "test", "lark"]);
    assert_eq!((code, err.trim()), (1, "error: the channel's server answered 500"));
    assert!(run(&["alerts", "test", "nobody"]).2.contains("group, ding, lark, center, mail"));
    let (code, out, err) =
        run(&["alerts", "silence", "--code", "held", "--for", "2h", "--because", "a trial", "--who", "A. Engineer"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("silence 1 until "), "{out}");
    assert_eq!(run(&["alerts", "silence", "--code", "no-such", "--for", "2h", "--because", "x"]).0, 2);
    assert_eq!(run(&["alerts", "silence", "--for", "2h", "--because", "x"]).0, 2, "of nothing in particular");
    let (_, listed) = hisync_json(&site.config, &["alerts", "list"]);
    assert_eq!(listed["silences"][0]["code"], "held");
    assert_eq!(listed["channels"][1]["kind"], "dingtalk");
    eventually("the health to be looked at", async || {
        let (_, status) = hisync_json(&site.config, &["status"]);
        let codes: Vec<&str> =
            status["health"]["reasons"].as_array().unwrap().iter().filter_map(|of| of["code"].as_str()).collect();
        codes.contains(&"held") && codes.contains(&"unmapped-codes")
    })
    .await;
    agent.stop().await;
    assert_eq!(run(&["alerts", "unsilence", "1"]).0, 0, "without an agent as well");
    let (code, out, _) = run(&["alerts", "list"]);
    assert_eq!((code, out.contains("silence")), (0, false), "{out}");
}
