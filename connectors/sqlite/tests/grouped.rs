//! Flat views: rows that share a key are one record.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use chrono::NaiveDate;
use connector_api::{Action, FaultClass, Map, Poller, Record, Request, Value, Watermark};
use connector_sqlite::Sqlite;
use connector_testkit::conformance::{load_source, poller, scan_changes, scan_snapshot};
use rusqlite::{Connection, params};

const FETCH: &str = r#"fetch = { from = "V", key = ["TJBH"], group = true, order_by = ["XH"]"#;

struct Site {
    folder: tempfile::TempDir,
    database: Connection,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let database = Connection::open(folder.path().join("source.db")).unwrap();
        database.execute_batch("CREATE TABLE V (TJBH TEXT, XH INTEGER, JG TEXT, GXSJ TEXT)").unwrap();
        Site { folder, database }
    }

    /// Units of that many rows each; a unit's rows are stamped one second after the other.
    fn fill(&self, units: u32, rows: u32) {
        self.database.execute_batch("BEGIN").unwrap();
        for unit in 0..units {
            for row in 0..rows {
                let stamp = format!("2024-01-02 08:{:02}:{:02}", row % 60, unit % 60);
                self.add(&format!("{unit:04}"), rows - row, "x", &stamp);
            }
        }
        self.database.execute_batch("COMMIT").unwrap();
    }

    fn add(&self, key: &str, order: u32, result: &str, stamp: &str) {
        self.database.execute("INSERT INTO V VALUES (?, ?, ?, ?)", params![key, order, result, stamp]).unwrap();
    }

    fn source(&self) -> String {
        format!(
            "[[sources]]\nid = \"s\"\nsettings = {{ path = \"source.db\" }}\n\
             [[sources.streams]]\nid = \"all\"\nmode = \"snapshot\"\n{FETCH} }}\n\
             [[sources.streams]]\nid = \"changes\"\nmode = \"incremental\"\n\
             {FETCH}, watermark = {{ column = \"GXSJ\", type = \"timestamp\", lag_secs = 0 }} }}\n"
        )
    }

    fn open(&self, stream: &str) -> Box<dyn Poller> {
        poller::<Sqlite>(&self.source(), self.folder.path(), stream)
    }
}

fn unit(record: &Record) -> (String, Vec<Map>) {
    let root = &record.document.as_ref().unwrap().root;
    let rows = root.get("rows").unwrap().as_list().unwrap().iter();
    let key = root.get("TJBH").unwrap().as_text().unwrap().to_owned();
    (key, rows.map(|row| row.as_map().unwrap().clone()).collect())
}

#[tokio::test]
async fn a_snapshot_has_each_unit_once_and_whole_whatever_the_pages() {
    let site = Site::new();
    site.fill(7, 5);
    for limit in [1, 2, 4, 5, 6, 34, 35, 36, 1000] {
        let (records, counted) = scan_snapshot(&mut *site.open("all"), limit).await;
        assert_eq!(counted, Some(records.len() as u64), "pages of {limit}");
        let units: Vec<_> = records.iter().map(unit).collect();
        let keys: Vec<&str> = units.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["0000", "0001", "0002", "0003", "0004", "0005", "0006"], "pages of {limit}");
        for (_, rows) in units {
            let order: Vec<_> = rows.iter().map(|row| row.get("XH").cloned()).collect();
            assert_eq!(order, [1, 2, 3, 4, 5].map(|at| Some(Value::Integer(at))), "in the order that was asked for");
        }
    }
}

