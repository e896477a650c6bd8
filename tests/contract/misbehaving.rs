//! The sender against servers that answer as no server should.

use std::sync::{Arc, Mutex};

use hisync::delivery::{Reason, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::Agent;

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find_map(|line| {
            line.split_once(':').filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        line.map(|value| value.trim().to_owned())
    }
}

/// A server that reads whole requests and writes what a function says, then closes the connection.
pub(crate) struct RawServer {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<Wire>>>,
    _tasks: JoinSet<()>,
}

impl RawServer {
    pub(crate) async fn start(answer: impl Fn(usize, &Wire) -> Vec<u8> + Send + Sync + 'static) -> RawServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Wire>>> = Arc::default();
        let seen = requests.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(wire) = read_request(&mut stream).await else { continue };
                let place = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(wire.clone());
                    seen.len() - 1
                };
                let _ = stream.write_all(&answer(place, &wire)).await;
                let _ = stream.shutdown().await;
            }
        });
        RawServer { url, requests, _tasks: tasks }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Wire> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 8192];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let wire = Wire { head: String::from_utf8_lossy(&bytes[..end]).into_owned(), body: bytes[end + 4..].to_vec() };
        let length = wire.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if wire.body.len() >= length {
            return Some(wire);
        }
    }
}

pub(crate) fn http(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into()
}

/// The ids of the events in a request that is not compressed.
fn ids(wire: &Wire) -> Vec<String> {
    let batch: Vec<serde_json::Value> = serde_json::from_slice(&wire.body).unwrap();
    batch.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn plain(url: &str) -> Agent {
    let mut agent = Agent::new(url);
    agent.settings.compression = hisync::delivery::Compression::None;
    agent
}

/// First such an answer, then a good one: everything arrives, under one batch id.
async fn check_sent_again(first: impl Fn() -> Vec<u8> + Send + Sync + 'static, code: &str) {
    let server = RawServer::start(move |place, _| if place == 0 { first() } else { http(204, "", "") }).await;
    let mut agent = plain(&server.url);
    agent.commit(&["A", "B"]).await;
    agent.start();
    let status = agent.settled(2).await;
    assert_eq!(status.last_failure.map(|failure| failure.code).as_deref(), Some(code));
    let requests = server.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2, "{code}");
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"), "{code}");
    assert_eq!(requests[0].body, requests[1].body, "{code}: the same bytes");
}

#[tokio::test]
async fn answers_that_break_off_are_ambiguous_and_sent_again() {
    check_sent_again(Vec::new, "connection-lost").await;
    check_sent_again(|| b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), "connection-lost").await;
    check_sent_again(|| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "connection-lost").await;
    let half = || b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"results\":[".to_vec();
    check_sent_again(half, "receipt-unreadable").await;
    let huge = || http(200, "", &format!("{{\"results\":[],\"x\":\"{}\"}}", "x".repeat(5 << 20)));
    check_sent_again(huge, "receipt-unreadable").await;
    let squeezed = || http(200, "content-encoding: gzip\r\n", "not gzip at all");
    check_sent_again(squeezed, "receipt-unreadable").await;
    check_sent_again(|| http(425, "retry-after: 0\r\n", ""), "http-425").await;
}

#[tokio::test]
async fn silence_ends_at_the_timeout_and_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = plain(&format!("http://{}", listener.local_addr().unwrap()));
    agent.settings.timeout_secs = 1;
    agent.commit(&["A"]).await;
    agent.start();
    let (silent, _) = listener.accept().await.unwrap();
    let status = agent.until(|status| status.last_failure.is_some()).await;
    assert_eq!(status.last_failure.unwrap().code, "timeout");
    drop(silent);
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await.unwrap();
    stream.write_all(&http(200, "", "")).await.unwrap();
    agent.settled(1).await;
}

#[tokio::test]
async fn a_batch_is_halved_until_the_bad_event_stands_alone() {
    for (status, code) in [(400, "http-400"), (422, "http-422"), (413, "too-large")] {
        let server = RawServer::start(move |_, wire| {
            let bad = String::from_utf8_lossy(&wire.body).contains("main:peis:D");
            if bad { http(status, "", "no") } else { http(200, "", "") }
        })
        .await;
        let mut agent = plain(&server.url);
        agent.commit(&["A", "B", "C", "D", "E", "F", "G"]).await;
        agent.start();
        let done = agent.settled(7).await;
        assert_eq!((done.counts.accepted, done.counts.rejected), (6, 1), "{code}");
        assert_eq!(done.breaker.state, "closed", "a bad event is no fault of upstream");
        let requests = server.requests.lock().unwrap().clone();
        let alone =
            requests.iter().filter(|wire| ids(wire).len() == 1 && wire.body.windows(11).any(|w| w == b"main:peis:D"));
        assert_eq!(alone.count(), 1, "{code}");
        assert!(requests.len() <= 7, "{} requests", requests.len());
    }
}

