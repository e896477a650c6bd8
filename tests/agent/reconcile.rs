//! Sources compared with the ledger, and a store that is lost.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Asia::Shanghai;
use hisync::agent::Agent;
use hisync::clock::Clock;
use hisync::sandbox::hospital::Visit;
use hisync::sandbox::hospital::peis::ReportState;
use hisync::sandbox::hospital::people::Sex;
use hisync::sandbox::upstream::{Line, Upstream};
use hisync::store::Reader;
use serde_json::{Value as Json, json};

use super::support::{LAB, REPORTS, Site, delivered, eventually, hisync_json, overview, read, visit};

/// Noon of the day before yesterday in the hospital: a time whose day is over.
fn noon() -> NaiveDateTime {
    let now: DateTime<Utc> = Clock::system().now();
    (now.with_timezone(&Shanghai).date_naive() - TimeDelta::days(2)).and_hms_opt(12, 0, 0).unwrap()
}

impl Site {
    /// Writes a final report of a new visit, with the time at which it says that it was changed.
    fn report(&mut self, visit: &Visit, at: NaiveDateTime) {
        let sex = if visit.person.sex == Sex::Male { "1" } else { "2" };
        let write = self.peis.change(|desk| {
            desk.register(visit, sex)?;
            visit.orders.iter().try_for_each(|order| desk.enter(visit, order, None))?;
            desk.conclude(visit, ReportState::Concluded, at)?;
            desk.touch(visit, at)
        });
        write.unwrap();
    }

    /// Changes the hospital's database behind its applications.
    fn repair(&self, sql: &str, visit: &Visit) {
        let peis = rusqlite::Connection::open(self.peis.path()).unwrap();
        assert!(peis.execute(sql, [&visit.exam_no]).unwrap() > 0, "{sql}");
    }

    /// Compares the reports of two days with the real program; answers its exit code and the report.
    fn reconcile(&self) -> (i32, Json) {
        let since = (noon() - TimeDelta::hours(36)).format("%Y-%m-%d %H:%M").to_string();
        let until = (noon() + TimeDelta::hours(12)).format("%Y-%m-%d %H:%M").to_string();
        let run = ["reconcile", "run", "--stream", REPORTS, "--since", &since, "--until", &until, "--who", "wang"];
        hisync_json(&self.config, &run)
    }
}

fn found(report: &Json) -> [i64; 6] {
    ["compared", "agreed", "missing", "differing", "extra", "repaired"].map(|name| report[name].as_i64().unwrap())
}

/// Subject, id and content hash of what upstream has, but for what is told once.
fn state(upstream: &Upstream) -> Vec<[String; 3]> {
    let text = |line: &Line, name: &str| line.event[name].as_str().unwrap().to_owned();
    let all = upstream.latest();
    let lasting = all.iter().filter(|line| !text(line, "subject").starts_with("critical_value/"));
    lasting.map(|line| ["subject", "id", "contenthash"].map(|name| text(line, name))).collect()
}

