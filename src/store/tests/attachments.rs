//! Files: with their record or not at all, before their event, no more often than needed.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::acts::totals;
use super::*;

fn digest(bytes: &str) -> [u8; 32] {
    Sha256::digest(bytes.as_bytes()).into()
}

/// A report of a person that names files.
pub(super) fn with_files(name: &str, version: &str, files: &[(&str, Option<&str>)]) -> Incoming {
    let named: Vec<String> =
        files.iter().map(|(bytes, _)| format!("{{\"digest\":\"sha256-{}\"}}", hex::encode(digest(bytes)))).collect();
    let file = |(bytes, owner): &(&str, Option<&str>)| File {
        digest: digest(bytes),
        media_type: "application/pdf".to_owned(),
        bytes: Arc::from(bytes.as_bytes()),
        owner: owner.map(str::to_owned),
    };
    let data = format!("{{\"attachments\":[{}],\"v\":\"{version}\"}}", named.join(",")).into_bytes();
    let mapped =
        Mapped { files: files.iter().map(file).collect(), ..Mapped::new(key(name), Wish::Present, data, vec![]) };
    record(&format!("{name}={version}"), vec![Outcome::Mapped(mapped)])
}

async fn due(world: &World) -> Option<String> {
    let due = world.store.file_due().await.unwrap()?;
    Some(String::from_utf8(due.bytes.unwrap().to_vec()).unwrap())
}

pub(super) async fn settle(world: &World, bytes: &str, verdict: FileVerdict) {
    world.store.settle_file(&hex::encode(digest(bytes)), verdict).await.unwrap();
}

#[tokio::test]
async fn an_event_waits_for_its_files_and_others_do_not() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf one", None), ("picture", None)]), says("2", "a")]).await;
    assert_eq!(world.deliver().await.len(), 1, "the report without files");
    assert_eq!(due(&world).await.as_deref(), Some("pdf one"));
    settle(&world, "pdf one", FileVerdict::Stored).await;
    assert!(world.deliver().await.is_empty(), "one of two");
    settle(&world, "picture", FileVerdict::Stored).await;
    assert_eq!(due(&world).await, None);
    assert_eq!(world.deliver().await.len(), 1);
    assert!(totals(&world).await.adds_up);
}

#[tokio::test]
async fn a_crash_between_file_and_event_loses_neither_and_changes_no_id() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", None)])]).await;
    let before: Vec<u8> = world.raw_sql("SELECT event_id FROM event");
    // Upstream has the file, and nobody has noted it.
    let world = world.reopen();
    assert_eq!(due(&world).await.as_deref(), Some("pdf"));
    settle(&world, "pdf", FileVerdict::Stored).await;
    let world = world.reopen();
    assert_eq!(due(&world).await, None);
    let entry = world.claim().await.remove(0);
    assert_eq!(entry.event_id.as_bytes(), before.as_slice());
}

#[tokio::test]
async fn what_upstream_has_is_not_sent_again_for_a_later_version() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", Some("p"))])]).await;
    settle(&world, "pdf", FileVerdict::Stored).await;
    world.deliver().await;
    world.give(vec![with_files("1", "b", &[("pdf", Some("p")), ("new", Some("p"))])]).await;
    assert_eq!(due(&world).await.as_deref(), Some("new"));
    settle(&world, "new", FileVerdict::Stored).await;
    assert_eq!(world.deliver().await.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_put_off_waits_and_one_that_is_refused_holds_its_event_until_a_person_retries() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", None)]), says("1", "later")]).await;
    let at = world.clock.now() + TimeDelta::seconds(30);
    settle(&world, "pdf", FileVerdict::Retry { at, code: "http-503".into() }).await;
    assert_eq!(due(&world).await, None);
    world.wait(30);
    assert_eq!(world.store.file_due().await.unwrap().unwrap().attempts, 1);
    let refused = || FileVerdict::Refused { code: "too-large".into(), message: "no".into() };
    settle(&world, "pdf", refused()).await;
    let events = world.deliver().await;
    assert_eq!(events.len(), 1, "the next version names no file, and goes");
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", None)])]).await;
    settle(&world, "pdf", refused()).await;
    assert_eq!((totals(&world).await.held, due(&world).await), (1, None));
    world.store.held_retry_outbox(1, "ops").await.unwrap();
    assert_eq!(due(&world).await.as_deref(), Some("pdf"));
    settle(&world, "pdf", FileVerdict::Stored).await;
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(totals(&world).await, Totals { source: 1, delivered: 1, adds_up: true, ..Totals::default() });
}

