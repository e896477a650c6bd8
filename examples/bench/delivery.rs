//! Delivery: draining a store into an upstream that takes everything.
//!
//! The subject is the real delivery over the real store. The floor posts the same batches, joined
//! beforehand, unsigned and uncompressed, with the same parallelism. Both speak to the same sink,
//! which answers a receipt for each event after it put the batch on the disk. The subject is measured without compression, where both
//! send the same bytes, and with gzip, the default.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connector_api::{Record, StreamId};
use hisync::clock::Clock;
use hisync::delivery::{BATCH_MEDIA_TYPE, Compression, Delivery, Settings};
use hisync::mapping::Composer;
use hisync::store::{ClaimLimit, IncomingBatch, Options, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::figures::Figures;
use crate::helper::Helper;
use crate::intake::per_second;
use crate::mapping::{messages, stream};
use crate::site::{Site, Systems};
use crate::{Failure, Scale};

/// Records that are committed together while the store is filled.
const BATCH: usize = 500;

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&scale.dir)?;
    let sink = Helper::start(["sink".as_ref(), folder.path().join("taken").as_os_str()])?;
    let site = Site::new(&scale.dir, sink.address, Systems::Laboratory)?;
    let full = site.path().join("full");
    fill(&site, &full, scale.events).await?;
    let settings =
        hisync::config::load(&site.config).map_err(|problems| hisync::diagnose::render(&problems, false))?.upstream;
    let batches = batches(&site, &full, &settings).await?;
    let events: usize = batches.iter().map(|(events, _)| events).sum();
    let bodies: Vec<Bytes> = batches.into_iter().map(|(_, body)| body).collect();
    let (mut floor, mut plain, mut gzip) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        floor.push(per_second(events, post_all(&sink, &bodies, settings.parallel).await?));
        for (compression, runs) in [(Compression::None, &mut plain), (Compression::Gzip, &mut gzip)] {
            let settings = Settings { compression, ..settings.clone() };
            runs.push(per_second(events, drain(&site, &full, &settings, events).await?));
        }
    }
    figures.ratio("delivery", &floor, &plain, Some(0.6));
    figures.ratio("delivery_gzip", &floor, &gzip, None);
    Ok(())
}

fn options() -> Options {
    Options { hospital: "demo-001".to_owned(), agent_version: "0.0.0".to_owned(), lane: None }
}

fn open(dir: &Path) -> Result<Store, Failure> {
    Ok(Store::open(dir, options(), Arc::new(Composer), Clock::system())?)
}

/// Fills a store with laboratory reports, by way of the real mapping.
async fn fill(site: &Site, dir: &Path, events: usize) -> Result<(), Failure> {
    let lab = stream(site, "lab/reports")?;
    let store = open(dir)?;
    let stream_id = StreamId::parse("lab/reports").ok_or("a stream's id")?;
    // Each message holds about two reports, and each report is an event.
    let mut incoming = messages(events / 2).map(|raw| {
        let document = lab.decoder.decode(&raw);
        lab.normaliser.received(Record { raw, document, source_ref: "ORU^R01".to_owned(), resend_key: None })
    });
    loop {
        let records: Vec<_> = incoming.by_ref().take(BATCH).collect();
        if records.is_empty() {
            break;
        }
        store.commit(IncomingBatch { stream: stream_id.clone(), records, advance: None, snapshot: None }).await?;
    }
    store.close().await;
    Ok(())
}

/// A copy of the full store in a folder of its own.
fn copy(site: &Site, full: &Path) -> Result<tempfile::TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("store-").tempdir_in(site.path())?;
    for file in std::fs::read_dir(full)? {
        let file = file?;
        std::fs::copy(file.path(), folder.path().join(file.file_name()))?;
    }
    // What was just copied is written to the disk now and not during the run.
    for file in std::fs::read_dir(folder.path())? {
        std::fs::File::open(file?.path())?.sync_all()?;
    }
    Ok(folder)
}

/// The batches that the store gives to a sender: how many events, and the body.
async fn batches(site: &Site, full: &Path, settings: &Settings) -> Result<Vec<(usize, Bytes)>, Failure> {
    let folder = copy(site, full)?;
    let store = open(folder.path())?;
    let limit = ClaimLimit {
        events: settings.batch_max_events,
        bytes: settings.batch_max_bytes - settings.batch_max_events - 2,
    };
    let mut batches = Vec::new();
    loop {
        let entries = store.claim(limit).await?;
        if entries.is_empty() {
            break;
        }
        let bodies: Vec<&[u8]> = entries.iter().map(|entry| &*entry.body).collect();
        let body = [&b"["[..], &bodies.join(&b","[..]), b"]"].concat();
        batches.push((entries.len(), body.into()));
    }
    store.close().await;
    Ok(batches)
}

async fn post_all(sink: &Helper, bodies: &[Bytes], parallel: usize) -> Result<Duration, Failure> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{}/v1/events", sink.address);
    let began = Instant::now();
    let mut posts: JoinSet<Result<(), reqwest::Error>> = JoinSet::new();
    for body in bodies {
        if posts.len() >= parallel
            && let Some(done) = posts.join_next().await
        {
            done??;
        }
        let post = http.post(&url).header("content-type", BATCH_MEDIA_TYPE).body(body.clone());
        posts.spawn(async move { post.send().await?.error_for_status()?.bytes().await.map(drop) });
    }
    while let Some(done) = posts.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}

async fn drain(site: &Site, full: &Path, settings: &Settings, events: usize) -> Result<Duration, Failure> {
    let folder = copy(site, full)?;
    let store = open(folder.path())?;
    let delivery = Delivery::new(settings, site.path(), store.clone(), Clock::system())?;
    let mut handle = delivery.handle();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    let began = Instant::now();
    running.spawn(delivery.run(stop.clone()));
    loop {
        let counts = handle.status().counts;
        if counts.accepted >= events as u64 {
            break;
        }
        if counts.rejected + counts.retried > 0 {
            return Err("the sink did not take an event".into());
        }
        handle.changed().await;
    }
    let took = began.elapsed();
    stop.cancel();
    running.join_all().await;
    store.close().await;
    Ok(took)
}
