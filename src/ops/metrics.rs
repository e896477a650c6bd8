//! Metrics in the Prometheus text format.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::standing::Standing;
use super::{Report, StreamReport, TaskState, reasons};
use crate::store::Overview;

/// Seconds. From a commit on a fast disk to a fetch from a slow hospital.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's one recorder, installed at first use.
///
/// `None` where another recorder was installed before; then there is nothing to show.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS);
            let installed = builder.and_then(PrometheusBuilder::install_recorder).ok();
            describe();
            installed
        })
        .as_ref()
}

/// Folds what histograms have collected, for ever: where nobody scrapes, they would grow without end.
pub(super) async fn upkeep() -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}

/// Every metric: its name, its type and what it says. Those that are counted where they happen stand at the end.
pub const ALL: &[(&str, Type, &str)] = &[
    ("hisync_build_info", Gauge, "1; the label says which version runs"),
    ("hisync_start_time_seconds", Gauge, "when the agent started, seconds since 1970"),
    ("hisync_health", Gauge, "the verdict: 0 ok, 1 attention, 2 failing"),
    ("hisync_health_reasons", Gauge, "reasons against the health, by code; explained ones included"),
    ("hisync_stream_standing", Gauge, "1 where a stream stands so, 0 where it does not"),
    ("hisync_stream_failures", Gauge, "failures of a stream in a row"),
    ("hisync_stream_records_total", Counter, "records of a stream that were new, since the start"),
    ("hisync_stream_rounds_total", Counter, "rounds of a stream that ended well, since the start"),
    ("hisync_stream_last_success_timestamp_seconds", Gauge, "when a stream was last read well, or received"),
    ("hisync_stream_last_record_timestamp_seconds", Gauge, "when a stream last received a record"),
    ("hisync_source_clock_difference_seconds", Gauge, "the clock of a stream's source minus ours, at its last probe"),
    ("hisync_source_probe_success", Gauge, "1 where the last probe of a stream's source went well"),
    ("hisync_versions", Gauge, "versions of entities by what became of them; fate=source is their sum"),
    ("hisync_outbox_depth", Gauge, "events that are neither delivered nor held"),
    ("hisync_outbox_oldest_age_seconds", Gauge, "the age of the oldest undelivered event"),
    ("hisync_held_open", Gauge, "held items that wait for a person"),
    ("hisync_held_items", Gauge, "open held items by leg and reason"),
    ("hisync_held_oldest_age_seconds", Gauge, "the age of the oldest held item that waits for a person"),
    ("hisync_held_over_a_day", Gauge, "held items that have waited for more than a day"),
    ("hisync_unmapped_codes", Gauge, "local codes that no table knows"),
    ("hisync_store_size_bytes", Gauge, "the store's file with its log"),
    ("hisync_disk_free_bytes", Gauge, "free bytes on the store's disk"),
    ("hisync_disk_floor_bytes", Gauge, "intake stops below so many free bytes"),
    ("hisync_upstream_breaker_open", Gauge, "1 while delivery of events is paused"),
    ("hisync_attachments_paused", Gauge, "1 while delivery of files is paused"),
    ("hisync_upstream_last_success_timestamp_seconds", Gauge, "when upstream last answered as it should"),
    ("hisync_upstream_clock_difference_seconds", Gauge, "upstream's clock minus ours, at its last answer"),
    ("hisync_reconcile_drift", Gauge, "what the last comparison of a stream, or with upstream, found, by kind"),
    ("hisync_reconcile_failed", Gauge, "1 where the last comparison failed"),
    ("hisync_reconcile_last_success_timestamp_seconds", Gauge, "when the last comparison ended well"),
    ("hisync_source_breaker_open", Gauge, "1 while a source is left alone"),
    ("hisync_intake_stopped", Gauge, "1 while nothing is taken in: no room on the disk or in the outbox"),
    ("hisync_archive_kept_bytes", Gauge, "bytes of raw records that are kept"),
    ("hisync_archive_covered_seconds", Gauge, "how far back every record can be mapped again"),
    ("hisync_archive_possible_seconds", Gauge, "how far the archive can reach back on this disk"),
    ("hisync_store_free_bytes", Gauge, "free pages in the store's file"),
    ("hisync_store_wal_bytes", Gauge, "the store's log"),
    ("hisync_store_growth_bytes_per_day", Gauge, "by how much the store grew a day lately"),
    ("hisync_certificate_end_timestamp_seconds", Gauge, "when a certificate ends"),
    ("hisync_task_up", Gauge, "1 while a task of the agent runs"),
    ("hisync_alert_episodes", Gauge, "trouble that lasts, as alerts count it"),
    ("hisync_alert_messages_waiting", Gauge, "alerts that a channel did not take yet"),
    ("hisync_alert_messages_total", Counter, "attempts to send an alert, by channel and outcome"),
    ("hisync_traces_total", Counter, "traces of events, by what became of them"),
    ("hisync_task_restarts_total", Counter, "restarts of a task of the agent"),
    ("hisync_config_reloads_total", Counter, "requests to load the configuration again, by verdict; dry runs left out"),
    ("hisync_delivery_requests_total", Counter, "requests with events, by the answer"),
    ("hisync_delivery_events_total", Counter, "events that were sent, by what upstream said of them"),
    ("hisync_delivery_attachments_total", Counter, "files that were sent, by what upstream said of them"),
    ("hisync_delivery_heartbeats_total", Counter, "heartbeats, by what became of them"),
    ("hisync_delivery_in_flight", Gauge, "events on their way at this moment"),
    ("hisync_delivery_request_seconds", Histogram, "how long a request with events took"),
];

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Goes up and down.
    Gauge,
    /// Only goes up, until a restart.
    Counter,
    /// Counts by size.
    Histogram,
}

