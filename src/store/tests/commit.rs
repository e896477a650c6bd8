//! What a batch does: events, re-reads, resends, watermarks.

use super::*;

fn stored(receipts: &[RecordReceipt]) -> bool {
    receipts.iter().all(|receipt| matches!(receipt, RecordReceipt::Stored { .. }))
}

#[tokio::test]
async fn a_new_entity_becomes_one_event_that_says_what_the_contract_asks() {
    let world = World::new();
    assert!(stored(&world.give(vec![says("1", "a")]).await));
    let claimed = world.claim().await;
    assert_eq!(claimed.len(), 1);
    let text = String::from_utf8(claimed[0].body.to_vec()).unwrap();
    assert!(text.ends_with(r#","data":{"v":"a"}}"#), "the data must be embedded byte for byte: {text}");
    let event: CloudEvent = serde_json::from_str(&text).unwrap();
    assert_eq!(event.specversion, "1.0");
    assert_eq!(event.kind, "hisync.exam_report.upserted");
    assert_eq!(event.source, "/hospitals/demo-001/sources/peis");
    assert_eq!(event.subject, "exam_report/main:peis:1");
    assert_eq!(event.partitionkey, "main:peis:1");
    assert_eq!(event.time, "2026-03-02T08:00:00.000000+00:00");
    assert_eq!(event.id, claimed[0].event_id.to_string());
    assert_eq!(event.sequence.len(), 20);
    assert_eq!(event.contenthash, format!("sha256-{}", hex::encode(Raw::digest(&says_raw(r#"{"v":"a"}"#)))));
    assert_eq!(event.mappingversion, "demo@1");
    assert_eq!(event.lane.as_deref(), Some("blue"));
    assert_eq!(event.traceparent.len(), 55);
    assert_eq!(event.dataschema, "urn:hisync:schema:exam_report:v1");
}

fn says_raw(text: &str) -> Raw {
    Raw { format: String::new(), charset: None, body: text.to_owned().into() }
}

#[tokio::test]
async fn a_record_read_again_has_no_effect() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    assert_eq!(world.give(vec![says("1", "a")]).await, [RecordReceipt::Reread]);
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM archive"), 1);
}

#[tokio::test]
async fn a_record_that_differs_only_in_its_bytes_is_archived_and_unchanged() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    assert!(stored(&world.give(vec![record("other bytes", vec![mapped("1", "a")])]).await));
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM disposition WHERE fate = 'unchanged'"), 1);
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM content"), 1);
}

#[tokio::test]
async fn a_resent_record_gets_the_same_answer_and_no_second_effect() {
    let world = World::new();
    let mut message = says("1", "a");
    message.resend_key = Some("LIS|42".into());
    let RecordReceipt::Stored { archive_id } = world.give(vec![message.clone()]).await[0] else { panic!() };
    world.give(vec![says("1", "b")]).await;
    assert_eq!(world.give(vec![message.clone()]).await, [RecordReceipt::Resent { archive_id }]);
    // Control ids restart: the same id with another content is another record.
    message.raw.body = "1=c".into();
    message.outcomes = vec![mapped("1", "c")];
    assert!(stored(&world.give(vec![message.clone()]).await));
    // And another source may use the same id.
    assert!(stored(&world.give_to("lis/reports", vec![message]).await));
}

#[tokio::test]
async fn two_records_of_one_entity_in_one_batch_become_two_versions_in_order() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("1", "b"), says("1", "a")]).await;
    let events = world.deliver().await;
    let said: Vec<_> = events.iter().map(|event| event.data["v"].as_str().unwrap()).collect();
    assert_eq!(said, ["a", "b", "a"]);
    assert!(events.is_sorted_by(|one, two| one.sequence < two.sequence));
}

#[tokio::test]
async fn a_withdrawal_is_sent_once_and_the_identical_report_is_sent_again_after_it() {
    let world = World::new();
    world.give(vec![record("draft", vec![absent("1", "draft")])]).await;
    assert_eq!(world.deliver().await.len(), 0, "upstream has nothing: nothing to take back");
    world.give(vec![says("1", "a")]).await;
    world.give(vec![record("reversed", vec![absent("1", "reversed")])]).await;
    world.give(vec![record("reversed again", vec![absent("1", "reversed")])]).await;
    world.give(vec![says("1", "a")]).await;
    let events = world.deliver().await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.rsplit('.').next().unwrap()).collect();
    assert_eq!(kinds, ["upserted", "withdrawn", "upserted"]);
    assert_eq!(events[1].data["reason"], "reversed");
    assert_eq!(events[1].data["last_sequence"], events[0].sequence.as_str());
    assert_eq!(events[1].dataschema, "urn:hisync:schema:withdrawal:v1");
}

#[tokio::test]
async fn an_advance_that_starts_elsewhere_is_refused_whole() {
    let world = World::new();
    let at = |n: i64| Watermark::at(vec![Value::Integer(n)]);
    let stream = StreamId::parse("peis/reports").unwrap();
    let mut first = batch("peis/reports", vec![says("1", "a")]);
    first.advance = Some(Advance { from: Watermark::start(), to: at(1) });
    world.store.commit(first.clone()).await.unwrap();
    assert_eq!(world.store.watermark(&stream).await.unwrap(), at(1));
    first.records = vec![says("2", "a")];
    assert!(matches!(world.store.commit(first.clone()).await, Err(Error::WatermarkMoved { .. })));
    assert_eq!(world.deliver().await.len(), 1, "nothing of a refused batch may stay");
    first.advance = Some(Advance { from: at(1), to: at(2) });
    world.store.commit(first).await.unwrap();
    let world = world.reopen();
    assert_eq!(world.store.watermark(&stream).await.unwrap(), at(2));
}

#[tokio::test]
async fn sequences_rise_when_the_clock_goes_back_and_entries_stay_due() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.wait(-8 * 3600);
    world.give(vec![says("1", "b")]).await;
    let events = world.deliver().await;
    assert_eq!(events.len(), 2);
    assert!(events[0].sequence < events[1].sequence);
}