#[tokio::test]
async fn one_changed_row_brings_its_whole_unit() {
    let site = Site::new();
    site.fill(4, 3);
    let mut poller = site.open("changes");
    let mut stored = Watermark::start();
    let all = scan_changes(&mut *poller, &mut stored, 2).await;
    assert!(all.iter().all(|record| unit(record).1.len() == 3), "no page has a part of a unit");
    site.add("0002", 9, "late", "2024-01-02 09:00:00");
    let found: Vec<_> = scan_changes(&mut *poller, &mut stored, 100).await.iter().map(unit).collect();
    let (_, rows) = found.iter().find(|(key, _)| key == "0002").unwrap();
    assert_eq!(rows.len(), 4);
    let since = NaiveDate::from_ymd_opt(2024, 1, 2).unwrap().and_hms_opt(8, 30, 0).unwrap();
    let window = poller.fetch(Request::Window { since, after: None }, 100).await.unwrap();
    assert_eq!(window.records.iter().map(|record| unit(record).1.len()).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn equal_units_have_equal_bytes_however_they_were_paged() {
    let site = Site::new();
    site.fill(5, 4);
    // Rows that tie in the order that was asked for.
    site.add("0001", 4, "b", "2024-01-02 08:00:01");
    site.add("0001", 4, "a", "2024-01-02 08:00:01");
    let bytes = |records: Vec<Record>| records.iter().map(|record| record.raw.digest()).collect::<Vec<_>>();
    let first = bytes(scan_snapshot(&mut *site.open("all"), 3).await.0);
    assert_eq!(first, bytes(scan_snapshot(&mut *site.open("all"), 100).await.0));
}

#[tokio::test]
async fn large_units_are_read_a_few_at_a_time_and_a_key_of_nothing_is_held() {
    let site = Site::new();
    site.fill(9, 2000);
    site.database.execute_batch("INSERT INTO V SELECT NULL, XH, JG, GXSJ FROM V LIMIT 3").unwrap();
    let mut poller = site.open("all");
    let mut after = None;
    let (mut units, mut held) = (0, 0);
    loop {
        let batch = poller.fetch(Request::Snapshot { after: after.as_ref() }, 18_000).await.unwrap();
        let rows: usize = batch.records.iter().map(|record| record.raw.body.len()).sum();
        assert!(rows < 1_000_000, "a page stays small: {rows} bytes");
        for record in &batch.records {
            match &record.document {
                Ok(_) => units += usize::from(unit(record).1.len() == 2000),
                Err(failure) => held += usize::from(failure.code == "null-key"),
            }
        }
        match batch.next {
            Some(next) => after = Some(next),
            None => {
                assert_eq!((units, held, batch.counted), (9, 1, Some(10)));
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_names_nothing_that_belongs_together_is_held_in_part() {
    let site = Site::new();
    site.fill(1, 20_001);
    site.fill(2, 1);
    let (records, counted) = scan_snapshot(&mut *site.open("all"), 100).await;
    assert_eq!((records.len(), counted), (2, Some(2)));
    let failure = records[0].document.as_ref().unwrap_err();
    assert_eq!(failure.code, "unit-too-large");
    let decoder = load_source::<Sqlite>(&site.source(), site.folder.path()).unwrap().decoder;
    assert_eq!(decoder.decode(&records[0].raw).unwrap_err(), *failure, "it is held again from the archive");
}

#[tokio::test]
async fn an_undecodable_row_holds_its_unit_and_no_other() {
    let site = Site::new();
    site.fill(3, 2);
    site.database.execute_batch("UPDATE V SET JG = CAST(x'ff' AS TEXT) WHERE TJBH = '0001' AND XH = 1").unwrap();
    let (records, counted) = scan_snapshot(&mut *site.open("all"), 2).await;
    assert_eq!((records.len(), counted), (3, Some(3)));
    let held: Vec<bool> = records.iter().map(|record| record.document.is_err()).collect();
    assert_eq!(held, [false, true, false]);
}

#[tokio::test]
async fn whether_two_spellings_are_one_unit_is_the_sources_decision() {
    for (collation, expected) in [("BINARY", 2), ("NOCASE", 1)] {
        let site = Site::new();
        let table = format!("DROP TABLE V; CREATE TABLE V (TJBH TEXT COLLATE {collation}, XH INTEGER, JG, GXSJ)");
        site.database.execute_batch(&table).unwrap();
        site.add("a1", 1, "x", "2024-01-02 08:00:00");
        site.add("A1", 2, "y", "2024-01-02 08:00:00");
        for limit in [1, 2, 10] {
            let (records, counted) = scan_snapshot(&mut *site.open("all"), limit).await;
            assert_eq!((records.len(), counted), (expected, Some(expected as u64)), "{collation}, pages of {limit}");
        }
    }
}

#[tokio::test]
async fn what_all_rows_say_alike_is_the_records_and_what_they_disagree_on_is_not() {
    let site = Site::new();
    site.database.execute_batch("DROP TABLE V; CREATE TABLE V (TJBH, XM, XH, JG)").unwrap();
    let rows = [("1", "a", 1, "x"), ("1", "a", 2, "y"), ("2", "a", 1, "x"), ("2", "b", 2, "x"), ("3", "c", 1, "z")];
    for row in rows {
        site.database.execute("INSERT INTO V VALUES (?, ?, ?, ?)", row).unwrap();
    }
    let (records, _) = scan_snapshot(&mut *site.open("all"), 10).await;
    let names: Vec<Vec<&str>> =
        records.iter().map(|record| record.document.as_ref().unwrap().root.names().collect()).collect();
    assert_eq!(names, [vec!["TJBH", "XM", "rows"], vec!["TJBH", "JG", "rows"], vec!["TJBH", "XM", "XH", "JG", "rows"]]);
}

/// As where a key is a float, or text that the source's character set can't hold.
#[tokio::test]
async fn a_key_that_is_not_found_again_is_an_error_and_never_passed_over() {
    let site = Site::new();
    site.database
        .execute_batch("DROP TABLE V; CREATE VIEW V AS SELECT random() AS TJBH, 1 AS XH, '2024-01-02 08:00:00' AS GXSJ")
        .unwrap();
    let start = Watermark::start();
    for (stream, request) in
        [("changes", Request::Changes { from: &start, after: None }), ("all", Request::Snapshot { after: None })]
    {
        let error = site.open(stream).fetch(request, 10).await.unwrap_err();
        assert_eq!(error.class, FaultClass::Data, "{}", error.chain());
        assert!(matches!(error.action, Action::Retry { .. }), "a row that was deleted meanwhile is no fault");
        assert!(error.hint.unwrap().contains("cast the key"));
    }
}

#[test]
fn an_order_without_a_group_is_refused() {
    let source = Site::new().source().replace("group = true, ", "");
    let problems = load_source::<Sqlite>(&source, std::path::Path::new(".")).err().unwrap();
    assert!(problems.iter().all(|problem| problem.path.ends_with("fetch.order_by")), "{problems:?}");
}
