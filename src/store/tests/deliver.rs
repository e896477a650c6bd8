//! The outbox: each transition of an entry, and order per entity (P4, P5).

use super::*;

fn retry(world: &World, seconds: i64) -> Verdict {
    Verdict::Retry { at: world.clock.now() + TimeDelta::seconds(seconds), code: "http-503".into() }
}

fn refused() -> Verdict {
    Verdict::Held { code: "schema".into(), message: "no such field".into() }
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.key.rsplit(':').next().unwrap()).collect()
}

#[tokio::test]
async fn at_most_one_entry_of_an_entity_is_on_its_way() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("1", "b"), says("2", "a")]).await;
    let first = world.claim().await;
    assert_eq!(keys(&first), ["1", "2"]);
    assert!(world.claim().await.is_empty());
    world.verdict(first[0].id, Verdict::Delivered { status: "accepted" }).await;
    let second = world.claim().await;
    assert_eq!(keys(&second), ["1"]);
    assert_ne!(second[0].event_id, first[0].event_id);
}

#[tokio::test]
async fn a_retry_waits_for_its_time_and_goes_out_under_the_same_id() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let first = world.claim().await.remove(0);
    world.verdict(first.id, retry(&world, 30)).await;
    assert!(world.claim().await.is_empty());
    let due = world.store.next_due().await.unwrap().unwrap();
    assert_eq!(due, world.clock.now() + TimeDelta::seconds(30));
    world.wait(30);
    let second = world.claim().await.remove(0);
    assert_eq!((second.event_id, second.body, second.attempts), (first.event_id, first.body, 1));
}

#[tokio::test]
async fn a_retry_that_a_clock_ahead_of_time_has_put_off_is_tried_once_the_clock_is_right() {
    for restarts in [false, true] {
        let mut world = World::new();
        let right = world.clock.now();
        world.give(vec![says("1", "a"), says("2", "a")]).await;
        world.wait(8 * 3600);
        let entries = world.claim().await;
        world.verdict(entries[0].id, retry(&world, 30)).await;
        world.verdict(entries[1].id, retry(&world, 30)).await;
        world.clock.set(right);
        if restarts {
            world = world.reopen();
        }
        assert_eq!(keys(&world.claim().await), ["1", "2"], "it restarts: {restarts}");
        // What is put off by the right clock stays so.
        world.verdict(entries[0].id, retry(&world, 30)).await;
        assert!(world.claim().await.is_empty());
    }
}

#[tokio::test]
async fn entries_that_waited_go_before_fresh_ones_but_do_not_starve_them() {
    let world = World::new();
    world.give(["1", "2", "3", "4"].map(|name| says(name, "a")).into()).await;
    for entry in world.claim().await {
        world.verdict(entry.id, retry(&world, 5)).await;
    }
    world.give(["5", "6", "7", "8"].map(|name| says(name, "a")).into()).await;
    world.wait(5);
    let claimed = world.store.claim(ClaimLimit { events: 4, bytes: 1 << 20 }).await.unwrap();
    assert_eq!(keys(&claimed), ["1", "2", "5", "6"]);
}

#[tokio::test]
async fn a_refused_event_blocks_nobody_and_is_held_with_upstreams_words() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("1", "b"), says("2", "a")]).await;
    let first = world.claim().await.remove(0);
    world.verdict(first.id, refused()).await;
    assert_eq!(keys(&world.claim().await), ["1"]);
    let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
    assert_eq!((detail.item.leg.as_str(), detail.item.reason.as_str()), ("outbox", "schema"));
    assert_eq!(detail.findings[0].message, "no such field");
    assert!(detail.event.unwrap().get().contains(&first.event_id.to_string()));
}

#[tokio::test]
async fn an_event_that_has_changed_on_the_disk_is_held_and_never_sent() {
    let damages = [
        "UPDATE content SET body = CAST(replace(CAST(body AS TEXT), '\"a\"', '\"b\"') AS BLOB)",
        "UPDATE event SET head = replace(head, 'main:peis:1', 'main:peis:3')",
        "UPDATE event SET head = replace(head, 'exam_report/', 'exam_repart/')",
        "UPDATE event SET head = replace(head, '\"sequence\":\"0', '\"sequence\":\"1')",
        "UPDATE event SET head = replace(head, '{', '[')",
    ];
    for damage in damages {
        let world = World::new();
        world.give(vec![says("1", "a")]).await;
        let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
        conn.execute(damage, ()).unwrap();
        world.give(vec![says("2", "c")]).await;
        assert_eq!(keys(&world.claim().await), ["2"], "{damage}");
        let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
        assert_eq!((detail.item.leg.as_str(), detail.item.reason.as_str()), ("outbox", "unreadable-event"));
    }
}

