//! The suite that every polled connector passes, on real files.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::path::PathBuf;

use connector_api::async_trait;
use connector_sqlite::Sqlite;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};
use connector_testkit::tables::streams;
use rusqlite::{Connection, params};

struct File {
    folder: tempfile::TempDir,
    fetch: &'static str,
}

fn file(fetch: &'static str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE parent (key_no TEXT PRIMARY KEY, stamp TEXT, name TEXT, day TEXT, clock TEXT);
             CREATE TABLE child (key_no TEXT, item TEXT);",
        )
        .unwrap();
    File { folder, fetch }
}

fn source(path: &str, fetch: &str) -> String {
    let streams = streams(fetch);
    format!("[[sources]]\nid = \"s\"\nconnector = \"sqlite\"\nsettings = {{ path = \"{path}\" }}\n{streams}")
}

const FETCH: &str =
    r#"from = "parent", key = ["key_no"], watermark = { column = "stamp", type = "timestamp", lag_secs = 60 }"#;

const SPLIT: &str = "from = \"parent\", key = [\"key_no\"], watermark = { column = \"day\", then = [\"clock\"], \
                     type = \"timestamp\", lag_secs = 60 }";

#[async_trait]
impl PollerFixture for File {
    type Kind = Sqlite;

    async fn put(&self, rows: &[FixtureRow]) {
        let mut database = Connection::open(self.folder.path().join("source.db")).unwrap();
        let transaction = database.transaction().unwrap();
        for row in rows {
            let (day, clock) = row.day_and_clock();
            let values = params![row.key, row.stamp, row.name, day, clock];
            transaction.execute("INSERT OR REPLACE INTO parent VALUES (?, ?, ?, ?, ?)", values).unwrap();
            transaction.execute("DELETE FROM child WHERE key_no = ?", [&row.key]).unwrap();
            for item in &row.items {
                transaction.execute("INSERT INTO child VALUES (?, ?)", [&row.key, item]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn source(&self) -> String {
        source("source.db", self.fetch)
    }

    fn unreachable(&self) -> String {
        source("absent.db", FETCH)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let watermark = |rest: &str| source("a.db", &format!(r#"from = "p", key = ["k"], watermark = {{ {rest} }}"#));
        vec![
            (source("", FETCH), "settings.path"),
            (source("a.db", r#"from = "parent", key = ["key_no"]"#), "streams[0].fetch"),
            (source("a.db", &FETCH.replace(r#"["key_no"]"#, "[]")), "streams[0].fetch.key"),
            (source("a.db", &FETCH.replace("parent", "par]ent")), "streams[0].fetch.from"),
            (source("a.db", &FETCH.replace(r#"["key_no"]"#, r#"["a", "b"]"#)), "streams[0].children[0].key"),
            (
                watermark(r#"column = "c", type = "number", lag = 0, lag_secs = 1"#),
                "streams[0].fetch.watermark.lag_secs",
            ),
            // Numbers are given out before they are committed.
            (watermark(r#"column = "c", type = "number""#), "streams[0].fetch.watermark.lag"),
            (watermark(r#"column = "c", type = "text""#), "streams[0].fetch.watermark.lag"),
            (watermark(r#"column = "c", type = "timestamp", lag = 1"#), "streams[0].fetch.watermark.lag"),
            (watermark(r#"column = "c", type = "timestamp", format = "%Q""#), "streams[0].fetch.watermark.format"),
            (watermark(r#"column = "c", typ = "timestamp""#), "streams[0]"),
            (watermark(r#"column = "c", then = ["t", "u"], type = "timestamp""#), "streams[0].fetch.watermark.then"),
            (watermark(r#"column = "c", then = ["c"], type = "number", lag = 1"#), "streams[0].fetch.watermark.then"),
            (
                watermark(r#"column = "c", then = ["t"], type = "timestamp", format = "unix""#),
                "streams[0].fetch.watermark.then",
            ),
            (watermark(r#"column = "c", then = ["t;"], type = "timestamp""#), "streams[0].fetch.watermark.then[0]"),
        ]
    }

    fn base_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    poller_suite(|| file(FETCH)).await;
}

/// The same where the day stands in one column and the time of day in another.
#[tokio::test]
async fn sqlite_conforms_with_a_watermark_of_two_columns() {
    poller_suite(|| file(SPLIT)).await;
}
