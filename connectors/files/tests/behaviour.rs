//! What the watcher promises: complete files only, nothing lost, nothing twice, in order.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use connector_api::{Action, ConnectorKind as _, FaultClass, Refusal};
use connector_files::Files;
use support::{Kept, Place, RENAMED, config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// A table with so many rows, numbered from 0.
fn table(rows: usize) -> String {
    let rows: String = (0..rows).map(|at| format!("{at}\n")).collect();
    format!("no\n{rows}")
}

fn numbers(rows: usize) -> Vec<String> {
    (0..rows).map(|at| at.to_string()).collect()
}

fn failed() -> Refusal {
    Refusal::Failed { reason: "disk".to_owned() }
}

fn age(place: &Place, name: &str, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(place.inbox().join(name)).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_file_that_another_process_writes_slowly_is_taken_once_and_whole() {
    let place = Place::new();
    let intake = Kept::all();
    let running = place.start(&config("complete = { type = \"stable\", secs = 1 }"), intake.clone()).await;
    let script = "{ echo no; for i in 0 1 2 3 4 5 6 7 8 9 10 11; do echo $i; sleep 0.25; done; } > slow.csv";
    let status = Command::new("sh").args(["-c", script]).current_dir(place.inbox()).status().await.unwrap();
    assert!(status.success());
    place.arrives("done", "slow.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), numbers(12));
}

#[tokio::test(start_paused = true)]
async fn a_marker_makes_a_file_complete_and_goes_with_it() {
    for (settings, marker) in [("", "a.csv.ok"), (", replaces_extension = true", "a.ok")] {
        let place = Place::new();
        let intake = Kept::all();
        let complete = format!("complete = {{ type = \"marker\", suffix = \".ok\"{settings} }}");
        let running = place.start(&config(&complete), intake.clone()).await;
        // The writer stops in the middle of its file until it is told to go on.
        let script = format!("echo no > a.csv; echo 1 >> a.csv; echo half; read go; echo 2 >> a.csv; : > {marker}");
        let mut writer = Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.inbox())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut half = [0; 5];
        writer.stdout.as_mut().unwrap().read_exact(&mut half).await.unwrap();
        // Ten times as long as the watcher waits between two looks.
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(intake.stored().is_empty());
        writer.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
        assert!(writer.wait().await.unwrap().success());
        place.arrives("done", marker).await;
        running.stopped().await;
        assert_eq!(intake.column("no"), ["1", "2"]);
        assert_eq!(place.names("."), [""; 0]);
        assert_eq!(place.names("done"), ["a.csv", marker]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_a_crash_left_behind_vouches_for_no_later_file() {
    let place = Place::new();
    place.put("a.csv.ok", "");
    let intake = Kept::all();
    let running = place.start(&config("complete = { type = \"marker\", suffix = \".ok\" }"), intake.clone()).await;
    place.arrives("done", "a.csv.ok").await;
    place.put("a.csv", "no\n1");
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.stopped().await;
    assert!(intake.stored().is_empty());
    assert_eq!(place.names("."), ["a.csv"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_taken_when_its_writer_renames_it() {
    let place = Place::new();
    let intake = Kept::all();
    let running = place.start(&config(RENAMED), intake.clone()).await;
    place.put("a.csv.tmp", "no\n1\n");
    place.put(".a.csv", "no\n2\n");
    place.put("other.txt", "no\n3\n");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(intake.stored().is_empty());
    fs::rename(place.inbox().join("a.csv.tmp"), place.inbox().join("a.csv")).unwrap();
    place.arrives("done", "a.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["1"]);
    assert_eq!(place.names("."), [".a.csv", "other.txt"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_storing_and_moving_has_no_second_effect() {
    // Killed after so many of the file's three transactions.
    for transactions in 0..3 {
        let place = Place::new();
        place.put("a.csv", table(1200));
        let intake = Kept::gated(transactions);
        let running = place.start(&config(RENAMED), intake.clone()).await;
        intake.arrivals(transactions as u32 + 1).await;
        running.killed().await;
        assert_eq!(place.names("."), ["a.csv"]);
        assert!(place.names("done").is_empty());

        intake.gate.add_permits(100);
        let running = place.start(&config(RENAMED), intake.clone()).await;
        place.arrives("done", "a.csv").await;
        running.stopped().await;
        assert_eq!(intake.column("no"), numbers(1200), "after {transactions} transactions");
        assert_eq!(place.names("."), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_that_comes_back_after_another_one_is_a_new_file_and_a_file_moved_back_is_not() {
    let place = Place::new();
    let intake = Kept::all();
    let running = place.start(&config(RENAMED), intake.clone()).await;
    for (at, content) in ["no\n1\n", "no\n2\n", "no\n1\n"].into_iter().enumerate() {
        place.put(".a.csv", content);
        age(&place, ".a.csv", 1_700_000_000 + at as u64);
        fs::rename(place.inbox().join(".a.csv"), place.inbox().join("a.csv")).unwrap();
        while !place.names(".").is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert_eq!(intake.column("no"), ["1", "2", "1"], "what counts at the end is what came last");
    assert_eq!(place.names("done").len(), 3);
    fs::rename(place.inbox().join("done/a.csv"), place.inbox().join("a.csv")).unwrap();
    place.arrives("done", "a.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["1", "2", "1"], "moved back, it is known by its time of change");
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_stays_and_none_of_its_stream_overtakes_it() {
    for refusal in [failed(), Refusal::Busy { reason: "disk".to_owned(), retry_after: Duration::from_secs(30) }] {
        let place = Place::new();
        for (at, name) in ["b.csv", "a.csv"].into_iter().enumerate() {
            place.put(name, format!("no\n{at}\n"));
            age(&place, name, 1_700_000_000 + at as u64);
        }
        let intake = Kept::all();
        intake.refuse(move |_| Some(refusal.clone()));
        let running = place.start(&config(RENAMED), intake.clone()).await;
        intake.refusals(2).await;
        assert_eq!(place.names("."), ["a.csv", "b.csv"]);
        intake.refuse(|_| None);
        place.arrives("done", "a.csv").await;
        running.stopped().await;
        assert_eq!(intake.column("no"), ["0", "1"], "the older file goes first");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_file_breaks_keeps_no_other_stream_out() {
    let place = Place::new();
    let other = "[[sources.streams]]\nid = \"items\"\nmode = \"push\"\nfiles = [\"*.json\"]\n\
                 format = { type = \"json\" }\n";
    place.put("a.csv", "no\n1\n");
    place.put("b.json", "{\"no\":\"2\"}");
    let intake = Kept::all();
    intake.refuse(|records| records[0].source_ref.starts_with("*.csv").then(failed));
    let running = place.start(&(config(RENAMED) + other), intake.clone()).await;
    place.arrives("done", "b.json").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["2"]);
    assert_eq!(place.names("."), ["a.csv"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_disappears_is_reported_and_its_files_are_taken_when_it_returns() {
    let place = Place::new();
    let away = place.base().join("away");
    let intake = Kept::all();
    let running = place.start(&config(RENAMED), intake.clone()).await;
    place.put("a.csv", "no\n1\n");
    place.arrives("done", "a.csv").await;
    fs::rename(place.inbox(), &away).unwrap();
    fs::write(away.join("b.csv"), "no\n2\n").unwrap();
    let gone = running.ended().await.unwrap_err();
    let closed = place.listener(&config(RENAMED)).open().await.unwrap_err();
    for error in [gone, closed] {
        assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Retry { after: None }));
        assert!(error.hint.is_some());
    }
    fs::rename(&away, place.inbox()).unwrap();
    let running = place.start(&config(RENAMED), intake.clone()).await;
    place.arrives("done", "b.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_file_at_hand_be_finished() {
    let place = Place::new();
    place.put("a.csv", "no\n1\n");
    let intake = Kept::gated(0);
    let running = place.start(&config(RENAMED), intake.clone()).await;
    intake.arrivals(1).await;
    running.stop.cancel();
    intake.gate.add_permits(1);
    running.ended().await.unwrap();
    assert_eq!(place.names("done"), ["a.csv"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_can_not_be_moved_is_reported_and_stored_once() {
    let place = Place::new();
    let intake = Kept::gated(0);
    place.put("a.csv", "no\n1\n");
    let running = place.start(&config(RENAMED), intake.clone()).await;
    intake.arrivals(1).await;
    // A file where the folder should be.
    fs::remove_dir(place.inbox().join("done")).unwrap();
    place.put("done", "");
    intake.gate.add_permits(100);
    let error = running.ended().await.unwrap_err();
    assert!(error.operation.contains("move a file"), "{}", error.chain());
    fs::remove_file(place.inbox().join("done")).unwrap();
    let running = place.start(&config(RENAMED), intake.clone()).await;
    place.arrives("done", "a.csv").await;
    running.stopped().await;
    assert_eq!(intake.column("no"), ["1"]);
}

#[test]
fn bad_settings_are_reported_with_their_place() {
    let stream = |rest: &str| config("").replace("files = [\"*.csv\"]\nformat = { type = \"csv\" }", rest);
    let csv = |format: &str| stream(&format!("files = [\"*.csv\"]\nformat = {{ {format} }}"));
    let unit = |format: &str| stream(&format!("files = [\"*\"]\nformat = {{ {format} }}\nunit = {{ key = [\"a\"] }}"));
    let cases = [
        (config("").replace("poll_secs = 1", "poll_secs = 0"), "settings.poll_secs"),
        (config("max_file_bytes = 0"), "settings.max_file_bytes"),
        (config("complete = { type = \"stable\", secs = 0 }"), "settings.complete.secs"),
        (config("complete = { type = \"marker\", suffix = \"\" }"), "settings.complete.suffix"),
        (config("done_dir = \".\""), "settings.done_dir"),
        (config("ignore = [\"[\"]"), "settings.ignore"),
        (config("").replace("\"push\"", "\"snapshot\""), "streams[0].mode"),
        (config("").replace("[\"*.csv\"]", "[]"), "streams[0].files"),
        (config("").replace("*.csv", "in/*.csv"), "streams[0].files"),
        (csv("type = \"csv\", delimiter = \"，\""), "streams[0].format.delimiter"),
        (csv("type = \"csv\", header = false"), "streams[0].format.columns"),
        (csv("type = \"csv\", columns = [\"a\", \"a\"]"), "streams[0].format.columns"),
        (csv("type = \"fixed\", columns = []"), "streams[0].format.columns"),
        (csv("type = \"fixed\", columns = [{ name = \"a\", start = 0, width = 1 }]"), "streams[0].format.columns"),
        (unit("type = \"json\""), "streams[0].unit"),
        (unit("type = \"csv\", header = false, columns = [\"b\"]"), "streams[0].unit.key"),
    ];
    for (text, path) in cases {
        let built = Files::build(connector_testkit::source_spec::<Files>(&text, ".".as_ref()));
        let Err(problems) = built else { panic!("accepted although {path} is wrong") };
        assert!(problems.iter().any(|problem| problem.path == path), "{path} is not named in {problems:?}");
    }
}
