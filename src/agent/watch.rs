//! The tasks by which the agent watches itself: it looks at its report, tells people, and probes its sources.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::{FaultClass, Probe, SourceError, StreamId};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::now::Now;
use super::sources::poller_of;
use super::supervisor::{Supervisor, Task};
use crate::clock::Clock;
use crate::config::{Config, SourceConfig};
use crate::intake::StreamState;
use crate::ops::alert::Desk;
use crate::ops::probes::Probed;
use crate::ops::silence::ago;
use crate::ops::standing::Standing;
use crate::ops::traces::Tracer;
use crate::ops::watch::{self, Sampler};
use crate::ops::{self, certificates};

/// How often a source is probed.
const PROBE_EVERY: Duration = Duration::from_secs(15 * 60);

/// How often while its silence is suspicious.
const PROBE_SUSPICIOUS: Duration = Duration::from_secs(5 * 60);

/// A source that refuses the login is not asked again for so long: that could lock the account.
const PROBE_REFUSED: Duration = Duration::from_secs(30 * 60);

/// The first probes wait until the streams were read once.
const PROBE_FIRST: Duration = Duration::from_secs(60);

/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Starts the look at the report.
pub(super) fn health(supervisor: &Supervisor, stop: &CancellationToken, now: &Now) -> Task {
    let (now, stop_task) = (now.clone(), stop.clone());
    supervisor.spawn("health", stop.clone(), move || {
        let (now, stop) = (now.clone(), stop_task.clone());
        async move { look(&now, &stop).await.map_err(|error| error.to_string()) }
    })
}

/// Starts the sending of alerts.
pub(super) fn alerts(supervisor: &Supervisor, stop: &CancellationToken, desk: &Desk) -> Task {
    let (desk, stop_task) = (desk.clone(), stop.clone());
    supervisor.spawn("alerts", stop.clone(), move || {
        let (desk, stop) = (desk.clone(), stop_task.clone());
        async move { desk.send(&stop).await.map_err(|error| error.to_string()) }
    })
}

/// Sends traces, where the configuration says where to.
pub(super) fn traces(supervisor: &Supervisor, stop: &CancellationToken, config: &Config, now: &Now) -> Option<Task> {
    let (settings, state) = (config.traces.clone()?, now.state());
    let (about, store, base_dir) = (state.about.clone(), state.store.clone(), config.base_dir.clone());
    let stop_task = stop.clone();
    Some(supervisor.spawn("traces", stop.clone(), move || {
        let (settings, about, store) = (settings.clone(), about.clone(), store.clone());
        let tracer = Tracer::new(settings, &base_dir, about, store).map_err(|error| connector_api::chain(&error));
        let stop = stop_task.clone();
        async move { tracer?.run(&stop).await.map_err(|error| error.to_string()) }
    }))
}

/// Looks at the report every few seconds: learns what is usual, and lets alerts begin and end. What the store can't take
/// or give keeps nobody from being told.
async fn look(now: &Now, stop: &CancellationToken) -> Result<(), crate::store::Error> {
    let mut sampler = Sampler::default();
    let mut read: Option<(Instant, String)> = None;
    loop {
        let (config, state) = (now.config(), now.state());
        let state = &*state;
        let known = |(at, of): &(Instant, String)| at.elapsed() < certificates::EVERY && *of == config.digest;
        if !read.as_ref().is_some_and(known) {
            let (files, base_dir) = (certificate_files(&config), config.base_dir.clone());
            // Files of a few kilobytes, once an hour; on a network share they may hang.
            if let Ok(read) = tokio::task::spawn_blocking(move || certificates::read(&files, &base_dir)).await {
                state.watch.put_certificates(read);
            }
            read = Some((Instant::now(), config.digest.clone()));
        }
        let report = state.report().await?;
        sampler.look(&report, state.zone);
        if sampler.is_due(report.now)
            && let Err(error) = learn(state, &mut sampler, &report).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "what is usual could not be learnt");
        }
        if let Err(error) = state.desk.look(&report.health.reasons, &report.undecided).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "alerts can't be stored: the worst are told at once"
            );
            state.desk.tell_unstored(&report.health.reasons).await;
        }
        tokio::select! {
            () = stop.cancelled() => return keep(state, &mut sampler).await,
            () = tokio::time::sleep(watch::EVERY) => {}
        }
    }
}

