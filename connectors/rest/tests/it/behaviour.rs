//! What REST sources must survive, on a server made with Flask and Authlib, and on one that breaks.

use std::time::Duration;

use crate::support::{Site, site, start};
use connector_api::{Action, Batch, FaultClass, Poller, Record, Request, SourceError, Value, Watermark};
use connector_rest::Rest;
use connector_testkit::conformance::{FixtureRow, poller, scan_changes, scan_snapshot};
use connector_testkit::recorded::{Peer, Turn};
use serde_json::json;

const ANSWER: &str = r#"answer = { code = "code", ok = ["0"], expired = ["40101"], message = "msg" }"#;
const LIST: &str = "records = \"data.list\"\ntotal = \"data.total\"\n";

fn rows(count: usize) -> Vec<FixtureRow> {
    (0..count).map(|at| FixtureRow::at(&format!("{at:03}"), u32::try_from(at).unwrap(), "张三")).collect()
}

fn keys(records: &[Record]) -> Vec<String> {
    let key =
        |record: &Record| record.document.as_ref().unwrap().root.get("key_no").unwrap().as_text().unwrap().to_owned();
    records.iter().map(key).collect()
}

fn expected(count: usize) -> Vec<String> {
    rows(count).into_iter().map(|row| row.key).collect()
}

async fn snapshot(poller: &mut dyn Poller) -> Result<Batch, SourceError> {
    poller.fetch(Request::Snapshot { after: None }, 100).await
}

fn listed(path: &str, query: &str, rest: &str) -> String {
    format!("list = {{ path = \"{path}\", query = {{ {query} }} }}\n{LIST}{rest}")
}

