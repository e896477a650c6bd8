//! The state of the agent in one struct: what `hisync status`, the admin API, the status page and
//! the heartbeat show.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use connector_api::{StreamId, Value, Watermark};
use serde::Serialize;

use super::archive::Archive;
use super::health::{Health, Level, Reason, hours, spoken, too_silent};
use super::{TaskState, TaskStatus, canary, mask};
use crate::clock::Clock;
use crate::config::Expect;
use crate::delivery;
use crate::intake::{Again, Board, Gate, Reconciler, SourceStatus, Sources, StreamState, StreamStatus};
use crate::model::WAITING;
use crate::store::{self, Backlog, Onboarding, Overview, RetentionPolicy, Store};

/// Undelivered for longer than this is worth a look, even if upstream seems to be there.
const OLD: Duration = Duration::from_secs(15 * 60);

/// How long a panic is shown after the restart.
const BUG_IS_SHOWN: TimeDelta = TimeDelta::days(1);

/// Who this agent is.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The upstream's id of this hospital.
    pub hospital: String,
    /// The campus.
    pub campus: String,
    /// The program's version.
    pub version: String,
    /// SHA-256 (hex) over every configuration file.
    pub config_digest: String,
    /// The hospital's time zone.
    pub timezone: String,
    /// When the agent started, UTC.
    pub started_at: DateTime<Utc>,
}

/// What the admin API reads.
#[derive(Clone)]
pub struct State {
    /// Who this agent is.
    pub about: About,
    /// Who may come in, and what for.
    pub keeper: super::access::Doorkeeper,
    /// The random word of this run, by which commands know the agent of their data folder.
    pub run: String,
    /// The hospital's time zone.
    pub zone: Tz,
    /// When a jump of a daily share is worth a look.
    pub watched: super::canary::Watched,
    /// When silence of a stream is a failure.
    pub expectations: Vec<(StreamId, Expect)>,
    /// The store.
    pub store: Store,
    /// The statuses of the streams.
    pub board: Board,
    /// What stops intake.
    pub gate: Arc<Gate>,
    /// The breakers of the sources that are asked.
    pub breakers: Sources,
    /// How long what is kept.
    pub retention: RetentionPolicy,
    /// Maps held records again.
    pub again: Again,
    /// Asks for comparisons with sources and upstream.
    pub reconciler: Reconciler,
    /// Asks the process to load its configuration again.
    pub reload: Arc<super::codes::Reload>,
    /// The delivery that runs now.
    pub delivery: Arc<dyn Fn() -> delivery::Handle + Send + Sync>,
    /// The statuses of the tasks.
    pub tasks: Arc<dyn Fn() -> Vec<TaskStatus> + Send + Sync>,
    /// The time.
    pub clock: Clock,
}

/// The store's disk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disk {
    /// Free bytes; `None` where the system doesn't tell.
    pub free_bytes: Option<u64>,
    /// Intake stops below this.
    pub floor_bytes: u64,
    /// Intake stops at so much that waits to be delivered.
    pub outbox_limit: Backlog,
}

/// The state of a running agent. Times are UTC.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When the report was made.
    pub now: DateTime<Utc>,
    /// The verdict.
    pub health: Health,
    /// Who this agent is.
    pub agent: About,
    /// The streams.
    pub streams: Vec<StreamStatus>,
    /// The sources that are asked.
    pub sources: Vec<SourceStatus>,
    /// Delivery.
    pub upstream: delivery::Status,
    /// What the store holds.
    pub store: Overview,
    /// The store's disk.
    pub disk: Disk,
    /// How far back the archive reaches.
    pub archive: Archive,
    /// The agent's long-running tasks.
    pub tasks: Vec<TaskStatus>,
    /// The last comparison of each stream with its source, and with upstream.
    pub reconcile: Vec<store::ReconcileRun>,
}

impl State {
    /// Makes the report.
    pub async fn report(&self) -> Result<Report, store::Error> {
        let now = self.clock.now();
        let read = move |reader: &store::Reader| Ok((reader.overview()?, reader.archive_status(now)?));
        let (overview, archive) = self.store.read(read).await?;
        let overview = discreet(overview);
        let (free_bytes, floor_bytes) = (self.gate.free_bytes(), self.gate.floor_bytes());
        let disk = Disk { free_bytes, floor_bytes, outbox_limit: self.gate.limit() };
        let mut report = Report {
            now,
            health: Health::default(),
            agent: self.about.clone(),
            streams: self.board.all(),
            sources: self.breakers.all(),
            upstream: (self.delivery)().status(),
            store: overview,
            disk,
            archive: Archive::of(archive, &self.retention, &disk, now),
            tasks: (self.tasks)(),
            reconcile: self.store.read(store::Reader::reconcile_latest).await?,
        };
        let mut reasons = Vec::new();
        reasons.extend(report.streams.iter().filter_map(stream_reason));
        reasons.extend(report.sources.iter().filter_map(|source| source_reason(source, report.now)));
        reasons.extend(report.archive.reason());
        reasons.extend(self.silences(&report));
        let (watched, zone, now) = (self.watched.clone(), self.zone, report.now);
        let read = move |reader: &store::Reader| Ok((canary::read(reader, &watched, zone, now)?, reader.onboarding()?));
        let (days, waiting) = self.store.read(read).await?;
        reasons.extend(canary::reasons(&days, &self.watched, self.zone, report.now));
        reasons.extend(waiting.iter().map(onboarding_reason));
        reasons.extend(report.reconcile.iter().filter_map(super::reconcile::reason));
        reasons.extend(upstream_reason(&report));
        reasons.extend(store_reasons(&report.store));
        reasons.extend(report.tasks.iter().filter_map(|task| task_reason(task, report.now)));
        if let Some(closure) = self.gate.closed() {
            reasons.push(Reason {
                code: closure.code,
                level: Level::Failing,
                since: None,
                subject: closure.code.to_owned(),
                text: closure.text,
                next: closure.next.to_owned(),
            });
        }
        report.health = Health::of(reasons);
        Ok(report)
    }

