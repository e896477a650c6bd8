//! Withdrawals are earned (P6).

use super::*;

async fn snapshot(world: &World, records: Vec<Incoming>) -> u32 {
    let mut batch = batch("peis/packages", records);
    batch.snapshot = Some(SnapshotPolicy::default());
    world.store.commit(batch).await.unwrap().withdrawn
}

fn catalogue(names: std::ops::Range<u32>) -> Vec<Incoming> {
    names.map(|name| says(&name.to_string(), "a")).collect()
}

async fn open_items(world: &World) -> Vec<HeldSummary> {
    let filter = HeldFilter { open_only: true, ..HeldFilter::default() };
    world.store.read(move |reader| reader.held_list(&filter, 10, 0)).await.unwrap()
}

#[tokio::test]
async fn an_entity_is_withdrawn_after_enough_complete_snapshots_lack_it() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    world.deliver().await;
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 0);
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 1);
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 0);
    let events = world.deliver().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind.as_str(), events[0].data["reason"].as_str()),
        ("hisync.exam_report.withdrawn", Some("missing"))
    );
    snapshot(&world, catalogue(0..10)).await;
    let events = world.deliver().await;
    assert_eq!((events.len(), events[0].kind.as_str()), (1, "hisync.exam_report.upserted"), "it came back unchanged");
    assert!(world.store.read(Reader::totals).await.unwrap()["exam_report"].adds_up);
}

#[tokio::test]
async fn one_snapshot_that_has_it_starts_the_count_anew() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    snapshot(&world, catalogue(1..10)).await;
    snapshot(&world, catalogue(0..10)).await;
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 0);
}

#[tokio::test]
async fn a_catalogue_read_again_under_a_corrected_mapping_is_there_and_counts_once() {
    let world = World::new();
    let under = |mapping: &str, names: std::ops::Range<u32>| -> Vec<Incoming> {
        let records = catalogue(names).into_iter();
        records.map(|record| Incoming { mapping_version: mapping.into(), ..record }).collect()
    };
    snapshot(&world, under("demo@1", 0..10)).await;
    snapshot(&world, under("demo@1", 1..10)).await;
    for mapping in ["demo@2", "demo@2", "demo@3"] {
        assert_eq!(snapshot(&world, under(mapping, 0..10)).await, 0);
        assert_eq!(world.raw_sql::<i64>("SELECT max(missing) FROM part"), 0, "what was missing is there again");
    }
    assert_eq!(snapshot(&world, under("demo@3", 1..10)).await, 0);
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert_eq!((totals.source, totals.adds_up), (10, true));
}

#[tokio::test]
async fn an_incremental_batch_never_withdraws() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    for name in 0..5 {
        world.give_to("peis/packages", vec![says("1", &name.to_string())]).await;
    }
    assert_eq!(world.raw_sql::<i64>("SELECT sum(missing) FROM part"), 0);
}

#[tokio::test]
async fn a_snapshot_with_a_row_that_has_no_identity_withdraws_nothing() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    for _ in 0..3 {
        let mut records = catalogue(1..10);
        records.push(record("??", vec![doubtful(None, "no-key")]));
        assert_eq!(snapshot(&world, records).await, 0);
    }
}

#[tokio::test]
async fn a_held_row_counts_as_seen() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    for n in 0..3 {
        let mut records = catalogue(1..10);
        records.push(record(&format!("?{n}"), vec![doubtful(Some(key("0")), "unknown-code")]));
        assert_eq!(snapshot(&world, records).await, 0);
    }
}

#[tokio::test]
async fn a_bulk_withdrawal_is_held_and_done_only_when_released() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    world.deliver().await;
    for _ in 0..3 {
        assert_eq!(snapshot(&world, catalogue(5..10)).await, 0);
    }
    let items = open_items(&world).await;
    assert_eq!((items.len(), items[0].reason.as_str(), items[0].leg.as_str()), (1, "bulk-withdrawal", "withdrawal"));
    let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
    assert_eq!(
        (detail.findings.len(), detail.findings[0].message.as_str()),
        (6, "5 of 10 entities are missing from the snapshot")
    );
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.store.held_release(1, "ops").await.unwrap(), 5);
    assert_eq!(world.deliver().await.len(), 5);
    assert_eq!(snapshot(&world, catalogue(5..10)).await, 0);
    assert!(open_items(&world).await.is_empty());
}

