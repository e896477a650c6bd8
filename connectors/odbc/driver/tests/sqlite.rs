//! The suite that every polled connector passes, on files read through SQLite3ODBC.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::path::PathBuf;

use connector_api::async_trait;
use connector_odbc::Odbc;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};
use rusqlite::{Connection, params};

use support::{FETCH, bad_settings, source, sqlite};

struct File {
    folder: tempfile::TempDir,
}

fn file() -> File {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE parent (key_no TEXT PRIMARY KEY, stamp TEXT, name TEXT);
             CREATE TABLE child (key_no TEXT, item TEXT);",
        )
        .unwrap();
    File { folder }
}

impl File {
    fn settings(&self, name: &str) -> String {
        sqlite(&self.folder.path().join(name))
    }
}

#[async_trait]
impl PollerFixture for File {
    type Kind = Odbc;

    async fn put(&self, rows: &[FixtureRow]) {
        let mut database = Connection::open(self.folder.path().join("source.db")).unwrap();
        let transaction = database.transaction().unwrap();
        for row in rows {
            let sql = "INSERT OR REPLACE INTO parent VALUES (?, ?, ?)";
            transaction.execute(sql, params![row.key, row.stamp, row.name]).unwrap();
            transaction.execute("DELETE FROM child WHERE key_no = ?", [&row.key]).unwrap();
            for item in &row.items {
                transaction.execute("INSERT INTO child VALUES (?, ?)", [&row.key, item]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn source(&self) -> String {
        source(&self.settings("source.db"), FETCH)
    }

    fn unreachable(&self) -> String {
        source(&self.settings("absent.db"), FETCH)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        bad_settings()
    }

    fn base_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

#[tokio::test]
async fn sqlite_by_odbc_conforms() {
    poller_suite(file).await;
}
