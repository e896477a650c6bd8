//! The candidate in the shadow over the admin API: the same acts as `hisync shadow`.

use axum::extract::State as Extract;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::access::Caller;
use super::http::{Answer, Failure, Shared};
use super::report::State;
use crate::release::{ShadowStatus, shadow_status};
use crate::store::{self, Promoted, Store};

/// Who acts, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decision {
    /// The person's name, for the audit log.
    pub who: String,
    /// Why.
    pub because: String,
}

/// What a decision did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The streams that it concerns; empty for a candidate that was discarded.
    pub streams: Vec<Promoted>,
    /// When it takes effect: `now`, or at the next `start` of the agent.
    pub applied: &'static str,
}

/// What a person decides about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is in force from now on.
    Promote,
    /// It is given up.
    Discard,
    /// What was promoted is not in force any more.
    Revert,
}

/// Carries out a decision.
pub async fn decide(store: &Store, act: Act, said: &Decision) -> Result<Decided, store::Error> {
    let (who, because) = (&said.who, &said.because);
    let streams = match act {
        Act::Promote => store.promote(who, because).await?,
        Act::Revert => store.revert(who, because).await?,
        Act::Discard => {
            store.discard(who, because).await?;
            return Ok(Decided { streams: Vec::new(), applied: "now" });
        }
    };
    Ok(Decided { streams, applied: "start" })
}

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/shadow", get(status))
        .route("/api/shadow/promote", post(promote))
        .route("/api/shadow/discard", post(discard))
        .route("/api/shadow/revert", post(revert))
}

async fn status(Extract(state): Shared) -> Answer<ShadowStatus> {
    Ok(Json(state.store.read(shadow_status).await?))
}

async fn promote(state: Shared, caller: Caller, said: Json<Decision>) -> Answer<Decided> {
    decided(state, &caller, said, Act::Promote).await
}

async fn discard(state: Shared, caller: Caller, said: Json<Decision>) -> Answer<Decided> {
    decided(state, &caller, said, Act::Discard).await
}

async fn revert(state: Shared, caller: Caller, said: Json<Decision>) -> Answer<Decided> {
    decided(state, &caller, said, Act::Revert).await
}

async fn decided(Extract(state): Shared, caller: &Caller, Json(said): Json<Decision>, act: Act) -> Answer<Decided> {
    let who = caller.who(&said.who).to_owned();
    if who.trim().is_empty() {
        return Err(Failure::Incomplete("a decision needs a name (who)"));
    }
    let mut done = decide(&state.store, act, &Decision { who: who.clone(), ..said }).await?;
    // The agent goes on under the mapping that was decided on.
    if act != Act::Discard && state.reload.ask(&who) {
        done.applied = "now";
    }
    Ok(Json(done))
}
