//! Catalogues that change too much, packages that wait for their dictionary, streams that wait for their first sample.

use std::collections::HashMap;

use super::alarms::alarm;
use super::attachments::{settle, with_files};
use super::*;

/// The stream whose changes the test's composer guards.
pub(super) const GUARDED: &str = "peis/guarded";

fn entity(kind: EntityType, name: &str, data: &str) -> Incoming {
    let key = EntityKey::new(kind, format!("main:peis:{name}"));
    let mapped = Mapped::new(key, Wish::Present, data.as_bytes().to_vec(), vec![name.to_owned()]);
    record(&format!("{name}={data}"), vec![Outcome::Mapped(mapped)])
}

fn package(name: &str, price: &str) -> Incoming {
    entity(EntityType::ExamPackage, name, &format!("{{\"price\":\"{price}\"}}"))
}

async fn snapshot(world: &World, stream: &str, records: Vec<Incoming>) {
    let mut batch = batch(stream, records);
    batch.snapshot = Some(SnapshotPolicy::default());
    world.store.commit(batch).await.unwrap();
}

async fn read(world: &World, prices: [&str; 3]) {
    let records = ["P1", "P2", "P3"].into_iter().zip(prices).map(|(name, price)| package(name, price));
    snapshot(world, GUARDED, records.collect()).await;
}

async fn items(world: &World) -> Vec<(String, String)> {
    let list = world.store.read(|reader| reader.held_list(&HeldFilter::default(), 100, 0)).await.unwrap();
    list.into_iter().map(|item| (item.reason, item.state)).collect()
}

fn item(reason: &str, state: &str) -> (String, String) {
    (reason.to_owned(), state.to_owned())
}

async fn adds_up(world: &World) -> Totals {
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_package"];
    assert!(totals.adds_up, "{totals:?}");
    totals
}

async fn doubted() -> World {
    let world = World::new();
    read(&world, ["a", "a", "a"]).await;
    assert_eq!(world.deliver().await.len(), 3);
    read(&world, ["jump", "b", "a"]).await;
    assert_eq!(items(&world).await, [item("mass-change", "open")]);
    assert_eq!(world.deliver().await.len(), 0, "the doubtful change holds back all that came with it");
    assert_eq!((adds_up(&world).await.held, adds_up(&world).await.delivered), (2, 3));
    world
}

#[tokio::test]
async fn a_person_releases_a_changed_catalogue_as_one() {
    let world = doubted().await;
    world.store.held_release(1, "wang").await.unwrap();
    assert_eq!(world.deliver().await.len(), 2);
    assert_eq!(items(&world).await, [item("mass-change", "released")]);
    assert_eq!((adds_up(&world).await.held, adds_up(&world).await.delivered), (0, 5));
    read(&world, ["jump", "b", "a"]).await;
    assert_eq!(items(&world).await.len(), 1);
}

#[tokio::test]
async fn an_equal_snapshot_releases_a_changed_catalogue_after_a_while_and_a_different_one_does_not() {
    let world = doubted().await;
    world.wait(1800);
    read(&world, ["jump", "b", "a"]).await;
    assert_eq!(world.deliver().await.len(), 0, "too soon");
    world.wait(1700);
    read(&world, ["jump", "c", "a"]).await;
    world.wait(1700);
    read(&world, ["jump", "c", "a"]).await;
    assert_eq!(world.deliver().await.len(), 0, "it is another change since half an hour ago");
    world.wait(1900);
    read(&world, ["jump", "c", "a"]).await;
    assert_eq!(world.deliver().await.len(), 2);
    assert_eq!(items(&world).await, [item("mass-change", "released")]);
    adds_up(&world).await;
}

#[tokio::test]
async fn a_catalogue_that_goes_back_asks_nobody_and_sends_what_is_not_doubted() {
    let world = doubted().await;
    read(&world, ["a", "b", "a"]).await;
    assert_eq!(items(&world).await, [item("mass-change", "released")]);
    let events = world.deliver().await;
    assert_eq!(events.iter().map(|event| event.subject.as_str()).collect::<Vec<_>>(), ["exam_package/main:peis:P2"]);
    adds_up(&world).await;
}

#[tokio::test]
async fn a_dismissed_change_stays_back_until_the_catalogue_says_something_else() {
    let world = doubted().await;
    world.store.held_dismiss(1, "wang", "typing error").await.unwrap();
    world.wait(7200);
    read(&world, ["jump", "b", "a"]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await.len()), (0, 1));
    read(&world, ["jump", "b", "z"]).await;
    assert_eq!(items(&world).await, [item("mass-change", "dismissed"), item("mass-change", "open")]);
    adds_up(&world).await;
}

