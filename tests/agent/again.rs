//! What was held is mapped again: by itself when its code table was corrected, or when a person asks.

use hisync::agent::Agent;
use serde_json::Value as Json;

use super::support::{REPORTS, Site, delivered, eventually, held, hisync_json, overview, read, visit};

const TABLE: &str = "mappings/demo-peis/codes/flag.csv";
const LAST_LINE: &str = "阳性,阳性,positive,positive";

/// A site with one report that is held for a flag that no table knows, and its agent.
async fn with_an_unknown_code() -> (Site, Agent) {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, Some("※"));
    let agent = site.start().await;
    delivered(&agent).await;
    let items = held(&agent).await;
    assert_eq!(items.iter().map(|item| item.reason.as_str()).collect::<Vec<_>>(), ["unknown-code"]);
    assert_eq!(reports(&site).len(), 0);
    (site, agent)
}

fn correct_the_table(site: &Site) {
    site.edit(TABLE, LAST_LINE, &format!("{LAST_LINE}\n※,异常,abnormal,seen"));
}

/// The reports that upstream has.
fn reports(site: &Site) -> Vec<Json> {
    let latest = site.upstream.latest().into_iter().map(|line| line.event);
    latest.filter(|event| event["subject"].as_str().unwrap().starts_with("exam_report/")).collect()
}

async fn states(agent: &Agent) -> Vec<String> {
    held(agent).await.into_iter().map(|item| item.state).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_code_table_delivers_what_was_held_at_the_next_start() {
    let (site, agent) = with_an_unknown_code().await;
    agent.stop().await;
    correct_the_table(&site);
    let agent = site.start().await;
    eventually("the report to arrive", async || reports(&site).len() == 1).await;
    delivered(&agent).await;
    // The archive's record is mapped again, or the first poll reads the row again under the new mapping:
    // whichever comes first delivers it, the other finds it done.
    let states = states(&agent).await;
    assert!(states == ["retried"] || states == ["superseded"], "{states:?}");
    let totals = overview(&agent).await.totals["exam_report"];
    assert_eq!((totals.delivered, totals.queued, totals.adds_up), (1, 0, true));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_retries_through_the_running_agent() {
    let (site, agent) = with_an_unknown_code().await;
    // Under the same mapping nothing changes, and the answer says so.
    let (code, done) =
        hisync_json(&site.config, &["held", "retry", "--reason", "unknown-code", "--who", "A. Engineer"]);
    assert_eq!((code, &done["settled"], &done["still_held"]), (1, &Json::from(0), &Json::from(1)), "{done}");
    assert!(done["problems"][0].as_str().unwrap().contains("does not accept"), "{done}");
    assert_eq!(states(&agent).await, ["open"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_retries_while_no_agent_runs() {
    let (site, agent) = with_an_unknown_code().await;
    agent.stop().await;
    correct_the_table(&site);
    let (code, done) = hisync_json(&site.config, &["held", "retry", "--all"]);
    assert_eq!((code, &done["settled"], &done["still_held"]), (0, &Json::from(1), &Json::from(0)), "{done}");
    let agent = site.start().await;
    eventually("the report to arrive", async || reports(&site).len() == 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_record_never_overwrites_a_newer_one() {
    let (mut site, agent) = with_an_unknown_code().await;
    // The hospital corrects the report itself; the newer version is sound and is delivered.
    let mut corrected = visit(0);
    let sex = corrected.person.sex;
    corrected.order_mut("002001").unwrap().results[0].correct("11.20", sex);
    site.conclude(&corrected, 10, None);
    assert_eq!(read(&agent, REPORTS).await.new, 1);
    delivered(&agent).await;
    let newest = reports(&site);
    assert_eq!(newest.len(), 1);
    assert_eq!(states(&agent).await, ["superseded"]);
    agent.stop().await;
    // Now the old record would map, too.
    correct_the_table(&site);
    let agent = site.start().await;
    let (_, _) = hisync_json(&site.config, &["held", "retry", "--all"]);
    read(&agent, REPORTS).await;
    delivered(&agent).await;
    let after = reports(&site);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["contenthash"], newest[0]["contenthash"]);
    assert!(overview(&agent).await.totals["exam_report"].adds_up);
    agent.stop().await;
}

/// The unknown codes as the command lists them.
fn unmapped(site: &Site) -> Json {
    let (code, list) = hisync_json(&site.config, &["codes", "unmapped"]);
    assert_eq!(code, 0);
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_added_to_its_table_and_maps_again_what_it_concerns() {
    let (site, agent) = with_an_unknown_code().await;
    let list = unmapped(&site);
    let code = &list[0];
    assert_eq!(
        (&code["table"], &code["value"], &code["count"], &code["held"], list.as_array().unwrap().len()),
        (&Json::from("flag"), &Json::from("※"), &Json::from(1), &Json::from(1), 1),
        "{list}"
    );
    assert!(code["source_field"].is_string() && code["first_seen_at"].is_string(), "{code}");
    let (exit, _, err) = refused(&site, &["codes", "map", "flags", "※", "abnormal"]);
    assert!(exit == 1 && err.contains("flag"), "{err}");
    let (exit, _, err) = refused(&site, &["codes", "map", "flag", "※", "abnormal"]);
    assert!(exit == 1 && err.contains("--stream: lab/reports, peis/reports"), "{err}");
    let (exit, _, err) = refused(&site, &["codes", "map", "flag", "※", "strange", "--stream", REPORTS]);
    assert!(exit == 1 && err.contains("would not accept"), "{err}");
    let (exit, done) = hisync_json(
        &site.config,
        &["codes", "map", "flag", "※", "abnormal", "--name", "异常", "--who", "wang", "--stream", REPORTS],
    );
    assert_eq!((exit, &done["concerned"], &done["applied"]), (0, &Json::from(1), &Json::from("reload")), "{done}");
    let table = std::fs::read_to_string(site.folder.path().join(TABLE)).unwrap();
    assert!(table.ends_with("※,异常,abnormal,\n"), "{table}");
    let (exit, _, err) = refused(&site, &["codes", "map", "flag", "※", "abnormal", "--stream", REPORTS]);
    assert!(exit == 1 && err.contains("says already"), "{err}");
    agent.stop().await;
    let agent = site.start().await;
    eventually("the report to arrive", async || reports(&site).len() == 1).await;
    assert_eq!(unmapped(&site), Json::Array(vec![]));
    delivered(&agent).await;
    assert!(overview(&agent).await.totals["exam_report"].adds_up);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_added_while_no_agent_runs_and_applied_at_the_next_start() {
    let (site, agent) = with_an_unknown_code().await;
    agent.stop().await;
    assert_eq!(unmapped(&site)[0]["table"], "flag");
    let (exit, done) = hisync_json(&site.config, &["codes", "map", "flag", "※", "abnormal", "--stream", REPORTS]);
    assert_eq!((exit, &done["applied"]), (0, &Json::from("start")), "{done}");
    let agent = site.start().await;
    eventually("the report to arrive", async || reports(&site).len() == 1).await;
    agent.stop().await;
}

fn refused(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let config = site.config.to_string_lossy();
    super::support::hisync(&[arguments, &["-c", &config]].concat())
}
