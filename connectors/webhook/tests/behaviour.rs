//! What the listener does between receiving, storing and answering, over real sockets.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_api::{ConnectorKind as _, Refusal};
use connector_webhook::Webhook;
use support::{Kept, Peer, Running, ask, config, json, request};

fn busy() -> Refusal {
    Refusal::Busy { reason: "disk floor".to_owned(), retry_after: Duration::from_millis(1500) }
}

fn problems(text: &str) -> Vec<String> {
    let spec = connector_testkit::source_spec::<Webhook>(text, Path::new("."));
    let problems = Webhook::build(spec).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.path).collect()
}

#[test]
fn the_sample_builds() {
    assert_eq!(problems(Webhook::SAMPLE), [""; 0]);
}

#[test]
fn every_problem_of_the_settings_is_reported_at_once() {
    let text = "[[sources]]\nid = \"his\"\nconnector = \"webhook\"\n[sources.settings]\nlisten = \"his.local\"\n\
        path_prefix = \"hisync\"\nauth = { type = \"token\", header = \"no name\", secret = { env = \"S\" } }\n\
        allowed_peers = [\"10.0.0.0/8\", \"his\"]\ncharset = { default = \"utf-16le\" }\nmax_body_bytes = 0\n\
        [[sources.streams]]\nid = \"a\"\nmode = \"push\"\npath = \"/a/\"\n\
        [[sources.streams]]\nid = \"b\"\nmode = \"snapshot\"\npath = \"/a\"\nmethods = [\"PUT\", \"POST\"]\n\
        content_types = [\"text/plain\"]\n\
        [[sources.streams]]\nid = \"c\"\nmode = \"push\"\npath = \"/c?x\"\nformat = \"hl7\"\nrecords = \"a\"\n\
        idempotency_header = \"\"\nanswer = { status = 204, body = \"{}\", content_type = \"json\" }\n\
        [[sources.streams]]\nid = \"d\"\nmode = \"push\"\npath = \"/d\"\nrecords = \"a..b\"\nmethods = []\n\
        answer = { status = 500 }\ndocument_part = \"\"\n";
    assert_eq!(
        problems(text),
        [
            "settings.listen",
            "settings.path_prefix",
            "settings.auth.header",
            "settings.allowed_peers[1]",
            "settings.charset.default",
            "settings.max_body_bytes",
            "streams[1].mode",
            "streams[1].path",
            "streams[1].content_types",
            "streams[2].path",
            "streams[2].records",
            "streams[2].idempotency_header",
            "streams[2].answer.body",
            "streams[2].answer.content_type",
            "streams[3].methods",
            "streams[3].records",
            "streams[3].document_part",
            "streams[3].answer.status",
        ]
    );
}

#[test]
fn a_port_that_others_can_reach_needs_a_proof() {
    let open = config("", "").replace("127.0.0.1", "0.0.0.0");
    assert_eq!(problems(&open), ["settings.auth"]);
    let certificates = "tls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }";
    assert_eq!(problems(&config(certificates, "").replace("127.0.0.1", "0.0.0.0")), [""; 0]);
    assert_eq!(problems(&config("", "").replace("127.0.0.1", "[::1]")), [""; 0]);
}

