//! Held items: opened, mapped again, superseded, retried, dismissed; and what people see.

use super::*;

fn held(raw: &str, name: Option<&str>, reason: &str) -> Incoming {
    record(raw, vec![doubtful(name.map(key), reason)])
}

async fn states(world: &World) -> Vec<String> {
    let items = world.store.read(|reader| reader.held_list(&HeldFilter::default(), 100, 0)).await.unwrap();
    items.into_iter().map(|item| item.state).collect()
}

pub(super) async fn totals(world: &World) -> Totals {
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert!(totals.adds_up, "{totals:?}");
    totals
}

/// The record again, mapped by a corrected mapping.
fn again(raw: &str, archive_id: i64, outcome: Outcome) -> Incoming {
    Incoming { archived: Some(archive_id), mapping_version: "demo@2".into(), ..record(raw, vec![outcome]) }
}

#[tokio::test]
async fn a_held_record_is_archived_counted_and_shown_and_reading_it_again_changes_nothing() {
    let world = World::new();
    world.give(vec![held("?1", Some("1"), "unknown-code"), held("??", None, "hl7-charset")]).await;
    let reread = world.give(vec![held("?1", Some("1"), "unknown-code"), held("??", None, "hl7-charset")]).await;
    assert_eq!(reread, [RecordReceipt::Reread, RecordReceipt::Reread]);
    assert_eq!((totals(&world).await.source, totals(&world).await.held), (2, 2));
    let detail = world.store.read(|reader| reader.held_show(2)).await.unwrap();
    assert_eq!((&detail.record.unwrap().body[..], detail.item.key), (&b"??"[..], None));
    let overview = world.store.read(Reader::overview).await.unwrap();
    let open: Vec<_> = overview.held_open.iter().map(|held| (held.reason.as_str(), held.count)).collect();
    assert_eq!(open, [("hl7-charset", 1), ("unknown-code", 1)]);
    let codes = world.store.read(Reader::unknown_codes).await.unwrap();
    assert_eq!((codes.len(), codes[0].value.as_str(), codes[0].count), (1, "Q", 1));
}

#[tokio::test]
async fn a_corrected_mapping_turns_a_held_record_into_an_event_and_counts_it_once() {
    let world = World::new();
    world.give(vec![held("?1", Some("1"), "unknown-code")]).await;
    let stream = StreamId::parse("peis/reports").unwrap();
    let stale = world.store.read(move |reader| reader.stale_held(&stream, "demo@2", 0, 10)).await.unwrap();
    assert_eq!((stale.len(), &stale[0].raw.body[..]), (1, &b"?1"[..]));
    world.give(vec![again("?1", stale[0].archive_id, mapped("1", "a"))]).await;
    assert_eq!(states(&world).await, ["retried"]);
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!((totals(&world).await.source, totals(&world).await.delivered), (1, 1));
    let again = world.give(vec![again("?1", stale[0].archive_id, mapped("1", "a"))]).await;
    assert_eq!(again.len(), 1);
    assert_eq!((totals(&world).await.source, totals(&world).await.delivered), (1, 1));
}

#[tokio::test]
async fn an_older_revision_that_comes_late_is_held() {
    let world = World::new();
    let version = |revision: &str, data: &str| {
        let Outcome::Mapped(it) = mapped("1", data) else { panic!("it is mapped") };
        let outcome = Outcome::Mapped(Mapped { revision: Some(revision.to_owned()), ..it });
        record(&format!("{revision}={data}"), vec![outcome])
    };
    world.give(vec![version("9", "a"), version("10", "b")]).await;
    assert_eq!(world.deliver().await.len(), 2);
    world.give(vec![version("9", "late")]).await;
    assert_eq!((world.deliver().await.len(), states(&world).await), (0, vec!["open".to_owned()]));
    assert_eq!((totals(&world).await.held, totals(&world).await.source), (1, 3));
    // The newest again, as a poll reads it: nothing new, and the item is settled.
    world.give(vec![version("10", "b")]).await;
    assert_eq!((world.deliver().await.len(), states(&world).await), (0, vec!["superseded".to_owned()]));
    // The same number with another content: the source did not count on.
    world.give(vec![version("10", "c")]).await;
    assert_eq!(world.deliver().await.len(), 1);
    totals(&world).await;
}