    fn silences(&self, report: &Report) -> Vec<Reason> {
        let silence = |(stream, expect): &(StreamId, Expect)| {
            let progress = report.store.streams.iter().find(|progress| progress.stream == stream.as_str());
            let last = progress.and_then(|progress| progress.last_received_at);
            let silent = too_silent(expect, self.zone, last, report.now)?;
            let window = hours(expect.between.0, expect.between.1);
            Some(Reason {
                code: "stream-silent",
                level: Level::Attention,
                since: chrono::Duration::from_std(silent).ok().map(|silent| report.now - silent),
                subject: format!("stream {stream}"),
                text: format!("nothing new for {} in its expected hours ({window})", spoken(silent)),
                next: "ask whether the hospital's system runs; `hisync check` shows its newest row".to_owned(),
            })
        };
        self.expectations.iter().filter_map(silence).collect()
    }
}

/// The overview without what it holds of persons: a watermark ends in the key of its last row, which may be
/// an exam number. Its first column stays where that is a time.
pub fn discreet(mut overview: Overview) -> Overview {
    for stream in &mut overview.streams {
        stream.watermark = stream.watermark.take().map(|stored| {
            let first = Watermark::from_text(&stored).ok().and_then(|at| at.columns().first().cloned());
            match first {
                Some(Value::Time(time)) => time.to_string(),
                Some(Value::Text(text)) if is_time(&text) => text.to_string(),
                _ => mask::mask(&stored),
            }
        });
    }
    overview
}

