//! What is given up when, and what never is.

use std::collections::BTreeMap;

use super::*;

const DAYS: i64 = 86_400;

/// Gives up everything that a policy has outlived; answers how much of each kind. Two at a time: steps go on where
/// the one before ended.
async fn retain(world: &World, policy: RetentionPolicy) -> BTreeMap<Kept, u64> {
    retain_by(world, policy, 2).await
}

/// Gives up so many things at a time.
pub(super) async fn retain_by(world: &World, policy: RetentionPolicy, most: usize) -> BTreeMap<Kept, u64> {
    while world.store.count_figures(chrono_tz::Asia::Shanghai).await.unwrap() {}
    let mut gone = BTreeMap::new();
    for kind in Kept::ALL {
        let mut after = 0;
        loop {
            let stride = world.store.give_up(kind, policy, after, most).await.unwrap();
            *gone.entry(kind).or_insert(0) += stride.n;
            let Some(next) = stride.next else { break };
            assert!(next > after, "a step that does not move never ends");
            after = next;
        }
    }
    gone
}

fn count(world: &World, of: &str) -> i64 {
    world.raw_sql(&format!("SELECT count(*) FROM {of}"))
}

async fn bodies(world: &World) -> Vec<bool> {
    let newest = count(world, "archive");
    let mut here = vec![];
    for id in 1..=newest {
        let record = world.store.read(move |reader| reader.archived(id)).await;
        here.push(record.is_ok_and(|record| record.given_up_at.is_none() && !record.body.is_empty()));
    }
    here
}

/// A part of a catalogue.
fn package(name: &str, data: &str) -> Incoming {
    let Outcome::Mapped(mapped) = mapped(name, data) else { unreachable!() };
    let key = EntityKey::new(EntityType::ExamPackage, format!("main:peis:{name}"));
    record(&format!("{name}={data}"), vec![Outcome::Mapped(Mapped { key, ..mapped })])
}