async fn learn(state: &ops::State, sampler: &mut Sampler, report: &ops::Report) -> Result<(), crate::store::Error> {
    keep(state, sampler).await?;
    state.store.add_trend(vec![ops::report::point(&report.store, report.now)]).await?;
    let since = watch::kept_since(state.zone, report.now);
    state.watch.learn(state.store.read(move |reader| reader.traffic(&since)).await?);
    Ok(())
}

async fn keep(state: &ops::State, sampler: &mut Sampler) -> Result<(), crate::store::Error> {
    let now = state.clock.now();
    let hours = sampler.take(now);
    if hours.is_empty() {
        return Ok(());
    }
    state.store.add_traffic(hours, watch::kept_since(state.zone, now)).await
}

/// The files with certificates that the configuration names, with their keys.
fn certificate_files(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for source in &config.sources {
        files.extend(certificates::files_named(&source.settings, &format!("sources.{}", source.id)));
    }
    files.extend(config.upstream.ca.clone().map(|file| ("upstream.ca".to_owned(), file)));
    if let crate::delivery::Auth::MutualTls { certificate, .. } = &config.upstream.auth {
        files.push(("upstream.auth.certificate".to_owned(), certificate.clone()));
    }
    files
}

/// Probes the polled streams one after another, each with a connection of its own.
pub(super) fn probes(supervisor: &Supervisor, stop: &CancellationToken, now: &Now) -> Task {
    let (now, stop_task) = (now.clone(), stop.clone());
    supervisor.spawn("probes", stop.clone(), move || {
        let (now, stop) = (now.clone(), stop_task.clone());
        async move {
            let work = probe_all(&now);
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                never = work => match never {},
            }
        }
    })
}

async fn probe_all(moment: &Now) -> std::convert::Infallible {
    let mut next = Instant::now() + PROBE_FIRST;
    loop {
        sleep_until(next).await;
        // Soon enough for a suspicion; each stream has its own time.
        next = Instant::now() + PROBE_FIRST;
        let (config, state) = (moment.config(), moment.state());
        let Ok(report) = state.report().await else { continue };
        for source in &config.sources {
            for stream in source.streams.iter().filter(|stream| stream.schedule.is_some()) {
                let Some(of) = report.streams.iter().find(|of| of.status.id == stream.id) else { continue };
                if !is_due(of, &state.clock) {
                    continue;
                }
                let probed = probe(source, &config.base_dir, &stream.id, PROBE_LIMIT).await;
                state.watch.probes.put(stream.id.clone(), Probed::of(probed, state.clock.now()));
            }
        }
    }
}

/// Looks at the source of one stream, with a connection of its own.
pub(super) async fn probe(
    source: &SourceConfig,
    base_dir: &Path,
    stream: &StreamId,
    limit: Duration,
) -> Result<Probe, SourceError> {
    match poller_of(source, base_dir, stream) {
        Ok((mut poller, _)) => {
            let answer = tokio::time::timeout(limit, poller.poller.probe()).await;
            answer.unwrap_or_else(|_| Err(hung(stream, limit)))
        }
        Err(problem) => Err(SourceError::stop(FaultClass::Other, problem)),
    }
}

/// Whether a stream's source is to be probed now. Not while its own task is refused, or still makes its first round.
fn is_due(stream: &ops::StreamReport, clock: &Clock) -> bool {
    let status = &stream.status;
    let refused = |class: &str| class == FaultClass::Login.as_str();
    let login = status.failure.as_ref().is_some_and(|failure| refused(&failure.class));
    if status.state == StreamState::Stopped || login || status.rounds == 0 {
        return false;
    }
    let Some(probed) = &stream.probe else { return true };
    let every = match &probed.failure {
        Some(failure) if refused(&failure.class) => PROBE_REFUSED,
        _ if stream.health.standing == Standing::QuietAndSuspicious => PROBE_SUSPICIOUS,
        _ => PROBE_EVERY,
    };
    ago(clock.now(), probed.at) >= every
}

fn hung(stream: &StreamId, limit: Duration) -> SourceError {
    let operation = format!("look at the source of {stream} within {} s", limit.as_secs());
    SourceError::retry(FaultClass::Timeout, operation)
}
