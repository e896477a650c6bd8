//! How much memory a scan of many rows takes.

use connector_api::{Cursor, Poller, Request, Watermark};

/// How much more than before a scan may take, in KiB.
const ALLOWED: u64 = 64 << 10;

/// The program in which a vendor's driver runs.
const DRIVER: &str = "hisync-odbc";

/// What a scan took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How many records came.
    pub rows: usize,
    /// Resident before the scan, in KiB.
    pub before_kib: u64,
    /// Resident at its highest, in KiB.
    pub peak_kib: u64,
    /// The same of the processes that hold a vendor's driver, in KiB; all of it counts, because without the scan they
    /// would not be there.
    pub driver_kib: u64,
}

impl Memory {
    /// How much more than before the scan took, in KiB.
    pub fn grown_kib(&self) -> u64 {
        self.peak_kib.saturating_sub(self.before_kib) + self.driver_kib
    }

    /// Whether that is less than 64 MiB.
    pub fn is_within_bounds(&self) -> bool {
        self.grown_kib() < ALLOWED
    }
}

/// How many rows such a test reads: `HISYNC_ROWS`, or `usual` where that is not set.
pub fn rows_to_read(usual: usize) -> usize {
    crate::bench::setting("HISYNC_ROWS", usual)
}

/// Scans all changes, in the pages that the agent asks for, with an eye on the memory of this process and of its
/// drivers.
pub async fn measure(poller: &mut dyn Poller) -> Memory {
    // Lets the system forget the highest value so far.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before_kib = status("self", "VmRSS").expect("Linux");
    let (mut stored, mut after, mut rows): (_, Option<Cursor>, _) = (Watermark::start(), None, 0);
    let (mut driver_kib, mut pages) = (0, 0_u32);
    loop {
        let request = Request::Changes { from: &stored, after: after.as_ref() };
        let batch = poller.fetch(request, 500).await.expect("a page of changes");
        rows += batch.records.len();
        if let Some(advance) = batch.advance {
            stored = advance.to;
        }
        after = batch.next;
        pages += 1;
        if pages & 0xf == 0 || after.is_none() {
            driver_kib = driver_kib.max(drivers());
        }
        if after.is_none() {
            break;
        }
    }
    Memory { rows, before_kib, peak_kib: status("self", "VmHWM").expect("Linux"), driver_kib }
}

/// Scans all changes and prints a line of JSON with the memory before and at its highest.
///
/// # Panics
/// Where other than `rows` records come, or the memory grows by 64 MiB.
pub async fn scan_within_bounds(poller: &mut dyn Poller, rows: usize) {
    let memory = measure(poller).await;
    let Memory { rows: read, before_kib, peak_kib, driver_kib } = memory;
    println!(
        "{{\"rows\": {read}, \"before_kib\": {before_kib}, \"peak_kib\": {peak_kib}, \"driver_kib\": {driver_kib}}}"
    );
    assert_eq!(read, rows);
    assert!(memory.is_within_bounds(), "{memory:?}");
}

/// The highest memory of this process's drivers, together, in KiB.
fn drivers() -> u64 {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let driver = |process: &String| {
        field(process, "PPid").as_deref() == Some(&*own) && field(process, "Name").as_deref() == Some(DRIVER)
    };
    names.filter(driver).filter_map(|process| status(&process, "VmHWM")).sum()
}

/// A line of `/proc/PROCESS/status`, in KiB.
fn status(process: &str, name: &str) -> Option<u64> {
    field(process, name)?.trim_end_matches(" kB").parse().ok()
}

fn field(process: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
