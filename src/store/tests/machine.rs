//! Random histories against a simple model: order, identity, sums, and the state in the end (P2 to P6).

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::intake::Gate;

/// So many undelivered events close the gate before the store.
const LIMIT: u64 = 8;

#[derive(Clone, Debug)]
enum Step {
    /// A batch of records: entity, what it says, as which kind.
    Give(Vec<(u8, u8, Kind)>),
    /// A message with a resend key, given twice.
    Resend(u8, u8),
    /// A complete catalogue: which of four entities it has, and what they say.
    Snapshot(u8, u8),
    /// Claims and settles; the verdicts by turns. What lacks one stays on its way.
    Send(u8, Vec<u8>),
    /// Claims what leaves at once, and its sender dies.
    Take(u8),
    /// The process ends in good order, and starts again.
    Restart,
    /// The machine loses power in the middle of a claim: what was not committed may lie in the log.
    Crash(u8),
    Wait(i64),
    /// So many days go by, and what is outlived is given up.
    Retain(u16),
    Dismiss(u8),
    RetryRefused(u8),
    /// From now on nothing is held by the mapping; what was is mapped again.
    Correct,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Present,
    Absent,
    Held,
    Anonymous,
}

fn step() -> impl Strategy<Value = Step> {
    use Kind::{Absent, Anonymous, Held, Present};
    let kind = prop_oneof![4 => Just(Present), 2 => Just(Absent), 2 => Just(Held), 1 => Just(Anonymous)];
    prop_oneof![
        6 => prop::collection::vec((0..3_u8, 0..3_u8, kind), 1..4).prop_map(Step::Give),
        1 => (0..3_u8, 0..3_u8).prop_map(|(key, value)| Step::Resend(key, value)),
        2 => (0..16_u8, 0..2_u8).prop_map(|(mask, value)| Step::Snapshot(mask, value)),
        6 => (1..6_u8, prop::collection::vec(0..5_u8, 0..6)).prop_map(|(n, verdicts)| Step::Send(n, verdicts)),
        1 => (1..4_u8).prop_map(Step::Take),
        1 => Just(Step::Restart),
        1 => (1..4_u8).prop_map(Step::Crash),
        2 => prop_oneof![Just(0_u16), 25..90_u16].prop_map(Step::Retain),
        2 => (-30..700_i64).prop_map(Step::Wait),
        1 => (1..8_u8).prop_map(Step::Dismiss),
        1 => (1..8_u8).prop_map(Step::RetryRefused),
        1 => Just(Step::Correct),
    ]
}

/// What should be upstream of one entity.
#[derive(Clone, Debug, Default)]
struct Truth {
    wish: Option<String>,
    /// What its newest event says; nothing where that takes it back, or where there is none.
    told: Option<String>,
    /// The newest record, where it is held: its text and its place in the archive.
    pending: Option<(String, i64)>,
    dismissed: Option<String>,
    missing: u32,
    in_catalogue: bool,
}

impl Truth {
    /// How many events it takes to tell upstream what it should have.
    fn tell(&mut self) -> i64 {
        let news = self.told != self.wish;
        self.told.clone_from(&self.wish);
        i64::from(news)
    }
}

#[derive(Default)]
struct Model {
    truth: BTreeMap<String, Truth>,
    corrected: bool,
    versions: i64,
    /// Events that were made.
    events: i64,
    /// Events that upstream took.
    taken: std::collections::HashSet<Uuid>,
    /// The gate is closed.
    shut: bool,
    /// What upstream applied: the newest sequence and data of each key.
    upstream: HashMap<String, (String, Option<String>)>,
    bodies: HashMap<Uuid, Bytes>,
}

impl Model {
    fn outcome(&self, name: &str, value: u8, kind: Kind) -> (String, Outcome) {
        let text = format!("{name}-{kind:?}-{value}");
        let outcome = match kind {
            Kind::Absent => absent(name, "reversed"),
            Kind::Held if !self.corrected => doubtful(Some(key(name)), "unknown-code"),
            Kind::Anonymous => doubtful(None, "no-key"),
            _ => mapped(name, &text),
        };
        (text, outcome)
    }

