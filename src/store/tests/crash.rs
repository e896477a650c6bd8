//! What survives a crash, and what the file refuses.

use super::*;

/// Copies the files as they are at this moment, like a machine that loses power now.
fn power_cut(world: &World) -> World {
    let dir = TempDir::new().unwrap();
    for name in [schema::FILE_NAME, "hisync.db-wal"] {
        std::fs::copy(world.dir.path().join(name), dir.path().join(name)).unwrap();
    }
    let store = open(dir.path(), &world.clock);
    World { dir, clock: world.clock.clone(), store }
}

#[tokio::test]
async fn what_was_committed_survives_a_power_cut() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a")]).await;
    let after = power_cut(&world);
    assert_eq!(after.deliver().await.len(), 2);
    assert_eq!(after.give(vec![says("1", "a")]).await, [RecordReceipt::Reread]);
}

#[tokio::test]
async fn claimed_entries_are_queued_again_and_those_on_their_way_keep_their_id() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a")]).await;
    let claimed = world.claim().await;
    world.store.mark_inflight(vec![claimed[0].id]).await.unwrap();
    let after = power_cut(&world);
    let again = after.claim().await;
    let seen = |entries: &[Entry]| entries.iter().map(|entry| (entry.event_id, entry.body.clone())).collect::<Vec<_>>();
    assert_eq!(seen(&again), seen(&claimed));
    assert_eq!(again.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [1, 0]);
    let detail = after.store.read(|reader| reader.outbox_show(1)).await.unwrap();
    assert!(detail.entry.ambiguous);
    assert_eq!(detail.history[0].code, "interrupted");
    let overview = after.store.read(Reader::overview).await.unwrap();
    assert_eq!((overview.outbox_depth, overview.outbox["claimed"]), (2, 2));
}

#[tokio::test]
async fn a_handle_that_goes_without_closing_loses_nothing_and_frees_the_store() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let world = world.reopen();
    assert_eq!(world.deliver().await.len(), 1);
}

#[tokio::test]
async fn a_second_agent_is_kept_out_and_readers_are_let_in() {
    let world = World::new();
    let options = world.store.inner.shared.options.clone();
    let second = Store::open(world.dir.path(), options, Arc::new(Joiner), world.clock.clone());
    assert!(matches!(second, Err(Error::Locked)));
    world.give(vec![says("1", "a")]).await;
    let reader = Reader::open(world.dir.path()).unwrap();
    assert_eq!(reader.overview().unwrap().outbox_depth, 1);
    world.give(vec![says("2", "a")]).await;
    assert_eq!(reader.overview().unwrap().outbox_depth, 2);
}

#[tokio::test]
async fn a_closed_store_answers_nobody_and_can_be_read() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.store.close().await;
    assert!(matches!(world.store.commit(batch("a/b", vec![])).await, Err(Error::Closed)));
    let log = world.dir.path().join("hisync.db-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0, "closing must write the log back");
    assert_eq!(Reader::open(world.dir.path()).unwrap().overview().unwrap().outbox_depth, 1);
}

#[test]
fn a_newer_store_a_foreign_file_and_no_store_are_told_apart() {
    let clock = Clock::system();
    let dir = TempDir::new().unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(Error::Missing)));
    let try_open = |dir: &std::path::Path| {
        let options = Options { hospital: "h".into(), agent_version: "1".into(), lane: None };
        Store::open(dir, options, Arc::new(Joiner), clock.clone()).map(|_| ())
    };
    try_open(dir.path()).unwrap();
    let set = |sql: &str| {
        rusqlite::Connection::open(dir.path().join(schema::FILE_NAME)).unwrap().execute_batch(sql).unwrap();
    };
    set("PRAGMA user_version = 99");
    assert!(matches!(try_open(dir.path()), Err(Error::Newer { found: 99, known: 4 })));
    assert!(matches!(Reader::open(dir.path()), Err(Error::Newer { .. })));
    set("PRAGMA application_id = 7");
    assert!(matches!(try_open(dir.path()), Err(Error::Foreign)));
    std::fs::write(dir.path().join(schema::FILE_NAME), "no database at all, but long enough to look like one").unwrap();
    assert!(matches!(try_open(dir.path()), Err(Error::Corrupt { .. })));
}

#[test]
fn the_file_is_set_up_for_safety() {
    let dir = TempDir::new().unwrap();
    let conn = schema::open_writer(&schema::file(dir.path())).unwrap();
    let pragma =
        |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    use rusqlite::types::Value::{Integer, Text};
    assert_eq!(pragma("journal_mode"), Text("wal".into()));
    for (name, value) in [("synchronous", 2), ("page_size", 8192), ("auto_vacuum", 2), ("foreign_keys", 1)] {
        assert_eq!(pragma(name), Integer(value), "{name}");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_store_goes_on_when_there_is_room() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let pages = |n: i64| {
        world.store.write("limit the file", 1, move |tx| {
            tx.one("limit", &format!("PRAGMA max_page_count = {n}"), (), |_| Ok(())).map(|_| ())
        })
    };
    pages(1).await.unwrap();
    let large: String = (0..40_000).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
    let mut record = says("2", "a");
    record.raw.body =
        (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>().into();
    let refused = world.store.commit(batch("peis/reports", vec![record.clone(), says("3", &large)])).await;
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    // The connection was opened anew: the limit is gone with it.
    assert_eq!(world.give(vec![record, says("3", &large)]).await.len(), 2);
    assert_eq!(world.deliver().await.len(), 3);
}
