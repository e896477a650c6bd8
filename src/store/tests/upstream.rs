//! What upstream is known to have, and comparing with it and with sources.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::model::Sequence;
use crate::store::Compared;

const STREAM: &str = "peis/reports";

fn theirs(name: &str, sequence: u64, data: &str) -> TheirVersion {
    TheirVersion {
        key: key(name),
        sequence: Sequence(sequence),
        hash: Sha256::digest(format!("{{\"v\":\"{data}\"}}")).into(),
        withdrawn: false,
        day: 20_000,
    }
}

async fn row(world: &World, name: &str) -> i64 {
    world.raw_sql(&format!("SELECT id FROM entity WHERE key = '{}'", key(name).key))
}

async fn adds_up(world: &World) {
    let totals = world.store.read(Reader::totals).await.unwrap();
    assert!(totals.values().all(|totals| totals.adds_up), "{totals:?}");
    bytes_agree(world).await;
}

/// The bytes that wait are those that are counted.
async fn bytes_agree(world: &World) {
    let verified = world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap();
    let wrong: Vec<_> = verified.faults.iter().filter(|fault| fault.place.starts_with("outbox-bytes")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn what_is_learnt_is_unchanged_and_what_follows_is_later() {
    let world = World::new();
    assert!(world.store.upstream_begin_learning().await.unwrap());
    let later = world.clock.now().timestamp_micros().unsigned_abs() + 1_000_000_000;
    world.store.upstream_learn(vec![theirs("1", later, "a"), theirs("2", later, "b")]).await.unwrap();
    // Cut off in the middle: it goes on after the next start.
    let world = world.reopen();
    assert!(world.store.upstream_begin_learning().await.unwrap());
    world.store.upstream_end_learning().await.unwrap();
    assert!(!world.store.upstream_begin_learning().await.unwrap());
    world.store.upstream_sequence(Sequence(later + 7)).await.unwrap();

    let world = world.reopen();
    world.give(vec![says("1", "a"), says("2", "c"), says("3", "d")]).await;
    let events = world.deliver().await;
    let told: Vec<(&str, u64)> =
        events.iter().map(|event| (event.partitionkey.as_str(), event.sequence.parse().unwrap())).collect();
    assert_eq!(told, [("main:peis:2", later + 8), ("main:peis:3", later + 8)], "the clock is behind");
    adds_up(&world).await;
    assert!(world.store.upstream_sequence(Sequence(u64::MAX / 2)).await.is_err(), "no agent made that");
}

#[tokio::test]
async fn a_lost_version_whose_event_is_not_kept_follows_from_its_parts() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "b")]).await;
    let first = world.deliver().await;
    let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
    conn.execute_batch("DELETE FROM disposition; DELETE FROM event WHERE id = 1; DELETE FROM outbox WHERE id = 1")
        .unwrap();
    let healed = world.store.upstream_heal(vec![row(&world, "1").await, row(&world, "2").await], vec![]).await.unwrap();
    assert_eq!((healed.revised, healed.resent), (1, 1));
    bytes_agree(&world).await;
    // Asked twice, it is on its way already.
    let healed = world.store.upstream_heal(vec![row(&world, "1").await, row(&world, "2").await], vec![]).await.unwrap();
    assert_eq!(healed.pending, 2);
    let again = world.deliver().await;
    assert_eq!(again.len(), 2);
    assert!(again.contains(&first[1]), "under its id");
    assert!(again.iter().any(|event| event.subject == first[0].subject && event.contenthash == first[0].contenthash));
}

#[tokio::test]
async fn a_version_that_a_person_looks_at_is_not_sent_by_a_comparison() {
    let world = World::new();
    world.give(vec![says("1", "whole")]).await;
    let first = world.deliver().await;
    world.give(vec![says("1", "torn")]).await;
    // Upstream has something else under a later sequence: what the ledger stands for follows, not what is held.
    let later = first[0].sequence.parse::<u64>().unwrap() + 5_000_000;
    let healed = world.store.upstream_heal(vec![], vec![theirs("1", later, "other")]).await.unwrap();
    assert_eq!(healed.revised, 1);
    let told = world.deliver().await;
    assert_eq!((told.len(), &told[0].contenthash), (1, &first[0].contenthash));
    assert!(told[0].sequence.parse::<u64>().unwrap() > later);
    adds_up(&world).await;
    // What only upstream knows is noted; what it has of us, but older, is nothing to do.
    let healed = world.store.upstream_heal(vec![], vec![theirs("1", 5, "other"), theirs("9", 5, "x")]).await.unwrap();
    assert_eq!((healed.seeded, healed.revised, healed.pending), (1, 0, 0));
    let excess = async || world.store.read(|reader| reader.excess(EntityType::ExamReport)).await.unwrap();
    assert_eq!(excess().await, [row(&world, "9").await]);
    // A record without a key could be that one; and one that is held is no excess.
    world.give(vec![record("??", vec![doubtful(None, "no-key")])]).await;
    assert!(excess().await.is_empty());
    world.store.held_dismiss(2, "wang", "a test").await.unwrap();
    assert_eq!(excess().await, [row(&world, "9").await]);
    world.give(vec![record("9?", vec![doubtful(Some(key("9")), "unknown-code")])]).await;
    assert!(excess().await.is_empty());
}