    fn record(&self, name: &str, value: u8, kind: Kind) -> Incoming {
        let (text, outcome) = self.outcome(name, value, kind);
        let mapping_version = if self.corrected { "demo@2" } else { "demo@1" };
        Incoming { mapping_version: mapping_version.into(), ..record(&text, vec![outcome]) }
    }

    /// Notes a record that was accepted; checks that one that was not had nothing to say.
    fn note(&mut self, name: &str, value: u8, kind: Kind, receipt: RecordReceipt) {
        let (text, outcome) = self.outcome(name, value, kind);
        let stored = match receipt {
            RecordReceipt::Stored { archive_id } => Some(archive_id),
            _ => None,
        };
        // What is read again is no version, also where a corrected mapping is applied to it anew.
        self.versions += i64::from(stored.is_some());
        if kind == Kind::Anonymous {
            return;
        }
        let truth = self.truth.entry(name.to_owned()).or_default();
        match (stored, outcome) {
            (Some(_), Outcome::Mapped(mapped)) => {
                truth.wish = (mapped.wish == Wish::Present).then(|| String::from_utf8(mapped.data).unwrap());
                truth.pending = None;
                truth.dismissed = None;
                self.events += truth.tell();
            }
            (Some(archive), Outcome::Held(_)) => {
                truth.pending = Some((text, archive));
                truth.dismissed = None;
            }
            (None, Outcome::Mapped(mapped)) => {
                let says = (mapped.wish == Wish::Present).then(|| String::from_utf8(mapped.data).unwrap());
                assert_eq!(truth.wish, says, "a record with news was taken for one read again");
                assert!(truth.pending.is_none());
            }
            (None, Outcome::Held(_)) => {
                let known = truth.pending.as_ref().map(|(text, _)| text).or(truth.dismissed.as_ref());
                assert_eq!(known, Some(&text));
            }
        }
    }

    fn check_sent(&mut self, entry: &Entry) {
        let body = self.bodies.entry(entry.event_id).or_insert_with(|| entry.body.clone());
        assert_eq!(*body, entry.body, "an event must be the same bytes on every attempt");
        let event: CloudEvent = serde_json::from_slice(&entry.body).unwrap();
        // Versions that upstream refused don't count: a person may send them again, oldest first.
        if let Some((newest, _)) = self.upstream.get(&entry.key.key) {
            assert!(*newest <= event.sequence, "an older version was sent after a newer one was taken");
        }
    }

    fn delivered(&mut self, entry: &Entry) {
        let event: CloudEvent = serde_json::from_slice(&entry.body).unwrap();
        let data = event.kind.ends_with("upserted").then(|| event.data.to_string());
        self.taken.insert(entry.event_id);
        self.upstream.insert(entry.key.key.clone(), (event.sequence, data));
    }
}

