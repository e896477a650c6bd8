//! The suite that every listener passes, on real files that another program puts there.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use connector_api::{Endpoint, Record, Value, async_trait};
use connector_files::Files;
use connector_testkit::listening::{ListenerFixture, Sender, listener_suite};
use support::{Place, RENAMED, config};

struct Fixture(Place);

/// A program that writes under a hidden name and renames.
struct Writer {
    inbox: PathBuf,
    name: String,
}

#[async_trait]
impl ListenerFixture for Fixture {
    type Kind = Files;

    fn source(&self) -> String {
        config(RENAMED)
    }

    fn base_dir(&self) -> PathBuf {
        self.0.base().to_owned()
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let with = |find: &str, put: &str| config(RENAMED).replace(find, put);
        vec![
            (with("poll_secs = 1", "poll_secs = 0"), "settings.poll_secs"),
            (config("max_file_bytes = 0"), "settings.max_file_bytes"),
            (config("done_dir = \".\""), "settings.done_dir"),
            (config("complete = { type = \"soon\" }"), "settings"),
            (config("path = \"x\""), "settings"),
            (with("\"push\"", "\"snapshot\""), "streams[0].mode"),
            (with("[\"*.csv\"]", "[]"), "streams[0].files"),
            (with("type = \"csv\"", "type = \"csv\", header = false"), "streams[0].format.columns"),
        ]
    }

    fn blocked(&self, _open: &Endpoint) -> String {
        config(RENAMED).replace("\"inbox\"", "\"share-that-is-not-mounted\"")
    }

    async fn sender(&self, endpoint: &Endpoint) -> Box<dyn Sender> {
        Box::new(Writer { inbox: Path::new(&endpoint.0).to_owned(), name: String::new() })
    }

    fn name_of(&self, record: &Record) -> String {
        let no = record.document.as_ref().ok().and_then(|document| document.root.get("no"));
        no.and_then(Value::as_text).unwrap_or_default().to_owned()
    }
}

impl Writer {
    fn file(&self) -> PathBuf {
        self.inbox.join(format!("{}.csv", self.name))
    }

    fn hidden(&self) -> PathBuf {
        self.inbox.join(format!(".{}.csv", self.name))
    }
}

#[async_trait]
impl Sender for Writer {
    async fn begin(&mut self, name: &str) {
        self.name = name.to_owned();
        fs::write(self.hidden(), "no\n").unwrap();
    }

    async fn finish(&mut self) {
        fs::write(self.hidden(), format!("no\n{}\n", self.name)).unwrap();
        // The same file again has the same time of change, as one that is copied or moved back.
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::options().write(true).open(self.hidden()).unwrap().set_modified(time).unwrap();
        fs::rename(self.hidden(), self.file()).unwrap();
    }

    fn is_acknowledged(&mut self) -> bool {
        self.inbox.join("done").join(format!("{}.csv", self.name)).exists()
    }

    async fn acknowledged(&mut self) {
        while self.file().exists() || !self.is_acknowledged() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn refused(&mut self) {
        assert!(self.file().exists(), "a file that was not taken stays");
    }

    async fn die(self: Box<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn files_conform() {
    listener_suite(|| Fixture(Place::new())).await;
}
