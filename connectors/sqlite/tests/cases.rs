//! Runs every case under `fixtures/sqlite`: a database made by `input.sql`, read as `source.toml`
//! says, in pages of every size, must give what `expected.json` holds.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::path::Path;

use connector_sqlite::Sqlite;
use connector_testkit::cases;
use connector_testkit::tables::read_case;

#[tokio::test]
async fn every_case_reads_as_expected() {
    for case in cases(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sqlite")) {
        let folder = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(folder.path().join("source.db")).unwrap();
        database.execute_batch(&case.text("input.sql")).unwrap();
        let source = case.text("source.toml");
        for limit in [100, 3, 2, 1] {
            case.expect(&read_case::<Sqlite>(&source, folder.path(), limit).await);
        }
    }
}
