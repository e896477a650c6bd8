//! The suite that every polled connector passes, by FreeTDS' driver from a server that speaks SQL Server's
//! protocol, and what that driver does with Chinese text and exact numbers.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use connector_api::{Action, FaultClass, Poller, Value, Watermark, async_trait};
use connector_odbc::Odbc;
use connector_tds_testkit::{Encryption, Options, TdsServer};
use connector_testkit::Upstream;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller, poller_suite, scan_changes};
use rusqlite::params;

use support::{FETCH, PASSWORD, bad_settings, configured, driver, source};

struct Fixture(TdsServer);

fn server() -> TdsServer {
    server_with("p4ss-Word")
}

fn server_with(password: &str) -> TdsServer {
    let options = Options { encryption: Encryption::Off, password: password.to_owned(), ..Options::default() };
    let server = TdsServer::start(options);
    std::fs::write(server.folder().join("password"), password).unwrap();
    server
}

const STREAM: &str = "[[sources.streams]]\nid = \"it\"\nmode = \"incremental\"\nfetch = { from = \"bg\", key = [\"id\"], \
                      watermark = { column = \"at\", type = \"timestamp\" } }";

fn reports(settings: &str) -> Box<dyn Poller> {
    poller::<Odbc>(&configured(settings, STREAM), "/".as_ref(), "it")
}

fn settings(server: &TdsServer, port: u16, more: &str) -> String {
    let (driver, folder) = (driver("libtdsodbc.so"), server.folder().display().to_string());
    format!(
        "product = \"sqlserver\"\nconnection = \"Driver={driver};Server=127.0.0.1;Port={port};Database=tj\"\n\
         user = \"hisync\"\npassword = {{ file = \"{folder}/password\" }}\n{more}"
    )
}

#[async_trait]
impl PollerFixture for Fixture {
    type Kind = Odbc;

    async fn put(&self, rows: &[FixtureRow]) {
        let mut data = self.0.data();
        let transaction = data.transaction().unwrap();
        for row in rows {
            let values = params![row.key, row.stamp, row.name];
            transaction.execute("INSERT OR REPLACE INTO parent VALUES (?, ?, ?)", values).unwrap();
            transaction.execute("DELETE FROM child WHERE key_no = ?", [&row.key]).unwrap();
            for item in &row.items {
                transaction.execute("INSERT INTO child VALUES (?, ?)", [&row.key, item]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn source(&self) -> String {
        source(&settings(&self.0, self.0.port(), ""), FETCH)
    }

    fn unreachable(&self) -> String {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        source(&settings(&self.0, port, ""), FETCH)
    }

    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        let short = settings(&self.0, port, "login_timeout_secs = 2\nquery_timeout_secs = 1");
        Some((Upstream::Tcp(SocketAddr::from(([127, 0, 0, 1], self.0.port()))), source(&short, FETCH)))
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        bad_settings()
    }

    fn base_dir(&self) -> PathBuf {
        PathBuf::from("/")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlserver_by_freetds_conforms() {
    poller_suite(|| {
        let server = server();
        server.execute(
            "CREATE TABLE parent (key_no varchar(20) PRIMARY KEY, stamp varchar(30), name nvarchar(50));
             CREATE TABLE child (key_no varchar(20), item varchar(20));",
        );
        Fixture(server)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_numbers_are_whole() {
    let server = server();
    server.execute(
        "CREATE TABLE bg (id int NOT NULL, name nvarchar(20), gbk varchar(20), fixed char(6), amount decimal(18,4),
             exact decimal(38,10), price money, at datetime, day date, ok bit, tiny tinyint, big bigint, ratio float,
             doc varbinary(max), memo nvarchar(max), who uniqueidentifier);",
    );
    let memo = "体检".repeat(50_000);
    let row = "INSERT INTO bg VALUES (1, '张三𠮷😀', '镕堃喆', 'AB', '12.3400',
         CAST('1234567890123456789012345678.9012345678' AS BLOB),
         '922337203685.4775', '2024-01-02 08:00:09.003', '2024-01-02', 1, 255, 9007199254740993, 0.1, x'0001ff', ?,
         '6F9619FF-8B86-D011-B42D-00C04FC964FF')";
    server.data().execute(row, [&memo]).unwrap();
    let mut poller = reports(&settings(&server, server.port(), ""));
    let records = scan_changes(&mut *poller, &mut Watermark::start(), 10).await;
    let document = records[0].document.as_ref().unwrap();
    let value = |name: &str| document.root.get(name).unwrap().clone();
    for (name, expected) in [
        ("name", Value::from("张三𠮷😀")),
        ("gbk", "镕堃喆".into()),
        ("memo", memo.into()),
        ("amount", Value::decimal("12.3400").unwrap()),
        ("exact", Value::decimal("1234567890123456789012345678.9012345678").unwrap()),
        ("price", Value::decimal("922337203685.4775").unwrap()),
        ("tiny", 255.into()),
        ("big", 9_007_199_254_740_993.into()),
        ("at", Value::Time("2024-01-02T08:00:09.003".parse().unwrap())),
        ("day", Value::Time("2024-01-02".parse().unwrap())),
        ("doc", Value::Bytes(vec![0, 1, 255])),
        ("who", "6F9619FF-8B86-D011-B42D-00C04FC964FF".into()),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_set_that_loses_chinese_text_is_noticed_at_once() {
    let server = server();
    server
        .execute("CREATE TABLE bg (id int, at datetime, name nvarchar(20)); INSERT INTO bg VALUES (1, NULL, '张三');");
    let settings = settings(&server, server.port(), "").replace("Database=tj", "Database=tj;ClientCharset=ISO-8859-1");
    let error = reports(&settings).probe().await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Charset, Action::Stop), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_handed_over_as_they_are_or_refused() {
    for password in ["P@ssw0rd!", "p=(w)?*,[x]", "p w", "p#$%^&+~|<>\"\\"] {
        let server = server_with(password);
        server.execute("CREATE TABLE bg (id int, at datetime);");
        let probed = reports(&settings(&server, server.port(), "")).probe().await;
        assert!(probed.is_ok(), "{password}: {}", probed.unwrap_err().chain());
    }
    // The driver can't be told such a one.
    for password in ["p;w", "{p", PASSWORD] {
        let server = server_with(password);
        let error = reports(&settings(&server, server.port(), "")).probe().await.unwrap_err();
        assert_eq!((error.class, error.action), (FaultClass::Login, Action::Stop), "{}", error.chain());
        assert!(error.hint.unwrap().contains("FreeTDS"), "{password}");
    }
}