#[tokio::test]
async fn a_record_that_is_held_again_keeps_its_item() {
    let world = World::new();
    world.give(vec![held("?1", Some("1"), "unknown-code"), held("??", None, "hl7-charset")]).await;
    world.give(vec![again("?1", 1, doubtful(Some(key("1")), "bad-date"))]).await;
    world.give(vec![again("??", 2, doubtful(None, "hl7-charset"))]).await;
    assert_eq!(states(&world).await, ["open", "open"]);
    let filter = HeldFilter { reason: Some("bad-date".into()), open_only: true, ..HeldFilter::default() };
    let items = world.store.read(move |reader| reader.held_list(&filter, 10, 0)).await.unwrap();
    assert_eq!((items[0].id, items[0].mapping_version.as_deref()), (1, Some("demo@2")));
    assert_eq!(totals(&world).await.source, 2);
}

#[tokio::test]
async fn an_old_record_never_overwrites_a_newer_one() {
    let world = World::new();
    world.give(vec![held("?1", Some("1"), "unknown-code")]).await;
    world.give(vec![says("1", "new")]).await;
    assert_eq!(states(&world).await, ["superseded"], "the newer record settles the older one");
    world.give(vec![again("?1", 1, mapped("1", "old"))]).await;
    let events = world.deliver().await;
    assert_eq!((events.len(), events[0].data["v"].as_str()), (1, Some("new")));
    assert_eq!((totals(&world).await.held, totals(&world).await.delivered), (1, 1));
}

#[tokio::test]
async fn entities_under_an_old_mapping_are_found_and_only_what_changes_is_sent() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a"), says("3", "a")]).await;
    world.deliver().await;
    let stale = async |after| {
        let stream = StreamId::parse("peis/reports").unwrap();
        world.store.read(move |reader| reader.stale_parts(&stream, "demo@2", after, 2)).await.unwrap()
    };
    let page = stale(0).await;
    assert_eq!(page.iter().map(|record| record.archive_id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(stale(page[1].cursor).await.len(), 1);
    world.give(vec![again("1=a", 1, mapped("1", "a")), again("2=a", 2, mapped("2", "corrected"))]).await;
    world.give(vec![again("3=a", 3, doubtful(Some(key("3")), "unknown-code"))]).await;
    assert!(stale(0).await.is_empty(), "what is held under the new mapping is not stale");
    let events = world.deliver().await;
    assert_eq!((events.len(), events[0].data["v"].as_str()), (1, Some("corrected")));
    let totals = totals(&world).await;
    assert_eq!((totals.source, totals.delivered, totals.held), (3, 2, 1), "a record counts once, as it stands now");
}

#[tokio::test]
async fn a_record_that_goes_back_to_what_upstream_has_settles_the_held_one() {
    let world = World::new();
    world.give(vec![says("1", "a"), held("?1", Some("1"), "unknown-code")]).await;
    assert!(matches!(world.give(vec![says("1", "a")]).await[0], RecordReceipt::Stored { .. }));
    assert_eq!(states(&world).await, ["superseded"]);
    assert_eq!(world.deliver().await.len(), 1);
}

#[tokio::test]
async fn parts_that_do_not_fit_are_held_until_one_of_them_changes() {
    let world = World::new();
    world.give_to("peis/reports", vec![says("1", "doubt")]).await;
    world.give_to("lis/results", vec![record("r", vec![mapped("1", "x")])]).await;
    assert_eq!(states(&world).await, ["open"]);
    assert_eq!(world.give_to("lis/results", vec![record("r", vec![mapped("1", "x")])]).await, [RecordReceipt::Reread]);
    world.give_to("peis/reports", vec![says("1", "fine")]).await;
    assert_eq!(states(&world).await, ["retried"]);
    assert_eq!(world.deliver().await.len(), 2);
    totals(&world).await;
}

async fn refuse_all(world: &World) {
    for entry in world.claim().await {
        world.verdict(entry.id, Verdict::Held { code: "schema".into(), message: "no".into() }).await;
    }
}

#[tokio::test]
async fn a_refused_event_is_retried_under_its_id_unless_a_newer_version_went_out() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a"), says("2", "b")]).await;
    refuse_all(&world).await;
    world.store.held_retry_outbox(1, "ops").await.unwrap();
    assert!(matches!(world.store.held_retry_outbox(2, "ops").await, Err(Error::Superseded)));
    assert!(matches!(world.store.held_retry_outbox(1, "ops").await, Err(Error::Refused(_))));
    let events = world.deliver().await;
    assert_eq!(events.len(), 2);
    assert_eq!(states(&world).await, ["retried", "superseded"]);
    let detail = world.store.read(|reader| reader.held_show(1)).await.unwrap();
    assert_eq!((detail.history[0].who.as_str(), detail.history[0].act.as_str()), ("ops", "held-retry"));
    assert_eq!(totals(&world).await, Totals { source: 3, delivered: 2, held: 1, adds_up: true, ..Totals::default() });
}

