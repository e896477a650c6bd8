//! A change is made to come true, runs in the shadow, is promoted and taken back; a program is tried on a copy.

use std::path::{Path, PathBuf};

use hisync::agent::Agent;
use hisync::clock::Clock;
use hisync::config;
use hisync::release::shadow_status;
use hisync::sandbox::hospital::Visit;
use hisync::store::Reader;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::replay::{FLAGS, MAPPING, archive, candidate, copy, group};
use super::support::{REPORTS, Site, command, delivered, eventually, hisync, hisync_json, message, read, send, visit};

/// A change that contradicts no dictionary, of the reports with a flag that is usual.
const FLAG: (&str, &str) = ("↑,偏高,high,above", "↑,偏高,abnormal,above");
/// A change of every report.
const REVIEWER: (&str, &str) =
    ("reviewed_by = \"审核医生\"", "reviewed_by = { const = \"某医\", reason = \"a mistake\" }");
const UNIT: (&str, &str) = ("unit = \"单位\"", "unit = { const = \"g/dL\", reason = \"a mistake\" }");

/// The folder of a candidate takes the place of the site's own mappings.
fn put_in_place(site: &Site, folder: &Path) {
    copy(folder, &site.folder.path().join("mappings"));
}

/// An archive of reports that upstream has, with the dictionaries that they are compared with.
async fn delivered_archive() -> Site {
    let (site, _) = archive().await;
    let agent = site.start().await;
    delivered(&agent).await;
    agent.stop().await;
    assert_eq!(waiting(&site.data_dir()), 0);
    site
}

