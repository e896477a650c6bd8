//! How much memory a scan of many rows takes.

use connector_api::{Cursor, Poller, Request, Watermark};

/// How much more than before a scan may take, in KiB.
const ALLOWED: u64 = 64 << 10;

/// How many rows such a test reads: `HISYNC_ROWS`, or `usual` where that is not set.
pub fn rows_to_read(usual: usize) -> usize {
    std::env::var("HISYNC_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(usual)
}

/// Scans all changes, in the pages that the agent asks for, and prints a line of JSON with the
/// process's memory before and at its highest.
///
/// # Panics
/// Where other than `rows` records come, or the memory grows by 64 MiB.
pub async fn scan_within_bounds(poller: &mut dyn Poller, rows: usize) {
    // Lets the system forget the highest value so far.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = status("VmRSS");
    let (mut stored, mut after, mut read): (_, Option<Cursor>, _) = (Watermark::start(), None, 0);
    loop {
        let request = Request::Changes { from: &stored, after: after.as_ref() };
        let batch = poller.fetch(request, 500).await.expect("a page of changes");
        read += batch.records.len();
        if let Some(advance) = batch.advance {
            stored = advance.to;
        }
        after = batch.next;
        if after.is_none() {
            break;
        }
    }
    let peak = status("VmHWM");
    println!("{{\"rows\": {read}, \"before_kib\": {before}, \"peak_kib\": {peak}}}");
    assert_eq!(read, rows);
    assert!(peak.saturating_sub(before) < ALLOWED, "{before} KiB became {peak} KiB");
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("a number of KiB")
}
