//! What the agent tells upstream of itself each minute.

use chrono::Utc;

use crate::delivery::heartbeat::{HealthBeat, HeldBeat, OutboxBeat, StreamBeat, StreamCounts};
use crate::delivery::{Heartbeat, Pulse};
use crate::ops::Report;
use crate::ops::health::Reason;

/// The agent's pulse, made from the same report that people see.
pub struct AgentPulse(pub super::now::Now);

#[async_trait::async_trait]
impl Pulse for AgentPulse {
    async fn heartbeat(&self) -> Option<Heartbeat> {
        match self.0.state().report().await {
            Ok(report) => Some(of(&report)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no heartbeat: the store can't be read");
                None
            }
        }
    }
}

fn of(report: &Report) -> Heartbeat {
    let secs = |at: chrono::DateTime<Utc>| (report.now - at).num_seconds().max(0).unsigned_abs();
    let streams = report.streams.iter().map(|stream| {
        let (health, stream) = (&stream.health, &stream.status);
        let sums = report.store.streams.iter().find(|sums| sums.stream == stream.id.as_str());
        let count = |pick: fn(&crate::store::Totals) -> i64| {
            sums.map_or(0, |sums| u64::try_from(pick(&sums.totals)).unwrap_or_default())
        };
        StreamBeat {
            id: stream.id.to_string(),
            state: stream.state.as_str().to_owned(),
            health: Some(health.standing.as_str().to_owned()),
            last_success: stream.last_success_at,
            watermark_age_secs: sums.and_then(|sums| sums.last_received_at).map(secs),
            counts: StreamCounts {
                received: stream.records,
                changed: count(|totals| totals.delivered + totals.queued),
                unchanged: count(|totals| totals.unchanged),
                held: count(|totals| totals.held),
            },
        }
    });
    Heartbeat {
        hospital: report.agent.hospital.clone(),
        agent_version: report.agent.version.clone(),
        config_hash: report.agent.config_digest.clone(),
        started_at: report.agent.started_at,
        health: Some(HealthBeat {
            level: report.health.level.as_str().to_owned(),
            reasons: report.health.reasons.iter().map(Reason::key).collect(),
        }),
        streams: streams.collect(),
        outbox: OutboxBeat {
            depth: u64::try_from(report.store.outbox_depth).unwrap_or_default(),
            oldest_age_secs: report.store.oldest_undelivered_at.map(secs),
        },
        held: HeldBeat { open: report.store.held_for_people().unsigned_abs() },
    }
}
