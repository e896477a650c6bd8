//! The driver's process: missing, hung, killed, abandoned, out of memory. Nothing else is touched.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use connector_api::{Action, Batch, FaultClass, Poller, Request as Fetch, SourceError};
use connector_odbc::Odbc;
use connector_odbc::wire::{Connect, Reply, Request};
use connector_testkit::conformance::{poller, scan_snapshot};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use support::{driver, snapshot, sqlite};

/// A database with a small table, and a view that no time suffices to read.
fn database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT);
             INSERT INTO t VALUES ('1', 'a'), ('2', 'b'), ('3', 'c');
             CREATE VIEW slow AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000000000)
                 SELECT n AS k FROM c;
             CREATE VIEW wide AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300)
                 SELECT n AS k, hex(zeroblob(500000)) AS v FROM c;",
        )
        .unwrap();
    folder
}

fn open(settings: &str, table: &str) -> Box<dyn Poller> {
    poller::<Odbc>(&snapshot(settings, &format!(r#"from = "{table}", key = ["k"]"#)), Path::new("/"), "all")
}

async fn fetch(poller: &mut dyn Poller) -> Result<Batch, SourceError> {
    poller.fetch(Fetch::Snapshot { after: None }, 2).await
}

async fn failure(settings: &str) -> SourceError {
    let mut poller = open(settings, "t");
    let error = fetch(&mut *poller).await.expect_err("no connection");
    assert!(error.hint.is_some(), "{}", error.chain());
    error
}

/// The driver processes whose environment has this variable, zombies too.
fn processes(mark: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let marked = |path: &Path| {
        let variables = std::fs::read(path.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == format!("MARK={mark}").as_bytes())
    };
    let found = entries.filter(|entry| marked(&entry.path()));
    found.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn gone(pid: Pid) -> bool {
    !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

/// Waits for something that must come, by asking again.
async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < limit, "it did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Drives a fetch until its process is at work; answers the process and the pending fetch.
async fn at_work<'a>(
    poller: &'a mut dyn Poller,
    mark: &str,
) -> (Pid, Pin<Box<dyn Future<Output = Result<Batch, SourceError>> + Send + 'a>>) {
    let mut call: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move { fetch(poller).await });
    let busy = async {
        // It computes: the query is under way.
        until(|| processes(mark).into_iter().find(|pid| cpu(*pid) > 20)).await
    };
    tokio::select! {
        _ = &mut call => panic!("the view was read"),
        pid = busy => (pid, call),
    }
}

/// The processor time that a process has used, in hundredths of a second.
fn cpu(pid: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_is_not_installed_is_named() {
    let folder = database();
    let settings = sqlite(&folder.path().join("source.db"));
    let absent = failure("product = \"generic\"\nconnection = \"Driver=/nowhere/libdriver.so;Server=h\"").await;
    assert_eq!((absent.class, absent.action), (FaultClass::Missing, Action::Stop), "{}", absent.chain());
    let unknown = failure("product = \"generic\"\nconnection = \"DSN=nobody-configured-this\"").await;
    assert_eq!((unknown.class, unknown.action), (FaultClass::Missing, Action::Stop), "{}", unknown.chain());
    assert!(unknown.hint.unwrap().contains("odbcinst"));
    // No program, and one whose libraries the dynamic loader does not find.
    let with_program = |program: &Path| {
        let source = snapshot(&settings, r#"from = "t", key = ["k"]"#);
        let configured = format!("program = {program:?}");
        source.replace(&format!("program = {:?}", env!("CARGO_BIN_EXE_hisync-odbc")), &configured)
    };
    let mut nobody = poller::<Odbc>(&with_program(Path::new("/nowhere/hisync-odbc")), Path::new("/"), "all");
    let error = fetch(&mut *nobody).await.expect_err("no program");
    assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Stop));
    assert!(error.hint.unwrap().contains("install hisync-odbc"));
    // The same program on a machine without unixODBC: it asks the loader for a library of another name.
    let without = folder.path().join("without-unixodbc");
    let mut program = std::fs::read(env!("CARGO_BIN_EXE_hisync-odbc")).unwrap();
    let wanted = b"libodbc.so.2\0";
    let at = program.windows(wanted.len()).position(|bytes| bytes == wanted).expect("it links unixODBC");
    program[at..at + 7].copy_from_slice(b"libnone");
    std::fs::write(&without, program).unwrap();
    std::fs::set_permissions(&without, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut poller = poller::<Odbc>(&with_program(&without), Path::new("/"), "all");
    let error = fetch(&mut *poller).await.expect_err("no libraries");
    assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Stop), "{}", error.chain());
    assert!(error.hint.unwrap().contains("unixODBC"));
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for (product, file) in [("postgresql", "psqlodbcw.so"), ("mariadb", "libmaodbc.so")] {
        let connection = format!("Driver={};Server=127.0.0.1;Port={port};Database=d", driver(file));
        let settings =
            format!("product = \"{product}\"\nconnection = \"{connection}\"\nuser = \"u\"\nlogin_timeout_secs = 1");
        let started = Instant::now();
        let error = failure(&settings).await;
        assert!(matches!(error.action, Action::Retry { .. }), "{product}: {}", error.chain());
        assert!(
            matches!(error.class, FaultClass::Timeout | FaultClass::Unreachable),
            "{product}: {:?} {}",
            error.class,
            error.chain()
        );
        assert!(started.elapsed() < Duration::from_secs(20), "{product}");
    }
}

#[tokio::test]
async fn a_driver_that_ignores_the_time_limit_is_killed_and_started_anew() {
    let folder = database();
    let settings = format!(
        "{}\nquery_timeout_secs = 1\nenvironment = {{ MARK = \"limit\" }}",
        sqlite(&folder.path().join("source.db"))
    );
    let mut poller = open(&settings, "slow");
    let error = fetch(&mut *poller).await.expect_err("too slow");
    assert_eq!(error.class, FaultClass::Timeout, "{}", error.chain());
    assert!(matches!(error.action, Action::Retry { .. }));
    assert!(processes("limit").is_empty(), "killed, and waited for");
    let again = fetch(&mut *poller).await.expect_err("too slow again");
    assert_eq!(again.class, FaultClass::Timeout, "a process was started anew: {}", again.chain());
}

#[tokio::test]
async fn a_driver_that_dies_in_mid_answer_fails_its_own_stream_alone() {
    let folder = database();
    let file = folder.path().join("source.db");
    let settings = format!("{}\nenvironment = {{ MARK = \"dies\" }}", sqlite(&file));
    let mut other = open(&sqlite(&file), "t");
    let first = fetch(&mut *other).await.unwrap();
    let mut poller = open(&settings, "slow");
    let (pid, call) = at_work(&mut *poller, "dies").await;
    kill_process(pid, Signal::KILL).unwrap();
    let error = call.await.expect_err("it died");
    assert_eq!(error.class, FaultClass::Protocol, "{}", error.chain());
    assert!(matches!(error.action, Action::Retry { .. }));
    assert!(error.hint.unwrap().contains("signal 9"));
    assert!(gone(pid), "no zombie is left");
    let next = other.fetch(Fetch::Snapshot { after: first.next.as_ref() }, 2).await.unwrap();
    assert_eq!((next.records.len(), next.counted), (1, Some(3)), "the other stream's transaction is still there");
}

#[tokio::test]
async fn a_scan_that_is_given_up_takes_its_process_along() {
    let folder = database();
    let settings = format!("{}\nenvironment = {{ MARK = \"given-up\" }}", sqlite(&folder.path().join("source.db")));
    let mut poller = open(&settings, "slow");
    let (pid, call) = at_work(&mut *poller, "given-up").await;
    drop(call);
    until(|| gone(pid).then_some(())).await;
    // A poller that is idle is dropped: its process sees its input end.
    let mut poller = open(&settings, "t");
    fetch(&mut *poller).await.unwrap();
    let idle = processes("given-up")[0];
    drop(poller);
    until(|| gone(idle).then_some(())).await;
}

#[tokio::test]
async fn the_process_ends_with_the_agent_even_while_its_driver_hangs() {
    let folder = database();
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_hisync-odbc")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let connection =
        format!("Driver={};Database={}", driver("libsqlite3odbc.so"), folder.path().join("source.db").display());
    let connect = Connect { connection, idle_secs: 60, fetch_rows: 10, max_value: 1000, ..Connect::default() };
    for request in [Request::Connect(connect), Request::Query("SELECT COUNT(*) FROM slow".to_owned(), Vec::new())] {
        std::io::Write::write_all(&mut input, &request.to_frame().unwrap()).unwrap();
    }
    let pid = Pid::from_child(&child);
    until(|| (cpu(pid) > 20).then_some(())).await;
    // As the agent's pipes end when it is killed.
    drop(input);
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9));
    let mut output = child.stdout.take().unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut output, &mut said).unwrap();
    let hello = Reply::Hello(connector_odbc::wire::VERSION).to_frame().unwrap();
    assert_eq!(said, [hello, Reply::Done.to_frame().unwrap()].concat(), "nothing but answers is written");
}

