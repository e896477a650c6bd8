//! The suite that every listener passes, over real sockets.

mod support;

use std::path::PathBuf;

use connector_api::{Endpoint, Record, Value, async_trait};
use connector_testkit::listening::{ListenerFixture, Sender, listener_suite};
use connector_webhook::Webhook;
use support::{Peer, config, json};

struct Fixture;

struct Sending {
    peer: Peer,
    request: Vec<u8>,
}

fn source() -> String {
    config("", "idempotency_header = \"X-Id\"")
}

#[async_trait]
impl ListenerFixture for Fixture {
    type Kind = Webhook;

    fn source(&self) -> String {
        source()
    }

    fn base_dir(&self) -> PathBuf {
        PathBuf::from(".")
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        vec![
            (source().replace("127.0.0.1:0", "his.local"), "settings.listen"),
            (source().replace("127.0.0.1", "0.0.0.0"), "settings.auth"),
            (config("max_body_bytes = 0", ""), "settings.max_body_bytes"),
            (config("allowed_peers = [\"his\"]", ""), "settings.allowed_peers"),
            (config("path_prefix = \"hisync\"", ""), "settings.path_prefix"),
            (config("port = 80", ""), "settings"),
            (source().replace("\"push\"", "\"incremental\""), "streams[0].mode"),
            (source().replace("\"/reports\"", "\"reports?\""), "streams[0].path"),
            (config("", "methods = []"), "streams[0].methods"),
            (config("", "idempotency_header = \"\""), "streams[0].idempotency_header"),
        ]
    }

    fn blocked(&self, open: &Endpoint) -> String {
        source().replace("127.0.0.1:0", address(open))
    }

    async fn sender(&self, endpoint: &Endpoint) -> Box<dyn Sender> {
        Box::new(Sending { peer: Peer::connect_to(address(endpoint)).await, request: Vec::new() })
    }

    fn name_of(&self, record: &Record) -> String {
        let no = record.document.as_ref().ok().and_then(|document| document.root.get("no"));
        no.and_then(Value::as_text).unwrap_or_default().to_owned()
    }
}

/// Host and port of an URL.
fn address(endpoint: &Endpoint) -> &str {
    endpoint.0.split_once("://").map_or(&*endpoint.0, |(_, address)| address)
}

impl Sending {
    fn half(&self) -> usize {
        self.request.len() - 3
    }
}

#[async_trait]
impl Sender for Sending {
    async fn begin(&mut self, name: &str) {
        self.request = json(&format!("X-Id: {name}\r\n"), &format!("{{\"no\":\"{name}\"}}"));
        let half = self.half();
        self.peer.send(&self.request[..half]).await;
    }

    async fn finish(&mut self) {
        let half = self.half();
        self.peer.send(&self.request[half..]).await;
    }

    fn is_acknowledged(&mut self) -> bool {
        self.peer.has_received("HTTP/1.1 2")
    }

    async fn acknowledged(&mut self) {
        assert_eq!(self.peer.answer().await.status, 200);
    }

    async fn refused(&mut self) {
        let answer = self.peer.answer().await;
        assert!(matches!(answer.status, 500 | 503), "{answer:?}");
    }

    async fn die(self: Box<Self>) {}
}

#[tokio::test]
async fn webhook_conforms() {
    listener_suite(|| Fixture).await;
}
