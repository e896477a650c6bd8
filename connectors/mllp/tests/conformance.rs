//! The suite that every listener passes, over real sockets.

mod support;

use std::path::PathBuf;

use connector_api::{Endpoint, Record, async_trait};
use connector_mllp::Mllp;
use connector_testkit::listening::{ListenerFixture, Sender, listener_suite};
use support::{Peer, config, message};

struct Fixture;

struct Sending {
    peer: Peer,
    name: String,
}

#[async_trait]
impl ListenerFixture for Fixture {
    type Kind = Mllp;

    fn source(&self) -> String {
        config("")
    }

    fn base_dir(&self) -> PathBuf {
        PathBuf::from(".")
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let with = |find: &str, put: &str| config("").replace(find, put);
        vec![
            (with("127.0.0.1:0", "lis.local"), "settings.listen"),
            (config("max_connections = 0"), "settings.max_connections"),
            (config("charset = { default = \"utf-16le\" }"), "settings.charset.default"),
            (config("application = \"\""), "settings.application"),
            (config("tls = { certificate = \"c\" }"), "settings"),
            (config("allowed_peers = [\"lis\"]"), "settings.allowed_peers"),
            (config("port = 2575"), "settings"),
            (with("\"push\"", "\"snapshot\""), "streams[0].mode"),
            (with("[\"ORU^R01\"]", "[\"ORU\"]"), "streams[0].messages"),
        ]
    }

    fn blocked(&self, open: &Endpoint) -> String {
        config("").replace("127.0.0.1:0", &open.0)
    }

    async fn sender(&self, endpoint: &Endpoint) -> Box<dyn Sender> {
        Box::new(Sending { peer: Peer::connect_to(&endpoint.0).await, name: String::new() })
    }

    fn name_of(&self, record: &Record) -> String {
        record.resend_key.as_deref().and_then(|key| key.rsplit('|').next()).unwrap_or_default().to_owned()
    }
}

#[async_trait]
impl Sender for Sending {
    async fn begin(&mut self, name: &str) {
        self.name = name.to_owned();
        self.peer.send(&message(name)[..40]).await;
    }

    async fn finish(&mut self) {
        self.peer.send(&message(&self.name)[40..]).await;
    }

    fn is_acknowledged(&mut self) -> bool {
        self.peer.has_been_written_to()
    }

    async fn acknowledged(&mut self) {
        assert_eq!(self.peer.verdict().await, format!("AA {}", self.name));
    }

    async fn refused(&mut self) {
        assert_eq!(self.peer.verdict().await, format!("AE {}", self.name));
    }

    async fn die(self: Box<Self>) {}
}

#[tokio::test]
async fn mllp_conforms() {
    listener_suite(|| Fixture).await;
}
