//! Copies: made beside an agent, verified, put back; and what upstream has in the end.

use std::collections::BTreeMap;

use connector_api::seal::{Key, KeyRing};

use super::*;

fn quiet() -> impl FnMut(&'static str, u64) {
    |_, _| {}
}

/// What upstream has: the newest sequence of each key, and what it says.
#[derive(Default)]
struct Upstream(BTreeMap<String, (String, String)>);

impl Upstream {
    async fn receive(&mut self, world: &World) {
        for event in world.deliver().await {
            let newest = self.0.entry(event.partitionkey).or_default();
            if event.sequence > newest.0 {
                *newest = (event.sequence, event.data.to_string());
            }
        }
    }

    fn says(&self, name: &str) -> &str {
        &self.0[&key(name).key].1
    }
}

#[tokio::test]
async fn a_copy_is_made_beside_an_agent_that_goes_on_writing() {
    let world = World::new();
    world.give((0..50).map(|n| says(&n.to_string(), "a")).collect()).await;
    let to = world.dir.path().join("copy.db");
    let (store, dir, target) = (world.store.clone(), world.dir.path().to_owned(), to.clone());
    let runtime = tokio::runtime::Handle::current();
    let mut n = 0;
    // Between any two steps of the copy the agent commits, and is answered.
    let told = move |what: &'static str, _: u64| {
        if what == "copy" {
            n += 1;
            let commit = store.commit(batch("peis/reports", vec![says(&format!("late-{n}"), "a")]));
            runtime.block_on(commit).unwrap();
        }
    };
    let copied = tokio::task::spawn_blocking(move || {
        let mut told = told;
        backup(&dir, None, &target, false, &mut told)
    });
    let copied = copied.await.unwrap().unwrap();
    assert!(copied.is_whole() && copied.path == to, "{copied:?}");
    let verified = copied.verified.unwrap();
    assert_eq!((verified.records, verified.contents, verified.encrypted), (50, 100, false));
    assert!(!world.dir.path().join("copy.db.partial").exists());
    assert!(!world.dir.path().join("copy.db-wal").exists(), "a copy is one file");
    let again = backup(world.dir.path(), None, &to, false, &mut quiet());
    assert!(matches!(again, Err(Error::Refused(_))), "a file is not replaced unasked");
    assert!(backup(world.dir.path(), None, &to, true, &mut quiet()).unwrap().is_whole());
    assert!(world.give(vec![says("after", "a")]).await.len() == 1);
}

#[tokio::test]
async fn after_an_old_copy_was_put_back_upstream_ends_equal_to_the_sources() {
    let mut upstream = Upstream::default();
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a"), says("3", "a")]).await;
    upstream.receive(&world).await;
    let copy = world.dir.path().join("copy.db");
    assert!(backup(world.dir.path(), None, &copy, false, &mut quiet()).unwrap().is_whole());
    // What the copy does not know: a change, one that went back, a withdrawal, a new entity.
    world.wait(3600);
    world.give(vec![says("1", "b"), says("2", "b"), record("3=", vec![absent("3", "reversed")]), says("4", "a")]).await;
    upstream.receive(&world).await;
    world.wait(60);
    world.give(vec![says("2", "a")]).await;
    upstream.receive(&world).await;
    let delivered: BTreeMap<String, String> =
        upstream.0.iter().map(|(key, (sequence, _))| (key.clone(), sequence.clone())).collect();

    let dir = world.dir.path().to_owned();
    assert!(matches!(restore(&copy, &dir, None, true, &mut quiet()), Err(Error::Locked)), "never under an agent");
    world.store.close().await;
    let refused = restore(&copy, &dir, None, false, &mut quiet());
    assert!(matches!(refused, Err(Error::Refused(text)) if text.contains("newer")));
    let restored = restore(&copy, &dir, None, true, &mut quiet()).unwrap();
    let kept = restored.replaced.clone().unwrap();
    assert!(restored.is_whole() && kept.exists(), "{restored:?}");
    assert_eq!(Reader::open_at(&kept, None).unwrap().totals().unwrap()["exam_report"].source, 8);

    let world = world.reopen();
    world.wait(60);
    // The next rounds read what the sources show; some of it changes again.
    world.give(vec![says("1", "b"), says("2", "a"), record("3=", vec![absent("3", "reversed")]), says("4", "a")]).await;
    upstream.receive(&world).await;
    world.give(vec![says("2", "c"), says("4", "b")]).await;
    upstream.receive(&world).await;
    assert!(upstream.says("1").contains('b') && upstream.says("2").contains('c') && upstream.says("4").contains('b'));
    assert!(upstream.says("3").contains("reversed"), "{}", upstream.says("3"));
    for (key, sequence) in delivered {
        let sources_said_it_since = !key.ends_with('3') && !key.ends_with(":2");
        let now = &upstream.0[&key].0;
        assert!(*now > sequence || !sources_said_it_since, "{key}: {now} does not follow {sequence}");
    }
    let verified = world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
}

