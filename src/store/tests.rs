//! The store from outside, through its handle.

use std::sync::Arc;

use chrono::{TimeDelta, TimeZone as _};
use connector_api::{Advance, Raw, Value};
use tempfile::TempDir;

use super::*;
use crate::model::dictionary::{Compared, Dictionary};
use crate::model::guard::{Change, Guards};
use crate::model::{
    Assembly, CloudEvent, Compose, Entity, EntityType, File, Finding, Held, Mapped, Outcome, Part, Severity, WAITING,
    Wish,
};

mod acts;
mod alarms;
mod attachments;
mod backup;
mod commit;
mod crash;
mod deliver;
mod guards;
mod live;
mod machine;
mod parts;
mod plans;
mod retention;
mod snapshots;
mod trial;
mod upgrade;
mod upstream;
mod vault;

/// Joins the parts' data; doubts a change to `"stranger"`; doubts an entity of which a part says `"doubt"`.
struct Joiner;

impl Compose for Joiner {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        let texts: Vec<String> =
            parts.iter().map(|part| format!("{:?}:{}", part.stream, String::from_utf8_lossy(part.data))).collect();
        if texts.iter().any(|text| text.contains("panic")) {
            panic!("a composer's bug");
        }
        if parts.iter().any(|part| part.assembly.is_some()) && parts.len() < 2 {
            return doubtful(Some(key.clone()), WAITING);
        }
        if texts.iter().any(|text| text.contains("doubt")) {
            return doubtful(Some(key.clone()), "parts-differ");
        }
        let absent = parts.iter().find_map(|part| match part.wish {
            Wish::Absent { reason } => Some(reason.clone()),
            Wish::Present => None,
        });
        Outcome::Mapped(Mapped {
            key: key.clone(),
            wish: absent.map_or(Wish::Present, |reason| Wish::Absent { reason }),
            data: format!("{{{}}}", texts.join(",")).into_bytes(),
            search: vec![],
            files: vec![],
            assembly: None,
            revision: None,
        })
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        let stranger = |data: &[u8]| String::from_utf8_lossy(data).contains("stranger");
        let says = |data: &[u8], word| String::from_utf8_lossy(data).contains(word);
        if says(before, "whole") && says(after, "torn") {
            let Outcome::Held(held) = doubtful(Some(key.clone()), "result-vanished") else { return None };
            return Some(held);
        }
        match doubtful(Some(key.clone()), "another-person") {
            Outcome::Held(held) if !stranger(before) && stranger(after) => Some(held),
            _ => None,
        }
    }

    fn told_by_release(&self, _: &EntityKey, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        let says = |data: &[u8], word| String::from_utf8_lossy(data).contains(word);
        (says(before, "whole") && says(after, "torn")).then(|| br#"{"v":"torn, and it says so"}"#.to_vec())
    }

    fn guards(&self, stream: &str) -> Option<Guards> {
        (stream == guards::GUARDED).then(Guards::default)
    }

    fn doubt_changes(&self, _: &str, changes: &[Change<'_>], _: usize) -> Vec<Finding> {
        let jumps = |data: Option<&[u8]>| data.is_some_and(|data| String::from_utf8_lossy(data).contains("jump"));
        let doubtful = changes.iter().filter(|change| change.before.is_some() && jumps(change.after));
        doubtful.map(|change| Finding::new("price-jump", Severity::Hold, "", "").value(&change.key.key)).collect()
    }

    fn compares(&self, entity: EntityType, _: &str) -> bool {
        matches!(entity, EntityType::ExamPackage | EntityType::ExamReport)
    }

    /// Holds what names a group (`"G…"`) that no dictionary has, or that is off; tells of an item (`"I…"`).
    fn compare(&self, _: &EntityKey, parts: &[(String, Vec<u8>)], dictionary: &dyn Dictionary) -> Compared {
        let mut compared = Compared::default();
        for (_, data) in parts {
            let text = String::from_utf8_lossy(data).into_owned();
            for code in text.split('"').filter(|word| word.starts_with('G')) {
                let known = dictionary.look(None, EntityType::ExamItemGroup, code);
                let off = |entity: &Arc<Entity>| matches!(&**entity, Entity::ExamItemGroup(group) if !group.enabled);
                let reason = match known {
                    None => "group-unknown",
                    Some(entries) if entries.iter().any(off) => "group-off",
                    Some(_) => continue,
                };
                compared.findings.push(Finding::new(reason, Severity::Hold, "items", "").value(code));
                compared.waits.insert((EntityType::ExamItemGroup, code.to_owned()));
            }
            for code in text.split('"').filter(|word| word.starts_with('I')) {
                if dictionary.look(Some("peis"), EntityType::ExamItem, code).is_none() {
                    compared.findings.push(Finding::new("item-unknown", Severity::Warn, "items", "").value(code));
                }
            }
        }
        compared
    }

    fn with_issues(&self, _: &EntityKey, data: &[u8], findings: &[Finding]) -> Option<Vec<u8>> {
        let mut data: serde_json::Value = serde_json::from_slice(data).ok()?;
        data["issues"] = findings.iter().map(|finding| finding.code.clone()).collect();
        serde_json::to_vec(&data).ok()
    }
}

/// A part that waits an hour for another one.
fn part_of(outcome: Outcome, part: &str) -> Outcome {
    let Outcome::Mapped(mapped) = outcome else { return outcome };
    let assembly = Assembly { part: part.to_owned(), wait_hours: 1, ..Assembly::default() };
    Outcome::Mapped(Mapped { assembly: Some(Box::new(assembly)), ..mapped })
}

struct World {
    dir: TempDir,
    clock: Clock,
    store: Store,
}

fn open(dir: &std::path::Path, clock: &Clock) -> Store {
    let options = Options { hospital: "demo-001".into(), agent_version: "0.1.0".into(), lane: Some("blue".into()) };
    Store::open(dir, options, Arc::new(Joiner), clock.clone()).unwrap()
}

impl World {
    fn new() -> World {
        let dir = TempDir::new().unwrap();
        let clock = Clock::manual(Utc.with_ymd_and_hms(2026, 3, 2, 8, 0, 0).unwrap());
        let store = open(dir.path(), &clock);
        World { dir, clock, store }
    }

    /// Lets the handle go without closing it, and opens the store again.
    fn reopen(self) -> World {
        let World { dir, clock, store } = self;
        drop(store);
        let store = open(dir.path(), &clock);
        World { dir, clock, store }
    }

    fn wait(&self, seconds: i64) {
        self.clock.set(self.clock.now() + TimeDelta::seconds(seconds));
    }

    async fn give(&self, records: Vec<Incoming>) -> Vec<RecordReceipt> {
        self.give_to("peis/reports", records).await
    }

    async fn give_to(&self, stream: &str, records: Vec<Incoming>) -> Vec<RecordReceipt> {
        self.store.commit(batch(stream, records)).await.unwrap().receipts
    }

    async fn claim(&self) -> Vec<Entry> {
        self.store.claim(ClaimLimit { events: 100, bytes: 1 << 20 }).await.unwrap()
    }

    async fn verdict(&self, id: i64, verdict: Verdict) {
        self.store.settle(vec![Settlement { id, verdict }]).await.unwrap();
    }

    /// Sends until nothing is due; answers the events in order.
    async fn deliver(&self) -> Vec<CloudEvent> {
        let mut events = vec![];
        loop {
            let claimed = self.claim().await;
            if claimed.is_empty() {
                return events;
            }
            self.store.mark_inflight(claimed.iter().map(|entry| entry.id).collect()).await.unwrap();
            for entry in claimed {
                events.push(serde_json::from_slice(&entry.body).unwrap());
                self.verdict(entry.id, Verdict::Delivered { status: "accepted" }).await;
            }
        }
    }

    fn raw_sql<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let conn = rusqlite::Connection::open(self.dir.path().join(schema::FILE_NAME)).unwrap();
        conn.query_row(sql, (), |row| row.get(0)).unwrap()
    }
}

