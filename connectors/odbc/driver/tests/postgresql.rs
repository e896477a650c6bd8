//! What is known to go wrong between ODBC and PostgreSQL, on a private server.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::path::Path;

use connector_api::{Action, Document, FaultClass, Poller, Record, Request, SourceError, Value, Watermark};
use connector_odbc::Odbc;
use connector_testkit::conformance::{poller, scan_changes, scan_snapshot};

use support::{Postgres, configured, snapshot};

fn open(source: &str, stream: &str) -> Box<dyn Poller> {
    poller::<Odbc>(source, Path::new("/"), stream)
}

async fn all(settings: &str, table: &str, limit: usize) -> Vec<Record> {
    let source = snapshot(settings, &format!(r#"from = "{table}", key = ["k"]"#));
    let (records, counted) = scan_snapshot(&mut *open(&source, "all"), limit).await;
    assert_eq!(counted, Some(records.len() as u64));
    records
}

fn value<'a>(document: &'a Document, name: &str) -> &'a Value {
    document.root.get(name).unwrap_or_else(|| panic!("no {name}"))
}

fn time(text: &str) -> Value {
    Value::Time(text.parse().unwrap())
}

async fn failure(settings: &str, table: &str) -> SourceError {
    let mut poller = open(&snapshot(settings, &format!(r#"from = "{table}", key = ["k"]"#)), "all");
    let error = poller.fetch(Request::Snapshot { after: None }, 10).await.expect_err("refused");
    assert!(error.hint.is_some(), "{}", error.chain());
    error
}

#[tokio::test]
async fn every_type_arrives_exactly() {
    let server = Postgres::start();
    server.sql(
        "CREATE TABLE 体检 (k INT PRIMARY KEY, 姓名 VARCHAR(20), rare TEXT, code CHAR(6), big BIGINT, small SMALLINT,
            price NUMERIC(18,4), any_number NUMERIC, f8 DOUBLE PRECISION, f4 REAL, ok BOOLEAN, day DATE, at TIMESTAMP,
            at_zone TIMESTAMPTZ, long TEXT, picture BYTEA, doc JSON, id UUID, empty TEXT, nothing TEXT, clock TIME);
         SET TIME ZONE 'Asia/Shanghai';
         INSERT INTO 体检 VALUES (1, '欧阳娜娜', '李四𠮷😀', 'A1', 9223372036854775807, -32768, 1.3000,
            12345678901234567890.123456789012345678901, 0.1::float8 + 0.2::float8, 0.1, true, '2024-02-29',
            '2024-02-29 08:00:00.123456', '2024-02-29 08:00:00+08', REPEAT('体检报告', 50000),
            DECODE(REPEAT('0001ff27', 75000), 'hex'), '{\"a\": \"中\"}', '00000000-0000-4000-8000-000000000001', '',
            NULL, '08:30:00');
         INSERT INTO 体检 (k, ok, f8) VALUES (2, false, 'NaN');",
    );
    let settings = format!("{}\nsession_time_zone = \"Asia/Shanghai\"", server.settings("postgres"));
    for limit in [1, 10] {
        let records = all(&settings, "体检", limit).await;
        let row = records[0].document.as_ref().unwrap();
        let get = |name: &str| value(row, name);
        assert_eq!(get("姓名"), &Value::from("欧阳娜娜"));
        assert_eq!(get("rare"), &Value::from("李四𠮷😀"));
        assert_eq!(get("code"), &Value::from("A1    "), "padded as the source pads it");
        assert_eq!(get("big"), &Value::Integer(i64::MAX));
        assert_eq!(get("small"), &Value::Integer(-32768));
        assert_eq!(get("price"), &Value::decimal("1.3000").unwrap());
        assert_eq!(get("any_number"), &Value::decimal("12345678901234567890.123456789012345678901").unwrap());
        assert_eq!(get("f8"), &Value::decimal("0.30000000000000004").unwrap());
        assert_eq!(get("f4"), &Value::decimal("0.1").unwrap());
        assert_eq!(get("ok"), &Value::Bool(true));
        assert_eq!(get("day"), &time("2024-02-29"));
        assert_eq!(get("at"), &time("2024-02-29T08:00:00.123456"));
        assert_eq!(get("at_zone"), &time("2024-02-29T08:00:00"), "in the session's zone");
        assert_eq!(get("long"), &Value::from("体检报告".repeat(50_000)), "600 kB, no character cut");
        assert_eq!(get("picture"), &Value::Bytes([0, 1, 255, 39].repeat(75_000)));
        assert_eq!(get("doc"), &Value::from("{\"a\": \"中\"}"));
        assert_eq!(get("id"), &Value::from("00000000-0000-4000-8000-000000000001"));
        assert_eq!((get("empty"), get("nothing")), (&Value::from(""), &Value::Null));
        assert_eq!(get("clock"), &Value::from("08:30:00"));
        let held = records[1].document.as_ref().expect_err("NaN is no decimal");
        assert_eq!(held.code, "not-a-number");
    }
}

#[tokio::test]
async fn typed_watermarks_and_padded_keys_page_without_loss() {
    let server = Postgres::start();
    server.sql(
        "CREATE TABLE r (k CHAR(8), at TIMESTAMP, zoned TIMESTAMPTZ, n NUMERIC(12,2), day DATE, PRIMARY KEY (k));
         INSERT INTO r SELECT 'K' || i, TIMESTAMP '2024-01-02 08:00:00' + (i / 3) * INTERVAL '0.000001 s',
            TIMESTAMPTZ '2024-01-02 08:00:00+08' + (i / 3) * INTERVAL '0.000001 s', i / 4.0, DATE '2024-01-02'
            FROM GENERATE_SERIES(1, 12) AS i;
         INSERT INTO r VALUES ('NULL');",
    );
    let settings = server.settings("postgres");
    let stream = |name: &str, kind: &str| {
        let lag = if kind == "number" { ", lag = 0" } else { "" };
        let watermark = format!(r#"{{ column = "{name}", type = "{kind}"{lag} }}"#);
        format!(
            "[[sources.streams]]\nid = \"{name}\"\nmode = \"incremental\"\n\
             fetch = {{ from = \"r\", key = [\"k\"], watermark = {watermark} }}"
        )
    };
    let streams =
        [stream("at", "timestamp"), stream("zoned", "timestamp"), stream("n", "number"), stream("day", "timestamp")];
    let source = configured(&settings, &streams.join("\n"));
    // PostgreSQL puts nulls last; a product that hisync does not know may do so too.
    let unknown = source.replace("product = \"postgresql\"", "product = \"generic\"");
    for (source, name) in [(&source, "at"), (&source, "zoned"), (&source, "n"), (&source, "day"), (&unknown, "at")] {
        for limit in [1, 2, 5, 100] {
            let mut poller = open(source, name);
            let mut stored = Watermark::start();
            let records = scan_changes(&mut *poller, &mut stored, limit).await;
            assert_eq!(records.len(), 13, "{name} in pages of {limit}");
            assert!(records.iter().all(|record| record.document.is_ok()), "{name}");
            assert!(!stored.is_start(), "{name}");
            let again = scan_changes(&mut *poller, &mut stored, limit).await;
            let least = if name == "n" { 2 } else { 13 };
            assert_eq!(again.len(), least, "{name}: the overlap, and the row without a watermark");
        }
        assert!(open(source, name).probe().await.unwrap().newest.is_some());
    }
}

#[tokio::test]
async fn failures_have_their_class() {
    let server = Postgres::start();
    server.sql(
        "CREATE TABLE t (k TEXT PRIMARY KEY); CREATE TABLE secret (k TEXT); INSERT INTO t VALUES ('1');
         CREATE ROLE reader LOGIN PASSWORD 'p;w}d {x'; GRANT SELECT ON t TO reader;
         CREATE VIEW slow AS SELECT k, PG_SLEEP(60)::text AS v FROM t; GRANT SELECT ON slow TO reader;
         CREATE VIEW bad AS SELECT k, (k || 'x')::int AS v FROM t;",
    );
    let settings = server.settings("postgres").replace("user = \"hisync\"", "user = \"reader\"");
    let check = |error: SourceError, class: FaultClass, stops: bool| {
        assert_eq!(error.class, class, "{}", error.chain());
        assert_eq!(error.action == Action::Stop, stops, "{}", error.chain());
        assert!(!error.chain().contains(support::PASSWORD), "{}", error.chain());
    };
    check(failure(&settings, "secret").await, FaultClass::Permission, true);
    check(failure(&settings, "absent").await, FaultClass::Missing, true);
    check(failure(&settings.replace("Database=postgres", "Database=absent"), "t").await, FaultClass::Missing, true);
    check(failure(&settings.replace("user = \"reader\"", "user = \"nobody\""), "t").await, FaultClass::Login, true);
    let nowhere = settings.replace("Server=", "Server=no-such-host.invalid;X=");
    check(failure(&nowhere, "t").await, FaultClass::NameResolution, false);
    check(failure(&format!("{settings}\nquery_timeout_secs = 1"), "slow").await, FaultClass::Timeout, false);
    let bad = failure(&server.settings("postgres"), "bad").await;
    assert!(!bad.chain().contains("1x"), "no value is repeated: {}", bad.chain());
    check(bad, FaultClass::Data, true);
    // Found before anything is read, with the nearest name.
    let source = snapshot(&settings, r#"from = "tt", key = ["k"]"#);
    let error = open(&source, "all").probe().await.expect_err("no such table");
    assert_eq!(error.class, FaultClass::Missing);
    assert!(error.hint.unwrap().contains("\"t\""));
    let source = snapshot(&settings, r#"from = "t", key = ["kk"]"#);
    assert_eq!(open(&source, "all").probe().await.expect_err("no such column").class, FaultClass::Missing);
}

#[tokio::test]
async fn a_snapshot_is_of_one_moment_and_a_crash_of_the_server_is_survived() {
    let mut server = Postgres::start();
    server.sql("CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t SELECT GENERATE_SERIES(1, 30);");
    let settings = server.settings("postgres");
    let source = snapshot(&settings, r#"from = "t", key = ["k"]"#);
    let mut poller = open(&source, "all");
    let first = poller.fetch(Request::Snapshot { after: None }, 20).await.unwrap();
    server.sql("INSERT INTO t SELECT GENERATE_SERIES(31, 60); DELETE FROM t WHERE k < 5;");
    let rest = poller.fetch(Request::Snapshot { after: first.next.as_ref() }, 20).await.unwrap();
    assert_eq!((first.records.len() + rest.records.len(), rest.counted), (30, Some(30)));
    // The same by standard SQL and the driver's own catalogue, as for a product that hisync does not know.
    let generic = settings.replace("product = \"postgresql\"", "product = \"generic\"");
    let source = snapshot(&generic, r#"from = "public.t", key = ["k"]"#);
    assert_eq!(scan_snapshot(&mut *open(&source, "all"), 20).await.1, Some(56));
    let found = open(&source, "all").discover(None).await.unwrap();
    assert!(found.iter().any(|table| table.name == "public.t" && table.kind == "table"), "{found:?}");
    // The connection is kept; the server goes away behind its back.
    let first = poller.fetch(Request::Snapshot { after: None }, 20).await.unwrap();
    server.crash();
    let error = poller.fetch(Request::Snapshot { after: first.next.as_ref() }, 20).await.expect_err("gone");
    assert_eq!(error.class, FaultClass::Protocol, "{}", error.chain());
    assert!(matches!(error.action, Action::Retry { .. }));
    let error = poller.fetch(Request::Snapshot { after: None }, 20).await.expect_err("still gone");
    assert_eq!(error.class, FaultClass::Unreachable, "{}", error.chain());
}

#[tokio::test]
async fn chinese_text_is_right_in_databases_of_other_character_sets() {
    let server = Postgres::start();
    server.sql("CREATE DATABASE gbk ENCODING 'EUC_CN' LOCALE 'C' TEMPLATE template0");
    server.sql("CREATE DATABASE anything ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
    server
        .run("gbk", "CREATE TABLE t (k TEXT PRIMARY KEY, 姓名 TEXT); INSERT INTO t VALUES ('一', '王小明');")
        .unwrap();
    let settings = server.settings("gbk");
    let records = all(&settings, "t", 1).await;
    assert_eq!(value(records[0].document.as_ref().unwrap(), "姓名"), &Value::from("王小明"));
    let source = snapshot(&settings, r#"from = "t", key = ["k"], filter = [{ column = "姓名", equals = "王小明" }]"#);
    assert_eq!(scan_snapshot(&mut *open(&source, "all"), 1).await.0.len(), 1, "Chinese is found when it is bound");
    let probe = open(&source, "all").probe().await.unwrap();
    assert!(probe.server.unwrap().contains("𠮷"), "what does not survive is said");
    // A database that converts nothing: one row in GBK among sound ones.
    server
        .run(
            "anything",
            "CREATE TABLE t (k INT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, '好'), (2, E'\\xd5\\xc5\\xc8\\xfd'), (3, '好');",
        )
        .unwrap();
    let records = all(&server.settings("anything"), "t", 2).await;
    assert_eq!(records.iter().map(|record| record.document.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(records[1].document.as_ref().expect_err("GBK").code, "text-encoding");
    assert!(String::from_utf8_lossy(&records[1].raw.body).contains("d5c5c8fd"), "its bytes are archived");
}
