//! Switches, and the configuration in force.

use super::*;
use crate::switches::Setting;

fn hold(world: &World, secs: i64) -> Setting {
    let now = world.clock.now();
    let until = now + TimeDelta::seconds(secs);
    Setting::new("hold-deliveries", None, "on", until, ("wang", "a pause"), now).unwrap()
}

async fn audited(world: &World) -> Vec<(String, String)> {
    let lines = world.store.read(|reader| reader.audit_list(None, 100)).await.unwrap();
    lines.into_iter().rev().map(|line| (line.entry.act, line.entry.who)).collect()
}

#[tokio::test]
async fn a_switch_is_set_cleared_and_ends_and_the_audit_log_has_all_of_it() {
    let world = World::new();
    world.store.set_switch(hold(&world, 60)).await.unwrap();
    world.store.set_switch(hold(&world, 90)).await.unwrap();
    let set = world.store.read(|reader| reader.switches()).await.unwrap();
    assert_eq!(set, [hold(&world, 90)], "one setting for one subject");
    world.store.clear_switch("hold-deliveries", "", "li", "ready").await.unwrap();
    assert!(world.store.clear_switch("hold-deliveries", "", "li", "ready").await.is_err());
    world.store.set_switch(hold(&world, 60)).await.unwrap();
    world.store.end_switches().await.unwrap();
    assert_eq!(world.store.read(|reader| reader.switches()).await.unwrap().len(), 1);
    world.wait(60);
    world.store.end_switches().await.unwrap();
    assert!(world.store.read(|reader| reader.switches()).await.unwrap().is_empty());
    let said = audited(&world).await;
    let said: Vec<(&str, &str)> = said.iter().map(|(act, who)| (act.as_str(), who.as_str())).collect();
    let set = ("switch-set", "wang");
    assert_eq!(said, [set, set, ("switch-clear", "li"), set, ("switch-expired", "hisync")]);
    assert_eq!(world.store.read(Reader::audit_verify).await.unwrap().broken_at, None);
}

#[tokio::test]
async fn an_event_carries_the_configuration_in_force_when_it_was_made() {
    let world = World::new();
    world.give(vec![says("before", "a")]).await;
    let first = world.store.config_in_force(&"a".repeat(64), "start", serde_json::json!({})).await.unwrap();
    assert_eq!(world.store.config_in_force(&"a".repeat(64), "start", serde_json::json!({})).await.unwrap(), first);
    world.give(vec![says("first", "a")]).await;
    world.store.config_in_force(&"b".repeat(64), "wang", serde_json::json!({ "changed": ["x"] })).await.unwrap();
    world.give(vec![says("second", "a")]).await;
    let entries = world.store.read(|reader| reader.outbox_list(None, 10, 0)).await.unwrap();
    let versions: Vec<Option<&str>> = entries.iter().map(|entry| entry.config_version.as_deref()).collect();
    assert_eq!(versions, [None, Some("aaaaaaaaaaaa"), Some("bbbbbbbbbbbb")]);
    let history = world.store.read(|reader| reader.config_versions(10)).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].who.as_str(), &history[0].detail["changed"][0]), ("wang", &serde_json::json!("x")));
}
