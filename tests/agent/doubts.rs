//! What the agent holds though each record is sound by itself: catalogues that change too much, what contradicts the
//! dictionary, exam numbers that come back, sources that start wrong; and what goes at once all the same.

use std::cell::Cell;
use std::time::Duration;

use chrono::TimeDelta;
use hisync::agent::Agent;
use hisync::clock::Clock;
use hisync::sandbox::hospital::peis::ReportState;
use hisync::sandbox::hospital::visit::Mark;
use hisync::store::Reader;
use serde_json::Value as Json;

use super::support::{REPORTS, Site, delivered, eventually, held, hisync_json, overview, read, visit};

const PACKAGES: &str = "peis/packages";
const GROUPS: &str = "peis/groups";

/// Does something in the hospital's own database.
fn sql(site: &Site, statements: &str) {
    let database = rusqlite::Connection::open(site.peis.path()).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    database.execute_batch(statements).unwrap();
}

/// What upstream has now of a kind of entity, without what was taken back.
fn upstream(site: &Site, kind: &str) -> Vec<Json> {
    let events = site.upstream.latest().into_iter().map(|line| line.event);
    let of = |event: &Json| event["subject"].as_str().is_some_and(|subject| subject.starts_with(&format!("{kind}/")));
    events.filter(|event| of(event) && !event["type"].as_str().unwrap().ends_with("withdrawn")).collect()
}

fn prices(site: &Site) -> i64 {
    upstream(site, "exam_package").iter().map(|event| event["data"]["sale_price_minor"].as_i64().unwrap()).sum()
}

/// Reasons and states of the held items.
async fn items(agent: &Agent) -> Vec<(String, String)> {
    held(agent).await.into_iter().map(|item| (item.reason, item.state)).collect()
}

async fn reasons(agent: &Agent, state: &str) -> Vec<String> {
    items(agent).await.into_iter().filter(|(_, is)| is == state).map(|(reason, _)| reason).collect()
}

async fn adds_up(agent: &Agent) {
    delivered(agent).await;
    let totals = overview(agent).await.totals;
    assert!(totals.values().all(|totals| totals.adds_up), "{totals:?}");
}

fn release(site: &Site, reason: &str) {
    let (_, list) = hisync_json(&site.config, &["held", "list"]);
    let items = list["items"].as_array().or(list.as_array()).unwrap();
    let item = items.iter().find(|item| item["reason"] == reason).unwrap_or_else(|| panic!("{list}"));
    let id = item["id"].to_string();
    let (code, done) = hisync_json(&site.config, &["held", "release", &id, "--who", "A. Engineer"]);
    assert_eq!(code, 0, "{done}");
}

