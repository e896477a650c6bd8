//! Mapping: decoding, applying a mapping and writing canonical JSON, against decoding alone. One
//! thread, measured in the processor time that it got: what else the machine does is left out.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{DecodeFailure, Decoder, Document, Raw};
use hisync::agent::sources;
use hisync::config;
use hisync::intake::Normaliser;
use hisync::model::Outcome;
use hisync::sandbox::hospital::{oru_messages, report_rows};

use crate::figures::Figures;
use crate::intake::per_second;
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// How often the records are gone through in one run, so that a run takes long enough to be measured.
const ROUNDS: usize = 3;

/// A stream of the simulated hospital as the agent would read it.
pub(crate) struct Stream {
    pub(crate) decoder: Arc<dyn Decoder>,
    pub(crate) normaliser: Normaliser,
}

/// The stream with this id, under the configuration of a site.
pub(crate) fn stream(site: &Site, id: &str) -> Result<Stream, Failure> {
    let config = config::load(&site.config).map_err(|problems| hisync::diagnose::render(&problems, false))?;
    let found = config.sources.iter().flat_map(|source| source.streams.iter().map(move |stream| (source, stream)));
    let (source, stream) =
        found.into_iter().find(|(_, stream)| stream.id.as_str() == id).ok_or("the configuration has no such stream")?;
    let built = source.build(&config.base_dir).map_err(|_| "the connector can't be built")?;
    Ok(Stream { decoder: built.decoder, normaliser: sources::normaliser(&config, source, stream) })
}

/// The laboratory's messages as they are archived.
pub(crate) fn messages(n: usize) -> impl Iterator<Item = Raw> {
    oru_messages(1, n).map(|body| Raw {
        format: "application/hl7-v2".to_owned(),
        charset: Some("gb18030".to_owned()),
        body: body.into(),
    })
}

pub(crate) fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let site = Site::new(&scale.dir, nobody()?, Systems::Both)?;
    let laboratory: Vec<Raw> = messages(scale.records).collect();
    compare("mapping", &stream(&site, "lab/reports")?, &laboratory, scale, figures)?;
    let rows: Vec<Raw> = report_rows(1, (scale.records / 4).max(1)).map(|row| archived(&row)).collect();
    compare("mapping_relational", &stream(&site, "peis/reports")?, &rows, scale, figures)
}

fn archived(row: &Document) -> Raw {
    Raw { format: connector_api::DOCUMENT_FORMAT.to_owned(), charset: None, body: row.to_bytes().into() }
}

fn compare(name: &str, stream: &Stream, records: &[Raw], scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    // What is held is cheap to make: it must not stand for what is delivered.
    let held = records.iter().flat_map(|raw| outcomes(stream, raw, &stream.decoder.decode(raw)));
    if let Some(held) = held.filter(|outcome| matches!(outcome, Outcome::Held(_))).count().checked_sub(1) {
        return Err(format!("{name}: {} entities were held", held + 1).into());
    }
    let (mut floor, mut subject) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        let began = thread_time()?;
        for raw in std::iter::repeat_n(records, ROUNDS).flatten() {
            let _ = black_box(stream.decoder.decode(black_box(raw)));
        }
        floor.push(per_second(ROUNDS * records.len(), thread_time()? - began));
        let began = thread_time()?;
        for raw in std::iter::repeat_n(records, ROUNDS).flatten() {
            black_box(outcomes(stream, raw, &stream.decoder.decode(black_box(raw))));
        }
        subject.push(per_second(ROUNDS * records.len(), thread_time()? - began));
    }
    figures.ratio(name, &floor, &subject, Some(0.3));
    Ok(())
}

/// What a decoded record becomes.
pub(crate) fn outcomes(stream: &Stream, raw: &Raw, document: &Result<Document, DecodeFailure>) -> Vec<Outcome> {
    stream.normaliser.outcomes(document, "bench", raw.charset.as_deref())
}

/// The processor time of this thread so far.
pub(crate) fn thread_time() -> Result<Duration, Failure> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = schedule.split_whitespace().next().ok_or("no processor time")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
