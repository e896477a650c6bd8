//! Rows per second of the connector beside the driver's own fetch of the same rows, and the memory of a scan:
//! `cargo run --release -p connector-sqlserver --example sqlserver_rows`; `HISYNC_ROWS` says how many.
//!
//! Both read from the test server in this process, whose work is part of both figures. The driver
//! makes one query and throws its rows away; the connector reads pages, looks for repeated keys and
//! makes records with their archived bytes.

#![expect(clippy::unwrap_used, reason = "a measurement fails where it unwraps nothing")]

use std::time::Instant;

use connector_sqlserver::SqlServer;
use connector_tds_testkit::{Encryption, Options, TdsServer};
use connector_testkit::bench::{Bench, Compared, setting};
use connector_testkit::conformance::poller;
use connector_testkit::memory::measure;
use connector_testkit::tables::count_records;
use futures_util::TryStreamExt as _;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryItem};
use tokio_util::compat::TokioAsyncWriteCompatExt as _;

const PASSWORD: &str = "bench";
const PAGE: usize = 500;

fn server(rows: usize) -> TdsServer {
    let options = Options { encryption: Encryption::NotSupported, password: PASSWORD.to_owned(), ..Options::default() };
    let server = TdsServer::start(options);
    let columns: Vec<String> = (0..12).map(|at| format!("c{at} nvarchar(40)")).collect();
    let values: Vec<String> = (0..12).map(|at| format!("'项目{at} ' || i")).collect();
    server.execute(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime, amount decimal(18,4), ok bit, n1 int, n2 bigint, day date, who
         nvarchar(20), {}); CREATE INDEX by_time ON t (at, id); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t
         SELECT i, datetime(1704067200 + i / 10, 'unixepoch'), i / 100.0, i % 2, i, i * 10000000000, '2024-01-02', '张三', {} FROM n;",
        columns.join(", "),
        values.join(", ")
    ));
    std::fs::write(server.folder().join("password"), PASSWORD).unwrap();
    server
}

async fn driver(server: &TdsServer) -> usize {
    let mut config = Config::new();
    config.authentication(AuthMethod::sql_server("hisync", PASSWORD));
    config.database("tj");
    config.encryption(EncryptionLevel::NotSupported);
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut client = Client::connect(config, tcp.compat_write()).await.unwrap();
    let mut stream = client.query("SELECT * FROM t ORDER BY id", &[]).await.unwrap();
    let mut rows = 0;
    while let Some(item) = stream.try_next().await.unwrap() {
        rows += usize::from(matches!(item, QueryItem::Row(_)));
    }
    rows
}

fn main() {
    let rows = setting("HISYNC_ROWS", 1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = server(rows);
    let source = format!(
        "[[sources]]\nid = \"s\"\nconnector = \"sqlserver\"\nsettings = {{ host = \"127.0.0.1\", port = {}, database = \
         \"tj\", user = \"hisync\", password = {{ file = \"password\" }}, encryption = \"off\" }}\n[[sources.streams]]\nid \
         = \"all\"\nmode = \"snapshot\"\nfetch = {{ from = \"t\", key = [\"id\"] }}\n[[sources.streams]]\nid = \"changes\"\n\
         mode = \"incremental\"\nfetch = {{ from = \"t\", key = [\"id\"], watermark = {{ column = \"at\", type = \
         \"timestamp\" }} }}",
        server.port()
    );
    let mut bench = Bench::new("sqlserver");
    // The server's own memory, in this process, counts as well.
    let mut changes = poller::<SqlServer>(&source, server.folder(), "changes");
    let memory = runtime.block_on(measure(&mut *changes));
    assert_eq!(memory.rows, rows);
    bench.memory("scan", memory);
    // A part of them is enough for a rate.
    let rows = rows.min(100_000);
    server.execute(&format!("DELETE FROM t WHERE id > {rows}"));
    let mut all = poller::<SqlServer>(&source, server.folder(), "all");
    let compared = Compared { name: "records", unit: "rows", aim: Some(0.7), rounds: setting("HISYNC_ROUNDS", 5) };
    bench.compare(compared, |ours| {
        let began = Instant::now();
        let read = if ours {
            runtime.block_on(count_records(&mut *all, PAGE, usize::MAX))
        } else {
            runtime.block_on(driver(&server))
        };
        assert_eq!(read, rows);
        rows as f64 / began.elapsed().as_secs_f64()
    });
    bench.finish();
}
