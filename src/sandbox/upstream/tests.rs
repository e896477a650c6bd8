use std::io::Write;

use super::*;

#[test]
fn faults_strike_their_target_in_order_and_run_out() {
    let mut queue = Queue::default();
    let fault = |status, on, count| Fault { status: Some(status), on, count, ..Fault::default() };
    queue.put(vec![fault(503, Target::Events, Some(1)), fault(500, Target::All, Some(2))]);
    let mut strike = |target| queue.strike(target).and_then(|fault| fault.status);
    assert_eq!(strike(Target::Heartbeats), Some(500));
    assert_eq!(strike(Target::Events), Some(503));
    assert_eq!(strike(Target::Events), Some(500));
    assert_eq!(strike(Target::Events), None);
    queue.put(vec![Fault { cut: true, seconds: Some(0), ..Fault::default() }]);
    assert_eq!(queue.strike(Target::Events), None, "its time is over");
}

#[test]
fn a_line_that_is_none_of_ours_stops_the_start() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut file = std::fs::File::create(dir.path().join("received.jsonl")).unwrap();
    file.write_all(b"{\"what\":1}\n").unwrap();
    assert!(matches!(Ledger::open(Some(dir.path())), Err(Error::Line { number: 1, .. })));
}
