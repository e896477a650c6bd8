//! Alerts over the admin API: the same acts as `hisync alerts`.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Caller;
use super::alert::Alerts;
use super::http::{Answer, Failure, Shared};
use super::reasons::{self, Kind};
use super::report::State;

/// The longest silence (30 days): trouble that is never told of again belongs out of the configuration.
pub const LONGEST_SECS: u64 = 30 * 86_400;

/// Which channel is to be tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Its id.
    pub channel: String,
}

/// What nobody is to hear of, for how long, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quiet {
    /// Only of this kind.
    pub code: Option<String>,
    /// Only about this: `stream peis/reports`.
    pub subject: Option<String>,
    /// For so many seconds.
    pub secs: u64,
    /// The person's name, for the audit log.
    pub who: String,
    /// Why.
    pub because: String,
}

/// Who ends a silence.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sound {
    /// The person's name, for the audit log.
    pub who: String,
}

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/alerts", get(list))
        .route("/api/alerts/test", post(trial))
        .route("/api/alerts/silence", post(silence))
        .route("/api/alerts/silence/{id}/end", post(sound))
        .route("/api/reasons", get(|| async { Json::<&'static [Kind]>(reasons::ALL) }))
}

async fn list(Extract(state): Shared) -> Answer<Alerts> {
    Ok(Json(state.desk.alerts().await?))
}

async fn trial(Extract(state): Shared, Json(asked): Json<Trial>) -> Answer<Value> {
    state.desk.test(&asked.channel).await.map_err(Failure::Alert)?;
    Ok(Json(json!({ "sent": true, "channel": asked.channel })))
}

impl Quiet {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<&'static str> {
        if self.who.trim().is_empty() {
            return Some("say who acts: the audit log keeps it");
        }
        if self.because.trim().is_empty() {
            return Some("say why (because): the audit log keeps it");
        }
        if self.code.is_none() && self.subject.is_none() {
            return Some("say of what: code, subject or both");
        }
        if self.code.as_deref().is_some_and(|code| reasons::of(code).is_none()) {
            return Some("there is no such code: `hisync explain` knows those of docs/runbook.md");
        }
        (self.secs == 0 || self.secs > LONGEST_SECS).then_some("say for how long: at most 30 days")
    }
}

async fn silence(Extract(state): Shared, caller: Caller, Json(mut asked): Json<Quiet>) -> Answer<Value> {
    asked.who = caller.who(&asked.who).to_owned();
    if let Some(problem) = asked.problem() {
        return Err(Failure::Incomplete(problem));
    }
    let until = state.clock.now() + TimeDelta::seconds(i64::try_from(asked.secs).unwrap_or(0));
    let Quiet { code, subject, who, because, .. } = asked;
    let id = state.store.silence_alerts(code, subject, until, &who, &because).await?;
    Ok(Json(json!({ "id": id, "until": until.with_timezone(&Utc) })))
}

async fn sound(Extract(state): Shared, caller: Caller, Path(id): Path<i64>, Json(asked): Json<Sound>) -> Answer<Value> {
    let who = caller.who(&asked.who);
    if who.trim().is_empty() {
        return Err(Failure::Incomplete("say who acts: the audit log keeps it"));
    }
    state.store.end_alert_silence(id, who).await?;
    Ok(Json(json!({ "id": id, "ended": true })))
}