#[tokio::test]
async fn an_event_that_cant_be_read_is_held_alone_and_the_others_go_on() {
    let world = World::new();
    world.give(vec![says("1", &"x".repeat(500)), says("2", "a")]).await;
    let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
    let damage = "UPDATE content SET body = x'00' WHERE size > 500";
    assert_eq!(conn.execute(damage, ()).unwrap(), 1);
    let limit = ClaimLimit { events: 100, bytes: 1 << 20 };
    assert_eq!(keys(&world.store.take(limit).await.unwrap()), ["2"]);
    let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
    assert_eq!((detail.item.leg.as_str(), detail.item.reason.as_str()), ("outbox", "unreadable-event"));
    assert!(detail.event.is_none() && detail.record.is_some());
    world.store.held_retry_outbox(1, "ops").await.unwrap();
    assert!(world.claim().await.is_empty(), "it is held again");
    // Whether the next version is the same person's can't be told, so a person does.
    world.give(vec![says("1", "b")]).await;
    let reason = world.raw_sql::<String>("SELECT reason FROM held WHERE id = 3 AND leg = 'record'");
    assert_eq!(reason, "unreadable-event");
    world.store.held_release(3, "ops").await.unwrap();
    assert_eq!(keys(&world.claim().await), ["1"]);
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert!(totals.adds_up);
}

#[tokio::test]
async fn an_event_whose_rows_are_gone_is_held_alone_and_the_others_go_on() {
    for lost in ["event WHERE id = 1", "content WHERE size > 500", "entity WHERE id = 1"] {
        let world = World::new();
        world.give(vec![says("1", &"x".repeat(500)), says("2", "a")]).await;
        let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        assert_eq!(conn.execute(&format!("DELETE FROM {lost}"), ()).unwrap(), 1);
        let limit = ClaimLimit { events: 100, bytes: 1 << 20 };
        assert_eq!(keys(&world.store.take(limit).await.unwrap()), ["2"], "{lost}");
        let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
        assert_eq!((detail.item.leg.as_str(), detail.item.reason.as_str()), ("outbox", "unreadable-event"), "{lost}");
        assert_eq!(detail.item.entity, "exam_report", "{lost}");
        world.verdict(2, Verdict::Delivered { status: "accepted" }).await;
        world.store.held_retry_outbox(1, "ops").await.unwrap();
        assert!(world.claim().await.is_empty(), "it is held again: {lost}");
        let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
        assert!(totals.adds_up && (totals.held, totals.delivered) == (1, 1), "{lost}: {totals:?}");
        if !lost.starts_with("entity") {
            world.give(vec![says("1", "b")]).await;
            let reason = world.raw_sql::<String>("SELECT reason FROM held WHERE leg = 'record'");
            assert_eq!(reason, "unreadable-event", "whose version that is can't be told: {lost}");
        }
    }
}

#[tokio::test]
async fn what_was_never_sent_goes_back_without_an_attempt() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let entry = world.claim().await.remove(0);
    world.verdict(entry.id, Verdict::Unsent).await;
    assert_eq!(world.claim().await[0].attempts, 0);
}

#[tokio::test]
async fn a_claim_keeps_to_its_limits_and_a_larger_event_goes_alone() {
    let world = World::new();
    let large = "x".repeat(5000);
    world.give(vec![says("1", &large), says("2", "a"), says("3", "a")]).await;
    let claim = async |events, bytes| keys(&world.store.claim(ClaimLimit { events, bytes }).await.unwrap()).len();
    assert_eq!(claim(10, 1000).await, 1);
    assert_eq!(claim(1, 1 << 20).await, 1);
    assert_eq!(claim(0, 1 << 20).await, 0);
    assert_eq!(claim(10, 1 << 20).await, 1);
}

#[tokio::test]
async fn a_sender_that_died_alone_gets_its_entries_back_after_the_lease() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let first = world.claim().await.remove(0);
    world.store.mark_inflight(vec![first.id]).await.unwrap();
    world.wait(599);
    assert!(world.claim().await.is_empty());
    world.wait(2);
    let second = world.claim().await.remove(0);
    assert_eq!((second.event_id, second.attempts), (first.event_id, 1));
    // The receipt of the first attempt comes after all; the second one changes nothing more.
    world.verdict(first.id, Verdict::Delivered { status: "accepted" }).await;
    world.verdict(first.id, refused()).await;
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert_eq!((totals.delivered, totals.held, totals.adds_up), (1, 0, true));
}

#[tokio::test]
async fn work_that_arrives_before_anybody_waits_is_not_missed() {
    let world = World::new();
    world.store.work_arrived().await;
    world.give(vec![says("1", "a")]).await;
    world.store.work_arrived().await;
    let idle = tokio::time::timeout(std::time::Duration::ZERO, world.store.work_arrived()).await;
    assert!(idle.is_err());
}

#[tokio::test]
async fn a_claim_with_a_long_backlog_uses_the_index_of_what_is_ready() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
    conn.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO outbox (entity_id, stream_id, state, ready_at, size, created_at)
         SELECT 1, 1, 'queued', iif(i % 2, 0, NULL), 10, 1 FROM n",
    )
    .unwrap();
    let plan: Vec<String> = conn
        .prepare(&format!("EXPLAIN QUERY PLAN {}", outbox::DUE))
        .unwrap()
        .query_map((0, 0, 200), |row| row.get(3))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(plan, ["SEARCH outbox USING INDEX outbox_ready (ready_at>? AND ready_at<?)"]);
}

#[tokio::test]
async fn attempts_are_remembered_up_to_a_bound() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    for _ in 0..30 {
        let entry = world.claim().await.remove(0);
        world.verdict(entry.id, retry(&world, 1)).await;
        world.wait(1);
    }
    let detail = world.store.read(|reader| reader.outbox_show(1)).await.unwrap();
    assert_eq!((detail.entry.attempts, detail.history.len()), (30, 20));
    assert_eq!((detail.history[19].n, detail.history[19].code.as_str()), (30, "http-503"));
}
