//! The real agent: what it costs in memory, and that a source that hangs is nobody else's trouble.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hisync::store::Reader;
use rusqlite::{Connection, params};

use super::site::Site;

/// Far longer than anything takes; a hung test fails after so long.
const PATIENCE: Duration = Duration::from_secs(1200);
const GLANCE: Duration = Duration::from_millis(50);

/// How many rows a report of the flat view has.
const UNIT: u32 = 100;

/// What a table may cost at most, above an idle agent.
const MOST_MB: u64 = 64;

const MAPPING: &str = r#"
[mapping]
entity = "exam_report"
[key]
parts = ["TJBH"]
[codes.sex]
inline = { "1" = "male", "2" = "female" }
[fields]
report_kind = { const = "health", reason = "a test" }
status = { const = "final", reason = "a test" }
[fields.examinee]
examinee_key = "TJBH"
name = "XM"
sex = { from = "XB", codes = "sex" }
[fields.visit]
exam_no = "TJBH"
[fields.groups]
each = "rows"
group_by = ["ZHBM"]
[fields.groups.fields]
group_code = "ZHBM"
group_name = "ZHBM"
[fields.groups.fields.items]
each = "rows"
[fields.groups.fields.items.fields]
item_code = "XMDM"
item_name = "XMMC"
value = "JG"
unit = "DW"
reference = "CKFW"
"#;

const TABLE: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE FLAT (TJBH TEXT, XM TEXT, XB TEXT, ZHBM TEXT, XMDM TEXT, XMMC TEXT, JG TEXT, DW TEXT, CKFW TEXT, GXSJ TEXT);
    CREATE INDEX FLAT_1 ON FLAT (GXSJ, TJBH); CREATE INDEX FLAT_2 ON FLAT (TJBH)";

struct Agent(Child);

impl Agent {
    fn start(site: &Site) -> Agent {
        let log = std::fs::File::create(site.path("agent.log")).unwrap();
        let mut command = site.command(&["run", "-c", "hisync.toml"]);
        Agent(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The most memory that the process had so far, in kilobytes.
    fn peak_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(site: &Site, what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        let log = || std::fs::read_to_string(site.path("agent.log")).unwrap_or_default();
        assert!(since.elapsed() < PATIENCE, "waited for {what}\n{}", log());
        std::thread::sleep(GLANCE);
    }
}

/// How many reports the agent has taken custody of.
fn taken(site: &Site) -> i64 {
    let totals = Reader::open(&site.path("data")).and_then(|reader| reader.totals()).unwrap_or_default();
    totals.values().map(|totals| totals.source).sum()
}

fn stream(path: &str) -> String {
    format!(
        "settings = {{ path = \"{path}\" }}\n[[sources.streams]]\nid = \"reports\"\nentity = \"exam_report\"\n\
         mode = \"incremental\"\nschedule = \"* * * * * *\"\nmapping = \"flat.toml\"\n\
         fetch = {{ from = \"FLAT\", key = [\"TJBH\"], group = true, order_by = [\"XMDM\"], \
         watermark = {{ column = \"GXSJ\", type = \"timestamp\", lag_secs = 0 }} }}\n"
    )
}

fn fill(database: &Connection, from: u32, units: u32) {
    database.execute_batch("BEGIN").unwrap();
    {
        let mut insert = database
            .prepare("INSERT INTO FLAT VALUES (?, '张试一', '1', ?, ?, '谷丙转氨酶', ?, 'U/L', '9-50', ?)")
            .unwrap();
        for unit in from..from + units {
            let stamp = format!("2026-01-{:02} {:02}:{:02}:00", 1 + unit / 1440 % 28, unit / 60 % 24, unit % 60);
            for row in 0..UNIT {
                let code = format!("{row:04}");
                insert.execute(params![format!("{unit:08}"), &code[..3], code, format!("{row}.5"), stamp]).unwrap();
            }
        }
    }
    database.execute_batch("COMMIT").unwrap();
}

/// `HISYNC_MEMORY_ROWS=1000000` for the whole table; fewer rows show the same, because pages have one size.
#[test]
fn a_large_table_costs_no_more_memory_than_its_pages() {
    let rows: u32 = std::env::var("HISYNC_MEMORY_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(20_000);
    let units = rows / UNIT;
    let site = Site::new();
    let database = Connection::open(site.path("flat.db")).unwrap();
    database.execute_batch(TABLE).unwrap();
    site.write("flat.toml", MAPPING);
    site.configure(&format!("[[sources]]\nid = \"flat\"\nconnector = \"sqlite\"\n{}", stream("flat.db")));
    fill(&database, 0, 1);
    let agent = Agent::start(&site);
    until(&site, "the first report", || taken(&site) == 1);
    let idle = agent.peak_kb();
    let since = Instant::now();
    fill(&database, 1, units);
    until(&site, "all reports", || taken(&site) > i64::from(units));
    let (peak, seconds) = (agent.peak_kb(), since.elapsed().as_secs());
    println!("{rows} rows in {units} reports, {seconds} s: peak {} kB, {} kB above idle", peak, peak - idle);
    assert!((peak - idle) / 1024 <= MOST_MB, "{} MB above idle", (peak - idle) / 1024);
}

/// A pipe that nobody writes into: whoever opens it waits for ever, as for a host that takes no part.
#[test]
fn a_source_that_hangs_neither_delays_nor_starves_another() {
    let site = Site::new();
    let database = Connection::open(site.path("flat.db")).unwrap();
    database.execute_batch(TABLE).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(site.path("hung.db")).status().unwrap().success());
    site.write("flat.toml", MAPPING);
    let source = |id: &str, path: &str| format!("[[sources]]\nid = \"{id}\"\nconnector = \"sqlite\"\n{}", stream(path));
    site.configure(&[source("a", "hung.db"), source("b", "flat.db"), source("c", "gone/flat.db")].concat());
    fill(&database, 0, 3);
    let _agent = Agent::start(&site);
    until(&site, "the reports of the source that answers", || taken(&site) == 3);
    // And it goes on, while the others still hang and fail.
    fill(&database, 3, 4);
    until(&site, "what came later", || taken(&site) == 7);
}
