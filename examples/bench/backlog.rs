//! Memory: idle, and with many queued events while upstream refuses connections; and what an event costs then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{DOCUMENT_FORMAT, Raw, StreamId};
use hisync::clock::Clock;
use hisync::mapping::Composer;
use hisync::model::{EntityKey, EntityType, Mapped, Outcome, Wish};
use hisync::store::{ClaimLimit, Incoming, IncomingBatch, Options, Settlement, Store, Verdict};

use crate::agent::{Agent, cpu_seconds};
use crate::figures::{Aim, Figures, median};
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// Records that are committed together while the store is filled.
const BATCH: usize = 5_000;

/// Events whose cost is measured, and how many of them go together.
const COSTED: usize = 10_000;
const GROUP: usize = 100;

/// Memory is looked at after this: the start is over, the breaker has opened and probed.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let mut idle = Vec::new();
    for _ in 0..3 {
        let site = Site::new(&scale.dir, nobody()?, Systems::Both)?;
        idle.push(settled(scale, &site).await?.0);
    }
    figures.plain("idle_rss", "MiB", &idle, Aim::AtMost(30.0));

    let site = Site::new(&scale.dir, nobody()?, Systems::Both)?;
    fill(&site.data_dir(), scale.backlog).await?;
    let (resident, queued, start) = settled(scale, &site).await?;
    if queued < scale.backlog as u64 {
        return Err(format!("{queued} events are queued, not {}", scale.backlog).into());
    }
    figures.plain("backlog_events", "", &[queued as f64], Aim::None);
    figures.plain("backlog_rss", "MiB", &[resident], Aim::AtMost((median(&idle) + 64.0).round()));
    figures.plain("backlog_start", "ms", &[start], Aim::None);
    cost(scale, &site, figures).await
}

/// What an event costs the store from its commit to its receipt, behind the backlog and without one.
async fn cost(scale: &Scale, full: &Site, figures: &mut Figures) -> Result<(), Failure> {
    let (mut empty, mut behind) = (Vec::new(), Vec::new());
    for run in 0..scale.runs {
        let fresh = Site::new(&scale.dir, nobody()?, Systems::Both)?;
        // Each run brings entities that no other has brought.
        let first = scale.backlog + run * COSTED;
        empty.push(cost_each(&fresh.data_dir(), first).await?);
        behind.push(cost_each(&full.data_dir(), first).await?);
    }
    let ratio: Vec<f64> = behind.iter().zip(&empty).map(|(behind, empty)| behind / empty).collect();
    figures.plain("event_cost_empty", "µs of processor time", &empty, Aim::None);
    figures.plain("event_cost_backlog", "µs of processor time", &behind, Aim::None);
    figures.plain("event_cost", "× behind the backlog", &ratio, Aim::AtMost(1.2));
    Ok(())
}

/// Commits events and takes and settles as many; the processor time of one, in µs.
async fn cost_each(dir: &Path, first: usize) -> Result<f64, Failure> {
    let store = open(dir)?;
    let stream = StreamId::parse("bench/items").ok_or("a stream's id")?;
    let began = cpu_seconds(std::process::id())?;
    for first in (first..first + COSTED).step_by(GROUP) {
        let records = (first..first + GROUP).map(item).collect();
        store.commit(IncomingBatch { stream: stream.clone(), records, advance: None, snapshot: None }).await?;
        let limit = ClaimLimit { events: GROUP, bytes: usize::MAX };
        let taken = store.take(limit).await?;
        if taken.len() != GROUP {
            return Err(format!("{} of {GROUP} events are due", taken.len()).into());
        }
        let verdict = Verdict::Delivered { status: "accepted" };
        let settled = taken.iter().map(|entry| Settlement { id: entry.id, verdict: verdict.clone() }).collect();
        store.settle(settled).await?;
    }
    let used = cpu_seconds(std::process::id())? - began;
    store.close().await;
    Ok(used * 1e6 / COSTED as f64)
}

/// An agent's resident memory in MiB, its queued events and the milliseconds of its start.
async fn settled(scale: &Scale, site: &Site) -> Result<(f64, u64, f64), Failure> {
    let agent = Agent::start(&scale.hisync, site).await?;
    tokio::time::sleep(SETTLED).await;
    let resident = agent.resident_mib()?;
    let queued = agent.status().await?["store"]["outbox_depth"].as_u64().unwrap_or_default();
    let start = agent.start.as_secs_f64() * 1000.0;
    Ok((resident, queued, start))
}

/// Queues small catalogue entries, one record each, by way of the store itself.
async fn fill(dir: &Path, events: usize) -> Result<(), Failure> {
    let store = open(dir)?;
    let stream = StreamId::parse("bench/items").ok_or("a stream's id")?;
    for first in (0..events).step_by(BATCH) {
        let records = (first..events.min(first + BATCH)).map(item).collect();
        store.commit(IncomingBatch { stream: stream.clone(), records, advance: None, snapshot: None }).await?;
    }
    store.close().await;
    Ok(())
}

fn open(dir: &Path) -> Result<Store, Failure> {
    let options = Options { hospital: "demo-001".to_owned(), agent_version: "0.0.0".to_owned(), lane: None };
    Ok(Store::open(dir, options, Arc::new(Composer), Clock::system())?)
}

fn item(number: usize) -> Incoming {
    let code = format!("{number:08}");
    let data = format!(r#"{{"enabled":true,"item_code":"{code}","item_name":"葡萄糖","value_type":"numeric"}}"#);
    let mapped = Mapped::new(
        EntityKey::new(EntityType::ExamItem, format!("main:bench:{code}")),
        Wish::Present,
        data.clone().into_bytes(),
        vec![code],
    );
    Incoming {
        raw: Raw { format: DOCUMENT_FORMAT.to_owned(), charset: None, body: data.into_bytes().into() },
        source_ref: "bench".to_owned(),
        resend_key: None,
        mapping_version: "bench@0".to_owned(),
        archived: None,
        outcomes: vec![Outcome::Mapped(mapped)],
    }
}