/// The reading is asked for anew: reports are read from their last update on.
async fn reread(site: &mut Site, agent: &Agent, index: usize, hour: u32) {
    let visit = visit(index);
    let at = chrono::NaiveDate::from_ymd_opt(2026, 11, 20).unwrap().and_hms_opt(hour, 0, 0).unwrap();
    site.peis.change(|desk| desk.touch(&visit, at)).unwrap();
    read(agent, REPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_list_that_jumps_is_held_as_one_until_a_person_releases_it() {
    let site = Site::new().await;
    let agent = site.start().await;
    delivered(&agent).await;
    let usual = prices(&site);
    sql(&site, "UPDATE 套餐 SET 原价 = 原价 * 100, 售价 = 售价 * 100");
    read(&agent, PACKAGES).await;
    delivered(&agent).await;
    assert_eq!((prices(&site), reasons(&agent, "open").await), (usual, vec!["mass-change".to_owned()]));
    read(&agent, PACKAGES).await;
    assert_eq!(items(&agent).await.len(), 1, "the same doubt is one item");
    release(&site, "mass-change");
    eventually("the prices to arrive", async || prices(&site) == usual * 100).await;
    assert!(reasons(&agent, "open").await.is_empty());
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_list_that_jumps_follows_once_a_later_equal_snapshot_confirms_it() {
    let site = Site::new().await;
    let mapping = "mapping = \"mappings/demo-peis/exam_package.toml\"";
    site.edit("hisync.toml", mapping, &format!("{mapping}\nguards = {{ confirm_after = \"1s\" }}"));
    let agent = site.start().await;
    delivered(&agent).await;
    let usual = prices(&site);
    sql(&site, "UPDATE 套餐 SET 原价 = 原价 * 100, 售价 = 售价 * 100");
    read(&agent, PACKAGES).await;
    assert_eq!(reasons(&agent, "open").await, ["mass-change"]);
    // Another change in between is another change set, and begins its time anew.
    eventually("an equal snapshot", async || {
        read(&agent, PACKAGES).await;
        reasons(&agent, "released").await == ["mass-change"]
    })
    .await;
    eventually("the prices to arrive", async || prices(&site) == usual * 100).await;
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_waits_for_the_dictionary_of_its_groups_and_follows_by_itself() {
    let site = Site::new().await;
    sql(
        &site,
        "CREATE TABLE 暂存 AS SELECT * FROM 组合项目 WHERE 组合编码 = '002001';
                DELETE FROM 组合项目 WHERE 组合编码 = '002001'",
    );
    let agent = site.start().await;
    delivered(&agent).await;
    let waiting = reasons(&agent, "open").await;
    assert!(!waiting.is_empty() && waiting.iter().all(|reason| reason == "group-unknown"), "{waiting:?}");
    let before = upstream(&site, "exam_package").len();
    sql(&site, "INSERT INTO 组合项目 SELECT * FROM 暂存");
    read(&agent, GROUPS).await;
    let all = before + waiting.len();
    eventually("the packages to arrive", async || upstream(&site, "exam_package").len() == all).await;
    assert_eq!(reasons(&agent, "retried").await.len(), waiting.len());
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_turned_off_is_shown_against_the_packages_that_upstream_sells() {
    let site = Site::new().await;
    let agent = site.start().await;
    delivered(&agent).await;
    let packages = upstream(&site, "exam_package").len();
    sql(&site, "UPDATE 组合项目 SET 停用标志 = '1' WHERE 组合编码 = '002001'");
    read(&agent, GROUPS).await;
    let open = reasons(&agent, "open").await;
    assert!(!open.is_empty() && open.iter().all(|reason| reason == "group-off"), "{open:?}");
    delivered(&agent).await;
    assert_eq!(upstream(&site, "exam_package").len(), packages, "nothing is taken back by itself");
    sql(&site, "UPDATE 组合项目 SET 停用标志 = NULL WHERE 组合编码 = '002001'");
    read(&agent, GROUPS).await;
    assert!(reasons(&agent, "open").await.is_empty());
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_contradicts_the_dictionary_is_held_until_the_source_is_right() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    sql(
        &site,
        "CREATE TABLE 暂存 AS SELECT * FROM 体检结果 WHERE 组合编码 = '002001';
                UPDATE 体检结果 SET 单位 = 'mmol/L' WHERE 组合编码 = '002001' AND 序号 = 1;
                DELETE FROM 体检结果 WHERE 组合编码 = '002001' AND 序号 = 3",
    );
    let agent = site.start().await;
    delivered(&agent).await;
    let (_, list) = hisync_json(&site.config, &["held", "list"]);
    let open = reasons(&agent, "open").await;
    assert_eq!(open.len(), 1, "{list}");
    let id = held(&agent).await[0].id;
    let item = agent.store().read(move |reader: &Reader| reader.held_show(id)).await.unwrap();
    let codes: Vec<&str> = item.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["unit-differs", "panel-incomplete"]);
    assert!(upstream(&site, "exam_report").is_empty());
    sql(&site, "DELETE FROM 体检结果 WHERE 组合编码 = '002001'; INSERT INTO 体检结果 SELECT * FROM 暂存");
    reread(&mut site, &agent, 0, 10).await;
    eventually("the report to arrive", async || upstream(&site, "exam_report").len() == 1).await;
    assert_eq!(reasons(&agent, "open").await, [] as [&str; 0]);
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_names_only_a_dictionary_that_somebody_reads() {
    let site = Site::new().await;
    let head = "entity = \"exam_report\"\n";
    let named = |name: &str| format!("{head}dictionary = \"{name}\"\n");
    site.edit("mappings/demo-lab/exam_report.toml", head, &named("lab"));
    let problems = hisync::config::load(&site.config).err().unwrap();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["no-dictionary"]);
    site.edit("mappings/demo-lab/exam_report.toml", &named("lab"), &named("peis"));
    site.load();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exam_number_that_is_used_again_by_the_same_person_is_no_revision() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    eventually("the report to arrive", async || upstream(&site, "exam_report").len() == 1).await;
    let first = upstream(&site, "exam_report").remove(0);
    // A year later, the same person under the same number.
    sql(
        &site,
        "UPDATE 体检登记 SET 登记时间 = replace(登记时间, '2026-11', '2027-11'),
                  体检日期 = replace(体检日期, '2026/11', '2027/11'), 年龄 = NULL;
                UPDATE 体检结果 SET 检查时间 = replace(检查时间, '2026-11', '2027-11');
                UPDATE 体检报告 SET 总检时间 = replace(总检时间, '2026-11', '2027-11')",
    );
    reread(&mut site, &agent, 0, 10).await;
    delivered(&agent).await;
    assert_eq!(reasons(&agent, "open").await, ["another-visit"]);
    assert_eq!(upstream(&site, "exam_report"), [first]);
    release(&site, "another-visit");
    let year = |event: &Json| event["data"]["visit"]["registered_at"].as_str().unwrap()[..4].to_owned();
    eventually("what a person released", async || year(&upstream(&site, "exam_report")[0]) == "2027").await;
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_taken_back_goes_at_once_and_comes_back_identical() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    eventually("the report to arrive", async || upstream(&site, "exam_report").len() == 1).await;
    let first = upstream(&site, "exam_report").remove(0);
    site.peis.change(|desk| desk.set_state(&visit(0), ReportState::Reversed)).unwrap();
    reread(&mut site, &agent, 0, 10).await;
    eventually("the report to be withdrawn", async || upstream(&site, "exam_report").is_empty()).await;
    site.peis.change(|desk| desk.set_state(&visit(0), ReportState::Concluded)).unwrap();
    reread(&mut site, &agent, 0, 11).await;
    eventually("the report to come back", async || upstream(&site, "exam_report").len() == 1).await;
    let again = upstream(&site, "exam_report").remove(0);
    assert_eq!(first["contenthash"], again["contenthash"]);
    assert!(first["sequence"].as_str().unwrap() < again["sequence"].as_str().unwrap());
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_value_is_told_before_its_report_is_concluded() {
    let mut site = Site::new().await;
    let mut visit = visit(0);
    visit.order_mut("002001").unwrap().results[0].mark = Mark::VeryHigh;
    site.peis
        .change(|desk| {
            desk.register(&visit, if visit.person.citizen_id.as_bytes()[16] % 2 == 1 { "1" } else { "2" })?;
            visit.orders.iter().try_for_each(|order| desk.enter(&visit, order, None))
        })
        .unwrap();
    // What was found days ago is history, and no alarm.
    sql(&site, "UPDATE 体检结果 SET 检查时间 = strftime('%Y-%m-%d %H:%M', 'now', '+8 hours', '-5 minutes')");
    let agent = site.start().await;
    eventually("the critical value to arrive", async || upstream(&site, "critical_value").len() == 1).await;
    delivered(&agent).await;
    assert!(upstream(&site, "exam_report").is_empty());
    adds_up(&agent).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_first_sample_is_wrong_delivers_nothing_until_it_is_repaired() {
    const SEX: &str = "mappings/demo-peis/codes/sex.csv";
    let mut site = Site::new().await;
    let turned = "1,男,female,female\n2,女,male,male";
    site.edit(SEX, "1,男,male,male\n2,女,female,female", turned);
    // Each record is held by itself too, unless the site weighs that lightly; the sample as a whole is not overruled.
    site.edit("mappings/demo-peis/exam_report.toml", "[fields]\n", "[rules]\nid-disagrees = \"warn\"\n\n[fields]\n");
    for index in 0..3 {
        conclude_another(&mut site, index);
    }
    let agent = site.start().await;
    eventually("the sample to be judged", async || reasons(&agent, "open").await.contains(&"onboarding".to_owned()))
        .await;
    assert!(upstream(&site, "exam_report").is_empty());
    let (_, status) = hisync_json(&site.config, &["status"]);
    assert!(status.to_string().contains("\"onboarding\""), "{status}");
    agent.stop().await;
    site.edit(SEX, turned, "1,男,male,male\n2,女,female,female");
    let agent = site.start().await;
    eventually("the reports to arrive", async || upstream(&site, "exam_report").len() == 3).await;
    let received = site.upstream.received().into_iter().map(|line| line.event);
    let reports: Vec<Json> =
        received.filter(|event| event["subject"].as_str().unwrap().starts_with("exam_report/")).collect();
    assert!(reports.iter().all(sex_fits), "what upstream gets is right from the first event on");
    assert!(!reasons(&agent, "open").await.contains(&"onboarding".to_owned()));
    adds_up(&agent).await;
    agent.stop().await;
}

fn sex_fits(event: &Json) -> bool {
    let person = &event["data"]["examinee"];
    let odd = person["id_number"].as_str().unwrap().as_bytes()[16] % 2 == 1;
    person["sex"] == if odd { "male" } else { "female" }
}

/// Beside others, each visit of its own.
fn conclude_another(site: &mut Site, index: usize) {
    let visit = visit(index);
    let at = chrono::NaiveDate::from_ymd_opt(2026, 11, 20).unwrap().and_hms_opt(9, 0, 0).unwrap();
    let sex = if visit.person.citizen_id.as_bytes()[16] % 2 == 1 { "1" } else { "2" };
    site.peis
        .change(|desk| {
            desk.register(&visit, sex)?;
            visit.orders.iter().try_for_each(|order| desk.enter(&visit, order, None))?;
            desk.conclude(&visit, ReportState::Concluded, at)?;
            desk.touch(&visit, at)
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daily_share_that_jumps_is_an_alert() {
    let mut site = Site::new().await;
    let mapping = "mapping = \"mappings/demo-peis/exam_report.toml\"";
    site.edit("hisync.toml", mapping, &format!("{mapping}\ncanaries = {{ min_sample = 2, min_days = 1 }}"));
    let clock = Clock::manual(Clock::system().now() - TimeDelta::days(1));
    for index in 0..4 {
        conclude_another(&mut site, index);
    }
    let agent = Agent::start(site.load(), clock.clone()).await.unwrap();
    let sound = async || overview(&agent).await.totals.get("exam_report").is_some_and(|totals| totals.source == 4);
    eventually("yesterday's reports", sound).await;
    count(&agent).await;
    assert!(!canary_rings(&site), "an ordinary day");
    clock.set(clock.now() + TimeDelta::days(1));
    // Today every result is empty.
    for index in 4..8 {
        conclude_another(&mut site, index);
    }
    sql(
        &site,
        "UPDATE 体检结果 SET 结果 = '拒检' WHERE 体检号 IN (SELECT 体检号 FROM 体检登记 ORDER BY rowid DESC LIMIT 4)",
    );
    read(&agent, REPORTS).await;
    count(&agent).await;
    assert!(canary_rings(&site), "{:?}", hisync_json(&site.config, &["status"]));
    agent.stop().await;
}

async fn count(agent: &Agent) {
    while agent.store().count_figures(chrono_tz::Asia::Shanghai).await.unwrap() {}
}

fn canary_rings(site: &Site) -> bool {
    let (_, status) = hisync_json(&site.config, &["status"]);
    let reasons = status["health"]["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().any(|reason| reason["code"] == "canary")
}

const MARITAL: &str = "mappings/demo-peis/codes/marital.csv";

/// A site of two delivered reports, one of which bears a code that is flagged.
async fn with_a_flagged_code() -> (Site, Agent, Vec<Json>) {
    let mut site = Site::new().await;
    let held = "[codes.marital]\nfile = \"codes/marital.csv\"\nunknown = \"hold\"";
    site.edit("mappings/demo-peis/exam_report.toml", held, &held.replace("\"hold\"", "\"flag\""));
    conclude_another(&mut site, 0);
    conclude_another(&mut site, 1);
    sql(&site, "UPDATE 体检登记 SET 婚姻 = '77' WHERE rowid = 1; UPDATE 体检登记 SET 婚姻 = '20' WHERE rowid = 2");
    let agent = site.start().await;
    eventually("the reports to arrive", async || upstream(&site, "exam_report").len() == 2).await;
    delivered(&agent).await;
    let before = upstream(&site, "exam_report");
    (site, agent, before)
}

/// Only what holds the code is another one now.
async fn only_the_one_changes(site: &Site, before: &[Json]) {
    let other = Cell::new(0);
    eventually("the report to be sent again", async || {
        let after = upstream(site, "exam_report");
        other.set(after.iter().filter(|event| before.contains(event)).count());
        after.iter().any(|event| event["data"]["examinee"]["marital_status"] == "divorced")
    })
    .await;
    assert_eq!(other.get(), 1, "the other report is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flagged_code_that_is_mapped_sends_again_what_holds_it_and_nothing_else() {
    let (site, agent, before) = with_a_flagged_code().await;
    let (_, list) = hisync_json(&site.config, &["codes", "unmapped"]);
    assert_eq!(
        (&list[0]["value"], &list[0]["count"], &list[0]["held"]),
        (&"77".into(), &1.into(), &0.into()),
        "{list}"
    );
    let map = ["codes", "map", "marital", "77", "divorced", "--stream", REPORTS, "--who", "wang"];
    let (code, done) = hisync_json(&site.config, &map);
    assert_eq!((code, &done["concerned"]), (0, &Json::from(1)), "{done}");
    agent.stop().await;
    let agent = site.start().await;
    only_the_one_changes(&site, &before).await;
    delivered(&agent).await;
    let overview = overview(&agent).await;
    assert!(overview.totals["exam_report"].adds_up);
    let acts = agent.store().read(|reader: &Reader| reader.audit_of("table marital")).await.unwrap();
    assert!(acts.iter().any(|act| act.who == "wang" && act.act == "codes-map"), "{acts:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_table_sends_again_what_holds_the_code_and_nothing_else() {
    let (site, agent, before) = with_a_flagged_code().await;
    agent.stop().await;
    site.edit(MARITAL, "90,未说明", "77,离异,divorced,divorced\n90,未说明");
    let agent = site.start().await;
    only_the_one_changes(&site, &before).await;
    adds_up(&agent).await;
    agent.stop().await;
}