#[tokio::test]
async fn a_dismissed_item_stays_counted_as_held_and_does_not_come_back_with_the_next_sweep() {
    let world = World::new();
    world.give(vec![held("?1", Some("1"), "unknown-code")]).await;
    world.store.held_dismiss(1, "ops", "a test person").await.unwrap();
    assert_eq!(world.give(vec![held("?1", Some("1"), "unknown-code")]).await, [RecordReceipt::Reread]);
    assert!(matches!(world.store.held_dismiss(1, "ops", "").await, Err(Error::Refused(_))));
    assert!(matches!(world.store.held_dismiss(9, "ops", "").await, Err(Error::NotFound { .. })));
    assert!(matches!(world.store.held_release(1, "ops").await, Err(Error::Refused(_))));
    assert_eq!(totals(&world).await.held, 1);
    assert!(world.store.read(Reader::overview).await.unwrap().held_open.is_empty());
}

#[tokio::test]
async fn a_message_that_fitted_no_stream_is_taken_when_it_is_sent_again_and_has_one() {
    let world = World::new();
    let sent = |outcome| Incoming { resend_key: Some("LAB|7".into()), ..record("m7", vec![outcome]) };
    let unrouted = || Incoming { mapping_version: String::new(), ..sent(doubtful(None, "unrouted")) };
    world.give_to("lis/unrouted", vec![unrouted()]).await;
    let stored = RecordReceipt::Resent { archive_id: 1 };
    assert_eq!(world.give_to("lis/unrouted", vec![unrouted()]).await, [stored]);
    assert_eq!(world.give_to("lis/results", vec![sent(mapped("1", "a"))]).await, [stored]);
    assert_eq!(world.give_to("lis/results", vec![sent(mapped("1", "a"))]).await, [stored]);
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(states(&world).await, ["retried"]);
    assert_eq!((totals(&world).await.source, totals(&world).await.delivered), (1, 1));
}

#[tokio::test]
async fn what_is_retried_for_a_stream_that_it_did_not_come_to_belongs_to_that_stream() {
    let world = World::new();
    world.give_to("lis/unrouted", vec![held("m7", None, "unrouted")]).await;
    world.give_to("lis/results", vec![again("m7", 1, mapped("1", "a"))]).await;
    world.give_to("lis/results", vec![record("m8", vec![mapped("1", "b")])]).await;
    let events = world.deliver().await;
    let told: Vec<_> = events.iter().map(|event| event.data["v"].as_str()).collect();
    assert_eq!(told, [Some("a"), Some("b")], "the next version replaces it, and is not joined to it");
    assert_eq!((totals(&world).await.source, totals(&world).await.delivered), (2, 2));
    let batch = batch("peis/reports", vec![again("m7", 1, mapped("1", "a"))]);
    assert!(matches!(world.store.commit(batch).await, Err(Error::NotFound { .. })), "another source's record");
}