#[tokio::test]
async fn what_waits_is_held_or_is_what_a_catalogue_now_says_stays_however_old_it_is() {
    let world = World::new();
    world.give(vec![says("delivered", "a"), says("refused", "a"), package("P1", "old")]).await;
    world.wait(1);
    let claimed = world.claim().await;
    world.store.mark_inflight(claimed.iter().map(|entry| entry.id).collect()).await.unwrap();
    for entry in claimed {
        let refused = entry.key.key.ends_with("refused");
        let verdict = match refused {
            true => Verdict::Held { code: "schema".into(), message: "no".into() },
            false => Verdict::Delivered { status: "accepted" },
        };
        world.verdict(entry.id, verdict).await;
    }
    world.give(vec![record("?", vec![doubtful(Some(key("held")), "unknown-code")])]).await;
    world.give(vec![says("waiting", "a")]).await;
    let before = world.store.read(Reader::overview).await.unwrap();
    world.wait(500 * DAYS);
    let gone = retain(&world, RetentionPolicy::default()).await;
    assert_eq!((gone[&Kept::Bodies], gone[&Kept::Versions], gone[&Kept::Records]), (1, 0, 0), "{gone:?}");
    assert_eq!(bodies(&world).await, [false, true, true, true, true]);
    let after = world.store.read(Reader::overview).await.unwrap();
    assert_eq!((&before.totals, &before.outbox, &before.held_open), (&after.totals, &after.outbox, &after.held_open));

    // What was given up is still known: read again it is no news, changed it is a version, and people see its life.
    assert_eq!(world.give(vec![says("delivered", "a")]).await, [RecordReceipt::Reread]);
    let life = world.store.read(|reader| reader.explain("no-delivered")).await.unwrap();
    assert_eq!((life.entities[0].versions.len(), life.entities[0].parts.len()), (1, 1));
    world.give(vec![says("delivered", "b")]).await;
    let told: Vec<_> = world.deliver().await.into_iter().map(|event| event.data.to_string()).collect();
    assert_eq!(told, [r#"{"v":"a"}"#, r#"{"v":"b"}"#], "what waited, and the new version");
    let filter = HeldFilter { open_only: true, ..HeldFilter::default() };
    let held = world.store.read(move |reader| reader.held_list(&filter, 10, 0)).await.unwrap();
    let refused = held.iter().find(|item| item.leg == "outbox").unwrap().id;
    world.store.held_retry_outbox(refused, "ops").await.unwrap();
    assert_eq!(world.deliver().await.len(), 1, "a refused event can be sent after any time");
}

#[tokio::test]
async fn versions_that_a_newer_one_replaced_go_and_the_sums_stay_true() {
    let world = World::new();
    for data in ["a", "b", "c"] {
        world.give(vec![says("1", data)]).await;
        world.deliver().await;
    }
    world.give(vec![says("1", "c"), record("1=C", vec![mapped("1", "c")])]).await;
    let filter = HeldFilter::default();
    world.give(vec![record("?2", vec![doubtful(Some(key("2")), "unknown-code")]), says("2", "fine")]).await;
    world.deliver().await;
    let before = world.store.read(Reader::overview).await.unwrap();
    let stored: i64 = world.raw_sql("SELECT count(*) FROM content");
    world.wait(401 * DAYS);
    let gone = retain(&world, RetentionPolicy::default()).await;
    assert_eq!((gone[&Kept::Bodies], gone[&Kept::Versions], gone[&Kept::Held]), (6, 2, 1), "{gone:?}");
    // Three of "1" whose events are gone or that were unchanged, and the one that was held before it was fine.
    assert_eq!(gone[&Kept::Records], 4 - 1, "{gone:?}");
    let after = world.store.read(Reader::overview).await.unwrap();
    assert_eq!((before.totals, before.outbox), (after.totals, after.outbox), "what is counted was there");
    assert_eq!(count(&world, "event"), 2);
    assert_eq!(stored - count(&world, "content"), 2);
    assert_eq!(count(&world, "attempt") + count(&world, "event_attachment"), 0);
    assert!(world.store.read(move |reader| reader.held_list(&filter, 10, 0)).await.unwrap().is_empty());
    // The next version follows the newest one, under a later sequence.
    world.give(vec![says("1", "a")]).await;
    let event = world.deliver().await.remove(0);
    assert_eq!(event.data.to_string(), r#"{"v":"a"}"#);
    // What it replaced was upstream until now: its age begins.
    // The record that said the same before has lost its last name; a further look finds nothing.
    let gone = retain(&world, RetentionPolicy::default()).await;
    assert_eq!((gone[&Kept::Records], gone.values().sum::<u64>()), (1, 1), "{gone:?}");
    assert_eq!(retain(&world, RetentionPolicy::default()).await.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn a_store_that_has_given_things_up_is_whole_and_a_wrong_sum_is_still_found() {
    let verify = async |world: &World| world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap().faults;
    for archive in [400, 40] {
        let world = World::new();
        for data in ["a", "b", "c", "c "] {
            let Outcome::Mapped(mapped) = mapped("1", data.trim()) else { unreachable!() };
            world.give(vec![record(data, vec![Outcome::Mapped(mapped)])]).await;
            world.deliver().await;
        }
        world.wait(50 * DAYS);
        let policy = RetentionPolicy {
            archive: std::time::Duration::from_secs(archive * 86_400),
            versions: RetentionPolicy::SHORTEST,
            ..RetentionPolicy::default()
        };
        let gone = retain(&world, policy).await;
        assert_eq!((gone[&Kept::Versions], gone[&Kept::Records] > 0), (2, archive == 40), "{gone:?}");
        world.give(vec![says("2", "waits")]).await;
        assert_eq!(verify(&world).await, []);
        let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
        conn.execute("UPDATE counter SET n = n + 1 WHERE name IN ('delivered', 'source') AND kind <> ''", ()).unwrap();
        let faults = verify(&world).await;
        assert!(faults.len() == 1 && faults[0].place.ends_with("exam_report delivered"), "{faults:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_read_again_under_another_mapping_is_mapped_though_its_bytes_are_gone() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.deliver().await;
    world.wait(401 * DAYS);
    retain(&world, RetentionPolicy::default()).await;
    let stream = StreamId::parse("peis/reports").unwrap();
    let stale = world.store.read(move |reader| reader.stale_parts(&stream, "demo@2", 0, 10)).await.unwrap();
    assert!(stale.is_empty(), "there is nothing to map again");
    let again = Incoming { mapping_version: "demo@2".into(), ..record("1=a", vec![mapped("1", "A")]) };
    assert_eq!(world.give(vec![again]).await, [RecordReceipt::Reread]);
    assert_eq!(world.deliver().await.len(), 1);
    assert_eq!(acts::totals(&world).await.source, 1, "it counts once");
}

#[tokio::test]
async fn the_archive_keeps_within_its_size_and_gives_up_nothing_young() {
    let world = World::new();
    let random = |n: usize| {
        let mut rng = fastrand::Rng::with_seed(n as u64);
        let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(2_000).collect();
        record(&noise, vec![mapped(&n.to_string(), "a")])
    };
    for day in 0..60 {
        world.give(vec![random(day)]).await;
        world.wait(DAYS);
    }
    world.deliver().await;
    let now = world.clock.now();
    let status = |world: &World| {
        let now = world.clock.now();
        Reader::open(world.dir.path()).unwrap().archive_status(now).unwrap()
    };
    let full = status(&world);
    assert_eq!((full.records, full.kept_records, full.record_raw_bytes), (60, 60, 2_000));
    assert_eq!((full.measured_days, full.complete_since), (30, Some(now - TimeDelta::days(60) - TimeDelta::hours(8))));
    assert!(full.growth_bytes_per_day >= full.record_packed_bytes, "{full:?}");
    let policy = RetentionPolicy { archive_max_bytes: Some(full.kept_bytes * 101 / 120), ..RetentionPolicy::default() };
    assert_eq!(retain(&world, policy).await[&Kept::Bodies], 10);
    let part = status(&world);
    assert!(part.kept_bytes <= full.kept_bytes * 101 / 120 && part.kept_records == 50, "{part:?}");
    assert_eq!(part.complete_since, full.complete_since.map(|since| since + TimeDelta::days(10)));
    // However small the size, a month stays.
    let policy = RetentionPolicy { archive_max_bytes: Some(0), ..RetentionPolicy::default() };
    retain(&world, policy).await;
    assert!((29..=31).contains(&status(&world).kept_records), "{:?}", status(&world));
}

#[tokio::test]
async fn free_space_goes_back_to_the_disk_in_small_steps_and_the_log_stays_small() {
    let world = World::new();
    assert_eq!(world.raw_sql::<i64>("PRAGMA auto_vacuum"), 2, "a new store can return its free pages");
    let mut rng = fastrand::Rng::with_seed(7);
    for n in 0..40 {
        let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(100_000).collect();
        world.give(vec![record(&noise, vec![mapped(&n.to_string(), "a")])]).await;
    }
    world.deliver().await;
    let pages = |world: &World| world.raw_sql::<i64>("PRAGMA page_count");
    let full = pages(&world);
    world.wait(401 * DAYS);
    assert_eq!(retain(&world, RetentionPolicy::default()).await[&Kept::Bodies], 40);
    let mut steps = 0;
    while world.store.shrink(32, 8).await.unwrap() > 0 {
        steps += 1;
    }
    assert!(steps > 5, "in small steps: {steps}");
    assert!(pages(&world) < full / 4, "{} of {full} pages", pages(&world));
    let log = world.dir.path().join("hisync.db-wal").metadata().unwrap().len();
    assert!(log < 24 << 20, "{log} bytes of log");
    world.store.close().await;
    let file = world.dir.path().join(schema::FILE_NAME).metadata().unwrap().len();
    assert_eq!(file, u64::try_from(pages(&world) * 8192).unwrap(), "the disk has the space");
    assert_eq!(world.raw_sql::<String>("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn work_that_can_wait_is_done_however_busy_the_writer_is() {
    let world = World::new();
    world.give(vec![says("0", "a")]).await;
    world.store.audit("ops", "look", "held/1", "").await.unwrap();
    world.wait(2_000 * DAYS);
    let busy = async {
        for round in 0..400 {
            let commits = (0..8).map(|n| world.give(vec![says(&format!("{round}-{n}"), "a")]));
            futures(commits).await;
        }
    };
    let later = world.store.give_up(Kept::Audit, RetentionPolicy::default(), 0, 10);
    tokio::select! {
        biased;
        stride = later => assert_eq!(stride.unwrap().n, 1),
        () = busy => panic!("it waited for the end of everything else"),
    }
}

/// Waits for all of them, side by side.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn the_sums_of_what_waits_are_those_of_the_file_also_after_a_restart() {
    let world = World::new();
    assert_eq!(world.store.backlog(), Backlog::default());
    world.give(vec![says("1", "a"), says("2", "a"), says("3", "a")]).await;
    let full = world.store.backlog();
    assert_eq!(full.entries, 3);
    let claimed = world.claim().await;
    assert_eq!(full.bytes, claimed.iter().map(|entry| entry.body.len() as u64).sum::<u64>());
    world.store.mark_inflight(claimed.iter().map(|entry| entry.id).collect()).await.unwrap();
    world.verdict(claimed[0].id, Verdict::Delivered { status: "accepted" }).await;
    world.verdict(claimed[1].id, Verdict::Held { code: "schema".into(), message: "no".into() }).await;
    let left = Backlog { entries: 1, bytes: claimed[2].body.len() as u64 };
    assert_eq!(world.store.backlog(), left);
    let world = world.reopen();
    assert_eq!(world.store.backlog(), left);
    world.store.held_retry_outbox(1, "ops").await.unwrap();
    assert_eq!(world.store.backlog().entries, 2);
    world.deliver().await;
    assert_eq!(world.store.backlog(), Backlog::default());
}

#[tokio::test]
async fn data_and_files_that_nothing_names_go_and_nothing_else_does() {
    let world = World::new();
    for data in ["a", "b"] {
        world.give(vec![says("1", data), says("2", data)]).await;
        world.deliver().await;
    }
    world.give(vec![says("3", "waits")]).await;
    let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
    for id in [1_000, 1_001, 5_000] {
        conn.execute("INSERT INTO content (id, codec, size, body) VALUES (?1, 0, 4, 'data')", (id,)).unwrap_err();
        conn.execute("INSERT INTO content (id, codec, size, body) VALUES (?1, 0, 4, x'64617461')", (id,)).unwrap();
    }
    // Refused by upstream, and no report names it any more.
    let file = "INSERT INTO attachment (digest, media_type, codec, size, body, stored_at, last_code)
                VALUES (zeroblob(32), 'application/pdf', 0, 4, x'64617461', 0, 'too-large')";
    conn.execute(file, ()).unwrap();
    let named: i64 = world.raw_sql("SELECT count(*) FROM content WHERE id < 1000");
    let gone = retain(&world, RetentionPolicy::default()).await;
    assert_eq!((gone[&Kept::Orphans], gone[&Kept::Files]), (3, 1), "{gone:?}");
    assert_eq!((count(&world, "content"), count(&world, "attachment")), (named, 0));
    assert_eq!(retain(&world, RetentionPolicy::default()).await.values().sum::<u64>(), 0);
    assert_eq!(world.deliver().await.len(), 1, "what waits is whole");
}
