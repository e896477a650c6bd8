//! What the page draws: how the agent stood in the last day, and what a stream gives at each hour beside what is usual.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::http::{Answer, Shared};
use super::report::State;
use super::silence;
use crate::store::Point;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/api/day", get(day)).route("/api/streams/{source}/{stream}/hours", get(hours))
}

/// The last day. Times are UTC.
#[derive(Debug, Serialize)]
struct Day {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// Each: milliseconds since 1970, received and delivered since the store was made, held, waiting.
    points: Vec<[i64; 5]>,
}

async fn day(Extract(state): Shared) -> Answer<Day> {
    let until = state.clock.now();
    let since = until - TimeDelta::days(1);
    let points = state.store.read(move |reader| reader.trend(since)).await?;
    let flat = |point: Point| [point.at.timestamp_millis(), point.received, point.delivered, point.held, point.waiting];
    Ok(Json(Day { since, until, points: points.into_iter().map(flat).collect() }))
}

/// What each hour of a stream gave today, what is usual for it, and when silence is a failure.
async fn hours(Extract(state): Shared, Path((source, stream)): Path<(String, String)>) -> Answer<Value> {
    let id = format!("{source}/{stream}");
    let today = state.clock.now().with_timezone(&state.zone).date_naive();
    let history = state.watch.history(&id).unwrap_or_default();
    let expect = state.expectations.iter().find(|(of, _)| of.as_str() == id).map(|(_, expect)| expect);
    let expect = expect.map(|expect| {
        let time = |time: chrono::NaiveTime| time.format("%H:%M").to_string();
        let (from, to) = (time(expect.between.0), time(expect.between.1));
        json!({ "within_secs": expect.within.as_secs(), "from": from, "to": to, "days": expect.days })
    });
    let hours = silence::usual_day(&history, &state.watch.calendar, today);
    Ok(Json(json!({ "stream": id, "day": today, "expect": expect, "hours": hours })))
}