#[tokio::test]
async fn a_report_that_turns_into_another_persons_waits_for_a_person() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.deliver().await;
    world.give(vec![says("1", "stranger")]).await;
    assert_eq!(world.give(vec![says("1", "stranger")]).await, [RecordReceipt::Reread]);
    world.give(vec![again("1=stranger", 2, mapped("1", "stranger"))]).await;
    assert!(world.deliver().await.is_empty(), "neither reading it again nor another mapping lets it pass");
    assert_eq!((totals(&world).await.held, states(&world).await), (1, vec!["open".to_owned()]));
    assert_eq!(world.store.held_release(1, "ops").await.unwrap(), 0);
    let events = world.deliver().await;
    assert_eq!((events.len(), events[0].data["v"].as_str()), (1, Some("stranger")));
    assert_eq!(totals(&world).await, Totals { source: 2, delivered: 2, adds_up: true, ..Totals::default() });
    assert!(matches!(world.store.held_release(1, "ops").await, Err(Error::Refused(_))));

    world.give(vec![says("1", "a"), says("1", "stranger"), says("1", "a")]).await;
    assert!(!states(&world).await.contains(&"open".to_owned()), "it went back to what upstream has");
    world.give(vec![held("?", Some("1"), "unknown-code")]).await;
    let id = states(&world).await.len() as i64;
    assert!(matches!(world.store.held_release(id, "ops").await, Err(Error::Refused(_))), "nobody vouches for it");
}

#[tokio::test]
async fn the_life_of_a_record_is_found_by_each_of_its_names() {
    let world = World::new();
    world.give(vec![says("1", "a"), held("??", None, "hl7-charset")]).await;
    let event = world.claim().await.remove(0);
    for needle in ["main:peis:1", "exam_report/main:peis:1", "no-1", &event.event_id.to_string(), "archive:1", "1"] {
        let asked = needle.to_owned();
        let found = world.store.read(move |reader| reader.explain(&asked)).await.unwrap();
        assert_eq!(found.entities.len(), 1, "{needle}");
        let life = &found.entities[0];
        assert_eq!((life.versions.len(), life.parts.len(), life.state.as_str()), (1, 1, "present"), "{needle}");
        assert_eq!(life.versions[0].entry.event_id, event.event_id.to_string());
        assert_eq!(life.versions[0].raw_digest.as_ref(), Some(&life.parts[0].raw_digest));
        serde_json::to_string(&found).unwrap();
    }
    let found = world.store.read(|reader| reader.explain("no-held")).await.unwrap();
    assert_eq!((found.entities.len(), found.held.len()), (0, 1));
    assert!(world.store.read(|reader| reader.explain("nobody")).await.unwrap().entities.is_empty());
}

#[tokio::test]
async fn the_overview_tells_depth_age_and_progress() {
    let world = World::new();
    let start = world.clock.now();
    world.give(vec![says("1", "a"), says("1", "b"), says("2", "a")]).await;
    world.wait(60);
    world.give(vec![says("1", "b")]).await;
    let claimed = world.claim().await;
    world.verdict(claimed[0].id, Verdict::Delivered { status: "accepted" }).await;
    let overview = world.store.read(Reader::overview).await.unwrap();
    assert_eq!((overview.outbox_depth, overview.outbox["claimed"], overview.outbox["delivered"]), (2, 1, 1));
    assert_eq!(overview.oldest_undelivered_at, Some(start));
    let stream = &overview.streams[0];
    assert_eq!((stream.stream.as_str(), stream.records, stream.reread), ("peis/reports", 3, 1));
    assert_eq!((stream.last_received_at, stream.last_commit_at), (Some(start), Some(world.clock.now())));
    assert_eq!(stream.totals, overview.totals["exam_report"]);
    let open = world.store.read(|reader| reader.outbox_list(None, 10, 0)).await.unwrap();
    let delivered = world.store.read(|reader| reader.outbox_list(Some("delivered"), 10, 0)).await.unwrap();
    assert_eq!((open.len(), delivered.len()), (2, 1));
    assert!(overview.size_bytes > 0);
}