async fn run(steps: Vec<Step>) {
    let mut world = World::new();
    let mut model = Model::default();
    let mut sequence_of_messages = 0;
    let mut gate = gate(&world);
    for step in steps {
        // Intake stops at a limit, and goes on some way below it; what is not taken was never said.
        let backlog = world.store.backlog().entries;
        model.shut = backlog >= if model.shut { LIMIT - LIMIT / 5 } else { LIMIT };
        assert_eq!(gate.closed().is_some(), model.shut, "{backlog} events wait");
        if model.shut && matches!(step, Step::Give(_) | Step::Resend(..) | Step::Snapshot(..)) {
            continue;
        }
        match step {
            Step::Give(records) => {
                let records: Vec<_> =
                    records.into_iter().map(|(key, value, kind)| (key.to_string(), value, kind)).collect();
                let batch = records.iter().map(|(key, value, kind)| model.record(key, *value, *kind)).collect();
                let receipts = world.give(batch).await;
                for ((key, value, kind), receipt) in records.iter().zip(receipts) {
                    model.note(key, *value, *kind, receipt);
                }
            }
            Step::Resend(key, value) => {
                sequence_of_messages += 1;
                let mut message = model.record(&key.to_string(), value, Kind::Present);
                message.resend_key = Some(format!("LIS|{sequence_of_messages}"));
                let first = world.give(vec![message.clone()]).await[0];
                model.note(&key.to_string(), value, Kind::Present, first);
                if let RecordReceipt::Stored { archive_id } = first {
                    world.give(vec![model.record(&key.to_string(), value + 1, Kind::Present)]).await;
                    model.note(&key.to_string(), value + 1, Kind::Present, RecordReceipt::Stored { archive_id: 0 });
                    assert_eq!(world.give(vec![message]).await, [RecordReceipt::Resent { archive_id }]);
                }
            }
            Step::Snapshot(mask, value) => snapshot(&world, &mut model, mask, value).await,
            Step::Send(n, verdicts) => send(&world, &mut model, n.into(), &verdicts).await,
            Step::Take(n) => {
                let limit = ClaimLimit { events: n.into(), bytes: 1 << 20 };
                for entry in world.store.take(limit).await.unwrap() {
                    model.check_sent(&entry);
                }
            }
            Step::Restart => {
                // It holds the store open.
                drop(gate);
                world = world.reopen();
                (gate, model.shut) = (self::gate(&world), false);
            }
            Step::Crash(n) => {
                drop(gate);
                world = crash(world, n.into()).await;
                (gate, model.shut) = (self::gate(&world), false);
            }
            Step::Retain(days) => {
                world.wait(i64::from(days) * 86_400);
                let month = RetentionPolicy::SHORTEST;
                let policy = RetentionPolicy {
                    archive: month,
                    archive_max_bytes: None,
                    versions: month,
                    attempts: month,
                    held: month,
                    audit: month,
                };
                retention::retain_by(&world, policy, 50).await;
            }
            Step::Wait(seconds) => world.wait(seconds),
            Step::Dismiss(id) => {
                let id = i64::from(id);
                let item = world.store.read(move |reader| reader.held_show(id)).await;
                if let Ok(item) = item
                    && item.item.leg == "record"
                    && world.store.held_dismiss(id, "ops", "").await.is_ok()
                {
                    for truth in model.truth.values_mut() {
                        if truth.pending.as_ref().is_some_and(|(_, archive)| Some(*archive) == item.item.archive_id) {
                            truth.dismissed = truth.pending.take().map(|(text, _)| text);
                        }
                    }
                }
            }
            Step::RetryRefused(id) => drop(world.store.held_retry_outbox(i64::from(id), "ops").await),
            Step::Correct => correct(&world, &mut model).await,
        }
        check_sums(&world, &model).await;
    }
    finish(&world, &mut model).await;
}

fn gate(world: &World) -> Gate {
    let store = world.store.clone();
    Gate::measured(0, || None).limited(Backlog { entries: LIMIT, bytes: u64::MAX }, move || store.backlog())
}

/// Ends the world in the middle of a claim whose changes lie in the log already, uncommitted.
async fn crash(world: World, events: usize) -> World {
    let (before, dir) = (world.dir.path().to_owned(), TempDir::new().unwrap());
    let after = dir.path().to_owned();
    let cut = world.store.write("lose power", 1, move |tx| {
        outbox::claim(tx, ClaimLimit { events, bytes: 1 << 20 }, "inflight")?;
        tx.run("lose power", "UPDATE counter SET n = n + 7", ())?;
        tx.conn.cache_flush().unwrap();
        for name in [schema::FILE_NAME, "hisync.db-wal"] {
            std::fs::copy(before.join(name), after.join(name)).unwrap();
        }
        Err::<(), Error>(Error::Refused("the power is gone"))
    });
    assert!(cut.await.is_err());
    let store = open(dir.path(), &world.clock);
    World { dir, clock: world.clock.clone(), store }
}

