//! What is known to go wrong between ODBC and MariaDB, on a private server.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::path::Path;

use connector_api::{Action, Document, FaultClass, Poller, Record, Request, Value, Watermark};
use connector_odbc::Odbc;
use connector_testkit::conformance::{poller, scan_changes, scan_snapshot};
use connector_testkit::memory::{rows_to_read, scan_within_bounds};

use support::{Mariadb, configured, snapshot};

fn open(source: &str, stream: &str) -> Box<dyn Poller> {
    poller::<Odbc>(source, Path::new("/"), stream)
}

async fn all(settings: &str, table: &str, limit: usize) -> Vec<Record> {
    let source = snapshot(settings, &format!(r#"from = "{table}", key = ["k"]"#));
    let (records, counted) = scan_snapshot(&mut *open(&source, "all"), limit).await;
    assert_eq!(counted, Some(records.len() as u64));
    records
}

fn document(record: &Record) -> &Document {
    record.document.as_ref().expect("a readable row")
}

fn value<'a>(record: &'a Record, name: &str) -> &'a Value {
    document(record).root.get(name).unwrap_or_else(|| panic!("no {name}"))
}

fn time(text: &str) -> Value {
    Value::Time(text.parse().unwrap())
}

const TYPES: &str = "
    CREATE TABLE 体检 (k INT PRIMARY KEY, 姓名 VARCHAR(20), code CHAR(6), big BIGINT UNSIGNED, tiny TINYINT UNSIGNED,
        price DECIMAL(18,4), f8 DOUBLE, f4 FLOAT, ok BOOL, bits BIT(8), day DATE, at DATETIME(6), stamp TIMESTAMP NULL,
        clock TIME, y YEAR, pages LONGTEXT, picture LONGBLOB, doc JSON, e VARCHAR(5), nothing VARCHAR(5)) CHARSET utf8mb4;
    INSERT INTO 体检 VALUES (1, '李四😀', 'A1', 18446744073709551615, 255, 1.3000, 0.1 + 0.2E0, 0.1, TRUE, b'101',
        '2024-02-29', '2024-02-29 08:00:00.123456', '2024-02-29 08:00:00', '08:30:00', 2024, REPEAT('体检报告', 50000),
        UNHEX(REPEAT('0001ff27', 75000)), '{\"a\": \"中\"}', '', NULL);
    INSERT INTO 体检 (k, 姓名) VALUES (2, '四😀'), (3, '李四五😀'), (4, '李四𠮷'), (5, '欧阳娜娜𠮷'), (6, 'A😀B😀C');
    CREATE TABLE old (k VARCHAR(10) PRIMARY KEY, name VARCHAR(20)) CHARSET gbk;
    INSERT INTO old VALUES ('一', '张三'), ('二', '李四');
    CREATE TABLE zeros (k INT PRIMARY KEY, day DATE, at DATETIME, half DATE);
    INSERT INTO zeros VALUES (1, '0000-00-00', '0000-00-00 00:00:00', '2024-01-00'), (2, '2024-01-02', '2024-01-02 08:00:00', NULL);
    ";

async fn types(settings: &str) {
    for limit in [1, 10] {
        let records = all(settings, "体检", limit).await;
        let get = |name: &str| value(&records[0], name);
        assert_eq!(get("姓名"), &Value::from("李四😀"));
        assert_eq!(get("code"), &Value::from("A1"), "not padded, whatever the server's mode");
        assert_eq!(get("big"), &Value::decimal("18446744073709551615").unwrap());
        assert_eq!(get("tiny"), &Value::Integer(255));
        assert_eq!(get("price"), &Value::decimal("1.3000").unwrap());
        assert_eq!(get("f8"), &Value::decimal("0.30000000000000004").unwrap());
        assert_eq!(get("f4"), &Value::decimal("0.1").unwrap());
        assert_eq!(get("ok"), &Value::Integer(1), "a TINYINT there");
        assert_eq!(get("bits"), &Value::Bytes(vec![5]));
        assert_eq!(get("day"), &time("2024-02-29"));
        assert_eq!(get("at"), &time("2024-02-29T08:00:00.123456"));
        assert_eq!(get("stamp"), &time("2024-02-29T08:00:00"));
        assert_eq!(get("clock"), &Value::from("08:30:00"));
        assert_eq!(get("y"), &Value::Integer(2024));
        assert_eq!(get("pages"), &Value::from("体检报告".repeat(50_000)), "600 kB, no character cut");
        assert_eq!(get("picture"), &Value::Bytes([0, 1, 255, 39].repeat(75_000)));
        assert_eq!(get("doc"), &Value::from("{\"a\": \"中\"}"));
        assert_eq!((get("e"), get("nothing")), (&Value::from(""), &Value::Null));
        let names: Vec<_> = records.iter().map(|record| value(record, "姓名").as_text().unwrap()).collect();
        assert_eq!(names, ["李四😀", "四😀", "李四五😀", "李四𠮷", "欧阳娜娜𠮷", "A😀B😀C"]);
    }
}