#[tokio::test]
async fn the_answer_waits_until_the_record_is_stored() {
    let intake = Kept::gated(0, |_| None);
    let running = Running::start(&config("", ""), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&json("", "{}")).await;
    intake.arrived.notified().await;
    let mut one = [0];
    assert_eq!(peer.stream.try_read(&mut one).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    intake.gate.add_permits(1);
    assert_eq!(peer.answer().await.status, 200);
    running.stopped().await;
}

#[tokio::test]
async fn a_refused_record_is_answered_with_the_reason_and_taken_later() {
    let turn = AtomicUsize::new(0);
    let intake = Kept::unless(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Some(busy()),
        1 => Some(Refusal::Failed { reason: "disk".to_owned() }),
        _ => None,
    });
    let running = Running::start(&config("", "answer = { status = 201 }"), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let answer = peer.ask(&json("", "{}")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    assert_eq!(answer.body, "busy: disk floor\n");
    assert_eq!(peer.ask(&json("", "{}")).await.status, 500);
    assert_eq!(peer.ask(&json("", "{}")).await.status, 201);
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn a_stopping_intake_is_answered_and_the_connection_closed() {
    let running = Running::start(&config("", ""), Kept::unless(|_| Some(Refusal::Stopping))).await;
    let mut peer = Peer::connect(&running).await;
    let answer = peer.ask(&json("", "{}")).await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(peer.rest().await, b"");
    running.stopped().await;
}

#[tokio::test]
async fn the_answers_are_those_that_the_vendor_demands() {
    let stream = "answer = { status = 200, body = '{\"code\":0}', failure_body = '{\"code\":1}' }\n\
                  unreadable = \"refuse\"\nmethods = [\"PUT\", \"POST\"]";
    let running = Running::start(&config("path_prefix = \"/v1/\"", stream), Kept::all()).await;
    let put = |body: &str| request("PUT /v1/reports/?x=1", "Content-Type: application/json\r\n", body.as_bytes());
    let good = ask(&running, &put("{}")).await;
    assert_eq!(
        (good.status, &*good.body, good.header("content-type")),
        (200, "{\"code\":0}", Some("application/json"))
    );
    let bad = ask(&running, &put("{")).await;
    assert_eq!((bad.status, &*bad.body, bad.header("content-type")), (422, "{\"code\":1}", Some("application/json")));
    running.stopped().await;
}

#[tokio::test]
async fn what_no_stream_receives_is_refused_and_not_kept() {
    let intake = Kept::all();
    let two = "methods = [\"POST\"]\n[[sources.streams]]\nid = \"b\"\nmode = \"push\"\npath = \"/any\"\n\
               content_types = [\"text/*\", \"application/xml\"]\nformat = \"json\"";
    let running = Running::start(&config("", two), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let typed = |media_type: &str| format!("Content-Type: {media_type}\r\n");
    let cases = [
        ("POST /report", typed("application/json"), 404),
        ("GET /reports", String::new(), 405),
        ("PUT /reports", typed("application/json"), 405),
        ("POST /reports", typed("application/xml"), 415),
        ("POST /reports", typed("application/x-www-form-urlencoded"), 415),
        ("POST /reports", typed("multipart/form-data; boundary=x"), 415),
        ("POST /reports", typed("application/json\r\nContent-Encoding: br"), 415),
        ("POST /reports", String::new(), 200),
        ("POST /reports", typed("text/json;charset=UTF-8;"), 200),
        ("POST /reports", typed("application/fhir+json"), 200),
        ("POST /any", typed("application/json"), 415),
        ("POST /any", typed("text/plain"), 200),
        ("POST /any", typed("application/xml"), 200),
        ("POST /any", String::new(), 415),
    ];
    for (line, headers, status) in &cases {
        assert_eq!(peer.ask(&request(line, headers, b"{}")).await.status, *status, "{line} {headers}");
    }
    assert_eq!(ask(&running, &request("GET /reports", "", b"")).await.header("allow"), Some("POST"));
    assert_eq!(intake.records().len(), 5);
    running.stopped().await;
}

#[tokio::test]
async fn a_list_is_one_call_and_its_bad_elements_are_held() {
    let intake = Kept::all();
    let body = r#"{"data":{"list":[{"no":"1"}, 7 ,{"no":"3"}]}}"#;
    let running = Running::start(&config("", "records = \"data.list\""), intake.clone()).await;
    assert_eq!(ask(&running, &json("", body)).await.status, 200);
    assert_eq!(ask(&running, &json("", r#"{"data":{"list":[]}}"#)).await.status, 200);
    let [call] = &*intake.calls() else { panic!("several calls") };
    let bodies: Vec<&[u8]> = call.records.iter().map(|record| &*record.raw.body).collect();
    assert_eq!(bodies, [&b"{\"no\":\"1\"}"[..], b"7", b"{\"no\":\"3\"}"]);
    assert_eq!(call.records.iter().map(|record| record.document.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    running.stopped().await;

    let intake = Kept::all();
    let refuse = config("", "records = \"data.list\"\nunreadable = \"refuse\"");
    let running = Running::start(&refuse, intake.clone()).await;
    assert_eq!(ask(&running, &json("", body)).await.status, 422);
    assert_eq!(intake.calls().len(), 0);
    running.stopped().await;
}

#[tokio::test]
async fn a_list_that_could_not_be_read_is_read_again_under_corrected_settings() {
    let good = config("charset = { default = \"gb18030\" }", "records = \"data.list\"");
    let good = Running::start(&good, Kept::all()).await;
    let gbk = b"{\"data\":{\"list\":[{\"XM\":\"\xd5\xc5\xc8\xfd\"}]}}";
    for (settings, body, expected) in [
        ("", &gbk[..], Ok("张三")),
        ("list", br#"{"data":{"list":[{"XM":"T"}]}}"#, Ok("T")),
        ("list", br#"{"data":{"list":[{"XM":"T"},{}]}}"#, Err("webhook-list")),
        ("list", br#"{"data":{"list":[]}}"#, Err("webhook-list")),
        ("list", br#"{"data":{}}"#, Err("json-path")),
    ] {
        let records = if settings.is_empty() { "data.list" } else { settings };
        let intake = Kept::all();
        let bad = Running::start(&config("", &format!("records = \"{records}\"")), intake.clone()).await;
        assert_eq!(ask(&bad, &request("POST /reports", "", body)).await.status, 200);
        bad.stopped().await;
        let [record] = &*intake.records() else { panic!("not one record") };
        assert!(record.document.is_err());
        let document = good.decoder.decode(&record.raw).map_err(|failure| failure.code);
        let name = document.as_ref().map(|document| document.root.get("XM").unwrap().as_text().unwrap());
        assert_eq!(name, expected.as_ref().map(|name| *name));
    }
    good.stopped().await;
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_known_by_its_key_and_content() {
    let intake = Kept::all();
    let stream = "idempotency_header = \"X-Request-Id\"\nrecords = \".\"\nanswer = { status = 204 }";
    let running = Running::start(&config("", stream), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let long = "x".repeat(1000);
    for (key, body) in [("7", "[{},{}]"), ("7", "[{},{}]"), ("7", "[{},{\"no\":1}]"), ("8", "[{},{}]"), (&long, "[{}]")]
    {
        let answer = peer.ask(&json(&format!("X-Request-Id: {key}\r\n"), body)).await;
        assert_eq!((answer.status, answer.header("content-length")), (204, None));
    }
    let counts: Vec<usize> = intake.calls().iter().map(|call| call.records.len()).collect();
    assert_eq!(counts, [2, 0, 1, 2, 1]);
    assert!(intake.records().iter().all(|record| record.resend_key.as_ref().unwrap().len() < 100));
    // Without a key nothing is a resend: the same content may be a new state, A after B after A.
    assert_eq!(peer.ask(&json("", "[{}]")).await.status, 204);
    assert_eq!(intake.records().last().unwrap().resend_key, None);
    running.stopped().await;
}

#[tokio::test]
async fn concurrent_requests_are_all_stored_once() {
    let intake = Kept::all();
    let running = Running::start(&config("", ""), intake.clone()).await;
    let mut peers = tokio::task::JoinSet::new();
    for n in 0..30 {
        let mut peer = Peer::connect(&running).await;
        peers.spawn(async move {
            for m in 0..20 {
                assert_eq!(peer.ask(&json("", &format!("{{\"no\":{}}}", n * 20 + m))).await.status, 200);
            }
        });
    }
    while let Some(ended) = peers.join_next().await {
        ended.unwrap();
    }
    let mut bodies: Vec<_> = intake.records().into_iter().map(|record| record.raw.body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 600);
    running.stopped().await;
}

#[tokio::test]
async fn a_slow_sender_is_not_waited_for() {
    let intake = Kept::all();
    let running = Running::start(&config("header_timeout_secs = 1\nbody_timeout_secs = 1", ""), intake.clone()).await;
    let mut slow_head = Peer::connect(&running).await;
    slow_head.send(b"POST /reports HTTP/1.1\r\nHost:").await;
    let mut slow_body = Peer::connect(&running).await;
    slow_body.send(b"POST /reports HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await;
    let answer = slow_body.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert_eq!(slow_body.rest().await, b"");
    let said = String::from_utf8(slow_head.rest().await).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    assert_eq!(intake.calls().len(), 0);
    running.stopped().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_its_beginning_held() {
    let intake = Kept::all();
    let running = Running::start(&config("max_body_bytes = 100000", ""), intake.clone()).await;
    let body = format!("{{\"no\":\"{}\"}}", "1".repeat(200_000));
    let mut peer = Peer::connect(&running).await;
    assert_eq!(peer.ask(&json("", &body)).await.status, 413);
    assert_eq!(peer.ask(&json("", "{}")).await.status, 200, "the connection goes on");
    let chunked = format!(
        "POST /reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(peer.ask(chunked.as_bytes()).await.status, 413);
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(peer.ask(&request("POST /reports", "Content-Encoding: gzip\r\n", &bomb)).await.status, 413);
    let held: Vec<_> = intake.records().into_iter().filter(|record| record.document.is_err()).collect();
    assert_eq!(held.len(), 3);
    for record in &held {
        assert_eq!((record.raw.body.len(), &*record.raw.format), (65536, "application/octet-stream"));
        assert_eq!(record.document.as_ref().unwrap_err().code, "webhook-too-long");
        assert!(running.decoder.decode(&record.raw).is_err(), "a beginning is not a report");
    }
    running.stopped().await;
}

#[tokio::test]
async fn the_beginning_is_refused_as_busy_where_it_can_not_be_held() {
    let running = Running::start(&config("max_body_bytes = 5", ""), Kept::unless(|_| Some(busy()))).await;
    assert_eq!(ask(&running, &json("", "{\"no\":1}")).await.status, 503);
    running.stopped().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_in_mid_body_accepts_nothing() {
    let intake = Kept::all();
    let running = Running::start(&config("", ""), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(b"POST /reports HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}").await;
    tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
    let said = String::from_utf8(peer.rest().await).unwrap();
    assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
    let mut peer = Peer::connect(&running).await;
    peer.send(b"POST /reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n").await;
    drop(peer);
    assert_eq!(ask(&running, &json("", "{\"no\":1}")).await.status, 200);
    running.stopped().await;
    assert_eq!(intake.records().len(), 1);
}

#[tokio::test]
async fn a_peer_that_ends_its_side_is_answered() {
    let running = Running::start(&config("", ""), Kept::all()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&json("", "{}")).await;
    tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
    assert_eq!(peer.answer().await.status, 200);
    running.stopped().await;
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() {
    let intake = Kept::gated(0, |_| None);
    let running = Running::start(&config("", ""), intake.clone()).await;
    let mut storing = Peer::connect(&running).await;
    storing.send(&json("", "{}")).await;
    intake.arrived.notified().await;
    let mut sending = Peer::connect(&running).await;
    let expecting = "POST /reports HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    // The word to go on tells that the request is in flight.
    assert_eq!(sending.ask(expecting.as_bytes()).await.status, 100);
    let mut idle = Peer::connect(&running).await;
    intake.gate.add_permits(1);
    assert_eq!(idle.ask(&request("GET /", "", b"")).await.status, 404);
    assert_eq!(storing.answer().await.status, 200);
    storing.send(&json("", "{\"no\":2}")).await;
    intake.arrived.notified().await;

    running.stop.cancel();
    assert_eq!(idle.rest().await, b"", "an idle connection is closed at once");
    sending.send(b"{}").await;
    intake.gate.add_permits(2);
    assert_eq!(sending.answer().await.status, 200);
    assert_eq!(storing.answer().await.status, 200);
    assert_eq!(storing.rest().await, b"");
    let address = running.address.clone();
    running.stopped().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed");
    assert_eq!(intake.records().len(), 3);
}

#[tokio::test]
async fn peers_that_are_not_allowed_and_connections_beyond_the_limit_are_turned_away() {
    let elsewhere = config("allowed_peers = [\"10.0.0.0/8\", \"::1\"]", "");
    let running = Running::start(&elsewhere, Kept::all()).await;
    assert_eq!(Peer::connect(&running).await.rest().await, b"");
    running.stopped().await;

    let here = config("allowed_peers = [\"10.0.0.0/8\", \"127.0.0.1\"]\nmax_connections = 1", "");
    let running = Running::start(&here, Kept::all()).await;
    let mut first = Peer::connect(&running).await;
    assert_eq!(first.ask(&json("", "{}")).await.status, 200);
    assert_eq!(Peer::connect(&running).await.rest().await, b"");
    assert_eq!(first.ask(&json("", "{}")).await.status, 200);
    running.stopped().await;
}
