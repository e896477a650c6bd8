//! Memory: idle, and with many queued events while upstream refuses connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{DOCUMENT_FORMAT, Raw, StreamId};
use hisync::clock::Clock;
use hisync::mapping::Composer;
use hisync::model::{EntityKey, EntityType, Mapped, Outcome, Wish};
use hisync::store::{Incoming, IncomingBatch, Options, Store};

use crate::agent::Agent;
use crate::figures::{Aim, Figures, median};
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// Records that are committed together while the store is filled.
const BATCH: usize = 5_000;

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
    Ok(())
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
    let options = Options { hospital: "demo-001".to_owned(), agent_version: "0.0.0".to_owned(), lane: None };
    let store = Store::open(dir, options, Arc::new(Composer), Clock::system())?;
    let stream = StreamId::parse("bench/items").ok_or("a stream's id")?;
    for first in (0..events).step_by(BATCH) {
        let records = (first..events.min(first + BATCH)).map(item).collect();
        store.commit(IncomingBatch { stream: stream.clone(), records, advance: None, snapshot: None }).await?;
    }
    store.close().await;
    Ok(())
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
