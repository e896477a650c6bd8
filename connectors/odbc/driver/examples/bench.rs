//! Rows per second through the connector, against the bare driver's fetch of the same rows.
//!
//! `cargo run --release -p hisync-odbc --example bench [rows]`, with `hisync-odbc` built in the same
//! profile. It starts private PostgreSQL and MariaDB servers and a SQLite file, and for each prints
//! the ratio of rounds bare → connector → bare. The bare fetch runs the same SQL on one connection,
//! binds column-wise text buffers of the columns' sizes, and touches no value. The connector runs
//! in this process and its driver in `hisync-odbc`, so the pipe and the making of values are counted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends where it can't go on")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Instant;

use connector_odbc::{OdbcClient, OdbcSettings};
use connector_sql::{Query, RelationalClient};
use odbc_api::buffers::TextRowSet;
use odbc_api::{ConnectionOptions, Cursor, environment};
use support::{Mariadb, Postgres, sqlite};

const ROUNDS: usize = 5;

const COLUMNS: &str = "k, name, item, result, low, high, unit, at";

fn main() {
    let rows: u32 = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(200_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = "CREATE TABLE big (k INT PRIMARY KEY, name VARCHAR(20), item VARCHAR(40), result NUMERIC(12,4), low \
                 NUMERIC(12,4), high NUMERIC(12,4), unit VARCHAR(10), at TIMESTAMP);";
    let values = |k: &str, text: &str| {
        format!("{k}, '张三', {text}, {k} / 7.0, 1.3000, 5.6000, 'mmol/L', '2024-01-02 08:00:00'")
    };

    let postgres = Postgres::start();
    let series = format!("FROM GENERATE_SERIES(1, {rows}) AS k;");
    postgres.sql(&format!("{table} INSERT INTO big SELECT {}::timestamp {series}", values("k", "'体检项目' || k")));
    compare("postgresql", &postgres.settings("postgres"), rows, &runtime);
    drop(postgres);

    let mariadb = Mariadb::start(&[]);
    let series = format!("FROM seq_1_to_{rows};");
    let filled = format!("{table} INSERT INTO big SELECT {} {series}", values("seq", "CONCAT('体检项目', seq)"));
    mariadb.sql(&format!("USE peis; {filled}"));
    compare("mariadb", &mariadb.settings(), rows, &runtime);
    drop(mariadb);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("source.db");
    let series = format!(
        "FROM (WITH RECURSIVE c(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM c WHERE k < {rows}) SELECT k FROM c);"
    );
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .execute_batch(&format!("{table} INSERT INTO big SELECT {} {series}", values("k", "'体检项目' || k")))
        .unwrap();
    compare("sqlite", &sqlite(&file), rows, &runtime);
}

fn compare(product: &str, settings: &str, rows: u32, runtime: &tokio::runtime::Runtime) {
    let table: toml::Table = toml::from_str(&format!("program = {:?}\n{settings}", program())).unwrap();
    let settings: OdbcSettings = table.try_into().unwrap();
    let password = settings.password.as_ref().map(|secret| secret.read(Path::new("/")).unwrap());
    let connection =
        settings.connection_string(settings.product.preset(), password.as_ref().map(|password| password.expose()));
    // In pages of ten thousand rows by key, as the connector reads.
    let page = |from: u32| format!("SELECT {COLUMNS} FROM big WHERE k > {from} ORDER BY k LIMIT 10000");
    let bare = || {
        let environment = environment().unwrap();
        let connection = environment.connect_with_connection_string(&connection, ConnectionOptions::default()).unwrap();
        let started = Instant::now();
        let mut found = 0;
        for from in (0..rows).step_by(10_000) {
            let mut cursor = connection.execute(&page(from), (), None).unwrap().unwrap();
            let buffer = TextRowSet::for_cursor(250, &mut cursor, Some(4096)).unwrap();
            let mut cursor = cursor.bind_buffer(buffer).unwrap();
            while let Some(batch) = cursor.fetch().unwrap() {
                found += batch.num_rows();
            }
        }
        assert_eq!(found, rows as usize);
        f64::from(rows) / started.elapsed().as_secs_f64()
    };
    let mut client = OdbcClient::new(product, settings.clone(), PathBuf::from("/"));
    let mut ours = || {
        runtime.block_on(async {
            client.begin().await.unwrap();
            let started = Instant::now();
            let mut found = 0;
            for from in (0..rows).step_by(10_000) {
                found += client.query(&Query { sql: page(from), params: Vec::new() }).await.unwrap().rows.len();
            }
            assert_eq!(found, rows as usize);
            let rate = f64::from(rows) / started.elapsed().as_secs_f64();
            client.end().await.unwrap();
            rate
        })
    };
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (before, rate, after) = (bare(), ours(), bare());
        ratios.push(rate / ((before + after) / 2.0));
        println!("{product}: bare {before:.0} and {after:.0} rows/s, connector {rate:.0} rows/s");
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("{product}: ratio {median:.2} (from {least:.2} to {most:.2})");
}

/// The program beside this one, in the folder above `examples`.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("hisync-odbc")
}
