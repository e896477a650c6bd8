//! Reports of several parts: whole or not at all, and waiting is a state that somebody can see.

use super::acts::totals;
use super::*;

fn header(data: &str) -> Incoming {
    record(&format!("header {data}"), vec![part_of(mapped("1", data), "header")])
}

async fn reasons(world: &World) -> Vec<(String, i64)> {
    let overview = world.store.read(Reader::overview).await.unwrap();
    overview.held_open.into_iter().map(|held| (held.reason, held.count)).collect()
}

async fn open_items(world: &World) -> Vec<HeldSummary> {
    let filter = HeldFilter { open_only: true, ..HeldFilter::default() };
    world.store.read(move |reader| reader.held_list(&filter, 9, 0)).await.unwrap()
}

#[tokio::test]
async fn a_part_waits_for_the_others_and_the_whole_goes_by_itself() {
    let world = World::new();
    world.give(vec![header("a")]).await;
    assert!(world.deliver().await.is_empty(), "never half");
    assert_eq!(reasons(&world).await, [("waiting-for-parts".to_owned(), 1)]);
    let until = open_items(&world).await[0].waits_until.unwrap();
    assert_eq!(until, world.clock.now() + TimeDelta::hours(1));
    world.wait(600);
    world.give(vec![header("b")]).await;
    let items = open_items(&world).await;
    assert_eq!((items.len(), items[0].waits_until), (1, Some(until)), "a new version does not begin the wait anew");
    world.give_to("lis/results", vec![record("results", vec![part_of(mapped("1", "r"), "results")])]).await;
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(reasons(&world).await, []);
    let sums = Totals { source: 3, delivered: 1, unchanged: 2, adds_up: true, ..Totals::default() };
    assert_eq!(totals(&world).await, sums, "the parts that only waited are no problem that is left");
}

#[tokio::test]
async fn a_person_is_called_when_the_wait_is_over_and_not_before() {
    let world = World::new();
    world.give(vec![header("a")]).await;
    world.wait(3599);
    world.claim().await;
    assert_eq!(reasons(&world).await, [("waiting-for-parts".to_owned(), 1)]);
    world.wait(1);
    world.claim().await;
    assert_eq!(reasons(&world).await, [("parts-overdue".to_owned(), 1)]);
    world.give(vec![header("b")]).await;
    assert_eq!(reasons(&world).await, [("parts-overdue".to_owned(), 1)], "it stays a person's");
    world.give_to("lis/results", vec![record("results", vec![part_of(mapped("1", "r"), "results")])]).await;
    assert_eq!((world.deliver().await.len(), reasons(&world).await.len()), (1, 0));
    assert!(totals(&world).await.adds_up);
}

#[tokio::test]
async fn a_damaged_part_is_held_and_takes_nothing_else_with_it() {
    let world = World::new();
    world.give(vec![says("1", &"long enough to be packed ".repeat(20)), says("2", "a")]).await;
    world.deliver().await;
    let path = world.dir.path().join(schema::FILE_NAME);
    let damage = "UPDATE content SET body = zeroblob(7) WHERE id =
                    (SELECT content_id FROM part p JOIN entity n ON n.id = p.entity_id WHERE n.key = 'main:peis:1')";
    rusqlite::Connection::open(path).unwrap().execute_batch(damage).unwrap();
    world
        .give_to("lis/results", vec![record("r1", vec![mapped("1", "r")]), record("r3", vec![mapped("3", "r")])])
        .await;
    assert_eq!(world.deliver().await.len(), 1, "the other report of the batch");
    assert_eq!(reasons(&world).await, [("unreadable-event".to_owned(), 1)]);
    assert!(totals(&world).await.adds_up);
}

#[tokio::test]
async fn the_newest_arrival_counts_whatever_time_it_states() {
    let world = World::new();
    world.give(vec![record("updated 10:00", vec![mapped("1", "first")])]).await;
    world.give(vec![record("updated 09:00", vec![mapped("1", "corrected")])]).await;
    let told: Vec<_> = world.deliver().await.into_iter().map(|event| event.data["v"].clone()).collect();
    assert_eq!(told, ["first", "corrected"], "T5: a correction with an older update time");
    world.give(vec![record("back to draft", vec![absent("1", "draft")])]).await;
    let events = world.deliver().await;
    assert_eq!(events[0].kind, "hisync.exam_report.withdrawn", "T4: a state that goes back after delivery");
    assert_eq!(events[0].data["reason"], "reversed");
}
