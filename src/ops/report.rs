//! The state of the agent in one struct: what `hisync status`, the admin API, the status page and
//! the heartbeat show.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use connector_api::{StreamId, Value, Watermark};
use serde::Serialize;

use super::alert::desk::{Alerts, channel_reasons};
use super::archive::Archive;
use super::certificates::CertificateEnd;
use super::health::{Health, Reason};
use super::probes::{Probed, wall_clock};
use super::standing::{self, Facts, StreamHealth};
use super::watch::Watch;
use super::{TaskStatus, canary, certificates, mask, verdict};
use crate::clock::Clock;
use crate::config::Expect;
use crate::delivery;
use crate::intake::{Again, Board, Gate, Reconciler, SourceStatus, Sources, StreamStatus};
use crate::store::{
    self, Ageing, ArchiveStatus, Backlog, Damage, Onboarding, Overview, RetentionPolicy, Store, Unreadable,
};
use crate::switches::Switches;

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
    /// What is remembered to judge by.
    pub watch: Watch,
    /// The alerts.
    pub desk: super::alert::Desk,
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
    /// The configuration as it was loaded, secrets and people hidden.
    pub config: Arc<serde_json::Value>,
    /// Maps held records again.
    pub again: Again,
    /// Asks for comparisons with sources and upstream.
    pub reconciler: Reconciler,
    /// Asks the process to load its configuration again.
    pub reload: Arc<super::reload::Reload>,
    /// What people have switched.
    pub switches: Switches,
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
    pub streams: Vec<StreamReport>,
    /// The sources that are asked.
    pub sources: Vec<SourceStatus>,
    /// Delivery.
    pub upstream: delivery::Status,
    /// What upstream's answers told beside what they said.
    pub peer: delivery::Peer,
    /// What the store holds.
    pub store: Overview,
    /// The store's disk.
    pub disk: Disk,
    /// How far back the archive reaches.
    pub archive: Archive,
    /// How long things have waited for a person.
    pub ageing: Ageing,
    /// When certificates end.
    pub certificates: Vec<CertificateEnd>,
    /// The alerts, without those that ended.
    pub alerts: Alerts,
    /// The agent's long-running tasks.
    pub tasks: Vec<TaskStatus>,
    /// The last comparison of each stream with its source, and with upstream.
    pub reconcile: Vec<store::ReconcileRun>,
    /// What is known of damage to the store's file; `None` where nothing is.
    pub damage: Option<Damage>,
    /// What of all this can't be read, and is left empty.
    pub unreadable: Unreadable,
    /// Subjects of which nothing can be said yet.
    #[serde(skip)]
    pub undecided: BTreeSet<String>,
}

/// A stream, and how it stands.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// What its task does.
    #[serde(flatten)]
    pub status: StreamStatus,
    /// How it stands, and why.
    pub health: StreamHealth,
    /// What the last probe of its source found.
    pub probe: Option<Probed>,
}

impl Report {
    /// The report as programs see it: what can't be read is `null`.
    pub fn json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        self.unreadable.blank(&mut json);
        json
    }
}

/// What the report takes from the store.
#[derive(Default)]
struct Stored {
    overview: Overview,
    archive: ArchiveStatus,
    days: Vec<store::CanaryDay>,
    waiting: Vec<Onboarding>,
    ageing: Ageing,
    reconcile: Vec<store::ReconcileRun>,
    unreadable: Unreadable,
}

impl State {
    /// Reads what the store can tell; where some of its file is damaged, the rest.
    async fn stored(&self, now: DateTime<Utc>) -> Result<Stored, store::Error> {
        let (watched, zone) = (self.watched.clone(), self.zone);
        let read = move |reader: &store::Reader| {
            let mut unreadable = Unreadable::default();
            let stored = Stored {
                overview: reader.overview_in_parts(&mut unreadable),
                archive: unreadable.part("/archive", reader.archive_status(now)),
                days: unreadable.part("/canaries", canary::read(reader, &watched, zone, now)),
                waiting: unreadable.part("/onboarding", reader.onboarding()),
                ageing: unreadable.part("/ageing", reader.ageing(now)),
                reconcile: unreadable.part("/reconcile", reader.reconcile_latest()),
                unreadable: Unreadable::default(),
            };
            Ok(Stored { unreadable, ..stored })
        };
        match self.store.read(read).await {
            Err(error @ store::Error::Closed) => Err(error),
            // Not even its layout can be read.
            Err(error) => {
                let mut stored = Stored::default();
                stored.unreadable.part::<()>("/store", Err(error));
                Ok(stored)
            }
            stored => stored,
        }
    }