#[tokio::test]
async fn a_corrected_mapping_does_not_bring_back_what_is_gone() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    snapshot(&world, catalogue(1..10)).await;
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 1);
    world.deliver().await;
    let mut again = record("0=a", vec![mapped("0", "corrected")]);
    (again.archived, again.mapping_version) = (Some(1), "demo@2".into());
    world.give_to("peis/packages", vec![again]).await;
    assert!(world.deliver().await.is_empty());
}

#[tokio::test]
async fn an_entity_that_other_streams_know_is_composed_without_the_missing_part() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    world.give_to("lis/results", vec![record("r", vec![mapped("0", "doubt")])]).await;
    snapshot(&world, catalogue(1..10)).await;
    assert_eq!(snapshot(&world, catalogue(1..10)).await, 0, "the composer can't vouch for the rest");
    assert_eq!(open_items(&world).await.len(), 2);
    world.give_to("lis/results", vec![record("r2", vec![mapped("0", "fine")])]).await;
    assert!(open_items(&world).await.is_empty());
    assert!(world.deliver().await.last().unwrap().kind.ends_with("withdrawn"));
}

#[tokio::test]
async fn a_bulk_withdrawal_is_off_when_the_entities_come_back() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    snapshot(&world, vec![]).await;
    snapshot(&world, vec![]).await;
    assert_eq!(open_items(&world).await.len(), 1);
    snapshot(&world, catalogue(0..10)).await;
    assert!(open_items(&world).await.is_empty());
    assert!(matches!(world.store.held_release(1, "ops").await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_dismissed_bulk_withdrawal_is_not_asked_for_again() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    snapshot(&world, catalogue(5..10)).await;
    snapshot(&world, catalogue(5..10)).await;
    world.store.held_dismiss(1, "ops", "the view was filtered").await.unwrap();
    snapshot(&world, catalogue(5..10)).await;
    assert!(open_items(&world).await.is_empty());
    snapshot(&world, catalogue(6..10)).await;
    snapshot(&world, catalogue(6..10)).await;
    assert_eq!(open_items(&world).await.len(), 1, "one more is missing: that is news");
    assert_eq!(world.store.held_release(2, "ops").await.unwrap(), 6, "a person may think better of it");
}

#[tokio::test]
async fn what_a_person_refused_to_withdraw_stays_however_the_catalogue_grows() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    snapshot(&world, catalogue(5..10)).await;
    snapshot(&world, catalogue(5..10)).await;
    world.store.held_dismiss(1, "ops", "not yet in the new view").await.unwrap();
    for _ in 0..3 {
        assert_eq!(snapshot(&world, catalogue(5..60)).await, 0, "5 of 60 are not bulk, and refused all the same");
    }
    snapshot(&world, catalogue(0..60)).await;
    snapshot(&world, catalogue(1..60)).await;
    assert_eq!(snapshot(&world, catalogue(1..60)).await, 1, "what came back is judged anew");
}

#[tokio::test]
async fn a_row_that_comes_back_while_its_withdrawal_is_held_is_taken() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    world.give_to("lis/results", vec![record("r", vec![mapped("0", "doubt")])]).await;
    snapshot(&world, catalogue(1..10)).await;
    snapshot(&world, catalogue(1..10)).await;
    snapshot(&world, catalogue(0..10)).await;
    world.give_to("lis/results", vec![record("r2", vec![mapped("0", "fine")])]).await;
    assert!(open_items(&world).await.is_empty());
    assert!(world.deliver().await.last().unwrap().kind.ends_with("upserted"));
}

#[tokio::test]
async fn rows_of_one_catalogue_that_contradict_each_other_are_held_and_upstream_keeps_the_last_good() {
    let world = World::new();
    snapshot(&world, catalogue(0..10)).await;
    world.deliver().await;
    for _ in 0..3 {
        let mut records = catalogue(0..9);
        records.extend([says("0", "b"), says("0", "c")]);
        assert_eq!(snapshot(&world, records).await, 0, "which row means which entity is not known: 9 stays");
        assert!(world.deliver().await.is_empty());
    }
    let items = open_items(&world).await;
    let reasons: Vec<_> = items.iter().map(|item| item.reason.as_str()).collect();
    assert_eq!(reasons, ["duplicate-key"; 3]);
    let stream = StreamId::parse("peis/packages").unwrap();
    let stale = world.store.read(move |reader| reader.stale_held(&stream, "demo@2", 0, 10)).await.unwrap();
    assert!(stale.is_empty(), "one by one each would look fine");
    let mut repaired = catalogue(1..10);
    repaired.push(says("0", "c"));
    snapshot(&world, repaired).await;
    assert_eq!(world.deliver().await.len(), 1);
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert!(totals.adds_up, "{totals:?}");
}
