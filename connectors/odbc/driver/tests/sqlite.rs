//! The suite that every polled connector passes, on files read through SQLite3ODBC.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::path::{Path, PathBuf};

use connector_api::async_trait;
use connector_odbc::Odbc;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller, poller_suite, scan_snapshot};
use connector_testkit::memory::{rows_to_read, scan_within_bounds};
use rusqlite::{Connection, params};

use support::{FETCH, SPLIT, bad_settings, configured, snapshot, source, sqlite};

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
            let (day, clock) = row.day_and_clock();
            let sql = "INSERT OR REPLACE INTO parent VALUES (?, ?, ?, ?, ?)";
            transaction.execute(sql, params![row.key, row.stamp, row.name, day, clock]).unwrap();
            transaction.execute("DELETE FROM child WHERE key_no = ?", [&row.key]).unwrap();
            for item in &row.items {
                transaction.execute("INSERT INTO child VALUES (?, ?)", [&row.key, item]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn source(&self) -> String {
        source(&self.settings("source.db"), self.fetch)
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
async fn ids_beyond_32_bits_and_values_of_other_types_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE t (k INTEGER PRIMARY KEY, n INT);
             INSERT INTO t VALUES (4294967297, 9007199254740993), (9223372036854775807, 'no number');",
        )
        .unwrap();
    let source = snapshot(&sqlite(&folder.path().join("source.db")), r#"from = "t", key = ["k"]"#);
    let (records, counted) = scan_snapshot(&mut *poller::<Odbc>(&source, Path::new("/"), "all"), 1).await;
    let read = |at: usize| {
        let root = &records[at].document.as_ref().unwrap().root;
        (root.get("k").unwrap().clone(), root.get("n").unwrap().clone())
    };
    assert_eq!(counted, Some(2));
    assert_eq!(read(0), (4_294_967_297_i64.into(), 9_007_199_254_740_993_i64.into()));
    assert_eq!(read(1), (i64::MAX.into(), "no number".into()));
}

/// The driver's process counts with all that it has.
#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_rows() {
    let rows = rows_to_read(30_000);
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    let sql = format!(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, name TEXT, at TEXT); CREATE INDEX by_time ON t (at, k);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t SELECT i, printf('%0200d', i), datetime(1704067200 + i / 10, 'unixepoch') FROM n"
    );
    database.execute_batch(&sql).unwrap();
    let stream = "[[sources.streams]]\nid = \"t\"\nmode = \"incremental\"\n\
        fetch = { from = \"t\", key = [\"k\"], watermark = { column = \"at\", type = \"timestamp\" } }";
    let source = configured(&sqlite(&folder.path().join("source.db")), stream);
    scan_within_bounds(&mut *poller::<Odbc>(&source, Path::new("/"), "t"), rows).await;
}

#[tokio::test]
async fn sqlite_by_odbc_conforms() {
    poller_suite(|| file(FETCH)).await;
}

#[tokio::test]
async fn sqlite_by_odbc_conforms_with_a_watermark_of_two_columns() {
    poller_suite(|| file(SPLIT)).await;
}
