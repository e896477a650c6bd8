//! A replay of an archive of laboratory reports through a mapping that gives every result another unit, on two
//! threads, and through the mapping that made them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_api::{Record, StreamId};
use hisync::agent::sources;
use hisync::clock::Clock;
use hisync::config;
use hisync::mapping::Composer;
use hisync::release::{self, Plan};
use hisync::store::{IncomingBatch, Options, Reader, ReplayFilter, Store};

use crate::figures::{Aim, Figures};
use crate::mapping::{messages, stream};
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// Records that are committed together while the archive is filled.
const BATCH: usize = 250;
/// What a replay is promised to take at most for 100,000 reports, in seconds.
const PROMISED: f64 = 60.0;

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let site = Site::new(&scale.dir, nobody()?, Systems::Laboratory)?;
    fill(&site, scale.archived).await?;
    // What the long memory costs: a record as it came, as it is stored, and with all that is made of it.
    let status = Reader::open(&site.data_dir())?.archive_status(Clock::system().now())?;
    for (name, bytes) in [
        ("archive_raw", status.record_raw_bytes),
        ("archive_packed", status.record_packed_bytes),
        ("archive_all", status.record_all_bytes),
    ] {
        figures.plain(name, "bytes per record", &[bytes as f64], Aim::None);
    }
    let aim = PROMISED * scale.archived as f64 / 100_000.0;
    for (name, change) in [("replay_same", false), ("replay_changed", true)] {
        if change {
            let path = site.path().join("mappings/demo-lab/exam_report.toml");
            let text = std::fs::read_to_string(&path)?;
            let other = text.replace("unit = \"OBX-6\"", "unit = { const = \"g/dL\", reason = \"a seeded change\" }");
            if other == text {
                return Err("the laboratory's mapping has another shape than expected".into());
            }
            std::fs::write(&path, other)?;
        }
        let (took, changed) = run(&site, scale.archived)?;
        if (changed == 0) == change {
            return Err(format!("{name}: {changed} reports change").into());
        }
        figures.plain(name, "s", &[took.as_secs_f64()], Aim::AtMost(aim));
    }
    Ok(())
}

async fn fill(site: &Site, n: usize) -> Result<(), Failure> {
    let lab = stream(site, "lab/reports")?;
    let id = StreamId::parse("lab/reports").ok_or("a stream's name")?;
    let options = Options { hospital: "bench".to_owned(), agent_version: "bench".to_owned(), lane: None };
    let store = Store::open(&site.data_dir(), options, Arc::new(Composer), Clock::system())?;
    let mut records = Vec::with_capacity(BATCH);
    let mut made = messages(n).peekable();
    while let Some(raw) = made.next() {
        let document = lab.decoder.decode(&raw);
        let record = Record { raw, document, source_ref: "ORU^R01".to_owned(), resend_key: None };
        records.push(lab.normaliser.received(record));
        if records.len() == BATCH || made.peek().is_none() {
            let records = std::mem::take(&mut records);
            store.commit(IncomingBatch { stream: id.clone(), records, advance: None, snapshot: None }).await?;
        }
    }
    Ok(())
}

fn run(site: &Site, n: usize) -> Result<(Duration, u64), Failure> {
    let config = config::load(&site.config).map_err(|problems| hisync::diagnose::render(&problems, false))?;
    let plan = Plan {
        readers: &sources::decoders(&config),
        composer: &sources::site(&config),
        filter: ReplayFilter::default(),
        mappings: Vec::new(),
        threads: 2,
    };
    let folder = site.data_dir();
    let began = Instant::now();
    let report = release::replay(&|| Reader::open(&folder), &plan, |_| {})?;
    let took = began.elapsed();
    if report.records != n as u64 || !report.not_compared.is_empty() {
        return Err(format!("{} of {n} records were replayed", report.records).into());
    }
    Ok((took, report.changed))
}
