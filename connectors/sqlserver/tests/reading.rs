//! What the columns hold arrives as it is, or holds its record.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use connector_api::{FaultClass, Request, Watermark};
use connector_tds_testkit::{Encryption, FaultKind, Options};
use connector_testkit::conformance::{scan_changes, scan_snapshot};
use connector_testkit::memory::{rows_to_read, scan_within_bounds};
use serde_json::json;
use support::{all, changes, server, server_of, snapshot};

const BY_ID: &str = r#"fetch = { from = "t", key = ["id"], watermark = { column = "id", type = "number", lag = 0 } }"#;

const EVERY_TYPE: &str = "CREATE TABLE t (id int NOT NULL, tiny tinyint, small smallint, big bigint, ok bit, \
    ratio float, half real, amount decimal(18,4), exact decimal(38,10), price money, cheap smallmoney, at datetime, \
    minute smalldatetime, day date, clock time(3), at2 datetime2(7), zoned datetimeoffset(0), code char(6), \
    name varchar(20), memo varchar(max), wcode nchar(4), wname nvarchar(20), wmemo nvarchar(max), fixed binary(4), \
    bytes varbinary(10), blob varbinary(max), old text, wold ntext, picture image, who uniqueidentifier, doc xml, \
    version rowversion);";

#[tokio::test]
async fn every_type_is_read_exactly() {
    for more in ["", "raw_gbk = true"] {
        let server = server();
        server.execute(EVERY_TYPE);
        server.execute(
            "INSERT INTO t VALUES (1, 255, -5, 9007199254740993, 1, 0.1, 1.5, '1.30',
                CAST('1234567890123456789012345678.9012345678' AS BLOB), '922337203685.4775', '-3.5',
                '2024-01-02 08:00:09.003', '2024-01-02 08:01:00', '2024-01-02', '08:00:00.125',
                '2024-01-02 08:00:09.1234567', '2024-01-02 08:00:09+08:00', 'A1', '镕堃喆€𠮷㐀', '长', 'B', '𠮷😀', '',
                x'0102', x'00ff', x'0001', 'old 体检', 'wold', x'89', '6F9619FF-8B86-D011-B42D-00C04FC964FF', '<a/>',
                x'00000000000007d1'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);",
        );
        let found = all(&mut *changes(&server, more, BY_ID)).await;
        let expected = json!({
            "ok": true,
            "code": "A1", "name": "镕堃喆€𠮷㐀", "memo": "长", "wcode": "B", "wname": "𠮷😀", "wmemo": "",
            "old": "old 体检", "wold": "wold", "who": "6F9619FF-8B86-D011-B42D-00C04FC964FF", "doc": "<a/>",
            "clock": "08:00:00.125"
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(found[0][name], *value, "{name} {more}");
        }
        // Numbers, times and bytes are archived in forms of their own; their literals are what counts.
        for (name, literal) in [
            ("id", "1"),
            ("tiny", "255"),
            ("small", "-5"),
            ("big", "9007199254740993"),
            ("ratio", "0.1"),
            ("half", "1.5"),
            ("amount", "1.3000"),
            ("exact", "1234567890123456789012345678.9012345678"),
            ("price", "922337203685.4775"),
            ("cheap", "-3.5000"),
            ("at", "2024-01-02T08:00:09.003"),
            ("minute", "2024-01-02T08:01:00"),
            ("day", "2024-01-02"),
            ("at2", "2024-01-02T08:00:09.123456700"),
            ("zoned", "2024-01-02T08:00:09+08:00"),
        ] {
            let shown = found[0][name].to_string();
            assert!(shown.contains(&format!("\"{literal}\"")), "{name} is {shown} {more}");
        }
        let nulls = found[1].as_object().unwrap().iter().filter(|(_, value)| value.is_null()).count();
        assert_eq!(nulls, 31, "every type has its null {more}");
    }
}

