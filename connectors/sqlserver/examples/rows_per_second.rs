//! Rows per second of the connector beside the driver's own fetch of the same rows, in one run:
//! `cargo run --release -p connector-sqlserver --example rows_per_second [ROWS] [ROUNDS]`.
//!
//! Both read from the test server in this process, whose work is part of both figures. The driver
//! makes one query and throws its rows away; the connector reads pages, looks for repeated keys and
//! makes records with their archived bytes.

#![expect(clippy::unwrap_used, reason = "a measurement fails where it unwraps nothing")]

use std::time::Instant;

use connector_api::{Poller, Request};
use connector_sqlserver::SqlServer;
use connector_tds_testkit::{Encryption, Options, TdsServer};
use connector_testkit::conformance::poller;
use futures_util::TryStreamExt as _;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryItem};
use tokio_util::compat::TokioAsyncWriteCompatExt as _;

const PASSWORD: &str = "bench";
const PAGE: usize = 2000;

fn server(rows: usize) -> TdsServer {
    let options = Options { encryption: Encryption::NotSupported, password: PASSWORD.to_owned(), ..Options::default() };
    let server = TdsServer::start(options);
    let columns: Vec<String> = (0..12).map(|at| format!("c{at} nvarchar(40)")).collect();
    let values: Vec<String> = (0..12).map(|at| format!("'项目{at} ' || i")).collect();
    server.execute(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime, amount decimal(18,4), ok bit, n1 int, n2 bigint, day date, who
         nvarchar(20), {}); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t
         SELECT i, '2024-01-02 08:00:00', i / 100.0, i % 2, i, i * 10000000000, '2024-01-02', '张三', {} FROM n;",
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

async fn connector(poller: &mut dyn Poller) -> usize {
    let (mut after, mut rows) = (None, 0);
    loop {
        let batch = poller.fetch(Request::Snapshot { after: after.as_ref() }, PAGE).await.unwrap();
        rows += batch.records.len();
        after = batch.next;
        if after.is_none() {
            return rows;
        }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let rows = arguments.next().unwrap_or(50_000);
    let rounds = arguments.next().unwrap_or(5).max(1);
    let server = server(rows);
    let source = format!(
        "[[sources]]\nid = \"s\"\nconnector = \"sqlserver\"\nsettings = {{ host = \"127.0.0.1\", port = {}, database = \
         \"tj\", user = \"hisync\", password = {{ file = \"password\" }}, encryption = \"off\" }}\n[[sources.streams]]\nid \
         = \"s\"\nmode = \"snapshot\"\nfetch = {{ from = \"t\", key = [\"id\"] }}",
        server.port()
    );
    let mut poller = poller::<SqlServer>(&source, server.folder(), "s");
    let mut ratios = Vec::with_capacity(rounds);
    for round in 1..=rounds {
        let began = Instant::now();
        assert_eq!(driver(&server).await, rows);
        let bare = rows as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        assert_eq!(connector(&mut *poller).await, rows);
        let ours = rows as f64 / began.elapsed().as_secs_f64();
        ratios.push(ours / bare);
        println!("round {round}: driver {bare:.0} rows/s, connector {ours:.0} rows/s, ratio {:.2}", ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[rounds / 2], ratios[rounds - 1]);
    println!("{rows} rows of 20 columns, {rounds} rounds: ratio min {least:.2}, median {median:.2}, max {most:.2}");
}
