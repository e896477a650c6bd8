//! However rows change, also between two pages of a scan, every version that stays is read.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta};
use connector_api::{Poller, Record, Request, Value, Watermark};
use connector_sqlite::Sqlite;
use connector_testkit::conformance::poller;
use proptest::prelude::*;
use rusqlite::{Connection, params};

const LAG_SECS: i64 = 60;

const SOURCE: &str = r#"
[[sources]]
id = "s"
connector = "sqlite"
settings = { path = "source.db" }
[[sources.streams]]
id = "changes"
mode = "incremental"
fetch = { from = "t", key = ["k"], may_be_empty = true, watermark = { column = "stamp", type = "timestamp", lag_secs = 60 } }
[[sources.streams]]
id = "split"
mode = "incremental"
fetch = { from = "t", key = ["k"], may_be_empty = true, watermark = { column = "day", then = ["clock"], type = "timestamp", lag_secs = 60 } }
[[sources.streams]]
id = "all"
mode = "snapshot"
fetch = { from = "t", key = ["k"] }
"#;

/// What happens in the source system.
#[derive(Clone, Debug)]
enum Step {
    /// A row is inserted or updated; its timestamp is that many seconds old when it is committed.
    Put { key: u8, late: i64 },
    /// A row's timestamp is lost.
    Undate { key: u8 },
    /// A row is deleted.
    Delete { key: u8 },
    /// Time passes.
    Tick { secs: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12, prop_oneof![Just(0i64), 0i64..=LAG_SECS]).prop_map(|(key, late)| Step::Put { key, late }),
        1 => (0u8..12).prop_map(|key| Step::Undate { key }),
        1 => (0u8..12).prop_map(|key| Step::Delete { key }),
        3 => prop_oneof![Just(1i64), 0i64..200].prop_map(|secs| Step::Tick { secs }),
    ]
}

/// A scan: the page size, and what happens after each of its pages.
type ScanPlan = (usize, Vec<Vec<Step>>);

fn scan() -> impl Strategy<Value = ScanPlan> {
    (1usize..6, prop::collection::vec(prop::collection::vec(step(), 0..4), 0..6))
}

struct World {
    database: Connection,
    now: i64,
    versions: i64,
    rows: BTreeMap<u8, i64>,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put { key, late } => {
                self.versions += 1;
                // A few minutes before midnight.
                let start = DateTime::from_timestamp(1_704_239_700, 0).unwrap();
                let stamp = start + TimeDelta::seconds(self.now - late);
                let text = |form| stamp.format(form).to_string();
                let (stamp, day, clock) = (text("%Y-%m-%d %H:%M:%S"), text("%Y-%m-%d"), text("%H:%M:%S"));
                let put = "INSERT OR REPLACE INTO t VALUES (?, ?, ?, ?, ?)";
                self.database.execute(put, params![key, self.versions, stamp, day, clock]).unwrap();
                self.rows.insert(*key, self.versions);
            }
            Step::Undate { key } => {
                if let Some(version) = self.rows.get_mut(key) {
                    self.versions += 1;
                    *version = self.versions;
                    // In two columns, one or both are lost, or are blank.
                    let undate = "UPDATE t SET v = ?1, stamp = NULL, clock = CASE ?1 % 3 WHEN 0 THEN '' END,
                        day = CASE WHEN ?1 % 2 THEN day END WHERE k = ?2";
                    self.database.execute(undate, params![self.versions, key]).unwrap();
                }
            }
            Step::Delete { key } => {
                self.rows.remove(key);
                self.database.execute("DELETE FROM t WHERE k = ?", [key]).unwrap();
            }
            Step::Tick { secs } => self.now += secs,
        }
    }
}

fn version(record: &Record) -> i64 {
    match record.document.as_ref().unwrap().root.get("v") {
        Some(Value::Integer(version)) => *version,
        other => panic!("{other:?}"),
    }
}

async fn run_scan(
    poller: &mut dyn Poller,
    world: &mut World,
    stored: &mut Watermark,
    (limit, between): &ScanPlan,
) -> HashSet<i64> {
    let mut seen = HashSet::new();
    let mut after = None;
    let mut between = between.iter();
    loop {
        let batch = poller.fetch(Request::Changes { from: stored, after: after.as_ref() }, *limit).await.unwrap();
        seen.extend(batch.records.iter().map(version));
        if let Some(advance) = batch.advance {
            assert_eq!(advance.from, *stored);
            assert!(stored.is_start() || advance.to.columns()[0].as_text() >= stored.columns()[0].as_text());
            *stored = advance.to;
        }
        match batch.next {
            Some(next) => after = Some(next),
            None => return seen,
        }
        between.next().into_iter().flatten().for_each(|step| world.apply(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_version_that_stays_is_read(
        rounds in prop::collection::vec((prop::collection::vec(step(), 0..12), scan()), 1..6),
        page in 1usize..6,
        stream in prop_oneof![Just("changes"), Just("split")],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let database = Connection::open(folder.path().join("source.db")).unwrap();
        database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
            CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER, stamp TEXT, day TEXT, clock TEXT)").unwrap();
        let mut world = World { database, now: 0, versions: 0, rows: BTreeMap::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut changes = poller::<Sqlite>(SOURCE, folder.path(), stream);
            let mut stored = Watermark::start();
            let mut seen = HashSet::new();
            for (steps, scan) in &rounds {
                steps.iter().for_each(|step| world.apply(step));
                let before = world.rows.clone();
                seen.extend(run_scan(&mut *changes, &mut world, &mut stored, scan).await);
                for (key, version) in &before {
                    let stays = world.rows.get(key) == Some(version);
                    assert!(!stays || seen.contains(version), "version {version} of row {key} was missed");
                }
            }
            // What was committed behind the last scan's cursor is in the next one's overlap.
            seen.extend(run_scan(&mut *changes, &mut world, &mut stored, &(page, Vec::new())).await);
            assert!(world.rows.values().all(|version| seen.contains(version)));
            let mut all = poller::<Sqlite>(SOURCE, folder.path(), "all");
            let (records, counted) = connector_testkit::conformance::scan_snapshot(&mut *all, page).await;
            assert_eq!(counted, Some(world.rows.len() as u64));
            assert!(records.iter().map(version).eq(world.rows.values().copied()));
        });
    }
}
