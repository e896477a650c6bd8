//! The server of these tests: Flask and Authlib, in a process of its own.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use connector_api::{Poller, Watermark};
use connector_rest::Rest;
use connector_testkit::conformance::{FixtureRow, poller};
use connector_testkit::{PythonPeer, Upstream};
use serde_json::{Value as Json, json};

fn server() -> &'static PythonPeer {
    static SERVER: OnceLock<PythonPeer> = OnceLock::new();
    SERVER.get_or_init(|| PythonPeer::start("rest_server.py"))
}

/// The server's address, and a URL of it with another port.
pub(crate) fn through(url: &str, port: u16) -> (Upstream, String) {
    server().through(url, port)
}

/// A space of its own on the server.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    client: reqwest::Client,
}

pub(crate) fn site() -> Site {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = format!("http://127.0.0.1:{}/s/{}/", server().port, NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "open sesame\n").unwrap();
    Site { url, folder, client: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl Site {
    pub(crate) async fn put(&self, rows: &[FixtureRow]) {
        let rows: Vec<Json> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                json!({"key_no": row.key, "stamp": row.stamp, "name": row.name, "items": row.items,
                       "id": 9_007_199_254_740_993_000_u64 + at as u64})
            })
            .collect();
        self.post("put", &json!(rows)).await;
    }

    pub(crate) async fn set(&self, flags: Json) {
        self.post("set", &flags).await;
    }

    async fn post(&self, path: &str, body: &Json) {
        let request = self.client.post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        let reply = request.body(body.to_string()).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.status());
    }

    /// What was asked of the server, without what the test asked.
    pub(crate) async fn log(&self) -> Vec<String> {
        let reply = self.client.get(format!("{}log", self.url)).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    pub(crate) fn base_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The poller of a stream; `settings` are added to the source's, `stream` is its table.
    pub(crate) fn poller(&self, settings: &str, mode: &str, stream: &str) -> Box<dyn Poller> {
        let text = format!(
            "[[sources]]\nid = \"s\"\n[sources.settings]\nurl = \"{}\"\n{settings}\n\
             [[sources.streams]]\nid = \"it\"\nmode = \"{mode}\"\n{stream}\n",
            self.url
        );
        poller::<Rest>(&text, self.folder.path(), "it")
    }
}

/// A watermark before everything.
pub(crate) fn start() -> Watermark {
    Watermark::start()
}
