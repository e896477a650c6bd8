//! What was done and under which configuration: the audit log and the history of the configuration.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Extract};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http::{Answer, Shared};
use super::report::State;
use crate::store::{self, ConfigContent, Reader};

/// Configurations that are listed.
const HISTORY: usize = 100;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/audit", get(audit_list))
        .route("/api/audit/verify", get(audit_verify))
        .route("/api/config", get(config))
        .route("/api/config/{id}", get(config_show))
}

/// Which lines of the audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// Only those with smaller numbers.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

async fn audit_list(Extract(state): Shared, Query(asked): Query<Lines>) -> Answer<Vec<store::AuditLine>> {
    let (before, limit) = (asked.before, asked.limit.unwrap_or(100));
    Ok(Json(state.store.read(move |reader| reader.audit_list(before, limit)).await?))
}

async fn audit_verify(Extract(state): Shared) -> Answer<store::AuditCheck> {
    Ok(Json(state.store.read(Reader::audit_verify).await?))
}

/// The configuration that is in force, secrets and people hidden, and those before it.
async fn config(Extract(state): Shared) -> Answer<Value> {
    let history = state.store.read(|reader| reader.config_versions(HISTORY)).await?;
    let mappings: Vec<Value> = state
        .board
        .all()
        .into_iter()
        .map(|stream| json!({ "stream": stream.id, "version": stream.mapping_version }))
        .collect();
    let config: &Value = &state.config;
    Ok(Json(json!({
        "digest": state.about.config_digest,
        "content": config,
        "mappings": mappings,
        "history": history,
    })))
}

async fn config_show(Extract(state): Shared, Path(id): Path<i64>) -> Answer<ConfigContent> {
    Ok(Json(state.store.read(move |reader| reader.config_content(id)).await?))
}
