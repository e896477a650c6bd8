//! Code tables over the admin API: the same acts as `hisync codes`.

use std::sync::Arc;

use axum::extract::{Query, State as Extract};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::http::{Answer, Failure, Shared};
use super::report::State;
use crate::intake::Readers;
use crate::intake::codes::{self, Added, CodesError, NewCode, TableWords, Unmapped, unmapped};
use crate::store::{self, Reader, Store, UnknownCode};

/// Records that are counted of each code where only the newest codes are asked for.
const COUNTED: usize = 1000;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/codes", get(codes_list))
        .route("/api/codes/tables", get(codes_tables))
        .route("/api/codes/map", post(codes_map))
}

/// Which unknown codes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// So many of those that were met last, each counted up to a thousand records; all of them where left out.
    lately: Option<usize>,
}

async fn codes_list(Extract(state): Shared, Query(asked): Query<Which>) -> Answer<Vec<Unmapped>> {
    let read = move |reader: &Reader| match asked.lately {
        Some(limit) => reader.unknown_codes_lately(limit, COUNTED),
        None => reader.unknown_codes(),
    };
    let codes = state.store.read(read).await?;
    Ok(Json(unmapped(state.again.readers(), codes)))
}

async fn codes_tables(Extract(state): Shared) -> Answer<Vec<TableWords>> {
    Ok(Json(codes::tables(state.again.readers())))
}

async fn codes_map(Extract(state): Shared, caller: Caller, Json(mut asked): Json<MapCode>) -> Answer<Mapped> {
    asked.who = caller.who(&asked.who).to_owned();
    if asked.who.trim().is_empty() {
        return Err(Failure::Incomplete("say who acts: the audit log keeps it"));
    }
    let unknown = state.store.read(Reader::unknown_codes).await?;
    let done = map(&state.store, state.again.readers(), unknown, &asked).await;
    let mapped = done.map_err(|error| match error {
        MapError::Codes(error) => Failure::Codes(error),
        MapError::Store(error) => Failure::Store(error),
    })?;
    let applied = if state.reload.ask(&asked.who) { "now" } else { "reload" };
    Ok(Json(Mapped { applied, ..mapped }))
}

/// Who adds which code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapCode {
    /// The person's name, for the audit log.
    pub who: String,
    /// The code.
    pub code: NewCode,
}

/// What became of a new code.
#[derive(Clone, Debug, Serialize)]
pub struct Mapped {
    /// Where it was added, and what it concerns.
    #[serde(flatten)]
    pub added: Added,
    /// When that is mapped again: `now`, at the next `reload`, at the next `start`.
    pub applied: &'static str,
}

/// Why a code was not added.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The table can't take it.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Adds a code to its table's file, and writes down who did.
pub async fn map(
    store: &Store,
    readers: &Readers,
    unknown: Vec<UnknownCode>,
    asked: &MapCode,
) -> Result<Mapped, MapError> {
    let NewCode { table, local, standard, .. } = &asked.code;
    let added = codes::add(readers, &unknown, &asked.code)?;
    let detail = format!("{local:?} is {standard:?}; {} records concerned", added.concerned);
    store.audit(&asked.who, "codes-map", &format!("table {table}"), &detail).await?;
    Ok(Mapped { added, applied: "start" })
}
