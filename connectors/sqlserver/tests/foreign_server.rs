//! The connector against pysqlbridge: a TDS server with an SQL engine of its own, written by others
//! and measured against SQL Server 2025. It serves CSV files read only, knows no decimals, no
//! rowversion, no varchar and no SNAPSHOT isolation.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use connector_api::{Action, FaultClass, Poller, Watermark};
use connector_sqlserver::SqlServer;
use connector_testkit::conformance::{poller, rows, scan_changes, scan_snapshot};

struct Bridge {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bridge() -> Bridge {
    let python = std::env::var("HISYNC_PYTHON").expect("HISYNC_PYTHON: see scripts/test");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "parent.csv",
        "key_no,stamp,name\nA1,2024-01-02 08:00:00,张三\nA2,2024-01-02 08:00:09,李四𠮷\nA3,2024-01-02 08:00:09,王五\n",
    );
    write("child.csv", "key_no,item\nA1,x\nA1,y\nA3,z\n");
    write("reader", "s3cret");
    write("wrong", "guess");
    write(
        "bridge.json",
        r#"{ "tables": [ { "name": "parent", "csv": "parent.csv" }, { "name": "child", "csv": "child.csv" } ],
             "logins": [ { "user": "reader", "password": "s3cret" } ] }"#,
    );
    let program = Path::new(&python).with_file_name("pysqlbridge");
    let mut command = Command::new(program);
    command.args(["--port", "0", "--config", "bridge.json"]).current_dir(folder.path());
    let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("see scripts/test");
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let port = lines.find_map(|line| line.unwrap().rsplit_once("listening on 127.0.0.1:")?.1.trim().parse().ok());
    // What it says later must have somewhere to go.
    std::thread::spawn(move || lines.for_each(drop));
    Bridge { process, port: port.expect("it listens"), folder }
}

fn stream(bridge: &Bridge, more: &str, password: &str, mode: &str, table: &str) -> Box<dyn Poller> {
    let watermark = match mode {
        "snapshot" => "",
        _ => r#", watermark = { column = "stamp", type = "timestamp", lag_secs = 5 }"#,
    };
    let text = format!(
        r#"
        [[sources]]
        id = "s"
        connector = "sqlserver"
        [sources.settings]
        host = "127.0.0.1"
        port = {}
        database = "pysqlbridge"
        user = "reader"
        password = {{ file = "{password}" }}
        trust = "any"
        {more}
        [[sources.streams]]
        id = "s"
        mode = "{mode}"
        fetch = {{ from = "{table}", key = ["key_no"]{watermark} }}
        children = [{{ name = "items", from = "dbo.child", key = ["key_no"], order_by = ["item"] }}]
        "#,
        bridge.port
    );
    poller::<SqlServer>(&text, bridge.folder.path(), "s")
}

#[tokio::test]
async fn a_foreign_server_is_read_with_and_without_encryption_of_all() {
    let bridge = bridge();
    for more in ["", "encryption = \"login-only\""] {
        let mut changes = stream(&bridge, more, "reader", "incremental", "parent");
        let probe = changes.probe().await.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(probe.newest.is_some_and(|newest| newest.contains("08:00:09")), "{:?}", probe.findings);
        for limit in [1, 2, 10] {
            let mut stored = Watermark::start();
            let found = rows(&scan_changes(&mut *changes, &mut stored, limit).await);
            let names: Vec<(&str, usize)> = found.iter().map(|row| (row.name.as_str(), row.items.len())).collect();
            assert_eq!(names, [("张三", 2), ("李四𠮷", 0), ("王五", 1)], "pages of {limit}");
            let again = scan_changes(&mut *changes, &mut stored, limit).await;
            assert_eq!(again.len(), 2, "from the watermark less the lag");
        }
        let mut whole = stream(&bridge, more, "reader", "snapshot", "dbo.parent");
        let (records, counted) = scan_snapshot(&mut *whole, 2).await;
        assert_eq!((records.len(), counted), (3, Some(3)));
    }
}

#[tokio::test]
async fn a_foreign_server_refuses_in_the_same_classes() {
    let bridge = bridge();
    let error = stream(&bridge, "", "wrong", "incremental", "parent").probe().await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Login, Action::Stop), "{}", error.chain());
    let error = stream(&bridge, "", "reader", "incremental", "parents").probe().await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Stop), "{}", error.chain());
    assert!(error.hint.unwrap().contains("parent"));
    let missing = Watermark::start();
    let mut absent = stream(&bridge, "", "reader", "incremental", "absent");
    let request = connector_api::Request::Changes { from: &missing, after: None };
    let error = absent.fetch(request, 10).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Stop), "{}", error.chain());
    let listed = stream(&bridge, "", "reader", "incremental", "parent").discover(None).await.unwrap();
    assert!(listed.iter().any(|table| table.name == "parent" && table.rows == Some(3)), "{listed:?}");
}