/// The driver alone would end the whole result at the damaged value.
#[tokio::test]
async fn one_damaged_value_holds_its_row_and_no_other() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, name varchar(20)); INSERT INTO t VALUES (1, '张三'), (2, x'd5c5c8'), (3, '李四');",
    );
    let mut poller = changes(&server, "raw_gbk = true", BY_ID);
    let records = scan_changes(&mut *poller, &mut Watermark::start(), 2).await;
    let held: Vec<bool> = records.iter().map(|record| record.document.is_err()).collect();
    assert_eq!(held, [false, true, false]);
    let failure = records[1].document.as_ref().unwrap_err();
    assert_eq!(failure.code, "text-encoding");
    assert!(failure.detail.contains("name") && !String::from_utf8_lossy(&records[1].raw.body).contains("张"));
}

#[tokio::test]
async fn half_a_surrogate_holds_its_row_and_no_other() {
    let server = server();
    server.execute("CREATE TABLE t (id int, name nvarchar(20)); INSERT INTO t VALUES (1, x'3cd8'), (2, '李四');");
    let mut poller = changes(&server, "", BY_ID);
    let records = scan_changes(&mut *poller, &mut Watermark::start(), 10).await;
    assert_eq!(records[0].document.as_ref().unwrap_err().code, "text-encoding");
    assert!(records[1].document.is_ok());
}

/// The driver alone reads UTF-8 bytes as GBK, without a word.
#[tokio::test]
async fn columns_with_a_utf8_collation_are_read_right() {
    for more in ["", "raw_gbk = true"] {
        let options = Options { utf8_collation: true, encryption: Encryption::NotSupported, ..Options::default() };
        let server = server_of(options);
        server.execute("CREATE TABLE t (id int, name varchar(20)); INSERT INTO t VALUES (1, '张三𠮷');");
        assert_eq!(all(&mut *changes(&server, more, BY_ID)).await[0]["name"], "张三𠮷", "{more}");
    }
}

#[tokio::test]
async fn long_values_come_whole() {
    let server = server();
    server.execute("CREATE TABLE t (id int, memo nvarchar(max), blob varbinary(max), small nvarchar(10));");
    let text = "体检报告𠮷".repeat(200_000);
    let blob: Vec<u8> = (0..1_000_000u32).map(|at| at as u8).collect();
    server.data().execute("INSERT INTO t VALUES (1, ?, ?, 'end')", rusqlite::params![text, blob]).unwrap();
    let mut poller = changes(&server, "", BY_ID);
    let records = scan_changes(&mut *poller, &mut Watermark::start(), 10).await;
    let document = records[0].document.as_ref().unwrap();
    assert_eq!(document.root.get("memo").unwrap().as_text(), Some(text.as_str()));
    assert_eq!(document.root.get("blob"), Some(&connector_api::Value::Bytes(blob)));
    assert_eq!(document.root.get("small").unwrap().as_text(), Some("end"));
}

/// `datetime` counts in 300ths of a second: a parameter that is rounded otherwise would skip rows,
/// or read the last one for ever.
#[tokio::test]
async fn datetime_watermarks_meet_their_rows_exactly() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, at datetime); INSERT INTO t VALUES (1, '2024-01-02 08:00:00'),
         (2, '2024-01-02 08:00:00.003'), (3, '2024-01-02 08:00:00.007'), (4, '2024-01-02 08:00:00.01'), (5, NULL);",
    );
    let stream =
        r#"fetch = { from = "t", key = ["id"], watermark = { column = "at", type = "timestamp", lag_secs = 0 } }"#;
    for limit in 1..=5 {
        let mut stored = Watermark::start();
        let mut poller = changes(&server, "", stream);
        assert_eq!(scan_changes(&mut *poller, &mut stored, limit).await.len(), 5, "pages of {limit}");
        let again = scan_changes(&mut *poller, &mut stored, limit).await;
        assert_eq!(again.len(), 2, "the newest and the one without a watermark");
    }
    assert!(server.statements().iter().any(|sql| sql.contains(">= CAST(@P1 AS datetime)")));
    let newest = changes(&server, "", stream).probe().await.unwrap().newest;
    assert_eq!(newest.as_deref(), Some("2024-01-02T08:00:00.010"));
}