/// Three reports that are read and delivered, the newest of them an hour before midnight.
async fn three() -> (Site, Agent) {
    let mut site = Site::new().await;
    for index in 0..3 {
        site.report(&visit(index), noon() + TimeDelta::hours(9 + index as i64));
    }
    let agent = site.start().await;
    delivered(&agent).await;
    (site, agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_poll_can_not_see_is_found_and_pulled() {
    let (mut site, agent) = three().await;
    let (code, report) = site.reconcile();
    assert_eq!((code, found(&report)), (0, [3, 3, 0, 0, 0, 0]), "{report}");
    assert_eq!((&report["scope"], &report["asked_by"]), (&json!("source"), &json!("wang")));

    // A row that was committed long after its time, and one that was edited without touching its time.
    site.report(&visit(3), noon() - TimeDelta::hours(3));
    site.repair("UPDATE 体检报告 SET 总检医生 = '测试医生' WHERE 体检号 = ?1", &visit(1));
    assert_eq!(read(&agent, REPORTS).await.new, 0, "no poll sees them");
    let (code, report) = site.reconcile();
    assert_eq!((code, found(&report)), (1, [4, 2, 1, 1, 0, 2]), "{report}");
    delivered(&agent).await;
    let (_, shown) = hisync_json(&site.config, &["reconcile", "show", &report["id"].to_string()]);
    let mut kinds: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["differing", "missing"]);
    assert!(shown["items"].as_array().unwrap().iter().all(|item| item["now"] == "delivered"), "{shown}");
    let (_, status) = hisync_json(&site.config, &["status"]);
    let reasons = status["health"]["reasons"].to_string();
    assert!(reasons.contains("reconcile-drift") && reasons.contains("1 missing, 1 differing; 2 mended"), "{reasons}");

    // Agreed again, also for the program alone.
    agent.stop().await;
    let (code, report) = site.reconcile();
    assert_eq!((code, found(&report)), (0, [4, 4, 0, 0, 0, 0]), "{report}");
    let (_, list) = hisync_json(&site.config, &["reconcile", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_from_the_source_is_held_when_two_comparisons_agree() {
    let (site, agent) = three().await;
    site.repair("DELETE FROM 体检报告 WHERE 体检号 = ?1", &visit(1));
    let (code, report) = site.reconcile();
    assert_eq!((code, found(&report)), (1, [2, 2, 0, 0, 1, 0]), "{report}");
    assert!(super::support::held(&agent).await.is_empty());
    site.reconcile();
    let held = super::support::held(&agent).await;
    assert_eq!((held.len(), held[0].reason.as_str()), (1, "gone-from-source"));
    let subject = |line: &Line| line.event["subject"].as_str().unwrap().contains(&visit(1).exam_no);
    assert!(site.upstream.latest().iter().any(subject), "nothing is withdrawn by itself");
    assert_eq!(agent.store().held_release(held[0].id, "wang").await.unwrap(), 1);
    delivered(&agent).await;
    let gone = site.upstream.latest().into_iter().find(subject).unwrap();
    assert_eq!(gone.event["type"], "hisync.exam_report.withdrawn");
    let (code, report) = site.reconcile();
    assert_eq!((code, found(&report)), (0, [2, 2, 0, 0, 0, 0]), "{report}");
    let totals = overview(&agent).await.totals;
    assert!(totals.values().all(|totals| totals.adds_up), "{totals:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_comparison_is_made_and_shown() {
    let mut site = Site::new().await;
    let schedule = "lag_secs = 60 } }\nreconcile = { schedule = \"* * * * * *\", window = \"3d\" }";
    site.edit("hisync.toml", "lag_secs = 60 } }", schedule);
    site.report(&visit(0), noon());
    let agent = site.start().await;
    let runs = async || agent.store().read(|reader| reader.reconcile_runs(Some(REPORTS), 10)).await.unwrap();
    eventually("a comparison", async || runs().await.iter().any(|run| run.state == "done")).await;
    let run = runs().await.into_iter().rfind(|run| run.state == "done").unwrap();
    assert_eq!((run.asked_by.as_str(), run.compared, run.agreed, run.note), ("schedule", 1, 1, None));
    assert_eq!((run.until.unwrap() - run.since.unwrap()).num_days(), 3);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listeners_stream_is_compared_with_the_receipts_alone() {
    let (site, agent) = three().await;
    let run = ["reconcile", "run", "--stream", LAB, "--since", "2026-01-01", "--until", "2026-01-08"];
    let (code, report) = hisync_json(&site.config, &run);
    assert_eq!((code, &report["scope"]), (0, &json!("ledger")));
    assert!(report["note"].as_str().unwrap().contains("can't be asked again"), "{report}");
    let (code, report) = {
        let mut open = run;
        open[7] = "2199-01-01";
        let config = site.config.to_string_lossy().into_owned();
        let (code, _, err) = super::support::hisync(&[&open[..], &["-c", &config]].concat());
        (code, err)
    };
    assert!(code == 1 && report.contains("not closed"), "{code} {report}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_lost_begins_with_what_upstream_has() {
    let (site, agent) = three().await;
    let before = state(&site.upstream);
    let attempts = site.upstream.attempts().len();
    agent.stop().await;
    std::fs::remove_dir_all(site.data_dir()).unwrap();
    // While the store was lost, a report was erased and another one changed.
    site.repair("DELETE FROM 体检报告 WHERE 体检号 = ?1", &visit(2));
    site.repair("UPDATE 体检报告 SET 总检医生 = '测试医生' WHERE 体检号 = ?1", &visit(1));

    let agent = site.start().await;
    delivered(&agent).await;
    let after = state(&site.upstream);
    let changed: Vec<&[String; 3]> = after.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(changed.len(), 1, "only what changed was sent: {changed:?}");
    assert!(changed[0][0].contains(&visit(1).exam_no));
    let critical = |line: &&Line| line.event["subject"].as_str().unwrap().starts_with("critical_value/");
    let sent = site.upstream.attempts();
    assert_eq!(sent[attempts..].iter().filter(|line| !critical(line)).count(), 1, "no flood");
    let totals = overview(&agent).await.totals;
    assert!(totals.values().all(|totals| totals.adds_up) && totals["exam_item"].delivered == 0, "{totals:?}");

    // What no source says any more waits for a person.
    let (code, report) = hisync_json(&site.config, &["reconcile", "run", "--upstream"]);
    assert_eq!((code, report["extra"].as_i64()), (1, Some(1)), "{report}");
    let held = super::support::held(&agent).await;
    let excess: Vec<_> = held.iter().filter(|item| item.reason == "upstream-excess").collect();
    assert_eq!(excess.len(), 1);
    agent.store().held_release(excess[0].id, "wang").await.unwrap();
    delivered(&agent).await;
    let gone = site
        .upstream
        .latest()
        .into_iter()
        .find(|line| line.event["subject"].as_str().unwrap().ends_with(&visit(2).exam_no) && !critical(&line));
    assert_eq!(gone.unwrap().event["type"], "hisync.exam_report.withdrawn");
    let (code, report) = hisync_json(&site.config, &["reconcile", "run", "--upstream"]);
    assert_eq!((code, &report["missing"], &report["extra"]), (0, &json!(0), &json!(0)), "{report}");
    assert!(agent.store().read(Reader::reconcile_latest).await.unwrap().iter().any(|run| run.subject == "upstream"));
    agent.stop().await;
}
