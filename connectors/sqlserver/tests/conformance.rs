//! The suite that every polled connector passes, against the test server.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use connector_api::async_trait;
use connector_sqlserver::SqlServer;
use connector_tds_testkit::{Encryption, Options, TdsServer};
use connector_testkit::Upstream;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};
use connector_testkit::tables::streams;
use rusqlite::params;

struct Fixture {
    server: TdsServer,
    more: &'static str,
    fetch: &'static str,
}

fn fixture(options: Options, more: &'static str, fetch: &'static str) -> Fixture {
    let server = support::server_of(options);
    server.execute(
        "CREATE TABLE parent (key_no varchar(20) PRIMARY KEY, stamp varchar(30), name nvarchar(50), day date, clock time(3));
         CREATE TABLE child (key_no char(10), item varchar(20));",
    );
    Fixture { server, more, fetch }
}

const FETCH: &str =
    r#"from = "dbo.parent", key = ["key_no"], watermark = { column = "stamp", type = "timestamp", lag_secs = 60 }"#;

const SPLIT: &str = "from = \"dbo.parent\", key = [\"key_no\"], watermark = { column = \"day\", then = [\"clock\"], \
                     type = \"timestamp\", lag_secs = 60 }";

fn source(settings: &str, fetch: &str) -> String {
    let streams = streams(fetch);
    format!("[[sources]]\nid = \"s\"\nconnector = \"sqlserver\"\n[sources.settings]\n{settings}\n{streams}")
}

#[async_trait]
impl PollerFixture for Fixture {
    type Kind = SqlServer;

    async fn put(&self, rows: &[FixtureRow]) {
        let mut data = self.server.data();
        let transaction = data.transaction().unwrap();
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
        source(&support::settings(self.server.port(), self.more), self.fetch)
    }

    fn unreachable(&self) -> String {
        // Bound for a moment, so that nobody listens there now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        source(&support::settings(port, self.more), FETCH)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let with = |more: &str| source(&support::settings(1433, more), FETCH);
        let stream = |more: &str| source(&support::settings(1433, ""), FETCH) + more;
        vec![
            (with(r#"host = """#), "settings.host"),
            (with(r#"host = 'HIS\TJ'"#), "settings.host"),
            (with(r#"database = """#), "settings.database"),
            (with(r#"user = 'HOSPITAL\reader'"#), "settings.user"),
            (with(r#"trust = { sha256 = "12ab" }"#), "settings.trust.sha256"),
            (with("query_timeout_secs = 0"), "settings.query_timeout_secs"),
            (with("connect_timeout_secs = 100000"), "settings.connect_timeout_secs"),
            (with("port = 1433\ninstance = \"TJ\""), "settings.instance"),
            (with(r#"encryption = "maybe""#), "settings"),
            (with(r#"passwort = "x""#), "settings"),
            (source("host = \"h\"", FETCH), "settings"),
            (source(&support::settings(1, ""), &FETCH.replace("dbo.parent", "a.b.c.d")), "streams[0].fetch.from"),
            (
                source(&support::settings(1, ""), &FETCH.replace("dbo.parent", "p]; DROP TABLE x --")),
                "streams[0].fetch",
            ),
            (
                source(
                    &support::settings(1, ""),
                    r#"from = "a.b.c", key = ["k"], watermark = { column = "v", type = "rowversion" }"#,
                ),
                "streams[0].fetch.from",
            ),
            (
                source(
                    &support::settings(1, ""),
                    r#"from = "t", key = ["k"], watermark = { column = "v", then = ["k"], type = "rowversion" }"#,
                ),
                "streams[0].fetch.watermark.then",
            ),
            (stream("procedure = {}"), "streams[1].fetch.from"),
            (stream("procedure = { since = \"@x\" }"), "streams[1].procedure.since"),
            (stream("procedure = { parameters = { \"@x = 1; --\" = 1 } }"), "streams[1].procedure"),
        ]
    }

    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        let short = format!("{}\nconnect_timeout_secs = 2\nquery_timeout_secs = 1", self.more);
        let server = Upstream::Tcp(SocketAddr::from(([127, 0, 0, 1], self.server.port())));
        Some((server, source(&support::settings(port, &short), self.fetch)))
    }

    fn base_dir(&self) -> PathBuf {
        self.server.folder().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlserver_conforms_with_encrypted_logins() {
    let more = "encryption = \"login-only\"\ntrust = \"any\"";
    poller_suite(|| fixture(Options::default(), more, FETCH)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlserver_conforms_reading_gbk_bytes_without_snapshots() {
    let options = Options { encryption: Encryption::NotSupported, snapshot_isolation: false, ..Options::default() };
    poller_suite(|| fixture(options.clone(), "raw_gbk = true", FETCH)).await;
}

/// The day stands in one column, the time of day in another.
#[tokio::test(flavor = "multi_thread")]
async fn sqlserver_conforms_with_a_watermark_of_two_columns() {
    let options = Options { encryption: Encryption::NotSupported, ..Options::default() };
    poller_suite(|| fixture(options.clone(), "", SPLIT)).await;
}