/// A row with a lower version may be committed after one with a higher version was read.
#[tokio::test]
async fn rowversion_watermarks_stay_below_open_transactions() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, v rowversion); CREATE TABLE tds_min_active (version);
         INSERT INTO t VALUES (1, x'00000000000007d1'), (3, x'00000000000007d3');
         INSERT INTO tds_min_active VALUES (x'00000000000007d2');",
    );
    let stream = r#"fetch = { from = "t", key = ["id"], watermark = { column = "v", type = "rowversion" } }"#;
    let mut poller = changes(&server, "", stream);
    let mut stored = Watermark::start();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 10).await.len(), 1, "what is above an open transaction waits");
    server.execute("INSERT INTO t VALUES (2, x'00000000000007d2'); DELETE FROM tds_min_active;");
    let found = scan_changes(&mut *poller, &mut stored, 1).await;
    assert_eq!(found.len(), 3, "the row committed late is found, and what waited");
    assert!(server.statements().iter().any(|sql| sql.contains("CAST(@P1 AS binary(8))")));
}

#[tokio::test]
async fn indexed_varchar_columns_are_compared_as_varchar() {
    let server = server();
    server.execute(
        "CREATE TABLE t (no varchar(20), at varchar(20)); CREATE TABLE mx (no char(12), zt int);
         INSERT INTO t VALUES ('A1', '2024-01-02 08:00:00'), ('A2', ''); INSERT INTO mx VALUES ('A1', 1), ('A1', 2);",
    );
    let stream = r#"
        fetch = { from = "t", key = ["no"], watermark = { column = "at", type = "timestamp" } }
        children = [{ name = "mx", from = "mx", key = ["no"], filter = [{ column = "zt", equals = 1 }] }]"#;
    let found = all(&mut *changes(&server, "", stream)).await;
    changes(&server, "", stream).probe().await.unwrap();
    let of = |no: &str| found.iter().find(|record| record["no"] == no).unwrap()["mx"].as_array().unwrap().len();
    assert_eq!((of("A1"), of("A2")), (1, 0), "padding does not part a child from its parent");
    let statements = server.statements();
    assert!(statements.iter().any(|sql| sql.contains("IN (CAST(@P2 AS varchar(8000)), CAST(@P3 AS varchar(8000)))")));
    assert!(statements.iter().any(|sql| sql.contains("[at] = ''")), "blank watermarks are looked for in text");
}

