//! What the status page reads costs the same with millions of records as with none: every query is bounded by an index.

use std::collections::BTreeSet;

use super::*;
use crate::store::query::ASKED;

/// Tables that grow with what a hospital produces.
const BIG: [&str; 19] = [
    "acknowledged",
    "archive",
    "attachment",
    "attachment_use",
    "attempt",
    "audit",
    "content",
    "disposition",
    "entity",
    "event",
    "event_attachment",
    "held",
    "held_member",
    "outbox",
    "part",
    "reconcile_item",
    "search",
    "unknown_code_of",
    "waiting",
];

/// Indexes that hold only what is open: walking one is bounded by what waits, not by what ever was.
const OPEN: [&str; 4] = ["held_open", "held_open_reason", "held_open_stream", "outbox_open"];

/// The tables that a plan walks from end to end.
fn walked(conn: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let words: Vec<&str> = sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let table = |name: &str| {
        let alias = words.windows(2).find(|pair| pair[1] == name && BIG.contains(&pair[0])).map(|pair| pair[0]);
        if BIG.contains(&name) { Some(name.to_owned()) } else { alias.map(str::to_owned) }
    };
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let step: String = row.get(3).unwrap();
        let Some(rest) = step.strip_prefix("SCAN ") else { continue };
        let name = rest.split(' ').next().unwrap();
        let open = rest.split("INDEX ").nth(1).is_some_and(|index| OPEN.contains(&index.split(' ').next().unwrap()));
        found.extend(table(name).filter(|_| !open).map(|table| format!("{table}: {step}")));
    }
    found
}

type Read = (&'static str, fn(&Reader));

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 2, 8, 0, 0).unwrap()
}

fn open_items() -> HeldFilter {
    HeldFilter { open_only: true, ..HeldFilter::default() }
}

/// Everything that src/ops reads, by the name of the reader's function.
const READS: &[Read] = &[
    ("ageing", |r| _ = r.ageing(now()).unwrap()),
    ("alert_channels", |r| drop(r.alert_channels().unwrap())),
    ("alert_messages", |r| drop(r.alert_messages(now(), 10).unwrap())),
    ("alert_silences", |r| drop(r.alert_silences(now()).unwrap())),
    ("alerts", |r| drop(r.alerts(now(), 10).unwrap())),
    ("archive_status", |r| _ = r.archive_status(now()).unwrap()),
    ("audit_list", |r| drop(r.audit_list(None, 10).unwrap())),
    ("audit_verify", |r| drop(r.audit_verify().unwrap())),
    ("canaries", |r| drop(r.canaries("2026-03-02").unwrap())),
    ("config_content", |r| drop(r.config_content(1).unwrap())),
    ("config_versions", |r| drop(r.config_versions(10).unwrap())),
    ("event_life", |r| drop(r.event_life(1).unwrap())),
    ("event_lives", |r| drop(r.event_lives(0, 10).unwrap())),
    ("explain_within", |r| {
        for needle in ["no-1", "no-held", "main:peis:1", "exam_report/main:peis:1", "archive:1", "1"] {
            r.explain_within(needle, 1000).unwrap();
        }
        r.explain_within("00000000-0000-4000-8000-000000000000", 1000).unwrap();
    }),
    ("held_list", |r| {
        r.held_list(&open_items(), 10, 0).unwrap();
        r.held_list(&HeldFilter { reason: Some("doubt".into()), ..open_items() }, 10, 0).unwrap();
        r.held_list(&HeldFilter { stream: Some("peis/reports".into()), ..open_items() }, 10, 0).unwrap();
        r.held_list(&HeldFilter { id: Some(1), ..open_items() }, 10, 0).unwrap();
        r.held_list(&HeldFilter::default(), 10, 0).unwrap();
    }),
    ("held_show", |r| drop(r.held_show(1).unwrap())),
    ("newest_entry", |r| _ = r.newest_entry().unwrap()),
    ("onboarding", |r| drop(r.onboarding().unwrap())),
    ("open_entries", |r| drop(r.open_entries(10).unwrap())),
    ("outbox_list", |r| drop(r.outbox_list(None, 10, 0).unwrap())),
    ("outbox_recent", |r| drop(r.outbox_recent(None, 10).unwrap())),
    ("outbox_show", |r| drop(r.outbox_show(1).unwrap())),
    ("overview", |r| drop(r.overview().unwrap())),
    ("overview_in_parts", |r| drop(r.overview_in_parts(&mut crate::store::Unreadable::default()))),
    ("reconcile_latest", |r| drop(r.reconcile_latest().unwrap())),
    ("reconcile_runs", |r| drop(r.reconcile_runs(None, 10).unwrap())),
    ("reconcile_show", |r| drop(r.reconcile_show(1).unwrap())),
    ("switches", |r| drop(r.switches().unwrap())),
    ("trend", |r| drop(r.trend(now()).unwrap())),
    ("unknown_codes", |r| drop(r.unknown_codes().unwrap())),
    ("unknown_codes_lately", |r| drop(r.unknown_codes_lately(10, 10).unwrap())),
];

#[tokio::test]
async fn no_query_of_the_page_walks_a_table_that_grows() {
    let world = World::new();
    world.give(vec![says("1", "a"), record("2", vec![doubtful(Some(key("2")), "doubt")])]).await;
    world.give(vec![record("3", vec![doubtful(None, "doubt")]), says("1", "b")]).await;
    let config = world.store.config_in_force("digest", "wang", serde_json::json!({})).await.unwrap();
    world.store.keep_config(config, &serde_json::json!({ "agent": {} })).await.unwrap();
    world.store.reconcile_ask("peis/reports", Scope::Ledger, None, "wang").await.unwrap();
    world.store.audit("wang", "show-personal", "held/1", "a test").await.unwrap();
    let reader = Reader::open(world.dir.path()).unwrap();
    let mut wrong = BTreeSet::new();
    for (name, read) in READS {
        ASKED.set(Some(Vec::new()));
        read(&reader);
        let asked = ASKED.take().unwrap();
        assert!(!asked.is_empty(), "{name} asked nothing");
        for sql in asked {
            wrong.extend(walked(&reader.conn, &sql).into_iter().map(|table| format!("{name} walks {table}\n{sql}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn a_walk_over_a_whole_table_is_noticed() {
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE held (id INTEGER PRIMARY KEY, state TEXT, reason TEXT);
         CREATE INDEX held_open ON held (id) WHERE state = 'open';",
    )
    .unwrap();
    assert_eq!(walked(&conn, "SELECT h.id FROM held h WHERE h.reason = ?1"), ["held: SCAN h"]);
    assert!(walked(&conn, "SELECT h.id FROM held h WHERE h.id > ?1").is_empty());
    assert!(walked(&conn, "SELECT id FROM held INDEXED BY held_open WHERE state = 'open'").is_empty());
}

#[test]
fn every_read_of_the_page_is_looked_at() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs"));
    let mut missing = BTreeSet::new();
    for path in found {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for place in ["reader.", "Reader::"] {
            for rest in code.split(place).skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if !name.is_empty() && !READS.iter().any(|(read, _)| *read == name) {
                    missing.insert(name);
                }
            }
        }
    }
    assert!(missing.is_empty(), "src/ops reads what READS does not list: {missing:?}");
}