fn batch(stream: &str, records: Vec<Incoming>) -> IncomingBatch {
    IncomingBatch { stream: StreamId::parse(stream).unwrap(), records, advance: None, snapshot: None }
}

fn key(key: &str) -> EntityKey {
    EntityKey::new(EntityType::ExamReport, format!("main:peis:{key}"))
}

fn record(raw: &str, outcomes: Vec<Outcome>) -> Incoming {
    Incoming {
        raw: Raw { format: "text/plain".into(), charset: None, body: raw.to_owned().into() },
        source_ref: "V_TJ_BG".into(),
        resend_key: None,
        mapping_version: "demo@1".into(),
        archived: None,
        outcomes,
    }
}

fn mapped(name: &str, data: &str) -> Outcome {
    Outcome::Mapped(Mapped {
        key: key(name),
        wish: Wish::Present,
        data: format!("{{\"v\":\"{data}\"}}").into_bytes(),
        search: vec![format!("no-{name}")],
        files: vec![],
        assembly: None,
        revision: None,
    })
}

fn absent(name: &str, reason: &str) -> Outcome {
    Outcome::Mapped(Mapped {
        key: key(name),
        wish: Wish::Absent { reason: reason.into() },
        data: b"{}".to_vec(),
        search: vec![],
        files: vec![],
        assembly: None,
        revision: None,
    })
}

fn doubtful(key: Option<EntityKey>, reason: &str) -> Outcome {
    Outcome::Held(Held {
        entity: Some(EntityType::ExamReport),
        key,
        reason: reason.into(),
        findings: vec![Finding::new(reason, Severity::Hold, "sex", "no such code").value("Q")],
        search: vec!["no-held".into()],
    })
}

/// One record about one entity.
fn says(name: &str, data: &str) -> Incoming {
    record(&format!("{name}={data}"), vec![mapped(name, data)])
}
