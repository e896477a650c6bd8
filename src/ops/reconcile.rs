//! Comparisons over the admin API, and what they say of health.

use std::sync::Arc;

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Caller;
use super::health::Reason;
use super::held::{Look, shy};
use super::http::{Answer, Failure, Shared};
use super::report::State;
use crate::intake::reconcile::{Refusal, read_time};
use crate::store::{ReconcileRun, UPSTREAM};

/// Which comparisons.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runs {
    /// Only of this stream, or `upstream`.
    pub subject: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// Asks for a comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// The person's name.
    pub who: String,
    /// The stream, or `upstream`.
    pub subject: String,
    /// Where the period begins, in the hospital's time zone; not with `upstream`.
    pub since: Option<String>,
    /// Where it ends.
    pub until: Option<String>,
}

/// The row of a comparison that was asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Its id.
    pub id: i64,
}

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/api/reconcile", get(list).post(ask)).route("/api/reconcile/{id}", get(show))
}

async fn list(state: Shared, Query(asked): Query<Runs>) -> Answer<Vec<ReconcileRun>> {
    let limit = asked.limit.unwrap_or(50);
    let read = move |reader: &crate::store::Reader| reader.reconcile_runs(asked.subject.as_deref(), limit);
    Ok(Json(state.store.read(read).await?))
}

async fn show(state: Shared, caller: Caller, Path(id): Path<i64>, Query(look): Query<Look>) -> Answer<Value> {
    let report = state.store.read(move |reader| reader.reconcile_show(id)).await?;
    let json = serde_json::to_value(report).unwrap_or_default();
    let Some((who, reason)) = look.audited(&caller)? else { return Ok(Json(shy(&caller, json))) };
    state.store.audit(who, "show-personal", &format!("reconcile/{id}"), reason).await?;
    Ok(Json(json))
}

async fn ask(state: Shared, caller: Caller, Json(mut ask): Json<Ask>) -> Answer<Asked> {
    ask.who = caller.who(&ask.who).to_owned();
    if ask.who.trim().is_empty() {
        return Err(Failure::Incomplete("say who asks: the report keeps it"));
    }
    let asked = if ask.subject == UPSTREAM {
        state.reconciler.with_upstream(&ask.who).await
    } else {
        let time = |text: &Option<String>| text.as_deref().and_then(read_time);
        let (Some(since), Some(until)) = (time(&ask.since), time(&ask.until)) else {
            return Err(Failure::Incomplete("say the period: since and until, 2026-11-20 or 2026-11-20 08:00"));
        };
        state.reconciler.stream(&ask.subject, since, until, &ask.who).await
    };
    match asked {
        Ok(id) => Ok(Json(Asked { id })),
        Err(Refusal::Store(error)) => Err(Failure::Store(error)),
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

/// What the last comparison of a subject says of health.
pub(super) fn reason(run: &ReconcileRun) -> Option<Reason> {
    let subject = if run.subject == UPSTREAM { UPSTREAM.to_owned() } else { format!("stream {}", run.subject) };
    if run.state == "failed" {
        let why = run.note.clone().unwrap_or_default();
        let reason = Reason::new("reconcile-failed", subject).since(run.ended_at);
        return Some(reason.says(format!("the last comparison failed: {why}"), "最近一次核对没有完成"));
    }
    if run.drift() == 0 {
        return None;
    }
    let kinds = [
        ("missing", "缺少", run.missing),
        ("differing", "不同", run.differing),
        ("extra", "多出", run.extra),
        ("undelivered", "未送达", run.undelivered),
    ];
    let found: Vec<_> = kinds.into_iter().filter(|(.., n)| *n > 0).collect();
    let english: Vec<String> = found.iter().map(|(kind, _, n)| format!("{n} {kind}")).collect();
    let chinese: Vec<String> = found.iter().map(|(_, kind, n)| format!("{kind} {n}")).collect();
    let reason = Reason::new("reconcile-drift", subject).since(run.ended_at).says(
        format!("the last comparison found {}; {} mended", english.join(", "), run.repaired),
        format!("最近一次核对：{}；已修复 {}", chinese.join("，"), run.repaired),
    );
    Some(reason.next(
        format!("`hisync reconcile show {}` lists what differs", run.id),
        format!("hisync reconcile show {} 会列出差异。", run.id),
    ))
}