#[tokio::test]
async fn pages_use_what_sql_server_2008_knows() {
    let server = server();
    server.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2), (3);");
    all(&mut *changes(&server, "", BY_ID)).await;
    scan_snapshot(&mut *snapshot(&server, "", r#"fetch = { from = "t", key = ["id"] }"#), 2).await;
    for sql in server.statements() {
        let newer = ["OFFSET", "FETCH NEXT", "TRY_CAST", "CONCAT", "STRING_AGG", "NOLOCK"];
        assert!(newer.iter().all(|word| !sql.contains(word)), "{sql}");
    }
    assert!(server.statements().iter().any(|sql| sql.starts_with("SELECT TOP 3 [id] FROM [t]")));
}

/// Rows are written between the pages of a snapshot.
#[tokio::test]
async fn a_snapshot_is_one_state_of_the_database() {
    let server = server();
    server.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2), (3), (4);");
    let mut poller = snapshot(&server, "", r#"fetch = { from = "t", key = ["id"] }"#);
    let first = poller.fetch(Request::Snapshot { after: None }, 2).await.unwrap();
    server.execute("DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (0), (9);");
    let cursor = first.next.unwrap();
    let second = poller.fetch(Request::Snapshot { after: Some(&cursor) }, 10).await.unwrap();
    assert_eq!((first.records.len() + second.records.len(), second.counted), (4, Some(4)));
}

/// Without SNAPSHOT isolation the second COUNT tells that something changed.
#[tokio::test]
async fn a_torn_snapshot_does_not_agree_with_its_count() {
    let options = Options { snapshot_isolation: false, encryption: Encryption::NotSupported, ..Options::default() };
    let server = server_of(options);
    server.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2), (3), (4);");
    let mut poller = snapshot(&server, "", r#"fetch = { from = "t", key = ["id"] }"#);
    let first = poller.fetch(Request::Snapshot { after: None }, 2).await.unwrap();
    server.execute("INSERT INTO t VALUES (0)");
    let cursor = first.next.unwrap();
    let second = poller.fetch(Request::Snapshot { after: Some(&cursor) }, 10).await.unwrap();
    assert_eq!((first.records.len() + second.records.len(), second.counted), (4, Some(5)));
}

#[tokio::test]
async fn more_parents_than_one_query_may_have_parameters_are_asked_in_parts() {
    let server = server();
    server
        .execute("CREATE TABLE t (id int, a varchar(9), b varchar(9)); CREATE TABLE mx (a varchar(9), b varchar(9));");
    server.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO t SELECT i, 'a' || i, 'b' || i FROM n; INSERT INTO mx SELECT a, b FROM t;",
    );
    let stream = r#"
        fetch = { from = "t", key = ["id"], watermark = { column = "id", type = "number", lag = 0 } }
        children = [{ name = "mx", from = "mx", key = ["a", "b"], parent_key = ["a", "b"] }]"#;
    let mut poller = changes(&server, "", stream);
    let records = scan_changes(&mut *poller, &mut Watermark::start(), 1500).await;
    let whole = |record: &connector_api::Record| {
        record.document.as_ref().unwrap().root.get("mx").and_then(connector_api::Value::as_list).unwrap().len() == 1
    };
    assert!(records.len() == 1500 && records.iter().all(whole));
    let most = server.statements().iter().map(|sql| sql.matches("@P").count()).max();
    assert!(most.unwrap() <= 2098);
}

#[tokio::test]
async fn discover_lists_and_describes() {
    let server = server();
    server.execute(EVERY_TYPE);
    server.execute("CREATE VIEW v AS SELECT id, name FROM t;");
    let mut poller = changes(&server, "", BY_ID);
    let listed = poller.discover(None).await.unwrap();
    let names: Vec<(&str, &str)> = listed.iter().map(|one| (one.name.as_str(), one.kind.as_str())).collect();
    assert_eq!(names, [("t", "table"), ("v", "view")]);
    let described = poller.discover(Some("dbo.t")).await.unwrap();
    let types = |name: &str| described[0].columns.iter().find(|column| column.name == name).unwrap().type_name.clone();
    assert_eq!(types("exact"), "decimal(38,10)");
    assert_eq!(types("memo"), "varchar(max)");
    assert_eq!(types("version"), "rowversion");
    assert_eq!(described[0].columns[0].nullable, Some(false));
    server.execute("INSERT INTO t (id, name, price) VALUES (1, '张三', 1.5)");
    let sampled = poller.discover(Some("t")).await.unwrap();
    assert_eq!(sampled[0].sample.len(), 1);
    assert_eq!(sampled[0].sample[0].get("name").unwrap().as_text(), Some("张三"), "as a scan would read it");
    assert_eq!(poller.discover(Some("absent")).await.unwrap_err().class, FaultClass::Missing);
}

/// A broken view must not hide the tables beside it.
#[tokio::test]
async fn discover_goes_on_past_a_view_that_fails() {
    let server = server();
    server.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO b VALUES (1);");
    let message = "Could not use view because of binding errors.".to_owned();
    server.inject("FROM [a]", FaultKind::Error { number: 4413, class: 16, message });
    let listed = changes(&server, "", BY_ID).discover(None).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.rows).collect::<Vec<_>>(), [None, Some(1)]);
}

