//! Rows per second through the connector, against the bare driver's fetch of the same rows, and the memory of a scan.
//!
//! `cargo run --release -p hisync-odbc --example odbc_rows`, with `hisync-odbc` built in the same profile;
//! `HISYNC_ROWS` says how many rows. It starts private PostgreSQL and MariaDB servers and makes a SQLite file. The bare fetch runs
//! the same SQL in pages on one connection, binds column-wise text buffers of the columns' sizes, and touches no value.
//! `rows` is the connector's own reading of these pages: it runs in this process and its driver in `hisync-odbc`, so
//! the pipe and the making of values are counted. `records` is all that it does: a look for repeated keys, records with
//! their archived bytes. The memory is that of both processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends where it can't go on")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Instant;

use connector_odbc::{Odbc, OdbcClient, OdbcSettings};
use connector_sql::{Query, RelationalClient};
use connector_testkit::bench::{Bench, Compared, setting};
use connector_testkit::conformance::poller;
use connector_testkit::memory::measure;
use connector_testkit::tables::count_records;
use odbc_api::buffers::TextRowSet;
use odbc_api::{ConnectionOptions, Cursor, environment};
use support::{Mariadb, Postgres, sqlite};

/// The rows of a page in the comparison of rows; the agent asks for fewer.
const PAGE: usize = 10_000;

const COLUMNS: &str = "k, name, item, result, low, high, unit, at";

fn main() {
    let rows = setting("HISYNC_ROWS", 1_000_000);
    let mut bench = Bench::new("odbc");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = "CREATE TABLE big (k INT PRIMARY KEY, name VARCHAR(20), item VARCHAR(40), result NUMERIC(12,4), low \
                 NUMERIC(12,4), high NUMERIC(12,4), unit VARCHAR(10), at TIMESTAMP);";
    let values = |k: &str, text: &str| {
        format!("{k}, '张三', {text}, {k} / 7.0, 1.3000, 5.6000, 'mmol/L', '2024-01-02 08:00:00'")
    };
    let index = "CREATE INDEX by_time ON big (at, k);";

    let postgres = Postgres::start();
    let series = format!("FROM GENERATE_SERIES(1, {rows}) AS k;");
    postgres.sql(&format!(
        "{table} INSERT INTO big SELECT {}::timestamp {series} {index} ANALYZE big;",
        values("k", "'体检项目' || k")
    ));
    compare(&mut bench, "postgresql", &postgres.settings("postgres"), rows, &runtime);
    drop(postgres);

    let mariadb = Mariadb::start(&[]);
    let series = format!("FROM seq_1_to_{rows};");
    let filled =
        format!("{table} INSERT INTO big SELECT {} {series} {index}", values("seq", "CONCAT('体检项目', seq)"));
    mariadb.sql(&format!("USE peis; {filled}"));
    compare(&mut bench, "mariadb", &mariadb.settings(), rows, &runtime);
    drop(mariadb);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("source.db");
    let series = format!(
        "FROM (WITH RECURSIVE c(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM c WHERE k < {rows}) SELECT k FROM c);"
    );
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .execute_batch(&format!("{table} INSERT INTO big SELECT {} {series} {index}", values("k", "'体检项目' || k")))
        .unwrap();
    compare(&mut bench, "sqlite", &sqlite(&file), rows, &runtime);
    bench.finish();
}

/// The streams of a source with the table.
fn source(settings: &str) -> String {
    format!(
        "[[sources]]\nid = \"s\"\nconnector = \"odbc\"\n[sources.settings]\nprogram = {:?}\n{settings}\n\
         [[sources.streams]]\nid = \"all\"\nmode = \"snapshot\"\nfetch = {{ from = \"big\", key = [\"k\"] }}\n\
         [[sources.streams]]\nid = \"changes\"\nmode = \"incremental\"\nfetch = {{ from = \"big\", key = [\"k\"], \
         watermark = {{ column = \"at\", type = \"timestamp\" }} }}\n",
        program()
    )
}

fn compare(bench: &mut Bench, product: &str, settings: &str, rows: usize, runtime: &tokio::runtime::Runtime) {
    let streams = source(settings);
    let mut changes = poller::<Odbc>(&streams, Path::new("/"), "changes");
    let memory = runtime.block_on(measure(&mut *changes));
    assert_eq!(memory.rows, rows);
    bench.memory(&format!("{product}: scan"), memory);
    drop(changes);
    // A part of them is enough for a rate.
    let rows = rows.min(200_000);
    let table: toml::Table = toml::from_str(&format!("program = {:?}\n{settings}", program())).unwrap();
    let settings: OdbcSettings = table.try_into().unwrap();
    let password = settings.password.as_ref().map(|secret| secret.read(Path::new("/")).unwrap());
    let connection =
        settings.connection_string(settings.product.preset(), password.as_ref().map(|password| password.expose()));
    // In pages of ten thousand rows by key, as the connector reads.
    let page = |from: usize| format!("SELECT {COLUMNS} FROM big WHERE k > {from} ORDER BY k LIMIT {PAGE}");
    let bare = || {
        let environment = environment().unwrap();
        let connection = environment.connect_with_connection_string(&connection, ConnectionOptions::default()).unwrap();
        let started = Instant::now();
        let mut found = 0;
        for from in (0..rows).step_by(PAGE) {
            let mut cursor = connection.execute(&page(from), (), None).unwrap().unwrap();
            let buffer = TextRowSet::for_cursor(250, &mut cursor, Some(4096)).unwrap();
            let mut cursor = cursor.bind_buffer(buffer).unwrap();
            while let Some(batch) = cursor.fetch().unwrap() {
                found += batch.num_rows();
            }
        }
        assert_eq!(found, rows);
        rows as f64 / started.elapsed().as_secs_f64()
    };
    let mut client = OdbcClient::new(product, settings.clone(), PathBuf::from("/"));
    let mut ours = || {
        runtime.block_on(async {
            client.begin().await.unwrap();
            let started = Instant::now();
            let mut found = 0;
            for from in (0..rows).step_by(PAGE) {
                found += client.query(&Query { sql: page(from), params: Vec::new() }).await.unwrap().rows.len();
            }
            assert_eq!(found, rows);
            let rate = rows as f64 / started.elapsed().as_secs_f64();
            client.end().await.unwrap();
            rate
        })
    };
    let rounds = setting("HISYNC_ROUNDS", 5);
    let name = format!("{product}: rows");
    let compared = Compared { name: &name, unit: "rows", aim: Some(0.7), rounds };
    bench.compare(compared, |own| if own { ours() } else { bare() });
    let mut all = poller::<Odbc>(&streams, Path::new("/"), "all");
    let name = format!("{product}: records");
    bench.compare(Compared { name: &name, aim: None, ..compared }, |own| {
        if !own {
            return bare();
        }
        let started = Instant::now();
        let read = runtime.block_on(count_records(&mut *all, 500, rows));
        read as f64 / started.elapsed().as_secs_f64()
    });
}

/// The program beside this one, in the folder above `examples`.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("hisync-odbc")
}