#[tokio::test]
async fn what_upstream_has_lost_is_sent_again_and_held_where_it_is_given_up() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", None)])]).await;
    settle(&world, "pdf", FileVerdict::Stored).await;
    let retry = || Verdict::Retry { at: world.clock.now(), code: "attachment-unknown".into() };
    let entry = world.claim().await.remove(0);
    world.verdict(entry.id, retry()).await;
    assert_eq!(due(&world).await.as_deref(), Some("pdf"));
    settle(&world, "pdf", FileVerdict::Stored).await;
    let again = world.claim().await.remove(0);
    assert_eq!(again.event_id, entry.event_id);
    world.verdict(again.id, Verdict::Delivered { status: "accepted" }).await;

    // After a month the bytes go, when another file is confirmed.
    world.wait(31 * 24 * 3600);
    world.give(vec![with_files("2", "a", &[("other", None)])]).await;
    settle(&world, "other", FileVerdict::Stored).await;
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM attachment WHERE body IS NULL"), 1);
    world.deliver().await;
    world.give(vec![with_files("1", "b", &[("pdf", None)])]).await;
    assert_eq!(world.raw_sql::<i64>("SELECT count(*) FROM attachment WHERE body IS NULL"), 0, "it came again");
    world.deliver().await;
    world.wait(31 * 24 * 3600);
    world.give(vec![with_files("3", "a", &[("third", None)])]).await;
    settle(&world, "third", FileVerdict::Stored).await;
    world
        .give(vec![record(
            "1=c",
            vec![Outcome::Mapped(Mapped::new(
                key("1"),
                Wish::Present,
                format!("{{\"attachments\":[{{\"digest\":\"sha256-{}\"}}]}}", hex::encode(digest("other")))
                    .into_bytes(),
                vec![],
            ))],
        )])
        .await;
    for entry in world.claim().await {
        world.verdict(entry.id, retry()).await;
    }
    assert!(totals(&world).await.adds_up);
}

#[tokio::test]
async fn one_file_of_two_people_is_held_until_a_person_has_looked() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", Some("p1"))])]).await;
    world.give(vec![with_files("2", "a", &[("pdf", Some("p2"))])]).await;
    world.give(vec![with_files("3", "a", &[("pdf", Some("p1")), ("stamp", None)])]).await;
    world.give(vec![with_files("4", "a", &[("stamp", None)])]).await;
    let held = world.store.read(|reader| reader.held_list(&HeldFilter::default(), 9, 0)).await.unwrap();
    let told: Vec<_> = held.iter().map(|item| (item.reason.as_str(), item.key.as_deref().unwrap())).collect();
    assert_eq!(told, [("attachment-shared", "main:peis:2"), ("attachment-shared", "main:peis:3")]);
    world.store.held_release(held[0].id, "ops").await.unwrap();
    settle(&world, "pdf", FileVerdict::Stored).await;
    settle(&world, "stamp", FileVerdict::Stored).await;
    assert_eq!(world.deliver().await.len(), 3);
    world.give(vec![with_files("2", "b", &[("pdf", Some("p2"))])]).await;
    assert_eq!(world.deliver().await.len(), 1, "who was released once is not asked about again");
}

#[tokio::test]
async fn a_withdrawal_waits_behind_the_version_that_it_takes_back() {
    let world = World::new();
    world.give(vec![with_files("1", "a", &[("pdf", None)]), record("gone", vec![absent("1", "reversed")])]).await;
    assert!(world.deliver().await.is_empty());
    settle(&world, "pdf", FileVerdict::Stored).await;
    let kinds: Vec<String> = world.deliver().await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["hisync.exam_report.upserted", "hisync.exam_report.withdrawn"]);
}
