//! Heartbeats: upstream notices an agent that fell silent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use metrics::counter;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::classify::{Failure, Reply};
use super::client::{Client, Outgoing};
use super::settings::Compression;

/// What an agent tells of itself each minute. Small, and free of personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Upstream's id of this hospital.
    pub hospital: String,
    /// The agent's version.
    pub agent_version: String,
    /// SHA-256 (hex) over the configuration's files.
    pub config_hash: String,
    /// When the agent started.
    pub started_at: DateTime<Utc>,
    /// How the agent stands, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthBeat>,
    /// Each stream.
    pub streams: Vec<StreamBeat>,
    /// What waits to be delivered.
    pub outbox: OutboxBeat,
    /// What waits for a person.
    pub held: HeldBeat,
}

/// How an agent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthBeat {
    /// `ok`, `attention` or `failing`.
    pub level: String,
    /// Why: stable codes, each with what it is about (`stream-silent stream peis/reports`).
    pub reasons: Vec<String>,
}

/// One stream in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamBeat {
    /// `source/stream`.
    pub id: String,
    /// What its task does, a stable word: `waiting`, `reading`, `listening`, `failing`, `stopped`, `paused`, …
    pub state: String,
    /// How it stands: `healthy`, `quiet-as-expected`, `quiet-and-suspicious`, `behind`, `failing` or `stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When it last succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<DateTime<Utc>>,
    /// How old the newest record that was read is, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_age_secs: Option<u64>,
    /// Records since the start.
    pub counts: StreamCounts,
}

/// Records of a stream since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamCounts {
    /// Received.
    pub received: u64,
    /// Became an event.
    pub changed: u64,
    /// Said what had been said before.
    pub unchanged: u64,
    /// Held for a person.
    pub held: u64,
}

/// What waits to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutboxBeat {
    /// Events.
    pub depth: u64,
    /// The age of the oldest one, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_secs: Option<u64>,
}

/// What waits for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBeat {
    /// Open items.
    pub open: u64,
}

/// Tells how the agent is. Supplied by the agent.
#[async_trait]
pub trait Pulse: Send + Sync {
    /// The heartbeat to send now; `None` where the agent can't tell.
    async fn heartbeat(&self) -> Option<Heartbeat>;
}

/// Sends heartbeats. One that fails is not queued: the next one says it better.
pub struct Heartbeats {
    client: Client,
    pulse: Arc<dyn Pulse>,
}

impl Heartbeats {
    pub(super) fn new(client: Client, pulse: Arc<dyn Pulse>) -> Heartbeats {
        Heartbeats { client, pulse }
    }

    /// Sends the first one at once, then one each `heartbeat_secs`, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(Duration::from_secs(self.client.settings().heartbeat_secs.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.beat() => {}
            }
        }
    }

    async fn beat(&self) {
        let Some(heartbeat) = self.pulse.heartbeat().await else { return };
        let outcome = match send(&self.client, &heartbeat).await {
            Ok(()) => "sent".to_owned(),
            Err(code) => {
                tracing::debug!(code, "a heartbeat was not taken");
                code
            }
        };
        counter!("hisync_delivery_heartbeats_total", "outcome" => outcome).increment(1);
    }
}

/// Sends one heartbeat; says why it was not taken, as a stable word.
pub(super) async fn send(client: &Client, heartbeat: &Heartbeat) -> Result<(), String> {
    let body = serde_json::to_vec(heartbeat).map_err(|_| "request-not-made".to_owned())?;
    let outgoing = Outgoing {
        method: Method::POST,
        path: "/v1/heartbeats".to_owned(),
        media_type: "application/json".to_owned(),
        id: Uuid::new_v4().to_string(),
        body: Bytes::from(body),
        compression: Compression::None,
    };
    match client.send(outgoing).await.reply {
        Reply::Answered { status: 200..=299, .. } => Ok(()),
        Reply::Answered { status, .. } => Err(format!("http-{status}")),
        Reply::Failed(failure) => Err(word(failure).to_owned()),
    }
}

/// The stable word for a request without an answer.
pub(super) fn word(failure: Failure) -> &'static str {
    match failure {
        Failure::Unreachable => "unreachable",
        Failure::Tls { .. } => "tls-failed",
        Failure::Timeout => "timeout",
        Failure::ConnectionLost => "connection-lost",
        Failure::NotMade => "request-not-made",
    }
}