#[tokio::test]
async fn a_single_change_outside_of_a_snapshot_is_doubted_too() {
    let world = World::new();
    world.give_to(GUARDED, vec![package("P1", "a")]).await;
    world.deliver().await;
    world.give_to(GUARDED, vec![package("P1", "jump")]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("mass-change", "open")]));
    world.store.held_release(1, "wang").await.unwrap();
    assert_eq!(world.deliver().await.len(), 1);
    adds_up(&world).await;
}

#[tokio::test]
async fn a_package_follows_by_itself_once_the_dictionary_has_all_its_groups() {
    let world = World::new();
    let package =
        |v: &str| entity(EntityType::ExamPackage, "P1", &format!("{{\"items\":[\"G1\",\"G2\"],\"v\":\"{v}\"}}"));
    world.give_to("peis/packages", vec![package("1")]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("group-unknown", "open")]));
    world.give_to("peis/groups", vec![entity(EntityType::ExamItemGroup, "G1", "{}")]).await;
    assert_eq!(items(&world).await, [item("group-unknown", "open")]);
    world.give_to("peis/groups", vec![entity(EntityType::ExamItemGroup, "G2", "{}")]).await;
    assert_eq!(items(&world).await, [item("group-unknown", "retried")]);
    let subjects: Vec<String> = world.deliver().await.into_iter().map(|event| event.subject).collect();
    assert_eq!(subjects.len(), 3, "{subjects:?}");
    assert_eq!((adds_up(&world).await.held, adds_up(&world).await.delivered), (0, 1));
    world.give_to("peis/packages", vec![package("2")]).await;
    assert_eq!(world.deliver().await.len(), 1, "its groups are known");
}

/// A group of the dictionary, as the model has it.
fn group(code: &str, enabled: bool) -> Incoming {
    let text = std::fs::read_to_string("fixtures/mapping/group-dictionary/expected.json").unwrap();
    let mut shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let data = shown.pointer_mut("/0/mapped/data").unwrap();
    (data["group_code"], data["enabled"]) = (code.into(), enabled.into());
    entity(EntityType::ExamItemGroup, code, &data.to_string())
}

fn made_of(groups: &[&str]) -> Incoming {
    entity(EntityType::ExamPackage, "P1", &serde_json::json!({ "items": groups }).to_string())
}

#[tokio::test]
async fn a_group_that_is_turned_off_is_held_against_the_packages_that_upstream_has() {
    let world = World::new();
    world.give_to("peis/groups", vec![group("G1", true), group("G2", true)]).await;
    world.give_to("peis/packages", vec![made_of(&["G1", "G2"])]).await;
    assert_eq!(world.deliver().await.len(), 3);
    world.give_to("peis/groups", vec![group("G2", false)]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (1, vec![item("group-off", "open")]));
    assert_eq!((adds_up(&world).await.held, adds_up(&world).await.delivered), (0, 1), "upstream keeps what it has");
    // The same package again says nothing new; mapped again it is still made of a group that is off.
    world.give_to("peis/packages", vec![made_of(&["G1", "G2"])]).await;
    let mut again = made_of(&["G1", "G2"]);
    again.archived = Some(world.raw_sql("SELECT archive_id FROM held"));
    world.give_to("peis/packages", vec![again]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("group-off", "open")]));
    adds_up(&world).await;
    world.give_to("peis/groups", vec![group("G2", true)]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (1, vec![item("group-off", "retried")]));
    assert_eq!(adds_up(&world).await.held, 0);
    // And a package that leaves the group out settles it as well.
    world.give_to("peis/groups", vec![group("G2", false)]).await;
    world.give_to("peis/packages", vec![made_of(&["G1"])]).await;
    assert_eq!(world.deliver().await.len(), 2);
    assert_eq!(items(&world).await, [item("group-off", "retried"), item("group-off", "superseded")]);
    adds_up(&world).await;
}

