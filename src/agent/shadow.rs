//! Runs the candidate beside the mapping in force: a task of its own that reads the archive after the commit, and rests
//! longer than it works. Nothing waits for it. And keeps the hands of an agent that is a shadow itself off its sources.

use std::time::Duration;

use chrono::NaiveDateTime;
use connector_api::{Batch, Discovered, Document, Poller, Probe, Request, SourceError, StreamPoller, async_trait};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sources::{self, Shared};
use super::supervisor::{Supervisor, Task};
use crate::config::Config;
use crate::diagnose;
use crate::release::{self, Trial};
use crate::store::{Store, Tried};

/// How often it is asked what has come in.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest rest between steps, while there is more to do.
const BREATH: Duration = Duration::from_millis(20);

/// Starts the task.
pub(super) fn start(supervisor: &Supervisor, stop: &CancellationToken, shared: &Shared) -> Task {
    let (shared, stop_task) = (shared.clone(), stop.clone());
    supervisor.spawn("shadow", stop.clone(), move || {
        let (shared, stop) = (shared.clone(), stop_task.clone());
        async move {
            let Shared { config, store, .. } = &shared;
            let problems = config.candidate_problems();
            if !problems.is_empty() {
                let text = diagnose::render(&problems, false);
                tracing::warn!("the candidate has mistakes and is not tried; what is in force goes on:\n{text}");
            }
            run(config, store, &stop).await.map_err(|error| format!("try the candidate: {error}"))
        }
    })
}

/// What is tried, with the versions in force; empty where there is no candidate.
fn tried(config: &Config) -> Tried {
    let streams = config.sources.iter().flat_map(|source| &source.streams);
    let pair = |stream: &crate::config::StreamConfig| {
        let candidate = stream.candidate.as_ref()?.mapping.as_ref().ok()?;
        Some((stream.id.to_string(), (stream.mapping.version().to_owned(), candidate.version().to_owned())))
    };
    streams.filter_map(pair).collect()
}

/// The configuration as it would be with the candidate.
fn trial(config: &Config) -> Trial {
    let mut config = config.clone();
    for stream in config.sources.iter_mut().flat_map(|source| &mut source.streams) {
        if let Some(Ok(mapping)) = stream.candidate.take().map(|candidate| candidate.mapping) {
            stream.mapping = mapping;
        }
    }
    Trial { readers: sources::decoders(&config), composer: Box::new(sources::site(&config)) }
}

async fn run(config: &Config, store: &Store, stop: &CancellationToken) -> Result<(), crate::store::Error> {
    let mut run = store.shadow_begin(tried(config)).await?;
    let trial = std::sync::Arc::new(trial(config));
    let mut again = 0;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let mut more = store.shadow_sweep().await? > 0;
        if let Some(id) = run.as_ref().map(|run| run.id) {
            let (trial, mut place) = (trial.clone(), again);
            let stepped = store.read(move |reader| Ok((release::step(reader, &trial, id, &mut place)?, place))).await?;
            match stepped {
                // A person has promoted or discarded it.
                (None, _) => run = None,
                (Some((step, further)), place) => {
                    again = place;
                    more |= further;
                    store.shadow_note(id, step).await?;
                }
            }
        }
        let rest = if more { began.elapsed().max(BREATH) } else { EVERY };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
    Ok(())
}

/// The poller of an agent that is a shadow: what it reads it does not mark as read.
pub(super) fn unmarked(poller: StreamPoller) -> StreamPoller {
    StreamPoller { stream: poller.stream, poller: Box::new(Unmarked(poller.poller)) }
}

struct Unmarked(Box<dyn Poller>);

#[async_trait]
impl Poller for Unmarked {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        self.0.probe().await
    }

    async fn fetch(&mut self, request: Request<'_>, limit: usize) -> Result<Batch, SourceError> {
        self.0.fetch(request, limit).await
    }

    async fn committed(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn time_of(&self, document: &Document) -> Option<NaiveDateTime> {
        self.0.time_of(document)
    }

    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        self.0.discover(name).await
    }
}