/// True for `2026-11-22…` and `2026/11/22…`: no number of a person is written so.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, ['-', '/']);
    let mut digits = |most: usize| {
        parts
            .next()
            .is_some_and(|part| part.len() <= most && part.len() > 1 && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(4) && digits(2) && text.chars().all(|c| c.is_ascii_digit() || "-/:. T+Z".contains(c))
}

fn stream_reason(stream: &StreamStatus) -> Option<Reason> {
    let (code, level) = match stream.state {
        // One failure may be a blip; the next round tells.
        StreamState::Failing if stream.failures < 3 => ("stream-failing", Level::Attention),
        StreamState::Failing => ("stream-failing", Level::Failing),
        StreamState::Stopped => ("stream-stopped", Level::Failing),
        StreamState::Paused => ("stream-paused", Level::Failing),
        _ => return None,
    };
    let failure = stream.failure.as_ref()?;
    let tries = "hisync tries again by itself; look at the source's network and account".to_owned();
    Some(Reason {
        code,
        level,
        since: Some(failure.at),
        subject: format!("stream {}", stream.id),
        text: failure.message.clone(),
        next: failure.hint.clone().unwrap_or(tries),
    })
}

fn source_reason(source: &SourceStatus, now: DateTime<Utc>) -> Option<Reason> {
    if source.breaker.state == "closed" {
        return None;
    }
    let code = source.breaker.code.clone().unwrap_or_default();
    let since = source.breaker.since.map(|since| spoken((now - since).to_std().unwrap_or_default()));
    let refused = code == "login";
    let text = match refused {
        true => "it refuses the login: none of its streams asks it, so that the account is not locked".to_owned(),
        false => format!(
            "it does not answer ({code}) for {}: its streams leave it alone, one probe at a time finds out",
            since.unwrap_or_else(|| "a moment".to_owned())
        ),
    };
    let look = if refused { "correct the account" } else { "look at its network and its system" };
    Some(Reason {
        code: "source-down",
        level: Level::Failing,
        since: source.breaker.since,
        subject: format!("source {}", source.id),
        text,
        next: format!("{look}; hisync asks again by itself, at once after `hisync sources reset {}`", source.id),
    })
}

fn onboarding_reason(waiting: &Onboarding) -> Reason {
    let (text, next) = match waiting.held_id {
        Some(id) => (
            "its first sample is not in order: its events are kept and not delivered".to_owned(),
            format!(
                "`hisync held show {id}` says why; correct the mapping, or let it start: `hisync held release {id}`"
            ),
        ),
        None => (
            "new: its events are delivered once its first sample is judged".to_owned(),
            "nothing; the stream's `onboarding` says when that is".to_owned(),
        ),
    };
    Reason {
        code: "onboarding",
        level: Level::Attention,
        since: Some(waiting.since),
        subject: format!("stream {}", waiting.stream),
        text,
        next,
    }
}

fn upstream_reason(report: &Report) -> Option<Reason> {
    let subject = "upstream".to_owned();
    let breaker = &report.upstream.breaker;
    let waiting = report.store.outbox_depth;
    if breaker.state != "closed" {
        let code = breaker.code.clone().unwrap_or_default();
        let since = breaker.since.map(|since| spoken((report.now - since).to_std().unwrap_or_default()));
        let text = format!(
            "delivery is paused ({code}) for {}; {waiting} events wait, all are kept",
            since.unwrap_or_else(|| "a moment".to_owned())
        );
        let next = report.upstream.last_failure.as_ref().map_or("see the log", |failure| failure.text);
        return Some(Reason {
            code: "upstream-down",
            level: Level::Failing,
            since: breaker.since,
            subject,
            text,
            next: next.to_owned(),
        });
    }
    let files = &report.upstream.attachments;
    if files.breaker.state != "closed" {
        let code = files.breaker.code.clone().unwrap_or_default();
        return Some(Reason {
            code: "attachments-down",
            level: Level::Failing,
            since: files.breaker.since,
            subject,
            text: format!("files are not taken ({code}): the events that name them wait, all are kept"),
            next: files.last_failure.as_ref().map_or("see the log", |failure| failure.text).to_owned(),
        });
    }
    let oldest = (report.now - report.store.oldest_undelivered_at?).to_std().unwrap_or_default();
    (oldest > OLD).then(|| Reason {
        code: "upstream-slow",
        level: Level::Attention,
        since: report.store.oldest_undelivered_at,
        subject,
        text: format!("the oldest of {waiting} undelivered events is {} old", spoken(oldest)),
        next: "`hisync outbox list` shows the last answers".to_owned(),
    })
}

fn store_reasons(store: &Overview) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let open = store.held_for_people();
    if open > 0 {
        let for_people = store.held_open.iter().filter(|held| held.reason != WAITING);
        let mut kinds: Vec<_> = for_people.map(|held| format!("{} {}", held.count, held.reason)).collect();
        kinds.truncate(4);
        reasons.push(Reason {
            code: "held",
            level: Level::Attention,
            since: None,
            subject: "held items".to_owned(),
            text: format!("{open} waiting for a person: {}", kinds.join(", ")),
            next: "`hisync held list`, then show, retry, release or dismiss".to_owned(),
        });
    }
    for (entity, totals) in store.totals.iter().filter(|(_, totals)| !totals.adds_up) {
        let parts = totals.delivered + totals.unchanged + totals.held + totals.queued;
        reasons.push(Reason {
            code: "sum",
            level: Level::Failing,
            since: None,
            subject: entity.clone(),
            text: format!("{} versions came in, {parts} are accounted for", totals.source),
            next: "this is a bug: keep a copy of the data folder and report it".to_owned(),
        });
    }
    reasons
}

fn task_reason(task: &TaskStatus, now: DateTime<Utc>) -> Option<Reason> {
    let failure = task.last_failure.as_deref().unwrap_or("it ended");
    if task.state == TaskState::Restarting {
        return Some(Reason {
            code: "task",
            level: Level::Failing,
            since: Some(task.since),
            subject: task.name.clone(),
            text: failure.to_owned(),
            next: "hisync starts it again by itself; the log says more".to_owned(),
        });
    }
    // A bug that a restart hides for a while is still one.
    let lately = task.last_failure_at.is_some_and(|at| now - at < BUG_IS_SHOWN);
    (task.panics > 0 && lately).then(|| Reason {
        code: "task",
        level: Level::Attention,
        since: task.last_failure_at,
        subject: task.name.clone(),
        text: format!("it panicked and was started again, {} times since the start", task.panics),
        next: "report it with the log's line \"panicked\", which says where".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use connector_api::Value;

    use super::*;

    fn check(columns: Vec<Value>, expected: &str) {
        let at = Watermark::at(columns).to_text();
        let stream = store::StreamProgress {
            stream: "peis/reports".to_owned(),
            watermark: Some(at),
            watermark_at: None,
            records: 0,
            resent: 0,
            reread: 0,
            snapshots: 0,
            last_received_at: None,
            last_commit_at: None,
            totals: store::Totals::default(),
        };
        let overview = Overview {
            size_bytes: 0,
            outbox_depth: 0,
            outbox: Default::default(),
            oldest_undelivered_at: None,
            held_open: Vec::new(),
            totals: Default::default(),
            streams: vec![stream],
        };
        assert_eq!(discreet(overview).streams[0].watermark.as_deref(), Some(expected));
    }

    #[test]
    fn a_watermark_shows_its_time_and_no_number_of_a_person() {
        check(vec!["2026-11-20 09:00:00".into(), "0301170001".into()], "2026-11-20 09:00:00");
        check(vec!["2026/11/20 9:00".into(), "0301170001".into()], "2026/11/20 9:00");
        check(vec!["0301170001".into()], "{\"●●\":[\"●●●●●●●●●●\"]}");
    }
}