#[tokio::test]
async fn an_entity_that_is_taken_from_the_dictionary_is_held_against_the_packages_that_upstream_has() {
    let world = World::new();
    let groups = ["G1", "G2", "G3", "G4", "G5", "G6"];
    snapshot(&world, "peis/groups", groups.map(|code| group(code, true)).into()).await;
    world.give_to("peis/packages", vec![made_of(&["G1", "G2"])]).await;
    assert_eq!(world.deliver().await.len(), 7);
    for _ in 0..2 {
        snapshot(&world, "peis/groups", groups[..1].iter().chain(&groups[2..]).map(|code| group(code, true)).collect())
            .await;
    }
    assert_eq!((world.deliver().await.len(), items(&world).await), (1, vec![item("group-unknown", "open")]));
    adds_up(&world).await;
}

#[tokio::test]
async fn a_report_that_waits_for_its_dictionary_follows_by_itself_and_one_that_is_only_warned_of_goes() {
    let world = World::new();
    let report = |name: &str, data: &str| entity(EntityType::ExamReport, name, data);
    world.give(vec![report("R1", r#"{"of":"G1"}"#), report("R2", r#"{"of":"I1"}"#)]).await;
    let events = world.deliver().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data["issues"], serde_json::json!(["item-unknown"]), "upstream is told");
    // What upstream was told beside it is no difference, whatever the dictionary says by now.
    world.give_to("peis/items", vec![entity(EntityType::ExamItem, "I1", "{}")]).await;
    world.give(vec![record("R2 again", report("R2", r#"{"of":"I1"}"#).outcomes)]).await;
    world.give_to("peis/groups", vec![entity(EntityType::ExamItemGroup, "G1", "{}")]).await;
    let subjects: Vec<String> = world.deliver().await.into_iter().map(|event| event.subject).collect();
    assert_eq!(subjects, ["exam_item/main:peis:I1", "exam_item_group/main:peis:G1", "exam_report/main:peis:R1"]);
    assert_eq!(items(&world).await, [item("group-unknown", "retried")]);
    assert!(world.store.read(Reader::totals).await.unwrap()["exam_report"].adds_up);
}

#[tokio::test]
async fn a_person_releases_what_contradicts_the_dictionary_and_upstream_is_told() {
    let world = World::new();
    world.give(vec![entity(EntityType::ExamReport, "R1", r#"{"of":"G1"}"#)]).await;
    world.store.held_release(1, "wang").await.unwrap();
    let events = world.deliver().await;
    assert_eq!((events.len(), &events[0].data["issues"]), (1, &serde_json::json!(["group-unknown"])));
    assert!(world.store.read(Reader::totals).await.unwrap()["exam_report"].adds_up);
}

#[tokio::test]
async fn many_that_wait_for_one_entry_follow_over_several_commits() {
    let world = World::new();
    let waiting = (0..450).map(|n| entity(EntityType::ExamReport, &format!("R{n}"), r#"{"of":"G1"}"#));
    world.give(waiting.collect()).await;
    assert_eq!(world.deliver().await.len(), 0);
    world.give_to("peis/groups", vec![entity(EntityType::ExamItemGroup, "G1", "{}")]).await;
    let queued: i64 = world.raw_sql("SELECT count(*) FROM outbox");
    assert_eq!(queued, 201, "one commit stays short");
    assert_eq!(world.deliver().await.len(), 451);
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert!(totals.adds_up && totals.held == 0, "{totals:?}");
}

async fn judged(records: u32) -> World {
    let world = World::new();
    let policy = StartPolicy { records, ..StartPolicy::default() };
    world.store.judge_starts(HashMap::from([("peis/reports".to_owned(), policy)])).await.unwrap();
    world
}

async fn judge(world: &World, moment: Moment) {
    world.store.judge(&StreamId::parse("peis/reports").unwrap(), moment).await.unwrap();
}

fn report(name: &str, sex: &str) -> Incoming {
    // The identity number in it is a man's.
    let text = std::fs::read_to_string("fixtures/mapping/report-absence/expected-words.json").unwrap();
    let mut shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let data = shown.pointer_mut("/0/mapped/data").unwrap();
    data["examinee"]["sex"] = sex.into();
    data["visit"]["exam_no"] = name.into();
    entity(EntityType::ExamReport, name, &data.to_string())
}

#[tokio::test]
async fn a_new_stream_delivers_after_its_first_round_however_little_it_gave() {
    let world = judged(30).await;
    world.give(vec![says("1", "a")]).await;
    judge(&world, Moment::Batch).await;
    assert_eq!(world.deliver().await.len(), 0);
    assert_eq!(world.store.read(Reader::onboarding).await.unwrap().len(), 1);
    assert_eq!(world.store.read(Reader::overview).await.unwrap().oldest_undelivered_at, None);
    judge(&world, Moment::Round).await;
    assert_eq!(world.deliver().await.len(), 1);
    assert!(world.store.read(Reader::onboarding).await.unwrap().is_empty());
    world.give(vec![says("2", "a")]).await;
    assert_eq!(world.deliver().await.len(), 1, "it has started");
}

#[tokio::test]
async fn a_stream_without_rounds_is_judged_by_enough_records_or_after_a_while() {
    let world = judged(2).await;
    world.give(vec![says("1", "a")]).await;
    judge(&world, Moment::Batch).await;
    assert_eq!(world.deliver().await.len(), 0);
    world.give(vec![says("2", "a")]).await;
    judge(&world, Moment::Batch).await;
    assert_eq!(world.deliver().await.len(), 2);

    let world = judged(30).await;
    world.give(vec![says("1", "a")]).await;
    world.wait(120);
    judge(&world, Moment::Tick).await;
    assert_eq!(items(&world).await, [item("onboarding", "open")], "whoever waits sees why");
    world.wait(600);
    judge(&world, Moment::Tick).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (1, vec![item("onboarding", "released")]));
}

#[tokio::test]
async fn a_stream_whose_sexes_contradict_identity_numbers_waits_for_a_person_or_a_corrected_mapping() {
    let world = judged(30).await;
    world.give(vec![report("1", "female"), report("2", "female"), report("3", "male")]).await;
    judge(&world, Moment::Round).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("onboarding", "open")]));
    let world = world.reopen();
    let policy = StartPolicy::default();
    world.store.judge_starts(HashMap::from([("peis/reports".to_owned(), policy)])).await.unwrap();
    judge(&world, Moment::Round).await;
    assert_eq!(world.deliver().await.len(), 0, "a restart changes nothing");
    world.store.held_release(1, "wang").await.unwrap();
    assert_eq!(world.deliver().await.len(), 3);

    let world = judged(30).await;
    world.give(vec![report("1", "female"), report("2", "female")]).await;
    judge(&world, Moment::Round).await;
    world.give(vec![report("1", "male"), report("2", "male")]).await;
    judge(&world, Moment::Round).await;
    let events = world.deliver().await;
    assert!(
        events.len() == 2 && events.iter().all(|event| event.data["examinee"]["sex"] == "male"),
        "never the wrong ones"
    );
    assert_eq!(items(&world).await, [item("onboarding", "released")]);
    assert!(world.store.read(Reader::totals).await.unwrap()["exam_report"].adds_up);
    let verified = world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap();
    assert!(verified.faults.is_empty(), "what is set aside waits no more: {verified:?}");
}

#[tokio::test]
async fn an_alarm_waits_for_no_judgement_of_its_stream_and_an_event_still_for_its_file() {
    let world = judged(30).await;
    world.give(vec![record("1=a", vec![mapped("1", "a"), alarm("1/K", "7.1")])]).await;
    world.give(vec![with_files("2", "a", &[("pdf", None)])]).await;
    let alarms = world.deliver().await;
    assert_eq!(alarms.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["hisync.critical_value.raised"]);
    world.give(vec![record("1=b", vec![mapped("1", "a"), alarm("1/K", "7.9")])]).await;
    assert_eq!(world.deliver().await.len(), 1, "the next value of it is told too");
    judge(&world, Moment::Round).await;
    assert_eq!(world.deliver().await.len(), 1, "the report without a file");
    settle(&world, "pdf", FileVerdict::Stored).await;
    assert_eq!(world.deliver().await.len(), 1);

    let world = judged(30).await;
    world.give(vec![with_files("2", "a", &[("pdf", None)])]).await;
    settle(&world, "pdf", FileVerdict::Stored).await;
    assert_eq!(world.deliver().await.len(), 0, "the file is there, the judgement is not");
    judge(&world, Moment::Round).await;
    assert_eq!(world.deliver().await.len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_judged_no_more_delivers() {
    let world = judged(30).await;
    world.give(vec![says("1", "a")]).await;
    world.store.judge_starts(HashMap::new()).await.unwrap();
    assert_eq!(world.deliver().await.len(), 1);
}

#[tokio::test]
async fn daily_figures_count_each_record_once() {
    let world = World::new();
    world.give(vec![report("1", "female"), report("2", "male")]).await;
    world.give(vec![record("?", vec![doubtful(Some(key("3")), "unknown-code")])]).await;
    while world.store.count_figures(chrono_tz::Asia::Shanghai).await.unwrap() {}
    assert!(!world.store.count_figures(chrono_tz::Asia::Shanghai).await.unwrap());
    let days = world.store.read(|reader| reader.canaries("2026-01-01")).await.unwrap();
    assert_eq!((days.len(), days[0].day.as_str(), days[0].stream.as_str()), (1, "2026-03-02", "peis/reports"));
    let n = |name: &str| days[0].figures.get(name).copied().unwrap_or(0);
    assert_eq!((n("entities"), n("held"), n("unknown"), n("male"), n("female")), (3, 1, 1, 1, 1));
    assert_eq!((n("ids"), n("ids_agree")), (2, 1));
}

#[tokio::test]
async fn a_delivered_report_that_loses_results_follows_once_a_later_read_agrees() {
    let world = World::new();
    world.give(vec![says("1", "whole")]).await;
    world.deliver().await;
    world.give(vec![says("1", "torn")]).await;
    world.wait(30);
    world.give(vec![says("1", "torn")]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("result-vanished", "open")]));
    world.wait(31);
    world.give(vec![says("1", "torn")]).await;
    let events = world.deliver().await;
    assert_eq!((events.len(), events[0].data["v"].as_str()), (1, Some("torn, and it says so")));
    assert_eq!(items(&world).await, [item("result-vanished", "released")]);
    // What upstream was told beside it is no difference.
    world.give(vec![says("1", "torn")]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await.len()), (0, 1));
    assert!(world.store.read(Reader::totals).await.unwrap()["exam_report"].adds_up);
}

#[tokio::test]
async fn a_delivered_report_that_is_whole_again_asks_nobody() {
    let world = World::new();
    world.give(vec![says("1", "whole")]).await;
    world.deliver().await;
    world.give(vec![says("1", "torn")]).await;
    world.give(vec![record("1 again", vec![mapped("1", "whole")])]).await;
    assert_eq!((world.deliver().await.len(), items(&world).await), (0, vec![item("result-vanished", "superseded")]));
}

fn codes(pairs: &[(&str, &str)]) -> Codes {
    let pairs = pairs.iter().map(|(local, standard)| ((*local).to_owned(), (*standard).to_owned()));
    Codes::from([("sex".to_owned(), pairs.collect())])
}

#[tokio::test]
async fn a_version_that_only_knows_more_codes_concerns_only_the_records_that_hold_one() {
    let world = World::new();
    let stream = StreamId::parse("peis/reports").unwrap();
    world.store.remember_codes("demo@1", "demo@base", codes(&[("1", "male")])).await.unwrap();
    world.give(vec![says("1", "a"), record("?2", vec![doubtful(Some(key("2")), "unknown-code")])]).await;
    world.store.remember_codes("demo@2", "demo@base", codes(&[("1", "male"), ("Q", "female")])).await.unwrap();
    world.store.remember_codes("demo@3", "demo@base", codes(&[("1", "female")])).await.unwrap();
    let stale = |version: &'static str| {
        let stream = stream.clone();
        let read = move |reader: &Reader| {
            let held = reader.stale_held(&stream, version, 0, 10)?.len();
            Ok((held, reader.stale_parts(&stream, version, 0, 10)?.len()))
        };
        world.store.read(read)
    };
    assert_eq!(stale("demo@1").await.unwrap(), (0, 0));
    assert_eq!(stale("demo@2").await.unwrap(), (0, 0), "it reads everything else in the same way");
    assert_eq!(stale("demo@3").await.unwrap(), (1, 1), "a code means something else");
    assert_eq!(stale("demo@4").await.unwrap(), (1, 1), "nobody noted what it knows");
    let unknown = world.store.read(Reader::unknown_codes).await.unwrap();
    assert_eq!((unknown.len(), unknown[0].value.as_str(), unknown[0].count, unknown[0].held), (1, "Q", 1, 1));
    let id = unknown[0].id;
    let records = world.store.read(move |reader| reader.records_with_code(id, 0, 10)).await.unwrap();
    assert_eq!(records.len(), 1);
    let mut again = record("?2", vec![mapped("2", "b")]);
    again.archived = Some(records[0].archive_id);
    world.give(vec![again]).await;
    assert!(world.store.read(Reader::unknown_codes).await.unwrap().is_empty());
    assert_eq!(world.deliver().await.len(), 2);
}