#[tokio::test]
async fn a_copy_of_an_encrypted_store_stays_encrypted_and_needs_its_key() {
    let keys = KeyRing::parse(&Key::generate().unwrap().to_text()).unwrap();
    let dir = TempDir::new().unwrap();
    let clock = Clock::manual(Utc.with_ymd_and_hms(2026, 3, 2, 8, 0, 0).unwrap());
    let options = Options { hospital: "demo-001".into(), agent_version: "0.1.0".into(), lane: None };
    let store = Store::open_with(dir.path(), options, Arc::new(Joiner), clock.clone(), Some(&keys)).unwrap();
    let world = World { dir, clock, store };
    world.give(vec![says("0301170001", "张三丰")]).await;
    let copy = world.dir.path().join("copy.db");
    assert!(matches!(backup(world.dir.path(), None, &copy, false, &mut quiet()), Err(Error::NoKey)));
    let copied = backup(world.dir.path(), Some(&keys), &copy, false, &mut quiet()).unwrap();
    assert!(copied.verified.unwrap().encrypted);
    let bytes = std::fs::read(&copy).unwrap();
    assert!(["0301170001", "张三丰"].iter().all(|word| !bytes.windows(word.len()).any(|at| at == word.as_bytes())));
    let empty = TempDir::new().unwrap();
    assert!(matches!(restore(&copy, empty.path(), None, false, &mut quiet()), Err(Error::NoKey)));
    assert!(restore(&copy, empty.path(), Some(&keys), false, &mut quiet()).unwrap().replaced.is_none());
    let reader = Reader::open_with(empty.path(), Some(&keys)).unwrap();
    assert_eq!(reader.explain("no-0301170001").unwrap().entities.len(), 1);
}

#[tokio::test]
async fn damage_is_found_and_named_without_what_is_in_it() {
    let world = World::new();
    world.give(vec![says("1", "a"), says("2", "a"), super::attachments::with_files("3", "a", &[("file", None)])]).await;
    world.store.close().await;
    let set = |sql: &str| {
        let conn = rusqlite::Connection::open(schema::file(world.dir.path())).unwrap();
        conn.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
    };
    let faults = || {
        let verified = Reader::open(world.dir.path()).unwrap().verify(&mut quiet()).unwrap();
        verified.faults.into_iter().map(|fault| format!("{} {}", fault.check, fault.place)).collect::<Vec<_>>()
    };
    assert!(faults().is_empty());
    set("UPDATE archive SET body = cast(x'00' || substr(body, 2) AS BLOB) WHERE id = 1");
    assert_eq!(faults(), ["record archive 1"]);
    set("DELETE FROM archive WHERE id = 2");
    assert!(faults().contains(&"references part of entity 2".to_owned()));
    set("UPDATE content SET body = zeroblob(length(body)) WHERE id = 2");
    assert!(faults().contains(&"content event 2".to_owned()));
    set("UPDATE attachment SET body = zeroblob(length(body))");
    assert!(faults().contains(&"attachment attachment 1".to_owned()));
    set("UPDATE counter SET n = n + 1 WHERE name = 'queued' AND scope = 'outbox'");
    assert!(faults().contains(&"sums outbox queued".to_owned()));
    set("UPDATE entity SET sequence = 1 WHERE id = 1");
    assert!(faults().contains(&"references entity 1".to_owned()));
    set("DELETE FROM event WHERE id = 1");
    assert!(faults().contains(&"references outbox 1".to_owned()));
}

#[tokio::test]
async fn a_damaged_store_gives_no_copy_that_passes_for_a_good_one() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    world.store.close().await;
    let conn = rusqlite::Connection::open(schema::file(world.dir.path())).unwrap();
    conn.execute_batch("UPDATE content SET body = zeroblob(length(body))").unwrap();
    drop(conn);
    let copy = world.dir.path().join("copy.db");
    let copied = backup(world.dir.path(), None, &copy, false, &mut quiet()).unwrap();
    assert!(!copied.is_whole() && !copy.exists() && copied.path.exists(), "{copied:?}");
    let there = TempDir::new().unwrap();
    assert!(!restore(&copied.path, there.path(), None, false, &mut quiet()).unwrap().is_whole());
    assert!(matches!(Reader::open(there.path()), Err(Error::Missing)), "it was not put there");
}