#[tokio::test]
async fn what_a_person_refused_to_withdraw_is_not_asked_again() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.deliver().await;
    world.store.upstream_heal(vec![], vec![theirs("9", 5, "x")]).await.unwrap();
    let ask = async || world.store.upstream_excess(EntityType::ExamReport, vec![STREAM.to_owned()]).await.unwrap();
    assert_eq!(ask().await, 1);
    let open = HeldFilter { open_only: true, ..HeldFilter::default() };
    let held = world.store.read(move |reader| reader.held_list(&open, 10, 0)).await.unwrap();
    world.store.held_dismiss(held[0].id, "wang", "of another system").await.unwrap();
    assert_eq!(ask().await, 0);
    assert!(world.deliver().await.is_empty());
    assert!(world.store.read(Reader::overview).await.unwrap().held_open.is_empty());
}

#[tokio::test]
async fn comparing_says_what_a_commit_would_find_and_changes_nothing() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "b")]).await;
    world.give(vec![record("3?", vec![doubtful(Some(key("3")), "unknown-code")])]).await;
    world.give(vec![record("??", vec![doubtful(None, "no-key")])]).await;
    world.deliver().await;
    let stream = StreamId::parse(STREAM).unwrap();
    let run = world.store.reconcile_ask(STREAM, Scope::Source, None, "test").await.unwrap();
    world.store.reconcile_begin(run).await.unwrap();
    let before: i64 = world.raw_sql("SELECT count(*) FROM archive");
    let records = [
        says("1", "a"),
        // Other bytes that say the same.
        record("2 in other words", vec![mapped("2", "b")]),
        says("1", "changed"),
        absent_of("2"),
        record("3?", vec![doubtful(Some(key("3")), "unknown-code")]),
        record("3??", vec![doubtful(Some(key("3")), "unknown-code")]),
        record("??", vec![doubtful(None, "no-key")]),
        record("???", vec![doubtful(None, "no-key")]),
        says("4", "d"),
    ];
    let compared = records.iter().map(Compared::of).collect();
    let found = world.store.reconcile_compare(run, &stream, compared).await.unwrap();
    use Agreement::{Agrees, Differs, Held, Missing};
    assert_eq!(found, [Agrees, Agrees, Differs, Differs, Held, Missing, Held, Missing, Missing]);
    assert_eq!(before, world.raw_sql::<i64>("SELECT count(*) FROM archive"));
    assert!(world.deliver().await.is_empty());
    // Another comparison that begins meanwhile does not forget what this one has met.
    let other = world.store.reconcile_ask("peis/items", Scope::Source, None, "test").await.unwrap();
    world.store.reconcile_begin(other).await.unwrap();
    let since = world.clock.now() - TimeDelta::days(1);
    let unseen = world.store.read(move |reader| reader.reconcile_unseen(run, &stream, since, 0, 10)).await.unwrap();
    assert!(unseen.is_empty());
    world.store.reconcile_end(run, Finished::default(), Some(world.clock.now())).await.unwrap();
    let report = world.store.read(move |reader| reader.reconcile_show(run)).await.unwrap();
    assert_eq!(report.items.len(), 5);
    // What was never ended is not left behind.
    world.store.reconcile_recover().await.unwrap();
    let runs = world.store.read(|reader| reader.reconcile_runs(None, 10)).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.state.as_str()).collect::<Vec<_>>(), ["failed", "done"]);
}

fn absent_of(name: &str) -> Incoming {
    record(&format!("{name} gone"), vec![absent(name, "deleted")])
}

#[tokio::test]
async fn what_waits_for_a_receipt_for_long_is_listed() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let made = world.clock.now();
    world.wait(7200);
    let period = (made - TimeDelta::hours(1), made + TimeDelta::hours(1));
    let run = world.store.reconcile_ask(STREAM, Scope::Ledger, Some(period), "test").await.unwrap();
    world.store.reconcile_begin(run).await.unwrap();
    let overdue = world.clock.now() - TimeDelta::hours(1);
    world.store.reconcile_end(run, Finished::default(), Some(overdue)).await.unwrap();
    let report = world.store.read(move |reader| reader.reconcile_show(run)).await.unwrap();
    assert_eq!((report.run.undelivered, report.items[0].now.as_deref()), (1, Some("queued")));
}
