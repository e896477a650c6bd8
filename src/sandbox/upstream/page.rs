//! The reading side: the page, JSON lines, and the faults.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::faults::Fault;
use super::ledger::Line;
use super::{Shared, lock};
use crate::model::EntityType;

type Params = Query<HashMap<String, String>>;

/// So many of the latest events are on the page.
const LATEST: usize = 50;

pub(super) async fn received(State(state): State<Shared>, Query(params): Params) -> Response {
    let attempts = is_set(&params, "attempts");
    let ledger = lock(&state.0.ledger);
    json_lines(ledger.lines().iter().filter(|line| attempts || line.applied))
}

pub(super) async fn entities(
    State(state): State<Shared>,
    Path(entity): Path<String>,
    Query(params): Params,
) -> Response {
    let Ok(entity) = entity.parse::<EntityType>() else { return StatusCode::NOT_FOUND.into_response() };
    let (withdrawn, prefix) = (is_set(&params, "withdrawn"), format!("{entity}/"));
    let ledger = lock(&state.0.ledger);
    let wanted = |line: &&Line| text(line, "subject").starts_with(&prefix) && (withdrawn || !is_withdrawn(line));
    json_lines(ledger.latest().filter(wanted).map(|line| &line.event))
}

pub(super) async fn heartbeats(State(state): State<Shared>) -> Response {
    let latest: Vec<Json> = lock(&state.0.heartbeats).values().cloned().collect();
    axum::Json(latest).into_response()
}

/// JSON lines: the digest and the size of each attachment.
pub(super) async fn attachments(State(state): State<Shared>) -> Response {
    let stored = lock(&state.0.attachments);
    json_lines(stored.iter().map(|(sha256, size)| json!({ "sha256": sha256, "size": size })))
}

