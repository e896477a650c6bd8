//! A kill, or a full disk, while the store is made, or brought to the layout of this version.

use std::path::Path;

use fastrand::Rng;
use rusqlite::Connection;

use crate::hospital::Hospital;
use crate::machine::{Stage, until};
use crate::shim::When::{After, Before};
use crate::shim::{Board, Deed, Rule, SYNC, WRITE};
use crate::verify;

const STORE: &str = "/data/hisync.db";
const ENOSPC: i32 = 28;

/// A store of the first layout, in which a stream has been read.
fn first_layout(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let conn = Connection::open(folder.join("hisync.db")).unwrap();
    conn.execute_batch("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")
        .unwrap();
    conn.execute_batch(include_str!("../../src/store/migrations/0001_initial.sql")).unwrap();
    conn.execute_batch(
        "INSERT INTO stream (name, source, records) VALUES ('gone/reports', 'gone', 7);
         PRAGMA application_id = 1751741305; PRAGMA user_version = 1;",
    )
    .unwrap();
}

fn layout(stage: &Stage) -> (i64, i64) {
    let conn = Connection::open(stage.path("data/hisync.db")).unwrap();
    let records = "SELECT coalesce(max(records), 0) FROM stream WHERE name = 'gone/reports'";
    (
        conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap(),
        conn.query_row(records, [], |row| row.get(0)).unwrap(),
    )
}

#[test]
fn a_kill_or_a_full_disk_in_a_migration_leaves_a_store_that_opens() {
    let stage = Stage::new(&mut Rng::new());
    Hospital::open(&stage, 7);
    let mut board = Board::new(&stage.path(""));
    let (mut faults, mut newest) = (0, 0);
    for old in [false, true] {
        for skip in [0, 3, 12, 40] {
            for (when, ops, deed) in
                [(After, WRITE, Deed::Kill), (Before, SYNC, Deed::Kill), (Before, WRITE, Deed::Fail(ENOSPC))]
            {
                if ops == SYNC && skip > 3 {
                    continue;
                }
                let _ = std::fs::remove_dir_all(stage.path("data"));
                if old {
                    first_layout(&stage.path("data"));
                }
                let standing = board.set(Rule { ops, when, deed, of: STORE, count: 0, skip });
                let mut agent = stage.agent_with(&board.variables());
                let lives = || board.fired(&standing) == 0 && stage.live_status().is_some();
                let met = until("the fault, or an agent that runs", || {
                    let met = board.fired(&standing) > 0;
                    (met || agent.ended().is_some() || lives()).then_some(met)
                });
                if met && matches!(deed, Deed::Kill) {
                    assert_eq!(agent.code(), None, "it is killed");
                }
                drop(agent);
                board.lift(standing);
                faults += usize::from(met);
                let mut agent = stage.agent_with(&board.variables());
                until("the agent's status", || {
                    assert!(agent.ended().is_none(), "old {old}, after {skip}: {}", stage.said("agent.log"));
                    stage.live_status()
                });
                agent.kill();
                verify::integrity(&stage);
                let (version, records) = layout(&stage);
                newest = version.max(newest);
                assert_eq!((version, records), (newest, if old { 7 } else { 0 }));
            }
        }
    }
    println!("survived {faults} faults while a store was made or migrated");
}
