//! Traces over OTLP/HTTP (JSON): one for each event, from its record to upstream's receipt.
//!
//! Spans are made from what the store knows when an event is delivered or held, so that nothing of it slows down intake or
//! delivery, and an event that waited for a day has one trace. The trace's id and that of its first span are those of the
//! event's `traceparent`: what upstream does with the event hangs below it. Traces are comfort: one that could not be
//! sent is not sent again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::report::About;
use crate::store::{Error, EventLife, Reader, Store, stable_word};

/// How often events that ended are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Events that are read and sent at once.
const STEP: i64 = 200;

/// So many events may be waited for; of more no trace is sent when they end.
const OPEN_MAX: usize = 10_000;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The `[traces]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A collector that speaks OTLP over HTTP with JSON; `/v1/traces` is appended: `http://127.0.0.1:4318`.
    #[schemars(with = "String")]
    pub endpoint: Url,
    /// A token that the collector asks for, sent as `Authorization: Bearer …`.
    #[serde(default)]
    pub token: Option<Secret>,
}

/// Sends traces.
#[derive(Clone)]
pub struct Tracer {
    settings: Settings,
    base_dir: PathBuf,
    about: About,
    store: Store,
    http: reqwest::Client,
}

/// Why the tracer could not be made.
#[derive(Debug, thiserror::Error)]
#[error("set up the client for traces")]
pub struct TracerError(#[source] reqwest::Error);

impl Tracer {
    /// Checks the settings; connects to nothing.
    pub fn new(settings: Settings, base_dir: &Path, about: About, store: Store) -> Result<Tracer, TracerError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("hisync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(TracerError)?;
        Ok(Tracer { settings, base_dir: base_dir.to_owned(), about, store, http })
    }

    /// Sends the traces of events that end from now on, until `stop`.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), Error> {
        let read = |reader: &Reader| Ok((reader.newest_entry()?, reader.open_entries(OPEN_MAX as i64)?));
        let (mut after, open) = self.store.read(read).await?;
        let mut open: BTreeSet<i64> = open.into_iter().collect();
        loop {
            let waited: Vec<i64> = open.iter().copied().collect();
            let found = self.store.read(move |reader| ended(reader, after, &waited)).await?;
            let more = found.newest > after;
            after = found.newest;
            open = found.open.into_iter().take(OPEN_MAX).collect();
            for lives in found.ended.chunks(STEP as usize) {
                let outcome = match self.send(lives).await {
                    Ok(()) => "sent",
                    Err(failure) => {
                        tracing::debug!(failure, "traces were not taken");
                        "lost"
                    }
                };
                metrics::counter!("hisync_traces_total", "outcome" => outcome).increment(lives.len() as u64);
            }
            if more && !stop.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn send(&self, lives: &[EventLife]) -> Result<(), String> {
        let url = format!("{}/v1/traces", self.settings.endpoint.as_str().trim_end_matches('/'));
        let body = serde_json::to_vec(&payload(&self.about, lives)).map_err(|error| error.to_string())?;
        let mut request = self.http.post(url).header("content-type", "application/json").body(body);
        if let Some(token) = &self.settings.token {
            let token = token.read(&self.base_dir).map_err(|error| error.to_string())?;
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("http-{}", answer.status().as_u16())) }
    }
}

struct Found {
    ended: Vec<EventLife>,
    open: Vec<i64>,
    newest: i64,
}

fn ended(reader: &Reader, after: i64, waited: &[i64]) -> Result<Found, Error> {
    let mut lives = Vec::new();
    for id in waited {
        lives.extend(reader.event_life(*id)?);
    }
    let new = reader.event_lives(after, STEP)?;
    let newest = new.last().map_or(after, |life| life.id);
    lives.extend(new);
    let (ended, open): (Vec<_>, Vec<_>) = lives.into_iter().partition(|life| life.done_at.is_some());
    Ok(Found { ended, open: open.into_iter().map(|life| life.id).collect(), newest })
}

/// An `ExportTraceServiceRequest` in OTLP's JSON.
pub fn payload(about: &About, lives: &[EventLife]) -> Json {
    let spans: Vec<Json> = lives.iter().flat_map(spans).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&[
            ("service.name", "hisync"),
            ("service.version", &about.version),
            ("service.namespace", &about.hospital),
            ("service.instance.id", &format!("{}/{}", about.hospital, about.campus)),
        ]) },
        "scopeSpans": [{ "scope": { "name": "hisync", "version": about.version }, "spans": spans }],
    }] })
}

/// The span of the whole life, and within it that of the delivery with its attempts.
fn spans(life: &EventLife) -> Vec<Json> {
    let Some(done) = life.done_at else { return Vec::new() };
    let nanos = |at: DateTime<Utc>| at.timestamp_nanos_opt().unwrap_or_default().to_string();
    let whole = &life.event_id[16..];
    // Another id of the same event, that no other span has: the first half of the digest that the id is.
    let delivery = &life.event_id[..16];
    let received = life.received_at.map_or(life.created_at, |at| at.min(life.created_at));
    let status =
        if life.state == "delivered" { json!({ "code": 1 }) } else { json!({ "code": 2, "message": life.state }) };
    let about = attributes(&[
        ("hisync.stream", &life.stream),
        ("hisync.entity", &life.entity),
        ("hisync.kind", &life.kind),
        ("hisync.state", &life.state),
        ("messaging.message.id", &life.event_id),
    ]);
    let attempts = life.history.iter().map(|attempt| {
        json!({
            "timeUnixNano": nanos(attempt.at), "name": "attempt failed",
            "attributes": attributes(&[("hisync.answer", &stable_word(&attempt.code)), ("hisync.attempt", &attempt.n.to_string())]),
        })
    });
    let attempts: Vec<Json> = attempts.collect();
    vec![
        json!({
            "traceId": life.event_id, "spanId": whole, "name": format!("{} {}", life.entity, life.kind),
            "kind": 4, "startTimeUnixNano": nanos(received), "endTimeUnixNano": nanos(done),
            "attributes": about, "status": status,
        }),
        json!({
            "traceId": life.event_id, "spanId": delivery, "parentSpanId": whole, "name": "deliver",
            "kind": 3, "startTimeUnixNano": nanos(life.created_at), "endTimeUnixNano": nanos(done),
            "events": attempts, "status": status,
        }),
    ]
}

fn attributes(pairs: &[(&str, &str)]) -> Json {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Attempt;

    #[test]
    fn a_life_is_a_trace_under_the_ids_of_its_traceparent() {
        let at = |secs: i64| DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap();
        let event_id = "0123456789abcdef0011223344556677".to_owned();
        let life = EventLife {
            id: 1,
            event_id: event_id.clone(),
            entity: "exam_report".to_owned(),
            kind: "upserted".to_owned(),
            stream: "peis/reports".to_owned(),
            received_at: Some(at(0)),
            created_at: at(1),
            done_at: Some(at(60)),
            state: "delivered".to_owned(),
            history: vec![Attempt { n: 1, at: at(2), code: "http-503".to_owned() }],
        };
        let open = EventLife { done_at: None, ..life.clone() };
        let found = [spans(&life), spans(&open)].concat();
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0]["traceId"], &found[0]["spanId"]), (&json!(event_id), &json!("0011223344556677")));
        assert_eq!(found[1]["parentSpanId"], found[0]["spanId"]);
        assert_eq!(found[0]["startTimeUnixNano"], "1700000000000000000");
        assert_eq!(found[1]["events"][0]["attributes"][0]["value"]["stringValue"], "http-503");
    }
}
