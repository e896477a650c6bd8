//! The server of these tests: spyne, in a process of its own.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use connector_api::Poller;
use connector_soap::Soap;
use connector_testkit::conformance::{FixtureRow, poller};
use connector_testkit::{PythonPeer, Upstream};
use serde_json::{Value as Json, json};

fn server() -> &'static PythonPeer {
    static SERVER: OnceLock<PythonPeer> = OnceLock::new();
    SERVER.get_or_init(|| PythonPeer::start("soap_server.py"))
}

/// The server's address, and a URL of it with another port.
pub(crate) fn through(url: &str, port: u16) -> (Upstream, String) {
    server().through(url, port)
}

/// A space of its own on the server.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) folder: tempfile::TempDir,
    client: reqwest::Client,
}

pub(crate) fn site() -> Site {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "open sesame\n").unwrap();
    Site { name, folder, client: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl Site {
    /// A URL of the server, e.g. of `soap11`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", server().port)
    }

    pub(crate) async fn put(&self, rows: &[FixtureRow]) {
        let row =
            |row: &FixtureRow| json!({"key_no": row.key, "stamp": row.stamp, "name": row.name, "items": row.items});
        self.post("put", &rows.iter().map(row).collect()).await;
    }

    pub(crate) async fn set(&self, flags: Json) {
        self.post("set", &flags).await;
    }

    async fn post(&self, path: &str, body: &Json) {
        let url = self.url(&format!("{path}/{}", self.name));
        let request = self.client.post(url).header("Content-Type", "application/json");
        let reply = request.body(body.to_string()).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.status());
    }

    /// What the operations were asked.
    pub(crate) async fn log(&self) -> Vec<String> {
        let reply = self.client.get(self.url(&format!("log/{}", self.name))).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    pub(crate) fn base_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The poller of a stream; `settings` are added to the source's, `stream` is its table.
    pub(crate) fn poller(&self, settings: &str, mode: &str, stream: &str) -> Box<dyn Poller> {
        let text = format!(
            "[[sources]]\nid = \"s\"\n[sources.settings]\nurl = \"{}\"\n{settings}\n\
             [[sources.streams]]\nid = \"it\"\nmode = \"{mode}\"\n{}\n",
            self.url("soap11/"),
            stream.replace("SPACE", &self.name)
        );
        poller::<Soap>(&text, self.folder.path(), "it")
    }
}