#[tokio::test]
async fn every_type_arrives_exactly() {
    let server = Mariadb::start(&[]);
    server.sql(&format!("USE peis; SET sql_mode = '', time_zone = '+08:00'; {TYPES}"));
    let settings = format!("{}\nsession_time_zone = \"+08:00\"", server.settings());
    types(&settings).await;
    let records = all(&settings, "old", 1).await;
    let names: Vec<_> = records.iter().map(|record| value(record, "name").as_text().unwrap()).collect();
    assert_eq!(names, ["李四", "张三"], "in the order of its GBK collation");
    let source = snapshot(&settings, r#"from = "old", key = ["k"], filter = [{ column = "name", equals = "张三" }]"#);
    assert_eq!(scan_snapshot(&mut *open(&source, "all"), 1).await.0.len(), 1, "Chinese is found when it is bound");
    // Zeros stay what they are; no other date is made of them.
    let records = all(&settings, "zeros", 1).await;
    assert_eq!(value(&records[0], "day"), &Value::from("0000-00-00"));
    assert_eq!(value(&records[0], "at"), &Value::from("0000-00-00 00:00:00"));
    assert_eq!(value(&records[0], "half"), &Value::from("2024-01-00"));
    assert_eq!(value(&records[1], "at"), &time("2024-01-02T08:00:00"));
}

#[tokio::test]
async fn a_servers_own_modes_do_not_change_what_is_read() {
    let modes = "--sql-mode=ORACLE,PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL";
    let server = Mariadb::start(&[modes, "--character-set-server=gbk"]);
    server.sql(&format!("USE peis; SET sql_mode = '', time_zone = '+08:00'; {TYPES}"));
    types(&format!("{}\nsession_time_zone = \"+08:00\"", server.settings())).await;
}

#[tokio::test]
async fn a_row_with_a_watermark_of_zeros_is_found_by_every_scan() {
    let server = Mariadb::start(&[]);
    server.sql(
        "USE peis; SET sql_mode = '';
         CREATE TABLE r (k INT PRIMARY KEY, at DATETIME(3));
         INSERT INTO r SELECT seq, '2024-01-02 08:00:00' + INTERVAL seq MINUTE FROM seq_1_to_100;",
    );
    let stream = "[[sources.streams]]\nid = \"r\"\nmode = \"incremental\"\n\
        fetch = { from = \"r\", key = [\"k\"], watermark = { column = \"at\", type = \"timestamp\", lag_secs = 60 } }";
    let source = configured(&server.settings(), stream);
    let mut poller = open(&source, "r");
    let mut stored = Watermark::start();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 7).await.len(), 100);
    server.sql("USE peis; SET sql_mode = ''; INSERT INTO r VALUES (1001, 0), (1002, 0), (1003, NULL);");
    for limit in [1, 2, 3, 50] {
        let found = scan_changes(&mut *poller, &mut stored, limit).await;
        let mut keys: Vec<_> = found.iter().map(|record| value(record, "k").clone()).collect();
        keys.sort_by_key(|key| format!("{key:?}"));
        let expected = [100, 1001, 1002, 1003, 99].map(Value::Integer);
        assert_eq!(keys, expected, "the overlap and the undated, no more, in pages of {limit}");
    }
    let probe = poller.probe().await.unwrap();
    assert!(probe.findings.iter().any(|finding| finding.starts_with("3 rows have no")), "{:?}", probe.findings);
    assert_eq!(probe.newest.as_deref(), Some("2024-01-02T09:40:00"));
    assert!(probe.clock_difference_ms.is_none_or(|difference| difference.abs() < 60_000));
}

#[tokio::test]
async fn failures_have_their_class() {
    let server = Mariadb::start(&[]);
    server.sql(
        "USE peis; CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t VALUES (1);
         CREATE DATABASE other; CREATE TABLE other.t (k INT);
         CREATE VIEW slow AS SELECT k, SLEEP(60) AS v FROM t;",
    );
    let settings = server.settings();
    let class = async |settings: &str, table: &str| {
        let mut poller = open(&snapshot(settings, &format!(r#"from = "{table}", key = ["k"]"#)), "all");
        let error = poller.fetch(Request::Snapshot { after: None }, 10).await.expect_err("refused");
        assert!(error.hint.is_some() && !error.chain().contains(support::PASSWORD), "{}", error.chain());
        (error.class, error.action == Action::Stop)
    };
    assert_eq!(class(&settings, "absent").await, (FaultClass::Missing, true));
    assert_eq!(class(&settings, "other.t").await, (FaultClass::Permission, true));
    let other = settings.replace("user = \"hisync\"", "user = \"nobody\"");
    assert_eq!(class(&other, "t").await, (FaultClass::Login, true));
    let nowhere = settings.replace("Server=localhost", "Server=no-such-host.invalid").replace("Socket=", "X=");
    assert_eq!(class(&nowhere, "t").await, (FaultClass::NameResolution, false));
    let absent = settings.replace("/socket;", "/absent;");
    assert_eq!(class(&absent, "t").await, (FaultClass::Unreachable, false));
    let slow = format!("{settings}\nquery_timeout_secs = 1");
    assert_eq!(class(&slow, "slow").await, (FaultClass::Timeout, false), "the session's own limit");
}

/// The driver's process counts with all that it has: it holds a whole result, so that pages bound it.
#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_rows() {
    let rows = rows_to_read(50_000);
    let server = Mariadb::start(&[]);
    server.sql(&format!(
        "USE peis; CREATE TABLE big (k INT PRIMARY KEY, name VARCHAR(40), result DECIMAL(12,4), at DATETIME, INDEX (at, k));
         INSERT INTO big SELECT seq, CONCAT('体检项目', seq), seq / 7, '2024-01-02 08:00:00' + INTERVAL seq SECOND
         FROM seq_1_to_{rows};"
    ));
    let stream = "[[sources.streams]]\nid = \"big\"\nmode = \"incremental\"\n\
        fetch = { from = \"big\", key = [\"k\"], watermark = { column = \"at\", type = \"timestamp\" } }";
    scan_within_bounds(&mut *open(&configured(&server.settings(), stream), "big"), rows).await;
}
