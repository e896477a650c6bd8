//! Critical values: at once, before others, once for each value, never taken back.

use super::acts::totals;
use super::*;

pub(super) fn alarm(name: &str, value: &str) -> Outcome {
    let key = EntityKey::new(EntityType::CriticalValue, format!("main:peis:{name}"));
    Outcome::Mapped(Mapped::new(key, Wish::Present, format!("{{\"v\":\"{value}\"}}").into_bytes(), vec![]))
}

fn kinds(events: &[CloudEvent]) -> Vec<&str> {
    events.iter().map(|event| event.kind.strip_prefix("hisync.").unwrap()).collect()
}

const RAISED: &str = "critical_value.raised";

#[tokio::test]
async fn an_alarm_does_not_wait_for_its_report_nor_behind_others() {
    let world = World::new();
    world.give((0..9).map(|n| says(&n.to_string(), "a")).collect()).await;
    let report = doubtful(Some(key("9")), "empty-value");
    world.give(vec![record("9=a", vec![report, alarm("9/K", "7.1")])]).await;
    let first = world.store.claim(ClaimLimit { events: 1, bytes: 1 << 20 }).await.unwrap().remove(0);
    assert_eq!(first.key.entity, EntityType::CriticalValue);
    world.verdict(first.id, Verdict::Unsent).await;
    let urgent = world.store.take_urgent(ClaimLimit { events: 100, bytes: 1 << 20 }).await.unwrap();
    assert_eq!(urgent.len(), 1, "and nothing else");
    world.verdict(urgent[0].id, Verdict::Delivered { status: "accepted" }).await;
    let sums = world.store.read(Reader::overview).await.unwrap().totals;
    let told = Totals { source: 1, delivered: 1, adds_up: true, ..Totals::default() };
    assert_eq!(sums["critical_value"], told);
}

#[tokio::test]
async fn each_value_is_told_once() {
    let world = World::new();
    world.give(vec![record("a", vec![mapped("1", "a"), alarm("1/K", "7.1")])]).await;
    assert_eq!(kinds(&world.deliver().await), [RAISED, "exam_report.upserted"]);
    assert_eq!(
        world.give(vec![record("a", vec![mapped("1", "a"), alarm("1/K", "7.1")])]).await,
        [RecordReceipt::Reread]
    );
    world.give(vec![record("b", vec![mapped("1", "b"), alarm("1/K", "7.1")])]).await;
    assert_eq!(kinds(&world.deliver().await), ["exam_report.upserted"], "the report changed, the value did not");
    world.give(vec![record("c", vec![mapped("1", "c"), alarm("1/K", "7.4")])]).await;
    assert_eq!(kinds(&world.deliver().await), [RAISED, "exam_report.upserted"]);
    world.give_to("lis/results", vec![record("d", vec![alarm("1/K", "7.4")])]).await;
    assert!(world.deliver().await.is_empty(), "another system tells the same");
}

#[tokio::test]
async fn a_mapping_that_learns_of_an_alarm_makes_no_new_version_of_its_record() {
    let world = World::new();
    world.give(vec![record("a", vec![mapped("1", "a")])]).await;
    let mut corrected = record("a", vec![mapped("1", "a"), alarm("1/K", "7.1")]);
    corrected.mapping_version = "demo@2".into();
    assert_eq!(world.give(vec![corrected]).await, [RecordReceipt::Reread]);
    assert_eq!(kinds(&world.deliver().await), [RAISED, "exam_report.upserted"]);
    assert!(totals(&world).await.adds_up);
}

#[tokio::test]
async fn an_alarm_is_never_taken_back_nor_missing() {
    let world = World::new();
    let take = |records| IncomingBatch { snapshot: Some(SnapshotPolicy::default()), ..batch("peis/register", records) };
    world.store.commit(take(vec![record("a", vec![alarm("1/K", "7.1")]), says("2", "a")])).await.unwrap();
    world.deliver().await;
    for _ in 0..3 {
        world.store.commit(take(vec![says("2", "a")])).await.unwrap();
    }
    let key = EntityKey::new(EntityType::CriticalValue, "main:peis:1/K");
    let absent = Wish::Absent { reason: "deleted".into() };
    let gone = Outcome::Mapped(Mapped::new(key, absent, b"{}".to_vec(), vec![]));
    world.give_to("peis/register", vec![record("gone", vec![gone])]).await;
    assert!(world.deliver().await.is_empty());
}