/// The bytes of an attachment that is kept on disk.
pub(super) async fn attachment(State(state): State<Shared>, Path(sha256): Path<String>) -> Response {
    if !lock(&state.0.attachments).contains_key(&sha256) {
        return StatusCode::NOT_FOUND.into_response();
    }
    // Known digests only: no path is made of what a request says.
    let Some(path) = state.0.dir.as_ref().map(|dir| dir.join("attachments").join(&sha256)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::read(path).await {
        Ok(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) async fn faults(State(state): State<Shared>) -> Response {
    axum::Json(lock(&state.0.faults).list()).into_response()
}

pub(super) async fn put_faults(State(state): State<Shared>, body: Bytes) -> Response {
    let read = match serde_json::from_slice::<Json>(&body) {
        Ok(Json::Array(list)) => list.into_iter().map(serde_json::from_value).collect(),
        Ok(one) => serde_json::from_value(one).map(|fault: Fault| vec![fault]),
        Err(error) => Err(error),
    };
    match read {
        Ok(list) => {
            lock(&state.0.faults).put(list);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, axum::Json(json!({ "message": error.to_string() }))).into_response(),
    }
}

pub(super) async fn delete_faults(State(state): State<Shared>) -> StatusCode {
    lock(&state.0.faults).put(Vec::new());
    StatusCode::NO_CONTENT
}

fn is_set(params: &HashMap<String, String>, name: &str) -> bool {
    params.get(name).is_some_and(|value| !matches!(value.as_str(), "0" | "false"))
}

fn text<'a>(line: &'a Line, attribute: &str) -> &'a str {
    line.event.get(attribute).and_then(Json::as_str).unwrap_or_default()
}

fn is_withdrawn(line: &Line) -> bool {
    text(line, "type").ends_with(".withdrawn")
}

fn json_lines<T: Serialize>(values: impl Iterator<Item = T>) -> Response {
    let mut body = Vec::new();
    for value in values {
        if serde_json::to_writer(&mut body, &value).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        body.push(b'\n');
    }
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

const HEAD: &str = r#"<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hisync sandbox · 沙箱上游</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #888; --good: #1a7f4b; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, "PingFang SC", "Microsoft YaHei", sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-top: 2rem; } small { color: var(--soft); font-weight: normal; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; } .tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: normal; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.accepted { color: var(--good); } .rejected, .fault { color: var(--bad); } .none { color: var(--soft); } a { color: inherit; }
</style></head><body>
<h1>hisync sandbox <small>沙箱上游 · the reference receiving side</small></h1>
"#;

/// The page shows identities of events, not what is in them.
pub(super) async fn page(State(state): State<Shared>) -> Html<String> {
    let mut html = HEAD.to_owned();
    let faults = lock(&state.0.faults).list();
    if !faults.is_empty() {
        let told = serde_json::to_string(&faults).unwrap_or_default();
        let _ = write!(html, "<p class=fault>故障模拟中 · told to fail: <code>{}</code></p>", escape(&told));
    }
    let ledger = lock(&state.0.ledger);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in ledger.latest().filter(|line| !is_withdrawn(line)) {
        *counts.entry(text(line, "subject").split('/').next().unwrap_or_default()).or_default() += 1;
    }
    html.push_str("<div class=tiles>");
    for entity in EntityType::ALL {
        let count = counts.get(entity.as_str()).copied().unwrap_or_default();
        let (name, chinese) = label(entity);
        let _ = write!(
            html,
            "<div class=tile><b>{count}</b><a href=\"/v1/entities/{entity}\">{chinese} <small>{name}</small></a></div>"
        );
    }
    let attachments = lock(&state.0.attachments).len();
    let _ = write!(
        html,
        "<div class=tile><b>{attachments}</b><a href=\"/v1/attachments\">附件 <small>attachments</small></a></div></div>"
    );
    let beats: Vec<Json> = lock(&state.0.heartbeats).values().cloned().collect();
    html.push_str("<h2>心跳 <small>heartbeats</small></h2>");
    if beats.is_empty() {
        html.push_str("<p class=none>尚无 · none yet</p>");
    }
    for beat in beats {
        let field = |pointer: &str| beat.pointer(pointer).map(ToString::to_string).unwrap_or_default();
        let _ = write!(
            html,
            "<p>{} · {} · 待发 outbox {} · 待处理 held {}</p>",
            escape(field("/heartbeat/hospital").trim_matches('"')),
            escape(field("/received_at").trim_matches('"')),
            escape(&field("/heartbeat/outbox/depth")),
            escape(&field("/heartbeat/held/open")),
        );
    }
    let attempts = ledger.lines().len();
    let _ = write!(
        html,
        "<h2>最近事件 <small>latest events · <a href=\"/v1/received\">applied</a> · \
         <a href=\"/v1/received?attempts=1\">all {attempts} attempts</a></small></h2>\
         <table><tr><th>时间 received<th>结果 answer<th>事件 type<th>主体 subject<th>序号 sequence</tr>"
    );
    for line in ledger.lines().iter().rev().take(LATEST) {
        let answer = line.code.as_ref().map_or(line.status.clone(), |code| format!("{} ({code})", line.status));
        let _ = write!(
            html,
            "<tr><td>{}<td class=\"{}\">{}<td>{}<td>{}<td>{}</tr>",
            line.received_at.format("%Y-%m-%d %H:%M:%S UTC"),
            escape(&line.status),
            escape(&answer),
            escape(text(line, "type")),
            escape(text(line, "subject")),
            escape(text(line, "sequence").trim_start_matches('0')),
        );
    }
    html.push_str("</table></body></html>\n");
    Html(html)
}

fn label(entity: EntityType) -> (&'static str, &'static str) {
    match entity {
        EntityType::ExamItem => ("items", "明细项目"),
        EntityType::ExamItemGroup => ("group items", "组合项目"),
        EntityType::ExamPackage => ("packages", "体检套餐"),
        EntityType::ExamReport => ("reports", "体检报告"),
        EntityType::CriticalValue => ("critical values", "危急值"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
