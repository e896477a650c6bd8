//! The outbox over the admin API, and the life of one record.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Extract};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Caller;
use super::held::{Look, shy};
use super::http::{Answer, Shared};
use super::mask;
use super::report::State;
use crate::store::Reader;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/outbox", get(outbox_list))
        .route("/api/outbox/recent", get(outbox_recent))
        .route("/api/outbox/{id}", get(outbox_show))
        .route("/api/explain", get(explain))
}

/// Which outbox entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waiting {
    /// Only in this state; without it those that are neither delivered nor held.
    pub state: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Behind this one.
    pub after: Option<i64>,
}

async fn outbox_list(Extract(state): Shared, caller: Caller, Query(asked): Query<Waiting>) -> Answer<Value> {
    let (limit, after) = (asked.limit.unwrap_or(100), asked.after.unwrap_or(0));
    let list = move |reader: &Reader| reader.outbox_list(asked.state.as_deref(), limit, after);
    let entries = state.store.read(list).await?;
    Ok(Json(shy(&caller, serde_json::to_value(entries).unwrap_or_default())))
}

/// The newest entries, whatever became of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Recent {
    /// Only those with smaller numbers.
    before: Option<i64>,
    /// At most so many.
    limit: Option<usize>,
}

async fn outbox_recent(Extract(state): Shared, caller: Caller, Query(asked): Query<Recent>) -> Answer<Value> {
    let (before, limit) = (asked.before, asked.limit.unwrap_or(50));
    let entries = state.store.read(move |reader| reader.outbox_recent(before, limit)).await?;
    Ok(Json(shy(&caller, serde_json::to_value(entries).unwrap_or_default())))
}

async fn outbox_show(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Query(look): Query<Look>,
) -> Answer<serde_json::Value> {
    let detail = state.store.read(move |reader| reader.outbox_show(id)).await?;
    let mut json = serde_json::to_value(&detail).unwrap_or_default();
    match look.audited(&caller)? {
        Some((who, reason)) => state.store.audit(who, "show-personal", &format!("outbox/{id}"), reason).await?,
        None => {
            mask_event(&mut json);
            json["entry"] = shy(&caller, json["entry"].take());
        }
    }
    Ok(Json(json))
}

/// Masks the data of an outbox entry's event; its envelope is ours.
pub fn mask_event(detail: &mut serde_json::Value) {
    if let Some(data) = detail.pointer_mut("/event/data") {
        *data = mask::masked_json(data);
    }
}

/// What is looked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// An exam number, a key, an event's id.
    q: String,
    /// Event ids are looked for among so many of the newest events alone; among all where left out.
    newest: Option<i64>,
}

async fn explain(Extract(state): Shared, caller: Caller, Query(asked): Query<Asked>) -> Answer<Value> {
    let newest = asked.newest.unwrap_or(i64::MAX);
    let found = state.store.read(move |reader| reader.explain_within(asked.q.trim(), newest)).await?;
    Ok(Json(shy(&caller, serde_json::to_value(found).unwrap_or_default())))
}