async fn snapshot(world: &World, model: &mut Model, mask: u8, value: u8) {
    let names: Vec<String> = (0..4).filter(|bit| mask & (1 << bit) != 0).map(|bit| format!("package{bit}")).collect();
    let records = names.iter().map(|name| model.record(name, value, Kind::Present)).collect();
    let mut batch = batch("peis/packages", records);
    batch.snapshot = Some(SnapshotPolicy::default());
    let committed = world.store.commit(batch).await.unwrap();
    for (name, receipt) in names.iter().zip(&committed.receipts) {
        model.note(name, value, Kind::Present, *receipt);
        let truth = model.truth.get_mut(name).unwrap();
        (truth.missing, truth.in_catalogue) = (0, true);
    }
    let mut missing: Vec<&mut Truth> = model
        .truth
        .iter_mut()
        .filter(|(name, truth)| truth.in_catalogue && truth.wish.is_some() && !names.contains(name))
        .map(|(_, truth)| truth)
        .collect();
    // Of four entities, only all of them are "bulk": an empty catalogue is a lost permission.
    let bulk = names.is_empty();
    let mut withdrawn = 0;
    for truth in &mut missing {
        truth.missing += 1;
        if truth.missing >= 2 && !bulk {
            truth.wish = None;
            withdrawn += 1;
            model.events += truth.tell();
        }
    }
    assert_eq!(committed.withdrawn, withdrawn);
    model.versions += i64::from(withdrawn);
}

async fn send(world: &World, model: &mut Model, events: usize, verdicts: &[u8]) {
    let claimed = world.store.claim(ClaimLimit { events, bytes: 1 << 20 }).await.unwrap();
    let distinct: std::collections::HashSet<_> = claimed.iter().map(|entry| &entry.key).collect();
    assert_eq!(distinct.len(), claimed.len(), "two versions of one entity are on their way");
    world.store.mark_inflight(claimed.iter().map(|entry| entry.id).collect()).await.unwrap();
    for (at, entry) in claimed.iter().enumerate() {
        model.check_sent(entry);
        let verdict = match verdicts.get(at) {
            Some(0) => Verdict::Retry { at: world.clock.now() + TimeDelta::seconds(20), code: "timeout".into() },
            Some(1) => Verdict::Held { code: "schema".into(), message: "no".into() },
            Some(2) => Verdict::Unsent,
            Some(_) => Verdict::Delivered { status: "accepted" },
            None => continue,
        };
        if matches!(verdict, Verdict::Delivered { .. }) {
            model.delivered(entry);
        }
        world.verdict(entry.id, verdict).await;
    }
}

async fn correct(world: &World, model: &mut Model) {
    model.corrected = true;
    let stream = StreamId::parse("peis/reports").unwrap();
    let stale = world.store.read(move |reader| reader.stale_held(&stream, "demo@2", 0, 1000)).await.unwrap();
    for held in stale {
        let text = String::from_utf8(held.raw.body.to_vec()).unwrap();
        let mut parts = text.split('-');
        let name = parts.next().unwrap().to_owned();
        let anonymous = parts.next() == Some("Anonymous");
        let outcome = if anonymous { doubtful(None, "no-key") } else { mapped(&name, &text) };
        let mut again = record(&text, vec![outcome]);
        again.archived = Some(held.archive_id);
        again.mapping_version = "demo@2".into();
        world.give(vec![again]).await;
        if !anonymous {
            let truth = model.truth.get_mut(&name).unwrap();
            assert_eq!(truth.pending.take(), Some((text.clone(), held.archive_id)), "only the newest can be open");
            truth.wish = Some(format!("{{\"v\":\"{text}\"}}"));
            model.events += truth.tell();
        }
    }
}

