//! What SQLite files in the field do, and what hisync makes of it.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::path::Path;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use connector_api::{Action, FaultClass, Poller, Record, Request, SourceError, Watermark};
use connector_sqlite::Sqlite;
use connector_testkit::conformance::{poller, scan_changes, scan_snapshot};
use connector_testkit::memory::{rows_to_read, scan_within_bounds};
use rusqlite::Connection;

const WATERMARK: &str = r#"{ column = "GXSJ", type = "timestamp", lag_secs = 60 }"#;

const SCHEMA: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE BG (TJBH TEXT, XM TEXT, GXSJ TEXT);
    CREATE TABLE MX (TJBH TEXT, JG TEXT);
    INSERT INTO BG VALUES ('1', 'a', '2024-01-02 08:00:00'), ('2', 'b', '2024-01-02 09:00:00');
    INSERT INTO MX VALUES ('1', 'x'), ('2', 'y')";

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(sql: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        site.database().execute_batch(sql).unwrap();
        site
    }

    fn database(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("source.db")
    }

    fn stream(&self, fetch: &str, rest: &str) -> Box<dyn Poller> {
        let mode = if fetch.contains("watermark") { "incremental" } else { "snapshot" };
        let source = format!(
            "[[sources]]\nid = \"s\"\n\
             settings = {{ path = \"source.db\", query_timeout_secs = 1, busy_timeout_secs = 0 }}\n\
             [[sources.streams]]\nid = \"it\"\nmode = \"{mode}\"\nfetch = {{ {fetch} }}\n{rest}"
        );
        poller::<Sqlite>(&source, self.folder.path(), "it")
    }

    fn reports(&self) -> Box<dyn Poller> {
        let children = r#"children = [{ name = "items", from = "MX", key = ["TJBH"] }]"#;
        self.stream(&format!(r#"from = "BG", key = ["TJBH"], watermark = {WATERMARK}"#), children)
    }
}

async fn first_page(poller: &mut dyn Poller) -> Result<usize, SourceError> {
    let start = Watermark::start();
    poller.fetch(Request::Changes { from: &start, after: None }, 100).await.map(|batch| batch.records.len())
}

fn check(error: &SourceError, class: FaultClass, retries: bool, hint: &str) {
    assert_eq!(error.class, class, "{}", error.chain());
    assert_eq!(matches!(error.action, Action::Retry { .. }), retries, "{}", error.chain());
    let told = error.hint.as_deref().unwrap_or_default();
    assert!(told.contains(hint), "{told:?} does not say {hint:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_stops_the_stream() {
    let site = Site::new("CREATE TABLE BG (x)");
    std::fs::write(site.path(), vec![7u8; 8192]).unwrap();
    check(&first_page(&mut *site.reports()).await.unwrap_err(), FaultClass::Data, false, "encrypted");
}

#[tokio::test]
async fn a_missing_table_or_column_is_named_with_its_neighbour() {
    let site = Site::new(SCHEMA);
    let mut table = site.stream(r#"from = "BGG", key = ["TJBH"]"#, "");
    check(&table.probe().await.unwrap_err(), FaultClass::Missing, false, r#"did you mean "BG"?"#);
    let mut column = site.stream(r#"from = "BG", key = ["TJBHH"]"#, "");
    check(&column.probe().await.unwrap_err(), FaultClass::Missing, false, r#"did you mean "TJBH"?"#);
    // An unknown name is never taken for a text.
    let error = column.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
    check(&error, FaultClass::Missing, false, "discover");
    let mut clash =
        site.stream(r#"from = "BG", key = ["TJBH"]"#, r#"children = [{ name = "XM", from = "MX", key = ["TJBH"] }]"#);
    check(&clash.probe().await.unwrap_err(), FaultClass::Other, false, "another name");
    let error = clash.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
    check(&error, FaultClass::Other, false, "another name");
}

#[tokio::test]
async fn the_database_is_never_written_to() {
    let site = Site::new(SCHEMA);
    drop(site.database().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let before = std::fs::read(site.path()).unwrap();
    let mut poller = site.reports();
    poller.probe().await.unwrap();
    poller.discover(None).await.unwrap();
    assert_eq!(first_page(&mut *poller).await.unwrap(), 2);
    assert_eq!(std::fs::read(site.path()).unwrap(), before);
}

#[tokio::test]
async fn a_snapshot_sees_one_state_while_others_write() {
    let site = Site::new(SCHEMA);
    let writer = site.database();
    let mut poller = site.stream(r#"from = "BG", key = ["TJBH"]"#, "");
    let first = poller.fetch(Request::Snapshot { after: None }, 1).await.unwrap();
    writer.execute_batch("DELETE FROM BG WHERE TJBH = '2'; INSERT INTO BG VALUES ('3', 'c', NULL)").unwrap();
    let last = poller.fetch(Request::Snapshot { after: first.next.as_ref() }, 10).await.unwrap();
    assert_eq!((last.records.len(), last.counted), (1, Some(2)));
    assert_eq!(scan_snapshot(&mut *poller, 10).await.1, Some(2), "the next snapshot sees the new state");
}

#[tokio::test]
async fn a_file_that_is_replaced_is_seen() {
    let site = Site::new(SCHEMA);
    let mut poller = site.reports();
    let mut stored = Watermark::start();
    scan_changes(&mut *poller, &mut stored, 10).await;
    let copy = site.folder.path().join("copy.db");
    let new = SCHEMA.replace("WAL", "DELETE").replace("'2', 'b', '2024-01-02 09", "'3', 'c', '2024-01-02 10");
    Connection::open(&copy).unwrap().execute_batch(&new).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", site.path().display()));
    }
    std::fs::rename(&copy, site.path()).unwrap();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 10).await.len(), 1);
}

#[tokio::test]
async fn a_locked_file_is_tried_again() {
    let site = Site::new("CREATE TABLE BG (TJBH TEXT, GXSJ TEXT); CREATE TABLE MX (TJBH TEXT)");
    let writer = site.database();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut poller = site.reports();
    check(&first_page(&mut *poller).await.unwrap_err(), FaultClass::Timeout, true, "locks the file");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(first_page(&mut *poller).await.unwrap(), 0);
}

#[tokio::test]
async fn a_query_without_end_is_stopped() {
    let site = Site::new(
        "CREATE VIEW V AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS k FROM n",
    );
    let mut poller = site.stream(r#"from = "V", key = ["k"]"#, "");
    let error = poller.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
    check(&error, FaultClass::Timeout, true, "query_timeout_secs");
}

#[tokio::test]
async fn a_probe_says_what_a_person_should_know() {
    let site = Site::new(SCHEMA);
    site.database()
        .execute_batch("INSERT INTO BG VALUES ('3', 'c', NULL), ('4', 'd', ''), ('5', 'e', '9999-01-01 00:00:00')")
        .unwrap();
    let probe = site.reports().probe().await.unwrap();
    assert_eq!(probe.newest.as_deref(), Some("2024-01-02 09:00:00"));
    assert!(probe.server.unwrap().starts_with("SQLite 3."));
    let findings = probe.findings.join("\n");
    for said in ["\"BG\" has 5 rows", "2 rows have no \"GXSJ\"", "in the future", "\"MX\" has the columns"] {
        assert!(findings.contains(said), "{said:?} is not in {findings}");
    }
}

#[tokio::test]
async fn a_timestamp_that_nobody_can_read_stops_the_stream_before_anything_is_lost() {
    let site = Site::new(&SCHEMA.replace("2024-01-02", "2 Jan 24"));
    let mut poller = site.reports();
    check(&first_page(&mut *poller).await.unwrap_err(), FaultClass::Data, false, "format");
    check(&poller.probe().await.unwrap_err(), FaultClass::Data, false, "format");
}

#[tokio::test]
async fn a_first_page_of_zero_dates_stops_nothing() {
    let site = Site::new(SCHEMA);
    site.database().execute_batch("INSERT INTO BG VALUES ('0', 'z', '0000-00-00 00:00:00')").unwrap();
    let mut stored = Watermark::start();
    assert_eq!(scan_changes(&mut *site.reports(), &mut stored, 1).await.len(), 3);
    assert!(!stored.is_start());
}

#[tokio::test]
async fn a_row_in_the_future_does_not_hide_the_rows_behind_it() {
    for limit in [1, 2, 100] {
        let site = Site::new(SCHEMA);
        let database = site.database();
        let later = "INSERT INTO BG VALUES (?, 'x', datetime('now', '+8 hours', ?))";
        database.execute(later, ["3", "+10 hours"]).unwrap();
        database.execute_batch("INSERT INTO BG VALUES ('4', 'y', '9999-12-31 00:00:00')").unwrap();
        let mut poller = site.reports();
        let mut stored = Watermark::start();
        assert_eq!(scan_changes(&mut *poller, &mut stored, limit).await.len(), 4, "they are read all the same");
        assert_eq!(stored.columns()[0].as_text(), Some("2024-01-02 09:00:00"), "in pages of {limit}");
        // Committed late, stamped behind what was read already.
        database.execute(later, ["5", "-30 seconds"]).unwrap();
        let found = scan_changes(&mut *poller, &mut stored, limit).await;
        assert_eq!(found.len(), 4, "the newest one again, the late one and those ahead, in pages of {limit}");
        assert_eq!(stored.columns()[1].as_text(), Some("5"), "the watermark goes on in pages of {limit}");
    }
}

/// What stamps by the hospital's wall is vouched for, whatever the machine's own zone is.
#[tokio::test]
async fn the_last_hours_of_the_hospitals_wall_are_read_once() {
    let site = Site::new(SCHEMA);
    let now = "INSERT INTO BG VALUES ('3', 'x', datetime('now', '+8 hours'))";
    site.database().execute(now, []).unwrap();
    let stamp: String = site.database().query_row("SELECT max(GXSJ) FROM BG", [], |row| row.get(0)).unwrap();
    let mut poller = site.reports();
    let mut stored = Watermark::start();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 10).await.len(), 3);
    assert_eq!(stored.columns()[0].as_text(), Some(&*stamp));
    let probe = poller.probe().await.unwrap();
    assert!(probe.findings.iter().all(|finding| !finding.contains("future")), "{:?}", probe.findings);
}

/// So it is where the hospital's zone in the configuration is not the one in which the source stamps.
#[tokio::test]
async fn a_clock_that_is_behind_the_rows_does_not_stop_the_watermark() {
    let site = Site::new(SCHEMA);
    let ahead = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
        INSERT INTO BG SELECT 'n' || i, 'x', datetime('now', '+16 hours', -i || ' minutes') FROM n";
    site.database().execute_batch(ahead).unwrap();
    let mut stored = Watermark::start();
    let mut poller = site.reports();
    assert_eq!(scan_changes(&mut *poller, &mut stored, 1).await.len(), 62);
    assert_eq!(stored.columns()[0].as_text(), Some("2024-01-02 09:00:00"), "as far as the clock vouches for it");
    assert_eq!(scan_changes(&mut *poller, &mut stored, 1).await.len(), 61, "what is ahead is read again");
}

#[tokio::test]
async fn a_window_reads_what_changed_since_and_moves_nothing() {
    let site = Site::new(SCHEMA);
    site.database().execute_batch("INSERT INTO BG VALUES ('3', 'c', '2024-01-02 09:00:00'), ('4', 'd', NULL)").unwrap();
    let mut poller = site.reports();
    let since = NaiveDate::from_ymd_opt(2024, 1, 2).unwrap().and_hms_opt(8, 30, 0).unwrap();
    let first = poller.fetch(Request::Window { since, after: None }, 1).await.unwrap();
    assert_eq!((first.records.len(), first.advance), (1, None));
    let rest = poller.fetch(Request::Window { since, after: first.next.as_ref() }, 10).await.unwrap();
    assert_eq!((rest.records.len(), rest.advance, rest.next), (1, None, None));
    assert_eq!(times(&*poller, &first.records), [Some(since + TimeDelta::minutes(30))]);
    let mut snapshot = site.stream(r#"from = "BG", key = ["TJBH"]"#, "");
    let error = snapshot.fetch(Request::Window { since, after: None }, 1).await.unwrap_err();
    check(&error, FaultClass::Other, false, "watermark");
}

/// Stamps that say in which zone they are: a window that starts at half past eight on the hospital's wall starts at
/// half past midnight in UTC.
#[tokio::test]
async fn a_window_starts_on_the_hospitals_wall_however_the_column_counts_time() {
    let forms = [
        ("unixepoch(t)", "type = \"timestamp\", format = \"unix\""),
        ("unixepoch(t) * 1000", "type = \"timestamp\", format = \"unix-millis\""),
        ("strftime('%Y-%m-%dT%H:%M:%SZ', t)", "type = \"timestamp\""),
        ("datetime(t, '+8 hours')", "type = \"timestamp\""),
    ];
    for (form, kind) in forms {
        let site = Site::new(&format!(
            "CREATE TABLE U (t TEXT); INSERT INTO U VALUES ('2024-01-02 00:29:59'), ('2024-01-02 00:30:00');
             CREATE TABLE BG AS SELECT rowid AS TJBH, {form} AS GXSJ FROM U"
        ));
        let watermark = format!("{{ column = \"GXSJ\", lag_secs = 60, {kind} }}");
        let mut poller = site.stream(&format!(r#"from = "BG", key = ["TJBH"], watermark = {watermark}"#), "");
        let since = NaiveDate::from_ymd_opt(2024, 1, 2).unwrap().and_hms_opt(8, 30, 0).unwrap();
        let found = poller.fetch(Request::Window { since, after: None }, 10).await.unwrap();
        assert_eq!(times(&*poller, &found.records), [Some(since)], "{form}");
    }
}

/// When a window finds the records, on the hospital's wall.
fn times(poller: &dyn Poller, records: &[Record]) -> Vec<Option<NaiveDateTime>> {
    records.iter().map(|record| poller.time_of(record.document.as_ref().unwrap())).collect()
}

#[tokio::test]
async fn child_rows_that_match_no_parent_stop_the_stream() {
    let site = Site::new(
        "CREATE TABLE P (k TEXT); CREATE TABLE C (k INTEGER, v TEXT);
        INSERT INTO P VALUES ('007'); INSERT INTO C VALUES (7, 'x')",
    );
    let mut poller =
        site.stream(r#"from = "P", key = ["k"]"#, r#"children = [{ name = "items", from = "C", key = ["k"] }]"#);
    let error = poller.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
    check(&error, FaultClass::Data, false, "written differently");
}

#[tokio::test]
async fn many_parents_and_keys_of_two_columns_are_read_in_chunks() {
    let site = Site::new(
        "CREATE TABLE P (a INTEGER, b TEXT); CREATE TABLE C (a INTEGER, b TEXT, v INTEGER);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO P SELECT i, 'k' || i FROM n;
         INSERT INTO C SELECT a, b, 10 * a FROM P; INSERT INTO C SELECT a, b, 10 * a + 1 FROM P",
    );
    let mut poller = site.stream(
        r#"from = "P", key = ["a", "b"]"#,
        r#"children = [{ name = "items", from = "C", key = ["a", "b"], order_by = ["v"], columns = ["v"] }]"#,
    );
    let (records, counted) = scan_snapshot(&mut *poller, 1000).await;
    assert_eq!((records.len(), counted), (1500, Some(1500)));
    for record in &records {
        let items = record.document.as_ref().unwrap().root.get("items").unwrap().as_list().unwrap();
        assert_eq!(items.len(), 2);
    }
}

#[tokio::test]
async fn discover_lists_and_describes() {
    let site = Site::new(SCHEMA);
    site.database()
        .execute_batch("CREATE VIEW 视图 AS SELECT * FROM BG; CREATE VIEW broken AS SELECT * FROM gone")
        .unwrap();
    let mut poller = site.reports();
    let all = poller.discover(None).await.unwrap();
    let listed: Vec<_> = all.iter().map(|table| (table.name.as_str(), table.kind.as_str(), table.rows)).collect();
    let expected =
        [("BG", "table", Some(2)), ("MX", "table", Some(2)), ("broken", "view", None), ("视图", "view", Some(2))];
    assert_eq!(listed, expected);
    let one = poller.discover(Some("BG")).await.unwrap();
    let columns: Vec<_> = one[0].columns.iter().map(|column| (&*column.name, &*column.type_name)).collect();
    assert_eq!(columns, [("TJBH", "TEXT"), ("XM", "TEXT"), ("GXSJ", "TEXT")]);
    assert_eq!((one[0].rows, one[0].sample.len()), (Some(2), 2));
    assert_eq!(one[0].sample[0].get("XM").and_then(connector_api::Value::as_text), Some("a"));
    check(&poller.discover(Some("BH")).await.unwrap_err(), FaultClass::Missing, false, "");
}

#[test]
fn the_schema_names_every_key_and_allows_no_other() {
    let schema = serde_json::to_value(schemars::schema_for!(connector_sql::TableStream)).unwrap();
    for table in [&schema, &schema["$defs"]["Child"], &schema["$defs"]["Fetch"], &schema["$defs"]["WatermarkSettings"]]
    {
        assert_eq!(table["additionalProperties"], false, "{table}");
    }
    assert!(schema["$defs"]["Child"]["properties"]["children"].is_object());
}

#[test]
fn unknown_keys_are_refused() {
    let path = Path::new(".");
    let source = "[[sources]]\nid = \"s\"\nsettings = { path = \"a\", pth = 1 }\n";
    assert!(connector_testkit::conformance::load_source::<Sqlite>(source, path).is_err());
}

impl Site {
    /// A stream of `BG` with another watermark, and what it has stored after its first scan.
    async fn scanned(&self, watermark: &str) -> (Box<dyn Poller>, Watermark) {
        let fetch = format!(r#"from = "BG", key = ["TJBH"], watermark = {watermark}"#);
        let (mut poller, mut stored) = (self.stream(&fetch, ""), Watermark::start());
        scan_changes(&mut *poller, &mut stored, 10).await;
        assert!(!stored.is_start());
        (poller, stored)
    }

    fn execute(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }
}

#[tokio::test]
async fn a_table_that_had_rows_and_has_none_is_an_error_until_it_has_some() {
    let site = Site::new(SCHEMA);
    let (mut poller, mut stored) = site.scanned(WATERMARK).await;
    site.execute("CREATE TABLE away AS SELECT * FROM BG; DELETE FROM BG");
    let error = poller.fetch(Request::Changes { from: &stored, after: None }, 10).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Data, Action::Retry { after: None }));
    assert!(error.hint.unwrap().contains("may_be_empty"));
    let fetch = format!(r#"from = "BG", key = ["TJBH"], may_be_empty = true, watermark = {WATERMARK}"#);
    let mut lenient = site.stream(&fetch, "");
    assert!(lenient.fetch(Request::Changes { from: &stored, after: None }, 10).await.unwrap().records.is_empty());
    // Rows that the scan does not reach are rows.
    site.execute("INSERT INTO BG VALUES ('0', 'z', '2024-01-01 08:00:00')");
    assert!(scan_changes(&mut *poller, &mut stored, 10).await.is_empty());
    site.execute("INSERT INTO BG SELECT * FROM away");
    assert_eq!(scan_changes(&mut *poller, &mut stored, 10).await.len(), 1);
}

#[tokio::test]
async fn a_watermark_in_the_future_of_a_clock_that_was_set_right_hides_nothing() {
    let site = Site::new(SCHEMA);
    let (mut poller, _) = site.scanned(WATERMARK).await;
    for undated in [0, 3] {
        for page in [1, 2, 10] {
            let sql = "DELETE FROM BG WHERE GXSJ IS NULL";
            site.execute(sql);
            for at in 0..undated {
                site.execute(&format!("INSERT INTO BG VALUES ('u{at}', 'u', NULL)"));
            }
            // The source's clock was in 2099 when this was stored.
            let mut stored = Watermark::at(vec!["2099-01-01 08:00:00".into(), "9".into()]);
            assert_eq!(scan_changes(&mut *poller, &mut stored, page).await.len(), 2 + undated);
            assert_eq!(stored.columns()[0], "2024-01-02 09:00:00".into(), "it went back to what can be vouched for");
            assert_eq!(scan_changes(&mut *poller, &mut stored, page).await.len(), 1 + undated);
        }
    }
}

#[tokio::test]
async fn a_sequence_that_begins_anew_is_read_from_its_beginning() {
    for (watermark, type_name) in [
        (r#"{ column = "XM", type = "number", lag = 2 }"#, "INTEGER"),
        (r#"{ column = "XM", type = "text", lag = 2 }"#, "TEXT"),
    ] {
        let site = Site::new(&format!("CREATE TABLE BG (TJBH TEXT, XM {type_name});"));
        site.execute("INSERT INTO BG VALUES ('a', 107), ('b', 108), ('c', 109)");
        let (mut poller, mut stored) = site.scanned(watermark).await;
        // The newest row is gone, as a registration that was cancelled, and within the lag nothing is amiss.
        site.execute("DELETE FROM BG WHERE TJBH = 'c'");
        let again = scan_changes(&mut *poller, &mut stored, 10).await.len();
        assert_eq!(again, 2, "{type_name}");
        // Restored from a backup, the source counts on from there.
        site.execute("DELETE FROM BG; INSERT INTO BG VALUES ('a', 101), ('n', 102), ('u', NULL)");
        assert_eq!(scan_changes(&mut *poller, &mut stored, 1).await.len(), 3, "{type_name}");
        site.execute("INSERT INTO BG VALUES ('m', 103)");
        let records = scan_changes(&mut *poller, &mut stored, 10).await;
        assert!(records.iter().any(|record| record.raw.body.starts_with(b"{\"TJBH\":\"m\"")), "{type_name}");
    }
}

/// A number that begins anew each year, or each day, and rows of the year before that are committed after that.
#[tokio::test]
async fn a_counter_below_another_column_loses_no_row_that_is_committed_late() {
    for (watermark, type_name, number) in [
        (r#"{ column = "NF", then = ["XH"], type = "number", lag = 3 }"#, "INTEGER", "'2023'"),
        (r#"{ column = "NF", then = ["XH"], type = "text", lag = 3 }"#, "TEXT", "'2023-12-31'"),
    ] {
        let site = Site::new(&format!("CREATE TABLE BG (TJBH TEXT, NF TEXT, XH {type_name})"));
        let later = number.replace("2023", "2024");
        // Text is of fixed width, so that it sorts as its number does.
        let row = |series: &str, at: u32| {
            format!("INSERT INTO BG VALUES ('k' || {series} || '-{at}', {series}, printf('%04d', {at}));")
        };
        (995..=998).chain([1000]).for_each(|at| site.execute(&row(number, at)));
        let (mut poller, mut stored) = site.scanned(watermark).await;
        assert_eq!(scan_changes(&mut *poller, &mut stored, 10).await.len(), 3, "997 on, {type_name}");
        site.execute(&row(&later, 1));
        for page in [1, 2, 10] {
            let mut again = stored.clone();
            assert_eq!(scan_changes(&mut *poller, &mut again, page).await.len(), 4, "pages of {page}, {type_name}");
        }
        scan_changes(&mut *poller, &mut stored, 1).await;
        assert_eq!(stored.columns().len(), 3);
        // A number of the last year, given out before and committed after the first of this year.
        site.execute(&row(number, 999));
        let found = scan_changes(&mut *poller, &mut stored, 2).await;
        let late = |record: &Record| String::from_utf8_lossy(&record.raw.body).contains("-999\"");
        assert!(found.iter().any(late), "{type_name}");
        assert_eq!(found.len(), 7, "the last year whole, and this one's first, {type_name}");
        (2..=4).for_each(|at| site.execute(&row(&later, at)));
        scan_changes(&mut *poller, &mut stored, 2).await;
        assert_eq!(
            scan_changes(&mut *poller, &mut stored, 2).await.len(),
            4,
            "beyond the lag, this year alone, {type_name}"
        );
    }
}

#[tokio::test]
async fn a_watermark_of_other_columns_than_before_is_refused() {
    let site =
        Site::new("CREATE TABLE BG (TJBH TEXT, RQ TEXT, SJ TEXT); INSERT INTO BG VALUES ('1', '2024-01-02', '08:00')");
    let (_, stored) = site.scanned(r#"{ column = "RQ", type = "timestamp" }"#).await;
    let fetch = r#"from = "BG", key = ["TJBH"], watermark = { column = "RQ", then = ["SJ"], type = "timestamp" }"#;
    let mut poller = site.stream(fetch, "");
    let error = poller.fetch(Request::Changes { from: &stored, after: None }, 10).await.unwrap_err();
    check(&error, FaultClass::Data, false, "columns or type changed");
    // Two columns that are no day and no time of day.
    let mut wrong = site.stream(&fetch.replace("\"SJ\"", "\"TJBH\""), "");
    check(&first_page(&mut *wrong).await.unwrap_err(), FaultClass::Data, false, "then");
    let probe = poller.probe().await.unwrap();
    assert_eq!(probe.newest.as_deref(), Some("2024-01-02 08:00"));
}

#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_rows() {
    let rows = rows_to_read(50_000);
    let site = Site::new(&format!(
        "CREATE TABLE BG (TJBH TEXT PRIMARY KEY, XM TEXT, GXSJ TEXT); CREATE INDEX by_time ON BG (GXSJ, TJBH);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO BG SELECT printf('%08d', i), printf('%0200d', i), datetime(1704067200 + i / 10, 'unixepoch') FROM n"
    ));
    let fetch = format!(r#"from = "BG", key = ["TJBH"], watermark = {WATERMARK}"#);
    scan_within_bounds(&mut *site.stream(&fetch, ""), rows).await;
}