#[tokio::test]
async fn a_driver_that_takes_too_much_memory_fails_alone_and_comes_back() {
    let folder = database();
    // Without StepAPI the driver holds the whole result.
    let settings = sqlite(&folder.path().join("source.db")).replace("Driver=", "StepAPI=0;Driver=");
    let settings = format!("{settings}\nmemory_limit_mb = 128");
    let mut poller = open(&settings, "wide");
    let error = poller.fetch(Fetch::Snapshot { after: None }, 1000).await.expect_err("no memory");
    assert!(matches!(error.action, Action::Retry { .. }), "{}", error.chain());
    let mut poller = open(&settings, "t");
    assert_eq!(scan_snapshot(&mut *poller, 2).await.0.len(), 3);
}

#[tokio::test]
async fn a_value_beyond_the_limit_holds_its_row_alone() {
    let folder = database();
    let database = Connection::open(folder.path().join("source.db")).unwrap();
    database.execute_batch("UPDATE t SET v = hex(zeroblob(700000)) WHERE k = '2'").unwrap();
    let settings = format!("{}\nmax_value_mb = 1", sqlite(&folder.path().join("source.db")));
    let (records, counted) = scan_snapshot(&mut *open(&settings, "t"), 10).await;
    assert_eq!(counted, Some(3));
    let held: Vec<_> = records.iter().filter_map(|record| record.document.as_ref().err()).collect();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].code, "value-too-long");
}
