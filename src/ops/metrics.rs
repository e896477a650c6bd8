//! Metrics in the Prometheus text format.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

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
            builder.and_then(PrometheusBuilder::install_recorder).ok()
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

/// Sets the gauges that are read from the report rather than counted.
pub fn publish(report: &super::Report) {
    use metrics::gauge;

    gauge!("hisync_health").set(super::http::level_number(report.health.level));
    gauge!("hisync_up_since_seconds").set(report.agent.started_at.timestamp() as f64);
    gauge!("hisync_outbox_depth").set(report.store.outbox_depth as f64);
    let oldest = report.store.oldest_undelivered_at.map_or(0, |at| (report.now - at).num_seconds().max(0));
    gauge!("hisync_outbox_oldest_age_seconds").set(oldest as f64);
    gauge!("hisync_held_open").set(report.store.held_for_people() as f64);
    gauge!("hisync_store_size_bytes").set(report.store.size_bytes as f64);
    gauge!("hisync_upstream_breaker_open").set(if report.upstream.breaker.state == "closed" { 0.0 } else { 1.0 });
    for source in &report.sources {
        let open = if source.breaker.state == "closed" { 0.0 } else { 1.0 };
        gauge!("hisync_source_breaker_open", "source" => source.id.to_string()).set(open);
    }
    let stopped = report.health.reasons.iter().any(|reason| matches!(reason.code, "disk" | "outbox"));
    gauge!("hisync_intake_stopped").set(f64::from(u8::from(stopped)));
    gauge!("hisync_archive_kept_bytes").set(report.archive.status.kept_bytes as f64);
    gauge!("hisync_archive_covered_days").set(report.archive.covered_days as f64);
    if let Some(days) = report.archive.possible_days {
        gauge!("hisync_archive_possible_days").set(days as f64);
    }
    gauge!("hisync_store_free_bytes").set(report.archive.status.free_bytes as f64);
    gauge!("hisync_store_wal_bytes").set(report.archive.status.wal_bytes as f64);
    gauge!("hisync_store_growth_bytes_per_day").set(report.archive.status.growth_bytes_per_day as f64);
    if let Some(free) = report.disk.free_bytes {
        gauge!("hisync_disk_free_bytes").set(free as f64);
    }
    for (entity, totals) in &report.store.totals {
        let sums = [
            ("source", totals.source),
            ("delivered", totals.delivered),
            ("unchanged", totals.unchanged),
            ("held", totals.held),
            ("queued", totals.queued),
        ];
        for (fate, n) in sums {
            gauge!("hisync_versions", "entity" => entity.clone(), "fate" => fate).set(n as f64);
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
            gauge!("hisync_reconcile_drift", "subject" => run.subject.clone(), "kind" => kind).set(n as f64);
        }
        gauge!("hisync_reconcile_failed", "subject" => run.subject.clone()).set(if run.state == "failed" {
            1.0
        } else {
            0.0
        });
        if let Some(at) = run.ended_at.filter(|_| run.state == "done") {
            let seconds = at.timestamp() as f64;
            gauge!("hisync_reconcile_last_success_seconds", "subject" => run.subject.clone()).set(seconds);
        }
    }
    for stream in &report.streams {
        let id = stream.id.to_string();
        gauge!("hisync_stream_failures", "stream" => id.clone()).set(f64::from(stream.failures));
        gauge!("hisync_stream_records", "stream" => id.clone()).set(stream.records as f64);
        if let Some(at) = stream.last_success_at {
            gauge!("hisync_stream_last_success_seconds", "stream" => id).set(at.timestamp() as f64);
        }
    }
}