use Type::{Counter, Gauge, Histogram};

fn describe() {
    for (name, kind, help) in ALL.iter().copied() {
        match kind {
            Gauge => metrics::describe_gauge!(name, help),
            Counter => metrics::describe_counter!(name, help),
            Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

/// Labels of a metric: names and values.
type Labels = Vec<(&'static str, String)>;

/// What was published before: a label that is gone is set to nought, because the recorder never forgets one.
static PUBLISHED: Mutex<BTreeSet<(&'static str, Labels)>> = Mutex::new(BTreeSet::new());

/// Collects what a report says.
#[derive(Default)]
struct Page(BTreeMap<(&'static str, Labels), f64>);

impl Page {
    fn put(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.insert((name, labels), value);
    }

    fn set(self) {
        let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = published.iter().filter(|key| !self.0.contains_key(key)).cloned().collect();
        for (name, labels) in gone {
            metrics::gauge!(name, &labels).set(0.0);
        }
        for ((name, labels), value) in &self.0 {
            if name.ends_with("_total") {
                metrics::counter!(*name, labels).absolute(value.max(0.0) as u64);
            } else {
                metrics::gauge!(*name, labels).set(*value);
                published.insert((name, labels.clone()));
            }
        }
    }
}

/// Sets what is read from the report rather than counted.
pub fn publish(report: &super::Report) {
    let mut page = Page::default();
    let Report { now, agent, store, disk, ageing, upstream, peer, .. } = report;
    let at = |at: DateTime<Utc>| at.timestamp() as f64;
    let age = |at: Option<DateTime<Utc>>| at.map_or(0.0, |at| (*now - at).num_seconds().max(0) as f64);
    let one = |yes: bool| f64::from(u8::from(yes));

    page.put("hisync_build_info", &[("version", &agent.version)], 1.0);
    page.put("hisync_start_time_seconds", &[], at(agent.started_at));
    page.put("hisync_health", &[], super::http::level_number(report.health.level));
    for kind in reasons::ALL {
        let n = report.health.reasons.iter().filter(|reason| reason.code == kind.code).count();
        page.put("hisync_health_reasons", &[("code", kind.code)], n as f64);
    }
    page.put("hisync_outbox_depth", &[], store.outbox_depth as f64);
    page.put("hisync_outbox_oldest_age_seconds", &[], age(store.oldest_undelivered_at));
    page.put("hisync_held_open", &[], store.held_for_people() as f64);
    page.put("hisync_held_oldest_age_seconds", &[], age(ageing.held_oldest_at));
    page.put("hisync_held_over_a_day", &[], ageing.held_over_a_day as f64);
    page.put("hisync_unmapped_codes", &[], ageing.unmapped_codes as f64);
    for held in &store.held_open {
        page.put("hisync_held_items", &[("leg", &held.leg), ("reason", &held.reason)], held.count as f64);
    }
    page.put("hisync_store_size_bytes", &[], store.size_bytes as f64);
    if let Some(free) = disk.free_bytes {
        page.put("hisync_disk_free_bytes", &[], free as f64);
    }
    page.put("hisync_disk_floor_bytes", &[], disk.floor_bytes as f64);
    page.put("hisync_upstream_breaker_open", &[], one(upstream.breaker.state != "closed"));
    page.put("hisync_attachments_paused", &[], one(upstream.attachments.breaker.state != "closed"));
    if let Some(success) = upstream.last_success {
        page.put("hisync_upstream_last_success_timestamp_seconds", &[], at(success));
    }
    if let Some(secs) = peer.clock_difference_secs {
        page.put("hisync_upstream_clock_difference_seconds", &[], secs as f64);
    }
    for certificate in &report.certificates {
        if let Some(ends) = certificate.ends_at {
            page.put("hisync_certificate_end_timestamp_seconds", &[("place", &certificate.place)], at(ends));
        }
    }
    for (entity, totals) in &store.totals {
        let sums = [
            ("source", totals.source),
            ("delivered", totals.delivered),
            ("unchanged", totals.unchanged),
            ("held", totals.held),
            ("queued", totals.queued),
        ];
        for (fate, n) in sums {
            page.put("hisync_versions", &[("entity", entity), ("fate", fate)], n as f64);
        }
    }
    for run in &report.reconcile {
        let kinds = [
            ("missing", run.missing),
            ("differing", run.differing),
            ("extra", run.extra),
            ("undelivered", run.undelivered),
        ];
        for (kind, n) in kinds {
            page.put("hisync_reconcile_drift", &[("subject", &run.subject), ("kind", kind)], n as f64);
        }
        let of: &[(&str, &str)] = &[("subject", &run.subject)];
        page.put("hisync_reconcile_failed", of, one(run.state == "failed"));
        if let Some(ended) = run.ended_at.filter(|_| run.state == "done") {
            page.put("hisync_reconcile_last_success_timestamp_seconds", of, at(ended));
        }
    }
    for source in &report.sources {
        let open = one(source.breaker.state != "closed");
        page.put("hisync_source_breaker_open", &[("source", source.id.as_str())], open);
    }
    let stopped = report.health.reasons.iter().any(|reason| matches!(reason.code, "disk" | "outbox"));
    page.put("hisync_intake_stopped", &[], one(stopped));
    page.put("hisync_archive_kept_bytes", &[], report.archive.status.kept_bytes as f64);
    page.put("hisync_archive_covered_seconds", &[], (report.archive.covered_days * 86_400) as f64);
    if let Some(days) = report.archive.possible_days {
        page.put("hisync_archive_possible_seconds", &[], (days * 86_400) as f64);
    }
    page.put("hisync_store_free_bytes", &[], report.archive.status.free_bytes as f64);
    page.put("hisync_store_wal_bytes", &[], report.archive.status.wal_bytes as f64);
    page.put("hisync_store_growth_bytes_per_day", &[], report.archive.status.growth_bytes_per_day as f64);
    for stream in &report.streams {
        put_stream(&mut page, stream, store, one);
    }
    for task in &report.tasks {
        page.put("hisync_task_up", &[("task", &task.name)], one(task.state == TaskState::Running));
    }
    page.put("hisync_alert_episodes", &[], report.alerts.open.len() as f64);
    for channel in &report.alerts.channels {
        page.put("hisync_alert_messages_waiting", &[("channel", &channel.id)], channel.waiting as f64);
    }
    page.set();
}

fn put_stream(page: &mut Page, stream: &StreamReport, store: &Overview, one: impl Fn(bool) -> f64) {
    let StreamReport { status, health, probe } = stream;
    let of: &[(&str, &str)] = &[("stream", status.id.as_str())];
    let at = |at: DateTime<Utc>| at.timestamp() as f64;
    for standing in Standing::ALL {
        let labels = [("stream", status.id.as_str()), ("standing", standing.as_str())];
        page.put("hisync_stream_standing", &labels, one(health.standing == standing));
    }
    page.put("hisync_stream_failures", of, f64::from(status.failures));
    page.put("hisync_stream_records_total", of, status.records as f64);
    page.put("hisync_stream_rounds_total", of, status.rounds as f64);
    if let Some(success) = status.last_success_at {
        page.put("hisync_stream_last_success_timestamp_seconds", of, at(success));
    }
    let sums = store.streams.iter().find(|sums| sums.stream == status.id.as_str());
    if let Some(received) = sums.and_then(|sums| sums.last_received_at) {
        page.put("hisync_stream_last_record_timestamp_seconds", of, at(received));
    }
    if let Some(probe) = probe {
        page.put("hisync_source_probe_success", of, one(probe.failure.is_none()));
        if let Some(millis) = probe.clock_difference_ms {
            page.put("hisync_source_clock_difference_seconds", of, millis as f64 / 1000.0);
        }
    }
}
