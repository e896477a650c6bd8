//! Start, restart and stop of the whole agent.

use std::time::{Duration, Instant};

use hisync::agent::{AgentFile, StartError};
use hisync::clock::Clock;
use hisync::sandbox::upstream::Fault;

use super::support::{REPORTS, Site, delivered, eventually, overview, visit};

#[tokio::test]
async fn a_stop_delivers_what_is_due_and_leaves_no_address_behind() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    assert!(AgentFile::read(&site.data_dir()).is_some());
    agent.stop().await;
    assert!(AgentFile::read(&site.data_dir()).is_none());
    let subjects = site.upstream.received();
    assert!(subjects.iter().any(|line| line.event["subject"].as_str().unwrap().starts_with("exam_report/")));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_upstream_that_is_down() {
    let mut site = Site::new().await;
    site.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]);
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    eventually("delivery to notice", async || agent.delivery().breaker.state != "closed").await;
    let began = Instant::now();
    agent.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // Nothing is lost by that.
    site.upstream.put_faults(Vec::new());
    let agent = site.start().await;
    delivered(&agent).await;
    let overview = overview(&agent).await;
    assert!(overview.totals.values().all(|totals| totals.adds_up && totals.delivered == totals.source));
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_folder_is_refused() {
    let site = Site::new().await;
    let agent = site.start().await;
    let second = hisync::agent::Agent::start(site.load(), Clock::system()).await;
    assert!(matches!(second.err(), Some(StartError::Store(_))));
    agent.stop().await;
}

#[tokio::test]
async fn a_source_that_is_gone_is_a_status_and_touches_nobody_else() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let away = site.folder.path().join("away.db");
    site.edit("hisync.toml", "peis.db", "gone.db");
    let agent = site.start().await;
    let streams = agent.board().all();
    let states: Vec<_> = streams.iter().map(|stream| (stream.id.as_str(), stream.state.as_str())).collect();
    assert!(states.contains(&("lab/reports", "listening")), "{states:?}");
    let reports = streams.iter().find(|stream| stream.id.as_str() == REPORTS).unwrap();
    let failure = reports.failure.as_ref().unwrap();
    assert!(["unreachable", "missing"].contains(&failure.class.as_str()), "{failure:?}");
    assert!(!away.exists());
    agent.stop().await;
}
