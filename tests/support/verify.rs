//! What must be true in the end, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

use crate::hospital::{Facts, Wanted, plain};
use crate::machine::Stage;

fn text<'a>(value: &'a Json, path: &str) -> &'a str {
    value.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Json, name: &str) -> &'a [Json] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// What an event says, in the words of the hospital's facts; `None` for a withdrawal.
fn facts(event: &Json) -> Option<Facts> {
    if text(event, "/type").ends_with(".withdrawn") {
        return None;
    }
    let data = &event["data"];
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut facts = match text(event, "/subject").split('/').next() {
        Some("exam_report") => Facts::from([
            fact("status", text(data, "/status")),
            fact("number", text(data, "/report_no")),
            fact("name", text(data, "/examinee/name")),
        ]),
        kind => {
            let name = if kind == Some("exam_package") { "/name" } else { "/item_name" };
            let name = if kind == Some("exam_item_group") { "/group_name" } else { name };
            Facts::from([
                fact("name", text(data, name)),
                fact("price", text(data, "/sale_price_raw")),
                fact("enabled", &data["enabled"].to_string()),
            ])
        }
    };
    for group in list(data, "groups") {
        for item in list(group, "items") {
            let name = format!("result {}/{}", text(group, "/group_code"), text(item, "/item_code"));
            facts.insert(name, plain(text(item, "/value_raw")));
        }
    }
    for conclusion in list(data, "conclusions") {
        facts.insert(format!("conclusion {}", conclusion["seq"]), plain(text(conclusion, "/text")));
    }
    Some(facts)
}

/// What the subject of a critical value begins with.
const ALARM: &str = "critical_value/";

/// The critical values in reports that upstream has and of which it was not told.
fn untold(latest: &BTreeMap<&str, &Json>) -> Vec<String> {
    let mut found = Vec::new();
    for (subject, event) in latest {
        let Some(report) = subject.strip_prefix("exam_report/") else { continue };
        for group in list(&event["data"], "groups") {
            let critical =
                |item: &&Json| item["is_critical"] == true || text(item, "/flag_source").starts_with("critical_");
            for item in list(group, "items").iter().filter(critical) {
                let (code, instance) = (text(item, "/item_code"), text(item, "/instance"));
                let alarm = format!("{ALARM}{report}/{}/{code}/{instance}", text(group, "/group_code"));
                let told = latest.get(alarm.as_str()).map(|event| text(&event["data"], "/value_raw"));
                if told != Some(text(item, "/value_raw")) {
                    found.push(format!("{alarm}: upstream was told {told:?}"));
                }
            }
        }
    }
    found
}

/// The differences between what upstream has last and what it must have.
pub(crate) fn differences(applied: &[Json], wanted: &Wanted) -> Vec<String> {
    let latest: BTreeMap<&str, &Json> =
        applied.iter().map(|line| (text(line, "/event/subject"), &line["event"])).collect();
    // What was told stays told, whatever the report says since.
    let lasting = latest.keys().copied().filter(|subject| !subject.starts_with(ALARM));
    let subjects: BTreeSet<&str> = lasting.chain(wanted.keys().map(String::as_str)).collect();
    let mut found = untold(&latest);
    for subject in subjects {
        let has = latest.get(subject).and_then(|event| facts(event));
        let must = wanted.get(subject).cloned().flatten();
        match (has, must) {
            (None, None) => {}
            (Some(has), Some(must)) => {
                let names: BTreeSet<&String> = has.keys().chain(must.keys()).collect();
                for name in names.into_iter().filter(|name| has.get(*name) != must.get(*name)) {
                    let (has, must) = (has.get(name), must.get(name));
                    found.push(format!("{subject}: {name}: upstream has {has:?}, the source {must:?}"));
                }
            }
            (has, _) => found.push(format!("{subject}: upstream {} it", if has.is_some() { "has" } else { "lacks" })),
        }
    }
    found
}

/// Each event was applied once, versions rise in the order of receipt, an id always carries the same
/// bytes, and nothing was refused. Answers how many attempts were answered as duplicates.
pub(crate) fn history(stage: &Stage) -> (usize, usize) {
    let attempts = stage.received("?attempts=1");
    let mut events: BTreeMap<&str, &Json> = BTreeMap::new();
    let mut applied: BTreeSet<&str> = BTreeSet::new();
    let mut sequences: BTreeMap<&str, &str> = BTreeMap::new();
    let mut duplicates = 0;
    for line in &attempts {
        let (id, status) = (text(line, "/event/id"), text(line, "/status"));
        let first = *events.entry(id).or_insert(&line["event"]);
        assert_eq!(*first, line["event"], "an id carries the same event in each attempt");
        let as_told = text(line, "/code") == "fault";
        match status {
            "accepted" | "fault" => {}
            "duplicate" => duplicates += 1,
            "retry" if as_told => {}
            _ => panic!("upstream answered {status} to {id}: {}", text(line, "/code")),
        }
        assert_ne!(
            text(line, "/code"),
            "superseded",
            "an older version of {} came after a newer",
            text(line, "/event/subject")
        );
        if line["applied"] == true {
            assert!(applied.insert(id), "{id} was applied twice");
            let (subject, sequence) = (text(line, "/event/subject"), text(line, "/event/sequence"));
            let last = sequences.insert(subject, sequence);
            assert!(last.is_none_or(|last| last < sequence), "{subject}: {sequence} came after {last:?}");
        }
    }
    assert_eq!(events.len(), applied.len(), "every event that was ever sent was applied in the end");
    (applied.len(), duplicates)
}

/// The store's sums add up, and agree with upstream's; so many records are held, where that is known.
pub(crate) fn sums(stage: &Stage, store: &Json, held: Option<i64>) {
    assert_eq!(store["outbox_depth"], 0, "nothing is left in the outbox: {store:#}");
    let open: i64 = list(store, "held_open").iter().map(|held| held["count"].as_i64().unwrap()).sum();
    assert!(
        held.is_none_or(|held| open == held),
        "what is held was wrong on purpose ({held:?}): {:#}",
        store["held_open"]
    );
    let applied = stage.received("");
    for (entity, totals) in store["totals"].as_object().unwrap() {
        let number = |name: &str| totals[name].as_i64().unwrap();
        let parts = number("delivered") + number("unchanged") + number("held");
        assert_eq!((number("source"), &totals["adds_up"]), (parts, &Json::Bool(true)), "{entity}: {totals:#}");
        let prefix = format!("{entity}/");
        let has = applied.iter().filter(|line| text(line, "/event/subject").starts_with(&prefix)).count();
        assert_eq!(number("delivered"), has as i64, "{entity}: what the store says is delivered, upstream has");
    }
}

/// The store's file is sound.
pub(crate) fn integrity(stage: &Stage) {
    let conn = Connection::open_with_flags(stage.path("data/hisync.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let dangling = conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get::<_, i64>(0));
    assert_eq!(dangling.unwrap(), 0, "each reference has its row");
}
