//! Rows per second of the connector beside the driver's own fetch of the same rows, and the memory of a scan:
//! `cargo run --release -p connector-sqlite --example sqlite_rows`; `HISYNC_ROWS` says how many.
//!
//! The driver makes one query and looks at each value where SQLite has it, without a copy. `rows` is the
//! connector's own reading of the same query in pages; `records` is all that it does: pages, a look for repeated
//! keys, records with their archived bytes.

#![expect(clippy::unwrap_used, reason = "a measurement fails where it unwraps nothing")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use connector_sql::{Query, RelationalClient as _};
use connector_sqlite::{Sqlite, SqliteClient};
use connector_testkit::bench::{Bench, Compared, setting};
use connector_testkit::conformance::poller;
use connector_testkit::memory::measure;
use connector_testkit::tables::count_records;
use rusqlite::Connection;

/// The rows of a page, as the agent asks for them.
const PAGE: usize = 500;

const SOURCE: &str = "[[sources]]\nid = \"s\"\nconnector = \"sqlite\"\nsettings = { path = \"source.db\" }\n\
    [[sources.streams]]\nid = \"all\"\nmode = \"snapshot\"\nfetch = { from = \"t\", key = [\"id\"] }\n\
    [[sources.streams]]\nid = \"changes\"\nmode = \"incremental\"\nfetch = { from = \"t\", key = [\"id\"], watermark = \
    { column = \"at\", type = \"timestamp\" } }\n";

fn fill(folder: &Path, rows: usize) -> Connection {
    let database = Connection::open(folder.join("source.db")).unwrap();
    let columns: Vec<String> = (0..12).map(|at| format!("c{at} TEXT")).collect();
    let values: Vec<String> = (0..12).map(|at| format!("'项目{at} ' || i")).collect();
    let sql = format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT, amount REAL, ok INTEGER, n1 INTEGER, n2 INTEGER, day TEXT,
            who TEXT, {});
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
            INSERT INTO t SELECT i, datetime(1704067200 + i / 10, 'unixepoch'), i / 100.0, i % 2, i, i * 10000000000,
            '2024-01-02', '张三', {} FROM n;
         CREATE INDEX by_time ON t (at, id);",
        columns.join(", "),
        values.join(", ")
    );
    database.execute_batch(&sql).unwrap();
    database
}

fn driver(database: &Connection) -> usize {
    let mut statement = database.prepare("SELECT * FROM t ORDER BY id").unwrap();
    let width = statement.column_count();
    let mut found = statement.query([]).unwrap();
    let mut rows = 0;
    while let Some(row) = found.next().unwrap() {
        for at in 0..width {
            black_box(row.get_ref(at).unwrap());
        }
        rows += 1;
    }
    rows
}

/// The same rows as values, in the pages of a scan.
async fn values(client: &mut SqliteClient) -> usize {
    client.begin().await.unwrap();
    let (mut last, mut rows) = (0, 0);
    loop {
        let sql = format!("SELECT * FROM t WHERE id > {last} ORDER BY id LIMIT {PAGE}");
        let page = client.query(&Query { sql, params: Vec::new() }).await.unwrap().rows;
        match page.last().and_then(|row| row.values.first()) {
            Some(connector_api::Value::Integer(id)) => last = *id,
            _ => break,
        }
        rows += page.len();
    }
    client.end().await.unwrap();
    rows
}

fn main() {
    let rows = setting("HISYNC_ROWS", 1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = fill(folder.path(), rows);
    let mut bench = Bench::new("sqlite");
    let mut changes = poller::<Sqlite>(SOURCE, folder.path(), "changes");
    let memory = runtime.block_on(measure(&mut *changes));
    assert_eq!(memory.rows, rows);
    bench.memory("scan", memory);
    // A part of them is enough for a rate.
    let rows = rows.min(200_000);
    database.execute_batch(&format!("DELETE FROM t WHERE id > {rows}")).unwrap();
    let second = Duration::from_secs(60);
    let mut client = SqliteClient::new(folder.path().join("source.db"), second, second);
    let mut all = poller::<Sqlite>(SOURCE, folder.path(), "all");
    let rate = |work: &mut dyn FnMut() -> usize| {
        let began = Instant::now();
        assert_eq!(work(), rows);
        rows as f64 / began.elapsed().as_secs_f64()
    };
    let rounds = setting("HISYNC_ROUNDS", 5);
    let compared = |name, aim| Compared { name, unit: "rows", aim, rounds };
    bench.compare(compared("rows", Some(0.7)), |ours| match ours {
        true => rate(&mut || runtime.block_on(values(&mut client))),
        false => rate(&mut || driver(&database)),
    });
    bench.compare(compared("records", None), |ours| match ours {
        true => rate(&mut || runtime.block_on(count_records(&mut *all, PAGE, usize::MAX))),
        false => rate(&mut || driver(&database)),
    });
    bench.finish();
}