#[tokio::test]
async fn an_allowed_procedure_is_read_with_bound_parameters() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, kind nvarchar(9), at datetime2(3));
         INSERT INTO t VALUES (1, '体检', '2024-01-02 08:00:00'), (2, '体检', '2024-01-03 08:00:00'),
            (3, 'other', '2024-01-03 08:00:00'), (4, '体检', '2019-01-01 00:00:00'), (2, '体检', '2024-01-01 00:00:00');",
    );
    server.procedure("usp_bg", "SELECT id, kind, at FROM t WHERE at >= @since AND kind = @kind ORDER BY at");
    let stream = r#"
        fetch = { from = "dbo.usp_bg", key = ["id"], watermark = { column = "at", type = "timestamp", lag_secs = 60 } }
        procedure = { since = "@since", first = "2020-01-01", parameters = { "@kind" = "体检" } }"#;
    let allowed = r#"allow_procedures = ["dbo.usp_bg"]"#;
    let mut poller = changes(&server, allowed, stream);
    let probe = poller.probe().await.unwrap();
    assert!(probe.findings.iter().any(|finding| finding.contains("was not called")));
    let mut stored = Watermark::start();
    let records = scan_changes(&mut *poller, &mut stored, 1).await;
    let held: Vec<bool> = records.iter().map(|record| record.document.is_err()).collect();
    assert_eq!(held, [true, false], "two rows with one key are held");
    let again = scan_changes(&mut *poller, &mut stored, 10).await;
    assert_eq!(again.len(), 1, "from the newest on, less the lag");
    assert!(server.statements().iter().any(|sql| sql == "EXEC [dbo].[usp_bg] @since = @P1, @kind = @P2"));
    let absent = stream.replace("usp_bg", "usp_absent");
    let error = changes(&server, &allowed.replace("usp_bg", "usp_absent"), &absent).probe().await.unwrap_err();
    assert_eq!(error.class, FaultClass::Missing);
}

/// A sweep tells the procedure since when in the form that its result has.
#[tokio::test]
async fn a_procedure_is_told_a_window_in_the_form_of_its_watermark() {
    let server = server();
    server.execute(
        "CREATE TABLE t (id int, epoch bigint, digits varchar(14));
         INSERT INTO t VALUES (1, 1704155399, '20240102082959'), (2, 1704155400, '20240102083000');",
    );
    let since = chrono::NaiveDate::from_ymd_opt(2024, 1, 2).unwrap().and_hms_opt(8, 30, 0).unwrap();
    for (column, first, format) in [
        ("epoch", "1577808000", ", format = \"unix\""),
        ("epoch", "1577808000", ""),
        ("digits", "20200101000000", ", format = \"%Y%m%d%H%M%S\""),
        ("digits", "20200101000000", ""),
    ] {
        server.procedure("usp_bg", &format!("SELECT id, {column} FROM t WHERE {column} >= @since ORDER BY id"));
        let stream = format!(
            "fetch = {{ from = \"dbo.usp_bg\", key = [\"id\"], watermark = {{ column = \"{column}\", type = \"timestamp\", \
             lag_secs = 60{format} }} }}\nprocedure = {{ since = \"@since\", first = \"{first}\" }}"
        );
        let mut poller = changes(&server, r#"allow_procedures = ["dbo.usp_bg"]"#, &stream);
        let batch = poller.fetch(Request::Window { since, after: None }, 10).await.unwrap();
        let ids: Vec<_> = batch.records.iter().map(|record| record.document.as_ref().unwrap().root.get("id")).collect();
        assert_eq!(ids, [Some(&connector_api::Value::Integer(2))], "{column}{format}");
    }
}

/// The server's own memory, in this process, counts as well.
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_number_of_rows() {
    let rows = rows_to_read(20_000);
    let server = server();
    server.execute(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime, name nvarchar(300)); CREATE INDEX by_time ON t (at, id);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t SELECT i, datetime(1704067200 + i / 10, 'unixepoch'), printf('%0200d', i) FROM n;"
    ));
    let stream = r#"fetch = { from = "t", key = ["id"], watermark = { column = "at", type = "timestamp" } }"#;
    scan_within_bounds(&mut *changes(&server, "", stream), rows).await;
}