/// How many versions wait to be delivered.
fn waiting(data: &Path) -> i64 {
    Reader::open(data).unwrap().overview().unwrap().outbox_depth
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_differs_is_applied_and_counts_agree_with_the_difference() {
    let site = delivered_archive().await;
    let folder = candidate(&site, "code", FLAGS, FLAG.0, FLAG.1);
    let name = folder.to_str().unwrap();
    let config = site.config.to_str().unwrap();
    let (code, diff) = hisync_json(&site.config, &["replay", "--diff", "--mapping", name]);
    let changed = diff["changed"].as_u64().unwrap();
    assert!(code == 1 && changed > 0 && changed < diff["entities"].as_u64().unwrap(), "{diff:#}");

    // The configuration names another mapping: an agent would map all of it back.
    let (code, out, err) = hisync(&["replay", "-c", config, "--apply", "--mapping", name]);
    assert!(code == 2 && out.is_empty() && err.contains("map everything back"), "{code} {err}");
    assert_eq!(waiting(&site.data_dir()), 0);

    put_in_place(&site, &folder);
    let (code, done) = hisync_json(&site.config, &["replay", "--apply", "--who", "wang"]);
    assert_eq!(code, 0, "{done:#}");
    assert_eq!(done["applied"]["revisions"], changed, "{done:#}");
    assert_eq!((&done["applied"]["held"], &done["left"]), (&Json::from(0), &Json::from(0)), "{done:#}");
    assert_eq!(done["changed"], changed, "{done:#}");
    assert_eq!(waiting(&site.data_dir()), i64::try_from(changed).unwrap());
    assert_eq!(done["applied"]["resumed"], false);

    // It is true now, and doing it again does nothing.
    let (code, diff) = hisync_json(&site.config, &["replay", "--diff"]);
    assert_eq!((code, &diff["changed"]), (0, &Json::from(0)), "{diff:#}");
    let (code, done) = hisync_json(&site.config, &["replay", "--apply"]);
    assert_eq!((code, &done["applied"]["revisions"]), (0, &Json::from(0)), "{done:#}");
    let (code, verified) = hisync_json(&site.config, &["store", "verify"]);
    assert_eq!(code, 0, "{verified:#}");
    let (_, audit) = hisync_json(&site.config, &["audit", "list"]);
    let said = audit.to_string();
    assert!(said.contains("replay-apply") && said.contains(&format!("{changed} versions made")), "{audit:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_survives_a_kill_and_goes_on() {
    let site = delivered_archive().await;
    let folder = candidate(&site, "code", FLAGS, FLAG.0, FLAG.1);
    let (_, diff) = hisync_json(&site.config, &["replay", "--diff", "--mapping", folder.to_str().unwrap()]);
    let changed = diff["changed"].as_u64().unwrap();
    put_in_place(&site, &folder);
    let config = site.config.to_str().unwrap();
    let mut child = command(&["replay", "-c", config, "--apply", "--threads", "1"]).spawn().unwrap();
    // Killed as soon as something is done; on a fast machine all of it may be by then.
    while child.try_wait().unwrap().is_none() && waiting(&site.data_dir()) == 0 {
        std::thread::yield_now();
    }
    let killed = child.kill().is_ok() && !child.wait().unwrap().success();
    let (code, done) = hisync_json(&site.config, &["replay", "--apply"]);
    assert_eq!(code, 0, "{done:#}");
    if killed && done["applied"]["resumed"] == true {
        assert_eq!(done["applied"]["revisions"], changed, "the sums of both runs: {done:#}");
    }
    assert_eq!(waiting(&site.data_dir()), i64::try_from(changed).unwrap(), "none twice, none left");
    let (code, diff) = hisync_json(&site.config, &["replay", "--diff"]);
    assert_eq!((code, &diff["changed"]), (0, &Json::from(0)), "{diff:#}");
    assert_eq!(hisync_json(&site.config, &["store", "verify"]).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_store_elsewhere_is_replayed_and_applied_too() {
    let site = delivered_archive().await;
    let key = site.folder.path().join("store.key");
    assert_eq!(hisync(&["secret", "new-key", key.to_str().unwrap()]).0, 0);
    site.edit("hisync.toml", "[upstream]", "[store]\nencryption = { key = { file = \"store.key\" } }\n\n[upstream]");
    let folder = candidate(&site, "code", FLAGS, FLAG.0, FLAG.1);
    let (_, diff) = hisync_json(&site.config, &["replay", "--diff", "--mapping", folder.to_str().unwrap()]);
    let elsewhere = site.folder.path().join("restored");
    copy(&site.data_dir(), &elsewhere);
    put_in_place(&site, &folder);
    let elsewhere = elsewhere.to_str().unwrap();
    let (code, done) = hisync_json(&site.config, &["replay", "--apply", "--data-dir", elsewhere]);
    assert_eq!((code, &done["applied"]["revisions"]), (0, &diff["changed"]), "{done:#}");
    let file = Path::new(elsewhere).join("hisync.db");
    assert_eq!(hisync_json(&site.config, &["store", "verify", "--file", file.to_str().unwrap()]).0, 0);
    let (code, again) = hisync_json(&site.config, &["replay", "--diff", "--data-dir", elsewhere]);
    assert_eq!((code, &again["changed"]), (0, &Json::from(0)), "{again:#}");
    let (_, untouched) = hisync_json(&site.config, &["replay", "--diff"]);
    assert_eq!(untouched["changed"], diff["changed"], "the store itself was not touched");
}

/// What both reports must agree on: all but who looked at how many records.
fn findings(report: &Json) -> Json {
    let mut report = report.clone();
    for name in ["mappings", "records", "overtaken"] {
        report.as_object_mut().unwrap().remove(name);
    }
    let mut groups = report["groups"].take().as_array().unwrap().clone();
    groups.sort_by_key(|group| format!("{}{}{}", group["kind"], group["entity"], group["field"]));
    for group in &mut groups {
        let pairs = group["pairs"].as_array_mut().unwrap();
        pairs.sort_by_key(Json::to_string);
    }
    report["groups"] = groups.into();
    report
}

fn with_candidate(site: &Site, name: &str) {
    let text = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, format!("{text}\n[shadow]\ncandidate = \"{name}\"\n")).unwrap();
}

async fn followed(agent: &Agent) {
    eventually("the candidate to have followed", async || {
        let run = agent.store().read(Reader::shadow_run).await.unwrap();
        run.is_some_and(|run| run.behind == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_runs_through_a_demo_day_and_finds_what_a_replay_of_it_finds() {
    let folder = TempDir::new().unwrap();
    let tried = folder.path().join("mappings.new");
    copy(Path::new("mappings"), &tried);
    let mapping = tried.join(MAPPING);
    let text = std::fs::read_to_string(&mapping).unwrap();
    std::fs::write(&mapping, text.replace(UNIT.0, UNIT.1)).unwrap();
    let (day, tried) = (folder.path().join("day"), tried.to_str().unwrap());
    let arguments = ["demo", "--once", "--people", "14", "--seed", "12", "--dir", day.to_str().unwrap()];
    let (code, out, err) = hisync(&[&arguments[..], &["--candidate", tried]].concat());
    assert_eq!(code, 0, "the candidate does not touch the day: {out}{err}");
    let config = day.join("hisync.toml");
    let (_, whole) = hisync_json(&config, &["replay", "--diff", "--mapping", tried]);
    assert!(whole["changed"].as_u64().unwrap() > 0, "{whole:#}");
    assert!(group(&whole, "unit", "groups.items.unit_raw")["changes"].as_u64().unwrap() > 0);
    // What a person has decided without making a version is looked at again in turn.
    let agent = Agent::start(config::load(&config).unwrap(), Clock::system()).await.unwrap();
    eventually("both to agree", async || {
        let status = agent.store().read(shadow_status).await.unwrap();
        let report = serde_json::to_value(status.report.unwrap()).unwrap();
        let (_, whole) = hisync_json(&config, &["replay", "--diff", "--mapping", tried]);
        findings(&report) == findings(&whole)
    })
    .await;
    agent.stop().await;
    let (code, status) = hisync_json(&config, &["shadow", "status"]);
    assert_eq!((code, &status["run"]["state"], &status["unlisted"]), (1, &Json::from("running"), &Json::from(0)));
    // Personal values are masked in what is kept.
    let names: Vec<String> = (0..14).map(|n| visit(n).person.name).collect();
    assert!(names.iter().all(|name| !status.to_string().contains(name.as_str())), "{status:#}");
}

/// The newest report that upstream has, and the mapping that made it.
fn made_by(site: &Site) -> (usize, String, Json) {
    let lines = site.upstream.latest();
    let of = |event: &Json| event["subject"].as_str().unwrap().starts_with("exam_report/main:peis:");
    let reports: Vec<Json> = lines.into_iter().map(|line| line.event).filter(of).collect();
    let version = reports.first().map(|event| event["mappingversion"].as_str().unwrap().to_owned());
    let reviewer = reports.first().map(|event| event["data"]["reviewed_by"].clone());
    (reports.len(), version.unwrap_or_default(), reviewer.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_delivers_nothing_until_it_is_promoted_and_can_be_taken_back() {
    let mut site = Site::new().await;
    candidate(&site, "mappings.new", MAPPING, REVIEWER.0, REVIEWER.1);
    with_candidate(&site, "mappings.new");
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    delivered(&agent).await;
    followed(&agent).await;
    let (reports, first, reviewer) = made_by(&site);
    assert!(reports == 1 && reviewer != "某医", "the configured mapping delivers: {reviewer}");
    let (code, status) = hisync_json(&site.config, &["shadow", "status"]);
    assert_eq!(code, 1, "{status:#}");
    assert_eq!(group(&status["report"], "value", "reviewed_by")["entities"], 1, "{status:#}");

    let act = |verb: &str| hisync_json(&site.config, &["shadow", verb, "--because", "ticket 4711", "--who", "wang"]);
    let (code, done) = act("promote");
    assert_eq!((code, &done["streams"][0]["stream"]), (0, &Json::from(REPORTS)), "{done:#}");
    // Nobody listens for reloads here: it takes effect at the next start.
    agent.stop().await;
    let agent = site.start().await;
    eventually("the new version to arrive", async || made_by(&site).2 == "某医").await;
    delivered(&agent).await;
    let (_, second, _) = made_by(&site);
    assert_ne!(second, first, "the event says which mapping made it");
    let config = site.config.to_str().unwrap();
    let (code, _, err) = hisync(&["shadow", "promote", "--because", "again", "-c", config]);
    assert!(code == 1 && err.contains("no candidate runs"), "there is nothing more to promote: {err}");
    let (_, status) = hisync_json(&site.config, &["shadow", "status"]);
    assert_eq!(status["promoted"][0]["former"], first, "{status:#}");

    assert_eq!(act("revert").0, 0);
    agent.stop().await;
    let agent = site.start().await;
    eventually("the version before to arrive", async || made_by(&site).1 == first).await;
    agent.stop().await;
    let (_, audit) = hisync_json(&site.config, &["audit", "list"]);
    let said = audit.to_string();
    assert!(
        said.contains("shadow-promote") && said.contains("shadow-revert") && said.contains("ticket 4711"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_candidate_and_one_that_is_discarded_leave_the_way_alone() {
    let mut site = Site::new().await;
    candidate(&site, "mappings.new", MAPPING, UNIT.0, "unit = { no = \"such key\" }");
    with_candidate(&site, "mappings.new");
    let (code, _, err) = hisync(&["check", "-c", site.config.to_str().unwrap(), "--offline"]);
    assert!(code == 2 && err.contains("mappings.new"), "who asks is told: {err}");
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    delivered(&agent).await;
    assert_eq!(made_by(&site).0, 1);
    assert!(agent.store().read(Reader::shadow_run).await.unwrap().is_none());
    agent.stop().await;

    // Mended, it is tried; discarded, it is not tried again.
    candidate(&site, "mappings.new", MAPPING, UNIT.0, UNIT.1);
    let agent = site.start().await;
    followed(&agent).await;
    let (code, _) = hisync_json(&site.config, &["shadow", "discard", "--because", "no"]);
    assert_eq!(code, 0);
    agent.stop().await;
    let agent = site.start().await;
    read(&agent, REPORTS).await;
    let run = agent.store().read(Reader::shadow_run).await.unwrap().unwrap();
    assert_eq!(run.state, "discarded");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_the_shadow_reads_the_same_source_and_delivers_nothing() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    delivered(&agent).await;
    let had = site.upstream.received().len();
    // The other one: its own folder and ports, the same sources, another mapping.
    candidate(&site, "mappings.new", MAPPING, REVIEWER.0, REVIEWER.1);
    let text = std::fs::read_to_string(&site.config).unwrap();
    let own = site.folder.path().join("shadow-data");
    let text = text.replace(site.data_dir().to_str().unwrap(), own.to_str().unwrap());
    let text = text.replace("\"mappings/demo-peis/exam_report.toml\"", "\"mappings.new/demo-peis/exam_report.toml\"");
    let other = site.folder.path().join("shadow.toml");
    std::fs::write(&other, format!("{text}\n[shadow]\nagent = true\n")).unwrap();
    let shadow = Agent::start(config::load(&other).unwrap(), Clock::system()).await.unwrap();
    eventually("the shadow to have read the report", async || {
        let totals = shadow.store().read(Reader::totals).await.unwrap();
        totals.get("exam_report").is_some_and(|totals| totals.queued == 1)
    })
    .await;
    shadow.stop().await;
    assert_eq!(site.upstream.received().len(), had, "nothing was delivered");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_tried_on_a_copy_and_the_store_itself_is_only_read() {
    let (site, _) = archive().await;
    let config = site.config.to_str().unwrap();
    let data = site.data_dir();
    let bytes = || std::fs::read(data.join("hisync.db")).unwrap();
    let before = bytes();
    let work = TempDir::new().unwrap();
    let (html, speed) = (work.path().join("release.html"), work.path().join("speed.json"));
    let check = |against: &Path, more: &[&str]| {
        let arguments =
            ["verify-release", "--against", against.to_str().unwrap(), "--work", work.path().to_str().unwrap()];
        hisync_json(&site.config, &[&arguments[..], more].concat())
    };
    let (code, report) = check(&data, &["--html", html.to_str().unwrap(), "--remember", speed.to_str().unwrap()]);
    assert_eq!((code, &report["fine"]), (0, &Json::from(true)), "{report:#}");
    let names: Vec<&str> = report["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["copy", "migrate", "verify", "replay", "speed"]);
    assert!(std::fs::read_to_string(&html).unwrap().contains("may take over"));
    let written: Json = serde_json::from_slice(&std::fs::read(&speed).unwrap()).unwrap();
    assert!(written["speed"]["replayed"].as_u64().unwrap() >= 240, "{written:#}");
    for (rate, exit) in [(1.0, 0), (1e12, 1)] {
        let former = serde_json::json!({ "replayed": 1_000, "replayed_per_second": rate, "committed": 1_000,
                                         "committed_per_second": rate });
        std::fs::write(&speed, serde_json::json!({ "speed": former }).to_string()).unwrap();
        let (code, report) = check(&data, &["--remember", speed.to_str().unwrap()]);
        assert_eq!((code, &report["former"]), (exit, &former), "{report:#}");
    }
    // A backup, and a program that maps otherwise.
    let backup = work.path().join("backup.db");
    assert_eq!(hisync(&["store", "backup", backup.to_str().unwrap(), "-c", config]).0, 0);
    put_in_place(&site, &candidate(&site, "unit", MAPPING, UNIT.0, UNIT.1));
    let (code, report) = check(&backup, &[]);
    assert_eq!((code, &report["fine"]), (1, &Json::from(false)), "{report:#}");
    assert!(report["replay"]["changed"].as_u64().unwrap() > 0);
    assert_eq!(check(&backup, &["--accept-changes"]).0, 0);
    // One that is no store, and one that is damaged.
    let broken = work.path().join("broken.db");
    std::fs::write(&broken, b"this is no database at all, whatever it is called").unwrap();
    let (code, _, err) = hisync(&["verify-release", "-c", config, "--against", broken.to_str().unwrap()]);
    assert!(code == 3 && err.contains("copy the store"), "{code} {err}");
    assert!(bytes() == before, "the store is only read");
    let left: Vec<PathBuf> = std::fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.is_file()), "copies do not stay: {left:?}");
}

/// What tells who a visit is of.
fn words(visit: &Visit) -> [String; 7] {
    let person = &visit.person;
    [
        person.name.clone(),
        person.citizen_id.clone(),
        person.phone.clone(),
        person.archive_no.clone(),
        visit.exam_no.clone(),
        person.birth.format("%Y%m%d").to_string(),
        person.birth.format("%Y-%m-%d").to_string(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_becomes_a_case_without_its_people() {
    let mut site = Site::new().await;
    let visits = [visit(0), visit(1)];
    site.conclude(&visits[0], 9, None);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", None)).await;
    delivered(&agent).await;
    agent.stop().await;
    let exam_no = visits[0].exam_no.clone();
    // Looked at first: nothing is written.
    let (code, shown) = hisync_json(&site.config, &["case", "record", &exam_no]);
    assert_eq!((code, &shown["cases"][0]["written"]), (1, &Json::from(false)), "{shown:#}");
    let cases = site.folder.path().join("mappings/demo-peis/cases/exam_report");
    assert!(!cases.exists());
    let (code, made) = hisync_json(&site.config, &["case", "record", &exam_no, "--yes", "--name", "real"]);
    assert_eq!(code, 0, "{made:#}");
    let archived = Reader::open(&site.data_dir()).unwrap();
    let lab_record = archived
        .newest_records(10)
        .unwrap()
        .into_iter()
        .find(|id| archived.replayed_record(*id).unwrap().stream.as_str() == super::support::LAB);
    let of_the_lab = format!("archive:{}", lab_record.unwrap());
    let (code, more) = hisync_json(&site.config, &["case", "record", &of_the_lab, "--yes", "--name", "real"]);
    assert_eq!(code, 0, "{more:#}");
    // Nobody is left in any written byte.
    for folder in ["demo-peis", "demo-lab"] {
        let cases = site.folder.path().join("mappings").join(folder).join("cases/exam_report");
        let files: Vec<PathBuf> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in visits.iter().flat_map(words) {
                assert!(!text.contains(&word), "{} holds {word:?}", path.display());
            }
        }
    }
    // And the cases run from now on.
    let mappings = site.folder.path().join("mappings");
    let (code, out, err) = hisync(&["mapping", "test", mappings.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("2 cases: 2 as expected"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entities_of_a_list_travel_in_a_lane_of_their_own() {
    let mut site = Site::new().await;
    let named = visit(0);
    let rule = format!("[[agent.lanes]]\nlane = \"next\"\nkeys = [\"{}\"]\n\n[upstream]", named.exam_no);
    site.edit("hisync.toml", "[upstream]", &rule);
    site.conclude(&named, 9, None);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", None)).await;
    delivered(&agent).await;
    // The upstream refuses a batch whose headers say anything else than its events.
    let lines = site.upstream.received();
    let lane = |number: &str| -> Vec<Json> {
        let of = lines.iter().filter(|line| line.event["subject"].as_str().unwrap().ends_with(number));
        of.map(|line| line.event["lane"].clone()).collect()
    };
    assert_eq!(lane(&format!(":{}", named.exam_no)), ["next"]);
    assert!(lines.len() > 1 && lines.iter().filter(|line| line.event["lane"] == "next").count() == 1);
    agent.stop().await;
}