    /// Makes the report. Fails where the store is closed; of a damaged one it tells what can be read.
    pub async fn report(&self) -> Result<Report, store::Error> {
        let now = self.clock.now();
        let Stored { overview, archive, days, waiting, ageing, reconcile, mut unreadable } = self.stored(now).await?;
        let alerts = unreadable.part("/alerts", self.desk.lasting().await);
        self.store.distrust(&unreadable);
        let overview = discreet(overview);
        let (free_bytes, floor_bytes) = (self.gate.free_bytes(), self.gate.floor_bytes());
        let disk = Disk { free_bytes, floor_bytes, outbox_limit: self.gate.limit() };
        let delivery = (self.delivery)();
        let peer = delivery.peer();
        let mut certificates = self.watch.certificates();
        certificates.extend(peer.certificate_ends_at.map(|ends| CertificateEnd {
            place: "upstream".to_owned(),
            file: None,
            ends_at: Some(ends),
        }));
        let mut report = Report {
            now,
            health: Health::default(),
            agent: self.about.clone(),
            streams: Vec::new(),
            sources: self.breakers.all(),
            upstream: delivery.status(),
            peer,
            store: overview,
            disk,
            archive: Archive::of(archive, &self.retention, &disk, now),
            ageing,
            certificates,
            alerts,
            tasks: (self.tasks)(),
            reconcile,
            damage: self.store.damage(),
            unreadable,
            undecided: BTreeSet::new(),
        };
        let mut reasons = self.judge_streams(&mut report);
        reasons.extend(report.sources.iter().filter_map(|source| verdict::source_reason(source, report.now)));
        // A breaker knows more of its source than what its streams look like.
        let open: BTreeSet<String> = reasons.iter().map(Reason::key).collect();
        let of_sources = verdict::source_reasons(&report.streams).into_iter();
        reasons.extend(of_sources.filter(|reason| !open.contains(&reason.key())));
        reasons.extend(report.archive.reason());
        reasons.extend(canary::reasons(&days, &self.watched, self.zone, report.now));
        reasons.extend(waiting.iter().map(verdict::onboarding_reason));
        reasons.extend(report.reconcile.iter().filter_map(super::reconcile::reason));
        reasons.extend(verdict::upstream_reason(&report));
        reasons.extend(verdict::upstream_clock(&report));
        reasons.extend(verdict::store_reasons(&report.store));
        reasons.extend(verdict::ageing_reasons(&report));
        reasons.extend(certificates::reasons(&report.certificates, report.now));
        reasons.extend(channel_reasons(&report.alerts.channels));
        reasons.extend(report.tasks.iter().filter_map(|task| verdict::task_reason(task, report.now)));
        reasons.extend(verdict::disk_reason(&self.gate, &report.disk));
        reasons.extend(verdict::damage_reasons(report.damage.as_ref(), &report.unreadable));
        reasons.extend(self.watch.found(report.now));
        reasons.extend(self.reload.reason());
        reasons.extend(super::switching::reasons(&self.switches));
        reasons.extend(verdict::secret_reason(&report.peer));
        report.health = Health::of(reasons);
        Ok(report)
    }

    fn judge_streams(&self, report: &mut Report) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for status in self.board.all() {
            let progress = report.store.streams.iter().find(|progress| progress.stream == status.id.as_str());
            let expect = self.expectations.iter().find(|(id, _)| *id == status.id).map(|(_, expect)| expect);
            let history = self.watch.history(status.id.as_str());
            let probe = self.watch.probes.get(&status.id);
            let facts = Facts {
                status: &status,
                last_received_at: progress.and_then(|progress| progress.last_received_at),
                read_to: progress.and_then(|progress| wall_clock(progress.watermark.as_deref()?)),
                expect,
                calendar: &self.watch.calendar,
                history: history.as_deref(),
                probe: probe.as_ref(),
                started_at: self.about.started_at,
                zone: self.zone,
                now: report.now,
            };
            reasons.extend(standing::reason(&facts).map(|(_, reason)| reason));
            if standing::is_undecided(&facts) {
                report.undecided.insert(format!("stream {}", status.id));
            }
            let health = standing::judge(&facts);
            report.streams.push(StreamReport { status, health, probe });
        }
        reasons
    }
}

/// How the agent stands, for the charts of the last day.
pub fn point(overview: &Overview, now: DateTime<Utc>) -> store::Point {
    store::Point {
        at: now,
        received: overview.streams.iter().map(|stream| stream.records + stream.resent).sum(),
        delivered: overview.totals.values().map(|totals| totals.delivered).sum(),
        held: overview.held_for_people(),
        waiting: overview.outbox_depth,
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
pub(super) fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, ['-', '/']);
    let mut digits = |most: usize| {
        parts
            .next()
            .is_some_and(|part| part.len() <= most && part.len() > 1 && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(4) && digits(2) && text.chars().all(|c| c.is_ascii_digit() || "-/:. T+Z".contains(c))
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