#[tokio::test]
async fn every_kind_of_paging_reads_everything_once() {
    let site = site();
    site.put(&rows(10)).await;
    // The server gives at most three at a time, whatever it is asked for.
    site.set(json!({"most": 3})).await;
    let streams = [
        listed("offset", r#"offset = "{{ offset }}", size = "{{ size }}""#, "paging = { by = \"offset\", size = 4 }"),
        listed("cursor", r#"cursor = "{{ cursor }}""#, "paging = { by = \"cursor\", cursor = \"data.next\" }"),
        "list = { path = \"link\" }\npaging = { by = \"link\" }\n".to_owned(),
    ];
    for stream in streams {
        let mut poller = site.poller(if stream.contains("by = \"link\"") { "" } else { ANSWER }, "snapshot", &stream);
        for limit in [2, 50] {
            let (records, _) = scan_snapshot(&mut *poller, limit).await;
            assert_eq!(keys(&records), expected(10), "{stream}");
        }
        let (records, _) = scan_snapshot(&mut *poller, 50).await;
        let id = records[9].document.as_ref().unwrap().root.get("id").cloned();
        assert_eq!(id, Some(Value::Integer(9_007_199_254_740_993_009)), "digit for digit");
    }
}

#[tokio::test]
async fn a_server_that_ignores_paging_is_an_error_and_no_endless_loop() {
    let site = site();
    site.put(&rows(10)).await;
    site.set(json!({"ignore_paging": true})).await;
    let stream = listed("list", r#"page = "{{ page }}", size = "{{ size }}""#, "paging = { by = \"page\", size = 3 }");
    let mut poller = site.poller(ANSWER, "snapshot", &stream);
    let first = poller.fetch(Request::Snapshot { after: None }, 100).await.unwrap();
    let error = poller.fetch(Request::Snapshot { after: first.next.as_ref() }, 100).await.unwrap_err();
    assert_eq!(error.class, FaultClass::Data);
    assert!(error.chain().contains("same page"), "{}", error.chain());
}

#[tokio::test]
async fn an_empty_list_where_the_total_says_many_is_an_error() {
    let site = site();
    site.set(json!({"total": 5})).await;
    let mut poller = site.poller(
        ANSWER,
        "incremental",
        &listed("list", r#"from = "{{ from }}""#, "changes = { start = \"2024-01-01\" }"),
    );
    let error = poller.fetch(Request::Changes { from: &start(), after: None }, 9).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Data, Action::Retry { after: None }));
    site.put(&rows(7)).await;
    let error = poller.fetch(Request::Changes { from: &start(), after: None }, 9).await.unwrap_err();
    assert!(error.chain().contains("7 records where the total is 5"), "{}", error.chain());
}

const LOGIN: &str = r#"login = { type = "call", call = { path = "login", body = '{"user": {{ user }}, "password": {{ password }}}' }, user = "hisync", secret = { file = "secret" }, token = "data.token", expires_in = "data.seconds", header = "Authorization", prefix = "Bearer " }
answer = { code = "code", ok = ["0"], expired = ["40101"] }"#;

#[tokio::test]
async fn a_token_is_kept_and_renewed_when_it_is_refused_by_status_or_by_code() {
    for status in [401, 200] {
        let site = site();
        site.put(&rows(2)).await;
        site.set(json!({"uses": 2, "expired_status": status})).await;
        let mut poller = site.poller(LOGIN, "snapshot", &listed("secured", "", ""));
        for _ in 0..4 {
            assert_eq!(snapshot(&mut *poller).await.unwrap().records.len(), 2);
        }
        let logins = site.log().await.iter().filter(|line| line.contains("login")).count();
        assert_eq!(logins, 2, "one for two calls");
        // A token that is refused at once is not asked for again and again.
        site.set(json!({"uses": 0})).await;
        snapshot(&mut *poller).await.map(|_| ()).unwrap_err();
        let error = snapshot(&mut *poller).await.unwrap_err();
        assert_eq!((error.class, error.action), (FaultClass::Login, Action::Stop), "{}", error.chain());
    }
}

#[tokio::test]
async fn oauth_basic_and_signed_calls_are_let_in_and_wrong_ones_stop() {
    let site = site();
    site.put(&rows(2)).await;
    let oauth = |secret: &str, auth: &str| {
        format!(
            "{ANSWER}\nlogin = {{ type = \"oauth2\", token_url = \"oauth/token\", client_id = \"hisync\", secret = {{ file = \"{secret}\" }}, scope = \"reports\", client_auth = \"{auth}\" }}"
        )
    };
    std::fs::write(site.folder.path().join("other"), "other").unwrap();
    std::fs::write(site.folder.path().join("client"), "open-sesame").unwrap();
    for auth in ["basic", "form"] {
        let mut poller = site.poller(&oauth("client", auth), "snapshot", &listed("oauth/list", "", ""));
        for _ in 0..5 {
            assert_eq!(snapshot(&mut *poller).await.unwrap().records.len(), 2, "renewed after two calls");
        }
        drop(poller);
        let mut poller = site.poller(&oauth("other", auth), "snapshot", &listed("oauth/list", "", ""));
        assert_eq!(snapshot(&mut *poller).await.unwrap_err().class, FaultClass::Login);
    }
    for (secret, count) in [("secret", Some(2)), ("other", None)] {
        let settings =
            format!("{ANSWER}\nlogin = {{ type = \"basic\", user = \"hisync\", secret = {{ file = \"{secret}\" }} }}");
        let read = snapshot(&mut *site.poller(&settings, "snapshot", &listed("basic", "", ""))).await;
        assert_eq!(read.as_ref().ok().map(|batch| batch.records.len()), count);
        let settings = format!(
            "{ANSWER}\nheaders = {{ X-Sign = \"{{{{ sign }}}}\", X-Time = \"{{{{ timestamp }}}}\", X-Nonce = \"{{{{ nonce }}}}\" }}\n\
             sign = {{ algorithm = \"hmac-sha256\", text = \"{{{{ params }}}}{{{{ timestamp }}}}{{{{ nonce }}}}\", encoding = \"hex-upper\", secret = {{ file = \"{secret}\" }} }}"
        );
        let stream = listed("signed", r#"size = "50", name = "张三 & 李四""#, "");
        let read = snapshot(&mut *site.poller(&settings, "snapshot", &stream)).await;
        assert_eq!(read.ok().map(|batch| batch.records.len()), count, "signed");
    }
}

#[tokio::test]
async fn values_stay_where_they_stand_in_bodies_and_forms() {
    let site = site();
    let name = "a&b=<c>\"d' %张";
    site.put(&[FixtureRow::at("1", 1, name), FixtureRow::at("2", 2, "other")]).await;
    let detail = r#"
        records = "data.list"
        details = [
            { name = "xml", records = "Response.Item", call = { path = "xml", body = "<q><name>{{ row.name }}</name></q>", answer = { code = "Response.returnCode", ok = ["1", "T"] } } },
            { name = "form", records = "data.list", call = { path = "form", form = { name = "{{ row.name }}" } } },
        ]"#;
    let mut poller = site.poller(ANSWER, "snapshot", &format!("list = {{ path = \"list\" }}\n{detail}"));
    site.set(json!({"encoding": "gb18030"})).await;
    let batch = snapshot(&mut *poller).await.unwrap();
    for record in &batch.records {
        let root = &record.document.as_ref().unwrap().root;
        for list in ["xml", "form"] {
            let found = root.get(list).unwrap().as_list().unwrap();
            assert_eq!(found.len(), 1, "{list}");
            assert_eq!(found[0].as_map().unwrap().get("name"), root.get("name"), "{list}");
        }
    }
}

fn taken_stream(rest: &str) -> String {
    listed("list", r#"size = "4", from = "{{ from }}""#, &format!(
        "changes = {{ start = \"2024-01-01\", field = \"stamp\" }}\n\
         taken = {{ call = {{ path = \"taken\", body = '{{\"ids\": {{{{ keys }}}}}}' }}, key = \"key_no\", accepted = \"data.accepted\" }}\n{rest}"
    )).replace("total = \"data.total\"\n", "")
}

/// Reads and commits as the agent does. The second answer is the first failure to mark.
async fn round(poller: &mut dyn Poller, stored: &mut Watermark) -> (Vec<String>, Option<SourceError>) {
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let batch = poller.fetch(Request::Changes { from: stored, after: after.as_ref() }, 100).await.unwrap();
        read.extend(keys(&batch.records));
        let commits = !batch.records.is_empty() || batch.advance.is_some();
        *stored = batch.advance.map_or_else(|| stored.clone(), |advance| advance.to);
        if commits && let Err(error) = poller.committed().await {
            return (read, Some(error));
        }
        after = batch.next;
        if after.is_none() {
            return (read, None);
        }
    }
}

#[tokio::test]
async fn what_is_stored_is_marked_and_the_next_ones_are_asked_for() {
    let site = site();
    site.put(&rows(10)).await;
    let mut poller = site.poller(ANSWER, "incremental", &taken_stream(""));
    let mut stored = start();
    let first = poller.fetch(Request::Changes { from: &stored, after: None }, 100).await.unwrap();
    assert_eq!(first.records.len(), 4);
    assert!(!site.log().await.iter().any(|line| line.contains("taken")), "nothing is marked before the commit");
    let (read, error) = round(&mut *poller, &mut stored).await;
    assert_eq!((read, error.is_none()), (expected(10), true), "four at a time, until nothing is left");
}

#[tokio::test]
async fn a_mark_that_fails_or_is_refused_is_set_next_time_and_loses_no_record() {
    let site = site();
    site.put(&rows(3)).await;
    site.set(json!({"mark_fails": true})).await;
    let mut poller = site.poller(ANSWER, "incremental", &taken_stream(""));
    let mut stored = start();
    let (read, error) = round(&mut *poller, &mut stored).await;
    assert_eq!((read, error.unwrap().class), (expected(3), FaultClass::Protocol));
    site.set(json!({"mark_fails": false, "refuses": ["001"]})).await;
    let (read, error) = round(&mut *poller, &mut stored).await;
    let error = error.unwrap();
    assert_eq!(read, expected(3), "offered once more");
    assert!(error.chain().contains("1 of 3"), "key by key: {}", error.chain());
    site.set(json!({"refuses": []})).await;
    let (read, error) = round(&mut *poller, &mut stored).await;
    assert_eq!((read, error.is_none()), (vec!["001".to_owned()], true));
    assert!(round(&mut *poller, &mut stored).await.0.is_empty());
}

#[tokio::test]
async fn marks_wait_while_pages_are_counted() {
    let site = site();
    site.put(&rows(10)).await;
    let stream = taken_stream("paging = { by = \"page\", size = 4 }")
        .replace("size = \"4\"", "page = \"{{ page }}\", size = \"{{ size }}\"");
    let mut poller = site.poller(ANSWER, "incremental", &stream);
    let (read, error) = round(&mut *poller, &mut start()).await;
    assert_eq!((read, error.is_none()), (expected(10), true));
    let log = site.log().await;
    let marked = log.iter().position(|line| line.contains("taken")).unwrap();
    assert!(log[marked..].iter().all(|line| line.contains("taken")), "{log:?}");
    assert!(round(&mut *poller, &mut start()).await.0.is_empty(), "all were marked");
}

#[tokio::test]
async fn files_become_bytes_and_a_page_in_their_place_holds_the_record() {
    let site = site();
    site.put(&[FixtureRow { name: format!("{}file/7", site.url), ..FixtureRow::at("1", 1, "") }]).await;
    let stream = listed("list", "", r#"downloads = [{ name = "pdf", url = "name" }]"#);
    let mut poller = site.poller(ANSWER, "snapshot", &stream);
    let record = snapshot(&mut *poller).await.unwrap().records.remove(0);
    assert_eq!(record.document.unwrap().root.get("pdf"), Some(&Value::Bytes(b"%PDF-1.4\x007".to_vec())));
    for kind in ["missing", "page"] {
        site.set(json!({"file": kind})).await;
        let record = snapshot(&mut *poller).await.unwrap().records.remove(0);
        assert_eq!(record.document.unwrap_err().code, "download-missing");
    }
    site.put(&[FixtureRow::at("1", 1, "http://other.example.com/file/7")]).await;
    let error = snapshot(&mut *poller).await.unwrap_err();
    assert_eq!(error.action, Action::Stop);
}

async fn raw(site: &Site, flags: serde_json::Value) -> Result<Batch, SourceError> {
    site.set(flags).await;
    snapshot(&mut *site.poller("", "snapshot", "list = { path = \"raw\" }")).await
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let site = site();
    for (status, headers, class, action) in [
        (429, json!({"Retry-After": "7"}), FaultClass::Timeout, Action::Retry { after: Some(Duration::from_secs(7)) }),
        (
            503,
            json!({"Retry-After": "60"}),
            FaultClass::Timeout,
            Action::Retry { after: Some(Duration::from_secs(60)) },
        ),
        (500, json!({}), FaultClass::Protocol, Action::Retry { after: None }),
        (401, json!({}), FaultClass::Login, Action::Stop),
        (403, json!({}), FaultClass::Permission, Action::Stop),
        (404, json!({}), FaultClass::Missing, Action::Stop),
        (301, json!({"Location": "http://other.example.com/"}), FaultClass::Protocol, Action::Stop),
        (307, json!({"Location": "http://other.example.com/"}), FaultClass::Protocol, Action::Stop),
    ] {
        let error = raw(&site, json!({"body": "", "status": status, "headers": headers})).await.unwrap_err();
        assert_eq!((error.class, error.action), (class, action), "{}", error.chain());
    }
    assert!(raw(&site, json!({"body": "", "status": 204, "headers": {}})).await.unwrap().records.is_empty());
    let error = raw(&site, json!({"body": "", "status": 200})).await.unwrap_err();
    assert_eq!(error.class, FaultClass::Data, "an empty answer is not an empty list");
    let next = "list = { path = \"link\" }\npaging = { by = \"link\" }\n";
    site.put(&rows(5)).await;
    site.set(json!({"link_host": "other.example.com"})).await;
    let mut poller = site.poller("", "snapshot", next);
    let first = snapshot(&mut *poller).await.unwrap();
    let error = poller.fetch(Request::Snapshot { after: first.next.as_ref() }, 9).await.unwrap_err();
    assert_eq!(error.class, FaultClass::Protocol, "no page is asked of another server");
}

/// The poller of a server that plays these turns; it is given up on after a second.
fn on(peer: &Peer, connection: &str) -> Box<dyn Poller> {
    let text = format!(
        "[[sources]]\nid = \"s\"\nsettings = {{ url = \"{}?key=hidden-word\", connection = {{ timeout_secs = 1, {connection} }} }}\n\
         [[sources.streams]]\nid = \"it\"\nmode = \"snapshot\"\nlist = {{}}\n",
        peer.url
    );
    poller::<Rest>(&text, std::path::Path::new("."), "it")
}

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[{\"a\":1}]";

#[tokio::test]
async fn a_server_that_hangs_or_dies_half_way_is_asked_again() {
    for (turn, class) in [
        (Turn::Hang(Vec::new()), FaultClass::Timeout),
        (Turn::Hang(WHOLE[..WHOLE.len() - 3].to_vec()), FaultClass::Timeout),
        (Turn::Answer(WHOLE[..WHOLE.len() - 3].to_vec()), FaultClass::Protocol),
        (Turn::Answer(Vec::new()), FaultClass::Protocol),
        (Turn::Answer(b"SSH-2.0-x\r\n".to_vec()), FaultClass::Protocol),
    ] {
        let peer = Peer::start(vec![turn.clone(), Turn::Answer(WHOLE.to_vec())]);
        let mut poller = on(&peer, "");
        let error = snapshot(&mut *poller).await.unwrap_err();
        assert_eq!(error.class, class, "{turn:?}: {}", error.chain());
        assert!(matches!(error.action, Action::Retry { .. }) && !error.chain().contains("hidden-word"));
        assert_eq!(snapshot(&mut *poller).await.unwrap().records.len(), 1, "the next try is clean");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_refused_at_its_bound() {
    let long = [b"HTTP/1.1 200 OK\r\n\r\n[".to_vec(), b"{\"a\":1},".repeat(10_000)].concat();
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    for bytes in [long, announced] {
        let error =
            snapshot(&mut *on(&Peer::start(vec![Turn::Hang(bytes)]), "max_answer_bytes = 1000")).await.unwrap_err();
        assert_eq!((error.class, error.action), (FaultClass::Data, Action::Stop), "{}", error.chain());
    }
}

#[tokio::test]
async fn names_and_certificates_that_fail_are_told_apart() {
    let read = |url: &str| {
        let text = format!(
            "[[sources]]\nid = \"s\"\nsettings = {{ url = \"{url}\" }}\n[[sources.streams]]\nid = \"it\"\nmode = \"snapshot\"\nlist = {{}}\n"
        );
        poller::<Rest>(&text, std::path::Path::new("."), "it")
    };
    let error = snapshot(&mut *read("http://no-such-host.invalid/")).await.unwrap_err();
    assert_eq!(error.class, FaultClass::NameResolution, "{}", error.chain());
    let plain = Peer::start(vec![Turn::Answer(WHOLE.to_vec())]);
    let error = snapshot(&mut *read(&plain.url.replace("http:", "https:"))).await.unwrap_err();
    assert_eq!(error.class, FaultClass::Tls, "{}", error.chain());
}

#[tokio::test]
async fn calls_keep_their_distance_where_a_rate_is_set() {
    let peer = Peer::start(vec![Turn::Answer(WHOLE.to_vec())]);
    let mut poller = on(&peer, "requests_per_second = 20.0");
    let began = std::time::Instant::now();
    for _ in 0..4 {
        snapshot(&mut *poller).await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(150), "three waits of 50 ms");
}

#[tokio::test]
async fn a_probe_says_what_it_found_and_discover_shows_names() {
    let site = site();
    site.put(&rows(3)).await;
    let mut poller = site.poller(ANSWER, "snapshot", &listed("list", "", ""));
    let probe = poller.probe().await.unwrap();
    assert!(probe.findings[0].contains("3 of 3 records"), "{:?}", probe.findings);
    assert!(probe.clock_difference_ms.unwrap().abs() < 5_000);
    let found = poller.discover(Some("list")).await.unwrap().remove(0);
    let names: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), found.rows, found.sample.len()),
        (&["id", "key_no", "name", "stamp"][..], Some(3), 3)
    );
    site.set(json!({"code": 9, "msg": "no data for 110101199003070000"})).await;
    let error = poller.probe().await.unwrap_err();
    assert!(error.chain().contains("no data for …"), "{}", error.chain());
    assert!(!snapshot(&mut *poller).await.unwrap_err().chain().contains("no data"), "words stay out of logs");
}

#[tokio::test]
async fn a_sweep_reads_a_window_again_and_moves_nothing() {
    let site = site();
    site.put(&rows(3)).await;
    let mut poller = site.poller(
        ANSWER,
        "incremental",
        &listed("list", r#"from = "{{ from }}", to = "{{ to }}""#, "changes = { start = \"2024-01-01\", days = 400 }"),
    );
    let mut stored = start();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 9).await.len(), 3);
    let since = chrono::NaiveDate::from_ymd_opt(2024, 1, 2).unwrap().and_hms_opt(8, 0, 1).unwrap();
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let batch = poller.fetch(Request::Window { since, after: after.as_ref() }, 9).await.unwrap();
        assert_eq!(batch.advance, None);
        read.extend(keys(&batch.records));
        after = batch.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(read, ["001", "002"]);
}