#[tokio::test]
async fn parts_of_several_streams_are_composed_and_each_change_of_one_is_a_version() {
    let world = World::new();
    world.give_to("peis/reports", vec![says("1", "head")]).await;
    world.give_to("lis/results", vec![record("r", vec![mapped("1", "results")])]).await;
    world.give_to("peis/reports", vec![record("h2", vec![mapped("1", "head")])]).await;
    let events = world.deliver().await;
    assert_eq!(events.len(), 2, "the third record changes nothing");
    assert_eq!(events[1].data["lis/results"]["v"], "results");
    assert_eq!(events[1].data["peis/reports"]["v"], "head");
}

#[tokio::test]
async fn a_record_without_an_outcome_is_refused_rather_than_lost() {
    let world = World::new();
    let refused = world.store.commit(batch("peis/reports", vec![record("?", vec![])])).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_panic_in_one_job_leaves_the_others_and_the_store_alone() {
    let world = World::new();
    world.give_to("peis/reports", vec![says("1", "panic")]).await;
    let bad = world.store.commit(batch("lis/results", vec![record("r", vec![mapped("1", "x")])]));
    let good = world.store.commit(batch("lis/results", vec![says("2", "y")]));
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(Error::Panicked { .. })));
    good.unwrap();
    assert_eq!(world.deliver().await.len(), 2);
}

#[tokio::test]
async fn a_job_that_fails_takes_only_itself_back_from_its_group() {
    let world = World::new();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    // Keeps the writer until all the others wait, so that they share a transaction.
    let first = world.store.write("wait", 1, move |_| {
        let _ = wait.recv();
        Ok(())
    });
    let one = world.store.commit(batch("lis/results", vec![says("1", "a")]));
    let bad = world.store.commit(batch("lis/results", vec![says("2", "a"), record("?", vec![])]));
    let two = world.store.commit(batch("lis/results", vec![says("3", "a")]));
    let (first, one, bad, two, ()) = tokio::join!(first, one, bad, two, async move { drop(go) });
    first.unwrap();
    assert!(stored(&one.unwrap().receipts) && stored(&two.unwrap().receipts));
    assert!(matches!(bad, Err(Error::Refused(_))));
    assert_eq!(world.deliver().await.len(), 2);
    let overview = world.store.read(Reader::overview).await.unwrap();
    assert_eq!((overview.streams[0].records, overview.totals["exam_report"].source), (2, 2));
    assert!(stored(&world.give_to("lis/results", vec![says("2", "a")]).await), "what failed left nothing");
}

#[tokio::test]
async fn readers_that_take_long_hold_up_neither_intake_nor_delivery() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let (release, gate) = std::sync::mpsc::sync_channel::<()>(0);
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let slow = || {
        let gate = Arc::clone(&gate);
        // Ends when the sender is gone.
        world.store.read(move |_| Ok(gate.lock().unwrap().recv().is_err()))
    };
    let stream = StreamId::parse("peis/reports").unwrap();
    let urgent = async {
        assert!(world.store.next_due().await.unwrap().is_some());
        assert!(world.store.watermark(&stream).await.unwrap().is_start());
        drop(release);
    };
    let (first, second, third, fourth, ()) = tokio::join!(slow(), slow(), slow(), slow(), urgent);
    assert!([first, second, third, fourth].into_iter().all(Result::unwrap), "as many as may run at once");
}

#[tokio::test]
async fn a_record_that_a_poll_reads_again_under_a_corrected_mapping_is_no_new_version() {
    let world = World::new();
    let under = |mapping: &str, outcomes| Incoming { mapping_version: mapping.into(), ..record("1=a", outcomes) };
    world.give(vec![under("demo@1", vec![doubtful(Some(key("1")), "unknown-code")])]).await;
    // What was held is what the correction is for.
    assert_eq!(world.give(vec![under("demo@2", vec![mapped("1", "b")])]).await, [RecordReceipt::Reread]);
    assert_eq!(world.give(vec![under("demo@3", vec![mapped("1", "c")])]).await, [RecordReceipt::Reread]);
    assert_eq!(world.give(vec![under("demo@3", vec![mapped("1", "c")])]).await, [RecordReceipt::Reread]);
    let said: Vec<_> = world.deliver().await.iter().map(|event| event.data["v"].clone()).collect();
    assert_eq!(said, ["b", "c"]);
    let totals = world.store.read(Reader::totals).await.unwrap()["exam_report"];
    assert_eq!((totals.source, totals.held, totals.adds_up), (1, 0, true));
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM archive"), 1);
    // The source turned away and back: that is a new version, whatever the mapping.
    world.give(vec![says("1", "x")]).await;
    assert!(stored(&world.give(vec![under("demo@4", vec![mapped("1", "c")])]).await));
}