#[tokio::test]
async fn an_event_that_upstream_chokes_on_delays_nobody_else() {
    for status in [500, 403, 418] {
        let server = RawServer::start(move |_, wire| {
            let bad = String::from_utf8_lossy(&wire.body).contains("main:peis:I0007");
            if bad { http(status, "", "") } else { http(204, "", "") }
        })
        .await;
        let mut agent = plain(&server.url);
        let codes = crate::support::many(60);
        agent.commit(&codes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        agent.start();
        let done = agent.until(|status| status.counts.accepted >= 59).await;
        assert_eq!(done.counts.rejected, 0, "{status}: no status ever drops or holds an event that it does not name");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let trap = RawServer::start(|_, _| http(204, "", "")).await;
    let location = format!("location: {}/v1/events\r\n", trap.url);
    for status in [301, 302, 307, 308] {
        let location = location.clone();
        let server = RawServer::start(move |_, _| http(status, &location, "")).await;
        let mut agent = plain(&server.url);
        agent.commit(&["A"]).await;
        agent.start();
        let seen = agent.until(|status| status.breaker.state == "open").await;
        assert_eq!(seen.breaker.code, Some(format!("http-{status}")));
        agent.stop().await;
    }
    assert!(trap.requests.lock().unwrap().is_empty(), "health data went where nobody configured it to go");
}

#[tokio::test]
async fn a_tls_failure_is_the_configurations_fault() {
    let server = RawServer::start(|_, _| http(204, "", "")).await;
    // A server that talks in clear text where TLS is spoken.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 1024];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut agent = plain(&server.url);
    agent.settings.url = url.parse().unwrap();
    agent.commit(&["A"]).await;
    agent.start();
    let status = agent.until(|status| status.breaker.state == "open").await;
    assert_eq!(
        (status.breaker.reason, status.breaker.code.as_deref()),
        (Some(Reason::Configuration), Some("tls-failed"))
    );
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_sends_no_event() {
    let cases: [(u16, bool, &str); 5] = [
        (200, true, "http-200"),
        (400, true, "http-400"),
        (401, false, "http-401"),
        (404, false, "http-404"),
        (503, false, "http-503"),
    ];
    for (status, accepted, code) in cases {
        let server = RawServer::start(move |_, _| http(status, "date: Sun, 01 Mar 2026 08:00:00 GMT\r\n", "")).await;
        let agent = plain(&server.url);
        let found = probe(&agent.settings, agent.dir.path(), agent.clock.clone()).await.unwrap();
        assert_eq!((found.reached, found.accepted, found.code.as_str()), (true, accepted, code));
        assert!(found.clock_difference_secs.is_some());
        let requests = server.requests.lock().unwrap().clone();
        assert_eq!(requests.iter().map(|wire| wire.body.clone()).collect::<Vec<_>>(), [b"[]".to_vec()]);
    }
    let agent = plain("http://127.0.0.1:1");
    let found = probe(&agent.settings, agent.dir.path(), agent.clock.clone()).await.unwrap();
    assert_eq!((found.reached, found.code.as_str()), (false, "unreachable"));
}

#[tokio::test]
async fn a_bearer_token_travels_in_its_header_alone() {
    let server = RawServer::start(|_, _| http(204, "", "")).await;
    let mut agent = plain(&server.url);
    std::fs::write(agent.dir.path().join("token"), "synthetic-token").unwrap();
    agent.settings.auth = hisync::delivery::Auth::Bearer { token: connector_api::Secret::File("token".into()) };
    agent.commit(&["A"]).await;
    agent.start();
    agent.settled(1).await;
    let wire = server.requests.lock().unwrap()[0].clone();
    assert_eq!(wire.header("authorization").as_deref(), Some("Bearer synthetic-token"));
    assert!(wire.header("webhook-signature").is_none());
    assert!(wire.header("webhook-id").is_some());
    assert_eq!(wire.header("content-type").as_deref(), Some("application/cloudevents-batch+json"));
    assert!(wire.head.starts_with("POST /v1/events HTTP/1.1"));
}