/// The sums that are kept equal the rows, and add up (P3).
async fn check_sums(world: &World, model: &Model) {
    let overview = world.store.read(Reader::overview).await.unwrap();
    let totals = overview.totals.get("exam_report").copied().unwrap_or(Totals::zero());
    assert!(totals.adds_up);
    assert_eq!(totals.source, model.versions, "a version was lost or counted twice");
    let conn = rusqlite::Connection::open(world.dir.path().join(schema::FILE_NAME)).unwrap();
    let sum = |sql: &str| conn.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    let count = |sql: &str| sum(&format!("SELECT count(*) FROM {sql}"));
    // A sum is its rows, and what it counts of those that were given up.
    let gone = |outbox: bool, name: &str| {
        let scope = if outbox { "=" } else { "<>" };
        sum(&format!("SELECT coalesce(sum(n), 0) FROM given_up WHERE scope {scope} 'outbox' AND name = '{name}'"))
    };
    let held = count("disposition WHERE fate = 'held'") + count("outbox WHERE counts AND state = 'held'");
    assert_eq!(totals.held, held + gone(false, "held"));
    assert_eq!(totals.unchanged, count("disposition WHERE fate = 'unchanged'") + gone(false, "unchanged"));
    assert_eq!(totals.delivered, count("outbox WHERE counts AND state = 'delivered'") + gone(false, "delivered"));
    for state in ["queued", "claimed", "inflight", "waiting", "delivered", "held"] {
        let kept = overview.outbox.get(state).copied().unwrap_or(0);
        assert_eq!(kept, count(&format!("outbox WHERE state = '{state}'")) + gone(true, state), "{state}");
    }
    // The outbox has each event that was made, once, and is done with those that upstream took.
    let delivered = count("outbox WHERE state = 'delivered'") + gone(true, "delivered");
    assert_eq!(delivered, i64::try_from(model.taken.len()).unwrap());
    assert_eq!(model.events, count("outbox") + gone(true, "delivered"), "an event is missing, or one too many");
    let waits = world.store.backlog();
    assert_eq!(waits.entries, u64::try_from(count("outbox WHERE done_at IS NULL")).unwrap());
    let bytes = sum("SELECT coalesce(sum(size), 0) FROM outbox WHERE done_at IS NULL");
    assert_eq!(waits.bytes, u64::try_from(bytes).unwrap());
    // The ledger knows the newest event of each entity, and that one is never given up.
    let differs = "entity n LEFT JOIN event e ON e.id = (SELECT max(id) FROM outbox WHERE entity_id = n.id)
                   WHERE n.sequence <> coalesce(e.sequence, 0)
                     OR n.state <> CASE e.kind WHEN 'upserted' THEN 'present' WHEN 'withdrawn' THEN 'withdrawn' ELSE 'never' END";
    assert_eq!(count(differs), 0, "the ledger says something else than the newest event");
    assert_eq!(count("part p LEFT JOIN content c ON c.id = p.content_id WHERE c.id IS NULL"), 0);
    assert_eq!(count("event e LEFT JOIN content c ON c.id = e.content_id WHERE c.id IS NULL"), 0);
    assert_eq!(count("held h LEFT JOIN archive a ON a.id = h.archive_id WHERE h.state = 'open' AND a.body = x''"), 0);
    let kept = sum("SELECT coalesce(sum(kept), 0) FROM volume");
    assert_eq!(kept, sum("SELECT coalesce(sum(length(body)), 0) FROM archive"), "the archive's sums");
    let open: i64 = overview.held_open.iter().map(|held| held.count).sum();
    assert_eq!(open, count("held WHERE state = 'open'"));
    assert_eq!(count("outbox WHERE done_at IS NULL AND ready_at IS NULL AND state = 'waiting'"), 0);
    let stuck = "(SELECT entity_id FROM outbox WHERE done_at IS NULL GROUP BY entity_id
                  HAVING max(ready_at IS NOT NULL OR claimed_at IS NOT NULL) = 0)";
    assert_eq!(count(stuck), 0, "an entity has open entries and none that can be claimed");
}

/// Delivers all there is; then upstream must have what the sources say.
async fn finish(world: &World, model: &mut Model) {
    world.store.unclaim().await.unwrap();
    loop {
        world.wait(3600);
        send(world, model, 100, &[3; 100]).await;
        let overview = world.store.read(Reader::overview).await.unwrap();
        if overview.outbox_depth > 0 {
            continue;
        }
        let filter = HeldFilter { open_only: true, ..HeldFilter::default() };
        let held = world.store.read(move |reader| reader.held_list(&filter, 1000, 0)).await.unwrap();
        let refused = held.iter().filter(|item| item.leg == "outbox");
        let mut retried = false;
        for item in refused {
            retried |= world.store.held_retry_outbox(item.id, "ops").await.is_ok();
        }
        if !retried {
            break;
        }
    }
    world.wait(86_400 * 100);
    retention::retain_by(world, RetentionPolicy::default(), 50).await;
    check_sums(world, model).await;
    let verified = world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    for (name, truth) in &model.truth {
        let upstream = model.upstream.get(&key(name).key).and_then(|(_, data)| data.clone());
        assert_eq!(upstream, truth.wish, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // For a long run: PROPTEST_CASES=20000.
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_upstream_gets_every_version_in_order_and_nothing_is_lost(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Box::pin(run(steps)));
    }
}
